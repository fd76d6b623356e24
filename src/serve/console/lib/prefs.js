// What this browser remembers of its user's taste. Nothing about the plant is kept here.
import { Store } from './store.js';

const PREFIX = 'annunciator.';
const DEFAULTS = { theme: 'auto', sound: 'off', keys: 'on' };

function read(name) {
  try {
    return localStorage.getItem(PREFIX + name) ?? DEFAULTS[name];
  } catch {
    return DEFAULTS[name];
  }
}

export const prefs = new Store(Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, read(name)])));

export function prefer(name, value) {
  prefs.patch({ [name]: value });
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // It holds until the page is closed, then.
  }
  if (name === 'theme') {
    if (value === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
  }
}
