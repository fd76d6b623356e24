//! Alarms of the export. A limit that cannot be taken over exactly costs the alarm: a wrong one would be worse than none.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use serde_json::{Value as Json, json};

use super::{
    Notes, binding,
    fields::{Fields, to_number, to_truth},
    formula::{self, Formula, Kind, Tags},
};
use crate::{
    engine::template,
    tag::{DataType, Rank, TagPath, Value, ValueType},
};

/// What an alarm must know of its tag.
pub(super) struct Facts {
    pub value_type: ValueType,
    pub range: Option<(f64, f64)>,
    /// What a deadband in percent is of.
    pub span: f64,
}

/// An alarm that can be taken over, unless what it refers to cannot.
#[derive(Clone, Debug)]
pub(super) struct AlarmDraft {
    pub name: String,
    /// Keys and values of our configuration, in its order.
    pub keys: Vec<(&'static str, Json)>,
    pub pipelines: Vec<(&'static str, String)>,
    pub data: BTreeMap<String, String>,
    /// Paths in the export of the tags that it reads.
    pub inputs: Vec<String>,
}

/// The longest delay, see `config::alarms`.
const DAY: f64 = 86_400.0;

/// The alarms of one tag.
pub(super) fn drafts(list: Vec<Json>, path: &str, tag: &Facts, tags: &Tags<'_>, notes: &mut Notes) -> Vec<AlarmDraft> {
    let mut names = BTreeSet::new();
    let mut drafts = Vec::new();
    for (index, alarm) in list.into_iter().enumerate() {
        let Json::Object(table) = alarm else {
            notes.left_out(path, format!("alarm {} is no table", index + 1));
            continue;
        };
        let name = super::segment(table.get("name").and_then(Json::as_str).unwrap_or_default());
        let mut fields = Fields::new(table, format!("{path}: alarm {name}"));
        fields.take("name");
        let whole = format!("{}/Alarms/{name}/ActiveTime", (tags.ours)(path));
        if name.is_empty() || TagPath::new(&whole).is_err() {
            notes.left_out(path, format!("alarm {} has no name, or one that is too long", index + 1));
        } else if !names.insert(name.clone()) {
            notes.left_out(&fields.place, "a second alarm of this name");
        } else {
            drafts.extend(draft(name, fields, tag, tags, notes));
        }
    }
    drafts
}

fn draft(name: String, mut fields: Fields, tag: &Facts, tags: &Tags<'_>, notes: &mut Notes) -> Option<AlarmDraft> {
    if fields.truth("enabled", notes) == Some(false) {
        notes.left_out(&fields.place, "this alarm is disabled");
        return None;
    }
    let mut draft = AlarmDraft { name, keys: Vec::new(), pipelines: Vec::new(), data: BTreeMap::new(), inputs: Vec::new() };
    if let Err(why) = mode(&mut fields, tag, tags, &mut draft, notes) {
        notes.left_out(&fields.place, why);
        return None;
    }
    let momentary = draft.keys.contains(&("mode", "any_change".into()));
    for (theirs, ours) in [("timeOnDelaySeconds", "on_delay"), ("timeOffDelaySeconds", "off_delay")] {
        delay(&mut fields, theirs, ours, &mut draft, notes);
    }
    draft.keys.push(("priority", priority(&mut fields, notes).into()));
    let ack_mode = ack_mode(&mut fields, notes);
    if ack_mode != "manual" {
        draft.keys.push(("ack_mode", ack_mode.into()));
    }
    if fields.truth("shelvingAllowed", notes) == Some(false) {
        draft.keys.push(("shelving", false.into()));
    }
    pipelines(&mut fields, momentary, &mut draft, notes);
    texts(&mut fields, &mut draft, notes);
    for (key, default) in [("ackNotesReqd", "false"), ("timestampSource", "System"), ("anyChange", "false")] {
        if let Some(value) = fields.text(key, notes).filter(|value| value != default) {
            notes.left_out(&fields.place, format!("`{key}` {value} has no equivalent"));
        }
    }
    associated(fields, &mut draft, notes);
    Some(draft)
}

fn priority(fields: &mut Fields, notes: &mut Notes) -> &'static str {
    const PRIORITIES: [&str; 5] = ["diagnostic", "low", "medium", "high", "critical"];
    let bound = fields.take("priority").map(|value| match binding(&value) {
        Some((kind, text)) => Err(format!("`priority` is bound ({kind}: {text})")),
        None => {
            let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let by_number = word.parse::<usize>().ok().and_then(|index| PRIORITIES.get(index));
            by_number
                .or_else(|| PRIORITIES.iter().find(|known| known.eq_ignore_ascii_case(&word)))
                .copied()
                .ok_or_else(|| format!("the priority {word:?} is not known"))
        }
    });
    match bound {
        // Left out of an export, it is Low.
        None => "low",
        Some(Ok(priority)) => priority,
        Some(Err(why)) => {
            notes.changed(&fields.place, format!("{why}; it became high"));
            "high"
        }
    }
}

fn ack_mode(fields: &mut Fields, notes: &mut Notes) -> &'static str {
    match fields.text("ackMode", notes).unwrap_or_default().to_ascii_lowercase().as_str() {
        "auto" => "auto",
        "unused" => "unused",
        "" | "manual" => "manual",
        other => {
            notes.changed(&fields.place, format!("`ackMode` {other:?} became manual"));
            "manual"
        }
    }
}

