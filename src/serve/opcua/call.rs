//! Call (Part 4, 5.12): the methods of `System/Gateway/Twilio`, and those of conditions (see [`conditions::methods`]).

use std::{sync::Arc, time::Instant};

use super::{
    attributes::View,
    conditions::methods::{self, Asked},
    connection::Job,
    decode::{RequestHeader, Service},
    events::audit,
    frame::status as transport,
    send,
    session::Session,
    space::{Fixed, Kind, Method, NodeRef},
    subscribe::methods::{self as subscription_methods, Standard},
    wire::{Id, Identifier, Incoming, Read, Reader, Writer, built_in},
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

/// The object has no such method.
pub const BAD_METHOD_INVALID: StatusCode = StatusCode(0x8075_0000);
const BAD_ARGUMENTS_MISSING: StatusCode = StatusCode(0x8076_0000);
/// Another refresh is under way, or there were too many of late.
const BAD_REFRESH_IN_PROGRESS: StatusCode = StatusCode(0x8097_0000);
const BAD_SUBSCRIPTION_ID_INVALID: StatusCode = StatusCode(0x8028_0000);
const BAD_TOO_MANY_ARGUMENTS: StatusCode = StatusCode(0x80E5_0000);
/// Most arguments that are looked at.
const MAX_ARGUMENTS: usize = 16;

/// Why a method is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of the call.
    pub status: StatusCode,
    /// Of each argument, when it is for those.
    pub arguments: Vec<StatusCode>,
}

impl Refused {
    /// There are as many arguments as the method takes.
    pub fn unless_counted(found: usize, wanted: usize) -> Result<(), Self> {
        match found.cmp(&wanted) {
            std::cmp::Ordering::Less => Err(BAD_ARGUMENTS_MISSING.into()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(BAD_TOO_MANY_ARGUMENTS.into()),
        }
    }
}

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self { status, arguments: Vec::new() }
    }
}

/// An argument as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// What a tag can hold, or something foreign.
    Plain(Incoming),
    /// A LocalizedText; null parts are empty.
    Text {
        /// Such as `en`.
        locale: String,
        /// The text.
        text: String,
    },
}

impl Argument {
    fn read(body: &mut Reader<'_>) -> Read<Self> {
        const LOCALIZED_TEXT: u8 = 21;
        if body.rest().first() != Some(&LOCALIZED_TEXT) {
            return body.variant().map(Self::Plain);
        }
        body.u8()?;
        let mask = body.u8()?;
        let locale = if mask & 1 != 0 { body.text()?.to_owned() } else { String::new() };
        let text = if mask & 2 != 0 { body.text()?.to_owned() } else { String::new() };
        Ok(Self::Text { locale, text })
    }
}

/// What is to be done.
enum ToDo {
    Own(Method, Vec<Value>),
    Condition(Asked),
    Subscription(Standard, u32),
}

type Checked = Result<ToDo, Refused>;

/// What is called, for the audit trail, and what is to be done.
struct Called {
    trail: audit::Called,
    to_do: Checked,
}

