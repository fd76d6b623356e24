//! The simulator's listener: as any HTTP/1.1 server, but able to reset a connection instead of answering.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::Response,
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tower::ServiceExt;

use super::{Shared, api, faults, phones};

/// Open connections; further ones wait.
const MAX_CONNECTIONS: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the simulator is stopped; then all connections end at once.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let router = phones::routes()
        .fallback(|State(shared): State<Arc<Shared>>, request: Request| async move { api::handle(&shared, request).await })
        .with_state(shared.clone());
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let slots = slots.clone();
        let accept = async {
            let slot = slots.acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            () = shared.stop.cancelled() => return,
            Some(_) = open.join_next() => continue,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                open.spawn(async move {
                    speak(stream, router).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the Twilio simulator failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn speak(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let ordered = reset.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        Box::pin(answer(router.clone(), request, ordered.clone()))
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Closing with zero linger sends a reset instead of an orderly end.
        let _ = stream.set_zero_linger();
    }
}

async fn answer(router: Router, request: hyper::Request<Incoming>, reset: Arc<AtomicBool>) -> io::Result<Response<Body>> {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    if response.extensions().get::<faults::Reset>().is_some() {
        reset.store(true, Ordering::Relaxed);
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(response)
}
