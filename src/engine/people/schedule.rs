//! One schedule's hours: weekly shifts, exceptions, holidays.
//!
//! A shift includes its start and excludes its end. A local time that occurs twice starts a shift at the first and ends one at
//! the last; one that is skipped is the next instant that exists (SPEC 7.2).

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

use super::zone::{end, first_zone, start};
use crate::{
    engine::plan::{Exception, Holiday, Schedule, Shift},
    tag::Timestamp,
};

/// A shift lasts at most 24 hours by the clock; a day more covers an hour that occurs twice and days that a zone skipped.
const DAYS_BACK: i64 = 3;

/// How far [`Hours::next_change`] looks beyond now and beyond the end of each exception: two weeks, for a weekly shift that one
/// skipped hour swallows.
const DAYS_AHEAD: i64 = 16;

/// From when until when.
type Span = (jiff::Timestamp, jiff::Timestamp);

/// What a schedule says of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty<'p> {
    /// In a shift.
    Shift,
    /// An exception or holiday with `duty = "on"`, whatever the shifts and rotations say.
    Called,
    /// Off duty.
    Off(OffDuty<'p>),
}

/// Why somebody is off duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffDuty<'p> {
    /// No shift.
    Shift,
    /// An exception of the schedule.
    Exception,
    /// The holiday of this name.
    Holiday(&'p str),
}

impl std::fmt::Display for OffDuty<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shift => f.write_str("no shift"),
            Self::Exception => f.write_str("exception of the schedule"),
            Self::Holiday(name) => write!(f, "holiday {name}"),
        }
    }
}

/// The hours of a schedule as one user keeps it.
#[derive(Clone, Debug)]
pub struct Hours<'p> {
    schedule: &'p Schedule,
    holidays: &'p [Holiday],
    zone: TimeZone,
}

impl<'p> Hours<'p> {
    /// Times are those of the schedule's zone, else of `user_zone`, else of UTC. Of `holidays` those count that are this
    /// schedule's.
    #[must_use]
    pub fn new(schedule: &'p Schedule, holidays: &'p [Holiday], user_zone: Option<&str>) -> Self {
        Self { schedule, holidays, zone: first_zone([schedule.time_zone.as_deref(), user_zone]) }
    }

    /// On duty at `now`, or why not. `covered`: by an override, which goes before what takes people off duty.
    #[must_use]
    pub fn duty(&self, now: Timestamp, covered: bool) -> Duty<'p> {
        self.at(now.to_jiff(), covered)
    }

    /// The next instant at which the schedule's people come on duty or go off; `None` when it stays as it is.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_jiff();
        let mut candidates: Vec<jiff::Timestamp> = self.rulings().flat_map(|(from, until)| [from, until]).collect();
        let anchors = self.rulings().map(|(_, until)| until).filter(|until| *until > now);
        for anchor in std::iter::once(now).chain(anchors) {
            candidates.extend(self.shifts(anchor, DAYS_AHEAD).flat_map(|(from, until)| [from, until]));
        }
        candidates.retain(|candidate| *candidate > now);
        candidates.sort_unstable();
        let on = |at| !matches!(self.at(at, false), Duty::Off(_));
        let present = on(now);
        candidates.into_iter().find(|candidate| on(*candidate) != present).map(Timestamp::from)
    }

    /// Every instant in a span of so many days from `from` at which something may change, in no order.
    pub(super) fn bounds(&self, from: Timestamp, days: i64) -> impl Iterator<Item = Timestamp> {
        let spans = self.shifts(from.to_jiff(), days + 1).chain(self.rulings());
        spans.flat_map(|(from, until)| [from, until]).map(Timestamp::from)
    }

    fn at(&self, now: jiff::Timestamp, covered: bool) -> Duty<'p> {
        let exceptions = self.schedule.except.iter().map(|exception| (exception, OffDuty::Exception));
        let holidays = self.holidays().map(|holiday| (&holiday.time, OffDuty::Holiday(&holiday.name)));
        let ruled = self.ruling(exceptions, now, covered).or_else(|| self.ruling(holidays, now, covered));
        ruled.unwrap_or_else(|| {
            let inside = self.shifts(now, 1).any(|span| holds(span, now));
            if inside { Duty::Shift } else { Duty::Off(OffDuty::Shift) }
        })
    }

    /// What exceptions say of `now`, if anything: those that put on duty win.
    fn ruling(
        &self,
        exceptions: impl Iterator<Item = (&'p Exception, OffDuty<'p>)>,
        now: jiff::Timestamp,
        covered: bool,
    ) -> Option<Duty<'p>> {
        let mut off = None;
        for (exception, reason) in exceptions.filter(|(exception, _)| holds(self.span(exception), now)) {
            if exception.on_duty {
                return Some(Duty::Called);
            }
            off = off.or(Some(Duty::Off(reason)));
        }
        off.filter(|_| !covered)
    }

    fn holidays(&self) -> impl Iterator<Item = &'p Holiday> {
        self.holidays.iter().filter(|holiday| holiday.schedules.is_empty() || holiday.schedules.contains(&self.schedule.name))
    }

    fn rulings(&self) -> impl Iterator<Item = Span> {
        self.schedule.except.iter().chain(self.holidays().map(|holiday| &holiday.time)).map(|exception| self.span(exception))
    }

    fn span(&self, exception: &Exception) -> Span {
        (start(&self.zone, exception.from), end(&self.zone, exception.until))
    }

    /// All shifts that start from [`DAYS_BACK`] days before `now` to `ahead` days after it, as instants.
    fn shifts(&self, now: jiff::Timestamp, ahead: i64) -> impl Iterator<Item = Span> {
        let today = self.zone.to_datetime(now).date();
        (-DAYS_BACK..=ahead).filter_map(move |offset| today.checked_add(offset.days()).ok()).flat_map(move |date| {
            let starts_today = move |shift: &&Shift| shift.days.contains(&date.weekday());
            self.schedule.weekly.iter().filter(starts_today).map(move |shift| {
                let (from, until) = local(shift, date);
                (start(&self.zone, from), end(&self.zone, until))
            })
        })
    }
}

fn holds((from, until): Span, now: jiff::Timestamp) -> bool {
    from <= now && now < until
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

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday::{self, Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    use proptest::prelude::*;

    use super::*;
    use crate::engine::people::tests::ZONE_NAMES;

    const EVERY_DAY: [Weekday; 7] = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];

    fn shift(days: &[Weekday], from: &str, to: &str) -> Shift {
        let to = if to == "24:00" { None } else { Some(to.parse().unwrap()) };
        Shift { days: days.to_vec(), from: from.parse().unwrap(), to }
    }

    fn off(from: &str, until: &str) -> Exception {
        Exception { from: from.parse().unwrap(), until: until.parse().unwrap(), on_duty: false }
    }

    fn on_duty(schedule: &Schedule, user_zone: Option<&str>, now: Timestamp) -> bool {
        !matches!(Hours::new(schedule, &[], user_zone).duty(now, false), Duty::Off(_))
    }

    fn next_change(schedule: &Schedule, user_zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        Hours::new(schedule, &[], user_zone).next_change(now)
    }

    fn schedule(zone: Option<&str>, weekly: Vec<Shift>, except: &[(&str, &str)]) -> Schedule {
        let except = except.iter().map(|(from, until)| off(from, until)).collect();
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
            let zone = crate::engine::people::zone(zone_name).unwrap();
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
    }
}
