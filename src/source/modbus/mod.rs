//! Modbus TCP, RTU over TCP and RTU: tags read by polling, written one at a time.
//!
//! One connection to a device or gateway, one request on it at a time. Reads are coalesced ([`plan`]); a block that the
//! device refuses is split, once, and stays split for as long as the source lives. Requests go ahead of the next poll. A unit
//! that does not answer is left alone for a while without holding up the others. Reconnecting and the state of the source as a whole are the
//! daemon's. No discovery, no diagnostics functions, no writes that nobody asked for.

use std::sync::Arc;

use super::{Link, SessionEnd, Source};
use crate::{BoxFuture, engine::plan::Settings};

pub mod address;
pub mod decode;
pub mod format;
pub mod plan;
mod session;
pub mod settings;
mod state;
mod transport;
mod write;

pub use settings::{DRIVER, ModbusSettings};

use state::State;

/// A Modbus device or gateway.
struct Modbus {
    settings: Arc<ModbusSettings>,
    /// Kept between sessions: split blocks stay split, last values stay known.
    state: Option<State>,
}

/// The source for `settings`, which [`DRIVER`] made.
///
/// # Panics
/// When another driver made them.
#[must_use]
pub fn new(settings: &Settings) -> Box<dyn Source> {
    let settings = Arc::clone(settings).downcast().unwrap_or_else(|_| panic!("these settings are another driver's"));
    Box::new(Modbus { settings, state: None })
}

impl Source for Modbus {
    fn session<'a>(&'a mut self, link: &'a mut Link) -> BoxFuture<'a, SessionEnd> {
        Box::pin(async move {
            if !self.state.as_ref().is_some_and(|state| state.is_for(&link.tags)) {
                self.state = Some(State::new(Arc::clone(&link.tags), self.settings.limits));
            }
            let state = self.state.as_mut().unwrap_or_else(|| unreachable!("made above"));
            session::run(&self.settings, state, link).await
        })
    }
}
