//! The one load client for all servers: blocking, one request in flight a session, requests encoded once and sent again with new
//! numbers, answers looked at once in full and then by type, result and size, so that it is never the slowest part.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use annunciator::{
    clock,
    pki::OwnCertificate,
    ua::wire::{Id, Malformed, Read, Reader, Writer},
};
use opcua::{
    core::{
        comms::{
            message_chunk::MessageChunk,
            secure_channel::{Role, SecureChannel},
        },
        sync::RwLock,
    },
    crypto::{CertificateStore, SecurityPolicy, X509, create_signature_data, random},
    types::{ByteString, ChannelSecurityToken, ContextOwned, DateTime, MessageSecurityMode},
};

/// Chunks of ours and of the server have at most these bytes.
const CHUNK: usize = 65_536;
/// Bytes before the body of a MSG.
const HEADER: usize = 24;
/// Room for signature and padding.
const SECURITY: usize = 256;
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What went wrong, for people.
pub fn failed(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

impl From<Unreadable> for io::Error {
    fn from(_: Unreadable) -> Self {
        failed("the server's answer cannot be read")
    }
}

/// An answer breaks the encoding's rules.
pub struct Unreadable;

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// Who the client is on a secured channel, and to whom it speaks.
pub struct Identity {
    pub own: Arc<OwnCertificate>,
    pub server: X509,
}

/// A request that is sent many times: whole chunks, in which only the numbers change.
pub struct Prepared {
    chunks: Vec<Vec<u8>>,
}

pub struct Client {
    stream: TcpStream,
    channel: u32,
    token: u32,
    sequence: u32,
    request: u32,
    /// The session's secret, encoded.
    session: Vec<u8>,
    secure: Option<SecureChannel>,
    /// The last answer as it came.
    input: Vec<u8>,
    body: Vec<u8>,
    output: Vec<u8>,
}

impl Client {
    /// An activated anonymous session.
    pub fn connect(address: SocketAddr, identity: Option<&Identity>) -> io::Result<Self> {
        let mut client = Self::open(address, identity)?;
        let url = format!("opc.tcp://{address}");
        let own = identity.map(|identity| identity.own.certificate.as_byte_string());
        client.call(461, |w| {
            w.text("urn:bench:client");
            w.text("urn:bench");
            w.localized_text("bench");
            w.u32(1);
            w.null();
            w.null();
            w.count(0);
            w.null();
            w.text(&url);
            w.text("bench");
            w.bytes(&[7; 32]);
            match &own {
                Some(certificate) => w.bytes(certificate.as_ref()),
                None => w.null(),
            }
            w.f64(600_000.0);
            w.u32(0);
        })?;
        let created = Created::read(&client.body, identity.is_some())?;
        let mut session = Writer::default();
        session.id(created.token);
        let (policy, nonce, certificate) = (created.policy.to_owned(), created.nonce.to_vec(), created.certificate.to_vec());
        client.session = session.0;
        client.call(467, |w| {
            match identity {
                None => {
                    w.null();
                    w.null();
                }
                Some(identity) => {
                    let (certificate, nonce) = (ByteString::from(certificate), ByteString::from(nonce));
                    let key = &identity.own.key;
                    let signature = create_signature_data(key, SecurityPolicy::Basic256Sha256, &certificate, &nonce);
                    let signature = signature.expect("the key signs");
                    w.text(signature.algorithm.as_ref());
                    w.bytes(signature.signature.as_ref());
                }
            }
            w.count(0);
            w.count(0);
            w.extension(Id::numeric(0, 321), |w| w.text(&policy));
            w.null();
            w.null();
        })?;
        Ok(client)
    }

    /// A channel without a session.
    fn open(address: SocketAddr, identity: Option<&Identity>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut hello = Writer(b"HELF\0\0\0\0".to_vec());
        for number in [0, 65_536, 65_536, 0, 0] {
            hello.u32(number);
        }
        hello.text(&format!("opc.tcp://{address}"));
        let size = u32::try_from(hello.0.len()).expect("a short message");
        hello.0[4..8].copy_from_slice(&size.to_le_bytes());
        stream.write_all(&hello.0)?;
        let mut client = Self {
            stream,
            channel: 0,
            token: 0,
            sequence: 0,
            request: 0,
            session: vec![0, 0],
            secure: None,
            input: Vec::new(),
            body: Vec::new(),
            output: Vec::new(),
        };
        client.read_chunk()?;
        client.open_channel(identity)?;
        Ok(client)
    }

    fn open_channel(&mut self, identity: Option<&Identity>) -> io::Result<()> {
        let policy = if identity.is_some() { SecurityPolicy::Basic256Sha256 } else { SecurityPolicy::None };
        let nonce = random::byte_string(32);
        let mut w = Writer(b"OPNF\0\0\0\0\0\0\0\0".to_vec());
        w.text(policy.to_uri());
        match identity {
            Some(identity) => {
                w.bytes(identity.own.certificate.as_byte_string().as_ref());
                w.bytes(identity.server.thumbprint().value());
            }
            None => {
                w.null();
                w.null();
            }
        }
        w.u32(self.next_sequence());
        self.request += 1;
        w.u32(self.request);
        self.header(446, &mut w);
        w.u32(0);
        w.u32(0);
        w.u32(if identity.is_some() { 3 } else { 1 });
        if identity.is_some() {
            w.bytes(nonce.as_ref());
        } else {
            w.null();
        }
        w.u32(3_600_000);
        let size = u32::try_from(w.0.len()).expect("a short message");
        w.0[4..8].copy_from_slice(&size.to_le_bytes());
        let mut secure = identity.map(|identity| new_secure_channel(identity, policy)).transpose()?;
        if let Some(secure) = &mut secure {
            secure.set_local_nonce(nonce.as_ref());
            let mut sealed = vec![0; w.0.len() + 4096];
            let length = secure.apply_security(&MessageChunk { data: w.0.into() }, &mut sealed);
            sealed.truncate(length.map_err(|error| failed(format!("the OPN cannot be secured: {error}")))?);
            self.stream.write_all(&sealed)?;
        } else {
            self.stream.write_all(&w.0)?;
        }
        self.read_chunk()?;
        let clear = match &mut secure {
            Some(secure) => {
                let opened = secure.verify_and_remove_security(self.input.clone().into());
                opened
                    .map_err(|error| failed(format!("the answer to OPN is not secured as it should be: {error}")))?
                    .data
                    .to_vec()
            }
            None => self.input.clone(),
        };
        let (channel, token, theirs) = read_opened(&clear)?;
        (self.channel, self.token) = (channel, token);
        if let Some(mut secure) = secure {
            secure.set_security_token(ChannelSecurityToken {
                channel_id: channel,
                token_id: token,
                created_at: DateTime::now(),
                revised_lifetime: 3_600_000,
            });
            secure.set_remote_nonce(&theirs);
            secure.derive_keys();
            self.secure = Some(secure);
        }
        Ok(())
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    fn header(&self, type_id: u32, w: &mut Writer) {
        w.standard(type_id);
        w.0.extend_from_slice(&self.session);
        // Some servers refuse requests without a time, or with an old one.
        w.time(clock::now());
        w.u32(1);
        w.u32(0);
        w.null();
        w.u32(0);
        w.0.extend_from_slice(&[0, 0, 0]);
    }

    /// Encodes a request.
    pub fn prepare(&self, type_id: u32, body: impl FnOnce(&mut Writer)) -> Prepared {
        let mut w = Writer::default();
        self.header(type_id, &mut w);
        body(&mut w);
        let parts: Vec<&[u8]> = w.0.chunks(CHUNK - HEADER - SECURITY).collect();
        let chunk = |(place, part): (usize, &&[u8])| {
            let last = if place + 1 == parts.len() { b'F' } else { b'C' };
            let mut chunk = Writer(vec![b'M', b'S', b'G', last]);
            chunk.count(HEADER + part.len());
            for number in [self.channel, self.token, 0, 0] {
                chunk.u32(number);
            }
            chunk.0.extend_from_slice(part);
            chunk.0
        };
        Prepared { chunks: parts.iter().enumerate().map(chunk).collect() }
    }

    /// Sends a request; its answer is for [`Self::receive`].
    pub fn send(&mut self, prepared: &mut Prepared) -> io::Result<()> {
        self.request += 1;
        self.output.clear();
        for chunk in &mut prepared.chunks {
            self.sequence += 1;
            chunk[16..20].copy_from_slice(&self.sequence.to_le_bytes());
            chunk[20..24].copy_from_slice(&self.request.to_le_bytes());
            let Some(secure) = &self.secure else {
                self.output.extend_from_slice(chunk);
                continue;
            };
            let begin = self.output.len();
            self.output.resize(begin + chunk.len() + 2 * SECURITY, 0);
            let sealed = secure.apply_security(&MessageChunk { data: chunk.clone().into() }, &mut self.output[begin..]);
            let length = sealed.map_err(|error| failed(format!("a request cannot be secured: {error}")))?;
            self.output.truncate(begin + length);
        }
        self.stream.write_all(&self.output)
    }

    /// Takes the next answer off the wire without opening it; its bytes.
    pub fn receive_unopened(&mut self) -> io::Result<usize> {
        let mut all = 0;
        loop {
            let last = self.read_chunk()?;
            all += self.input.len();
            if last {
                return Ok(all);
            }
        }
    }

    /// The next answer from its type on; an error when it is a fault.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        self.body.clear();
        loop {
            let last = self.read_chunk()?;
            match &mut self.secure {
                None => self.body.extend_from_slice(self.input.get(HEADER..).ok_or(Unreadable)?),
                Some(secure) => {
                    let opened = secure.verify_and_remove_security(self.input.clone().into());
                    let opened = opened.map_err(|error| failed(format!("an answer is not secured as it should be: {error}")))?;
                    self.body.extend_from_slice(opened.data.get(HEADER..).ok_or(Unreadable)?);
                }
            }
            if last {
                break;
            }
        }
        let mut reader = Reader::new(&self.body);
        let head = (|| Ok((reader.id()?, reader.time()?, reader.u32()?, reader.u32()?)))();
        let (type_id, _, _, result) = head.map_err(|_: Malformed| Unreadable)?;
        if result != 0 {
            return Err(failed(format!("the server answered {result:#010x} ({type_id:?})")));
        }
        Ok(&self.body)
    }

    /// Sends a request and gives what follows its answer's header.
    pub fn call(&mut self, type_id: u32, body: impl FnOnce(&mut Writer)) -> io::Result<&[u8]> {
        let mut prepared = self.prepare(type_id, body);
        self.send(&mut prepared)?;
        after_header(self.receive()?)
    }

    /// Reads one chunk into `input`; true when it is its message's last.
    fn read_chunk(&mut self) -> io::Result<bool> {
        self.input.resize(8, 0);
        self.stream.read_exact(&mut self.input)?;
        let size = u32::from_le_bytes(self.input[4..8].try_into().expect("four bytes")) as usize;
        if !(8..=2 * CHUNK).contains(&size) {
            return Err(failed("a chunk of strange size"));
        }
        self.input.resize(size, 0);
        self.stream.read_exact(&mut self.input[8..])?;
        if self.input.starts_with(b"ERR") {
            return Err(failed(format!("the server closed the connection: {:02x?}", &self.input[8..12])));
        }
        Ok(self.input[3] == b'F')
    }
}

/// What follows a response's header.
pub fn after_header(body: &[u8]) -> io::Result<&[u8]> {
    let mut reader = Reader::new(body);
    let parts = (|| {
        reader.id()?;
        reader.time()?;
        reader.u32()?;
        reader.u32()?;
        let diagnostics = reader.u8()?;
        let texts = reader.count(4)?;
        for _ in 0..texts {
            reader.text()?;
        }
        reader.extension()?;
        Ok(diagnostics)
    })();
    match parts {
        Ok(0) => Ok(reader.rest()),
        Ok(_) | Err(Malformed) => Err(Unreadable.into()),
    }
}

/// The certificate that a server shows to everybody.
pub fn server_certificate(address: SocketAddr) -> io::Result<X509> {
    let mut client = Client::open(address, None)?;
    let body = client.call(428, |w| {
        w.text(&format!("opc.tcp://{address}"));
        w.count(0);
        w.count(0);
    })?;
    let mut reader = Reader::new(body);
    let endpoints = endpoints(&mut reader).map_err(Unreadable::from)?;
    let endpoint = endpoints.iter().find(|endpoint| endpoint.mode == 3).ok_or_else(|| failed("no secured endpoint"))?;
    X509::from_der(endpoint.certificate).map_err(|_| failed("the server's certificate cannot be read"))
}

struct Endpoint<'a> {
    mode: u32,
    certificate: &'a [u8],
    policy: &'a str,
    anonymous: Option<&'a str>,
}

