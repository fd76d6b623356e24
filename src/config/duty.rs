//! Hours in which nobody would be told, and overrides that are over: needs the present time, so `check` asks for it beside what
//! loading tells.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::problems::{Problem, Problems, Severity};
use crate::{
    engine::{
        people::{Rota, zone},
        plan::{Notify, Plan, Priority, UserDef},
    },
    tag::Timestamp,
};

/// How far ahead duty is looked at (SPEC 7.2).
const DAYS: i64 = 28;

/// Gaps that are named; of more the number is told.
const NAMED: usize = 3;

/// From when until when.
type Gap = (Timestamp, Timestamp);

/// A warning for every pipeline that alarms of priority high or above use, and for the fallback roster, that has nobody on duty at
/// some time in the next 28 days; and for every override that is over.
#[must_use]
pub fn warnings(plan: &Plan, now: Timestamp) -> Problems {
    let urgent = plan.alarms.iter().filter(|alarm| alarm.priority >= Priority::High);
    let names: BTreeSet<&str> = urgent.filter_map(|alarm| alarm.pipeline.as_deref()).collect();
    let made = BTreeMap::new();
    let rota = Rota::new(plan, &made);
    let mut problems = Problems::default();
    for pipeline in names.into_iter().filter_map(|name| plan.pipelines.get(name)) {
        let steps: Vec<&Notify> = pipeline.notifies().collect();
        let rosters: Vec<&str> = steps.iter().map(|step| step.roster.as_str()).collect();
        let told =
            |at| steps.iter().any(|step| rota.on_call(&step.roster, at).into_iter().any(|user| can_be_told(plan, step, user)));
        let help = "alarms of priority high or above use it: extend a schedule, or add a user who is always on duty";
        uncovered(plan, &rota, &rosters, now, told, &format!("pipeline `{}`", pipeline.name), help, &mut problems);
    }
    if let Some(fallback) = &plan.alarm_rules.fallback {
        let told = |at| rota.on_call(fallback, at).into_iter().any(|user| !user.contacts.is_empty());
        let help = "it is told when nobody else was reached: extend a schedule, or add a user who is always on duty";
        let what = format!("the fallback roster `{fallback}`");
        uncovered(plan, &rota, &[fallback], now, told, &what, help, &mut problems);
    }
    for cover in plan.overrides.iter().filter(|cover| cover.until <= now) {
        let message =
            format!("the override of `{}` covering `{}` is over: it ended on {}", cover.user, cover.covers, cover.until);
        warn(&mut problems, message, "remove it");
    }
    problems
}

#[allow(clippy::too_many_arguments)]
fn uncovered(
    plan: &Plan,
    rota: &Rota<'_>,
    rosters: &[&str],
    now: Timestamp,
    told: impl Fn(Timestamp) -> bool,
    what: &str,
    help: &str,
    problems: &mut Problems,
) {
    let users: Vec<_> = rosters.iter().flat_map(|roster| plan.roster_users(roster)).collect();
    if users.is_empty() {
        return;
    }
    let bounds = rosters.iter().flat_map(|roster| rota.bounds(roster, now, DAYS)).collect();
    let gaps = gaps(bounds, told, now);
    if gaps.is_empty() {
        return;
    }
    let zone = users.iter().find_map(|user| zone_of(plan, user));
    let hours = gaps.iter().map(|(from, until)| until.since(*from).as_secs()).sum::<u64>().div_ceil(3600);
    let mut words: Vec<String> = gaps.iter().take(NAMED).map(|gap| gap_text(*gap, zone)).collect();
    if gaps.len() > NAMED {
        words.push(format!("and {} more", gaps.len() - NAMED));
    }
    let message = format!("{what} has nobody on duty for {hours} h of the next {DAYS} days: {}", words.join("; "));
    warn(problems, message, help);
}

fn warn(problems: &mut Problems, message: String, help: &str) {
    problems.push(Problem { severity: Severity::Warning, place: None, message, help: help.to_owned(), second: None });
}

/// True when the step has a way to this user for an alarm of priority high.
fn can_be_told(plan: &Plan, step: &Notify, user: &UserDef) -> bool {
    let Some(profile) = plan.profiles.get(&step.profile) else { return false };
    let agreed = profile.consent.as_ref().is_none_or(|consent| user.consent.contains(consent));
    let fits = |contact: &crate::engine::plan::Contact| {
        contact.channel == profile.channel && contact.min_priority <= Priority::High && plan.people.allows(&contact.number)
    };
    agreed && user.contacts.iter().any(fits)
}

/// From when until when nobody is told; `bounds` are the times at which that may change.
fn gaps(bounds: BTreeSet<Timestamp>, told: impl Fn(Timestamp) -> bool, now: Timestamp) -> Vec<Gap> {
    const TICKS_PER_DAY: i64 = 86_400 * 10_000_000;
    let end = Timestamp::from_ticks(now.ticks().saturating_add(DAYS * TICKS_PER_DAY));
    let mut gaps: Vec<Gap> = Vec::new();
    let inside = bounds.into_iter().filter(|at| now < *at && *at < end);
    let times: Vec<Timestamp> = std::iter::once(now).chain(inside).chain([end]).collect();
    for pair in times.windows(2) {
        if told(pair[0]) {
            continue;
        }
        match gaps.last_mut().filter(|(_, until)| *until == pair[0]) {
            Some((_, until)) => *until = pair[1],
            None => gaps.push((pair[0], pair[1])),
        }
    }
    gaps
}

/// The zone by which a user lives: the schedule's, else their own.
fn zone_of<'p>(plan: &'p Plan, user: &'p UserDef) -> Option<&'p str> {
    let schedule = user.schedule.as_ref().and_then(|name| plan.schedules.get(name));
    schedule.and_then(|schedule| schedule.time_zone.as_deref()).or(user.time_zone.as_deref())
}

/// `2026-11-16 18:00 to 2026-11-17 06:00 Europe/Berlin (17:00 to 05:00 UTC)`.
fn gap_text((from, until): Gap, zone_name: Option<&str>) -> String {
    const FULL: &str = "%Y-%m-%d %H:%M";
    let text = |time: Timestamp, zone: &TimeZone, pattern: &str| zone.to_datetime(time.to_jiff()).strftime(pattern).to_string();
    let utc = TimeZone::UTC;
    match zone_name.and_then(|name| Some((name, zone(name)?))) {
        Some((name, zone)) => format!(
            "{} to {} {name} ({} to {} UTC)",
            text(from, &zone, FULL),
            text(until, &zone, FULL),
            text(from, &utc, "%H:%M"),
            text(until, &utc, "%H:%M")
        ),
        None => format!("{} to {} UTC", text(from, &utc, FULL), text(until, &utc, FULL)),
    }
}
