//! Values between scripts and the program: JSON on the outside, Rhai's own inside.

use rhai::{Dynamic, INT, ImmutableString};
use serde_json::Value as Json;

/// Deeper structures are cut off: they become `()` and null.
const MAX_NESTING: usize = 16;

/// What a script sees of `json`.
pub(super) fn to_dynamic(json: &Json) -> Dynamic {
    inward(json, MAX_NESTING)
}

fn inward(json: &Json, depth: usize) -> Dynamic {
    match json {
        Json::Bool(value) => Dynamic::from_bool(*value),
        // A UInt64 beyond Rhai's integers is the nearest floating-point number.
        Json::Number(number) => match number.as_i64() {
            Some(value) => Dynamic::from_int(value),
            None => number.as_f64().map_or(Dynamic::UNIT, Dynamic::from_float),
        },
        Json::String(text) => Dynamic::from(ImmutableString::from(text.as_str())),
        Json::Array(elements) if depth > 0 => {
            Dynamic::from_array(elements.iter().map(|element| inward(element, depth - 1)).collect())
        }
        Json::Object(fields) if depth > 0 => {
            Dynamic::from_map(fields.iter().map(|(key, value)| (key.as_str().into(), inward(value, depth - 1))).collect())
        }
        Json::Null | Json::Array(_) | Json::Object(_) => Dynamic::UNIT,
    }
}

/// A script's value as JSON: null for `()`, functions, NaN, infinity and the program's own objects.
pub(super) fn to_json(value: &Dynamic) -> Json {
    outward(value, MAX_NESTING)
}

fn outward(value: &Dynamic, depth: usize) -> Json {
    if let Ok(value) = value.as_bool() {
        return value.into();
    }
    if let Ok(value) = value.as_int() {
        return value.into();
    }
    if let Ok(value) = value.as_float() {
        return value.into();
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.as_str().into();
    }
    if let Ok(character) = value.as_char() {
        return character.to_string().into();
    }
    if depth == 0 {
        return Json::Null;
    }
    if let Ok(elements) = value.as_array_ref() {
        return elements.iter().map(|element| outward(element, depth - 1)).collect();
    }
    if let Ok(fields) = value.as_map_ref() {
        return Json::Object(fields.iter().map(|(key, value)| (key.to_string(), outward(value, depth - 1))).collect());
    }
    Json::Null
}

/// An alarm of the HTTP API as scripts see it: with `name`, `active`, `acked` and `level` (0 `diagnostic` … 4 `critical`) beside
/// what the API says. `()` for null.
pub(super) fn alarm(json: &Json) -> Dynamic {
    let Json::Object(fields) = json else { return Dynamic::UNIT };
    let text = |key: &str| fields.get(key).and_then(Json::as_str).unwrap_or_default();
    let state = text("state");
    let level = crate::engine::plan::Priority::ALL.iter().position(|priority| priority.name() == text("priority"));
    let Some(mut map) = to_dynamic(json).try_cast::<rhai::Map>() else { return Dynamic::UNIT };
    map.insert("name".into(), text("path").rsplit('/').next().unwrap_or_default().into());
    map.insert("active".into(), Dynamic::from_bool(state.starts_with("Active")));
    map.insert("acked".into(), Dynamic::from_bool(!state.ends_with("Unacked")));
    map.insert("level".into(), Dynamic::from_int(level.and_then(|level| INT::try_from(level).ok()).unwrap_or(-1)));
    Dynamic::from_map(map)
}
