//! Alarms: list, acknowledge, shelve, out of service.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Api,
    auth::{Engineer, Operator, Viewer},
    problem::{Body, Done, Params, Problem, answer},
};
use crate::engine::{io::Command, plan::Priority, view::AlarmView};

/// The longest note, bytes.
const MAX_NOTE: usize = 2000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// States, separated by commas: see [`in_state`].
    state: Option<String>,
    /// Paths that begin so.
    #[serde(default)]
    prefix: String,
    /// This priority and above.
    priority: Option<Priority>,
}

#[derive(Serialize)]
pub struct AlarmList {
    alarms: Vec<Arc<AlarmView>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    alarm: Option<Arc<str>>,
    event: Option<Uuid>,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShelveBody {
    alarm: Arc<str>,
    /// Zero unshelves.
    minutes: Option<f64>,
    #[serde(default)]
    one_shot: bool,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfServiceBody {
    alarm: Arc<str>,
    /// Out, or back into service.
    out: bool,
    #[serde(default)]
    note: String,
}

pub async fn list(State(api): State<Api>, _: Viewer, Params(query): Params<ListQuery>) -> Result<Json<AlarmList>, Problem> {
    let states: Vec<&str> =
        query.state.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    if let Some(unknown) = states.iter().find(|state| !STATES.contains(state)) {
        let detail = format!("there is no alarm state {unknown:?}: use {}", STATES.join(", "));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let mut alarms = api.live.alarms().await;
    alarms.retain(|alarm| {
        alarm.path.starts_with(&query.prefix)
            && query.priority.is_none_or(|least| alarm.priority >= least)
            && (states.is_empty() || states.iter().any(|state| in_state(alarm, state)))
    });
    Ok(Json(AlarmList { alarms }))
}

pub async fn acknowledge(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<AckBody>,
) -> Result<Json<Done>, Problem> {
    let note = checked(body.note)?;
    let command = match (body.alarm, body.event) {
        (alarm, Some(event)) => Command::AcknowledgeEvent { alarm, event, note },
        (Some(alarm), None) => Command::Acknowledge { alarm, note },
        (None, None) => return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "name an `alarm` or an `event`")),
    };
    answer(api.gateway.command(by, command).await)
}

pub async fn shelve(State(api): State<Api>, Operator(by): Operator, Body(body): Body<ShelveBody>) -> Result<Json<Done>, Problem> {
    let (alarm, note) = (body.alarm, checked(body.note)?);
    let command = match (body.minutes, body.one_shot) {
        (Some(minutes), false) => Command::Shelve { alarm, minutes, note },
        (None, true) => Command::ShelveOneShot { alarm, note },
        _ => return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "give either `minutes` or `one_shot: true`")),
    };
    answer(api.gateway.command(by, command).await)
}

pub async fn out_of_service(
    State(api): State<Api>,
    Engineer(by): Engineer,
    Body(body): Body<OutOfServiceBody>,
) -> Result<Json<Done>, Problem> {
    let command = Command::OutOfService { alarm: body.alarm, out: body.out, note: checked(body.note)? };
    answer(api.gateway.command(by, command).await)
}

fn checked(note: String) -> Result<String, Problem> {
    if note.len() > MAX_NOTE {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("a note has at most {MAX_NOTE} bytes")));
    }
    Ok(note)
}

const STATES: [&str; 9] = [
    "ClearAcked",
    "ClearUnacked",
    "ActiveUnacked",
    "ActiveAcked",
    "active",
    "unacked",
    "shelved",
    "suppressed",
    "out_of_service",
];

/// True when `alarm` is in one of [`STATES`]. `active` and `unacked` leave out what is silenced.
fn in_state(alarm: &AlarmView, state: &str) -> bool {
    let silenced = alarm.shelved_until.is_some() || alarm.suppressed || alarm.out_of_service;
    match state {
        "active" => !silenced && alarm.state.starts_with("Active"),
        "unacked" => !silenced && alarm.state.ends_with("Unacked"),
        "shelved" => alarm.shelved_until.is_some(),
        "suppressed" => alarm.suppressed,
        "out_of_service" => alarm.out_of_service,
        exactly => alarm.state == exactly,
    }
}
