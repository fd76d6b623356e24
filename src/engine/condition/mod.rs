//! An alarm as others follow it: a whole snapshot a change, made for the conditions of OPC 10000-9.
//!
//! Nothing is decided here. What happened to an alarm is its own business ([`super::alarm`]); this room says what is to be seen of
//! it, numbers each notification, and finds what a notification's id means. A snapshot is complete: whoever missed one needs
//! only the next. Names, types, limits and other things that the configuration gives are not in it.

mod acts;
mod tell;

pub(super) use self::tell::is_same_quality;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{alarm::Shelving, plan::Role};
use crate::tag::{StatusCode, Timestamp};

/// Names one notification of one alarm, for ever: never given twice, also across restarts.
///
/// As an EventId (Part 9, 5.5.2) it is 24 bytes: the alarm event's UUID, then the number, most significant byte first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct NoticeId {
    /// The alarm event that it tells of; of an alarm that never was active a UUID that it keeps until then.
    pub event: Uuid,
    /// Goes up with every notification of the alarm, its branches included.
    pub number: u64,
}

impl NoticeId {
    /// Bytes of an EventId.
    pub const LENGTH: usize = 24;

    /// As an EventId.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..16].copy_from_slice(self.event.as_bytes());
        bytes[16..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// From an EventId; `None` for one that is none of ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let (event, number) = bytes.split_first_chunk::<16>()?;
        Some(Self { event: Uuid::from_bytes(*event), number: u64::from_be_bytes(number.try_into().ok()?) })
    }
}

/// What a person said of an alarm event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comment {
    /// Empty once it was cleared.
    pub text: String,
    /// Who.
    pub user: String,
    /// When.
    pub at: Timestamp,
}

/// Which limits an active alarm is beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The upper one.
    pub high: bool,
    /// The lower one.
    pub low: bool,
}

/// A snapshot of one alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: Arc<str>,
    /// What holds for the alarm as such.
    pub state: ConditionState,
    /// Its newest event.
    pub trunk: Branch,
    /// Older events that nobody has acknowledged, oldest first: each stays until it is.
    pub branches: Box<[Branch]>,
    /// Branches that this very change ended.
    pub ended: Box<[Branch]>,
    /// Notifications with greater numbers are news; there are none in the first snapshot after a start.
    pub before: u64,
    /// The alarm is no longer configured.
    pub removed: bool,
}

impl Condition {
    /// The notifications that this change made, oldest first.
    pub fn news(&self) -> impl Iterator<Item = &Branch> {
        self.since(self.before)
    }

    /// The notifications after number `number`, oldest first.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Branch> {
        let all = self.ended.iter().chain(&self.branches).chain(std::iter::once(&self.trunk));
        all.filter(move |branch| branch.id.number > number)
    }

    /// The number of the last notification.
    #[must_use]
    pub fn last(&self) -> u64 {
        let all = self.ended.iter().chain(&self.branches).chain(std::iter::once(&self.trunk));
        all.map(|branch| branch.id.number).max().unwrap_or(0)
    }

    /// What is to be seen of an alarm of this severity that nothing ever happened to.
    #[must_use]
    pub fn normal(alarm: Arc<str>, severity: u16) -> Self {
        Self {
            alarm,
            state: ConditionState { severity, ..ConditionState::default() },
            trunk: Branch { acked: true, ..Branch::default() },
            branches: Box::default(),
            ended: Box::default(),
            before: 0,
            removed: false,
        }
    }
}

/// What holds for an alarm as such, whatever its events.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionState {
    /// False while a person has disabled it; then it is out of service too.
    pub enabled: bool,
    /// When that changed; never is null.
    pub enabled_time: Timestamp,
    /// Clear, but kept until it is reset.
    pub latched: bool,
    /// Which limits it is beyond; of limit alarms only.
    pub limits: Limits,
    /// Silenced by a person, for a time.
    pub shelving: Option<Shelving>,
    /// Silenced by the plant's logic.
    pub suppressed: bool,
    /// Silenced by maintenance.
    pub out_of_service: bool,
    /// Of the tag that it watches, as it was when the alarm was last told of; followed closely only while it is retained.
    pub quality: StatusCode,
    /// When that changed.
    pub quality_time: Timestamp,
    /// 1 to 1000.
    pub severity: u16,
    /// The severity before that; zero when it never changed.
    pub last_severity: u16,
    /// When it changed.
    pub severity_time: Timestamp,
}

impl Default for ConditionState {
    fn default() -> Self {
        Self {
            enabled: true,
            enabled_time: Timestamp::NULL,
            latched: false,
            limits: Limits::default(),
            shelving: None,
            suppressed: false,
            out_of_service: false,
            quality: StatusCode::GOOD,
            quality_time: Timestamp::NULL,
            severity: 0,
            last_severity: 0,
            severity_time: Timestamp::NULL,
        }
    }
}

/// One event of an alarm as it was last told of: the newest one, or an older one that waits for its acknowledgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Branch {
    /// Its last notification.
    pub id: NoticeId,
    /// When that was.
    pub time: Timestamp,
    /// The condition is true.
    pub active: bool,
    /// Nothing is left to acknowledge.
    pub acked: bool,
    /// Of interest to whoever looks at what is going on (Part 9, 5.5.2: Retain).
    pub retain: bool,
    /// When it became active, or cleared.
    pub active_time: Timestamp,
    /// When it was acknowledged, or began to wait for it.
    pub acked_time: Timestamp,
    /// The alarm's message, rendered when it became active; empty without one.
    pub message: String,
    /// The last comment.
    pub comment: Option<Comment>,
}

/// A method of a condition (Part 9, 5.5 to 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Acknowledges the event that this notification told of.
    Acknowledge(NoticeId),
    /// Says something of it.
    Comment(NoticeId),
    /// Puts back into service what was disabled.
    Enable,
    /// Takes out of service, and out of sight.
    Disable,
    /// Shelves for a time; not when it is shelved already.
    TimedShelve(Duration),
    /// Shelves until it clears.
    OneShotShelve,
    /// Ends a shelving.
    Unshelve,
    /// Takes out of service.
    RemoveFromService,
    /// Puts back.
    PlaceInService,
    /// Resets a latched alarm.
    Reset,
}

impl Act {
    /// The least role that may do it (SPEC 3).
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Enable | Self::Disable | Self::RemoveFromService | Self::PlaceInService => Role::Engineer,
            Self::Acknowledge(_)
            | Self::Comment(_)
            | Self::TimedShelve(_)
            | Self::OneShotShelve
            | Self::Unshelve
            | Self::Reset => Role::Operator,
        }
    }
}

#[cfg(test)]
mod tests;
