//! One call: what the API shows of it, what webhooks tell of it, and what was said and pressed; and how a phone behaves in one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        api::Parameters,
        courier::Hook,
        state::{Kept, rfc2822, sid},
    },
    Order,
    hand::Hand,
};
use crate::{clock, tag::Timestamp};

/// Lines of a call's transcript that are kept: more than it can have verbs and documents.
const MAX_LINES: usize = 2000;
/// Entries of a phone's keys, and keys in one.
const MAX_DIGITS: (usize, usize) = (100, 64);
/// Longest call, s (Twilio's own limit of four hours).
const MAX_SECONDS: u32 = 14_400;

/// How a phone behaves when it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// Who or what takes the call.
    #[serde(default)]
    pub mode: VoiceMode,
    /// What is pressed: one entry for each `<Gather>` that the call comes to, with the finish key if it is pressed; an empty entry
    /// presses nothing.
    #[serde(default)]
    pub digits: Vec<String>,
    /// What the call lasted in the end, s; when left out, as long as its speech and pauses.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// Hangs up when a key is asked for and `digits` are used up.
    #[serde(default)]
    pub hangs_up: bool,
    /// How the call's reports reach whoever wants them.
    #[serde(default)]
    pub reports: Reports,
}

/// How the status callbacks of a call arrive. Real ones are independent requests, of which any may be late, doubled or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reports {
    /// Once each, one after the other.
    #[default]
    InOrder,
    /// Each twice, and once the call is over all of them again.
    Repeated,
    /// All when the call is over, the last first.
    Reversed,
    /// Never.
    Lost,
}

/// The ways in which a call can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoiceMode {
    /// A person answers.
    #[default]
    Answer,
    /// The line is busy (SIP 486).
    Busy,
    /// Nobody answers within the call's `Timeout` (SIP 487).
    NoAnswer,
    /// The network cannot place the call (SIP 404); a phone that is switched off fails with SIP 480.
    Failed,
    /// A voicemail answers. It presses no keys.
    Machine,
    /// It rings until somebody at the simulator lets it answer; keys are pressed as they are typed.
    Hand,
}

impl Voice {
    pub(super) fn check(&self) -> Result<(), String> {
        let (entries, keys) = MAX_DIGITS;
        let valid = |keys: &String| keys.bytes().all(|key| key.is_ascii_digit() || matches!(key, b'*' | b'#'));
        if self.digits.len() > entries || self.digits.iter().any(|entry| entry.len() > keys || !valid(entry)) {
            return Err(format!("set how a phone answers: digits are up to {entries} texts of up to {keys} of 0-9, * and #"));
        }
        if self.seconds.is_some_and(|seconds| seconds > MAX_SECONDS) {
            return Err(format!("set how a phone answers: seconds are at most {MAX_SECONDS}"));
        }
        Ok(())
    }
}

/// A call as the simulator shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// `CA…`
    pub sid: String,
    /// Caller.
    pub from: String,
    /// The phone.
    pub to: String,
    /// Twilio's word.
    pub status: String,
    /// What the detection found, if it was asked for and somebody answered.
    pub answered_by: Option<String>,
    /// Length of a finished call that was answered, s.
    pub duration: Option<u32>,
    /// When it was ordered.
    pub time: Timestamp,
    /// What was said and pressed.
    pub transcript: Vec<CallLine>,
}

/// One line of a call's transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CallLine {
    /// Twilio spoke.
    Said { text: String },
    /// The phone's keys, as they were pressed.
    Pressed { keys: String },
    /// What Twilio's debugger would show.
    Error { code: u32, message: String },
}

/// Twilio's word for where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Ringing,
    InProgress,
    Completed,
    Busy,
    NoAnswer,
    Failed,
    Canceled,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Ringing | Self::InProgress)
    }
}

/// What the caller wants to know about who answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detection {
    Start,
    MessageEnd,
}

