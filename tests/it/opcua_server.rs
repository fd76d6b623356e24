//! The OPC UA server against asyncua and node-opcua as HMIs, and against peers that mean no good.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use annunciator::{
    engine::{io, plan::Role},
    pki::Pki,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
    tag::{StatusCode, Value},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    peers,
    plant::{Plant, past},
    process::Child,
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(60);

/// A running server over a small plant.
pub struct Site {
    runtime: tokio::runtime::Runtime,
    plant: Arc<Plant>,
    running: Option<Running>,
    /// Where it listens.
    pub url: String,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts one whose settings are as `change` makes them.
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None, SecurityPolicy::Basic256Sha256],
            anonymous: Some(Role::Viewer),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, plant, url: running.endpoint.clone(), running: Some(running), stop, folder }
    }

    fn client(&self, python: &Path, scenario: &str, options: &[&str]) -> Child {
        Child::start(Command::new(python).arg(peers::script("opcua_hmi.py")).args([&*self.url, scenario]).args(options))
    }

    /// Runs a scenario to its good end.
    fn check(&self, python: &Path, scenario: &str, options: &[&str]) {
        let mut client = self.client(python, scenario, options);
        client.line("passed", BOUND);
        assert_eq!(client.exit_code(BOUND), Some(0), "{scenario}");
    }

    /// A client certificate that the server trusts; the option that names it.
    fn trusted_client(&self, python: &Path) -> String {
        let option = format!("certificates={}", self.folder.path().display());
        self.check(python, "certificate", &[&option]);
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

#[test]
fn asyncua_browses_and_reads() {
    let Some(python) = peers::python() else { return };
    Site::start(|_| ()).check(&python, "browse", &[]);
}

#[test]
fn asyncua_finds_the_endpoints() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let mut client = site.client(&python, "endpoints", &[]);
    for (policy, mode, tokens) in [
        ("None", "None_", "['Anonymous']"),
        ("Basic256Sha256", "SignAndEncrypt", "['Anonymous', 'UserName']"),
        ("Basic256Sha256", "Sign", "['Anonymous', 'UserName']"),
    ] {
        assert_eq!(client.line("endpoint", BOUND), format!("endpoint {} {policy} {mode} {tokens}", site.url));
    }
    assert_eq!(client.line("server", BOUND), "server urn:annunciator:server");
    assert_eq!(client.exit_code(BOUND), Some(0));
}

#[test]
fn security_user_names_and_roles() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|settings| {
        settings.security = vec![SecurityPolicy::Basic256Sha256];
        settings.anonymous = None;
    });
    let certificates = site.trusted_client(&python);
    let olga = ["user=olga", "password=öl pump 7"];
    // Both modes read and write; each keeps to the role of the user.
    for mode in ["mode=Sign", "mode=SignAndEncrypt"] {
        let mut client = site.client(&python, "write", &[&certificates, mode, olga[0], olga[1]]);
        let codes = "codes Good BadUserAccessDenied BadDeviceFailure BadTypeMismatch BadTypeMismatch Good BadNotWritable";
        assert_eq!(client.line("codes", BOUND), codes, "{mode}");
        assert_eq!(client.line("access", BOUND), "access False True");
        assert_eq!(client.exit_code(BOUND), Some(0));
    }
    let writes: Vec<_> = site.plant.writes.lock().unwrap().drain(..).collect();
    let wanted = [
        ("Plant/Line1/Pump", Value::Boolean(true)),
        ("Plant/Line1/Broken", Value::Int32(1)),
        ("Plant/Line1/TankLevel/Alarms/HighHigh/Ack", Value::Boolean(true)),
    ];
    assert_eq!(writes.len(), 6);
    for ((by, path, value), (wanted_path, wanted_value)) in writes.iter().zip(wanted.iter().cycle()) {
        assert_eq!((&*by.name, by.role, by.via), ("olga", Role::Operator, annunciator::engine::io::Via::OpcUa));
        assert_eq!((&**path, value), (*wanted_path, wanted_value));
    }
    for (options, reason) in [
        (vec!["mode=SignAndEncrypt", "user=olga", "password=wrong"], "BadUserAccessDenied"),
        (vec!["mode=SignAndEncrypt", "user=nobody", "password=x"], "BadUserAccessDenied"),
        (vec!["mode=SignAndEncrypt"], "BadIdentityTokenRejected"),
        // Without security there is only discovery.
        (vec![], "BadSecurityPolicyRejected"),
    ] {
        let options: Vec<&str> = options.into_iter().chain([&*certificates]).collect();
        let mut client = site.client(&python, "denied", &options);
        assert_eq!(client.line("denied", BOUND), format!("denied {reason}"), "{options:?}");
    }
}

