//! Sending a message or placing a call for a program or a person, and reloading.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Engineer, Sender},
    problem::{Body, Problem},
};
use crate::{
    engine::io::{Command, Outcome},
    tag,
};

/// How long a caller who does not want to wait waits for the commit at most.
const GLANCE: Duration = Duration::from_secs(1);
/// The longest number, bytes.
const MAX_NUMBER: usize = 64;
/// The longest message, bytes; Twilio takes 1,600 characters.
const MAX_MESSAGE: usize = 6400;

/// A text, or what a call says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendBody {
    /// With country code, or of `[people] default_region`.
    number: String,
    /// A text has 1 to 1,600 characters, a call 1 to 1,000.
    message: String,
    /// Name of the Twilio profile; the first when left out.
    twilio: Option<String>,
    /// Answer as soon as it is in the outbox; else when Twilio has accepted or refused it, 10 s at most.
    #[serde(default = "yes")]
    fire_and_forget: bool,
}

/// SPEC 8, `POST /api/v1/send` and `POST /api/v1/call`.
#[derive(Serialize, ToSchema)]
pub struct Sent {
    /// It was not sent; always false for `fire_and_forget`.
    error_status: bool,
    /// It was not sent because too much was.
    throttling_status: bool,
    /// It was not sent because sending is disabled.
    disabled: bool,
    /// For people.
    message: String,
    /// Twilio's SID, as soon as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

/// What was applied.
#[derive(Serialize, ToSchema)]
pub struct Reloaded {
    /// For people.
    message: String,
}

const fn yes() -> bool {
    true
}

/// Send a text through a Twilio profile
#[utoipa::path(post, path = "/send", tag = "messages", operation_id = "send_text", request_body = SendBody,
    responses(
        (status = 200, description = "What became of it", body = Sent),
        (status = 429, description = "Too many are being sent", body = Sent),
        (status = 500, description = "The program has a fault", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("sender"))))]
pub async fn send(state: State<Api>, by: Sender, body: Body<SendBody>) -> Result<(StatusCode, Json<Sent>), Problem> {
    order(state, by, body, |body| Command::SendText { twilio: body.twilio, number: body.number, body: body.message }).await
}

/// Place a call that says a message twice
#[utoipa::path(post, path = "/call", tag = "messages", operation_id = "place_call", request_body = SendBody,
    responses(
        (status = 200, description = "What became of it", body = Sent),
        (status = 429, description = "Too many are being sent", body = Sent),
        (status = 500, description = "The program has a fault", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("sender"))))]
pub async fn call(state: State<Api>, by: Sender, body: Body<SendBody>) -> Result<(StatusCode, Json<Sent>), Problem> {
    order(state, by, body, |body| Command::PlaceCall { twilio: body.twilio, number: body.number, message: body.message }).await
}

async fn order(
    State(api): State<Api>,
    Sender(by): Sender,
    Body(body): Body<SendBody>,
    command: impl FnOnce(SendBody) -> Command,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    if body.number.len() > MAX_NUMBER || body.message.len() > MAX_MESSAGE {
        let detail = format!("a number has at most {MAX_NUMBER} bytes, a message {MAX_MESSAGE}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let Ok(place) = Arc::clone(&api.sends).try_acquire_owned() else {
        let busy = "too many messages are being sent: try again in a few seconds";
        let outcome = Outcome::refused(tag::StatusCode::BAD_TOO_MANY_OPERATIONS, busy);
        return Ok((StatusCode::TOO_MANY_REQUESTS, Json(sent(outcome, body.fire_and_forget))));
    };
    let (gateway, fire_and_forget) = (Arc::clone(&api.gateway), body.fire_and_forget);
    let command = command(body);
    // A task of its own: a caller who hangs up, or does not wait, must not take the message along.
    let mut sending = tokio::spawn(async move {
        let outcome = gateway.command(by, command).await;
        drop(place);
        outcome
    });
    let ended = if fire_and_forget { tokio::time::timeout(GLANCE, &mut sending).await.ok() } else { Some(sending.await) };
    match ended {
        Some(Ok(outcome)) => Ok((StatusCode::OK, Json(sent(outcome, fire_and_forget)))),
        Some(Err(error)) => {
            tracing::error!(%error, "failed to send a message for a program");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the message could not be handed over"))
        }
        None => {
            let outcome = Outcome::good("on its way; see the messages for what becomes of it");
            Ok((StatusCode::OK, Json(sent(outcome, true))))
        }
    }
}

fn sent(outcome: Outcome, fire_and_forget: bool) -> Sent {
    Sent {
        error_status: !fire_and_forget && outcome.status.is_bad(),
        throttling_status: outcome.status == tag::StatusCode::BAD_TOO_MANY_OPERATIONS,
        disabled: outcome.status == tag::StatusCode::BAD_OUT_OF_SERVICE,
        message: outcome.message,
        sid: outcome.sid,
    }
}

/// Read configuration and tags again
///
/// Without losing a state, an acknowledgement or a session, and without telling anybody twice. A bad configuration changes nothing.
#[utoipa::path(post, path = "/reload", tag = "program", operation_id = "reload",
    responses(
        (status = 200, description = "It is applied", body = Reloaded),
        (status = 422, description = "It was refused; `detail` has every problem as `annunciator check` prints it", body = Problem,
            content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("engineer"))))]
pub async fn reload(State(api): State<Api>, Engineer(by): Engineer) -> Result<Json<Reloaded>, Problem> {
    match api.gateway.reload(by).await {
        Ok(message) => Ok(Json(Reloaded { message })),
        Err(problems) => {
            Err(Problem::refused(tag::StatusCode::BAD_CONFIGURATION_ERROR, problems).with(StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}
