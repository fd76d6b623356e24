//! Who is it? Passwords and API tokens, checked against argon2 hashes off the reactor.
//!
//! An unknown name costs the same work as a wrong password. Failures slow down the next attempts for that name and from that
//! address. What was verified is remembered for a few minutes as a keyed digest, because HTTP clients send their credentials with
//! every request. Deliberately absent: sessions and cookies (the console's), what a role may do (each server's).

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::{
    engine::{
        io::{Actor, Via},
        plan::{Plan, Role, Secret},
    },
    tag::{StatusCode, Timestamp},
};

/// Hashes computed at once: each takes 19 MiB and a core for some 20 ms.
const AT_ONCE: usize = 2;
/// The longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest user or token name, bytes.
const MAX_NAME: usize = 128;
/// Longest password or secret, bytes.
const MAX_SECRET: usize = 512;
/// Failures that cost nothing yet.
const FREE_FAILURES: u32 = 5;
/// Failures are forgotten this long after the last one.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The longest pause after a failure of one name; short, because anybody can bring it upon somebody else.
const MAX_NAME_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after a failure from one address.
const MAX_ADDRESS_PAUSE: Duration = Duration::from_secs(60);
/// Names, addresses and verified credentials that are remembered at most, each.
const MAX_REMEMBERED: usize = 4096;
/// How long verified credentials are taken without computing the hash again.
const VERIFIED_FOR: Duration = Duration::from_secs(5 * 60);

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown name or wrong password; which of the two is not told.
    Denied,
    /// Too many failures: not even looked at.
    SlowDown {
        /// When to try again at the earliest.
        after: Duration,
    },
    /// Too many others are being checked.
    Busy,
}

impl Refusal {
    /// The OPC UA code for the same.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Denied => StatusCode::BAD_USER_ACCESS_DENIED,
            Self::SlowDown { .. } => StatusCode::BAD_TOO_MANY_OPERATIONS,
            Self::Busy => StatusCode::BAD_RESOURCE_UNAVAILABLE,
        }
    }
}

/// Checks passwords and tokens; one for the whole program, so that failures over HTTP slow down OPC UA too.
pub struct Passwords {
    turns: Semaphore,
    memory: Mutex<Memory>,
    key: [u8; 32],
}

/// What is verified in place of a hash where nobody has one, so that the work is the same. No password has it.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[derive(Default)]
struct Memory {
    names: HashMap<String, Failures>,
    addresses: HashMap<IpAddr, Failures>,
    verified: HashMap<[u8; 32], Timestamp>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// What is compared with what.
struct Claim<'a> {
    kind: &'static str,
    name: &'a str,
    secret: String,
    /// The configured hash; `None` when nobody has that name.
    hash: Option<&'a Secret>,
    /// Takes the hash's place then, so that the work is the same.
    decoy: Secret,
}

