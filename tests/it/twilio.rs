//! The Twilio notifier against the simulator, and against servers that misbehave on the wire.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use annunciator::{
    clock,
    engine::{
        io::{Accepted, DeliveryState, Lookup, Outgoing, SendFailure},
        plan::{Secret, TwilioDef},
    },
    notify::{
        Notifier,
        twilio::{Timeouts, Twilio},
    },
    simulate::twilio::{Fault, FaultKind, Options, Running},
    tag::Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::twilio::{OURS, PERSON, TOKEN, profile, simulator, text, wait_for};

const SERVICE: &str = "MG00000000000000000000000000000001";
const QUICK: Timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(2) };

fn notifier(profile: TwilioDef) -> Twilio {
    Twilio::with_timeouts(Arc::new(profile), QUICK).unwrap()
}

fn class(result: &Result<Accepted, SendFailure>) -> String {
    match result {
        Ok(_) => "accepted".into(),
        Err(SendFailure::Retry { code, after, .. }) => {
            format!("retry {} {}", code.unwrap_or(0), after.map_or(0, |a| a.as_secs()))
        }
        Err(SendFailure::Ambiguous { .. }) => "ambiguous".into(),
        Err(SendFailure::Permanent { code, account, opted_out, .. }) => format!("permanent {code} {account} {opted_out}"),
    }
}

/// What the simulator's phone got.
fn got(simulator: &Running, body: &str) -> usize {
    simulator.phone(PERSON).iter().filter(|message| message.body.ends_with(body)).count()
}

#[tokio::test]
async fn every_fault_has_its_class_and_the_list_tells_the_truth() {
    let simulator = simulator(Options::default()).await;
    let twilio = notifier(profile(&simulator.url()));
    let fault = |kind, accepted| Some(Fault { accepted, ..Fault::once(kind) });
    // The fault, the class of the attempt, and how many messages Twilio then really has.
    let rows: Vec<(Option<Fault>, &str, usize)> = vec![
        (None, "accepted", 1),
        (fault(FaultKind::TooManyRequests, false), "retry 20429 0", 0),
        (Some(Fault { retry_after: Some(3), ..Fault::once(FaultKind::TooManyRequests) }), "retry 20429 3", 0),
        (fault(FaultKind::ServerError, false), "ambiguous", 0),
        (fault(FaultKind::ServerError, true), "ambiguous", 1),
        (fault(FaultKind::Unavailable, true), "ambiguous", 1),
        (fault(FaultKind::Html, false), "ambiguous", 0),
        (fault(FaultKind::Html, true), "ambiguous", 1),
        (fault(FaultKind::Reset, false), "ambiguous", 0),
        (fault(FaultKind::Reset, true), "ambiguous", 1),
        (fault(FaultKind::Truncate, false), "ambiguous", 1),
        (Some(Fault { delay_ms: 20_000, ..Fault::once(FaultKind::Delay) }), "ambiguous", 1),
    ];
    for (row, (fault, expected, there)) in (1..).zip(rows) {
        let message = text(row, &format!("case {row}"));
        let since = clock::now();
        if let Some(fault) = fault.clone() {
            assert!(simulator.fault(fault));
        }
        let result = twilio.send(&message).await;
        assert_eq!(class(&result), expected, "{fault:?}");
        assert_eq!(got(&simulator, &message.body), there, "{fault:?}");
        let found = twilio.lookup(&Lookup { message, since }).await.unwrap();
        assert_eq!(found.len(), there, "{fault:?}: {found:?}");
        if let (Ok(accepted), [found]) = (result, found.as_slice()) {
            assert_eq!((accepted.sid, accepted.segments), (found.sid.clone(), found.segments));
        }
    }
}

