//! Secure channels (Part 4, 5.6; Part 6, 6.7): opening, renewing, securing and checking every chunk.
//!
//! The cryptography is `secure`'s, one channel of the library for each token: the client shall see the old token until it uses the
//! new one itself. What is not checked there across messages is checked here: policy and certificate never change, sequence
//! numbers rise by one, tokens end, channel ids match.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opcua::{
    core::comms::secure_channel::{Role, SecureChannel},
    crypto::{SecurityPolicy, X509, random},
    types::{ChannelSecurityToken, DateTime, MessageSecurityMode},
};

use subtle::ConstantTimeEq;

use super::{
    decode::{self, RequestHeader},
    frame::{Frame, status},
    send,
    wire::{Malformed, Read, Reader},
};
use crate::{
    pki::{OwnCertificate, x509::split_chain},
    tag::StatusCode,
    ua::secure::{self, CHUNK_HEADER, Insecure, Keys, SYMMETRIC_HEADER},
};

/// Bytes of every nonce of ours; the standard asks for 32 with every policy.
pub const NONCE: usize = 32;
const MAX_CERTIFICATE: usize = 16 * 1024;

/// The security header of an OPN.
pub struct AsymmetricHeader<'a> {
    /// The policy.
    pub policy: SecurityPolicy,
    /// The client's certificate, DER.
    pub certificate: Option<&'a [u8]>,
    /// The rest of its chain, DER after DER.
    pub chain: &'a [u8],
    /// SHA-1 of the certificate of ours that the client used.
    thumbprint: &'a [u8],
    /// Where the sequence header begins.
    pub length: usize,
}

impl<'a> AsymmetricHeader<'a> {
    /// Reads it; nothing of it is secured yet.
    ///
    /// # Errors
    /// When it is malformed or names an unknown policy.
    pub fn read(bytes: &'a [u8]) -> Result<Self, StatusCode> {
        let parts = || -> Read<_> {
            let mut reader = Reader::new(bytes.get(CHUNK_HEADER..).ok_or(Malformed)?);
            let (uri, certificate) = (reader.text()?, reader.bytes()?);
            let thumbprint = reader.bytes()?.unwrap_or_default();
            Ok((uri, certificate, thumbprint, bytes.len() - reader.rest().len()))
        };
        let (uri, certificate, thumbprint, length) = parts().map_err(|_| status::BAD_DECODING_ERROR)?;
        let policy = policy_from_uri(uri).ok_or(status::BAD_SECURITY_POLICY_REJECTED)?;
        let certificate = certificate.filter(|certificate| !certificate.is_empty());
        if certificate.is_some_and(|certificate| certificate.len() > MAX_CERTIFICATE) {
            return Err(status::BAD_CERTIFICATE_INVALID);
        }
        if certificate.is_some() == (policy == SecurityPolicy::None) {
            return Err(status::BAD_CERTIFICATE_INVALID);
        }
        let (leaf, chain) = certificate.map(split_chain).unzip();
        Ok(Self { policy, certificate: leaf, chain: chain.unwrap_or_default(), thumbprint, length })
    }

    /// True when the client encrypted for `own`.
    fn is_for(&self, own: &OwnCertificate) -> bool {
        own.certificate.thumbprint().value().ct_eq(self.thumbprint).into()
    }
}

fn policy_from_uri(uri: &str) -> Option<SecurityPolicy> {
    secure::POLICIES.into_iter().find(|policy| policy.to_uri() == uri)
}

struct Token {
    id: u32,
    secure: SecureChannel,
    ends: Instant,
}

/// An open channel.
pub struct Channel {
    /// Given by us, unique among open channels.
    pub id: u32,
    /// Fixed at the first OPN.
    pub policy: SecurityPolicy,
    /// Fixed at the first OPN.
    pub mode: MessageSecurityMode,
    /// The client's certificate, DER; fixed at the first OPN.
    pub certificate: Option<Bytes>,
    /// What we showed at the first OPN; renewals keep to it.
    pub own: Arc<OwnCertificate>,
    /// Oldest first: the one that the client uses, and the one that was issued last.
    tokens: Vec<Token>,
    received: u32,
    sent: u32,
}

