//! Figures and charts of alarm management for whoever asks over HTTP: computed beside the engine, one span at a time, and kept for
//! a moment, because a page asks for a span's figures and each of its charts at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Semaphore};

use super::figures;
use crate::{
    clock,
    report::{
        self, Kpis,
        charts::{KEYS, Theme},
    },
    serve::{Drawing, ReportError},
    store::Store,
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

impl Reports {
    /// The figures of a span as JSON.
    pub(super) async fn json(
        &self,
        store: &Store,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<String, ReportError> {
        let kpis = self.computed(store, span(from, to)?).await?;
        serde_json::to_string(&*kpis).map_err(|error| ReportError::Failed(error.to_string()))
    }

    /// A chart of a span; `None` when there is none of that name.
    pub(super) async fn chart(
        &self,
        store: &Store,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        drawing: &Drawing,
    ) -> Result<Option<String>, ReportError> {
        if !KEYS.contains(&&*drawing.key) {
            return Ok(None);
        }
        let kpis = self.computed(store, span(from, to)?).await?;
        let theme = match drawing.dark {
            None => Theme::Any,
            Some(true) => Theme::Dark,
            Some(false) => Theme::Light,
        };
        Ok(report::chart(&kpis, &drawing.key).map(|chart| chart.standalone(theme)))
    }

    async fn computed(&self, store: &Store, (from, to): (Timestamp, Timestamp)) -> Result<Arc<Kpis>, ReportError> {
        let _place = self.waiting.try_acquire().map_err(|_| ReportError::Busy)?;
        // Held while it computes: the next one of the same span finds it done.
        let mut kept = self.kept.lock().await;
        kept.retain(|kept| kept.since.elapsed() < KEEP);
        if let Some(found) = kept.iter().find(|kept| kept.span == (from, to)) {
            return Ok(Arc::clone(&found.kpis));
        }
        let failed = |error: &dyn std::fmt::Display| ReportError::Failed(error.to_string());
        let (recorded, span) = figures::read(store, from, to, |_| {}).await.map_err(|error| failed(&error))?;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::engine::{
        io::Via,
        plan::Priority,
        record::{JournalEntry, JournalKind, Record},
    };

    /// The first thing that the store recorded is an hour's beginning.
    fn at(seconds: i64) -> Timestamp {
        let begin = Timestamp::from("2026-11-30T06:00:00Z".parse::<jiff::Timestamp>().unwrap());
        Timestamp::from_ticks(begin.ticks() + seconds * 10_000_000)
    }

    fn entry(seconds: i64, event: u128, kind: JournalKind, user: &str) -> Record {
        Record::Journal(JournalEntry {
            time: at(seconds),
            alarm: "Tank/Alarms/High".into(),
            event: Some(Uuid::from_u128(event)),
            kind,
            priority: Priority::High,
            value: "81.5".into(),
            user: user.into(),
            via: (!user.is_empty()).then_some(Via::Console),
            text: String::new(),
            data: std::collections::BTreeMap::new(),
        })
    }

    async fn store(folder: &tempfile::TempDir) -> Store {
        let store = Store::open("sqlite:annunciator.db", folder.path()).await.unwrap();
        let records = [
            entry(0, 1, JournalKind::Raised, ""),
            entry(60, 1, JournalKind::Acknowledged, "alice"),
            entry(600, 1, JournalKind::Cleared, ""),
            entry(1800, 2, JournalKind::Raised, ""),
            entry(1920, 2, JournalKind::Acknowledged, "bob"),
            entry(2400, 2, JournalKind::Cleared, ""),
        ];
        store.commit(&records).await.unwrap();
        store
    }

    #[tokio::test]
    async fn figures_are_those_that_a_hand_computes() {
        let folder = tempfile::tempdir().unwrap();
        let (store, reports) = (store(&folder).await, Reports::default());
        let of = async |from, to| {
            let json = reports.json(&store, Some(at(from)), Some(at(to))).await.unwrap();
            serde_json::from_str::<Value>(&json).unwrap()
        };
        // An hour: 2 alarms in 6 intervals of ten minutes, standing for 600 s each, acknowledged after 60 s and 120 s.
        let hour = of(0, 3600).await;
        assert_eq!(hour["alarms"]["activations"], 2, "{hour}");
        assert_eq!(hour["alarms"]["intervals"], json!([1, 0, 0, 1, 0, 0]));
        assert_eq!(hour["alarms"]["per_day"], 48.0);
        assert_eq!(hour["standing"]["average"].as_f64().map(|average| (average * 1e6).round()), Some(333_333.0));
        assert_eq!(hour["acknowledgement"]["all"]["count"], 2);
        assert_eq!(hour["acknowledgement"]["all"]["p90_seconds"], 120.0);
        assert_eq!(hour["bad_actors"]["list"][0]["activations"], 2);
        // What lies outside does not count; nor does time before anything was recorded.
        assert_eq!(of(1800, 3600).await["acknowledgement"]["all"]["median_seconds"], 120.0);
        let earlier = of(-86_400, 3600).await;
        assert_eq!((&earlier["from"], &earlier["alarms"]["per_day"]), (&hour["from"], &json!(48.0)));

        let chart = async |key: &str, dark| {
            let drawing = Drawing { key: key.into(), dark };
            reports.chart(&store, Some(at(0)), Some(at(3600)), &drawing).await.unwrap()
        };
        for key in KEYS {
            let drawn = chart(key, None).await.unwrap_or_else(|| panic!("{key}"));
            assert!(drawn.starts_with("<svg") && !drawn.contains("<script"), "{key}: {drawn}");
        }
        assert_ne!(chart("load", Some(true)).await, chart("load", Some(false)).await);
        assert_eq!(chart("nonsense", None).await, None);
    }

    #[tokio::test]
    async fn a_span_is_computed_once_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (store, reports) = (store(&folder).await, Reports::default());
        let of = async |to| reports.computed(&store, (at(0), at(to))).await.unwrap();
        let first = of(3600).await;
        store.commit(&[entry(2700, 3, JournalKind::Raised, "")]).await.unwrap();
        assert!(Arc::ptr_eq(&first, &of(3600).await), "what was computed a moment ago serves");
        assert_eq!(of(3601).await.alarms.activations, 3, "another span is read anew");
        for to in 3602..=3604 {
            of(to).await;
        }
        assert_eq!(reports.kept.lock().await.len(), KEPT);
        assert_eq!(of(3600).await.alarms.activations, 3, "the oldest made room");
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (store, reports) = (store(&folder).await, Reports::default());
        let places = reports.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(reports.json(&store, Some(at(0)), Some(at(1))).await, Err(ReportError::Busy));
        drop(places);
        assert!(reports.json(&store, Some(at(0)), Some(at(1))).await.is_ok());
    }

    #[test]
    fn a_span_has_a_usual_and_a_longest_length() {
        assert_eq!(span(None, Some(at(0))), Ok((at(-86_400), at(0))));
        let (from, to) = span(None, None).unwrap();
        assert!(to > clock::now() && to.since(clock::now()) <= Duration::from_secs(60) && to.since(from) == USUAL);
        assert_eq!(to.ticks() % (ROUND * 10_000_000), 0, "the end of a minute");
        for (from, to) in [(at(1), at(1)), (at(2), at(1)), (at(0), at(400 * 86_400 + 1))] {
            assert!(matches!(span(Some(from), Some(to)), Err(ReportError::Span(_))), "{from} {to}");
        }
        assert!(span(Some(at(0)), Some(at(400 * 86_400))).is_ok());
    }
}
