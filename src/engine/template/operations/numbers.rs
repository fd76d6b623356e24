//! Operations on numbers. Integers stay integers as long as they fit into 64 bits; nothing becomes infinite.

use serde_json::{Number, Value as Json};

use super::{describe, needs};

/// Integers beyond this are not exact as floating-point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `cast_to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cast {
    /// Towards zero.
    Int,
    /// With its fraction.
    #[default]
    Float,
}

/// As a message shows it: 81 and 81.3, not 81.0 and 81.30000000000001.
pub(super) fn show(number: &Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (None, Some(float)) if float.fract() == 0.0 && float.abs() < EXACT => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

/// A floating-point result.
pub(super) fn from_float(float: f64) -> Result<Json, String> {
    Number::from_f64(float).map(Json::Number).ok_or_else(|| "gives a number that is too large".to_owned())
}

/// An exact result, as a floating-point number where it is beyond 64 bits.
pub(super) fn from_integer(integer: i128) -> Result<Json, String> {
    if let Ok(integer) = i64::try_from(integer) {
        return Ok(integer.into());
    }
    #[allow(clippy::cast_precision_loss)]
    u64::try_from(integer).map_or_else(|_| from_float(integer as f64), |integer| Ok(integer.into()))
}

pub(super) fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

pub(super) fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// The integer that `float` is, when it is one and exact.
fn whole(float: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)]
    (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
}

pub(super) fn to_number(value: &Json, cast: Cast) -> Result<Json, String> {
    let number = match value {
        Json::Number(number) => number.clone(),
        Json::Bool(value) => u8::from(*value).into(),
        Json::String(text) => parse(text).ok_or_else(|| format!("cannot read {} as a number", describe(value)))?,
        other => return Err(needs("a text, a number or a Boolean", other)),
    };
    match (cast, integer(&number)) {
        (Cast::Int, Some(_)) => Ok(Json::Number(number)),
        (Cast::Int, None) => {
            let cut = float(&number).trunc();
            #[allow(clippy::cast_possible_truncation)]
            // −2^63 is representable, 2^63 is the first that does not fit.
            if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&cut) {
                Ok((cut as i64).into())
            } else {
                Err(format!("cannot make an integer of 64 bits of {}", describe(value)))
            }
        }
        (Cast::Float, _) => from_float(float(&number)),
    }
}

fn parse(text: &str) -> Option<Number> {
    let text = text.trim();
    // The standard parser also takes `inf` and `nan`.
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let integer = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    integer.ok().or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
}

pub(super) fn to_boolean(value: &Json) -> Result<Json, String> {
    match value {
        Json::Bool(value) => Ok((*value).into()),
        Json::Number(number) => Ok((float(number) != 0.0).into()),
        Json::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true.into()),
            "false" | "off" | "no" | "0" => Ok(false.into()),
            _ => Err(format!("cannot read {} as true or false", describe(value))),
        },
        other => Err(needs("a text, a number or a Boolean", other)),
    }
}

pub(super) fn round(number: &Number, digits: i32) -> Result<Json, String> {
    if let Some(integer) = integer(number) {
        if digits >= 0 {
            return from_integer(integer);
        }
        let unit = 10_i128.pow(digits.unsigned_abs());
        return from_integer((integer.abs() + unit / 2) / unit * unit * integer.signum());
    }
    let value = float(number);
    let factor = 10_f64.powi(digits.abs());
    let rounded = match digits {
        0.. if value.abs() >= EXACT / factor => value,
        0.. => (value * factor).round() / factor,
        _ => (value / factor).round() * factor,
    };
    match whole(rounded) {
        Some(integer) if digits <= 0 => Ok(integer.into()),
        _ => from_float(rounded),
    }
}

pub(super) fn multiply(a: &Number, b: &Number) -> Result<Json, String> {
    match (integer(a), integer(b)) {
        // 64 times 64 bits fit into 128.
        (Some(a), Some(b)) => from_integer(a * b),
        _ => from_float(float(a) * float(b)),
    }
}

pub(super) fn divide(a: &Number, b: &Number) -> Result<Json, String> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) if b != 0 && a % b == 0 => from_integer(a / b),
        _ if float(b) == 0.0 => Err("cannot divide by zero".to_owned()),
        _ => from_float(float(a) / float(b)),
    }
}
