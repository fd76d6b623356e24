//! Sessions (Part 4, 5.7): bounded, owned by nobody's connection, so that a client that lost its link finds its subscriptions
//! again. The services that make, activate and close them are in `login`.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    browse::Continuation,
    conditions::methods::Refreshes,
    diag::session::OfSession,
    history,
    limits::Limits,
    subscribe::Subscriptions,
    wire::{Id, Identifier},
};
use crate::{
    engine::{
        io::Actor,
        plan::{Plan, Role},
    },
    tag::StatusCode,
};

/// Codes of sessions.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_SESSION_ID_INVALID: StatusCode = StatusCode(0x8025_0000);
    pub const BAD_SESSION_NOT_ACTIVATED: StatusCode = StatusCode(0x8027_0000);
    pub const BAD_TOO_MANY_SESSIONS: StatusCode = StatusCode(0x8056_0000);
    pub const BAD_IDENTITY_TOKEN_INVALID: StatusCode = StatusCode(0x8020_0000);
    pub const BAD_IDENTITY_TOKEN_REJECTED: StatusCode = StatusCode(0x8021_0000);
    pub const BAD_USER_SIGNATURE_INVALID: StatusCode = StatusCode(0x8057_0000);
    pub const BAD_APPLICATION_SIGNATURE_INVALID: StatusCode = StatusCode(0x8058_0000);
    pub const BAD_CERTIFICATE_URI_INVALID: StatusCode = StatusCode(0x8017_0000);
}

/// The channel of a session that has ended; never the id of a channel.
pub const NO_CHANNEL: u32 = 0;
/// The name of a user without one.
pub const ANONYMOUS: &str = "anonymous";
/// Bytes of a session's secret.
pub const TOKEN: usize = 32;

/// A session.
pub struct Session {
    /// Shown as its SessionId; not the secret.
    pub number: u32,
    /// The secret that names it in every request.
    pub token: [u8; TOKEN],
    /// Where it was made from.
    pub peer: IpAddr,
    /// The certificate of the client that made it, DER.
    pub certificate: Option<Bytes>,
    /// How long it may be silent.
    pub timeout: Duration,
    /// The largest response that the client takes; zero for any.
    pub max_response: usize,
    /// What others are told of it.
    pub diagnostics: Arc<OfSession>,
    state: Mutex<State>,
}

/// What changes about a session.
pub struct State {
    /// The channel that may use it.
    pub channel: u32,
    /// Who it is; `None` until activated.
    pub actor: Option<Actor>,
    /// The nonce that the next ActivateSession must sign.
    pub nonce: Vec<u8>,
    /// Last request.
    pub used: Instant,
    /// A connection looks after its subscriptions.
    pub attached: bool,
    /// Its subscriptions.
    pub subscriptions: Subscriptions,
    /// Wakes the connection that looks after it.
    pub waker: Option<Arc<Notify>>,
    /// Refreshes of conditions of late.
    pub refreshes: Refreshes,
    /// What Browse has not told yet.
    pub continuations: VecDeque<(u32, Continuation)>,
    /// What HistoryRead has not told yet.
    pub histories: VecDeque<(u32, history::Continuation)>,
    /// Number of the last continuation point.
    pub last_continuation: u32,
}

impl Session {
    /// True when a request with this token means it.
    pub fn is_named(&self, token: Id<'_>) -> bool {
        token.namespace == 0 && token.identifier == Identifier::Opaque(&self.token)
    }

    /// The state, for a short time.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    all: Mutex<HashMap<[u8; TOKEN], Arc<Session>>>,
    /// How many there are, for those who hold the state of one.
    count: AtomicUsize,
}

/// What [`Sessions::sweep`] found.
#[derive(Default)]
pub struct Swept {
    /// Sessions whose time was over.
    pub ended: Vec<Arc<Session>>,
    /// Living sessions that no connection looks after.
    pub alone: Vec<Arc<Session>>,
}

/// What a new session is made from.
pub struct NewSession {
    /// See [`Session::number`].
    pub number: u32,
    /// See [`Session::token`].
    pub token: [u8; TOKEN],
    /// See [`Session::peer`].
    pub peer: IpAddr,
    /// See [`Session::certificate`].
    pub certificate: Option<Bytes>,
    /// See [`Session::timeout`].
    pub timeout: Duration,
    /// See [`Session::max_response`].
    pub max_response: usize,
    /// See [`Session::diagnostics`].
    pub diagnostics: Arc<OfSession>,
    /// See [`State::channel`].
    pub channel: u32,
    /// See [`State::nonce`].
    pub nonce: Vec<u8>,
    /// See [`State::subscriptions`].
    pub subscriptions: Subscriptions,
}

impl Sessions {
    /// Makes one.
    ///
    /// # Errors
    /// `Bad_TooManySessions`, also when this peer has too many that it never activated.
    pub fn create(&self, new: NewSession, limits: &Limits, now: Instant) -> Result<Arc<Session>, StatusCode> {
        let mut all = self.lock();
        let unactivated = all.values().filter(|session| session.state().actor.is_none());
        let (mut strangers, mut of_this_peer) = (0, 0);
        for session in unactivated {
            strangers += 1;
            of_this_peer += usize::from(session.peer == new.peer);
        }
        // Half of the places are for those who log in, whatever others open from many addresses.
        let crowded = strangers >= limits.sessions.div_ceil(2);
        if all.len() >= limits.sessions || crowded || of_this_peer >= limits.unactivated_per_peer {
            return Err(status::BAD_TOO_MANY_SESSIONS);
        }
        let session = Arc::new(Session {
            number: new.number,
            token: new.token,
            peer: new.peer,
            certificate: new.certificate,
            timeout: new.timeout,
            max_response: new.max_response,
            diagnostics: new.diagnostics,
            state: Mutex::new(State {
                channel: new.channel,
                actor: None,
                nonce: new.nonce,
                used: now,
                attached: false,
                subscriptions: new.subscriptions,
                waker: None,
                refreshes: Refreshes::default(),
                continuations: VecDeque::new(),
                histories: VecDeque::new(),
                last_continuation: 0,
            }),
        });
        all.insert(new.token, Arc::clone(&session));
        self.count.store(all.len(), Ordering::Relaxed);
        Ok(session)
    }

