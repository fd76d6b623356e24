//! Values, nodes and names as servers send them and as we send them: read without recursion beyond [`limits::DEPTH`] and without
//! memory for what a length only promises.

use std::sync::Arc;

use opcua::types::{ByteString, Guid, Identifier as Name, NodeId, UAString, VariantScalarTypeId as Wire};
use uuid::Uuid;

use super::{limits, message::skip_diagnostics};
use crate::{
    tag::{DataType, StatusCode, Timestamp, Value},
    ua::wire::{Extension, Id, Identifier, Malformed, Read, Reader, Writer},
};

/// The end of year 9999; a DateTime beyond is "no end" (Part 6, 5.2.2.5).
const LATEST: i64 = 2_650_467_743_990_000_000;

/// A Variant as a server sent it. LocalizedText, Guid and XmlElement are texts here, StatusCode is a UInt32.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nothing.
    Null,
    /// One value of this built-in type.
    Scalar(Wire, Value),
    /// One dimension.
    Array(Wire, Arc<[Value]>),
    /// A NodeId or ExpandedNodeId.
    Node(NodeId),
    /// A QualifiedName without its namespace.
    Name(Arc<str>),
    /// A Range, such as EURange: low and high (Part 8, 5.6.2).
    Range(f64, f64),
    /// The display name of an EUInformation (Part 8, 5.6.3).
    Unit(Arc<str>),
    /// Well formed, but nothing that we use: another structure, a matrix.
    Foreign(Wire),
}

impl Data {
    /// The type on the wire.
    #[must_use]
    pub const fn wire(&self) -> Option<Wire> {
        match self {
            Self::Null => None,
            Self::Scalar(wire, _) | Self::Array(wire, _) | Self::Foreign(wire) => Some(*wire),
            Self::Range(..) | Self::Unit(_) => Some(Wire::ExtensionObject),
            Self::Node(_) => Some(Wire::NodeId),
            Self::Name(_) => Some(Wire::QualifiedName),
        }
    }
}

/// A DataValue as a server sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataValue {
    /// The value.
    pub value: Data,
    /// Its quality, info bits included.
    pub status: StatusCode,
    /// Null when the server gave none.
    pub source_time: Timestamp,
}

/// Reads values of one message.
pub struct Decoder<'a> {
    /// The message.
    pub reader: Reader<'a>,
    /// Elements of arrays that it may still have.
    pub elements: usize,
}

impl<'a> Decoder<'a> {
    /// For a whole message.
    #[must_use]
    pub const fn new(reader: Reader<'a>) -> Self {
        Self { reader, elements: limits::ELEMENTS }
    }

    /// A DataValue.
    ///
    /// # Errors
    /// When it is malformed or too much.
    pub fn data_value(&mut self) -> Read<DataValue> {
        self.data_value_at(0)
    }

    fn data_value_at(&mut self, depth: u32) -> Read<DataValue> {
        let mask = self.reader.u8()?;
        let value = if mask & 1 != 0 { self.variant_at(depth)? } else { Data::Null };
        let status = StatusCode(if mask & 2 != 0 { self.reader.u32()? } else { 0 });
        let source_time = if mask & 4 != 0 { time(&mut self.reader)? } else { Timestamp::NULL };
        for (bit, size) in [(16, 2), (8, 8), (32, 2)] {
            if mask & bit != 0 {
                self.reader.take(size)?;
            }
        }
        Ok(DataValue { value, status, source_time })
    }

    /// A Variant.
    ///
    /// # Errors
    /// When it is malformed or too much.
    pub fn variant(&mut self) -> Read<Data> {
        self.variant_at(0)
    }

    fn variant_at(&mut self, depth: u32) -> Read<Data> {
        let mask = self.reader.u8()?;
        let (kind, is_array, has_dimensions) = (mask & 0x3F, mask & 0x80 != 0, mask & 0x40 != 0);
        if kind == 0 {
            return if mask == 0 { Ok(Data::Null) } else { Err(Malformed) };
        }
        if has_dimensions && !is_array {
            return Err(Malformed);
        }
        let least = least_size(kind)?;
        let wire = Wire::try_from(u32::from(kind)).map_err(|_| Malformed)?;
        if !is_array {
            return match kind {
                17 => Ok(Data::Node(node_id(self.reader.id()?))),
                18 => Ok(Data::Node(node_id(self.reader.expanded_id()?.0))),
                20 => Ok(Data::Name(self.reader.qualified_name()?.1.into())),
                22 => Ok(structure(&self.reader.extension()?)),
                _ => Ok(self.scalar(kind, depth)?.map_or(Data::Foreign(wire), |value| Data::Scalar(wire, value))),
            };
        }
        let count = self.reader.count(least)?;
        self.elements = self.elements.checked_sub(count).ok_or(Malformed)?;
        let (mut elements, mut foreign) = (Vec::new(), false);
        for _ in 0..count {
            match self.scalar(kind, depth)? {
                Some(value) if !foreign => elements.push(value),
                _ => foreign = true,
            }
        }
        if has_dimensions {
            let dimensions = self.reader.count(4)?;
            self.reader.take(dimensions * 4)?;
            foreign |= dimensions > 1;
        }
        Ok(if foreign { Data::Foreign(wire) } else { Data::Array(wire, elements.into()) })
    }

