//! Calls without the engine: our TwiML against Twilio's library, the notifier against the simulator, the voice webhooks.

use std::{process::Command, sync::Arc, sync::atomic::Ordering, time::Duration};

use annunciator::{
    engine::{
        io::{
            AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, DeliveryState, Lookup, OutboxId, Outgoing, PlaceCall,
            SendFailure, Verb,
        },
        plan::{Channel, TwilioDef},
    },
    notify::{Notifier, signature::Payload, twilio::Twilio, twiml},
    serve::{http::Limits, webhooks::Reason},
    simulate::twilio::{CallLine, Fault, FaultKind, Options, Running, Voice, VoiceMode},
    tag::Timestamp,
};
use serde_json::{Value, json};

use crate::{
    support::{
        BOUND, peers,
        process::Child,
        twilio::{OURS, PERSON, TOKEN, profile, simulator, text, wait_for},
    },
    webhooks::{EXTERNAL, Site, callable, form, post, signed, site},
};

const SECOND: Duration = Duration::from_secs(1);
const CALL: &str = "CA00000000000000000000000000000003";

fn document(verbs: Vec<Verb>) -> CallDocument {
    CallDocument { id: "7".into(), turn: 4, profile: None, language: "en-GB".into(), voice: None, verbs }
}

fn say(text: &str) -> Verb {
    Verb::Say(text.into())
}

/// An order for a call to [`PERSON`].
fn order(row: u64, document: Option<CallDocument>) -> Outgoing {
    let call = PlaceCall { ring_timeout: 25 * SECOND, machine_detection: true, document };
    Outgoing { channel: Channel::Voice, call: Some(call), ..text(row, "Tank level") }
}

fn sender(simulator: &Running, external_url: Option<&str>) -> Twilio {
    let external_url = external_url.map(str::to_owned);
    Twilio::new(Arc::new(TwilioDef { external_url, ..profile(&simulator.url()) })).unwrap()
}

fn voice(mode: VoiceMode, digits: &[&str]) -> Voice {
    Voice { mode, digits: digits.iter().map(|keys| (*keys).to_owned()).collect(), ..Voice::default() }
}