/// A decoded OpenSecureChannel request and what its answer needs.
pub struct Opening {
    /// The chunk as it came.
    pub frame: Bytes,
    /// Known before: `None` at the first OPN.
    pub renews: Option<(u32, MessageSecurityMode, u32)>,
    /// Of a new channel.
    pub new_id: u32,
    /// Of the new token.
    pub token: u32,
    /// Our certificate and key.
    pub own: Arc<OwnCertificate>,
    /// Sequence number of the answer.
    pub sequence: u32,
    /// Shortest and longest life of a token.
    pub life: (Duration, Duration),
    /// The modes that channels with security may have.
    pub modes: Vec<MessageSecurityMode>,
}

/// What an OPN leads to.
pub struct Opened {
    secure: SecureChannel,
    mode: MessageSecurityMode,
    policy: SecurityPolicy,
    certificate: Option<Bytes>,
    own: Arc<OwnCertificate>,
    id: u32,
    token: u32,
    life: Duration,
    received: u32,
    sent: u32,
    /// To be sent.
    pub answer: Vec<u8>,
}

/// An OPN that is refused with a ServiceFault, because it came from whom it says (Part 6, 6.7.4).
pub struct Refused {
    /// Why.
    pub status: StatusCode,
    received: u32,
    sent: u32,
    /// To be sent.
    pub answer: Vec<u8>,
}

struct OpenRequest<'a> {
    header: RequestHeader<'a>,
    renew: bool,
    mode: MessageSecurityMode,
    nonce: &'a [u8],
    lifetime: u32,
}

impl From<Insecure> for StatusCode {
    fn from(_: Insecure) -> Self {
        status::BAD_SECURITY_CHECKS_FAILED
    }
}

impl Opening {
    /// Checks the request and makes its answer: two operations with the private key, so off the reactor. Trust in the certificate
    /// is checked before, by the caller.
    ///
    /// # Errors
    /// The code for ERR; also when the library panics on what the peer sent. Inside: what is answered with a ServiceFault.
    pub fn run(self) -> Result<Result<Opened, Box<Refused>>, StatusCode> {
        catch_unwind(AssertUnwindSafe(|| self.open())).unwrap_or(Err(status::BAD_SECURITY_CHECKS_FAILED))
    }

    fn open(self) -> Result<Result<Opened, Box<Refused>>, StatusCode> {
        let header = AsymmetricHeader::read(&self.frame)?;
        let policy = header.policy;
        let client = header.certificate.map(certificate).transpose()?;
        let keys = client.as_ref().map(|peer| Keys { certificate: &self.own.certificate, key: &self.own.key, peer });
        let (head, sealed) = self.frame.split_at_checked(header.length).ok_or(status::BAD_DECODING_ERROR)?;
        let clear = match keys {
            Some(_) if !header.is_for(&self.own) => return Err(status::BAD_SECURITY_CHECKS_FAILED),
            Some(keys) => secure::open_asymmetric(policy, keys, head, sealed)?,
            None => sealed.to_vec(),
        };
        let mut body = Reader::new(&clear);
        let sequence = (|| Ok((body.u32()?, body.u32()?)))();
        let (received, request_id) = sequence.map_err(|_: Malformed| status::BAD_DECODING_ERROR)?;
        self.check_place(received)?;

        let (id, sent) = (self.renews.map_or(self.new_id, |(id, ..)| id), self.sequence);
        let request = read_open(body).map_err(|_| status::BAD_DECODING_ERROR);
        let request = request.and_then(|request| self.check(&request, policy).map(|()| request));
        let request = match request {
            Ok(request) => request,
            Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN) => return Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN),
            Err(status) => {
                let secure = self.secure(policy, MessageSecurityMode::SignAndEncrypt, keys);
                let id = self.renews.map_or(0, |(id, ..)| id);
                let fault = send::fault(decode::handle(body.rest()), status);
                let answer = secure::open_chunk(&secure, keys, [id, sent, request_id], &fault)?;
                return Ok(Err(Box::new(Refused { status, received, sent, answer })));
            }
        };
        let mode = request.mode;
        let life = Duration::from_millis(request.lifetime.into()).clamp(self.life.0, self.life.1);
        let lifetime = u32::try_from(life.as_millis()).unwrap_or(u32::MAX);
        let mut secure = self.secure(policy, mode, keys);
        secure.set_security_token(ChannelSecurityToken {
            channel_id: id,
            token_id: self.token,
            created_at: DateTime::now(),
            revised_lifetime: lifetime,
        });
        let nonce = random::byte_string(NONCE);
        if keys.is_some() {
            secure.set_local_nonce(nonce.as_ref());
            secure.set_remote_nonce(request.nonce);
            secure.derive_keys();
        }
        let body = open_response(&request, id, self.token, lifetime, nonce.as_ref());
        let answer = secure::open_chunk(&secure, keys, [id, sent, request_id], &body)?;
        let certificate = header.certificate.map(Bytes::copy_from_slice);
        let (own, token) = (self.own, self.token);
        Ok(Ok(Opened { secure, mode, policy, certificate, own, id, token, life, received, sent, answer }))
    }

    fn secure(&self, policy: SecurityPolicy, mode: MessageSecurityMode, keys: Option<Keys<'_>>) -> SecureChannel {
        let mut secure = secure::new_channel(Role::Server);
        secure.set_cert(Some(self.own.certificate.clone()));
        secure.set_private_key(Some(self.own.key.clone()));
        secure.set_security_policy(policy);
        secure.set_security_mode(mode);
        secure.set_remote_cert(keys.map(|keys| keys.peer.clone()));
        secure
    }

    /// A renewal comes through the channel that it renews, and in turn.
    fn check_place(&self, received: u32) -> Result<(), StatusCode> {
        let Some((id, _, last)) = self.renews else { return Ok(()) };
        if channel_id(&self.frame) != Some(id) {
            return Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN);
        }
        secure::follows(last, received).then_some(()).ok_or(status::BAD_SEQUENCE_NUMBER_INVALID)
    }

    fn check(&self, request: &OpenRequest<'_>, policy: SecurityPolicy) -> Result<(), StatusCode> {
        let plain = policy == SecurityPolicy::None;
        let offered = plain || self.modes.contains(&request.mode);
        if plain != (request.mode == MessageSecurityMode::None) || !offered {
            return Err(status::BAD_SECURITY_MODE_REJECTED);
        }
        if !plain && request.nonce.len() != policy.secure_channel_nonce_length() {
            return Err(status::BAD_NONCE_INVALID);
        }
        match self.renews {
            None if request.renew => Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN),
            Some(_) if !request.renew => Err(status::BAD_REQUEST_TYPE_INVALID),
            Some((_, mode, _)) if mode != request.mode => Err(status::BAD_SECURITY_MODE_REJECTED),
            None | Some(_) => Ok(()),
        }
    }
}

