//! Who acts, of several instances on one store: the rules of the lease, without its clock, its network, or its database (SPEC 12).
//!
//! The store keeps one [`Row`], by its own clock. An instance that holds it may act from the moment before it asked until
//! [`Terms::room`] later, by a clock of its own that it compares with no other. What it decides in a step is committed under its
//! epoch, or not at all; [`fate`] says what becomes of the rest of the step.

use std::time::Duration;

use crate::{engine::io::Effect, tag::Timestamp};

/// Beats to a lease.
const BEATS: u32 = 6;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// An instance that was silent for so long is replaced.
    pub lease: Duration,
}

impl Terms {
    /// From one beat to the next.
    #[must_use]
    pub fn pace(self) -> Duration {
        self.lease / BEATS
    }

    /// From the moment before a beat, how long its answer lets an instance act. The rest of the lease is for what was begun to end,
    /// and for the difference of two clocks' speeds.
    #[must_use]
    pub fn room(self) -> Duration {
        self.lease.saturating_sub(self.lease / BEATS)
    }
}

/// The lease as the store keeps it. PostgreSQL does the same in SQL (`store::pair`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Goes up with each change of holder.
    pub epoch: u64,
    /// Which instance; `None` when it was given up, or never taken.
    pub holder: Option<u64>,
    /// When it was last renewed, by the store's clock.
    pub renewed: Timestamp,
}

impl Row {
    /// A beat of instance `me`, ready to take over or not: the epoch in which it is active, or `None`.
    pub fn beat(&mut self, me: u64, ready: bool, now: Timestamp, terms: Terms) -> Option<u64> {
        let free = self.holder.is_none() || now.since(self.renewed) > terms.lease;
        if self.holder != Some(me) {
            if !(free && ready) {
                return None;
            }
            self.epoch += 1;
            self.holder = Some(me);
        }
        self.renewed = now;
        Some(self.epoch)
    }
}

/// What becomes of one effect of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out.
    Act,
    /// It waits for the step's records to be committed.
    Hold,
    /// Another instance acts, or may: the step has never happened.
    Drop,
}

/// What becomes of `effect`, whose step is `committed` or not, with the lease `held` or not. `alone` says that no other instance can
/// act: then messages go on also while the store cannot be written.
#[must_use]
pub fn fate(effect: &Effect, committed: bool, held: bool, alone: bool) -> Fate {
    if !held {
        return Fate::Drop;
    }
    match effect {
        _ if committed => Fate::Act,
        // Another instance, which takes over because this one is cut off from the store, knows nothing of it: it would be done twice, and
        // what was shown would be taken back.
        _ if !alone => Fate::Hold,
        // A write to a machine only ever follows its record.
        Effect::Read { .. } | Effect::Write { .. } => Fate::Hold,
        _ => Fate::Act,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::io::OutboxId, tag::TagId};

    const TERMS: Terms = Terms { lease: Duration::from_secs(3) };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_ticks(milliseconds * 10_000)
    }

    #[test]
    fn the_lease_passes_on_when_it_has_run_out_or_was_given_up() {
        let mut row = Row::default();
        assert_eq!(row.beat(1, true, at(0), TERMS), Some(1));
        assert_eq!(row.beat(2, true, at(2_900), TERMS), None);
        assert_eq!(row.beat(1, false, at(2_950), TERMS), Some(1), "who holds it renews it, ready or not");
        assert_eq!(row.beat(2, true, at(5_950), TERMS), None, "exactly a lease is not over");
        assert_eq!(row.beat(2, false, at(5_951), TERMS), None, "who is not ready takes nothing");
        assert_eq!(row.beat(2, true, at(5_951), TERMS), Some(2));
        assert_eq!(row.beat(1, true, at(6_000), TERMS), None);
        row.holder = None;
        assert_eq!(row.beat(1, true, at(6_001), TERMS), Some(3));
        assert!(TERMS.room() < TERMS.lease && TERMS.pace() < Duration::from_millis(501));
    }

    #[test]
    fn nothing_leaves_an_instance_that_may_not_act_and_no_write_without_its_record() {
        let lookup = Effect::Read { row: OutboxId(1), tag: TagId(1) };
        for (committed, held, alone, fate_of_read) in [
            (true, true, false, Fate::Act),
            (false, true, true, Fate::Hold),
            (false, true, false, Fate::Hold),
            (true, false, true, Fate::Drop),
        ] {
            assert_eq!(fate(&lookup, committed, held, alone), fate_of_read, "{committed} {held} {alone}");
        }
    }
}
