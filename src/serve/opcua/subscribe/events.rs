//! Monitored items of events (Part 4, 5.13.1; Part 9, 4.5 and 5.5.7): queues, overflow, and the refresh of conditions.
//!
//! The items of one subscription read the server's [`Hub`](super::super::events::Hub) together; each gets each event once. What
//! waits in a queue is shared, and is encoded when it is told.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use super::{
    super::{
        events::{
            self, Event,
            base::{event_type, of_server},
            filter::EventFilter,
        },
        space::NAMESPACE,
        wire::{Id, Identifier, Writer},
    },
    items::{Mode, Sampler},
    purse::Purse,
    status,
};
use crate::tag::StatusCode;

/// Events that are taken from the hub at a time.
const BATCH: usize = 1_000;
/// Retained events that are looked at for one message.
const MAX_LOOKED_AT: usize = 10_000;
const SERVER: u32 = 2_253;

/// What a client may set of an event item.
#[derive(Clone, Debug)]
pub struct EventParameters {
    /// Returned with each notification.
    pub handle: u32,
    /// Which events, and what of them.
    pub filter: EventFilter,
    /// Revised, at least 1.
    pub queue: u32,
    /// Which end gives way when the queue is full.
    pub discard_oldest: bool,
}

/// Where an item listens.
#[derive(Clone, Debug, PartialEq)]
enum Notifier {
    /// The Server object: everything.
    Server,
    /// A node of ours: what comes from it or from below it.
    Path(Box<str>),
}

impl Notifier {
    fn of(id: Id<'_>) -> Option<Self> {
        match id {
            Id { namespace: 0, identifier: Identifier::Numeric(SERVER) } => Some(Self::Server),
            Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } => Some(Self::Path(path.into())),
            _ => None,
        }
    }

    fn gets(&self, event: &Event) -> bool {
        let Self::Path(path) = self else { return true };
        let below = event.source.strip_prefix(&**path);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/')) || event.condition.as_deref() == Some(path)
    }
}

enum Entry {
    Event(Arc<Event>),
    /// Comes in addition to the size of the queue, whatever the filter says.
    Always(Arc<Event>),
    /// As `Always`; there is at most one in a queue.
    Overflow(Arc<Event>),
    /// The retained conditions of a refresh, from `next` on.
    Refresh {
        retained: Arc<[Arc<Event>]>,
        next: usize,
        /// Bytes of the events, which are this refresh's own.
        bytes: usize,
    },
}

impl Entry {
    /// What it takes of the session's part, and of the sum of all: the events of the hub are counted there, once.
    fn bytes(&self) -> (usize, usize) {
        let place = size_of::<Self>();
        match self {
            Self::Event(event) => (place + event.bytes(), place),
            Self::Always(event) | Self::Overflow(event) => (place + event.bytes(), place + event.bytes()),
            Self::Refresh { bytes, .. } => (place + bytes, place + bytes),
        }
    }
}

struct EventItem {
    notifier: Notifier,
    mode: Mode,
    parameters: EventParameters,
    queue: VecDeque<Entry>,
    /// Entries that count against the size of the queue.
    counted: usize,
    /// A RefreshRequired that follows what is in the queue.
    required: Option<Arc<Event>>,
    /// An item that triggers it has fired: what waits is told though the item is only sampled (Part 4, 5.13.1.6).
    is_triggered: bool,
}

impl EventItem {
    /// True when the event is news for the item, whether there was room for it or not.
    fn offer(&mut self, event: &Arc<Event>, sampler: &dyn Sampler, purse: &mut Purse) -> bool {
        if self.mode == Mode::Disabled || !self.notifier.gets(event) {
            return false;
        }
        // What asks for a refresh passes every filter (Part 9, 4.5).
        if event.event_type != event_type::REFRESH_REQUIRED && !self.parameters.filter.passes(event) {
            return false;
        }
        // Beyond the session's part a queue is as long as it is.
        let is_full = self.counted > 0 && purse.is_full();
        if (self.counted >= self.parameters.queue as usize || is_full) && !self.parameters.discard_oldest {
            self.overflow(event.condition.is_some(), sampler, purse);
            return true;
        }
        let room = if is_full { self.counted } else { self.parameters.queue as usize };
        self.put(Entry::Event(Arc::clone(event)), purse);
        self.counted += 1;
        self.shrink(room, sampler, purse);
        true
    }

    fn put(&mut self, entry: Entry, purse: &mut Purse) {
        let (bytes, own) = entry.bytes();
        purse.put_shared(bytes, own);
        self.queue.push_back(entry);
    }

    /// Everything that waits goes.
    fn clear(&mut self, purse: &mut Purse) {
        for entry in self.queue.drain(..) {
            let (bytes, own) = entry.bytes();
            purse.take_shared(bytes, own);
        }
        self.counted = 0;
        self.required = None;
        self.is_triggered = false;
    }

