//! Writing an acknowledgement back to the PLC (SPEC 9).
//!
//! A write-back belongs to its acknowledgement and is durable. What is written is fixed before the first attempt, so that a
//! retry never toggles twice or counts twice; and whatever happens, a pulse that may have begun is ended.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Engine, Timer, answer,
    io::{Effect, OutboxId, Via},
    length::DigestItem,
    outbox::{Answer, Job, LateAnswer, Purpose, Row},
    plan::{WriteBack, WriteBackMode},
    record::{AuditKind, JournalKind},
};
use crate::tag::{DataType, Rank, StatusCode, TagId, Timestamp, Value};

/// From a failed attempt to the next.
const RETRY: Duration = Duration::from_secs(2);
/// The longest wait between two attempts to end a pulse.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How long the end of a pulse waits for another pulse that is just being written to the same tag.
const SHARED: Duration = Duration::from_millis(200);

/// A write-back in the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WriteBackRow {
    pub alarm: Arc<str>,
    pub event: Uuid,
    pub user: String,
    pub code: String,
    pub acknowledged: Timestamp,
    pub phase: Phase,
    pub attempts: u32,
    /// Path of the tag; ids do not survive a restart.
    pub target: String,
    /// Fixed before the first attempt.
    pub value: Option<Value>,
    /// What ends a pulse, kept here because the alarm may have gone from the configuration when it is due.
    pub reset: Option<Value>,
    /// How it ended: `None` while it is tried.
    pub confirmed: Option<bool>,
    pub detail: String,
    /// People to tell when it has ended.
    pub late: Vec<LateAnswer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Waits for its next attempt.
    Waiting(Timestamp),
    /// The target is being read.
    Reading,
    /// The write is under way.
    Writing,
    /// Written; the tag of `confirm` has not yet taken its value.
    Confirming,
    /// A pulse is on until then.
    Holding(Timestamp),
    /// The pulse's end is under way.
    Resetting,
    /// The pulse's end failed and is tried again then.
    ResetAgain(Timestamp),
    Ended(Timestamp),
}

impl Engine {
    /// Begins the write-back of an acknowledgement; `None` when the alarm has none.
    pub(super) fn start_write_back(&mut self, index: usize, event: Uuid, user: &str, via: Via) -> Option<OutboxId> {
        let def = Arc::clone(&self.plan.alarms[index]);
        let rules = def.write_back.as_ref()?;
        if via == Via::Plc && def.ack_from.as_ref().is_some_and(|from| self.source_of(from.tag) == self.source_of(rules.tag)) {
            return None;
        }
        self.give_up_write_backs(&def.path, "superseded by a later acknowledgement");
        let target = self.path_of(rules.tag);
        let row = WriteBackRow {
            alarm: Arc::clone(&def.path),
            event,
            user: user.to_owned(),
            code: self.runs.get(&def.path).map(|run| run.code.clone()).unwrap_or_default(),
            acknowledged: self.now,
            phase: Phase::Waiting(self.now),
            attempts: 0,
            target: target.clone(),
            value: None,
            reset: (rules.mode == WriteBackMode::Pulse).then(|| reset_value(&rules.value)),
            confirmed: None,
            detail: String::new(),
            late: Vec::new(),
        };
        let id = self.new_row(Job::WriteBack(row));
        self.write_backs.entry(Arc::clone(&def.path)).or_default().push(id);
        self.write_targets.entry(target).or_default().insert(id);
        self.write_back_due(id);
        Some(id)
    }

    /// The next attempt of a row that waits, or the end of its pulse, or its deadline.
    pub(super) fn write_back_due(&mut self, id: OutboxId) {
        let now = self.now;
        let timeout = self.plan.alarm_rules.ack_timeout;
        let waits = |phase: Phase| !matches!(phase, Phase::Reading | Phase::Writing | Phase::Resetting | Phase::Ended(_));
        let Some(row) = self.write_back(id) else { return };
        if row.confirmed.is_none() && waits(row.phase) && now.since(row.acknowledged) >= timeout {
            self.end_write_back(id, false, "");
        }
        let Some(row) = self.write_back(id) else { return };
        match row.phase {
            Phase::Ended(at) if at == now => {}
            Phase::Ended(_) => {
                let alarm = Arc::clone(&row.alarm);
                if let Some(rows) = self.write_backs.get_mut(&alarm) {
                    rows.retain(|row| *row != id);
                }
                self.drop_row(id);
            }
            Phase::Holding(at) | Phase::ResetAgain(at) | Phase::Waiting(at) if at > now => self.file_write_back(id),
            Phase::Holding(_) | Phase::ResetAgain(_) => self.reset_pulse(id),
            Phase::Waiting(_) => self.attempt_write_back(id),
            Phase::Reading | Phase::Writing | Phase::Confirming | Phase::Resetting => {}
        }
    }

