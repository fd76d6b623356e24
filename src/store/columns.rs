//! Reading for figures: everything of a span, lent row by row, a year of it in seconds.
//!
//! A row of a query costs its wake-ups and copies more than its content: rows are joined to one text a chunk inside the database, and
//! split here while the next chunk is being joined. What is in a text is told apart by the control characters US and LF, which no path has.

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Store, StoreError, query::parse_json, sql::Statement};
use crate::{
    engine::{
        io::Via,
        plan::{Channel, Priority},
        record::{Direction, JournalKind, Told, Transition},
    },
    tag::Timestamp,
};

/// Journal entries of one chunk.
const CHUNK: u32 = 50_000;
/// What stands between the parts of a row.
const UNIT: char = '\u{1F}';

/// The kinds that figures need, as they stand in the journal; the ones that begin or end activity first.
const KINDS: &str = "'raised','cleared','latched','removed','acknowledged','reached'";
/// A row as text; what stands between quotes are US and LF. A name could hold them; a path cannot.
const ROW: &str = "time || '\u{1F}' || kind || '\u{1F}' || priority || '\u{1F}' || coalesce(event, '') || '\u{1F}' || \
                   CASE text WHEN 'silenced' THEN '1' ELSE '0' END || '\u{1F}' || coalesce(via, '') || '\u{1F}' || \
                   CASE kind WHEN 'acknowledged' THEN replace(replace(\"user\", '\u{1F}', ' '), '\n', ' ') ELSE '' END || \
                   '\u{1F}' || alarm";
/// Rows as one text, a line each.
const JOINED: &str = "SELECT string_agg(line, '\n')";

/// What the ledger holds of one text or call, lent while it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerRow<'r> {
    /// When it was accepted or received.
    pub time: Timestamp,
    /// To somebody or from somebody.
    pub direction: Direction,
    /// Text or call.
    pub channel: Channel,
    /// The user; `None` for a number of no user.
    pub user: Option<&'r str>,
    /// Segments of a text.
    pub segments: u32,
    /// Minutes of a call, rounded up.
    pub minutes: u32,
}