fn delay(fields: &mut Fields, theirs: &str, ours: &'static str, draft: &mut AlarmDraft, notes: &mut Notes) {
    let Some(seconds) = fields.number(theirs, notes).filter(|seconds| *seconds > 0.0) else { return };
    if seconds > DAY {
        notes.changed(&fields.place, format!("`{theirs}` of {seconds} s became a day, the longest delay"));
    }
    let duration = Duration::from_secs_f64(seconds.min(DAY));
    let text =
        if duration.subsec_millis() == 0 { format!("{}s", duration.as_secs()) } else { format!("{}ms", duration.as_millis()) };
    draft.keys.push((ours, text.into()));
}

fn pipelines(fields: &mut Fields, momentary: bool, draft: &mut AlarmDraft, notes: &mut Notes) {
    for (theirs, ours) in [("activePipeline", "pipeline"), ("clearPipeline", "clear_pipeline"), ("ackPipeline", "ack_pipeline")] {
        let Some(written) = fields.text(theirs, notes) else { continue };
        // `Name`, `Project/Name` or `project:P:/pipeline:N`.
        let name = written.rsplit(['/']).next().unwrap_or_default();
        let name = name.strip_prefix("pipeline:").unwrap_or(name).trim();
        if ours == "clear_pipeline" && momentary {
            notes.left_out(&fields.place, "`clearPipeline` of an alarm that clears at once");
        } else if name.is_empty() {
            notes.left_out(&fields.place, format!("`{theirs}`: {written:?} is no pipeline"));
        } else {
            draft.pipelines.push((ours, name.to_owned()));
        }
    }
}

fn texts(fields: &mut Fields, draft: &mut AlarmDraft, notes: &mut Notes) {
    let label = fields.text("label", notes);
    let custom = fields.text("CustomSmsMessage", notes);
    for key in ["notes", "displayPath"] {
        if let Some(text) = fields.text(key, notes) {
            draft.data.insert(key.to_owned(), text);
        }
    }
    if let Some(label) = &label {
        draft.data.insert("label".to_owned(), label.clone());
    }
    for key in ["CustomEmailSubject", "CustomEmailMessage", "voip.customMessage"] {
        if fields.text(key, notes).is_some() {
            notes.left_out(&fields.place, format!("`{key}`: only the text of messages is taken over"));
        }
    }
    let (source, from_text) = match (custom, label) {
        (Some(custom), _) => (custom, true),
        (None, Some(label)) => (label, false),
        (None, None) => return,
    };
    let (text, unknown) = message(&source, from_text, draft);
    for name in unknown {
        notes.changed(&fields.place, format!("`CustomSmsMessage`: {{{name}}} has no equivalent and stays as it is"));
    }
    match template::check(&text, template::For::Alarm) {
        Ok(()) => draft.keys.push(("message", text.into())),
        Err(error) => notes.left_out(&fields.place, format!("the message {source:?}: {error}")),
    }
}

