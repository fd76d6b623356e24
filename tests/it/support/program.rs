//! The program as a child process: a folder with its configuration, its log, its HTTP API, and the simulators around it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use annunciator::{
    serve::passwords::hash_password,
    simulate::{
        modbus_plc::{self, Plc},
        twilio::{Options, Running, Simulator, VoiceUrls},
    },
};
use serde_json::Value;

use super::{BOUND, port::free_port, process::Child, twilio::http};

/// Signs webhooks and authenticates; must never be seen.
pub const TOKEN: &str = "auth-token-of-the-tests-93417";
/// Everybody's PIN begins so; must never be seen.
pub const PIN: &str = "682";
/// The password of `bob`, engineer; must never be seen.
pub const PASSWORD: &str = "correct horse 55108";
/// The account's number.
pub const OURS: &str = "+15550001111";
/// Of `alice`, operator, PIN [`PIN`] and `11`.
pub const ALICE: &str = "+12223334401";

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annunciator"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in ["RUST_LOG", "ANNUNCIATOR_URL", "ANNUNCIATOR_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// A plant: the simulators, and a folder with configuration, tags and data.
pub struct Plant {
    pub folder: tempfile::TempDir,
    pub plc: Option<modbus_plc::Running>,
    pub plc_addr: SocketAddr,
    pub twilio: Running,
    pub webhooks: u16,
    pub console: u16,
    pub opcua: u16,
}

impl Plant {
    /// Simulators, and a configuration for them with these tags; `more` is added to the configuration.
    pub async fn new(tags: &str, more: &str) -> Self {
        Self::with(tags, more, Options::default()).await
    }

    /// The same with a Twilio of other pace.
    pub async fn with(tags: &str, more: &str, twilio: Options) -> Self {
        Self::on([free_port(), free_port()], tags, more, twilio).await
    }

    /// The same on given ports for webhooks and console.
    pub async fn on([webhooks, console]: [u16; 2], tags: &str, more: &str, twilio: Options) -> Self {
        // They come back where they were.
        let listen = || (Ipv4Addr::LOCALHOST, free_port()).into();
        let plc = Plc::start(listen()).await.unwrap();
        let options = Options {
            auth_token: TOKEN.into(),
            numbers: vec![OURS.into()],
            inbound_url: Some(format!("http://127.0.0.1:{webhooks}/main/system/twilio-sms/inbound/main#rc=3&rp=5xx,ct,rt")),
            voice_urls: VoiceUrls {
                voice: Some(format!("http://127.0.0.1:{webhooks}/main/system/twilio-voice/inbound/main#rc=3&rp=5xx,ct,rt")),
                status: Some(format!("http://127.0.0.1:{webhooks}/main/system/twilio-voice/status/main#rc=3&rp=5xx,ct,rt")),
            },
            ..twilio
        };
        let twilio = Simulator::start(listen(), options).await.unwrap();
        let plant = Self {
            folder: tempfile::tempdir().unwrap(),
            plc_addr: plc.addr,
            plc: Some(plc),
            twilio,
            webhooks,
            console,
            opcua: free_port(),
        };
        plant.write("config/main.toml", &plant.config(more));
        plant.write("tags/plant.toml", tags);
        plant
    }

