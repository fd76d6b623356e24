//! PostgreSQL: one connection writes, a few read beside it, one keeps the lease. Everything has an end: a server that does not
//! answer is an error after some seconds, and its connection is dropped.
//!
//! The row in `commits` is what makes a commit safe. The last statement of every commit moves its number on, and fails unless number
//! and epoch are what this instance takes them for; it goes out together with COMMIT, so that an instance that is stopped in
//! between holds that row for nobody. When the answer to this is lost, the row tells later whether the commit is there.

use std::{
    future::Future,
    io,
    str::FromStr as _,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions},
};
use tokio::sync::Mutex;

use super::{
    READERS, StoreError, explain_migration,
    pair::Keeper,
    sql::{Row, Statement},
    write,
};
use crate::{config::StoreSettings, engine::record::Record};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one statement of a commit may take. The server gives up a little earlier.
const WRITE: Duration = Duration::from_secs(5);
const SERVER_WRITE: &str = "4500";
/// How long a query may take: a year's journal is read in pieces, but the past of many tags is counted as a whole. That the server is
/// there at all has been seen just before, within [`CONNECT`].
const READ: Duration = Duration::from_secs(30);
const SERVER_READ: &str = "29000";
/// How long a statement waits for rows that another session has changed and not committed.
const LOCKS: &str = "2000";
/// After so long the server ends a session that has begun a transaction and says nothing, so that an instance that was stopped in the
/// middle of a commit does not keep the next one from writing.
const IDLE: &str = "1000";
/// How long bringing the schema up to date may take, another instance that does it included.
const MIGRATE: Duration = Duration::from_secs(60);
/// Prepared statements of a connection: three sizes of each kind.
const STATEMENTS: usize = 256;
/// Every so many commits, inputs that were handed in over a day ago are deleted …
const TIDY_EVERY: i64 = 100;
/// … so many at once: a commit may take in a thousand, and most take none or few.
const TIDY: &str = "DELETE FROM handed WHERE id IN (SELECT id FROM handed WHERE time < clock_timestamp() - interval '1 day' \
                    ORDER BY time LIMIT 10000)";
/// SQLSTATE of what the last statement of a commit does when number or epoch have moved: it sets a column to NULL.
const NOT_NULL_VIOLATION: &str = "23502";

/// What a server that says nothing is answered with.
pub(super) const NO_ANSWER: &str = "the database does not answer: is the server up, and can it be reached?";

/// The open database.
pub(super) struct Postgres {
    options: PgConnectOptions,
    read_only: bool,
    writer: Mutex<Writer>,
    /// Renews the lease; beside the writer, so that a long commit does not cost it.
    pub(super) keeper: Mutex<Keeper>,
    /// The epoch in which this instance is the active one; 0 in none.
    pub(super) epoch: AtomicI64,
}

/// What commits. The connection is taken out for each commit and put back only after a good one.
#[derive(Default)]
struct Writer {
    live: Option<Live>,
    /// Commits that may or may not be there: their number, epoch and records.
    doubt: Option<Doubt>,
    /// What the caller takes for not committed, though it is: it begins its next commit with these, or some of them.
    known: Vec<Record>,
    /// The commit that left the state from which the caller goes on; looked at once.
    from: Option<i64>,
}

struct Live {
    connection: PgConnection,
    epoch: i64,
    /// Of the last commit.
    number: i64,
}

struct Doubt {
    epoch: i64,
    number: i64,
    records: Vec<Record>,
}

/// Notes a commit as doubtful unless its end is known; also when the caller gives up on it.
struct Unsettled<'w> {
    slot: &'w mut Option<Doubt>,
    epoch: i64,
    number: i64,
    records: &'w [Record],
    settled: bool,
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if !self.settled {
            *self.slot = Some(Doubt { epoch: self.epoch, number: self.number, records: self.records.to_vec() });
        }
    }
}

