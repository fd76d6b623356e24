//! One tag of the export as a draft of ours. Types come first, for all: expressions and alarms depend on those of other tags.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{
    Notes, Options, alarm,
    alarm::AlarmDraft,
    binding,
    expand::Found,
    fields::{Fields, to_number, to_truth},
    formula::{self, Formula, Kind, Tags},
    join,
};
use crate::{
    source::opcua::address::NodeAddress,
    tag::{DataType, Rank, TagPath, Value, ValueType},
};

/// A tag that can be taken over, unless what it refers to cannot.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// In the export.
    pub path: String,
    pub value_type: ValueType,
    pub origin: Origin,
    pub unit: Option<String>,
    pub range: Option<(f64, f64)>,
    pub deadband: Option<f64>,
    pub description: Option<String>,
    pub history: bool,
    pub writable: bool,
    pub alarms: Vec<AlarmDraft>,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Opc { server: String, address: String, scale: Option<Scale> },
    Memory { initial: Option<Json> },
    Derived(Formula),
}

/// Linear scaling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub raw: (f64, f64),
    pub eu: (f64, f64),
    pub clamp: bool,
}

/// Our path for a path of the export.
pub(super) fn ours(path: &str, options: &Options) -> String {
    let under = options.under.trim_matches('/');
    if under.is_empty() { path.to_owned() } else { join(under, path) }
}

/// A tag whose type is known and whose properties are still to be read.
struct Typed {
    fields: Fields,
    value_type: ValueType,
}

/// Drafts of all tags that can be taken over.
pub(super) fn drafts(found: Vec<Found>, options: &Options, notes: &mut Notes) -> Vec<Draft> {
    let typed: Vec<Typed> = found.into_iter().filter_map(|found| typed(found, options, notes)).collect();
    let types: HashMap<String, ValueType> = typed.iter().map(|tag| (tag.fields.place.clone(), tag.value_type)).collect();
    let kind =
        |path: &str| types.get(path).filter(|found| found.rank == Rank::Scalar).and_then(|found| Kind::of(found.data_type));
    let our_path = |path: &str| ours(path, options);
    let mut drafts = Vec::with_capacity(typed.len());
    let mut can_be_written = 0;
    for tag in typed {
        let here = tag.fields.place.clone();
        let tags = Tags { kind: &kind, ours: &our_path, here: &here };
        let Some(mut draft) = draft(tag, &tags, notes) else { continue };
        if draft.writable && !options.writable {
            draft.writable = false;
            can_be_written += 1;
        }
        drafts.push(draft);
    }
    if can_be_written > 0 {
        let what = format!(
            "the right to write {can_be_written} tags that are not readOnly; --writable takes it over, for role engineer"
        );
        notes.changed("(all)", what);
    }
    drafts
}

/// Names of data types and ours.
const TYPES: [(&str, DataType); 10] = [
    ("Int1", DataType::SByte),
    ("Int2", DataType::Int16),
    ("Int4", DataType::Int32),
    ("Int8", DataType::Int64),
    ("Float4", DataType::Float),
    ("Float8", DataType::Double),
    ("Boolean", DataType::Boolean),
    ("String", DataType::String),
    ("Text", DataType::String),
    ("DateTime", DataType::DateTime),
];

