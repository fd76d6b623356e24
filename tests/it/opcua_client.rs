//! The OPC UA client against asyncua and node-opcua as PLCs.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use annunciator::{
    engine::plan::{Origin, Settings, TagDef, TagTraits},
    pki::Pki,
    source::{
        Link, SessionEnd, SourceRequest, SourceSink, SourceStats, SourceTag,
        opcua::{self, OpcuaSettings, Security, Server, TagAddress},
    },
    tag::{DataType, Sample, StatusCode, TagId, TagPath, Timestamp, Value},
};
use tokio_util::sync::CancellationToken;

use crate::support::{BOUND, peers, port::free_port, process::Child};

/// How long a peer may take to start while all tests start theirs.
const START: Duration = Duration::from_secs(120);
/// Our client in its certificate.
pub const URI: &str = "urn:test:annunciator";

/// What a session reported, in order.
#[derive(Debug)]
enum Event {
    Connected,
    Sample(Sample),
}

struct Sink(Mutex<mpsc::Sender<Event>>);

impl SourceSink for Sink {
    fn connected(&self, _: &str) {
        drop(self.0.lock().unwrap().send(Event::Connected));
    }

    fn samples(&self, _: &str, samples: Vec<Sample>) {
        let sender = self.0.lock().unwrap();
        for sample in samples {
            drop(sender.send(Event::Sample(sample)));
        }
    }

    fn alive(&self, _: &str) {}
}

/// One running session of the driver.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    session: Option<tokio::task::JoinHandle<SessionEnd>>,
    events: mpsc::Receiver<Event>,
    requests: tokio::sync::mpsc::Sender<SourceRequest>,
    stop: CancellationToken,
    stats: Arc<SourceStats>,
}

impl Client {
    pub fn start(settings: &OpcuaSettings, pki: &Pki, tags: &[(&str, &str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (sender, events) = mpsc::channel();
        let (requests, receiver) = tokio::sync::mpsc::channel(16);
        let stop = CancellationToken::new();
        let stats = Arc::new(SourceStats::default());
        let mut link = Link {
            name: "plc".into(),
            tags: tags.iter().enumerate().map(|(id, (path, data_type, address))| tag(id, path, data_type, address)).collect(),
            requests: receiver,
            stop: stop.clone(),
            stats: Arc::clone(&stats),
            sink: Arc::new(Sink(Mutex::new(sender))),
        };
        let settings: Settings = Arc::new(settings.clone());
        let mut source = opcua::new(&settings, Arc::new(pki.clone()), URI);
        let session = runtime.spawn(async move { source.session(&mut link).await });
        Self { runtime, session: Some(session), events, requests, stop, stats }
    }

    /// The next sample that `wanted` accepts; others are passed over.
    pub fn sample(&self, what: &str, mut wanted: impl FnMut(&Sample) -> bool) -> Sample {
        let deadline = Instant::now() + BOUND;
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Sample(sample)) if wanted(&sample) => return sample,
                Ok(event) => seen.push(event),
                Err(error) => panic!("no {what} ({error}); saw {:?}", &seen[seen.len().saturating_sub(10)..]),
            }
        }
    }

    pub fn connected(&self) {
        match self.events.recv_timeout(BOUND) {
            Ok(Event::Connected) => {}
            other => panic!(
                "expected the session to be up, found {other:?}; ended: {:?}",
                self.session.as_ref().unwrap().is_finished()
            ),
        }
    }

    pub fn value(&self, id: u32, value: &Value) -> Sample {
        self.sample(&format!("{value:?} of tag {id}"), |sample| sample.tag == TagId(id) && sample.value == *value)
    }

    pub fn write(&self, id: u32, value: Value) -> StatusCode {
        self.ask(|reply| SourceRequest::Write { tag: TagId(id), value, reply })
    }

    fn read(&self, id: u32) -> Result<Value, StatusCode> {
        self.ask(|reply| SourceRequest::Read { tag: TagId(id), reply })
    }

    fn ask<T>(&self, request: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> SourceRequest) -> T {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.requests.blocking_send(request(reply)).unwrap();
        self.runtime.block_on(async { tokio::time::timeout(BOUND, answer).await }).unwrap().unwrap()
    }

    fn end(&mut self) -> SessionEnd {
        let session = self.session.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(BOUND * 2, session).await }).expect("the session ends").unwrap()
    }

    pub fn lost(&mut self) -> String {
        match self.end() {
            SessionEnd::Lost(reason) => reason,
            SessionEnd::Stopped => panic!("stopped instead of lost"),
        }
    }

    pub fn stop(mut self) {
        self.stop.cancel();
        assert_eq!(self.end(), SessionEnd::Stopped);
    }
}

