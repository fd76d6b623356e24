//! Dialogues, line by line: what happens, and what is said or done then.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value as Json;

use crate::{
    config::{File, Loader, load},
    engine::{
        Engine,
        io::{
            Accepted, Actor, AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, Command, DeliveryState, Effect,
            Effects, Input, OutboxId, RequestId, SendFailure, Verb, Via,
        },
        plan::{Channel, Plan, Role},
        record::{AuditKind, Direction, LedgerEntry, Record, StateKind, StateRow},
    },
    tag::{Names, Sample, StatusCode, Timestamp, Value},
};

const CONFIG: &str = r#"
[[twilio]]
name = "main"
account_sid = "AC00000000000000000000000000000000"
auth_token = "token"
from = "+15550001111"
external_url = "https://plant.example.com"
calls_per_second = 1000
[[profile]]
name = "voice"
kind = "voice"
twilio = "main"
voice = "Polly.Joanna"
[[profile]]
name = "sms"
kind = "sms"
twilio = "main"
[[user]]
name = "alice"
phone = "+12223330001"
pin = "4711"
roles = ["operator"]
[[user]]
name = "bob"
phone = "+12223330002"
pin = "081512"
roles = ["operator"]
language = "de-DE"
[[user]]
name = "carol"
phone = "+12223330003"
roles = ["operator"]
[[user]]
name = "dave"
phone = "+12223330004"
pin = "2222"
[[roster]]
name = "operators"
users = ["alice", "bob"]
[[roster]]
name = "few"
users = ["carol", "dave"]
[[pipeline]]
name = "on-call"
end_on_clear = false
[[pipeline.step]]
notify = { profile = "voice", roster = "operators", wait = "60s" }
[[pipeline.step]]
delay = "10m"
[[pipeline.step]]
notify = { profile = "voice", roster = "few" }
[[pipeline]]
name = "few"
[[pipeline.step]]
notify = { profile = "voice", roster = "few", wait = "60s" }
"#;

const TAGS: &str = r#"
[[tag]]
path = "Plant/Ack"
type = "Boolean"
writable = true
[[tag]]
path = "Plant/Pump"
type = "Boolean"
[[tag.alarm]]
name = "Trip"
mode = "equal"
setpoint = true
priority = "critical"
message = "Pump tripped at 85 °C"
pipeline = "on-call"
[[tag]]
path = "Plant/Fan"
type = "Boolean"
[[tag.alarm]]
name = "Stop"
mode = "equal"
setpoint = true
priority = "high"
message = "Fan stopped"
pipeline = "on-call"
ack = { tag = "Plant/Ack", mode = "set", value = true }
[[tag]]
path = "Plant/Few"
type = "Boolean"
[[tag.alarm]]
name = "On"
mode = "equal"
setpoint = true
priority = "low"
message = "Few are told"
pipeline = "few"
"#;

struct Talk {
    engine: Engine,
    plan: Arc<Plan>,
    now: Timestamp,
    store: BTreeMap<(StateKind, String), Json>,
    ledger: BTreeMap<String, LedgerEntry>,
    audit: Vec<(AuditKind, String)>,
    /// What was seen since the last line.
    seen: Vec<String>,
    sids: u32,
    /// SID, row and turn of the call that lines speak of.
    sid: String,
    row: Option<OutboxId>,
    turn: u32,
    number: String,
    /// Calls that Twilio has, with row and number; the turn of each; who has shown a PIN in it.
    placed: Vec<(String, Option<OutboxId>, String)>,
    turns: BTreeMap<String, u32>,
    proven: BTreeSet<String>,
    asking: String,
    /// Twilio refuses calls.
    refuses: bool,
    ambiguous: bool,
}

