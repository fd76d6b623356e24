//! Writes and reads of single tags, in order, each with the server's own answer.

use opcua::types::{AttributeId, DataValue, Error, ReadValueId, StatusCode as Code, TimestampsToReturn, WriteValue};
use tokio::sync::mpsc;

use super::{convert, items::Items};
use crate::{
    source::{SourceRequest, SourceStats},
    tag::{StatusCode, TagId, Value},
};

/// Carries requests out for as long as the session lasts; returns only when nobody can send any more.
pub async fn run(items: &Items, requests: &mut mpsc::Receiver<SourceRequest>, stats: &SourceStats) {
    while let Some(request) = requests.recv().await {
        match request {
            SourceRequest::Write { tag, value, reply } => {
                let answer = write(items, tag, &value).await;
                if !answer.is_good() {
                    stats.write_error();
                }
                let _ = reply.send(answer);
            }
            SourceRequest::Read { tag, reply } => {
                let _ = reply.send(read(items, tag).await);
            }
        }
    }
}

async fn write(items: &Items, tag: TagId, value: &Value) -> StatusCode {
    let Some((tag, node_id, wire)) = items.node(tag) else { return StatusCode::BAD_CONFIGURATION_ERROR };
    let variant = match convert::variant(value, wire, tag.def.scale.as_ref()) {
        Ok(variant) => variant,
        Err(status) => return status,
    };
    // No status and no timestamps: many servers take only the value (Part 4, 5.11.4: Bad_WriteNotSupported).
    let value = DataValue {
        value: Some(variant),
        status: None,
        source_timestamp: None,
        source_picoseconds: None,
        server_timestamp: None,
        server_picoseconds: None,
    };
    let write = WriteValue { node_id, attribute_id: AttributeId::Value as u32, value, ..WriteValue::default() };
    match items.session.write(&[write]).await {
        Ok(results) => results.first().map_or(StatusCode::BAD_UNEXPECTED_ERROR, |code| StatusCode(code.bits())),
        Err(error) => status(&error),
    }
}

async fn read(items: &Items, tag: TagId) -> Result<Value, StatusCode> {
    let Some((tag, node_id, _)) = items.node(tag) else { return Err(StatusCode::BAD_CONFIGURATION_ERROR) };
    let read = ReadValueId { node_id, attribute_id: AttributeId::Value as u32, ..ReadValueId::default() };
    match items.session.read(&[read], TimestampsToReturn::Neither, 0.0).await {
        Ok(mut values) => {
            let sample = convert::sample(&tag.def, &values.pop().ok_or(StatusCode::BAD_UNEXPECTED_ERROR)?);
            if sample.status.is_bad() { Err(sample.status) } else { Ok(sample.value) }
        }
        Err(error) => Err(status(&error)),
    }
}

fn status(error: &Error) -> StatusCode {
    match error.status() {
        Code::BadNotConnected => StatusCode::BAD_NO_COMMUNICATION,
        code => StatusCode(code.bits()),
    }
}