fn read_open(mut body: Reader<'_>) -> Read<OpenRequest<'_>> {
    let type_id = body.id()?;
    if type_id.standard() != Some(446) {
        return Err(Malformed);
    }
    let header = RequestHeader::read(&mut body)?;
    let _protocol_version = body.u32()?;
    let renew = match body.u32()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed),
    };
    let mode = match body.u32()? {
        1 => MessageSecurityMode::None,
        2 => MessageSecurityMode::Sign,
        3 => MessageSecurityMode::SignAndEncrypt,
        _ => return Err(Malformed),
    };
    let nonce = body.bytes()?.unwrap_or_default();
    Ok(OpenRequest { header, renew, mode, nonce, lifetime: body.u32()? })
}

fn open_response(request: &OpenRequest<'_>, id: u32, token: u32, lifetime: u32, nonce: &[u8]) -> Vec<u8> {
    let mut w = send::response(449, request.header.handle, StatusCode::GOOD);
    w.u32(0);
    w.u32(id);
    w.u32(token);
    w.time(crate::clock::now());
    w.u32(lifetime);
    w.bytes(nonce);
    w.0
}

fn channel_id(frame: &[u8]) -> Option<u32> {
    frame.get(8..12)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// A chunk of a message, its security checked and removed.
pub struct Part<'a> {
    /// Given by the client.
    pub request_id: u32,
    chunk: Chunk<'a>,
}

/// A chunk in clear: as it came, or as it was decrypted.
enum Chunk<'a> {
    Came(&'a [u8]),
    Opened(Bytes),
}

impl Part<'_> {
    /// The chunk without what stands before its body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.chunk.bytes().get(SYMMETRIC_HEADER..).unwrap_or_default()
    }
}

impl Chunk<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Came(bytes) => bytes,
            Self::Opened(bytes) => bytes,
        }
    }
}

impl Channel {
    /// A channel from its first OPN.
    #[must_use]
    pub fn new(opened: Opened, now: Instant) -> (Self, Vec<u8>) {
        let token = Token { id: opened.token, secure: opened.secure, ends: now + opened.life * 5 / 4 };
        let channel = Self {
            id: opened.id,
            policy: opened.policy,
            mode: opened.mode,
            certificate: opened.certificate,
            own: opened.own,
            tokens: vec![token],
            received: opened.received,
            sent: opened.sent,
        };
        (channel, opened.answer)
    }

