//! One subscription (Part 4, 5.14): its terms, its messages and those kept for Republish, with time as an argument. When it does
//! what is the state table's business, in `machine`.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    super::{
        diag::subscription::{Figure, OfSubscription, Terms as Shown},
        limits::Limits,
        wire::{Id, Writer},
    },
    Counts,
    events::EventItems,
    items::{Items, Sampler},
    machine::{Act, Machine, Step},
    purse::{Held, Purse},
};
use crate::tag::{StatusCode, Timestamp};

const DATA_CHANGE: Id<'static> = Id::numeric(0, 811);
const EVENT_LIST: Id<'static> = Id::numeric(0, 916);
/// How long events wait at most until their subscription takes them, so that nobody else must keep them for it.
const EVENT_PULL: Duration = Duration::from_secs(1);
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

impl Terms {
    fn shown(self) -> Shown {
        Shown {
            priority: self.priority,
            interval: u64::try_from(self.interval.as_micros()).unwrap_or(u64::MAX),
            keep_alive: self.keep_alive,
            lifetime: self.lifetime,
            notifications: u32::try_from(self.notifications).unwrap_or(u32::MAX),
        }
    }
}

/// A message to be sent, without the response around it.
pub struct Message {
    /// Encoded NotificationMessage.
    pub bytes: Vec<u8>,
    /// More are waiting.
    pub more: bool,
}

/// The last word of a subscription to a session: that it has ended, or went elsewhere.
pub struct Farewell {
    /// Which subscription.
    pub id: u32,
    /// What happened to it.
    pub status: StatusCode,
    sequence: u32,
}

impl Farewell {
    /// The StatusChangeNotification.
    pub fn message(&self, wall: Timestamp) -> Message {
        let mut w = Writer::default();
        w.u32(self.sequence);
        w.time(wall);
        w.count(1);
        w.extension(STATUS_CHANGE, |w| {
            w.status(self.status);
            w.u8(0);
        });
        Message { bytes: w.0, more: false }
    }
}

/// A subscription.
pub struct Subscription {
    /// Unique in the server.
    pub id: u32,
    /// As revised.
    pub terms: Terms,
    /// Its items of values.
    pub items: Items,
    /// Its items of events.
    pub events: EventItems,
    /// When events are taken next.
    pull: Instant,
    /// Where it stands in the state table.
    pub machine: Machine,
    /// The number of its last message among those of the session.
    pub served: u64,
    next: Instant,
    sequence: u32,
    retained: Retained,
    counts: Arc<Counts>,
    /// What others are told of it.
    pub diagnostics: Arc<OfSubscription>,
}

impl Subscription {
    /// A new one; its first message is due after one interval.
    pub fn new(
        id: u32,
        terms: Terms,
        enabled: bool,
        (limits, purse): (&Limits, Purse),
        counts: Arc<Counts>,
        now: Instant,
    ) -> Self {
        counts.subscriptions.fetch_add(1, Ordering::Relaxed);
        let diagnostics = Arc::new(OfSubscription::new(id, purse.session(), terms.shown(), enabled));
        counts.living.add(&diagnostics);
        Self {
            id,
            terms,
            items: Items::new(purse.another()),
            events: EventItems::new(purse.another()),
            pull: now,
            machine: Machine::new(enabled, terms.keep_alive, terms.lifetime),
            served: 0,
            next: now + terms.interval,
            sequence: 1,
            retained: Retained::new(limits, purse),
            counts,
            diagnostics,
        }
    }

    /// Its place among the session's subscriptions.
    pub const fn priority(&self) -> u8 {
        self.terms.priority
    }

    /// The client showed that it is alive.
    pub const fn touch(&mut self) {
        self.machine.touch();
    }

    /// Belongs to another session from now on, with what waits in it.
    pub fn move_to(&mut self, session: &Arc<Held>) {
        self.diagnostics.belong_to(session.session);
        self.items.purse.move_to(session);
        self.events.purse.move_to(session);
        self.retained.purse.move_to(session);
    }

