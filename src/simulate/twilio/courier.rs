//! Webhooks out: signed, retried as the fragment of their URL asks (Twilio, "Webhooks: connection overrides").

use std::{sync::Arc, time::Duration};

use reqwest::{Url, header::CONTENT_TYPE};

use super::{
    Event, Shared,
    api::Parameters,
    state::{MAX_WEBHOOKS, WebhookRecord, push_bounded},
};
use crate::{
    clock,
    notify::signature::{self, Payload},
};

/// Longest answer that is read, bytes (Twilio, error 11750).
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Most retries that a fragment may ask for.
const MAX_RETRIES: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// True for a URL that Twilio accepts as a callback: http or https, a host without underscore.
pub(super) fn is_callable(url: &str) -> bool {
    let Ok(url) = url.parse::<Url>() else { return false };
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.contains('_'))
}

/// Where a webhook goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) url: String,
    /// With GET the parameters stand in the query, and the signature covers that.
    pub(super) by_get: bool,
}

/// What a webhook was answered with.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    /// `None` when it was longer than [`MAX_ANSWER`] or broke off.
    pub(super) body: Option<Vec<u8>>,
}

/// Delivers one webhook by POST. Returns what the log shows.
pub(super) async fn deliver(shared: &Arc<Shared>, url: &str, parameters: Parameters) -> WebhookRecord {
    ask(shared, &Hook { url: url.to_owned(), by_get: false }, parameters).await.0
}

/// Delivers one webhook, with as many attempts as its URL's fragment allows; each attempt carries the same signature and
/// idempotency token. Returns what the log shows, and the answer if there was one.
pub(super) async fn ask(shared: &Arc<Shared>, hook: &Hook, parameters: Parameters) -> (WebhookRecord, Option<Page>) {
    let mut record = WebhookRecord { time: clock::now(), url: hook.url.clone(), parameters, status: None, attempts: 0 };
    let mut page = None;
    if let Ok(mut url) = hook.url.parse::<Url>() {
        let rules = Rules::read(url.fragment().unwrap_or_default());
        url.set_fragment(None);
        url.as_str().clone_into(&mut record.url);
        page = attempts(shared, &url, hook.by_get, &rules, &mut record).await;
    }
    record.time = clock::now();
    push_bounded(&mut shared.state().webhooks, record.clone(), MAX_WEBHOOKS);
    shared.tell(Event::Webhook { url: record.url.clone(), status: record.status, attempts: record.attempts });
    (record, page)
}

async fn attempts(shared: &Arc<Shared>, url: &Url, by_get: bool, rules: &Rules, record: &mut WebhookRecord) -> Option<Page> {
    let mut url = url.clone();
    let payload = if by_get {
        url.query_pairs_mut().extend_pairs(&record.parameters);
        Payload::Form(&[])
    } else {
        Payload::Form(&record.parameters)
    };
    let signature = signature::sign(&shared.options.auth_token, url.as_str(), payload);
    let token = uuid::Uuid::from_u128(fastrand::u128(..)).to_string();
    loop {
        record.attempts += 1;
        let client = &shared.client;
        let request = if by_get { client.get(url.clone()) } else { client.post(url.clone()).form(&record.parameters) }
            .timeout(rules.patience)
            .header("X-Twilio-Signature", &signature)
            .header("I-Twilio-Idempotency-Token", &token);
        let outcome = request.send().await;
        record.status = outcome.as_ref().ok().map(|response| response.status().as_u16());
        if record.attempts > rules.retries || !rules.again(&outcome) {
            return match outcome {
                Ok(response) => Some(read(response).await),
                Err(_) => None,
            };
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

async fn read(mut response: reqwest::Response) -> Page {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let mut page = Page { status: response.status().as_u16(), content_type, body: None };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => body.extend_from_slice(&chunk),
            Ok(None) => {
                page.body = Some(body);
                return page;
            }
            _ => return page,
        }
    }
}

/// When a webhook is tried again.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    retries: u32,
    on_connect: bool,
    on_read: bool,
    on_4xx: bool,
    on_5xx: bool,
    patience: Duration,
}

impl Rules {
    fn read(fragment: &str) -> Self {
        // Without overrides: one retry, and only when no connection could be made.
        let mut rules = Self { retries: 1, on_connect: true, on_read: false, on_4xx: false, on_5xx: false, patience: PATIENCE };
        for (key, value) in fragment.split('&').filter_map(|part| part.split_once('=')) {
            match key {
                "rc" => rules.retries = value.parse().unwrap_or(1).min(MAX_RETRIES),
                "rt" | "tt" => {
                    let patience = value.parse().map_or(PATIENCE, Duration::from_millis);
                    rules.patience = rules.patience.min(patience.max(Duration::from_millis(100)));
                }
                "rp" => {
                    let asked = |word| value.split(',').any(|part| part == word || part == "all");
                    (rules.on_connect, rules.on_read, rules.on_4xx, rules.on_5xx) =
                        (asked("ct"), asked("rt"), asked("4xx"), asked("5xx"));
                }
                _ => {}
            }
        }
        rules
    }

    fn again(&self, outcome: &Result<reqwest::Response, reqwest::Error>) -> bool {
        match outcome {
            Ok(response) if response.status().is_server_error() => self.on_5xx,
            Ok(response) if response.status().is_client_error() => self.on_4xx,
            Ok(_) => false,
            Err(error) if error.is_connect() => self.on_connect,
            Err(_) => self.on_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_obeyed() {
        let rules = |retries, on_connect, on_read, on_4xx, on_5xx, ms| Rules {
            retries,
            on_connect,
            on_read,
            on_4xx,
            on_5xx,
            patience: Duration::from_millis(ms),
        };
        let rows = [
            ("", rules(1, true, false, false, false, 15_000)),
            ("rc=3&rp=5xx,ct,rt", rules(3, true, true, false, true, 15_000)),
            ("rc=9&rp=all&tt=2000", rules(5, true, true, true, true, 2_000)),
            ("rc=0", rules(0, true, false, false, false, 15_000)),
        ];
        for (fragment, expected) in rows {
            assert_eq!(Rules::read(fragment), expected, "{fragment}");
        }
    }

    #[test]
    fn hosts_as_twilio_accepts_them() {
        assert!(is_callable("https://plant.example.com/x#rc=3"));
        assert!(!is_callable("https://plant_1.example.com/x"));
        assert!(!is_callable("ftp://plant.example.com/x"));
        assert!(!is_callable("plant"));
    }
}
