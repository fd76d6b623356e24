//! A whole plant with its people, faults and crashes, from a seed, in virtual time.
//!
//! What must hold at each step is checked by the rig's own watch and by the oracle. Here: what happens, and that once faults stop
//! everybody who must be told is told, every pulse is ended, and the outbox is empty. `SIMULATION_SEEDS=10000` runs more seeds,
//! `SIMULATION_SEED=17` one; docs/simulation.md tells more.

mod mutants;
mod oracle;
mod plant;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use annunciator::{
    engine::{
        io::{Command, DeliveryState},
        plan::Cover,
        record::StateKind,
    },
    scenario::{
        Rig,
        pair::Flaw,
        phone::Phone,
        rig::Crash,
        world::{Device, Message, Mood, Scripts},
    },
    tag::{StatusCode, TagId, Timestamp, Value},
};

use self::{
    mutants::Mutant,
    oracle::Oracle,
    plant::{PEOPLE, Person, Plant, ZONE},
};

/// How long faults last.
const CHAOS: Duration = Duration::from_secs(2400);
/// How long everything works afterwards, before and after all alarms are raised once more.
const PEACE: [Duration; 2] = [Duration::from_secs(2 * 3600), Duration::from_secs(3 * 3600)];
/// The lease of a pair.
const LEASE: Duration = Duration::from_secs(3);
/// Seeds within which each mutant must be found.
const MUTANT_SEEDS: u64 = 1000;
/// Seeds of a usual test run.
const SEEDS: u64 = 150;

/// Ordinary days, changes of shifts, and the nights when clocks change.
const STARTS: [&str; 8] = [
    "2026-01-05T08:00:00Z",
    "2026-01-05T21:40:00Z",
    "2026-03-29T00:20:00Z",
    "2026-03-29T04:40:00Z",
    "2026-07-01T04:30:00Z",
    "2026-07-01T20:40:00Z",
    "2026-10-25T00:20:00Z",
    "2026-10-25T05:30:00Z",
];

struct Simulation {
    rig: Rig,
    /// Two instances run.
    pair: bool,
    random: fastrand::Rng,
    plant: Plant,
    oracle: Oracle,
    zone: &'static str,
    variant: usize,
    /// Messages that got their reports.
    reported: usize,
}

/// What is simulated.
#[derive(Clone, Copy)]
enum Kind {
    /// One instance of the program; with a fault of it.
    One(Option<Mutant>),
    /// Two on one store; with a fault of the lease's rules.
    Pair(Option<Flaw>),
}

impl Kind {
    /// What whoever finds its fault says, one of these; without a fault everything is found.
    fn signs(self) -> &'static [&'static str] {
        match self {
            Self::One(Some(mutant)) => mutant.signs(),
            Self::Pair(Some(flaw)) => mutants::signs_of(flaw),
            Self::One(None) | Self::Pair(None) => &[""],
        }
    }

    /// Whether a failure, whose first line says what was broken, is what is looked for.
    fn shows_in(self, failure: &str) -> bool {
        let first = failure.lines().next().unwrap_or_default();
        self.signs().iter().any(|sign| first.contains(sign))
    }
}

fn run(seed: u64, kind: Kind) -> Result<usize, String> {
    let mut simulation = Simulation::new(seed, kind);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        simulation.chaos();
        simulation.peace();
    }));
    let steps: Vec<String> = simulation.rig.steps.iter().cloned().collect();
    match result {
        Ok(()) => Ok(simulation.rig.world.messages.len() + simulation.rig.world.calls.len()),
        Err(panic) => Err(format!("seed {seed}: {}\nthe last steps:\n{}", panic_text(&*panic), steps.join("\n"))),
    }
}

impl Simulation {
    fn new(seed: u64, kind: Kind) -> Self {
        let mutant = if let Kind::One(mutant) = kind { mutant } else { None };
        let mut random = fastrand::Rng::with_seed(seed);
        let plant = Plant::new(&mut random);
        let zone = mutant.map_or(ZONE, Mutant::zone);
        let start = STARTS[random.usize(..STARTS.len())].parse::<jiff::Timestamp>().unwrap();
        let mut rig = Rig::new(&plant.setup(0, zone), start.into(), seed).unwrap_or_else(|error| panic!("{error}"));
        if let Some(mutant) = mutant {
            mutant.meddle_with(&mut rig);
        }
        if let Kind::Pair(flaw) = kind {
            rig.become_pair(LEASE, seed, flaw);
        }
        rig.world.callbacks = Some(fastrand::Rng::with_seed(seed));
        Self { pair: matches!(kind, Kind::Pair(_)), rig, random, plant, oracle: Oracle::default(), zone, variant: 0, reported: 0 }
    }

