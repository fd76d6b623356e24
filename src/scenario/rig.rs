//! The engine with a store, a plant, people and Twilio around it, all of it in memory and in virtual time.
//!
//! The rig does what the daemon does: it commits the records of a step, then carries out the other effects in order. What is
//! checked on the way is [`watch`](super::watch)'s; the first broken rule stays in [`Rig::broken`].

use std::{
    collections::{HashMap, VecDeque, btree_map::OccupiedEntry},
    sync::Arc,
    time::Duration,
};

use super::{
    Setup,
    pair::{Committed, Pair},
    watch::{Broken, Watch},
    world::{Act, Device, Due, World},
};
use crate::{
    engine::{
        Engine,
        io::{Actor, Command, Effect, Effects, InboundText, Input, OutboxId, Outcome, Outgoing, RequestId, Via},
        plan::{Origin, Plan, Role, TagDef},
        record::StateRow,
    },
    lease::{Fate, fate},
    tag::{DataType, Names, Sample, StatusCode, TagId, Timestamp, Value},
};

/// Where the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The step is not committed.
    BeforeCommit,
    /// It is, and this many of its effects are carried out.
    After(usize),
    /// It does not die, but is stopped there, to go on later; for one of two instances.
    Freeze(usize),
}

/// Whether a message is lost although its acceptance is pretended.
pub type LosesMessage = fn(&Watch, &World, &Outgoing, Timestamp) -> bool;

/// Steps that are remembered.
const STEPS: usize = 50;
/// Inputs at one instant; more means that the engine spins.
pub(super) const MAX_TURNS: usize = 100_000;

/// The program in its world.
pub struct Rig {
    pub(super) engine: Option<Engine>,
    /// Two instances, when there are two.
    pub(super) pair: Option<Pair>,
    /// How often the program was started.
    pub(super) runs_begun: u64,
    /// The configuration that the program has, or starts with.
    pub plan: Arc<Plan>,
    names: Names,
    /// The present time.
    pub now: Timestamp,
    /// When it began.
    pub start: Timestamp,
    /// What is committed.
    pub watch: Watch,
    /// What others see of our own tags.
    pub shown: HashMap<TagId, Value>,
    /// Answers that nobody has fetched.
    pub answers: HashMap<RequestId, Outcome>,
    /// What lies outside.
    pub world: World,
    /// The program dies in the next step.
    pub crash: Option<Crash>,
    /// May change the effects of a step, for the tests of the tests.
    pub meddle: Option<fn(&mut Effects)>,
    /// May change the rows that an engine is restored from.
    pub meddle_rows: Option<fn(&mut Vec<StateRow>)>,
    /// May change an input, or keep it from the engine and answer in its place.
    pub meddle_input: Option<fn(&mut Input) -> Option<Outcome>>,
    /// May lose a message for which Twilio's acceptance is pretended.
    pub meddle_send: Option<LosesMessage>,
    /// The last thing that happened was a beat of one of two instances, which changed nothing.
    pub idle: bool,
    /// The last step was committed.
    committed: bool,
    /// SIDs of texts that an instance took and handed in.
    pub taken: Vec<String>,
    /// The text from a person that the last step was about.
    pub heard: Option<InboundText>,
    /// The last steps, for whoever looks for a fault.
    pub steps: VecDeque<String>,
    /// The first rule that was broken.
    pub broken: Option<Broken>,
    /// The system's clock was set back by so much; seen at the next start, as the daemon's clock is steady while it runs.
    set_back: Duration,
    entropy: u64,
}

impl Rig {
    /// A program that has not started, with a store that is empty.
    ///
    /// # Errors
    /// What is wrong with the configuration, as `check` prints it.
    pub fn new(setup: &Setup<'_>, start: Timestamp, entropy: u64) -> Result<Self, String> {
        let mut names = Names::default();
        let plan = Arc::new(setup.plan(&mut names)?);
        Ok(Self::with_plan(plan, names, start, entropy))
    }

