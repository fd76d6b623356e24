//! Scenario files: what happens when, and what must follow. An effect that nobody expected fails.
//!
//! A file has the parts `config`, `tags` (those of `plant/` when left out), `plant` (values at the start) and `scenario`. In the
//! last one each line is an optional time since the start, `HH:MM:SS`, and something that happens or is expected then:
//!
//! ```text
//! 00:00:03 set Plant/Pump/Trip true
//!          expect sms alice "Pump tripped*#{code}"
//! 00:00:20 reply alice "4711 {code}"
//!          expect write Plant/Pump/Ack true
//! ```
//!
//! `within 30s expect …` waits for the next effect. `*` in a text stands for anything, `{code}` for the code of the last text and
//! `{code PATH}` for that of an alarm. An alarm is named without `Alarms/`.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use annunciator::{
    engine::{
        io::{Command, DeliveryState, Input},
        view::AlarmView,
    },
    tag::{Sample, StatusCode, TagId, Timestamp, Value},
};

use crate::rig::{Act, Device, Mood, Rig};

struct Scenario {
    rig: Rig,
    config: String,
    tags: String,
    /// Acts that were expected.
    claimed: usize,
    codes: HashMap<String, String>,
    last_code: String,
    refused: Option<String>,
}

type Outcome = Result<(), String>;

#[test]
fn scenarios_go_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/scenarios");
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.display().to_string().contains(&only)) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(file).unwrap();
        let result = std::panic::catch_unwind(|| run(&text));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => wrong.push(format!("{name}:{error}")),
            Err(panic) => wrong.push(format!("{name}: {}", panic_text(&*panic))),
        }
    }
    assert!(wrong.is_empty(), "not as written:\n{}", wrong.join("\n"));
}

pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Runs a scenario; the error begins with the number of its line.
fn run(text: &str) -> Outcome {
    const PARTS: [&str; 4] = ["config", "tags", "plant", "scenario"];
    let mut parts: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
    let mut part = "";
    for (number, line) in (1..).zip(text.lines()) {
        match PARTS.iter().find(|part| **part == line.trim_end()) {
            Some(name) => part = name,
            None => parts.entry(part).or_default().push((number, line)),
        }
    }
    let joined = |name: &str| {
        let lines: Vec<&str> = parts.get(name).into_iter().flatten().map(|(_, line)| *line).collect();
        lines.join("\n") + "\n"
    };
    let or = |text: String, plant: &str| if text.trim().is_empty() { plant.to_owned() } else { text };
    let config = or(joined("config"), include_str!("plant/config.toml"));
    let tags = or(joined("tags"), include_str!("plant/tags.toml"));
    let mut scenario = Scenario {
        rig: Rig::new(&config, &tags, 1),
        config,
        tags,
        claimed: 0,
        codes: HashMap::new(),
        last_code: String::new(),
        refused: None,
    };
    for (number, line) in parts.get("plant").into_iter().flatten() {
        if let [path, value] = words(line)?.as_slice() {
            let tag = scenario.rig.tag(path);
            let value = scenario.value(tag, value).map_err(|error| format!("{number}: {error}"))?;
            scenario.rig.world.device.insert(tag, value);
        }
    }
    scenario.rig.start_program();
    scenario.settle();
    for (number, line) in parts.get("scenario").into_iter().flatten() {
        scenario.line(line).map_err(|error| format!("{number}: {}: {error}", line.trim()))?;
    }
    scenario.nothing_refused()?;
    scenario.nothing_more(None)
}