    fn tag(&self, path: &str) -> TagId {
        self.rig.tag(path).unwrap()
    }

    /// Nothing that must always hold was broken.
    fn check(&mut self) {
        self.report();
        let seen = self.oracle.look(&mut self.rig, &self.plant);
        let broken = self.rig.broken.clone().map_or(seen, Err);
        broken.unwrap_or_else(|broken| panic!("{broken}"));
    }

    fn chaos(&mut self) {
        if !self.pair {
            self.rig.start_program();
        }
        let mut passed = Duration::ZERO;
        while passed < CHAOS {
            let pause = Duration::from_millis(self.random.u64(0..20_000));
            passed += pause;
            let until = self.rig.now + pause;
            while self.rig.next_event().is_some_and(|next| next <= until) {
                self.maybe_crash();
                self.rig.advance(until);
                if !self.rig.idle {
                    self.check();
                }
            }
            self.rig.now = until;
            if self.pair {
                self.maybe_crash();
                self.rig.strike();
                // What one that goes on sends was sent before anything that is asked for now.
                self.check();
                self.happen();
            } else if self.rig.runs() {
                self.maybe_crash();
                self.happen();
            } else if self.random.u8(..3) == 0 {
                self.set_back();
                self.rig.start_program();
            }
            self.check();
        }
    }

    /// The clock is set back while the program is down, unless the fate of a message is open: Twilio's list has other times then.
    fn set_back(&mut self) {
        let rows = self.rig.watch.store.iter().filter(|((kind, _), _)| *kind == StateKind::Outbox);
        let mut states = rows.map(|(_, row)| &row["job"]["Text"]["state"]);
        let open = states.any(|state| state.get("Sending").is_some() || state.get("Ambiguous").is_some());
        if !open && self.random.u8(..8) == 0 {
            let span = Duration::from_secs(self.random.u64(1..600));
            self.rig.note(&format!("clock -{}", span.as_secs()));
            self.rig.jump(false, span);
        }
    }

    fn maybe_crash(&mut self) {
        // Most of what happens to a pair are beats.
        if self.random.u16(..if self.pair { 900 } else { 150 }) == 0 {
            let place = self.random.usize(..5);
            self.rig.crash = Some(match place {
                4 => Crash::BeforeCommit,
                _ if self.pair && self.random.bool() => Crash::Freeze(place),
                _ => Crash::After(place),
            });
        }
    }

