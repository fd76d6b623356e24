//! Pipelines (SPEC 7.1).

use std::time::Duration;

use super::Role;
use crate::script::Program;

/// `[[pipeline]]` (SPEC 7.1).
#[derive(Debug)]
pub struct PipelineDef {
    /// Unique.
    pub name: String,
    /// Clearing ends it.
    pub end_on_clear: bool,
    /// In order.
    pub steps: Vec<Step>,
    /// How often a `jump` may enter one step.
    pub max_passes: u32,
}

/// One step of a pipeline.
#[derive(Debug)]
pub struct Step {
    /// Unique in its pipeline.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
}

/// What a step does. `switch`, `set`, `script` and `jump` join with the next issue.
#[derive(Debug)]
pub enum Action {
    /// Tells people.
    Notify(Notify),
    /// Waits.
    Delay(Duration),
}

/// A notify step (SPEC 7.1).
#[derive(Debug)]
pub struct Notify {
    /// Name of the notification profile.
    pub profile: String,
    /// Name of the roster.
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
    /// What its writes and sends may do.
    pub role: Role,
}