/// The last parameter of this name in the last request for a call.
fn parameter(simulator: &Running, name: &str) -> Option<String> {
    let request =
        simulator.requests().into_iter().rfind(|request| request.path.ends_with("/Calls.json") && request.method == "POST");
    let found = request?.parameters.into_iter().rfind(|(key, _)| key == name);
    found.map(|(_, value)| value)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_twiml_is_what_the_official_library_writes() {
    let Some(python) = tokio::task::spawn_blocking(peers::python).await.unwrap() else { return };
    let hostile = "Tank <1> & \"P&ID\" 'x' ]]> \u{7}\u{0}\u{1b}[31m ° µ 🔥 \u{202e}rtl\u{85} &amp; <Say>no</Say>";
    let gather = |action, digits| Verb::Gather {
        action,
        digits,
        timeout: Duration::from_millis(9500),
        say: vec!["Your PIN, please".into(), hostile.into()],
    };
    let cases = [
        ("empty", document(vec![])),
        ("reject", document(vec![Verb::Reject])),
        ("said twice", document(vec![say("Pump fault"), Verb::Pause(SECOND), say("Pump fault"), Verb::Hangup])),
        ("hostile", document(vec![say(hostile), gather(CallAction::Menu, Some(1)), Verb::Redirect(CallAction::Ack)])),
        ("pin", document(vec![gather(CallAction::Pin, None)])),
        ("voice", CallDocument { voice: Some("Polly.Vicki<\"&'>".into()), language: "de-DE".into(), ..document(vec![say("ä")]) }),
    ];
    let cases: Vec<Value> = cases
        .iter()
        .map(|(name, document)| {
            let ours = twiml::render(document, Some(EXTERNAL), twiml::MAX_ANSWER);
            json!({ "name": name, "document": document, "ours": ours })
        })
        .collect();
    let mut library = Child::start(Command::new(&python).arg(peers::script("twilio_helper.py")).args([
        "twiml".to_owned(),
        EXTERNAL.to_owned(),
        Value::from(cases.clone()).to_string(),
    ]));
    for case in &cases {
        let verdict: Value = serde_json::from_str(&library.line("\"equal\"", BOUND)).unwrap();
        assert_eq!((&verdict["name"], &verdict["equal"]), (&case["name"], &json!(true)), "{verdict:#}");
    }
}

#[tokio::test]
async fn a_call_is_asked_what_it_says_and_tells_how_it_fares() {
    let site = site(vec![callable("LISTENER")], Limits::default()).await;
    let simulator = simulator(Options::default()).await;
    let twilio = sender(&simulator, Some(&site.url));
    let gather = Verb::Gather { action: CallAction::Pin, digits: None, timeout: 8 * SECOND, say: vec!["PIN?".into()] };
    *site.gateway.document.lock().unwrap() = Some(document(vec![gather]));
    simulator.set_voice(PERSON, voice(VoiceMode::Answer, &["4711#", "", "#"])).unwrap();
    let accepted = twilio.send(&order(7, None)).await.unwrap();
    assert_eq!((accepted.status, accepted.segments), (DeliveryState::Queued, 0));
    let asked = |action, count| {
        let site = &site;
        move || {
            let found = site.gateway.calls().into_iter().filter(|call| call.action == action);
            Some(found.collect::<Vec<_>>()).filter(|found| found.len() >= count)
        }
    };
    let pins = wait_for("keys", asked(CallAction::Pin, 3)).await;
    let keyed: Vec<_> = pins.iter().take(3).map(|call| (call.digits.as_deref(), call.turn, call.row)).collect();
    let row = Some(OutboxId(7));
    assert_eq!(keyed, [(Some("4711"), Some(4), row), (None, Some(4), row), (None, Some(4), row)]);
    *site.gateway.document.lock().unwrap() = Some(document(vec![say("Thank you"), Verb::Hangup]));
    let ended = |call: &CallEvent| call.status == Some(CallStatus::Completed);
    let last = wait_for("the end", || site.gateway.calls().into_iter().find(ended)).await;
    assert!(last.sid == accepted.sid && last.duration.is_some_and(|seconds| seconds > 0), "{last:?}");
    assert_eq!((last.row, last.from.as_str(), last.to.as_str(), last.turn), (row, OURS, PERSON, None));
    let verdict = site.gateway.calls().into_iter().find(|call| call.answered_by.is_some() && call.status.is_none()).unwrap();
    assert_eq!((verdict.answered_by, verdict.action, verdict.row), (Some(AnsweredBy::Human), CallAction::Status, row));
    let words: Vec<_> = [CallStatus::Initiated, CallStatus::Ringing, CallStatus::InProgress]
        .into_iter()
        .filter(|status| {
            site.gateway.calls().iter().any(|call| call.action == CallAction::Status && call.status == Some(*status))
        })
        .collect();
    assert_eq!(words.len(), 3);
    for (name, expected) in [("Timeout", "25"), ("AsyncAmd", "true"), ("Method", "POST")] {
        assert_eq!(parameter(&simulator, name).as_deref(), Some(expected), "{name}");
    }
    let first = site.gateway.calls().into_iter().find(|call| call.action == CallAction::Answer).unwrap();
    assert_eq!((first.row, first.turn, first.digits), (row, None, None));
}

#[tokio::test]
async fn what_nobody_can_be_asked_is_said_inline() {
    let simulator = simulator(Options::default()).await;
    let twilio = sender(&simulator, None);
    let said = document(vec![say("Pump <fault>"), Verb::Pause(SECOND), say("Pump <fault>"), Verb::Hangup]);
    let accepted = twilio.send(&order(8, Some(said))).await.unwrap();
    let record = wait_for("the end", || simulator.calls().into_iter().find(|call| call.status == "completed")).await;
    let line = CallLine::Said { text: "Pump <fault>".into() };
    assert_eq!(record.transcript, [line.clone(), line]);
    for name in ["Url", "StatusCallback", "MachineDetection"] {
        assert_eq!(parameter(&simulator, name), None, "{name}: nobody would hear of it");
    }
    let fetched = twilio.call(&accepted.sid).await.unwrap().unwrap();
    assert_eq!((fetched.status, fetched.duration), (Some(CallStatus::Completed), record.duration));
    assert_eq!((fetched.to.as_str(), fetched.row, fetched.action), (PERSON, None, CallAction::Status));
    assert_eq!(twilio.call(CALL).await, Ok(None), "unknown to Twilio");
    assert!(twilio.call("../Messages").await.is_err());

    let homeless = twilio.send(&order(9, None)).await;
    assert!(matches!(homeless, Err(SendFailure::Permanent { code: 0, .. })), "{homeless:?}");
    let numberless = TwilioDef { from: None, messaging_service_sid: Some(format!("MG{:032}", 1)), ..profile(&simulator.url()) };
    let numberless = Twilio::new(Arc::new(numberless)).unwrap().send(&order(9, Some(document(vec![])))).await;
    assert!(matches!(numberless, Err(SendFailure::Permanent { code: 21213, .. })), "{numberless:?}");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let simulator = simulator(Options { blocked_prefixes: vec!["+44".into()], ..Options::default() }).await;
    let twilio = sender(&simulator, None);
    let said = || Some(document(vec![say("x")]));
    for (to, expected, advice) in [
        ("+441632960000", 21215, "Geo permissions"),
        ("+15005550001", 21217, "country code"),
        ("+15005550002", 21214, "cannot be reached"),
        ("+15005550004", 21216, "another number"),
    ] {
        let refused = twilio.send(&Outgoing { to: to.into(), ..order(9, said()) }).await;
        let Err(SendFailure::Permanent { code, advice: given, account: false, .. }) = refused else {
            panic!("{to}: {refused:?}")
        };
        assert!(code == expected && given.contains(advice), "{code}: {given}");
    }
    let foreign = TwilioDef { from: Some("+15550009999".into()), ..profile(&simulator.url()) };
    let foreign = Twilio::new(Arc::new(foreign)).unwrap().send(&order(9, said())).await;
    assert!(matches!(foreign, Err(SendFailure::Permanent { code: 21210, .. })), "{foreign:?}");
    assert!(simulator.fault(Fault::once(FaultKind::TooManyRequests)));
    assert!(matches!(twilio.send(&order(9, said())).await, Err(SendFailure::Retry { .. })));
}

#[tokio::test]
async fn a_call_whose_fate_is_unknown_is_found() {
    let simulator = simulator(Options { answer_after: Duration::from_secs(3600), ..Options::default() }).await;
    let twilio = sender(&simulator, None);
    let other = Outgoing { to: "+15550003333".into(), ..order(1, Some(document(vec![say("other")]))) };
    twilio.send(&other).await.unwrap();
    let since: Timestamp = jiff::Timestamp::now().into();
    assert!(simulator.fault(Fault { accepted: true, ..Fault::once(FaultKind::ServerError) }));
    let message = order(7, Some(document(vec![say("x")])));
    let lost = twilio.send(&message).await;
    assert!(matches!(lost, Err(SendFailure::Ambiguous { .. })), "{lost:?}");
    let found = twilio.lookup(&Lookup { message: message.clone(), since }).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].sid, simulator.calls().last().unwrap().sid);
    let later: Timestamp = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(10)).into();
    assert_eq!(twilio.lookup(&Lookup { message, since: later }).await, Ok(vec![]));
}

