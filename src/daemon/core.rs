//! The engine's task: takes what has arrived, steps the engine, commits the records of all those steps at once, and carries out
//! their effects. The one place where "record, then act" is enforced.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    inbox::{Message, Query, Taken},
    trace,
};
use crate::{
    clock,
    engine::{
        Engine,
        io::{Effect, Effects, Input, Outcome, RequestId},
        record::Record,
    },
    lease::{Fate, fate},
};

/// Records that wait in memory while the store cannot be written (SPEC 12). What the state is now is kept beyond it.
const MAX_BUFFERED: usize = 100_000;
/// How often a store that failed is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep of the loop: a clock that is set is noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// A clock this far ahead of ours was set, not drifted.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Requests whose answer somebody waits for.
#[derive(Default)]
pub(super) struct Requests {
    next: AtomicU64,
    waiting: std::sync::Mutex<HashMap<RequestId, oneshot::Sender<Outcome>>>,
}

impl Requests {
    /// A new request and its answer to come.
    pub(super) fn open(&self) -> (RequestId, oneshot::Receiver<Outcome>) {
        let id = self.number();
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, sender);
        (id, receiver)
    }

    /// A number for a request that is answered otherwise.
    pub(super) fn number(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Nobody is going to answer: whoever waits is told so.
    pub(super) fn forget(&self) {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    pub(super) fn answer(&self, id: RequestId, outcome: Outcome) {
        let waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
        if let Some(waiting) = waiting {
            // Whoever asked may have gone.
            _ = waiting.send(outcome);
        }
    }
}

/// Engine time: the system's clock at the start plus what has passed since, so that a clock that is set back delays nothing. A
/// clock that is set forward is followed.
pub(super) struct EngineClock {
    start: crate::tag::Timestamp,
    since: Instant,
}

impl EngineClock {
    pub(super) fn new() -> Self {
        Self { start: clock::now(), since: Instant::now() }
    }

    pub(super) fn now(&mut self) -> crate::tag::Timestamp {
        let steady = self.start + self.since.elapsed();
        let system = clock::now();
        if system.since(steady) > CLOCK_STEP {
            *self = Self { start: system, since: Instant::now() };
            return system;
        }
        steady
    }
}

/// The engine's task and what it keeps.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Engine,
    pub(super) clock: EngineClock,
    /// Effects of the start, to be carried out first.
    pub(super) pending: Effects,
    buffered: Vec<Record>,
    /// What waits for the store to be written again.
    held: Effects,
    failed_since: Option<Instant>,
    /// Requests of what other instances handed in, by what they wait for in the store.
    handed: HashMap<RequestId, u64>,
}

/// One who waits for a commit.
type Waiting = oneshot::Sender<Result<(), ()>>;

impl Core {
    pub(super) fn new(shared: Arc<Shared>, engine: Engine, clock: EngineClock, pending: Effects) -> Self {
        Self {
            shared,
            engine,
            clock,
            pending,
            buffered: Vec::new(),
            held: Vec::new(),
            failed_since: None,
            handed: HashMap::new(),
        }
    }

