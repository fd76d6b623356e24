//! `[drill]` and `[heartbeat]`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    book::{Book, Kind, Roots},
    people::time_zone,
    reader::Section,
    rota,
};
use crate::{
    engine::plan::{Action, DrillDef, HeartbeatDef, PipelineDef, Weekly},
    tag::{DataType, ValueType},
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY: Duration = seconds(86_400);

/// `[drill]`.
pub(super) fn drill(roots: &mut Roots<'_>, book: &Book, pipelines: &BTreeMap<String, Arc<PipelineDef>>) -> Option<DrillDef> {
    let mut section = roots.section("drill")?;
    let pipeline = book.required_reference(Kind::Pipeline, &mut section, "pipeline");
    let tells = |def: &PipelineDef| def.steps.iter().any(|step| matches!(step.action, Action::Notify(_)));
    if let Some(name) = pipeline.as_ref().filter(|name| pipelines.get(*name).is_some_and(|def| !tells(def))) {
        let help = "no drill can pass: name a pipeline with a notify step";
        section.warning(section.key_span("pipeline"), format!("pipeline `{name}` tells nobody"), help);
    }
    let answer_within = section.duration("answer_within", seconds(60)..=DAY).unwrap_or(seconds(900));
    let weekly = if section.has("days") || section.has("at") {
        let days = rota::days_of(&mut section, "days");
        let at = rota::time_of(&mut section, "at");
        if !section.has("time_zone") {
            section.warning(section.key_span("at"), "`at` is UTC", "add `time_zone = \"Europe/London\"`");
        }
        let time_zone = time_zone(&mut section);
        days.zip(at).map(|(days, at)| Weekly { days, at, time_zone })
    } else {
        section.refuse("time_zone", "`time_zone` has no meaning here", "it is that of `days` and `at`");
        None
    };
    Some(DrillDef { pipeline: pipeline?, weekly, answer_within })
}

/// `[heartbeat]`.
pub(super) fn heartbeat(roots: &mut Roots<'_>, book: &Book) -> Option<HeartbeatDef> {
    let mut section = roots.section("heartbeat")?;
    let url = section.string("url").and_then(|url| {
        let good = ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !good {
            section.error(
                url.span.clone(),
                "this is not the URL of a heartbeat",
                "write one that begins with https:// or http://",
            );
        }
        good.then_some(url.value)
    });
    let tag = beating_tag(&mut section, book);
    if !section.has("url") && !section.has("tag") {
        section.error(section.span(), "the heartbeat goes nowhere", "add `url = \"https://…\"`, or the path of a writable `tag`");
    }
    let every = section.duration("every", seconds(1)..=DAY).unwrap_or(seconds(60));
    let timeout = section.duration("timeout", seconds(1)..=every).unwrap_or(seconds(10).min(every));
    Some(HeartbeatDef { url, tag, every, timeout })
}

fn beating_tag(section: &mut Section<'_>, book: &Book) -> Option<crate::tag::TagId> {
    let (path, entry) = book.tag_reference(section, "tag")?;
    let beats = |value_type: ValueType| {
        let data_type = value_type.data_type;
        value_type == ValueType::scalar(data_type) && (data_type == DataType::Boolean || data_type.is_integer())
    };
    if !entry.writable {
        section.error(path.span, format!("tag `{}` is not writable", path.value), "set `writable = true` on it");
        return None;
    }
    if entry.value_type.is_some_and(|value_type| !beats(value_type)) {
        section.error(
            path.span,
            format!("tag `{}` cannot beat", path.value),
            "it must be Boolean (toggles) or an integer (counts up)",
        );
        return None;
    }
    Some(entry.id)
}
