//! What would happen: one alarm is raised at some time in a program that has just started, nobody answers, Twilio takes everything.
//!
//! Deliberately absent: whatever a running daemon knows (shelved alarms, opt-outs, cooldowns, used budgets, other alarms). Tags have
//! no value unless one is given, so conditions on them are false; all other alarms tell nobody.

use std::{sync::Arc, time::Duration};

use super::{
    long_path,
    play::who,
    rig::Rig,
    short_path,
    world::{Act, Seen},
};
use crate::{
    engine::{
        plan::{AlarmDef, Limit, Mode, Origin, Plan, Setpoint, TagDef, TagTraits},
        record::{AuditEntry, AuditKind, JournalKind, StateKind},
    },
    tag::{DataType, Names, Reading, StatusCode, TagId, TagPath, Timestamp, Value, ValueType},
};

/// The alarm of a pipeline that has ended without anybody knowing of it.
const NOBODY_REACHED: &str = "System/Gateway/Alarms/NobodyReached";
/// Rows after which a forecast is cut.
const MAX_ROWS: usize = 1000;
/// Alarms that look like an unknown one.
const MAX_NEAREST: usize = 5;
/// At most so long before the alarm the program starts.
const MAX_ON_DELAY: Duration = Duration::from_secs(86_400 * 366);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Path of the alarm, with or without the folder `Alarms`.
    pub alarm: String,
    /// When it is raised.
    pub at: Timestamp,
    /// The tag's value then; made up when left out.
    pub value: Option<String>,
    /// Values of other tags.
    pub tags: Vec<(String, String)>,
    /// How long to look on.
    pub span: Duration,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// `<tag path>/Alarms/<name>`.
    pub alarm: Arc<str>,
    /// Its priority, as the configuration writes it.
    pub priority: &'static str,
    /// Its pipeline; `None` when it tells nobody.
    pub pipeline: Option<String>,
    /// The value with which it is raised.
    pub value: String,
    /// In order.
    pub rows: Vec<Row>,
    /// There are more rows than these.
    pub cut: bool,
    /// Until when it was looked.
    pub until: Timestamp,
}

/// One thing that would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// Of what kind.
    pub kind: Kind,
    /// The user, else the number; empty when it is about nobody.
    pub who: String,
    /// The notification profile.
    pub profile: String,
    /// The step of the pipeline, from 1, with its name; of another alarm's pipeline with that alarm's name.
    pub step: String,
    /// The text, the words, the reason.
    pub words: String,
}

/// The kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Text,
    Call,
    Skipped,
    Write,
    Script,
    Note,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Call => "call",
            Self::Skipped => "skipped",
            Self::Write => "write",
            Self::Script => "script",
            Self::Note => "note",
        }
    }
}

/// Plays it through.
///
/// # Errors
/// When there is no such alarm or tag (with what looks like it), or the value does not raise the alarm.
pub fn forecast(mut plan: Plan, question: &Question) -> Result<Forecast, String> {
    let path = find(&plan, &question.alarm)?;
    let index = plan.alarm_index[&path];
    let def = Arc::clone(&plan.alarms[index]);
    let mut result = Forecast {
        alarm: Arc::clone(&path),
        priority: def.priority.name(),
        pipeline: def.pipeline.clone(),
        value: String::new(),
        rows: Vec::new(),
        cut: false,
        until: question.at + question.span,
    };
    if result.pipeline.is_none() {
        return Ok(result);
    }
    drop(def);
    let known = given(&plan, &question.tags)?;
    let raise = prepare(&mut plan, index, question, &known)?;
    let delay = plan.alarms[index].on_delay.min(MAX_ON_DELAY);
    let any_change = matches!(plan.alarms[index].mode, Mode::AnyChange);
    let started = question.at - if any_change { Duration::from_secs(1) } else { delay };
    let mut rig = Rig::with_plan(Arc::new(plan), Names::default(), started, 1);
    rig.world.unknown = true;
    rig.world.device.extend(known);
    if let (true, Raise::Value(tag, value)) = (any_change, &raise) {
        rig.world.device.insert(*tag, other(value));
    }
    let mut eye = Eye { path: Arc::clone(&path), journal: 0, audit: 0, acts: 0, rows: Vec::new() };
    rig.start_program();
    rig.run_until_with(started, |rig| eye.look(rig));
    if any_change {
        rig.run_until_with(question.at, |rig| eye.look(rig));
    }
    match &raise {
        Raise::Value(tag, value) => {
            result.value = value.to_string();
            rig.set(*tag, value.clone());
        }
        Raise::Bad(tag) => rig.set_quality(*tag, StatusCode::BAD_SENSOR_FAILURE),
    }
    eye.look(&rig);
    rig.run_until_with(question.at, |rig| eye.look(rig));
    let raised = rig.watch.journal.iter().any(|entry| entry.kind == JournalKind::Raised && entry.alarm == path);
    if !raised {
        let value = question.value.as_deref().unwrap_or(&result.value);
        return Err(format!("the value {value} does not raise {}; give one that does with --value", short_path(&path)));
    }
    while rig.broken.is_none() && eye.rows.len() < MAX_ROWS && rig.advance(result.until) {
        eye.look(&rig);
    }
    (result.rows, result.cut) = (eye.rows, rig.next_event().is_some_and(|next| next <= result.until));
    rig.broken.map_or(Ok(result), |broken| Err(format!("the forecast broke a rule of the program: {broken}")))
}

