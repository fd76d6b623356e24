//! Framing from a server (Part 6, 7.1): a size is refused as soon as its eight bytes are there, before anything is kept for it.

use bytes::{Bytes, BytesMut};

use super::{Error, limits, words};
use crate::{
    tag::StatusCode,
    ua::wire::{Malformed, Read, Reader, Writer},
};

/// Type, chunk flag and size.
pub const HEADER: usize = 8;

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Acknowledge,
    Error,
    Open,
    Message,
}

/// One chunk as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// `F`, `C` or `A`.
    pub part: u8,
    /// All of it, header included.
    pub bytes: Bytes,
}

/// Takes the next whole chunk out of `buffer`; `None` until it is there.
///
/// # Errors
/// For an unknown type, and for a size that is too small or larger than we said we take.
pub fn next(buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
    let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let kind = match &header[..3] {
        b"ACK" => Kind::Acknowledge,
        b"ERR" => Kind::Error,
        b"OPN" => Kind::Open,
        b"MSG" => Kind::Message,
        _ => return Err(Error::broken("this is not OPC UA over TCP")),
    };
    let part = header[3];
    if !matches!(part, b'F' | b'C' | b'A') || (kind != Kind::Message && part != b'F') {
        return Err(Error::broken("a chunk is of no known kind"));
    }
    let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if !(HEADER..=limits::CHUNK).contains(&size) {
        return Err(Error::broken(format!("a chunk of {size} bytes was announced")));
    }
    if buffer.len() < size {
        return Ok(None);
    }
    Ok(Some(Frame { kind, part, bytes: buffer.split_to(size).freeze() }))
}

/// HEL for the server at `url`.
#[must_use]
pub fn hello(url: &str) -> Vec<u8> {
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let mut w = Writer(b"HELF".to_vec());
    w.count(HEADER + 20 + 4 + url.len());
    w.u32(0);
    w.u32(number(limits::CHUNK));
    w.u32(number(limits::CHUNK));
    w.u32(number(limits::MESSAGE));
    w.u32(number(limits::CHUNKS));
    w.text(url);
    w.0
}

/// What the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Largest chunk.
    pub chunk: usize,
    /// Largest request.
    pub message: usize,
    /// Most chunks of a request.
    pub chunks: usize,
}

/// Reads ACK.
///
/// # Errors
/// When it is malformed or its sizes break the standard.
pub fn acknowledge(frame: &Frame) -> Result<Agreed, Error> {
    let sizes = |bytes: &[u8]| -> Read<[u32; 5]> {
        let mut reader = Reader::new(bytes.get(HEADER..).ok_or(Malformed)?);
        Ok([reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?])
    };
    let [_version, receive, _send, message, chunks] = sizes(&frame.bytes)?;
    let or = |size: u32, ours: usize| if size == 0 { ours } else { ours.min(size as usize) };
    let chunk = or(receive, limits::CHUNK);
    if chunk < LEAST {
        return Err(Error::broken(format!("it takes chunks of {chunk} bytes only")));
    }
    Ok(Agreed { chunk, message: or(message, limits::REQUEST), chunks: or(chunks, usize::MAX) })
}

/// Some servers offer a little less than the standard's minimum; below this no login fits.
const LEAST: usize = limits::LEAST_CHUNK / 2;

/// Reads ERR: why the server ends the connection.
#[must_use]
pub fn error(frame: &Frame) -> Error {
    let mut reader = Reader::new(frame.bytes.get(HEADER..).unwrap_or_default());
    let Ok(code) = reader.u32() else { return Error::Closed };
    if let Ok(reason) = reader.text()
        && !reason.is_empty()
    {
        tracing::debug!(reason = words(reason), "the server ends the connection");
    }
    Error::Ended(StatusCode(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_refused_before_anything_is_kept() {
        let check = |bytes: &[u8]| next(&mut BytesMut::from(bytes)).map(|frame| frame.map(|frame| frame.bytes.len()));
        for bad in [
            &b"MSGF\xF0\xFF\xFF\xFF"[..],
            b"MSGF\x01\x00\x01\x00",
            b"MSGF\x07\0\0\0",
            b"HTTP/1.1",
            b"OPNC\x20\0\0\0",
            b"HELF\x20\0\0\0",
        ] {
            assert!(matches!(check(bad), Err(Error::Broken(_))), "{bad:?}");
        }
        assert_eq!(check(b"MSGC\x0A\0\0\0a"), Ok(None));
        assert_eq!(check(b"MSGC\x0A\0\0\0abMSG"), Ok(Some(10)));
    }

    #[test]
    fn an_acknowledgement_bounds_what_we_send() {
        let ack = |sizes: [u32; 5]| {
            let mut w = Writer(b"ACKF\x1C\0\0\0".to_vec());
            for size in sizes {
                w.u32(size);
            }
            acknowledge(&Frame { kind: Kind::Acknowledge, part: b'F', bytes: w.0.into() })
        };
        let agreed = Agreed { chunk: 8_192, message: limits::REQUEST, chunks: 5 };
        assert_eq!(ack([0, 8_192, u32::MAX, u32::MAX, 5]), Ok(agreed));
        assert_eq!(ack([0, 0, 0, 0, 0]).map(|agreed| agreed.chunk), Ok(limits::CHUNK));
        assert!(ack([0, 16, 0, 0, 0]).is_err());
    }
}
