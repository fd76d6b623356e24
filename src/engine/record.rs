//! What is made durable: the records of one step are one transaction, committed before the step's other effects.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    io::Via,
    plan::{Channel, Priority},
};
use crate::tag::Timestamp;

/// One durable fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Sets (or, with `None`, removes) one entry of the engine's state.
    State {
        /// What kind of entry; each has a table of its own.
        kind: StateKind,
        /// Unique within its kind.
        key: String,
        /// For the engine's own reading.
        value: Option<Stored>,
    },
    /// Appends to the journal.
    Journal(JournalEntry),
    /// Appends to the audit log.
    Audit(AuditEntry),
    /// Appends to the ledger; a repeated SID with the same direction replaces the row.
    Ledger(LedgerEntry),
    /// An input that an instance standing by handed in is taken; what it caused is committed with this.
    HandedIn {
        /// The input's number.
        id: u64,
    },
    /// The answer to such an input.
    Answered {
        /// The input's number.
        id: u64,
        /// For whoever handed it in.
        answer: String,
    },
}

/// A value as it is stored: JSON text, made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored(Box<str>);

impl Stored {
    /// Writes it down. Our own plain types cannot fail: their map keys are texts.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()).into())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Reads it again.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// The kinds of state, each a table of `key` and `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// Alarms by path.
    Alarm,
    /// Notification runs by alarm path.
    Run,
    /// Outbox rows by number.
    Outbox,
    /// Counters by name.
    Counter,
    /// Cooldowns by key.
    Cooldown,
    /// Phone numbers: opt-out, PIN failures, answers.
    Contact,
    /// Codes and when they may be used again.
    Code,
    /// The engine's own: seed, next numbers.
    Engine,
    /// Retained memory tags by path.
    Retained,
    /// Users' ids by name.
    User,
    /// Inbound SIDs already handled.
    Inbound,
    /// Calls in progress by SID.
    Call,
    /// Budgets, floods and last texts by contact.
    Throttle,
    /// Overrides of who is on call, by number.
    Override,
    /// Traits of recipients of application events, by user id.
    Traits,
}

impl StateKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Alarm,
        Self::Run,
        Self::Outbox,
        Self::Counter,
        Self::Cooldown,
        Self::Contact,
        Self::Code,
        Self::Engine,
        Self::Retained,
        Self::User,
        Self::Inbound,
        Self::Call,
        Self::Throttle,
        Self::Override,
        Self::Traits,
    ];

    /// The table's name.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Run => "run",
            Self::Outbox => "outbox",
            Self::Counter => "counter",
            Self::Cooldown => "cooldown",
            Self::Contact => "contact",
            Self::Code => "code",
            Self::Engine => "engine",
            Self::Retained => "retained",
            Self::User => "app_user",
            Self::Inbound => "inbound",
            Self::Call => "call",
            Self::Throttle => "throttle",
            Self::Override => "override",
            Self::Traits => "traits",
        }
    }
}

/// One entry of the state as it is loaded at start.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRow {
    /// Its kind.
    pub kind: StateKind,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
}

/// One alarm transition.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When it happened (the engine's time, not the source's).
    pub time: Timestamp,
    /// `<tag path>/Alarms/<name>`.
    pub alarm: Arc<str>,
    /// The alarm event; `None` for what belongs to no event (shelved while normal).
    pub event: Option<Uuid>,
    /// What happened.
    pub kind: JournalKind,
    /// The alarm's priority then.
    pub priority: Priority,
    /// The tag's value then, as text.
    pub value: String,
    /// Who, for what a person did.
    pub user: String,
    /// Through what.
    pub via: Option<Via>,
    /// Note, reason, or what the notification did.
    pub text: String,
    /// Associated data, with `Raised` only.
    pub data: BTreeMap<String, String>,
}

/// What happened to an alarm or its notification.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum JournalKind {
    Raised,
    Cleared,
    Acknowledged,
    Latched,
    Reset,
    Shelved,
    Unshelved,
    Suppressed,
    Unsuppressed,
    OutOfService,
    InService,
    Removed,
    ReAlarmed,
    Chattering,
    PipelineStarted,
    PipelineStep,
    PipelineEnded,
    NobodyToContact,
    WriteBack,
    /// A message's template, or a parameter's operations, failed; it was sent all the same.
    Wording,
    /// Somebody said something of it.
    Commented,
    /// A person is known to know of it: after a message about it, they have shown a valid PIN.
    Reached,
}

/// The `text` of a [`JournalKind::Raised`] whose alarm was shelved, suppressed or out of service: nobody was shown it, so it counts in
/// no figure of the alarm load (ISA-18.2 counts annunciated alarms).
pub const SILENCED: &str = "silenced";

/// A transition as figures need it, lent while the store is read: a year has millions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition<'r> {
    /// When.
    pub time: Timestamp,
    /// `<tag path>/Alarms/<name>`.
    pub alarm: &'r str,
    /// The alarm event.
    pub event: Option<Uuid>,
    /// What happened.
    pub kind: JournalKind,
    /// The alarm's priority then.
    pub priority: Priority,
    /// Who; empty for nobody.
    pub user: &'r str,
    /// Through what.
    pub via: Option<Via>,
    /// A person was not shown it, see [`SILENCED`].
    pub silenced: bool,
}

