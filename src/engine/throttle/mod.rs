//! Few, clear messages (SPEC 7.3): what stands between a notify step's wish and a text in the outbox.

mod compose;
mod consolidate;
mod cooldown;

use uuid::Uuid;

use self::cooldown::Hold;
pub(in crate::engine) use self::{
    compose::{About, short_name},
    consolidate::{Batch, BatchKey, LastText},
};
use super::{
    Engine,
    io::OutboxId,
    outbox::{Item, Purpose, TextState},
    plan::{Notify, Priority},
    record::NotSent,
};

/// Alarms by name in a text of a step that does not consolidate but whose texts meet in a shared cooldown.
const DEFAULT_NAMED: u32 = 5;

impl Engine {
    /// A notify step wants `number` to be told of the alarm at `path`.
    pub(super) fn ask_for_text(&mut self, path: &str, index: usize, notify: &Notify, step: &str, user: &str, number: &str) {
        let priority = self.plan.alarms[index].priority;
        let Some(profile) = self.plan.profiles.get(&notify.profile).cloned() else { return };
        let Some(event) = self.event_to_tell(path) else { return };
        if let Some(row) = self.pending_text(path, event, number) {
            self.bind_waiting(path, number, row);
            return;
        }
        let item = Item { alarm: path.into(), code: self.code_of(path).to_owned(), event, named: false };
        match self.cooldown(path, index, &profile, step, number, event) {
            Hold::Drop => {
                self.not_sent(NotSent::Cooldown, user, number, format!("{path} by {}", profile.name), vec![event]);
                // The contact knows of the event already: the step goes on as if this repeat had been accepted.
                let now = self.now;
                if let Some(waiting) = self.runs.get_mut(path).and_then(|run| run.gathering_mut(number)) {
                    waiting.accepted = Some(now);
                }
            }
            Hold::Until(due) => self.gather(item, &profile, DEFAULT_NAMED, due, priority, user, number),
            Hold::None => match notify.consolidate.filter(|_| priority < Priority::Critical) {
                Some(rules) => {
                    let due = self.gathered_until(rules, &profile.name, number, priority);
                    self.gather(item, &profile, rules.n, due, priority, user, number);
                }
                None => self.send_batch(&profile, user, number, priority, vec![item], 1),
            },
        }
    }

    /// A text to `number` that will name this event or is on its way with it, such as one of an earlier round while Twilio is
    /// away. One that waits is written anew at its next attempt, of the newest event.
    fn pending_text(&self, path: &str, event: Uuid, number: &str) -> Option<OutboxId> {
        let run = self.runs.get(path)?;
        let names_it = |row: &OutboxId| {
            let Some(text) = self.outbox.text(*row).filter(|text| text.to == number && text.state.is_open()) else {
                return false;
            };
            let waits = matches!(text.state, TextState::Queued);
            let Purpose::Alarm { items, .. } = &text.purpose else { return false };
            items.iter().any(|item| (waits || item.event == event) && item.code == run.code && &*item.alarm == path)
        };
        run.rows.iter().rev().copied().find(names_it)
    }

    fn bind_waiting(&mut self, path: &str, number: &str, row: OutboxId) {
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
            Some(Purpose::Answer { .. } | Purpose::Manual) => true,
            None => false,
        }
    }

    /// Texts of one alarm that wait in the outbox may have become needless. A text may stand for thousands of alarms: all of them
    /// are looked at once, at the end of the step.
    pub(super) fn doubt_texts(&mut self, path: &str) {
        let rows = self.runs.get(path).into_iter().flat_map(|run| &run.rows);
        let waiting = |row: &&OutboxId| self.outbox.text(**row).is_some_and(|text| matches!(text.state, TextState::Queued));
        self.dirty.doubtful.extend(rows.filter(waiting));
    }

    /// Cancels the texts that no alarm needs any more.
    pub(super) fn cancel_needless(&mut self) {
        for row in std::mem::take(&mut self.dirty.doubtful) {
            if !self.still_needed(row) {
                self.cancel(row, NotSent::Superseded);
            }
        }
    }
}
