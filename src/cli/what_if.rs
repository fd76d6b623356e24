//! `what-if`: who would be told of an alarm, when and by which channel, if nobody answers.

use std::{fmt::Write as _, time::Duration};

use jiff::{civil, tz::TimeZone};

use super::{
    Failure,
    output::{OutputArgs, harmless, table},
};
use crate::{
    engine::plan::Plan,
    scenario::{
        forecast::{Forecast, Question, Row, forecast},
        short_path,
    },
    serve::api::{WhatIf, span},
    tag::Timestamp,
};

/// The longest look ahead: a year.
const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

/// Who would be told of an alarm, when and by which channel, until its pipeline ends
#[derive(clap::Args)]
#[command(
    after_help = "The alarm is raised in a program that has just started with this configuration: what a running daemon knows (shelved alarms,\nopt-outs, overrides made in the console, cooldowns, used budgets) is not considered. Nobody answers, Twilio takes\neverything, and nothing is sent. Other tags have no value unless --set gives them one, so conditions on them are false.\n\nExamples:\n  annunciator what-if Plant/Line1/TankTrip/Trip\n  annunciator what-if Plant/Line1/TankTrip/Trip --at \"2026-11-22 02:30\" --time-zone America/Chicago\n  annunciator what-if Plant/Line1/TankLevel/High --value 92.5 --until 2h"
)]
pub(super) struct WhatIfArgs {
    /// Path of the alarm, with or without the folder Alarms
    alarm: String,
    /// When it is raised, local time such as "2026-11-22 02:30"; now when left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// IANA name of the zone of --at and of the times that are shown; this machine's when left out
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The tag's value; one that raises the alarm when left out
    #[arg(long)]
    value: Option<String>,
    /// Values of other tags
    #[arg(long, value_name = "TAG=VALUE")]
    set: Vec<String>,
    /// How long to look on, such as 90m or 2d
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    until: String,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn what_if(plan: Plan, args: &WhatIfArgs) -> Result<String, Failure> {
    let zone = match &args.time_zone {
        Some(name) => TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone; write one such as Europe/London"))?,
        None => TimeZone::system(),
    };
    let at = match &args.at {
        Some(text) => local(text, &zone)?,
        None => whole_second(crate::clock::now()),
    };
    let span = span(&args.until)
        .filter(|span| *span <= MAX_SPAN)
        .ok_or_else(|| format!("`{}` is no duration up to a year such as 90m or 2d", args.until))?;
    let tags = args.set.iter().map(|pair| {
        let (tag, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not TAG=VALUE"))?;
        Ok((tag.to_owned(), value.to_owned()))
    });
    let tags = tags.collect::<Result<_, String>>()?;
    let question = Question { alarm: args.alarm.clone(), at, value: args.value.clone(), tags, span };
    let forecast = forecast(plan, &question)?;
    let text = as_text(&forecast, at, &zone);
    let json = serde_json::to_value(WhatIf::new(forecast, at)).map_err(|error| error.to_string())?;
    Ok(args.output.print(&json, |_| text.clone()))
}

/// A local time; one that occurs twice is the first of them, one that is skipped is as long after the gap (RFC 5545).
fn local(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time; write one such as \"2026-11-22 02:30\"");
    let time = text.parse::<civil::DateTime>().map_err(|_| wrong())?;
    let zoned = zone.to_ambiguous_zoned(time).compatible().map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().into())
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_ticks(time.ticks() - time.ticks().rem_euclid(10_000_000))
}

fn as_text(forecast: &Forecast, at: Timestamp, zone: &TimeZone) -> String {
    let alarm = short_path(&forecast.alarm);
    let Some(pipeline) = &forecast.pipeline else {
        return format!("{alarm} ({}) has no pipeline: it is shown and journalled, and nobody is told.\n", forecast.priority);
    };
    let shown = |time: Timestamp, pattern: &str| time.to_jiff().to_zoned(zone.clone()).strftime(pattern).to_string();
    let name = zone.iana_name().unwrap_or("UTC");
    let when = shown(at, "%A %Y-%m-%d %H:%M:%S %Z");
    let mut text =
        format!("{alarm} ({}, pipeline {pipeline}) is raised on {when} ({name}), and nobody answers:\n", forecast.priority);
    let one_day = |time: Timestamp| shown(time, "%F") == shown(at, "%F");
    let dated = forecast.rows.iter().any(|row| !one_day(row.at));
    let pattern = if dated { "%a %m-%d %H:%M:%S" } else { "%H:%M:%S" };
    let header = ["when", "after", "who", "how", "step", "what"];
    let line = |row: &Row| {
        let how =
            if row.profile.is_empty() { row.kind.name().to_owned() } else { format!("{} ({})", row.kind.name(), row.profile) };
        [shown(row.at, pattern), elapsed(row.at.since(at)), row.who.clone(), how, row.step.clone(), row.words.clone()]
    };
    if forecast.rows.is_empty() {
        text.push_str("nothing happens.\n");
    } else {
        text.push_str(&table(&header, forecast.rows.iter().map(line)));
    }
    // Writing to a String cannot fail.
    _ = if forecast.cut {
        writeln!(text, "There is more; this is cut after {} rows.", forecast.rows.len())
    } else {
        writeln!(text, "Nothing more until {}. A running daemon's state is not considered.", shown(forecast.until, "%F %H:%M:%S"))
    };
    harmless(&text)
}

/// `0:00`, `12:05`, `1:00:00`.
fn elapsed(span: Duration) -> String {
    // Up to a second is how fast Twilio takes messages.
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
