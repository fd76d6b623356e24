// Who would be told what, when and how, if this alarm came at that time and nobody answered.
import { useState } from 'preact/hooks';
import { get } from '../lib/api.js';
import { brief, full, localInput, span, weekday, words } from '../lib/format.js';
import { alarms } from '../lib/live.js';
import { refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Field, Form, Table, html } from '../lib/ui.js';

/** Paths that the field suggests. */
const SUGGESTED = 500;

const COLUMNS = [
  { label: 'When', cell: (row) => html`<time datetime=${row.time} title=${full(new Date(row.time))}>${weekday(new Date(row.time))} ${brief(new Date(row.time))}</time>` },
  { label: 'After', class: 'value', cell: (row) => span(row.after_seconds * 1000) },
  { label: 'Who', cell: (row) => html`<span class="name">${row.who}</span>` },
  { label: 'How', cell: (row) => `${words(row.kind)}${row.profile ? ` (${row.profile})` : ''}` },
  { label: 'Step', cell: (row) => row.step },
  { label: 'What', class: 'words', cell: (row) => row.words },
];

export function WhatIf() {
  const all = useStore(alarms);
  const { params } = useStore(route);
  const [forecast, setForecast] = useState(null);
  const [now] = useState(() => new Date());
  const ask = async ({ alarm, at, value, until }) => {
    const answer = await get('what-if', { alarm, at: new Date(at).toISOString(), value, until });
    refine({ alarm });
    return answer;
  };
  const paths = all ? [...all.keys()].sort().slice(0, SUGGESTED) : [];
  return html`<h1>What-if</h1>
    <p class="lead">Who would be told, when and by which channel, until nobody more is left to tell. Nothing is sent, and what the running program
      knows (shelved alarms, overrides made here, used budgets) is not considered.</p>
    <${Form} label="Show" send=${ask} done=${setForecast}>
      <div class="row">
        <${Field} label="Alarm" name="alarm" list="alarm-paths" defaultValue=${params.alarm ?? ''} required autocomplete="off" autocapitalize="none" />
        <${Field} label="Raised at" name="at" type="datetime-local" defaultValue=${localInput(now)} required />
        <${Field} label="Value (optional)" name="value" autocomplete="off" />
        <${Field} label="Look on for" name="until">${({ id, name }) => html`<select id=${id} name=${name}><option value="1h">1 hour</option><option value="8h">8 hours</option><option value="24h" selected>a day</option><option value="7d">a week</option></select>`}<//>
      </div>
    <//>
    <datalist id="alarm-paths">${paths.map((path) => html`<option value=${path} />`)}</datalist>
    ${forecast && html`<${Forecast} forecast=${forecast} />`}`;
}

function Forecast({ forecast }) {
  if (!forecast.pipeline) return html`<p class="notice" role="status">This alarm has no pipeline: it is shown and journalled, and nobody is told.</p>`;
  return html`<section aria-labelledby="forecast-title" aria-live="polite">
    <h2 id="forecast-title">${forecast.alarm} <span class="path">${forecast.priority}, pipeline ${forecast.pipeline}</span></h2>
    <${Table} label="Who is told" columns=${COLUMNS} rows=${forecast.rows.map((row, index) => ({ ...row, index }))} keyOf=${(row) => row.index} empty="Nothing happens." />
    <p class="hint">${forecast.cut ? 'There is more; this is cut here.' : `Nothing more until ${full(new Date(forecast.until))}.`}</p>
  </section>`;
}
