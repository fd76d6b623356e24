//! Browse, BrowseNext, TranslateBrowsePathsToNodeIds (Part 4, 5.9).

use std::sync::Arc;

use super::{
    attributes::View,
    decode::{RequestHeader, Service},
    frame::status as transport,
    ns0::{Core, attribute},
    send,
    session::Session,
    space::{NodeRef, Space},
    wire::{Id, Read, Reader, Writer},
};
use crate::tag::StatusCode;

const BAD_BROWSE_DIRECTION_INVALID: StatusCode = StatusCode(0x804D_0000);
const BAD_REFERENCE_TYPE_ID_INVALID: StatusCode = StatusCode(0x804C_0000);
const BAD_NO_CONTINUATION_POINTS: StatusCode = StatusCode(0x804B_0000);
const BAD_CONTINUATION_POINT_INVALID: StatusCode = StatusCode(0x804A_0000);
const BAD_VIEW_ID_UNKNOWN: StatusCode = StatusCode(0x806B_0000);
const BAD_NO_MATCH: StatusCode = StatusCode(0x806F_0000);
const BAD_BROWSE_NAME_INVALID: StatusCode = StatusCode(0x8060_0000);
const BAD_QUERY_TOO_COMPLEX: StatusCode = StatusCode(0x806E_0000);

/// What of a node is browsed.
#[derive(Clone, Copy, Debug)]
struct Question {
    node: NodeRef,
    /// Forward, inverse, both.
    direction: u32,
    /// Zero for all.
    kind: u32,
    subtypes: bool,
    classes: u32,
    fields: u32,
}

/// What Browse has not told yet: the question, over the address space that it was asked of.
pub struct Continuation {
    space: Arc<Space>,
    question: Question,
    from: usize,
    most: usize,
}

