//! Application events and sends by the real program, over its HTTP API, with the Twilio simulator.

use annunciator::serve::passwords::hash_password;
use serde_json::{Value, json};

use crate::support::{
    BOUND,
    program::{ALICE, Daemon, Plant, until},
    twilio::http,
};

const TAGS: &str = "[[tag]]\npath = 'Quiet'\ntype = 'Boolean'\ninitial = false\nwritable = true\n";
const CUSTOMER: &str = "+12223339901";
const MORE: &str = r#"
[people]
default_region = "US"
[[twilio]]
name = "quiet"
account_sid = "AC00000000000000000000000000000002"
auth_token = "token"
from = "+15550001111"
external_url = "https://plant.example.com"
disabled = { tag = "Quiet" }
[[profile]]
name = "quiet"
kind = "sms"
twilio = "quiet"
consent = "orders"
[[event]]
name = "Order Completed"
profile = "sms"
consent = "orders"
message = "Order {{ properties.order }} is on its way"
per_hour = 2
[[event]]
name = "Quiet"
profile = "quiet"
[[token]]
name = "mes"
role = "sender"
hash = "HASH"
"#;

struct Mes<'d> {
    console: u16,
    daemon: &'d Daemon,
}

impl Mes<'_> {
    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.console);
        let request = http().request(method.parse().unwrap(), url).bearer_auth("mes:mes secret");
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn track(&self, event: &str, properties: Value) -> Value {
        let (status, answer) =
            self.ask("POST", "track", &json!({"userId": "c1", "event": event, "properties": properties})).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn not_sent(&self, reason: &str) {
        let audit = self.daemon.get("audit?kind=message_not_sent").await.to_string();
        assert!(audit.contains(reason), "{reason}: {audit}");
    }
}

fn bodies(plant: &Plant, number: &str) -> Vec<String> {
    let phone = plant.twilio.phone(number);
    // Twilio itself answers STOP.
    let ours = phone.iter().filter(|message| !message.sent_by_phone && !message.body.contains("unsubscribed"));
    ours.map(|message| message.body.clone()).collect()
}

async fn texts(plant: &Plant, number: &str, count: usize) -> Vec<String> {
    until("texts", BOUND, async || Some(bodies(plant, number)).filter(|texts| texts.len() >= count)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_who_agreed_and_nobody_else() {
    let plant = Plant::new(TAGS, &MORE.replace("HASH", &hash_password("mes secret").unwrap())).await;
    let daemon = plant.start().await;
    let mes = Mes { console: plant.console, daemon: &daemon };
    let answer = mes.track("Order Completed", json!({"order": 1})).await;
    assert_eq!((&answer["queued"], &answer["throttling_status"]), (&json!(false), &json!(false)), "{answer}");
    mes.not_sent("nobody was identified").await;
    // Without country code, although there is a default region for users.
    let identify = |phone: &str, consent: &[&str]| json!({"userId": "c1", "traits": {"phone": phone, "consent": consent}});
    let (status, problem) = mes.ask("POST", "identify", &identify("2223339901", &["orders"])).await;
    assert!(status == 422 && problem["detail"].to_string().contains("21211"), "{problem}");
    assert_eq!(mes.ask("POST", "identify", &identify(CUSTOMER, &["news"])).await.0, 200);
    assert_eq!(mes.track("Order Completed", json!({})).await["message"], "not sent: no consent");
    assert_eq!(mes.ask("POST", "identify", &identify(CUSTOMER, &["orders"])).await.0, 200);
    assert_eq!(mes.track("Order Completed", json!({"order": 1})).await["queued"], true);
    assert_eq!(texts(&plant, CUSTOMER, 1).await, ["Order 1 is on its way"]);
    // Traits and the hour's count outlive the program.
    daemon.stop();
    let daemon = plant.start().await;
    let mes = Mes { console: plant.console, daemon: &daemon };
    assert_eq!(mes.track("Order Completed", json!({"sms_body": "Thank you {{ user }}"})).await["queued"], true);
    assert_eq!(texts(&plant, CUSTOMER, 2).await[1], "Thank you {{ user }}");
    let answer = mes.track("Order Completed", json!({})).await;
    assert_eq!((&answer["queued"], &answer["throttling_status"]), (&json!(false), &json!(true)), "{answer}");
    daemon.tag_is("System/Gateway/Twilio/MessagesSentOther", 2).await;
    assert_eq!(daemon.tag("System/Gateway/Twilio/MessagesSent").await, 0);
    assert!(mes.track("Order Lost", json!({})).await["message"].to_string().contains("dropped"));
    daemon.tag_is("System/Gateway/Twilio/EventsDropped", 1).await;
    let put = http().put(format!("http://127.0.0.1:{}/api/v1/tags/Quiet", plant.console));
    let put = put.basic_auth("bob", Some(crate::support::program::PASSWORD)).header("content-type", "application/json");
    assert!(put.body(json!({"value": true}).to_string()).send().await.unwrap().status().is_success());
    let answer = mes.track("Quiet", json!({})).await;
    assert_eq!((&answer["queued"], &answer["disabled"]), (&json!(false), &json!(true)), "{answer}");
    // A program may send by the disabled account as little, and is told so.
    let body = json!({"number": ALICE, "message": "hello", "twilio": "quiet", "fire_and_forget": false});
    let (status, answer) = mes.ask("POST", "send", &body).await;
    assert_eq!((status, &answer["error_status"], &answer["disabled"]), (200, &json!(true), &json!(true)), "{answer}");
    mes.not_sent("disabled").await;
    // STOP from a customer ends it for sends, too.
    plant.twilio.text(CUSTOMER, None, "STOP").await.unwrap();
    until("opted out", BOUND, async || {
        let audit = daemon.get("audit?kind=opt_out").await;
        audit.to_string().contains("STOP").then_some(())
    })
    .await;
    let body = json!({"number": CUSTOMER, "message": "hello", "fire_and_forget": false});
    let (_, answer) = mes.ask("POST", "send", &body).await;
    assert!(answer["error_status"] == true && answer["disabled"] == false, "{answer}");
    assert!(answer["message"].to_string().contains("START"), "{answer}");
    let body = json!({"number": CUSTOMER, "message": "hello"});
    assert_eq!(mes.ask("POST", "send", &body).await.1["error_status"], false, "fire and forget");
    assert_eq!(mes.ask("DELETE", "identify/c1", &Value::Null).await.0, 200);
    assert_eq!(mes.ask("DELETE", "identify/c1", &Value::Null).await.0, 404);
    assert!(mes.track("Quiet", json!({})).await["queued"] == false);
    assert_eq!(bodies(&plant, CUSTOMER).len(), 2);
    assert!(bodies(&plant, ALICE).is_empty());
    let audit = daemon.get("audit?kind=identify").await.to_string();
    assert!(audit.contains("mes") && !audit.contains(CUSTOMER), "{audit}");
    daemon.stop();
}
