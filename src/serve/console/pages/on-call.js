// Who is on duty now and in the next two weeks, where nobody is, and the overrides that people make.
import { useState } from 'preact/hooks';
import { get, post, remove } from '../lib/api.js';
import { day, full, localInput, shortClock, span, weekday, zoneAt } from '../lib/format.js';
import { useNow, useResource } from '../lib/resource.js';
import { Act, Field, Form, Loaded, Table, Time, closeDialog, html, openDialog, toast } from '../lib/ui.js';

const DAYS = 14;
const EVERY = 60_000;

export function OnCall() {
  const duty = useResource((signal) => get('on-call', { days: DAYS }, signal), [], { topics: ['overrides'], every: EVERY });
  const overrides = useResource((signal) => get('overrides', {}, signal), [], { topics: ['overrides'], every: EVERY });
  const changed = () => {
    duty.reload();
    overrides.reload();
  };
  return html`<h1>On call</h1>
    <${Loaded} resource=${duty}>${({ rosters }) => (rosters.length ? rosters.map((roster) => html`<${Roster} key=${roster.roster} roster=${roster} />`) : html`<p class="empty">No roster is configured.</p>`)}<//>
    <section aria-labelledby="overrides-title">
      <h2 id="overrides-title">Overrides</h2>
      <p class="lead">Somebody takes the duty of somebody else for a while. It holds at once, and ends by itself.</p>
      <div class="buttons"><${Act} class="primary" onClick=${() => openDialog('New override', () => html`<${OverrideForm} changed=${changed} />`)}>New override…<//></div>
      <${Loaded} resource=${overrides}>${(list) => html`<${Overrides} rows=${list.overrides} changed=${changed} />`}<//>
    </section>`;
}

function Roster({ roster }) {
  const now = useNow(30_000);
  const periods = (roster.timeline ?? []).map((period) => ({ ...period, from: new Date(period.from), to: new Date(period.until) }));
  const gaps = periods.filter((period) => !people(period).length);
  const id = `roster-${roster.roster}`;
  return html`<section class="roster" aria-labelledby=${id}>
    <h2 id=${id}>${roster.roster}</h2>
    <p class="duty">${roster.on_duty.length ? html`On duty now: <strong>${roster.on_duty.join(', then ')}</strong>` : html`<span class="gap">Nobody is on duty now.</span>`}
      ${roster.until && html` <span class="none">until ${full(new Date(roster.until))}</span>`}</p>
    ${gaps.length > 0 && html`<p class="notice bad">In the next ${DAYS} days nobody is on duty ${gaps.length === 1 ? 'once' : `${gaps.length} times`}, first ${stretch(gaps[0])}.</p>`}
    ${periods.length > 0 && html`<${Strip} periods=${periods} now=${now} /><details open=${periods.length <= 6}><summary>The next ${DAYS} days as a list</summary><${Table} label=${`Duty of ${roster.roster}`} columns=${PERIODS} rows=${periods} keyOf=${(period) => period.from.getTime()} rowClass=${(period) => (people(period).length ? '' : 'gap-row')} /></details>`}
    ${roster.places?.some((place) => !place.on_duty) && html`<ul class="off">${roster.places.filter((place) => !place.on_duty).map((place) => html`<li>${place.holder} is not on duty: ${place.reason}</li>`)}</ul>`}
  </section>`;
}

const people = (period) => period.users;
const point = (date) => `${weekday(date)} ${day(date)} ${shortClock(date)}`;
const stretch = (period) => `from ${point(period.from)} to ${point(period.to)} ${zoneAt(period.to)}`;

const PERIODS = [
  { label: 'From', cell: (period) => html`<time datetime=${period.from.toISOString()} title=${full(period.from)}>${point(period.from)}</time>` },
  { label: 'To', cell: (period) => html`<time datetime=${period.to.toISOString()} title=${full(period.to)}>${point(period.to)}</time>` },
  { label: 'Length', cell: (period) => span(period.to - period.from) },
  { label: 'On duty', class: 'words', cell: (period) => (people(period).length ? people(period).join(', then ') : html`<span class="gap">Nobody</span>`) },
];

