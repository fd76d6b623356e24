//! Read (Part 4, 5.11.2): nodes are read while the request is, straight into the response.

use super::{
    attributes::{IndexRange, View, now, status},
    decode::{RequestHeader, Service},
    frame,
    ns0::attribute,
    send,
    space::{NAMESPACE, NodeRef},
    wire::{Id, Malformed, Read, Reader, Timestamps, Writer},
};
use crate::tag::StatusCode;

/// Codes of Read.
const BAD_MAX_AGE_INVALID: StatusCode = StatusCode(0x8070_0000);
const BAD_TIMESTAMPS_TO_RETURN_INVALID: StatusCode = StatusCode(0x802B_0000);
/// The least bytes of a ReadValueId.
const LEAST: usize = 2 + 4 + 4 + 6;

/// Read.
///
/// Most requests ask for whole Values of tags by their paths: these are found and written without anything between. The
/// response is made in `buffer`.
pub fn read(view: &View, header: &RequestHeader<'_>, body: &mut Reader<'_>, buffer: Vec<u8>) -> Result<Vec<u8>, StatusCode> {
    let (timestamps, count) = head(body).map_err(|_| frame::status::BAD_DECODING_ERROR)??;
    let limits = &view.server.settings.limits;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > limits.nodes_per_read {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let now = now();
    let mut w = send::response_in(buffer, Service::Read.response(), header.handle, StatusCode::GOOD);
    w.0.reserve(count * 24);
    w.count(count);
    let table = view.server.gateway.table();
    for _ in 0..count {
        let scalar = plain_value(body).and_then(|(path, rest)| Some((table.scalar(view.space.find_tag(path)?.id)?, rest)));
        if let Some((scalar, rest)) = scalar {
            *body = rest;
            w.scalar_value(&scalar, timestamps, now);
            continue;
        }
        let target = Target::read(body).map_err(|_| frame::status::BAD_DECODING_ERROR)?;
        match target.resolve(view) {
            Ok((node, range)) => view.read(node, target.attribute, range, timestamps, now, &mut w),
            Err(status) => w.failed_value(status),
        }
        if w.0.len() > limits.response {
            return Err(frame::status::BAD_RESPONSE_TOO_LARGE);
        }
    }
    w.null();
    Ok(w.0)
}

fn head(body: &mut Reader<'_>) -> Read<Result<(Timestamps, usize), StatusCode>> {
    let max_age = body.f64()?;
    let timestamps = Timestamps::from_number(body.u32()?);
    let count = body.count(LEAST)?;
    if max_age < 0.0 || max_age.is_nan() {
        return Ok(Err(BAD_MAX_AGE_INVALID));
    }
    Ok(timestamps.map(|timestamps| (timestamps, count)).ok_or(BAD_TIMESTAMPS_TO_RETURN_INVALID))
}

/// The path of a ReadValueId that asks for a whole Value of ours in its default encoding, and what follows it.
fn plain_value<'a>(body: &Reader<'a>) -> Option<(&'a str, Reader<'a>)> {
    /// Attribute, no index range, no encoding.
    const REST: [u8; 14] = [13, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    const NAMESPACE_BYTES: [u8; 2] = NAMESPACE.to_le_bytes();
    let mut reader = *body;
    let [3, namespace @ ..] = reader.take(3).ok()? else { return None };
    if *namespace != NAMESPACE_BYTES {
        return None;
    }
    let path = reader.text().ok()?;
    (reader.take(REST.len()).ok()? == REST).then_some((path, reader))
}

/// A ReadValueId (Part 4, 7.29): what Read and monitored items look at.
pub struct Target<'a> {
    /// The node.
    pub id: Id<'a>,
    /// The attribute.
    pub attribute: u32,
    range: &'a str,
    encoding: (u16, &'a str),
}

impl<'a> Target<'a> {
    /// One whose parts were read elsewhere.
    pub const fn new(id: super::wire::Id<'a>, attribute: u32, range: &'a str, encoding: (u16, &'a str)) -> Self {
        Self { id, attribute, range, encoding }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(body: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { id: body.id()?, attribute: body.u32()?, range: body.text()?, encoding: body.qualified_name()? })
    }

    /// The node and part of it that are meant.
    ///
    /// # Errors
    /// The operation's StatusCode.
    pub fn resolve(&self, view: &View) -> Result<(NodeRef, Option<IndexRange>), StatusCode> {
        let node = view.space.find(self.id).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
        if self.attribute == 0 || self.attribute > attribute::LAST {
            return Err(status::BAD_ATTRIBUTE_ID_INVALID);
        }
        if !self.encoding.1.is_empty() {
            if self.attribute != attribute::VALUE || self.encoding.0 != 0 {
                return Err(status::BAD_DATA_ENCODING_INVALID);
            }
            match self.encoding.1 {
                "Default Binary" => {}
                "Default XML" | "Default JSON" => return Err(status::BAD_DATA_ENCODING_UNSUPPORTED),
                _ => return Err(status::BAD_DATA_ENCODING_INVALID),
            }
        }
        Ok((node, IndexRange::parse(self.range)?))
    }
}

/// An array of StatusCode and no diagnostics, which is how most answers end.
pub fn results(w: &mut Writer, results: &[StatusCode]) {
    w.count(results.len());
    for status in results {
        w.status(*status);
    }
    w.null();
}
