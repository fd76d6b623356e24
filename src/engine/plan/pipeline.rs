//! Pipelines (SPEC 7.1).

use std::{sync::Arc, time::Duration};

use super::Role;
use crate::{
    script::{Condition, Program},
    tag::{TagId, Value},
};

/// `[[pipeline]]` (SPEC 7.1).
#[derive(Debug)]
pub struct PipelineDef {
    /// Unique.
    pub name: String,
    /// Clearing ends it.
    pub end_on_clear: bool,
    /// In order.
    pub steps: Vec<Step>,
    /// How often one step may be entered; a jump to a step that was entered so often goes on to the next step instead.
    pub max_passes: u32,
}

impl PipelineDef {
    /// Its notify steps, in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Notify(notify) => Some(notify),
            Action::Delay(_) | Action::Switch(_) | Action::Set(_) | Action::Script(_) | Action::Jump(_) => None,
        })
    }

    /// The steps that may follow `step`. A jump back comes to its end by `max_passes`, so what stands behind it may follow too.
    #[must_use]
    pub fn next_steps(&self, step: usize) -> Vec<usize> {
        let mut next = match self.steps.get(step).map(|step| &step.action) {
            Some(Action::Jump(target)) if *target > step => vec![*target],
            Some(Action::Jump(target)) => vec![*target, step + 1],
            Some(Action::Switch(cases)) => cases.iter().map(|case| case.jump).chain([step + 1]).collect(),
            Some(Action::Notify(_) | Action::Delay(_) | Action::Set(_) | Action::Script(_)) => vec![step + 1],
            None => Vec::new(),
        };
        next.retain(|step| *step < self.steps.len());
        next
    }

    /// True for each step that can be reached from `first`, `first` among them.
    #[must_use]
    pub fn reachable(&self, first: usize) -> Vec<bool> {
        let mut reached = vec![false; self.steps.len()];
        let mut open = vec![first];
        while let Some(step) = open.pop() {
            if let Some(seen @ false) = reached.get_mut(step) {
                *seen = true;
                open.extend(self.next_steps(step));
            }
        }
        reached
    }

    /// True when a notify step can still be reached from `step`, or is it.
    #[must_use]
    pub fn may_notify_from(&self, step: usize) -> bool {
        let reachable = self.reachable(step);
        self.steps.iter().zip(reachable).any(|(step, reachable)| reachable && matches!(step.action, Action::Notify(_)))
    }
}

/// One step of a pipeline.
#[derive(Debug)]
pub struct Step {
    /// Unique in its pipeline.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Tells people.
    Notify(Notify),
    /// Waits.
    Delay(Duration),
    /// Goes on at the step of the first case that is true, else at the next step.
    Switch(Vec<Case>),
    /// Writes a tag.
    Set(SetTag),
    /// Runs a script.
    Script(ScriptStep),
    /// Goes on at this step (its position).
    Jump(usize),
}

/// One case of a `switch`.
#[derive(Debug)]
pub struct Case {
    /// What must be true.
    pub when: Condition,
    /// Position of the step to go on at.
    pub jump: usize,
}

/// What a `set` step writes.
#[derive(Debug)]
pub struct SetTag {
    /// Writable.
    pub tag: TagId,
    /// Of the tag's type.
    pub value: Value,
}

/// What a `script` step runs.
#[derive(Debug)]
pub struct ScriptStep {
    /// The script.
    pub script: Arc<ScriptDef>,
    /// How long the pipeline waits for its end, 1 to 30 s.
    pub timeout: Duration,
}

/// A notify step (SPEC 7.1).
#[derive(Debug)]
pub struct Notify {
    /// Name of the notification profile.
    pub profile: String,
    /// Name of the roster. Empty only in a `clear_pipeline` or `ack_pipeline`, which tells those who were told.
    pub roster: String,
    /// One after the other or all at once.
    pub order: Order,
    /// From Twilio's acceptance of one contact's text to the next contact.
    pub wait: Duration,
    /// From the start of one round to the next.
    pub repeat: Duration,
    /// Rounds, at least 1.
    pub times: u32,
    /// Many alarm events in one text.
    pub consolidate: Option<Consolidate>,
}

/// The order in which a notify step tells its roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Order {
    #[default]
    Sequential,
    Broadcast,
}

/// Consolidation (SPEC 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consolidate {
    /// Alarms of this long go in one text.
    pub wait: Duration,
    /// At least this long between two texts of no higher priority.
    pub every: Duration,
    /// At most this many by name.
    pub n: u32,
}

/// A Rhai script with effects (SPEC 13).
#[derive(Debug, PartialEq)]
pub struct ScriptDef {
    /// Its file as configured, relative to `config/`.
    pub name: String,
    /// Compiled.
    pub program: Program,
    /// What its writes may do, and whether it sees whole numbers.
    pub role: Role,
}