pub fn tag(id: usize, path: &str, data_type: &str, address: &str) -> SourceTag {
    let address: Settings = Arc::new(TagAddress { node: address.parse().unwrap(), sampling: None });
    let def = TagDef::new(
        TagId(u32::try_from(id).unwrap()),
        TagPath::new(path).unwrap(),
        Origin::System,
        TagTraits { writable: true, ..TagTraits::of(data_type.parse().unwrap()) },
    );
    SourceTag::new(&def, address)
}

pub fn settings(url: &str, security: &str) -> OpcuaSettings {
    OpcuaSettings {
        server: Server {
            url: url.to_owned(),
            security: Security::parse(security).unwrap(),
            user: None,
            password: None,
            timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
        },
        publishing: Duration::from_millis(50),
        sampling: Duration::from_millis(10),
        queue: 10,
        retry: Duration::from_millis(500),
    }
}

pub fn with_user(mut settings: OpcuaSettings, password: &str) -> OpcuaSettings {
    settings.server.user = Some("bridge".to_owned());
    settings.server.password = Some(annunciator::engine::plan::Secret::new(password));
    settings
}

fn asyncua(port: u16, more: &[&str]) -> Option<Child> {
    let python = peers::python()?;
    let mut command = Command::new(python);
    command.arg(peers::script("opcua_plc.py")).arg(port.to_string()).args(more);
    let mut plc = Child::start(&mut command);
    plc.line("ready", START);
    Some(plc)
}

fn node_opcua(port: u16, folder: &Path) -> Option<Child> {
    let modules = peers::node_modules()?;
    let mut command = Command::new("node");
    command.arg(peers::script("opcua_plc.js")).arg(port.to_string()).arg(folder).current_dir(modules);
    let mut plc = Child::start(&mut command);
    plc.line("ready", START);
    Some(plc)
}

fn url(port: u16) -> String {
    format!("opc.tcp://127.0.0.1:{port}/plant")
}

pub fn pki() -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path().join("pki")).unwrap();
    (dir, pki)
}

