//! Who is on duty, and when: the only room with time zones.
//!
//! Zones come from the tables built into the program, so that the same configuration gives the same shifts on every host.
//! Whether a user is on duty is asked at each contact ([`on_duty`]); layers that go before the schedule (overrides, holidays,
//! rotations) join in [`user_on_duty`].

use std::sync::LazyLock;

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time},
    tz::{TimeZone, TimeZoneDatabase},
};

use super::plan::{Plan, Schedule, Shift, UserDef};
use crate::tag::Timestamp;

/// A shift lasts at most 24 hours by the clock; a day more covers an hour that occurs twice and days that a zone skipped.
const DAYS_BACK: i64 = 3;

/// How far [`next_change`] looks beyond now and beyond the end of each exception: two weeks, for a weekly shift that one
/// skipped hour swallows.
const DAYS_AHEAD: i64 = 16;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of this IANA name; `None` when there is none.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// The first zone of those named that exists, else UTC.
fn first_zone(names: [Option<&str>; 2]) -> TimeZone {
    names.into_iter().flatten().find_map(zone).unwrap_or(TimeZone::UTC)
}

/// True when `user` is on duty: always without a schedule.
#[must_use]
pub fn user_on_duty(plan: &Plan, user: &UserDef, now: Timestamp) -> bool {
    match user.schedule.as_ref().and_then(|name| plan.schedules.get(name)) {
        Some(schedule) => on_duty(schedule, user.time_zone.as_deref(), now),
        None => true,
    }
}

/// True when `now` lies in a shift of `schedule` and in none of its exceptions. Times are those of the schedule's zone, else
/// of `user_zone`, else of UTC.
///
/// A shift includes its start and excludes its end. A local time that occurs twice starts a shift at the first and ends one at
/// the last; one that is skipped is the next instant that exists (SPEC 7.2).
#[must_use]
pub fn on_duty(schedule: &Schedule, user_zone: Option<&str>, now: Timestamp) -> bool {
    let zone = first_zone([schedule.time_zone.as_deref(), user_zone]);
    holds(schedule, &zone, now.to_jiff())
}

/// The next instant at which [`on_duty`] changes; `None` when it stays as it is.
#[must_use]
pub fn next_change(schedule: &Schedule, user_zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let zone = first_zone([schedule.time_zone.as_deref(), user_zone]);
    let now = now.to_jiff();
    let exceptions = || schedule.except.iter().map(|(from, until)| (start(&zone, *from), end(&zone, *until)));
    let mut anchors = vec![now];
    anchors.extend(exceptions().map(|(_, until)| until).filter(|until| *until > now));
    let mut candidates: Vec<jiff::Timestamp> = exceptions().flat_map(|(from, until)| [from, until]).collect();
    for anchor in anchors {
        candidates.extend(shifts(schedule, &zone, anchor, DAYS_AHEAD).flat_map(|(from, until)| [from, until]));
    }
    candidates.retain(|candidate| *candidate > now);
    candidates.sort_unstable();
    let present = holds(schedule, &zone, now);
    candidates.into_iter().find(|candidate| holds(schedule, &zone, *candidate) != present).map(Timestamp::from)
}

fn holds(schedule: &Schedule, zone: &TimeZone, now: jiff::Timestamp) -> bool {
    let inside = |(from, until): (jiff::Timestamp, jiff::Timestamp)| from <= now && now < until;
    let excepted = schedule.except.iter().any(|(from, until)| inside((start(zone, *from), end(zone, *until))));
    !excepted && shifts(schedule, zone, now, 1).any(inside)
}

/// All shifts that start from [`DAYS_BACK`] days before `now` to `ahead` days after it, as instants.
fn shifts(
    schedule: &Schedule,
    zone: &TimeZone,
    now: jiff::Timestamp,
    ahead: i64,
) -> impl Iterator<Item = (jiff::Timestamp, jiff::Timestamp)> {
    let today = zone.to_datetime(now).date();
    (-DAYS_BACK..=ahead).filter_map(move |offset| today.checked_add(offset.days()).ok()).flat_map(move |date| {
        let starts_today = move |shift: &&Shift| shift.days.contains(&date.weekday());
        schedule.weekly.iter().filter(starts_today).map(move |shift| {
            let (from, until) = local(shift, date);
            (start(zone, from), end(zone, until))
        })
    })
}

/// The local start and end of the shift that starts on `date`: past midnight when `to` is not after `from`.
fn local(shift: &Shift, date: Date) -> (DateTime, DateTime) {
    let tomorrow = date.saturating_add(1.day());
    let until = match shift.to {
        None => tomorrow.to_datetime(Time::midnight()),
        Some(to) if to > shift.from => date.to_datetime(to),
        Some(to) => tomorrow.to_datetime(to),
    };
    (date.to_datetime(shift.from), until)
}

/// The first instant with this local time, or the first after it when there is none.
fn start(zone: &TimeZone, local: DateTime) -> jiff::Timestamp {
    instant(zone, local, false)
}

/// The last instant with this local time, or the first after it when there is none.
fn end(zone: &TimeZone, local: DateTime) -> jiff::Timestamp {
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

/// `number` with its middle hidden, for publishing: `+1•••4444`. The country code stays as far as the number's own form tells
/// it; a number too short to hide anything shows its last two digits.
#[must_use]
pub fn mask_number(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    let country = number.parse::<phonenumber::PhoneNumber>().map_or(0, |parsed| parsed.code().value().to_string().len());
    let shown = if digits.len() >= country + 7 { 4 } else { 2 };
    let head: String = digits.iter().take(if number.starts_with('+') { country } else { 0 }).collect();
    let tail: String = digits[digits.len().saturating_sub(shown)..].iter().collect();
    let plus = if number.starts_with('+') { "+" } else { "" };
    format!("{plus}{head}•••{tail}")
}
