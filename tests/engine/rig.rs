//! The engine with a store, a plant, people and Twilio around it, all of it in memory and in virtual time.
//!
//! The rig does what the daemon does: it commits the records of a step, then carries out the other effects in order. It checks on
//! the way what must hold in every test: records stand first, nothing is sent or written without a committed row of its own, no
//! text names what was acknowledged or is silenced, only writable tags are written and a retry writes the same value, nothing is
//! sent again that Twilio's list can show, no code is given and no SID is counted twice, and no deadline makes the loop spin.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque, btree_map::OccupiedEntry},
    path::Path,
    sync::Arc,
    time::Duration,
};

use annunciator::{
    config::{File, Loader, driver::Driver, load, reader::Section, render::render},
    engine::{
        Engine,
        io::{
            Accepted, Actor, Command, DeliveryState, Effect, Effects, InboundText, Input, Lookup, OutboxId, Outcome, Outgoing,
            RequestId, SendFailure, Via,
        },
        plan::{Origin, Plan, Role, Settings, TagDef},
        record::{AuditEntry, Direction, JournalEntry, JournalKind, LedgerEntry, Record, StateKind, StateRow},
    },
    tag::{DataType, Names, Sample, StatusCode, TagId, Timestamp, Value},
};

/// A driver without a device.
const DRIVER: Driver = Driver { kind: "plc", example: "", settings: |_| Some(Arc::new(())), address: no_address };

/// Everybody's users, rosters and profiles; a scenario adds its own tables.
const BASE: &str = r#"
[[twilio]]
name = "main"
account_sid = "AC00000000000000000000000000000000"
auth_token = "token"
from = "+15550001111"
external_url = "https://plant.example.com"
sms_per_second = 1000
[[profile]]
name = "sms"
kind = "sms"
twilio = "main"
message = "{{ alarm.message }}"
[[user]]
name = "alice"
id = 1
phone = "+12223330001"
pin = "4711"
roles = ["operator"]
[[user]]
name = "bob"
phone = "+12223330002"
pin = "0815"
roles = ["engineer"]
[[user]]
name = "carol"
phone = "+12223330003"
pin = "1234"
roles = ["operator"]
[[user]]
name = "dave"
phone = "+12223330004"
roles = ["viewer"]
[[roster]]
name = "operators"
users = ["alice", "bob"]
[[roster]]
name = "managers"
users = ["carol"]
[[source]]
name = "plc1"
kind = "plc"
"#;

/// Always some: the shape of the driver's table asks for an option.
#[allow(clippy::unnecessary_wraps)]
fn no_address(section: &mut Section<'_>, _: &TagDef, _: &Settings) -> Option<Settings> {
    section.string("address");
    Some(Arc::new(()))
}

/// What Twilio does with the next requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes texts.
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
}

/// A text that Twilio has.
#[derive(Clone, Debug)]
pub struct Message {
    pub sid: String,
    pub row: OutboxId,
    pub to: String,
    pub body: String,
    pub created: Timestamp,
}

/// Something that was seen outside.
#[derive(Clone, Debug)]
pub enum Act {
    Text(Message),
    Write { tag: TagId, value: Value },
}

/// Twilio, devices and what they have seen.
pub struct World {
    pub mood: Mood,
    pub moods: HashMap<String, Mood>,
    pub list_fails: bool,
    pub messages: Vec<Message>,
    pub attempts: usize,
    pub device: HashMap<TagId, Value>,
    pub devices: HashMap<TagId, Device>,
    pub down: BTreeSet<Arc<str>>,
    /// How long an answer takes, at the next request.
    pub latency: Duration,
    pub acts: Vec<(Timestamp, Act)>,
    pending: BTreeMap<(Timestamp, u64), Input>,
    next: u64,
}

/// Where the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The step is not committed.
    BeforeCommit,
    /// It is, and this many of its effects are carried out.
    After(usize),
}

