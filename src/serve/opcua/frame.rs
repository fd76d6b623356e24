//! Framing of OPC UA TCP (Part 6, 7.1): message headers, HEL, ACK, ERR. A size is refused as soon as its eight bytes are there,
//! before anything is kept for it.

use super::{
    limits::Limits,
    wire::{Malformed, Read, Reader, Writer},
};
use crate::tag::StatusCode;

/// Codes of the transport (Part 6, 7.1.5).
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_TCP_MESSAGE_TYPE_INVALID: StatusCode = StatusCode(0x807E_0000);
    pub const BAD_TCP_SECURE_CHANNEL_UNKNOWN: StatusCode = StatusCode(0x807F_0000);
    pub const BAD_TCP_MESSAGE_TOO_LARGE: StatusCode = StatusCode(0x8080_0000);
    pub const BAD_TCP_NOT_ENOUGH_RESOURCES: StatusCode = StatusCode(0x8081_0000);
    pub const BAD_TCP_ENDPOINT_URL_INVALID: StatusCode = StatusCode(0x8083_0000);
    pub const BAD_SECURITY_CHECKS_FAILED: StatusCode = StatusCode(0x8013_0000);
    pub const BAD_SEQUENCE_NUMBER_INVALID: StatusCode = StatusCode(0x8088_0000);
    pub const BAD_SECURE_CHANNEL_ID_INVALID: StatusCode = StatusCode(0x8022_0000);
    pub const BAD_SECURE_CHANNEL_CLOSED: StatusCode = StatusCode(0x8086_0000);
    pub const BAD_SECURE_CHANNEL_TOKEN_UNKNOWN: StatusCode = StatusCode(0x8087_0000);
    pub const BAD_SECURITY_POLICY_REJECTED: StatusCode = StatusCode(0x8055_0000);
    pub const BAD_SECURITY_MODE_REJECTED: StatusCode = StatusCode(0x8054_0000);
    pub const BAD_CERTIFICATE_INVALID: StatusCode = StatusCode(0x8012_0000);
    pub const BAD_NONCE_INVALID: StatusCode = StatusCode(0x8024_0000);
    pub const BAD_REQUEST_TYPE_INVALID: StatusCode = StatusCode(0x8053_0000);
    pub const BAD_DECODING_ERROR: StatusCode = StatusCode(0x8007_0000);
    pub const BAD_RESPONSE_TOO_LARGE: StatusCode = StatusCode(0x80B9_0000);
}

/// The least buffer that a peer must offer (Part 6, 7.1.2.3).
pub const MIN_BUFFER: u32 = 8_192;
/// The longest EndpointUrl in HEL (Part 6, 7.1.2.3).
const MAX_URL: usize = 4_096;
const HEADER: usize = 8;
/// The largest HEL: header, five numbers, and the URL with its length.
pub const MAX_HELLO: usize = HEADER + 5 * 4 + 4 + MAX_URL;

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Hello,
    Open,
    Message,
    Close,
}

/// One chunk as it came.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// `F`, `C` or `A`.
    pub part: u8,
    /// All of it, header included.
    pub bytes: &'a [u8],
}

/// What stands at the beginning of a buffer.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// A whole chunk.
    Whole(Frame<'a>),
    /// The beginning of a chunk of so many bytes.
    Part(usize),
    /// Less than a chunk's header.
    Nothing,
}

/// Looks at the beginning of `buffer`.
///
/// # Errors
/// For an unknown type, and for a size that is too small or beyond `limit`.
pub fn next(buffer: &[u8], limit: usize) -> Result<Next<'_>, StatusCode> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(Next::Nothing) };
    let kind = match &header[..3] {
        b"HEL" => Kind::Hello,
        b"OPN" => Kind::Open,
        b"MSG" => Kind::Message,
        b"CLO" => Kind::Close,
        _ => return Err(status::BAD_TCP_MESSAGE_TYPE_INVALID),
    };
    let part = header[3];
    if !matches!(part, b'F' | b'C' | b'A') || (kind != Kind::Message && part != b'F') {
        return Err(status::BAD_TCP_MESSAGE_TYPE_INVALID);
    }
    let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if size > limit {
        return Err(status::BAD_TCP_MESSAGE_TOO_LARGE);
    }
    if size < HEADER {
        return Err(status::BAD_TCP_MESSAGE_TYPE_INVALID);
    }
    Ok(buffer.get(..size).map_or(Next::Part(size), |bytes| Next::Whole(Frame { kind, part, bytes })))
}

