//! One monitored item (Part 4, 5.13.1): what it watches, what was last told of it, and its queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    super::{
        attributes::IndexRange,
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Timestamps, Writer},
    },
    filter::{Filter, Told},
    items::Sampler,
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
    status: StatusCode,
    payload: Payload,
    source: Timestamp,
    server: Timestamp,
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
            Some(def) => Self::Tag(def.id),
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

    /// Opens or closes the tap, as the parameters want it.
    pub fn open_tap(&mut self, tag: TagId, sampler: &dyn Sampler) {
        if !self.parameters.sampling.is_zero() {
            self.tap = None;
        } else if self.tap.is_none() {
            self.tap = Some(sampler.tap(tag, (self.parameters.queue as usize * 2).max(LEAST_TAP)));
        }
    }

    /// Takes other parameters; a smaller queue gives way at the end that the client named.
    pub fn modify(&mut self, parameters: Parameters) {
        if parameters.queue != self.parameters.queue {
            self.tap = None;
        }
        self.parameters = parameters;
        self.shrink();
    }

    /// Takes another mode. What is disabled tells nothing and begins anew when it is enabled (Part 4, 5.13.4).
    pub fn set_mode(&mut self, mode: Mode) {
        if mode == Mode::Disabled {
            self.tap = None;
            self.has_gap = false;
            self.queue.clear();
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
    pub fn offer(&mut self, reading: Reading, now: Timestamp) -> bool {
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
        self.push(Notification { status, payload, source: new.source_time, server: now });
        self.told = Some(new);
        true
    }

    /// Takes a sample of anything else; true when it is news.
    pub fn offer_encoded(&mut self, found: Result<Vec<u8>, StatusCode>, now: Timestamp) -> bool {
        match &mut self.watched {
            Watched::Other(_, last) if last.as_ref() == Some(&found) => return false,
            Watched::Other(_, last) => *last = Some(found.clone()),
            Watched::Tag(_) | Watched::Gone => {}
        }
        self.push_encoded(found, now);
        true
    }

    fn push_encoded(&mut self, found: Result<Vec<u8>, StatusCode>, now: Timestamp) {
        let (status, bytes) = found.map_or_else(|status| (status, Vec::new()), |bytes| (StatusCode::GOOD, bytes));
        let source = if self.attribute == attribute::VALUE { now } else { Timestamp::NULL };
        self.push(Notification { status, payload: Payload::Encoded(bytes), source, server: now });
    }

    /// Has the last value told once more, unless one waits anyway (Part 5, 9.2: ResendData).
    pub fn resend(&mut self, now: Timestamp) {
        if self.mode != Mode::Reporting || !self.queue.is_empty() {
            return;
        }
        if let Some(told) = &self.told {
            let payload = Payload::Value(told.value.clone());
            let again = Notification { status: told.status, payload, source: told.source_time, server: now };
            self.push(again);
        } else if let Watched::Other(_, Some(last)) = &self.watched {
            let again = last.clone();
            self.push_encoded(again, now);
        }
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
            self.mark_overflow();
        } else if let Some(newest) = self.queue.back_mut() {
            *newest = new;
            self.mark_overflow();
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
        if overflown {
            self.mark_overflow();
        }
    }

    /// Says in the queue that values are missing: on the oldest or the newest that is left, where the gap is.
    fn mark_overflow(&mut self) {
        if self.parameters.queue > 1 {
            let place = if self.parameters.discard_oldest { self.queue.front_mut() } else { self.queue.back_mut() };
            if let Some(notification) = place {
                notification.status.0 |= OVERFLOW;
            }
        }
    }

    /// Writes the oldest notification as a MonitoredItemNotification; false when there is none.
    pub fn tell(&mut self, w: &mut Writer) -> bool {
        let Some(notification) = self.queue.pop_front() else { return false };
        w.u32(self.parameters.handle);
        let Notification { status, payload, source, server } = notification;
        w.data_value(self.parameters.timestamps, status, source, server, |w| match payload {
            Payload::Value(value) => w.variant(&value),
            Payload::Encoded(bytes) => w.0.extend_from_slice(&bytes),
        });
        self.is_triggered &= !self.queue.is_empty();
        true
    }
}
