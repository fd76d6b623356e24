//! Both HTTP listeners of the running program, spoken to by somebody who knows where servers and the proxies before them disagree,
//! and by clients that have all the time in the world.

use std::{
    fs,
    time::{Duration, Instant},
};

use annunciator::notify::signature::{Payload, sign};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    BOUND,
    program::{Daemon, OURS, PASSWORD, Plant, TOKEN, until},
    twilio::http,
};

/// One listener, and a request of it that has a body.
#[derive(Clone, Copy)]
struct Listener {
    name: &'static str,
    port: u16,
    path: &'static str,
    /// What a request with a body has besides its framing.
    headers: &'static str,
    /// `a=b` or the like: three bytes.
    body: &'static str,
    /// The answer to all of that.
    usual: u16,
}

/// What it is, what is sent, and the statuses.
type Case<T> = (&'static str, Vec<u8>, T);

fn listeners(plant: &Plant) -> [Listener; 2] {
    let webhooks = Listener {
        name: "webhooks",
        port: plant.webhooks,
        path: "/main/system/twilio-sms/inbound/main",
        headers: "X-Twilio-Signature: AAAA\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        body: "a=b",
        usual: 403,
    };
    let console = Listener {
        name: "console",
        port: plant.console,
        path: "/api/v1/session",
        headers: "Content-Type: application/json\r\n",
        body: "[1]",
        usual: 422,
    };
    [webhooks, console]
}

impl Listener {
    /// A request whose body these header lines frame.
    fn framed(&self, framing: &str, body: &str) -> Vec<u8> {
        let Self { path, headers, .. } = self;
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}{framing}\r\n{body}").into_bytes()
    }

    /// Its only connection is kept until the peer closes it.
    async fn statuses(&self, what: &str, sent: &[u8]) -> Vec<u16> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let all = sent.to_owned();
        // Whoever is refused half-way need not take the rest.
        let writing = tokio::spawn(async move {
            drop(writing.write_all(&all).await);
            writing
        });
        let mut answers = Vec::new();
        let read = timeout(BOUND, reading.read_to_end(&mut answers)).await;
        let text = String::from_utf8_lossy(&answers);
        assert!(read.is_ok(), "{}: {what}: neither refused nor closed, after {text:?}", self.name);
        drop(writing.await);
        statuses(&text)
    }
}

/// Of all answers in `text`.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).and_then(|status| status.parse().ok()).unwrap()).collect()
}

/// What must not be answered as a request of its own; on both listeners that would be a 404.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const CLOSE: &str = "Connection: close\r\n";

