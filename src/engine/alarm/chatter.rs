//! Chatter: an alarm that activates too often is marked, and told at most once per `hold` (SPEC 6.2, 7.3).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{engine::plan::Chatter, tag::Timestamp};

/// The most activations that are remembered; `[throttle] chatter` counts no further.
pub const MAX_ACTIVATIONS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Chattering {
    /// The last activations, oldest first.
    activations: VecDeque<Timestamp>,
    marked: bool,
    /// When it was last told while it chattered.
    told: Option<Timestamp>,
    /// An activation since then was not told.
    held: bool,
}

impl Chattering {
    pub(super) const fn is_marked(&self) -> bool {
        self.marked
    }

    /// The last activation was held back.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Counts an activation of which people `would` be told. Whether it is marked by this one, and whether it is held back.
    pub(super) fn activation(&mut self, rules: &Chatter, now: Timestamp, would: bool) -> (bool, bool) {
        if self.activations.len() == MAX_ACTIVATIONS {
            self.activations.pop_front();
        }
        self.activations.push_back(now);
        self.forget(rules, now);
        let before = self.marked;
        self.marked = self.is_too_often(rules);
        let held = would && self.marked && self.told.is_some_and(|told| now < told + rules.hold);
        if would && self.marked && !held {
            self.told = Some(now);
        }
        self.held = held;
        (self.marked && !before, held)
    }

    /// True when it has stopped chattering.
    pub(super) fn tick(&mut self, rules: &Chatter, now: Timestamp) -> bool {
        self.forget(rules, now);
        let before = self.marked;
        self.marked = self.marked && self.is_too_often(rules);
        before && !self.marked
    }

    /// True once when an activation was held back and may be told now.
    pub(super) fn take_held(&mut self, rules: Option<&Chatter>, now: Timestamp) -> bool {
        let over = self.held && rules.zip(self.told).is_none_or(|(rules, told)| told + rules.hold <= now);
        if over {
            self.held = false;
            self.told = Some(now);
        }
        over
    }

    /// It is told by other means.
    pub(super) fn forget_held(&mut self) {
        self.held = false;
    }

    pub(super) fn due(&self, rules: &Chatter) -> Option<Timestamp> {
        let end = self.marked.then(|| self.activations.iter().rev().nth(threshold(rules) - 1).map(|time| *time + rules.per));
        let hold = self.told.filter(|_| self.held).map(|told| told + rules.hold);
        [end.flatten(), hold].into_iter().flatten().min()
    }

    /// Forgets what is over, and what is yet to come: the clock was set back while the program was down.
    fn forget(&mut self, rules: &Chatter, now: Timestamp) {
        self.activations.retain(|time| *time <= now && now < *time + rules.per);
        self.told = self.told.filter(|told| *told <= now);
    }

    fn is_too_often(&self, rules: &Chatter) -> bool {
        self.activations.len() >= threshold(rules)
    }
}

fn threshold(rules: &Chatter) -> usize {
    usize::try_from(rules.activations).unwrap_or(MAX_ACTIVATIONS).clamp(1, MAX_ACTIVATIONS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_was_set_back_neither_holds_nor_spins() {
        let rules = Chatter { activations: 2, per: Duration::from_secs(60), hold: Duration::from_secs(600) };
        let noon = Timestamp::from_ticks(0) + Duration::from_secs(1_000_000);
        let before = noon - Duration::from_secs(10_000);
        let mut chattering = Chattering::default();
        chattering.activation(&rules, noon, true);
        chattering.activation(&rules, noon, true);
        assert_eq!(chattering.activation(&rules, noon, true), (false, true), "held");
        // The clock is set back: what is remembered lies in the future.
        assert!(chattering.tick(&rules, before));
        assert!(chattering.take_held(Some(&rules), before), "what was held is told, not kept for hours");
        chattering.activation(&rules, before, true);
        chattering.activation(&rules, before, true);
        let due = chattering.due(&rules).unwrap();
        assert_eq!(due, before + rules.per);
        assert!(chattering.tick(&rules, due));
        assert_eq!(chattering.due(&rules), Some(before + rules.hold));
    }
}
