//! Conversions (Part 4, 7.7.3): which type becomes which, implicitly when operands of two types are compared and explicitly by Cast;
//! and the comparisons themselves.

use std::{cmp::Ordering, sync::Arc};

use super::datum::{Datum, Name, guid_text, kind, parse_guid, parse_node};
use crate::tag::{DataType, Timestamp, Value};

/// Of two types the one that stands first is what both are compared as.
const PRECEDENCE: [u8; 18] = [
    kind::DOUBLE,
    kind::FLOAT,
    kind::INT64,
    kind::UINT64,
    kind::INT32,
    kind::UINT32,
    kind::STATUS_CODE,
    kind::INT16,
    kind::UINT16,
    kind::SBYTE,
    kind::BYTE,
    kind::BOOLEAN,
    kind::GUID,
    kind::STRING,
    kind::EXPANDED_NODE_ID,
    kind::NODE_ID,
    kind::LOCALIZED_TEXT,
    kind::QUALIFIED_NAME,
];

/// Columns of [`CONVERSIONS`].
const COLUMNS: [u8; 20] = [
    kind::BOOLEAN,
    kind::BYTE,
    kind::BYTE_STRING,
    kind::DATE_TIME,
    kind::DOUBLE,
    kind::EXPANDED_NODE_ID,
    kind::FLOAT,
    kind::GUID,
    kind::INT16,
    kind::INT32,
    kind::INT64,
    kind::NODE_ID,
    kind::SBYTE,
    kind::STATUS_CODE,
    kind::STRING,
    kind::LOCALIZED_TEXT,
    kind::QUALIFIED_NAME,
    kind::UINT16,
    kind::UINT32,
    kind::UINT64,
];

/// From row to column: `I` implicit, `E` explicit, `=` the same type, `.` none.
#[rustfmt::skip]
const CONVERSIONS: [&[u8; 20]; 20] = [
    // Boolean, Byte, ByteString, DateTime, Double, ExpandedNodeId, Float, Guid, Int16, Int32, Int64, NodeId, SByte, StatusCode,
    // String, LocalizedText, QualifiedName, UInt16, UInt32, UInt64
    b"=I..I.I.III.I.E..III", // Boolean
    b"E=..I.I.III.I.E..III", // Byte
    b"..=....E............", // ByteString
    b"...=..........E.....", // DateTime
    b"EE..=.E.EEE.E.E..EEE", // Double
    b".....=.....E..I.....", // ExpandedNodeId
    b"EE..I.=.EEE.E.E..EEE", // Float
    b"..E....=......E.....", // Guid
    b"EE..I.I.=II.E.E..EII", // Int16
    b"EE..I.I.E=I.EEE..EEI", // Int32
    b"EE..I.I.EE=.EEE..EEE", // Int64
    b".....I.....=..I.....", // NodeId
    b"EE..I.I.III.=.E..III", // SByte
    b".........II..=...EII", // StatusCode
    b"II.EIEIIIIIEI.=EEIII", // String
    b"..............I=....", // LocalizedText
    b"..............II=...", // QualifiedName
    b"EE..I.I.III.EIE..=II", // UInt16
    b"EE..I.I.EII.EEE..E=I", // UInt32
    b"EE..I.I.EEI.EEE..EE=", // UInt64
];

/// How one type becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Conversion {
    Same,
    Implicit,
    Explicit,
}

fn conversion(from: u8, to: u8) -> Option<Conversion> {
    if from == to {
        return Some(Conversion::Same);
    }
    let place = |kind: u8| COLUMNS.iter().position(|column| *column == kind);
    match CONVERSIONS[place(from)?][place(to)?] {
        b'I' => Some(Conversion::Implicit),
        b'E' => Some(Conversion::Explicit),
        _ => None,
    }
}

/// `datum` as the built-in type `to`, as Cast does it.
pub fn cast(datum: &Datum, to: u8) -> Option<Datum> {
    convert(datum, to, Conversion::Explicit)
}

/// `datum` as the built-in type `to`, where that needs no Cast.
pub fn implicit(datum: &Datum, to: u8) -> Option<Datum> {
    convert(datum, to, Conversion::Implicit)
}

