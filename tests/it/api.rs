//! The HTTP API of the whole program: a page's day, and schemathesis against our own OpenAPI document.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    BOUND, peers,
    program::{ALICE, Daemon, PASSWORD, Plant, until},
    twilio::http,
};

/// A trip with write-back, and tags of every kind that a stranger may write to.
const TAGS: &str = "
[[tag]]
path = 'Plant/Tank'
type = 'Boolean'
source = 'plc1'
address = 'coil:1'
[[tag.alarm]]
name = 'Trip'
priority = 'critical'
message = 'Tank level high high'
pipeline = 'on-call'
ack = { tag = 'Plant/TankAck', mode = 'pulse', hold = '200ms' }
data = { sop = 'SOP-114' }
[[tag]]
path = 'Plant/TankAck'
type = 'Boolean'
source = 'plc1'
address = 'coil:11'
writable = true
[[tag]]
path = 'Plant/Limit'
type = 'Float'
initial = 85.0
writable = true
range = [0.0, 100.0]
";
const TRIP: &str = "Plant/Tank/Alarms/Trip";
/// A plain coil of the simulated PLC.
const COIL: u16 = 1000;

/// A page that has logged in as bob.
struct Page {
    http: Client,
    base: String,
    cookie: String,
    token: String,
}

impl Page {
    async fn log_in(plant: &Plant) -> Self {
        let base = format!("http://127.0.0.1:{}/api/v1", plant.console);
        let http = http();
        let body = json!({ "user": "bob", "password": PASSWORD });
        let answer = http.post(format!("{base}/session")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session: Value = answer.json().await.unwrap();
        assert_eq!((&session["user"], &session["role"]), (&json!("bob"), &json!("engineer")));
        Self { http, base, cookie, token: session["csrf_token"].as_str().unwrap().to_owned() }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}/{path}", self.base)).header("cookie", &self.cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}/{path}", self.base)).header("cookie", &self.cookie);
        let answer = request.header("x-csrf-token", &self.token).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn stream(&self, query: &str, last: Option<&str>) -> Stream {
        let patient = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut request = patient.get(format!("{}/stream{query}", self.base)).header("cookie", &self.cookie);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Stream { answer, text: String::new(), last: String::new() }
    }
}

/// An event stream.
struct Stream {
    answer: Response,
    text: String,
    last: String,
}

impl Stream {
    /// The next event's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                if let Some(id) = field("id") {
                    id.clone_into(&mut self.last);
                }
                let found = (field("event").unwrap().to_owned(), serde_json::from_str(field("data").unwrap()).unwrap());
                self.text = rest.to_owned();
                return Some(found);
            }
            let piece = tokio::time::timeout(BOUND, self.answer.chunk()).await.expect("an event in time").ok()??;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// The next event of that name that `wanted` takes.
    async fn wait(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the stream goes on");
            if found == name && wanted(&data) {
                return data;
            }
        }
    }
}

fn trip(plant: &Plant, on: bool) {
    plant.plc.as_ref().unwrap().plant.set_coils(COIL, &[on]);
}

fn tags() -> String {
    TAGS.replace("coil:1'", &format!("coil:{COIL}'"))
}

