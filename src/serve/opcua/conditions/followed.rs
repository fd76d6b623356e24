//! The conditions that anything ever happened to: which snapshots are newer, what in them is news, what a refresh sends again.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Certificate,
    fields::{self, Subject},
};
use crate::{
    engine::{
        condition::{Branch, Condition},
        plan::{AlarmDef, Plan, TagDef},
    },
    serve::opcua::events::{Event, Field},
    tag::{TagTable, Timestamp},
};

/// What is needed to tell of conditions, besides them.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The configuration in force.
    pub plan: &'a Plan,
    /// Setpoints that other tags give.
    pub table: &'a TagTable,
    /// The server's own.
    pub certificate: &'a Certificate,
}

/// The last snapshots.
#[derive(Default)]
pub struct Followed {
    all: BTreeMap<Arc<str>, Known>,
}

/// A condition, with what was configured when it was told of.
struct Known {
    condition: Arc<Condition>,
    def: Arc<AlarmDef>,
    tag: Option<TagDef>,
    max_shelved: f64,
}

impl Followed {
    /// Keeps a snapshot; gives the events of what is news in it, in the order in which it happened. `missed` says that snapshots
    /// before it may have been missed: then everything after the last one that was seen is news.
    pub fn take(&mut self, world: World<'_>, condition: Arc<Condition>, missed: bool) -> Vec<Event> {
        if self.all.get(&condition.alarm).is_some_and(|old| old.condition.last() > condition.last()) {
            // It was taken together with later ones before.
            return Vec::new();
        }
        let old = self.all.remove(&condition.alarm);
        let told = match &old {
            Some(old) if missed => old.condition.last(),
            Some(old) => old.condition.last().max(condition.before),
            None => condition.before,
        };
        let new = match (world.plan.alarm(&condition.alarm), old) {
            (Some(def), _) => Known {
                max_shelved: fields::max_shelved(world.plan, def),
                tag: world.plan.tag(def.tag).cloned(),
                def: Arc::clone(def),
                condition,
            },
            // No longer configured: it is told of as it was.
            (None, Some(old)) => Known { condition, ..old },
            (None, None) => return Vec::new(),
        };
        let mut news: Vec<&Branch> = new.condition.since(told).collect();
        news.sort_unstable_by_key(|branch| branch.id.number);
        let events = news.into_iter().map(|branch| new.subject(world, branch, branch.time).event()).collect();
        if !new.condition.removed {
            self.all.insert(Arc::clone(&new.condition.alarm), new);
        }
        events
    }

    /// The last notification of every retained condition and branch, with the EventIds that they had.
    pub fn retained(&self, world: World<'_>) -> Vec<Arc<Event>> {
        let retained = self.all.values().flat_map(|known| {
            let all = known.condition.branches.iter().chain(std::iter::once(&known.condition.trunk));
            all.filter(|branch| branch.retain).map(|branch| Arc::new(known.subject(world, branch, branch.time).event()))
        });
        retained.collect()
    }

    /// A member of the alarm's condition at `now`.
    pub fn member(&self, world: World<'_>, def: &Arc<AlarmDef>, path: &str, now: Timestamp) -> Option<Field> {
        let known = self.all.get(&def.path);
        let condition = known.map_or_else(|| Arc::new(normal(world.plan, def)), |known| Arc::clone(&known.condition));
        if condition.state.enabled && !condition.trunk.retain {
            // The snapshot does not follow the quality of what is not retained.
            let field = fields::input_quality(def, world.table, path);
            if field.is_some() {
                return field;
            }
        }
        let tag = world.plan.tag(def.tag).cloned();
        let shown = Known { max_shelved: fields::max_shelved(world.plan, def), tag, def: Arc::clone(def), condition };
        shown.subject(world, &shown.condition.trunk, now).field(path)
    }
}

impl Known {
    fn subject<'a>(&'a self, world: World<'a>, branch: &'a Branch, at: Timestamp) -> Subject<'a> {
        Subject {
            def: &self.def,
            tag: self.tag.as_ref(),
            max_shelved: self.max_shelved,
            table: world.table,
            certificate: world.certificate,
            condition: &self.condition,
            branch,
            at,
        }
    }
}

fn normal(plan: &Plan, def: &AlarmDef) -> Condition {
    Condition::normal(Arc::clone(&def.path), plan.alarm_rules.severity[def.priority as usize])
}
