//! What messages cost, and whom they went to.

use polars::prelude::{DataType, Expr, IntoLazy as _, PolarsResult, SortMultipleOptions, col, lit};
use serde::Serialize;

use super::Recorded;

/// Texts and calls of one person, from the ledger; `person` is empty for all numbers of no user together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Person {
    pub person: String,
    pub texts_sent: i64,
    pub segments_sent: i64,
    pub texts_received: i64,
    pub segments_received: i64,
    pub calls_sent: i64,
    pub call_minutes_sent: i64,
    pub calls_received: i64,
    pub call_minutes_received: i64,
}

/// Messages that were not sent for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotSentCount {
    /// The reason, in the words of the audit log.
    pub reason: String,
    /// How many.
    pub messages: i64,
}

/// The columns of the sums: name, sent, call, and what is summed besides the rows themselves.
const SUMS: [(&str, bool, bool, Option<&str>); 8] = [
    ("texts_sent", true, false, None),
    ("segments_sent", true, false, Some("segments")),
    ("texts_received", false, false, None),
    ("segments_received", false, false, Some("segments")),
    ("calls_sent", true, true, None),
    ("call_minutes_sent", true, true, Some("minutes")),
    ("calls_received", false, true, None),
    ("call_minutes_received", false, true, Some("minutes")),
];

/// One row a person by name, the numbers of no user last.
pub(super) fn people(recorded: &Recorded) -> PolarsResult<Vec<Person>> {
    let messages = &recorded.messages;
    let ledger = polars::df![
        "person" => &messages.person, "sent" => &messages.sent, "call" => &messages.call, "segments" => &messages.segments,
        "minutes" => &messages.minutes,
    ]?;
    let sums: Vec<Expr> = SUMS
        .iter()
        .map(|(name, sent, call, what)| {
            let wanted = col("sent").eq(lit(*sent)).and(col("call").eq(lit(*call))).cast(DataType::Int64);
            what.map_or_else(|| wanted.clone(), |what| wanted.clone() * col(what)).sum().alias(*name)
        })
        .collect();
    let found = ledger.lazy().group_by([col("person")]).agg(sums);
    let found = found.sort(["person"], SortMultipleOptions::default().with_nulls_last(true)).collect()?;
    let columns = SUMS
        .iter()
        .map(|(name, ..)| Ok(found.column(name)?.i64()?.iter().map(Option::unwrap_or_default).collect()))
        .collect::<PolarsResult<Vec<Vec<i64>>>>()?;
    let person = |(row, person): (usize, Option<u32>)| Person {
        person: person.map(|person| recorded.people.name(person).to_owned()).unwrap_or_default(),
        texts_sent: columns[0][row],
        segments_sent: columns[1][row],
        texts_received: columns[2][row],
        segments_received: columns[3][row],
        calls_sent: columns[4][row],
        call_minutes_sent: columns[5][row],
        calls_received: columns[6][row],
        call_minutes_received: columns[7][row],
    };
    let mut people: Vec<Person> = found.column("person")?.u32()?.iter().enumerate().map(person).collect();
    people.sort_by(|one, two| (one.person.is_empty(), &one.person).cmp(&(two.person.is_empty(), &two.person)));
    Ok(people)
}
