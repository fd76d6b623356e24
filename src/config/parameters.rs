//! `[profile.parameters]`: where the values of `$parameters` come from.

use std::collections::BTreeMap;

use super::{
    book::Book,
    operations,
    problems::nearest,
    reader::{Section, Spanned},
};
use crate::engine::{
    plan::{Parameter, ParameterSource},
    template::{
        For,
        operations::{Kinds, Shape},
    },
};

/// Fields of an alarm that a parameter may be; `data` is also `data.key`.
const ALARM_FIELDS: [&str; 13] =
    ["path", "name", "tag", "value", "unit", "priority", "state", "message", "active_time", "event", "event_id", "data", "code"];

/// `parameters` and `operations` of a profile or event.
pub(super) fn parameters(section: &mut Section<'_>, book: &Book, about: For) -> BTreeMap<String, Parameter> {
    let mut sources = BTreeMap::new();
    if let Some(mut table) = section.section("parameters") {
        for key in table.remaining() {
            // What is wrong with one was noted; that it is not there at all would be wrong to say.
            let source = source(&mut table, key.value, book, about);
            let source = source.unwrap_or((ParameterSource::Constant(serde_json::Value::Null), Shape::ANY));
            sources.insert(key.value.to_owned(), source);
        }
    }
    let Some(mut table) = section.section("operations") else {
        return sources.into_iter().map(|(name, (source, _))| (name, plain(source))).collect();
    };
    let mut parameters = BTreeMap::new();
    for (name, (source, shape)) in sources {
        let operations = if table.has(&name) { operations::chain(&mut table, &name, shape).0 } else { Vec::new() };
        parameters.insert(name, Parameter { source, operations });
    }
    for key in table.remaining() {
        let near = nearest(key.value, parameters.keys().map(String::as_str));
        let help = near.map_or_else(|| "add it to the parameters first".to_owned(), |near| format!("did you mean `{near}`?"));
        table.error(key.span, format!("there is no parameter `{}`", key.value), help);
        table.skip(key.value);
    }
    parameters
}

fn plain(source: ParameterSource) -> Parameter {
    Parameter { source, operations: Vec::new() }
}

/// One entry: a tag, a field of the alarm, a property of the event, or a constant; and what is known of its values.
fn source(table: &mut Section<'_>, key: &str, book: &Book, about: For) -> Option<(ParameterSource, Shape)> {
    if table.has_table(key) {
        // A table says which of them is meant, where the short form would guess.
        let mut entry = table.section(key)?;
        if entry.has("tag") {
            let (_, tag) = book.tag_reference(&mut entry, "tag")?;
            return Some((ParameterSource::Tag(tag.id), tag.value_type.map_or(Shape::ANY, Shape::of_tag)));
        }
        if !entry.has("value") {
            entry.missing("value");
        }
        let value = entry.json_value("value")?.value;
        return Some((ParameterSource::Constant(value.clone()), Shape::of_value(&value)));
    }
    if !table.has_string(key) {
        let value = table.json_value(key)?.value;
        return Some((ParameterSource::Constant(value.clone()), Shape::of_value(&value)));
    }
    let text = table.string(key)?;
    if let (For::Alarm, Some(field)) = (about, text.strip_prefix("alarm.")) {
        return alarm_field(table, &Spanned { value: field.to_owned(), span: text.span.clone() });
    }
    if let (For::Event, Some(name)) = (about, text.strip_prefix("properties.")) {
        return Some((ParameterSource::Property(name.to_owned()), Shape::ANY));
    }
    if let Some(entry) = book.tag(&text) {
        return Some((ParameterSource::Tag(entry.id), entry.value_type.map_or(Shape::ANY, Shape::of_tag)));
    }
    if text.contains('/') && !text.contains(' ') {
        let message = format!("there is no tag `{}`: the parameter is this text", text.value);
        let help = format!("{} write {{ value = \"…\" }} when the text itself is meant", book.similar_tag(&text));
        table.warning(text.span.clone(), message, help.trim_start());
    }
    Some((ParameterSource::Constant(text.value.into()), Kinds::TEXT.into()))
}

fn alarm_field(table: &Section<'_>, field: &Spanned<String>) -> Option<(ParameterSource, Shape)> {
    if !field.starts_with("data.") {
        table.word("a field of the alarm", field, &ALARM_FIELDS.map(|field| (field, ())))?;
    }
    let shape = match field.as_str() {
        // Each alarm's own.
        "value" => Shape::ANY,
        "data" => Kinds::STRUCTURE.into(),
        _ => Kinds::TEXT.into(),
    };
    Some((ParameterSource::AlarmField(field.value.clone()), shape))
}
