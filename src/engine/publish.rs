//! What others see of alarms: plain variables, live counts, views.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Engine, Slot, Timer, call,
    io::OutboxId,
    outbox::{Job, Purpose, Row, Text, TextState, status_word},
    people,
    pipeline::Stage,
    plan::{AlarmDef, AlarmNode, Channel},
    view::{AlarmView, OutboxView},
    writeback::Phase,
};
use crate::tag::{Sample, StatusCode, TagId, Timestamp, Value};

/// The span of `AlarmsPer10Minutes` (ISA-18.2 counts floods in it).
const RATE_SPAN: Duration = Duration::from_secs(600);
/// More activations than this in the span are a flood …
const FLOOD: usize = 10;
/// … which ends below this.
const FLOOD_END: usize = 5;
/// Activations that are remembered at most; beyond it the figure stands still at this number.
const MAX_REMEMBERED: usize = 100_000;

/// What the plain variables of an alarm show, to publish only what has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown {
    /// False before the first publication.
    known: bool,
    class: Class,
    active: bool,
    acked: bool,
    shelved: bool,
    shelved_until: Option<Timestamp>,
    state: &'static str,
    priority: i32,
    active_time: Timestamp,
    ack_time: Timestamp,
    ack_user: String,
    event: Option<Uuid>,
}

/// Where an alarm counts (SPEC 5): a silenced one only under its silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Class {
    #[default]
    Normal,
    ActiveUnacked,
    ActiveAcked,
    ClearUnacked,
    Shelved,
    Suppressed,
    OutOfService,
}

impl Class {
    const COUNTED: [(Self, &'static str); 6] = [
        (Self::ActiveUnacked, "Alarming/ActiveUnacked"),
        (Self::ActiveAcked, "Alarming/ActiveAcked"),
        (Self::ClearUnacked, "Alarming/ClearUnacked"),
        (Self::Shelved, "Alarming/Shelved"),
        (Self::Suppressed, "Alarming/Suppressed"),
        (Self::OutOfService, "Alarming/OutOfService"),
    ];

    fn of(slot: &Slot) -> Self {
        let alarm = &slot.alarm;
        if alarm.is_out_of_service() {
            Self::OutOfService
        } else if alarm.is_suppressed() {
            Self::Suppressed
        } else if alarm.shelving().is_some() {
            Self::Shelved
        } else {
            match alarm.state_name() {
                "ActiveUnacked" => Self::ActiveUnacked,
                "ActiveAcked" => Self::ActiveAcked,
                "ClearUnacked" => Self::ClearUnacked,
                _ => Self::Normal,
            }
        }
    }
}

/// Live counts.
#[derive(Debug, Default)]
pub(super) struct Alarming {
    counts: [i32; 6],
    counts_changed: bool,
    raised: VecDeque<Timestamp>,
    in_flood: bool,
}

impl Alarming {
    pub(super) fn raised(&mut self, now: Timestamp) {
        if self.raised.len() < MAX_REMEMBERED {
            self.raised.push_back(now);
        }
        self.counts_changed = true;
    }

    /// Everything is to be published again.
    pub(super) fn raised_again(&mut self) {
        self.counts_changed = true;
    }

    fn count(&mut self, class: Class, by: i32) {
        if let Some(place) = Class::COUNTED.iter().position(|(counted, _)| *counted == class) {
            self.counts[place] += by;
            self.counts_changed = true;
        }
    }
}

impl Engine {
    /// Publishes what the step has changed.
    pub(super) fn show(&mut self) {
        let changed = self.dirty.alarms.clone();
        for index in changed {
            self.show_alarm(index);
        }
        self.publish_counters();
        if std::mem::take(&mut self.alarming.counts_changed) {
            self.show_counts();
        }
        let (depth, oldest) = self.outbox_depth();
        if depth != self.shown_depth {
            self.shown_depth = depth;
            self.show_depth(depth, oldest);
            self.timers.set(&Timer::Housekeeping, Some(self.now + self.housekeeping_pace()));
        }
    }

