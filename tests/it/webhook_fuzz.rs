//! Twilio's requests, broken in ways that mean something, through the webhook listener's routes in this process: whatever comes,
//! nothing is told to the program that the account's token has not signed, and nobody is told more than why he is refused.

use std::{sync::Arc, thread};

use annunciator::{
    engine::{
        io::{CallAction, CallDocument, Verb},
        plan::{Secret, TwilioDef},
    },
    notify::signature::{Payload, sign},
    serve::webhooks::{MAX_BODY, Reason, Rejects, router},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, Method, Request, Uri},
};
use fastrand::Rng;
use tower::ServiceExt as _;

use crate::{
    opcua_fuzz::setting,
    support::twilio::{OURS, PERSON, Recorder, TOKEN},
    webhooks::{EXTERNAL, callable},
};

/// The token of the profile `second`, of the same account.
const SECOND: &str = "of-the-second-profile";
/// That of `main` during rotation.
const NEXT: &str = "of-the-rotation";
const ACCOUNT: &str = "AC00000000000000000000000000000001";
const CALL: &str = "CA00000000000000000000000000000007";
const TEXT: &str = "SM00000000000000000000000000000007";
const TOKENS: [(&str, &str); 3] = [("main", TOKEN), ("main", NEXT), ("second", SECOND)];

type Form = Vec<(String, String)>;

/// One request.
#[derive(Clone, Debug)]
struct Made {
    method: String,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

/// Tells which request it was when the test ends on it.
struct Shown<'a>(&'a Made);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Made { method, target, headers, body } = self.0;
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name, text(value))).collect();
            eprintln!("{method} {target:?} {headers:?} {:?}", text(body));
        }
    }
}

/// `ANNUNCIATOR_FUZZ_MESSAGES` and `ANNUNCIATOR_FUZZ_SEED` give another number of requests and another seed.
#[tokio::test]
async fn webhooks_that_are_nearly_right() {
    let (requests, seed) = (setting("ANNUNCIATOR_FUZZ_MESSAGES", 20_000), setting("ANNUNCIATOR_FUZZ_SEED", 4));
    let second = TwilioDef { name: "second".into(), auth_token: Secret::new(SECOND), ..callable(EXTERNAL) };
    let main = TwilioDef { auth_token_2: Some(Secret::new(NEXT)), ..callable(EXTERNAL) };
    let gateway = Recorder::new(vec![main, second]);
    let gather = Verb::Gather {
        action: CallAction::Pin,
        digits: None,
        timeout: std::time::Duration::from_secs(5),
        say: vec!["<Your> PIN & 'more'".into()],
    };
    let document =
        CallDocument { id: "7".into(), turn: 3, profile: None, language: "en-US".into(), voice: None, verbs: vec![gather] };
    *gateway.document.lock().unwrap() = Some(document);
    let rejects = Arc::new(Rejects::default());
    let routes = router(gateway.clone(), rejects.clone());

    let mut rng = Rng::with_seed(seed);
    let (mut unspeakable, mut taken) = (0, 0);
    for _ in 0..requests {
        let made = make(&mut rng);
        let shown = Shown(&made);
        match outcome(&routes, &gateway, &made).await {
            None => unspeakable += 1,
            Some(was_taken) => taken += u64::from(was_taken),
        }
        drop(shown);
    }
    let counts: Vec<_> = Reason::ALL.iter().map(|reason| (reason.name(), rejects.count(*reason))).collect();
    println!("{requests} requests, seed {seed}: {taken} taken, {unspeakable} are no HTTP, refused {counts:?}");
    // Not only refusals at the door, and every way to be refused but a broken store.
    assert!(taken > requests / 20, "only {taken} were taken");
    for (name, count) in counts {
        assert!(count > 0 || matches!(name, "store" | "outbound_only") || requests < 10_000, "none was refused as {name}");
    }
    let good = Made { method: "POST".into(), ..sealed(&mut rng, &pristine(&mut Rng::with_seed(0))) };
    assert_eq!(outcome(&routes, &gateway, &good).await, Some(true));
}

