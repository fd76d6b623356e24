//! What is to be seen of an alarm, what of it is news, and which notification told of which event.
//!
//! The newest event is the condition's trunk, with what else holds for the alarm. When a new activation follows an event that
//! nobody has acknowledged, the older one stays as a branch as it was last told of (cleared, unacknowledged), until somebody
//! does: Part 9, B.1.3, but that branching waits for the new activation, since until then nothing has to be told apart.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Alarm, AlarmEvent, Closed};
use crate::{
    engine::{
        condition::{Branch, Comment, Condition, ConditionState, Limits, NoticeId, is_same_quality},
        plan::AlarmDef,
    },
    tag::{StatusCode, Timestamp},
};

/// Numbers that are left out at each start: should the store have lost the last notifications, none of theirs is given again.
const GAP: u64 = 1 << 16;

/// A notification: its number, and when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Notice {
    number: u64,
    time: Timestamp,
}

/// What others were told of an alarm, beside its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// The number of the last notification.
    pub last: u64,
    /// The last one of the trunk.
    trunk: Notice,
    /// Stands for the event while there was none.
    blank: Uuid,
    /// The comment while there was no event.
    comment: Option<Comment>,
    /// Which limits the newest event is beyond.
    limits: Limits,
    /// The severity that was told last; zero before.
    severity: u16,
    last_severity: u16,
    severity_time: Timestamp,
    enabled_time: Timestamp,
    quality: StatusCode,
    quality_time: Timestamp,
}

/// What the alarm itself does not know.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Of its tag.
    pub quality: StatusCode,
    /// By its priority.
    pub severity: u16,
    /// For an alarm without an event.
    pub blank: Uuid,
    /// The present time.
    pub now: Timestamp,
}

/// What an id of a notification means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// This event, which waits for its acknowledgement.
    Open(Uuid),
    /// Something that needs no acknowledgement, or had it.
    Over(Uuid),
    /// Nothing that is remembered.
    Unknown,
}

impl Alarm {
    /// What is to be seen of it, without news.
    #[must_use]
    pub fn condition(&self, def: &AlarmDef, around: &Around) -> Condition {
        let mut condition = Condition {
            alarm: std::sync::Arc::clone(&def.path),
            state: self.condition_state(def, around),
            trunk: self.trunk(),
            branches: self.older.iter().map(|event| self.branch(event)).collect(),
            ended: Box::default(),
            before: 0,
            removed: false,
        };
        condition.before = condition.last();
        condition
    }

    /// What is to be seen of it when that is not what was told `before`; then with new notifications for what changed.
    pub(in crate::engine) fn tell(&mut self, def: &AlarmDef, before: &Condition, around: &Around) -> Option<Condition> {
        let mut new = self.condition(def, around);
        new.before = self.told.last;
        new.ended =
            before.branches.iter().filter(|old| self.older.iter().all(|event| event.id != old.id.event)).cloned().collect();
        for ended in &mut new.ended {
            (ended.retain, ended.acked_time) = (false, around.now);
            let closed = self.closed.iter().find(|closed| closed.id == ended.id.event);
            ended.acked = closed.is_some();
            ended.comment = closed.map_or_else(|| ended.comment.clone(), |closed| closed.comment.clone());
            let notice = self.next_notice(around.now);
            (ended.id.number, ended.time) = (notice.number, notice.time);
        }
        for (place, branch) in new.branches.iter_mut().enumerate() {
            if before.branches.iter().all(|old| old != branch) {
                let notice = self.next_notice(around.now);
                (branch.id.number, branch.time) = (notice.number, notice.time);
                self.older[place].notice = notice;
            }
        }
        if new.trunk != before.trunk || is_news(&new.state, &before.state, new.trunk.retain) {
            self.note_severity(before.state.severity, around);
            if new.state.enabled != before.state.enabled {
                self.told.enabled_time = around.now;
            }
            new.state = self.condition_state(def, around);
            if new.state.quality == before.state.quality {
                new.state.quality_time = before.state.quality_time;
            }
            (self.told.quality, self.told.quality_time) = (new.state.quality, new.state.quality_time);
            if self.newest.is_none() && self.told.blank.is_nil() {
                self.told.blank = around.blank;
            }
            let notice = self.next_notice(around.now);
            self.told.trunk = notice;
            new.trunk = self.trunk();
        } else {
            new.state = before.state.clone();
        }
        (self.told.last > new.before).then_some(new)
    }

    /// The last words on an alarm that is no longer configured.
    pub(in crate::engine) fn farewell(&mut self, before: &Condition, now: Timestamp) -> Condition {
        let first = self.told.last;
        let mut last = Condition {
            before: first,
            removed: true,
            branches: Box::default(),
            ended: before.branches.clone(),
            ..before.clone()
        };
        for branch in last.ended.iter_mut().chain(Some(&mut last.trunk)).filter(|branch| branch.retain) {
            let notice = self.next_notice(now);
            (branch.retain, branch.id.number, branch.time) = (false, notice.number, notice.time);
        }
        last
    }

