//! Consolidation: many alarm events in one text to one contact (SPEC 7.3).
//!
//! Bands are two: critical, which only waits when the budget's reserve is used up, and the rest. A batch's head is a row of its
//! own; its items are found again, after a restart, through the runs that wait for it ([`Run::gathered`]), so that a batch of
//! thousands is not written anew with each alarm that joins it.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ThrottleRow, Wait, Wish, among};
use crate::{
    engine::{
        Engine, Timer,
        outbox::{Item, Purpose, Text},
        pipeline::{Run, Stage, Waiting},
        plan::{Consolidate, Priority, ProfileDef},
        record::NotSent,
    },
    tag::Timestamp,
};

/// Alarm events that one text may stand for; the next ones begin a text of their own.
const MAX_ITEMS: usize = 20_000;
/// Keys that begin to cool down anew when a text goes that they held back; those of further alarms do not.
const MAX_KEYS: usize = 64;
/// The longest that a last text holds anything back (`every`).
const MAX_PACE: Duration = Duration::from_secs(86_400);

/// Texts to one contact through one profile that are gathered before they go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::engine) struct BatchKey {
    pub number: String,
    pub profile: String,
    pub critical: bool,
}

#[derive(Debug)]
pub(in crate::engine) struct Batch {
    pub head: Head,
    items: Vec<Item>,
}

/// What of a batch is stored as its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Head {
    user: String,
    priority: Priority,
    named: u32,
    pub due: Timestamp,
    /// Shared cooldowns that hold it; they begin anew when it goes.
    #[serde(default)]
    keys: Vec<String>,
    /// A digest of a flood.
    #[serde(default)]
    flood: bool,
}

/// The last texts to one contact through one profile.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::engine) struct Pace {
    /// The last one that was gathered: `every` holds back what is not more urgent.
    pub gathered: Option<LastText>,
    /// The last one of the critical band.
    pub critical: Option<Timestamp>,
    /// The last digest of a flood.
    pub digest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::engine) struct LastText {
    pub at: Timestamp,
    priority: Priority,
}

impl Pace {
    fn last(&self) -> Option<Timestamp> {
        [self.gathered.map(|text| text.at), self.critical, self.digest].into_iter().flatten().max()
    }
}

impl Engine {
    /// When a consolidated text may go.
    pub(super) fn gathered_until(&self, rules: Consolidate, wish: &Wish<'_>) -> Timestamp {
        let soon = self.now + rules.wait;
        match self.pace(wish.number, &wish.profile.name).gathered.filter(|last| wish.priority <= last.priority) {
            Some(last) => soon.max(last.at + rules.every),
            None => soon,
        }
    }

    pub(super) fn pace(&self, number: &str, profile: &str) -> Pace {
        self.paces.get(&(number.to_owned(), profile.to_owned())).copied().unwrap_or_default()
    }

    pub(super) fn set_pace(&mut self, number: &str, profile: &str, change: impl FnOnce(&mut Pace)) {
        let key = (number.to_owned(), profile.to_owned());
        change(self.paces.entry(key.clone()).or_default());
        self.dirty.throttle.insert(ThrottleRow::Pace(key.0, key.1));
    }

    /// Paces that hold nothing back any more.
    pub(super) fn forget_paces(&mut self) {
        let now = self.now;
        let old = |pace: &Pace| pace.last().is_none_or(|last| now.since(last) > MAX_PACE);
        let gone: Vec<_> = self.paces.iter().filter(|(_, pace)| old(pace)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.paces.remove(&key);
            self.dirty.throttle.insert(ThrottleRow::Pace(key.0, key.1));
        }
    }

