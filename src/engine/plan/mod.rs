//! The checked configuration that the engine works from.
//!
//! `config` makes it from text, nothing else does; every reference in it is resolved, every limit is inside its range. What
//! survives a reload is keyed by name or path, never by a position in these lists.

mod alarms;
mod notify;
mod people;
mod pipeline;
mod retention;
mod tags;
mod throttle;
mod watching;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use self::{alarms::*, notify::*, people::*, pipeline::*, retention::*, tags::*, throttle::*, watching::*};
use crate::tag::TagId;

/// Settings that only a driver understands: made by its `settings` function, handed back to it.
pub type Settings = Arc<dyn Any + Send + Sync>;

/// Everything that the configuration says, checked.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// `[site] name`, for messages.
    pub site: String,
    /// All tags: configured ones, then the program's own (`System/…`, the variables of alarms). Ids come from [`crate::tag::Names`].
    pub tags: Vec<TagDef>,
    /// Position in `tags`.
    pub tag_index: TagIndex,
    /// All alarms, the system alarms of SPEC 6.4 among them.
    pub alarms: Vec<Arc<AlarmDef>>,
    /// Position in `alarms` by path.
    pub alarm_index: HashMap<Arc<str>, usize>,
    /// Connections to devices.
    pub sources: Vec<Arc<SourceDef>>,
    /// Twilio profiles by name.
    pub twilio: BTreeMap<String, Arc<TwilioDef>>,
    /// Notification profiles by name.
    pub profiles: BTreeMap<String, Arc<ProfileDef>>,
    /// Application events by name.
    pub events: BTreeMap<String, Arc<EventDef>>,
    /// Users by name.
    pub users: BTreeMap<String, Arc<UserDef>>,
    /// Rosters by name: users and rotations in order.
    pub rosters: BTreeMap<String, Vec<String>>,
    /// Schedules by name.
    pub schedules: BTreeMap<String, Arc<Schedule>>,
    /// Rotations by name.
    pub rotations: BTreeMap<String, Arc<Rotation>>,
    /// Days on which schedules do not count.
    pub holidays: Vec<Holiday>,
    /// `[[override]]`, in order; of two for one user the later one counts.
    pub overrides: Vec<Cover>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<String, Arc<PipelineDef>>,
    /// API tokens by name.
    pub tokens: BTreeMap<String, TokenDef>,
    /// `[alarms]`.
    pub alarm_rules: AlarmRules,
    /// `[throttle]`.
    pub throttle: Throttle,
    /// `[people]`.
    pub people: PeopleRules,
    /// `[drill]`.
    pub drill: Option<DrillDef>,
    /// `[heartbeat]`.
    pub heartbeat: Option<HeartbeatDef>,
    /// `[retention]`.
    pub retention: Retention,
    /// Ids of the program's own tags.
    pub system: SystemTags,
}

impl Plan {
    /// The definition of `tag`, unless it was removed.
    #[must_use]
    pub fn tag(&self, tag: TagId) -> Option<&TagDef> {
        self.tag_index.get(tag).map(|index| &self.tags[index])
    }

    /// The tag at `path`.
    #[must_use]
    pub fn tag_at(&self, path: &str) -> Option<&TagDef> {
        self.position(path).map(|position| &self.tags[position])
    }

    /// The position in `tags` of the tag at `path`.
    #[must_use]
    #[inline]
    pub fn position(&self, path: &str) -> Option<usize> {
        self.tag_index.find(path, |position| &self.tags[position].path)
    }

    /// The alarm at `path` (`<tag path>/Alarms/<name>`).
    #[must_use]
    pub fn alarm(&self, path: &str) -> Option<&Arc<AlarmDef>> {
        self.alarm_index.get(path).map(|index| &self.alarms[*index])
    }

    /// Everybody whom this roster can name, through its rotations too; somebody may come twice.
    pub fn roster_users(&self, roster: &str) -> impl Iterator<Item = &Arc<UserDef>> {
        let entries = self.rosters.get(roster).into_iter().flatten();
        let names = entries.flat_map(|entry| match self.rotations.get(entry) {
            Some(rotation) => rotation.users.as_slice(),
            None => std::slice::from_ref(entry),
        });
        names.filter_map(|name| self.users.get(name))
    }

    /// The user whose contact `number` (E.164) is.
    #[must_use]
    pub fn user_by_number(&self, number: &str) -> Option<&Arc<UserDef>> {
        self.users.values().find(|user| user.contacts.iter().any(|contact| contact.number == number))
    }
}

/// Who may do what; each includes the ones before it (SPEC 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    #[default]
    Viewer,
    /// Acknowledges, shelves, sends.
    Operator,
    /// Writes tags, takes out of service, reloads.
    Engineer,
}

impl Role {
    /// The word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
        }
    }
}

/// How urgent an alarm is (SPEC 1), in rising order.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Priority {
    Diagnostic,
    #[default]
    Low,
    Medium,
    High,
    Critical,
}

impl Priority {
    /// All of them, rising.
    pub const ALL: [Self; 5] = [Self::Diagnostic, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Diagnostic => "diagnostic",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that appears in no log, error or answer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A setting that is fixed or that a tag gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Knob<T> {
    /// Fixed.
    Fixed(T),
    /// Taken from a tag at each use; `fallback` when the tag is not usable or out of range.
    Tag {
        /// The tag.
        tag: TagId,
        /// The key's default.
        fallback: T,
    },
}

/// The program's own tags that the engine or the daemon writes, by what stands after `System/Gateway/`, such as
/// `Twilio/MessagesSent`. Users' figures are `Twilio/Users/<name>/<column>`.
#[derive(Clone, Debug, Default)]
pub struct SystemTags(pub HashMap<String, TagId>);

impl SystemTags {
    /// The id of `System/Gateway/<name>`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TagId> {
        self.0.get(name).copied()
    }
}