    /// Takes other terms.
    pub fn modify(&mut self, terms: Terms, now: Instant) {
        if terms.interval != self.terms.interval {
            self.next = now + terms.interval;
            self.items.regroup(now, terms.interval);
        }
        self.terms = terms;
        self.diagnostics.add(Figure::Modify, 1);
        self.diagnostics.revise(terms.shown());
        self.machine.modify(terms.keep_alive, terms.lifetime);
    }

    /// SetPublishingMode.
    pub fn set_publishing(&mut self, enabled: bool) {
        self.machine.set_publishing(enabled);
        self.diagnostics.enable(enabled);
    }

    /// Brings what others are told of it up to now.
    pub fn show(&self) {
        let (keep_alive, lifetime) = self.machine.counters();
        for (figure, now) in [
            (Figure::CurrentKeepAlive, keep_alive as usize),
            (Figure::CurrentLifetime, lifetime as usize),
            (Figure::UnacknowledgedMessages, self.retained.messages.len()),
            (Figure::DiscardedMessages, self.retained.discarded),
            (Figure::MonitoredItems, self.items.len() + self.events.len()),
            (Figure::DisabledMonitoredItems, self.items.disabled() + self.events.disabled()),
            (Figure::MonitoringQueueOverflow, self.items.purse.overflows),
            (Figure::EventQueueOverflow, self.events.purse.overflows),
            (Figure::NextSequenceNumber, self.sequence as usize),
        ] {
            self.diagnostics.show(figure, now);
        }
    }

    /// Lets time pass: takes the samples that are due. True when the publishing timer expired: [`Self::timer`] has to follow.
    pub fn advance(&mut self, now: Instant, sampler: &dyn Sampler) -> bool {
        let is_tick = now >= self.next;
        self.items.sample(now, self.terms.interval, is_tick, sampler);
        if is_tick || now >= self.pull {
            self.events.pull(sampler);
            self.pull = now + EVENT_PULL;
        }
        let news = self.events.take_news();
        for triggered in self.items.trigger_by(&news) {
            self.events.trigger(triggered);
        }
        if !is_tick {
            return false;
        }
        self.next += self.terms.interval;
        if self.next <= now {
            self.next = now + self.terms.interval;
        }
        true
    }

    /// The publishing timer expired; `queued`: a Publish request waits.
    pub fn timer(&mut self, queued: bool) -> Act {
        let available = self.has_news();
        let step = self.machine.timer(queued, available);
        // The rows that lead to Late.
        self.diagnostics.add(Figure::LatePublishRequest, usize::from(matches!(step.row, 8 | 17)));
        self.show();
        self.trace(step)
    }

    /// A Publish request is there, if this subscription wants it.
    pub fn request(&mut self) -> Act {
        let available = self.has_news();
        let step = self.machine.publish(available);
        self.trace(step)
    }

    fn trace(&self, step: Step) -> Act {
        tracing::trace!(subscription = self.id, row = step.row, act = ?step.act, "subscription");
        step.act
    }

    /// The message that `act` asks for; `None` for none.
    pub fn message(&mut self, act: Act, wall: Timestamp) -> Option<Message> {
        match act {
            Act::Notify => Some(self.news(wall)),
            Act::KeepAlive => Some(self.keep_alive(wall)),
            Act::Nothing | Act::Close => None,
        }
    }

    /// A keep-alive names the next number and does not use it.
    fn keep_alive(&self, wall: Timestamp) -> Message {
        let mut w = Writer::default();
        w.u32(self.sequence);
        w.time(wall);
        w.count(0);
        Message { bytes: w.0, more: false }
    }

    fn has_news(&self) -> bool {
        self.items.has_news() || self.events.has_news()
    }

