//! The past of tags: written in batches of its own beside the engine's records, read by time in both directions, cut by age and number.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, QueryBuilder, Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    write::{Way, write_rows},
};
use crate::tag::{DataType, Moment, Past, PastValue, StatusCode, Timestamp, Value, pack, unpack};

/// The most values of one answer.
pub const MAX_VALUES: u32 = 100_000;
/// `kind` of a value that stands in `text`.
const TEXT: u8 = u8::MAX;

/// A value that does not fit 64 bits, as JSON. Elements go as their bits: JSON has no NaN.
#[derive(Serialize, Deserialize)]
enum Long {
    Elements(DataType, Vec<u64>),
    Other(Value),
}

/// How much of the past there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Values of all tags.
    pub values: u64,
    /// The oldest of them; `None` without any.
    pub oldest: Option<Timestamp>,
}

impl Store {
    /// Makes values durable, all or none, in one transaction, each with its tag's path. One that is there already stays as it is.
    ///
    /// # Errors
    /// When nothing was written: [`StoreError::full`] when there is no room.
    pub async fn keep_history(&self, values: &[(Arc<str>, PastValue)]) -> Result<(), StoreError> {
        if values.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.connection.take() {
            Some(connection) => connection,
            None => writer.options.connect().await?,
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut ids = HashMap::new();
        let mut rows = Vec::with_capacity(values.len());
        for (path, value) in values {
            let id = match ids.get(path) {
                Some(id) => *id,
                None => *ids.entry(Arc::clone(path)).or_insert(tag_id(&mut transaction, path).await?),
            };
            rows.push((id, value, encode(&value.value)?));
        }
        let head = "INSERT INTO history (tag, time, received, status, kind, bits, text) VALUES ";
        let tail = " ON CONFLICT (tag, time, received) DO NOTHING";
        let bind = |values: &mut super::write::Values, (id, value, (kind, bits, text)): &(i64, &PastValue, Encoded)| {
            values.bind(*id).bind(value.at.time.ticks()).bind(value.at.received.ticks()).bind(i64::from(value.status.0));
            values.bind(i64::from(*kind)).bind(bits.cast_signed()).bind(text.clone());
        };
        write_rows(&mut Way::OneByOne(&mut transaction), (head, "(?,?,?,?,?,?,?)", tail), &rows, bind).await?;
        transaction.commit().await?;
        writer.connection = Some(connection);
        writer.committed(values.len());
        Ok(())
    }

    /// A stretch of a tag's past, [`MAX_VALUES`] at most; empty for a tag that has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, past: &Past) -> Result<Vec<PastValue>, StoreError> {
        let mut sql = QueryBuilder::new(
            "SELECT time, received, status, kind, bits, text FROM history \
             WHERE tag = (SELECT id FROM history_tag WHERE path = ",
        );
        sql.push_bind(past.tag.clone()).push(") AND (time, received) > (").push_bind(past.after.time.ticks());
        sql.push(", ").push_bind(past.after.received.ticks()).push(") AND (time, received) < (");
        sql.push_bind(past.before.time.ticks()).push(", ").push_bind(past.before.received.ticks()).push(")");
        let order = if past.newest_first { "DESC" } else { "ASC" };
        sql.push(format!(" ORDER BY time {order}, received {order} LIMIT ")).push_bind(past.limit.min(MAX_VALUES));
        sql.build().fetch_all(&self.readers).await?.iter().map(past_value).collect()
    }

    /// How much of the past there is. Counts: not for every second.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history_extent(&self) -> Result<Extent, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM history").fetch_one(&self.readers).await?;
        let values: i64 = row.try_get(0)?;
        let sql = "SELECT min((SELECT min(time) FROM history WHERE tag = history_tag.id)) FROM history_tag";
        let oldest: Option<i64> = sqlx::query(sql).fetch_one(&self.readers).await?.try_get(0)?;
        Ok(Extent { values: values.cast_unsigned(), oldest: oldest.map(Timestamp::from_ticks) })
    }

    /// Forgets what is older than `before`, one tag at a time, so that commits need not wait for long. Gives how many values.
    ///
    /// # Errors
    /// When it cannot be written; some may be gone then.
    pub async fn cut_history(&self, before: Timestamp) -> Result<u64, StoreError> {
        let tags = sqlx::query("SELECT id FROM history_tag").fetch_all(&self.readers).await?;
        let mut gone = 0;
        for tag in tags {
            let id: i64 = tag.try_get(0)?;
            let mut writer = self.writer.lock().await;
            let mut connection = match writer.connection.take() {
                Some(connection) => connection,
                None => writer.options.connect().await?,
            };
            let cut = sqlx::query("DELETE FROM history WHERE tag = ? AND time < ?").bind(id).bind(before.ticks());
            gone += cut.execute(&mut connection).await?.rows_affected();
            writer.connection = Some(connection);
        }
        Ok(gone)
    }
}

async fn tag_id(connection: &mut SqliteConnection, path: &str) -> Result<i64, StoreError> {
    let sql = "INSERT INTO history_tag (path) VALUES (?) ON CONFLICT (path) DO NOTHING";
    sqlx::query(AssertSqlSafe(sql)).bind(path.to_owned()).execute(&mut *connection).await?;
    let row = sqlx::query("SELECT id FROM history_tag WHERE path = ?").bind(path.to_owned()).fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

type Encoded = (u8, u64, Option<String>);

fn encode(value: &Value) -> Result<Encoded, StoreError> {
    if let Some((kind, bits)) = pack(value) {
        return Ok((kind, bits, None));
    }
    let elements = match value {
        Value::Array(data_type, elements) => {
            let bits: Option<Vec<u64>> = elements.iter().map(|element| pack(element).map(|(_, bits)| bits)).collect();
            bits.map(|bits| Long::Elements(*data_type, bits))
        }
        _ => None,
    };
    let long = elements.unwrap_or_else(|| Long::Other(value.clone()));
    let text = serde_json::to_string(&long).map_err(|error| StoreError::damaged(&error.to_string()))?;
    Ok((TEXT, 0, Some(text)))
}

fn past_value(row: &SqliteRow) -> Result<PastValue, StoreError> {
    let damaged = |what: &dyn std::fmt::Display| StoreError::damaged(&format!("a value of the past is wrong: {what}"));
    let (status, kind, bits): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let kind = u8::try_from(kind).map_err(|error| damaged(&error))?;
    let value = match row.try_get::<Option<String>, _>(5)? {
        None => unpack(kind, bits.cast_unsigned()),
        Some(text) => match serde_json::from_str(&text).map_err(|error| damaged(&error))? {
            Long::Elements(data_type, bits) => {
                Value::Array(data_type, bits.into_iter().map(|bits| unpack(data_type as u8, bits)).collect())
            }
            Long::Other(value) => value,
        },
    };
    Ok(PastValue {
        at: Moment { time: Timestamp::from_ticks(row.try_get(0)?), received: Timestamp::from_ticks(row.try_get(1)?) },
        value,
        status: StatusCode(u32::try_from(status).map_err(|error| damaged(&error))?),
    })
}
