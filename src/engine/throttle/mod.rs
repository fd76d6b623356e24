//! Few, clear messages (SPEC 7.3): what stands between a notify step's wish and a text in the outbox.
//!
//! A wish passes, in this order: the cooldown of its key, the contact's flood, consolidation with others, the person's budget.
//! Critical alarms pass all of them at once, except when even the budget's reserve is used up. What is held back is gathered in a [`Batch`]; what is
//! not sent is in the audit log.

mod budget;
mod compose;
mod consolidate;
mod cooldown;
mod flood;
mod rows;

use uuid::Uuid;

use self::cooldown::Cooldown;
pub(in crate::engine) use self::{
    budget::Budgets,
    compose::{About, short_name},
    consolidate::{Batch, BatchKey, Pace},
    flood::Floods,
    rows::ThrottleRow,
};
use super::{
    Engine,
    io::OutboxId,
    outbox::{Item, Purpose, TextState},
    plan::{Channel, Notify, Priority, ProfileDef},
    record::NotSent,
};
use crate::tag::Timestamp;

/// Alarms by name in a text of a step that does not consolidate but whose texts are held back together.
const DEFAULT_NAMED: u32 = 5;

/// One alarm for one contact, on its way into a text.
struct Wish<'w> {
    item: Item,
    profile: &'w ProfileDef,
    priority: Priority,
    /// So many by name in a text of many.
    named: u32,
    user: &'w str,
    number: &'w str,
}

impl Wish<'_> {
    fn is_critical(&self) -> bool {
        self.priority == Priority::Critical
    }

    fn batch(&self) -> BatchKey {
        BatchKey { number: self.number.to_owned(), profile: self.profile.name.clone(), critical: self.is_critical() }
    }
}

/// What a wish waits for.
struct Wait {
    due: Timestamp,
    /// A cooldown that it shares.
    held_by: Option<String>,
    /// The digest of a flood.
    flood: bool,
}

impl Engine {
    /// A notify step wants `number` to be told of the alarm at `path`. The error is why it is not told: the person counts as not
    /// reached.
    pub(super) fn ask_for_text(
        &mut self,
        path: &str,
        index: usize,
        notify: &Notify,
        step: &str,
        user: &str,
        number: &str,
    ) -> Result<(), NotSent> {
        let priority = self.urgency(path, index);
        let profile = self.plan.profiles.get(&notify.profile).cloned().ok_or(NotSent::Removed)?;
        let event = self.event_to_tell(path).ok_or(NotSent::Superseded)?;
        if let Some(row) = self.pending_text(path, event, number, profile.channel) {
            self.bind_waiting(path, number, row);
            return Ok(());
        }
        let rules = notify.consolidate.filter(|_| priority < Priority::Critical);
        let code = self.runs.get(path).map(|run| run.code.clone()).unwrap_or_default();
        let item = Item { alarm: path.into(), code, event, named: false };
        let named = rules.map_or(DEFAULT_NAMED, |rules| rules.n);
        let wish = Wish { item, profile: &profile, priority, named, user, number };
        match self.cooldown(&wish, index, step) {
            Cooldown::Repeat => {
                self.not_sent(NotSent::Cooldown, user, number, format!("{path} by {}", profile.name), vec![event]);
                self.spare_repeat(path, number);
            }
            // One call at a time: it takes further events along.
            Cooldown::Shared { .. } | Cooldown::Free(_) if self.join_call(&profile, number, &wish.item) => {}
            Cooldown::Shared { until, key } => {
                let digest = self.flood(&wish)?;
                let due = digest.unwrap_or(until);
                let due = self.admit(&wish, Some(due))?.unwrap_or(due);
                self.gather(wish, Wait { due, held_by: Some(key), flood: digest.is_some() });
            }
            Cooldown::Free(key) => {
                let digest = self.flood(&wish)?;
                let due = digest.or_else(|| rules.map(|rules| self.gathered_until(rules, &wish)));
                let due = self.admit(&wish, due)?;
                if let Some(key) = key {
                    self.start_cooldown(key, &profile);
                }
                match due {
                    Some(due) => self.gather(wish, Wait { due, held_by: None, flood: digest.is_some() }),
                    None => self.send_now(wish),
                }
            }
        }
        Ok(())
    }