/// What both sides may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Largest chunk that the client sends.
    pub receive: usize,
    /// Largest chunk that the client takes.
    pub chunk: usize,
    /// Largest message that the client takes.
    pub message: usize,
    /// Most chunks of a message that the client takes.
    pub chunks: usize,
}

/// What this side can take and send.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    receive_chunk: usize,
    send_chunk: usize,
    message: usize,
    chunks: usize,
    response: usize,
}

impl Sizes {
    /// As the limits say.
    pub fn of(limits: &Limits) -> Self {
        let Limits { receive_chunk, send_chunk, message, chunks, response, .. } = *limits;
        Self { receive_chunk, send_chunk, message, chunks, response }
    }
}

/// Reads HEL and gives what was agreed with the ACK to send.
///
/// # Errors
/// When it is malformed or offers less than the standard's minimum.
pub fn hello(bytes: &[u8], ours: Sizes) -> Result<(Agreed, Vec<u8>), StatusCode> {
    let (receive, send, their_message, their_chunks, url) = read_hello(bytes).map_err(|_| status::BAD_DECODING_ERROR)?;
    if url > MAX_URL {
        return Err(status::BAD_TCP_ENDPOINT_URL_INVALID);
    }
    if receive < MIN_BUFFER || send < MIN_BUFFER {
        return Err(status::BAD_TCP_NOT_ENOUGH_RESOURCES);
    }
    let least = |ours: usize, theirs: u32| if theirs == 0 { ours } else { ours.min(theirs as usize) };
    let agreed = Agreed {
        receive: ours.receive_chunk.min(send as usize),
        chunk: least(ours.send_chunk, receive),
        message: least(ours.response, their_message),
        chunks: least(usize::MAX, their_chunks),
    };
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let mut w = Writer(b"ACKF".to_vec());
    w.u32(28);
    w.u32(0);
    w.u32(number(agreed.receive));
    w.u32(number(agreed.chunk));
    w.u32(number(ours.message));
    w.u32(number(ours.chunks));
    Ok((agreed, w.0))
}

fn read_hello(bytes: &[u8]) -> Read<(u32, u32, u32, u32, usize)> {
    let mut reader = Reader::new(bytes.get(HEADER..).ok_or(Malformed)?);
    let _version = reader.u32()?;
    let sizes = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let url = reader.bytes()?.map_or(0, <[u8]>::len);
    Ok((sizes.0, sizes.1, sizes.2, sizes.3, url))
}

/// ERR.
pub fn error(status: StatusCode, reason: &str) -> Vec<u8> {
    let mut w = Writer(b"ERRF".to_vec());
    w.count(HEADER + 8 + reason.len());
    w.status(status);
    w.text(reason);
    w.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_refused_before_anything_is_kept() {
        let check = |bytes: &[u8]| {
            next(bytes, 65_536).map(|next| match next {
                Next::Whole(frame) => Some(frame.bytes.len()),
                Next::Part(_) | Next::Nothing => None,
            })
        };
        assert_eq!(check(b"HELF\xF0\xFF\xFF\xFF"), Err(status::BAD_TCP_MESSAGE_TOO_LARGE));
        assert_eq!(check(b"HELF\x07\0\0\0"), Err(status::BAD_TCP_MESSAGE_TYPE_INVALID));
        assert_eq!(check(b"GET / HTTP/1.1"), Err(status::BAD_TCP_MESSAGE_TYPE_INVALID));
        assert_eq!(check(b"OPNC\x20\0\0\0"), Err(status::BAD_TCP_MESSAGE_TYPE_INVALID));
        assert_eq!(check(b"MSGC\x0A\0\0\0a"), Ok(None));
        assert_eq!(check(b"MSGC\x0A\0\0\0abMSG"), Ok(Some(10)));
    }

    #[test]
    fn hello_agrees_on_the_smaller_size() {
        let mut w = Writer(b"HELF\0\0\0\0".to_vec());
        for number in [0, 8_192, 65_535, 0, 5] {
            w.u32(number);
        }
        w.text("opc.tcp://localhost:4840");
        let (agreed, ack) = hello(&w.0, Sizes::of(&Limits::default())).unwrap();
        assert_eq!(agreed, Agreed { receive: 65_535, chunk: 8_192, message: 16 << 20, chunks: 5 });
        assert_eq!((&ack[..4], ack.len()), (&b"ACKF"[..], 28));
        assert_eq!(hello(&w.0[..20], Sizes::of(&Limits::default())), Err(status::BAD_DECODING_ERROR));
    }
}