fn convert(datum: &Datum, to: u8, most: Conversion) -> Option<Datum> {
    let how = conversion(datum.kind()?, to).filter(|how| *how <= most)?;
    if how == Conversion::Same {
        return Some(datum.clone());
    }
    match datum {
        Datum::Null | Datum::Other => None,
        Datum::Value(Value::String(text)) => from_text(text, to),
        Datum::Value(Value::ByteString(bytes)) => bytes[..].try_into().ok().map(Datum::Guid),
        Datum::Value(Value::DateTime(time)) => Some(text(time.to_string())),
        Datum::Value(number) => from_number(number, to),
        Datum::Node(node) if to == kind::EXPANDED_NODE_ID => Some(Datum::Expanded(node.clone(), false)),
        Datum::Expanded(node, false) if to == kind::NODE_ID => Some(Datum::Node(node.clone())),
        Datum::Node(node) | Datum::Expanded(node, _) => (to == kind::STRING).then(|| text(node.to_string())),
        Datum::Guid(bytes) if to == kind::STRING => Some(text(guid_text(bytes))),
        Datum::Guid(bytes) => Some(Datum::Value(Value::ByteString(Arc::new(*bytes)))),
        // Its upper half is what a UInt16 can hold of it.
        Datum::Status(status) if to == kind::UINT16 => integer(i128::from(status >> 16), to),
        Datum::Status(status) if to == kind::INT32 => integer(i128::from(status.cast_signed()), to),
        Datum::Status(status) => integer(i128::from(*status), to),
        Datum::Qualified(_, name) if to == kind::LOCALIZED_TEXT => Some(Datum::Localized(Arc::clone(name))),
        Datum::Qualified(_, name) | Datum::Localized(name) => Some(Datum::Value(Value::String(Arc::clone(name)))),
    }
}

fn text(text: String) -> Datum {
    Datum::Value(Value::string(text))
}

fn integer(number: i128, to: u8) -> Option<Datum> {
    data_type(to)?.from_i128(number).map(Datum::Value)
}

/// The numeric type with this number.
fn data_type(to: u8) -> Option<DataType> {
    Some(match to {
        kind::SBYTE => DataType::SByte,
        kind::BYTE => DataType::Byte,
        kind::INT16 => DataType::Int16,
        kind::UINT16 => DataType::UInt16,
        kind::INT32 => DataType::Int32,
        kind::UINT32 => DataType::UInt32,
        kind::INT64 => DataType::Int64,
        kind::UINT64 => DataType::UInt64,
        kind::FLOAT => DataType::Float,
        kind::DOUBLE => DataType::Double,
        _ => return None,
    })
}

/// A Boolean, integer or floating-point value as another type.
fn from_number(value: &Value, to: u8) -> Option<Datum> {
    match to {
        kind::STRING => Some(text(match value {
            Value::Boolean(truth) => truth.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            whole => whole.as_i128()?.to_string(),
        })),
        kind::BOOLEAN => Some(Datum::truth(value.as_f64()? != 0.0)),
        kind::STATUS_CODE => {
            let number = value.as_i128()?;
            let code = match value {
                Value::UInt16(half) => u32::from(*half) << 16,
                Value::Int32(number) => number.cast_unsigned(),
                _ => u32::try_from(number).ok()?,
            };
            Some(Datum::Status(code))
        }
        _ => match (value, value.as_i128()) {
            (Value::Boolean(truth), _) => integer(i128::from(*truth), to),
            (_, Some(number)) => integer(number, to),
            _ => data_type(to)?.from_f64(value.as_f64()?).map(Datum::Value),
        },
    }
}

fn from_text(from: &Arc<str>, to: u8) -> Option<Datum> {
    Some(match to {
        kind::BOOLEAN if from.eq_ignore_ascii_case("true") || &**from == "1" => Datum::truth(true),
        kind::BOOLEAN if from.eq_ignore_ascii_case("false") || &**from == "0" => Datum::truth(false),
        kind::FLOAT | kind::DOUBLE => Datum::Value(data_type(to)?.from_f64(from.parse().ok()?)?),
        kind::GUID => Datum::Guid(parse_guid(from)?),
        kind::NODE_ID => Datum::Node(parse_node(from)?),
        kind::EXPANDED_NODE_ID => Datum::Expanded(parse_node(from)?, false),
        kind::LOCALIZED_TEXT => Datum::Localized(Arc::clone(from)),
        kind::QUALIFIED_NAME => Datum::Qualified(0, Arc::clone(from)),
        kind::DATE_TIME => Datum::Value(Value::DateTime(Timestamp::from(from.parse::<jiff::Timestamp>().ok()?))),
        _ => return integer(from.parse().ok()?, to),
    })
}

