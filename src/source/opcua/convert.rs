//! OPC UA values to the tag's exact type and back.
//!
//! A value is taken as it is, or widened where nothing can be lost (an Int16 for an Int32 tag, a Float for a Double tag); every
//! other difference is `BadTypeMismatch` on that tag alone. With a scale any number is taken, because scaling computes anew.

use std::sync::Arc;

use opcua::types::{
    Array, ByteString, DataValue, DateTime, Guid, LocalizedText, UAString, Variant, VariantScalarTypeId as Wire, VariantTypeId,
    XmlElement,
};

use crate::{
    engine::plan::{Scale, TagDef},
    tag::{DataType, Rank, Sample, StatusCode, Timestamp, Value, ValueType},
};

/// Integers up to this size are exact in a Float.
const EXACT_FLOAT: i128 = 1 << 24;
/// Integers up to this size are exact in a Double.
const EXACT_DOUBLE: i128 = 1 << 53;

/// A notification or read result as a sample: status and source timestamp unchanged, Bad as null.
#[must_use]
pub fn sample(def: &TagDef, data: &DataValue) -> Sample {
    let status = StatusCode(data.status.map_or(0, |status| status.bits()));
    let source_time = data.source_timestamp.map_or(Timestamp::NULL, |time| Timestamp::from_ticks(time.checked_ticks()));
    let (value, status) = if status.is_bad() {
        (Value::Null, status)
    } else {
        match value(data.value.as_ref().unwrap_or(&Variant::Empty), def.value_type, def.scale.as_ref()) {
            Ok(value) => (value, status),
            Err(bad) => (Value::Null, bad),
        }
    };
    Sample { tag: def.id, value, status, source_time }
}

/// A variant as a value of the tag's type.
///
/// # Errors
/// `BadWaitingForInitialData` for a null, `BadTypeMismatch` for another type, `BadOutOfRange` when the scaled value does not
/// fit.
pub fn value(variant: &Variant, wanted: ValueType, scale: Option<&Scale>) -> Result<Value, StatusCode> {
    if matches!(variant, Variant::Empty) {
        return Err(StatusCode::BAD_WAITING_FOR_INITIAL_DATA);
    }
    let Rank::Array(length) = wanted.rank else { return scalar(variant, wanted.data_type, scale) };
    let elements: Arc<[Value]> = match variant {
        Variant::Array(array) if array.dimensions.as_ref().is_none_or(|dimensions| dimensions.len() <= 1) => {
            array.values.iter().map(|element| scalar(element, wanted.data_type, scale)).collect::<Result<_, _>>()?
        }
        // Part 6, 5.2.2.16: a Byte array may travel as a ByteString.
        Variant::ByteString(bytes) if wanted.data_type == DataType::Byte => bytes
            .value
            .iter()
            .flatten()
            .map(|byte| scalar(&Variant::Byte(*byte), DataType::Byte, scale))
            .collect::<Result<_, _>>()?,
        _ => return Err(StatusCode::BAD_TYPE_MISMATCH),
    };
    if length != 0 && elements.len() != length as usize {
        return Err(StatusCode::BAD_TYPE_MISMATCH);
    }
    Ok(Value::Array(wanted.data_type, elements))
}

