//! What a text says: one alarm in the words of its profile, or a list of many.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use crate::{
    engine::{
        Engine,
        alarm::{AlarmEvent, Captured},
        io::OutboxId,
        length::{self, DigestItem},
        outbox::{Item, Job, Purpose, Row},
        pipeline::alarm_of,
        plan::{Channel, Knob, Parameter, ProfileDef},
        template::{self, AlarmText, Subject, TemplateError},
    },
    tag::{TagId, Timestamp, Value},
};

impl Engine {
    /// Writes the text of a row, of what is still needed now.
    pub(in crate::engine) fn compose(&mut self, row: OutboxId) {
        let Some(text) = self.outbox.text(row) else { return };
        let number = text.to.clone();
        let Purpose::Alarm { profile, priority, items } = text.purpose.clone() else { return };
        let Some(profile) = self.plan.profiles.get(&profile).cloned() else { return };
        let user = text.user.clone().unwrap_or_default();
        let named = items.iter().filter(|item| item.named).count().max(1);
        let (mut items, gone): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| self.wants_telling(item));
        self.no_longer_needed(&user, &number, &gone);
        for item in &mut items {
            item.event = self.event_to_tell(&item.alarm).unwrap_or(item.event);
        }
        let (body, listed, problems) = match profile.channel {
            Channel::Sms => self.body(&profile, &items, named, &number, self.heading(&number, row)),
            Channel::Voice => (self.call_line(&items), items.len(), Vec::new()),
        };
        if let Some(item) = items.first() {
            self.note_wording(&item.alarm, &profile.name, &problems);
        }
        for (place, item) in items.iter_mut().enumerate() {
            item.named = place < listed;
        }
        if let Some(Row { job: Job::Text(text), .. }) = self.outbox.rows.get_mut(&row) {
            text.body = body;
            text.purpose = Purpose::Alarm { profile: profile.name.clone(), priority, items };
        }
    }

    /// The body for `items`, how many of them, from the first on, it names, and what was wrong with its wording.
    fn body(
        &self,
        profile: &ProfileDef,
        items: &[Item],
        named: usize,
        number: &str,
        heading: &str,
    ) -> (String, usize, Vec<TemplateError>) {
        let limit = self.knob(&profile.length_limit);
        match items {
            [] => (String::new(), 0, Vec::new()),
            [item] => {
                let code = self.code_of(&item.alarm);
                let (sentence, problems) = self.sentence(profile, &item.alarm, number);
                (length::fit(&format!("{heading}{sentence}"), Some(code), limit, profile.fit), 1, problems)
            }
            many => {
                let names: Vec<String> = many.iter().take(named).map(|item| self.short_line(&item.alarm)).collect();
                let listed: Vec<DigestItem<'_>> =
                    names.iter().zip(many).map(|(name, item)| DigestItem { name, code: self.code_of(&item.alarm) }).collect();
                let digest = length::digest(heading, &listed, named, many.len(), limit, profile.fit);
                (digest.text, digest.listed, Vec::new())
            }
        }
    }

    /// The profile's own words, else the alarm's, else the Twilio profile's; and what is wrong with them. That an alarm is over is
    /// said before them, unless they speak of its state themselves.
    pub(in crate::engine) fn sentence(&self, profile: &ProfileDef, alarm: &str, number: &str) -> (String, Vec<TemplateError>) {
        let Some(index) = self.index_of(alarm) else { return Default::default() };
        let default = self.plan.twilio.get(&profile.twilio).map_or("", |twilio| twilio.default_message.as_str());
        let own = &self.plan.alarms[index].message;
        let source = profile.message.as_deref().unwrap_or(if own.is_empty() { default } else { own });
        let event = self.alarms[index].alarm.newest().map(About::from);
        let follow = self.runs.get(alarm).and_then(|run| run.follows.as_ref());
        let render = |context: &template::Context<'_>| match context.subject {
            // A code would invite an acknowledgement.
            Subject::Alarm(about) if follow.is_some() => {
                let subject = Subject::Alarm(AlarmText { code: "", ..about });
                template::render_or_fallback(source, &template::Context { subject, chance: context.chance.clone(), ..*context })
            }
            _ => template::render_or_fallback(source, context),
        };
        let (sentence, problems) = self.with_context(index, event, Some(number), &profile.parameters, render);
        match follow.filter(|_| !source.contains("alarm.state")) {
            Some(follow) => (format!("{}: {sentence}", follow.words()), problems),
            None => (sentence, problems),
        }
    }

    pub(in crate::engine) fn short_line(&self, path: &str) -> String {
        let name = short_name(alarm_of(path));
        if let Some(follow) = self.runs.get(path).and_then(|run| run.follows.as_ref()) {
            return format!("{} {name}", follow.words());
        }
        let priority = self.plan.alarm(path).map_or("", |def| def.priority.name());
        format!("{} {name}", priority.to_uppercase())
    }

    /// What acknowledges it; empty for texts that tell that an alarm is over.
    pub(in crate::engine) fn code_of(&self, path: &str) -> &str {
        self.runs.get(path).filter(|run| !run.is_follow_up()).map_or("", |run| run.code.as_str())
    }

    /// Everything that a template may speak of, for an event of the alarm at `index` and a message to `number`.
    pub(in crate::engine) fn with_context<R>(
        &self,
        index: usize,
        event: Option<About<'_>>,
        number: Option<&str>,
        parameters: &BTreeMap<String, Parameter>,
        use_it: impl FnOnce(&template::Context<'_>) -> R,
    ) -> R {
        let def = &self.plan.alarms[index];
        let alarm = &self.alarms[index].alarm;
        let tag = self.plan.tag(def.tag);
        let user = number.and_then(|number| self.plan.user_by_number(number));
        let read = |name: template::TagName<'_>| self.read_for_messages(name);
        let captured = event.map(|event| event.captured);
        let context = template::Context {
            subject: template::Subject::Alarm(template::AlarmText {
                path: &def.path,
                name: &def.name,
                tag: tag.map_or("", |tag| &*tag.path),
                value: captured.map_or(&Value::Null, |captured| &captured.value),
                unit: tag.and_then(|tag| tag.unit.as_deref()).unwrap_or(""),
                priority: def.priority,
                state: alarm.state_name(),
                message: captured.map_or(&def.message, |captured| &captured.message),
                active_time: event.map(|event| event.raised).unwrap_or_default(),
                event: event.and_then(|event| event.id),
                data: captured.map_or(&def.data, |captured| &captured.data),
                code: self.code_of(&def.path),
            }),
            user: user.map_or("", |user| user.name.as_str()),
            time_zone: user.and_then(|user| user.time_zone.as_deref()),
            site: &self.plan.site,
            parameters,
            chance: self.random.branch(self.now.ticks().unsigned_abs()),
            read: &read,
        };
        use_it(&context)
    }

    /// The present value of a tag, when it is usable.
    pub(in crate::engine) fn read_for_messages(&self, name: template::TagName<'_>) -> Option<Value> {
        let id = match name {
            template::TagName::Path(path) => self.tag_by_path(path)?,
            template::TagName::Id(id) => id,
        };
        let reading = self.reading(id);
        reading.status.is_usable().then_some(reading.value)
    }

    /// True while this Twilio profile sends nothing.
    pub(in crate::engine) fn is_disabled(&self, twilio: &str) -> bool {
        self.plan.twilio.get(twilio).is_some_and(|twilio| self.knob(&twilio.disabled))
    }

    /// The present value of a setting.
    pub(in crate::engine) fn knob<T: Copy + FromReading>(&self, knob: &Knob<T>) -> T {
        match knob {
            Knob::Fixed(value) => *value,
            Knob::Tag { tag, fallback } => T::from_reading(self, *tag).unwrap_or(*fallback),
        }
    }
}

/// The alarm event that a template speaks of.
#[derive(Clone, Copy)]
pub(in crate::engine) struct About<'e> {
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
pub(in crate::engine) trait FromReading: Sized {
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

/// An alarm's path without the fixed middle: `Plant/Line1/TankLevel/HighHigh`.
pub(in crate::engine) fn short_name(path: &str) -> String {
    match path.rsplit_once("/Alarms/") {
        Some((tag, name)) => format!("{tag}/{name}"),
        None => path.to_owned(),
    }
}
