//! When a new value of a monitored item is news: the data change filter (Part 4, 7.22.2; deadbands: Part 8, 7.2).

use super::{
    super::wire::{Extension, Reader},
    status,
};
use crate::{
    engine::plan::TagTraits,
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
    pub fn read(extension: &Extension<'_>, tag: Option<&TagTraits>) -> Result<Self, StatusCode> {
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
        // With a deadband a timestamp alone is no news (Part 4, 7.22.2).
        let trigger = if trigger == Trigger::StatusValueTimestamp { Trigger::StatusValue } else { trigger };
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
            Trigger::StatusValue => last.value.moved(&new.value, self.deadband),
            Trigger::StatusValueTimestamp => last.source_time != new.source_time || last.value.moved(&new.value, self.deadband),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::wire::Id, *};
    use crate::tag::{DataType, ValueType};

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
    fn large_integers_are_compared_exactly_and_arrays_by_element() {
        assert!(Value::Int64(i64::MAX).moved(&Value::Int64(i64::MAX - 1), 0.0));
        let array = |values: &[f64]| Value::Array(DataType::Double, values.iter().copied().map(Value::Double).collect());
        let last = array(&[1.0, 2.0, 3.0]);
        for (new, expected) in [
            (array(&[1.4, 1.6, 3.4]), false),
            (array(&[1.0, 2.0, 3.6]), true),
            (array(&[1.0, 2.0]), true),
            (array(&[1.0, 2.0, 3.0, 4.0]), true),
        ] {
            assert_eq!(last.moved(&new, 0.5), expected, "{new:?}");
        }
    }

    #[test]
    fn filters_are_read_or_refused_with_their_code() {
        use Trigger::{Status, StatusValue, StatusValueTimestamp};

        let tag = |data_type, range, deadband| TagTraits { range, deadband, ..TagTraits::of(ValueType::scalar(data_type)) };
        let analog = tag(DataType::Float, Some((-50.0, 150.0)), Some(0.1));
        let (plain, text) = (tag(DataType::Int32, None, None), tag(DataType::String, None, None));
        let body = |trigger: u32, kind: u32, amount: f64| {
            [&trigger.to_le_bytes()[..], &kind.to_le_bytes(), &amount.to_le_bytes()].concat()
        };
        let read = |tag: Option<&TagTraits>, body: &[u8], type_id: u32| {
            Filter::read(&Extension { type_id: Id::numeric(0, type_id), body: Some(body) }, tag)
        };
        let news = |trigger, deadband| Ok(Filter { trigger, deadband });
        let (invalid, unsupported) = (status::BAD_MONITORED_ITEM_FILTER_INVALID, status::BAD_MONITORED_ITEM_FILTER_UNSUPPORTED);
        let (not_allowed, bad_deadband) = (status::BAD_FILTER_NOT_ALLOWED, status::BAD_DEADBAND_FILTER_INVALID);
        for (tag, asked, expected) in [
            (Some(&analog), (0, 0, 0.0), news(Status, 0.1)),
            (Some(&analog), (1, 1, 5.0), news(StatusValue, 5.0)),
            (Some(&analog), (1, 2, 10.0), news(StatusValue, 20.0)),
            (Some(&analog), (2, 0, 0.0), news(StatusValueTimestamp, 0.1)),
            (Some(&analog), (2, 1, 1.0), news(StatusValue, 1.0)),
            (Some(&analog), (3, 0, 0.0), Err(invalid)),
            (Some(&analog), (1, 3, 1.0), Err(bad_deadband)),
            (Some(&analog), (1, 1, -1.0), Err(bad_deadband)),
            (Some(&analog), (1, 1, f64::NAN), Err(bad_deadband)),
            (Some(&analog), (1, 2, 100.5), Err(bad_deadband)),
            (Some(&plain), (1, 1, 2.0), news(StatusValue, 2.0)),
            (Some(&plain), (1, 2, 2.0), Err(unsupported)),
            (Some(&text), (1, 1, 2.0), Err(not_allowed)),
            (Some(&text), (2, 0, 0.0), news(StatusValueTimestamp, 0.0)),
            (None, (1, 1, 2.0), Err(not_allowed)),
            (None, (1, 0, 0.0), news(StatusValue, 0.0)),
        ] {
            assert_eq!(read(tag, &body(asked.0, asked.1, asked.2), 724), expected, "{asked:?}");
        }
        assert_eq!(read(Some(&analog), &[1, 0, 0], 724), Err(invalid));
        assert_eq!(read(Some(&analog), &body(1, 0, 0.0), 728), Err(unsupported), "an aggregate filter");
        assert_eq!(read(Some(&analog), &[], 0), news(StatusValue, 0.1), "none is the default");
    }
}
