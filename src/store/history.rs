//! The past of tags: written in batches of its own beside the engine's records, read by time in both directions, cut by age and number.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Backend, Store, StoreError,
    sql::{Row, Statement},
    write::write_rows,
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
    /// When nothing was written, or nobody knows; the same values may be given again. See [`Store::commit`].
    pub async fn keep_history(&self, values: &[(Arc<str>, PastValue)]) -> Result<(), StoreError> {
        if values.is_empty() {
            return Ok(());
        }
        let encoded = values.iter().map(|(path, value)| Ok((path, value, encode(&value.value)?)));
        let rows = encoded.collect::<Result<Vec<_>, StoreError>>()?;
        let paths: Vec<_> = values.iter().map(|(path, _)| &**path).collect::<BTreeSet<_>>().into_iter().collect();
        let mut statements = Vec::new();
        let head = "INSERT INTO history_tag (path) VALUES ";
        write_rows(&mut statements, (head, "(?)", " ON CONFLICT (path) DO NOTHING"), &paths, |path| vec![(*path).into()]);
        let head = "INSERT INTO history (tag, time, received, status, kind, bits, text) VALUES ";
        let group = "((SELECT id FROM history_tag WHERE path = ?),?,?,?,?,?,?)";
        let tail = " ON CONFLICT (tag, time, received) DO NOTHING";
        write_rows(&mut statements, (head, group, tail), &rows, |(path, value, (kind, bits, text))| {
            vec![
                (&***path).into(),
                value.at.time.ticks().into(),
                value.at.received.ticks().into(),
                value.status.0.into(),
                u32::from(*kind).into(),
                bits.cast_signed().into(),
                text.clone().into(),
            ]
        });
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.apply(statements, values.len()).await,
            Backend::Postgres(postgres) => postgres.apply(statements).await.map(drop),
        }
    }

    /// A stretch of a tag's past, [`MAX_VALUES`] at most; empty for a tag that has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, past: &Past) -> Result<Vec<PastValue>, StoreError> {
        let mut sql = Statement::new(
            "SELECT time, received, status, kind, bits, text FROM history \
             WHERE tag = (SELECT id FROM history_tag WHERE path = ",
        );
        sql.push_bind(past.tag.clone()).push(") AND (time, received) > (").push_bind(past.after.time.ticks());
        sql.push(", ").push_bind(past.after.received.ticks()).push(") AND (time, received) < (");
        sql.push_bind(past.before.time.ticks()).push(", ").push_bind(past.before.received.ticks()).push(")");
        let order = if past.newest_first { "DESC" } else { "ASC" };
        sql.push(&format!(" ORDER BY time {order}, received {order} LIMIT ")).push_bind(past.limit.min(MAX_VALUES));
        self.reader.fetch(sql).await?.iter().map(past_value).collect()
    }

    /// How much of the past there is. Counts: not for every second.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history_extent(&self) -> Result<Extent, StoreError> {
        let values: i64 = self.reader.fetch_one(Statement::new("SELECT count(*) FROM history")).await?.get(0)?;
        let sql = "SELECT min((SELECT min(time) FROM history WHERE tag = history_tag.id)) FROM history_tag";
        let oldest: Option<i64> = self.reader.fetch_one(Statement::new(sql)).await?.get(0)?;
        Ok(Extent { values: values.cast_unsigned(), oldest: oldest.map(Timestamp::from_ticks) })
    }

    /// Forgets what is older than `before`, one tag at a time, so that commits need not wait for long. Gives how many values.
    ///
    /// # Errors
    /// When it cannot be written; some may be gone then.
    pub async fn cut_history(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        for tag in self.reader.fetch(Statement::new("SELECT id FROM history_tag")).await? {
            let cut =
                Statement::new("DELETE FROM history WHERE tag = ? AND time < ?").bind(tag.get::<i64>(0)?).bind(before.ticks());
            gone += match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.change(cut).await?,
                Backend::Postgres(postgres) => postgres.apply(vec![cut]).await?,
            };
        }
        Ok(gone)
    }
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

fn past_value(row: &Row) -> Result<PastValue, StoreError> {
    let damaged = |what: &dyn std::fmt::Display| StoreError::damaged(&format!("a value of the past is wrong: {what}"));
    let (status, kind, bits): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let kind = u8::try_from(kind).map_err(|error| damaged(&error))?;
    let value = match row.get::<Option<String>>(5)? {
        None => unpack(kind, bits.cast_unsigned()),
        Some(text) => match serde_json::from_str(&text).map_err(|error| damaged(&error))? {
            Long::Elements(data_type, bits) => {
                Value::Array(data_type, bits.into_iter().map(|bits| unpack(data_type as u8, bits)).collect())
            }
            Long::Other(value) => value,
        },
    };
    Ok(PastValue {
        at: Moment { time: Timestamp::from_ticks(row.get(0)?), received: Timestamp::from_ticks(row.get(1)?) },
        value,
        status: StatusCode(u32::try_from(status).map_err(|error| damaged(&error))?),
    })
}
