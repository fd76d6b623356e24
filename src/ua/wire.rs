//! OPC UA Binary (Part 6, 5.2) as far as this program speaks it: a reader that borrows, allocates nothing for what a length only
//! promises, and recurses nowhere; and a writer.
//!
//! The library's own decoders are not used on what peers send: they follow nested DiagnosticInfo, DataValue and Variant without
//! a limit. Here a DataValue or DiagnosticInfo inside a Variant is malformed, arrays of Variant go [`MAX_DEPTH`] levels deep,
//! and ExtensionObjects stay bytes until a service asks for the one type that it expects.

// The only error of every reading method is `Malformed`.
#![allow(clippy::missing_errors_doc)]

use crate::tag::{DataType, Scalar, StatusCode, Timestamp, Value};

/// The Default Binary encoding of `TwilioUserStatisticsType`, the one structure that a tag of ours can hold (SPEC 5).
pub const STATISTICS_ENCODING: Id<'static> = Id::numeric(2, 2);

/// How deep arrays of Variant may nest.
pub const MAX_DEPTH: u32 = 3;

/// The message breaks the encoding's rules: `Bad_DecodingError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What reading gives.
pub type Read<T> = Result<T, Malformed>;

/// The identifier of a NodeId, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Identifier<'a> {
    Numeric(u32),
    Text(&'a str),
    Guid(&'a [u8]),
    Opaque(&'a [u8]),
}

/// A NodeId, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// Index in the NamespaceArray.
    pub namespace: u16,
    /// Unique in the namespace.
    pub identifier: Identifier<'a>,
}

impl<'a> Id<'a> {
    /// A numeric id.
    #[must_use]
    pub const fn numeric(namespace: u16, id: u32) -> Self {
        Self { namespace, identifier: Identifier::Numeric(id) }
    }

    /// A String id.
    #[must_use]
    pub const fn text(namespace: u16, text: &'a str) -> Self {
        Self { namespace, identifier: Identifier::Text(text) }
    }

    /// The number of an id in namespace 0.
    #[must_use]
    pub const fn standard(&self) -> Option<u32> {
        match self {
            Self { namespace: 0, identifier: Identifier::Numeric(id) } => Some(*id),
            _ => None,
        }
    }

    /// True for the null NodeId.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.namespace == 0
            && match self.identifier {
                Identifier::Numeric(id) => id == 0,
                Identifier::Text(text) => text.is_empty(),
                Identifier::Guid(bytes) => bytes.iter().all(|byte| *byte == 0),
                Identifier::Opaque(bytes) => bytes.is_empty(),
            }
    }
}

/// An ExtensionObject whose body stays bytes.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// The encoding's NodeId.
    pub type_id: Id<'a>,
    /// `None` without a binary body.
    pub body: Option<&'a [u8]>,
}

/// What a Variant held.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A value that a tag can have, `Null` included.
    Value(Value),
    /// Well formed, but of a type that no tag has.
    Foreign,
}

/// The built-in type of an array, and its elements as they are encoded.
pub type Elements<'a> = (u8, Vec<&'a [u8]>);

/// The most array elements that are kept of one message, so that a byte on the wire does not become many in memory.
const MAX_ELEMENTS: usize = 1_000_000;

/// Reads a message from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    elements: usize,
}

