//! Scripts in the whole program: from the command line, as a step of a pipeline, and in calls.

use serde_json::{Value, json};

use crate::support::program::{ALICE, Plant, no_secrets};

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
    let nobody = nobody.env_remove("ANNUNCIATOR_USER").output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("ANNUNCIATOR_USER"), "says how to log in");

    let writes = audited(&plant, "write").await;
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0]["user"], "bob");
    no_secrets(&daemon.log());
    daemon.stop();
}
