//! Message text: Jinja templates over an alarm, its site and present tag values (SPEC 7.4).
//!
//! Rendering is pure and bounded: no files, no includes, no clock; so many instructions, so much output. A template that fails
//! costs its wording, never the message: see [`render_or_fallback`]. Length is [`super::length`]'s business.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    ops::Range,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, Value as Jinja, escape_formatter,
    value::{Object, ObjectRepr},
};
use uuid::Uuid;

use super::{
    people,
    plan::{Parameter, Priority},
};
use crate::tag::{TagId, Timestamp, Value};

/// The longest template in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The longest text that a template may produce, in bytes, before it is cut to length.
pub const MAX_OUTPUT: usize = 16 * 1024;
/// Instructions of one rendering.
const MAX_FUEL: u64 = 20_000;
/// Nested calls of one rendering.
const MAX_DEPTH: usize = 32;
/// How often a template is rendered while it goes on asking for further tags.
const MAX_PASSES: usize = 4;
/// Tags that one message may ask for.
const MAX_TAGS: usize = 64;
/// What stands for a value that is not known.
const UNKNOWN: &str = "?";
/// What a template may ask of `alarm`.
const ALARM_FIELDS: [&str; 12] =
    ["path", "name", "tag", "value", "unit", "priority", "state", "message", "active_time", "event", "data", "code"];

/// Everything that a message may speak of.
pub struct Context<'a> {
    /// The alarm.
    pub alarm: AlarmText<'a>,
    /// Whom the message is for.
    pub user: &'a str,
    /// Their time zone; UTC when unknown.
    pub time_zone: Option<&'a str>,
    /// `[site] name`.
    pub site: &'a str,
    /// `[profile.parameters]`.
    pub parameters: &'a BTreeMap<String, Parameter>,
    /// The present value of a tag; `None` when it is unknown or not usable.
    pub read: &'a dyn Fn(TagName<'_>) -> Option<Value>,
}

/// An alarm as messages speak of it.
#[derive(Clone, Copy)]
pub struct AlarmText<'a> {
    /// `<tag path>/Alarms/<name>`.
    pub path: &'a str,
    /// The last part of the path.
    pub name: &'a str,
    /// Path of the tag.
    pub tag: &'a str,
    /// Captured when the event began.
    pub value: &'a Value,
    /// Symbol, or empty.
    pub unit: &'a str,
    /// Urgency.
    pub priority: Priority,
    /// `ActiveUnacked` and so on.
    pub state: &'a str,
    /// The alarm's own words.
    pub message: &'a str,
    /// When the event began.
    pub active_time: Timestamp,
    /// The event.
    pub event: Option<Uuid>,
    /// Associated data, captured when the event began.
    pub data: &'a BTreeMap<String, String>,
    /// The code of the notification run, or empty.
    pub code: &'a str,
}

/// How a message names a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagName<'a> {
    /// `tags["path"]`.
    Path(&'a str),
    /// A parameter of the profile.
    Id(TagId),
}

/// Why a template is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// Bytes of the source, when known.
    pub span: Option<Range<usize>>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for TemplateError {}

/// What a template refers to, for `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Paths in `tags["…"]`, as far as they are written out.
    pub tags: BTreeSet<String>,
    /// Names in `$parameters.…`.
    pub parameters: BTreeSet<String>,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Checks syntax, filters and the names of fields.
