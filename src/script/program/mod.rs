//! Scripts with effects (SPEC 13): what a voice profile, a pipeline step and `annunciator script` run.
//!
//! A script is compiled when the configuration is read and run by whoever has a [`Host`] for it, on a thread of its own: calls of
//! the host block. Pure: time, messages and writes are the host's.

mod functions;
mod host;
mod scan;
#[cfg(test)]
mod tests;
mod values;

use std::{fmt, ops::Range, sync::Arc};

use rhai::{AST, Dynamic, EvalAltResult, Map, ParseErrorType, Position, Scope};

pub use self::{
    functions::{MAX_COMMAND_OPERATIONS, MAX_HOST_CALLS, MAX_LINE, MAX_LINES, MAX_OPERATIONS, MAX_SENDS, MAX_WRITES, OWN},
    host::{Ended, Given, Host, TagReading, Use},
};
use super::expression::{next_boundary, offset};

/// The longest script in bytes.
pub const MAX_SCRIPT: usize = 65_536;
/// The stack that a thread needs for a script as deep as scripts may be, in bytes.
pub const STACK: usize = 16 << 20;

/// A compiled script.
pub struct Program {
    source: Arc<str>,
    place: Use,
    ast: AST,
}

/// One thing that is wrong with a script's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes.
    pub span: Range<usize>,
    /// What would be right; may be empty.
    pub help: String,
}

/// A tag or alarm that a script names in a plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The path.
    pub path: String,
    /// Where, in bytes, with its quotes.
    pub span: Range<usize>,
    /// It must be an alarm, else a tag.
    pub alarm: bool,
}

/// How a script failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// What went wrong: a fragment without a full stop.
    pub message: String,
    /// Line, counted from 1, and column in characters, counted from 1.
    pub place: Option<(usize, usize)>,
}

impl RunError {
    /// Where in `source`, in bytes.
    #[must_use]
    pub fn span(&self, source: &str) -> Option<Range<usize>> {
        let (line, column) = self.place?;
        let position = Position::new(u16::try_from(line).ok()?, u16::try_from(column).ok()?);
        offset(source, position).map(|start| word_at(source, start))
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{} (line {line}, column {column})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for RunError {}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({} bytes)", self.source.len())
    }
}

impl Program {
    /// Compiles `source` for a place where scripts run.
    ///
    /// # Errors
    /// Everything that can be found without running it: its size, Rhai's first complaint, and every call of a function that there
    /// is not.
    pub fn compile(source: &str, place: Use) -> Result<Self, Vec<ScriptError>> {
        if source.len() > MAX_SCRIPT {
            let message = format!("a script has at most {MAX_SCRIPT} bytes");
            return Err(vec![ScriptError { message, span: 0..0, help: String::new() }]);
        }
        let mut scope = Scope::new();
        for name in place.names().iter().copied().chain(["system"]) {
            // No constants: those would be put into the program now.
            scope.push(name, ());
        }
        let mut errors = unknown_functions(source);
        match functions::language(place).compile_with_scope(&scope, source) {
            Ok(ast) if errors.is_empty() => return Ok(Self { source: source.into(), place, ast }),
            Ok(_) => {}
            Err(error) => {
                let start = offset(source, error.position()).unwrap_or(source.len());
                let message = lower_first(error.err_type().to_string());
                let help = match error.err_type() {
                    ParseErrorType::VariableUndefined(_) => {
                        let names: Vec<&str> = place.names().iter().copied().chain(["system"]).collect();
                        format!("in scope here: `{}`", names.join("`, `"))
                    }
                    _ => String::new(),
                };
                errors.push(ScriptError { message, span: word_at(source, start), help });
            }
        }
        errors.sort_by_key(|error| error.span.start);
        Err(errors)
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Runs it to its end. Blocks for as long as the host does; needs a stack of [`STACK`].
    ///
    /// # Errors
    /// When it fails, exceeds a limit, or the host ends it.
    pub fn run(&self, host: Arc<dyn Host>, given: Given) -> Result<Ended, RunError> {
        let mut scope = Scope::new();
        let (mut constants, mut voice) = (Vec::new(), false);
        match given {
            Given::Nothing => {}
            Given::Alarm(alarm) => constants.push(("alarm", values::alarm(&alarm))),
            Given::Call { action, params, response } => {
                let mut map = Map::new();
                for (name, value) in params {
                    map.entry(name.into()).or_insert_with(|| value.into());
                }
                constants.extend([("callAction", action.into()), ("params", Dynamic::from_map(map))]);
                scope.push("response", response);
                voice = true;
            }
        }
        let engine = functions::running(self.place, host, constants);
        let value = engine.eval_ast_with_scope::<Dynamic>(&mut scope, &self.ast).map_err(|error| run_error(&error))?;
        let response = match scope.get("response").filter(|_| voice) {
            None => None,
            Some(response) => match response.as_immutable_string_ref() {
                Ok(text) => Some(text.to_string()),
                Err(found) => {
                    return Err(RunError { message: format!("`response` must be a text, and is of type {found}"), place: None });
                }
            },
        };
        Ok(Ended { value: values::to_json(&value), response })
    }
}

/// Two programs are equal when they say the same.
impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.place == other.place
    }
}

