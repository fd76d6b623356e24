//! Reading Twilio's lists of messages and calls: the search for one whose fate is unknown, and polling instead of webhooks.
//!
//! Twilio's times have whole seconds and another clock than ours. Both are allowed for: the clocks are compared through the
//! `Date` of every answer, and a time is taken as the last instant that it may mean.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::{Method, header};
use serde::Deserialize;

use super::{
    Twilio,
    answer::{self, Answer},
    receive,
};
use crate::{
    clock,
    engine::io::{Accepted, DeliveryState, InboundText, Lookup},
    notify::Delivery,
    tag::Timestamp,
};

/// Pages read for one question; the list is newest first, so that older pages are rarely needed.
pub const MAX_PAGES: usize = 10;
const PAGE_SIZE: &str = "100";
/// What a trial account's texts begin with.
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";
const SECOND: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default = "Vec::new", alias = "messages", alias = "calls")]
    rows: Vec<T>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

/// What a list has.
pub(super) trait Listed: for<'de> Deserialize<'de> {
    /// The list's name in the API.
    const RESOURCE: &str;

    /// When it was created by Twilio's clock, RFC 2822.
    fn created(&self) -> Option<&str>;
}

impl Listed for Message {
    const RESOURCE: &str = "Messages";

    fn created(&self) -> Option<&str> {
        self.date_created.as_deref().or(self.date_sent.as_deref())
    }
}

#[derive(Deserialize)]
struct Message {
    sid: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    messaging_service_sid: Option<String>,
    #[serde(default)]
    num_segments: Option<String>,
    #[serde(default)]
    error_code: Option<u32>,
    #[serde(default)]
    date_created: Option<String>,
    #[serde(default)]
    date_sent: Option<String>,
}

/// A message or call with its time.
pub(super) struct Dated<T> {
    /// As Twilio's clock says, whole seconds; now, when Twilio does not say.
    date: Timestamp,
    /// The last instant of our clock at which it can have been created.
    latest: Timestamp,
    pub(super) row: T,
}

impl Twilio {
    /// Messages that may be the one whose fate is unknown, oldest first. Asked with and without DateSent: a message that still
    /// waits at Twilio has none, and the filter's day may be served by another index.
    pub(super) async fn search(&self, lookup: &Lookup) -> Result<Vec<Accepted>, String> {
        let mut filter = vec![("To", lookup.message.to.clone())];
        if self.profile.messaging_service_sid.is_none() {
            filter.extend(self.profile.from.clone().map(|from| ("From", from)));
        }
        let mut found = Vec::<Dated<Message>>::new();
        for dated in [false, true] {
            let mut filter = filter.clone();
            if dated {
                filter.push(("DateSent>", day_before(lookup.since)));
            }
            for candidate in self.list::<Message>(&filter, lookup.since).await? {
                let is_new = found.iter().all(|known| known.row.sid != candidate.row.sid);
                if is_new && self.is_ours(&candidate.row, lookup) {
                    found.push(candidate);
                }
            }
        }
        Ok(oldest_first(found).map(|dated| dated.row.accepted()).collect())
    }

    /// Texts that people sent to us since `since`, oldest first.
    pub(super) async fn inbound(&self, since: Timestamp) -> Result<Vec<InboundText>, String> {
        let mut filter = vec![("DateSent>", day_before(since))];
        if self.profile.messaging_service_sid.is_none() {
            filter.extend(self.profile.from.clone().map(|from| ("To", from)));
        }
        let messages = self.list::<Message>(&filter, since).await?;
        let ours = |message: &Message| {
            message.direction == "inbound"
                && (message.messaging_service_sid.is_none()
                    || message.messaging_service_sid == self.profile.messaging_service_sid)
        };
        let now = clock::now();
        let texts = oldest_first(messages).filter(|dated| ours(&dated.row) && answer::is_sid(&dated.row.sid));
        Ok(texts
            .map(|Dated { latest, row: message, .. }| InboundText {
                twilio: self.profile.name.clone(),
                sid: message.sid,
                from: message.from.unwrap_or_default(),
                to: message.to.unwrap_or_default(),
                body: message.body.unwrap_or_default(),
                received: Some(latest.min(now)),
            })
            .collect())
    }

