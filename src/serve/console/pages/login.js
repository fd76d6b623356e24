// Who are you? The password goes to the API and nowhere else.
import { useEffect, useRef } from 'preact/hooks';
import { logIn } from '../lib/api.js';
import { farewell } from '../lib/session.js';
import { useStore } from '../lib/store.js';
import { Field, Form, html } from '../lib/ui.js';

export function Login() {
  const reason = useStore(farewell);
  const heading = useRef(null);
  useEffect(() => {
    document.title = 'Log in – Annunciator';
    document.querySelector('#field-user')?.focus();
  }, []);
  return html`<main id="main" class="login" tabindex="-1">
    <h1 ref=${heading}>Annunciator</h1>
    ${reason && html`<p class="notice" role="status">${reason}</p>`}
    <${Form} label="Log in" send=${({ user, password }) => logIn(user.trim(), password)}>
      <${Field} label="User name" name="user" autocomplete="username" autocapitalize="none" spellcheck=${false} required />
      <${Field} label="Password" name="password" type="password" autocomplete="current-password" required />
    <//>
    <p class="hint">Users and passwords are set in the configuration: <code>annunciator hash-password</code> makes the hash. Your PIN for texts
      and calls is not your password.</p>
  </main>`;
}
