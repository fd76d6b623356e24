//! The webhook listener: what Twilio (the simulator, and Twilio's own helper library) sends, and what it must refuse.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use annunciator::{
    engine::{
        io::{DeliveryState, OutboxId},
        plan::{Secret, TwilioDef},
    },
    notify::{
        Notifier,
        signature::{Payload, sign},
        twilio::Twilio,
    },
    serve::{
        http::{Limits, serve, tls},
        webhooks::{MAX_BODY, Reason, Rejects, router},
    },
    simulate::twilio::{Fault, FaultKind, Options},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{
    BOUND, peers,
    process::Child,
    twilio::{OURS, PERSON, Recorder, TOKEN, http, profile, simulator, text, wait_for},
};

pub const EXTERNAL: &str = "https://plant.example.com";
const INBOUND: &str = "/main/system/twilio-sms/inbound/main";
const STATUS: &str = "/main/system/twilio-sms/status/7";

pub struct Site {
    pub gateway: Arc<Recorder>,
    pub rejects: Arc<Rejects>,
    told: Arc<Mutex<Vec<&'static str>>>,
    pub url: String,
    stop: CancellationToken,
    _guard: DropGuard,
}

/// The listener with these profiles; an `external_url` of `LISTENER` becomes its own address.
pub async fn site(mut profiles: Vec<TwilioDef>, limits: Limits) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for profile in &mut profiles {
        if profile.external_url.as_deref() == Some("LISTENER") {
            profile.external_url = Some(url.clone());
        }
    }
    let gateway = Recorder::new(profiles);
    let told = Arc::new(Mutex::new(Vec::new()));
    let rejects = Arc::new(Rejects::observed_by({
        let told = told.clone();
        move |reason| told.lock().unwrap().push(reason)
    }));
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, router(gateway.clone(), rejects.clone()), limits, None, stop.clone()));
    Site { gateway, rejects, told, url, _guard: stop.clone().drop_guard(), stop }
}

pub fn callable(external_url: &str) -> TwilioDef {
    TwilioDef { external_url: Some(external_url.into()), ..profile("http://127.0.0.1:1") }
}

pub fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn inbound_form() -> Vec<(String, String)> {
    let account = Options::default().account_sid;
    let sid = "SM00000000000000000000000000000001";
    form(&[("MessageSid", sid), ("From", PERSON), ("To", OURS), ("Body", "1234 K7M"), ("AccountSid", &account), ("FromCity", "")])
}

fn status_form(status: &str) -> Vec<(String, String)> {
    let account = Options::default().account_sid;
    form(&[("MessageSid", "SM00000000000000000000000000000002"), ("MessageStatus", status), ("AccountSid", &account)])
}