/// The tags and alarms that `source` names in plain texts, in order.
#[must_use]
pub fn mentions(source: &str) -> Vec<Mention> {
    let calls = scan::scan(source).calls.into_iter();
    calls
        .filter(|call| matches!(call.name.as_str(), "tag" | "quality" | "time" | "write" | "alarm"))
        .filter_map(|call| call.text.map(|(path, span)| Mention { path, span, alarm: call.name == "alarm" }))
        .collect()
}

fn unknown_functions(source: &str) -> Vec<ScriptError> {
    let seen = scan::scan(source);
    let known = || {
        let own = OWN.iter().map(|(name, _)| *name);
        own.chain(functions::STANDARD.iter().copied()).chain(seen.defined.iter().map(String::as_str))
    };
    let unknown = seen.calls.iter().filter(|call| !known().any(|name| name == call.name));
    let error = |call: &scan::Call| {
        let near = known()
            .map(|name| (strsim::damerau_levenshtein(&call.name.to_lowercase(), &name.to_lowercase()), name))
            .filter(|(distance, name)| *distance <= (name.len() / 3).clamp(1, 4))
            .min();
        ScriptError {
            message: format!("unknown function `{}`", call.name),
            span: call.span.clone(),
            help: near.map(|(_, name)| format!("did you mean `{name}`?")).unwrap_or_default(),
        }
    };
    unknown.map(error).collect()
}

/// The innermost error, in our words, with its place.
fn run_error(error: &EvalAltResult) -> RunError {
    if let EvalAltResult::ErrorInFunctionCall(_, _, inner, position) = error {
        let inner = run_error(inner);
        return RunError { place: inner.place.or_else(|| place(*position)), ..inner };
    }
    let message = match error {
        EvalAltResult::ErrorTerminated(why, _) | EvalAltResult::ErrorRuntime(why, _) => why.to_string(),
        EvalAltResult::ErrorTooManyOperations(_) => "too many operations: does a loop never end?".to_owned(),
        EvalAltResult::ErrorStackOverflow(_) => "functions call each other too deeply".to_owned(),
        EvalAltResult::ErrorDataTooLarge(what, _) => format!("too large: {}", lower_first(what.clone())),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => format!("there is no function `{signature}`"),
        other => {
            let mut words = other.to_string();
            // Rhai puts the place behind its words; we tell it ourselves.
            if let Some(end) = words.rfind(" (line ") {
                words.truncate(end);
            }
            lower_first(words)
        }
    };
    RunError { message, place: place(error.position()) }
}

fn place(position: Position) -> Option<(usize, usize)> {
    Some((position.line()?, position.position().unwrap_or(1)))
}

/// The word that begins at `start`, or the one character there.
fn word_at(source: &str, start: usize) -> Range<usize> {
    let word = source[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(source.len() - start);
    start..next_boundary(source, start).max(start + word)
}

/// Rhai begins its messages with a capital letter.
fn lower_first(mut words: String) -> String {
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    words
}
