//! A server under measurement: a child process, and its figures from `/proc`.

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use annunciator::ua::wire::{Id, Reader};

use crate::client::{Client, failed};

/// Nothing takes longer to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that can be started: its name and command, in which `{port}`, `{variables}`, `{change}` and `{data}` stand for what
/// they say.
#[derive(Clone)]
pub struct Recipe {
    pub name: String,
    pub command: Vec<String>,
    /// Writes what the command needs into its `{data}`.
    pub prepare: fn(&Path, u16, usize) -> io::Result<()>,
}

pub struct Server {
    child: Child,
    pub name: String,
    pub address: SocketAddr,
    /// Of the variables.
    pub namespace: u16,
    pub data: tempfile::TempDir,
    /// From the start of the process to the first value read.
    pub ready_after: Duration,
}

/// Processor time by thread, in nanoseconds.
pub struct Spent(HashMap<PathBuf, u64>);

impl Server {
    /// Starts it; returns once its first variable can be read.
    pub fn start(recipe: &Recipe, variables: usize, change: &str) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let data = tempfile::tempdir()?;
        (recipe.prepare)(data.path(), port, variables)?;
        let fill = |word: &String| {
            let folder = data.path().to_string_lossy();
            word.replace("{port}", &port.to_string())
                .replace("{variables}", &variables.to_string())
                .replace("{change}", change)
                .replace("{data}", &folder)
        };
        let words: Vec<String> = recipe.command.iter().map(fill).collect();
        let (program, arguments) = words.split_first().ok_or_else(|| failed("a server without a command"))?;
        let began = Instant::now();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(data.path().join("stderr"))?)
            .spawn()
            .map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut server = Self { child, name: recipe.name.clone(), address, namespace: 0, data, ready_after: Duration::ZERO };
        let mut last = failed("nothing was tried");
        while server.namespace == 0 {
            if began.elapsed() > PATIENCE || server.child.try_wait()?.is_some() {
                let said = fs::read_to_string(server.data.path().join("stderr")).unwrap_or_default();
                return Err(failed(format!("{} did not start ({last}):\n{said}", recipe.name)));
            }
            server.namespace = find_namespace(address).unwrap_or_else(|error| {
                last = error;
                0
            });
            server.ready_after = began.elapsed();
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    /// What all its threads have used.
    pub fn spent(&self) -> io::Result<Spent> {
        let mut spent = HashMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path();
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let time = text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
            spent.insert(path, time);
        }
        Ok(Spent(spent))
    }

    /// Seconds of processor time since `before`.
    pub fn seconds_since(&self, before: &Spent) -> io::Result<f64> {
        let now = self.spent()?;
        let each = |(thread, time): (&PathBuf, &u64)| time.saturating_sub(before.0.get(thread).copied().unwrap_or(0));
        let nanoseconds: u64 = now.0.iter().map(each).sum();
        Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
    }

    /// Resident memory and its peak, in KiB.
    pub fn memory(&self) -> io::Result<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        Ok((figure("VmRSS:"), figure("VmHWM:")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The namespace index in which the server keeps `Bench/V0`.
fn find_namespace(address: SocketAddr) -> io::Result<u16> {
    let mut client = Client::connect(address, None)?;
    let body = client.call(631, |w| {
        w.f64(0.0);
        w.u32(3);
        w.count(4);
        for namespace in 1..=4 {
            w.id(Id::text(namespace, "Bench/V0"));
            w.u32(13);
            w.null();
            w.u16(0);
            w.null();
        }
    })?;
    let mut reader = Reader::new(body);
    let found = (|| {
        reader.count(1)?;
        for namespace in 1..=4 {
            match reader.u8()? {
                2 => _ = reader.u32()?,
                mask if mask & 1 == 1 => return Ok(namespace),
                _ => {}
            }
        }
        Ok(0)
    })();
    found.map_err(|_: annunciator::ua::wire::Malformed| failed("the first answer cannot be read"))
}