    /// Adds an alarm to those that wait for one text.
    pub(super) fn gather(&mut self, wish: Wish<'_>, wait: Wait) {
        let Wait { due, held_by, flood } = wait;
        let key = wish.batch();
        let Wish { item, priority, named, user, .. } = wish;
        let new = Head { user: user.to_owned(), priority, named, due, keys: Vec::new(), flood };
        let batch = self.batches.entry(key.clone()).or_insert_with(|| {
            self.dirty.throttle.insert(ThrottleRow::Batch(key.clone()));
            Batch { head: new, items: Vec::new() }
        });
        let head = &mut batch.head;
        let before = (head.priority, head.due, head.flood, head.keys.len());
        (head.priority, head.due, head.flood) = (head.priority.max(priority), head.due.min(due), head.flood || flood);
        if let Some(held_by) = held_by.filter(|key| head.keys.len() < MAX_KEYS && !head.keys.contains(key)) {
            head.keys.push(held_by);
        }
        if before != (head.priority, head.due, head.flood, head.keys.len()) {
            self.dirty.throttle.insert(ThrottleRow::Batch(key.clone()));
        }
        let is_new = self.runs.get_mut(&item.alarm).is_some_and(|run| run.gather(&key));
        self.dirty.runs.insert(Arc::clone(&item.alarm));
        let known = if is_new { None } else { batch.items.iter_mut().find(|known| known.alarm == item.alarm) };
        match known {
            Some(known) => *known = item,
            None => batch.items.push(item),
        }
        let due = if batch.items.len() >= MAX_ITEMS { self.now } else { batch.head.due };
        self.timers.set(&Timer::Batch(key), Some(due));
    }

    /// After a restart: an alarm whose run waits for a gathered text.
    pub(in crate::engine) fn regather_into(&mut self, key: &BatchKey, item: Item, user: &str, priority: Priority) {
        let now = self.now;
        let batch = self.batches.entry(key.clone()).or_insert_with(|| Batch {
            head: Head { user: user.to_owned(), priority, named: super::DEFAULT_NAMED, due: now, keys: Vec::new(), flood: false },
            items: Vec::new(),
        });
        batch.items.push(item);
        self.timers.set(&Timer::Batch(key.clone()), Some(batch.head.due));
    }

    /// A stored head; its items follow with the runs.
    pub(super) fn restore_batch(&mut self, key: BatchKey, mut head: Head) {
        head.due = head.due.min(self.now + MAX_PACE);
        self.timers.set(&Timer::Batch(key.clone()), Some(head.due));
        self.batches.insert(key, Batch { head, items: Vec::new() });
    }

    /// Ends the gathering: its head and those of its alarms that still want to be told.
    fn take_batch(&mut self, key: &BatchKey) -> Option<(Head, Vec<Item>)> {
        let Batch { head, items } = self.batches.remove(key)?;
        self.timers.set(&Timer::Batch(key.clone()), None);
        self.dirty.throttle.insert(ThrottleRow::Batch(key.clone()));
        for item in &items {
            if let Some(run) = self.runs.get_mut(&item.alarm) {
                run.gathered.retain(|gathered| gathered != key);
                self.dirty.runs.insert(Arc::clone(&item.alarm));
            }
        }
        let (needed, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| self.wants_telling(item));
        self.no_longer_needed(&head.user, &key.number, &gone);
        Some((head, needed))
    }

    /// The time of a gathered text has come.
    pub(in crate::engine) fn batch_due(&mut self, key: &BatchKey) {
        let Some(head) = self.batches.get(key).map(|batch| batch.head.clone()) else { return };
        let Some(profile) = self.plan.profiles.get(&key.profile).cloned() else {
            return self.give_batch_up(key, NotSent::Removed);
        };
        if !key.critical && !self.within_budget(&head.user, profile.channel, false) {
            self.tell_exhausted(&head.user, &profile);
            return self.give_batch_up(key, NotSent::Budget);
        }
        let Some((head, items)) = self.take_batch(key).filter(|(_, items)| !items.is_empty()) else { return };
        let (at, flood) = (self.now, head.flood);
        self.set_pace(&key.number, &key.profile, |pace| {
            pace.gathered = Some(LastText { at, priority: head.priority });
            pace.digest = if flood { Some(at) } else { pace.digest };
        });
        self.send_batch(&profile, head, &key.number, items);
    }

