//! The alarms as conditions (OPC 10000-9): what their members hold, which are retained, what is news, and what a method does.
//!
//! Alarm state lives in the engine only. Its snapshots ([`Condition`]) come after each commit; here they become events, once a
//! notification, and answers to whoever reads a member. Alarms that nothing ever happened to cost nothing here.

mod fields;
mod followed;
mod members;
pub mod methods;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;
use opcua::crypto::X509;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tokio_util::sync::CancellationToken;

use self::followed::{Followed, World};
pub use self::members::{event_type, paths};
use super::{
    Server,
    events::{Event, Field, Hub, base},
};
use crate::{
    clock,
    engine::{condition::Condition, plan::Plan},
    serve::Gateway,
    tag::Timestamp,
};

/// The server's own certificate, for the alarm that tells of it.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// DER.
    pub der: Arc<[u8]>,
    /// When it ends.
    pub expires: Timestamp,
}

impl Certificate {
    /// What is told of a certificate.
    #[must_use]
    pub fn of(certificate: &X509) -> Self {
        let ends = certificate.not_after().ok().and_then(|ends| jiff::Timestamp::from_microsecond(ends.timestamp_micros()).ok());
        let der = certificate.as_byte_string().as_ref().into();
        Self { der, expires: ends.map(Timestamp::from).unwrap_or_default() }
    }
}

/// The conditions as the server shows them.
pub struct Conditions {
    gateway: Arc<dyn Gateway>,
    followed: RwLock<Followed>,
    /// Snapshots that are not taken yet.
    changes: Mutex<Receiver<Arc<Condition>>>,
    certificate: ArcSwap<Certificate>,
}

impl Conditions {
    /// The alarms as they are, which is no news.
    #[must_use]
    pub fn new(gateway: Arc<dyn Gateway>, certificate: Certificate) -> Self {
        // Before they are looked at, so that nothing is missed.
        let changes = Mutex::new(gateway.condition_changes());
        let certificate = ArcSwap::from_pointee(certificate);
        let conditions = Self { gateway, followed: RwLock::default(), changes, certificate };
        for condition in conditions.gateway.conditions() {
            drop(conditions.take(condition, false));
        }
        conditions
    }

    /// The member of the condition `alarm` at a browse path such as `ActiveState/Id`; `None` when it has no such member.
    #[must_use]
    pub fn member(&self, alarm: &str, path: &str) -> Option<Field> {
        let plan = self.gateway.plan();
        let def = plan.alarm(alarm)?;
        let certificate = self.certificate.load();
        let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
        followed.member(self.world(&plan, &certificate), def, path, clock::now())
    }

    /// The last notification of every retained condition and branch, as ConditionRefresh sends them again (Part 9, 5.5.7): with the
    /// EventIds that they had.
    #[must_use]
    pub fn retained(&self) -> Vec<Arc<Event>> {
        let (plan, certificate) = (self.gateway.plan(), self.certificate.load());
        self.followed.read().unwrap_or_else(PoisonError::into_inner).retained(self.world(&plan, &certificate))
    }

    /// Takes all snapshots that have come and tells their events. Whoever reads or calls something of a condition has it done first:
    /// a client whose call was answered reads what the call did.
    pub fn catch_up(&self, hub: &Hub) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match changes.try_recv() {
                Ok(condition) => self.tell(hub, condition, false),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
                Err(TryRecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "changes of alarms came faster than they could be told; clients are asked to refresh");
                    for condition in self.gateway.conditions() {
                        self.tell(hub, condition, true);
                    }
                    hub.emit(refresh_required(clock::now()));
                }
            }
        }
    }

    fn tell(&self, hub: &Hub, condition: Arc<Condition>, missed: bool) {
        for event in self.take(condition, missed) {
            hub.emit(event);
        }
    }

    /// The server shows another certificate.
    pub fn set_certificate(&self, certificate: Certificate) {
        self.certificate.store(Arc::new(certificate));
    }

    /// Keeps a snapshot; gives the events of what is news in it.
    fn take(&self, condition: Arc<Condition>, missed: bool) -> Vec<Event> {
        let (plan, certificate) = (self.gateway.plan(), self.certificate.load());
        let world = self.world(&plan, &certificate);
        self.followed.write().unwrap_or_else(PoisonError::into_inner).take(world, condition, missed)
    }

    fn world<'a>(&'a self, plan: &'a Plan, certificate: &'a Certificate) -> World<'a> {
        World { plan, table: self.gateway.table(), certificate }
    }
}

/// Has the engine's snapshots taken as they come, until `stop`; `changes` only says when.
pub async fn follow(server: Arc<Server>, mut changes: Receiver<Arc<Condition>>, stop: CancellationToken) {
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        if matches!(change, Err(RecvError::Closed)) {
            return;
        }
        server.conditions.catch_up(&server.events);
    }
}

/// Tells every client that it may have missed something of the conditions.
fn refresh_required(now: Timestamp) -> Event {
    let mut id = [0; base::EVENT_ID];
    id[base::EVENT_ID - 8..].copy_from_slice(&now.ticks().to_be_bytes());
    base::of_server(base::event_type::REFRESH_REQUIRED, id, now)
}
