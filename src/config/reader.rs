//! Reading TOML tables with a place for every value and a list of all problems.
//!
//! Nothing here stops at the first problem: a key that cannot be used is noted and reads as absent. No file is opened and no
//! variable looked up except through the [`Loader`].

use std::{
    borrow::Cow,
    cell::RefCell,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{Deref, Range, RangeInclusive},
    path::Path,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::{
    problems::{Place, Problem, Problems, Severity, SourceText, did_you_mean, nearest},
    text,
    way::Way,
};
use crate::{
    engine::plan::Secret,
    tag::{Value, ValueType},
};

/// How reading reaches the outside: injected, so that a test needs no environment and no files.
#[derive(Clone, Copy)]
pub struct Loader<'l> {
    /// Looks up an environment variable.
    pub env: &'l (dyn Fn(&str) -> Option<String> + Sync),
    /// Reads a `*_file`; the error says why it cannot be read.
    pub read_file: &'l (dyn Fn(&Path) -> Result<String, String> + Sync),
}

/// A value and its byte range in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Range<usize>,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What all sections of one text share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub loader: Loader<'a>,
    pub problems: &'a RefCell<Problems>,
    pub file: usize,
    /// Where in the file the text begins: places within the text are counted from there.
    pub begin: usize,
}

impl Context<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file, span: self.begin + span.start..self.begin + span.end }
    }

    fn note(&self, severity: Severity, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            severity,
            place: Some(self.place(span)),
            message: message.into(),
            help: help.into(),
            second: None,
        });
    }

    fn is_noted_within(&self, span: Range<usize>) -> bool {
        let within = self.place(span);
        let problems = self.problems.borrow();
        let mut places = problems.list.iter().filter_map(|problem| problem.place.as_ref());
        places
            .any(|place| place.file == within.file && within.span.start <= place.span.start && place.span.end <= within.span.end)
    }

    fn substitute(&self, raw: &str, span: &Range<usize>) -> Option<String> {
        if !raw.contains("${") {
            return Some(raw.to_owned());
        }
        match text::substitute(raw, self.loader.env) {
            Ok(text) => Some(text),
            Err((message, help)) => {
                self.note(Severity::Error, span.clone(), message, help);
                None
            }
        }
    }
}

/// A file that is no TOML.
pub(super) struct OtherFile<'a>(Context<'a>);

impl OtherFile<'_> {
    /// Notes an error at a place of the file.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.0.note(Severity::Error, span, message, help);
    }
}

/// One TOML table being read. Every key that is asked for is remembered; when the section is dropped, the keys that nobody
/// asked for are reported as unknown, with the nearest known one.
pub struct Section<'a> {
    context: Context<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    /// Where the spans of taken keys start.
    taken: Vec<usize>,
    /// Every key that was asked for, each followed by a line feed.
    known: String,
    report_unknown: bool,
    /// For the reference.
    way: Way,
}

/// Room for the keys that a table is asked for.
const KEYS: usize = 256;

impl<'a> Section<'a> {
    pub(super) fn new(context: Context<'a>, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let (taken, known) = (Vec::with_capacity(table.len()), String::with_capacity(KEYS));
        Self { context, table, span, taken, known, report_unknown: true, way: Way::root() }
    }

    /// Tells the reference that `key` may be here, and what it takes.
    fn tell(&self, key: &str, takes: impl FnOnce() -> String) {
        self.way.tell(key, takes);
    }

    /// The keys that follow belong to one kind of this table only, such as a source that is a `modbus`.
    pub fn kind(&mut self, kind: &str) {
        self.way = self.way.of_kind(kind);
    }

    /// A table below this one, at `key`.
    fn child(&self, key: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let mut child = Self::new(self.context, table, span);
        child.way = self.way.below(key);
        child
    }

    /// The value of `key`, taken.
    fn take(&mut self, key: &str) -> Option<&'a toml::Spanned<DeValue<'a>>> {
        self.known.push_str(key);
        self.known.push('\n');
        let (key, value) = self.table.get_key_value(key)?;
        let start = key.span().start;
        if !self.taken.contains(&start) {
            self.taken.push(start);
        }
        Some(value)
    }