///
/// # Errors
/// With the first mistake. An empty template is one.
pub fn check(source: &str) -> Result<(), TemplateError> {
    if source.trim().is_empty() {
        return Err(TemplateError { message: "the text is empty".into(), line: 1, span: None });
    }
    let prepared = prepare(source)?;
    let template = ENVIRONMENT.template_from_str(&prepared).map_err(|error| explain(&error))?;
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort_unstable();
    for name in &names {
        check_name(source, name)?;
    }
    for name in ["macro", "include", "import", "extends", "from"] {
        if let Some(span) = in_blocks(&prepared).find(|(word, _)| is_statement(&prepared, word, name)).map(|(_, span)| span) {
            return Err(at(source, span, format!("messages do not have `{name}`")));
        }
    }
    for (word, span) in in_blocks(&prepared) {
        let is_filter =
            prepared[..span.start].trim_end().ends_with('|') && word.starts_with(|first: char| first.is_ascii_alphabetic());
        if is_filter && !knows_filter(word) {
            let near = FILTERS_TO_SUGGEST.iter().max_by(|a, b| strsim::jaro(word, a).total_cmp(&strsim::jaro(word, b)));
            let hint = near
                .filter(|near| strsim::jaro(word, near) > 0.7)
                .map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return Err(at(source, span, format!("unknown filter `{word}`{hint}")));
        }
    }
    Ok(())
}

/// The tags and parameters that a template names; empty when it has a mistake.
#[must_use]
pub fn references(source: &str) -> References {
    let mut references = References::default();
    let Ok(prepared) = prepare(source) else { return references };
    let Ok(template) = ENVIRONMENT.template_from_str(&prepared) else { return references };
    for name in template.undeclared_variables(true) {
        if let Some(parameter) = name.strip_prefix("parameters.") {
            references.parameters.insert(parameter.split('.').next().unwrap_or(parameter).to_owned());
        }
    }
    for quoted in prepared.split("tags[").skip(1) {
        let quoted = quoted.trim_start();
        if let Some(quote) = quoted.chars().next().filter(|first| "\"'".contains(*first))
            && let Some((path, _)) = quoted[1..].split_once(quote)
        {
            references.tags.insert(path.to_owned());
        }
    }
    references
}

/// The text of a message, stripped of control characters; not yet cut to length.
///
/// # Errors
/// When the template has a mistake, fails on these values, or is beyond a bound.
pub fn render(source: &str, context: &Context<'_>) -> Result<String, TemplateError> {
    if !source.contains("{{") && !source.contains("{%") && !source.contains("{#") {
        return Ok(strip(source));
    }
    let prepared = prepare(source)?;
    let template = ENVIRONMENT.template_from_str(&prepared).map_err(|error| explain(&error))?;
    let fields = fields(context);
    let known = Arc::new(Tags::default());
    // Which tags a template wants is known when it asks. It is rendered again with the answers until it asks no more.
    for _ in 0..MAX_PASSES {
        let mut all = fields.clone();
        all.insert("tags", Jinja::from_dyn_object(Arc::clone(&known)));
        let output = Bounded::default();
        let rendered = template.render_captured_to(map(all), output.clone()).map(|_| ());
        if !known.answer(context) {
            rendered.map_err(|error| explain(&error))?;
            return Ok(strip(&output.text()));
        }
    }
    Err(TemplateError { message: format!("asks for further tags after {MAX_PASSES} passes"), line: 1, span: None })
}

/// The text of a message, and what went wrong with its template: then the text is the fallback body (priority, path, value), for
/// a mistake in the wording must not cost the message.
#[must_use]
pub fn render_or_fallback(source: &str, context: &Context<'_>) -> (String, Option<TemplateError>) {
    match render(source, context) {
        Ok(text) if !text.is_empty() => (text, None),
        Ok(_) => {
            let error = TemplateError { message: "the text came out empty".into(), line: 1, span: None };
            (fallback(&context.alarm), Some(error))
        }
        Err(error) => (fallback(&context.alarm), Some(error)),
    }
}

/// Priority, path and value of an alarm.
#[must_use]
pub fn fallback(alarm: &AlarmText<'_>) -> String {
    let value = match (alarm.value, alarm.unit) {
        (Value::Null, _) => String::new(),
        (value, "") => format!(" ({value})"),
        (value, unit) => format!(" ({value} {unit})"),
    };
    strip(&format!("{} {}{value}", alarm.priority.name().to_uppercase(), alarm.path))
}

