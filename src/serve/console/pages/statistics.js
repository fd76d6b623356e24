// How the alarm system does (ISA-18.2, EEMUA 191), and who was told how often.
import { useEffect, useState } from 'preact/hooks';
import { Mark } from '../lib/alarm.js';
import { get, query } from '../lib/api.js';
import { alarmName, full, span } from '../lib/format.js';
import { useResource } from '../lib/resource.js';
import { prefs } from '../lib/prefs.js';
import { href, refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Loaded, Table, html } from '../lib/ui.js';

const EVERY = 60_000;
const DAY = 86_400_000;
const PERIODS = [['1', 'One day'], ['7', '7 days'], ['30', '30 days'], ['365', 'A year']];
const CHARTS = [
  ['load', 'Alarms over time'],
  ['distribution', 'Alarms per ten minutes'],
  ['bad-actors', 'Alarms that come most often'],
  ['priorities', 'Priorities'],
  ['acknowledgement', 'Time to acknowledge'],
  ['standing', 'Standing alarms'],
  ['messages', 'Messages and calls'],
];

export function Statistics() {
  const { params } = useStore(route);
  const days = PERIODS.some(([key]) => key === params.days) ? params.days : '1';
  // The end is rounded to the minute, so that figures and charts are of the same time.
  const [to, setTo] = useState(() => minute());
  useEffect(() => {
    const timer = setInterval(() => setTo(minute()), EVERY);
    return () => clearInterval(timer);
  }, []);
  const time = { from: new Date(to - days * DAY).toISOString(), to: new Date(to).toISOString() };
  const kpis = useResource((signal) => get('kpis', time, signal).catch(unlessAbsent), [days, to]);
  const counted = useResource((signal) => get('statistics', {}, signal), [], { topics: ['messages'], every: EVERY });
  return html`<h1>Statistics</h1>
    <div class="views" role="group" aria-label="Which time">
      ${PERIODS.map(([key, name]) => html`<button type="button" aria-pressed=${String(days === key)} onClick=${() => refine({ days: key === '1' ? undefined : key })}>${name}</button>`)}
    </div>
    <p class="hint">From ${full(new Date(time.from))} to ${full(new Date(time.to))}</p>
    <${Loaded} resource=${kpis}>${(figures) => figures.figures && html`<${Kpis} kpis=${figures} />`}<//>
    ${kpis.data?.figures && html`<section aria-label="Charts" class="charts">${CHARTS.map(([key, title]) => html`<${Chart} key=${key} name=${key} title=${title} time=${time} />`)}</section>`}
    <section aria-labelledby="people-title"><h2 id="people-title">Messages and calls since the beginning</h2>
      <${Loaded} resource=${counted}>${(statistics) => html`<${Table} label="Messages and calls per user" columns=${USERS} rows=${rows(statistics)} keyOf=${(user) => user.key} rowClass=${(user) => (user.total ? 'total' : '')} />`}<//>
    </section>`;
}

/** A program that was built without reports has no figures; the rest is shown all the same. */
function unlessAbsent(error) {
  if (error.status === 404) return {};
  throw error;
}

const minute = () => Math.floor(Date.now() / EVERY) * EVERY;
const round = (number) => (typeof number === 'number' ? Number(number.toPrecision(3)) : number ?? '–');
const seconds = (number) => (number === null || number === undefined ? '–' : span(number * 1000));

function Kpis({ kpis }) {
  return html`
    <ul class="tiles">${kpis.figures.map((figure) => html`<li key=${figure.key} class="tile ${figure.met === true ? 'met' : figure.met === false ? 'missed' : ''}">
      ${figure.name} <span class="figure">${figure.value === null ? '–' : figure.unit === 's' ? seconds(figure.value) : `${round(figure.value)}${figure.unit ? ` ${figure.unit}` : ''}`}</span>
      <span class="target">${figure.met === true ? 'Met: ' : figure.met === false ? 'Not met: ' : ''}${figure.target}${figure.source && ` (${figure.source})`}</span></li>`)}</ul>
    ${kpis.bad_actors.list.length > 0 && html`<section aria-labelledby="bad-title"><h2 id="bad-title">Alarms that come most often</h2>
      <${Table} label="Alarms that come most often" columns=${BAD} rows=${kpis.bad_actors.list} keyOf=${(row) => row.alarm} /></section>`}
    ${kpis.acknowledgement.all.count > 0 && html`<section aria-labelledby="delay-title"><h2 id="delay-title">Time to acknowledge</h2>
      <${Table} label="Time to acknowledge" columns=${DELAYS} rows=${delays(kpis.acknowledgement)} keyOf=${(row) => row.key} /></section>`}`;
}

const BAD = [
  { label: 'Alarm', class: 'what', cell: ({ alarm }) => html`<a href=${href('/', { view: 'all', alarm })}>${alarmName(alarm).tag} · ${alarmName(alarm).name}</a>` },
  { label: 'Times', class: 'value', cell: (row) => row.activations },
  { label: 'Share', class: 'value', cell: (row) => `${round(row.share)} %` },
];

const DELAYS = [
  { label: 'Of', cell: (row) => html`${row.priority && html`<${Mark} priority=${row.priority} size=${16} /> `}${row.name}` },
  { label: 'Alarms', class: 'value', cell: (row) => row.count },
  { label: 'Half within', class: 'value', cell: (row) => seconds(row.median_seconds) },
  { label: '90 % within', class: 'value', cell: (row) => seconds(row.p90_seconds) },
];

const delays = ({ all, by_priority, by_person }) => [
  { ...all, key: 'all', name: 'All' },
  ...by_priority.filter((row) => row.count).map((row) => ({ ...row, key: `priority ${row.priority}`, name: row.priority })),
  ...by_person.filter((row) => row.count).map((row) => ({ ...row, key: `person ${row.person}`, name: row.person })),
];

const USERS = [
  { label: 'User', class: 'what', cell: (user) => html`<span class="name">${user.username}</span>` },
  { label: 'Number', cell: (user) => user.phone_number },
  { label: 'Texts sent', class: 'value', cell: (user) => user.messages_sent },
  { label: 'Texts received', class: 'value', cell: (user) => user.messages_received },
  { label: 'Calls sent', class: 'value', cell: (user) => user.calls_sent },
  { label: 'Calls received', class: 'value', cell: (user) => user.calls_received },
  { label: 'Minutes sent', class: 'value', cell: (user) => user.call_minutes_sent },
  { label: 'Minutes received', class: 'value', cell: (user) => user.call_minutes_received },
];

function rows({ users, totals, other }) {
  return [
    ...users.map((user) => ({ ...user, key: user.id })),
    { ...totals, key: 'totals', username: 'All users', phone_number: '', total: true },
    { ...other, key: 'other', username: 'Other numbers', phone_number: '' },
  ];
}

/** A chart that the server has drawn. As an image it brings its own colours, and nothing in it can run. */
function Chart({ name, title, time }) {
  const { theme } = useStore(prefs);
  const [failed, setFailed] = useState(false);
  const source = `/api/v1/kpis/charts/${name}.svg${query({ ...time, theme: theme === 'auto' ? undefined : theme })}`;
  useEffect(() => setFailed(false), [source]);
  return html`<figure class="chart"><figcaption class="name">${title}</figcaption>
    ${failed ? html`<p class="empty">This chart cannot be drawn at present.</p>` : html`<img src=${source} alt=${`${title}; the figures stand above`} onError=${() => setFailed(true)} />`}</figure>`;
}
