//! The OPC UA client against servers that are broken or mean harm: whatever one of them sends, its source says so and everything
//! else goes on.

use std::{
    fmt::Write as _,
    io::Write,
    sync::{Arc, Mutex, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use annunciator::{
    engine::plan::Settings,
    pki::Pki,
    source::{
        Link, SessionEnd, SourceSink, SourceStats,
        opcua::{self, OpcuaSettings},
    },
    tag::{Sample, Value},
    ua::wire::Id,
};
use tokio_util::sync::CancellationToken;

use crate::{
    opcua_client::{settings, tag},
    support::{
        BOUND,
        alone::{Memory, alone},
        hostile::{
            CREATE_ITEMS, Conversation, GET_ENDPOINTS, HELLO, OPEN, PUBLISH, Play, READ, Request, STEPS, Server, chunk,
            data_change, headed, honest, response,
        },
        program::{ALICE, Plant, until},
    },
};

/// How long the client waits for an answer here.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Levels of nesting; far fewer overflow the stack of a decoder that follows them.
const LEVELS: usize = 60_000;

/// Forwards what a session reports.
struct Sink(Mutex<mpsc::Sender<Sample>>);

impl SourceSink for Sink {
    fn connected(&self, _: &str) {}

    fn samples(&self, _: &str, samples: Vec<Sample>) {
        let sender = self.0.lock().unwrap();
        for sample in samples {
            drop(sender.send(sample));
        }
    }

    fn alive(&self, _: &str) {}
}

/// One session of the driver with three tags.
struct Client {
    runtime: tokio::runtime::Runtime,
    session: tokio::task::JoinHandle<SessionEnd>,
    samples: mpsc::Receiver<Sample>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Client {
    fn start(server: &Server) -> Self {
        let mut settings: OpcuaSettings = settings(&server.url(), "None");
        settings.server.timeout = TIMEOUT;
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (sender, samples) = mpsc::channel();
        let (_, requests) = tokio::sync::mpsc::channel(1);
        let stop = CancellationToken::new();
        let names = ["A", "B", "C"];
        let mut link = Link {
            name: "plc".into(),
            tags: names.iter().enumerate().map(|(id, name)| tag(id, name, "Int32", &format!("ns=1;s={name}"))).collect(),
            requests,
            stop: stop.clone(),
            stats: Arc::new(SourceStats::default()),
            sink: Arc::new(Sink(Mutex::new(sender))),
        };
        let settings: Settings = Arc::new(settings);
        let mut source = opcua::new(&settings, Arc::new(pki), "urn:test:annunciator");
        let session = runtime.spawn(async move { source.session(&mut link).await });
        Self { runtime, session, samples, stop, _folder: folder }
    }

    /// Why the session ended; a panic of the source fails the test.
    fn lost(self) -> String {
        let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, self.session).await });
        match ended.expect("the session ends").expect("the source does not panic") {
            SessionEnd::Lost(reason) => reason,
            SessionEnd::Stopped => panic!("stopped instead of lost"),
        }
    }

    fn value(&self) {
        let sample = self.samples.recv_timeout(BOUND).expect("a value");
        assert_eq!(sample.value, Value::Int32(7));
    }

    fn stop(self) {
        self.stop.cancel();
        let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, self.session).await });
        assert_eq!(ended.unwrap().unwrap(), SessionEnd::Stopped);
    }
}

/// A trick for requests of one kind; others are answered honestly.
fn at(kind: u32, play: impl Fn(&Request, &mut Conversation) -> Play + Send + Sync + 'static) -> Server {
    Server::start(move |request, conversation| if request.kind == kind { play(request, conversation) } else { Play::Honest })
}

/// What each of these servers does to the source; all at the same time.
fn all_lost(servers: &[(String, Server)], expected: &str) {
    let clients: Vec<_> = servers.iter().map(|(what, server)| (what, Client::start(server))).collect();
    for (what, client) in clients {
        let reason = client.lost();
        assert!(reason.contains(expected), "{what}: {reason}");
    }
}

/// Somebody else goes on while all this happens.
fn beside(test: impl FnOnce()) {
    let server = Server::start(|_, _| Play::Honest);
    let other = Client::start(&server);
    other.value();
    test();
    assert!(!other.session.is_finished(), "the other source has ended");
    other.stop();
}

