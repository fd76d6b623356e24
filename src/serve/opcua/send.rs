//! What goes out: response headers and faults.

use super::wire::Writer;
use crate::{clock, tag::StatusCode};

const SERVICE_FAULT: u32 = 397;

/// A response up to and with its header (Part 4, 7.34); the service's own part follows.
#[must_use]
pub fn response(type_id: u32, handle: u32, result: StatusCode) -> Writer {
    response_in(Vec::new(), type_id, handle, result)
}

/// The same in a buffer that was used before.
#[must_use]
pub fn response_in(mut buffer: Vec<u8>, type_id: u32, handle: u32, result: StatusCode) -> Writer {
    buffer.clear();
    let mut w = Writer(buffer);
    w.standard(type_id);
    w.time(clock::now());
    w.u32(handle);
    w.status(result);
    // No diagnostics, no string table, no additional header.
    w.u8(0);
    w.null();
    w.0.extend_from_slice(&[0, 0, 0]);
    w
}

/// A ServiceFault.
#[must_use]
pub fn fault(handle: u32, result: StatusCode) -> Vec<u8> {
    response(SERVICE_FAULT, handle, result).0
}
