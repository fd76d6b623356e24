//! One alarm: the ISA-18.2 machine with its events, and beside it shelving, suppression, out of service and chatter.
//!
//! It knows neither pipelines nor texts: it says what happened as [`Change`]s, and the engine makes journal records, published
//! nodes and notification out of them. What makes it active is the detector's business. [`Alarm`] is its own durable row.

mod ack;
mod chatter;
mod notice;
mod silence;
mod table;

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    ack::{AckRefused, AckScope},
    notice::{Around, Meaning},
    silence::{ShelveRefused, Shelving, suppresses},
    table::{State, Stimulus},
};
use self::{
    chatter::Chattering,
    notice::{Notice, Told},
};
use super::{
    condition::{Comment, Limits},
    detect::Flank,
    io::Via,
    plan::{AckMode, AlarmDef, Plan},
    random::Random,
    record::JournalKind,
    view::AlarmView,
};
use crate::tag::{Timestamp, Value};

/// The most unacknowledged events of one alarm; beyond it the oldest is merged into the next.
pub const MAX_OPEN: usize = 64;
/// The most acknowledged events that are remembered, to tell a second person who was first.
pub const MAX_CLOSED: usize = 32;

/// One alarm's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alarm {
    state: State,
    /// Unacknowledged events before the newest, oldest first.
    older: VecDeque<AlarmEvent>,
    /// The present or last event.
    newest: Option<AlarmEvent>,
    /// Acknowledged events, oldest first.
    closed: VecDeque<Closed>,
    /// The number of the newest event.
    count: u64,
    shelving: Option<Shelving>,
    suppressed: bool,
    out_of_service: bool,
    /// Out of service, and out of sight too.
    disabled: bool,
    chattering: Chattering,
    re_alarm_at: Option<Timestamp>,
    told: Told,
}

/// One activation of an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmEvent {
    /// Never given twice.
    pub id: Uuid,
    /// Counts the activations of this alarm from one on; a later one is greater.
    pub number: u64,
    /// When it became active.
    pub raised: Timestamp,
    /// When it cleared.
    pub cleared: Timestamp,
    /// How it was acknowledged.
    pub acknowledged: Option<Acknowledgement>,
    /// False with ack mode `unused`.
    pub needs_ack: bool,
    /// How many older events were merged into this one, to keep within [`MAX_OPEN`].
    pub merged: u64,
    /// What was found when it became active.
    pub captured: Captured,
    /// What somebody said of it last.
    #[serde(default)]
    pub comment: Option<Comment>,
    /// Notifications before this one belong to earlier events, or to this one before it was acknowledged and alarmed again.
    #[serde(default)]
    since: u64,
    /// Its last notification as an older event.
    #[serde(default)]
    notice: Notice,
}

impl AlarmEvent {
    /// Somebody should still acknowledge it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.needs_ack && self.acknowledged.is_none()
    }
}

/// What an event keeps from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// The tag's value.
    pub value: Value,
    /// The alarm's message, rendered.
    pub message: String,
    /// Associated data.
    pub data: BTreeMap<String, String>,
}

/// Who acknowledged, how and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// User, program, `PLC` or `system`.
    pub by: String,
    /// Through what.
    pub via: Via,
    /// When.
    pub at: Timestamp,
}

/// An acknowledged event, for those who come second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Closed {
    id: Uuid,
    number: u64,
    acknowledged: Acknowledgement,
    #[serde(default)]
    comment: Option<Comment>,
}

