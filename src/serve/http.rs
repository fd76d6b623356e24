//! The HTTP/1.1 listener that webhooks and console stand behind: bounded connections, bounded patience, TLS where it is
//! configured, and an orderly end.
//!
//! What is served is the caller's [`Router`]. Deliberately absent: HTTP/2 (Twilio and browsers do without), compression,
//! reading `X-Forwarded-For` (the API's business, and only for configured proxies).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, StatusCode, Version, header},
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long requests under way may still take once the listener is told to stop.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Request line and headers together, bytes: read no further than this without having their end. What one reading brings beyond it
/// may still be taken, but never twice as much.
pub const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged, or the peer's window closed.
#[cfg(target_os = "linux")]
const SILENCE: Duration = Duration::from_secs(60);
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request that took too long (RFC 9457).
const TOO_LONG: &str = r#"{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the request took too long"}"#;

/// The answer to HTTP/1.1 without a Host, or to two of them.
const NOT_ONE_HOST: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"there must be one Host"}"#;

/// What one listener bears.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the system's accept queue.
    pub connections: usize,
    /// Open connections of one address; further ones are closed at once.
    pub per_address: usize,
    /// Loopback is not limited by address: a reverse proxy on this machine speaks for everybody.
    pub loopback_is_proxy: bool,
    /// Nor are these: reverse proxies on other machines.
    pub proxies: Arc<[IpAddr]>,
    /// From connecting, or from the previous answer, to the end of the next request's headers.
    pub header_timeout: Duration,
    /// From a request's headers to the head of its answer, its body's arrival included. Bodies that stream may take longer.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_address: 32,
            loopback_is_proxy: false,
            proxies: Arc::default(),
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Reads a certificate chain and its private key, both PEM, for [`serve`].
///
/// # Errors
/// A fragment for people, naming the file and what is wrong with it.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, String> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("read the certificate {}: {error}", certificate.display()))?;
    let key_file = key;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("read the private key {}: {error}", key_file.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("set up TLS: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("use {} with {}: {error}", certificate.display(), key_file.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `router` on `listener` until `stop` is cancelled; then no connection is accepted, requests under way may end within
/// [`DRAIN`], and it returns. Handlers find the peer as `ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let addresses = Arc::new(Addresses::default());
    let tls = tls.map(TlsAcceptor::from);
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let address = peer.ip().to_canonical();
        let limited = !(limits.loopback_is_proxy && address.is_loopback() || limits.proxies.contains(&address));
        let Some(seat) = addresses.clone().enter(address, if limited { limits.per_address } else { usize::MAX }) else {
            tracing::debug!(%address, "refused a connection: too many from this address");
            continue;
        };
        let connection =
            Connection { router: router.clone(), limits: limits.clone(), tls: tls.clone(), peer, stop: stop.clone() };
        open.spawn(async move {
            connection.run(stream).await;
            drop((permit, seat));
        });
    }
    drop(listener);
    let _ = timeout(DRAIN, async { while open.join_next().await.is_some() {} }).await;
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection");
            None
        }
    }
}

struct Connection {
    router: Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        give_up_on_silence(&stream);
        let result = match self.tls.clone() {
            None => self.speak(stream).await,
            Some(tls) => match timeout(TLS_HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the TLS handshake took too long".to_owned()),
            },
        };
        if let Err(error) = result {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: S) -> Result<(), String> {
        let Self { router, limits, peer, stop, .. } = self;
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move { Ok::<_, io::Error>(answer(router, request, peer, limits.request_timeout).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(|error| error.to_string())
    }
}

/// A peer that takes nothing for [`SILENCE`] is gone, or holds a place that others need: an event stream would never notice.
#[cfg(target_os = "linux")]
fn give_up_on_silence(stream: &TcpStream) {
    // Without it the system's own patience ends it, a quarter of an hour later.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE));
}

#[cfg(not(target_os = "linux"))]
fn give_up_on_silence(_: &TcpStream) {}

async fn answer(router: Router, request: Request<Incoming>, peer: SocketAddr, patience: Duration) -> Response<Body> {
    // Which of two is meant, a proxy before us may see otherwise (RFC 9112, 3.2).
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return refusal(StatusCode::BAD_REQUEST, NOT_ONE_HOST);
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    match timeout(patience, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, TOO_LONG),
    }
}

/// An answer that is the connection's last.
fn refusal(status: StatusCode, problem: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(problem));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// How many connections each address has open; an address without any has no entry, so that this is bounded by the connections.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn enter(self: Arc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Seat { addresses: self, address })
    }
}

struct Seat {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
