//! The heartbeat: a sign of life for somebody else, who notices when it is missing (SPEC 14).
//!
//! Each beat is asked of the engine's task first and committed to the store: a program whose engine hangs, or whose store cannot
//! be written, is silent. Nothing is made up for a beat that failed.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Url, redirect};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    engine::{
        io::{Actor, Input, Via},
        plan::{HeartbeatDef, Role},
    },
    tag::{StatusCode, TagId, Value},
};

/// Why a beat was not sent, or did not arrive.
#[derive(Debug, PartialEq, Eq)]
struct Missed {
    /// For the metric: `engine`, `store`, `url`, `tag`.
    what: &'static str,
    /// For the log.
    words: String,
}

/// Beats until `stop`, as the configuration in force says.
pub(super) async fn beat(shared: Arc<Shared>, stop: CancellationToken) {
    let mut plans = shared.plan_changes.subscribe();
    let mut failing = false;
    loop {
        let def = plans.borrow_and_update().heartbeat.clone();
        let next = def.as_ref().map(|def| Instant::now() + def.every);
        if let Some(def) = &def {
            let missed = tokio::select! {
                missed = once(&shared, def) => missed,
                () = stop.cancelled() => return,
            };
            shared.metrics.count_heartbeat(missed.as_ref().map_or("sent", |missed| missed.what));
            match &missed {
                Some(Missed { what, words }) => tracing::warn!(%what, "the heartbeat failed: {words}"),
                None if failing => tracing::info!("the heartbeat goes on"),
                None => {}
            }
            failing = missed.is_some();
        }
        tokio::select! {
            () = pause(next) => {}
            changed = plans.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// For ever without a time.
async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// One beat; what went wrong, if anything did.
async fn once(shared: &Arc<Shared>, def: &HeartbeatDef) -> Option<Missed> {
    match timeout(def.timeout, shared.durable(|_| Input::Heartbeat)).await {
        Ok(Ok(())) => {}
        Ok(Err(())) => return Some(Missed { what: "store", words: "the store cannot be written".to_owned() }),
        Err(_) => return Some(Missed { what: "engine", words: format!("the engine did not answer within {:?}", def.timeout) }),
    }
    let tag = match def.tag {
        Some(tag) => timeout(def.timeout, write(shared, tag)).await.unwrap_or(Err(StatusCode::BAD_TIMEOUT)).err(),
        None => None,
    };
    let url = match &def.url {
        Some(url) => fetch(url, def.timeout).await.err(),
        None => None,
    };
    let tag = tag.map(|status| Missed { what: "tag", words: format!("the tag was not written: {status}") });
    tag.or(url.map(|words| Missed { what: "url", words }))
}

/// The next value, by the one write path: a Boolean toggles, an integer counts up and begins again at zero.
async fn write(shared: &Arc<Shared>, tag: TagId) -> Result<(), StatusCode> {
    let plan = shared.plan.load_full();
    let data_type = plan.tag(tag).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?.value_type.data_type;
    let present = shared.table.read(tag).value;
    let next = match data_type.integer_range() {
        Some((_, highest)) => {
            let present = present.as_i128().unwrap_or(0);
            data_type.from_i128(if present < highest { present + 1 } else { 0 })
        }
        None => Some(Value::Boolean(!present.as_bool().unwrap_or(false))),
    };
    let by = Actor { name: "heartbeat".to_owned(), role: Role::Engineer, via: Via::System };
    let status = shared.write(by, tag, next.ok_or(StatusCode::BAD_OUT_OF_RANGE)?).await;
    if status.is_good() { Ok(()) } else { Err(status) }
}

/// Asks the URL; anything but 2xx is a failure. Its words name no URL: it may be a secret.
async fn fetch(url: &str, patience: Duration) -> Result<(), String> {
    // The first to install one wins; whichever it is, it works here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .connect_timeout(patience)
        .timeout(patience)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("annunciator/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("http://") {
        // Without TLS no trusted roots are needed.
        builder = builder.tls_certs_only([]);
    }
    let plain = |error: reqwest::Error| error.without_url().to_string();
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    if url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    let answer = builder.build().map_err(plain)?.get(url).send().await.map_err(plain)?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("the URL answered {status}")) }
}