/// Where a document comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Inline(String),
    /// With parameters besides the call's own.
    Fetch {
        hook: Hook,
        more: Vec<(&'static str, String)>,
    },
}

/// One call.
#[derive(Clone, Debug)]
pub(in crate::simulate::twilio) struct Call {
    pub(super) sid: String,
    pub(super) order: Order,
    pub(super) status: Status,
    /// When it was dialled.
    pub(super) started: Option<Timestamp>,
    pub(super) answered_by: Option<&'static str>,
    /// Seconds of speech and pauses so far.
    pub(super) talked: u32,
    /// What the phone was told about the length.
    pub(super) seconds: Option<u32>,
    /// Cancelled when the call is over.
    pub(super) over: CancellationToken,
    /// Cancelled when the present document is left for `detour`.
    pub(super) left: CancellationToken,
    pub(super) detour: Option<Source>,
    pub(super) hand: Arc<Hand>,
    created: Timestamp,
    updated: Timestamp,
    ended: Option<Timestamp>,
    duration: Option<u32>,
    sip: u16,
    /// Events so far, reported or not.
    events: u32,
    lines: Vec<CallLine>,
}

impl Call {
    pub(super) fn new(order: Order) -> Self {
        let now = clock::now();
        let mut call = Self {
            sid: sid("CA"),
            order,
            status: Status::Queued,
            started: None,
            answered_by: None,
            talked: 0,
            seconds: None,
            over: CancellationToken::new(),
            left: CancellationToken::new(),
            detour: None,
            hand: Arc::default(),
            created: now,
            updated: now,
            ended: None,
            duration: None,
            sip: 200,
            events: 0,
            lines: Vec::new(),
        };
        for name in std::mem::take(&mut call.order.unknown_events) {
            call.note(CallLine::Error { code: 21626, message: format!("invalid StatusCallbackEvent {name}") });
        }
        call
    }

    /// Goes on to a status that is not the last one; false when the call is over.
    pub(super) fn advance(&mut self, status: Status) -> bool {
        if self.status.is_over() {
            return false;
        }
        self.status = status;
        self.updated = clock::now();
        true
    }

    /// Ends the call; one that is over stays as it is.
    pub(super) fn end(&mut self, status: Status, sip: u16) {
        if self.status.is_over() {
            return;
        }
        let now = clock::now();
        // An answered call is billed: there is no call of zero seconds.
        let answered = self.status == Status::InProgress;
        self.duration = answered.then(|| self.seconds.unwrap_or(self.talked).max(1));
        self.status = status;
        self.sip = sip;
        self.updated = now;
        self.ended = Some(now);
        self.over.cancel();
    }

    /// Leaves the present document for another one.
    pub(super) fn redirect(&mut self, source: Source) {
        self.detour = Some(source);
        self.updated = clock::now();
        self.left.cancel();
    }

    pub(super) fn note(&mut self, line: CallLine) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    /// The phone's number.
    pub(in crate::simulate::twilio) fn phone(&self) -> &str {
        if self.order.inbound { &self.order.from } else { &self.order.to }
    }

