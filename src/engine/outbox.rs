//! The outbox: texts until Twilio has taken them and told their fate, each attempt committed before it is made.
//!
//! Retry policy lives here and nowhere else. A sender (a Twilio profile) sends at its own rate; answers and critical alarms go
//! first, then priority, then age. An attempt whose fate is unknown is looked up in Twilio's list before it is repeated.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Engine, Timer,
    io::{Accepted, DeliveryState, Effect, Lookup, OutboxId, Outcome, Outgoing, RequestId, SendFailure, Via},
    people,
    plan::{Channel, Priority},
    record::{AuditKind, Direction, LedgerEntry, Record},
    writeback::WriteBackRow,
};
use crate::tag::{StatusCode, Timestamp};

/// Attempts of one sender that are under way at once.
const MAX_IN_FLIGHT: usize = 4;
/// When Twilio's list is searched after an ambiguous attempt (SPEC 8, "three times within 60 s").
const LOOKUPS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];
/// A list that cannot be read until then: the text is sent again, marked as a possible duplicate.
const AMBIGUOUS_DEADLINE: Duration = Duration::from_secs(120);
/// How long a text that no alarm needs (an answer, a manual one) is tried.
const PLAIN_DEADLINE: Duration = Duration::from_secs(600);
/// How long an ended row is kept, so that late reports find it and no other row takes its SID.
const KEEP_ENDED: Duration = Duration::from_secs(600);
/// How long a text without a final report is kept ("sent" may be the last word of a carrier).
const KEEP_SENT: Duration = Duration::from_secs(86_400);
/// How long a caller waits for Twilio's answer to a text of his own.
const MANUAL_WAIT: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// One row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub created: Timestamp,
    pub job: Job,
}

/// What a row is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    Text(Text),
    WriteBack(WriteBackRow),
}

/// A text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Text {
    pub twilio: String,
    pub to: String,
    pub user: Option<String>,
    pub purpose: Purpose,
    /// Composed at the first attempt, so that it says what is true then.
    pub body: String,
    pub state: TextState,
    pub attempts: u32,
    pub possible_duplicate: bool,
    /// Further SIDs of this row that Twilio told us of: duplicates that really were sent.
    #[serde(default)]
    pub duplicates: Vec<String>,
    /// Not before then.
    pub not_before: Timestamp,
    pub detail: String,
    /// Bodies may stand in the audit log.
    pub audit: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Names alarm events.
    Alarm { profile: String, priority: Priority, items: Vec<Item> },
    /// Answers a person's text; held until the write-backs that it reports on have ended.
    Answer(Answer),
    /// Somebody's own text.
    Manual,
}

/// What an answer says, kept until it is composed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Write-backs whose end it waits for.
    pub waits_for: Vec<OutboxId>,
    /// It went without that: their end is told in a text of its own.
    #[serde(default)]
    pub pending: bool,
    /// Fixed words, instead of the rest.
    pub plain: Option<String>,
    /// Name and code.
    pub done: Vec<(String, String)>,
    /// Name, code, by whom, when.
    pub already: Vec<(String, String, String, String)>,
    pub unknown: Vec<String>,
    pub open: usize,
    /// A write-back was asked for.
    pub plc: bool,
    /// Why the PLC did not take it.
    pub plc_failure: Option<String>,
}

impl Answer {
    fn body(&self) -> String {
        use super::{
            answer::{Acknowledged, Already, Plc, acknowledged},
            length::DigestItem,
        };
        if let Some(plain) = &self.plain {
            return plain.clone();
        }
        acknowledged(&Acknowledged {
            done: self.done.iter().map(|(name, code)| DigestItem { name, code }).collect(),
            already: self
                .already
                .iter()
                .map(|(name, code, by, at)| Already { item: DigestItem { name, code }, by, at })
                .collect(),
            unknown: self.unknown.iter().map(String::as_str).collect(),
            plc: match &self.plc_failure {
                Some(reason) => Plc::DidNot(reason),
                None if !self.plc => Plc::None,
                None if self.pending => Plc::Pending,
                None => Plc::Took,
            },
            open: self.open,
        })
    }
}

