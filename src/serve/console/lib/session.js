// Who has logged in: the API's own answer, never a guess.
import { Store } from './store.js';

const ROLES = ['viewer', 'operator', 'engineer'];

/** `undefined` until asked, `null` when logged out; else what `GET /session` says. */
export const session = new Store(undefined);
/** Why the login page is shown, for people. */
export const farewell = new Store('');

/** True when the user has this role or a higher one. */
export function may(role) {
  return ROLES.indexOf(session.value?.role) >= ROLES.indexOf(role);
}

/** What is said where a button would be that this user may not press. */
export function needs(role) {
  return `Your role is ${session.value?.role ?? 'none'}; this needs ${role}.`;
}

export function ended(reason) {
  if (!session.value) return session.set(null);
  farewell.set(reason);
  session.set(null);
}
