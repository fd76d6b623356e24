//! What lies outside of the program: Twilio with its list of texts, the PLC, and answers that are under way.
//!
//! It obeys: how it answers is set by the scenario or the simulation. What it saw is kept in [`World::acts`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    engine::io::{Accepted, DeliveryState, InboundText, Input, Lookup, OutboxId, Outgoing, RequestId, SendFailure},
    tag::{StatusCode, TagId, Timestamp, Value},
};

/// Our number in every scenario.
pub const OUR_NUMBER: &str = "+15550001111";

/// What Twilio does with the next requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Takes texts.
    #[default]
    Accepts,
    /// Cannot be reached.
    Down,
    /// 429.
    Busy,
    /// Refuses for good, with this code.
    Refuses(u32),
    /// Takes the text, and its answer is lost.
    LosesAnswer,
    /// The request is lost after it went out.
    LosesRequest,
}

/// How a device takes writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// As it should.
    Works,
    /// Refuses with this status.
    Fails(StatusCode),
    /// Takes a write, and its answer is lost.
    LosesAnswer,
    /// Says Good and changes nothing.
    Ignores,
    /// Takes a write, and never answers.
    Hangs,
}

/// How scripts fare; the rig runs none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scripts {
    /// They end at once.
    #[default]
    Work,
    /// They fail, with this reason.
    Fail(String),
    /// They do not end.
    Hang,
}

/// A text that Twilio has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `SM…`.
    pub sid: String,
    /// The outbox row that it was sent from.
    pub row: OutboxId,
    /// E.164.
    pub to: String,
    /// As it was sent.
    pub body: String,
    /// When Twilio took it.
    pub created: Timestamp,
}

/// Something that is seen outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Twilio took a text.
    Text(Message),
    /// A device was written.
    Write {
        /// Which.
        tag: TagId,
        /// With what.
        value: Value,
    },
    /// A script was started: its file.
    Script(String),
}

/// An act, its time, and whether a scenario expected it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// What.
    pub act: Act,
    /// An `expect` line has claimed it.
    pub expected: bool,
}

/// Twilio, devices and what they have seen.
#[derive(Debug, Default)]
pub struct World {
    /// How Twilio takes texts.
    pub mood: Mood,
    /// The same for single numbers.
    pub moods: HashMap<String, Mood>,
    /// Twilio's list cannot be read.
    pub list_fails: bool,
    /// Twilio's list, oldest first.
    pub messages: Vec<Message>,
    /// Requests to send, whatever became of them.
    pub attempts: usize,
    /// What the PLC holds.
    pub device: HashMap<TagId, Value>,
    /// How tags of the PLC take writes; those not named work.
    pub devices: HashMap<TagId, Device>,
    /// How scripts fare.
    pub scripts: Scripts,
    /// Sources that cannot be reached.
    pub down: BTreeSet<Arc<str>>,
    /// How long an answer takes, at the next request.
    pub latency: Duration,
    /// What was seen, oldest first.
    pub acts: Vec<Seen>,
    /// Inputs that are under way.
    pub(super) pending: BTreeMap<(Timestamp, u64), Input>,
    /// Numbers given so far.
    pub(super) next: u64,
}

impl World {
    /// An input that arrives after the present latency.
    pub(super) fn after(&mut self, now: Timestamp, input: Input) {
        self.next += 1;
        self.pending.insert((now + self.latency, self.next), input);
    }

    pub(super) fn saw(&mut self, at: Timestamp, act: Act) {
        self.acts.push(Seen { at, act, expected: false });
    }

    /// A text from a person; `received` as Twilio says, else the time of its arrival counts.
    pub fn inbound(&mut self, at: Timestamp, sid: String, from: &str, body: &str, received: Option<Timestamp>) {
        let text = InboundText {
            twilio: "main".to_owned(),
            sid,
            from: from.to_owned(),
            to: OUR_NUMBER.to_owned(),
            body: body.to_owned(),
            received,
        };
        self.after(at, Input::Inbound { request: RequestId::NOBODY, text });
    }

    /// Twilio reports on a text.
    pub fn status(&mut self, at: Timestamp, message: &Message, status: DeliveryState, error_code: Option<u32>) {
        let (row, sid) = (Some(message.row), message.sid.clone());
        self.after(at, Input::Status { request: RequestId::NOBODY, row, sid, status, error_code });
    }

    pub(super) fn send(&mut self, now: Timestamp, message: Outgoing) {
        self.attempts += 1;
        let mood = self.moods.get(&message.to).copied().unwrap_or(self.mood);
        let row = message.row;
        let ambiguous = || Err(SendFailure::Ambiguous { reason: "the connection was lost".to_owned() });
        let result = match mood {
            Mood::Accepts => Ok(self.take(now, message)),
            Mood::LosesAnswer => {
                self.take(now, message);
                ambiguous()
            }
            Mood::LosesRequest => ambiguous(),
            Mood::Down => Err(SendFailure::Retry { code: None, reason: "connection refused".to_owned(), after: None }),
            Mood::Busy => {
                let after = Some(Duration::from_secs(3));
                Err(SendFailure::Retry { code: Some(20429), reason: "too many requests".to_owned(), after })
            }
            Mood::Refuses(code) => Err(SendFailure::Permanent {
                code,
                reason: "refused".to_owned(),
                advice: "look at the number".to_owned(),
                account: code == 20003,
                opted_out: code == 21610,
            }),
        };
        self.after(now, Input::SendResult { row, result });
    }

    fn take(&mut self, now: Timestamp, message: Outgoing) -> Accepted {
        let sid = format!("SM{}", self.messages.len() + 1);
        let message = Message { sid: sid.clone(), row: message.row, to: message.to, body: message.body, created: now };
        self.messages.push(message.clone());
        self.saw(now, Act::Text(message));
        Accepted { sid, segments: 1, status: DeliveryState::Queued }
    }

    pub(super) fn look_up(&mut self, now: Timestamp, lookup: &Lookup) {
        let fits = |message: &&Message| {
            message.to == lookup.message.to && message.body == lookup.message.body && message.created >= lookup.since
        };
        let found = self.messages.iter().filter(fits);
        let found =
            found.map(|message| Accepted { sid: message.sid.clone(), segments: 1, status: DeliveryState::Sent }).collect();
        let result = if self.list_fails { Err("the list cannot be read".to_owned()) } else { Ok(found) };
        self.after(now, Input::LookupResult { row: lookup.message.row, result });
    }

    pub(super) fn read(&mut self, now: Timestamp, row: OutboxId, tag: TagId, result: Result<Value, StatusCode>) {
        let result = match self.devices.get(&tag) {
            Some(Device::Fails(status)) => Err(*status),
            _ => result,
        };
        self.after(now, Input::ReadResult { row, result });
    }
}
