//! Our OPC UA client against our OPC UA server: every policy and mode, renewal of the channel, and somebody between them.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use annunciator::{
    engine::plan::{Role, Secret},
    pki::Pki,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
    source::opcua::OpcuaSettings,
    tag::{StatusCode, Value},
};
use tokio_util::sync::CancellationToken;

use crate::{
    opcua_client::{Client, URI, pki, settings},
    support::{
        BOUND,
        plant::{Plant, past},
    },
};

const COUNTER: &str = "Plant/Line1/Counter";
const TAGS: [(&str, &str, &str); 2] =
    [("Counter", "Int32", "/Objects/2:Plant/2:Line1/2:Counter"), ("Pump", "Boolean", "/Objects/2:Plant/2:Line1/2:Pump")];

/// A server and a client's folder that trust each other.
struct Site {
    runtime: tokio::runtime::Runtime,
    plant: Arc<Plant>,
    running: Option<Running>,
    port: u16,
    stop: CancellationToken,
    pki: Pki,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    fn start(life: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![
                SecurityPolicy::None,
                SecurityPolicy::Basic256Sha256,
                SecurityPolicy::Aes128Sha256RsaOaep,
                SecurityPolicy::Aes256Sha256RsaPss,
            ],
            anonymous: Some(Role::Engineer),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        settings.limits.token = (life, life);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let server = folder.path().join("pki");
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        let (client_folder, pki) = pki();
        let own = pki.own(URI, &[]).unwrap();
        fs::copy(own.certificate_file, server.join("trusted/client.der")).unwrap();
        fs::copy(server.join("own/cert.der"), pki.dir().join("trusted/server.der")).unwrap();
        let port = running.address.port();
        Self { runtime, plant, port, running: Some(running), stop, pki, _folders: [folder, client_folder] }
    }

    fn settings(port: u16, security: &str) -> OpcuaSettings {
        let mut settings = settings(&format!("opc.tcp://127.0.0.1:{port}/annunciator"), security);
        if security != "None" {
            settings.server.user = Some("olga".to_owned());
            settings.server.password = Some(Secret::new("öl pump 7"));
        }
        settings
    }

    fn client(&self, port: u16, security: &str) -> Client {
        Client::start(&Self::settings(port, security), &self.pki, &TAGS)
    }

    fn count(&self, client: &Client, number: i32) {
        self.plant.set(COUNTER, Value::Int32(number), StatusCode::GOOD, past(number.into()));
        client.value(0, &Value::Int32(number));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, running.ended()).await });
            assert!(ended.is_ok() || std::thread::panicking(), "the server does not end");
        }
    }
}

const SECURITY: [&str; 7] = [
    "None",
    "Basic256Sha256/Sign",
    "Basic256Sha256/SignAndEncrypt",
    "Aes128Sha256RsaOaep/Sign",
    "Aes128Sha256RsaOaep/SignAndEncrypt",
    "Aes256Sha256RsaPss/Sign",
    "Aes256Sha256RsaPss/SignAndEncrypt",
];

/// How long a token must live so that all clients can renew theirs on this machine as busy as it is: the time for it is half of the
/// life (from 75 % to 125 %), and renewing costs no more than connecting.
fn life() -> Duration {
    let site = Site::start(Duration::from_secs(600));
    let began = Instant::now();
    let clients = SECURITY.map(|security| site.client(site.port, security));
    for client in &clients {
        client.connected();
    }
    let life = (began.elapsed() * 6).clamp(Duration::from_secs(6), Duration::from_secs(30));
    for client in clients {
        client.stop();
    }
    life
}

#[test]
fn every_policy_and_mode_outlives_its_tokens() {
    let life = life();
    let site = Site::start(life);
    let clients = SECURITY.map(|security| (security, site.client(site.port, security)));
    for (_, client) in &clients {
        client.connected();
    }
    // Three tokens of each channel, renewed twice while values come; the first one's end passes.
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < life * 2 {
        number += 1;
        site.plant.set(COUNTER, Value::Int32(number), StatusCode::GOOD, past(number.into()));
        for (_, client) in &clients {
            client.value(0, &Value::Int32(number));
        }
    }
    for (security, client) in clients {
        assert_eq!(client.write(1, Value::Boolean(true)), StatusCode::GOOD, "{security}");
        client.stop();
    }
}

/// Between client and server: changes frames from the server, numbered over all connections.
fn between(server: u16, change: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (change, number) = (Arc::new(change), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up_from, &mut up_to);
                let _ = up_to.shutdown(std::net::Shutdown::Both);
            });
            let (change, number) = (Arc::clone(&change), Arc::clone(&number));
            std::thread::spawn(move || down(server, client, &*change, &number));
        }
    });
    port
}

fn down(mut server: TcpStream, mut client: TcpStream, change: &dyn Fn(usize, &mut Vec<u8>), number: &AtomicUsize) {
    let mut header = [0; 8];
    while server.read_exact(&mut header).is_ok() {
        let size = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
        let mut frame = header.to_vec();
        frame.resize(size, 0);
        if server.read_exact(&mut frame[8..]).is_err() {
            break;
        }
        change(number.fetch_add(1, Ordering::SeqCst), &mut frame);
        if client.write_all(&frame).is_err() {
            break;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// Frames of the first connection: ACK, OPN, the endpoints. Of the second: ACK, then this one.
const OPEN: usize = 4;

#[test]
fn who_stands_between_changes_nothing_unseen() {
    let site = Site::start(Duration::from_secs(60));
    for security in ["Basic256Sha256/Sign", "Basic256Sha256/SignAndEncrypt", "Aes256Sha256RsaPss/SignAndEncrypt"] {
        // The channel's answer, the session's, a notification; a bit at the beginning of what is secured, in it, at its end.
        for frame in [OPEN, OPEN + 1, OPEN + 9] {
            for from_end in [1, 40, 300] {
                let port = between(site.port, move |number, bytes| {
                    if number == frame {
                        let place = bytes.len().saturating_sub(from_end).max(24);
                        bytes[place] ^= 1;
                    }
                });
                let reason = site.client(port, security).lost();
                assert!(reason.contains("cannot be decoded"), "{security}, {from_end} bytes before the end of {frame}: {reason}");
            }
        }
        let port = between(site.port, |number, bytes| {
            if number == OPEN + 9 {
                bytes.extend_from_within(..);
            }
        });
        let reason = site.client(port, security).lost();
        assert!(reason.contains("out of sequence"), "{security}, replayed: {reason}");
    }
    // Unchanged frames pass.
    let port = between(site.port, |_, _| {});
    let client = site.client(port, "Basic256Sha256/SignAndEncrypt");
    client.connected();
    site.count(&client, 1);
    client.stop();
}

#[test]
fn a_weaker_offer_than_configured_is_not_taken() {
    let site = Site::start(Duration::from_secs(60));
    // Whoever stands between renames the policy that the client wants: it is not offered any more.
    let port = between(site.port, |_, bytes| {
        let (wanted, other) = (b"#Basic256Sha256", b"#Basic256Sha25X");
        while let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at..at + other.len()].copy_from_slice(other);
        }
    });
    let reason = site.client(port, "Basic256Sha256/SignAndEncrypt").lost();
    assert!(reason.contains("does not offer \"Basic256Sha256/SignAndEncrypt\""), "{reason}");
}
