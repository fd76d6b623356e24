//! What lies outside of the program: Twilio with its lists of texts and calls, the PLC, scripts, and answers that are under way.
//!
//! It obeys: how it answers is set by the scenario or the simulation. What it saw is kept in [`World::acts`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    phone::{Call, Phone, Turn},
    rig::is_result,
};
use crate::{
    engine::{
        io::{Accepted, DeliveryState, InboundText, Input, Lookup, OutboxId, Outgoing, RequestId, SendFailure},
        plan::Channel,
    },
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
    /// Twilio took a call.
    Call {
        /// `CA…`.
        sid: String,
        /// The outbox row that it was placed from.
        row: OutboxId,
        /// E.164.
        to: String,
        /// What it says, in one line.
        words: String,
    },
    /// A sentence was spoken in a call. A scenario need not expect it.
    Said {
        /// `CA…`.
        sid: String,
        /// The other side's number.
        to: String,
        /// What was said.
        words: String,
    },
    /// The program ended a call.
    EndCall {
        /// `CA…`.
        sid: String,
        /// The other side's number.
        to: String,
        /// Its last words; none when it only rang.
        words: String,
    },
    /// A script of a pipeline ran.
    Script {
        /// Its file.
        name: String,
        /// The alarm that it ran for.
        alarm: Arc<str>,
    },
}

/// Something that is under way.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// To the program; an answer to the run of it that asked.
    Input(u64, Input),
    /// Within Twilio: a call goes on, unless something overtook it.
    Phone { sid: String, number: u64, turn: Turn },
}

impl Act {
    /// A scenario must expect it; else it may.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self, Self::Said { .. })
    }
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

impl Seen {
    /// It counts, and no line has expected it.
    #[must_use]
    pub fn surprises(&self) -> bool {
        !self.expected && self.act.counts()
    }
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
    /// Tags that nobody has set have no value, instead of zero.
    pub unknown: bool,
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
    /// Calls, oldest first.
    pub calls: Vec<Call>,
    /// What phones do when they are called, by number.
    pub phones: HashMap<String, Phone>,
    /// Doubles and mixes up the status callbacks of calls.
    pub callbacks: Option<fastrand::Rng>,
    /// The run of the program that asks at present.
    pub(super) asker: u64,
    /// What is under way.
    pub(super) pending: BTreeMap<(Timestamp, u64), Due>,
    /// Numbers given so far.
    pub(super) next: u64,
}

impl World {
    /// The program's clock was set: what is under way has new times by it, and with `lists` what Twilio took before too.
    pub(super) fn shift(&mut self, lists: bool, by: impl Fn(Timestamp) -> Timestamp) {
        let pending = std::mem::take(&mut self.pending);
        self.pending = pending.into_iter().map(|((at, number), due)| ((by(at), number), due)).collect();
        if lists {
            self.messages.iter_mut().for_each(|message| message.created = by(message.created));
            self.calls.iter_mut().for_each(|call| call.created = by(call.created));
        }
        for call in &mut self.calls {
            call.answered = call.answered.map(&by);
            call.ended = call.ended.map(&by);
        }
    }

    /// An input that arrives after the present latency.
    pub(super) fn after(&mut self, now: Timestamp, input: Input) {
        self.after_pause(now, self.latency, input);
    }

    pub(super) fn after_pause(&mut self, now: Timestamp, pause: Duration, input: Input) {
        self.next += 1;
        self.pending.insert((now + pause, self.next), Due::Input(self.asker, input));
    }

    /// Answers to these runs of the program find nobody.
    pub(super) fn forget_answers(&mut self, gone: impl Fn(u64) -> bool) {
        self.pending.retain(|_, due| match due {
            Due::Input(run, input) => !(is_result(input) && gone(*run)),
            Due::Phone { .. } => true,
        });
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

    /// Pretends that a message was taken.
    pub(super) fn lose(&mut self, now: Timestamp, row: OutboxId) {
        self.next += 1;
        let accepted = Accepted { sid: format!("SMlost{}", self.next), segments: 1, status: DeliveryState::Queued };
        self.after(now, Input::SendResult { row, result: Ok(accepted) });
    }

    fn take(&mut self, now: Timestamp, message: Outgoing) -> Accepted {
        if message.channel == Channel::Voice {
            return Accepted { sid: self.place(now, message), segments: 0, status: DeliveryState::Queued };
        }
        let sid = format!("SM{}", self.messages.len() + 1);
        let message = Message { sid: sid.clone(), row: message.row, to: message.to, body: message.body, created: now };
        self.messages.push(message.clone());
        self.saw(now, Act::Text(message));
        Accepted { sid, segments: 1, status: DeliveryState::Queued }
    }

    pub(super) fn look_up(&mut self, now: Timestamp, lookup: &Lookup) {
        let segments = u32::from(lookup.message.channel == Channel::Sms);
        let accepted = |sid: &String| Accepted { sid: sid.clone(), segments, status: DeliveryState::Sent };
        let fits_call = |call: &&Call| call.row.is_some() && call.number == lookup.message.to && call.created >= lookup.since;
        let fits = |message: &&Message| {
            message.to == lookup.message.to && message.body == lookup.message.body && message.created >= lookup.since
        };
        let found: Vec<Accepted> = match lookup.message.channel {
            Channel::Sms => self.messages.iter().filter(fits).map(|message| accepted(&message.sid)).collect(),
            Channel::Voice => self.calls.iter().filter(fits_call).map(|call| accepted(&call.sid)).collect(),
        };
        let result = if self.list_fails { Err("the list cannot be read".to_owned()) } else { Ok(found) };
        self.after(now, Input::LookupResult { row: lookup.message.row, result });
    }

    /// A script runs, and ends as it is told to.
    pub(super) fn run_script(&mut self, now: Timestamp, run: u64, name: &str, alarm: Arc<str>) {
        self.saw(now, Act::Script { name: name.to_owned(), alarm });
        let result = match self.scripts.clone() {
            Scripts::Work => Ok(()),
            Scripts::Fail(reason) => Err(reason),
            Scripts::Hang => return,
        };
        self.after(now, Input::ScriptResult { run, result });
    }

    pub(super) fn read(&mut self, now: Timestamp, row: OutboxId, tag: TagId, result: Result<Value, StatusCode>) {
        let result = match self.devices.get(&tag) {
            Some(Device::Fails(status)) => Err(*status),
            _ => result,
        };
        self.after(now, Input::ReadResult { row, result });
    }
}
