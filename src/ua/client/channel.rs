//! The client's side of a secure channel (Part 4, 5.6; Part 6, 6.7): opening, renewing, securing and checking every chunk.
//!
//! Policy, mode and the server's certificate are fixed before the channel is opened; whatever else the server answers with ends
//! it. Sequence numbers rise by one, tokens end, the channel's id never changes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opcua::{
    core::comms::secure_channel::{Role, SecureChannel},
    crypto::{PrivateKey, SecurityPolicy, X509, random},
    types::{ChannelSecurityToken, DateTime, MessageSecurityMode, NodeId},
};

use super::{Error, frame::Frame, limits, message};
use crate::{
    pki::x509::split_chain,
    ua::{
        secure::{self, CHUNK_HEADER, Keys, SYMMETRIC_HEADER},
        wire::{Malformed, Read, Reader},
    },
};

/// Our certificate with its key.
#[derive(Debug)]
pub struct Own {
    /// What the server sees.
    pub certificate: X509,
    /// What nobody sees.
    pub key: PrivateKey,
}

impl Own {
    const fn with<'a>(&'a self, peer: &'a X509) -> Keys<'a> {
        Keys { certificate: &self.certificate, key: &self.key, peer }
    }
}

/// How a channel is secured; checked against the trust list by the caller.
#[derive(Clone, Debug)]
pub struct Protection {
    /// The policy.
    pub policy: SecurityPolicy,
    /// The mode.
    pub mode: MessageSecurityMode,
    /// Our certificate and the server's own, without its chain; `None` without security.
    pub keys: Option<(Arc<Own>, X509)>,
}

impl Protection {
    /// None at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { policy: SecurityPolicy::None, mode: MessageSecurityMode::None, keys: None }
    }
}

struct Token {
    id: u32,
    secure: SecureChannel,
    renew: Instant,
    ends: Instant,
}

struct Opening {
    secure: SecureChannel,
    nonce: Vec<u8>,
    request_id: u32,
}

/// A channel, also before it is open.
pub struct Channel {
    protection: Protection,
    id: u32,
    /// Oldest first; we send with the newest.
    tokens: Vec<Token>,
    received: Option<u32>,
    sent: u32,
    opening: Option<Opening>,
}

/// A chunk of a message, its security checked and removed.
pub struct Part {
    /// The request that it answers.
    pub request_id: u32,
    /// The chunk without what stands before its body.
    pub body: Bytes,
}

struct Granted<'a> {
    channel: u32,
    token: u32,
    lifetime: u32,
    nonce: &'a [u8],
}

impl Channel {
    /// Nothing is sent yet.
    #[must_use]
    pub const fn new(protection: Protection) -> Self {
        Self { protection, id: 0, tokens: Vec::new(), received: None, sent: 0, opening: None }
    }

    /// True from [`Self::open`] to [`Self::opened`].
    #[must_use]
    pub const fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// When the channel wants to be renewed, and when it ends; `None` before it is open.
    #[must_use]
    pub fn deadlines(&self) -> Option<(Instant, Instant)> {
        self.tokens.last().map(|token| (token.renew, token.ends))
    }

    /// Appends OPN: a first one, or a renewal. Costs an operation with the private key.
    ///
    /// # Errors
    /// When it cannot be secured.
    pub fn open(&mut self, request_id: u32, timeout: Duration, out: &mut Vec<u8>) -> Result<(), Error> {
        let Protection { policy, mode, keys } = &self.protection;
        let mut secure = secure::new_channel(Role::Client);
        secure.set_security_policy(*policy);
        secure.set_security_mode(*mode);
        let mut nonce = Vec::new();
        let keys = keys.as_ref().map(|(own, theirs)| own.with(theirs));
        if let Some(keys) = keys {
            secure.set_cert(Some(keys.certificate.clone()));
            secure.set_private_key(Some(keys.key.clone()));
            secure.set_remote_cert(Some(keys.peer.clone()));
            nonce = vec![0; policy.secure_channel_nonce_length()];
            random::bytes(&mut nonce);
        }
        self.sent = secure::next_sequence(self.sent);
        let body = open_request(self.tokens.is_empty(), *mode, request_id, &nonce, timeout);
        let chunk = secure::open_chunk(&secure, keys, [self.id, self.sent, request_id], &body);
        out.extend(chunk.map_err(|_| Error::Unusable("our certificate and the server's do not fit together".to_owned()))?);
        self.opening = Some(Opening { secure, nonce, request_id });
        Ok(())
    }

