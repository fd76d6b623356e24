//! `[profile.operations]`: chains of operations with their arguments, and whether their types can fit.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde_json::{Number, Value as Json};

use super::{
    problems::nearest,
    reader::{Section, Spanned},
};
use crate::engine::{
    people::zone,
    template::operations::{
        Cast, Comparator, Filter, Function, Lookup, MAX_CHAIN, MAX_DIGITS, MAX_ELEMENTS, MAX_ENTRIES, MAX_NESTING, NAMES,
        Operation, Pattern, Pick, REFUSED, SelectMode, Selection, Shape, Statement,
    },
};

/// Numbers in arguments: beyond it they are not exact.
const NUMBERS: RangeInclusive<f64> = -1e15..=1e15;

/// The chain at `key`, and what comes out of it for `input`. What is wrong was noted.
pub(super) fn chain(section: &mut Section<'_>, key: &str, input: Shape) -> (Vec<Operation>, Shape) {
    nested(section, key, input, 1)
}

fn nested(section: &mut Section<'_>, key: &str, input: Shape, depth: usize) -> (Vec<Operation>, Shape) {
    let span = section.key_span(key);
    let list = section.sections(key);
    if depth > MAX_NESTING {
        section.error(span, format!("operations are nested more than {MAX_NESTING} deep"), "");
        for mut entry in list {
            entry.ignore_rest();
        }
        return (Vec::new(), Shape::ANY);
    }
    if list.len() > MAX_CHAIN {
        section.error(span, format!("a chain has at most {MAX_CHAIN} operations"), "");
    }
    let mut operations = Vec::with_capacity(list.len());
    let mut shape = input;
    for mut entry in list {
        let Some(operation) = operation(&mut entry, &shape, depth) else {
            shape = Shape::ANY;
            continue;
        };
        shape = operation.infer(&shape).unwrap_or_else(|problem| {
            entry.error(entry.key_span("type"), format!("{} {problem}", operation.name()), "");
            Shape::ANY
        });
        operations.push(operation);
    }
    (operations, shape)
}

fn operation(section: &mut Section<'_>, input: &Shape, depth: usize) -> Option<Operation> {
    if !section.has("type") {
        section.missing("type");
        section.ignore_rest();
        return None;
    }
    let Some(name) = section.string("type") else {
        section.ignore_rest();
        return None;
    };
    let operation = match name.as_str() {
        "ToString" => Some(Operation::ToString),
        "ToNumber" => {
            let cast = section.one_of("cast_to", &[("int", Cast::Int), ("float", Cast::Float)]);
            Some(Operation::ToNumber(cast.unwrap_or_default()))
        }
        "ToBoolean" => Some(Operation::ToBoolean),
        "NumberRound" => {
            let digits = section.integer("decimal_digits", -MAX_DIGITS..=MAX_DIGITS).unwrap_or(0);
            i32::try_from(digits).ok().map(Operation::NumberRound)
        }
        "Multiply" => number(section, "other", true).map(Operation::Multiply),
        "Divide" => divisor(section).map(Operation::Divide),
        "StringToLowerCase" => Some(Operation::StringToLowerCase),
        "StringToUpperCase" => Some(Operation::StringToUpperCase),
        "StringMatches" => pattern(section).map(Operation::StringMatches),
        "StringSubSequence" => {
            let start = section.integer("start", i64::MIN..=i64::MAX).unwrap_or(0);
            Some(Operation::StringSubSequence { start, end: section.integer("end", i64::MIN..=i64::MAX) })
        }
        "SequenceLength" => Some(Operation::SequenceLength),
        "SequenceElementsCount" => Some(Operation::SequenceElementsCount),
        "SequenceMap" => lookup(section).map(Operation::SequenceMap),
        "SequenceApply" => {
            if !section.has("operations") {
                section.missing("operations");
            }
            Some(Operation::SequenceApply(nested(section, "operations", input.element(), depth + 1).0))
        }
        "SequenceAggregate" => {
            let modes = [
                ("first", Pick::First),
                ("last", Pick::Last),
                ("most_common", Pick::MostCommon),
                ("least_common", Pick::LeastCommon),
            ];
            required_word(section, "mode", &modes).map(Operation::SequenceAggregate)
        }
        "NumericSequenceAggregate" => {
            let functions = [("min", Function::Min), ("max", Function::Max), ("sum", Function::Sum), ("mean", Function::Mean)];
            let function = required_word(section, "function", &functions);
            let neutral_value = number(section, "neutral_value", false);
            function.map(|function| Operation::NumericSequenceAggregate { function, neutral_value })
        }
        "LookupTable" => lookup(section).map(Operation::LookupTable),
        "PropertyExtract" => {
            let property_name = section.required_string("property_name");
            let default = scalar(section, "default");
            property_name.map(|name| Operation::PropertyExtract { property_name: name.value, default })
        }
        "Filter" => filter(section, input, depth).map(Operation::Filter),
        "Sort" => {
            let property_name = section.non_empty("property_name");
            Some(Operation::Sort { property_name, ascending: section.boolean("ascending").unwrap_or(true) })
        }
        "Select" => selection(section).map(Operation::Select),
        "Rename" => rename(section),
        "TimestampToISOFormat" => Some(Operation::TimestampToISOFormat { time_zone: time_zone(section) }),
        "ConvertDictionaryToJSON" => Some(Operation::ConvertDictionaryToJSON),
        "RandomNumber" => random_number(section),
        _ => {
            unknown(section, &name);
            section.ignore_rest();
            None
        }
    };
    if operation.is_none() {
        section.ignore_rest();
    }
    operation
}

