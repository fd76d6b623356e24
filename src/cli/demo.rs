//! `demo`: the daemon on the shipped configuration with a PLC and a Twilio simulator, and a person with a phone.
//!
//! What it tells is what the journal and the audit log say, what the phone got and what the PLC's coils do; nothing of it is a
//! script. Only the plant's trip and, when nobody types, Alice's answer are ours.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    run::{Asked, Signals},
};
use crate::{
    clock,
    daemon::{self, Endpoints, Folders, Watch},
    engine::record::{AuditEntry, AuditKind, JournalEntry, JournalKind},
    simulate::{
        modbus_plc::{Event as PlantEvent, Plc, Running as RunningPlc, Trip},
        twilio::{CallLine, Event as PhoneEvent, Options, Running as RunningTwilio, Simulator, Voice, VoiceMode, VoiceUrls},
    },
    store::{AuditQuery, JournalQuery, Store},
    tag::Timestamp,
};

/// The first trip after the start.
const TRIP_AFTER: Duration = Duration::from_secs(3);
/// Alice answers so long after a text when nobody types.
const ANSWER_AFTER: Duration = Duration::from_secs(5);
/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Lines wait so long before they are printed, so that what phone, PLC and records say stands in the order in which it happened.
const SETTLE: Duration = Duration::from_millis(400);
/// Entries of one look.
const PAGE: u32 = 100;
/// How long `--once` waits for an acknowledgement.
const ONCE: Duration = Duration::from_secs(60);
/// Of the shipped configuration.
const ALICE: &str = "+12223334444";
const ALICE_PIN: &str = "4711";
const BOB: &str = "+12223335555";
/// Shown when they rise, by their names under `System/Gateway/Twilio/`.
const COUNTERS: [&str; 4] = ["MessagesSent", "MessagesReceived", "CallsSent", "CallsReceived"];

/// The daemon on a built-in plant: PLC, phones and Twilio are simulated on this machine, no account needed
#[derive(clap::Args)]
#[command(
    after_help = "Uses the shipped config/ and tags/, and a store of its own that is removed at the end.\n\nWhile it runs you can type:\n  a text       Alice sends it, such as her PIN 4711, or ?\n  call         Alice calls the plant and is asked for her PIN\n  answer       she takes a call that rings; hang up ends it\n  keys 4711    she presses keys in a call: her PIN, then 1 to acknowledge\n  trip         the plant trips again\n  plc off, plc on\n  quit\n\nExamples:\n  annunciator demo\n  annunciator demo --once          ends by itself after one alarm was acknowledged"
)]
pub(super) struct DemoArgs {
    /// Ends by itself after the first alarm was acknowledged, exit status 1 when that takes longer than a minute
    #[arg(long)]
    once: bool,
}

pub(super) async fn demo(folders: Folders, args: &DemoArgs) -> Result<String, Failure> {
    let data = std::env::temp_dir().join(format!("annunciator-demo-{}", std::process::id()));
    let result = with_data(folders, data.clone(), args).await;
    if let Err(error) = fs::remove_dir_all(&data)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %data.display(), "failed to remove the demo's store");
    }
    result
}

async fn with_data(mut folders: Folders, data: PathBuf, args: &DemoArgs) -> Result<String, Failure> {
    let loopback = ([127, 0, 0, 1], 0).into();
    let simulator = |error: io::Error| format!("failed to start a simulator: {error}");
    let plc = Plc::start(loopback).await.map_err(simulator)?;
    let options = Options { call_second: Duration::from_secs(1), ..Options::default() };
    let twilio = Simulator::start(loopback, options).await.map_err(simulator)?;
    for (number, mode) in [(ALICE, VoiceMode::Hand), (BOB, VoiceMode::NoAnswer)] {
        twilio.set_voice(number, Voice { mode, ..Voice::default() })?;
    }
    folders.data = data;
    folders.env = BTreeMap::from([
        ("PLC_URL".to_owned(), format!("tcp://{}", plc.addr)),
        ("TWILIO_BASE_URL".to_owned(), twilio.url()),
        ("TWILIO_ACCOUNT_SID".to_owned(), Options::default().account_sid),
        ("TWILIO_AUTH_TOKEN".to_owned(), Options::default().auth_token),
    ]);
    let stop = CancellationToken::new();
    let (started, mut running) = mpsc::channel(1);
    let (_reload, reload) = mpsc::channel(1);
    let daemon = daemon::run(folders, stop.clone(), reload, move |endpoints, watch: &Watch| {
        // There is room for the one message.
        _ = started.try_send((endpoints.clone(), watch.clone()));
    });
    let story = async {
        // Without a message the daemon did not start, and says why itself.
        let Some((endpoints, watch)) = running.recv().await else { return true };
        introduce(&endpoints, &plc, &twilio);
        let hook = |path: &str| endpoints.webhooks.map(|address| format!("http://{address}/main/system/{path}/main"));
        twilio.set_inbound_url(hook("twilio-sms/inbound"));
        twilio.set_voice_urls(VoiceUrls { voice: hook("twilio-voice/inbound"), status: hook("twilio-voice/status") });
        let done = Story::new(plc, twilio, watch, args.once).tell().await;
        stop.cancel();
        done
    };
    let (ended, done) = tokio::join!(daemon, story);
    ended?;
    if args.once && !done {
        return Err(Failure::Failed("no alarm was acknowledged within a minute".to_owned()));
    }
    Ok(String::new())
}