    /// Takes the answer to OPN.
    ///
    /// # Errors
    /// When it is not the answer to ours, is of another security, or the server refuses.
    pub fn opened(&mut self, frame: &Frame, now: Instant) -> Result<(), Error> {
        let Some(opening) = self.opening.take() else { return Err(Error::broken("it opens a channel that nobody asked for")) };
        let clear = self.open_answer(&frame.bytes)?;
        let mut reader = Reader::new(&clear);
        let (sequence, request_id) = (reader.u32()?, reader.u32()?);
        if request_id != opening.request_id {
            return Err(Error::broken("the channel's answer belongs to another request"));
        }
        self.count(sequence)?;
        let body = Bytes::copy_from_slice(reader.rest());
        let answer = message::response(body, message::OPEN_SECURE_CHANNEL, request_id)??;
        let granted = read_granted(answer.reader())?;
        let renewed = !self.tokens.is_empty();
        if granted.channel == 0 || (renewed && granted.channel != self.id) {
            return Err(Error::broken("the channel changed its id"));
        }
        if self.tokens.iter().any(|token| token.id == granted.token) {
            return Err(Error::broken("the channel's new token is an old one"));
        }
        let policy = self.protection.policy;
        let mut secure = opening.secure;
        secure.set_security_token(ChannelSecurityToken {
            channel_id: granted.channel,
            token_id: granted.token,
            created_at: DateTime::now(),
            revised_lifetime: granted.lifetime,
        });
        if policy != SecurityPolicy::None {
            if granted.nonce.len() != policy.secure_channel_nonce_length() || granted.nonce == opening.nonce {
                return Err(Error::broken("the channel's nonce is not one"));
            }
            secure.set_local_nonce(&opening.nonce);
            secure.set_remote_nonce(granted.nonce);
            secure.derive_keys();
        }
        let life = Duration::from_millis(granted.lifetime.into());
        let life = if life.is_zero() || life > limits::LIFE { limits::LIFE } else { life };
        let token = Token {
            id: granted.token,
            secure,
            // Part 4, 5.5.2.1: at 75 %; valid until 125 % for what is under way.
            renew: now + (life * 3 / 4).max(limits::SHORTEST_RENEWAL),
            ends: now + (life * 5 / 4).max(limits::SHORTEST_RENEWAL * 2),
        };
        self.id = granted.channel;
        // An older token that the server still uses is kept beside the new one, not more.
        let surplus = self.tokens.len().saturating_sub(1);
        self.tokens.drain(..surplus);
        self.tokens.push(token);
        Ok(())
    }

    /// Sequence header and body of an OPN, its security checked.
    fn open_answer(&self, bytes: &Bytes) -> Result<Vec<u8>, Error> {
        let mut reader = Reader::new(bytes.get(CHUNK_HEADER..).ok_or(Malformed)?);
        let (uri, certificate, thumbprint) = (reader.text()?, reader.bytes()?.unwrap_or_default(), reader.bytes()?);
        if uri != self.protection.policy.to_uri() {
            return Err(Error::broken("it opens the channel with another security policy"));
        }
        let Some((own, theirs)) = &self.protection.keys else { return Ok(reader.rest().to_vec()) };
        if split_chain(certificate).0 != theirs.as_byte_string().as_ref() {
            return Err(Error::broken("it opens the channel with another certificate"));
        }
        if thumbprint != Some(own.certificate.thumbprint().value()) {
            return Err(Error::broken("it opens the channel for another certificate than ours"));
        }
        let (header, cipher) = bytes.split_at(bytes.len() - reader.rest().len());
        Ok(secure::open_asymmetric(self.protection.policy, own.with(theirs), header, cipher)?)
    }

