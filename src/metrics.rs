//! Figures for Prometheus (SPEC 14), in the OpenMetrics text format.
//!
//! The daemon keeps one [`Metrics`] and sets its fields where things happen; nothing here measures by itself.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

use crate::{
    engine::io::{Accepted, SendFailure},
    tag::StatusCode,
};

/// Codes that are counted by name; further ones count as `other`, so that a provider cannot fill our memory.
const MAX_CODES: usize = 100;
/// From 10 µs to about 20 s, each bucket twice the one before.
const BUCKETS: (f64, f64, u16) = (0.000_01, 2.0, 22);

/// All figures. Cloning is not needed: share it behind an `Arc`.
pub struct Metrics {
    registry: Registry,
    tags: Family<Quality, Gauge>,
    /// Tag values that changed.
    pub changes: Counter,
    /// How long one step of the engine took, in seconds.
    pub engine_step: Histogram,
    /// From the source's sample to the commit of what it caused, in seconds.
    pub flank_to_commit: Histogram,
    /// From the source's sample to the HTTP request of the text that tells of it, in seconds.
    pub flank_to_send: Histogram,
    /// Messages and writes that wait.
    pub outbox_depth: Gauge,
    /// How long the oldest of them has waited, in seconds.
    pub outbox_oldest: Gauge<f64, AtomicU64>,
    twilio_results: Family<Code, Counter>,
    codes_seen: Mutex<HashSet<String>>,
    webhook_rejects: Family<Reason, Counter>,
    sources: Family<Source, Gauge>,
    /// Open OPC UA connections.
    pub opcua_connections: Gauge,
    /// 1 on the active instance, 0 on one that stands by.
    pub active: Gauge,
    /// Instances on the store, this one among them; 1 without a shared store.
    pub instances: Gauge,
    /// OPC UA sessions.
    pub opcua_sessions: Gauge,
    heartbeats: Family<Outcome, Counter>,
    /// OPC UA subscriptions.
    pub opcua_subscriptions: Gauge,
    /// Sessions of people who have logged in to the console.
    pub console_sessions: Gauge,
    /// Open event streams of the console and the HTTP API.
    pub event_streams: Gauge,
    /// How long a commit took, in seconds.
    pub store_commit: Histogram,
    /// Records committed.
    pub store_records: Counter,
    /// Commits that failed.
    pub store_failures: Counter,
    /// Values of the past that were written.
    pub history_values: Counter,
    /// Values of the past that were lost because the store was too slow.
    pub history_lost: Counter,
    /// Records that wait in memory while the store cannot be written.
    pub store_waiting: Gauge,
    alarms: Family<State, Gauge>,
    /// Alarm events that began in the last ten minutes.
    pub alarm_rate: Gauge,
    /// 1 in an alarm flood.
    pub in_flood: Gauge,
    system_alarms: Family<Alarm, Gauge>,
    messages: Family<Traffic, Counter>,
    messages_failed: Counter,
    calls_failed: Counter,
    reconnects: Family<Source, Counter>,
    /// When somebody last answered a drill in time, Unix time in seconds; 0 for never.
    pub drill_passed: Gauge<f64, AtomicU64>,
    /// When our own OPC UA certificate ends, Unix time in seconds; 0 for unknown.
    pub certificate_expires: Gauge<f64, AtomicU64>,
    /// When the program started, Unix time in seconds.
    pub start_time: Gauge<f64, AtomicU64>,
}

/// How many tags are of which quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TagCounts {
    pub good: u32,
    pub uncertain: u32,
    pub bad: u32,
}