/// True when the gateway was told; `None` when hyper would not have let it through.
async fn outcome(routes: &Router, gateway: &Recorder, made: &Made) -> Option<bool> {
    let uri = Uri::try_from(made.target.as_str()).ok()?;
    let mut request = Request::new(Body::from(made.body.clone()));
    *request.method_mut() = Method::from_bytes(made.method.as_bytes()).ok()?;
    *request.uri_mut() = uri;
    for (name, value) in &made.headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let answer = routes.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    let told = gateway.take();
    match status {
        200 => {
            let mut reader = quick_xml::Reader::from_str(text);
            while reader.read_event().unwrap_or_else(|error| panic!("{error}: {text}")) != quick_xml::events::Event::Eof {}
        }
        204 => assert!(text.is_empty(), "{text}"),
        _ => {
            assert!(told.is_empty(), "{status}, and yet taken: {told:?}");
            // An answer to HEAD has no body.
            let fitting = made.method == "HEAD" && text.is_empty()
                || Reason::ALL.iter().any(|reason| text.strip_suffix('\n') == Some(reason.name()));
            assert!(fitting && matches!(status, 400 | 403 | 404 | 405 | 413), "{status}: {text}");
        }
    }
    if matches!(status, 200 | 204) {
        // Whoever gets an answer has signed, with a token of the profile that it is for.
        let signer = signer(made, &path).unwrap_or_else(|| panic!("{status} for what nobody signed"));
        assert!(told.len() <= 1 && told.iter().flatten().all(|profile| profile == signer), "{signer} signed, {told:?}");
        assert!(made.body.len() <= MAX_BODY && made.method == "POST");
    }
    Some(!told.is_empty())
}

/// The profile whose token has signed this; with the spellings of a URL that Twilio is known for.
fn signer(made: &Made, path: &str) -> Option<&'static str> {
    let claimed = made.headers.iter().find(|(name, _)| *name == "x-twilio-signature").map(|(_, value)| value)?;
    let form: Form = form_urlencoded::parse(&made.body).into_owned().collect();
    let (start, query) = path.split_once('?').unwrap_or((path, ""));
    let apostrophes = format!("{start}?{}", query.replace('\'', "%27"));
    for base in [EXTERNAL.to_owned(), format!("{EXTERNAL}:443")] {
        for path in [path, &apostrophes] {
            let url = format!("{base}{path}");
            let signed =
                TOKENS.iter().find(|(_, token)| sign(token, &url, Payload::Form(&form)).as_bytes() == claimed.as_slice());
            if let Some((profile, _)) = signed {
                return Some(profile);
            }
        }
    }
    None
}

/// A good request before it is signed: path, and form.
struct Pristine {
    path: String,
    form: Form,
}

