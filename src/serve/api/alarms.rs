//! Alarms: list, acknowledge, shelve, out of service.

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    auth::{Engineer, Operator, Viewer},
    pages::{self, MAX_PAGE},
    problem::{self, Body, Done, Params, Problem, answer},
};
use crate::{
    engine::{
        io::{Actor, Command},
        plan::Priority,
        view::AlarmView,
    },
    tag::Timestamp,
};

/// The longest note, bytes.
const MAX_NOTE: usize = 2000;
/// Alarms that are acknowledged by one request.
const MAX_AT_ONCE: usize = 1000;

/// Which alarms, in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// In one of these states; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    state: Vec<StateWord>,
    /// Paths that begin so.
    #[serde(default)]
    prefix: String,
    /// Paths that fit, with `*` for any characters and `?` for one.
    path: Option<String>,
    /// This priority and above.
    #[param(inline)]
    priority: Option<Priority>,
    /// Path, message, value or code contain this, whatever the case.
    text: Option<String>,
    /// Acknowledged last by this user.
    user: Option<String>,
    /// The present or last event began then or later …
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// … and before then.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Alarms of one page, 10,000 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters and order.
    cursor: Option<String>,
}

/// An alarm's state (SPEC 6.2). `active` and `unacked` leave out what is silenced.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[allow(missing_docs)]
pub enum StateWord {
    ClearAcked,
    ClearUnacked,
    ActiveUnacked,
    ActiveAcked,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "unacked")]
    Unacked,
    #[serde(rename = "shelved")]
    Shelved,
    #[serde(rename = "suppressed")]
    Suppressed,
    #[serde(rename = "out_of_service")]
    OutOfService,
}

/// The order of the list: by path; or unacknowledged before acknowledged before normal before silenced, then by priority, then the
/// newest first.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Sort {
    #[default]
    Path,
    Urgency,
}

/// One page of alarms.
#[derive(Serialize, ToSchema)]
pub struct AlarmList {
    alarms: Vec<Arc<AlarmView>>,
    /// Of all pages together.
    total: usize,
    /// Give it as `cursor` for the next page; none at the end.
    next: Option<String>,
}

/// What is acknowledged: an alarm up to its newest event, or just one event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    /// Path of the alarm.
    alarm: Option<Arc<str>>,
    /// UUID of the alarm event.
    event: Option<Uuid>,
    /// For the journal, at most 2,000 bytes.
    #[serde(default)]
    note: String,
}

/// What is acknowledged together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckManyBody {
    /// 1 to 1,000.
    #[schema(min_items = 1, max_items = 1000)]
    #[serde(deserialize_with = "problem::objects")]
    alarms: Vec<AckItem>,
    /// For the journal, at most 2,000 bytes.
    #[serde(default)]
    note: String,
}

/// One of them: an alarm, an event, or an event of an alarm.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckItem {
    /// Path of the alarm.
    alarm: Option<Arc<str>>,
    /// UUID of the alarm event.
    event: Option<Uuid>,
}

/// What became of each, in the order of the request.
#[derive(Serialize, ToSchema)]
pub struct AckResults {
    results: Vec<AckResult>,
    /// How many were acknowledged.
    acknowledged: usize,
}

/// What became of one.
#[derive(Serialize, ToSchema)]
pub struct AckResult {
    alarm: Option<Arc<str>>,
    event: Option<Uuid>,
    ok: bool,
    /// The OPC UA name.
    status: String,
    /// For people; who was first, when somebody was.
    message: String,
}

/// A silence with an end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShelveBody {
    /// Path of the alarm.
    alarm: Arc<str>,
    /// How long; zero unshelves. Either this or `one_shot`.
    #[schema(minimum = 0)]
    minutes: Option<f64>,
    /// Until it clears, and at most for the priority's maximum.
    #[serde(default)]
    one_shot: bool,
    /// For the journal, at most 2,000 bytes.
    #[serde(default)]
    note: String,
}

/// The end of a silence.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnshelveBody {
    /// Path of the alarm.
    alarm: Arc<str>,
    /// For the journal, at most 2,000 bytes.
    #[serde(default)]
    note: String,
}

