//! An OPC UA client made of bytes, for what no library's client would send, and a server for it to send it to.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use annunciator::{
    engine::plan::Role,
    serve::{
        Gateway,
        opcua::{Running, SecurityPolicy, Settings, serve},
    },
};
use tokio_util::sync::CancellationToken;

pub use super::bytes::*;
use super::{BOUND, plant::Plant};

/// A server of its own that listens on loopback without security.
pub struct Target<G: Gateway = Plant> {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    pub plant: Arc<G>,
    stop: CancellationToken,
    /// Its data: `pki` is below.
    pub folder: tempfile::TempDir,
}

impl Target {
    /// Starts it; anonymous users are engineers unless `change` says otherwise.
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(Plant::new(), change)
    }
}

impl<G: Gateway + 'static> Target<G> {
    /// The same over another gateway.
    pub fn over(plant: Arc<G>, change: impl FnOnce(&mut Settings)) -> Self {
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
        let stop = CancellationToken::new();
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, running: Some(running), plant, stop, folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address
    }

    pub fn url(&self) -> &str {
        &self.running.as_ref().unwrap().endpoint
    }

    pub fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address()).unwrap())
    }

    /// With an activated session.
    pub fn log_in(&self) -> Peer {
        let mut peer = self.connect();
        peer.log_in();
        peer
    }

    /// Somebody else is still served.
    pub fn assert_alive(&self) {
        let mut peer = self.connect();
        peer.hello();
        peer.open();
        assert_eq!(peer.call(GET_ENDPOINTS, &[text(""), count(0), count(0)].concat()).kind, 431);
    }
}

impl<G: Gateway> Drop for Target<G> {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.running.take().map(Running::ended);
        let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, async { ended.unwrap().await }).await });
        assert!(ended.is_ok() || std::thread::panicking(), "the server does not end");
    }
}

/// A connection.
pub struct Peer {
    pub stream: TcpStream,
    /// Of the last chunk that was sent.
    pub sequence: u32,
    pub channel: u32,
    pub token: u32,
    /// The encoded authentication token.
    pub session: Vec<u8>,
}

/// A response: type, service result, what follows the header.
#[derive(Debug)]
pub struct Answer {
    pub kind: u32,
    pub status: u32,
    pub body: Vec<u8>,
}

impl Answer {
    /// Type and service result.
    pub fn head(&self) -> (u32, u32) {
        (self.kind, self.status)
    }

