//! Keeps every source's session going: reconnecting with back-off, the quality of its tags, and its state under
//! `System/Gateway/Sources/`. Once for all drivers.

use std::{
    collections::HashMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    BoxFuture, clock,
    engine::{
        io::Input,
        plan::{OnCommLoss, Origin, Plan, SourceDef},
    },
    source::{Link, SessionEnd, Source, SourceRequest, SourceSink, SourceStats, SourceTag},
    tag::{Sample, StatusCode, TagId, Value},
};

const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// A session that held this long starts the back-off anew.
const HEALTHY: Duration = Duration::from_secs(30);
/// Requests to one device that may wait.
const MAX_REQUESTS: usize = 256;
/// How long a caller waits for a device, whatever its driver does.
const DEVICE_PATIENCE: Duration = Duration::from_secs(15);
/// How often a source's state tags are written and its quiet is noticed.
const WATCH: Duration = Duration::from_millis(500);
/// How long sessions may take to end when they shall.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// All sources that run.
#[derive(Default)]
pub(super) struct Sources {
    running: Mutex<HashMap<Arc<str>, Running>>,
    links: Mutex<HashMap<Arc<str>, mpsc::Sender<SourceRequest>>>,
}

struct Running {
    fingerprint: u64,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Sources {
    /// Starts and stops sessions so that they fit `plan`; those whose configuration is unchanged go on.
    pub(super) async fn apply(&self, shared: &Arc<Shared>, plan: &Plan) {
        let keep = |name: &Arc<str>, fingerprint: u64| {
            plan.sources.iter().any(|def| def.name == *name && def.fingerprint == fingerprint)
        };
        let gone: Vec<(Arc<str>, Running)> = {
            let mut running = lock(&self.running);
            let names: Vec<Arc<str>> = running
                .iter()
                .filter(|(name, running)| !keep(name, running.fingerprint))
                .map(|(name, _)| Arc::clone(name))
                .collect();
            names.into_iter().filter_map(|name| running.remove(&name).map(|gone| (name, gone))).collect()
        };
        for (name, gone) in gone {
            end(gone).await;
            shared.metrics.remove_source(&name);
        }
        for def in &plan.sources {
            if lock(&self.running).contains_key(&def.name) {
                continue;
            }
            let stop = CancellationToken::new();
            let task = tokio::spawn(supervise(Arc::clone(shared), Arc::clone(def), tags_of(plan, def), stop.clone()));
            lock(&self.running).insert(Arc::clone(&def.name), Running { fingerprint: def.fingerprint, stop, task });
        }
    }

    /// A source is connected.
    pub(super) fn is_connected(&self, source: &str) -> bool {
        lock(&self.links).contains_key(source)
    }

    /// Ends all sessions.
    pub(super) async fn stop(&self) {
        let all: Vec<Running> = lock(&self.running).drain().map(|(_, running)| running).collect();
        // At once: each may take its time, and together they must not take longer.
        let ends: tokio::task::JoinSet<()> = all.into_iter().map(end).collect();
        ends.join_all().await;
    }

    /// Sends a request to a device and waits for its answer.
    async fn request<T>(&self, source: &str, make: impl FnOnce(oneshot::Sender<T>) -> SourceRequest) -> Result<T, StatusCode> {
        let link = lock(&self.links).get(source).cloned().ok_or(StatusCode::BAD_NO_COMMUNICATION)?;
        let (reply, answer) = oneshot::channel();
        link.try_send(make(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StatusCode::BAD_TOO_MANY_OPERATIONS,
            mpsc::error::TrySendError::Closed(_) => StatusCode::BAD_NO_COMMUNICATION,
        })?;
        match tokio::time::timeout(DEVICE_PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            // The session ended with the request under way: nobody knows what the device did.
            Ok(Err(_)) => Err(StatusCode::BAD_COMMUNICATION_ERROR),
            Err(_) => Err(StatusCode::BAD_TIMEOUT),
        }
    }

    /// Writes to a device.
    pub(super) async fn write(&self, source: &str, tag: TagId, value: Value) -> StatusCode {
        self.request(source, |reply| SourceRequest::Write { tag, value, reply }).await.unwrap_or_else(|status| status)
    }

    /// Reads from a device, now.
    pub(super) async fn read(&self, source: &str, tag: TagId) -> Result<Value, StatusCode> {
        self.request(source, |reply| SourceRequest::Read { tag, reply }).await?
    }
}

fn tags_of(plan: &Plan, source: &SourceDef) -> Arc<[SourceTag]> {
    let tags = plan.tags.iter().filter_map(|def| match &def.origin {
        Origin::Source { source: name, address } if *name == source.name => Some(SourceTag::new(def, Arc::clone(address))),
        _ => None,
    });
    tags.collect()
}

async fn end(running: Running) {
    running.stop.cancel();
    let abort = running.task.abort_handle();
    if tokio::time::timeout(STOP_PATIENCE, running.task).await.is_err() {
        abort.abort();
    }
}

/// What a session reports, for as long as it lasts.
struct Sink {
    shared: Arc<Shared>,
    connected: AtomicBool,
    /// Milliseconds since the session began at which the device last answered.
    alive: AtomicU64,
    began: Instant,
    requests: Mutex<Option<mpsc::Sender<SourceRequest>>>,
}

impl SourceSink for Sink {
    fn connected(&self, source: &str) {
        self.alive(source);
        let source: Arc<str> = source.into();
        if !self.connected.swap(true, Ordering::AcqRel) {
            if let Some(requests) = lock(&self.requests).take() {
                lock(&self.shared.sources.links).insert(Arc::clone(&source), requests);
            }
            tracing::info!(%source, "connected");
            self.shared.inbox.input(Input::SourceUp { source });
        }
    }