    /// Checks a MSG chunk and removes its security.
    ///
    /// # Errors
    /// When it is of another channel or token, out of sequence, or not secured as agreed.
    pub fn receive(&mut self, frame: &Frame, now: Instant) -> Result<Part, Error> {
        let numbers = |bytes: &[u8]| -> Read<(u32, u32)> {
            let mut reader = Reader::new(bytes.get(8..).ok_or(Malformed)?);
            Ok((reader.u32()?, reader.u32()?))
        };
        let (channel, token) = numbers(&frame.bytes)?;
        if channel != self.id {
            return Err(Error::broken("a chunk is of another channel"));
        }
        let place = self.tokens.iter().position(|known| known.id == token);
        let place = place.ok_or_else(|| Error::broken("a chunk is secured with an unknown token"))?;
        if self.tokens[place].ends < now {
            return Err(Error::broken("a chunk is secured with a token that has ended"));
        }
        let clear = secure::remove(&self.tokens[place].secure, self.protection.mode, &frame.bytes)?;
        let mut reader = Reader::new(&clear[CHUNK_HEADER + 4..]);
        let (sequence, request_id) = (reader.u32()?, reader.u32()?);
        self.count(sequence)?;
        // The server uses this token: whatever is older has done its duty.
        self.tokens.drain(..place);
        Ok(Part { request_id, body: clear.slice(SYMMETRIC_HEADER..) })
    }

    fn count(&mut self, sequence: u32) -> Result<(), Error> {
        if self.received.is_some_and(|last| !secure::follows(last, sequence)) {
            return Err(Error::broken("a chunk is out of sequence"));
        }
        self.received = Some(sequence);
        Ok(())
    }

    /// How many chunks of at most `chunk` bytes a message of `length` bytes takes.
    #[must_use]
    pub fn chunks(&self, length: usize, chunk: usize) -> usize {
        let room = self.tokens.last().map(|token| secure::body_room(&token.secure, self.protection.mode, chunk));
        room.map_or(usize::MAX, |room| length.div_ceil(room).max(1))
    }