pub async fn post(site: &Site, path: &str, form: &[(String, String)], signature: Option<&str>) -> (u16, String) {
    let mut request = http().post(format!("{}{path}", site.url)).form(form);
    if let Some(signature) = signature {
        request = request.header("X-Twilio-Signature", signature);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub fn signed(path: &str, form: &[(String, String)]) -> String {
    sign(TOKEN, &format!("{EXTERNAL}{path}"), Payload::Form(form))
}

#[tokio::test]
async fn only_what_twilio_signed_is_taken() {
    let site = site(vec![callable(EXTERNAL)], Limits::default()).await;
    let form = inbound_form();
    let good = signed(INBOUND, &form);

    assert_eq!(post(&site, INBOUND, &form, None).await.0, 403);
    assert_eq!(post(&site, INBOUND, &form, Some("")).await.0, 403);
    assert_eq!(post(&site, INBOUND, &form, Some("Zmvh+3yNM1Phv2jhDCwEM3q5ebU=")).await.0, 403);
    let own = sign(TOKEN, &format!("{}{INBOUND}", site.url), Payload::Form(&form));
    assert_eq!(post(&site, INBOUND, &form, Some(&own)).await.0, 403, "what was signed is external_url, never Host");
    let mut changed = form.clone();
    changed[3].1 = "9999 K7M".into();
    assert_eq!(post(&site, INBOUND, &changed, Some(&good)).await.0, 403);
    assert_eq!(post(&site, &format!("{INBOUND}?x=1"), &form, Some(&good)).await.0, 403);
    assert!(site.gateway.texts().is_empty());
    assert_eq!(site.rejects.count(Reason::Unsigned), 1);
    assert_eq!(site.rejects.count(Reason::Signature), 5);
    assert_eq!(site.told.lock().unwrap()[..2], ["unsigned", "signature"]);

    let (status, body) = post(&site, INBOUND, &form, Some(&good)).await;
    assert_eq!((status, body.as_str()), (200, "<Response/>"));
    let again = post(&site, INBOUND, &form, Some(&good)).await;
    assert_eq!(again.0, 200, "a repeat is answered as the first was");
    let texts = site.gateway.texts();
    assert_eq!(texts.len(), 1);
    assert_eq!((texts[0].from.as_str(), texts[0].to.as_str(), texts[0].body.as_str()), (PERSON, OURS, "1234 K7M"));
    assert_eq!((texts[0].twilio.as_str(), texts[0].received), ("main", None));

    let query = format!("{INBOUND}?a=%2B%20b&c=");
    assert_eq!(post(&site, &query, &form, Some(&signed(&query, &form))).await.0, 200, "the raw query is signed");
}

#[tokio::test]
async fn reports_reach_their_row_and_a_broken_store_asks_for_a_retry() {
    let second = TwilioDef { name: "second".into(), auth_token_2: Some(Secret::new("next")), ..callable(EXTERNAL) };
    let site = site(vec![callable("https://other.example.com"), second], Limits::default()).await;
    let form = status_form("delivered");
    assert_eq!(post(&site, STATUS, &form, Some(&signed(STATUS, &form))).await, (204, String::new()), "one profile verifies");
    let rotated = sign("next", &format!("{EXTERNAL}{STATUS}"), Payload::Form(&form));
    assert_eq!(post(&site, STATUS, &form, Some(&rotated)).await.0, 204, "the second token during rotation");
    let mut failed = status_form("undelivered");
    failed.push(("ErrorCode".into(), "30003".into()));
    assert_eq!(post(&site, STATUS, &failed, Some(&signed(STATUS, &failed))).await.0, 204);
    let unknown = status_form("teleported");
    assert_eq!(post(&site, STATUS, &unknown, Some(&signed(STATUS, &unknown))).await.0, 204, "new words are no error");
    let sid = "SM00000000000000000000000000000002".to_owned();
    let delivered = (Some(OutboxId(7)), sid.clone(), DeliveryState::Delivered, None);
    let expected = [delivered.clone(), delivered, (Some(OutboxId(7)), sid, DeliveryState::Undelivered, Some(30003))];
    assert_eq!(site.gateway.reports(), expected);

    site.gateway.broken.store(true, Ordering::SeqCst);
    assert_eq!(post(&site, STATUS, &form, Some(&signed(STATUS, &form))).await.0, 503);
    let form = inbound_form();
    let path = "/main/system/twilio-sms/inbound/second";
    assert_eq!(post(&site, path, &form, Some(&signed(path, &form))).await.0, 503);
    assert_eq!(site.rejects.count(Reason::Store), 2);
    site.gateway.broken.store(false, Ordering::SeqCst);
    assert_eq!(post(&site, path, &form, Some(&signed(path, &form))).await.0, 200);
}

#[tokio::test]
async fn nothing_else_is_served() {
    let site =
        site(vec![callable(EXTERNAL), TwilioDef { name: "quiet".into(), ..profile("http://127.0.0.1:1") }], Limits::default())
            .await;
    let form = inbound_form();
    let rows = [
        ("/", 404),
        ("/metrics", 404),
        ("/api/v1/tags", 404),
        ("/main/system/twilio-voice/sing/1", 404),
        ("/main/system/twilio-sms/inbound/nobody", 404),
        ("/main/system/twilio-sms/inbound/", 404),
        ("/main/system/twilio-sms/status/seven", 404),
        ("/main/system/twilio-sms/inbound/quiet", 403),
    ];
    for (path, expected) in rows {
        assert_eq!(post(&site, path, &form, Some(&signed(path, &form))).await.0, expected, "{path}");
    }
    let got = http().get(format!("{}{INBOUND}", site.url)).send().await.unwrap();
    assert_eq!(got.status().as_u16(), 405);
    let mut lacking = form.clone();
    lacking.remove(0);
    assert_eq!(post(&site, INBOUND, &lacking, Some(&signed(INBOUND, &lacking))).await.0, 400);
    let json = http().post(format!("{}{INBOUND}", site.url)).header("X-Twilio-Signature", "x").json("{}").send().await.unwrap();
    assert_eq!(json.status().as_u16(), 400);
    let mut stranger = status_form("sent");
    stranger[2].1 = "AC00000000000000000000000000009999".into();
    assert_eq!(post(&site, STATUS, &stranger, Some(&signed(STATUS, &stranger))).await.0, 404);
    assert!(site.gateway.texts().is_empty() && site.gateway.reports().is_empty());
    assert_eq!(site.rejects.count(Reason::OutboundOnly), 1);
    assert_eq!(site.rejects.count(Reason::Method), 1);
}

#[tokio::test]
async fn oversized_bodies_are_refused_with_and_without_a_length() {
    let site = site(vec![callable(EXTERNAL)], Limits::default()).await;
    let mut form = inbound_form();
    form.push(("More".into(), "x".repeat(MAX_BODY)));
    assert_eq!(post(&site, INBOUND, &form, Some(&signed(INBOUND, &form))).await.0, 413);

    let address = site.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /main/system/twilio-sms/inbound/main HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nX-Twilio-Signature: x\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..=MAX_BODY / 0x1000 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 32];
    timeout(BOUND, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(site.rejects.count(Reason::TooLarge), 2);
}

#[tokio::test]
async fn connections_are_bounded_slow_ones_end_and_the_stop_is_orderly() {
    let limits = Limits { per_address: 3, header_timeout: Duration::from_secs(2), ..Limits::default() };
    let site = site(vec![callable(EXTERNAL)], limits).await;
    let address = site.url.trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    let mut fourth = TcpStream::connect(&address).await.unwrap();
    let refused = timeout(Duration::from_millis(1500), fourth.read(&mut [0; 8])).await.expect("closed at once");
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    for mut stream in slow {
        let mut rest = Vec::new();
        timeout(BOUND, stream.read_to_end(&mut rest)).await.expect("a slow head ends the connection").ok();
    }
    let form = inbound_form();
    assert_eq!(post(&site, INBOUND, &form, Some(&signed(INBOUND, &form))).await.0, 200, "and makes room again");

    site.stop.cancel();
    let closed = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BOUND, closed).await.expect("the listener ends");
}

#[tokio::test]
async fn the_simulator_calls_back_and_tries_again() {
    let site = site(vec![callable("LISTENER")], Limits::default()).await;
    let inbound_url = Some(format!("{}{INBOUND}#rc=3&rp=5xx,ct,rt", site.url));
    let simulator = simulator(Options { inbound_url, ..Options::default() }).await;
    let twilio = Twilio::new(Arc::new(TwilioDef { base_url: simulator.url(), ..callable(&site.url) })).unwrap();
    let sent = twilio.send(&text(7, "alarm")).await.unwrap();
    let last =
        wait_for("delivered", || site.gateway.reports().into_iter().find(|report| report.2 == DeliveryState::Delivered)).await;
    assert_eq!(last, (Some(OutboxId(7)), sent.sid, DeliveryState::Delivered, None));

    let reply = simulator.text(PERSON, None, "1234").await.unwrap();
    assert_eq!(reply.webhook_status, Some(200));
    assert_eq!(site.gateway.texts()[0].sid, reply.sid);

    site.gateway.broken.store(true, Ordering::SeqCst);
    let refused = simulator.text(PERSON, None, "1234 again").await.unwrap();
    assert_eq!(refused.webhook_status, Some(503));
    assert_eq!(simulator.webhooks().last().unwrap().attempts, 4, "three retries on 5xx");
    assert_eq!(site.gateway.texts().len(), 1);
}

#[tokio::test]
async fn a_status_is_copied_and_signed_for_its_second_reader() {
    let reader = site(vec![callable("LISTENER")], Limits::default()).await;
    let status_callback = Some(format!("{}/main/system/twilio-sms/status/99?copy=1#rc=3", reader.url));
    let first = site(vec![TwilioDef { status_callback, ..callable(EXTERNAL) }], Limits::default()).await;
    let form = status_form("delivered");
    assert_eq!(post(&first, STATUS, &form, Some("wrong")).await.0, 403);
    assert_eq!(post(&first, STATUS, &form, Some(&signed(STATUS, &form))).await.0, 204);
    let copy = wait_for("the copy", || reader.gateway.reports().pop()).await;
    let sid = "SM00000000000000000000000000000002".to_owned();
    assert_eq!(copy, (Some(OutboxId(99)), sid, DeliveryState::Delivered, None));
    assert_eq!(reader.gateway.reports().len(), 1, "what was refused is not copied");
}

#[tokio::test]
async fn tls_is_served_from_certificate_and_key_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let (certificate, key) = (folder.join("loopback.cert.pem"), folder.join("loopback.key.pem"));
    let config = tls(&certificate, &key).unwrap();
    assert!(tls(&certificate, &certificate).unwrap_err().contains("loopback.cert.pem"), "a mix-up names the file");
    assert!(tls(&folder.join("none.pem"), &key).unwrap_err().contains("none.pem"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let routes = router(Recorder::new(Vec::new()), Arc::default());
    tokio::spawn(serve(listener, routes, Limits::default(), Some(config), stop));
    let _ = http();
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).timeout(BOUND).build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 404);
    assert!(http().get(&url).send().await.is_err(), "a client that does not trust it");
}