/// Call.
pub fn call(
    view: &View,
    session: &Arc<Session>,
    actor: Actor,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
) -> Result<Job, StatusCode> {
    let malformed = |_| transport::BAD_DECODING_ERROR;
    let count = body.count(2 + 2 + 4).map_err(malformed)?;
    if count == 0 {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if count > view.server.settings.limits.methods_per_call {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let calls: Vec<Called> = (0..count).map(|_| read_one(view, body)).collect::<Read<_>>().map_err(malformed)?;
    let (view, session, handle) = (view.clone(), Arc::clone(session), header.handle);
    let entry = header.audit_entry.to_owned();
    Ok(Box::pin(async move {
        let mut w = send::response(Service::Call.response(), handle, StatusCode::GOOD);
        w.count(calls.len());
        for Called { trail, to_do } in calls {
            let gateway = &*view.server.gateway;
            let (is_refresh, act) = match &to_do {
                Ok(ToDo::Condition(Asked::Refresh { .. }) | ToDo::Subscription(..)) => (true, None),
                Ok(ToDo::Condition(Asked::Act { act, comment, .. })) => (false, Some((*act, comment.clone()))),
                _ => (false, None),
            };
            let outcome = match to_do {
                Ok(ToDo::Own(method, arguments)) => {
                    carry_out(gateway, &actor, method, &arguments).await.map(|value| vec![value]).map_err(Refused::from)
                }
                Ok(ToDo::Condition(Asked::Act { alarm, act, comment })) => {
                    act_on(gateway, actor.clone(), Command::Condition { alarm, act, comment }).await
                }
                Ok(ToDo::Condition(Asked::Refresh { subscription, item })) => refresh(&view, &session, subscription, item),
                Ok(ToDo::Subscription(method, id)) => {
                    subscription_methods::call(&view, &session, method, id).map_err(Refused::from)
                }
                Err(refused) => Err(refused),
            };
            // A refresh, of conditions or data, changes nothing.
            if !is_refresh {
                let status = outcome.as_ref().err().map_or(StatusCode::GOOD, |refused| refused.status);
                trail.tell(&view.server, &actor, &entry, status, act);
            }
            write_result(outcome, &mut w);
        }
        w.null();
        w.0
    }))
}

fn read_one(view: &View, body: &mut Reader<'_>) -> Read<Called> {
    let (object, method) = (body.id()?, body.id()?);
    let count = body.count(1)?;
    let begin = body.rest();
    let mut arguments = Vec::new();
    for place in 0..count {
        let argument = Argument::read(body)?;
        if place < MAX_ARGUMENTS {
            arguments.push(argument);
        }
    }
    let encoded = &begin[..begin.len() - body.rest().len()];
    let known = view.space.find(object).is_some();
    let trail = audit::Called::new(object, known, method, count, encoded);
    let asked = methods::find(&view.server.gateway.plan(), view.role, object, method, &arguments);
    let to_do = match Standard::find(object, method) {
        Some(standard) => subscription_methods::argument(&arguments).map(|id| ToDo::Subscription(standard, id)),
        None => asked.map_or_else(|| check(view, (object, method), &arguments), |asked| asked.map(ToDo::Condition)),
    };
    Ok(Called { trail, to_do })
}

/// A method of a condition; resolves after the commit.
async fn act_on(gateway: &dyn Gateway, actor: Actor, command: Command) -> Result<Vec<Value>, Refused> {
    let status = gateway.command(actor, command).await.status;
    match status {
        good if good.is_good() => Ok(Vec::new()),
        // The configuration changed meanwhile, or somebody was faster.
        StatusCode::BAD_NOT_FOUND => Err(StatusCode::BAD_NODE_ID_UNKNOWN.into()),
        StatusCode::BAD_NOTHING_TO_DO => Err(StatusCode::BAD_CONDITION_BRANCH_ALREADY_ACKED.into()),
        other => Err(other.into()),
    }
}

fn refresh(view: &View, session: &Session, subscription: u32, item: Option<u32>) -> Result<Vec<Value>, Refused> {
    view.server.conditions.catch_up(&view.server.events);
    let mut state = session.state();
    if !state.refreshes.allow(&view.server.settings.limits, Instant::now()) {
        return Err(BAD_REFRESH_IN_PROGRESS.into());
    }
    let status = state.subscriptions.refresh(subscription, item, || view.server.conditions.retained(), view);
    // No two sessions are locked at a time.
    drop(state);
    let is_foreign = || view.server.sessions.all().iter().any(|other| other.state().subscriptions.contains(subscription));
    if status.is_good() {
        Ok(Vec::new())
    } else if status == BAD_SUBSCRIPTION_ID_INVALID && is_foreign() {
        // Part 9, 5.5.7: it is another session's.
        Err(StatusCode::BAD_USER_ACCESS_DENIED.into())
    } else {
        Err(status.into())
    }
}

fn check(view: &View, (object, method): (Id<'_>, Id<'_>), arguments: &[Argument]) -> Checked {
    let (Some(object), Some(method_node)) = (view.space.find(object), view.space.find(method)) else {
        return Err(StatusCode::BAD_NODE_ID_UNKNOWN.into());
    };
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
    Refused::unless_counted(arguments.len(), inputs.len())?;
    let mut values = Vec::new();
    let mut results = Vec::new();
    for (argument, (_, data_type, _)) in arguments.iter().zip(inputs) {
        match argument {
            Argument::Plain(Incoming::Value(value)) if is_scalar_of(value, data_type.identifier) => {
                values.push(value.clone());
                results.push(StatusCode::GOOD);
            }
            _ => results.push(StatusCode::BAD_TYPE_MISMATCH),
        }
    }
    if values.len() < inputs.len() {
        return Err(Refused { status: StatusCode::BAD_INVALID_ARGUMENT, arguments: results });
    }
    Ok(ToDo::Own(method, values))
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
            let users = gateway.users().await.ok_or(StatusCode::BAD_RESOURCE_UNAVAILABLE)?;
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

fn write_result(outcome: Result<Vec<Value>, Refused>, w: &mut Writer) {
    match outcome {
        Ok(values) => {
            w.status(StatusCode::GOOD);
            w.null();
            w.null();
            w.count(values.len());
            for value in &values {
                w.variant(value);
            }
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