/// Requests with one meaning that others may read as two. All end their connection.
fn ambiguous(to: &Listener) -> Vec<Case<Vec<u16>>> {
    let (usual, body) = (vec![to.usual], to.body);
    let chunked = format!("3\r\n{body}\r\n0\r\n\r\n");
    let then = |first: &str| format!("{first}{SMUGGLED}");
    let refused = |what, framing: &str| (what, to.framed(framing, &then(&chunked)), vec![400]);
    let broken = |what, chunks: &str| {
        let sent = to.framed("Transfer-Encoding: chunked\r\n", &then(chunks));
        (what, sent, vec![400])
    };
    let digits = "F".repeat(17);
    vec![
        // RFC 9112, 6.1: it is chunked, and nothing on this connection is believed afterwards.
        (
            "a length, and chunks",
            to.framed("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &then(&chunked)),
            usual.clone(),
        ),
        (
            "chunks, and a length",
            to.framed("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n", &then(&chunked)),
            usual.clone(),
        ),
        refused("chunks that are not the last coding", "Transfer-Encoding: chunked, identity\r\n"),
        refused("chunks, then another coding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"),
        refused("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
        refused("a coding behind a vertical tab", "Transfer-Encoding:\x0bchunked\r\n"),
        refused("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        refused("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
        refused("a folded header", "X-A: 1\r\n 2\r\nContent-Length: 3\r\n"),
        refused("a header line without a colon", "X-A\r\nContent-Length: 3\r\n"),
        refused("a bare CR in a header", "X-A: 1\rContent-Length: 3\r\n"),
        refused("a NUL in a header", "X-A: 1\0\r\nContent-Length: 3\r\n"),
        refused("two lengths", "Content-Length: 3\r\nContent-Length: 40\r\n"),
        refused("a list of lengths", "Content-Length: 3, 40\r\n"),
        refused("a signed length", "Content-Length: +3\r\n"),
        refused("a negative length", "Content-Length: -1\r\n"),
        refused("a length in base 16", "Content-Length: 0x3\r\n"),
        refused("an empty length", "Content-Length: \r\n"),
        refused("a length beyond 64 bits", "Content-Length: 36893488147419103235\r\n"),
        refused("two hosts", "Host: y\r\nContent-Length: 3\r\n"),
        (
            "the same length twice",
            to.framed("Content-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n", &then(body)),
            usual.clone(),
        ),
        // RFC 9112, 2.2 lets it end a line.
        ("bare LF", format!("GET /nothing HTTP/1.1\nHost: x\n{}\n{SMUGGLED}", CLOSE.replace('\r', "")).into(), vec![404]),
        broken("a chunk beyond 64 bits", &format!("{digits}\r\n{body}\r\n0\r\n\r\n")),
        broken("a chunk longer than it says", &format!("2\r\n{body}\r\n0\r\n\r\n")),
        broken("a negative chunk", &format!("-3\r\n{body}\r\n0\r\n\r\n")),
        broken("a chunk in C's base 16", &format!("0x3\r\n{body}\r\n0\r\n\r\n")),
        broken("a chunk size that a bare LF ends", &format!("3\n{body}\r\n0\r\n\r\n")),
        broken("huge chunk extensions", &format!("3;{}\r\n{body}\r\n0\r\n\r\n", "x".repeat(20_000))),
        broken("huge trailers", &format!("3\r\n{body}\r\n0\r\nX-A: {}\r\n\r\n", "x".repeat(20_000))),
    ]
}

/// Requests that are odd, too large, or none at all. All end their connection; the answer is one of these, or none.
fn odd(to: &Listener) -> Vec<Case<&'static [u16]>> {
    let line = |line: &str| format!("{line}\r\nHost: x\r\n{CLOSE}\r\n").into_bytes();
    let many = "X-A: 1\r\n".repeat(101);
    let head = |more: &str| format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes();
    vec![
        ("too many headers", head(&many), &[431]),
        ("a header too large", head(&format!("X-A: {}\r\n", "x".repeat(100_000))), &[431]),
        ("headers too large together", head(&format!("X-A: {}\r\n", "x".repeat(1_100)).repeat(90)), &[431]),
        ("a header that has no end", [&b"GET / HTTP/1.1\r\nX-A: "[..], &b"x".repeat(100_000)].concat(), &[431]),
        ("a path too long", line(&format!("GET /{} HTTP/1.1", "x".repeat(100_000))), &[414, 431]),
        ("a method too long", line(&format!("{} / HTTP/1.1", "X".repeat(100_000))), &[400, 431]),
        ("a method nobody knows", line("FROBNICATE / HTTP/1.1"), &[404, 405]),
        ("a method in small letters", line(&format!("post {} HTTP/1.1", to.path)), &[405]),
        ("TRACE", line(&format!("TRACE {} HTTP/1.1", to.path)), &[405]),
        ("a tunnel", line("CONNECT 127.0.0.1:22 HTTP/1.1"), &[404, 405]),
        ("OPTIONS *", line("OPTIONS * HTTP/1.1"), &[404, 405]),
        ("another site's absolute form", line("GET http://example.com/nothing HTTP/1.1"), &[404]),
        ("a file's absolute form", line("GET file:///etc/passwd HTTP/1.1"), &[400, 404]),
        ("the way up", line("GET /main/../../../../etc/passwd HTTP/1.1"), &[404]),
        ("the way up, escaped", line("GET /main/system/twilio-sms/inbound/..%2f..%2f%00 HTTP/1.1"), &[404, 405]),
        ("a space in the path", line("GET /a b HTTP/1.1"), &[400]),
        ("a control character in the path", line("GET /\x01 HTTP/1.1"), &[400]),
        ("no host", format!("GET /nothing HTTP/1.1\r\n{CLOSE}\r\n").into(), &[400]),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), &[400]),
        ("HTTP/1.9", line("GET / HTTP/1.9"), &[400, 505]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 505]),
        ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 512], b"\r\n\r\n"].concat(), &[400]),
        ("noise", (0..65_536_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(), &[400, 431]),
    ]
}

