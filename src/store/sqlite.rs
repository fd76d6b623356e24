//! SQLite: one file in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. One connection writes, a few read
//! beside it.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::Mutex, task::JoinHandle};

use super::{
    READERS, StoreError, explain_migration,
    sql::{Datum, Row, Statement},
};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after a burst, in bytes.
const WAL_LIMIT: &str = "67108864";

/// Pages of the write-ahead log beyond which a commit itself moves them into the file: 64 MiB. Before it comes to that they are
/// moved beside the commits, so that none waits for it …
const WAL_PAGES: &str = "16384";
/// … after so many commits …
const MOVE_AFTER_COMMITS: u32 = 200;
/// … or so many records.
const MOVE_AFTER_RECORDS: usize = 5000;
/// Records of a batch that goes as one text; the texts of many sizes would not be found prepared.
const AT_ONCE: usize = 64;

/// The open file.
pub(super) struct Sqlite {
    pub(super) writer: Mutex<Writer>,
    /// Held for as long as the store is open: a second daemon on the same file would send everything twice.
    _lock: Option<File>,
}

/// The one connection that writes. It is taken out for each commit and put back only after a good one, so that neither an error
/// nor a caller that gives up leaves half a transaction behind.
pub(super) struct Writer {
    pub(super) options: SqliteConnectOptions,
    pub(super) connection: Option<SqliteConnection>,
    /// Commits and their records since the log was last moved into the file.
    since: (u32, usize),
    /// The log is being moved.
    moving: Option<JoinHandle<()>>,
}

impl Writer {
    async fn take(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect().await,
        }
    }

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
                connection.close().await
            };
            if let Err(error) = moved.await {
                tracing::warn!(%error, "failed to move the store's log into its file; a later commit does it");
            }
        }));
    }
}

impl Sqlite {
    pub(super) async fn open(file: &Path) -> Result<(Self, SqlitePool), String> {
        make_private(file).map_err(|error| format!("failed to make the store {}: {error}", file.display()))?;
        let lock = lock(file)?;
        Self::connect(file, false, Some(lock)).await
    }

    pub(super) async fn open_read_only(file: &Path) -> Result<(Self, SqlitePool), String> {
        if !file.exists() {
            return Err(format!("there is no store at {}: has the daemon run with this --data?", file.display()));
        }
        Self::connect(file, true, None).await
    }

    async fn connect(file: &Path, read_only: bool, lock: Option<File>) -> Result<(Self, SqlitePool), String> {
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
        Ok((Self { writer, _lock: lock }, readers))
    }

    /// Runs `statements`, which write `rows` rows, as one transaction.
    ///
    /// SQLite runs on a thread of its own: a small batch goes there as one text, from BEGIN to COMMIT, because waking that thread
    /// and being woken by it is what a small commit costs most.
    pub(super) async fn apply(&self, statements: Vec<Statement>, rows: usize) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let mut connection = writer.take().await?;
        if rows <= AT_ONCE {
            let mut sql = "BEGIN IMMEDIATE".to_owned();
            let mut values: Vec<Datum> = Vec::new();
            for statement in statements {
                sql.push(';');
                sql.push_str(&statement.text);
                values.extend(statement.values);
            }
            // After an error the connection may be in the middle of a transaction.
            execute(&mut connection, sql + ";COMMIT", values).await?;
        } else {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for statement in statements {
                execute(&mut transaction, statement.text, statement.values).await?;
            }
            transaction.commit().await?;
        }
        writer.connection = Some(connection);
        writer.committed(rows);
        Ok(())
    }

    /// Runs one statement and gives how many rows it changed.
    pub(super) async fn change(&self, statement: Statement) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().await;
        let mut connection = writer.take().await?;
        let changed = execute(&mut connection, statement.text, statement.values).await?;
        writer.connection = Some(connection);
        Ok(changed)
    }

    pub(super) async fn fold(&self) {
        let mut writer = self.writer.lock().await;
        if let Some(moving) = writer.moving.take() {
            // It says itself what went wrong.
            _ = moving.await;
        }
        if let Some(connection) = writer.connection.take() {
            _ = connection.close().await;
        }
    }
}

pub(super) async fn fetch(readers: &SqlitePool, statement: Statement) -> Result<Vec<Row>, StoreError> {
    let arguments = Statement::sqlite_arguments(statement.values)?;
    let rows = sqlx::query_with(AssertSqlSafe(statement.text), arguments).fetch_all(readers).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

async fn execute(connection: &mut SqliteConnection, sql: String, values: Vec<Datum>) -> Result<u64, StoreError> {
    let arguments = Statement::sqlite_arguments(values)?;
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await?.rows_affected())
}

/// The file behind a `sqlite:` URL.
pub(super) fn file_of(url: &str, data_dir: &Path) -> Result<PathBuf, String> {
    let path = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(path) if !path.is_empty() && !path.contains('?') => Ok(data_dir.join(path)),
        _ => Err("the store's url must be like `sqlite:annunciator.db` (a file under --data, or an absolute path), \
                  or `postgres://user@host:5432/database`"
            .into()),
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
