//! Which members the condition of an alarm has: its type, and the list of what hangs on it (Part 9, 5.5 to 5.8), as it is browsed
//! and as its events carry it.
//!
//! What is deliberately absent: ConfirmedState (nothing is confirmed here), SilenceState and AudibleSound, groups, dialogs.

use crate::{
    engine::plan::{AlarmDef, Mode, Plan, TagDef},
    tag::DataType,
};

/// Types of conditions that alarms have (SPEC 5), ids of namespace 0.
pub mod types {
    #![allow(missing_docs)]
    pub const EXCLUSIVE_LEVEL: u32 = 9_482;
    pub const EXCLUSIVE_RATE_OF_CHANGE: u32 = 9_623;
    pub const NON_EXCLUSIVE_LEVEL: u32 = 10_060;
    pub const DISCRETE: u32 = 10_523;
    pub const OFF_NORMAL: u32 = 10_637;
    pub const SYSTEM_OFF_NORMAL: u32 = 11_753;
    pub const CERTIFICATE_EXPIRATION: u32 = 13_225;
}

/// The system alarm that tells of the server's own certificate.
pub const CERTIFICATE_ALARM: &str = "System/Gateway/Alarms/CertificateExpiration";

/// The type of the alarm's condition; `tag` is the one that it watches.
#[must_use]
pub fn event_type(def: &AlarmDef, tag: Option<&TagDef>) -> u32 {
    let is_boolean = || tag.is_some_and(|tag| tag.value_type.data_type == DataType::Boolean);
    match &def.mode {
        Mode::Above(_) | Mode::Below(_) => types::EXCLUSIVE_LEVEL,
        Mode::Between(..) | Mode::Outside(..) | Mode::OutOfRange => types::NON_EXCLUSIVE_LEVEL,
        Mode::RateOfChange { .. } => types::EXCLUSIVE_RATE_OF_CHANGE,
        Mode::Bit { .. } => types::OFF_NORMAL,
        Mode::Equal(_) if is_boolean() => types::OFF_NORMAL,
        Mode::System if &*def.path == CERTIFICATE_ALARM => types::CERTIFICATE_EXPIRATION,
        Mode::System => types::SYSTEM_OFF_NORMAL,
        Mode::Equal(_) | Mode::NotEqual(_) | Mode::BadQuality | Mode::AnyChange | Mode::Condition(_) => types::DISCRETE,
    }
}

/// As [`event_type`], with the tag found in `plan`.
#[must_use]
pub fn event_type_in(plan: &Plan, def: &AlarmDef) -> u32 {
    event_type(def, plan.tag(def.tag).map(AsRef::as_ref))
}

/// A member of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Browse path from the condition, names of namespace 0 joined by `/`; whatever it hangs on stands before it in the list.
    pub path: &'static str,
    /// What it is.
    pub kind: MemberKind,
    /// Which conditions have it.
    when: When,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A PropertyType variable of this DataType, by HasProperty.
    Property(u32),
    /// A TwoStateVariableType (8995): LocalizedText, by HasComponent.
    TwoState,
    /// A ConditionVariableType (9002) of this DataType, by HasComponent.
    ConditionVariable(u32),
    /// A FiniteStateVariableType (2760): LocalizedText, by HasComponent.
    CurrentState,
    /// An object of this type, by HasComponent.
    Object(u32),
    /// A method, by HasComponent; this is its declaration on the type.
    Method(u32),
}

impl MemberKind {
    /// The DataType of a variable.
    #[must_use]
    pub const fn data_type(self) -> Option<u32> {
        match self {
            Self::Property(data_type) | Self::ConditionVariable(data_type) => Some(data_type),
            Self::TwoState | Self::CurrentState => Some(LOCALIZED_TEXT),
            Self::Object(_) | Self::Method(_) => None,
        }
    }

    /// The type definition of a variable or object.
    #[must_use]
    pub const fn type_definition(self) -> Option<u32> {
        match self {
            Self::Property(_) => Some(68),
            Self::TwoState => Some(8_995),
            Self::ConditionVariable(_) => Some(9_002),
            Self::CurrentState => Some(2_760),
            Self::Object(kind) => Some(kind),
            Self::Method(_) => None,
        }
    }
}

