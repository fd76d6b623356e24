//! `[drill]` and `[heartbeat]`: whether Annunciator itself still works (SPEC 14).

use std::time::Duration;

use crate::tag::TagId;

/// `[drill]`: a test of the way to people, end to end.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillDef {
    /// Name of the pipeline that it walks through.
    pub pipeline: String,
    /// When it runs by itself; `None` for by hand only.
    pub weekly: Option<Weekly>,
    /// How long somebody has to acknowledge it, 1 min to 24 h.
    pub answer_within: Duration,
}

/// A local time on some days of the week.
#[derive(Clone, Debug, PartialEq)]
pub struct Weekly {
    /// At least one.
    pub days: Vec<jiff::civil::Weekday>,
    /// Local time.
    pub at: jiff::civil::Time,
    /// IANA name; UTC without.
    pub time_zone: Option<String>,
}

/// `[heartbeat]`: a sign of life for somebody else, who notices when it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatDef {
    /// Fetched with GET; anything but 2xx is a failure.
    pub url: Option<String>,
    /// A writable tag that toggles (Boolean) or counts up (integer).
    pub tag: Option<TagId>,
    /// From one beat to the next, 1 s to 24 h.
    pub every: Duration,
    /// For the engine and for the other side, each, 1 s to `every`.
    pub timeout: Duration,
}