/// `text` without control characters: line ends become one `\n`, tabs a space, the rest goes; nothing at either end.
#[must_use]
pub fn strip(text: &str) -> String {
    let mut stripped = String::with_capacity(text.len());
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{b}', '\u{c}']) {
        let line: String = line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
        let line = line.trim();
        if !line.is_empty() {
            if !stripped.is_empty() {
                stripped.push('\n');
            }
            stripped.push_str(line);
        }
    }
    stripped
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    // Loops that carry a state could double a text until memory ends.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() || value.is_none() {
            return out.write_str(UNKNOWN).map_err(Error::from);
        }
        escape_formatter(out, state, value)
    });
    environment.add_filter("time", |_: &State, text: &str, pattern: Option<&str>| -> Result<String, Error> {
        let local = text.get(..19).unwrap_or(text).parse::<jiff::civil::DateTime>();
        let local =
            local.map_err(|_| Error::new(ErrorKind::InvalidOperation, "`time` formats times such as alarm.active_time"))?;
        jiff::fmt::strtime::format(pattern.unwrap_or("%H:%M"), local)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the pattern of `time` is not one, such as \"%d.%m. %H:%M\""))
    });
    environment
}

/// Filters that `check` may propose.
const FILTERS_TO_SUGGEST: [&str; 17] = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "round",
    "int",
    "float",
    "abs",
    "replace",
    "trim",
    "default",
    "length",
    "join",
    "first",
    "last",
    "format",
    "time",
];

fn knows_filter(name: &str) -> bool {
    let context = map([("name", Jinja::from(name))]);
    ENVIRONMENT.compile_expression("name is filter").and_then(|test| test.eval(context)).is_ok_and(|known| known.is_true())
}

/// `$parameters` is the placeholder form of other products; Jinja knows no `$`. A space for it keeps every position.
fn prepare(source: &str) -> Result<String, TemplateError> {
    if source.len() > MAX_SOURCE {
        return Err(TemplateError { message: format!("longer than {MAX_SOURCE} bytes"), line: 1, span: None });
    }
    let mut prepared = source.to_owned();
    for (word, span) in in_blocks(source) {
        if word == "parameters" && source[..span.start].ends_with('$') {
            prepared.replace_range(span.start - 1..span.start, " ");
        }
    }
    Ok(prepared)
}

/// The words in `{{ … }}` and `{% … %}`, outside of quotes, with their places.
fn in_blocks(source: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut words = Vec::new();
    let (mut block, mut quote, mut word) = (None, None, None);
    let bytes = source.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match (block, quote) {
            (None, _) => {
                if byte == b'{' && matches!(bytes.get(index + 1), Some(b'{' | b'%')) {
                    block = Some(if bytes[index + 1] == b'{' { b'}' } else { b'%' });
                    index += 1;
                }
            }
            (Some(_), Some(mark)) => {
                if byte == b'\\' {
                    index += 1;
                } else if byte == mark {
                    quote = None;
                }
            }
            (Some(end), None) => {
                match (is_word, word) {
                    (true, None) => word = Some(index),
                    (false, Some(start)) => {
                        words.push((&source[start..index], start..index));
                        word = None;
                    }
                    _ => {}
                }
                if byte == b'"' || byte == b'\'' {
                    quote = Some(byte);
                } else if byte == end && bytes.get(index + 1) == Some(&b'}') {
                    block = None;
                    index += 1;
                }
            }
        }
        index += 1;
    }
    words.into_iter()
}

/// True when `word` (a slice of `source`) opens a statement block and is `name`.
fn is_statement(source: &str, word: &str, name: &str) -> bool {
    let start = word.as_ptr() as usize - source.as_ptr() as usize;
    word == name && source[..start].trim_end_matches([' ', '-', '+', '\t', '\n', '\r']).ends_with("{%")
}

