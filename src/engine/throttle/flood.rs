//! Flood: a contact who would get more alarms than a person can read gets digests instead (SPEC 7.3).
//!
//! Counted per contact are the alarms that would be sent there, by text or call: more than `alarms` within `per` begin a flood,
//! less than half of that ends it. In a flood everything but critical waits for the next digest. A call is worse than a text to
//! somebody who is at work on it already: who has shown a PIN or acknowledged something since the flood began is phoned for
//! critical alarms only. Whoever has not answered yet is phoned with digests, since nobody knows that they know.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{ThrottleRow, Wish};
use crate::{
    engine::{
        Engine, Timer,
        io::{OutboxId, Via},
        plan::{self, Channel},
        record::{AuditKind, NotSent},
    },
    tag::Timestamp,
};

/// From one digest to the next.
const DIGEST_EVERY: Duration = Duration::from_secs(300);
/// The first digest of a flood comes soon: it says what has begun.
const FIRST_DIGEST: Duration = Duration::from_secs(10);
/// Stands before the first digest of a flood.
const HEADING: &str = "Flood: digests every 5 min. ";

/// Floods by number.
pub(in crate::engine) type Floods = BTreeMap<String, Flood>;

/// What is remembered of the alarms to one contact.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::engine) struct Flood {
    /// The latest alarms, oldest first: one more than the limit, which is all that the rule looks at.
    recent: VecDeque<Timestamp>,
    since: Option<Timestamp>,
    /// The person has answered since it began.
    answered: bool,
    /// The first digest, which says so.
    announced_in: Option<OutboxId>,
}

impl Flood {
    fn count(&mut self, rules: &plan::Flood, now: Timestamp) {
        while self.recent.len() > limit(rules) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// True when more than `alarms` came within `per`.
    fn begins(&self, rules: &plan::Flood, now: Timestamp) -> bool {
        self.nth_latest(limit(rules) + 1).is_some_and(|at| now.since(at) < rules.per)
    }

    /// When less than half of `alarms` will have come within `per`, if no more come.
    fn end(&self, rules: &plan::Flood) -> Timestamp {
        self.nth_latest(limit(rules).div_ceil(2)).map_or(Timestamp::default(), |at| at + rules.per)
    }

    fn nth_latest(&self, nth: usize) -> Option<Timestamp> {
        self.recent.len().checked_sub(nth).and_then(|place| self.recent.get(place)).copied()
    }

    /// The clock may have been put back while the program stood still.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        for at in &mut self.recent {
            *at = (*at).min(now);
        }
    }
}

fn limit(rules: &plan::Flood) -> usize {
    usize::try_from(rules.alarms).unwrap_or(usize::MAX)
}

impl Engine {
    /// Counts a wish and says when the digest that it must wait for is due; `None` outside a flood and for critical alarms.
    pub(super) fn flood(&mut self, wish: &Wish<'_>) -> Result<Option<Timestamp>, NotSent> {
        let Some(rules) = self.plan.throttle.flood else { return Ok(None) };
        if self.is_new_to(wish) {
            self.count_flood(wish, &rules);
        }
        let Some(flood) = self.floods.get(wish.number).filter(|flood| flood.since.is_some()) else { return Ok(None) };
        if wish.is_critical() {
            return Ok(None);
        }
        if wish.profile.channel == Channel::Voice && flood.answered {
            return Err(NotSent::Flood);
        }
        let soon = self.now + FIRST_DIGEST;
        let last = self.pace(wish.number, &wish.profile.name).digest;
        Ok(Some(last.map_or(soon, |last| soon.max(last + DIGEST_EVERY))))
    }

    /// True for an event that the contact was not told of and that waits for no text to them; that one is over does not count.
    fn is_new_to(&self, wish: &Wish<'_>) -> bool {
        self.runs.get(&wish.item.alarm).is_none_or(|run| {
            if run.is_follow_up() {
                return false;
            }
            let told = run.told.iter().any(|told| told.number == wish.number && told.event == wish.item.event);
            !told && !run.gathered.iter().any(|key| key.number == wish.number)
        })
    }

    fn count_flood(&mut self, wish: &Wish<'_>, rules: &plan::Flood) {
        let now = self.now;
        let flood = self.floods.entry(wish.number.to_owned()).or_default();
        flood.count(rules, now);
        let begins = flood.since.is_none() && flood.begins(rules, now);
        if begins {
            *flood = Flood { recent: std::mem::take(&mut flood.recent), since: Some(now), ..Flood::default() };
        }
        let due = flood.since.map(|_| flood.end(rules));
        self.timers.set(&Timer::Flood(wish.number.to_owned()), due);
        self.dirty.throttle.insert(ThrottleRow::Flood(wish.number.to_owned()));
        if begins {
            self.audit_flood(wish.number, wish.user, rules, "began");
        }
    }