/// Which conditions have a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Shelving,
    Latching,
    Suppressed,
    ReAlarming,
    /// Has an upper limit.
    High,
    /// Has a lower limit.
    Low,
    HighDeadband,
    LowDeadband,
    Exclusive,
    NonExclusive,
    OffNormal,
    Certificate,
}

const BOOLEAN: u32 = 1;
const UINT16: u32 = 5;
const DOUBLE: u32 = 11;
const STRING: u32 = 12;
const DATE_TIME: u32 = 13;
const BYTE_STRING: u32 = 15;
const NODE_ID: u32 = 17;
const STATUS_CODE: u32 = 19;
const LOCALIZED_TEXT: u32 = 21;
const DURATION: u32 = 290;
const UTC_TIME: u32 = 294;

const fn member(path: &'static str, kind: MemberKind, when: When) -> Member {
    Member { path, kind, when }
}

/// All members that conditions of ours may have. [`members`] gives those of one.
pub static MEMBERS: &[Member] = {
    use MemberKind::{ConditionVariable, CurrentState, Method, Object, Property, TwoState};
    use When::{
        Always, Certificate, Exclusive, High, HighDeadband, Latching, Low, LowDeadband, NonExclusive, OffNormal, ReAlarming,
        Shelving, Suppressed,
    };
    &[
        // BaseEventType (Part 5, 6.4.2).
        member("EventId", Property(BYTE_STRING), Always),
        member("EventType", Property(NODE_ID), Always),
        member("SourceNode", Property(NODE_ID), Always),
        member("SourceName", Property(STRING), Always),
        member("Time", Property(UTC_TIME), Always),
        member("ReceiveTime", Property(UTC_TIME), Always),
        member("Message", Property(LOCALIZED_TEXT), Always),
        member("Severity", Property(UINT16), Always),
        // ConditionType (5.5.2).
        member("ConditionClassId", Property(NODE_ID), Always),
        member("ConditionClassName", Property(LOCALIZED_TEXT), Always),
        member("ConditionName", Property(STRING), Always),
        member("BranchId", Property(NODE_ID), Always),
        member("Retain", Property(BOOLEAN), Always),
        member("EnabledState", TwoState, Always),
        member("EnabledState/Id", Property(BOOLEAN), Always),
        member("Quality", ConditionVariable(STATUS_CODE), Always),
        member("Quality/SourceTimestamp", Property(UTC_TIME), Always),
        member("LastSeverity", ConditionVariable(UINT16), Always),
        member("LastSeverity/SourceTimestamp", Property(UTC_TIME), Always),
        member("Comment", ConditionVariable(LOCALIZED_TEXT), Always),
        member("Comment/SourceTimestamp", Property(UTC_TIME), Always),
        member("ClientUserId", Property(STRING), Always),
        member("Enable", Method(9_027), Always),
        member("Disable", Method(9_028), Always),
        member("AddComment", Method(9_029), Always),
        // AcknowledgeableConditionType (5.7.2).
        member("AckedState", TwoState, Always),
        member("AckedState/Id", Property(BOOLEAN), Always),
        member("AckedState/TransitionTime", Property(UTC_TIME), Always),
        member("Acknowledge", Method(9_111), Always),
        // AlarmConditionType (5.8.2).
        member("ActiveState", TwoState, Always),
        member("ActiveState/Id", Property(BOOLEAN), Always),
        member("ActiveState/TransitionTime", Property(UTC_TIME), Always),
        member("InputNode", Property(NODE_ID), Always),
        member("SuppressedState", TwoState, Suppressed),
        member("SuppressedState/Id", Property(BOOLEAN), Suppressed),
        member("OutOfServiceState", TwoState, Always),
        member("OutOfServiceState/Id", Property(BOOLEAN), Always),
        member("RemoveFromService", Method(17_869), Always),
        member("PlaceInService", Method(17_870), Always),
        member("RemoveFromService2", Method(24_320), Always),
        member("PlaceInService2", Method(24_322), Always),
        member("ShelvingState", Object(2_929), Shelving),
        member("ShelvingState/CurrentState", CurrentState, Shelving),
        member("ShelvingState/CurrentState/Id", Property(NODE_ID), Shelving),
        member("ShelvingState/UnshelveTime", Property(DURATION), Shelving),
        member("ShelvingState/Unshelve", Method(9_211), Shelving),
        member("ShelvingState/OneShotShelve", Method(9_212), Shelving),
        member("ShelvingState/TimedShelve", Method(9_213), Shelving),
        member("ShelvingState/Unshelve2", Method(24_758), Shelving),
        member("ShelvingState/OneShotShelve2", Method(24_760), Shelving),
        member("ShelvingState/TimedShelve2", Method(24_756), Shelving),
        member("SuppressedOrShelved", Property(BOOLEAN), Always),
        member("MaxTimeShelved", Property(DURATION), Shelving),
        member("LatchedState", TwoState, Latching),
        member("LatchedState/Id", Property(BOOLEAN), Latching),
        member("Reset", Method(18_199), Latching),
        member("Reset2", Method(24_324), Latching),
        member("OnDelay", Property(DURATION), Always),
        member("OffDelay", Property(DURATION), Always),
        member("ReAlarmTime", Property(DURATION), ReAlarming),
        // LimitAlarmType (5.8.18) and its two families.
        member("HighLimit", Property(DOUBLE), High),
        member("LowLimit", Property(DOUBLE), Low),
        member("HighDeadband", Property(DOUBLE), HighDeadband),
        member("LowDeadband", Property(DOUBLE), LowDeadband),
        member("LimitState", Object(9_318), Exclusive),
        member("LimitState/CurrentState", CurrentState, Exclusive),
        member("LimitState/CurrentState/Id", Property(NODE_ID), Exclusive),
        member("HighState", TwoState, NonExclusive),
        member("HighState/Id", Property(BOOLEAN), NonExclusive),
        member("LowState", TwoState, NonExclusive),
        member("LowState/Id", Property(BOOLEAN), NonExclusive),
        // OffNormalAlarmType (5.8.23.2) and CertificateExpirationAlarmType (5.8.23.7).
        member("NormalState", Property(NODE_ID), OffNormal),
        member("ExpirationDate", Property(DATE_TIME), Certificate),
        member("CertificateType", Property(NODE_ID), Certificate),
        member("Certificate", Property(BYTE_STRING), Certificate),
    ]
};

