//! Goes through a scenario line by line, tells what happens, and finds what differs. An act that nobody expected differs too.

use std::{collections::HashMap, time::Duration};

use super::{
    Setup, long_path,
    rig::Rig,
    script::{Line, Script, Wrong, clock, duration, words},
    short_path,
    world::{Act, Seen},
};
use crate::{
    engine::{plan::Channel, record::AuditKind, view::AlarmView},
    tag::{TagId, Timestamp, Value},
};

/// The first line that was not as written.
pub type Difference = Wrong;

/// What kind of thing was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A line of the scenario.
    Happens,
    /// The journal: what became of an alarm or its notification.
    Journal,
    /// A text that Twilio took.
    Text,
    /// A call, what is said in it, and its end.
    Call,
    /// A script of a pipeline.
    Script,
    /// A message that was not sent, and why.
    NotSent,
    /// A tag that was written.
    Write,
    /// What somebody who asked for something was told.
    Answer,
}

/// One thing of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// Of what kind.
    pub what: What,
    /// For people.
    pub words: String,
}

/// A scenario that was played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// In order, up to the difference.
    pub story: Vec<Moment>,
    /// `None` when all went as written.
    pub difference: Option<Difference>,
}

/// Plays a scenario against its own configuration, or the given one where it brings none.
#[must_use]
pub fn play(script: &Script, given: &Setup<'_>) -> Played {
    let setup = script.setup(given);
    let start = script.start.unwrap_or_else(|| jiff::Timestamp::constant(1_767_600_000, 0).into());
    let rig = match Rig::new(&setup, start, 1) {
        Ok(rig) => rig,
        Err(problems) => {
            let words = format!("the configuration is wrong:\n{problems}");
            return Played { story: Vec::new(), difference: Some(Difference { line: 1, words }) };
        }
    };
    let mut player = Player {
        rig,
        setup,
        codes: HashMap::new(),
        last_code: String::new(),
        refused: None,
        story: Vec::new(),
        told: Told::default(),
    };
    let difference = player.play(script).err();
    player.tell();
    Played { story: player.story, difference }
}

/// What becomes of a line.
pub(super) type Outcome = Result<(), String>;

pub(super) struct Player<'l> {
    pub(super) rig: Rig,
    pub(super) setup: Setup<'l>,
    /// Codes by alarm.
    pub(super) codes: HashMap<String, String>,
    /// The code of the last text that was expected.
    pub(super) last_code: String,
    /// Why the last command was refused, until that is expected.
    pub(super) refused: Option<String>,
    story: Vec<Moment>,
    told: Told,
}

/// How much of what the rig keeps was told.
#[derive(Default)]
struct Told {
    journal: usize,
    audit: usize,
    acts: usize,
}

