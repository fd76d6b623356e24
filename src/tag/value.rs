//! Values and their types: the OPC UA built-in types that tags may have.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The OPC UA built-in types (Part 6, 5.1.2) that a tag may have, and structures for datasets of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DataType {
    Boolean,
    SByte,
    Byte,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float,
    Double,
    String,
    DateTime,
    ByteString,
    /// `TwilioUserStatisticsType` (SPEC 5); not for tags of the configuration.
    UserStatistics,
}

impl DataType {
    /// Every type that the configuration may name.
    pub const CONFIGURABLE: [Self; 14] = [
        Self::Boolean,
        Self::SByte,
        Self::Byte,
        Self::Int16,
        Self::UInt16,
        Self::Int32,
        Self::UInt32,
        Self::Int64,
        Self::UInt64,
        Self::Float,
        Self::Double,
        Self::String,
        Self::DateTime,
        Self::ByteString,
    ];

    /// The standard's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "Boolean",
            Self::SByte => "SByte",
            Self::Byte => "Byte",
            Self::Int16 => "Int16",
            Self::UInt16 => "UInt16",
            Self::Int32 => "Int32",
            Self::UInt32 => "UInt32",
            Self::Int64 => "Int64",
            Self::UInt64 => "UInt64",
            Self::Float => "Float",
            Self::Double => "Double",
            Self::String => "String",
            Self::DateTime => "DateTime",
            Self::ByteString => "ByteString",
            Self::UserStatistics => "TwilioUserStatisticsType",
        }
    }

    /// True for the integer and floating-point types.
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        self.is_integer() || matches!(self, Self::Float | Self::Double)
    }

    /// True for the integer types.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        self.integer_range().is_some()
    }

    /// The smallest and greatest value of an integer type.
    #[must_use]
    pub const fn integer_range(self) -> Option<(i128, i128)> {
        match self {
            Self::SByte => Some((i8::MIN as i128, i8::MAX as i128)),
            Self::Byte => Some((0, u8::MAX as i128)),
            Self::Int16 => Some((i16::MIN as i128, i16::MAX as i128)),
            Self::UInt16 => Some((0, u16::MAX as i128)),
            Self::Int32 => Some((i32::MIN as i128, i32::MAX as i128)),
            Self::UInt32 => Some((0, u32::MAX as i128)),
            Self::Int64 => Some((i64::MIN as i128, i64::MAX as i128)),
            Self::UInt64 => Some((0, u64::MAX as i128)),
            _ => None,
        }
    }

    /// The value of this type for `number`; `None` when it is out of range, not a number, or the type is not numeric. Integers
    /// are rounded half away from zero.
    #[must_use]
    pub fn from_f64(self, number: f64) -> Option<Value> {
        if let Some((low, high)) = self.integer_range() {
            let rounded = number.round();
            // 2^63 and 2^64 are representable as f64, their predecessors are not: compare as integers.
            if !rounded.is_finite() || rounded.abs() > 2e19 {
                return None;
            }
            #[allow(clippy::cast_possible_truncation)]
            let integer = rounded as i128;
            return (low..=high).contains(&integer).then(|| self.from_i128(integer)).flatten();
        }
        match self {
            #[allow(clippy::cast_possible_truncation)]
            Self::Float => {
                let narrow = number as f32;
                (narrow.is_finite() || !number.is_finite()).then_some(Value::Float(narrow))
            }
            Self::Double => Some(Value::Double(number)),
            _ => None,
        }
    }

    /// The value of this type for `integer`; `None` when it is out of range or the type is not numeric.
    #[must_use]
    pub fn from_i128(self, integer: i128) -> Option<Value> {
        Some(match self {
            Self::SByte => Value::SByte(integer.try_into().ok()?),
            Self::Byte => Value::Byte(integer.try_into().ok()?),
            Self::Int16 => Value::Int16(integer.try_into().ok()?),
            Self::UInt16 => Value::UInt16(integer.try_into().ok()?),
            Self::Int32 => Value::Int32(integer.try_into().ok()?),
            Self::UInt32 => Value::UInt32(integer.try_into().ok()?),
            Self::Int64 => Value::Int64(integer.try_into().ok()?),
            Self::UInt64 => Value::UInt64(integer.try_into().ok()?),
            #[allow(clippy::cast_precision_loss)]
            Self::Float => Value::Float(integer as f32),
            #[allow(clippy::cast_precision_loss)]
            Self::Double => Value::Double(integer as f64),
            _ => return None,
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value or an array of a fixed length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rank {
    /// One value.
    #[default]
    Scalar,
    /// An array with this many elements; zero for any number.
    Array(u32),
}

/// A tag's type as the configuration writes it: `Float`, `Int16[8]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueType {
    /// The type of the value or of each element.
    pub data_type: DataType,
    /// One or many.
    pub rank: Rank,
}

impl ValueType {
    /// One value of `data_type`.
    #[must_use]
    pub const fn scalar(data_type: DataType) -> Self {
        Self { data_type, rank: Rank::Scalar }
    }

    /// An array of `data_type` with any number of elements.
    #[must_use]
    pub const fn array(data_type: DataType) -> Self {
        Self { data_type, rank: Rank::Array(0) }
    }

    /// True when `value` is of exactly this type.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match (self.rank, value) {
            (Rank::Scalar, value) => value.data_type() == Some(self.data_type) && !matches!(value, Value::Array(..)),
            (Rank::Array(length), Value::Array(data_type, elements)) => {
                *data_type == self.data_type && (length == 0 || length as usize == elements.len())
            }
            (Rank::Array(_), _) => false,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rank {
            Rank::Scalar => self.data_type.fmt(f),
            Rank::Array(0) => write!(f, "{}[]", self.data_type),
            Rank::Array(length) => write!(f, "{}[{length}]", self.data_type),
        }
    }
}

/// A text that names no type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDataTypeError;

impl FromStr for ValueType {
    type Err = ParseDataTypeError;

    /// Takes the standard's names and the usual short form `Bool`.
    fn from_str(text: &str) -> Result<Self, ParseDataTypeError> {
        let (name, rank) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((name, "")) => (name, Rank::Array(0)),
            Some((name, length)) => {
                let length = length.parse::<u32>().ok().filter(|length| (1..=65_536).contains(length));
                (name, Rank::Array(length.ok_or(ParseDataTypeError)?))
            }
            None => (text, Rank::Scalar),
        };
        let name = if name == "Bool" { "Boolean" } else { name };
        let data_type = DataType::CONFIGURABLE.into_iter().find(|known| known.name() == name);
        Ok(Self { data_type: data_type.ok_or(ParseDataTypeError)?, rank })
    }
}