/** The two weeks at a glance: one lane a day would be a table; this is one line, the list below says the same in words. */
function Strip({ periods, now }) {
  const begin = periods[0].from.getTime();
  const length = periods.at(-1).to.getTime() - begin;
  const share = (time) => `${(Math.max(0, time - begin) / length) * 100}%`;
  const first = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1);
  const days = Array.from({ length: DAYS }, (_, index) => new Date(first.getFullYear(), first.getMonth(), first.getDate() + index)).filter((date) => date - begin < length);
  const faces = [...new Set(periods.map((period) => people(period).join(', ')))].filter(Boolean);
  return html`<div class="strip" aria-hidden="true">
    ${periods.map((period) => html`<span class=${people(period).length ? `shift tone${faces.indexOf(people(period).join(', ')) % 4}` : 'shift gap'} style=${{ left: share(period.from), width: share(begin + (period.to - period.from)) }} title=${`${people(period).join(', then ') || 'Nobody'}, ${stretch(period)}`}>${people(period)[0] ?? ''}</span>`)}
    ${days.map((date) => html`<span class="midnight" style=${{ left: share(date) }}>${weekday(date)}</span>`)}
  </div>`;
}

function Overrides({ rows, changed }) {
  const columns = [
    { label: 'On duty', cell: (row) => html`<span class="name">${row.user}</span>` },
    { label: 'Instead of', cell: (row) => row.covers },
    { label: 'From', cell: (row) => html`<${Time} at=${row.from} />` },
    { label: 'To', cell: (row) => html`<${Time} at=${row.to} />` },
    { label: 'Note', class: 'words', cell: (row) => row.note },
    { label: 'Action', class: 'acts', cell: (row) => (row.number === null ? html`<span class="none">in the configuration</span>` : html`<${Act} onClick=${() => drop(row, changed)} aria-label=${`Remove the override of ${row.user} for ${row.covers}`}>Remove…<//>`) },
  ];
  return html`<${Table} label="Overrides" columns=${columns} rows=${rows} keyOf=${(row) => row.number ?? `${row.user} ${row.covers} ${row.from}`} empty="No override is in force or to come." />`;
}

function drop(row, changed) {
  openDialog('Remove the override', () => html`<p>From now on <strong>${row.covers}</strong> has the duty again instead of <strong>${row.user}</strong>.</p>
    <${Form} label="Remove" danger=${true} undo="Cancel" onUndo=${closeDialog} send=${() => remove(`overrides/${row.number}`)}
      done=${() => {
        closeDialog();
        toast('The override is removed.');
        changed();
      }} />`);
}

function OverrideForm({ changed }) {
  const users = useResource((signal) => get('users', {}, signal), []);
  return html`<${Loaded} resource=${users}>${(list) => html`<${OverrideFields} names=${list.users.map((user) => user.username)} changed=${changed} />`}<//>`;
}

function OverrideFields({ names, changed }) {
  const [now] = useState(() => new Date());
  const select = ({ id, name }) => html`<select id=${id} name=${name} required>${names.map((user) => html`<option value=${user}>${user}</option>`)}</select>`;
  return html`<${Form} label="Make the override" undo="Cancel" onUndo=${closeDialog}
    send=${async ({ user, covers, from, to, note }) => {
      if (user === covers) throw new Error('Choose two different people.');
      if (!(new Date(to) > new Date(from))) throw new Error('The end is not after the beginning.');
      return post('overrides', { user, covers, from: new Date(from).toISOString(), to: new Date(to).toISOString(), note });
    }}
    done=${() => {
      closeDialog();
      toast('The override is made.');
      changed();
    }}>
    <${Field} label="Who is on duty" name="user">${select}<//>
    <${Field} label="Instead of" name="covers">${select}<//>
    <${Field} label="From" name="from" type="datetime-local" defaultValue=${localInput(now)} required hint=${`Times are those of this browser, ${zoneAt(now)}.`} />
    <${Field} label="To" name="to" type="datetime-local" defaultValue=${localInput(new Date(now.getTime() + 8 * 3_600_000))} required />
    <${Field} label="Note" name="note" maxlength="200" placeholder="Such as: sick" />
  <//>`;
}
