//! What attributes hold, encoded.

use super::{
    super::{
        events::Field,
        ns0::attribute,
        space::{Argument, STATISTICS_ENCODING, STATISTICS_TYPE},
        units,
        wire::{Id, Timestamps, Writer, built_in},
    },
    IndexRange, status,
};
use crate::{
    engine::{COLUMNS, plan::TagDef},
    tag::{DataType, Reading, StatusCode, Timestamp, Value},
};

const ARGUMENT: Id<'static> = Id::numeric(0, 298);
const EU_INFORMATION: Id<'static> = Id::numeric(0, 889);
const RANGE: Id<'static> = Id::numeric(0, 886);

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
pub fn put(w: &mut Writer, value: &Value) -> Result<(), StatusCode> {
    w.variant(value);
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "so that it can stand at the end of a match arm")]
pub fn localized(w: &mut Writer, text: &str) -> Result<(), StatusCode> {
    w.u8(21);
    w.localized_text(text);
    Ok(())
}

/// Attributes that all read-only properties share.
pub fn property(w: &mut Writer, attribute: u32, data_type: Id<'_>, rank: i32) -> Result<(), StatusCode> {
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
        attribute::ACCESS_LEVEL_EX => put(w, &Value::UInt32(1)),
        attribute::MINIMUM_SAMPLING_INTERVAL => put(w, &Value::Double(0.0)),
        attribute::HISTORIZING => put(w, &Value::Boolean(false)),
        _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
    }
}

pub fn range_value(def: &TagDef, w: &mut Writer) -> Result<(), StatusCode> {
    let (low, high) = def.range.ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
    w.u8(22);
    w.extension(RANGE, |w| {
        w.f64(low);
        w.f64(high);
    });
    Ok(())
}

pub fn unit_value(def: &TagDef, w: &mut Writer) -> Result<(), StatusCode> {
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

pub fn structure_definition(w: &mut Writer) {
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

pub fn arguments(arguments: &[Argument], w: &mut Writer) {
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

/// The value of a member of a condition, as a Variant.
///
/// # Errors
/// The status of a member that cannot be told now.
pub fn field(field: &Field, w: &mut Writer) -> Result<(), StatusCode> {
    match field {
        Field::Bad(status) => Err(*status),
        told => {
            told.write(w);
            Ok(())
        }
    }
}