fn introduce(endpoints: &Endpoints, plc: &RunningPlc, twilio: &RunningTwilio) {
    let address = |address: Option<std::net::SocketAddr>| address.map_or("off".to_owned(), |address| format!("http://{address}"));
    println!("Annunciator demo: one plant, two people, no account");
    println!("  OPC UA server   {}   (browse it with any client, anonymous, security None)", endpoints.opcua);
    println!("  HTTP API        {}/api/v1", address(endpoints.console));
    println!("  webhooks        {}", address(endpoints.webhooks));
    println!("  simulated PLC   modbus tcp {}", plc.addr);
    println!("  simulated Twilio {}", twilio.url());
    println!("Type a text as Alice (her PIN is 4711), or: call, answer, keys 4711, hang up, trip, plc off, plc on, quit\n");
}

/// The demo while it runs.
struct Story {
    plc: Option<RunningPlc>,
    plc_address: std::net::SocketAddr,
    twilio: RunningTwilio,
    store: Arc<Store>,
    watch: Watch,
    counters: [i128; COUNTERS.len()],
    once: bool,
    began: Instant,
    start: Timestamp,
    /// Lines to come, by the time that they tell of.
    lines: Vec<(Timestamp, String)>,
    /// Numbers of the last entries that were told.
    journal: i64,
    audit: i64,
    trip_at: Option<Instant>,
    /// When Alice answers by herself; never once somebody has typed.
    answer_at: Option<Instant>,
    typed: bool,
    /// The acknowledgement was told, and the PLC confirmed it.
    done: bool,
}

/// What the person at the keyboard wants.
enum Typed {
    Trip,
    PlcOff,
    PlcOn,
    Quit,
    Call,
    Answer,
    HangUp,
    Keys(String),
    Text(String),
}

impl Story {
    fn new(plc: RunningPlc, twilio: RunningTwilio, watch: Watch, once: bool) -> Self {
        let now = Instant::now();
        Self {
            plc_address: plc.addr,
            plc: Some(plc),
            twilio,
            store: watch.store(),
            watch,
            counters: [0; COUNTERS.len()],
            once,
            began: now,
            start: clock::now(),
            lines: Vec::new(),
            journal: 0,
            audit: 0,
            trip_at: Some(now + TRIP_AFTER),
            answer_at: None,
            typed: false,
            done: false,
        }
    }