fn check_name(source: &str, name: &str) -> Result<(), TemplateError> {
    let mut parts = name.split('.');
    let (root, field) = (parts.next().unwrap_or_default(), parts.next());
    let problem = match (root, field) {
        ("alarm", Some(field)) if !ALARM_FIELDS.contains(&field) => {
            let near = ALARM_FIELDS.iter().max_by(|a, b| strsim::jaro(field, a).total_cmp(&strsim::jaro(field, b)));
            format!("unknown field `alarm.{field}`, did you mean `alarm.{}`?", near.unwrap_or(&"path"))
        }
        ("alarm", None) => "`alarm` needs a field, such as `alarm.path`".to_owned(),
        ("user" | "site", Some(field)) if field != "name" => {
            format!("unknown field `{root}.{field}`, there is only `{root}.name`")
        }
        ("alarm" | "user" | "site" | "tags" | "parameters" | "range" | "dict" | "loop", _) => return Ok(()),
        (root, _) => format!("unknown name `{root}`, expected `alarm`, `user`, `site`, `tags[\"path\"]` or `$parameters.name`"),
    };
    let wrong = field.unwrap_or(root);
    let place = in_blocks(source).find(|(word, _)| *word == wrong).map(|(_, span)| span);
    Err(match place {
        Some(span) => at(source, span, problem),
        None => TemplateError { message: problem, line: 1, span: None },
    })
}

fn at(source: &str, span: Range<usize>, message: String) -> TemplateError {
    let line = source[..span.start].matches('\n').count() + 1;
    TemplateError { message, line, span: Some(span) }
}

fn explain(error: &Error) -> TemplateError {
    let message = match error.kind() {
        ErrorKind::OutOfFuel => format!("needs more than {MAX_FUEL} instructions"),
        ErrorKind::WriteFailure => format!("makes a text of more than {MAX_OUTPUT} bytes"),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    TemplateError { message, line: error.line().unwrap_or(1), span: error.range() }
}

fn fields(context: &Context<'_>) -> BTreeMap<&'static str, Jinja> {
    let alarm = &context.alarm;
    let event = alarm.event.map(|event| event.to_string()).unwrap_or_default();
    let data = map(alarm.data.iter().map(|(key, value)| (key.as_str(), Jinja::from(value.as_str()))));
    let of_alarm = [
        ("path", Jinja::from(alarm.path)),
        ("name", Jinja::from(alarm.name)),
        ("tag", Jinja::from(alarm.tag)),
        ("value", to_jinja(alarm.value)),
        ("unit", Jinja::from(alarm.unit)),
        ("priority", Jinja::from(alarm.priority.name())),
        ("state", Jinja::from(alarm.state)),
        ("message", Jinja::from(alarm.message)),
        ("active_time", Jinja::from(people::date_text(alarm.active_time, context.time_zone))),
        ("event", Jinja::from(event)),
        ("data", data),
        ("code", Jinja::from(alarm.code)),
    ];
    let parameters = map(context.parameters.iter().map(|(name, parameter)| {
        let value = match parameter {
            Parameter::Tag(tag) => (context.read)(TagName::Id(*tag)).map_or(Jinja::UNDEFINED, |value| to_jinja(&value)),
            Parameter::AlarmField(field) => {
                of_alarm.iter().find(|(name, _)| name == field).map_or(Jinja::UNDEFINED, |(_, value)| value.clone())
            }
            Parameter::Constant(text) => Jinja::from(text.as_str()),
        };
        (name.as_str(), value)
    }));
    BTreeMap::from([
        ("alarm", map(of_alarm)),
        ("user", Jinja::from_object(Named(context.user.to_owned()))),
        ("site", Jinja::from_object(Named(context.site.to_owned()))),
        ("parameters", parameters),
    ])
}

/// Collecting pairs into a Jinja value makes a list of pairs; this makes a map.
fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Jinja)>) -> Jinja {
    Jinja::from_object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<String, Jinja>>())
}

