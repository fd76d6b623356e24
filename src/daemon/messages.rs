//! Carries the engine's sends and lookups to Twilio, and asks Twilio for what it cannot tell us on a site without webhooks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Shared, inbox::Message};
use crate::{
    clock,
    engine::{
        io::{Input, Lookup, Outgoing, RequestId, SendFailure},
        plan::Plan,
    },
    notify::{Notifier, twilio::Twilio},
};

/// Texts whose status is asked for in one round of polling.
const MAX_STATUS_QUERIES: usize = 50;
/// How far back the first round looks for replies.
const FIRST_LOOK: Duration = Duration::from_secs(3600);
/// Twilio's list has a precision of seconds, and may lag: each round looks a little further back.
const OVERLAP: Duration = Duration::from_secs(120);

/// Notifiers by Twilio profile.
pub(super) type Notifiers = BTreeMap<String, Arc<dyn Notifier>>;

/// One notifier a profile.
///
/// # Errors
/// When an HTTP client cannot be made.
pub(super) fn notifiers(plan: &Plan) -> Result<Notifiers, String> {
    let notifier = |(name, def): (&String, &Arc<_>)| {
        let twilio = Twilio::new(Arc::clone(def)).map_err(|error| format!("failed to set up Twilio profile {name}: {error}"))?;
        Ok((name.clone(), Arc::new(twilio) as Arc<dyn Notifier>))
    };
    plan.twilio.iter().map(notifier).collect()
}

impl Shared {
    /// One attempt; its result comes back as an input.
    pub(super) fn send(self: &Arc<Self>, message: Outgoing, flank: Option<Instant>) {
        if self.stopping.load(std::sync::atomic::Ordering::Acquire) {
            // The row stays as it is in the store: at the next start its fate is looked up.
            return;
        }
        if let Some(flank) = flank {
            self.metrics.flank_to_send.observe(flank.elapsed().as_secs_f64());
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let notifier = shared.notifiers.load().get(&message.twilio).cloned();
            let result = match notifier {
                Some(notifier) => notifier.send(&message).await,
                None => Err(SendFailure::Retry { code: None, reason: "its Twilio profile is gone".to_owned(), after: None }),
            };
            shared.metrics.count_send(&result);
            match &result {
                Ok(accepted) => tracing::info!(row = message.row.0, sid = %accepted.sid, "text accepted by Twilio"),
                Err(failure) => tracing::warn!(row = message.row.0, ?failure, "text not accepted"),
            }
            shared.inbox.input(Input::SendResult { row: message.row, result });
        });
    }

    pub(super) fn look_up(self: &Arc<Self>, lookup: Lookup) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let notifier = shared.notifiers.load().get(&lookup.message.twilio).cloned();
            let result = match notifier {
                Some(notifier) => notifier.lookup(&lookup).await,
                None => Err("its Twilio profile is gone".to_owned()),
            };
            shared.inbox.input(Input::LookupResult { row: lookup.message.row, result });
        });
    }
}

/// Asks Twilio for replies and delivery states of the profiles that it cannot call back.
pub(super) async fn poll(shared: Arc<Shared>, stop: CancellationToken) {
    let mut since = clock::now() - FIRST_LOOK;
    loop {
        let plan = shared.plan.load_full();
        let polled: Vec<String> =
            plan.twilio.values().filter(|def| def.external_url.is_none()).map(|def| def.name.clone()).collect();
        let pace = plan.twilio.values().map(|def| def.poll).min().unwrap_or(Duration::from_secs(10));
        let began = clock::now();
        let mut complete = true;
        for name in polled {
            let Some(notifier) = shared.notifiers.load().get(&name).cloned() else { continue };
            complete &= poll_one(&shared, &*notifier, since).await;
        }
        if complete {
            since = began - OVERLAP;
        }
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn poll_one(shared: &Arc<Shared>, notifier: &dyn Notifier, since: crate::tag::Timestamp) -> bool {
    let complete = match notifier.received(since).await {
        Ok(texts) => {
            for text in texts {
                // The engine knows which SIDs it has seen.
                shared.inbox.input(Input::Inbound { request: RequestId::NOBODY, text });
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "failed to ask Twilio for replies");
            false
        }
    };
    let waiting = shared.query(|engine| {
        let views = engine.outbox_views().into_iter();
        let open = views.filter(|view| matches!(view.state, "accepted" | "queued" | "sending" | "sent"));
        open.filter_map(|view| view.sid).take(MAX_STATUS_QUERIES).collect::<Vec<_>>()
    });
    for sid in waiting.await.unwrap_or_default() {
        if let Ok(Some((status, error_code))) = notifier.status(&sid).await {
            shared.inbox.push(Message::Input(
                Input::Status { request: RequestId::NOBODY, row: None, sid, status, error_code },
                Instant::now(),
            ));
        }
    }
    complete
}