    fn mismatch(&self, key: &str, found: &toml::Spanned<DeValue<'_>>, expected: &str) {
        // What the parser made of a mistake in syntax is not worth a second problem.
        if found.span().is_empty() || self.context.is_noted_within(found.span()) {
            return;
        }
        self.error(found.span(), format!("`{key}` must be {expected}, found {}", describe(found.get_ref())), "");
    }

    /// A string with its variables replaced; `None` when absent or not a string (which is noted).
    pub fn string(&mut self, key: &str) -> Option<Spanned<String>> {
        self.tell(key, || "string".to_owned());
        self.bare_string(key)
    }

    fn bare_string(&mut self, key: &str) -> Option<Spanned<String>> {
        let found = self.take(key)?;
        let DeValue::String(raw) = found.get_ref() else {
            self.mismatch(key, found, "a string");
            return None;
        };
        let value = self.context.substitute(raw, &found.span())?;
        Some(Spanned { value, span: found.span() })
    }

    /// As [`Section::string`]; absent or empty is an error.
    pub fn required_string(&mut self, key: &str) -> Option<Spanned<String>> {
        if !self.has(key) {
            self.missing(key);
        }
        let text = self.string(key)?;
        if text.trim().is_empty() {
            self.error(text.span, format!("`{key}` must not be empty"), "");
            return None;
        }
        Some(text)
    }

    /// A string that may be absent but not empty.
    pub fn non_empty(&mut self, key: &str) -> Option<String> {
        if self.has(key) { self.required_string(key).map(|text| text.value) } else { self.string(key).map(|text| text.value) }
    }

    /// Notes that `key` must be there.
    pub fn missing(&self, key: &str) {
        self.error(self.span(), format!("`{key}` is missing"), format!("add `{key} = …`"));
    }

