//! Writing: a batch of records as statements of many rows each, in three fixed sizes, so that ten thousand records are some forty
//! prepared statements and not ten thousand.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sql::{Datum, Statement};
use crate::engine::record::{AuditEntry, Direction, JournalEntry, LedgerEntry, Record, StateKind, Stored};

/// Rows to a statement, most first. SQLite takes 32,766 parameters, 12 of them a row here; PostgreSQL 65,535.
const ROWS: [usize; 3] = [256, 16, 1];

/// The statements that write `records`.
pub(super) fn statements(records: &[Record]) -> Vec<Statement> {
    Batch::sort(records).statements()
}

/// The records by table, states and the ledger's rows only by their last value: PostgreSQL does not change a row twice in a statement.
#[derive(Default)]
struct Batch<'a> {
    states: BTreeMap<StateKind, BTreeMap<&'a str, Option<&'a Stored>>>,
    journal: Vec<&'a JournalEntry>,
    audit: Vec<&'a AuditEntry>,
    ledger: BTreeMap<(&'a str, bool), &'a LedgerEntry>,
    handed_in: Vec<u64>,
    answered: Vec<(u64, &'a str)>,
}

impl<'a> Batch<'a> {
    fn sort(records: &'a [Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            match record {
                Record::State { kind, key, value } => {
                    batch.states.entry(*kind).or_default().insert(key, value.as_ref());
                }
                Record::Journal(entry) => batch.journal.push(entry),
                Record::Audit(entry) => batch.audit.push(entry),
                Record::Ledger(entry) => _ = batch.ledger.insert((&entry.sid, entry.direction == Direction::Sent), entry),
                Record::HandedIn { id } => batch.handed_in.push(*id),
                Record::Answered { id, answer } => batch.answered.push((*id, answer)),
            }
        }
        batch
    }

    fn statements(&self) -> Vec<Statement> {
        let mut done = Vec::new();
        for (kind, entries) in &self.states {
            let set: Vec<_> = entries.iter().filter_map(|(key, value)| value.map(|value| (*key, value.text()))).collect();
            let removed: Vec<_> = entries.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
            let table = kind.table();
            let head = format!("INSERT INTO {table} (key, value) VALUES ");
            let tail = " ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            write_rows(&mut done, (&head, "(?,?)", tail), &set, |(key, value)| vec![(*key).into(), (*value).into()]);
            let head = format!("DELETE FROM {table} WHERE key IN (");
            write_rows(&mut done, (&head, "?", ")"), &removed, |key| vec![(*key).into()]);
        }
        let head = "INSERT INTO journal (time, alarm, event, kind, priority, value, \"user\", via, text, data) VALUES ";
        write_rows(&mut done, (head, "(?,?,?,?,?,?,?,?,?,?)", ""), &self.journal, |entry| journal_values(entry));
        let head = "INSERT INTO audit (time, kind, \"user\", via, subject, text, result, events, sid) VALUES ";
        write_rows(&mut done, (head, "(?,?,?,?,?,?,?,?,?)", ""), &self.audit, |entry| audit_values(entry));
        let head = "INSERT INTO ledger (sid, direction, time, channel, \"user\", number, segments, minutes, outbox) VALUES ";
        let tail = " ON CONFLICT (sid, direction) DO UPDATE SET time = excluded.time, channel = excluded.channel, \
                    \"user\" = excluded.\"user\", number = excluded.number, segments = excluded.segments, \
                    minutes = excluded.minutes, outbox = excluded.outbox";
        let ledger: Vec<_> = self.ledger.values().copied().collect();
        write_rows(&mut done, (head, "(?,?,?,?,?,?,?,?,?)", tail), &ledger, |entry| ledger_values(entry));
        let head = "UPDATE handed SET taken = clock_timestamp() WHERE id IN (";
        write_rows(&mut done, (head, "?", ")"), &self.handed_in, |id| vec![id.cast_signed().into()]);
        done.extend(self.answered.iter().map(|(id, answer)| {
            Statement::new("UPDATE handed SET answer = ? WHERE id = ?").bind(*answer).bind(id.cast_signed())
        }));
        done
    }
}

/// Adds the statements that write `rows`: `head`, one `group` a row, and `tail`.
pub(super) fn write_rows<T>(
    done: &mut Vec<Statement>,
    (head, group, tail): (&str, &str, &str),
    rows: &[T],
    values: impl Fn(&T) -> Vec<Datum>,
) {
    let mut rest = rows;
    for size in ROWS {
        while rest.len() >= size {
            let (now, later) = rest.split_at(size);
            let text = format!("{head}{}{tail}", vec![group; size].join(","));
            done.push(Statement { text, values: now.iter().flat_map(&values).collect() });
            rest = later;
        }
    }
}

fn journal_values(entry: &JournalEntry) -> Vec<Datum> {
    vec![
        entry.time.ticks().into(),
        (&*entry.alarm).into(),
        entry.event.map(|event| event.to_string()).into(),
        word(&entry.kind).into(),
        entry.priority.name().into(),
        entry.value.as_str().into(),
        entry.user.as_str().into(),
        entry.via.as_ref().map(word).into(),
        entry.text.as_str().into(),
        json(&entry.data).into(),
    ]
}

fn audit_values(entry: &AuditEntry) -> Vec<Datum> {
    vec![
        entry.time.ticks().into(),
        word(&entry.kind).into(),
        entry.user.as_str().into(),
        word(&entry.via).into(),
        entry.subject.as_str().into(),
        entry.text.as_str().into(),
        entry.result.as_str().into(),
        json(&entry.events).into(),
        entry.sid.clone().into(),
    ]
}

fn ledger_values(entry: &LedgerEntry) -> Vec<Datum> {
    vec![
        entry.sid.as_str().into(),
        word(&entry.direction).into(),
        entry.time.ticks().into(),
        word(&entry.channel).into(),
        entry.user.clone().into(),
        entry.number.as_str().into(),
        entry.segments.into(),
        entry.minutes.into(),
        entry.row.map(u64::cast_signed).into(),
    ]
}

/// The word that serde has for a plain enum's variant.
pub(super) fn word<T: Serialize>(variant: &T) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only plain enums are stored as words: {other:?}"),
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps of text and lists of ids are always JSON")
}
