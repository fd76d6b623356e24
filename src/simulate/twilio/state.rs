//! What the simulator remembers: messages, calls, phones, the request log. Everything is bounded; the oldest goes first.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{
    calls::{Call, Voice},
    faults::Faults,
    segments,
};
use crate::{clock, tag::Timestamp};

/// Messages kept.
pub const MAX_MESSAGES: usize = 20_000;
/// Calls kept.
pub const MAX_CALLS: usize = 5_000;
/// API requests kept in the log.
pub const MAX_REQUESTS: usize = 20_000;
/// Webhook deliveries kept in the log.
pub const MAX_WEBHOOKS: usize = 2_000;
/// Opt-outs, unreachable phones and ways to answer kept.
pub const MAX_MARKS: usize = 10_000;

/// Everything that changes.
pub(super) struct State {
    pub(super) messages: Ring<Message>,
    pub(super) calls: Ring<Call>,
    /// How phones behave when they are called; the others answer.
    pub(super) voices: HashMap<String, Voice>,
    /// Pairs of sender (number or Messaging Service) and recipient that texted STOP.
    pub(super) opted_out: HashSet<(String, String)>,
    /// Phones that are switched off: texts to them end undelivered with 30003.
    pub(super) unreachable: HashSet<String>,
    pub(super) inbound_url: Option<String>,
    pub(super) voice_urls: VoiceUrls,
    pub(super) faults: Faults,
    pub(super) requests: VecDeque<RequestRecord>,
    pub(super) requests_seen: u64,
    pub(super) webhooks: VecDeque<WebhookRecord>,
}

/// What the account's numbers ask when somebody calls them (Twilio console: "A call comes in", "Call status changes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceUrls {
    /// What a call says.
    pub voice: Option<String>,
    /// How it ended.
    pub status: Option<String>,
}

/// One message, either way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sid: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) sent: Option<Timestamp>,
    pub(super) to: String,
    pub(super) from: Option<String>,
    pub(super) service: Option<String>,
    pub(super) body: String,
    pub(super) status: &'static str,
    pub(super) direction: &'static str,
    pub(super) error_code: Option<u32>,
    pub(super) callback: Option<String>,
}

/// One request to the API, as the log shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Counts from 1.
    pub number: u64,
    /// When it came.
    pub time: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query and form parameters, decoded; in JSON an object.
    #[serde(serialize_with = "as_object")]
    pub parameters: Vec<(String, String)>,
    /// User of the Basic authentication; never the password.
    pub user: Option<String>,
    /// HTTP status of the answer; `None` when the connection was reset instead.
    pub status: Option<u16>,
    /// SID of the message or call that it created.
    pub sid: Option<String>,
}

/// One webhook, as the log shows it.
#[derive(Clone, Debug, Serialize)]
pub struct WebhookRecord {
    /// When its last attempt ended.
    pub time: Timestamp,
    /// Where to, without the fragment.
    pub url: String,
    /// What it carried; in JSON an object.
    #[serde(serialize_with = "as_object")]
    pub parameters: Vec<(String, String)>,
    /// HTTP status of the last answer; `None` when there was none.
    pub status: Option<u16>,
    /// How often it was tried.
    pub attempts: u32,
}

impl State {
    pub(super) fn new(inbound_url: Option<String>, voice_urls: VoiceUrls) -> Self {
        Self {
            messages: Ring::new(MAX_MESSAGES),
            calls: Ring::new(MAX_CALLS),
            voices: HashMap::new(),
            opted_out: HashSet::new(),
            unreachable: HashSet::new(),
            inbound_url,
            voice_urls,
            faults: Faults::default(),
            requests: VecDeque::new(),
            requests_seen: 0,
            webhooks: VecDeque::new(),
        }
    }

    /// The messages of one phone, oldest first.
    pub(super) fn of_phone<'a>(&'a self, number: &'a str) -> impl DoubleEndedIterator<Item = &'a Message> {
        self.messages.oldest().filter(move |message| message.phone() == Some(number))
    }

    pub(super) fn log(&mut self, mut record: RequestRecord) {
        self.requests_seen += 1;
        record.number = self.requests_seen;
        push_bounded(&mut self.requests, record, MAX_REQUESTS);
    }
}

/// What the account keeps under a SID.
pub(super) trait Kept {
    fn sid(&self) -> &str;

    /// The resource as Twilio's API shows it.
    fn resource(&self, account: &str) -> Value;
}

/// Resources by age and SID; the oldest goes when there are too many.
pub(super) struct Ring<T> {
    rows: VecDeque<T>,
    most: usize,
    /// How many were dropped from the front.
    dropped: u64,
    index: HashMap<String, u64>,
}

impl<T: Kept> Ring<T> {
    fn new(most: usize) -> Self {
        Self { rows: VecDeque::new(), most, dropped: 0, index: HashMap::new() }
    }

    pub(super) fn add(&mut self, row: T) {
        if self.rows.len() == self.most
            && let Some(oldest) = self.rows.pop_front()
        {
            self.index.remove(oldest.sid());
            self.dropped += 1;
        }
        self.index.insert(row.sid().to_owned(), self.dropped + self.rows.len() as u64);
        self.rows.push_back(row);
    }

    pub(super) fn get(&self, sid: &str) -> Option<&T> {
        self.rows.get(self.position(sid)?)
    }

    pub(super) fn get_mut(&mut self, sid: &str) -> Option<&mut T> {
        let position = self.position(sid)?;
        self.rows.get_mut(position)
    }

    pub(super) fn newest(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().rev()
    }

    pub(super) fn oldest(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter()
    }

    fn position(&self, sid: &str) -> Option<usize> {
        usize::try_from(self.index.get(sid)?.checked_sub(self.dropped)?).ok()
    }
}

/// Adds at the end; the oldest goes when there are more than `most`.
pub(super) fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Message {
    pub(super) fn new(direction: &'static str, status: &'static str, from: Option<String>, to: String, body: String) -> Self {
        let now = clock::now();
        Self {
            sid: sid("SM"),
            created: now,
            updated: now,
            sent: (direction != "outbound-api").then_some(now),
            to,
            from,
            service: None,
            body,
            status,
            direction,
            error_code: None,
            callback: None,
        }
    }

    /// The person's number.
    pub(super) fn phone(&self) -> Option<&str> {
        if self.direction == "inbound" { self.from.as_deref() } else { Some(&self.to) }
    }

    pub(super) fn segments(&self) -> u32 {
        segments::count(&self.body)
    }
}

/// Twilio, "Messages resource".
impl Kept for Message {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn resource(&self, account: &str) -> Value {
        // Twilio does not know the sender, nor so the segments, before a Messaging Service has chosen one.
        let undecided = self.status == "accepted";
        let uri = format!("/2010-04-01/Accounts/{account}/Messages/{}", self.sid);
        json!({
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": self.sent.map(rfc2822),
            "date_updated": rfc2822(self.updated),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": null,
            "from": if undecided { None } else { self.from.as_ref() },
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": if undecided { "0".to_owned() } else { self.segments().to_string() },
            "price": null,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": self.to,
            "uri": format!("{uri}.json"),
        })
    }
}

fn as_object<S: Serializer>(parameters: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(parameters.iter().map(|(key, value)| (key, value)))
}

/// A new SID: two letters and 32 hexadecimal digits.
pub(super) fn sid(kind: &str) -> String {
    format!("{kind}{:032x}", fastrand::u128(..))
}

pub(super) fn rfc2822(time: Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&time.to_jiff().to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}