macro_rules! fixed {
    ($($name:ident $type:ty),*) => {
        $(#[allow(missing_docs)]
        #[inline]
        pub fn $name(&mut self) -> Read<$type> {
            let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
            self.rest = rest;
            Ok(<$type>::from_le_bytes(*bytes))
        })*
    };
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, elements: MAX_ELEMENTS }
    }

    fixed!(u8 u8, i8 i8, u16 u16, i16 i16, u32 u32, i32 i32, u64 u64, i64 i64, f32 f32, f64 f64);

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A Boolean; everything but zero is true.
    pub fn boolean(&mut self) -> Read<bool> {
        Ok(self.u8()? != 0)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A ByteString; `None` for null.
    #[inline]
    pub fn bytes(&mut self) -> Read<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| Malformed)?).map(Some),
        }
    }

    /// A String; `None` for null.
    #[inline]
    pub fn optional_text(&mut self) -> Read<Option<&'a str>> {
        self.bytes()?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| Malformed)).transpose()
    }

    /// A String; empty for null.
    #[inline]
    pub fn text(&mut self) -> Read<&'a str> {
        Ok(self.optional_text()?.unwrap_or(""))
    }

    /// The length of an array whose elements have at least `least` bytes: never more than are there. Null is empty.
    pub fn count(&mut self, least: usize) -> Read<usize> {
        match self.i32()? {
            -1 => Ok(0),
            count => {
                let count = usize::try_from(count).map_err(|_| Malformed)?;
                (count <= self.rest.len() / least.max(1)).then_some(count).ok_or(Malformed)
            }
        }
    }

    /// A DateTime.
    pub fn time(&mut self) -> Read<Timestamp> {
        self.i64().map(Timestamp::from_ticks)
    }

    /// A NodeId.
    #[inline]
    pub fn id(&mut self) -> Read<Id<'a>> {
        let form = self.u8()?;
        self.id_of_form(form)
    }

    fn id_of_form(&mut self, form: u8) -> Read<Id<'a>> {
        Ok(match form {
            0 => Id::numeric(0, self.u8()?.into()),
            1 => {
                let namespace = self.u8()?.into();
                Id::numeric(namespace, self.u16()?.into())
            }
            2 => {
                let namespace = self.u16()?;
                Id::numeric(namespace, self.u32()?)
            }
            3 => {
                let namespace = self.u16()?;
                Id::text(namespace, self.text()?)
            }
            4 => Id { namespace: self.u16()?, identifier: Identifier::Guid(self.take(16)?) },
            5 => Id { namespace: self.u16()?, identifier: Identifier::Opaque(self.bytes()?.unwrap_or_default()) },
            _ => return Err(Malformed),
        })
    }

    /// An ExpandedNodeId: the NodeId, and true when it names another server or a namespace by URI.
    pub fn expanded_id(&mut self) -> Read<(Id<'a>, bool)> {
        let form = self.u8()?;
        let id = self.id_of_form(form & 0x3F)?;
        let mut elsewhere = false;
        if form & 0x80 != 0 {
            elsewhere |= !self.text()?.is_empty();
        }
        if form & 0x40 != 0 {
            elsewhere |= self.u32()? != 0;
        }
        Ok((id, elsewhere))
    }

    /// A QualifiedName.
    pub fn qualified_name(&mut self) -> Read<(u16, &'a str)> {
        Ok((self.u16()?, self.text()?))
    }

    /// A LocalizedText; its text.
    pub fn localized_text(&mut self) -> Read<&'a str> {
        let mask = self.u8()?;
        if mask & 1 != 0 {
            self.text()?;
        }
        if mask & 2 != 0 { self.text() } else { Ok("") }
    }

    /// An ExtensionObject.
    pub fn extension(&mut self) -> Read<Extension<'a>> {
        let type_id = self.id()?;
        let body = match self.u8()? {
            0 => None,
            1 => self.bytes()?,
            2 => {
                self.bytes()?;
                None
            }
            _ => return Err(Malformed),
        };
        Ok(Extension { type_id, body })
    }

    /// A Variant.
    pub fn variant(&mut self) -> Read<Incoming> {
        self.variant_at(0)
    }

    fn variant_at(&mut self, depth: u32) -> Read<Incoming> {
        let mask = self.u8()?;
        let (kind, is_array, has_dimensions) = (mask & 0x3F, mask & 0x80 != 0, mask & 0x40 != 0);
        if has_dimensions && !is_array {
            return Err(Malformed);
        }
        if !is_array {
            return if kind == 0 { Ok(Incoming::Value(Value::Null)) } else { self.scalar(kind, depth) };
        }
        let count = self.count(least_size(kind)?)?;
        self.elements = self.elements.checked_sub(count).ok_or(Malformed)?;
        let mut elements = Vec::new();
        let mut foreign = false;
        for _ in 0..count {
            match self.scalar(kind, depth)? {
                Incoming::Value(value) if !foreign => elements.push(value),
                _ => foreign = true,
            }
        }
        if has_dimensions {
            let dimensions = self.count(4)?;
            self.take(dimensions * 4)?;
            foreign |= dimensions > 1;
        }
        let data_type = data_type_of(kind);
        Ok(match data_type {
            Some(data_type) if !foreign => Incoming::Value(Value::Array(data_type, elements.into())),
            _ => Incoming::Foreign,
        })
    }

    fn scalar(&mut self, kind: u8, depth: u32) -> Read<Incoming> {
        let value = match kind {
            1 => Value::Boolean(self.boolean()?),
            2 => Value::SByte(self.i8()?),
            3 => Value::Byte(self.u8()?),
            4 => Value::Int16(self.i16()?),
            5 => Value::UInt16(self.u16()?),
            6 => Value::Int32(self.i32()?),
            7 => Value::UInt32(self.u32()?),
            8 => Value::Int64(self.i64()?),
            9 => Value::UInt64(self.u64()?),
            10 => Value::Float(self.f32()?),
            11 => Value::Double(self.f64()?),
            12 => Value::string(self.text()?),
            13 => Value::DateTime(self.time()?),
            15 => Value::ByteString(self.bytes()?.unwrap_or_default().into()),
            other => {
                self.skip(other, depth)?;
                return Ok(Incoming::Foreign);
            }
        };
        Ok(Incoming::Value(value))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Read<()> {
        match kind {
            14 => drop(self.take(16)?),
            16 => drop(self.bytes()?),
            17 => drop(self.id()?),
            18 => drop(self.expanded_id()?),
            19 => drop(self.u32()?),
            20 => drop(self.qualified_name()?),
            21 => drop(self.localized_text()?),
            22 => drop(self.extension()?),
            24 if depth < MAX_DEPTH => drop(self.variant_at(depth + 1)?),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// A Variant that is an array of one dimension; `None` for any other.
    pub fn elements(&mut self) -> Read<Option<Elements<'a>>> {
        let mask = self.u8()?;
        let kind = mask & 0x3F;
        if mask & 0xC0 != 0x80 {
            return Ok(None);
        }
        let count = self.count(least_size(kind)?)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            let before = self.rest;
            self.scalar(kind, 0)?;
            elements.push(&before[..before.len() - self.rest.len()]);
        }
        Ok(Some((kind, elements)))
    }

    /// A DataValue as a client writes it: the value, and true when status or timestamps came with it.
    pub fn data_value(&mut self) -> Read<(Incoming, bool)> {
        let mask = self.u8()?;
        let value = if mask & 1 != 0 { self.variant()? } else { Incoming::Value(Value::Null) };
        let status = if mask & 2 != 0 { self.u32()? } else { 0 };
        for (bit, size) in [(4, 8), (16, 2), (8, 8), (32, 2)] {
            if mask & bit != 0 {
                self.take(size)?;
            }
        }
        Ok((value, status != 0 || mask & (4 | 8) != 0))
    }
}

