//! The outbox: texts and calls until Twilio has taken them and told their fate, each attempt committed before it is made.
//!
//! Retry policy lives here and nowhere else. A sender (a Twilio profile) sends at its own rate; answers and critical alarms go
//! first, then priority, then age (`queue`). An attempt whose fate is unknown is looked up in Twilio's list before it is repeated
//! (`fate`).

mod fate;
mod queue;
mod retry;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Engine,
    io::{DeliveryState, OutboxId, RequestId},
    pipeline::SetRow,
    plan::{Channel, Priority},
    writeback::WriteBackRow,
};
use crate::tag::Timestamp;

/// When Twilio's list is searched after an ambiguous attempt (SPEC 8, "three times within 60 s").
const LOOKUPS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];
/// A list that cannot be read until then: the text is sent again, marked as a possible duplicate.
const AMBIGUOUS_DEADLINE: Duration = Duration::from_secs(120);

/// One row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub created: Timestamp,
    pub job: Job,
}

/// What a row is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    Text(Text),
    WriteBack(WriteBackRow),
    Set(SetRow),
}

/// A text, or a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Text {
    pub twilio: String,
    #[serde(default)]
    pub channel: Channel,
    pub to: String,
    pub user: Option<String>,
    pub purpose: Purpose,
    /// Composed at the first attempt, so that it says what is true then.
    pub body: String,
    pub state: TextState,
    pub attempts: u32,
    pub possible_duplicate: bool,
    /// Further SIDs of this row that Twilio told us of: duplicates that really were sent.
    #[serde(default)]
    pub duplicates: Vec<String>,
    /// Not before then.
    pub not_before: Timestamp,
    pub detail: String,
    /// Bodies may stand in the audit log.
    pub audit: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Names alarm events.
    Alarm { profile: String, priority: Priority, items: Vec<Item> },
    /// Answers a person's text; held until the write-backs that it reports on have ended.
    Answer(Answer),
    /// Somebody's own text.
    Manual,
    /// An application event's, to somebody who is no user.
    Event { profile: String, event: String, recipient: String },
}

/// What an answer says, kept until it is composed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Write-backs whose end it waits for.
    pub waits_for: Vec<OutboxId>,
    /// It went without that: their end is told in a text of its own.
    #[serde(default)]
    pub pending: bool,
    /// Fixed words, instead of the rest.
    pub plain: Option<String>,
    /// Name and code.
    pub done: Vec<(String, String)>,
    /// Name, code, by whom, when.
    pub already: Vec<(String, String, String, String)>,
    pub unknown: Vec<String>,
    pub open: usize,
    /// A write-back was asked for.
    pub plc: bool,
    /// Why the PLC did not take it.
    pub plc_failure: Option<String>,
    /// The alarm events that were acknowledged, or whose write-back ended.
    #[serde(default)]
    pub events: Vec<Uuid>,
}

impl Answer {
    fn body(&self) -> String {
        use super::{
            answer::{Acknowledged, Already, Plc, acknowledged},
            length::DigestItem,
        };
        if let Some(plain) = &self.plain {
            return plain.clone();
        }
        acknowledged(&Acknowledged {
            done: self.done.iter().map(|(name, code)| DigestItem { name, code }).collect(),
            already: self
                .already
                .iter()
                .map(|(name, code, by, at)| Already { item: DigestItem { name, code }, by, at })
                .collect(),
            unknown: self.unknown.iter().map(String::as_str).collect(),
            plc: match &self.plc_failure {
                Some(reason) => Plc::DidNot(reason),
                None if !self.plc => Plc::None,
                None if self.pending => Plc::Pending,
                None => Plc::Took,
            },
            open: self.open,
        })
    }
}

/// Whom to tell of a write-back whose acknowledgement was answered already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LateAnswer {
    pub twilio: String,
    pub to: String,
    pub user: Option<String>,
}

/// One alarm event in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub alarm: Arc<str>,
    /// The code of the run that asked; a later run of the same alarm has texts of its own.
    pub code: String,
    /// The newest one when the text was written.
    pub event: Uuid,
    /// False for those behind "and 37 more".
    pub named: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum TextState {
    Queued,
    /// The attempt that began then is under way, or was when the program stopped.
    Sending(Timestamp),
    /// The attempt that began at `since` has an unknown fate.
    Ambiguous {
        since: Timestamp,
        lost: Timestamp,
        lookups: usize,
        list_read: bool,
    },
    Accepted {
        sid: String,
        at: Timestamp,
        status: DeliveryState,
    },
    Failed {
        at: Timestamp,
    },
    Cancelled {
        at: Timestamp,
    },
}

impl TextState {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Queued | Self::Sending(_) | Self::Ambiguous { .. })
    }
}

/// All rows and the state of the senders.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub rows: BTreeMap<OutboxId, Row>,
    pub next: u64,
    senders: HashMap<String, Sender>,
    /// Texts whose fate is open, by age.
    open: BTreeSet<OutboxId>,
    /// The calls among them.
    open_calls: BTreeSet<OutboxId>,
    sids: HashMap<String, OutboxId>,
    /// Callers who wait for the fate of their own text.
    callers: HashMap<OutboxId, RequestId>,
}

