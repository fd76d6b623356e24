//! What `/metrics` reads at the moment at which it is asked: tags of the program's own, and how its servers are used.

use super::Shared;
use crate::{
    engine::plan::{AlarmNode, Mode, Plan},
    metrics::TagCounts,
    serve::ConsoleLoad,
    tag::{TagId, Timestamp, Value},
};

/// Where the program's own tags lie.
const PREFIX: &str = "System/Gateway/";
/// Counts of alarms: tag and the metric's label.
const STATES: [(&str, &str); 6] = [
    ("Alarming/ActiveUnacked", "active_unacked"),
    ("Alarming/ActiveAcked", "active_acked"),
    ("Alarming/ClearUnacked", "clear_unacked"),
    ("Alarming/Shelved", "shelved"),
    ("Alarming/Suppressed", "suppressed"),
    ("Alarming/OutOfService", "out_of_service"),
];
/// Counts of messages: tag, channel, direction. What went to and came from numbers of no user is in the sum.
const MESSAGES: [(&str, &str, &str); 4] = [
    ("MessagesSent", "sms", "sent"),
    ("MessagesReceived", "sms", "received"),
    ("CallsSent", "voice", "sent"),
    ("CallsReceived", "voice", "received"),
];

impl Shared {
    /// All figures as text.
    pub(super) fn metrics_text(&self, console: ConsoleLoad) -> String {
        let plan = self.plan.load_full();
        self.gauge_tags(&plan);
        self.gauge_alarms(&plan);
        self.gauge_messages(&plan);
        self.gauge_servers(console);
        self.metrics.encode()
    }

    fn gauge_tags(&self, plan: &Plan) {
        let mut tags = TagCounts::default();
        for def in &plan.tags {
            tags.add(self.table.read(def.id).status);
        }
        self.metrics.set_tags(tags);
        for source in &plan.sources {
            self.metrics.set_reconnects(&source.name, self.count(source.nodes.reconnects));
        }
    }

    fn gauge_alarms(&self, plan: &Plan) {
        for (tag, state) in STATES {
            self.metrics
                .set_alarms(state, self.own(plan, tag, Value::as_i128).and_then(|count| count.try_into().ok()).unwrap_or(0));
        }
        let rate = self.own(plan, "Alarming/AlarmsPer10Minutes", Value::as_i128).and_then(|rate| rate.try_into().ok());
        self.metrics.alarm_rate.set(rate.unwrap_or(0));
        let is_true = |value: &Value| (*value == Value::Boolean(true)).then_some(());
        self.metrics.in_flood.set(self.own(plan, "Alarming/InFlood", is_true).is_some().into());
        self.metrics.clear_system_alarms();
        for def in plan.alarms.iter().filter(|def| matches!(def.mode, Mode::System)) {
            let active = self.table.read(def.nodes.id(AlarmNode::Active)).value == Value::Boolean(true);
            self.metrics.set_system_alarm(def.path.strip_prefix(PREFIX).unwrap_or(&def.path), active);
        }
        let time = |value: &Value| match value {
            Value::DateTime(time) if !time.is_null() => Some(unix_seconds(*time)),
            _ => None,
        };
        self.metrics.drill_passed.set(self.own(plan, "Drill/LastPassed", time).unwrap_or(0.0));
        self.metrics.certificate_expires.set(self.own(plan, "Certificate/Expires", time).unwrap_or(0.0));
        self.metrics.start_time.set(self.own(plan, "StartTime", time).unwrap_or(0.0));
    }

    fn gauge_messages(&self, plan: &Plan) {
        let count = |name: &str| plan.system.get(&format!("Twilio/{name}")).map_or(0, |tag| self.count(tag));
        for (name, channel, direction) in MESSAGES {
            self.metrics.set_messages(channel, direction, count(name) + count(&format!("{name}Other")));
        }
        self.metrics.set_failed(count("MessagesFailed"), count("CallsFailed"));
        if let Some(depth) = self.own(plan, "Twilio/OutboxDepth", Value::as_i128).and_then(|depth| depth.try_into().ok()) {
            self.metrics.outbox_depth.set(depth);
        }
        if let Some(oldest) = self.own(plan, "Twilio/OldestUnsentSeconds", Value::as_f64) {
            self.metrics.outbox_oldest.set(oldest);
        }
    }

    fn gauge_servers(&self, console: ConsoleLoad) {
        self.metrics.active.set(self.pair.lease.held().into());
        let instances = self.pair.last().map_or(1, |seen| seen.pair.members.len());
        self.metrics.instances.set(i64::try_from(instances).unwrap_or(i64::MAX));
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.console_sessions.set(gauge(console.sessions));
        self.metrics.event_streams.set(gauge(console.streams));
        if let Some(load) = &*self.opcua_load.load() {
            let figures = load.figures();
            self.metrics.opcua_connections.set(gauge(figures.connections));
            self.metrics.opcua_sessions.set(gauge(figures.sessions));
            self.metrics.opcua_subscriptions.set(gauge(figures.subscriptions));
        }
    }

    /// One of the program's own tags, by its name below `System/Gateway/`.
    fn own<T>(&self, plan: &Plan, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        plan.system.get(name).and_then(|tag| read(&self.table.read(tag).value))
    }

    fn count(&self, tag: TagId) -> u64 {
        self.table.read(tag).value.as_i128().and_then(|count| count.try_into().ok()).unwrap_or(0)
    }
}

#[allow(clippy::cast_precision_loss)]
fn unix_seconds(time: Timestamp) -> f64 {
    time.unix_millis() as f64 / 1000.0
}
