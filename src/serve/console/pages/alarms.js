// The alarm list: what wants attention first (ISA-18.2), told by shape, colour and words.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Mark, PRIORITIES, active, byTime, byUrgency, flags, priorityOf, silenced, spoken, stateWords, unacked, wantsAttention } from '../lib/alarm.js';
import { alarmName, brief, full, span, value, when } from '../lib/format.js';
import { useKeys } from '../lib/keys.js';
import { alarms as allAlarms, trouble } from '../lib/live.js';
import { useNow } from '../lib/resource.js';
import { refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Act, Pager, Path, html } from '../lib/ui.js';
import { acknowledge, outOfService, shelve, unshelve } from './alarm-acts.js';
import { Story } from './story.js';

/** Rows of one page: what a browser draws at once without a delay. */
const PAGE = 100;

const VIEWS = [
  ['', 'Attention', wantsAttention],
  ['unacked', 'Unacknowledged', (alarm) => unacked(alarm) && !silenced(alarm)],
  ['active', 'Active', (alarm) => active(alarm) && !silenced(alarm)],
  ['shelved', 'Shelved', (alarm) => Boolean(when(alarm.shelved_until))],
  ['suppressed', 'Suppressed', (alarm) => alarm.suppressed],
  ['out', 'Out of service', (alarm) => alarm.out_of_service],
  ['all', 'All', () => true],
];

export function Alarms() {
  const all = useStore(allAlarms);
  const problem = useStore(trouble);
  const { params } = useStore(route);
  const [chosen, setChosen] = useState(() => new Set());
  const [page, setPage] = useState(0);
  const search = useRef(null);
  const view = VIEWS.find(([key]) => key === (params.view ?? '')) ?? VIEWS[0];
  const counts = useMemo(() => VIEWS.map(([, , belongs]) => (all ? [...all.values()].filter(belongs).length : 0)), [all]);
  const rows = useMemo(() => (all ? listed(all, view, params) : []), [all, view, params.text, params.priority, params.sort]);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const shown = rows.slice(Math.min(page, pages - 1) * PAGE, Math.min(page + 1, pages) * PAGE);
  const selected = rows.filter((alarm) => chosen.has(alarm.path));
  const clear = () => setChosen(new Set());
  const toggle = (path) => setChosen((before) => {
    const next = new Set(before);
    if (!next.delete(path)) next.add(path);
    return next;
  });
  const targets = () => (selected.length ? selected : rows.filter((alarm) => alarm.path === (focused() ?? params.alarm)));
  const open = (path) => refine({ alarm: path, event: undefined }, { replace: Boolean(params.alarm) });
  const leave = () => {
    const path = params.alarm;
    refine({ alarm: undefined, event: undefined });
    requestAnimationFrame(() => document.querySelector(`[data-alarm="${CSS.escape(path)}"] .opens`)?.focus());
  };
  useEffect(() => setPage(0), [view, params.text, params.priority, params.sort]);
  useKeys([
    { keys: 'j', does: 'Next alarm', run: () => step(1) },
    { keys: 'k', does: 'Previous alarm', run: () => step(-1) },
    { keys: 'x', does: 'Choose or unchoose the alarm', run: () => focused() && toggle(focused()) },
    { keys: 'A', does: 'Choose all that are shown', run: () => setChosen(new Set(shown.map((alarm) => alarm.path))) },
    { keys: 'a', does: 'Acknowledge the chosen alarms, or the one in focus', run: () => acknowledge(targets(), clear) },
    { keys: 's', does: 'Shelve them', run: () => shelve(targets(), clear) },
    { keys: '/', does: 'Search', run: () => search.current?.focus() },
    { keys: 'Escape', does: 'Close the story, or unchoose all', run: () => (params.alarm ? leave() : clear()) },
  ], [rows, chosen, params, shown]);
  if (!all) return html`<h1>Alarms</h1>${problem ? html`<p class="notice bad" role="alert">The alarms cannot be read: ${problem} Trying again…</p>` : html`<p class="empty" role="status">The alarms are being read…</p>`}`;
  return html`<div class=${params.alarm ? 'split open' : 'split'}>
    <section class="list" aria-labelledby="alarms-title">
      <h1 id="alarms-title">Alarms</h1>
      <${Views} view=${view} counts=${counts} />
      <${Filters} params=${params} search=${search} />
      ${selected.length > 0 && html`<${Chosen} alarms=${selected} clear=${clear} />`}
      ${rows.length ? html`<${List} rows=${shown} chosen=${chosen} toggle=${toggle} open=${open} current=${params.alarm} setChosen=${setChosen} />` : html`<${Nothing} view=${view} params=${params} />`}
      <${Pager} page=${Math.min(page, pages - 1)} pages=${pages} total=${rows.length} noun="alarms" go=${setPage} />
    </section>
    ${params.alarm && html`<${Story} path=${params.alarm} event=${params.event} leave=${leave} key=${params.alarm} />`}
  </div>`;
}