    /// `None` for what is passed over.
    fn scalar(&mut self, kind: u8, depth: u32) -> Read<Option<Value>> {
        let reader = &mut self.reader;
        Ok(Some(match kind {
            1 => Value::Boolean(reader.boolean()?),
            2 => Value::SByte(reader.i8()?),
            3 => Value::Byte(reader.u8()?),
            4 => Value::Int16(reader.i16()?),
            5 => Value::UInt16(reader.u16()?),
            6 => Value::Int32(reader.i32()?),
            7 | 19 => Value::UInt32(reader.u32()?),
            8 => Value::Int64(reader.i64()?),
            9 => Value::UInt64(reader.u64()?),
            10 => Value::Float(reader.f32()?),
            11 => Value::Double(reader.f64()?),
            12 | 16 => Value::string(reader.text()?),
            13 => Value::DateTime(time(reader)?),
            14 => Value::string(guid(reader.take(16)?).hyphenated().to_string()),
            15 => Value::ByteString(reader.bytes()?.unwrap_or_default().into()),
            21 => Value::string(reader.localized_text()?),
            other => {
                self.skip(other, depth)?;
                return Ok(None);
            }
        }))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Read<()> {
        match kind {
            17 => drop(self.reader.id()?),
            18 => drop(self.reader.expanded_id()?),
            20 => drop(self.reader.qualified_name()?),
            22 => drop(self.reader.extension()?),
            23 if depth < limits::DEPTH => drop(self.data_value_at(depth + 1)?),
            24 if depth < limits::DEPTH => drop(self.variant_at(depth + 1)?),
            25 => skip_diagnostics(&mut self.reader)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// Those structures that say something about a variable. All others are passed over, and so are bodies that are none of theirs.
fn structure(extension: &Extension<'_>) -> Data {
    const RANGE: u32 = 886;
    const EU_INFORMATION: u32 = 889;
    let mut body = Reader::new(extension.body.unwrap_or_default());
    let mut range = || Ok::<_, Malformed>(Data::Range(body.f64()?, body.f64()?));
    let known = match extension.type_id.standard() {
        Some(RANGE) => range(),
        Some(EU_INFORMATION) => unit(&mut body),
        _ => Err(Malformed),
    };
    known.unwrap_or(Data::Foreign(Wire::ExtensionObject))
}

fn unit(body: &mut Reader<'_>) -> Read<Data> {
    body.text()?;
    body.i32()?;
    Ok(Data::Unit(body.localized_text()?.into()))
}

/// The smallest encoding of a built-in type, so that an array's length can be checked against the bytes that are there.
fn least_size(kind: u8) -> Read<usize> {
    Ok(match kind {
        1..=3 | 21 | 23..=25 => 1,
        4 | 5 | 17 | 18 => 2,
        6 | 7 | 10 | 12 | 15 | 16 | 19 => 4,
        8 | 9 | 11 | 13 => 8,
        14 => 16,
        20 => 6,
        22 => 3,
        _ => return Err(Malformed),
    })
}

fn time(reader: &mut Reader<'_>) -> Read<Timestamp> {
    Ok(Timestamp::from_ticks(reader.i64()?.clamp(0, LATEST)))
}

fn guid(bytes: &[u8]) -> Uuid {
    bytes.try_into().map_or(Uuid::nil(), Uuid::from_bytes_le)
}

/// A NodeId of our own.
#[must_use]
pub fn node_id(id: Id<'_>) -> NodeId {
    let identifier = match id.identifier {
        Identifier::Numeric(number) => Name::Numeric(number),
        Identifier::Text(text) => Name::String(UAString::from(text)),
        Identifier::Guid(bytes) => Name::Guid(Guid::from(guid(bytes))),
        Identifier::Opaque(bytes) => Name::ByteString(ByteString::from(bytes.to_vec())),
    };
    NodeId { namespace: id.namespace, identifier }
}

/// Writes a NodeId.
pub fn write_node(w: &mut Writer, node: &NodeId) {
    let namespace = node.namespace;
    match &node.identifier {
        Name::Numeric(number) => w.id(Id::numeric(namespace, *number)),
        Name::String(text) => w.id(Id::text(namespace, text.as_ref())),
        Name::Guid(guid) => w.id(Id { namespace, identifier: Identifier::Guid(&guid.to_bytes()) }),
        Name::ByteString(bytes) => w.id(Id { namespace, identifier: Identifier::Opaque(bytes.as_ref()) }),
    }
}

/// A value for a server, of exactly the built-in type that its node has: texts for LocalizedText and Guid.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The built-in type.
    pub wire: Wire,
    /// The value; an array of it is an [`Value::Array`].
    pub value: Value,
}

impl Outgoing {
    /// Writes it as a Variant.
    pub fn write(&self, w: &mut Writer) {
        let kind = self.wire as u32;
        let kind = u8::try_from(kind).unwrap_or_default();
        if let Value::Array(_, elements) = &self.value {
            w.array(kind, elements.len());
            for element in elements.iter() {
                self.bare(element, w);
            }
        } else {
            w.u8(kind);
            self.bare(&self.value, w);
        }
    }

    fn bare(&self, value: &Value, w: &mut Writer) {
        match (self.wire, value) {
            (Wire::LocalizedText, Value::String(text)) => w.localized_text(text),
            (Wire::Guid, Value::String(text)) => w.0.extend(Uuid::parse_str(text).unwrap_or_default().to_bytes_le()),
            (_, value) => {
                // A Variant's content without the byte that says its type.
                let mut variant = Writer::default();
                variant.variant(value);
                w.0.extend_from_slice(variant.0.get(1..).unwrap_or_default());
            }
        }
    }
}

/// The built-in type that values of a tag's type have.
#[must_use]
pub const fn own_type(data_type: DataType) -> Wire {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Read<Data> {
        Decoder::new(Reader::new(bytes)).variant()
    }

    #[test]
    fn values_come_back() {
        let text = "72962b91-fa75-4ae6-8d28-b404dc7daf63";
        let cases = [
            (Wire::Int16, Value::Int16(-2)),
            (Wire::Double, Value::Double(0.5)),
            (Wire::String, Value::string("ä")),
            (Wire::LocalizedText, Value::string("an")),
            (Wire::Guid, Value::string(text)),
            (Wire::DateTime, Value::DateTime(Timestamp::from_ticks(7))),
            (Wire::ByteString, Value::ByteString([1, 2].into())),
        ];
        for (wire, value) in cases {
            let mut w = Writer::default();
            Outgoing { wire, value: value.clone() }.write(&mut w);
            assert_eq!(read(&w.0), Ok(Data::Scalar(wire, value)));
        }
        let elements: Arc<[Value]> = [Value::string("a"), Value::string("")].into();
        for wire in [Wire::String, Wire::LocalizedText] {
            let mut w = Writer::default();
            Outgoing { wire, value: Value::Array(DataType::String, Arc::clone(&elements)) }.write(&mut w);
            assert_eq!(read(&w.0), Ok(Data::Array(wire, Arc::clone(&elements))));
        }
    }

    #[test]
    fn what_no_tag_has_is_passed_over() {
        assert_eq!(read(&[17, 0, 85]), Ok(Data::Node(NodeId::new(0, 85_u32))));
        assert_eq!(read(&[20, 0, 0, 1, 0, 0, 0, b'x']), Ok(Data::Name("x".into())));
        assert_eq!(read(&[22, 0, 0, 0]), Ok(Data::Foreign(Wire::ExtensionObject)));
        let mut range = vec![22, 1, 0, 0x76, 3, 1, 16, 0, 0, 0];
        range.extend([1.5_f64, 90.0].iter().flat_map(|end| end.to_le_bytes()));
        assert_eq!(read(&range), Ok(Data::Range(1.5, 90.0)));
        assert!(read(&range[..range.len() - 1]).is_err());
        // A body that is shorter than the structure.
        assert_eq!(read(&[22, 1, 0, 0x76, 3, 1, 2, 0, 0, 0, 0, 0]), Ok(Data::Foreign(Wire::ExtensionObject)));
        let unit = [22, 1, 0, 0x79, 3, 1, 14, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 5, 0, 0, 0, 2, 1, 0, 0, 0, b'%'];
        assert_eq!(read(&unit), Ok(Data::Unit("%".into())));
        assert_eq!(read(&[23, 1, 6, 1, 0, 0, 0]), Ok(Data::Foreign(Wire::DataValue)));
        assert_eq!(read(&[0x98, 1, 0, 0, 0, 3, 5]), Ok(Data::Foreign(Wire::Variant)));
        assert_eq!(read(&[25, 0x40, 0]), Ok(Data::Foreign(Wire::DiagnosticInfo)));
        // A matrix of 1 x 2.
        assert_eq!(read(&[0xC3, 2, 0, 0, 0, 8, 9, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), Ok(Data::Foreign(Wire::Byte)));
        assert_eq!(
            read(&[13, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            Ok(Data::Scalar(Wire::DateTime, Value::DateTime(Timestamp::from_ticks(LATEST))))
        );
    }

    #[test]
    fn nesting_and_huge_counts_are_malformed() {
        for nested in [&[23, 1][..], &[24], &[25, 0x40, 0x40], &[0x98, 1, 0, 0, 0], &[0x97, 1, 0, 0, 0, 1]] {
            assert_eq!(read(&nested.repeat(60_000)), Err(Malformed), "{nested:?}");
        }
        assert_eq!(read(&[0x86, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(read(&[12, 0xFE, 0xFF, 0xFF, 0xFF]), Err(Malformed));
        assert_eq!(read(&[63]), Err(Malformed));
        let many = [&[0x81][..], &1_000_001_u32.to_le_bytes(), &vec![0; 1_000_001]].concat();
        assert_eq!(read(&many), Err(Malformed));
    }
}
