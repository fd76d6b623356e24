//! Subscriptions of one session (Part 4, 5.14), without I/O and without a clock: time comes in, responses come out.

mod events;
mod filter;
mod item;
mod items;
mod machine;
pub mod methods;
mod purse;
mod scan;
pub mod services;
mod subscription;
pub mod transfer;
mod triggers;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub use items::Sampler;
use machine::Act;
pub use purse::Held;
use purse::Purse;
pub use subscription::Subscription;
use subscription::{Farewell, Terms, Wanted};

use super::{
    decode::Service,
    diag::{
        Living,
        subscription::{Figure, OfSubscription},
    },
    events::Event,
    limits::Limits,
    send,
    wire::Writer,
};
use crate::tag::{StatusCode, Timestamp};

/// Codes of subscriptions and monitored items.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const GOOD_SUBSCRIPTION_TRANSFERRED: StatusCode = StatusCode(0x002D_0000);
    pub const BAD_REQUEST_CANCELLED_BY_CLIENT: StatusCode = StatusCode(0x802C_0000);
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
    pub const BAD_NOT_SUPPORTED: StatusCode = StatusCode(0x803D_0000);
    pub const BAD_REFRESH_IN_PROGRESS: StatusCode = StatusCode(0x8097_0000);
}

/// What all sessions have together.
#[derive(Debug, Default)]
pub struct Counts {
    /// Subscriptions.
    pub subscriptions: AtomicUsize,
    /// Monitored items.
    pub items: AtomicUsize,
    /// Those of them that are for events.
    pub event_items: AtomicUsize,
    /// Bytes that wait for clients, without the events among them.
    pub held: AtomicUsize,
    /// Bytes of events that somebody still has.
    pub events: Arc<AtomicUsize>,
    /// The subscriptions that are there, as diagnostics show them.
    pub living: Living<OfSubscription>,
    /// The last id given to a subscription.
    last: AtomicU32,
}

impl Counts {
    /// How many subscriptions there ever were.
    pub fn made(&self) -> u32 {
        self.last.load(Ordering::Relaxed)
    }
}

/// A Publish request that waits.
struct Request {
    id: u32,
    handle: u32,
    until: Option<Instant>,
    results: Vec<StatusCode>,
}

impl Request {
    fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until < now)
    }
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
    /// Bytes that wait for the client.
    held: Arc<Held>,
    all: Vec<Subscription>,
    /// What the results take that go with the requests.
    results: Purse,
    requests: VecDeque<Request>,
    /// Subscriptions that ended or went to another session, until the client is told.
    farewells: VecDeque<Farewell>,
    /// Messages that were sent.
    turn: u64,
}

