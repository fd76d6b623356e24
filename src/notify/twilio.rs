//! Texts and calls through Twilio's REST API (version 2010-04-01): one attempt to send, the search for a message whose fate is
//! unknown, and what an outbound-only site polls.
//!
//! **Neither bodies nor numbers nor credentials are logged here.** Deliberately absent: retries and rates (the engine's), the
//! webhooks (`serve::webhooks`).

mod advice;
mod answer;
mod calls;
mod list;

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, Url, header};
use tokio::sync::Semaphore;

pub use advice::{advice, concerns_account};
use answer::Answer;
pub use answer::is_sid;
pub use calls::answered_by;

use super::{Delivery, Notifier, twiml::CALLBACK_RULES};
use crate::{
    BoxFuture,
    engine::{
        io::{Accepted, CallDocument, CallEvent, InboundText, Lookup, OutboxId, Outgoing, SendFailure},
        plan::{Channel, TwilioDef},
    },
    tag::Timestamp,
};

/// Requests of one profile under way at once. Twilio limits an account's concurrency without publishing the number.
pub const CONCURRENT_REQUESTS: usize = 8;
/// Longest answer that is read, bytes; a list of 100 messages has some 150 kB.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// How long one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS.
    pub connect: Duration,
    /// Everything, connecting included. Longer than `connect`, so that a failure to connect is known as one.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(20) }
    }
}

/// One `[[twilio]]` profile, ready to send.
pub struct Twilio {
    profile: Arc<TwilioDef>,
    client: Client,
    /// `{base_url}/2010-04-01/Accounts/{sid}`.
    account_url: String,
    slots: Semaphore,
}

impl Twilio {
    /// Prepares `profile`; nothing is sent.
    ///
    /// # Errors
    /// A fragment for people when `base_url` is not an `http` or `https` URL or TLS cannot be set up.
    pub fn new(profile: Arc<TwilioDef>) -> Result<Self, String> {
        Self::with_timeouts(profile, Timeouts::default())
    }

    /// [`Twilio::new`] with other timeouts.
    ///
    /// # Errors
    /// As [`Twilio::new`].
    pub fn with_timeouts(profile: Arc<TwilioDef>, timeouts: Timeouts) -> Result<Self, String> {
        let base: Url = profile.base_url.parse().map_err(|error| format!("use base_url of twilio {}: {error}", profile.name))?;
        let client = client(&base, timeouts).map_err(|error| format!("set up HTTP for twilio {}: {error}", profile.name))?;
        let account_url = format!("{}/2010-04-01/Accounts/{}", profile.base_url, profile.account_sid);
        Ok(Self { profile, client, account_url, slots: Semaphore::new(CONCURRENT_REQUESTS) })
    }

    /// The profile it sends through.
    #[must_use]
    pub fn profile(&self) -> &Arc<TwilioDef> {
        &self.profile
    }

    async fn attempt(&self, message: &Outgoing) -> Result<Accepted, SendFailure> {
        let (resource, form) = match message.channel {
            Channel::Sms => ("Messages", self.form(message)),
            Channel::Voice => ("Calls", self.call_form(message)?),
        };
        let _slot = self.slots.acquire().await;
        let request = self.request(Method::POST, &format!("{}/{resource}.json", self.account_url)).form(&form);
        let answer = match request.send().await {
            Ok(response) => receive(response).await,
            Err(error) => {
                let failure = answer::read_transport(&error);
                tracing::debug!(
                    row = message.row.0,
                    connect = error.is_connect(),
                    timeout = error.is_timeout(),
                    "no answer of Twilio"
                );
                return Err(failure);
            }
        };
        let result = answer::read(&answer);
        tracing::debug!(row = message.row.0, status = answer.status, accepted = result.is_ok(), "Twilio answered");
        result
    }

    fn form(&self, message: &Outgoing) -> Vec<(&'static str, String)> {
        let profile = &self.profile;
        let mut form = vec![("To", message.to.clone())];
        match (&profile.messaging_service_sid, &profile.from) {
            (Some(service), _) => form.push(("MessagingServiceSid", service.clone())),
            (None, Some(from)) => form.push(("From", from.clone())),
            (None, None) => {}
        }
        form.push(("Body", message.body.clone()));
        form.push(("ValidityPeriod", profile.validity_period.as_secs().clamp(1, 36_000).to_string()));
        if let Some(url) = &profile.external_url {
            form.push(("StatusCallback", status_callback(url, message.row)));
        }
        form
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let profile = &self.profile;
        let (user, password) = match &profile.api_key {
            Some((key, secret)) => (key.as_str(), secret.expose()),
            None => (profile.account_sid.as_str(), profile.auth_token.expose()),
        };
        self.client.request(method, url).basic_auth(user, Some(password))
    }
}

impl Notifier for Twilio {
    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<Accepted, SendFailure>> {
        Box::pin(self.attempt(message))
    }

    fn lookup<'a>(&'a self, lookup: &'a Lookup) -> BoxFuture<'a, Result<Vec<Accepted>, String>> {
        Box::pin(async move {
            match lookup.message.channel {
                Channel::Sms => self.search(lookup).await,
                Channel::Voice => self.search_calls(lookup).await,
            }
        })
    }

    fn received(&self, since: Timestamp) -> BoxFuture<'_, Result<Vec<InboundText>, String>> {
        Box::pin(self.inbound(since))
    }

    fn status<'a>(&'a self, sid: &'a str) -> BoxFuture<'a, Result<Option<Delivery>, String>> {
        Box::pin(self.fetch_status(sid))
    }

    fn call<'a>(&'a self, sid: &'a str) -> BoxFuture<'a, Result<Option<CallEvent>, String>> {
        Box::pin(self.fetch_call(sid))
    }

    fn end_call<'a>(&'a self, sid: &'a str, last_words: &'a CallDocument) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.end(sid, last_words))
    }
}

/// Where Twilio reports how the message of outbox row `row` fares.
#[must_use]
pub fn status_callback(external_url: &str, row: OutboxId) -> String {
    format!("{external_url}/main/system/twilio-sms/status/{}{CALLBACK_RULES}", row.0)
}

fn client(base: &Url, timeouts: Timeouts) -> Result<Client, String> {
    if !matches!(base.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", base.scheme()));
    }
    // The first to install one wins; whichever it is, it works here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.total)
        .pool_max_idle_per_host(CONCURRENT_REQUESTS)
        .pool_idle_timeout(IDLE_CONNECTION)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("annunciator/", env!("CARGO_PKG_VERSION")));
    if base.scheme() == "http" {
        // Without TLS no trusted roots are needed: a simulator is reached from a machine that has none.
        builder = builder.tls_certs_only([]);
    }
    if base.host_str().is_some_and(is_loopback) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| answer::describe(&error))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads the answer to its end, or as far as it comes.
async fn receive(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    let body = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => body.extend_from_slice(&chunk),
            Ok(None) => break Some(body),
            Ok(Some(_)) | Err(_) => break None,
        }
    };
    Answer { status, retry_after, body }
}