fn scalar(variant: &Variant, wanted: DataType, scale: Option<&Scale>) -> Result<Value, StatusCode> {
    if let Some(scale) = scale {
        let raw = number(variant).ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
        return wanted.from_f64(scale.to_eu(raw)).ok_or(StatusCode::BAD_OUT_OF_RANGE);
    }
    if let Some((integer, (low, high))) = integer(variant) {
        let lossless = match wanted {
            DataType::Float => low >= -EXACT_FLOAT && high <= EXACT_FLOAT,
            DataType::Double => low >= -EXACT_DOUBLE && high <= EXACT_DOUBLE,
            _ => wanted.integer_range().is_some_and(|(least, most)| least <= low && high <= most),
        };
        return lossless.then(|| wanted.from_i128(integer)).flatten().ok_or(StatusCode::BAD_TYPE_MISMATCH);
    }
    let text = |text: &UAString| Value::string(text.as_ref());
    Ok(match (wanted, variant) {
        (DataType::Boolean, Variant::Boolean(value)) => Value::Boolean(*value),
        (DataType::Float, Variant::Float(value)) => Value::Float(*value),
        (DataType::Double, Variant::Float(value)) => Value::Double(f64::from(*value)),
        (DataType::Double, Variant::Double(value)) => Value::Double(*value),
        (DataType::String, Variant::String(value)) => text(value),
        (DataType::String, Variant::LocalizedText(value)) => text(&value.text),
        (DataType::String, Variant::Guid(value)) => Value::string(value.to_string()),
        (DataType::String, Variant::XmlElement(value)) => Value::string(value.to_string()),
        (DataType::DateTime, Variant::DateTime(value)) => Value::DateTime(Timestamp::from_ticks(value.checked_ticks())),
        (DataType::ByteString, Variant::ByteString(value)) => {
            Value::ByteString(value.value.as_deref().unwrap_or_default().into())
        }
        _ => return Err(StatusCode::BAD_TYPE_MISMATCH),
    })
}

/// An integer with the range of its type.
fn integer(variant: &Variant) -> Option<(i128, (i128, i128))> {
    let (value, data_type) = match variant {
        Variant::SByte(value) => (i128::from(*value), DataType::SByte),
        Variant::Byte(value) => (i128::from(*value), DataType::Byte),
        Variant::Int16(value) => (i128::from(*value), DataType::Int16),
        Variant::UInt16(value) => (i128::from(*value), DataType::UInt16),
        Variant::Int32(value) => (i128::from(*value), DataType::Int32),
        Variant::UInt32(value) => (i128::from(*value), DataType::UInt32),
        Variant::StatusCode(value) => (i128::from(value.bits()), DataType::UInt32),
        Variant::Int64(value) => (i128::from(*value), DataType::Int64),
        Variant::UInt64(value) => (i128::from(*value), DataType::UInt64),
        _ => return None,
    };
    Some((value, data_type.integer_range()?))
}

#[allow(clippy::cast_precision_loss)]
fn number(variant: &Variant) -> Option<f64> {
    match variant {
        Variant::Float(value) => Some(f64::from(*value)),
        Variant::Double(value) => Some(*value),
        other => integer(other).map(|(value, _)| value as f64),
    }
}

/// True when a server's type can ever give a value of the tag's type.
#[must_use]
pub fn agrees(wire: Wire, wanted: ValueType, scale: Option<&Scale>) -> bool {
    let example = match wire {
        Wire::Boolean => Variant::Boolean(false),
        Wire::SByte => Variant::SByte(0),
        Wire::Byte => Variant::Byte(0),
        Wire::Int16 => Variant::Int16(0),
        Wire::UInt16 => Variant::UInt16(0),
        Wire::Int32 => Variant::Int32(0),
        Wire::UInt32 => Variant::UInt32(0),
        Wire::Int64 => Variant::Int64(0),
        Wire::UInt64 => Variant::UInt64(0),
        Wire::Float => Variant::Float(0.0),
        Wire::Double => Variant::Double(0.0),
        Wire::String => Variant::String(UAString::null()),
        Wire::DateTime => Variant::DateTime(Box::new(DateTime::null())),
        Wire::Guid => Variant::Guid(Box::new(Guid::null())),
        Wire::ByteString if wanted.rank != Rank::Scalar && wanted.data_type == DataType::Byte => return true,
        Wire::ByteString => Variant::ByteString(ByteString::null()),
        Wire::XmlElement => Variant::XmlElement(XmlElement::null()),
        Wire::StatusCode => Variant::StatusCode(opcua::types::StatusCode::Good),
        Wire::LocalizedText => Variant::LocalizedText(Box::new(LocalizedText::null())),
        // Every type is possible behind an abstract one.
        Wire::Variant => return true,
        _ => return false,
    };
    scalar(&example, wanted.data_type, scale) != Err(StatusCode::BAD_TYPE_MISMATCH)
}

/// The type that a variant has on the wire.
#[must_use]
pub fn wire_type(variant: &Variant) -> Option<Wire> {
    match variant.type_id() {
        VariantTypeId::Scalar(wire) | VariantTypeId::Array(wire, _) => Some(wire),
        VariantTypeId::Empty => None,
    }
}