#[tokio::test]
async fn refusals_are_told_with_their_code() {
    let simulator = simulator(Options { blocked_prefixes: vec!["+44".into()], ..Options::default() }).await;
    let url = simulator.url();
    let to = |number: &str| Outgoing { to: number.into(), ..text(1, "hello") };
    let with = |change: fn(&mut TwilioDef)| {
        let mut profile = profile(&url);
        change(&mut profile);
        profile
    };
    let rows: Vec<(TwilioDef, Outgoing, &str)> = vec![
        (with(|_| {}), to("12"), "permanent 21211 false false"),
        (with(|_| {}), to("+441632960000"), "permanent 21408 false false"),
        (with(|_| {}), to("+15005550009"), "permanent 21614 false false"),
        (with(|_| {}), to(OURS), "permanent 21266 false false"),
        (with(|_| {}), text(1, &"x".repeat(1601)), "permanent 21617 false false"),
        (with(|_| {}), text(1, ""), "permanent 21602 false false"),
        (with(|profile| profile.from = None), to(PERSON), "permanent 21603 false false"),
        (with(|profile| profile.from = Some("+15550009999".into())), to(PERSON), "permanent 21606 false false"),
        (with(|profile| profile.messaging_service_sid = Some(SERVICE.into())), to(PERSON), "permanent 21705 false false"),
        (
            with(|profile| profile.external_url = Some("https://a_b.example.com".into())),
            to(PERSON),
            "permanent 21609 false false",
        ),
        (with(|profile| profile.auth_token = Secret::new("wrong")), to(PERSON), "permanent 20003 true false"),
        (with(|profile| profile.account_sid = "AC0".into()), to(PERSON), "permanent 20003 true false"),
    ];
    for (profile, message, expected) in rows {
        let result = notifier(profile).send(&message).await;
        assert_eq!(class(&result), expected, "{message:?}");
        let Err(SendFailure::Permanent { advice, .. }) = result else { unreachable!() };
        assert!(advice.contains(": "), "advice says what to do: {advice}");
    }
    assert!(simulator.phone(PERSON).is_empty());
}

#[tokio::test]
async fn whoever_texts_stop_is_marked_until_start() {
    let simulator = simulator(Options::default()).await;
    let twilio = notifier(profile(&simulator.url()));
    simulator.text(PERSON, None, " stop ").await.unwrap();
    assert_eq!(class(&twilio.send(&text(1, "a")).await), "permanent 21610 false true");
    simulator.text(PERSON, None, "Start").await.unwrap();
    assert_eq!(class(&twilio.send(&text(2, "b")).await), "accepted");
}

#[tokio::test]
async fn an_api_key_sends_in_place_of_the_token() {
    let key = "SK00000000000000000000000000000001";
    let simulator = simulator(Options { api_keys: vec![(key.into(), "key-secret".into())], ..Options::default() }).await;
    let mut profile = profile(&simulator.url());
    profile.auth_token = Secret::new("only for webhooks");
    profile.api_key = Some((key.into(), Secret::new("key-secret")));
    profile.external_url = Some("https://plant.example.com".into());
    assert_eq!(class(&notifier(profile).send(&text(77, "a")).await), "accepted");
    let requests = simulator.requests();
    assert_eq!(requests[0].user.as_deref(), Some(key));
    let value = |name: &str| requests[0].parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(value("To"), Some(PERSON));
    assert_eq!(value("From"), Some(OURS));
    assert_eq!(value("ValidityPeriod"), Some("600"));
    let callback = "https://plant.example.com/main/system/twilio-sms/status/77#rc=3&rp=5xx,ct,rt";
    assert_eq!(value("StatusCallback"), Some(callback));
}

