//! A whole plant with its people, faults and crashes, from a seed, in virtual time.
//!
//! What must hold at each step is checked by the rig. Here: once faults stop, everybody who must be told is told, every pulse is
//! ended, the outbox is empty, every SID is counted once, and the figures of users add up. `SIMULATION_SEEDS=10000` runs more
//! seeds, `SIMULATION_SEED=17` one.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use annunciator::{
    engine::{
        io::{Command, DeliveryState, Effect, Effects},
        plan::Action,
        record::{AuditKind, NotSent, Record, StateKind, StateRow},
    },
    scenario::{
        Rig, Setup,
        rig::Crash,
        world::{Act, Device, Message, Mood},
    },
    tag::{StatusCode, TagId, Value},
};

/// How long faults last.
const CHAOS: Duration = Duration::from_secs(2400);
/// How long everything works afterwards.
const PEACE: Duration = Duration::from_secs(4 * 3600);

const USERS: [(&str, &str, &str); 3] =
    [("alice", "+12223330001", "4711"), ("bob", "+12223330002", "0815"), ("carol", "+12223330003", "1234")];

/// A fault of the program that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// A restart forgets acknowledgements.
    ForgetsAcknowledgements,
    /// What was being sent at a crash is sent again without a look at Twilio's list.
    SendsAgain,
    /// Texts that wait are lost in a restart.
    LosesQueue,
    /// The second half of a pulse is never written.
    NeverResets,
    /// A SID is counted again by the next report.
    CountsTwice,
    /// Attempts are not committed before they are made.
    ActsFirst,
}

struct Simulation {
    rig: Rig,
    random: fastrand::Rng,
    alarms: usize,
    config: [String; 2],
    tags: [String; 2],
    variant: usize,
    /// Messages that got their reports.
    reported: usize,
}

