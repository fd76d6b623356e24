//! Subscriptions of one session (Part 4, 5.14), without I/O and without a clock: time comes in, responses come out.
//!
//! Deliberately absent: SetTriggering, TransferSubscriptions, events; they join later.

mod filter;
mod items;
pub mod services;
mod subscription;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub use items::Sampler;
use subscription::{Subscription, Terms, Wanted};

use super::{decode::Service, limits::Limits, send, wire::Writer};
use crate::tag::{StatusCode, Timestamp};

/// Codes of subscriptions and monitored items.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_SUBSCRIPTION_ID_INVALID: StatusCode = StatusCode(0x8028_0000);
    pub const BAD_TIMESTAMPS_TO_RETURN_INVALID: StatusCode = StatusCode(0x802B_0000);
    pub const BAD_MONITORING_MODE_INVALID: StatusCode = StatusCode(0x8041_0000);
    pub const BAD_MONITORED_ITEM_ID_INVALID: StatusCode = StatusCode(0x8042_0000);
    pub const BAD_MONITORED_ITEM_FILTER_INVALID: StatusCode = StatusCode(0x8043_0000);
    pub const BAD_MONITORED_ITEM_FILTER_UNSUPPORTED: StatusCode = StatusCode(0x8044_0000);
    pub const BAD_FILTER_NOT_ALLOWED: StatusCode = StatusCode(0x8045_0000);
    pub const BAD_TOO_MANY_SUBSCRIPTIONS: StatusCode = StatusCode(0x8077_0000);
    pub const BAD_TOO_MANY_PUBLISH_REQUESTS: StatusCode = StatusCode(0x8078_0000);
    pub const BAD_NO_SUBSCRIPTION: StatusCode = StatusCode(0x8079_0000);
    pub const BAD_SEQUENCE_NUMBER_UNKNOWN: StatusCode = StatusCode(0x807A_0000);
    pub const BAD_MESSAGE_NOT_AVAILABLE: StatusCode = StatusCode(0x807B_0000);
    pub const BAD_DEADBAND_FILTER_INVALID: StatusCode = StatusCode(0x808E_0000);
    pub const BAD_TOO_MANY_MONITORED_ITEMS: StatusCode = StatusCode(0x80DB_0000);
}

/// What all sessions have together.
#[derive(Debug, Default)]
pub struct Counts {
    /// Subscriptions.
    pub subscriptions: AtomicUsize,
    /// Monitored items.
    pub items: AtomicUsize,
    /// The last id given to a subscription.
    last: AtomicU32,
}

/// A Publish request that waits.
struct Request {
    id: u32,
    handle: u32,
    until: Option<Instant>,
    results: Vec<StatusCode>,
}

/// A finished response.
pub struct Reply {
    /// Whose.
    pub request_id: u32,
    /// Encoded.
    pub body: Vec<u8>,
}

/// The subscriptions of one session.
pub struct Subscriptions {
    limits: Limits,
    counts: Arc<Counts>,
    all: Vec<Subscription>,
    requests: VecDeque<Request>,
    /// Subscriptions that ended, until the client is told.
    ended: VecDeque<Subscription>,
    /// Where the round among equals goes on.
    turn: usize,
}

impl Subscriptions {
    /// None yet.
    pub fn new(limits: Limits, counts: Arc<Counts>) -> Self {
        Self { limits, counts, all: Vec::new(), requests: VecDeque::new(), ended: VecDeque::new(), turn: 0 }
    }

    /// CreateSubscription: id and terms.
    ///
    /// # Errors
    /// `Bad_TooManySubscriptions`.
    pub fn create(&mut self, wanted: Wanted, enabled: bool, now: Instant) -> Result<(u32, Terms), StatusCode> {
        let in_all = self.counts.subscriptions.load(Ordering::Relaxed);
        if self.all.len() >= self.limits.subscriptions_per_session || in_all >= self.limits.subscriptions {
            return Err(status::BAD_TOO_MANY_SUBSCRIPTIONS);
        }
        let terms = Terms::revise(wanted, &self.limits);
        let id = self.counts.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.all.push(Subscription::new(id, terms, enabled, &self.limits, Arc::clone(&self.counts), now));
        Ok((id, terms))
    }

    /// ModifySubscription.
    ///
    /// # Errors
    /// `Bad_SubscriptionIdInvalid`.
    pub fn modify(&mut self, id: u32, wanted: Wanted, now: Instant) -> Result<Terms, StatusCode> {
        let terms = Terms::revise(wanted, &self.limits);
        self.get(id)?.modify(terms, now);
        Ok(terms)
    }

    /// DeleteSubscriptions, of one.
    pub fn delete(&mut self, id: u32) -> StatusCode {
        match self.all.iter().position(|subscription| subscription.id == id) {
            Some(place) => {
                self.all.remove(place);
                StatusCode::GOOD
            }
            None => status::BAD_SUBSCRIPTION_ID_INVALID,
        }
    }

    /// The subscription with `id`.
    ///
    /// # Errors
    /// `Bad_SubscriptionIdInvalid`.
    pub fn get(&mut self, id: u32) -> Result<&mut Subscription, StatusCode> {
        self.all.iter_mut().find(|subscription| subscription.id == id).ok_or(status::BAD_SUBSCRIPTION_ID_INVALID)
    }