    /// Runs until `stop`; then what has arrived is handled and committed, and nothing more is sent.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let first = std::mem::take(&mut self.pending);
        self.commit_and_act(first, Vec::new(), Vec::new(), None).await;
        loop {
            let sleep = self.sleep();
            tokio::select! {
                () = self.shared.inbox.arrived() => {}
                () = tokio::time::sleep(sleep) => {}
                () = stop.cancelled() => break,
            }
            let taken = self.shared.inbox.take();
            self.step(taken).await;
        }
        let taken = self.shared.inbox.take();
        self.shared.stopping.store(true, Ordering::Release);
        self.step(taken).await;
    }

    fn sleep(&mut self) -> Duration {
        let now = self.clock.now();
        let due = self.engine.next_deadline().map_or(LONGEST_SLEEP, |due| due.since(now));
        let retry = self.failed_since.map_or(LONGEST_SLEEP, |_| STORE_RETRY);
        due.min(retry).min(LONGEST_SLEEP)
    }

    async fn step(&mut self, taken: Taken) {
        let mut effects = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut queries = Vec::new();
        let mut records = Vec::new();
        let mut oldest_sample = None;
        if taken.overflowed {
            let samples = self.shared.present_values(self.shared.watched.load().iter().copied());
            self.handle(Input::Samples(samples), &mut effects);
        }
        for message in taken.messages {
            match message {
                Message::Input(input, arrived) => {
                    if matches!(input, Input::Samples(_)) {
                        oldest_sample.get_or_insert(arrived);
                    }
                    let everything = matches!(input, Input::Plan(_));
                    self.handle(input, &mut effects);
                    if everything {
                        self.shared.changes.note_all();
                    }
                }
                Message::Durable(input, waits) => {
                    self.handle(input, &mut effects);
                    waiting.push(waits);
                }
                Message::Query(query) => queries.push(query),
                Message::Handed(id, handed) => {
                    effects.push(Effect::Record(Record::HandedIn { id }));
                    let request = self.shared.requests.number();
                    match handed.into_input(request) {
                        Ok(input) => {
                            self.handed.insert(request, id);
                            self.handle(input, &mut effects);
                        }
                        Err(entries) => effects.extend(entries.into_iter().map(|entry| Effect::Record(Record::Audit(entry)))),
                    }
                }
                Message::Records(own, waits) => {
                    records.extend(own);
                    waiting.push(waits);
                }
            }
        }
        self.handle(Input::Tick, &mut effects);
        effects.extend(records.into_iter().map(Effect::Record));
        self.commit_and_act(effects, waiting, queries, oldest_sample).await;
    }

    fn handle(&mut self, input: Input, effects: &mut Effects) {
        trace::input(&self.engine, &input);
        let now = self.clock.now();
        let began = Instant::now();
        self.engine.handle(now, input, effects);
        self.shared.metrics.engine_step.observe(began.elapsed().as_secs_f64());
    }

    async fn commit_and_act(
        &mut self,
        effects: Effects,
        waiting: Vec<Waiting>,
        queries: Vec<Query>,
        oldest_sample: Option<Instant>,
    ) {
        let effects = effects.into_iter().map(|effect| self.answer_elsewhere(effect));
        let (records, effects): (Vec<_>, Vec<_>) = effects.partition(|effect| matches!(effect, Effect::Record(_)));
        let records = records.into_iter().filter_map(|effect| match effect {
            Effect::Record(record) => Some(record),
            _ => None,
        });
        if self.failed_since.is_some_and(|since| since.elapsed() >= STORE_RETRY) {
            let lost = shed(&mut self.buffered, MAX_BUFFERED);
            if lost > 0 {
                tracing::error!(lost, "records are lost: the store has been out of order for too long");
            }
        }
        let old = self.buffered.len();
        self.buffered.extend(records.inspect(|record| self.shared.changes.note(record)));
        let raised = self.buffered.iter().any(|record| matches!(record, Record::Journal(_)));
        let committed = self.commit().await;
        let durable = committed.is_some();
        if let (Some(arrived), true, true) = (oldest_sample, raised, durable) {
            self.shared.metrics.flank_to_commit.observe(arrived.elapsed().as_secs_f64());
        }
        self.shared.changes.tell();
        for waits in waiting {
            // Whoever waited may have gone.
            _ = waits.send(if durable { Ok(()) } else { Err(()) });
        }
        if !durable && self.shared.pair.alone() {
            // What waited because another instance might act: none does.
            let held = std::mem::take(&mut self.held);
            self.act(held, false, None);
        }
        self.act(effects, durable, oldest_sample);
        // What may never have happened is not shown.
        if durable || self.shared.pair.alone() {
            for query in queries {
                query(&self.engine);
            }
        }
        // Last: nobody waits for the log. What could not be committed is told too, once.
        let new = committed.as_ref().unwrap_or(&self.buffered).get(old..).unwrap_or_default();
        trace::records(&self.engine, new, oldest_sample);
        self.shared.metrics.store_waiting.set(i64::try_from(self.buffered.len()).unwrap_or(i64::MAX));
    }

    /// An answer that another instance waits for goes through the store.
    fn answer_elsewhere(&mut self, effect: Effect) -> Effect {
        match &effect {
            Effect::Answer { request, outcome } => match self.handed.remove(request) {
                Some(id) => {
                    let answer = serde_json::to_string(outcome).expect("an outcome is plain data");
                    Effect::Record(Record::Answered { id, answer })
                }
                None => effect,
            },
            _ => effect,
        }
    }

    /// Commits what is buffered and gives it, or `None`. A failure is told to the engine, whose records of it join the buffer.
    async fn commit(&mut self) -> Option<Vec<Record>> {
        if self.failed_since.is_some_and(|since| since.elapsed() < STORE_RETRY) {
            return None;
        }
        if self.buffered.is_empty() && self.failed_since.is_none() {
            return Some(Vec::new());
        }
        let began = Instant::now();
        let result = self.shared.store.commit(&self.buffered).await;
        self.shared.metrics.count_commit(self.buffered.len(), began.elapsed(), result.is_ok());
        let was_failed = self.failed_since.is_some();
        match result {
            Ok(()) => {
                let committed = std::mem::take(&mut self.buffered);
                self.failed_since = None;
                if was_failed {
                    tracing::info!("the store can be written again");
                    self.shared.inbox.input(Input::Store { failed: false });
                    let held = std::mem::take(&mut self.held);
                    self.act(held, true, None);
                }
                Some(committed)
            }
            Err(error) if error.fenced => {
                tracing::warn!("another instance has become active: nothing more is done here");
                self.shared.pair.lease.end();
                self.buffered.clear();
                self.held.clear();
                None
            }
            Err(error) => {
                self.failed_since = Some(Instant::now());
                if !was_failed {
                    tracing::error!(%error, "failed to write the store; records wait in memory");
                    self.shared.inbox.input(Input::Store { failed: true });
                }
                None
            }
        }
    }

    fn act(&mut self, effects: Effects, durable: bool, oldest_sample: Option<Instant>) {
        let mut published = Vec::new();
        let (held, alone) = (self.shared.pair.lease.held(), self.shared.pair.alone());
        for effect in effects {
            match fate(&effect, durable, held, alone) {
                Fate::Act => {}
                Fate::Hold => {
                    self.held.push(effect);
                    continue;
                }
                // Whoever waits for an answer is told when this ends.
                Fate::Drop => continue,
            }
            trace::effect(&self.engine, &effect);
            match effect {
                Effect::Record(_) => {}
                Effect::Script { run, script, alarm, timeout } => self.shared.run_script(run, script, alarm, timeout),
                Effect::Publish(sample) => published.push(sample),
                Effect::Condition(condition) => self.shared.conditions.tell(condition),
                Effect::Answer { request, outcome } => self.shared.requests.answer(request, outcome),
                Effect::Send(message) => {
                    let events = self.engine.events_of(message.row);
                    self.shared.send(message, events, oldest_sample);
                }
                Effect::EndCall { twilio, sid, last_words } => self.shared.end_call(twilio, sid, last_words),
                Effect::Lookup(lookup) => self.shared.look_up(lookup),
                Effect::Read { row, tag } => self.shared.read_for(row, tag),
                Effect::Write { row, writes, read_back } => self.shared.write_for(row, writes, read_back),
            }
        }
        if !published.is_empty() {
            self.shared.table.write(&published);
        }
    }
}

