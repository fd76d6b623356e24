//! The composition root: assembles the rooms, runs them, and shuts them down in order.

mod active;
mod changes;
mod conditions;
mod core;
#[cfg(feature = "report")]
pub mod figures;
mod gateway;
mod gauges;
mod handed;
mod heartbeat;
mod history;
mod inbox;
#[cfg(feature = "report")]
mod kpis;
mod messages;
mod pair;
#[cfg(feature = "report")]
mod reports;
mod scripts;
mod sources;
mod standby;
mod trace;
mod write;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{active::Active, core::Requests, inbox::Inbox, messages::Notifiers, sources::Sources};
use crate::{
    clock,
    config::{
        HttpSettings, Loaded, Problems, RedundancySettings, ServerSettings, StoreSettings, driver::Driver, folder::read_folders,
        render::render,
    },
    engine::{
        Engine,
        io::{Actor, Input, Via},
        plan::{AlarmNode, Plan, SourceDef},
        record::{AuditEntry, AuditKind, Record},
    },
    metrics::Metrics,
    pki::Pki,
    serve::{api, console, http, opcua, passwords::Passwords, webhooks},
    source::{self, Source},
    store::Store,
    tag::{Names, Sample, StatusCode, TagId, TagTable, Value},
};

/// How long servers may take to end.
const SERVERS_PATIENCE: Duration = Duration::from_millis(1500);
/// How long the store may take to close.
const STORE_PATIENCE: Duration = Duration::from_millis(1500);

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `--config`.
    pub config: PathBuf,
    /// `--tags`.
    pub tags: PathBuf,
    /// `--data`.
    pub data: PathBuf,
    /// Environment variables of this run, before the process's own; `demo` points the shipped configuration at its simulators.
    pub env: BTreeMap<String, String>,
}

/// Where the running daemon listens.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// What clients connect to.
    pub opcua: String,
    /// The webhook listener.
    pub webhooks: Option<SocketAddr>,
    /// The console listener.
    pub console: Option<SocketAddr>,
}

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has errors.
    Config(Problems),
    /// Something else; a fragment after "failed to ".
    Other(String),
}

impl From<String> for StartError {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}

/// All drivers: a new one is one line here.
pub const DRIVERS: &[Driver] = &[source::modbus::DRIVER, source::opcua::DRIVER, source::simulator::DRIVER];

/// What all parts of the daemon share.
pub(crate) struct Shared {
    folders: Folders,
    plan: ArcSwap<Plan>,
    plan_changes: watch::Sender<Arc<Plan>>,
    names: Mutex<Names>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<Fixed>,
    table: TagTable,
    /// Tags whose samples go on to the engine.
    watched: ArcSwap<HashSet<TagId>>,
    alarm_nodes: ArcSwap<HashMap<TagId, (Arc<str>, AlarmNode)>>,
    /// The alarms as others follow them.
    conditions: conditions::Conditions,
    /// What the HTTP API has not seen yet.
    changes: changes::Changes,
    inbox: Inbox,
    requests: Requests,
    store: Arc<Store>,
    history: history::History,
    sources: Sources,
    notifiers: ArcSwap<Notifiers>,
    scripts: scripts::Scripts,
    passwords: Passwords,
    pki: Arc<Pki>,
    application_uri: String,
    metrics: Arc<Metrics>,
    #[cfg(feature = "report")]
    reports: reports::Reports,
    opcua_load: ArcSwapOption<opcua::Load>,
    /// Whether this instance may act.
    pair: pair::Instances,
    /// What people are told of our own OPC UA certificate.
    certificate: Mutex<Option<String>>,
    ready: AtomicBool,
    stopping: AtomicBool,
}

/// What a reload cannot change.
#[derive(Clone, PartialEq)]
struct Fixed {
    server: ServerSettings,
    http: HttpSettings,
    store: StoreSettings,
    redundancy: RedundancySettings,
}

impl Fixed {
    fn of(loaded: &Loaded) -> Self {
        Self {
            server: loaded.server.clone(),
            http: loaded.http.clone(),
            store: loaded.store.clone(),
            redundancy: loaded.redundancy.clone(),
        }
    }
}

