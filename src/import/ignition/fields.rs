//! The properties of a node, each taken once: what nobody took is told.

use serde_json::{Map, Value as Json};

use super::{Notes, binding};

/// Properties of a tag or an alarm.
pub(super) struct Fields {
    table: Map<String, Json>,
    /// For notes.
    pub place: String,
}

impl Fields {
    pub fn new(table: Map<String, Json>, place: String) -> Self {
        Self { table, place }
    }

    /// The value of `key`; null is as good as absent.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        self.table.remove(key).filter(|value| !value.is_null())
    }

    /// A text that is neither empty nor bound; what is bound is told.
    pub fn text(&mut self, key: &str, notes: &mut Notes) -> Option<String> {
        let value = self.unbound(key, notes)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (!text.trim().is_empty()).then_some(text)
    }

    /// A finite number, also as a text.
    pub fn number(&mut self, key: &str, notes: &mut Notes) -> Option<f64> {
        let value = self.unbound(key, notes)?;
        let number = to_number(&value);
        if number.is_none() {
            notes.left_out(&self.place, format!("`{key}`: {value} is no number"));
        }
        number
    }

    /// True or false, also as a text or a number.
    pub fn truth(&mut self, key: &str, notes: &mut Notes) -> Option<bool> {
        let value = self.unbound(key, notes)?;
        let truth = to_truth(&value);
        if truth.is_none() {
            notes.left_out(&self.place, format!("`{key}`: {value} is neither true nor false"));
        }
        truth
    }

    fn unbound(&mut self, key: &str, notes: &mut Notes) -> Option<Json> {
        let value = self.take(key)?;
        if let Some((kind, text)) = binding(&value) {
            notes.left_out(&self.place, format!("`{key}` is bound ({kind}: {text})"));
            return None;
        }
        Some(value)
    }

    /// What nobody took.
    pub fn rest(self) -> Map<String, Json> {
        self.table
    }
}

pub(super) fn to_number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

pub(super) fn to_truth(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(value) => Some(*value),
        Json::Number(number) => number.as_f64().map(|number| number != 0.0),
        Json::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
        Json::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
        _ => None,
    }
}