impl TagCounts {
    /// One tag more.
    pub fn add(&mut self, status: StatusCode) {
        let place = if status.is_good() {
            &mut self.good
        } else if status.is_uncertain() {
            &mut self.uncertain
        } else {
            &mut self.bad
        };
        *place += 1;
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Quality {
    quality: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Alarm {
    alarm: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Traffic {
    channel: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: Arc<str>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All figures at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("annunciator");
        let to = &mut registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The program", build);
        Self {
            tags: plain(to, "tags", "Tags by quality", Family::default()),
            changes: plain(to, "tag_changes", "Tag values that changed", Counter::default()),
            engine_step: seconds(to, "engine_step", "How long one step of the engine took"),
            flank_to_commit: seconds(to, "flank_to_commit", "From a source's sample to the commit of what it caused"),
            flank_to_send: seconds(to, "flank_to_send", "From a source's sample to the request that sends its text"),
            outbox_depth: plain(to, "outbox_depth", "Messages and writes that wait", Gauge::default()),
            outbox_oldest: in_seconds(to, "outbox_oldest", "How long the oldest of them has waited", Gauge::default()),
            twilio_results: plain(to, "twilio_results", "Attempts to send by result", Family::default()),
            codes_seen: Mutex::default(),
            webhook_rejects: plain(to, "webhook_rejects", "Webhooks that were refused, by reason", Family::default()),
            sources: plain(to, "source_connected", "Sources: 1 when connected", Family::default()),
            heartbeats: plain(to, "heartbeats", "Signs of life: sent, or what failed", Family::default()),
            opcua_connections: plain(to, "opcua_connections", "Open OPC UA connections", Gauge::default()),
            active: plain(to, "active", "1 on the active instance, 0 on one that stands by", Gauge::default()),
            instances: plain(to, "instances", "Instances on the store, this one among them", Gauge::default()),
            opcua_sessions: plain(to, "opcua_sessions", "OPC UA sessions", Gauge::default()),
            opcua_subscriptions: plain(to, "opcua_subscriptions", "OPC UA subscriptions", Gauge::default()),
            console_sessions: plain(to, "console_sessions", "Sessions of people logged in to the console", Gauge::default()),
            event_streams: plain(to, "event_streams", "Open event streams of the HTTP API", Gauge::default()),
            store_commit: seconds(to, "store_commit", "How long a commit took"),
            store_records: plain(to, "store_records", "Records committed", Counter::default()),
            store_failures: plain(to, "store_failures", "Commits that failed", Counter::default()),
            history_values: plain(to, "history_values", "Values written to the history", Counter::default()),
            history_lost: plain(to, "history_lost", "Values that the store was too slow for", Counter::default()),
            store_waiting: plain(to, "store_waiting_records", "Records that wait for a store that failed", Gauge::default()),
            alarms: plain(to, "alarms", "Alarms by state; a silenced one only under its silence", Family::default()),
            alarm_rate: plain(to, "alarms_per_10_minutes", "Alarm events that began in the last 10 minutes", Gauge::default()),
            in_flood: plain(to, "in_flood", "1 in an alarm flood", Gauge::default()),
            system_alarms: plain(to, "system_alarm_active", "The program's own alarms: 1 when active", Family::default()),
            messages: plain(to, "messages", "Texts and calls by channel and direction, as the ledger counts", Family::default()),
            messages_failed: plain(to, "messages_failed", "Texts refused or not delivered", Counter::default()),
            calls_failed: plain(to, "calls_failed", "Calls that reached nobody", Counter::default()),
            reconnects: plain(to, "source_reconnects", "Sessions of a source after the first", Family::default()),
            drill_passed: in_seconds(to, "drill_last_passed_timestamp", "When a drill was last answered", Gauge::default()),
            certificate_expires: in_seconds(
                to,
                "certificate_expires_timestamp",
                "When our OPC UA certificate ends",
                Gauge::default(),
            ),
            start_time: in_seconds(to, "start_time", "When the program started", Gauge::default()),
            registry,
        }
    }

    /// How many tags are of which quality now.
    pub fn set_tags(&self, counts: TagCounts) {
        for (quality, count) in [("good", counts.good), ("uncertain", counts.uncertain), ("bad", counts.bad)] {
            self.tags.get_or_create(&Quality { quality }).set(count.into());
        }
    }

    /// A source is connected or not.
    pub fn set_source(&self, source: &Arc<str>, connected: bool) {
        self.sources.get_or_create(&Source { source: Arc::clone(source) }).set(connected.into());
    }

    /// How many alarms are in this state now.
    pub fn set_alarms(&self, state: &'static str, count: i64) {
        self.alarms.get_or_create(&State { state }).set(count);
    }

    /// One of the program's own alarms, by its path without `System/Gateway/`, is active or not.
    pub fn set_system_alarm(&self, alarm: &str, active: bool) {
        self.system_alarms.get_or_create(&Alarm { alarm: alarm.to_owned() }).set(active.into());
    }

    /// Forgets alarms of sources that are no longer configured; those that are there are set anew.
    pub fn clear_system_alarms(&self) {
        self.system_alarms.clear();
    }

    /// How many texts (`sms`) or calls (`voice`) were `sent` or `received`, since the store was made.
    pub fn set_messages(&self, channel: &'static str, direction: &'static str, count: u64) {
        raise_to(&self.messages.get_or_create(&Traffic { channel, direction }), count);
    }

    /// How many texts and calls failed, since the store was made.
    pub fn set_failed(&self, texts: u64, calls: u64) {
        raise_to(&self.messages_failed, texts);
        raise_to(&self.calls_failed, calls);
    }

    /// How many sessions a source had after its first.
    pub fn set_reconnects(&self, source: &Arc<str>, count: u64) {
        raise_to(&self.reconnects.get_or_create(&Source { source: Arc::clone(source) }), count);
    }

    /// A source is no longer configured.
    pub fn remove_source(&self, source: &Arc<str>) {
        self.reconnects.remove(&Source { source: Arc::clone(source) });
        self.sources.remove(&Source { source: Arc::clone(source) });
    }

    /// One attempt to send has ended: `accepted`, `ambiguous`, `unreachable` or Twilio's code.
    pub fn count_send(&self, result: &Result<Accepted, SendFailure>) {
        let code = match result {
            Ok(_) => "accepted".to_owned(),
            Err(SendFailure::Ambiguous { .. }) => "ambiguous".to_owned(),
            Err(SendFailure::Retry { code: None, .. }) => "unreachable".to_owned(),
            Err(SendFailure::Retry { code: Some(code), .. } | SendFailure::Permanent { code, .. }) => code.to_string(),
        };
        let mut seen = self.codes_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let named = seen.len() < MAX_CODES || seen.contains(&code);
        if named {
            seen.insert(code.clone());
        }
        let code = if named { code } else { "other".to_owned() };
        self.twilio_results.get_or_create(&Code { code }).inc();
    }

    /// A webhook was refused.
    pub fn count_reject(&self, reason: &'static str) {
        self.webhook_rejects.get_or_create(&Reason { reason }).inc();
    }

    /// A heartbeat: `sent`, or what failed.
    pub fn count_heartbeat(&self, result: &'static str) {
        self.heartbeats.get_or_create(&Outcome { result }).inc();
    }

    /// A commit has ended.
    pub fn count_commit(&self, records: usize, took: Duration, good: bool) {
        self.store_commit.observe(took.as_secs_f64());
        if good {
            self.store_records.inc_by(records as u64);
        } else {
            self.store_failures.inc();
        }
    }

    /// All figures as text, for `/metrics`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(8192);
        text::encode(&mut out, &self.registry).expect("a String takes all text");
        out
    }
}

/// A counter of the engine's, which never falls while the program runs.
fn raise_to(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn plain<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn in_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let (start, factor, count) = BUCKETS;
    let buckets = prometheus_client::metrics::histogram::exponential_buckets(start, factor, count);
    in_seconds(registry, name, help, Histogram::new(buckets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_out_as_text() {
        let metrics = Metrics::new();
        let mut counts = TagCounts::default();
        for status in [StatusCode::GOOD, StatusCode::GOOD, StatusCode::UNCERTAIN_INITIAL_VALUE, StatusCode::BAD_TIMEOUT] {
            counts.add(status);
        }
        metrics.set_tags(counts);
        metrics.flank_to_send.observe(0.004);
        metrics.outbox_oldest.set(1.5);
        metrics.set_source(&"plc1".into(), true);
        metrics.count_reject("signature");
        metrics.count_commit(7, Duration::from_millis(3), true);
        metrics.count_commit(9, Duration::from_millis(3), false);
        metrics.count_send(&Err(SendFailure::Retry { code: Some(20_429), reason: String::new(), after: None }));
        metrics.count_send(&Err(SendFailure::Ambiguous { reason: String::new() }));
        let text = metrics.encode();
        for line in [
            "annunciator_tags{quality=\"good\"} 2",
            "annunciator_tags{quality=\"uncertain\"} 1",
            "annunciator_tags{quality=\"bad\"} 1",
            "annunciator_flank_to_send_seconds_count 1",
            "annunciator_outbox_oldest_seconds 1.5",
            "annunciator_source_connected{source=\"plc1\"} 1",
            "annunciator_webhook_rejects_total{reason=\"signature\"} 1",
            "annunciator_store_records_total 7",
            "annunciator_store_failures_total 1",
            "annunciator_twilio_results_total{code=\"20429\"} 1",
            "annunciator_twilio_results_total{code=\"ambiguous\"} 1",
            "annunciator_opcua_sessions 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        metrics.set_reconnects(&"plc1".into(), 3);
        metrics.remove_source(&"plc1".into());
        assert!(!metrics.encode().contains("plc1"));
    }

    #[test]
    fn codes_have_a_bound() {
        let metrics = Metrics::new();
        for code in 0..1000 {
            metrics.count_send(&Err(SendFailure::Retry { code: Some(code), reason: String::new(), after: None }));
        }
        assert_eq!(metrics.encode().matches("twilio_results_total{").count(), MAX_CODES + 1);
    }

    /// One of every figure, so that each is there.
    fn all() -> String {
        let metrics = Metrics::new();
        metrics.set_tags(TagCounts::default());
        metrics.set_source(&"plc1".into(), true);
        metrics.set_reconnects(&"plc1".into(), 3);
        metrics.count_reject("signature");
        metrics.count_heartbeat("sent");
        metrics.set_alarms("active_unacked", 1);
        metrics.set_system_alarm("Alarms/NobodyReached", true);
        metrics.set_messages("sms", "sent", 5);
        metrics.set_messages("sms", "sent", 5);
        metrics.count_send(&Err(SendFailure::Ambiguous { reason: String::new() }));
        metrics.encode()
    }

    /// Names of figures in a text, without what Prometheus appends to a histogram's.
    fn names(text: &str) -> std::collections::BTreeSet<String> {
        let name = regex::Regex::new("annunciator_[a-z0-9_]+").unwrap();
        let base = |found: &str| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| found.strip_suffix(end)).unwrap_or(found).to_owned()
        };
        name.find_iter(text).map(|found| base(found.as_str())).collect()
    }

    #[test]
    fn every_figure_of_the_rules_exists_and_every_figure_is_documented() {
        let text = all();
        assert!(text.contains("annunciator_messages_total{channel=\"sms\",direction=\"sent\"} 5\n"), "{text}");
        let exposed = names(&text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
        let rules = names(include_str!("../docs/prometheus-rules.yml"));
        let documented = names(include_str!("../docs/metrics.md"));
        let missing: Vec<_> = rules.union(&documented).filter(|name| !exposed.contains(*name)).collect();
        assert!(missing.is_empty(), "these do not exist: {missing:?}");
        assert!(rules.len() > 10, "{rules:?}");
        let silent: Vec<_> = exposed.difference(&documented).collect();
        assert!(silent.is_empty(), "docs/metrics.md does not name {silent:?}");
    }
}
