//! A Twilio to test against: the Messages and Calls API with Twilio's own refusals, phones that receive and send texts and
//! answer calls, signed webhooks, and faults on demand.
//!
//! It is a peer, not a mock: whoever talks to it uses HTTP, and nothing in it knows the program. Everything that it remembers is
//! bounded. Deliberately absent: sound and recordings, media, answers in TwiML to an inbound text, prices.

mod api;
mod calls;
mod courier;
mod faults;
mod messages;
mod paging;
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

pub use calls::{CallLine, CallRecord, Reports, Voice, VoiceMode};
pub use faults::{Fault, FaultKind};
pub use phones::{PhoneText, TextOutcome};
pub use state::{RequestRecord, VoiceUrls, WebhookRecord};

/// Messages and calls whose status changes at one time; further ones stay as they are.
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
    /// What is asked when a phone calls one of the numbers.
    pub voice_urls: VoiceUrls,
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
    /// From a call's queued to initiated and ringing.
    pub ring_after: Duration,
    /// From ringing to answered or busy.
    pub answer_after: Duration,
    /// How long it takes to tell a person from a machine, in seconds of a call.
    pub detection_seconds: u32,
    /// How long a second of ring timeout, speech, pause and waiting for keys takes. Durations are told in such seconds.
    pub call_second: Duration,
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
            voice_urls: VoiceUrls::default(),
            trial: false,
            verified: Vec::new(),
            test_credentials: false,
            blocked_prefixes: Vec::new(),
            sent_after: Duration::from_millis(100),
            delivered_after: Duration::from_millis(400),
            ring_after: Duration::from_millis(100),
            answer_after: Duration::from_millis(200),
            detection_seconds: 4,
            call_second: Duration::from_millis(20),
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
    /// A call's status changed; the first is `queued`.
    Call { sid: String, from: String, to: String, status: String },
    /// Something was said or pressed in a call with a phone.
    InCall { sid: String, phone: String, line: CallLine },
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
            state: Mutex::new(state::State::new(options.inbound_url.clone(), options.voice_urls.clone())),
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

    /// How a phone behaves when it is called from now on; without it, a phone answers and presses no key.
    ///
    /// # Errors
    /// A fragment for people when the script has too many or wrong keys, or too many phones have one.
    pub fn set_voice(&self, number: &str, voice: Voice) -> Result<(), String> {
        calls::set_voice(&self.shared, number, voice)
    }

    /// Which URLs are asked when a phone calls one of the account's numbers from now on.
    pub fn set_voice_urls(&self, urls: VoiceUrls) {
        self.shared.state().voice_urls = urls;
    }

    /// A phone calls `to`, else the account's first number, and presses what [`Running::set_voice`] says; gives the call's SID.
    ///
    /// # Errors
    /// A fragment for people when the number is none, or the account does not know what to ask.
    pub fn call(&self, from: &str, to: Option<String>) -> Result<String, String> {
        calls::inbound(&self.shared, from, to)
    }

    /// Lets a phone in mode [`VoiceMode::Hand`] take the call that rings.
    ///
    /// # Errors
    /// A fragment for people when the phone is in no call.
    pub fn answer(&self, number: &str) -> Result<(), String> {
        calls::answer(&self.shared, number)
    }

    /// Presses keys of a phone in mode [`VoiceMode::Hand`].
    ///
    /// # Errors
    /// A fragment for people when the phone is in no call, or these are no keys.
    pub fn press(&self, number: &str, keys: &str) -> Result<(), String> {
        calls::press(&self.shared, number, keys)
    }

    /// Hangs a phone up; a call that rings is refused (busy).
    ///
    /// # Errors
    /// A fragment for people when the phone is in no call.
    pub fn hang_up(&self, number: &str) -> Result<(), String> {
        calls::hang_up(&self.shared, number)
    }

    /// The calls so far with what was said and pressed, oldest first; bounded.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.shared.state().calls.oldest().map(calls::Call::record).collect()
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

    /// Lets a message or call go through its statuses. Without a free slot it stays as it is, which real ones do as well.
    fn live(&self, life: impl Future<Output = ()> + Send + 'static) {
        let Ok(slot) = self.lives.clone().try_acquire_owned() else { return };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _slot = slot;
            stop.run_until_cancelled(life).await;
        });
    }

    /// Nobody has to listen.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
