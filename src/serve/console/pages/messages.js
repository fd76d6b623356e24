// Texts and calls with what became of them; those that were held back, with the reason.
import { get, post } from '../lib/api.js';
import { words } from '../lib/format.js';
import { useResource } from '../lib/resource.js';
import { refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Act, Loaded, More, Path, Table, Time, html, toast } from '../lib/ui.js';

const PAGE = 100;
const KINDS = { sent: ['text', 'answer', 'call'], writes: ['write'] };
const GOOD = ['delivered', 'completed', 'read', 'received'];
const BAD = ['undelivered', 'failed', 'cancelled', 'canceled', 'busy', 'no-answer'];
/** What may be tried once more. */
const RETRY = ['failed', 'undelivered'];
/** The states of the API in the words of an operator. */
const STATES = {
  waiting: ['queued', 'sending', 'ambiguous'],
  underway: ['accepted', 'scheduled', 'sent', 'initiated', 'ringing', 'in-progress'],
  arrived: GOOD,
  failed: ['undelivered', 'failed', 'canceled', 'busy', 'no-answer'],
  cancelled: ['cancelled'],
};
const STATE_WORDS = { waiting: 'waits', underway: 'under way', arrived: 'delivered', failed: 'failed', cancelled: 'cancelled before it was sent' };
/** Why a message was not sent, as the API names it. */
const REASONS = [
  'cooldown', 'budget', 'consolidated', 'superseded', 'off_duty', 'covered', 'opted_out', 'no_consent', 'disabled', 'flood', 'chattering',
  'below_priority', 'not_allowed', 'removed', 'answers', 'cannot_call', 'not_identified', 'event_limit',
];
const NONE = 'No message fits the filter.';
const tone = (state) => (GOOD.includes(state) ? 'good' : BAD.includes(state) ? 'bad' : 'uncertain');

async function retry(message) {
  try {
    const answer = await post(`messages/${message.row}/retry`);
    toast(answer?.message || 'It is tried again.');
  } catch (error) {
    toast(error.message, 'bad');
  }
}

const SENT = [
  { label: 'Time', cell: (message) => html`<${Time} at=${message.created} />` },
  { label: 'Kind', cell: (message) => words(message.kind) },
  { label: 'To', cell: (message) => html`${message.user && html`<span class="name">${message.user}</span> `}<span class=${message.user ? 'none' : ''}>${message.to}</span>` },
  { label: 'State', cell: (message) => html`<span class="quality ${tone(message.state)}">${words(message.state)}</span>` },
  { label: 'Attempts', class: 'value', cell: (message) => message.attempts },
  { label: 'Details', class: 'words', cell: (message) => message.text || message.detail ? html`${message.text} <span class=${message.text ? 'none' : ''}>${message.detail}</span>` : '' },
  { label: 'SID', class: 'sid', cell: (message) => message.sid && html`<code title=${message.sid}>${message.sid.slice(0, 6)}…${message.sid.slice(-4)}</code>` },
  { label: 'Action', class: 'acts', cell: (message) => RETRY.includes(message.state) && html`<${Act} onClick=${() => retry(message)} aria-label=${`Retry message ${message.row}`}>Retry<//>` },
];

const HELD = [
  { label: 'Time', cell: (message) => html`<${Time} at=${message.time} />` },
  { label: 'To', cell: (message) => html`${message.user && html`<span class="name">${message.user}</span> `}<span class=${message.user ? 'none' : ''}><${Path} path=${message.to} /></span>` },
  { label: 'Reason', class: 'words', cell: (message) => message.detail },
  { label: 'About', class: 'words', cell: (message) => message.text },
];

function Filters({ held, params }) {
  const send = (event) => {
    event.preventDefault();
    refine({ ...Object.fromEntries(new FormData(event.target)), cursor: undefined });
  };
  const choice = (name, options, worded) => html`<select name=${name} onChange=${(event) => event.target.form.requestSubmit()}>
      <option value="">every one</option>${options.map((one) => html`<option value=${one} selected=${one === params[name]}>${worded(one)}</option>`)}</select>`;
  return html`<form class="filters" role="search" aria-label="Filter the messages" onSubmit=${send}>
      ${held ? html`<label>Reason ${choice('reason', REASONS, words)}</label>` : html`<label>State ${choice('state', Object.keys(STATES), (one) => STATE_WORDS[one])}</label>`}
      <label>Person <input name="user" defaultValue=${params.user ?? ''} placeholder="user" autocapitalize="none" /></label>
      <label>Text <input name="text" defaultValue=${params.text ?? ''} placeholder="contains…" autocapitalize="none" maxlength="200" /></label>
      <button type="submit">Show</button>
    </form>`;
}

export function Messages() {
  const { params } = useStore(route);
  const view = params.view === 'held' || params.view === 'writes' ? params.view : 'sent';
  const held = view === 'held';
  const { cursor, user, text } = params;
  const state = held ? undefined : STATES[params.state];
  const reason = held ? params.reason : undefined;
  const resource = useResource(
    (signal) => (held ? get('messages/not-sent', { reason, user, text, cursor, limit: PAGE }, signal) : get('messages', { kind: KINDS[view], state, user, text, cursor, limit: PAGE }, signal)).then((data) => ({ ...data, held })),
    [view, cursor, user, text, state, reason],
    { topics: ['messages'] },
  );
  const tab = (key, name) => html`<button type="button" aria-pressed=${String(view === key)} onClick=${() => refine({ view: key === 'sent' ? undefined : key, cursor: undefined })}>${name}</button>`;
  const filtered = Boolean(user || text || state || reason);
  return html`<h1>Messages</h1>
    <div class="views" role="group" aria-label="Which messages">
      ${tab('sent', 'Texts and calls')}${tab('held', 'Not sent, and why')}${tab('writes', 'Writes to controllers')}
    </div>
    <${Filters} key=${view} held=${held} params=${params} />
    <${Loaded} resource=${resource}>${(data) => html`
      ${data.held
        ? html`<${Table} label="Messages not sent" columns=${HELD} rows=${data.messages} keyOf=${(row) => row.id} empty=${filtered ? NONE : 'Nothing was held back.'} />`
        : html`<${Table} label="Texts and calls" columns=${SENT} rows=${data.messages} keyOf=${(row) => row.row} empty=${filtered ? NONE : 'Nothing was sent yet.'} />`}
      <${More} cursor=${cursor} next=${data.next} go=${(to) => refine({ cursor: to || undefined }, { replace: false })} />`}<//>`;
}