    /// Discards what is more than the queue holds.
    fn shrink(&mut self, room: usize, sampler: &dyn Sampler, purse: &mut Purse) {
        while self.counted > room {
            let is_event = |entry: &Entry| matches!(entry, Entry::Event(_));
            let place = if self.parameters.discard_oldest {
                self.queue.iter().position(is_event)
            } else {
                self.queue.iter().rposition(is_event)
            };
            let Some(lost) = place.and_then(|place| self.queue.remove(place)) else { break };
            let (bytes, own) = lost.bytes();
            purse.take_shared(bytes, own);
            self.counted -= 1;
            let is_condition = matches!(&lost, Entry::Event(event) if event.condition.is_some());
            self.overflow(is_condition, sampler, purse);
        }
    }

    /// Marks the end at which events were lost (Part 4, 5.13.1.5).
    fn overflow(&mut self, is_condition: bool, sampler: &dyn Sampler, purse: &mut Purse) {
        purse.overflows += 1;
        let make = |event_type| Arc::new(of_server(event_type, sampler.event_id(), sampler.wall()));
        if !self.queue.iter().any(|entry| matches!(entry, Entry::Overflow(_))) {
            let entry = Entry::Overflow(make(event_type::QUEUE_OVERFLOW));
            let (bytes, own) = entry.bytes();
            purse.put_shared(bytes, own);
            if self.parameters.discard_oldest {
                self.queue.push_front(entry);
            } else {
                self.queue.push_back(entry);
            }
        }
        if is_condition && self.required.is_none() {
            self.required = Some(make(event_type::REFRESH_REQUIRED));
        }
    }

    fn pop(&mut self, purse: &mut Purse) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        let (bytes, own) = entry.bytes();
        purse.take_shared(bytes, own);
        self.is_triggered &= !self.queue.is_empty() || self.required.is_some();
        Some(entry)
    }

    fn has_news(&self) -> bool {
        (self.mode == Mode::Reporting || self.is_triggered) && !self.queue.is_empty()
    }

    fn is_refreshing(&self) -> bool {
        self.queue.iter().any(|entry| matches!(entry, Entry::Refresh { .. }))
    }

    /// The next event to be told. `looked_at` counts retained events that did not pass.
    fn next(&mut self, looked_at: &mut usize, purse: &mut Purse) -> Option<Arc<Event>> {
        loop {
            if let Some(Entry::Refresh { retained, next, .. }) = self.queue.front_mut() {
                let (notifier, filter) = (&self.notifier, &self.parameters.filter);
                let rest = retained.get(*next..).unwrap_or_default();
                let found = rest.iter().position(|event| notifier.gets(event) && filter.passes(event));
                *looked_at += found.unwrap_or(rest.len());
                match found {
                    Some(place) => {
                        let event = Arc::clone(&rest[place]);
                        *next += place + 1;
                        return Some(event);
                    }
                    None => {
                        self.pop(purse);
                    }
                }
                continue;
            }
            match self.pop(purse) {
                Some(Entry::Event(event)) => {
                    self.counted -= 1;
                    return Some(event);
                }
                Some(Entry::Always(event) | Entry::Overflow(event)) => return Some(event),
                Some(Entry::Refresh { .. }) => {}
                None => return self.required.take(),
            }
        }
    }
}

/// The event items of one subscription.
pub struct EventItems {
    all: BTreeMap<u32, EventItem>,
    reader: Option<events::Reader>,
    /// The item that was told last.
    turn: u32,
    /// Items that had news since [`Self::take_news`] was asked.
    news: BTreeSet<u32>,
    /// What waits in the queues.
    pub purse: Purse,
}

impl EventItems {
    /// None yet.
    pub const fn new(purse: Purse) -> Self {
        Self { all: BTreeMap::new(), reader: None, turn: 0, news: BTreeSet::new(), purse }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True when `id` is one of them.
    pub fn contains(&self, id: u32) -> bool {
        self.all.contains_key(&id)
    }

    /// Those that are disabled.
    pub fn disabled(&self) -> usize {
        self.all.values().filter(|item| item.mode == Mode::Disabled).count()
    }

    /// Ids and client handles of all items, by id.
    pub fn handles(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.all.iter().map(|(id, item)| (*id, item.parameters.handle))
    }

    /// True when there is something to tell.
    pub fn has_news(&self) -> bool {
        self.all.values().any(EventItem::has_news)
    }

    /// Adds an item that listens at the node `at` from now on.
    ///
    /// # Errors
    /// `Bad_NotSupported` for a node that no event ever comes to.
    pub fn add(
        &mut self,
        id: u32,
        at: Id<'_>,
        mode: Mode,
        parameters: EventParameters,
        sampler: &dyn Sampler,
    ) -> Result<(), StatusCode> {
        let notifier = Notifier::of(at).ok_or(status::BAD_NOT_SUPPORTED)?;
        self.pull(sampler);
        self.reader.get_or_insert_with(|| sampler.hub().reader());
        let queue = VecDeque::new();
        let item = EventItem { notifier, mode, parameters, queue, counted: 0, required: None, is_triggered: false };
        self.all.insert(id, item);
        Ok(())
    }

    /// Changes an item; false when there is none.
    pub fn modify(&mut self, id: u32, parameters: EventParameters, sampler: &dyn Sampler) -> bool {
        self.pull(sampler);
        let Some(item) = self.all.get_mut(&id) else { return false };
        item.parameters = parameters;
        item.shrink(item.parameters.queue as usize, sampler, &mut self.purse);
        true
    }

    /// Changes an item's mode; false when there is none.
    pub fn set_mode(&mut self, id: u32, mode: Mode, sampler: &dyn Sampler) -> bool {
        self.pull(sampler);
        let Some(item) = self.all.get_mut(&id) else { return false };
        if mode == Mode::Disabled {
            item.clear(&mut self.purse);
        }
        item.mode = mode;
        true
    }

    /// Removes an item; false when there is none.
    pub fn remove(&mut self, id: u32) -> bool {
        let was_there = self.all.remove(&id).map(|mut item| item.clear(&mut self.purse)).is_some();
        if self.all.is_empty() {
            self.reader = None;
        }
        was_there
    }

    /// The items that had news since this was last asked.
    pub fn take_news(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.news)
    }