fn stamp(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// The values that both PLCs have.
fn scalars() -> Vec<(&'static str, Value)> {
    vec![
        ("Boolean", Value::Boolean(true)),
        ("SByte", Value::SByte(-12)),
        ("Byte", Value::Byte(200)),
        ("Int16", Value::Int16(-30_000)),
        ("UInt16", Value::UInt16(60_000)),
        ("Int32", Value::Int32(-2_000_000_000)),
        ("UInt32", Value::UInt32(4_000_000_000)),
        ("Float", Value::Float(1.5)),
        ("Double", Value::Double(3.25)),
        ("String", Value::string("Füllstand")),
    ]
}

fn address(name: &str) -> String {
    format!("nsu=urn:test:plant;s={name}")
}

fn send_signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn asyncua_values_of_every_type_status_and_timestamp() {
    let port = free_port();
    let Some(mut plc) = asyncua(port, &["--namespaces", "3"]) else { return };
    let (_dir, pki) = pki();
    let mut expected = scalars();
    expected.extend([
        ("Int64", Value::Int64(-9_000_000_000_000_000_000)),
        ("UInt64", Value::UInt64(18_000_000_000_000_000_000)),
        ("DateTime", Value::DateTime(stamp("2026-11-20T12:34:56.123456Z"))),
        ("ByteString", Value::ByteString([0, 1, 255].into())),
    ]);
    let addresses: Vec<String> = expected.iter().map(|(name, _)| address(name)).collect();
    let mut tags: Vec<(&str, &str, &str)> =
        expected.iter().zip(&addresses).map(|((name, _), address)| (*name, *name, address.as_str())).collect();
    tags.extend([
        ("Array", "Int16[3]", "nsu=urn:test:plant;s=Int16Array"),
        ("Text", "String", "nsu=urn:test:plant;s=Text"),
        ("Path", "Double", "/Objects/5:Plant/5:Double"),
        ("Widened", "Int64", "nsu=urn:test:plant;s=Int32"),
        ("WrongType", "Int16", "nsu=urn:test:plant;s=Double"),
        ("Unknown", "Int16", "nsu=urn:test:plant;s=Nothing"),
        ("NoNamespace", "Int16", "nsu=urn:test:nowhere;s=Int16"),
        ("NoPath", "Int16", "/Objects/5:Plant/5:Nothing"),
    ]);
    let client = Client::start(&settings(&url(port), "None"), &pki, &tags);
    client.connected();
    let array = Value::Array(DataType::Int16, [Value::Int16(1), Value::Int16(-2), Value::Int16(3)].into());
    let mut wanted: Vec<(Value, StatusCode)> = expected.iter().map(|(_, value)| (value.clone(), StatusCode::GOOD)).collect();
    wanted.extend([
        (array, StatusCode::GOOD),
        (Value::string("läuft"), StatusCode::GOOD),
        (Value::Double(3.25), StatusCode::GOOD),
        (Value::Int64(-2_000_000_000), StatusCode::GOOD),
        (Value::Null, StatusCode::BAD_TYPE_MISMATCH),
        (Value::Null, StatusCode::BAD_CONFIGURATION_ERROR),
        (Value::Null, StatusCode::BAD_CONFIGURATION_ERROR),
        (Value::Null, StatusCode::BAD_CONFIGURATION_ERROR),
    ]);
    let mut seen = vec![None; wanted.len()];
    while seen.iter().any(Option::is_none) {
        let sample = client.sample("first value of every tag", |_| true);
        seen[sample.tag.index()] = Some((sample.value, sample.status));
    }
    for (number, (seen, wanted)) in seen.into_iter().zip(wanted).enumerate() {
        assert_eq!(seen.unwrap(), wanted, "{:?}", tags[number]);
    }

    // A change of status alone, with a source timestamp in the past, comes as it is.
    plc.say("status Int16 40930000 2020-01-02T03:04:05.678901+00:00");
    let sample = client.sample("uncertain", |sample| sample.tag == TagId(3) && sample.status == StatusCode(0x4093_0000));
    assert_eq!((sample.value, sample.source_time), (Value::Int16(-30_000), stamp("2020-01-02T03:04:05.678901Z")));
    plc.say("status Int16 808b0000 2020-01-02T03:04:06+00:00");
    let sample = client.sample("bad", |sample| sample.tag == TagId(3) && sample.status == StatusCode::BAD_DEVICE_FAILURE);
    assert_eq!((sample.value, sample.source_time), (Value::Null, stamp("2020-01-02T03:04:06Z")));
    client.stop();
}

#[test]
fn asyncua_writes_are_of_the_exact_type_and_answered() {
    let port = free_port();
    let Some(mut plc) = asyncua(port, &[]) else { return };
    let (_dir, pki) = pki();
    let tags = [
        ("Int16", "Int16", "nsu=urn:test:plant;s=Int16"),
        ("Wide", "Int32", "nsu=urn:test:plant;s=Int16"),
        ("Array", "Int16[3]", "nsu=urn:test:plant;s=Int16Array"),
        ("Missing", "Int32", "nsu=urn:test:plant;s=Missing"),
        ("ReadOnly", "Int32", "i=2259"),
    ];
    let client = Client::start(&settings(&url(port), "None"), &pki, &tags);
    client.connected();
    assert_eq!(client.write(0, Value::Int16(7)), StatusCode::GOOD);
    client.value(0, &Value::Int16(7));
    assert_eq!(client.write(1, Value::Int32(-8)), StatusCode::GOOD);
    plc.say("get Int16");
    plc.line("value Int16 -8 Int16", BOUND);
    assert_eq!(client.write(1, Value::Int32(70_000)), StatusCode::BAD_OUT_OF_RANGE);
    let array = Value::Array(DataType::Int16, [Value::Int16(9), Value::Int16(8), Value::Int16(7)].into());
    assert_eq!(client.write(2, array.clone()), StatusCode::GOOD);
    assert_eq!(client.read(2), Ok(array));
    assert_eq!(client.read(1), Ok(Value::Int32(-8)));
    assert_eq!(client.write(3, Value::Int32(1)), StatusCode::BAD_CONFIGURATION_ERROR);
    assert_eq!(client.read(3), Err(StatusCode::BAD_CONFIGURATION_ERROR));
    assert!(client.write(4, Value::Int32(1)).is_bad(), "ServerStatus.State cannot be written");
    assert_eq!(client.stats.write_errors.load(Ordering::Relaxed), 3);

    // A node that appears later is found without a new session.
    plc.say("add Missing");
    client.value(3, &Value::Int32(1));
    assert_eq!(client.read(3), Ok(Value::Int32(1)));
    client.stop();
}

#[test]
fn a_pulse_shorter_than_the_publishing_interval_is_seen() {
    let port = free_port();
    let Some(mut plc) = asyncua(port, &[]) else { return };
    let (_dir, pki) = pki();
    let client = Client::start(&settings(&url(port), "None"), &pki, &[("Bit", "Boolean", "nsu=urn:test:plant;s=Boolean")]);
    client.connected();
    client.value(0, &Value::Boolean(true));
    plc.say("set Boolean false");
    client.value(0, &Value::Boolean(false));
    for _ in 0..10 {
        plc.say("pulse Boolean 20");
        let rise = client.sample("pulse", |_| true);
        let fall = client.sample("end of the pulse", |_| true);
        assert_eq!((rise.value, fall.value), (Value::Boolean(true), Value::Boolean(false)));
        plc.line("done pulse", BOUND);
    }
    client.stop();
}

#[test]
fn a_server_that_restarts_serves_the_next_session() {
    let port = free_port();
    let Some(plc) = asyncua(port, &[]) else { return };
    let (_dir, pki) = pki();
    let tags = [("Int32", "Int32", "nsu=urn:test:plant;s=Int32")];
    let mut client = Client::start(&settings(&url(port), "None"), &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    drop(plc);
    let reason = client.lost();
    assert!(reason.contains("lost"), "{reason}");

    let mut refused = Client::start(&settings(&url(port), "None"), &pki, &tags);
    let reason = refused.lost();
    assert!(reason.contains("nothing answers") && reason.contains(&port.to_string()), "{reason}");

    // The namespace has moved meanwhile.
    let Some(mut plc) = asyncua(port, &["--namespaces", "2"]) else { return };
    let client = Client::start(&settings(&url(port), "None"), &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    plc.say("set Int32 5");
    client.value(0, &Value::Int32(5));
    client.stop();
}

#[test]
fn five_thousand_items_under_a_limit_of_one_thousand() {
    let port = free_port();
    let Some(mut plc) = asyncua(port, &["--items", "5000", "--limit", "1000"]) else { return };
    let (_dir, pki) = pki();
    let names: Vec<(String, String)> =
        (0..5000).map(|number| (format!("Item{number}"), format!("nsu=urn:test:plant;s=Item{number}"))).collect();
    let tags: Vec<(&str, &str, &str)> = names.iter().map(|(name, address)| (name.as_str(), "Int32", address.as_str())).collect();
    let mut settings = settings(&url(port), "None");
    settings.server.timeout = BOUND;
    let client = Client::start(&settings, &pki, &tags);
    client.connected();
    let mut seen = vec![false; tags.len()];
    let mut missing = tags.len();
    while missing > 0 {
        let sample = client.sample("first value of every item", |_| true);
        assert_eq!((sample.value, sample.status), (Value::Int32(sample.tag.0.cast_signed()), StatusCode::GOOD));
        missing -= usize::from(!std::mem::replace(&mut seen[sample.tag.index()], true));
    }
    plc.say("set Item4999 -1");
    client.value(4999, &Value::Int32(-1));
    client.stop();
}

#[test]
fn a_silent_server_is_noticed() {
    let port = free_port();
    let Some(plc) = asyncua(port, &[]) else { return };
    let (_dir, pki) = pki();
    let mut client = Client::start(&settings(&url(port), "None"), &pki, &[("Int32", "Int32", "nsu=urn:test:plant;s=Int32")]);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    send_signal(&plc, "-STOP");
    let started = Instant::now();
    let reason = client.lost();
    send_signal(&plc, "-CONT");
    assert!(reason.contains("silent"), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
}

#[test]
fn signed_and_encrypted_with_a_password_after_the_certificate_is_trusted() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut plc) = asyncua(port, &["--secure", folder.path().to_str().unwrap()]) else { return };
    let (_dir, pki) = pki();
    let tags = [("Int32", "Int32", "nsu=urn:test:plant;s=Int32")];
    let secure = with_user(settings(&url(port), "Basic256Sha256/SignAndEncrypt"), "secret");

    // Its certificate is unknown: the session says which one and what to do.
    let reason = Client::start(&secure, &pki, &tags).lost();
    let listed = pki.list().into_iter().find(|listed| listed.folder == annunciator::pki::Folder::Rejected).unwrap();
    assert!(reason.contains(&format!("annunciator pki trust {}", listed.thumbprint)), "{reason}");
    pki.trust(&listed.thumbprint).unwrap();

    let client = Client::start(&secure, &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    plc.say("set Int32 5");
    client.value(0, &Value::Int32(5));
    assert_eq!(client.write(0, Value::Int32(6)), StatusCode::GOOD);
    client.value(0, &Value::Int32(6));
    client.stop();

    let reason = Client::start(&with_user(secure.clone(), "wrong"), &pki, &tags).lost();
    assert!(reason.contains("\"bridge\"") && !reason.contains("wrong"), "{reason}");
    let reason = Client::start(&settings(&url(port), "None"), &pki, &tags).lost();
    assert!(reason.contains("\"Basic256Sha256/SignAndEncrypt\""), "what it offers: {reason}");
    let other = with_user(settings(&url(port), "Aes256Sha256RsaPss/SignAndEncrypt"), "secret");
    let client = Client::start(&other, &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(6));
    client.stop();

    // A server that comes back with another certificate is a stranger until it is trusted, without a restart of ours.
    plc.kill();
    let folder = tempfile::tempdir().unwrap();
    let Some(_plc) = asyncua(port, &["--secure", folder.path().to_str().unwrap()]) else { return };
    let reason = Client::start(&secure, &pki, &tags).lost();
    assert!(reason.contains("pki trust") && !reason.contains(&listed.thumbprint), "{reason}");
    pki.trust(reason.rsplit(' ').next().unwrap().trim_end_matches('`')).unwrap();
    let client = Client::start(&secure, &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    client.stop();
}

#[test]
fn node_opcua_with_and_without_security() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut plc) = node_opcua(port, folder.path()) else { return };
    let (_dir, pki) = pki();
    let expected = scalars();
    let addresses: Vec<String> = expected.iter().map(|(name, _)| address(name)).collect();
    let tags: Vec<(&str, &str, &str)> =
        expected.iter().zip(&addresses).map(|((name, _), address)| (*name, *name, address.as_str())).collect();
    let security = [
        settings(&url(port), "None"),
        with_user(settings(&url(port), "Basic256Sha256/Sign"), "secret"),
        with_user(settings(&url(port), "Basic256Sha256/SignAndEncrypt"), "secret"),
        settings(&url(port), "Aes128Sha256RsaOaep/SignAndEncrypt"),
        with_user(settings(&url(port), "None"), "secret"),
    ];
    let untrusted = Client::start(&security[2], &pki, &tags).lost();
    assert!(untrusted.contains("pki trust"), "{untrusted}");
    for listed in pki.list().into_iter().filter(|listed| listed.folder == annunciator::pki::Folder::Rejected) {
        pki.trust(&listed.thumbprint).unwrap();
    }
    for (round, settings) in (0..).zip(&security) {
        let client = Client::start(settings, &pki, &tags);
        client.connected();
        let mut seen = vec![None; expected.len()];
        while seen.iter().any(Option::is_none) {
            let sample = client.sample("first value of every tag", |_| true);
            seen[sample.tag.index()] = Some(sample.value);
        }
        if round == 0 {
            assert_eq!(
                seen.into_iter().map(Option::unwrap).collect::<Vec<_>>(),
                scalars().into_iter().map(|(_, value)| value).collect::<Vec<_>>()
            );
            plc.say("status Int16 40930000 2020-01-02T03:04:05.678Z");
            let sample = client.sample("uncertain", |sample| sample.tag == TagId(3) && sample.status.is_uncertain());
            assert_eq!((sample.value, sample.source_time), (Value::Int16(-30_000), stamp("2020-01-02T03:04:05.678Z")));
        }
        plc.say(&format!("set Int32 {round}"));
        client.value(5, &Value::Int32(round));
        assert_eq!(client.write(4, Value::UInt16(100 + u16::try_from(round).unwrap())), StatusCode::GOOD);
        plc.say("get UInt16");
        plc.line(&format!("value UInt16 {} UInt16", 100 + round), BOUND);
        client.stop();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = "/Objects/2:Plant".parse().unwrap();
    let plant = runtime.block_on(opcua::browse::browse(&security[0].server, &pki, URI, Some(&start), &|_| {})).unwrap().root;
    let types: Vec<_> = plant.children.iter().map(|node| (&*node.name, node.value_type.as_deref())).collect();
    assert_eq!(types, expected.iter().map(|(name, _)| (*name, Some(*name))).collect::<Vec<_>>());
}

#[test]
fn what_is_no_opc_ua_server_is_told_in_time() {
    let (_dir, pki) = pki();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut impatient = settings(&url(mute.local_addr().unwrap().port()), "None");
    impatient.server.timeout = Duration::from_millis(500);
    let reason = Client::start(&impatient, &pki, &[]).lost();
    assert!(reason.contains("took longer than 500ms"), "{reason}");

    // Stopping does not wait for it.
    impatient.server.timeout = Duration::from_mins(1);
    Client::start(&impatient, &pki, &[]).stop();

    for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"ACKF\xff\xff\xff\x7f", &[0; 4096]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(answer);
            }
        });
        impatient.server.url = url(port);
        impatient.server.timeout = Duration::from_secs(2);
        let reason = Client::start(&impatient, &pki, &[]).lost();
        assert!(reason.contains(&port.to_string()), "{reason}");
    }
}

