//! How many alarms, how densely, and which ones: rates, floods, bad actors, priorities.

use jiff::civil::Date;
use polars::prelude::{DataFrame, IntoLazy as _, PolarsResult, SortMultipleOptions, col, len, lit};
use serde::Serialize;

use super::{LISTED, Recorded, Span, TEN_MINUTES, number, percent, standing::Activity};
use crate::{engine::plan::Priority, tag::Timestamp};

/// More activations than this in ten minutes are a flood (ISA-18.2-2016, alarm flood) …
pub(super) const FLOOD: usize = 10;
/// … which ends when fewer than this lie in the last ten minutes: half the threshold, as the live `InFlood` has it.
const FLOOD_END: usize = 5;
/// Ten-minute intervals that are told one by one: eight days.
const MAX_INTERVALS: usize = 8 * 144;

/// How many alarms, and how densely.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    /// Alarm events that began and were shown to people.
    pub activations: i64,
    /// Alarm events that began while their alarm was shelved, suppressed or out of service; in no other figure.
    pub silenced: i64,
    /// Activations per ten minutes, on average over the span. Target: about 1, at most 2 (ISA-18.2-2016, EEMUA 191).
    pub average_per_10_minutes: f64,
    /// Activations per day. Target: about 150, at most 300 (ISA-18.2-2016).
    pub per_day: f64,
    /// The most activations in any ten minutes, wherever they begin. Target: at most 10 (ISA-18.2-2016).
    pub peak_per_10_minutes: i64,
    /// When those ten minutes began.
    pub peak_at: Timestamp,
    /// The ten-minute intervals of the span by EEMUA 191's scale.
    pub bands: Vec<Band>,
    /// Activations in each ten-minute interval of a span of at most eight days; empty for a longer one.
    pub intervals: Vec<i64>,
    /// Day by day.
    pub days: Vec<Day>,
}

/// One step of EEMUA 191's scale of load: one alarm in ten minutes is acceptable, one in five manageable, one in two minutes likely to
/// be over-demanding, more than one a minute very likely unacceptable.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Band {
    /// `acceptable`, `manageable`, `over-demanding`, `unacceptable`.
    pub name: &'static str,
    /// The most activations of an interval of this band; `None` for the last.
    pub up_to: Option<i64>,
    /// Ten-minute intervals, counted from the beginning of the span.
    pub intervals: i64,
    /// Their share, 0 to 100.
    pub percent: f64,
}

/// One day of the span's zone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Day {
    /// Its date.
    pub day: Date,
    /// Activations by priority, diagnostic to critical.
    pub by_priority: [i64; 5],
    /// The most alarms that were active at once.
    pub standing: i64,
}

/// Alarm floods.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Floods {
    /// The part of the span that lies in floods, 0 to 100. Target: less than 1 (ISA-18.2-2016).
    pub percent_of_time: f64,
    /// All of them, in order.
    pub list: Vec<Flood>,
}

/// One flood: it begins with the first of the activations that exceed ten in ten minutes, and ends when fewer than five lie within
/// the last ten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flood {
    /// Its first activation.
    pub start: Timestamp,
    /// Its end, or that of the span.
    pub end: Timestamp,
    /// Activations in it.
    pub activations: i64,
    /// The most in any ten minutes of it. More than 100 is excessive (EEMUA 191, after an upset).
    pub peak_per_10_minutes: i64,
}

/// The alarms that ring most.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BadActors {
    /// The share of the ten most frequent alarms in all activations, 0 to 100. Target: 1 to 5 (ISA-18.2-2016).
    pub share: f64,
    /// At most ten, most frequent first.
    pub list: Vec<BadActor>,
}

/// One of the alarms that ring most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadActor {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: String,
    /// How often it began.
    pub activations: i64,
    /// Its share in all activations, 0 to 100.
    pub share: f64,
}

/// One priority's part in the load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorityShare {
    /// The priority.
    pub priority: Priority,
    /// How many alarm events of it began.
    pub activations: i64,
    /// Their share, 0 to 100.
    pub share: f64,
    /// Target: about 80 low (diagnostic with it), 15 medium, 5 high, and of those less than 1 critical (ISA-18.2-2016, EEMUA 191).
    pub target: &'static str,
}