    /// What waits in an item is told though it is only sampled.
    pub fn trigger(&mut self, id: u32) {
        if let Some(item) = self.all.get_mut(&id) {
            item.is_triggered = item.mode == Mode::Sampling && !item.queue.is_empty();
        }
    }

    /// Takes what happened since the last time.
    pub fn pull(&mut self, sampler: &dyn Sampler) {
        let Some(reader) = &self.reader else { return };
        loop {
            let news = sampler.hub().read(reader, BATCH);
            if news.lost {
                for item in self.all.values_mut().filter(|item| item.mode != Mode::Disabled) {
                    item.overflow(true, sampler, &mut self.purse);
                }
            }
            for event in news.events.iter().filter(|event| sampler.may_see(event)) {
                for (id, item) in &mut self.all {
                    if item.offer(event, sampler, &mut self.purse) {
                        self.news.insert(*id);
                    }
                }
            }
            if news.events.len() < BATCH {
                return;
            }
        }
    }

    /// ConditionRefresh (Part 9, 5.5.7) for all items or one of them. `retained` is asked when nothing stands against it, and after
    /// everything that happened before was taken.
    ///
    /// # Errors
    /// As the result of the method: `Bad_NothingToDo`, `Bad_MonitoredItemIdInvalid`, `Bad_RefreshInProgress` while an earlier
    /// refresh has not been told to its end, `Bad_ResourceUnavailable` when the session has not fetched what waits for it.
    pub fn refresh(
        &mut self,
        only: Option<u32>,
        retained: impl FnOnce() -> Vec<Arc<Event>>,
        sampler: &dyn Sampler,
    ) -> StatusCode {
        if only.is_some_and(|only| !self.contains(only)) {
            return status::BAD_MONITORED_ITEM_ID_INVALID;
        }
        if self.all.is_empty() {
            return StatusCode::BAD_NOTHING_TO_DO;
        }
        let is_meant = |id: u32, item: &EventItem| only.is_none_or(|only| only == id) && item.mode == Mode::Reporting;
        if self.all.iter().any(|(id, item)| is_meant(*id, item) && item.is_refreshing()) {
            return status::BAD_REFRESH_IN_PROGRESS;
        }
        if self.purse.is_full() {
            return StatusCode::BAD_RESOURCE_UNAVAILABLE;
        }
        self.pull(sampler);
        let make = |event_type| Arc::new(of_server(event_type, sampler.event_id(), sampler.wall()));
        let (start, end) = (make(event_type::REFRESH_START), make(event_type::REFRESH_END));
        let retained: Arc<[Arc<Event>]> = retained().into();
        // Charged to the first item that gets them; the others have the places only.
        let mut bytes = retained.iter().map(|event| size_of::<Arc<Event>>() + event.bytes()).sum();
        for (id, item) in &mut self.all {
            if is_meant(*id, item) {
                let refresh = Entry::Refresh { retained: Arc::clone(&retained), next: 0, bytes: std::mem::take(&mut bytes) };
                for entry in [Entry::Always(Arc::clone(&start)), refresh, Entry::Always(Arc::clone(&end))] {
                    item.put(entry, &mut self.purse);
                }
                // The refresh that was required is this one.
                item.required = None;
            }
        }
        StatusCode::GOOD
    }

    /// Writes up to `most` EventFieldLists, stopping soon after `room` bytes. Gives how many.
    pub fn tell(&mut self, most: usize, room: usize, w: &mut Writer) -> usize {
        let (begin, mut told, mut looked_at) = (w.0.len(), 0, 0);
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let ids: Vec<u32> = self
            .all
            .range(after)
            .chain(self.all.range(..=self.turn))
            .filter(|(_, item)| item.has_news())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(item) = self.all.get_mut(&id) else { continue };
            self.turn = id;
            loop {
                let is_full = told >= most || w.0.len() - begin >= room || (told > 0 && looked_at >= MAX_LOOKED_AT);
                if is_full {
                    return told;
                }
                let Some(event) = item.next(&mut looked_at, &mut self.purse) else { break };
                w.u32(item.parameters.handle);
                item.parameters.filter.write(&event, w);
                told += 1;
            }
        }
        told
    }
}
