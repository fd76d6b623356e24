//! What the integration tests share: third-party peers, and child processes that end with their test.

pub mod alarms;
pub mod alone;
pub mod busy;
pub mod bytes;
pub mod hostile;
pub mod line;
pub mod mutate;
pub mod peers;
pub mod plant;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod raw;
pub mod requests;
pub mod source;
pub mod twilio;

use std::{process::Command, time::Duration};

/// Long enough for a busy machine; what a healthy peer does takes milliseconds.
pub const BOUND: Duration = Duration::from_secs(20);

#[test]
fn python_peers_are_there() {
    let Some(python) = peers::python() else { return };
    assert!(peers::script("requirements.txt").is_file());
    let code = "import asyncua, pymodbus, twilio; print('pid', __import__('os').getpid(), flush=True); print(input()); exit(7)";
    let mut child = process::Child::start(Command::new(&python).args(["-c", code]));
    assert_eq!(child.line("pid", BOUND), format!("pid {}", child.id()));
    child.say("hello");
    child.line("hello", BOUND);
    assert_eq!(child.exit_code(BOUND), Some(7));
}

#[test]
fn node_peers_are_there() {
    let Some(folder) = peers::node_modules() else { return };
    let code = "console.log(typeof require('node-opcua').OPCUAClient); setInterval(() => 0, 1000)";
    let mut child = process::Child::start(Command::new("node").args(["-e", code]).current_dir(folder));
    child.line("function", BOUND);
    child.kill();
    assert_eq!(child.exit_code(BOUND), None, "ended by a signal");
}
