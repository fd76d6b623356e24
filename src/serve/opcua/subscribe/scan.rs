//! How items find what changed: by scanning versions of the tag table, block by block, at each sampling time. A version is stored
//! only with the value that it belongs to, so a value that came last is never lost.

use std::time::{Duration, Instant};

use super::items::Sampler;
use crate::tag::{BLOCK, Reading, TagId};

/// Never a version: whatever stands there is found to differ.
pub const UNSEEN: u64 = u64::MAX;

/// A tag that an item watches.
pub struct Slot {
    /// The tag.
    pub tag: TagId,
    /// Whose.
    pub item: u32,
    /// The version that the item has seen.
    pub version: u64,
}

struct Run {
    begin: usize,
    version: u64,
}

/// Items that are sampled together.
pub struct Group {
    /// How often.
    pub interval: Duration,
    /// When next.
    pub due: Instant,
    /// Items on values of tags.
    slots: Vec<Slot>,
    runs: Vec<Run>,
    /// Items on anything else.
    pub others: Vec<u32>,
    /// Items that keep every value of their tag.
    pub tapped: Vec<u32>,
    is_sorted: bool,
}

impl Group {
    /// An empty one.
    pub const fn new(interval: Duration, due: Instant) -> Self {
        Self { interval, due, slots: Vec::new(), runs: Vec::new(), others: Vec::new(), tapped: Vec::new(), is_sorted: true }
    }

    /// True without items.
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.others.is_empty() && self.tapped.is_empty()
    }

    /// Adds an item on a tag.
    pub fn add(&mut self, slot: Slot) {
        self.slots.push(slot);
        self.is_sorted = false;
    }

    /// Keeps the items that `stays` says.
    pub fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        let before = self.slots.len();
        self.slots.retain(|slot| stays(slot.item));
        self.is_sorted &= self.slots.len() == before;
        self.others.retain(|other| stays(*other));
        self.tapped.retain(|tapped| stays(*tapped));
    }

    fn sort(&mut self) {
        self.slots.sort_by_key(|slot| (slot.tag, slot.item));
        self.runs.clear();
        let mut last = None;
        for (begin, slot) in self.slots.iter().enumerate() {
            let block = slot.tag.index() / BLOCK;
            if last != Some(block) {
                self.runs.push(Run { begin, version: UNSEEN });
                last = Some(block);
            }
        }
        self.is_sorted = true;
    }

    /// Calls `news` with each item whose tag moved.
    pub fn scan(&mut self, sampler: &dyn Sampler, news: &mut dyn FnMut(u32, Reading)) {
        if !self.is_sorted {
            self.sort();
        }
        for place in 0..self.runs.len() {
            let end = self.runs.get(place + 1).map_or(self.slots.len(), |next| next.begin);
            let run = &mut self.runs[place];
            // The block's counter first, the versions after it: what is written in between is found by the next scan.
            let version = sampler.block_version(self.slots[run.begin].tag);
            if version == run.version {
                continue;
            }
            run.version = version;
            for slot in &mut self.slots[run.begin..end] {
                if sampler.version(slot.tag) != slot.version {
                    let reading = sampler.reading(slot.tag);
                    slot.version = reading.version;
                    news(slot.item, reading);
                }
            }
        }
    }
}