/// The alarm events that began in the span, by time.
pub(super) struct Begun {
    pub frame: DataFrame,
    pub times: Vec<i64>,
    priorities: Vec<u32>,
}

/// Picks the events that began in the span.
pub(super) fn begun(events: &DataFrame, span: &Span) -> PolarsResult<Begun> {
    let inside = col("raised").gt_eq(lit(span.from.ticks())).and(col("raised").lt(lit(span.to.ticks())));
    let picked = events.clone().lazy().filter(inside).select([col("alarm"), col("priority"), col("raised")]);
    let frame = picked.sort(["raised"], SortMultipleOptions::default().with_maintain_order(true)).collect()?;
    let times = frame.column("raised")?.i64()?.into_no_null_iter().collect();
    let priorities = frame.column("priority")?.u32()?.into_no_null_iter().collect();
    Ok(Begun { frame, times, priorities })
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn load(begun: &Begun, activity: &Activity, silenced: u64, span: &Span) -> Load {
    let (peak, peak_at) = densest(&begun.times);
    let activations = begun.times.len() as f64;
    Load {
        activations: number(begun.times.len()),
        silenced: i64::try_from(silenced).unwrap_or(i64::MAX),
        average_per_10_minutes: activations * TEN_MINUTES as f64 / span.ticks() as f64,
        per_day: activations * 144.0 * TEN_MINUTES as f64 / span.ticks() as f64,
        peak_per_10_minutes: number(peak),
        peak_at: peak_at.map(Timestamp::from_ticks).unwrap_or_default(),
        bands: bands(&begun.times, span),
        intervals: intervals(&begun.times, span),
        days: days(begun, activity, span),
    }
}

/// The most of `times` (sorted) in any ten minutes, and when those began.
fn densest(times: &[i64]) -> (usize, Option<i64>) {
    let mut first = 0;
    let mut best = (0, None);
    for (last, time) in times.iter().enumerate() {
        while time - times[first] >= TEN_MINUTES {
            first += 1;
        }
        if last + 1 - first > best.0 {
            best = (last + 1 - first, Some(times[first]));
        }
    }
    best
}

const BANDS: [(&str, Option<i64>); 4] =
    [("acceptable", Some(1)), ("manageable", Some(2)), ("over-demanding", Some(10)), ("unacceptable", None)];

fn bands(times: &[i64], span: &Span) -> Vec<Band> {
    let all = span.ticks().div_euclid(TEN_MINUTES) + i64::from(span.ticks() % TEN_MINUTES != 0);
    let mut intervals = [0_i64; BANDS.len()];
    let mut busy = 0;
    for interval in times.chunk_by(|one, two| place(*one, span) == place(*two, span)) {
        let count = number(interval.len());
        let band = BANDS.iter().position(|(_, up_to)| up_to.is_none_or(|up_to| count <= up_to)).unwrap_or(0);
        intervals[band] += 1;
        busy += 1;
    }
    intervals[0] += all - busy;
    let band = |((name, up_to), intervals)| Band { name, up_to, intervals, percent: percent(intervals, all) };
    BANDS.into_iter().zip(intervals).map(band).collect()
}

fn intervals(times: &[i64], span: &Span) -> Vec<i64> {
    let count = usize::try_from(place(span.to.ticks() - 1, span) + 1).unwrap_or_default();
    if count > MAX_INTERVALS {
        return Vec::new();
    }
    let mut intervals = vec![0; count];
    for time in times {
        if let Some(interval) = usize::try_from(place(*time, span)).ok().and_then(|place| intervals.get_mut(place)) {
            *interval += 1;
        }
    }
    intervals
}

/// The number of the ten-minute interval of the span.
fn place(time: i64, span: &Span) -> i64 {
    (time - span.from.ticks()) / TEN_MINUTES
}

fn days(begun: &Begun, activity: &Activity, span: &Span) -> Vec<Day> {
    let days = span.days();
    let mut counted: Vec<[i64; 5]> = vec![[0; 5]; days.len()];
    for (time, priority) in begun.times.iter().zip(&begun.priorities) {
        let day = days.partition_point(|(start, _)| start <= time);
        if let Some(count) = day.checked_sub(1).and_then(|day| counted[day].get_mut(*priority as usize)) {
            *count += 1;
        }
    }
    let standing = activity.peaks(&days.iter().map(|(start, _)| *start).collect::<Vec<_>>(), span);
    let day = |(((_, day), by_priority), standing)| Day { day, by_priority, standing };
    days.into_iter().zip(counted).zip(standing).map(day).collect()
}

/// The floods among `times` (sorted), and how many ticks lie in them.
pub(super) fn floods(times: &[i64], span: &Span) -> (Vec<Flood>, i64) {
    let mut floods = Vec::new();
    let mut ticks = 0;
    let mut next = 0;
    while let Some((start, over)) = beginning(times, next) {
        let (end, after) = end(times, over, span.to.ticks());
        ticks += end - times[start];
        floods.push(Flood {
            start: Timestamp::from_ticks(times[start]),
            end: Timestamp::from_ticks(end),
            activations: number(after - start),
            peak_per_10_minutes: number(densest(&times[start..after]).0),
        });
        next = after;
    }
    (floods, ticks)
}

/// The first activation of the next flood from `next` on, and the one that exceeds the threshold. What belonged to the flood before
/// still lies in the window, but begins no second one.
fn beginning(times: &[i64], next: usize) -> Option<(usize, usize)> {
    let mut first = next.saturating_sub(FLOOD);
    for (place, time) in times.iter().enumerate().skip(next) {
        while time - times[first] >= TEN_MINUTES {
            first += 1;
        }
        if place + 1 - first > FLOOD {
            return Some((first.max(next), place));
        }
    }
    None
}

/// When the flood that was exceeded at `over` ends, at most at `limit`, and the first activation after it.
fn end(times: &[i64], over: usize, limit: i64) -> (i64, usize) {
    let mut after = over + 1;
    loop {
        // Without a further activation: when the fifth last one is ten minutes old.
        let quiet = times[after - FLOOD_END] + TEN_MINUTES;
        match times.get(after) {
            Some(time) if *time <= quiet => after += 1,
            _ => return (quiet.min(limit), after),
        }
    }
}

pub(super) fn bad_actors(begun: &Begun, recorded: &Recorded) -> PolarsResult<BadActors> {
    let all = number(begun.times.len());
    let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
    let counted = begun.frame.clone().lazy().group_by([col("alarm")]).agg([len().alias("activations")]);
    let worst = counted.sort(["activations", "alarm"], order).limit(u32::try_from(LISTED).unwrap_or(u32::MAX)).collect()?;
    let (alarms, counts) = (worst.column("alarm")?.u32()?, worst.column("activations")?.u32()?);
    let list: Vec<BadActor> = alarms
        .into_no_null_iter()
        .zip(counts.into_no_null_iter())
        .map(|(alarm, activations)| BadActor {
            alarm: recorded.alarms.name(alarm).to_owned(),
            activations: activations.into(),
            share: percent(activations.into(), all),
        })
        .collect();
    Ok(BadActors { share: percent(list.iter().map(|actor| actor.activations).sum(), all), list })
}

pub(super) fn priorities(begun: &Begun) -> Vec<PriorityShare> {
    let mut counts = [0_i64; Priority::ALL.len()];
    for priority in &begun.priorities {
        if let Some(count) = counts.get_mut(*priority as usize) {
            *count += 1;
        }
    }
    let share = |(priority, activations)| PriorityShare {
        priority,
        activations,
        share: percent(activations, number(begun.times.len())),
        target: match priority {
            Priority::Diagnostic | Priority::Low => "about 80 % together",
            Priority::Medium => "about 15 %",
            Priority::High => "about 5 %, with critical",
            Priority::Critical => "less than 1 %",
        },
    };
    Priority::ALL.into_iter().zip(counts).map(share).collect()
}
