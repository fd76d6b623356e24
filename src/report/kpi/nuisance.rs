//! Alarms that wear people out: chattering and fleeting ones.

use std::time::Duration;

use polars::prelude::{DataFrame, IntoLazy as _, PolarsResult, SortMultipleOptions, col, len, lit};
use serde::Serialize;

use super::{LISTED, Recorded, SECOND, Span, load::Begun, number, percent};

/// Activations of one alarm in [`CHATTER_SPAN`] that make it chatter (ISA-18.2-2016, chattering alarm; EEMUA 191).
const CHATTER: usize = 3;
/// One minute, in ticks.
const CHATTER_SPAN: i64 = 60 * SECOND;
/// An event that cleared by itself within this is fleeting: nobody can act in it. The standards name no number of seconds.
pub const FLEETING: Duration = Duration::from_secs(10);

/// An alarm that chattered: three or more activations within a minute. Target: none (ISA-18.2-2016).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chattering {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: String,
    /// How often it began to chatter.
    pub episodes: i64,
    /// Its most activations within one minute.
    pub most_in_a_minute: i64,
}

/// Alarm events that were over within [`FLEETING`] and not acknowledged before. Target: none (ISA-18.2-2016).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fleeting {
    /// How many.
    pub events: i64,
    /// Their share in all activations, 0 to 100.
    pub share: f64,
    /// At most ten alarms, most events first.
    pub list: Vec<FleetingAlarm>,
}

/// An alarm with fleeting events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetingAlarm {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: String,
    /// How many of them.
    pub events: i64,
}

pub(super) fn chattering(begun: &Begun, recorded: &Recorded) -> PolarsResult<Vec<Chattering>> {
    let sorted = begun.frame.sort(["alarm", "raised"], SortMultipleOptions::default())?;
    let alarms: Vec<u32> = sorted.column("alarm")?.u32()?.into_no_null_iter().collect();
    let times: Vec<i64> = sorted.column("raised")?.i64()?.into_no_null_iter().collect();
    let mut found = Vec::new();
    let mut begins = 0;
    for alarm in alarms.chunk_by(|one, two| one == two) {
        let (episodes, most) = episodes(&times[begins..begins + alarm.len()]);
        begins += alarm.len();
        if episodes > 0 {
            let name = recorded.alarms.name(alarm[0]).to_owned();
            found.push(Chattering { alarm: name, episodes, most_in_a_minute: number(most) });
        }
    }
    found.sort_by(|one, two| two.episodes.cmp(&one.episodes).then_with(|| one.alarm.cmp(&two.alarm)));
    Ok(found)
}

/// How often one alarm's `times` (sorted) began to chatter, and the most within a minute.
fn episodes(times: &[i64]) -> (i64, usize) {
    let (mut first, mut most, mut episodes) = (0, 0, 0);
    let mut chatters = false;
    for (last, time) in times.iter().enumerate() {
        while time - times[first] >= CHATTER_SPAN {
            first += 1;
        }
        let count = last + 1 - first;
        most = most.max(count);
        episodes += i64::from(count >= CHATTER && !chatters);
        chatters = count >= CHATTER;
    }
    (episodes, most)
}

pub(super) fn fleeting(events: &DataFrame, span: &Span, recorded: &Recorded) -> PolarsResult<Fleeting> {
    let inside = col("raised").gt_eq(lit(span.from.ticks())).and(col("raised").lt(lit(span.to.ticks())));
    let limit = i64::try_from(FLEETING.as_secs()).unwrap_or(i64::MAX).saturating_mul(SECOND);
    let short = col("cleared").lt(col("raised") + lit(limit));
    // An alarm of mode `any_change` is over as it begins, by intent.
    let active = col("cleared").gt(col("raised"));
    let untouched = col("acknowledged").is_null().or(col("acknowledged").gt_eq(col("cleared")));
    let begun = events.clone().lazy().filter(inside);
    let all = number(begun.clone().select([len()]).collect()?.column("len")?.u32()?.get(0).unwrap_or_default() as usize);
    let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
    let counted = begun.filter(short.and(active).and(untouched)).group_by([col("alarm")]).agg([len().alias("events")]);
    let counted = counted.sort(["events", "alarm"], order).collect()?;
    let (alarms, counts) = (counted.column("alarm")?.u32()?, counted.column("events")?.u32()?);
    let list: Vec<FleetingAlarm> = alarms
        .into_no_null_iter()
        .zip(counts.into_no_null_iter())
        .map(|(alarm, events)| FleetingAlarm { alarm: recorded.alarms.name(alarm).to_owned(), events: events.into() })
        .collect();
    let events = list.iter().map(|alarm| alarm.events).sum();
    Ok(Fleeting { events, share: percent(events, all), list: list.into_iter().take(LISTED).collect() })
}
