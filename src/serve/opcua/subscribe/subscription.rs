//! One subscription: the state table of Part 4, 5.14.1.2, with time as an argument.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    super::{
        limits::Limits,
        wire::{Id, Writer},
    },
    Counts,
    items::{Items, Sampler},
};
use crate::tag::{StatusCode, Timestamp};

const DATA_CHANGE: Id<'static> = Id::numeric(0, 811);
const STATUS_CHANGE: Id<'static> = Id::numeric(0, 820);
/// Bytes of notifications after which a message ends and another follows.
const MESSAGE_ROOM: usize = 1 << 20;

/// What a client asks for; all of it is revised.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Publishing interval in ms.
    pub interval: f64,
    /// Publishing intervals without a Publish request after which the subscription ends.
    pub lifetime: u32,
    /// Publishing intervals without news after which a keep-alive is sent.
    pub keep_alive: u32,
    /// Notifications in one message; zero for any number.
    pub notifications: u32,
    /// Among the session's subscriptions.
    pub priority: u8,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Publishing interval.
    pub interval: Duration,
    /// See [`Wanted::lifetime`].
    pub lifetime: u32,
    /// See [`Wanted::keep_alive`].
    pub keep_alive: u32,
    notifications: usize,
    priority: u8,
}

impl Terms {
    /// Brings what a client wants inside the limits.
    pub fn revise(wanted: Wanted, limits: &Limits) -> Self {
        let (shortest, longest) = limits.publishing;
        let asked = Duration::try_from_secs_f64(wanted.interval / 1_000.0);
        let interval = asked.unwrap_or(if wanted.interval > 0.0 { longest } else { shortest }).clamp(shortest, longest);
        let most = u32::try_from(limits.lifetime.as_millis() / interval.as_millis().max(1)).unwrap_or(u32::MAX).max(3);
        let keep_alive = if wanted.keep_alive == 0 { 10 } else { wanted.keep_alive }.clamp(1, most / 3);
        let lifetime = wanted.lifetime.clamp(keep_alive * 3, most);
        let notifications = match wanted.notifications {
            0 => limits.notifications,
            asked => asked.min(limits.notifications),
        };
        Self { interval, lifetime, keep_alive, notifications: notifications as usize, priority: wanted.priority }
    }
}

/// A message to be sent, without the response around it.
pub struct Message {
    /// Encoded NotificationMessage.
    pub bytes: Vec<u8>,
    /// More are waiting.
    pub more: bool,
}

/// A subscription.
pub struct Subscription {
    /// Unique in the server.
    pub id: u32,
    /// As revised.
    pub terms: Terms,
    /// Its items.
    pub items: Items,
    enabled: bool,
    next: Instant,
    idle: u32,
    silent: u32,
    /// A publishing time came, or something was left over, and no message has answered it yet.
    is_due: bool,
    told_anything: bool,
    sequence: u32,
    retained: VecDeque<(u32, Vec<u8>)>,
    most_retained: usize,
    counts: Arc<Counts>,
}

