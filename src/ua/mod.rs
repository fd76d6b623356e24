//! OPC UA Binary as both sides of this program speak it: what the server reads from its clients and the client from its servers.
//!
//! Peers are not trusted with memory or stack: see [`wire`].

pub mod wire;
