//! The store: what must survive a restart, a crash, or a pulled plug (SPEC 12).
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. One connection writes, a few read
//! beside it. Every commit is one transaction; when several engine steps share a commit is the caller's decision. Absent on
//! purpose: any knowledge of what the state means, retries, and a buffer for times when the disk is full; those are the daemon's.

mod columns;
mod history;
mod query;
#[cfg(test)]
mod tests;
mod write;

pub use columns::LedgerRow;
pub use history::{Extent, MAX_VALUES};
pub use query::{AuditQuery, Counts, JournalQuery, LedgerQuery, MAX_PAGE, Numbered, Span};

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::Mutex, task::JoinHandle};

use crate::engine::record::{StateKind, StateRow};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read beside the writer.
const READERS: u32 = 4;
/// The write-ahead log is cut back to this after a burst, in bytes.
const WAL_LIMIT: &str = "67108864";

/// Pages of the write-ahead log beyond which a commit itself moves them into the file: 64 MiB. Before it comes to that they are
/// moved beside the commits, so that none waits for it …
const WAL_PAGES: &str = "16384";
/// … after so many commits …
const MOVE_AFTER_COMMITS: u32 = 200;
/// … or so many records.
const MOVE_AFTER_RECORDS: usize = 5000;

/// The open store. Reads may go on while a commit runs.
pub struct Store {
    readers: SqlitePool,
    writer: Mutex<Writer>,
    /// Held for as long as the store is open: a second daemon on the same file would send everything twice.
    _lock: Option<File>,
}

/// The one connection that writes. It is taken out for each commit and put back only after a good one, so that neither an error
/// nor a caller that gives up leaves half a transaction behind.
struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// Commits and their records since the log was last moved into the file.
    since: (u32, usize),
    /// The log is being moved.
    moving: Option<JoinHandle<()>>,
}

impl Writer {
    /// Moves the log into the file when it is time, beside the next commits.
    fn committed(&mut self, records: usize) {
        self.since = (self.since.0 + 1, self.since.1 + records);
        let due = self.since.0 >= MOVE_AFTER_COMMITS || self.since.1 >= MOVE_AFTER_RECORDS;
        if !due || self.moving.as_ref().is_some_and(|moving| !moving.is_finished()) {
            return;
        }
        self.since = (0, 0);
        let options = self.options.clone();
        self.moving = Some(tokio::spawn(async move {
            let moved = async {
                let mut connection = options.connect().await?;
                // Passive: it takes what no reader needs any more, and holds nobody up.
                sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await?;
                sqlx::Connection::close(connection).await
            };
            if let Err(error) = moved.await {
                tracing::warn!(%error, "failed to move the store's log into its file; a later commit does it");
            }
        }));
    }
}