pub struct Rig {
    engine: Option<Engine>,
    pub plan: Arc<Plan>,
    names: Names,
    pub now: Timestamp,
    pub start: Timestamp,
    pub store: BTreeMap<(StateKind, String), serde_json::Value>,
    pub journal: Vec<JournalEntry>,
    pub audit: Vec<AuditEntry>,
    pub ledger: BTreeMap<(String, bool), LedgerEntry>,
    pub shown: HashMap<TagId, Value>,
    pub answers: HashMap<RequestId, Outcome>,
    pub world: World,
    pub crash: Option<Crash>,
    /// May change the effects of a step, for the tests of the tests.
    pub meddle: Option<fn(&mut Effects)>,
    /// May change the rows that an engine is restored from.
    pub meddle_rows: Option<fn(&mut Vec<StateRow>)>,
    /// The last steps, for whoever looks for a fault.
    pub steps: VecDeque<String>,
    /// Number, alarm and code of what was sent.
    pub told: HashSet<(String, String, String)>,
    acknowledged: HashSet<uuid::Uuid>,
    codes: HashMap<String, (String, serde_json::Value)>,
    written: HashMap<(OutboxId, TagId), BTreeSet<String>>,
    entropy: u64,
}

/// Steps that are remembered.
const STEPS: usize = 50;

