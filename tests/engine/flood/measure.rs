//! A flood of alarms to many people, through the engine alone, in virtual time: what each person gets, and what it costs.
//!
//! Twilio takes every text 200 ms after it was asked and reports it delivered two seconds later. One alarm in a hundred is
//! critical. Nobody answers.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::OccupiedEntry},
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use annunciator::{
    config::{File, Loader, load},
    engine::{
        Engine,
        io::{Accepted, DeliveryState, Effect, Effects, Input, RequestId},
        plan::Priority,
        record::{AuditKind, JournalKind, Record, StateKind},
    },
    tag::{Names, Sample, StatusCode, TagId, Timestamp, Value},
};

/// How long the alarms take to come.
const BURST: Duration = Duration::from_secs(60);
/// From one batch of samples to the next.
const STEP: Duration = Duration::from_millis(100);
/// How long it is looked at.
const SPAN: Duration = Duration::from_secs(3600);
const HOUR: Duration = Duration::from_secs(3600);
const TWILIO: Duration = Duration::from_millis(200);
const DELIVERY: Duration = Duration::from_secs(2);

/// What was seen.
pub struct Report {
    pub alarms: usize,
    pub people: usize,
    /// Texts that Twilio took, by number, in order.
    pub texts: BTreeMap<String, Vec<Text>>,
    /// In `Engine::handle`.
    pub engine: Duration,
    pub longest_step: Duration,
    pub steps: usize,
    pub records: usize,
    /// Of the records, as JSON.
    pub record_bytes: usize,
    /// Number and event that no text counts and no audit entry speaks of.
    pub lost: usize,
    /// Reasons of the audit log and how many (person, event) they are about.
    pub reasons: BTreeMap<String, usize>,
}

/// A text that Twilio took.
pub struct Text {
    pub at: Timestamp,
    pub body: String,
    pub critical: bool,
    /// Alarm events in it, by name or counted.
    pub alarms: usize,
}

impl Report {
    /// The most texts of an hour that `wanted` holds for, over all people and all hours.
    pub fn most_in_an_hour(&self, wanted: impl Fn(&Text) -> bool) -> usize {
        let of_person = |texts: &Vec<Text>| {
            let times: Vec<Timestamp> = texts.iter().filter(|text| wanted(text)).map(|text| text.at).collect();
            let within =
                |(place, at): (usize, &Timestamp)| times[place..].iter().take_while(|later| later.since(*at) < HOUR).count();
            times.iter().enumerate().map(within).max().unwrap_or(0)
        };
        self.texts.values().map(of_person).max().unwrap_or(0)
    }

    /// Least, median and most texts of a person within `span` of the beginning.
    pub fn texts_within(&self, span: Duration) -> [usize; 3] {
        let mut counts: Vec<usize> =
            self.texts.values().map(|texts| texts.iter().filter(|text| text.at.since(start()) < span).count()).collect();
        counts.sort_unstable();
        [counts.first(), counts.get(counts.len() / 2), counts.last()].map(|count| count.copied().unwrap_or(0))
    }
}

fn start() -> Timestamp {
    Timestamp::from_ticks(134_000_000_000_000_000)
}

fn number(person: usize) -> String {
    format!("+1222333{:04}", 1000 + person)
}

fn config(people: usize, throttle: &str) -> String {
    let mut text = format!(
        "[throttle]\n{throttle}\n[[twilio]]\nname = 'main'\naccount_sid = 'AC00000000000000000000000000000001'\nauth_token = 'secret'\n\
         from = '+15550001111'\nsms_per_second = 10\n[[profile]]\nname = 'sms'\nkind = 'sms'\ntwilio = 'main'\n\
         message = '{{{{ alarm.priority | upper }}}} {{{{ alarm.path }}}}: {{{{ alarm.message }}}}'\n\
         [[pipeline]]\nname = 'all'\nend_on_clear = false\n[[pipeline.step]]\n\
         notify = {{ profile = 'sms', roster = 'people', order = 'broadcast' }}\n"
    );
    for person in 0..people {
        let _ = write!(text, "[[user]]\nname = 'u{person}'\nphone = '{}'\nroles = ['operator']\n", number(person));
    }
    let names: Vec<String> = (0..people).map(|person| format!("'u{person}'")).collect();
    let _ = write!(text, "[[roster]]\nname = 'people'\nusers = [{}]\n", names.join(", "));
    text
}

fn tags(alarms: usize) -> String {
    let mut text = String::new();
    for alarm in 0..alarms {
        let priority = if alarm % 100 == 50 { "critical" } else { ["low", "low", "low", "medium", "high"][alarm % 5] };
        let _ = write!(
            text,
            "[[tag]]\npath = 'Plant/Area{}/Bit{alarm}'\ntype = 'Boolean'\n[[tag.alarm]]\nname = 'On'\npriority = '{priority}'\n\
             message = 'Bit is on'\npipeline = 'all'\n",
            alarm / 100
        );
    }
    text
}

/// An engine in the loop that the daemon would be.
struct Loop {
    engine: Engine,
    now: Timestamp,
    pending: BTreeMap<(Timestamp, u64), Input>,
    next: u64,
    report: Report,
    events: HashSet<uuid::Uuid>,
    /// Number and event that a text or the audit log accounts for.
    accounted: HashMap<String, HashSet<uuid::Uuid>>,
    /// Numbers by user.
    sent: HashSet<String>,
}

