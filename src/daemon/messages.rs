//! Carries the engine's sends, lookups and ends of calls to Twilio, and asks Twilio for what it cannot tell us on a site without webhooks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Shared, trace::Events};
use crate::{
    clock,
    engine::{
        io::{CallDocument, Input, Lookup, Outgoing, RequestId, SendFailure},
        plan::{Channel, Plan},
    },
    notify::{Notifier, twilio::Twilio},
    tag::Timestamp,
};

/// Waits before the further attempts to end a call; then it ends by itself, which costs nothing but its minutes.
const END_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// A call that is still open after so long is asked for also where Twilio reports: a report may have been lost, and until it is
/// known that the line was busy nobody else is called.
const CALL_OVERDUE: Duration = Duration::from_secs(20);
/// States of an outbox row after which nothing is asked for.
const ENDED: [&str; 8] = ["delivered", "undelivered", "failed", "cancelled", "completed", "busy", "no-answer", "canceled"];
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
    pub(super) fn send(self: &Arc<Self>, message: Outgoing, events: Vec<Uuid>, flank: Option<Instant>) {
        if !self.may_act() {
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
                Some(notifier) => match shared.pair.lease.guard(notifier.send(&message)).await {
                    Some(result) => result,
                    // Another instance finds the row as it is, and looks up what became of it.
                    None => return,
                },
                None => Err(SendFailure::Retry { code: None, reason: "its Twilio profile is gone".to_owned(), after: None }),
            };
            shared.metrics.count_send(&result);
            let what = match message.channel {
                Channel::Sms => "text",
                Channel::Voice => "call",
            };
            match &result {
                Ok(accepted) => {
                    let sid = &accepted.sid;
                    tracing::info!(stage = "send", event = %Events(&events), row = message.row.0, %sid, "{what} accepted by Twilio");
                }
                Err(failure) => {
                    tracing::warn!(stage = "send", event = %Events(&events), row = message.row.0, ?failure, "{what} not accepted");
                }
            }
            shared.inbox.input(Input::SendResult { row: message.row, result });
        });
    }

    pub(super) fn look_up(self: &Arc<Self>, lookup: Lookup) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let notifier = shared.notifiers.load().get(&lookup.message.twilio).cloned();
            let result = match notifier {
                Some(notifier) => match shared.pair.lease.guard(notifier.lookup(&lookup)).await {
                    Some(result) => result,
                    None => return,
                },
                None => Err("its Twilio profile is gone".to_owned()),
            };
            shared.inbox.input(Input::LookupResult { row: lookup.message.row, result });
        });
    }

    /// Ends a call that is no longer needed, as well as it can be done; what became of the call is told by its status.
    pub(super) fn end_call(self: &Arc<Self>, twilio: String, sid: String, last_words: CallDocument) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let mut waits = END_AGAIN.into_iter();
            loop {
                let Some(notifier) = shared.notifiers.load().get(&twilio).cloned() else { return };
                let Some(Err(error)) = shared.pair.lease.guard(notifier.end_call(&sid, &last_words)).await else { return };
                let Some(wait) = waits.next() else {
                    tracing::warn!(%sid, %error, "failed to end a call: it ends by itself");
                    return;
                };
                tracing::debug!(%sid, %error, "failed to end a call: trying again");
                tokio::time::sleep(wait).await;
            }
        });
    }
}

/// Asks Twilio for replies and states of the profiles that it cannot call back, and for calls whose reports stay away; at the start
/// for all calls, because nobody was there to take reports.
pub(super) async fn poll(shared: Arc<Shared>, stop: CancellationToken) {
    let mut since = clock::now() - FIRST_LOOK;
    let mut first = true;
    loop {
        let plan = shared.plan.load_full();
        let pace = plan.twilio.values().map(|def| def.poll).min().unwrap_or(Duration::from_secs(10));
        let began = clock::now();
        let mut complete = true;
        for def in plan.twilio.values() {
            let Some(notifier) = shared.notifiers.load().get(&def.name).cloned() else { continue };
            if def.external_url.is_none() {
                complete &= ask_replies(&shared, &*notifier, since).await;
                ask_texts(&shared, &*notifier).await;
            }
            let patience = if first || def.external_url.is_none() { Duration::ZERO } else { CALL_OVERDUE };
            ask_calls(&shared, &*notifier, began - patience).await;
        }
        first = false;
        if complete {
            since = began - OVERLAP;
        }
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn ask_replies(shared: &Arc<Shared>, notifier: &dyn Notifier, since: Timestamp) -> bool {
    match notifier.received(since).await {
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
    }
}

async fn ask_texts(shared: &Arc<Shared>, notifier: &dyn Notifier) {
    for sid in open_sids(shared, false, Timestamp::from_ticks(i64::MAX)).await {
        if let Ok(Some((status, error_code))) = notifier.status(&sid).await {
            shared.inbox.input(Input::Status { request: RequestId::NOBODY, row: None, sid, status, error_code });
        }
    }
}

async fn ask_calls(shared: &Arc<Shared>, notifier: &dyn Notifier, until: Timestamp) {
    for sid in open_sids(shared, true, until).await {
        if let Ok(Some(call)) = notifier.call(&sid).await {
            shared.inbox.input(Input::Call { request: RequestId::NOBODY, call });
        }
    }
}

/// SIDs of texts or calls that were accepted, not later than `until`, and whose end is not known.
async fn open_sids(shared: &Arc<Shared>, calls: bool, until: Timestamp) -> Vec<String> {
    let open = shared.query(move |engine| {
        let views = engine.outbox_views().into_iter();
        let open = views.filter(|view| view.created <= until && !ENDED.contains(&view.state));
        open.filter_map(|view| view.sid).filter(|sid| sid.starts_with("CA") == calls).take(MAX_STATUS_QUERIES).collect()
    });
    open.await.unwrap_or_default()
}
