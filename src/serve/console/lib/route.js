// Which page, and what of it: both stand in the address, so that a link, a reload and the back button mean what they say.
import { Store } from './store.js';

const read = () => ({ path: location.pathname, params: Object.fromEntries(new URLSearchParams(location.search)) });

export const route = new Store(read());

addEventListener('popstate', () => route.set(read()));

const href = (path, params) => {
  const search = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined && value !== ''));
  const text = search.toString();
  return text ? `${path}?${text}` : path;
};

export function go(path, params = {}) {
  history.pushState(null, '', href(path, params));
  route.set(read());
}

/** Changes some parameters of the present page; `replace` keeps the back button for pages. */
export function refine(params, { replace = true } = {}) {
  const address = href(location.pathname, { ...route.value.params, ...params });
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  route.set(read());
}

/** Lets the links of this console change the page without loading it anew. */
export function followLinks(root) {
  root.addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="/"]');
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
    const { pathname, search, hash } = new URL(link.href);
    if (hash || pathname.startsWith('/api/') || pathname === '/metrics') return;
    event.preventDefault();
    go(pathname, Object.fromEntries(new URLSearchParams(search)));
  });
}

export { href };
