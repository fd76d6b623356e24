//! The methods of the Server object that are about a subscription (Part 5, 9.1 and 9.2): GetMonitoredItems and ResendData.

use super::{
    super::{
        attributes::View,
        call::{Argument, Refused},
        session::Session,
        wire::{Id, Incoming},
    },
    Sampler, status,
};
use crate::tag::{DataType, StatusCode, Value};

const SERVER: u32 = 2_253;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Standard {
    GetMonitoredItems,
    ResendData,
}

impl Standard {
    /// The method that a client calls, on the Server object or its type; `None` for any other.
    pub fn find(object: Id<'_>, method: Id<'_>) -> Option<Self> {
        match (object.standard(), method.standard()) {
            (Some(SERVER), Some(11_492 | 11_489)) => Some(Self::GetMonitoredItems),
            (Some(SERVER), Some(12_873 | 12_871)) => Some(Self::ResendData),
            _ => None,
        }
    }
}

/// The one argument of both: a SubscriptionId.
///
/// # Errors
/// Why it is none.
pub fn argument(arguments: &[Argument]) -> Result<u32, Refused> {
    Refused::unless_counted(arguments.len(), 1)?;
    match arguments {
        [Argument::Plain(Incoming::Value(Value::UInt32(id)))] => Ok(*id),
        _ => Err(Refused { status: StatusCode::BAD_INVALID_ARGUMENT, arguments: vec![StatusCode::BAD_TYPE_MISMATCH] }),
    }
}

/// Calls one for a session.
///
/// # Errors
/// `Bad_SubscriptionIdInvalid`; `Bad_UserAccessDenied` for a subscription of another session.
pub fn call(view: &View, session: &Session, method: Standard, id: u32) -> Result<Vec<Value>, StatusCode> {
    let done = {
        let subscriptions = &mut session.state().subscriptions;
        match method {
            Standard::GetMonitoredItems => subscriptions.handles(id).map(|handles| {
                let list = |numbers: Vec<u32>| Value::Array(DataType::UInt32, numbers.into_iter().map(Value::UInt32).collect());
                let (ids, handles) = handles.into_iter().unzip();
                vec![list(ids), list(handles)]
            }),
            Standard::ResendData => subscriptions.resend(id, view.wall()).map(|()| Vec::new()),
        }
    };
    let is_elsewhere = || view.server.sessions.all().iter().any(|other| other.state().subscriptions.contains(id));
    match done {
        Err(status::BAD_SUBSCRIPTION_ID_INVALID) if is_elsewhere() => Err(StatusCode::BAD_USER_ACCESS_DENIED),
        done => done,
    }
}