#[tokio::test]
async fn a_lookup_finds_only_what_may_be_the_message() {
    let trial = Options { trial: true, verified: vec![PERSON.into(), "+15550003333".into()], ..Options::default() };
    let simulator = simulator(trial).await;
    let twilio = notifier(profile(&simulator.url()));
    let before = clock::now();
    let mut sids = Vec::new();
    for body in ["same", "other", "same"] {
        sids.push(twilio.send(&text(1, body)).await.unwrap().sid);
    }
    twilio.send(&Outgoing { to: "+15550003333".into(), ..text(1, "same") }).await.unwrap();
    // An inbound text with the same words is none of ours.
    simulator.text(PERSON, None, "same").await.unwrap();
    let found = twilio.lookup(&Lookup { message: text(1, "same"), since: before }).await.unwrap();
    let found: Vec<&str> = found.iter().map(|accepted| accepted.sid.as_str()).collect();
    assert_eq!(found, [&sids[0], &sids[2]], "oldest first");
    let later = clock::now() + Duration::from_secs(5);
    assert!(twilio.lookup(&Lookup { message: text(1, "same"), since: later }).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lookup_follows_pages_and_knows_a_messaging_service() {
    let services = vec![(SERVICE.to_owned(), vec![OURS.to_owned()])];
    let simulator = simulator(Options { messaging_services: services, ..Options::default() }).await;
    let mut profile = profile(&simulator.url());
    profile.messaging_service_sid = Some(SERVICE.into());
    let twilio = notifier(profile);
    let since = clock::now();
    let first = twilio.send(&text(1, "needle")).await.unwrap();
    assert_eq!(first.status, DeliveryState::Accepted);
    for number in 0..230 {
        twilio.send(&text(2, &format!("hay {number}"))).await.unwrap();
    }
    let found = twilio.lookup(&Lookup { message: text(1, "needle"), since }).await.unwrap();
    assert_eq!(found.iter().map(|accepted| &accepted.sid).collect::<Vec<_>>(), [&first.sid]);
    let pages = simulator.requests().iter().filter(|request| request.method == "GET").count();
    assert!(pages >= 4, "two questions of three pages each, or fewer where nothing is newer: {pages}");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_an_error() {
    let simulator = simulator(Options::default()).await;
    let twilio = notifier(profile(&simulator.url()));
    let lookup = Lookup { message: text(1, "x"), since: clock::now() };
    for (kind, words) in [
        (FaultKind::ServerError, "20500"),
        (FaultKind::TooManyRequests, "20429"),
        (FaultKind::Html, "not what Twilio documents"),
        (FaultKind::Truncate, "broke off"),
        (FaultKind::Reset, "read Twilio's list"),
    ] {
        assert!(simulator.fault(Fault::once(kind)));
        let error = twilio.lookup(&lookup).await.unwrap_err();
        assert!(error.contains(words), "{kind:?}: {error}");
        assert!(!error.contains(PERSON) && !error.contains("5550002222"), "no numbers in errors: {error}");
    }
}

#[tokio::test]
async fn an_outbound_only_site_polls_replies_and_statuses() {
    let simulator = simulator(Options::default()).await;
    let twilio = notifier(profile(&simulator.url()));
    let start = clock::now();
    let sent = twilio.send(&text(1, "alarm")).await.unwrap();
    simulator.set_reachable("+15550003333", false);
    let lost = twilio.send(&Outgoing { to: "+15550003333".into(), ..text(2, "alarm") }).await.unwrap();
    let first = simulator.text(PERSON, None, "1234").await.unwrap();
    let second = simulator.text("+15550003333", None, "4321").await.unwrap();

    let texts = twilio.received(start).await.unwrap();
    let shown: Vec<_> =
        texts.iter().map(|text| (text.sid.as_str(), text.from.as_str(), text.to.as_str(), text.body.as_str())).collect();
    let expected = [(first.sid.as_str(), PERSON, OURS, "1234"), (second.sid.as_str(), "+15550003333", OURS, "4321")];
    assert_eq!(shown, expected);
    assert!(
        texts.iter().all(|text| text.twilio == "main" && text.received.is_some_and(|time| time >= start && time <= clock::now()))
    );
    assert!(twilio.received(clock::now() + Duration::from_secs(5)).await.unwrap().is_empty());

    wait_for("delivery", || {
        let state = |number| simulator.phone(number).first().map(|text| text.status.clone());
        (state(PERSON)? == "delivered" && state("+15550003333")? == "undelivered").then_some(())
    })
    .await;
    assert_eq!(twilio.status(&sent.sid).await, Ok(Some((DeliveryState::Delivered, None))));
    assert_eq!(twilio.status(&lost.sid).await, Ok(Some((DeliveryState::Undelivered, Some(30003)))));
    assert_eq!(twilio.status("SM00000000000000000000000000000000").await, Ok(None));
    assert!(twilio.status("../Calls").await.is_err());
    assert_eq!(twilio.status(&first.sid).await, Ok(None), "received is no delivery state");
}

/// Accepts one connection after the other and treats each as told; gives back where.
async fn wire(treat: &'static [u8], read_first: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_first {
                let _ = stream.read(&mut [0; 4096]).await;
            }
            let _ = stream.write_all(treat).await;
        }
    });
    address
}

