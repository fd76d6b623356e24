//! Cooldown: the least time between two repeats of one key. It holds repeats back, never a first text (SPEC 7.3); only a key
//! that several alarms share makes a first text wait, for the next one to that contact.

use super::{Wish, compose::About};
use crate::{
    engine::{
        Engine, Timer,
        plan::{Priority, ProfileDef},
        template,
    },
    tag::Timestamp,
};

/// What the cooldown says to one wish.
pub(super) enum Cooldown {
    /// It may go; the key begins to cool down when it does.
    Free(Option<String>),
    /// A first text, held by a key that it shares.
    Shared { until: Timestamp, key: String },
    /// A repeat that comes too early.
    Repeat,
}

impl Engine {
    pub(super) fn cooldown(&self, wish: &Wish<'_>, index: usize, step: &str) -> Cooldown {
        let Wish { item, profile, number, .. } = wish;
        if wish.priority == Priority::Critical || self.knob(&profile.cooldown).is_zero() {
            return Cooldown::Free(None);
        }
        let path = &item.alarm;
        let key = match &profile.cooldown_key {
            Some(template) => {
                let event = self.alarms[index].alarm.newest().map(About::from);
                let render = |context: &template::Context<'_>| template::render(template, context);
                let key = self.with_context(index, event, Some(number), &profile.parameters, render);
                format!("{} {}", profile.name, key.unwrap_or_else(|_| format!("{path} {step}")))
            }
            None => format!("{} {step} {path} {number}", profile.name),
        };
        let run = self.runs.get(path);
        let is_repeat = || run.is_some_and(|run| run.told.iter().any(|told| told.number == *number && told.event == item.event));
        match self.cooldowns.get(&key).copied().filter(|until| *until > self.now) {
            Some(_) if is_repeat() => Cooldown::Repeat,
            Some(until) if profile.cooldown_key.is_some() => Cooldown::Shared { until, key },
            _ => Cooldown::Free(Some(key)),
        }
    }

    /// A text with this key goes now, or is gathered.
    pub(super) fn start_cooldown(&mut self, key: String, profile: &ProfileDef) {
        let until = self.now + self.knob(&profile.cooldown);
        self.cooldowns.insert(key.clone(), until);
        self.timers.set(&Timer::Cooldown(key.clone()), Some(until));
        self.dirty.cooldowns.insert(key);
    }

    pub(in crate::engine) fn cooldown_over(&mut self, key: String) {
        self.cooldowns.remove(&key);
        self.dirty.cooldowns.insert(key);
    }
}
