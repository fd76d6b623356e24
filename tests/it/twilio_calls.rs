//! The simulator's Calls API: Twilio's official helper library as its client, and an answerer that checks every signature.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use annunciator::{
    notify::signature::{Payload, verify},
    simulate::twilio::{CallLine, CallRecord, Fault, FaultKind, Options, Reports, Running, Voice, VoiceMode},
};
use axum::{
    Router,
    extract::Request,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::support::{
    BOUND, peers,
    process::Child,
    twilio::{OURS, PERSON, TOKEN, http, simulator, wait_for},
};

/// One request that the answerer got: path with query, and its parameters.
type Got = (String, Vec<(String, String)>);

/// Answers with TwiML by path, and remembers what was asked. A wrong signature is 403.
struct Answerer {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Answerer {
    async fn start(documents: &'static [(&'static str, &'static str)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (base, seen) = (url.clone(), got.clone());
        let answer = async move |request: Request| -> Response {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 65_536).await.unwrap();
            let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
            let path = parts.uri.path_and_query().unwrap().to_string();
            let signature = parts.headers.get("X-Twilio-Signature").unwrap().to_str().unwrap();
            if !verify(&[TOKEN], &format!("{base}{path}"), Payload::Form(&form), signature) {
                return axum::http::StatusCode::FORBIDDEN.into_response();
            }
            let query = parts.uri.query().unwrap_or_default();
            let parameters = form.into_iter().chain(form_urlencoded::parse(query.as_bytes()).into_owned()).collect();
            seen.lock().unwrap().push((path.clone(), parameters));
            match documents.iter().find(|(known, _)| *known == parts.uri.path()) {
                Some((_, text)) if text.starts_with('<') => ([(CONTENT_TYPE, "text/xml")], *text).into_response(),
                Some((_, text)) => ([(CONTENT_TYPE, "text/plain")], *text).into_response(),
                None if path.starts_with("/status") => axum::http::StatusCode::NO_CONTENT.into_response(),
                None => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, got }
    }

    /// The wanted parameters of every request to `path`, in the order in which they came.
    fn values(&self, path: &str, names: &[&str]) -> Vec<String> {
        let value = |parameters: &[(String, String)], name: &str| {
            parameters.iter().find(|(key, _)| key == name).map_or("-", |(_, value)| value).to_owned()
        };
        let row =
            |parameters: &[(String, String)]| names.iter().map(|name| value(parameters, name)).collect::<Vec<_>>().join(" ");
        let got = self.got.lock().unwrap();
        got.iter().filter(|(known, _)| known.starts_with(path)).map(|(_, parameters)| row(parameters)).collect()
    }
}

fn quick() -> Options {
    let ms = Duration::from_millis;
    Options { ring_after: ms(5), answer_after: ms(5), call_second: ms(1), ..Options::default() }
}

/// Orders a call from [`OURS`] to [`PERSON`]; gives status and answer.
async fn order(simulator: &Running, parameters: &[(&str, &str)]) -> (u16, Value) {
    let mut form = vec![("To", PERSON), ("From", OURS)];
    form.retain(|(key, _)| !parameters.iter().any(|(changed, _)| changed == key));
    form.extend(parameters);
    post(simulator, "Calls.json", &form).await
}

async fn post(simulator: &Running, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let account = Options::default().account_sid;
    let url = format!("{}/2010-04-01/Accounts/{account}/{path}", simulator.url());
    let answer = http().post(url).basic_auth(account, Some(TOKEN)).form(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn find(simulator: &Running, sid: &str) -> CallRecord {
    simulator.calls().into_iter().find(|call| call.sid == sid).unwrap()
}

async fn status(simulator: &Running, sid: &str, wanted: &str) -> CallRecord {
    wait_for(wanted, || Some(find(simulator, sid)).filter(|call| call.status == wanted)).await
}

/// What was said, pressed (`>`) and wrong (`!`).
fn lines(call: &CallRecord) -> Vec<String> {
    let line = |line: &CallLine| match line {
        CallLine::Said { text } => text.clone(),
        CallLine::Pressed { keys } => format!("> {keys}"),
        CallLine::Error { code, .. } => format!("! {code}"),
    };
    call.transcript.iter().map(line).collect()
}

fn voice(mode: VoiceMode, digits: &[&str], seconds: Option<u32>) -> Voice {
    Voice { mode, digits: digits.iter().map(|keys| (*keys).to_owned()).collect(), seconds, ..Voice::default() }
}

const PLANT: &[(&str, &str)] = &[
    (
        "/answer",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Gather action=\"/pin?call=7&amp;x=a%20b\" timeout=\"10\">\
         <Say>Enter your PIN.</Say></Gather><Say>No PIN.</Say><Redirect>again</Redirect></Response>",
    ),
    (
        "/pin",
        "<Response><Say>Tank 1 &amp; 2: level high.</Say><Gather action=\"menu\" method=\"GET\" numDigits=\"1\"><Say>Press 1.</Say>\
         <Pause length=\"2\"/></Gather><Say>Goodbye.</Say></Response>",
    ),
    ("/menu", "<Response><Say>Acknowledged.</Say><Hangup/><Say>never</Say></Response>"),
    ("/again", "<Response><Gather actionOnEmptyResult=\"true\" action=\"/menu\"/></Response>"),
    ("/loop", "<Response><Redirect/></Response>"),
    ("/endless", "<Response><Say loop=\"0\">a</Say></Response>"),
    ("/broken", "<Response><Say>a</Response>"),
    ("/plain", "Only words."),
];

#[tokio::test]
async fn a_person_hears_the_documents_and_their_keys_reach_the_action() {
    let answerer = Answerer::start(PLANT).await;
    let simulator = simulator(quick()).await;
    let apology = "We are sorry, an application error has occurred. Goodbye.";
    // Document, keys, what was said and pressed.
    let rows: [(&str, &[&str], Vec<&str>); 6] = [
        (
            "/answer",
            &["4711#", "1"],
            vec!["Enter your PIN.", "> 4711#", "Tank 1 & 2: level high.", "Press 1.", "> 1", "Acknowledged."],
        ),
        ("/answer", &["4711"], vec!["Enter your PIN.", "> 4711", "Tank 1 & 2: level high.", "Press 1.", "Goodbye."]),
        ("/answer", &[], vec!["Enter your PIN.", "No PIN.", "Acknowledged."]),
        ("/plain", &[], vec!["Only words."]),
        ("/broken", &[], vec!["! 12100", apology]),
        ("/nothing", &[], vec!["! 11200", apology]),
    ];
    for (path, keys, expected) in rows {
        simulator.set_voice(PERSON, voice(VoiceMode::Answer, keys, None)).unwrap();
        let (code, made) = order(&simulator, &[("Url", &format!("{}{path}", answerer.url))]).await;
        assert_eq!((code, &made["status"]), (201, &json!("queued")));
        let call = status(&simulator, made["sid"].as_str().unwrap(), "completed").await;
        assert_eq!(lines(&call), expected, "{path} {keys:?}");
    }
    let names = ["CallStatus", "To", "Direction", "ApiVersion", "Digits", "FinishedOnKey", "msg"];
    let asked = format!("in-progress {PERSON} outbound-api 2010-04-01");
    assert_eq!(answerer.values("/answer", &names)[0], format!("{asked} - - -"));
    let pins = answerer.values("/pin?call=7&x=a%20b", &names);
    assert_eq!(pins, [format!("{asked} 4711 # Gather End"), format!("{asked} 4711  Gather End")]);
    let menu = answerer.values("/menu", &["Digits", "msg"]);
    assert_eq!(menu, ["1 Gather End", " Gather End"], "by GET, and without keys because that was asked for");

    // Loops end.
    for (path, code) in [("/loop", 11215), ("/endless", 12200)] {
        simulator.set_voice(PERSON, Voice::default()).unwrap();
        let (_, made) = order(&simulator, &[("Url", &format!("{}{path}", answerer.url))]).await;
        let call = status(&simulator, made["sid"].as_str().unwrap(), "completed").await;
        assert_eq!(lines(&call).pop(), Some(format!("! {code}")), "{path}");
    }
}

#[tokio::test]
async fn every_outcome_is_reported_in_order_with_its_figures() {
    let answerer = Answerer::start(PLANT).await;
    let simulator = simulator(quick()).await;
    let mode = |mode, seconds| voice(mode, &["1"], seconds);
    let names = ["SequenceNumber", "CallStatus", "CallDuration", "Duration", "SipResponseCode", "AnsweredBy"];
    let start = ["0 initiated - - - -", "1 ringing - - - -"];
    let answered = |who: &str, end: &str| {
        [start[0].into(), start[1].into(), "2 in-progress - - - -".into(), format!("3 completed {end} 200 {who}")].to_vec()
    };
    let refused = |end: &str| vec![start[0].to_owned(), start[1].to_owned(), format!("2 {end} -")];
    let rows = [
        ("completed", mode(VoiceMode::Answer, None), "", answered("-", "1 1")),
        ("completed", mode(VoiceMode::Answer, Some(60)), "Enable", answered("human", "60 1")),
        ("completed", mode(VoiceMode::Machine, Some(80)), "Enable", answered("machine_start", "80 2")),
        ("completed", mode(VoiceMode::Machine, Some(1)), "DetectMessageEnd", answered("machine_end_beep", "1 1")),
        ("busy", mode(VoiceMode::Busy, Some(9)), "", refused("busy 0 0 486")),
        ("no-answer", mode(VoiceMode::NoAnswer, None), "", refused("no-answer 0 0 487")),
        ("failed", mode(VoiceMode::Failed, None), "", vec![start[0].into(), "1 failed 0 0 404 -".into()]),
    ];
    for (row, (outcome, voice, detection, expected)) in rows.into_iter().enumerate() {
        simulator.set_voice(PERSON, voice).unwrap();
        let callback = format!("{}/status/{row}", answerer.url);
        let twiml = "<Response><Gather numDigits=\"1\" timeout=\"1\" action=\"/nowhere\"/></Response>";
        let mut form = vec![("Twiml", if detection.is_empty() { "<Response/>" } else { twiml }), ("Timeout", "20")];
        form.extend([("StatusCallback", callback.as_str()), ("StatusCallbackEvent", "initiated ringing")]);
        form.extend([("StatusCallbackEvent", "answered"), ("StatusCallbackEvent", "completed")]);
        form.extend((!detection.is_empty()).then_some(("MachineDetection", detection)));
        form.extend((row == 1).then_some(("StatusCallbackMethod", "GET")));
        let (code, made) = order(&simulator, &form).await;
        assert_eq!(code, 201, "{made}");
        let call = status(&simulator, made["sid"].as_str().unwrap(), outcome).await;
        let path = format!("/status/{row}");
        let told =
            wait_for("callbacks", || Some(answerer.values(&path, &names)).filter(|told| told.len() >= expected.len())).await;
        assert_eq!(told, expected, "{outcome}");
        let source = answerer.values(&path, &["CallbackSource", "CallSid"]);
        assert!(source.iter().all(|source| *source == format!("call-progress-events {}", call.sid)), "{source:?}");
        let times = answerer.values(&path, &["Timestamp"]);
        assert!(times.iter().all(|time| time.ends_with(" +0000")), "{times:?}");
        let machine = call.answered_by.as_deref().is_some_and(|who| who.starts_with("machine"));
        assert_eq!(lines(&call).iter().any(|line| line.starts_with('>')), !detection.is_empty() && !machine, "who presses keys");
    }
    // Completed alone when nothing else was asked for; a phone that is switched off cannot be reached.
    simulator.set_reachable(PERSON, false);
    let callback = format!("{}/status/off", answerer.url);
    let form = [("Twiml", "<Response/>"), ("StatusCallback", callback.as_str()), ("StatusCallbackEvent", "finished")];
    let (_, made) = order(&simulator, &form).await;
    let call = status(&simulator, made["sid"].as_str().unwrap(), "failed").await;
    assert_eq!(lines(&call), ["! 21626"], "an event that Twilio does not know");
    wait_for("the callback", || answerer.values("/status/off", &names).pop().filter(|told| told == "1 failed 0 0 480 -")).await;
    assert_eq!(answerer.values("/status/off", &names).len(), 1);
}

#[tokio::test]
async fn a_call_can_be_cancelled_redirected_and_hung_up() {
    let answerer = Answerer::start(PLANT).await;
    let hour = Duration::from_secs(3600);
    let simulator = simulator(Options { answer_after: hour, ..quick() }).await;
    let callback = format!("{}/status/", answerer.url);
    let (_, made) = order(&simulator, &[("Twiml", "<Response/>"), ("StatusCallback", &callback)]).await;
    let sid = made["sid"].as_str().unwrap().to_owned();
    let path = format!("Calls/{sid}.json");
    status(&simulator, &sid, "ringing").await;
    assert_eq!(post(&simulator, &path, &[("Url", &answerer.url)]).await.1["code"], 21220);
    assert_eq!(post(&simulator, &path, &[("Status", "gone")]).await.1["code"], 20001);
    let (code, canceled) = post(&simulator, &path, &[("Status", "canceled")]).await;
    assert_eq!((code, &canceled["status"], &canceled["duration"]), (200, &json!("canceled"), &Value::Null));
    for change in [("Status", "canceled"), ("Status", "completed"), ("Twiml", "<Response/>")] {
        let (code, refused) = post(&simulator, &path, &[change]).await;
        assert_eq!((code, &refused["code"]), (400, &json!(21220)), "{change:?}");
    }
    let names = ["CallStatus", "SequenceNumber", "SipResponseCode", "CallDuration"];
    wait_for("callback", || answerer.values("/status/", &names).pop().filter(|told| told == "canceled 2 487 0")).await;

    let simulator = self::simulator(Options { call_second: Duration::from_secs(60), ..quick() }).await;
    simulator.set_voice(PERSON, voice(VoiceMode::Answer, &[], Some(61))).unwrap();
    let (_, made) = order(&simulator, &[("Twiml", "<Response><Pause length=\"600\"/><Say>never</Say></Response>")]).await;
    let sid = made["sid"].as_str().unwrap().to_owned();
    let path = format!("Calls/{sid}.json");
    status(&simulator, &sid, "in-progress").await;
    assert_eq!(post(&simulator, &path, &[("Status", "canceled")]).await.1["code"], 21220);
    assert_eq!(post(&simulator, &path, &[("Twiml", "<Response><Say>changed</Say></Response>")]).await.0, 200);
    wait_for("the other document", || Some(lines(&find(&simulator, &sid))).filter(|lines| *lines == ["changed"])).await;
    let (_, ended) = post(&simulator, &path, &[("Status", "completed")]).await;
    assert_eq!((&ended["status"], &ended["duration"]), (&json!("completed"), &json!("61")));
    assert_eq!(find(&simulator, &sid).duration, Some(61));
}

#[tokio::test]
async fn refusals_have_twilios_codes_and_faults_apply() {
    let simulator = simulator(Options { blocked_prefixes: vec!["+44".into()], ..quick() }).await;
    let long = "x".repeat(4001);
    let twiml = ("Twiml", "<Response/>");
    let rows: Vec<(Vec<(&str, &str)>, u32)> = vec![
        (vec![("To", ""), twiml], 21201),
        (vec![("From", ""), twiml], 21213),
        (vec![], 21205),
        (vec![("Url", "ftp://a/b"), twiml], 21205),
        (vec![("ApplicationSid", "AP1")], 21218),
        (vec![("Twiml", &long)], 20001),
        (vec![("To", "12"), twiml], 21217),
        (vec![("From", "12"), twiml], 21212),
        (vec![("From", "+15550009999"), twiml], 21210),
        (vec![("To", "+441632960000"), twiml], 21215),
        (vec![("To", "+15005550002"), twiml], 21214),
        (vec![("To", "+15005550004"), twiml], 21216),
        (vec![("Timeout", "601"), twiml], 21208),
        (vec![("SendDigits", "1x"), twiml], 21206),
        (vec![("Method", "PUT"), twiml], 21209),
        (vec![("StatusCallback", "http://a_b.example"), twiml], 21609),
        (vec![("MachineDetection", "Yes"), twiml], 20001),
    ];
    for (form, code) in rows {
        let (status, answer) = order(&simulator, &form).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{form:?}");
    }
    assert!(simulator.fault(Fault { accepted: true, ..Fault::once(FaultKind::ServerError) }));
    assert_eq!(order(&simulator, &[twiml]).await.1["code"], 20500);
    assert!(simulator.fault(Fault::once(FaultKind::TooManyRequests)));
    assert_eq!(order(&simulator, &[twiml]).await.1["code"], 20429);
    assert_eq!(simulator.calls().len(), 1, "only the accepted one");

    let test = self::simulator(Options { test_credentials: true, ..quick() }).await;
    let rows = [(OURS, PERSON, json!(21210)), ("+15005550001", PERSON, json!(21212)), ("+15005550006", PERSON, Value::Null)];
    for (from, to, code) in rows {
        assert_eq!(order(&test, &[("From", from), ("To", to), twiml]).await.1["code"], code, "{from}");
    }
    assert!(test.calls().is_empty());
}

#[tokio::test]
async fn phones_are_told_and_asked_over_http() {
    let simulator = simulator(quick()).await;
    let url = format!("{}/simulator", simulator.url());
    let rows = [
        ("busy", 204),
        ("\"machine\"", 204),
        ("{\"mode\": \"answer\", \"digits\": [\"4711#\"], \"seconds\": 42}", 204),
        ("asleep", 400),
        ("{\"mode\": \"answer\", \"digits\": [\"47x\"]}", 400),
        ("{\"mood\": \"answer\"}", 400),
    ];
    for (body, expected) in rows {
        let answer = http().put(format!("{url}/phones/{PERSON}/voice")).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{body}");
    }
    let (_, made) = order(&simulator, &[("Twiml", "<Response><Gather><Say>PIN</Say></Gather></Response>")]).await;
    let sid = made["sid"].as_str().unwrap();
    status(&simulator, sid, "completed").await;
    let get = async |path: String| http().get(format!("{url}/{path}")).send().await.unwrap().json::<Value>().await.unwrap();
    let call = get(format!("calls/{sid}")).await;
    assert_eq!((&call["duration"], &call["status"]), (&json!(42), &json!("completed")));
    let said = json!([{ "kind": "said", "text": "PIN" }, { "kind": "pressed", "keys": "4711#" }]);
    assert_eq!(call["transcript"].as_array().unwrap()[..2], said.as_array().unwrap()[..]);
    assert_eq!(get(format!("phones/{PERSON}")).await["calls"], json!([call]));
    assert_eq!(get("calls".into()).await["calls"], json!([call]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_library_orders_reads_lists_and_changes_calls() {
    let Some(python) = tokio::task::spawn_blocking(peers::python).await.unwrap() else { return };
    let simulator = simulator(Options { answer_after: Duration::from_secs(3600), ..quick() }).await;
    simulator.set_voice("+15550003333", voice(VoiceMode::Failed, &[], None)).unwrap();
    let mut command = Command::new(&python);
    let arguments = ["calls".into(), simulator.url(), Options::default().account_sid, TOKEN.into()];
    let mut client = Child::start(command.arg(peers::script("twilio_helper.py")).args(arguments));
    let mut next = |name: &str| -> Value {
        let line: Value = serde_json::from_str(&client.line(&format!("\"name\": \"{name}\""), BOUND)).unwrap();
        line
    };
    let made = next("create");
    assert_eq!((&made["status"], &made["direction"]), (&json!("queued"), &json!("outbound-api")));
    assert_eq!(
        next("fetch"),
        json!({ "name": "fetch", "sid": made["sid"], "to": PERSON, "shown": "(555) 000-2222", "dated": true })
    );
    assert_eq!(next("list"), json!({ "name": "list", "count": 5, "own": true, "started": 5, "later": 0, "queued": 0 }));
    assert_eq!(next("cancel"), json!({ "name": "cancel", "status": "canceled", "duration": null }));
    let rows = [
        ("again", 400, 21220),
        ("no document", 400, 21205),
        ("to", 400, 21217),
        ("from", 400, 21210),
        ("unknown", 404, 20404),
        ("credentials", 401, 20003),
    ];
    for (name, status, code) in rows {
        assert_eq!(next(name), json!({ "name": name, "status": status, "code": code }));
    }
}

const CALLED: &[(&str, &str)] = &[
    ("/inbound", "<Response><Gather action=\"/keyed\" timeout=\"30\"><Say>Your PIN?</Say></Gather></Response>"),
    ("/keyed", "<Response><Say>Thank you</Say><Hangup/></Response>"),
    ("/no", "<Response><Reject/></Response>"),
];

#[tokio::test]
async fn a_phone_in_somebodys_hand_calls_answers_presses_and_hangs_up() {
    let answerer = Answerer::start(CALLED).await;
    let simulator = simulator(Options { call_second: Duration::from_millis(100), ..quick() }).await;
    let url = format!("{}/simulator", simulator.url());
    let act = async |path: &str, body: String| {
        let answer = http().post(format!("{url}/phones/{PERSON}/{path}")).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let urls = async |voice: &str| {
        let body = json!({ "voice": format!("{}{voice}", answerer.url), "status": format!("{}/status/in", answerer.url) });
        let answer = http().put(format!("{url}/voice-urls")).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204);
    };
    for path in ["answer", "hang-up", "call"] {
        assert_eq!(act(path, String::new()).await.0, 400, "{path}: there is no call, nor anybody to call");
    }
    simulator.set_voice(PERSON, voice(VoiceMode::Hand, &[], None)).unwrap();

    // It calls the account, and presses keys while the question is asked.
    urls("/inbound").await;
    let (code, made) = act("call", String::new()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let sid = made["sid"].as_str().unwrap_or_else(|| panic!("{code} {made}"));
    let asked = || Some(find(&simulator, sid)).filter(|call| !call.transcript.is_empty());
    wait_for("the question", asked).await;
    assert_eq!(act("keys", "47x".into()).await.0, 400);
    assert_eq!(act("keys", "47".into()).await.0, 204);
    assert_eq!(act("keys", "11#".into()).await.0, 204);
    let call = status(&simulator, sid, "completed").await;
    assert_eq!(lines(&call), ["Your PIN?", "> 4711#", "Thank you"]);
    assert_eq!((call.from.as_str(), call.to.as_str()), (PERSON, OURS));
    let names = ["Digits", "CallStatus", "Direction", "From"];
    assert_eq!(answerer.values("/inbound", &names), [format!("- ringing inbound {PERSON}")]);
    assert_eq!(answerer.values("/keyed", &names), [format!("4711 in-progress inbound {PERSON}")]);
    let ended = || Some(answerer.values("/status/in", &["CallStatus", "Duration"])).filter(|told| !told.is_empty());
    assert_eq!(wait_for("the report", ended).await, ["completed 1"]);

    urls("/no").await;
    let sid = simulator.call(PERSON, None).unwrap();
    assert!(status(&simulator, &sid, "busy").await.transcript.is_empty());

    // It is called: it rings until it is taken, or not.
    let twiml = ("Twiml", "<Response><Pause length=\"100\"/></Response>");
    for (acts, expected) in [(&["hang-up"][..], "busy"), (&["answer", "hang-up"], "completed")] {
        let (_, made) = order(&simulator, &[twiml]).await;
        let sid = made["sid"].as_str().unwrap().to_owned();
        status(&simulator, &sid, "ringing").await;
        for path in acts {
            assert_eq!(act(path, String::new()).await.0, 204);
            if *path == "answer" {
                status(&simulator, &sid, "in-progress").await;
            }
        }
        status(&simulator, &sid, expected).await;
    }
}

#[tokio::test]
async fn reports_may_be_lost_and_people_hang_up() {
    let answerer = Answerer::start(CALLED).await;
    let simulator = simulator(quick()).await;
    let path = |row: usize| format!("/status/{row}");
    for (row, (reports, expected)) in [
        (Reports::InOrder, vec!["in-progress", "completed"]),
        (Reports::Repeated, vec!["in-progress", "in-progress", "completed", "completed", "in-progress", "completed"]),
        (Reports::Reversed, vec!["completed", "in-progress"]),
        (Reports::Lost, vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let hangs_up = Voice { hangs_up: true, reports, ..voice(VoiceMode::Answer, &["1"], None) };
        simulator.set_voice(PERSON, hangs_up).unwrap();
        let url = format!("{}/inbound", answerer.url);
        let callback = format!("{}{}", answerer.url, path(row));
        let events = [("StatusCallbackEvent", "answered"), ("StatusCallbackEvent", "completed")];
        let twiml = "<Response><Gather numDigits=\"1\" action=\"/nowhere\"><Say>First</Say></Gather></Response>";
        let more = if row == 0 { ("Url", url.as_str()) } else { ("Twiml", twiml) };
        let form = [vec![more, ("StatusCallback", callback.as_str())], events.to_vec()].concat();
        let (_, made) = order(&simulator, &form).await;
        let call = status(&simulator, made["sid"].as_str().unwrap(), "completed").await;
        if row == 0 {
            assert_eq!(lines(&call), ["Your PIN?", "> 1", "Thank you"]);
        }
        let told = || Some(answerer.values(&path(row), &["CallStatus"])).filter(|told| told.len() >= expected.len());
        assert_eq!(wait_for("reports", told).await, expected, "{reports:?}");
    }
    let twice = "<Response><Gather numDigits=\"1\" timeout=\"99\"><Say>PIN?</Say></Gather><Say>Still there?</Say></Response>";
    simulator.set_voice(PERSON, Voice { hangs_up: true, ..Voice::default() }).unwrap();
    let (_, made) = order(&simulator, &[("Twiml", twice)]).await;
    let call = status(&simulator, made["sid"].as_str().unwrap(), "completed").await;
    assert_eq!(lines(&call), ["PIN?"], "hung up where a key was wanted");
}