fn run(seed: u64, mutant: Option<Mutant>) -> Result<usize, String> {
    let mut simulation = Simulation::new(seed);
    simulation.rig.meddle = mutant.and_then(Mutant::effects);
    simulation.rig.meddle_rows = mutant.and_then(Mutant::rows);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        simulation.chaos();
        simulation.peace();
    }));
    let steps: Vec<String> = simulation.rig.steps.iter().cloned().collect();
    match result {
        Ok(()) => Ok(simulation.rig.world.messages.len()),
        Err(panic) => Err(format!("seed {seed}: {}\nthe last steps:\n{}", panic_text(&*panic), steps.join("\n"))),
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let alarms = random.usize(3..9);
        let config = configuration(&mut random);
        let tags = plant(&mut random, alarms);
        let fewer = tags.rsplit_once("[[tag.alarm]]").map_or_else(String::new, |(before, _)| before.to_owned());
        let other = config.replace("wait = \"40s\"", "wait = \"50s\"");
        let start = "2026-01-05T08:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let rig =
            Rig::new(&Setup::on_example_people(&config, &tags), start.into(), seed).unwrap_or_else(|error| panic!("{error}"));
        Self { rig, random, alarms, config: [config, other], tags: [tags, fewer], variant: 0, reported: 0 }
    }

    fn chaos(&mut self) {
        self.rig.start_program();
        let end = self.rig.start + CHAOS;
        while self.rig.now < end {
            let pause = Duration::from_millis(self.random.u64(0..20_000));
            let until = self.rig.now + pause;
            while self.rig.next_event().is_some_and(|next| next <= until) {
                self.maybe_crash();
                self.rig.advance(until);
                self.report();
                self.check();
            }
            self.rig.now = until;
            if self.rig.runs() {
                self.maybe_crash();
                self.happen();
                self.report();
            } else if self.random.u8(..3) == 0 {
                self.rig.start_program();
            }
        }
    }

    fn tag(&self, path: &str) -> TagId {
        self.rig.tag(path).unwrap()
    }

    /// Nothing that must always hold was broken.
    fn check(&self) {
        assert!(self.rig.broken.is_none(), "{}", self.rig.broken.as_deref().unwrap_or_default());
    }

    fn maybe_crash(&mut self) {
        if self.random.u16(..150) == 0 {
            let place = self.random.usize(..5);
            self.rig.crash = Some(if place == 4 { Crash::BeforeCommit } else { Crash::After(place) });
        }
    }

    fn happen(&mut self) {
        self.rig.world.latency = Duration::from_millis(self.random.u64(0..3000));
        let alarm = self.random.usize(..self.alarms);
        let path: Arc<str> = format!("P/{alarm}/Alarms/On").into();
        let user = USERS[self.random.usize(..USERS.len())];
        let note = String::new;
        match self.random.u8(..100) {
            0..40 => {
                let tag = self.tag(&format!("P/{alarm}"));
                let value = Value::Boolean(self.random.u8(..3) > 0);
                self.rig.set(tag, value);
            }
            40..50 => self.reply(user),
            50..56 => _ = self.rig.command(user.0, Command::Acknowledge { alarm: path, note: note() }),
            56..60 => {
                let minutes = f64::from(self.random.u8(..10));
                self.rig.command(user.0, Command::Shelve { alarm: path, minutes, note: note() });
            }
            60..63 => {
                let out = self.random.bool();
                self.rig.command("bob", Command::OutOfService { alarm: path, out, note: note() });
            }
            63..66 => {
                let (tag, value) = (self.tag("P/Quiet"), Value::Boolean(self.random.u8(..3) == 0));
                self.rig.set(tag, value);
            }
            66..76 => {
                let moods = [
                    Mood::Down,
                    Mood::Busy,
                    Mood::LosesAnswer,
                    Mood::LosesRequest,
                    Mood::Refuses(30_006),
                    Mood::Accepts,
                    Mood::Accepts,
                ];
                self.rig.world.mood = moods[self.random.usize(..moods.len())];
                self.rig.world.list_fails = self.random.u8(..4) == 0;
            }
            76..84 => {
                let works = [Device::Works, Device::Works, Device::LosesAnswer, Device::Ignores];
                let fails = Device::Fails(StatusCode::BAD_DEVICE_FAILURE);
                let device = works.get(self.random.usize(..5)).copied().unwrap_or(fails);
                let path = ["W/Pulse", "W/Count", "W/Set"][self.random.usize(..3)];
                let tag = self.tag(path);
                self.rig.world.devices.insert(tag, device);
            }
            84..90 => {
                let up = self.random.bool();
                self.rig.set_source("plc1", up);
            }
            90..93 => {
                self.variant = self.random.usize(..4);
                self.reload();
            }
            93..95 => {
                let word = if self.random.u8(..3) == 0 { "STOP" } else { "START" };
                self.rig.inbound(user.1, word);
            }
            _ => {}
        }
    }

    fn reload(&mut self) {
        let setup = Setup::on_example_people(&self.config[self.variant & 1], &self.tags[self.variant >> 1]);
        self.rig.note(&format!("reload {}", self.variant));
        self.rig.reload(&setup).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Right, wrong, late, ambiguous or twice.
    fn reply(&mut self, (_, number, pin): (&str, &str, &str)) {
        let codes: Vec<&str> = self.rig.world.messages.iter().flat_map(|message| codes(&message.body)).collect();
        let last = codes.len().saturating_sub(6);
        let code = codes.get(self.random.usize(..=codes.len()).max(last)).copied().unwrap_or("XXX").to_owned();
        let body = match self.random.u8(..10) {
            0..5 => format!("{pin} {code}"),
            5..7 => format!("{pin} all"),
            7 => pin.to_owned(),
            8 => format!("9999 {code}"),
            _ => "?".to_owned(),
        };
        let (sid, now) = (format!("SMin{}", self.random.u64(..)), self.rig.now);
        for _ in 0..self.random.u8(1..3) {
            self.rig.world.inbound(now, sid.clone(), number, &body, None);
        }
    }

    /// Twilio reports on every message: late, repeated and in any order.
    fn report(&mut self) {
        while let Some(message) = self.rig.world.messages.get(self.reported).cloned() {
            self.reported += 1;
            let last = if self.random.u8(..8) == 0 { DeliveryState::Undelivered } else { DeliveryState::Delivered };
            self.report_on(&message, last);
        }
        self.rig.world.acts.retain(|seen| matches!(seen.act, Act::Write { .. }));
    }

    fn report_on(&mut self, message: &Message, last: DeliveryState) {
        let latency = self.rig.world.latency;
        for status in [DeliveryState::Sent, last, DeliveryState::Sent, last] {
            self.rig.world.latency = Duration::from_millis(self.random.u64(0..60_000));
            self.rig.world.status(self.rig.now, message, status, None);
        }
        self.rig.world.latency = latency;
    }

    fn peace(&mut self) {
        self.rig.world.mood = Mood::Accepts;
        self.rig.world.list_fails = false;
        self.rig.world.devices.clear();
        self.rig.world.latency = Duration::from_millis(100);
        self.rig.crash = None;
        if !self.rig.runs() {
            self.rig.start_program();
        }
        self.variant = 0;
        self.reload();
        self.rig.set_source("plc1", true);
        let end = self.rig.now + PEACE;
        while self.rig.advance(end) {
            self.check();
            while let Some(message) = self.rig.world.messages.get(self.reported).cloned() {
                self.reported += 1;
                self.report_on(&message, DeliveryState::Delivered);
            }
        }
        self.check();
        self.everybody_was_told();
        self.nothing_is_left();
        self.figures_agree();
    }

    fn everybody_was_told(&self) {
        let plan = &self.rig.plan;
        for view in self.rig.engine().unwrap().alarm_views() {
            let Some(def) = plan.alarm(&view.path) else { continue };
            let Some(pipeline) = def.pipeline.as_ref().map(|name| &plan.pipelines[name]) else { continue };
            let silent = view.shelved_until.is_some() || view.suppressed || view.out_of_service;
            // One that was raised and cleared in silence is told to nobody.
            if silent || view.state != "ActiveUnacked" {
                continue;
            }
            let code = view.code.clone().unwrap_or_else(|| panic!("{} is open and has no run: {view:?}", view.path));
            let of_alarm = self.rig.watch.journal.iter().filter(|entry| entry.alarm == view.path);
            let events: HashSet<_> = of_alarm.filter_map(|entry| entry.event).collect();
            for step in &pipeline.steps {
                let Action::Notify(notify) = &step.action else { continue };
                for user in &plan.rosters[&notify.roster] {
                    let number = &plan.users[user].contacts[0].number;
                    let opted_out =
                        self.rig.watch.audit.iter().any(|entry| entry.subject == *number && entry.kind == AuditKind::OptOut);
                    let told = self.rig.watch.told.contains(&(number.clone(), view.path.to_string(), code.clone()));
                    let over_budget = self.rig.watch.audit.iter().any(|entry| {
                        let about_it = entry.events.iter().any(|event| events.contains(event));
                        entry.subject == *number && entry.result == NotSent::Budget.words() && about_it
                    });
                    assert!(told || opted_out || over_budget, "{user} was never told of {}: {view:?}", view.path);
                }
            }
        }
    }

    fn nothing_is_left(&self) {
        let texts =
            self.rig.watch.store.iter().filter(|((kind, _), _)| *kind == StateKind::Outbox).map(|(_, row)| &row["job"]["Text"]);
        let ended =
            |text: &serde_json::Value| ["Accepted", "Failed", "Cancelled"].iter().any(|state| text["state"].get(state).is_some());
        let open: Vec<_> = texts.filter(|text| !text.is_null() && !ended(text)).collect();
        assert!(open.is_empty(), "the outbox does not drain: {open:?}");
        let rows = self.rig.watch.store.iter().filter(|((kind, _), _)| *kind == StateKind::Outbox);
        let writes: Vec<_> = rows.filter(|(_, row)| row["job"].get("WriteBack").is_some()).collect();
        assert!(writes.is_empty(), "write-backs are left: {writes:?}");
        assert_eq!(self.rig.device_value(self.tag("W/Pulse")), Value::Boolean(false), "a pulse was never ended");
        let runs = self.rig.watch.store.iter().filter(|((kind, _), run)| *kind == StateKind::Run && !run["closed"].is_null());
        assert_eq!(runs.count(), 0, "ended runs are remembered for ever");
    }

    fn figures_agree(&self) {
        let figure = |name: &str| {
            let count = self.rig.watch.store.get(&(StateKind::Counter, name.to_owned()));
            count.map_or(0, |count| count["value"].as_i64().unwrap())
        };
        for column in ["MessagesSent", "MessagesReceived"] {
            let mut users: BTreeMap<&str, i64> = BTreeMap::new();
            for ((_, sent), entry) in &self.rig.watch.ledger {
                if *sent == (column == "MessagesSent") {
                    *users.entry(entry.user.as_deref().unwrap()).or_default() += 1;
                }
            }
            assert_eq!(figure(&format!("Twilio/{column}")), users.values().sum::<i64>(), "{column}: ledger and total");
            for (user, count) in users {
                assert_eq!(figure(&format!("Twilio/Users/{user}/{column}")), count, "{column} of {user}");
            }
        }
        let accepted = i64::try_from(self.rig.world.messages.len()).unwrap();
        assert_eq!(figure("Twilio/MessagesSent"), accepted, "what Twilio has taken");
    }
}