    fn show_alarm(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let slot = &self.alarms[index];
        let view = slot.alarm.view(&def);
        let class = Class::of(slot);
        let shown = Shown {
            known: true,
            class,
            active: slot.alarm.state().is_active(),
            acked: slot.alarm.open_events().next().is_none(),
            shelved: view.shelved_until.is_some(),
            shelved_until: view.shelved_until,
            state: view.state,
            priority: def.priority as i32,
            active_time: view.active_time,
            ack_time: view.ack_time,
            ack_user: view.ack_user,
            event: view.event,
        };
        let before = std::mem::replace(&mut self.alarms[index].shown, shown.clone());
        if before.class != class {
            self.alarming.count(before.class, -1);
            self.alarming.count(class, 1);
        }
        for node in AlarmNode::ALL {
            let value = shown.value(node, self.now);
            if !before.known || before.value(node, self.now) != value {
                self.show_node(def.nodes.id(node), value);
            }
        }
    }

    fn show_node(&mut self, tag: TagId, value: Value) {
        let sample = Sample { tag, value, status: StatusCode::GOOD, source_time: self.now };
        self.publish(sample);
    }

    fn show_counts(&mut self) {
        let now = self.now;
        let counts = self.alarming.counts;
        for ((_, name), count) in Class::COUNTED.into_iter().zip(counts) {
            self.publish_system(name, Value::Int32(count), now);
        }
        while self.alarming.raised.front().is_some_and(|raised| now.since(*raised) >= RATE_SPAN) {
            self.alarming.raised.pop_front();
        }
        let rate = self.alarming.raised.len();
        self.alarming.in_flood = rate > FLOOD || (self.alarming.in_flood && rate >= FLOOD_END);
        let in_flood = self.alarming.in_flood;
        self.publish_system("Alarming/AlarmsPer10Minutes", Value::Int32(i32::try_from(rate).unwrap_or(i32::MAX)), now);
        self.publish_system("Alarming/InFlood", Value::Boolean(in_flood), now);
    }

    fn show_depth(&mut self, depth: usize, oldest: Duration) {
        let now = self.now;
        self.publish_system("Twilio/OutboxDepth", Value::Int32(i32::try_from(depth).unwrap_or(i32::MAX)), now);
        self.publish_system("Twilio/OldestUnsentSeconds", Value::Double(oldest.as_secs_f64().floor()), now);
    }

    fn housekeeping_pace(&self) -> Duration {
        Duration::from_secs(if self.shown_depth > 0 { 1 } else { 60 })
    }

    /// What changes with time alone: ages, rates, remaining minutes.
    pub(super) fn housekeeping(&mut self) {
        let (depth, oldest) = self.outbox_depth();
        self.show_depth(depth, oldest);
        if !self.alarming.raised.is_empty() {
            self.alarming.counts_changed = true;
        }
        for index in 0..self.alarms.len() {
            if self.alarms[index].alarm.shelving().is_some() {
                let tag = self.plan.alarms[index].nodes.id(AlarmNode::Shelve);
                let minutes = self.alarms[index].alarm.shelved_minutes(self.now);
                self.show_node(tag, Value::Double(minutes));
            }
        }
        self.watch_contacts();
        self.begin_day();
        self.forget_throttle();
        self.timers.set(&Timer::Housekeeping, Some(self.now + self.housekeeping_pace()));
    }

    /// Something went wrong on the way to people; `LastError` says what.
    pub(super) fn note_error(&mut self, words: &str) {
        let now = self.now;
        self.publish_system("Twilio/LastError", Value::string(words), now);
    }