impl Subscriptions {
    /// None yet.
    pub fn new(limits: Limits, counts: Arc<Counts>, held: Arc<Held>) -> Self {
        let results = Purse::new(&limits, &counts, &held);
        Self { limits, counts, held, all: Vec::new(), results, requests: VecDeque::new(), farewells: VecDeque::new(), turn: 0 }
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
        let purse = Purse::new(&self.limits, &self.counts, &self.held);
        self.all.push(Subscription::new(id, terms, enabled, (&self.limits, purse), Arc::clone(&self.counts), now));
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

    /// ConditionRefresh, or with `item` ConditionRefresh2 (Part 9, 5.5.7 and 5.5.8), of a subscription of this session: RefreshStart,
    /// what `retained` gives as far as each item's filter lets it pass, RefreshEnd. `retained` is asked only when it is needed.
    /// Gives the method's result: also `Bad_SubscriptionIdInvalid`, `Bad_MonitoredItemIdInvalid`, `Bad_NothingToDo` without an
    /// event item, `Bad_RefreshInProgress`.
    pub fn refresh(
        &mut self,
        id: u32,
        item: Option<u32>,
        retained: impl FnOnce() -> Vec<Arc<Event>>,
        sampler: &dyn Sampler,
    ) -> StatusCode {
        match self.get(id) {
            Ok(subscription) => {
                subscription.touch();
                subscription.events.refresh(item, retained, sampler)
            }
            Err(status) => status,
        }
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
        let results: Vec<_> = results.collect();
        // A request is a sign of life to each: rows 4 and 13.
        self.all.iter_mut().for_each(Subscription::touch);
        if self.all.is_empty() && self.farewells.is_empty() {
            out.push(Reply { request_id, body: send::fault(handle, status::BAD_NO_SUBSCRIPTION) });
            return;
        }
        if (self.requests.len() >= self.limits.publish_requests || self.results.is_full())
            && let Some(oldest) = self.next_request()
        {
            let body = send::fault(oldest.handle, status::BAD_TOO_MANY_PUBLISH_REQUESTS);
            out.push(Reply { request_id: oldest.id, body });
        }
        let until = (timeout > 0).then(|| now + Duration::from_millis(timeout.into()));
        self.results.put(results.len() * size_of::<StatusCode>());
        self.requests.push_back(Request { id: request_id, handle, until, results });
        self.held.show_requests(self.requests.len());
    }

    /// The request that came first.
    fn next_request(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.results.take(request.results.len() * size_of::<StatusCode>());
        self.held.show_requests(self.requests.len());
        Some(request)
    }

    /// Takes out the requests that `is_meant`.
    fn take_requests(&mut self, is_meant: impl Fn(&Request) -> bool) -> Vec<Request> {
        let (taken, kept): (Vec<_>, Vec<_>) = self.requests.drain(..).partition(is_meant);
        self.requests = kept.into();
        self.held.show_requests(self.requests.len());
        self.results.take(taken.iter().map(|request| request.results.len() * size_of::<StatusCode>()).sum());
        taken
    }

    /// True when the subscription is one of these.
    pub fn contains(&self, id: u32) -> bool {
        self.all.iter().any(|subscription| subscription.id == id)
    }

    /// True when there is room for one more.
    pub fn has_room(&self) -> bool {
        self.all.len() < self.limits.subscriptions_per_session
    }

    /// Gives a subscription away to another session; the client is told (row 23).
    pub fn give(&mut self, id: u32) -> Option<Subscription> {
        let place = self.all.iter().position(|subscription| subscription.id == id)?;
        let given = self.all.remove(place);
        self.lose(&given, status::GOOD_SUBSCRIPTION_TRANSFERRED);
        Some(given)
    }

    /// Takes a subscription over from another session (row 23).
    pub fn adopt(&mut self, mut subscription: Subscription) {
        subscription.touch();
        subscription.served = 0;
        subscription.move_to(&self.held);
        self.all.push(subscription);
    }

    /// All subscriptions, of a session that ends without them.
    pub fn leave_behind(&mut self) -> Vec<Subscription> {
        let mut left = std::mem::take(&mut self.all);
        let nobody = Arc::<Held>::default();
        for subscription in &mut left {
            subscription.move_to(&nobody);
        }
        left
    }

    /// GetMonitoredItems (Part 5, 9.1): ids and client handles of a subscription's items.
    ///
    /// # Errors
    /// `Bad_SubscriptionIdInvalid`.
    pub fn handles(&mut self, id: u32) -> Result<Vec<(u32, u32)>, StatusCode> {
        self.get(id).map(|subscription| {
            let mut handles = subscription.items.handles();
            handles.extend(subscription.events.handles());
            handles.sort_unstable();
            handles
        })
    }

    /// ResendData (Part 5, 9.2): has the last value of each reporting item told once more.
    ///
    /// # Errors
    /// `Bad_SubscriptionIdInvalid`.
    pub fn resend(&mut self, id: u32, wall: Timestamp) -> Result<(), StatusCode> {
        self.get(id).map(|subscription| subscription.items.resend(wall))
    }

    /// The client's connection is gone, and with it the requests that came through it.
    pub fn detach(&mut self) {
        self.take_requests(|_| true);
    }

    /// Cancel: answers the Publish requests of this handle and says how many they were.
    pub fn cancel(&mut self, handle: u32, out: &mut Vec<Reply>) -> u32 {
        let cancelled = self.take_requests(|request| request.handle == handle);
        let reply = |request: &Request| {
            let body = send::fault(handle, status::BAD_REQUEST_CANCELLED_BY_CLIENT);
            Reply { request_id: request.id, body }
        };
        out.extend(cancelled.iter().map(reply));
        u32::try_from(cancelled.len()).unwrap_or(u32::MAX)
    }

    /// Lets time pass and answers what can be answered.
    pub fn tick(&mut self, now: Instant, sampler: &dyn Sampler, out: &mut Vec<Reply>) {
        self.drop_late_requests(now, out);
        let wall = sampler.wall();
        self.say_farewell(wall, out);
        let mut expired = Vec::new();
        for (place, subscription) in self.all.iter_mut().enumerate() {
            if subscription.advance(now, sampler) {
                expired.push(place);
            }
        }
        expired.sort_by_key(|place| self.rank(*place));
        let mut closed = Vec::new();
        for place in expired {
            let act = self.all[place].timer(!self.requests.is_empty());
            if act == Act::Close {
                closed.push(place);
            }
            self.answer(place, act, wall, out);
            // What did not fit a message goes with the next request.
            while !self.requests.is_empty() && self.all[place].machine.wants_request() {
                let act = self.all[place].request();
                self.answer(place, act, wall, out);
            }
        }
        closed.sort_unstable();
        for place in closed.into_iter().rev() {
            let ended = self.all.remove(place);
            self.lose(&ended, StatusCode::BAD_TIMEOUT);
        }
        self.say_farewell(wall, out);
        while !self.requests.is_empty()
            && let Some(place) =
                (0..self.all.len()).filter(|place| self.all[*place].machine.wants_request()).min_by_key(|place| self.rank(*place))
        {
            let act = self.all[place].request();
            self.answer(place, act, wall, out);
        }
        if self.all.is_empty() && self.farewells.is_empty() {
            for request in self.take_requests(|_| true) {
                out.push(Reply { request_id: request.id, body: send::fault(request.handle, status::BAD_NO_SUBSCRIPTION) });
            }
        }
    }

    /// Answers a Publish request with what a subscription has to say.
    fn answer(&mut self, place: usize, act: Act, wall: Timestamp, out: &mut Vec<Reply>) {
        if matches!(act, Act::Nothing | Act::Close) {
            return;
        }
        let Some(request) = self.next_request() else { return };
        let subscription = &mut self.all[place];
        let Some(message) = subscription.message(act, wall) else { return };
        subscription.diagnostics.add(Figure::PublishRequest, 1);
        subscription.show();
        self.turn += 1;
        subscription.served = self.turn;
        out.push(response(&request, subscription.id, subscription.available(), &message));
    }

    /// Notes that the client is to be told of a subscription that is no longer here.
    fn lose(&mut self, subscription: &Subscription, status: StatusCode) {
        self.farewells.push_back(subscription.farewell(status));
        // One farewell a subscription, and not more than a session may have.
        if self.farewells.len() > self.limits.subscriptions_per_session {
            self.farewells.pop_front();
        }
    }

    fn say_farewell(&mut self, wall: Timestamp, out: &mut Vec<Reply>) {
        while !self.requests.is_empty()
            && let Some(farewell) = self.farewells.pop_front()
            && let Some(request) = self.next_request()
        {
            out.push(response(&request, farewell.id, std::iter::empty(), &farewell.message(wall)));
        }
    }

    fn drop_late_requests(&mut self, now: Instant, out: &mut Vec<Reply>) {
        if self.requests.iter().any(|request| request.is_late(now)) {
            for late in self.take_requests(|request| request.is_late(now)) {
                out.push(Reply { request_id: late.id, body: send::fault(late.handle, StatusCode::BAD_TIMEOUT) });
            }
        }
    }

    /// Who comes first: the highest priority; of equals the one that was answered longest ago.
    fn rank(&self, place: usize) -> (std::cmp::Reverse<u8>, u64) {
        let subscription = &self.all[place];
        (std::cmp::Reverse(subscription.priority()), subscription.served)
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
mod event_tests;
#[cfg(test)]
mod property;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
