// The HTTP API. A refusal is an `Error` whose message is for people.
import { ended, farewell, session } from './session.js';

const PATIENCE = 20_000;

export class Refused extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const KINDLY = {
  403: 'Your role does not allow this.',
  429: 'Too much at once. Wait a moment, then try again.',
  503: 'The program is busy or starting. Try again in a few seconds.',
};

async function ask(method, path, body, signal) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (method !== 'GET' && session.value?.csrf_token) headers['x-csrf-token'] = session.value.csrf_token;
  const patience = AbortSignal.timeout(PATIENCE);
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused('There is no connection to Annunciator. Nothing was changed as far as this page knows.', 0);
  }
  const text = await answer.text();
  const json = (() => {
    try {
      return text ? JSON.parse(text) : null;
    } catch {
      return null;
    }
  })();
  if (answer.ok) return json;
  if (answer.status === 401 && path !== 'session') ended('Your session has ended. Log in again to go on.');
  throw new Refused(json?.detail || KINDLY[answer.status] || `The program answered ${answer.status}.`, answer.status, json?.code ?? json?.status_code);
}

/** `a=1&b=2` of what has a value; a list repeats its name. */
export function query(params = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined || value === null || value === '') continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, one);
  }
  const text = search.toString();
  return text ? `?${text}` : '';
}

export const get = (path, params, signal) => ask('GET', path + query(params), undefined, signal);
export const post = (path, body = {}) => ask('POST', path, body);
export const put = (path, body) => ask('PUT', path, body);
export const remove = (path) => ask('DELETE', path);
/** A tag's path as part of an address. */
export const tagPath = (path) => path.split('/').map(encodeURIComponent).join('/');

/** Asks who we are; `session` has the answer. */
export async function whoAmI() {
  try {
    session.set(await ask('GET', 'session'));
  } catch (error) {
    if (error.status === 401) session.set(null);
    else throw error;
  }
}

export async function logIn(user, password) {
  const who = await ask('POST', 'session', { user, password });
  farewell.set('');
  session.set(who);
}

export async function logOut() {
  await ask('DELETE', 'session');
  farewell.set('You have logged out.');
  session.set(null);
}
