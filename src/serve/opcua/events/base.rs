//! What all events have (Part 5, 6.4.2), and the events that the server tells about itself (Part 9, 5.11).

use std::sync::Arc;

use super::{Event, Field};
use crate::tag::{Timestamp, Value};

/// Bytes of an EventId.
pub const EVENT_ID: usize = 16;
const SERVER: u32 = 2_253;

/// Event types (Part 5, Part 9).
pub mod event_type {
    #![allow(missing_docs)]
    pub const REFRESH_START: u32 = 2_787;
    pub const REFRESH_END: u32 = 2_788;
    pub const REFRESH_REQUIRED: u32 = 2_789;
    pub const QUEUE_OVERFLOW: u32 = 3_035;
}

/// The fields of BaseEventType.
#[derive(Clone, Debug)]
pub struct Base {
    /// Unique among all events, ever.
    pub id: [u8; EVENT_ID],
    /// In namespace 0.
    pub event_type: u32,
    /// Path of the node that the event comes from; empty for the Server object.
    pub source: Arc<str>,
    /// When it happened.
    pub time: Timestamp,
    /// What happened, for people.
    pub message: Arc<str>,
    /// From 1 to 1000.
    pub severity: u16,
}

impl Base {
    /// The event, with `more` fields besides those that all events have.
    #[must_use]
    pub fn event(self, more: Vec<(&'static str, Field)>) -> Event {
        let (node, name) = if self.source.is_empty() {
            (Field::Standard(SERVER), "Server")
        } else {
            (Field::Node(Arc::clone(&self.source)), self.source.rsplit('/').next().unwrap_or_default())
        };
        let mut fields = vec![
            ("EventId", Field::Value(Value::ByteString(Arc::new(self.id)))),
            ("EventType", Field::Standard(self.event_type)),
            ("SourceNode", node),
            ("SourceName", Field::Value(Value::string(name))),
            ("Time", Field::Value(Value::DateTime(self.time))),
            ("ReceiveTime", Field::Value(Value::DateTime(self.time))),
            ("Message", Field::Text(self.message)),
            ("Severity", Field::Value(Value::UInt16(self.severity))),
        ];
        for (name, field) in more {
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = field,
                None => fields.push((name, field)),
            }
        }
        Event::new(self.event_type, self.source, None, fields)
    }
}

/// An event of the Server object about events.
#[must_use]
pub fn of_server(event_type: u32, id: [u8; EVENT_ID], time: Timestamp) -> Event {
    let message = match event_type {
        event_type::REFRESH_START => "The refresh of conditions begins",
        event_type::REFRESH_END => "The refresh of conditions is complete",
        event_type::REFRESH_REQUIRED => "Events of conditions were lost: a refresh is needed",
        _ => "Events were lost: the queue was full",
    };
    Base { id, event_type, source: "".into(), time, message: message.into(), severity: 100 }.event(Vec::new())
}
