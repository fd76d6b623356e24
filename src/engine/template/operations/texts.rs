//! Operations on texts, and values as texts.

use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};
use serde_json::Value as Json;
use unicode_segmentation::UnicodeSegmentation;

use super::{MAX_TEXT, describe, needs, numbers};

/// A text of permitted length.
pub(super) fn bounded(text: String) -> Result<Json, String> {
    if text.len() > MAX_TEXT { Err(format!("gives a text of more than {MAX_TEXT} bytes")) } else { Ok(Json::String(text)) }
}

/// A value as a message shows it: sequences and structures as JSON.
pub(super) fn text_of(value: &Json) -> Result<String, String> {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => numbers::show(number),
        other => json(other),
    };
    if text.len() > MAX_TEXT { Err(format!("gives a text of more than {MAX_TEXT} bytes")) } else { Ok(text) }
}

/// JSON on one line, the fields of structures in the order of the alphabet.
pub(super) fn json(value: &Json) -> String {
    match value {
        Json::Array(elements) => format!("[{}]", elements.iter().map(json).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            let fields = fields.iter().map(|(name, field)| format!("{}:{}", Json::from(name.as_str()), json(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Json::Number(number) => numbers::show(number),
        plain => plain.to_string(),
    }
}

/// Characters, as people see them, from `start` to before `end`.
pub(super) fn part(text: &str, start: i64, end: Option<i64>) -> String {
    let characters: Vec<&str> = text.graphemes(true).collect();
    let length = i64::try_from(characters.len()).unwrap_or(i64::MAX);
    let place = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index.min(length) };
    let (start, end) = (place(start), end.map_or(length, place));
    let taken = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
    characters.get(taken).unwrap_or_default().concat()
}

/// A time in ISO 8601: Unix seconds, RFC 3339, or local time as messages show it.
pub(super) fn iso_time(value: &Json, time_zone: Option<&str>) -> Result<Json, String> {
    let no_time = || format!("cannot read {} as a time", describe(value));
    let zone = match time_zone {
        Some(name) => Some(TimeZone::get(name).map_err(|_| format!("does not know the time zone {name}"))?),
        None => None,
    };
    let instant = match value {
        Json::Number(number) => from_unix(numbers::float(number)).ok_or_else(no_time)?,
        Json::String(text) => match text.trim().parse::<jiff::Timestamp>() {
            Ok(instant) => instant,
            Err(_) => {
                let local: DateTime = text.trim().parse().map_err(|_| no_time())?;
                let Some(zone) = &zone else { return Ok(local.to_string().into()) };
                local.to_zoned(zone.clone()).map_err(|_| no_time())?.timestamp()
            }
        },
        other => return Err(needs("a time: Unix seconds or a text", other)),
    };
    let Some(zone) = zone else { return Ok(instant.to_string().into()) };
    let text = strtime::format("%Y-%m-%dT%H:%M:%S%.f%:z", &instant.to_zoned(zone)).map_err(|_| no_time())?;
    Ok(text.into())
}

/// Milliseconds are as much as a floating-point number of this size can hold for certain.
fn from_unix(seconds: f64) -> Option<jiff::Timestamp> {
    let milliseconds = (seconds * 1000.0).round();
    #[allow(clippy::cast_possible_truncation)]
    // The calendar ends with the year 9999, far within 64 bits.
    (milliseconds.abs() < 1e15).then(|| jiff::Timestamp::from_millisecond(milliseconds as i64).ok()).flatten()
}