    fn attempt_write_back(&mut self, id: OutboxId) {
        let Some(row) = self.write_back(id) else { return };
        let Some(index) = self.plan.alarm_index.get(&row.alarm).copied() else {
            return self.end_write_back(id, false, "the alarm was removed");
        };
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(rules) = &def.write_back else { return self.end_write_back(id, false, "its write-back was removed") };
        let Some(value) = row.value.clone() else {
            match rules.mode {
                WriteBackMode::Set | WriteBackMode::Pulse => self.fix_value(id, rules.value.clone()),
                WriteBackMode::Toggle | WriteBackMode::Increment if self.must_queue(id) => {
                    self.retry_write_back(id, "waits for an earlier write-back to the same tag");
                }
                WriteBackMode::Toggle | WriteBackMode::Increment => {
                    self.update_write_back(id, |row| {
                        row.phase = Phase::Reading;
                        row.attempts += 1;
                    });
                    self.effects.push(Effect::Read { row: id, tag: rules.tag });
                }
            }
            return;
        };
        let writes = self.writes(rules, row, value);
        let read_back = (rules.mode != WriteBackMode::Pulse && rules.confirm.is_none()).then_some(rules.tag);
        self.update_write_back(id, |row| {
            row.phase = Phase::Writing;
            row.attempts += 1;
        });
        self.effects.push(Effect::Write { row: id, writes, read_back });
    }

    /// True while an older row still has to change the target: the next value is computed from what that one leaves.
    fn must_queue(&self, id: OutboxId) -> bool {
        let Some(older) = self.write_back(id).and_then(|row| self.write_targets.get(&row.target)) else { return false };
        let unsettled = |other: &OutboxId| {
            self.write_back(*other).is_some_and(|row| {
                row.confirmed.is_none() && matches!(row.phase, Phase::Waiting(_) | Phase::Reading | Phase::Writing)
            })
        };
        older.range(..id).any(unsettled)
    }

    /// Who, code and time first, the tag itself last, so that the PLC finds them when it sees the acknowledgement.
    fn writes(&self, rules: &WriteBack, row: &WriteBackRow, value: Value) -> Vec<(TagId, Value)> {
        let user_id = self.plan.users.get(&row.user).and_then(|user| user.id).or_else(|| self.user_ids.get(&row.user).copied());
        let details = [
            rules.user_tag.and_then(|tag| Some((tag, self.detail_value(tag, &row.user, user_id, None)?))),
            rules.code_tag.and_then(|tag| Some((tag, self.detail_value(tag, &row.code, None, None)?))),
            rules.time_tag.and_then(|tag| {
                let text = row.acknowledged.to_string();
                Some((tag, self.detail_value(tag, &text, Some(row.acknowledged.unix_millis() / 1000), Some(row.acknowledged))?))
            }),
        ];
        details.into_iter().flatten().chain([(rules.tag, value)]).collect()
    }

    fn detail_value(&self, tag: TagId, text: &str, number: Option<i64>, time: Option<Timestamp>) -> Option<Value> {
        let value_type = self.plan.tag(tag)?.value_type;
        match (value_type.rank, value_type.data_type) {
            (Rank::Scalar, DataType::String) => Some(Value::string(text)),
            (Rank::Scalar, DataType::DateTime) => time.map(Value::DateTime),
            (Rank::Scalar, data_type) => number.and_then(|number| data_type.from_i128(number.into())),
            (Rank::Array(_), _) => None,
        }
    }

    /// The value is known: it is recorded, and then written.
    fn fix_value(&mut self, id: OutboxId, value: Value) {
        self.update_write_back(id, |row| row.value = Some(value));
        self.attempt_write_back(id);
    }

