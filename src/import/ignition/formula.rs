//! Ignition's expressions as ours, as far as both mean the same.
//!
//! Kinds are tracked, because the languages differ where kinds mix: there `{Bit} = 1` holds for true, here it never would, and `/`
//! of integers has a fraction there. What cannot be said with certainty is an error with its reason.

use std::{iter::Peekable, str::Chars};

use super::{MAX_DEPTH, join};
use crate::{
    script::Expression,
    tag::{DataType, TagId},
};

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Truth,
    Whole,
    Real,
    Text,
}

impl Kind {
    /// Of a tag's values; none for those that expressions cannot use.
    pub fn of(data_type: DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Truth,
            DataType::String => Self::Text,
            DataType::Float | DataType::Double => Self::Real,
            integer if integer.is_integer() => Self::Whole,
            _ => return None,
        })
    }

    /// True when a tag of `data_type` can hold it.
    pub fn fits(self, data_type: DataType) -> bool {
        match self {
            Self::Truth => data_type == DataType::Boolean,
            Self::Whole | Self::Real => data_type.is_numeric(),
            Self::Text => data_type == DataType::String,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Whole | Self::Real)
    }
}

/// A translated expression.
#[derive(Clone, Debug)]
pub(super) struct Formula {
    /// In our language.
    pub text: String,
    pub kind: Kind,
    /// Paths in the export of the tags that it reads.
    pub inputs: Vec<String>,
}

/// Where references are looked up.
pub(super) struct Tags<'t> {
    /// The kind of the tag at a path of the export.
    pub kind: &'t dyn Fn(&str) -> Option<Kind>,
    /// Our path for a path of the export.
    pub ours: &'t dyn Fn(&str) -> String,
    /// Path in the export of the tag that has the expression.
    pub here: &'t str,
}

/// Translates `source`.
///
/// # Errors
/// What of it has no equivalent.
pub(super) fn translate(source: &str, tags: &Tags<'_>) -> Result<Formula, String> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), tags, inputs: Vec::new() };
    let term = parser.binary(0, 0)?;
    if let Some(token) = parser.tokens.next() {
        return Err(format!("{token:?} is not understood"));
    }
    // Ours has bounds and rules of its own.
    Expression::compile(&term.text, &|_| Some(TagId(0))).map_err(|error| error.message)?;
    Ok(Formula { text: term.text, kind: term.kind, inputs: parser.inputs })
}

/// The path in the export that a reference such as `[.]Level`, `[~]Line1/Level` or `[default]Line1/Level` means from `here`.
pub(super) fn resolve(reference: &str, here: &str) -> Result<String, String> {
    let reference = reference.trim();
    let (provider, rest) = match reference.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((provider, rest)) => (provider, rest.trim_start_matches('/')),
        None => ("", reference),
    };
    if provider.eq_ignore_ascii_case("system") || provider.eq_ignore_ascii_case("client") {
        return Err(format!("{{{reference}}} is a tag of Ignition itself"));
    }
    let rest = rest.strip_suffix(".value").or_else(|| rest.strip_suffix(".Value")).unwrap_or(rest);
    if let Some((_, property)) = rest.rsplit_once('.')
        && PROPERTIES.iter().any(|known| known.eq_ignore_ascii_case(property))
    {
        return Err(format!("{{{reference}}} is a property, not the value of a tag"));
    }
    if provider != "." {
        return Ok(rest.to_owned());
    }
    let mut folder: Vec<&str> = here.split('/').collect();
    folder.pop();
    let mut rest = rest;
    while let Some(below) = rest.strip_prefix("../") {
        folder.pop().ok_or_else(|| format!("{{{reference}}} leads out of the tags"))?;
        rest = below;
    }
    Ok(join(&folder.join("/"), rest))
}

