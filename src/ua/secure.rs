//! Securing chunks (Part 6, 6.7.2) with the library's cryptography: one of its `SecureChannel`s for each token, because it keeps
//! one set of sending keys only. What it does not check across messages is the caller's to check.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
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
    crypto::{CertificateStore, SecurityPolicy},
    types::{ContextOwned, MessageSecurityMode},
};

use super::wire::Writer;

/// Bytes of a chunk before its security header.
pub const CHUNK_HEADER: usize = 12;
/// Bytes before the body of a MSG or CLO without encryption: header, token, sequence header.
pub const SYMMETRIC_HEADER: usize = CHUNK_HEADER + 4 + 8;
/// Room that signature and padding may need beyond a chunk.
const SECURITY_ROOM: usize = 2_048;
/// A sequence number may begin anew once it is within this distance of its end (Part 6, 6.7.2.4).
const WRAP: u32 = 1_024;
/// AES, in bytes.
const BLOCK: usize = 16;

/// The policies that this program speaks.
pub const POLICIES: [SecurityPolicy; 4] = [
    SecurityPolicy::None,
    SecurityPolicy::Basic256Sha256,
    SecurityPolicy::Aes128Sha256RsaOaep,
    SecurityPolicy::Aes256Sha256RsaPss,
];

/// A chunk breaks the rules of its security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insecure;

/// Keys and policy of nobody yet. The library reads certificate and key from files and logs when there are none; they are set from
/// memory right after.
#[must_use]
pub fn new_channel(role: Role) -> SecureChannel {
    let store = Arc::new(RwLock::new(CertificateStore::new(Path::new(""))));
    let context = Arc::new(RwLock::new(ContextOwned::default()));
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || SecureChannel::new(store, role, context))
}

/// True when `next` is the sequence number after `last`.
#[must_use]
pub const fn follows(last: u32, next: u32) -> bool {
    next == last.wrapping_add(1) || (last >= u32::MAX - WRAP && next < WRAP)
}

/// The sequence number to send after `last`.
#[must_use]
pub const fn next_sequence(last: u32) -> u32 {
    if last >= u32::MAX - WRAP { 1 } else { last + 1 }
}

/// The bytes of body that fit a MSG chunk of `chunk` bytes.
#[must_use]
pub fn body_room(secure: &SecureChannel, mode: MessageSecurityMode, chunk: usize) -> usize {
    let signature = if mode == MessageSecurityMode::None { 0 } else { secure.security_policy().symmetric_signature_size() };
    if mode == MessageSecurityMode::SignAndEncrypt {
        // Sequence header, body, one byte of padding size and signature fill whole blocks after 16 bytes of header.
        (chunk - BLOCK) / BLOCK * BLOCK - 8 - 1 - signature
    } else {
        chunk - SYMMETRIC_HEADER - signature
    }
}

/// Appends one MSG or CLO chunk to `out`. `numbers` are channel, token, sequence number, request id.
///
/// # Errors
/// When the library cannot secure it.
pub fn symmetric_chunk(
    secure: &SecureChannel,
    mode: MessageSecurityMode,
    kind: [u8; 4],
    numbers: [u32; 4],
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Insecure> {
    let begin = out.len();
    let mut w = Writer(std::mem::take(out));
    w.0.extend_from_slice(&kind);
    w.count(SYMMETRIC_HEADER + body.len());
    for number in numbers {
        w.u32(number);
    }
    w.0.extend_from_slice(body);
    *out = w.0;
    if mode != MessageSecurityMode::None {
        let clear = out.split_off(begin);
        apply(secure, clear, out)?;
    }
    Ok(())
}

/// Appends the chunk `clear`, secured.
///
/// # Errors
/// When the library cannot secure it.
pub fn apply(secure: &SecureChannel, clear: Vec<u8>, out: &mut Vec<u8>) -> Result<(), Insecure> {
    let begin = out.len();
    out.resize(begin + clear.len() + SECURITY_ROOM, 0);
    let chunk = MessageChunk { data: clear.into() };
    let size = secure.apply_security(&chunk, &mut out[begin..]).map_err(|_| Insecure)?;
    out.truncate(begin + size);
    Ok(())
}

/// Checks a MSG chunk and removes its security; header and numbers stay in front.
///
/// # Errors
/// When a length, the signature or the padding is wrong; also when the library panics on what the peer sent.
pub fn remove(secure: &SecureChannel, mode: MessageSecurityMode, bytes: &Bytes) -> Result<Bytes, Insecure> {
    if mode == MessageSecurityMode::None {
        return if bytes.len() >= SYMMETRIC_HEADER { Ok(bytes.clone()) } else { Err(Insecure) };
    }
    let signature = secure.security_policy().symmetric_signature_size();
    let encrypted = mode == MessageSecurityMode::SignAndEncrypt;
    if bytes.len() < SYMMETRIC_HEADER + signature || (encrypted && !(bytes.len() - BLOCK).is_multiple_of(BLOCK)) {
        return Err(Insecure);
    }
    match catch_unwind(AssertUnwindSafe(|| secure.verify_and_remove_security(bytes.clone()))) {
        Ok(Ok(MessageChunk { data })) if data.len() >= SYMMETRIC_HEADER => Ok(data),
        _ => Err(Insecure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_rise_by_one_and_wrap_near_their_end() {
        assert!(follows(1, 2) && follows(u32::MAX - 5, 1) && follows(u32::MAX - 1024, 1023));
        assert!(!follows(2, 2) && !follows(2, 4) && !follows(2, 1) && !follows(5_000, 1));
        assert!(follows(7, next_sequence(7)) && follows(u32::MAX - 1024, next_sequence(u32::MAX - 1024)));
    }
}
