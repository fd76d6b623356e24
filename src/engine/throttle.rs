//! Few, clear messages: many alarm events in one text (consolidation), and the least time between two repeats (cooldown).

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Engine, Timer,
    alarm::{AlarmEvent, Captured},
    io::{OutboxId, Via},
    length::{self, DigestItem},
    outbox::{Item, Job, Purpose, Text, TextState},
    pipeline::Run,
    plan::{Consolidate, Knob, Notify, Priority, ProfileDef},
    record::AuditKind,
    template,
};
use crate::tag::{TagId, Timestamp};

/// Alarm events that one text may stand for; the next ones begin a text of their own.
const MAX_ITEMS: usize = 20_000;
/// Alarms by name in a text of a step that does not consolidate but whose texts meet in a shared cooldown.
const DEFAULT_NAMED: u32 = 5;

/// Texts to one contact through one profile that are gathered before they go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BatchKey {
    pub number: String,
    pub profile: String,
    pub critical: bool,
}

#[derive(Debug)]
pub(super) struct Batch {
    user: String,
    items: Vec<Item>,
    priority: Priority,
    named: u32,
    due: Timestamp,
}

/// The last text of a consolidated contact: `every` holds back what is not more urgent.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastText {
    at: Timestamp,
    priority: Priority,
}

/// What a notify step does with one request, besides sending it at once.
enum Hold {
    None,
    Until(Timestamp),
    Drop,
}

impl Engine {
    /// A notify step wants `number` to be told of the alarm at `path`.
    pub(super) fn ask_for_text(&mut self, path: &str, index: usize, notify: &Notify, step: &str, user: &str, number: &str) {
        let priority = self.plan.alarms[index].priority;
        let Some(profile) = self.plan.profiles.get(&notify.profile).cloned() else { return };
        let Some(event) = self.event_to_tell(path) else { return };
        if let Some(row) = self.pending_text(path, event, number) {
            self.bind_waiting(path, number, row);
            return;
        }
        let item = Item { alarm: path.into(), code: self.code_of(path).to_owned(), event, named: false };
        match self.cooldown(path, index, &profile, step, number, event) {
            Hold::Drop => {
                self.audit(
                    AuditKind::MessageNotSent,
                    user,
                    Via::System,
                    number,
                    format!("{path} by {}", profile.name),
                    "cooldown",
                    vec![event],
                    None,
                );
                // The contact knows of the event already: the step goes on as if this repeat had been accepted.
                let now = self.now;
                if let Some(waiting) = self.runs.get_mut(path).and_then(|run| run.gathering_mut(number)) {
                    waiting.accepted = Some(now);
                }
            }
            Hold::Until(due) => self.gather(item, &profile, DEFAULT_NAMED, due, priority, user, number),
            Hold::None => match notify.consolidate.filter(|_| priority < Priority::Critical) {
                Some(rules) => {
                    let due = self.gathered_until(rules, &profile.name, number, priority);
                    self.gather(item, &profile, rules.n, due, priority, user, number);
                }
                None => self.send_batch(&profile, user, number, priority, vec![item], 1),
            },
        }
    }

    /// A text to `number` that will name this event or is on its way with it, such as one of an earlier round while Twilio is
    /// away. One that waits is written anew at its next attempt, of the newest event.
    fn pending_text(&self, path: &str, event: Uuid, number: &str) -> Option<OutboxId> {
        let run = self.runs.get(path)?;
        let names_it = |row: &OutboxId| {
            let Some(text) = self.outbox.text(*row).filter(|text| text.to == number && text.state.is_open()) else {
                return false;
            };
            let waits = matches!(text.state, TextState::Queued);
            let Purpose::Alarm { items, .. } = &text.purpose else { return false };
            items.iter().any(|item| (waits || item.event == event) && item.code == run.code && &*item.alarm == path)
        };
        run.rows.iter().rev().copied().find(names_it)
    }

