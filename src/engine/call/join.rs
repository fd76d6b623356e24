//! One call at a time: a call to somebody that waits, rings or goes on takes further events along.

use super::{GRACE, Session, Spoken, Stage};
use crate::engine::{
    Engine,
    io::OutboxId,
    outbox::{Item, Purpose, Text},
    plan::{Channel, ProfileDef},
};

/// Events that one call may be about; further ones get a call of their own.
const MAX_ITEMS: usize = 1000;

impl Engine {
    /// Adds `item` to a call by `profile` to `number`; false when there is none.
    pub(in crate::engine) fn join_call(&mut self, profile: &ProfileDef, number: &str, item: &Item) -> bool {
        if profile.channel != Channel::Voice {
            return false;
        }
        let Some(row) = self.call_under_way(profile, number) else { return false };
        let priority = self.plan.alarm(&item.alarm).map(|def| def.priority).unwrap_or_default();
        self.outbox.add_item(row, Item { named: true, ..item.clone() }, priority);
        self.dirty.rows.insert(row);
        self.bind_waiting(&item.alarm, number, row);
        let session = self.calls.iter_mut().find(|(_, session)| session.row == Some(row) && session.is_live());
        let Some((sid, session)) = session else { return true };
        let talking = matches!(session.stage, Stage::Talking(_));
        let mut passed_on = false;
        if talking {
            passed_on = session.add(item);
            self.dirty.calls.insert(sid.clone());
        }
        let now = self.now;
        if let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) {
            run.note_called(number);
            if let Some(waiting) = run.waiting_mut(row) {
                waiting.until = Some(now + GRACE);
                waiting.accepted = talking.then_some(now);
                waiting.failed = passed_on;
            }
        }
        true
    }

    fn call_under_way(&self, profile: &ProfileDef, number: &str) -> Option<OutboxId> {
        let fits = |text: &Text| match &text.purpose {
            Purpose::Alarm { profile: of, items, .. } => text.to == number && *of == profile.name && items.len() < MAX_ITEMS,
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } => false,
        };
        let waiting = self.outbox.open_calls().find(|(_, text)| fits(text)).map(|(row, _)| row);
        waiting.or_else(|| {
            let rows = self.calls.values().filter(|session| session.is_live()).filter_map(|session| session.row);
            rows.into_iter().find(|row| self.outbox.text(*row).is_some_and(fits))
        })
    }
}

impl Session {
    /// A further event, told behind the others. True when the caller has just passed it on: it is for somebody else.
    fn add(&mut self, item: &Item) -> bool {
        let spoken = Spoken::from(item);
        if let Some(old) = self.items.iter_mut().find(|old| old.alarm == spoken.alarm) {
            if old.event == spoken.event {
                return old.settled;
            }
            *old = spoken;
        } else if self.items.len() < super::dialogue::MAX_ITEMS {
            self.items.push(spoken);
        } else {
            self.more += 1;
        }
        false
    }
}