    fn audit_flood(&mut self, number: &str, user: &str, rules: &plan::Flood, what: &str) {
        let text = format!("more than {} alarms in {} s", rules.alarms, rules.per.as_secs());
        self.audit(AuditKind::Flood, user, Via::System, number, text, what, Vec::new(), None);
    }

    /// Looks whether a flood is over: its time has come, or the rules have changed.
    pub(in crate::engine) fn flood_due(&mut self, number: &str) {
        let rules = self.plan.throttle.flood;
        let Some(flood) = self.floods.get_mut(number).filter(|flood| flood.since.is_some()) else { return };
        let end = rules.map_or(self.now, |rules| flood.end(&rules));
        if end > self.now {
            return self.timers.set(&Timer::Flood(number.to_owned()), Some(end));
        }
        flood.since = None;
        self.timers.set(&Timer::Flood(number.to_owned()), None);
        self.dirty.throttle.insert(ThrottleRow::Flood(number.to_owned()));
        let user = self.plan.user_by_number(number).map(|user| user.name.clone()).unwrap_or_default();
        self.audit_flood(number, &user, &rules.unwrap_or_default(), "ended");
        self.release_digests(number);
    }

    /// After a reload.
    pub(in crate::engine) fn review_floods(&mut self) {
        for number in self.floods.keys().cloned().collect::<Vec<_>>() {
            self.flood_due(&number);
        }
    }

    /// A person has shown a valid PIN or acknowledged something.
    pub(in crate::engine) fn answered_in_flood(&mut self, user: &str) {
        let numbers: Vec<String> = match self.plan.users.get(user) {
            Some(user) => user.contacts.iter().map(|contact| contact.number.clone()).collect(),
            None => return,
        };
        for number in numbers {
            if let Some(flood) = self.floods.get_mut(&number).filter(|flood| flood.since.is_some() && !flood.answered) {
                flood.answered = true;
                self.dirty.throttle.insert(ThrottleRow::Flood(number));
            }
        }
    }

    /// A digest goes: the first one of a flood says that it has begun.
    pub(super) fn announce_flood(&mut self, number: &str, row: OutboxId) {
        let Some(flood) = self.floods.get_mut(number) else { return };
        if flood.since.is_some() && flood.announced_in.is_none() {
            flood.announced_in = Some(row);
            self.dirty.throttle.insert(ThrottleRow::Flood(number.to_owned()));
        }
    }

    /// What stands before the text of `row`.
    pub(super) fn heading(&self, number: &str, row: OutboxId) -> &'static str {
        let announces = self.floods.get(number).is_some_and(|flood| flood.announced_in == Some(row));
        if announces { HEADING } else { "" }
    }

    /// Floods that are over and of which nothing counts any more.
    pub(super) fn forget_floods(&mut self) {
        let (now, per) = (self.now, self.plan.throttle.flood.unwrap_or_default().per);
        let old = |flood: &Flood| flood.since.is_none() && flood.recent.back().is_none_or(|last| now.since(*last) >= per);
        let gone: Vec<String> = self.floods.iter().filter(|(_, flood)| old(flood)).map(|(number, _)| number.clone()).collect();
        for number in gone {
            self.floods.remove(&number);
            self.dirty.throttle.insert(ThrottleRow::Flood(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: plan::Flood = plan::Flood { alarms: 4, per: Duration::from_secs(60) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ticks(1_000_000_000) + Duration::from_secs(seconds)
    }

    fn after(alarms: &[u64]) -> Flood {
        let mut flood = Flood::default();
        for seconds in alarms {
            flood.count(&RULES, at(*seconds));
        }
        flood
    }

    #[test]
    fn a_flood_begins_above_the_rate_and_ends_below_half_of_it() {
        for (alarms, now, begins) in [
            (vec![], 0, false),
            (vec![0, 1, 2, 3], 3, false),
            (vec![0, 1, 2, 3, 4], 4, true),
            (vec![0, 20, 40, 50, 59], 59, true),
            (vec![0, 20, 40, 50, 60], 60, false),
            (vec![0, 20, 40, 50, 60, 61], 61, true),
        ] {
            assert_eq!(after(&alarms).begins(&RULES, at(now)), begins, "{alarms:?}");
        }
        // Two of four are not below half: the last but one counts.
        assert_eq!(after(&[0, 1, 2, 3, 10]).end(&RULES), at(63));
        assert_eq!(after(&[0, 1, 2, 3, 10, 30]).end(&RULES), at(70));
    }

    #[test]
    fn no_more_is_remembered_than_the_rule_looks_at() {
        assert_eq!(after(&(0..1000).collect::<Vec<_>>()).recent.len(), 5);
    }
}