impl Talk {
    fn new(config: &str) -> Self {
        let no_file = |_: &Path| Err("no files here".to_owned());
        let file = |name: &str, text: &str| File { name: name.to_owned(), text: text.to_owned() };
        let loader = Loader { env: &|_| None, read_file: &no_file };
        let loaded = load(&[file("c.toml", config)], &[file("t.toml", TAGS)], &[], loader, &mut Names::default());
        let plan = match loaded {
            Ok(loaded) => Arc::new(loaded.plan),
            Err(problems) => panic!("{}", crate::config::render::render(&problems, false)),
        };
        let now = "2026-01-05T08:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let mut out = Vec::new();
        let (engine, problems) = Engine::restore(Arc::clone(&plan), Vec::new(), 1, now, &mut out);
        assert!(problems.is_empty(), "{problems:?}");
        let mut talk = Self {
            engine,
            plan,
            now,
            store: BTreeMap::new(),
            ledger: BTreeMap::new(),
            audit: Vec::new(),
            seen: Vec::new(),
            sids: 0,
            sid: String::new(),
            row: None,
            turn: 0,
            number: String::new(),
            placed: Vec::new(),
            turns: BTreeMap::new(),
            proven: BTreeSet::new(),
            asking: String::new(),
            refuses: false,
            ambiguous: false,
        };
        talk.carry_out(out);
        for tag in ["Plant/Pump", "Plant/Fan", "Plant/Few", "Plant/Ack"] {
            talk.set(tag, false);
        }
        talk.seen.clear();
        talk
    }

    fn restart(&mut self) {
        let rows = self.store.iter().map(|((kind, key), value)| StateRow { kind: *kind, key: key.clone(), value: value.clone() });
        let mut out = Vec::new();
        let (engine, problems) = Engine::restore(Arc::clone(&self.plan), rows.collect(), 2, self.now, &mut out);
        assert!(problems.is_empty(), "{problems:?}");
        self.engine = engine;
        self.carry_out(out);
        let tags = ["Plant/Pump", "Plant/Fan", "Plant/Few"].map(|path| self.value_sample(path, self.held(path)));
        self.input(Input::Samples(tags.to_vec()));
    }

    fn held(&self, path: &str) -> bool {
        let views = self.engine.alarm_views();
        views.iter().any(|view| view.path.starts_with(path) && view.state.starts_with("Active"))
    }

    fn value_sample(&self, path: &str, value: bool) -> Sample {
        let tag = self.plan.tags.iter().find(|def| &*def.path == path).unwrap().id;
        Sample { tag, value: Value::Boolean(value), status: StatusCode::GOOD, source_time: self.now }
    }

    fn set(&mut self, path: &str, value: bool) {
        let sample = self.value_sample(path, value);
        self.input(Input::Samples(vec![sample]));
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Effects) {
        let mut later = Vec::new();
        for effect in out {
            match effect {
                Effect::Record(record) => self.commit(record),
                Effect::Send(message) => {
                    let row = message.row;
                    self.sids += 1;
                    let prefix = if message.channel == Channel::Voice { "CA" } else { "SM" };
                    let sid = format!("{prefix}{}", self.sids);
                    self.check_needed(&message.body);
                    if message.call.is_some() && !self.refuses {
                        self.placed.push((sid.clone(), Some(row), message.to.clone()));
                    }
                    match &message.call {
                        Some(call) => {
                            let inline =
                                call.document.as_ref().map_or_else(String::new, |document| format!(": {}", shown(document)));
                            let detect = if call.machine_detection { "" } else { " blind" };
                            self.seen.push(format!("call {}{detect}{inline}", self.name(&message.to)));
                            (self.sid, self.row, self.number) = (sid.clone(), Some(row), message.to.clone());
                            self.turn = 0;
                        }
                        None => self.seen.push(format!("text {}: {}", self.name(&message.to), message.body)),
                    }
                    let result = match &message.call {
                        Some(_) if self.refuses => Err(SendFailure::Permanent {
                            code: 21215,
                            reason: "no permission".into(),
                            advice: "allow the country".into(),
                            account: false,
                            opted_out: false,
                        }),
                        Some(_) if self.ambiguous => Err(SendFailure::Ambiguous { reason: "lost".into() }),
                        _ => Ok(Accepted { sid, segments: 1, status: DeliveryState::Queued }),
                    };
                    later.push(Input::SendResult { row, result });
                }
                Effect::Lookup(lookup) => {
                    let sid = self.placed.iter().find(|(_, row, _)| *row == Some(lookup.message.row)).unwrap().0.clone();
                    let found = Accepted { sid, segments: 0, status: DeliveryState::Queued };
                    later.push(Input::LookupResult { row: lookup.message.row, result: Ok(vec![found]) });
                }
                Effect::EndCall { sid, last_words, .. } => self.seen.push(format!("end {sid}: {}", shown(&last_words))),
                Effect::Answer { request: RequestId(9), outcome } => {
                    self.seen.push(format!("answer {} {}", outcome.status.is_good(), outcome.sid.unwrap_or(outcome.message)));
                }
                Effect::Answer { outcome, .. } => {
                    if let Some(document) = outcome.document {
                        self.turn = document.turn;
                        self.turns.insert(self.asking.clone(), document.turn);
                        let of_the_plant = shown(&document).contains("Plant,");
                        assert!(!of_the_plant || self.proven.contains(&self.asking), "told without a PIN: {}", shown(&document));
                        self.seen.push(shown(&document));
                    }
                }
                Effect::Read { .. } | Effect::Publish(_) | Effect::Condition(_) | Effect::Script { .. } => {}
                Effect::Write { row, .. } => {
                    self.seen.push("write".to_owned());
                    let status = StatusCode::GOOD;
                    later.push(Input::WriteResult { row, status, read_back: Some(Value::Boolean(true)) });
                }
            }
        }
        for input in later {
            // The PLC is slow: its answer comes with the next line.
            if let Input::WriteResult { .. } = input {
                self.now = self.now + Duration::from_millis(1);
            }
            self.input(input);
        }
    }

