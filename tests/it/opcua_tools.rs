//! The command-line tools of asyncua against our server, as somebody types them who has never seen it.

use std::process::{Command, Stdio};

use annunciator::tag::{StatusCode, Value};

use crate::support::{BOUND, peers, plant::past, process::Child, raw::Target};

/// What a tool prints, and whether it ended well. `uahistoryread` is with the tests of history.
fn run(target: &Target, tool: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new(peers::python_tool(tool)?);
    command.args(["-u", target.url(), "--timeout", "20"]).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), text))
}

fn assert_shows(found: Option<(bool, String)>, wanted: &[&str]) {
    let Some((is_good, text)) = found else { return };
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(is_good, "{text}");
}

#[test]
fn uals_shows_a_folder_and_its_values() {
    let target = Target::start(|_| ());
    let line = ["-n", "ns=2;s=Plant/Line1"];
    assert_shows(run(&target, "uals", &line), &["TankLevel", "ns=2;s=Plant/Line1/TankLevel", "12.5", "Recipe", "Pump", "False"]);
    assert_shows(run(&target, "uals", &[&line[..], &["-l"]].concat()), &["TankLevel", "12.5", "i=10"]);
    assert_shows(run(&target, "uals", &["-d", "2", "-l", "0"]), &["Objects", "Types", "Server", "Plant", "Alarms"]);
    assert_shows(run(&target, "uals", &["-p", "0:Objects,2:Plant,2:Line1"]), &["Counter"]);
}

#[test]
fn uaread_reads_values_and_attributes() {
    let target = Target::start(|_| ());
    assert_shows(run(&target, "uaread", &["-n", "ns=2;s=Plant/Line1/TankLevel"]), &["12.5"]);
    assert_shows(run(&target, "uaread", &["-n", "ns=2;s=Plant/Line1/Recipe"]), &["[1, 2, 3, 4]"]);
    // Attribute 5 is the description.
    assert_shows(run(&target, "uaread", &["-n", "ns=2;s=Plant/Line1/TankLevel", "-a", "5"]), &["Feed tank level"]);
    assert_shows(run(&target, "uaread", &["-n", "ns=2;s=System/Gateway/Twilio/MessagesSent"]), &["15"]);
}

#[test]
fn uawrite_writes() {
    let target = Target::start(|_| ());
    assert_shows(run(&target, "uawrite", &["-n", "ns=2;s=Plant/Line1/Pump", "-t", "bool", "true"]), &[]);
    assert_shows(run(&target, "uawrite", &["-n", "ns=2;s=Plant/Line1/Recipe", "-t", "int16", "-l", "true", "5,6,7,8"]), &[]);
    if peers::python().is_none() {
        return;
    }
    let writes: Vec<_> =
        target.plant.writes.lock().unwrap().iter().map(|(_, path, value)| (path.clone(), value.clone())).collect();
    let recipe = Value::Array(annunciator::tag::DataType::Int16, (5..9).map(Value::Int16).collect());
    assert_eq!(writes, [("Plant/Line1/Pump".into(), Value::Boolean(true)), ("Plant/Line1/Recipe".into(), recipe)]);
    // What cannot be written is said.
    let (_, said) = run(&target, "uawrite", &["-n", "ns=2;s=Plant/Line1/Broken", "-t", "int32", "1"]).unwrap();
    assert!(said.contains("BadDeviceFailure"), "{said}");
}

#[test]
fn uacall_calls() {
    let target = Target::start(|_| ());
    let call = ["-n", "ns=2;s=System/Gateway/Twilio", "-m", "2:SendMessage", "-t", "string", "+15550002222,hello"];
    assert_shows(run(&target, "uacall", &call), &["resulting result_variants=True"]);
    let wrong = ["-n", "ns=2;s=System/Gateway/Twilio", "-m", "2:GetUser", "-t", "int64", "77"];
    if let Some((_, said)) = run(&target, "uacall", &wrong) {
        assert!(said.contains("BadNotFound"), "{said}");
        assert_eq!(target.plant.commands.lock().unwrap().len(), 1);
    }
}

#[test]
fn uasubscribe_sees_changes() {
    let Some(tool) = peers::python_tool("uasubscribe") else { return };
    let target = Target::start(|_| ());
    let mut command = Command::new(tool);
    command.args(["-u", target.url(), "--timeout", "20", "-n", "ns=2;s=Plant/Line1/Counter"]).env("PYTHONUNBUFFERED", "1");
    let mut child = Child::start(&mut command);
    child.line("value=0", BOUND);
    target.plant.set("Plant/Line1/Counter", Value::Int32(4_711), StatusCode::GOOD, past(5));
    child.line("value=4711", BOUND);
}

#[test]
fn uadiscover_finds_the_server() {
    let target = Target::start(|_| ());
    if let Some(tool) = peers::python_tool("uadiscover") {
        let output = Command::new(tool).args(["-u", target.url(), "--timeout", "20"]).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("urn:annunciator:server") && text.contains(target.url()), "{text}");
    }
}