function listed(all, [, , belongs], { text = '', priority, sort }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const least = PRIORITIES.indexOf(priority);
  const rows = [...all.values()].filter(
    (alarm) =>
      belongs(alarm) &&
      (least < 0 || PRIORITIES.indexOf(priorityOf(alarm)) <= least) &&
      words.every((word) => `${alarm.path} ${alarm.message} ${alarm.code ?? ''}`.toLowerCase().includes(word)),
  );
  return rows.sort(sort === 'time' ? byTime : sort === 'path' ? (one, two) => (one.path < two.path ? -1 : 1) : byUrgency);
}

const focused = () => document.activeElement?.closest('[data-alarm]')?.dataset.alarm;

/** Moves the focus from alarm to alarm. */
function step(by) {
  const links = [...document.querySelectorAll('[data-alarm] .opens')];
  const at = links.findIndex((link) => link.closest('[data-alarm]').dataset.alarm === focused());
  links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
}

/** Buttons, or on a phone one list of the same. */
function Views({ view, counts }) {
  const choose = (key) => refine({ view: key || undefined });
  return html`<div class="views many" role="group" aria-label="Which alarms">
      ${VIEWS.map(([key, name], index) => html`<button type="button" aria-pressed=${String(view[0] === key)} onClick=${() => choose(key)}>${name} <span class="number">${counts[index]}</span></button>`)}
    </div>
    <label class="view-choice"><span class="sr">Which alarms</span><select value=${view[0]} onChange=${(event) => choose(event.target.value)}>
      ${VIEWS.map(([key, name], index) => html`<option value=${key}>${name} (${counts[index]})</option>`)}
    </select></label>`;
}

function Filters({ params, search }) {
  return html`<div class="filters" role="search" aria-label="Filter the alarms">
    <label class="grow"><span class="sr">Search in path and message</span>
      <input ref=${search} type="search" placeholder="Search path or message" value=${params.text ?? ''} onInput=${(event) => refine({ text: event.target.value || undefined })}
        onKeyDown=${(event) => event.key === 'Escape' && event.target.blur()} /></label>
    <label><span class="sr">Priority</span><select value=${params.priority ?? ''} onChange=${(event) => refine({ priority: event.target.value || undefined })}>
      <option value="">Every priority</option>
      ${PRIORITIES.slice(0, -1).map((priority, index) => html`<option value=${priority}>${priority}${index ? ' and above' : ' only'}</option>`)}
    </select></label>
    <label><span class="sr">Order</span><select value=${params.sort ?? ''} onChange=${(event) => refine({ sort: event.target.value || undefined })}>
      <option value="">Urgent first</option><option value="time">Newest first</option><option value="path">By path</option>
    </select></label>
  </div>`;
}

const Nothing = ({ view, params }) => html`<p class="empty" role="status">
  ${params.text || params.priority ? 'No alarm fits the filter.' : view[0] === '' ? 'Nothing wants attention.' : 'No alarm is here.'}
</p>`;

