//! The program phones people: between the PLC simulator and phones that answer, are busy, or are machines.

use std::time::Duration;

use annunciator::{
    notify::signature::{Payload, sign},
    simulate::{
        modbus_plc::Event as PlantEvent,
        twilio::{CallLine, CallRecord, Options, Reports, Voice, VoiceMode},
    },
};
use serde_json::{Value, json};

use crate::support::{
    BOUND,
    program::{ALICE, Daemon, OURS, PIN, Plant, TOKEN, no_secrets, until, until_or},
    twilio::http,
};

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
pipeline = 'phone'
ack = { tag = 'TankAck', mode = 'pulse', hold = '200ms' }
[[tag]]
path = 'TankAck'
type = 'Boolean'
source = 'plc1'
address = 'coil:11'
writable = true
";
/// Texts alice, then calls these.
const CALLS: &str = "
[[profile]]
name = 'voice'
kind = 'voice'
twilio = 'main'
[[roster]]
name = 'alice'
users = ['alice']
[[roster]]
name = 'called'
users = ['alice', 'dave', 'carol']
[[pipeline]]
name = 'phone'
end_on_clear = false
[[pipeline.step]]
notify = { profile = 'sms', roster = 'alice', wait = '1s' }
[[pipeline.step]]
notify = { profile = 'voice', roster = 'called', wait = '60s' }
";
const TRIP: &str = "Tank/Alarms/Trip";
const CAROL: &str = "+12223334403";
const DAVE: &str = "+12223334404";
const STRANGER: &str = "+15559990000";

fn voice(mode: VoiceMode, digits: &[&str]) -> Voice {
    Voice { mode, digits: digits.iter().map(|keys| (*keys).to_owned()).collect(), ..Voice::default() }
}

/// Alice's keys: her PIN, and what follows.
fn keys(rest: &[&str]) -> Vec<String> {
    std::iter::once(format!("{PIN}11")).chain(rest.iter().map(|keys| (*keys).to_owned())).collect()
}

fn trip(plant: &Plant) {
    plant.plc.as_ref().unwrap().plant.set_coils(1, &[true]);
}

/// The first call with this phone once `is` holds.
async fn call(plant: &Plant, phone: &str, what: &str, is: impl Fn(&CallRecord) -> bool) -> CallRecord {
    let look =
        async || plant.twilio.calls().into_iter().find(|call| [&call.to, &call.from].contains(&&phone.to_owned()) && is(call));
    until_or(what, BOUND, look, || format!("{:#?}", plant.twilio.calls())).await
}

/// What was said in a call.
fn said(call: &CallRecord) -> Vec<&str> {
    let said = call.transcript.iter().filter_map(|line| match line {
        CallLine::Said { text } => Some(text.as_str()),
        CallLine::Pressed { .. } => None,
        CallLine::Error { code, message } => panic!("Twilio would complain: {code} {message}"),
    });
    said.collect()
}

fn mentions_the_plant(call: &CallRecord) -> bool {
    said(call).iter().any(|text| text.contains("Tank"))
}

async fn counter(daemon: &Daemon, name: &str) -> Value {
    daemon.tag(&format!("System/Gateway/Twilio/{name}")).await
}