/// Browse.
pub fn browse(view: &View, session: &Session, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Vec<u8>, StatusCode> {
    let limits = &view.server.settings.limits;
    let head = (|| {
        let viewed = body.id()?;
        body.time()?;
        body.u32()?;
        Ok((viewed.is_null(), body.u32()?, body.count(2 + 4 + 2 + 1 + 4 + 4)?))
    })();
    let (whole, most, count) = head.map_err(|_: super::wire::Malformed| transport::BAD_DECODING_ERROR)?;
    if !whole {
        return Err(BAD_VIEW_ID_UNKNOWN);
    }
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > limits.nodes_per_browse {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let most = if most == 0 { limits.references_per_node } else { limits.references_per_node.min(most as usize) };
    let mut points = Points { session, limit: limits.continuation_points, made: 0 };
    let mut w = send::response(Service::Browse.response(), header.handle, StatusCode::GOOD);
    w.count(count);
    for _ in 0..count {
        match read_question(view, body).map_err(|_| transport::BAD_DECODING_ERROR)? {
            Ok(question) => answer(&view.space, question, 0, most, &mut points, &mut w),
            Err(status) => failed(status, &mut w),
        }
        if w.0.len() > limits.response {
            return Err(transport::BAD_RESPONSE_TOO_LARGE);
        }
    }
    w.null();
    Ok(w.0)
}

fn read_question(view: &View, body: &mut Reader<'_>) -> Read<Result<Question, StatusCode>> {
    let (id, direction, kind) = (body.id()?, body.u32()?, body.id()?);
    let (subtypes, classes, fields) = (body.boolean()?, body.u32()?, body.u32()?);
    let Some(node) = view.space.find(id) else { return Ok(Err(StatusCode::BAD_NODE_ID_UNKNOWN)) };
    if direction > 2 {
        return Ok(Err(BAD_BROWSE_DIRECTION_INVALID));
    }
    let Some(kind) = reference_type(kind) else { return Ok(Err(BAD_REFERENCE_TYPE_ID_INVALID)) };
    Ok(Ok(Question { node, direction, kind, subtypes, classes, fields }))
}

/// The number of a reference type; zero for null, `None` for what is no reference type.
fn reference_type(id: Id<'_>) -> Option<u32> {
    if id.is_null() {
        return Some(0);
    }
    let number = id.standard()?;
    let core = Core::get();
    (core.class(core.find(number)?) == 32).then_some(number)
}

fn wanted(question: &Question, kind: u32, forward: bool) -> bool {
    let direction = match question.direction {
        0 => forward,
        1 => !forward,
        _ => true,
    };
    direction && (question.kind == 0 || kind == question.kind || (question.subtypes && Core::get().is_a(kind, question.kind)))
}

/// Writes a BrowseResult: at most `most` references from number `from` on.
fn answer(space: &Arc<Space>, question: Question, from: usize, most: usize, points: &mut Points<'_>, w: &mut Writer) {
    let (mut found, mut seen) = (Writer::default(), 0);
    space.references(question.node, &mut |kind, forward, target| {
        let class = question.classes == 0 || question.classes & space.class(target) != 0;
        if !class || !wanted(&question, kind, forward) {
            return;
        }
        if seen >= from && seen < from + most {
            describe(space, question.fields, kind, forward, target, &mut found);
        }
        seen += 1;
    });
    let told = seen.saturating_sub(from).min(most);
    let point = if from + told < seen {
        let rest = Continuation { space: Arc::clone(space), question, from: from + told, most };
        match points.make(rest) {
            Some(number) => Some(number),
            None => return failed(BAD_NO_CONTINUATION_POINTS, w),
        }
    } else {
        None
    };
    w.status(StatusCode::GOOD);
    match point {
        Some(number) => w.bytes(&number.to_le_bytes()),
        None => w.null(),
    }
    w.count(told);
    w.0.append(&mut found.0);
}

fn failed(status: StatusCode, w: &mut Writer) {
    w.status(status);
    w.null();
    w.null();
}

/// Writes a ReferenceDescription with the wanted fields.
fn describe(space: &Space, fields: u32, kind: u32, forward: bool, target: NodeRef, w: &mut Writer) {
    w.standard(if fields & 1 != 0 { kind } else { 0 });
    w.boolean(fields & 2 != 0 && forward);
    space.with_id(target, |id| w.id(id));
    let (namespace, name) = space.browse_name(target);
    if fields & 8 != 0 {
        w.qualified_name(namespace, &name);
    } else {
        w.qualified_name(0, "");
    }
    if fields & 16 == 0 {
        w.u8(0);
    } else {
        display_name(target, &name, w);
    }
    w.u32(if fields & 4 != 0 { space.class(target) } else { 0 });
    w.standard(if fields & 32 != 0 { space.type_definition(target) } else { 0 });
}

fn display_name(target: NodeRef, browse_name: &str, w: &mut Writer) {
    let encoded = match target {
        NodeRef::Core(index) => Core::get().attribute(index, attribute::DISPLAY_NAME),
        _ => None,
    };
    match encoded {
        Some([21, text @ ..]) => w.0.extend_from_slice(text),
        _ => w.localized_text(browse_name),
    }
}

/// The continuation points of a session while one request makes some.
struct Points<'a> {
    session: &'a Session,
    limit: usize,
    made: usize,
}

impl Points<'_> {
    /// Keeps `rest`; those of earlier requests give way, those of this one do not.
    fn make(&mut self, rest: Continuation) -> Option<u32> {
        if self.made >= self.limit {
            return None;
        }
        self.made += 1;
        let mut state = self.session.state();
        while state.continuations.len() >= self.limit {
            state.continuations.pop_front();
        }
        state.last_continuation = state.last_continuation.wrapping_add(1);
        let number = state.last_continuation;
        state.continuations.push_back((number, rest));
        Some(number)
    }

    fn take(&self, point: &[u8]) -> Option<Continuation> {
        let number = u32::from_le_bytes(point.try_into().ok()?);
        let mut state = self.session.state();
        let place = state.continuations.iter().position(|(known, _)| *known == number)?;
        state.continuations.remove(place).map(|(_, rest)| rest)
    }
}