    pub(super) fn read_result(&mut self, id: OutboxId, result: Result<Value, StatusCode>) {
        let Some(row) = self.write_back(id).filter(|row| row.phase == Phase::Reading) else { return };
        let rules = self.plan.alarm(&row.alarm).and_then(|def| def.write_back.clone());
        let Some(rules) = rules else { return self.end_write_back(id, false, "its write-back was removed") };
        match result.map(|value| next_value(rules.mode, &value)) {
            Ok(Some(next)) => self.fix_value(id, next),
            Ok(None) => self.retry_write_back(id, "its target does not hold a value that can be toggled or incremented"),
            Err(status) => self.retry_write_back(id, &format!("reading the target: {status}")),
        }
    }

    pub(super) fn write_result(&mut self, id: OutboxId, status: StatusCode, read_back: Option<Value>) {
        let Some(row) = self.write_back(id) else { return self.set_ended(id, Some(status)) };
        match row.phase {
            Phase::Resetting => self.pulse_reset(id, status),
            Phase::Writing => self.written(id, status, read_back),
            _ => {}
        }
    }

    fn written(&mut self, id: OutboxId, status: StatusCode, read_back: Option<Value>) {
        let Some(row) = self.write_back(id) else { return };
        let given_up = row.confirmed.is_some();
        let rules = self.plan.alarm(&row.alarm).and_then(|def| def.write_back.clone());
        let pulse = row.reset.is_some();
        let hold = rules.as_ref().map_or(Duration::ZERO, |rules| rules.hold);
        let until = self.now + hold;
        let perhaps_on = pulse && !certainly_refused(status);
        if perhaps_on {
            // Even an attempt whose answer was lost may have set the bit: its end is due all the same.
            self.update_write_back(id, |row| row.phase = Phase::Holding(until));
            self.file_write_back(id);
        } else {
            // Nothing is under way any more, whatever is decided below.
            self.update_write_back(id, |row| row.phase = Phase::Waiting(until));
        }
        if given_up {
            if !perhaps_on {
                self.finish_write_back(id);
            }
            return;
        }
        if !status.is_good() {
            if perhaps_on {
                self.update_write_back(id, |row| row.detail = status.to_string());
                return;
            }
            return self.retry_write_back(id, &format!("the device answered {status}"));
        }
        self.update_write_back(id, |row| row.detail.clear());
        match rules {
            Some(WriteBack { confirm: Some((tag, value)), .. }) => {
                if self.holds(tag, &value) {
                    self.end_write_back(id, true, "");
                } else if !pulse {
                    self.update_write_back(id, |row| row.phase = Phase::Confirming);
                    self.file_write_back(id);
                }
            }
            Some(WriteBack { mode: WriteBackMode::Pulse, .. }) => self.end_write_back(id, true, ""),
            _ => match read_back {
                Some(found) if Some(&found) == row_value(self.write_back(id)) => self.end_write_back(id, true, ""),
                Some(found) => self.retry_write_back(id, &format!("the device holds {found} afterwards")),
                None => self.retry_write_back(id, "the device did not say what it holds afterwards"),
            },
        }
    }

    /// A tag of a `confirm` took a value.
    pub(super) fn confirm_seen(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some((tag, value)) = def.write_back.as_ref().and_then(|rules| rules.confirm.clone()) else { return };
        if !self.holds(tag, &value) {
            return;
        }
        for id in self.write_backs.get(&def.path).cloned().unwrap_or_default() {
            if self.write_back(id).is_some_and(|row| row.confirmed.is_none() && row.attempts > 0) {
                self.end_write_back(id, true, "");
            }
        }
    }

    fn holds(&self, tag: TagId, value: &Value) -> bool {
        let reading = self.reading(tag);
        reading.status.is_usable() && reading.value == *value
    }

    /// A source is connected: what waits to be written there is tried at once, the ends of pulses too.
    pub(super) fn hurry_write_backs(&mut self, source: &str) {
        let now = self.now;
        let there = |path: &str| self.tag_by_path(path).and_then(|tag| self.source_of(tag)).is_some_and(|of| *of == *source);
        let targets = self.write_targets.iter().filter(|(path, _)| there(path));
        let rows: Vec<OutboxId> = targets.flat_map(|(_, rows)| rows).copied().collect();
        for id in rows {
            let phase = match self.write_back(id).map(|row| row.phase) {
                Some(Phase::Waiting(at)) if at > now => Phase::Waiting(now),
                Some(Phase::ResetAgain(at)) if at > now => Phase::ResetAgain(now),
                _ => continue,
            };
            self.update_write_back(id, |row| row.phase = phase);
            self.write_back_due(id);
        }
    }

