//! The engine's state as others may see it: plain copies, made on request.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plan::Priority;
use crate::tag::Timestamp;

/// One alarm.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
pub struct AlarmView {
    /// `<tag path>/Alarms/<name>`.
    pub path: Arc<str>,
    /// Urgency.
    pub priority: Priority,
    /// `ClearAcked`, `ClearUnacked`, `ActiveUnacked`, `ActiveAcked`.
    pub state: &'static str,
    /// Latched: clear, but waiting for its reset.
    pub latched: bool,
    /// Silenced by a person until then.
    pub shelved_until: Option<Timestamp>,
    /// Silenced by the plant's logic.
    pub suppressed: bool,
    /// Silenced by maintenance.
    pub out_of_service: bool,
    /// Activates too often.
    pub chattering: bool,
    /// The present or last event.
    pub event: Option<Uuid>,
    /// When that event began.
    pub active_time: Timestamp,
    /// When it cleared.
    pub clear_time: Timestamp,
    /// When it was acknowledged.
    pub ack_time: Timestamp,
    /// By whom.
    pub ack_user: String,
    /// The tag's value when the event began, as text.
    pub value: String,
    /// The alarm's message as the configuration has it, rendered at activation.
    pub message: String,
    /// The code of its notification run.
    pub code: Option<String>,
    /// Where its notification stands, for people.
    pub notification: String,
}

/// A message or write in the outbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
pub struct OutboxView {
    /// Its number.
    pub row: u64,
    /// When it was committed.
    pub created: Timestamp,
    /// `text`, `answer`, `call`, `write`.
    pub kind: &'static str,
    /// Number (masked) or tag.
    pub to: String,
    /// The user whose number it is, or who acknowledged what is written.
    pub user: Option<String>,
    /// The notification profile.
    pub profile: Option<String>,
    /// What it says; empty where the profile keeps bodies to itself, and before the first attempt.
    pub text: String,
    /// Paths of alarms that it is about, the first [`OutboxView::MAX_ALARMS`].
    pub alarms: Vec<Arc<str>>,
    /// Their alarm events.
    pub events: Vec<Uuid>,
    /// Alarms beyond those.
    pub more: usize,
    /// `queued`, `sending`, `ambiguous`, `accepted`, `sent`, `delivered`, `undelivered`, `failed`, `cancelled`; of a call
    /// that Twilio has taken its own word, such as `ringing`.
    pub state: &'static str,
    /// Attempts so far.
    pub attempts: u32,
    /// Twilio's SID.
    pub sid: Option<String>,
    /// Why it failed or waits, for people.
    pub detail: String,
}

impl OutboxView {
    /// Alarms that are named.
    pub const MAX_ALARMS: usize = 20;
}

/// One row of the `UserStatistics` dataset (SPEC 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[allow(missing_docs)]
pub struct UserStatistics {
    pub id: i64,
    pub username: String,
    /// E.164, whole; empty for a removed user.
    pub phone_number: String,
    pub messages_received: i32,
    pub messages_sent: i32,
    pub calls_received: i32,
    pub calls_sent: i32,
    pub call_minutes_received: i32,
    pub call_minutes_sent: i32,
}
