//! `[throttle]`: few, clear messages (SPEC 7.3).

use std::time::Duration;

use super::{book::Roots, reader::Section};
use crate::engine::plan::{Budget, Chatter, Flood, Throttle};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// `[throttle]`; what is not there has its default.
pub(super) fn throttle(roots: &mut Roots<'_>) -> Throttle {
    let mut throttle = Throttle::default();
    let Some(mut section) = roots.section("throttle") else { return throttle };
    if let Some(mut table) = section.section("flood") {
        throttle.flood = flood(&mut table);
    }
    if let Some(mut table) = section.section("budget") {
        throttle.budget = budget(&mut table);
    }
    if let Some(mut table) = section.section("chatter") {
        throttle.chatter = chatter(&mut table);
    }
    if let Some(segments) = count(&mut section, "segments_per_day", 1..=10_000_000) {
        throttle.segments_per_day = segments;
    }
    throttle
}

fn flood(table: &mut Section<'_>) -> Option<Flood> {
    let default = Flood::default();
    let flood = Flood {
        alarms: count(table, "alarms", 2..=500).unwrap_or(default.alarms),
        per: table.duration("per", MINUTE..=DAY).unwrap_or(default.per),
    };
    is_enabled(table).then_some(flood)
}

fn budget(table: &mut Section<'_>) -> Option<Budget> {
    let default = Budget::default();
    let budget = Budget {
        messages_per_hour: count(table, "messages_per_hour", 1..=1000).unwrap_or(default.messages_per_hour),
        calls_per_hour: count(table, "calls_per_hour", 1..=1000).unwrap_or(default.calls_per_hour),
        critical_reserve: table.float_in("critical_reserve", 0.0..=0.9).unwrap_or(default.critical_reserve),
    };
    is_enabled(table).then_some(budget)
}

fn chatter(table: &mut Section<'_>) -> Option<Chatter> {
    let default = Chatter::default();
    let chatter = Chatter {
        activations: count(table, "activations", 2..=64).unwrap_or(default.activations),
        per: table.duration("per", SECOND..=DAY).unwrap_or(default.per),
        hold: table.duration("hold", SECOND..=DAY).unwrap_or(default.hold),
    };
    is_enabled(table).then_some(chatter)
}

fn is_enabled(table: &mut Section<'_>) -> bool {
    table.boolean("enabled").unwrap_or(true)
}

fn count(section: &mut Section<'_>, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<u32> {
    section.integer(key, range).and_then(|count| u32::try_from(count).ok())
}