/// Reads the configuration of `folders`.
///
/// # Errors
/// All problems.
pub fn read_config(folders: &Folders, names: &mut Names) -> Result<Loaded, Problems> {
    let read = || {
        let env = |name: &str| folders.env.get(name).cloned();
        read_folders(&folders.config, &folders.tags, DRIVERS, &env, names)
    };
    // Reading takes many times the memory of what stays; what a thread has free when it ends goes back to the system.
    std::thread::scope(|scope| scope.spawn(read).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs the daemon until `stop` is cancelled. `reload` asks for a reload (SIGHUP); `started` is told where it listens, and gets a
/// handle on what happens.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    folders: Folders,
    stop: CancellationToken,
    mut reload: tokio::sync::mpsc::Receiver<()>,
    started: impl FnOnce(&Endpoints, &Watch),
) -> Result<(), StartError> {
    // On another processor meanwhile; whoever needs it waits for it.
    std::thread::spawn(opcua::prepare);
    let mut names = Names::default();
    let loaded = read_config(&folders, &mut names).map_err(StartError::Config)?;
    let fixed = Fixed::of(&loaded);
    let plan = Arc::new(loaded.plan);
    let store = Arc::new(Store::open_configured(&fixed.store, &folders.data).await?);
    let pki = Pki::open(folders.data.join("pki")).map_err(|error| format!("failed to open the PKI folder: {error}"))?;
    let shared = Arc::new(Shared {
        plan: ArcSwap::new(Arc::clone(&plan)),
        plan_changes: watch::Sender::new(Arc::clone(&plan)),
        names: Mutex::new(names),
        reloading: tokio::sync::Mutex::new(fixed.clone()),
        table: TagTable::default(),
        watched: ArcSwap::from_pointee(Engine::watched(&plan)),
        alarm_nodes: ArcSwap::from_pointee(alarm_nodes(&plan)),
        conditions: conditions::Conditions::default(),
        changes: changes::Changes::default(),
        inbox: Inbox::default(),
        requests: Requests::default(),
        store,
        history: history::History::default(),
        sources: Sources::default(),
        notifiers: ArcSwap::from_pointee(messages::notifiers(&plan)?),
        scripts: scripts::Scripts::default(),
        passwords: Passwords::new()?,
        pki: Arc::new(pki),
        application_uri: fixed.server.application_uri.clone(),
        metrics: Arc::new(Metrics::new()),
        #[cfg(feature = "report")]
        reports: reports::Reports::default(),
        opcua_load: ArcSwapOption::empty(),
        pair: pair::Instances::new(fixed.redundancy.clone()),
        certificate: Mutex::default(),
        ready: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        folders,
    });
    let mut listeners = JoinSet::new();
    let servers_stop = CancellationToken::new();
    let endpoints = listen(&shared, &fixed, &mut listeners, &servers_stop).await?;
    shared.history.apply(&shared, &plan).await;
    listeners.spawn(history::record(Arc::clone(&shared), servers_stop.child_token()));
    #[cfg(feature = "report")]
    listeners.spawn(kpis::publish(Arc::clone(&shared), servers_stop.child_token()));
    let beats_stop = CancellationToken::new();
    let beats = shared.store.shared().then(|| {
        let part = pair::Part::new(Arc::clone(&shared), endpoints.opcua.clone());
        tokio::spawn(part.beat(beats_stop.clone()))
    });
    if beats.is_none() {
        shared.pair.lease.begin(None);
    }
    let mut started = Some(started);
    let mut shown = || {
        shared.ready.store(true, Ordering::Release);
        if let Some(started) = started.take() {
            started(&endpoints, &Watch(Arc::clone(&shared)));
        }
    };
    // One turn after the other: standing by until the lease is ours, active until it is over.
    loop {
        if !shared.pair.lease.held() {
            let stand_by = standby::stand_by(&shared, &mut shown);
            if serve_until(&shared, stand_by, &stop, &mut reload).await.is_none() {
                break;
            }
        }
        let active = match Active::begin(&shared).await {
            Ok(active) => active,
            Err(error) if shared.store.shared() => {
                tracing::error!("failed to {error}; standing by");
                shared.pair.lease.end();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        shown();
        let over = shared.pair.lease.ended();
        let over = serve_until(&shared, over, &stop, &mut reload).await;
        if over.is_some() {
            // At once: ending takes its time. Until the store was read anew, nothing is known here.
            shared.ready.store(false, Ordering::Release);
            shared.publish_program(&shared.plan.load(), "standby");
        }
        active.end().await;
        if over.is_none() {
            break;
        }
    }
    shared.ready.store(false, Ordering::Release);
    beats_stop.cancel();
    if let Some(beats) = beats {
        // Bounded by the store's own patience; it says itself what went wrong.
        _ = beats.await;
    }
    servers_stop.cancel();
    let end = async { while listeners.join_next().await.is_some() {} };
    if tokio::time::timeout(SERVERS_PATIENCE, end).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    if tokio::time::timeout(STORE_PATIENCE, shared.store.fold()).await.is_err() {
        tracing::warn!("the store was not closed in time; nothing is lost, its log is read at the next start");
    }
    Ok(())
}

/// Serves, and reloads when asked, until `work` has ended; `None` when the program shall stop first.
async fn serve_until<T>(
    shared: &Arc<Shared>,
    work: impl Future<Output = T>,
    stop: &CancellationToken,
    reload: &mut tokio::sync::mpsc::Receiver<()>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            done = &mut work => return Some(done),
            Some(()) = reload.recv() => {
                let shared = Arc::clone(shared);
                // Beside: what serves must go on meanwhile.
                tokio::spawn(async move {
                    let by = Actor { name: "SIGHUP".to_owned(), role: crate::engine::plan::Role::Engineer, via: Via::System };
                    match Shared::reload(&shared, &by).await {
                        Ok(words) => tracing::info!("{words}"),
                        Err(problems) => tracing::error!("the configuration was not reloaded:\n{problems}"),
                    }
                });
            }
        }
    }
}

fn alarm_nodes(plan: &Plan) -> HashMap<TagId, (Arc<str>, AlarmNode)> {
    let commands = [AlarmNode::Ack, AlarmNode::AckEvent, AlarmNode::Shelve];
    let nodes = plan.alarms.iter().flat_map(|def| commands.map(|node| (def.nodes.id(node), (Arc::clone(&def.path), node))));
    nodes.collect()
}

async fn listen(
    shared: &Arc<Shared>,
    fixed: &Fixed,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Endpoints, StartError> {
    let tls = match &fixed.http.tls {
        Some((certificate, key)) => {
            let certificate = shared.folders.config.join(certificate);
            Some(http::tls(&certificate, &shared.folders.config.join(key)).map_err(|error| format!("failed to {error}"))?)
        }
        None => None,
    };
    let options = api::Options {
        sessions: api::SessionLimits { idle: fixed.http.session_idle, lifetime: fixed.http.session_lifetime },
        secure: tls.is_some() || !fixed.http.proxies.is_empty(),
        proxies: fixed.http.proxies.clone().into(),
        stop: stop.clone(),
    };
    let gateway: Arc<dyn crate::serve::Gateway> = Arc::new(Arc::clone(shared));
    let limits = http::Limits {
        connections: fixed.http.connections,
        loopback_is_proxy: true,
        proxies: fixed.http.proxies.clone().into(),
        ..http::Limits::default()
    };
    let mut bound = [None, None];
    let metrics = Arc::clone(&shared.metrics);
    let rejects = Arc::new(webhooks::Rejects::observed_by(move |reason| metrics.count_reject(reason)));
    let routers = [
        (fixed.http.webhooks, webhooks::router(Arc::clone(&gateway), rejects)),
        (fixed.http.console, console::router().merge(api::router(Arc::clone(&gateway), Arc::clone(&shared.store), options))),
    ];
    for ((address, router), bound) in routers.into_iter().zip(&mut bound) {
        let Some(address) = address else { continue };
        let listener = bind(address).await?;
        *bound = listener.local_addr().ok();
        tasks.spawn(http::serve(listener, router, limits.clone(), tls.clone(), stop.clone()));
    }
    let settings = opcua::Settings::new(&fixed.server, shared.folders.data.join("pki"));
    let server = opcua::serve(settings, gateway, stop.clone()).await.map_err(|error| format!("failed to {error}"))?;
    let opcua = server.endpoint.clone();
    shared.opcua_load.store(Some(Arc::new(server.load.clone())));
    tasks.spawn(server.ended());
    Ok(Endpoints { opcua, webhooks: bound[0], console: bound[1] })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("failed to listen on {address}: {error} (is another Annunciator running? [http] chooses another port)")
    })
}

