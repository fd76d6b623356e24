//! The core: decides, and touches nothing. Every input comes with its time, every effect leaves as a value.
//!
//! [`Engine`] owns all alarm and notification state; it changes in [`Engine::handle`] only. What must survive a restart leaves
//! as records, at the end of each step, for exactly what the step has changed; [`Engine::restore`] reads the same back.

pub mod alarm;
pub mod answer;
mod call;
pub mod condition;
mod counters;
pub mod detect;
pub(crate) mod drill;
pub mod events;
pub mod gsm;
mod inbound;
pub mod io;
pub mod length;
mod outbox;
mod overrides;
pub mod people;
mod pipeline;
pub mod plan;
mod publish;
pub mod random;
mod reach;
pub mod record;
pub mod reply;
mod state;
pub mod template;
mod throttle;
mod timers;
mod values;
pub mod view;
mod wording;
mod writeback;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use self::{
    alarm::{AckRefused, AckScope, Alarm, Change, ShelveRefused},
    call::Session,
    condition::Condition,
    counters::Counters,
    detect::Detector,
    drill::{DRILL, Drills},
    inbound::ContactState,
    io::{Actor, Command, Effect, Effects, Input, OutboxId, Outcome, RequestId, Via},
    outbox::Outbox,
    people::Rota,
    pipeline::Run,
    plan::{Channel, Cover, Plan, Role},
    publish::Shown,
    random::Random,
    reach::DaySegments,
    record::{AuditEntry, AuditKind, JournalEntry, JournalKind, NotSent, Record, SILENCED},
    throttle::{Batch, BatchKey, Budgets, Floods, Pace, ThrottleRow},
    timers::Timers,
    values::{Index, SourceState, Values},
    view::{AlarmView, OutboxView},
};
pub use self::{call::speech, counters::COLUMNS};
use crate::tag::{Sample, StatusCode, Timestamp};

/// Owner of all alarm and notification state.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    index: Index,
    /// Time of the present step.
    now: Timestamp,
    random: Random,
    values: Values,
    sources: BTreeMap<Arc<str>, SourceState>,
    /// Beside `plan.alarms`.
    alarms: Vec<Slot>,
    runs: BTreeMap<Arc<str>, Run>,
    /// Scripts that were started; their results do not outlive the program.
    script_runs: u64,
    outbox: Outbox,
    write_backs: BTreeMap<Arc<str>, Vec<OutboxId>>,
    /// Write-backs that have not ended, by the path of their tag.
    write_targets: HashMap<String, BTreeSet<OutboxId>>,
    /// Alarms whose last write-back was not confirmed.
    unconfirmed: BTreeSet<Arc<str>>,
    contacts: BTreeMap<String, ContactState>,
    /// Overrides that were made in operation, by number.
    overrides: BTreeMap<u64, Cover>,
    /// The number that the next of them gets.
    next_override: u64,
    drills: Drills,
    cooldowns: BTreeMap<String, Timestamp>,
    /// Codes and when they may be given again.
    codes: BTreeMap<String, Timestamp>,
    batches: HashMap<BatchKey, Batch>,
    paces: HashMap<(String, String), Pace>,
    budgets: Budgets,
    floods: Floods,
    counters: Counters,
    user_ids: BTreeMap<String, i64>,
    inbound_seen: BTreeMap<String, Timestamp>,
    /// Calls by SID.
    calls: BTreeMap<String, Session>,
    twilio_failed: BTreeMap<String, String>,
    /// Alarms whose pipeline has ended without anybody knowing of them.
    unreached: BTreeSet<Arc<str>>,
    day_segments: DaySegments,
    /// Recipients of application events.
    events: events::Events,
    /// Mistakes in messages that the journal has.
    wording_noted: BTreeSet<String>,
    alarming: publish::Alarming,
    shown_depth: usize,
    timers: Timers<Timer>,
    dirty: Dirty,
    effects: Effects,
    records: Vec<Record>,
}

/// One alarm and what goes with it.
#[derive(Debug)]
struct Slot {
    alarm: Alarm,
    detector: Detector,
    shown: Shown,
    /// The store has a row of it.
    stored: bool,
    /// What was told of it last; `None` while nothing ever happened to it.
    told: Option<Arc<Condition>>,
}