/// A text or call about alarm events, accepted by the provider, lent while the store is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told<'r> {
    /// When it was accepted.
    pub time: Timestamp,
    /// To whom.
    pub user: &'r str,
    /// What it named.
    pub events: &'r [Uuid],
}

/// One message, call, acknowledgement, write or configuration change.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub time: Timestamp,
    /// What kind of act.
    pub kind: AuditKind,
    /// Who: a user, a program, `system`.
    pub user: String,
    /// Through what.
    pub via: Via,
    /// On what: a phone number, a tag, an alarm.
    pub subject: String,
    /// What exactly; bodies only where the profile allows it, PINs never.
    pub text: String,
    /// How it ended; for messages not sent, the reason.
    pub result: String,
    /// Alarm events that it is about.
    pub events: Vec<Uuid>,
    /// Twilio's SID.
    pub sid: Option<String>,
}

/// The kinds of act in the audit log.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AuditKind {
    MessageSent,
    MessageNotSent,
    MessageFailed,
    MessageStatus,
    MessageReceived,
    CallSent,
    CallFailed,
    CallEnded,
    CallReceived,
    Answer,
    Acknowledge,
    Shelve,
    OutOfService,
    Comment,
    Write,
    WriteBack,
    OptOut,
    OptIn,
    PinRefused,
    PinLocked,
    Login,
    LoginRefused,
    Override,
    Drill,
    Reload,
    Start,
    Stop,
    WebhookRejected,
    /// A contact gets digests, or no longer.
    Flood,
    Identify,
    Forget,
    /// A text of an application event was worded otherwise, for a mistake in its template.
    Wording,
    ScriptFailed,
}

/// Why a message was not sent (SPEC 7.3): the `result` of an audit entry of kind [`AuditKind::MessageNotSent`].
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotSent {
    /// A repeat before the cooldown was over.
    Cooldown,
    /// The person's messages or calls of the hour are used up.
    Budget,
    /// Counted, not named: behind "and 37 more".
    Consolidated,
    /// No event of it needed telling any more.
    Superseded,
    /// The person is not on call.
    OffDuty,
    /// By an override somebody else is contacted in the person's place.
    Covered,
    /// STOP, or Twilio's error 21610.
    OptedOut,
    /// The person has not given the consent that the profile needs.
    NoConsent,
    /// The profile sends nothing.
    Disabled,
    /// A call for less than a critical alarm to somebody who answers, in a flood.
    Flood,
    /// The alarm chatters and was told within its hold.
    Chattering,
    /// Below the contact's `min_priority`.
    BelowPriority,
    /// The number is not among `[people] allow_numbers`.
    NotAllowed,
    /// Alarm, user, profile or account are no longer configured.
    Removed,
    /// The number has had its ten answers of the hour.
    Answers,
    /// The Twilio profile can place no calls.
    CannotCall,
    /// An application event for somebody who was not identified, or has no number.
    NotIdentified,
    /// The application event's texts of the hour are used up, or too many wait.
    EventLimit,
}

impl NotSent {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Cooldown,
        Self::Budget,
        Self::Consolidated,
        Self::Superseded,
        Self::OffDuty,
        Self::Covered,
        Self::OptedOut,
        Self::NoConsent,
        Self::Disabled,
        Self::Flood,
        Self::Chattering,
        Self::BelowPriority,
        Self::NotAllowed,
        Self::Removed,
        Self::Answers,
        Self::CannotCall,
        Self::NotIdentified,
        Self::EventLimit,
    ];

    /// The words of the audit log.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::Budget => "budget",
            Self::Consolidated => "consolidated",
            Self::Superseded => "superseded",
            Self::OffDuty => "off duty",
            Self::Covered => "covered",
            Self::OptedOut => "opted out",
            Self::NoConsent => "no consent",
            Self::Disabled => "disabled",
            Self::Flood => "flood",
            Self::Chattering => "chattering",
            Self::BelowPriority => "below the contact's least priority",
            Self::NotAllowed => "not among [people] allow_numbers",
            Self::Removed => "no longer configured",
            Self::Answers => "more than 10 answers an hour",
            Self::CannotCall => "no external_url, and voice_without_url = false",
            Self::NotIdentified => "nobody was identified by this userId, or without a number",
            Self::EventLimit => "more texts than the event's per_hour",
        }
    }

    /// The reason that has these words, if any.
    #[must_use]
    pub fn of_words(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.words() == words)
    }
}

/// One SID: a text or call, accepted or received. The counters are sums over these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When it was accepted or received.
    pub time: Timestamp,
    /// Twilio's id; unique together with the direction.
    pub sid: String,
    /// To somebody or from somebody.
    pub direction: Direction,
    /// Text or call.
    pub channel: Channel,
    /// The user whose number it is; `None` counts under Other.
    pub user: Option<String>,
    /// The other side's number, E.164.
    pub number: String,
    /// Segments of a text.
    pub segments: u32,
    /// Minutes of a finished call, each call rounded up.
    pub minutes: u32,
    /// The outbox row that it was sent from.
    pub row: Option<u64>,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From us.
    Sent,
    /// To us.
    Received,
}
