//! What is due when: one time for each thing that waits, found without a search.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::tag::Timestamp;

/// One due time a key; setting it again replaces it.
#[derive(Debug)]
pub struct Timers<K> {
    by_key: HashMap<K, Timestamp>,
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Timers<K> {
    /// Sets or, with `None`, clears the time of `key`.
    pub fn set(&mut self, key: &K, due: Option<Timestamp>) {
        let old = match due {
            Some(due) => self.by_key.insert(key.clone(), due),
            None => self.by_key.remove(key),
        };
        if old == due {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(due) = due {
            self.by_time.insert((due, key.clone()));
        }
    }

    /// How many keys have a time.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Takes the earliest key that is due at `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<K> {
        let (due, key) = self.by_time.first()?.clone();
        if due > now {
            return None;
        }
        self.set(&key, None);
        Some(key)
    }

    /// Clears every key for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.by_key.retain(|key, _| keep(key));
        self.by_time.retain(|(_, key)| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_new_time_replaces_the_old() {
        let at = Timestamp::from_ticks;
        let mut timers = Timers::default();
        timers.set(&"a", Some(at(30)));
        timers.set(&"b", Some(at(20)));
        timers.set(&"a", Some(at(10)));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some("a"));
        assert_eq!(timers.pop(at(25)), Some("b"));
        assert_eq!((timers.pop(at(99)), timers.next()), (None, None));
    }
}
