//! The one write path: every write to a tag passes here, whoever asks: an OPC UA client, the HTTP API, an acknowledgement.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Shared, inbox::Message};
use crate::{
    clock,
    engine::{
        io::{Actor, Command, Input, OutboxId, Via},
        plan::{AlarmNode, Origin, Role, TagDef},
        record::{AuditEntry, AuditKind, Record, StateKind, Stored},
    },
    tag::{Sample, StatusCode, TagId, Timestamp, Value},
};

impl Shared {
    /// A write of a person or program, with all checks (SPEC 4, "Writes"). The answer is the device's own.
    pub(super) async fn write(&self, by: Actor, tag: TagId, value: Value) -> StatusCode {
        let plan = self.plan.load_full();
        let Some(def) = plan.tag(tag) else { return StatusCode::BAD_NODE_ID_UNKNOWN };
        if let Err(refused) = check(&by, def, &value) {
            return refused;
        }
        if let Some((alarm, node)) = self.alarm_nodes.load().get(&tag) {
            return self.write_alarm_node(by, alarm, *node, &value).await;
        }
        if !self.pair.lease.held() {
            // Only the active instance of a redundant pair speaks to devices.
            return StatusCode::BAD_INVALID_STATE;
        }
        // The record comes first; a store that cannot be written lets no write through to a machine (SPEC 12).
        if !self.record(vec![write_record(&by, def, &value)]).await {
            return StatusCode::BAD_RESOURCE_UNAVAILABLE;
        }
        let status = self.carry_out(def, value).await;
        if !status.is_good() {
            tracing::warn!(tag = %def.path, user = %by.name, %status, "write refused");
        }
        status
    }

    /// The write itself, after checks and record.
    async fn carry_out(&self, def: &TagDef, value: Value) -> StatusCode {
        match &def.origin {
            Origin::Source { source, .. } => self.sources.write(source, def.id, value).await,
            Origin::Memory { .. } => {
                if def.retain {
                    let stored = Some(Stored::of(&value));
                    let record = Record::State { kind: StateKind::Retained, key: def.path.to_string(), value: stored };
                    if !self.record(vec![record]).await {
                        return StatusCode::BAD_RESOURCE_UNAVAILABLE;
                    }
                }
                let sample = Sample { tag: def.id, value, status: StatusCode::GOOD, source_time: clock::now() };
                self.take_samples(vec![sample]);
                StatusCode::GOOD
            }
            Origin::Derived(_) | Origin::System => StatusCode::BAD_NOT_WRITABLE,
        }
    }

    /// `Ack`, `AckEvent` and `Shelve` of an alarm are commands (SPEC 5, "An alarm's nodes").
    async fn write_alarm_node(&self, by: Actor, alarm: &Arc<str>, node: AlarmNode, value: &Value) -> StatusCode {
        let (alarm, note) = (Arc::clone(alarm), String::new());
        let command = match (node, value) {
            (AlarmNode::Ack, Value::Boolean(true)) => Command::Acknowledge { alarm, note },
            (AlarmNode::Ack, Value::Boolean(false)) => return StatusCode::GOOD,
            (AlarmNode::AckEvent, Value::String(event)) => match event.parse::<Uuid>() {
                Ok(event) => Command::AcknowledgeEvent { alarm: Some(alarm), event, note },
                Err(_) => return StatusCode::BAD_EVENT_ID_UNKNOWN,
            },
            (AlarmNode::Shelve, Value::Double(minutes)) => Command::Shelve { alarm, minutes: *minutes, note },
            _ => return StatusCode::BAD_NOT_WRITABLE,
        };
        let status = self.command(by, command).await.status;
        match (node, status) {
            // Nothing to acknowledge, or somebody was first: the alarm is as the writer wants it.
            (AlarmNode::Ack, StatusCode::BAD_NOTHING_TO_DO | StatusCode::BAD_CONDITION_BRANCH_ALREADY_ACKED) => StatusCode::GOOD,
            (_, status) => status,
        }
    }

