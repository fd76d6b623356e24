//! RegisterNodes and UnregisterNodes (Part 4, 5.9.5): ids here are fast as they are, so each node is registered as itself, and nothing
//! is remembered that a client could fail to give back.

use super::{
    attributes::View,
    decode::{RequestHeader, Service},
    frame::status as transport,
    send,
    wire::{Id, Read, Reader},
};
use crate::tag::StatusCode;

/// RegisterNodes: gives back the ids that were asked for, also of nodes that do not exist (Part 4, 5.9.5.1).
///
/// # Errors
/// The service's StatusCode.
pub fn register(view: &View, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Vec<u8>, StatusCode> {
    let ids = ids(view, body)?;
    let mut w = send::response(Service::RegisterNodes.response(), header.handle, StatusCode::GOOD);
    w.count(ids.len());
    for id in ids {
        w.id(id);
    }
    Ok(w.0)
}

/// UnregisterNodes.
///
/// # Errors
/// The service's StatusCode.
pub fn unregister(view: &View, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Vec<u8>, StatusCode> {
    ids(view, body)?;
    Ok(send::response(Service::UnregisterNodes.response(), header.handle, StatusCode::GOOD).0)
}

fn ids<'a>(view: &View, body: &mut Reader<'a>) -> Result<Vec<Id<'a>>, StatusCode> {
    let count = body.count(2).map_err(|_| transport::BAD_DECODING_ERROR)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > view.server.settings.limits.nodes_per_register {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let ids = (0..count).map(|_| body.id()).collect::<Read<Vec<_>>>();
    ids.map_err(|_| transport::BAD_DECODING_ERROR)
}
