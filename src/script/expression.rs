//! Expressions over tags: `tag("Plant/Line1/Flow") * 3.6`, `tag("A") && !tag("B")`.
//!
//! One Rhai engine serves all of them; it is never changed after it was made. Expressions have no effects, no statements and no
//! names but those in `gate`. Integers divide as integers, as they do in the PLC; an overflow or a division of integers by zero
//! makes the result Bad. As in C, `&` binds less than `==`.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, LazyLock},
};

use rhai::{
    AST, Dynamic, Engine, FLOAT, INT, ImmutableString, Position, Scope,
    packages::{
        ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMathPackage, BitFieldPackage, LanguageCorePackage,
        LogicPackage, MoreStringPackage, Package,
    },
};

use super::{
    condition::Name,
    gate::{self, Room},
};
use crate::tag::{DataType, Reading, StatusCode, TagId, Value};

/// The longest expression in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The most tags that one expression reads.
pub const MAX_INPUTS: usize = 64;

const MAX_OPERATIONS: u64 = 10_000;
const MAX_DEPTH: usize = 32;
const MAX_TEXT: usize = 65_536;
const MAX_ELEMENTS: usize = 65_536;

/// A compiled expression.
pub struct Expression {
    source: Arc<str>,
    inputs: Box<[TagId]>,
    names: Box<[ImmutableString]>,
    program: AST,
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// What is wrong.
    pub message: String,
    /// Where in the text, in bytes.
    pub span: Option<Range<usize>>,
    /// What would be right; empty when nothing more can be said.
    pub help: String,
    /// The path, when it is one that `resolve` does not know; the nearest known one is the caller's to name.
    pub unknown_tag: Option<String>,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExpressionError {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

impl Expression {
    /// Compiles `source`; `resolve` gives the ids of the paths in it.
    ///
    /// # Errors
    /// When it is not an expression, has more than [`MAX_SOURCE`] bytes, or names a tag that `resolve` does not know.
    pub fn compile(source: &str, resolve: &dyn Fn(&str) -> Option<TagId>) -> Result<Self, ExpressionError> {
        Self::compile_in(Room::Tags, source, resolve).map(|(expression, _)| expression)
    }

    /// As [`Expression::compile`], with the names that `room` has; those that `source` uses are for [`Expression::evaluate_in`].
    pub(super) fn compile_in(
        room: Room,
        source: &str,
        resolve: &dyn Fn(&str) -> Option<TagId>,
    ) -> Result<(Self, Vec<Name>), ExpressionError> {
        let whole = |message: String, help: &str| ExpressionError { message, span: None, help: help.into(), unknown_tag: None };
        if source.len() > MAX_SOURCE {
            return Err(whole(format!("an expression has at most {MAX_SOURCE} bytes"), "divide it among derived tags"));
        }
        if source.trim().is_empty() {
            return Err(whole("an expression must not be empty".to_owned(), "write for example tag(\"path\") > 5"));
        }
        let gated = gate::pass(source, resolve, room)?;
        let program = ENGINE.compile(&gated.script).map_err(|error| {
            let span = offset(source, error.position()).map(|start| start..next_boundary(source, start));
            ExpressionError { message: error.err_type().to_string(), span, help: String::new(), unknown_tag: None }
        })?;
        let names = (0..gated.inputs.len()).map(|index| gate::variable(index).into()).collect();
        Ok((Self { source: source.into(), inputs: gated.inputs.into(), names, program }, gated.names))
    }

    /// The tags that it reads, each once.
    #[must_use]
    pub fn inputs(&self) -> &[TagId] {
        &self.inputs
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value now: Boolean, Int64, Double or String, with the worst quality of its inputs (of two equally bad ones the one
    /// that alarms must not use). `Null` with that quality when an input is Bad or null; `Null` with Bad when it cannot be
    /// computed, and with `BadTypeMismatch` when the result is no such value.
    #[must_use]
    pub fn evaluate(&self, read: &dyn Fn(TagId) -> Reading) -> (Value, StatusCode) {
        self.evaluate_in(Scope::with_capacity(self.inputs.len()), read)
    }

    /// As [`Expression::evaluate`]; `scope` has a value for each name beside the tags.
    pub(super) fn evaluate_in(&self, mut scope: Scope<'_>, read: &dyn Fn(TagId) -> Reading) -> (Value, StatusCode) {
        let mut quality = StatusCode::GOOD;
        for (tag, name) in self.inputs.iter().zip(&self.names) {
            let reading = read(*tag);
            if reading.status.is_bad() {
                return (Value::Null, reading.status);
            }
            if reading.value.is_null() {
                return (Value::Null, StatusCode::BAD);
            }
            let Some(value) = to_dynamic(&reading.value) else { return (Value::Null, StatusCode::BAD_TYPE_MISMATCH) };
            scope.push_dynamic(name.clone(), value);
            quality = worse(quality, reading.status);
        }
        let Ok(result) = ENGINE.eval_ast_with_scope::<Dynamic>(&mut scope, &self.program) else {
            return (Value::Null, StatusCode::BAD);
        };
        from_dynamic(&result).map_or((Value::Null, StatusCode::BAD_TYPE_MISMATCH), |value| (value, quality))
    }

    /// Its value now as exactly `wanted`, for a derived tag: numbers are converted (to integers by rounding), else
    /// `BadOutOfRange`; anything else is `BadTypeMismatch`.
    #[must_use]
    pub fn evaluate_as(&self, read: &dyn Fn(TagId) -> Reading, wanted: DataType) -> (Value, StatusCode) {
        let (value, status) = self.evaluate(read);
        let converted = match value {
            Value::Null => return (Value::Null, status),
            Value::Int64(number) if wanted.is_numeric() => wanted.from_i128(number.into()).ok_or(StatusCode::BAD_OUT_OF_RANGE),
            Value::Double(number) if wanted.is_numeric() => wanted.from_f64(number).ok_or(StatusCode::BAD_OUT_OF_RANGE),
            value if value.data_type() == Some(wanted) => Ok(value),
            _ => Err(StatusCode::BAD_TYPE_MISMATCH),
        };
        converted.map_or_else(|error| (Value::Null, error), |value| (value, status))
    }
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut engine = Engine::new_raw();
    LanguageCorePackage::new().register_into_engine(&mut engine);
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BitFieldPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    // Rhai's mathematics is for floating-point numbers; tags are often integers.
    #[allow(clippy::cast_precision_loss)]
    engine
        .register_fn("floor", |number: INT| number)
        .register_fn("ceiling", |number: INT| number)
        .register_fn("round", |number: INT| number)
        .register_fn("sqrt", |number: INT| (number as FLOAT).sqrt())
        .register_fn("exp", |number: INT| (number as FLOAT).exp())
        .register_fn("ln", |number: INT| (number as FLOAT).ln())
        .register_fn("log10", |number: INT| (number as FLOAT).log10());
    engine
        .set_allow_looping(false)
        .set_allow_anonymous_fn(false)
        .set_allow_statement_expression(false)
        .set_max_operations(MAX_OPERATIONS)
        .set_max_expr_depths(MAX_DEPTH, MAX_DEPTH)
        .set_max_call_levels(MAX_DEPTH)
        .set_max_string_size(MAX_TEXT)
        .set_max_array_size(MAX_ELEMENTS);
    engine
});

/// Texts, truths and numbers; a UInt64 beyond Rhai's integers as the nearest floating-point number.
pub(super) fn to_dynamic(value: &Value) -> Option<Dynamic> {
    Some(match value {
        Value::Boolean(value) => Dynamic::from_bool(*value),
        Value::Float(value) => Dynamic::from_float(f64::from(*value)),
        Value::Double(value) => Dynamic::from_float(*value),
        Value::String(text) => Dynamic::from(ImmutableString::from(&**text)),
        Value::Array(_, elements) if elements.len() <= MAX_ELEMENTS => {
            Dynamic::from_array(elements.iter().map(to_dynamic).collect::<Option<_>>()?)
        }
        integer => match INT::try_from(integer.as_i128()?) {
            Ok(value) => Dynamic::from_int(value),
            Err(_) => Dynamic::from_float(integer.as_f64()?),
        },
    })
}

fn from_dynamic(result: &Dynamic) -> Option<Value> {
    if let Ok(value) = result.as_bool() {
        return Some(Value::Boolean(value));
    }
    if let Ok(value) = result.as_int() {
        return Some(Value::Int64(value));
    }
    if let Ok(value) = result.as_float() {
        return Some(Value::Double(value));
    }
    result.as_immutable_string_ref().ok().map(|text| Value::string(text.as_str()))
}

fn worse(one: StatusCode, other: StatusCode) -> StatusCode {
    let worst = one.worst(other);
    if worst.is_usable() && !other.is_usable() && worst.is_uncertain() == other.is_uncertain() { other } else { worst }
}

/// The byte at a position that counts lines and characters.
pub(super) fn offset(source: &str, position: Position) -> Option<usize> {
    let line_start: usize = source.split_inclusive('\n').take(position.line()?.checked_sub(1)?).map(str::len).sum();
    let column = position.position().unwrap_or(1).saturating_sub(1);
    let line = &source[line_start..];
    Some(line_start + line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset))
}

pub(super) fn next_boundary(source: &str, start: usize) -> usize {
    source[start..].chars().next().map_or(start, |c| start + c.len_utf8())
}

#[cfg(test)]
mod tests;
