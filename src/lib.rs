//! Annunciator: reads tags from PLCs, evaluates alarms on them, texts the people on call until somebody acknowledges, writes
//! the acknowledgement back, and shows everything as an OPC UA server.
//!
//! Dependencies point one way: `tag`, `engine` <- `lease`, `config` <- `scenario`, `source`, `notify`, `serve`, `store`, `report` <- `daemon` <-
//! `cli` <- `main`; adapters never import one another.

use std::{future::Future, pin::Pin};

#[cfg(all(feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report"))]
pub mod cli;
pub mod config;
pub mod engine;
pub mod lease;
pub mod scenario;
pub mod script;
pub mod tag;
#[cfg(feature = "opcua")]
pub mod ua;

#[cfg(any(feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio"))]
pub mod clock;
#[cfg(all(feature = "daemon", feature = "opcua", feature = "modbus", feature = "twilio", feature = "report"))]
pub mod daemon;
#[cfg(feature = "opcua")]
pub mod import;
#[cfg(feature = "daemon")]
pub mod metrics;
#[cfg(feature = "twilio")]
pub mod notify;
#[cfg(feature = "opcua")]
pub mod pki;
#[cfg(feature = "report")]
pub mod report;
#[cfg(any(feature = "daemon", feature = "opcua", feature = "twilio"))]
pub mod serve;
#[cfg(any(feature = "twilio", feature = "modbus"))]
pub mod simulate;
#[cfg(any(feature = "opcua", feature = "modbus"))]
pub mod source;
#[cfg(feature = "daemon")]
pub mod store;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
