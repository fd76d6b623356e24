//! Calls: placing one, ending one, how one fares, and the search for one whose fate is unknown.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::{
    Twilio,
    advice::advice,
    answer::{self, Answer},
    list::{Dated, Listed, day_before, oldest_first, parse},
    receive,
};
use crate::{
    engine::io::{
        Accepted, AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, DeliveryState, Lookup, Outgoing, PlaceCall,
        SendFailure,
    },
    notify::twiml,
};

/// The longest call, after which Twilio hangs up: more than a person needs, and a bound for what a machine can cost.
pub const LONGEST_CALL: Duration = Duration::from_secs(900);
/// How long Twilio looks what answered; then its verdict is `unknown`.
pub const DETECTION: Duration = Duration::from_secs(20);
/// Ring times that Twilio takes and we allow.
const RING: (u64, u64) = (5, 600);
const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];
/// Twilio: the call is not in a state in which this can be done.
const NOT_IN_PROGRESS: u32 = 21_220;

/// Twilio, "Call resource: properties".
#[derive(Deserialize)]
struct Call {
    sid: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    duration: Option<String>,
    #[serde(default)]
    answered_by: Option<String>,
    #[serde(default)]
    date_created: Option<String>,
}

impl Listed for Call {
    const RESOURCE: &str = "Calls";

    fn created(&self) -> Option<&str> {
        self.date_created.as_deref()
    }
}

/// How a call took the request to change it.
enum Change {
    /// Its state then, if it was told.
    Done(Option<CallStatus>),
    /// It is not in a state in which that can be done.
    NotNow,
}

impl Twilio {
    /// What the request for a call says. Machines are looked for in the background (`AsyncAmd`), so that a person hears the
    /// call's first words at once and not seconds of silence; those words tell nothing about the plant.
    pub(super) fn call_form(&self, message: &Outgoing) -> Result<Vec<(&'static str, String)>, SendFailure> {
        let profile = &self.profile;
        let call = message.call.as_ref().ok_or_else(|| refused(0, "it is not said how the call is to be placed"))?;
        let from = profile.from.clone().ok_or_else(|| refused(21_213, "no calling number"))?;
        let mut form = vec![("To", message.to.clone()), ("From", from)];
        let external_url = profile.external_url.as_deref();
        match (external_url, &call.document) {
            (_, Some(document)) => form.push(("Twiml", twiml::render(document, external_url, twiml::MAX_INLINE))),
            (Some(url), None) => {
                form.push(("Url", twiml::webhook(url, CallAction::Answer, &message.row.0.to_string(), None)));
                form.push(("Method", "POST".into()));
            }
            (None, None) => {
                return Err(refused(0, "Twilio cannot ask what the call should say: the profile has no external_url"));
            }
        }
        form.push(("Timeout", call.ring_timeout.as_secs().clamp(RING.0, RING.1).to_string()));
        form.push(("TimeLimit", LONGEST_CALL.as_secs().to_string()));
        if let Some(url) = external_url {
            form.extend(callbacks(url, message, call));
        }
        Ok(form)
    }

    /// Calls that may be the one whose fate is unknown, oldest first. Asked with and without StartTime: a call that waits at
    /// Twilio has none.
    pub(super) async fn search_calls(&self, lookup: &Lookup) -> Result<Vec<Accepted>, String> {
        let mut filter = vec![("To", lookup.message.to.clone())];
        filter.extend(self.profile.from.clone().map(|from| ("From", from)));
        let mut found = Vec::<Dated<Call>>::new();
        for dated in [false, true] {
            let mut filter = filter.clone();
            if dated {
                filter.push(("StartTime>", day_before(lookup.since)));
            }
            for candidate in self.list::<Call>(&filter, lookup.since).await? {
                let is_new = found.iter().all(|known| known.row.sid != candidate.row.sid);
                if is_new && self.is_our_call(&candidate.row, lookup) {
                    found.push(candidate);
                }
            }
        }
        // A call's state has words of its own; it comes as a call's event.
        let accepted = |call: Call| Accepted { sid: call.sid, segments: 0, status: DeliveryState::Accepted };
        Ok(oldest_first(found).map(|dated| accepted(dated.row)).collect())
    }

    fn is_our_call(&self, call: &Call, lookup: &Lookup) -> bool {
        call.direction == "outbound-api"
            && call.from == self.profile.from
            && call.to.as_deref() == Some(&lookup.message.to)
            && answer::is_sid(&call.sid)
    }