    fn happen(&mut self) {
        self.rig.world.latency = Duration::from_millis(self.random.u64(0..3000));
        let alarm = self.random.usize(..self.plant.alarms);
        let path: Arc<str> = format!("P/{alarm}/Alarms/On").into();
        let person = PEOPLE[self.random.usize(..PEOPLE.len())];
        let note = String::new;
        match self.random.u8(..110) {
            0..40 => {
                let (tag, value) = (self.tag(&format!("P/{alarm}")), Value::Boolean(self.random.u8(..3) > 0));
                self.rig.set(tag, value);
            }
            40..50 => self.reply(person),
            50..56 => self.command(person.0, Command::Acknowledge { alarm: path, note: note() }),
            56..60 => {
                let minutes = f64::from(self.random.u8(..10));
                self.command(person.0, Command::Shelve { alarm: path, minutes, note: note() });
            }
            60..63 => {
                let out = self.random.bool();
                self.rig.command("engineer", Command::OutOfService { alarm: path, out, note: note() });
            }
            63..66 => {
                let (tag, value) = (self.tag("P/Quiet"), Value::Boolean(self.random.u8(..3) == 0));
                self.rig.set(tag, value);
            }
            66..76 => self.twilio(),
            76..84 => self.devices(),
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
                self.rig.inbound(person.1, word);
            }
            95..100 => self.phones(person),
            100..102 => self.cover(),
            102..104 => {
                self.rig.world.scripts =
                    [Scripts::Work, Scripts::Fail("division by zero".to_owned()), Scripts::Hang][self.random.usize(..3)].clone();
            }
            104 => {
                let span = Duration::from_secs(self.random.u64(1..5400));
                self.rig.note(&format!("clock +{}", span.as_secs()));
                self.rig.jump(true, span);
                self.oracle.jumps(self.rig.now);
            }
            _ => {}
        }
    }

    fn command(&mut self, user: &str, command: Command) {
        let request = self.rig.command(user, command.clone());
        self.oracle.asks(self.rig.now, request, command);
    }

    fn twilio(&mut self) {
        let moods =
            [Mood::Down, Mood::Busy, Mood::LosesAnswer, Mood::LosesRequest, Mood::Refuses(30_006), Mood::Accepts, Mood::Accepts];
        self.rig.world.mood = moods[self.random.usize(..moods.len())];
        self.rig.world.list_fails = self.random.u8(..4) == 0;
    }

    fn devices(&mut self) {
        let works = [Device::Works, Device::Works, Device::LosesAnswer, Device::Ignores, Device::Hangs];
        let fails = Device::Fails(StatusCode::BAD_DEVICE_FAILURE);
        let path = ["W/Pulse", "W/Count", "W/Set", "W/Beacon"][self.random.usize(..4)];
        // A write-back that is never answered is not what a driver does: each has a time limit.
        let choice = works.get(self.random.usize(..6)).copied().unwrap_or(fails);
        let device = if choice == Device::Hangs && path != "W/Beacon" { fails } else { choice };
        // Whether a pulse has ended is not read back (SPEC 9): a device that says Good and keeps the value deceives everybody.
        let device = if device == Device::Ignores && path == "W/Pulse" { Device::LosesAnswer } else { device };
        let tag = self.tag(path);
        self.rig.world.devices.insert(tag, device);
    }

    /// A phone that is off, engaged, a machine, or somebody who answers rightly or wrongly; and somebody who calls us.
    fn phones(&mut self, (_, number, pin, _): Person) {
        let keys = |keys: &[&str]| keys.iter().map(|keys| (*keys).to_owned()).collect();
        let menu = ["1", "2", "3", "4", "9", "7"][self.random.usize(..6)];
        let phone = match self.random.u8(..9) {
            0 => Phone::Rings,
            1 => Phone::Busy,
            2 => Phone::Fails,
            3 => Phone::Voicemail,
            4 => Phone::Answers(Vec::new()),
            5 => Phone::HangsUp(keys(&[pin])),
            6 => Phone::Answers(keys(&["9999", "0000", pin, menu])),
            _ => Phone::Answers(keys(&[pin, menu, "2"])),
        };
        self.rig.world.phones.insert(number.to_owned(), phone);
        if self.random.u8(..4) == 0 {
            let now = self.rig.now;
            self.rig.world.dial(now, number);
        }
    }

    fn cover(&mut self) {
        let [user, covers] = [PEOPLE[self.random.usize(..PEOPLE.len())].0, PEOPLE[self.random.usize(..PEOPLE.len())].0];
        let from = self.rig.now + Duration::from_secs(self.random.u64(0..600));
        let until = from + Duration::from_secs(self.random.u64(60..3600));
        let cover = Cover { user: user.to_owned(), covers: covers.to_owned(), from, until, note: String::new() };
        self.command("alice", Command::SetOverride(cover));
    }

    fn reload(&mut self) {
        self.rig.note(&format!("reload {}", self.variant));
        let setup = self.plant.setup(self.variant, self.zone);
        self.rig.reload(&setup).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Right, wrong, late, ambiguous or twice; and by phone at the same time.
    fn reply(&mut self, (_, number, pin, _): Person) {
        let codes: Vec<&str> = self.rig.world.messages.iter().flat_map(|message| codes(&message.body)).collect();
        let last = codes.len().saturating_sub(6);
        let code = codes.get(self.random.usize(..=codes.len()).max(last)).copied().unwrap_or("XXX").to_owned();
        let body = match self.random.u8(..10) {
            0..4 => format!("{pin} {code}"),
            4..6 => format!("{pin} all"),
            6..8 => pin.to_owned(),
            8 => format!("9999 {code}"),
            _ => "?".to_owned(),
        };
        let (sid, now) = (format!("SMin{}", self.random.u64(..)), self.rig.now);
        for _ in 0..self.random.u8(1..3) {
            self.rig.world.inbound(now, sid.clone(), number, &body, None);
        }
        if self.random.u8(..5) == 0 {
            self.rig.world.dial(now, number);
        }
    }

    /// Twilio reports on every message: late, repeated and in any order.
    fn report(&mut self) {
        while let Some(message) = self.rig.world.messages.get(self.reported).cloned() {
            self.reported += 1;
            let fails = self.rig.world.callbacks.is_some() && self.random.u8(..8) == 0;
            let last = if fails { DeliveryState::Undelivered } else { DeliveryState::Delivered };
            self.report_on(&message, last);
        }
        self.rig.world.acts.clear();
    }

    fn report_on(&mut self, message: &Message, last: DeliveryState) {
        let latency = self.rig.world.latency;
        for status in [DeliveryState::Sent, last, DeliveryState::Sent, last] {
            self.rig.world.latency = Duration::from_millis(self.random.u64(0..60_000));
            self.rig.world.status(self.rig.now, message, status, None);
        }
        self.rig.world.latency = latency;
    }

    /// Faults stop. Then, with all that has happened, every alarm is raised once more, and nobody answers.
    fn peace(&mut self) {
        self.rig.world.mood = Mood::Accepts;
        self.rig.world.list_fails = false;
        self.rig.world.devices.clear();
        self.rig.world.phones.clear();
        self.rig.world.callbacks = None;
        self.rig.world.scripts = Scripts::Work;
        self.rig.world.latency = Duration::from_millis(100);
        self.rig.crash = None;
        if self.pair {
            self.rig.settle();
            self.check();
        } else if !self.rig.runs() {
            self.rig.start_program();
        }
        self.variant = 0;
        self.reload();
        self.rig.set_source("plc1", true);
        self.check();
        self.pass(self.rig.now + PEACE[0]);
        self.ended();
        for value in [false, true] {
            for alarm in 0..self.plant.alarms {
                if self.random.bool() {
                    let path = format!("P/{alarm}/Alarms/On").into();
                    self.command("alice", Command::Acknowledge { alarm: path, note: String::new() });
                    self.check();
                }
                let tag = self.tag(&format!("P/{alarm}"));
                self.rig.set(tag, Value::Boolean(value));
                self.check();
                let pause = Duration::from_secs(self.random.u64(0..30));
                self.pass(self.rig.now + pause);
            }
        }
        self.pass(self.rig.now + PEACE[1]);
        self.ended();
    }

    fn pass(&mut self, end: Timestamp) {
        while self.rig.advance(end) {
            self.check();
        }
        self.rig.now = self.rig.now.max(end);
    }

    fn ended(&mut self) {
        // What Twilio took just now has not been answered yet.
        let under_way =
            |rig: &Rig| rig.world.messages.last().is_some_and(|last| rig.now.since(last.created) < Duration::from_secs(1));
        while under_way(&self.rig) {
            self.pass(self.rig.now + Duration::from_secs(1));
        }
        let rules = [
            self.oracle.everybody_was_told(&self.rig),
            self.nothing_is_left(),
            self.every_reply_counts(),
            Oracle::figures_agree(&self.rig),
            Oracle::calls_ask_first(&self.rig),
        ];
        rules.into_iter().collect::<Result<(), String>>().unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// A text that an instance has taken, and told Twilio so, is in the ledger.
    fn every_reply_counts(&self) -> Result<(), String> {
        let lost = self.rig.taken.iter().find(|sid| !self.rig.watch.ledger.contains_key(&((*sid).clone(), false)));
        lost.map_or(Ok(()), |sid| Err(format!("the reply {sid} was taken and is lost")))
    }

    fn nothing_is_left(&self) -> Result<(), String> {
        let rows = || self.rig.watch.store.iter().filter(|((kind, _), _)| *kind == StateKind::Outbox).map(|(_, row)| &row["job"]);
        let ended =
            |text: &serde_json::Value| ["Accepted", "Failed", "Cancelled"].iter().any(|state| text["state"].get(state).is_some());
        // What went out just now is under way.
        let old = |text: &serde_json::Value| {
            let since: Timestamp = serde_json::from_value(text["not_before"].clone()).unwrap_or_default();
            self.rig.now.since(since) > Duration::from_secs(600)
        };
        let texts = rows().map(|job| &job["Text"]);
        let open: Vec<_> = texts.filter(|text| !text.is_null() && !ended(text) && old(text)).collect();
        if !open.is_empty() {
            return Err(format!("the outbox does not drain: {open:?}"));
        }
        let writes: Vec<_> = rows().filter(|job| job.get("Text").is_none()).collect();
        if self.rig.device_value(self.tag("W/Pulse")) != Value::Boolean(false) {
            return Err(format!("a pulse was never ended: {writes:?}"));
        }
        if !writes.is_empty() {
            return Err(format!("write-backs are left: {writes:?}"));
        }
        let runs = self.rig.watch.store.iter().filter(|((kind, _), run)| *kind == StateKind::Run && !run["closed"].is_null());
        let old = runs.filter(|(_, run)| {
            let closed: Timestamp = serde_json::from_value(run["closed"].clone()).unwrap_or_default();
            self.rig.now.since(closed) > Duration::from_secs(3660)
        });
        if old.count() > 0 { Err("ended runs are remembered for ever".to_owned()) } else { Ok(()) }
    }
}

fn codes(body: &str) -> impl Iterator<Item = &str> {
    body.split('#').skip(1).map(|rest| rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs `seeds` on all processors until one fails: how many ran, how many messages they sent, and the failure.
fn all(seeds: std::ops::Range<u64>, kind: Kind) -> (u64, usize, Option<String>) {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let next = Arc::new(AtomicU64::new(seeds.start));
    let end = seeds.end;
    let work = move |next: Arc<AtomicU64>| {
        let (mut count, mut sent) = (0, 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return (count, sent, None);
            }
            count += 1;
            match run(seed, kind) {
                Ok(messages) => sent += messages,
                // A mutant is found by the rule that it breaks.
                Err(failure) if !kind.shows_in(&failure) => {}
                Err(failure) => {
                    next.store(end, Ordering::Relaxed);
                    return (count, sent, Some(failure));
                }
            }
        }
    };
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || work(next))
        })
        .collect();
    let results = workers.into_iter().map(|worker| worker.join().unwrap());
    results.fold((0, 0, None), |all, one| (all.0 + one.0, all.1 + one.1, all.2.or(one.2)))
}

