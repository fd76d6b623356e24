//! The heartbeat and drills of the whole program.

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::json;
use sqlx::ConnectOptions as _;

use crate::support::{
    BOUND,
    program::{ALICE, Daemon, PIN, Plant, until},
};

const STORE_FAILED: &str = "the heartbeat failed: the store cannot be written";

const TAGS: &str = "
[[tag]]
path = 'Watch/Alive'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
writable = true
[[tag]]
path = 'Watch/Count'
type = 'Byte'
initial = 254
writable = true
";

/// Somebody who notices when it is missing: counts what arrives and answers with a status.
struct Watcher {
    url: String,
    beats: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
}

impl Watcher {
    async fn start() -> Self {
        let (beats, status) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU16::new(204)));
        let (counted, answered) = (Arc::clone(&beats), Arc::clone(&status));
        let answer = async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            StatusCode::from_u16(answered.load(Ordering::SeqCst)).unwrap()
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/ping/s3cret", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/ping/{key}", get(answer))).await });
        Self { url, beats, status }
    }

    fn count(&self) -> usize {
        self.beats.load(Ordering::SeqCst)
    }

    async fn more_than(&self, count: usize) {
        until(&format!("more than {count} beats"), BOUND, async || (self.count() > count).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_beats_only_while_engine_and_store_work() {
    let watcher = Watcher::start().await;
    let heartbeat = |tag: &str| format!("[heartbeat]\nurl = '{}'\ntag = '{tag}'\nevery = '1s'\ntimeout = '1s'\n", watcher.url);
    let plant = Plant::new(TAGS, "").await;
    plant.write("config/heartbeat.toml", &heartbeat("Watch/Alive"));
    // What is written beyond the limit of a file's size fails as on a full disk, instead of ending the program.
    let run = plant.command(&["run"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    shell.current_dir(run.get_current_dir().unwrap());
    let mut daemon = Daemon::spawn(&mut shell, plant.console);
    daemon.ready().await;
    watcher.more_than(0).await;
    until("the coil", BOUND, async || plant.plc.as_ref().unwrap().plant.coil(1000).then_some(())).await;
    let metric = |line: &'static str| {
        let url = format!("http://127.0.0.1:{}/metrics", plant.console);
        async move || {
            let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
            text.lines().any(|found| found.starts_with(line)).then_some(())
        }
    };
    until("a beat counted", BOUND, metric("annunciator_heartbeats_total{result=\"sent\"}")).await;

    // A reload takes another tag at once; the byte begins again at zero.
    plant.write("config/heartbeat.toml", &heartbeat("Watch/Count"));
    assert_eq!(plant.run(&["reload"]).await.code, Some(0));
    let begun_again = async || daemon.tag("Watch/Count").await.as_u64().filter(|count| *count < 254);
    until("the count from zero", BOUND, begun_again).await;

    // The other side refuses: logged without its URL, counted, and tried again.
    watcher.status.store(500, Ordering::SeqCst);
    daemon.logged("the heartbeat failed: the URL answered 500").await;
    until("a failure counted", BOUND, metric("annunciator_heartbeats_total{result=\"url\"}")).await;
    watcher.status.store(200, Ordering::SeqCst);
    daemon.logged("the heartbeat goes on").await;
    assert!(!daemon.log().contains("s3cret"));

    // The store cannot be written: nothing arrives any more.
    let pid = format!("--pid={}", daemon.child.id());
    let room = |size: &str| {
        let limited = Command::new("prlimit").args([&pid, &format!("--fsize={size}:unlimited")]).status();
        assert!(limited.unwrap().success());
    };
    room("1");
    daemon.logged(STORE_FAILED).await;
    let (before, failures) = (watcher.count(), || daemon.log().matches(STORE_FAILED).count());
    until("more failures", BOUND, async || (failures() > 2).then_some(())).await;
    assert_eq!(watcher.count(), before, "it beats while the store cannot be written");
    room("unlimited");
    watcher.more_than(before).await;

    // The engine's task hangs in a commit: silence, though all else runs.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(plant.folder.path().join("data/annunciator.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    daemon.logged("the heartbeat failed: the engine did not answer within 1s").await;
    let before = watcher.count();
    drop(other);
    watcher.more_than(before).await;
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_by_hand_is_answered_by_text() {
    let drill = "[drill]\npipeline = 'on-call'\nanswer_within = '5m'\n";
    let plant = Plant::new("", drill).await;
    let daemon = plant.start().await;
    let begun = plant.run(&["drill"]).await;
    assert_eq!(begun.code, Some(0), "{}", begun.err);
    assert!(begun.out.contains("within 5 min"), "{}", begun.out);
    let told =
        async || plant.twilio.phone(ALICE).into_iter().find(|text| !text.sent_by_phone && text.body.contains("This is a drill"));
    let text = until("the drill's text", BOUND, told).await;
    let again = plant.run(&["drill"]).await;
    assert!(again.code == Some(1) && again.err.contains("a drill is running"), "{}", again.err);
    let code = text.body.rsplit('#').next().unwrap().to_owned();
    plant.twilio.text(ALICE, Some("+15550001111".into()), &format!("{PIN}11 {code}")).await.unwrap();
    daemon.alarm_is("System/Gateway/Alarms/Drill", "ClearAcked").await;
    let passed = async || {
        let audit = daemon.get("audit?kind=drill").await;
        let results =
            audit["entries"].as_array()?.iter().map(|row| row["entry"]["result"].as_str().unwrap_or_default().to_owned());
        results.into_iter().find(|result| result.starts_with("passed: acknowledged by alice"))
    };
    until("a record that it passed", BOUND, passed).await;
    daemon.stop();
}

/// Who is on call, asked of the program; an override made there tells somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_by_the_api_sends_the_text_to_another_phone() {
    let plant = Plant::new("", "[drill]\npipeline = 'on-call'\n").await;
    let daemon = plant.start().await;
    let on_duty = async || daemon.get("on-call?roster=operators").await["rosters"][0]["on_duty"].clone();
    assert_eq!(on_duty().await, json!(["alice", "bob"]));
    let to = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let body = json!({"user": "carol", "covers": "alice", "to": to.to_string(), "note": "swap"});
    assert_eq!(daemon.post("overrides", &body).await["message"], "override 1 is set");
    assert_eq!(on_duty().await, json!(["carol", "bob"]));
    assert_eq!(plant.run(&["drill"]).await.code, Some(0));
    let told = async || plant.twilio.phone("+12223334403").into_iter().find(|text| text.body.contains("This is a drill"));
    until("the text to who covers", BOUND, told).await;
    assert_eq!(plant.twilio.phone(ALICE).len(), 0);
    assert_eq!(daemon.get("overrides").await["overrides"][0]["number"], 1);
    daemon.stop();
}
