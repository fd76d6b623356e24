//! Lists with filters and pages, an alarm's story, and what stands in the document.

use super::*;
use crate::engine::record::{JournalKind, NotSent};

async fn get(bench: &Bench, path: &str) -> Json {
    let (status, answer) = bench.ask("GET", &format!("/api/v1/{path}"), "viewer", None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// `field` of every item of a list.
fn each(list: &Json, items: &str, field: &str) -> Vec<String> {
    let text = |item: &Json| {
        item.pointer(field).unwrap().as_str().map_or_else(|| item.pointer(field).unwrap().to_string(), str::to_owned)
    };
    list[items].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn alarms_are_found_by_every_filter_and_in_pages() {
    let bench = Bench::new().await;
    let paths = async |query: &str| each(&get(&bench, &format!("alarms?{query}")).await, "alarms", "/path");
    let (high, low, trip) = ("Tank/Alarms/High", "Tank/Alarms/Low", "Pump/Alarms/Trip");
    assert_eq!(paths("path=T*/Alarms/*w").await, [low]);
    assert_eq!(paths("text=HIGH").await, [trip, high, low], "the message of all is high");
    assert_eq!(paths("text=trip").await, [trip]);
    assert_eq!(paths("state=ClearAcked&state=out_of_service").await, [trip, low]);
    assert_eq!(paths("user=alice").await, [] as [&str; 0]);
    assert_eq!(paths(&format!("from={}", at(1))).await, [] as [&str; 0]);
    assert_eq!(paths(&format!("from={}&to={}", at(0), at(1))).await.len(), 3);
    assert_eq!(paths("sort=urgency").await, [high, trip, low], "unacknowledged, then normal, then silenced");
    for sort in ["path", "urgency"] {
        let all = paths(&format!("sort={sort}")).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&bench, &format!("alarms?sort={sort}&limit=1{cursor}")).await;
            assert_eq!(page["total"], 3);
            seen.extend(each(&page, "alarms", "/path"));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, all);
    }
    for (query, expected) in
        [("limit=0", 422), ("limit=10001", 422), ("cursor=x", 422), ("sort=x", 400), ("from=x", 400), ("limt=1", 400)]
    {
        assert_eq!(bench.ask("GET", &format!("/api/v1/alarms?{query}"), "viewer", None).await.0, expected, "{query}");
    }
}

#[tokio::test]
async fn many_are_acknowledged_with_one_note_and_each_is_told() {
    let bench = Bench::new().await;
    let body =
        json!({ "alarms": [{ "alarm": "Tank/Alarms/High" }, { "alarm": "none" }, { "event": Uuid::nil() }], "note": "seen" });
    let (status, answer) = bench.ask("POST", "/api/v1/alarms/ack-many", "operator", Some(body)).await;
    assert_eq!((status, &answer["acknowledged"]), (200, &json!(2)), "{answer}");
    assert_eq!(each(&answer, "results", "/status"), ["Good", "BadNotFound", "Good"]);
    assert_eq!(answer["results"][1]["alarm"], "none");
    assert_eq!(bench.plant.asked.lock().unwrap().len(), 3);
    for body in [json!({ "alarms": [] }), json!({ "alarms": [{}] }), json!({ "alarms": vec![json!({ "alarm": "a" }); 1001] })] {
        assert_eq!(bench.ask("POST", "/api/v1/alarms/ack-many", "operator", Some(body)).await.0, 422);
    }
    let body = json!({ "alarm": "Tank/Alarms/High", "note": "on" });
    assert_eq!(bench.ask("POST", "/api/v1/alarms/unshelve", "operator", Some(body)).await.0, 200);
    let (_, last) = bench.plant.asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, Command::Shelve { alarm: "Tank/Alarms/High".into(), minutes: 0.0, note: "on".into() });
    assert_eq!(bench.ask("POST", "/api/v1/messages/7/retry", "operator", Some(json!({}))).await.0, 200);
    let (_, last) = bench.plant.asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, Command::Retry { row: OutboxId(7) });
}

#[tokio::test]
async fn tags_are_browsed_as_folders() {
    let bench = Bench::new().await;
    let top = get(&bench, "tags-tree").await;
    assert_eq!(each(&top, "folders", "/name"), ["Pump", "Tank"]);
    assert_eq!((&top["folders"][1]["tags"], top["tags"].as_array().map(Vec::len)), (&json!(2), Some(0)));
    let tank = get(&bench, "tags-tree?folder=Tank").await;
    assert_eq!(
        (each(&tank, "folders", "/path"), each(&tank, "tags", "/path")),
        (vec!["Tank/A B".into()], vec!["Tank/Level".into()])
    );
    assert_eq!(bench.ask("GET", "/api/v1/tags-tree?folder=Tan", "viewer", None).await.0, 404);
    assert_eq!(each(&get(&bench, "tags?text=LEV").await, "tags", "/path"), ["Tank/Level"]);
    assert_eq!(each(&get(&bench, "tags?path=*/?peed").await, "tags", "/path"), ["Pump/Speed"]);
    let tag = get(&bench, "tags/Tank%2FLevel").await;
    assert_eq!((&tag["write_role"], &tag["alarms"]), (&json!("engineer"), &json!([])));
}

