//! Write (Part 4, 5.11.4): Values of tags, through the one write path of the program, in the order of the request; the answer is
//! the device's own.

use super::{
    Server,
    attributes::{View, status},
    connection::Job,
    decode::{RequestHeader, Service},
    events::{
        Field,
        audit::{self, Act},
    },
    frame,
    ns0::attribute,
    read::results,
    send,
    space::{Kind, NAMESPACE, NodeRef},
    wire::{Id, Identifier, Incoming, Read, Reader},
};
use crate::{
    engine::io::Actor,
    tag::{DataType, Rank, StatusCode, TagId, Value, ValueType},
};

/// The least bytes of a WriteValue.
const LEAST: usize = 2 + 4 + 4 + 1;

/// Write.
pub fn write(view: &View, actor: Actor, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Job, StatusCode> {
    let malformed = |_| frame::status::BAD_DECODING_ERROR;
    let count = body.count(LEAST).map_err(malformed)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > view.server.settings.limits.nodes_per_write {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    // All of it is read before any of it is done.
    let writes: Vec<_> = (0..count).map(|_| read_one(view, body)).collect::<Read<_>>().map_err(malformed)?;
    let (server, handle, entry) = (std::sync::Arc::clone(&view.server), header.handle, header.audit_entry.to_owned());
    Ok(Box::pin(async move {
        let mut done = Vec::with_capacity(writes.len());
        for (target, write) in writes {
            let (status, values) = match write {
                Ok((tag, value)) => {
                    let old = server.gateway.table().read(tag).value;
                    (server.gateway.write(actor.clone(), tag, value.clone()).await, Some((old, value)))
                }
                Err(status) => (status, None),
            };
            tell(&server, &actor, &entry, &target, status, values);
            done.push(status);
        }
        let mut w = send::response(Service::Write.response(), handle, StatusCode::GOOD);
        results(&mut w, &done);
        w.0
    }))
}

/// What a client names, for the audit trail.
struct Target {
    /// Path of a node of ours; empty for others.
    path: Box<str>,
    attribute: u32,
    range: Box<str>,
}

/// Tells of a write, old value and new if it came so far (Part 5, 6.4.26).
fn tell(server: &Server, actor: &Actor, entry: &str, target: &Target, status: StatusCode, values: Option<(Value, Value)>) {
    let mut more =
        vec![("AttributeId", Field::Value(Value::UInt32(target.attribute))), ("IndexRange", audit::text(&target.range))];
    if let Some((old, new)) = values {
        more.push(("OldValue", audit::value(old)));
        more.push(("NewValue", audit::value(new)));
    }
    let event_type = audit::event_type::WRITE_UPDATE;
    audit::tell(
        server,
        Act { event_type, source: &target.path, name: "Attribute/Write", status, user: Some(actor), entry, more },
    );
}

/// What may be written where.
type Checked = Result<(TagId, Value), StatusCode>;

fn read_one(view: &View, body: &mut Reader<'_>) -> Read<(Target, Checked)> {
    let (id, attribute, range) = (body.id()?, body.u32()?, body.text()?);
    let (value, more) = body.data_value()?;
    let path = match id {
        Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } if view.space.find(id).is_some() => path,
        _ => "",
    };
    let target = Target { path: path.into(), attribute, range: range.into() };
    Ok((target, check(view, id, attribute, range, value, more)))
}

fn check(
    view: &View,
    id: Id<'_>,
    attribute: u32,
    range: &str,
    value: Incoming,
    more: bool,
) -> Result<(TagId, Value), StatusCode> {
    let node = view.space.find(id).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
    if attribute == 0 || attribute > attribute::LAST {
        return Err(status::BAD_ATTRIBUTE_ID_INVALID);
    }
    let NodeRef::Own(index) = node else { return Err(StatusCode::BAD_NOT_WRITABLE) };
    let Kind::Tag(def) = view.space.kind(index) else { return Err(StatusCode::BAD_NOT_WRITABLE) };
    if attribute != attribute::VALUE || !def.writable {
        return Err(StatusCode::BAD_NOT_WRITABLE);
    }
    if view.role < def.write_role {
        return Err(StatusCode::BAD_USER_ACCESS_DENIED);
    }
    if more || !range.is_empty() {
        return Err(StatusCode::BAD_WRITE_NOT_SUPPORTED);
    }
    match value {
        Incoming::Value(value) => fit(value, def.value_type).map(|value| (def.id, value)),
        Incoming::Foreign => Err(StatusCode::BAD_TYPE_MISMATCH),
    }
}

/// The value as the tag's type; Byte[] and ByteString are one (Part 4, 5.11.4.2), nothing else is converted.
fn fit(value: Value, wanted: ValueType) -> Result<Value, StatusCode> {
    let value = match value {
        Value::ByteString(bytes) if wanted.data_type == DataType::Byte && wanted.rank != Rank::Scalar => {
            Value::Array(DataType::Byte, bytes.iter().copied().map(Value::Byte).collect())
        }
        Value::Array(DataType::Byte, elements) if wanted == ValueType::scalar(DataType::ByteString) => {
            let byte = |value: &Value| if let Value::Byte(byte) = value { *byte } else { 0 };
            Value::ByteString(elements.iter().map(byte).collect())
        }
        other => other,
    };
    if wanted.admits(&value) { Ok(value) } else { Err(StatusCode::BAD_TYPE_MISMATCH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tags_own_type_fits() {
        let bytes = Value::Array(DataType::Byte, [Value::Byte(1), Value::Byte(2)].into());
        let text = Value::ByteString([1, 2].into());
        assert_eq!(fit(bytes.clone(), ValueType::scalar(DataType::ByteString)), Ok(text.clone()));
        assert_eq!(fit(text, ValueType::array(DataType::Byte)), Ok(bytes));
        for (value, wanted) in [
            (Value::Int16(1), DataType::Int32),
            (Value::Double(1.0), DataType::Float),
            (Value::Null, DataType::Boolean),
            (Value::Array(DataType::Int32, [].into()), DataType::Int32),
        ] {
            assert_eq!(fit(value, ValueType::scalar(wanted)), Err(StatusCode::BAD_TYPE_MISMATCH));
        }
    }
}
