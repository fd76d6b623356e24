//! What SessionDiagnosticsArray, SessionSecurityDiagnosticsArray and its own object tell of one session (Part 5, 12.11 and 12.12).
//! It is counted where it happens and read without the session's own lock, which whoever samples the arrays may hold.

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
    structure::{Kind, Structure},
    subscription::OfSubscription,
};
use crate::{
    clock,
    tag::{StatusCode, Timestamp},
};

const SESSION: Id<'static> = Id::numeric(0, 867);
const SECURITY: Id<'static> = Id::numeric(0, 870);
const UINT32: Kind = Kind::BuiltIn(7);
const STRING: Kind = Kind::BuiltIn(12);
const STRINGS: Kind = Kind::ArrayOf(12);
const DATE_TIME: Kind = Kind::BuiltIn(13);
const NODE_ID: Kind = Kind::BuiltIn(17);
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

/// The services that are counted one by one, in the order of the structure and with their names there; `None` for those that are
/// not there.
const SERVICES: [(&str, Option<Service>); 28] = [
    ("ReadCount", Some(Service::Read)),
    ("HistoryReadCount", Some(Service::HistoryRead)),
    ("WriteCount", Some(Service::Write)),
    ("HistoryUpdateCount", None),
    ("CallCount", Some(Service::Call)),
    ("CreateMonitoredItemsCount", Some(Service::CreateMonitoredItems)),
    ("ModifyMonitoredItemsCount", Some(Service::ModifyMonitoredItems)),
    ("SetMonitoringModeCount", Some(Service::SetMonitoringMode)),
    ("SetTriggeringCount", Some(Service::SetTriggering)),
    ("DeleteMonitoredItemsCount", Some(Service::DeleteMonitoredItems)),
    ("CreateSubscriptionCount", Some(Service::CreateSubscription)),
    ("ModifySubscriptionCount", Some(Service::ModifySubscription)),
    ("SetPublishingModeCount", Some(Service::SetPublishingMode)),
    ("PublishCount", Some(Service::Publish)),
    ("RepublishCount", Some(Service::Republish)),
    ("TransferSubscriptionsCount", Some(Service::TransferSubscriptions)),
    ("DeleteSubscriptionsCount", Some(Service::DeleteSubscriptions)),
    ("AddNodesCount", None),
    ("AddReferencesCount", None),
    ("DeleteNodesCount", None),
    ("DeleteReferencesCount", None),
    ("BrowseCount", Some(Service::Browse)),
    ("BrowseNextCount", Some(Service::BrowseNext)),
    ("TranslateBrowsePathsToNodeIdsCount", Some(Service::TranslateBrowsePaths)),
    ("QueryFirstCount", None),
    ("QueryNextCount", None),
    ("RegisterNodesCount", Some(Service::RegisterNodes)),
    ("UnregisterNodesCount", Some(Service::UnregisterNodes)),
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
        let place = SERVICES.iter().position(|(_, counted)| *counted == Some(service));
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

    /// What it is called where people look for it: its name, or its number when the client gave it none.
    pub fn browse_name(&self) -> String {
        if self.client.name.is_empty() { self.number.to_string() } else { self.client.name.clone() }
    }

    /// As a SessionDiagnosticsDataType; `subscriptions` are those of all sessions.
    pub fn structure(&self, subscriptions: &[Arc<OfSubscription>]) -> Structure {
        const APPLICATION_DESCRIPTION: Kind = Kind::Structure(310);
        const SERVICE_COUNTER: Kind = Kind::Structure(873);
        let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let own = || subscriptions.iter().filter(|subscription| subscription.session() == self.number);
        let mut told = Structure::new(SESSION);
        told.put("SessionId", NODE_ID, |w| w.id(Id::numeric(1, self.number)));
        told.put("SessionName", STRING, |w| w.text(&self.client.name));
        told.put("ClientDescription", APPLICATION_DESCRIPTION, |w| w.0.extend_from_slice(&self.client.application));
        told.put("ServerUri", STRING, |w| w.text(&self.client.server_uri));
        told.put("EndpointUrl", STRING, |w| w.text(&self.client.endpoint_url));
        told.put("LocaleIds", STRINGS, |w| w.count(0));
        told.put("ActualSessionTimeout", Kind::BuiltIn(11), |w| w.f64(self.timeout));
        told.put("MaxResponseMessageSize", UINT32, |w| w.u32(self.max_response));
        told.put("ClientConnectionTime", DATE_TIME, |w| w.time(self.connected));
        let contact = Timestamp::from_ticks(self.contact.load(Ordering::Relaxed));
        told.put("ClientLastContactTime", DATE_TIME, |w| w.time(contact));
        told.put("CurrentSubscriptionsCount", UINT32, |w| w.u32(whole(own().count())));
        told.put("CurrentMonitoredItemsCount", UINT32, |w| w.u32(own().map(|subscription| subscription.items()).sum()));
        told.put("CurrentPublishRequestsInQueue", UINT32, |w| w.u32(self.held.requests()));
        told.put("TotalRequestCount", SERVICE_COUNTER, |w| self.total.write(w));
        told.put("UnauthorizedRequestCount", UINT32, |w| w.u32(self.unauthorized.load(Ordering::Relaxed)));
        for ((name, _), counter) in SERVICES.iter().zip(&self.services) {
            told.put(name, SERVICE_COUNTER, |w| counter.write(w));
        }
        told
    }

    /// As a SessionSecurityDiagnosticsDataType.
    pub fn security_structure(&self) -> Structure {
        let security = self.security();
        let mut told = Structure::new(SECURITY);
        told.put("SessionId", NODE_ID, |w| w.id(Id::numeric(1, self.number)));
        told.put("ClientUserIdOfSession", STRING, |w| w.text(&security.user));
        told.put("ClientUserIdHistory", STRINGS, |w| w.texts(&security.history));
        told.put("AuthenticationMechanism", STRING, |w| w.text(security.mechanism));
        told.put("Encoding", STRING, |w| w.text("UA Binary"));
        told.put("TransportProtocol", STRING, |w| w.text("opc.tcp"));
        told.put("SecurityMode", Kind::BuiltIn(6), |w| w.u32(security.mode as u32));
        // Not activated yet, it has none.
        told.put("SecurityPolicyUri", STRING, |w| match security.policy {
            SecurityPolicy::Unknown => w.null(),
            policy => w.text(policy.to_uri()),
        });
        told.put("ClientCertificate", Kind::BuiltIn(15), |w| match &self.certificate {
            Some(certificate) => w.bytes(certificate),
            None => w.null(),
        });
        told
    }
}
