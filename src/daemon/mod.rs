//! The composition root: assembles the rooms, runs them, and shuts them down in order.

mod changes;
mod conditions;
mod core;
#[cfg(feature = "report")]
pub mod figures;
mod gateway;
mod gauges;
mod heartbeat;
mod history;
mod inbox;
#[cfg(feature = "report")]
mod kpis;
mod messages;
#[cfg(feature = "report")]
mod reports;
mod scripts;
mod sources;
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

use self::{
    core::{Core, EngineClock, Requests},
    inbox::Inbox,
    messages::Notifiers,
    sources::Sources,
};
use crate::{
    clock,
    config::{
        HttpSettings, Loaded, Problems, ServerSettings, StoreSettings, driver::Driver, folder::read_folders, render::render,
    },
    engine::{
        Engine,
        io::{Actor, Input, Via},
        plan::{AlarmNode, Plan, SourceDef},
        record::{AuditEntry, AuditKind, Record, StateKind, StateRow},
    },
    metrics::Metrics,
    pki::Pki,
    serve::{api, console, http, opcua, passwords::Passwords, webhooks},
    source::{self, Source},
    store::Store,
    tag::{Names, Sample, StatusCode, TagId, TagTable, Value},
};

/// How long the engine may take to commit what it has when the program ends. With the servers', the store's and the sources' own
/// patience the program ends within 10 s (SPEC 2).
const ENGINE_PATIENCE: Duration = Duration::from_secs(3);
/// So many first values are written at once.
const BATCH: usize = 4096;
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
    ready: AtomicBool,
    stopping: AtomicBool,
}

/// What a reload cannot change.
#[derive(Clone, PartialEq)]
struct Fixed {
    server: ServerSettings,
    http: HttpSettings,
    store: StoreSettings,
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
    let fixed = Fixed { server: loaded.server.clone(), http: loaded.http.clone(), store: loaded.store.clone() };
    let plan = Arc::new(loaded.plan);
    let store = Arc::new(Store::open_configured(&fixed.store, &folders.data).await?);
    if store.shared() {
        return Err("the daemon does not run on PostgreSQL yet: use `url = \"sqlite:annunciator.db\"`".to_owned().into());
    }
    let rows = store.load().await.map_err(|error| format!("failed to read the store: {error}"))?;
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
        ready: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        folders,
    });
    let mut listeners = JoinSet::new();
    let servers_stop = CancellationToken::new();
    let endpoints = listen(&shared, &fixed, &mut listeners, &servers_stop).await?;
    shared.history.apply(&shared, &plan).await;
    listeners.spawn(history::record(Arc::clone(&shared), servers_stop.child_token()));
    let core_stop = CancellationToken::new();
    let core = start_engine(&shared, &plan, rows, core_stop.clone());
    // An alarm of an earlier run that the store failed is over: it was just read.
    shared.inbox.input(Input::Store { failed: false });
    shared.audit_own(AuditKind::Start, env!("CARGO_PKG_VERSION")).await;
    shared.sources.apply(&shared, &plan).await;
    let poller = tokio::spawn(messages::poll(Arc::clone(&shared), servers_stop.child_token()));
    #[cfg(feature = "report")]
    let kpis = tokio::spawn(kpis::publish(Arc::clone(&shared), servers_stop.child_token()));
    let heart = tokio::spawn(heartbeat::beat(Arc::clone(&shared), servers_stop.child_token()));
    shared.ready.store(true, Ordering::Release);
    started(&endpoints, &Watch(Arc::clone(&shared)));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = reload.recv() => {
                let by = Actor { name: "SIGHUP".to_owned(), role: crate::engine::plan::Role::Engineer, via: Via::System };
                match Shared::reload(&shared, &by).await {
                    Ok(words) => tracing::info!("{words}"),
                    Err(problems) => tracing::error!("the configuration was not reloaded:\n{problems}"),
                }
            }
        }
    }
    // In order: no new values, then the engine drains, then nobody is served any more (SPEC 2).
    shared.ready.store(false, Ordering::Release);
    heart.abort();
    #[cfg(feature = "report")]
    kpis.abort();
    shared.sources.stop().await;
    let drained = async {
        shared.audit_own(AuditKind::Stop, "").await;
        core_stop.cancel();
        core.await
    };
    if tokio::time::timeout(ENGINE_PATIENCE, drained).await.is_err() {
        tracing::error!("the engine did not end in time");
    }
    servers_stop.cancel();
    poller.abort();
    let end = async { while listeners.join_next().await.is_some() {} };
    if tokio::time::timeout(SERVERS_PATIENCE, end).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    if tokio::time::timeout(STORE_PATIENCE, shared.store.fold()).await.is_err() {
        tracing::warn!("the store was not closed in time; nothing is lost, its log is read at the next start");
    }
    Ok(())
}

fn start_engine(
    shared: &Arc<Shared>,
    plan: &Arc<Plan>,
    rows: Vec<StateRow>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let retained = retained(&rows);
    let mut clock = EngineClock::new();
    let now = clock.now();
    let mut effects = Vec::new();
    let mut entropy = [0; 8];
    if let Err(error) = getrandom::fill(&mut entropy) {
        tracing::warn!(%error, "the system gives no random numbers; the time is used instead");
        entropy = now.ticks().to_le_bytes();
    }
    let (engine, problems) = Engine::restore(Arc::clone(plan), rows, u64::from_le_bytes(entropy), now, &mut effects);
    for problem in problems {
        tracing::error!("{problem}");
    }
    shared.publish_program(plan);
    for tags in plan.tags.chunks(BATCH) {
        let memory = tags.iter().filter_map(|def| write::initial_sample(def, retained.get(&*def.path).cloned(), now));
        shared.take_samples(memory.collect());
    }
    let core = Core::new(Arc::clone(shared), engine, clock, effects);
    tokio::spawn(core.run(stop))
}

fn retained(rows: &[StateRow]) -> HashMap<String, Value> {
    let retained = rows.iter().filter(|row| row.kind == StateKind::Retained);
    retained.filter_map(|row| Some((row.key.clone(), serde_json::from_value(row.value.clone()).ok()?))).collect()
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
        shared.publish_program(&plan);
        shared.sources.apply(shared, &plan).await;
        // The servers look at the new plan only now: every node that it names has a value.
        shared.plan_changes.send_replace(Arc::clone(&plan));
        shared.audit(AuditKind::Reload, by, "applied").await;
        let kept = *fixed != Fixed { server: loaded.server, http: loaded.http, store: loaded.store };
        let restart = if kept { "; changes in [server], [http], [store] need a restart, the old ones are kept" } else { "" };
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

    /// The program's own facts under `System/Gateway/`.
    fn publish_program(&self, plan: &Plan) {
        let mut values = vec![
            ("Version", Value::string(env!("CARGO_PKG_VERSION"))),
            ("Role", Value::string("active")),
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
