//! Who was sent how much, and who sent how much to us.

use std::collections::HashMap;

use polars::prelude::{Column, DataFrame, DataType, Expr, IntoLazy, PolarsError, PolarsResult, col, lit};
use serde::Serialize;

use crate::engine::{
    plan::Channel,
    record::{Direction, LedgerEntry},
    view::UserStatistics,
};

/// A user as the statistics name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownUser {
    /// Stable.
    pub id: i64,
    /// As the ledger has it.
    pub name: String,
    /// E.164; empty for a removed user.
    pub number: String,
}

/// The id of somebody whom the ledger names and nobody knows: their figures must not vanish from the sums.
const UNKNOWN_ID: i64 = -1;

/// Six counts (SPEC 10), saturating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Figures {
    pub messages_received: i32,
    pub messages_sent: i32,
    pub calls_received: i32,
    pub calls_sent: i32,
    pub call_minutes_received: i32,
    pub call_minutes_sent: i32,
}

/// All figures of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// One row a user, by ascending id.
    pub users: Vec<UserStatistics>,
    /// Their sums.
    pub totals: Figures,
    /// To and from numbers that belong to no user.
    pub other: Figures,
}

/// Counts `ledger`: one row for each of `users`, also for those without a message, then one for each further name in it. Blocks
/// until it is done.
///
/// # Errors
/// When polars fails, which it does for lack of memory only.
pub fn user_statistics(ledger: &[LedgerEntry], users: &[KnownUser]) -> PolarsResult<Statistics> {
    let mut found = super::apart(|| group_by_user(ledger))?;
    let other = found.remove(&None).unwrap_or_default();
    let mut rows: Vec<_> =
        users.iter().map(|user| row(user, found.remove(&Some(user.name.clone())).unwrap_or_default())).collect();
    rows.extend(found.into_iter().filter_map(|(name, sums)| {
        let user = KnownUser { id: UNKNOWN_ID, name: name?, number: String::new() };
        Some(row(&user, sums))
    }));
    rows.sort_by(|one, two| (one.1.id, &one.1.username).cmp(&(two.1.id, &two.1.username)));
    let mut totals = [0_i64; 6];
    for (sums, _) in &rows {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = total.saturating_add(*sum);
        }
    }
    Ok(Statistics { users: rows.into_iter().map(|(_, row)| row).collect(), totals: figures(totals), other: figures(other) })
}

/// The columns of the sums, in the order of [`Figures`].
const SUMS: [(&str, Direction, Channel, bool); 6] = [
    ("messages_received", Direction::Received, Channel::Sms, false),
    ("messages_sent", Direction::Sent, Channel::Sms, false),
    ("calls_received", Direction::Received, Channel::Voice, false),
    ("calls_sent", Direction::Sent, Channel::Voice, false),
    ("call_minutes_received", Direction::Received, Channel::Voice, true),
    ("call_minutes_sent", Direction::Sent, Channel::Voice, true),
];

