//! Values, sources, and what follows from them: derived tags, flanks, acknowledgements by the PLC, communication loss.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Engine, Timer,
    alarm::{Captured, suppresses},
    detect::{self, Flank},
    io::{Actor, Via},
    plan::{Action, Knob, Mode, Origin, Parameter, ParameterSource, Plan, Role},
    template,
    throttle::About,
};
use crate::tag::{Reading, Sample, StatusCode, TagId, Timestamp, Value};

/// What depends on tags.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By id. Shared, so that the engine may change while it walks through them.
    tags: Vec<Option<Arc<Dependents>>>,
    /// Tags that alarms need, by source.
    needed: HashMap<Arc<str>, HashSet<TagId>>,
}

/// What depends on one tag: positions in the plan.
#[derive(Clone, Debug, Default)]
struct Dependents {
    own: Vec<usize>,
    limits: Vec<usize>,
    suppresses: Vec<usize>,
    acknowledges: Vec<usize>,
    confirms: Vec<usize>,
    /// Derived tags that read it.
    derived: Vec<TagId>,
    /// The source of a tag that alarms need.
    needed: Option<Arc<str>>,
}

impl Index {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut index = Self::default();
        for (place, def) in plan.alarms.iter().enumerate() {
            if !matches!(def.mode, Mode::System) {
                for tag in detect::inputs(def) {
                    index.need(plan, tag);
                    if tag == def.tag {
                        index.entry(tag).own.push(place);
                    } else if Some(tag) != def.suppressed_by {
                        index.entry(tag).limits.push(place);
                    }
                }
            }
            if let Some(tag) = def.suppressed_by {
                index.entry(tag).suppresses.push(place);
            }
            if let Some(from) = &def.ack_from {
                index.entry(from.tag).acknowledges.push(place);
            }
            if let Some((tag, _)) = def.write_back.as_ref().and_then(|rules| rules.confirm.as_ref()) {
                index.entry(*tag).confirms.push(place);
            }
        }
        for step in plan.pipelines.values().flat_map(|pipeline| &pipeline.steps) {
            if let Action::Switch(cases) = &step.action {
                // Read when a run comes by; nothing follows from a change.
                cases.iter().flat_map(|case| case.when.inputs()).for_each(|tag| _ = index.entry(*tag));
            }
        }
        for def in &plan.tags {
            if let Origin::Derived(expression) = &def.origin {
                for input in expression.inputs() {
                    index.entry(*input).derived.push(def.id);
                }
            }
        }
        index
    }

    fn entry(&mut self, tag: TagId) -> &mut Dependents {
        if self.tags.len() <= tag.index() {
            self.tags.resize(tag.index() + 1, None);
        }
        Arc::make_mut(self.tags[tag.index()].get_or_insert_default())
    }

    fn of(&self, tag: TagId) -> Option<&Arc<Dependents>> {
        self.tags.get(tag.index())?.as_ref()
    }

    fn need(&mut self, plan: &Plan, tag: TagId) {
        match plan.tag(tag).map(|def| &def.origin) {
            Some(Origin::Source { source, .. }) => {
                self.entry(tag).needed = Some(Arc::clone(source));
                self.needed.entry(Arc::clone(source)).or_default().insert(tag);
            }
            Some(Origin::Derived(expression)) => {
                for input in expression.inputs() {
                    self.need(plan, *input);
                }
            }
            Some(Origin::Memory { .. } | Origin::System) | None => {}
        }
    }
}

/// The last value of every tag that something depends on.
#[derive(Debug, Default)]
pub(super) struct Values {
    held: HashMap<TagId, Reading>,
    /// Tags whose source was lost since their last sample: what comes next is a re-evaluation, no change.
    stale: HashSet<TagId>,
}

/// A source as the engine knows it.
#[derive(Debug, Default)]
pub(super) struct SourceState {
    connected: bool,
    /// It was lost, or could not be reached; else it was only not connected yet.
    lost: bool,
    /// Needed tags that cannot be evaluated, and since when.
    unusable: BTreeMap<TagId, Timestamp>,
}

impl SourceState {
    /// It was connected and is no more, or could not be reached at all.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }
}