/// Something that happened to an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Became active: a new event.
    Raised {
        /// The event.
        event: Uuid,
        /// People are to be told: not an initial one with `notify_initial = false`, not silent, not held for chatter.
        notify: bool,
        /// Earlier events are unacknowledged: it joins their notification run.
        joined: bool,
    },
    /// There were too many unacknowledged events: the oldest was merged into the next.
    Merged {
        /// The oldest; it cannot be acknowledged by itself any more.
        event: Uuid,
        /// It is acknowledged together with this one.
        into: Uuid,
    },
    /// Is no longer active.
    Cleared {
        /// The event.
        event: Uuid,
    },
    /// Cleared, but stays until it is reset.
    Latched {
        /// The event.
        event: Uuid,
    },
    /// An event was acknowledged.
    Acknowledged {
        /// The event.
        event: Uuid,
        /// Who, how, when.
        by: Acknowledgement,
        /// It is the newest event; else only an older one of the run.
        newest: bool,
    },
    /// A latched alarm was reset.
    Reset {
        /// The event.
        event: Uuid,
    },
    /// Still active long after its acknowledgement: the event is unacknowledged again and people are to be told anew.
    ReAlarmed {
        /// The event.
        event: Uuid,
        /// False while it is silent.
        notify: bool,
    },
    /// Shelved, or shelved anew.
    Shelved {
        /// When it ends at the latest.
        until: Timestamp,
        /// Ends when the alarm clears.
        one_shot: bool,
    },
    /// No longer shelved.
    Unshelved,
    /// The plant's logic silences it.
    Suppressed,
    /// It does no longer.
    Unsuppressed,
    /// Maintenance silences it.
    OutOfService,
    /// It does no longer.
    InService,
    /// It activates too often, or does no longer.
    Chattering(bool),
    /// The last kind of silence (shelved, suppressed, out of service, held for chatter) has ended.
    SilenceEnded {
        /// It is active and unacknowledged: its pipeline starts at step 1.
        notify: bool,
    },
    /// It is no longer configured.
    Removed,
}

impl Change {
    /// The event that it is about; `None` for what belongs to the alarm as such.
    #[must_use]
    pub const fn event(&self) -> Option<Uuid> {
        match self {
            Self::Raised { event, .. }
            | Self::Merged { event, .. }
            | Self::Cleared { event }
            | Self::Latched { event }
            | Self::Acknowledged { event, .. }
            | Self::Reset { event }
            | Self::ReAlarmed { event, .. } => Some(*event),
            Self::Shelved { .. }
            | Self::Unshelved
            | Self::Suppressed
            | Self::Unsuppressed
            | Self::OutOfService
            | Self::InService
            | Self::Chattering(_)
            | Self::SilenceEnded { .. }
            | Self::Removed => None,
        }
    }

    /// What it is in the journal; `None` for what only steers the notification.
    #[must_use]
    pub const fn journal_kind(&self) -> Option<JournalKind> {
        Some(match self {
            Self::Raised { .. } => JournalKind::Raised,
            Self::Cleared { .. } => JournalKind::Cleared,
            Self::Latched { .. } => JournalKind::Latched,
            Self::Acknowledged { .. } => JournalKind::Acknowledged,
            Self::Reset { .. } => JournalKind::Reset,
            Self::ReAlarmed { .. } => JournalKind::ReAlarmed,
            Self::Shelved { .. } => JournalKind::Shelved,
            Self::Unshelved => JournalKind::Unshelved,
            Self::Suppressed => JournalKind::Suppressed,
            Self::Unsuppressed => JournalKind::Unsuppressed,
            Self::OutOfService => JournalKind::OutOfService,
            Self::InService => JournalKind::InService,
            Self::Chattering(true) => JournalKind::Chattering,
            Self::Removed => JournalKind::Removed,
            Self::Merged { .. } | Self::Chattering(false) | Self::SilenceEnded { .. } => return None,
        })
    }
}

impl Alarm {
    /// The detector found a flank. `captured` is for a new event, `rng` gives its id.
    pub fn flank(
        &mut self,
        plan: &Plan,
        def: &AlarmDef,
        flank: Flank,
        captured: Captured,
        now: Timestamp,
        rng: &mut Random,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        match flank {
            Flank::Raise { initial } => {
                let wanted = !initial || plan.alarm_rules.notify_initial;
                self.raise(plan, def, wanted, captured, now, rng, &mut changes);
            }
            Flank::Clear => self.clear(def, now, &mut changes),
            Flank::Change => {
                self.raise(plan, def, true, captured, now, rng, &mut changes);
                self.clear(def, now, &mut changes);
            }
        }
        changes
    }