/// A record of one of our own structure types; today only `TwilioUserStatisticsType`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Structure {
    /// Which structure type.
    pub data_type: DataType,
    /// The fields in the order of the type's definition.
    pub fields: Box<[Value]>,
}

/// A tag's value. `Null` goes with every Bad quality (Part 4, 7.11).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Value {
    #[default]
    Null,
    Boolean(bool),
    SByte(i8),
    Byte(u8),
    Int16(i16),
    UInt16(u16),
    Int32(i32),
    UInt32(u32),
    Int64(i64),
    UInt64(u64),
    Float(f32),
    Double(f64),
    String(Arc<str>),
    DateTime(Timestamp),
    ByteString(Arc<[u8]>),
    Structure(Arc<Structure>),
    /// Elements of one type; every element is of that type.
    Array(DataType, Arc<[Value]>),
}

impl Value {
    /// A String value.
    #[must_use]
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// Bytes that it takes beside its own place; shared ones count.
    #[must_use]
    pub fn heap(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::ByteString(bytes) => bytes.len(),
            Self::Array(_, elements) => elements.iter().map(|element| size_of::<Self>() + element.heap()).sum(),
            Self::Structure(structure) => structure.fields.iter().map(|field| size_of::<Self>() + field.heap()).sum(),
            _ => 0,
        }
    }

    /// The type of the value or of its elements; `None` for `Null`.
    #[must_use]
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Self::Null => return None,
            Self::Boolean(_) => DataType::Boolean,
            Self::SByte(_) => DataType::SByte,
            Self::Byte(_) => DataType::Byte,
            Self::Int16(_) => DataType::Int16,
            Self::UInt16(_) => DataType::UInt16,
            Self::Int32(_) => DataType::Int32,
            Self::UInt32(_) => DataType::UInt32,
            Self::Int64(_) => DataType::Int64,
            Self::UInt64(_) => DataType::UInt64,
            Self::Float(_) => DataType::Float,
            Self::Double(_) => DataType::Double,
            Self::String(_) => DataType::String,
            Self::DateTime(_) => DataType::DateTime,
            Self::ByteString(_) => DataType::ByteString,
            Self::Structure(structure) => structure.data_type,
            Self::Array(data_type, _) => *data_type,
        })
    }

    /// True when `new` differs from this value by more than `deadband`, in one element at least (Part 8, 7.2). A deadband is for
    /// numbers; zero is for any difference. A step to or from NaN or infinity is never inside a deadband.
    #[must_use]
    pub fn moved(&self, new: &Self, deadband: f64) -> bool {
        if let (Self::Array(_, last), Self::Array(_, new)) = (self, new) {
            return last.len() != new.len() || last.iter().zip(new.iter()).any(|(last, new)| last.moved(new, deadband));
        }
        let numbers = if matches!(new, Self::Boolean(_)) { None } else { self.as_f64().zip(new.as_f64()) };
        match numbers {
            Some((last, new)) if last.is_nan() && new.is_nan() => false,
            Some((last, new)) if deadband > 0.0 && last.is_finite() && new.is_finite() => (new - last).abs() > deadband,
            _ => self != new,
        }
    }

    /// The number behind an integer, floating-point or Boolean value (0 and 1).
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)]
        Some(match self {
            Self::Boolean(value) => f64::from(u8::from(*value)),
            Self::Float(value) => f64::from(*value),
            Self::Double(value) => *value,
            other => other.as_i128()? as f64,
        })
    }

    /// The number behind an integer value.
    #[must_use]
    pub fn as_i128(&self) -> Option<i128> {
        Some(match self {
            Self::SByte(value) => i128::from(*value),
            Self::Byte(value) => i128::from(*value),
            Self::Int16(value) => i128::from(*value),
            Self::UInt16(value) => i128::from(*value),
            Self::Int32(value) => i128::from(*value),
            Self::UInt32(value) => i128::from(*value),
            Self::Int64(value) => i128::from(*value),
            Self::UInt64(value) => i128::from(*value),
            _ => return None,
        })
    }

    /// The truth behind a Boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The text behind a String.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// True for `Null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Plain JSON for people and programs: numbers, texts, arrays; what JSON cannot say (NaN, infinities) as null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Boolean(value) => Json::from(*value),
            Self::Float(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::UInt64(value) => Json::from(*value),
            Self::String(text) => Json::from(&**text),
            Self::DateTime(time) => Json::from(time.to_string()),
            Self::ByteString(bytes) => Json::from(bytes.to_vec()),
            Self::Structure(structure) => structure.fields.iter().map(Self::to_json).collect(),
            Self::Array(_, elements) => elements.iter().map(Self::to_json).collect(),
            integer => integer.as_i128().and_then(|value| i64::try_from(value).ok()).map_or(Json::Null, Json::from),
        }
    }

    /// The value of exactly `wanted` that a person or program meant by `json`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn from_json(json: &serde_json::Value, wanted: ValueType) -> Result<Self, String> {
        use serde_json::Value as Json;
        let expected = || format!("expected a value of type {wanted}, found {json}");
        if let Rank::Array(length) = wanted.rank {
            let Json::Array(elements) = json else { return Err(expected()) };
            if length != 0 && elements.len() != length as usize {
                return Err(format!("expected {length} elements, found {}", elements.len()));
            }
            let element = ValueType::scalar(wanted.data_type);
            let values: Result<Vec<_>, _> = elements.iter().map(|json| Self::from_json(json, element)).collect();
            return Ok(Self::Array(wanted.data_type, values?.into()));
        }
        let value = match (wanted.data_type, json) {
            (DataType::Boolean, Json::Bool(value)) => Some(Self::Boolean(*value)),
            (DataType::String, Json::String(text)) => Some(Self::string(text.as_str())),
            (DataType::DateTime, Json::String(text)) => {
                text.parse::<jiff::Timestamp>().ok().map(|time| Self::DateTime(time.into()))
            }
            (DataType::ByteString, Json::Array(_)) => {
                serde_json::from_value::<Vec<u8>>(json.clone()).ok().map(|bytes| Self::ByteString(bytes.into()))
            }
            (data_type, Json::Number(number)) if data_type.is_integer() => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => data_type.from_i128(value.into()),
                (_, Some(value)) => data_type.from_i128(value.into()),
                _ => number.as_f64().filter(|value| value.fract() == 0.0).and_then(|value| data_type.from_f64(value)),
            },
            (data_type, Json::Number(number)) if data_type.is_numeric() => {
                number.as_f64().and_then(|value| data_type.from_f64(value))
            }
            _ => None,
        };
        value.ok_or_else(expected)
    }
}