/// Whom to tell of a write-back whose acknowledgement was answered already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LateAnswer {
    pub twilio: String,
    pub to: String,
    pub user: Option<String>,
}

/// One alarm event in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub alarm: Arc<str>,
    /// The code of the run that asked; a later run of the same alarm has texts of its own.
    pub code: String,
    /// The newest one when the text was written.
    pub event: Uuid,
    /// False for those behind "and 37 more".
    pub named: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum TextState {
    Queued,
    /// The attempt that began then is under way, or was when the program stopped.
    Sending(Timestamp),
    /// The attempt that began at `since` has an unknown fate.
    Ambiguous {
        since: Timestamp,
        lost: Timestamp,
        lookups: usize,
        list_read: bool,
    },
    Accepted {
        sid: String,
        at: Timestamp,
        status: DeliveryState,
    },
    Failed {
        at: Timestamp,
    },
    Cancelled {
        at: Timestamp,
    },
}

impl TextState {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Queued | Self::Sending(_) | Self::Ambiguous { .. })
    }
}

/// All rows and the state of the senders.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub rows: BTreeMap<OutboxId, Row>,
    pub next: u64,
    senders: HashMap<String, Sender>,
    /// Texts whose fate is open, by age.
    open: BTreeSet<OutboxId>,
    sids: HashMap<String, OutboxId>,
    /// Callers who wait for the fate of their own text.
    callers: HashMap<OutboxId, RequestId>,
}

#[derive(Debug, Default)]
pub(super) struct Sender {
    queue: BTreeSet<(u8, OutboxId)>,
    in_flight: BTreeSet<OutboxId>,
    /// When all attempts so far would have been made at an even pace; it may run ahead by one second's worth.
    paced: Timestamp,
    last_accepted: Timestamp,
    /// Twilio refuses the account; its words.
    refused: Option<String>,
}

impl Outbox {
    /// Answers that wait for this write-back.
    pub(super) fn held_answers(&self, write_back: OutboxId) -> Vec<OutboxId> {
        let waits = |id: &&OutboxId| {
            self.text(**id)
                .is_some_and(|text| matches!(&text.purpose, Purpose::Answer(answer) if answer.waits_for.contains(&write_back)))
        };
        self.open.iter().filter(waits).copied().collect()
    }

    pub(super) fn text(&self, id: OutboxId) -> Option<&Text> {
        match &self.rows.get(&id)?.job {
            Job::Text(text) => Some(text),
            Job::WriteBack(_) => None,
        }
    }

    fn text_mut(&mut self, id: OutboxId) -> Option<&mut Text> {
        match &mut self.rows.get_mut(&id)?.job {
            Job::Text(text) => Some(text),
            Job::WriteBack(_) => None,
        }
    }
}

impl Text {
    /// Answers and critical first, then by priority.
    fn rank(&self) -> u8 {
        match &self.purpose {
            Purpose::Answer(_) | Purpose::Alarm { priority: Priority::Critical, .. } => 0,
            Purpose::Manual | Purpose::Alarm { priority: Priority::High, .. } => 1,
            Purpose::Alarm { priority: Priority::Medium, .. } => 2,
            Purpose::Alarm { priority: Priority::Low, .. } => 3,
            Purpose::Alarm { priority: Priority::Diagnostic, .. } => 4,
        }
    }
}

impl Engine {
    /// Puts a text into the outbox; it goes as soon as its sender may.
    pub(super) fn enqueue(&mut self, text: Text) -> OutboxId {
        let id = self.new_row(Job::Text(text));
        self.requeue(id);
        id
    }

    pub(super) fn new_row(&mut self, job: Job) -> OutboxId {
        self.outbox.next += 1;
        let id = OutboxId(self.outbox.next);
        self.dirty.engine = true;
        self.outbox.rows.insert(id, Row { created: self.now, job });
        self.dirty.rows.insert(id);
        id
    }