    /// Time has passed: shelving, chatter or its hold may be over, a re-alarm may be due.
    pub fn tick(&mut self, plan: &Plan, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let silent = self.is_silent();
        if self.shelving.as_ref().is_some_and(|shelving| shelving.until <= now) {
            self.shelving = None;
            changes.push(Change::Unshelved);
        }
        if let Some(rules) = &plan.throttle.chatter {
            let ended = self.chattering.tick(rules, now);
            changes.extend(ended.then_some(Change::Chattering(false)));
        }
        if self.re_alarm_at.is_some_and(|at| at <= now) {
            self.re_alarm(&mut changes);
        }
        let held = self.chattering.take_held(plan.throttle.chatter.as_ref(), now);
        if !self.is_silent() && (silent || held && self.state == State::Unacknowledged) {
            changes.push(self.silence_ended());
        }
        changes
    }

    /// When [`Alarm::tick`] is wanted next.
    #[must_use]
    pub fn due(&self, plan: &Plan) -> Option<Timestamp> {
        let shelving = self.shelving.as_ref().map(|shelving| shelving.until);
        let chatter = plan.throttle.chatter.as_ref().and_then(|rules| self.chattering.due(rules));
        [shelving, chatter, self.re_alarm_at].into_iter().flatten().min()
    }

    /// The alarm is no longer configured: what was open is over. Its row can go.
    pub fn remove(&mut self) -> Vec<Change> {
        *self = Self::default();
        vec![Change::Removed]
    }

