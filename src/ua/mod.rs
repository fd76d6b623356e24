//! OPC UA Binary as both sides of this program speak it: what the server reads from its clients and the client from its servers;
//! and the client's side of a connection.
//!
//! Peers are not trusted with memory or stack: see [`wire`] and [`client::limits`].

pub mod client;
pub mod secure;
pub mod wire;
