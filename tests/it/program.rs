//! The whole program: started, asked, reloaded, deceived and stopped, between our simulators.

use std::{
    fs,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use annunciator::simulate::{
    modbus_plc::{Event as PlantEvent, Plc},
    twilio::{Fault, FaultKind, TextOutcome},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    BOUND, peers,
    port::free_port,
    process::Child,
    program::{ALICE, Daemon, PASSWORD, PIN, Plant, binary, demo, finish, no_secrets, until},
    twilio::http,
};

/// Two trips with write-back, a limit that is retained, and an alarm without a pipeline.
const TAGS: &str = "
[[tag]]
path = 'Tank'
type = 'Boolean'
source = 'plc1'
address = 'coil:1'
[[tag.alarm]]
name = 'Trip'
priority = 'critical'
message = 'Tank level high high'
pipeline = 'on-call'
ack = { tag = 'TankAck', mode = 'pulse', hold = '200ms' }
[[tag]]
path = 'TankAck'
type = 'Boolean'
source = 'plc1'
address = 'coil:11'
writable = true
[[tag]]
path = 'Pump'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
[[tag.alarm]]
name = 'Fault'
priority = 'high'
message = 'Pump fault'
pipeline = 'on-call'
ack = { tag = 'PumpAcks', mode = 'increment' }
[[tag]]
path = 'PumpAcks'
type = 'UInt16'
source = 'plc1'
address = 'holding:100'
writable = true
[[tag]]
path = 'Limit'
type = 'Float'
initial = 85.0
retain = true
writable = true
";
const TRIP: &str = "Tank/Alarms/Trip";
const FAULT: &str = "Pump/Alarms/Fault";
const SPARE: u16 = 1000;

/// The texts that a phone got.
fn texts(plant: &Plant, number: &str) -> Vec<String> {
    plant.twilio.phone(number).into_iter().filter(|text| !text.sent_by_phone).map(|text| text.body).collect()
}

/// Waits until a phone has so many texts, and returns the last.
async fn text(plant: &Plant, number: &str, count: usize) -> String {
    let what = format!("text {count} to {number}");
    let look = async || Some(texts(plant, number)).filter(|texts| texts.len() >= count);
    let texts = until(&what, BOUND, look).await;
    assert_eq!(texts.len(), count, "{texts:#?}");
    texts[count - 1].clone()
}

fn code(text: &str) -> &str {
    text.rsplit('#').next().unwrap().split('.').next().unwrap().trim()
}

/// A phone sends a text; the webhook's status.
async fn reply(plant: &Plant, number: &str, body: &str) -> Option<u16> {
    let TextOutcome { webhook_status, .. } = plant.twilio.text(number, Some("+15550001111".into()), body).await.unwrap();
    webhook_status
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reload_and_stop() {
    let plant = Plant::new(TAGS, "").await;
    let daemon = plant.start().await;

    let watch = |what: &str, output: &str| Child::start(&mut plant.command(&[what, "Pump", "--watch", "--output", output]));
    let (mut lines, mut tables, mut values) = (watch("alarms", "json"), watch("alarms", "text"), watch("tags", "json"));
    lines.line("\"state\":\"ClearAcked\"", BOUND);
    tables.line("ClearAcked", BOUND);
    values.line("\"value\":false", BOUND);
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    daemon.alarm_is(FAULT, "ActiveUnacked").await;
    lines.line("\"state\":\"ActiveUnacked\"", BOUND);
    tables.line("ActiveUnacked", BOUND);
    values.line("\"value\":true", BOUND);
    let alarms = plant.run(&["alarms", "--state", "unacked", "--output", "json"]).await.json();
    assert_eq!(alarms["alarms"][0]["path"], FAULT, "{alarms}");
    let acked = plant.run(&["ack", FAULT, "--note", "seen"]).await;
    assert_eq!(acked.code, Some(0), "{}{}", acked.out, acked.err);
    daemon.alarm_is(FAULT, "ActiveAcked").await;
    let again = plant.run(&["ack", FAULT]).await;
    assert_eq!(again.code, Some(1), "the second is told who was first: {}", again.out);
    assert!(again.err.contains("bob"), "{}", again.err);
    daemon.tag_is("PumpAcks", 1).await;
    let shelved = plant.run(&["shelve", TRIP, "--for", "10m"]).await;
    assert_eq!(shelved.code, Some(0), "{}", shelved.err);
    assert!(daemon.alarm(TRIP).await["shelved_until"].is_string());
    assert_eq!(plant.run(&["shelve", TRIP, "--for", "40m"]).await.code, Some(1), "critical: at most 30 min");
    let users = plant.run(&["users"]).await;
    assert!(users.out.contains("alice") && !users.out.contains(ALICE), "numbers are masked: {}", users.out);
    let wrong = finish(plant.command(&["users"]).env("ANNUNCIATOR_PASSWORD", "wrong"));
    assert_eq!(wrong.status.code(), Some(1));
    let nobody = finish(plant.command(&["alarms"]).env_remove("ANNUNCIATOR_USER"));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("ANNUNCIATOR_USER"), "says how to log in");

    // A good reload: a new tag, and nothing forgotten.
    plant.write("tags/more.toml", "[[tag]]\npath = 'More'\ntype = 'Int32'\ninitial = 7\n");
    daemon.signal("HUP");
    daemon.logged("configuration applied").await;
    daemon.tag_is("More", 7).await;
    daemon.tag_is("Pump", true).await;
    assert_eq!(daemon.alarm(FAULT).await["state"], "ActiveAcked");
    assert!(daemon.alarm(TRIP).await["shelved_until"].is_string());
    let texts_before = texts(&plant, ALICE);

    // A bad one changes nothing and says why.
    plant.write("tags/more.toml", "[[tag]]\npath = 'More'\ntype = 'Imt32'\n[[tag]]\npath = 'Less'\ntype = 'Int32'\ncolour = 1\n");
    daemon.signal("HUP");
    daemon.logged("was not reloaded").await;
    daemon.logged("Imt32").await;
    daemon.tag_is("System/Gateway/ConfigErrors", 2).await;
    daemon.tag_is("More", 7).await;
    let refused = plant.run(&["reload"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("Imt32") && refused.err.contains("colour"), "{}", refused.err);
    plant.write("tags/more.toml", "[[tag]]\npath = 'More'\ntype = 'Int32'\n");
    plant.write("config/more.toml", "[site]\nname = 'Elsewhere'\n");
    assert_eq!(plant.run(&["reload"]).await.code, Some(0));
    daemon.tag_is("System/Gateway/ConfigErrors", 0).await;
    assert_eq!(texts(&plant, ALICE), texts_before, "a reload notifies nobody");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused() {
    let plant = Plant::new(TAGS, "").await;
    let _first = plant.start().await;
    let second = plant.run(&["run"]).await;
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("another annunciator already runs on the store"), "{}", second.err);
    // Another store, the same ports.
    let mut command = binary();
    command.arg("run").args(plant.folders("other"));
    let (code, log) = Daemon::spawn(&mut command, plant.console).end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("failed to listen on 127.0.0.1:") && log.contains("another Annunciator"), "{log}");
}

#[test]
fn check_tells_every_problem_and_exits_with_2() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/unknown_references");
    let check = |arguments: &[&str]| {
        let folders = [format!("--config={folder}/config"), format!("--tags={folder}/tags")];
        finish(binary().arg("check").args(folders).args(arguments))
    };
    let plain = check(&[]);
    let text = [&plain.stderr, &plain.stdout].map(|bytes| String::from_utf8_lossy(bytes)).concat();
    assert_eq!(plain.status.code(), Some(2), "{text}");
    assert!(text.contains("12 errors, 1 warning") && text.contains("did you mean"), "{text}");
    let run = finish(binary().arg("run").args([format!("--config={folder}/config"), format!("--tags={folder}/tags")]));
    assert_eq!(run.status.code(), Some(2), "the daemon does not start on it");
    assert_eq!(finish(binary().args(["check", "--config", "/nowhere"])).status.code(), Some(2));
    assert_eq!(finish(binary().arg("chek")).status.code(), Some(2));
}