fn codes(body: &str) -> impl Iterator<Item = &str> {
    body.split('#').skip(1).map(|rest| rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default())
}

fn configuration(random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    let cooldown = ["0s", "3m"][random.usize(..2)];
    let chatter = random.bool();
    let (budget, messages, flood, alarms) = (random.bool(), random.u8(4..40), random.bool(), random.u8(2..12));
    let _ = write!(
        text,
        "[throttle]\nchatter = {{ enabled = {chatter}, activations = 3, per = \"1m\", hold = \"10m\" }}\n\
         budget = {{ enabled = {budget}, messages_per_hour = {messages} }}\n\
         flood = {{ enabled = {flood}, alarms = {alarms}, per = \"10m\" }}\n\
         [[profile]]\nname = \"text\"\nkind = \"sms\"\ntwilio = \"main\"\nmessage = \"{{{{ alarm.path }}}}\"\ncooldown = \"{cooldown}\"\n"
    );
    for name in 0..3 {
        let _ = write!(text, "[[pipeline]]\nname = \"p{name}\"\nend_on_clear = {}\n", random.bool());
        for step in 0..random.usize(1..4) {
            let named = if random.bool() { format!("name = \"s{step}\"\n") } else { String::new() };
            let _ = write!(text, "[[pipeline.step]]\n{named}");
            if step > 0 && random.bool() {
                let _ = writeln!(text, "delay = \"{}s\"", random.u32(1..600));
                continue;
            }
            let roster = ["operators", "managers"][random.usize(..2)];
            let order = ["sequential", "broadcast"][random.usize(..2)];
            let times = random.u8(1..4);
            let consolidate = if random.bool() { ", consolidate = { wait = \"10s\", every = \"2m\", n = 3 }" } else { "" };
            let _ = writeln!(
                text,
                "notify = {{ profile = \"text\", roster = \"{roster}\", order = \"{order}\", wait = \"40s\", repeat = \"3m\", times = {times}{consolidate} }}"
            );
        }
    }
    text
}