/// An operation that there is not: one for pictures, or a word that is none.
fn unknown(section: &Section<'_>, name: &Spanned<String>) {
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name.value) {
        let help = match *instead {
            "" => "messages have tag values, texts, sequences and structures only".to_owned(),
            instead => format!("for sequences and structures there is `{instead}`"),
        };
        let message = format!("`{}` works on images and detections, which messages do not have", name.value);
        return section.error(name.span.clone(), message, help);
    }
    let help = match nearest(name, NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "docs/operations.md lists them".to_owned(),
    };
    section.error(name.span.clone(), format!("unknown operation `{}`", name.value), help);
}

fn number(section: &mut Section<'_>, key: &str, required: bool) -> Option<Number> {
    if required && !section.has(key) {
        section.missing(key);
    }
    let float = section.float_in(key, NUMBERS)?;
    // An integer stays one, so that what it makes of integers does too.
    section.whole(key).and_then(|whole| i64::try_from(whole).ok()).map(Number::from).or_else(|| Number::from_f64(float))
}

fn divisor(section: &mut Section<'_>) -> Option<Number> {
    let other = number(section, "other", true)?;
    if other.as_f64() == Some(0.0) {
        section.error(section.key_span("other"), "Divide cannot divide by zero", "");
        return None;
    }
    Some(other)
}

fn pattern(section: &mut Section<'_>) -> Option<Pattern> {
    let source = section.required_string("regex")?;
    match Pattern::new(&source) {
        Ok(pattern) => Some(pattern),
        Err(problem) => {
            section.error(source.span, format!("`regex` is not a regular expression: {problem}"), "");
            None
        }
    }
}

fn required_word<T: Copy>(section: &mut Section<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    if !section.has(key) {
        section.missing(key);
    }
    section.one_of(key, words)
}

/// A text, number or Boolean: nothing that could make a value grow.
fn scalar(section: &mut Section<'_>, key: &str) -> Option<Json> {
    let found = section.json_value(key)?;
    match found.value {
        Json::Array(_) | Json::Object(_) | Json::Null => {
            section.error(found.span, format!("`{key}` must be a text, a number or a Boolean"), "");
            None
        }
        plain => Some(plain),
    }
}

fn lookup(section: &mut Section<'_>) -> Option<Lookup> {
    if !section.has("lookup_table") {
        section.missing("lookup_table");
    }
    let default = scalar(section, "default");
    let mut entries = section.section("lookup_table")?;
    let keys = entries.remaining();
    if keys.is_empty() || keys.len() > MAX_ENTRIES {
        let message = format!("`lookup_table` has 1 to {MAX_ENTRIES} entries, found {}", keys.len());
        entries.error(entries.span(), message, "such as { \"0\" = \"closed\", \"1\" = \"open\" }");
    }
    let table = keys.into_iter().filter_map(|key| Some((key.value.to_owned(), scalar(&mut entries, key.value)?)));
    Some(Lookup { table: table.collect(), default })
}

