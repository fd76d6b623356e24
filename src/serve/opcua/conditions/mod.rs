//! The alarms as conditions (OPC 10000-9): what their members hold, which are retained, what is news, and what a method does.
//!
//! Alarm state lives in the engine only. Its snapshots ([`Condition`]) come after each commit; here they become events, once a
//! notification, and answers to whoever reads a member. Alarms that nothing ever happened to cost nothing here.

mod fields;
mod members;
pub mod methods;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use opcua::crypto::X509;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use self::fields::Subject;
pub use self::members::{event_type, limits};
use super::{
    Server,
    events::{Event, Field, base},
};
use crate::{
    clock,
    engine::{
        condition::{Branch, Condition},
        plan::{AlarmDef, TagDef},
    },
    serve::Gateway,
    tag::{StatusCode, Timestamp, Value},
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
    known: RwLock<BTreeMap<Arc<str>, Known>>,
    certificate: Certificate,
}

/// A condition, with what was configured when it was told of.
struct Known {
    condition: Arc<Condition>,
    def: Arc<AlarmDef>,
    tag: Option<Arc<TagDef>>,
    max_shelved: f64,
}

impl Conditions {
    /// The alarms as they are, which is no news.
    #[must_use]
    pub fn new(gateway: Arc<dyn Gateway>, certificate: Certificate) -> Self {
        let conditions = Self { gateway, known: RwLock::default(), certificate };
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
        let tag = plan.tag(def.tag);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let normal;
        let condition = match known.get(alarm) {
            Some(known) => &*known.condition,
            None => {
                let severity = plan.alarm_rules.severity[def.priority as usize];
                normal = Condition::normal(Arc::clone(&def.path), severity);
                &normal
            }
        };
        let subject = Subject {
            def,
            tag: tag.map(AsRef::as_ref),
            max_shelved: fields::max_shelved(&plan, def),
            table: self.gateway.table(),
            certificate: &self.certificate,
            condition,
            branch: &condition.trunk,
            at: clock::now(),
        };
        if !condition.trunk.retain && condition.state.enabled && (path == "Quality" || path == "Quality/SourceTimestamp") {
            return Some(self.input_quality(def, path == "Quality"));
        }
        subject.field(path)
    }

    /// The last notification of every retained condition and branch, as ConditionRefresh sends them again (Part 9, 5.5.7): with the
    /// EventIds that they had.
    #[must_use]
    pub fn retained(&self) -> Vec<Arc<Event>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let retained = known.values().flat_map(|known| {
            let all = known.condition.branches.iter().chain(std::iter::once(&known.condition.trunk));
            all.filter(|branch| branch.retain).map(|branch| Arc::new(self.event(known, branch)))
        });
        retained.collect()
    }

    /// Of an alarm that is not retained, whose snapshot does not follow it.
    fn input_quality(&self, def: &AlarmDef, code: bool) -> Field {
        if matches!(def.mode, crate::engine::plan::Mode::System) {
            return if code { Field::Status(StatusCode::GOOD) } else { Field::Value(Value::DateTime(Timestamp::NULL)) };
        }
        let reading = self.gateway.table().read(def.tag);
        if code { Field::Status(reading.status) } else { Field::Value(Value::DateTime(reading.source_time)) }
    }

    /// Keeps a snapshot; gives the events of what is news in it. `missed` says that snapshots before it may have been missed.
    fn take(&self, condition: Arc<Condition>, missed: bool) -> Vec<Event> {
        let plan = self.gateway.plan();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let old = known.remove(&condition.alarm);
        if old.as_ref().is_some_and(|old| old.condition.last() > condition.last()) {
            // Taken together with later ones before.
            known.extend(old.map(|old| (Arc::clone(&condition.alarm), old)));
            return Vec::new();
        }
        let told = match &old {
            Some(old) if missed => old.condition.last(),
            Some(old) => old.condition.last().max(condition.before),
            None => condition.before,
        };
        let new = match plan.alarm(&condition.alarm) {
            Some(def) => Known {
                max_shelved: fields::max_shelved(&plan, def),
                tag: plan.tag(def.tag).cloned(),
                def: Arc::clone(def),
                condition,
            },
            // No longer configured: it is told of as it was.
            None => match old {
                Some(old) => Known { condition, ..old },
                None => return Vec::new(),
            },
        };
        let mut news: Vec<&Branch> = new.condition.since(told).collect();
        news.sort_unstable_by_key(|branch| branch.id.number);
        let events = news.into_iter().map(|branch| self.event(&new, branch)).collect();
        if !new.condition.removed {
            known.insert(Arc::clone(&new.condition.alarm), new);
        }
        events
    }

    fn event(&self, known: &Known, branch: &Branch) -> Event {
        let subject = Subject {
            def: &known.def,
            tag: known.tag.as_deref(),
            max_shelved: known.max_shelved,
            table: self.gateway.table(),
            certificate: &self.certificate,
            condition: &known.condition,
            branch,
            at: branch.time,
        };
        subject.event()
    }
}

/// Follows the engine's snapshots until `stop`; `changes` was subscribed to before [`Conditions::new`] looked.
pub async fn follow(server: Arc<Server>, mut changes: Receiver<Arc<Condition>>, stop: CancellationToken) {
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change {
            Ok(condition) => tell(&server, condition, false),
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "changes of alarms came faster than they could be told; clients are asked to refresh");
                for condition in server.gateway.conditions() {
                    tell(&server, condition, true);
                }
                server.events.emit(refresh_required(clock::now()));
            }
        }
    }
}

fn tell(server: &Server, condition: Arc<Condition>, missed: bool) {
    for event in server.conditions.take(condition, missed) {
        server.events.emit(event);
    }
}

/// Tells every client that it may have missed something of the conditions.
fn refresh_required(now: Timestamp) -> Event {
    let mut id = [0; base::EVENT_ID];
    id[base::EVENT_ID - 8..].copy_from_slice(&now.ticks().to_be_bytes());
    base::of_server(base::event_type::REFRESH_REQUIRED, id, now)
}
