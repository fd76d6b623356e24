//! The monitored items of one subscription (Part 4, 5.13): sampled in groups, told in the order in which news came up.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

pub use super::item::{Mode, Parameters, Place};
use super::{
    super::{
        events::{Event, Hub, base::EVENT_ID},
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Reader, Writer},
    },
    item::{Item, Watched},
    purse::Purse,
    scan::{Group, Slot, UNSEEN},
    status,
    triggers::Triggers,
};
use crate::{
    engine::plan::TagTraits,
    tag::{Drained, Reading, StatusCode, TagId, Tap, Timestamp},
};

/// Where items take their values from.
pub trait Sampler {
    /// The present value of a tag.
    fn reading(&self, tag: TagId) -> Reading;
    /// The version of a tag.
    fn version(&self, tag: TagId) -> u64;
    /// The change counter of a tag's block.
    fn block_version(&self, tag: TagId) -> u64;
    /// Keeps every value that a tag takes from now on, up to `room` values.
    fn tap(&self, tag: TagId, room: usize) -> Arc<Tap>;
    /// Any other attribute, as an encoded Variant.
    fn attribute(&self, node: NodeRef, attribute: u32) -> Result<Vec<u8>, StatusCode>;
    /// The node with this id in the address space of now.
    fn find(&self, id: Id<'_>) -> Option<NodeRef>;
    /// The tag at a node.
    fn tag(&self, node: NodeRef) -> Option<(TagId, Arc<TagTraits>)>;
    /// Differs when the address space is another one.
    fn generation(&self) -> usize;
    /// Now.
    fn wall(&self) -> Timestamp;
    /// Where events come from.
    fn hub(&self) -> &Hub;
    /// True when the session may be told of an event.
    fn may_see(&self, event: &Event) -> bool;
    /// An EventId that was never used.
    fn event_id(&self) -> [u8; EVENT_ID];
}

/// How often at least is looked at items that keep every value (`sampling` zero).
const LOOK: Duration = Duration::from_millis(50);

/// Spreads ids of items. The server gives them one after the other, so nobody can choose colliding ones.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The items of one subscription.
pub struct Items {
    all: HashMap<u32, Item, BuildHasherDefault<IdHasher>>,
    groups: Vec<Group>,
    /// Items with something to tell, in the order in which it came up.
    ready: VecDeque<u32>,
    /// Which items trigger which (SetTriggering); items of events among them.
    pub triggers: Triggers,
    /// Items of events that were triggered.
    triggered_events: Vec<u32>,
    last_id: u32,
    disabled: usize,
    generation: usize,
    /// What waits in the queues.
    pub purse: Purse,
}

impl Items {
    /// None yet.
    pub fn new(purse: Purse) -> Self {
        let (all, triggers) = (HashMap::default(), Triggers::default());
        let (groups, ready, triggered_events) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { all, groups, ready, triggers, triggered_events, last_id: 0, disabled: 0, generation: 0, purse }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that are disabled.
    pub const fn disabled(&self) -> usize {
        self.disabled
    }

    /// True when there is something to tell.
    pub fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    /// True when there is an item of this id.
    pub fn contains(&self, id: u32) -> bool {
        self.all.contains_key(&id)
    }

    /// Ids and client handles of all items, by id.
    pub fn handles(&self) -> Vec<(u32, u32)> {
        let mut handles: Vec<_> = self.all.iter().map(|(id, item)| (*id, item.parameters.handle)).collect();
        handles.sort_unstable();
        handles
    }

    /// An id for another item of the subscription, whatever it watches.
    pub fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
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
        let id = self.next_id();
        self.disabled += usize::from(mode == Mode::Disabled);
        self.all.insert(id, Item::new(place, mode, parameters, sampler));
        self.enter(id, at.0, at.1, sampler);
        self.trigger();
        id
    }

    /// Traits of the tag whose Value an item watches; `None` when it watches something else.
    ///
    /// # Errors
    /// `Bad_MonitoredItemIdInvalid`.
    pub fn tag_of(&self, id: u32, sampler: &dyn Sampler) -> Result<Option<Arc<TagTraits>>, StatusCode> {
        let item = self.all.get(&id).ok_or(status::BAD_MONITORED_ITEM_ID_INVALID)?;
        let node = Reader::new(&item.node).id().ok().and_then(|id| sampler.find(id));
        Ok(node.filter(|_| item.attribute == attribute::VALUE).and_then(|node| Some(sampler.tag(node)?.1)))
    }