/// Properties of tags that expressions read by a point after the path.
const PROPERTIES: [&str; 16] = [
    "quality",
    "timestamp",
    "name",
    "enabled",
    "datatype",
    "engunit",
    "englow",
    "enghigh",
    "rawlow",
    "rawhigh",
    "scaledlow",
    "scaledhigh",
    "tooltip",
    "documentation",
    "hasactive",
    "isactive",
];

#[derive(Clone, PartialEq)]
enum Token {
    Number(f64, bool),
    Text(String),
    Tag(String),
    Word(String),
    Sign(&'static str),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number, _) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Tag(path) => write!(f, "{{{path}}}"),
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// The longest first.
const SIGNS: [&str; 21] =
    ["&&", "||", "!=", "<>", "<=", ">=", "==", "=", "<", ">", "+", "-", "*", "/", "%", "^", "!", "(", ")", ",", "&"];

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '{' => {
                let end = rest.find('}').ok_or("a brace is not closed")?;
                (Token::Tag(rest[1..end].to_owned()), &rest[end + 1..])
            }
            '"' | '\'' => text(rest, first)?,
            '0'..='9' | '.' => number(rest)?,
            '/' if rest.starts_with("//") => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
                continue;
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), &rest[end..])
            }
            _ => {
                let sign =
                    SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or_else(|| format!("{first:?} is not understood"))?;
                (Token::Sign(sign), &rest[sign.len()..])
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn text(rest: &str, quote: char) -> Result<(Token, &str), String> {
    let mut result = String::new();
    let mut characters: Chars<'_> = rest[1..].chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => result.push(characters.next().ok_or("a text is not closed")?),
            found if found == quote => return Ok((Token::Text(result), characters.as_str())),
            other => result.push(other),
        }
    }
    Err("a text is not closed".to_owned())
}

fn number(rest: &str) -> Result<(Token, &str), String> {
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number < 9e15);
    let whole = !digits.contains('.');
    let number = number.ok_or_else(|| format!("{digits:?} is no number"))?;
    Ok((Token::Number(number, whole), after))
}

#[derive(Clone, Debug)]
struct Term {
    text: String,
    kind: Kind,
    /// Of a literal, for comparisons of a Boolean with 0 or 1.
    literal: Option<f64>,
}

impl Term {
    fn new(text: String, kind: Kind) -> Self {
        Self { text, kind, literal: None }
    }
}

struct Parser<'p> {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    tags: &'p Tags<'p>,
    inputs: Vec<String>,
}

/// How strongly operators bind, the weakest first.
const LEVELS: [&[&str]; 6] = [&["||"], &["&&"], &["=", "==", "!=", "<>"], &["<", ">", "<=", ">="], &["+", "-"], &["*", "/", "%"]];