/// The path of an alarm by what somebody typed.
fn find(plan: &Plan, typed: &str) -> Result<Arc<str>, String> {
    for path in [typed.to_owned(), long_path(typed)] {
        if let Some(def) = plan.alarm(&path) {
            return Ok(Arc::clone(&def.path));
        }
    }
    let wanted = short_path(typed).to_lowercase();
    let mut nearest: Vec<_> = plan
        .alarms
        .iter()
        .map(|def| {
            let path = short_path(&def.path);
            let lower = path.to_lowercase();
            // Part of a path is as good as a path with a mistake.
            let distance = if lower.contains(&wanted) { 0 } else { strsim::damerau_levenshtein(&wanted, &lower) };
            (distance, path)
        })
        .filter(|(distance, _)| *distance <= (wanted.chars().count() / 2).max(2))
        .collect();
    nearest.sort();
    let names: Vec<_> = nearest.into_iter().take(MAX_NEAREST).map(|(_, path)| path).collect();
    let help = match names.as_slice() {
        [] => "`annunciator alarms` lists those of a running daemon".to_owned(),
        [one] => format!("did you mean {one}?"),
        many => format!("did you mean one of {}?", many.join(", ")),
    };
    Err(format!("there is no alarm `{typed}`; {help}"))
}

/// Values of tags that were given.
fn given(plan: &Plan, tags: &[(String, String)]) -> Result<Vec<(TagId, Value)>, String> {
    let value = |(path, text): &(String, String)| {
        let def = plan.tags.iter().find(|def| &*def.path == path.as_str()).ok_or_else(|| format!("there is no tag `{path}`"))?;
        Ok((def.id, parse(text, def.value_type)?))
    };
    tags.iter().map(value).collect()
}

fn parse(text: &str, wanted: ValueType) -> Result<Value, String> {
    let json = serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
    Value::from_json(&json, wanted)
}

/// How the alarm is raised.
enum Raise {
    Value(TagId, Value),
    Bad(TagId),
}

/// Makes the plan one in which just this alarm can be raised, and says by what.
fn prepare(plan: &mut Plan, index: usize, question: &Question, known: &[(TagId, Value)]) -> Result<Raise, String> {
    plan.alarm_rules.notify_initial = true;
    (plan.drill, plan.heartbeat) = (None, None);
    for (place, def) in plan.alarms.iter_mut().enumerate() {
        if place != index && *def.path != *NOBODY_REACHED {
            Arc::make_mut(def).pipeline = None;
        }
    }
    let mut tag = plan.alarms[index].tag;
    if matches!(plan.alarms[index].mode, Mode::System) {
        tag = add_tag(plan);
    }
    let place = plan.tag_index.get(tag).ok_or("its tag is not there")?;
    let wanted = plan.tags[place].value_type;
    if matches!(plan.tags[place].origin, Origin::Derived(_)) {
        plan.tags[place].origin = Origin::Memory { initial: Value::Null };
    }
    if matches!(plan.alarms[index].mode, Mode::BadQuality) {
        return Ok(Raise::Bad(tag));
    }
    let typed = question.value.as_deref().map(|text| parse(text, wanted)).transpose()?;
    let guessed = guess(plan, &plan.alarms[index], &plan.tags[place], known);
    let computed = matches!(plan.alarms[index].mode, Mode::Condition(_) | Mode::RateOfChange { .. } | Mode::System);
    let swapped = computed || guessed.is_none();
    let value = typed.or(guessed).unwrap_or_else(|| zero(wanted.data_type));
    if swapped {
        // What makes it active cannot be played from one value: this value does.
        let def = Arc::make_mut(&mut plan.alarms[index]);
        (def.tag, def.mode) = (tag, Mode::Equal(Setpoint::Constant(value.clone())));
    }
    Ok(Raise::Value(tag, value))
}