    fn bind_waiting(&mut self, path: &str, number: &str, row: OutboxId) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return };
        run.note_row(row);
        if let Some(waiting) = run.gathering_mut(number) {
            (waiting.row, waiting.since) = (Some(row), now);
        }
    }

    fn gathered_until(&self, rules: Consolidate, profile: &str, number: &str, priority: Priority) -> Timestamp {
        let soon = self.now + rules.wait;
        let last = self.last_texts.get(&(number.to_owned(), profile.to_owned()));
        match last.filter(|last| priority <= last.priority) {
            Some(last) => soon.max(last.at + rules.every),
            None => soon,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn gather(
        &mut self,
        item: Item,
        profile: &ProfileDef,
        named: u32,
        due: Timestamp,
        priority: Priority,
        user: &str,
        number: &str,
    ) {
        let critical = priority == Priority::Critical;
        let key = BatchKey { number: number.to_owned(), profile: profile.name.clone(), critical };
        let batch = self.batches.entry(key.clone()).or_insert_with(|| Batch {
            user: user.to_owned(),
            items: Vec::new(),
            priority,
            named,
            due,
        });
        batch.priority = batch.priority.max(priority);
        batch.due = batch.due.min(due);
        batch.items.push(item);
        let due = if batch.items.len() >= MAX_ITEMS { self.now } else { batch.due };
        self.timers.set(&Timer::Batch(key), Some(due));
    }

    /// The time of a gathered text has come.
    pub(super) fn batch_due(&mut self, key: &BatchKey) {
        let Some(batch) = self.batches.remove(key) else { return };
        let Some(profile) = self.plan.profiles.get(&key.profile).cloned() else {
            for item in batch.items {
                if let Some(waiting) = self.runs.get_mut(&item.alarm).and_then(|run| run.gathering_mut(&key.number)) {
                    waiting.failed = true;
                }
                self.dirty.paths.insert(item.alarm);
            }
            return;
        };
        let items: Vec<_> = batch.items.into_iter().filter(|item| self.wants_telling(item)).collect();
        if items.is_empty() {
            return;
        }
        let at = self.now;
        self.last_texts.insert((key.number.clone(), key.profile.clone()), LastText { at, priority: batch.priority });
        self.send_batch(&profile, &batch.user, &key.number, batch.priority, items, batch.named);
    }

    fn send_batch(
        &mut self,
        profile: &ProfileDef,
        user: &str,
        number: &str,
        priority: Priority,
        mut items: Vec<Item>,
        named: u32,
    ) {
        // The most urgent ones are named; the sort is stable, so older ones come first among equals.
        items.sort_by_cached_key(|item| std::cmp::Reverse(self.plan.alarm(&item.alarm).map(|def| def.priority)));
        for item in items.iter_mut().take(named.max(1) as usize) {
            item.named = true;
        }
        let paths: Vec<Arc<str>> = items.iter().map(|item| Arc::clone(&item.alarm)).collect();
        let purpose = Purpose::Alarm { profile: profile.name.clone(), priority, items };
        let text = Text::new(&profile.twilio, profile.channel, number, Some(user.to_owned()), purpose, self.now);
        let row = self.enqueue(Text { audit: profile.audit, ..text });
        for path in paths {
            self.bind_waiting(&path, number, row);
            self.dirty.paths.insert(path);
        }
    }

    /// Looks at the cooldown of one request and starts it where the text may go.
    fn cooldown(&mut self, path: &str, index: usize, profile: &ProfileDef, step: &str, number: &str, event: Uuid) -> Hold {
        let length = self.knob(&profile.cooldown);
        if length.is_zero() || self.plan.alarms[index].priority == Priority::Critical {
            return Hold::None;
        }
        let key = match &profile.cooldown_key {
            Some(template) => {
                let event = self.alarms[index].alarm.newest().map(About::from);
                let render = |context: &template::Context<'_>| template::render(template, context);
                let key = self.with_context(index, event, Some(number), &profile.parameters, render);
                format!("{} {}", profile.name, key.unwrap_or_else(|_| format!("{path} {step}")))
            }
            None => format!("{} {step} {path} {number}", profile.name),
        };
        let held_until = self.cooldowns.get(&key).copied().filter(|until| *until > self.now);
        let repeat =
            self.runs.get(path).is_some_and(|run| run.told.iter().any(|told| told.number == number && told.event == event));
        match held_until {
            Some(_) if repeat => Hold::Drop,
            Some(until) if profile.cooldown_key.is_some() => Hold::Until(until),
            _ => {
                self.cooldowns.insert(key.clone(), self.now + length);
                self.timers.set(&Timer::Cooldown(key.clone()), Some(self.now + length));
                self.dirty.cooldowns.insert(key);
                Hold::None
            }
        }
    }

    pub(super) fn cooldown_over(&mut self, key: String) {
        self.cooldowns.remove(&key);
        self.dirty.cooldowns.insert(key);
    }

    /// True while at least one event of a text wants to be told.
    pub(super) fn still_needed(&self, row: OutboxId) -> bool {
        match self.outbox.text(row).map(|text| &text.purpose) {
            Some(Purpose::Alarm { items, .. }) => items.iter().any(|item| self.wants_telling(item)),
            Some(Purpose::Answer { .. } | Purpose::Manual) => true,
            None => false,
        }
    }

    /// Texts of one alarm that wait in the outbox may have become needless. A text may stand for thousands of alarms: all of them
    /// are looked at once, at the end of the step.
    pub(super) fn doubt_texts(&mut self, path: &str) {
        let rows = self.runs.get(path).into_iter().flat_map(|run| &run.rows);
        let waiting = |row: &&OutboxId| self.outbox.text(**row).is_some_and(|text| matches!(text.state, TextState::Queued));
        self.dirty.doubtful.extend(rows.filter(waiting));
    }

    /// Cancels the texts that no alarm needs any more.
    pub(super) fn cancel_needless(&mut self) {
        for row in std::mem::take(&mut self.dirty.doubtful) {
            if !self.still_needed(row) {
                self.cancel(row, "superseded");
            }
        }
    }

    /// Writes the text of a row, of what is still needed now.
    pub(super) fn compose(&mut self, row: OutboxId) {
        let Some(text) = self.outbox.text(row) else { return };
        let number = text.to.clone();
        let Purpose::Alarm { profile, priority, items } = text.purpose.clone() else { return };
        let Some(profile) = self.plan.profiles.get(&profile).cloned() else { return };
        let named = items.iter().filter(|item| item.named).count().max(1);
        let mut items: Vec<Item> = items.into_iter().filter(|item| self.wants_telling(item)).collect();
        for item in &mut items {
            item.event = self.event_to_tell(&item.alarm).unwrap_or(item.event);
        }
        let (body, listed) = self.body(&profile, &items, named, &number);
        for (place, item) in items.iter_mut().enumerate() {
            item.named = place < listed;
        }
        if let Some(super::outbox::Row { job: Job::Text(text), .. }) = self.outbox.rows.get_mut(&row) {
            text.body = body;
            text.purpose = Purpose::Alarm { profile: profile.name.clone(), priority, items };
        }
    }

    /// The body for `items`, and how many of them, from the first on, it names.
    fn body(&self, profile: &ProfileDef, items: &[Item], named: usize, number: &str) -> (String, usize) {
        let limit = self.knob(&profile.length_limit);
        match items {
            [] => (String::new(), 0),
            [item] => {
                let code = self.code_of(&item.alarm);
                (length::fit(&self.sentence(profile, item, number), Some(code), limit, profile.fit), 1)
            }
            many => {
                let names: Vec<String> = many.iter().take(named).map(|item| self.short_line(&item.alarm)).collect();
                let listed: Vec<DigestItem<'_>> =
                    names.iter().zip(many).map(|(name, item)| DigestItem { name, code: self.code_of(&item.alarm) }).collect();
                let digest = length::digest(&listed, named, many.len(), limit, profile.fit);
                (digest.text, digest.listed)
            }
        }
    }

    /// The profile's own words, else the alarm's, else the Twilio profile's.
    fn sentence(&self, profile: &ProfileDef, item: &Item, number: &str) -> String {
        let Some(index) = self.plan.alarm_index.get(&item.alarm).copied() else { return String::new() };
        let default = self.plan.twilio.get(&profile.twilio).map_or("", |twilio| twilio.default_message.as_str());
        let own = &self.plan.alarms[index].message;
        let source = profile.message.as_deref().unwrap_or(if own.is_empty() { default } else { own });
        let event = self.alarms[index].alarm.newest().map(About::from);
        let render = |context: &template::Context<'_>| template::render_or_fallback(source, context).0;
        self.with_context(index, event, Some(number), &profile.parameters, render)
    }

    fn short_line(&self, path: &str) -> String {
        let priority = self.plan.alarm(path).map_or("", |def| def.priority.name());
        format!("{} {}", priority.to_uppercase(), short_name(path))
    }

    pub(super) fn code_of(&self, path: &str) -> &str {
        self.runs.get(path).map_or("", |run| run.code.as_str())
    }

    /// Everything that a template may speak of, for an event of the alarm at `index` and a message to `number`.
    pub(super) fn with_context<R>(
        &self,
        index: usize,
        event: Option<About<'_>>,
        number: Option<&str>,
        parameters: &std::collections::BTreeMap<String, super::plan::Parameter>,
        use_it: impl FnOnce(&template::Context<'_>) -> R,
    ) -> R {
        let def = &self.plan.alarms[index];
        let alarm = &self.alarms[index].alarm;
        let tag = self.plan.tag(def.tag);
        let user = number.and_then(|number| self.plan.user_by_number(number));
        let read = |name: template::TagName<'_>| {
            let id = match name {
                template::TagName::Path(path) => self.tag_by_path(path)?,
                template::TagName::Id(id) => id,
            };
            let reading = self.reading(id);
            reading.status.is_usable().then_some(reading.value)
        };
        let captured = event.map(|event| event.captured);
        let context = template::Context {
            alarm: template::AlarmText {
                path: &def.path,
                name: &def.name,
                tag: tag.map_or("", |tag| &*tag.path),
                value: captured.map_or(&crate::tag::Value::Null, |captured| &captured.value),
                unit: tag.and_then(|tag| tag.unit.as_deref()).unwrap_or(""),
                priority: def.priority,
                state: alarm.state_name(),
                message: captured.map_or(&def.message, |captured| &captured.message),
                active_time: event.map(|event| event.raised).unwrap_or_default(),
                event: event.and_then(|event| event.id),
                data: captured.map_or(&def.data, |captured| &captured.data),
                code: self.code_of(&def.path),
            },
            user: user.map_or("", |user| user.name.as_str()),
            time_zone: user.and_then(|user| user.time_zone.as_deref()),
            site: &self.plan.site,
            parameters,
            read: &read,
        };
        use_it(&context)
    }

    /// The present value of a setting.
    pub(super) fn knob<T: Copy + FromReading>(&self, knob: &Knob<T>) -> T {
        match knob {
            Knob::Fixed(value) => *value,
            Knob::Tag { tag, fallback } => T::from_reading(self, *tag).unwrap_or(*fallback),
        }
    }
}

/// The alarm event that a template speaks of.
#[derive(Clone, Copy)]
pub(super) struct About<'e> {
    pub captured: &'e Captured,
    pub raised: Timestamp,
    /// `None` while the event is only about to begin.
    pub id: Option<Uuid>,
}