    /// Changes an item; false when there is none. [`Self::settle`] has to follow for all that were changed.
    pub fn modify(&mut self, id: u32, parameters: Parameters, sampler: &dyn Sampler) -> bool {
        // What was tapped so far counts under the parameters of so far.
        self.drain(id, sampler.wall());
        self.all.get_mut(&id).map(|item| item.modify(parameters, &mut self.purse)).is_some()
    }

    /// Changes an item's mode; false when there is none. [`Self::settle`] has to follow for all that were changed.
    pub fn set_mode(&mut self, id: u32, mode: Mode) -> bool {
        let Some(item) = self.all.get_mut(&id) else { return false };
        self.disabled -= usize::from(item.mode == Mode::Disabled);
        self.disabled += usize::from(mode == Mode::Disabled);
        item.set_mode(mode, &mut self.purse);
        true
    }

    /// Puts items that were changed where they belong now and takes a sample of each.
    pub fn settle(&mut self, ids: &[u32], at: (Instant, Duration), sampler: &dyn Sampler) {
        let set: HashSet<u32> = ids.iter().copied().filter(|id| self.all.contains_key(id)).collect();
        self.leave(&set);
        self.ready.retain(|id| !set.contains(id));
        for id in &set {
            if let Some(item) = self.all.get_mut(id) {
                item.is_ready = false;
            }
        }
        // In the order in which the client named them.
        for id in ids {
            if self.all.get(id).is_some_and(|item| !item.is_ready) && set.contains(id) {
                self.enter(*id, at.0, at.1, sampler);
                self.line_up(*id);
            }
        }
        self.trigger();
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
                self.drain(id, sampler.wall());
                if let Some(item) = self.all.get_mut(&id) {
                    // Tapped before it is read: nothing falls between.
                    item.open_tap(tag, sampler, &mut self.purse);
                }
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
        let interval = match item.parameters.queue {
            _ if item.tap.is_some() => LOOK.min(publishing),
            1 => sampling.max(publishing),
            _ => sampling,
        };
        let place = self.groups.iter().position(|group| group.interval == interval).unwrap_or_else(|| {
            self.groups.push(Group::new(interval, now + interval));
            self.groups.len() - 1
        });
        let group = &mut self.groups[place];
        match item.watched {
            Watched::Tag(_) if item.tap.is_some() => group.tapped.push(id),
            Watched::Tag(tag) => group.add(Slot { tag, item: id, version }),
            Watched::Other(..) => group.others.push(id),
            Watched::Gone => {}
        }
    }

    fn leave(&mut self, ids: &HashSet<u32>) {
        for group in &mut self.groups {
            group.retain(|id| !ids.contains(&id));
        }
        self.groups.retain(|group| !group.is_empty());
    }

    /// Removes items, and the links from and to all of these ids; says of each whether it was there.
    pub fn remove_all(&mut self, ids: &[u32]) -> Vec<bool> {
        let mut remove = |id| {
            let Some(item) = self.all.remove(id) else { return false };
            self.disabled -= usize::from(item.mode == Mode::Disabled);
            item.end(&mut self.purse);
            true
        };
        let removed: Vec<bool> = ids.iter().map(&mut remove).collect();
        let all = &self.all;
        for group in &mut self.groups {
            group.retain(|id| all.contains_key(&id));
        }
        self.groups.retain(|group| !group.is_empty());
        self.ready.retain(|id| all.contains_key(id));
        let gone: HashSet<u32> = ids.iter().copied().collect();
        self.triggers.retain(|id| !gone.contains(&id));
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
        let mut tapped = Vec::new();
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
            tapped.extend_from_slice(&group.tapped);
        }
        for (id, reading) in found {
            self.news(id, reading, wall);
        }
        for id in tapped {
            self.drain(id, wall);
        }
        for id in others {
            let Some(Item { watched: Watched::Other(node, _), attribute, .. }) = self.all.get(&id) else { continue };
            let found = sampler.attribute(*node, *attribute);
            self.other_news(id, found, wall);
        }
        self.trigger();
    }