fn survive(kind: Kind) {
    let (first, count) = match number("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (number("SIMULATION_FIRST").unwrap_or(0), number("SIMULATION_SEEDS").unwrap_or(SEEDS)),
    };
    std::panic::set_hook(Box::new(|_| {}));
    let (ran, sent, failure) = all(first..first + count, kind);
    let _ = std::panic::take_hook();
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    println!("{ran} seeds, {sent} texts and calls");
}

#[test]
fn plants_survive_their_faults() {
    survive(Kind::One(None));
}

#[test]
fn pairs_survive_their_faults() {
    survive(Kind::Pair(None));
}

#[test]
fn mutants_are_found() {
    let programs = Mutant::ALL.into_iter().map(|mutant| (format!("{mutant:?}"), Kind::One(Some(mutant))));
    let leases = mutants::FLAWS.into_iter().map(|flaw| (format!("{flaw:?}"), Kind::Pair(Some(flaw))));
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = programs.chain(leases).map(|(name, kind)| (name, all(0..MUTANT_SEEDS, kind))).collect();
    let _ = std::panic::take_hook();
    let mut alive = Vec::new();
    for (name, (seeds, _, failure)) in found {
        let first = failure.as_deref().and_then(|failure| failure.lines().next());
        println!("{name}: {seeds} seeds, {}", first.unwrap_or("not found").chars().take(200).collect::<String>());
        if first.is_none() {
            alive.push(name);
        }
    }
    assert!(alive.is_empty(), "not found as such within {MUTANT_SEEDS} seeds: {}", alive.join(", "));
}