#[tokio::test]
async fn the_simulators_own_routes_are_enough_to_drive_it() {
    let simulator = simulator(Options::default()).await;
    let at = |path: &str| format!("{}/simulator/{path}", simulator.url());
    let fault = serde_json::to_value(Fault { method: Some("POST".into()), ..Fault::once(FaultKind::TooManyRequests) }).unwrap();
    assert_eq!(http().post(at("faults")).json(&fault).send().await.unwrap().status().as_u16(), 204);
    let twilio = Twilio::new(Arc::new(profile(&simulator.url()))).unwrap();
    assert!(twilio.send(&text(1, "lost")).await.is_err());
    twilio.send(&text(1, "there")).await.unwrap();
    let said = http().post(at(&format!("phones/{PERSON}/text"))).body("hello back").send().await.unwrap();
    assert_eq!(said.status().as_u16(), 200);
    let get = async |path: String| http().get(at(&path)).send().await.unwrap().json::<serde_json::Value>().await.unwrap();
    let phone = get(format!("phones/{PERSON}")).await;
    assert_eq!(phone["messages"][0]["body"], "there");
    assert_eq!(phone["messages"][1]["body"], "hello back");
    assert_eq!(phone["messages"].as_array().unwrap().len(), 2);
    let log = get("requests".into()).await;
    let statuses: Vec<_> = log["requests"].as_array().unwrap().iter().map(|request| request["status"].clone()).collect();
    assert_eq!(statuses, [429, 201]);
    assert_eq!(log["requests"][1]["parameters"]["To"], PERSON);
    assert_eq!(get("requests?after=1".into()).await["requests"].as_array().unwrap().len(), 1);
}