    fn retry_write_back(&mut self, id: OutboxId, detail: &str) {
        let again = self.now + RETRY;
        self.update_write_back(id, |row| {
            row.phase = Phase::Waiting(again);
            detail.clone_into(&mut row.detail);
        });
        self.file_write_back(id);
    }

    /// A newer event has begun, or the alarm has gone: nothing more is tried, but a pulse is still ended.
    pub(super) fn give_up_write_backs(&mut self, alarm: &str, reason: &str) {
        for id in self.write_backs.get(alarm).cloned().unwrap_or_default() {
            if self.write_back(id).is_some_and(|row| row.confirmed.is_none()) {
                self.end_write_back(id, false, reason);
            }
        }
    }

    /// Confirmed or not: journal, audit log, the person who waits, and AckNotConfirmed.
    fn end_write_back(&mut self, id: OutboxId, confirmed: bool, reason: &str) {
        let Some(row) = self.write_back(id) else { return };
        let (alarm, event, user) = (Arc::clone(&row.alarm), row.event, row.user.clone());
        let given_up = !reason.is_empty();
        let detail = match (confirmed, given_up, row.detail.is_empty()) {
            (true, ..) => "confirmed by the PLC".to_owned(),
            (false, true, _) => format!("given up: {reason}"),
            (false, false, true) => "not confirmed in time".to_owned(),
            (false, false, false) => format!("not confirmed in time: {}", row.detail),
        };
        self.update_write_back(id, |row| {
            row.confirmed = Some(confirmed);
            row.detail.clone_from(&detail);
        });
        if let Some(index) = self.plan.alarm_index.get(&alarm).copied() {
            self.journal(index, JournalKind::WriteBack, Some(event), &detail);
        }
        self.audit(AuditKind::WriteBack, &user, Via::System, &alarm, String::new(), &detail, vec![event], None);
        if confirmed || given_up {
            self.unconfirmed.remove(&alarm);
        } else {
            self.unconfirmed.insert(Arc::clone(&alarm));
        }
        self.show_unconfirmed();
        self.release_answers(id);
        let Some(row) = self.write_back(id) else { return };
        if !matches!(row.phase, Phase::Holding(_) | Phase::Resetting | Phase::ResetAgain(_) | Phase::Writing) {
            self.finish_write_back(id);
        }
    }

    pub(super) fn show_unconfirmed(&mut self) {
        let text = (!self.unconfirmed.is_empty()).then(|| {
            let names: Vec<&str> = self.unconfirmed.iter().take(5).map(|path| &**path).collect();
            format!("acknowledgement not confirmed by the PLC: {}", names.join(", "))
        });
        self.dirty.engine = true;
        self.set_system("System/Gateway/Alarms/AckNotConfirmed", text);
    }

    fn finish_write_back(&mut self, id: OutboxId) {
        let now = self.now;
        self.update_write_back(id, |row| row.phase = Phase::Ended(now));
        self.file_write_back(id);
        let Some(target) = self.write_back(id).map(|row| row.target.clone()) else { return };
        if let Some(rows) = self.write_targets.get_mut(&target) {
            rows.remove(&id);
            if rows.is_empty() {
                self.write_targets.remove(&target);
            }
        }
    }

    fn reset_pulse(&mut self, id: OutboxId) {
        let now = self.now;
        let Some((path, value)) = self.write_back(id).and_then(|row| Some((row.target.clone(), row.reset.clone()?))) else {
            return;
        };
        let Some(tag) = self.tag_by_path(&path) else {
            self.update_write_back(id, |row| row.detail = format!("{path} was removed before its pulse could be ended"));
            return self.finish_write_back(id);
        };
        match self.other_pulse(id, &path) {
            // A later pulse on the same tag holds it longer, and ends it for both.
            Some(Phase::Holding(_)) => return self.pulse_reset(id, StatusCode::GOOD),
            Some(_) => {
                self.update_write_back(id, |row| row.phase = Phase::ResetAgain(now + SHARED));
                return self.file_write_back(id);
            }
            None => {}
        }
        self.update_write_back(id, |row| {
            row.phase = Phase::Resetting;
            row.attempts += 1;
        });
        self.effects.push(Effect::Write { row: id, writes: vec![(tag, value)], read_back: None });
    }

