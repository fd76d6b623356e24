//! Parameters of UDT instances: `{Device}`, `{Unit+1}`, `{Number|000}` in the properties of members.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::binding;

/// The parameters of one instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Their values, those that Ignition gives itself among them.
    pub values: BTreeMap<String, Json>,
}

impl Scope {
    /// A property with its parameters replaced, in all its parts. What could not be replaced is added to `unknown`.
    pub fn fill(&self, value: &Json, unknown: &mut Vec<String>) -> Json {
        if let Some((kind, text)) = binding(value) {
            return match kind.to_ascii_lowercase().as_str() {
                "parameter" => self.text(text, unknown),
                "udtparameter" => match self.values.get(text) {
                    Some(value) => value.clone(),
                    None => self.text(text, unknown),
                },
                _ => bound(value, &self.expression(text)),
            };
        }
        match value {
            Json::Array(list) => list.iter().map(|value| self.fill(value, unknown)).collect(),
            Json::Object(table) => Json::Object(self.table(table, unknown)),
            other => other.clone(),
        }
    }

    /// As [`Scope::fill`], for each property. Members below are left alone: their parameters may be others.
    pub fn table(&self, table: &Map<String, Json>, unknown: &mut Vec<String>) -> Map<String, Json> {
        let fill = |(key, value): (&String, &Json)| {
            let filled = match (key.as_str(), value) {
                ("tags", _) => value.clone(),
                // Expressions are texts, and know the parameters all the same.
                ("expression" | "deriveExpressionGetter", Json::String(text)) => Json::String(self.expression(text)),
                ("sourceTagPath" | "opcItemPath" | "opcServer", Json::String(text)) => self.text(text, &mut Vec::new()),
                _ => self.fill(value, unknown),
            };
            (key.clone(), filled)
        };
        table.iter().map(fill).collect()
    }

    /// A text with its parameters replaced; the value itself when the text is nothing but one parameter.
    fn text(&self, text: &str, unknown: &mut Vec<String>) -> Json {
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
            && !name.contains(['{', '}'])
            && let Some(value) = self.value(name)
        {
            return value;
        }
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, after) = rest.split_at(start);
            result.push_str(before);
            let Some(end) = after.find('}') else {
                rest = after;
                break;
            };
            let name = &after[1..end];
            match self.value(name) {
                Some(value) => result.push_str(&plain(&value)),
                None => {
                    // `{[.]Tag}` is a tag, not a parameter.
                    if !name.starts_with('[') {
                        unknown.push(name.to_owned());
                    }
                    result.push_str(&after[..=end]);
                }
            }
            rest = &after[end + 1..];
        }
        result.push_str(rest);
        Json::String(result)
    }

    /// An expression with its parameters replaced by literals; within the braces of a tag's path by their text.
    fn expression(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(['{', '"', '\'']) {
            let (before, after) = rest.split_at(start);
            result.push_str(before);
            let first = after.chars().next().unwrap_or_default();
            let end = if first == '{' { closing(after) } else { after[1..].find(first).map(|end| end + 1) };
            let Some(end) = end else {
                rest = after;
                break;
            };
            let inside = &after[1..end];
            if first == '{' && inside.contains('{') {
                result.push('{');
                result.push_str(&plain(&self.text(inside, &mut Vec::new())));
                result.push('}');
            } else if first == '{'
                && let Some(value) = self.value(inside)
            {
                result.push_str(&literal(&value));
            } else {
                result.push_str(&after[..=end]);
            }
            rest = &after[end + 1..];
        }
        result.push_str(rest);
        result
    }

    /// `Name`, `Name+1`, `Name*2`, or `Name|000` for leading zeros.
    fn value(&self, text: &str) -> Option<Json> {
        let text = text.trim();
        if let Some(value) = self.values.get(text) {
            return Some(value.clone());
        }
        if let Some((name, zeros)) = text.split_once('|') {
            let number = whole(self.values.get(name.trim())?)?;
            let width = zeros.trim().len();
            return zeros.trim().bytes().all(|byte| byte == b'0').then(|| format!("{number:0width$}").into());
        }
        let at = text.find(['+', '-', '*', '/'])?;
        let left = whole(self.values.get(text[..at].trim())?)?;
        let right: i64 = text[at + 1..].trim().parse().ok()?;
        let result = match text.as_bytes()[at] {
            b'+' => left.checked_add(right),
            b'-' => left.checked_sub(right),
            b'*' => left.checked_mul(right),
            _ => left.checked_div(right),
        };
        result.map(Json::from)
    }
}

/// Where the brace at the beginning of `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn whole(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn literal(value: &Json) -> String {
    match value {
        Json::String(text) if text.trim().parse::<f64>().is_ok() => text.trim().to_owned(),
        Json::String(text) => format!("\"{}\"", text.replace('"', "\\\"")),
        other => other.to_string(),
    }
}

/// The binding with another text.
fn bound(value: &Json, text: &str) -> Json {
    let mut value = value.clone();
    let key = if value.get("binding").is_some() { "binding" } else { "value" };
    value[key] = text.into();
    value
}
