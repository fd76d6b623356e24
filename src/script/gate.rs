//! The gate before Rhai: it lets through what an expression may say and nothing else, and turns every `tag("path")` into a
//! variable of the same width, so that Rhai's positions are positions in the text as written.
//!
//! Rhai itself would find unknown functions only when they are called, and its language has statements, closures and calls by
//! name. An expression needs none of them, so every name is checked here, against a list. Conditions of pipelines know some names
//! more (`alarm.priority`, `high`, `pass`, …); each becomes a variable or a number in the same manner.

use std::{iter::Peekable, ops::Range, str::CharIndices};

use super::{
    ExpressionError,
    condition::{FIELDS, Name, PRIORITIES},
};
use crate::tag::TagId;

/// The functions of the expression language, all of them without effects, all known to Rhai's packages or to `expression`.
pub(super) const FUNCTIONS: [&str; 35] = [
    "abs",
    "acos",
    "asin",
    "atan",
    "ceiling",
    "contains",
    "cos",
    "ends_with",
    "exp",
    "floor",
    "get_bit",
    "hypot",
    "is_empty",
    "is_even",
    "is_finite",
    "is_infinite",
    "is_nan",
    "is_odd",
    "is_zero",
    "len",
    "ln",
    "log",
    "log10",
    "max",
    "min",
    "round",
    "sign",
    "sin",
    "sqrt",
    "starts_with",
    "tan",
    "to_float",
    "to_int",
    "to_lower",
    "to_upper",
];

const KEYWORDS: [&str; 7] = ["if", "else", "switch", "_", "in", "true", "false"];

/// An expression that passed: `script` is for Rhai, in which variable `v0` is the tag `inputs[0]`, `w0` is `names[0]`, and so on.
pub(super) struct Gated {
    pub script: String,
    pub inputs: Vec<TagId>,
    pub names: Vec<Name>,
}

/// Which names an expression may use beside functions and tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// None.
    Tags,
    /// Those of an alarm event in its pipeline.
    Pipeline,
}

/// The name of the variable for an input: never longer than the shortest `tag("x")`, and no name that passes the gate.
pub(super) fn variable(index: usize) -> String {
    format!("v{index}")
}

/// The name of the variable for a name of [`Room::Pipeline`]: never longer than the shortest of them, `pass`.
pub(super) fn named_variable(index: usize) -> String {
    format!("w{index}")
}

/// Checks `source`, which has at most [`super::MAX_SOURCE`] bytes.
pub(super) fn pass(source: &str, resolve: &dyn Fn(&str) -> Option<TagId>, room: Room) -> Result<Gated, ExpressionError> {
    let gate = Gate { source, chars: source.char_indices().peekable(), resolve, room };
    gate.run()
}

struct Gate<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    resolve: &'a dyn Fn(&str) -> Option<TagId>,
    room: Room,
}

