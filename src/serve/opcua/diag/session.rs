//! What SessionDiagnosticsArray and SessionSecurityDiagnosticsArray tell of one session (Part 5, 12.11 and 12.12). It is counted
//! where it happens and read without the session's own lock, which whoever samples the arrays may hold.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use bytes::Bytes;
use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};

use super::{
    super::{
        decode::Service,
        subscribe::Held,
        wire::{Id, Writer},
    },
    subscription::OfSubscription,
};
use crate::{
    clock,
    tag::{StatusCode, Timestamp},
};

const SESSION: Id<'static> = Id::numeric(0, 867);
const SECURITY: Id<'static> = Id::numeric(0, 870);
/// Users that are remembered of one session.
const MAX_HISTORY: usize = 10;

/// Requests of one service, and how many of them were refused as a whole.
#[derive(Debug, Default)]
struct Counter {
    total: AtomicU32,
    errors: AtomicU32,
}

impl Counter {
    fn count(&self, failed: bool) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u32::from(failed), Ordering::Relaxed);
    }

    fn write(&self, w: &mut Writer) {
        w.u32(self.total.load(Ordering::Relaxed));
        w.u32(self.errors.load(Ordering::Relaxed));
    }
}

/// The services that are counted one by one, in the order of the structure; `None` for those that are not there.
const SERVICES: [Option<Service>; 28] = [
    Some(Service::Read),
    Some(Service::HistoryRead),
    Some(Service::Write),
    None, // HistoryUpdate
    Some(Service::Call),
    Some(Service::CreateMonitoredItems),
    Some(Service::ModifyMonitoredItems),
    Some(Service::SetMonitoringMode),
    Some(Service::SetTriggering),
    Some(Service::DeleteMonitoredItems),
    Some(Service::CreateSubscription),
    Some(Service::ModifySubscription),
    Some(Service::SetPublishingMode),
    Some(Service::Publish),
    Some(Service::Republish),
    Some(Service::TransferSubscriptions),
    Some(Service::DeleteSubscriptions),
    None, // AddNodes
    None, // AddReferences
    None, // DeleteNodes
    None, // DeleteReferences
    Some(Service::Browse),
    Some(Service::BrowseNext),
    Some(Service::TranslateBrowsePaths),
    None, // QueryFirst
    None, // QueryNext
    Some(Service::RegisterNodes),
    Some(Service::UnregisterNodes),
];

/// How a session's user came in.
#[derive(Debug)]
struct Security {
    user: String,
    history: Vec<String>,
    mechanism: &'static str,
    mode: MessageSecurityMode,
    policy: SecurityPolicy,
}

/// What the client said of itself when it made the session.
#[derive(Debug, Default)]
pub struct Client {
    /// The session's name.
    pub name: String,
    /// Its encoded ApplicationDescription.
    pub application: Vec<u8>,
    /// ServerUri.
    pub server_uri: String,
    /// EndpointUrl.
    pub endpoint_url: String,
}

/// Counters of one session.
#[derive(Debug)]
pub struct OfSession {
    /// See [`super::super::session::Session::number`].
    pub number: u32,
    client: Client,
    /// In ms.
    timeout: f64,
    max_response: u32,
    certificate: Option<Bytes>,
    connected: Timestamp,
    contact: AtomicI64,
    security: Mutex<Security>,
    total: Counter,
    unauthorized: AtomicU32,
    services: [Counter; SERVICES.len()],
    /// What waits for the client.
    pub held: Arc<Held>,
}

impl OfSession {
    /// A new one. `timeout` is in ms.
    pub fn new(number: u32, client: Client, (timeout, max_response): (f64, u32), certificate: Option<Bytes>) -> Self {
        let now = clock::now();
        let security = Security {
            user: String::new(),
            history: Vec::new(),
            mechanism: "",
            mode: MessageSecurityMode::Invalid,
            policy: SecurityPolicy::Unknown,
        };
        Self {
            number,
            client,
            timeout,
            max_response,
            certificate,
            connected: now,
            contact: AtomicI64::new(now.ticks()),
            security: Mutex::new(security),
            total: Counter::default(),
            unauthorized: AtomicU32::new(0),
            services: Default::default(),
            held: Arc::new(Held::of(number)),
        }
    }

    /// A request was answered, begun, or refused as a whole with `refused`.
    pub fn count(&self, service: Service, refused: Option<StatusCode>) {
        self.contact.store(clock::now().ticks(), Ordering::Relaxed);
        self.total.count(refused.is_some());
        if refused == Some(StatusCode::BAD_USER_ACCESS_DENIED) {
            self.unauthorized.fetch_add(1, Ordering::Relaxed);
        }
        let place = SERVICES.iter().position(|counted| *counted == Some(service));
        if let Some(counter) = place.and_then(|place| self.services.get(place)) {
            counter.count(refused.is_some());
        }
    }

    /// Somebody logged in: by which mechanism, through a channel with this mode and policy.
    pub fn logged_in(&self, user: &str, mechanism: &'static str, mode: MessageSecurityMode, policy: SecurityPolicy) {
        let mut security = self.security();
        if security.user != user {
            user.clone_into(&mut security.user);
            if security.history.len() == MAX_HISTORY {
                security.history.remove(0);
            }
            security.history.push(user.to_owned());
        }
        (security.mechanism, security.mode, security.policy) = (mechanism, mode, policy);
    }

    fn security(&self) -> MutexGuard<'_, Security> {
        self.security.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a SessionDiagnosticsDataType; `subscriptions` are those of all sessions.
    pub fn write(&self, subscriptions: &[Arc<OfSubscription>], w: &mut Writer) {
        let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let own = || subscriptions.iter().filter(|subscription| subscription.session() == self.number);
        w.extension(SESSION, |w| {
            w.id(Id::numeric(1, self.number));
            w.text(&self.client.name);
            w.0.extend_from_slice(&self.client.application);
            w.text(&self.client.server_uri);
            w.text(&self.client.endpoint_url);
            w.count(0);
            w.f64(self.timeout);
            w.u32(self.max_response);
            w.time(self.connected);
            w.time(Timestamp::from_ticks(self.contact.load(Ordering::Relaxed)));
            w.u32(whole(own().count()));
            w.u32(own().map(|subscription| subscription.items()).sum());
            w.u32(self.held.requests());
            self.total.write(w);
            w.u32(self.unauthorized.load(Ordering::Relaxed));
            for counter in &self.services {
                counter.write(w);
            }
        });
    }

    /// Writes a SessionSecurityDiagnosticsDataType.
    pub fn write_security(&self, w: &mut Writer) {
        let security = self.security();
        w.extension(SECURITY, |w| {
            w.id(Id::numeric(1, self.number));
            w.text(&security.user);
            w.count(security.history.len());
            for user in &security.history {
                w.text(user);
            }
            w.text(security.mechanism);
            w.text("UA Binary");
            w.text("opc.tcp");
            w.u32(security.mode as u32);
            // Not activated yet, it has none.
            match security.policy {
                SecurityPolicy::Unknown => w.null(),
                policy => w.text(policy.to_uri()),
            }
            match &self.certificate {
                Some(certificate) => w.bytes(certificate),
                None => w.null(),
            }
        });
    }
}