fn pristine(rng: &mut Rng) -> Pristine {
    let profile = *rng.choice(&["main", "main", "second"]).unwrap();
    let (path, pairs): (String, Vec<(&str, &str)>) = match rng.u32(0..4) {
        0 => (
            format!("/main/system/twilio-sms/inbound/{profile}"),
            vec![("MessageSid", TEXT), ("From", PERSON), ("To", OURS), ("Body", "1234 K7M")],
        ),
        1 => (
            "/main/system/twilio-sms/status/7".into(),
            vec![("MessageSid", TEXT), ("MessageStatus", "undelivered"), ("ErrorCode", "30003")],
        ),
        2 => (
            format!("/main/system/twilio-voice/{}/7?turn=3", rng.choice(&["answer", "pin", "menu", "ack", "status"]).unwrap()),
            vec![
                ("CallSid", CALL),
                ("CallStatus", "in-progress"),
                ("Digits", "1234#"),
                ("CallDuration", "12"),
                ("AnsweredBy", "human"),
            ],
        ),
        _ => (
            format!("/main/system/twilio-voice/{}/{profile}", rng.choice(&["inbound", "status"]).unwrap()),
            vec![("CallSid", CALL), ("From", PERSON), ("To", OURS), ("CallStatus", "ringing"), ("Direction", "inbound")],
        ),
    };
    let pairs = pairs.into_iter().chain([("AccountSid", ACCOUNT)]);
    Pristine { path, form: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
}

/// Signed as Twilio does, with a token that fits the path.
fn sealed(rng: &mut Rng, good: &Pristine) -> Made {
    let Pristine { path, form } = good;
    let token = if path.ends_with("second") { SECOND } else { *rng.choice(&[TOKEN, NEXT]).unwrap() };
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into_bytes();
    // What arrives is what was sent, but for bytes that are no UTF-8.
    let form: Form = form_urlencoded::parse(&body).into_owned().collect();
    let signature = sign(token, &format!("{EXTERNAL}{path}"), Payload::Form(&form));
    let headers = vec![
        ("host", b"plant.example.com".to_vec()),
        ("content-type", b"application/x-www-form-urlencoded; charset=UTF-8".to_vec()),
        ("x-twilio-signature", signature.into_bytes()),
    ];
    Made { method: "POST".into(), target: path.clone(), headers, body }
}

/// A request that is broken before it is signed, or after, or not at all.
fn make(rng: &mut Rng) -> Made {
    let mut good = pristine(rng);
    for _ in 0..rng.u32(0..3) {
        break_form(rng, &mut good.form);
    }
    if rng.u32(0..4) == 0 {
        good.path = break_path(rng, &good.path);
    }
    let mut made = sealed(rng, &good);
    for _ in 0..rng.u32(0..3) {
        break_request(rng, &mut made);
    }
    made
}

/// What people, other programs and attackers write into a field.
fn value(rng: &mut Rng) -> String {
    let words = [
        "",
        "0",
        "-1",
        "+7",
        "7",
        "18446744073709551615",
        "18446744073709551616",
        "1e9",
        "NaN",
        "\0",
        "\r\nX: y",
        "%00",
        "%",
        "%zz",
        "&=",
        "'",
        "\"",
        "<Say>&amp;]]>",
        "{{ alarm.path }}",
        "${TOKEN}",
        "../..",
        "١٢٣٤",
        "🙂",
        "e\u{301}",
        "\u{202e}1234",
        "main",
        "second",
        ACCOUNT,
        CALL,
        TEXT,
        "AC00000000000000000000000000009999",
        PERSON,
        "delivered",
        "teleported",
        "completed",
        "machine_end_beep",
        "1234##",
        "STOP",
    ];
    match rng.u32(0..12) {
        0 => "9".repeat(rng.usize(0..2_000)),
        1 if rng.u32(0..10) == 0 => "x".repeat(rng.usize(MAX_BODY - 600..MAX_BODY + 600)),
        2 => (0..rng.usize(0..40)).map(|_| rng.char(..)).collect(),
        _ => (*rng.choice(&words).unwrap()).to_owned(),
    }
}

const KEYS: [&str; 16] = [
    "MessageSid",
    "SmsSid",
    "CallSid",
    "AccountSid",
    "From",
    "To",
    "Body",
    "MessageStatus",
    "SmsStatus",
    "CallStatus",
    "ErrorCode",
    "Digits",
    "AnsweredBy",
    "CallDuration",
    "Duration",
    "Direction",
];

fn break_form(rng: &mut Rng, form: &mut Form) {
    let at = rng.usize(0..=form.len());
    match rng.u32(0..9) {
        0 if at < form.len() => drop(form.remove(at)),
        1 if at < form.len() => form[at].1 = value(rng),
        2 if at < form.len() => form[at].0 = value(rng),
        3 if at < form.len() => {
            let again = form[at].clone();
            form.extend(vec![again; rng.usize(1..50)]);
        }
        // Two values of one field.
        4 | 5 if at < form.len() => {
            let other = (form[at].0.clone(), value(rng));
            form.insert(rng.usize(0..=at), other);
        }
        6 => rng.shuffle(form),
        7 if rng.u32(0..20) == 0 => form.extend((0..5_000).map(|n| (n.to_string(), String::new()))),
        _ => form.insert(at, ((*rng.choice(&KEYS).unwrap()).to_owned(), value(rng))),
    }
}

fn break_path(rng: &mut Rng, path: &str) -> String {
    let queries = [
        "?",
        "??",
        "?a=1",
        "?turn=3",
        "?turn=-1&turn=3",
        "?turn=99999999999",
        "?turn=%33",
        "?bodySHA256=00",
        "?it's='",
        "?a=%00",
        "?a=%ff",
        "#x",
        "?#",
        "/?a",
        "/",
        "//",
        "/..",
        "/../main",
        "%2f",
        "%2F..%2f",
        "%00",
        ";a=b",
        "%",
        "%20",
        "\\",
        "?a=b?c=d",
        "?🙂",
    ];
    let parts: Vec<&str> = path.split('/').collect();
    let at = rng.usize(1..parts.len());
    let with = |part: &str| [&parts[..at], &[part], &parts[at + 1..]].concat().join("/");
    match rng.u32(0..8) {
        0..=3 => format!("{path}{}", rng.choice(&queries).unwrap()),
        4 => with(
            rng.choice(&[
                "..",
                ".",
                "",
                "%2e%2e",
                "MAIN",
                "inbound",
                "status",
                "sing",
                "0",
                "-1",
                "+7",
                "007",
                "99999999999999999999",
                CALL,
                "%37",
                "main%00",
                "second",
            ])
            .unwrap(),
        ),
        5 => {
            format!("{}{path}", rng.choice(&["/..", "//", "http://example.com", "https://plant.example.com", "/.", "*"]).unwrap())
        }
        6 => path.to_uppercase(),
        _ => with(&value(rng)),
    }
}

fn break_request(rng: &mut Rng, made: &mut Made) {
    match rng.u32(0..10) {
        0 => made.method = (*rng.choice(&["GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "post", "X"]).unwrap()).to_owned(),
        1 => made.target = break_path(rng, &made.target),
        2 => {
            let kinds = [
                "application/json",
                "multipart/form-data; boundary=x",
                "text/plain",
                "",
                "application/x-www-form-urlencoded, text/plain",
                " application/x-www-form-urlencoded",
                "application/x-www-form-urlencoded;;;",
                "APPLICATION/X-WWW-FORM-URLENCODED",
            ];
            made.headers.retain(|(name, _)| *name != "content-type");
            if rng.bool() {
                made.headers.push(("content-type", rng.choice(&kinds).unwrap().as_bytes().to_vec()));
            }
        }
        3..=5 => break_signature(rng, &mut made.headers),
        6 => made.headers.push(("content-length", value(rng).into_bytes())),
        7 => {
            let at = rng.usize(0..=made.body.len());
            let more = [&b"%"[..], b"%f", b"%ff%fe", b"\xff\xfe", b"&", b"&&&=", b"=", b"+", b"%00", b"\0", b"%2", b";"];
            let more = rng.choice(&more).unwrap();
            made.body.splice(at..at, more.iter().copied());
        }
        8 => made.body.truncate(rng.usize(0..=made.body.len())),
        _ => {
            let at = rng.usize(0..made.body.len().max(1));
            if let Some(byte) = made.body.get_mut(at) {
                *byte ^= 1 << rng.u32(0..8);
            }
        }
    }
}

fn break_signature(rng: &mut Rng, headers: &mut Vec<(&'static str, Vec<u8>)>) {
    let Some(at) = headers.iter().position(|(name, _)| *name == "x-twilio-signature") else { return };
    let good = headers[at].1.clone();
    match rng.u32(0..8) {
        0 => drop(headers.remove(at)),
        1 => headers[at].1.clear(),
        2 => headers[at].1 = value(rng).into_bytes(),
        3 => headers[at].1.truncate(rng.usize(0..=good.len())),
        4 => headers[at].1.extend(*rng.choice(&[b"==", b"AA", b" a", b", "]).unwrap()),
        // Another one behind it, or before it.
        5 => headers.push(("x-twilio-signature", b"AAAA".to_vec())),
        6 => headers.insert(at, ("x-twilio-signature", b"AAAA".to_vec())),
        _ => {
            let byte = rng.usize(0..good.len().max(1));
            if let Some(byte) = headers[at].1.get_mut(byte) {
                *byte ^= 1 << rng.u32(0..7);
            }
        }
    }
}
