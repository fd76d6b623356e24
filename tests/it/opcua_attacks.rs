//! The OPC UA server against peers that mean no good: bytes of our own on a socket.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use annunciator::{
    engine::plan::Role,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
};
use tokio_util::sync::CancellationToken;

use crate::support::{BOUND, plant::Plant};

const OPEN: u32 = 446;
const CREATE_SESSION: u32 = 461;
const ACTIVATE_SESSION: u32 = 467;
const READ: u32 = 631;
const WRITE: u32 = 673;
const GET_ENDPOINTS: u32 = 428;
const FAULT: u32 = 397;

const BAD_DECODING_ERROR: u32 = 0x8007_0000;
const BAD_SERVICE_UNSUPPORTED: u32 = 0x800B_0000;
const BAD_TCP_MESSAGE_TYPE_INVALID: u32 = 0x807E_0000;
const BAD_TCP_MESSAGE_TOO_LARGE: u32 = 0x8080_0000;
const BAD_TOO_MANY_SESSIONS: u32 = 0x8056_0000;

struct Target {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    plant: Arc<Plant>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Target {
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None],
            anonymous: Some(Role::Engineer),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, running: Some(running), plant, stop, _folder: folder }
    }

    fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.running.as_ref().unwrap().address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        Peer { stream, sequence: 0, channel: 0, token: 0, session: null() }
    }

    /// Somebody else is still served.
    fn assert_alive(&self) {
        let mut peer = self.connect();
        peer.hello();
        peer.open();
        assert_eq!(peer.call(GET_ENDPOINTS, &[text(""), count(0), count(0)].concat()).kind, 431);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.running.take().map(Running::ended);
        let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, async { ended.unwrap().await }).await });
        assert!(ended.is_ok() || std::thread::panicking(), "the server does not end");
    }
}

struct Peer {
    stream: TcpStream,
    sequence: u32,
    channel: u32,
    token: u32,
    session: Vec<u8>,
}

/// A response: type, service result, what follows the header.
struct Answer {
    kind: u32,
    status: u32,
    body: Vec<u8>,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn text(text: &str) -> Vec<u8> {
    [&count(text.len())[..], text.as_bytes()].concat()
}

fn count(count: usize) -> Vec<u8> {
    u32::try_from(count).unwrap().to_le_bytes().to_vec()
}

fn null() -> Vec<u8> {
    vec![0, 0]
}

fn id(id: u32) -> Vec<u8> {
    [&[2, 0, 0][..], &id.to_le_bytes()].concat()
}

/// A request up to and with its header.
fn request(kind: u32, session: &[u8], additional: &[u8]) -> Vec<u8> {
    let handle = 4711_u32.to_le_bytes();
    [&id(kind)[..], session, &[0; 8], &handle, &[0; 4], &[0xFF; 4], &[0; 4], additional].concat()
}

const NOTHING_MORE: &[u8] = &[0, 0, 0];

impl Peer {
    fn send(&mut self, kind: [u8; 4], content: &[u8]) {
        let bytes = [&kind[..], &count(8 + content.len()), content].concat();
        // A server that refuses early may have closed by now.
        drop(self.stream.write_all(&bytes));
    }