/// A tag's value as templates compute with it. What is not known is undefined, so that `default` can speak for it.
fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::UNDEFINED,
        Value::Boolean(value) => Jinja::from(*value),
        // By way of the shortest decimal: 81.3 is not 81.30000305175781.
        Value::Float(value) => Jinja::from(value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(*value))),
        Value::Double(value) => Jinja::from(*value),
        Value::Array(_, elements) => elements.iter().map(to_jinja).collect(),
        integer => match integer.as_i128() {
            Some(integer) => i64::try_from(integer).map_or_else(|_| Jinja::from(integer), Jinja::from),
            None => Jinja::from(integer.to_string()),
        },
    }
}

/// `user` and `site`: a name that may be written `user` or `user.name`.
#[derive(Debug)]
struct Named(String);

impl Object for Named {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        (key.as_str() == Some("name")).then(|| Jinja::from(self.0.as_str()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `tags`: answers what it knows and remembers what else was asked.
#[derive(Debug, Default)]
struct Tags(Mutex<BTreeMap<String, Option<Jinja>>>);

impl Tags {
    /// Looks up what was asked and not yet known; false when there was nothing.
    fn answer(&self, context: &Context<'_>) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        for (path, value) in asked.iter_mut().filter(|(_, value)| value.is_none()) {
            *value = Some((context.read)(TagName::Path(path)).map_or(Jinja::UNDEFINED, |value| to_jinja(&value)));
            any = true;
        }
        any
    }
}

impl Object for Tags {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let path = key.as_str()?;
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MAX_TAGS && !asked.contains_key(path) {
            return None;
        }
        asked.entry(path.to_owned()).or_default().clone()
    }
}

/// Refuses more than [`MAX_OUTPUT`] bytes.
#[derive(Clone, Default)]
struct Bounded(std::rc::Rc<RefCell<Vec<u8>>>);

impl Bounded {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = self.0.borrow_mut();
        if output.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_context<T>(then: impl FnOnce(&Context<'_>) -> T) -> T {
        let value = Value::Float(81.3);
        let data = BTreeMap::from([("sop".to_owned(), "SOP-114".to_owned())]);
        let parameters = BTreeMap::from([
            ("level".to_owned(), Parameter::Tag(TagId(7))),
            ("urgency".to_owned(), Parameter::AlarmField("priority".into())),
            ("line".to_owned(), Parameter::Constant("Line 1".into())),
        ]);
        let read = |name: TagName<'_>| match name {
            TagName::Path("Plant/Flow") => Some(Value::Double(12.345)),
            TagName::Path("Plant/Next") => Some(Value::string("Plant/Flow")),
            TagName::Path("Plant/Bits") => {
                Some(Value::Array(crate::tag::DataType::Int16, [Value::Int16(3), Value::Int16(4)].into()))
            }
            TagName::Id(TagId(7)) => Some(Value::Int32(42)),
            _ => None,
        };
        then(&Context {
            alarm: AlarmText {
                path: "Plant/Tank/Level/Alarms/HighHigh",
                name: "HighHigh",
                tag: "Plant/Tank/Level",
                value: &value,
                unit: "%",
                priority: Priority::Critical,
                state: "ActiveUnacked",
                message: "Level high high",
                active_time: "2026-11-20T20:05:33Z".parse::<jiff::Timestamp>().unwrap().into(),
                event: None,
                data: &data,
                code: "K7M",
            },
            user: "alice",
            time_zone: Some("America/Chicago"),
            site: "Works 2",
            parameters: &parameters,
            read: &read,
        })
    }

