//! Monitored items and how they find what changed: by scanning versions of the tag table, block by block, at each sampling
//! time. A version is stored only with the value that it belongs to, so a value that came last is never lost.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        attributes::IndexRange,
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Reader, Timestamps, Writer},
    },
    filter::{Filter, Told},
    status,
};
use crate::{
    engine::plan::TagDef,
    tag::{BLOCK, Reading, StatusCode, TagId, Timestamp, Value},
};

/// InfoType DataValue with the Overflow bit (Part 4, 7.39).
const OVERFLOW: u32 = 0x0480;

/// Where items take their values from.
pub trait Sampler {
    /// The present value of a tag.
    fn reading(&self, tag: TagId) -> Reading;
    /// The version of a tag.
    fn version(&self, tag: TagId) -> u64;
    /// The change counter of a tag's block.
    fn block_version(&self, tag: TagId) -> u64;
    /// Any other attribute, as an encoded Variant.
    fn attribute(&self, node: NodeRef, attribute: u32) -> Result<Vec<u8>, StatusCode>;
    /// The node with this id in the address space of now.
    fn find(&self, id: Id<'_>) -> Option<NodeRef>;
    /// The tag at a node.
    fn tag(&self, node: NodeRef) -> Option<Arc<TagDef>>;
    /// Differs when the address space is another one.
    fn generation(&self) -> usize;
    /// Now.
    fn wall(&self) -> Timestamp;
}

/// Whether an item is sampled and told (Part 4, 7.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Disabled,
    Sampling,
    Reporting,
}

impl Mode {
    /// `None` for a number that the standard does not give.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Disabled,
            1 => Self::Sampling,
            2 => Self::Reporting,
            _ => return None,
        })
    }
}

enum Payload {
    Value(Value),
    Encoded(Vec<u8>),
}

struct Notification {
    status: StatusCode,
    payload: Payload,
    source: Timestamp,
    server: Timestamp,
}

enum Watched {
    /// The Value of a tag.
    Tag(TagId),
    /// Anything else; with what was last told of it.
    Other(NodeRef, Option<Result<Vec<u8>, StatusCode>>),
    /// The node was removed by a reload.
    Gone,
}

/// What an item watches.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node, as the client named it.
    pub id: Id<'a>,
    /// The node.
    pub node: NodeRef,
    /// The attribute.
    pub attribute: u32,
    /// The part of it.
    pub range: Option<IndexRange>,
}

/// What a client may set of an item.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Returned with each notification.
    pub handle: u32,
    /// Revised.
    pub sampling: Duration,
    /// When a value is news.
    pub filter: Filter,
    /// Revised, at least 1.
    pub queue: u32,
    /// Which end gives way when the queue is full.
    pub discard_oldest: bool,
    /// Which timestamps are told.
    pub timestamps: Timestamps,
}

/// A monitored item.
pub struct Item {
    watched: Watched,
    /// Encoded NodeId, to find the node again after a reload.
    node: Box<[u8]>,
    attribute: u32,
    range: Option<IndexRange>,
    mode: Mode,
    parameters: Parameters,
    told: Option<Told>,
    queue: VecDeque<Notification>,
    is_ready: bool,
}

impl Item {
    fn offer(&mut self, reading: Reading, now: Timestamp) {
        let mut value = reading.value;
        let mut status = reading.status;
        if let Some(range) = self.range.filter(|_| !status.is_bad()) {
            match range.of(&value) {
                Ok(part) => value = part,
                Err(failed) => (value, status) = (Value::Null, failed),
            }
        }
        let new = Told { value, status, source_time: reading.source_time };
        if !self.parameters.filter.is_news(self.told.as_ref(), &new) {
            return;
        }
        let payload = Payload::Value(new.value.clone());
        self.push(Notification { status, payload, source: new.source_time, server: now });
        self.told = Some(new);
    }

    fn offer_encoded(&mut self, found: Result<Vec<u8>, StatusCode>, now: Timestamp) {
        let (status, bytes) = match &found {
            Ok(bytes) => (StatusCode::GOOD, bytes.clone()),
            Err(status) => (*status, Vec::new()),
        };
        match &mut self.watched {
            Watched::Other(_, last) if last.as_ref() == Some(&found) => return,
            Watched::Other(_, last) => *last = Some(found),
            Watched::Tag(_) | Watched::Gone => {}
        }
        let source = if self.attribute == attribute::VALUE { now } else { Timestamp::NULL };
        self.push(Notification { status, payload: Payload::Encoded(bytes), source, server: now });
    }

