// The stream of what changes, and whether it still flows. A page that shows old values as if they were present ones is worse than
// none: as soon as nothing is heard, everybody is told, and it comes back by itself.
import { announce, say } from './announce.js';
import { get, whoAmI } from './api.js';
import { ended, session } from './session.js';
import { Store } from './store.js';

/** The stream beats every 5 s; after this silence the line is dead, though nothing has ended it. */
const SILENCE = 12_000;
const WATCH = 1000;
/** An interruption this short is not shown. */
const GRACE = 1200;
const RETRY = [500, 1000, 2000, 3000];
const COALESCE = 100;
const TOPICS = ['alarms', 'messages', 'sources', 'counts', 'overrides'];

/** `state`: `connecting`, `live` or `lost`; `heard`: when the program was last heard of; `lost`: since when it is not. */
export const link = new Store({ state: 'connecting', heard: null, lost: null });
/** Every alarm by its path; `null` until they are loaded. Always a new Map after a change. */
export const alarms = new Store(null);
export const counts = new Store(null);
/** Why the list of alarms cannot be read at present. */
export const trouble = new Store('');

const listeners = new Map();
let stream = null;
let watching = null;
/** When the stream was opened, milliseconds. */
let opened = 0;
let grace = null;
let attempt = 0;
/** The whole list is being read; `again`: and is old already. */
let reading = false;
let again = false;
/** Changes since the last list, `null` for an alarm that is gone. */
const arrived = new Map();
let flushing = null;
/** Events that were told, so that a reload tells only what is new. */
let known = null;

function tell(topic, data) {
  for (const listener of [...(listeners.get(topic) ?? [])]) listener(data);
}

/** Calls `listener` whenever something of `topic` changes. */
export function on(topic, listener) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(listener);
  return () => listeners.get(topic).delete(listener);
}

function heard() {
  clearTimeout(grace);
  grace = null;
  if (link.value.state === 'lost') say('Connected again.', true);
  link.set({ state: 'live', heard: new Date(), lost: null });
}

function silent() {
  if (link.value.state === 'lost' || grace) return;
  grace = setTimeout(() => {
    grace = null;
    link.patch({ state: 'lost', lost: link.value.heard ?? new Date() });
    say('Disconnected from Annunciator. What is shown is old.', true);
  }, GRACE);
}

export function start() {
  stop();
  open();
  watching = setInterval(watch, WATCH);
}

export function stop() {
  clearInterval(watching);
  clearTimeout(grace);
  grace = null;
  stream?.close();
  stream = null;
  alarms.set(null);
  counts.set(null);
  known = null;
  arrived.clear();
  link.set({ state: 'connecting', heard: null, lost: null });
}

/** A dead line ends no connection by itself, and an attempt to connect may hang. */
function watch() {
  if (Date.now() - Math.max(link.value.heard ?? 0, opened) < SILENCE) return;
  silent();
  stream?.close();
  open();
}

function open() {
  const mine = new EventSource(`/api/v1/stream?topics=${TOPICS.join(',')}`);
  stream = mine;
  opened = Date.now();
  const hear = (name, handle) =>
    mine.addEventListener(name, (event) => {
      if (stream !== mine) return;
      heard();
      handle(JSON.parse(event.data));
    });
  hear('hello', ({ resumed }) => {
    attempt = 0;
    if (!resumed || !alarms.value) reload();
  });
  hear('beat', () => {});
  hear('reload', reload);
  hear('alarms', ({ alarms: changed = [], gone = [] }) => upsert(changed, gone));
  hear('counts', (now) => counts.set(now));
  for (const topic of ['messages', 'sources', 'overrides']) hear(topic, (data) => tell(topic, data));
  hear('logout', () => ended('Your session has ended. Log in again to go on.'));
  mine.onerror = () => {
    if (stream !== mine) return;
    silent();
    // A browser gives up after a refusal; a line that broke it tries again by itself, with the number of the last event.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => reopen(mine), RETRY[Math.min(attempt++, RETRY.length - 1)]);
  };
}

async function reopen(closed) {
  if (stream !== closed) return;
  try {
    await whoAmI();
    if (session.value) open();
  } catch {
    setTimeout(() => reopen(closed), RETRY[Math.min(attempt++, RETRY.length - 1)]);
  }
}

/** Reads everything anew: the alarms here, the rest by whoever shows it. */
async function reload() {
  tell('reload');
  checkVersion();
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  const of = stream;
  try {
    const all = new Map();
    let cursor;
    do {
      const page = await get('alarms', { cursor });
      for (const alarm of page.alarms) all.set(alarm.path, alarm);
      cursor = page.next;
    } while (cursor);
    if (of !== stream) again = Boolean(stream);
    else {
      trouble.set('');
      alarms.set(apply(all));
      tellNew([...all.values()]);
      tell('alarms');
    }
  } catch (error) {
    trouble.set(error.message);
    if (session.value && stream) setTimeout(reload, RETRY.at(-1));
  }
  reading = false;
  if (again) {
    again = false;
    reload();
  }
}

/** A flood comes in many events: the list is made anew at most so often. */
function upsert(changed, gone) {
  for (const alarm of changed) arrived.set(alarm.path, alarm);
  for (const path of gone) arrived.set(path, null);
  if (!reading) flushing ??= setTimeout(flush, COALESCE);
}

function flush() {
  flushing = null;
  if (reading || !alarms.value) return;
  const changed = [...arrived.values()].filter(Boolean);
  alarms.set(apply(new Map(alarms.value)));
  tellNew(changed);
  tell('alarms', changed);
}

/** Takes what has arrived into the list. */
function apply(all) {
  for (const [path, alarm] of arrived) {
    if (alarm) all.set(path, alarm);
    else all.delete(path);
  }
  arrived.clear();
  return all;
}

/** Announces events that nobody has acknowledged and that were not there before; what a page finds when it opens is not new. */
function tellNew(changed) {
  const waiting = changed.filter((alarm) => alarm.state === 'ActiveUnacked' && alarm.event && !alarm.suppressed && !alarm.out_of_service && !alarm.shelved_until);
  if (!known) {
    known = new Set(waiting.map((alarm) => alarm.event));
    return;
  }
  const fresh = waiting.filter((alarm) => !known.has(alarm.event));
  for (const alarm of fresh) known.add(alarm.event);
  announce(fresh);
}

/** After an upgrade the files of this version are gone: the page is loaded anew. */
async function checkVersion() {
  const answer = await fetch(import.meta.url, { method: 'HEAD', cache: 'no-store' }).catch(() => null);
  if (answer?.status === 404) location.reload();
}