impl Postgres {
    pub(super) async fn open(settings: &StoreSettings, read_only: bool) -> Result<(Self, PgPool), String> {
        let place = |error: &str| format!("failed to open the store {}: {error}", settings.url);
        let mut options = PgConnectOptions::from_str(&settings.url).map_err(|error| place(&error.to_string()))?;
        if let Some(password) = &settings.password {
            options = options.password(password.expose());
        }
        let options = options.application_name("annunciator").statement_cache_capacity(STATEMENTS).disable_statement_logging();
        let session = |statement: &'static str| [("statement_timeout", statement), ("lock_timeout", LOCKS)];
        if !read_only {
            // The lock of the migrations is waited for longer than any other.
            let connection = connect(&options).await.map_err(|error| place(&error.to_string()))?;
            let migrated = tokio::time::timeout(MIGRATE, migrate(connection)).await;
            migrated.unwrap_or_else(|_| Err(NO_ANSWER.to_owned())).map_err(|error| place(&error))?;
        }
        let reading = options.clone().options(session(SERVER_READ));
        let reading = if read_only { reading.options([("default_transaction_read_only", "on")]) } else { reading };
        let readers = PgPoolOptions::new().max_connections(READERS).acquire_timeout(CONNECT).connect_with(reading).await;
        let readers = readers.map_err(|error| place(&StoreError::from(error).to_string()))?;
        let options = options
            .options(session(SERVER_WRITE))
            .options([("idle_in_transaction_session_timeout", IDLE), ("synchronous_commit", "on")]);
        let this = Self { options, read_only, writer: Mutex::default(), keeper: Mutex::default(), epoch: AtomicI64::new(0) };
        Ok((this, readers))
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options).await
    }

    pub(super) async fn close(&self) {
        let live = self.writer.lock().await.live.take();
        let keeper = self.keeper.lock().await.connection.take();
        for connection in live.map(|live| live.connection).into_iter().chain(keeper) {
            _ = within(CONNECT, connection.close()).await;
        }
    }

    /// The caller goes on from the state as commit `number` left it, and has forgotten what it wanted to commit before. Should a commit
    /// of then be made yet, its next one is fenced.
    pub(super) async fn go_on_from(&self, number: u64) {
        let mut writer = self.writer.lock().await;
        *writer = Writer { from: Some(number.cast_signed()), ..Writer::default() };
    }

    /// See [`super::Store::commit`]. Boxed, as are others here: the compiler cannot tell of sqlx's futures, for every lifetime at
    /// once, that they may go to another thread.
    pub(super) fn commit<'f>(&'f self, records: &'f [Record]) -> BoxFuture<'f, Result<(), StoreError>> {
        Box::pin(self.make_commit(records))
    }

    async fn make_commit(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let mut live = self.live(&mut writer).await?;
        let rest = rest(&writer.known, records);
        if !rest.is_empty() {
            let number = live.number + 1;
            let mut statements = write::statements(rest);
            if number % TIDY_EVERY == 0 {
                statements.push(Statement::new(TIDY));
            }
            run(&mut live.connection, statements).await?;
            let slot = &mut writer.doubt;
            let mut unsettled = Unsettled { slot, epoch: live.epoch, number, records, settled: false };
            let ended = end(&mut live.connection, live.epoch, Some(number)).await;
            unsettled.settled = !matches!(ended, Err(Ended::Unknown(_)));
            drop(unsettled);
            ended.map_err(|ended| self.told(ended, live.epoch))?;
            live.number = number;
        }
        writer.known = Vec::new();
        writer.live = Some(live);
        Ok(())
    }

    /// Runs `statements`, which may be run again, as one transaction of the active instance. Gives how many rows were changed.
    pub(super) async fn apply(&self, statements: Vec<Statement>) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().await;
        let mut live = self.live(&mut writer).await?;
        let changed = run(&mut live.connection, statements).await?;
        end(&mut live.connection, live.epoch, None).await.map_err(|ended| self.told(ended, live.epoch))?;
        writer.live = Some(live);
        Ok(changed)
    }

    /// A connection that knows where the database stands, with no commit in doubt.
    async fn live(&self, writer: &mut Writer) -> Result<Live, StoreError> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if self.read_only {
            return Err(StoreError::other("the store was opened for reading only"));
        }
        if epoch == 0 {
            return Err(fenced());
        }
        let connection = match writer.live.take() {
            Some(live) if live.epoch == epoch => return Ok(live),
            Some(live) => live.connection,
            None => self.connect().await?,
        };
        let mut live = Live { connection, epoch, number: 0 };
        let sql = "SELECT epoch, number FROM commits";
        let row = within(WRITE, sqlx::query(sql).fetch_one(&mut live.connection)).await?;
        live.number = row.try_get(1)?;
        if row.try_get::<i64, _>(0)? != epoch {
            return Err(self.told(Ended::Moved, epoch));
        }
        if writer.from.take().is_some_and(|from| from != live.number) {
            return Err(self.told(Ended::Moved, epoch));
        }
        if writer.doubt.as_ref().is_some_and(|doubt| doubt.epoch != epoch) {
            // The state was loaded anew since.
            (writer.doubt, writer.known) = (None, Vec::new());
        }
        if let Some(doubt) = &writer.doubt {
            if live.number < doubt.number {
                // It is not there, and must not come any more: it can be on its way still. From here its number is skipped.
                let sql = "UPDATE commits SET number = number + 2 WHERE epoch = $1 AND number = $2";
                let skip = sqlx::query(sql).bind(epoch).bind(live.number).execute(&mut live.connection);
                if within(WRITE, skip).await?.rows_affected() == 0 {
                    return Err(StoreError::other(
                        "a commit that was given up is still being made, it will be known in a moment",
                    ));
                }
                live.number += 2;
            } else if live.number == doubt.number {
                writer.known.clone_from(&doubt.records);
            }
            writer.doubt = None;
        }
        Ok(live)
    }

    /// What the caller is told.
    fn told(&self, ended: Ended, epoch: i64) -> StoreError {
        match ended {
            Ended::Moved => {
                // Not when a later beat has taken the lease again.
                _ = self.epoch.compare_exchange(epoch, 0, Ordering::AcqRel, Ordering::Acquire);
                fenced()
            }
            Ended::Unknown(error) => error,
        }
    }
}

