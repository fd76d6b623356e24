//! An instance that stands by: it shows what the store holds, and hands in what reaches it (SPEC 12).
//!
//! The alarms, messages and counters that it serves are an engine's that is made anew from the store whenever that has changed;
//! nothing that such an engine decides is carried out. Tags of the plant have no values here: only the active instance speaks to
//! devices.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Shared, handed::Handed, inbox::Message, pair::Seen};
use crate::{
    clock,
    engine::{
        Engine,
        condition::Condition,
        io::{Effect, Input, Outcome, RequestId},
        plan::{Origin, Plan},
        record::{Record, StateKind, StateRow},
    },
    store::Standing,
    tag::{Sample, StatusCode, Value},
};

/// How long the first beat is waited for.
const FIRST: Duration = Duration::from_secs(1);
/// How often the answer to what was handed in is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long an answer is waited for: a fail-over fits in.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of the time, the part that making the engine anew may take: one in so many.
const SHARE: u32 = 5;

/// What stands by.
struct Standby {
    shared: Arc<Shared>,
    /// `None` while the store could not be read: then nothing is known here.
    engine: Option<Engine>,
    /// What the store held, by kind and key, each as a hash: what changed is told, not everything.
    rows: HashMap<(StateKind, String), u64>,
    /// The commit that `engine` shows.
    number: u64,
    /// The store is not read before then.
    rested: Instant,
}

/// Stands by until the lease is this instance's own. `shown` is called once there is something to serve.
pub(super) async fn stand_by(shared: &Arc<Shared>, shown: impl FnOnce()) {
    let mut beats = shared.pair.beats();
    // What was known before may be over since. Without an answer, whoever asks must not wait for one.
    beats.mark_unchanged();
    let first = tokio::time::timeout(FIRST, next(&mut beats)).await;
    if first.is_ok_and(|seen| seen.is_some_and(|seen| begin(shared, &seen))) {
        return;
    }
    tracing::info!("standing by: another instance is active, or the store does not answer");
    let mut standby = Standby::new(Arc::clone(shared)).await;
    let mut shown = Some(shown);
    loop {
        if let Some(shown) = shown.take_if(|_| standby.engine.is_some()) {
            shown();
        }
        tokio::select! {
            () = shared.inbox.arrived() => standby.take().await,
            seen = next(&mut beats) => match seen {
                Some(seen) if begin(shared, &seen) => return,
                Some(seen) => standby.follow(seen.pair.number).await,
                None => return,
            }
        }
    }
}

/// The next beat's answer.
async fn next(beats: &mut tokio::sync::watch::Receiver<Option<Seen>>) -> Option<Seen> {
    beats.changed().await.ok()?;
    beats.borrow_and_update().clone()
}

/// Begins to act when the lease is our own.
fn begin(shared: &Shared, seen: &Seen) -> bool {
    let ours = seen.pair.standing == Standing::Active;
    if ours {
        shared.pair.lease.begin(Some(seen.until));
    }
    ours && shared.pair.lease.held()
}

impl Standby {
    async fn new(shared: Arc<Shared>) -> Self {
        let plan = shared.plan.load_full();
        shared.out_of_service(&plan);
        shared.publish_program(&plan, "standby");
        let mut standby = Self { shared, engine: None, rows: HashMap::new(), number: 0, rested: Instant::now() };
        standby.read().await;
        standby.shared.changes.note_all();
        standby
    }

    /// Shows what was committed up to `number`, if that is not shown yet.
    async fn follow(&mut self, number: u64) {
        let is_news = number != self.number || self.engine.is_none();
        if is_news && self.rested <= Instant::now() {
            self.read().await;
        }
    }

    /// Reads the store and shows what it holds.
    async fn read(&mut self) {
        let began = Instant::now();
        let rows = match self.shared.store.snapshot().await {
            Ok((number, rows)) => {
                self.number = number;
                rows
            }
            Err(error) => return tracing::warn!(%error, "failed to read the store: what is shown may be old"),
        };
        self.note(&rows);
        let mut effects = Vec::new();
        let plan = self.shared.plan.load_full();
        // What cannot be read is told by the active instance.
        let (engine, _) = Engine::restore(Arc::clone(&plan), rows, 0, clock::now(), &mut effects);
        self.engine = Some(engine);
        self.show(&plan, effects);
        self.rested = Instant::now() + began.elapsed() * SHARE;
    }

    /// Notes the entries that are other than before.
    fn note(&mut self, rows: &[StateRow]) {
        let mut now = HashMap::with_capacity(rows.len());
        for row in rows {
            let mut hasher = DefaultHasher::new();
            row.value.hash(&mut hasher);
            let (key, hash) = ((row.kind, row.key.clone()), hasher.finish());
            if self.rows.remove(&key) != Some(hash) {
                self.shared.changes.note_state(row.kind, &row.key);
            }
            now.insert(key, hash);
        }
        for (kind, key) in self.rows.keys() {
            self.shared.changes.note_state(*kind, key);
        }
        self.rows = now;
    }

    /// Shows what an engine says of itself; what it wants done is the active instance's.
    fn show(&self, plan: &Plan, effects: Vec<Effect>) {
        let told: HashMap<Arc<str>, Arc<Condition>> =
            self.shared.conditions.all().into_iter().map(|condition| (Arc::clone(&condition.alarm), condition)).collect();
        let mut samples = Vec::new();
        for effect in effects {
            match effect {
                Effect::Publish(sample) if plan.tag(sample.tag).is_none_or(|def| matches!(def.origin, Origin::System)) => {
                    samples.push((sample.tag, sample.value));
                }
                Effect::Condition(condition) if told.get(&condition.alarm) != Some(&condition) => {
                    self.shared.conditions.tell(condition);
                }
                _ => {}
            }
        }
        self.shared.publish_own(samples);
        self.shared.changes.tell();
    }