    /// Commits records that are not the engine's; false when the store cannot be written.
    pub(super) async fn record(&self, records: Vec<Record>) -> bool {
        let (sender, committed) = oneshot::channel();
        self.inbox.push(Message::Records(records, sender));
        matches!(committed.await, Ok(Ok(())))
    }

    /// The engine wants a tag read from its device.
    pub(super) fn read_for(self: &Arc<Self>, row: OutboxId, tag: TagId) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let result = shared.read_device(tag).await;
            shared.inbox.input(Input::ReadResult { row, result });
        });
    }

    /// The engine wants tags written: its record is committed, its configuration was checked, its role is the program's own.
    pub(super) fn write_for(self: &Arc<Self>, row: OutboxId, writes: Vec<(TagId, Value)>, read_back: Option<TagId>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let mut status = StatusCode::GOOD;
            for (tag, value) in writes {
                status = shared.write_for_engine(tag, value).await;
                if !status.is_good() {
                    break;
                }
            }
            let read_back = match read_back.filter(|_| status.is_good()) {
                Some(tag) => shared.read_device(tag).await.ok(),
                None => None,
            };
            shared.inbox.input(Input::WriteResult { row, status, read_back });
        });
    }

    async fn write_for_engine(&self, tag: TagId, value: Value) -> StatusCode {
        let plan = self.plan.load_full();
        let Some(def) = plan.tag(tag) else { return StatusCode::BAD_NODE_ID_UNKNOWN };
        let program = Actor { name: "annunciator".to_owned(), role: Role::Engineer, via: Via::System };
        if let Err(refused) = check(&program, def, &value) {
            return refused;
        }
        self.carry_out(def, value).await
    }

    async fn read_device(&self, tag: TagId) -> Result<Value, StatusCode> {
        let plan = self.plan.load_full();
        let def = plan.tag(tag).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
        match &def.origin {
            Origin::Source { source, .. } => self.sources.read(source, tag).await,
            Origin::Memory { .. } | Origin::Derived(_) | Origin::System => {
                let reading = self.table.read(tag);
                if reading.status.is_bad() { Err(reading.status) } else { Ok(reading.value) }
            }
        }
    }
}

/// Right, `writable`, type and range, in that order.
fn check(by: &Actor, def: &TagDef, value: &Value) -> Result<(), StatusCode> {
    if !def.writable {
        return Err(StatusCode::BAD_NOT_WRITABLE);
    }
    if by.role < def.write_role {
        return Err(StatusCode::BAD_USER_ACCESS_DENIED);
    }
    if !def.value_type.admits(value) {
        return Err(StatusCode::BAD_TYPE_MISMATCH);
    }
    let outside = |number: f64| !number.is_finite() || def.range.is_some_and(|(low, high)| number < low || number > high);
    let elements = if let Value::Array(_, elements) = value { elements.as_ref() } else { std::slice::from_ref(value) };
    if elements.iter().filter(|value| value.as_bool().is_none()).filter_map(Value::as_f64).any(outside) {
        return Err(StatusCode::BAD_OUT_OF_RANGE);
    }
    Ok(())
}

fn write_record(by: &Actor, def: &TagDef, value: &Value) -> Record {
    Record::Audit(AuditEntry {
        time: clock::now(),
        kind: AuditKind::Write,
        user: by.name.clone(),
        via: by.via,
        subject: def.path.to_string(),
        text: value.to_string(),
        result: "asked for".to_owned(),
        events: Vec::new(),
        sid: None,
    })
}

/// When the value of a memory tag was stored is not kept: it is as old as the program's start.
pub(super) fn initial_sample(def: &TagDef, retained: Option<Value>, now: Timestamp) -> Option<Sample> {
    let Origin::Memory { initial, .. } = &def.origin else { return None };
    let value = retained.filter(|value| def.value_type.admits(value)).unwrap_or_else(|| initial.clone());
    let status = if value.is_null() { StatusCode::BAD_WAITING_FOR_INITIAL_DATA } else { StatusCode::GOOD };
    Some(Sample { tag: def.id, value, status, source_time: now })
}
