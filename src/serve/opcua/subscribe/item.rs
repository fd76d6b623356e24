//! One monitored item (Part 4, 5.13.1): what it watches, what was last told of it, and its queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    super::{
        attributes::{IndexRange, cut_encoded},
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Timestamps, Writer},
    },
    filter::{Filter, Told},
    items::Sampler,
    purse::Purse,
};
use crate::tag::{Reading, StatusCode, TagId, Tap, Timestamp, Value};

/// InfoType DataValue with the Overflow bit (Part 4, 7.39).
const OVERFLOW: u32 = 0x0480;

/// The least values that a tap keeps between two looks.
const LEAST_TAP: usize = 32;

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
    /// Bytes that it takes of the session's part; nothing in a queue of one, which is a part of the item.
    charge: u32,
    status: StatusCode,
    payload: Payload,
    source: Timestamp,
    server: Timestamp,
}

/// What a tap takes when it is full, without what its values point to, which the tag has too.
fn tap_bytes(tap: &Tap) -> usize {
    tap.room() * size_of::<(TagId, Reading)>()
}

impl Notification {
    fn bytes(&self) -> u32 {
        let heap = match &self.payload {
            Payload::Value(value) => value.heap(),
            Payload::Encoded(bytes) => bytes.len(),
        };
        u32::try_from(size_of::<Self>() + heap).unwrap_or(u32::MAX)
    }
}

/// What stands behind an item.
pub enum Watched {
    /// The Value of a tag.
    Tag(TagId),
    /// Anything else; with what was last told of it.
    Other(NodeRef, Option<Result<Vec<u8>, StatusCode>>),
    /// The node was removed by a reload.
    Gone,
}

impl Watched {
    /// What stands behind an attribute now.
    pub fn of(node: NodeRef, attribute: u32, sampler: &dyn Sampler) -> Self {
        match sampler.tag(node).filter(|_| attribute == attribute::VALUE) {
            Some((tag, _)) => Self::Tag(tag),
            None => Self::Other(node, None),
        }
    }
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
    /// Revised. Zero: every value that the tag takes goes into the queue; otherwise the value at each sampling time does.
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
    /// What stands behind it.
    pub watched: Watched,
    /// Encoded NodeId, to find the node again after a reload.
    pub node: Box<[u8]>,
    /// The attribute.
    pub attribute: u32,
    range: Option<IndexRange>,
    /// Sampled, told.
    pub mode: Mode,
    /// As revised.
    pub parameters: Parameters,
    told: Option<Told>,
    queue: VecDeque<Notification>,
    /// Where every value of the tag comes from.
    pub tap: Option<Arc<Tap>>,
    /// The version of the tag that was last offered: what a tap has of before is old.
    pub seen: u64,
    /// Values were lost before the next one that comes.
    pub has_gap: bool,
    /// It stands in line to be told.
    pub is_ready: bool,
    /// An item that triggers it has fired: it is told though it is only sampled (Part 4, 5.13.1.6).
    pub is_triggered: bool,
}

impl Item {
    /// A new one, not sampled yet.
    pub fn new(place: Place<'_>, mode: Mode, parameters: Parameters, sampler: &dyn Sampler) -> Self {
        let Place { id, node, attribute, range } = place;
        let mut encoded = Writer::default();
        encoded.id(id);
        Self {
            watched: Watched::of(node, attribute, sampler),
            node: encoded.0.into(),
            attribute,
            range,
            mode,
            parameters,
            told: None,
            queue: VecDeque::new(),
            tap: None,
            seen: 0,
            has_gap: false,
            is_ready: false,
            is_triggered: false,
        }
    }

    /// Ends it; nothing waits any more.
    pub fn end(mut self, purse: &mut Purse) {
        self.clear(purse);
        self.close_tap(purse);
    }

    /// Opens or closes the tap, as the parameters want it.
    pub fn open_tap(&mut self, tag: TagId, sampler: &dyn Sampler, purse: &mut Purse) {
        if !self.parameters.sampling.is_zero() {
            self.close_tap(purse);
        } else if self.tap.is_none() {
            let tap = sampler.tap(tag, (self.parameters.queue as usize * 2).max(LEAST_TAP));
            purse.put(tap_bytes(&tap));
            self.tap = Some(tap);
        }
    }

    /// Closes the tap; what it has not given up is lost.
    pub fn close_tap(&mut self, purse: &mut Purse) {
        purse.take(self.tap.take().map_or(0, |tap| tap_bytes(&tap)));
    }

    /// Takes other parameters; a smaller queue gives way at the end that the client named.
    pub fn modify(&mut self, parameters: Parameters, purse: &mut Purse) {
        if parameters.queue != self.parameters.queue {
            self.close_tap(purse);
        }
        self.parameters = parameters;
        self.shrink(purse);
    }

    /// Takes another mode. What is disabled tells nothing and begins anew when it is enabled (Part 4, 5.13.4).
    pub fn set_mode(&mut self, mode: Mode, purse: &mut Purse) {
        if mode == Mode::Disabled {
            self.close_tap(purse);
            self.has_gap = false;
            self.clear(purse);
            self.told = None;
            if let Watched::Other(_, last) = &mut self.watched {
                *last = None;
            }
        }
        self.mode = mode;
        self.is_triggered = false;
    }

