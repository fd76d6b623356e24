//! Acknowledging: which events it takes, and what the second person hears. An acknowledgement of an older event never takes a
//! newer one.

use uuid::Uuid;

use super::{Acknowledgement, Alarm, Change, Closed, MAX_CLOSED, State, Stimulus};
use crate::{
    engine::{io::Via, plan::AlarmDef},
    tag::Timestamp,
};

/// Which events an acknowledgement is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckScope {
    /// All that are open; and when none is and the alarm is latched, its reset.
    All,
    /// This one and the open ones before it.
    UpTo(Uuid),
    /// Just this one.
    Only(Uuid),
}

/// Why nothing was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckRefused {
    /// Somebody was first.
    AlreadyAcked {
        /// Who, how, when.
        by: Acknowledgement,
    },
    /// No such event is open, and none that is remembered.
    UnknownEvent,
    /// Nothing is open, and nobody acknowledged the last event either.
    NothingToDo,
}

impl Alarm {
    /// Acknowledges as user `who`. The newest event's acknowledgement moves the state, and starts the time to the re-alarm while
    /// it is still active.
    ///
    /// # Errors
    /// When nothing was acknowledged.
    pub fn acknowledge(
        &mut self,
        def: &AlarmDef,
        scope: AckScope,
        who: &str,
        via: Via,
        now: Timestamp,
    ) -> Result<Vec<Change>, AckRefused> {
        let mut changes = Vec::new();
        let by = Acknowledgement { by: who.to_owned(), via, at: now };
        let (up_to, only) = match scope {
            AckScope::All => (u64::MAX, None),
            AckScope::UpTo(id) => (self.number_of(id).ok_or(AckRefused::UnknownEvent)?, None),
            AckScope::Only(id) => (self.number_of(id).ok_or(AckRefused::UnknownEvent)?, Some(id)),
        };
        self.close(up_to, only, &by, &mut changes);
        if let (AckScope::All, true, Some(newest)) = (scope, changes.is_empty(), &self.newest)
            && self.state == State::LatchedAcknowledged
        {
            changes.push(Change::Reset { event: newest.id });
            self.state = self.state.after(Stimulus::Reset);
        }
        if changes.is_empty() {
            return Err(self.refusal(scope));
        }
        if self.state == State::Acknowledged
            && changes.iter().any(|change| matches!(change, Change::Acknowledged { newest: true, .. }))
        {
            self.re_alarm_at = def.re_alarm_after.map(|after| now + after);
        }
        Ok(changes)
    }

    /// Marks the open events up to number `up_to` (with `only`: just that one) as acknowledged.
    pub(super) fn close(&mut self, up_to: u64, only: Option<Uuid>, by: &Acknowledgement, changes: &mut Vec<Change>) {
        let wanted = |id: Uuid, number: u64| number <= up_to && only.is_none_or(|only| only == id);
        let mut closed = Vec::new();
        self.older.retain(|event| {
            let taken = wanted(event.id, event.number);
            if taken {
                closed.push((event.id, event.number, event.comment.clone(), false));
            }
            !taken
        });
        if let Some(newest) = self.newest.as_mut().filter(|event| event.is_open() && wanted(event.id, event.number)) {
            newest.acknowledged = Some(by.clone());
            closed.push((newest.id, newest.number, newest.comment.clone(), true));
            self.state = self.state.after(Stimulus::Acknowledge);
        }
        for (event, number, comment, newest) in closed {
            if self.closed.len() == MAX_CLOSED {
                self.closed.pop_front();
            }
            self.closed.push_back(Closed { id: event, number, acknowledged: by.clone(), comment });
            changes.push(Change::Acknowledged { event, by: by.clone(), newest });
        }
    }

    fn number_of(&self, id: Uuid) -> Option<u64> {
        let closed = self.closed.iter().find(|closed| closed.id == id).map(|closed| closed.number);
        closed.or_else(|| self.event(id).map(|event| event.number))
    }

    fn refusal(&self, scope: AckScope) -> AckRefused {
        let closed = match scope {
            AckScope::All => {
                let last = self.newest.as_ref().and_then(|event| event.acknowledged.as_ref());
                return last.map_or(AckRefused::NothingToDo, |by| AckRefused::AlreadyAcked { by: by.clone() });
            }
            AckScope::UpTo(id) | AckScope::Only(id) => self.closed.iter().find(|closed| closed.id == id),
        };
        closed.map_or(AckRefused::NothingToDo, |closed| AckRefused::AlreadyAcked { by: closed.acknowledged.clone() })
    }
}
