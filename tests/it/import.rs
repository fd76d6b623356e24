//! `import` as somebody uses it: files in, a tag file and what the configuration lacks out, `check` content with both.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use crate::support::program::{binary, finish};

/// Runs the program in a folder with the shipped configuration and no tags but those that are imported.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = finish(binary().current_dir(folder).args(arguments));
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config", "tags"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let people = "[[twilio]]\nname = 'main'\naccount_sid = 'AC00000000000000000000000000000000'\nauth_token = '0123456789abcdef0123456789abcdef'\nfrom = '+15550001111'\n\
                  [[profile]]\nname = 'sms'\nkind = 'sms'\ntwilio = 'main'\n\
                  [[user]]\nname = 'alice'\nphone = '+12223334444'\npin = '471199'\nroles = ['operator']\n\
                  [[roster]]\nname = 'operators'\nusers = ['alice']\n";
    fs::write(folder.path().join("config/site.toml"), people).unwrap();
    folder
}

#[test]
fn an_export_becomes_files_that_check_takes() {
    let folder = site();
    let plant = format!("{}/src/import/ignition/fixtures/plant.json", env!("CARGO_MANIFEST_DIR"));
    let files = ["--out", "tags/plant.toml", "--suggest", "config/plant.toml"];
    let import = [&["import", "ignition", &plant][..], &files].concat();
    let (code, out, err) = run(folder.path(), &import);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("left out: a query tag: there are no queries here\n    Line1/Query\n"), "{err}");
    assert!(err.contains("see config/plant.toml") && err.contains("then run `annunciator check`"), "{err}");
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("2 sources"), "{out}");

    // Nothing is overwritten by mistake, and what the configuration has is not suggested again.
    let (code, _, err) = run(folder.path(), &import);
    assert!(code == Some(1) && err.contains("--force overwrites it"), "{err}");
    let (code, out, _) = run(folder.path(), &["import", "ignition", &plant, "--output", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["suggestion"]), (Some(0), &Value::from("")), "{json}");
    let counted = json["left_out"].as_u64().unwrap() + json["changed"].as_u64().unwrap();
    assert_eq!(json["notes"].as_array().unwrap().len(), usize::try_from(counted).unwrap());
    assert!(json["tag_file"].as_str().unwrap().contains("path = \"South/P1/Speed\""));
    // To standard output, with what is lacking in a comment.
    let (_, out, err) =
        run(folder.path(), &["import", "ignition", &plant, "--pipeline", "Callout=page-somebody", "--config", "none"]);
    assert!(out.contains("# [[pipeline]]\n# name = \"page-somebody\"") && out.contains("# [[source]]"), "{out}");
    assert!(err.contains("the first lines of the tag file"), "{err}");
    let (code, _, err) = run(folder.path(), &["import", "ignition", &plant, "--strict"]);
    assert!(code == Some(1) && err.contains("--strict was given"), "{err}");
    let (code, _, err) = run(folder.path(), &["import", "ignition", "config/site.toml"]);
    assert!(code == Some(1) && err.contains("failed to read config/site.toml: not JSON"), "{err}");
    let (code, _, err) = run(folder.path(), &["import", "ignition", &plant, "--source", "x"]);
    assert!(code == Some(2) && err.contains("two names with = between"), "{err}");
}

/// 10,000 tags: 500 instances of a UDT with 20 members, each with an alarm. Time is measured by `import::ignition::tests::large`.
#[test]
fn a_large_export_is_taken_over_whole() {
    let member = |n: usize| {
        json!({ "name": format!("Value{n}"), "tagType": "AtomicTag", "valueSource": "opc", "dataType": "Float4", "tagGroup": "Fast",
            "opcItemPath": { "bindType": "parameter", "binding": format!("ns=1;s=[PLC]Unit{{Unit}}.Value{n}") },
            "alarms": [{ "name": "High", "mode": "AboveValue", "setpointA": 90, "priority": "High", "activePipeline": "Callout" }] })
    };
    let members: Vec<_> = (0..20).map(member).collect();
    let mut nodes = vec![
        json!({ "name": "_types_", "tagType": "Folder", "tags": [{ "name": "Unit", "tagType": "UdtType", "parameters": { "Unit": { "dataType": "Integer", "value": 0 } }, "tags": members }] }),
    ];
    nodes.extend((0..500).map(|n| json!({ "name": format!("Unit{n}"), "tagType": "UdtInstance", "typeId": "Unit", "parameters": { "Unit": { "dataType": "Integer", "value": n } } })));
    let folder = site();
    fs::write(folder.path().join("tags.json"), json!({ "tags": nodes }).to_string()).unwrap();
    let import =
        ["import", "ignition", "tags.json", "--out", "tags/plant.toml", "--suggest", "config/plant.toml", "--output", "json"];
    let (code, out, err) = run(folder.path(), &import);
    assert_eq!(code, Some(0), "{err}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (json["tags"].as_u64(), json["alarms"].as_u64(), json["left_out"].as_u64()),
        (Some(10_000), Some(10_000), Some(10_000))
    );
    let (code, out, err) = run(folder.path(), &["check", "--output", "json"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["tags"], 10_000);
}
