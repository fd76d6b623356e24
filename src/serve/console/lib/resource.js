// What a page reads from the API, kept fresh.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { link, on } from './live.js';

/** Events within this time are one reading. */
const SETTLE = 250;

/**
 * What `load` gives, read again when `deps` or something of `topics` changes, after a reconnection, and each `every` milliseconds. The last
 * good answer stays while a new one is awaited or failed. Gives `{ data, error, busy, reload }`.
 */
export function useResource(load, deps = [], { topics = [], every = 0 } = {}) {
  const [state, setState] = useState({ data: null, error: null, busy: true });
  const running = useRef(null);
  const read = useCallback(async () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    setState((before) => ({ ...before, busy: true }));
    try {
      const data = await load(controller.signal);
      if (running.current === controller) setState({ data, error: null, busy: false });
    } catch (error) {
      if (running.current === controller && !controller.signal.aborted) setState((before) => ({ ...before, error, busy: false }));
    }
  }, deps);
  useEffect(() => {
    let timer = null;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = null;
        read();
      }, SETTLE);
    };
    read();
    const ends = ['reload', ...topics].map((topic) => on(topic, soon));
    const clock = every ? setInterval(() => !document.hidden && link.value.state === 'live' && read(), every) : null;
    return () => {
      for (const end of ends) end();
      clearInterval(clock);
      clearTimeout(timer);
      running.current?.abort();
    };
  }, [read]);
  return { ...state, reload: read };
}

/** The present time, once a second: for ages. */
export function useNow(every = 1000) {
  const [now, set] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => set(new Date()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
