//! The request that writes a value.

use std::borrow::Cow;

use tokio_modbus::Request;

use super::address::{Point, Table};
use crate::{
    engine::plan::TagTraits,
    tag::{StatusCode, Value},
};

/// What is to be sent for a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Write {
    /// This request.
    Request(Request<'static>),
    /// One bit of a register.
    Bit {
        /// The register.
        address: u16,
        /// Its bit as a mask.
        mask: u16,
        /// Set or clear.
        value: bool,
    },
}

/// The request that gives `value`, in engineering units, to the tag. The narrowest function that fits: 5 and 6 for one coil
/// or register, 15 and 16 for more, so that a value of several registers is written whole.
///
/// # Errors
/// `BadNotWritable` in a read-only table, `BadTypeMismatch` and `BadOutOfRange` when the format cannot hold the value.
pub fn write(def: &TagTraits, point: &Point, value: &Value) -> Result<Write, StatusCode> {
    if !point.table.is_writable() {
        return Err(StatusCode::BAD_NOT_WRITABLE);
    }
    if !def.value_type.admits(value) {
        return Err(StatusCode::BAD_TYPE_MISMATCH);
    }
    let elements = match value {
        Value::Array(_, elements) => elements,
        single => std::slice::from_ref(single),
    };
    let address = point.address;
    if let Some(bit) = point.bit {
        let value = value.as_bool().ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
        return Ok(Write::Bit { address, mask: 1 << bit, value });
    }
    Ok(Write::Request(if point.table == Table::Coil {
        let bits: Option<Vec<bool>> = elements.iter().map(Value::as_bool).collect();
        match bits.ok_or(StatusCode::BAD_TYPE_MISMATCH)?.as_slice() {
            [bit] => Request::WriteSingleCoil(address, *bit),
            bits => Request::WriteMultipleCoils(address, Cow::Owned(bits.to_vec())),
        }
    } else {
        let mut words = Vec::with_capacity(usize::from(point.span()));
        for element in elements {
            point.format.encode(element, def.scale.as_ref(), &mut words)?;
        }
        match words.as_slice() {
            [word] => Request::WriteSingleRegister(address, *word),
            _ => Request::WriteMultipleRegisters(address, Cow::Owned(words)),
        }
    }))
}

/// `register` with the bits of `mask` set or cleared.
#[must_use]
pub const fn with_bit(register: u16, mask: u16, value: bool) -> u16 {
    if value { register | mask } else { register & !mask }
}