/// What waits for a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Timer {
    Alarm(usize),
    Run(Arc<str>),
    Row(OutboxId),
    Caller(OutboxId),
    Sender(String),
    Silence(String),
    Batch(BatchKey),
    Flood(String),
    Cooldown(String),
    Contact(String),
    Inbound(String),
    Call(String),
    Source(Arc<str>),
    Code(String),
    Reach(Arc<str>),
    Override(u64),
    Drill,
    /// Every second while texts wait, else every minute.
    Housekeeping,
}

/// What a step has changed.
#[derive(Debug, Default)]
struct Dirty {
    alarms: BTreeSet<usize>,
    runs: BTreeSet<Arc<str>>,
    /// Runs to walk on before the step ends.
    paths: BTreeSet<Arc<str>>,
    rows: BTreeSet<OutboxId>,
    /// Texts that may no longer be needed.
    doubtful: BTreeSet<OutboxId>,
    /// Sources with tags that became usable or unusable.
    sources: BTreeSet<Arc<str>>,
    senders: BTreeSet<String>,
    contacts: BTreeSet<String>,
    cooldowns: BTreeSet<String>,
    throttle: BTreeSet<ThrottleRow>,
    codes: BTreeSet<String>,
    counters: BTreeSet<String>,
    inbound: BTreeSet<String>,
    overrides: BTreeSet<u64>,
    calls: BTreeSet<String>,
    statistics: bool,
    engine: bool,
}

/// How long a code is not given again.
const CODE_REST: Duration = Duration::from_secs(30 * 86_400);
/// How long a run is remembered after its last event was acknowledged, for replies that come late.
const KEEP_RUN: Duration = Duration::from_secs(3600);
/// How often the timers may come due in one step, on average.
const TIMER_ROUNDS: usize = 100;

