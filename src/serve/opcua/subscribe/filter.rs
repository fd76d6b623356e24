//! When a new value of a monitored item is news: the data change filter (Part 4, 7.22.2; deadbands: Part 8, 7.2).

use super::{
    super::wire::{Extension, Reader},
    status,
};
use crate::{
    engine::plan::TagDef,
    tag::{StatusCode, Timestamp, Value},
};

const DATA_CHANGE_FILTER: u32 = 724;
const DATA_CHANGE_FILTER_TYPE: u32 = 722;

/// What must change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// The status.
    Status,
    /// The status or the value.
    #[default]
    StatusValue,
    /// The status, the value or the source timestamp.
    StatusValueTimestamp,
}

/// A data change filter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// What must change.
    pub trigger: Trigger,
    /// By how much a number must change, in the tag's units; zero for any change.
    pub deadband: f64,
}

/// What was last told of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Value.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
    /// The source's own time.
    pub source_time: Timestamp,
}

impl Filter {
    /// The filter that a client asks for on the Value of `tag`, or on another attribute (`None`). Where the client has no
    /// deadband, the tag's own thins what is published.
    ///
    /// # Errors
    /// The operation's StatusCode.
    pub fn read(extension: &Extension<'_>, tag: Option<&TagDef>) -> Result<Self, StatusCode> {
        let own = Self { trigger: Trigger::default(), deadband: tag.and_then(|tag| tag.deadband).unwrap_or(0.0) };
        if extension.type_id.is_null() {
            return Ok(own);
        }
        if !matches!(extension.type_id.standard(), Some(DATA_CHANGE_FILTER | DATA_CHANGE_FILTER_TYPE)) {
            return Err(status::BAD_MONITORED_ITEM_FILTER_UNSUPPORTED);
        }
        let mut body = Reader::new(extension.body.ok_or(status::BAD_MONITORED_ITEM_FILTER_INVALID)?);
        let parts = (|| Ok((body.u32()?, body.u32()?, body.f64()?)))();
        let (trigger, kind, amount) =
            parts.map_err(|_: super::super::wire::Malformed| status::BAD_MONITORED_ITEM_FILTER_INVALID)?;
        let trigger = match trigger {
            0 => Trigger::Status,
            1 => Trigger::StatusValue,
            2 => Trigger::StatusValueTimestamp,
            _ => return Err(status::BAD_MONITORED_ITEM_FILTER_INVALID),
        };
        if kind == 0 {
            return Ok(Self { trigger, ..own });
        }
        let tag = tag.filter(|tag| tag.value_type.data_type.is_numeric()).ok_or(status::BAD_FILTER_NOT_ALLOWED)?;
        if !amount.is_finite() || amount < 0.0 {
            return Err(status::BAD_DEADBAND_FILTER_INVALID);
        }
        let deadband = match (kind, tag.range) {
            (1, _) => amount,
            (2, Some((low, high))) if amount <= 100.0 => amount / 100.0 * (high - low),
            (2, None) => return Err(status::BAD_MONITORED_ITEM_FILTER_UNSUPPORTED),
            _ => return Err(status::BAD_DEADBAND_FILTER_INVALID),
        };
        Ok(Self { trigger, deadband })
    }

    /// True when `new` is news after `last`.
    pub fn is_news(&self, last: Option<&Told>, new: &Told) -> bool {
        let Some(last) = last else { return true };
        if last.status != new.status {
            return true;
        }
        match self.trigger {
            Trigger::Status => false,
            Trigger::StatusValue => self.moved(&last.value, &new.value),
            Trigger::StatusValueTimestamp => last.source_time != new.source_time || self.moved(&last.value, &new.value),
        }
    }

    fn moved(&self, last: &Value, new: &Value) -> bool {
        if let (Value::Array(_, last), Value::Array(_, new)) = (last, new) {
            return last.len() != new.len() || last.iter().zip(new.iter()).any(|(last, new)| self.moved(last, new));
        }
        let numbers = if matches!(new, Value::Boolean(_)) { None } else { last.as_f64().zip(new.as_f64()) };
        match numbers {
            Some((last, new)) if last.is_nan() && new.is_nan() => false,
            // A step to or from NaN or infinity is never inside a deadband.
            Some((last, new)) if self.deadband > 0.0 && last.is_finite() && new.is_finite() => (new - last).abs() > self.deadband,
            _ => last != new,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: f64, status: u32, time: i64) -> Told {
        Told { value: Value::Double(value), status: StatusCode(status), source_time: Timestamp::from_ticks(time) }
    }

    #[test]
    fn what_is_news() {
        let bad = StatusCode::BAD.0;
        let cases = [
            (Trigger::StatusValue, 0.0, told(1.0, 0, 1), told(1.0, 0, 2), false),
            (Trigger::StatusValue, 0.0, told(1.0, 0, 1), told(1.1, 0, 2), true),
            (Trigger::StatusValue, 0.5, told(1.0, 0, 1), told(1.5, 0, 2), false),
            (Trigger::StatusValue, 0.5, told(1.0, 0, 1), told(1.6, 0, 2), true),
            (Trigger::StatusValue, 0.5, told(1.0, 0, 1), told(1.0, bad, 2), true),
            (Trigger::StatusValue, 0.5, told(1.0, 0, 1), told(f64::NAN, 0, 2), true),
            (Trigger::StatusValue, 0.0, told(f64::NAN, 0, 1), told(f64::NAN, 0, 2), false),
            (Trigger::Status, 0.0, told(1.0, 0, 1), told(9.0, 0, 2), false),
            (Trigger::Status, 0.0, told(1.0, 0, 1), told(1.0, 0x4000_0000, 2), true),
            (Trigger::StatusValueTimestamp, 0.5, told(1.0, 0, 1), told(1.0, 0, 2), true),
            (Trigger::StatusValueTimestamp, 0.5, told(1.0, 0, 1), told(1.2, 0, 1), false),
        ];
        for (trigger, deadband, last, new, expected) in cases {
            assert_eq!(
                Filter { trigger, deadband }.is_news(Some(&last), &new),
                expected,
                "{trigger:?} {deadband} {last:?} {new:?}"
            );
        }
        assert!(Filter::default().is_news(None, &told(0.0, 0, 0)));
    }

    #[test]
    fn large_integers_are_compared_exactly() {
        let filter = Filter::default();
        assert!(filter.moved(&Value::Int64(i64::MAX), &Value::Int64(i64::MAX - 1)));
    }
}