/// BrowseNext.
pub fn browse_next(
    view: &View,
    session: &Session,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
) -> Result<Vec<u8>, StatusCode> {
    let limits = &view.server.settings.limits;
    let head = (|| Ok((body.boolean()?, body.count(4)?)))();
    let (release, count) = head.map_err(|_: super::wire::Malformed| transport::BAD_DECODING_ERROR)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > limits.nodes_per_browse {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let mut points = Points { session, limit: limits.continuation_points, made: 0 };
    let mut w = send::response(Service::BrowseNext.response(), header.handle, StatusCode::GOOD);
    w.count(count);
    for _ in 0..count {
        let point = body.bytes().map_err(|_| transport::BAD_DECODING_ERROR)?.unwrap_or_default();
        match points.take(point) {
            Some(_) if release => {
                w.status(StatusCode::GOOD);
                w.null();
                w.null();
            }
            Some(rest) => answer(&rest.space, rest.question, rest.from, rest.most, &mut points, &mut w),
            None => failed(BAD_CONTINUATION_POINT_INVALID, &mut w),
        }
        if w.0.len() > limits.response {
            return Err(transport::BAD_RESPONSE_TOO_LARGE);
        }
    }
    w.null();
    Ok(w.0)
}

struct Step<'a> {
    kind: Result<u32, StatusCode>,
    inverse: bool,
    subtypes: bool,
    name: (u16, &'a str),
}

/// TranslateBrowsePathsToNodeIds.
pub fn translate(view: &View, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Vec<u8>, StatusCode> {
    let limits = &view.server.settings.limits;
    let malformed = |_| transport::BAD_DECODING_ERROR;
    let count = body.count(6).map_err(malformed)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > limits.paths_per_translate {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let mut w = send::response(Service::TranslateBrowsePaths.response(), header.handle, StatusCode::GOOD);
    w.count(count);
    for _ in 0..count {
        let (start, steps) = read_path(body).map_err(malformed)?;
        match follow(view, start, &steps) {
            Ok(targets) => {
                w.status(StatusCode::GOOD);
                w.count(targets.len());
                for target in targets {
                    view.space.with_id(target, |id| w.id(id));
                    w.u32(u32::MAX);
                }
            }
            Err(status) => {
                w.status(status);
                w.null();
            }
        }
    }
    w.null();
    Ok(w.0)
}

fn read_path<'a>(body: &mut Reader<'a>) -> Read<(Id<'a>, Vec<Step<'a>>)> {
    let start = body.id()?;
    let count = body.count(2 + 1 + 1 + 6)?;
    let mut steps = Vec::new();
    for _ in 0..count {
        let kind = reference_type(body.id()?).ok_or(BAD_REFERENCE_TYPE_ID_INVALID);
        steps.push(Step { kind, inverse: body.boolean()?, subtypes: body.boolean()?, name: body.qualified_name()? });
    }
    Ok((start, steps))
}

fn follow(view: &View, start: Id<'_>, steps: &[Step<'_>]) -> Result<Vec<NodeRef>, StatusCode> {
    let limits = &view.server.settings.limits;
    let mut places = vec![view.space.find(start).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?];
    if steps.is_empty() {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if steps.len() > limits.path_elements {
        return Err(BAD_QUERY_TOO_COMPLEX);
    }
    for step in steps {
        if step.name.1.is_empty() {
            return Err(BAD_BROWSE_NAME_INVALID);
        }
        let question = Question {
            node: places[0],
            direction: u32::from(step.inverse),
            kind: step.kind?,
            subtypes: step.subtypes,
            classes: 0,
            fields: 0,
        };
        let mut next: Vec<NodeRef> = Vec::new();
        for place in &places {
            view.space.references(*place, &mut |kind, forward, target| {
                let named = || {
                    let (namespace, name) = view.space.browse_name(target);
                    (namespace, &*name) == step.name
                };
                if next.len() < limits.path_targets && wanted(&question, kind, forward) && named() && !next.contains(&target) {
                    next.push(target);
                }
            });
        }
        if next.is_empty() {
            return Err(BAD_NO_MATCH);
        }
        places = next;
    }
    Ok(places)
}