fn group_by_user(ledger: &[LedgerEntry]) -> PolarsResult<HashMap<Option<String>, [i64; 6]>> {
    let sums: Vec<Expr> = SUMS
        .iter()
        .map(|(name, direction, channel, minutes)| {
            let wanted = col("sent").eq(lit(*direction == Direction::Sent)).and(col("call").eq(lit(*channel == Channel::Voice)));
            let wanted = wanted.cast(DataType::Int64);
            let counted = if *minutes { wanted * col("minutes") } else { wanted };
            counted.sum().alias(*name)
        })
        .collect();
    let grouped = frame(ledger)?.lazy().group_by([col("user")]).agg(sums).collect()?;
    let users = grouped.column("user")?.str()?;
    let columns = SUMS
        .iter()
        .map(|(name, ..)| {
            grouped.column(name)?.i64().map(|column| column.iter().map(Option::unwrap_or_default).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, PolarsError>>()?;
    Ok(users
        .iter()
        .enumerate()
        .map(|(index, user)| (user.map(ToOwned::to_owned), std::array::from_fn(|column| columns[column][index])))
        .collect())
}

fn frame(ledger: &[LedgerEntry]) -> PolarsResult<DataFrame> {
    let users: Vec<Option<&str>> = ledger.iter().map(|entry| entry.user.as_deref()).collect();
    let sent: Vec<bool> = ledger.iter().map(|entry| entry.direction == Direction::Sent).collect();
    let call: Vec<bool> = ledger.iter().map(|entry| entry.channel == Channel::Voice).collect();
    let minutes: Vec<i64> = ledger.iter().map(|entry| entry.minutes.into()).collect();
    polars::df!["user" => users, "sent" => sent, "call" => call, "minutes" => minutes]
}

fn row(user: &KnownUser, sums: [i64; 6]) -> ([i64; 6], UserStatistics) {
    let counts = figures(sums);
    let row = UserStatistics {
        id: user.id,
        username: user.name.clone(),
        phone_number: user.number.clone(),
        messages_received: counts.messages_received,
        messages_sent: counts.messages_sent,
        calls_received: counts.calls_received,
        calls_sent: counts.calls_sent,
        call_minutes_received: counts.call_minutes_received,
        call_minutes_sent: counts.call_minutes_sent,
    };
    (sums, row)
}

fn figures(sums: [i64; 6]) -> Figures {
    let [messages_received, messages_sent, calls_received, calls_sent, call_minutes_received, call_minutes_sent] =
        sums.map(|sum| i32::try_from(sum).unwrap_or(i32::MAX));
    Figures { messages_received, messages_sent, calls_received, calls_sent, call_minutes_received, call_minutes_sent }
}

/// A column of counts: its name and where it lies in a row.
type Count = (&'static str, fn(&UserStatistics) -> i32);

/// The rows as a data frame, for export.
pub(super) fn users_frame(users: &[UserStatistics]) -> PolarsResult<DataFrame> {
    fn column<T>(users: &[UserStatistics], value: impl Fn(&UserStatistics) -> T) -> Vec<T> {
        users.iter().map(value).collect()
    }
    let names: Vec<&str> = users.iter().map(|user| user.username.as_str()).collect();
    let numbers: Vec<&str> = users.iter().map(|user| user.phone_number.as_str()).collect();
    let mut frame = polars::df![
        "Id" => column(users, |user| user.id),
        "Username" => names,
        "PhoneNumber" => numbers,
    ]?;
    let counts: [Count; 6] = [
        ("MessagesReceived", |user| user.messages_received),
        ("MessagesSent", |user| user.messages_sent),
        ("CallsReceived", |user| user.calls_received),
        ("CallsSent", |user| user.calls_sent),
        ("CallMinutesReceived", |user| user.call_minutes_received),
        ("CallMinutesSent", |user| user.call_minutes_sent),
    ];
    for (name, value) in counts {
        frame.with_column(Column::new(name.into(), column(users, value)))?;
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::Timestamp;

    fn entry(user: Option<&str>, direction: Direction, channel: Channel, minutes: u32) -> LedgerEntry {
        LedgerEntry {
            time: Timestamp::NULL,
            sid: String::new(),
            direction,
            channel,
            user: user.map(Into::into),
            number: String::new(),
            segments: 1,
            minutes,
            row: None,
        }
    }

    fn user(id: i64, name: &str) -> KnownUser {
        KnownUser { id, name: name.into(), number: format!("+1555{id:04}") }
    }

    #[test]
    fn a_small_ledger_counted_by_hand() {
        use Channel::{Sms, Voice};
        use Direction::{Received, Sent};
        let ledger = [
            entry(Some("bob"), Sent, Sms, 0),
            entry(Some("alice"), Sent, Sms, 0),
            entry(Some("alice"), Sent, Sms, 0),
            entry(Some("alice"), Received, Sms, 0),
            entry(Some("alice"), Sent, Voice, 2),
            entry(Some("alice"), Sent, Voice, 0),
            entry(Some("alice"), Received, Voice, 3),
            entry(None, Sent, Sms, 0),
            entry(None, Received, Sms, 0),
            entry(None, Received, Sms, 0),
            entry(Some("left"), Received, Sms, 0),
        ];
        let statistics = user_statistics(&ledger, &[user(7, "idle"), user(2, "bob"), user(0, "alice")]).unwrap();
        let rows: Vec<_> = statistics
            .users
            .iter()
            .map(|row| {
                let counts = [row.messages_received, row.messages_sent, row.calls_received, row.calls_sent];
                (
                    row.id,
                    row.username.as_str(),
                    row.phone_number.as_str(),
                    counts,
                    row.call_minutes_received,
                    row.call_minutes_sent,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (-1, "left", "", [1, 0, 0, 0], 0, 0),
                (0, "alice", "+15550000", [1, 2, 1, 2], 3, 2),
                (2, "bob", "+15550002", [0, 1, 0, 0], 0, 0),
                (7, "idle", "+15550007", [0, 0, 0, 0], 0, 0),
            ]
        );
        let totals = Figures {
            messages_received: 2,
            messages_sent: 3,
            calls_received: 1,
            calls_sent: 2,
            call_minutes_received: 3,
            call_minutes_sent: 2,
        };
        assert_eq!(statistics.totals, totals);
        assert_eq!(statistics.other, Figures { messages_received: 2, messages_sent: 1, ..Figures::default() });
    }

    #[test]
    fn nothing_is_counted_as_nothing_and_too_much_saturates() {
        assert_eq!(user_statistics(&[], &[]).unwrap(), Statistics::default());
        let call = |name| entry(Some(name), Direction::Sent, Channel::Voice, u32::MAX);
        let statistics = user_statistics(&[call("alice"), call("bob")], &[user(1, "alice"), user(2, "bob")]).unwrap();
        assert_eq!(statistics.users[0].call_minutes_sent, i32::MAX);
        assert_eq!(statistics.totals.call_minutes_sent, i32::MAX);
        assert_eq!(statistics.totals.calls_sent, 2);
    }
}