    /// Handles what has arrived.
    async fn take(&mut self) {
        for message in self.shared.inbox.take().messages {
            match message {
                // Whoever asks sees that nobody knows.
                Message::Query(query) => _ = self.engine.as_ref().map(query),
                Message::Input(Input::Plan(plan), _) => self.change_plan(&plan).await,
                Message::Input(input, _) => {
                    if let Some((handed, request)) = handed(input) {
                        self.shared.hand_in(handed, None, Some(request));
                    }
                }
                Message::Durable(input, waits) => match handed(input) {
                    Some((handed, request)) => self.shared.hand_in(handed, Some(waits), Some(request)),
                    // Only the active instance beats.
                    None => _ = waits.send(Err(())),
                },
                Message::Records(records, waits) => {
                    let entries = records.into_iter().filter_map(|record| match record {
                        Record::Audit(entry) => Some(entry),
                        _ => None,
                    });
                    self.shared.hand_in(Handed::Audit(entries.collect()), Some(waits), None);
                }
                // It lies in the store until somebody takes it.
                Message::Handed(..) => {}
            }
        }
    }

    async fn change_plan(&mut self, plan: &Arc<Plan>) {
        self.shared.out_of_service(plan);
        self.shared.publish_program(plan, "standby");
        for condition in self.shared.conditions.all().iter().filter(|condition| !plan.alarm_index.contains_key(&*condition.alarm))
        {
            self.shared.conditions.tell(Arc::new(Condition { removed: true, ..(**condition).clone() }));
        }
        self.read().await;
        self.shared.changes.note_all();
    }
}

/// What is handed in of an input, and whose answer is awaited.
fn handed(input: Input) -> Option<(Handed, RequestId)> {
    Some(match input {
        Input::Command { request, by, command } => (Handed::Command { by, command }, request),
        Input::Inbound { text, .. } => (Handed::Inbound(text), RequestId::NOBODY),
        Input::Status { row, sid, status, error_code, .. } => {
            (Handed::Status { row, sid, status, error_code }, RequestId::NOBODY)
        }
        Input::Call { request, call } => (Handed::Call(call), request),
        _ => return None,
    })
}

impl Shared {
    /// Marks what only the active instance knows.
    fn out_of_service(&self, plan: &Plan) {
        self.table.write(&self.replaced(plan, StatusCode::BAD_OUT_OF_SERVICE, |_| true));
        let mut own = Vec::new();
        for source in &plan.sources {
            own.push((source.nodes.connected, Value::Boolean(false)));
            own.push((source.nodes.last_error, Value::string("this instance stands by")));
        }
        self.publish_own(own);
    }

    /// Takes back what [`Shared::out_of_service`] did, for values that the sources are about to bring.
    pub(super) fn back_in_service(&self, plan: &Plan) {
        let out = |status| status == StatusCode::BAD_OUT_OF_SERVICE;
        self.table.write(&self.replaced(plan, StatusCode::BAD_WAITING_FOR_INITIAL_DATA, out));
    }

    fn replaced(&self, plan: &Plan, status: StatusCode, which: impl Fn(StatusCode) -> bool) -> Vec<Sample> {
        let now = clock::now();
        let tags = plan.tags.iter().filter(|def| !matches!(def.origin, Origin::System) && which(self.table.read(def.id).status));
        tags.map(|def| Sample { tag: def.id, value: Value::Null, status, source_time: now }).collect()
    }

    /// Hands something in: `durable` is told once it lies in the store, `request` is answered once the active instance has.
    fn hand_in(self: &Arc<Self>, handed: Handed, durable: Option<oneshot::Sender<Result<(), ()>>>, request: Option<RequestId>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let plan = shared.plan.load_full();
            let result = match handed.write(&plan) {
                Ok(text) => shared.store.hand_in(&text).await.map_err(|error| error.to_string()),
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                tracing::warn!(%error, "failed to hand an input to the active instance");
            }
            if let Some(durable) = durable {
                // Whoever waited may have gone.
                _ = durable.send(if result.is_ok() { Ok(()) } else { Err(()) });
            }
            let Some(request) = request.filter(|request| *request != RequestId::NOBODY) else { return };
            let outcome = match result {
                Ok(id) => shared.await_answer(id).await,
                Err(error) => {
                    Outcome::refused(StatusCode::BAD_RESOURCE_UNAVAILABLE, format!("the store cannot be written: {error}"))
                }
            };
            shared.requests.answer(request, outcome);
        });
    }

    async fn await_answer(&self, id: u64) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            match self.store.answer(id).await {
                Ok(Some(answer)) => return read_outcome(&answer),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "failed to look for an answer"),
            }
        }
        let words = "the active instance has not answered yet: it is done as soon as one does";
        Outcome::refused(StatusCode::BAD_TIMEOUT, words)
    }
}

fn read_outcome(answer: &str) -> Outcome {
    serde_json::from_str(answer).unwrap_or_else(|error| {
        let words = format!("the active instance is of another version, its answer cannot be read: {error}");
        Outcome::refused(StatusCode::BAD_INTERNAL_ERROR, words)
    })
}
