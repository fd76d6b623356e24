//! `[alarms]` and `[[tag.alarm]]`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    book::{Book, Kind, Roots, TagEntry},
    people::PRIORITIES,
    reader::{Section, Spanned},
    system::Own,
    twilio::check_template,
};
use crate::{
    engine::{
        gsm,
        plan::{AckFrom, AckMode, AlarmDef, AlarmRules, Limit, Mode, Priority, Setpoint, TagDef, WriteBack, WriteBackMode},
    },
    tag::{DataType, Rank, TagPath, Value, ValueType},
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY: Duration = seconds(86_400);

/// `[alarms]`.
pub(super) fn rules(roots: &mut Roots<'_>, book: &Book) -> AlarmRules {
    let mut rules = AlarmRules::default();
    let Some(mut section) = roots.section("alarms") else { return rules };
    if let Some(value) = section.boolean("notify_initial") {
        rules.notify_initial = value;
    }
    for (key, rule, low, high) in [
        ("unusable_after", &mut rules.unusable_after, seconds(1), DAY),
        ("ack_timeout", &mut rules.ack_timeout, seconds(1), seconds(3600)),
        ("unanswered_after", &mut rules.unanswered_after, seconds(10), DAY),
    ] {
        if let Some(value) = section.duration(key, low..=high) {
            *rule = value;
        }
    }
    rules.system_pipeline = book.reference(Kind::Pipeline, &mut section, "system_pipeline");
    rules.fallback = book.reference(Kind::Roster, &mut section, "fallback");
    if let Some(mut table) = section.section("max_shelve") {
        for (rule, priority) in rules.max_shelve.iter_mut().zip(Priority::ALL) {
            if let Some(value) = table.duration(priority.name(), seconds(60)..=DAY * 7) {
                *rule = value;
            }
        }
    }
    severities(&mut section, &mut rules);
    rules
}

/// What OPC UA clients see as urgency, by priority.
fn severities(section: &mut Section<'_>, rules: &mut AlarmRules) {
    let Some(mut table) = section.section("severity") else { return };
    for (rule, priority) in rules.severity.iter_mut().zip(Priority::ALL) {
        if let Some(value) = table.integer(priority.name(), 1..=1000).and_then(|value| u16::try_from(value).ok()) {
            *rule = value;
        }
    }
    if !rules.severity.is_sorted() {
        let found = rules.severity.map(|severity| severity.to_string()).join(", ");
        let message = format!("the severities fall while the priorities rise: {found}");
        let help = "from diagnostic to critical; those left out are 100, 300, 500, 700 and 900";
        table.warning(table.span(), message, help);
    }
}

/// The alarms of one tag.
pub(super) fn of_tag(section: &mut Section<'_>, tag: &TagDef, book: &Book, own: &mut Own<'_>) -> Vec<Arc<AlarmDef>> {
    let mut seen: HashMap<String, super::problems::Place> = HashMap::new();
    let mut alarms = Vec::new();
    for mut section in section.sections("alarm") {
        let Some(name) = section.required_string("name") else {
            section.ignore_rest();
            continue;
        };
        let path = format!("{}/Alarms/{}", tag.path, name.value);
        // Its variables add a segment, which must fit too.
        let longest = TagPath::new(&format!("{path}/ActiveTime"));
        if name.contains('/') || longest.is_err() {
            let help = "a name has no `/`, no control character, no space at its ends, and fits a path of 1024 bytes";
            section.error(name.span.clone(), format!("`{}` cannot be the name of an alarm", name.value), help);
            section.ignore_rest();
            continue;
        }
        if let Some(first) = seen.get(&name.value) {
            let message = format!("alarm `{}` is defined twice on this tag", name.value);
            section.error_beside(name.span.clone(), message, "rename one of them", (first.clone(), "first here"));
            section.ignore_rest();
            continue;
        }
        seen.insert(name.value.clone(), section.place(name.span.clone()));
        alarms.extend(alarm(&mut section, &path, &name, tag, book, own).map(Arc::new));
    }
    alarms
}

fn alarm(
    section: &mut Section<'_>,
    path: &str,
    name: &Spanned<String>,
    tag: &TagDef,
    book: &Book,
    own: &mut Own<'_>,
) -> Option<AlarmDef> {
    let mode = mode(section, tag, book);
    if mode.is_none() {
        // Which keys would belong to it cannot be known.
        for (key, _) in MODE_KEYS {
            section.skip(key);
        }
    }
    let delay = |section: &mut Section<'_>, key| section.duration(key, Duration::ZERO..=DAY).unwrap_or_default();
    let (on_delay, off_delay) = (delay(section, "on_delay"), delay(section, "off_delay"));
    let ack_words = [("manual", AckMode::Manual), ("auto", AckMode::Auto), ("unused", AckMode::Unused)];
    let ack_mode = section.one_of("ack_mode", &ack_words).unwrap_or_default();
    let message = section.string("message");
    if let Some(text) = &message {
        check_template(section, text, Some((book, None)));
        warn_of_ucs2(section, text);
    }
    let priority = section.one_of("priority", &PRIORITIES).unwrap_or_default();
    let deadband = section.float_in("deadband", 0.0..=f64::MAX).unwrap_or_default();
    let pipeline = book.reference(Kind::Pipeline, section, "pipeline");
    let clear_pipeline = book.reference(Kind::Pipeline, section, "clear_pipeline");
    let ack_pipeline = book.reference(Kind::Pipeline, section, "ack_pipeline");
    if clear_pipeline.is_some() && matches!(mode, Some(Mode::AnyChange)) {
        let help = "mode \"any_change\" clears in the instant in which it is raised: leave it out";
        section.error(section.key_span("clear_pipeline"), "`clear_pipeline` does not go with this mode", help);
    }
    if ack_pipeline.is_some() && ack_mode == AckMode::Unused {
        let help = "with ack_mode \"unused\" the alarm is never acknowledged";
        section.warning(section.key_span("ack_pipeline"), "`ack_pipeline` has no effect", help);
    }
    if clear_pipeline.is_some() && ack_pipeline.is_some() && ack_mode == AckMode::Auto {
        let help = "with ack_mode \"auto\" the alarm is acknowledged when it clears: leave one of the two out";
        section.warning(section.key_span("ack_pipeline"), "people are told twice that it is over", help);
    }
    let latching = section.boolean("latching").unwrap_or(false);
    let shelving = section.boolean("shelving").unwrap_or(true);
    let suppressed_by = book.tag_reference(section, "suppressed_by").map(|(text, entry)| {
        expect(section, &text, entry, "suppressed_by", "a Boolean", |data_type| data_type == DataType::Boolean);
        entry.id
    });
    let data = data(section);
    let write_back = section.section("ack").and_then(|mut table| write_back(&mut table, book));
    let ack_from = section.section("ack_from").and_then(|mut table| ack_from(&mut table, book));
    let re_alarm_after = section.duration("re_alarm_after", seconds(60)..=DAY * 30);
    if ack_mode == AckMode::Unused && (section.has("ack") || section.has("ack_from")) {
        let help = "with ack_mode \"unused\" the alarm is never acknowledged";
        section.warning(section.key_span("ack_mode"), "`ack` and `ack_from` have no effect", help);
    }
    let nodes = own.alarm_nodes(path);
    if nodes.is_none() {
        let help = "restart the program, or give the alarm another name";
        section.error(name.span.clone(), "the alarm's variables have paths that other tags had before", help);
    }
    Some(AlarmDef {
        path: path.into(),
        name: name.value.as_str().into(),
        tag: tag.id,
        mode: mode?,
        deadband,
        on_delay,
        off_delay,
        priority,
        message: message.map(|text| text.value).unwrap_or_default(),
        pipeline,
        clear_pipeline,
        ack_pipeline,
        ack_mode,
        latching,
        shelving,
        suppressed_by,
        data,
        write_back,
        ack_from,
        re_alarm_after,
        nodes: nodes?,
    })
}

/// One character outside the GSM alphabet makes a whole text dearer (SPEC 7.4).
pub(super) fn warn_of_ucs2(section: &Section<'_>, text: &Spanned<String>) {
    let folded = gsm::fold(text);
    if let Some(character) = folded.chars().find(|character| gsm::septets(*character).is_none()) {
        let message = format!("`{character}` is not in the GSM alphabet: a segment then holds 70 characters instead of 160");
        section.warning(text.span.clone(), message, "leave it out when texts shall stay short");
    }
}

/// Associated data: texts, numbers and Booleans as text.
fn data(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut data = BTreeMap::new();
    let Some(mut table) = section.section("data") else { return data };
    for key in table.remaining() {
        let text = table.text(key.value);
        data.extend(text.map(|text| (key.value.to_owned(), text)));
    }
    data
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Equal,
    NotEqual,
    Above,
    Below,
    Between,
    Outside,
    OutOfRange,
    BadQuality,
    AnyChange,
    Bit,
    Condition,
    RateOfChange,
}

const MODES: [(&str, Word); 12] = [
    ("equal", Word::Equal),
    ("not_equal", Word::NotEqual),
    ("above", Word::Above),
    ("below", Word::Below),
    ("between", Word::Between),
    ("outside", Word::Outside),
    ("out_of_range", Word::OutOfRange),
    ("bad_quality", Word::BadQuality),
    ("any_change", Word::AnyChange),
    ("bit", Word::Bit),
    ("condition", Word::Condition),
    ("rate_of_change", Word::RateOfChange),
];

/// The keys that each mode needs or may have, so that those of another mode are told.
const MODE_KEYS: [(&str, &[Word]); 9] = [
    ("setpoint", &[Word::Equal, Word::NotEqual, Word::Above, Word::Below, Word::RateOfChange]),
    ("low", &[Word::Between, Word::Outside]),
    ("high", &[Word::Between, Word::Outside]),
    ("inclusive", &[Word::Above, Word::Below, Word::Between, Word::Outside, Word::RateOfChange]),
    ("deadband", &[Word::Above, Word::Below, Word::Between, Word::Outside, Word::OutOfRange, Word::RateOfChange]),
    ("bit", &[Word::Bit]),
    ("on_zero", &[Word::Bit]),
    ("condition", &[Word::Condition]),
    ("window", &[Word::RateOfChange]),
];

fn mode(section: &mut Section<'_>, tag: &TagDef, book: &Book) -> Option<Mode> {
    let wanted = tag.value_type;
    let word = section.one_of("mode", &MODES);
    let word = match word {
        None if section.has("mode") => return None,
        None if wanted.data_type == DataType::Boolean => Word::Equal,
        None => {
            let help = "such as mode = \"above\"; only Boolean tags have a default, \"equal\" to true";
            section.error(section.span(), "`mode` is missing", help);
            return None;
        }
        Some(word) => word,
    };
    let mode_name = MODES.iter().find(|(_, known)| *known == word).map_or("", |(name, _)| name);
    for (key, _) in MODE_KEYS.iter().filter(|(_, words)| !words.contains(&word)) {
        let help = format!("leave it out, or choose another mode than \"{mode_name}\"");
        section.refuse(key, format!("`{key}` does not belong to mode \"{mode_name}\""), help);
    }
    let needs = |what: &str, fits: bool| {
        if !fits {
            let message = format!("mode \"{mode_name}\" needs a tag of {what}, this one is {wanted}");
            section.error(section.key_span("mode"), message, "");
        }
        fits
    };
    let scalar = wanted.rank == Rank::Scalar;
    match word {
        Word::Above | Word::Below | Word::Between | Word::Outside | Word::RateOfChange | Word::OutOfRange => {
            needs("numbers", scalar && wanted.data_type.is_numeric()).then_some(())?;
        }
        Word::Bit => needs("integers", scalar && wanted.data_type.is_integer()).then_some(())?,
        Word::Equal | Word::NotEqual => needs("single values", scalar).then_some(())?,
        Word::BadQuality | Word::AnyChange | Word::Condition => {}
    }
    let inclusive = section.boolean("inclusive").unwrap_or(false);
    Some(match word {
        Word::Equal | Word::NotEqual => {
            let setpoint = if section.has("setpoint") {
                exact(section, wanted, book)?
            } else if wanted.data_type == DataType::Boolean {
                Setpoint::Constant(Value::Boolean(true))
            } else {
                section.missing("setpoint");
                return None;
            };
            if word == Word::Equal { Mode::Equal(setpoint) } else { Mode::NotEqual(setpoint) }
        }
        Word::Above => Mode::Above(limit(section, "setpoint", tag, book, inclusive)?),
        Word::Below => Mode::Below(limit(section, "setpoint", tag, book, inclusive)?),
        Word::Between | Word::Outside => {
            let low = limit(section, "low", tag, book, inclusive);
            let high = limit(section, "high", tag, book, inclusive);
            let (low, high) = (low?, high?);
            if let (Setpoint::Constant(a), Setpoint::Constant(b)) = (&low.setpoint, &high.setpoint)
                && a.as_f64() >= b.as_f64()
            {
                section.error(section.key_span("low"), "`low` is not below `high`", "");
            }
            if word == Word::Between { Mode::Between(low, high) } else { Mode::Outside(low, high) }
        }
        Word::OutOfRange => {
            if tag.range.is_none() {
                section.error(section.key_span("mode"), "the tag has no `range`", "add it to the tag: range = [0.0, 100.0]");
            }
            Mode::OutOfRange
        }
        Word::BadQuality => Mode::BadQuality,
        Word::AnyChange => Mode::AnyChange,
        Word::Bit => bit(section, wanted.data_type)?,
        Word::Condition => {
            let text = section.required_string("condition")?;
            Mode::Condition(book.expression(section, &text)?)
        }
        Word::RateOfChange => Mode::RateOfChange {
            setpoint: limit(section, "setpoint", tag, book, inclusive)?,
            window: section.duration("window", Duration::from_millis(100)..=seconds(3600)).unwrap_or(seconds(10)),
        },
    })
}

fn bit(section: &mut Section<'_>, data_type: DataType) -> Option<Mode> {
    let bits: u32 = match data_type {
        DataType::SByte | DataType::Byte => 8,
        DataType::Int16 | DataType::UInt16 => 16,
        DataType::Int32 | DataType::UInt32 => 32,
        _ => 64,
    };
    let on_zero = section.boolean("on_zero").unwrap_or(false);
    if !section.has("bit") {
        section.missing("bit");
    }
    let position = section.integer("bit", 0..=i64::from(bits - 1))?;
    Some(Mode::Bit { position: u32::try_from(position).ok()?, on_zero })
}

/// A setpoint that is compared for equality: of the tag's type, or `tag(path)`.
fn exact(section: &mut Section<'_>, wanted: ValueType, book: &Book) -> Option<Setpoint> {
    if let Some(text) = expression_text(section, "setpoint", wanted.data_type) {
        return book.expression(section, &text).map(Setpoint::Expression);
    }
    section.value("setpoint", wanted).map(|value| Setpoint::Constant(value.value))
}

/// A setpoint that is compared by order: a number, or `tag(path)`.
fn limit(section: &mut Section<'_>, key: &str, tag: &TagDef, book: &Book, inclusive: bool) -> Option<Limit> {
    if !section.has(key) {
        section.missing(key);
        return None;
    }
    if let Some(text) = expression_text(section, key, tag.value_type.data_type) {
        return book.expression(section, &text).map(|expression| Limit { setpoint: Setpoint::Expression(expression), inclusive });
    }
    let number = section.float(key)?;
    if let Some((low, high)) = tag.range.filter(|(low, high)| key != "setpoint" && (number < *low || number > *high)) {
        section.warning(section.key_span(key), format!("`{key}` is outside the tag's range of {low} to {high}"), "");
    }
    // Integers are kept exact: as floating-point numbers the large ones of Int64 run together.
    let exact = section.whole(key).and_then(|number| tag.value_type.data_type.from_i128(number));
    Some(Limit { setpoint: Setpoint::Constant(exact.unwrap_or(Value::Double(number))), inclusive })
}

/// The string at `key` when it is an expression: always for numbers, for texts when it reads a tag.
fn expression_text(section: &mut Section<'_>, key: &str, data_type: DataType) -> Option<Spanned<String>> {
    if !section.has_string(key) {
        return None;
    }
    let text = section.string(key)?;
    (data_type.is_numeric() || data_type == DataType::Boolean || text.contains("tag(")).then_some(text)
}

/// Notes when a tag is not of a type that `fits`.
fn expect(
    section: &Section<'_>,
    text: &Spanned<String>,
    entry: &TagEntry,
    key: &str,
    what: &str,
    fits: impl Fn(DataType) -> bool,
) -> bool {
    let Some(value_type) = entry.value_type else { return true };
    if value_type.rank == Rank::Scalar && fits(value_type.data_type) {
        return true;
    }
    section.error(text.span.clone(), format!("`{key}` needs a tag that is {what}, `{}` is {value_type}", text.value), "");
    false
}

/// A tag that an acknowledgement or a pipeline writes.
pub(super) fn target<'b>(section: &mut Section<'_>, key: &str, book: &'b Book) -> Option<(Spanned<String>, &'b TagEntry)> {
    let (text, entry) = book.tag_reference(section, key)?;
    if !entry.writable {
        let second = (entry.place.clone(), "the tag is defined here");
        let help = "add `writable = true` to the tag";
        section.error_beside(text.span.clone(), format!("tag `{}` is not writable", text.value), help, second);
    }
    Some((text, entry))
}