/// Nested DiagnosticInfo where a response's header has its diagnostics.
fn nested_diagnostics(request: &Request) -> Vec<u8> {
    let mut w = headed(request.kind + 3, request.handle, 0);
    w.0.extend(std::iter::repeat_n(0x40, LEVELS));
    w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    w.0
}

#[test]
fn nested_diagnostics_end_the_session_only() {
    alone(|| {
        let steps = STEPS.into_iter().chain([PUBLISH]).filter(|step| *step != HELLO);
        let servers = steps.map(|step| (step.to_string(), at(step, |request, _| Play::Body(nested_diagnostics(request)))));
        beside(|| all_lost(&servers.collect::<Vec<_>>(), "cannot be decoded"));
    });
}

#[test]
fn nested_values_end_the_session_only() {
    alone(|| {
        let mut servers = Vec::new();
        let kinds: [(&str, &[u8], &[u8]); 5] = [
            ("DataValue in Variant in DataValue", &[], &[1, 23]),
            ("Variant in Variant", &[1], &[24]),
            ("DiagnosticInfo in Variant", &[1, 25], &[0x40]),
            ("DataValue[] in Variant[] in DataValue[]", &[1], &[0x97, 1, 0, 0, 0, 1]),
            ("Variant[] in Variant[]", &[1], &[0x98, 1, 0, 0, 0]),
        ];
        for (what, before, nested) in kinds {
            let value = [before, &nested.repeat(LEVELS)].concat();
            let in_read = value.clone();
            let publish = at(PUBLISH, move |request, _| {
                Play::Body(data_change(request, 1, 1, |w| {
                    w.u32(1);
                    w.0.extend_from_slice(&value);
                }))
            });
            let read = at(READ, move |request, _| {
                let mut w = response(request);
                w.count(1);
                w.0.extend_from_slice(&in_read);
                Play::Body(w.0)
            });
            servers.extend([(format!("{what}, published"), publish), (format!("{what}, read"), read)]);
        }
        beside(|| all_lost(&servers, "cannot be decoded"));
    });
}

#[test]
fn sizes_and_counts_are_believed_only_when_they_are_there() {
    alone(|| {
        let memory = Memory::watch();
        let mut servers = Vec::new();
        for step in STEPS.into_iter().chain([PUBLISH]) {
            let kind = if step == HELLO {
                b"ACKF"
            } else if step == OPEN {
                b"OPNF"
            } else {
                b"MSGF"
            };
            for size in [0xFFFF_FFF0_u32, 65_537, 7] {
                let announce = [&kind[..], &size.to_le_bytes()].concat();
                servers.push((format!("{step}: a chunk of {size}"), at(step, move |_, _| Play::Raw(announce.clone()))));
            }
        }
        for step in [GET_ENDPOINTS, READ, CREATE_ITEMS] {
            for count in [0x7FFF_FFFF_u32, 0xFFFF_FFFE, 100_000_000] {
                let server = at(step, move |request, _| {
                    let mut w = response(request);
                    w.u32(count);
                    Play::Body(w.0)
                });
                servers.push((format!("{step}: {count} elements"), server));
            }
        }
        for (what, value) in [
            ("an array", &[1_u8, 0x86, 0xFF, 0xFF, 0xFF, 0x7F][..]),
            ("a text", &[1, 12, 0xFF, 0xFF, 0xFF, 0x7F]),
            ("a byte string", &[1, 15, 0xFE, 0xFF, 0xFF, 0xFF]),
            ("a structure", &[1, 22, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0x7F]),
            ("an unknown type", &[1, 63, 0]),
        ] {
            let server = at(PUBLISH, move |request, _| {
                Play::Body(data_change(request, 1, 1, |w| {
                    w.u32(1);
                    w.0.extend_from_slice(value);
                }))
            });
            servers.push((format!("{what} without end"), server));
        }
        let counted = at(PUBLISH, |request, _| Play::Body(data_change(request, 1, 1 << 30, |_| {})));
        servers.push(("a billion notifications".to_owned(), counted));
        beside(|| all_lost(&servers, "cannot be decoded"));
        memory.assert_within(100);
    });
}