    /// True or false.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        self.tell(key, || "true or false".to_owned());
        let found = self.take(key)?;
        let DeValue::Boolean(value) = found.get_ref() else {
            self.mismatch(key, found, "true or false");
            return None;
        };
        Some(*value)
    }

    /// An integer in `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.tell(key, || format!("integer, {}", limits(*range.start(), *range.end())));
        let found = self.take(key)?;
        let DeValue::Integer(integer) = found.get_ref() else {
            self.mismatch(key, found, "an integer");
            return None;
        };
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = range.into_inner();
            self.error(found.span(), format!("`{key}` is out of range"), out_of_range(low, high));
        }
        value
    }

    /// A number: an integer or a float; `inf` and `nan` are refused.
    pub fn float(&mut self, key: &str) -> Option<f64> {
        self.tell(key, || "number".to_owned());
        self.bare_float(key)
    }

    fn bare_float(&mut self, key: &str) -> Option<f64> {
        let found = self.take(key)?;
        let value = number(found.get_ref()).filter(|number| number.is_finite());
        if value.is_none() {
            self.mismatch(key, found, "a number");
        }
        value
    }

    /// A number in `range`.
    pub fn float_in(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        self.tell(key, || {
            let (low, high) = (*range.start(), *range.end());
            if high < f64::MAX { format!("number, {low} to {high}") } else { format!("number, at least {low}") }
        });
        let value = self.bare_float(key)?;
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = range.into_inner();
        self.error(
            self.key_span(key),
            format!("`{key}` is out of range"),
            if high < f64::MAX { format!("it may be from {low} to {high}") } else { format!("it must be at least {low}") },
        );
        None
    }

    /// Two numbers, such as a range.
    pub fn pair(&mut self, key: &str) -> Option<Spanned<(f64, f64)>> {
        self.tell(key, || "two numbers, low and high".to_owned());
        let found = self.take(key)?;
        let pair = match found.get_ref() {
            DeValue::Array(array) if array.len() == 2 => {
                number(array[0].get_ref()).zip(number(array[1].get_ref())).filter(|(a, b)| a.is_finite() && b.is_finite())
            }
            _ => None,
        };
        if pair.is_none() {
            self.mismatch(key, found, "two numbers, such as [0.0, 100.0]");
        }
        pair.map(|value| Spanned { value, span: found.span() })
    }

    /// A duration in `range`, such as `"500ms"`.
    pub fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.tell(key, || {
            let (low, high) = (text::show_duration(*range.start()), text::show_duration(*range.end()));
            if *range.end() == Duration::MAX { format!("duration, at least {low}") } else { format!("duration, {low} to {high}") }
        });
        let found = self.bare_string(key);
        let Some(text) = found else {
            // A bare number is the likeliest mistake; say which unit is missing rather than which type.
            if matches!(self.table.get(key).map(toml::Spanned::get_ref), Some(DeValue::Integer(_))) {
                let mut problems = self.context.problems.borrow_mut();
                if let Some(problem) = problems.list.last_mut() {
                    problem.message = format!("`{key}` needs a unit");
                    problem.help = "write a string such as \"500ms\", \"5s\", \"10m\", \"2h\"".into();
                }
            }
            return None;
        };
        self.duration_of(key, &text, range)
    }

    fn duration_of(&self, key: &str, text: &Spanned<String>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let Some(duration) = text::duration(text) else {
            let help = "write a number and a unit: \"500ms\", \"5s\", \"10m\", \"2h\"";
            self.error(text.span.clone(), format!("`{}` is not a duration", text.value), help);
            return None;
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let (low, high) = (text::show_duration(*range.start()), text::show_duration(*range.end()));
        self.error(text.span.clone(), format!("`{key}` is out of range"), format!("it may be from {low} to {high}"));
        None
    }

    /// One of the given words.
    pub fn one_of<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.tell(key, || words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "));
        let text = self.bare_string(key)?;
        self.word(&format!("`{key}`"), &text, words)
    }

    /// What `text` stands for among `words`; noted when it is none of them. `what` names it in the message.
    pub fn word<T: Copy>(&self, what: &str, text: &Spanned<String>, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let help = did_you_mean(text, words.iter().map(|(word, _)| *word), "possible are");
            self.error(text.span.clone(), format!("{what} cannot be `{}`", text.value), help);
        }
        found
    }

    /// A list of strings.
    pub fn strings(&mut self, key: &str) -> Option<Vec<Spanned<String>>> {
        self.tell(key, || "list of strings".to_owned());
        let found = self.take(key)?;
        let DeValue::Array(array) = found.get_ref() else {
            self.mismatch(key, found, "a list of strings");
            return None;
        };
        let mut strings = Vec::with_capacity(array.len());
        for element in array {
            if let DeValue::String(raw) = element.get_ref() {
                let span = element.span();
                strings.extend(self.context.substitute(raw, &span).map(|value| Spanned { value, span }));
            } else {
                self.mismatch(key, element, "a list of strings");
            }
        }
        Some(strings)
    }

    /// A secret, from `key` or from the file that `key_file` names.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.spanned_secret(key).map(|secret| secret.value)
    }

    /// As [`Section::secret`], with its place.
    pub fn spanned_secret(&mut self, key: &str) -> Option<Spanned<Secret>> {
        let file_key = format!("{key}_file");
        self.tell(key, || format!("string; or `{file_key}`, the file that has it"));
        let direct = self.bare_string(key);
        let file = self.bare_string(&file_key);
        match (direct, file) {
            (Some(_), Some(file)) => {
                self.error(file.span, format!("both `{key}` and `{file_key}` are given"), "keep one of them");
                None
            }
            (Some(text), None) => Some(Spanned { value: Secret::new(&text.value), span: text.span }),
            (None, Some(file)) => match (self.context.loader.read_file)(Path::new(&file.value)) {
                Ok(content) => Some(Spanned { value: Secret::new(content.trim_end_matches(['\r', '\n'])), span: file.span }),
                Err(reason) => {
                    self.error(file.span, format!("failed to read `{}`: {reason}", file.value), "");
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// The content of the file that `file` names; noted when it cannot be read.
    #[must_use]
    pub fn read_file(&self, file: &Spanned<String>) -> Option<String> {
        let content = (self.context.loader.read_file)(Path::new(&file.value));
        content.map_err(|reason| self.error(file.span.clone(), format!("failed to read `{}`: {reason}", file.value), "")).ok()
    }

    /// Another file that this table names, so that problems can be told at their place in it.
    pub(super) fn other_file(&self, name: &str, text: &str) -> OtherFile<'a> {
        let file = self.context.problems.borrow_mut().other_file(name, text);
        OtherFile(Context { file, begin: 0, ..self.context })
    }

    /// True when `key` or `key_file` is there.
    #[must_use]
    pub fn has_secret(&self, key: &str) -> bool {
        self.has(key) || self.has(&format!("{key}_file"))
    }

    /// A value of a tag's type; of a wrong type or out of its range is noted.
    pub fn value(&mut self, key: &str, wanted: ValueType) -> Option<Spanned<Value>> {
        self.tell(key, || "value of the tag's type".to_owned());
        let found = self.take(key)?;
        let value = self.json(found).and_then(|json| match Value::from_json(&json, wanted) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(found.span(), format!("`{key}`: {message}"), "");
                None
            }
        });
        value.map(|value| Spanned { value, span: found.span() })
    }

    /// Any value, tables among them. A date is its text; `inf` and `nan` are null.
    pub fn json_value(&mut self, key: &str) -> Option<Spanned<serde_json::Value>> {
        self.tell(key, || "any value".to_owned());
        let found = self.take(key)?;
        self.json(found).map(|value| Spanned { value, span: found.span() })
    }

    fn json(&self, found: &toml::Spanned<DeValue<'_>>) -> Option<serde_json::Value> {
        Some(match found.get_ref() {
            DeValue::String(raw) => self.context.substitute(raw, &found.span())?.into(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => value.into(),
                Err(_) => u64::from_str_radix(integer.as_str(), integer.radix()).ok().map_or(serde_json::Value::Null, Into::into),
            },
            DeValue::Float(_) => number(found.get_ref()).into(),
            DeValue::Array(array) => {
                let elements: Option<Vec<_>> = array.iter().map(|element| self.json(element)).collect();
                elements?.into()
            }
            // A TOML date-time has the form that a DateTime value is read from.
            DeValue::Datetime(time) => time.to_string().into(),
            DeValue::Table(table) => {
                let fields = table.iter().map(|(key, value)| Some((key.get_ref().to_string(), self.json(value)?)));
                serde_json::Value::Object(fields.collect::<Option<_>>()?)
            }
        })
    }

    /// A table below this one.
    pub fn section(&mut self, key: &str) -> Option<Section<'a>> {
        self.tell(key, || "table".to_owned());
        let found = self.take(key)?;
        let DeValue::Table(table) = found.get_ref() else {
            self.mismatch(key, found, "a table");
            return None;
        };
        Some(self.child(key, table, found.span()))
    }

    /// A list of tables below this one.
    pub fn sections(&mut self, key: &str) -> Vec<Section<'a>> {
        self.tell(key, || "list of tables".to_owned());
        let Some(found) = self.take(key) else { return Vec::new() };
        let DeValue::Array(array) = found.get_ref() else {
            self.mismatch(key, found, &format!("a list of tables (`[[{key}]]`)"));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for element in array {
            match element.get_ref() {
                DeValue::Table(table) => sections.push(self.child(key, table, element.span())),
                _ => self.mismatch(key, element, "a list of tables"),
            }
        }
        sections
    }

    /// The keys that nobody asked for yet, in the order of the alphabet, with their places.
    #[must_use]
    pub fn remaining(&self) -> Vec<Spanned<&'a str>> {
        let rest = self.table.keys().filter(|key| !self.taken.contains(&key.span().start));
        rest.map(|key| Spanned { value: &**key.get_ref(), span: key.span() }).collect()
    }

    /// True when `key` is there, of whatever type.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True when `key` is there and is a table.
    #[must_use]
    pub fn has_table(&self, key: &str) -> bool {
        matches!(self.table.get(key).map(toml::Spanned::get_ref), Some(DeValue::Table(_)))
    }

    /// True when `key` is there and is a string.
    #[must_use]
    pub fn has_string(&self, key: &str) -> bool {
        matches!(self.table.get(key).map(toml::Spanned::get_ref), Some(DeValue::String(_)))
    }

    /// Notes an error.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.context.note(Severity::Error, span, message, help);
    }

    /// Notes an error that has to do with a second place; `label` says what that is.
    pub fn error_beside(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>, second: (Place, &str)) {
        self.context.problems.borrow_mut().push(Problem {
            severity: Severity::Error,
            place: Some(self.place(span)),
            message: message.into(),
            help: help.into(),
            second: Some((second.0, second.1.to_owned())),
        });
    }

    /// As [`Section::error_beside`], for a warning.
    pub fn warning_beside(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>, second: (Place, &str)) {
        self.context.problems.borrow_mut().push(Problem {
            severity: Severity::Warning,
            place: Some(self.place(span)),
            message: message.into(),
            help: help.into(),
            second: Some((second.0, second.1.to_owned())),
        });
    }

    /// Takes `key`; that it is there is an error, because this version cannot do it. `help` says what is possible.
    pub fn not_yet(&mut self, key: &str, help: &str) {
        if let Some(found) = self.table.get_key_value(key).map(|(key, _)| key) {
            self.taken.push(found.span().start);
            self.error(found.span(), format!("`{key}` is not available yet, it comes with a later version"), help);
        }
    }

    /// Takes `key` without a look at its value: what is wrong with it was noted, or cannot be known.
    pub fn skip(&mut self, key: &str) {
        self.take(key);
    }

    /// Takes `key`; that it is there is an error.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if self.has(key) {
            self.error(self.key_span(key), message, help);
            self.skip(key);
        }
    }

    /// The integer at `key`, when it is one; never a problem.
    #[must_use]
    pub fn whole(&self, key: &str) -> Option<i128> {
        match self.table.get(key)?.get_ref() {
            DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        }
    }

    /// A string, number or Boolean as text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.tell(key, || "string, number or Boolean".to_owned());
        let found = self.take(key)?;
        match found.get_ref() {
            DeValue::String(raw) => self.context.substitute(raw, &found.span()),
            DeValue::Integer(integer) => Some(integer.to_string()),
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            DeValue::Boolean(value) => Some(value.to_string()),
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => {
                self.mismatch(key, found, "a text, a number or a Boolean");
                None
            }
        }
    }

    /// Notes a warning.
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.context.note(Severity::Warning, span, message, help);
    }

    /// The place of the table.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The place of `key`'s value, for problems with it; the table's own when it is absent.
    #[must_use]
    pub fn key_span(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span(), toml::Spanned::span)
    }

    /// A place of this section's file.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        self.context.place(span)
    }

    /// Does not report what remains: something else is so wrong that it could not be known.
    pub fn ignore_rest(&mut self) {
        self.report_unknown = false;
    }

    /// A hash of everything in the table except `without`, variables and secret files looked up, so that a change shows.
    #[must_use]
    pub fn fingerprint(&self, without: &[&str]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, value) in self.table.iter().filter(|(key, _)| !without.contains(&&**key.get_ref())) {
            key.get_ref().hash(&mut hasher);
            self.hash_value(value.get_ref(), &mut hasher);
            if let (true, DeValue::String(path)) = (key.get_ref().ends_with("_file"), value.get_ref()) {
                let path = text::substitute(path, self.context.loader.env).unwrap_or_default();
                (self.context.loader.read_file)(Path::new(&path)).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn hash_value(&self, value: &DeValue<'_>, hasher: &mut DefaultHasher) {
        describe(value).hash(hasher);
        match value {
            DeValue::String(raw) => text::substitute(raw, self.context.loader.env).ok().hash(hasher),
            DeValue::Integer(integer) => (integer.as_str(), integer.radix()).hash(hasher),
            DeValue::Float(float) => float.as_str().hash(hasher),
            DeValue::Boolean(value) => value.hash(hasher),
            DeValue::Datetime(time) => time.to_string().hash(hasher),
            DeValue::Array(array) => {
                array.len().hash(hasher);
                array.iter().for_each(|element| self.hash_value(element.get_ref(), hasher));
            }
            DeValue::Table(table) => {
                table.len().hash(hasher);
                for (key, value) in table {
                    key.get_ref().hash(hasher);
                    self.hash_value(value.get_ref(), hasher);
                }
            }
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if !self.report_unknown || self.taken.len() == self.table.len() {
            return;
        }
        for key in self.remaining() {
            let known = self.known.lines().filter(|known| !self.table.contains_key(*known));
            let help = nearest(key.value, known).map(|known| format!("did you mean `{known}`?")).unwrap_or_default();
            self.error(key.span, format!("unknown key `{}`", key.value), help);
        }
    }
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("Section").field("span", &self.span).finish_non_exhaustive()
    }
}

/// Parses the `text` of a context; syntax errors are noted, what could be understood is returned.
pub(super) fn parse<'t>(text: &'t str, context: Context<'_>) -> DeTable<'t> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        context.note(Severity::Error, error.span().unwrap_or(0..0), message, "");
    }
    table.into_inner()
}