impl Engine {
    /// Everything that is due or follows from `input`, at `now`. Records stand first in `out`; the daemon commits them before it
    /// carries out the rest. Times that run backwards are taken as standing still.
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Effects) {
        self.now = self.now.max(now);
        self.run_timers();
        match input {
            Input::Samples(samples) => self.samples(samples),
            Input::SourceUp { source } => self.source_up(&source),
            Input::SourceDown { source, error } => self.source_down(&source, &error),
            Input::Command { request, by, command } => self.command(request, &by, command),
            Input::Inbound { request, text } => self.inbound(request, &text),
            Input::SendResult { row, result } => self.send_result(row, result),
            Input::LookupResult { row, result } => self.lookup_result(row, result),
            Input::Status { request, row, sid, status, error_code } => {
                self.delivery(row, &sid, status, error_code);
                self.answer(request, Outcome::good(""));
            }
            Input::Call { request, call } => self.call(request, &call),
            Input::ReadResult { row, result } => self.read_result(row, result),
            Input::WriteResult { row, status, read_back } => self.write_result(row, status, read_back),
            Input::Plan(plan) => self.change_plan(plan),
            Input::Store { failed } => {
                let text = failed.then(|| "the store cannot be written; records wait in memory".to_owned());
                self.set_system("System/Gateway/Alarms/StoreFailed", text);
            }
            Input::Certificate { expiring } => self.set_system("System/Gateway/Alarms/CertificateExpiring", expiring),
            Input::ScriptResult { run, result } => self.script_result(run, result),
            Input::Heartbeat => self.dirty.engine = true,
            Input::Tick => {}
        }
        self.finish(out);
    }

    /// When [`Input::Tick`] is wanted, if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// All alarms as others may see them.
    #[must_use]
    pub fn alarm_views(&self) -> Vec<AlarmView> {
        self.plan.alarms.iter().zip(&self.alarms).map(|(def, slot)| self.alarm_view(def, slot)).collect()
    }

    /// The alarm at `path` (`<tag path>/Alarms/<name>`) as others may see it.
    #[must_use]
    pub fn alarm_at(&self, path: &str) -> Option<AlarmView> {
        let index = *self.plan.alarm_index.get(path)?;
        Some(self.alarm_view(&self.plan.alarms[index], &self.alarms[index]))
    }

    /// The outbox as others may see it, oldest first.
    #[must_use]
    pub fn outbox_views(&self) -> Vec<OutboxView> {
        self.outbox.rows.iter().map(|(id, row)| self.outbox_view(*id, row)).collect()
    }

    /// One row of the outbox as others may see it.
    #[must_use]
    pub fn outbox_at(&self, id: OutboxId) -> Option<OutboxView> {
        self.outbox.rows.get(&id).map(|row| self.outbox_view(id, row))
    }

    /// The outbox row of a call that we placed and that is still known.
    #[must_use]
    pub fn row_of_call(&self, sid: &str) -> Option<OutboxId> {
        self.calls.get(sid).and_then(|session| session.row)
    }

    /// Who is on duty.
    #[must_use]
    pub fn rota(&self) -> Rota<'_> {
        Rota::new(&self.plan, &self.overrides)
    }

    fn run_timers(&mut self) {
        // What is due sets a later time or none. Were that ever broken, inputs must not wait for it.
        for _ in 0..TIMER_ROUNDS * (self.timers.len() + 1) {
            let Some(timer) = self.timers.pop(self.now) else { return };
            self.timer(timer);
        }
        debug_assert!(self.timers.pop(self.now).is_none(), "a timer is always due");
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Alarm(index) => self.alarm_due(index),
            Timer::Run(path) => self.run_due(&path),
            Timer::Row(id) => self.row_due(id),
            Timer::Caller(id) => self.caller_waited(id),
            Timer::Sender(name) | Timer::Silence(name) => _ = self.dirty.senders.insert(name),
            Timer::Batch(key) => self.batch_due(&key),
            Timer::Flood(number) => self.flood_due(&number),
            Timer::Cooldown(key) => self.cooldown_over(key),
            Timer::Contact(_) => self.watch_contacts(),
            Timer::Inbound(sid) => {
                self.inbound_seen.remove(&sid);
                self.dirty.inbound.insert(sid);
            }
            Timer::Call(sid) => self.forget_call(&sid),
            Timer::Source(source) => self.watch_tags(&source),
            Timer::Code(code) => {
                self.codes.remove(&code);
                self.dirty.codes.insert(code);
            }
            Timer::Reach(path) => self.reach_due(&path),
            Timer::Drill => self.drill_due(),
            Timer::Override(number) => self.override_over(number),
            Timer::Housekeeping => self.housekeeping(),
        }
    }

    fn run_due(&mut self, path: &Arc<str>) {
        match self.runs.get(path).and_then(|run| run.closed) {
            Some(closed) if self.now.since(closed) >= KEEP_RUN && self.is_remembered(path) => {
                self.timers.set(&Timer::Run(Arc::clone(path)), Some(self.now + KEEP_RUN));
            }
            Some(closed) if self.now.since(closed) >= KEEP_RUN => {
                self.runs.remove(path);
                self.dirty.runs.insert(Arc::clone(path));
            }
            _ => self.advance(path),
        }
    }

    fn command(&mut self, request: RequestId, by: &Actor, command: Command) {
        let needed = match command {
            Command::OutOfService { .. } => Role::Engineer,
            Command::Condition { act, .. } => act.role(),
            _ => Role::Operator,
        };
        if by.role < needed {
            let words = format!("role {} is needed", needed.name());
            return self.answer(request, Outcome::refused(StatusCode::BAD_USER_ACCESS_DENIED, words));
        }
        let outcome = match command {
            Command::Acknowledge { alarm, note } => self.acknowledge_path(&alarm, AckScope::All, by, &note).map(drop),
            Command::AcknowledgeEvent { alarm, event, note } => self.acknowledge_event(alarm.as_deref(), event, by, &note),
            Command::Shelve { alarm, minutes, note } => self.shelve(&alarm, minutes, by, &note),
            Command::ShelveOneShot { alarm, note } => self.shelve_one_shot(&alarm, by, &note),
            Command::OutOfService { alarm, out, note } => self.set_out_of_service(&alarm, out, by, &note),
            Command::Condition { alarm, act, comment } => self.act(&alarm, act, comment.as_deref(), by),
            Command::StartDrill => return self.answer_words(request, |engine| engine.start_drill(by)),
            Command::Identify { user_id, phone, consent } => {
                return self.answer_words(request, |engine| engine.identify(&user_id, phone.as_deref(), consent, by));
            }
            Command::Forget { user_id } => return self.answer_words(request, |engine| engine.forget(&user_id, by)),
            Command::Track { user_id, event, properties } => {
                return self.answer_words(request, |engine| engine.track(&user_id, &event, &properties, by));
            }
            Command::SetOverride(cover) => return self.answer_words(request, |engine| engine.set_override(cover, by)),
            Command::RemoveOverride { number } => return self.answer_words(request, |engine| engine.remove_override(number, by)),
            Command::Retry { row } => return self.answer_words(request, |engine| engine.retry(row, by)),
            Command::SendText { twilio, number, body } => {
                return self.send_manual(request, &by.name, Channel::Sms, twilio, &number, body);
            }
            Command::PlaceCall { twilio, number, message } => {
                return self.send_manual(request, &by.name, Channel::Voice, twilio, &number, message);
            }
        };
        let outcome = outcome.map_or_else(|refused| refused, |()| Outcome::good("done"));
        self.answer(request, outcome);
    }

    fn answer_words(&mut self, request: RequestId, act: impl FnOnce(&mut Self) -> Result<String, Outcome>) {
        let outcome = act(self).map_or_else(|refused| refused, Outcome::good);
        self.answer(request, outcome);
    }

    fn answer(&mut self, request: RequestId, outcome: Outcome) {
        if request != RequestId::NOBODY {
            self.effects.push(Effect::Answer { request, outcome });
        }
    }

    /// The one place where an alarm is acknowledged, whoever asks by whatever way. Returns the write-backs that it began.
    fn acknowledge_path(&mut self, path: &str, scope: AckScope, by: &Actor, note: &str) -> Result<Vec<OutboxId>, Outcome> {
        let index = self.find(path)?;
        let def = Arc::clone(&self.plan.alarms[index]);
        let result = self.alarms[index].alarm.acknowledge(&def, scope, &by.name, by.via, self.now);
        let changes = result.map_err(refusal)?;
        let event = changes.iter().rev().find_map(|change| match change {
            Change::Acknowledged { event, .. } => Some(*event),
            _ => None,
        });
        if !note.is_empty() {
            for event in changes.iter().filter_map(Change::event) {
                self.remark(index, Some(event), note, by);
            }
        }
        self.apply(index, &changes, Some(by), note);
        self.answered_in_flood(&by.name);
        let rows = event.and_then(|event| self.start_write_back(index, event, &by.name, by.via));
        let events = event.into_iter().collect();
        self.audit(AuditKind::Acknowledge, &by.name, by.via, path, note.to_owned(), "acknowledged", events, None);
        Ok(rows.into_iter().collect())
    }

    fn acknowledge_event(&mut self, alarm: Option<&str>, event: Uuid, by: &Actor, note: &str) -> Result<(), Outcome> {
        let known = |slot: &Slot| slot.alarm.knows(event);
        let path = match alarm {
            Some(path) => Arc::clone(&self.plan.alarms[self.find(path)?].path),
            None => {
                let place = self.alarms.iter().position(known);
                let unknown = || Outcome::refused(StatusCode::BAD_EVENT_ID_UNKNOWN, "there is no such alarm event");
                Arc::clone(&self.plan.alarms[place.ok_or_else(unknown)?].path)
            }
        };
        self.acknowledge_path(&path, AckScope::Only(event), by, note).map(drop)
    }

    fn shelve(&mut self, path: &str, minutes: f64, by: &Actor, note: &str) -> Result<(), Outcome> {
        let index = self.find(path)?;
        let def = Arc::clone(&self.plan.alarms[index]);
        let time = Duration::try_from_secs_f64(minutes * 60.0)
            .map_err(|_| Outcome::refused(StatusCode::BAD_OUT_OF_RANGE, "a shelving lasts a number of minutes from 0"))?;
        let changes = self.alarms[index].alarm.shelve(&self.plan, &def, time, self.now).map_err(not_shelved)?;
        self.silence_changed(index, AuditKind::Shelve, &changes, by, note);
        Ok(())
    }

    fn shelve_one_shot(&mut self, path: &str, by: &Actor, note: &str) -> Result<(), Outcome> {
        let index = self.find(path)?;
        let def = Arc::clone(&self.plan.alarms[index]);
        let changes = self.alarms[index].alarm.shelve_one_shot(&self.plan, &def, self.now).map_err(not_shelved)?;
        self.silence_changed(index, AuditKind::Shelve, &changes, by, note);
        Ok(())
    }

    fn set_out_of_service(&mut self, path: &str, out: bool, by: &Actor, note: &str) -> Result<(), Outcome> {
        let index = self.find(path)?;
        let changes = self.alarms[index].alarm.set_out_of_service(out);
        self.silence_changed(index, AuditKind::OutOfService, &changes, by, note);
        Ok(())
    }

    fn silence_changed(&mut self, index: usize, kind: AuditKind, changes: &[Change], by: &Actor, note: &str) {
        if changes.is_empty() {
            return;
        }
        if !note.is_empty() {
            self.remark(index, None, note, by);
        }
        self.apply(index, changes, Some(by), note);
        let path = Arc::clone(&self.plan.alarms[index].path);
        let words = changes.iter().map(change_words).collect::<Vec<_>>().join(", ");
        self.audit(kind, &by.name, by.via, &path, note.to_owned(), &words, Vec::new(), None);
    }

    fn find(&self, path: &str) -> Result<usize, Outcome> {
        let unknown = || Outcome::refused(StatusCode::BAD_NOT_FOUND, format!("there is no alarm {path}"));
        self.plan.alarm_index.get(path).copied().ok_or_else(unknown)
    }

    /// Carries the changes of one alarm on: journal, notification, write-backs, what is shown.
    fn apply(&mut self, index: usize, changes: &[Change], by: Option<&Actor>, note: &str) {
        let def = Arc::clone(&self.plan.alarms[index]);
        self.dirty.alarms.insert(index);
        for change in changes {
            if let Some(kind) = change.journal_kind() {
                let silenced = kind == JournalKind::Raised && self.alarms[index].alarm.is_silent();
                let text = match (note, silenced) {
                    ("", true) => SILENCED.to_owned(),
                    ("", false) => change_words(change),
                    (note, _) => note.to_owned(),
                };
                self.journal_by(index, kind, change.event(), &text, by);
            }
            match change {
                Change::Raised { notify, .. } => {
                    // A drill is none of the plant's alarms, and a silenced one is shown to nobody.
                    if &*def.path != DRILL && !self.alarms[index].alarm.is_silent() {
                        self.alarming.raised(self.now);
                    }
                    self.give_up_write_backs(&def.path, "a newer event has begun");
                    if self.unconfirmed.remove(&def.path) {
                        self.show_unconfirmed();
                    }
                    if *notify {
                        self.start_run(index);
                    } else if self.alarms[index].alarm.is_held() && def.pipeline.is_some() {
                        self.not_sent(NotSent::Chattering, "", &def.path, String::new(), change.event().into_iter().collect());
                    }
                }
                Change::SilenceEnded { notify: true } | Change::ReAlarmed { notify: true, .. } => self.restart_run(index),
                _ => {}
            }
        }
        self.settle_run(index);
        self.follow_up(index, changes);
        self.set_alarm_timer(index);
        self.note_limits(index);
        self.tell(index);
        if let Some(by) = by.filter(|_| changes.iter().any(|change| matches!(change, Change::Acknowledged { .. }))) {
            self.drill_acknowledged(&def.path, by);
        }
    }

    /// After any change of an alarm: its run ends when it must, and is closed when nothing of it is open.
    fn settle_run(&mut self, index: usize) {
        let path = Arc::clone(&self.plan.alarms[index].path);
        let open = self.alarms[index].alarm.open_events().next().is_some();
        let Some(run) = self.runs.get_mut(&path) else { return };
        if run.is_live() {
            self.advance(&path);
        }
        self.doubt_texts(&path);
        let Some(run) = self.runs.get_mut(&path) else { return };
        if !open && !run.is_live() && run.closed.is_none() {
            run.closed = Some(self.now);
            self.mark_run(&path);
        } else if open && run.closed.is_some() {
            run.closed = None;
            self.mark_run(&path);
        }
        self.watch_reach(&path);
    }

    fn set_alarm_timer(&mut self, index: usize) {
        let slot = &self.alarms[index];
        let def = &self.plan.alarms[index];
        let due = [slot.alarm.due(&self.plan), slot.detector.due(def)].into_iter().flatten().min();
        self.timers.set(&Timer::Alarm(index), due);
    }

    fn alarm_due(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let flank = self.alarms[index].detector.tick(&def, self.now);
        if let Some(flank) = flank {
            self.flank(index, flank);
        }
        let changes = self.alarms[index].alarm.tick(&self.plan, self.now);
        if !changes.is_empty() {
            self.apply(index, &changes, None, "");
        }
        self.set_alarm_timer(index);
    }

    /// A code that was not given in the last 30 days: three characters while there are enough of them.
    fn new_code(&mut self) -> String {
        const TRIES: usize = 200;
        /// Of the 9,136 codes of three characters; with more of them given, most tries would be in vain.
        const MANY: usize = 6000;
        let mut length = if self.codes.len() < MANY { 3 } else { 4 };
        for attempt in 0.. {
            if attempt == TRIES {
                length = 4;
            }
            let code = self.random.code(length);
            if attempt > 4 * TRIES || !self.codes.contains_key(&code) {
                let free = self.now + CODE_REST;
                self.codes.insert(code.clone(), free);
                self.timers.set(&Timer::Code(code.clone()), Some(free));
                self.dirty.codes.insert(code.clone());
                self.dirty.engine = true;
                return code;
            }
        }
        unreachable!("the loop above ends by itself")
    }

    fn journal(&mut self, index: usize, kind: JournalKind, event: Option<Uuid>, text: &str) {
        self.journal_by(index, kind, event, text, None);
    }

    fn journal_by(&mut self, index: usize, kind: JournalKind, event: Option<Uuid>, text: &str, by: Option<&Actor>) {
        let (def, alarm) = (&self.plan.alarms[index], &self.alarms[index].alarm);
        let entry = JournalEntry {
            time: self.now,
            alarm: Arc::clone(&def.path),
            event: event.or_else(|| alarm.newest().map(|event| event.id)),
            kind,
            priority: def.priority,
            value: self.value_text(index),
            user: by.map_or(String::new(), |by| by.name.clone()),
            via: by.map(|by| by.via),
            text: text.to_owned(),
            data: if kind == JournalKind::Raised { def.data.clone() } else { BTreeMap::new() },
        };
        self.effects_record(Record::Journal(entry));
    }

    #[allow(clippy::too_many_arguments)]
    fn audit(
        &mut self,
        kind: AuditKind,
        user: &str,
        via: Via,
        subject: &str,
        text: String,
        result: &str,
        events: Vec<Uuid>,
        sid: Option<String>,
    ) {
        let entry = AuditEntry {
            time: self.now,
            kind,
            user: user.to_owned(),
            via,
            subject: subject.to_owned(),
            text,
            result: result.to_owned(),
            events,
            sid,
        };
        self.effects_record(Record::Audit(entry));
    }

    /// A message to `subject` (a number, or an alarm's path before anybody was chosen) that was not sent.
    fn not_sent(&mut self, reason: NotSent, user: &str, subject: &str, text: String, events: Vec<Uuid>) {
        self.audit(AuditKind::MessageNotSent, user, Via::System, subject, text, reason.words(), events, None);
    }

    fn effects_record(&mut self, record: Record) {
        self.records.push(record);
    }

    fn publish(&mut self, sample: Sample) {
        self.effects.push(Effect::Publish(sample));
    }

    fn finish(&mut self, out: &mut Effects) {
        while let Some(source) = self.dirty.sources.pop_first() {
            self.watch_tags(&source);
        }
        // What one of them does may be work for the others; it ends since runs only ever go on.
        while !(self.dirty.paths.is_empty() && self.dirty.doubtful.is_empty() && self.dirty.senders.is_empty()) {
            while let Some(path) = self.dirty.paths.pop_first() {
                self.advance(&path);
            }
            self.cancel_needless();
            self.pump();
        }
        self.show();
        self.flush();
        out.extend(self.records.drain(..).map(Effect::Record));
        out.append(&mut self.effects);
    }
}

