//! Twilio profiles and notification profiles (SPEC 3, 7.4, 8).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Channel, Knob, ScriptDef, Secret};
use crate::{engine::template::operations::Operation, tag::TagId};

/// `[[twilio]]`: an account and how to reach it (SPEC 3, 8).
#[derive(Debug)]
pub struct TwilioDef {
    /// Unique.
    pub name: String,
    /// `AC…`.
    pub account_sid: String,
    /// Signs webhooks, and sends unless an API key does.
    pub auth_token: Secret,
    /// A second token during rotation.
    pub auth_token_2: Option<Secret>,
    /// `SK…` and its secret.
    pub api_key: Option<(String, Secret)>,
    /// Number, short code or alphanumeric sender.
    pub from: Option<String>,
    /// `MG…`; wins over `from` for texts.
    pub messaging_service_sid: Option<String>,
    /// What Twilio calls back, without a trailing slash; `None` for outbound-only mode.
    pub external_url: Option<String>,
    /// A further URL that gets a copy of each status.
    pub status_callback: Option<String>,
    /// The body when nothing else gives one.
    pub default_message: String,
    /// Requests per second.
    pub sms_per_second: f64,
    /// Requests per second.
    pub calls_per_second: f64,
    /// Without a trailing slash.
    pub base_url: String,
    /// 1 to 36,000 s.
    pub validity_period: Duration,
    /// How often an outbound-only profile asks for replies and statuses.
    pub poll: Duration,
    /// Calls are placed also where Twilio cannot call us back.
    pub voice_without_url: bool,
    /// Sends nothing and says so.
    pub disabled: Knob<bool>,
}

/// `[[profile]]`: how one kind of message is sent (SPEC 3, 7.3, 7.4).
#[derive(Debug)]
pub struct ProfileDef {
    /// Unique.
    pub name: String,
    /// By text or call (`kind`).
    pub channel: Channel,
    /// How its calls are placed and spoken; for `kind = "voice"` only.
    pub voice: Voice,
    /// Name of the Twilio profile.
    pub twilio: String,
    /// For people.
    pub description: String,
    /// The body, a template, when the alarm has none.
    pub message: Option<String>,
    /// Characters, 20 to 1,600.
    pub length_limit: Knob<u32>,
    /// What limits the length.
    pub fit: Fit,
    /// 0 to 900 s.
    pub cooldown: Knob<Duration>,
    /// Template of the cooldown's key instead of profile, step, alarm and contact.
    pub cooldown_key: Option<String>,
    /// Users must have given it.
    pub consent: Option<String>,
    /// Sends nothing and says so.
    pub disabled: Knob<bool>,
    /// Bodies are kept in the audit log.
    pub audit: bool,
    /// `$parameters` by name.
    pub parameters: BTreeMap<String, Parameter>,
}

/// How calls are placed and spoken (SPEC 3, 9).
#[derive(Clone, Debug)]
pub struct Voice {
    /// BCP 47 (Twilio, `Say`).
    pub language: String,
    /// Such as `Polly.Joanna`; Twilio's default without.
    pub voice: Option<String>,
    /// Custom call handling.
    pub script: Option<Arc<ScriptDef>>,
    /// 5 to 600 s.
    pub ring_timeout: Duration,
    /// Twilio looks whether a machine answers.
    pub machine_detection: bool,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            language: "en-US".to_owned(),
            voice: None,
            script: None,
            ring_timeout: Duration::from_secs(30),
            machine_detection: true,
        }
    }
}

/// `[[event]]`: the text of an application event (SPEC 8).
#[derive(Debug)]
pub struct EventDef {
    /// Unique; the event's name.
    pub name: String,
    /// Name of the notification profile that sends it, a `kind = "sms"` one.
    pub profile: String,
    /// A template over `properties`, where the event brings no `sms_body`.
    pub message: Option<String>,
    /// Recipients must have given it; the profile's without.
    pub consent: Option<String>,
    /// Texts of this event in an hour, to all recipients together.
    pub per_hour: u32,
    /// `$parameters` by name.
    pub parameters: BTreeMap<String, Parameter>,
}

/// What limits the length of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// At most one segment, and at most `length_limit` characters.
    #[default]
    Segment,
    /// At most `length_limit` characters.
    Characters,
}

/// A `$parameters` value: where it comes from, and what is done to it before it is shown (SPEC 7.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Where from.
    pub source: ParameterSource,
    /// `[profile.operations]`, in order; at most 16.
    pub operations: Vec<Operation>,
}

/// Where a `$parameters` value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterSource {
    /// A tag's present value.
    Tag(TagId),
    /// A field of the alarm, such as `priority` or `data.sop`.
    AlarmField(String),
    /// A property of the application event.
    Property(String),
    /// A fixed value.
    Constant(serde_json::Value),
}
