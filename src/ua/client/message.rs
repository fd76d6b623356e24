//! Headers of requests and responses (Part 4, 7.33 and 7.34), and which answer belongs to which request.

use std::time::Duration;

use bytes::Bytes;
use opcua::types::NodeId;

use super::{Error, data, limits};
use crate::{
    clock,
    tag::StatusCode,
    ua::wire::{Malformed, Read, Reader, Writer},
};

/// The encoding of a ServiceFault.
const SERVICE_FAULT: u32 = 397;

/// A service: the encodings of its request and response, and its name for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The request's encoding.
    pub request: u32,
    /// The response's encoding.
    pub response: u32,
    /// Its name in the standard.
    pub name: &'static str,
}

macro_rules! services {
    ($($constant:ident $name:literal $request:literal $response:literal)*) => {
        $(#[doc = concat!("`", $name, "`.")]
        pub const $constant: Service = Service { request: $request, response: $response, name: $name };)*
    };
}

services! {
    GET_ENDPOINTS "GetEndpoints" 428 431
    OPEN_SECURE_CHANNEL "OpenSecureChannel" 446 449
    CLOSE_SECURE_CHANNEL "CloseSecureChannel" 452 455
    CREATE_SESSION "CreateSession" 461 464
    ACTIVATE_SESSION "ActivateSession" 467 470
    CLOSE_SESSION "CloseSession" 473 476
    BROWSE "Browse" 527 530
    BROWSE_NEXT "BrowseNext" 533 536
    TRANSLATE "TranslateBrowsePathsToNodeIds" 554 557
    READ "Read" 631 634
    WRITE "Write" 673 676
    CREATE_MONITORED_ITEMS "CreateMonitoredItems" 751 754
    CREATE_SUBSCRIPTION "CreateSubscription" 787 790
    PUBLISH "Publish" 826 829
    REPUBLISH "Republish" 832 835
}

/// A request up to and with its header; the service's own part follows. `timeout` is only a hint to the server.
#[must_use]
pub fn request(service: Service, token: &NodeId, handle: u32, timeout: Duration) -> Writer {
    let mut w = Writer::default();
    w.standard(service.request);
    data::write_node(&mut w, token);
    w.time(clock::now());
    w.u32(handle);
    // No diagnostics, no audit entry.
    w.u32(0);
    w.null();
    w.u32(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    w.0.extend_from_slice(&[0, 0, 0]);
    w
}

/// A response without what stands before the service's own part.
#[derive(Clone, Debug)]
pub struct Response {
    message: Bytes,
    at: usize,
}

impl Response {
    /// The service's own part.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.message[self.at..])
    }
}

/// Reads the header of the answer to a request of `service` with `handle`. The inner result is what the server says of the
/// request.
///
/// # Errors
/// When it is malformed, of another type or carries another handle.
pub fn response(message: Bytes, service: Service, handle: u32) -> Result<Result<Response, Error>, Error> {
    let mut reader = Reader::new(&message);
    let (type_id, got, result) = head(&mut reader)?;
    let at = message.len() - reader.rest().len();
    if type_id != Some(service.response) && type_id != Some(SERVICE_FAULT) {
        return Err(Error::broken(format!("the answer to {} is of another type", service.name)));
    }
    if got != handle {
        return Err(Error::broken(format!("the answer to {} carries another request's handle", service.name)));
    }
    if result.is_bad() {
        return Ok(Err(Error::Refused(result)));
    }
    if type_id == Some(SERVICE_FAULT) {
        return Err(Error::broken(format!("a fault without a bad code answers {}", service.name)));
    }
    Ok(Ok(Response { message, at }))
}

fn head(reader: &mut Reader<'_>) -> Read<(Option<u32>, u32, StatusCode)> {
    let type_id = reader.id()?.standard();
    reader.time()?;
    let (handle, result) = (reader.u32()?, StatusCode(reader.u32()?));
    skip_diagnostics(reader)?;
    for _ in 0..reader.count(4)? {
        reader.bytes()?;
    }
    // The additional header stays bytes.
    reader.extension()?;
    Ok((type_id, handle, result))
}

/// Passes over one DiagnosticInfo (Part 6, 5.2.2.12). What it holds inside stands at its end, so that no recursion is needed.
///
/// # Errors
/// When it is malformed or nested deeper than [`limits::DIAGNOSTICS`].
pub fn skip_diagnostics(reader: &mut Reader<'_>) -> Read<()> {
    for _ in 0..limits::DIAGNOSTICS {
        let mask = reader.u8()?;
        if mask & 0x80 != 0 {
            return Err(Malformed);
        }
        // Symbolic id, namespace, locale, localized text: places in the header's string table.
        for bit in [0x01, 0x02, 0x08, 0x04] {
            if mask & bit != 0 {
                reader.i32()?;
            }
        }
        if mask & 0x10 != 0 {
            reader.bytes()?;
        }
        if mask & 0x20 != 0 {
            reader.u32()?;
        }
        if mask & 0x40 == 0 {
            return Ok(());
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_are_skipped_as_deep_as_is_reasonable() {
        let nested =
            |levels: usize| [&[0x40].repeat(levels)[..], &[0x3F, 1, 0, 0, 0, 2, 0, 0, 0], &[3, 0, 0, 0, 4, 0, 0, 0]].concat();
        let rest = [&[2, 0, 0, 0, b'h', b'i'][..], &[0, 0, 0, 0x80], &[7]].concat();
        let skip = |levels: usize| {
            let bytes = [nested(levels), rest.clone()].concat();
            let mut reader = Reader::new(&bytes);
            skip_diagnostics(&mut reader).map(|()| reader.rest().to_vec())
        };
        assert_eq!(skip(0), Ok(vec![7]));
        assert_eq!(skip(limits::DIAGNOSTICS - 1), Ok(vec![7]));
        assert_eq!(skip(limits::DIAGNOSTICS), Err(Malformed));
        assert_eq!(skip(1_000_000), Err(Malformed));
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        let answer = |type_id: u32, handle: u32, result: u32| {
            let mut w = Writer::default();
            w.standard(type_id);
            w.u64(0);
            w.u32(handle);
            w.u32(result);
            w.0.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 42]);
            response(w.0.into(), READ, 5).map(|inner| inner.map(|response| response.reader().rest().to_vec()))
        };
        assert_eq!(answer(634, 5, 0), Ok(Ok(vec![42])));
        assert_eq!(answer(397, 5, 0x800A_0000), Ok(Err(Error::Refused(StatusCode::BAD_TIMEOUT))));
        assert_eq!(answer(634, 5, 0x800A_0000), Ok(Err(Error::Refused(StatusCode::BAD_TIMEOUT))));
        for (type_id, handle, result) in [(634, 6, 0), (676, 5, 0), (397, 5, 0), (631, 5, 0)] {
            assert!(matches!(answer(type_id, handle, result), Err(Error::Broken(_))), "{type_id} {handle} {result}");
        }
    }
}
