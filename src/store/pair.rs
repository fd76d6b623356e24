//! What instances that share a store tell each other by it: who lives, who is the active one, and inputs for that one (SPEC 12).
//!
//! The lease is the row in `commits`: whoever holds it is the active one, in an epoch that every commit checks. All times are the
//! database's own, so no two clocks are ever compared.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sqlx::{Executor as _, PgConnection, Row as _, SqlStr, postgres::types::PgInterval};
use uuid::Uuid;

use super::{
    Backend, Store, StoreError,
    postgres::{NO_ANSWER, Postgres, within},
    sql::Statement,
};

/// How long the database may take to be given the lease back, or for a beat of a short lease.
const BEAT: Duration = Duration::from_secs(1);
/// A member that was not seen for so many leases is gone.
const GONE: i32 = 10;

/// What keeps the lease.
#[derive(Default)]
pub(super) struct Keeper {
    pub connection: Option<PgConnection>,
    /// When the last beat was answered.
    answered: Option<Instant>,
    /// A beat since then was not.
    failed: bool,
    /// Until then a lease that has run out is left to whoever held it.
    patient: Option<Instant>,
}

impl Keeper {
    /// At the beginning of a beat: whether it may take a lease that has run out. When the database was gone for all, it has run out
    /// although whoever holds it lives, and may hold records of what it did meanwhile (`store_lost = "send"`): that one comes first.
    fn takes(&mut self, began: Instant, lease: Duration) -> bool {
        if self.failed && self.answered.is_some_and(|at| began.duration_since(at) > lease) {
            self.patient = Some(began + lease);
        }
        self.failed = true;
        self.patient.is_none_or(|until| until <= began)
    }
}

/// One instance, as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Random for each start of the process.
    pub id: Uuid,
    /// Its ApplicationUri.
    pub uri: String,
    /// `opc.tcp://…`
    pub endpoint: String,
    /// Of the program.
    pub version: String,
    /// It would take over.
    pub ready: bool,
}

/// Whether this instance is the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Active,
    /// It stands by.
    Standby {
        /// The active one; `None` when there is none at present.
        active: Option<Member>,
    },
}

/// Where the instances stand.
#[derive(Clone, Debug)]
pub struct Pair {
    /// This one.
    pub standing: Standing,
    /// All that were seen within 10 leases, this one among them, by their uri.
    pub members: Vec<Member>,
    /// Of the last commit; it grows with each, not always by one. 0 with SQLite.
    pub number: u64,
}

impl Store {
    /// Whether several instances may share this store (PostgreSQL).
    #[must_use]
    pub fn shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Says that `me` lives, and takes or renews the lease if it may; a third of `lease` at most, or 1 s if that is more; where the
    /// connection must be made anew, 3 s and twice as much again. It waits for two answers of the server, so that a slow one is good enough. The one that holds it renews it, for as long as
    /// nobody has taken it. It is taken when it is free, was given up, or has not been renewed for `lease`; by one that is not
    /// ready only when no ready one lives, that is, was seen within `lease`; and for one `lease` after the database was gone for longer
    /// than that, not because it has run out: whoever held it comes first. SQLite has no other instances: always active.
    ///
    /// # Errors
    /// When the database does not answer, or refuses. Whether commits work is unchanged then.
    pub async fn beat(&self, me: &Member, lease: Duration) -> Result<Pair, StoreError> {
        let Backend::Postgres(postgres) = &self.backend else {
            return Ok(Pair { standing: Standing::Active, members: vec![me.clone()], number: 0 });
        };
        postgres.beat(me, lease).await
    }

    /// Gives the lease up at once (a graceful end, or a readiness rule), so that a standby takes it with its next beat. Commits of
    /// this store are fenced from now until [`Store::beat`] says again that it is active; it takes the lease again if it may.
    ///
    /// # Errors
    /// When the database does not answer, or refuses: the lease runs out by itself then. Commits are fenced all the same.
    pub async fn give_up(&self, me: &Member) -> Result<(), StoreError> {
        let Backend::Postgres(postgres) = &self.backend else { return Ok(()) };
        postgres.epoch.store(0, Ordering::Release);
        in_time(BEAT, postgres.give_up(me)).await
    }

