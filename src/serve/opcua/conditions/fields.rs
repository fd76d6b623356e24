//! What the members of one condition hold: a snapshot of the engine's, and what the configuration says, as fields.

use std::sync::Arc;

use super::{Certificate, members};
use crate::{
    engine::{
        condition::{Branch, Comment, Condition},
        plan::{AlarmDef, Limit, Mode, Plan, Setpoint, TagDef},
    },
    serve::opcua::events::{Event, Field, encoded},
    tag::{Reading, StatusCode, TagTable, Timestamp, Value},
};

/// Built-in types (Part 6, 5.1.2).
const NODE_ID: u8 = 17;
const LOCALIZED_TEXT: u8 = 21;
const PROCESS_CLASS: (u32, &str) = (11_164, "ProcessConditionClassType");
const SYSTEM_CLASS: (u32, &str) = (11_166, "SystemConditionClassType");
const UNSHELVED: (u32, &str) = (2_930, "Unshelved");
const TIMED_SHELVED: (u32, &str) = (2_932, "TimedShelved");
const ONE_SHOT_SHELVED: (u32, &str) = (2_933, "OneShotShelved");
const HIGH: (u32, &str) = (9_331, "High");
const LOW: (u32, &str) = (9_333, "Low");
/// RsaSha256ApplicationCertificateType.
const CERTIFICATE_TYPE: u32 = 12_560;

/// One branch of one condition, with what is needed to tell of it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The alarm.
    pub def: &'a AlarmDef,
    /// What it watches.
    pub tag: Option<&'a TagDef>,
    /// The longest that it may be shelved, in milliseconds.
    pub max_shelved: f64,
    /// Setpoints that other tags give.
    pub table: &'a TagTable,
    /// The server's own certificate, for the alarm that tells of it.
    pub certificate: &'a Certificate,
    /// As it was told last.
    pub condition: &'a Condition,
    /// The event that is told of.
    pub branch: &'a Branch,
    /// The moment for which remaining times are given.
    pub at: Timestamp,
}

/// The longest that an alarm may be shelved, in milliseconds.
pub fn max_shelved(plan: &Plan, def: &AlarmDef) -> f64 {
    plan.alarm_rules.max_shelve[def.priority as usize].as_secs_f64() * 1_000.0
}

/// The path of the node that an alarm's events come from: its tag, or the part of the program that it is about.
pub fn source(def: &AlarmDef) -> &str {
    def.path.strip_suffix(&*def.name).and_then(|path| path.strip_suffix("/Alarms/")).unwrap_or(&def.path)
}