fn filter(section: &mut Section<'_>, input: &Shape, depth: usize) -> Option<Filter> {
    if !section.has("filter_operation") {
        section.missing("filter_operation");
    }
    let mut group = section.section("filter_operation")?;
    let all = group.one_of("operator", &[("and", true), ("or", false)]).unwrap_or(true);
    let list = group.sections("statements");
    if list.is_empty() || list.len() > MAX_ENTRIES {
        let message = format!("a filter has 1 to {MAX_ENTRIES} statements, found {}", list.len());
        group.error(group.span(), message, "such as { comparator = \"(Number) >\", value = 5 }");
    }
    let statements = list.into_iter().filter_map(|mut entry| statement(&mut entry, input.element(), depth));
    Some(Filter { statements: statements.collect(), all })
}

fn statement(section: &mut Section<'_>, element: Shape, depth: usize) -> Option<Statement> {
    let operations = if section.has("operations") { nested(section, "operations", element, depth + 1).0 } else { Vec::new() };
    let negate = section.boolean("negate").unwrap_or(false);
    let comparator = required_word(section, "comparator", &Comparator::NAMES);
    let value = section.json_value("value");
    let comparator = comparator?;
    match (comparator.wants(), &value) {
        (Some(wanted), None) => {
            section.error(section.span(), format!("the comparator needs `value`: {wanted}"), "");
            return None;
        }
        (Some(wanted), Some(value)) if !comparator.fits(value) => {
            section.error(value.span.clone(), format!("the comparator needs {wanted}"), "");
            return None;
        }
        (None, Some(value)) => section.error(value.span.clone(), "the comparator takes no `value`", ""),
        _ => {}
    }
    Some(Statement { operations, comparator, value: value.map(|value| value.value).unwrap_or_default(), negate })
}

fn selection(section: &mut Section<'_>) -> Option<Selection> {
    let modes = [("first", SelectMode::First), ("last", SelectMode::Last), ("min", SelectMode::Min), ("max", SelectMode::Max)];
    let mode = required_word(section, "mode", &modes);
    let most = i64::try_from(MAX_ELEMENTS).unwrap_or(i64::MAX);
    let count = section.integer("count", 1..=most).and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    let property_name = section.non_empty("property_name");
    let mode = mode?;
    if property_name.is_some() && matches!(mode, SelectMode::First | SelectMode::Last) {
        section.error(section.key_span("property_name"), "first and last look at no property", "leave it out, or Sort before");
    }
    Some(Selection { mode, property_name, count })
}

fn rename(section: &mut Section<'_>) -> Option<Operation> {
    if !section.has("property_map") {
        section.missing("property_map");
    }
    let strict = section.boolean("strict").unwrap_or(true);
    let mut names = section.section("property_map")?;
    let keys = names.remaining();
    if keys.is_empty() || keys.len() > MAX_ENTRIES {
        let message = format!("`property_map` has 1 to {MAX_ENTRIES} entries, found {}", keys.len());
        names.error(names.span(), message, "such as { MessagesSent = \"sent\" }");
    }
    let mut property_map: BTreeMap<String, String> = BTreeMap::new();
    for key in keys {
        let Some(new) = names.required_string(key.value) else { continue };
        if property_map.values().any(|taken| *taken == new.value) {
            names.error(new.span.clone(), format!("two fields would be named `{}`", new.value), "");
        }
        property_map.insert(key.value.to_owned(), new.value);
    }
    Some(Operation::Rename { property_map, strict })
}

fn time_zone(section: &mut Section<'_>) -> Option<String> {
    let text = section.string("time_zone")?;
    if zone(&text).is_none() {
        section.error(text.span, format!("unknown time zone `{}`", text.value), "write an IANA name such as \"Europe/London\"");
        return None;
    }
    Some(text.value)
}

fn random_number(section: &mut Section<'_>) -> Option<Operation> {
    let min_value = section.float_in("min_value", NUMBERS).unwrap_or(0.0);
    let max_value = section.float_in("max_value", NUMBERS).unwrap_or(1.0);
    if min_value > max_value {
        section.error(section.span(), "`min_value` is above `max_value`", "");
        return None;
    }
    Some(Operation::RandomNumber { min_value, max_value })
}
