//! Secure channels (Part 4, 5.6; Part 6, 6.7): opening, renewing, securing and checking every chunk.
//!
//! The library's `SecureChannel` does the cryptography, one for each token, because it keeps one set of sending keys and the
//! client shall see the old token until it uses the new one itself. What it does not check across messages is checked here:
//! policy and certificate never change, sequence numbers rise by one, tokens end, channel ids match.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opcua::{
    core::{
        comms::{
            message_chunk::MessageChunk,
            secure_channel::{Role, SecureChannel},
        },
        sync::RwLock,
    },
    crypto::{CertificateStore, KeySize, SecurityPolicy, X509, random},
    types::{ByteString, ChannelSecurityToken, ContextOwned, DateTime, MessageSecurityMode},
};

use subtle::ConstantTimeEq;

use super::{
    decode::RequestHeader,
    frame::{Frame, status},
    send,
    wire::{Malformed, Read, Reader},
};
use crate::{
    pki::{OwnCertificate, x509::split_chain},
    tag::StatusCode,
};

/// Bytes of every nonce of ours; the standard asks for 32 with every policy.
pub const NONCE: usize = 32;
/// Bytes of a chunk before its security header.
const CHUNK_HEADER: usize = 12;
/// Bytes before the body of a MSG or CLO without encryption: header, token, sequence header.
pub const SYMMETRIC_HEADER: usize = CHUNK_HEADER + 4 + 8;
const MAX_CERTIFICATE: usize = 16 * 1024;
/// A sequence number may begin anew once it is within this distance of its end (Part 6, 6.7.2.4).
const WRAP: u32 = 1_024;

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
}

/// The policies that the server speaks, when it is told to.
pub const POLICIES: [SecurityPolicy; 4] = [
    SecurityPolicy::None,
    SecurityPolicy::Basic256Sha256,
    SecurityPolicy::Aes128Sha256RsaOaep,
    SecurityPolicy::Aes256Sha256RsaPss,
];

fn policy_from_uri(uri: &str) -> Option<SecurityPolicy> {
    POLICIES.into_iter().find(|policy| policy.to_uri() == uri)
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

struct OpenRequest<'a> {
    header: RequestHeader<'a>,
    renew: bool,
    mode: MessageSecurityMode,
    nonce: &'a [u8],
    lifetime: u32,
}

impl Opening {
    /// Checks the request and makes its answer: two operations with the private key, so off the reactor. Trust in the certificate
    /// is checked before, by the caller.
    ///
    /// # Errors
    /// The code for ERR; also when the library panics on what the peer sent.
    pub fn run(self) -> Result<Opened, StatusCode> {
        catch_unwind(AssertUnwindSafe(|| self.open())).unwrap_or(Err(status::BAD_SECURITY_CHECKS_FAILED))
    }

    fn open(self) -> Result<Opened, StatusCode> {
        let header = AsymmetricHeader::read(&self.frame)?;
        let (policy, certificate) = (header.policy, header.certificate.map(Bytes::copy_from_slice));
        let clear = match header.certificate {
            Some(_) => open_asymmetric(&self.frame, &header, &self.own)?,
            None => self.frame.get(header.length..).unwrap_or_default().to_vec(),
        };
        let mut body = Reader::new(&clear);
        let sequence = (|| Ok((body.u32()?, body.u32()?)))();
        let (received, request_id) = sequence.map_err(|_: Malformed| status::BAD_DECODING_ERROR)?;
        let request = read_open(body).map_err(|_| status::BAD_DECODING_ERROR)?;
        self.check(&request, policy, received)?;

        let (id, mode) = (self.renews.map_or(self.new_id, |(id, ..)| id), request.mode);
        let life = Duration::from_millis(request.lifetime.into()).clamp(self.life.0, self.life.1);
        let lifetime = u32::try_from(life.as_millis()).unwrap_or(u32::MAX);
        let mut secure = new_secure_channel();
        secure.set_cert(Some(self.own.certificate.clone()));
        secure.set_private_key(Some(self.own.key.clone()));
        secure.set_security_policy(policy);
        secure.set_security_mode(mode);
        secure.set_security_token(ChannelSecurityToken {
            channel_id: id,
            token_id: self.token,
            created_at: DateTime::now(),
            revised_lifetime: lifetime,
        });
        let nonce = random::byte_string(NONCE);
        if let Some(certificate) = &certificate {
            let failed = |_| status::BAD_CERTIFICATE_INVALID;
            secure.set_remote_cert_from_byte_string(&ByteString::from(certificate.to_vec())).map_err(failed)?;
            secure.set_local_nonce(nonce.as_ref());
            secure.set_remote_nonce(request.nonce);
            secure.derive_keys();
        }
        let body = open_response(&request, id, self.token, lifetime, nonce.as_ref());
        let answer =
            send::open_chunk(&secure, policy, &self.own.certificate, certificate.as_deref(), self.sequence, request_id, &body)?;
        let (own, token, sent) = (self.own, self.token, self.sequence);
        Ok(Opened { secure, mode, policy, certificate, own, id, token, life, received, sent, answer })
    }

