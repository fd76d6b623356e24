//! The drill: a system alarm that tests the way to people end to end, and says so (SPEC 14).
//!
//! `Drill` is active while it runs. Somebody acknowledges in time: it has passed. Nobody does: `DrillFailed` is active until a
//! drill passes or somebody acknowledges that. A drill that was due while the program was stopped is not made up for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Engine, Timer,
    io::{Actor, Outcome, Via},
    people::{date_text, next_weekly},
    plan::DrillDef,
    record::AuditKind,
};
use crate::tag::{StatusCode, Timestamp, Value};

/// The alarm of a drill that runs.
pub(crate) const DRILL: &str = "System/Gateway/Alarms/Drill";
/// The alarm of one that nobody answered.
const FAILED: &str = "System/Gateway/Alarms/DrillFailed";
/// From one drill to the next at least; longer when alarms that come so soon again would be chatter, which is not told.
const PAUSE: Duration = Duration::from_secs(60);

/// What is kept of drills.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Drills {
    /// When the one that runs was started.
    running: Option<Timestamp>,
    /// When the last one was started.
    started: Timestamp,
    /// When the last one that passed was answered.
    passed: Timestamp,
    /// How the last one ended, for people.
    result: String,
}

impl Engine {
    /// Starts a drill; somebody asked for it.
    pub(super) fn start_drill(&mut self, by: &Actor) -> Result<String, Outcome> {
        let Some(def) = self.plan.drill.clone() else {
            return Err(Outcome::refused(StatusCode::BAD_INVALID_STATE, "there is no [drill] in the configuration"));
        };
        if self.drills.running.is_some() {
            return Err(Outcome::refused(StatusCode::BAD_INVALID_STATE, "a drill is running"));
        }
        let pause = self.plan.throttle.chatter.map_or(PAUSE, |chatter| chatter.per.max(PAUSE));
        if !self.drills.started.is_null() && self.now.since(self.drills.started) < pause {
            let words = format!("the last drill is less than {} old", minutes(pause));
            return Err(Outcome::refused(StatusCode::BAD_TOO_MANY_OPERATIONS, words));
        }
        if self.is_silenced(DRILL) {
            return Err(Outcome::refused(StatusCode::BAD_INVALID_STATE, "the alarm Drill is out of service or shelved"));
        }
        self.begin_drill(&def, by);
        Ok(format!("the drill has begun: somebody must acknowledge it within {}", minutes(def.answer_within)))
    }

    /// The time of a drill, or the end of the time for its answer.
    pub(super) fn drill_due(&mut self) {
        let Some(def) = self.plan.drill.clone() else { return };
        if let Some(started) = self.drills.running {
            if self.now >= started + def.answer_within {
                self.drill_failed(started, &def);
            }
        } else {
            let schedule = Actor { name: "schedule".to_owned(), role: super::plan::Role::Operator, via: Via::System };
            if let Err(refused) = self.start_drill(&schedule) {
                self.audit_drill("schedule", Via::System, &format!("not begun: {}", refused.message));
            }
        }
        self.set_drill_timer();
    }

    /// Somebody acknowledged one of the drill's two alarms.
    pub(super) fn drill_acknowledged(&mut self, path: &str, by: &Actor) {
        if path == FAILED {
            return self.set_system(FAILED, None);
        }
        let Some(started) = self.drills.running.filter(|_| path == DRILL) else { return };
        let result = format!("passed: acknowledged by {} after {} s", by.name, self.now.since(started).as_secs());
        self.drills.passed = self.now;
        self.end_drill(&by.name, by.via, result);
        self.set_system(FAILED, None);
    }

    /// After a start or reload: one that runs goes on, unless drills are no longer configured.
    pub(super) fn resume_drill(&mut self) {
        if self.plan.drill.is_none() && self.drills.running.is_some() {
            self.end_drill("", Via::System, "ended: [drill] is no longer configured".to_owned());
        }
        self.set_drill_timer();
        self.show_drill();
    }

    fn begin_drill(&mut self, def: &DrillDef, by: &Actor) {
        self.drills.running = Some(self.now);
        self.drills.started = self.now;
        self.dirty.engine = true;
        self.audit_drill(&by.name, by.via, "begun");
        self.set_system(DRILL, Some("This is a drill, nothing is wrong. Please acknowledge it like an alarm".to_owned()));
        self.timers.set(&Timer::Drill, Some(self.now + def.answer_within));
    }

    fn drill_failed(&mut self, started: Timestamp, def: &DrillDef) {
        let within = minutes(def.answer_within);
        self.end_drill("", Via::System, format!("failed: nobody acknowledged within {within}"));
        let zone = def.weekly.as_ref().and_then(|weekly| weekly.time_zone.as_deref());
        let began = date_text(started, zone);
        self.set_system(FAILED, Some(format!("Nobody acknowledged the drill of {began} within {within}")));
    }

    fn end_drill(&mut self, user: &str, via: Via, result: String) {
        self.drills.running = None;
        self.dirty.engine = true;
        self.audit_drill(user, via, &result);
        self.drills.result = result;
        self.set_system(DRILL, None);
        self.show_drill();
        self.set_drill_timer();
    }

    fn set_drill_timer(&mut self) {
        let due = self.plan.drill.as_ref().and_then(|def| match self.drills.running {
            Some(started) => Some(started + def.answer_within),
            None => next_weekly(def.weekly.as_ref()?, self.now),
        });
        self.timers.set(&Timer::Drill, due);
    }

    fn show_drill(&mut self) {
        let now = self.now;
        let (passed, result) = (self.drills.passed, self.drills.result.clone());
        self.publish_system("Drill/LastPassed", Value::DateTime(passed), now);
        self.publish_system("Drill/LastResult", Value::string(result), now);
    }

    fn is_silenced(&self, path: &str) -> bool {
        self.plan.alarm_index.get(path).is_some_and(|index| self.alarms[*index].alarm.is_silent())
    }

    fn audit_drill(&mut self, user: &str, via: Via, result: &str) {
        let pipeline = self.plan.drill.as_ref().map(|def| format!("pipeline {}", def.pipeline)).unwrap_or_default();
        self.audit(AuditKind::Drill, user, via, DRILL, pipeline, result, Vec::new(), None);
    }
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