    fn samples(&self, source: &str, samples: Vec<Sample>) {
        self.alive(source);
        self.shared.take_samples(samples);
    }

    fn alive(&self, _: &str) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive.store(since, Ordering::Release);
    }
}

impl Sink {
    fn quiet_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.alive.load(Ordering::Acquire)))
    }
}

/// One source from now until `stop`: session after session.
async fn supervise(shared: Arc<Shared>, def: Arc<SourceDef>, tags: Arc<[SourceTag]>, stop: CancellationToken) {
    let mut source = shared.driver(&def);
    let stats = Arc::new(SourceStats::default());
    let mut state = State {
        def: Arc::clone(&def),
        tags: Arc::clone(&tags),
        stats: Arc::clone(&stats),
        reconnects: 0,
        reads: (0, Instant::now()),
    };
    let mut back_off = FIRST_BACK_OFF;
    let mut down = false;
    shared.metrics.set_source(&def.name, false);
    state.publish(&shared, false, "");
    while !stop.is_cancelled() {
        let began = Instant::now();
        let reason = session(&shared, &mut source, &mut state, &stop).await;
        lock(&shared.sources.links).remove(&def.name);
        shared.metrics.set_source(&def.name, false);
        let Some(reason) = reason else { break };
        if began.elapsed() > HEALTHY {
            (back_off, down) = (FIRST_BACK_OFF, false);
        }
        if !down {
            tracing::warn!(source = %def.name, %reason, "lost");
        }
        down = true;
        // The loss first: what the tags become then is no quality of the device's own.
        shared.inbox.input(Input::SourceDown { source: Arc::clone(&def.name), error: reason.clone() });
        shared.take_samples(lost(&shared, &tags));
        state.publish(&shared, false, &reason);
        let wait = back_off + back_off.mul_f64(Shared::chance() * 0.5);
        back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => break,
        }
        state.reconnects += 1;
    }
    state.publish(&shared, false, "stopped");
}

/// A session that panics is lost like any other; the daemon and the other sources go on.
async fn guarded(mut session: BoxFuture<'_, SessionEnd>) -> SessionEnd {
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| session.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(SessionEnd::Lost("the driver broke; its log line says where".to_owned())))
    })
    .await
}

/// One session; `None` when it was asked to stop, else why it ended.
async fn session(
    shared: &Arc<Shared>,
    source: &mut Box<dyn Source>,
    state: &mut State,
    stop: &CancellationToken,
) -> Option<String> {
    let (sender, requests) = mpsc::channel(MAX_REQUESTS);
    let sink = Arc::new(Sink {
        shared: Arc::clone(shared),
        connected: AtomicBool::new(false),
        alive: AtomicU64::new(0),
        began: Instant::now(),
        requests: Mutex::new(Some(sender)),
    });
    let mut link = Link {
        name: Arc::clone(&state.def.name),
        tags: Arc::clone(&state.tags),
        requests,
        stop: stop.child_token(),
        stats: Arc::clone(&state.stats),
        sink: Arc::clone(&sink) as Arc<dyn SourceSink>,
    };
    let lease = &shared.pair.lease;
    let mut running = Box::pin(lease.guard(guarded(source.session(&mut link))));
    let mut watch = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            end = &mut running => return match end {
                // Another instance speaks to the device now.
                None => None,
                Some(SessionEnd::Stopped) if stop.is_cancelled() => None,
                Some(SessionEnd::Stopped) => Some("the session ended".to_owned()),
                Some(SessionEnd::Lost(reason)) => Some(reason),
            },
            _ = watch.tick() => {
                let connected = sink.connected.load(Ordering::Acquire);
                shared.metrics.set_source(&state.def.name, connected);
                state.publish(shared, connected, if connected { "" } else { "connecting" });
                state.watch_quiet(shared, &sink);
            }
        }
    }
}