/// Why the store could not be read or written; fits after "failed to …: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The disk, or the room granted to the file, is full.
    pub full: bool,
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
    /// Opens the store that `url` names, making it and bringing its schema up to date as needed. A relative file lies under
    /// `data_dir`, which is made too. Both are for their owner only.
    ///
    /// # Errors
    /// What is wrong and what to do about it: an unknown kind of URL, a file that cannot be made or is no database, one that
    /// another running daemon holds or that a newer version wrote.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, String> {
        let file = file_of(url, data_dir)?;
        make_private(&file).map_err(|error| format!("failed to make the store {}: {error}", file.display()))?;
        let lock = lock(&file)?;
        Self::connect(&file, false, Some(lock)).await
    }

    /// Opens an existing store for reading only, also while a daemon writes to it.
    ///
    /// # Errors
    /// As [`Store::open`]; also when there is no store yet.
    pub async fn open_read_only(url: &str, data_dir: &Path) -> Result<Self, String> {
        let file = file_of(url, data_dir)?;
        if !file.exists() {
            return Err(format!("there is no store at {}: has the daemon run with this --data?", file.display()));
        }
        Self::connect(&file, true, None).await
    }

    async fn connect(file: &Path, read_only: bool, lock: Option<File>) -> Result<Self, String> {
        let place = |error: &dyn fmt::Display| format!("failed to open the store {}: {error}", file.display());
        let base = SqliteConnectOptions::new().filename(file).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
        let writing = base
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", WAL_LIMIT)
            .pragma("wal_autocheckpoint", WAL_PAGES);
        let connection = if read_only {
            None
        } else {
            let mut connection = writing.connect().await.map_err(|error| place(&error))?;
            MIGRATIONS.run(&mut connection).await.map_err(|error| place(&explain_migration(&error)))?;
            Some(connection)
        };
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(base.read_only(true))
            .await
            .map_err(|error| place(&error))?;
        let writer = Mutex::new(Writer { options: writing.read_only(read_only), connection, since: (0, 0), moving: None });
        Ok(Self { readers, writer, _lock: lock })
    }

    /// The whole state, as the last commit left it.
    ///
    /// # Errors
    /// When it cannot be read, or a value is no JSON.
    pub async fn load(&self) -> Result<Vec<StateRow>, StoreError> {
        let mut rows = Vec::new();
        for kind in StateKind::ALL {
            let sql = AssertSqlSafe(format!("SELECT key, value FROM {} ORDER BY key", kind.table()));
            for row in sqlx::query(sql).fetch_all(&self.readers).await? {
                let (key, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                let value = serde_json::from_str(&text)
                    .map_err(|error| StoreError::damaged(&format!("{} {key:?} holds no JSON: {error}", kind.table())))?;
                rows.push(StateRow { kind, key, value });
            }
        }
        Ok(rows)
    }

    /// Closes all connections, folding the write-ahead log into the file, and gives up the lock.
    pub async fn close(self) {
        self.fold().await;
    }

    /// Closes all connections, folding the write-ahead log into the file. Nothing can be read any more; a commit opens it anew.
    pub async fn fold(&self) {
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        if let Some(moving) = writer.moving.take() {
            // It says itself what went wrong.
            _ = moving.await;
        }
        if let Some(connection) = writer.connection.take() {
            let _ = sqlx::Connection::close(connection).await;
        }
    }
}

impl StoreError {
    fn damaged(what: &str) -> Self {
        Self { full: false, message: format!("the store is damaged: {what}") }
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html) that a person can do something about.
const SQLITE_READONLY: i64 = 8;
const SQLITE_IOERR: i64 = 10;
const SQLITE_FULL: i64 = 13;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(inner) => inner.code().and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xFF),
            _ => None,
        };
        let advice = match code {
            Some(SQLITE_FULL) => "the disk is full, make room: ",
            Some(SQLITE_READONLY) => "the file or its folder is read-only, check its owner and mount: ",
            Some(SQLITE_IOERR) => "the disk refused, check its health, room and quota: ",
            _ => "",
        };
        Self { full: code == Some(SQLITE_FULL), message: format!("{advice}{error}") }
    }
}

/// The file behind a `sqlite:` URL.
fn file_of(url: &str, data_dir: &Path) -> Result<PathBuf, String> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err("PostgreSQL comes with the redundant pair in a later release: use `url = \"sqlite:annunciator.db\"`".into());
    }
    let path = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(path) if !path.is_empty() && !path.contains('?') => Ok(data_dir.join(path)),
        _ => Err("the store's url must be like `sqlite:annunciator.db` (a file under --data, or an absolute path)".into()),
    }
}

/// Makes the folder and the file, readable and writable by their owner only. SQLite gives its side files the same rights.
fn make_private(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    private_file(file).map(drop)
}

fn private_file(file: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(file)?;
    #[cfg(unix)]
    opened.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(opened)
}

/// Takes the lock file beside the store; the system gives it back when the process ends, however it ends.
fn lock(file: &Path) -> Result<File, String> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let lock = private_file(&path).map_err(|error| format!("failed to open {}: {error}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another annunciator already runs on the store {}: stop it, or give this one its own --data",
            file.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("failed to lock {}: {error}", path.display())),
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