fn typed(found: Found, options: &Options, notes: &mut Notes) -> Option<Typed> {
    let mut fields = Fields::new(found.fields, found.path);
    fields.take("name");
    fields.take("tagType");
    if fields.truth("enabled", notes) == Some(false) {
        notes.left_out(&fields.place, "this tag is disabled");
        return None;
    }
    let path = ours(&fields.place, options);
    if let Err(error) = TagPath::new(&path) {
        notes.left_out(&fields.place, format!("the path {path:?}: {error}"));
        return None;
    }
    let first = path.split('/').next().unwrap_or_default();
    if matches!(first, "System" | "Alarms") {
        notes
            .left_out(&fields.place, format!("{first:?} is reserved as the first segment of a path: import with --under FOLDER"));
        return None;
    }
    // Left out of an export, it is Int4.
    let name = fields.text("dataType", notes).unwrap_or_else(|| "Int4".to_owned());
    let (scalar, rank) = match name.strip_suffix("Array") {
        // Ignition does not say how long an array is.
        Some("Byte") => ("Int1", Rank::Array(0)),
        Some(scalar) => (scalar, Rank::Array(0)),
        None => (name.as_str(), Rank::Scalar),
    };
    let Some((_, data_type)) = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(scalar)) else {
        notes.left_out(&fields.place, format!("the data type {name:?} has no equivalent"));
        return None;
    };
    Some(Typed { fields, value_type: ValueType { data_type: *data_type, rank } })
}