impl Rig {
    pub fn new(config: &str, tags: &str, entropy: u64) -> Self {
        let mut names = Names::default();
        let plan = read(config, tags, &mut names);
        let start = "2026-01-05T08:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let world = World {
            mood: Mood::Accepts,
            moods: HashMap::new(),
            list_fails: false,
            messages: Vec::new(),
            attempts: 0,
            device: HashMap::new(),
            devices: HashMap::new(),
            down: BTreeSet::new(),
            latency: Duration::ZERO,
            acts: Vec::new(),
            pending: BTreeMap::new(),
            next: 0,
        };
        Self {
            engine: None,
            plan,
            names,
            now: start,
            start,
            store: BTreeMap::new(),
            journal: Vec::new(),
            audit: Vec::new(),
            ledger: BTreeMap::new(),
            shown: HashMap::new(),
            answers: HashMap::new(),
            world,
            crash: None,
            meddle: None,
            meddle_rows: None,
            steps: VecDeque::new(),
            told: HashSet::new(),
            acknowledged: HashSet::new(),
            codes: HashMap::new(),
            written: HashMap::new(),
            entropy,
        }
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the program runs")
    }

    pub fn runs(&self) -> bool {
        self.engine.is_some()
    }

    /// Starts the program on what is committed; sources connect at once.
    pub fn start_program(&mut self) {
        let mut rows: Vec<StateRow> = self
            .store
            .iter()
            .map(|((kind, key), value)| StateRow { kind: *kind, key: key.clone(), value: value.clone() })
            .collect();
        if let Some(meddle) = self.meddle_rows {
            meddle(&mut rows);
        }
        self.entropy += 1;
        let mut out = Vec::new();
        let (engine, problems) = Engine::restore(Arc::clone(&self.plan), rows, self.entropy, self.now, &mut out);
        assert!(problems.is_empty(), "stored rows cannot be read: {problems:?}");
        self.engine = Some(engine);
        self.note("start");
        self.carry_out(out);
        let memory = self.samples_of(|origin| matches!(origin, Origin::Memory { .. }));
        self.input(Input::Samples(memory));
        for source in self.plan.sources.iter().map(|source| Arc::clone(&source.name)).collect::<Vec<_>>() {
            self.connect(&source);
        }
    }

    /// Kills the program: answers that were under way never arrive.
    pub fn stop_program(&mut self) {
        self.engine = None;
        self.world.pending.retain(|_, input| matches!(input, Input::Inbound { .. } | Input::Status { .. }));
    }

    pub fn reload(&mut self, config: &str, tags: &str) {
        self.plan = read(config, tags, &mut self.names);
        self.input(Input::Plan(Arc::clone(&self.plan)));
        let memory = self.samples_of(|origin| matches!(origin, Origin::Memory { .. }));
        self.input(Input::Samples(memory));
        for source in self.plan.sources.iter().map(|source| Arc::clone(&source.name)).collect::<Vec<_>>() {
            self.connect(&source);
        }
    }

    fn connect(&mut self, source: &Arc<str>) {
        if self.world.down.contains(source) {
            let error = "no route to host".to_owned();
            return self.input(Input::SourceDown { source: Arc::clone(source), error });
        }
        self.input(Input::SourceUp { source: Arc::clone(source) });
        let samples = self.samples_of(|origin| matches!(origin, Origin::Source { source: of, .. } if of == source));
        self.input(Input::Samples(samples));
    }

    pub fn set_source(&mut self, source: &str, up: bool) {
        let source: Arc<str> = source.into();
        if up {
            self.world.down.remove(&source);
            return self.connect(&source);
        }
        self.world.down.insert(Arc::clone(&source));
        self.input(Input::SourceDown { source: Arc::clone(&source), error: "the connection was reset".to_owned() });
        let mut samples = self.samples_of(|origin| matches!(origin, Origin::Source { source: of, .. } if *of == source));
        for sample in &mut samples {
            sample.status = StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE;
        }
        self.input(Input::Samples(samples));
    }

    fn samples_of(&self, wanted: impl Fn(&Origin) -> bool) -> Vec<Sample> {
        let watched = Engine::watched(&self.plan);
        let tags = self.plan.tags.iter().filter(|def| wanted(&def.origin) && watched.contains(&def.id));
        tags.map(|def| self.sample(def.id, self.device_value(def.id))).collect()
    }

    fn sample(&self, tag: TagId, value: Value) -> Sample {
        Sample { tag, value, status: StatusCode::GOOD, source_time: self.now }
    }

    pub fn device_value(&self, tag: TagId) -> Value {
        let initial = || match self.plan.tag(tag).map(|def| (&def.origin, def.value_type.data_type)) {
            Some((Origin::Memory { initial, .. }, _)) if !initial.is_null() => initial.clone(),
            Some((_, DataType::Boolean)) => Value::Boolean(false),
            Some((_, DataType::String)) => Value::string(""),
            Some((_, data_type)) => data_type.from_i128(0).unwrap_or_default(),
            None => Value::Null,
        };
        self.world.device.get(&tag).cloned().unwrap_or_else(initial)
    }

    /// The plant changes a value.
    pub fn set(&mut self, tag: TagId, value: Value) {
        self.world.device.insert(tag, value.clone());
        if self.runs() && self.is_connected(tag) && Engine::watched(&self.plan).contains(&tag) {
            self.input(Input::Samples(vec![self.sample(tag, value)]));
        }
    }

    fn is_connected(&self, tag: TagId) -> bool {
        match self.plan.tag(tag).map(|def| &def.origin) {
            Some(Origin::Source { source, .. }) => !self.world.down.contains(source),
            _ => true,
        }
    }

    pub fn tag(&self, path: &str) -> TagId {
        self.plan.tags.iter().find(|def| &*def.path == path).unwrap_or_else(|| panic!("there is no tag {path}")).id
    }

    pub fn command(&mut self, user: &str, command: Command) -> RequestId {
        let role = self.plan.users.get(user).map_or(Role::Engineer, |user| user.role);
        let by = Actor { name: user.to_owned(), role, via: Via::Api };
        self.world.next += 1;
        let request = RequestId(self.world.next);
        self.input(Input::Command { request, by, command });
        request
    }

    /// A person's text reaches us.
    pub fn inbound(&mut self, from: &str, body: &str) {
        self.world.next += 1;
        let sid = format!("SMin{}", self.world.next);
        self.world.inbound(self.now, sid, from, body, None);
    }

    /// One input and what follows from it.
    pub fn input(&mut self, input: Input) {
        let Some(engine) = &mut self.engine else { return };
        let again = matches!(input, Input::Inbound { .. } | Input::Status { .. }).then(|| input.clone());
        let step = if let Input::Plan(_) = input { "Plan".to_owned() } else { format!("{input:?}") };
        let mut out = Vec::new();
        engine.handle(self.now, input, &mut out);
        self.note(&step);
        if let Some(input) = again.filter(|_| self.crash == Some(Crash::BeforeCommit)) {
            // Whoever brought it was not answered and brings it again.
            self.world.after(self.now, input);
        }
        self.carry_out(out);
    }

    pub fn note(&mut self, step: &str) {
        let idle = self.steps.back().is_some_and(|last| last.ends_with(" Tick"));
        if idle && !step.starts_with(' ') {
            self.steps.pop_back();
        }
        if self.steps.len() == STEPS {
            self.steps.pop_front();
        }
        let seconds = self.now.since(self.start).as_secs_f64();
        self.steps.push_back(format!("{seconds:.3} {}", step.chars().take(300).collect::<String>()));
    }

    fn carry_out(&mut self, mut out: Effects) {
        if let Some(meddle) = self.meddle {
            meddle(&mut out);
        }
        let crash = self.crash.take();
        if let Some(crash) = crash {
            self.note(&format!("  crash {crash:?}"));
        }
        if crash == Some(Crash::BeforeCommit) {
            return self.stop_program();
        }
        let records = out.iter().take_while(|effect| matches!(effect, Effect::Record(_))).count();
        let rest = out.split_off(records);
        for effect in out {
            if let Effect::Record(record) = effect {
                self.commit(record);
            }
        }
        for (place, effect) in rest.into_iter().enumerate() {
            if crash == Some(Crash::After(place)) {
                break;
            }
            if !matches!(effect, Effect::Publish(_)) {
                self.note(&format!("  {effect:?}"));
            }
            match effect {
                Effect::EndCall { .. } | Effect::Script { .. } => panic!("the rig knows no calls and no scripts: {effect:?}"),
                Effect::Record(record) => panic!("a record stands behind an effect: {record:?}"),
                Effect::Publish(sample) => _ = self.shown.insert(sample.tag, sample.value),
                Effect::Answer { request, outcome } => _ = self.answers.insert(request, outcome),
                Effect::Send(message) => {
                    self.check_text(&message);
                    self.world.send(self.now, message);
                }
                Effect::Lookup(lookup) => self.world.look_up(self.now, &lookup),
                Effect::Read { row, tag } => {
                    self.row(row);
                    let result =
                        if self.is_connected(tag) { Ok(self.device_value(tag)) } else { Err(StatusCode::BAD_NOT_CONNECTED) };
                    self.world.read(self.now, row, tag, result);
                }
                Effect::Write { row, writes, read_back } => self.write(row, writes, read_back),
            }
        }
        if crash.is_some() {
            self.stop_program();
        }
    }

    fn check_text(&mut self, message: &Outgoing) {
        let text = self.row(message.row)["job"]["Text"].clone();
        assert!(text["state"].get("Sending").is_some(), "sent without a committed attempt: {text}");
        assert_eq!(text["body"], message.body.as_str(), "sent is not what was committed");
        // (Two rows with the same words to the same number may have found each other's SIDs.)
        let uncounted = |sent: &Message| !self.ledger.contains_key(&(sent.sid.clone(), true));
        let before = self.world.messages.iter().any(|sent| sent.row == message.row && uncounted(sent));
        assert!(!before || text["possible_duplicate"] == true, "sent twice although the list shows it: {text}");
        let views: HashMap<_, _> = self.engine().alarm_views().into_iter().map(|view| (view.path.to_string(), view)).collect();
        for item in text["purpose"]["Alarm"]["items"].as_array().into_iter().flatten() {
            let [alarm, code, event] = ["alarm", "code", "event"].map(|key| item[key].as_str().unwrap_or_default().to_owned());
            let view = views.get(&alarm).unwrap_or_else(|| panic!("{alarm} is gone: {text}"));
            assert!(!self.acknowledged.contains(&event.parse().unwrap()), "{alarm} was acknowledged: {text}");
            assert_eq!(view.code.as_ref(), Some(&code), "{alarm} has ended: {text}");
            let silent = view.shelved_until.is_some() || view.suppressed || view.out_of_service;
            assert!(!silent, "{alarm} is silenced: {text}");
            self.told.insert((message.to.clone(), alarm, code));
        }
    }

    fn row(&self, row: OutboxId) -> &serde_json::Value {
        self.store.get(&(StateKind::Outbox, row.0.to_string())).unwrap_or_else(|| panic!("row {row:?} is not committed"))
    }

    fn commit(&mut self, record: Record) {
        match record {
            Record::State { kind, key, value: Some(value) } => {
                if kind == StateKind::Run {
                    let run = (key.clone(), value["started"].clone());
                    let code = value["code"].as_str().unwrap_or_default().to_owned();
                    assert_eq!(*self.codes.entry(code.clone()).or_insert_with(|| run.clone()), run, "code {code} is given twice");
                }
                self.store.insert((kind, key), value);
            }
            Record::State { kind, key, value: None } => _ = self.store.remove(&(kind, key)),
            Record::Journal(entry) => {
                match (entry.kind, entry.event) {
                    (JournalKind::Acknowledged, Some(event)) => _ = self.acknowledged.insert(event),
                    (JournalKind::ReAlarmed, Some(event)) => _ = self.acknowledged.remove(&event),
                    _ => {}
                }
                self.journal.push(entry);
            }
            Record::Audit(entry) => self.audit.push(entry),
            Record::Ledger(entry) => {
                let key = (entry.sid.clone(), entry.direction == Direction::Sent);
                assert!(self.ledger.insert(key, entry).is_none(), "a SID is counted twice");
            }
        }
    }

    fn write(&mut self, row: OutboxId, writes: Vec<(TagId, Value)>, read_back: Option<TagId>) {
        self.row(row);
        let mut status = StatusCode::GOOD;
        let mut samples = Vec::new();
        let watched = Engine::watched(&self.plan);
        for (tag, value) in writes {
            let def = self.plan.tag(tag).expect("only known tags are written");
            assert!(def.writable, "{} is written and is not writable", def.path);
            assert!(def.value_type.admits(&value), "{} cannot hold {value:?}", def.path);
            if !self.is_connected(tag) {
                status = StatusCode::BAD_NOT_CONNECTED;
                break;
            }
            let device = self.world.devices.get(&tag).copied().unwrap_or(Device::Works);
            if let Device::Fails(with) = device {
                status = with;
                break;
            }
            let values = self.written.entry((row, tag)).or_default();
            values.insert(value.to_string());
            // A pulse has two halves.
            let most =
                if self.store[&(StateKind::Outbox, row.0.to_string())]["job"]["WriteBack"]["reset"].is_null() { 1 } else { 2 };
            assert!(values.len() <= most, "a retry writes another value to {}: {values:?}", def.path);
            self.world.acts.push((self.now, Act::Write { tag, value: value.clone() }));
            if device != Device::Ignores {
                self.world.device.insert(tag, value.clone());
                if watched.contains(&tag) {
                    samples.push(self.sample(tag, value));
                }
            }
            if device == Device::LosesAnswer {
                status = StatusCode::BAD_TIMEOUT;
                break;
            }
        }
        let read_back = read_back.filter(|_| status.is_good()).map(|tag| self.device_value(tag));
        self.world.after(self.now, Input::WriteResult { row, status, read_back });
        if !samples.is_empty() {
            self.world.after(self.now, Input::Samples(samples));
        }
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Timestamp> {
        let deadline = self.engine.as_ref().and_then(Engine::next_deadline);
        let pending = self.world.pending.keys().next().map(|(at, _)| *at).filter(|_| self.runs());
        [deadline, pending].into_iter().flatten().min()
    }

    /// Lets the next thing happen, if it is due by `until`; false when nothing is.
    pub fn advance(&mut self, until: Timestamp) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= until) else { return false };
        self.now = self.now.max(next);
        let due = self.world.pending.first_entry().filter(|entry| entry.key().0 <= self.now).map(OccupiedEntry::remove);
        self.input(due.unwrap_or(Input::Tick));
        true
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn run_until(&mut self, until: Timestamp) {
        let (mut at, mut turns) = (self.now, 0);
        while self.advance(until) {
            if self.now > at {
                (at, turns) = (self.now, 0);
            }
            turns += 1;
            assert!(turns < 100_000, "the engine spins at {at}: {}", self.steps.back().unwrap());
        }
        self.now = self.now.max(until);
    }
}

