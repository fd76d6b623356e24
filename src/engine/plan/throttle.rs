//! `[throttle]`: few, clear messages (SPEC 7.3).

use std::time::Duration;

/// `[throttle]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Marks and holds chattering alarms.
    pub chatter: Option<Chatter>,
    /// SmsBudget is raised when a day's texts have this many segments.
    pub segments_per_day: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { chatter: Some(Chatter::default()), segments_per_day: 1000 }
    }
}

/// When an alarm chatters (SPEC 6.2, 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chatter {
    /// This many activations …
    pub activations: u32,
    /// … within this time.
    pub per: Duration,
    /// It is told at most once in this time.
    pub hold: Duration,
}

impl Default for Chatter {
    fn default() -> Self {
        Self { activations: 3, per: Duration::from_secs(60), hold: Duration::from_secs(600) }
    }
}