    /// True when there is something to tell and it may be told.
    pub fn has_news(&self) -> bool {
        (self.mode == Mode::Reporting || self.is_triggered) && !self.queue.is_empty()
    }

    /// True when a sample waits that a trigger would have told.
    pub fn can_be_triggered(&self) -> bool {
        self.mode == Mode::Sampling && !self.queue.is_empty()
    }

    /// Takes a sample of a tag; true when it is news.
    pub fn offer(&mut self, reading: Reading, now: Timestamp, purse: &mut Purse) -> bool {
        self.seen = reading.version;
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
            return false;
        }
        if std::mem::take(&mut self.has_gap) {
            status.0 |= OVERFLOW;
        }
        let payload = Payload::Value(new.value.clone());
        self.push(Notification { charge: 0, status, payload, source: new.source_time, server: now }, purse);
        self.told = Some(new);
        true
    }

    /// Takes a sample of anything else; true when it is news.
    pub fn offer_encoded(&mut self, found: Result<Vec<u8>, StatusCode>, now: Timestamp, purse: &mut Purse) -> bool {
        let found = match self.range {
            Some(range) => found.and_then(|whole| {
                let mut part = Writer(whole);
                cut_encoded(&mut part, range).map(|()| part.0)
            }),
            None => found,
        };
        match &mut self.watched {
            Watched::Other(_, last) if last.as_ref() == Some(&found) => return false,
            Watched::Other(_, last) => *last = Some(found.clone()),
            Watched::Tag(_) | Watched::Gone => {}
        }
        self.push_encoded(found, now, purse);
        true
    }

    fn push_encoded(&mut self, found: Result<Vec<u8>, StatusCode>, now: Timestamp, purse: &mut Purse) {
        let (status, bytes) = found.map_or_else(|status| (status, Vec::new()), |bytes| (StatusCode::GOOD, bytes));
        let source = if self.attribute == attribute::VALUE { now } else { Timestamp::NULL };
        self.push(Notification { charge: 0, status, payload: Payload::Encoded(bytes), source, server: now }, purse);
    }

    /// Has the last value told once more, unless one waits anyway (Part 5, 9.2: ResendData).
    pub fn resend(&mut self, now: Timestamp, purse: &mut Purse) {
        if self.mode != Mode::Reporting || !self.queue.is_empty() {
            return;
        }
        if let Some(told) = &self.told {
            let payload = Payload::Value(told.value.clone());
            let again = Notification { charge: 0, status: told.status, payload, source: told.source_time, server: now };
            self.push(again, purse);
        } else if let Watched::Other(_, Some(last)) = &self.watched {
            let again = last.clone();
            self.push_encoded(again, now, purse);
        }
    }

    fn push(&mut self, mut new: Notification, purse: &mut Purse) {
        let size = self.parameters.queue as usize;
        if size == 1 {
            // The newest value replaces the old one; a queue of one never overflows (Part 4, 7.21).
            self.clear(purse);
            self.queue.push_back(new);
            return;
        }
        new.charge = new.bytes();
        // Beyond the session's part a queue is as long as it is.
        let full = self.queue.len() >= size || (!self.queue.is_empty() && purse.is_full());
        purse.put(new.charge as usize);
        if !full {
            self.queue.push_back(new);
            return;
        }
        let gone = if self.parameters.discard_oldest {
            self.queue.push_back(new);
            self.queue.pop_front()
        } else {
            self.queue.back_mut().map(|newest| std::mem::replace(newest, new))
        };
        purse.take(gone.map_or(0, |gone| gone.charge as usize));
        self.mark_overflow(purse);
    }

    fn clear(&mut self, purse: &mut Purse) {
        purse.take(self.queue.drain(..).map(|gone| gone.charge as usize).sum());
    }

    fn shrink(&mut self, purse: &mut Purse) {
        let size = self.parameters.queue as usize;
        let overflown = self.queue.len() > size;
        while self.queue.len() > size
            && let Some(gone) = if self.parameters.discard_oldest { self.queue.pop_front() } else { self.queue.pop_back() }
        {
            purse.take(gone.charge as usize);
        }
        if overflown {
            self.mark_overflow(purse);
        }
    }

    /// Says in the queue that values are missing: on the oldest or the newest that is left, where the gap is.
    fn mark_overflow(&mut self, purse: &mut Purse) {
        purse.overflows += 1;
        if self.parameters.queue > 1 {
            let place = if self.parameters.discard_oldest { self.queue.front_mut() } else { self.queue.back_mut() };
            if let Some(notification) = place {
                notification.status.0 |= OVERFLOW;
            }
        }
    }

    /// Writes the oldest notification as a MonitoredItemNotification; false when there is none.
    pub fn tell(&mut self, w: &mut Writer, purse: &mut Purse) -> bool {
        let Some(notification) = self.queue.pop_front() else { return false };
        w.u32(self.parameters.handle);
        let Notification { charge, status, payload, source, server } = notification;
        if charge > 0 {
            purse.take(charge as usize);
        }
        w.data_value(self.parameters.timestamps, status, source, server, |w| match payload {
            Payload::Value(value) => w.variant(&value),
            Payload::Encoded(bytes) => w.0.extend_from_slice(&bytes),
        });
        self.is_triggered &= !self.queue.is_empty();
        true
    }
}
