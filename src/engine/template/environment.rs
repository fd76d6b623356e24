//! The template language: filters, bounds, and how `tags` answers.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, Value as Jinja, escape_formatter,
    value::{Object, ObjectRepr},
};
use serde_json::Value as Json;

use super::{
    MAX_OUTPUT, TagName,
    context::{Context, to_json},
};

/// Instructions of one rendering.
pub(super) const MAX_FUEL: u64 = 20_000;
/// Nested calls of one rendering.
const MAX_DEPTH: usize = 32;
/// Tags that one message may ask for.
const MAX_TAGS: usize = 64;
/// What stands for a value that is not known.
const UNKNOWN: &str = "?";

pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

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
pub(super) const FILTERS_TO_SUGGEST: [&str; 17] = [
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

pub(super) fn knows_filter(name: &str) -> bool {
    let context = map([("name", Jinja::from(name))]);
    ENVIRONMENT.compile_expression("name is filter").and_then(|test| test.eval(context)).is_ok_and(|known| known.is_true())
}

/// Collecting pairs into a Jinja value makes a list of pairs; this makes a map.
pub(super) fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Jinja)>) -> Jinja {
    Jinja::from_object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<String, Jinja>>())
}

/// What is not known is undefined, so that `default` can speak for it.
pub(super) fn to_jinja(value: &Json) -> Jinja {
    match value {
        Json::Null => Jinja::UNDEFINED,
        Json::Array(elements) => elements.iter().map(to_jinja).collect(),
        Json::Object(fields) => map(fields.iter().map(|(name, field)| (name.as_str(), to_jinja(field)))),
        Json::Bool(value) => Jinja::from(*value),
        Json::String(text) => Jinja::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Jinja::from(integer),
            (None, Some(integer)) => Jinja::from(integer),
            _ => number.as_f64().map_or(Jinja::UNDEFINED, Jinja::from),
        },
    }
}

/// `user` and `site`: a name that may be written `user` or `user.name`.
#[derive(Debug)]
pub(super) struct Named(pub String);

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
pub(super) struct Tags(Mutex<BTreeMap<String, Option<Jinja>>>);

impl Tags {
    /// Looks up what was asked and not yet known; false when there was nothing.
    pub(super) fn answer(&self, context: &Context<'_>) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        for (path, value) in asked.iter_mut().filter(|(_, value)| value.is_none()) {
            *value = Some((context.read)(TagName::Path(path)).map_or(Jinja::UNDEFINED, |value| to_jinja(&to_json(&value))));
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
pub(super) struct Bounded(std::rc::Rc<RefCell<Vec<u8>>>);

impl Bounded {
    pub(super) fn text(&self) -> String {
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