impl Engine {
    /// The tags whose samples the engine wants; all others stay in the table.
    #[must_use]
    pub fn watched(plan: &Plan) -> HashSet<TagId> {
        let index = Index::new(plan);
        let depended = (0..).zip(&index.tags).filter(|(_, dependents)| dependents.is_some());
        let mut watched: HashSet<TagId> = depended.map(|(id, _)| TagId(id)).collect();
        for profile in plan.profiles.values() {
            watched.extend(profile_tags(profile));
        }
        watched.extend(plan.twilio.values().filter_map(|twilio| tag_of(&twilio.disabled)));
        watched.extend(plan.events.values().flat_map(|event| parameter_tags(&event.parameters)));
        // Messages may speak of any tag: those are found by name when a message is written.
        for source in template_sources(plan) {
            let paths = template::references(source).tags;
            watched.extend(paths.iter().filter_map(|path| plan.tag_at(path)).map(|tag| tag.id));
        }
        watched
    }

    pub(super) fn samples(&mut self, samples: Vec<Sample>) {
        for sample in samples {
            self.sample(sample);
        }
    }

    fn sample(&mut self, sample: Sample) {
        let tag = sample.tag;
        let reading = Reading { value: sample.value, status: sample.status, source_time: sample.source_time, version: 0 };
        let stale = self.values.stale.remove(&tag);
        let before = self.values.held.insert(tag, reading.clone());
        let Some(dependents) = self.index.of(tag).cloned() else { return };
        if let Some(source) = &dependents.needed {
            self.note_usable(source, tag, reading.status);
        }
        for index in &dependents.own {
            self.detect(*index, true);
            self.follow_input(*index);
        }
        for index in &dependents.limits {
            self.detect(*index, false);
        }
        for index in &dependents.suppresses {
            self.suppress(*index);
        }
        for index in &dependents.acknowledges {
            let before = before.as_ref().filter(|before| !stale && before.status.is_usable());
            self.acknowledge_from_plc(*index, before.map(|before| &before.value), &reading);
        }
        for index in &dependents.confirms {
            self.confirm_seen(*index);
        }
        for derived in &dependents.derived {
            self.derive(*derived);
        }
    }

    /// Recomputes a derived tag; the plan has no cycles. Its time is that of the newest input.
    fn derive(&mut self, tag: TagId) {
        let plan = Arc::clone(&self.plan);
        let Some(def) = plan.tag(tag) else { return };
        let Origin::Derived(expression) = &def.origin else { return };
        let (value, status) = expression.evaluate_as(&|tag| self.reading(tag), def.value_type.data_type);
        let source_time = expression.inputs().iter().map(|input| self.reading(*input).source_time).max().unwrap_or(self.now);
        let sample = Sample { tag, value, status, source_time };
        let held = self.values.held.get(&tag);
        if held.is_some_and(|held| held.value == sample.value && held.status == sample.status) {
            return;
        }
        self.publish(sample.clone());
        self.sample(sample);
    }

    fn detect(&mut self, index: usize, own: bool) {
        let plan = Arc::clone(&self.plan);
        let def = &plan.alarms[index];
        let Some(tag) = plan.tag(def.tag) else { return };
        let reading = self.reading(def.tag);
        let connected = self.is_connected(def.tag);
        let now = self.now;
        let values = &self.values;
        let read = |tag: TagId| values.read(tag);
        let detector = &mut self.alarms[index].detector;
        let flank = if own {
            detector.sample(def, tag, &reading, &read, connected, now)
        } else {
            detector.limits_changed(def, tag, &reading, &read, connected, now)
        };
        match flank {
            Some(flank) => self.flank(index, flank),
            None => self.set_alarm_timer(index),
        }
    }

    pub(super) fn flank(&mut self, index: usize, flank: Flank) {
        let plan = Arc::clone(&self.plan);
        let def = &plan.alarms[index];
        let mut captured = Captured { value: self.reading(def.tag).value, message: def.message.clone(), data: def.data.clone() };
        if captured.message.contains('{') {
            let (words, problems) = self.own_words(index, &captured);
            self.note_wording(&def.path, "", &problems);
            captured.message = words;
        }
        let changes = self.alarms[index].alarm.flank(&plan, def, flank, captured, self.now, &mut self.random);
        self.dirty.engine = true;
        self.apply(index, &changes, None, "");
    }

