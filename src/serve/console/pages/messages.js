// Texts and calls with what became of them; those that were held back, with the reason.
import { get, post } from '../lib/api.js';
import { words } from '../lib/format.js';
import { useResource } from '../lib/resource.js';
import { refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Act, Loaded, More, Table, Time, html, toast } from '../lib/ui.js';

const PAGE = 100;
const KINDS = { sent: ['text', 'answer', 'call'], writes: ['write'] };
const GOOD = ['delivered', 'completed', 'read', 'received'];
const BAD = ['undelivered', 'failed', 'cancelled', 'canceled', 'busy', 'no-answer'];
/** What may be tried once more. */
const RETRY = ['failed', 'undelivered'];
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
  { label: 'Time', cell: ({ entry }) => html`<${Time} at=${entry.time} />` },
  { label: 'To', cell: ({ entry }) => html`${entry.user !== 'system' && html`<span class="name">${entry.user}</span> `}${entry.subject}` },
  { label: 'Reason', class: 'words', cell: ({ entry }) => entry.result },
  { label: 'Message', class: 'words', cell: ({ entry }) => entry.text },
];

export function Messages() {
  const { params } = useStore(route);
  const view = params.view === 'held' || params.view === 'writes' ? params.view : 'sent';
  const held = view === 'held';
  const { cursor } = params;
  const resource = useResource(
    (signal) => (held ? get('audit', { kind: 'message_not_sent', cursor, limit: PAGE }, signal) : get('messages', { kind: KINDS[view], cursor, limit: PAGE }, signal)).then((data) => ({ ...data, held })),
    [view, cursor],
    { topics: ['messages'] },
  );
  const tab = (key, name) => html`<button type="button" aria-pressed=${String(view === key)} onClick=${() => refine({ view: key === 'sent' ? undefined : key, cursor: undefined })}>${name}</button>`;
  return html`<h1>Messages</h1>
    <div class="views" role="group" aria-label="Which messages">
      ${tab('sent', 'Texts and calls')}${tab('held', 'Not sent, and why')}${tab('writes', 'Writes to controllers')}
    </div>
    <${Loaded} resource=${resource}>${(data) => html`
      ${data.held
        ? html`<${Table} label="Messages not sent" columns=${HELD} rows=${data.entries} keyOf=${(row) => row.id} empty="Nothing was held back." />`
        : html`<${Table} label="Texts and calls" columns=${SENT} rows=${data.messages} keyOf=${(row) => row.row} empty="Nothing was sent yet." />`}
      <${More} cursor=${cursor} next=${data.next} go=${(to) => refine({ cursor: to || undefined }, { replace: false })} />`}<//>`;
}