    /// The state of its newest event.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What the plain variable `State` shows.
    #[must_use]
    pub const fn state_name(&self) -> &'static str {
        self.state.name()
    }

    /// The present or last event.
    #[must_use]
    pub const fn newest(&self) -> Option<&AlarmEvent> {
        self.newest.as_ref()
    }

    /// The unacknowledged events, oldest first.
    #[must_use]
    pub fn open_events(&self) -> impl DoubleEndedIterator<Item = &AlarmEvent> {
        self.older.iter().chain(&self.newest).filter(|event| event.is_open())
    }

    /// The event with this id, if it is open or the newest.
    #[must_use]
    pub fn event(&self, id: Uuid) -> Option<&AlarmEvent> {
        self.older.iter().chain(&self.newest).find(|event| event.id == id)
    }

    /// When this event was acknowledged, as far as that is remembered.
    #[must_use]
    pub fn ended(&self, id: Uuid) -> Option<Timestamp> {
        self.closed.iter().find(|closed| closed.id == id).map(|closed| closed.acknowledged.at)
    }

    /// True for an event that can be acknowledged, or of which it can be said who did: open, the newest, or remembered.
    #[must_use]
    pub fn knows(&self, id: Uuid) -> bool {
        self.event(id).is_some() || self.closed.iter().any(|closed| closed.id == id)
    }

    /// The newest event was not told because the alarm chatters.
    pub(super) const fn is_held(&self) -> bool {
        self.chattering.is_held()
    }

    /// It activates too often.
    #[must_use]
    pub const fn is_chattering(&self) -> bool {
        self.chattering.is_marked()
    }

    /// What can be said of it here; the notification's part (`code`, `notification`) is left empty.
    #[must_use]
    pub fn view(&self, def: &AlarmDef) -> AlarmView {
        let event = self.newest.as_ref();
        let acknowledged = event.and_then(|event| event.acknowledged.as_ref());
        AlarmView {
            path: Arc::clone(&def.path),
            priority: def.priority,
            state: self.state_name(),
            latched: self.state.is_latched(),
            shelved_until: self.shelving.as_ref().map(|shelving| shelving.until),
            suppressed: self.suppressed,
            out_of_service: self.out_of_service,
            chattering: self.is_chattering(),
            event: event.map(|event| event.id),
            active_time: event.map(|event| event.raised).unwrap_or_default(),
            clear_time: event.map(|event| event.cleared).unwrap_or_default(),
            ack_time: acknowledged.map(|by| by.at).unwrap_or_default(),
            ack_user: acknowledged.map(|by| by.by.clone()).unwrap_or_default(),
            value: event.map(|event| event.captured.value.to_string()).unwrap_or_default(),
            message: event.map(|event| event.captured.message.clone()).unwrap_or_default(),
            code: None,
            notification: String::new(),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn raise(
        &mut self,
        plan: &Plan,
        def: &AlarmDef,
        wanted: bool,
        captured: Captured,
        now: Timestamp,
        rng: &mut Random,
        changes: &mut Vec<Change>,
    ) {
        if self.state.is_active() {
            return;
        }
        let needs_ack = def.ack_mode != AckMode::Unused;
        self.state = self.state.after(if needs_ack { Stimulus::Raise } else { Stimulus::RaiseUnused });
        self.re_alarm_at = None;
        if let Some(previous) = self.newest.take().filter(AlarmEvent::is_open) {
            self.older.push_back(previous);
        }
        let merged = self.merge();
        self.set_limits(Limits::default());
        self.count += 1;
        let event = rng.uuid();
        self.newest = Some(AlarmEvent {
            id: event,
            number: self.count,
            raised: now,
            cleared: Timestamp::NULL,
            acknowledged: None,
            needs_ack,
            merged: 0,
            captured,
            comment: None,
            since: self.told.last + 1,
            notice: Notice::default(),
        });
        let (marked, held) = match &plan.throttle.chatter {
            Some(rules) => self.chattering.activation(rules, now, wanted && !self.is_silent()),
            None => (false, false),
        };
        let notify = wanted && !held && !self.is_silent();
        changes.push(Change::Raised { event, notify, joined: !self.older.is_empty() });
        changes.extend(merged);
        changes.extend(marked.then_some(Change::Chattering(true)));
    }

    fn merge(&mut self) -> Option<Change> {
        // The newest event is one of the open ones too.
        if self.older.len() < MAX_OPEN {
            return None;
        }
        let oldest = self.older.pop_front()?;
        let next = self.older.front_mut()?;
        next.merged += oldest.merged + 1;
        Some(Change::Merged { event: oldest.id, into: next.id })
    }

    fn clear(&mut self, def: &AlarmDef, now: Timestamp, changes: &mut Vec<Change>) {
        let Some(newest) = self.newest.as_mut().filter(|_| self.state.is_active()) else { return };
        let silent = self.shelving.is_some() || self.suppressed || self.out_of_service;
        let event = newest.id;
        newest.cleared = now;
        self.re_alarm_at = None;
        let auto = def.ack_mode == AckMode::Auto;
        self.state = self.state.after(match (def.latching, auto) {
            (false, false) => Stimulus::Clear,
            (false, true) => Stimulus::ClearAuto,
            (true, false) => Stimulus::Latch,
            (true, true) => Stimulus::LatchAuto,
        });
        changes.push(Change::Cleared { event });
        if self.state.is_latched() {
            changes.push(Change::Latched { event });
        }
        if auto {
            let by = Acknowledgement { by: "system".to_owned(), via: Via::System, at: now };
            self.close(u64::MAX, None, &by, changes);
        }
        if self.shelving.as_ref().is_some_and(|shelving| shelving.one_shot) {
            self.shelving = None;
            changes.push(Change::Unshelved);
            if silent && !self.is_silent() {
                changes.push(self.silence_ended());
            }
        }
    }

    fn silence_ended(&mut self) -> Change {
        self.chattering.forget_held();
        Change::SilenceEnded { notify: self.state == State::Unacknowledged }
    }

    fn re_alarm(&mut self, changes: &mut Vec<Change>) {
        self.re_alarm_at = None;
        let silent = self.is_silent();
        let Some(newest) = self.newest.as_mut().filter(|_| self.state == State::Acknowledged) else { return };
        self.state = self.state.after(Stimulus::ReAlarm);
        newest.acknowledged = None;
        newest.since = self.told.last + 1;
        let event = newest.id;
        self.closed.retain(|closed| closed.id != event);
        changes.push(Change::ReAlarmed { event, notify: !silent });
    }
}

#[cfg(test)]
mod tests;
