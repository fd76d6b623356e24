//! What enters the engine and what leaves it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    condition::{Act, Condition},
    plan::{Channel, Cover, Plan, Role, ScriptDef},
    record::Record,
};
use crate::tag::{Sample, StatusCode, TagId, Timestamp, Value};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// New values of tags that something depends on, in the order in which they came.
    Samples(Vec<Sample>),
    /// A source is connected; its first samples follow.
    SourceUp {
        /// Name of the source.
        source: Arc<str>,
    },
    /// A source was lost, or could not be reached at the first attempt.
    SourceDown {
        /// Name of the source.
        source: Arc<str>,
        /// For people.
        error: String,
    },
    /// A person or program wants something and waits for the answer.
    Command {
        /// Correlates the answer.
        request: RequestId,
        /// Who.
        by: Actor,
        /// What.
        command: Command,
    },
    /// A text came in.
    Inbound {
        /// Answered once the input is committed.
        request: RequestId,
        /// The text.
        text: InboundText,
    },
    /// One attempt to send has ended.
    SendResult {
        /// The outbox row.
        row: OutboxId,
        /// What became of it.
        result: Result<Accepted, SendFailure>,
    },
    /// A search of Twilio's list for a send whose fate is unknown has ended.
    LookupResult {
        /// The outbox row.
        row: OutboxId,
        /// The candidates: sent to the same number with the same body, created not before the attempt, newest last. `Err` when the
        /// list could not be read.
        result: Result<Vec<Accepted>, String>,
    },
    /// Twilio reported how a message fares.
    Status {
        /// Answered once the input is committed.
        request: RequestId,
        /// The outbox row, when the callback's URL named one.
        row: Option<OutboxId>,
        /// The message.
        sid: String,
        /// Its state.
        status: DeliveryState,
        /// Twilio's error code, when it failed.
        error_code: Option<u32>,
    },
    /// Twilio told us of a call, or asks what to say next; the answer's `document` is what is said.
    Call {
        /// Answered once the input is committed.
        request: RequestId,
        /// What it told.
        call: CallEvent,
    },
    /// A script of a pipeline has ended.
    ScriptResult {
        /// The effect's number.
        run: u64,
        /// Why it failed, for people.
        result: Result<(), String>,
    },
    /// A tag was read from its device.
    ReadResult {
        /// The outbox row.
        row: OutboxId,
        /// Fresh from the device.
        result: Result<Value, StatusCode>,
    },
    /// Tags were written to their devices.
    WriteResult {
        /// The outbox row.
        row: OutboxId,
        /// The first that is not Good, else Good.
        status: StatusCode,
        /// What the device then held, when it was asked for.
        read_back: Option<Value>,
    },
    /// The configuration changed.
    Plan(Arc<Plan>),
    /// The store failed or works again.
    Store {
        /// True when it cannot be written.
        failed: bool,
    },
    /// Our own OPC UA certificate was looked at.
    Certificate {
        /// Says that it ends soon; `None` when it does not.
        expiring: Option<String>,
    },
    /// Somebody wants to know whether the engine goes on and the store takes what it says: its state is written.
    Heartbeat,
    /// Only time has passed.
    Tick,
}

/// Correlates a request with its answer; given by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Nobody waits for the answer.
    pub const NOBODY: Self = Self(0);
}

/// A row of the outbox; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutboxId(pub u64);

/// Who does something, and through what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User name, token name, or `PLC`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Through what.
    pub via: Via,
}

/// The way by which somebody acts.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Via {
    OpcUa,
    Text,
    Phone,
    Console,
    Api,
    Plc,
    System,
}

