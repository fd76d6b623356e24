//! Every bound of the client in one place: what a server can make us keep or do.

use std::time::Duration;

/// The largest chunk that we take and send, in bytes; said in HEL.
pub const CHUNK: usize = 65_536;
/// The least chunk that a server must take (Part 6, 7.1.2.4), in bytes.
pub const LEAST_CHUNK: usize = 8_192;
/// The largest answer, in bytes.
pub const MESSAGE: usize = 16 << 20;
/// The largest answer before a session is active, in bytes.
pub const EARLY_MESSAGE: usize = 1 << 20;
/// The most chunks of an answer.
pub const CHUNKS: usize = MESSAGE / LEAST_CHUNK;
/// The largest request, in bytes, whatever the server takes.
pub const REQUEST: usize = 4 << 20;
/// Requests under way at a time.
pub const REQUESTS: usize = 64;
/// Elements of arrays that are kept of one answer.
pub const ELEMENTS: usize = 1_000_000;
/// Values in one notification message.
pub const NOTIFICATIONS: usize = 100_000;
/// References in one answer to Browse.
pub const REFERENCES: usize = 200_000;
/// Levels of nested DiagnosticInfo that are skipped.
pub const DIAGNOSTICS: usize = 16;
/// How deep a Variant may hold others.
pub const DEPTH: u32 = 3;
/// A server's certificate with its chain, in bytes.
pub const CERTIFICATE: usize = 64 * 1024;
/// Endpoints that are looked at.
pub const ENDPOINTS: usize = 200;
/// Kinds of user tokens of one endpoint that are looked at.
pub const TOKENS: usize = 50;
/// Characters of a server's own words that are shown.
pub const WORDS: usize = 200;
/// Bytes of an identifier that the server gives and we return: authentication token, nonce, continuation point.
pub const OPAQUE: usize = 64 * 1024;
/// Bytes of our nonces; every policy asks for 32.
pub const NONCE: usize = 32;
/// The least time between two renewals of a channel, however short the life that the server grants.
pub const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);
/// The life of a token that we ask for.
pub const LIFE: Duration = Duration::from_hours(1);
/// Bytes that wait to be sent before requests have to wait.
pub const UNSENT: usize = 1 << 20;
