//! The program under measurement: a child process, its figures from `/proc`, `/metrics` and its own store.

use std::{
    fs, io,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use annunciator::{clock, tag::Timestamp};
use sqlx::{
    ConnectOptions as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// Nothing that is measured takes longer.
const BOUND: Duration = Duration::from_secs(120);
/// The kernel counts processor time in these.
const TICK: Duration = Duration::from_millis(10);
/// How often the store is looked at: the precision of a burst's figure.
pub const LOOK: Duration = Duration::from_millis(5);

pub struct Program {
    child: Child,
    lines: Receiver<String>,
    console: u16,
    /// From the start of the process to `/readyz`.
    pub ready_after: Duration,
}

impl Program {
    /// Starts the program on the configuration in `folder`; returns once it is ready.
    pub async fn start(folder: &Path, console: u16) -> io::Result<Self> {
        Self::start_other(env!("CARGO_BIN_EXE_annunciator"), folder, console).await
    }

    /// As [`Self::start`], another build of it.
    pub async fn start_other(binary: &str, folder: &Path, console: u16) -> io::Result<Self> {
        let began = Instant::now();
        let mut child = Command::new(binary)
            .args(["run", "--config", "config", "--tags", "tags", "--data", "data"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line)));
        let mut program = Self { child, lines, console, ready_after: Duration::ZERO };
        while !program.get("/readyz").await.is_ok_and(|text| text.starts_with("HTTP/1.1 200")) {
            if began.elapsed() > BOUND || program.child.try_wait()?.is_some() {
                let said: Vec<String> = program.lines.try_iter().collect();
                return Err(io::Error::other(format!("the program did not start:\n{}", said.join("\n"))));
            }
            sleep(Duration::from_millis(2)).await;
        }
        program.ready_after = began.elapsed();
        Ok(program)
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.console)).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// One figure of `/metrics`.
    pub async fn metric(&self, name: &str) -> io::Result<f64> {
        let text = self.get("/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|figure| figure.trim().parse().ok()).ok_or_else(|| io::Error::other(format!("no metric {name}")))
    }

    /// Until it is connected to its source.
    pub async fn connected(&self) -> io::Result<()> {
        let began = Instant::now();
        while self.metric("annunciator_source_connected{source=\"plc1\"}").await? < 0.5 {
            if began.elapsed() > BOUND {
                return Err(io::Error::other("the source did not connect"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Until its log has a line with `text`.
    pub async fn says(&self, text: &str) -> io::Result<()> {
        let began = Instant::now();
        loop {
            if self.lines.try_iter().any(|line| line.contains(text)) {
                return Ok(());
            }
            if began.elapsed() > BOUND {
                return Err(io::Error::other(format!("the log never said {text:?}")));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// SIGHUP.
    pub fn reload(&self) -> io::Result<()> {
        Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().map(drop)
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        TICK * ticks
    }

    /// Resident memory now, in KiB; `peak` gives the most so far.
    pub fn memory(&self, peak: bool) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let name = if peak { "VmHWM:" } else { "VmRSS:" };
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|figure| figure.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

/// The program's store, read from outside.
pub struct Journal(SqliteConnection);

impl Journal {
    pub async fn open(folder: &Path) -> io::Result<Self> {
        let options =
            SqliteConnectOptions::new().filename(folder.join("data/annunciator.db")).read_only(true).busy_timeout(BOUND);
        options.connect().await.map(Self).map_err(io::Error::other)
    }

    async fn one(&mut self, sql: &'static str) -> io::Result<SqliteRow> {
        sqlx::query(sql).fetch_one(&mut self.0).await.map_err(io::Error::other)
    }

    /// The number of the last entry.
    pub async fn last(&mut self) -> io::Result<i64> {
        self.one("SELECT coalesce(max(id), 0) FROM journal").await?.try_get(0).map_err(io::Error::other)
    }

    /// Waits until `count` alarms have an entry of this `kind` behind `since`. When the last of them was found committed.
    pub async fn committed(&mut self, kind: &'static str, since: i64, count: i64) -> io::Result<Timestamp> {
        let began = Instant::now();
        // Counting costs the machine more than asking for the last number: the entries of one kind are counted once there are
        // enough of all kinds.
        let mut seen: Vec<(i64, Timestamp)> = Vec::new();
        loop {
            let last = self.last().await?;
            if seen.last().is_none_or(|(before, _)| *before != last) {
                seen.push((last, clock::now()));
                if last - since >= count {
                    let sql = "SELECT count(DISTINCT alarm), coalesce(max(id), 0) FROM journal WHERE kind = ? AND id > ?";
                    let query = sqlx::query(sql).bind(kind).bind(since).fetch_one(&mut self.0);
                    let row = query.await.map_err(io::Error::other)?;
                    let (found, newest): (i64, i64) =
                        (row.try_get(0).map_err(io::Error::other)?, row.try_get(1).map_err(io::Error::other)?);
                    if found == count {
                        let at = seen.iter().find(|(last, _)| *last >= newest).map(|(_, at)| *at);
                        return at.ok_or_else(|| io::Error::other("an entry that was never seen"));
                    }
                }
            }
            if began.elapsed() > BOUND {
                return Err(io::Error::other(format!("{} of {count} entries of kind {kind} after {BOUND:?}", last - since)));
            }
            sleep(LOOK).await;
        }
    }

    /// How many alarm events the accepted texts stand for.
    pub async fn told(&mut self) -> io::Result<usize> {
        let rows = sqlx::query("SELECT value FROM outbox").fetch_all(&mut self.0).await.map_err(io::Error::other)?;
        let told = |row: &SqliteRow| {
            let value: serde_json::Value = serde_json::from_str(row.try_get(0).ok()?).ok()?;
            let text = &value["job"]["Text"];
            text["state"].get("Accepted")?;
            text["purpose"]["Alarm"]["items"].as_array().map(Vec::len)
        };
        Ok(rows.iter().filter_map(told).sum())
    }
}
