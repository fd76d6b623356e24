//! What Twilio calls: texts from users and delivery reports. Nothing else is served on this listener.
//!
//! **Nothing is believed before its signature is verified**, against the profile's `external_url` and the request's raw path and
//! query, never against `Host`. Repeats are told apart by their SID in the engine; a signature does not prove freshness. A
//! webhook is answered after its commit: 503 asks Twilio for a retry. Deliberately absent: voice (404 until it exists), answers
//! in TwiML (they go through the outbox, so that they are durable and counted).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::time::timeout;

use super::{Gateway, copies::Copies};
use crate::{
    engine::{
        io::{DeliveryState, InboundText, OutboxId},
        plan::{Secret, TwilioDef},
    },
    notify::signature::{self, Payload},
};

/// Longest body that is read, bytes. Twilio's own have some 2 kB.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a commit may take before Twilio is asked to come again; Twilio itself waits 15 s.
pub const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
const SIGNATURE: &str = "x-twilio-signature";

/// Why a webhook was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No such route.
    Route,
    /// The route takes POST only.
    Method,
    /// No such Twilio profile, or no profile with this AccountSid.
    Profile,
    /// The profile has no `external_url`, so that nothing can be verified.
    OutboundOnly,
    /// No `X-Twilio-Signature`.
    Unsigned,
    /// A wrong `X-Twilio-Signature`.
    Signature,
    /// The body is larger than [`MAX_BODY`].
    TooLarge,
    /// The body is no form, broke off, or lacks a parameter.
    Malformed,
    /// The store could not be written, or not in time.
    Store,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Route,
        Self::Method,
        Self::Profile,
        Self::OutboundOnly,
        Self::Unsigned,
        Self::Signature,
        Self::TooLarge,
        Self::Malformed,
        Self::Store,
    ];

    /// The word in the metrics' label `reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Method => "method",
            Self::Profile => "profile",
            Self::OutboundOnly => "outbound_only",
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Store => "store",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Route | Self::Profile => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::OutboundOnly | Self::Unsigned | Self::Signature => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Store => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Webhooks rejected since the start, by reason.
#[derive(Default)]
pub struct Rejects {
    counts: [AtomicU64; Reason::ALL.len()],
    observer: Option<Box<dyn Fn(&'static str) + Send + Sync>>,
}

impl Rejects {
    /// Counts, and tells `observer` (the metrics) the reason's name each time.
    #[must_use]
    pub fn observed_by(observer: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    /// How often `reason` occurred.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    fn add(&self, reason: Reason) {
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer(reason.name());
        }
    }
}

/// The webhook listener's routes (SPEC 8). Needs a tokio runtime, for the copies of delivery reports.
pub fn router(gateway: Arc<dyn Gateway>, rejects: Arc<Rejects>) -> Router {
    let hooks = Hooks { gateway, rejects, copies: Copies::start() };
    Router::new()
        .route("/main/system/twilio-sms/inbound/{profile}", post(inbound))
        .route("/main/system/twilio-sms/status/{row}", post(status))
        .fallback(|State(hooks): State<Hooks>| async move { hooks.reject(Reason::Route) })
        .method_not_allowed_fallback(|State(hooks): State<Hooks>| async move { hooks.reject(Reason::Method) })
        .with_state(hooks)
}

#[derive(Clone)]
struct Hooks {
    gateway: Arc<dyn Gateway>,
    rejects: Arc<Rejects>,
    copies: Copies,
}

async fn inbound(State(hooks): State<Hooks>, Path(profile): Path<String>, request: Request) -> Response {
    match hooks.inbound(&profile, request).await {
        Ok(()) => ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], "<Response/>").into_response(),
        Err(reason) => hooks.reject(reason),
    }
}

async fn status(State(hooks): State<Hooks>, Path(row): Path<String>, request: Request) -> Response {
    match hooks.status(&row, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => hooks.reject(reason),
    }
}

impl Hooks {
    fn reject(&self, reason: Reason) -> Response {
        self.rejects.add(reason);
        tracing::debug!(reason = reason.name(), "rejected a webhook");
        (reason.status(), format!("{}\n", reason.name())).into_response()
    }

