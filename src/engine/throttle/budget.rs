//! Budgets: how many messages and calls of alarms a person gets in an hour (SPEC 7.3).
//!
//! All contacts of a person share them; texts and calls are counted apart. A message counts from the moment it is filed in the
//! outbox, and for an hour from its last attempt: what Twilio could not take yet is not forgotten. Answers, people's own texts and
//! the text that says that a budget is used up are free.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{ThrottleRow, Wish};
use crate::{
    engine::{
        Engine,
        io::OutboxId,
        outbox::{Outbox, Purpose, Text},
        plan::{self, Channel, Priority, ProfileDef},
        record::NotSent,
    },
    tag::Timestamp,
};

/// The span of a budget.
const HOUR: Duration = Duration::from_secs(3600);
/// Critical alarms beyond the whole budget: one digest to a contact in this time.
const CRITICAL_PACE: Duration = Duration::from_secs(60);
/// Messages of one person that are remembered: more than any budget and the digests beyond it are in an hour.
const MAX_SPENT: usize = 4096;

/// Budgets by user.
pub(in crate::engine) type Budgets = BTreeMap<String, Spent>;

/// What a person was sent in the last hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::engine) struct Spent {
    messages: Spending,
    calls: Spending,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Spending {
    entries: VecDeque<Entry>,
    /// When the person was told that the budget is used up.
    told: Option<Timestamp>,
}

/// One message or call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    row: OutboxId,
    /// Its last attempt, or when it was filed.
    at: Timestamp,
    critical: bool,
    /// An attempt was made.
    sent: bool,
}

impl Spent {
    fn of(&self, channel: Channel) -> &Spending {
        match channel {
            Channel::Sms => &self.messages,
            Channel::Voice => &self.calls,
        }
    }

    fn of_mut(&mut self, channel: Channel) -> &mut Spending {
        match channel {
            Channel::Sms => &mut self.messages,
            Channel::Voice => &mut self.calls,
        }
    }

    fn forget(&mut self, now: Timestamp, outbox: &Outbox) {
        for spending in [&mut self.messages, &mut self.calls] {
            spending.entries.retain(|entry| entry.counts(now, outbox));
            spending.told = spending.told.filter(|told| now.since(*told) < HOUR);
        }
    }

    fn is_empty(&self) -> bool {
        [&self.messages, &self.calls].iter().all(|spending| spending.entries.is_empty() && spending.told.is_none())
    }

    /// The clock may have been put back while the program stood still: nothing counts from the future.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        for spending in [&mut self.messages, &mut self.calls] {
            for entry in &mut spending.entries {
                entry.at = entry.at.min(now);
            }
            spending.told = spending.told.map(|told| told.min(now));
        }
    }
}

impl Entry {
    fn counts(&self, now: Timestamp, outbox: &Outbox) -> bool {
        if self.sent { now.since(self.at) < HOUR } else { outbox.text(self.row).is_some_and(|text| text.state.is_open()) }
    }
}

/// True when one more fits. Critical alarms have the reserve, the rest has the rest: a flood of critical ones must not cost the
/// digest that tells of all the others. Without a reserve they share the whole.
fn fits<'e>(entries: impl Iterator<Item = &'e Entry>, rules: &plan::Budget, channel: Channel, critical: bool) -> bool {
    let (limit, common) = (rules.limit(channel), rules.common(channel));
    let shared = common == limit;
    let counted = entries.filter(|entry| shared || entry.critical == critical).count();
    let share = if critical && !shared { limit - common } else { common };
    u32::try_from(counted).is_ok_and(|counted| counted < share)
}

impl Engine {
    /// True when the person may get one more message or call now.
    pub(super) fn within_budget(&self, user: &str, channel: Channel, critical: bool) -> bool {
        let (Some(rules), Some(spent)) = (&self.plan.throttle.budget, self.budgets.get(user)) else { return true };
        let entries = spent.of(channel).entries.iter().filter(|entry| entry.counts(self.now, &self.outbox));
        fits(entries, rules, channel, critical)
    }

