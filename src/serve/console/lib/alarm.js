// What an alarm's state means to an operator: words, order (ISA-18.2), shape and colour.
import { h } from 'preact';
import { alarmName, shortClock, when } from './format.js';

export const PRIORITIES = ['critical', 'high', 'medium', 'low', 'diagnostic'];

/** Shapes differ by priority, so that colour says nothing that the shape does not. */
const SHAPES = {
  critical: 'M7 1h10l6 6v10l-6 6H7l-6-6V7Z',
  high: 'M12 1.5 23 22H1Z',
  medium: 'M12 .5 23.5 12 12 23.5.5 12Z',
  low: 'M12 1.5a10.5 10.5 0 1 1 0 21a10.5 10.5 0 1 1 0-21Z',
  diagnostic: 'M3 3h18v18H3Z',
};

const STATES = {
  ActiveUnacked: 'Unacknowledged',
  ActiveAcked: 'Acknowledged',
  ClearUnacked: 'Cleared, unacknowledged',
  ClearAcked: 'Normal',
};

const rank = Object.fromEntries(PRIORITIES.map((priority, index) => [priority, index]));
const stateRank = { ActiveUnacked: 0, ClearUnacked: 1, ActiveAcked: 2, ClearAcked: 3 };

export const priorityOf = (alarm) => String(alarm.priority).toLowerCase();
export const active = (alarm) => alarm.state.startsWith('Active');
export const unacked = (alarm) => alarm.state.endsWith('Unacked');
export const silenced = (alarm) => Boolean(when(alarm.shelved_until)) || alarm.suppressed || alarm.out_of_service;
/** Somebody should look at it: it is active or nobody has acknowledged it, and nothing silences it. */
export const wantsAttention = (alarm) => !silenced(alarm) && (active(alarm) || unacked(alarm) || alarm.latched);

/** Unacknowledged first, then by priority, then the newest. */
export function byUrgency(one, two) {
  const silent = silenced(one) - silenced(two);
  const ack = unacked(two) - unacked(one);
  const priority = rank[priorityOf(one)] - rank[priorityOf(two)];
  const state = stateRank[one.state] - stateRank[two.state];
  if (silent || ack || priority || state) return silent || ack || priority || state;
  if (one.active_time !== two.active_time) return one.active_time < two.active_time ? 1 : -1;
  return one.path < two.path ? -1 : 1;
}

export function byTime(one, two) {
  if (one.active_time !== two.active_time) return one.active_time < two.active_time ? 1 : -1;
  return one.path < two.path ? -1 : 1;
}

export const stateWords = (alarm) => (alarm.state === 'ClearAcked' && alarm.latched ? 'Latched, waits for reset' : STATES[alarm.state] ?? alarm.state);

/** What silences or marks an alarm besides its state. */
export function flags(alarm) {
  const until = when(alarm.shelved_until);
  return [
    until && (until.getFullYear() > 9000 ? 'Shelved until normal' : `Shelved until ${shortClock(until)}`),
    alarm.suppressed && 'Suppressed',
    alarm.out_of_service && 'Out of service',
    alarm.latched && alarm.state !== 'ClearAcked' && 'Latched',
    alarm.chattering && 'Chattering',
  ].filter(Boolean);
}

/** For a screen reader and the document's title. */
export function spoken(alarm) {
  const { tag, name } = alarmName(alarm.path);
  return `${priorityOf(alarm)} alarm, ${tag.replaceAll('/', ' ')} ${name}. ${alarm.message}`;
}

/** The shape: filled while active, hollow once clear, and ringed until acknowledged. */
export function Mark({ alarm, priority = priorityOf(alarm), size = 22 }) {
  const state = alarm ? `${active(alarm) ? 'active' : 'clear'} ${unacked(alarm) ? 'unacked' : ''} ${silenced(alarm) ? 'silenced' : ''} ${alarm.state === 'ClearAcked' && !alarm.latched ? 'normal' : ''}` : 'active';
  return h('svg', { class: `mark ${priority} ${state}`, viewBox: '-3 -3 30 30', width: size, height: size, 'aria-hidden': 'true', focusable: 'false' }, h('path', { d: SHAPES[priority] ?? SHAPES.diagnostic }));
}
