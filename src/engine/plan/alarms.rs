//! Alarms and `[alarms]` (SPEC 6, 9).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::Priority;
use crate::{
    script::Expression,
    tag::{DataType, TagId, Value},
};

/// An alarm (SPEC 6).
#[derive(Clone, Debug)]
pub struct AlarmDef {
    /// `<tag path>/Alarms/<name>`, unique.
    pub path: Arc<str>,
    /// The last part of the path.
    pub name: Arc<str>,
    /// The tag that it watches; for system alarms a tag of the program.
    pub tag: TagId,
    /// What makes it active.
    pub mode: Mode,
    /// Value hysteresis, in the tag's units.
    pub deadband: f64,
    /// How long the condition must hold.
    pub on_delay: Duration,
    /// How long it must have ended.
    pub off_delay: Duration,
    /// Urgency.
    pub priority: Priority,
    /// The body of its messages, a template, instead of the profile's.
    pub message: String,
    /// Notification when it becomes active.
    pub pipeline: Option<String>,
    /// Tells those who were told when it clears.
    pub clear_pipeline: Option<String>,
    /// Tells those who were told when everything of it is acknowledged.
    pub ack_pipeline: Option<String>,
    /// Who acknowledges.
    pub ack_mode: AckMode,
    /// Stays until reset by an acknowledgement after it has cleared.
    pub latching: bool,
    /// May be shelved.
    pub shelving: bool,
    /// Suppressed while this Boolean tag is true and Good.
    pub suppressed_by: Option<TagId>,
    /// Associated data.
    pub data: BTreeMap<String, String>,
    /// Writes the acknowledgement to the PLC.
    pub write_back: Option<WriteBack>,
    /// Takes an acknowledgement from the PLC.
    pub ack_from: Option<AckFrom>,
    /// Notifies again when still active this long after its acknowledgement.
    pub re_alarm_after: Option<Duration>,
    /// Its plain variables.
    pub nodes: AlarmNodes,
}

/// When an alarm is active (SPEC 6.1).
#[derive(Clone, Debug)]
pub enum Mode {
    /// Value equals the setpoint.
    Equal(Setpoint),
    /// Value differs from the setpoint.
    NotEqual(Setpoint),
    /// Value above the setpoint.
    Above(Limit),
    /// Value below the setpoint.
    Below(Limit),
    /// Value between two setpoints.
    Between(Limit, Limit),
    /// Value below the first or above the second setpoint.
    Outside(Limit, Limit),
    /// Value outside the tag's `range`.
    OutOfRange,
    /// The tag's own quality is Bad while its source is connected.
    BadQuality,
    /// Every change of value; momentary, never stays active.
    AnyChange,
    /// A bit of an integer value.
    Bit {
        /// 0 is the least significant.
        position: u32,
        /// Active on zero instead of one.
        on_zero: bool,
    },
    /// An expression is true.
    Condition(Arc<Expression>),
    /// Magnitude of change per second over a window exceeds the setpoint; a negative setpoint watches falling.
    RateOfChange {
        /// Units per second.
        setpoint: Limit,
        /// The span over which the slope is taken.
        window: Duration,
    },
    /// Raised and cleared by the engine itself (SPEC 6.4).
    System,
}

/// A setpoint that is compared by order.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The number.
    pub setpoint: Setpoint,
    /// Equality counts as beyond.
    pub inclusive: bool,
}

/// A constant or a number that other tags give.
#[derive(Clone, Debug)]
pub enum Setpoint {
    /// Fixed.
    Constant(Value),
    /// `tag(path)` and arithmetic on it.
    Expression(Arc<Expression>),
}

/// Who acknowledges (SPEC 6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// A person.
    #[default]
    Manual,
    /// Acknowledged when it clears.
    Auto,
    /// Never unacknowledged.
    Unused,
}

