//! Sources: tag values in, writes out. One file (or folder) a driver.
//!
//! A driver only keeps one session at a time. Reconnecting, back-off, marking values bad and publishing the source's state are
//! the daemon's, done once for all drivers.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    BoxFuture,
    engine::plan::{Settings, TagDef, TagTraits},
    tag::{Sample, StatusCode, TagId, TagPath, Value},
};

#[cfg(feature = "modbus")]
pub mod modbus;
#[cfg(feature = "opcua")]
pub mod opcua;
pub mod simulator;

/// One device or server.
pub trait Source: Send {
    /// One session: connects, reports [`Link::connected`], delivers samples and carries out requests until the session ends.
    /// Never returns while the session is healthy; must return soon after [`Link::stopped`].
    fn session<'a>(&'a mut self, link: &'a mut Link) -> BoxFuture<'a, SessionEnd>;
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// It was asked to.
    Stopped,
    /// The connection was lost or never made; for people, without secrets.
    Lost(String),
}

/// One tag of a source: what it is and where it lies. It does not keep the plan alive that it came from.
#[derive(Clone)]
pub struct SourceTag {
    /// Its cell in the table.
    pub id: TagId,
    /// For messages.
    pub path: TagPath,
    /// What it has in common with others; read as if it were the tag's own.
    pub traits: Arc<TagTraits>,
    /// The driver's own address.
    pub address: Settings,
}

impl SourceTag {
    /// A tag as it is defined, at `address`.
    #[must_use]
    pub fn new(def: &TagDef, address: Settings) -> Self {
        Self { id: def.id, path: def.path.clone(), traits: Arc::clone(&def.traits), address }
    }
}

impl Deref for SourceTag {
    type Target = TagTraits;

    fn deref(&self) -> &TagTraits {
        &self.traits
    }
}

/// A session's connection to the rest of the program.
pub struct Link {
    /// Name of the source.
    pub name: Arc<str>,
    /// All tags of the source.
    pub tags: Arc<[SourceTag]>,
    /// Requests to this device, in order.
    pub requests: tokio::sync::mpsc::Receiver<SourceRequest>,
    /// Cancelled when the session shall end.
    pub stop: tokio_util::sync::CancellationToken,
    /// Counters that the daemon publishes.
    pub stats: Arc<SourceStats>,
    /// Where samples and session events go.
    pub sink: Arc<dyn SourceSink>,
}

/// What a session reports. Implemented by the daemon, and by tests.
pub trait SourceSink: Send + Sync {
    /// The session is up; samples follow.
    fn connected(&self, source: &str);
    /// Values in the order in which they were taken; one call for one answer of the device.
    fn samples(&self, source: &str, samples: Vec<Sample>);
    /// The device answered (a poll, a notification or a keep-alive): the source is not quiet.
    fn alive(&self, source: &str);
}

impl Link {
    /// The session is up; samples follow.
    pub fn connected(&self) {
        self.sink.connected(&self.name);
    }

    /// Hands over values.
    pub fn samples(&self, samples: Vec<Sample>) {
        self.sink.samples(&self.name, samples);
    }

    /// The device answered.
    pub fn alive(&self) {
        self.sink.alive(&self.name);
    }

    /// Resolves when the session shall end.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}

/// A request to a device. The reply says what the device did, never what it will do; a dropped reply means that the
/// outcome is unknown.
#[derive(Debug)]
pub enum SourceRequest {
    /// Write a value in engineering units, already checked for type, range and right.
    Write {
        /// Which tag.
        tag: TagId,
        /// Of the tag's type.
        value: Value,
        /// The device's answer.
        reply: tokio::sync::oneshot::Sender<StatusCode>,
    },
    /// Read a value now, from the device.
    Read {
        /// Which tag.
        tag: TagId,
        /// What the device holds.
        reply: tokio::sync::oneshot::Sender<Result<Value, StatusCode>>,
    },
}

/// Counters of one source since the program started.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Requests to the device (Modbus reads, OPC UA publish answers).
    pub reads: AtomicU64,
    /// Writes that were not Good.
    pub write_errors: AtomicU64,
    /// Notifications lost because a queue overflowed.
    pub overflows: AtomicU64,
}

impl SourceStats {
    /// One more request was answered.
    pub fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// One more write failed.
    pub fn write_error(&self) {
        self.write_errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("name", &self.name).field("tags", &self.tags.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read-only tag `A/B` of this type, for the drivers' tests.
    pub fn tag(value_type: &str) -> SourceTag {
        let traits = Arc::new(TagTraits::of(value_type.parse().unwrap()));
        SourceTag { id: TagId(3), path: TagPath::new("A/B").unwrap(), traits, address: Arc::new(()) }
    }
}