#[test]
fn strangers_are_refused_until_they_are_trusted() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let certificates = format!("certificates={}", site.folder.path().display());
    site.check(&python, "certificate", &[&certificates]);
    let options = [&*certificates, "mode=SignAndEncrypt"];
    let denied = site.client(&python, "denied", &options).line("denied", BOUND);
    assert_ne!(denied, "denied by nothing");
    let pki = Pki::open(site.folder.path().join("pki")).unwrap();
    let listed = pki.list();
    let stranger = listed.iter().find(|entry| entry.folder.name() == "rejected").expect("the stranger is in rejected/");
    pki.trust(&stranger.thumbprint).unwrap();
    site.check(&python, "unsupported", &options);
}

#[test]
fn user_names_do_not_pass_without_security() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let denied = site.client(&python, "denied", &["user=erik", "password=secret"]).line("denied", BOUND);
    assert_ne!(denied, "denied by nothing");
}

#[test]
fn methods_send_and_show_users() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|settings| settings.anonymous = Some(Role::Operator));
    site.check(&python, "call", &[]);
    let commands = site.plant.commands.lock().unwrap();
    let calls = commands.iter().filter(|(_, command)| matches!(command, io::Command::PlaceCall { .. })).count();
    assert_eq!((commands.len(), calls), (4, 2));
    drop(commands);
    let viewers = Site::start(|_| ());
    assert_eq!(viewers.client(&python, "refused", &[]).line("call", BOUND), "call BadUserAccessDenied");
    assert!(viewers.plant.commands.lock().unwrap().is_empty());
}

#[test]
fn tokens_are_renewed_while_requests_go_on() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|settings| settings.limits.token = (Duration::from_secs(1), Duration::from_secs(4)));
    let certificates = site.trusted_client(&python);
    let modes = [vec![&*certificates, "mode=SignAndEncrypt"], vec![&*certificates, "mode=Sign"], vec![]];
    let stay = |options: Vec<&str>| site.client(&python, "stay", &[options, vec!["reads=80", "token=4000"]].concat());
    for mut client in modes.map(stay) {
        client.line("passed", BOUND);
        assert_eq!(client.exit_code(BOUND), Some(0));
    }
}

#[test]
fn what_changes_is_told_with_its_own_time() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let mut client = site.client(&python, "subscribe", &["paths=Plant/Line1/Counter,Plant/Line1/Pump"]);
    let counter =
        |value: &str, status: &str, time: &str| format!("value Plant/Line1/Counter {value} {status} 2024-02-29T{time}+00:00");
    assert_eq!(client.line("Counter", BOUND), counter("0", "0x00000000", "12:00:00"));
    site.plant.set("Plant/Line1/Counter", Value::Int32(7), StatusCode::GOOD, past(10));
    assert_eq!(client.line("Counter", BOUND), counter("7", "0x00000000", "12:00:10"));
    // The status alone, with the same value and an older time, is a change.
    let lost = StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE;
    site.plant.set("Plant/Line1/Counter", Value::Int32(7), lost, past(5));
    assert_eq!(client.line("Counter", BOUND), counter("7", "0x408F0000", "12:00:05"));
    // A time alone is none; the next line is the next value.
    site.plant.set("Plant/Line1/Counter", Value::Int32(7), lost, past(6));
    std::thread::sleep(Duration::from_millis(200));
    site.plant.set("Plant/Line1/Counter", Value::Null, StatusCode::BAD_NO_COMMUNICATION, past(20));
    assert_eq!(client.line("Counter", BOUND), counter("None", "0x80310000", "12:00:20"));
    // Two values within one publishing interval: the last one is told.
    for round in 0..20 {
        site.plant.set("Plant/Line1/Counter", Value::Int32(1_000 + round), StatusCode::GOOD, past(100));
        site.plant.set("Plant/Line1/Counter", Value::Int32(2_000 + round), StatusCode::GOOD, past(100));
        client.line(&format!("Counter {} ", 2_000 + round), BOUND);
    }
    client.say("stop");
    client.line("passed", BOUND);
}

