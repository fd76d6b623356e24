//! A redundant pair's half of an instance: whether it may act, and how that is known (SPEC 12).
//!
//! The lease lies in the store, and the store's clock alone says when it is over. Beside it runs our own clock: from the moment
//! before a beat until the lease's end, less a margin, this instance may act. Whatever it does to the world passes
//! [`Lease::guard`], so that one that was stopped and goes on later does nothing: it finds its time over before it does anything
//! else. Once over, the lease stays over until the instance begins anew with what the store holds.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Shared;
use crate::{
    config::{RedundancySettings, StoreLost},
    lease::Terms,
    store::{Member, Pair, Standing},
};

/// How long an instance that gave up, because it had lost its sources, leaves the lease to others.
const REST: Duration = Duration::from_secs(300);

/// How long the last beat may take at the end of the program.
const LAST: Duration = Duration::from_secs(1);

/// Until when this instance may act.
pub(super) struct Lease {
    began: Instant,
    /// Milliseconds after `began`; zero when it may not.
    until: AtomicU64,
    over: Notify,
}

impl Default for Lease {
    fn default() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0), over: Notify::new() }
    }
}

impl Lease {
    /// This instance may act now.
    pub(super) fn held(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return false;
        }
        if until > self.now() {
            return true;
        }
        // It was extended at this moment, or it is over.
        if self.until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return self.held();
        }
        self.over.notify_waiters();
        false
    }

    /// Begins to act, until then; `None` for ever, where nobody else can.
    pub(super) fn begin(&self, until: Option<Instant>) {
        self.until.store(until.map_or(u64::MAX, |until| self.at(until)), Ordering::Release);
    }

    /// Acts longer, if it is not over.
    fn extend(&self, until: Instant) {
        let later = |held: u64| (held != 0 && held > self.now()).then(|| held.max(self.at(until)));
        if self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, later).is_err() {
            self.end();
        }
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.over.notify_waiters();
    }

    /// Resolves when it is over.
    pub(super) async fn ended(&self) {
        loop {
            let over = self.over.notified();
            let mut over = pin!(over);
            over.as_mut().enable();
            if !self.held() {
                return;
            }
            let until = self.until.load(Ordering::Acquire);
            let left = Duration::from_millis(until.saturating_sub(self.now()).min(3_600_000));
            // Extended meanwhile, it is looked at again.
            _ = tokio::time::timeout(left, over).await;
        }
    }

    /// Carries on with `work` only while the lease is held: each time it would go on, that is asked first. `None` when it is over;
    /// then what had begun is dropped where it stood.
    pub(super) async fn guard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| if self.held() { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }).await
    }

    fn at(&self, until: Instant) -> u64 {
        u64::try_from(until.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }
}

/// The answer to a beat.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Ourselves and the others.
    pub(super) pair: Pair,
    /// Until then this instance may act, when the lease is its own.
    pub(super) until: Instant,
}

/// What is known of the pair.
pub(super) struct Instances {
    pub(super) lease: Lease,
    settings: RedundancySettings,
    alone: AtomicBool,
    /// The last beat's answer; `None` before the first.
    seen: watch::Sender<Option<Seen>>,
}

impl Instances {
    pub(super) fn new(settings: RedundancySettings) -> Self {
        Self { lease: Lease::default(), settings, alone: AtomicBool::new(true), seen: watch::Sender::new(None) }
    }

    /// The last beat's answer.
    pub(super) fn last(&self) -> Option<Seen> {
        self.seen.borrow().clone()
    }

    /// Tells of every beat.
    pub(super) fn beats(&self) -> watch::Receiver<Option<Seen>> {
        self.seen.subscribe()
    }

    fn terms(&self) -> Terms {
        Terms { lease: self.settings.lease }
    }

    /// No other instance can act: what must be done is done also while the store cannot be written.
    pub(super) fn alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// For as long as this is polled, an instance that is alone acts on: a beat that nobody answers takes longer than the lease has
    /// room.
    async fn go_on_alone(&self) {
        loop {
            tokio::time::sleep(self.terms().pace()).await;
            if self.alone() && self.lease.held() {
                self.lease.extend(Instant::now() + self.terms().room());
            }
        }
    }
}

/// This instance's own part in the pair.
pub(super) struct Part {
    shared: Arc<Shared>,
    me: Member,
    /// Until then others come first.
    rests: Option<Instant>,
    /// Since when a source that it needs is lost.
    blind: Option<Instant>,
    failing: bool,
}

impl Part {
    pub(super) fn new(shared: Arc<Shared>, endpoint: String) -> Self {
        let uri = shared.application_uri.clone();
        let me = Member { id: Uuid::new_v4(), uri, endpoint, version: env!("CARGO_PKG_VERSION").to_owned(), ready: true };
        Self { shared, me, rests: None, blind: None, failing: false }
    }

