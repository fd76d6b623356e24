//! What a message may speak of.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use uuid::Uuid;

use super::strip;
use crate::{
    engine::{
        counters::COLUMNS,
        people,
        plan::{Parameter, Priority},
        random::Random,
    },
    tag::{TagId, Timestamp, Value},
};

/// Everything that a message may speak of.
pub struct Context<'a> {
    /// What it is about.
    pub subject: Subject<'a>,
    /// Whom the message is for.
    pub user: &'a str,
    /// Their time zone; UTC when unknown.
    pub time_zone: Option<&'a str>,
    /// `[site] name`.
    pub site: &'a str,
    /// `[profile.parameters]`.
    pub parameters: &'a BTreeMap<String, Parameter>,
    /// What `RandomNumber` draws from; the same for every pass of one rendering.
    pub chance: Random,
    /// The present value of a tag; `None` when it is unknown or not usable.
    pub read: &'a dyn Fn(TagName<'_>) -> Option<Value>,
}

/// What a message is about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// An alarm.
    Alarm(AlarmText<'a>),
    /// An application event, with its properties (SPEC 8).
    Event {
        /// Its name.
        name: &'a str,
        /// A structure.
        properties: &'a Json,
    },
}

/// An alarm as messages speak of it.
#[derive(Clone, Copy)]
pub struct AlarmText<'a> {
    /// `<tag path>/Alarms/<name>`.
    pub path: &'a str,
    /// The last part of the path.
    pub name: &'a str,
    /// Path of the tag.
    pub tag: &'a str,
    /// Captured when the event began.
    pub value: &'a Value,
    /// Symbol, or empty.
    pub unit: &'a str,
    /// Urgency.
    pub priority: Priority,
    /// `ActiveUnacked` and so on.
    pub state: &'a str,
    /// The alarm's own words.
    pub message: &'a str,
    /// When the event began.
    pub active_time: Timestamp,
    /// The event.
    pub event: Option<Uuid>,
    /// Associated data, captured when the event began.
    pub data: &'a BTreeMap<String, String>,
    /// The code of the notification run, or empty.
    pub code: &'a str,
}

/// How a message names a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagName<'a> {
    /// `tags["path"]`.
    Path(&'a str),
    /// A parameter of the profile.
    Id(TagId),
}

/// Priority, path and value of an alarm; nothing for an event, which has a default message.
#[must_use]
pub fn fallback(context: &Context<'_>) -> String {
    let Subject::Alarm(alarm) = &context.subject else { return String::new() };
    let value = match (alarm.value, alarm.unit) {
        (Value::Null, _) => String::new(),
        (value, "") => format!(" ({value})"),
        (value, unit) => format!(" ({value} {unit})"),
    };
    strip(&format!("{} {}{value}", alarm.priority.name().to_uppercase(), alarm.path))
}

/// What is known of the alarm, by the names that templates and `[profile.parameters]` use.
pub(super) fn alarm_fields(alarm: &AlarmText<'_>, time_zone: Option<&str>) -> [(&'static str, Json); 12] {
    let data = alarm.data.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    [
        ("path", alarm.path.into()),
        ("name", alarm.name.into()),
        ("tag", alarm.tag.into()),
        ("value", to_json(alarm.value)),
        ("unit", alarm.unit.into()),
        ("priority", alarm.priority.name().into()),
        ("state", alarm.state.into()),
        ("message", alarm.message.into()),
        ("active_time", people::date_text(alarm.active_time, time_zone).into()),
        ("event", alarm.event.map(|event| event.to_string()).unwrap_or_default().into()),
        ("data", Json::Object(data)),
        ("code", alarm.code.into()),
    ]
}

/// A tag's value as templates and operations compute with it; null when JSON cannot say it.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        // By way of the shortest decimal: 81.3 is not 81.30000305175781.
        Value::Float(value) => Json::from(value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(*value))),
        Value::Array(_, elements) => elements.iter().map(to_json).collect(),
        Value::Structure(structure) if structure.fields.len() == COLUMNS.len() => {
            let fields = COLUMNS.iter().zip(&structure.fields).map(|((name, _), field)| ((*name).to_owned(), to_json(field)));
            Json::Object(fields.collect())
        }
        plain => plain.to_json(),
    }
}
