//! Whose turn it is in a rotation.
//!
//! Every turn begins at the hand-over's local time: at the first of two such instants, at the next existing one when it is
//! skipped. One turn begins where the one before ends, so exactly one person has it at any time, before the start date too.

use jiff::{ToSpan, tz::TimeZone};

use super::zone::{first_zone, start};
use crate::{engine::plan::Rotation, tag::Timestamp};

/// Turns around the one that the calendar names that are looked at: a day that a zone skipped moves it by one.
const AROUND: i64 = 2;

/// The position in `rotation.users` of the one whose turn it is; zero when it has nobody.
#[must_use]
pub fn turn(rotation: &Rotation, now: Timestamp) -> usize {
    let number = number(rotation, &zone(rotation), now.to_jiff());
    let people = i64::try_from(rotation.users.len()).unwrap_or(i64::MAX).max(1);
    usize::try_from(number.rem_euclid(people)).unwrap_or(0)
}

/// Every hand-over in a span of so many days from `from`, and one more at each end.
pub(super) fn hand_overs(rotation: &Rotation, from: Timestamp, days: i64) -> impl Iterator<Item = Timestamp> {
    let zone = zone(rotation);
    let first = number(rotation, &zone, from.to_jiff());
    let turns = days / i64::from(rotation.days.max(1)) + AROUND;
    (first..=first + turns).filter_map(move |number| begin(rotation, &zone, number)).map(Timestamp::from)
}

fn zone(rotation: &Rotation) -> TimeZone {
    first_zone([rotation.time_zone.as_deref(), None])
}

/// Turns since the start date; negative before it.
fn number(rotation: &Rotation, zone: &TimeZone, now: jiff::Timestamp) -> i64 {
    let today = zone.to_datetime(now).date();
    let days = rotation.first.until(today).map_or(0, |span| i64::from(span.get_days()));
    let about = days.div_euclid(i64::from(rotation.days.max(1)));
    let begun = |number: &i64| begin(rotation, zone, *number).is_some_and(|begin| begin <= now);
    (about - AROUND..=about + AROUND).rev().find(begun).unwrap_or(about)
}

/// When the turn of this number begins; `None` beyond the calendar.
fn begin(rotation: &Rotation, zone: &TimeZone, number: i64) -> Option<jiff::Timestamp> {
    let days = number.checked_mul(i64::from(rotation.days.max(1)))?;
    // Beyond the range of a span of days there is no calendar either.
    let span = i32::try_from(days).ok().filter(|days| days.abs() < 4_000_000)?.days();
    let date = rotation.first.checked_add(span).ok()?;
    Some(start(zone, date.to_datetime(rotation.hand_over)))
}