    /// Publish: acknowledges, then waits in line. What can be answered at once is left to [`Self::tick`].
    pub fn publish(
        &mut self,
        request_id: u32,
        handle: u32,
        timeout: u32,
        acknowledged: &[(u32, u32)],
        now: Instant,
        out: &mut Vec<Reply>,
    ) {
        let results = acknowledged.iter().map(|(id, sequence)| match self.get(*id) {
            Ok(subscription) => {
                if subscription.acknowledge(*sequence) {
                    StatusCode::GOOD
                } else {
                    status::BAD_SEQUENCE_NUMBER_UNKNOWN
                }
            }
            Err(status) => status,
        });
        let results = results.collect();
        if self.all.is_empty() && self.ended.is_empty() {
            out.push(Reply { request_id, body: send::fault(handle, status::BAD_NO_SUBSCRIPTION) });
            return;
        }
        if self.requests.len() >= self.limits.publish_requests
            && let Some(oldest) = self.requests.pop_front()
        {
            let body = send::fault(oldest.handle, status::BAD_TOO_MANY_PUBLISH_REQUESTS);
            out.push(Reply { request_id: oldest.id, body });
        }
        let until = (timeout > 0).then(|| now + Duration::from_millis(timeout.into()));
        self.requests.push_back(Request { id: request_id, handle, until, results });
    }

    /// The client's connection is gone, and with it the requests that came through it.
    pub fn detach(&mut self) {
        self.requests.clear();
    }

    /// Lets time pass and answers what can be answered.
    pub fn tick(&mut self, now: Instant, sampler: &dyn Sampler, out: &mut Vec<Reply>) {
        self.drop_late_requests(now, out);
        let can_publish = !self.requests.is_empty();
        let mut place = 0;
        while place < self.all.len() {
            if self.all[place].advance(now, can_publish, sampler) {
                place += 1;
            } else {
                self.ended.push_back(self.all.remove(place));
                // One farewell a subscription, and not more than a session may have.
                if self.ended.len() > self.limits.subscriptions_per_session {
                    self.ended.pop_front();
                }
            }
        }
        self.answer(sampler.wall(), out);
    }

    fn drop_late_requests(&mut self, now: Instant, out: &mut Vec<Reply>) {
        self.requests.retain(|request| {
            let late = request.until.is_some_and(|until| until < now);
            if late {
                out.push(Reply { request_id: request.id, body: send::fault(request.handle, StatusCode::BAD_TIMEOUT) });
            }
            !late
        });
    }

    fn answer(&mut self, wall: Timestamp, out: &mut Vec<Reply>) {
        while !self.requests.is_empty() {
            if let Some(mut ended) = self.ended.pop_front() {
                let Some(request) = self.requests.pop_front() else { return };
                let message = ended.farewell(StatusCode::BAD_TIMEOUT, wall);
                out.push(response(&request, ended.id, std::iter::empty(), &message));
                continue;
            }
            let Some(place) = self.next_in_turn() else { break };
            let Some(message) = self.all[place].message(wall) else { continue };
            let Some(request) = self.requests.pop_front() else { return };
            let subscription = &self.all[place];
            out.push(response(&request, subscription.id, subscription.available(), &message));
        }
        // A publishing time without news is over once it was looked at.
        for subscription in &mut self.all {
            if !subscription.wants_to_publish() {
                let _ = subscription.message(wall);
            }
        }
        if self.all.is_empty() && self.ended.is_empty() {
            for request in self.requests.drain(..) {
                out.push(Reply { request_id: request.id, body: send::fault(request.handle, status::BAD_NO_SUBSCRIPTION) });
            }
        }
    }

    /// Of those that want to publish the one with the highest priority; equals take turns.
    fn next_in_turn(&mut self) -> Option<usize> {
        let count = self.all.len();
        let from = self.turn;
        let place = (0..count)
            .map(|step| (from + step) % count.max(1))
            .filter(|place| self.all[*place].wants_to_publish())
            .reduce(|best, place| if self.all[place].priority() > self.all[best].priority() { place } else { best })?;
        self.turn = place + 1;
        Some(place)
    }

    /// When the next tick is worth while.
    pub fn next_look(&self) -> Option<Instant> {
        let requests = self.requests.iter().filter_map(|request| request.until);
        self.all.iter().map(Subscription::next_look).chain(requests).min()
    }
}

fn response(request: &Request, id: u32, available: impl ExactSizeIterator<Item = u32>, message: &subscription::Message) -> Reply {
    let mut w: Writer = send::response(Service::Publish.response(), request.handle, StatusCode::GOOD);
    w.u32(id);
    w.count(available.len());
    for number in available {
        w.u32(number);
    }
    w.boolean(message.more);
    w.0.extend_from_slice(&message.bytes);
    w.count(request.results.len());
    for status in &request.results {
        w.status(*status);
    }
    w.null();
    Reply { request_id: request.id, body: w.0 }
}

#[cfg(test)]
mod tests;
