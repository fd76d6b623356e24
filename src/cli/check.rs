//! `check`: every problem of the configuration at once, without network.

use std::fmt::Write;

use serde_json::json;

use super::{Failure, output::OutputArgs, rendered};
use crate::{
    config::duty,
    daemon::{Folders, read_config},
    engine::{
        length,
        plan::{Channel, Knob, Plan},
    },
    tag::Names,
};

/// Reads config and tags and prints every problem with its place and what would be right
#[derive(clap::Args)]
#[command(
    after_help = "Exit status 2 when anything is an error; warnings alone are 0. Works without network.\n\nExamples:\n  annunciator check\n  annunciator check --config new/config --tags new/tags\n  annunciator check --output json"
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn check(folders: &Folders, args: &CheckArgs) -> Result<String, Failure> {
    let loaded = read_config(folders, &mut Names::default()).map_err(|problems| Failure::Config(rendered(&problems)))?;
    let (plan, mut warnings) = (&loaded.plan, loaded.warnings);
    warnings.list.extend(duty::warnings(plan, crate::clock::now()).list);
    if !warnings.is_empty() {
        eprint!("{}", rendered(&warnings));
    }
    let own = plan.tags.iter().filter(|tag| matches!(tag.origin, crate::engine::plan::Origin::System)).count();
    let system = plan.alarms.iter().filter(|alarm| matches!(alarm.mode, crate::engine::plan::Mode::System)).count();
    let facts = json!({
        "tags": plan.tags.len() - own,
        "alarms": plan.alarms.len() - system,
        "sources": plan.sources.len(),
        "users": plan.users.len(),
        "pipelines": plan.pipelines.len(),
        "segments": segments(plan),
        "warnings": warnings.warnings(),
        "errors": 0,
    });
    Ok(args.output.print(&facts, |facts| {
        let mut text = String::from("no errors:");
        for (place, key) in ["sources", "tags", "alarms", "users", "pipelines"].into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            _ = write!(text, "{comma} {} {key}", facts[key]);
        }
        text.push('\n');
        for (profile, most) in facts["segments"].as_object().into_iter().flatten() {
            let plural = if most["gsm"] == 1 { "" } else { "s" };
            let dearer = if most["ucs2"] == most["gsm"] {
                String::new()
            } else {
                format!(", {} with a character outside the GSM alphabet", most["ucs2"])
            };
            _ = writeln!(text, "a text of profile {profile} is at most {} segment{plural}{dearer}", most["gsm"]);
        }
        text
    }))
}

/// What a text of each profile costs at most; of a limit that a tag gives, by the default.
fn segments(plan: &Plan) -> serde_json::Value {
    let texts = plan.profiles.values().filter(|profile| profile.channel == Channel::Sms);
    let most = texts.map(|profile| {
        let (Knob::Fixed(limit) | Knob::Tag { fallback: limit, .. }) = profile.length_limit;
        let (gsm, ucs2) = length::most_segments(limit, profile.fit);
        (profile.name.clone(), json!({ "gsm": gsm, "ucs2": ucs2 }))
    });
    serde_json::Value::Object(most.collect())
}