impl<'e> From<&'e AlarmEvent> for About<'e> {
    fn from(event: &'e AlarmEvent) -> Self {
        Self { captured: &event.captured, raised: event.raised, id: Some(event.id) }
    }
}

/// A setting that a tag may give.
pub(super) trait FromReading: Sized {
    fn from_reading(engine: &Engine, tag: TagId) -> Option<Self>;
}

impl FromReading for bool {
    fn from_reading(engine: &Engine, tag: TagId) -> Option<Self> {
        let reading = engine.reading(tag);
        reading.value.as_bool().filter(|_| reading.status.is_usable())
    }
}

impl FromReading for u32 {
    fn from_reading(engine: &Engine, tag: TagId) -> Option<Self> {
        let reading = engine.reading(tag);
        let number = reading.value.as_i128().filter(|_| reading.status.is_usable())?;
        number.try_into().ok().filter(|number| (20..=1600).contains(number))
    }
}

/// Seconds, 0 to 900.
impl FromReading for Duration {
    fn from_reading(engine: &Engine, tag: TagId) -> Option<Self> {
        let reading = engine.reading(tag);
        let seconds = reading.value.as_f64().filter(|_| reading.status.is_usable())?;
        (0.0..=900.0).contains(&seconds).then(|| Self::from_secs_f64(seconds))
    }
}

impl Run {
    /// The contact's entry that has no text yet.
    pub(super) fn gathering_mut(&mut self, number: &str) -> Option<&mut super::pipeline::Waiting> {
        match &mut self.stage {
            super::pipeline::Stage::Notify(stage) => {
                stage.waiting.iter_mut().rev().find(|waiting| waiting.number == number && waiting.row.is_none())
            }
            _ => None,
        }
    }
}

/// An alarm's path without the fixed middle: `Plant/Line1/TankLevel/HighHigh`.
pub(super) fn short_name(path: &str) -> String {
    match path.rsplit_once("/Alarms/") {
        Some((tag, name)) => format!("{tag}/{name}"),
        None => path.to_owned(),
    }
}
