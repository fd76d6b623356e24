//! Attributes of all nodes as one session sees them, and index ranges.

use std::sync::Arc;

use super::{
    Server, live,
    ns0::{Core, attribute},
    space::{Kind, Method, NAMESPACE_URI, NodeRef, Own, STATISTICS_ENCODING, STATISTICS_TYPE, Space},
    subscribe::Sampler,
    units,
    wire::{Id, Incoming, Reader, Timestamps, Writer, built_in},
};
use crate::{
    clock,
    engine::{
        COLUMNS,
        plan::{Role, TagDef},
    },
    tag::{DataType, Rank, Reading, StatusCode, TagId, Timestamp, Value},
};

/// Codes that only this server uses.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_ATTRIBUTE_ID_INVALID: StatusCode = StatusCode(0x8035_0000);
    pub const BAD_INDEX_RANGE_INVALID: StatusCode = StatusCode(0x8036_0000);
    pub const BAD_INDEX_RANGE_NO_DATA: StatusCode = StatusCode(0x8037_0000);
    pub const BAD_DATA_ENCODING_INVALID: StatusCode = StatusCode(0x8038_0000);
    pub const BAD_DATA_ENCODING_UNSUPPORTED: StatusCode = StatusCode(0x8039_0000);
}

const ARGUMENT: Id<'static> = Id::numeric(0, 298);
const EU_INFORMATION: Id<'static> = Id::numeric(0, 889);
const RANGE: Id<'static> = Id::numeric(0, 886);
const STRUCTURE_DEFINITION: Id<'static> = Id::numeric(0, 122);

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

    /// The part of `value` in the range.
    pub fn of(self, value: &Value) -> Result<Value, StatusCode> {
        let cut = |length: usize| (self.first < length).then(|| self.first..length.min(self.last + 1));
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

/// The address space as one session sees it.
#[derive(Clone)]
pub struct View {
    /// The program.
    pub server: Arc<Server>,
    /// The nodes of ours.
    pub space: Arc<Space>,
    /// What the session may do.
    pub role: Role,
}

impl View {
    /// Writes the DataValue of an attribute, as Read answers it.
    pub fn read(
        &self,
        node: NodeRef,
        attribute: u32,
        range: Option<IndexRange>,
        timestamps: Timestamps,
        now: Timestamp,
        w: &mut Writer,
    ) {
        if let (NodeRef::Own(index), attribute::VALUE) = (node, attribute)
            && let Some(def) = self.space.tag(index)
        {
            write_reading(&self.server.gateway.table().read(def.id), range, timestamps, now, w);
            return;
        }
        let mut encoded = Writer::default();
        let mut result = self.variant(node, attribute, &mut encoded);
        if let (Ok(()), Some(range)) = (result, range) {
            result = cut_encoded(&mut encoded, range);
        }
        match result {
            Ok(()) => {
                let source = if attribute == attribute::VALUE { now } else { Timestamp::NULL };
                w.data_value(timestamps, StatusCode::GOOD, source, now, |w| w.0.extend_from_slice(&encoded.0));
            }
            Err(status) => w.failed_value(status),
        }
    }

    /// Writes the Variant of an attribute other than the Value of a tag.
    pub fn variant(&self, node: NodeRef, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match (node, attribute) {
            (_, attribute::NODE_ID) => {
                w.u8(17);
                self.space.with_id(node, |id| w.id(id));
                Ok(())
            }
            (NodeRef::Core(index), _) => self.core_variant(index, attribute, w),
            (_, attribute::NODE_CLASS) => put(w, &Value::Int32(self.space.class(node).cast_signed())),
            (_, attribute::BROWSE_NAME) => {
                let (namespace, name) = self.space.browse_name(node);
                w.u8(20);
                w.qualified_name(namespace, name);
                Ok(())
            }
            (_, attribute::DISPLAY_NAME) => localized(w, self.space.browse_name(node).1),
            (_, attribute::DESCRIPTION) => localized(w, self.description(node)),
            (_, attribute::WRITE_MASK | attribute::USER_WRITE_MASK) => put(w, &Value::UInt32(0)),
            (NodeRef::Own(index), _) => {
                let own = self.space.own(index);
                match &own.kind {
                    Kind::Tag(def) => self.tag_variant(def, attribute, w),
                    _ => self.own_variant(own, attribute, w),
                }
            }
            (NodeRef::Range(tag) | NodeRef::Units(tag), _) => {
                let Some(def) = self.space.tag(tag) else { return Err(StatusCode::BAD_NODE_ID_UNKNOWN) };
                let is_range = matches!(node, NodeRef::Range(_));
                match attribute {
                    attribute::VALUE if is_range => range_value(def, w),
                    attribute::VALUE => unit_value(def, w),
                    _ => property(w, attribute, Id::numeric(0, if is_range { 884 } else { 887 }), -1),
                }
            }
        }
    }

    fn core_variant(&self, index: u32, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        let core = Core::get();
        let id = core.id(index);
        if attribute == attribute::VALUE && live::write(&self.server, id, w) {
            return Ok(());
        }
        // Events join with Part 9; until then no object promises any.
        if attribute == attribute::EVENT_NOTIFIER && core.attribute(index, attribute).is_some() {
            return put(w, &Value::Byte(0));
        }
        if matches!(attribute, attribute::USER_EXECUTABLE | attribute::EXECUTABLE) && core.class(index) == 4 {
            return put(w, &Value::Boolean(false));
        }
        let found = core
            .attribute(index, attribute)
            .ok_or(())
            // A variable without a value in the node set has none here either.
            .or_else(|()| {
                if attribute == attribute::VALUE && core.class(index) == 2 {
                    Ok(&[0_u8][..])
                } else {
                    Err(status::BAD_ATTRIBUTE_ID_INVALID)
                }
            })?;
        w.0.extend_from_slice(found);
        Ok(())
    }

    fn description(&self, node: NodeRef) -> &str {
        match node {
            NodeRef::Own(index) => match &self.space.own(index).kind {
                Kind::Tag(def) => &def.description,
                Kind::Method(Method::SendMessage) => "Sends a text; true when Twilio accepted it",
                Kind::Method(Method::PlaceCall) => "Calls and speaks the message",
                Kind::Method(Method::GetUser) => "Name, number and counters of one user",
                _ => "",
            },
            _ => "",
        }
    }

    fn tag_variant(&self, def: &TagDef, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match attribute {
            attribute::DATA_TYPE => {
                w.u8(17);
                w.id(data_type_id(def.value_type.data_type));
                Ok(())
            }
            attribute::VALUE_RANK => put(w, &Value::Int32(if def.value_type.rank == Rank::Scalar { -1 } else { 1 })),
            attribute::ARRAY_DIMENSIONS => match def.value_type.rank {
                Rank::Scalar => put(w, &Value::Null),
                Rank::Array(length) => put(w, &Value::Array(DataType::UInt32, [Value::UInt32(length)].into())),
            },
            attribute::ACCESS_LEVEL => put(w, &Value::Byte(1 | u8::from(def.writable) << 1)),
            attribute::USER_ACCESS_LEVEL => put(w, &Value::Byte(1 | u8::from(def.writable && self.role >= def.write_role) << 1)),
            attribute::MINIMUM_SAMPLING_INTERVAL => put(w, &Value::Double(0.0)),
            attribute::HISTORIZING => put(w, &Value::Boolean(false)),
            _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    fn own_variant(&self, own: &Own, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match (&own.kind, attribute) {
            (Kind::Folder | Kind::Alarm | Kind::Encoding | Kind::Metadata, attribute::EVENT_NOTIFIER) => put(w, &Value::Byte(0)),
            (Kind::Method(_), attribute::EXECUTABLE) => put(w, &Value::Boolean(true)),
            (Kind::Method(_), attribute::USER_EXECUTABLE) => put(w, &Value::Boolean(self.role >= Role::Operator)),
            (Kind::DataType, attribute::IS_ABSTRACT) => put(w, &Value::Boolean(false)),
            (Kind::DataType, attribute::DATA_TYPE_DEFINITION) => {
                w.u8(22);
                w.extension(STRUCTURE_DEFINITION, structure_definition);
                Ok(())
            }
            (Kind::Arguments(method, input), attribute::VALUE) => {
                arguments(if *input { method.inputs() } else { method.outputs() }, w);
                Ok(())
            }
            (Kind::Arguments(..), _) => property(w, attribute, Id::numeric(0, 296), 1),
            (Kind::MetadataProperty(which), attribute::VALUE) => self.metadata(*which, w),
            (Kind::MetadataProperty(which), _) => {
                let (data_type, rank) = [(12, -1), (12, -1), (13, -1), (1, -1), (256, 1), (291, 1), (12, -1)][*which];
                property(w, attribute, Id::numeric(0, data_type), rank)
            }
            _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    fn metadata(&self, which: usize, w: &mut Writer) -> Result<(), StatusCode> {
        match which {
            0 => put(w, &Value::string(NAMESPACE_URI)),
            1 => put(w, &Value::string(env!("CARGO_PKG_VERSION"))),
            2 => put(w, &Value::DateTime(self.server.started)),
            3 => put(w, &Value::Boolean(false)),
            4 => {
                w.array(6, 0);
                Ok(())
            }
            5 => {
                w.array(12, 0);
                Ok(())
            }
            _ => put(w, &Value::string("")),
        }
    }
}

impl Sampler for View {
    fn reading(&self, tag: TagId) -> Reading {
        self.server.gateway.table().read(tag)
    }

    fn version(&self, tag: TagId) -> u64 {
        self.server.gateway.table().version(tag)
    }

    fn block_version(&self, tag: TagId) -> u64 {
        self.server.gateway.table().block_version(tag)
    }

    fn attribute(&self, node: NodeRef, attribute: u32) -> Result<Vec<u8>, StatusCode> {
        let mut w = Writer::default();
        self.variant(node, attribute, &mut w)?;
        Ok(w.0)
    }

    fn find(&self, id: Id<'_>) -> Option<NodeRef> {
        self.space.find(id)
    }

    fn tag(&self, node: NodeRef) -> Option<Arc<TagDef>> {
        match node {
            NodeRef::Own(index) => self.space.tag(index).cloned(),
            NodeRef::Core(_) | NodeRef::Range(_) | NodeRef::Units(_) => None,
        }
    }

    fn generation(&self) -> usize {
        self.space.generation
    }

    fn wall(&self) -> Timestamp {
        clock::now()
    }
}

/// Writes a reading as a DataValue.
pub fn write_reading(reading: &Reading, range: Option<IndexRange>, timestamps: Timestamps, now: Timestamp, w: &mut Writer) {
    let cut = match range {
        Some(range) if !reading.status.is_bad() => match range.of(&reading.value) {
            Ok(value) => Some(value),
            Err(status) => return w.failed_value(status),
        },
        _ => None,
    };
    let value = cut.as_ref().unwrap_or(&reading.value);
    w.data_value(timestamps, reading.status, reading.source_time, now, |w| w.variant(value));
}

/// The DataType of a tag.
pub const fn data_type_id(data_type: DataType) -> Id<'static> {
    match data_type {
        DataType::UserStatistics => STATISTICS_TYPE,
        other => Id::numeric(0, built_in(other) as u32),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "so that it can stand at the end of a match arm")]
fn put(w: &mut Writer, value: &Value) -> Result<(), StatusCode> {
    w.variant(value);
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "so that it can stand at the end of a match arm")]
fn localized(w: &mut Writer, text: &str) -> Result<(), StatusCode> {
    w.u8(21);
    w.localized_text(text);
    Ok(())
}

/// Attributes that all read-only properties share.
fn property(w: &mut Writer, attribute: u32, data_type: Id<'_>, rank: i32) -> Result<(), StatusCode> {
    match attribute {
        attribute::DATA_TYPE => {
            w.u8(17);
            w.id(data_type);
            Ok(())
        }
        attribute::VALUE_RANK => put(w, &Value::Int32(rank)),
        attribute::ARRAY_DIMENSIONS if rank == 1 => put(w, &Value::Array(DataType::UInt32, [Value::UInt32(0)].into())),
        attribute::ARRAY_DIMENSIONS => put(w, &Value::Null),
        attribute::ACCESS_LEVEL | attribute::USER_ACCESS_LEVEL => put(w, &Value::Byte(1)),
        attribute::MINIMUM_SAMPLING_INTERVAL => put(w, &Value::Double(0.0)),
        attribute::HISTORIZING => put(w, &Value::Boolean(false)),
        _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
    }
}

fn range_value(def: &TagDef, w: &mut Writer) -> Result<(), StatusCode> {
    let (low, high) = def.range.ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
    w.u8(22);
    w.extension(RANGE, |w| {
        w.f64(low);
        w.f64(high);
    });
    Ok(())
}

fn unit_value(def: &TagDef, w: &mut Writer) -> Result<(), StatusCode> {
    let unit = units::find(def.unit.as_deref().ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?);
    w.u8(22);
    w.extension(EU_INFORMATION, |w| {
        w.text(units::NAMESPACE);
        w.i32(unit.id);
        w.localized_text(&unit.symbol);
        w.localized_text("");
    });
    Ok(())
}

fn structure_definition(w: &mut Writer) {
    w.id(STATISTICS_ENCODING);
    w.standard(22);
    w.i32(0);
    w.count(COLUMNS.len());
    for (field, data_type) in COLUMNS {
        w.text(field);
        w.localized_text("");
        w.standard(if data_type == DataType::String { 12 } else { 6 });
        w.i32(-1);
        w.null();
        w.u32(0);
        w.boolean(false);
    }
}

fn arguments(arguments: &[super::space::Argument], w: &mut Writer) {
    w.array(22, arguments.len());
    for (name, data_type, description) in arguments {
        w.extension(ARGUMENT, |w| {
            w.text(name);
            w.id(*data_type);
            w.i32(-1);
            w.null();
            w.localized_text(description);
        });
    }
}

/// Cuts an encoded Variant down to an index range.
fn cut_encoded(encoded: &mut Writer, range: IndexRange) -> Result<(), StatusCode> {
    let value = match Reader::new(&encoded.0).variant() {
        Ok(Incoming::Value(value)) => range.of(&value)?,
        _ => return Err(status::BAD_INDEX_RANGE_NO_DATA),
    };
    encoded.0.clear();
    encoded.variant(&value);
    Ok(())
}

/// Now, for server timestamps.
pub fn now() -> Timestamp {
    clock::now()
}

#[cfg(test)]
mod tests {
    use super::*;

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