#[test]
fn endless_chunks_end_where_the_limit_is() {
    alone(|| {
        let memory = Memory::watch();
        let endless = |size: usize| {
            move |request: &Request, conversation: &mut Conversation| {
                let body = vec![0; size];
                loop {
                    let chunk = conversation.chunk(request, b'C', &body);
                    if conversation.stream.write_all(&chunk).is_err() {
                        return Play::Close;
                    }
                }
            }
        };
        let mut servers = Vec::new();
        for step in [GET_ENDPOINTS, READ, PUBLISH] {
            for size in [0, 60_000] {
                servers.push((format!("{step}: chunks of {size}"), at(step, endless(size))));
            }
        }
        beside(|| all_lost(&servers, "larger than"));
        memory.assert_within(200);
    });
}

#[test]
fn what_does_not_belong_here_ends_the_session() {
    alone(|| {
        let raw = |numbers: fn(&Request, &Conversation) -> (u32, u32, u32, u32)| {
            move |request: &Request, conversation: &mut Conversation| {
                let numbers = numbers(request, conversation);
                Play::Raw(chunk(false, b'F', numbers, &honest(request)))
            }
        };
        let servers = [
            ("another channel", at(READ, raw(|request, it| (8, 1, it.sequence + 1, request.id)))),
            ("another token", at(READ, raw(|request, it| (7, 2, it.sequence + 1, request.id)))),
            ("a sequence number again", at(READ, raw(|request, it| (7, 1, it.sequence, request.id)))),
            ("a sequence number left out", at(READ, raw(|request, it| (7, 1, it.sequence + 2, request.id)))),
            ("another request", at(READ, raw(|_, it| (7, 1, it.sequence + 1, 4_000)))),
            ("request 0", at(READ, raw(|_, it| (7, 1, it.sequence + 1, 0)))),
            ("another type", at(READ, |request, _| Play::Body(other_header(CREATE_ITEMS + 3, request.handle)))),
            ("an unknown type", at(READ, |request, _| Play::Body(other_header(4_711, request.handle)))),
            ("another handle", at(READ, |request, _| Play::Body(other_header(READ + 3, request.handle + 1)))),
            ("a good fault", at(READ, |request, _| Play::Body(other_header(397, request.handle)))),
            (
                "a channel that nobody opens",
                at(READ, |request, _| Play::Raw(chunk(true, b'F', (7, 1, 9, request.id), &honest(request)))),
            ),
            (
                "a second acknowledgement",
                at(READ, |_, _| Play::Raw(b"ACKF\x1c\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0".to_vec())),
            ),
            ("a hello", at(READ, |_, _| Play::Raw(b"HELF\x08\0\0\0".to_vec()))),
            (
                "too few results",
                at(READ, |request, _| {
                    let mut w = response(request);
                    w.count(0);
                    Play::Body(w.0)
                }),
            ),
            (
                "a replayed answer",
                at(READ, |request, it| {
                    let sequence = it.sequence + 1;
                    let chunk = chunk(false, b'F', (7, 1, sequence, request.id), &honest(request));
                    Play::Raw([&chunk[..], &chunk].concat())
                }),
            ),
            (
                "mixed answers",
                at(READ, |request, it| {
                    let first = it.chunk(request, b'C', &[1]);
                    it.sequence += 1;
                    let second = chunk(false, b'F', (7, 1, it.sequence, request.id - 1), &[1]);
                    Play::Raw([first, second].concat())
                }),
            ),
        ];
        beside(|| all_lost(&servers.map(|(what, server)| (what.to_owned(), server)), "cannot be decoded"));
    });
}

fn other_header(kind: u32, handle: u32) -> Vec<u8> {
    let mut w = headed(kind, handle, 0);
    w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    w.0
}

#[test]
fn what_nobody_asked_for_is_passed_over() {
    let server = at(PUBLISH, |request, it| {
        if it.notification > 0 {
            return Play::Honest;
        }
        // A second answer to an earlier request, then unknown notifications, an unknown item, another subscription.
        let late = Request { kind: READ, handle: 1, id: 1, body: Vec::new() };
        let again = it.chunk(&late, b'F', &other_header(READ + 3, 1));
        it.stream.write_all(&again).unwrap();
        it.notification += 1;
        let mut w = response(request);
        w.u32(9);
        w.null();
        w.boolean(false);
        w.u32(1);
        w.u64(0);
        w.count(3);
        w.extension(Id::numeric(0, 916), |w| w.u8(0xFF));
        w.extension(Id::text(3, "vendor"), |w| w.u32(7));
        w.extension(Id::numeric(0, 811), |w| {
            w.count(2);
            for handle in [4_000_u32, 2] {
                w.u32(handle);
                w.u8(1);
                w.variant(&Value::Int32(7));
            }
            w.null();
        });
        w.null();
        w.null();
        Play::Body(w.0)
    });
    let client = Client::start(&server);
    client.value();
    client.stop();
}