    async fn inbound(&self, profile: &str, request: Request) -> Result<(), Reason> {
        let plan = self.gateway.plan();
        let profile = plan.twilio.get(profile).ok_or(Reason::Profile)?;
        let (parts, form) = read_form(request, &[profile]).await?;
        verify(profile, &parts, &form)?;
        let text = InboundText {
            twilio: profile.name.clone(),
            sid: form.first(&["MessageSid", "SmsSid"]).ok_or(Reason::Malformed)?,
            from: form.first(&["From"]).ok_or(Reason::Malformed)?,
            to: form.first(&["To"]).unwrap_or_default(),
            body: form.first(&["Body"]).ok_or(Reason::Malformed)?,
            received: None,
        };
        self.commit(self.gateway.inbound(text)).await
    }

    async fn status(&self, row: &str, request: Request) -> Result<(), Reason> {
        let plan = self.gateway.plan();
        let row = row.parse().map(OutboxId).map_err(|_| Reason::Route)?;
        let all: Vec<&Arc<TwilioDef>> = plan.twilio.values().collect();
        let (parts, form) = read_form(request, &all).await?;
        let account = form.first(&["AccountSid"]).ok_or(Reason::Malformed)?;
        let verdicts =
            all.into_iter().filter(|profile| profile.account_sid == account).map(|def| verify(def, &parts, &form).map(|()| def));
        // Two profiles may share an account: one of them that verifies is enough.
        let profile = verdicts.reduce(Result::or).ok_or(Reason::Profile)??;
        let sid = form.first(&["MessageSid", "SmsSid"]).ok_or(Reason::Malformed)?;
        let word = form.first(&["MessageStatus", "SmsStatus"]).ok_or(Reason::Malformed)?;
        let Some(state) = DeliveryState::parse(&word) else { return Ok(()) };
        let code = form.first(&["ErrorCode"]).and_then(|code| code.parse().ok());
        self.commit(self.gateway.delivery(Some(row), sid, state, code)).await?;
        self.copies.send(profile, form.0);
        Ok(())
    }

    async fn commit(&self, commit: impl Future<Output = Result<(), ()>>) -> Result<(), Reason> {
        match timeout(COMMIT_PATIENCE, commit).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) | Err(_) => Err(Reason::Store),
        }
    }
}

/// The decoded parameters of a webhook.
struct Form(Vec<(String, String)>);

impl Form {
    /// The first of `keys` that is present.
    fn first(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.0.iter().find(|(name, _)| name == key)).map(|(_, value)| value.clone())
    }
}

/// Reads the body, once it is clear that at least one of `profiles` could verify it.
async fn read_form(request: Request, profiles: &[&Arc<TwilioDef>]) -> Result<(Parts, Form), Reason> {
    if profiles.iter().all(|profile| profile.external_url.is_none()) {
        return Err(Reason::OutboundOnly);
    }
    let (parts, body) = request.into_parts();
    if !parts.headers.contains_key(SIGNATURE) {
        return Err(Reason::Unsigned);
    }
    let body = read_body(&parts.headers, body).await?;
    let form = form_urlencoded::parse(&body).into_owned().collect();
    Ok((parts, Form(form)))
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Reason> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > MAX_BODY) {
        return Err(Reason::TooLarge);
    }
    let is_form = text(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded");
    let body = to_bytes(body, MAX_BODY).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if inner.is::<http_body_util::LengthLimitError>() {
                return Reason::TooLarge;
            }
            cause = inner.source();
        }
        Reason::Malformed
    })?;
    if is_form { Ok(body) } else { Err(Reason::Malformed) }
}

fn verify(profile: &TwilioDef, parts: &Parts, form: &Form) -> Result<(), Reason> {
    let external = profile.external_url.as_deref().ok_or(Reason::OutboundOnly)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let claimed = parts.headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).ok_or(Reason::Unsigned)?;
    let tokens: Vec<&str> = std::iter::once(&profile.auth_token).chain(&profile.auth_token_2).map(Secret::expose).collect();
    if signature::verify(&tokens, &format!("{external}{path}"), Payload::Form(&form.0), claimed) {
        Ok(())
    } else {
        Err(Reason::Signature)
    }
}