impl Shared {
    /// Reads the configuration again. A bad one changes nothing.
    async fn reload(shared: &Arc<Self>, by: &Actor) -> Result<String, String> {
        let fixed = shared.reloading.lock().await;
        let mut names = shared.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = match read_config(&shared.folders, &mut names) {
            Ok(loaded) => loaded,
            Err(problems) => {
                shared.config_errors(problems.errors());
                let words = render(&problems, false);
                shared.audit(AuditKind::Reload, by, "refused").await;
                return Err(words);
            }
        };
        let kept = *fixed != Fixed::of(&loaded);
        let plan = Arc::new(loaded.plan);
        let notifiers = messages::notifiers(&plan)?;
        *shared.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        let old = shared.plan.swap(Arc::clone(&plan));
        let watched = Engine::watched(&plan);
        let newly: Vec<TagId> = watched.difference(&shared.watched.load()).copied().collect();
        shared.watched.store(Arc::new(watched));
        shared.alarm_nodes.store(Arc::new(alarm_nodes(&plan)));
        shared.notifiers.store(Arc::new(notifiers));
        shared.inbox.input(Input::Plan(Arc::clone(&plan)));
        // A tag that nothing depended on so far may not change for a long time: the engine learns what it holds.
        shared.inbox.samples(shared.present_values(newly.into_iter().filter(|tag| shared.table.version(*tag) > 0)));
        shared.mark_changed_tags(&old, &plan);
        drop(old);
        if shared.pair.lease.held() {
            shared.publish_program(&plan, "active");
            shared.sources.apply(shared, &plan).await;
        }
        // The servers look at the new plan only now: every node that it names has a value.
        shared.plan_changes.send_replace(Arc::clone(&plan));
        shared.audit(AuditKind::Reload, by, "applied").await;
        let restart =
            if kept { "; changes in [server], [http], [store], [redundancy] need a restart, the old ones are kept" } else { "" };
        Ok(format!("configuration applied: {} tags, {} alarms{restart}", plan.tags.len(), plan.alarms.len()))
    }