    fn push(&mut self, new: Notification) {
        let size = self.parameters.queue as usize;
        let full = self.queue.len() >= size;
        if !full {
            self.queue.push_back(new);
        } else if size == 1 {
            // The newest value replaces the old one; a queue of one never overflows (Part 4, 7.21).
            self.queue.clear();
            self.queue.push_back(new);
        } else if self.parameters.discard_oldest {
            self.queue.pop_front();
            self.queue.push_back(new);
            if let Some(oldest) = self.queue.front_mut() {
                oldest.status.0 |= OVERFLOW;
            }
        } else if let Some(newest) = self.queue.back_mut() {
            *newest = new;
            newest.status.0 |= OVERFLOW;
        }
    }

    fn shrink(&mut self) {
        let size = self.parameters.queue as usize;
        let overflown = self.queue.len() > size;
        while self.queue.len() > size {
            if self.parameters.discard_oldest {
                self.queue.pop_front()
            } else {
                self.queue.pop_back()
            };
        }
        if overflown && size > 1 {
            let place = if self.parameters.discard_oldest { self.queue.front_mut() } else { self.queue.back_mut() };
            if let Some(notification) = place {
                notification.status.0 |= OVERFLOW;
            }
        }
    }
}

struct Slot {
    tag: TagId,
    item: u32,
    version: u64,
}

struct Run {
    begin: usize,
    version: u64,
}

/// Items that are sampled together.
struct Group {
    interval: Duration,
    due: Instant,
    slots: Vec<Slot>,
    runs: Vec<Run>,
    others: Vec<u32>,
    is_sorted: bool,
}

/// Never a version: whatever stands there is found to differ.
const UNSEEN: u64 = u64::MAX;

