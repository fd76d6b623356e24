// The parts that every page is made of. Everything shown is a text node or an attribute: no text ever becomes markup.
import { h, render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import htm from 'htm';
import { link } from './live.js';
import { brief, full, span, when } from './format.js';
import { may, needs } from './session.js';
import { Store, useStore } from './store.js';

export const html = htm.bind(h);
export { render };

/** A time of the API; its whole form with the zone is its title. */
export function Time({ at, age = null, none = '–' }) {
  const date = when(at);
  if (!date) return html`<span class="none">${none}</span>`;
  return html`<time datetime=${date.toISOString()} title=${full(date)}>${brief(date)}${age && html` <span class="age">${span(age - date)}</span>`}</time>`;
}

/** A path of a tag or alarm, which may break after each slash. */
export function Path({ path }) {
  const names = path.replace('/Alarms/', '/').split('/');
  return names.map((name, index) => (index < names.length - 1 ? html`${name}/<wbr />` : name));
}

/**
 * A table that is a list of cards on a phone. `columns`: `{ key, label, cell(row), class }`; the first column names the row.
 * `empty` is what is said without rows.
 */
export function Table({ label, columns, rows, keyOf, empty = 'Nothing here.', rowClass = () => '' }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`
    <table class="table" role="table" aria-label=${label}>
      <thead role="rowgroup"><tr role="row">${columns.map((column) => html`<th role="columnheader" scope="col" class=${column.class}>${column.label}</th>`)}</tr></thead>
      <tbody role="rowgroup">
        ${rows.map(
          (row) => html`<tr role="row" key=${keyOf(row)} class=${rowClass(row)}>
            ${columns.map((column) => {
              const content = column.cell(row);
              const nothing = content === '' || content === null || content === undefined || content === false;
              return html`<td role="cell" data-label=${column.label} class=${`${column.class ?? ''}${nothing ? ' void' : ''}`}><div>${content}</div></td>`;
            })}
          </tr>`,
        )}
      </tbody>
    </table>`;
}

/** Loading, failed, or the content; a failure beside content that is older is told above it. */
export function Loaded({ resource, children }) {
  const { data, error, busy } = resource;
  return html`
    ${error && html`<p class="notice bad" role="alert">${error.message} <button type="button" onClick=${resource.reload}>Try again</button></p>`}
    ${data !== null ? children(data) : busy && html`<p class="empty" role="status">Loading…</p>`}`;
}

/** A button for those who may. Others read why not, instead of pressing and being refused. */
export function Act({ role = 'operator', why, disabled, children, ...rest }) {
  const { state } = useStore(link);
  const reason = why || (!may(role) ? needs(role) : state === 'lost' ? 'Disconnected: nothing can be done until the connection is back.' : '');
  return html`<button type="button" ...${rest} aria-disabled=${disabled || reason ? 'true' : undefined} title=${reason || rest.title}
    onClick=${(event) => (disabled || reason ? reason && toast(reason, 'warn') : rest.onClick?.(event))}>${children}</button>`;
}

const toasts = new Store([]);
let toastNumber = 0;

/** Says how something went, for some seconds; failures until they are closed. */
export function toast(text, kind = 'good') {
  const id = ++toastNumber;
  toasts.set([...toasts.value.slice(-3), { id, text, kind }]);
  if (kind !== 'bad') setTimeout(() => toasts.set(toasts.value.filter((one) => one.id !== id)), 7000);
}

export function Toasts() {
  const list = useStore(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${list.map((one) => html`<p key=${one.id} class="toast ${one.kind}">${one.text}
      <button type="button" class="plain" aria-label="Close this notice" onClick=${() => toasts.set(toasts.value.filter((other) => other.id !== one.id))}>✕</button></p>`)}
  </div>`;
}

const dialogs = new Store(null);

/** Shows a dialogue: `content(close)` gives what stands in it. */
export const openDialog = (title, content) => dialogs.set({ title, content });
export const closeDialog = () => dialogs.set(null);

export function DialogHost() {
  const shown = useStore(dialogs);
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    if (shown && !dialog.open) dialog.showModal();
    if (!shown && dialog.open) dialog.close();
    if (shown) (dialog.querySelector('[autofocus]') ?? dialog.querySelector('input, select, textarea, button'))?.focus();
  }, [shown]);
  return html`<dialog ref=${element} aria-labelledby="dialog-title" onClose=${closeDialog}
    onClick=${(event) => event.target === element.current && closeDialog()}>
    ${shown && html`<div class="dialog"><h2 id="dialog-title">${shown.title}</h2>${shown.content(closeDialog)}</div>`}
  </dialog>`;
}

/**
 * A form whose `send(values)` is awaited: while it runs it cannot be sent twice, and what is refused is told beside the button.
 * `values` are the fields by name. `undo` is the label of the button that leaves it.
 */
export function Form({ send, done, label, danger, undo, onUndo, children, disabled }) {
  const [state, set] = useState({ busy: false, error: '' });
  const { state: connection } = useStore(link);
  const submit = async (event) => {
    event.preventDefault();
    if (state.busy || disabled) return;
    const values = Object.fromEntries(new FormData(event.target));
    set({ busy: true, error: '' });
    try {
      const answer = await send(values);
      set({ busy: false, error: '' });
      done?.(answer);
    } catch (error) {
      set({ busy: false, error: error.message });
    }
  };
  const lost = connection === 'lost';
  return html`<form onSubmit=${submit}>
    ${children}
    <p class="refusal" role="alert">${state.error || (lost && 'Disconnected: this can be sent when the connection is back.')}</p>
    <div class="buttons">
      <button type="submit" class=${danger ? 'primary danger' : 'primary'} disabled=${state.busy || lost || disabled}>${state.busy ? 'One moment…' : label}</button>
      ${undo && html`<button type="button" onClick=${onUndo}>${undo}</button>`}
    </div>
  </form>`;
}

/** A labelled field; `hint` stands below it. */
export function Field({ label, hint, name, children, ...rest }) {
  const id = `field-${name}`;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children ? children({ id, name }) : html`<input id=${id} name=${name} aria-describedby=${hint ? `${id}-hint` : undefined} ...${rest} />`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** Pages of a list that is wholly here. */
export function Pager({ page, pages, total, noun, go }) {
  if (pages < 2) return null;
  return html`<nav class="pager" aria-label="More pages">
    <button type="button" disabled=${page === 0} onClick=${() => go(page - 1)}>Previous</button>
    <span>Page ${page + 1} of ${pages} <span class="none">(${total} ${noun})</span></span>
    <button type="button" disabled=${page >= pages - 1} onClick=${() => go(page + 1)}>Next</button>
  </nav>`;
}

/** Pages of a list that the API cuts: `next` is its cursor. */
export function More({ cursor, next, go }) {
  if (!cursor && !next) return null;
  return html`<nav class="pager" aria-label="More pages">
    ${cursor && html`<button type="button" onClick=${() => go('')}>Newest</button>`}
    ${next && html`<button type="button" onClick=${() => go(next)}>Older</button>`}
  </nav>`;
}
