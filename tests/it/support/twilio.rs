//! A Twilio profile, a simulator that it fits, and a gateway that remembers what it was told.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use annunciator::{
    BoxFuture,
    engine::{
        io::{Actor, CallDocument, CallEvent, Command, DeliveryState, InboundText, OutboxId, Outcome, Outgoing, Via},
        plan::{Channel, Cover, Knob, Plan, Role, Secret, TwilioDef},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::Gateway,
    simulate::twilio::{Options, Running, Simulator},
    tag::{StatusCode, TagId, TagTable, Value},
};
use tokio::sync::watch;

/// Signs and authenticates everywhere in these tests.
pub const TOKEN: &str = "12345";
/// The account's number.
pub const OURS: &str = "+15550001111";
/// A person's number.
pub const PERSON: &str = "+15550002222";

/// A profile that sends to `base_url`.
pub fn profile(base_url: &str) -> TwilioDef {
    let options = Options::default();
    TwilioDef {
        name: "main".into(),
        account_sid: options.account_sid,
        auth_token: Secret::new(TOKEN),
        auth_token_2: None,
        api_key: None,
        from: Some(OURS.into()),
        messaging_service_sid: None,
        external_url: None,
        status_callback: None,
        default_message: "Plant alarm".into(),
        sms_per_second: 100.0,
        calls_per_second: 1.0,
        base_url: base_url.into(),
        validity_period: Duration::from_secs(600),
        poll: Duration::from_secs(15),
        voice_without_url: true,
        disabled: Knob::Fixed(false),
    }
}

/// A simulator whose account fits [`profile`].
pub async fn simulator(options: Options) -> Running {
    let options = Options { auth_token: TOKEN.into(), numbers: vec![OURS.into()], ..options };
    Simulator::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

/// A text to [`PERSON`].
pub fn text(row: u64, body: &str) -> Outgoing {
    Outgoing {
        row: OutboxId(row),
        twilio: "main".into(),
        channel: Channel::Sms,
        to: PERSON.into(),
        body: body.into(),
        call: None,
    }
}

/// Plain HTTP, without a proxy.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(super::BOUND).build().unwrap()
}

/// Waits until `get` gives something.
pub async fn wait_for<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = get() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::BOUND, waiting).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A delivery report as the gateway got it.
pub type Report = (Option<OutboxId>, String, DeliveryState, Option<u32>);

/// Takes webhooks and remembers them; repeats by SID are dropped, as the engine does.
pub struct Recorder {
    plan: watch::Sender<Arc<Plan>>,
    table: TagTable,
    texts: Mutex<Vec<InboundText>>,
    reports: Mutex<Vec<Report>>,
    calls: Mutex<Vec<CallEvent>>,
    /// What every call says next.
    pub document: Mutex<Option<CallDocument>>,
    /// The store cannot be written.
    pub broken: AtomicBool,
}

impl Recorder {
    pub fn new(profiles: Vec<TwilioDef>) -> Arc<Self> {
        let twilio: BTreeMap<String, Arc<TwilioDef>> =
            profiles.into_iter().map(|profile| (profile.name.clone(), Arc::new(profile))).collect();
        let plan = Arc::new(Plan { twilio, ..Plan::default() });
        Arc::new(Self {
            plan: watch::Sender::new(plan),
            table: TagTable::default(),
            texts: Mutex::default(),
            reports: Mutex::default(),
            calls: Mutex::default(),
            document: Mutex::default(),
            broken: AtomicBool::new(false),
        })
    }

    pub fn texts(&self) -> Vec<InboundText> {
        self.texts.lock().unwrap().clone()
    }

    pub fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().clone()
    }

    pub fn calls(&self) -> Vec<CallEvent> {
        self.calls.lock().unwrap().clone()
    }

    /// The profiles of what it was told since it was last asked; nothing is remembered. A delivery report names none.
    pub fn take(&self) -> Vec<Option<String>> {
        let texts = self.texts.lock().unwrap().drain(..).map(|text| Some(text.twilio)).collect::<Vec<_>>();
        let calls = self.calls.lock().unwrap().drain(..).map(|call| Some(call.twilio)).collect::<Vec<_>>();
        let reports = self.reports.lock().unwrap().drain(..).map(|_| None).collect::<Vec<_>>();
        [texts, calls, reports].concat()
    }

    fn store(&self) -> Result<(), ()> {
        if self.broken.load(Ordering::SeqCst) { Err(()) } else { Ok(()) }
    }
}

impl Gateway for Recorder {
    fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    fn log_in(&self, _: String, _: String, _: IpAddr, _: Via) -> BoxFuture<'_, Result<Actor, StatusCode>> {
        unreachable!("webhooks log nobody in")
    }

    fn check_token(&self, _: String, _: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        unreachable!("webhooks take no tokens")
    }

    fn write(&self, _: Actor, _: TagId, _: Value) -> BoxFuture<'_, StatusCode> {
        unreachable!("webhooks write no tags")
    }

    fn command(&self, _: Actor, _: Command) -> BoxFuture<'_, Outcome> {
        unreachable!("webhooks command nothing")
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        unreachable!("webhooks show nothing")
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        unreachable!("webhooks show nothing")
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        unreachable!("webhooks show nothing")
    }

    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>> {
        unreachable!("webhooks show nothing")
    }

    fn reload(&self, _: Actor) -> BoxFuture<'_, Result<String, String>> {
        unreachable!("webhooks reload nothing")
    }

    fn inbound(&self, text: InboundText) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async move {
            self.store()?;
            let mut texts = self.texts.lock().unwrap();
            if !texts.iter().any(|known| known.sid == text.sid) {
                texts.push(text);
            }
            Ok(())
        })
    }

    fn delivery(
        &self,
        row: Option<OutboxId>,
        sid: String,
        status: DeliveryState,
        error_code: Option<u32>,
    ) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async move {
            self.store()?;
            self.reports.lock().unwrap().push((row, sid, status, error_code));
            Ok(())
        })
    }

    fn call(&self, call: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>> {
        Box::pin(async move {
            self.store()?;
            self.calls.lock().unwrap().push(call);
            Ok(self.document.lock().unwrap().clone())
        })
    }

    fn ready(&self) -> bool {
        true
    }

    fn metrics(&self, _: annunciator::serve::ConsoleLoad) -> String {
        String::new()
    }
}
