//! Securing chunks (Part 6, 6.7.2) with the library's cryptography, for both sides of this program: one of its `SecureChannel`s for
//! each token, because it keeps one set of sending keys only. What it does not check across messages is the caller's to check.

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
    crypto::{CertificateStore, KeySize, PrivateKey, SecurityPolicy, X509},
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

/// What an OPN with a certificate is secured with.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Our certificate.
    pub certificate: &'a X509,
    /// Its key.
    pub key: &'a PrivateKey,
    /// The peer's certificate.
    pub peer: &'a X509,
}

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

/// An OPN as one chunk; `numbers` are channel, sequence number, request id. With `keys` it costs an operation with the private key,
/// and `secure` must have been given the same.
///
/// # Errors
/// When the library cannot secure it; also when it panics on the keys.
pub fn open_chunk(secure: &SecureChannel, keys: Option<Keys<'_>>, numbers: [u32; 3], body: &[u8]) -> Result<Vec<u8>, Insecure> {
    let [channel, sequence, request_id] = numbers;
    let mut w = Writer(b"OPNF\0\0\0\0".to_vec());
    w.u32(channel);
    w.text(secure.security_policy().to_uri());
    if let Some(keys) = keys {
        w.bytes(keys.certificate.as_byte_string().as_ref());
        w.bytes(keys.peer.thumbprint().value());
    } else {
        w.null();
        w.null();
    }
    w.u32(sequence);
    w.u32(request_id);
    w.0.extend_from_slice(body);
    let size = u32::try_from(w.0.len()).map_err(|_| Insecure)?;
    w.0[4..8].copy_from_slice(&size.to_le_bytes());
    if keys.is_none() {
        return Ok(w.0);
    }
    let mut out = Vec::new();
    let applied = catch_unwind(AssertUnwindSafe(|| apply(secure, w.0, &mut out)));
    applied.unwrap_or(Err(Insecure)).map(|()| out)
}

/// What stands behind the security `header` of an OPN, decrypted with our key, the peer's signature checked, padding taken off
/// (Part 6, 6.7.2.5). All that can be wrong with it is one error, so that nobody learns from it.
///
/// # Errors
/// When it is not for us or not from the peer; also when the library panics on what the peer sent.
pub fn open_asymmetric(policy: SecurityPolicy, keys: Keys<'_>, header: &[u8], cipher: &[u8]) -> Result<Vec<u8>, Insecure> {
    let open = || {
        let block = keys.key.size();
        if cipher.is_empty() || !cipher.len().is_multiple_of(block) {
            return None;
        }
        let peer = keys.peer.public_key().ok()?;
        let mut clear = vec![0; cipher.len() + block];
        let length = policy.asymmetric_decrypt(keys.key, cipher, &mut clear).ok()?;
        clear.truncate(length);
        let signature = clear.split_off(length.checked_sub(peer.size())?);
        let signed = [header, &clear].concat();
        policy.asymmetric_verify_signature(&peer, &signed, &signature).ok()?;
        let padding = padding(&clear, block > 256)?;
        clear.truncate(clear.len() - padding);
        Some(clear)
    };
    catch_unwind(AssertUnwindSafe(open)).ok().flatten().ok_or(Insecure)
}

/// The length of the padding at the end of `clear`, its size bytes included: keys over 2,048 bits have a second one.
fn padding(clear: &[u8], long_key: bool) -> Option<usize> {
    let (extra, rest) = if long_key { clear.split_last().map(|(extra, rest)| (usize::from(*extra), rest))? } else { (0, clear) };
    let low = *rest.last()?;
    let size = extra << 8 | usize::from(low);
    let filled = rest.len().checked_sub(size + 1)?;
    rest[filled..].iter().all(|byte| *byte == low).then_some(size + 1 + usize::from(long_key))
}

/// Appends the chunk `clear`, secured.
fn apply(secure: &SecureChannel, clear: Vec<u8>, out: &mut Vec<u8>) -> Result<(), Insecure> {
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