    /// Beats until `stop`, then gives the lease up.
    pub(super) async fn beat(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let pace = shared.pair.terms().pace();
        loop {
            let began = Instant::now();
            // One that is under way could take the lease after it was given up; a store that does not answer is not waited for.
            let end = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST).await;
            };
            tokio::select! {
                () = self.once(began) => {}
                () = shared.pair.go_on_alone() => {}
                () = end => break,
            }
            self.watch_sources().await;
            tokio::select! {
                () = tokio::time::sleep(pace.saturating_sub(began.elapsed())) => {}
                () = stop.cancelled() => break,
            }
        }
        self.give_up().await;
    }

    /// Acts no longer, and lets another instance begin at once.
    async fn give_up(&self) {
        self.shared.pair.lease.end();
        if let Err(error) = self.shared.store.give_up(&self.me).await {
            tracing::warn!(%error, "failed to give the lease up: another instance acts when it has run out");
        }
    }

    async fn once(&mut self, began: Instant) {
        let pair = &self.shared.pair;
        self.me.ready = self.rests.is_none_or(|until| until <= began);
        match self.shared.store.beat(&self.me, pair.settings.lease).await {
            Ok(answer) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store answers again");
                }
                let until = began + pair.terms().room();
                match answer.standing {
                    Standing::Active => pair.lease.extend(until),
                    Standing::Standby { .. } => pair.lease.end(),
                }
                self.tell_of_others(&answer);
                pair.alone.store(answer.members.iter().all(|member| member.id == self.me.id), Ordering::Release);
                pair.seen.send_replace(Some(Seen { pair: answer, until }));
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the store does not answer");
                }
                // Nobody else is there who could act, or it is wanted so: this one goes on, as without a pair (SPEC 12).
                if pair.settings.store_lost == StoreLost::Send {
                    pair.alone.store(true, Ordering::Release);
                }
                if pair.alone() {
                    pair.lease.extend(began + pair.terms().room());
                }
            }
        }
    }

    /// Says who came and who went. Instances that call themselves alike are one server to OPC UA clients, which then never look for the
    /// other.
    fn tell_of_others(&self, seen: &Pair) {
        let before = self.shared.pair.last().map(|before| before.pair.members).unwrap_or_default();
        let is_in = |members: &[Member], id: Uuid| members.iter().any(|member| member.id == id);
        for Member { uri, endpoint, .. } in seen.members.iter().filter(|one| one.id != self.me.id && !is_in(&before, one.id)) {
            tracing::info!(%uri, %endpoint, "another instance is there");
            if *uri == self.me.uri {
                tracing::error!(%uri, %endpoint, "another instance has the same [server] application_uri: give each its own");
            }
        }
        for Member { uri, endpoint, .. } in before.iter().filter(|one| !is_in(&seen.members, one.id)) {
            tracing::warn!(%uri, %endpoint, "another instance is gone");
        }
    }

    /// `[redundancy] readiness`: without a source that it needs, the active instance lets another one try.
    async fn watch_sources(&mut self) {
        let pair = &self.shared.pair;
        let lost = pair.settings.readiness.iter().find(|source| !self.shared.sources.is_connected(source));
        let Some(lost) = lost.filter(|_| pair.lease.held()) else {
            self.blind = None;
            return;
        };
        let since = *self.blind.get_or_insert_with(Instant::now);
        let other = |seen: &Seen| seen.pair.members.iter().any(|member| member.id != self.me.id && member.ready);
        if since.elapsed() < pair.settings.readiness_after || !pair.seen.borrow().as_ref().is_some_and(other) {
            return;
        }
        tracing::warn!(source = %lost, "lost for too long: another instance shall try");
        self.rests = Some(Instant::now() + REST);
        self.blind = None;
        self.give_up().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_under_way_stops_where_it_stands() {
        let lease = Lease::default();
        assert_eq!(lease.guard(async { 1 }).await, None, "nobody began");
        lease.begin(None);
        assert_eq!(lease.guard(async { 1 }).await, Some(1));
        let gate = Notify::new();
        let work = lease.guard(async {
            gate.notified().await;
            panic!("it went on");
        });
        let end = async {
            lease.end();
            gate.notify_one();
        };
        let (done, ()) = tokio::join!(work, end);
        assert_eq!(done, None::<()>);
    }

    #[test]
    fn a_lease_that_ran_out_is_not_extended() {
        let lease = Lease::default();
        lease.extend(Instant::now() + Duration::from_secs(9));
        assert!(!lease.held(), "it never began");
        lease.begin(Some(Instant::now() + Duration::from_secs(9)));
        assert!(lease.held());
        lease.extend(Instant::now());
        assert!(lease.held(), "an earlier end shortens nothing");
        lease.begin(Some(lease.began));
        assert!(!lease.held());
        lease.extend(Instant::now() + Duration::from_secs(9));
        assert!(!lease.held(), "only a new beginning helps");
    }
}
