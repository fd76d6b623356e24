//! The OPC UA server: our own services over the library's types and cryptography (SPEC section 5).
//!
//! A connection is one task, a session is nobody's, the address space is immutable and exchanged whole on a reload, values are
//! read from the tag table. Deliberately absent until a later issue: node management.

mod attributes;
mod audit;
mod browse;
mod call;
mod channel;
mod conditions;
mod connection;
mod decode;
mod diag;
mod discovery;
mod events;
mod frame;
mod history;
mod identity;
mod limits;
mod live;
mod login;
mod ns0;
mod reactors;
mod read;
mod register;
mod renewal;
mod send;
mod session;
mod space;
mod subscribe;
mod units;
mod write;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
pub use limits::Limits;
pub use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, broadcast::Receiver},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    attributes::View,
    audit::{Notes, Notice},
    conditions::{Certificate, Conditions},
    diag::Diagnostics,
    events::{Hub, audit::Audit},
    reactors::Reactors,
    session::Sessions,
    space::Space,
    subscribe::{
        Counts,
        transfer::{Orphans, Owner},
    },
};
use super::Gateway;
use crate::{
    clock,
    config::ServerSettings,
    engine::{
        condition::Condition,
        plan::{Plan, Role},
    },
    pki::{OwnCertificate, Pki},
    tag::Timestamp,
    ua::wire,
};

/// How often sessions that no connection looks after are looked at.
const SWEEP: Duration = Duration::from_millis(250);
/// How long the listener waits after it could not accept, for instance without free file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// `[server]` (SPEC 3).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; `None` for the host and port of `endpoint`.
    pub bind: Option<SocketAddr>,
    /// What clients are told to connect to: `opc.tcp://host:port/path`. Port 0 stands for the port that was bound; a wildcard
    /// host for the one that the client used.
    pub endpoint: String,
    /// Names this installation; also in its certificate.
    pub application_uri: String,
    /// Shown to people who choose a server.
    pub application_name: String,
    /// What is offered. Without `None` here a channel without security still answers GetEndpoints and FindServers.
    pub security: Vec<SecurityPolicy>,
    /// The modes that are offered with every policy but `None`.
    pub modes: Vec<MessageSecurityMode>,
    /// What an anonymous user may do; `None` lets none in.
    pub anonymous: Option<Role>,
    /// Own certificate and trust list.
    pub pki: PathBuf,
    /// Bounds.
    pub limits: Limits,
}

impl Settings {
    /// What the configuration says; `pki` is the folder below `--data`.
    #[must_use]
    pub fn new(server: &ServerSettings, pki: PathBuf) -> Self {
        let limits = &server.limits;
        let whole = |count: u32| count as usize;
        let calls = whole(limits.operations_per_call);
        let defaults = Limits::default();
        Self {
            endpoint: server.endpoint.clone(),
            application_uri: server.application_uri.clone(),
            application_name: server.application_name.clone(),
            security: server.security.iter().map(|policy| policy_of(*policy)).collect(),
            modes: server.modes.iter().map(|mode| mode_of(*mode)).collect(),
            anonymous: server.anonymous,
            pki,
            limits: Limits {
                connections: whole(limits.connections),
                connections_per_peer: whole(limits.connections).min(defaults.connections_per_peer),
                sessions: whole(limits.sessions),
                subscriptions_per_session: whole(limits.subscriptions_per_session),
                items_per_subscription: whole(limits.items_per_subscription),
                items: whole(limits.items),
                nodes_per_read: calls,
                nodes_per_write: calls.min(defaults.nodes_per_write),
                nodes_per_browse: calls.min(defaults.nodes_per_browse),
                paths_per_translate: calls.min(defaults.paths_per_translate),
                items_per_call: calls,
                queued_bytes_per_session: whole(limits.queued_bytes_per_session),
                queued_bytes: whole(limits.queued_bytes),
                message: whole(limits.message_size),
                chunks: whole(limits.chunks),
                ..defaults
            },
            ..Self::default()
        }
    }
}

const fn policy_of(policy: crate::config::SecurityPolicy) -> SecurityPolicy {
    use crate::config::SecurityPolicy as Configured;
    match policy {
        Configured::None => SecurityPolicy::None,
        Configured::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
        Configured::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
        Configured::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
    }
}