    /// Which event a notification told of.
    #[must_use]
    pub fn meaning(&self, id: NoticeId) -> Meaning {
        if id.number > self.told.last {
            return Meaning::Unknown;
        }
        match self.event(id.event) {
            Some(event) if event.is_open() && id.number >= event.since => Meaning::Open(id.event),
            Some(_) => Meaning::Over(id.event),
            None if self.closed.iter().any(|closed: &Closed| closed.id == id.event) => Meaning::Over(id.event),
            None if self.told.blank == id.event && !id.event.is_nil() => Meaning::Over(id.event),
            None => Meaning::Unknown,
        }
    }

    /// Somebody said something of an event, or, with `None`, of the newest one. Of one that is not kept any more nothing is.
    pub fn comment(&mut self, event: Option<Uuid>, comment: Comment) {
        let (none, newest) = (self.newest.is_none(), self.newest.as_ref().map_or(self.told.blank, |newest| newest.id));
        let event = event.unwrap_or(newest);
        let kept = self.older.iter_mut().chain(&mut self.newest).find(|kept| kept.id == event);
        let place = match kept {
            Some(event) => Some(&mut event.comment),
            None if none && event == newest => Some(&mut self.told.comment),
            None => self.closed.iter_mut().find(|closed| closed.id == event).map(|closed| &mut closed.comment),
        };
        if let Some(place) = place {
            *place = Some(comment);
        }
    }

    /// The newest event is beyond these limits. True when it was beyond others.
    pub(in crate::engine) fn set_limits(&mut self, limits: Limits) -> bool {
        std::mem::replace(&mut self.told.limits, limits) != limits
    }

    /// What is to be seen of it at a start: what was told last, but for what the configuration changed meanwhile. Of what quality its
    /// tag is nobody knows yet. Room is left in the numbers.
    pub(in crate::engine) fn resume(&mut self, def: &AlarmDef, around: &Around) -> Condition {
        if self.told.last > 0 {
            self.told.last = (self.told.last | (GAP - 1)) + 1;
            self.note_severity(self.told.severity, around);
        } else if self.newest.is_some() {
            // Stored by a program that gave no numbers.
            for place in 0..self.older.len() {
                self.older[place].notice = self.next_notice(around.now);
            }
            self.told.trunk = self.next_notice(around.now);
        }
        let mut condition = self.condition(def, around);
        (condition.state.quality, condition.state.quality_time) = (self.told.quality, self.told.quality_time);
        condition
    }

    fn next_notice(&mut self, now: Timestamp) -> Notice {
        self.told.last += 1;
        Notice { number: self.told.last, time: now }
    }

    fn condition_state(&self, def: &AlarmDef, around: &Around) -> ConditionState {
        ConditionState {
            enabled: !self.disabled,
            enabled_time: self.told.enabled_time,
            latched: def.latching && self.state.is_latched(),
            limits: if self.state.is_active() { self.told.limits } else { Limits::default() },
            shelving: self.shelving.clone(),
            suppressed: self.suppressed,
            out_of_service: self.out_of_service,
            quality: around.quality,
            quality_time: around.now,
            severity: around.severity,
            last_severity: self.told.last_severity,
            severity_time: self.told.severity_time,
        }
    }

    fn note_severity(&mut self, before: u16, around: &Around) {
        if before != 0 && before != around.severity {
            (self.told.last_severity, self.told.severity_time) = (before, around.now);
        }
        self.told.severity = around.severity;
    }

    fn trunk(&self) -> Branch {
        let acked = self.newest.as_ref().is_none_or(|event| !event.is_open());
        let event = self.newest.as_ref();
        let acknowledged = event.and_then(|event| event.acknowledged.as_ref());
        let cleared = event.map(|event| event.cleared).filter(|cleared| !cleared.is_null());
        let raised = event.map(|event| event.raised).unwrap_or_default();
        Branch {
            id: NoticeId { event: event.map_or(self.told.blank, |event| event.id), number: self.told.trunk.number },
            time: self.told.trunk.time,
            active: self.state.is_active(),
            acked,
            retain: !self.disabled && (self.state.is_active() || !acked || self.state.is_latched() || !self.older.is_empty()),
            active_time: cleared.filter(|_| !self.state.is_active()).unwrap_or(raised),
            acked_time: acknowledged.map_or(raised, |by| by.at),
            message: event.map(|event| event.captured.message.clone()).unwrap_or_default(),
            comment: event.map_or_else(|| self.told.comment.clone(), |event| event.comment.clone()),
        }
    }

    fn branch(&self, event: &AlarmEvent) -> Branch {
        Branch {
            id: NoticeId { event: event.id, number: event.notice.number },
            time: event.notice.time,
            active: false,
            acked: false,
            retain: !self.disabled,
            active_time: event.cleared,
            acked_time: event.raised,
            message: event.captured.message.clone(),
            comment: event.comment.clone(),
        }
    }
}

/// Quality and severity are followed only while the alarm is of interest (Part 9, 5.14.2).
fn is_news(new: &ConditionState, before: &ConditionState, retain: bool) -> bool {
    let followed = !is_same_quality(new.quality, before.quality) || new.severity != before.severity;
    let same = ConditionState {
        quality: before.quality,
        quality_time: before.quality_time,
        severity: before.severity,
        last_severity: before.last_severity,
        severity_time: before.severity_time,
        ..new.clone()
    };
    same != *before || retain && followed
}
