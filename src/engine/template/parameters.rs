//! What a template's names stand for, `$parameters` and their operations among them.

use std::collections::BTreeMap;

use minijinja::Value as Jinja;
use serde_json::Value as Json;

use super::{
    Subject, TagName, TemplateError,
    context::{Context, alarm_fields, to_json},
    environment::{Named, map, to_jinja},
    operations,
};
use crate::engine::plan::{Parameter, ParameterSource};

/// Everything that a template may speak of but `tags`; of the parameters those that are `wanted`. Parameters whose operations fail
/// are unknown, which `problems` says.
pub(super) fn fields(
    context: &Context<'_>,
    wanted: &dyn Fn(&str) -> bool,
    problems: &mut Vec<TemplateError>,
) -> BTreeMap<&'static str, Jinja> {
    let mut fields = BTreeMap::from([
        ("user", Jinja::from_object(Named(context.user.to_owned()))),
        ("site", Jinja::from_object(Named(context.site.to_owned()))),
    ]);
    let of_alarm = match &context.subject {
        Subject::Alarm(alarm) => {
            let of_alarm = alarm_fields(alarm, context.time_zone);
            fields.insert("alarm", map(of_alarm.iter().map(|(name, value)| (*name, to_jinja(value)))));
            of_alarm.to_vec()
        }
        Subject::Event { name, properties } => {
            fields.insert("event", Jinja::from(*name));
            fields.insert("properties", to_jinja(properties));
            Vec::new()
        }
    };
    let mut chance = context.chance.clone();
    let parameters = context.parameters.iter().map(|(name, parameter)| {
        // Each has its own chance, so that what one shows does not depend on which others are shown.
        let random = chance.split();
        if !wanted(name) {
            return (name.as_str(), Jinja::UNDEFINED);
        }
        match operations::apply(&parameter.operations, source(parameter, context, &of_alarm), random) {
            Ok(value) => (name.as_str(), to_jinja(&value)),
            Err(problem) => {
                problems.push(TemplateError { message: format!("parameter `{name}`: {problem}"), line: 1, span: None });
                (name.as_str(), Jinja::UNDEFINED)
            }
        }
    });
    fields.insert("parameters", map(parameters.collect::<Vec<_>>()));
    fields
}

/// Where a parameter comes from, as it is now.
fn source(parameter: &Parameter, context: &Context<'_>, of_alarm: &[(&'static str, Json)]) -> Json {
    match &parameter.source {
        ParameterSource::Tag(tag) => (context.read)(TagName::Id(*tag)).map_or(Json::Null, |value| to_json(&value)),
        ParameterSource::AlarmField(field) => {
            let (name, key) = field.split_once('.').unwrap_or((field, ""));
            // The event has one name in `[profile.parameters]` and another in templates; either will do.
            let name = if name == "event_id" { "event" } else { name };
            let found = of_alarm.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
            let found = if key.is_empty() { found } else { found.and_then(|value| value.get(key)) };
            found.cloned().unwrap_or_default()
        }
        ParameterSource::Property(name) => match &context.subject {
            Subject::Event { properties, .. } => properties.get(name).cloned().unwrap_or_default(),
            Subject::Alarm(_) => Json::Null,
        },
        ParameterSource::Constant(value) => value.clone(),
    }
}
