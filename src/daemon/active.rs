//! An instance that is active: the engine, the sources, and what speaks to Twilio, from when it may act until it may no longer.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    core::{Core, EngineClock},
    handed, heartbeat, messages, write,
};
use crate::{
    engine::{
        Engine,
        io::Input,
        plan::Plan,
        record::{AuditKind, StateKind, StateRow},
    },
    tag::Value,
};

/// How long the engine may take to commit what it has when it ends. With the servers', the store's and the sources' own patience
/// the program ends within 10 s (SPEC 2).
const ENGINE_PATIENCE: Duration = Duration::from_secs(3);
/// So many first values are written at once.
const BATCH: usize = 4096;

/// What runs while this instance is active.
pub(super) struct Active {
    shared: Arc<Shared>,
    core: JoinHandle<()>,
    stop_core: CancellationToken,
    /// Aborted when this is dropped.
    tasks: JoinSet<()>,
}

impl Active {
    /// Takes up what the store holds, and begins.
    ///
    /// # Errors
    /// A fragment after "failed to ", when the store cannot be read.
    pub(super) async fn begin(shared: &Arc<Shared>) -> Result<Self, String> {
        let rows = shared.store.take_up().await.map_err(|error| format!("read the store: {error}"))?;
        let plan = shared.plan.load_full();
        shared.stopping.store(false, Ordering::Release);
        // Of what was shown while standing by, the last may be missing.
        shared.changes.note_all();
        shared.back_in_service(&plan);
        let stop_core = CancellationToken::new();
        let core = start_engine(shared, &plan, rows, stop_core.clone());
        // An alarm of an earlier run that the store failed is over: it was just read.
        shared.inbox.input(Input::Store { failed: false });
        let expiring = shared.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        shared.inbox.input(Input::Certificate { expiring });
        shared.audit_own(AuditKind::Start, env!("CARGO_PKG_VERSION")).await;
        shared.sources.apply(shared, &plan).await;
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let begin = |tasks: &mut JoinSet<()>, work: crate::BoxFuture<'static, ()>| {
            let shared = Arc::clone(shared);
            tasks.spawn(async move { _ = shared.pair.lease.guard(work).await });
        };
        begin(&mut tasks, Box::pin(messages::poll(Arc::clone(shared), stop.clone())));
        begin(&mut tasks, Box::pin(heartbeat::beat(Arc::clone(shared), stop)));
        if shared.store.shared() {
            begin(&mut tasks, Box::pin(handed::take(Arc::clone(shared))));
        }
        Ok(Self { shared: Arc::clone(shared), core, stop_core, tasks })
    }

    /// Ends in order: no new values, then the engine drains (SPEC 2).
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
        self.shared.sources.stop().await;
        let core = &mut self.core;
        let drained = async {
            if self.shared.pair.lease.held() {
                self.shared.audit_own(AuditKind::Stop, "").await;
            }
            self.stop_core.cancel();
            core.await
        };
        if tokio::time::timeout(ENGINE_PATIENCE, drained).await.is_err() {
            tracing::error!("the engine did not end in time");
            self.core.abort();
        }
        self.shared.requests.forget();
    }
}

fn start_engine(shared: &Arc<Shared>, plan: &Arc<Plan>, rows: Vec<StateRow>, stop: CancellationToken) -> JoinHandle<()> {
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
    shared.publish_program(plan, "active");
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
