//! Figures and charts of alarm management for whoever asks over HTTP: computed beside the engine, one span at a time, and kept for
//! a moment, because a page asks for a span's figures and each of its charts at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Semaphore};

use super::{Shared, figures};
use crate::{
    clock,
    report::{
        self, Kpis,
        charts::{KEYS, Theme},
    },
    serve::{Drawing, ReportError},
    tag::Timestamp,
};

/// What is reported on unless a caller says otherwise.
const USUAL: Duration = Duration::from_secs(24 * 3600);
/// The longest span: a year and a month.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
/// Callers that may wait for a computation.
const WAITING: usize = 32;
/// How long computed figures serve, and how many.
const KEEP: Duration = Duration::from_secs(60);
const KEPT: usize = 4;
/// An end that nobody named is rounded to this, so that what is asked together is about the same time, in seconds.
const ROUND: i64 = 60;

/// What was computed lately.
pub(super) struct Reports {
    waiting: Semaphore,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    span: (Timestamp, Timestamp),
    since: Instant,
    kpis: Arc<Kpis>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { waiting: Semaphore::new(WAITING), kept: Mutex::default() }
    }
}

impl Shared {
    /// The figures of a span as JSON.
    pub(super) async fn report_json(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<String, ReportError> {
        let kpis = self.reported(span(from, to)?).await?;
        serde_json::to_string(&*kpis).map_err(|error| ReportError::Failed(error.to_string()))
    }

    /// A chart of a span; `None` when there is none of that name.
    pub(super) async fn report_chart(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        drawing: &Drawing,
    ) -> Result<Option<String>, ReportError> {
        if !KEYS.contains(&&*drawing.key) {
            return Ok(None);
        }
        let kpis = self.reported(span(from, to)?).await?;
        let theme = match drawing.dark {
            None => Theme::Any,
            Some(true) => Theme::Dark,
            Some(false) => Theme::Light,
        };
        Ok(report::chart(&kpis, &drawing.key).map(|chart| chart.standalone(theme)))
    }

    async fn reported(&self, (from, to): (Timestamp, Timestamp)) -> Result<Arc<Kpis>, ReportError> {
        let _place = self.reports.waiting.try_acquire().map_err(|_| ReportError::Busy)?;
        // Held while it computes: the next one of the same span finds it done.
        let mut kept = self.reports.kept.lock().await;
        kept.retain(|kept| kept.since.elapsed() < KEEP);
        if let Some(found) = kept.iter().find(|kept| kept.span == (from, to)) {
            return Ok(Arc::clone(&found.kpis));
        }
        let failed = |error: &dyn std::fmt::Display| ReportError::Failed(error.to_string());
        let (recorded, span) = figures::read(&self.store, from, to, |_| {}).await.map_err(|error| failed(&error))?;
        let computed =
            tokio::task::spawn_blocking(move || report::kpis(&recorded, &span)).await.map_err(|error| failed(&error))?;
        let kpis = Arc::new(computed.map_err(|error| failed(&error))?);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Kept { span: (from, to), since: Instant::now(), kpis: Arc::clone(&kpis) });
        Ok(kpis)
    }
}

fn span(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(Timestamp, Timestamp), ReportError> {
    let to = to.unwrap_or_else(|| minute(clock::now()));
    let from = from.unwrap_or(to - USUAL);
    match from {
        _ if from >= to => Err(ReportError::Span("the span is empty: `from` must be before `to`".to_owned())),
        _ if to.since(from) > LONGEST => Err(ReportError::Span("a span has at most 400 days".to_owned())),
        _ => Ok((from, to)),
    }
}

/// The end of the minute.
fn minute(time: Timestamp) -> Timestamp {
    const TICKS: i64 = ROUND * 10_000_000;
    Timestamp::from_ticks((time.ticks() / TICKS + 1) * TICKS)
}
