//! `[throttle]`: few, clear messages (SPEC 7.3).

use std::time::Duration;

use super::Channel;

/// `[throttle]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// Digests instead of single texts to a contact who would get too many.
    pub flood: Option<Flood>,
    /// Messages and calls that a person gets in an hour.
    pub budget: Option<Budget>,
    /// Marks and holds chattering alarms.
    pub chatter: Option<Chatter>,
    /// SmsBudget is raised when a day's texts have this many segments.
    pub segments_per_day: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            flood: Some(Flood::default()),
            budget: Some(Budget::default()),
            chatter: Some(Chatter::default()),
            segments_per_day: 1000,
        }
    }
}

/// When a contact is in a flood (SPEC 7.3; ISA-18.2 speaks of more than 10 alarms in 10 minutes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// More alarms than this, 2 to 500, …
    pub alarms: u32,
    /// … within this time, 1 minute to 1 day. It ends below half of that.
    pub per: Duration,
}

impl Default for Flood {
    fn default() -> Self {
        Self { alarms: 10, per: Duration::from_secs(600) }
    }
}

/// What one person may be sent, over all their contacts (SPEC 7.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Texts, 1 to 1,000.
    pub messages_per_hour: u32,
    /// Calls, 1 to 1,000.
    pub calls_per_hour: u32,
    /// The share that only critical alarms may use, 0 to 0.9.
    pub critical_reserve: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { messages_per_hour: 30, calls_per_hour: 12, critical_reserve: 0.5 }
    }
}

impl Budget {
    /// All messages or calls of an hour.
    #[must_use]
    pub const fn limit(&self, channel: Channel) -> u32 {
        match channel {
            Channel::Sms => self.messages_per_hour,
            Channel::Voice => self.calls_per_hour,
        }
    }

    /// Those that are not kept for critical alarms, at least 1.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn common(&self, channel: Channel) -> u32 {
        let limit = self.limit(channel);
        let kept = f64::from(limit) * self.critical_reserve.clamp(0.0, 1.0);
        limit.saturating_sub(kept as u32).max(1)
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