/// The smallest encoding of a built-in type, so that an array's length can be checked against the bytes that are there.
fn least_size(kind: u8) -> Read<usize> {
    Ok(match kind {
        1..=3 | 21 | 24 => 1,
        4 | 5 | 17 | 18 => 2,
        6 | 7 | 10 | 12 | 15 | 16 | 19 => 4,
        8 | 9 | 11 | 13 => 8,
        14 => 16,
        20 => 6,
        22 => 3,
        _ => return Err(Malformed),
    })
}

/// The number of a built-in type (Part 6, 5.1.2); structures travel as ExtensionObject.
#[must_use]
pub const fn built_in(data_type: DataType) -> u8 {
    match data_type {
        DataType::Boolean => 1,
        DataType::SByte => 2,
        DataType::Byte => 3,
        DataType::Int16 => 4,
        DataType::UInt16 => 5,
        DataType::Int32 => 6,
        DataType::UInt32 => 7,
        DataType::Int64 => 8,
        DataType::UInt64 => 9,
        DataType::Float => 10,
        DataType::Double => 11,
        DataType::String => 12,
        DataType::DateTime => 13,
        DataType::ByteString => 15,
        DataType::UserStatistics => 22,
    }
}

fn data_type_of(kind: u8) -> Option<DataType> {
    DataType::CONFIGURABLE.into_iter().find(|data_type| built_in(*data_type) == kind)
}