    /// The same with a plan that was read before.
    #[must_use]
    pub fn with_plan(plan: Arc<Plan>, names: Names, start: Timestamp, entropy: u64) -> Self {
        Self {
            engine: None,
            pair: None,
            runs_begun: 0,
            plan,
            names,
            now: start,
            start,
            watch: Watch::default(),
            shown: HashMap::new(),
            answers: HashMap::new(),
            world: World::default(),
            crash: None,
            meddle: None,
            meddle_rows: None,
            meddle_input: None,
            meddle_send: None,
            idle: false,
            committed: false,
            taken: Vec::new(),
            heard: None,
            steps: VecDeque::new(),
            broken: None,
            set_back: Duration::ZERO,
            entropy,
        }
    }

    /// The program, while it runs.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// True while the program runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.engine.is_some()
    }

    /// Notes a rule that was broken, unless another was before.
    pub(super) fn rule(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result {
            self.broken.get_or_insert(broken);
        }
    }

    /// The system's clock is set forward, which a running program follows, or back, which it sees at its next start. What is under
    /// way outside takes as long as before.
    pub fn jump(&mut self, forward: bool, span: Duration) {
        if !forward {
            self.set_back += span;
            return;
        }
        self.now = self.now + span;
        self.world.shift(false, |at| at + span);
        self.shift_pair(span);
    }

    /// Starts the program on what is committed; sources connect at once.
    pub fn start_program(&mut self) {
        let back = std::mem::take(&mut self.set_back);
        self.now = self.now - back;
        self.world.shift(true, |at| at - back);
        let store = self.watch.store.iter();
        let mut rows: Vec<StateRow> =
            store.map(|((kind, key), value)| StateRow { kind: *kind, key: key.clone(), value: value.clone() }).collect();
        if let Some(meddle) = self.meddle_rows {
            meddle(&mut rows);
        }
        self.entropy += 1;
        let mut out = Vec::new();
        let (engine, problems) = Engine::restore(Arc::clone(&self.plan), rows, self.entropy, self.now, &mut out);
        if !problems.is_empty() {
            self.rule(Err(format!("stored rows cannot be read: {problems:?}")));
        }
        self.engine = Some(engine);
        self.begins_run();
        self.note("start");
        self.carry_out(out);
        self.connect_all();
    }

    /// Kills the program: answers that were under way never arrive; what Twilio tells, it tells again.
    pub fn stop_program(&mut self) {
        self.engine = None;
        self.side_dies();
        let run = self.world.asker;
        self.world.forget_answers(|other| other == run);
        self.world.ask_again(self.now);
    }

    /// Another configuration; a running program reloads.
    ///
    /// # Errors
    /// What is wrong with it, as `check` prints it; then nothing has changed.
    pub fn reload(&mut self, setup: &Setup<'_>) -> Result<(), String> {
        self.plan = Arc::new(setup.plan(&mut self.names)?);
        self.input(Input::Plan(Arc::clone(&self.plan)));
        self.connect_all();
        Ok(())
    }

    pub(super) fn connect_all(&mut self) {
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

    /// A source comes back or is lost.
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
        let known = |def: &TagDef| {
            !self.world.unknown || matches!(def.origin, Origin::Memory { .. }) || self.world.device.contains_key(&def.id)
        };
        let tags = self.plan.tags.iter().filter(|def| wanted(&def.origin) && watched.contains(&def.id) && known(def));
        tags.map(|def| self.sample(def.id, self.device_value(def.id))).collect()
    }

    fn sample(&self, tag: TagId, value: Value) -> Sample {
        Sample { tag, value, status: StatusCode::GOOD, source_time: self.now }
    }

    /// What the plant holds; zero, false or an empty text when nobody has set it.
    #[must_use]
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

    /// A sample without a value.
    pub fn set_quality(&mut self, tag: TagId, status: StatusCode) {
        self.input(Input::Samples(vec![Sample { tag, value: Value::Null, status, source_time: self.now }]));
    }

    fn is_connected(&self, tag: TagId) -> bool {
        match self.plan.tag(tag).map(|def| &def.origin) {
            Some(Origin::Source { source, .. }) => !self.world.down.contains(source),
            _ => true,
        }
    }

    /// The tag at a path.
    ///
    /// # Errors
    /// When the plan has none.
    pub fn tag(&self, path: &str) -> Result<TagId, String> {
        let found = self.plan.tags.iter().find(|def| &*def.path == path);
        found.map(|def| def.id).ok_or_else(|| format!("there is no tag {path}"))
    }

    /// Somebody asks for something; the answer comes in [`Rig::answers`].
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

    /// One input and what follows from it; nothing while the program does not run.
    pub fn input(&mut self, input: Input) {
        if self.pair.is_some() { self.input_to_pair(input) } else { self.step(input) }
    }

    pub(super) fn step(&mut self, mut input: Input) {
        self.heard = if let Input::Inbound { text, .. } = &input { Some(text.clone()) } else { None };
        let pretended = self.meddle_input.and_then(|meddle| meddle(&mut input));
        if let (Some(outcome), Input::Command { request, .. }) = (pretended, &input) {
            self.answers.insert(*request, outcome);
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        // (A question of a call is asked again as long as it has no answer.)
        let told = match &input {
            Input::Inbound { .. } | Input::Status { .. } => true,
            Input::Call { request, .. } => *request == RequestId::NOBODY,
            _ => false,
        };
        let again = told.then(|| input.clone());
        let step = if let Input::Plan(_) = input { "Plan".to_owned() } else { format!("{input:?}") };
        let mut out = Vec::new();
        engine.handle(self.now, input, &mut out);
        self.note(&step);
        let again = again.filter(|_| !self.is_handed());
        self.carry_out(out);
        if let Some(input) = again.filter(|_| !self.committed) {
            // Whoever brought it was not answered and brings it again.
            self.bring_again(input);
        }
    }

    /// Remembers a step.
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
        self.committed = false;
        if crash == Some(Crash::BeforeCommit) {
            return self.stop_program();
        }
        let records = out.iter().take_while(|effect| matches!(effect, Effect::Record(_))).count();
        let mut rest = out.split_off(records);
        let records = out.into_iter().filter_map(|effect| if let Effect::Record(record) = effect { Some(record) } else { None });
        let (committed, records) = self.try_commit(records.collect());
        for record in records {
            let result = self.watch.commit(record);
            self.rule(result);
        }
        self.committed = committed == Committed::Yes;
        if committed == Committed::Fenced {
            return self.lose_lease();
        }
        let later = match crash {
            Some(Crash::After(place) | Crash::Freeze(place)) => rest.split_off(place.min(rest.len())),
            _ => Vec::new(),
        };
        self.act(rest, committed == Committed::Yes);
        match crash {
            Some(Crash::Freeze(_)) => self.side_freezes(later, committed == Committed::Yes),
            Some(_) => self.stop_program(),
            None => {}
        }
    }

    /// Carries out what may be, of a step that is committed or not.
    pub(super) fn act(&mut self, effects: Effects, committed: bool) {
        let held = if committed { self.take_held() } else { Vec::new() };
        for effect in held.into_iter().chain(effects) {
            match fate(&effect, committed, self.holds_lease(), self.is_alone()) {
                Fate::Act => {}
                Fate::Hold => {
                    self.hold(effect);
                    continue;
                }
                Fate::Drop => continue,
            }
            if !matches!(effect, Effect::Publish(_)) {
                self.note(&format!("  {effect:?}"));
            }
            let result = self.effect(effect);
            self.rule(result);
        }
    }

    fn effect(&mut self, effect: Effect) -> Result<(), Broken> {
        match effect {
            Effect::EndCall { sid, last_words, .. } => self.world.end_call(self.now, &sid, &last_words),
            Effect::Script { run, script, alarm, .. } => self.world.run_script(self.now, run, &script.name, alarm),
            Effect::Record(record) => return Err(format!("a record stands behind an effect: {record:?}")),
            Effect::Condition(_) => {}
            Effect::Publish(sample) => _ = self.shown.insert(sample.tag, sample.value),
            Effect::Answer { request, outcome } => {
                if !self.world.answered(self.now, request, &outcome) {
                    self.answers.insert(request, outcome);
                }
            }
            Effect::Send(message) => {
                let texts = self.world.messages.iter().filter(|sent| sent.row == message.row).map(|sent| sent.sid.as_str());
                let calls = self.world.calls.iter().filter(|call| call.row == Some(message.row)).map(|call| call.sid.as_str());
                let before: Vec<&str> = texts.chain(calls).collect();
                let engine = self.engine.as_ref().ok_or("nothing runs")?;
                self.watch.sending(engine, &message, &before)?;
                if self.meddle_send.is_some_and(|loses| loses(&self.watch, &self.world, &message, self.now)) {
                    self.world.lose(self.now, message.row);
                } else {
                    self.world.send(self.now, message);
                }
            }
            Effect::Lookup(lookup) => self.world.look_up(self.now, &lookup),
            Effect::Read { row, tag } => {
                self.watch.row(row)?;
                let connected = self.is_connected(tag);
                let result = if connected { Ok(self.device_value(tag)) } else { Err(StatusCode::BAD_NOT_CONNECTED) };
                self.world.read(self.now, row, tag, result);
            }
            Effect::Write { row, writes, read_back } => self.write(row, writes, read_back)?,
        }
        Ok(())
    }

    fn write(&mut self, row: OutboxId, writes: Vec<(TagId, Value)>, read_back: Option<TagId>) -> Result<(), Broken> {
        self.watch.row(row)?;
        let mut status = StatusCode::GOOD;
        let mut samples = Vec::new();
        let watched = Engine::watched(&self.plan);
        for (tag, value) in writes {
            let def = self.plan.tag(tag).ok_or_else(|| format!("the unknown tag {tag:?} is written"))?;
            if !def.writable {
                return Err(format!("{} is written and is not writable", def.path));
            }
            if !def.value_type.admits(&value) {
                return Err(format!("{} cannot hold {value:?}", def.path));
            }
            if !self.is_connected(tag) {
                status = StatusCode::BAD_NOT_CONNECTED;
                break;
            }
            let device = self.world.devices.get(&tag).copied().unwrap_or(Device::Works);
            if let Device::Fails(with) = device {
                status = with;
                break;
            }
            self.watch.writing(row, tag, &def.path, value.to_string())?;
            self.world.saw(self.now, Act::Write { tag, value: value.clone() });
            if device != Device::Ignores {
                self.world.device.insert(tag, value.clone());
                if watched.contains(&tag) {
                    samples.push(self.sample(tag, value));
                }
            }
            if device == Device::Hangs {
                return Ok(());
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
        Ok(())
    }

    /// When something happens next.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let deadline = self.engine.as_ref().and_then(Engine::next_deadline);
        let deadline = deadline.filter(|_| self.looks_at_the_acting());
        let pending = self.world.pending.keys().next().map(|(at, _)| *at).filter(|_| self.runs() || self.pair.is_some());
        [deadline, pending, self.next_of_pair()].into_iter().flatten().min()
    }

    /// Lets the next thing happen, if it is due by `until`; false when nothing is.
    pub fn advance(&mut self, until: Timestamp) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= until) else { return false };
        self.now = self.now.max(next);
        self.idle = false;
        if self.pair.is_some() && self.advance_pair() {
            return true;
        }
        let due = self.world.pending.first_entry().filter(|entry| entry.key().0 <= self.now).map(OccupiedEntry::remove);
        match due {
            Some(Due::Input(run, input)) if self.pair.is_some() && is_result(&input) => self.result_for(run, input),
            Some(Due::Input(_, input)) => self.input(input),
            Some(Due::Phone { sid, number, turn }) => self.world.happens(self.now, &sid, number, turn),
            None => self.input(Input::Tick),
        }
        true
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn run_until(&mut self, until: Timestamp) {
        self.run_until_with(until, |_| {});
    }

    /// The same, with a look after each step.
    pub fn run_until_with(&mut self, until: Timestamp, mut look: impl FnMut(&Self)) {
        let (mut at, mut turns) = (self.now, 0);
        while self.broken.is_none() && self.advance(until) {
            look(self);
            if self.now > at {
                (at, turns) = (self.now, 0);
            }
            turns += 1;
            if turns > MAX_TURNS {
                self.rule(Err(format!("the engine spins at {at}: {}", self.steps.back().map_or("", String::as_str))));
            }
        }
        self.now = self.now.max(until);
    }
}

/// An answer to what the program has asked for; it finds nobody else.
pub(super) fn is_result(input: &Input) -> bool {
    !matches!(input, Input::Inbound { .. } | Input::Status { .. } | Input::Call { .. })
}