/// Parses a part of a file; `None` when only the whole file shows what is wrong.
pub(super) fn parse_part(text: &str) -> Option<DeTable<'_>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    errors.is_empty().then(|| table.into_inner())
}

/// Reads one text with `read`, outside a configuration: for files of their own and for the tests of drivers.
pub fn read_text<T>(name: &str, content: &str, loader: Loader<'_>, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Problems) {
    let problems = RefCell::default();
    let context = Context { loader, problems: &problems, file: 0, begin: 0 };
    let table = parse(content, context);
    let mut root = Section::new(context, &table, 0..0);
    root.way = Way::elsewhere();
    let result = read(&mut root);
    drop(root);
    let mut problems = problems.into_inner();
    problems.sort();
    problems.attach(|_| SourceText { name: name.into(), text: content.into() });
    (result, problems)
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a Boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|value| value as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

fn limits(low: i64, high: i64) -> String {
    match (low, high) {
        (i64::MIN, high) => format!("at most {high}"),
        (low, i64::MAX) => format!("at least {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}

fn out_of_range(low: i64, high: i64) -> Cow<'static, str> {
    match (low, high) {
        (i64::MIN, high) => format!("it may be at most {high}").into(),
        (low, i64::MAX) => format!("it must be at least {low}").into(),
        (low, high) => format!("it may be from {low} to {high}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
        let loader = Loader {
            env: &|name| (name == "HOST").then(|| "plc".to_owned()),
            read_file: &|path| if path == Path::new("/pin") { Ok("4711\n".into()) } else { Err("no such file".into()) },
        };
        let (result, problems) = read_text("test.toml", text, loader, read);
        let shown = problems.list.iter().map(|problem| {
            let span = &problem.place.as_ref().unwrap().span;
            format!("{}: {} ({})", &text[span.clone()], problem.message, problem.help)
        });
        (result, shown.collect())
    }

    #[test]
    fn values_are_read_and_variables_replaced() {
        let text = "url = 'tcp://${HOST}:502'\nunit = 0x10\npoll = '500ms'\nlist = ['a', '${X:-b}']\npin_file = '/pin'\nx = 1\n";
        let (result, problems) = check(text, |section| {
            assert_eq!(section.string("url").unwrap().value, "tcp://plc:502");
            assert_eq!(section.integer("unit", 0..=255), Some(16));
            assert_eq!(section.duration("poll", Duration::ZERO..=Duration::from_secs(1)), Some(Duration::from_millis(500)));
            assert_eq!(section.strings("list").unwrap()[1].value, "b");
            assert_eq!(section.float("x"), Some(1.0));
            section.secret("pin").unwrap()
        });
        assert_eq!(result.expose(), "4711");
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_problem_has_its_place() {
        let text = "unti = 1\nurl = 5\npoll = 5\ntimeout = '99h'\nkind = 'modbsu'\npin_file = '/none'\nmax = 70000\nname = ''\n";
        let ((), problems) = check(text, |section| {
            section.integer("unit", 0..=255);
            section.string("url");
            section.duration("poll", Duration::ZERO..=Duration::MAX);
            section.duration("timeout", Duration::ZERO..=Duration::from_secs(900));
            section.one_of("kind", &[("modbus", 1), ("opcua", 2)]);
            section.secret("pin");
            section.integer("max", 0..=125);
            section.required_string("name");
            section.required_string("host");
        });
        assert_eq!(
            problems,
            [
                ": `host` is missing (add `host = …`)",
                "unti: unknown key `unti` (did you mean `unit`?)",
                "5: `url` must be a string, found an integer ()",
                "5: `poll` needs a unit (write a string such as \"500ms\", \"5s\", \"10m\", \"2h\")",
                "'99h': `timeout` is out of range (it may be from 0s to 15m)",
                "'modbsu': `kind` cannot be `modbsu` (did you mean `modbus`?)",
                "'/none': failed to read `/none`: no such file ()",
                "70000: `max` is out of range (it may be from 0 to 125)",
                "'': `name` must not be empty ()",
            ]
        );
    }

    #[test]
    fn syntax_errors_do_not_hide_the_rest() {
        let ((), problems) = check("a = \nb = true\nc = 1\n", |section| {
            section.boolean("a");
            assert_eq!(section.boolean("b"), Some(true));
        });
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].contains("unknown key `c`"), "{problems:?}");
    }
}