fn write_back(section: &mut Section<'_>, book: &Book) -> Option<WriteBack> {
    let words = [
        ("set", WriteBackMode::Set),
        ("pulse", WriteBackMode::Pulse),
        ("toggle", WriteBackMode::Toggle),
        ("increment", WriteBackMode::Increment),
    ];
    if !section.has("tag") {
        section.missing("tag");
    }
    let mode = section.one_of("mode", &words).unwrap_or(WriteBackMode::Set);
    let target_tag = target(section, "tag", book);
    let value_type = target_tag.as_ref().and_then(|(_, entry)| entry.value_type);
    let valued = matches!(mode, WriteBackMode::Set | WriteBackMode::Pulse);
    if !valued {
        section.refuse("value", "`value` belongs to the modes \"set\" and \"pulse\"", "leave it out");
    }
    if mode != WriteBackMode::Pulse {
        section.refuse("hold", "`hold` belongs to the mode \"pulse\"", "leave it out");
    }
    if let Some((text, entry)) = &target_tag {
        match mode {
            WriteBackMode::Set => expect(section, text, entry, "tag", "a single value", |_| true),
            WriteBackMode::Pulse => expect(section, text, entry, "tag", "a Boolean or a number", |data_type| {
                data_type == DataType::Boolean || data_type.is_numeric()
            }),
            WriteBackMode::Toggle => expect(section, text, entry, "tag", "a Boolean", |data_type| data_type == DataType::Boolean),
            WriteBackMode::Increment => expect(section, text, entry, "tag", "an integer", DataType::is_integer),
        };
    }
    let value = match value_type {
        Some(value_type) if valued => written_value(section, value_type),
        _ => {
            section.skip("value");
            Value::Null
        }
    };
    let hold = section.duration("hold", Duration::from_millis(10)..=seconds(300)).unwrap_or(seconds(1));
    let aside = |section: &mut Section<'_>, key: &str, what: &str, fits: fn(DataType) -> bool| {
        let (text, entry) = target(section, key, book)?;
        expect(section, &text, entry, key, what, fits);
        Some(entry.id)
    };
    let user_tag = aside(section, "user_tag", "a String", |data_type| data_type == DataType::String);
    let code_tag = aside(section, "code_tag", "a String", |data_type| data_type == DataType::String);
    let time_tag = aside(section, "time_tag", "a DateTime or a String", |data_type| {
        matches!(data_type, DataType::DateTime | DataType::String)
    });
    let confirm = section.section("confirm").and_then(|mut table| tag_and_value(&mut table, book));
    let tag = target_tag?.1.id;
    Some(WriteBack { tag, mode, value, hold, user_tag, code_tag, time_tag, confirm })
}

