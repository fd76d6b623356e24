//! Keeps the past of tags with `history = true`: taps the tag table, thins by the tags' own deadbands, writes behind in batches.
//!
//! Nobody waits for it. When the store is slow or cannot be written, values wait in a bounded queue; the oldest go, counted and told.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    clock,
    engine::plan::{Plan, Retention},
    tag::{Moment, Past, PastValue, Reading, StatusCode, TagId, Tap, Timestamp, Value},
};

/// Values that the tap holds between two looks, and values that wait for the store.
const ROOM: usize = 100_000;
/// How often the tap is emptied; a value's time of receipt is so exact.
const LOOK: Duration = Duration::from_millis(100);
/// How often what waits is written.
const WRITE: Duration = Duration::from_secs(1);
/// Values to a transaction: the engine's commits wait for no more than one.
const BATCH: usize = 1_000;
/// How often the past is cut.
const CUT: Duration = Duration::from_secs(60);
/// How often loss is told in the log.
const TELL_LOSS: Duration = Duration::from_secs(60);
/// Of the time that the past covers, the part that goes at once when there are too many values.
const SLICE: i64 = 32;

/// The past of tags in the making.
#[derive(Default)]
pub(super) struct History(Mutex<State>);

#[derive(Default)]
struct State {
    tap: Option<Arc<Tap>>,
    tags: HashMap<TagId, Recorded>,
    waiting: VecDeque<(Arc<str>, PastValue)>,
    /// The last time of receipt that was given.
    last: Timestamp,
    lost: u64,
    told_loss: Option<Instant>,
}

struct Recorded {
    path: Arc<str>,
    deadband: f64,
    last: Option<(Value, StatusCode)>,
}

impl State {
    /// Follows the configuration.
    fn apply(&mut self, shared: &Shared, plan: &Plan) {
        self.look(shared);
        let wanted = || plan.tags.iter().filter(|def| def.history);
        let mut known = std::mem::take(&mut self.tags);
        self.tap = wanted().next().is_some().then(|| shared.table.tap(wanted().map(|def| def.id), ROOM));
        for def in wanted() {
            let last = known.remove(&def.id).and_then(|tag| tag.last);
            let is_new = last.is_none();
            let recorded = Recorded { path: (&*def.path).into(), deadband: def.deadband.unwrap_or(0.0), last };
            self.tags.insert(def.id, recorded);
            if is_new && shared.table.version(def.id) > 0 {
                self.take(def.id, shared.table.read(def.id));
            }
        }
    }

    /// Takes what the tap has.
    fn look(&mut self, shared: &Shared) {
        let Some(drained) = self.tap.as_ref().filter(|tap| tap.has_values()).map(|tap| tap.drain()) else { return };
        self.lost += drained.lost;
        for (tag, reading) in drained.values {
            self.take(tag, reading);
        }
        let over = self.waiting.len().saturating_sub(ROOM);
        self.waiting.drain(..over);
        self.lost += over as u64;
        if self.lost > 0 && self.told_loss.is_none_or(|told| told.elapsed() >= TELL_LOSS) {
            tracing::warn!(values = self.lost, "the store is too slow for the history: the oldest values that waited are lost");
            shared.metrics.history_lost.inc_by(self.lost);
            (self.lost, self.told_loss) = (0, Some(Instant::now()));
        }
    }

    fn take(&mut self, tag: TagId, reading: Reading) {
        let Some(recorded) = self.tags.get_mut(&tag) else { return };
        let is_news = recorded
            .last
            .as_ref()
            .is_none_or(|(value, status)| *status != reading.status || value.moved(&reading.value, recorded.deadband));
        if !is_news {
            return;
        }
        recorded.last = Some((reading.value.clone(), reading.status));
        // Each value has a time of receipt of its own, whatever the clock's grain.
        let received = clock::now().max(Timestamp::from_ticks(self.last.ticks() + 1));
        self.last = received;
        let time = if reading.source_time.is_null() { received } else { reading.source_time };
        let value = PastValue { at: Moment { time, received }, value: reading.value, status: reading.status };
        self.waiting.push_back((Arc::clone(&recorded.path), value));
    }
}

impl History {
    /// Follows the configuration.
    pub(super) async fn apply(&self, shared: &Shared, plan: &Plan) {
        self.0.lock().await.apply(shared, plan);
    }

    /// Writes all that there is.
    async fn write(&self, shared: &Shared) {
        let mut state: MutexGuard<'_, State> = self.0.lock().await;
        state.look(shared);
        if !shared.pair.lease.held() {
            // The past of the plant is the active instance's; this one has no values.
            state.waiting.clear();
            return;
        }
        while !state.waiting.is_empty() {
            let count = state.waiting.len().min(BATCH);
            let batch: Vec<_> = state.waiting.iter().take(count).cloned().collect();
            if let Err(error) = shared.store.keep_history(&batch).await {
                // They wait on; the alarm that the store failed comes from the engine's own commits.
                tracing::debug!(%error, "failed to write the history");
                return;
            }
            shared.metrics.history_values.inc_by(count as u64);
            state.waiting.drain(..count);
        }
    }

    /// A stretch of the past, up to now.
    pub(super) async fn read(&self, shared: &Shared, past: &Past) -> Result<Vec<PastValue>, StatusCode> {
        self.write(shared).await;
        shared.store.history(past).await.map_err(|error| {
            tracing::warn!(%error, "failed to read the history");
            StatusCode::BAD_RESOURCE_UNAVAILABLE
        })
    }
}

/// Records until `stop`, and writes what there is then.
pub(super) async fn record(shared: Arc<Shared>, stop: CancellationToken) {
    let mut plans = shared.plan_changes.subscribe();
    let [mut look, mut write, mut cut] = [LOOK, WRITE, CUT].map(|period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = plans.changed() => {
                if changed.is_err() {
                    break;
                }
                let plan = Arc::clone(&plans.borrow_and_update());
                shared.history.apply(&shared, &plan).await;
            }
            _ = look.tick() => shared.history.0.lock().await.look(&shared),
            _ = write.tick() => shared.history.write(&shared).await,
            _ = cut.tick() => {
                if !shared.pair.lease.held() {
                    continue;
                }
                let retention = shared.plan.load().retention;
                if let Err(error) = keep_within(&shared, retention).await {
                    tracing::warn!(%error, "failed to cut the history");
                }
            }
        }
    }
    shared.history.write(&shared).await;
}

/// Forgets what is too old, and the oldest of what is too much.
async fn keep_within(shared: &Shared, retention: Retention) -> Result<(), crate::store::StoreError> {
    let now = clock::now();
    let keep = i64::try_from(retention.history.as_nanos() / 100).unwrap_or(i64::MAX);
    shared.store.cut_history(Timestamp::from_ticks(now.ticks().saturating_sub(keep))).await?;
    loop {
        let extent = shared.store.history_extent().await?;
        let Some(oldest) = extent.oldest.filter(|_| extent.values > retention.history_values) else { return Ok(()) };
        let step = now.ticks().saturating_sub(oldest.ticks()).max(0) / SLICE + 1;
        let gone = shared.store.cut_history(Timestamp::from_ticks(oldest.ticks().saturating_add(step))).await?;
        tracing::info!(values = gone, "the history has more values than [retention] history_values: the oldest are gone");
        if gone == 0 {
            return Ok(());
        }
    }
}