fn endpoints<'a>(reader: &mut Reader<'a>) -> Read<Vec<Endpoint<'a>>> {
    let count = reader.count(40)?;
    (0..count).map(|_| endpoint(reader)).collect()
}

fn endpoint<'a>(reader: &mut Reader<'a>) -> Read<Endpoint<'a>> {
    reader.text()?;
    reader.text()?;
    reader.text()?;
    reader.localized_text()?;
    reader.u32()?;
    reader.text()?;
    reader.text()?;
    for _ in 0..reader.count(4)? {
        reader.text()?;
    }
    let certificate = reader.bytes()?.unwrap_or_default();
    let (mode, policy) = (reader.u32()?, reader.text()?);
    let mut anonymous = None;
    for _ in 0..reader.count(20)? {
        let (id, kind) = (reader.text()?, reader.u32()?);
        reader.text()?;
        reader.text()?;
        reader.text()?;
        if kind == 0 && anonymous.is_none() {
            anonymous = Some(id);
        }
    }
    reader.text()?;
    reader.u8()?;
    Ok(Endpoint { mode, certificate, policy, anonymous })
}

/// What CreateSession gives.
struct Created<'a> {
    token: Id<'a>,
    nonce: &'a [u8],
    certificate: &'a [u8],
    policy: &'a str,
}

