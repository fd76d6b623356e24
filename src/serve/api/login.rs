//! Logging in and out with a password, and who am I.
//!
//! A page gets a cookie that scripts cannot read and other sites cannot make a browser send, and a token that it shows with
//! everything that changes something. Programs need neither: they send `Authorization` each time.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{AppendHeaders, IntoResponse},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{self, Caller, Client, Known, Proof},
    problem::{Body, Problem},
    sessions::Id,
};
use crate::{
    clock,
    engine::{
        io::{Actor, Via},
        plan::Role,
        record::{AuditEntry, AuditKind},
    },
    tag::Timestamp,
};

/// Where a page shows [`Id::csrf_token`].
pub const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// The cookie without TLS, for a console on loopback …
pub const PLAIN_COOKIE: &str = "annunciator";
/// … and with it: browsers take this name only from the very host, over TLS.
const SECURE_COOKIE: &str = "__Host-annunciator";

/// A user's name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    user: String,
    password: String,
}

/// Who asks, and how that is known.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    /// The user, or the program of a token.
    user: String,
    /// `viewer`, `operator`, `engineer`, or `sender` for a token that may only send.
    role: &'static str,
    /// `session`, `basic` or `token`.
    via: &'static str,
    /// To be shown as `X-CSRF-Token` with everything that changes something; only for sessions.
    csrf_token: Option<String>,
    /// When the session ends at the latest.
    expires: Option<Timestamp>,
    /// The plant's name, from `[site]`.
    site: String,
    /// Of this program.
    version: &'static str,
    /// It ends earlier when it is not used for so long; an open event stream is use.
    idle_seconds: Option<u64>,
}

impl SessionView {
    fn new(api: &Api, user: &str, role: &'static str, via: &'static str) -> Self {
        let site = api.gateway.plan().site.clone();
        let version = env!("CARGO_PKG_VERSION");
        Self { user: user.to_owned(), role, via, csrf_token: None, expires: None, site, version, idle_seconds: None }
    }
}

/// Log in with a password: opens a session
///
/// Sets the cookie. Everything that changes something needs `csrf_token` in the header X-CSRF-Token beside it.
#[utoipa::path(post, path = "/session", tag = "session", operation_id = "log_in", request_body = LoginBody,
    responses(
        (status = 200, description = "The session is open", body = SessionView,
            headers(("Set-Cookie" = String, description = "The session's id"))),
        (status = 401, description = "User name or password is wrong", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn log_in(
    State(api): State<Api>,
    Client(from): Client,
    Body(body): Body<LoginBody>,
) -> Result<impl IntoResponse, Problem> {
    let LoginBody { user, password } = body;
    let checked = api.gateway.log_in(user.clone(), password, from, Via::Console).await;
    let (kind, result) = match &checked {
        Ok(_) => (AuditKind::Login, String::new()),
        Err(status) => (AuditKind::LoginRefused, status.to_string()),
    };
    // Somebody's guesses must not fill the log: those that were not even looked at are left out.
    if checked.as_ref().err().is_none_or(|status| *status == crate::tag::StatusCode::BAD_USER_ACCESS_DENIED) {
        audit(&api, kind, &user, &from.to_string(), result).await;
    }
    let actor = checked.map_err(auth::refused)?;
    let id = api.sessions.open(&api.gateway.plan(), &actor.name, actor.role, Instant::now()).map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers: nobody can log in");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no session can be opened at present")
    })?;
    let limits = api.sessions.limits();
    let view = session_view(&api, &actor, &id, limits.lifetime);
    let cookie = cookie(api.secure, &id.expose(), limits.lifetime.as_secs());
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Json(view)))
}

/// Who am I, and what may I do
#[utoipa::path(get, path = "/session", tag = "session", operation_id = "who_am_i",
    responses((status = 200, description = "Whoever asks", body = SessionView)), extensions(("x-least-role" = json!("any"))))]
pub async fn who(State(api): State<Api>, Known(caller, proof): Known) -> Json<SessionView> {
    let view = |user: &str, role, via| SessionView::new(&api, user, role, via);
    Json(match (&caller, proof) {
        (Caller::Sender(name), _) => view(name, "sender", "token"),
        (Caller::Actor(actor), Proof::Token) => view(&actor.name, actor.role.name(), "token"),
        (Caller::Actor(actor), Proof::Basic) => view(&actor.name, actor.role.name(), "basic"),
        (Caller::Actor(actor), Proof::Session(id, remains)) => session_view(&api, actor, &id, remains),
    })
}

/// Log out: ends the session
#[utoipa::path(delete, path = "/session", tag = "session", operation_id = "log_out",
    responses(
        (status = 204, description = "The session has ended"),
        (status = 409, description = "There is no session", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("any"))))]
pub async fn log_out(State(api): State<Api>, Known(_, proof): Known) -> Result<impl IntoResponse, Problem> {
    let Proof::Session(id, _) = proof else {
        return Err(Problem::new(StatusCode::CONFLICT, "there is no session to end: you log in with every request"));
    };
    api.sessions.close(&id);
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie(api.secure, "", 0))])))
}

/// The session's id, if the request has one.
pub fn id_of(parts: &Parts, secure: bool) -> Option<Id> {
    cookie_of(&parts.headers, if secure { SECURE_COOKIE } else { PLAIN_COOKIE }).and_then(Id::parse)
}

fn session_view(api: &Api, actor: &Actor, id: &Id, remains: std::time::Duration) -> SessionView {
    SessionView {
        csrf_token: Some(id.csrf_token()),
        expires: Some(clock::now() + remains),
        idle_seconds: Some(api.sessions.limits().idle.as_secs()),
        ..SessionView::new(api, &actor.name, Role::name(actor.role), "session")
    }
}

fn cookie(secure: bool, value: &str, seconds: u64) -> HeaderValue {
    let (name, flag) = if secure { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{flag}");
    HeaderValue::try_from(text).expect("base64 and digits are visible ASCII")
}

fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

async fn audit(api: &Api, kind: AuditKind, user: &str, from: &str, result: String) {
    let entry = AuditEntry {
        time: clock::now(),
        kind,
        user: user.chars().take(128).collect(),
        via: Via::Console,
        subject: from.to_owned(),
        text: String::new(),
        result,
        events: Vec::new(),
        sid: None,
    };
    api.gateway.audit(entry).await;
}
