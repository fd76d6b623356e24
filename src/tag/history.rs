//! What is kept of a tag's past: values in the order of their source time, thinned by the tag's own deadband.

use super::{StatusCode, Timestamp, Value};

/// Where a value stands in a tag's history: by source time, then by when it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The source's own time; when it gave none, `received`.
    pub time: Timestamp,
    /// When it was received; no two values of one tag have the same.
    pub received: Timestamp,
}

impl Moment {
    /// Before every value of this time.
    #[must_use]
    pub const fn before(time: Timestamp) -> Self {
        Self { time, received: Timestamp::from_ticks(i64::MIN) }
    }

    /// After every value of this time.
    #[must_use]
    pub const fn after(time: Timestamp) -> Self {
        Self { time, received: Timestamp::from_ticks(i64::MAX) }
    }
}

/// One value of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct PastValue {
    /// Where it stands.
    pub at: Moment,
    /// `Null` when `status` is Bad.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
}

/// A stretch of a tag's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The tag's path.
    pub tag: String,
    /// Values after this.
    pub after: Moment,
    /// Values before this.
    pub before: Moment,
    /// From the newest to the oldest.
    pub newest_first: bool,
    /// At most this many.
    pub limit: u32,
}