    fn check(&self, request: &OpenRequest<'_>, policy: SecurityPolicy, received: u32) -> Result<(), StatusCode> {
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
            None => Ok(()),
            Some(_) if !request.renew => Err(status::BAD_REQUEST_TYPE_INVALID),
            Some((id, mode, last)) => {
                if mode != request.mode {
                    return Err(status::BAD_SECURITY_MODE_REJECTED);
                }
                if channel_id(&self.frame) != Some(id) {
                    return Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN);
                }
                follows(last, received).then_some(()).ok_or(status::BAD_SEQUENCE_NUMBER_INVALID)
            }
        }
    }
}

/// What stands behind the security header of an OPN with a certificate, decrypted and its signature checked (Part 6, 6.7.2). All
/// that can be wrong with it has one code, so that nobody learns from it.
fn open_asymmetric(frame: &[u8], header: &AsymmetricHeader<'_>, own: &OwnCertificate) -> Result<Vec<u8>, StatusCode> {
    let opened = || {
        let ours = own.certificate.thumbprint();
        if !bool::from(ours.value().ct_eq(header.thumbprint)) {
            return None;
        }
        let client = X509::from_der(header.certificate?).ok()?.public_key().ok()?;
        let (signed_header, secret) = frame.split_at_checked(header.length)?;
        if secret.is_empty() || !secret.len().is_multiple_of(own.key.size()) {
            return None;
        }
        let mut clear = vec![0; secret.len()];
        let length = header.policy.asymmetric_decrypt(&own.key, secret, &mut clear).ok()?;
        clear.truncate(length);
        let signature = clear.split_off(clear.len().checked_sub(client.size())?);
        let signed = [signed_header, &clear].concat();
        header.policy.asymmetric_verify_signature(&client, &signed, &signature).ok()?;
        let padding = padding(&clear, own.key.size() > 256)?;
        clear.truncate(clear.len() - padding);
        Some(clear)
    };
    opened().ok_or(status::BAD_SECURITY_CHECKS_FAILED)
}

/// The length of the padding at the end of `clear`, its size bytes included: keys over 2,048 bits have a second one (Part 6, 6.7.2.5).
fn padding(clear: &[u8], long_key: bool) -> Option<usize> {
    let (extra, rest) = if long_key { clear.split_last().map(|(extra, rest)| (usize::from(*extra), rest))? } else { (0, clear) };
    let low = *rest.last()?;
    let size = extra << 8 | usize::from(low);
    let filled = rest.len().checked_sub(size + 1)?;
    rest[filled..].iter().all(|byte| *byte == low).then_some(size + 1 + usize::from(long_key))
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

/// The library reads certificate and key from files and logs when there are none; they are set from memory right after.
fn new_secure_channel() -> SecureChannel {
    let store = Arc::new(RwLock::new(CertificateStore::new(Path::new(""))));
    let context = Arc::new(RwLock::new(ContextOwned::default()));
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
        SecureChannel::new(store, Role::Server, context)
    })
}