#[derive(Debug, Default)]
pub(super) struct Sender {
    texts: Lane,
    calls: Lane,
    last_accepted: Timestamp,
    /// Twilio refuses the account; its words.
    refused: Option<String>,
}

/// What waits and what is under way, at a pace of its own.
#[derive(Debug, Default)]
struct Lane {
    queue: BTreeSet<(u8, OutboxId)>,
    in_flight: BTreeSet<OutboxId>,
    /// When all attempts so far would have been made at an even pace; it may run ahead by one second's worth.
    paced: Timestamp,
}

impl Sender {
    const fn lane(&mut self, channel: Channel) -> &mut Lane {
        match channel {
            Channel::Sms => &mut self.texts,
            Channel::Voice => &mut self.calls,
        }
    }
}

impl Outbox {
    pub(super) fn knows_sid(&self, sid: &str) -> bool {
        self.sids.contains_key(sid)
    }

    /// Calls that Twilio has not taken yet, by age.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = (OutboxId, &Text)> {
        self.open_calls.iter().filter_map(|id| Some((*id, self.text(*id)?)))
    }

    /// A call that waits or goes on is about this event too.
    pub(super) fn add_item(&mut self, id: OutboxId, item: Item, priority: Priority) {
        let Some(text) = self.text_mut(id) else { return };
        let (before, twilio, channel) = (text.rank(), text.twilio.clone(), text.channel);
        let Purpose::Alarm { priority: present, items, .. } = &mut text.purpose else { return };
        *present = priority.max(*present);
        items.retain(|old| old.alarm != item.alarm);
        items.push(item);
        let after = text.rank();
        let lane = self.lane(&twilio, channel);
        if lane.queue.remove(&(before, id)) {
            lane.queue.insert((after, id));
        }
    }

    fn lane(&mut self, twilio: &str, channel: Channel) -> &mut Lane {
        self.senders.entry(twilio.to_owned()).or_default().lane(channel)
    }

    /// Answers that wait for this write-back.
    pub(super) fn held_answers(&self, write_back: OutboxId) -> Vec<OutboxId> {
        let waits = |id: &&OutboxId| {
            self.text(**id)
                .is_some_and(|text| matches!(&text.purpose, Purpose::Answer(answer) if answer.waits_for.contains(&write_back)))
        };
        self.open.iter().filter(waits).copied().collect()
    }

    /// Texts whose fate is open, oldest first.
    pub(super) fn open_texts(&self) -> impl Iterator<Item = OutboxId> {
        self.open.iter().copied()
    }

    pub(super) fn text(&self, id: OutboxId) -> Option<&Text> {
        match &self.rows.get(&id)?.job {
            Job::Text(text) => Some(text),
            Job::WriteBack(_) | Job::Set(_) => None,
        }
    }

    fn text_mut(&mut self, id: OutboxId) -> Option<&mut Text> {
        match &mut self.rows.get_mut(&id)?.job {
            Job::Text(text) => Some(text),
            Job::WriteBack(_) | Job::Set(_) => None,
        }
    }
}

impl Text {
    /// One that goes at once.
    pub(super) fn new(twilio: &str, channel: Channel, to: &str, user: Option<String>, purpose: Purpose, now: Timestamp) -> Self {
        Self {
            twilio: twilio.to_owned(),
            channel,
            to: to.to_owned(),
            user,
            purpose,
            body: String::new(),
            state: TextState::Queued,
            attempts: 0,
            possible_duplicate: false,
            duplicates: Vec::new(),
            not_before: now,
            detail: String::new(),
            audit: true,
        }
    }

    /// Answers and critical first, then by priority.
    fn rank(&self) -> u8 {
        match &self.purpose {
            Purpose::Answer(_) | Purpose::Alarm { priority: Priority::Critical, .. } => 0,
            Purpose::Manual | Purpose::Alarm { priority: Priority::High, .. } => 1,
            Purpose::Alarm { priority: Priority::Medium, .. } => 2,
            Purpose::Alarm { priority: Priority::Low, .. } => 3,
            Purpose::Alarm { priority: Priority::Diagnostic, .. } | Purpose::Event { .. } => 4,
        }
    }
}

pub(super) fn status_word(status: DeliveryState) -> &'static str {
    match status {
        DeliveryState::Accepted => "accepted",
        DeliveryState::Queued => "queued",
        DeliveryState::Sending => "sending",
        DeliveryState::Sent => "sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Undelivered => "undelivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Canceled => "canceled",
        DeliveryState::Read => "read",
    }
}

impl Engine {
    /// The alarm events that an outbox row is about, for logs; none for a row that is gone.
    #[must_use]
    pub fn events_of(&self, row: OutboxId) -> Vec<Uuid> {
        match self.outbox.rows.get(&row).map(|row| &row.job) {
            Some(Job::Text(text)) => match &text.purpose {
                Purpose::Alarm { items, .. } => items.iter().map(|item| item.event).collect(),
                Purpose::Answer(answer) => answer.events.clone(),
                Purpose::Manual | Purpose::Event { .. } => Vec::new(),
            },
            Some(Job::WriteBack(write)) => vec![write.event],
            Some(Job::Set(_)) | None => Vec::new(),
        }
    }

    /// The outbox row that Twilio knows by this SID.
    #[must_use]
    pub fn row_of(&self, sid: &str) -> Option<OutboxId> {
        self.outbox.sids.get(sid).copied()
    }
}
