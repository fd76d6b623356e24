//! `[[pipeline]]`: the steps that an alarm event walks through.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    book::{Book, Kind, Named},
    problems::Place,
    reader::Section,
};
use crate::engine::plan::{Action, Consolidate, Notify, Order, PipelineDef, Step};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const DAY: Duration = minutes(1440);

/// What a step may do now.
const POSSIBLE: &str = "possible now are `notify` and `delay`";

/// All `[[pipeline]]`.
pub(super) fn pipelines(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Arc<PipelineDef>> {
    let mut pipelines = BTreeMap::new();
    for Named { name, mut section } in named {
        let mut steps_by_name = HashMap::new();
        if !section.has("step") {
            section.error(section.span(), "the pipeline has no step", "add [[pipeline.step]] with `notify` or `delay`");
        }
        let steps =
            section.sections("step").into_iter().filter_map(|mut section| step(&mut section, book, &mut steps_by_name)).collect();
        let def = PipelineDef {
            end_on_clear: section.boolean("end_on_clear").unwrap_or(true),
            max_passes: section.integer("max_passes", 1..=100).and_then(|value| u32::try_from(value).ok()).unwrap_or(10),
            steps,
            name: name.clone(),
        };
        pipelines.insert(name, Arc::new(def));
    }
    pipelines
}

fn step(section: &mut Section<'_>, book: &Book, names: &mut HashMap<String, Place>) -> Option<Step> {
    let name = section.string("name");
    if let Some(name) = &name {
        let place = section.place(name.span.clone());
        match names.get(&name.value) {
            Some(first) => {
                let message = format!("step `{}` is defined twice in its pipeline", name.value);
                section.error_beside(name.span.clone(), message, "rename one of them", (first.clone(), "first here"));
            }
            None => {
                names.insert(name.value.clone(), place);
            }
        }
    }
    let later = ["switch", "set", "script", "jump"];
    let refused = later.iter().any(|key| section.has(key));
    for key in later {
        section.not_yet(key, POSSIBLE);
    }
    let action = match (section.has("notify"), section.has("delay")) {
        (true, false) => section.section("notify").and_then(|mut section| notify(&mut section, book)).map(Action::Notify),
        (false, true) => section.duration("delay", Duration::from_secs(1)..=DAY * 30).map(Action::Delay),
        (true, true) => {
            section.error(section.key_span("delay"), "a step does one thing", "make two steps of it");
            section.ignore_rest();
            None
        }
        (false, false) => {
            if !refused {
                section.error(section.span(), "the step does nothing", POSSIBLE);
            }
            None
        }
    };
    Some(Step { name: name.map(|name| name.value), action: action? })
}

fn notify(section: &mut Section<'_>, book: &Book) -> Option<Notify> {
    let second = Duration::from_secs(1);
    let profile = book.required_reference(Kind::Profile, section, "profile");
    let roster = book.required_reference(Kind::Roster, section, "roster");
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
