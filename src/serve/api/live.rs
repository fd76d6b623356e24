//! The API's own copies of alarms and messages, and what is told of their changes to event streams.
//!
//! Lists and streams are served from here, so that ten thousand alarms or two hundred clients cost the engine's task nothing but
//! reading out what changed ([`Gateway::changes`]). Every change becomes one event in a ring with a bound; a stream is a place in
//! that ring, so that a slow client costs nothing and one that falls out of it is told to begin anew. Deliberately absent: what a
//! stream looks like on the wire and who may have one (`stream`).

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{figures, problem::Problem};
use crate::{
    engine::{
        plan::Plan,
        view::{AlarmView, OutboxView},
    },
    serve::Gateway,
};

/// Events that are kept for streams that are behind or come back.
const MAX_EVENTS: usize = 4096;
/// The same in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A stream takes no further event once what it took is longer, in bytes: what waits in the sockets of many slow clients is this,
/// and one event, for each.
pub const MAX_PIECE: usize = 64 * 1024;
/// Alarms or messages of one event.
const PER_EVENT: usize = 200;
/// Changes are gathered for so long before they are told.
const GATHER: Duration = Duration::from_millis(100);
/// How often the program's own figures are looked at.
const FIGURES: Duration = Duration::from_millis(500);

/// What an event is about; a stream names those that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    Alarms,
    Messages,
    Sources,
    Counts,
    Overrides,
    /// Values of the stream's own tags: not in the ring.
    Tags,
    /// Everybody gets it.
    #[serde(skip)]
    Any,
}

impl Topic {
    /// Those that a stream may name.
    pub const NAMED: [Self; 6] = [Self::Alarms, Self::Messages, Self::Sources, Self::Counts, Self::Overrides, Self::Tags];
}

struct Event {
    topic: Topic,
    frame: Arc<str>,
}

/// The newest events. The number of the oldest is `next - events.len()`.
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    next: u64,
}

/// What a stream takes out of the ring.
pub struct Taken {
    /// Its frames, one after the other.
    pub text: String,
    /// Where it goes on.
    pub next: u64,
    /// Events were lost to it.
    pub behind: bool,
}

#[derive(Default)]
struct Copies {
    plan: Option<Arc<Plan>>,
    alarms: BTreeMap<Arc<str>, Arc<AlarmView>>,
    messages: BTreeMap<u64, Arc<OutboxView>>,
    sources: BTreeMap<String, Value>,
    counts: Value,
}

/// The copies and the ring; one for the whole API.
pub struct Live {
    gateway: Arc<dyn Gateway>,
    /// Held while it is brought up to date: whoever waits for it sees what was known when they asked.
    copies: Arc<tokio::sync::Mutex<Copies>>,
    ring: Mutex<Ring>,
    /// The number that the next event will have.
    newest: watch::Sender<u64>,
    streams: AtomicUsize,
    opened: Notify,
    /// Distinguishes this run's event ids from those before a restart.
    pub epoch: String,
}

impl Live {
    /// Follows `gateway` until `stop`; needs a tokio runtime.
    pub fn start(gateway: Arc<dyn Gateway>, stop: CancellationToken) -> Arc<Self> {
        let live = Arc::new(Self {
            gateway,
            copies: Arc::default(),
            ring: Mutex::new(Ring { events: VecDeque::new(), bytes: 0, next: 1 }),
            newest: watch::Sender::new(1),
            streams: AtomicUsize::new(0),
            opened: Notify::new(),
            epoch: format!("{:x}", crate::clock::now().ticks()),
        });
        let follower = Arc::clone(&live);
        tokio::spawn(async move { stop.run_until_cancelled_owned(follower.follow()).await });
        live
    }

    /// All alarms as they are now, by path.
    ///
    /// # Errors
    /// When nothing is known now: an empty list would say that all is well.
    pub async fn alarms(self: &Arc<Self>) -> Result<Vec<Arc<AlarmView>>, Problem> {
        Ok(self.known().await?.alarms.values().cloned().collect())
    }

    /// One alarm as it is now.
    ///
    /// # Errors
    /// As [`Live::alarms`].
    pub async fn alarm(self: &Arc<Self>, path: &str) -> Result<Option<Arc<AlarmView>>, Problem> {
        Ok(self.known().await?.alarms.get(path).cloned())
    }

    /// The outbox as it is now, oldest first.
    ///
    /// # Errors
    /// As [`Live::alarms`].
    pub async fn messages(self: &Arc<Self>) -> Result<Vec<Arc<OutboxView>>, Problem> {
        Ok(self.known().await?.messages.values().cloned().collect())
    }

    /// What is known now. In a task of its own: what the gateway tells is told once, so whoever asked may go away and it is kept all
    /// the same.
    async fn known(self: &Arc<Self>) -> Result<tokio::sync::OwnedMutexGuard<Copies>, Problem> {
        let live = Arc::clone(self);
        let known = tokio::spawn(async move {
            let mut copies = Arc::clone(&live.copies).lock_owned().await;
            live.refresh(&mut copies).await.then_some(copies)
        });
        known.await.ok().flatten().ok_or_else(Problem::nothing_known)
    }

