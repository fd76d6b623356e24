//! HistoryRead (Part 4, 5.10.3; Part 11, 6.4): raw values of tags with `history = true`.
//!
//! Deliberately absent: modified values (nothing is ever changed), processed values, values at given times, events. Each of them is
//! answered `Bad_HistoryOperationUnsupported`.

mod walk;

use std::sync::Arc;

use walk::{Asked, BAD_HISTORY_OPERATION_INVALID, Walk};

use super::{
    attributes::{IndexRange, View},
    connection::Job,
    decode::{RequestHeader, Service},
    frame::status as transport,
    ns0::attribute,
    read::Target,
    send,
    session::Session,
    space::NodeRef,
    wire::{Extension, Id, Malformed, Read, Reader, Timestamps, Writer},
};
use crate::tag::{PastValue, StatusCode, Value};

const BAD_HISTORY_OPERATION_UNSUPPORTED: StatusCode = StatusCode(0x8072_0000);
const BAD_TIMESTAMPS_TO_RETURN_INVALID: StatusCode = StatusCode(0x802B_0000);
const BAD_CONTINUATION_POINT_INVALID: StatusCode = StatusCode(0x804A_0000);
const GOOD_NO_DATA: StatusCode = StatusCode(0x00A5_0000);
/// HistoryData, encoded.
const HISTORY_DATA: Id<'static> = Id::numeric(0, 658);
/// The least bytes of a HistoryReadValueId.
const LEAST: usize = 2 + 4 + 6 + 4;

/// A reading of one tag's past that goes on later.
#[derive(Clone, Debug)]
pub struct Continuation {
    tag: String,
    range: Option<IndexRange>,
    walk: Walk,
}

/// What is to be done for one node.
enum Operation {
    Go(Continuation),
    /// A continuation point was given back.
    Release,
}