fn plant(random: &mut fastrand::Rng, alarms: usize) -> String {
    let mut text = String::new();
    for (path, kind) in [("W/Pulse", "Boolean"), ("W/Count", "UInt16"), ("W/Set", "Boolean"), ("P/Quiet", "Boolean")] {
        let _ =
            write!(text, "[[tag]]\npath = \"{path}\"\ntype = \"{kind}\"\nsource = \"plc1\"\naddress = \"0\"\nwritable = true\n");
    }
    for alarm in 0..alarms {
        let priority = ["low", "medium", "high", "critical"][random.usize(..4)];
        let ack = [
            "",
            "ack = { tag = \"W/Pulse\", mode = \"pulse\", hold = \"3s\" }\n",
            "ack = { tag = \"W/Count\", mode = \"increment\" }\n",
            "ack = { tag = \"W/Set\", mode = \"set\", value = true }\n",
        ][random.usize(..4)];
        let quiet = if random.u8(..3) == 0 { "suppressed_by = \"P/Quiet\"\n" } else { "" };
        let delay = ["", "on_delay = \"5s\"\n", "off_delay = \"5s\"\n"][random.usize(..3)];
        let _ = write!(
            text,
            "[[tag]]\npath = \"P/{alarm}\"\ntype = \"Boolean\"\nsource = \"plc1\"\naddress = \"0\"\n[[tag.alarm]]\nname = \"On\"\n\
             priority = \"{priority}\"\npipeline = \"p{}\"\n{ack}{quiet}{delay}",
            random.u8(..3)
        );
    }
    text
}