/// Their text as one of our templates, and the references in it that have no equivalent.
fn message(source: &str, references: bool, draft: &AlarmDraft) -> (String, Vec<String>) {
    let mut unknown = Vec::new();
    let mut text = String::new();
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, after) = rest.split_at(start);
        text.push_str(before);
        let end = after.find('}').filter(|_| references);
        let Some(end) = end else {
            // A brace that must not begin anything of ours.
            text.push_str("{{ '{' }}");
            rest = &after[1..];
            continue;
        };
        let name = &after[1..end];
        match name.to_ascii_lowercase().as_str() {
            "name" => text.push_str("{{ alarm.name }}"),
            "priority" => text.push_str("{{ alarm.priority }}"),
            "eventvalue" | "value" => text.push_str("{{ alarm.value }}"),
            "activetime" | "eventtime" => text.push_str("{{ alarm.active_time }}"),
            "eventstate" | "state" => text.push_str("{{ alarm.state }}"),
            "source" | "path" => text.push_str("{{ alarm.path }}"),
            "label" if !draft.data.contains_key("label") => text.push_str("{{ alarm.name }}"),
            "displaypath" if !draft.data.contains_key("displayPath") => text.push_str("{{ alarm.path }}"),
            lower => match draft.data.keys().find(|key| key.to_ascii_lowercase() == lower) {
                Some(key) => text.extend(["{{ alarm.data[\"", key, "\"] }}"]),
                None => {
                    unknown.push(name.to_owned());
                    text.push_str("{{ '{' }}");
                    text.push_str(&name.replace('{', "{{ '{' }}"));
                    text.push('}');
                }
            },
        }
        rest = &after[end + 1..];
    }
    text.push_str(rest);
    (text, unknown)
}

/// Every key that Ignition does not know is data of the alarm.
fn associated(fields: Fields, draft: &mut AlarmDraft, notes: &mut Notes) {
    let place = fields.place.clone();
    for (key, value) in fields.rest() {
        let text = match &value {
            Json::Null => continue,
            Json::String(text) => text.clone(),
            Json::Bool(_) | Json::Number(_) => value.to_string(),
            Json::Array(_) | Json::Object(_) => {
                let why = binding(&value)
                    .map_or_else(|| "is no single value".to_owned(), |(kind, text)| format!("is bound ({kind}: {text})"));
                notes.left_out(&place, format!("the associated data `{key}` {why}"));
                continue;
            }
        };
        draft.data.insert(key, text);
    }
}

/// Spellings of modes, without spaces and in lower case; the first of each is Ignition's own.
const MODES: [(&[&str], &str); 13] = [
    (&["equality", "equal", "equals"], "equal"),
    (&["inequality", "notequal", "notequals"], "not_equal"),
    (&["abovevalue", "abovesetpoint", "above"], "above"),
    (&["belowvalue", "belowsetpoint", "below"], "below"),
    (&["betweenvalues", "betweensetpoints", "between"], "between"),
    (&["outsidevalues", "outsidesetpoints", "outside"], "outside"),
    (&["outofengrange", "outofengineeringrange", "outofrange"], "out_of_range"),
    (&["badquality"], "bad_quality"),
    (&["anychange"], "any_change"),
    (&["bit", "bitstate"], "bit"),
    (&["oncondition", "condition"], "condition"),
    (&["whentrue"], "true"),
    (&["whenfalse"], "false"),
];

fn mode(fields: &mut Fields, tag: &Facts, tags: &Tags<'_>, draft: &mut AlarmDraft, notes: &mut Notes) -> Result<(), String> {
    let written = match (fields.text("mode", notes), fields.text("alarmMode", notes)) {
        (Some(mode), _) => mode,
        (None, Some(mode)) => {
            notes.changed(&fields.place, "`alarmMode` was taken for `mode`");
            mode
        }
        // Left out of an export, it is Equality.
        (None, None) => "Equality".to_owned(),
    };
    let plain: String = written.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_ascii_lowercase();
    let (words, mode) = MODES
        .iter()
        .find(|(words, _)| words.contains(&plain.as_str()))
        .ok_or_else(|| format!("the mode {written:?} is not known"))?;
    if words[0] != plain || written.contains(' ') {
        notes.changed(&fields.place, format!("the mode {written:?} was taken for {:?}", words[0]));
    }
    let mut limits = Limits {
        a: fields.take("setpointA"),
        b: fields.take("setpointB"),
        // Left out of an export, both are true.
        inclusive_a: fields.truth("inclusiveA", notes).unwrap_or(true),
        inclusive_b: fields.truth("inclusiveB", notes).unwrap_or(true),
        deadband: deadband(fields, tag, notes),
        bit: fields.number("bitPosition", notes),
        on_zero: fields.truth("bitOnZero", notes).unwrap_or(false),
        condition: fields.take("activeCondition"),
    };
    limits.keys(mode, tag, tags, &fields.place.clone(), draft, notes)
}

