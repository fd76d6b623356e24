//! Calls: what one says next, how it fares, and people who call us.
//!
//! **A call is never left without words**: Twilio asks once and then apologises for a fault, so that what cannot be stored is
//! said. Which request repeats an earlier one is the engine's to know, by the turn in its URL.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Hooks, Reason,
    verify::{Form, of_account},
};
use crate::{
    engine::{
        io::{CallAction, CallDocument, CallEvent, CallStatus, OutboxId, Verb},
        plan::{Plan, TwilioDef},
    },
    notify::{twilio, twiml},
};

/// Keys of one request that are read on.
const MAX_DIGITS: usize = 64;

/// A webhook of a call.
pub(super) async fn voice(State(hooks): State<Hooks>, Path((action, id)): Path<(String, String)>, request: Request) -> Response {
    match hooks.voice(&action, &id, request).await {
        Ok(Some(xml)) => ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], xml).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => hooks.reject(reason),
    }
}

/// What the last part of the URL names.
#[derive(Clone, Copy)]
enum About<'a> {
    /// A call of ours, by its outbox row.
    Row(OutboxId),
    /// A call by its SID.
    Sid(&'a str),
    /// The calls of a Twilio profile, as its number is set up in Twilio's console.
    Profile(&'a Arc<TwilioDef>),
}

impl<'a> About<'a> {
    fn read(plan: &'a Plan, action: CallAction, id: &'a str) -> Result<Self, Reason> {
        let profile = || plan.twilio.get(id).map(Self::Profile).ok_or(Reason::Profile);
        match (action, id.parse()) {
            (CallAction::Inbound, _) => profile(),
            (_, Ok(row)) => Ok(Self::Row(OutboxId(row))),
            _ if twilio::is_sid(id) => Ok(Self::Sid(id)),
            (CallAction::Status, _) => profile(),
            _ => Err(Reason::Route),
        }
    }
}

impl Hooks {
    /// The TwiML of the answer; a status has none.
    async fn voice(&self, action: &str, id: &str, request: Request) -> Result<Option<String>, Reason> {
        let plan = self.gateway.plan();
        let action = CallAction::parse(action).ok_or(Reason::Route)?;
        let about = About::read(&plan, action, id)?;
        let profiles: Vec<&Arc<TwilioDef>> = match about {
            About::Profile(profile) => vec![profile],
            About::Row(_) | About::Sid(_) => plan.twilio.values().collect(),
        };
        let (profile, parts, form) = of_account(request, &profiles).await?;
        let call = event(profile, action, about, turn(&parts.uri), &form)?;
        if action == CallAction::Status {
            if call.status.is_some() || call.answered_by.is_some() {
                self.commit(self.gateway.call(call)).await?;
            }
            self.copies.send(profile, form.0);
            return Ok(None);
        }
        let Ok(document) = self.commit(self.gateway.call(call)).await else {
            self.rejects.add(Reason::Store);
            return Ok(Some(not_recorded()));
        };
        Ok(Some(self.answer(profile, action, document, form).await))
    }

    async fn answer(&self, profile: &TwilioDef, action: CallAction, document: Option<CallDocument>, form: Form) -> String {
        let document = document.unwrap_or_else(|| plain(vec![Verb::Hangup]));
        let xml = twiml::render(&document, profile.external_url.as_deref(), twiml::MAX_ANSWER);
        match document.profile {
            Some(name) => self.gateway.voice_script(name, action, form.0, xml).await,
            None => xml,
        }
    }
}

fn event(profile: &TwilioDef, action: CallAction, about: About<'_>, turn: Option<u32>, form: &Form) -> Result<CallEvent, Reason> {
    let sid = form.first(&["CallSid"]).ok_or(Reason::Malformed)?;
    if matches!(about, About::Sid(named) if named != sid) {
        return Err(Reason::Malformed);
    }
    let number = |name| form.first(&[name]).and_then(|text| text.parse::<u32>().ok());
    // Twilio bills minutes; only older accounts do not tell the seconds.
    let duration = number("CallDuration").or_else(|| number("Duration").map(|minutes| minutes.saturating_mul(60)));
    Ok(CallEvent {
        twilio: profile.name.clone(),
        action,
        row: if let About::Row(row) = about { Some(row) } else { None },
        sid,
        from: form.first(&["From"]).unwrap_or_default(),
        to: form.first(&["To"]).unwrap_or_default(),
        turn,
        digits: form.first(&["Digits"]).and_then(|keys| digits(&keys)),
        answered_by: form.first(&["AnsweredBy"]).and_then(|word| twilio::answered_by(&word)),
        status: form.first(&["CallStatus"]).and_then(|word| CallStatus::parse(&word)),
        duration,
        error_code: number("ErrorCode"),
    })
}

/// What was keyed before the finish key; nothing, however Twilio tells that.
fn digits(keys: &str) -> Option<String> {
    let keys: String = keys.trim_end_matches('#').chars().filter(|key| !key.is_whitespace()).take(MAX_DIGITS).collect();
    (!keys.is_empty()).then_some(keys)
}

fn plain(verbs: Vec<Verb>) -> CallDocument {
    CallDocument { id: String::new(), turn: 0, profile: None, language: "en-US".into(), voice: None, verbs }
}

fn not_recorded() -> String {
    twiml::render(&plain(vec![Verb::Say(twiml::NOT_RECORDED.into()), Verb::Hangup]), None, twiml::MAX_ANSWER)
}

/// The turn of the document that asked.
fn turn(uri: &Uri) -> Option<u32> {
    let (_, turn) = form_urlencoded::parse(uri.query()?.as_bytes()).find(|(key, _)| key == "turn")?;
    turn.parse().ok()
}
