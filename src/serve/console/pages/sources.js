// The connections to devices and servers, and how they do.
import { get } from '../lib/api.js';
import { useResource } from '../lib/resource.js';
import { value } from '../lib/format.js';
import { Loaded, Table, html } from '../lib/ui.js';

/** Rates and counts change without an event. */
const EVERY = 5000;

const COLUMNS = [
  { label: 'Source', class: 'what', cell: (source) => html`<span class="name">${source.name}</span><span class="path">${source.kind}</span>` },
  { label: 'Connection', cell: (source) => html`<span class="quality ${source.connected ? 'good' : 'bad'}">${source.connected ? 'Connected' : 'Not connected'}</span>` },
  { label: 'Good tags', class: 'value', cell: (source) => value(source.good_tags) },
  { label: 'Bad tags', class: 'value', cell: (source) => html`<span class=${source.bad_tags > 0 ? 'reading bad' : ''}>${value(source.bad_tags)}</span>` },
  { label: 'Reads a second', class: 'value', cell: (source) => value(Math.round(source.reads_per_second * 10) / 10) },
  { label: 'Reconnects', class: 'value', cell: (source) => value(source.reconnects) },
  { label: 'Failed writes', class: 'value', cell: (source) => value(source.write_errors) },
  { label: 'Last error', class: 'words', cell: (source) => source.last_error || html`<span class="none">none</span>` },
];

export function Sources() {
  const resource = useResource((signal) => get('sources', {}, signal), [], { topics: ['sources'], every: EVERY });
  return html`<h1>Sources</h1>
    <p class="lead">A lost source is connected again by itself. Its tags keep their last value with a bad quality, and its alarms hold their state.</p>
    <${Loaded} resource=${resource}>${({ sources }) => html`<${Table} label="Sources" columns=${COLUMNS} rows=${sources} keyOf=${(source) => source.name} empty="No source is configured." />`}<//>`;
}