    /// Writes a file under the folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The configuration, with `more`.
    pub fn config(&self, more: &str) -> String {
        let Self { webhooks, console, opcua, plc_addr, .. } = self;
        let (url, account, hash) = (self.twilio.url(), Options::default().account_sid, hash_password(PASSWORD).unwrap());
        let people = (1..=6).map(|n| {
            let name = ["alice", "bob", "carol", "dave", "eve", "frank"][n - 1];
            let role = if n == 2 { "'operator', 'engineer'" } else { "'operator'" };
            let password = if n == 2 { format!("password_hash = '{hash}'") } else { String::new() };
            format!(
                "[[user]]\nname = '{name}'\nid = {n}\nphone = '+1222333440{n}'\npin = '{PIN}{n}{n}'\nroles = [{role}]\n\
                 time_zone = 'UTC'\n{password}\n"
            )
        });
        let people = people.collect::<Vec<_>>().concat();
        format!(
            "[server]\nendpoint = 'opc.tcp://127.0.0.1:{opcua}/annunciator'\n\
             [http]\nwebhooks = '127.0.0.1:{webhooks}'\nconsole = '127.0.0.1:{console}'\n\
             [store]\nurl = 'sqlite:annunciator.db'\n\
             [throttle]\nchatter = {{ enabled = false }}\nbudget = {{ enabled = false }}\nflood = {{ enabled = false }}\n\
             [[source]]\nname = 'plc1'\nkind = 'modbus'\nurl = 'tcp://{plc_addr}'\npoll = '50ms'\ntimeout = '1s'\n\
             [[twilio]]\nname = 'main'\naccount_sid = '{account}'\nauth_token = '${{TEST_TOKEN:-{TOKEN}}}'\nfrom = '{OURS}'\n\
             base_url = '{url}'\nexternal_url = 'http://127.0.0.1:{webhooks}'\nsms_per_second = 100\n\
             [[profile]]\nname = 'sms'\nkind = 'sms'\ntwilio = 'main'\n\
             message = '{{{{ alarm.priority | upper }}}} {{{{ alarm.path }}}}: {{{{ alarm.message }}}}'\ncooldown = '0s'\n\
             [[roster]]\nname = 'operators'\nusers = ['alice', 'bob']\n\
             [[pipeline]]\nname = 'on-call'\nend_on_clear = false\n\
             [[pipeline.step]]\nnotify = {{ profile = 'sms', roster = 'operators', wait = '30s' }}\n\
             {people}{more}"
        )
    }

    /// Arguments that name the folders.
    pub fn folders(&self, data: &str) -> Vec<String> {
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        vec!["--config".into(), folder("config"), "--tags".into(), folder("tags"), "--data".into(), folder(data)]
    }

    /// A command of the binary on this plant, with bob's credentials.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments).args(self.folders("data"));
        command.env("ANNUNCIATOR_USER", "bob").env("ANNUNCIATOR_PASSWORD", PASSWORD);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || finish(&mut command)).await.unwrap();
        Ended::new(&output)
    }

    /// The HTTP API of whatever daemon runs on this plant.
    pub fn api(&self) -> Api {
        Api::on(self.console)
    }

    /// Starts the daemon without waiting for anything.
    pub fn spawn(&self) -> Daemon {
        Daemon::spawn(&mut self.command(&["run"]), self.console)
    }

    /// Starts the daemon and waits until it is ready.
    pub async fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.ready().await;
        daemon
    }
}

/// What a command has left.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Runs a command of the binary to its end; whatever it says, it tells no secret.
pub fn finish(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    for told in [&output.stdout, &output.stderr] {
        no_secrets(&String::from_utf8_lossy(told));
    }
    output
}

/// Fails when `text` names a token, a PIN or a password, of these tests or of the shipped configuration.
pub fn no_secrets(text: &str) {
    for secret in [TOKEN, PASSWORD, "simulated-auth-token"] {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
    assert_eq!(pin_in(text), None, "a PIN is shown: {text}");
}

/// A PIN that `text` tells: five digits here that stand alone; ids are longer, and have letters too.
pub fn pin_in(text: &str) -> Option<&str> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let touches = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_alphanumeric);
    let alone = |at: usize| digit(at + 3) && digit(at + 4) && !touches(at + 5) && (at == 0 || !touches(at - 1));
    text.match_indices(PIN).find(|(at, _)| alone(*at)).map(|(at, _)| &text[at..at + 5])
}

/// A running daemon; killed on drop.
pub struct Daemon {
    pub child: Child,
    api: Api,
}

/// The HTTP API of whatever daemon listens there, asked as bob.
#[derive(Clone)]
pub struct Api {
    console: u16,
    http: reqwest::Client,
}

impl Api {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.console)
    }

    /// Of whatever listens on this port.
    pub fn on(console: u16) -> Self {
        Self { console, http: http() }
    }

    /// `GET /api/v1/<path>`; `None` when nobody answers.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = self.http.get(self.url(&format!("/api/v1/{path}"))).basic_auth("bob", Some(PASSWORD));
        let answer = request.send().await.ok()?;
        let text = answer.text().await.ok()?;
        no_secrets(&text);
        serde_json::from_str(&text).ok()
    }
}