/// HistoryRead.
///
/// # Errors
/// The service's StatusCode.
pub fn read(view: &View, session: &Arc<Session>, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Job, StatusCode> {
    let malformed = |_: Malformed| transport::BAD_DECODING_ERROR;
    let parts = (|| Ok((body.extension()?, body.u32()?, body.boolean()?, body.count(LEAST)?)))();
    let (details, timestamps, release, count) = parts.map_err(malformed)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    let limits = &view.server.settings.limits;
    if count > limits.nodes_per_history_read {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let timestamps = Timestamps::from_number(timestamps)
        .filter(|timestamps| *timestamps != Timestamps::Neither)
        .ok_or(BAD_TIMESTAMPS_TO_RETURN_INVALID)?;
    let page = limits.history_values.min(limits.history_values_in_all / u32::try_from(count).unwrap_or(u32::MAX)).max(1);
    let walk = read_details(&details)?.and_then(|asked| Walk::new(asked, page));
    let nodes = (0..count).map(|_| Node::read(body)).collect::<Read<Vec<_>>>().map_err(malformed)?;
    let operations: Vec<_> = nodes.iter().map(|node| node.operation(view, session, &walk, release)).collect();
    let (server, session, handle) = (Arc::clone(&view.server), Arc::clone(session), header.handle);
    Ok(Box::pin(async move {
        let mut w = send::response(Service::HistoryRead.response(), handle, StatusCode::GOOD);
        w.count(operations.len());
        let most = server.settings.limits.continuation_points;
        for operation in operations {
            match operation {
                Ok(Operation::Go(mut reading)) => {
                    match reading.walk.next(&reading.tag, |past| server.gateway.history(past)).await {
                        Ok((values, more)) => {
                            let range = reading.range;
                            let point = more.then(|| keep(&session, reading, most));
                            result(&values, range, point, timestamps, &mut w);
                        }
                        Err(status) => no_data(status, &mut w),
                    }
                }
                Ok(Operation::Release) => no_data(StatusCode::GOOD, &mut w),
                Err(status) => no_data(status, &mut w),
            }
        }
        w.null();
        w.0
    }))
}

/// The details of raw values; the inner error is that of every operation.
fn read_details(details: &Extension<'_>) -> Result<Result<Asked, StatusCode>, StatusCode> {
    match details.type_id.standard() {
        Some(647 | 649) => {}
        // Events, processed values, values at given times, annotations.
        Some(644 | 646 | 650 | 652 | 653 | 655 | 18_649 | 18_651 | 23_497 | 23_500 | 32_799 | 32_800) => {
            return Ok(Err(BAD_HISTORY_OPERATION_UNSUPPORTED));
        }
        _ => return Err(BAD_HISTORY_OPERATION_INVALID),
    }
    let mut body = Reader::new(details.body.ok_or(BAD_HISTORY_OPERATION_INVALID)?);
    let parts = (|| Ok((body.boolean()?, body.time()?, body.time()?, body.u32()?, body.boolean()?)))();
    let (is_modified, start, end, most, bounds) = parts.map_err(|_: Malformed| transport::BAD_DECODING_ERROR)?;
    Ok(if is_modified { Err(BAD_HISTORY_OPERATION_UNSUPPORTED) } else { Ok(Asked { start, end, most, bounds }) })
}

/// A HistoryReadValueId.
struct Node<'a> {
    target: Target<'a>,
    point: Option<&'a [u8]>,
}

impl<'a> Node<'a> {
    fn read(body: &mut Reader<'a>) -> Read<Self> {
        let (id, range, encoding) = (body.id()?, body.text()?, body.qualified_name()?);
        let target = Target::new(id, attribute::VALUE, range, encoding);
        Ok(Self { target, point: body.bytes()?.filter(|point| !point.is_empty()) })
    }

    fn operation(
        &self,
        view: &View,
        session: &Session,
        walk: &Result<Walk, StatusCode>,
        release: bool,
    ) -> Result<Operation, StatusCode> {
        if release {
            if let Some(point) = self.point {
                take(session, point).ok_or(BAD_CONTINUATION_POINT_INVALID)?;
            }
            return Ok(Operation::Release);
        }
        let (node, range) = self.target.resolve(view)?;
        let NodeRef::Own(index) = node else { return Err(BAD_HISTORY_OPERATION_UNSUPPORTED) };
        let def = view.space.tag(index).filter(|def| def.history).ok_or(BAD_HISTORY_OPERATION_UNSUPPORTED)?;
        if let Some(point) = self.point {
            let rest = take(session, point).filter(|rest| rest.tag == *def.path);
            return rest.map(Operation::Go).ok_or(BAD_CONTINUATION_POINT_INVALID);
        }
        Ok(Operation::Go(Continuation { tag: def.path.to_string(), range, walk: walk.clone()? }))
    }
}

/// Keeps what goes on later; the oldest of a session's gives way.
fn keep(session: &Session, rest: Continuation, most: usize) -> u32 {
    let mut state = session.state();
    while state.histories.len() >= most {
        state.histories.pop_front();
    }
    state.last_continuation = state.last_continuation.wrapping_add(1);
    let number = state.last_continuation;
    state.histories.push_back((number, rest));
    number
}

fn take(session: &Session, point: &[u8]) -> Option<Continuation> {
    let number = u32::from_le_bytes(point.try_into().ok()?);
    let mut state = session.state();
    let place = state.histories.iter().position(|(known, _)| *known == number)?;
    state.histories.remove(place).map(|(_, rest)| rest)
}

fn no_data(status: StatusCode, w: &mut Writer) {
    w.status(status);
    w.null();
    w.id(Id::numeric(0, 0));
    w.u8(0);
}

fn result(values: &[PastValue], range: Option<IndexRange>, point: Option<u32>, timestamps: Timestamps, w: &mut Writer) {
    w.status(if values.is_empty() { GOOD_NO_DATA } else { StatusCode::GOOD });
    match point {
        Some(number) => w.bytes(&number.to_le_bytes()),
        None => w.null(),
    }
    w.extension(HISTORY_DATA, |w| {
        w.count(values.len());
        for PastValue { at, value, status } in values {
            let (value, status) = match range.filter(|_| !status.is_bad()).map(|range| range.of(value)) {
                None => (value.clone(), *status),
                Some(Ok(part)) => (part, *status),
                Some(Err(failed)) => (Value::Null, failed),
            };
            w.data_value(timestamps, status, at.time, at.received, |w| w.variant(&value));
        }
    });
}