/// In units of the tag. A percentage is of the engineering range.
fn deadband(fields: &mut Fields, tag: &Facts, notes: &mut Notes) -> Option<f64> {
    let mode = fields.text("deadbandMode", notes).unwrap_or_else(|| "Absolute".to_owned());
    let value = fields.number("deadband", notes).filter(|value| *value > 0.0)?;
    match mode.to_ascii_lowercase().as_str() {
        "absolute" => Some(value),
        "percent" => {
            let absolute = value / 100.0 * tag.span;
            notes.changed(&fields.place, format!("a deadband of {value} % became {absolute}, of the engineering range"));
            (absolute > 0.0).then_some(absolute)
        }
        _ => None,
    }
}

/// Everything that decides when an alarm is active.
struct Limits {
    a: Option<Json>,
    b: Option<Json>,
    inclusive_a: bool,
    inclusive_b: bool,
    deadband: Option<f64>,
    bit: Option<f64>,
    on_zero: bool,
    condition: Option<Json>,
}

impl Limits {
    fn keys(
        &mut self,
        mode: &'static str,
        tag: &Facts,
        tags: &Tags<'_>,
        place: &str,
        draft: &mut AlarmDraft,
        notes: &mut Notes,
    ) -> Result<(), String> {
        let kind = Kind::of(tag.value_type.data_type).filter(|_| tag.value_type.rank == Rank::Scalar);
        let ordered = matches!(kind, Some(Kind::Whole | Kind::Real));
        let wrong = |what: &str| Err(format!("the mode {mode:?} needs a tag of {what}, this one is {}", tag.value_type));
        let mut keys = vec![("mode", Json::from(mode))];
        match mode {
            "equal" | "not_equal" => {
                let Some(kind) = kind else { return wrong("single values") };
                keys.push(("setpoint", exact(self.a.take(), tag, kind, tags, draft, place, notes)?));
            }
            "true" | "false" => match kind {
                Some(Kind::Truth) => keys = vec![("mode", "equal".into()), ("setpoint", (mode == "true").into())],
                Some(Kind::Whole | Kind::Real) => {
                    keys = vec![("mode", if mode == "true" { "not_equal" } else { "equal" }.into()), ("setpoint", 0.into())];
                }
                _ => return wrong("Booleans or numbers"),
            },
            "above" | "below" if ordered => {
                keys.push(("setpoint", limit(self.a.take(), "setpointA", tags, draft)?));
                keys.push(("inclusive", self.inclusive_a.into()));
                keys.extend(self.deadband.map(|deadband| ("deadband", deadband.into())));
            }
            "between" | "outside" if ordered => {
                let low = limit(self.a.take(), "setpointA", tags, draft)?;
                let high = limit(self.b.take(), "setpointB", tags, draft)?;
                if let (Some(low), Some(high)) = (low.as_f64(), high.as_f64())
                    && low >= high
                {
                    return Err(format!("setpointA {low} is not below setpointB {high}"));
                }
                if self.inclusive_a != self.inclusive_b {
                    notes.changed(
                        place,
                        "`inclusiveA` and `inclusiveB` differ: here both limits belong to the alarm, or none; they do",
                    );
                }
                keys.push(("low", low));
                keys.push(("high", high));
                keys.push(("inclusive", (self.inclusive_a || self.inclusive_b).into()));
                keys.extend(self.deadband.map(|deadband| ("deadband", deadband.into())));
            }
            "out_of_range" if ordered => {
                if tag.range.is_none() {
                    return Err("the tag has no engineering limits of its own".to_owned());
                }
                keys.extend(self.deadband.map(|deadband| ("deadband", deadband.into())));
            }
            "above" | "below" | "between" | "outside" | "out_of_range" => return wrong("numbers"),
            "bit" => {
                let bits = bits(tag.value_type.data_type).filter(|_| tag.value_type.rank == Rank::Scalar);
                let Some(bits) = bits else { return wrong("integers") };
                let position = self.bit.unwrap_or(0.0);
                let valid = position.fract() == 0.0 && (0.0..f64::from(bits)).contains(&position);
                if !valid {
                    return Err(format!("a tag of {} has no bit {position}", tag.value_type));
                }
                #[allow(clippy::cast_possible_truncation)]
                keys.push(("bit", (position as i64).into()));
                if self.on_zero {
                    keys.push(("on_zero", true.into()));
                }
            }
            "condition" => keys.push(("condition", condition(self.condition.take(), tags, draft)?.into())),
            _ => {}
        }
        draft.keys = keys;
        Ok(())
    }
}

