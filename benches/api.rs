//! The HTTP API with 10,000 alarms in the list and 200 event streams: `cargo bench --bench api`, see docs/performance.md.
//!
//! The release binary is a child process on a generated configuration; the PLC simulator and all clients are here. Both share the
//! machine's processors, so a figure is an upper bound of what the program itself takes.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, Instant},
};

use annunciator::{serve::passwords::hash_password, simulate::modbus_plc::Plc};
use tokio::sync::{Semaphore, mpsc};

const ALARMS: usize = 10_000;
const STREAMS: usize = 200;
/// Streams beside those that never read on.
const STUCK: usize = 20;
/// The first coil that has an alarm.
const FIRST: u16 = 1000;
const REQUESTS: usize = 100;
const FLANKS: usize = 100;
const BOUND: Duration = Duration::from_secs(120);
const PASSWORD: &str = "a password for measuring";

fn main() -> io::Result<()> {
    // Cargo runs benches with `--test` to see that they start.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> io::Result<()> {
    let plc = Plc::start((Ipv4Addr::LOCALHOST, 0).into()).await.map_err(io::Error::other)?;
    let folder = tempfile::tempdir()?;
    let console = free_port()?;
    write(folder.path(), console, plc.addr.port())?;
    let program = Program::start(folder.path(), console).await?;
    let client = Client::new(console);
    client.until("/api/v1/sources", "\"connected\":true").await?;

    println!("{ALARMS} alarms, nothing active");
    lists(&client).await?;
    plc.plant.set_coils(FIRST, &[true; ALARMS]);
    client.until("/api/v1/counts", &format!("\"active_unacked\":{ALARMS}")).await?;
    println!("{ALARMS} alarms, all active");
    lists(&client).await?;

    let counted = Arc::new(AtomicUsize::new(0));
    let (sender, mut flanks) = mpsc::unbounded_channel();
    let before = program.memory();
    for _ in 0..STREAMS {
        let stream = client.stream().await?;
        tokio::spawn(follow(stream, Arc::clone(&counted), sender.clone()));
    }
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(client.stream().await?);
    }
    println!("{STREAMS} streams beside {STUCK} that never read: {} KiB more in the program", program.memory() - before);
    lists(&client).await?;

    one_at_a_time(&plc, &mut flanks).await;
    let (began, cpu, marked) = (Instant::now(), program.cpu(), counted.load(Ordering::Acquire));
    plc.plant.set_coils(FIRST, &[false; ALARMS]);
    // The last coil is the one that each stream's task looks for.
    let mut cleared = 0;
    while cleared < STREAMS {
        cleared += usize::from(!flanks.recv().await.expect("they follow").1);
    }
    let bytes = counted.load(Ordering::Acquire) - marked;
    println!(
        "{ALARMS} alarms clear at once: the last stream has the last one after {:.2} s; {} MB to all, {:.2} s of processor time",
        began.elapsed().as_secs_f64(),
        bytes / 1_000_000,
        program.cpu().saturating_sub(cpu).as_secs_f64()
    );
    println!("most memory {} MiB", program.peak() / 1024);
    drop(stuck);
    Ok(())
}

/// One alarm rises and clears, again and again: from the coil to each of the streams.
async fn one_at_a_time(plc: &annunciator::simulate::modbus_plc::Running, flanks: &mut mpsc::UnboundedReceiver<(Instant, bool)>) {
    while flanks.try_recv().is_ok() {}
    let last = FIRST + u16::try_from(ALARMS).expect("coils have 16 bits") - 1;
    let mut delays = Vec::new();
    for flank in 0..FLANKS {
        let began = Instant::now();
        plc.plant.set_coils(last, &[flank % 2 == 1]);
        for _ in 0..STREAMS {
            let (arrived, _) = flanks.recv().await.expect("they follow");
            delays.push(arrived.duration_since(began));
        }
    }
    show("from the coil to a stream (poll 100 ms, gathered for 100 ms)", &mut delays);
}

async fn lists(client: &Client) -> io::Result<()> {
    for path in ["/api/v1/alarms", "/api/v1/alarms?sort=urgency&limit=100", "/api/v1/alarms?text=bit9999", "/api/v1/counts"] {
        let mut delays = Vec::new();
        let mut size = 0;
        for _ in 0..REQUESTS {
            let began = Instant::now();
            size = client.get(path).await?.len();
            delays.push(began.elapsed());
        }
        show(&format!("GET {path} ({} kB)", size / 1000), &mut delays);
    }
    Ok(())
}