    /// When the text of a wish that is to go at `due` (at once without) may go; an error when the person's budget is used up. A
    /// wish that joins a text costs nothing.
    pub(super) fn admit(&mut self, wish: &Wish<'_>, due: Option<Timestamp>) -> Result<Option<Timestamp>, NotSent> {
        let waits = self.batches.contains_key(&wish.batch());
        if due.is_some() && waits || self.within_budget(wish.user, wish.profile.channel, wish.is_critical()) {
            return Ok(due);
        }
        if wish.is_critical() {
            let last = self.pace(wish.number, &wish.profile.name).critical;
            let later = last.map(|last| last + CRITICAL_PACE).filter(|due| *due > self.now);
            // What waits, and is late because nothing ran for a while, takes it along: together they are the one of this minute.
            return Ok(later.or_else(|| waits.then_some(self.now)));
        }
        self.tell_exhausted(wish.user, wish.profile);
        Err(NotSent::Budget)
    }

    /// Counts a text or call that was filed.
    pub(super) fn reserve(&mut self, user: &str, profile: &ProfileDef, number: &str, row: OutboxId, critical: bool) {
        if self.plan.throttle.budget.is_none() {
            return;
        }
        let now = self.now;
        if critical {
            self.set_pace(number, &profile.name, |pace| pace.critical = Some(now));
        }
        let spent = self.budgets.entry(user.to_owned()).or_default();
        spent.forget(now, &self.outbox);
        let entries = &mut spent.of_mut(profile.channel).entries;
        if entries.len() >= MAX_SPENT {
            entries.pop_front();
        }
        entries.push_back(Entry { row, at: now, critical, sent: false });
        self.dirty.throttle.insert(ThrottleRow::Budget(user.to_owned()));
    }

    /// An attempt is about to be made; false when the budget, perhaps lowered meanwhile, is used up without this one.
    pub(in crate::engine) fn spend_on(&mut self, row: OutboxId) -> bool {
        let Some((user, channel, profile, critical)) = self.outbox.text(row).and_then(of_budget) else { return true };
        let Some(rules) = &self.plan.throttle.budget else { return true };
        let now = self.now;
        let spent = self.budgets.entry(user.clone()).or_default();
        let others = |entry: &&Entry| entry.row != row && entry.sent && entry.counts(now, &self.outbox);
        if !critical && !fits(spent.of(channel).entries.iter().filter(others), rules, channel, false) {
            if let Some(profile) = self.plan.profiles.get(&profile).cloned() {
                self.tell_exhausted(&user, &profile);
            }
            return false;
        }
        let entries = &mut spent.of_mut(channel).entries;
        match entries.iter_mut().find(|entry| entry.row == row) {
            Some(entry) => (entry.at, entry.sent) = (now, true),
            None => entries.push_back(Entry { row, at: now, critical, sent: true }),
        }
        self.dirty.throttle.insert(ThrottleRow::Budget(user));
        true
    }

    /// Twilio refused a text for good: it reached nobody and costs nothing.
    pub(in crate::engine) fn unspend(&mut self, row: OutboxId) {
        let Some((user, channel, ..)) = self.outbox.text(row).and_then(of_budget) else { return };
        let Some(spent) = self.budgets.get_mut(&user).filter(|_| channel == Channel::Sms) else { return };
        spent.of_mut(channel).entries.retain(|entry| entry.row != row);
        self.dirty.throttle.insert(ThrottleRow::Budget(user));
    }

    /// Tells a person, at most once an hour, that others are told instead.
    pub(super) fn tell_exhausted(&mut self, user: &str, profile: &ProfileDef) {
        let (now, channel) = (self.now, profile.channel);
        let Some(rules) = self.plan.throttle.budget.clone() else { return };
        let spending = self.budgets.entry(user.to_owned()).or_default().of_mut(channel);
        if spending.told.is_some_and(|told| now.since(told) < HOUR) {
            return;
        }
        spending.told = Some(now);
        let counted = spending.entries.iter().filter(|entry| entry.counts(now, &self.outbox));
        let body = exhausted(&rules, channel, fits(counted, &rules, channel, true));
        self.dirty.throttle.insert(ThrottleRow::Budget(user.to_owned()));
        let usable =
            |number: &str| self.plan.people.allows(number) && !self.contacts.get(number).is_some_and(|contact| contact.opted_out);
        let contacts = self.plan.users.get(user).into_iter().flat_map(|user| &user.contacts);
        let number = contacts.filter(|contact| contact.channel == Channel::Sms).map(|contact| contact.number.clone());
        let Some(number) = number.into_iter().find(|number| usable(number)) else { return };
        let text = Text::new(&profile.twilio, Channel::Sms, &number, Some(user.to_owned()), Purpose::Manual, now);
        self.enqueue(Text { body, detail: NotSent::Budget.words().to_owned(), ..text });
    }

