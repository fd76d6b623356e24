//! The store: what must survive a restart, a crash, or a pulled plug (SPEC 12).
//!
//! One SQLite file, or PostgreSQL for instances that share one database. Every commit is one transaction, and durable when it
//! returns; when several engine steps share a commit is the caller's decision. Absent on purpose: any knowledge of what the state
//! means, retries, and a buffer for times when the disk is full or the database away; those are the daemon's.

mod columns;
mod history;
mod pair;
mod postgres;
mod query;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;
mod write;

pub use columns::LedgerRow;
pub use history::{Extent, MAX_VALUES};
pub use pair::{Member, Pair, Standing};
pub use query::{AuditQuery, Counts, JournalQuery, LedgerQuery, MAX_PAGE, Numbered, Span};

use std::{fmt, path::Path};

use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError, sqlite::SqliteError};

use crate::{
    config::StoreSettings,
    engine::record::{Record, StateKind, StateRow},
};
use postgres::Postgres;
use sql::{Dialect, Reader, Statement};
use sqlite::Sqlite;

/// Connections that read beside the writer.
const READERS: u32 = 4;

/// The open store. Reads may go on while a commit runs.
pub struct Store {
    reader: Reader,
    backend: Backend,
}

/// What writes to the database behind it.
enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Why the store could not be read or written; fits after "failed to …: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The disk, or the room granted to the file, is full.
    pub full: bool,
    /// This instance is not the active one of those that share the store, and nothing was written.
    pub fenced: bool,
    /// For people.
    pub message: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Opens the SQLite store that `url` names, or PostgreSQL without a password; otherwise as [`Store::open_configured`].
    ///
    /// # Errors
    /// As [`Store::open_configured`].
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, String> {
        Self::open_configured(&StoreSettings { url: url.to_owned(), password: None }, data_dir).await
    }

    /// Opens the store, making it and bringing its schema up to date as needed. A relative file lies under `data_dir`, which is made
    /// too; both are for their owner only. A PostgreSQL database must be there, and its user may create tables in it.
    ///
    /// # Errors
    /// What is wrong and what to do about it: an unknown kind of URL, a file that cannot be made or is no database, one that
    /// another running daemon holds or that a newer version wrote, a database that does not answer or lets nobody in.
    pub async fn open_configured(settings: &StoreSettings, data_dir: &Path) -> Result<Self, String> {
        Self::connect(settings, data_dir, false).await
    }

    /// Opens an existing store for reading only, also while a daemon writes to it.
    ///
    /// # Errors
    /// As [`Store::open_configured`]; also when there is no store yet.
    pub async fn open_read_only(settings: &StoreSettings, data_dir: &Path) -> Result<Self, String> {
        Self::connect(settings, data_dir, true).await
    }

    async fn connect(settings: &StoreSettings, data_dir: &Path, read_only: bool) -> Result<Self, String> {
        if settings.is_postgres() {
            let (postgres, readers) = Postgres::open(settings, read_only).await?;
            return Ok(Self { reader: Reader::Postgres(readers), backend: Backend::Postgres(postgres) });
        }
        let file = sqlite::file_of(&settings.url, data_dir)?;
        let (sqlite, readers) = if read_only { Sqlite::open_read_only(&file).await? } else { Sqlite::open(&file).await? };
        Ok(Self { reader: Reader::Sqlite(readers), backend: Backend::Sqlite(sqlite) })
    }

    /// Makes `records` durable, all or none, in one transaction. Later state entries of one key win over earlier ones. When this
    /// returns, they are on the disk. After an error the next call starts afresh, so a caller may try again until it works.
    ///
    /// With PostgreSQL an error may leave open whether they were written: the answer was lost. The next call finds out. If they were,
    /// it leaves out the beginning of its own records that it finds among those, in order: the caller gives what failed again, with
    /// newer records after it, and may have dropped some of it meanwhile.
    ///
    /// # Errors
    /// When nothing was written as far as is known: [`StoreError::full`] when there is no room, [`StoreError::fenced`] unless the last
    /// [`Store::beat`] said that this instance is the active one, and it still is.
    pub async fn commit(&self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.apply(write::statements(records), records.len()).await,
            Backend::Postgres(postgres) => postgres.commit(records).await,
        }
    }

    /// The whole state, as the last commit left it.
    ///
    /// # Errors
    /// When it cannot be read, or a value is no JSON.
    pub async fn load(&self) -> Result<Vec<StateRow>, StoreError> {
        Ok(self.snapshot().await?.1)
    }

    /// The whole state, for one who is to change it: commits go on from exactly this. An earlier commit of this instance that comes
    /// true only now makes the next one fail as fenced.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn take_up(&self) -> Result<Vec<StateRow>, StoreError> {
        let (number, rows) = self.snapshot().await?;
        if let Backend::Postgres(postgres) = &self.backend {
            postgres.go_on_from(number).await;
        }
        Ok(rows)
    }

    /// The whole state, and the number of the commit that left it so ([`Pair::number`]; 0 with SQLite).
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn snapshot(&self) -> Result<(u64, Vec<StateRow>), StoreError> {
        // One statement sees one state of the database, whatever is committed meanwhile.
        let number = match self.reader.dialect() {
            Dialect::Sqlite => "SELECT CAST(-1 AS BIGINT), '', '0'",
            Dialect::Postgres => "SELECT CAST(-1 AS BIGINT), '' COLLATE \"C\", CAST(number AS TEXT) FROM commits",
        };
        let mut sql = number.to_owned();
        for (index, kind) in StateKind::ALL.into_iter().enumerate() {
            sql.extend([" UNION ALL SELECT ", &index.to_string(), ", key, value FROM ", kind.table()]);
        }
        sql += " ORDER BY 1, 2";
        let mut number = 0;
        let mut rows = Vec::new();
        for row in self.reader.fetch(Statement::new(sql)).await? {
            let (kind, key, text): (i64, String, &str) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(kind) = usize::try_from(kind).ok().and_then(|kind| StateKind::ALL.get(kind).copied()) else {
                number = text.parse().map_err(|_| StoreError::damaged(&format!("{text:?} is no number of a commit")))?;
                continue;
            };
            let value = serde_json::from_str(text)
                .map_err(|error| StoreError::damaged(&format!("{} {key:?} holds no JSON: {error}", kind.table())))?;
            rows.push(StateRow { kind, key, value });
        }
        Ok((number, rows))
    }

    /// Closes all connections, folding the write-ahead log into the file, and gives up the lock.
    pub async fn close(self) {
        self.fold().await;
    }

    /// Closes all connections, folding the write-ahead log into the file. Nothing can be read any more; a commit opens it anew.
    pub async fn fold(&self) {
        self.reader.close().await;
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.fold().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}

