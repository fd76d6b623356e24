//! Application events: who is who, and what happened to them (SPEC 8).

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::Sender,
    problem::{self, Body, Done, Path, Problem, answer},
};
use crate::{
    engine::{
        events::MAX_PROPERTIES,
        io::{Command, Outcome},
    },
    tag,
};

/// Fields of the event protocols in use that do nothing here (timestamps, contexts) are let through.
#[derive(Deserialize, ToSchema)]
pub struct IdentifyBody {
    #[serde(rename = "userId")]
    user_id: String,
    #[serde(default, deserialize_with = "problem::object")]
    traits: TraitsBody,
}

/// Of all traits only these are read, and kept.
#[derive(Default, Deserialize, ToSchema)]
pub struct TraitsBody {
    phone: Option<String>,
    consent: Option<Vec<String>>,
}

/// Something happened to somebody.
#[derive(Deserialize, ToSchema)]
pub struct TrackBody {
    #[serde(rename = "userId")]
    user_id: String,
    event: String,
    /// `sms_body` is the text; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    properties: serde_json::Map<String, serde_json::Value>,
}

/// What became of an event.
#[derive(Serialize, ToSchema)]
pub struct Tracked {
    /// Its text is in the outbox.
    queued: bool,
    /// Not sent because too much was.
    throttling_status: bool,
    /// Not sent because sending is disabled.
    disabled: bool,
    /// For people.
    message: String,
}

/// Say who a recipient of application events is
#[utoipa::path(post, path = "/identify", tag = "events", operation_id = "identify", request_body = IdentifyBody,
    responses((status = 200, description = "It is kept", body = Done)), extensions(("x-least-role" = json!("sender"))))]
pub async fn identify(State(api): State<Api>, Sender(by): Sender, Body(body): Body<IdentifyBody>) -> Result<Json<Done>, Problem> {
    let IdentifyBody { user_id, traits: TraitsBody { phone, consent } } = body;
    answer(api.gateway.command(by, Command::Identify { user_id, phone, consent }).await)
}

/// Forget a recipient of application events
#[utoipa::path(delete, path = "/identify/{user_id}", tag = "events", operation_id = "forget",
    params(("user_id" = String, Path, description = "As it was identified")),
    responses((status = 200, description = "It is forgotten", body = Done)), extensions(("x-least-role" = json!("sender"))))]
pub async fn forget(State(api): State<Api>, Sender(by): Sender, Path(user_id): Path<String>) -> Result<Json<Done>, Problem> {
    answer(api.gateway.command(by, Command::Forget { user_id }).await)
}

/// Tell of an application event: its text is sent to whom it happened
#[utoipa::path(post, path = "/track", tag = "events", operation_id = "track", request_body = TrackBody,
    responses(
        (status = 200, description = "What became of it", body = Tracked),
        (status = 500, description = "The program has a fault", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("sender"))))]
pub async fn track(State(api): State<Api>, Sender(by): Sender, Body(body): Body<TrackBody>) -> Result<Json<Tracked>, Problem> {
    let TrackBody { user_id, event, properties } = body;
    let properties = serde_json::Value::Object(properties);
    let unprocessable = |words: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words);
    if properties.to_string().len() > MAX_PROPERTIES {
        return Err(unprocessable(format!("properties have at most {MAX_PROPERTIES} bytes")));
    }
    if properties.get("sms_body").is_some_and(|body| !body.is_string()) {
        return Err(unprocessable("properties.sms_body is a text".to_owned()));
    }
    let outcome = api.gateway.command(by, Command::Track { user_id, event, properties }).await;
    // What cannot be an event, and a program that has a fault or stops, are problems; a text that is not sent is an answer.
    match outcome.status {
        tag::StatusCode::BAD_INVALID_ARGUMENT
        | tag::StatusCode::BAD_CONFIGURATION_ERROR
        | tag::StatusCode::BAD_USER_ACCESS_DENIED
        | tag::StatusCode::BAD_RESOURCE_UNAVAILABLE => Err(Problem::refused(outcome.status, outcome.message)),
        _ => Ok(Json(tracked(outcome))),
    }
}

fn tracked(outcome: Outcome) -> Tracked {
    Tracked {
        queued: !outcome.status.is_bad(),
        throttling_status: outcome.status == tag::StatusCode::BAD_TOO_MANY_OPERATIONS,
        disabled: outcome.status == tag::StatusCode::BAD_OUT_OF_SERVICE,
        message: outcome.message,
    }
}