impl Subject<'_> {
    /// The event of the last notification.
    pub fn event(&self) -> Event {
        let fields = members::paths(self.def, self.tag).filter_map(|path| Some((path, self.field(path)?)));
        let kind = members::event_type(self.def, self.tag);
        Event::new(kind, source(self.def).into(), Some(Arc::clone(&self.def.path)), fields.collect())
    }

    /// The member at `path`; `None` for what no condition has.
    pub fn field(&self, path: &str) -> Option<Field> {
        let told = self.always(path);
        if told.is_some() {
            return told;
        }
        let field = self.of_alarm(path).or_else(|| self.of_type(path))?;
        // What is known of a disabled condition is not told (Part 9, 5.5.2).
        Some(if self.condition.state.enabled { field } else { Field::Bad(StatusCode::BAD_CONDITION_DISABLED) })
    }

    /// What is told of a disabled condition too.
    fn always(&self, path: &str) -> Option<Field> {
        let (def, branch) = (self.def, self.branch);
        let (class, class_name) = if matches!(def.mode, Mode::System) { SYSTEM_CLASS } else { PROCESS_CLASS };
        let source = source(def);
        Some(match path {
            "EventId" if branch.id.number == 0 => Field::Value(Value::ByteString([].into())),
            "EventId" => Field::Value(Value::ByteString(branch.id.to_bytes().as_slice().into())),
            "EventType" => Field::Standard(members::event_type(def, self.tag)),
            "SourceNode" => Field::Node(source.into()),
            "SourceName" => Field::Value(Value::string(source.rsplit('/').next().unwrap_or(source))),
            "Time" | "ReceiveTime" => time(branch.time),
            "Message" => Field::Text(self.message().into()),
            "Severity" => Field::Value(Value::UInt16(self.condition.state.severity)),
            "ConditionClassId" => Field::Standard(class),
            "ConditionClassName" => Field::Text(class_name.into()),
            "ConditionSubClassId" => empty_array(NODE_ID),
            "ConditionSubClassName" => empty_array(LOCALIZED_TEXT),
            "ConditionName" => Field::Value(Value::string(&*def.name)),
            "BranchId" if self.is_trunk() => Field::Standard(0),
            "BranchId" => Field::Opaque(branch.id.event.as_bytes().as_slice().into()),
            "Retain" => boolean(branch.retain),
            "EnabledState" => two_state(self.condition.state.enabled, "Enabled", "Disabled"),
            "EnabledState/Id" => boolean(self.condition.state.enabled),
            "EnabledState/TransitionTime" => time(self.condition.state.enabled_time),
            _ => return None,
        })
    }

    fn of_alarm(&self, path: &str) -> Option<Field> {
        let (state, branch) = (&self.condition.state, self.branch);
        let comment = branch.comment.as_ref();
        let shelved = state.shelving.is_some();
        Some(match path {
            "Quality" => Field::Status(state.quality),
            "Quality/SourceTimestamp" => time(state.quality_time),
            "LastSeverity" => Field::Value(Value::UInt16(state.last_severity)),
            "LastSeverity/SourceTimestamp" => time(state.severity_time),
            "Comment" => Field::Text(comment.map_or("", |comment| &comment.text).into()),
            "Comment/SourceTimestamp" => time(comment.map_or(Timestamp::NULL, |comment| comment.at)),
            "ClientUserId" => Field::Value(Value::string(comment.map_or("", |Comment { user, .. }| user))),
            "AckedState" => two_state(branch.acked, "Acknowledged", "Unacknowledged"),
            "AckedState/Id" => boolean(branch.acked),
            "AckedState/TransitionTime" => time(branch.acked_time),
            "ActiveState" => two_state(branch.active, "Active", "Inactive"),
            "ActiveState/Id" => boolean(branch.active),
            "ActiveState/TransitionTime" => time(branch.active_time),
            "InputNode" => self.input_node(),
            "SuppressedState" => two_state(state.suppressed, "Suppressed", "Unsuppressed"),
            "SuppressedState/Id" => boolean(state.suppressed),
            "OutOfServiceState" => two_state(state.out_of_service, "Out of Service", "In Service"),
            "OutOfServiceState/Id" => boolean(state.out_of_service),
            "SuppressedOrShelved" => boolean(state.suppressed || state.out_of_service || shelved),
            "ShelvingState/CurrentState" => Field::Text(self.shelving().1.into()),
            "ShelvingState/CurrentState/Id" => Field::Standard(self.shelving().0),
            "ShelvingState/UnshelveTime" => Field::Value(Value::Double(self.unshelve_time())),
            "MaxTimeShelved" => Field::Value(Value::Double(self.max_shelved)),
            "LatchedState" => two_state(state.latched, "Latched", "Unlatched"),
            "LatchedState/Id" => boolean(state.latched),
            _ => return None,
        })
    }

    fn of_type(&self, path: &str) -> Option<Field> {
        let (def, state) = (self.def, &self.condition.state);
        // Limits belong to the newest event; an older one has cleared.
        let beyond = if self.is_trunk() { state.limits } else { crate::engine::condition::Limits::default() };
        let exclusive = match (beyond.high, beyond.low) {
            (true, _) => Some(HIGH),
            (_, true) => Some(LOW),
            _ => None,
        };
        let duration = |span: std::time::Duration| Field::Value(Value::Double(span.as_secs_f64() * 1_000.0));
        Some(match path {
            "OnDelay" => duration(def.on_delay),
            "OffDelay" => duration(def.off_delay),
            "ReAlarmTime" => duration(def.re_alarm_after?),
            "HighLimit" => self.limit(true),
            "LowLimit" => self.limit(false),
            "HighDeadband" | "LowDeadband" => Field::Value(Value::Double(def.deadband)),
            "LimitState/CurrentState" => exclusive.map_or(Field::Value(Value::Null), |(_, name)| Field::Text(name.into())),
            "LimitState/CurrentState/Id" => Field::Standard(exclusive.map_or(0, |(id, _)| id)),
            "HighState" => two_state(beyond.high, "HighActive", "HighInactive"),
            "HighState/Id" => boolean(beyond.high),
            "LowState" => two_state(beyond.low, "LowActive", "LowInactive"),
            "LowState/Id" => boolean(beyond.low),
            // No node of ours holds the value that is normal.
            "NormalState" => Field::Standard(0),
            "ExpirationDate" => time(self.certificate.expires),
            "CertificateType" => Field::Standard(CERTIFICATE_TYPE),
            "Certificate" => Field::Value(Value::ByteString(Arc::clone(&self.certificate.der))),
            _ => return None,
        })
    }

    fn is_trunk(&self) -> bool {
        self.branch.id.event == self.condition.trunk.id.event
    }

    fn message(&self) -> &str {
        if !self.branch.message.is_empty() {
            &self.branch.message
        } else if self.def.message.is_empty() || self.def.message.contains('{') {
            &self.def.name
        } else {
            &self.def.message
        }
    }

    fn input_node(&self) -> Field {
        match self.tag {
            Some(tag) if !matches!(self.def.mode, Mode::System) => Field::Node(tag.path.shared()),
            _ => Field::Standard(0),
        }
    }

    fn shelving(&self) -> (u32, &'static str) {
        match &self.condition.state.shelving {
            None => UNSHELVED,
            Some(shelving) if shelving.one_shot => ONE_SHOT_SHELVED,
            Some(_) => TIMED_SHELVED,
        }
    }

    /// Milliseconds that remain.
    fn unshelve_time(&self) -> f64 {
        let until = self.condition.state.shelving.as_ref().map(|shelving| shelving.until);
        until.map_or(0.0, |until| until.since(self.at).as_secs_f64() * 1_000.0)
    }

    fn limit(&self, high: bool) -> Field {
        let setpoint = |limit: &Limit| match &limit.setpoint {
            Setpoint::Constant(value) => value.as_f64(),
            Setpoint::Expression(expression) => expression.evaluate(&|tag| self.table.read(tag)).0.as_f64(),
        };
        let found = match &self.def.mode {
            Mode::Above(limit) | Mode::Below(limit) | Mode::RateOfChange { setpoint: limit, .. } => setpoint(limit),
            Mode::Between(low, upper) | Mode::Outside(low, upper) => setpoint(if high { upper } else { low }),
            Mode::OutOfRange => self.tag.and_then(|tag| tag.range).map(|(low, upper)| if high { upper } else { low }),
            _ => None,
        };
        found.map_or(Field::Bad(StatusCode::BAD_WAITING_FOR_INITIAL_DATA), |limit| Field::Value(Value::Double(limit)))
    }
}

/// Quality and its time of what an alarm watches, as it is now; `None` for other paths.
pub fn input_quality(def: &AlarmDef, table: &TagTable, path: &str) -> Option<Field> {
    let reading = match def.mode {
        Mode::System => Reading::default(),
        _ => table.read(def.tag),
    };
    match path {
        "Quality" => Some(Field::Status(reading.status)),
        "Quality/SourceTimestamp" => Some(time(reading.source_time)),
        _ => None,
    }
}

fn time(time: Timestamp) -> Field {
    Field::Value(Value::DateTime(time))
}

/// An array of the built-in type `kind` without elements.
fn empty_array(kind: u8) -> Field {
    encoded(|w| w.array(kind, 0))
}

fn boolean(value: bool) -> Field {
    Field::Value(Value::Boolean(value))
}

fn two_state(value: bool, yes: &str, no: &str) -> Field {
    Field::Text(if value { yes } else { no }.into())
}