impl Gate<'_> {
    fn run(mut self) -> Result<Gated, ExpressionError> {
        let mut script = String::with_capacity(self.source.len());
        let mut inputs = Vec::new();
        let mut names = Vec::new();
        while let Some((start, c)) = self.chars.next() {
            match c {
                'a'..='z' | 'A'..='Z' | '_' => {
                    let name = self.word(start);
                    if name.value == "tag" {
                        let tag = self.tag_call(&name.span, &mut inputs)?;
                        let end = self.offset();
                        self.replace(&mut script, start..end, &variable(tag));
                        continue;
                    }
                    // What follows a dot is a function, whatever else the word means.
                    if self.room == Room::Pipeline
                        && !after_dot(&script)
                        && let Some(short) = self.pipeline_name(&name, &mut names)?
                    {
                        let end = self.offset();
                        self.replace(&mut script, start..end, &short);
                        continue;
                    }
                    check_name(&name.value, name.span, self.room)?;
                }
                '0'..='9' => self.number(),
                '"' => drop(self.text(start)?),
                '`' => return Err(error("backtick texts are not part of expressions", start..start + 1, "write \"…\"")),
                ';' => return Err(error("an expression is one value, without `;`", start..start + 1, "remove the `;`")),
                '=' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '&' | '|' | '^' => self.operator(start, c)?,
                _ => {}
            }
            script.push_str(&self.source[start..self.offset()]);
        }
        Ok(Gated { script, inputs, names })
    }

    /// Where the next character begins.
    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.source.len(), |(offset, _)| *offset)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.chars.next_if(|(_, c)| wanted(*c)).is_some() {}
    }

    fn word(&mut self, start: usize) -> Word {
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let span = start..self.offset();
        Word { value: self.source[span.clone()].to_owned(), span }
    }

    fn number(&mut self) {
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let rest = &self.source[self.offset()..];
        if rest.starts_with('.') && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.chars.next();
            self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        }
    }

    /// The text that began with a quote at `start`, without its quotes; escapes stay as they are.
    fn text(&mut self, start: usize) -> Result<Word, ExpressionError> {
        while let Some((end, c)) = self.chars.next() {
            match c {
                '\\' => drop(self.chars.next()),
                '"' => return Ok(Word { value: self.source[start + 1..end].to_owned(), span: start..end + 1 }),
                '\n' => break,
                _ => {}
            }
        }
        Err(error("this text has no end", start..self.source.len(), "close it with `\"` on the same line"))
    }

    fn operator(&mut self, start: usize, c: char) -> Result<(), ExpressionError> {
        let rest = &self.source[start..];
        let two = ["==", "!=", "<=", ">=", "=>"].iter().any(|two| rest.starts_with(two));
        if two {
            self.chars.next();
            return Ok(());
        }
        if c == '=' {
            return Err(error("an expression assigns nothing", start..start + 1, "compare with `==`"));
        }
        if rest.starts_with("//") || rest.starts_with("/*") {
            return Err(error("comments are not part of expressions", start..start + 2, "put it in a `#` line of the file"));
        }
        Ok(())
    }

    /// What follows the word `tag`: the position of its tag in `inputs`.
    fn tag_call(&mut self, word: &Range<usize>, inputs: &mut Vec<TagId>) -> Result<usize, ExpressionError> {
        let usage = "write tag(\"path\") with the path in quotes";
        self.skip_while(char::is_whitespace);
        let open = self.chars.next_if(|(_, c)| *c == '(').is_some();
        self.skip_while(char::is_whitespace);
        let Some((start, _)) = self.chars.next_if(|(_, c)| open && *c == '"') else {
            return Err(error("tag needs one fixed path", word.clone(), usage));
        };
        let path = self.text(start)?;
        self.skip_while(char::is_whitespace);
        if self.chars.next_if(|(_, c)| *c == ')').is_none() {
            return Err(error("tag takes one fixed path and nothing else", word.start..path.span.end, usage));
        }
        let Some(tag) = (self.resolve)(&path.value) else {
            let mut unknown = error(format!("there is no tag `{}`", path.value), path.span, "");
            unknown.unknown_tag = Some(path.value);
            return Err(unknown);
        };
        if let Some(known) = inputs.iter().position(|input| *input == tag) {
            return Ok(known);
        }
        if inputs.len() == super::MAX_INPUTS {
            return Err(error(
                format!("more than {} tags in one expression", super::MAX_INPUTS),
                path.span,
                "divide it among derived tags",
            ));
        }
        inputs.push(tag);
        Ok(inputs.len() - 1)
    }

    /// What stands for a word of [`Room::Pipeline`]: a number for a priority, else a variable; `None` for any other word.
    fn pipeline_name(&mut self, word: &Word, names: &mut Vec<Name>) -> Result<Option<String>, ExpressionError> {
        if let Some(rank) = PRIORITIES.iter().position(|priority| *priority == word.value) {
            return Ok(Some(rank.to_string()));
        }
        let name = match word.value.as_str() {
            "pass" => Name::Pass,
            "told" => Name::Told,
            "reached" => Name::Reached,
            "alarm" => self.field(&word.span)?,
            _ => return Ok(None),
        };
        let known = names.iter().position(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        if place >= super::MAX_INPUTS {
            let message = format!("more than {} fields of an alarm in one expression", super::MAX_INPUTS);
            return Err(error(message, word.span.clone(), "divide it among several steps"));
        }
        Ok(Some(named_variable(place)))
    }

    /// What follows the word `alarm`.
    fn field(&mut self, word: &Range<usize>) -> Result<Name, ExpressionError> {
        let usage = || format!("write alarm.priority; there are {}", FIELDS.join(", "));
        self.skip_while(char::is_whitespace);
        let field = match self.chars.next_if(|(_, c)| *c == '.') {
            Some((dot, _)) => self.word(dot + 1),
            None => return Err(error("`alarm` needs a field", word.clone(), usage())),
        };
        if field.value == "data" {
            return self.data(&field.span);
        }
        Name::of_field(&field.value).ok_or_else(|| {
            let near = FIELDS.iter().map(|known| (strsim::damerau_levenshtein(&field.value, known), *known)).min();
            let help = match near {
                Some((distance, known)) if distance <= (field.value.len() / 3).max(1) => format!("did you mean `{known}`?"),
                _ => usage(),
            };
            error(format!("an alarm has no field `{}`", field.value), field.span, help)
        })
    }

    /// What follows `alarm.data`: `.sop` or `["sop"]`.
    fn data(&mut self, word: &Range<usize>) -> Result<Name, ExpressionError> {
        let usage = "write alarm.data[\"sop\"] or alarm.data.sop";
        if let Some((dot, _)) = self.chars.next_if(|(_, c)| *c == '.') {
            let key = self.word(dot + 1);
            return if key.value.is_empty() {
                Err(error("`data` needs a key", word.clone(), usage))
            } else {
                Ok(Name::Data(key.value))
            };
        }
        let open = self.chars.next_if(|(_, c)| *c == '[').is_some();
        let Some((start, _)) = self.chars.next_if(|(_, c)| open && *c == '"') else {
            return Err(error("`data` needs one fixed key", word.clone(), usage));
        };
        let key = self.text(start)?;
        match self.chars.next_if(|(_, c)| *c == ']') {
            Some(_) => Ok(Name::Data(key.value)),
            None => Err(error("`data` needs one fixed key", word.start..key.span.end, usage)),
        }
    }

    /// Appends `name` and as much space as the text of `span` was longer, line by line.
    fn replace(&self, script: &mut String, span: Range<usize>, name: &str) {
        script.push_str(name);
        script.extend(self.source[span].chars().skip(name.len()).map(|c| if c == '\n' { '\n' } else { ' ' }));
    }
}