impl Scenario {
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
        self.act(first, &words)?;
        self.settle();
        Ok(())
    }

    /// Time passes until `at`; whatever was seen before then and not expected is wrong.
    fn pass(&mut self, at: Timestamp) -> Outcome {
        if at < self.rig.now {
            return Err("time goes backwards".to_owned());
        }
        if at > self.rig.now {
            self.nothing_more(None)?;
        }
        self.rig.run_until(at);
        self.learn();
        self.nothing_more(Some(at))
    }

    fn wait_for_an_act(&mut self, span: Duration) -> Outcome {
        self.nothing_more(None)?;
        let until = self.rig.now + span;
        let seen = self.rig.world.acts.len();
        while self.rig.world.acts.len() == seen && self.rig.advance(until) {}
        self.settle();
        if self.rig.world.acts.len() == seen { Err(format!("nothing happened within {span:?}")) } else { Ok(()) }
    }

    /// Everything that is due now.
    fn settle(&mut self) {
        let now = self.rig.now;
        self.rig.run_until(now);
        self.learn();
    }

    fn learn(&mut self) {
        if !self.rig.runs() {
            return;
        }
        for AlarmView { path, code, .. } in self.rig.engine().alarm_views() {
            if let Some(code) = code {
                self.codes.insert(short(&path), code);
            }
        }
    }

    /// Acts that nobody expected: all of them, or those before `at`.
    fn nothing_more(&self, at: Option<Timestamp>) -> Outcome {
        let rest = &self.rig.world.acts[self.claimed..];
        let rest: Vec<_> = rest.iter().filter(|(seen, _)| at.is_none_or(|at| *seen < at)).map(|act| self.show(act)).collect();
        if rest.is_empty() { Ok(()) } else { Err(format!("nobody expected {}", rest.join("; "))) }
    }

    fn nothing_refused(&mut self) -> Outcome {
        self.refused.take().map_or(Ok(()), |words| Err(format!("the command before was refused: {words}")))
    }

    fn show(&self, (at, act): &(Timestamp, Act)) -> String {
        let since = at.since(self.rig.start).as_secs_f64();
        match act {
            Act::Text(message) => format!("at {since} s the text to {}: {:?}", message.to, message.body),
            Act::Write { tag, value } => format!("at {since} s the write of {value} to {}", self.path(*tag)),
        }
    }

    fn path(&self, tag: TagId) -> String {
        self.rig.plan.tag(tag).map(|def| def.path.to_string()).unwrap_or_default()
    }

    fn act(&mut self, verb: &str, words: &[&str]) -> Outcome {
        match (verb, words) {
            ("set", [path, value]) => {
                let tag = self.rig.tag(path);
                let value = self.value(tag, value)?;
                self.rig.set(tag, value);
            }
            ("quality", [path, status]) => {
                let (tag, status) = (self.rig.tag(path), status_code(status)?);
                let sample = Sample { tag, value: Value::Null, status, source_time: self.rig.now };
                self.rig.input(Input::Samples(vec![sample]));
            }
            ("source", [name, state]) => self.rig.set_source(name, *state == "up"),
            ("device", [path, rest @ ..]) => {
                let device = match rest {
                    ["works"] => Device::Works,
                    ["fails", status] => Device::Fails(status_code(status)?),
                    ["loses-answer"] => Device::LosesAnswer,
                    ["ignores"] => Device::Ignores,
                    _ => return Err("a device works, fails STATUS, loses-answer or ignores".to_owned()),
                };
                let tag = self.rig.tag(path);
                self.rig.world.devices.insert(tag, device);
            }
            ("twilio", [rest @ .., "for", who]) => {
                let number = self.number(who);
                self.rig.world.moods.insert(number, mood(rest)?);
            }
            ("twilio", ["list", state]) => self.rig.world.list_fails = *state == "fails",
            ("twilio", rest) => self.rig.world.mood = mood(rest)?,
            ("status", [who, word, rest @ ..]) => self.status(who, word, rest.first().copied())?,
            ("reply", [who, body]) => {
                let (number, body) = (self.number(who), self.fill(body));
                self.rig.inbound(&number, &body);
            }
            ("ack", [alarm, rest @ ..]) => {
                let alarm = long(alarm).into();
                self.command(rest, Command::Acknowledge { alarm, note: String::new() });
            }
            ("ack-event", [alarm, which, rest @ ..]) => {
                let path = long(alarm);
                let raised = self.rig.journal.iter().filter(|entry| entry.kind == kind("Raised") && *entry.alarm == *path);
                let place = which.parse::<usize>().map_err(|_| "which event?")?;
                let event = raised.filter_map(|entry| entry.event).nth(place - 1).ok_or("there is no such event")?;
                self.command(rest, Command::AcknowledgeEvent { alarm: Some(path.into()), event, note: String::new() });
            }
            ("shelve", [alarm, minutes, rest @ ..]) => {
                let minutes = minutes.parse().map_err(|_| "how many minutes?")?;
                self.command(rest, Command::Shelve { alarm: long(alarm).into(), minutes, note: String::new() });
            }
            ("out-of-service" | "in-service", [alarm, rest @ ..]) => {
                let out = verb == "out-of-service";
                self.command(rest, Command::OutOfService { alarm: long(alarm).into(), out, note: String::new() });
            }
            ("send", [number, body]) => {
                let number = self.number(number);
                self.command(&[], Command::SendText { twilio: None, number, body: (*body).to_owned() });
            }
            ("stop", []) => self.rig.stop_program(),
            ("start", []) => self.rig.start_program(),
            ("restart", []) => {
                self.rig.stop_program();
                self.rig.start_program();
            }
            ("reload", [part, old, new]) => {
                let text = if *part == "tags" { &mut self.tags } else { &mut self.config };
                let (old, new) = (old.replace('\'', "\""), new.replace('\'', "\""));
                if !text.contains(&old) {
                    return Err(format!("{old:?} is not there to be replaced"));
                }
                *text = text.replace(&old, &new);
                let (config, tags) = (self.config.clone(), self.tags.clone());
                self.rig.reload(&config, &tags);
            }
            _ => return Err("what shall happen?".to_owned()),
        }
        Ok(())
    }

    fn command(&mut self, rest: &[&str], command: Command) {
        let user = if let ["by", user] = rest { user } else { "bob" };
        let request = self.rig.command(user, command);
        self.settle();
        let refused = self.rig.answers.remove(&request).filter(|outcome| !outcome.status.is_good());
        self.refused = refused.map(|outcome| outcome.message);
    }

    fn status(&mut self, who: &str, word: &str, code: Option<&str>) -> Outcome {
        let number = self.number(who);
        let message = self.rig.world.messages.iter().rev().find(|message| message.to == number).cloned();
        let message = message.ok_or("no text went there")?;
        let status = DeliveryState::parse(word).ok_or("unknown status")?;
        self.rig.world.status(self.rig.now, &message, status, code.and_then(|code| code.parse().ok()));
        Ok(())
    }

    fn expect(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["sms", who, pattern] => {
                let (number, pattern) = (self.number(who), (*pattern).to_owned());
                let found = self.claim(|scenario, act| match act {
                    Act::Text(message) => (message.to == number || number == "*") && scenario.matches(&pattern, &message.body),
                    Act::Write { .. } => false,
                })?;
                if let Act::Text(message) = found {
                    let codes = message.body.split('#').skip(1);
                    let code = codes.map(|code| code.chars().take_while(char::is_ascii_alphanumeric).collect::<String>()).last();
                    self.last_code = code.unwrap_or_default();
                }
                Ok(())
            }
            ["write", path, expected] => {
                let tag = self.rig.tag(path);
                let expected = expected.to_string();
                self.claim(|scenario, act| match act {
                    Act::Write { tag: written, value } => *written == tag && scenario.matches(&expected, &value.to_string()),
                    Act::Text(_) => false,
                })?;
                Ok(())
            }
            ["state", alarm, expected] => self.compare(self.view(alarm)?.state, expected),
            ["notification", alarm, expected] => self.compare(&self.view(alarm)?.notification, expected),
            ["value", path, expected] => {
                let shown = self.rig.shown.get(&self.rig.tag(path)).map(Value::to_string).unwrap_or_default();
                self.compare(&shown, expected)
            }
            ["device", path, expected] => self.compare(&self.rig.device_value(self.rig.tag(path)).to_string(), expected),
            ["outbox", expected] => {
                let views = self.rig.engine().outbox_views();
                let open = views
                    .iter()
                    .filter(|row| row.sid.is_none() && ["queued", "sending", "ambiguous"].contains(&row.state))
                    .count();
                self.compare(&open.to_string(), expected)
            }
            ["journal", word, alarm, rest @ ..] => {
                let (path, now) = (long(alarm), self.rig.now);
                let entries = self.rig.journal.iter().filter(|entry| entry.time == now && *entry.alarm == *path);
                let texts: Vec<_> = entries.filter(|entry| entry.kind == kind(word)).map(|entry| entry.text.clone()).collect();
                let pattern = rest.first().copied().unwrap_or("*");
                if texts.iter().any(|text| self.matches(pattern, text)) { Ok(()) } else { Err(format!("found {texts:?}")) }
            }
            ["audit", word, pattern] => {
                let entries = self.rig.audit.iter().filter(|entry| entry.time == self.rig.now);
                let found: Vec<_> =
                    entries.filter(|entry| format!("{:?}", entry.kind) == *word).map(|entry| entry.result.clone()).collect();
                if found.iter().any(|result| self.matches(pattern, result)) { Ok(()) } else { Err(format!("found {found:?}")) }
            }
            ["refused", pattern] => {
                let refused = self.refused.take().ok_or("it was not refused")?;
                self.compare(&refused, pattern)
            }
            ["attempts", least] => {
                let least = least.parse::<usize>().map_err(|_| "how many?")?;
                let attempts = self.rig.world.attempts;
                if attempts >= least { Ok(()) } else { Err(format!("there were {attempts}")) }
            }
            _ => Err("what is expected?".to_owned()),
        }
    }

    /// Takes the first act that fits from those not yet expected.
    fn claim(&mut self, fits: impl Fn(&Self, &Act) -> bool) -> Result<Act, String> {
        let rest = &self.rig.world.acts[self.claimed..];
        let Some(place) = rest.iter().position(|(_, act)| fits(self, act)) else {
            let seen: Vec<_> = rest.iter().map(|act| self.show(act)).collect();
            return Err(format!("seen: {}", if seen.is_empty() { "nothing".to_owned() } else { seen.join("; ") }));
        };
        let acts = &mut self.rig.world.acts;
        let act = acts.remove(self.claimed + place);
        acts.insert(self.claimed, act.clone());
        self.claimed += 1;
        Ok(act.1)
    }

    fn compare(&self, found: &str, pattern: &str) -> Outcome {
        if self.matches(pattern, found) { Ok(()) } else { Err(format!("found {found:?}")) }
    }

    fn view(&self, alarm: &str) -> Result<AlarmView, String> {
        let path = long(alarm);
        self.rig
            .engine()
            .alarm_views()
            .into_iter()
            .find(|view| *view.path == *path)
            .ok_or_else(|| format!("there is no alarm {path}"))
    }

    fn number(&self, who: &str) -> String {
        let user = self.rig.plan.users.get(who).and_then(|user| user.contacts.first());
        let known = [("alice", 1), ("bob", 2), ("carol", 3), ("dave", 4)].iter().find(|(name, _)| *name == who);
        let of_base = known.map(|(_, number)| format!("+1222333000{number}"));
        user.map(|contact| contact.number.clone()).or(of_base).unwrap_or_else(|| who.to_owned())
    }

    fn value(&self, tag: TagId, text: &str) -> Result<Value, String> {
        let wanted = self.rig.plan.tag(tag).ok_or("the tag is gone")?.value_type;
        let json = serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
        Value::from_json(&json, wanted)
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = text.replace("{code}", &self.last_code);
        for (alarm, code) in &self.codes {
            filled = filled.replace(&format!("{{code {alarm}}}"), code);
        }
        filled
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let pattern = self.fill(pattern);
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
}