impl Player<'_> {
    fn play(&mut self, script: &Script) -> Result<(), Difference> {
        for (number, line) in &script.plant {
            self.plant(line).map_err(|words| Wrong { line: *number, words })?;
        }
        self.rig.start_program();
        self.settle();
        for (number, line) in &script.scenario {
            self.line(line).and_then(|()| self.rules()).map_err(|words| Wrong { line: *number, words })?;
        }
        let last = script.scenario.last().map_or(1, |(number, _): &Line| *number);
        let end = self.nothing_refused().and_then(|()| self.nothing_more(None));
        end.map_err(|words| Wrong { line: last, words })
    }

    fn plant(&mut self, line: &str) -> Outcome {
        let words = words(line)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            [comment, ..] if comment.starts_with('#') => Ok(()),
            [path, value] => {
                let tag = self.rig.tag(path)?;
                let value = self.value(tag, value)?;
                self.rig.world.device.insert(tag, value);
                Ok(())
            }
            _ => Err("`plant` has lines of a tag and its value".to_owned()),
        }
    }

    fn line(&mut self, line: &str) -> Outcome {
        let all = words(line)?;
        let mut words: Vec<&str> = all.iter().map(String::as_str).collect();
        if words.first().is_none_or(|word| word.starts_with('#')) {
            return Ok(());
        }
        if let Some(at) = clock(words[0]) {
            words.remove(0);
            self.pass(self.rig.start + at)?;
        }
        if let ["within", span, rest @ ..] = words.as_slice() {
            let (span, rest) = (duration(span)?, rest.to_vec());
            self.wait_for_an_act(span)?;
            words = rest;
        }
        if words.is_empty() {
            return Ok(());
        }
        let first = words.remove(0);
        if first == "expect" {
            return self.expect(&words);
        }
        self.nothing_refused()?;
        let spoken = line.trim_start();
        let spoken = clock(spoken.split_whitespace().next().unwrap_or_default())
            .map_or(spoken, |_| spoken.split_once(char::is_whitespace).map_or("", |(_, rest)| rest));
        self.moment(self.rig.now, What::Happens, spoken.trim().to_owned());
        self.act(first, &words)?;
        self.settle();
        Ok(())
    }

    /// Nothing that must always hold was broken.
    fn rules(&self) -> Outcome {
        self.rig.broken.clone().map_or(Ok(()), Err)
    }

    /// Time passes until `at`; whatever was seen before then and not expected is wrong.
    fn pass(&mut self, at: Timestamp) -> Outcome {
        if at < self.rig.now {
            return Err("time goes backwards".to_owned());
        }
        if at > self.rig.now {
            self.nothing_more(None)?;
        }
        self.run_until(at);
        self.nothing_more(Some(at))
    }

    fn wait_for_an_act(&mut self, span: Duration) -> Outcome {
        self.nothing_more(None)?;
        let until = self.rig.now + span;
        let acts = |rig: &Rig| rig.world.acts.iter().filter(|seen| seen.act.counts()).count();
        let seen = acts(&self.rig);
        while acts(&self.rig) == seen && self.rig.advance(until) {
            self.tell();
        }
        self.settle();
        if acts(&self.rig) == seen { Err(format!("nothing happened within {span:?}")) } else { Ok(()) }
    }

    /// Everything that is due now.
    pub(super) fn settle(&mut self) {
        self.run_until(self.rig.now);
    }

    fn run_until(&mut self, until: Timestamp) {
        let (story, told) = (&mut self.story, &mut self.told);
        self.rig.run_until_with(until, |rig| told.tell(rig, story));
        self.tell();
        self.learn();
    }

    /// The codes of open alarms.
    fn learn(&mut self) {
        let Some(engine) = self.rig.engine() else { return };
        for AlarmView { path, code, .. } in engine.alarm_views() {
            if let Some(code) = code {
                self.codes.insert(short_path(&path), code);
            }
        }
    }

    /// Acts that nobody expected: all of them, or those before `at`.
    fn nothing_more(&self, at: Option<Timestamp>) -> Outcome {
        let rest = self.rig.world.acts.iter().filter(|seen| seen.surprises() && at.is_none_or(|at| seen.at < at));
        let rest: Vec<_> = rest.map(|seen| self.show(seen)).collect();
        if rest.is_empty() { Ok(()) } else { Err(format!("nobody expected {}", rest.join("; "))) }
    }

    fn nothing_refused(&mut self) -> Outcome {
        self.refused.take().map_or(Ok(()), |words| Err(format!("the command before was refused: {words}")))
    }

    /// An act that was seen, with its time.
    pub(super) fn show(&self, seen: &Seen) -> String {
        format!("at {} the {}", show_clock(seen.at.since(self.rig.start)), act_words(&self.rig, &seen.act))
    }

    pub(super) fn moment(&mut self, at: Timestamp, what: What, words: String) {
        self.story.push(Moment { at: at.since(self.rig.start), what, words });
    }

    fn tell(&mut self) {
        self.told.tell(&self.rig, &mut self.story);
    }

    pub(super) fn view(&self, alarm: &str) -> Result<AlarmView, String> {
        let path = long_path(alarm);
        let engine = self.rig.engine().ok_or("the program does not run")?;
        let view = engine.alarm_views().into_iter().find(|view| *view.path == *path);
        view.ok_or_else(|| format!("there is no alarm {path}"))
    }

    /// A user's first number, or the number itself.
    pub(super) fn number(&self, who: &str) -> String {
        let user = self.rig.plan.users.get(who).and_then(|user| user.contacts.first());
        // Those of the example keep theirs after they were removed.
        let known = [("alice", 1), ("bob", 2), ("carol", 3), ("dave", 4)].iter().find(|(name, _)| *name == who);
        let of_example = known.map(|(_, number)| format!("+1222333000{number}"));
        user.map(|contact| contact.number.clone()).or(of_example).unwrap_or_else(|| who.to_owned())
    }

    /// A user's first number for calls, or the number itself.
    pub(super) fn call_number(&self, who: &str) -> String {
        let user = self.rig.plan.users.get(who);
        let contact = user.and_then(|user| user.contacts.iter().find(|contact| contact.channel == Channel::Voice));
        contact.map_or_else(|| self.number(who), |contact| contact.number.clone())
    }

    pub(super) fn value(&self, tag: TagId, text: &str) -> Result<Value, String> {
        let wanted = self.rig.plan.tag(tag).ok_or("the tag is gone")?.value_type;
        let json = serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
        Value::from_json(&json, wanted)
    }

    /// `{code}`, `{code PATH}` and `{pin USER}` replaced.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = text.replace("{code}", &self.last_code);
        for (alarm, code) in &self.codes {
            filled = filled.replace(&format!("{{code {alarm}}}"), code);
        }
        if filled.contains("{pin ") {
            for (name, user) in &self.rig.plan.users {
                let pin = user.pin.as_ref().map_or("", |pin| pin.expose());
                filled = filled.replace(&format!("{{pin {name}}}"), pin);
            }
        }
        filled
    }
}