    fn commit(&mut self, record: Record) {
        match record {
            Record::State { kind, key, value: Some(value) } => _ = self.store.insert((kind, key), value.json()),
            Record::State { kind, key, value: None } => _ = self.store.remove(&(kind, key)),
            Record::Ledger(entry) => {
                let before = self.ledger.insert(entry.sid.clone(), entry.clone());
                assert!(before.is_none_or(|before| before.minutes == 0 && before.time == entry.time && entry.minutes > 0));
            }
            Record::Audit(entry) => self.audit.push((entry.kind, entry.result)),
            Record::Journal(_) | Record::HandedIn { .. } | Record::Answered { .. } => {}
        }
    }

    /// No call is placed for what was acknowledged.
    fn check_needed(&self, body: &str) {
        let Some(listed) = body.strip_prefix("call: ") else { return };
        for line in listed.split("; ") {
            let (tag, name) = line.split_once(' ').unwrap().1.rsplit_once('/').unwrap();
            let path = format!("{tag}/Alarms/{name}");
            let view = self.engine.alarm_views().into_iter().find(|view| *view.path == *path).unwrap();
            assert!(view.state.ends_with("Unacked"), "a call for {path}, which is {}", view.state);
        }
    }

    fn name(&self, number: &str) -> String {
        self.plan.user_by_number(number).map_or_else(|| number.to_owned(), |user| user.name.clone())
    }

    fn count(&self, name: &str) -> i64 {
        self.store.get(&(StateKind::Counter, format!("Twilio/{name}"))).and_then(|count| count["value"].as_i64()).unwrap_or(0)
    }

    fn call(&mut self, action: CallAction, change: impl FnOnce(&mut CallEvent)) {
        let (from, to) = ("+15550001111".to_owned(), self.number.clone());
        let asked = matches!(action, CallAction::Pin | CallAction::Menu | CallAction::Ack);
        let mut call = CallEvent {
            twilio: "main".into(),
            action,
            row: self.row,
            sid: self.sid.clone(),
            from,
            to,
            turn: asked.then_some(self.turn),
            digits: None,
            answered_by: None,
            status: None,
            duration: None,
            error_code: None,
        };
        if self.row.is_none() {
            std::mem::swap(&mut call.from, &mut call.to);
        }
        change(&mut call);
        self.asking.clone_from(&call.sid);
        if action == CallAction::Pin
            && call.digits.as_ref().is_some_and(|keys| ["4711", "081512", "2222"].contains(&keys.as_str()))
        {
            self.proven.insert(call.sid.clone());
        }
        self.input(Input::Call { request: RequestId(1), call });
    }