fn kind(word: &str) -> annunciator::engine::record::JournalKind {
    let snake: String = word.char_indices().fold(String::new(), |mut text, (place, letter)| {
        if letter.is_uppercase() && place > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
        text
    });
    serde_json::from_value(snake.into()).unwrap_or_else(|_| panic!("the journal knows no {word}"))
}

fn mood(words: &[&str]) -> Result<Mood, String> {
    Ok(match words {
        ["accepts"] => Mood::Accepts,
        ["down"] => Mood::Down,
        ["busy"] => Mood::Busy,
        ["refuses", code] => Mood::Refuses(code.parse().map_err(|_| "which code?")?),
        ["loses-answer"] => Mood::LosesAnswer,
        ["loses-request"] => Mood::LosesRequest,
        _ => return Err("Twilio accepts, is down or busy, refuses CODE, loses-answer, loses-request".to_owned()),
    })
}

fn status_code(name: &str) -> Result<StatusCode, String> {
    let known = [
        StatusCode::BAD,
        StatusCode::BAD_TIMEOUT,
        StatusCode::BAD_NOT_WRITABLE,
        StatusCode::BAD_DEVICE_FAILURE,
        StatusCode::BAD_SENSOR_FAILURE,
        StatusCode::BAD_COMMUNICATION_ERROR,
        StatusCode::UNCERTAIN,
    ];
    known.into_iter().find(|code| code.name() == Some(name)).ok_or_else(|| format!("unknown status {name}"))
}

/// `Plant/Pump/Trip` to `Plant/Pump/Alarms/Trip`.
fn long(short: &str) -> String {
    match short.rsplit_once('/') {
        Some((tag, name)) if !tag.ends_with("/Alarms") => format!("{tag}/Alarms/{name}"),
        _ => short.to_owned(),
    }
}

fn short(path: &str) -> String {
    path.rsplit_once("/Alarms/").map_or_else(|| path.to_owned(), |(tag, name)| format!("{tag}/{name}"))
}

fn clock(text: &str) -> Option<Duration> {
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    let whole = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    Some(Duration::from_secs(whole) + Duration::from_secs_f64(seconds.parse().ok()?))
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').and_then(|number| number.parse::<u64>().ok());
    number.map(Duration::from_secs).ok_or_else(|| format!("{text} is not a number of seconds"))
}

/// Words, those in quotation marks with their spaces.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quotation mark is missing")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.replace("\\n", "\n"));
        rest = tail.trim_start();
    }
    Ok(words)
}