    /// The alarm's message with its fields filled in, as it stands in the journal and on displays.
    fn own_words(&self, index: usize, captured: &Captured) -> (String, Vec<template::TemplateError>) {
        let none = BTreeMap::new();
        let event = About { captured, raised: self.now, id: None };
        let render = |context: &template::Context<'_>| template::render_or_fallback(&captured.message, context);
        self.with_context(index, Some(event), None, &none, render)
    }

    fn suppress(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(tag) = def.suppressed_by else { return };
        let reading = self.reading(tag);
        let changes = self.alarms[index].alarm.suppress(suppresses(&reading));
        if !changes.is_empty() {
            self.apply(index, &changes, None, "");
        }
    }

    /// Only a change to the value, seen while the event is open, acknowledges.
    fn acknowledge_from_plc(&mut self, index: usize, before: Option<&Value>, reading: &Reading) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(from) = &def.ack_from else { return };
        let changed =
            reading.status.is_usable() && reading.value == from.value && before.is_some_and(|before| *before != from.value);
        if changed && self.alarms[index].alarm.open_events().next().is_some() {
            let plc = Actor { name: "PLC".to_owned(), role: Role::Operator, via: Via::Plc };
            // An alarm with open events can always be acknowledged.
            _ = self.acknowledge_path(&def.path, super::AckScope::All, &plc, "");
        }
    }

    pub(super) fn source_up(&mut self, source: &Arc<str>) {
        let now = self.now;
        let state = self.sources.entry(Arc::clone(source)).or_default();
        (state.connected, state.lost) = (true, false);
        for since in state.unusable.values_mut() {
            *since = now;
        }
        for tag in self.index.needed.get(source).into_iter().flatten() {
            if !self.values.read(*tag).status.is_usable() {
                state.unusable.entry(*tag).or_insert(now);
            }
        }
        self.set_system(&format!("System/Gateway/Sources/{source}/Alarms/CommLoss"), None);
        self.watch_tags(source);
        self.hurry_write_backs(source);
    }

    /// Alarms of the source hold their state; the loss is one alarm.
    pub(super) fn source_down(&mut self, source: &Arc<str>, error: &str) {
        let state = self.sources.entry(Arc::clone(source)).or_default();
        (state.connected, state.lost) = (false, true);
        let lost: Vec<TagId> = self
            .plan
            .tags
            .iter()
            .filter(|def| matches!(&def.origin, Origin::Source { source: of, .. } if of == source))
            .map(|def| def.id)
            .collect();
        for tag in lost {
            self.values.stale.insert(tag);
            let Some(dependents) = self.index.of(tag).cloned() else { continue };
            for index in &dependents.own {
                self.alarms[*index].detector.source_lost();
                self.set_alarm_timer(*index);
                self.follow_input(*index);
            }
        }
        self.set_system(&format!("System/Gateway/Sources/{source}/Alarms/CommLoss"), Some(format!("{source} is lost: {error}")));
        self.watch_tags(source);
    }

    /// TagsUnusable: a needed tag cannot be evaluated although its source is connected (SPEC 4).
    pub(super) fn watch_tags(&mut self, source: &Arc<str>) {
        let after = self.plan.alarm_rules.unusable_after;
        let Some(state) = self.sources.get(source) else { return };
        let blind: Vec<TagId> = if state.connected {
            state.unusable.iter().filter(|(_, since)| self.now.since(**since) >= after).map(|(tag, _)| *tag).collect()
        } else {
            Vec::new()
        };
        let next = state.unusable.values().map(|since| *since + after).filter(|due| *due > self.now && state.connected).min();
        self.timers.set(&Timer::Source(Arc::clone(source)), next);
        let text = (!blind.is_empty()).then(|| {
            let names: Vec<String> = blind.iter().take(5).map(|tag| self.path_of(*tag)).collect();
            format!("{} tags that alarms need cannot be evaluated: {}", blind.len(), names.join(", "))
        });
        self.set_system(&format!("System/Gateway/Sources/{source}/Alarms/TagsUnusable"), text);
    }

    fn note_usable(&mut self, source: &Arc<str>, tag: TagId, status: StatusCode) {
        let now = self.now;
        let Some(state) = self.sources.get_mut(source) else {
            self.sources.insert(Arc::clone(source), SourceState::default());
            return self.note_usable(source, tag, status);
        };
        let changed = if status.is_usable() {
            state.unusable.remove(&tag).is_some()
        } else {
            let new = !state.unusable.contains_key(&tag);
            state.unusable.entry(tag).or_insert(now);
            new
        };
        if changed {
            // Once a step: the first samples after a start change as many tags as there are.
            self.dirty.sources.insert(Arc::clone(source));
        }
    }

    /// Raises (with its words) or clears a system alarm.
    pub(super) fn set_system(&mut self, path: &str, active: Option<String>) {
        let Some(index) = self.plan.alarm_index.get(path).copied() else { return };
        if self.alarms[index].alarm.state().is_active() == active.is_some() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let def = &plan.alarms[index];
        let flank = if active.is_some() { Flank::Raise { initial: false } } else { Flank::Clear };
        let words = active.unwrap_or_default();
        let captured = Captured { value: Value::Null, message: words, data: def.data.clone() };
        let changes = self.alarms[index].alarm.flank(&plan, def, flank, captured, self.now, &mut self.random);
        self.dirty.engine = true;
        self.apply(index, &changes, None, "");
    }

    pub(super) fn reading(&self, tag: TagId) -> Reading {
        self.values.read(tag)
    }

    pub(super) fn source_of(&self, tag: TagId) -> Option<Arc<str>> {
        match &self.plan.tag(tag)?.origin {
            Origin::Source { source, .. } => Some(Arc::clone(source)),
            Origin::Memory { .. } | Origin::Derived(_) | Origin::System => None,
        }
    }

    fn is_connected(&self, tag: TagId) -> bool {
        self.source_of(tag).is_none_or(|source| self.sources.get(&source).is_some_and(|state| state.connected))
    }

    pub(super) fn path_of(&self, tag: TagId) -> String {
        self.plan.tag(tag).map(|def| def.path.to_string()).unwrap_or_default()
    }

    pub(super) fn tag_by_path(&self, path: &str) -> Option<TagId> {
        self.plan.tag_at(path).map(|def| def.id)
    }

    pub(super) fn value_text(&self, index: usize) -> String {
        let def = &self.plan.alarms[index];
        if matches!(def.mode, Mode::System) { String::new() } else { self.reading(def.tag).value.to_string() }
    }

    /// After a start or a reload: every derived tag anew, every alarm against what is known.
    pub(super) fn reevaluate(&mut self) {
        let derived: Vec<TagId> =
            self.plan.tags.iter().filter(|def| matches!(def.origin, Origin::Derived(_))).map(|def| def.id).collect();
        for tag in derived {
            self.derive(tag);
        }
        for index in 0..self.plan.alarms.len() {
            let def = Arc::clone(&self.plan.alarms[index]);
            if self.values.held.contains_key(&def.tag) && !self.values.stale.contains(&def.tag) {
                self.detect(index, true);
            }
            if def.suppressed_by.is_some() {
                self.suppress(index);
            }
        }
    }
}