/// The type that a tag's values have when nothing is known of the server's.
#[must_use]
pub fn own_type(data_type: DataType) -> Wire {
    match data_type {
        DataType::Boolean => Wire::Boolean,
        DataType::SByte => Wire::SByte,
        DataType::Byte => Wire::Byte,
        DataType::Int16 => Wire::Int16,
        DataType::UInt16 => Wire::UInt16,
        DataType::Int32 => Wire::Int32,
        DataType::UInt32 => Wire::UInt32,
        DataType::Int64 => Wire::Int64,
        DataType::UInt64 => Wire::UInt64,
        DataType::Float => Wire::Float,
        DataType::Double => Wire::Double,
        DataType::String => Wire::String,
        DataType::DateTime => Wire::DateTime,
        DataType::ByteString => Wire::ByteString,
        DataType::UserStatistics => Wire::ExtensionObject,
    }
}

/// The variant of exactly the server's type for a value in engineering units.
///
/// # Errors
/// `BadOutOfRange` when the server's type cannot hold it, `BadTypeMismatch` when the types have nothing in common.
pub fn variant(value: &Value, wire: Wire, scale: Option<&Scale>) -> Result<Variant, StatusCode> {
    let Value::Array(data_type, elements) = value else { return scalar_variant(value, wire, scale) };
    if wire == Wire::ByteString && *data_type == DataType::Byte {
        let bytes: Option<Vec<u8>> = elements.iter().map(|element| element.as_i128()?.try_into().ok()).collect();
        return bytes.map(|bytes| Variant::ByteString(bytes.into())).ok_or(StatusCode::BAD_OUT_OF_RANGE);
    }
    let values: Vec<Variant> = elements.iter().map(|element| scalar_variant(element, wire, scale)).collect::<Result<_, _>>()?;
    Array::new(wire, values).map(|array| Variant::Array(Box::new(array))).map_err(|_| StatusCode::BAD_TYPE_MISMATCH)
}