/// `value`, or what stands for "yes" in the tag's type.
fn written_value(section: &mut Section<'_>, value_type: ValueType) -> Value {
    if section.has("value") {
        return section.value("value", value_type).map(|value| value.value).unwrap_or_default();
    }
    if value_type.data_type == DataType::Boolean {
        return Value::Boolean(true);
    }
    value_type.data_type.from_i128(1).unwrap_or_else(|| {
        section.missing("value");
        Value::Null
    })
}

fn ack_from(section: &mut Section<'_>, book: &Book) -> Option<AckFrom> {
    tag_and_value(section, book).map(|(tag, value)| AckFrom { tag, value })
}

/// `{ tag = "…", value = … }`; the value of a Boolean is true when left out.
fn tag_and_value(section: &mut Section<'_>, book: &Book) -> Option<(crate::tag::TagId, Value)> {
    if !section.has("tag") {
        section.missing("tag");
    }
    let Some((text, entry)) = book.tag_reference(section, "tag") else {
        section.skip("value");
        return None;
    };
    let value_type = entry.value_type?;
    expect(section, &text, entry, "tag", "a single value", |_| true);
    if !section.has("value") {
        if value_type.data_type != DataType::Boolean {
            section.missing("value");
            return None;
        }
        return Some((entry.id, Value::Boolean(true)));
    }
    Some((entry.id, section.value("value", value_type)?.value))
}