    /// The codes of an answer that is an array of StatusCode.
    pub fn codes(&self) -> Vec<u32> {
        assert_eq!(self.status, 0, "service result of {}: {:08X}", self.kind, self.status);
        (0..number(&self.body, 0) as usize).map(|place| number(&self.body, 4 + 4 * place)).collect()
    }
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sequence: 0, channel: 0, token: 0, session: null() }
    }

    /// A connection from another loopback address.
    pub fn from(address: [u8; 4], to: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        Self::new(socket.into())
    }

    pub fn send(&mut self, kind: [u8; 4], content: &[u8]) {
        let bytes = [&kind[..], &count(8 + content.len()), content].concat();
        // A server that refuses early may have closed by now.
        drop(self.stream.write_all(&bytes));
    }

    /// The next message: its type and what follows type and size; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<(String, Vec<u8>)> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).ok()?;
        let mut content = vec![0; number(&header, 4) as usize - 8];
        self.stream.read_exact(&mut content).ok()?;
        Some((String::from_utf8_lossy(&header[..3]).into_owned(), content))
    }

    /// The code of the ERR that must come next; what comes before it is passed over.
    pub fn error(&mut self) -> u32 {
        loop {
            match self.receive() {
                Some((kind, content)) if kind == "ERR" => return number(&content, 0),
                Some(_) => {}
                None => panic!("the connection ended without ERR"),
            }
        }
    }

    pub fn hello(&mut self) {
        let sizes = [0, 65_536, 65_536, 0, 0_u32].map(u32::to_le_bytes).concat();
        self.send(*b"HELF", &[sizes, text("opc.tcp://localhost")].concat());
        assert_eq!(self.receive().unwrap().0, "ACK");
    }

    /// OpenSecureChannel without security; issue (0) or renew (1).
    pub fn open_with(&mut self, kind: u32, additional: &[u8]) -> Option<(String, Vec<u8>)> {
        let security = [text("http://opcfoundation.org/UA/SecurityPolicy#None"), vec![0xFF; 8]].concat();
        let body =
            [request(OPEN, &null(), additional), [0, kind, 1].map(u32::to_le_bytes).concat(), vec![0xFF; 4], count(60_000)];
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = [self.sequence, 1].map(u32::to_le_bytes).concat();
        self.send(*b"OPNF", &[&self.channel.to_le_bytes(), &security[..], &sequence, &body.concat()].concat());
        self.receive()
    }

    pub fn open(&mut self) {
        let (kind, content) = self.open_with(0, NOTHING_MORE).unwrap();
        assert_eq!(kind, "OPN");
        // Channel, policy, two nulls, sequence header, type, header, protocol version; then the token.
        let at = 4 + 4 + 47 + 8 + 8 + 4 + 24 + 4;
        self.channel = number(&content, at);
        self.token = number(&content, at + 4);
    }

    /// One chunk: `F` the last, `C` before the last, `A` never mind.
    pub fn message(&mut self, part: u8, body: &[u8]) {
        let bytes = self.chunk(part, body);
        drop(self.stream.write_all(&bytes));
    }

    /// The bytes of a chunk that is the next one of this channel.
    pub fn chunk(&mut self, part: u8, body: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let numbers = [self.channel, self.token, self.sequence, 9].map(u32::to_le_bytes).concat();
        [&[b'M', b'S', b'G', part][..], &count(8 + 16 + body.len()), &numbers, body].concat()
    }

    pub fn call(&mut self, kind: u32, body: &[u8]) -> Answer {
        let header = request(kind, &self.session, NOTHING_MORE);
        let message = [&header, body].concat();
        let mut pieces = message.chunks(60_000).peekable();
        while let Some(piece) = pieces.next() {
            self.message(if pieces.peek().is_some() { b'C' } else { b'F' }, piece);
        }
        self.answer()
    }

    pub fn answer(&mut self) -> Answer {
        let mut whole = Vec::new();
        loop {
            let mut header = [0; 8];
            self.stream.read_exact(&mut header).expect("an answer");
            let mut content = vec![0; number(&header, 4) as usize - 8];
            self.stream.read_exact(&mut content).expect("a whole answer");
            assert_eq!(&header[..3], b"MSG", "{:08X}", number(&content, 0));
            whole.extend_from_slice(&content[16..]);
            if header[3] == b'F' {
                break;
            }
        }
        let kind = u32::from(u16::from_le_bytes([whole[2], whole[3]]));
        assert_eq!(number(&whole, 12), 4711, "request handle");
        Answer { kind, status: number(&whole, 16), body: whole[28..].to_vec() }
    }

    pub fn create_session(&mut self) -> Answer {
        let application = [text("urn:x"), text(""), vec![0], count(1), text(""), text(""), count(0)].concat();
        let body = [application, text(""), text("opc.tcp://x"), text("name"), vec![0xFF; 8], vec![0; 8], vec![0; 4]];
        self.call(CREATE_SESSION, &body.concat())
    }

    /// HEL, OPN, and an activated anonymous session.
    pub fn log_in(&mut self) {
        self.hello();
        self.open();
        self.new_session();
    }

    /// An activated anonymous session on this channel; the one before it is not closed.
    pub fn new_session(&mut self) {
        assert_eq!(self.try_session(), 0, "no session");
    }

    /// The same; or why it is refused.
    pub fn try_session(&mut self) -> u32 {
        self.session = null();
        let answer = self.create_session();
        if answer.status == 0 {
            self.session = token_of(&answer.body);
            return self.activate_as(NOTHING_MORE).status;
        }
        answer.status
    }

    pub fn activate(&mut self) {
        assert_eq!(self.activate_as(NOTHING_MORE).head(), (470, 0));
    }

    /// ActivateSession with an identity token.
    pub fn activate_as(&mut self, token: &[u8]) -> Answer {
        self.call(ACTIVATE_SESSION, &[vec![0xFF; 8], count(0), count(0), token.to_vec(), vec![0xFF; 8]].concat())
    }

    pub fn close_session(&mut self, delete_subscriptions: bool) -> Answer {
        self.call(CLOSE_SESSION, &[u8::from(delete_subscriptions)])
    }

    /// Read of these ReadValueIds.
    pub fn read(&mut self, targets: &[Vec<u8>]) -> Answer {
        self.call(READ, &[vec![0; 8], count(2), count(targets.len()), targets.concat()].concat())
    }

    pub fn read_state(&mut self) -> u32 {
        self.read(&[target(&id(2_259), 13, "")]).status
    }

    /// Writes an encoded DataValue to the Value of each node.
    pub fn write(&mut self, nodes: &[Vec<u8>], range: &str, value: &[u8]) -> Answer {
        let each = |node: &Vec<u8>| [node, &count(13)[..], &text(range), value].concat();
        self.call(WRITE, &[count(nodes.len()), nodes.iter().map(each).collect::<Vec<_>>().concat()].concat())
    }

    /// CreateSubscription: interval in ms, lifetime and keep-alive counts.
    pub fn subscription(&mut self, interval: f64, lifetime: u32, keep_alive: u32) -> Answer {
        let counts = [lifetime, keep_alive, 0].map(u32::to_le_bytes).concat();
        self.call(CREATE_SUBSCRIPTION, &[&interval.to_le_bytes()[..], &counts, &[1, 0]].concat())
    }

    /// CreateMonitoredItems of one item that reports: sampling interval in ms, an encoded filter, queue size.
    pub fn item(&mut self, subscription: u32, target: &[u8], sampling: f64, filter: &[u8], queue: u32) -> Answer {
        let asked = [&count(1)[..], &sampling.to_le_bytes(), filter, &queue.to_le_bytes(), &[1]].concat();
        let head = [&subscription.to_le_bytes()[..], &count(2), &count(1)].concat();
        self.call(CREATE_ITEMS, &[head, target.to_vec(), count(2), asked].concat())
    }
}
