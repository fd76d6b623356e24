//! Alarms and conditions (OPC 10000-9) over a real engine, with asyncua as the SCADA.

use std::{process::Command, sync::Arc, time::Duration};

use annunciator::{
    engine::plan::Role,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
    tag::{StatusCode, Value},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    alarms::{Alarms, Rows, TAGS},
    peers,
    process::Child,
    program::Plant,
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(120);

struct Site {
    runtime: tokio::runtime::Runtime,
    alarms: Arc<Alarms>,
    running: Option<Running>,
    url: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start(role: Role, rows: Rows) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None],
            anonymous: Some(role),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (alarms, stop) = (Alarms::new(rows), CancellationToken::new());
        let running = runtime.block_on(serve(settings, alarms.clone(), stop.clone())).unwrap();
        Self { runtime, alarms, url: running.endpoint.clone(), running: Some(running), stop, _folder: folder }
    }

    fn client(&self, scenario: &str, options: &[&str]) -> Option<Child> {
        let script = peers::script("opcua_alarms.py");
        Some(Child::start(Command::new(peers::python()?).arg(script).args([&*self.url, scenario]).args(options)))
    }

    /// Runs a scenario to its good end.
    fn check(&self, scenario: &str, options: &[&str]) {
        let Some(mut client) = self.client(scenario, options) else { return };
        client.line("passed", BOUND);
        assert_eq!(client.exit_code(BOUND), Some(0), "{scenario}");
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

#[test]
fn every_change_is_an_event_with_all_fields() {
    Site::start(Role::Engineer, Rows::new()).check("events", &[]);
}

#[test]
fn an_event_id_acknowledges_its_event_and_never_a_newer_one() {
    Site::start(Role::Operator, Rows::new()).check("acknowledge", &[]);
}

#[test]
fn methods_of_conditions_have_their_codes() {
    Site::start(Role::Engineer, Rows::new()).check("methods", &[]);
}

#[test]
fn a_change_of_quality_is_told() {
    let site = Site::start(Role::Operator, Rows::new());
    let Some(mut client) = site.client("quality", &[]) else { return };
    client.line("active", BOUND);
    site.alarms.set("Plant/Level", Value::Double(92.0), StatusCode::BAD_DEVICE_FAILURE);
    client.line("passed", BOUND);
}

#[test]
fn operators_and_viewers_are_kept_within_their_role() {
    Site::start(Role::Viewer, Rows::new()).check("refused", &["role=viewer"]);
    Site::start(Role::Operator, Rows::new()).check("refused", &["role=operator"]);
}

#[test]
fn a_refresh_sends_the_same_event_ids_also_after_a_restart() {
    let before = Site::start(Role::Operator, Rows::new());
    let Some(mut client) = before.client("refresh", &[]) else { return };
    let retained = |client: &mut Child| [client.line("retained", BOUND), client.line("retained", BOUND)];
    let told = retained(&mut client);
    client.line("passed", BOUND);
    let after = Site::start(Role::Operator, before.alarms.rows());
    let Some(mut client) = after.client("retained", &[]) else { return };
    assert_eq!(retained(&mut client), told);
    client.line("passed", BOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_gives_the_same_event_ids_after_it_was_killed() {
    let Some(python) = peers::python() else { return };
    let plant = Plant::new(&TAGS.replace("initial", "retain = true\ninitial"), "").await;
    let config = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    // So that the SCADA of this test needs no certificate.
    plant.write("config/main.toml", &config.replacen("[http]", "security = ['None']\nanonymous = 'operator'\n[http]", 1));
    let url = format!("opc.tcp://127.0.0.1:{}/annunciator", plant.opcua);
    let client =
        |scenario: &str| Child::start(Command::new(&python).arg(peers::script("opcua_alarms.py")).args([&url, scenario]));
    let told = |mut client: Child| {
        let lines = [client.line("retained", BOUND), client.line("retained", BOUND)];
        client.line("passed", BOUND);
        lines
    };
    let daemon = plant.start().await;
    let before = told(client("refresh"));
    // Dropped, it is killed.
    drop(daemon);
    let daemon = plant.start().await;
    assert_eq!(told(client("retained")), before);
    let journal = daemon.get("journal?alarm=Plant/Level/Alarms/High&limit=20").await;
    let entries = journal["entries"].as_array().unwrap_or_else(|| panic!("no entries: {journal}"));
    let entries = entries.iter().map(|row| &row["entry"]);
    let ours = entries.filter(|entry| entry["kind"] == "acknowledged" && entry["text"] == "after the restart");
    assert_eq!(ours.count(), 1, "{journal}");
    daemon.stop();
}
