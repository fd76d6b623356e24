//! Figures of alarm management (ISA-18.2, EEMUA 191) over a span, computed with polars from what was recorded.
//!
//! Pure: columns in, figures out; no store, no clock. An alarm that was shelved, suppressed or out of service when it began was shown
//! to nobody and counts in none of them; nor does a drill.

mod load;
mod nuisance;
mod people;
mod response;
mod standing;
mod targets;
#[cfg(test)]
mod tests;

use jiff::{ToSpan as _, tz::TimeZone};
use polars::prelude::PolarsResult;
use serde::Serialize;

pub use self::{
    load::{BadActor, BadActors, Band, Day, Flood, Floods, Load, PriorityShare},
    nuisance::{Chattering, FLEETING, Fleeting, FleetingAlarm},
    people::{NotSentCount, Person},
    response::{ACK_BUCKETS, Acknowledgement, Delay, PersonDelay, PriorityDelay, Reached},
    standing::{STALE, Stale, StaleAlarm, Standing},
    targets::Figure,
};
use super::recorded::Recorded;
use crate::tag::Timestamp;

/// Ticks of a second.
const SECOND: i64 = 10_000_000;
/// The window of the standards' rates: ten minutes, in ticks.
const TEN_MINUTES: i64 = 600 * SECOND;
/// Rows that a list of alarms has at most.
const LISTED: usize = 10;
/// The most days that are told one by one; a longer span shows its last ones.
const MAX_DAYS: usize = 1100;

/// A stretch of time, `from` included, `to` not, with the zone whose days are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// For days; the machine's own by default.
    pub zone: TimeZone,
}

/// All figures of a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kpis {
    /// Beginning of the span.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The figures that the standards have targets for, each with its target and source.
    pub figures: Vec<Figure>,
    /// How many alarms, and how densely.
    pub alarms: Load,
    /// Alarm floods.
    pub floods: Floods,
    /// The alarms that ring most.
    pub bad_actors: BadActors,
    /// Alarms that chatter, worst first.
    pub chattering: Vec<Chattering>,
    /// Alarms that were gone before anybody could act.
    pub fleeting: Fleeting,
    /// Alarms that were active for more than a day.
    pub stale: Stale,
    /// How many were active at once.
    pub standing: Standing,
    /// How the load is spread over the priorities.
    pub priorities: Vec<PriorityShare>,
    /// From the beginning of an event to its acknowledgement.
    pub acknowledgement: Acknowledgement,
    /// From the first message about an event to a person who is known to know.
    pub reached: Reached,
    /// Texts and calls per person and what they cost.
    pub people: Vec<Person>,
    /// Messages that were not sent, by reason.
    pub not_sent: Vec<NotSentCount>,
}

impl Span {
    /// The last `hours` before `to`.
    #[must_use]
    pub fn last_hours(hours: u64, to: Timestamp) -> Self {
        Self { from: to - std::time::Duration::from_secs(hours * 3600), to, zone: TimeZone::system() }
    }

    /// Its length in ticks, at least one.
    fn ticks(&self) -> i64 {
        self.to.ticks().saturating_sub(self.from.ticks()).max(1)
    }

    /// Where its days begin, in ticks, the first one at or before `from`; with each its date.
    fn days(&self) -> Vec<(i64, jiff::civil::Date)> {
        let mut days = Vec::new();
        let mut date = self.from.to_jiff().to_zoned(self.zone.clone()).date();
        loop {
            let Ok(start) = date.to_zoned(self.zone.clone()) else { break };
            let start = Timestamp::from(start.timestamp());
            if start >= self.to {
                break;
            }
            days.push((start.ticks(), date));
            let Ok(next) = date.checked_add(1.day()) else { break };
            date = next;
        }
        let surplus = days.len().saturating_sub(MAX_DAYS);
        days.drain(..surplus);
        days
    }
}

/// Computes all figures of `span`. Blocks until it is done: a year of five million transitions takes seconds.
///
/// # Errors
/// When polars fails, which it does for lack of memory only.
pub fn kpis(recorded: &Recorded, span: &Span) -> PolarsResult<Kpis> {
    super::apart(|| compute(recorded, span))
}

fn compute(recorded: &Recorded, span: &Span) -> PolarsResult<Kpis> {
    let events = recorded.events()?;
    let begun = load::begun(&events, span)?;
    let (floods, flood_ticks) = load::floods(&begun.times, span);
    let activity = standing::activity(&events, span)?;
    let mut kpis = Kpis {
        from: span.from,
        to: span.to,
        figures: Vec::new(),
        alarms: load::load(&begun, &activity, recorded.silenced, span),
        floods: Floods { percent_of_time: percent(flood_ticks, span.ticks()), list: floods },
        bad_actors: load::bad_actors(&begun, recorded)?,
        chattering: nuisance::chattering(&begun, recorded)?,
        fleeting: nuisance::fleeting(&events, span, recorded)?,
        stale: standing::stale(&events, span, recorded)?,
        standing: standing::standing(&activity, span),
        priorities: load::priorities(&begun),
        acknowledgement: response::acknowledgement(&events, span, recorded)?,
        reached: response::reached(recorded)?,
        people: people::people(recorded)?,
        not_sent: recorded
            .not_sent
            .iter()
            .map(|(reason, messages)| NotSentCount { reason: reason.clone(), messages: *messages })
            .collect(),
    };
    kpis.figures = targets::figures(&kpis);
    Ok(kpis)
}

/// `part` of `whole` in percent; 0 of nothing.
#[allow(clippy::cast_precision_loss)]
fn percent(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Ticks as seconds.
#[allow(clippy::cast_precision_loss)]
fn seconds(ticks: f64) -> f64 {
    ticks / SECOND as f64
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