fn refusal(refused: AckRefused) -> Outcome {
    match refused {
        AckRefused::AlreadyAcked { by } => Outcome::refused(
            StatusCode::BAD_CONDITION_BRANCH_ALREADY_ACKED,
            format!("already acknowledged by {} at {}", by.by, by.at),
        ),
        AckRefused::UnknownEvent => Outcome::refused(StatusCode::BAD_EVENT_ID_UNKNOWN, "there is no such alarm event"),
        AckRefused::NothingToDo => Outcome::refused(StatusCode::BAD_NOTHING_TO_DO, "nothing to acknowledge"),
    }
}

fn not_shelved(refused: ShelveRefused) -> Outcome {
    let words = match refused {
        ShelveRefused::NotAllowed => "this alarm may not be shelved (shelving = false)".to_owned(),
        ShelveRefused::TooLong { max } => format!("this alarm may be shelved for at most {} minutes", max.as_secs() / 60),
    };
    Outcome::refused(StatusCode::BAD_OUT_OF_RANGE, words)
}

/// What happened, for journal and audit log, where the kind alone does not say it.
fn change_words(change: &Change) -> String {
    match change {
        Change::Shelved { until, one_shot: true } => format!("shelved until it clears, at most until {until}"),
        Change::Shelved { until, .. } => format!("shelved until {until}"),
        Change::Unshelved => "unshelved".to_owned(),
        Change::OutOfService => "out of service".to_owned(),
        Change::InService => "back in service".to_owned(),
        Change::Raised { joined: true, .. } => "joins the notification of an earlier event".to_owned(),
        _ => String::new(),
    }
}