impl StoreError {
    fn other(message: impl Into<String>) -> Self {
        Self { full: false, fenced: false, message: message.into() }
    }

    fn damaged(what: &str) -> Self {
        Self::other(format!("the store is damaged: {what}"))
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html) that a person can do something about.
const SQLITE_READONLY: i64 = 8;
const SQLITE_IOERR: i64 = 10;
const SQLITE_FULL: i64 = 13;
/// PostgreSQL's (postgresql.org/docs/current/errcodes-appendix.html), as far as its own message does not say it.
const POSTGRES_DISK_FULL: &str = "53100";
const POSTGRES_LOCK_NOT_AVAILABLE: &str = "55P03";
const POSTGRES_NOT_LET_IN: &str = "28000";
const POSTGRES_WRONG_PASSWORD: &str = "28P01";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let database = error.as_database_error();
        let code = database.and_then(|inner| inner.try_downcast_ref::<SqliteError>()).and_then(DatabaseError::code);
        let sqlite = code.and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xFF);
        let postgres = database.and_then(|inner| inner.try_downcast_ref::<PgDatabaseError>()).map(PgDatabaseError::code);
        let full = sqlite == Some(SQLITE_FULL) || postgres == Some(POSTGRES_DISK_FULL);
        let advice = match (sqlite, postgres) {
            _ if full => "the disk is full, make room: ",
            (Some(SQLITE_READONLY), _) => "the file or its folder is read-only, check its owner and mount: ",
            (Some(SQLITE_IOERR), _) => "the disk refused, check its health, room and quota: ",
            (_, Some(POSTGRES_LOCK_NOT_AVAILABLE)) => "another session holds what is to be written, find it in pg_locks: ",
            (_, Some(POSTGRES_NOT_LET_IN)) => {
                "pg_hba.conf of the server has no rule that lets this in, add one or change `sslmode`: "
            }
            (_, Some(POSTGRES_WRONG_PASSWORD)) => "check the role's name and the `password` of [store]: ",
            _ => match &error {
                sqlx::Error::PoolTimedOut => return Self::other(postgres::NO_ANSWER),
                sqlx::Error::Io(cause) => postgres::advice(cause),
                sqlx::Error::Tls(_) => "set `ssl = on` there, and check `sslmode` and `sslrootcert` in the URL: ",
                _ => "",
            },
        };
        Self { full, fenced: false, message: format!("{advice}{error}") }
    }
}

fn explain_migration(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) | MigrateError::VersionTooNew(..) => {
            format!("it was written by another version of annunciator, run that one or restore a backup ({error})")
        }
        other => other.to_string(),
    }
}
