//! The log of alarm events: what happens to one, from the sample to the PLC's answer, with its id (SPEC 14).
//!
//! `event` names the alarm event, or several; `stage` is one of sample, raise, alarm, pipeline, outbox, send, webhook, reply,
//! write-back. What happens to an alarm is told at level info, what is only on its way at level debug. Never here: bodies of messages,
//! whole phone numbers. Texts from outside are written as quoted strings, so that no value can forge a line.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tracing::{Level, debug, enabled, info};
use uuid::Uuid;

use crate::engine::{
    Engine,
    io::{Effect, Input, OutboxId},
    record::{AuditEntry, AuditKind, JournalEntry, JournalKind, Record, StateKind},
};

/// Alarm events as the log has them: ids with a space between them.
pub(super) struct Events<'e>(pub &'e [Uuid]);

impl fmt::Display for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, event) in self.0.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{event}")?;
        }
        Ok(())
    }
}

/// What comes back from outside, before the engine takes it.
pub(super) fn input(engine: &Engine, input: &Input) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    let events = |row: Option<OutboxId>| row.map(|row| engine.events_of(row)).unwrap_or_default();
    match input {
        Input::Status { row, sid, status, error_code, .. } => {
            let row = engine.row_of(sid).or(*row);
            let (number, events) = (row.map(|row| row.0), events(row));
            debug!(stage = "webhook", event = %Events(&events), row = number, %sid, ?status, error_code, "delivery report");
        }
        Input::Call { call, .. } => {
            let row = engine.row_of(&call.sid);
            let (number, events) = (row.map(|row| row.0), events(row));
            debug!(stage = "webhook", event = %Events(&events), row = number, sid = %call.sid, "call report");
        }
        Input::Inbound { text, .. } => debug!(stage = "reply", sid = %text.sid, "text received"),
        Input::ReadResult { row, result } => {
            let good = result.is_ok();
            debug!(stage = "write-back", event = %Events(&events(Some(*row))), row = row.0, good, "device read");
        }
        Input::WriteResult { row, status, .. } => {
            debug!(stage = "write-back", event = %Events(&events(Some(*row))), row = row.0, %status, "device written");
        }
        _ => {}
    }
}

/// What is to be carried out.
pub(super) fn effect(engine: &Engine, effect: &Effect) {
    let (stage, row, what) = match effect {
        Effect::Send(message) => ("send", message.row, "handed to Twilio"),
        Effect::Lookup(lookup) => ("send", lookup.message.row, "looked for in Twilio's list"),
        Effect::Read { row, .. } => ("write-back", *row, "reading the device"),
        Effect::Write { row, .. } => ("write-back", *row, "writing to the device"),
        _ => return,
    };
    if enabled!(Level::DEBUG) {
        debug!(stage, event = %Events(&engine.events_of(row)), row = row.0, "{what}");
    }
}

/// What a step recorded. `sampled` is when the oldest sample of the step arrived.
pub(super) fn records(engine: &Engine, records: &[Record], sampled: Option<Instant>) {
    if !enabled!(Level::INFO) {
        return;
    }
    for record in records {
        match record {
            Record::Journal(entry) => journal(entry, sampled.map(|sampled| sampled.elapsed())),
            Record::Audit(entry) if !entry.events.is_empty() => audit(entry),
            Record::State { kind: StateKind::Outbox, key, value } if enabled!(Level::DEBUG) => {
                let events = key.parse().map(|row| engine.events_of(OutboxId(row))).unwrap_or_default();
                let kept = value.is_some();
                debug!(stage = "outbox", event = %Events(&events), row = %key, kept, "row written");
            }
            _ => {}
        }
    }
}

fn journal(entry: &JournalEntry, sampled: Option<Duration>) {
    let stage = match entry.kind {
        JournalKind::Raised => "raise",
        JournalKind::PipelineStarted | JournalKind::PipelineStep | JournalKind::PipelineEnded | JournalKind::NobodyToContact => {
            "pipeline"
        }
        JournalKind::Acknowledged | JournalKind::Reached => "reply",
        JournalKind::WriteBack => "write-back",
        _ => "alarm",
    };
    let event = entry.event.as_slice();
    let event = Events(event);
    if let (JournalKind::Raised, Some(age)) = (entry.kind, sampled) {
        debug!(stage = "sample", event = %event, alarm = %entry.alarm, value = ?entry.value, age_us = age.as_micros(), "sample");
    }
    let (kind, priority) = (entry.kind, entry.priority);
    let via = entry.via.map(tracing::field::debug);
    let alarm = &entry.alarm;
    info!(stage, event = %event, %alarm, ?kind, %priority, user = ?entry.user, via, text = ?entry.text, "alarm");
}

fn audit(entry: &AuditEntry) {
    let stage = match entry.kind {
        AuditKind::MessageNotSent => "outbox",
        AuditKind::MessageSent | AuditKind::MessageFailed | AuditKind::CallSent | AuditKind::CallFailed => "send",
        AuditKind::MessageStatus | AuditKind::CallEnded => "webhook",
        // The journal's entries of these say the same.
        AuditKind::Acknowledge | AuditKind::WriteBack | AuditKind::Comment => return,
        _ => "alarm",
    };
    let kind = entry.kind;
    let sid = entry.sid.as_deref();
    info!(stage, event = %Events(&entry.events), ?kind, user = ?entry.user, result = ?entry.result, sid, "message");
}
