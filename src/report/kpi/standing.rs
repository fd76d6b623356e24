//! Alarms that stand: how many are active at once, and which for more than a day.

use std::time::Duration;

use polars::prelude::{DataFrame, PolarsResult};
use serde::Serialize;

use super::{Recorded, SECOND, Span, number};
use crate::tag::Timestamp;

/// An alarm that is active for longer is stale (ISA-18.2-2016, stale alarm).
pub const STALE: Duration = Duration::from_secs(24 * 3600);
/// Rows of the list of stale alarms at most.
const MAX_STALE: usize = 100;

/// How many alarms were active at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// At the end of the span.
    pub at_end: i64,
    /// On average over the span. Target: fewer than 10 (EEMUA 191).
    pub average: f64,
    /// At most.
    pub peak: i64,
}

/// Alarms that were active for more than [`STALE`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stale {
    /// How many are at the end of the span.
    pub at_end: i64,
    /// The most at once. Target: fewer than 5 on any day (ISA-18.2-2016).
    pub peak: i64,
    /// The ones that stood longest, at most a hundred.
    pub list: Vec<StaleAlarm>,
}

/// An alarm event that was active for more than [`STALE`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StaleAlarm {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: String,
    /// When it became active.
    pub since: Timestamp,
    /// When it cleared; null while it is active.
    pub until: Timestamp,
}

/// Beginnings and ends of activity within a span, each sorted. Ends at the span's end are no ends.
pub(super) struct Activity {
    starts: Vec<i64>,
    ends: Vec<i64>,
    /// Sum of all activity, in ticks.
    ticks: i128,
}

/// What was active in the span and when. An event that was over at once (mode `any_change`) was never active.
pub(super) fn activity(events: &DataFrame, span: &Span) -> PolarsResult<Activity> {
    intervals(events, span, 0)
}

/// As [`activity`], from `delay` ticks after each beginning.
fn intervals(events: &DataFrame, span: &Span, delay: i64) -> PolarsResult<Activity> {
    let (from, to) = (span.from.ticks(), span.to.ticks());
    let mut activity = Activity { starts: Vec::new(), ends: Vec::new(), ticks: 0 };
    let (raised, cleared) = (events.column("raised")?.i64()?, events.column("cleared")?.i64()?);
    for (raised, cleared) in raised.iter().zip(cleared.iter()) {
        let Some(start) = raised.map(|raised| raised.saturating_add(delay).max(from)) else { continue };
        let end = cleared.unwrap_or(to).min(to);
        if start < end {
            activity.starts.push(start);
            activity.ticks += i128::from(end - start);
            if end < to {
                activity.ends.push(end);
            }
        }
    }
    activity.starts.sort_unstable();
    activity.ends.sort_unstable();
    Ok(activity)
}

impl Activity {
    /// The most that were active at once in each of the stretches that begin at `starts` (sorted, the first one at or before the
    /// span's beginning).
    pub(super) fn peaks(&self, starts: &[i64], span: &Span) -> Vec<i64> {
        let mut peaks = Vec::with_capacity(starts.len());
        let (mut begun, mut ended) = (0, 0);
        for (place, start) in starts.iter().enumerate() {
            let limit = starts.get(place + 1).copied().unwrap_or_else(|| span.to.ticks());
            // What ended before it began to count is not active in it.
            while self.ends.get(ended).is_some_and(|end| end <= start) {
                ended += 1;
            }
            let mut peak = begun - ended.min(begun);
            while let Some(next) = self.starts.get(begun).filter(|next| **next < limit) {
                while self.ends.get(ended).is_some_and(|end| end <= next) {
                    ended += 1;
                }
                begun += 1;
                peak = peak.max(begun - ended);
            }
            peaks.push(number(peak));
        }
        peaks
    }
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn standing(activity: &Activity, span: &Span) -> Standing {
    Standing {
        at_end: number(activity.starts.len() - activity.ends.len()),
        average: activity.ticks as f64 / span.ticks() as f64,
        peak: activity.peaks(&[span.from.ticks()], span).first().copied().unwrap_or_default(),
    }
}

pub(super) fn stale(events: &DataFrame, span: &Span, recorded: &Recorded) -> PolarsResult<Stale> {
    let limit = i64::try_from(STALE.as_secs()).unwrap_or(i64::MAX).saturating_mul(SECOND);
    let (from, to) = (span.from.ticks(), span.to.ticks());
    let (raised, cleared) = (events.column("raised")?.i64()?, events.column("cleared")?.i64()?);
    let alarms = events.column("alarm")?.u32()?;
    let mut list: Vec<(i64, StaleAlarm)> = Vec::new();
    for ((raised, cleared), alarm) in raised.iter().zip(cleared.iter()).zip(alarms.iter()) {
        let (Some(raised), Some(alarm)) = (raised, alarm) else { continue };
        let cleared = cleared.filter(|cleared| *cleared < to);
        let end = cleared.unwrap_or(to);
        if end - raised > limit && end > from {
            list.push((
                end - raised,
                StaleAlarm {
                    alarm: recorded.alarms.name(alarm).to_owned(),
                    since: Timestamp::from_ticks(raised),
                    until: cleared.map(Timestamp::from_ticks).unwrap_or_default(),
                },
            ));
        }
    }
    let at_end = number(list.iter().filter(|(_, alarm)| alarm.until.is_null()).count());
    let peak = intervals(events, span, limit)?.peaks(&[from], span).first().copied().unwrap_or_default();
    list.sort_by(|(one, first), (two, second)| two.cmp(one).then_with(|| first.alarm.cmp(&second.alarm)));
    list.truncate(MAX_STALE);
    Ok(Stale { at_end, peak, list: list.into_iter().map(|(_, alarm)| alarm).collect() })
}
