// The beginning: asks who we are, then shows the login page or the console.
import { useEffect } from 'preact/hooks';
import { whoAmI } from './lib/api.js';
import { start, stop } from './lib/live.js';
import { followLinks } from './lib/route.js';
import { session } from './lib/session.js';
import { useStore } from './lib/store.js';
import { html, render } from './lib/ui.js';
import { Login } from './pages/login.js';
import { Shell } from './pages/shell.js';

const RETRY = 2000;

function App() {
  const who = useStore(session);
  const user = who?.user;
  useEffect(() => {
    if (!user) return undefined;
    start();
    return stop;
  }, [user]);
  if (who === undefined) return html`<p class="boot" role="status">Annunciator does not answer yet. Trying again…</p>`;
  return who ? html`<${Shell} />` : html`<${Login} />`;
}

async function begin() {
  try {
    await whoAmI();
  } catch {
    setTimeout(begin, RETRY);
  }
}

const root = document.querySelector('#app');
followLinks(document.body);
await begin();
root.replaceChildren();
render(html`<${App} />`, root);
