//! The OPC UA server against peers that mean no good. Each test bears the name of its row in the list of attacks (T1 to T15; T16,
//! an upstream server that means no good, is with the client's tests) and runs in a process of its own: after each attack the
//! server still answers somebody else and its memory has stayed within a bound.

mod certificates;
mod decoding;
mod filters;
mod replay;
mod services;
mod sessions;
mod transport;

pub const BAD_TIMEOUT: u32 = 0x800A_0000;
pub const BAD_DECODING_ERROR: u32 = 0x8007_0000;
pub const BAD_SERVICE_UNSUPPORTED: u32 = 0x800B_0000;
pub const BAD_NOTHING_TO_DO: u32 = 0x800F_0000;
pub const BAD_TOO_MANY_OPERATIONS: u32 = 0x8010_0000;
pub const BAD_USER_ACCESS_DENIED: u32 = 0x801F_0000;
pub const BAD_SECURE_CHANNEL_ID_INVALID: u32 = 0x8022_0000;
pub const BAD_SESSION_ID_INVALID: u32 = 0x8025_0000;
pub const BAD_TOO_MANY_SESSIONS: u32 = 0x8056_0000;
pub const BAD_TYPE_MISMATCH: u32 = 0x8074_0000;
pub const BAD_TOO_MANY_SUBSCRIPTIONS: u32 = 0x8077_0000;
pub const BAD_TCP_MESSAGE_TYPE_INVALID: u32 = 0x807E_0000;
pub const BAD_TCP_MESSAGE_TOO_LARGE: u32 = 0x8080_0000;
pub const BAD_TCP_NOT_ENOUGH_RESOURCES: u32 = 0x8081_0000;
