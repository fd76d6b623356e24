// Single keys as shortcuts. They can be switched off (WCAG 2.1.4), and never fire while somebody types or a dialogue is open.
import { useLayoutEffect } from 'preact/hooks';
import { prefs } from './prefs.js';
import { Store } from './store.js';

/** The shortcuts at hand, for the list that `?` shows. */
export const shortcuts = new Store([]);

/** Registers `[{ keys, does, run }]` while a component is shown. `keys` is one key, or two such as `g t`. */
export function useKeys(list, deps = []) {
  // Before the page is painted: a key acts on what its user sees.
  useLayoutEffect(() => {
    shortcuts.set([...shortcuts.value, ...list]);
    return () => shortcuts.set(shortcuts.value.filter((shortcut) => !list.includes(shortcut)));
  }, deps);
}

const SEQUENCE = 1500;
let first = { key: '', at: 0 };

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  const typing = event.target.closest('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]');
  if (typing || document.querySelector('dialog:modal')) return;
  if (prefs.value.keys !== 'on' && event.key !== 'Escape') return;
  const sequence = event.timeStamp - first.at < SEQUENCE ? `${first.key} ${event.key}` : '';
  const match = (wanted) => shortcuts.value.findLast((shortcut) => shortcut.keys === wanted);
  const found = (sequence && match(sequence)) || match(event.key);
  first = { key: event.key, at: event.timeStamp };
  if (!found) return;
  event.preventDefault();
  found.run(event);
});