    /// Another pulse on the same tag that is being written, or holds it longer than this one.
    fn other_pulse(&self, id: OutboxId, target: &str) -> Option<Phase> {
        let others = self.write_targets.get(target)?.iter().filter(|other| **other != id);
        let phases = others.filter_map(|other| {
            let row = self.write_back(*other).filter(|row| row.reset.is_some())?;
            let longer = match row.phase {
                Phase::Writing => true,
                Phase::Holding(until) => until > self.now || *other > id,
                _ => false,
            };
            longer.then_some(row.phase)
        });
        phases.max_by_key(|phase| matches!(phase, Phase::Holding(_)))
    }

    fn pulse_reset(&mut self, id: OutboxId, status: StatusCode) {
        if !status.is_good() {
            let attempts = self.write_back(id).map_or(0, |row| row.attempts);
            let again = self.now + RETRY.saturating_mul(attempts.max(1)).min(MAX_RETRY);
            self.update_write_back(id, |row| row.phase = Phase::ResetAgain(again));
            return self.file_write_back(id);
        }
        // The first half's answer was lost: now that the pulse is ended it may be tried again while there is time.
        let open = self.write_back(id).is_some_and(|row| row.confirmed.is_none());
        let confirming = open && self.write_back(id).is_some_and(|row| row.detail.is_empty());
        if open && confirming {
            self.update_write_back(id, |row| row.phase = Phase::Confirming);
            self.file_write_back(id);
        } else if open {
            self.retry_write_back(id, "the first half of the pulse was not answered");
        } else {
            self.finish_write_back(id);
        }
    }

    /// After a restart nothing is under way: reads and writes are made anew, with the value that was fixed; a pulse that may have
    /// begun is ended first.
    pub(super) fn resume_write_back(&mut self, id: OutboxId) {
        let now = self.now;
        let Some(row) = self.write_back(id) else { return };
        let alarm = Arc::clone(&row.alarm);
        let target = row.target.clone();
        let phase = match (row.phase, row.reset.is_some()) {
            (Phase::Writing | Phase::Holding(_) | Phase::Resetting | Phase::ResetAgain(_), true) => Phase::ResetAgain(now),
            (Phase::Reading | Phase::Writing | Phase::Waiting(_), _) if row.confirmed.is_some() => Phase::Ended(now),
            (Phase::Reading | Phase::Writing | Phase::Waiting(_), _) => Phase::Waiting(now),
            (phase, _) => phase,
        };
        let interrupted = row.phase == Phase::Writing && row.reset.is_some();
        self.update_write_back(id, |row| {
            row.phase = phase;
            if interrupted {
                row.detail = "the program stopped during the pulse".to_owned();
            }
        });
        self.write_backs.entry(alarm).or_default().push(id);
        if !matches!(phase, Phase::Ended(_)) {
            self.write_targets.entry(target).or_default().insert(id);
        }
        self.file_write_back(id);
    }

    fn file_write_back(&mut self, id: OutboxId) {
        const KEEP: Duration = Duration::from_secs(60);
        let Some(row) = self.write_back(id) else { return };
        let deadline = row.acknowledged + self.plan.alarm_rules.ack_timeout;
        let due = match row.phase {
            Phase::Waiting(at) | Phase::Holding(at) | Phase::ResetAgain(at) if row.confirmed.is_none() => {
                Some(at.min(deadline.max(self.now)))
            }
            Phase::Waiting(at) | Phase::Holding(at) | Phase::ResetAgain(at) => Some(at),
            Phase::Confirming => Some(deadline),
            Phase::Ended(at) => Some(at + KEEP),
            Phase::Reading | Phase::Writing | Phase::Resetting => None,
        };
        self.timers.set(&Timer::Row(id), due);
    }

    pub(super) fn write_back(&self, id: OutboxId) -> Option<&WriteBackRow> {
        match &self.outbox.rows.get(&id)?.job {
            Job::WriteBack(row) => Some(row),
            Job::Text(_) | Job::Set(_) => None,
        }
    }

    fn update_write_back(&mut self, id: OutboxId, change: impl FnOnce(&mut WriteBackRow)) {
        if let Some(Row { job: Job::WriteBack(row), .. }) = self.outbox.rows.get_mut(&id) {
            change(row);
            self.dirty.rows.insert(id);
        }
    }