/// A tag for an alarm that the program raises by itself.
fn add_tag(plan: &mut Plan) -> TagId {
    let id = TagId(plan.tags.iter().map(|def| def.id.0).max().map_or(0, |max| max + 1));
    let path = TagPath::new("What/If").expect("a path");
    let def = TagDef::new(
        id,
        path,
        Origin::Memory { initial: Value::Boolean(false) },
        TagTraits::of(ValueType::scalar(DataType::Boolean)),
    );
    plan.tag_index.insert(def.id, &def.path, plan.tags.len());
    plan.tags.push(def);
    id
}

/// A value that raises the alarm; `None` where that cannot be told from its limits.
fn guess(plan: &Plan, def: &AlarmDef, tag: &TagDef, known: &[(TagId, Value)]) -> Option<Value> {
    let read = |id: TagId| {
        let initial = || match plan.tag(id).map(|def| &def.origin) {
            Some(Origin::Memory { initial, .. }) if !initial.is_null() => Some(initial.clone()),
            _ => None,
        };
        let value = known.iter().find(|(known, _)| *known == id).map(|(_, value)| value.clone()).or_else(initial);
        let status = if value.is_some() { StatusCode::GOOD } else { StatusCode::BAD_WAITING_FOR_INITIAL_DATA };
        Reading { value: value.unwrap_or_default(), status, source_time: Timestamp::default(), version: 1 }
    };
    let point = |setpoint: &Setpoint| match setpoint {
        Setpoint::Constant(value) => Some(value.clone()),
        Setpoint::Expression(expression) => {
            let (value, status) = expression.evaluate(&read);
            (status.is_usable() && !value.is_null()).then_some(value)
        }
    };
    let limit = |limit: &Limit| point(&limit.setpoint)?.as_f64();
    let number = |number: f64| tag.value_type.data_type.from_f64(number);
    match &def.mode {
        Mode::Equal(wanted) => {
            let value = point(wanted)?;
            if tag.value_type.admits(&value) { Some(value) } else { number(value.as_f64()?) }
        }
        Mode::NotEqual(unwanted) => Some(other(&point(unwanted)?)).filter(|value| tag.value_type.admits(value)),
        Mode::Above(high) | Mode::Outside(_, high) => number(limit(high)? + 1.0),
        Mode::Below(low) => number(limit(low)? - 1.0),
        Mode::Between(low, high) => number(f64::midpoint(limit(low)?, limit(high)?)),
        Mode::OutOfRange => number(tag.range?.1 + 1.0),
        Mode::Bit { position, on_zero } => tag.value_type.data_type.from_i128(if *on_zero { 0 } else { 1 << position }),
        Mode::AnyChange => Some(other(&zero(tag.value_type.data_type))),
        Mode::BadQuality | Mode::Condition(_) | Mode::RateOfChange { .. } | Mode::System => None,
    }
}

fn zero(data_type: DataType) -> Value {
    match data_type {
        // One that is true reads better where an expression made it so.
        DataType::Boolean => Value::Boolean(true),
        DataType::String => Value::string(""),
        other => other.from_i128(0).unwrap_or_default(),
    }
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Boolean(value) => Value::Boolean(!value),
        Value::String(text) => Value::string(format!("{text}1")),
        value => value.data_type().zip(value.as_f64()).and_then(|(kind, number)| kind.from_f64(number + 1.0)).unwrap_or_default(),
    }
}

/// Makes rows of what is new.
struct Eye {
    path: Arc<str>,
    journal: usize,
    audit: usize,
    acts: usize,
    rows: Vec<Row>,
}

