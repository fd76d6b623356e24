//! `[[pipeline]]`: the steps that an alarm event walks through.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    alarms::target,
    book::{Book, Kind, Named},
    problems::{Place, Problem, Problems, Severity, did_you_mean},
    reader::Section,
};
use crate::{
    engine::plan::{Action, Case, Channel, Consolidate, Notify, Order, PipelineDef, Plan, ScriptStep, SetTag, Step},
    script::program::Use,
};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const DAY: Duration = minutes(1440);
/// Cases of one `switch`.
const MAX_CASES: usize = 50;
/// Steps of one pipeline.
const MAX_STEPS: usize = 100;

/// What a script may take at most, and does when nothing is said.
const SCRIPT_TIME: Duration = Duration::from_secs(30);

/// The keys that say what a step does.
const ACTIONS: [&str; 6] = ["notify", "delay", "switch", "set", "script", "jump"];
/// What a step may do.
const POSSIBLE: &str = "a step has one of `notify`, `delay`, `switch`, `set`, `script`, `jump`";

/// The steps of a pipeline by name: their position and place.
type Names = HashMap<String, (usize, Place)>;

/// All `[[pipeline]]`.
pub(super) fn pipelines(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Arc<PipelineDef>> {
    let mut pipelines = BTreeMap::new();
    for Named { name, mut section } in named {
        if !section.has("step") {
            section.error(section.span(), "the pipeline has no step", "add [[pipeline.step]] with `notify`");
        }
        let end_on_clear = section.boolean("end_on_clear").unwrap_or(true);
        let max_passes = section.integer("max_passes", 1..=100).and_then(|value| u32::try_from(value).ok()).unwrap_or(10);
        let steps = steps(&mut section, book);
        let def = PipelineDef { end_on_clear, max_passes, steps, name: name.clone() };
        pipelines.insert(name, Arc::new(def));
    }
    pipelines
}

/// What only the alarms that use a pipeline show.
pub(super) fn check_use(plan: &Plan, book: &Book, problems: &mut Problems) {
    let mut error = |name: &str, message: String, help: &str| {
        let place = book.place(Kind::Pipeline, name).cloned();
        problems.push(Problem { severity: Severity::Error, place, message, help: help.to_owned(), second: None });
    };
    let alarms = || plan.alarms.iter();
    let telling: BTreeSet<&str> =
        alarms().filter_map(|alarm| alarm.pipeline.as_deref()).chain(plan.alarm_rules.system_pipeline.as_deref()).collect();
    let ending: BTreeSet<&str> =
        alarms().flat_map(|alarm| [alarm.clear_pipeline.as_deref(), alarm.ack_pipeline.as_deref()]).flatten().collect();
    for pipeline in telling.into_iter().filter_map(|name| plan.pipelines.get(name)) {
        if pipeline.notifies().any(|notify| notify.roster.is_empty()) {
            let message = format!("pipeline `{}` has a `notify` step without a `roster`, and an alarm begins it", pipeline.name);
            error(&pipeline.name, message, "add `roster`: only a `clear_pipeline` or `ack_pipeline` knows whom to tell");
        }
    }
    for pipeline in ending.into_iter().filter_map(|name| plan.pipelines.get(name)) {
        let by_call =
            |notify: &&Notify| plan.profiles.get(&notify.profile).is_some_and(|profile| profile.channel == Channel::Voice);
        if let Some(notify) = pipeline.notifies().find(by_call) {
            let message = format!(
                "pipeline `{}` is a `clear_pipeline` or `ack_pipeline` and calls by profile `{}`",
                pipeline.name, notify.profile
            );
            error(&pipeline.name, message, "that an alarm is over is told by text: use a profile of kind \"sms\"");
        }
    }
}

fn steps(pipeline: &mut Section<'_>, book: &Book) -> Vec<Step> {
    let mut sections = pipeline.sections("step");
    if let Some(section) = sections.get(MAX_STEPS) {
        section.error(section.span(), format!("a pipeline has at most {MAX_STEPS} steps"), "divide it");
    }
    let mut names = Names::new();
    let own: Vec<_> = sections.iter_mut().enumerate().map(|(position, section)| name(section, position, &mut names)).collect();
    let mut steps = Vec::with_capacity(sections.len());
    for (section, name) in sections.iter_mut().zip(own) {
        steps.extend(action(section, book, &names).map(|action| Step { name, action }));
    }
    // With a step missing, positions mean nothing.
    if steps.len() == sections.len() {
        let whole = PipelineDef { name: String::new(), end_on_clear: true, steps, max_passes: 1 };
        note_circles(&whole, &sections);
        note_unreachable(&whole, &sections);
        return whole.steps;
    }
    steps
}

/// Takes the name of a step.
fn name(section: &mut Section<'_>, position: usize, names: &mut Names) -> Option<String> {
    let name = section.string("name")?;
    if name.trim().is_empty() || name.bytes().all(|byte| byte.is_ascii_digit()) {
        section.error(name.span, "a step's name must not be empty and no number", "such as name = \"management\"");
        return None;
    }
    let place = section.place(name.span.clone());
    if let Some((_, first)) = names.get(&name.value) {
        let message = format!("step `{}` is defined twice in its pipeline", name.value);
        section.error_beside(name.span.clone(), message, "rename one of them", (first.clone(), "first here"));
        return Some(name.value);
    }
    names.insert(name.value.clone(), (position, place));
    Some(name.value)
}

fn action(section: &mut Section<'_>, book: &Book, names: &Names) -> Option<Action> {
    let mut given = ACTIONS.into_iter().filter(|key| section.has(key));
    let Some(key) = given.next() else {
        section.error(section.span(), "the step does nothing", POSSIBLE);
        for key in ACTIONS {
            section.skip(key);
        }
        return None;
    };
    if let Some(second) = given.next() {
        section.error(section.key_span(second), "a step does one thing", "make two steps of it");
        section.ignore_rest();
        return None;
    }
    match key {
        "notify" => section.section(key).and_then(|mut section| notify(&mut section, book)).map(Action::Notify),
        "delay" => section.duration(key, Duration::from_secs(1)..=DAY * 30).map(Action::Delay),
        "switch" => switch(section, book, names).map(Action::Switch),
        "set" => section.section(key).and_then(|mut section| set(&mut section, book)).map(Action::Set),
        "script" => script(section, book).map(Action::Script),
        _ => jump(section, names).map(Action::Jump),
    }
}

fn notify(section: &mut Section<'_>, book: &Book) -> Option<Notify> {
    let second = Duration::from_secs(1);
    let profile = book.required_reference(Kind::Profile, section, "profile");
    // Whether it is needed depends on who uses the pipeline: see `check_use`.
    let roster =
        if section.has("roster") { book.required_reference(Kind::Roster, section, "roster") } else { Some(String::new()) };
    let order =
        section.one_of("order", &[("sequential", Order::Sequential), ("broadcast", Order::Broadcast)]).unwrap_or_default();
    let wait = section.duration("wait", second..=DAY).unwrap_or(minutes(1));
    let repeat = section.duration("repeat", second..=DAY).unwrap_or(minutes(5));
    let times = section.integer("times", 1..=100).and_then(|value| u32::try_from(value).ok()).unwrap_or(1);
    if section.has("repeat") && times == 1 && !section.has("times") {
        section.warning(section.key_span("repeat"), "`repeat` has no effect: there is one round", "add `times = 2` or more");
    }
    let consolidate = section.section("consolidate").map(|mut section| Consolidate {
        wait: section.duration("wait", Duration::ZERO..=minutes(60)).unwrap_or(Duration::from_secs(10)),
        every: section.duration("every", Duration::ZERO..=DAY).unwrap_or(minutes(5)),
        n: section.integer("n", 1..=50).and_then(|value| u32::try_from(value).ok()).unwrap_or(3),
    });
    Some(Notify { profile: profile?, roster: roster?, order, wait, repeat, times, consolidate })
}

fn switch(section: &mut Section<'_>, book: &Book, names: &Names) -> Option<Vec<Case>> {
    let sections = section.sections("switch");
    if sections.is_empty() || sections.len() > MAX_CASES {
        let help = "such as switch = [{ when = \"alarm.priority >= high\", jump = \"management\" }]";
        section.error(section.key_span("switch"), format!("a `switch` has 1 to {MAX_CASES} cases"), help);
        return None;
    }
    let mut cases = Vec::with_capacity(sections.len());
    let mut complete = true;
    for mut section in sections {
        let when = section.required_string("when").and_then(|text| book.condition(&section, &text));
        match (when, jump(&mut section, names)) {
            (Some(when), Some(jump)) => cases.push(Case { when, jump }),
            _ => complete = false,
        }
    }
    complete.then_some(cases)
}

/// Takes `jump`: the position of the step that it names.
fn jump(section: &mut Section<'_>, names: &Names) -> Option<usize> {
    let target = section.required_string("jump")?;
    let found = names.get(&target.value).map(|(position, _)| *position);
    if found.is_none() {
        let help = did_you_mean(&target, names.keys().map(String::as_str), "named steps of this pipeline");
        section.error(target.span.clone(), format!("unknown step `{}`", target.value), help);
    }
    found
}

fn set(section: &mut Section<'_>, book: &Book) -> Option<SetTag> {
    if !section.has("tag") {
        section.missing("tag");
    }
    if !section.has("value") {
        section.missing("value");
    }
    let Some((_, entry)) = target(section, "tag", book) else {
        section.skip("value");
        return None;
    };
    let value = entry.value_type.and_then(|wanted| section.value("value", wanted));
    Some(SetTag { tag: entry.id, value: value?.value })
}

/// `script = "scripts/x.rhai"`, or a table with more to say.
fn script(section: &mut Section<'_>, book: &Book) -> Option<ScriptStep> {
    if !section.has_table("script") {
        let script = super::script::script(section, "script", book, Use::Pipeline)?;
        return Some(ScriptStep { script, timeout: SCRIPT_TIME });
    }
    let mut table = section.section("script")?;
    if !table.has("file") {
        table.missing("file");
    }
    let timeout = table.duration("timeout", Duration::from_secs(1)..=SCRIPT_TIME).unwrap_or(SCRIPT_TIME);
    let script = super::script::script(&mut table, "file", book, Use::Pipeline)?;
    Some(ScriptStep { script, timeout })
}

/// A loop in which nothing waits would be walked through `max_passes` times in one instant.
fn note_circles(pipeline: &PipelineDef, sections: &[Section<'_>]) {
    let waits = |step: usize| matches!(pipeline.steps[step].action, Action::Delay(_));
    for (step, section) in sections.iter().enumerate().filter(|(step, _)| !waits(*step)) {
        let mut seen = vec![false; sections.len()];
        let mut open: Vec<usize> = pipeline.next_steps(step).into_iter().filter(|target| *target <= step).collect();
        while let Some(next) = open.pop() {
            if next == step {
                let help = "add a `delay` step to the loop: a `notify` step ends as soon as the last one was told";
                section.error(place_of_jump(section), "this jump makes a loop in which nothing waits", help);
                break;
            }
            if !waits(next) && !std::mem::replace(&mut seen[next], true) {
                open.extend(pipeline.next_steps(next));
            }
        }
    }
}

fn note_unreachable(pipeline: &PipelineDef, sections: &[Section<'_>]) {
    let reachable = pipeline.reachable(0);
    if let Some((section, _)) = sections.iter().zip(reachable).find(|(_, reachable)| !reachable) {
        section.warning(
            section.span(),
            "no way leads to this step",
            "the step before it jumps away: name this one and jump to it",
        );
    }
}

fn place_of_jump(section: &Section<'_>) -> std::ops::Range<usize> {
    section.key_span(if section.has("switch") { "switch" } else { "jump" })
}
