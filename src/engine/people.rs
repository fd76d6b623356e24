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

/// `number` in E.164. `region` (ISO 3166) is for numbers without a country code.
///
/// # Errors
/// When it is no number that can exist; the words say how to write it (Twilio's 21211).
pub fn normalise(number: &str, region: Option<&str>) -> Result<String, String> {
    const LONGEST: usize = 40;
    // With a region the library takes that region's trunk prefix off a number of any country: +49 171… would lose its 1 in the
    // United States, and reach somebody else.
    let region = region.filter(|_| !number.trim_start().starts_with('+'));
    let region = region.and_then(|region| region.to_uppercase().parse::<phonenumber::country::Id>().ok());
    let words = || format!("{number:?} is not a phone number (21211): write it as + and digits, such as +12223334444");
    let parsed =
        Some(number.trim()).filter(|number| number.len() <= LONGEST).and_then(|number| phonenumber::parse(region, number).ok());
    // The same happens behind an international prefix (011, 00), and to digits that are taken for another country's code: such
    // a number must be written with its +.
    let home =
        region.and_then(|region| phonenumber::metadata::DATABASE.by_id(region.as_ref())).map(phonenumber::Metadata::country_code);
    let parsed = parsed.filter(|parsed| home.is_none_or(|home| parsed.code().value() == home));
    parsed.map(|parsed| parsed.format().mode(phonenumber::Mode::E164).to_string()).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday::{self, Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    use proptest::prelude::*;

    use super::*;

    const EVERY_DAY: [Weekday; 7] = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];

    fn shift(days: &[Weekday], from: &str, to: &str) -> Shift {
        let to = if to == "24:00" { None } else { Some(to.parse().unwrap()) };
        Shift { days: days.to_vec(), from: from.parse().unwrap(), to }
    }

    fn schedule(zone: Option<&str>, weekly: Vec<Shift>, except: &[(&str, &str)]) -> Schedule {
        let except = except.iter().map(|(from, until)| (from.parse().unwrap(), until.parse().unwrap())).collect();
        Schedule { name: "test".into(), time_zone: zone.map(str::to_owned), weekly, except }
    }

    fn at(text: &str) -> Timestamp {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    /// Duty at each instant, and the instants at which it changes from the first on.
    #[track_caller]
    fn check(schedule: &Schedule, duty: &[(&str, bool)], changes: &[&str]) {
        for (instant, expected) in duty {
            assert_eq!(on_duty(schedule, None, at(instant)), *expected, "{instant}");
        }
        let mut now = at(duty[0].0);
        for change in changes {
            now = next_change(schedule, None, now).unwrap_or(Timestamp::NULL);
            assert_eq!(now.to_string(), at(change).to_string());
        }
    }

    #[test]
    fn days_are_those_on_which_a_shift_starts() {
        // SPEC 3: nights from Monday to Friday, all of the weekend. 2026-11-20 is a Friday; London is on UTC.
        let nights = schedule(
            Some("Europe/London"),
            vec![
                shift(&[Monday, Tuesday, Wednesday, Thursday, Friday], "18:00", "06:00"),
                shift(&[Saturday, Sunday], "00:00", "24:00"),
            ],
            &[("2026-12-24T00:00", "2026-12-27T00:00")],
        );
        check(
            &nights,
            &[
                ("2026-11-20T12:00:00Z", false),
                ("2026-11-20T18:00:00Z", true),
                ("2026-11-21T05:59:59Z", true),
                ("2026-11-22T23:59:59.9999999Z", true),
                ("2026-11-23T00:00:00Z", false),
                ("2026-11-23T05:00:00Z", false),
                ("2026-12-24T03:00:00Z", false),
                ("2026-12-26T12:00:00Z", false),
                ("2026-12-27T00:00:00Z", true),
            ],
            &["2026-11-20T18:00:00Z", "2026-11-23T00:00:00Z", "2026-11-23T18:00:00Z", "2026-11-24T06:00:00Z"],
        );
        check(
            &nights,
            &[("2026-12-23T12:00:00Z", false)],
            &["2026-12-23T18:00:00Z", "2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z"],
        );
    }

    #[test]
    fn an_hour_that_occurs_twice_is_on_duty_twice() {
        // New York, 2026-11-01: 01:00 to 02:00 occurs at 05:00Z and again at 06:00Z.
        let early = schedule(Some("America/New_York"), vec![shift(&[Sunday], "01:30", "03:00")], &[]);
        check(
            &early,
            &[("2026-11-01T05:00:00Z", false), ("2026-11-01T06:10:00Z", true)],
            &["2026-11-01T05:30:00Z", "2026-11-01T08:00:00Z"],
        );
        let late = schedule(Some("America/New_York"), vec![shift(&[Saturday], "22:00", "01:30")], &[]);
        check(
            &late,
            &[("2026-11-01T00:00:00Z", false), ("2026-11-01T05:45:00Z", true)],
            &["2026-11-01T02:00:00Z", "2026-11-01T06:30:00Z"],
        );
    }

    #[test]
    fn an_hour_that_is_skipped_begins_at_the_next_instant() {
        // New York, 2026-03-08: 02:00 to 03:00 does not exist, 07:00Z is the next instant.
        let start = schedule(Some("America/New_York"), vec![shift(&[Sunday], "02:30", "05:00")], &[]);
        check(&start, &[("2026-03-08T06:00:00Z", false)], &["2026-03-08T07:00:00Z", "2026-03-08T09:00:00Z"]);
        let end = schedule(Some("America/New_York"), vec![shift(&[Saturday], "22:00", "02:30")], &[]);
        check(&end, &[("2026-03-08T00:00:00Z", false)], &["2026-03-08T03:00:00Z", "2026-03-08T07:00:00Z"]);
        // A shift inside of it does not take place; the one a week later does.
        let inside = schedule(Some("America/New_York"), vec![shift(&[Sunday], "02:15", "02:45")], &[]);
        check(&inside, &[("2026-03-08T06:00:00Z", false), ("2026-03-08T07:00:00Z", false)], &["2026-03-15T06:15:00Z"]);
        // Half an hour at Lord Howe; midnight in Sao Paulo; a whole day in Apia (2011-12-30).
        let lord_howe = schedule(Some("Australia/Lord_Howe"), vec![shift(&[Sunday], "02:15", "04:00")], &[]);
        check(&lord_howe, &[("2026-10-03T15:00:00Z", false)], &["2026-10-03T15:30:00Z", "2026-10-03T17:00:00Z"]);
        let sao_paulo = schedule(Some("America/Sao_Paulo"), vec![shift(&[Sunday], "00:00", "08:00")], &[]);
        check(&sao_paulo, &[("2018-11-04T02:00:00Z", false)], &["2018-11-04T03:00:00Z", "2018-11-04T10:00:00Z"]);
        let apia =
            schedule(Some("Pacific/Apia"), vec![shift(&[Friday], "08:00", "17:00"), shift(&[Saturday], "08:00", "17:00")], &[]);
        check(&apia, &[("2011-12-30T09:00:00Z", false)], &["2011-12-30T18:00:00Z", "2011-12-31T03:00:00Z"]);
    }

    #[test]
    fn around_the_clock_has_no_gap() {
        for zone in ["America/Sao_Paulo", "Africa/Cairo", "Europe/Berlin", "Pacific/Apia"] {
            let always = schedule(Some(zone), vec![shift(&EVERY_DAY, "00:00", "24:00")], &[]);
            assert_eq!(next_change(&always, None, at("2011-12-20T00:00:00Z")), None, "{zone}");
            let handover = schedule(Some(zone), vec![shift(&EVERY_DAY, "06:00", "06:00")], &[]);
            assert_eq!(next_change(&handover, None, at("2018-10-20T00:00:00Z")), None, "{zone}");
        }
        let never = schedule(None, vec![], &[]);
        assert!(!on_duty(&never, None, at("2026-01-01T00:00:00Z")));
        assert_eq!(next_change(&never, None, at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn the_schedules_zone_goes_before_the_users() {
        let day = vec![shift(&EVERY_DAY, "08:00", "16:00")];
        let noon = at("2026-11-20T12:00:00Z");
        assert!(!on_duty(&schedule(None, day.clone(), &[]), Some("America/Los_Angeles"), noon));
        assert!(on_duty(&schedule(Some("Europe/London"), day.clone(), &[]), Some("America/Los_Angeles"), noon));
        assert!(on_duty(&schedule(None, day, &[]), Some("No/Where"), noon), "an unknown zone is UTC");
    }

    #[test]
    fn times_and_numbers_for_people() {
        let (time, now) = (at("2026-11-20T20:05:33Z"), at("2026-11-21T05:00:00Z"));
        assert_eq!(clock_text(time, now, Some("America/Chicago")), "14:05");
        assert_eq!(clock_text(time, now, Some("Asia/Tokyo")), "05:05");
        assert_eq!(clock_text(time, now, None), "2026-11-20 20:05 UTC");
        assert_eq!(date_text(time, Some("America/Chicago")), "2026-11-20 14:05:33");
        assert_eq!(date_text(Timestamp::NULL, None), "");
        for (number, masked) in [
            ("+12223334444", "+1•••4444"),
            ("+447700900123", "+44•••0123"),
            ("+353861234567", "+353•••4567"),
            ("12345", "•••45"),
            ("", "•••"),
            ("+99912", "+•••12"),
        ] {
            assert_eq!(mask_number(number), masked);
        }
    }

    const ZONE_NAMES: [&str; 12] = [
        "UTC",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Europe/Berlin",
        "Europe/London",
        "Africa/Casablanca",
        "Asia/Tehran",
        "Asia/Kolkata",
        "Asia/Amman",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];

    /// What a clock on the wall says, where it was not put forward or back for two days around.
    fn by_wall_clock(shift: &Shift, local: DateTime) -> bool {
        let yesterday = local.date().yesterday().unwrap();
        let overnight = shift.to.is_some_and(|to| to <= shift.from);
        let before_end = shift.to.is_none_or(|to| local.time() < to);
        if overnight {
            (shift.days.contains(&local.weekday()) && local.time() >= shift.from)
                || (shift.days.contains(&yesterday.weekday()) && before_end)
        } else {
            shift.days.contains(&local.weekday()) && local.time() >= shift.from && before_end
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Twenty years, 2011 to 2030.
        #[test]
        fn duty_is_what_the_wall_clock_says(
            zone_name in prop::sample::select(&ZONE_NAMES[..]),
            second in 1_293_840_000_i64..1_924_990_000,
            days in prop::sample::subsequence(&EVERY_DAY[..], 1..=7),
            from in 0_i8..96,
            to in 0_i8..=96,
        ) {
            let time = |quarter: i8| Time::new(quarter / 4, quarter % 4 * 15, 0, 0).unwrap();
            let shift = Shift { days, from: time(from), to: (to < 96).then(|| time(to)) };
            let schedule = Schedule { name: "any".into(), time_zone: Some(zone_name.into()), weekly: vec![shift.clone()], except: vec![] };
            let now = jiff::Timestamp::from_second(second).unwrap();
            let zone = zone(zone_name).unwrap();
            let duty = on_duty(&schedule, None, now.into());
            let calm = zone.to_offset(now - 48.hours()) == zone.to_offset(now + 48.hours());
            if calm {
                prop_assert_eq!(duty, by_wall_clock(&shift, zone.to_datetime(now)));
            }
            // The next change is one, and nothing changes before it.
            let Some(change) = next_change(&schedule, None, now.into()) else {
                for hours in 0..400 {
                    prop_assert_eq!(on_duty(&schedule, None, (now + hours.hours()).into()), duty);
                }
                return Ok(());
            };
            let change = change.to_jiff();
            prop_assert!(change > now);
            prop_assert_ne!(on_duty(&schedule, None, change.into()), duty);
            let span = change.as_second() - now.as_second();
            for part in 0..8 {
                let between = jiff::Timestamp::from_second(now.as_second() + span * part / 8).unwrap();
                prop_assert_eq!(on_duty(&schedule, None, between.into()), duty);
            }
            prop_assert_eq!(on_duty(&schedule, None, (change - 1.millisecond()).into()), duty);
        }

        #[test]
        fn masked_numbers_hide_the_middle(number in "\\+?[0-9]{0,15}") {
            let masked = mask_number(&number);
            let shown = masked.chars().filter(char::is_ascii_digit).count();
            prop_assert!(shown <= 7 && (number.len() < 8 || shown + 3 <= number.len()));
        }
    }
}