impl Eye {
    fn look(&mut self, rig: &Rig) {
        // Records of a step stand before its acts, but for what tells that it has ended.
        for entry in &rig.watch.audit[self.audit..] {
            if entry.kind == AuditKind::MessageNotSent {
                self.rows.push(self.skipped(rig, entry));
            }
        }
        for seen in &rig.world.acts[self.acts..] {
            self.rows.extend(self.act(rig, seen));
        }
        for entry in &rig.watch.journal[self.journal..] {
            let nobody = *entry.alarm == *NOBODY_REACHED;
            let words = match entry.kind {
                JournalKind::NobodyToContact if entry.alarm == self.path || nobody => entry.text.clone(),
                JournalKind::PipelineEnded if entry.alarm == self.path => format!("the pipeline ends: {}", entry.text),
                JournalKind::Raised if nobody && *self.path != *NOBODY_REACHED => "NobodyReached is raised".to_owned(),
                _ => continue,
            };
            let step = if entry.kind == JournalKind::NobodyToContact { self.step(rig, &entry.alarm) } else { String::new() };
            self.rows.push(Row { at: entry.time, kind: Kind::Note, who: String::new(), profile: String::new(), step, words });
        }
        (self.journal, self.audit, self.acts) = (rig.watch.journal.len(), rig.watch.audit.len(), rig.world.acts.len());
    }

    /// Who was not told, and why; the audit log says `ALARM by PROFILE, step 2; …`.
    fn skipped(&self, rig: &Rig, entry: &AuditEntry) -> Row {
        let (alarm, rest) = entry.text.split_once(" by ").unwrap_or((&self.path, ""));
        let (head, detail) = rest.split_once("; ").unwrap_or((rest, ""));
        let (profile, place) = head.split_once(", ").unwrap_or((head, ""));
        let place = match place.strip_prefix("step ").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => named(rig, alarm, number - 1),
            None => place.to_owned(),
        };
        let words = if detail.is_empty() { entry.result.clone() } else { format!("{}: {detail}", entry.result) };
        Row {
            at: entry.time,
            kind: Kind::Skipped,
            who: if entry.user.is_empty() { who(rig, &entry.subject) } else { entry.user.clone() },
            profile: profile.to_owned(),
            step: self.of_alarm(alarm, place),
            words,
        }
    }

    /// The step at which the notification of `alarm` is.
    fn step(&self, rig: &Rig, alarm: &str) -> String {
        let Some(run) = rig.watch.store.get(&(StateKind::Run, alarm.to_owned())) else { return String::new() };
        let ended = run["stage"].get("Ended").is_some();
        let place = run["step"].as_u64().and_then(|step| usize::try_from(step).ok()).unwrap_or_default();
        self.of_alarm(alarm, if ended { "fallback".to_owned() } else { named(rig, alarm, place) })
    }

    /// With its name when it is another alarm than the one that was asked for.
    fn of_alarm(&self, alarm: &str, place: String) -> String {
        if *alarm == *self.path { place } else { format!("{}: {place}", alarm.rsplit('/').next().unwrap_or_default()) }
    }

    fn act(&self, rig: &Rig, seen: &Seen) -> Option<Row> {
        let row = |kind, who: String, profile: String, step: String, words: String| Row {
            at: seen.at,
            kind,
            who,
            profile,
            step,
            words,
        };
        let message = |kind, row_id: u64, to: &str, words: &str| {
            let stored = rig.watch.store.get(&(StateKind::Outbox, row_id.to_string()));
            let purpose = stored.map(|stored| stored["job"]["Text"]["purpose"]["Alarm"].clone()).unwrap_or_default();
            let alarm = purpose["items"][0]["alarm"].as_str().unwrap_or(&self.path).to_owned();
            let profile = purpose["profile"].as_str().unwrap_or_default().to_owned();
            row(kind, who(rig, to), profile, self.step(rig, &alarm), words.to_owned())
        };
        Some(match &seen.act {
            Act::Text(text) => message(Kind::Text, text.row.0, &text.to, &text.body),
            Act::Call { row, to, words, .. } => message(Kind::Call, row.0, to, words),
            Act::Write { tag, value } => {
                let tag = rig.plan.tag(*tag).map(|def| def.path.to_string()).unwrap_or_default();
                row(Kind::Write, String::new(), String::new(), self.step(rig, &self.path), format!("{tag} = {value}"))
            }
            Act::Script { name, alarm } => {
                row(Kind::Script, String::new(), String::new(), self.step(rig, alarm), format!("{name} (taken as done)"))
            }
            Act::Said { .. } | Act::EndCall { .. } => return None,
        })
    }
}

/// `2 everybody` for the second step.
fn named(rig: &Rig, alarm: &str, place: usize) -> String {
    let run = rig.watch.store.get(&(StateKind::Run, alarm.to_owned()));
    let pipeline = run.and_then(|run| rig.plan.pipelines.get(run["pipeline"].as_str()?));
    let name = pipeline.and_then(|pipeline| pipeline.steps.get(place)?.name.as_deref());
    name.map_or_else(|| (place + 1).to_string(), |name| format!("{} {name}", place + 1))
}
