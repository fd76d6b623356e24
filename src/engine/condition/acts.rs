//! The methods of a condition, with the codes that the standard gives them (Part 9, 5.5 to 5.8).
//!
//! They share everything with the other ways to acknowledge, shelve and take out of service; what is here is what only this
//! way knows: that an EventId names one event, that a shelved alarm is not shelved anew, that a disabled one is left alone.

use std::{sync::Arc, time::Duration};

use super::{Act, Comment, NoticeId};
use crate::{
    engine::{
        Engine,
        alarm::{AckScope, Meaning, ShelveRefused, State},
        io::{Actor, Outcome},
        record::{AuditKind, JournalKind},
    },
    tag::StatusCode,
};

/// The longest comment in bytes; what is beyond it is cut off.
pub const MAX_COMMENT: usize = 2_000;

impl Engine {
    /// Carries out a method of the condition of the alarm at `path`. Without a comment the last one stays; an empty one clears it.
    pub(in crate::engine) fn act(&mut self, path: &str, act: Act, comment: Option<&str>, by: &Actor) -> Result<(), Outcome> {
        let index = self.find(path)?;
        if self.alarms[index].alarm.is_disabled() && !matches!(act, Act::Enable | Act::Disable) {
            return Err(refused(StatusCode::BAD_CONDITION_DISABLED, "the alarm is disabled"));
        }
        let comment = comment.map(|comment| shortened(comment, MAX_COMMENT));
        self.carry_out(path, index, act, comment, by)?;
        if comment == Some("") && !matches!(act, Act::Acknowledge(_) | Act::Comment(_)) {
            self.remark(index, None, "", by);
            self.tell(index);
        }
        Ok(())
    }

    fn carry_out(&mut self, path: &str, index: usize, act: Act, comment: Option<&str>, by: &Actor) -> Result<(), Outcome> {
        let note = comment.unwrap_or_default();
        match act {
            Act::Acknowledge(id) => {
                let Meaning::Open(event) = self.meaning(index, id)? else {
                    let words = "that event is acknowledged already, or needs no acknowledgement";
                    return Err(refused(StatusCode::BAD_CONDITION_BRANCH_ALREADY_ACKED, words));
                };
                if note.is_empty() && comment.is_some() {
                    self.remark(index, Some(event), "", by);
                }
                self.acknowledge_path(path, AckScope::Only(event), by, note).map(drop)
            }
            Act::Comment(id) => {
                let (Meaning::Open(event) | Meaning::Over(event)) = self.meaning(index, id)? else { return Ok(()) };
                self.comment(index, event, comment, by);
                Ok(())
            }
            Act::TimedShelve(time) => self.shelve_once(path, index, Some(time), note, by),
            Act::OneShotShelve => self.shelve_once(path, index, None, note, by),
            Act::Unshelve if self.alarms[index].alarm.shelving().is_none() => {
                Err(refused(StatusCode::BAD_CONDITION_NOT_SHELVED, "the alarm is not shelved"))
            }
            Act::Unshelve => self.shelve(path, 0.0, by, note),
            Act::RemoveFromService => self.set_out_of_service(path, true, by, note),
            Act::Disable => self.disable(index, by),
            Act::Enable if !self.alarms[index].alarm.is_disabled() => {
                Err(refused(StatusCode::BAD_CONDITION_ALREADY_ENABLED, "the alarm is enabled"))
            }
            Act::Enable | Act::PlaceInService => self.set_out_of_service(path, false, by, note),
            // Of an older event too: what resets acknowledges nothing.
            Act::Reset
                if self.alarms[index].alarm.state() != State::LatchedAcknowledged
                    || self.alarms[index].alarm.open_events().next().is_some() =>
            {
                let words = "only a latched alarm that is clear and acknowledged can be reset";
                Err(refused(StatusCode::BAD_INVALID_STATE, words))
            }
            Act::Reset => self.acknowledge_path(path, AckScope::All, by, note).map(drop),
        }
    }

    /// Keeps what somebody said of an event; without one, of the newest.
    pub(in crate::engine) fn remark(&mut self, index: usize, event: Option<uuid::Uuid>, text: &str, by: &Actor) {
        let text = shortened(text, MAX_COMMENT).to_owned();
        let comment = Comment { text, user: by.name.clone(), at: self.now };
        self.alarms[index].alarm.comment(event, comment);
    }

    fn meaning(&self, index: usize, id: NoticeId) -> Result<Meaning, Outcome> {
        match self.alarms[index].alarm.meaning(id) {
            Meaning::Unknown => Err(refused(StatusCode::BAD_EVENT_ID_UNKNOWN, "there is no such alarm event")),
            known => Ok(known),
        }
    }

    fn comment(&mut self, index: usize, event: uuid::Uuid, comment: Option<&str>, by: &Actor) {
        let Some(text) = comment else { return };
        self.remark(index, Some(event), text, by);
        let words = if text.is_empty() { "the comment was cleared" } else { text };
        let known = Some(event).filter(|event| self.alarms[index].alarm.knows(*event));
        self.journal_by(index, JournalKind::Commented, known, words, Some(by));
        let path = Arc::clone(&self.plan.alarms[index].path);
        self.audit(AuditKind::Comment, &by.name, by.via, &path, text.to_owned(), "kept", known.into_iter().collect(), None);
        self.tell(index);
    }

    fn shelve_once(&mut self, path: &str, index: usize, time: Option<Duration>, note: &str, by: &Actor) -> Result<(), Outcome> {
        let def = Arc::clone(&self.plan.alarms[index]);
        let alarm = &mut self.alarms[index].alarm;
        if alarm.shelving().is_some() {
            return Err(refused(StatusCode::BAD_CONDITION_ALREADY_SHELVED, "the alarm is shelved already"));
        }
        let Some(time) = time else { return self.shelve_one_shot(path, by, note) };
        if time.is_zero() {
            return Err(refused(StatusCode::BAD_SHELVING_TIME_OUT_OF_RANGE, "a shelving lasts some time"));
        }
        let changes = alarm.shelve(&self.plan, &def, time, self.now).map_err(|why| {
            let words = match why {
                ShelveRefused::NotAllowed => "this alarm may not be shelved".to_owned(),
                ShelveRefused::TooLong { max } => format!("this alarm may be shelved for at most {} s", max.as_secs()),
            };
            Outcome::refused(why.status(), words)
        })?;
        self.silence_changed(index, AuditKind::Shelve, &changes, by, note);
        Ok(())
    }

    fn disable(&mut self, index: usize, by: &Actor) -> Result<(), Outcome> {
        if self.alarms[index].alarm.is_disabled() {
            return Err(refused(StatusCode::BAD_CONDITION_ALREADY_DISABLED, "the alarm is disabled already"));
        }
        let changes = self.alarms[index].alarm.disable();
        self.silence_changed(index, AuditKind::OutOfService, &changes, by, "");
        // It may have been out of service before.
        self.tell(index);
        Ok(())
    }
}

fn refused(status: StatusCode, words: &str) -> Outcome {
    Outcome::refused(status, words)
}

/// The beginning of `text`, whole characters of at most `most` bytes.
fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
