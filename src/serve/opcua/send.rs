//! What goes out: response headers, faults, chunks.

use opcua::{
    core::comms::{message_chunk::MessageChunk, secure_channel::SecureChannel},
    crypto::{SecurityPolicy, X509},
    types::MessageSecurityMode,
};

use super::{channel::SYMMETRIC_HEADER, frame::status, wire::Writer};
use crate::{clock, tag::StatusCode};

/// Room that signature and padding may need beyond a chunk.
const SECURITY_ROOM: usize = 2_048;
const SERVICE_FAULT: u32 = 397;

/// A response up to and with its header (Part 4, 7.34); the service's own part follows.
#[must_use]
pub fn response(type_id: u32, handle: u32, result: StatusCode) -> Writer {
    response_in(Vec::new(), type_id, handle, result)
}

/// The same in a buffer that was used before.
#[must_use]
pub fn response_in(mut buffer: Vec<u8>, type_id: u32, handle: u32, result: StatusCode) -> Writer {
    buffer.clear();
    let mut w = Writer(buffer);
    w.standard(type_id);
    w.time(clock::now());
    w.u32(handle);
    w.status(result);
    // No diagnostics, no string table, no additional header.
    w.u8(0);
    w.null();
    w.0.extend_from_slice(&[0, 0, 0]);
    w
}

/// A ServiceFault.
#[must_use]
pub fn fault(handle: u32, result: StatusCode) -> Vec<u8> {
    response(SERVICE_FAULT, handle, result).0
}

/// The bytes of body that fit a MSG chunk of `chunk` bytes.
#[must_use]
pub fn body_room(secure: &SecureChannel, mode: MessageSecurityMode, chunk: usize) -> usize {
    let signature = if mode == MessageSecurityMode::None { 0 } else { secure.security_policy().symmetric_signature_size() };
    if mode == MessageSecurityMode::SignAndEncrypt {
        // Sequence header, body, one byte of padding size and signature fill whole blocks of 16 after 16 bytes of header.
        (chunk - 16) / 16 * 16 - 8 - 1 - signature
    } else {
        chunk - SYMMETRIC_HEADER - signature
    }
}

/// Appends one MSG chunk to `out`. `numbers` are channel, token, sequence number, request id.
///
/// # Errors
/// When the library cannot secure it.
pub fn symmetric_chunk(
    secure: &SecureChannel,
    mode: MessageSecurityMode,
    numbers: (u32, u32, u32, u32),
    part: u8,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), StatusCode> {
    let begin = out.len();
    let mut w = Writer(std::mem::take(out));
    w.0.extend_from_slice(&[b'M', b'S', b'G', part]);
    w.count(SYMMETRIC_HEADER + body.len());
    for number in [numbers.0, numbers.1, numbers.2, numbers.3] {
        w.u32(number);
    }
    w.0.extend_from_slice(body);
    *out = w.0;
    if mode != MessageSecurityMode::None {
        let clear = out.split_off(begin);
        secure_into(secure, clear, out)?;
    }
    Ok(())
}

/// The answer to an OPN, as one chunk.
///
/// # Errors
/// When the library cannot secure it.
pub fn open_chunk(
    secure: &SecureChannel,
    policy: SecurityPolicy,
    own: &X509,
    client: Option<&[u8]>,
    sequence: u32,
    request_id: u32,
    body: &[u8],
) -> Result<Vec<u8>, StatusCode> {
    let mut w = Writer(b"OPNF\0\0\0\0".to_vec());
    w.u32(secure.secure_channel_id());
    w.text(policy.to_uri());
    match client {
        Some(client) => {
            w.bytes(own.as_byte_string().as_ref());
            w.bytes(super::channel::certificate(client)?.thumbprint().value());
        }
        None => {
            w.null();
            w.null();
        }
    }
    w.u32(sequence);
    w.u32(request_id);
    w.0.extend_from_slice(body);
    let size = u32::try_from(w.0.len()).map_err(|_| status::BAD_RESPONSE_TOO_LARGE)?;
    w.0[4..8].copy_from_slice(&size.to_le_bytes());
    if client.is_none() {
        return Ok(w.0);
    }
    let mut out = Vec::new();
    secure_into(secure, w.0, &mut out)?;
    Ok(out)
}

fn secure_into(secure: &SecureChannel, clear: Vec<u8>, out: &mut Vec<u8>) -> Result<(), StatusCode> {
    let begin = out.len();
    out.resize(begin + clear.len() + SECURITY_ROOM, 0);
    let chunk = MessageChunk { data: clear.into() };
    let size = secure.apply_security(&chunk, &mut out[begin..]).map_err(|_| status::BAD_SECURITY_CHECKS_FAILED)?;
    out.truncate(begin + size);
    Ok(())
}
