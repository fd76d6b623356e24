//! The methods of conditions (Part 9, 5.5 to 5.8): which one a Call means, on which alarm, with what.
//!
//! ObjectId is the ConditionId (or its ShelvingState), MethodId the type's method or the instance's own (5.5.4 and following).
//! What a method then does is the engine's business. Confirm, Suppress, Silence, Respond are no methods of ours:
//! `Bad_MethodInvalid`.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::{
    call::{Argument, BAD_METHOD_INVALID, Refused},
    limits::Limits,
    ns0::Core,
    space::NAMESPACE,
    wire::{Id, Identifier, Incoming},
};
use crate::{
    engine::{
        condition::{Act, NoticeId},
        plan::{AlarmDef, Plan, Role},
    },
    tag::{StatusCode, Value},
};

const BAD_NODE_ID_INVALID: StatusCode = StatusCode(0x8033_0000);
const CONDITION_TYPE: u32 = 2_782;
const SHELVED_STATE_MACHINE_TYPE: u32 = 2_929;
const CONDITION_REFRESH: u32 = 3_875;
const CONDITION_REFRESH_2: u32 = 12_912;
/// Between a condition's path and a member's name.
const MEMBER: &str = "/0:";
const SHELVING_STATE: &str = "ShelvingState";

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Something of one condition.
    Act {
        /// The alarm.
        alarm: Arc<str>,
        /// What.
        act: Act,
        /// `None` leaves the last one as it is, an empty one clears it.
        comment: Option<String>,
    },
    /// ConditionRefresh of a subscription, or with an item ConditionRefresh2.
    Refresh {
        /// The subscription.
        subscription: u32,
        /// The monitored item.
        item: Option<u32>,
    },
}

/// One of the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Acknowledge,
    AddComment,
    Enable,
    Disable,
    TimedShelve,
    OneShotShelve,
    Unshelve,
    RemoveFromService,
    PlaceInService,
    Reset,
}

/// Name, the type's methods, which one it is, and whether it takes a comment last.
type Row = (&'static str, &'static [u32], Method, bool);

/// The `…2` variants take a comment besides.
const METHODS: [Row; 16] = [
    ("Enable", &[9_027], Method::Enable, false),
    ("Disable", &[9_028], Method::Disable, false),
    ("AddComment", &[9_029], Method::AddComment, true),
    ("Acknowledge", &[9_111], Method::Acknowledge, true),
    ("TimedShelve", &[2_949, 9_213], Method::TimedShelve, false),
    ("TimedShelve2", &[24_756], Method::TimedShelve, true),
    ("OneShotShelve", &[2_948, 9_212], Method::OneShotShelve, false),
    ("OneShotShelve2", &[24_760], Method::OneShotShelve, true),
    ("Unshelve", &[2_947, 9_211], Method::Unshelve, false),
    ("Unshelve2", &[24_758], Method::Unshelve, true),
    ("RemoveFromService", &[17_869], Method::RemoveFromService, false),
    ("RemoveFromService2", &[24_320], Method::RemoveFromService, true),
    ("PlaceInService", &[17_870], Method::PlaceInService, false),
    ("PlaceInService2", &[24_322], Method::PlaceInService, true),
    ("Reset", &[18_199], Method::Reset, false),
    ("Reset2", &[24_324], Method::Reset, true),
];

impl Method {
    const fn is_shelving(self) -> bool {
        matches!(self, Self::TimedShelve | Self::OneShotShelve | Self::Unshelve)
    }

    const fn role(self) -> Role {
        match self {
            Self::Enable | Self::Disable | Self::RemoveFromService | Self::PlaceInService => Role::Engineer,
            _ => Role::Operator,
        }
    }

    /// What stands before the comment.
    const fn takes(self) -> usize {
        match self {
            Self::Acknowledge | Self::AddComment | Self::TimedShelve => 1,
            _ => 0,
        }
    }

    /// The condition of this alarm has it.
    const fn belongs_to(self, def: &AlarmDef) -> bool {
        match self {
            Self::TimedShelve | Self::OneShotShelve | Self::Unshelve => def.shelving,
            Self::Reset => def.latching,
            _ => true,
        }
    }
}