impl Mutant {
    const ALL: [Self; 6] = [
        Self::ForgetsAcknowledgements,
        Self::SendsAgain,
        Self::LosesQueue,
        Self::NeverResets,
        Self::CountsTwice,
        Self::ActsFirst,
    ];

    fn effects(self) -> Option<fn(&mut Effects)> {
        match self {
            Self::NeverResets => Some(|effects| {
                for effect in effects {
                    if let Effect::Write { writes, .. } = effect {
                        writes.retain(|(_, value)| *value != Value::Boolean(false));
                    }
                }
            }),
            Self::CountsTwice => Some(|effects| {
                let counted = effects.iter().find(|effect| matches!(effect, Effect::Record(Record::Ledger(_)))).cloned();
                effects.splice(0..0, counted);
            }),
            Self::ActsFirst => Some(|effects| {
                let attempt = |effect: &Effect| match effect {
                    Effect::Record(Record::State { kind: StateKind::Outbox, value: Some(row), .. }) => {
                        row["job"]["Text"]["state"].get("Sending").is_some()
                    }
                    _ => false,
                };
                effects.retain(|effect| !attempt(effect));
            }),
            _ => None,
        }
    }

    fn rows(self) -> Option<fn(&mut Vec<StateRow>)> {
        match self {
            Self::ForgetsAcknowledgements => Some(|rows| {
                for row in rows.iter_mut().filter(|row| row.kind == StateKind::Alarm && row.value["state"] == "acknowledged") {
                    row.value["state"] = "unacknowledged".into();
                    row.value["newest"]["acknowledged"] = serde_json::Value::Null;
                }
                for row in rows.iter_mut().filter(|row| row.kind == StateKind::Run) {
                    row.value["closed"] = serde_json::Value::Null;
                    row.value["stage"] = "Enter".into();
                }
            }),
            Self::SendsAgain => Some(|rows| {
                for row in rows {
                    let state = &mut row.value["job"]["Text"]["state"];
                    if row.kind == StateKind::Outbox && (state.get("Sending").is_some() || state.get("Ambiguous").is_some()) {
                        *state = "Queued".into();
                    }
                }
            }),
            Self::LosesQueue => Some(|rows| {
                rows.retain(|row| row.kind != StateKind::Outbox || row.value["job"]["Text"]["state"] != "Queued");
            }),
            _ => None,
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs `seeds` on all processors; the failure of the lowest seed.
fn all(seeds: std::ops::Range<u64>, mutant: Option<Mutant>) -> Result<usize, String> {
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get() as u64);
    let (first, end) = (seeds.start, seeds.end);
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            std::thread::spawn(move || {
                let mine = (first + worker..end).step_by(usize::try_from(threads).unwrap());
                mine.map(|seed| run(seed, mutant)).try_fold(0, |sum, texts| texts.map(|texts| sum + texts))
            })
        })
        .collect();
    let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    results.into_iter().sum()
}

#[test]
fn plants_survive_their_faults() {
    std::panic::set_hook(Box::new(|_| {}));
    let (first, count) = match number("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SIMULATION_SEEDS").unwrap_or(150)),
    };
    let result = all(first..first + count, None);
    let _ = std::panic::take_hook();
    match result {
        Ok(texts) => println!("{count} seeds, {texts} texts"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn mutants_are_found() {
    const SEEDS: u64 = 60;
    std::panic::set_hook(Box::new(|_| {}));
    let alive: Vec<_> = Mutant::ALL.into_iter().filter(|mutant| all(0..SEEDS, Some(*mutant)).is_ok()).collect();
    let _ = std::panic::take_hook();
    assert!(alive.is_empty(), "not found within {SEEDS} seeds: {alive:?}");
}
