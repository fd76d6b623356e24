//! The server and the one client of it, in turn on one thread, so that the fuzzer sees what its bytes have done.

use std::{sync::Arc, time::Duration};

use annunciator::{
    engine::plan::Role,
    serve::opcua::{Running, SecurityPolicy, Settings, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_util::sync::CancellationToken;

use crate::{
    bytes::{NOTHING_MORE, OPEN, READ, count, id, null, number, request, target, text, token_of},
    plant::Plant,
    requests::{Good, good_requests},
};

/// Where an answer's own part begins: behind frame, channel, token, sequence header, type and header.
const BODY: usize = 8 + 16 + 4 + 24;
/// The request id that ends a turn.
const END: u32 = 0x00E2_D0FF;

pub struct World {
    runtime: Runtime,
    running: Running,
    client: Option<Client>,
    _plant: Arc<Plant>,
    _folder: tempfile::TempDir,
}

struct Client {
    stream: TcpStream,
    channel: [u8; 8],
    sequence: u32,
    session: Vec<u8>,
    good: Vec<Good>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: vec![SecurityPolicy::None],
            anonymous: Some(Role::Engineer),
            pki: folder.path().join("pki"),
            ..Settings::default()
        };
        let limits = &mut settings.limits;
        (limits.subscriptions, limits.items) = (40, 2_000);
        (limits.sessions, limits.unactivated_per_peer) = (5_000, 4_000);
        limits.activation = Duration::from_millis(200);
        limits.session_timeout = (Duration::from_millis(500), Duration::from_secs(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let plant = Plant::new();
        let running = runtime.block_on(serve(settings, plant.clone(), CancellationToken::new())).unwrap();
        Self { runtime, running, client: None, _plant: plant, _folder: folder }
    }

    pub fn try_out(&mut self, data: &[u8]) {
        let Self { runtime, running, client, .. } = self;
        runtime.block_on(async {
            if client.is_none() {
                *client = Some(Client::log_in(TcpStream::connect(running.address).await.unwrap()).await);
            }
            let lives = client.as_mut().unwrap().try_out(data).await;
            if !lives {
                *client = None;
            }
        });
    }
}

impl Client {
    async fn log_in(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, channel: [0; 8], sequence: 0, session: null(), good: Vec::new() };
        let sizes = [0, 65_536, 65_536, 0, 0_u32].map(u32::to_le_bytes).concat();
        client.send(b"HELF", &[sizes, text("opc.tcp://localhost")].concat()).await;
        client.receive().await.expect("ACK");
        let security = [text("http://opcfoundation.org/UA/SecurityPolicy#None"), vec![0xFF; 8]].concat();
        let numbers = [0_u32, 0, 1].map(u32::to_le_bytes).concat();
        let body = [request(OPEN, &null(), NOTHING_MORE), numbers, vec![0xFF; 4], count(3_600_000)].concat();
        client.sequence = 1;
        let sequence = [1, 1_u32].map(u32::to_le_bytes).concat();
        client.send(b"OPNF", &[&[0; 4][..], &security, &sequence, &body].concat()).await;
        let opened = client.receive().await.expect("OPN");
        // Frame, channel, policy, two nulls, sequence header, type, header, protocol version; then channel and token.
        client.channel = opened[111..119].try_into().unwrap();
        let application = [text("urn:x"), text(""), vec![0], count(1), text(""), text(""), count(0)].concat();
        let create = [application, text(""), text("opc.tcp://x"), text("name"), vec![0xFF; 8], vec![0; 8], vec![0; 4]].concat();
        let made = client.call(461, &create).await;
        assert_eq!(number(&made, 40), 0, "no session");
        client.session = token_of(&made[BODY..]);
        client.call(467, &[&[0xFF; 8][..], &count(0), &count(0), NOTHING_MORE, &[0xFF; 8]].concat()).await;
        let terms = [&50.0_f64.to_le_bytes()[..], &count(1_000), &count(10), &count(0), &[1, 0]].concat();
        let made = client.call(787, &terms).await;
        let subscription = if number(&made, 40) == 0 { number(&made, BODY) } else { 0 };
        client.good = good_requests(subscription, 1);
        client
    }

    /// False when the connection has ended, as it should for what breaks the channel.
    async fn try_out(&mut self, data: &[u8]) -> bool {
        let Some((first, rest)) = data.split_first() else { return true };
        let rest = &rest[..rest.len().min(60_000)];
        let message = match usize::from(*first).checked_sub(1) {
            Some(service) => {
                let kind = self.good[service % self.good.len()].kind;
                [request(kind, &self.session, NOTHING_MORE), rest.to_vec()].concat()
            }
            None => rest.to_vec(),
        };
        self.message(9, &message).await;
        let state = [&[0; 8][..], &count(2), &count(1), &target(&id(2_259), 13, "")].concat();
        let end = [request(READ, &self.session, NOTHING_MORE), state].concat();
        self.message(END, &end).await;
        loop {
            let answer = self.receive().await.expect("the server's task is gone");
            if &answer[..3] == b"ERR" {
                return false;
            }
            if number(&answer, 20) == END {
                return number(&answer, 40) == 0;
            }
        }
    }

    async fn call(&mut self, kind: u32, body: &[u8]) -> Vec<u8> {
        let message = [request(kind, &self.session, NOTHING_MORE), body.to_vec()].concat();
        self.message(9, &message).await;
        let answer = self.receive().await.expect("an answer");
        assert_eq!(&answer[..3], b"MSG", "service {kind}: {:08X}", number(&answer, 8));
        answer
    }

    async fn message(&mut self, request_id: u32, body: &[u8]) {
        self.sequence += 1;
        let numbers = [self.sequence, request_id].map(u32::to_le_bytes).concat();
        self.send(b"MSGF", &[&self.channel[..], &numbers, body].concat()).await;
    }

    async fn send(&mut self, kind: &[u8; 4], content: &[u8]) {
        // A server that refuses early may have closed by now.
        drop(self.stream.write_all(&[&kind[..], &count(8 + content.len()), content].concat()).await);
    }

    /// The next chunk from its first byte on.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut chunk = vec![0; 8];
        self.stream.read_exact(&mut chunk).await.ok()?;
        chunk.resize(number(&chunk, 4) as usize, 0);
        self.stream.read_exact(&mut chunk[8..]).await.ok()?;
        Some(chunk)
    }
}
