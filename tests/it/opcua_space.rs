//! The address space as asyncua sees it: every attribute of every node, conditions and the way of events, what a reload changes.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use annunciator::{
    engine::plan::Role,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    peers,
    plant::{Plant, TAGS},
    process::Child,
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(120);

struct Site {
    runtime: tokio::runtime::Runtime,
    plant: Arc<Plant>,
    running: Option<Running>,
    url: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        Self::start_for(Role::Viewer)
    }

    fn start_for(anonymous: Role) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None],
            anonymous: Some(anonymous),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, plant, url: running.endpoint.clone(), running: Some(running), stop, _folder: folder }
    }

    fn client(&self, python: &Path, scenario: &str) -> Child {
        Child::start(Command::new(python).arg(peers::script("opcua_space.py")).args([&*self.url, scenario]))
    }

    fn check(&self, python: &Path, scenario: &str) {
        let mut client = self.client(python, scenario);
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
fn every_attribute_of_every_node_is_as_its_class_demands() {
    let Some(python) = peers::python() else { return };
    Site::start().check(&python, "attributes");
}

#[test]
fn alarms_are_browsed_as_conditions_below_their_tags_notifiers() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    site.check(&python, "condition");
    site.check(&python, "tree");
}

#[test]
fn the_server_tells_of_itself() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    for scenario in ["diagnostics", "arrays", "no_security"] {
        site.check(&python, scenario);
    }
}

#[test]
fn each_session_is_an_object_while_it_lives() {
    let Some(python) = peers::python() else { return };
    Site::start().check(&python, "session_objects");
    Site::start_for(Role::Engineer).check(&python, "session_objects_of_engineer");
}

#[test]
fn a_reload_is_told_as_a_change_of_the_model() {
    let Some(python) = peers::python() else { return };
    let site = Site::start();
    let mut client = site.client(&python, "changes");
    let before = client.line("version", BOUND);
    client.line("subscribed", BOUND);
    site.plant.reconfigure(&TAGS.replace("Plant/Line1/Counter", "Plant/Line2/Counter"));
    let wanted =
        "changes [('Plant', 4), ('Plant/Line1', 8), ('Plant/Line1/Counter', 2), ('Plant/Line2', 1), ('Plant/Line2/Counter', 1)]";
    assert_eq!(client.line("changes", BOUND), wanted);
    client.say("go on");
    let after = client.line("version", BOUND);
    assert_ne!(before, after);
    client.line("passed", BOUND);
}