    pub(super) fn alarm_view(&self, def: &AlarmDef, slot: &Slot) -> AlarmView {
        let run = self.runs.get(&def.path);
        AlarmView {
            code: run.filter(|run| run.closed.is_none()).map(|run| run.code.clone()),
            notification: run.map(notification_words).unwrap_or_default(),
            ..slot.alarm.view(def)
        }
    }
}

impl Shown {
    fn value(&self, node: AlarmNode, now: Timestamp) -> Value {
        match node {
            AlarmNode::Active => Value::Boolean(self.active),
            AlarmNode::Acked => Value::Boolean(self.acked),
            AlarmNode::Shelved => Value::Boolean(self.shelved),
            AlarmNode::State => Value::string(if self.known { self.state } else { "ClearAcked" }),
            AlarmNode::Priority => Value::Int32(self.priority),
            AlarmNode::ActiveTime => Value::DateTime(self.active_time),
            AlarmNode::AckTime => Value::DateTime(self.ack_time),
            AlarmNode::AckUser => Value::string(self.ack_user.as_str()),
            AlarmNode::EventId => Value::string(self.event.map(|event| event.to_string()).unwrap_or_default()),
            AlarmNode::Ack => Value::Boolean(false),
            AlarmNode::AckEvent => Value::string(""),
            AlarmNode::Shelve => Value::Double(self.shelved_until.map_or(0.0, |until| until.since(now).as_secs_f64() / 60.0)),
        }
    }
}

impl Engine {
    /// A row as others may see it; a call that Twilio has taken fares as its session says.
    pub(super) fn outbox_view(&self, id: OutboxId, row: &Row) -> OutboxView {
        let view = outbox_view(id, row);
        let session = view.sid.as_ref().and_then(|sid| self.calls.get(sid));
        session.map_or_else(|| view.clone(), |session| OutboxView { state: call::status_word(session.status), ..view.clone() })
    }
}

fn outbox_view(id: OutboxId, row: &Row) -> OutboxView {
    let view = OutboxView {
        row: id.0,
        created: row.created,
        kind: "write",
        to: String::new(),
        user: None,
        profile: None,
        text: String::new(),
        alarms: Vec::new(),
        events: Vec::new(),
        more: 0,
        state: "sending",
        attempts: 1,
        sid: None,
        detail: String::new(),
    };
    match &row.job {
        Job::Text(text) => text_view(id, row.created, text),
        Job::WriteBack(write) => OutboxView {
            to: write.alarm.to_string(),
            user: Some(write.user.clone()),
            alarms: vec![Arc::clone(&write.alarm)],
            events: vec![write.event],
            state: match (write.phase, write.confirmed) {
                (_, Some(true)) => "delivered",
                (_, Some(false)) => "failed",
                (Phase::Reading | Phase::Writing | Phase::Resetting, None) => "sending",
                (_, None) => "queued",
            },
            attempts: write.attempts,
            detail: write.detail.clone(),
            ..view
        },
        Job::Set(set) => OutboxView {
            to: set.target.clone(),
            alarms: vec![Arc::clone(&set.run)],
            events: set.event.into_iter().collect(),
            ..view
        },
    }
}

fn text_view(id: OutboxId, created: Timestamp, text: &Text) -> OutboxView {
    let (state, sid) = match &text.state {
        TextState::Queued => ("queued", None),
        TextState::Sending(_) => ("sending", None),
        TextState::Ambiguous { .. } => ("ambiguous", None),
        TextState::Accepted { sid, status, .. } => (status_word(*status), Some(sid.clone())),
        TextState::Failed { .. } => ("failed", None),
        TextState::Cancelled { .. } => ("cancelled", None),
    };
    let (profile, items) = match &text.purpose {
        Purpose::Alarm { profile, items, .. } => (Some(profile.clone()), items.as_slice()),
        Purpose::Event { profile, .. } => (Some(profile.clone()), [].as_slice()),
        Purpose::Answer(_) | Purpose::Manual => (None, [].as_slice()),
    };
    let shown = &items[..items.len().min(OutboxView::MAX_ALARMS)];
    OutboxView {
        row: id.0,
        created,
        kind: match (&text.purpose, text.channel) {
            (_, Channel::Voice) => "call",
            (Purpose::Answer(_), Channel::Sms) => "answer",
            (_, Channel::Sms) => "text",
        },
        to: people::mask_number(&text.to),
        user: text.user.clone(),
        profile,
        text: if text.audit { text.body.clone() } else { String::new() },
        alarms: shown.iter().map(|item| Arc::clone(&item.alarm)).collect(),
        events: shown.iter().map(|item| item.event).collect(),
        more: items.len() - shown.len(),
        state,
        attempts: text.attempts,
        sid,
        detail: text.detail.clone(),
    }
}

/// Where a notification stands, for people.
fn notification_words(run: &super::pipeline::Run) -> String {
    let step = run.step_name.clone().unwrap_or_else(|| format!("step {}", run.step + 1));
    let told: std::collections::BTreeSet<&str> = run.told.iter().map(|told| told.number.as_str()).collect();
    let told = if told.is_empty() { String::new() } else { format!(", told {}", told.len()) };
    match &run.stage {
        Stage::Enter => format!("{} {step}{told}", run.pipeline),
        Stage::Delay { until } => format!("{} {step}, waits until {until}{told}", run.pipeline),
        Stage::Notify(stage) => format!("{} {step}, round {}{told}", run.pipeline, stage.round + 1),
        Stage::Set { .. } => format!("{} {step}, writes a tag{told}", run.pipeline),
        Stage::Script { .. } => format!("{} {step}, runs a script{told}", run.pipeline),
        Stage::Ended { .. } => format!("{} has ended{told}", run.pipeline),
    }
}
