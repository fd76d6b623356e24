//! The HTTP API under `/api/v1` on the console listener, with `/healthz`, `/readyz` and `/metrics` (SPEC 11, 14).
//!
//! It knows the program through [`Gateway`] and reads the journal, audit log and ledger from the [`Store`]. Every route names the
//! least role in its handler's arguments; nobody has a right without credentials, from wherever they come. Deliberately
//! absent: the listener itself (`http`), TLS, the console's pages, CORS (another site's pages have no business here).

mod alarms;
mod auth;
mod events;
mod live;
mod login;
mod people;
mod problem;
mod records;
mod send;
mod sessions;
mod stream;
mod tags;
#[cfg(test)]
pub(crate) mod tests;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};

use tokio_util::sync::CancellationToken;

pub use self::sessions::Limits as SessionLimits;
use self::{live::Live, problem::Problem, sessions::Sessions};
use super::Gateway;
use crate::store::Store;

/// The largest request body, bytes.
const MAX_BODY: usize = 256 * 1024;
/// The most messages that may be on their way through `POST send` at once.
const MAX_SENDS: usize = 64;

/// What every handler has.
#[derive(Clone)]
struct Api {
    gateway: Arc<dyn Gateway>,
    store: Arc<Store>,
    sends: Arc<tokio::sync::Semaphore>,
    sessions: Arc<Sessions>,
    live: Arc<Live>,
    secure: bool,
    proxies: Arc<[IpAddr]>,
    stop: CancellationToken,
}

/// What the listener and the configuration say.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long sessions live.
    pub sessions: SessionLimits,
    /// Browsers reach the console by TLS: they keep its cookie from everything else.
    pub secure: bool,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub proxies: Arc<[IpAddr]>,
    /// Ends event streams.
    pub stop: CancellationToken,
}

/// The console listener's routes. Serve it with the peer's address as `ConnectInfo<SocketAddr>`; needs a tokio runtime.
pub fn router(gateway: Arc<dyn Gateway>, store: Arc<Store>, options: Options) -> Router {
    let Options { sessions, secure, proxies, stop } = options;
    let api = Api {
        sends: Arc::new(tokio::sync::Semaphore::new(MAX_SENDS)),
        sessions: Arc::new(Sessions::new(sessions)),
        live: Live::start(Arc::clone(&gateway), stop.clone()),
        gateway,
        store,
        secure,
        proxies,
        stop,
    };
    let v1 = Router::new()
        .route("/session", get(login::who).post(login::log_in).delete(login::log_out))
        .route("/stream", get(stream::stream))
        .route("/counts", get(records::counts))
        .route("/tags", get(tags::list))
        .route("/tags/{*path}", get(tags::read).put(tags::write))
        .route("/alarms", get(alarms::list))
        .route("/alarms/ack", post(alarms::acknowledge))
        .route("/alarms/shelve", post(alarms::shelve))
        .route("/alarms/out-of-service", post(alarms::out_of_service))
        .route("/journal", get(records::journal))
        .route("/audit", get(records::audit))
        .route("/users", get(records::users))
        .route("/users/{id}", get(records::user))
        .route("/statistics", get(records::statistics))
        .route("/messages", get(records::messages))
        .route("/sources", get(records::sources))
        .route("/drill", post(people::drill))
        .route("/on-call", get(people::on_call))
        .route("/overrides", get(people::overrides).post(people::set_override))
        .route("/overrides/{number}", delete(people::remove_override))
        .route("/reload", post(send::reload))
        .route("/send", post(send::send))
        .route("/call", post(send::call))
        .route("/identify", post(events::identify))
        .route("/identify/{user_id}", delete(events::forget))
        .route("/track", post(events::track));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .nest("/api/v1", v1)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(api)
}

/// Refuses what a page of another site makes a browser send with the user's credentials, and marks every answer as not to be
/// kept, guessed at, or framed.
async fn guard(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("none");
    let foreign = !matches!(site, "none" | "same-origin");
    // A page asks for a log-in itself; the browser's own dialog would come before it.
    let from_page = site == "same-origin";
    let mut response = if foreign && !matches!(*request.method(), Method::GET | Method::HEAD) {
        Problem::new(StatusCode::FORBIDDEN, "requests from other sites' pages are refused").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if from_page && headers.contains_key(header::WWW_AUTHENTICATE) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annunciator\""));
    }
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    response
}

async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    if api.gateway.ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

async fn metrics(State(api): State<Api>, _: auth::LocalOrViewer) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.gateway.metrics()).into_response()
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}