fn scalar_variant(value: &Value, wire: Wire, scale: Option<&Scale>) -> Result<Variant, StatusCode> {
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
        let number = exact.ok_or(StatusCode::BAD_TYPE_MISMATCH)?.ok_or(StatusCode::BAD_OUT_OF_RANGE)?;
        return same(&number).ok_or(StatusCode::BAD_TYPE_MISMATCH);
    }
    let mismatch = Err(StatusCode::BAD_TYPE_MISMATCH);
    match (wire, value) {
        (Wire::Boolean, Value::Boolean(_)) | (Wire::String, Value::String(_)) | (Wire::DateTime, Value::DateTime(_)) => {
            same(value).ok_or(StatusCode::BAD_TYPE_MISMATCH)
        }
        (Wire::ByteString, Value::ByteString(_)) => same(value).ok_or(StatusCode::BAD_TYPE_MISMATCH),
        (Wire::LocalizedText, Value::String(text)) => Ok(Variant::LocalizedText(Box::new(LocalizedText::new("", text)))),
        (Wire::Guid, Value::String(text)) => {
            text.parse::<Guid>().map(|guid| Variant::Guid(Box::new(guid))).map_err(|_| StatusCode::BAD_OUT_OF_RANGE)
        }
        (Wire::Variant, value) => same(value).map_or(mismatch, Ok),
        _ => mismatch,
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

/// The variant of the same type.
fn same(value: &Value) -> Option<Variant> {
    Some(match value {
        Value::Boolean(value) => Variant::Boolean(*value),
        Value::SByte(value) => Variant::SByte(*value),
        Value::Byte(value) => Variant::Byte(*value),
        Value::Int16(value) => Variant::Int16(*value),
        Value::UInt16(value) => Variant::UInt16(*value),
        Value::Int32(value) => Variant::Int32(*value),
        Value::UInt32(value) => Variant::UInt32(*value),
        Value::Int64(value) => Variant::Int64(*value),
        Value::UInt64(value) => Variant::UInt64(*value),
        Value::Float(value) => Variant::Float(*value),
        Value::Double(value) => Variant::Double(*value),
        Value::String(text) => Variant::String(UAString::from(&**text)),
        Value::DateTime(time) => Variant::DateTime(Box::new(DateTime::from(time.ticks()))),
        Value::ByteString(bytes) => Variant::ByteString(ByteString::from(&**bytes)),
        Value::Null | Value::Structure(_) | Value::Array(..) => return None,
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
        let cases: &[(Variant, &str, Result<Value, StatusCode>)] = &[
            (Variant::Int16(-5), "Int16", Ok(Value::Int16(-5))),
            (Variant::Int16(-5), "Int32", Ok(Value::Int32(-5))),
            (Variant::Int16(5), "UInt32", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::UInt16(5), "Int32", Ok(Value::Int32(5))),
            (Variant::UInt16(5), "Float", Ok(Value::Float(5.0))),
            (Variant::Int32(5), "Float", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::Int32(5), "Double", Ok(Value::Double(5.0))),
            (Variant::Int32(5), "Int16", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::Int64(5), "Double", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::Float(1.5), "Double", Ok(Value::Double(1.5))),
            (Variant::Double(1.5), "Float", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::Boolean(true), "Byte", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::String("x".into()), "String", Ok(Value::string("x"))),
            (Variant::LocalizedText(Box::new(LocalizedText::new("de", "an"))), "String", Ok(Value::string("an"))),
            (Variant::Empty, "Int16", Err(StatusCode::BAD_WAITING_FOR_INITIAL_DATA)),
            (
                Variant::from(vec![1_i16, 2]),
                "Int16[2]",
                Ok(Value::Array(DataType::Int16, [Value::Int16(1), Value::Int16(2)].into())),
            ),
            (Variant::from(vec![1_i16, 2]), "Int16[3]", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::from(vec![1_i16, 2]), "Int16", Err(StatusCode::BAD_TYPE_MISMATCH)),
            (Variant::Int16(1), "Int16[]", Err(StatusCode::BAD_TYPE_MISMATCH)),
        ];
        for (variant, wanted, expected) in cases {
            assert_eq!(&value(variant, of(wanted), None), expected, "{variant:?} as {wanted}");
            if !matches!(variant, Variant::Empty | Variant::Array(_)) && !wanted.contains('[') {
                let agreed = agrees(wire_type(variant).unwrap(), of(wanted), None);
                assert_eq!(agreed, expected.is_ok(), "{variant:?} agrees with {wanted}");
            }
        }
    }

    #[test]
    fn scaling_goes_both_ways() {
        let scale = Scale { raw: (0.0, 27_648.0), eu: (0.0, 100.0), clamp: false };
        assert_eq!(value(&Variant::Int16(13_824), of("Float"), Some(&scale)), Ok(Value::Float(50.0)));
        assert_eq!(variant(&Value::Float(50.0), Wire::Int16, Some(&scale)), Ok(Variant::Int16(13_824)));
        assert_eq!(variant(&Value::Float(500.0), Wire::Int16, Some(&scale)), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(value(&Variant::Int32(i32::MAX), of("Byte"), Some(&scale)), Err(StatusCode::BAD_OUT_OF_RANGE));
    }

    #[test]
    fn writes_are_of_the_servers_exact_type() {
        assert_eq!(variant(&Value::Int32(7), Wire::Int16, None), Ok(Variant::Int16(7)));
        assert_eq!(variant(&Value::Int32(70_000), Wire::Int16, None), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(variant(&Value::Double(1.5), Wire::Float, None), Ok(Variant::Float(1.5)));
        assert_eq!(variant(&Value::Double(1.5), Wire::Int32, None), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(variant(&Value::string("x"), Wire::Int32, None), Err(StatusCode::BAD_TYPE_MISMATCH));
        assert_eq!(variant(&Value::Boolean(true), Wire::Boolean, None), Ok(Variant::Boolean(true)));
        assert_eq!(variant(&Value::Boolean(true), Wire::Byte, None), Err(StatusCode::BAD_TYPE_MISMATCH));
        let array = Value::Array(DataType::Int16, [Value::Int16(1)].into());
        assert_eq!(variant(&array, Wire::Int32, None), Ok(Variant::from(vec![1_i32])));
    }
}
