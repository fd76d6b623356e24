//! What SubscriptionDiagnosticsArray tells of one subscription (Part 5, 12.15): counted where it happens, read without the lock of
//! the subscription's session.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::super::wire::{Id, Writer};

const SUBSCRIPTION: Id<'static> = Id::numeric(0, 876);

/// What is counted or shown of a subscription, in the order of the structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Figure {
    Modify,
    Enable,
    Disable,
    RepublishRequest,
    RepublishMessageRequest,
    RepublishMessage,
    TransferRequest,
    TransferredToAltClient,
    TransferredToSameClient,
    PublishRequest,
    DataChangeNotifications,
    EventNotifications,
    Notifications,
    LatePublishRequest,
    CurrentKeepAlive,
    CurrentLifetime,
    UnacknowledgedMessages,
    DiscardedMessages,
    MonitoredItems,
    DisabledMonitoredItems,
    MonitoringQueueOverflow,
    NextSequenceNumber,
    EventQueueOverflow,
}

const FIGURES: usize = Figure::EventQueueOverflow as usize + 1;

/// A subscription as diagnostics show it.
#[derive(Debug)]
pub struct OfSubscription {
    id: u32,
    /// The session's number; zero without one.
    session: AtomicU32,
    priority: AtomicU32,
    /// In µs.
    interval: AtomicU64,
    keep_alive: AtomicU32,
    lifetime: AtomicU32,
    notifications: AtomicU32,
    is_enabled: AtomicBool,
    figures: [AtomicU32; FIGURES],
}

/// The terms of a subscription as they are shown.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Terms {
    pub priority: u8,
    /// In µs.
    pub interval: u64,
    pub keep_alive: u32,
    pub lifetime: u32,
    pub notifications: u32,
}

impl OfSubscription {
    /// A new one.
    pub fn new(id: u32, session: u32, terms: Terms, is_enabled: bool) -> Self {
        let new = Self {
            id,
            session: AtomicU32::new(session),
            priority: AtomicU32::default(),
            interval: AtomicU64::default(),
            keep_alive: AtomicU32::default(),
            lifetime: AtomicU32::default(),
            notifications: AtomicU32::default(),
            is_enabled: AtomicBool::new(is_enabled),
            figures: Default::default(),
        };
        new.revise(terms);
        new
    }

    /// It has other terms.
    pub fn revise(&self, terms: Terms) {
        self.priority.store(terms.priority.into(), Ordering::Relaxed);
        self.interval.store(terms.interval, Ordering::Relaxed);
        self.keep_alive.store(terms.keep_alive, Ordering::Relaxed);
        self.lifetime.store(terms.lifetime, Ordering::Relaxed);
        self.notifications.store(terms.notifications, Ordering::Relaxed);
    }

    /// Publishing was enabled or disabled.
    pub fn enable(&self, enabled: bool) {
        self.is_enabled.store(enabled, Ordering::Relaxed);
        self.add(if enabled { Figure::Enable } else { Figure::Disable }, 1);
    }

    /// It belongs to another session.
    pub fn belong_to(&self, session: u32) {
        self.session.store(session, Ordering::Relaxed);
    }

    /// The number of its session.
    pub fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Its monitored items.
    pub fn items(&self) -> u32 {
        self.figures[Figure::MonitoredItems as usize].load(Ordering::Relaxed)
    }

    /// So many more of `figure`.
    pub fn add(&self, figure: Figure, count: usize) {
        self.figures[figure as usize].fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// `figure` is so much now.
    pub fn show(&self, figure: Figure, now: usize) {
        self.figures[figure as usize].store(u32::try_from(now).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Writes a SubscriptionDiagnosticsDataType.
    #[allow(clippy::cast_precision_loss, reason = "intervals are at most an hour")]
    pub fn write(&self, w: &mut Writer) {
        let of = |number: &AtomicU32| number.load(Ordering::Relaxed);
        w.extension(SUBSCRIPTION, |w| {
            match self.session() {
                0 => w.standard(0),
                session => w.id(Id::numeric(1, session)),
            }
            w.u32(self.id);
            w.u8(u8::try_from(of(&self.priority)).unwrap_or(u8::MAX));
            w.f64(self.interval.load(Ordering::Relaxed) as f64 / 1_000.0);
            w.u32(of(&self.keep_alive));
            w.u32(of(&self.lifetime));
            w.u32(of(&self.notifications));
            w.boolean(self.is_enabled.load(Ordering::Relaxed));
            for figure in &self.figures {
                w.u32(of(figure));
            }
        });
    }
}
