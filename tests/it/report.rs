//! What the running program recorded, as reports, tags, metrics and a log: one alarm event, followed through all of them.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    BOUND, peers,
    program::{ALICE, Daemon, PIN, Plant, until},
};

const TAGS: &str = "
[[tag]]
path = 'Tank'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
[[tag.alarm]]
name = 'Trip'
priority = 'critical'
message = 'Tank level high high'
pipeline = 'on-call'
ack = { tag = 'TankAck', mode = 'increment' }
[[tag]]
path = 'TankAck'
type = 'UInt16'
source = 'plc1'
address = 'holding:100'
writable = true
";
const TRIP: &str = "Tank/Alarms/Trip";

/// The lines of a JSON log.
fn lines(daemon: &Daemon) -> Vec<Value> {
    daemon.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Trips the tank, answers the text, and waits for the PLC's answer; the alarm event's id.
async fn story(plant: &Plant, daemon: &Daemon) -> String {
    let coils = &plant.plc.as_ref().unwrap().plant;
    coils.set_coils(1000, &[true]);
    let told = async || plant.twilio.phone(ALICE).into_iter().find(|text| !text.sent_by_phone);
    until("text", BOUND, told).await;
    let event = daemon.alarm(TRIP).await["event"].as_str().unwrap().to_owned();
    // Once the engine knows of the acceptance: a reply before it was reached by nothing.
    daemon.logged(r#""kind":"MessageSent""#).await;
    plant.twilio.text(ALICE, Some("+15550001111".into()), &format!("{PIN}11")).await.unwrap();
    daemon.alarm_is(TRIP, "ActiveAcked").await;
    daemon.tag_is("TankAck", 1).await;
    let answered = async || plant.twilio.phone(ALICE).into_iter().filter(|text| !text.sent_by_phone).nth(1);
    until("answer", BOUND, answered).await;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_followed_through_log_metrics_tags_and_report() {
    let plant = Plant::new(TAGS, "").await;
    let mut command = plant.command(&["run", "--log-format", "json", "-v"]);
    let mut daemon = Daemon::spawn(&mut command, plant.console);
    daemon.ready().await;
    let event = story(&plant, &daemon).await;

    // Log: every stage names the event.
    let wanted = ["sample", "raise", "pipeline", "outbox", "send", "webhook", "reply", "write-back"];
    let stages = || -> BTreeSet<String> {
        let of_event = |line: &Value| line["fields"]["event"].as_str().is_some_and(|ids| ids.split(' ').any(|id| id == event));
        let lines = lines(&daemon).into_iter().filter(of_event);
        lines.filter_map(|line| Some(line["fields"]["stage"].as_str()?.to_owned())).collect()
    };
    until("every stage in the log", BOUND, async || wanted.iter().all(|stage| stages().contains(*stage)).then_some(())).await;
    assert!(!daemon.log().contains("Tank level high high"), "bodies are not logged");

    // Metrics: what was just seen.
    let url = format!("http://127.0.0.1:{}/metrics", plant.console);
    // The state of sources is told once a second.
    let connected = "annunciator_source_connected{source=\"plc1\"} 1\n";
    let metrics = until("a connected source", BOUND, async || {
        let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
        text.contains(connected).then_some(text)
    })
    .await;
    let figure = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
    };
    assert!(figure("annunciator_alarms{state=\"active_acked\"}") > 0.0);
    assert!(figure("annunciator_messages_total{channel=\"sms\",direction=\"sent\"}") >= 2.0);
    assert!(figure("annunciator_messages_total{channel=\"sms\",direction=\"received\"}") >= 1.0);
    assert!(figure("annunciator_flank_to_send_seconds_count") >= 1.0);
    assert!(figure("annunciator_flank_to_commit_seconds_count") >= 1.0);
    assert!(figure("annunciator_system_alarm_active{alarm=\"Alarms/NobodyReached\"}") == 0.0);
    assert!(figure("annunciator_start_time_seconds") > 1.7e9);

    // Tags: the figures of the last 24 hours.
    daemon.tag_is("System/Gateway/Alarming/AlarmsPer24Hours", 1).await;
    daemon.tag_is("System/Gateway/Alarming/BadActor", TRIP).await;
    daemon.tag_is("System/Gateway/Alarming/Standing", 1).await;

    // Report: beside the running daemon.
    let report = plant.run(&["report", "--output", "json"]).await.json();
    assert_eq!(report["alarms"]["activations"], 1, "{report}");
    assert_eq!(report["acknowledgement"]["by_person"][0]["person"], "alice");
    assert_eq!((&report["reached"]["all"]["count"], &report["reached"]["never"]), (&1.into(), &0.into()), "{report}");
    let alice = &report["people"][0];
    assert_eq!((&alice["person"], &alice["texts_sent"], &alice["texts_received"]), (&"alice".into(), &2.into(), &1.into()));
    let file = plant.folder.path().join("report.parquet");
    let written = plant.run(&["report", "--parquet", file.to_str().unwrap()]).await;
    assert_eq!(written.code, Some(0), "{}", written.err);
    assert!(written.out.contains("Alarms per 10 minutes, average") && !written.err.contains("reading"), "{}", written.err);
    daemon.stop();

    let Some(python) = peers::python_for_reports() else { return };
    let read = "import json, sys, pyarrow.parquet as pq; t = pq.read_table(sys.argv[1]); print(json.dumps(t.to_pylist()))";
    let output = Command::new(python).args(["-c", read]).arg(&file).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |section: &str, name: &str, measure: &str| {
        let found = rows.iter().find(|row| row["Section"] == section && row["Name"] == name && row["Measure"] == measure);
        found.unwrap_or_else(|| panic!("no {section} {name} {measure} in {rows:?}")).clone()
    };
    assert_eq!(row("alarms", "all", "activations")["Value"], 1.0);
    assert_eq!(row("bad_actors", TRIP, "share")["Value"], 100.0);
    let target = row("figures", "peak_per_10_minutes", "value");
    assert_eq!((&target["Target"], &target["Source"], &target["Met"]), (&"at most 10".into(), &"ISA-18.2".into(), &true.into()));
    assert_eq!(row("people", "alice", "texts_sent")["Unit"], Value::Null);
}

/// With promtool of Prometheus (Debian's package `prometheus`); said on stdout where there is none.
#[test]
fn alert_rules_are_rules() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus-rules.yml");
    match Command::new("promtool").args(["check", "rules", rules]).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            assert!(output.status.success(), "{said}");
            assert!(said.contains("15 rules found"), "{said}");
        }
        Err(error) => println!("skipped: promtool is not there ({error}); the package prometheus brings it"),
    }
}
