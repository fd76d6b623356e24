// The audit log: every message, call, acknowledgement, write and change, with who and how it ended.
import { get } from '../lib/api.js';
import { words } from '../lib/format.js';
import { useResource } from '../lib/resource.js';
import { refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Loaded, More, Path, Table, Time, html } from '../lib/ui.js';

const PAGE = 100;
const KINDS = [
  'message_sent', 'message_not_sent', 'message_failed', 'message_status', 'message_received', 'call_sent', 'call_failed', 'call_ended', 'call_received',
  'answer', 'acknowledge', 'shelve', 'out_of_service', 'comment', 'write', 'write_back', 'opt_out', 'opt_in', 'pin_refused', 'pin_locked', 'login',
  'login_refused', 'override', 'drill', 'reload', 'start', 'stop', 'webhook_rejected', 'flood', 'identify', 'forget', 'wording', 'script_failed',
];

const COLUMNS = [
  { label: 'Time', cell: ({ entry }) => html`<${Time} at=${entry.time} />` },
  { label: 'What', cell: ({ entry }) => words(entry.kind) },
  { label: 'Who', cell: ({ entry }) => html`${entry.user} <span class="none">${words(entry.via).toLowerCase()}</span>` },
  { label: 'On what', class: 'words', cell: ({ entry }) => entry.subject && html`<${Path} path=${entry.subject} />` },
  { label: 'Details', class: 'words', cell: ({ entry }) => entry.text },
  { label: 'Result', class: 'words', cell: ({ entry }) => entry.result },
];

export function Audit() {
  const { params } = useStore(route);
  const { kind, user, subject, cursor } = params;
  const resource = useResource((signal) => get('audit', { kind, user, subject, cursor, limit: PAGE }, signal), [kind, user, subject, cursor]);
  const send = (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries(new FormData(event.target));
    refine({ ...wanted, cursor: undefined });
  };
  return html`<h1>Audit</h1>
    <form class="filters" role="search" aria-label="Filter the audit log" onSubmit=${send}>
      <label>What <select name="kind"><option value="">everything</option>${KINDS.map((one) => html`<option value=${one} selected=${one === kind}>${words(one)}</option>`)}</select></label>
      <label>Who <input name="user" defaultValue=${user ?? ''} placeholder="user or program" autocapitalize="none" /></label>
      <label>On what <input name="subject" defaultValue=${subject ?? ''} placeholder="begins with…" autocapitalize="none" /></label>
      <button type="submit">Show</button>
      ${resource.data && html`<button type="button" onClick=${resource.reload}>Refresh</button>`}
    </form>
    <${Loaded} resource=${resource}>${({ entries, next }) => html`
      <${Table} label="Audit log" columns=${COLUMNS} rows=${entries} keyOf=${(row) => row.id} empty="No entry fits." />
      <${More} cursor=${cursor} next=${next} go=${(to) => refine({ cursor: to || undefined }, { replace: false })} />`}<//>`;
}
