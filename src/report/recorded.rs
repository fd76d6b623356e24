//! What was recorded, as columns: filled row by row while the store lends them, never a row object kept.

use std::collections::HashMap;

use polars::prelude::{DataFrame, PolarsResult};

use crate::{
    engine::{
        drill::DRILL,
        io::Via,
        plan::Channel,
        record::{Direction, JournalKind, Told, Transition},
    },
    tag::Timestamp,
};

/// Columns of a span: alarm events begun, cleared, acknowledged; who was told and reached; texts and calls. Times are ticks
/// ([`Timestamp::ticks`]); an alarm, a person is its place in [`Recorded::alarms`], [`Recorded::people`].
#[derive(Default)]
pub struct Recorded {
    pub(super) alarms: Names,
    pub(super) people: Names,
    pub(super) raised: Raised,
    /// Event and time of the end of its activity.
    pub(super) cleared: (Vec<u64>, Vec<i64>),
    pub(super) acknowledged: Acknowledged,
    /// Event and time at which somebody was reached.
    pub(super) reached: (Vec<u64>, Vec<i64>),
    /// Event and time of a message about it.
    pub(super) told: (Vec<u64>, Vec<i64>),
    /// Alarm and time at which it was removed from the configuration.
    pub(super) removed: Vec<(u32, i64)>,
    /// Activations that nobody was shown.
    pub(super) silenced: u64,
    pub(super) messages: Messages,
    pub(super) not_sent: Vec<(String, i64)>,
}

/// Alarm events that began.
#[derive(Default)]
pub(super) struct Raised {
    pub event: Vec<u64>,
    pub time: Vec<i64>,
    pub alarm: Vec<u32>,
    pub priority: Vec<u32>,
}

/// Acknowledgements by people and programs, not by the PLC or by clearing.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub event: Vec<u64>,
    pub time: Vec<i64>,
    pub person: Vec<u32>,
}

/// Rows of the ledger.
#[derive(Default)]
pub(super) struct Messages {
    pub time: Vec<i64>,
    pub sent: Vec<bool>,
    pub call: Vec<bool>,
    pub person: Vec<Option<u32>>,
    pub segments: Vec<i64>,
    pub minutes: Vec<i64>,
}

/// Names by number, in the order in which they first occurred.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than four thousand million names");
        self.numbers.insert(name.into(), number);
        self.names.push(name.into());
        number
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", |name| name)
    }
}

impl Recorded {
    /// One transition of the journal. A drill is none of the plant's alarms and is passed over.
    pub fn transition(&mut self, transition: &Transition<'_>) {
        if transition.alarm == DRILL {
            return;
        }
        let time = transition.time.ticks();
        let event = transition.event.map(|event| key(event.as_u128()));
        match (transition.kind, event) {
            (JournalKind::Raised, _) if transition.silenced => self.silenced += 1,
            (JournalKind::Raised, Some(event)) => {
                self.raised.event.push(event);
                self.raised.time.push(time);
                self.raised.alarm.push(self.alarms.number(transition.alarm));
                self.raised.priority.push(transition.priority as u32);
            }
            (JournalKind::Cleared | JournalKind::Latched, Some(event)) => {
                self.cleared.0.push(event);
                self.cleared.1.push(time);
            }
            (JournalKind::Acknowledged, Some(event)) if !matches!(transition.via, Some(Via::System | Via::Plc) | None) => {
                self.acknowledged.event.push(event);
                self.acknowledged.time.push(time);
                self.acknowledged.person.push(self.people.number(transition.user));
            }
            (JournalKind::Reached, Some(event)) => {
                self.reached.0.push(event);
                self.reached.1.push(time);
            }
            (JournalKind::Removed, _) => self.removed.push((self.alarms.number(transition.alarm), time)),
            _ => {}
        }
    }

    /// One text or call about alarm events.
    pub fn told(&mut self, told: Told<'_>) {
        for event in told.events {
            self.told.0.push(key(event.as_u128()));
            self.told.1.push(told.time.ticks());
        }
    }

    /// One row of the ledger.
    pub fn message(&mut self, time: Timestamp, direction: Direction, channel: Channel, user: Option<&str>, cost: (u32, u32)) {
        let person = user.map(|user| self.people.number(user));
        let messages = &mut self.messages;
        messages.time.push(time.ticks());
        messages.sent.push(direction == Direction::Sent);
        messages.call.push(channel == Channel::Voice);
        messages.person.push(person);
        messages.segments.push(cost.0.into());
        messages.minutes.push(cost.1.into());
    }

    /// Messages that were not sent, by reason.
    pub fn not_sent(&mut self, by_reason: Vec<(String, i64)>) {
        self.not_sent = by_reason;
    }

    /// The alarm events that began before `from` or after it, with the end of their activity, the first acknowledgement by a person
    /// and who that was: `event alarm priority raised cleared acknowledged person`.
    pub(super) fn events(&self) -> PolarsResult<DataFrame> {
        use polars::prelude::{IntoLazy as _, JoinArgs, JoinType, SortMultipleOptions, col};

        let raised = polars::df![
            "event" => &self.raised.event, "alarm" => &self.raised.alarm, "priority" => &self.raised.priority,
            "raised" => &self.raised.time,
        ]?;
        let cleared = polars::df!["event" => &self.cleared.0, "cleared" => &self.cleared.1]?;
        let cleared = cleared.lazy().group_by([col("event")]).agg([col("cleared").min()]);
        let acknowledged = polars::df![
            "event" => &self.acknowledged.event, "acknowledged" => &self.acknowledged.time, "person" => &self.acknowledged.person,
        ]?;
        let first = acknowledged.lazy().sort(["acknowledged"], SortMultipleOptions::default().with_maintain_order(true));
        let first = first.group_by([col("event")]).agg([col("acknowledged").first(), col("person").first()]);
        let on = || ([col("event")], [col("event")], JoinArgs::new(JoinType::Left));
        let (left, right, how) = on();
        let events = raised.lazy().join(cleared, left, right, how);
        let (left, right, how) = on();
        let mut events = events.join(first, left, right, how).collect()?;
        self.end_removed(&mut events)?;
        Ok(events)
    }

    /// An alarm that was removed is active no longer, though nothing cleared.
    fn end_removed(&self, events: &mut DataFrame) -> PolarsResult<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let mut removed: HashMap<u32, Vec<i64>> = HashMap::new();
        for (alarm, time) in &self.removed {
            removed.entry(*alarm).or_default().push(*time);
        }
        let ended = |alarm: u32, raised: i64| removed.get(&alarm)?.iter().copied().filter(|time| *time >= raised).min();
        let (alarms, raised) = (events.column("alarm")?.u32()?, events.column("raised")?.i64()?);
        let cleared = events.column("cleared")?.i64()?;
        let filled = alarms.iter().zip(raised.iter()).zip(cleared.iter());
        let filled: Vec<Option<i64>> =
            filled.map(|((alarm, raised), cleared)| cleared.or_else(|| ended(alarm?, raised?))).collect();
        events.with_column(polars::prelude::Column::new("cleared".into(), filled))?;
        Ok(())
    }
}

/// Half of an event's id stands for the whole: of two million events in a year that any two share it is less likely than one in
/// a million.
#[allow(clippy::cast_possible_truncation)]
fn key(event: u128) -> u64 {
    (event >> 64) as u64 ^ event as u64
}
