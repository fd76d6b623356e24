//! A PostgreSQL of our own: one private cluster a process, made in a temporary folder and listening on loopback, with a database for
//! each test. Shared by the library's tests, which take this file and `port.rs` in by their paths.

#![allow(dead_code, reason = "not every test that takes this file in needs all of it")]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::port::free_port;

/// How long starting or stopping may take.
const BOUND: Duration = Duration::from_secs(60);

/// Runs the server "$@" until it is told a word, or whoever started it is gone; then removes its folder, unless the word is `keep`.
const KEEPER: &str = r#"folder=$1; shift; "$@" & server=$!; read -r word; kill -INT $server; wait $server
[ "$word" = keep ] || rm -rf "$folder""#;

/// A running cluster; stopped, and its folder removed, at its end or the process's.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
}

/// A new, empty database in the process's own cluster, as a URL without a password; `None` (said on stdout) when there is no PostgreSQL
/// on this machine, which `ANNUNCIATOR_REQUIRE_PEERS=1` makes a failure.
pub fn database() -> Option<String> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start).as_ref().map(Cluster::database)
}

/// All that a database holds, as text.
pub fn dump(url: &str) -> String {
    let output = Command::new(programs().expect("it runs").join("pg_dump")).arg(url).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Cluster {
    /// Makes and starts one; `None` as [`database`].
    pub fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(cluster) => Some(cluster),
            Err(error) if env::var_os("ANNUNCIATOR_REQUIRE_PEERS").is_some_and(|value| value == "1") => {
                panic!("PostgreSQL is required but failed to start: {error}")
            }
            Err(error) => {
                println!("skipped: PostgreSQL failed to start: {error}");
                None
            }
        }
    }

    fn try_start() -> io::Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("annunciator-postgres").tempdir()?.keep();
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let mut cluster = Self { folder, programs, port: free_port(), server: None };
        let data = cluster.data();
        let user = ["--username=annunciator", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"];
        run(cluster.command("initdb").args(user).arg("--pgdata").arg(&data))?;
        cluster.run_server()?;
        Ok(cluster)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a database.
    pub fn database(&self) -> String {
        let name = self.database_of("annunciator");
        format!("postgres://annunciator@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// Makes a database that this role owns, and gives its name.
    pub fn database_of(&self, owner: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}")).expect("a database is made");
        name
    }

    /// Offers TLS with a certificate for `localhost`, and makes a role `guest` that is let in by TLS and with this password only. Gives
    /// the certificate of the CA that issued the server's, and that of another CA.
    pub fn guard(&self, password: &str) -> [PathBuf; 2] {
        let file = |name: &str, kind: &str| self.data().join(format!("{name}.{kind}"));
        let issue = |name: &str, more: &[&OsStr]| {
            let mut openssl = as_server("openssl".as_ref());
            openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
            openssl.args(["-subj", &format!("/CN={name}"), "-keyout"]).arg(file(name, "key")).arg("-out").arg(file(name, "crt"));
            run(openssl.args(more)).expect("a certificate is made");
        };
        issue("root", &[]);
        issue("stranger", &[]);
        let (root, key) = (file("root", "crt"), file("root", "key"));
        let constraints = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
        let issuer = ["-CA".as_ref(), root.as_os_str(), "-CAkey".as_ref(), key.as_os_str()];
        issue("server", &[&issuer[..], &constraints.map(OsStr::new)].concat());
        let rules = "host all annunciator 127.0.0.1/32 trust\nhostssl all guest 127.0.0.1/32 scram-sha-256\n";
        fs::write(self.data().join("pg_hba.conf"), rules).expect("the rules are written");
        let role = format!("CREATE ROLE guest LOGIN PASSWORD '{password}'");
        for sql in [&role, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
            self.sql("postgres", sql).expect("it is guarded");
        }
        self.wait("the server offers TLS", |cluster| cluster.sql("dbname=postgres sslmode=require", "SELECT 1").is_ok());
        [root, file("stranger", "crt")]
    }

    /// Ends the server as a crash does, and waits until all of it is gone.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).expect("a server runs");
        let pid = pid.lines().next().expect("an id");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its processes");
        run(Command::new("kill").args(["-KILL", pid])).expect("it is there");
        // Its children end themselves when they see that it is gone.
        let gone = |pid: &str| !Path::new("/proc").join(pid).exists();
        self.wait("the server's processes have ended", |_| children.split_whitespace().all(gone));
        self.stop();
    }

    /// Stops the server as an administrator does who does not wait for clients.
    pub fn stop(&mut self) {
        self.end("keep");
    }

    fn end(&mut self, word: &str) {
        let Some(mut keeper) = self.server.take() else { return };
        // Gone already is as good.
        _ = keeper.stdin.take().map(|mut stdin| writeln!(stdin, "{word}"));
        keeper.wait().expect("it has ended");
    }

    /// Starts the server again.
    pub fn start_again(&mut self) {
        self.run_server().expect("it starts again");
    }

    fn run_server(&mut self) -> io::Result<()> {
        let server = self.command("postgres");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(&self.folder).arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=32MB"]);
        self.server = Some(command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        self.wait("the server answers", |cluster| cluster.sql("postgres", "SELECT 1").is_ok());
        Ok(())
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < BOUND, "{what} within {BOUND:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn sql(&self, database: &str, sql: &str) -> io::Result<()> {
        let port = self.port.to_string();
        run(Command::new(self.programs.join("psql")).args([
            "--quiet",
            "--no-psqlrc",
            "--host=127.0.0.1",
            "--port",
            &port,
            "--username=annunciator",
            "--dbname",
            database,
            "--command",
            sql,
        ]))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of PostgreSQL's programs, by a user that it accepts.
    fn command(&self, program: &str) -> Command {
        as_server(&self.programs.join(program))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end("");
        // Of one that was stopped.
        _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program by the user that the server runs as.
fn as_server(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn programs() -> io::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let newest = versions.filter(|folder| folder.join("initdb").is_file()).max_by_key(|folder| version(folder));
    newest.ok_or_else(|| io::Error::other("there is none below /usr/lib/postgresql: apt-get install postgresql"))
}

fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| io::Error::other(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}
