//! What Twilio calls: texts from users, delivery reports, and what a call says next. Nothing else is served on this listener.
//!
//! **Nothing is believed before its signature is verified**, against the profile's `external_url` and the request's raw path and
//! query, never against `Host`. Repeats are told apart by their SID in the engine; a signature does not prove freshness. A
//! webhook is answered after its commit: 503 asks Twilio for a retry. Deliberately absent: answers to texts in TwiML (they go
//! through the outbox, so that they are durable and counted).

mod sms;
mod verify;
mod voice;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::time::timeout;

use super::{Gateway, copies::Copies};

/// Longest body that is read, bytes. Twilio's own have some 2 kB.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a commit may take before Twilio is asked to come again; Twilio itself waits 15 s, of which a script may take 6.
pub const COMMIT_PATIENCE: Duration = Duration::from_secs(8);

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
        .route("/main/system/twilio-sms/inbound/{profile}", post(sms::inbound))
        .route("/main/system/twilio-sms/status/{row}", post(sms::status))
        .route("/main/system/twilio-voice/{action}/{id}", post(voice::voice))
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

impl Hooks {
    fn reject(&self, reason: Reason) -> Response {
        self.rejects.add(reason);
        tracing::debug!(reason = reason.name(), "rejected a webhook");
        (reason.status(), format!("{}\n", reason.name())).into_response()
    }

    async fn commit<T>(&self, commit: impl Future<Output = Result<T, ()>>) -> Result<T, Reason> {
        match timeout(COMMIT_PATIENCE, commit).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(())) | Err(_) => Err(Reason::Store),
        }
    }
}