    /// Hands an input to the active instance: durable when it returns. What is in it is the daemon's business; it is kept for a
    /// day. Gives its number, for [`Store::answer`].
    ///
    /// # Errors
    /// When it could not be written; a SQLite store is not shared and takes none.
    pub async fn hand_in(&self, input: &str) -> Result<u64, StoreError> {
        self.only_shared()?;
        let sql = "INSERT INTO handed (time, input) VALUES (clock_timestamp(), ?) RETURNING id";
        let id: i64 = self.reader.fetch_one(Statement::new(sql).bind(input)).await?.get(0)?;
        Ok(id.cast_unsigned())
    }

    /// Inputs handed in and not yet taken ([`Record::HandedIn`](crate::engine::record::Record::HandedIn)), oldest first, at most `limit`.
    ///
    /// # Errors
    /// When they cannot be read; a SQLite store has none.
    pub async fn handed_in(&self, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        self.only_shared()?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id, input FROM handed WHERE taken IS NULL ORDER BY id LIMIT ?";
        let rows = self.reader.fetch(Statement::new(sql).bind(limit)).await?;
        rows.iter().map(|row| Ok((row.get::<i64>(0)?.cast_unsigned(), row.get(1)?))).collect()
    }

    /// The answer to an input ([`Record::Answered`](crate::engine::record::Record::Answered)), once there.
    ///
    /// # Errors
    /// When it cannot be read; a SQLite store has none.
    pub async fn answer(&self, id: u64) -> Result<Option<String>, StoreError> {
        self.only_shared()?;
        let rows = self.reader.fetch(Statement::new("SELECT answer FROM handed WHERE id = ?").bind(id.cast_signed())).await?;
        rows.first().map_or(Ok(None), |row| row.get(0))
    }

    fn only_shared(&self) -> Result<(), StoreError> {
        if self.shared() { Ok(()) } else { Err(StoreError::other("a SQLite store is not shared with other instances")) }
    }
}

async fn in_time<T>(time: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| Err(StoreError::other(NO_ANSWER)))
}

impl Postgres {
    fn beat<'f>(&'f self, me: &'f Member, lease: Duration) -> BoxFuture<'f, Result<Pair, StoreError>> {
        Box::pin(async move {
            let time = BEAT.max(lease / 3);
            let mut keeper = self.keeper.lock().await;
            let takes = keeper.takes(Instant::now(), lease);
            let mut connection = self.kept(&mut keeper.connection, time).await?;
            // Of beats that take a third of the lease, each still ends before the room of the one before it does. A limit that is
            // shorter would let an instance renew, time and again, a lease that it does not see and nobody else gets.
            let (pair, epoch) = in_time(time, beat(&mut connection, me, lease, takes)).await?;
            self.epoch.store(epoch.unwrap_or(0), Ordering::Release);
            (keeper.answered, keeper.failed) = (Some(Instant::now()), false);
            keeper.connection = Some(connection);
            Ok(pair)
        })
    }

    fn give_up<'f>(&'f self, me: &'f Member) -> BoxFuture<'f, Result<(), StoreError>> {
        Box::pin(async move {
            let mut keeper = self.keeper.lock().await;
            // Whatever a beat that was on its way has found.
            self.epoch.store(0, Ordering::Release);
            let mut connection = self.kept(&mut keeper.connection, BEAT).await?;
            let sql = "UPDATE commits SET holder = NULL WHERE holder = $1";
            sqlx::query(sql).bind(me.id.to_string()).execute(&mut connection).await?;
            keeper.connection = Some(connection);
            Ok(())
        })
    }

    /// The connection that keeps the lease; it is put back only after good work. Each of a new one's statements is prepared within `time`.
    async fn kept(&self, keeper: &mut Option<PgConnection>, time: Duration) -> Result<PgConnection, StoreError> {
        if let Some(connection) = keeper.take() {
            return Ok(connection);
        }
        let mut connection = self.connect().await?;
        // Here, so that a beat itself waits for no more answers than it must.
        for sql in [RENEW, SEE] {
            within(time, connection.prepare(SqlStr::from_static(sql))).await?;
        }
        Ok(connection)
    }
}