/// Out of service, or back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutOfServiceBody {
    /// Path of the alarm.
    alarm: Arc<str>,
    /// Out, or back into service.
    out: bool,
    /// For the journal, at most 2,000 bytes.
    #[serde(default)]
    note: String,
}

/// Alarms, filtered, a page at a time
#[utoipa::path(get, path = "/alarms", tag = "alarms", operation_id = "list_alarms", params(ListQuery),
    responses((status = 200, description = "One page", body = AlarmList)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn list(State(api): State<Api>, _: Viewer, Params(query): Params<ListQuery>) -> Result<Json<AlarmList>, Problem> {
    let limit = pages::limit(query.limit, MAX_PAGE)?;
    let text = pages::needle(query.text.as_deref())?;
    let mut alarms = api.live.alarms().await?;
    alarms.retain(|alarm| {
        alarm.path.starts_with(&query.prefix)
            && query.path.as_ref().is_none_or(|pattern| pages::fits(pattern, &alarm.path))
            && query.priority.is_none_or(|least| alarm.priority >= least)
            && query.user.as_ref().is_none_or(|user| alarm.ack_user == *user)
            && query.from.is_none_or(|from| alarm.active_time >= from)
            && query.to.is_none_or(|to| alarm.active_time < to)
            && (query.state.is_empty() || query.state.iter().any(|state| in_state(alarm, *state)))
            && pages::contains(
                text.as_deref(),
                &[&alarm.path, &alarm.message, &alarm.value, alarm.code.as_deref().unwrap_or_default()],
            )
    });
    let total = alarms.len();
    let cursor = query.cursor.as_deref();
    let (alarms, next) = match query.sort {
        Sort::Path => pages::page(alarms, |alarm| Arc::clone(&alarm.path), cursor, limit)?,
        Sort::Urgency => pages::page(alarms, |alarm| urgency(alarm), cursor, limit)?,
    };
    Ok(Json(AlarmList { alarms, total, next }))
}

/// Acknowledge an alarm, or just one event of it
#[utoipa::path(post, path = "/alarms/ack", tag = "alarms", operation_id = "acknowledge", request_body = AckBody,
    responses(
        (status = 200, description = "It is acknowledged", body = Done),
        (status = 404, description = "There is no such alarm or event", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is nothing to acknowledge, or somebody was first", body = Problem,
            content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn acknowledge(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<AckBody>,
) -> Result<Json<Done>, Problem> {
    let command = acknowledgement(body.alarm, body.event, checked(body.note)?)?;
    answer(api.gateway.command(by, command).await)
}

/// Acknowledge many alarms or events with one note
///
/// Each for itself: the answer says what became of which.
#[utoipa::path(post, path = "/alarms/ack-many", tag = "alarms", operation_id = "acknowledge_many", request_body = AckManyBody,
    responses((status = 200, description = "What became of each", body = AckResults)),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn acknowledge_many(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<AckManyBody>,
) -> Result<Json<AckResults>, Problem> {
    if !(1..=MAX_AT_ONCE).contains(&body.alarms.len()) {
        return Err(Problem::unprocessable(format!("`alarms` names 1 to {MAX_AT_ONCE}")));
    }
    let note = checked(body.note)?;
    let command = |item: &AckItem| acknowledgement(item.alarm.clone(), item.event, note.clone());
    let commands = body.alarms.iter().map(command).collect::<Result<Vec<_>, _>>()?;
    // All at once, so that they share a commit.
    let asked = commands.into_iter().map(|command| api.gateway.command(Actor::clone(&by), command));
    let outcomes = futures_util::future::join_all(asked).await;
    let result = |(item, outcome): (AckItem, crate::engine::io::Outcome)| AckResult {
        alarm: item.alarm,
        event: item.event,
        ok: !outcome.status.is_bad(),
        status: outcome.status.to_string(),
        message: outcome.message,
    };
    let results: Vec<_> = body.alarms.into_iter().zip(outcomes).map(result).collect();
    Ok(Json(AckResults { acknowledged: results.iter().filter(|result| result.ok).count(), results }))
}

/// Silence an alarm for a time
#[utoipa::path(post, path = "/alarms/shelve", tag = "alarms", operation_id = "shelve", request_body = ShelveBody,
    responses(
        (status = 200, description = "It is shelved", body = Done),
        (status = 404, description = "There is no such alarm", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be shelved now", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn shelve(State(api): State<Api>, Operator(by): Operator, Body(body): Body<ShelveBody>) -> Result<Json<Done>, Problem> {
    let (alarm, note) = (body.alarm, checked(body.note)?);
    let command = match (body.minutes, body.one_shot) {
        (Some(minutes), false) => Command::Shelve { alarm, minutes, note },
        (None, true) => Command::ShelveOneShot { alarm, note },
        _ => return Err(Problem::unprocessable("give either `minutes` or `one_shot: true`")),
    };
    answer(api.gateway.command(by, command).await)
}

/// End an alarm's silence
#[utoipa::path(post, path = "/alarms/unshelve", tag = "alarms", operation_id = "unshelve", request_body = UnshelveBody,
    responses(
        (status = 200, description = "It is not shelved any more", body = Done),
        (status = 404, description = "There is no such alarm", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not shelved", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn unshelve(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<UnshelveBody>,
) -> Result<Json<Done>, Problem> {
    let command = Command::Shelve { alarm: body.alarm, minutes: 0.0, note: checked(body.note)? };
    answer(api.gateway.command(by, command).await)
}

/// Take an alarm out of service, or put it back
#[utoipa::path(post, path = "/alarms/out-of-service", tag = "alarms", operation_id = "out_of_service",
    request_body = OutOfServiceBody,
    responses(
        (status = 200, description = "It is so", body = Done),
        (status = 404, description = "There is no such alarm", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is so already", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("engineer"))))]
pub async fn out_of_service(
    State(api): State<Api>,
    Engineer(by): Engineer,
    Body(body): Body<OutOfServiceBody>,
) -> Result<Json<Done>, Problem> {
    let command = Command::OutOfService { alarm: body.alarm, out: body.out, note: checked(body.note)? };
    answer(api.gateway.command(by, command).await)
}

fn acknowledgement(alarm: Option<Arc<str>>, event: Option<Uuid>, note: String) -> Result<Command, Problem> {
    match (alarm, event) {
        (alarm, Some(event)) => Ok(Command::AcknowledgeEvent { alarm, event, note }),
        (Some(alarm), None) => Ok(Command::Acknowledge { alarm, note }),
        (None, None) => Err(Problem::unprocessable("name an `alarm` or an `event`")),
    }
}

fn checked(note: String) -> Result<String, Problem> {
    if note.len() > MAX_NOTE {
        return Err(Problem::unprocessable(format!("a note has at most {MAX_NOTE} bytes")));
    }
    Ok(note)
}

const fn is_silenced(alarm: &AlarmView) -> bool {
    alarm.shelved_until.is_some() || alarm.suppressed || alarm.out_of_service
}

fn in_state(alarm: &AlarmView, state: StateWord) -> bool {
    match state {
        StateWord::ClearAcked => alarm.state == "ClearAcked",
        StateWord::ClearUnacked => alarm.state == "ClearUnacked",
        StateWord::ActiveUnacked => alarm.state == "ActiveUnacked",
        StateWord::ActiveAcked => alarm.state == "ActiveAcked",
        StateWord::Active => !is_silenced(alarm) && alarm.state.starts_with("Active"),
        StateWord::Unacked => !is_silenced(alarm) && alarm.state.ends_with("Unacked"),
        StateWord::Shelved => alarm.shelved_until.is_some(),
        StateWord::Suppressed => alarm.suppressed,
        StateWord::OutOfService => alarm.out_of_service,
    }
}

/// See [`Sort`].
fn urgency(alarm: &AlarmView) -> (u8, Reverse<u8>, Reverse<i64>, Arc<str>) {
    let rank = match alarm.state {
        _ if is_silenced(alarm) => 4,
        "ActiveUnacked" => 0,
        "ClearUnacked" => 1,
        "ActiveAcked" => 2,
        _ => 3,
    };
    (rank, Reverse(alarm.priority as u8), Reverse(alarm.active_time.ticks()), Arc::clone(&alarm.path))
}