/// As people read it: `true`, `81.5`, `text`, `[1, 2]`; nothing for `Null`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::String(text) => f.write_str(text),
            Self::DateTime(time) => time.fmt(f),
            Self::ByteString(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Structure(structure) => list(f, &structure.fields),
            Self::Array(_, elements) => list(f, elements),
            integer => integer.as_i128().map_or(Ok(()), |value| value.fmt(f)),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, values: &[Value]) -> fmt::Result {
    f.write_str("[")?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        fmt::Display::fmt(value, f)?;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_read_as_the_configuration_writes_them() {
        assert_eq!("Float".parse(), Ok(ValueType::scalar(DataType::Float)));
        assert_eq!("Int16[8]".parse(), Ok(ValueType { data_type: DataType::Int16, rank: Rank::Array(8) }));
        assert_eq!("Bool".parse(), Ok(ValueType::scalar(DataType::Boolean)));
        for bad in ["float", "Int16[0]", "Int16[", "TwilioUserStatisticsType", ""] {
            assert!(bad.parse::<ValueType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_keep_to_their_types_range() {
        assert_eq!(DataType::Int16.from_f64(32_767.4), Some(Value::Int16(32_767)));
        assert_eq!(DataType::Int16.from_f64(32_767.5), None);
        assert_eq!(DataType::UInt64.from_f64(18_446_744_073_709_551_616.0), None);
        assert_eq!(DataType::Int64.from_f64(-9_223_372_036_854_775_808.0), Some(Value::Int64(i64::MIN)));
        assert_eq!(DataType::Float.from_f64(1e300), None);
        assert_eq!(DataType::Byte.from_f64(f64::NAN), None);
    }

    #[test]
    fn json_goes_both_ways() {
        let wanted: ValueType = "Int16[2]".parse().unwrap();
        let value = Value::from_json(&json!([1, -2]), wanted).unwrap();
        assert_eq!(value, Value::Array(DataType::Int16, [Value::Int16(1), Value::Int16(-2)].into()));
        assert!(wanted.admits(&value));
        assert_eq!(value.to_json(), json!([1, -2]));
        assert_eq!(value.to_string(), "[1, -2]");
        let error = Value::from_json(&json!("x"), ValueType::scalar(DataType::Int32)).unwrap_err();
        assert_eq!(error, "expected a value of type Int32, found \"x\"");
    }
}