    /// A flood is over: what waits for its digest waits no longer.
    pub(super) fn release_digests(&mut self, number: &str) {
        let of_flood = self.batches.iter_mut().filter(|(key, batch)| key.number == number && batch.head.flood);
        for (key, batch) in of_flood {
            batch.head.due = self.now;
            self.timers.set(&Timer::Batch(key.clone()), Some(self.now));
            self.dirty.throttle.insert(ThrottleRow::Batch(key.clone()));
        }
    }

    /// Nobody is told by this text: each alarm goes on to the next contact.
    fn give_batch_up(&mut self, key: &BatchKey, reason: NotSent) {
        let Some((head, items)) = self.take_batch(key).filter(|(_, items)| !items.is_empty()) else { return };
        let events = items.iter().map(|item| item.event).collect();
        self.not_sent(reason, &head.user, &key.number, format!("{} by {}", among(&items), key.profile), events);
        for item in items {
            if let Some(waiting) = self.runs.get_mut(&item.alarm).and_then(|run| run.gathering_mut(&key.number)) {
                waiting.failed = true;
            }
            self.dirty.paths.insert(item.alarm);
        }
    }

    /// A text of one alarm, and of those that wait for the next one to this contact.
    pub(super) fn send_now(&mut self, wish: Wish<'_>) {
        let key = wish.batch();
        let Wish { item, profile, priority, named, user, number } = wish;
        let alone = Head { user: user.to_owned(), priority, named, due: self.now, keys: Vec::new(), flood: false };
        let (mut head, mut items) = self.take_batch(&key).unwrap_or((alone, Vec::new()));
        head.priority = head.priority.max(priority);
        items.retain(|waiting| waiting.alarm != item.alarm);
        items.push(item);
        self.send_batch(profile, head, number, items);
    }

    fn send_batch(&mut self, profile: &ProfileDef, head: Head, number: &str, mut items: Vec<Item>) {
        let Head { user, priority, named, keys, flood, .. } = head;
        for key in keys {
            self.start_cooldown(key, profile);
        }
        items.retain(|item| !self.join_call(profile, number, item));
        if items.is_empty() {
            return;
        }
        // The most urgent ones are named; the sort is stable, so older ones come first among equals.
        items.sort_by_cached_key(|item| std::cmp::Reverse(self.plan.alarm(&item.alarm).map(|def| def.priority)));
        for item in items.iter_mut().take(named.max(1) as usize) {
            item.named = true;
        }
        let paths: Vec<Arc<str>> = items.iter().map(|item| Arc::clone(&item.alarm)).collect();
        let purpose = Purpose::Alarm { profile: profile.name.clone(), priority, items };
        let text = Text::new(&profile.twilio, profile.channel, number, Some(user.clone()), purpose, self.now);
        let row = self.enqueue(Text { audit: profile.audit, ..text });
        self.reserve(&user, profile, number, row, priority == Priority::Critical);
        if flood {
            self.announce_flood(number, row);
        }
        for path in paths {
            self.bind_waiting(&path, number, row);
            self.dirty.paths.insert(path);
        }
    }
}

impl Run {
    /// Notes that a text is being gathered with this alarm; false when it was noted before.
    fn gather(&mut self, key: &BatchKey) -> bool {
        let new = !self.gathered.contains(key);
        if new {
            self.gathered.push(key.clone());
        }
        new
    }

    /// The contact's entry that has no text yet.
    pub(in crate::engine) fn gathering_mut(&mut self, number: &str) -> Option<&mut Waiting> {
        match &mut self.stage {
            Stage::Notify(stage) => {
                stage.waiting.iter_mut().rev().find(|waiting| waiting.number == number && waiting.row.is_none())
            }
            _ => None,
        }
    }
}
