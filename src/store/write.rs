//! Writing: a batch of records is one transaction.
//!
//! Rows go in as statements of many rows each, in three fixed sizes, so that ten thousand records are some forty prepared
//! statements and not ten thousand. SQLite runs on a thread of its own: a small batch goes there as one text, from BEGIN to
//! COMMIT, because waking that thread and being woken by it is what a small commit costs most.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Encode, Sqlite, SqliteConnection, Type,
    error::BoxDynError, sqlite::SqliteArguments,
};

use super::{Store, StoreError};
use crate::engine::record::{AuditEntry, JournalEntry, LedgerEntry, Record, StateKind, Stored};

/// Rows to a statement, most first. SQLite takes 32,766 parameters, 12 of them a row here.
const ROWS: [usize; 3] = [256, 16, 1];
/// Records of a batch that goes as one text; the texts of many sizes would not be found prepared.
const AT_ONCE: usize = 64;

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
        if records.len() <= AT_ONCE {
            let mut way = Way::AtOnce { sql: "BEGIN IMMEDIATE".to_owned(), values: Values::default() };
            batch.write(&mut way).await?;
            way.finish(&mut connection).await?;
        } else {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            batch.write(&mut Way::OneByOne(&mut transaction)).await?;
            transaction.commit().await?;
        }
        writer.connection = Some(connection);
        writer.committed(records.len());
        Ok(())
    }
}

/// How statements reach SQLite.
pub(super) enum Way<'c> {
    /// Gathered, with the values of all of them in order.
    AtOnce { sql: String, values: Values },
    /// Each by itself, prepared once for all batches.
    OneByOne(&'c mut SqliteConnection),
}

impl Way<'_> {
    async fn run<T>(&mut self, text: String, rows: &[T], bind: impl Fn(&mut Values, &T)) -> Result<(), StoreError> {
        match self {
            Way::AtOnce { sql, values } => {
                sql.push(';');
                sql.push_str(&text);
                for row in rows {
                    bind(values, row);
                }
                Ok(())
            }
            Way::OneByOne(connection) => {
                let mut values = Values::default();
                for row in rows {
                    bind(&mut values, row);
                }
                values.run(text, connection).await
            }
        }
    }

    /// Runs what was gathered. After an error the connection may be in the middle of a transaction.
    async fn finish(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        match self {
            Way::AtOnce { sql, values } => values.run(sql + ";COMMIT", connection).await,
            Way::OneByOne(_) => Ok(()),
        }
    }
}

/// The values of statements, in order.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    /// The first one that SQLite cannot hold.
    refused: Option<BoxDynError>,
}

impl Values {
    pub(super) fn bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    async fn run(self, sql: String, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if let Some(error) = self.refused {
            return Err(sqlx::Error::Encode(error).into());
        }
        sqlx::query_with(AssertSqlSafe(sql), self.arguments).execute(connection).await?;
        Ok(())
    }
}

/// The records by table, states only by their last value.
#[derive(Default)]
struct Batch<'a> {
    states: BTreeMap<StateKind, BTreeMap<&'a str, Option<&'a Stored>>>,
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

    async fn write(&self, way: &mut Way<'_>) -> Result<(), StoreError> {
        for (kind, entries) in &self.states {
            let set: Vec<_> = entries.iter().filter_map(|(key, value)| value.map(|value| (*key, value.text()))).collect();
            let removed: Vec<_> = entries.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
            let table = kind.table();
            let head = format!("INSERT INTO {table} (key, value) VALUES ");
            let tail = " ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            write_rows(way, (&head, "(?,?)", tail), &set, |values, (key, value)| {
                values.bind((*key).to_owned()).bind((*value).to_owned());
            })
            .await?;
            let head = format!("DELETE FROM {table} WHERE key IN (");
            write_rows(way, (&head, "?", ")"), &removed, |values, key| _ = values.bind((*key).to_owned())).await?;
        }
        let head = "INSERT INTO journal (time, alarm, event, kind, priority, value, user, via, text, data) VALUES ";
        write_rows(way, (head, "(?,?,?,?,?,?,?,?,?,?)", ""), &self.journal, |values, entry| bind_journal(values, entry)).await?;
        let head = "INSERT INTO audit (time, kind, user, via, subject, text, result, events, sid) VALUES ";
        write_rows(way, (head, "(?,?,?,?,?,?,?,?,?)", ""), &self.audit, |values, entry| bind_audit(values, entry)).await?;
        let head = "INSERT INTO ledger (sid, direction, time, channel, user, number, segments, minutes, outbox) VALUES ";
        let tail = " ON CONFLICT (sid, direction) DO UPDATE SET time = excluded.time, channel = excluded.channel, \
                    user = excluded.user, number = excluded.number, segments = excluded.segments, minutes = excluded.minutes, \
                    outbox = excluded.outbox";
        write_rows(way, (head, "(?,?,?,?,?,?,?,?,?)", tail), &self.ledger, |values, entry| bind_ledger(values, entry)).await
    }
}

/// Writes `rows` with statements of `head`, one `group` a row, and `tail`.
pub(super) async fn write_rows<T>(
    way: &mut Way<'_>,
    (head, group, tail): (&str, &str, &str),
    rows: &[T],
    bind: impl Fn(&mut Values, &T),
) -> Result<(), StoreError> {
    let mut rest = rows;
    for size in ROWS {
        while rest.len() >= size {
            let (now, later) = rest.split_at(size);
            let sql = format!("{head}{}{tail}", vec![group; size].join(","));
            way.run(sql, now, &bind).await?;
            rest = later;
        }
    }
    Ok(())
}

fn bind_journal(values: &mut Values, entry: &JournalEntry) {
    values
        .bind(entry.time.ticks())
        .bind(entry.alarm.to_string())
        .bind(entry.event.map(|event| event.to_string()))
        .bind(word(&entry.kind))
        .bind(entry.priority.name())
        .bind(entry.value.clone())
        .bind(entry.user.clone())
        .bind(entry.via.as_ref().map(word))
        .bind(entry.text.clone())
        .bind(json(&entry.data));
}

fn bind_audit(values: &mut Values, entry: &AuditEntry) {
    values
        .bind(entry.time.ticks())
        .bind(word(&entry.kind))
        .bind(entry.user.clone())
        .bind(word(&entry.via))
        .bind(entry.subject.clone())
        .bind(entry.text.clone())
        .bind(entry.result.clone())
        .bind(json(&entry.events))
        .bind(entry.sid.clone());
}

fn bind_ledger(values: &mut Values, entry: &LedgerEntry) {
    values
        .bind(entry.sid.clone())
        .bind(word(&entry.direction))
        .bind(entry.time.ticks())
        .bind(word(&entry.channel))
        .bind(entry.user.clone())
        .bind(entry.number.clone())
        .bind(entry.segments)
        .bind(entry.minutes)
        .bind(entry.row.map(u64::cast_signed));
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