impl Told {
    /// Adds what is new in the order of its time.
    fn tell(&mut self, rig: &Rig, story: &mut Vec<Moment>) {
        let from = story.len();
        let watch = &rig.watch;
        let mut push = |at: Timestamp, what, words| story.push(Moment { at: at.since(rig.start), what, words });
        for entry in &watch.journal[self.journal..] {
            let kind = serde_json::to_value(entry.kind).unwrap_or_default();
            let kind = kind.as_str().unwrap_or_default().replace('_', " ");
            let by = if entry.user.is_empty() { String::new() } else { format!(" by {}", entry.user) };
            let text = if entry.text.is_empty() || entry.text == kind { String::new() } else { format!(": {}", entry.text) };
            push(entry.time, What::Journal, format!("{} {kind}{by}{text}", short_path(&entry.alarm)));
        }
        for entry in &watch.audit[self.audit..] {
            if entry.kind == AuditKind::MessageNotSent {
                push(entry.time, What::NotSent, format!("{}: {}", who(rig, &entry.subject), entry.result));
            }
        }
        for seen in &rig.world.acts[self.acts.min(rig.world.acts.len())..] {
            let what = match seen.act {
                Act::Text(_) => What::Text,
                Act::Write { .. } => What::Write,
                Act::Call { .. } | Act::Said { .. } | Act::EndCall { .. } => What::Call,
                Act::Script { .. } => What::Script,
            };
            // Its kind stands beside it.
            let words = act_words(rig, &seen.act);
            push(seen.at, what, words.split_once(' ').map_or("", |(_, words)| words).to_owned());
        }
        story[from..].sort_by_key(|moment| moment.at);
        *self = Self { journal: watch.journal.len(), audit: watch.audit.len(), acts: rig.world.acts.len() };
    }
}

/// An act in words.
fn act_words(rig: &Rig, act: &Act) -> String {
    match act {
        Act::Text(message) => format!("text to {}: {:?}", who(rig, &message.to), message.body),
        Act::Write { tag, value } => {
            format!("write of {value} to {}", rig.plan.tag(*tag).map(|def| def.path.to_string()).unwrap_or_default())
        }
        Act::Call { to, words, .. } => format!("call to {}: {words:?}", who(rig, to)),
        Act::Said { to, words, .. } => format!("call with {} says {words:?}", who(rig, to)),
        Act::EndCall { to, words, .. } if words.is_empty() => format!("call to {} is cancelled", who(rig, to)),
        Act::EndCall { to, words, .. } => format!("call with {} is ended: {words:?}", who(rig, to)),
        Act::Script { name, alarm } => format!("script {name} for {}", short_path(alarm)),
    }
}

/// The name of whose number it is, else the number.
pub(super) fn who(rig: &Rig, number: &str) -> String {
    let users = rig.plan.users.values();
    let user = users.into_iter().find(|user| user.contacts.iter().any(|contact| contact.number == number));
    user.map_or_else(|| number.to_owned(), |user| user.name.clone())
}

/// `00:01:30`, with a fraction when there is one.
#[must_use]
pub fn show_clock(since: Duration) -> String {
    let seconds = since.as_secs();
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match since.subsec_millis() {
        0 => whole,
        milliseconds => format!("{whole}.{milliseconds:03}"),
    }
}