    /// Opens a stream, while there are fewer than `most`: changes are told until the seat is dropped.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let entered = self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < most).then_some(open + 1));
        entered.ok()?;
        self.opened.notify_one();
        Some(Seat(Arc::clone(self)))
    }

    /// How many are open.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    /// Tells the number that the next event will have, whenever that changes.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The events from number `from` on about these topics, `most` at most and no more than a piece of text holds.
    pub fn take(&self, from: u64, topics: &[Topic], most: usize) -> Taken {
        let ring = self.ring();
        let oldest = ring.next - ring.events.len() as u64;
        if from < oldest || from > ring.next {
            return Taken { text: String::new(), next: ring.next, behind: true };
        }
        let mut taken = Taken { text: String::new(), next: from, behind: false };
        let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        for event in ring.events.iter().skip(skip).take(most) {
            if taken.text.len() > MAX_PIECE {
                break;
            }
            taken.next += 1;
            if event.topic == Topic::Any || topics.contains(&event.topic) {
                taken.text.push_str(&event.frame);
            }
        }
        taken
    }

    /// The id of event `number` as clients see it.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// The number of the event that a client names as its last one, if it is of this run.
    pub fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.epoch)?.strip_prefix('-')?.parse().ok()
    }

    async fn follow(&self) {
        let mut figures = tokio::time::Instant::now();
        loop {
            if self.streams.load(Ordering::Acquire) == 0 {
                self.opened.notified().await;
            }
            tokio::select! {
                () = self.gateway.changed() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep_until(figures) => {}
            }
            let mut copies = self.copies.lock().await;
            self.refresh(&mut copies).await;
            if figures <= tokio::time::Instant::now() {
                self.tell_figures(&mut copies);
                figures = tokio::time::Instant::now() + FIGURES;
            }
        }
    }

    /// Takes over what changed, and tells of it; false when that is not known.
    async fn refresh(&self, copies: &mut Copies) -> bool {
        let Some(changed) = self.gateway.changes().await else { return false };
        if changed.all {
            let plan = self.gateway.plan();
            let known = copies.plan.replace(Arc::clone(&plan));
            copies.alarms = changed.alarms.into_iter().map(|alarm| (Arc::clone(&alarm.path), Arc::new(alarm))).collect();
            copies.messages = changed.messages.into_iter().map(|message| (message.row, Arc::new(message))).collect();
            if let Some(known) = known {
                let reason = if Arc::ptr_eq(&known, &plan) { "behind" } else { "configuration" };
                self.tell(Topic::Any, "reload", &json!({ "reason": reason }));
            }
            return true;
        }
        let alarms: Vec<_> = changed.alarms.into_iter().map(Arc::new).collect();
        let messages: Vec<_> = changed.messages.into_iter().map(Arc::new).collect();
        self.tell_parts(Topic::Alarms, "alarms", "alarms", &alarms);
        self.tell_parts(Topic::Alarms, "alarms", "gone", &changed.gone_alarms);
        self.tell_parts(Topic::Messages, "messages", "messages", &messages);
        self.tell_parts(Topic::Messages, "messages", "gone", &changed.gone_messages);
        if changed.not_sent > 0 {
            self.tell(Topic::Messages, "messages", &json!({ "not_sent": changed.not_sent }));
        }
        if changed.overrides {
            self.tell(Topic::Overrides, "overrides", &json!({ "changed": true }));
        }
        for path in &changed.gone_alarms {
            copies.alarms.remove(path);
        }
        for row in &changed.gone_messages {
            copies.messages.remove(row);
        }
        copies.alarms.extend(alarms.into_iter().map(|alarm| (Arc::clone(&alarm.path), alarm)));
        copies.messages.extend(messages.into_iter().map(|message| (message.row, message)));
        true
    }

    /// Sources and counts, where they changed.
    fn tell_figures(&self, copies: &mut Copies) {
        let plan = self.gateway.plan();
        let table = self.gateway.table();
        let mut changed = Vec::new();
        for source in figures::source_views(&plan, table) {
            let value = serde_json::to_value(&source).unwrap_or_default();
            if copies.sources.get(source.name()) != Some(&value) {
                copies.sources.insert(source.name().to_owned(), value.clone());
                changed.push(value);
            }
        }
        copies.sources.retain(|name, _| plan.sources.iter().any(|source| *source.name == **name));
        self.tell_parts(Topic::Sources, "sources", "sources", &changed);
        let counts = serde_json::to_value(figures::counts_view(&plan, table)).unwrap_or_default();
        if counts != copies.counts {
            self.tell(Topic::Counts, "counts", &counts);
            copies.counts = counts;
        }
    }

    fn tell_parts<T: Serialize>(&self, topic: Topic, event: &str, field: &str, items: &[T]) {
        for part in items.chunks(PER_EVENT) {
            self.tell(topic, event, &BTreeMap::from([(field, part)]));
        }
    }

    fn tell(&self, topic: Topic, event: &str, data: &impl Serialize) {
        let mut ring = self.ring();
        let frame = frame(Some(&self.id(ring.next)), event, data);
        ring.bytes += frame.len();
        ring.events.push_back(Event { topic, frame: frame.into() });
        ring.next += 1;
        while ring.events.len() > MAX_EVENTS || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.events.pop_front() else { break };
            ring.bytes -= oldest.frame.len();
        }
        let next = ring.next;
        drop(ring);
        self.newest.send_replace(next);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open stream's place among the most that there may be.
pub struct Seat(Arc<Live>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One event on the wire (HTML standard, "Server-sent events"). JSON has no line breaks of its own.
pub fn frame(id: Option<&str>, event: &str, data: &impl Serialize) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    _ = id.map(|id| writeln!(text, "id: {id}"));
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    _ = write!(text, "event: {event}\ndata: {data}\n\n");
    text
}