    /// The session that a request's token names.
    pub fn find(&self, token: Id<'_>) -> Option<Arc<Session>> {
        let Id { namespace: 0, identifier: Identifier::Opaque(bytes) } = token else { return None };
        self.lock().get(&<[u8; TOKEN]>::try_from(bytes).ok()?).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Forgets one.
    pub fn remove(&self, session: &Session) {
        let mut all = self.lock();
        all.remove(&session.token);
        self.count.store(all.len(), Ordering::Relaxed);
        drop(all);
        session.state().channel = NO_CHANNEL;
    }

    /// Holds everybody to a new configuration: sessions of users who are gone, or can no longer log in, end; roles change at once.
    /// `anonymous` is the role of those without a name.
    pub fn hold_to(&self, plan: &Plan, anonymous: Option<Role>) {
        let mut all = self.lock();
        all.retain(|_, session| {
            let mut state = session.state();
            let Some(actor) = &mut state.actor else { return true };
            let role = match plan.users.get(&actor.name) {
                // Whoever came without a name does not become a user who is called so.
                _ if actor.name == ANONYMOUS => anonymous,
                Some(user) => (user.password_hash.is_some() || user.certificate.is_some()).then_some(user.role),
                None => None,
            };
            match role {
                Some(role) => actor.role = role,
                None => state.channel = NO_CHANNEL,
            }
            role.is_some()
        });
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// Forgets those that were never activated or have been silent for too long.
    pub fn sweep(&self, limits: &Limits, now: Instant) -> Swept {
        let mut all = self.lock();
        let mut swept = Swept::default();
        all.retain(|_, session| {
            let mut state = session.state();
            let silence = now.saturating_duration_since(state.used);
            let lives = silence <= if state.actor.is_some() { session.timeout } else { limits.activation };
            if !lives {
                // A connection that looks after it lets go of it.
                state.channel = NO_CHANNEL;
                swept.ended.push(Arc::clone(session));
            } else if !state.attached {
                swept.alone.push(Arc::clone(session));
            }
            lives
        });
        self.count.store(all.len(), Ordering::Relaxed);
        swept
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; TOKEN], Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::diag::session::Client, *};
    use crate::engine::{io::Via, plan::UserDef};

    fn new(number: u8, peer: u8) -> NewSession {
        NewSession {
            number: number.into(),
            token: [number; TOKEN],
            peer: Ipv4Addr::new(192, 0, 2, peer).into(),
            certificate: None,
            timeout: Duration::from_secs(60),
            max_response: 0,
            diagnostics: Arc::new(OfSession::new(number.into(), Client::default(), (60_000.0, 0), None)),
            channel: 1,
            nonce: vec![0; 32],
            subscriptions: Subscriptions::new(Limits::default(), Arc::default(), Arc::default()),
        }
    }

    #[test]
    fn strangers_take_no_more_than_half_of_the_places() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let limits = Limits { sessions: 6, unactivated_per_peer: 2, ..Limits::default() };
        let made: Vec<bool> = (0..6).map(|number| sessions.create(new(number, number / 3), &limits, now).is_ok()).collect();
        // Two of the first peer, one of the second: three of six.
        assert_eq!(made, [true, true, false, true, false, false]);
        let later = now + limits.activation + Duration::from_secs(1);
        assert_eq!(sessions.sweep(&limits, later).ended.len(), 3);
        assert!(sessions.create(new(9, 0), &limits, later).is_ok());
    }

    #[test]
    fn living_sessions_are_held_to_a_new_configuration() {
        let (sessions, limits, now) = (Sessions::default(), Limits::default(), Instant::now());
        for (number, name) in (1..).zip(["alice", "bob", "gone", ANONYMOUS]) {
            let session = sessions.create(new(number, 1), &limits, now).unwrap();
            session.state().actor = Some(Actor { name: name.into(), role: Role::Operator, via: Via::OpcUa });
        }
        let user = |name: &str, role, certificate: Option<&str>| {
            let def = UserDef { name: name.into(), role, certificate: certificate.map(str::to_owned), ..UserDef::default() };
            (name.to_owned(), Arc::new(def))
        };
        // Bob has nothing to log in with any more; a user with the name of those without one is somebody else.
        let users = [
            user("alice", Role::Viewer, Some("aa")),
            user("bob", Role::Operator, None),
            user(ANONYMOUS, Role::Engineer, Some("bb")),
        ];
        sessions.hold_to(&Plan { users: users.into(), ..Plan::default() }, Some(Role::Viewer));
        let mut left: Vec<_> = sessions.all().iter().filter_map(|session| session.state().actor.clone()).collect();
        left.sort_by(|a, b| a.name.cmp(&b.name));
        let left: Vec<_> = left.iter().map(|actor| (&*actor.name, actor.role)).collect();
        assert_eq!(left, [("alice", Role::Viewer), (ANONYMOUS, Role::Viewer)]);
        assert_eq!(sessions.len(), 2);
        sessions.hold_to(&Plan::default(), None);
        assert_eq!(sessions.len(), 0);
    }
}