    /// The contact knows of the event already: the step goes on as if this repeat had been accepted.
    fn spare_repeat(&mut self, path: &str, number: &str) {
        let now = self.now;
        if let Some(waiting) = self.runs.get_mut(path).and_then(|run| run.gathering_mut(number)) {
            waiting.accepted = Some(now);
        }
    }

    /// A text to `number` that will name this event or is on its way with it, such as one of an earlier round while Twilio is
    /// away. One that waits is written anew at its next attempt, of the newest event.
    fn pending_text(&self, path: &str, event: Uuid, number: &str, channel: Channel) -> Option<OutboxId> {
        let run = self.runs.get(path)?;
        let names_it = |row: &OutboxId| {
            let Some(text) = self.outbox.text(*row).filter(|text| text.to == number && text.state.is_open()) else {
                return false;
            };
            if text.channel != channel {
                return false;
            }
            let waits = matches!(text.state, TextState::Queued);
            let Purpose::Alarm { items, .. } = &text.purpose else { return false };
            items.iter().any(|item| (waits || item.event == event) && item.code == run.code && &*item.alarm == path)
        };
        run.rows.iter().rev().copied().find(names_it)
    }

    pub(super) fn bind_waiting(&mut self, path: &str, number: &str, row: OutboxId) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return };
        run.note_row(row);
        if let Some(waiting) = run.gathering_mut(number) {
            (waiting.row, waiting.since) = (Some(row), now);
        }
    }

    /// True while at least one event of a text wants to be told.
    pub(super) fn still_needed(&self, row: OutboxId) -> bool {
        match self.outbox.text(row).map(|text| &text.purpose) {
            Some(Purpose::Alarm { items, .. }) => items.iter().any(|item| self.wants_telling(item)),
            Some(Purpose::Answer { .. } | Purpose::Manual | Purpose::Event { .. }) => true,
            None => false,
        }
    }

    /// Texts of one alarm that wait in the outbox may have become needless. A text may stand for thousands of alarms: all of them
    /// are looked at once, at the end of the step.
    pub(super) fn doubt_texts(&mut self, path: &str) {
        let rows = self.runs.get(path).into_iter().flat_map(|run| &run.rows);
        let waiting = |row: &&OutboxId| {
            self.outbox.text(**row).is_some_and(|text| match &text.state {
                TextState::Queued => true,
                TextState::Accepted { status, .. } => text.channel == Channel::Voice && !status.is_final(),
                _ => false,
            })
        };
        self.dirty.doubtful.extend(rows.filter(waiting));
    }

    /// Cancels the texts that no alarm needs any more.
    pub(super) fn cancel_needless(&mut self) {
        for row in std::mem::take(&mut self.dirty.doubtful) {
            if !self.still_needed(row) {
                self.cancel(row, NotSent::Superseded);
                self.dismiss_call(row);
            }
        }
    }

    /// The events of a text that nobody need be told of any more, for the audit log.
    fn no_longer_needed(&mut self, user: &str, number: &str, gone: &[Item]) {
        if !gone.is_empty() {
            let events = gone.iter().map(|item| item.event).collect();
            self.not_sent(NotSent::Superseded, user, number, among(gone), events);
            self.note_untold(gone);
        }
    }

    /// Twilio has a text: those of its events that are only counted in it ("and 37 more") are in the audit log too. A call goes
    /// through all of them.
    pub(super) fn audit_unnamed(&mut self, row: OutboxId) {
        let Some(text) = self.outbox.text(row).filter(|text| text.channel == Channel::Sms) else { return };
        let Purpose::Alarm { items, .. } = &text.purpose else { return };
        let unnamed: Vec<Item> = items.iter().filter(|item| !item.named).cloned().collect();
        if !unnamed.is_empty() {
            let (user, number) = (text.user.clone().unwrap_or_default(), text.to.clone());
            let events = unnamed.iter().map(|item| item.event).collect();
            self.not_sent(NotSent::Consolidated, &user, &number, among(&unnamed), events);
        }
    }
}

/// What a text would have been about, for the audit log: the alarm, or how many.
fn among(items: &[Item]) -> String {
    match items {
        [item] => item.alarm.to_string(),
        many => format!("{} alarms", many.len()),
    }
}