    /// The next message: its type and what follows type and size; `None` at the end of the connection.
    fn receive(&mut self) -> Option<(String, Vec<u8>)> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).ok()?;
        let mut content = vec![0; number(&header, 4) as usize - 8];
        self.stream.read_exact(&mut content).ok()?;
        Some((String::from_utf8_lossy(&header[..3]).into_owned(), content))
    }

    /// The code of the ERR that must come next; what comes before it is passed over.
    fn error(&mut self) -> u32 {
        loop {
            match self.receive() {
                Some((kind, content)) if kind == "ERR" => return number(&content, 0),
                Some(_) => {}
                None => panic!("the connection ended without ERR"),
            }
        }
    }

    fn hello(&mut self) {
        let sizes = [0, 65_536, 65_536, 0, 0_u32].map(u32::to_le_bytes).concat();
        self.send(*b"HELF", &[sizes, text("opc.tcp://localhost")].concat());
        assert_eq!(self.receive().unwrap().0, "ACK");
    }

    fn open_with(&mut self, kind: u32, additional: &[u8]) -> Option<(String, Vec<u8>)> {
        let security = [text("http://opcfoundation.org/UA/SecurityPolicy#None"), vec![0xFF; 8]].concat();
        let body =
            [request(OPEN, &null(), additional), [0, kind, 1].map(u32::to_le_bytes).concat(), vec![0xFF; 4], count(60_000)];
        self.sequence += 1;
        let sequence = [self.sequence, 1].map(u32::to_le_bytes).concat();
        self.send(*b"OPNF", &[&self.channel.to_le_bytes(), &security[..], &sequence, &body.concat()].concat());
        self.receive()
    }

    fn open(&mut self) {
        let (kind, content) = self.open_with(0, NOTHING_MORE).unwrap();
        assert_eq!(kind, "OPN");
        // Channel, policy, two nulls, sequence header, type, header, protocol version; then the token.
        let at = 4 + 4 + 47 + 8 + 8 + 4 + 24 + 4;
        self.channel = number(&content, at);
        self.token = number(&content, at + 4);
    }

    fn message(&mut self, part: u8, body: &[u8]) {
        self.sequence += 1;
        let numbers = [self.channel, self.token, self.sequence, 9].map(u32::to_le_bytes).concat();
        self.send([b'M', b'S', b'G', part], &[&numbers, body].concat());
    }

    fn call(&mut self, kind: u32, body: &[u8]) -> Answer {
        let header = request(kind, &self.session, NOTHING_MORE);
        self.message(b'F', &[&header, body].concat());
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let (kind, content) = self.receive().expect("an answer");
        assert_eq!(kind, "MSG", "{:08X}", number(&content, 0));
        let body = &content[16..];
        let kind = u32::from(u16::from_le_bytes([body[2], body[3]]));
        assert_eq!(number(body, 12), 4711, "request handle");
        Answer { kind, status: number(body, 16), body: body[28..].to_vec() }
    }

    fn create_session(&mut self) -> Answer {
        let application = [text("urn:x"), text(""), vec![0], count(1), text(""), text(""), count(0)].concat();
        let body = [application, text(""), text("opc.tcp://x"), text("name"), vec![0xFF; 8], vec![0; 8], vec![0; 4]];
        self.call(CREATE_SESSION, &body.concat())
    }

    /// HEL, OPN, and an activated anonymous session.
    fn log_in(&mut self) {
        self.hello();
        self.open();
        let answer = self.create_session();
        assert_eq!((answer.kind, answer.status), (464, 0));
        // SessionId takes four bytes; the token is an opaque NodeId of 32 bytes.
        self.session = answer.body[4..4 + 1 + 2 + 4 + 32].to_vec();
        self.activate();
    }

    fn activate(&mut self) {
        let body = [vec![0xFF; 8], count(0), count(0), NOTHING_MORE.to_vec(), vec![0xFF; 8]].concat();
        let answer = self.call(ACTIVATE_SESSION, &body);
        assert_eq!((answer.kind, answer.status), (470, 0));
    }

    fn read_state(&mut self) -> u32 {
        self.call(READ, &[vec![0; 8], count(2), count(1), id(2_259), count(13), text(""), vec![0, 0], text("")].concat()).status
    }
}

#[test]
fn nesting_before_any_session_is_skipped() {
    let target = Target::start(|_| ());
    for (depth, byte) in [(60_000, 0x40_u8), (30_000, 0x40)] {
        let mut peer = target.connect();
        peer.hello();
        // A KeyValuePair whose value is a Variant with nested DiagnosticInfo.
        let nested = [&[0, 0, 0, 0, 0, 0, 25][..], &vec![byte; depth], &[0]].concat();
        let additional = [&id(14_846)[..], &[1], &count(nested.len()), &nested].concat();
        let (kind, _) = peer.open_with(0, &additional).expect("an answer");
        assert_eq!(kind, "OPN", "{depth} levels");
    }
    target.assert_alive();
}