impl Passwords {
    /// Nobody has failed yet.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new() -> Result<Self, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("failed to get random numbers: {error}"))?;
        Ok(Self { turns: Semaphore::new(AT_ONCE), memory: Mutex::default(), key })
    }

    /// Who logs in as `user` with `password` from `from`; they act through `via`.
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify(
        &self,
        plan: &Plan,
        user: &str,
        password: String,
        from: IpAddr,
        via: Via,
        now: Timestamp,
    ) -> Result<Actor, Refusal> {
        let def = plan.users.get(user);
        let hash = def.and_then(|def| def.password_hash.as_ref());
        let decoy = plan.users.values().find_map(|def| def.password_hash.clone()).unwrap_or_else(|| Secret::new(DECOY));
        self.check(Claim { kind: "user", name: user, secret: password, hash, decoy }, from, now).await?;
        let role = def.map(|def| def.role).unwrap_or_default();
        Ok(Actor { name: user.to_owned(), role, via })
    }

    /// The name and role (`None`: only sends) of the program that shows `token` (`name:secret`).
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify_token(
        &self,
        plan: &Plan,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(String, Option<Role>), Refusal> {
        let (name, secret) = token.split_once(':').unwrap_or((token, ""));
        let def = plan.tokens.get(name);
        let decoy = plan.tokens.values().next().map_or_else(|| Secret::new(DECOY), |def| def.hash.clone());
        let claim = Claim { kind: "token", name, secret: secret.to_owned(), hash: def.map(|def| &def.hash), decoy };
        self.check(claim, from, now).await?;
        Ok((name.to_owned(), def.and_then(|def| def.role)))
    }

    async fn check(&self, claim: Claim<'_>, from: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        if claim.name.len() > MAX_NAME || claim.secret.len() > MAX_SECRET {
            return Err(Refusal::Denied);
        }
        let digest = self.digest(&claim);
        if claim.hash.is_some() && self.memory().verified.get(&digest).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let name = format!("{}:{}", claim.kind, claim.name);
        self.memory().pause(&name, from, now)?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Refusal::Busy) };
        // Again: of many attempts that came together the first ones have failed by now.
        self.memory().pause(&name, from, now)?;
        let known = claim.hash.is_some();
        let hash = claim.hash.cloned().unwrap_or(claim.decoy);
        let secret = claim.secret;
        let work = move || Argon2::default().verify_password(secret.as_bytes(), hash.expose()).is_ok();
        let matches = tokio::task::spawn_blocking(work).await.unwrap_or(false);
        let mut memory = self.memory();
        if matches && known {
            memory.succeeded(&name, digest, now);
            Ok(())
        } else {
            memory.failed(name, from, now);
            Err(Refusal::Denied)
        }
    }

    /// A digest of the claim and the hash that it stands against: a changed configuration forgets by itself.
    fn digest(&self, claim: &Claim<'_>) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length of key will do");
        for part in [claim.kind, claim.name, &claim.secret, claim.hash.map_or("", Secret::expose)] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn pause(&self, name: &str, from: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        let by_name = self.names.get(name).map_or(Duration::ZERO, |failures| failures.rest(MAX_NAME_PAUSE, now));
        let by_address = self.addresses.get(&from).map_or(Duration::ZERO, |failures| failures.rest(MAX_ADDRESS_PAUSE, now));
        let after = by_name.max(by_address);
        if after.is_zero() { Ok(()) } else { Err(Refusal::SlowDown { after }) }
    }

    fn failed(&mut self, name: String, from: IpAddr, now: Timestamp) {
        add_failure(&mut self.names, name, now);
        add_failure(&mut self.addresses, from, now);
    }

    /// The address keeps its failures: whoever knows one password may still be trying others.
    fn succeeded(&mut self, name: &str, digest: [u8; 32], now: Timestamp) {
        self.names.remove(name);
        make_room(&mut self.verified, |until| *until <= now, |until| *until);
        self.verified.insert(digest, now + VERIFIED_FOR);
    }
}

impl Failures {
    /// What remains of the pause: 1, 2, 4, … s after the last failure, once the free ones are used up.
    fn rest(self, longest: Duration, now: Timestamp) -> Duration {
        let Some(doublings) = self.count.checked_sub(FREE_FAILURES) else { return Duration::ZERO };
        let pause = Duration::from_secs(1 << doublings.min(16)).min(longest);
        pause.saturating_sub(now.since(self.last))
    }
}

fn add_failure<K: Hash + Eq + Clone>(failures: &mut HashMap<K, Failures>, key: K, now: Timestamp) {
    if !failures.contains_key(&key) {
        make_room(failures, |failures| now.since(failures.last) > MEMORY, |failures| failures.last);
    }
    let entry = failures.entry(key).or_default();
    if now.since(entry.last) > MEMORY {
        entry.count = 0;
    }
    *entry = Failures { count: entry.count.saturating_add(1), last: now };
}

/// Makes room for one more: what is stale goes, and where that is not enough, the oldest.
fn make_room<K: Hash + Eq + Clone, V>(map: &mut HashMap<K, V>, stale: impl Fn(&V) -> bool, age: impl Fn(&V) -> Timestamp) {
    if map.len() < MAX_REMEMBERED {
        return;
    }
    map.retain(|_, value| !stale(value));
    if map.len() >= MAX_REMEMBERED
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| age(value)).map(|(key, _)| key.clone())
    {
        map.remove(&oldest);
    }
}