fn channel_id(frame: &[u8]) -> Option<u32> {
    frame.get(8..12)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// True when `next` is the sequence number after `last`.
const fn follows(last: u32, next: u32) -> bool {
    next == last.wrapping_add(1) || (last >= u32::MAX - WRAP && next < WRAP)
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

    /// What a renewal must match.
    #[must_use]
    pub const fn renewal(&self) -> (u32, MessageSecurityMode, u32) {
        (self.id, self.mode, self.received)
    }

    /// The next sequence number to send; OPN answers take theirs from here too.
    #[must_use]
    pub const fn next_sequence(&self) -> u32 {
        if self.sent >= u32::MAX - WRAP { 1 } else { self.sent + 1 }
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
        if !follows(self.received, number) {
            return Err(status::BAD_SEQUENCE_NUMBER_INVALID);
        }
        self.received = number;
        // The client uses this token: whatever is older has done its duty.
        self.tokens.drain(..place);
        Ok(Part { request_id, chunk })
    }

    fn open_chunk<'a>(&mut self, place: usize, bytes: &'a [u8]) -> Result<Chunk<'a>, StatusCode> {
        if self.mode == MessageSecurityMode::None {
            return Ok(Chunk::Came(bytes));
        }
        let signature = self.policy.symmetric_signature_size();
        let encrypted = self.mode == MessageSecurityMode::SignAndEncrypt;
        if bytes.len() < SYMMETRIC_HEADER + signature || (encrypted && !(bytes.len() - 16).is_multiple_of(16)) {
            return Err(status::BAD_SECURITY_CHECKS_FAILED);
        }
        let secure = &mut self.tokens[place].secure;
        let sealed = Bytes::copy_from_slice(bytes);
        let checked = catch_unwind(AssertUnwindSafe(|| secure.verify_and_remove_security_server(sealed)));
        match checked {
            Ok(Ok(MessageChunk { data })) if data.len() >= SYMMETRIC_HEADER => Ok(Chunk::Opened(data)),
            _ => Err(status::BAD_SECURITY_CHECKS_FAILED),
        }
    }

    /// Appends the chunks of one message to `out`.
    ///
    /// # Errors
    /// When the library cannot secure them.
    pub fn send(&mut self, request_id: u32, body: &[u8], chunk: usize, out: &mut Vec<u8>) -> Result<(), StatusCode> {
        // The client has not used a newer token yet, so the oldest is the one that it surely knows.
        let token = &self.tokens[0];
        let room = send::body_room(&token.secure, self.mode, chunk);
        let mut rest = body;
        loop {
            let (part, after) = rest.split_at(rest.len().min(room));
            let sequence = if self.sent >= u32::MAX - WRAP { 1 } else { self.sent + 1 };
            self.sent = sequence;
            let last = if after.is_empty() { b'F' } else { b'C' };
            send::symmetric_chunk(&token.secure, self.mode, (self.id, token.id, sequence, request_id), last, part, out)?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// How many chunks a message of `length` bytes takes.
    #[must_use]
    pub fn chunks(&self, length: usize, chunk: usize) -> usize {
        length.div_ceil(send::body_room(&self.tokens[0].secure, self.mode, chunk)).max(1)
    }
}

/// The certificate in `der`.
///
/// # Errors
/// When it is none.
pub fn certificate(der: &[u8]) -> Result<X509, StatusCode> {
    X509::from_der(der).map_err(|_| status::BAD_CERTIFICATE_INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_rise_by_one_and_wrap_near_their_end() {
        assert!(follows(1, 2) && follows(u32::MAX - 5, 1) && follows(u32::MAX - 1024, 1023));
        assert!(!follows(2, 2) && !follows(2, 4) && !follows(2, 1) && !follows(5_000, 1));
    }

    #[test]
    fn padding_is_as_long_and_as_it_says() {
        // Part 6, 6.7.2.5: the size, as many bytes of that value, and for long keys the high byte of the size.
        assert_eq!(padding(b"body\x00", false), Some(1));
        assert_eq!(padding(b"body\x02\x02\x02", false), Some(3));
        assert_eq!(padding(b"body\x02\x02\x02\x00", true), Some(4));
        let long = [&b"body"[..], &[4; 261], &[1]].concat();
        assert_eq!(padding(&long, true), Some(262));
        for wrong in [&b""[..], b"\x01", b"body\x01\x02\x02", b"\x09\x09"] {
            assert_eq!(padding(wrong, false), None, "{wrong:?}");
        }
        assert_eq!(padding(b"\x00", true), None);
    }
}