/// Which timestamps a client wants with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Timestamps {
    Source,
    Server,
    Both,
    Neither,
}

impl Timestamps {
    /// `None` for a number that the standard does not give.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Source,
            1 => Self::Server,
            2 => Self::Both,
            3 => Self::Neither,
            _ => return None,
        })
    }
}

/// Writes a message from front to back.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub Vec<u8>);

macro_rules! put {
    ($($name:ident $type:ty),*) => {
        $(#[allow(missing_docs)]
        pub fn $name(&mut self, value: $type) {
            self.0.extend_from_slice(&value.to_le_bytes());
        })*
    };
}

impl Writer {
    put!(u8 u8, u16 u16, u32 u32, u64 u64, i32 i32, i64 i64, f64 f64);

    /// A Boolean.
    pub fn boolean(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// The beginning of a Variant that is an array of the built-in type `kind`.
    pub fn array(&mut self, kind: u8, count: usize) {
        self.u8(kind | 0x80);
        self.count(count);
    }

    /// The length of an array or string.
    ///
    /// # Panics
    /// Beyond 2³¹ elements, which every limit lies far below.
    pub fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).expect("a bounded count"));
    }

    /// A ByteString.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A String.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A null String, ByteString or array.
    pub fn null(&mut self) {
        self.i32(-1);
    }

    /// An array of String.
    pub fn texts<S: AsRef<str>>(&mut self, texts: &[S]) {
        self.count(texts.len());
        for text in texts {
            self.text(text.as_ref());
        }
    }

    /// A DateTime.
    pub fn time(&mut self, time: Timestamp) {
        self.i64(time.ticks());
    }

    /// A StatusCode.
    pub fn status(&mut self, status: StatusCode) {
        self.u32(status.0);
    }

    /// A NodeId, in its shortest form.
    pub fn id(&mut self, id: Id<'_>) {
        match id.identifier {
            Identifier::Numeric(number) => match (u8::try_from(id.namespace), u8::try_from(number), u16::try_from(number)) {
                (Ok(0), Ok(number), _) => self.0.extend_from_slice(&[0, number]),
                (Ok(namespace), _, Ok(number)) => {
                    self.0.extend_from_slice(&[1, namespace]);
                    self.u16(number);
                }
                _ => {
                    self.u8(2);
                    self.u16(id.namespace);
                    self.u32(number);
                }
            },
            Identifier::Text(text) => {
                self.u8(3);
                self.u16(id.namespace);
                self.text(text);
            }
            Identifier::Guid(bytes) => {
                self.u8(4);
                self.u16(id.namespace);
                self.0.extend_from_slice(bytes);
            }
            Identifier::Opaque(bytes) => {
                self.u8(5);
                self.u16(id.namespace);
                self.bytes(bytes);
            }
        }
    }

    /// A NodeId of namespace 0.
    pub fn standard(&mut self, id: u32) {
        self.id(Id::numeric(0, id));
    }

    /// A QualifiedName.
    pub fn qualified_name(&mut self, namespace: u16, name: &str) {
        self.u16(namespace);
        self.text(name);
    }

    /// A LocalizedText without a locale.
    pub fn localized_text(&mut self, text: &str) {
        if text.is_empty() {
            self.u8(0);
        } else {
            self.u8(2);
            self.text(text);
        }
    }

    /// An ExtensionObject with a binary body.
    pub fn extension(&mut self, type_id: Id<'_>, body: impl FnOnce(&mut Self)) {
        self.id(type_id);
        self.u8(1);
        let at = self.0.len();
        self.u32(0);
        body(self);
        let length = u32::try_from(self.0.len() - at - 4).expect("a bounded body");
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// A Variant of a tag's value; `structure` is the encoding's id of [`DataType::UserStatistics`].
    pub fn variant(&mut self, value: &Value) {
        match value {
            Value::Null => self.u8(0),
            Value::Array(data_type, elements) => {
                self.array(built_in(*data_type), elements.len());
                for element in elements.iter() {
                    self.bare(element);
                }
            }
            scalar => {
                self.u8(scalar.data_type().map_or(0, built_in));
                self.bare(scalar);
            }
        }
    }

    fn bare(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Array(..) => {}
            Value::Boolean(value) => self.boolean(*value),
            Value::SByte(value) => self.0.extend_from_slice(&value.to_le_bytes()),
            Value::Byte(value) => self.u8(*value),
            Value::Int16(value) => self.0.extend_from_slice(&value.to_le_bytes()),
            Value::UInt16(value) => self.u16(*value),
            Value::Int32(value) => self.i32(*value),
            Value::UInt32(value) => self.u32(*value),
            Value::Int64(value) => self.i64(*value),
            Value::UInt64(value) => self.u64(*value),
            Value::Float(value) => self.0.extend_from_slice(&value.to_le_bytes()),
            Value::Double(value) => self.f64(*value),
            Value::String(text) => self.text(text),
            Value::DateTime(time) => self.time(*time),
            Value::ByteString(bytes) => self.bytes(bytes),
            Value::Structure(structure) => self.extension(STATISTICS_ENCODING, |w| {
                for field in &structure.fields {
                    w.bare(field);
                }
            }),
        }
    }

    /// A DataValue whose Variant `value` writes; without one when the status is Bad.
    pub fn data_value(
        &mut self,
        timestamps: Timestamps,
        status: StatusCode,
        source: Timestamp,
        server: Timestamp,
        value: impl FnOnce(&mut Self),
    ) {
        let with_source = matches!(timestamps, Timestamps::Source | Timestamps::Both) && !source.is_null();
        let with_server = matches!(timestamps, Timestamps::Server | Timestamps::Both);
        let with_value = !status.is_bad();
        let mask = u8::from(with_value)
            | u8::from(status != StatusCode::GOOD) << 1
            | u8::from(with_source) << 2
            | u8::from(with_server) << 3;
        self.u8(mask);
        if with_value {
            value(self);
        }
        if status != StatusCode::GOOD {
            self.status(status);
        }
        if with_source {
            self.time(source);
        }
        if with_server {
            self.time(server);
        }
    }

    /// The DataValue of a scalar of fixed size.
    #[inline]
    pub fn scalar_value(&mut self, scalar: &Scalar, timestamps: Timestamps, server: Timestamp) {
        // One append for all of it: mask, type, value, status, two times.
        let mut bytes = [0; 1 + 1 + 8 + 4 + 8 + 8];
        let mut end = 1;
        let mut put = |part: &[u8]| {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        };
        let mut mask = 0;
        if !scalar.status.is_bad() {
            mask |= 1;
            put(&[built_in(scalar.data_type)]);
            let value = scalar.bits.to_le_bytes();
            match scalar.size() {
                1 => put(&value[..1]),
                2 => put(&value[..2]),
                4 => put(&value[..4]),
                _ => put(&value),
            }
        }
        if scalar.status != StatusCode::GOOD {
            mask |= 2;
            put(&scalar.status.0.to_le_bytes());
        }
        if matches!(timestamps, Timestamps::Source | Timestamps::Both) && !scalar.source_time.is_null() {
            mask |= 4;
            put(&scalar.source_time.ticks().to_le_bytes());
        }
        if matches!(timestamps, Timestamps::Server | Timestamps::Both) {
            mask |= 8;
            put(&server.ticks().to_le_bytes());
        }
        bytes[0] = mask;
        self.0.extend_from_slice(&bytes[..end]);
    }

    /// A DataValue that is only a status.
    pub fn failed_value(&mut self, status: StatusCode) {
        self.u8(2);
        self.status(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::{Sample, TagId, TagTable};

    fn read(bytes: &[u8]) -> Read<Incoming> {
        Reader::new(bytes).variant()
    }

    #[test]
    fn values_come_back() {
        let values = [
            Value::Null,
            Value::Boolean(true),
            Value::Int16(-2),
            Value::UInt64(u64::MAX),
            Value::Float(1.5),
            Value::string("ä"),
            Value::DateTime(Timestamp::from_ticks(7)),
            Value::ByteString([1, 2].into()),
            Value::Array(DataType::Int32, [Value::Int32(1), Value::Int32(-1)].into()),
        ];
        for value in values {
            let mut writer = Writer::default();
            writer.variant(&value);
            assert_eq!(read(&writer.0), Ok(Incoming::Value(value)));
        }
    }

    #[test]
    fn scalars_are_written_as_values_are() {
        let values = [
            Value::Boolean(true),
            Value::SByte(-3),
            Value::Byte(200),
            Value::Int16(-300),
            Value::UInt16(60_000),
            Value::Int32(-70_000),
            Value::UInt32(4_000_000_000),
            Value::Int64(i64::MIN),
            Value::UInt64(u64::MAX),
            Value::Float(-1.5),
            Value::Double(f64::MIN_POSITIVE),
            Value::DateTime(Timestamp::from_ticks(7)),
        ];
        let table = TagTable::default();
        let (tag, server) = (TagId(3), Timestamp::from_ticks(9));
        for value in values {
            for (status, ticks) in [(StatusCode::GOOD, 5), (StatusCode::UNCERTAIN, 0), (StatusCode::BAD, 5)] {
                let source_time = Timestamp::from_ticks(ticks);
                table.write(&[Sample { tag, value: value.clone(), status, source_time }]);
                let scalar = table.scalar(tag).unwrap();
                for timestamps in [Timestamps::Source, Timestamps::Server, Timestamps::Both, Timestamps::Neither] {
                    let (mut one, mut other) = (Writer::default(), Writer::default());
                    one.scalar_value(&scalar, timestamps, server);
                    other.data_value(timestamps, status, source_time, server, |w| w.variant(&value));
                    assert_eq!(one.0, other.0, "{value:?} {status:?} {timestamps:?}");
                }
            }
        }
    }

    #[test]
    fn nesting_and_huge_counts_are_malformed() {
        // Variant -> DataValue -> Variant, Variant -> DiagnosticInfo, Variant[] of Variant[] without end.
        assert_eq!(read(&[23, 1].repeat(30_000)), Err(Malformed));
        assert_eq!(read(&[25, 0x40].repeat(30_000)), Err(Malformed));
        assert_eq!(read(&[0x98, 1, 0, 0, 0].repeat(30_000)), Err(Malformed));
        assert_eq!(read(&[0x86, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(read(&[12, 0xFE, 0xFF, 0xFF, 0xFF]), Err(Malformed));
        let many = [&[0x81][..], &1_000_001_u32.to_le_bytes(), &vec![0; 1_000_001]].concat();
        assert_eq!(read(&many), Err(Malformed));
        assert_eq!(read(&[0x98, 1, 0, 0, 0, 6, 1, 0, 0, 0]), Ok(Incoming::Foreign));
    }

    #[test]
    fn node_ids_take_their_shortest_form() {
        for (id, length) in [
            (Id::numeric(0, 85), 2),
            (Id::numeric(0, 2253), 4),
            (Id::numeric(2, 1), 4),
            (Id::numeric(2, 70_000), 7),
            (Id::text(2, "Plant/Level"), 18),
        ] {
            let mut writer = Writer::default();
            writer.id(id);
            assert_eq!(writer.0.len(), length);
            assert_eq!(Reader::new(&writer.0).id(), Ok(id));
        }
    }
}