    /// How one message fares.
    pub(super) async fn fetch_status(&self, sid: &str) -> Result<Option<Delivery>, String> {
        if !answer::is_sid(sid) {
            return Err(format!("read a message of Twilio: {sid:?} is no SID"));
        }
        let (answer, _) = self.get(&format!("{}/Messages/{sid}.json", self.account_url)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let message: Message = parse(&answer)?;
        Ok(DeliveryState::parse(&message.status).map(|status| (status, message.error_code)))
    }

    /// What passes `filter` and was not certainly created before `since`, newest first.
    pub(super) async fn list<T: Listed>(&self, filter: &[(&str, String)], since: Timestamp) -> Result<Vec<Dated<T>>, String> {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(filter).append_pair("PageSize", PAGE_SIZE).finish();
        let mut url = format!("{}/{}.json?{query}", self.account_url, T::RESOURCE);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let (answer, ahead) = self.get(&url).await?;
            let page: Page<T> = parse(&answer)?;
            let (mut newer, read) = (0, page.rows.len());
            for row in page.rows {
                let date = row.created().and_then(parse_time).unwrap_or_else(clock::now);
                let latest = Timestamp::from_ticks(date.ticks() - ahead) + SECOND;
                if latest >= since {
                    newer += 1;
                    found.push(Dated { date, latest, row });
                }
            }
            match page.next_page_uri {
                // A page with nothing new on it ends the search: what follows is older still.
                Some(next) if next.starts_with('/') && (newer > 0 || read == 0) => {
                    url = format!("{}{next}", self.profile.base_url);
                }
                _ => return Ok(found),
            }
        }
        tracing::warn!(twilio = self.profile.name, pages = MAX_PAGES, "Twilio's list is longer than is read");
        Ok(found)
    }

    /// One GET; with it, how far Twilio's clock is ahead of ours, 100 ns ticks.
    pub(super) async fn get(&self, url: &str) -> Result<(Answer, i64), String> {
        let _slot = self.slots.acquire().await;
        let response = self
            .request(Method::GET, url)
            .send()
            .await
            .map_err(|error| format!("read Twilio's list: {}", answer::describe(&error)))?;
        let date = response.headers().get(header::DATE).and_then(|date| parse_time(date.to_str().ok()?));
        let ahead = date.map_or(0, |date| date.ticks() - clock::now().ticks());
        Ok((receive(response).await, ahead))
    }

    fn is_ours(&self, message: &Message, lookup: &Lookup) -> bool {
        let wanted = &lookup.message;
        let sender = match &self.profile.messaging_service_sid {
            Some(service) => message.messaging_service_sid.as_ref() == Some(service),
            None => message.from == self.profile.from,
        };
        let body = message.body.as_deref().unwrap_or_default();
        let body_matches = body == wanted.body || body.strip_prefix(TRIAL_PREFIX) == Some(&wanted.body);
        sender
            && body_matches
            && message.direction == "outbound-api"
            && message.to.as_deref() == Some(&wanted.to)
            && answer::is_sid(&message.sid)
    }
}

impl Message {
    fn accepted(self) -> Accepted {
        Accepted {
            segments: self.num_segments.and_then(|count| count.parse().ok()).unwrap_or(0),
            status: DeliveryState::parse(&self.status).unwrap_or(DeliveryState::Accepted),
            sid: self.sid,
        }
    }
}

/// Twilio lists the newest first; those of one second keep that order, reversed.
pub(super) fn oldest_first<T>(mut found: Vec<Dated<T>>) -> impl Iterator<Item = Dated<T>> {
    found.reverse();
    found.sort_by_key(|dated| dated.date);
    found.into_iter()
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, String> {
    if answer.status != 200 {
        let (code, reason) = answer::refusal(answer);
        return Err(format!("read Twilio's list: {reason} ({code}); {}", super::advice(code)));
    }
    let body = answer.body.as_deref().ok_or("read Twilio's list: the answer broke off")?;
    serde_json::from_slice(body).map_err(|_| "read Twilio's list: the answer is not what Twilio documents".into())
}

/// RFC 2822, as Twilio writes its dates and HTTP its `Date`.
fn parse_time(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::from)
}

/// The UTC day before `since`: the filter is by day and the clocks may differ.
pub(super) fn day_before(since: Timestamp) -> String {
    let day = (since - Duration::from_secs(86_400)).to_jiff();
    day.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_twilios_date_forms_are_read() {
        let expected = "2023-08-24T05:01:45Z".parse::<jiff::Timestamp>().map(Timestamp::from).ok();
        assert_eq!(parse_time("Thu, 24 Aug 2023 05:01:45 +0000"), expected);
        assert_eq!(parse_time("Thu, 24 Aug 2023 05:01:45 GMT"), expected);
        assert_eq!(parse_time("yesterday"), None);
        assert_eq!(day_before(expected.unwrap()), "2023-08-23");
    }
}