    #[test]
    fn templates_speak_of_the_alarm() {
        let cases = [
            ("plain {text} 100 %", "plain {text} 100 %"),
            (
                "{{ alarm.priority | upper }} {{ alarm.path }}: {{ alarm.message }} ({{ alarm.value }} {{ alarm.unit }})",
                "CRITICAL Plant/Tank/Level/Alarms/HighHigh: Level high high (81.3 %)",
            ),
            ("{{ alarm.value | round }} {{ (alarm.value * 2) | round(1) }}", "81.0 162.6"),
            ("{{ alarm.value | int }}", "81"),
            ("{{ site }}/{{ site.name }} {{ user }}={{ user.name | upper }}", "Works 2/Works 2 alice=ALICE"),
            (
                "{{ alarm.active_time }} {{ alarm.active_time | time }} {{ alarm.active_time | time('%d.%m.') }}",
                "2026-11-20 14:05:33 14:05 20.11.",
            ),
            ("{{ alarm.data.sop }} {{ alarm.data.none }} {{ alarm.data['none'] | default('-') }}", "SOP-114 ? -"),
            ("{{ tags['Plant/Flow'] | round(2) }} m3/h", "12.35 m3/h"),
            ("{{ tags[\"No/Such\"] }} {{ tags['No/Such'] | default('none') }}", "? none"),
            ("{{ tags[tags['Plant/Next']] | int }} {{ tags['Plant/Bits'][1] }}", "12 4"),
            ("{% if alarm.value > 80 %}high{% else %}low{% endif %}", "high"),
            (
                "{{ $parameters.level }} {{$parameters.urgency|upper}} {{ $parameters.line }} {{ $parameters.none }}",
                "42 CRITICAL Line 1 ?",
            ),
            ("costs $parameters {{ '$parameters' }}", "costs $parameters $parameters"),
            ("{{ 'a' ~ '\\n\\n\\tb' }}", "a\nb"),
            ("#{{ alarm.code }}{# hidden #}", "#K7M"),
            ("{{ '<b>&' }}", "<b>&"),
        ];
        with_context(|context| {
            for (source, expected) in cases {
                assert_eq!(render(source, context).as_deref(), Ok(expected), "{source}");
                check(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            }
        });
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let cases = [
            ("", 1, "the text is empty"),
            ("a\n{{ alarm.path", 2, "syntax error: unexpected end of input, expected end of variable block"),
            ("a\nb {{ alarm.prioritty }}", 2, "unknown field `alarm.prioritty`, did you mean `alarm.priority`?"),
            ("{{ user.phone }}", 1, "unknown field `user.phone`, there is only `user.name`"),
            (
                "{{ alarn.path }}",
                1,
                "unknown name `alarn`, expected `alarm`, `user`, `site`, `tags[\"path\"]` or `$parameters.name`",
            ),
            ("{{ alarm }}", 1, "`alarm` needs a field, such as `alarm.path`"),
            ("{% if false %}{{ alarm.path | uper }}{% endif %}", 1, "unknown filter `uper`, did you mean `upper`?"),
            ("{% macro a() %}{% endmacro %}", 1, "messages do not have `macro`"),
            ("{% include 'x' %}", 1, "messages do not have `include`"),
        ];
        for (source, line, message) in cases {
            let error = check(source).unwrap_err();
            assert_eq!((error.line, error.message.as_str()), (line, message), "{source}");
        }
        let error = check("a\nb {{ alarm.prioritty }}").unwrap_err();
        assert_eq!(error.span, Some(13..22));
        assert!(check(&"x".repeat(MAX_SOURCE + 1)).is_err());
    }

    #[test]
    fn a_failing_template_does_not_cost_the_message() {
        let endless = "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}";
        let huge = "{{ 'x' * 20000 }}";
        with_context(|context| {
            for source in [
                "{{ alarm.path",
                "{{ alarm.path * 2.5 }}",
                "{{ alarm.none.none }}",
                "{{ x | nofilter }}",
                endless,
                huge,
                "{{ '' }}",
            ] {
                let (text, error) = render_or_fallback(source, context);
                assert_eq!(text, "CRITICAL Plant/Tank/Level/Alarms/HighHigh (81.3 %)", "{source}");
                assert!(error.is_some(), "{source}");
            }
        });
    }

    #[test]
    fn references_are_found() {
        let found = references(
            "{{ tags['a/b'] + tags[ \"c d\" ] }} {{ $parameters.level }} {% if $parameters.x.y %}{% endif %} tags['no",
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(found, References { tags: names(&["a/b", "c d"]), parameters: names(&["level", "x"]) });
    }
}