#[test]
fn discarded_values_are_counted() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut plc) = node_opcua(port, folder.path()) else { return };
    let (_dir, pki) = pki();
    let mut settings = settings(&format!("opc.tcp://localhost:{port}/plant"), "None");
    settings.publishing = Duration::from_secs(1);
    settings.queue = 2;
    let client = Client::start(&settings, &pki, &[("Int32", "Int32", "nsu=urn:test:plant;s=Int32")]);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    plc.say("ramp Int32 20 50");
    plc.line("done ramp", BOUND);
    client.value(0, &Value::Int32(19));
    assert!(client.stats.overflows.load(Ordering::Relaxed) > 0);
    client.stop();
}

#[test]
fn what_a_server_has_is_listed_and_becomes_tags() {
    let port = free_port();
    let Some(plc) = asyncua(port, &["--items", "1500", "--limit", "1000", "--rich"]) else { return };
    let (_dir, pki) = pki();
    let server = settings(&url(port), "None").server;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let list = |start: Option<&str>| {
        let start = start.map(|start| start.parse().unwrap());
        runtime.block_on(opcua::browse::browse(&server, &pki, URI, start.as_ref(), &|_| {}))
    };
    let tree = list(None).unwrap();
    assert!(tree.incomplete.is_empty(), "{:?}", tree.incomplete);
    let tree = tree.root;
    let plant = tree.children.iter().find(|node| node.name == "Plant").unwrap();
    let found = |name: &str| plant.children.iter().find(|node| node.name == name).unwrap();
    assert_eq!(plant.children.len(), 1500 + 16);
    let int16 = found("Int16");
    assert_eq!((int16.address.as_str(), int16.value_type.as_deref(), int16.writable), (&*address("Int16"), Some("Int16"), true));
    assert_eq!(found("Text").value_type.as_deref(), Some("String"));
    assert_eq!((found("Item7").value_type.as_deref(), found("Item7").writable), (Some("Int32"), false));
    assert!(tree.to_string().contains("    Int16  [Int16, writable]  nsu=urn:test:plant;s=Int16\n"), "{tree}");

    // The listed addresses are those that a source takes.
    let below = list(Some("/Objects/2:Plant")).unwrap().root;
    assert_eq!((below.name.as_str(), below.children.len()), ("Plant", plant.children.len()));
    let file = below.tag_file("plc", true).text;
    assert!(file.contains("[[tag]]\npath = \"plc/Double\"\ntype = \"Double\"\nsource = \"plc\"\naddress = \"nsu=urn:test:plant;s=Double\"\nwritable = true\n"), "{file}");
    rich(&list(Some("/Objects/2:Rich")).unwrap().root);
    assert!(list(Some("i=4711000")).unwrap_err().contains("i=4711000"));
    drop(plc);
    assert!(list(None).unwrap_err().contains("nothing answers"));
}

