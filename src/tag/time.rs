//! The one time type of the program.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const TICKS_PER_SECOND: i64 = 10_000_000;
/// Seconds from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH_SECONDS: i64 = 11_644_473_600;

/// An instant in UTC: 100 ns ticks since 1601-01-01, the encoding of OPC UA `DateTime` (Part 6, 5.2.2.5), so that a source's
/// timestamp is passed on without loss. Zero means "no timestamp".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// "No timestamp", as OPC UA writes it.
    pub const NULL: Self = Self(0);

    /// The instant that is `ticks` 100 ns steps after 1601-01-01 UTC.
    #[must_use]
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// 100 ns steps since 1601-01-01 UTC.
    #[must_use]
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// True for [`Timestamp::NULL`].
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The same instant for calendar work; out-of-range instants (beyond year 9999) saturate.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        let since_unix = i128::from(self.0 - UNIX_EPOCH_SECONDS * TICKS_PER_SECOND) * 100;
        jiff::Timestamp::from_nanosecond(since_unix).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The time that passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0).saturating_mul(100))
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0 / 10_000 - UNIX_EPOCH_SECONDS * 1000
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        let ticks = time.as_nanosecond() / 100 + i128::from(UNIX_EPOCH_SECONDS * TICKS_PER_SECOND);
        Self(i64::try_from(ticks).unwrap_or(i64::MAX))
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let since_unix = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(UNIX_EPOCH_SECONDS * TICKS_PER_SECOND) + since_unix
    }
}

/// A duration in 100 ns steps, saturating.
fn ticks(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(ticks(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(ticks(duration)))
    }
}

/// RFC 3339 in UTC; nothing for [`Timestamp::NULL`].
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { Ok(()) } else { self.to_jiff().fmt(f) }
    }
}

/// An RFC 3339 text, or null for [`Timestamp::NULL`].
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_null() { serializer.serialize_none() } else { serializer.collect_str(&self.to_jiff()) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Self::NULL),
            Some(text) => text.parse::<jiff::Timestamp>().map(Self::from).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_text_agree() {
        let time: jiff::Timestamp = "2026-11-20T12:34:56.1234567Z".parse().unwrap();
        let stamp = Timestamp::from(time);
        assert_eq!(stamp.to_jiff(), time);
        assert_eq!(serde_json::to_string(&stamp).unwrap(), "\"2026-11-20T12:34:56.1234567Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>("\"2026-11-20T12:34:56.1234567Z\"").unwrap(), stamp);
        assert_eq!(stamp.unix_millis(), time.as_millisecond());
        // Part 6: 1601-01-01 is the epoch, 1970 lies 11,644,473,600 s after it.
        assert_eq!(Timestamp::from_ticks(116_444_736_000_000_000).to_jiff(), jiff::Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn arithmetic_saturates() {
        let early = Timestamp::from_ticks(5);
        assert_eq!(early.since(Timestamp::from_ticks(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_ticks(25).since(early), Duration::from_micros(2));
        assert_eq!(Timestamp::from_ticks(i64::MAX) + Duration::from_secs(1), Timestamp::from_ticks(i64::MAX));
    }
}
