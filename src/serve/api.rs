//! The HTTP API under `/api/v1` on the console listener, with `/healthz`, `/readyz` and `/metrics` (SPEC 11, 14).
//!
//! It knows the program through [`Gateway`] and reads the journal, audit log and ledger from the [`Store`]. Every route names the
//! least role in its handler's arguments; nobody has a right without credentials, from wherever they come. Deliberately
//! absent: the listener itself (`http`), TLS, the console's pages, CORS (another site's pages have no business here).

mod alarms;
mod auth;
mod document;
mod events;
mod figures;
mod kpis;
mod live;
mod login;
mod messages;
mod pages;
mod people;
mod problem;
mod records;
mod send;
mod sessions;
mod story;
mod stream;
mod tags;
#[cfg(test)]
pub(crate) mod tests;
mod what_if;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};

use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{live::Live, problem::Problem, sessions::Sessions};
pub use self::{
    sessions::Limits as SessionLimits,
    what_if::{WhatIf, span},
};
use super::{ConsoleLoad, Gateway};
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
    /// One at a time: each takes a processor for a moment.
    forecasts: Arc<tokio::sync::Semaphore>,
    sessions: Arc<Sessions>,
    live: Arc<Live>,
    secure: bool,
    proxies: Arc<[IpAddr]>,
    stop: CancellationToken,
    document: Arc<OnceLock<Bytes>>,
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
        forecasts: Arc::new(tokio::sync::Semaphore::new(1)),
        sessions: Arc::new(Sessions::new(sessions)),
        live: Live::start(Arc::clone(&gateway), stop.clone()),
        gateway,
        store,
        secure,
        proxies,
        stop,
        document: Arc::default(),
    };
    let (v1, collected) = OpenApiRouter::new().nest("/api/v1", routes()).split_for_parts();
    let document: Bytes = document::complete(&collected).to_string().into();
    // It is made of the routes, one of which serves it.
    _ = api.document.set(document);
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(v1)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(api)
}

/// The API's routes, each with what the document says of it.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(login::who, login::log_in, login::log_out))
        .routes(routes!(stream::stream))
        .routes(routes!(alarms::list))
        .routes(routes!(story::story))
        .routes(routes!(alarms::acknowledge))
        .routes(routes!(alarms::acknowledge_many))
        .routes(routes!(alarms::shelve))
        .routes(routes!(alarms::unshelve))
        .routes(routes!(alarms::out_of_service))
        .routes(routes!(what_if::what_if))
        .routes(routes!(tags::list))
        .routes(routes!(tags::tree))
        .routes(routes!(tags::read, tags::write))
        .routes(routes!(records::journal))
        .routes(routes!(records::audit))
        .routes(routes!(messages::list))
        .routes(routes!(messages::not_sent))
        .routes(routes!(messages::retry))
        .routes(routes!(send::send))
        .routes(routes!(send::call))
        .routes(routes!(people::rosters))
        .routes(routes!(people::on_call))
        .routes(routes!(people::overrides, people::set_override))
        .routes(routes!(people::remove_override))
        .routes(routes!(people::drill))
        .routes(routes!(figures::users))
        .routes(routes!(figures::user))
        .routes(routes!(figures::statistics))
        .routes(routes!(figures::counts))
        .routes(routes!(figures::sources))
        .routes(routes!(kpis::kpis))
        .routes(routes!(kpis::chart))
        .routes(routes!(events::identify))
        .routes(routes!(events::forget))
        .routes(routes!(events::track))
        .routes(routes!(send::reload))
        .routes(routes!(document::openapi))
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
    let load = ConsoleLoad { sessions: api.sessions.count(Instant::now()), streams: api.live.streams() };
    ([(header::CONTENT_TYPE, kind)], api.gateway.metrics(load)).into_response()
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}