impl World {
    fn after(&mut self, now: Timestamp, input: Input) {
        self.next += 1;
        self.pending.insert((now + self.latency, self.next), input);
    }

    pub fn inbound(&mut self, at: Timestamp, sid: String, from: &str, body: &str, received: Option<Timestamp>) {
        let text = InboundText {
            twilio: "main".to_owned(),
            sid,
            from: from.to_owned(),
            to: "+15550001111".to_owned(),
            body: body.to_owned(),
            received,
        };
        self.after(at, Input::Inbound { request: RequestId::NOBODY, text });
    }

    pub fn status(&mut self, at: Timestamp, message: &Message, status: DeliveryState, error_code: Option<u32>) {
        let (row, sid) = (Some(message.row), message.sid.clone());
        self.after(at, Input::Status { request: RequestId::NOBODY, row, sid, status, error_code });
    }

    fn send(&mut self, now: Timestamp, message: Outgoing) {
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

    fn take(&mut self, now: Timestamp, message: Outgoing) -> Accepted {
        let sid = format!("SM{}", self.messages.len() + 1);
        let message = Message { sid: sid.clone(), row: message.row, to: message.to, body: message.body, created: now };
        self.messages.push(message.clone());
        self.acts.push((now, Act::Text(message)));
        Accepted { sid, segments: 1, status: DeliveryState::Queued }
    }

    fn look_up(&mut self, now: Timestamp, lookup: &Lookup) {
        let fits = |message: &&Message| {
            message.to == lookup.message.to && message.body == lookup.message.body && message.created >= lookup.since
        };
        let found = self.messages.iter().filter(fits);
        let found =
            found.map(|message| Accepted { sid: message.sid.clone(), segments: 1, status: DeliveryState::Sent }).collect();
        let result = if self.list_fails { Err("the list cannot be read".to_owned()) } else { Ok(found) };
        self.after(now, Input::LookupResult { row: lookup.message.row, result });
    }

    fn read(&mut self, now: Timestamp, row: OutboxId, tag: TagId, result: Result<Value, StatusCode>) {
        let result = match self.devices.get(&tag) {
            Some(Device::Fails(status)) => Err(*status),
            _ => result,
        };
        self.after(now, Input::ReadResult { row, result });
    }
}

/// Reads a configuration on top of [`BASE`]; only a correct one is of use here.
fn read(config: &str, tags: &str, names: &mut Names) -> Arc<Plan> {
    let no_file = |_: &Path| Err("no files here".to_owned());
    let loader = Loader { env: &|_| None, read_file: &no_file };
    let file = |name: &str, text: &str| File { name: name.to_owned(), text: text.to_owned() };
    let files = [file("base.toml", BASE), file("config.toml", config)];
    match load(&files, &[file("tags.toml", tags)], &[DRIVER], loader, names) {
        Ok(loaded) => Arc::new(loaded.plan),
        Err(problems) => panic!("the configuration is wrong:\n{}", render(&problems, false)),
    }
}
