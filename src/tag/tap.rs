//! Taps: every value that some tags take, kept until somebody reads it. The table shows only the present; a queue of an OPC UA item
//! and the history want what was in between.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{Reading, TagId};

/// What a tap gives up.
#[derive(Debug, Default, PartialEq)]
pub struct Drained {
    /// Every value since the last time, oldest first.
    pub values: VecDeque<(TagId, Reading)>,
    /// How many older ones were dropped for want of room.
    pub lost: u64,
}

/// Keeps what some tags take, up to a number of values; the oldest give way.
pub struct Tap {
    kept: Mutex<Drained>,
    has_values: AtomicBool,
    room: usize,
    open: Arc<AtomicUsize>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tap {
    fn new(room: usize, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { kept: Mutex::default(), has_values: AtomicBool::new(false), room: room.max(1), open }
    }

    /// False when nothing came since the last [`Self::drain`].
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.has_values.load(Ordering::Acquire)
    }

    /// Values that it keeps at most.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Takes what has come.
    #[must_use]
    pub fn drain(&self) -> Drained {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_values.store(false, Ordering::Release);
        std::mem::take(&mut kept)
    }

    fn push(&self, tag: TagId, reading: Reading) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values.len() >= self.room {
            kept.values.pop_front();
            kept.lost += 1;
        }
        kept.values.push_back((tag, reading));
        self.has_values.store(true, Ordering::Release);
    }
}

/// Who taps which tag. A tap ends with its last owner.
#[derive(Default)]
pub(super) struct Taps {
    by_tag: HashMap<TagId, Vec<Weak<Tap>>>,
    open: Arc<AtomicUsize>,
}

impl Taps {
    /// A new tap of `tags`.
    pub(super) fn open(&mut self, tags: impl IntoIterator<Item = TagId>, room: usize) -> Arc<Tap> {
        let tap = Arc::new(Tap::new(room, Arc::clone(&self.open)));
        for tag in tags {
            let taps = self.by_tag.entry(tag).or_default();
            taps.retain(|tap| tap.strong_count() > 0);
            taps.push(Arc::downgrade(&tap));
        }
        tap
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Tells the taps of `tag` what it took.
    pub(super) fn push(&mut self, tag: TagId, reading: impl Fn() -> Reading) {
        if self.by_tag.is_empty() {
            return;
        }
        let Some(taps) = self.by_tag.get_mut(&tag) else { return };
        taps.retain(|tap| tap.upgrade().map(|tap| tap.push(tag, reading())).is_some());
        if taps.is_empty() {
            self.by_tag.remove(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::{Sample, StatusCode, TagTable, Timestamp, Value};

    fn sample(tag: u32, value: i32) -> Sample {
        let source_time = Timestamp::from_ticks(value.into());
        Sample { tag: TagId(tag), value: Value::Int32(value), status: StatusCode::GOOD, source_time }
    }

    #[test]
    fn a_tap_keeps_every_value_in_order_and_counts_what_it_drops() {
        let table = TagTable::default();
        table.write(&[sample(1, 0)]);
        let tap = table.tap([TagId(1), TagId(2)], 3);
        assert!(!tap.has_values());
        table.write(&[sample(1, 1), sample(2, 1), sample(3, 1), sample(1, 1), sample(1, 2)]);
        assert!(tap.has_values());
        let drained = tap.drain();
        let values: Vec<_> = drained.values.iter().map(|(tag, reading)| (tag.0, reading.value.clone())).collect();
        assert_eq!(values, [(1, Value::Int32(1)), (2, Value::Int32(1)), (1, Value::Int32(2))]);
        assert_eq!((drained.lost, drained.values[2].1.version), (0, table.version(TagId(1))));
        for value in 3..8 {
            table.write(&[sample(1, value)]);
        }
        let drained = tap.drain();
        assert_eq!((drained.lost, drained.values[0].1.value.clone()), (2, Value::Int32(5)));
        assert!(!tap.has_values());
        drop(tap);
        table.write(&[sample(1, 9)]);
    }
}