#[test]
fn silence_halves_and_hasty_ends_are_told_in_time() {
    let mut servers = Vec::new();
    for step in STEPS.into_iter().chain([PUBLISH]) {
        servers.push((format!("{step}: silence"), at(step, |_, _| Play::Silence)));
        servers.push((format!("{step}: the end"), at(step, |_, _| Play::Close)));
        let half = at(step, |request, it| {
            let whole = if request.kind == HELLO { honest(request) } else { it.chunk(request, b'F', &honest(request)) };
            let _ = it.stream.write_all(&whole[..whole.len() / 2]);
            Play::Silence
        });
        servers.push((format!("{step}: half an answer"), half));
    }
    beside(|| {
        let started = Instant::now();
        all_lost(&servers, "");
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    });
}

#[test]
fn a_flood_of_values_keeps_nobody_from_stopping() {
    alone(|| {
        let memory = Memory::watch();
        let server = at(PUBLISH, |request, it| {
            it.notification += 1;
            let sequence = it.notification;
            Play::Body(data_change(request, sequence, 5_000, |w| {
                for handle in (1..=3).cycle().take(5_000) {
                    w.u32(handle);
                    w.u8(1);
                    w.variant(&Value::Int32(7));
                }
            }))
        });
        beside(|| {
            let client = Client::start(&server);
            for _ in 0..200_000 {
                client.value();
            }
            client.stop();
        });
        memory.assert_within(300);
    });
}

/// The whole program: what these servers do is seen on their own tags; alarms of another source still reach people.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_servers_do_not_keep_an_alarm_from_people() {
    let diagnostics = at(GET_ENDPOINTS, |request, _| Play::Body(nested_diagnostics(request)));
    let values = at(PUBLISH, |request, it| {
        // Values at first, so that there is something to lose.
        if it.notification == 0 {
            return Play::Honest;
        }
        Play::Body(data_change(request, 2, 1, |w| {
            w.u32(1);
            w.0.extend([1, 23].repeat(LEVELS));
        }))
    });
    let hasty = at(OPEN, |_, _| Play::Close);
    let servers = [("diagnostics", diagnostics), ("values", values), ("hasty", hasty)];
    let mut more = String::new();
    let mut tags = String::from(
        "[[tag]]\npath = 'Pump'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:1000'\n\
         [[tag.alarm]]\nname = 'Fault'\npriority = 'high'\nmessage = 'Pump fault'\npipeline = 'on-call'\n",
    );
    for (name, server) in &servers {
        let url = server.url();
        let _ =
            write!(more, "[[source]]\nname = '{name}'\nkind = 'opcua'\nurl = '{url}'\nsecurity = 'None'\npublishing = '50ms'\n");
        let _ = write!(tags, "[[tag]]\npath = '{name}'\ntype = 'Int32'\nsource = '{name}'\naddress = 'ns=1;s=A'\n");
    }
    let plant = Plant::new(&tags, &more).await;
    let daemon = plant.start().await;
    for (name, server) in &servers {
        // Each was tried again and again.
        let tried = async || (server.connections.load(Ordering::SeqCst) >= 3).then_some(());
        until(&format!("connections to {name}"), BOUND, tried).await;
        let lost = async || {
            let quality = daemon.get(&format!("tags/{name}")).await["status"].to_string();
            (quality.contains("NoCommunication") || quality.contains("WaitingForInitialData")).then_some(())
        };
        until(&format!("{name} is lost"), BOUND, lost).await;
    }
    daemon.logged("cannot be decoded").await;
    plant.plc.as_ref().unwrap().plant.set_coils(1_000, &[true]);
    daemon.alarm_is("Pump/Alarms/Fault", "ActiveUnacked").await;
    let told = async || plant.twilio.phone(ALICE).into_iter().find(|text| text.body.contains("Pump fault"));
    until("a text", BOUND, told).await;
    daemon.stop();
}