/// Writing an acknowledgement back to the PLC (SPEC 9).
#[derive(Clone, Debug)]
pub struct WriteBack {
    /// The target; writable.
    pub tag: TagId,
    /// What is written.
    pub mode: WriteBackMode,
    /// For `set` and the first half of `pulse`.
    pub value: Value,
    /// How long a pulse holds.
    pub hold: Duration,
    /// Gets the acknowledging user's name.
    pub user_tag: Option<TagId>,
    /// Gets the code.
    pub code_tag: Option<TagId>,
    /// Gets the time.
    pub time_tag: Option<TagId>,
    /// Replaces the read-back: confirmed when this tag takes this value.
    pub confirm: Option<(TagId, Value)>,
}

/// How an acknowledgement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum WriteBackMode {
    Set,
    Pulse,
    Toggle,
    Increment,
}

/// The PLC acknowledges by changing `tag` to `value`.
#[derive(Clone, Debug)]
pub struct AckFrom {
    /// Watched.
    pub tag: TagId,
    /// The value that acknowledges.
    pub value: Value,
}

/// The plain variables of an alarm: consecutive ids in the order of [`AlarmNode`].
#[derive(Clone, Copy, Debug)]
pub struct AlarmNodes {
    /// Id of the first.
    pub first: TagId,
}

impl AlarmNodes {
    /// The id of one of them.
    #[must_use]
    pub const fn id(self, node: AlarmNode) -> TagId {
        TagId(self.first.0 + node as u32)
    }
}

/// The plain variables of an alarm (SPEC 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AlarmNode {
    Active,
    Acked,
    Shelved,
    State,
    Priority,
    ActiveTime,
    AckTime,
    AckUser,
    EventId,
    Ack,
    AckEvent,
    Shelve,
}

impl AlarmNode {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 12] = [
        Self::Active,
        Self::Acked,
        Self::Shelved,
        Self::State,
        Self::Priority,
        Self::ActiveTime,
        Self::AckTime,
        Self::AckUser,
        Self::EventId,
        Self::Ack,
        Self::AckEvent,
        Self::Shelve,
    ];

    /// Name, type, and whether role operator may write it.
    #[must_use]
    pub const fn describe(self) -> (&'static str, DataType, bool) {
        match self {
            Self::Active => ("Active", DataType::Boolean, false),
            Self::Acked => ("Acked", DataType::Boolean, false),
            Self::Shelved => ("Shelved", DataType::Boolean, false),
            Self::State => ("State", DataType::String, false),
            Self::Priority => ("Priority", DataType::Int32, false),
            Self::ActiveTime => ("ActiveTime", DataType::DateTime, false),
            Self::AckTime => ("AckTime", DataType::DateTime, false),
            Self::AckUser => ("AckUser", DataType::String, false),
            Self::EventId => ("EventId", DataType::String, false),
            Self::Ack => ("Ack", DataType::Boolean, true),
            Self::AckEvent => ("AckEvent", DataType::String, true),
            Self::Shelve => ("Shelve", DataType::Double, true),
        }
    }
}

/// `[alarms]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmRules {
    /// Alarms already active at the very first start are notified.
    pub notify_initial: bool,
    /// How long a needed tag may be unusable.
    pub unusable_after: Duration,
    /// Pipeline of the system alarms.
    pub system_pipeline: Option<String>,
    /// Longest shelving by priority, in the order of [`Priority::ALL`].
    pub max_shelve: [Duration; 5],
    /// What OPC UA clients see as urgency, 1 to 1000, by priority in the order of [`Priority::ALL`] (Part 9, 4.6).
    pub severity: [u16; 5],
    /// How long a write-back is tried.
    pub ack_timeout: Duration,
    /// From a pipeline's last message to NobodyReached.
    pub unanswered_after: Duration,
    /// Roster that NobodyReached tells.
    pub fallback: Option<String>,
}

impl Default for AlarmRules {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            notify_initial: true,
            unusable_after: Duration::from_secs(60),
            system_pipeline: None,
            max_shelve: [minutes(1440), minutes(1440), minutes(480), minutes(120), minutes(30)],
            severity: [100, 300, 500, 700, 900],
            ack_timeout: Duration::from_secs(60),
            unanswered_after: minutes(10),
            fallback: None,
        }
    }
}
