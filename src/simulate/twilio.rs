//! A Twilio to test against: the Messages API with Twilio's own refusals, phones that receive and send texts, signed webhooks,
//! and faults on demand.
//!
//! It is a peer, not a mock: whoever talks to it uses HTTP, and nothing in it knows the program. Everything that it remembers is
//! bounded. Deliberately absent: calls (404 until voice exists), media, answers in TwiML to an inbound text, prices.

mod api;
mod courier;
mod faults;
mod messages;
mod phones;
mod segments;
mod server;
mod state;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use faults::{Fault, FaultKind};
pub use phones::{PhoneText, TextOutcome};
pub use state::{RequestRecord, WebhookRecord};

/// Messages whose status changes at one time; further ones stay as they are.
pub const MAX_LIVES: usize = 10_000;
/// Events that a slow listener may lag behind.
pub const MAX_EVENTS: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the simulated account is like.
#[derive(Clone)]
pub struct Options {
    /// `AC…`
    pub account_sid: String,
    /// Authenticates, and signs webhooks.
    pub auth_token: String,
    /// `SK…` and secret.
    pub api_keys: Vec<(String, String)>,
    /// The account's numbers; empty lets every valid sender pass.
    pub numbers: Vec<String>,
    /// `MG…` and the numbers of its pool.
    pub messaging_services: Vec<(String, Vec<String>)>,
    /// Where inbound texts are sent to; a fragment sets the retries.
    pub inbound_url: Option<String>,
    /// A trial account: only verified recipients, and a prefix before every text.
    pub trial: bool,
    /// Recipients that a trial account may text.
    pub verified: Vec<String>,
    /// Test credentials: only the magic numbers, nothing is stored.
    pub test_credentials: bool,
    /// Recipients that the account has no permission for (21408), by prefix such as `+44`.
    pub blocked_prefixes: Vec<String>,
    /// From queued to sent.
    pub sent_after: Duration,
    /// From sent to delivered.
    pub delivered_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account_sid: "AC00000000000000000000000000000001".into(),
            auth_token: "simulated-auth-token".into(),
            api_keys: Vec::new(),
            numbers: vec!["+15550001111".into()],
            messaging_services: Vec::new(),
            inbound_url: None,
            trial: false,
            verified: Vec::new(),
            test_credentials: false,
            blocked_prefixes: Vec::new(),
            sent_after: Duration::from_millis(100),
            delivered_after: Duration::from_millis(400),
        }
    }
}

/// Something that happened, for whoever tells it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Event {
    /// A text was accepted.
    Accepted { sid: String, from: String, to: String, body: String },
    /// A text's status changed.
    Status { sid: String, to: String, status: String, error_code: Option<u32> },
    /// A phone sent a text.
    Inbound { sid: String, from: String, to: String, body: String },
    /// A webhook was delivered, or given up.
    Webhook { url: String, status: Option<u16>, attempts: u32 },
}

/// Starts simulators.
pub struct Simulator;

impl Simulator {
    /// Listens on `address` (port 0 for any) and serves until the returned handle is stopped or dropped.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(address: SocketAddr, options: Options) -> io::Result<Running> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // The first to install one wins; whichever it is, it works here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent("TwilioProxy/1.1")
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .or_else(|_| reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().tls_certs_only([]).build())
            .map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state::State::new(options.inbound_url.clone())),
            options,
            events: broadcast::Sender::new(MAX_EVENTS),
            client,
            lives: Arc::new(Semaphore::new(MAX_LIVES)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(server::run(listener, shared.clone()));
        Ok(Running { address, shared })
    }
}

/// A running simulator. Dropping it stops it.
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to put in `base_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on. A listener that lags loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Where inbound texts are sent to from now on.
    pub fn set_inbound_url(&self, url: Option<String>) {
        self.shared.state().inbound_url = url;
    }

    /// The texts of one phone, oldest first.
    #[must_use]
    pub fn phone(&self, number: &str) -> Vec<PhoneText> {
        phones::inbox(&self.shared, number)
    }

    /// A phone sends a text: to `to`, else to whoever texted it last. Resolves when the inbound webhook was answered.
    ///
    /// # Errors
    /// A fragment for people when the number is none, or nobody is known to send it to.
    pub async fn text(&self, from: &str, to: Option<String>, body: &str) -> Result<TextOutcome, String> {
        phones::send(&self.shared, from, to, body).await
    }

    /// Switches a phone on or off; texts to one that is off end undelivered (30003).
    pub fn set_reachable(&self, number: &str, reachable: bool) {
        let mut state = self.shared.state();
        if reachable {
            state.unreachable.remove(number);
        } else if state.unreachable.len() < state::MAX_MARKS {
            state.unreachable.insert(number.to_owned());
        }
    }

    /// Lets coming requests go wrong. False when too many faults wait already.
    #[must_use]
    pub fn fault(&self, fault: Fault) -> bool {
        self.shared.state().faults.add(fault)
    }

    /// The API requests so far, oldest first; bounded, so that very old ones are missing.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.state().requests.iter().cloned().collect()
    }

    /// The webhooks delivered or given up so far, oldest first; bounded.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookRecord> {
        self.shared.state().webhooks.iter().cloned().collect()
    }

    /// Stops listening and ends everything under way.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

struct Shared {
    options: Options,
    state: Mutex<state::State>,
    events: broadcast::Sender<Event>,
    client: reqwest::Client,
    lives: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Shared {
    /// Never held across an await.
    fn state(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody has to listen.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
