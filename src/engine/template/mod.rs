//! Message text: Jinja templates over an alarm, its site and present tag values (SPEC 7.4).
//!
//! Rendering is pure and bounded: no files, no includes, no clock; so many instructions, so much output. A template that fails
//! costs its wording, never the message: see [`render_or_fallback`]. Length is [`super::length`]'s business.

mod context;
mod environment;
pub mod operations;
mod parameters;
mod scan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, ops::Range, sync::Arc};

use minijinja::{Error, ErrorKind, Value as Jinja};

pub use self::context::{AlarmText, Context, Subject, TagName, fallback};
use self::{
    environment::{Bounded, ENVIRONMENT, FILTERS_TO_SUGGEST, MAX_FUEL, Tags, knows_filter, map},
    parameters::fields,
    scan::{at, check_name, in_blocks, is_statement, prepare},
};

/// The longest template in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The longest text that a template may produce, in bytes, before it is cut to length.
pub const MAX_OUTPUT: usize = 16 * 1024;
/// How often a template is rendered while it goes on asking for further tags.
const MAX_PASSES: usize = 4;

/// What a template is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Messages about alarms.
    Alarm,
    /// Texts of application events.
    Event,
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

/// Checks syntax, filters and the names of fields.
///
/// # Errors
/// With the first mistake. An empty template is one.
pub fn check(source: &str, about: For) -> Result<(), TemplateError> {
    if source.trim().is_empty() {
        return Err(TemplateError { message: "the text is empty".into(), line: 1, span: None });
    }
    let prepared = prepare(source)?;
    let template = ENVIRONMENT.template_from_str(&prepared).map_err(|error| explain(&error))?;
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort_unstable();
    for name in &names {
        check_name(source, name, about)?;
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
    render_noting(source, context, &mut Vec::new())
}

/// As [`render`]; parameters whose operations failed, which show `?`, are noted in `problems`.
///
/// # Errors
/// As [`render`].
pub fn render_noting(source: &str, context: &Context<'_>, problems: &mut Vec<TemplateError>) -> Result<String, TemplateError> {
    if !source.contains("{{") && !source.contains("{%") && !source.contains("{#") {
        return Ok(strip(source));
    }
    let prepared = prepare(source)?;
    let template = ENVIRONMENT.template_from_str(&prepared).map_err(|error| explain(&error))?;
    let names = template.undeclared_variables(true);
    let wanted = |parameter: &str| {
        names
            .iter()
            .filter_map(|name| name.strip_prefix("parameters"))
            .any(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(|rest| rest.split('.').next() == Some(parameter)))
    };
    let fields = fields(context, &wanted, problems);
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

/// The text of a message about an alarm, and what went wrong with its wording. A parameter whose operations failed shows `?`; where
/// the template itself is of no use the text is the fallback body (priority, path, value): a mistake must not cost the message.
#[must_use]
pub fn render_or_fallback(source: &str, context: &Context<'_>) -> (String, Vec<TemplateError>) {
    let mut problems = Vec::new();
    let error = match render_noting(source, context, &mut problems) {
        Ok(text) if !text.is_empty() => return (text, problems),
        Ok(_) => TemplateError { message: "the text came out empty".into(), line: 1, span: None },
        Err(error) => error,
    };
    problems.push(error);
    (fallback(context), problems)
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
