//! The next time that comes every week.

use jiff::ToSpan;

use super::zone::{first_zone, start};
use crate::{engine::plan::Weekly, tag::Timestamp};

/// Days ahead: two weeks and a day, for a day that a zone skipped.
const DAYS_AHEAD: i64 = 15;

/// The first such time after `now`. A local time that is skipped is the next instant that exists; of two the first counts.
#[must_use]
pub fn next_weekly(weekly: &Weekly, now: Timestamp) -> Option<Timestamp> {
    let zone = first_zone([weekly.time_zone.as_deref(), None]);
    let now = now.to_jiff();
    let today = zone.to_datetime(now).date();
    let dates = (-1..=DAYS_AHEAD).filter_map(|offset| today.checked_add(offset.days()).ok());
    let times = dates.filter(|date| weekly.days.contains(&date.weekday())).map(|date| start(&zone, date.to_datetime(weekly.at)));
    times.filter(|time| *time > now).min().map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;

    use super::*;

    #[test]
    fn the_next_time_is_after_now() {
        let weekly =
            Weekly { days: vec![Weekday::Monday], at: "02:30".parse().unwrap(), time_zone: Some("Europe/Berlin".into()) };
        let sunday = Weekly { days: vec![Weekday::Sunday], ..weekly.clone() };
        for (weekly, now, next) in [
            (&weekly, "2026-11-16T01:29:59Z", "2026-11-16T01:30:00Z"),
            (&weekly, "2026-11-16T01:30:00Z", "2026-11-23T01:30:00Z"),
            // 02:30 is skipped on 2026-03-29, and occurs twice on 2026-10-25.
            (&sunday, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            (&sunday, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            (&sunday, "2026-10-25T00:30:00Z", "2026-11-01T01:30:00Z"),
        ] {
            let at = |text: &str| Timestamp::from(text.parse::<jiff::Timestamp>().unwrap());
            assert_eq!(next_weekly(weekly, at(now)), Some(at(next)), "{now}");
        }
    }
}