#[test]
fn the_demo_ends_with_an_acknowledged_alarm() {
    let mut demo = Child::start(demo().arg("--once"));
    demo.line("OPC UA server", BOUND);
    for step in ["RAISED Plant/Line1/TankTrip", "Alice gets: CRITICAL", "Alice gets: Acknowledged", "counter"] {
        no_pin(&demo.line(step, Duration::from_secs(40)));
    }
    assert_eq!(demo.exit_code(BOUND), Some(0));
}

#[test]
fn the_demo_takes_a_call() {
    let mut demo = Child::start(&mut demo());
    demo.line("Alice gets: CRITICAL", BOUND);
    demo.say("call");
    demo.line("Alice hears: This is Annunciator. Please enter your PIN", BOUND);
    demo.say("keys 4711");
    no_pin(&demo.line("Alice keys in her PIN", BOUND));
    demo.line("Alice hears: Critical", BOUND);
    demo.say("keys 1");
    demo.line("acknowledged by alice", BOUND);
    demo.line("Alice hears: The controller took it", BOUND);
    demo.say("quit");
    assert_eq!(demo.exit_code(BOUND), Some(0));
}

#[test]
fn the_demo_tells_that_the_plc_is_lost() {
    let mut demo = Child::start(&mut demo());
    demo.line("OPC UA server", BOUND);
    demo.say("plc off");
    demo.line("RAISED System/Gateway/Sources/plc1/Alarms/CommLoss", BOUND);
    demo.say("plc on");
    demo.line("cleared System/Gateway/Sources/plc1/Alarms/CommLoss", BOUND);
    demo.say("quit");
    assert_eq!(demo.exit_code(BOUND), Some(0));
}

