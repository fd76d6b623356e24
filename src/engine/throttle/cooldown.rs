//! Cooldown: the least time between two repeats of one key. It holds repeats back, never a first text (SPEC 7.3).

use uuid::Uuid;

use super::compose::About;
use crate::{
    engine::{
        Engine, Timer,
        plan::{Priority, ProfileDef},
        template,
    },
    tag::Timestamp,
};

/// What a notify step does with one request, besides sending it at once.
pub(super) enum Hold {
    None,
    Until(Timestamp),
    Drop,
}

impl Engine {
    /// Looks at the cooldown of one request and starts it where the text may go.
    pub(super) fn cooldown(
        &mut self,
        path: &str,
        index: usize,
        profile: &ProfileDef,
        step: &str,
        number: &str,
        event: Uuid,
    ) -> Hold {
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

    pub(in crate::engine) fn cooldown_over(&mut self, key: String) {
        self.cooldowns.remove(&key);
        self.dirty.cooldowns.insert(key);
    }
}
