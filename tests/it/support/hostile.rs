//! An OPC UA server without security that answers honestly where its trick lets it, byte by byte under a test's control.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use annunciator::{
    tag::{Timestamp, Value},
    ua::wire::{Id, Reader, Writer},
};

pub const HELLO: u32 = 0;
pub const OPEN: u32 = 446;
pub const GET_ENDPOINTS: u32 = 428;
pub const CREATE_SESSION: u32 = 461;
pub const ACTIVATE_SESSION: u32 = 467;
pub const CLOSE_SESSION: u32 = 473;
pub const BROWSE: u32 = 527;
pub const READ: u32 = 631;
pub const CREATE_ITEMS: u32 = 751;
pub const CREATE_SUBSCRIPTION: u32 = 787;
pub const PUBLISH: u32 = 826;
pub const STEPS: [u32; 8] =
    [HELLO, OPEN, GET_ENDPOINTS, CREATE_SESSION, ACTIVATE_SESSION, READ, CREATE_SUBSCRIPTION, CREATE_ITEMS];

/// How often the server's clock ticks.
const CLOCK: Duration = Duration::from_millis(100);

/// What a trick does with a request.
pub enum Play {
    /// The honest answer.
    Honest,
    /// These bytes as the answer's message.
    Body(Vec<u8>),
    /// These bytes as they are.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Silence,
    /// The connection ends.
    Close,
}

pub type Trick = dyn Fn(&Request, &mut Conversation) -> Play + Send + Sync;

/// A request as it came.
pub struct Request {
    pub kind: u32,
    pub handle: u32,
    pub id: u32,
    pub body: Vec<u8>,
}

/// One connection of the server.
pub struct Conversation {
    pub stream: TcpStream,
    pub sequence: u32,
    pub notification: u32,
}

/// A server that answers honestly where its trick lets it.
pub struct Server {
    port: u16,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(trick: impl Fn(&Request, &mut Conversation) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), connections: Arc::default() };
        let (trick, connections): (Arc<Trick>, _) = (Arc::new(trick), Arc::clone(&server.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let trick = Arc::clone(&trick);
                let conversation = Conversation { stream, sequence: 0, notification: 0 };
                std::thread::spawn(move || conversation.run(&*trick));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/plant", self.port)
    }
}

impl Conversation {
    fn run(mut self, trick: &Trick) -> Option<()> {
        loop {
            let request = self.receive()?;
            match trick(&request, &mut self) {
                Play::Honest if request.kind == PUBLISH => self.publish(&request)?,
                Play::Honest => {
                    let body = honest(&request);
                    self.answer(&request, &body)?;
                }
                Play::Body(body) => self.answer(&request, &body)?,
                Play::Raw(bytes) => self.stream.write_all(&bytes).ok()?,
                Play::Silence => {
                    let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
                    return None;
                }
                Play::Close => return None,
            }
        }
    }

    fn receive(&mut self) -> Option<Request> {
        let mut bytes = vec![0; 8];
        self.stream.read_exact(&mut bytes).ok()?;
        let size = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        bytes.resize(size, 0);
        self.stream.read_exact(&mut bytes[8..]).ok()?;
        if bytes.starts_with(b"HEL") {
            return Some(Request { kind: HELLO, handle: 0, id: 0, body: Vec::new() });
        }
        let open = bytes.starts_with(b"OPN");
        let mut reader = Reader::new(&bytes[12..]);
        if open {
            let _security = (reader.bytes().ok()?, reader.bytes().ok()?, reader.bytes().ok()?);
        } else {
            reader.u32().ok()?;
        }
        reader.u32().ok()?;
        let id = reader.u32().ok()?;
        let kind = reader.id().ok()?.standard()?;
        reader.id().ok()?;
        reader.time().ok()?;
        let handle = reader.u32().ok()?;
        let _rest = (reader.u32().ok()?, reader.bytes().ok()?, reader.u32().ok()?, reader.extension().ok()?);
        Some(Request { kind, handle, id, body: reader.rest().to_vec() })
    }

    /// Sends a message as one chunk.
    pub fn answer(&mut self, request: &Request, body: &[u8]) -> Option<()> {
        if request.kind == HELLO {
            return self.stream.write_all(body).ok();
        }
        let mut from = 0;
        // Chunks as large as the client takes.
        loop {
            let part = &body[from..body.len().min(from + 60_000)];
            from += part.len();
            let last = if from == body.len() { b'F' } else { b'C' };
            let chunk = self.chunk(request, last, part);
            self.stream.write_all(&chunk).ok()?;
            if last == b'F' {
                return Some(());
            }
        }
    }

    pub fn chunk(&mut self, request: &Request, part: u8, body: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        chunk(request.kind == OPEN, part, (7, 1, self.sequence, request.id), body)
    }

    /// Answers the first Publish with values, the others with the server's clock, a little later.
    fn publish(&mut self, request: &Request) -> Option<()> {
        self.notification += 1;
        let body = if self.notification == 1 {
            notification(request, 1, &[7; 3])
        } else {
            std::thread::sleep(CLOCK);
            data_change(request, self.notification, 1, |w| {
                w.u32(u32::MAX);
                w.u8(1);
                w.variant(&Value::DateTime(Timestamp::NULL));
            })
        };
        self.answer(request, &body)
    }
}