/// Analog items with unit and range, arrays, a structure, a matrix, something unreadable, a variable below a variable, a circle.
fn rich(root: &opcua::browse::Node) {
    let file = root.tag_file("plc", false);
    let expected = [
        "path = \"plc/Level\"\ntype = \"Double\"\nsource = \"plc\"\naddress = \"nsu=urn:test:plant;s=Level\"\nunit = \"°C\"\nrange = [-10.0, 120.0]\ndescription = \"Feed tank\"\n",
        "path = \"plc/Level.Raw\"\ntype = \"Int16\"\n",
        "path = \"plc/Recipe\"\ntype = \"Int16[]\"\n",
    ];
    for expected in expected {
        assert!(file.text.contains(expected), "{expected}\n{}", file.text);
    }
    let mut left_out: Vec<_> = file.left_out.iter().map(|left| (left.path.as_str(), left.why.as_str())).collect();
    left_out.sort_unstable();
    let expected = [
        ("plc/Matrix", "its values have 2 dimensions"),
        ("plc/Secret", "this user may not read it"),
        ("plc/Structure", "its values are structures"),
    ];
    assert_eq!(left_out, expected);
    assert_eq!(file.tags, 3, "{}", file.text);
}

/// Between client and server: the first Publish answer with a certain Int32 in it becomes a fault, and so does every Republish
/// answer when asked for. Only for connections without security.
struct Thief {
    port: u16,
    /// What is stolen next; zero for nothing.
    steal: Arc<AtomicI32>,
    refuse: Arc<AtomicBool>,
}