/// Lets `alarms` come in a minute, to be told to `people`; `throttle` is the text of `[throttle]`.
pub fn flood(alarms: usize, people: usize, throttle: &str) -> Report {
    let file = |name: &str, text: String| [File { name: name.to_owned(), text }];
    let loader = Loader { env: &|_| None, read_file: &|_| Err("no file".to_owned()) };
    let loaded = load(&file("config", config(people, throttle)), &file("tags", tags(alarms)), &[], loader, &mut Names::default());
    let plan = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).plan;
    let ids: Vec<TagId> = plan.tags.iter().take(alarms).map(|tag| tag.id).collect();
    let mut out = Vec::new();
    let (engine, problems) = Engine::restore(Arc::new(plan), Vec::new(), 1, start(), &mut out);
    assert_eq!(problems, [] as [String; 0]);
    let mut looped = Loop {
        engine,
        now: start(),
        pending: BTreeMap::new(),
        next: 0,
        report: Report {
            alarms,
            people,
            texts: (0..people).map(|person| (number(person), Vec::new())).collect(),
            engine: Duration::ZERO,
            longest_step: Duration::ZERO,
            steps: 0,
            records: 0,
            record_bytes: 0,
            lost: 0,
            reasons: BTreeMap::new(),
        },
        events: HashSet::new(),
        accounted: HashMap::new(),
        sent: HashSet::new(),
    };
    looped.carry_out(out);
    let sample =
        |tag: &TagId, on| Sample { tag: *tag, value: Value::Boolean(on), status: StatusCode::GOOD, source_time: start() };
    looped.input(Input::Samples(ids.iter().map(|tag| sample(tag, false)).collect()));
    let batches = usize::try_from(BURST.as_millis() / STEP.as_millis()).expect("some hundreds");
    for batch in 0..batches {
        let place = |batch: usize| batch * alarms / batches;
        looped.until(start() + STEP * u32::try_from(batch).expect("some hundreds"));
        let on = ids[place(batch)..place(batch + 1)].iter().map(|tag| sample(tag, true)).collect();
        looped.input(Input::Samples(on));
    }
    looped.until(start() + SPAN);
    looped.finish()
}

impl Loop {
    fn until(&mut self, end: Timestamp) {
        loop {
            let deadline = self.engine.next_deadline();
            let next = [deadline, self.pending.keys().next().map(|(at, _)| *at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let due = self.pending.first_entry().filter(|entry| entry.key().0 <= self.now);
            let input = due.map_or(Input::Tick, OccupiedEntry::remove);
            self.input(input);
        }
        self.now = end;
    }

    fn after(&mut self, wait: Duration, input: Input) {
        self.next += 1;
        self.pending.insert((self.now + wait, self.next), input);
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        let began = Instant::now();
        self.engine.handle(self.now, input, &mut out);
        let took = began.elapsed();
        self.report.engine += took;
        self.report.longest_step = self.report.longest_step.max(took);
        self.report.steps += 1;
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Effects) {
        for effect in out {
            match effect {
                Effect::Record(record) => self.record(record),
                Effect::Send(message) => {
                    let accepted = Accepted { sid: format!("SM{}", message.row.0), segments: 1, status: DeliveryState::Queued };
                    let sid = accepted.sid.clone();
                    self.after(TWILIO, Input::SendResult { row: message.row, result: Ok(accepted) });
                    let (request, row, status) = (RequestId::NOBODY, Some(message.row), DeliveryState::Delivered);
                    self.after(DELIVERY, Input::Status { request, row, sid, status, error_code: None });
                }
                _ => {}
            }
        }
    }

    fn record(&mut self, record: Record) {
        self.report.records += 1;
        match record {
            Record::State { kind, key, value: Some(value) } => {
                self.report.record_bytes += value.text().len();
                if kind == StateKind::Outbox {
                    self.row(key, &value.json()["job"]["Text"]);
                }
            }
            Record::State { .. } | Record::Ledger(_) | Record::HandedIn { .. } | Record::Answered { .. } => {}
            Record::Journal(entry) => {
                self.report.record_bytes += serde_json::to_vec(&entry).expect("JSON").len();
                if entry.kind == JournalKind::Raised && entry.alarm.starts_with("Plant/") {
                    self.events.extend(entry.event);
                }
            }
            Record::Audit(entry) => {
                self.report.record_bytes += serde_json::to_vec(&entry).expect("JSON").len();
                if entry.kind == AuditKind::MessageNotSent {
                    *self.report.reasons.entry(entry.result).or_default() += entry.events.len();
                    self.accounted.entry(entry.subject).or_default().extend(entry.events);
                }
            }
        }
    }

    /// A row that Twilio has taken just now.
    fn row(&mut self, key: String, text: &serde_json::Value) {
        if text["state"].get("Accepted").is_none() || !self.sent.insert(key) {
            return;
        }
        let number = text["to"].as_str().expect("a number").to_owned();
        let body = text["body"].as_str().expect("a body").to_owned();
        let alarm = &text["purpose"]["Alarm"];
        let items = alarm["items"].as_array().cloned().unwrap_or_default();
        if items.len() > 1 {
            assert!(body.contains(&format!("{} alarms: ", items.len())), "{} alarms: {body}", items.len());
        }
        let event = |item: &serde_json::Value| item["event"].as_str().and_then(|event| event.parse::<uuid::Uuid>().ok());
        self.accounted.entry(number.clone()).or_default().extend(items.iter().filter_map(event));
        let critical =
            serde_json::from_value(alarm["priority"].clone()).is_ok_and(|priority: Priority| priority == Priority::Critical);
        let text = Text { at: self.now, body, critical, alarms: items.len() };
        self.report.texts.get_mut(&number).expect("one of the people").push(text);
    }

    fn finish(mut self) -> Report {
        assert_eq!(self.events.len(), self.report.alarms, "every alarm is an event");
        for person in 0..self.report.people {
            let known = self.accounted.remove(&number(person)).unwrap_or_default();
            self.report.lost += self.events.difference(&known).count();
        }
        self.report
    }
}
