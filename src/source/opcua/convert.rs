//! OPC UA values to the tag's exact type and back.
//!
//! A value is taken as it is, or widened where nothing can be lost (an Int16 for an Int32 tag, a Float for a Double tag); every
//! other difference is `BadTypeMismatch` on that tag alone. With a scale any number is taken, because scaling computes anew.

use std::sync::Arc;

use opcua::types::VariantScalarTypeId as Wire;
use uuid::Uuid;

use crate::{
    engine::plan::Scale,
    source::SourceTag,
    tag::{DataType, Rank, Sample, StatusCode, Timestamp, Value, ValueType},
    ua::client::data::{Data, DataValue, Outgoing, own_type},
};

/// Integers up to this size are exact in a Float.
const EXACT_FLOAT: i128 = 1 << 24;
/// Integers up to this size are exact in a Double.
const EXACT_DOUBLE: i128 = 1 << 53;

/// A notification or read result as a sample: status and source timestamp unchanged, Bad as null.
#[must_use]
pub fn sample(def: &SourceTag, data: &DataValue) -> Sample {
    let DataValue { status, source_time, .. } = *data;
    let (value, status) = if status.is_bad() {
        (Value::Null, status)
    } else {
        match value(&data.value, def.value_type, def.scale.as_ref()) {
            Ok(value) => (value, status),
            Err(bad) => (Value::Null, bad),
        }
    };
    Sample { tag: def.id, value, status, source_time }
}

/// What a server sent as a value of the tag's type.
///
/// # Errors
/// `BadWaitingForInitialData` for a null, `BadTypeMismatch` for another type, `BadOutOfRange` when the scaled value does not
/// fit.
pub fn value(data: &Data, wanted: ValueType, scale: Option<&Scale>) -> Result<Value, StatusCode> {
    if *data == Data::Null {
        return Err(StatusCode::BAD_WAITING_FOR_INITIAL_DATA);
    }
    let Rank::Array(length) = wanted.rank else {
        let Data::Scalar(_, value) = data else { return Err(StatusCode::BAD_TYPE_MISMATCH) };
        return scalar(value, wanted.data_type, scale);
    };
    let elements: Arc<[Value]> = match data {
        Data::Array(_, elements) => {
            elements.iter().map(|element| scalar(element, wanted.data_type, scale)).collect::<Result<_, _>>()?
        }
        // Part 6, 5.2.2.16: a Byte array may travel as a ByteString.
        Data::Scalar(_, Value::ByteString(bytes)) if wanted.data_type == DataType::Byte => {
            bytes.iter().map(|byte| scalar(&Value::Byte(*byte), DataType::Byte, scale)).collect::<Result<_, _>>()?
        }
        _ => return Err(StatusCode::BAD_TYPE_MISMATCH),
    };
    if length != 0 && elements.len() != length as usize {
        return Err(StatusCode::BAD_TYPE_MISMATCH);
    }
    Ok(Value::Array(wanted.data_type, elements))
}

fn scalar(value: &Value, wanted: DataType, scale: Option<&Scale>) -> Result<Value, StatusCode> {
    if let Some(scale) = scale {
        let raw = number(value).ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
        return wanted.from_f64(scale.to_eu(raw)).ok_or(StatusCode::BAD_OUT_OF_RANGE);
    }
    if let Some((integer, (low, high))) = integer(value) {
        let lossless = match wanted {
            DataType::Float => low >= -EXACT_FLOAT && high <= EXACT_FLOAT,
            DataType::Double => low >= -EXACT_DOUBLE && high <= EXACT_DOUBLE,
            _ => wanted.integer_range().is_some_and(|(least, most)| least <= low && high <= most),
        };
        return lossless.then(|| wanted.from_i128(integer)).flatten().ok_or(StatusCode::BAD_TYPE_MISMATCH);
    }
    match (wanted, value) {
        (DataType::Double, Value::Float(value)) => Ok(Value::Double(f64::from(*value))),
        (DataType::Boolean, Value::Boolean(_))
        | (DataType::Float, Value::Float(_))
        | (DataType::Double, Value::Double(_))
        | (DataType::String, Value::String(_))
        | (DataType::DateTime, Value::DateTime(_))
        | (DataType::ByteString, Value::ByteString(_)) => Ok(value.clone()),
        _ => Err(StatusCode::BAD_TYPE_MISMATCH),
    }
}

/// An integer with the range of its type.
fn integer(value: &Value) -> Option<(i128, (i128, i128))> {
    Some((value.as_i128()?, value.data_type()?.integer_range()?))
}

fn number(value: &Value) -> Option<f64> {
    if matches!(value, Value::Boolean(_)) { None } else { value.as_f64() }
}

