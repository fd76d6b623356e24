//! The OPC UA client as a source: subscriptions with monitored items, writes, reads.
//!
//! One call of [`Source::session`] is one connection: nothing is reconnected or transferred here, the daemon starts the next
//! session, whose first notifications bring every value anew. The protocol is [`crate::ua::client`]'s. Deliberately absent: events
//! and alarms of other servers, history, methods, X.509 user tokens.

pub mod address;
pub mod browse;
mod calls;
mod connect;
mod convert;
mod feed;
mod items;
mod requests;
mod settings;

use std::{sync::Arc, time::Duration};

use opcua::types::NodeId;
use tokio::time::sleep;

pub use self::settings::{DRIVER, OpcuaSettings, SECURITY, Security, Server, TagAddress};
use self::{calls::attribute, connect::Connection, feed::Feed, items::Items};
use super::{Link, SessionEnd, Source};
use crate::{
    BoxFuture,
    engine::plan::Settings,
    pki::Pki,
    tag::Value,
    ua::{
        client::{
            Error,
            data::Data,
            services::VALUE,
            session::Session,
            subscription::{Granted, Wanted},
        },
        wire::Timestamps,
    },
};

/// The most values in one publish answer; more follow at once in the next.
const MAX_NOTIFICATIONS: u32 = 5000;
/// How long a subscription outlives its client.
const LIFETIME: Duration = Duration::from_secs(60);
/// The least time that a server may be silent.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);
/// Unanswered questions in a row after which a server is given up.
const MAX_UNANSWERED: u32 = 2;
/// `Server_ServerStatus_State`.
const STATE: u32 = 2259;

/// A server.
struct Opcua {
    settings: OpcuaSettings,
    pki: Arc<Pki>,
    application_uri: Arc<str>,
}

/// The source that `settings` (made by [`DRIVER`]) describe; our certificate and the trust list are in `pki`.
///
/// # Panics
/// When `settings` are another driver's.
#[must_use]
pub fn new(settings: &Settings, pki: Arc<Pki>, application_uri: &str) -> Box<dyn Source> {
    let settings = settings.downcast_ref::<OpcuaSettings>().expect("settings of the opcua driver").clone();
    Box::new(Opcua { settings, pki, application_uri: application_uri.into() })
}

impl Source for Opcua {
    fn session<'a>(&'a mut self, link: &'a mut Link) -> BoxFuture<'a, SessionEnd> {
        Box::pin(async move {
            let stop = link.stop.clone();
            let connected = tokio::select! {
                biased;
                () = stop.cancelled() => return SessionEnd::Stopped,
                connected = connect::connect(&self.settings.server, &self.pki, &self.application_uri) => connected,
            };
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(reason) => return SessionEnd::Lost(reason),
            };
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => SessionEnd::Stopped,
                reason = serve(&self.settings, &mut connection, link) => SessionEnd::Lost(reason),
            };
            connection.close().await;
            end
        })
    }
}

/// Everything of a session after its activation; returns why it ended.
async fn serve(settings: &OpcuaSettings, connection: &mut Connection, link: &mut Link) -> String {
    let session = Arc::clone(&connection.session);
    let silent = count(settings.server.keep_alive, settings.publishing);
    let lifetime = count(LIFETIME, settings.publishing).max(silent.saturating_mul(3));
    let wanted = Wanted { interval: settings.publishing, lifetime, keep_alive: silent, notifications: MAX_NOTIFICATIONS };
    let prepared = async {
        let granted = session.subscribe(wanted).await?;
        let items = Items::new(Arc::clone(&session), granted.id, Arc::clone(&link.tags), settings.clone()).await?;
        let clock = items.watch_clock().await?;
        Ok::<_, Error>((items, granted, clock))
    };
    let (items, granted, clock) = tokio::select! {
        prepared = prepared => match prepared {
            Ok(prepared) => prepared,
            Err(error) => return format!("the server does not let us subscribe: {error}"),
        },
        reason = connection.lost() => return reason,
    };
    link.connected();
    let feed = Feed {
        name: &link.name,
        items: &items,
        sink: &link.sink,
        stats: &link.stats,
        clock,
        patience: patience(settings, &granted),
    };
    let (name, sink) = (&link.name, &link.sink);
    let create = async || match items.create().await {
        Ok(samples) if samples.is_empty() => Ok(()),
        Ok(samples) => {
            sink.samples(name, samples);
            Ok(())
        }
        Err(error) => Err(format!("the server does not let us monitor: {error}")),
    };
    // Requests wait until it is known where the tags lie.
    let (requests, stats) = (&mut link.requests, &link.stats);
    let work = async {
        create().await?;
        let retry = async {
            loop {
                sleep(settings.retry).await;
                create().await?;
            }
        };
        tokio::select! {
            failed = retry => failed,
            () = requests::run(&items, requests, stats) => std::future::pending().await,
        }
    };
    tokio::select! {
        reason = connection.lost() => reason,
        reason = feed.run() => reason,
        reason = keep_alive(&session, &link.name, settings.server.keep_alive) => reason,
        failed = work => match failed {
            Ok(()) => "the session ended".to_owned(),
            Err::<(), String>(reason) => reason,
        },
    }
}

/// How many publishing intervals make up `time`, at least one.
fn count(time: Duration, publishing: Duration) -> u32 {
    let intervals = time.as_millis().div_ceil(publishing.as_millis().max(1));
    u32::try_from(intervals).unwrap_or(u32::MAX).max(1)
}

/// How long the server may show no sign of life, with the intervals that it granted.
fn patience(settings: &OpcuaSettings, granted: &Granted) -> Duration {
    let keep_alive = granted.interval.saturating_mul(granted.keep_alive);
    (granted.interval * 3).max(keep_alive.min(settings.server.keep_alive * 3) * 2).max(LEAST_PATIENCE)
}

/// Asks the server now and then how it is, whatever the subscription says; returns when it does not answer any more.
async fn keep_alive(session: &Session, source: &str, interval: Duration) -> String {
    let (state, mut running, mut unanswered) = (attribute(&NodeId::new(0, STATE), VALUE), true, 0);
    loop {
        sleep(interval).await;
        match session.read(std::slice::from_ref(&state), Timestamps::Neither).await {
            Ok(values) => {
                unanswered = 0;
                // Running is 0 (Part 5, 12.6); a server that does not say is taken at its values.
                let now = !matches!(values.first().map(|value| &value.value), Some(Data::Scalar(_, Value::Int32(1..))));
                if now != running {
                    tracing::warn!(source, running = now, "the server's state changed");
                }
                running = now;
            }
            Err(Error::Refused(_)) => unanswered = 0,
            Err(error @ Error::Late(_)) => {
                unanswered += 1;
                if unanswered >= MAX_UNANSWERED {
                    return format!("the server stopped answering ({error})");
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}
