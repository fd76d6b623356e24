//! Of which type the condition of an alarm is, and which fields its events carry (Part 9, 5.5 to 5.8).
//!
//! What is deliberately absent: ConfirmedState (nothing is confirmed here), SilenceState and AudibleSound, groups, dialogs.

use crate::{
    engine::plan::{AlarmDef, Mode, Setpoint, TagDef},
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
pub const CERTIFICATE_ALARM: &str = "System/Gateway/Alarms/CertificateExpiring";

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

/// Which conditions have a field.
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

/// All fields that events of conditions may have: browse paths from the condition, names of namespace 0 joined by `/`.
static FIELDS: &[(&str, When)] = {
    use When::{
        Always, Certificate, Exclusive, High, HighDeadband, Latching, Low, LowDeadband, NonExclusive, OffNormal, ReAlarming,
        Shelving, Suppressed,
    };
    &[
        // BaseEventType (Part 5, 6.4.2).
        ("EventId", Always),
        ("EventType", Always),
        ("SourceNode", Always),
        ("SourceName", Always),
        ("Time", Always),
        ("ReceiveTime", Always),
        ("Message", Always),
        ("Severity", Always),
        // ConditionType (5.5.2).
        ("ConditionClassId", Always),
        ("ConditionClassName", Always),
        ("ConditionSubClassId", Always),
        ("ConditionSubClassName", Always),
        ("ConditionName", Always),
        ("BranchId", Always),
        ("Retain", Always),
        ("EnabledState", Always),
        ("EnabledState/Id", Always),
        ("EnabledState/TransitionTime", Always),
        ("Quality", Always),
        ("Quality/SourceTimestamp", Always),
        ("LastSeverity", Always),
        ("LastSeverity/SourceTimestamp", Always),
        ("Comment", Always),
        ("Comment/SourceTimestamp", Always),
        ("ClientUserId", Always),
        // AcknowledgeableConditionType (5.7.2).
        ("AckedState", Always),
        ("AckedState/Id", Always),
        ("AckedState/TransitionTime", Always),
        // AlarmConditionType (5.8.2).
        ("ActiveState", Always),
        ("ActiveState/Id", Always),
        ("ActiveState/TransitionTime", Always),
        ("InputNode", Always),
        ("SuppressedState", Suppressed),
        ("SuppressedState/Id", Suppressed),
        ("OutOfServiceState", Always),
        ("OutOfServiceState/Id", Always),
        ("ShelvingState/CurrentState", Shelving),
        ("ShelvingState/CurrentState/Id", Shelving),
        ("ShelvingState/UnshelveTime", Shelving),
        ("SuppressedOrShelved", Always),
        ("MaxTimeShelved", Shelving),
        ("LatchedState", Latching),
        ("LatchedState/Id", Latching),
        ("OnDelay", Always),
        ("OffDelay", Always),
        ("ReAlarmTime", ReAlarming),
        // LimitAlarmType (5.8.18) and its two families.
        ("HighLimit", High),
        ("LowLimit", Low),
        ("HighDeadband", HighDeadband),
        ("LowDeadband", LowDeadband),
        ("LimitState/CurrentState", Exclusive),
        ("LimitState/CurrentState/Id", Exclusive),
        ("HighState", NonExclusive),
        ("HighState/Id", NonExclusive),
        ("LowState", NonExclusive),
        ("LowState/Id", NonExclusive),
        // OffNormalAlarmType (5.8.23.2) and CertificateExpirationAlarmType (5.8.23.7).
        ("NormalState", OffNormal),
        ("ExpirationDate", Certificate),
        ("CertificateType", Certificate),
        ("Certificate", Certificate),
    ]
};

/// The fields that events of the alarm carry; `tag` is the one that it watches.
pub fn paths(def: &AlarmDef, tag: Option<&TagDef>) -> impl Iterator<Item = &'static str> {
    let kind = event_type(def, tag);
    let (low, high) = limits(def);
    let (shelving, latching, suppressed) = (def.shelving, def.latching, def.suppressed_by.is_some());
    let (re_alarming, deadband) = (def.re_alarm_after.is_some(), def.deadband > 0.0);
    let has = move |when: When| match when {
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
    };
    FIELDS.iter().filter(move |(_, when)| has(*when)).map(|(path, _)| *path)
}

/// Which limits the alarm has: lower, upper. A rate of change has the one that its setpoint's sign says; one that other tags give
/// counts as upper.
#[must_use]
pub fn limits(def: &AlarmDef) -> (bool, bool) {
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