impl Api {
    /// `POST /api/v1/<path>` as bob; status and answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(self.http.post(self.url(&format!("/api/v1/{path}"))), body).await
    }

    /// `PUT /api/v1/<path>` as bob; status and answer.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(self.http.put(self.url(&format!("/api/v1/{path}"))), body).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder, body: &Value) -> (u16, Value) {
        let answer = request.basic_auth("bob", Some(PASSWORD)).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

impl Daemon {
    /// Starts `command`, whose console listens on `console`.
    pub fn spawn(command: &mut Command, console: u16) -> Self {
        Self { child: Child::silent(command), api: Api::on(console) }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// Waits for a text in the log.
    pub async fn logged(&self, text: &str) {
        let found = async || self.log().contains(text).then_some(());
        until_or(&format!("{text:?} in the log"), BOUND, found, || self.log()).await;
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + BOUND;
        loop {
            let answer = self.api.http.get(self.api.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `GET /api/v1/<path>` as bob.
    pub async fn get(&self, path: &str) -> Value {
        self.api.get(path).await.unwrap_or_else(|| panic!("no answer to {path}: {}", self.log()))
    }

    /// `POST /api/v1/<path>` as bob.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let url = self.api.url(&format!("/api/v1/{path}"));
        let answer = self.api.http.post(url).basic_auth("bob", Some(PASSWORD)).json(body).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Writes a memory tag as bob, and waits until it has the value.
    pub async fn write(&self, path: &str, value: impl Into<Value>) {
        let value = value.into();
        let url = self.api.url(&format!("/api/v1/tags/{path}"));
        let request = self.api.http.put(url).basic_auth("bob", Some(PASSWORD)).json(&serde_json::json!({ "value": value }));
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        self.tag_is(path, value).await;
    }

    /// The value of a tag.
    pub async fn tag(&self, path: &str) -> Value {
        self.get(&format!("tags/{path}")).await["value"].clone()
    }

    /// Waits until a tag has this value.
    pub async fn tag_is(&self, path: &str, value: impl Into<Value>) {
        let value = value.into();
        let found = async || (self.tag(path).await == value).then_some(());
        until_or(&format!("{path} = {value}"), BOUND, found, || self.log()).await;
    }

    /// The state of an alarm.
    pub async fn alarm(&self, path: &str) -> Value {
        let list = self.get("alarms").await;
        let all = list["alarms"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
        all.iter().find(|alarm| alarm["path"] == path).unwrap_or_else(|| panic!("no {path} in {list}")).clone()
    }

    /// Waits until an alarm is in this state.
    pub async fn alarm_is(&self, path: &str, state: &str) {
        // (An instance that has just begun to stand by knows nothing yet.)
        let found = async || {
            let list = self.get("alarms").await;
            let alarm = list["alarms"].as_array()?.iter().find(|alarm| alarm["path"] == path)?;
            (alarm["state"] == state).then_some(())
        };
        until_or(&format!("{path} {state}"), BOUND, found, || self.log()).await;
    }

    /// `kill -<signal>`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM; exit status 0 within 10 s.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.child.exit_code(Duration::from_secs(10)), Some(0), "{}", self.log());
    }

    /// The exit code and the whole log of a daemon that ends by itself.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.exit_code(BOUND);
        (code, self.child.whole_log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill();
        if !thread::panicking() {
            no_secrets(&self.log());
        }
    }
}

/// Waits until `look` gives something.
pub async fn until<T>(what: &str, bound: Duration, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_or(what, bound, look, String::new).await
}

/// Waits until `look` gives something; a failure shows `why`.
pub async fn until_or<T>(what: &str, bound: Duration, mut look: impl AsyncFnMut() -> Option<T>, why: impl Fn() -> String) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {bound:?}\n{}", why());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The shipped configuration, on free ports.
pub fn demo() -> Command {
    let mut command = binary();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    command.arg("demo").arg("--config").arg(root.join("config")).arg("--tags").arg(root.join("tags"));
    let webhooks = format!("127.0.0.1:{}", free_port());
    command.env("EXTERNAL_URL", format!("http://{webhooks}")).env("WEBHOOKS_LISTEN", webhooks);
    command.env("CONSOLE_LISTEN", format!("127.0.0.1:{}", free_port()));
    command.env("OPCUA_ENDPOINT", format!("opc.tcp://127.0.0.1:{}/annunciator", free_port()));
    command
}