/** What can be done with the chosen alarms. */
function Chosen({ alarms, clear }) {
  const shelved = alarms.filter((alarm) => when(alarm.shelved_until));
  const out = alarms.filter((alarm) => alarm.out_of_service);
  return html`<div class="chosen" role="group" aria-label="With the chosen alarms">
    <strong role="status">${alarms.length} chosen</strong>
    <${Act} class="primary" onClick=${() => acknowledge(alarms, clear)}>Acknowledge…<//>
    <${Act} onClick=${() => shelve(alarms, clear)}>Shelve…<//>
    ${shelved.length > 0 && html`<${Act} onClick=${() => unshelve(shelved, clear)}>Unshelve…<//>`}
    ${out.length < alarms.length && html`<${Act} role="engineer" onClick=${() => outOfService(alarms.filter((alarm) => !alarm.out_of_service), true, clear)}>Out of service…<//>`}
    ${out.length > 0 && html`<${Act} role="engineer" onClick=${() => outOfService(out, false, clear)}>Back in service…<//>`}
    <button type="button" class="plain" onClick=${clear}>Unchoose</button>
  </div>`;
}

function List({ rows, chosen, toggle, open, current, setChosen }) {
  const now = useNow(5000);
  const every = rows.every((alarm) => chosen.has(alarm.path));
  return html`<table class="alarms" role="table" aria-label="Alarms" data-live>
    <thead role="rowgroup"><tr role="row">
      <th role="columnheader" scope="col" class="pick"><input type="checkbox" aria-label="Choose all shown" checked=${every} onChange=${() => setChosen(new Set(every ? [] : rows.map((alarm) => alarm.path)))} /></th>
      <th role="columnheader" scope="col">Priority</th><th role="columnheader" scope="col">State</th><th role="columnheader" scope="col">Alarm</th>
      <th role="columnheader" scope="col" class="value">Value</th><th role="columnheader" scope="col">Since</th><th role="columnheader" scope="col">Notification</th>
    </tr></thead>
    <tbody role="rowgroup">${rows.map((alarm) => html`<${Row} key=${alarm.path} alarm=${alarm} now=${now} picked=${chosen.has(alarm.path)} toggle=${toggle} open=${open} current=${alarm.path === current} />`)}</tbody>
  </table>`;
}

function Row({ alarm, now, picked, toggle, open, current }) {
  const { tag, name } = alarmName(alarm.path);
  const since = when(alarm.active_time);
  const priority = priorityOf(alarm);
  return html`<tr role="row" data-alarm=${alarm.path} class="${priority} ${unacked(alarm) ? 'unacked' : ''} ${current ? 'current' : ''} ${picked ? 'picked' : ''}">
    <td role="cell" class="pick"><input type="checkbox" checked=${picked} aria-label=${`Choose ${name} of ${tag}`} onChange=${() => toggle(alarm.path)} /></td>
    <td role="cell" class="priority"><span class="badge ${priority}"><${Mark} alarm=${alarm} /><span>${priority}</span></span></td>
    <td role="cell" class="state">${stateWords(alarm)}${!unacked(alarm) && active(alarm) && alarm.ack_user && html` <span class="none">by ${alarm.ack_user}</span>`}${flags(alarm).map((flag) => html`<span class="flag">${flag}</span>`)}</td>
    <td role="cell" class="what"><button type="button" class="opens" onClick=${() => open(alarm.path)} title=${spoken(alarm)}>
      <span class="message">${alarm.message || name}</span><span class="path"><${Path} path=${tag} /> · ${name}</span></button></td>
    <td role="cell" class="value">${alarm.value === '' ? '' : value(alarm.value)}</td>
    <td role="cell" class="since">${since && html`<time datetime=${alarm.active_time} title=${full(since)}>${brief(since, now)}</time> <span class="age">${span(now - since)}</span>`}</td>
    <td role="cell" class="notification">${alarm.notification}</td>
  </tr>`;
}