#[tokio::test]
async fn a_call_that_is_not_needed_ends_in_every_state() {
    let options = Options { answer_after: Duration::from_secs(1), call_second: Duration::from_millis(200), ..Options::default() };
    let simulator = simulator(options).await;
    let twilio = sender(&simulator, Some(EXTERNAL));
    let farewell = document(vec![say("Bob has acknowledged. Goodbye"), Verb::Hangup]);
    let long = || Some(document(vec![say("Pump fault"), Verb::Pause(60 * SECOND), say("Pump fault")]));
    let state = async |sid: &str, status: &str| {
        let find = || simulator.calls().into_iter().find(|call| call.sid == sid && call.status == status);
        wait_for(status, find).await
    };
    let rings = twilio.send(&order(1, long())).await.unwrap().sid;
    state(&rings, "ringing").await;
    twilio.end_call(&rings, &farewell).await.unwrap();
    assert!(state(&rings, "canceled").await.transcript.is_empty());

    let speaks = twilio.send(&order(2, long())).await.unwrap().sid;
    state(&speaks, "in-progress").await;
    twilio.end_call(&speaks, &farewell).await.unwrap();
    let record = state(&speaks, "completed").await;
    let said = |text: &str| CallLine::Said { text: text.into() };
    assert_eq!(record.transcript, [said("Pump fault"), said("Bob has acknowledged. Goodbye")]);
    twilio.end_call(&speaks, &farewell).await.expect("it has ended already");

    let wordless = twilio.send(&order(3, long())).await.unwrap().sid;
    state(&wordless, "in-progress").await;
    twilio.end_call(&wordless, &document(vec![])).await.unwrap();
    state(&wordless, "completed").await;
    assert!(simulator.fault(Fault::once(FaultKind::ServerError)));
    assert!(twilio.end_call(&wordless, &farewell).await.is_err(), "worth another attempt");
}