    fn act(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["set", path, value] => self.set(path, *value == "true"),
            ["pass", seconds] => {
                let until = self.now + Duration::from_secs(seconds.parse().unwrap());
                while let Some(next) = self.engine.next_deadline().filter(|next| *next <= until) {
                    self.now = self.now.max(next);
                    self.input(Input::Tick);
                }
                self.now = until;
            }
            ["answer"] => self.call(CallAction::Answer, |_| {}),
            ["answer", "machine"] => self.call(CallAction::Answer, |call| call.answered_by = Some(AnsweredBy::Machine)),
            ["verdict", "machine"] => self.call(CallAction::Status, |call| call.answered_by = Some(AnsweredBy::Machine)),
            ["pin", keys] => self.call(CallAction::Pin, |call| call.digits = Some((*keys).to_owned())),
            ["pin"] => self.call(CallAction::Pin, |_| {}),
            ["menu", keys] => self.call(CallAction::Menu, |call| call.digits = Some((*keys).to_owned())),
            ["menu"] => self.call(CallAction::Menu, |call| call.digits = Some(String::new())),
            ["again", keys] => {
                let turn = self.turn - 1;
                self.call(CallAction::Menu, |call| (call.digits, call.turn) = (Some((*keys).to_owned()), Some(turn)));
            }
            ["ack"] => self.call(CallAction::Ack, |_| {}),
            ["status", word, rest @ ..] => {
                let (status, seconds) = (CallStatus::parse(word), rest.first().map(|seconds| seconds.parse().unwrap()));
                self.call(CallAction::Status, |call| (call.status, call.duration) = (status, seconds));
            }
            ["inbound", number] => {
                self.sids += 1;
                (self.sid, self.row, self.number) = (format!("CA{}", self.sids), None, (*number).to_owned());
                self.placed.push((self.sid.clone(), None, self.number.clone()));
                self.call(CallAction::Inbound, |_| {});
            }
            ["inbound-again"] => self.call(CallAction::Inbound, |_| {}),
            ["scada-ack", alarm] => {
                let by = Actor { name: "eve".into(), role: Role::Operator, via: Via::OpcUa };
                let command = Command::Acknowledge { alarm: (*alarm).into(), note: String::new() };
                self.input(Input::Command { request: RequestId::NOBODY, by, command });
            }
            ["place", number] => {
                let by = Actor { name: "eve".into(), role: Role::Operator, via: Via::Api };
                let message = "Level 91.2 % & rising".to_owned();
                let command = Command::PlaceCall { twilio: None, number: (*number).to_owned(), message };
                self.input(Input::Command { request: RequestId(9), by, command });
            }
            ["restart"] => self.restart(),
            ["refuse"] => self.refuses = true,
            ["lose"] => self.ambiguous = true,
            ["count", name] => {
                let count = self.count(name);
                self.seen.push(count.to_string());
            }
            ["audit", kind] => {
                let found = self.audit.iter().rev().find(|(entry, _)| format!("{entry:?}") == *kind);
                self.seen.push(found.map_or_else(String::new, |(_, result)| result.clone()));
            }
            ["minutes"] => {
                let minutes = self.ledger.get(&self.sid).map_or(99, |entry| entry.minutes);
                self.seen.push(minutes.to_string());
            }
            ["state", alarm] => {
                let view = self.engine.alarm_views().into_iter().find(|view| *view.path == **alarm).unwrap();
                self.seen.push(format!("{} {}", view.state, view.ack_user).trim().to_owned());
            }
            _ => panic!("what is {line:?}?"),
        }
    }
}

fn shown(document: &CallDocument) -> String {
    let verbs = document.verbs.iter().map(|verb| match verb {
        Verb::Say(words) => words.clone(),
        Verb::Pause(_) => "…".to_owned(),
        Verb::Gather { action, digits, say, .. } => {
            let digits = digits.map_or_else(|| "#".to_owned(), |digits| digits.to_string());
            format!("[{} {digits}] {}", action.name(), say.join(" "))
        }
        Verb::Redirect(action) => format!("-> {}", action.name()),
        Verb::Hangup => "hang up".to_owned(),
        Verb::Reject => "reject".to_owned(),
    });
    verbs.collect::<Vec<_>>().join(" | ")
}

/// `*` in what is expected stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

#[track_caller]
fn check_with(config: &str, lines: &[(&str, &str)]) {
    let mut talk = Talk::new(config);
    for (act, expected) in lines {
        talk.act(act);
        let seen = std::mem::take(&mut talk.seen).join(" & ");
        assert!(matches(expected, &seen), "{act}\n expected: {expected}\n     seen: {seen}");
    }
    let store = format!("{:?}", talk.store);
    assert!(!store.contains("4711"), "a PIN is stored");
}

#[track_caller]
fn check(lines: &[(&str, &str)]) {
    check_with(CONFIG, lines);
}

const ASK: &str = "[pin 4] This is Annunciator. Please enter your PIN.";
const PUMP: &str = "[menu 1] Critical. Plant, Pump, Trip. Pump tripped at 85 degrees Celsius. Press 1 to acknowledge it. \
                    Press 3 to hear it again. Press 9 to pass it on.";