    /// Takes a renewal; the old token goes on until the client uses the new one.
    #[must_use]
    pub fn renew(&mut self, opened: Opened, now: Instant) -> Vec<u8> {
        self.received = opened.received;
        self.sent = opened.sent;
        let token = Token { id: opened.token, secure: opened.secure, ends: now + opened.life * 5 / 4 };
        // An older renewal that the client never used is given up for this one.
        self.tokens.truncate(1);
        self.tokens.push(token);
        opened.answer
    }

    /// Goes on as before after a renewal that was refused.
    #[must_use]
    pub fn refuse(&mut self, refused: Refused) -> Vec<u8> {
        self.received = refused.received;
        self.sent = refused.sent;
        refused.answer
    }

    /// What a renewal must match.
    #[must_use]
    pub const fn renewal(&self) -> (u32, MessageSecurityMode, u32) {
        (self.id, self.mode, self.received)
    }

    /// The next sequence number to send; OPN answers take theirs from here too.
    #[must_use]
    pub const fn next_sequence(&self) -> u32 {
        secure::next_sequence(self.sent)
    }

    /// When the last token ends.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.tokens.iter().map(|token| token.ends).max().expect("a channel has a token")
    }

    /// Checks a MSG or CLO chunk and removes its security.
    ///
    /// # Errors
    /// The code for ERR.
    pub fn receive<'a>(&mut self, frame: &Frame<'a>, now: Instant) -> Result<Part<'a>, StatusCode> {
        let bytes = frame.bytes;
        if channel_id(bytes) != Some(self.id) {
            return Err(status::BAD_SECURE_CHANNEL_ID_INVALID);
        }
        let token = bytes.get(12..16).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
        let place = self.tokens.iter().position(|known| Some(known.id) == token);
        let place = place.ok_or(status::BAD_SECURE_CHANNEL_TOKEN_UNKNOWN)?;
        if self.tokens[place].ends < now {
            return Err(status::BAD_SECURE_CHANNEL_TOKEN_UNKNOWN);
        }
        let chunk = self.open_chunk(place, bytes)?;
        let mut sequence = Reader::new(chunk.bytes().get(16..).ok_or(status::BAD_SECURITY_CHECKS_FAILED)?);
        let numbers = (|| Ok((sequence.u32()?, sequence.u32()?)))();
        let (number, request_id) = numbers.map_err(|_: Malformed| status::BAD_DECODING_ERROR)?;
        if !secure::follows(self.received, number) {
            return Err(status::BAD_SEQUENCE_NUMBER_INVALID);
        }
        self.received = number;
        // The client uses this token: whatever is older has done its duty.
        self.tokens.drain(..place);
        Ok(Part { request_id, chunk })
    }

    fn open_chunk<'a>(&self, place: usize, bytes: &'a [u8]) -> Result<Chunk<'a>, StatusCode> {
        if self.mode == MessageSecurityMode::None {
            return Ok(Chunk::Came(bytes));
        }
        let sealed = Bytes::copy_from_slice(bytes);
        Ok(Chunk::Opened(secure::remove(&self.tokens[place].secure, self.mode, &sealed)?))
    }

    /// Appends the chunks of one message to `out`.
    ///
    /// # Errors
    /// When the library cannot secure them.
    pub fn send(&mut self, request_id: u32, body: &[u8], chunk: usize, out: &mut Vec<u8>) -> Result<(), StatusCode> {
        // The client has not used a newer token yet, so the oldest is the one that it surely knows.
        let token = &self.tokens[0];
        let room = secure::body_room(&token.secure, self.mode, chunk);
        let mut rest = body;
        loop {
            let (part, after) = rest.split_at(rest.len().min(room));
            self.sent = secure::next_sequence(self.sent);
            let kind = [b'M', b'S', b'G', if after.is_empty() { b'F' } else { b'C' }];
            let numbers = [self.id, token.id, self.sent, request_id];
            secure::symmetric_chunk(&token.secure, self.mode, kind, numbers, part, out)?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// How many chunks a message of `length` bytes takes.
    #[must_use]
    pub fn chunks(&self, length: usize, chunk: usize) -> usize {
        length.div_ceil(secure::body_room(&self.tokens[0].secure, self.mode, chunk)).max(1)
    }
}

/// The certificate in `der`.
///
/// # Errors
/// When it is none.
pub fn certificate(der: &[u8]) -> Result<X509, StatusCode> {
    X509::from_der(der).map_err(|_| status::BAD_CERTIFICATE_INVALID)
}