#[test]
fn nesting_in_a_write_is_malformed() {
    let target = Target::start(|_| ());
    let mut peer = target.connect();
    peer.log_in();
    for nested in [[23_u8, 1].repeat(15_000), [25, 0x40].repeat(15_000), [0x98, 1, 0, 0, 0].repeat(6_000)] {
        let value = [count(1), id(2_258), count(13), text(""), vec![1], nested].concat();
        let answer = peer.call(WRITE, &value);
        assert_eq!((answer.kind, answer.status), (FAULT, BAD_DECODING_ERROR));
    }
    // The same connection goes on.
    assert_eq!(peer.read_state(), 0);
    assert!(target.plant.writes.lock().unwrap().is_empty());
}

#[test]
fn counts_without_content_are_malformed() {
    let target = Target::start(|_| ());
    let mut peer = target.connect();
    peer.log_in();
    for (kind, body) in [
        (READ, [vec![0; 8], count(2), vec![0xFF, 0xFF, 0xFF, 0x7F]].concat()),
        (READ, [vec![0; 8], count(2), vec![0xFE, 0xFF, 0xFF, 0xFF]].concat()),
        (WRITE, vec![0xFF, 0xFF, 0xFF, 0x0F]),
        (GET_ENDPOINTS, vec![0xFF, 0xFF, 0xFF, 0x7F]),
        (READ, vec![]),
    ] {
        let answer = peer.call(kind, &body);
        assert_eq!((answer.kind, answer.status), (FAULT, BAD_DECODING_ERROR), "{kind} {body:?}");
    }
}

#[test]
fn sizes_are_refused_at_once() {
    let target = Target::start(|_| ());
    let mut peer = target.connect();
    drop(peer.stream.write_all(b"HELF\xF0\xFF\xFF\xFF"));
    assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
    assert!(peer.receive().is_none());
    // More chunks than a message may have before anybody is logged in.
    let mut peer = target.connect();
    peer.hello();
    peer.open();
    for _ in 0..5 {
        peer.message(b'C', &vec![0; 20_000]);
    }
    assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
    target.assert_alive();
}

#[test]
fn what_breaks_the_channel_ends_the_connection() {
    let target = Target::start(|_| ());
    let attack = |what: &str, attack: &dyn Fn(&mut Peer), wanted: u32| {
        let mut peer = target.connect();
        attack(&mut peer);
        assert_eq!(format!("{:08X}", peer.error()), format!("{wanted:08X}"), "{what}");
    };
    let opened = |peer: &mut Peer| {
        peer.hello();
        peer.open();
    };
    attack("no HEL", &|peer| peer.message(b'F', &[]), BAD_TCP_MESSAGE_TYPE_INVALID);
    attack(
        "two HEL",
        &|peer| {
            peer.hello();
            peer.send(*b"HELF", &[0; 24]);
        },
        BAD_TCP_MESSAGE_TYPE_INVALID,
    );
    attack(
        "MSG before OPN",
        &|peer| {
            peer.hello();
            peer.message(b'F', &[]);
        },
        0x807F_0000,
    );
    attack(
        "a replayed sequence number",
        &|peer| {
            opened(peer);
            peer.sequence -= 1;
            peer.message(b'F', &[]);
        },
        0x8088_0000,
    );
    attack(
        "another channel",
        &|peer| {
            opened(peer);
            peer.channel += 1;
            peer.message(b'F', &[]);
        },
        0x8022_0000,
    );
    attack(
        "an unknown token",
        &|peer| {
            opened(peer);
            peer.token += 7;
            peer.message(b'F', &[]);
        },
        0x8087_0000,
    );
    attack(
        "a short MSG",
        &|peer| {
            opened(peer);
            let numbers = [peer.channel, peer.token].map(u32::to_le_bytes).concat();
            peer.send(*b"MSGF", &numbers);
        },
        BAD_DECODING_ERROR,
    );
    attack(
        "a message without a header",
        &|peer| {
            opened(peer);
            peer.message(b'F', &[0, 1, 2]);
        },
        BAD_DECODING_ERROR,
    );
    target.assert_alive();
}