/// Twilio's own helper library, both ways.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_helper_library_agrees() {
    let Some(python) = tokio::task::spawn_blocking(peers::python).await.unwrap() else { return };
    let run = |arguments: Vec<String>| {
        let mut command = Command::new(&python);
        command.arg(peers::script("twilio_helper.py")).args(arguments);
        command
    };
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();

    // Its validator takes what the simulator signs.
    let mut server = Child::start(&mut run(vec!["server".into(), TOKEN.into()]));
    let port = server.line("port", BOUND).replace("port ", "");
    let there = format!("http://127.0.0.1:{port}");
    let simulator = simulator(Options { inbound_url: Some(format!("{there}/in?a=b%20c#rc=1")), ..Options::default() }).await;
    let twilio = Twilio::new(Arc::new(TwilioDef { base_url: simulator.url(), ..callable(&there) })).unwrap();
    simulator.text(PERSON, None, "Grüße & 100% +1").await.unwrap();
    let told = json(&server.line("valid", BOUND));
    assert_eq!((&told["valid"], &told["params"]["Body"]), (&true.into(), &"Grüße & 100% +1".into()));
    assert_eq!(told["path"], "/in?a=b%20c");
    twilio.send(&text(7, "alarm")).await.unwrap();
    for status in ["sent", "delivered"] {
        let told = json(&server.line("valid", BOUND));
        assert_eq!((&told["valid"], &told["params"]["MessageStatus"]), (&true.into(), &status.into()));
        assert_eq!(told["path"], STATUS);
    }

    // Our listener takes what it signs, and nothing that another token signed.
    let site = site(vec![callable(EXTERNAL)], Limits::default()).await;
    let mut parameters: serde_json::Map<String, serde_json::Value> =
        inbound_form().into_iter().map(|(key, value)| (key, value.into())).collect();
    parameters.insert("Body".into(), "é° 🚨 &=+%".into());
    parameters.insert("Twice".into(), serde_json::json!(["b", "a", "a"]));
    let parameters = serde_json::Value::Object(parameters).to_string();
    for (token, expected) in [(TOKEN, 200), ("another", 403)] {
        let arguments = ["post", token, EXTERNAL, &site.url, INBOUND, &parameters].map(str::to_owned);
        let mut poster = Child::start(&mut run(arguments.to_vec()));
        assert_eq!(json(&poster.line("status", BOUND))["status"], expected);
    }
    assert_eq!(site.gateway.texts()[0].body, "é° 🚨 &=+%");

    // Its client finds the simulator's API as it knows Twilio's.
    let arguments = ["client", &simulator.url(), &Options::default().account_sid, TOKEN].map(str::to_owned);
    let mut client = Child::start(&mut run(arguments.to_vec()));
    let made = json(&client.line("create", BOUND));
    assert_eq!((&made["status"], &made["segments"], &made["direction"]), (&"queued".into(), &"1".into(), &"outbound-api".into()));
    let fetched = json(&client.line("fetch", BOUND));
    assert_eq!(
        (&fetched["sid"], &fetched["body"], &fetched["dated"]),
        (&made["sid"], &"from the helper library".into(), &true.into())
    );
    let listed = json(&client.line("list", BOUND));
    assert_eq!(listed["bodies"], serde_json::json!(["page 5", "page 4", "page 3", "page 2", "page 1", "page 0"]));
    for (name, status, code) in [
        ("to", 400, 21211),
        ("from", 400, 21606),
        ("no sender", 400, 21603),
        ("long", 400, 21617),
        ("unknown", 404, 20404),
        ("credentials", 401, 20003),
    ] {
        let refused = json(&client.line("status", BOUND));
        assert_eq!(refused, serde_json::json!({ "name": name, "status": status, "code": code }));
    }
}