    /// What the table holds of these tags.
    fn present_values(&self, tags: impl Iterator<Item = TagId>) -> Vec<Sample> {
        let sample = |tag| {
            let reading = self.table.read(tag);
            Sample { tag, value: reading.value, status: reading.status, source_time: reading.source_time }
        };
        tags.map(sample).collect()
    }

    /// Memory tags that are new get their first value; tags that are gone are marked.
    fn mark_changed_tags(&self, old: &Plan, plan: &Plan) {
        let now = clock::now();
        let new = plan.tags.iter().filter(|def| old.tag(def.id).is_none_or(|old| old.value_type != def.value_type));
        let initial: Vec<_> = new.filter_map(|def| write::initial_sample(def, None, now)).collect();
        let gone = old.tags.iter().filter(|def| plan.tag(def.id).is_none());
        let gone: Vec<_> = gone
            .map(|def| Sample { tag: def.id, value: Value::Null, status: StatusCode::BAD_NODE_ID_UNKNOWN, source_time: now })
            .collect();
        self.table.write(&gone);
        self.take_samples(initial);
    }

    /// This instance may do something to the world outside.
    fn may_act(&self) -> bool {
        !self.stopping.load(Ordering::Acquire) && self.pair.lease.held()
    }

    /// The program's own facts under `System/Gateway/`.
    fn publish_program(&self, plan: &Plan, role: &str) {
        let mut values = vec![
            ("Version", Value::string(env!("CARGO_PKG_VERSION"))),
            ("Role", Value::string(role)),
            ("ConfigErrors", Value::Int32(0)),
        ];
        if let Some(tag) = plan.system.get("StartTime").filter(|tag| self.table.version(*tag) == 0) {
            self.publish_own(vec![(tag, Value::DateTime(clock::now()))]);
        }
        let own = values.drain(..).filter_map(|(name, value)| Some((plan.system.get(name)?, value)));
        self.publish_own(own.collect());
    }

    fn config_errors(&self, errors: usize) {
        if let Some(tag) = self.plan.load().system.get("ConfigErrors") {
            self.publish_own(vec![(tag, Value::Int32(i32::try_from(errors).unwrap_or(i32::MAX)))]);
        }
    }

    async fn audit(&self, kind: AuditKind, by: &Actor, result: &str) {
        let entry = AuditEntry {
            time: clock::now(),
            kind,
            user: by.name.clone(),
            via: by.via,
            subject: String::new(),
            text: String::new(),
            result: result.to_owned(),
            events: Vec::new(),
            sid: None,
        };
        if !self.record(vec![Record::Audit(entry)]).await {
            tracing::warn!(?kind, "failed to write the audit log");
        }
    }

    async fn audit_own(&self, kind: AuditKind, result: &str) {
        let program = Actor { name: "annunciator".to_owned(), role: crate::engine::plan::Role::Engineer, via: Via::System };
        self.audit(kind, &program, result).await;
    }

    /// The driver of a source.
    fn driver(&self, def: &SourceDef) -> Box<dyn Source> {
        match def.kind {
            "modbus" => source::modbus::new(&def.settings),
            "opcua" => source::opcua::new(&def.settings, Arc::clone(&self.pki), &self.application_uri),
            _ => source::simulator::new(&def.settings),
        }
    }

    /// Zero to one, for jitter.
    fn chance() -> f64 {
        let mut bytes = [0; 2];
        // Without random numbers there is no jitter, which only matters to many that reconnect at once.
        _ = getrandom::fill(&mut bytes);
        f64::from(u16::from_le_bytes(bytes)) / 65_536.0
    }
}

/// A look at a running daemon, for `demo`.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// The store, for what has happened.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.0.store)
    }

    /// The present value of a tag.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<crate::tag::Reading> {
        self.0.plan.load().tag_at(path).map(|tag| self.0.table.read(tag.id))
    }
}