#[tokio::test]
async fn journal_and_audit_are_found_by_every_filter() {
    let bench = Bench::new().await;
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let journal = |second, alarm: &str, event, kind, priority, user: &str| {
        Record::Journal(JournalEntry {
            time: at(second),
            alarm: alarm.into(),
            event: Some(event),
            kind,
            priority,
            value: "81.5".into(),
            user: user.into(),
            via: None,
            text: String::new(),
            data: BTreeMap::new(),
        })
    };
    let audit = |second, kind, user: &str, subject: &str, events: &[Uuid]| {
        Record::Audit(AuditEntry {
            time: at(second),
            kind,
            user: user.into(),
            via: Via::System,
            subject: subject.into(),
            text: String::new(),
            result: "cooldown".into(),
            events: events.to_vec(),
            sid: None,
        })
    };
    let records = [
        journal(1, "Tank/Alarms/High", one, JournalKind::Raised, Priority::High, ""),
        journal(2, "Tank/Alarms/[x]", two, JournalKind::Raised, Priority::Low, ""),
        journal(3, "Tank/Alarms/High", one, JournalKind::Acknowledged, Priority::High, "alice"),
        audit(1, AuditKind::MessageSent, "system", "+12223334444", &[one, two]),
        audit(2, AuditKind::MessageNotSent, "system", "+12223335555", &[two]),
        audit(3, AuditKind::Acknowledge, "alice", "Tank/Alarms/High", &[one]),
    ];
    bench.store.commit(&records).await.unwrap();
    for (query, expected) in [
        ("journal?kind=raised,acknowledged", vec!["3", "2", "1"]),
        ("journal?kind=raised&kind=cleared", vec!["2", "1"]),
        ("journal?priority=medium", vec!["3", "1"]),
        ("journal?path=*/[x]", vec!["2"]),
        ("journal?path=T*H?gh&user=alice", vec!["3"]),
        ("journal?text=ALICE", vec!["3"]),
        ("journal?event=00000000-0000-0000-0000-000000000002", vec!["2"]),
        ("audit?kind=message_sent,message_not_sent", vec!["2", "1"]),
        ("audit?event=00000000-0000-0000-0000-000000000001", vec!["3", "1"]),
        ("audit?path=Tank*", vec!["3"]),
        ("audit?prefix=%2B1222&text=down", vec!["2", "1"]),
    ] {
        assert_eq!(each(&get(&bench, query).await, "entries", "/id"), expected, "{query}");
    }
    let full = get(&bench, "journal?limit=3").await;
    assert_eq!((full["entries"].as_array().map(Vec::len), &full["next"]), (Some(3), &Json::Null), "no empty page follows");
    let about = bench.store.audit_about(one, crate::store::Span { from: at(1), to: at(3) }, 10).await.unwrap();
    assert_eq!(about.iter().map(|row| row.id).collect::<Vec<_>>(), [1], "within its span, oldest first");
}

#[tokio::test]
async fn what_was_not_sent_is_found_by_its_reason() {
    let bench = Bench::new().await;
    let event = Uuid::from_u128(1);
    let audit = |second, kind, user: &str, subject: &str, result: &str| {
        Record::Audit(AuditEntry {
            time: at(second),
            kind,
            user: user.into(),
            via: Via::System,
            subject: subject.into(),
            text: "Tank/Alarms/High by sms".into(),
            result: result.into(),
            events: vec![event],
            sid: None,
        })
    };
    let held = AuditKind::MessageNotSent;
    let records = [
        audit(1, held, "alice", "+12223334444", NotSent::Cooldown.words()),
        audit(2, held, "bob", "+12223335555", NotSent::OffDuty.words()),
        audit(3, AuditKind::MessageSent, "alice", "+12223334444", NotSent::Cooldown.words()),
        audit(4, held, "", "Tank/Alarms/High", NotSent::Chattering.words()),
        audit(5, held, "alice", "+12223334444", "for a reason of a later version"),
    ];
    bench.store.commit(&records).await.unwrap();
    let ids = async |query: &str| each(&get(&bench, &format!("messages/not-sent?{query}")).await, "messages", "/id");
    assert_eq!(ids("").await, ["5", "4", "2", "1"]);
    assert_eq!(ids("reason=cooldown,off_duty").await, ["2", "1"]);
    assert_eq!(ids("reason=cooldown&reason=chattering&user=alice").await, ["1"]);
    assert_eq!(ids("text=3335").await, ["2"]);
    assert_eq!(ids("text=LATER").await, ["5"]);
    assert_eq!(ids(&format!("from={}&to={}", at(2), at(5))).await, ["4", "2"]);
    assert_eq!(ids(&format!("event={event}&reason=budget")).await, [] as [&str; 0]);
    let first = get(&bench, "messages/not-sent?limit=3").await;
    assert_eq!(ids(&format!("limit=3&cursor={}", first["next"].as_str().unwrap())).await, ["1"]);
    let shown = &get(&bench, "messages/not-sent?reason=off_duty").await["messages"][0];
    assert_eq!((&shown["reason"], &shown["detail"], &shown["user"]), (&json!("off_duty"), &json!("off duty"), &json!("bob")));
    assert_eq!((&shown["events"], &shown["text"]), (&json!([event]), &json!("Tank/Alarms/High by sms")));
    let chosen: Vec<_> = first["messages"].as_array().unwrap().iter().map(|row| (&row["user"], &row["reason"])).collect();
    assert_eq!(chosen[..2], [(&json!("alice"), &Json::Null), (&Json::Null, &json!("chattering"))]);
    assert_eq!(bench.ask("GET", "/api/v1/messages/not-sent?reason=nonsense", "viewer", None).await.0, 400);
}

#[tokio::test]
async fn the_document_is_complete() {
    let bench = Bench::new().await;
    let document = get(&bench, "openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = std::collections::HashSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(name), "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path} says what it does");
        assert!(!operation["tags"].as_array().unwrap().is_empty());
        assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')), "{method} {path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["schema"].is_object(), "{method} {path}: {parameter}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert_eq!(document["components"]["schemas"]["Timestamp"]["format"], "date-time");
}
