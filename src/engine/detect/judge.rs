//! One sample against its limits: no time, no state.

use crate::{
    engine::plan::{AlarmDef, Limit, Mode, Setpoint, TagDef},
    tag::{Reading, TagId, Value},
};

/// What one sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The condition is true.
    True,
    /// Not true, but not far enough from it to clear: whatever was said before stays.
    Band,
    /// The condition is false.
    False,
    /// Nothing can be said, and that is as it should be (`bad_quality` while its source is away).
    Hold,
    /// Nothing can be said, and somebody should know after a while.
    Unusable,
}

impl Verdict {
    pub(super) const fn from_bool(condition: bool) -> Self {
        if condition { Self::True } else { Self::False }
    }
}

/// Every mode without a memory of its own.
pub(super) fn judge(
    def: &AlarmDef,
    tag: &TagDef,
    reading: &Reading,
    read: &dyn Fn(TagId) -> Reading,
    connected: bool,
) -> Verdict {
    match &def.mode {
        Mode::BadQuality => return bad_quality(reading, connected),
        Mode::Condition(expression) => {
            let (value, status) = expression.evaluate(read);
            return value.as_bool().filter(|_| status.is_usable()).map_or(Verdict::Unusable, Verdict::from_bool);
        }
        _ => {}
    }
    if !reading.status.is_usable() {
        return Verdict::Unusable;
    }
    compare(def, tag, &reading.value, read).unwrap_or(Verdict::Unusable)
}

fn bad_quality(reading: &Reading, connected: bool) -> Verdict {
    use crate::tag::StatusCode;
    if !connected {
        Verdict::Hold
    } else if reading.status == StatusCode::BAD_WAITING_FOR_INITIAL_DATA {
        Verdict::Unusable
    } else if reading.status.is_bad() {
        Verdict::True
    } else if reading.status.is_usable() {
        Verdict::False
    } else {
        Verdict::Hold
    }
}

/// `None` when the value or a limit is not of a kind that the mode can compare.
fn compare(def: &AlarmDef, tag: &TagDef, value: &Value, read: &dyn Fn(TagId) -> Reading) -> Option<Verdict> {
    let number_of = |value: &Value| number(value, value);
    let limit = |limit: &Limit| {
        let setpoint = number(&self::setpoint(&limit.setpoint, read)?, value)?;
        Some(Bound { setpoint, inclusive: limit.inclusive })
    };
    let deadband = def.deadband;
    Some(match &def.mode {
        Mode::Equal(wanted) => equal(value, &setpoint(wanted, read)?, deadband)?,
        Mode::NotEqual(wanted) => match equal(value, &setpoint(wanted, read)?, 0.0)? {
            Verdict::True => Verdict::False,
            _ => Verdict::True,
        },
        Mode::Above(high) => above(number_of(value)?, limit(high)?, deadband),
        Mode::Below(low) => below(number_of(value)?, limit(low)?, deadband),
        Mode::Between(low, high) => between(number_of(value)?, limit(low)?, limit(high)?, deadband),
        Mode::Outside(low, high) => outside(number_of(value)?, limit(low)?, limit(high)?, deadband),
        Mode::OutOfRange => {
            let (low, high) = tag.range?;
            let bound = |end: f64| number(&Value::Double(end), value).map(|setpoint| Bound { setpoint, inclusive: false });
            outside(number_of(value)?, bound(low)?, bound(high)?, deadband)
        }
        Mode::Bit { position, on_zero } => Verdict::from_bool(bit(value, *position)? != *on_zero),
        Mode::BadQuality | Mode::AnyChange | Mode::Condition(_) | Mode::RateOfChange { .. } | Mode::System => return None,
    })
}