/// Says that an instance lives, and takes or renews the lease. Of several that try at once, the others see the row as the first has left
/// it. Instances that were not seen for a day are forgotten.
const RENEW: &str = "WITH said AS (
    INSERT INTO member (id, uri, endpoint, version, ready, seen) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET uri = excluded.uri, endpoint = excluded.endpoint, version = excluded.version,
    ready = excluded.ready, seen = excluded.seen
), forgotten AS (
    DELETE FROM member WHERE id <> $1 AND seen < clock_timestamp() - interval '1 day'
)
UPDATE commits SET epoch = CASE WHEN holder = $1 THEN epoch ELSE epoch + 1 END, holder = $1, renewed = clock_timestamp()
WHERE holder = $1 OR (holder IS NULL OR $7 AND renewed < clock_timestamp() - $6::interval) AND ($5 OR NOT EXISTS
    (SELECT 1 FROM member WHERE id <> $1 AND ready AND seen > clock_timestamp() - $6::interval))
RETURNING epoch";
/// The last commit, who holds the lease, and who was seen; the asker at least.
const SEE: &str = "SELECT number, CASE WHEN renewed >= clock_timestamp() - $1::interval THEN holder END,
    id, uri, endpoint, version, ready
FROM commits, member WHERE seen > clock_timestamp() - $2::int4 * $1::interval ORDER BY uri, id";

/// The beat itself; with the epoch when `me` is active.
async fn beat(
    connection: &mut PgConnection,
    me: &Member,
    lease: Duration,
    takes: bool,
) -> Result<(Pair, Option<i64>), StoreError> {
    let long = interval(lease);
    let renewal = sqlx::query(RENEW).bind(me.id.to_string()).bind(&me.uri).bind(&me.endpoint).bind(&me.version);
    let mine = renewal.bind(me.ready).bind(long).bind(takes).fetch_optional(&mut *connection).await?;
    let rows = sqlx::query(SEE).bind(long).bind(GONE).fetch_all(&mut *connection).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let (number, holder): (i64, Option<String>) = (first.try_get(0)?, first.try_get(1)?);
    let mut members = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.try_get::<String, _>(2)?;
        let id = Uuid::parse_str(&id).map_err(|_| StoreError::damaged(&format!("{id:?} is no id of an instance")))?;
        let (uri, endpoint, version, ready) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
        members.push(Member { id, uri, endpoint, version, ready });
    }
    let epoch = mine.map(|row| row.try_get(0)).transpose()?;
    let standing = if epoch.is_some() {
        Standing::Active
    } else {
        let active = members.iter().find(|member| holder.as_deref() == Some(&*member.id.to_string())).cloned();
        Standing::Standby { active }
    };
    Ok((Pair { standing, members, number: number.cast_unsigned() }, epoch))
}

fn interval(time: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(time.as_micros()).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_database_was_gone_whoever_held_the_lease_comes_first() {
        let (lease, began) = (Duration::from_secs(3), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut keeper = Keeper::default();
        assert!(keeper.takes(at(0), lease) && keeper.takes(at(9), lease), "one that was never answered does not wait");
        let answered = |keeper: &mut Keeper, seconds: u64| (keeper.answered, keeper.failed) = (Some(at(seconds)), false);
        answered(&mut keeper, 10);
        assert!(keeper.takes(at(11), lease) && keeper.takes(at(13), lease), "gone for no longer than a lease");
        assert!(!keeper.takes(at(14), lease) && !keeper.takes(at(20), lease));
        answered(&mut keeper, 20);
        assert!(!keeper.takes(at(22), lease));
        answered(&mut keeper, 22);
        assert!(keeper.takes(at(23), lease), "a lease after the first answer");
        answered(&mut keeper, 23);
        assert!(keeper.takes(at(40), lease), "it was not the database that was silent");
    }
}