const fn mode_of(mode: crate::config::SecurityMode) -> MessageSecurityMode {
    match mode {
        crate::config::SecurityMode::Sign => MessageSecurityMode::Sign,
        crate::config::SecurityMode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: None,
            endpoint: "opc.tcp://127.0.0.1:4840/annunciator".into(),
            application_uri: "urn:annunciator:server".into(),
            application_name: "Annunciator".into(),
            security: vec![
                SecurityPolicy::Basic256Sha256,
                SecurityPolicy::Aes128Sha256RsaOaep,
                SecurityPolicy::Aes256Sha256RsaPss,
            ],
            modes: vec![MessageSecurityMode::SignAndEncrypt, MessageSecurityMode::Sign],
            anonymous: None,
            pki: "pki".into(),
            limits: Limits::default(),
        }
    }
}

/// Why the server did not start; fits after "failed to …".
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A server that runs until its token is cancelled.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it tells clients to connect to.
    pub endpoint: String,
    /// How busy it is.
    pub load: Load,
    task: JoinHandle<()>,
}

/// Tells how busy a server is, for as long as it runs.
#[derive(Clone, Debug)]
pub struct Load(Weak<Server>);

/// How busy a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// TCP connections.
    pub connections: usize,
    /// Sessions, activated or not.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: usize,
}

impl Load {
    /// Now; zeros once the server has ended.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let figures = |server: Arc<Server>| Figures {
            connections: server.peers.lock().unwrap_or_else(PoisonError::into_inner).values().sum(),
            sessions: server.sessions.len(),
            subscriptions: server.counts.subscriptions.load(Ordering::Relaxed),
        };
        self.0.upgrade().map(figures).unwrap_or_default()
    }
}