impl Store {
    /// When the first entry of the journal or the audit log was written; `None` for a store in which nothing ever happened.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn first_recorded(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT min(time) FROM (SELECT min(time) AS time FROM journal UNION ALL SELECT min(time) FROM audit) AS firsts";
        let first: Option<i64> = self.reader.fetch_one(Statement::new(sql)).await?.get(0)?;
        Ok(first.map(Timestamp::from_ticks))
    }

    /// Lends to `take` the transitions of the journal in `[from, to)` that figures need, in the order in which they were recorded;
    /// before them the activation of every alarm that was active at `from`. `progress` gets the part that is done, 0 to 1.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry is damaged.
    pub async fn transitions(
        &self,
        (from, to): (Timestamp, Timestamp),
        mut take: impl FnMut(&Transition<'_>),
        progress: impl Fn(f64),
    ) -> Result<(), StoreError> {
        let bounds = Statement::new(
            "SELECT min(id), max(id), (SELECT coalesce(max(id), 0) FROM journal) FROM journal WHERE time >= ? AND time < ?",
        );
        let bounds = self.reader.fetch_one(bounds.bind(from.ticks()).bind(to.ticks())).await?;
        let (first, last): (Option<i64>, Option<i64>) = (bounds.get(0)?, bounds.get(1)?);
        let newest: i64 = bounds.get(2)?;
        let (first, last) = (first.unwrap_or(newest + 1), last.unwrap_or(newest));
        for line in self.standing_at(first).await?.lines() {
            take(&parse(line)?);
        }
        let (sender, mut chunks) = mpsc::channel(2);
        let reader = self.reader.clone();
        let reading = tokio::spawn(async move {
            let sql = format!(
                "{JOINED} FROM (SELECT {ROW} AS line FROM journal WHERE id >= ? AND id < ? AND time >= ? \
                 AND time < ? AND kind IN ({KINDS}) ORDER BY id) AS lines"
            );
            let mut start = first;
            while start <= last {
                let query = Statement::new(sql.as_str()).bind(start).bind((start + i64::from(CHUNK)).min(last + 1));
                let rows = reader.fetch(query.bind(from.ticks()).bind(to.ticks())).await;
                let text = rows.and_then(|rows| rows.first().map_or(Ok(None), |row| row.get::<Option<String>>(0)));
                let failed = text.is_err();
                if sender.send(text.map(Option::unwrap_or_default)).await.is_err() || failed {
                    return;
                }
                start += i64::from(CHUNK);
            }
        });
        let mut done = 0.0;
        while let Some(chunk) = chunks.recv().await {
            for line in chunk?.lines() {
                take(&parse(line)?);
            }
            done += f64::from(CHUNK);
            #[allow(clippy::cast_precision_loss)]
            progress((done / (last - first + 1) as f64).min(1.0));
        }
        // It has said all that it had to say.
        _ = reading.await;
        Ok(())
    }

    /// The activation of each alarm that was active before entry `first`, as lines. It jumps from alarm to alarm in the index.
    async fn standing_at(&self, first: i64) -> Result<String, StoreError> {
        let sql = format!(
            "WITH RECURSIVE alarms(path) AS (SELECT min(alarm) FROM journal UNION ALL \
             SELECT (SELECT min(alarm) FROM journal WHERE alarm > alarms.path) FROM alarms WHERE alarms.path IS NOT NULL) \
             {JOINED} FROM (SELECT {ROW} AS line FROM alarms JOIN journal ON journal.id = \
             (SELECT id FROM journal WHERE alarm = alarms.path AND id < ? \
              AND kind IN ('raised','cleared','latched','removed') ORDER BY id DESC LIMIT 1) WHERE kind = 'raised') AS lines"
        );
        let row = self.reader.fetch_one(Statement::new(sql).bind(first)).await?;
        Ok(row.get::<Option<String>>(0)?.unwrap_or_default())
    }

    /// Lends to `take` what people were told of alarm events in `[from, to)`.
    ///
    /// # Errors
    /// When the store cannot be read, or an entry is damaged.
    pub async fn told(&self, (from, to): (Timestamp, Timestamp), mut take: impl FnMut(Told<'_>)) -> Result<(), StoreError> {
        let sql = "SELECT id, time, \"user\", events FROM audit WHERE id > ? AND time >= ? AND time < ? \
                   AND kind IN ('message_sent', 'call_sent') AND events <> '[]' ORDER BY id LIMIT ?";
        let first = Statement::new("SELECT coalesce(min(id), 0) - 1 FROM audit WHERE time >= ? AND time < ?");
        let first = self.reader.fetch_one(first.bind(from.ticks()).bind(to.ticks())).await?;
        let mut after: i64 = first.get(0)?;
        loop {
            let query = Statement::new(sql).bind(after).bind(from.ticks()).bind(to.ticks()).bind(CHUNK);
            let rows = self.reader.fetch(query).await?;
            for row in &rows {
                let events: Vec<Uuid> = parse_json(row.get(3)?)?;
                take(Told { time: Timestamp::from_ticks(row.get(1)?), user: row.get(2)?, events: &events });
                after = row.get(0)?;
            }
            if rows.len() < CHUNK as usize {
                return Ok(());
            }
        }
    }

    /// How many messages were not sent in `[from, to)`, by reason, most first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn not_sent(&self, (from, to): (Timestamp, Timestamp)) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT result, count(*) FROM audit WHERE kind = 'message_not_sent' AND time >= ? AND time < ? GROUP BY result \
                   ORDER BY 2 DESC, 1";
        let rows = self.reader.fetch(Statement::new(sql).bind(from.ticks()).bind(to.ticks())).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }

    /// Lends to `take` the ledger's rows in `[from, to)`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ledger_rows(
        &self,
        (from, to): (Timestamp, Timestamp),
        mut take: impl FnMut(LedgerRow<'_>),
    ) -> Result<(), StoreError> {
        let sql = "SELECT time, direction = 'sent', channel = 'voice', \"user\", segments, minutes, sid, direction FROM ledger \
                   WHERE time >= ? AND time < ? AND (time, sid, direction) > (?, ?, ?) ORDER BY time, sid, direction LIMIT ?";
        let mut after = (i64::MIN, String::new(), String::new());
        loop {
            let query = Statement::new(sql).bind(from.ticks()).bind(to.ticks());
            let query = query.bind(after.0).bind(after.1.clone()).bind(after.2.clone()).bind(CHUNK);
            let rows = self.reader.fetch(query).await?;
            for row in &rows {
                let time: i64 = row.get(0)?;
                take(LedgerRow {
                    time: Timestamp::from_ticks(time),
                    direction: if row.get(1)? { Direction::Sent } else { Direction::Received },
                    channel: if row.get(2)? { Channel::Voice } else { Channel::Sms },
                    user: row.get(3)?,
                    segments: row.small(4)?,
                    minutes: row.small(5)?,
                });
            }
            let Some(row) = rows.last().filter(|_| rows.len() == CHUNK as usize) else {
                return Ok(());
            };
            after = (row.get(0)?, row.get(6)?, row.get(7)?);
        }
    }
}

fn parse(line: &str) -> Result<Transition<'_>, StoreError> {
    let damaged = |what: &str| StoreError::damaged(&format!("an entry of the journal is wrong ({what}): {line:?}"));
    let mut parts = line.splitn(8, UNIT);
    let mut part = || parts.next().ok_or_else(|| damaged("too short"));
    let (time, kind, priority, event, silenced, via, user, alarm) =
        (part()?, part()?, part()?, part()?, part()?, part()?, part()?, part()?);
    Ok(Transition {
        time: Timestamp::from_ticks(time.parse().map_err(|_| damaged("time"))?),
        alarm,
        event: if event.is_empty() { None } else { Some(Uuid::parse_str(event).map_err(|_| damaged("event"))?) },
        kind: match kind {
            "raised" => JournalKind::Raised,
            "cleared" => JournalKind::Cleared,
            "latched" => JournalKind::Latched,
            "removed" => JournalKind::Removed,
            "acknowledged" => JournalKind::Acknowledged,
            "reached" => JournalKind::Reached,
            _ => return Err(damaged("kind")),
        },
        priority: Priority::ALL.into_iter().find(|known| known.name() == priority).ok_or_else(|| damaged("priority"))?,
        user,
        via: match via {
            "" => None,
            "plc" => Some(Via::Plc),
            "system" => Some(Via::System),
            other => Some(serde_json::from_value(other.into()).map_err(|_| damaged("via"))?),
        },
        silenced: silenced == "1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::SILENCED;

    #[test]
    fn the_query_knows_the_word_of_the_engine() {
        assert!(ROW.contains(&format!("CASE text WHEN '{SILENCED}'")));
    }
}
