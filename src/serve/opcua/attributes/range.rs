//! Index ranges (Part 4, 7.27).

use super::{
    super::wire::{Incoming, Reader, Writer},
    status,
};
use crate::tag::{StatusCode, Value};

/// One dimension of an index range (Part 4, 7.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRange {
    first: usize,
    last: usize,
}

impl IndexRange {
    /// The range in `text`, `None` for an empty one. More than one dimension is no data here: no tag has any.
    pub fn parse(text: &str) -> Result<Option<Self>, StatusCode> {
        if text.is_empty() {
            return Ok(None);
        }
        let number = |text: &str| {
            let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<usize>().ok()).flatten().ok_or(status::BAD_INDEX_RANGE_INVALID)
        };
        let one = |text: &str| match text.split_once(':') {
            Some((first, last)) => {
                let range = Self { first: number(first)?, last: number(last)? };
                (range.first < range.last).then_some(range).ok_or(status::BAD_INDEX_RANGE_INVALID)
            }
            None => number(text).map(|only| Self { first: only, last: only }),
        };
        let mut ranges = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        match (ranges.pop(), ranges.is_empty()) {
            (Some(range), true) => Ok(Some(range)),
            _ => Err(status::BAD_INDEX_RANGE_NO_DATA),
        }
    }

    /// The places of the range among `length`; `None` when there is none.
    fn places(self, length: usize) -> Option<std::ops::Range<usize>> {
        (self.first < length).then(|| self.first..length.min(self.last + 1))
    }

    /// The part of `value` in the range.
    pub fn of(self, value: &Value) -> Result<Value, StatusCode> {
        let cut = |length: usize| self.places(length);
        let part = match value {
            Value::Array(data_type, elements) => {
                cut(elements.len()).map(|range| Value::Array(*data_type, elements[range].into()))
            }
            Value::ByteString(bytes) => cut(bytes.len()).map(|range| Value::ByteString(bytes[range].into())),
            Value::String(text) => {
                let length = self.last.saturating_sub(self.first) + 1;
                let part: String = text.chars().skip(self.first).take(length).collect();
                (!part.is_empty()).then(|| Value::string(part))
            }
            _ => None,
        };
        part.ok_or(status::BAD_INDEX_RANGE_NO_DATA)
    }
}

/// Cuts an encoded Variant down to an index range.
pub fn cut_encoded(encoded: &mut Writer, range: IndexRange) -> Result<(), StatusCode> {
    // Arrays of any type, structures too, by their elements as they are.
    if let Ok(Some((kind, elements))) = Reader::new(&encoded.0).elements() {
        let places = range.places(elements.len()).ok_or(status::BAD_INDEX_RANGE_NO_DATA)?;
        let mut part = Writer::default();
        part.array(kind, places.len());
        for element in &elements[places] {
            part.0.extend_from_slice(element);
        }
        *encoded = part;
        return Ok(());
    }
    let value = match Reader::new(&encoded.0).variant() {
        Ok(Incoming::Value(value)) => range.of(&value)?,
        _ => return Err(status::BAD_INDEX_RANGE_NO_DATA),
    };
    encoded.0.clear();
    encoded.variant(&value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::DataType;

    #[test]
    fn encoded_arrays_of_any_type_are_cut() {
        let cut = |bytes: &[u8], range: &str| {
            let mut encoded = Writer(bytes.to_vec());
            cut_encoded(&mut encoded, IndexRange::parse(range).unwrap().unwrap()).map(|()| encoded.0)
        };
        let localized = [&[0x95, 3, 0, 0, 0][..], &[2, 1, 0, 0, 0, b'a'], &[0], &[2, 1, 0, 0, 0, b'c']].concat();
        assert_eq!(cut(&localized, "1:9"), Ok([&[0x95, 2, 0, 0, 0][..], &[0], &[2, 1, 0, 0, 0, b'c']].concat()));
        let structures = [&[0x96, 2, 0, 0, 0][..], &[0, 5, 1, 1, 0, 0, 0, 7], &[0, 6, 0]].concat();
        assert_eq!(cut(&structures, "0"), Ok([&[0x96, 1, 0, 0, 0][..], &[0, 5, 1, 1, 0, 0, 0, 7]].concat()));
        assert_eq!(cut(&structures, "2"), Err(status::BAD_INDEX_RANGE_NO_DATA));
        // A QualifiedName and a number have no parts; a text has.
        assert_eq!(cut(&[20, 0, 0, 1, 0, 0, 0, b'a'], "0"), Err(status::BAD_INDEX_RANGE_NO_DATA));
        assert_eq!(cut(&[3, 7], "0"), Err(status::BAD_INDEX_RANGE_NO_DATA));
        assert_eq!(cut(&[12, 3, 0, 0, 0, b'a', b'b', b'c'], "1:2"), Ok(vec![12, 2, 0, 0, 0, b'b', b'c']));
    }

    #[test]
    fn index_ranges_cut() {
        let array = Value::Array(DataType::Int32, (0..5).map(Value::Int32).collect::<Vec<_>>().into());
        let part = |text: &str| IndexRange::parse(text).and_then(|range| range.unwrap().of(&array));
        let ints = |values: &[i32]| Ok(Value::Array(DataType::Int32, values.iter().copied().map(Value::Int32).collect()));
        assert_eq!(part("1:2"), ints(&[1, 2]));
        assert_eq!(part("4"), ints(&[4]));
        assert_eq!(part("3:9"), ints(&[3, 4]));
        assert_eq!(part("5"), Err(status::BAD_INDEX_RANGE_NO_DATA));
        assert_eq!(part("1,2"), Err(status::BAD_INDEX_RANGE_NO_DATA));
        for bad in ["2:1", "1:1", "a", ":", "-1", "1:", "1 "] {
            assert_eq!(IndexRange::parse(bad), Err(status::BAD_INDEX_RANGE_INVALID), "{bad}");
        }
        assert_eq!(IndexRange::parse("1:2").unwrap().unwrap().of(&Value::string("äbc")), Ok(Value::string("bc")));
    }
}