    /// A person's or program's own text: the answer follows when Twilio has taken or refused it.
    pub(super) fn send_manual(&mut self, request: RequestId, by: &str, twilio: Option<String>, number: &str, body: String) {
        let Some(twilio) =
            twilio.or_else(|| self.plan.twilio.keys().next().cloned()).filter(|name| self.plan.twilio.contains_key(name))
        else {
            let outcome = Outcome::refused(StatusCode::BAD_CONFIGURATION_ERROR, "send: there is no such [[twilio]] profile");
            return self.answer(request, outcome);
        };
        let to = match self.admit_number(number) {
            Ok(number) => number,
            Err(reason) => return self.answer(request, Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, reason)),
        };
        if body.trim().is_empty() || body.chars().count() > super::gsm::MAX_CHARACTERS {
            let reason = "a text has 1 to 1,600 characters (21617)";
            return self.answer(request, Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, reason));
        }
        let user = self.plan.user_by_number(&to).map(|user| user.name.clone());
        let detail = format!("asked for by {by}");
        let id = self.enqueue(Text {
            twilio,
            to,
            user,
            purpose: Purpose::Manual,
            body,
            state: TextState::Queued,
            attempts: 0,
            possible_duplicate: false,
            duplicates: Vec::new(),
            not_before: self.now,
            detail,
            audit: true,
        });
        self.outbox.callers.insert(id, request);
        self.timers.set(&Timer::Caller(id), Some(self.now + MANUAL_WAIT));
    }

    /// The number in E.164, if texts may go there.
    fn admit_number(&self, number: &str) -> Result<String, String> {
        let rules = &self.plan.people;
        let number = people::normalise(number, rules.default_region.as_deref())?;
        if rules.allows(&number) { Ok(number) } else { Err(format!("{number} is not among [people] allow_numbers")) }
    }

    pub(super) fn caller_waited(&mut self, id: OutboxId) {
        if let Some(request) = self.outbox.callers.remove(&id) {
            let reason = "Twilio has not answered within 10 s; the text stays in the outbox";
            self.answer(request, Outcome::refused(StatusCode::BAD_TIMEOUT, reason));
        }
    }

    /// Files a row where its state says: in its sender's queue, or under a timer.
    pub(super) fn requeue(&mut self, id: OutboxId) {
        let Some(text) = self.outbox.text(id) else { return };
        let is_open = text.state.is_open();
        let (twilio, rank, not_before, held) = (
            text.twilio.clone(),
            text.rank(),
            text.not_before,
            matches!(&text.purpose, Purpose::Answer(answer) if !answer.waits_for.is_empty()),
        );
        let due = match &text.state {
            TextState::Queued if held && not_before <= self.now => {
                self.stop_waiting(id);
                self.outbox.senders.entry(twilio.clone()).or_default().queue.insert((rank, id));
                None
            }
            TextState::Queued if not_before > self.now => Some(not_before),
            TextState::Queued => {
                self.outbox.senders.entry(twilio.clone()).or_default().queue.insert((rank, id));
                None
            }
            TextState::Sending(_) => None,
            TextState::Ambiguous { lost, lookups, .. } => {
                let regular = *lost + LOOKUPS[(*lookups).min(LOOKUPS.len() - 1)];
                Some(regular.max(self.now + LOOKUPS[0]))
            }
            TextState::Accepted { at, status, .. } if !status.is_final() => Some(*at + KEEP_SENT),
            TextState::Accepted { at, .. } | TextState::Failed { at } | TextState::Cancelled { at } => Some(*at + KEEP_ENDED),
        };
        if is_open {
            self.outbox.open.insert(id);
        } else {
            self.outbox.open.remove(&id);
        }
        self.timers.set(&Timer::Row(id), due);
        self.dirty.senders.insert(twilio);
    }

    /// An answer goes without the PLC's: what becomes of the write-back is told in a text of its own.
    fn stop_waiting(&mut self, id: OutboxId) {
        let Some(text) = self.outbox.text_mut(id) else { return };
        let late = LateAnswer { twilio: text.twilio.clone(), to: text.to.clone(), user: text.user.clone() };
        let Purpose::Answer(answer) = &mut text.purpose else { return };
        answer.pending = true;
        for row in std::mem::take(&mut answer.waits_for) {
            self.answer_late(row, late.clone());
        }
        self.dirty.rows.insert(id);
    }

    /// Something of a row is due.
    pub(super) fn row_due(&mut self, id: OutboxId) {
        let Some(row) = self.outbox.rows.get(&id) else { return };
        let Job::Text(text) = &row.job else { return self.write_back_due(id) };
        match &text.state {
            TextState::Queued => {
                self.requeue(id);
            }
            TextState::Ambiguous { since, .. } => {
                let lookup = Lookup { message: outgoing(id, text), since: *since };
                self.effects.push(Effect::Lookup(lookup));
            }
            TextState::Sending(_) => {}
            TextState::Accepted { .. } if self.is_looked_up(&text.to) => {
                self.timers.set(&Timer::Row(id), Some(self.now + AMBIGUOUS_DEADLINE));
            }
            TextState::Accepted { .. } | TextState::Failed { .. } | TextState::Cancelled { .. } => self.drop_row(id),
        }
    }

    /// A text to `number` has an unknown fate: the SIDs of others to that number must not be taken for its own.
    fn is_looked_up(&self, number: &str) -> bool {
        let mut open = self.outbox.open.iter().filter_map(|id| self.outbox.text(*id));
        open.any(|text| text.to == number && matches!(text.state, TextState::Ambiguous { .. }))
    }

    pub(super) fn drop_row(&mut self, id: OutboxId) {
        if let Some(Row { job: Job::Text(Text { state: TextState::Accepted { sid, .. }, duplicates, .. }), .. }) =
            self.outbox.rows.remove(&id)
        {
            for sid in duplicates.iter().chain([&sid]) {
                self.outbox.sids.remove(sid);
            }
        }
        self.timers.set(&Timer::Row(id), None);
        self.dirty.rows.insert(id);
    }

    /// Lets every sender that may send do so.
    pub(super) fn pump(&mut self) {
        while let Some(name) = self.dirty.senders.pop_first() {
            while self.pump_one(&name) {}
            self.watch_sender(&name);
        }
    }

    /// Sends the first text of a sender's queue; false when it must wait.
    fn pump_one(&mut self, name: &str) -> bool {
        let rate = self.plan.twilio.get(name).map_or(1.0, |twilio| twilio.sms_per_second);
        let Some(sender) = self.outbox.senders.get_mut(name) else { return false };
        let Some(&(rank, id)) = sender.queue.first() else { return false };
        if sender.in_flight.len() >= MAX_IN_FLIGHT {
            return false;
        }
        let interval = Duration::from_secs_f64(1.0 / rate.max(0.01));
        let free = sender.paced - Duration::from_secs(1).saturating_sub(interval);
        if free > self.now {
            self.timers.set(&Timer::Sender(name.to_owned()), Some(free));
            return false;
        }
        sender.queue.remove(&(rank, id));
        if !self.prepare(id) {
            return true;
        }
        let now = self.now;
        let sender = self.outbox.senders.entry(name.to_owned()).or_default();
        sender.in_flight.insert(id);
        sender.paced = sender.paced.max(now) + interval;
        let Some(text) = self.outbox.text_mut(id) else { return true };
        text.state = TextState::Sending(now);
        text.attempts += 1;
        let effect = Effect::Send(outgoing(id, text));
        self.effects.push(effect);
        self.dirty.rows.insert(id);
        true
    }

    /// The last look at a text before an attempt: is it still needed, and what does it say now. False when it was cancelled.
    fn prepare(&mut self, id: OutboxId) -> bool {
        let Some(row) = self.outbox.rows.get(&id) else { return false };
        let created = row.created;
        let Job::Text(text) = &row.job else { return false };
        if !self.plan.twilio.contains_key(&text.twilio) {
            self.cancel(id, "its Twilio profile was removed");
            return false;
        }
        if let Some(reason) = self.unreachable(text) {
            self.cancel(id, reason);
            self.text_failed(id);
            return false;
        }
        match &text.purpose {
            Purpose::Alarm { .. } => {
                if !self.still_needed(id) {
                    self.cancel(id, "superseded");
                    return false;
                }
                // Anew at each attempt: the ones before were certainly not sent, and the text says what is true now.
                self.compose(id);
            }
            Purpose::Answer(_) | Purpose::Manual if self.now.since(created) > PLAIN_DEADLINE => {
                self.fail(id, 0, "not accepted within 10 minutes", "see why Twilio could not be reached");
                return false;
            }
            Purpose::Answer(answer) if text.attempts == 0 => {
                let body = answer.body();
                if let Some(text) = self.outbox.text_mut(id) {
                    text.body = body;
                }
            }
            Purpose::Answer(_) | Purpose::Manual => {}
        }
        true
    }

    /// Why a text to a user may not go any more.
    fn unreachable(&self, text: &Text) -> Option<&'static str> {
        let user = text.user.as_ref().filter(|_| text.purpose != Purpose::Manual)?;
        let owner = self.plan.user_by_number(&text.to);
        if owner.is_none_or(|owner| owner.name != *user) {
            return Some("the user was removed");
        }
        if !self.plan.people.allows(&text.to) {
            return Some("not among [people] allow_numbers");
        }
        self.contacts.get(&text.to).is_some_and(|contact| contact.opted_out).then_some("opted out")
    }

    /// Ends a text that nobody needs any more.
    pub(super) fn cancel(&mut self, id: OutboxId, reason: &str) {
        let now = self.now;
        let Some(text) = self.outbox.text_mut(id) else { return };
        if !matches!(text.state, TextState::Queued) {
            return;
        }
        text.state = TextState::Cancelled { at: now };
        reason.clone_into(&mut text.detail);
        let (rank, twilio) = (text.rank(), text.twilio.clone());
        if let Some(sender) = self.outbox.senders.get_mut(&twilio) {
            sender.queue.remove(&(rank, id));
        }
        self.ended(id);
        self.audit_text(id, AuditKind::MessageNotSent, reason);
    }

    pub(super) fn send_result(&mut self, id: OutboxId, result: Result<Accepted, SendFailure>) {
        let Some(text) = self.outbox.text(id) else { return };
        let TextState::Sending(since) = text.state else { return };
        let attempts = text.attempts;
        self.leave_flight(id);
        match result {
            Ok(accepted) => self.accepted(id, accepted),
            Err(SendFailure::Retry { reason, after, .. }) => {
                let exponential = BACK_OFF.saturating_mul(1 << attempts.saturating_sub(1).min(6)).min(MAX_BACK_OFF);
                let wait = after.unwrap_or(exponential).min(Duration::from_secs(300)) + self.random.jitter(exponential / 2);
                let not_before = self.now + wait;
                self.note_error(&reason);
                if let Some(text) = self.outbox.text_mut(id) {
                    text.state = TextState::Queued;
                    text.not_before = not_before;
                    text.detail = reason;
                }
                self.ended_or_again(id);
            }
            Err(SendFailure::Ambiguous { reason }) => {
                self.note_error(&reason);
                self.become_ambiguous(id, since, reason);
            }
            Err(SendFailure::Permanent { code, reason, advice, account, opted_out }) => {
                if account {
                    let twilio = self.outbox.text(id).map(|text| text.twilio.clone()).unwrap_or_default();
                    self.outbox.senders.entry(twilio).or_default().refused = Some(format!("{code}: {reason}"));
                }
                if opted_out && let Some(number) = self.outbox.text(id).map(|text| text.to.clone()) {
                    self.set_opted_out(&number, true, "Twilio error 21610");
                }
                self.fail(id, code, &reason, &advice);
            }
        }
    }

    /// An attempt may or may not have been sent.
    pub(super) fn become_ambiguous(&mut self, id: OutboxId, since: Timestamp, reason: String) {
        let lost = self.now;
        if let Some(text) = self.outbox.text_mut(id) {
            text.state = TextState::Ambiguous { since, lost, lookups: 0, list_read: false };
            text.detail = reason;
        }
        self.ended_or_again(id);
    }

    pub(super) fn lookup_result(&mut self, id: OutboxId, result: Result<Vec<Accepted>, String>) {
        let now = self.now;
        let taken: Vec<String> = match &result {
            Ok(found) => {
                found.iter().map(|found| &found.sid).filter(|sid| self.outbox.sids.contains_key(*sid)).cloned().collect()
            }
            Err(_) => Vec::new(),
        };
        let Some(text) = self.outbox.text_mut(id) else { return };
        let TextState::Ambiguous { lost, lookups, list_read, .. } = &mut text.state else { return };
        let over = now.since(*lost) >= AMBIGUOUS_DEADLINE;
        let again = match result {
            Ok(found) => {
                if let Some(found) = found.into_iter().find(|found| !taken.contains(&found.sid)) {
                    return self.accepted(id, found);
                }
                *list_read = true;
                *lookups += 1;
                *lookups >= LOOKUPS.len() || over
            }
            Err(reason) if over => {
                text.possible_duplicate = !*list_read;
                text.detail = format!("possible duplicate: {reason}");
                true
            }
            Err(reason) => {
                text.detail = reason;
                // The list itself failed, which is no search: look again soon, within the deadline.
                self.timers.set(&Timer::Row(id), Some(now + LOOKUPS[0]));
                self.dirty.rows.insert(id);
                return;
            }
        };
        if again {
            text.state = TextState::Queued;
            text.not_before = now;
        }
        self.ended_or_again(id);
    }

    fn ended_or_again(&mut self, id: OutboxId) {
        self.dirty.rows.insert(id);
        self.requeue(id);
    }

    fn leave_flight(&mut self, id: OutboxId) {
        let Some(twilio) = self.outbox.text(id).map(|text| text.twilio.clone()) else { return };
        if let Some(sender) = self.outbox.senders.get_mut(&twilio) {
            sender.in_flight.remove(&id);
        }
        self.dirty.senders.insert(twilio);
    }

    /// Twilio has the text: this is the one place where a message sent is counted.
    fn accepted(&mut self, id: OutboxId, accepted: Accepted) {
        let now = self.now;
        let Accepted { sid, segments, status } = accepted;
        let Some(text) = self.outbox.text_mut(id) else { return };
        text.state = TextState::Accepted { sid: sid.clone(), at: now, status };
        let twilio = text.twilio.clone();
        let result = if text.possible_duplicate { "accepted, possible duplicate" } else { "accepted" };
        if let Some(sender) = self.outbox.senders.get_mut(&twilio) {
            sender.last_accepted = now;
            sender.refused = None;
        }
        self.outbox.sids.insert(sid.clone(), id);
        self.count_sent(id, &sid, segments);
        self.audit_text(id, AuditKind::MessageSent, result);
        if let Some(request) = self.outbox.callers.remove(&id) {
            self.timers.set(&Timer::Caller(id), None);
            self.answer(request, Outcome { sid: Some(sid), ..Outcome::good("accepted by Twilio") });
        }
        self.ended(id);
        self.text_accepted(id);
        if matches!(status, DeliveryState::Undelivered | DeliveryState::Failed) {
            self.text_failed(id);
        }
    }

    /// Twilio refused the text for good, or its time is over.
    fn fail(&mut self, id: OutboxId, code: u32, reason: &str, advice: &str) {
        let now = self.now;
        let sentence = if code == 0 { format!("{reason}: {advice}") } else { format!("{code} {reason}: {advice}") };
        self.note_error(&sentence);
        let Some(text) = self.outbox.text_mut(id) else { return };
        text.state = TextState::Failed { at: now };
        text.detail.clone_from(&sentence);
        self.count("Twilio/MessagesFailed");
        self.audit_text(id, AuditKind::MessageFailed, &sentence);
        if let Some(request) = self.outbox.callers.remove(&id) {
            self.timers.set(&Timer::Caller(id), None);
            self.answer(request, Outcome::refused(StatusCode::BAD_UNEXPECTED_ERROR, sentence));
        }
        self.ended(id);
        self.text_failed(id);
    }

    fn ended(&mut self, id: OutboxId) {
        self.dirty.rows.insert(id);
        self.requeue(id);
    }

    /// A report on a text; one that is late, repeated or out of order never moves it back.
    pub(super) fn delivery(&mut self, row: Option<OutboxId>, sid: &str, status: DeliveryState, error_code: Option<u32>) {
        let known = self.outbox.sids.get(sid).copied();
        let Some(id) = known.or(row).filter(|id| self.outbox.text(*id).is_some()) else { return };
        if known.is_none() {
            self.proven(id, sid);
        }
        let Some(text) = self.outbox.text_mut(id) else { return };
        let TextState::Accepted { sid: known, status: present, .. } = &mut text.state else { return };
        let forwards = status > *present && (!present.is_final() || status == DeliveryState::Read);
        if known != sid || !forwards {
            return;
        }
        *present = status;
        if let Some(code) = error_code {
            text.detail = format!("error {code}");
        }
        let number = text.to.clone();
        if error_code == Some(21610) {
            self.set_opted_out(&number, true, "Twilio error 21610");
        }
        match status {
            DeliveryState::Delivered => self.count("Twilio/MessagesDelivered"),
            DeliveryState::Undelivered | DeliveryState::Failed | DeliveryState::Canceled => {
                let code = error_code.map_or_else(String::new, |code| format!(", error {code}"));
                self.count("Twilio/MessagesFailed");
                self.note_error(&format!("a text was not delivered{code}"));
                self.audit_text(id, AuditKind::MessageStatus, &format!("{}{code}", status_word(status)));
                self.text_failed(id);
            }
            _ => {}
        }
        self.ended(id);
    }

    /// A report names a SID that we do not know: it overtook the answer, or an attempt of unknown fate was sent after all.
    fn proven(&mut self, id: OutboxId, sid: &str) {
        let Some(text) = self.outbox.text_mut(id).filter(|text| text.attempts > 0) else { return };
        if matches!(text.state, TextState::Accepted { .. }) {
            text.duplicates.push(sid.to_owned());
            self.outbox.sids.insert(sid.to_owned(), id);
            self.count_sent(id, sid, 1);
            self.audit_text(id, AuditKind::MessageSent, "a duplicate: an attempt of unknown fate was sent after all");
            return self.ended(id);
        }
        let (rank, twilio) = (text.rank(), text.twilio.clone());
        if let Some(sender) = self.outbox.senders.get_mut(&twilio) {
            sender.queue.remove(&(rank, id));
        }
        self.leave_flight(id);
        self.accepted(id, Accepted { sid: sid.to_owned(), segments: 1, status: DeliveryState::Queued });
    }

    /// One SID more that Twilio accepted.
    fn count_sent(&mut self, id: OutboxId, sid: &str, segments: u32) {
        let Some(text) = self.outbox.text(id) else { return };
        let (user, number, body) = (text.user.clone(), text.to.clone(), text.body.clone());
        self.count_message(Direction::Sent, user.as_deref());
        self.spend(segments, &body);
        self.effects_record(Record::Ledger(LedgerEntry {
            time: self.now,
            sid: sid.to_owned(),
            direction: Direction::Sent,
            channel: Channel::Sms,
            user,
            number,
            segments,
            minutes: 0,
            row: Some(id.0),
        }));
    }

    /// TwilioFailed: the account is refused, or nothing was accepted for a minute while something waits (SPEC 6.4).
    pub(super) fn watch_sender(&mut self, name: &str) {
        const SILENCE: Duration = Duration::from_secs(60);
        let Some(sender) = self.outbox.senders.get(name) else { return };
        let of_sender = |id: &&OutboxId| self.outbox.text(**id).is_some_and(|text| text.twilio == name);
        let oldest = self.outbox.open.iter().find(of_sender).map(|id| self.outbox.rows[id].created);
        let silent_since = oldest.map(|oldest| oldest.max(sender.last_accepted));
        let silent = silent_since.is_some_and(|since| self.now.since(since) >= SILENCE);
        let next = silent_since.map(|since| since + SILENCE).filter(|_| !silent);
        self.timers.set(&Timer::Silence(name.to_owned()), next);
        let reason = match &sender.refused {
            Some(words) => Some(format!("Twilio refuses the account {name}: {words}")),
            None if silent => Some(format!("Twilio profile {name} accepted nothing for 60 s while texts wait")),
            None => None,
        };
        match reason {
            Some(reason) => self.twilio_failed.insert(name.to_owned(), reason),
            None => self.twilio_failed.remove(name),
        };
        let text = self.twilio_failed.values().next().cloned();
        self.set_system("System/Gateway/Alarms/TwilioFailed", text);
    }

    pub(super) fn audit_text(&mut self, id: OutboxId, kind: AuditKind, result: &str) {
        let Some(text) = self.outbox.text(id) else { return };
        let kind =
            if kind == AuditKind::MessageSent && matches!(text.purpose, Purpose::Answer(_)) { AuditKind::Answer } else { kind };
        let events = match &text.purpose {
            Purpose::Alarm { items, .. } => items.iter().filter(|item| item.named).map(|item| item.event).collect(),
            Purpose::Answer(_) | Purpose::Manual => Vec::new(),
        };
        let sid = match &text.state {
            TextState::Accepted { sid, .. } => Some(sid.clone()),
            _ => None,
        };
        let body = if text.audit { text.body.clone() } else { String::new() };
        let (user, subject) = (text.user.clone().unwrap_or_default(), text.to.clone());
        self.audit(kind, &user, Via::System, &subject, body, result, events, sid);
    }

    /// Texts that wait: how many, and how long the oldest has.
    pub(super) fn outbox_depth(&self) -> (usize, Duration) {
        let oldest = self.outbox.open.first().map(|id| self.now.since(self.outbox.rows[id].created));
        (self.outbox.open.len(), oldest.unwrap_or_default())
    }

    /// After a restart: what was being sent has an unknown fate, everything else goes on.
    pub(super) fn resume_outbox(&mut self) {
        let ids: Vec<_> = self.outbox.rows.keys().copied().collect();
        for id in ids {
            let Some(text) = self.outbox.text(id) else {
                self.resume_write_back(id);
                continue;
            };
            match &text.state {
                TextState::Sending(since) => {
                    let since = *since;
                    self.become_ambiguous(id, since, "the program stopped during the attempt".to_owned());
                }
                TextState::Accepted { sid, .. } => {
                    let sids = text.duplicates.iter().chain([sid]).cloned().collect::<Vec<_>>();
                    self.outbox.sids.extend(sids.into_iter().map(|sid| (sid, id)));
                    self.requeue(id);
                }
                _ => self.requeue(id),
            }
        }
    }
}

fn outgoing(row: OutboxId, text: &Text) -> Outgoing {
    Outgoing { row, twilio: text.twilio.clone(), channel: Channel::Sms, to: text.to.clone(), body: text.body.clone() }
}

pub(super) fn status_word(status: DeliveryState) -> &'static str {
    match status {
        DeliveryState::Accepted => "accepted",
        DeliveryState::Queued => "queued",
        DeliveryState::Sending => "sending",
        DeliveryState::Sent => "sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Undelivered => "undelivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Canceled => "canceled",
        DeliveryState::Read => "read",
    }
}