fn no_pin(line: &str) {
    assert!(!line.contains("4711"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_texts_gets_a_clear_answer() {
    let plant = Plant::new(TAGS, "").await;
    let mut daemon = Daemon::spawn(&mut plant.command(&["run", "-vv"]), plant.console);
    daemon.ready().await;
    let url = format!("http://127.0.0.1:{}/main/system/twilio-sms/inbound/main", plant.webhooks);
    let post = async |body: String, signature: Option<&str>| {
        let request = http().post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
        let request = if let Some(signature) = signature { request.header("X-Twilio-Signature", signature) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    let form = format!("MessageSid=SM1&From=%2B12223334401&To=%2B15550001111&Body={PIN}11");
    assert_eq!(post(form.clone(), None).await, 403, "unsigned");
    assert_eq!(post(form.clone(), Some("bm90IHNpZ25lZA==")).await, 403, "wrongly signed");
    assert_eq!(post(format!("Body={}", "x".repeat(300_000)), Some("bm90IHNpZ25lZA==")).await, 413, "oversized");

    assert_eq!(reply(&plant, "+15559990000", "hello?").await, Some(200), "an unknown caller");
    daemon.tag_is("System/Gateway/Twilio/MessagesReceivedOther", 1).await;
    assert_eq!(daemon.tag("System/Gateway/Twilio/MessagesReceived").await, 0);

    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    let alarm = text(&plant, ALICE, 1).await;
    assert!(alarm.starts_with("HIGH Pump/Alarms/Fault: Pump fault"), "{alarm}");
    assert_eq!(reply(&plant, ALICE, &format!("{PIN}99")).await, Some(200));
    let answer = text(&plant, ALICE, 2).await;
    assert!(answer.contains("PIN") && !answer.contains(&format!("{PIN}99")), "a wrong PIN is answered: {answer}");
    assert_eq!(daemon.alarm(FAULT).await["state"], "ActiveUnacked");
    assert_eq!(reply(&plant, ALICE, &format!(" {PIN}11 {} ", code(&alarm).to_lowercase())).await, Some(200));
    let answer = text(&plant, ALICE, 3).await;
    assert!(answer.starts_with("Acknowledged: Pump") && answer.contains("The PLC took it"), "{answer}");
    daemon.tag_is("PumpAcks", 1).await;
    // The answer belongs to the event, also once the write-back that it waited for has ended.
    let event = daemon.alarm(FAULT).await["event"].as_str().unwrap().to_owned();
    let answered = async || {
        let list = daemon.get(&format!("audit?kind=answer&event={event}")).await;
        list["entries"].as_array().is_some_and(|entries| entries.len() == 1).then_some(())
    };
    until("the answer in the audit log", BOUND, answered).await;
    let log = daemon.log();
    let handed: Vec<_> = log.lines().filter(|line| line.contains("handed to Twilio")).collect();
    assert!(handed.len() == 3 && handed[2].contains(&event), "{handed:#?}");

    // The alarm is long gone: its code is known no more, or known as acknowledged.
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[false]);
    daemon.alarm_is(FAULT, "ClearAcked").await;
    assert_eq!(reply(&plant, ALICE, &format!("{PIN}11 {}", code(&alarm))).await, Some(200));
    let answer = text(&plant, ALICE, 4).await;
    assert!(answer.contains(code(&alarm)), "a reply to an alarm long gone is answered: {answer}");
    assert_eq!(reply(&plant, ALICE, &format!("{PIN}11")).await, Some(200));
    let answer = text(&plant, ALICE, 5).await;
    assert!(!answer.starts_with("Acknowledged"), "nothing is open: {answer}");
    daemon.tag_is("PumpAcks", 1).await;
    assert!(texts(&plant, "+15559990000").is_empty(), "strangers are answered nothing");
    agree(&plant, &daemon).await;
    let metrics = http().get(format!("http://127.0.0.1:{}/metrics", plant.console)).send().await.unwrap().text().await.unwrap();
    no_secrets(&metrics);
    no_secrets(&daemon.get("audit").await.to_string());
    no_secrets(&daemon.get("messages").await.to_string());
    daemon.stop();
    let store = std::fs::read(plant.folder.path().join("data/annunciator.db")).unwrap();
    assert!(store.len() > 10_000);
    no_secrets(&String::from_utf8_lossy(&store));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_what_became_of_a_certificate() {
    let plant = Plant::new(TAGS, "").await;
    plant.start().await.stop();
    let rejected = plant.folder.path().join("data/pki/rejected");
    let pem = fs::read_to_string("tests/fixtures/tls/loopback.cert.pem").unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    std::fs::create_dir_all(&rejected).unwrap();
    std::fs::write(rejected.join("peer.der"), BASE64_STANDARD.decode(base64).unwrap()).unwrap();
    let json = async |arguments: &[&str]| plant.run(&[&["pki"], arguments, &["--output", "json"]].concat()).await.json();
    let of = |list: &Value, folder: &str| {
        let found = list.as_array().unwrap().iter().filter(|row| row["folder"] == folder);
        found.map(|row| row["thumbprint"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let list = json(&["list"]).await;
    let (own, peer) = (of(&list, "own").pop().unwrap(), of(&list, "rejected").pop().unwrap());
    for (act, folder) in [("trust", "trusted"), ("reject", "rejected")] {
        let moved = json(&[act, &peer[..8]]).await;
        assert_eq!((&moved["folder"], &moved["thumbprint"]), (&json!(folder), &json!(peer)), "{moved}");
        assert_eq!(of(&json(&["list"]).await, folder), std::slice::from_ref(&peer));
    }
    let next = json(&["renew"]).await;
    assert!(next["folder"] == "own/next" && next["thumbprint"] != own, "{next}");
    assert_eq!(of(&json(&["list"]).await, "own"), [own], "it is not in force yet");
    let now = json(&["renew", "--now"]).await;
    assert_eq!((&now["folder"], &now["thumbprint"]), (&json!("own"), &next["thumbprint"]), "{now}");
    let unknown = plant.run(&["pki", "trust", "00000000", "--output", "json"]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(1), ""), "{}", unknown.err);
}

/// The live counters, the ledger as polars sums it, and Twilio's own list say the same.
async fn agree(plant: &Plant, daemon: &Daemon) {
    let accepted = (1..=6).map(|n| texts(plant, &format!("+1222333440{n}")).len()).sum::<usize>();
    daemon.tag_is("System/Gateway/Twilio/MessagesSent", accepted).await;
    let live = daemon.get("statistics").await;
    let report = plant.run(&["report", "--users", "--output", "json"]).await.json();
    for sum in ["messages_sent", "messages_received"] {
        for part in ["totals", "other"] {
            assert_eq!(live[part][sum], report[part][sum], "{part} {sum}: {live} {report}");
        }
        let figures = |users: &Value| -> Vec<(String, i64)> {
            let users = users.as_array().unwrap().iter();
            users.map(|user| (user["username"].as_str().unwrap().to_owned(), user[sum].as_i64().unwrap())).collect()
        };
        assert_eq!(figures(&live["users"]), figures(&report["users"]), "{sum}");
        let total: i64 = figures(&live["users"]).iter().map(|(_, count)| count).sum();
        assert_eq!(live["totals"][sum], total, "the figures per user add up");
    }
    assert_eq!(live["totals"]["messages_sent"], accepted, "as many as Twilio has accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_a_lost_plc_are_alarms() {
    let mut plant = Plant::new(TAGS, "").await;
    let daemon = Daemon::spawn(plant.command(&["run"]).env("TEST_TOKEN", "wrong-token"), plant.console);
    let mut daemon = daemon;
    daemon.ready().await;
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    daemon.alarm_is("System/Gateway/Alarms/TwilioFailed", "ActiveUnacked").await;
    let error = daemon.tag("System/Gateway/Twilio/LastError").await;
    let error = error.as_str().unwrap();
    assert!(error.contains("20003") && error.contains("auth_token"), "says what to do: {error}");
    assert_eq!(daemon.alarm(FAULT).await["state"], "ActiveUnacked", "the alarm is shown all the same");

    plant.plc.take().unwrap().stop().await;
    let comm_loss = "System/Gateway/Sources/plc1/Alarms/CommLoss";
    daemon.alarm_is(comm_loss, "ActiveUnacked").await;
    let sources = daemon.get("sources").await;
    let source = sources["sources"].as_array().unwrap().iter().find(|source| source["name"] == "plc1").unwrap().clone();
    assert_eq!(source["connected"], false, "{source}");
    assert!(!source["last_error"].as_str().unwrap().is_empty(), "{source}");
    let tag = daemon.get("tags/Pump").await;
    assert_eq!(tag["value"], true, "the last value is kept: {tag}");
    assert!(tag.to_string().contains("Uncertain"), "{tag}");
    assert_eq!(daemon.alarm(FAULT).await["state"], "ActiveUnacked", "and the alarm holds its state");
    let put = put_tag(&plant, "TankAck", &json!(true)).await;
    assert!(!put.0.is_success(), "a write that cannot reach the device is an error: {put:?}");

    plant.plc = Some(Plc::start(plant.plc_addr).await.unwrap());
    daemon.alarm_is(comm_loss, "ClearUnacked").await;
    // The new PLC's coil is off: that is seen now.
    daemon.alarm_is(FAULT, "ClearUnacked").await;
    daemon.stop();
}

async fn put_tag(plant: &Plant, path: &str, value: &Value) -> (reqwest::StatusCode, String) {
    let url = format!("http://127.0.0.1:{}/api/v1/tags/{path}", plant.console);
    let body = json!({ "value": value }).to_string();
    let request = http().put(url).basic_auth("bob", Some(PASSWORD));
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_alarm() {
    let room = |process: u32, size: &str| {
        let limited = Command::new("prlimit").args([&format!("--pid={process}"), &format!("--fsize={size}:unlimited")]).status();
        assert!(limited.unwrap().success());
    };
    let lose = |process| {
        room(process, "1");
        Some(())
    };
    without_a_disk(lose, |process, ()| room(process, "unlimited")).await;
}

/// As when the system has found an error of the file system, and allows no more writing.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_stops_no_alarm() {
    let lose = |process: u32| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EROFS"]);
        let mut strace = strace.arg(format!("--attach={process}")).stderr(Stdio::null()).spawn().ok()?;
        // Each of its threads.
        let traced = || {
            let mut tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
            let status = |task: io::Result<fs::DirEntry>| fs::read_to_string(task?.path().join("status"));
            tasks.all(|task| status(task).is_ok_and(|status| !status.contains("TracerPid:\t0\n")))
        };
        while !traced() {
            if strace.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(strace)
    };
    let regain = |_, mut strace: std::process::Child| {
        // On this signal it lets go of the program and ends.
        Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
        strace.wait().unwrap();
    };
    without_a_disk(lose, regain).await;
}

/// SPEC 12: alarms and messages go on, tag writes wait, nothing is lost. `lose` gives `None` where it cannot be done.
async fn without_a_disk<T>(lose: impl FnOnce(u32) -> Option<T>, regain: impl FnOnce(u32, T)) {
    let plant = Plant::new(TAGS, "").await;
    // What is written beyond the limit of a file's size fails as on a full disk, instead of ending the program.
    let run = plant.command(&["run"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    shell.current_dir(run.get_current_dir().unwrap());
    let mut daemon = Daemon::spawn(&mut shell, plant.console);
    daemon.ready().await;
    let process = daemon.child.id();
    let Some(lost) = lose(process) else {
        println!("skipped: strace is not there, or may not attach");
        return;
    };
    let plc = plant.plc.as_ref().unwrap();
    plc.plant.set_coils(SPARE, &[true]);
    let alarm = text(&plant, ALICE, 1).await;
    daemon.alarm_is("System/Gateway/Alarms/StoreFailed", "ActiveUnacked").await;
    assert_eq!(reply(&plant, ALICE, &format!("{PIN}11 {}", code(&alarm))).await, Some(503), "not taken, Twilio asks again");
    plc.plant.set_coils(1, &[true]);
    text(&plant, ALICE, 2).await;
    assert!(!put_tag(&plant, "Limit", &json!(50.0)).await.0.is_success(), "no write without its record");
    let registers = || (plc.plant.holding(100), plc.plant.coil(11));
    assert_eq!(registers(), (0, false), "writes to the PLC wait");

    regain(process, lost);
    daemon.alarm_is("System/Gateway/Alarms/StoreFailed", "ClearUnacked").await;
    until("the increment", BOUND, async || (registers().0 == 1).then_some(())).await;
    daemon.alarm_is(FAULT, "ActiveAcked").await;
    assert!(put_tag(&plant, "Limit", &json!(50.0)).await.0.is_success());
    daemon.child.kill();
    let daemon = plant.start().await;
    daemon.tag_is("Limit", 50.0).await;
    assert_eq!(daemon.alarm(FAULT).await["state"], "ActiveAcked");
    assert_eq!(daemon.alarm(TRIP).await["state"], "ActiveUnacked");
    let journal = daemon.get("journal").await;
    let entries = journal["entries"].as_array().unwrap();
    let times: Vec<&str> = entries.iter().map(|row| row["entry"]["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|later, earlier| later >= earlier), "in order: {times:?}");
    let raised =
        |alarm: &str| entries.iter().filter(|row| row["entry"]["alarm"] == alarm && row["entry"]["kind"] == "raised").count();
    assert_eq!((raised(TRIP), raised(FAULT)), (1, 1), "{journal}");
    agree(&plant, &daemon).await;
    daemon.stop();
}

/// A site that nothing can reach from outside: replies and delivery states are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_url_replies_are_polled() {
    let plant = Plant::new(TAGS, "").await;
    let main = fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    let external = main.lines().find(|line| line.starts_with("external_url")).unwrap_or_else(|| panic!("{main}"));
    plant.write("config/main.toml", &main.replace(external, "poll = '2s'"));
    plant.twilio.set_inbound_url(None);
    let daemon = plant.start().await;
    // A text from before the alarm acknowledges nothing.
    reply(&plant, ALICE, &format!("{PIN}11")).await;
    text(&plant, ALICE, 1).await;
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    let alarm = text(&plant, ALICE, 2).await;
    daemon.tag_is("System/Gateway/Twilio/MessagesDelivered", 2).await;
    assert_eq!(reply(&plant, ALICE, &format!("{PIN}11 {}", code(&alarm))).await, None, "there is no webhook");
    daemon.alarm_is(FAULT, "ActiveAcked").await;
    daemon.tag_is("PumpAcks", 1).await;
    text(&plant, ALICE, 3).await;
    agree(&plant, &daemon).await;
    let url = format!("http://127.0.0.1:{}/main/system/twilio-sms/inbound/main", plant.webhooks);
    let webhook = http().post(url).header("X-Twilio-Signature", "x").body("").send().await.unwrap();
    assert_eq!(webhook.status(), 403);
    daemon.stop();
}

/// SCADA writes an alarm's `Ack` and a coil: the one is acknowledged and written back, the other goes through to the PLC.
#[tokio::test(flavor = "multi_thread")]
async fn scada_acknowledges_and_writes_through() {
    let Some(python) = peers::python() else { return };
    let plant = Plant::new(TAGS, "").await;
    let folder = plant.folder.path().to_owned();
    let certificates = format!("certificates={}", folder.display());
    let url = format!("opc.tcp://127.0.0.1:{}/annunciator", plant.opcua);
    let hmi = |scenario: &str, options: &[&str]| {
        let mut command = Command::new(&python);
        Child::start(command.arg(peers::script("opcua_hmi.py")).args([&url, scenario, &certificates]).args(options))
    };
    hmi("certificate", &[]).line("passed", BOUND);
    std::fs::create_dir_all(folder.join("data/pki/trusted")).unwrap();
    std::fs::copy(folder.join("certificate.der"), folder.join("data/pki/trusted/hmi.der")).unwrap();
    let daemon = plant.start().await;
    let plc = plant.plc.as_ref().unwrap();
    plc.plant.set_coils(SPARE, &[true]);
    text(&plant, ALICE, 1).await;
    let password = format!("password={PASSWORD}");
    let put = |path: &str| {
        let path = format!("path={path}");
        let mut hmi = hmi("put", &["mode=SignAndEncrypt", "user=bob", &password, &path, "value=true"]);
        assert_eq!(hmi.line("code", BOUND), "code Good", "{path}");
    };
    put("Pump/Alarms/Fault/Ack");
    daemon.alarm_is(FAULT, "ActiveAcked").await;
    assert_eq!(daemon.alarm(FAULT).await["ack_user"], "bob");
    daemon.tag_is("PumpAcks", 1).await;
    let mut seen = plc.plant.subscribe();
    put("TankAck");
    let rises = tokio::time::timeout(BOUND, seen.recv()).await.expect("the coil rises").unwrap();
    assert_eq!(rises, PlantEvent::Acknowledged(Some(11)));
    put("Pump/Alarms/Fault/Ack");
    daemon.tag_is("PumpAcks", 1).await;
    let audit = daemon.get("audit?kind=write&user=bob").await;
    assert_eq!(audit["entries"][0]["entry"]["subject"], "TankAck", "{audit}");
    daemon.stop();
}

/// `allow_numbers` keeps a plant that is being commissioned from texting anybody else, whatever asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_numbers_are_texted() {
    let plant = Plant::new(TAGS, "[people]\nallow_numbers = ['+12223334402']\n").await;
    let daemon = plant.start().await;
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    text(&plant, "+12223334402", 1).await;
    assert_eq!(plant.run(&["send", ALICE, "hello"]).await.code, Some(1));
    let sent = plant.run(&["send", "+12223334402", "hello"]).await;
    assert!(sent.out.starts_with("taken by Twilio: SM") && sent.out.contains("queued, 1 segment"), "{}{}", sent.out, sent.err);
    let body = json!({ "number": ALICE, "message": "hello", "fire_and_forget": false }).to_string();
    let url = format!("http://127.0.0.1:{}/api/v1/send", plant.console);
    let post = http().post(url).basic_auth("bob", Some(PASSWORD)).header("content-type", "application/json").body(body);
    let answer: Value = serde_json::from_str(&post.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["error_status"], true, "{answer}");
    assert!(texts(&plant, ALICE).is_empty());
    let audit = daemon.get("audit?kind=message_not_sent").await;
    assert!(audit.to_string().contains("not among [people] allow_numbers"), "{audit}");
    daemon.stop();
}

/// A changed configuration repeats nothing and drops nothing; a removed alarm ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_in_the_middle_of_a_pipeline() {
    let plant = Plant::new(TAGS, "").await;
    let main = fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    plant.write("config/main.toml", &main.replace("wait = '30s'", "wait = '6s'"));
    let daemon = plant.start().await;
    let plc = plant.plc.as_ref().unwrap();
    plc.plant.set_coils(SPARE, &[true]);
    plc.plant.set_coils(1, &[true]);
    text(&plant, ALICE, 2).await;
    let event = daemon.alarm(FAULT).await["event"].clone();
    // Other words, and the tank's alarm is gone.
    let tank = TAGS.find("[[tag.alarm]]\nname = 'Trip'").unwrap();
    let rest = TAGS[tank + 2..].find("\n[[tag]]").unwrap() + tank + 2;
    let tags = format!("{}{}", &TAGS[..tank], &TAGS[rest..]).replace("Pump fault", "Pump fault, look at it");
    plant.write("tags/plant.toml", &tags);
    let reload = plant.run(&["reload"]).await;
    assert_eq!(reload.code, Some(0), "{}", reload.err);
    let bob = "+12223334402";
    let second = text(&plant, bob, 1).await;
    assert!(second.contains(FAULT), "{second}");
    assert_eq!(texts(&plant, ALICE).len(), 2, "alice is not told again");
    assert_eq!(daemon.alarm(FAULT).await["event"], event, "it is the same event");
    let journal = daemon.get("journal?kind=removed").await;
    assert_eq!(journal["entries"][0]["entry"]["alarm"], TRIP, "{journal}");
    let alarms = daemon.get("alarms").await.to_string();
    assert!(!alarms.contains(TRIP), "{alarms}");
    assert_eq!(reply(&plant, bob, &format!("{PIN}22")).await, Some(200));
    daemon.alarm_is(FAULT, "ActiveAcked").await;
    daemon.tag_is("PumpAcks", 1).await;
    daemon.stop();
}

/// A PLC that says nothing, a Twilio that says nothing, and clients that stay: none of them keeps the program from ending.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_it_up_when_it_shall_end() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_address = mute.local_addr().unwrap();
    let sources: String = ["a", "b", "c"]
        .map(|name| format!("[[source]]\nname = '{name}'\nkind = 'modbus'\nurl = 'tcp://{mute_address}'\ntimeout = '30s'\n"))
        .concat();
    let tags: String = ["a", "b", "c"]
        .map(|name| {
            format!("[[tag]]\npath = 'Of{name}'\ntype = 'Boolean'\nsource = '{name}'\naddress = 'coil:1'\nwritable = true\n")
        })
        .concat();
    let plant = Plant::new(&format!("{TAGS}{tags}"), &sources).await;
    let daemon = plant.start().await;
    let hang = Fault { delay_ms: 60_000, count: 10, ..Fault::once(FaultKind::Delay) };
    assert!(plant.twilio.fault(hang));
    plant.plc.as_ref().unwrap().plant.set_coils(SPARE, &[true]);
    daemon.alarm_is(FAULT, "ActiveUnacked").await;
    let mut clients: Vec<TcpStream> = [plant.console, plant.webhooks, plant.opcua]
        .into_iter()
        .map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    for client in &mut clients {
        client.write_all(b"POST /api/v1/alarms/ack HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    }
    daemon.stop();
}

#[test]
fn simulators_alone_listen_where_they_are_told() {
    for (kind, words) in [("modbus-plc", "Modbus TCP PLC on"), ("twilio", "Twilio simulator on")] {
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = Child::start(binary().args(["simulate", kind, "--listen", &address]));
        assert!(child.line(words, BOUND).ends_with(&address));
        let taken = finish(binary().args(["simulate", kind, "--listen", &address]));
        assert_eq!(taken.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&taken.stderr).contains("--listen chooses another"));
        let id = child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert_eq!(child.exit_code(BOUND), Some(0));
    }
}