/// A cookie as a browser reads it: its name, and its attributes in small letters, sorted.
fn cookie(answer: &Response) -> (String, Vec<String>) {
    let text = answer.headers()["set-cookie"].to_str().unwrap();
    let mut parts = text.split(';').map(str::trim);
    let (name, _) = parts.next().unwrap().split_once('=').unwrap();
    let mut attributes: Vec<_> = parts.map(str::to_lowercase).collect();
    attributes.sort();
    (name.to_owned(), attributes)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_browser_keeps_the_sessions_cookie_from_everything_else() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let certificate = fixtures.join("loopback.cert.pem");
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    // It also installs the program's cryptography for the other client.
    let plain = http();
    let secure = Client::builder().no_proxy().tls_certs_only([root]).timeout(BOUND).build().unwrap();
    let body = json!({ "user": "bob", "password": PASSWORD });

    let plant = Plant::new(&tags(), "").await;
    let daemon = plant.start().await;
    let answer = plain.post(format!("http://127.0.0.1:{}/api/v1/session", plant.console)).json(&body).send().await.unwrap();
    let attributes = ["httponly", "max-age=43200", "path=/", "samesite=strict"];
    assert_eq!(cookie(&answer), ("annunciator".to_owned(), attributes.map(str::to_owned).to_vec()));
    daemon.stop();

    let config = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    let key = fixtures.join("loopback.key.pem");
    let tls = format!("[http]\ntls_cert = '{}'\ntls_key = '{}'\n", certificate.display(), key.display());
    plant.write("config/main.toml", &config.replace("[http]\n", &tls));
    let daemon = plant.spawn();
    let base = format!("https://127.0.0.1:{}/api/v1", plant.console);
    let log_in = async || secure.post(format!("{base}/session")).json(&body).send().await.ok();
    let answer = until("a log-in over TLS", BOUND, log_in).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let (name, found) = cookie(&answer);
    // A browser takes a cookie of this prefix only with Secure, Path=/ and no Domain (RFC 6265bis, section 4.1.3.2).
    assert_eq!(name, "__Host-annunciator");
    assert_eq!(found, ["httponly", "max-age=43200", "path=/", "samesite=strict", "secure"]);
    let value = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let asked = async |cookie: String| {
        secure.get(format!("{base}/session")).header("cookie", cookie).send().await.unwrap().status().as_u16()
    };
    assert_eq!(asked(value.clone()).await, 200);
    assert_eq!(asked(value.replace("__Host-", "")).await, 401, "the name without the prefix is not ours over TLS");
    assert!(plain.get(format!("http://127.0.0.1:{}/", plant.console)).send().await.is_err(), "no plain HTTP beside it");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_follows_an_alarm_from_its_flank_to_its_story() {
    let plant = Plant::new(&tags(), "").await;
    let daemon = plant.start().await;
    daemon.tag_is("Plant/Tank", false).await;
    let page = Page::log_in(&plant).await;
    plant.twilio.set_reachable(ALICE, false);

    // A stream each, so that none waits past what another waits for.
    let mut stream = page.stream("?topics=alarms", None).await;
    let mut values = page.stream("?topics=tags&tag=Plant/Tank", None).await;
    let mut outbox = page.stream("?topics=messages", None).await;
    let mut counts = page.stream("?topics=counts", None).await;
    values.wait("tags", |data| data["tags"][0]["value"] == false).await;
    trip(&plant, true);
    let is_trip = |data: &Value| data["alarms"][0]["path"] == TRIP && data["alarms"][0]["state"] == "ActiveUnacked";
    stream.wait("alarms", is_trip).await;
    values.wait("tags", |data| data["tags"][0]["value"] == true).await;
    let lost = |data: &Value| data["messages"].as_array().into_iter().flatten().any(|row| row["state"] == "undelivered");
    let messages = outbox.wait("messages", lost).await;
    let row = messages["messages"].as_array().unwrap().iter().find(|row| row["state"] == "undelivered").unwrap().clone();
    assert_eq!((&row["user"], &row["profile"], &row["alarms"]), (&json!("alice"), &json!("sms"), &json!([TRIP])), "{row}");
    assert!(row["text"].as_str().unwrap().contains("Tank level high high"), "{row}");
    counts.wait("counts", |data| data["active_unacked"] != 0).await;

    // It is sent once more, and arrives.
    plant.twilio.set_reachable(ALICE, true);
    let (status, answer) = page.post(&format!("messages/{}/retry", row["row"]), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let arrived = async || {
        let texts = plant.twilio.phone(ALICE);
        texts.iter().any(|text| text.status == "delivered" && text.body.contains("Tank level high high")).then_some(())
    };
    until("the text that was sent once more", BOUND, arrived).await;

    // A lost connection resumes: what happened meanwhile is told.
    let last = stream.last.clone();
    drop(stream);
    let (status, answer) = page.post("alarms/ack-many", &json!({ "alarms": [{ "alarm": TRIP }], "note": "feed stopped" })).await;
    assert_eq!((status, &answer["acknowledged"]), (200, &json!(1)), "{answer}");
    let (_, list) = page.get("alarms?state=ActiveAcked").await;
    assert_eq!(list["alarms"][0]["path"], TRIP, "who has acknowledged sees it so at once: {list}");
    let mut stream = page.stream("?topics=alarms", Some(&last)).await;
    assert_eq!(stream.next().await.unwrap(), ("hello".into(), json!({ "resumed": true })));
    stream.wait("alarms", |data| data["alarms"][0]["state"] == "ActiveAcked").await;

    let (status, problem) = page.post(&format!("messages/{}/retry", row["row"]), &json!({})).await;
    assert_eq!(status, 200, "filed again, and then looked at: {problem}");
    let cancelled = async || {
        let (_, list) = page.get("messages?state=cancelled").await;
        (list["total"] != 0).then_some(())
    };
    until("the text cancelled, for the alarm is acknowledged", BOUND, cancelled).await;

    let written = async || {
        let (_, story) = page.get(&format!("alarms/story?alarm={TRIP}")).await;
        let kinds = |part: &str, kind: &str| story[part].as_array().unwrap().iter().any(|row| row["entry"]["kind"] == kind);
        (kinds("acts", "write_back")).then_some(story)
    };
    let story = until("the write-back in the story", BOUND, written).await;
    let kinds = |part: &str| -> Vec<String> {
        story[part].as_array().unwrap().iter().map(|row| row["entry"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert!(kinds("transitions").starts_with(&["raised".to_owned()]), "{story}");
    assert!(kinds("transitions").contains(&"acknowledged".to_owned()) && kinds("acts").contains(&"acknowledge".to_owned()));
    assert!(kinds("messages").contains(&"message_sent".to_owned()), "{story}");
    assert!(
        kinds("messages").contains(&"message_status".to_owned()) && kinds("messages").contains(&"message_not_sent".to_owned())
    );
    assert_eq!(
        (&story["definition"]["data"]["sop"], &story["definition"]["max_shelve_seconds"]),
        (&json!("SOP-114"), &json!(1800))
    );
    assert_eq!(story["events"].as_array().map(Vec::len), Some(1));
    let (_, audit) = page.get("audit?kind=login").await;
    assert_eq!((&audit["entries"][0]["entry"]["user"], &audit["entries"][0]["entry"]["via"]), (&json!("bob"), &json!("console")));

    let (status, forecast) = page.get("what-if?alarm=Plant/Tank/Trip").await;
    assert_eq!((status, &forecast["rows"][0]["who"]), (200, &json!("alice")), "{forecast}");
    let (_, held) = page.get("messages/not-sent?reason=superseded").await;
    assert_eq!((&held["messages"][0]["user"], &held["messages"][0]["detail"]), (&json!("alice"), &json!("superseded")), "{held}");
    outbox.wait("messages", |data| data["not_sent"] == 1).await;
    let mut covers = page.stream("?topics=overrides", None).await;
    covers.wait("hello", |_| true).await;
    let to = annunciator::clock::now() + Duration::from_secs(3600);
    let cover = json!({ "user": "carol", "covers": "bob", "to": to });
    let (status, answer) = page.post("overrides", &cover).await;
    assert_eq!(status, 200, "{answer}");
    covers.wait("overrides", |data| data["changed"] == true).await;
    let (_, rota) = page.get("on-call").await;
    assert_eq!(rota["rosters"][0]["on_duty"], json!(["alice", "carol"]), "{rota}");
    let (_, made) = page.get("overrides").await;
    let delete = page.http.delete(format!("{}/overrides/{}", page.base, made["overrides"][0]["number"]));
    let answer = delete.header("cookie", &page.cookie).header("x-csrf-token", &page.token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    covers.wait("overrides", |data| data["changed"] == true).await;
    let (_, rota) = page.get("on-call?days=14").await;
    assert_eq!((&rota["rosters"][0]["on_duty"], &rota["rosters"][0]["gaps"]), (&json!(["alice", "bob"]), &json!([])), "{rota}");

    // A reload ends the sessions of who is no longer there, and the streams with them.
    let config = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    let other = annunciator::serve::passwords::hash_password("another").unwrap();
    let hash = config.split("password_hash = '").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    plant.write("config/main.toml", &config.replace(&hash, &other));
    daemon.signal("HUP");
    stream.wait("logout", |_| true).await;
    assert!(stream.next().await.is_none());
    assert_eq!(page.get("session").await.0, 401);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_against_the_document() {
    let Some(tool) = peers::schemathesis() else { return };
    // Nothing that it makes up reaches a phone, and what it reloads is what is there.
    let plant = Plant::new(&tags(), "[people]\nallow_numbers = ['+1222333440*']\n").await;
    let daemon = plant.start().await;
    daemon.tag_is("Plant/Tank", false).await;
    let command = schemathesis(tool, &plant);
    let ended = tokio::task::spawn_blocking(move || { command }.output().unwrap()).await.unwrap();
    let told = format!("{}\n{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}");
    assert!(told.contains("No issues found") || told.contains("passed"), "{told}");
    still_serves(&daemon).await;
    daemon.stop();
}

/// Every operation but the stream, whose answer has no end, and the log-out of nobody.
fn schemathesis(tool: std::path::PathBuf, plant: &Plant) -> Command {
    let document = format!("http://127.0.0.1:{}/api/v1/openapi.json", plant.console);
    let login = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("bob:{PASSWORD}"));
    let mut command = Command::new(tool);
    command.args(["run", &document, "--header", &format!("Authorization: Basic {login}")]);
    command.args(["--exclude-path", "/api/v1/stream", "--exclude-path", "/api/v1/session"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "4", "--seed", "1", "--no-color"]);
    // What fits a schema may still name what does not exist; wrong passwords without end are slowed down, as they should be.
    command.args(["--exclude-checks", "positive_data_acceptance,ignored_auth"]);
    command.args(["--request-timeout", "20", "--continue-on-failure", "--warnings", "off"]);
    command.stdin(Stdio::null()).current_dir(plant.folder.path());
    command
}

async fn still_serves(daemon: &Daemon) {
    let counts = tokio::time::timeout(Duration::from_secs(10), daemon.get("counts")).await.expect("an answer");
    assert!(counts["active_unacked"].is_i64(), "{counts}");
}
