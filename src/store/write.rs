//! Writing: a batch of records is one transaction.
//!
//! Rows go in as statements of many rows each, in three fixed sizes, so that ten thousand records are some forty prepared
//! statements and not ten thousand.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments,
};

use super::{Store, StoreError};
use crate::engine::record::{AuditEntry, JournalEntry, LedgerEntry, Record, StateKind};

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Rows to a statement, most first. SQLite takes 32,766 parameters, 12 of them a row here.
const ROWS: [usize; 3] = [256, 16, 1];

impl Store {
    /// Makes `records` durable, all or none, in one transaction. Later state entries of one key win over earlier ones. When this
    /// returns, they are on the disk. After an error the next call starts afresh, so a caller may try again until it works.
    ///
    /// # Errors
    /// When nothing was written: [`StoreError::full`] when there is no room.
    pub async fn commit(&self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = Batch::sort(records);
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.connection.take() {
            Some(connection) => connection,
            None => writer.options.connect().await?,
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        batch.write(&mut transaction).await?;
        transaction.commit().await?;
        writer.connection = Some(connection);
        Ok(())
    }
}

/// The records by table, states only by their last value.
#[derive(Default)]
struct Batch<'a> {
    states: BTreeMap<StateKind, BTreeMap<&'a str, Option<&'a serde_json::Value>>>,
    journal: Vec<&'a JournalEntry>,
    audit: Vec<&'a AuditEntry>,
    ledger: Vec<&'a LedgerEntry>,
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
                Record::Ledger(entry) => batch.ledger.push(entry),
            }
        }
        batch
    }

    async fn write(&self, to: &mut SqliteConnection) -> Result<(), StoreError> {
        for (kind, entries) in &self.states {
            let set: Vec<_> = entries.iter().filter_map(|(key, value)| value.map(|value| (*key, value.to_string()))).collect();
            let removed: Vec<_> = entries.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
            let table = kind.table();
            let head = format!("INSERT INTO {table} (key, value) VALUES ");
            let tail = " ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            write_rows(to, (&head, "(?,?)", tail), &set, |statement, (key, value)| {
                statement.bind(key.to_string()).bind(value.clone())
            })
            .await?;
            let head = format!("DELETE FROM {table} WHERE key IN (");
            write_rows(to, (&head, "?", ")"), &removed, |statement, key| statement.bind((*key).to_owned())).await?;
        }
        let head = "INSERT INTO journal (time, alarm, event, kind, priority, value, user, via, text, data) VALUES ";
        write_rows(to, (head, "(?,?,?,?,?,?,?,?,?,?)", ""), &self.journal, |statement, entry| bind_journal(statement, entry))
            .await?;
        let head = "INSERT INTO audit (time, kind, user, via, subject, text, result, events, sid) VALUES ";
        write_rows(to, (head, "(?,?,?,?,?,?,?,?,?)", ""), &self.audit, |statement, entry| bind_audit(statement, entry)).await?;
        let head = "INSERT INTO ledger (sid, direction, time, channel, user, number, segments, minutes, outbox) VALUES ";
        let tail = " ON CONFLICT (sid, direction) DO UPDATE SET time = excluded.time, channel = excluded.channel, \
                    user = excluded.user, number = excluded.number, segments = excluded.segments, minutes = excluded.minutes, \
                    outbox = excluded.outbox";
        write_rows(to, (head, "(?,?,?,?,?,?,?,?,?)", tail), &self.ledger, |statement, entry| bind_ledger(statement, entry)).await
    }
}

/// Writes `rows` with statements of `head`, one `group` a row, and `tail`.
async fn write_rows<T>(
    to: &mut SqliteConnection,
    (head, group, tail): (&str, &str, &str),
    rows: &[T],
    bind: impl for<'q> Fn(Statement<'q>, &T) -> Statement<'q>,
) -> Result<(), StoreError> {
    let mut rest = rows;
    for size in ROWS {
        while rest.len() >= size {
            let (now, later) = rest.split_at(size);
            let sql = format!("{head}{}{tail}", vec![group; size].join(","));
            now.iter().fold(sqlx::query(AssertSqlSafe(sql)), &bind).execute(&mut *to).await?;
            rest = later;
        }
    }
    Ok(())
}

fn bind_journal<'q>(statement: Statement<'q>, entry: &JournalEntry) -> Statement<'q> {
    statement
        .bind(entry.time.ticks())
        .bind(entry.alarm.to_string())
        .bind(entry.event.map(|event| event.to_string()))
        .bind(word(&entry.kind))
        .bind(entry.priority.name())
        .bind(entry.value.clone())
        .bind(entry.user.clone())
        .bind(entry.via.as_ref().map(word))
        .bind(entry.text.clone())
        .bind(json(&entry.data))
}

fn bind_audit<'q>(statement: Statement<'q>, entry: &AuditEntry) -> Statement<'q> {
    statement
        .bind(entry.time.ticks())
        .bind(word(&entry.kind))
        .bind(entry.user.clone())
        .bind(word(&entry.via))
        .bind(entry.subject.clone())
        .bind(entry.text.clone())
        .bind(entry.result.clone())
        .bind(json(&entry.events))
        .bind(entry.sid.clone())
}

fn bind_ledger<'q>(statement: Statement<'q>, entry: &LedgerEntry) -> Statement<'q> {
    statement
        .bind(entry.sid.clone())
        .bind(word(&entry.direction))
        .bind(entry.time.ticks())
        .bind(word(&entry.channel))
        .bind(entry.user.clone())
        .bind(entry.number.clone())
        .bind(entry.segments)
        .bind(entry.minutes)
        .bind(entry.row.map(u64::cast_signed))
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