/// What a Call asks of a condition; `None` when it is none of these methods.
pub fn find(plan: &Plan, role: Role, object: Id<'_>, method: Id<'_>, arguments: &[Argument]) -> Option<Result<Asked, Refused>> {
    if let Some(id @ (CONDITION_REFRESH | CONDITION_REFRESH_2)) = method.standard() {
        return Some(refresh(plan, object, id == CONDITION_REFRESH_2, arguments));
    }
    let row = match method {
        Id { namespace: 0, identifier: Identifier::Numeric(id) } => METHODS.iter().find(|(_, ids, ..)| ids.contains(&id))?,
        Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } => own_method(plan, path)?,
        _ => return None,
    };
    Some(on_condition(plan, role, row, object, method, arguments))
}

fn on_condition(
    plan: &Plan,
    role: Role,
    row: &'static Row,
    object: Id<'_>,
    method: Id<'_>,
    arguments: &[Argument],
) -> Result<Asked, Refused> {
    let (_, _, which, with_comment) = row;
    let (alarm, is_shelving_state) = condition(plan, object)?;
    if let Identifier::Text(path) = method.identifier
        && own_alarm(plan, path).is_none_or(|(own, _)| own.path != alarm.path)
    {
        return Err(BAD_METHOD_INVALID.into());
    }
    if !which.belongs_to(alarm) || is_shelving_state && !which.is_shelving() {
        return Err(BAD_METHOD_INVALID.into());
    }
    if role < which.role() {
        return Err(StatusCode::BAD_USER_ACCESS_DENIED.into());
    }
    Refused::unless_counted(arguments.len(), which.takes() + usize::from(*with_comment))?;
    let comment = if *with_comment { arguments.last().and_then(comment) } else { Some(None) };
    let mut results = Vec::new();
    let act = act(*which, arguments.first());
    if which.takes() == 1 {
        results.push(if act.is_some() { StatusCode::GOOD } else { StatusCode::BAD_TYPE_MISMATCH });
    }
    if *with_comment {
        results.push(if comment.is_some() { StatusCode::GOOD } else { StatusCode::BAD_TYPE_MISMATCH });
    }
    let (Some(act), Some(comment)) = (act, comment) else {
        return Err(Refused { status: StatusCode::BAD_INVALID_ARGUMENT, arguments: results });
    };
    Ok(Asked::Act { alarm: Arc::clone(&alarm.path), act: act?, comment })
}

/// `None` when the argument is of a wrong type.
fn act(method: Method, argument: Option<&Argument>) -> Option<Result<Act, StatusCode>> {
    let event = || match argument {
        Some(Argument::Plain(Incoming::Value(Value::ByteString(bytes)))) => {
            Some(NoticeId::from_bytes(bytes).ok_or(StatusCode::BAD_EVENT_ID_UNKNOWN))
        }
        Some(Argument::Plain(Incoming::Value(Value::Null))) => Some(Err(StatusCode::BAD_EVENT_ID_UNKNOWN)),
        _ => None,
    };
    Some(match method {
        Method::Acknowledge => event()?.map(Act::Acknowledge),
        Method::AddComment => event()?.map(Act::Comment),
        Method::TimedShelve => {
            let Some(Argument::Plain(Incoming::Value(Value::Double(milliseconds)))) = argument else { return None };
            let time = Duration::try_from_secs_f64(milliseconds / 1_000.0);
            time.map(Act::TimedShelve).map_err(|_| StatusCode::BAD_SHELVING_TIME_OUT_OF_RANGE)
        }
        Method::Enable => Ok(Act::Enable),
        Method::Disable => Ok(Act::Disable),
        Method::OneShotShelve => Ok(Act::OneShotShelve),
        Method::Unshelve => Ok(Act::Unshelve),
        Method::RemoveFromService => Ok(Act::RemoveFromService),
        Method::PlaceInService => Ok(Act::PlaceInService),
        Method::Reset => Ok(Act::Reset),
    })
}