fn draft(tag: Typed, tags: &Tags<'_>, notes: &mut Notes) -> Option<Draft> {
    let Typed { mut fields, value_type } = tag;
    let limits = limits(&mut fields, notes);
    let origin = match origin(&mut fields, value_type, tags, notes) {
        Ok(origin) => origin,
        Err(why) => {
            notes.left_out(&fields.place, why);
            return None;
        }
    };
    let derived = matches!(origin, Origin::Derived(_));
    let read_only = fields.truth("readOnly", notes).unwrap_or(false);
    let description = [fields.text("documentation", notes), fields.text("tooltip", notes)].into_iter().flatten().next();
    let unit = fields.text("engUnit", notes);
    let deadband = deadband(&mut fields, limits.range, value_type, notes);
    let history = history(&mut fields, notes);
    let evaluated = fields.truth("alarmEvalEnabled", notes) != Some(false);
    let list = match fields.take("alarms") {
        Some(Json::Array(list)) => list,
        Some(_) => {
            notes.left_out(&fields.place, "`alarms` is no list");
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut draft = Draft {
        path: fields.place.clone(),
        value_type,
        origin,
        unit,
        range: limits.range,
        deadband,
        description,
        history,
        writable: !read_only && !derived,
        alarms: Vec::new(),
    };
    if evaluated {
        let facts = alarm::Facts { value_type, range: limits.range, span: limits.span };
        draft.alarms = alarm::drafts(list, &fields.place, &facts, tags, notes);
    } else if !list.is_empty() {
        notes.left_out(&fields.place, format!("{} alarms: `alarmEvalEnabled` is false", list.len()));
    }
    tell_the_rest(fields, notes);
    // A wrong range cannot stand there, and nothing but the range alarm needs one.
    draft.range = draft.range.filter(|_| value_type.rank == Rank::Scalar && value_type.data_type.is_numeric());
    Some(draft)
}

struct Limits {
    /// As written, when it can be a range.
    range: Option<(f64, f64)>,
    /// What percentages are of.
    span: f64,
}

fn limits(fields: &mut Fields, notes: &mut Notes) -> Limits {
    let (low, high) = (fields.number("engLow", notes), fields.number("engHigh", notes));
    // Left out of an export, they are 0 and 100.
    let (left, right) = (low.unwrap_or(0.0), high.unwrap_or(100.0));
    if fields.text("engLimitMode", notes).is_some_and(|mode| mode != "No_Clamp") {
        notes.changed(&fields.place, "`engLimitMode`: values beyond the engineering limits are not clamped");
    }
    let given = low.is_some() || high.is_some();
    if given && left >= right {
        notes.left_out(&fields.place, format!("engineering limits: engLow {left} is not below engHigh {right}"));
    }
    Limits { range: (given && left < right).then_some((left, right)), span: (right - left).abs() }
}

fn origin(fields: &mut Fields, value_type: ValueType, tags: &Tags<'_>, notes: &mut Notes) -> Result<Origin, String> {
    let source = fields.text("valueSource", notes).unwrap_or_else(|| "memory".to_owned());
    let scaling = scaling(fields, notes);
    let value = fields.take("value");
    let origin = match source.to_ascii_lowercase().as_str() {
        "opc" => return opc(fields, scaling?, notes),
        "memory" => Origin::Memory { initial: value.and_then(|value| initial(&value, value_type, &fields.place, notes)) },
        "expr" | "expression" => {
            let text = fields.text("expression", notes).ok_or("an expression tag without an `expression`")?;
            derived(&text, value_type, tags)?
        }
        "reference" => {
            let path = fields.text("sourceTagPath", notes).ok_or("a reference tag without a `sourceTagPath`")?;
            derived(&format!("{{{path}}}"), value_type, tags)?
        }
        "derived" => {
            let path = fields.text("sourceTagPath", notes).ok_or("a derived tag without a `sourceTagPath`")?;
            let getter = fields.text("deriveExpressionGetter", notes).unwrap_or_else(|| "{source}".to_owned());
            if fields.take("deriveExpressionSetter").is_some() {
                notes.left_out(&fields.place, "`deriveExpressionSetter`: a derived tag cannot be written here");
            }
            derived(&getter.replace("{source}", &format!("{{{path}}}")), value_type, tags)?
        }
        "db" => return Err("a query tag: there are no queries here".to_owned()),
        other => return Err(format!("the value source {other:?} has no equivalent")),
    };
    if !matches!(scaling, Ok(None)) {
        notes.left_out(&fields.place, "the scaling of a tag without a device");
    }
    Ok(origin)
}

fn derived(expression: &str, value_type: ValueType, tags: &Tags<'_>) -> Result<Origin, String> {
    if value_type.rank != Rank::Scalar {
        return Err("an expression that gives an array".to_owned());
    }
    let failed = |why: String| format!("the expression {expression:?}: {why}");
    let formula = formula::translate(expression, tags).map_err(failed)?;
    if !formula.kind.fits(value_type.data_type) {
        return Err(failed(format!("it gives another kind of value than {value_type}")));
    }
    Ok(Origin::Derived(formula))
}

fn opc(fields: &mut Fields, scale: Option<Scale>, notes: &mut Notes) -> Result<Origin, String> {
    let server = fields.text("opcServer", notes).unwrap_or_else(|| "Ignition OPC UA Server".to_owned());
    let Some(written) = fields.text("opcItemPath", notes) else { return Err("an OPC tag without an `opcItemPath`".to_owned()) };
    let address = if written.starts_with('[') {
        notes.changed(
            &fields.place,
            format!("the item path {written:?} has no namespace: ns=1 was taken, as Ignition's own server has it"),
        );
        format!("ns=1;s={written}")
    } else {
        written
    };
    match address.parse::<NodeAddress>() {
        Ok(_) if !address.starts_with('/') => Ok(Origin::Opc { server, address, scale }),
        Ok(_) => Err(format!("the item path {address:?} is no node id")),
        Err(why) => Err(format!("the item path {address:?}: {why}")),
    }
}

/// The scaling, when it is one that exists here.
fn scaling(fields: &mut Fields, notes: &mut Notes) -> Result<Option<Scale>, String> {
    let mode = fields.text("scaleMode", notes).unwrap_or_else(|| "Off".to_owned());
    let clamp = fields.text("clampMode", notes).unwrap_or_else(|| "No_Clamp".to_owned());
    // Left out of an export, they are 0 and 10.
    let mut end = |key: &str, default: f64| fields.number(key, notes).unwrap_or(default);
    let raw = (end("rawLow", 0.0), end("rawHigh", 10.0));
    let eu = (end("scaledLow", 0.0), end("scaledHigh", 10.0));
    match mode.as_str() {
        "Off" => Ok(None),
        #[allow(clippy::float_cmp)]
        "Linear" if raw.0 == raw.1 || eu.0 == eu.1 => Err("linear scaling with two equal ends".to_owned()),
        "Linear" => {
            if matches!(clamp.as_str(), "Clamp_Low" | "Clamp_High") {
                notes.changed(
                    &fields.place,
                    format!("`clampMode` {clamp}: here a scaling clamps both ends or none, and it is none"),
                );
            }
            Ok(Some(Scale { raw, eu, clamp: clamp == "Clamp_Both" }))
        }
        other => Err(format!("the scaling {other:?} has no equivalent: its values would be wrong")),
    }
}

/// A memory tag's value in the form of our configuration.
fn initial(value: &Json, value_type: ValueType, place: &str, notes: &mut Notes) -> Option<Json> {
    let unknown = |notes: &mut Notes| {
        notes.left_out(place, format!("`value`: {value} is no value of type {value_type}; it begins as zero or empty"));
        None
    };
    if binding(value).is_some() {
        return unknown(notes);
    }
    let json = match (value, value_type.rank) {
        (Json::Array(list), Rank::Array(_)) => {
            list.iter().map(|value| scalar(value, value_type.data_type)).collect::<Option<Vec<_>>>().map(Json::Array)
        }
        (_, Rank::Array(_)) => None,
        (value, Rank::Scalar) => scalar(value, value_type.data_type),
    };
    match json {
        Some(json) if Value::from_json(&json, value_type).is_ok() => Some(json),
        _ => unknown(notes),
    }
}

fn scalar(value: &Json, data_type: DataType) -> Option<Json> {
    Some(match data_type {
        DataType::Boolean => to_truth(value)?.into(),
        DataType::String => value.as_str().map_or_else(|| value.to_string(), str::to_owned).into(),
        DataType::DateTime => jiff::Timestamp::from_millisecond(value.as_i64()?).ok()?.to_string().into(),
        integer if integer.is_integer() => {
            value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()).map_or_else(|| value.clone(), Json::from)
        }
        _ => to_number(value)?.into(),
    })
}

/// Left out of an export, it is 0.0001: too little to be worth a line.
fn deadband(fields: &mut Fields, range: Option<(f64, f64)>, value_type: ValueType, notes: &mut Notes) -> Option<f64> {
    let mode = fields.text("deadbandMode", notes).unwrap_or_else(|| "Absolute".to_owned());
    let value = fields.number("deadband", notes)?;
    if value <= 0.0 || value_type.rank != Rank::Scalar || !value_type.data_type.is_numeric() {
        return None;
    }
    match mode.as_str() {
        "Absolute" => Some(value),
        "Percent" => {
            let (low, high) = range.unwrap_or((0.0, 100.0));
            Some(value / 100.0 * (high - low))
        }
        "Off" => None,
        other => {
            notes.left_out(&fields.place, format!("`deadbandMode` {other:?} has no equivalent"));
            None
        }
    }
}

fn history(fields: &mut Fields, notes: &mut Notes) -> bool {
    let history = fields.truth("historyEnabled", notes).unwrap_or(false);
    if history {
        notes.changed(&fields.place, "history is kept here, by the rules of [retention]");
    }
    history
}

/// Properties that mean nothing at these values, or without what they belong to.
const SILENT: [(&str, &str); 2] = [("tagGroup", "Default"), ("formatString", "#,##0.##")];

/// What each property that cannot be taken over is.
fn tell_the_rest(fields: Fields, notes: &mut Notes) {
    let place = fields.place.clone();
    for (key, value) in fields.rest() {
        let silent = value.is_null() || SILENT.contains(&(key.as_str(), value.as_str().unwrap_or_default()));
        let empty = value.as_array().is_some_and(Vec::is_empty)
            || value == ""
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        if silent || empty || key == "tags" {
            continue;
        }
        let what = match key.as_str() {
            "eventScripts" => "`eventScripts`: scripts of tags have no equivalent".to_owned(),
            "readPermissions" | "writePermissions" => format!("`{key}`: rights go by role here"),
            "tagGroup" => "`tagGroup`: how often values are read is said by the source".to_owned(),
            _ => format!("`{key}` has no equivalent"),
        };
        notes.left_out(&place, what);
    }
}
