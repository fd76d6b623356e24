//! Reading what was recorded: journal and audit log by pages, newest first; the ledger.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Store, StoreError,
    sql::{Dialect, Row, Statement},
    write::word,
};
use crate::{
    engine::{
        plan::Priority,
        record::{AuditEntry, AuditKind, JournalEntry, JournalKind, LedgerEntry},
    },
    tag::Timestamp,
};

/// The most entries of one page.
pub const MAX_PAGE: u32 = 10_000;

/// An entry with its number, which grows with every entry and is never reused.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Numbered<T> {
    /// Its number.
    pub id: i64,
    /// The entry.
    pub entry: T,
}

/// Which journal entries are wanted; everything by default, [`MAX_PAGE`] at most.
#[derive(Clone, Debug, Default)]
pub struct JournalQuery {
    /// Only of this alarm.
    pub alarm: Option<Arc<str>>,
    /// Alarm paths that begin so.
    pub alarm_prefix: Option<String>,
    /// Alarm paths that fit, with `*` for any characters and `?` for one.
    pub alarm_pattern: Option<String>,
    /// Only of this alarm event.
    pub event: Option<Uuid>,
    /// Only of these kinds; empty for all.
    pub kinds: Vec<JournalKind>,
    /// Only of these priorities; empty for all.
    pub priorities: Vec<Priority>,
    /// Only by this user or program.
    pub user: Option<String>,
    /// Only where alarm, value, user or text contain this, whatever the case of ASCII letters.
    pub text: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Numbers below this one.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// Which audit entries are wanted; everything by default, [`MAX_PAGE`] at most.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only of these kinds; empty for all.
    pub kinds: Vec<AuditKind>,
    /// Only by this user or program.
    pub user: Option<String>,
    /// Subjects that begin so.
    pub subject_prefix: Option<String>,
    /// Subjects that fit, with `*` for any characters and `?` for one.
    pub subject_pattern: Option<String>,
    /// Only with one of these results; empty for all.
    pub results: Vec<String>,
    /// Only about this alarm event.
    pub event: Option<Uuid>,
    /// Only where subject, user, text or result contain this, whatever the case of ASCII letters.
    pub text: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Numbers below this one.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// A span of time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// Which ledger rows are wanted; all by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerQuery {
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Journal entries.
    pub journal: i64,
    /// Audit entries.
    pub audit: i64,
    /// Ledger rows.
    pub ledger: i64,
}

impl Store {
    /// A page of the journal, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn journal(&self, query: &JournalQuery) -> Result<Vec<Numbered<JournalEntry>>, StoreError> {
        let mut sql = Statement::new(
            "SELECT id, time, alarm, event, kind, priority, value, \"user\", via, text, data FROM journal WHERE true",
        );
        if let Some(alarm) = &query.alarm {
            sql.push(" AND alarm = ").push_bind(alarm.to_string());
        }
        prefix(&mut sql, "alarm", query.alarm_prefix.as_deref());
        pattern(self.reader.dialect(), &mut sql, "alarm", query.alarm_pattern.as_deref());
        if let Some(event) = query.event {
            sql.push(" AND event = ").push_bind(event.to_string());
        }
        among(&mut sql, "kind", &query.kinds);
        among(&mut sql, "priority", &query.priorities);
        if let Some(user) = &query.user {
            sql.push(" AND \"user\" = ").push_bind(user.clone());
        }
        containing(self.reader.dialect(), &mut sql, ["alarm", "value", "\"user\"", "text"], query.text.as_deref());
        page(&mut sql, (query.from, query.to), query.before, query.limit);
        self.reader.fetch(sql).await?.iter().map(journal_entry).collect()
    }

    /// A page of the audit log, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<Numbered<AuditEntry>>, StoreError> {
        let mut sql =
            Statement::new("SELECT id, time, kind, \"user\", via, subject, text, result, events, sid FROM audit WHERE true");
        among(&mut sql, "kind", &query.kinds);
        if let Some(user) = &query.user {
            sql.push(" AND \"user\" = ").push_bind(user.clone());
        }
        prefix(&mut sql, "subject", query.subject_prefix.as_deref());
        among(&mut sql, "result", &query.results);
        pattern(self.reader.dialect(), &mut sql, "subject", query.subject_pattern.as_deref());
        if let Some(event) = query.event {
            about(self.reader.dialect(), &mut sql, event);
        }
        containing(self.reader.dialect(), &mut sql, ["subject", "\"user\"", "text", "result"], query.text.as_deref());
        page(&mut sql, (query.from, query.to), query.before, query.limit);
        self.reader.fetch(sql).await?.iter().map(audit_entry).collect()
    }

    /// Audit entries about an alarm event, oldest first. `span` keeps the search short: only events by time are indexed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit_about(&self, event: Uuid, span: Span, limit: u32) -> Result<Vec<Numbered<AuditEntry>>, StoreError> {
        let mut sql =
            Statement::new("SELECT id, time, kind, \"user\", via, subject, text, result, events, sid FROM audit WHERE true");
        range(&mut sql, (Some(span.from), Some(span.to)));
        about(self.reader.dialect(), &mut sql, event);
        sql.push(" ORDER BY time, id LIMIT ").push_bind(limit.min(MAX_PAGE));
        self.reader.fetch(sql).await?.iter().map(audit_entry).collect()
    }

    /// Ledger rows, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ledger(&self, query: LedgerQuery) -> Result<Vec<LedgerEntry>, StoreError> {
        let mut sql = Statement::new(
            "SELECT time, sid, direction, channel, \"user\", number, segments, minutes, outbox FROM ledger WHERE true",
        );
        range(&mut sql, (query.from, query.to));
        sql.push(" ORDER BY time, sid, direction");
        self.reader.fetch(sql).await?.iter().map(ledger_entry).collect()
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM audit), (SELECT count(*) FROM ledger)";
        let row = self.reader.fetch_one(Statement::new(sql)).await?;
        Ok(Counts { journal: row.get(0)?, audit: row.get(1)?, ledger: row.get(2)? })
    }
}