    /// Tells those who wait for this write-back: answers that are held, and people who were answered before it ended.
    fn release_answers(&mut self, ended: OutboxId) {
        let Some(row) = self.write_back(ended) else { return };
        let (confirmed, detail, alarm, code, event) =
            (row.confirmed == Some(true), row.detail.clone(), Arc::clone(&row.alarm), row.code.clone(), row.event);
        let late = row.late.clone();
        for id in self.outbox.held_answers(ended) {
            if let Some(Row { job: Job::Text(text), .. }) = self.outbox.rows.get_mut(&id)
                && let Purpose::Answer(answer) = &mut text.purpose
            {
                answer.waits_for.retain(|row| *row != ended);
                if !confirmed {
                    answer.plc_failure = Some(detail.clone());
                }
                if answer.waits_for.is_empty() {
                    text.not_before = self.now;
                }
            }
            self.dirty.rows.insert(id);
            self.requeue(id);
        }
        for late in late {
            let name = super::throttle::short_name(&alarm);
            let item = DigestItem { name: &name, code: &code };
            let body = if confirmed { answer::plc_took(item) } else { answer::plc_did_not(item, &detail) };
            self.send_answer(late, Answer { plain: Some(body), events: vec![event], ..Answer::default() });
        }
    }

    /// The acknowledgement was answered; the write-back's end is told in a text of its own.
    pub(super) fn answer_late(&mut self, id: OutboxId, late: LateAnswer) {
        self.update_write_back(id, |row| row.late.push(late));
    }
}

fn row_value(row: Option<&WriteBackRow>) -> Option<&Value> {
    row?.value.as_ref()
}

/// The device, or we before it, refused: nothing was written. After any other failure it may have been.
fn certainly_refused(status: StatusCode) -> bool {
    let refusals = [
        StatusCode::BAD_NOT_CONNECTED,
        StatusCode::BAD_NO_COMMUNICATION,
        StatusCode::BAD_NOT_WRITABLE,
        StatusCode::BAD_WRITE_NOT_SUPPORTED,
        StatusCode::BAD_NOT_SUPPORTED,
        StatusCode::BAD_OUT_OF_RANGE,
        StatusCode::BAD_TYPE_MISMATCH,
        StatusCode::BAD_USER_ACCESS_DENIED,
        StatusCode::BAD_NODE_ID_UNKNOWN,
        StatusCode::BAD_OUT_OF_SERVICE,
    ];
    refusals.contains(&status)
}

fn reset_value(value: &Value) -> Value {
    match value {
        Value::Boolean(value) => Value::Boolean(!value),
        other => other.data_type().and_then(|data_type| data_type.from_i128(0)).unwrap_or_default(),
    }
}

/// What toggling or incrementing makes of a value; a counter wraps at the end of its type.
fn next_value(mode: WriteBackMode, value: &Value) -> Option<Value> {
    match (mode, value) {
        (WriteBackMode::Toggle, Value::Boolean(value)) => Some(Value::Boolean(!value)),
        (WriteBackMode::Toggle, number) => number.data_type()?.from_i128(i128::from(number.as_i128()? == 0)),
        (WriteBackMode::Increment, number) => {
            let data_type = number.data_type()?;
            let (low, high) = data_type.integer_range()?;
            let next = number.as_i128()? + 1;
            data_type.from_i128(if next > high { low.max(0) } else { next })
        }
        (WriteBackMode::Set | WriteBackMode::Pulse, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toggled_and_incremented() {
        assert_eq!(next_value(WriteBackMode::Toggle, &Value::Boolean(true)), Some(Value::Boolean(false)));
        assert_eq!(next_value(WriteBackMode::Toggle, &Value::UInt16(5)), Some(Value::UInt16(0)));
        assert_eq!(next_value(WriteBackMode::Increment, &Value::UInt16(65_535)), Some(Value::UInt16(0)));
        assert_eq!(next_value(WriteBackMode::Increment, &Value::Int16(32_767)), Some(Value::Int16(0)));
        assert_eq!(next_value(WriteBackMode::Increment, &Value::Float(1.0)), None);
        assert_eq!(reset_value(&Value::Boolean(true)), Value::Boolean(false));
        assert_eq!(reset_value(&Value::Int32(7)), Value::Int32(0));
    }
}
