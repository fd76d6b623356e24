//! `replay` and `what-if`: what they print, to the letter. `UPDATE_EXPECT=1` writes what they print now.

use std::{fs, path::Path, process::Command};

use crate::support::program::finish;

/// Runs the program; what it printed on both streams, and its exit status.
fn printed(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_annunciator"));
    let output = finish(command.args(arguments).current_dir(root).env_remove("COLUMNS"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = output.status.code().unwrap();
    format!("$ annunciator {}\n{}{}exit {status}\n\n", arguments.join(" "), text(&output.stdout), text(&output.stderr))
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, found).unwrap();
    } else {
        assert_eq!(found, fs::read_to_string(&path).unwrap_or_default(), "{} is not as expected", path.display());
    }
}

#[test]
fn replay_tells_the_story_and_what_differs() {
    let cases: [&[&str]; 3] = [
        &["replay", "docs/scenarios/acknowledged.scn"],
        &["replay", "tests/golden/differs.scn"],
        &["replay", "tests/golden/differs.scn", "--output", "json"],
    ];
    golden("replay.txt", &cases.map(printed).concat());
}

#[test]
fn every_scenario_of_the_documentation_passes_as_a_user_runs_it() {
    let found = printed(&["replay", "docs/scenarios"]);
    assert!(found.ends_with("exit 0\n\n"), "{found}");
}

#[test]
fn what_if_tells_who_would_be_told() {
    let plant = ["--config", "tests/golden/plant/config", "--tags", "tests/golden/plant/tags", "--time-zone", "Europe/London"];
    let ask = |alarm: &str, more: &[&str]| printed(&[&["what-if", alarm], more, &plant].concat());
    let found = [
        ask("Tank/Level/High", &["--at", "2026-11-22 01:57:30"]),
        // An hour that is skipped, and one that occurs twice.
        ask("Tank/Level/High", &["--at", "2026-03-29 01:30", "--until", "1m"]),
        ask("Tank/Level/High", &["--at", "2026-10-25 01:30", "--until", "1m"]),
        ask("Tank/Level/Alarms/High", &["--at", "2026-11-22 12:00", "--value", "99.5", "--until", "10s", "--output", "json"]),
        ask("Tank/Level/High", &["--at", "2026-11-22 12:00", "--set", "Tank/Limit=200", "--until", "10s"]),
        ask("Tank/Level/High", &["--at", "2026-11-22 12:00", "--value", "12"]),
        ask("Tank/Door/Open", &["--at", "2026-11-22 12:00"]),
        ask("Tank/Level/Hihg", &["--at", "2026-11-22 12:00"]),
        ask("System/Gateway/TwilioFailed", &["--at", "2026-11-22 12:00", "--until", "1m"]),
        ask("Tank/Level/High", &["--at", "tomorrow"]),
    ];
    golden("what-if.txt", &found.concat());
}