#[test]
fn a_renewal_of_no_channel_and_a_second_issue_are_refused() {
    let target = Target::start(|_| ());
    let mut peer = target.connect();
    peer.hello();
    let (kind, content) = peer.open_with(1, NOTHING_MORE).unwrap();
    assert_eq!((&*kind, number(&content, 0)), ("ERR", 0x807F_0000));
    let mut peer = target.connect();
    peer.hello();
    peer.open();
    let (kind, content) = peer.open_with(0, NOTHING_MORE).unwrap();
    assert_eq!((&*kind, number(&content, 0)), ("ERR", 0x8053_0000));
}

#[test]
fn unknown_services_are_told_so() {
    let target = Target::start(|_| ());
    let mut peer = target.connect();
    peer.log_in();
    for unknown in [1, 560, 841, 664, 999_999] {
        let answer = peer.call(unknown, &[0xFF; 100]);
        assert_eq!((answer.kind, answer.status), (FAULT, BAD_SERVICE_UNSUPPORTED), "{unknown}");
    }
}

#[test]
fn sessions_that_nobody_activates_end_soon() {
    let target = Target::start(|settings| {
        settings.limits.unactivated_per_peer = 5;
        settings.limits.activation = Duration::from_millis(500);
    });
    let mut peer = target.connect();
    peer.hello();
    peer.open();
    for _ in 0..5 {
        assert_eq!(peer.create_session().status, 0);
    }
    assert_eq!(peer.create_session().status, BAD_TOO_MANY_SESSIONS);
    let deadline = Instant::now() + BOUND;
    while target.connect_and_create() == BAD_TOO_MANY_SESSIONS {
        assert!(Instant::now() < deadline, "unactivated sessions never end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Target {
    fn connect_and_create(&self) -> u32 {
        let mut peer = self.connect();
        peer.hello();
        peer.open();
        peer.create_session().status
    }
}

#[test]
fn silent_connections_are_closed_and_counted() {
    let target = Target::start(|settings| {
        settings.limits.hello = Duration::from_millis(400);
        settings.limits.open = Duration::from_millis(400);
        settings.limits.first_session = Duration::from_millis(400);
        settings.limits.connections_per_peer = 3;
    });
    let mut idle = target.connect();
    let mut greeted = target.connect();
    greeted.hello();
    let mut opened = target.connect();
    opened.hello();
    opened.open();
    // The fourth is closed without a word.
    assert!(target.connect().receive().is_none());
    for peer in [&mut idle, &mut greeted, &mut opened] {
        assert_eq!(peer.error(), 0x800A_0000);
        assert!(peer.receive().is_none());
    }
    target.assert_alive();
}

#[test]
fn a_session_outlives_its_connection_and_belongs_to_one_channel() {
    let target = Target::start(|_| ());
    let mut first = target.connect();
    first.log_in();
    assert_eq!(first.read_state(), 0);
    let mut second = target.connect();
    second.hello();
    second.open();
    second.session = first.session.clone();
    assert_eq!(second.read_state(), 0x8022_0000, "the session is bound to the first channel");
    second.activate();
    assert_eq!(second.read_state(), 0);
    assert_eq!(first.read_state(), 0x8022_0000);
    // A guessed token is no session.
    second.session[10] ^= 1;
    assert_eq!(second.read_state(), 0x8025_0000);
}
