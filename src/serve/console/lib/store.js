// A value that components follow.
import { useEffect, useState } from 'preact/hooks';

export class Store {
  #value;
  #followers = new Set();

  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  set(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const follower of [...this.#followers]) follower(value);
  }

  /** Changes some fields of an object. */
  patch(fields) {
    this.set({ ...this.#value, ...fields });
  }

  follow(follower) {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }
}

/** The store's value, and a new rendering whenever it changes. */
export function useStore(store) {
  const [value, set] = useState(store.value);
  useEffect(() => {
    set(store.value);
    return store.follow((next) => set(() => next));
  }, [store]);
  return value;
}
