// An alarm's whole story: what happened, who was told, who did what, and whether the PLC took it.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { Mark, flags, priorityOf, stateWords, unacked } from '../lib/alarm.js';
import { get } from '../lib/api.js';
import { alarmName, full, span, value, when, words } from '../lib/format.js';
import { alarms } from '../lib/live.js';
import { useResource } from '../lib/resource.js';
import { refine } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Act, Loaded, Time, html } from '../lib/ui.js';
import { acknowledge, outOfService, shelve, unshelve } from './alarm-acts.js';

export function Story({ path, event, leave }) {
  const all = useStore(alarms);
  const heading = useRef(null);
  const alarm = all?.get(path);
  const resource = useResource((signal) => get('alarms/story', { alarm: path, event }, signal), [path, event, alarm?.event], { topics: ['alarms', 'messages'] });
  useEffect(() => heading.current?.focus(), [path]);
  const { tag, name } = alarmName(path);
  return html`<section class="story" aria-labelledby="story-title">
    <button type="button" class="plain back" onClick=${leave}>Close</button>
    <h2 id="story-title" ref=${heading} tabindex="-1">${name} <span class="path">${tag}</span></h2>
    ${alarm ? html`<${Head} alarm=${alarm} />` : html`<p class="notice">This alarm is no longer in the configuration.</p>`}
    <${Loaded} resource=${resource}>${(story) => html`<${Definition} story=${story} /><${Events} story=${story} event=${event} /><${UnderWay} rows=${story.outbox ?? []} /><${Timeline} story=${story} />`}<//>
  </section>`;
}

function Head({ alarm }) {
  const shelved = when(alarm.shelved_until);
  return html`
    <p class="story-message">${alarm.message}</p>
    <p><span class="badge ${priorityOf(alarm)}"><${Mark} alarm=${alarm} /><span>${priorityOf(alarm)}</span></span> ${stateWords(alarm)}
      ${flags(alarm).map((flag) => html`<span class="flag">${flag}</span>`)}</p>
    <div class="buttons">
      ${(unacked(alarm) || alarm.latched) && html`<${Act} class="primary" onClick=${() => acknowledge([alarm])}>Acknowledge…<//>`}
      ${shelved ? html`<${Act} onClick=${() => unshelve([alarm])}>Unshelve…<//>` : html`<${Act} onClick=${() => shelve([alarm])}>Shelve…<//>`}
      <${Act} role="engineer" onClick=${() => outOfService([alarm], !alarm.out_of_service)}>${alarm.out_of_service ? 'Back in service…' : 'Out of service…'}<//>
    </div>
    <dl class="facts">
      ${fact('Value then', alarm.value !== '' && value(alarm.value))}
      ${fact('Active since', when(alarm.active_time) && full(when(alarm.active_time)))}
      ${fact('Cleared', when(alarm.clear_time) && full(when(alarm.clear_time)))}
      ${fact('Acknowledged', when(alarm.ack_time) && `${full(when(alarm.ack_time))}${alarm.ack_user ? ` by ${alarm.ack_user}` : ''}`)}
      ${fact('Code in texts', alarm.code)}
      ${fact('Notification', alarm.notification)}
    </dl>`;
}

const fact = (label, content) => content && html`<div><dt>${label}</dt><dd>${content}</dd></div>`;

/** What the configuration says of it: associated data (such as what to do), and who is told. */
function Definition({ story }) {
  const { pipeline, ack_tag: ackTag, data = {}, shelving, max_shelve_seconds: most } = story.definition ?? {};
  return html`<dl class="facts">
    ${Object.entries(data).map(([name, text]) => fact(words(name), text))}
    ${fact('Pipeline', pipeline || 'none: nobody is told')}
    ${fact('Written to', ackTag)}
    ${fact('Shelving', shelving === false ? 'not allowed' : most && `at most ${span(most * 1000)}`)}
  </dl>`;
}

const ENDED = ['delivered', 'completed', 'failed', 'undelivered', 'cancelled', 'accepted'];

/** Messages and writes that have not ended. */
function UnderWay({ rows }) {
  const open = rows.filter((row) => !ENDED.includes(row.state));
  if (!open.length) return null;
  return html`<h3>Under way</h3><ul class="targets">${open.map((row) => html`<li key=${row.row}><span><strong>${words(row.kind)}</strong> to ${row.user ?? row.to}: ${row.state} <span class="none">${row.detail}</span></span></li>`)}</ul>`;
}

function Events({ story, event }) {
  if ((story.events?.length ?? 0) < 2) return null;
  const shown = event ?? story.event ?? '';
  return html`<p class="field inline"><label for="story-event">Occurrence</label>
    <select id="story-event" value=${shown} onChange=${(change) => refine({ event: change.target.value })}>
      ${story.events.map((one) => html`<option value=${one.event} selected=${one.event === shown}>${full(new Date(one.time))}</option>`)}
    </select></p>`;
}

/** Transitions, messages and acts in the order in which they happened. */
function Timeline({ story }) {
  const lines = useMemo(() => told(story), [story]);
  if (!lines.length) return html`<p class="empty">Nothing has happened to it yet.</p>`;
  return html`<h3>What happened</h3><ol class="timeline">
    ${lines.map((line) => html`<li key=${line.key} class=${line.kind}><${Time} at=${line.time} /><div><strong>${line.title}</strong>${line.who && html` <span class="who">${line.who}</span>`}
      ${line.text && html`<p>${line.text}</p>`}</div></li>`)}
  </ol>`;
}

/** Acts that the journal tells of too. */
const SAME = {
  acknowledge: ['acknowledged', 'reset'],
  comment: ['commented'],
  out_of_service: ['out_of_service', 'in_service'],
  shelve: ['shelved', 'unshelved'],
  write_back: ['write_back'],
};

function told({ transitions = [], messages = [], acts = [] }) {
  const journal = transitions.map(({ id, entry }) => ({
    key: `j${id}`,
    time: entry.time,
    kind: `transition ${entry.kind}`,
    title: words(entry.kind),
    who: [entry.user, entry.via && `by ${words(entry.via).toLowerCase()}`].filter(Boolean).join(' '),
    text: [entry.kind === 'raised' && entry.value && `Value ${entry.value}.`, entry.text].filter(Boolean).join(' '),
  }));
  const acted = acts.filter(({ entry }) => !transitions.some((row) => row.entry.time === entry.time && (SAME[entry.kind] ?? []).includes(row.entry.kind)));
  const audit = [...messages, ...acted].map(({ id, entry }) => ({
    key: `a${id}`,
    time: entry.time,
    kind: `act ${entry.kind}`,
    title: words(entry.kind),
    who: entry.kind.startsWith('message') || entry.kind.startsWith('call') || entry.kind === 'answer' ? `${entry.user} ${entry.subject}`.trim() : entry.user,
    text: [entry.text, entry.result].filter(Boolean).join(' – '),
  }));
  return [...journal, ...audit].sort((one, two) => (one.time < two.time ? -1 : one.time > two.time ? 1 : 0));
}