impl Running {
    /// Resolves when the listener and all connections have ended, some time after the token was cancelled.
    pub async fn ended(self) {
        let _ = self.task.await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Everything that connections share.
struct Server {
    settings: Settings,
    endpoint: Endpoint,
    gateway: Arc<dyn Gateway>,
    space: ArcSwap<Space>,
    own: ArcSwap<OwnCertificate>,
    pki: Pki,
    notes: Notes,
    started: Timestamp,
    sessions: Sessions,
    /// Everything that happened lately; event items read on from where they were.
    events: Hub,
    /// Keeps the events of who did what few.
    audit: Audit,
    /// The alarms as conditions.
    conditions: Conditions,
    counts: Arc<Counts>,
    diagnostics: Diagnostics,
    /// Subscriptions that have outlived their sessions.
    orphans: Orphans,
    keys: Semaphore,
    peers: Mutex<HashMap<IpAddr, usize>>,
    last_channel: AtomicU32,
    last_token: AtomicU32,
    last_session: AtomicU32,
    /// Where requests are carried out that wait for others; goes on when a connection's thread has ended.
    jobs: Handle,
}

/// Makes ready what every server needs and what takes a while: for a thread of its own, before the configuration is known.
pub fn prepare() {
    ns0::Core::get();
}

/// Starts the server.
///
/// # Errors
/// When the endpoint is no `opc.tcp` URL, the address cannot be bound, or the PKI folder cannot be used.
pub async fn serve(settings: Settings, gateway: Arc<dyn Gateway>, stop: CancellationToken) -> Result<Running, StartError> {
    let mut endpoint = Endpoint::parse(&settings.endpoint)?;
    let pki = Pki::open(&settings.pki)
        .map_err(|error| StartError(format!("open the PKI folder {}: {error}", settings.pki.display())))?;
    let hosts = endpoint.certificate_hosts();
    let (own_pki, uri) = (pki.clone(), settings.application_uri.clone());
    let own = tokio::task::spawn_blocking(move || own_pki.own(&uri, &hosts)).await;
    let own = own.map_err(|error| StartError(format!("create the server's certificate: {error}")))?.map_err(StartError)?;
    let listener = bind(&settings, &endpoint).await?;
    let address = listener.local_addr().map_err(|error| StartError(format!("listen for OPC UA clients: {error}")))?;
    if endpoint.port == 0 {
        endpoint.port = address.port();
    }
    let plan = gateway.plan();
    let space = tokio::task::spawn_blocking(move || Space::build(plan, seconds())).await;
    let mut space = space.map_err(|error| StartError(format!("build the address space: {error}")))?;
    let diagnostics = Diagnostics::default();
    space.sessions = Arc::clone(&diagnostics.living);
    tracing::info!(endpoint = %endpoint.url(None), nodes = space.len(), "OPC UA server listens");
    let url = endpoint.url(None);
    // Before anything happens to an alarm, so that nothing is missed.
    let changes = gateway.condition_changes();
    let counts = Arc::<Counts>::default();
    let server = Arc::new(Server {
        conditions: Conditions::new(Arc::clone(&gateway), Certificate::of(&own.certificate)),
        keys: Semaphore::new(settings.limits.rsa),
        settings,
        endpoint,
        gateway,
        space: ArcSwap::from_pointee(space),
        own: ArcSwap::from_pointee(own),
        pki,
        notes: Notes::default(),
        started: clock::now(),
        sessions: Sessions::default(),
        events: Hub::new(Arc::clone(&counts.events)),
        audit: Audit::default(),
        counts,
        diagnostics,
        orphans: Orphans::default(),
        peers: Mutex::default(),
        last_channel: AtomicU32::new(0),
        last_token: AtomicU32::new(0),
        last_session: AtomicU32::new(0),
        jobs: Handle::current(),
    });
    let load = Load(Arc::downgrade(&server));
    let reactors = Reactors::start(server.settings.limits.threads);
    let reactors = reactors.map_err(|error| StartError(format!("start the threads of the OPC UA server: {error}")))?;
    tokio::spawn(renewal::look_after(Arc::clone(&server), stop.clone()));
    let task = tokio::spawn(run(server, listener, reactors, changes, stop));
    Ok(Running { address, endpoint: url, load, task })
}

/// Now, as a version that grows: seconds since 1970.
fn seconds() -> u32 {
    u32::try_from(clock::now().unix_millis() / 1_000).unwrap_or(u32::MAX)
}

async fn bind(settings: &Settings, endpoint: &Endpoint) -> Result<TcpListener, StartError> {
    let bound = match settings.bind {
        Some(address) => TcpListener::bind(address).await,
        None => TcpListener::bind((endpoint.host.trim_matches(['[', ']']), endpoint.port)).await,
    };
    bound.map_err(|error| {
        let place = settings.bind.map_or_else(|| settings.endpoint.clone(), |address| address.to_string());
        StartError(format!("listen for OPC UA clients on {place}: {error}; is another server running there?"))
    })
}

async fn run(
    server: Arc<Server>,
    listener: TcpListener,
    reactors: Reactors,
    changes: Receiver<Arc<Condition>>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    connections.spawn(conditions::follow(Arc::clone(&server), changes, stop.clone()));
    let mut plans = server.gateway.plan_changes();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut has_plans = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.accept(stream, peer.ip(), (&reactors, &connections), &stop),
                Err(error) => {
                    tracing::warn!(%error, "OPC UA connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            changed = plans.changed(), if has_plans => match changed {
                Ok(()) => {
                    let plan = Arc::clone(&plans.borrow_and_update());
                    server.sessions.hold_to(&plan, server.settings.anonymous);
                    server.renew_space(plan).await;
                }
                Err(_) => has_plans = false,
            },
            _ = sweep.tick() => server.sweep(),
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(GOODBYE, connections.wait()).await;
}

impl Server {
    /// Exchanges the address space for that of another plan and tells what changed.
    async fn renew_space(&self, plan: Arc<Plan>) {
        let old = self.space.load_full();
        let built = tokio::task::spawn_blocking(move || {
            let mut space = Space::build(plan, seconds().max(old.version + 1));
            space.sessions = Arc::clone(&old.sessions);
            let changes = space.succeed(&old);
            (space, changes)
        });
        let Ok((space, changes)) = built.await else { return };
        self.space.store(Arc::new(space));
        let mut id = [0; events::base::EVENT_ID];
        opcua::crypto::random::bytes(&mut id);
        if let Some(event) = changes.event(id, clock::now()) {
            self.events.emit(event);
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream, peer: IpAddr, to: (&Reactors, &TaskTracker), stop: &CancellationToken) {
        let Some(place) = Place::take(self, peer) else {
            self.notes.note(peer, &Notice::ConnectionRefused);
            // As far as it goes without waiting for the peer.
            let _ = stream.try_write(&frame::error(frame::status::BAD_TCP_NOT_ENOUGH_RESOURCES, "too many connections"));
            return;
        };
        let (server, stop) = (Arc::clone(self), stop.clone());
        let Ok(stream) = stream.into_std() else { return };
        let (reactors, connections) = to;
        reactors.spawn(connections.track_future(async move {
            let _place = place;
            // From here on it belongs to the thread that serves it.
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(server, stream, peer, stop).await;
            }
        }));
    }

    /// Ends sessions whose time is over and keeps the subscriptions of the others going that have no connection now.
    fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        let swept = self.sessions.sweep(&self.settings.limits, now);
        for session in swept.ended {
            self.diagnostics.timed_out();
            self.leave_subscriptions(&session);
        }
        self.orphans.tick(now, |role| self.view(role));
        for session in swept.alone {
            let mut state = session.state();
            if let (Some(role), false) = (state.actor.as_ref().map(|actor| actor.role), state.attached) {
                let view = self.view(role);
                // Without a connection there is no Publish request to answer.
                state.subscriptions.tick(now, &view, &mut Vec::new());
            }
        }
    }

    /// Has the subscriptions of a session that ends live on without it (Part 4, 5.7.4).
    fn leave_subscriptions(&self, session: &session::Session) {
        let (actor, left) = {
            let mut state = session.state();
            (state.actor.clone(), state.subscriptions.leave_behind())
        };
        if let Some(actor) = actor {
            self.orphans.keep(&Owner::of(session, &actor), left, &self.settings.limits);
        }
    }

    /// The address space for a session of `role`.
    fn view(self: &Arc<Self>, role: Role) -> View {
        View { server: Arc::clone(self), space: self.space.load_full(), role }
    }

    /// Runs `work` with the private key off the reactor, few at a time; `None` when it panics.
    async fn with_key<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _turn = self.keys.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }

    fn next_channel(&self) -> u32 {
        self.last_channel.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }

    fn next_token(&self) -> u32 {
        self.last_token.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }

    fn next_session(&self) -> u32 {
        self.last_session.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }

    /// The endpoint's URL for a client that used `asked`.
    fn url_for(&self, asked: &str) -> String {
        self.endpoint.url(Some(asked))
    }
}

/// A connection's place among those that are allowed.
struct Place {
    server: Arc<Server>,
    peer: IpAddr,
}

impl Place {
    fn take(server: &Arc<Server>, peer: IpAddr) -> Option<Self> {
        let peer = one_of(peer);
        let limits = &server.settings.limits;
        let mut peers = server.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = peers.values().sum();
        if all >= limits.connections || peers.get(&peer).is_some_and(|count| *count >= limits.connections_per_peer) {
            return None;
        }
        *peers.entry(peer).or_default() += 1;
        Some(Self { server: Arc::clone(server), peer })
    }
}

/// Whom a connection is counted for: a host has a whole /64 of IPv6 addresses to itself.
fn one_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.server.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// The parts of an `opc.tcp` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    fn parse(url: &str) -> Result<Self, StartError> {
        let wrong = || StartError(format!("use the endpoint `{url}`: it must be like opc.tcp://127.0.0.1:4840/annunciator"));
        let rest = url.strip_prefix("opc.tcp://").ok_or_else(wrong)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, opcua::core::constants::DEFAULT_OPC_UA_SERVER_PORT),
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.into(), port, path: path.into() })
    }

    fn is_wildcard(&self) -> bool {
        matches!(&*self.host, "0.0.0.0" | "[::]")
    }

    fn url(&self, asked: Option<&str>) -> String {
        let theirs = asked.filter(|_| self.is_wildcard()).and_then(|asked| Self::parse(asked).ok());
        let host = theirs.map_or_else(|| self.host.clone(), |theirs| theirs.host);
        format!("opc.tcp://{host}:{}{}", self.port, self.path)
    }

    fn certificate_hosts(&self) -> Vec<String> {
        let mut hosts =
            if self.is_wildcard() { vec!["localhost".into()] } else { vec![self.host.trim_matches(['[', ']']).to_owned()] };
        hosts.extend(opcua::crypto::hostname().ok());
        hosts.dedup();
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let parse = |url: &str| Endpoint::parse(url).map(|endpoint| (endpoint.host, endpoint.port, endpoint.path)).ok();
        assert_eq!(parse("opc.tcp://127.0.0.1:4840/a/b"), Some(("127.0.0.1".into(), 4840, "/a/b".into())));
        assert_eq!(parse("opc.tcp://[::1]:1/"), Some(("[::1]".into(), 1, "/".into())));
        assert_eq!(parse("opc.tcp://plant"), Some(("plant".into(), 4840, String::new())));
        assert_eq!(parse("http://plant"), None);
        assert_eq!(parse("opc.tcp://:1"), None);
        let any = Endpoint::parse("opc.tcp://0.0.0.0:4840/x").unwrap();
        assert_eq!(any.url(Some("opc.tcp://gateway.example:4841")), "opc.tcp://gateway.example:4840/x");
    }
}