impl Subscription {
    /// A new one; its first message is due after one interval.
    pub fn new(id: u32, terms: Terms, enabled: bool, limits: &Limits, counts: Arc<Counts>, now: Instant) -> Self {
        counts.subscriptions.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            terms,
            items: Items::default(),
            enabled,
            next: now + terms.interval,
            idle: 0,
            silent: 0,
            is_due: false,
            told_anything: false,
            sequence: 1,
            retained: VecDeque::new(),
            most_retained: limits.retained,
            counts,
        }
    }

    /// Its place among the session's subscriptions.
    pub const fn priority(&self) -> u8 {
        self.terms.priority
    }

    /// The client showed that it is alive.
    pub fn touch(&mut self) {
        self.silent = 0;
    }

    /// Takes other terms.
    pub fn modify(&mut self, terms: Terms, now: Instant) {
        if terms.interval != self.terms.interval {
            self.next = now + terms.interval;
            self.items.regroup(now, terms.interval);
        }
        self.terms = terms;
        self.silent = 0;
    }

    /// SetPublishingMode.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
        self.silent = 0;
    }

    /// Lets time pass: samples, and the publishing timer. False when the subscription has lived out its life.
    pub fn advance(&mut self, now: Instant, can_publish: bool, sampler: &dyn Sampler) -> bool {
        let is_tick = now >= self.next;
        self.items.sample(now, self.terms.interval, is_tick, sampler);
        if !is_tick {
            return true;
        }
        self.next += self.terms.interval;
        if self.next <= now {
            self.next = now + self.terms.interval;
        }
        self.is_due = true;
        self.idle += 1;
        self.silent = if can_publish { 0 } else { self.silent + 1 };
        self.silent < self.terms.lifetime
    }

    /// The message that is due, if one is.
    pub fn message(&mut self, wall: Timestamp) -> Option<Message> {
        if !self.is_due {
            return None;
        }
        if self.enabled && self.items.has_news() {
            return Some(self.news(wall));
        }
        if self.told_anything && self.idle < self.terms.keep_alive {
            self.is_due = false;
            return None;
        }
        self.sent();
        self.is_due = false;
        let mut w = Writer::default();
        // A keep-alive names the next number and does not use it.
        w.u32(self.sequence);
        w.time(wall);
        w.count(0);
        Some(Message { bytes: w.0, more: false })
    }

    /// True when a message is due, would one be asked for.
    pub fn wants_to_publish(&self) -> bool {
        self.is_due && ((self.enabled && self.items.has_news()) || !self.told_anything || self.idle >= self.terms.keep_alive)
    }

    fn news(&mut self, wall: Timestamp) -> Message {
        let mut w = self.begin(wall);
        let (most, items) = (self.terms.notifications, &mut self.items);
        w.extension(DATA_CHANGE, |w| {
            let at = w.0.len();
            w.u32(0);
            let told = items.tell(most, MESSAGE_ROOM, w);
            w.0[at..at + 4].copy_from_slice(&u32::try_from(told).unwrap_or(0).to_le_bytes());
            w.null();
        });
        let more = self.items.has_news();
        self.is_due = more;
        self.keep(&w);
        Message { bytes: w.0, more }
    }

    /// The StatusChangeNotification that tells the client of this subscription's end.
    pub fn farewell(&mut self, status: StatusCode, wall: Timestamp) -> Message {
        let mut w = self.begin(wall);
        w.extension(STATUS_CHANGE, |w| {
            w.status(status);
            w.u8(0);
        });
        Message { bytes: w.0, more: false }
    }

    fn begin(&mut self, wall: Timestamp) -> Writer {
        self.sent();
        let mut w = Writer::default();
        w.u32(self.sequence);
        w.time(wall);
        w.count(1);
        w
    }

    fn sent(&mut self) {
        self.idle = 0;
        self.silent = 0;
        self.told_anything = true;
    }

    fn keep(&mut self, w: &Writer) {
        self.retained.push_back((self.sequence, w.0.clone()));
        while self.retained.len() > self.most_retained {
            self.retained.pop_front();
        }
        // Sequence numbers leave out zero (Part 4, 7.25).
        self.sequence = self.sequence.wrapping_add(1).max(1);
    }

    /// Numbers of the messages that can be republished.
    pub fn available(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.retained.iter().map(|(number, _)| *number)
    }

    /// Forgets an acknowledged message; false when there is none.
    pub fn acknowledge(&mut self, sequence: u32) -> bool {
        let place = self.retained.iter().position(|(number, _)| *number == sequence);
        place.and_then(|place| self.retained.remove(place)).is_some()
    }

    /// A message once more.
    pub fn republish(&mut self, sequence: u32) -> Option<&[u8]> {
        self.silent = 0;
        self.retained.iter().find(|(number, _)| *number == sequence).map(|(_, bytes)| &**bytes)
    }

    /// When it wants to be looked at next.
    pub fn next_look(&self) -> Instant {
        self.items.next_sample(self.terms.interval).map_or(self.next, |sample| sample.min(self.next))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.counts.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.counts.items.fetch_sub(self.items.len(), Ordering::Relaxed);
    }
}
