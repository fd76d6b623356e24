//! Consolidation: many alarm events in one text to one contact (SPEC 7.3).

use std::sync::Arc;

use crate::{
    engine::{
        Engine, Timer,
        outbox::{Item, Purpose, Text},
        pipeline::{Run, Stage, Waiting},
        plan::{Consolidate, Priority, ProfileDef},
    },
    tag::Timestamp,
};

/// Alarm events that one text may stand for; the next ones begin a text of their own.
const MAX_ITEMS: usize = 20_000;

/// Texts to one contact through one profile that are gathered before they go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::engine) struct BatchKey {
    pub number: String,
    pub profile: String,
    pub critical: bool,
}

#[derive(Debug)]
pub(in crate::engine) struct Batch {
    user: String,
    items: Vec<Item>,
    priority: Priority,
    named: u32,
    due: Timestamp,
}

/// The last text of a consolidated contact: `every` holds back what is not more urgent.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct LastText {
    at: Timestamp,
    priority: Priority,
}

impl Engine {
    pub(in crate::engine) fn gathered_until(
        &self,
        rules: Consolidate,
        profile: &str,
        number: &str,
        priority: Priority,
    ) -> Timestamp {
        let soon = self.now + rules.wait;
        let last = self.last_texts.get(&(number.to_owned(), profile.to_owned()));
        match last.filter(|last| priority <= last.priority) {
            Some(last) => soon.max(last.at + rules.every),
            None => soon,
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(in crate::engine) fn gather(
        &mut self,
        item: Item,
        profile: &ProfileDef,
        named: u32,
        due: Timestamp,
        priority: Priority,
        user: &str,
        number: &str,
    ) {
        let critical = priority == Priority::Critical;
        let key = BatchKey { number: number.to_owned(), profile: profile.name.clone(), critical };
        let batch = self.batches.entry(key.clone()).or_insert_with(|| Batch {
            user: user.to_owned(),
            items: Vec::new(),
            priority,
            named,
            due,
        });
        batch.priority = batch.priority.max(priority);
        batch.due = batch.due.min(due);
        batch.items.push(item);
        let due = if batch.items.len() >= MAX_ITEMS { self.now } else { batch.due };
        self.timers.set(&Timer::Batch(key), Some(due));
    }

    /// The time of a gathered text has come.
    pub(in crate::engine) fn batch_due(&mut self, key: &BatchKey) {
        let Some(batch) = self.batches.remove(key) else { return };
        let Some(profile) = self.plan.profiles.get(&key.profile).cloned() else {
            for item in batch.items {
                if let Some(waiting) = self.runs.get_mut(&item.alarm).and_then(|run| run.gathering_mut(&key.number)) {
                    waiting.failed = true;
                }
                self.dirty.paths.insert(item.alarm);
            }
            return;
        };
        let items: Vec<_> = batch.items.into_iter().filter(|item| self.wants_telling(item)).collect();
        if items.is_empty() {
            return;
        }
        let at = self.now;
        self.last_texts.insert((key.number.clone(), key.profile.clone()), LastText { at, priority: batch.priority });
        self.send_batch(&profile, &batch.user, &key.number, batch.priority, items, batch.named);
    }

    pub(in crate::engine) fn send_batch(
        &mut self,
        profile: &ProfileDef,
        user: &str,
        number: &str,
        priority: Priority,
        mut items: Vec<Item>,
        named: u32,
    ) {
        // The most urgent ones are named; the sort is stable, so older ones come first among equals.
        items.sort_by_cached_key(|item| std::cmp::Reverse(self.plan.alarm(&item.alarm).map(|def| def.priority)));
        for item in items.iter_mut().take(named.max(1) as usize) {
            item.named = true;
        }
        let paths: Vec<Arc<str>> = items.iter().map(|item| Arc::clone(&item.alarm)).collect();
        let purpose = Purpose::Alarm { profile: profile.name.clone(), priority, items };
        let text = Text::new(&profile.twilio, profile.channel, number, Some(user.to_owned()), purpose, self.now);
        let row = self.enqueue(Text { audit: profile.audit, ..text });
        for path in paths {
            self.bind_waiting(&path, number, row);
            self.dirty.paths.insert(path);
        }
    }
}

impl Run {
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