const PUBLISH_RESPONSE: u16 = 829;
const REPUBLISH_RESPONSE: u16 = 835;
const SERVICE_FAULT: u16 = 397;

impl Thief {
    fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let thief = Self { port: listener.local_addr().unwrap().port(), steal: Arc::default(), refuse: Arc::default() };
        let (steal, refuse) = (Arc::clone(&thief.steal), Arc::clone(&thief.refuse));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut up_from, &mut up_to);
                    let _ = up_to.shutdown(std::net::Shutdown::Both);
                });
                let (steal, refuse) = (Arc::clone(&steal), Arc::clone(&refuse));
                std::thread::spawn(move || Self::down(server, client, &steal, &refuse));
            }
        });
        thief
    }

    /// Frames from the server, one by one (Part 6, 6.7.2): type, size, channel, token, sequence number, request, body.
    fn down(mut server: TcpStream, mut client: TcpStream, steal: &AtomicI32, refuse: &AtomicBool) {
        let mut header = [0; 8];
        while server.read_exact(&mut header).is_ok() {
            let size = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
            let mut frame = header.to_vec();
            frame.resize(size, 0);
            if server.read_exact(&mut frame[8..]).is_err() {
                break;
            }
            let kind = if frame.starts_with(b"MSGF") { u16::from_le_bytes([frame[26], frame[27]]) } else { 0 };
            let stolen = match kind {
                PUBLISH_RESPONSE => {
                    let wanted = steal.load(Ordering::SeqCst);
                    wanted != 0
                        && frame.windows(4).any(|bytes| bytes == wanted.to_le_bytes())
                        && steal.compare_exchange(wanted, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
                }
                REPUBLISH_RESPONSE => refuse.load(Ordering::SeqCst),
                _ => false,
            };
            if stolen {
                // Service fault: the same time stamp and request handle, BadTimeout, no diagnostics, strings or header.
                let mut fault = frame[..40].to_vec();
                fault[26..28].copy_from_slice(&SERVICE_FAULT.to_le_bytes());
                fault.extend(0x800A_0000_u32.to_le_bytes());
                fault.extend([0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
                let size = u32::try_from(fault.len()).unwrap();
                fault[4..8].copy_from_slice(&size.to_le_bytes());
                frame = fault;
            }
            if client.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
    }
}

#[test]
fn lost_notifications_are_fetched_again_or_everything_is_read_anew() {
    let port = free_port();
    let Some(mut plc) = asyncua(port, &[]) else { return };
    let (_dir, pki) = pki();
    let thief = Thief::start(port);
    let tags = [("Int32", "Int32", "nsu=urn:test:plant;s=Int32"), ("Int16", "Int16", "nsu=urn:test:plant;s=Int16")];
    let client = Client::start(&settings(&url(thief.port), "None"), &pki, &tags);
    client.connected();
    client.value(0, &Value::Int32(-2_000_000_000));
    for (value, refuse) in (0x5EED_0001..).zip([false, true, false]) {
        thief.refuse.store(refuse, Ordering::SeqCst);
        thief.steal.store(value, Ordering::SeqCst);
        plc.say(&format!("set Int32 {value}"));
        plc.line("done", BOUND);
        // The server's clock alone moves from here on: its next message shows the gap.
        let sample = client.sample("the lost value", |sample| sample.tag == TagId(0));
        assert_eq!(sample.value, Value::Int32(value));
        assert_eq!(thief.steal.load(Ordering::SeqCst), 0, "something was stolen");
        if refuse {
            client.value(1, &Value::Int16(-30_000));
        }
    }
    client.stop();
}