/// How a commit can fail.
enum Ended {
    /// Number or epoch have moved: nothing was written.
    Moved,
    /// It may be there.
    Unknown(StoreError),
}

fn fenced() -> StoreError {
    StoreError { fenced: true, ..StoreError::other("this instance is not the active one of those that share the store") }
}

async fn migrate(mut connection: PgConnection) -> Result<(), String> {
    MIGRATIONS.run(&mut connection).await.map_err(|error| explain_migration(&error))?;
    _ = connection.close().await;
    Ok(())
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    within(CONNECT, options.connect()).await
}

/// What to do about a connection that was not made; nothing when the cause says it.
pub(super) fn advice(cause: &io::Error) -> &'static str {
    let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (cause.kind(), tls) {
        (_, Some(rustls::Error::InvalidCertificate(_))) => {
            "see that `sslrootcert` names the certificate of the CA that issued the server's, and that the host in the URL is one of \
             the names in the server's: "
        }
        (io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied, None) => {
            "a file that the URL names cannot be read (`sslrootcert`, `sslcert`, `sslkey`, or a socket): "
        }
        _ => "",
    }
}

/// Ends `work` after a time.
pub(super) async fn within<T>(time: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::other(NO_ANSWER)),
    }
}

pub(super) async fn fetch(readers: &PgPool, statement: Statement) -> Result<Vec<Row>, StoreError> {
    let (text, arguments) = statement.for_postgres()?;
    let rows = within(CONNECT + READ, sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(readers)).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

/// Begins a transaction and runs `statements` in it.
async fn run(connection: &mut PgConnection, statements: Vec<Statement>) -> Result<u64, StoreError> {
    within(WRITE, sqlx::raw_sql("BEGIN").execute(&mut *connection)).await?;
    let mut changed = 0;
    for statement in statements {
        let (text, arguments) = statement.for_postgres()?;
        let query = sqlx::query_with(AssertSqlSafe(text), arguments);
        changed += within(WRITE, query.execute(&mut *connection)).await?.rows_affected();
    }
    Ok(changed)
}

/// Ends a transaction as commit `number` of `epoch`, or as none that is counted.
async fn end(connection: &mut PgConnection, epoch: i64, number: Option<i64>) -> Result<(), Ended> {
    let sql = match number {
        Some(number) => format!(
            "UPDATE commits SET number = CASE WHEN epoch = {epoch} AND number = {} THEN {number}::bigint END;COMMIT",
            number - 1
        ),
        None => format!("UPDATE commits SET number = CASE WHEN epoch = {epoch} THEN number END;COMMIT"),
    };
    let ended = tokio::time::timeout(WRITE, sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection)).await;
    match ended {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(sqlx::Error::Database(error)))
            if error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| error.code() == NOT_NULL_VIOLATION) =>
        {
            Err(Ended::Moved)
        }
        Ok(Err(error)) => Err(Ended::Unknown(error.into())),
        Err(_) => Err(Ended::Unknown(StoreError::other(NO_ANSWER))),
    }
}

/// What of `records` is not among `known`. The caller gives what is known first and in the same order, but perhaps not all of it.
fn rest<'r>(known: &[Record], records: &'r [Record]) -> &'r [Record] {
    let mut known = known.iter();
    let there = records.iter().take_while(|record| known.any(|known| known == *record)).count();
    &records[there..]
}