    /// Tells what happens until somebody ends it; true when an alarm was acknowledged and the PLC confirmed it.
    async fn tell(mut self) -> bool {
        let mut phones = self.twilio.events();
        let mut plant = self.plc.as_ref().map(|plc| plc.plant.subscribe());
        let mut keyboard = keyboard();
        let Ok(mut signals) = Signals::new() else { return false };
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.tell_records().await;
                    self.act().await;
                    self.print(clock::now() - SETTLE);
                    if self.once && (self.done || self.began.elapsed() > ONCE) {
                        break;
                    }
                }
                Ok(event) = phones.recv() => self.tell_phone(&event),
                Some(event) = next(&mut plant) => self.now("PLC", &plant_words(event)),
                Some(typed) = keyboard.recv() => match typed {
                    Typed::Quit => break,
                    Typed::Trip => self.trip_at = Some(Instant::now()),
                    Typed::PlcOff => self.stop_plc().await,
                    Typed::PlcOn => plant = self.start_plc().await.or(plant),
                    by_alice => {
                        self.typed = true;
                        self.answer_at = None;
                        self.use_phone(by_alice).await;
                    }
                },
                asked = signals.next() => if matches!(asked, Asked::Stop) { break },
            }
        }
        self.tell_records().await;
        self.print(Timestamp::from_ticks(i64::MAX));
        self.done
    }

    /// The plant trips, and Alice answers, when it is time.
    async fn act(&mut self) {
        let now = Instant::now();
        if self.trip_at.is_some_and(|at| at <= now) {
            self.trip_at = None;
            match &self.plc {
                Some(plc) => plc.plant.trip(Trip::TankHighHigh),
                None => self.now("PLC", "is off: nothing can trip"),
            }
        }
        if self.answer_at.is_some_and(|at| at <= now) {
            self.answer_at = None;
            self.text(ALICE_PIN).await;
        }
    }

    async fn use_phone(&mut self, typed: Typed) {
        let done = match typed {
            Typed::Call => self.twilio.call(ALICE, None).map(|_| ()),
            Typed::Answer => self.twilio.answer(ALICE),
            Typed::HangUp => self.twilio.hang_up(ALICE),
            Typed::Keys(keys) => self.twilio.press(ALICE, &keys),
            Typed::Text(text) => return self.text(&text).await,
            Typed::Trip | Typed::PlcOff | Typed::PlcOn | Typed::Quit => return,
        };
        if let Err(error) = done {
            self.now("phone", &format!("failed to {error}"));
        }
    }

    async fn text(&mut self, text: &str) {
        if let Err(error) = self.twilio.text(ALICE, None, text).await {
            self.now("phone", &format!("the text was not sent: {error}"));
        }
    }

    async fn stop_plc(&mut self) {
        if let Some(plc) = self.plc.take() {
            plc.stop().await;
            self.now("PLC", "switched off");
        }
    }

    async fn start_plc(&mut self) -> Option<broadcast::Receiver<PlantEvent>> {
        if self.plc.is_some() {
            return None;
        }
        match Plc::start(self.plc_address).await {
            Ok(plc) => {
                self.now("PLC", "switched on");
                let events = plc.plant.subscribe();
                self.plc = Some(plc);
                Some(events)
            }
            Err(error) => {
                self.now("PLC", &format!("cannot be switched on: {error}"));
                None
            }
        }
    }

    fn tell_phone(&mut self, event: &PhoneEvent) {
        match event {
            PhoneEvent::Accepted { to, body, .. } => {
                self.now("phone", &format!("{} gets: {}", holder(to), body.replace('\n', " / ")));
                // An alarm's text ends with its code; the answer to an acknowledgement does not, and wants no reply.
                let asks = body.split_whitespace().next_back().is_some_and(|word| word.starts_with('#'));
                if to == ALICE && asks && !self.typed && self.answer_at.is_none() {
                    self.answer_at = Some(Instant::now() + ANSWER_AFTER);
                }
            }
            PhoneEvent::Inbound { from, body, .. } => {
                let shown = if body.trim() == ALICE_PIN { "her PIN" } else { body };
                self.now("phone", &format!("{} texts: {shown}", holder(from)));
            }
            PhoneEvent::Status { to, status, .. } if status == "delivered" => {
                self.now("Twilio", &format!("delivered to {}", holder(to)));
            }
            PhoneEvent::Call { from, status, .. } if from == ALICE => {
                self.now("phone", &format!("Alice's call to the plant: {status}"));
            }
            PhoneEvent::Call { to, status, .. } => {
                let hint = if to == ALICE && status == "ringing" { " (type: answer)" } else { "" };
                self.now("phone", &format!("a call to {}: {status}{hint}", holder(to)));
            }
            PhoneEvent::InCall { phone, line, .. } => match line {
                CallLine::Said { text } => self.now("phone", &format!("{} hears: {text}", holder(phone))),
                CallLine::Pressed { keys } if keys.contains(ALICE_PIN) => self.now("phone", "Alice keys in her PIN"),
                CallLine::Pressed { keys } => self.now("phone", &format!("{} presses {keys}", holder(phone))),
                CallLine::Error { message, .. } => self.now("Twilio", message),
            },
            PhoneEvent::Status { .. } | PhoneEvent::Webhook { .. } => {}
        }
    }

    /// What journal and audit log have got since the last look.
    async fn tell_records(&mut self) {
        let journal =
            self.store.journal(&JournalQuery { limit: Some(PAGE), ..JournalQuery::default() }).await.unwrap_or_default();
        let audit = self.store.audit(&AuditQuery { limit: Some(PAGE), ..AuditQuery::default() }).await.unwrap_or_default();
        let told = self.journal;
        for entry in journal.iter().rev().filter(|entry| entry.id > told) {
            self.tell_journal(&entry.entry);
        }
        self.journal = journal.first().map_or(self.journal, |entry| entry.id);
        let told = self.audit;
        for entry in audit.iter().rev().filter(|entry| entry.id > told) {
            self.tell_audit(&entry.entry);
        }
        self.audit = audit.first().map_or(self.audit, |entry| entry.id);
        self.tell_counters();
    }

    /// The counters as any OPC UA client reads them.
    fn tell_counters(&mut self) {
        let counters = COUNTERS.map(|name| {
            let reading = self.watch.read(&format!("System/Gateway/Twilio/{name}"));
            reading.and_then(|reading| reading.value.as_i128()).unwrap_or_default()
        });
        if counters != self.counters {
            self.counters = counters;
            let words: Vec<String> = COUNTERS.iter().zip(counters).map(|(name, count)| format!("{name} {count}")).collect();
            self.now("counter", &words.join(", "));
        }
    }

    fn tell_journal(&mut self, entry: &JournalEntry) {
        let by = if entry.user.is_empty() { String::new() } else { format!(" by {}", entry.user) };
        let words = match entry.kind {
            JournalKind::Raised => format!("RAISED {} (priority {})", entry.alarm, entry.priority),
            JournalKind::Cleared => format!("cleared {}", entry.alarm),
            JournalKind::Acknowledged => format!("acknowledged{by}: {}", entry.alarm),
            JournalKind::WriteBack => {
                self.done |= entry.text.starts_with("confirmed");
                format!("write-back of {}: {}", entry.alarm, entry.text)
            }
            JournalKind::PipelineStarted => format!("pipeline {} starts for {}", entry.text, entry.alarm),
            JournalKind::PipelineEnded => format!("pipeline ends for {}: {}", entry.alarm, entry.text),
            JournalKind::NobodyToContact => format!("{}: {}", entry.alarm, entry.text),
            _ => format!("{:?} {}{by} {}", entry.kind, entry.alarm, entry.text),
        };
        self.line(entry.time, "alarm", &words);
    }

    fn tell_audit(&mut self, entry: &AuditEntry) {
        let words = match entry.kind {
            AuditKind::MessageSent | AuditKind::Answer => format!("text to {} {}", entry.user, entry.result),
            AuditKind::MessageNotSent => format!("no text to {}: {}", entry.user, entry.result),
            AuditKind::MessageFailed => format!("text to {} failed: {}", entry.user, entry.result),
            AuditKind::CallSent => format!("call to {} {}", entry.user, entry.result),
            AuditKind::CallFailed => format!("call to {} failed: {}", entry.user, entry.result),
            AuditKind::CallEnded => format!("call with {} ended: {}", entry.user, entry.result),
            AuditKind::PinRefused | AuditKind::PinLocked => format!("{}: {}", entry.user, entry.result),
            _ => return,
        };
        self.line(entry.time, "log", &words);
    }

    fn now(&mut self, who: &str, words: &str) {
        self.line(clock::now(), who, words);
    }

    fn line(&mut self, time: Timestamp, who: &str, words: &str) {
        let at = time.since(self.start).as_secs_f64();
        self.lines.push((time, format!("{at:>7.1} s  {who:<7} {words}")));
    }

    /// Prints what happened until `until`.
    fn print(&mut self, until: Timestamp) {
        self.lines.sort_by_key(|(time, _)| *time);
        let ready = self.lines.partition_point(|(time, _)| *time <= until);
        for (_, line) in self.lines.drain(..ready) {
            println!("{line}");
        }
    }
}