struct Word {
    value: String,
    span: Range<usize>,
}

fn error(message: impl Into<String>, span: Range<usize>, help: impl Into<String>) -> ExpressionError {
    ExpressionError { message: message.into(), span: Some(span), help: help.into(), unknown_tag: None }
}

fn check_name(name: &str, span: Range<usize>, room: Room) -> Result<(), ExpressionError> {
    if KEYWORDS.contains(&name) || FUNCTIONS.contains(&name) {
        return Ok(());
    }
    let more: &[&str] = if room == Room::Pipeline { &["alarm", "pass", "told", "reached"] } else { &[] };
    let priorities: &[&str] = if room == Room::Pipeline { &PRIORITIES } else { &[] };
    let words = FUNCTIONS.iter().chain(&KEYWORDS).chain(&["tag"]).chain(more).chain(priorities);
    let nearest = words.map(|known| (strsim::damerau_levenshtein(name, known), *known)).min();
    let help = match (name, nearest) {
        ("and", _) => "write `&&`".to_owned(),
        ("or", _) => "write `||`".to_owned(),
        ("not", _) => "write `!`".to_owned(),
        ("priority" | "value" | "state" | "active" | "acked", _) if room == Room::Pipeline => {
            format!("did you mean `alarm.{name}`?")
        }
        (_, Some((distance @ 1.., known))) if distance <= (name.len() / 3).max(1) => format!("did you mean `{known}`?"),
        _ => "a tag is written tag(\"path\")".to_owned(),
    };
    Err(error(format!("`{name}` is not part of expressions"), span, help))
}

/// True behind the dot of a call, but not behind those of a range.
fn after_dot(script: &str) -> bool {
    let script = script.trim_end();
    script.ends_with('.') && !script.ends_with("..")
}