impl Parser<'_> {
    fn sign(&mut self, wanted: &[&str]) -> Option<&'static str> {
        match self.tokens.peek() {
            Some(Token::Sign(sign)) if wanted.contains(sign) => {
                let sign = *sign;
                self.tokens.next();
                Some(sign)
            }
            _ => None,
        }
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        self.sign(&[sign]).map(|_| ()).ok_or_else(|| match self.tokens.peek() {
            Some(token) => format!("`{sign}` was expected before {token:?}"),
            None => format!("`{sign}` was expected at the end"),
        })
    }

    fn binary(&mut self, level: usize, depth: usize) -> Result<Term, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let Some(signs) = LEVELS.get(level) else { return self.power(depth) };
        let mut left = self.binary(level + 1, depth)?;
        while let Some(sign) = self.sign(signs) {
            let right = self.binary(level + 1, depth)?;
            left = combine(sign, &left, &right)?;
        }
        Ok(left)
    }

    fn power(&mut self, depth: usize) -> Result<Term, String> {
        let base = self.unary(depth)?;
        if self.sign(&["^"]).is_none() {
            return Ok(base);
        }
        let exponent = self.unary(depth)?;
        numbers("^", &base, &exponent)?;
        Ok(Term::new(format!("((1.0 * {}) ** (1.0 * {}))", base.text, exponent.text), Kind::Real))
    }

    fn unary(&mut self, depth: usize) -> Result<Term, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        match self.sign(&["-", "!"]) {
            Some("-") => {
                let term = self.unary(depth + 1)?;
                numbers("-", &term, &term)?;
                Ok(Term { text: format!("(-{})", term.text), kind: term.kind, literal: term.literal.map(|number| -number) })
            }
            Some(_) => Ok(Term::new(format!("(!{})", truth(&self.unary(depth + 1)?)?), Kind::Truth)),
            None => self.primary(depth),
        }
    }

    fn primary(&mut self, depth: usize) -> Result<Term, String> {
        match self.tokens.next().ok_or("it ends too early")? {
            Token::Number(number, true) => Ok(Term { text: format!("{number}"), kind: Kind::Whole, literal: Some(number) }),
            Token::Number(number, false) => {
                let text = if number.fract() == 0.0 { format!("{number}.0") } else { format!("{number}") };
                Ok(Term { text, kind: Kind::Real, literal: Some(number) })
            }
            Token::Text(text) => Ok(Term::new(quoted(&text)?, Kind::Text)),
            Token::Tag(reference) => self.tag(&reference),
            Token::Sign("(") => {
                let inner = self.binary(0, depth + 1)?;
                self.expect(")")?;
                Ok(Term { text: format!("({})", inner.text), ..inner })
            }
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                truth @ ("true" | "false") => Ok(Term::new(truth.to_owned(), Kind::Truth)),
                name => self.call(name, depth),
            },
            token => Err(format!("{token:?} is not understood")),
        }
    }

    fn tag(&mut self, reference: &str) -> Result<Term, String> {
        let path = resolve(reference, self.tags.here)?;
        let kind = (self.tags.kind)(&path)
            .ok_or_else(|| format!("{{{reference}}} is not among the tags, or of a type that expressions cannot use"))?;
        let text = format!("tag({})", quoted(&(self.tags.ours)(&path))?);
        if !self.inputs.contains(&path) {
            self.inputs.push(path);
        }
        Ok(Term::new(text, kind))
    }

    fn call(&mut self, name: &str, depth: usize) -> Result<Term, String> {
        self.expect("(").map_err(|_| format!("`{name}` is not understood"))?;
        let mut arguments = Vec::new();
        if self.sign(&[")"]).is_none() {
            loop {
                arguments.push(self.binary(0, depth + 1)?);
                match self.sign(&[",", ")"]) {
                    Some(",") => {}
                    Some(_) => break,
                    None => return Err(format!("the call of `{name}` is not closed")),
                }
            }
        }
        call(name, &arguments)
    }
}

fn call(name: &str, arguments: &[Term]) -> Result<Term, String> {
    let unknown = || format!("the function `{name}` has no equivalent");
    match (name, arguments) {
        ("if", [condition, yes, no]) => {
            let kind = together(yes.kind, no.kind).ok_or("the branches of `if` are of different kinds")?;
            Ok(Term::new(
                format!("(if {} {{ {} }} else {{ {} }})", truth(condition)?, as_kind(yes, kind), as_kind(no, kind)),
                kind,
            ))
        }
        ("min" | "max", [one, other]) => {
            let kind = numbers(name, one, other)?;
            Ok(Term::new(format!("{name}({}, {})", as_kind(one, kind), as_kind(other, kind)), kind))
        }
        ("abs" | "round" | "floor" | "ceil", [number]) if number.kind.is_number() => {
            let ours = if name == "ceil" { "ceiling" } else { name };
            Ok(Term::new(format!("{ours}({})", number.text), number.kind))
        }
        ("sqrt" | "exp" | "log10" | "log" | "sin" | "cos" | "tan", [number]) if number.kind.is_number() => {
            let ours = if name == "log" { "ln" } else { name };
            Ok(Term::new(format!("{ours}(1.0 * {})", number.text), Kind::Real))
        }
        ("pow", [base, exponent]) => {
            numbers(name, base, exponent)?;
            Ok(Term::new(format!("((1.0 * {}) ** (1.0 * {}))", base.text, exponent.text), Kind::Real))
        }
        ("getbit", [number, bit]) if number.kind == Kind::Whole && bit.kind == Kind::Whole => {
            Ok(Term::new(format!("get_bit({}, {})", number.text, bit.text), Kind::Truth))
        }
        ("lower" | "upper", [text]) if text.kind == Kind::Text => Ok(Term::new(format!("to_{name}({})", text.text), Kind::Text)),
        _ => Err(unknown()),
    }
}