/// True when a server's type can ever give a value of the tag's type.
#[must_use]
pub fn agrees(wire: Wire, wanted: ValueType, scale: Option<&Scale>) -> bool {
    let example = match wire {
        Wire::Boolean => Value::Boolean(false),
        Wire::SByte => Value::SByte(0),
        Wire::Byte => Value::Byte(0),
        Wire::Int16 => Value::Int16(0),
        Wire::UInt16 => Value::UInt16(0),
        Wire::Int32 => Value::Int32(0),
        Wire::UInt32 | Wire::StatusCode => Value::UInt32(0),
        Wire::Int64 => Value::Int64(0),
        Wire::UInt64 => Value::UInt64(0),
        Wire::Float => Value::Float(0.0),
        Wire::Double => Value::Double(0.0),
        Wire::String | Wire::Guid | Wire::XmlElement | Wire::LocalizedText => Value::string(""),
        Wire::DateTime => Value::DateTime(Timestamp::NULL),
        Wire::ByteString if wanted.rank != Rank::Scalar && wanted.data_type == DataType::Byte => return true,
        Wire::ByteString => Value::ByteString([].into()),
        // Every type is possible behind an abstract one.
        Wire::Variant => return true,
        _ => return false,
    };
    scalar(&example, wanted.data_type, scale) != Err(StatusCode::BAD_TYPE_MISMATCH)
}

/// A value in engineering units as exactly the server's type.
///
/// # Errors
/// `BadOutOfRange` when the server's type cannot hold it, `BadTypeMismatch` when the types have nothing in common.
pub fn outgoing(value: &Value, wire: Wire, scale: Option<&Scale>) -> Result<Outgoing, StatusCode> {
    let Value::Array(data_type, elements) = value else {
        let value = outgoing_scalar(value, wire, scale)?;
        // Behind an abstract type a value goes as it is.
        let wire = if wire == Wire::Variant { value.data_type().map_or(wire, own_type) } else { wire };
        return Ok(Outgoing { wire, value });
    };
    if wire == Wire::ByteString && *data_type == DataType::Byte {
        let bytes: Option<Vec<u8>> = elements.iter().map(|element| element.as_i128()?.try_into().ok()).collect();
        let bytes = bytes.ok_or(StatusCode::BAD_OUT_OF_RANGE)?;
        return Ok(Outgoing { wire, value: Value::ByteString(bytes.into()) });
    }
    let wire = if wire == Wire::Variant { own_type(*data_type) } else { wire };
    let elements = elements.iter().map(|element| outgoing_scalar(element, wire, scale)).collect::<Result<_, _>>()?;
    Ok(Outgoing { wire, value: Value::Array(*data_type, elements) })
}

fn outgoing_scalar(value: &Value, wire: Wire, scale: Option<&Scale>) -> Result<Value, StatusCode> {
    if let Some(target) = numeric(wire) {
        let exact = match (scale, value.as_i128()) {
            (Some(scale), _) => value.as_f64().map(|eu| target.from_f64(scale.to_raw(eu))),
            (None, Some(integer)) => Some(in_range(target, integer)),
            // A fraction for an integer would be another value than the one asked for.
            (None, None) => match value {
                Value::Float(_) | Value::Double(_) => {
                    let number = value.as_f64().unwrap_or(f64::NAN);
                    Some(if target.is_integer() && number.fract() != 0.0 { None } else { target.from_f64(number) })
                }
                _ => None,
            },
        };
        return exact.ok_or(StatusCode::BAD_TYPE_MISMATCH)?.ok_or(StatusCode::BAD_OUT_OF_RANGE);
    }
    match (wire, value) {
        (Wire::Boolean, Value::Boolean(_))
        | (Wire::String | Wire::LocalizedText, Value::String(_))
        | (Wire::DateTime, Value::DateTime(_))
        | (Wire::ByteString, Value::ByteString(_)) => Ok(value.clone()),
        (Wire::Guid, Value::String(text)) if Uuid::parse_str(text).is_ok() => Ok(value.clone()),
        (Wire::Guid, Value::String(_)) => Err(StatusCode::BAD_OUT_OF_RANGE),
        (Wire::Variant, value) if !matches!(value, Value::Null | Value::Structure(_) | Value::Array(..)) => Ok(value.clone()),
        _ => Err(StatusCode::BAD_TYPE_MISMATCH),
    }
}

fn in_range(target: DataType, integer: i128) -> Option<Value> {
    match target {
        DataType::Float if integer.abs() > EXACT_FLOAT => None,
        DataType::Double if integer.abs() > EXACT_DOUBLE => None,
        _ => target.from_i128(integer),
    }
}