pub fn chunk(open: bool, part: u8, numbers: (u32, u32, u32, u32), body: &[u8]) -> Vec<u8> {
    let mut w = Writer(if open { b"OPN".to_vec() } else { b"MSG".to_vec() });
    w.u8(part);
    w.u32(0);
    w.u32(numbers.0);
    if open {
        w.text("http://opcfoundation.org/UA/SecurityPolicy#None");
        w.null();
        w.null();
    } else {
        w.u32(numbers.1);
    }
    w.u32(numbers.2);
    w.u32(numbers.3);
    w.0.extend_from_slice(body);
    let size = u32::try_from(w.0.len()).unwrap();
    w.0[4..8].copy_from_slice(&size.to_le_bytes());
    w.0
}

/// A response of the type `kind` up to its diagnostics.
pub fn headed(kind: u32, handle: u32, result: u32) -> Writer {
    let mut w = Writer::default();
    w.standard(kind);
    w.time(Timestamp::NULL);
    w.u32(handle);
    w.u32(result);
    w
}

/// A response of the type that belongs to `request`, with its header.
pub fn response(request: &Request) -> Writer {
    let mut w = headed(request.kind + 3, request.handle, 0);
    w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    w
}

pub fn honest(request: &Request) -> Vec<u8> {
    if request.kind == HELLO {
        let mut w = Writer(b"ACKF".to_vec());
        for number in [28, 0, 65_536, 65_536, 0, 0] {
            w.u32(number);
        }
        return w.0;
    }
    let mut w = response(request);
    match request.kind {
        OPEN => {
            for number in [0, 7, 1] {
                w.u32(number);
            }
            w.time(Timestamp::NULL);
            w.u32(3_600_000);
            w.null();
        }
        GET_ENDPOINTS => endpoints(&mut w),
        CREATE_SESSION => {
            w.id(Id::numeric(1, 1));
            w.id(Id::numeric(1, 2));
            w.f64(60_000.0);
            w.bytes(&[5; 32]);
            w.null();
            endpoints(&mut w);
            w.null();
            w.null();
            w.null();
            w.u32(0);
        }
        ACTIVATE_SESSION => {
            w.bytes(&[6; 32]);
            w.null();
            w.null();
        }
        READ => read(&request.body, &mut w),
        BROWSE => {
            w.count(1);
            w.u32(0);
            w.null();
            w.count(0);
            w.null();
        }
        CREATE_SUBSCRIPTION => {
            w.u32(9);
            w.f64(50.0);
            w.u32(100);
            w.u32(20);
        }
        CREATE_ITEMS => {
            let mut asked = Reader::new(&request.body);
            let _subscription = (asked.u32().unwrap(), asked.u32().unwrap());
            let count = asked.count(1).unwrap();
            w.count(count);
            for item in 0..count {
                w.u32(0);
                w.u32(u32::try_from(item).unwrap());
                w.f64(10.0);
                w.u32(1);
                w.0.extend_from_slice(&[0, 0, 0]);
            }
            w.null();
        }
        CLOSE_SESSION => {}
        _ => {
            // A fault: the service does not exist.
            let mut w = headed(397, request.handle, 0x800B_0000);
            w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
            return w.0;
        }
    }
    w.0
}

fn endpoints(w: &mut Writer) {
    w.count(1);
    w.text("opc.tcp://127.0.0.1:4840/plant");
    // The application: URI, product, name, type, gateway, profile, URLs.
    w.text("urn:hostile");
    w.null();
    w.localized_text("hostile");
    w.u32(0);
    w.null();
    w.null();
    w.null();
    w.null();
    w.u32(1);
    w.text("http://opcfoundation.org/UA/SecurityPolicy#None");
    w.count(1);
    w.text("anonymous");
    w.u32(0);
    w.null();
    w.null();
    w.null();
    w.text("http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary");
    w.u8(0);
}

/// One answer for each node that was asked for: the namespaces, `Int32` as every data type, 7 as every value.
fn read(asked: &[u8], w: &mut Writer) {
    let mut asked = Reader::new(asked);
    let _age = (asked.f64().unwrap(), asked.u32().unwrap());
    let count = asked.count(1).unwrap();
    w.count(count);
    for _ in 0..count {
        let node = asked.id().unwrap().standard();
        let attribute = asked.u32().unwrap();
        let _range = (asked.bytes().unwrap(), asked.qualified_name().unwrap());
        match (node, attribute) {
            (Some(2255), _) => {
                w.u8(1);
                w.array(12, 2);
                w.text("http://opcfoundation.org/UA/");
                w.text("urn:hostile");
            }
            (Some(_), 13) => w.0.extend_from_slice(&[1, 6, 0, 0, 0, 0]),
            (_, 14) => w.0.extend_from_slice(&[1, 17, 0, 6]),
            (_, 18) => w.0.extend_from_slice(&[1, 3, 3]),
            _ => {
                w.u8(1);
                w.variant(&Value::Int32(7));
            }
        }
    }
    w.null();
}

pub fn notification(request: &Request, sequence: u32, values: &[i32]) -> Vec<u8> {
    data_change(request, sequence, values.len(), |w| {
        for (value, handle) in values.iter().zip(1..) {
            w.u32(handle);
            w.u8(1);
            w.variant(&Value::Int32(*value));
        }
    })
}

pub fn data_change(request: &Request, sequence: u32, count: usize, items: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = response(request);
    w.u32(9);
    w.null();
    w.boolean(false);
    w.u32(sequence);
    w.time(Timestamp::NULL);
    w.count(1);
    w.extension(Id::numeric(0, 811), |w| {
        w.count(count);
        items(w);
        w.null();
    });
    w.null();
    w.null();
    w.0
}