fn plant_words(event: PlantEvent) -> String {
    match event {
        PlantEvent::Tripped(trip) => format!("coil {} rises: {trip:?}", trip.coil()),
        PlantEvent::Cleared(trip) => format!("coil {} falls: {trip:?}", trip.coil()),
        PlantEvent::Acknowledged(Some(coil)) => format!("sees the acknowledge coil {coil} rise"),
        PlantEvent::Acknowledged(None) => "counts one acknowledgement more".to_owned(),
        PlantEvent::Pump(true) => "the pump starts".to_owned(),
        PlantEvent::Pump(false) => "the pump stops".to_owned(),
    }
}

fn holder(number: &str) -> &str {
    match number {
        ALICE => "Alice",
        BOB => "Bob",
        other => other,
    }
}

async fn next(events: &mut Option<broadcast::Receiver<PlantEvent>>) -> Option<PlantEvent> {
    match events {
        Some(events) => match events.recv().await {
            Ok(event) => Some(event),
            // The plant has gone with its PLC, or we lag: there will be others.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Lines from the keyboard, read on a thread of their own; nothing when standard input is closed.
fn keyboard() -> mpsc::Receiver<Typed> {
    let (sender, typed) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let wanted = match line.trim() {
                "" => continue,
                "trip" => Typed::Trip,
                "plc off" => Typed::PlcOff,
                "plc on" => Typed::PlcOn,
                "quit" | "q" => Typed::Quit,
                "call" => Typed::Call,
                "answer" | "answer alice" => Typed::Answer,
                "hang up" => Typed::HangUp,
                text => match text.strip_prefix("keys ") {
                    Some(keys) => Typed::Keys(keys.trim().to_owned()),
                    None => Typed::Text(text.to_owned()),
                },
            };
            if sender.blocking_send(wanted).is_err() {
                return;
            }
        }
        // Without a keyboard the demo goes on; the channel stays open.
        std::thread::park();
    });
    typed
}
