//! What a device's answer says about the tags of its block.

use super::{address::Point, plan::Block};
use crate::{
    engine::plan::TagTraits,
    source::SourceTag,
    tag::{Sample, StatusCode, Timestamp, Value},
};

/// The payload of an answer to a read request; its length was compared with the request's.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Of holding or input registers.
    Registers(&'a [u16]),
    /// Of coils or discrete inputs; a multiple of eight, the last ones are padding.
    Bits(&'a [bool]),
}

/// One sample for every tag of `block`, all of one source time: a frame is one moment of the device.
#[must_use]
pub fn samples<'t>(
    block: &Block,
    tag: impl Fn(u32) -> (&'t SourceTag, &'t Point),
    payload: Payload<'_>,
    time: Timestamp,
) -> Vec<Sample> {
    let sample = |index: &u32| {
        let (def, point) = tag(*index);
        let offset = usize::from(point.address - block.address);
        let (value, status) = match value(def, point, payload, offset) {
            Ok(value) => (value, StatusCode::GOOD),
            Err(status) => (Value::Null, status),
        };
        Sample { tag: def.id, value, status, source_time: time }
    };
    block.tags.iter().map(sample).collect()
}

/// The value of one tag that begins at `offset` in `payload`.
///
/// # Errors
/// `BadTypeMismatch` or `BadOutOfRange` as [`super::format::Format::decode`]; `BadCommunicationError` when the payload is too
/// short.
pub fn value(def: &TagTraits, point: &Point, payload: Payload<'_>, offset: usize) -> Result<Value, StatusCode> {
    let end = offset + usize::from(point.span());
    let short = StatusCode::BAD_COMMUNICATION_ERROR;
    match payload {
        Payload::Bits(bits) => {
            let bits = bits.get(offset..end).ok_or(short)?;
            match point.elements {
                None => Ok(Value::Boolean(bits[0])),
                Some(_) => Ok(Value::Array(def.value_type.data_type, bits.iter().map(|bit| Value::Boolean(*bit)).collect())),
            }
        }
        Payload::Registers(words) => {
            let words = words.get(offset..end).ok_or(short)?;
            if let Some(bit) = point.bit {
                return Ok(Value::Boolean(words[0] >> bit & 1 == 1));
            }
            let data_type = def.value_type.data_type;
            let scale = def.scale.as_ref();
            if point.elements.is_none() {
                return point.format.decode(words, data_type, scale);
            }
            let elements = words.chunks_exact(usize::from(point.format.registers()));
            let elements: Result<_, _> = elements.map(|words| point.format.decode(words, data_type, scale)).collect();
            Ok(Value::Array(data_type, elements?))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{super::tests::tag, address::Table, format::Format},
        *,
    };
    use crate::tag::DataType;

    fn point(table: Table, address: u16, format: &str, elements: Option<u16>) -> Point {
        let format = Format::parse(format).unwrap();
        Point { unit: 1, table, address, bit: None, format, elements, poll: Duration::from_secs(1) }
    }

    #[test]
    fn bits_registers_and_arrays() {
        let words = [0x0004, 0x42A3, 0x0000, 0xFFFF];
        let registers = Payload::Registers(&words);
        let bit = Point { bit: Some(2), ..point(Table::Holding, 0, "bool", None) };
        assert_eq!(value(&tag("Boolean"), &bit, registers, 0), Ok(Value::Boolean(true)));
        let float = point(Table::Input, 1, "f32", None);
        assert_eq!(value(&tag("Float"), &float, registers, 1), Ok(Value::Float(81.5)));
        let array = point(Table::Holding, 2, "i16", Some(2));
        let elements = [Value::Int16(0), Value::Int16(-1)];
        assert_eq!(value(&tag("Int16[2]"), &array, registers, 2), Ok(Value::Array(DataType::Int16, elements.into())));
        let bits = [true, false, true, false, false, false, false, false];
        let coils = point(Table::Coil, 0, "bool", Some(3));
        let elements = [true, false, true].map(Value::Boolean);
        let expected = Value::Array(DataType::Boolean, elements.into());
        assert_eq!(value(&tag("Boolean[3]"), &coils, Payload::Bits(&bits), 0), Ok(expected));
    }

    #[test]
    fn a_bad_tag_spoils_nobody_else() {
        let words = [0xFFFF, 7];
        let tags = [(tag("Byte"), point(Table::Holding, 10, "u16", None)), (tag("Byte"), point(Table::Holding, 11, "u16", None))];
        let block =
            Block { unit: 1, table: Table::Holding, poll: Duration::from_secs(1), address: 10, count: 2, tags: vec![0, 1] };
        let at = |index: u32| (&tags[index as usize].0, &tags[index as usize].1);
        let time = Timestamp::from_ticks(9);
        let found = samples(&block, at, Payload::Registers(&words), time);
        assert_eq!((found[0].status, &found[0].value), (StatusCode::BAD_OUT_OF_RANGE, &Value::Null));
        assert_eq!((found[1].status, &found[1].value), (StatusCode::GOOD, &Value::Byte(7)));
        let short = samples(&block, at, Payload::Registers(&words[..1]), time);
        assert_eq!(short[1].status, StatusCode::BAD_COMMUNICATION_ERROR);
    }
}