    /// How one call fares.
    pub(super) async fn fetch_call(&self, sid: &str) -> Result<Option<CallEvent>, String> {
        if !answer::is_sid(sid) {
            return Err(format!("read a call of Twilio: {sid:?} is no SID"));
        }
        let (answer, _) = self.get(&self.call_url(sid)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let call: Call = parse(&answer)?;
        Ok(Some(CallEvent {
            twilio: self.profile.name.clone(),
            action: CallAction::Status,
            row: None,
            sid: call.sid,
            from: call.from.unwrap_or_default(),
            to: call.to.unwrap_or_default(),
            turn: None,
            digits: None,
            answered_by: call.answered_by.as_deref().and_then(answered_by),
            status: CallStatus::parse(&call.status),
            duration: call.duration.and_then(|seconds| seconds.parse().ok()),
            error_code: None,
        }))
    }

    /// Ends a call in whatever state it is. Whether it rings or speaks is Twilio's to know: it is asked to speak, else to cancel,
    /// and once more to speak when somebody answered in between.
    pub(super) async fn end(&self, sid: &str, last_words: &CallDocument) -> Result<(), String> {
        if !answer::is_sid(sid) {
            return Err(format!("end a call of Twilio: {sid:?} is no SID"));
        }
        let farewell = if last_words.verbs.is_empty() {
            ("Status", "completed".to_owned())
        } else {
            ("Twiml", twiml::render(last_words, self.profile.external_url.as_deref(), twiml::MAX_INLINE))
        };
        if matches!(self.change(sid, &farewell).await?, Change::Done(_)) {
            return Ok(());
        }
        match self.change(sid, &("Status", "canceled".to_owned())).await? {
            // Cancelling does nothing to a call in progress, and Twilio does not always call that an error.
            Change::NotNow | Change::Done(Some(CallStatus::InProgress)) => {}
            Change::Done(_) => return Ok(()),
        }
        // Where this cannot be done either the call has ended.
        self.change(sid, &farewell).await.map(|_| ())
    }

    async fn change(&self, sid: &str, form: &(&str, String)) -> Result<Change, String> {
        let _slot = self.slots.acquire().await;
        let sent = self.request(Method::POST, &self.call_url(sid)).form(&[form]).send().await;
        let answer = receive(sent.map_err(|error| format!("end a call: {}", answer::describe(&error)))?).await;
        read_change(&answer)
    }

    fn call_url(&self, sid: &str) -> String {
        format!("{}/Calls/{sid}.json", self.account_url)
    }
}

/// Where Twilio reports.
fn callbacks(external_url: &str, message: &Outgoing, call: &PlaceCall) -> Vec<(&'static str, String)> {
    let status = twiml::webhook(external_url, CallAction::Status, &message.row.0.to_string(), None);
    let mut form = vec![("StatusCallback", status.clone()), ("StatusCallbackMethod", "POST".into())];
    form.extend(EVENTS.map(|event| ("StatusCallbackEvent", event.to_owned())));
    // Without a webhook for the answer nobody could act on the verdict.
    if call.machine_detection && call.document.is_none() {
        form.push(("MachineDetection", "Enable".into()));
        form.push(("MachineDetectionTimeout", DETECTION.as_secs().to_string()));
        form.push(("AsyncAmd", "true".into()));
        form.push(("AsyncAmdStatusCallback", status));
        form.push(("AsyncAmdStatusCallbackMethod", "POST".into()));
    }
    form
}

fn read_change(answer: &Answer) -> Result<Change, String> {
    if (200..=299).contains(&answer.status) {
        let call = answer.body.as_deref().and_then(|body| serde_json::from_slice::<Call>(body).ok());
        return Ok(Change::Done(call.and_then(|call| CallStatus::parse(&call.status))));
    }
    match answer::refusal(answer) {
        (NOT_IN_PROGRESS, _) => Ok(Change::NotNow),
        (20_404, _) => Ok(Change::Done(None)),
        (code, reason) => Err(format!("end a call: {reason} ({code}); {}", advice(code))),
    }
}

fn refused(code: u32, reason: &str) -> SendFailure {
    let advice = if code == 0 { "please report this as a fault of the program" } else { advice(code) };
    SendFailure::Permanent { code, reason: reason.into(), advice: advice.into(), account: false, opted_out: false }
}

/// Twilio's word for what answered (Twilio, "Answering Machine Detection"); `None` for an unknown one.
#[must_use]
pub fn answered_by(word: &str) -> Option<AnsweredBy> {
    Some(match word {
        "human" => AnsweredBy::Human,
        "fax" => AnsweredBy::Fax,
        "unknown" => AnsweredBy::Unknown,
        _ if word.starts_with("machine_") => AnsweredBy::Machine,
        _ => return None,
    })
}
