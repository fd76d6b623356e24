//! Time zones: instants of local times, and local times of instants.
//!
//! Zones come from the tables built into the program, so that the same configuration gives the same shifts on every host.

use std::sync::LazyLock;

use jiff::{
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::tag::Timestamp;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of this IANA name; `None` when there is none.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// The first zone of those named that exists, else UTC.
#[must_use]
pub fn first_zone(names: [Option<&str>; 2]) -> TimeZone {
    names.into_iter().flatten().find_map(zone).unwrap_or(TimeZone::UTC)
}

/// The first instant with this local time, or the first after it when there is none (SPEC 7.2).
#[must_use]
pub fn start(zone: &TimeZone, local: DateTime) -> jiff::Timestamp {
    instant(zone, local, false)
}

/// The last instant with this local time, or the first after it when there is none (SPEC 7.2).
#[must_use]
pub fn end(zone: &TimeZone, local: DateTime) -> jiff::Timestamp {
    instant(zone, local, true)
}

fn instant(zone: &TimeZone, local: DateTime, last: bool) -> jiff::Timestamp {
    use jiff::tz::AmbiguousOffset::{Fold, Gap, Unambiguous};
    let ambiguous = zone.to_ambiguous_timestamp(local);
    // Beyond the years that can be represented nothing starts and nothing ends.
    let bound = jiff::Timestamp::MAX;
    match ambiguous.offset() {
        Unambiguous { .. } => ambiguous.compatible().unwrap_or(bound),
        Fold { .. } if last => ambiguous.later().unwrap_or(bound),
        Fold { .. } => ambiguous.earlier().unwrap_or(bound),
        // `earlier` lies before the skipped time: the zone's next transition is the one that skips it.
        Gap { .. } => match ambiguous.earlier() {
            Ok(before) => zone.following(before).next().map_or(before, |transition| transition.timestamp()),
            Err(_) => bound,
        },
    }
}

/// `time` as people in this zone (else UTC) read it: `14:05` on the day of `now`, else `2026-11-19 14:05`; with ` UTC` when no
/// zone is known.
#[must_use]
pub fn clock_text(time: Timestamp, now: Timestamp, zone_name: Option<&str>) -> String {
    let zone = zone_name.and_then(zone);
    let suffix = if zone.is_some() { "" } else { " UTC" };
    let zone = zone.unwrap_or(TimeZone::UTC);
    let local = zone.to_datetime(time.to_jiff());
    let pattern = if local.date() == zone.to_datetime(now.to_jiff()).date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("{}{suffix}", local.strftime(pattern))
}

/// `time` with its date and seconds, as people in this zone (else UTC) read it: `2026-11-20 14:05:33`.
#[must_use]
pub fn date_text(time: Timestamp, zone_name: Option<&str>) -> String {
    if time.is_null() {
        return String::new();
    }
    match zone_name.and_then(zone) {
        Some(zone) => zone.to_datetime(time.to_jiff()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{} UTC", TimeZone::UTC.to_datetime(time.to_jiff()).strftime("%Y-%m-%d %H:%M:%S")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_people() {
        let at = |text: &str| Timestamp::from(text.parse::<jiff::Timestamp>().unwrap());
        let (time, now) = (at("2026-11-20T20:05:33Z"), at("2026-11-21T05:00:00Z"));
        assert_eq!(clock_text(time, now, Some("America/Chicago")), "14:05");
        assert_eq!(clock_text(time, now, Some("Asia/Tokyo")), "05:05");
        assert_eq!(clock_text(time, now, None), "2026-11-20 20:05 UTC");
        assert_eq!(date_text(time, Some("America/Chicago")), "2026-11-20 14:05:33");
        assert_eq!(date_text(Timestamp::NULL, None), "");
    }
}