    /// Budgets of which nothing counts any more.
    pub(super) fn forget_budgets(&mut self) {
        let (now, outbox) = (self.now, &self.outbox);
        let gone: Vec<String> = self
            .budgets
            .iter_mut()
            .filter_map(|(user, spent)| {
                spent.forget(now, outbox);
                spent.is_empty().then(|| user.clone())
            })
            .collect();
        for user in gone {
            self.budgets.remove(&user);
            self.dirty.throttle.insert(ThrottleRow::Budget(user));
        }
    }
}

/// Whose budget a text or call of alarms is on: user, channel, profile, critical.
fn of_budget(text: &Text) -> Option<(String, Channel, String, bool)> {
    let Purpose::Alarm { profile, priority, .. } = &text.purpose else { return None };
    Some((text.user.clone()?, text.channel, profile.clone(), *priority == Priority::Critical))
}

/// The text to a person whose budget is used up.
fn exhausted(rules: &plan::Budget, channel: Channel, reserve_left: bool) -> String {
    let (what, one) = match channel {
        Channel::Sms => ("messages", "text"),
        Channel::Voice => ("calls", "call"),
    };
    let common = rules.common(channel);
    let kept = rules.limit(channel) - common;
    let how = if reserve_left && kept > 0 { format!("{kept} more are kept for it") } else { format!("in one {one} a minute") };
    format!("Your budget of {common} {what} an hour is used up; others are told. Critical still comes, {how}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{gsm, reply};

    const RULES: plan::Budget = plan::Budget { messages_per_hour: 6, calls_per_hour: 3, critical_reserve: 0.5 };

    #[test]
    fn without_a_reserve_all_share() {
        let rules = plan::Budget { critical_reserve: 0.0, ..RULES };
        check_with(&rules, Channel::Sms, "-ccc---c", "-ccc--..");
    }

    /// How many of `wanted` (`c` critical, `-` not) fit, one after the other.
    fn check(channel: Channel, wanted: &str, expected: &str) {
        check_with(&RULES, channel, wanted, expected);
    }

    fn check_with(rules: &plan::Budget, channel: Channel, wanted: &str, expected: &str) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut took = String::new();
        for letter in wanted.chars() {
            let critical = letter == 'c';
            let fits = fits(entries.iter(), rules, channel, critical);
            if fits {
                entries.push(Entry { row: OutboxId(0), at: Timestamp::default(), critical, sent: true });
            }
            took.push(if fits { letter } else { '.' });
        }
        assert_eq!(took, expected, "{wanted}");
    }

    #[test]
    fn the_reserve_is_for_critical() {
        check(Channel::Sms, "-----", "---..");
        check(Channel::Sms, "---cccc", "---ccc.");
        check(Channel::Sms, "ccc----", "ccc---.");
        check(Channel::Sms, "ccccc--", "ccc..--");
        check(Channel::Sms, "c-c-c-c-", "c-c-c-..");
        // Of three calls, one and a half are kept: rounded down, so that something is left for the rest.
        check(Channel::Voice, "---cc", "--.c.");
    }

    #[test]
    fn the_word_to_the_person_is_one_segment_and_no_command() {
        for channel in [Channel::Sms, Channel::Voice] {
            for left in [true, false] {
                let text = exhausted(&plan::Budget { messages_per_hour: 1000, ..RULES }, channel, left);
                assert_eq!(gsm::segments(&text), 1, "{text}");
                assert_eq!(reply::parse(&text), reply::Reply::Other);
            }
        }
        let text = exhausted(&RULES, Channel::Sms, true);
        assert_eq!(
            text,
            "Your budget of 3 messages an hour is used up; others are told. Critical still comes, 3 more are kept for it."
        );
    }
}