fn combine(sign: &str, left: &Term, right: &Term) -> Result<Term, String> {
    let ours = match sign {
        "=" => "==",
        "<>" => "!=",
        other => other,
    };
    let plain = |kind| Ok(Term::new(format!("({} {ours} {})", left.text, right.text), kind));
    match ours {
        "&&" | "||" => Ok(Term::new(format!("({} {ours} {})", truth(left)?, truth(right)?), Kind::Truth)),
        "==" | "!=" => match (left.kind, right.kind) {
            (Kind::Truth, kind) if kind.is_number() => truth_and_number(left, right, ours == "=="),
            (kind, Kind::Truth) if kind.is_number() => truth_and_number(right, left, ours == "=="),
            (one, other) if one == other || (one.is_number() && other.is_number()) => plain(Kind::Truth),
            _ => Err(format!("`{sign}` between different kinds of values")),
        },
        "<" | ">" | "<=" | ">=" => numbers(sign, left, right).and_then(|_| plain(Kind::Truth)),
        "+" if left.kind == Kind::Text && right.kind == Kind::Text => plain(Kind::Text),
        "/" => {
            numbers(sign, left, right)?;
            Ok(Term::new(format!("(1.0 * {} / {})", left.text, right.text), Kind::Real))
        }
        _ => numbers(sign, left, right).and_then(plain),
    }
}

/// A Boolean compared with 0 or 1.
fn truth_and_number(truth: &Term, number: &Term, equal: bool) -> Result<Term, String> {
    let holds = match number.literal {
        Some(1.0) => equal,
        Some(0.0) => !equal,
        _ => return Err("a Boolean is compared with a number that is neither 0 nor 1".to_owned()),
    };
    let text = if holds { truth.text.clone() } else { format!("(!{})", truth.text) };
    Ok(Term::new(text, Kind::Truth))
}

/// The kind of what an operator makes of two numbers.
fn numbers(sign: &str, left: &Term, right: &Term) -> Result<Kind, String> {
    together(left.kind, right.kind)
        .filter(|kind| kind.is_number())
        .ok_or_else(|| format!("`{sign}` of something that is no number"))
}

fn together(one: Kind, other: Kind) -> Option<Kind> {
    if one == other {
        return Some(one);
    }
    (one.is_number() && other.is_number()).then_some(Kind::Real)
}

fn as_kind(term: &Term, kind: Kind) -> String {
    if kind == Kind::Real && term.kind == Kind::Whole { format!("(1.0 * {})", term.text) } else { term.text.clone() }
}

fn truth(term: &Term) -> Result<String, String> {
    match term.kind {
        Kind::Truth => Ok(term.text.clone()),
        Kind::Whole | Kind::Real => Ok(format!("({} != 0)", term.text)),
        Kind::Text => Err("a text is used as a condition".to_owned()),
    }
}

/// A literal of our language; the few texts that would need escapes are refused.
fn quoted(text: &str) -> Result<String, String> {
    if text.contains(['"', '\\', '`', '$']) || text.chars().any(char::is_control) {
        return Err(format!("{text:?} cannot be written in an expression"));
    }
    Ok(format!("\"{text}\""))
}
