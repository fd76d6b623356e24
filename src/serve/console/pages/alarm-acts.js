// What a person may do to alarms: acknowledge, shelve, unshelve, out of service and back. One form each, for one alarm or many.
import { useState } from 'preact/hooks';
import { Mark, stateWords, unacked } from '../lib/alarm.js';
import { post } from '../lib/api.js';
import { alarmName, count, localInput, shortClock } from '../lib/format.js';
import { Field, Form, closeDialog, html, openDialog, toast } from '../lib/ui.js';

const SHOWN = 12;
const NOTE = 2000;
/** Alarms of one request. */
const AT_ONCE = 1000;

const Targets = ({ alarms }) => html`<ul class="targets">
  ${alarms.slice(0, SHOWN).map((alarm) => {
    const { tag, name } = alarmName(alarm.path);
    return html`<li><${Mark} alarm=${alarm} size=${18} /><span><strong>${alarm.message || name}</strong> <span class="path">${tag} · ${name}, ${stateWords(alarm).toLowerCase()}</span></span></li>`;
  })}
  ${alarms.length > SHOWN && html`<li class="none">and ${alarms.length - SHOWN} more</li>`}
</ul>`;

const Note = () => html`<${Field} label="Note" name="note" hint="Kept with your name in the journal. May be left empty.">
  ${({ id, name }) => html`<textarea id=${id} name=${name} rows="2" maxlength=${NOTE} aria-describedby=${`${id}-hint`}></textarea>`}<//>`;

/** Sends one request an alarm; the refusals are told together, each with the API's own words. */
async function each(alarms, send) {
  const refused = [];
  let good = 0;
  for (const alarm of alarms) {
    try {
      await send(alarm);
      good += 1;
    } catch (error) {
      refused.push(`${alarmName(alarm.path).name}: ${error.message}`);
      if (error.status === 0 || error.status === 401) break;
    }
  }
  return { good, refused };
}

function report({ good, refused }, done) {
  if (good) toast(`${count(good, 'alarm')} ${done}.`);
  if (refused.length) toast(`Not ${done}: ${refused.slice(0, 3).join(' · ')}${refused.length > 3 ? ` · and ${refused.length - 3} more` : ''}`, 'bad');
}

function ask({ title, alarms, label, send, done, finished, extra, danger }) {
  openDialog(title, () => html`<${Targets} alarms=${alarms} />
    <${Form} label=${label} danger=${danger} undo="Cancel" onUndo=${closeDialog} send=${(values) => send(values)}
      done=${(answer) => {
        closeDialog();
        report(answer, done);
        finished?.();
      }}>${extra}<${Note} /><//>`);
}

/** The event is named, so that an alarm that has come anew meanwhile is not acknowledged unseen. */
async function acknowledgeAll(alarms, note) {
  const sum = { good: 0, refused: [] };
  for (let first = 0; first < alarms.length; first += AT_ONCE) {
    const part = alarms.slice(first, first + AT_ONCE).map(({ path, event }) => ({ alarm: path, event: event ?? undefined }));
    const { results } = await post('alarms/ack-many', { alarms: part, note });
    sum.good += results.filter((result) => result.ok).length;
    sum.refused.push(...results.filter((result) => !result.ok).map((result) => `${alarmName(result.alarm ?? '').name}: ${result.message}`));
  }
  return sum;
}

export function acknowledge(alarms, finished) {
  const waiting = alarms.filter((alarm) => unacked(alarm) || alarm.latched);
  if (!waiting.length) return toast(alarms.length ? 'Nothing of this waits for an acknowledgement.' : 'Choose an alarm first.', 'warn');
  return ask({
    title: waiting.length === 1 ? 'Acknowledge' : `Acknowledge ${waiting.length} alarms`,
    alarms: waiting,
    label: 'Acknowledge',
    done: 'acknowledged',
    finished,
    send: ({ note }) => acknowledgeAll(waiting, note),
  });
}

const SPANS = [[15, '15 minutes'], [30, '30 minutes'], [60, '1 hour'], [120, '2 hours'], [480, '8 hours']];

/** For how long: a span, a time, or until it is over. */
function ShelveFields() {
  const [chosen, choose] = useState('15');
  const ends = (minutes) => shortClock(new Date(Date.now() + minutes * 60_000));
  return html`<${Field} label="For how long" name="minutes" hint="A shelved alarm tells nobody. It comes back by itself at the end.">
      ${({ id, name }) => html`<select id=${id} name=${name} aria-describedby=${`${id}-hint`} onChange=${(event) => choose(event.target.value)}>
        ${SPANS.map(([minutes, words]) => html`<option value=${minutes}>${words}, until ${ends(minutes)}</option>`)}
        <option value="until">until a time…</option>
        <option value="once">until it is normal again</option>
      </select>`}<//>
    ${chosen === 'until' && html`<${Field} label="Until" name="until" type="datetime-local" min=${localInput(new Date())} required />`}`;
}

export function shelve(alarms, finished) {
  if (!alarms.length) return toast('Choose an alarm first.', 'warn');
  return ask({
    title: alarms.length === 1 ? 'Shelve' : `Shelve ${alarms.length} alarms`,
    alarms,
    label: 'Shelve',
    done: 'shelved',
    finished,
    extra: html`<${ShelveFields} />`,
    send: async ({ minutes, until, note }) => {
      const chosen = minutes === 'until' ? (new Date(until) - Date.now()) / 60_000 : Number(minutes);
      if (minutes !== 'once' && !(chosen > 0)) throw new Error('Choose a time that is still to come.');
      const how = minutes === 'once' ? { one_shot: true } : { minutes: Math.round(chosen * 100) / 100 };
      return each(alarms, ({ path }) => post('alarms/shelve', { alarm: path, ...how, note }));
    },
  });
}

export function unshelve(alarms, finished) {
  return ask({
    title: 'End the shelving',
    alarms,
    label: 'Unshelve',
    done: 'back from the shelf',
    finished,
    send: ({ note }) => each(alarms, ({ path }) => post('alarms/unshelve', { alarm: path, note })),
  });
}

export function outOfService(alarms, out, finished) {
  if (!alarms.length) return toast('Choose an alarm first.', 'warn');
  return ask({
    title: out ? 'Take out of service' : 'Put back into service',
    alarms,
    label: out ? 'Take out of service' : 'Back into service',
    danger: out,
    done: out ? 'out of service' : 'back in service',
    finished,
    extra: out && html`<p class="notice warn">Nobody is told of it until somebody puts it back: it has no end.</p>`,
    send: ({ note }) => each(alarms, ({ path }) => post('alarms/out-of-service', { alarm: path, out, note })),
  });
}
