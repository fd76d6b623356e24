//! Hours in which nobody would be told: needs the present time, so `check` asks for it beside what loading tells.

use std::collections::BTreeSet;

use super::problems::{Problem, Problems, Severity};
use crate::{
    engine::{
        people::{clock_text, next_change, user_on_duty},
        plan::{Action, PipelineDef, Plan, Priority, UserDef},
    },
    tag::Timestamp,
};

/// How far ahead duty is looked at (SPEC 7.2).
const DAYS: i64 = 28;

/// Changes of duty that are looked at; schedules with more are dense enough.
const MAX_CHANGES: usize = 20_000;

const TICKS_PER_DAY: i64 = 86_400 * 10_000_000;

/// A warning for every pipeline that alarms of priority high or above use and that has nobody on duty at some time in the next
/// 28 days.
#[must_use]
pub fn uncovered(plan: &Plan, now: Timestamp) -> Problems {
    let urgent = plan.alarms.iter().filter(|alarm| alarm.priority >= Priority::High);
    let names: BTreeSet<&str> = urgent.filter_map(|alarm| alarm.pipeline.as_deref()).collect();
    let mut problems = Problems::default();
    for pipeline in names.into_iter().filter_map(|name| plan.pipelines.get(name)) {
        let users = users(plan, pipeline);
        if users.is_empty() {
            continue;
        }
        let gaps = gaps(plan, &users, now);
        let Some((from, until)) = gaps.first() else { continue };
        let zone = users.iter().find_map(|user| user.time_zone.as_deref());
        let hours = gaps.iter().map(|(from, until)| until.since(*from).as_secs()).sum::<u64>().div_ceil(3600);
        problems.push(Problem {
            severity: Severity::Warning,
            place: None,
            message: format!(
                "pipeline `{}` has nobody on duty for {hours} h of the next {DAYS} days, first from {} to {}",
                pipeline.name,
                clock_text(*from, now, zone),
                clock_text(*until, now, zone)
            ),
            help: "alarms of priority high or above use it: extend a schedule, or add a user who is always on duty".into(),
            second: None,
        });
    }
    problems
}

/// Everybody whom a notify step of the pipeline may tell.
fn users<'p>(plan: &'p Plan, pipeline: &PipelineDef) -> Vec<&'p UserDef> {
    let rosters = pipeline.steps.iter().filter_map(|step| match &step.action {
        Action::Notify(notify) => plan.rosters.get(&notify.roster),
        Action::Delay(_) => None,
    });
    rosters.flatten().filter_map(|name| plan.users.get(name)).map(|user| &**user).collect()
}

/// From when until when none of `users` is on duty; neighbouring times are joined.
fn gaps(plan: &Plan, users: &[&UserDef], now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let end = Timestamp::from_ticks(now.ticks().saturating_add(DAYS * TICKS_PER_DAY));
    let mut gaps: Vec<(Timestamp, Timestamp)> = Vec::new();
    let mut time = now;
    for _ in 0..MAX_CHANGES {
        let changes = users.iter().filter_map(|user| {
            let schedule = plan.schedules.get(user.schedule.as_ref()?)?;
            next_change(schedule, user.time_zone.as_deref(), time)
        });
        let next = changes.min().map_or(end, |next| next.min(end));
        if !users.iter().any(|user| user_on_duty(plan, user, time)) {
            match gaps.last_mut().filter(|(_, until)| *until == time) {
                Some((_, until)) => *until = next,
                None => gaps.push((time, next)),
            }
        }
        if next >= end || next <= time {
            break;
        }
        time = next;
    }
    gaps
}