#[test]
fn a_pin_and_one_key_acknowledge() {
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("status ringing", ""),
        ("answer", ASK),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("menu 1", "Acknowledged: Plant, Pump, Trip. | -> ack"),
        ("again 1", "Acknowledged: Plant, Pump, Trip. | -> ack"),
        ("state Plant/Pump/Alarms/Trip", "ActiveAcked alice"),
        ("ack", "Goodbye. | hang up"),
        ("status completed 61", ""),
        ("status completed 61", ""),
        ("status ringing", ""),
        ("minutes", "2"),
        ("count CallMinutesSent", "2"),
        ("count Users/alice/CallMinutesSent", "2"),
        ("count CallsSent", "1"),
        ("count CallsAnswered", "1"),
        ("count CallsFailed", "0"),
        ("audit CallEnded", "completed, PIN given"),
        ("pass 3600", ""),
        ("status completed 61", ""),
        ("count CallMinutesSent", "2"),
    ]);
}

#[test]
fn whatever_is_no_pin_goes_on_to_the_next() {
    let next = "call bob";
    for end in ["status no-answer 0", "status busy", "status failed", "status canceled", "status completed 12"] {
        check(&[
            ("set Plant/Pump true", "call alice"),
            (end, next),
            ("count CallsFailed", "1"),
            ("audit CallEnded", end.split(' ').nth(1).unwrap()),
        ]);
    }
    // A machine hears nothing of the plant; a verdict that comes while it is spoken to ends the call.
    check(&[("set Plant/Pump true", "call alice"), ("answer machine", "hang up & call bob")]);
    check(&[("set Plant/Pump true", "call alice"), ("answer", ASK), ("verdict machine", "end CA1: hang up & call bob")]);
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("verdict machine", ""),
        ("menu 3", PUMP),
    ]);
    // Somebody is there and keys nothing, or keys it wrongly.
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin", "[pin 4] Please enter your PIN."),
        ("pin #", "[pin 4] Please enter your PIN."),
        ("pin", "Goodbye. | hang up & call bob"),
    ]);
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 1111", "[pin 4] That PIN is wrong. Please enter your PIN."),
        ("pin 2222", "[pin 4] That PIN is wrong. Please enter your PIN."),
        ("pin 3333", "That PIN is wrong. | Goodbye. | hang up & call bob"),
        ("status completed 30", ""),
        ("audit PinRefused", "wrong PIN"),
        ("state Plant/Pump/Alarms/Trip", "ActiveUnacked"),
    ]);
    // Nobody reports the end: the pipeline goes on all the same.
    check(&[("set Plant/Pump true", "call alice"), ("pass 149", ""), ("pass 2", "call bob")]);
    check(&[("refuse", ""), ("set Plant/Pump true", "call alice & call bob*"), ("count CallsFailed", "2")]);
}

#[test]
fn several_alarms_are_told_one_after_the_other() {
    check(&[
        ("set Plant/Fan true", "call alice"),
        ("set Plant/Pump true", ""),
        ("answer", ASK),
        (
            "pin 4711",
            "[menu 1] 2 alarms. Alarm 1 of 2. Critical. Plant, Pump, Trip. Pump tripped at 85 degrees Celsius. Press 1 to acknowledge it. \
             Press 3 to hear it again. Press 4 for the next one. Press 9 to pass it on.",
        ),
        ("menu 7", "[menu 1] Key 7 does nothing here. Press 1 *"),
        (
            "menu 4",
            "[menu 1] Alarm 2 of 2. High priority. Plant, Fan, Stop. Fan stopped. Press 1 to acknowledge it. Press 2 to acknowledge all 2 that you have heard. Press 3 *",
        ),
        ("menu 4", "[menu 1] There are no more alarms. Press 1 *"),
        ("menu 2", "write & Acknowledged: Plant, Pump, Trip; Plant, Fan, Stop. | -> ack"),
        ("ack", "The controller took it. | Goodbye. | hang up"),
        ("state Plant/Fan/Alarms/Stop", "ActiveAcked alice"),
        ("state Plant/Pump/Alarms/Trip", "ActiveAcked alice"),
        ("pass 3600", ""),
    ]);
    // One is acknowledged, the other is told behind it; a further one joins the talk.
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("set Plant/Fan true", ""),
        ("menu 1", "Acknowledged: Plant, Pump, Trip. | -> ack"),
        ("ack", "[menu 1] Alarm 2 of 2. High priority. Plant, Fan, Stop. *"),
        ("status completed 50", ""),
        // Told and reached: bob follows `wait` after the PIN.
        ("pass 58", ""),
        ("pass 3", "call bob"),
    ]);
    // What was not spoken goes on at once.
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("set Plant/Fan true", ""),
        ("answer", ASK),
        ("pin 4711", "[menu 1] 2 alarms.*"),
        ("status completed 50", "call bob"),
        ("answer", "[pin 6] Hier ist Annunciator. Bitte geben Sie Ihre PIN ein."),
        ("pin 081512", "[menu 1] Hohe Priorität. Plant, Fan, Stop. Fan stopped. Drücken Sie 1, um ihn zu quittieren. *"),
    ]);
}