fn bits(data_type: DataType) -> Option<u32> {
    Some(match data_type {
        DataType::SByte => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        DataType::Int64 => 64,
        _ => return None,
    })
}

/// A setpoint that is compared by order: a number, or an expression. Left out of an export, it is 0.
fn limit(value: Option<Json>, key: &str, tags: &Tags<'_>, draft: &mut AlarmDraft) -> Result<Json, String> {
    let value = value.unwrap_or_else(|| 0.into());
    if let Some(formula) = bound(&value, key, tags)? {
        if !matches!(formula.kind, Kind::Whole | Kind::Real) {
            return Err(format!("`{key}` is bound to something that is no number"));
        }
        return Ok(take(formula, draft));
    }
    // Ignition itself makes 0 of a text that is no number.
    to_number(&value)
        .map(|number| if value.is_number() { value.clone() } else { number.into() })
        .ok_or_else(|| format!("`{key}`: {value} is no number"))
}

/// A setpoint that is compared for equality, of the tag's type.
fn exact(
    value: Option<Json>,
    tag: &Facts,
    kind: Kind,
    tags: &Tags<'_>,
    draft: &mut AlarmDraft,
    place: &str,
    notes: &mut Notes,
) -> Result<Json, String> {
    let value = value.unwrap_or_else(|| if kind == Kind::Text { "".into() } else { 0.into() });
    if let Some(formula) = bound(&value, "setpointA", tags)? {
        let same = formula.kind == kind
            || (formula.kind != Kind::Text && formula.kind != Kind::Truth && kind != Kind::Text && kind != Kind::Truth);
        // Texts are expressions only when they read a tag, see `config::alarms`.
        if !same || (kind == Kind::Text && formula.inputs.is_empty()) {
            return Err("`setpointA` is bound to another kind of value than the tag's".to_owned());
        }
        return Ok(take(formula, draft));
    }
    let json = match kind {
        Kind::Truth => to_truth(&value).map(Json::from),
        Kind::Text => {
            if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
                notes.changed(place, format!("the setpoint {text:?} is compared as a text; Ignition makes 0 of it"));
            }
            // A text that looks like an expression would be read as one.
            value.as_str().filter(|text| !text.contains("tag(")).map(Json::from)
        }
        Kind::Whole => to_number(&value).filter(|number| number.fract() == 0.0).map(|number| {
            #[allow(clippy::cast_possible_truncation)]
            value.as_i64().map_or_else(|| json!(number as i64), Json::from)
        }),
        Kind::Real => to_number(&value).map(Json::from),
    };
    let json = json.ok_or_else(|| format!("`setpointA`: {value} is no value of type {}", tag.value_type))?;
    Value::from_json(&json, tag.value_type).map_err(|why| format!("`setpointA`: {why}"))?;
    Ok(json)
}

fn condition(value: Option<Json>, tags: &Tags<'_>, draft: &mut AlarmDraft) -> Result<String, String> {
    let value = value.ok_or("the mode needs an `activeCondition`")?;
    let Some(formula) = bound(&value, "activeCondition", tags)? else {
        return to_truth(&value)
            .map(|truth| truth.to_string())
            .ok_or_else(|| format!("`activeCondition`: {value} is no condition"));
    };
    if formula.kind == Kind::Text {
        return Err("`activeCondition` gives a text".to_owned());
    }
    let number = formula.kind != Kind::Truth;
    let text = take(formula, draft);
    let text = text.as_str().unwrap_or_default();
    Ok(if number { format!("({text}) != 0") } else { text.to_owned() })
}

fn take(formula: Formula, draft: &mut AlarmDraft) -> Json {
    draft.inputs.extend(formula.inputs);
    formula.text.into()
}

/// The expression that a property is bound to; none when it is not bound.
fn bound(value: &Json, key: &str, tags: &Tags<'_>) -> Result<Option<Formula>, String> {
    let Some((kind, text)) = binding(value) else { return Ok(None) };
    let source = match kind.to_ascii_lowercase().as_str() {
        "expression" => text.to_owned(),
        "tag" => format!("{{{}}}", text.trim_matches(['{', '}'])),
        other => return Err(format!("`{key}` is bound by {other:?}")),
    };
    formula::translate(&source, tags).map(Some).map_err(|why| format!("`{key}` is bound to {text:?}: {why}"))
}
