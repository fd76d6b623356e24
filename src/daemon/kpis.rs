//! Live figures of the last 24 hours as tags: the same computation as the report's, once a minute, beside the engine.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Shared, figures};
use crate::{
    clock,
    report::{self, Kpis},
    tag::Value,
};

/// Time from the start to the first computation: a program that starts has better things to do.
const FIRST: Duration = Duration::from_secs(3);
/// From one computation to the next …
const PACE: Duration = Duration::from_secs(60);
/// … or so many times as long as one takes, so that a huge journal costs a few per cent of a processor at most.
const SHARE: u32 = 30;
/// What is looked at.
const SPAN: Duration = Duration::from_secs(24 * 3600);

/// Publishes until `stop`.
pub(super) async fn publish(shared: Arc<Shared>, stop: CancellationToken) {
    let mut wait = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        let began = Instant::now();
        match once(&shared).await {
            Ok(kpis) => shared.publish_kpis(&kpis),
            Err(error) => tracing::warn!(%error, "failed to compute the figures of the last 24 hours"),
        }
        wait = PACE.max(began.elapsed() * SHARE);
    }
}

async fn once(shared: &Shared) -> Result<Kpis, String> {
    let now = clock::now();
    let (recorded, span) = figures::read(&shared.store, now - SPAN, now, |_| {}).await.map_err(|error| error.to_string())?;
    let computed = tokio::task::spawn_blocking(move || report::kpis(&recorded, &span)).await;
    computed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

impl Shared {
    fn publish_kpis(&self, kpis: &Kpis) {
        let count = |count: i64| Value::Int32(i32::try_from(count).unwrap_or(i32::MAX));
        let length = |list: usize| count(i64::try_from(list).unwrap_or(i64::MAX));
        let worst = kpis.bad_actors.list.first();
        let values = [
            ("AlarmsPer24Hours", count(kpis.alarms.activations)),
            ("PeakPer10Minutes", count(kpis.alarms.peak_per_10_minutes)),
            ("FloodPercent", Value::Double(kpis.floods.percent_of_time)),
            ("Standing", count(kpis.standing.at_end)),
            ("Stale", count(kpis.stale.at_end)),
            ("Chattering", length(kpis.chattering.len())),
            ("Fleeting", count(kpis.fleeting.events)),
            ("BadActor", Value::string(worst.map_or("", |worst| worst.alarm.as_str()))),
            ("BadActorCount", count(worst.map_or(0, |worst| worst.activations))),
            ("AckMedianSeconds", Value::Double(kpis.acknowledgement.all.median_seconds.unwrap_or_default())),
        ];
        let plan = self.plan.load();
        let own = values.into_iter().filter_map(|(name, value)| Some((plan.system.get(&format!("Alarming/{name}"))?, value)));
        self.publish_own(own.collect());
    }
}
