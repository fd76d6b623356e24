//! How fast people were: from an event to its acknowledgement, from a message to a person who is known to know.

use polars::prelude::{DataFrame, Expr, IntoLazy as _, JoinArgs, JoinType, PolarsResult, QuantileMethod, col, len, lit};
use serde::Serialize;

use super::{Recorded, SECOND, Span, number, seconds};
use crate::engine::plan::Priority;

/// Upper bounds of the buckets of [`Acknowledgement::buckets`], in seconds; the last bucket has none.
pub const ACK_BUCKETS: [i64; 6] = [60, 300, 600, 1800, 3600, 14_400];

/// How long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Delay {
    /// How many there were.
    pub count: i64,
    /// Half took no longer; `None` without any.
    pub median_seconds: Option<f64>,
    /// Nine in ten took no longer (the nearest one); `None` without any.
    pub p90_seconds: Option<f64>,
}

/// From the beginning of an event to its first acknowledgement by a person or program, of the events that began and were acknowledged
/// in the span. What the PLC or clearing acknowledged (`ack_from`, ack mode `auto`) does not count. The standards have no target.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Acknowledgement {
    /// All of them.
    pub all: Delay,
    /// By priority, diagnostic to critical, those that occurred.
    pub by_priority: Vec<PriorityDelay>,
    /// By person, most acknowledgements first.
    pub by_person: Vec<PersonDelay>,
    /// How many took up to each of [`ACK_BUCKETS`], then longer.
    pub buckets: [i64; ACK_BUCKETS.len() + 1],
    /// Events that began in the span and that no person had acknowledged at its end.
    pub unacknowledged: i64,
}

/// One priority's delay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorityDelay {
    /// The priority.
    pub priority: Priority,
    /// Its delay.
    pub delay: Delay,
}

/// One person's delay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PersonDelay {
    /// A user or a program.
    pub person: String,
    /// Its delay.
    pub delay: Delay,
}

/// From the first message about an event to a person who is known to know: who has shown a valid PIN, or has acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reached {
    /// All of them.
    pub all: Delay,
    /// Events that somebody was told of, and of which nobody was known to know at the end of the span.
    pub never: i64,
}

pub(super) fn acknowledgement(events: &DataFrame, span: &Span, recorded: &Recorded) -> PolarsResult<Acknowledgement> {
    let inside = col("raised").gt_eq(lit(span.from.ticks())).and(col("raised").lt(lit(span.to.ticks())));
    let begun = events.clone().lazy().filter(inside);
    let acknowledged = begun.clone().filter(col("acknowledged").is_not_null());
    let delays = acknowledged.with_column((col("acknowledged") - col("raised")).alias("delay")).collect()?;
    let all = begun.select([len()]).collect()?.column("len")?.u32()?.get(0).unwrap_or_default();
    let mut by_priority = grouped(&delays, "priority")?;
    by_priority.sort_by_key(|(priority, _)| *priority);
    let mut by_person = grouped(&delays, "person")?;
    by_person.sort_by(|one, two| two.1.count.cmp(&one.1.count).then(one.0.cmp(&two.0)));
    let mut buckets = [0; ACK_BUCKETS.len() + 1];
    for delay in delays.column("delay")?.i64()?.into_no_null_iter() {
        buckets[ACK_BUCKETS.partition_point(|limit| limit * SECOND < delay)] += 1;
    }
    Ok(Acknowledgement {
        all: delay(&delays)?,
        by_priority: by_priority
            .into_iter()
            .filter_map(|(priority, delay)| Some(PriorityDelay { priority: *Priority::ALL.get(priority as usize)?, delay }))
            .collect(),
        by_person: by_person
            .into_iter()
            .map(|(person, delay)| PersonDelay { person: recorded.people.name(person).to_owned(), delay })
            .collect(),
        buckets,
        unacknowledged: i64::from(all) - number(delays.height()),
    })
}

pub(super) fn reached(recorded: &Recorded) -> PolarsResult<Reached> {
    let told = polars::df!["event" => &recorded.told.0, "told" => &recorded.told.1]?;
    let told = told.lazy().group_by([col("event")]).agg([col("told").min()]);
    let known = polars::df![
        "event" => [recorded.reached.0.as_slice(), recorded.acknowledged.event.as_slice()].concat(),
        "reached" => [recorded.reached.1.as_slice(), recorded.acknowledged.time.as_slice()].concat(),
    ]?;
    let known = known.lazy().group_by([col("event")]).agg([col("reached").min()]);
    let joined = told.join(known, [col("event")], [col("event")], JoinArgs::new(JoinType::Left)).collect()?;
    let never = number(joined.column("reached")?.null_count());
    // Somebody who acknowledged before the message went out was not reached by it.
    let after = col("reached").gt_eq(col("told"));
    let delays = joined.lazy().filter(after).with_column((col("reached") - col("told")).alias("delay")).collect()?;
    Ok(Reached { all: delay(&delays)?, never })
}

fn figures() -> [Expr; 3] {
    let quantile = |part: f64, method| col("delay").cast(polars::prelude::DataType::Float64).quantile(lit(part), method);
    [
        len().alias("count"),
        quantile(0.5, QuantileMethod::Linear).alias("median"),
        quantile(0.9, QuantileMethod::Nearest).alias("p90"),
    ]
}

fn delay(delays: &DataFrame) -> PolarsResult<Delay> {
    let found = rows(&delays.clone().lazy().select(figures()).collect()?)?;
    Ok(found.into_iter().next().unwrap_or_default())
}

fn grouped(delays: &DataFrame, by: &str) -> PolarsResult<Vec<(u32, Delay)>> {
    let found = delays.clone().lazy().group_by([col(by)]).agg(figures()).collect()?;
    Ok(found.column(by)?.u32()?.iter().map(Option::unwrap_or_default).zip(rows(&found)?).collect())
}

fn rows(figures: &DataFrame) -> PolarsResult<Vec<Delay>> {
    let counts = figures.column("count")?.u32()?.iter();
    let (medians, p90s) = (figures.column("median")?.f64()?.iter(), figures.column("p90")?.f64()?.iter());
    let delay = |((count, median), p90): ((Option<u32>, Option<f64>), Option<f64>)| Delay {
        count: count.unwrap_or_default().into(),
        median_seconds: median.map(seconds),
        p90_seconds: p90.map(seconds),
    };
    Ok(counts.zip(medians).zip(p90s).map(delay).collect())
}