    /// After a reload: nodes lie elsewhere, some are gone, some are back.
    fn find_again(&mut self, now: Instant, publishing: Duration, sampler: &dyn Sampler) {
        self.generation = sampler.generation();
        let wall = sampler.wall();
        let mut changed = HashSet::new();
        for (id, item) in &mut self.all {
            let node = Reader::new(&item.node).id().ok().and_then(|id| sampler.find(id));
            let is_now = node.map_or(Watched::Gone, |node| Watched::of(node, item.attribute, sampler));
            match (&mut item.watched, is_now) {
                (Watched::Tag(was), Watched::Tag(now)) if *was == now => {}
                (Watched::Other(was, _), Watched::Other(now, _)) => *was = now,
                (Watched::Gone, Watched::Gone) => {}
                (was, now) => {
                    *was = now;
                    item.close_tap(&mut self.purse);
                    changed.insert(*id);
                }
            }
        }
        self.leave(&changed);
        for id in changed {
            let gone = matches!(self.all.get(&id), Some(Item { watched: Watched::Gone, .. }));
            if gone {
                self.news(id, Reading { status: StatusCode::BAD_NODE_ID_UNKNOWN, ..Reading::default() }, wall);
            } else {
                self.enter(id, now, publishing, sampler);
            }
        }
    }

    /// Queues what came through an item's tap.
    fn drain(&mut self, id: u32, wall: Timestamp) {
        let Some(item) = self.all.get_mut(&id) else { return };
        let Some(tap) = item.tap.as_ref().filter(|tap| tap.has_values()) else { return };
        let Drained { values, lost } = tap.drain();
        item.has_gap |= lost > 0;
        let seen = item.seen;
        for (_, reading) in values.into_iter().filter(|(_, reading)| reading.version > seen) {
            self.news(id, reading, wall);
        }
    }

    fn news(&mut self, id: u32, reading: Reading, wall: Timestamp) {
        if let Some(item) = self.all.get_mut(&id).filter(|item| item.mode != Mode::Disabled)
            && item.offer(reading, wall, &mut self.purse)
        {
            self.triggers.fire(id);
            stand_in_line(id, item, &mut self.ready);
        }
    }

    fn other_news(&mut self, id: u32, found: Result<Vec<u8>, StatusCode>, wall: Timestamp) {
        if let Some(item) = self.all.get_mut(&id).filter(|item| item.mode != Mode::Disabled)
            && item.offer_encoded(found, wall, &mut self.purse)
        {
            self.triggers.fire(id);
            self.line_up(id);
        }
    }

    /// Puts an item with news in line, unless it stands there.
    fn line_up(&mut self, id: u32) {
        if let Some(item) = self.all.get_mut(&id) {
            stand_in_line(id, item, &mut self.ready);
        }
    }

    /// Has the items told that are triggered by those which had news (Part 4, 5.13.1.6).
    fn trigger(&mut self) {
        for id in self.triggers.fired() {
            match self.all.get_mut(&id) {
                Some(item) if item.can_be_triggered() => {
                    item.is_triggered = true;
                    self.line_up(id);
                }
                Some(_) => {}
                None => self.triggered_events.push(id),
            }
        }
    }

    /// Items of events had news: tells what they trigger. Gives the items of events that were triggered since this was last asked.
    pub fn trigger_by(&mut self, events: &BTreeSet<u32>) -> Vec<u32> {
        for id in events {
            self.triggers.fire(*id);
        }
        self.trigger();
        std::mem::take(&mut self.triggered_events)
    }

    /// Has the last value of every reporting item told once more where none waits (Part 4, 5.14.7; Part 5, 9.2).
    pub fn resend(&mut self, wall: Timestamp) {
        let mut ids: Vec<u32> = self.all.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(item) = self.all.get_mut(&id) {
                item.resend(wall, &mut self.purse);
                self.line_up(id);
            }
        }
    }

    /// Writes up to `most` MonitoredItemNotifications, stopping soon after `room` bytes. Gives how many.
    pub fn tell(&mut self, most: usize, room: usize, w: &mut Writer) -> usize {
        let (begin, mut told) = (w.0.len(), 0);
        while let Some(id) = self.ready.front().copied() {
            if let Some(item) = self.all.get_mut(&id) {
                while item.has_news() {
                    if told >= most || w.0.len() - begin >= room {
                        return told;
                    }
                    told += usize::from(item.tell(w, &mut self.purse));
                }
                item.is_ready = false;
            }
            self.ready.pop_front();
        }
        told
    }

    /// When the next sample between two publishing times is due.
    pub fn next_sample(&self, publishing: Duration) -> Option<Instant> {
        self.groups.iter().filter(|group| group.interval < publishing).map(|group| group.due).min()
    }
}

fn stand_in_line(id: u32, item: &mut Item, ready: &mut VecDeque<u32>) {
    if item.has_news() && !item.is_ready {
        item.is_ready = true;
        ready.push_back(id);
    }
}