/// Keeps records that wait within `bound`, and gives how many are lost. States that a later record replaces go first, and nothing is
/// lost with them; then the oldest of the audit log; then the oldest of journal and ledger. The last record of each state stays: it is
/// no more than the engine has in memory, and without it a restart would raise and tell again what people have long acknowledged.
fn shed(records: &mut Vec<Record>, bound: usize) -> usize {
    if records.len() <= bound {
        return 0;
    }
    let mut seen = HashSet::new();
    let newest_first = records.iter().rev();
    let mut last: Vec<bool> = newest_first
        .map(|record| match record {
            Record::State { kind, key, .. } => seen.insert((*kind, key.as_str())),
            _ => true,
        })
        .collect();
    records.retain(|_| last.pop().unwrap_or(true));
    let kept = records.len();
    let audit: fn(&Record) -> bool = |record| matches!(record, Record::Audit(_));
    let logs: fn(&Record) -> bool = |record| matches!(record, Record::Audit(_) | Record::Journal(_) | Record::Ledger(_));
    for goes in [audit, logs] {
        let mut too_many = records.len().saturating_sub(bound);
        records.retain(|record| {
            let keep = too_many == 0 || !goes(record);
            too_many -= usize::from(!keep);
            keep
        });
    }
    kept - records.len()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        engine::{
            io::Via,
            plan::Channel,
            record::{AuditEntry, AuditKind, Direction, LedgerEntry, StateKind, Stored},
        },
        tag::Timestamp,
    };

    fn state(key: &str, value: u32) -> Record {
        Record::State { kind: StateKind::Alarm, key: key.to_owned(), value: Some(Stored::of(&value)) }
    }

    fn audit(number: u32) -> Record {
        Record::Audit(AuditEntry {
            time: Timestamp::from_ticks(0),
            kind: AuditKind::Write,
            user: String::new(),
            via: Via::System,
            subject: number.to_string(),
            text: String::new(),
            result: String::new(),
            events: vec![Uuid::nil()],
            sid: None,
        })
    }

    fn sent(number: u32) -> Record {
        Record::Ledger(LedgerEntry {
            time: Timestamp::from_ticks(0),
            sid: format!("SM{number}"),
            direction: Direction::Sent,
            channel: Channel::Sms,
            user: None,
            number: String::new(),
            segments: 1,
            minutes: 0,
            row: None,
        })
    }

    #[test]
    fn what_waits_too_long_is_lost_last_of_all_what_is_so_now() {
        let all = vec![state("a", 1), sent(1), audit(1), state("b", 1), audit(2), state("a", 2), sent(2)];
        let bounded = |bound: usize| {
            let mut records = all.clone();
            let lost = shed(&mut records, bound);
            (records, lost)
        };
        let (a, b) = (state("a", 2), state("b", 1));
        assert_eq!(bounded(7), (all.clone(), 0));
        assert_eq!(bounded(6), (vec![sent(1), audit(1), b.clone(), audit(2), a.clone(), sent(2)], 0), "replaced");
        assert_eq!(bounded(5), (vec![sent(1), b.clone(), audit(2), a.clone(), sent(2)], 1), "the oldest of the audit log");
        assert_eq!(bounded(3), (vec![b.clone(), a.clone(), sent(2)], 3));
        assert_eq!(bounded(1), (vec![b, a], 4), "states stay");
    }
}