/// Both operands as the type that they are compared as; `None` without an implicit conversion, or when it fails.
fn alike(left: &Datum, right: &Datum) -> Option<(Datum, Datum)> {
    let (a, b) = (left.kind()?, right.kind()?);
    if a == b {
        return Some((left.clone(), right.clone()));
    }
    let rank = |kind: u8| PRECEDENCE.iter().position(|listed| *listed == kind);
    if rank(a)? < rank(b)? { Some((left.clone(), implicit(right, a)?)) } else { Some((implicit(left, b)?, right.clone())) }
}

/// Equals. NULL when an operand is null; false when the types do not meet.
pub fn equal(left: &Datum, right: &Datum) -> Option<bool> {
    if let (Datum::Value(left), Datum::Value(right)) = (left, right)
        && left.data_type() == right.data_type()
    {
        return Some(left == right);
    }
    if matches!(left, Datum::Null) || matches!(right, Datum::Null) {
        return None;
    }
    Some(alike(left, right).is_some_and(|(left, right)| left == right))
}

/// How two operands stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One of them is null.
    Null,
    /// They have no order.
    None,
    /// The first to the second.
    Is(Ordering),
}

/// The order of two operands.
pub fn order(left: &Datum, right: &Datum) -> Order {
    if matches!(left, Datum::Null) || matches!(right, Datum::Null) {
        return Order::Null;
    }
    let ordering = alike(left, right).and_then(|pair| match pair {
        (Datum::Value(left), Datum::Value(right)) => order_of_values(&left, &right),
        (Datum::Status(left), Datum::Status(right)) => Some(left.cmp(&right)),
        (Datum::Localized(left), Datum::Localized(right)) => Some(left.cmp(&right)),
        (Datum::Qualified(a, left), Datum::Qualified(b, right)) => Some((a, left).cmp(&(b, right))),
        (Datum::Guid(left), Datum::Guid(right)) => Some(left.cmp(&right)),
        (Datum::Node(left), Datum::Node(right)) if left.namespace == right.namespace => match (&left.name, &right.name) {
            (Name::Number(left), Name::Number(right)) => Some(left.cmp(right)),
            (Name::Text(left), Name::Text(right)) => Some(left.cmp(right)),
            _ => None,
        },
        _ => None,
    });
    ordering.map_or(Order::None, Order::Is)
}

fn order_of_values(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::DateTime(left), Value::DateTime(right)) => Some(left.cmp(right)),
        (Value::ByteString(left), Value::ByteString(right)) => Some(left.cmp(right)),
        (Value::Boolean(left), Value::Boolean(right)) => Some(left.cmp(right)),
        _ => match (left.as_i128(), right.as_i128()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
    }
}

/// BitwiseAnd and BitwiseOr: both operands as one integer type; `None` (NULL) when they do not become integers.
pub fn bitwise(left: &Datum, right: &Datum, or: bool) -> Option<Datum> {
    let (left, right) = alike(left, right)?;
    let kind = left.kind()?;
    let (Datum::Value(left), Datum::Value(right)) = (left, right) else { return None };
    let (left, right) = (left.as_i128()?, right.as_i128()?);
    integer(if or { left | right } else { left & right }, kind)
}

#[cfg(test)]
mod tests {
    use super::{super::datum::Node, *};

    fn value(value: Value) -> Datum {
        Datum::Value(value)
    }

    fn string(text: &str) -> Datum {
        Datum::Value(Value::string(text))
    }

    #[test]
    fn operands_of_two_types_are_compared_as_one() {
        let cases = [
            (value(Value::UInt16(500)), value(Value::Int32(500)), Some(true)),
            (value(Value::UInt16(500)), value(Value::Double(500.0)), Some(true)),
            (value(Value::UInt16(500)), string("500"), Some(true)),
            (value(Value::UInt16(500)), string("five"), Some(false)),
            (value(Value::UInt64(u64::MAX)), value(Value::Int64(-1)), Some(false)),
            (value(Value::Boolean(true)), value(Value::Byte(1)), Some(true)),
            (value(Value::Boolean(true)), string("TRUE"), Some(true)),
            (Datum::Localized("hot".into()), string("hot"), Some(true)),
            (Datum::Qualified(2, "hot".into()), string("hot"), Some(true)),
            (Datum::Qualified(2, "hot".into()), Datum::Localized("hot".into()), Some(true)),
            (Datum::Node(Node::standard(2_041)), Datum::Expanded(Node::standard(2_041), false), Some(true)),
            (Datum::Node(Node::standard(2_041)), Datum::Expanded(Node::standard(2_041), true), Some(false)),
            (Datum::Node(Node::standard(2_041)), string("i=2041"), Some(true)),
            (Datum::Status(0x8034_0000), value(Value::UInt32(0x8034_0000)), Some(true)),
            (Datum::Status(0x8034_0000), value(Value::UInt16(0x8034)), Some(true)),
            (value(Value::ByteString([1].into())), value(Value::ByteString([1].into())), Some(true)),
            // ByteString and DateTime become nothing else by themselves.
            (value(Value::ByteString([1].into())), string("1"), Some(false)),
            (value(Value::DateTime(Timestamp::NULL)), string("x"), Some(false)),
            (value(Value::Double(f64::NAN)), value(Value::Double(f64::NAN)), Some(false)),
            (Datum::Other, string("x"), Some(false)),
            (Datum::Null, string("x"), None),
            (Datum::Null, Datum::Null, None),
        ];
        for (left, right, expected) in cases {
            assert_eq!(equal(&left, &right), expected, "{left:?} {right:?}");
            assert_eq!(equal(&right, &left), expected, "{right:?} {left:?}");
        }
    }