impl Group {
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
    fn scan(&mut self, sampler: &dyn Sampler, news: &mut dyn FnMut(u32, Reading)) {
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

/// The items of one subscription.
#[derive(Default)]
pub struct Items {
    all: HashMap<u32, Item>,
    groups: Vec<Group>,
    /// Items with something to tell, in the order in which it came up.
    ready: VecDeque<u32>,
    last_id: u32,
    generation: usize,
}

impl Items {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True when there is something to tell.
    pub fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Adds an item and takes its first sample. Gives its id.
    pub fn add(
        &mut self,
        place: Place<'_>,
        mode: Mode,
        parameters: Parameters,
        at: (Instant, Duration),
        sampler: &dyn Sampler,
    ) -> u32 {
        self.generation = if self.all.is_empty() { sampler.generation() } else { self.generation };
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let Place { id, node, attribute, range } = place;
        let mut encoded = Writer::default();
        encoded.id(id);
        let item = Item {
            watched: watched(node, attribute, sampler),
            node: encoded.0.into(),
            attribute,
            range,
            mode,
            parameters,
            told: None,
            queue: VecDeque::new(),
            is_ready: false,
        };
        self.all.insert(self.last_id, item);
        self.enter(self.last_id, at.0, at.1, sampler);
        self.last_id
    }

    /// The tag whose Value an item watches; `None` when it watches something else.
    ///
    /// # Errors
    /// `Bad_MonitoredItemIdInvalid`.
    pub fn tag_of(&self, id: u32, sampler: &dyn Sampler) -> Result<Option<Arc<TagDef>>, StatusCode> {
        let item = self.all.get(&id).ok_or(status::BAD_MONITORED_ITEM_ID_INVALID)?;
        let node = Reader::new(&item.node).id().ok().and_then(|id| sampler.find(id));
        Ok(node.filter(|_| item.attribute == attribute::VALUE).and_then(|node| sampler.tag(node)))
    }

    /// Changes an item; false when there is none.
    pub fn modify(&mut self, id: u32, parameters: Parameters, at: (Instant, Duration), sampler: &dyn Sampler) -> bool {
        let Some(item) = self.all.get_mut(&id) else { return false };
        item.parameters = parameters;
        item.shrink();
        self.leave(id);
        self.enter(id, at.0, at.1, sampler);
        true
    }

    /// Changes an item's mode; false when there is none.
    pub fn set_mode(&mut self, id: u32, mode: Mode, at: (Instant, Duration), sampler: &dyn Sampler) -> bool {
        let Some(item) = self.all.get_mut(&id) else { return false };
        if mode == Mode::Disabled {
            // What is disabled tells nothing and begins anew when it is enabled (Part 4, 5.13.4).
            item.queue.clear();
            item.told = None;
            if let Watched::Other(_, last) = &mut item.watched {
                *last = None;
            }
        }
        if item.mode != mode {
            item.mode = mode;
            item.is_ready = false;
            self.ready.retain(|ready| *ready != id);
            self.leave(id);
            self.enter(id, at.0, at.1, sampler);
        }
        true
    }

    /// Puts all items into groups again, for another publishing interval.
    pub fn regroup(&mut self, now: Instant, publishing: Duration) {
        self.groups.clear();
        let ids: Vec<u32> = self.all.keys().copied().collect();
        for id in ids {
            self.assign(id, now, publishing, UNSEEN);
        }
    }

    /// Puts an item into its group and takes a sample.
    fn enter(&mut self, id: u32, now: Instant, publishing: Duration, sampler: &dyn Sampler) {
        let Some(item) = self.all.get(&id) else { return };
        if item.mode == Mode::Disabled {
            return;
        }
        match item.watched {
            Watched::Tag(tag) => {
                let reading = sampler.reading(tag);
                self.assign(id, now, publishing, reading.version);
                self.news(id, reading, sampler.wall());
            }
            Watched::Other(node, _) => {
                let found = sampler.attribute(node, item.attribute);
                self.assign(id, now, publishing, UNSEEN);
                self.other_news(id, found, sampler.wall());
            }
            Watched::Gone => {}
        }
    }

    fn assign(&mut self, id: u32, now: Instant, publishing: Duration, version: u64) {
        let Some(item) = self.all.get(&id).filter(|item| item.mode != Mode::Disabled) else { return };
        // Of values between two messages a queue of one keeps the last: looking once, before the message, finds just that.
        let sampling = item.parameters.sampling;
        let interval = if item.parameters.queue == 1 { sampling.max(publishing) } else { sampling };
        let place = self.groups.iter().position(|group| group.interval == interval).unwrap_or_else(|| {
            self.groups.push(Group {
                interval,
                due: now + interval,
                slots: Vec::new(),
                runs: Vec::new(),
                others: Vec::new(),
                is_sorted: true,
            });
            self.groups.len() - 1
        });
        let group = &mut self.groups[place];
        match item.watched {
            Watched::Tag(tag) => {
                group.slots.push(Slot { tag, item: id, version });
                group.is_sorted = false;
            }
            Watched::Other(..) => group.others.push(id),
            Watched::Gone => {}
        }
    }

    fn leave(&mut self, id: u32) {
        for group in &mut self.groups {
            let before = group.slots.len();
            group.slots.retain(|slot| slot.item != id);
            group.is_sorted &= group.slots.len() == before;
            group.others.retain(|other| *other != id);
        }
        self.groups.retain(|group| !group.slots.is_empty() || !group.others.is_empty());
    }

    /// Removes items; says of each whether it was there.
    pub fn remove_all(&mut self, ids: &[u32]) -> Vec<bool> {
        let removed: Vec<bool> = ids.iter().map(|id| self.all.remove(id).is_some()).collect();
        for group in &mut self.groups {
            group.slots.retain(|slot| self.all.contains_key(&slot.item));
            group.is_sorted = false;
            group.others.retain(|other| self.all.contains_key(other));
        }
        self.groups.retain(|group| !group.slots.is_empty() || !group.others.is_empty());
        self.ready.retain(|id| self.all.contains_key(id));
        removed
    }

    /// Takes the samples that are due; at a publishing time also those that may be taken then.
    pub fn sample(&mut self, now: Instant, publishing: Duration, at_publishing: bool, sampler: &dyn Sampler) {
        if self.generation != sampler.generation() {
            self.find_again(now, publishing, sampler);
        }
        let wall = sampler.wall();
        let mut found = Vec::new();
        let mut others = Vec::new();
        for group in &mut self.groups {
            let now_too = at_publishing && group.interval <= publishing;
            if group.due > now && !now_too {
                continue;
            }
            if group.due <= now {
                group.due += group.interval;
                if group.due <= now {
                    group.due = now + group.interval;
                }
            }
            group.scan(sampler, &mut |item, reading| found.push((item, reading)));
            others.extend_from_slice(&group.others);
        }
        for (id, reading) in found {
            self.news(id, reading, wall);
        }
        for id in others {
            let Some(Item { watched: Watched::Other(node, _), attribute, .. }) = self.all.get(&id) else { continue };
            let found = sampler.attribute(*node, *attribute);
            self.other_news(id, found, wall);
        }
    }

    /// After a reload: nodes lie elsewhere, some are gone, some are back.
    fn find_again(&mut self, now: Instant, publishing: Duration, sampler: &dyn Sampler) {
        self.generation = sampler.generation();
        let wall = sampler.wall();
        let mut changed = Vec::new();
        for (id, item) in &mut self.all {
            let node = Reader::new(&item.node).id().ok().and_then(|id| sampler.find(id));
            let is_now = node.map_or(Watched::Gone, |node| watched(node, item.attribute, sampler));
            match (&mut item.watched, is_now) {
                (Watched::Tag(was), Watched::Tag(now)) if *was == now => {}
                (Watched::Other(was, _), Watched::Other(now, _)) => *was = now,
                (Watched::Gone, Watched::Gone) => {}
                (was, now) => {
                    *was = now;
                    changed.push(*id);
                }
            }
        }
        for id in changed {
            self.leave(id);
            let gone = matches!(self.all.get(&id), Some(Item { watched: Watched::Gone, .. }));
            if gone {
                self.news(id, Reading { status: StatusCode::BAD_NODE_ID_UNKNOWN, ..Reading::default() }, wall);
            } else {
                self.enter(id, now, publishing, sampler);
            }
        }
    }

    fn news(&mut self, id: u32, reading: Reading, wall: Timestamp) {
        if let Some(item) = self.all.get_mut(&id).filter(|item| item.mode != Mode::Disabled) {
            item.offer(reading, wall);
            mark(id, item, &mut self.ready);
        }
    }

    fn other_news(&mut self, id: u32, found: Result<Vec<u8>, StatusCode>, wall: Timestamp) {
        if let Some(item) = self.all.get_mut(&id).filter(|item| item.mode != Mode::Disabled) {
            item.offer_encoded(found, wall);
            mark(id, item, &mut self.ready);
        }
    }

    /// Writes up to `most` MonitoredItemNotifications, stopping soon after `room` bytes. Gives how many.
    pub fn tell(&mut self, most: usize, room: usize, w: &mut Writer) -> usize {
        let (begin, mut told) = (w.0.len(), 0);
        while let Some(id) = self.ready.front().copied() {
            let Some(item) = self.all.get_mut(&id).filter(|item| item.mode == Mode::Reporting) else {
                self.ready.pop_front();
                if let Some(item) = self.all.get_mut(&id) {
                    item.is_ready = false;
                }
                continue;
            };
            while told < most && w.0.len() - begin < room {
                let Some(notification) = item.queue.pop_front() else { break };
                w.u32(item.parameters.handle);
                let Notification { status, payload, source, server } = notification;
                w.data_value(item.parameters.timestamps, status, source, server, |w| match payload {
                    Payload::Value(value) => w.variant(&value),
                    Payload::Encoded(bytes) => w.0.extend_from_slice(&bytes),
                });
                told += 1;
            }
            if !item.queue.is_empty() {
                break;
            }
            item.is_ready = false;
            self.ready.pop_front();
        }
        told
    }

    /// When the next sample between two publishing times is due.
    pub fn next_sample(&self, publishing: Duration) -> Option<Instant> {
        self.groups.iter().filter(|group| group.interval < publishing).map(|group| group.due).min()
    }
}

fn mark(id: u32, item: &mut Item, ready: &mut VecDeque<u32>) {
    if item.mode == Mode::Reporting && !item.queue.is_empty() && !item.is_ready {
        item.is_ready = true;
        ready.push_back(id);
    }
}

fn watched(node: NodeRef, attribute: u32, sampler: &dyn Sampler) -> Watched {
    match sampler.tag(node).filter(|_| attribute == attribute::VALUE) {
        Some(def) => Watched::Tag(def.id),
        None => Watched::Other(node, None),
    }
}