/// A request of a person or program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Acknowledges the alarm at this path, up to its newest event.
    Acknowledge {
        /// `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// For the journal.
        note: String,
    },
    /// Acknowledges just this event.
    AcknowledgeEvent {
        /// Restricts it to one alarm.
        alarm: Option<Arc<str>>,
        /// The event.
        event: Uuid,
        /// For the journal.
        note: String,
    },
    /// Shelves for a time; replaces a running shelving.
    Shelve {
        /// `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// Minutes; zero unshelves.
        minutes: f64,
        /// For the journal.
        note: String,
    },
    /// Shelves until the alarm clears (and at most for the priority's maximum).
    ShelveOneShot {
        /// `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// For the journal.
        note: String,
    },
    /// Takes an alarm out of service or puts it back. Role engineer.
    OutOfService {
        /// `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// Out or back.
        out: bool,
        /// For the journal.
        note: String,
    },
    /// A method of the alarm's condition, with the codes of OPC 10000-9.
    Condition {
        /// `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// Which.
        act: Act,
        /// `None` leaves the last comment as it is, an empty one clears it.
        comment: Option<String>,
    },
    /// Starts a drill (SPEC 14).
    StartDrill,
    /// Makes an override: somebody stands in for somebody (SPEC 7.2). The answer's message says its number.
    SetOverride(Cover),
    /// Removes an override that was made in operation.
    RemoveOverride {
        /// Its number.
        number: u64,
    },
    /// Keeps who a recipient of application events is; what is left out stays as it was (SPEC 8).
    Identify {
        /// The other program's name for them, at most 128 bytes.
        user_id: String,
        /// With country code.
        phone: Option<String>,
        /// At most 16.
        consent: Option<Vec<String>>,
    },
    /// Forgets such a recipient.
    Forget {
        /// As it was identified.
        user_id: String,
    },
    /// Something happened to such a recipient; answered when the text is in the outbox, or with the reason why there is none.
    Track {
        /// As it was identified.
        user_id: String,
        /// Its name.
        event: String,
        /// A structure; `sms_body` is the text.
        properties: serde_json::Value,
    },
    /// Sends a text; answered when Twilio has accepted or refused it.
    SendText {
        /// Name of the Twilio profile; `None` for the first.
        twilio: Option<String>,
        /// As given; normalised by the engine.
        number: String,
        /// As it is sent.
        body: String,
    },
    /// Sends a text or call that failed once more.
    Retry {
        /// Its row.
        row: OutboxId,
    },
    /// Places a call that speaks a message twice; answered when Twilio has accepted or refused it.
    PlaceCall {
        /// Name of the Twilio profile; `None` for the first.
        twilio: Option<String>,
        /// As given; normalised by the engine.
        number: String,
        /// As it is spoken.
        message: String,
    },
}

/// A text that Twilio handed to us, by webhook or by polling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundText {
    /// Name of the Twilio profile.
    pub twilio: String,
    /// `SM…`; a repeated one is ignored.
    pub sid: String,
    /// E.164.
    pub from: String,
    /// Our number.
    pub to: String,
    /// As typed.
    pub body: String,
    /// When Twilio received it; the input's own time when it did not say.
    pub received: Option<Timestamp>,
}

/// What Twilio tells of one call, by webhook or by polling (Twilio, "Voice webhooks" and "Call resource").
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEvent {
    /// Name of the Twilio profile.
    pub twilio: String,
    /// Which webhook; the second-last part of its URL.
    pub action: CallAction,
    /// The outbox row of a call that we placed, from the webhook's URL; `None` for a call to us.
    pub row: Option<OutboxId>,
    /// `CA…`.
    pub sid: String,
    /// The calling number, E.164.
    pub from: String,
    /// The called number, E.164.
    pub to: String,
    /// The turn of the document that asked, from the webhook's URL; `None` for `answer`, `status` and `inbound`. Twilio may tell
    /// the same twice: keys that answer an earlier turn do nothing, and the present document is given again.
    pub turn: Option<u32>,
    /// Keys that were pressed.
    pub digits: Option<String>,
    /// What answered, when Twilio looked. It looks while the call speaks already, so that nobody hears silence: its verdict comes
    /// later, with `status`, and then mostly without a state. A machine is to be hung up on (`Effect::EndCall`).
    pub answered_by: Option<AnsweredBy>,
    /// Its state; `None` when this tells only what answered.
    pub status: Option<CallStatus>,
    /// Seconds of a finished call.
    pub duration: Option<u32>,
    /// Twilio's error code, when it failed.
    pub error_code: Option<u32>,
}