impl<'a> Created<'a> {
    fn read(body: &'a [u8], secured: bool) -> io::Result<Self> {
        let mut reader = Reader::new(after_header(body)?);
        let parts = (|| {
            reader.id()?;
            let token = reader.id()?;
            reader.f64()?;
            let (nonce, certificate) = (reader.bytes()?.unwrap_or_default(), reader.bytes()?.unwrap_or_default());
            Ok((token, nonce, certificate, endpoints(&mut reader)?))
        })();
        let (token, nonce, certificate, endpoints) = parts.map_err(|_: Malformed| Unreadable)?;
        let uri = if secured { SecurityPolicy::Basic256Sha256 } else { SecurityPolicy::None }.to_uri();
        let endpoint = endpoints.iter().find(|endpoint| endpoint.policy == uri && (endpoint.mode == 3) == secured);
        // A server without the endpoint in its list may take the token all the same.
        let policy = endpoint.and_then(|endpoint| endpoint.anonymous).unwrap_or("anonymous");
        Ok(Self { token, nonce, certificate, policy })
    }
}

fn read_opened(chunk: &[u8]) -> io::Result<(u32, u32, Vec<u8>)> {
    let mut reader = Reader::new(chunk.get(12..).ok_or(Unreadable)?);
    let begin = (|| {
        reader.text()?;
        reader.bytes()?;
        reader.bytes()?;
        Ok((reader.u32()?, reader.u32()?))
    })();
    begin.map_err(|_: Malformed| Unreadable)?;
    let mut reader = Reader::new(after_header(reader.rest())?);
    let parts = (|| {
        reader.u32()?;
        let (channel, token) = (reader.u32()?, reader.u32()?);
        reader.time()?;
        reader.u32()?;
        Ok((channel, token, reader.bytes()?.unwrap_or_default().to_vec()))
    })();
    parts.map_err(|_: Malformed| Unreadable.into())
}

fn new_secure_channel(identity: &Identity, policy: SecurityPolicy) -> io::Result<SecureChannel> {
    let store = Arc::new(RwLock::new(CertificateStore::new(Path::new(""))));
    let mut secure = SecureChannel::new(store, Role::Client, Arc::new(RwLock::new(ContextOwned::default())));
    secure.set_cert(Some(identity.own.certificate.clone()));
    secure.set_private_key(Some(identity.own.key.clone()));
    secure.set_security_policy(policy);
    secure.set_security_mode(MessageSecurityMode::SignAndEncrypt);
    let server = identity.server.as_byte_string();
    secure.set_remote_cert_from_byte_string(&server).map_err(|_| failed("the server's certificate cannot be used"))?;
    Ok(secure)
}
