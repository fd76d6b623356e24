//! The OPC UA client as a source: subscriptions with monitored items, writes, reads.
//!
//! One call of [`Source::session`] is one connection: nothing is reconnected or transferred here, the daemon starts the next
//! session, whose first notifications bring every value anew. Deliberately absent: events and alarms of other servers, history,
//! methods, chains of certificate authorities.

pub mod address;
pub mod browse;
mod calls;
mod connect;
mod convert;
mod feed;
mod items;
mod requests;
mod settings;
mod tcp;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};

pub use self::settings::{DRIVER, OpcuaSettings, SECURITY, Security, Server, TagAddress};
use self::{
    connect::Connection,
    feed::{Feed, INBOX, Inbox},
    items::Items,
};
use super::{Link, SessionEnd, Source};
use crate::{BoxFuture, engine::plan::Settings, pki::Pki};

/// The most values in one publish answer; more follow at once in the next.
const MAX_NOTIFICATIONS: u32 = 5000;
/// How long a subscription outlives its client.
const LIFETIME: Duration = Duration::from_secs(60);
/// The least time that a server may be silent.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);

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
    let (sender, inbox) = mpsc::channel(INBOX);
    let keep_alive = count(settings.server.keep_alive, settings.publishing);
    let lifetime = count(LIFETIME, settings.publishing).max(keep_alive.saturating_mul(3));
    let prepared = async {
        let subscription = session
            .create_subscription(settings.publishing, lifetime, keep_alive, MAX_NOTIFICATIONS, 0, true, Inbox(sender))
            .await?;
        let items = Items::new(Arc::clone(&session), subscription, Arc::clone(&link.tags), settings.clone()).await?;
        let clock = items.watch_clock().await?;
        Ok::<_, opcua::types::Error>((items, clock))
    };
    let (items, clock) = tokio::select! {
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
        inbox,
        clock,
        patience: patience(settings, &items),
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
fn patience(settings: &OpcuaSettings, items: &Items) -> Duration {
    let state = items.session.subscription_state().lock();
    let granted = state.get(items.subscription);
    let (interval, keep_alive) = granted.map_or((settings.publishing, settings.server.keep_alive), |subscription| {
        let interval = subscription.publishing_interval();
        (interval, interval.saturating_mul(subscription.max_keep_alive_count()))
    });
    (interval * 3).max(keep_alive.min(settings.server.keep_alive * 3) * 2).max(LEAST_PATIENCE)
}