/// The members of the alarm's condition, what they hang on first; `tag` is the one that it watches.
pub fn members(def: &AlarmDef, tag: Option<&TagDef>) -> impl Iterator<Item = &'static Member> {
    let kind = event_type(def, tag);
    let (low, high) = limits(def);
    let (shelving, latching, suppressed) = (def.shelving, def.latching, def.suppressed_by.is_some());
    let (re_alarming, deadband) = (def.re_alarm_after.is_some(), def.deadband > 0.0);
    MEMBERS.iter().filter(move |member| match member.when {
        When::Always => true,
        When::Shelving => shelving,
        When::Latching => latching,
        When::Suppressed => suppressed,
        When::ReAlarming => re_alarming,
        When::High => high,
        When::Low => low,
        When::HighDeadband => high && deadband,
        When::LowDeadband => low && deadband,
        When::Exclusive => matches!(kind, types::EXCLUSIVE_LEVEL | types::EXCLUSIVE_RATE_OF_CHANGE),
        When::NonExclusive => kind == types::NON_EXCLUSIVE_LEVEL,
        When::OffNormal => matches!(kind, types::OFF_NORMAL | types::SYSTEM_OFF_NORMAL | types::CERTIFICATE_EXPIRATION),
        When::Certificate => kind == types::CERTIFICATE_EXPIRATION,
    })
}

/// Which limits the alarm has: lower, upper. A rate of change has the one that its setpoint's sign says; one that other tags give
/// counts as upper.
fn limits(def: &AlarmDef) -> (bool, bool) {
    use crate::engine::plan::Setpoint;
    match &def.mode {
        Mode::Above(_) => (false, true),
        Mode::Below(_) => (true, false),
        Mode::Between(..) | Mode::Outside(..) | Mode::OutOfRange => (true, true),
        Mode::RateOfChange { setpoint, .. } => {
            let falling =
                matches!(&setpoint.setpoint, Setpoint::Constant(value) if value.as_f64().is_some_and(|rate| rate < 0.0));
            (falling, !falling)
        }
        _ => (false, false),
    }
}