/// Neither locale nor text: the last comment stays; no text with a locale: it is cleared (Part 9, 5.5.6). `None` for what is no
/// LocalizedText.
#[allow(clippy::option_option)]
fn comment(argument: &Argument) -> Option<Option<String>> {
    match argument {
        Argument::Text { locale, text } if locale.is_empty() && text.is_empty() => Some(None),
        Argument::Text { text, .. } => Some(Some(text.clone())),
        Argument::Plain(Incoming::Value(Value::Null)) => Some(None),
        Argument::Plain(_) => None,
    }
}

/// The alarm whose condition `object` is, and whether it is rather its ShelvingState.
fn condition<'a>(plan: &'a Plan, object: Id<'_>) -> Result<(&'a AlarmDef, bool), StatusCode> {
    match object {
        Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } => {
            if let Some(alarm) = plan.alarm(path) {
                return Ok((alarm, false));
            }
            match own_alarm(plan, path) {
                Some((alarm, SHELVING_STATE)) if alarm.shelving => Ok((alarm, true)),
                Some(_) => Err(BAD_NODE_ID_INVALID),
                None => Err(StatusCode::BAD_NODE_ID_UNKNOWN),
            }
        }
        // Also the type itself, on which no method is called.
        Id { namespace: 0, identifier: Identifier::Numeric(id) } if Core::get().find(id).is_some() => Err(BAD_NODE_ID_INVALID),
        _ => Err(StatusCode::BAD_NODE_ID_UNKNOWN),
    }
}

/// The alarm of a member at `path`, and the member's browse path.
fn own_alarm<'a, 'p>(plan: &'a Plan, path: &'p str) -> Option<(&'a AlarmDef, &'p str)> {
    let mut places = path.match_indices(MEMBER);
    places.find_map(|(place, _)| Some((plan.alarm(&path[..place])?.as_ref(), &path[place + MEMBER.len()..])))
}

fn own_method(plan: &Plan, path: &str) -> Option<&'static Row> {
    let (_, member) = own_alarm(plan, path)?;
    let (name, of_shelving) = match member.split_once(MEMBER) {
        Some((SHELVING_STATE, name)) => (name, true),
        Some(_) => return None,
        None => (member, false),
    };
    METHODS.iter().find(|(known, _, which, _)| *known == name && which.is_shelving() == of_shelving)
}

fn refresh(plan: &Plan, object: Id<'_>, with_item: bool, arguments: &[Argument]) -> Result<Asked, Refused> {
    match object.standard() {
        Some(CONDITION_TYPE) => {}
        Some(SHELVED_STATE_MACHINE_TYPE) => return Err(BAD_METHOD_INVALID.into()),
        Some(id) if Core::get().find(id).is_some() => return Err(BAD_METHOD_INVALID.into()),
        _ => {
            condition(plan, object)?;
            return Err(BAD_METHOD_INVALID.into());
        }
    }
    Refused::unless_counted(arguments.len(), 1 + usize::from(with_item))?;
    let numbers = arguments.iter().map(|argument| match argument {
        Argument::Plain(Incoming::Value(Value::UInt32(number))) => Ok(*number),
        _ => Err(StatusCode::BAD_TYPE_MISMATCH),
    });
    let numbers: Vec<Result<u32, StatusCode>> = numbers.collect();
    match *numbers {
        [Ok(subscription)] => Ok(Asked::Refresh { subscription, item: None }),
        [Ok(subscription), Ok(item)] => Ok(Asked::Refresh { subscription, item: Some(item) }),
        _ => {
            let results = numbers.into_iter().map(|number| number.err().unwrap_or(StatusCode::GOOD)).collect();
            Err(Refused { status: StatusCode::BAD_INVALID_ARGUMENT, arguments: results })
        }
    }
}

/// How often a session has had its conditions sent again lately.
#[derive(Clone, Debug, Default)]
pub struct Refreshes(VecDeque<Instant>);

impl Refreshes {
    /// Counts one more; false when there were too many, and this one is not to be carried out.
    pub fn allow(&mut self, limits: &Limits, now: Instant) -> bool {
        let (most, span) = limits.refreshes;
        while self.0.front().is_some_and(|oldest| now.saturating_duration_since(*oldest) >= span) {
            self.0.pop_front();
        }
        if self.0.len() >= most {
            return false;
        }
        self.0.push_back(now);
        true
    }
}