/// Keys may be a PIN: they are not shown.
impl fmt::Debug for CallEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEvent")
            .field("action", &self.action)
            .field("row", &self.row)
            .field("sid", &self.sid)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("turn", &self.turn)
            .field("keys", &self.digits.as_ref().map(String::len))
            .field("answered_by", &self.answered_by)
            .field("status", &self.status)
            .field("duration", &self.duration)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

/// The voice webhooks (SPEC 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallAction {
    /// A call that we placed was answered.
    Answer,
    /// A PIN was keyed in, or the time for it is over.
    Pin,
    /// A key of the menu was pressed, or the time for it is over.
    Menu,
    /// What stands behind an acknowledgement: further alarms, or the end.
    Ack,
    /// How the call fares.
    Status,
    /// Somebody calls us.
    Inbound,
}

impl CallAction {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Answer, Self::Pin, Self::Menu, Self::Ack, Self::Status, Self::Inbound];

    /// The word in the URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Pin => "pin",
            Self::Menu => "menu",
            Self::Ack => "ack",
            Self::Status => "status",
            Self::Inbound => "inbound",
        }
    }

    /// The action of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == word)
    }
}

/// What answered a call (Twilio, "Answering Machine Detection").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AnsweredBy {
    Human,
    Machine,
    Fax,
    Unknown,
}

/// How a call fares, in rising order: a later report never moves it down (Twilio, "Call status values").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum CallStatus {
    Queued,
    Initiated,
    Ringing,
    InProgress,
    Completed,
    Busy,
    NoAnswer,
    Failed,
    Canceled,
}

impl CallStatus {
    /// The call has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::NoAnswer | Self::Failed | Self::Canceled)
    }

    /// Twilio's word for it; `None` for an unknown one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "queued" => Self::Queued,
            "initiated" => Self::Initiated,
            "ringing" => Self::Ringing,
            "in-progress" | "answered" => Self::InProgress,
            "completed" => Self::Completed,
            "busy" => Self::Busy,
            "no-answer" => Self::NoAnswer,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            _ => return None,
        })
    }
}

/// What a call says and asks next; the webhook listener makes TwiML of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallDocument {
    /// What stands last in the URLs of its webhooks: the outbox row, or the SID of a call to us.
    pub id: String,
    /// Goes up with each document of a call; stands in the query of the webhooks' URLs (`?turn=3`).
    pub turn: u32,
    /// The notification profile, whose script may change the document.
    pub profile: Option<String>,
    /// BCP 47, such as `en-US` (Twilio, `Say`).
    pub language: String,
    /// Such as `Polly.Joanna`; Twilio's default without.
    pub voice: Option<String>,
    /// In order.
    pub verbs: Vec<Verb>,
}

/// One verb of TwiML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Speaks words.
    Say(String),
    /// Is silent.
    Pause(std::time::Duration),
    /// Speaks, and takes keys meanwhile and for `timeout` afterwards. What was keyed goes to `action`, nothing too.
    Gather {
        /// The webhook.
        action: CallAction,
        /// It ends with this many keys; `None` when `#` ends it.
        digits: Option<u8>,
        /// For the next key.
        timeout: std::time::Duration,
        /// What is said.
        say: Vec<String>,
    },
    /// Goes on with what this webhook answers.
    Redirect(CallAction),
    /// Ends the call.
    Hangup,
    /// Refuses a call to us.
    Reject,
}

/// Twilio took a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `SM…`, `MM…` or `CA…`.
    pub sid: String,
    /// Billed segments as far as Twilio said.
    pub segments: u32,
    /// Twilio's first status.
    pub status: DeliveryState,
}

/// Why one attempt to send failed, by what may be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// Certainly not sent; may be repeated (connect error, 429).
    Retry {
        /// Twilio's code, if any.
        code: Option<u32>,
        /// For people.
        reason: String,
        /// Retry-After.
        after: Option<std::time::Duration>,
    },
    /// Perhaps sent: the connection was lost after the request went out, or 5xx.
    Ambiguous {
        /// For people.
        reason: String,
    },
    /// Refused for good.
    Permanent {
        /// Twilio's code, 0 when it gave none.
        code: u32,
        /// Twilio's words.
        reason: String,
        /// What to do about it.
        advice: String,
        /// The account itself is refused (20003, 20005, …).
        account: bool,
        /// This recipient has opted out (21610).
        opted_out: bool,
    },
}

