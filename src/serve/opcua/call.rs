//! Call (Part 4, 5.12): the methods of `System/Gateway/Twilio`.

use std::sync::Arc;

use super::{
    attributes::View,
    connection::Job,
    decode::{RequestHeader, Service},
    frame::status as transport,
    send,
    space::{Fixed, Kind, Method, NodeRef},
    wire::{Identifier, Incoming, Read, Reader, Writer, built_in},
};
use crate::{
    engine::{
        io::{Actor, Command},
        plan::Role,
        view::UserStatistics,
    },
    serve::Gateway,
    tag::{DataType, StatusCode, Structure, Value},
};

const BAD_METHOD_INVALID: StatusCode = StatusCode(0x8075_0000);
const BAD_ARGUMENTS_MISSING: StatusCode = StatusCode(0x8076_0000);
const BAD_TOO_MANY_ARGUMENTS: StatusCode = StatusCode(0x80E5_0000);
/// Most arguments that are looked at.
const MAX_ARGUMENTS: usize = 16;

struct Refused {
    status: StatusCode,
    arguments: Vec<StatusCode>,
}

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self { status, arguments: Vec::new() }
    }
}

type Checked = Result<(Method, Vec<Value>), Refused>;

/// Call.
pub fn call(view: &View, actor: Actor, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Result<Job, StatusCode> {
    let malformed = |_| transport::BAD_DECODING_ERROR;
    let count = body.count(2 + 2 + 4).map_err(malformed)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > view.server.settings.limits.methods_per_call {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let calls: Vec<Checked> = (0..count).map(|_| read_one(view, body)).collect::<Read<_>>().map_err(malformed)?;
    let (gateway, handle) = (Arc::clone(&view.server.gateway), header.handle);
    Ok(Box::pin(async move {
        let mut w = send::response(Service::Call.response(), handle, StatusCode::GOOD);
        w.count(calls.len());
        for call in calls {
            let outcome = match call {
                Ok((method, arguments)) => carry_out(&*gateway, &actor, method, &arguments).await.map_err(Refused::from),
                Err(refused) => Err(refused),
            };
            write_result(outcome, &mut w);
        }
        w.null();
        w.0
    }))
}

fn read_one(view: &View, body: &mut Reader<'_>) -> Read<Checked> {
    let (object, method) = (body.id()?, body.id()?);
    let count = body.count(1)?;
    let mut arguments = Vec::new();
    for place in 0..count {
        let argument = body.variant()?;
        if place < MAX_ARGUMENTS {
            arguments.push(argument);
        }
    }
    let found = (view.space.find(object), view.space.find(method));
    Ok(check(view, found, &arguments))
}

fn check(view: &View, found: (Option<NodeRef>, Option<NodeRef>), arguments: &[Incoming]) -> Checked {
    let (Some(object), Some(method_node)) = found else { return Err(StatusCode::BAD_NODE_ID_UNKNOWN.into()) };
    let NodeRef::Own(index) = method_node else { return Err(BAD_METHOD_INVALID.into()) };
    let Kind::Fixed(Fixed::Method(method)) = view.space.kind(index) else { return Err(BAD_METHOD_INVALID.into()) };
    let mut owned = false;
    view.space.references(object, &mut |_, forward, target| owned |= forward && target == method_node);
    if !owned {
        return Err(BAD_METHOD_INVALID.into());
    }
    if view.role < Role::Operator {
        return Err(StatusCode::BAD_USER_ACCESS_DENIED.into());
    }
    let inputs = method.inputs();
    if arguments.len() < inputs.len() {
        return Err(BAD_ARGUMENTS_MISSING.into());
    }
    if arguments.len() > inputs.len() {
        return Err(BAD_TOO_MANY_ARGUMENTS.into());
    }
    let mut values = Vec::new();
    let mut results = Vec::new();
    for (argument, (_, data_type, _)) in arguments.iter().zip(inputs) {
        match argument {
            Incoming::Value(value) if is_scalar_of(value, data_type.identifier) => {
                values.push(value.clone());
                results.push(StatusCode::GOOD);
            }
            _ => results.push(StatusCode::BAD_TYPE_MISMATCH),
        }
    }
    if values.len() < inputs.len() {
        return Err(Refused { status: StatusCode::BAD_INVALID_ARGUMENT, arguments: results });
    }
    Ok((method, values))
}

fn is_scalar_of(value: &Value, wanted: Identifier<'_>) -> bool {
    let kind = value.data_type().map(|data_type| Identifier::Numeric(built_in(data_type).into()));
    !matches!(value, Value::Array(..)) && kind == Some(wanted)
}

async fn carry_out(gateway: &dyn Gateway, actor: &Actor, method: Method, arguments: &[Value]) -> Result<Value, StatusCode> {
    match (method, arguments) {
        (Method::SendMessage | Method::PlaceCall, [Value::String(number), Value::String(text)]) => {
            let (number, text) = (number.to_string(), text.to_string());
            let command = match method {
                Method::PlaceCall => Command::PlaceCall { twilio: None, number, message: text },
                _ => Command::SendText { twilio: None, number, body: text },
            };
            let outcome = gateway.command(actor.clone(), command).await;
            if outcome.status == StatusCode::BAD_USER_ACCESS_DENIED {
                return Err(outcome.status);
            }
            Ok(Value::Boolean(outcome.status.is_good()))
        }
        (Method::GetUser, [Value::Int64(id)]) => {
            let users = gateway.users().await;
            users.into_iter().find(|user| user.id == *id).map(structure).ok_or(StatusCode::BAD_NOT_FOUND)
        }
        _ => Err(StatusCode::BAD_INVALID_ARGUMENT),
    }
}

fn structure(user: UserStatistics) -> Value {
    let fields = [
        Value::string(user.username),
        Value::string(user.phone_number),
        Value::Int32(user.messages_received),
        Value::Int32(user.messages_sent),
        Value::Int32(user.calls_received),
        Value::Int32(user.calls_sent),
        Value::Int32(user.call_minutes_received),
        Value::Int32(user.call_minutes_sent),
    ];
    Value::Structure(Arc::new(Structure { data_type: DataType::UserStatistics, fields: fields.into() }))
}

fn write_result(outcome: Result<Value, Refused>, w: &mut Writer) {
    match outcome {
        Ok(value) => {
            w.status(StatusCode::GOOD);
            w.null();
            w.null();
            w.count(1);
            w.variant(&value);
        }
        Err(refused) => {
            w.status(refused.status);
            w.count(refused.arguments.len());
            for status in refused.arguments {
                w.status(status);
            }
            w.null();
            w.null();
        }
    }
}
