//! Scripts in the whole program: from the command line, as a step of a pipeline, and in calls.

use annunciator::simulate::twilio::{CallLine, CallRecord, Fault, FaultKind, Voice, VoiceMode};
use serde_json::{Value, json};

use crate::support::{
    BOUND,
    program::{ALICE, PIN, Plant, finish, no_secrets, until, until_or},
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
[[tag]]
path = 'Limit'
type = 'Float'
initial = 85.0
writable = true
range = [0.0, 100.0]
[[tag]]
path = 'Fixed'
type = 'Int32'
initial = 1
";

/// Every audit entry of this kind, oldest first.
async fn audited(plant: &Plant, kind: &str) -> Vec<Value> {
    let page = plant.api().get(&format!("audit?kind={kind}")).await.unwrap_or_default();
    page["entries"].as_array().into_iter().flatten().rev().map(|numbered| numbered["entry"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_runs_a_script_against_the_daemon() {
    let plant = Plant::new(TAGS, "").await;
    let daemon = plant.start().await;
    let script = async |source: &str, arguments: &[&str]| {
        plant.write("x.rhai", source);
        let file = plant.folder.path().join("x.rhai").display().to_string();
        plant.run(&[&["script", &file], arguments].concat()).await
    };

    let all = "
        print(`limit ${tag(\"Limit\")}`);
        let sent = system.twilio.sendMessage(\"+12223334401\", \"from a script\");
        let refused = system.twilio.sendMessage(\"not a number\", \"from a script\");
        let alice = system.twilio.getUser(1);
        let done = [write(\"Limit\", 42.5), write_status(), write(\"Limit\", 1000), write_status(), write(\"Fixed\", 2), write_status()];
        let alarm = alarm(\"Tank/Alarms/Trip\");
        #{
            sent: sent, refused: refused, name: alice.getUsername(), phone: alice.getPhoneNumber(), sends: alice.getMessagesSent(),
            nobody: system.twilio.getUser(0) == (), done: done, quality: quality(\"Limit\"), level: alarm.level, active: alarm.active,
            none: alarm(\"Tank/Alarms/None\") == (),
        }";
    let ended = script(all, &["--output", "json"]).await;
    assert!(ended.err.contains("limit 85.0"), "printed beside the value: {}", ended.err);
    let expected = json!({
        "sent": true, "refused": false, "name": "alice", "phone": ALICE, "sends": 1, "nobody": true,
        "done": [true, "Good", false, "BadOutOfRange", false, "BadNotWritable"],
        "quality": "Good", "level": 4, "active": false, "none": true,
    });
    assert_eq!(ended.json(), expected);
    daemon.tag_is("Limit", 42.5).await;
    assert_eq!(plant.twilio.phone(ALICE).len(), 1);

    let printed = script("print(\"a\"); print(1 + 1); 5", &[]).await;
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "a\n2\n"), "{}", printed.err);

    let wrong = script("let a = 1;\n  tag(\"Nowhere\")", &[]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("there is no tag `Nowhere`") && wrong.err.contains("x.rhai:2:3"), "{}", wrong.err);
    let no_script = script("system.twilio.sendMesage(1);\nfoo();", &[]).await;
    assert_eq!(no_script.code, Some(1));
    for words in ["x.rhai:1:15", "did you mean `sendMessage`?", "x.rhai:2:1", "unknown function `foo`"] {
        assert!(no_script.err.contains(words), "{words}: {}", no_script.err);
    }
    let endless = script("loop { }", &[]).await;
    assert_eq!(endless.code, Some(1));
    assert!(endless.err.contains("too many operations"), "{}", endless.err);

    let mut nobody = plant.command(&["script", &plant.folder.path().join("x.rhai").display().to_string()]);
    plant.write("x.rhai", "tag(\"Limit\")");
    let nobody = finish(nobody.env_remove("ANNUNCIATOR_USER"));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("ANNUNCIATOR_USER"), "says how to log in");

    let writes = audited(&plant, "write").await;
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0]["user"], "bob");
    no_secrets(&daemon.log());
    daemon.stop();
}

/// What a phone got, oldest first.
fn texts(plant: &Plant, number: &str) -> Vec<String> {
    plant.twilio.phone(number).into_iter().filter(|text| !text.sent_by_phone).map(|text| text.body).collect()
}

/// An alarm on a coil with a pipeline that begins with a script, and texts alice after it.
fn scripted(name: &str, coil: u16, step: &str) -> (String, String) {
    let tag = format!(
        "[[tag]]\npath = '{name}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{coil}'\n\
         [[tag.alarm]]\nname = 'Trip'\npriority = 'high'\nmessage = '{name} trips'\npipeline = '{name}'\n"
    );
    let pipeline = format!(
        "[[pipeline]]\nname = '{name}'\n[[pipeline.step]]\n{step}\n\
         [[pipeline.step]]\nnotify = {{ profile = 'sms', roster = 'operators', wait = '30s' }}\n"
    );
    (tag, pipeline)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_pipeline_sends_and_writes_with_its_role() {
    let cases = [
        scripted("Viewer", 1001, "script = 'scripts/act.rhai'"),
        scripted("Engineer", 1002, "script = 'scripts/act.rhai'\nrole = 'engineer'"),
        scripted("Thrower", 1003, "script = 'scripts/throw.rhai'"),
        scripted("Looper", 1004, "script = { file = 'scripts/loop.rhai', timeout = '5s' }"),
    ];
    let (tags, pipelines): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let plant = Plant::new(&format!("{TAGS}{}", tags.concat()), &pipelines.concat()).await;
    let act = "let done = write(\"Limit\", 50 + alarm.level);
        let phone = system.twilio.getUser(1).getPhoneNumber();
        system.twilio.sendMessage(\"+12223334406\", `${alarm.name} ${alarm.priority} ${done} ${write_status()} ${phone}`);";
    plant.write("config/scripts/act.rhai", act);
    plant.write("config/scripts/throw.rhai", "print(\"before\");\nthrow `no ${alarm.path}`;");
    plant.write("config/scripts/loop.rhai", "loop { tag(\"Limit\"); }");
    let daemon = plant.start().await;
    let plc = &plant.plc.as_ref().unwrap().plant;
    let frank = "+12223334406";

    plc.set_coils(1001, &[true]);
    let look = async || texts(&plant, frank).into_iter().find(|text| text.starts_with("Trip"));
    assert_eq!(
        until_or("the viewer's text", BOUND, look, || daemon.log()).await,
        "Trip high false BadUserAccessDenied +1•••4401"
    );
    daemon.tag_is("Limit", 85.0).await;

    plc.set_coils(1002, &[true]);
    let look = async || texts(&plant, frank).get(1).cloned();
    assert_eq!(until("the engineer's text", BOUND, look).await, format!("Trip high true Good {ALICE}"));
    daemon.tag_is("Limit", 53.0).await;
    let writes = audited(&plant, "write").await;
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!((&writes[0]["user"], &writes[0]["subject"]), (&json!("script scripts/act.rhai"), &json!("Limit")));

    // What fails is told, and the pipeline goes on.
    plc.set_coils(1003, &[true, true]);
    let look = async || Some(audited(&plant, "script_failed").await).filter(|failed| failed.len() == 2);
    let failed = until("both failures in the audit log", BOUND, look).await;
    let reason = |alarm: &str| {
        let found = failed.iter().find(|entry| entry["subject"] == alarm);
        found.and_then(|entry| entry["result"].as_str()).unwrap_or_else(|| panic!("{alarm}: {failed:?}")).to_owned()
    };
    assert_eq!(reason("Thrower/Alarms/Trip"), "no Thrower/Alarms/Trip (line 2, column 1)");
    assert!(reason("Looper/Alarms/Trip").starts_with("more than 1000 calls of the program in one run"), "{failed:?}");
    for name in ["Viewer", "Engineer", "Thrower", "Looper"] {
        let look = async || texts(&plant, ALICE).into_iter().find(|text| text.contains(&format!("{name} trips")));
        until(&format!("the text of {name}"), BOUND, look).await;
    }
    daemon.logged("before").await;

    // A reload takes the script as it is now.
    plant.write("config/scripts/act.rhai", "system.twilio.sendMessage(\"+12223334406\", `changed: ${alarm.active}`);");
    let reloaded = plant.run(&["reload"]).await;
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.err);
    assert_eq!(plant.run(&["ack", "Viewer/Alarms/Trip"]).await.code, Some(0));
    plc.set_coils(1001, &[false]);
    daemon.alarm_is("Viewer/Alarms/Trip", "ClearAcked").await;
    plc.set_coils(1001, &[true]);
    let look = async || texts(&plant, frank).into_iter().find(|text| text.starts_with("changed"));
    assert_eq!(until("the changed script's text", BOUND, look).await, "changed: true");

    // A bad one changes nothing.
    plant.write("config/scripts/act.rhai", "system.twilio.sendMesage();");
    let refused = plant.run(&["reload"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("scripts/act.rhai:1:15") && refused.err.contains("sendMessage"), "{}", refused.err);
    no_secrets(&daemon.log());
    daemon.stop();
}

/// Calls alice, whose phone is in the test's hand.
const CALLS: &str = "
[[profile]]
name = 'voice'
kind = 'voice'
twilio = 'main'
script = 'scripts/call.rhai'
[[roster]]
name = 'called'
users = ['alice']
[[pipeline]]
name = 'phone'
end_on_clear = false
[[pipeline.step]]
notify = { profile = 'voice', roster = 'called', wait = '60s' }
";

/// At each webhook another way to go wrong, and once to go right.
const CALL: &str = "
print(`at ${callAction}: ${params.Digits}`);
if callAction == \"answer\" {
    system.twilio.sendMessage(\"+12223334406\", \"slow\");
} else if callAction == \"pin\" {
    loop { }
} else if params.Digits == \"3\" {
    response.replace(\"<Response>\", \"<Response><Say>Once more for you</Say>\");
} else {
    response = \"<Response><Say>broken\";
}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_script_changes_what_is_said_and_a_faulty_one_nothing() {
    let plant = Plant::new(&TAGS.replace("on-call", "phone"), CALLS).await;
    plant.write("config/scripts/call.rhai", CALL);
    plant.twilio.set_voice(ALICE, Voice { mode: VoiceMode::Hand, ..Voice::default() }).unwrap();
    let daemon = plant.start().await;
    plant.plc.as_ref().unwrap().plant.set_coils(1000, &[true]);

    let call = || plant.twilio.calls().into_iter().find(|call| call.to == ALICE);
    let ringing = async || call().filter(|call| call.status == "ringing");
    until("a call that rings", BOUND, ringing).await;
    let said = async |words: &str| {
        let heard = |call: &CallRecord| {
            call.transcript.iter().any(|line| matches!(line, CallLine::Said { text } if text.contains(words)))
        };
        let why = || format!("{:#?}\n{}", plant.twilio.calls(), daemon.log());
        until_or(words, BOUND, async || call().filter(heard), why).await;
    };
    // The script waits for Twilio longer than it may.
    assert!(plant.twilio.fault(Fault { count: 50, method: Some("POST".to_owned()), ..Fault::once(FaultKind::Unavailable) }));
    plant.twilio.answer(ALICE).unwrap();
    said("PIN").await;
    plant.twilio.press(ALICE, &format!("{PIN}11#")).unwrap();
    said("Tank level high high").await;
    plant.twilio.press(ALICE, "3").unwrap();
    said("Once more for you").await;
    plant.twilio.press(ALICE, "1").unwrap();
    daemon.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    assert_eq!(daemon.alarm("Tank/Alarms/Trip").await["ack_user"], "alice");

    let look = async || Some(audited(&plant, "script_failed").await).filter(|failed| failed.len() >= 3);
    let failed = until("three failures in the audit log", BOUND, look).await;
    for (action, reason) in [
        ("answer", "it took longer than 5 s"),
        ("pin", "too many operations: does a loop never end?"),
        ("menu", "`response` is no TwiML: "),
    ] {
        let told = |entry: &&Value| {
            entry["text"] == format!("{action}: the default handling was used")
                && entry["subject"] == "voice"
                && entry["result"].as_str().is_some_and(|result| result.starts_with(reason))
        };
        assert!(failed.iter().any(|entry| told(&entry)), "{action}: {failed:#?}\n{}", daemon.log());
    }
    daemon.logged("at pin: *****").await;
    let record = call().unwrap();
    let complained = |line: &CallLine| matches!(line, CallLine::Error { .. });
    assert!(!record.transcript.iter().any(complained), "{record:#?}");
    no_secrets(&daemon.log());
    daemon.stop();
}