#[test]
fn silence_and_wrong_keys_end() {
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("menu", PUMP),
        ("menu #", PUMP),
        ("menu 3", PUMP),
        ("menu", PUMP),
        ("menu", PUMP),
        ("menu", PUMP),
        ("menu", "Goodbye. | hang up"),
        ("status completed 90", ""),
        ("pass 70", "call bob"),
    ]);
}

#[test]
fn passed_on_past_the_delay() {
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("menu 9", "Passed on. | Goodbye. | hang up & call carol"),
    ]);
}

#[test]
fn who_passes_on_is_not_called_for_it_again() {
    let same = CONFIG.replace(
        "notify = { profile = \"voice\", roster = \"few\" }",
        "notify = { profile = \"voice\", roster = \"operators\" }",
    );
    check_with(
        &same,
        &[
            ("set Plant/Pump true", "call alice"),
            ("answer", ASK),
            ("pin 4711", PUMP),
            ("menu 9", "Passed on. | Goodbye. | hang up & call bob"),
        ],
    );
}

#[test]
fn who_may_not_acknowledge() {
    // Carol has no PIN; dave may hear.
    check(&[
        ("set Plant/Few true", "call carol"),
        ("answer", "This call needs a PIN, and you have none. The next person is being told. | Goodbye. | hang up & call dave"),
        ("answer", ASK),
        (
            "pin 2222",
            "[menu 1] Low priority. Plant, Few, On. Few are told. Your role may not acknowledge. Press 3 to hear it again. Press 9 to pass it on.",
        ),
        ("menu 1", "[menu 1] Your role may not acknowledge. *"),
        ("menu 2", "[menu 1] Your role may not acknowledge. *"),
        ("state Plant/Few/Alarms/On", "ActiveUnacked"),
        ("menu 9", "[menu 1] There is nobody to pass it on to. *"),
    ]);
}

#[test]
fn acknowledged_by_somebody_else() {
    let words = "eve has acknowledged it. Nothing is left to do. | Goodbye. | hang up";
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("status ringing", ""),
        ("scada-ack Plant/Pump/Alarms/Trip", &format!("end CA1: {words}")),
        ("restart", &format!("end CA1: {words}")),
        ("answer", words),
        ("status canceled", ""),
        ("count CallsFailed", "0"),
        ("pass 3600", ""),
    ]);
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("scada-ack Plant/Pump/Alarms/Trip", &format!("end CA1: {words}")),
        ("status completed 10", ""),
    ]);
    // One of two: the talk goes on.
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("set Plant/Fan true", ""),
        ("answer", ASK),
        ("pin 4711", "[menu 1] 2 alarms.*"),
        ("scada-ack Plant/Pump/Alarms/Trip", ""),
        ("menu 1", "Plant, Pump, Trip was acknowledged by eve at 08:00 UTC. | -> ack"),
        ("ack", "[menu 1] Alarm 2 of 2. High *"),
        ("menu 1", "write & Acknowledged: Plant, Fan, Stop. | -> ack"),
    ]);
    // A call that waits is never placed.
    check(&[
        ("lose", ""),
        ("set Plant/Pump true", "call alice"),
        ("scada-ack Plant/Pump/Alarms/Trip", ""),
        ("pass 10", "end CA1: *"),
    ]);
}