/// How a text fares, in rising order: a later report never moves it down (Twilio, "Track outbound message status").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DeliveryState {
    Accepted,
    Queued,
    Sending,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Canceled,
    Read,
}

impl DeliveryState {
    /// Nothing but `Read` follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Undelivered | Self::Failed | Self::Canceled | Self::Read)
    }

    /// Twilio's word for it; `None` for one that is unknown or inbound.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "accepted" | "scheduled" => Self::Accepted,
            "queued" => Self::Queued,
            "sending" => Self::Sending,
            "sent" => Self::Sent,
            "delivered" | "partially_delivered" => Self::Delivered,
            "undelivered" => Self::Undelivered,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            "read" => Self::Read,
            _ => return None,
        })
    }
}

/// Something to be done. The daemon commits the records of a step first and carries out the rest in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To be made durable.
    Record(Record),
    /// A new value of one of the program's own tags, or of a derived tag.
    Publish(Sample),
    /// An alarm is not as it was told last.
    Condition(Arc<Condition>),
    /// One attempt to send; answered by `Input::SendResult`.
    Send(Outgoing),
    /// A search of Twilio's list; answered by `Input::LookupResult`.
    Lookup(Lookup),
    /// End a call that is no longer needed: cancelled while it is queued or rings, told `last_words` while it is in progress. Its
    /// status comes by webhook or poll.
    EndCall {
        /// Name of the Twilio profile.
        twilio: String,
        /// `CA…`.
        sid: String,
        /// For a call in progress.
        last_words: CallDocument,
    },
    /// Run a script of a pipeline; answered by `Input::ScriptResult`.
    Script {
        /// Correlates the result.
        run: u64,
        /// What.
        script: Arc<ScriptDef>,
        /// The alarm that its pipeline is about: `<tag path>/Alarms/<name>`.
        alarm: Arc<str>,
        /// It may take so long, waiting for others included.
        timeout: std::time::Duration,
    },
    /// Read a tag from its device; answered by `Input::ReadResult`.
    Read {
        /// The outbox row.
        row: OutboxId,
        /// Which.
        tag: TagId,
    },
    /// Write tags to their devices, in order, stopping at the first that fails; answered by `Input::WriteResult`.
    Write {
        /// The outbox row.
        row: OutboxId,
        /// What, in order.
        writes: Vec<(TagId, Value)>,
        /// Read this one from the device afterwards.
        read_back: Option<TagId>,
    },
    /// The answer to a request, after the commit.
    Answer {
        /// Whose.
        request: RequestId,
        /// What.
        outcome: Outcome,
    },
}

/// The effects of one step.
pub type Effects = Vec<Effect>;

/// One message for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The outbox row.
    pub row: OutboxId,
    /// Name of the Twilio profile.
    pub twilio: String,
    /// By text or call.
    pub channel: Channel,
    /// E.164.
    pub to: String,
    /// What is sent; of a call, what it says in one line.
    pub body: String,
    /// How a call is placed; `None` for texts.
    pub call: Option<PlaceCall>,
}

/// How a call is placed (Twilio, "Create a Call").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceCall {
    /// How long it rings, 5 to 600 s.
    pub ring_timeout: std::time::Duration,
    /// Twilio looks whether a machine answers.
    pub machine_detection: bool,
    /// What is said where Twilio cannot call us back; else the `answer` webhook is asked.
    pub document: Option<CallDocument>,
}

/// A search for a message whose fate is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The message.
    pub message: Outgoing,
    /// When the ambiguous attempt began.
    pub since: Timestamp,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Good, or why not.
    pub status: StatusCode,
    /// For people.
    pub message: String,
    /// The SID of a message that was sent.
    pub sid: Option<String>,
    /// What a call says next.
    pub document: Option<Box<CallDocument>>,
}

impl Outcome {
    /// Done.
    #[must_use]
    pub fn good(message: impl Into<String>) -> Self {
        Self { status: StatusCode::GOOD, message: message.into(), sid: None, document: None }
    }

    /// Not done.
    #[must_use]
    pub fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), sid: None, document: None }
    }
}
