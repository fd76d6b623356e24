//! Services of the OPC UA server that an HMI seldom asks for, by asyncua: registering, triggering, transfer, history.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use annunciator::{
    engine::plan::Role,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
    tag::{StatusCode, Value},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{
    peers,
    plant::{Plant, past},
    process::Child,
    program,
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(120);

struct Site {
    runtime: tokio::runtime::Runtime,
    plant: Arc<Plant>,
    running: Option<Running>,
    url: String,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None, SecurityPolicy::Basic256Sha256],
            anonymous: Some(Role::Viewer),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, plant, url: running.endpoint.clone(), running: Some(running), stop, folder }
    }

    fn client(&self, python: &Path, scenario: &str, options: &[&str]) -> Child {
        client(python, &self.url, scenario, options)
    }

    fn set(&self, path: &str, value: Value, seconds: i64) {
        self.plant.set(path, value, StatusCode::GOOD, past(seconds));
    }

    /// A client certificate that the server trusts; the option that names it.
    fn trusted_client(&self, python: &Path) -> String {
        let option = format!("certificates={}", self.folder.path().display());
        let mut maker = Command::new(python);
        maker.arg(peers::script("opcua_hmi.py")).args([&*self.url, "certificate", &option]);
        ends_well(Child::start(&mut maker));
        let trusted = self.folder.path().join("pki/trusted");
        std::fs::create_dir_all(&trusted).unwrap();
        std::fs::copy(self.folder.path().join("certificate.der"), trusted.join("hmi.der")).unwrap();
        option
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, running.ended()).await });
            assert!(ended.is_ok() || std::thread::panicking(), "the server does not end");
        }
    }
}

fn client(python: &Path, url: &str, scenario: &str, options: &[&str]) -> Child {
    Child::start(Command::new(python).arg(peers::script("opcua_services.py")).args([url, scenario]).args(options))
}

fn ends_well(mut client: Child) {
    client.line("passed", BOUND);
    assert_eq!(client.exit_code(BOUND), Some(0));
}

#[test]
fn nodes_are_registered_and_what_is_unsupported_says_so() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    ends_well(site.client(&python, "services", &[]));
    ends_well(site.client(&python, "ranges", &[]));
}

#[test]
fn a_trigger_tells_what_is_only_sampled() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    let mut client = site.client(&python, "trigger", &[]);
    client.line("ready", BOUND);
    for (value, pump, wanted) in [(5, true, "told [(1, True), (2, 0), (2, 5)]"), (6, false, "told [(1, False), (2, 6)]")] {
        site.set("Plant/Line1/Counter", Value::Int32(value), value.into());
        site.set("Plant/Line1/Pump", Value::Boolean(pump), value.into());
        client.say("go");
        assert_eq!(client.line("told", BOUND), wanted);
    }
    ends_well(client);
}

#[test]
fn a_subscription_goes_to_another_session_of_the_same_user_only() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    let certificates = site.trusted_client(&python);
    let olga = [&*certificates, "user=olga", "password=öl pump 7"];
    let erik = [&*certificates, "user=erik", "password=secret"];
    // From a session that has ended.
    let mut left = site.client(&python, "leave", &olga);
    let line = left.line("subscription", BOUND);
    let id = format!("subscription={}", line.strip_prefix("subscription ").unwrap());
    left.say("go");
    ends_well(left);
    for others in [&erik[..], &[&*certificates], &[]] {
        let mut denied = site.client(&python, "transfer", &[others, &[&*id]].concat());
        assert_eq!(denied.line("transferred", BOUND), "transferred BadUserAccessDenied []", "{others:?}");
        ends_well(denied);
    }
    site.set("Plant/Line1/Counter", Value::Int32(41), 1);
    site.set("Plant/Line1/Counter", Value::Int32(42), 2);
    let mut taken = site.client(&python, "transfer", &[&olga[..], &[&*id]].concat());
    assert_eq!(taken.line("transferred", BOUND), "transferred Good [1]");
    assert_eq!(taken.line("told", BOUND), "told 2 [(7, 41), (7, 42)]");
    ends_well(taken);
    // From a living session, which is told; the last value comes once more.
    let mut loser = site.client(&python, "lose", &[&certificates]);
    let line = loser.line("subscription", BOUND);
    let id = format!("subscription={}", line.strip_prefix("subscription ").unwrap());
    let mut taken = site.client(&python, "transfer", &[&*certificates, &id, "initial=true"]);
    assert_eq!(taken.line("transferred", BOUND), "transferred Good [1]");
    assert_eq!(loser.line("lost", BOUND), "lost True GoodSubscriptionTransferred");
    assert_eq!(taken.line("told", BOUND), "told 2 [(7, 42)]");
    ends_well(loser);
    ends_well(taken);
}

#[test]
fn the_last_of_a_pair_is_told_at_every_sampling_and_publishing_interval() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    let mut client = site.client(&python, "pairs", &[]);
    client.line("ready 45", BOUND);
    for (round, pause) in (1..).zip([1, 2, 5, 10, 20, 50]) {
        let last = if pause == 50 { -1 } else { 2_000 + round };
        site.set("Plant/Line1/Counter", Value::Int32(1_000 + round), 1);
        std::thread::sleep(Duration::from_millis(pause));
        site.set("Plant/Line1/Counter", Value::Int32(last), 1);
        client.say(&last.to_string());
        client.line(&format!("all {last}"), BOUND);
    }
    ends_well(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_kept_and_read() {
    let Some(python) = peers::python() else { return };
    let tags = r#"
[[tag]]
path = "Plant/Level"
type = "Double"
initial = 0.5
writable = true
history = true
deadband = 0.2

[[tag]]
path = "Plant/Array"
type = "Int16[3]"
initial = [0, 0, 0]
writable = true
history = true

[[tag]]
path = "Plant/Other"
type = "Int32"
initial = 0
"#;
    let plant = program::Plant::new(tags, "[retention]\nhistory = '2h'\n").await;
    let config = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    let open = config.replace("[server]\n", "[server]\nsecurity = ['None']\nanonymous = 'viewer'\n");
    plant.write("config/main.toml", &open);
    let daemon = plant.start().await;
    // The fourth moves less than the tag's deadband.
    for value in [1.5, 2.5, 3.5, 3.6, 4.5, 5.5] {
        daemon.write("Plant/Level", value).await;
    }
    daemon.write("Plant/Array", json!([7, 8, 9])).await;
    let url = format!("opc.tcp://127.0.0.1:{}/annunciator", plant.opcua);
    let read = |values: &str| {
        let (python, url, values) = (python.clone(), url.clone(), format!("values={values}"));
        tokio::task::spawn_blocking(move || ends_well(client(&python, &url, "history", &[&values])))
    };
    read("0.5,1.5,2.5,3.5,4.5,5.5").await.unwrap();
    daemon.stop();
    // It survives; a value that is there again after the restart is told with its new time.
    let daemon = plant.start().await;
    daemon.write("Plant/Level", 9.5).await;
    daemon.write("Plant/Array", json!([7, 8, 9])).await;
    read("0.5,1.5,2.5,3.5,4.5,5.5,0.5,9.5").await.unwrap();
    let tool = python.with_file_name("uahistoryread");
    let output =
        Command::new(tool).args(["-u", &url, "--timeout", "20", "-n", "ns=2;s=Plant/Level", "-l", "20"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(["1.5", "2.5", "9.5"].iter().all(|value| text.contains(value)) && !text.contains("3.6"), "{text}");
    daemon.stop();
}