#[test]
fn wrong_pins_lock_text_and_keypad() {
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 1111", "[pin 4] That *"),
        ("pin 1111", "[pin 4] That *"),
        ("pin 1111", "That PIN is wrong. | Goodbye. | hang up & call bob"),
        ("inbound +12223330001", ASK),
        ("pin 1111", "[pin 4] That *"),
        (
            "pin 1111",
            "Too many wrong PINs. This number is locked until 08:15 UTC. The next person is being told. | Goodbye. | hang up",
        ),
        ("inbound +12223330001", "Too many wrong PINs. *| hang up"),
        ("pass 901", "*"),
        ("inbound +12223330001", ASK),
        ("pin 4711", PUMP),
    ]);
}

#[test]
fn people_call_us() {
    check(&[
        ("inbound +19998887777", "reject"),
        ("status completed 0", ""),
        ("count CallsReceivedOther", "1"),
        ("inbound +12223330001", ASK),
        ("inbound-again", ASK),
        ("pin 4711", "No alarms are open. | Goodbye. | hang up"),
        ("status completed 20", ""),
        ("status completed 20", ""),
        ("count CallsReceived", "1"),
        ("count CallMinutesReceived", "1"),
        ("count Users/alice/CallMinutesReceived", "1"),
        ("pass 3600", ""),
        ("inbound-again", "This call has ended. *"),
        ("count CallsReceived", "1"),
    ]);
    // Called, missed, called back.
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("status no-answer", "call bob"),
        ("inbound +12223330001", ASK),
        ("pin 4711", PUMP),
        ("menu 1", "Acknowledged: Plant, Pump, Trip. | -> ack & end CA2: alice hat *"),
        ("state Plant/Pump/Alarms/Trip", "ActiveAcked alice"),
    ]);
    check(&[
        ("inbound +12223330003", "This call needs a PIN, *"),
        ("status completed 61", ""),
        ("count CallMinutesReceived", "2"),
    ]);
}

#[test]
fn a_restart_changes_nothing() {
    check(&[
        ("set Plant/Pump true", "call alice"),
        ("restart", ""),
        ("answer", ASK),
        ("restart", ""),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("restart", ""),
        ("again 4711", PUMP),
        ("menu 1", "Acknowledged: Plant, Pump, Trip. | -> ack"),
        ("restart", ""),
        ("again 1", "Acknowledged: Plant, Pump, Trip. | -> ack"),
        ("ack", "Goodbye. | hang up"),
        ("status completed 60", ""),
        ("restart", ""),
        ("status completed 60", ""),
        ("minutes", "1"),
        ("count CallMinutesSent", "1"),
        ("count CallsSent", "1"),
    ]);
    // The answer to our own request is lost: the call itself proves that it was placed.
    check(&[
        ("lose", ""),
        ("set Plant/Pump true", "call alice"),
        ("answer", ASK),
        ("pin 4711", PUMP),
        ("pass 50", ""),
        ("count CallsSent", "1"),
    ]);
}

#[test]
fn calls_of_ones_own() {
    check(&[
        ("place +12223330001", "call alice blind & answer true CA1"),
        ("answer", "Level 91.2 percent and rising | … | Level 91.2 percent and rising | hang up"),
        ("status completed 8", ""),
        ("count CallsSent", "1"),
        ("count CallsFailed", "0"),
        ("place +19998887777", "call +19998887777 blind & answer true CA2"),
        ("status busy", ""),
        ("count CallsSentOther", "1"),
        ("count CallsFailed", "1"),
        ("place 12", "answer false *is not a phone number*"),
        ("refuse", ""),
        ("place +12223330001", "call alice blind & answer false 21215 no permission: allow the country"),
    ]);
}

#[test]
fn without_webhooks_a_call_speaks_twice_and_reaches_nobody() {
    let outbound = CONFIG.replace("external_url = \"https://plant.example.com\"\n", "");
    let words = "Critical. Plant, Pump, Trip. Pump tripped at 85 degrees Celsius. To acknowledge, text your PIN and the code *.";
    check_with(
        &outbound,
        &[
            ("set Plant/Pump true", &format!("call alice blind: … | {words} | … | {words} | hang up")),
            ("status completed 20", "call bob blind: *"),
            ("count CallsSent", "2"),
            ("count CallsFailed", "0"),
            ("count CallMinutesSent", "1"),
        ],
    );
    let none = outbound.replace("calls_per_second = 1000", "voice_without_url = false");
    check_with(
        &none,
        &[
            ("set Plant/Pump true", ""),
            ("audit MessageNotSent", "no external_url, and voice_without_url = false"),
            ("place +12223330001", "answer false no external_url, and voice_without_url = false"),
        ],
    );
}