    /// Appends the chunks of one message, `MSG` or `CLO`.
    ///
    /// # Errors
    /// When the channel is not open or the library cannot secure them.
    pub fn send(&mut self, kind: [u8; 3], request_id: u32, body: &[u8], chunk: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(token) = self.tokens.last() else { return Err(Error::Closed) };
        let room = secure::body_room(&token.secure, self.protection.mode, chunk);
        let mut rest = body;
        loop {
            let (part, after) = rest.split_at(rest.len().min(room));
            self.sent = secure::next_sequence(self.sent);
            let flag = if after.is_empty() { b'F' } else { b'C' };
            let numbers = [self.id, token.id, self.sent, request_id];
            let kind = [kind[0], kind[1], kind[2], flag];
            secure::symmetric_chunk(&token.secure, self.protection.mode, kind, numbers, part, out)?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }
}

fn open_request(first: bool, mode: MessageSecurityMode, handle: u32, nonce: &[u8], timeout: Duration) -> Vec<u8> {
    let mut w = message::request(message::OPEN_SECURE_CHANNEL, &NodeId::null(), handle, timeout);
    w.u32(0);
    w.u32(u32::from(!first));
    w.u32(match mode {
        MessageSecurityMode::Sign => 2,
        MessageSecurityMode::SignAndEncrypt => 3,
        _ => 1,
    });
    if nonce.is_empty() {
        w.null();
    } else {
        w.bytes(nonce);
    }
    w.u32(u32::try_from(limits::LIFE.as_millis()).unwrap_or(u32::MAX));
    w.0
}

fn read_granted(mut body: Reader<'_>) -> Read<Granted<'_>> {
    let _protocol_version = body.u32()?;
    let (channel, token) = (body.u32()?, body.u32()?);
    body.time()?;
    Ok(Granted { channel, token, lifetime: body.u32()?, nonce: body.bytes()?.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ua::{client::frame::Kind, wire::Writer};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn answer(numbers: [u32; 2], channel: u32, token: u32, lifetime: u32) -> Frame {
        let mut w = Writer(b"OPNF\0\0\0\0\0\0\0\0".to_vec());
        w.text(SecurityPolicy::None.to_uri());
        w.null();
        w.null();
        w.u32(numbers[0]);
        w.u32(numbers[1]);
        w.standard(449);
        w.u64(0);
        w.u32(numbers[1]);
        w.u32(0);
        w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
        for number in [0, channel, token] {
            w.u32(number);
        }
        w.u64(0);
        w.u32(lifetime);
        w.null();
        Frame { kind: Kind::Open, part: b'F', bytes: w.0.into() }
    }

    fn message(channel: u32, token: u32, sequence: u32) -> Frame {
        let mut w = Writer(b"MSGF\0\0\0\0".to_vec());
        for number in [channel, token, sequence, 9] {
            w.u32(number);
        }
        w.u8(42);
        Frame { kind: Kind::Message, part: b'F', bytes: w.0.into() }
    }

    #[test]
    fn a_renewal_keeps_the_old_token_until_the_server_uses_the_new_one() {
        let (mut channel, now, mut out) = (Channel::new(Protection::none()), Instant::now(), Vec::new());
        channel.open(1, TIMEOUT, &mut out).unwrap();
        channel.opened(&answer([50, 1], 7, 1, 40_000), now).unwrap();
        assert_eq!(channel.deadlines(), Some((now + Duration::from_secs(30), now + Duration::from_secs(50))));
        assert_eq!(channel.receive(&message(7, 1, 51), now).unwrap().body[..], [42]);
        channel.open(2, TIMEOUT, &mut out).unwrap();
        channel.opened(&answer([52, 2], 7, 2, 0), now).unwrap();
        assert_eq!(channel.deadlines().unwrap().0, now + limits::LIFE * 3 / 4);
        channel.receive(&message(7, 1, 53), now).unwrap();
        channel.receive(&message(7, 2, 54), now).unwrap();
        assert!(channel.receive(&message(7, 1, 55), now).is_err(), "the old token has done its duty");
    }

    #[test]
    fn what_does_not_belong_to_the_channel_is_refused() {
        let now = Instant::now();
        let open = || {
            let mut channel = Channel::new(Protection::none());
            channel.open(1, TIMEOUT, &mut Vec::new()).unwrap();
            channel
        };
        assert!(Channel::new(Protection::none()).opened(&answer([1, 1], 7, 1, 0), now).is_err(), "nobody asked");
        assert!(open().opened(&answer([1, 2], 7, 1, 0), now).is_err(), "another request");
        assert!(open().opened(&answer([1, 1], 0, 1, 0), now).is_err(), "no channel");
        for (channel, token, sequence) in [(8, 1, 2), (7, 2, 2), (7, 1, 1), (7, 1, 3), (7, 1, 0)] {
            let mut opened = open();
            opened.opened(&answer([1, 1], 7, 1, 10_000), now).unwrap();
            assert!(opened.receive(&message(channel, token, sequence), now).is_err(), "{channel} {token} {sequence}");
        }
        let mut opened = open();
        opened.opened(&answer([1, 1], 7, 1, 10_000), now).unwrap();
        assert!(opened.receive(&message(7, 1, 2), now + Duration::from_secs(13)).is_err(), "the token has ended");
        opened.open(2, TIMEOUT, &mut Vec::new()).unwrap();
        assert!(opened.opened(&answer([2, 2], 8, 2, 0), now).is_err(), "the channel changed");
    }
}
