//! `[retention]`: how much of the past is kept.

use std::time::Duration;

/// `[retention]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long values of tags with `history = true` are kept, 1 h to 3,650 days.
    pub history: Duration,
    /// How many of them are kept in all, 1,000 to 1,000,000,000; the oldest go first.
    pub history_values: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { history: Duration::from_secs(30 * 86_400), history_values: 10_000_000 }
    }
}