#[tokio::test]
async fn only_a_failure_to_connect_proves_that_nothing_was_sent() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let closing = wire(b"", false).await;
    let garbage = wire(b"SSH-2.0-OpenSSH_9.9\r\n", true).await;
    let cut = wire(b"HTTP/1.1 201 CREATED\r\nContent-Length: 500\r\n\r\n{\"sid\": \"SM", true).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rows = [
        (format!("http://{closed}"), "retry 0 0"),
        (format!("https://{garbage}"), "retry 0 0"),
        ("http://no-such-host.invalid".to_owned(), "retry 0 0"),
        (format!("http://{closing}"), "ambiguous"),
        (format!("http://{garbage}"), "ambiguous"),
        (format!("http://{cut}"), "ambiguous"),
        (format!("http://{}", silent.local_addr().unwrap()), "ambiguous"),
    ];
    for (url, expected) in rows {
        let timeouts = Timeouts { total: Duration::from_secs(3), ..QUICK };
        let result = Twilio::with_timeouts(Arc::new(profile(&url)), timeouts).unwrap().send(&text(1, "x")).await;
        assert_eq!(class(&result), expected, "{url}: {result:?}");
        let told = format!("{result:?}");
        assert!(!told.contains(PERSON) && !told.contains(TOKEN) && !told.contains("Messages.json"), "{told}");
    }
    let lookup = Lookup { message: text(1, "x"), since: Timestamp::NULL };
    assert!(notifier(profile(&format!("http://{closed}"))).lookup(&lookup).await.is_err());
}

#[tokio::test]
async fn test_credentials_know_their_magic_numbers() {
    let simulator = simulator(Options { test_credentials: true, ..Options::default() }).await;
    let send = async |from: &str, to: &str| {
        let mut profile = profile(&simulator.url());
        profile.from = Some(from.into());
        class(&notifier(profile).send(&Outgoing { to: to.into(), ..text(1, "x") }).await)
    };
    let ok = "+15005550006";
    for (from, to, expected) in [
        (ok, PERSON, "accepted"),
        (PERSON, ok, "permanent 21606 false false"),
        ("+15005550001", PERSON, "permanent 21212 false false"),
        ("+15005550007", PERSON, "permanent 21606 false false"),
        ("+15005550008", PERSON, "retry 21611 60"),
        (ok, "+15005550001", "permanent 21211 false false"),
        (ok, "+15005550002", "permanent 21612 false false"),
        (ok, "+15005550003", "permanent 21408 false false"),
        (ok, "+15005550004", "permanent 21610 false true"),
        (ok, "+15005550009", "permanent 21614 false false"),
    ] {
        assert_eq!(send(from, to).await, expected, "{from} {to}");
    }
    let lookup = Lookup { message: text(1, "x"), since: Timestamp::NULL };
    let error = notifier(profile(&simulator.url())).lookup(&lookup).await.unwrap_err();
    assert!(error.contains("20008"), "{error}");
}