#[test]
fn deadbands_thin_what_is_told() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    for (filter, steps) in [("absolute:5", [4.9, 5.5]), ("percent:20", [19.0, 21.0])] {
        site.plant.set("Plant/Line1/TankLevel", Value::Float(0.0), StatusCode::GOOD, past(0));
        let deadband = format!("deadband={filter}");
        let mut client = site.client(&python, "subscribe", &["paths=Plant/Line1/TankLevel", &deadband]);
        client.line("TankLevel 0.0", BOUND);
        site.plant.set("Plant/Line1/TankLevel", Value::Float(steps[0]), StatusCode::GOOD, past(1));
        std::thread::sleep(Duration::from_millis(300));
        site.plant.set("Plant/Line1/TankLevel", Value::Float(steps[1]), StatusCode::GOOD, past(2));
        assert!(client.line("TankLevel", BOUND).contains(&format!("TankLevel {:?} ", steps[1])), "{filter}");
        client.say("stop");
        client.line("passed", BOUND);
    }
}

#[test]
fn a_queue_keeps_fast_values_in_order() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let options = ["paths=Plant/Line1/Counter", "queue=10", "sampling=10", "publishing=500"];
    let mut client = site.client(&python, "subscribe", &options);
    client.line("Counter 0", BOUND);
    for value in 1..=4 {
        site.plant.set("Plant/Line1/Counter", Value::Int32(value), StatusCode::GOOD, past(i64::from(value)));
        std::thread::sleep(Duration::from_millis(60));
    }
    for value in 1..=4 {
        assert!(client.line("Counter", BOUND).contains(&format!("Counter {value} 0x00000000")));
    }
    client.say("stop");
    client.line("passed", BOUND);
}

#[test]
fn a_reload_adds_and_removes_nodes_under_living_sessions() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|_| ());
    let mut client = site.client(&python, "subscribe", &["paths=Plant/Line1/Counter,Plant/Line1/Pump"]);
    client.line("Counter 0", BOUND);
    let without = crate::support::plant::TAGS.replace("Plant/Line1/Counter", "Plant/Line2/Counter");
    site.plant.reconfigure(&without);
    assert!(client.line("Counter", BOUND).contains("Counter None 0x80340000"));
    site.plant.set("Plant/Line1/Pump", Value::Boolean(true), StatusCode::GOOD, past(3));
    client.line("Pump True", BOUND);
    site.plant.reconfigure(crate::support::plant::TAGS);
    site.plant.set("Plant/Line1/Counter", Value::Int32(42), StatusCode::GOOD, past(4));
    client.line("Counter 42", BOUND);
    client.say("stop");
    client.line("passed", BOUND);
}

#[test]
fn node_opcua_reads_writes_calls_and_watches() {
    let Some(folder) = peers::node_modules() else { return };
    let site = Site::start(|_| ());
    let home = site.folder.path().to_owned();
    let client = |mode: &str| {
        let mut command = Command::new("node");
        command.arg(peers::script("opcua_hmi.js")).args([&*site.url, home.to_str().unwrap(), mode]);
        Child::start(command.current_dir(&folder))
    };
    let mut maker = client("certificate");
    let made = maker.line("made: ", BOUND);
    let pem = std::fs::read(made.strip_prefix("made: ").unwrap()).unwrap();
    std::fs::create_dir_all(home.join("pki/trusted")).unwrap();
    std::fs::write(home.join("pki/trusted/node.pem"), pem).unwrap();
    for (round, mode) in (1..).zip(["plain", "secured"]) {
        let mut client = client(mode);
        client.line("value", BOUND);
        site.plant.set("Plant/Line1/Counter", Value::Int32(round), StatusCode::UNCERTAIN_LAST_USABLE_VALUE, past(30));
        assert_eq!(client.line("value", BOUND), format!("value {round} UncertainLastUsableValue 2024-02-29T12:00:30.000Z"));
        client.say("stop");
        client.line("passed", BOUND);
    }
}

#[test]
fn every_policy_of_the_configuration_works_in_both_modes() {
    let Some(python) = peers::python() else { return };
    let site = Site::start(|settings| settings.security = Settings::default().security);
    let certificates = site.trusted_client(&python);
    for policy in ["policy=Aes128Sha256RsaOaep", "policy=Aes256Sha256RsaPss", "policy=Basic256Sha256"] {
        for mode in ["mode=Sign", "mode=SignAndEncrypt"] {
            let options = [&*certificates, policy, mode, "user=erik", "password=secret"];
            site.check(&python, "unsupported", &options);
        }
    }
}