async fn counter_is(daemon: &Daemon, name: &str, value: i64) {
    daemon.tag_is(&format!("System/Gateway/Twilio/{name}"), value).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_slept_through_becomes_a_call_that_acknowledges() {
    let plant = Plant::new(TAGS, CALLS).await;
    let answers = Voice { digits: keys(&["1"]), seconds: Some(61), reports: Reports::Repeated, ..Voice::default() };
    plant.twilio.set_voice(ALICE, answers).unwrap();
    let mut plc = plant.plc.as_ref().unwrap().plant.subscribe();
    let daemon = plant.start().await;
    trip(&plant);
    let record = call(&plant, ALICE, "a finished call", |call| call.status == "completed").await;
    let spoken = said(&record);
    assert!(spoken[0].contains("enter your PIN") && !spoken[0].contains("Tank"), "{spoken:?}");
    assert!(spoken[1..].iter().any(|text| text.contains("Tank level high high")), "{spoken:?}");
    assert_eq!(daemon.alarm(TRIP).await["ack_user"], "alice");
    let pulsed = async || matches!(plc.recv().await, Ok(PlantEvent::Acknowledged(Some(_)))).then_some(());
    until("the acknowledge coil", BOUND, pulsed).await;
    assert!(!plant.twilio.calls().iter().any(|call| call.to != ALICE), "nobody else was called");

    // Every report came twice, and then all of them again.
    counter_is(&daemon, "CallMinutesSent", 2).await;
    let finals = || {
        let status = |hook: &&annunciator::simulate::twilio::WebhookRecord| {
            hook.parameters.iter().any(|(name, value)| name == "CallStatus" && value == "completed")
        };
        plant.twilio.webhooks().iter().filter(status).count()
    };
    until("the repeated reports", BOUND, async || (finals() >= 3).then_some(())).await;
    assert_eq!(counter(&daemon, "CallsSent").await, 1);
    assert_eq!(counter(&daemon, "CallMinutesSent").await, 2);
    let statistics = daemon.get("statistics").await;
    let alice = statistics["users"].as_array().unwrap().iter().find(|user| user["username"] == "alice").unwrap();
    assert_eq!((&alice["calls_sent"], &alice["call_minutes_sent"]), (&json!(1), &json!(2)), "{statistics}");
    let report = plant.run(&["report", "--users", "--output", "json"]).await.json();
    assert_eq!(report["totals"]["call_minutes_sent"], statistics["totals"]["call_minutes_sent"], "{report}");
    no_secrets(&daemon.get("audit").await.to_string());
    no_secrets(&daemon.get("messages").await.to_string());
    daemon.stop();
    let store = std::fs::read(plant.folder.path().join("data/annunciator.db")).unwrap();
    no_secrets(&String::from_utf8_lossy(&store));
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_and_machines_let_the_next_be_called_at_once() {
    let plant = Plant::new(TAGS, CALLS).await;
    plant.twilio.set_voice(ALICE, voice(VoiceMode::Busy, &[])).unwrap();
    plant.twilio.set_voice(DAVE, Voice { reports: Reports::Reversed, ..voice(VoiceMode::Machine, &[]) }).unwrap();
    plant.twilio.set_voice(CAROL, voice(VoiceMode::Answer, &[&format!("{PIN}99"), &format!("{PIN}33"), "1"])).unwrap();
    let daemon = plant.start().await;
    trip(&plant);
    let record = call(&plant, CAROL, "carol's call", |call| call.status == "completed").await;
    assert!(said(&record).iter().any(|text| text.contains("PIN is wrong")), "{record:?}");
    assert_eq!(daemon.alarm(TRIP).await["ack_user"], "carol");
    let machine = call(&plant, DAVE, "the machine's call", |call| call.status == "completed").await;
    assert!(!mentions_the_plant(&machine) && machine.answered_by.as_deref() == Some("machine_start"), "{machine:?}");
    assert_eq!(call(&plant, ALICE, "alice's call", |_| true).await.status, "busy");
    assert_eq!(counter(&daemon, "CallsSent").await, 3);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_after_sigkill() {
    let second = Duration::from_secs(1);
    let plant = Plant::with(TAGS, CALLS, Options { call_second: second, ..Options::default() }).await;
    plant.twilio.set_voice(ALICE, voice(VoiceMode::Hand, &[])).unwrap();
    let mut daemon = plant.start().await;
    trip(&plant);
    call(&plant, ALICE, "ringing", |call| call.status == "ringing").await;
    plant.twilio.answer(ALICE).unwrap();
    call(&plant, ALICE, "the question", |call| said(call).iter().any(|text| text.contains("PIN"))).await;
    daemon.child.kill();
    drop(daemon);
    let daemon = plant.start().await;
    plant.twilio.press(ALICE, &format!("{PIN}11")).unwrap();
    call(&plant, ALICE, "the alarm", mentions_the_plant).await;
    assert_eq!(daemon.alarm(TRIP).await["state"], "ActiveUnacked");
    plant.twilio.press(ALICE, "1").unwrap();
    let acked = async || (daemon.alarm(TRIP).await["ack_user"] == "alice").then_some(());
    until("the acknowledgement", BOUND, acked).await;
    assert_eq!(plant.twilio.calls().len(), 1, "nobody was called again");
    assert_eq!(counter(&daemon, "CallsSent").await, 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_rings_stops_when_another_has_acknowledged() {
    let plant = Plant::with(TAGS, CALLS, Options { call_second: Duration::from_secs(1), ..Options::default() }).await;
    plant.twilio.set_voice(ALICE, voice(VoiceMode::Hand, &[])).unwrap();
    let daemon = plant.start().await;
    trip(&plant);
    call(&plant, ALICE, "ringing", |call| call.status == "ringing").await;
    assert_eq!(plant.run(&["ack", TRIP]).await.code, Some(0));
    let record = call(&plant, ALICE, "a cancelled call", |call| call.status == "canceled").await;
    assert!(record.transcript.is_empty(), "{record:?}");

    plant.plc.as_ref().unwrap().plant.set_coils(1, &[false]);
    daemon.alarm_is(TRIP, "ClearAcked").await;
    trip(&plant);
    let again = |call: &CallRecord| call.status == "ringing";
    call(&plant, ALICE, "ringing again", again).await;
    plant.twilio.answer(ALICE).unwrap();
    call(&plant, ALICE, "the question", |call| call.status == "in-progress" && !said(call).is_empty()).await;
    assert_eq!(plant.run(&["ack", TRIP]).await.code, Some(0));
    let told = |call: &CallRecord| said(call).iter().any(|text| text.contains("bob has acknowledged"));
    call(&plant, ALICE, "the last words", told).await;
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn people_call_the_plant_and_strangers_are_rejected() {
    let texts_only = CALLS.replace("wait = '1s'", "wait = '5m'");
    let plant = Plant::new(TAGS, &texts_only).await;
    plant.twilio.set_voice(ALICE, Voice { digits: keys(&["1"]), seconds: Some(59), ..Voice::default() }).unwrap();
    let daemon = plant.start().await;
    trip(&plant);
    let texted = async || (!plant.twilio.phone(ALICE).is_empty()).then_some(());
    until("the text", BOUND, texted).await;
    daemon.tag_is("System/Gateway/Twilio/MessagesSent", 1).await;

    plant.twilio.call(STRANGER, None).unwrap();
    let rejected = call(&plant, STRANGER, "a rejected call", |call| call.status == "busy").await;
    assert!(rejected.transcript.is_empty(), "{rejected:?}");
    plant.twilio.call(ALICE, None).unwrap();
    let record = call(&plant, ALICE, "alice's call", |call| call.status == "completed").await;
    assert!(mentions_the_plant(&record), "{record:?}");
    assert_eq!(daemon.alarm(TRIP).await["ack_user"], "alice");
    counter_is(&daemon, "CallMinutesReceived", 1).await;
    assert_eq!(counter(&daemon, "CallsReceived").await, 1, "a stranger's call counts under Other");

    // What nobody signed is not taken.
    let url = format!("http://127.0.0.1:{}/main/system/twilio-voice/status/main", plant.webhooks);
    let form = [("CallSid".to_owned(), format!("CA{:032}", 9)), ("AccountSid".to_owned(), Options::default().account_sid)];
    for (token, expected) in [(TOKEN, 204), ("another", 403)] {
        let signature = sign(token, &url, Payload::Form(&form));
        let answer = http().post(&url).header("X-Twilio-Signature", signature).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected);
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_url_a_call_says_it_twice() {
    let plant = Plant::new(TAGS, CALLS).await;
    let main = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    let external = main.lines().find(|line| line.starts_with("external_url")).unwrap();
    plant.write("config/main.toml", &main.replace(external, "poll = '2s'"));
    plant.twilio.set_voice(ALICE, Voice { seconds: Some(30), ..Voice::default() }).unwrap();
    plant.twilio.set_voice(DAVE, voice(VoiceMode::NoAnswer, &[])).unwrap();
    let daemon = plant.start().await;
    trip(&plant);
    let record = call(&plant, ALICE, "a finished call", |call| call.status == "completed").await;
    let spoken = said(&record);
    assert!(spoken.len() == 2 && spoken[0] == spoken[1] && spoken[0].contains("Tank"), "{spoken:?}");
    call(&plant, CAROL, "nobody was reached: carol's call", |_| true).await;
    counter_is(&daemon, "CallMinutesSent", 2).await;
    assert_eq!(daemon.alarm(TRIP).await["state"], "ActiveUnacked");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_ordered_by_hand() {
    let plant = Plant::new(TAGS, CALLS).await;
    let placed = plant.run(&["call", "(222) 333-4403", "85 °C & rising", "--output", "json"]).await;
    let (national, placed) = (placed.code, plant.run(&["call", CAROL, "85 °C & rising", "--output", "json"]).await.json());
    assert_eq!(national, Some(1), "without a default region a country code is needed");
    assert_eq!((&placed["status"], &placed["to"]), (&json!("queued"), &json!(CAROL)));
    let record = call(&plant, CAROL, "the call", |call| call.status == "completed").await;
    assert_eq!(said(&record), ["85 degrees Celsius and rising"; 2]);
    let refused = plant.run(&["call", "+15005550003", "x"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("21215") && refused.err.contains("Geo"), "{}", refused.err);

    let daemon = plant.start().await;
    let body = json!({ "number": DAVE, "message": "Come to gate 3", "fire_and_forget": false });
    let (status, answer) = plant.api().post("call", &body).await;
    assert_eq!((status, &answer["error_status"]), (200, &json!(false)), "{answer}");
    assert!(answer["sid"].as_str().is_some_and(|sid| sid.starts_with("CA")), "{answer}");
    let record = call(&plant, DAVE, "the call", |call| call.status == "completed").await;
    assert!(said(&record).len() == 2 && said(&record)[0].contains("Come to gate"), "{record:?}");
    assert_eq!(record.from, OURS);
    let (_, refused) = plant.api().post("call", &json!({ "number": "x", "message": "y", "fire_and_forget": false })).await;
    assert_eq!(refused["error_status"], true, "{refused}");
    counter_is(&daemon, "CallsSent", 1).await;
    daemon.stop();
}