/// Keeps to texts that begin with `wanted`, in a form that an index serves: U+10FFFF sorts after everything.
fn prefix(sql: &mut Statement, column: &'static str, wanted: Option<&str>) {
    if let Some(wanted) = wanted {
        sql.push(" AND ").push(column).push(" >= ").push_bind(wanted.to_owned());
        sql.push(" AND ").push(column).push(" < ").push_bind(format!("{wanted}\u{10FFFF}"));
    }
}

/// Keeps to texts that fit a pattern; `[` means nothing to the caller, but something to GLOB.
fn pattern(dialect: Dialect, sql: &mut Statement, column: &'static str, wanted: Option<&str>) {
    let Some(wanted) = wanted else { return };
    sql.push(" AND ").push(column);
    match dialect {
        Dialect::Sqlite => sql.push(" GLOB ").push_bind(wanted.replace('[', "[[]")),
        Dialect::Postgres => {
            let escaped = wanted.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            sql.push(" LIKE ").push_bind(escaped.replace('*', "%").replace('?', "_"))
        }
    };
}

/// Keeps to one of these words, or to all when there is none.
fn among<T: Serialize>(sql: &mut Statement, column: &'static str, words: &[T]) {
    if words.is_empty() {
        return;
    }
    sql.push(" AND ").push(column).push(" IN (");
    for (index, wanted) in words.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).push_bind(word(wanted));
    }
    sql.push(")");
}

/// Keeps to rows of which one column contains a text.
fn containing(dialect: Dialect, sql: &mut Statement, columns: [&'static str; 4], wanted: Option<&str>) {
    let Some(wanted) = wanted else { return };
    let wanted = wanted.to_ascii_lowercase();
    for (index, column) in columns.into_iter().enumerate() {
        sql.push(if index == 0 { " AND (" } else { " OR " });
        sql.push(position(dialect)).push("(lower(").push(column).push("), ").push_bind(wanted.clone()).push(") > 0");
    }
    sql.push(")");
}

/// Keeps to audit entries about an alarm event.
fn about(dialect: Dialect, sql: &mut Statement, event: Uuid) {
    sql.push(" AND ").push(position(dialect)).push("(events, ").push_bind(event.to_string()).push(") > 0");
}

/// The function that says where a text contains another, from 1; 0 for nowhere.
const fn position(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "instr",
        Dialect::Postgres => "strpos",
    }
}

fn range(sql: &mut Statement, (from, to): (Option<Timestamp>, Option<Timestamp>)) {
    if let Some(from) = from {
        sql.push(" AND time >= ").push_bind(from.ticks());
    }
    if let Some(to) = to {
        sql.push(" AND time < ").push_bind(to.ticks());
    }
}

fn page(sql: &mut Statement, times: (Option<Timestamp>, Option<Timestamp>), before: Option<i64>, limit: Option<u32>) {
    range(sql, times);
    if let Some(before) = before {
        sql.push(" AND id < ").push_bind(before);
    }
    // One beyond the longest page tells whether there is another.
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(limit.unwrap_or(MAX_PAGE).min(MAX_PAGE + 1));
}

fn journal_entry(row: &Row) -> Result<Numbered<JournalEntry>, StoreError> {
    let entry = JournalEntry {
        time: Timestamp::from_ticks(row.get(1)?),
        alarm: row.get::<String>(2)?.into(),
        event: row.get::<Option<String>>(3)?.map(|text| parse_id(&text)).transpose()?,
        kind: parse_word(row.get(4)?)?,
        priority: parse_word(row.get(5)?)?,
        value: row.get(6)?,
        user: row.get(7)?,
        via: row.get::<Option<String>>(8)?.map(parse_word).transpose()?,
        text: row.get(9)?,
        data: parse_json(row.get(10)?)?,
    };
    Ok(Numbered { id: row.get(0)?, entry })
}

fn audit_entry(row: &Row) -> Result<Numbered<AuditEntry>, StoreError> {
    let entry = AuditEntry {
        time: Timestamp::from_ticks(row.get(1)?),
        kind: parse_word(row.get(2)?)?,
        user: row.get(3)?,
        via: parse_word(row.get(4)?)?,
        subject: row.get(5)?,
        text: row.get(6)?,
        result: row.get(7)?,
        events: parse_json(row.get(8)?)?,
        sid: row.get(9)?,
    };
    Ok(Numbered { id: row.get(0)?, entry })
}

fn ledger_entry(row: &Row) -> Result<LedgerEntry, StoreError> {
    Ok(LedgerEntry {
        time: Timestamp::from_ticks(row.get(0)?),
        sid: row.get(1)?,
        direction: parse_word(row.get(2)?)?,
        channel: parse_word(row.get(3)?)?,
        user: row.get(4)?,
        number: row.get(5)?,
        segments: row.small(6)?,
        minutes: row.small(7)?,
        row: row.get::<Option<i64>>(8)?.map(i64::cast_unsigned),
    })
}

fn parse_id(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|error| StoreError::damaged(&format!("{text:?} is no event id: {error}")))
}

fn parse_word<T: DeserializeOwned>(word: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| StoreError::damaged(&error.to_string()))
}

pub(super) fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::damaged(&error.to_string()))
}