/// A signed text from a stranger: proof that webhooks still work.
async fn signed_text(plant: &Plant, sid: &str) {
    let url = format!("http://127.0.0.1:{}/main/system/twilio-sms/inbound/main", plant.webhooks);
    let form = [("MessageSid", sid), ("From", "+15559990000"), ("To", OURS), ("Body", "hello?")];
    let form = form.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let signature = sign(TOKEN, &url, Payload::Form(&form));
    let answer = http().post(&url).header("X-Twilio-Signature", signature).form(&form).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

fn no_panic(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_one_request_or_none() {
    let plant = Plant::new("", "").await;
    let daemon = plant.start().await;
    let mut wrong = Vec::new();
    for to in listeners(&plant) {
        let plain = to.framed("Content-Length: 3\r\nConnection: close\r\n", to.body);
        assert_eq!(to.statuses("well framed", &plain).await, [to.usual], "{}", to.name);
        for (what, sent, expected) in ambiguous(&to) {
            let statuses = to.statuses(what, &sent).await;
            if statuses != expected {
                wrong.push(format!("{}: {what}: {statuses:?}, not {expected:?}", to.name));
            }
        }
        for (what, sent, allowed) in odd(&to) {
            let statuses = to.statuses(what, &sent).await;
            if !statuses.is_empty() && !matches!(statuses[..], [one] if allowed.contains(&one)) {
                wrong.push(format!("{}: {what}: {statuses:?}, not one of {allowed:?}", to.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    no_panic(&daemon);
    signed_text(&plant, "SM00000000000000000000000000000001").await;
    daemon.tag_is("System/Gateway/Twilio/MessagesReceivedOther", 1).await;
    daemon.stop();
}

/// Whoever shares a connection with others, as behind a proxy, lends them nothing; and what is refused unread is not read as
/// requests.
#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_have_nothing_in_common() {
    let plant = Plant::new("", "").await;
    let daemon = plant.start().await;
    let [webhooks, console] = listeners(&plant);

    // The rest of a body that is longer than it says is the next request: of nobody.
    let bob = BASE64_STANDARD.encode(format!("bob:{PASSWORD}"));
    let first = format!("GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {bob}\r\nContent-Length: 3\r\n\r\nabc");
    let rest = format!("GET /api/v1/tags HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
    assert_eq!(console.statuses("a body longer than it says", format!("{first}{rest}").as_bytes()).await, [200, 401]);

    // A webhook without a signature is refused before its body is read.
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n", webhooks.path);
    for framing in [
        format!("Content-Length: {}\r\n\r\n", SMUGGLED.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", SMUGGLED.len()),
    ] {
        let sent = format!("{head}{framing}{SMUGGLED}");
        let end = format!("\r\n0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
        let statuses = webhooks.statuses("an unread body", format!("{sent}{end}").as_bytes()).await;
        assert_eq!(statuses[0], 403, "{statuses:?}");
        assert!(statuses.len() <= 2, "the body was read as a request: {statuses:?}");
    }

    for to in [webhooks, console] {
        let mut sent = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(99);
        sent.push_str(SMUGGLED);
        assert_eq!(to.statuses("a hundred at once", sent.as_bytes()).await, [404; 100], "{}", to.name);
    }
    no_panic(&daemon);
    signed_text(&plant, "SM00000000000000000000000000000001").await;
    daemon.stop();
}

/// The documented patience: 30 s for a head and for a body, 60 s for a peer that takes nothing; nobody else waits.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_let_go_and_hold_nobody_up() {
    let patience = Duration::from_secs(28)..Duration::from_secs(40);
    let plant = Plant::new("", "").await;
    let daemon = plant.start().await;
    let mut slow = JoinSet::new();
    for to in listeners(&plant) {
        let head = format!("GET /nothing HTTP/1.1\r\nHost: x\r\nX-Slow: {}", "x".repeat(500));
        let (body, much) = (to.framed("Content-Length: 600\r\n", ""), "x".repeat(600));
        slow.spawn(drip(to, "says nothing", Vec::new(), String::new()));
        slow.spawn(drip(to, "a slow head", Vec::new(), head));
        slow.spawn(drip(to, "a slow body", body, much));
        slow.spawn(drip(to, "says nothing more", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), String::new()));
    }
    let started = Instant::now();
    let deaf = listeners(&plant).map(|to| tokio::spawn(async move { (to, deaf(to).await) }));
    while !slow.is_empty() {
        for to in listeners(&plant) {
            let asked = Instant::now();
            let sent = format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
            assert_eq!(to.statuses("somebody else", sent.as_bytes()).await, [404]);
            assert!(asked.elapsed() < Duration::from_secs(5), "{}: held up for {:?}", to.name, asked.elapsed());
        }
        while let Some(ended) = slow.try_join_next() {
            let (what, took) = ended.unwrap();
            assert!(patience.contains(&took), "{what}: ended after {took:?}");
        }
        assert!(started.elapsed() < patience.end, "some are still there");
        sleep(Duration::from_millis(200)).await;
    }
    let mut silent = Vec::new();
    for deaf in deaf {
        let (to, client) = deaf.await.unwrap();
        assert!(is_served(to, &client), "{}: who takes nothing has a minute", to.name);
        silent.push((to, client));
    }
    for (to, client) in silent {
        let gone = async || (!is_served(to, &client)).then_some(());
        until("end of who takes nothing", Duration::from_secs(90), gone).await;
    }
    no_panic(&daemon);
    signed_text(&plant, "SM00000000000000000000000000000001").await;
    daemon.stop();
}

/// Sends `first`, then one byte of `rest` after another until the connection is closed; how long that took.
async fn drip(to: Listener, what: &'static str, first: Vec<u8>, rest: String) -> (String, Duration) {
    let mut stream = TcpStream::connect(("127.0.0.1", to.port)).await.unwrap();
    let started = Instant::now();
    stream.write_all(&first).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let closed = async {
        let mut answers = Vec::new();
        drop(reading.read_to_end(&mut answers).await);
    };
    let sending = async {
        for byte in rest.bytes() {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        // It is the server that ends this.
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! { () = closed => (), () = sending => () }
    };
    let _ = timeout(Duration::from_secs(60), both).await;
    (format!("{}: {what}", to.name), started.elapsed())
}

/// Asks until nobody takes more questions, and never reads an answer.
async fn deaf(to: Listener) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", to.port)).await.unwrap();
    let questions = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    // Both directions are full when nothing moves.
    while let Ok(written) = timeout(Duration::from_secs(2), stream.write(questions.as_bytes())).await {
        written.unwrap();
    }
    stream
}

/// True while the server's end of this connection is open.
fn is_served(to: Listener, client: &TcpStream) -> bool {
    let ends = format!(":{:04X} 0100007F:{:04X} 01", to.port, client.local_addr().unwrap().port());
    fs::read_to_string("/proc/net/tcp").unwrap().contains(&ends)
}

/// Those beyond `max_connections` wait until one is closed; the other listener has places of its own.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_wait_their_turn() {
    let plant = Plant::new("", "").await;
    let file = plant.folder.path().join("config/main.toml");
    let config = fs::read_to_string(file).unwrap();
    plant.write("config/main.toml", &config.replace("[http]\n", "[http]\nmax_connections = 4\n"));
    let daemon = plant.start().await;
    let [webhooks, console] = listeners(&plant);
    let sent = format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
    let mut places = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", webhooks.port)).await.unwrap();
        // Until it is answered it may still be waiting itself.
        stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        timeout(BOUND, stream.read(&mut [0; 8])).await.expect("a free place").unwrap();
        places.push(stream);
    }
    let waiting = tokio::spawn(async move { webhooks.statuses("the fifth", sent.as_bytes()).await });
    let other = format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
    assert_eq!(console.statuses("the other listener", other.as_bytes()).await, [404]);
    sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "a fifth connection was served beside four");
    places.pop();
    assert_eq!(waiting.await.unwrap(), [404]);
    drop(places);
    no_panic(&daemon);
    signed_text(&plant, "SM00000000000000000000000000000001").await;
    daemon.stop();
}