    /// Events first: they are few, and no number of values may keep them waiting.
    fn news(&mut self, wall: Timestamp) -> Message {
        let mut w = Writer::default();
        w.u32(self.sequence);
        w.time(wall);
        let parts_at = w.0.len();
        w.count(0);
        let begin = w.0.len();
        let most = self.terms.notifications;
        let (mut parts, mut told, mut values) = (0_u32, 0, 0);
        if self.events.has_news() {
            w.extension(EVENT_LIST, |w| told = counted(w, |w| self.events.tell(most, MESSAGE_ROOM, w)));
            parts += 1;
        }
        let room = MESSAGE_ROOM.saturating_sub(w.0.len() - begin);
        if self.items.has_news() && told < most && room > 0 {
            w.extension(DATA_CHANGE, |w| {
                values = counted(w, |w| self.items.tell(most - told, room, w));
                w.null();
            });
            parts += 1;
        }
        w.0[parts_at..begin].copy_from_slice(&parts.to_le_bytes());
        for (figure, count) in [
            (Figure::EventNotifications, told),
            (Figure::DataChangeNotifications, values),
            (Figure::Notifications, told + values),
        ] {
            self.diagnostics.add(figure, count);
        }
        let more = self.has_news();
        self.machine.set_more(more);
        self.retained.keep(self.sequence, &w.0);
        // Sequence numbers leave out zero (Part 4, 7.25).
        self.sequence = self.sequence.wrapping_add(1).max(1);
        Message { bytes: w.0, more }
    }

    /// What a session is told that loses this subscription.
    pub const fn farewell(&self, status: StatusCode) -> Farewell {
        Farewell { id: self.id, status, sequence: self.sequence }
    }

    /// Numbers of the messages that can be republished.
    pub fn available(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.retained.messages.iter().map(|(number, _)| *number)
    }

    /// Forgets an acknowledged message; false when there is none.
    pub fn acknowledge(&mut self, sequence: u32) -> bool {
        self.retained.forget(sequence)
    }

    /// A message once more.
    pub fn republish(&mut self, sequence: u32) -> Option<&[u8]> {
        self.touch();
        let found = self.retained.messages.iter().find(|(number, _)| *number == sequence).map(|(_, bytes)| &**bytes);
        self.diagnostics.add(Figure::RepublishRequest, 1);
        self.diagnostics.add(Figure::RepublishMessageRequest, 1);
        self.diagnostics.add(Figure::RepublishMessage, usize::from(found.is_some()));
        found
    }

    /// When it wants to be looked at next.
    pub fn next_look(&self) -> Instant {
        let pull = if self.events.len() > 0 { self.pull.min(self.next) } else { self.next };
        self.items.next_sample(self.terms.interval).map_or(pull, |sample| sample.min(pull))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.counts.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.counts.items.fetch_sub(self.items.len() + self.events.len(), Ordering::Relaxed);
        self.counts.event_items.fetch_sub(self.events.len(), Ordering::Relaxed);
    }
}

/// Writes an array whose length `write` tells when it is written.
fn counted(w: &mut Writer, write: impl FnOnce(&mut Writer) -> usize) -> usize {
    let at = w.0.len();
    w.u32(0);
    let count = write(w);
    w.0[at..at + 4].copy_from_slice(&u32::try_from(count).unwrap_or(0).to_le_bytes());
    count
}

/// Messages that were sent and not acknowledged yet, oldest first.
struct Retained {
    messages: VecDeque<(u32, Vec<u8>)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    /// Messages that gave way before they were acknowledged.
    discarded: usize,
    purse: Purse,
}

impl Retained {
    const fn new(limits: &Limits, purse: Purse) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            most: limits.retained,
            most_bytes: limits.retained_bytes,
            discarded: 0,
            purse,
        }
    }

    /// Keeps a message; the oldest give way, but the newest stays whatever its size.
    fn keep(&mut self, sequence: u32, message: &[u8]) {
        self.bytes += message.len();
        self.purse.put(message.len());
        self.messages.push_back((sequence, message.to_vec()));
        while self.messages.len() > 1
            && (self.messages.len() > self.most || self.bytes > self.most_bytes || self.purse.is_full())
            && let Some((_, oldest)) = self.messages.pop_front()
        {
            self.gone(&oldest);
            self.discarded += 1;
        }
    }

    fn forget(&mut self, sequence: u32) -> bool {
        let place = self.messages.iter().position(|(number, _)| *number == sequence);
        place.and_then(|place| self.messages.remove(place)).map(|(_, message)| self.gone(&message)).is_some()
    }

    fn gone(&mut self, message: &[u8]) {
        self.bytes -= message.len();
        self.purse.take(message.len());
    }
}