fn numeric(wire: Wire) -> Option<DataType> {
    Some(match wire {
        Wire::SByte => DataType::SByte,
        Wire::Byte => DataType::Byte,
        Wire::Int16 => DataType::Int16,
        Wire::UInt16 => DataType::UInt16,
        Wire::Int32 => DataType::Int32,
        Wire::UInt32 => DataType::UInt32,
        Wire::Int64 => DataType::Int64,
        Wire::UInt64 => DataType::UInt64,
        Wire::Float => DataType::Float,
        Wire::Double => DataType::Double,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> ValueType {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_widened_only_where_nothing_is_lost() {
        let cases: &[(Wire, Value, &str, Result<Value, StatusCode>)] = &[
            (Wire::Int16, Value::Int16(-5), "Int16", Ok(Value::Int16(-5))),
            (Wire::Int16, Value::Int16(-5), "Int32", Ok(Value::Int32(-5))),
            (Wire::Int16, Value::Int16(5), "UInt32", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::UInt16, Value::UInt16(5), "Int32", Ok(Value::Int32(5))),
            (Wire::UInt16, Value::UInt16(5), "Float", Ok(Value::Float(5.0))),
            (Wire::Int32, Value::Int32(5), "Float", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::Int32, Value::Int32(5), "Double", Ok(Value::Double(5.0))),
            (Wire::Int32, Value::Int32(5), "Int16", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::Int64, Value::Int64(5), "Double", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::Float, Value::Float(1.5), "Double", Ok(Value::Double(1.5))),
            (Wire::Double, Value::Double(1.5), "Float", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::Boolean, Value::Boolean(true), "Byte", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Wire::String, Value::string("x"), "String", Ok(Value::string("x"))),
            (Wire::LocalizedText, Value::string("an"), "String", Ok(Value::string("an"))),
            (Wire::StatusCode, Value::UInt32(5), "UInt32", Ok(Value::UInt32(5))),
        ];
        for (wire, sent, wanted, expected) in cases {
            assert_eq!(&value(&Data::Scalar(*wire, sent.clone()), of(wanted), None), expected, "{sent:?} as {wanted}");
            assert_eq!(agrees(*wire, of(wanted), None), expected.is_ok(), "{wire} agrees with {wanted}");
        }
        let array = Data::Array(Wire::Int16, [Value::Int16(1), Value::Int16(2)].into());
        let elements = Value::Array(DataType::Int16, [Value::Int16(1), Value::Int16(2)].into());
        assert_eq!(value(&array, of("Int16[2]"), None), Ok(elements));
        for (sent, wanted, expected) in [
            (&array, "Int16[3]", StatusCode::BAD_TYPE_MISMATCH),
            (&array, "Int16", StatusCode::BAD_TYPE_MISMATCH),
            (&Data::Scalar(Wire::Int16, Value::Int16(1)), "Int16[]", StatusCode::BAD_TYPE_MISMATCH),
            (&Data::Foreign(Wire::ExtensionObject), "Int16", StatusCode::BAD_TYPE_MISMATCH),
            (&Data::Null, "Int16", StatusCode::BAD_WAITING_FOR_INITIAL_DATA),
        ] {
            assert_eq!(value(sent, of(wanted), None), Err(expected), "{sent:?} as {wanted}");
        }
    }

    fn sent(value: &Value, wire: Wire, scale: Option<&Scale>) -> Result<Value, StatusCode> {
        outgoing(value, wire, scale).map(|outgoing| outgoing.value)
    }

    #[test]
    fn scaling_goes_both_ways() {
        let scale = Scale { raw: (0.0, 27_648.0), eu: (0.0, 100.0), clamp: false };
        let read = |data_type: &str, number: Value| value(&Data::Scalar(Wire::Int32, number), of(data_type), Some(&scale));
        assert_eq!(read("Float", Value::Int16(13_824)), Ok(Value::Float(50.0)));
        assert_eq!(sent(&Value::Float(50.0), Wire::Int16, Some(&scale)), Ok(Value::Int16(13_824)));
        assert_eq!(sent(&Value::Float(500.0), Wire::Int16, Some(&scale)), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(read("Byte", Value::Int32(i32::MAX)), Err(StatusCode::BAD_OUT_OF_RANGE));
    }

    #[test]
    fn writes_are_of_the_servers_exact_type() {
        assert_eq!(sent(&Value::Int32(7), Wire::Int16, None), Ok(Value::Int16(7)));
        assert_eq!(sent(&Value::Int32(70_000), Wire::Int16, None), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(sent(&Value::Double(1.5), Wire::Float, None), Ok(Value::Float(1.5)));
        assert_eq!(sent(&Value::Double(1.5), Wire::Int32, None), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(sent(&Value::string("x"), Wire::Int32, None), Err(StatusCode::BAD_TYPE_MISMATCH));
        assert_eq!(sent(&Value::string("x"), Wire::Guid, None), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(sent(&Value::Boolean(true), Wire::Boolean, None), Ok(Value::Boolean(true)));
        assert_eq!(sent(&Value::Boolean(true), Wire::Byte, None), Err(StatusCode::BAD_TYPE_MISMATCH));
        let array = Value::Array(DataType::Int16, [Value::Int16(1)].into());
        let wide = Value::Array(DataType::Int16, [Value::Int32(1)].into());
        assert_eq!(outgoing(&array, Wire::Int32, None), Ok(Outgoing { wire: Wire::Int32, value: wide }));
        assert_eq!(outgoing(&array, Wire::Variant, None), Ok(Outgoing { wire: Wire::Int16, value: array }));
    }
}