/// People, Twilio and the plant do what they like, in any order; then there is peace.
/// How many calls reached somebody.
fn chaos(seed: u64) -> usize {
    const WORDS: [&str; 8] = ["ringing", "in-progress", "completed 61", "completed", "busy", "no-answer", "canceled 0", "queued"];
    let mut random = fastrand::Rng::with_seed(seed);
    let mut talk = Talk::new(CONFIG);
    for _ in 0..120 {
        let alarm = ["Plant/Pump", "Plant/Fan", "Plant/Few"][random.usize(..3)];
        match random.u8(..20) {
            0..4 => talk.set(alarm, random.bool()),
            4 => talk.act("restart"),
            5 => talk.act(&format!("pass {}", random.u32(..200))),
            6 => {
                let name = talk.plan.alarms.iter().find(|def| def.path.starts_with(alarm)).unwrap().path.to_string();
                talk.act(&format!("scada-ack {name}"));
            }
            7 => talk.act(&format!("inbound +1222333000{}", random.u8(1..6))),
            8 => (talk.refuses, talk.ambiguous) = (random.u8(..4) == 0, random.u8(..4) == 0),
            _ => {
                let recent = talk.placed.len().saturating_sub(4);
                let Some((sid, row, number)) = talk.placed.get(random.usize(recent..=talk.placed.len())).cloned() else {
                    continue;
                };
                talk.turn = talk.turns.get(&sid).copied().unwrap_or(0).saturating_sub(u32::from(random.u8(..8) == 0));
                (talk.sid, talk.row, talk.number) = (sid, row, number);
                let right = ["4711", "081512", "", "2222", ""][usize::from(talk.number.as_bytes()[11] - b'1') % 5].to_owned();
                let act = match random.u8(..12) {
                    0..3 => "answer".to_owned(),
                    3..6 => format!("pin {right}"),
                    6 => "pin 9999".to_owned(),
                    7 => "verdict machine".to_owned(),
                    8 => format!("status {}", WORDS[random.usize(..WORDS.len())]),
                    9 => "ack".to_owned(),
                    _ => format!("menu {}", ["1", "2", "3", "4", "9", "7", "#"][random.usize(..7)]),
                };
                talk.act(act.trim_end());
            }
        }
    }
    (talk.refuses, talk.ambiguous) = (false, false);
    for tag in ["Plant/Pump", "Plant/Fan", "Plant/Few"] {
        talk.set(tag, false);
        let name = talk.plan.alarms.iter().find(|def| def.path.starts_with(tag)).unwrap().path.to_string();
        talk.act(&format!("scada-ack {name}"));
    }
    for (sid, row, number) in talk.placed.clone() {
        (talk.sid, talk.row, talk.number) = (sid, row, number);
        talk.act("status completed 61");
    }
    talk.act("pass 90000");
    assert!(!talk.store.keys().any(|(kind, _)| *kind == StateKind::Call), "calls are remembered for ever");
    assert!(talk.engine.outbox_views().iter().all(|row| row.kind != "call"), "rows of calls are left");
    let calls = |sent: bool| {
        let of_way = talk
            .ledger
            .values()
            .filter(move |entry| (entry.direction == Direction::Sent) == sent && entry.channel == Channel::Voice);
        of_way.fold((0, 0), |(calls, minutes), entry| (calls + 1, minutes + i64::from(entry.minutes)))
    };
    let counted = |way: &str| {
        let both = |name: String| talk.count(&name) + talk.count(&format!("{name}Other"));
        (both(format!("Calls{way}")), both(format!("CallMinutes{way}")))
    };
    assert_eq!((calls(true), calls(false)), (counted("Sent"), counted("Received")));
    assert!(!format!("{:?}", talk.store).contains("4711"), "a PIN is stored");
    talk.proven.len()
}

#[test]
fn whatever_happens_in_calls() {
    let mut reached = 0;
    for seed in 0..40 {
        match std::panic::catch_unwind(|| chaos(seed)) {
            Ok(proven) => reached += proven,
            Err(panic) => panic!("seed {seed}: {:?}", panic.downcast_ref::<String>()),
        }
    }
    assert!(reached > 40, "only {reached} calls reached somebody");
}