/// What a report holds, and what is made of it.
type Told = (&'static [(&'static str, &'static str)], Option<CallStatus>, Option<AnsweredBy>, Option<u32>);

/// What Twilio sends about a call.
fn call_form(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let account = Options::default().account_sid;
    let mut pairs = form(&[("CallSid", CALL), ("AccountSid", &account), ("From", OURS), ("To", PERSON), ("ToCity", "")]);
    pairs.extend(form(more));
    pairs
}

async fn ask(site: &Site, path: &str, form: &[(String, String)]) -> (u16, String) {
    post(site, path, form, Some(&signed(path, form))).await
}

#[tokio::test]
async fn voice_webhooks_take_what_twilio_signed_and_answer_in_twiml() {
    let second = TwilioDef { name: "second".into(), ..callable(EXTERNAL) };
    let site = site(vec![callable(EXTERNAL), second], Limits::default()).await;
    let path = |rest: &str| format!("/main/system/twilio-voice/{rest}");
    *site.gateway.document.lock().unwrap() = Some(document(vec![say("PIN & more?"), Verb::Hangup]));

    let menu = path("menu/7?turn=12");
    let keyed = call_form(&[("CallStatus", "in-progress"), ("Digits", "12"), ("msg", "Gather End")]);
    assert_eq!(post(&site, &menu, &keyed, None).await.0, 403);
    assert_eq!(post(&site, &menu, &keyed, Some(&signed(&path("menu/7?turn=13"), &keyed))).await.0, 403, "the turn is signed");
    let mut forged = keyed.clone();
    forged[6].1 = "1".into();
    assert_eq!(post(&site, &menu, &forged, Some(&signed(&menu, &keyed))).await.0, 403);
    assert!(site.gateway.calls().is_empty());
    let (status, xml) = ask(&site, &menu, &keyed).await;
    assert_eq!(status, 200);
    assert!(xml.ends_with("<Response><Say language=\"en-GB\">PIN &amp; more?</Say><Hangup/></Response>"), "{xml}");
    let event = CallEvent {
        twilio: "main".into(),
        action: CallAction::Menu,
        row: Some(OutboxId(7)),
        sid: CALL.into(),
        from: OURS.into(),
        to: PERSON.into(),
        turn: Some(12),
        digits: Some("12".into()),
        answered_by: None,
        status: Some(CallStatus::InProgress),
        duration: None,
        error_code: None,
    };
    assert_eq!(site.gateway.calls(), [event]);

    // What the last part may be, and what belongs to it.
    let plain = call_form(&[("CallStatus", "ringing")]);
    let strange = form(&[("CallSid", CALL), ("AccountSid", "AC00000000000000000000000000009999")]);
    let rows = [
        (path("inbound/second"), &plain, 200),
        (path("inbound/nobody"), &plain, 404),
        (path("inbound/7"), &plain, 404),
        (path(&format!("pin/{CALL}")), &plain, 200),
        (path("pin/CA00000000000000000000000000000004"), &plain, 400),
        (path("pin/main"), &plain, 404),
        (path("status/second"), &plain, 204),
        (path(&format!("status/{CALL}")), &plain, 204),
        (path("sing/7"), &plain, 404),
        (path("answer"), &plain, 404),
        (path("answer/7"), &strange, 404),
    ];
    for (path, form, expected) in rows {
        assert_eq!(ask(&site, &path, form).await.0, expected, "{path}");
    }
    let got: Vec<_> = site.gateway.calls().into_iter().skip(1).map(|call| (call.twilio, call.action, call.row)).collect();
    let expected = [
        ("second", CallAction::Inbound),
        ("main", CallAction::Pin),
        ("second", CallAction::Status),
        ("main", CallAction::Status),
    ];
    assert_eq!(got, expected.map(|(twilio, action)| (twilio.to_owned(), action, None)));

    // Reports in all their forms; one that tells nothing new is not handed on.
    let before = site.gateway.calls().len();
    let rows: [Told; 4] = [
        (&[("CallStatus", "completed"), ("CallDuration", "61"), ("Duration", "2")], Some(CallStatus::Completed), None, Some(61)),
        (&[("CallStatus", "completed"), ("Duration", "2")], Some(CallStatus::Completed), None, Some(120)),
        (&[("AnsweredBy", "machine_start"), ("MachineDetectionDuration", "3100")], None, Some(AnsweredBy::Machine), None),
        (&[("CallStatus", "busy"), ("AnsweredBy", "fax")], Some(CallStatus::Busy), Some(AnsweredBy::Fax), None),
    ];
    for (more, ..) in &rows {
        assert_eq!(ask(&site, &path("status/7"), &call_form(more)).await, (204, String::new()));
    }
    for more in [("CallStatus", "teleported"), ("AnsweredBy", "somebody")] {
        assert_eq!(ask(&site, &path("status/7"), &call_form(&[more])).await.0, 204);
    }
    let got: Vec<_> =
        site.gateway.calls().into_iter().skip(before).map(|call| (call.status, call.answered_by, call.duration)).collect();
    assert_eq!(got, rows.map(|(_, status, by, duration)| (status, by, duration)));
    for (keys, expected) in [("4711#", Some("4711")), ("", None), ("#", None), ("*1", Some("*1"))] {
        assert_eq!(ask(&site, &path("pin/7"), &call_form(&[("Digits", keys)])).await.0, 200);
        assert_eq!(site.gateway.calls().last().unwrap().digits.as_deref(), expected);
    }
}

#[tokio::test]
async fn a_call_says_that_nothing_was_recorded() {
    let site = site(vec![callable(EXTERNAL)], Limits::default()).await;
    site.gateway.broken.store(true, Ordering::SeqCst);
    let keyed = call_form(&[("Digits", "1")]);
    let (status, xml) = ask(&site, "/main/system/twilio-voice/menu/7?turn=2", &keyed).await;
    assert!(status == 200 && xml.contains("cannot be recorded") && xml.ends_with("<Hangup/></Response>"), "{status} {xml}");
    let report = call_form(&[("CallStatus", "completed")]);
    assert_eq!(ask(&site, "/main/system/twilio-voice/status/7", &report).await.0, 503, "Twilio tells again");
    assert_eq!(site.rejects.count(Reason::Store), 2);
    site.gateway.broken.store(false, Ordering::SeqCst);
    let (_, xml) = ask(&site, "/main/system/twilio-voice/menu/7?turn=2", &keyed).await;
    assert!(xml.ends_with("<Response><Hangup/></Response>"), "without a document the call ends: {xml}");
    let signature = annunciator::notify::signature::sign("wrong", EXTERNAL, Payload::Form(&keyed));
    assert_eq!(post(&site, "/main/system/twilio-voice/menu/7", &keyed, Some(&signature)).await.0, 403);
    assert_ne!(TOKEN, "wrong");
}
