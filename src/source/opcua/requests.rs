//! Writes and reads of single tags, in order, each with the server's own answer.

use tokio::sync::mpsc;

use super::{calls::attribute, convert, items::Items};
use crate::{
    source::{SourceRequest, SourceStats},
    tag::{StatusCode, TagId, Value},
    ua::{
        client::{Error, services::VALUE},
        wire::Timestamps,
    },
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
    let Some((tag, node, wire)) = items.node(tag) else { return StatusCode::BAD_CONFIGURATION_ERROR };
    let outgoing = match convert::outgoing(value, wire, tag.scale.as_ref()) {
        Ok(outgoing) => outgoing,
        Err(status) => return status,
    };
    items.session.write(&node, &outgoing).await.unwrap_or_else(|error| error.status())
}

async fn read(items: &Items, tag: TagId) -> Result<Value, StatusCode> {
    let Some((tag, node, _)) = items.node(tag) else { return Err(StatusCode::BAD_CONFIGURATION_ERROR) };
    let mut values =
        items.session.read(&[attribute(&node, VALUE)], Timestamps::Neither).await.map_err(|error: Error| error.status())?;
    let sample = convert::sample(tag, &values.pop().ok_or(StatusCode::BAD_UNEXPECTED_ERROR)?);
    if sample.status.is_bad() { Err(sample.status) } else { Ok(sample.value) }
}
