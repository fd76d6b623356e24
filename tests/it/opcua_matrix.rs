//! Methods of conditions as strangers' clients call them: each method with each of its StatusCodes (the table is in
//! peers/opcua_matrix.py), node-opcua's list of alarms, and open62541's client.

use std::{process::Command, time::Duration};

use annunciator::engine::plan::Role;

use crate::support::{
    alarms::{Alarms, Rows},
    peers,
    process::Child,
    raw::Target,
};

/// How long a peer may take while all tests run theirs.
const BOUND: Duration = Duration::from_secs(120);

fn matrix(role: Role, name: &str, least: usize) {
    let Some(python) = peers::python() else { return };
    let aim = Target::over(Alarms::new(Rows::new()), |settings| settings.anonymous = Some(role));
    let mut client = Child::start(Command::new(python).arg(peers::script("opcua_matrix.py")).args([aim.url(), name]));
    // Each row has its time, not all of them together.
    let rows = loop {
        let line = client.line("row", BOUND);
        if let Some(rows) = line.strip_prefix("rows ") {
            break rows.parse::<usize>().unwrap();
        }
    };
    assert!(rows >= least, "only {rows} rows");
    client.line("passed", BOUND);
}

#[test]
fn methods_and_codes_of_a_viewer() {
    matrix(Role::Viewer, "viewer", 30);
}

#[test]
fn methods_and_codes_of_an_operator() {
    matrix(Role::Operator, "operator", 80);
}

#[test]
fn methods_and_codes_of_an_engineer() {
    matrix(Role::Engineer, "engineer", 100);
}

#[test]
fn open62541_watches_and_acknowledges() {
    let Some(python) = peers::open62541() else { return };
    let aim = Target::over(Alarms::new(Rows::new()), |settings| settings.anonymous = Some(Role::Operator));
    let mut client = Child::start(Command::new(python).arg(peers::script("opcua_open62541.py")).arg(aim.url()));
    client.line("passed", BOUND);
    assert_eq!(client.exit_code(BOUND), Some(0));
}

#[test]
fn node_opcua_monitors_alarms() {
    let Some(folder) = peers::node_modules() else { return };
    let aim = Target::over(Alarms::new(Rows::new()), |settings| settings.anonymous = Some(Role::Operator));
    let scada = |aim: &Target<Alarms>, more: &[&str]| {
        let mut command = Command::new("node");
        command.arg(peers::script("opcua_scada.js")).arg(aim.url()).arg(aim.folder.path()).args(more).current_dir(&folder);
        let mut client = Child::start(&mut command);
        client.line("passed", BOUND);
        assert_eq!(client.exit_code(BOUND), Some(0));
    };
    scada(&aim, &[]);
    let aim = Target::over(Alarms::new(Rows::new()), |settings| settings.anonymous = Some(Role::Engineer));
    scada(&aim, &["security"]);
}