    pub(super) fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn direction(&self) -> &'static str {
        if self.order.inbound { "inbound" } else { "outbound-api" }
    }

    pub(in crate::simulate::twilio) fn record(&self) -> CallRecord {
        CallRecord {
            sid: self.sid.clone(),
            from: self.order.from.clone(),
            to: self.order.to.clone(),
            status: self.status.word().to_owned(),
            answered_by: self.answered_by.map(str::to_owned),
            duration: self.duration,
            time: self.created,
            transcript: self.lines.clone(),
        }
    }

    /// What every request about this call carries, empty values included (Twilio, "TwiML voice: Twilio's request to your
    /// application").
    pub(super) fn parameters(&self, account: &str, status: &str) -> Parameters {
        let (to, from) = (&self.order.to, &self.order.from);
        let mut parameters: Parameters = [
            ("CallSid", self.sid.as_str()),
            ("AccountSid", account),
            ("From", from),
            ("To", to),
            ("Caller", from),
            ("Called", to),
            ("CallStatus", status),
            ("ApiVersion", "2010-04-01"),
            ("Direction", self.direction()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for side in ["From", "To", "Caller", "Called"] {
            let places = [("City", ""), ("State", ""), ("Zip", ""), ("Country", "US")];
            parameters.extend(places.map(|(place, value)| (format!("{side}{place}"), value.to_owned())));
        }
        parameters.extend(self.answered_by.map(|who| ("AnsweredBy".to_owned(), who.to_owned())));
        parameters
    }

    /// What the report of a verdict in the background carries (Twilio, "Answering Machine Detection": AsyncAmdStatusCallback).
    pub(super) fn verdict(&self, account: &str, seconds: u32) -> Option<(Hook, Parameters)> {
        let hook = self.order.verdict.clone()?;
        let parameters = [
            ("CallSid", self.sid.clone()),
            ("AccountSid", account.to_owned()),
            ("AnsweredBy", self.answered_by?.to_owned()),
            ("MachineDetectionDuration", (seconds * 1000).to_string()),
        ];
        Some((hook, parameters.map(|(key, value)| (key.to_owned(), value)).into()))
    }

    /// Counts an event; gives what a status callback about it carries, if one was asked for (Twilio, "Call resource: status
    /// callback parameters").
    pub(super) fn happened(&mut self, event: &str, account: &str) -> Option<(Hook, Parameters)> {
        let number = self.events;
        self.events += 1;
        let hook = self.order.callback.clone().filter(|_| self.order.events.contains(&event))?;
        let status = if event == "initiated" { event } else { self.status.word() };
        let mut parameters = self.parameters(account, status);
        let mut add = |key: &str, value: String| parameters.push((key.to_owned(), value));
        add("Timestamp", rfc2822(clock::now()));
        add("CallbackSource", "call-progress-events".into());
        add("SequenceNumber", number.to_string());
        if self.status.is_over() {
            let seconds = self.duration.unwrap_or(0);
            add("CallDuration", seconds.to_string());
            add("Duration", seconds.div_ceil(60).to_string());
            add("SipResponseCode", self.sip.to_string());
        }
        Some((hook, parameters))
    }
}

/// Twilio, "Call resource: properties".
impl Kept for Call {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn resource(&self, account: &str) -> Value {
        let uri = format!("/2010-04-01/Accounts/{account}/Calls/{}", self.sid);
        json!({
            "account_sid": account,
            "annotation": null,
            "answered_by": self.answered_by,
            "api_version": "2010-04-01",
            "caller_name": null,
            "date_created": rfc2822(self.created),
            "date_updated": rfc2822(self.updated),
            "direction": self.direction(),
            "duration": self.duration.map(|seconds| seconds.to_string()),
            "end_time": self.ended.map(rfc2822),
            "forwarded_from": null,
            "from": self.order.from,
            "from_formatted": formatted(&self.order.from),
            "group_sid": null,
            "parent_call_sid": null,
            "phone_number_sid": null,
            "price": null,
            "price_unit": "USD",
            "queue_time": "0",
            "sid": self.sid,
            "start_time": self.started.map(rfc2822),
            "status": self.status.word(),
            "subresource_uris": {
                "notifications": format!("{uri}/Notifications.json"),
                "recordings": format!("{uri}/Recordings.json"),
            },
            "to": self.order.to,
            "to_formatted": formatted(&self.order.to),
            "trunk_sid": null,
            "uri": format!("{uri}.json"),
        })
    }
}

/// `(555) 000-1111` for a number of the North American plan; others stay as they are.
fn formatted(number: &str) -> String {
    match number.strip_prefix("+1") {
        Some(digits) if digits.len() == 10 => format!("({}) {}-{}", &digits[..3], &digits[3..6], &digits[6..]),
        _ => number.to_owned(),
    }
}