/// An argon2id hash of `password` in the form that `password_hash` and `hash` take in the configuration.
///
/// # Errors
/// When it is empty, longer than 512 bytes, or the system gives no random salt.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.is_empty() || password.len() > MAX_SECRET {
        return Err(format!("a password has 1 to {MAX_SECRET} bytes"));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| format!("failed to hash the password: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::Ipv4Addr,
        sync::{Arc, LazyLock},
    };

    use argon2::{Algorithm, Params, Version};

    use super::*;
    use crate::engine::plan::{TokenDef, UserDef};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_ticks(133_000_000_000_000_000) + Duration::from_millis(millis)
    }

    fn cheap(password: &str) -> Secret {
        let cost = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
        Secret::new(&argon2.hash_password(password.as_bytes()).unwrap().to_string())
    }

    #[test]
    fn the_decoy_costs_what_a_hash_costs() {
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(DECOY), cost(&hash_password("x").unwrap()));
        let verified = Argon2::default().verify_password(b"x", DECOY).unwrap_err();
        assert!(verified.to_string().contains("password"), "it was not even computed: {verified}");
    }

    fn plan() -> Plan {
        let user = |name: &str, role, password: Option<&str>| {
            let def = UserDef { name: name.into(), password_hash: password.map(cheap), role, ..UserDef::default() };
            (name.to_owned(), Arc::new(def))
        };
        Plan {
            users: BTreeMap::from([user("alice", Role::Operator, Some("secret")), user("pager", Role::Engineer, None)]),
            tokens: BTreeMap::from([("mes".into(), TokenDef { role: None, hash: cheap("token secret") })]),
            ..Plan::default()
        }
    }

    async fn log_in(passwords: &Passwords, user: &str, password: &str, from: IpAddr, now: Timestamp) -> Result<Role, Refusal> {
        // One plan: salts differ with every hash.
        static PLAN: LazyLock<Plan> = LazyLock::new(plan);
        passwords.verify(&PLAN, user, password.into(), from, Via::Api, now).await.map(|actor| actor.role)
    }

    #[tokio::test]
    async fn only_the_right_password_lets_in() {
        let passwords = Passwords::new().unwrap();
        assert_eq!(log_in(&passwords, "alice", "secret", HERE, at(0)).await, Ok(Role::Operator));
        for (user, password) in [("alice", "Secret"), ("alice", ""), ("pager", ""), ("nobody", "secret"), ("", "")] {
            assert_eq!(log_in(&passwords, user, password, THERE, at(0)).await, Err(Refusal::Denied), "{user}");
        }
        assert_eq!(log_in(&passwords, "alice", &"x".repeat(MAX_SECRET + 1), HERE, at(0)).await, Err(Refusal::Denied));
    }

    #[tokio::test]
    async fn tokens_are_name_and_secret() {
        let passwords = Passwords::new().unwrap();
        let plan = plan();
        let good = passwords.verify_token(&plan, "mes:token secret", HERE, at(0)).await;
        assert_eq!(good, Ok(("mes".into(), None)));
        for bad in ["mes:", "mes", "mes:secret", "alice:secret", ":"] {
            assert_eq!(passwords.verify_token(&plan, bad, THERE, at(0)).await, Err(Refusal::Denied), "{bad}");
        }
    }

    #[tokio::test]
    async fn failures_slow_down_a_name_and_an_address() {
        let passwords = Passwords::new().unwrap();
        for _ in 0..FREE_FAILURES {
            assert_eq!(log_in(&passwords, "alice", "wrong", THERE, at(0)).await, Err(Refusal::Denied));
        }
        let second = Err(Refusal::SlowDown { after: Duration::from_secs(1) });
        assert_eq!(log_in(&passwords, "alice", "secret", HERE, at(0)).await, second, "the name, from elsewhere");
        assert_eq!(log_in(&passwords, "nobody", "x", THERE, at(0)).await, second, "the address, for another name");
        assert_eq!(log_in(&passwords, "nobody", "x", HERE, at(0)).await, Err(Refusal::Denied), "neither");
        assert_eq!(log_in(&passwords, "alice", "wrong", THERE, at(1000)).await, Err(Refusal::Denied));
        assert_eq!(
            log_in(&passwords, "alice", "wrong", THERE, at(1000)).await,
            Err(Refusal::SlowDown { after: Duration::from_secs(2) })
        );
        assert_eq!(log_in(&passwords, "alice", "secret", HERE, at(3000)).await, Ok(Role::Operator));
        let later = at(3000) + MEMORY + MEMORY;
        assert_eq!(log_in(&passwords, "alice", "wrong", THERE, later).await, Err(Refusal::Denied));
        assert_eq!(log_in(&passwords, "alice", "wrong", THERE, later).await, Err(Refusal::Denied), "forgotten meanwhile");
    }

    #[tokio::test]
    async fn attempts_that_come_together_do_not_slip_past() {
        let passwords = Passwords::new().unwrap();
        let mut denied = 0;
        let attempts: Vec<_> = (0..40).map(|_| Box::pin(log_in(&passwords, "alice", "wrong", THERE, at(0)))).collect();
        let mut attempts: std::collections::VecDeque<_> = attempts.into();
        // Polled in turn, so that all of them wait at once.
        while let Some(mut attempt) = attempts.pop_front() {
            match tokio::time::timeout(Duration::from_millis(1), &mut attempt).await {
                Ok(Err(Refusal::Denied)) => denied += 1,
                Ok(other) => assert!(matches!(other, Err(Refusal::SlowDown { .. })), "{other:?}"),
                Err(_) => attempts.push_back(attempt),
            }
        }
        assert!(denied <= FREE_FAILURES as usize + AT_ONCE, "{denied}");
    }

    #[tokio::test]
    async fn a_changed_hash_forgets_what_was_verified() {
        let passwords = Passwords::new().unwrap();
        let mut plan = plan();
        let from = HERE;
        assert!(passwords.verify_token(&plan, "mes:token secret", from, at(0)).await.is_ok());
        plan.tokens.insert("mes".into(), TokenDef { role: None, hash: cheap("another") });
        assert_eq!(passwords.verify_token(&plan, "mes:token secret", from, at(1)).await, Err(Refusal::Denied));
        plan.tokens.clear();
        assert_eq!(passwords.verify_token(&plan, "mes:token secret", from, at(1)).await, Err(Refusal::Denied));
    }

    #[tokio::test]
    async fn a_verified_user_is_not_kept_out_by_somebody_elses_failures() {
        let passwords = Passwords::new().unwrap();
        assert!(log_in(&passwords, "alice", "secret", HERE, at(0)).await.is_ok());
        for _ in 0..FREE_FAILURES {
            let _ = log_in(&passwords, "alice", "wrong", THERE, at(0)).await;
        }
        assert!(log_in(&passwords, "alice", "secret", HERE, at(1)).await.is_ok());
        let expired = at(1) + VERIFIED_FOR;
        let _ = log_in(&passwords, "alice", "wrong", THERE, expired).await;
        assert!(matches!(log_in(&passwords, "alice", "secret", HERE, expired).await, Err(Refusal::SlowDown { .. })));
    }

    #[test]
    fn memory_has_a_bound() {
        let mut failures = HashMap::new();
        for name in 0..MAX_REMEMBERED as u64 + 10 {
            add_failure(&mut failures, name, at(name));
        }
        assert_eq!(failures.len(), MAX_REMEMBERED);
        assert!(!failures.contains_key(&0) && failures.contains_key(&(MAX_REMEMBERED as u64)));
    }

    #[test]
    fn hashes_are_salted_and_in_the_form_of_the_configuration() {
        let (one, two) = (hash_password("secret").unwrap(), hash_password("secret").unwrap());
        assert!(one.starts_with("$argon2id$v=19$") && one != two, "{one}");
        assert!(hash_password("").is_err());
    }
}