/// Which limits the value is beyond, upper and lower, while the alarm is active; `None` when that cannot be said, or when the
/// value is inside and only a delay or the deadband keeps the alarm active. Between two limits it is beyond both.
pub(super) fn limits(def: &AlarmDef, tag: &TagDef, reading: &Reading, read: &dyn Fn(TagId) -> Reading) -> Option<(bool, bool)> {
    let (low, high) = match &def.mode {
        Mode::Above(_) => return Some((true, false)),
        Mode::Below(_) => return Some((false, true)),
        Mode::Between(..) => return Some((true, true)),
        Mode::RateOfChange { setpoint: limit, .. } => {
            let falling = setpoint(&limit.setpoint, read)?.as_f64()? < 0.0;
            return Some((!falling, falling));
        }
        Mode::Outside(low, high) => (setpoint(&low.setpoint, read)?, setpoint(&high.setpoint, read)?),
        Mode::OutOfRange => tag.range.map(|(low, high)| (Value::Double(low), Value::Double(high)))?,
        _ => return None,
    };
    let value = number(&reading.value, &reading.value).filter(|_| reading.status.is_usable())?;
    let (low, high) = (number(&low, &reading.value)?, number(&high, &reading.value)?);
    // With `inclusive` the limit itself is beyond; without it the alarm is not active there.
    let (is_high, is_low) = (value >= high, value <= low);
    (is_high || is_low).then_some((is_high, is_low))
}

/// The setpoint's value now; `None` when it has none that is usable.
pub(super) fn setpoint(setpoint: &Setpoint, read: &dyn Fn(TagId) -> Reading) -> Option<Value> {
    match setpoint {
        Setpoint::Constant(value) => Some(value.clone()),
        Setpoint::Expression(expression) => {
            let (value, status) = expression.evaluate(read);
            status.is_usable().then_some(value).filter(|value| !value.is_null())
        }
    }
}

/// The number of `value` for a comparison with `beside`: as coarse as a Float when that is one, so that a Float of 0.1 equals a
/// setpoint of 0.1. Not for NaN, with which nothing can be compared.
pub(super) fn number(value: &Value, beside: &Value) -> Option<f64> {
    #[allow(clippy::cast_possible_truncation)]
    let number = match (value.as_f64()?, beside) {
        (number, Value::Float(_)) => f64::from(number as f32),
        (number, _) => number,
    };
    (!number.is_nan()).then_some(number)
}

#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub setpoint: f64,
    pub inclusive: bool,
}

pub(super) fn above(value: f64, limit: Bound, deadband: f64) -> Verdict {
    if value > limit.setpoint || limit.inclusive && value >= limit.setpoint {
        Verdict::True
    } else if value <= limit.setpoint - deadband {
        Verdict::False
    } else {
        Verdict::Band
    }
}

pub(super) fn below(value: f64, limit: Bound, deadband: f64) -> Verdict {
    above(-value, Bound { setpoint: -limit.setpoint, ..limit }, deadband)
}

fn between(value: f64, low: Bound, high: Bound, deadband: f64) -> Verdict {
    match (above(value, low, deadband), below(value, high, deadband)) {
        (Verdict::True, Verdict::True) => Verdict::True,
        (Verdict::False, _) | (_, Verdict::False) => Verdict::False,
        _ => Verdict::Band,
    }
}

/// The deadband never reaches beyond the middle, so that the alarm can always clear.
fn outside(value: f64, low: Bound, high: Bound, deadband: f64) -> Verdict {
    let deadband = deadband.min(((high.setpoint - low.setpoint) / 2.0).max(0.0));
    match (below(value, low, deadband), above(value, high, deadband)) {
        (Verdict::True, _) | (_, Verdict::True) => Verdict::True,
        (Verdict::False, Verdict::False) => Verdict::False,
        _ => Verdict::Band,
    }
}

/// Equality holds on until the value is more than the deadband away.
fn equal(value: &Value, wanted: &Value, deadband: f64) -> Option<Verdict> {
    if let (Some(value), Some(wanted)) = (value.as_i128(), wanted.as_i128())
        && deadband == 0.0
    {
        // Exact also beyond 2^53.
        return Some(Verdict::from_bool(value == wanted));
    }
    if let (Some(_), Some(_)) = (value.as_f64(), wanted.as_f64()) {
        let (number, wanted) = (number(value, value)?, number(wanted, value)?);
        #[allow(clippy::float_cmp)]
        let equal = number == wanted;
        let near = (number - wanted).abs() <= deadband;
        return Some(if equal {
            Verdict::True
        } else if near {
            Verdict::Band
        } else {
            Verdict::False
        });
    }
    (value.data_type() == wanted.data_type() && !value.is_null()).then(|| Verdict::from_bool(value == wanted))
}

fn bit(value: &Value, position: u32) -> Option<bool> {
    match value {
        Value::Boolean(value) => (position == 0).then_some(*value),
        integer => Some(integer.as_i128()?.checked_shr(position)? & 1 == 1),
    }
}