    #[test]
    fn what_has_an_order() {
        let cases = [
            (value(Value::UInt16(500)), value(Value::Double(500.5)), Order::Is(Ordering::Less)),
            (value(Value::Int64(i64::MAX)), value(Value::Int64(i64::MAX - 1)), Order::Is(Ordering::Greater)),
            (string("b"), string("a"), Order::Is(Ordering::Greater)),
            (Datum::Localized("a".into()), string("b"), Order::Is(Ordering::Less)),
            (value(Value::Double(f64::NAN)), value(Value::Double(1.0)), Order::None),
            (value(Value::Int16(-1)), value(Value::UInt32(1)), Order::None),
            (Datum::Node(Node::standard(1)), value(Value::Int32(1)), Order::None),
            (Datum::Null, value(Value::Int32(1)), Order::Null),
        ];
        for (left, right, expected) in cases {
            assert_eq!(order(&left, &right), expected, "{left:?} {right:?}");
        }
    }

    #[test]
    fn casts() {
        let cases = [
            (value(Value::Double(2.5)), kind::INT32, Some(value(Value::Int32(3)))),
            (value(Value::Double(300.0)), kind::BYTE, None),
            (value(Value::Double(f64::NAN)), kind::BYTE, None),
            (value(Value::Int32(-1)), kind::UINT16, None),
            (value(Value::Int32(7)), kind::STRING, Some(string("7"))),
            (value(Value::Int32(7)), kind::BOOLEAN, Some(Datum::truth(true))),
            (string("2024-02-29T12:00:00Z"), kind::STRING, Some(string("2024-02-29T12:00:00Z"))),
            (string("7"), kind::BYTE, Some(value(Value::Byte(7)))),
            (string("x"), kind::DATE_TIME, None),
            (string("i=85"), kind::NODE_ID, Some(Datum::Node(Node::standard(85)))),
            (Datum::Status(0x8034_0000), kind::UINT16, Some(value(Value::UInt16(0x8034)))),
            (value(Value::UInt16(0x8034)), kind::STATUS_CODE, Some(Datum::Status(0x8034_0000))),
            (Datum::Localized("a".into()), kind::INT32, None),
            (Datum::Guid([7; 16]), kind::BYTE_STRING, Some(value(Value::ByteString([7; 16].into())))),
            (value(Value::ByteString([7; 3].into())), kind::GUID, None),
            (Datum::Null, kind::INT32, None),
            (value(Value::Array(DataType::Int32, [].into())), kind::STRING, None),
        ];
        for (from, to, expected) in cases {
            assert_eq!(cast(&from, to), expected, "{from:?} {to}");
        }
        assert_eq!(implicit(&value(Value::Double(2.0)), kind::INT32), None);
        assert_eq!(
            cast(&string("2024-02-29T12:00:00Z"), kind::DATE_TIME).and_then(|time| cast(&time, kind::STRING)),
            Some(string("2024-02-29T12:00:00Z"))
        );
    }

    #[test]
    fn bits() {
        let (a, b) = (value(Value::UInt16(0b110)), value(Value::Int32(0b011)));
        assert_eq!(bitwise(&a, &b, false), Some(value(Value::Int32(0b010))));
        assert_eq!(bitwise(&a, &b, true), Some(value(Value::Int32(0b111))));
        assert_eq!(bitwise(&a, &value(Value::Double(1.0)), true), None);
        assert_eq!(bitwise(&a, &Datum::Null, true), None);
    }
}