struct State {
    def: Arc<SourceDef>,
    tags: Arc<[SourceTag]>,
    stats: Arc<SourceStats>,
    reconnects: i32,
    reads: (u64, Instant),
}

impl State {
    fn publish(&mut self, shared: &Shared, connected: bool, error: &str) {
        let nodes = self.def.nodes;
        let good = self.tags.iter().filter(|tag| shared.table.read(tag.id).status.is_good()).count();
        let reads = self.stats.reads.load(Ordering::Relaxed);
        let (before, since) = self.reads;
        let seconds = since.elapsed().as_secs_f64();
        let write_errors = self.stats.write_errors.load(Ordering::Relaxed);
        let mut values = vec![
            (nodes.connected, Value::Boolean(connected)),
            (nodes.reconnects, Value::Int32(self.reconnects)),
            (nodes.good_tags, Value::Int32(count(good as u64))),
            (nodes.bad_tags, Value::Int32(count((self.tags.len() - good) as u64))),
            (nodes.write_errors, Value::Int32(count(write_errors))),
        ];
        if connected || !error.is_empty() {
            values.push((nodes.last_error, Value::string(error)));
        }
        if seconds >= 1.0 {
            #[allow(clippy::cast_precision_loss)]
            values.push((nodes.reads_per_second, Value::Double(((reads - before) as f64 / seconds * 10.0).round() / 10.0)));
            self.reads = (reads, Instant::now());
        }
        shared.publish_own(values);
    }

    /// A source that is connected but quiet: tags that ask for it are marked, once (SPEC 4).
    fn watch_quiet(&self, shared: &Shared, sink: &Sink) {
        if !sink.connected.load(Ordering::Acquire) {
            return;
        }
        let quiet = sink.quiet_for();
        let now = clock::now();
        let stale = self.tags.iter().filter(|tag| tag.stale_after.is_some_and(|after| quiet >= after));
        let samples: Vec<Sample> = stale
            .filter_map(|tag| {
                let reading = shared.table.read(tag.id);
                (reading.status.is_usable() && !reading.value.is_null()).then_some(Sample {
                    tag: tag.id,
                    value: reading.value,
                    status: StatusCode::UNCERTAIN_LAST_USABLE_VALUE,
                    source_time: now,
                })
            })
            .collect();
        if !samples.is_empty() {
            tracing::warn!(source = %self.def.name, ?quiet, tags = samples.len(), "quiet");
            shared.take_samples(samples);
        }
    }
}

/// What the tags of a lost source become; one that was never read stays as it is.
fn lost(shared: &Shared, tags: &[SourceTag]) -> Vec<Sample> {
    let now = clock::now();
    let sample = |tag: &SourceTag| {
        let reading = shared.table.read(tag.id);
        if reading.status == StatusCode::BAD_WAITING_FOR_INITIAL_DATA || is_lost(reading.status) {
            return None;
        }
        let hold = tag.on_comm_loss == OnCommLoss::Hold && !reading.value.is_null();
        Some(Sample {
            tag: tag.id,
            value: if hold { reading.value } else { Value::Null },
            status: if hold {
                StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE
            } else {
                StatusCode::BAD_NO_COMMUNICATION
            },
            source_time: now,
        })
    };
    tags.iter().filter_map(sample).collect()
}

fn is_lost(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE | StatusCode::BAD_NO_COMMUNICATION)
}

fn count(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Writes values of the program's own tags.
    pub(super) fn publish_own(&self, values: Vec<(TagId, Value)>) {
        let now = clock::now();
        let changed = values.into_iter().filter(|(tag, value)| {
            let reading = self.table.read(*tag);
            reading.version == 0 || reading.value != *value
        });
        let samples: Vec<Sample> =
            changed.map(|(tag, value)| Sample { tag, value, status: StatusCode::GOOD, source_time: now }).collect();
        self.table.write(&samples);
    }

    /// Samples of a source or of a memory tag: into the table, and on to the engine where something depends on them.
    pub(super) fn take_samples(&self, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let changed = self.table.write(&samples);
        self.metrics.changes.inc_by(changed as u64);
        let watched = self.watched.load();
        let mut samples = samples;
        samples.retain(|sample| watched.contains(&sample.tag));
        self.inbox.samples(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_driver_is_a_lost_session() {
        let broken = guarded(Box::pin(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }));
        assert!(matches!(broken.await, SessionEnd::Lost(reason) if reason.contains("broke")));
        assert_eq!(guarded(Box::pin(async { SessionEnd::Stopped })).await, SessionEnd::Stopped);
    }
}
