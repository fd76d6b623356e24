//! ServerDiagnostics (Part 5, 6.3.3): the summary, and single sessions and subscriptions in arrays and in an object for each session.
//! Deliberately absent: sampling intervals, of which each subscription has its own.

pub mod session;
pub mod structure;
pub mod subscription;

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, Ordering},
};

use self::{session::OfSession, structure::Structure, subscription::OfSubscription};
use super::{Server, decode::Service, wire::Writer};
use crate::{engine::plan::Role, tag::StatusCode};

/// Those of many that are still there. Its lock is held for no longer than a copy takes and with no other below it, so that arrays
/// can be read by whoever holds a session.
#[derive(Debug)]
pub struct Living<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Living<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Living<T> {
    /// One more; it is forgotten when nobody has it any more.
    pub fn add(&self, one: &Arc<T>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Arc::downgrade(one));
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Diagnostics {
    sessions: AtomicU32,
    sessions_refused: AtomicU32,
    sessions_refused_for_security: AtomicU32,
    sessions_timed_out: AtomicU32,
    requests_refused: AtomicU32,
    requests_refused_for_security: AtomicU32,
    /// Those that are there.
    pub living: Arc<Living<OfSession>>,
}

impl Diagnostics {
    /// A request was answered, or refused as a whole.
    pub fn answered<T>(&self, service: Service, answer: &Result<T, StatusCode>) {
        let refused = match answer {
            Ok(_) if matches!(service, Service::CreateSession) => return count(&self.sessions),
            Ok(_) => return,
            Err(status) => *status,
        };
        let security = is_of_security(refused);
        if matches!(service, Service::CreateSession | Service::ActivateSession) {
            count(&self.sessions_refused);
            if security {
                count(&self.sessions_refused_for_security);
            }
        }
        self.refused(refused);
    }

    /// A request was refused as a whole.
    pub fn refused(&self, status: StatusCode) {
        count(&self.requests_refused);
        if is_of_security(status) {
            count(&self.requests_refused_for_security);
        }
    }

    /// A session was silent for too long.
    pub fn timed_out(&self) {
        count(&self.sessions_timed_out);
    }
}

/// An array of single sessions or subscriptions; a session's object has what concerns the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// SessionDiagnosticsArray.
    Sessions,
    /// SessionSecurityDiagnosticsArray: who came in how is for those who may change anything.
    Security,
    /// SubscriptionDiagnosticsArray.
    Subscriptions,
}

impl Table {
    /// The one that the variable `id` of namespace 0 holds.
    pub const fn of(id: u32) -> Option<Self> {
        match id {
            2_290 => Some(Self::Subscriptions),
            3_707 => Some(Self::Sessions),
            3_708 => Some(Self::Security),
            _ => None,
        }
    }

    /// The one that the member of a session's object at `path` has a part of, and the name of the field; empty for all fields.
    pub fn of_member(path: &str) -> Option<(Self, &str)> {
        let (member, field) = path.split_once('/').unwrap_or((path, ""));
        let table = match member {
            "SessionDiagnostics" => Self::Sessions,
            "SessionSecurityDiagnostics" => Self::Security,
            "SubscriptionDiagnosticsArray" => Self::Subscriptions,
            _ => return None,
        };
        Some((table, field))
    }

    /// True when `role` may read it: who came in how is for those who may change anything (Part 5, 6.3.5).
    pub fn is_for(self, role: Role) -> bool {
        self != Self::Security || role >= Role::Engineer
    }

    /// Writes it, a Variant.
    pub fn write(self, server: &Server, w: &mut Writer) {
        let subscriptions = server.counts.living.all();
        if self == Self::Subscriptions {
            return write_subscriptions(&subscriptions, w);
        }
        let sessions = server.diagnostics.living.all();
        w.array(22, sessions.len());
        for session in &sessions {
            self.of_session(session, &subscriptions).write(w);
        }
    }

    /// Writes what it has of `session`, all of it or one field, as a Variant; false when there is no such field.
    pub fn write_of(self, session: &OfSession, field: &str, server: &Server, w: &mut Writer) -> bool {
        let mut subscriptions = server.counts.living.all();
        if self == Self::Subscriptions {
            subscriptions.retain(|subscription| subscription.session() == session.number);
            write_subscriptions(&subscriptions, w);
            return true;
        }
        let told = self.of_session(session, &subscriptions);
        if !field.is_empty() {
            return told.write_field(field, w);
        }
        w.u8(22);
        told.write(w);
        true
    }

    fn of_session(self, session: &OfSession, subscriptions: &[Arc<OfSubscription>]) -> Structure {
        if self == Self::Security { session.security_structure() } else { session.structure(subscriptions) }
    }
}

fn write_subscriptions(subscriptions: &[Arc<OfSubscription>], w: &mut Writer) {
    w.array(22, subscriptions.len());
    for subscription in subscriptions {
        subscription.write(w);
    }
}

fn count(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// From `Bad_CertificateInvalid` to `Bad_NonceInvalid`, `Bad_SecurityModeInsufficient`, and what is said of users and signatures.
const fn is_of_security(status: StatusCode) -> bool {
    matches!(status.0 >> 16, 0x8012..=0x8024 | 0x8055 | 0x8058 | 0x80E6 | 0x810D | 0x8113)
}

/// The members of the summary: id of each variable, in the order of the structure.
const SUMMARY: [u32; 12] = [2_276, 2_277, 2_278, 2_279, 3_705, 2_281, 2_282, 2_285, 2_286, 2_284, 2_287, 2_288];

/// The value of a variable of the summary.
pub fn counter(server: &Server, id: u32) -> Option<u32> {
    let place = SUMMARY.iter().position(|known| *known == id)?;
    Some(summary(server)[place])
}

/// Writes the body of the ServerDiagnosticsSummaryDataType.
pub fn write_summary(server: &Server, w: &mut Writer) {
    for counter in summary(server) {
        w.u32(counter);
    }
}

fn summary(server: &Server) -> [u32; 12] {
    let of = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let diagnostics = &server.diagnostics;
    let subscriptions = whole(server.counts.subscriptions.load(Ordering::Relaxed));
    [
        // There are no views.
        0,
        whole(server.sessions.len()),
        of(&diagnostics.sessions),
        of(&diagnostics.sessions_refused_for_security),
        of(&diagnostics.sessions_refused),
        of(&diagnostics.sessions_timed_out),
        // A session outlives its connection.
        0,
        subscriptions,
        server.counts.made(),
        // Each subscription has an interval of its own.
        subscriptions,
        of(&diagnostics.requests_refused_for_security),
        of(&diagnostics.requests_refused),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_what_they_are_about() {
        let diagnostics = Diagnostics::default();
        diagnostics.answered(Service::CreateSession, &Ok(()));
        diagnostics.answered::<()>(Service::CreateSession, &Err(StatusCode(0x8056_0000)));
        diagnostics.answered::<()>(Service::ActivateSession, &Err(StatusCode::BAD_USER_ACCESS_DENIED));
        diagnostics.answered::<()>(Service::Read, &Err(StatusCode::BAD_NOTHING_TO_DO));
        diagnostics.answered(Service::Read, &Ok(()));
        let counted = [
            &diagnostics.sessions,
            &diagnostics.sessions_refused,
            &diagnostics.sessions_refused_for_security,
            &diagnostics.requests_refused,
            &diagnostics.requests_refused_for_security,
        ];
        assert_eq!(counted.map(|counter| counter.load(Ordering::Relaxed)), [1, 2, 1, 3, 1]);
    }
}