fn show(what: &str, delays: &mut [Duration]) {
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("  {what}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", at(50), at(99), at(100));
}

/// Tells whenever the last alarm rises (true) or clears, and counts bytes.
async fn follow(mut stream: reqwest::Response, counted: Arc<AtomicUsize>, told: mpsc::UnboundedSender<(Instant, bool)>) {
    let wanted = format!("Bit{}/Alarms/On\"", ALARMS - 1);
    let mut text = String::new();
    while let Ok(Some(piece)) = stream.chunk().await {
        counted.fetch_add(piece.len(), Ordering::AcqRel);
        text.push_str(&String::from_utf8_lossy(&piece));
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some((_, alarm)) = event.split_once(&wanted) {
                let active = alarm.split('}').next().is_some_and(|alarm| alarm.contains("\"state\":\"Active"));
                _ = told.send((Instant::now(), active));
            }
            text = rest.to_owned();
        }
    }
}

struct Client {
    http: reqwest::Client,
    base: String,
    /// Logging in costs a hash the first time: one after the other.
    turn: Semaphore,
}

impl Client {
    fn new(console: u16) -> Self {
        _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { http, base: format!("http://127.0.0.1:{console}"), turn: Semaphore::new(1) }
    }

    async fn ask(&self, path: &str) -> io::Result<reqwest::Response> {
        let _turn = self.turn.acquire().await.map_err(io::Error::other)?;
        let request = self.http.get(format!("{}{path}", self.base)).basic_auth("bob", Some(PASSWORD));
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(io::Error::other)
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        self.ask(path).await?.text().await.map_err(io::Error::other)
    }

    async fn stream(&self) -> io::Result<reqwest::Response> {
        self.ask("/api/v1/stream?topics=alarms").await
    }

    async fn until(&self, path: &str, text: &str) -> io::Result<()> {
        let began = Instant::now();
        while !self.get(path).await?.contains(text) {
            if began.elapsed() > BOUND {
                return Err(io::Error::other(format!("{path} never said {text}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

struct Program(Child);

impl Program {
    async fn start(folder: &std::path::Path, console: u16) -> io::Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_annunciator"))
            .args(["run", "--config", "config", "--tags", "tags", "--data", "data"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut program = Self(child);
        let began = Instant::now();
        let client = Client::new(console);
        while client.get("/readyz").await.is_err() {
            if began.elapsed() > BOUND || program.0.try_wait()?.is_some() {
                return Err(io::Error::other("the program did not start"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(program)
    }

    fn figure(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|figure| figure.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }

    /// Resident memory, KiB.
    fn memory(&self) -> u64 {
        self.figure("VmRSS:")
    }

    fn peak(&self) -> u64 {
        self.figure("VmHWM:")
    }

    /// Processor time so far; the kernel counts it in 10 ms.
    fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        Duration::from_millis(10) * ticks
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn free_port() -> io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

fn write(folder: &std::path::Path, console: u16, plc: u16) -> io::Result<()> {
    let hash = hash_password(PASSWORD).map_err(io::Error::other)?;
    let config = format!(
        "[server]\nendpoint = 'opc.tcp://127.0.0.1:{}/annunciator'\n[http]\nwebhooks = 'off'\nconsole = '127.0.0.1:{console}'\n\
         [[source]]\nname = 'plc1'\nkind = 'modbus'\nurl = 'tcp://127.0.0.1:{plc}'\npoll = '100ms'\n\
         [[user]]\nname = 'bob'\nphone = '+12223334444'\nroles = ['viewer']\npassword_hash = '{hash}'\n",
        free_port()?
    );
    let mut tags = String::new();
    for bit in 0..ALARMS {
        let coil = usize::from(FIRST) + bit;
        // Writing to a String cannot fail.
        _ = writeln!(
            tags,
            "[[tag]]\npath = 'Plant/Area{}/Bit{bit}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{coil}'\n\
             [[tag.alarm]]\nname = 'On'\npriority = 'medium'\nmessage = 'Bit {bit} of area {} is on'",
            bit / 100,
            bit / 100
        );
    }
    for (name, text) in [("config/main.toml", config), ("tags/plant.toml", tags)] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, text)?;
    }
    Ok(())
}