impl Values {
    pub(super) fn read(&self, tag: TagId) -> Reading {
        let unread = || Reading { status: StatusCode::BAD_WAITING_FOR_INITIAL_DATA, ..Reading::default() };
        self.held.get(&tag).cloned().unwrap_or_else(unread)
    }
}

fn profile_tags(profile: &super::plan::ProfileDef) -> Vec<TagId> {
    let knobs = [tag_of(&profile.length_limit), tag_of(&profile.cooldown), tag_of(&profile.disabled)];
    knobs.into_iter().flatten().chain(parameter_tags(&profile.parameters)).collect()
}

fn parameter_tags(parameters: &BTreeMap<String, Parameter>) -> impl Iterator<Item = TagId> {
    parameters.values().filter_map(|parameter| match parameter.source {
        ParameterSource::Tag(tag) => Some(tag),
        _ => None,
    })
}

fn template_sources(plan: &Plan) -> impl Iterator<Item = &str> {
    let profiles =
        plan.profiles.values().flat_map(|profile| [profile.message.as_deref(), profile.cooldown_key.as_deref()]).flatten();
    let alarms = plan.alarms.iter().map(|def| def.message.as_str());
    let events = plan.events.values().filter_map(|event| event.message.as_deref());
    profiles.chain(alarms).chain(events).filter(|source| source.contains("tags"))
}

fn tag_of<T>(knob: &Knob<T>) -> Option<TagId> {
    match knob {
        Knob::Tag { tag, .. } => Some(*tag),
        Knob::Fixed(_) => None,
    }
}
