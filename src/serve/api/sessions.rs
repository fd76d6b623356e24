//! Sessions of people who have logged in with a password: a random id in a cookie, kept here only as its hash.
//!
//! A session ends by log-out, when it was not used for [`Limits::idle`], after [`Limits::lifetime`], and when a reload removed its
//! user or gave them another role or password. They live in memory: after a restart everybody logs in again. Deliberately absent:
//! the cookie's form and the routes (`login`), and checking passwords (`serve::passwords`).

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::engine::plan::{Plan, Role, Secret};

/// Open sessions of everybody; beyond it the one that was not used for longest ends.
const MAX_SESSIONS: usize = 1024;
/// Open sessions of one user, likewise.
const MAX_PER_USER: usize = 16;
/// Random bytes of an id.
const ID_BYTES: usize = 32;
/// Characters of an id in a cookie.
const ID_LENGTH: usize = 43;

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the last request, or from the end of the last event stream.
    pub idle: Duration,
    /// From the log-in, whatever happens.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(3600), lifetime: Duration::from_secs(12 * 3600) }
    }
}

/// What a browser keeps; whoever has it is the user.
#[derive(Clone)]
pub struct Id([u8; ID_BYTES]);

impl Id {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).map(|()| Self(bytes))
    }

    /// Reads a cookie's value.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = (text.len() == ID_LENGTH).then(|| BASE64_URL_SAFE_NO_PAD.decode(text).ok())??;
        bytes.try_into().ok().map(Self)
    }

    /// The cookie's value.
    pub fn expose(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What a page has to show beside the cookie when it changes something: a page of another site cannot read it.
    pub fn csrf_token(&self) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key will do");
        mac.update(b"csrf token");
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// True when `shown` is [`Id::csrf_token`]; takes as long for every wrong one.
    pub fn matches(&self, shown: &[u8]) -> bool {
        self.csrf_token().as_bytes().ct_eq(shown).into()
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    pub user: String,
    pub role: Role,
    /// What is left of its lifetime.
    pub remains: Duration,
}

struct Session {
    user: String,
    role: Role,
    /// The password's hash at log-in.
    password: Option<Secret>,
    opened: Instant,
    used: Instant,
}

/// All open sessions.
#[derive(Default)]
pub struct Sessions {
    limits: Limits,
    open: Mutex<HashMap<[u8; 32], Session>>,
}

impl Sessions {
    /// None is open yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// How long they live.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Opens one for a user whose password was just checked.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn open(&self, plan: &Plan, user: &str, role: Role, now: Instant) -> Result<Id, getrandom::Error> {
        let id = Id::random()?;
        let password = plan.users.get(user).and_then(|def| def.password_hash.clone());
        let mut open = self.lock();
        open.retain(|_, session| session.lives(self.limits, now));
        if open.values().filter(|session| session.user == user).count() >= MAX_PER_USER {
            end_oldest(&mut open, |session| session.user == user);
        }
        if open.len() >= MAX_SESSIONS {
            end_oldest(&mut open, |_| true);
        }
        open.insert(id.hash(), Session { user: user.to_owned(), role, password, opened: now, used: now });
        Ok(id)
    }

    /// Whose session this is, if it is still open; that counts as use.
    pub fn find(&self, plan: &Plan, id: &Id, now: Instant) -> Option<Who> {
        let hash = id.hash();
        let mut open = self.lock();
        let session = open.get_mut(&hash)?;
        if !session.lives(self.limits, now) || !session.is_still(plan) {
            open.remove(&hash);
            return None;
        }
        session.used = now;
        let remains = self.limits.lifetime.saturating_sub(now.saturating_duration_since(session.opened));
        Some(Who { user: session.user.clone(), role: session.role, remains })
    }

    /// How many are open.
    pub fn count(&self, now: Instant) -> usize {
        self.lock().values().filter(|session| session.lives(self.limits, now)).count()
    }

    /// Ends it.
    pub fn close(&self, id: &Id) {
        self.lock().remove(&id.hash());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn lives(&self, limits: Limits, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < limits.idle && now.saturating_duration_since(self.opened) < limits.lifetime
    }

    /// The configuration says of the user what it said at log-in.
    fn is_still(&self, plan: &Plan) -> bool {
        plan.users.get(&self.user).is_some_and(|def| def.role == self.role && def.password_hash == self.password)
    }
}

fn end_oldest(open: &mut HashMap<[u8; 32], Session>, among: impl Fn(&Session) -> bool) {
    let oldest = open.iter().filter(|(_, session)| among(session)).min_by_key(|(_, session)| session.used);
    if let Some(hash) = oldest.map(|(hash, _)| *hash) {
        open.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::engine::plan::UserDef;

    fn plan(users: &[(&str, Role, &str)]) -> Plan {
        let user = |&(name, role, hash): &(&str, Role, &str)| {
            let def = UserDef { name: name.into(), role, password_hash: Some(Secret::new(hash)), ..UserDef::default() };
            (name.to_owned(), Arc::new(def))
        };
        Plan { users: users.iter().map(user).collect::<BTreeMap<_, _>>(), ..Plan::default() }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_closed() {
        let (sessions, plan, start) = (Sessions::default(), plan(&[("alice", Role::Operator, "x")]), Instant::now());
        let open = || sessions.open(&plan, "alice", Role::Operator, start).unwrap();
        let (used, idle, closed) = (open(), open(), open());
        sessions.close(&closed);
        assert_eq!(sessions.find(&plan, &closed, start), None);
        assert_eq!((sessions.count(start), sessions.count(start + 60 * MINUTE)), (2, 0));
        for minute in (0..12 * 60).step_by(59) {
            let who = sessions.find(&plan, &used, start + minute * MINUTE).expect("used once an hour");
            assert_eq!(who.remains, (12 * 60 - minute) * MINUTE);
        }
        assert_eq!(sessions.find(&plan, &used, start + 12 * 60 * MINUTE), None, "its lifetime is over");
        assert_eq!(sessions.find(&plan, &idle, start + 60 * MINUTE), None);
        assert_eq!(sessions.find(&plan, &idle, start), None, "it does not come back");
    }

    #[test]
    fn a_reload_that_changes_the_user_ends_it() {
        let now = Instant::now();
        let before = plan(&[("alice", Role::Operator, "x")]);
        for after in [plan(&[]), plan(&[("alice", Role::Engineer, "x")]), plan(&[("alice", Role::Operator, "y")])] {
            let sessions = Sessions::default();
            let id = sessions.open(&before, "alice", Role::Operator, now).unwrap();
            assert!(sessions.find(&before, &id, now).is_some());
            assert_eq!(sessions.find(&after, &id, now), None);
            assert_eq!(sessions.find(&before, &id, now), None, "it does not come back");
        }
    }

    #[test]
    fn there_is_a_bound_for_one_user_and_for_all() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let names: Vec<_> = (0..100).map(|n| format!("user{n}")).collect();
        let plan = plan(&names.iter().map(|name| (name.as_str(), Role::Viewer, "x")).collect::<Vec<_>>());
        let open = |name: &str, second| sessions.open(&plan, name, Role::Viewer, start + Duration::from_secs(second)).unwrap();
        let first = open("user0", 0);
        let second = open("user0", 1);
        for n in 2..=MAX_PER_USER as u64 {
            open("user0", n);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(sessions.find(&plan, &first, later), None, "the oldest made room");
        assert!(sessions.find(&plan, &second, later).is_some());
        for name in &names {
            for n in 0..MAX_PER_USER as u64 {
                open(name, 30 + n);
            }
        }
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }

    #[test]
    fn ids_are_kept_as_hashes_and_tokens_belong_to_one_id() {
        let (sessions, plan) = (Sessions::default(), plan(&[("alice", Role::Operator, "x")]));
        let open = || sessions.open(&plan, "alice", Role::Operator, Instant::now()).unwrap();
        let (one, two) = (open(), open());
        assert!(!sessions.lock().contains_key(&one.0) && sessions.lock().contains_key(&one.hash()));
        assert!(one.matches(one.csrf_token().as_bytes()) && !one.matches(two.csrf_token().as_bytes()) && !one.matches(b""));
        assert_eq!(Id::parse(&one.expose()).map(|id| id.0), Some(one.0));
        for wrong in ["", "x", &one.expose()[1..], &format!("{}A", one.expose()), &"!".repeat(ID_LENGTH)] {
            assert!(Id::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{one:?}"), "(secret)");
    }
}
