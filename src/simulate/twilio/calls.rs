//! The Calls resource: which calls Twilio accepts, which it refuses and with which code, and what may be changed while one runs.
//!
//! Deliberately absent: applications (every `ApplicationSid` is unknown, 21218), recordings, child calls.

mod hand;
mod life;
mod record;
mod twiml;

use std::sync::Arc;

use serde_json::Value;

use super::{
    Event, Shared,
    api::{Answer, ApiError, Parameters, parameter, repeated},
    courier::{self, Hook},
    messages::{TEST_SENDER, e164},
    paging::{self, Days},
    state::{Kept, MAX_MARKS},
};

pub(super) use record::Call;
pub use record::{CallLine, CallRecord, Reports, Voice, VoiceMode};
use record::{Detection, Source, Status};

/// Longest TwiML in a request, characters.
const MAX_TWIML: usize = 4000;
/// Ring time unless asked for, and the longest, s.
const RING_TIME: (u32, u32) = (60, 600);
const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// `POST …/Calls.json`
pub(super) fn create(shared: &Arc<Shared>, parameters: &Parameters) -> Answer {
    let order = Order::read(parameters)?;
    let account = &shared.options.account_sid;
    if shared.options.test_credentials {
        order.check_magic_sender()?;
        order.check_magic_recipient()?;
        return Ok((201, Call::new(order).resource(account)));
    }
    order.check_account(shared)?;
    let call = Call::new(order);
    let resource = call.resource(account);
    begin(shared, call);
    Ok((201, resource))
}

fn begin(shared: &Arc<Shared>, call: Call) {
    let sid = call.sid.clone();
    shared.tell(call.event());
    shared.state().calls.add(call);
    let living = shared.clone();
    shared.live(async move { life::live(&living, &sid).await });
}

/// What [`super::Running::call`] does.
pub(super) fn inbound(shared: &Arc<Shared>, from: &str, to: Option<String>) -> Result<String, String> {
    let from = e164(from).ok_or_else(|| format!("call from {from}: it is not a number in E.164"))?;
    let to = to.or_else(|| shared.options.numbers.first().cloned()).ok_or("call: the account has no number")?;
    let urls = shared.state().voice_urls.clone();
    let url = urls.voice.ok_or("call: the number has no voice URL")?;
    let callback = urls.status.map(|url| Hook { url, by_get: false });
    let call = Call::new(Order::inbound(from, to, Hook { url, by_get: false }, callback));
    let sid = call.sid.clone();
    begin(shared, call);
    Ok(sid)
}

/// Does something with the call that runs at the phone `number`.
pub(super) fn at_phone(shared: &Shared, number: &str, act: impl FnOnce(&mut Call)) -> Result<(), String> {
    let mut state = shared.state();
    let sid = state.calls.newest().find(|call| call.phone() == number && !call.is_over()).map(|call| call.sid.clone());
    let call =
        sid.and_then(|sid| state.calls.get_mut(&sid)).ok_or_else(|| format!("use the phone {number}: it is in no call"))?;
    act(call);
    Ok(())
}

/// Somebody takes the call.
pub(super) fn answer(shared: &Shared, number: &str) -> Result<(), String> {
    at_phone(shared, number, |call| call.hand.answered.cancel())
}

/// Somebody presses keys.
pub(super) fn press(shared: &Shared, number: &str, keys: &str) -> Result<(), String> {
    if keys.is_empty() || !keys.bytes().all(|key| key.is_ascii_digit() || matches!(key, b'*' | b'#')) {
        return Err(format!("press {keys}: keys are 0-9, * and #"));
    }
    at_phone(shared, number, |call| call.hand.press(keys))
}

/// Somebody hangs up, or does not take the call.
pub(super) fn hang_up(shared: &Shared, number: &str) -> Result<(), String> {
    let mut ended = None;
    at_phone(shared, number, |call| {
        let (status, sip) = if call.status == Status::InProgress { (Status::Completed, 200) } else { (Status::Busy, 486) };
        call.end(status, sip);
        ended = Some(call.event());
    })?;
    if let Some(event) = ended {
        shared.tell(event);
    }
    Ok(())
}

/// `GET …/Calls/{sid}.json`
pub(super) fn fetch(shared: &Shared, sid: &str) -> Option<(u16, Value)> {
    shared.state().calls.get(sid).map(|call| (200, call.resource(&shared.options.account_sid)))
}

/// `GET …/Calls.json`
pub(super) fn list(shared: &Shared, parameters: &Parameters, query: &str) -> Answer {
    let filter = Filter::read(parameters)?;
    let state = shared.state();
    let rows = state.calls.newest().filter(|call| filter.matches(call));
    paging::page(&shared.options.account_sid, "Calls", parameters, query, rows)
}

/// `POST …/Calls/{sid}.json`: cancel, hang up, or go on with another document. `None` without such a call.
pub(super) fn update(shared: &Shared, sid: &str, parameters: &Parameters) -> Result<Option<(u16, Value)>, ApiError> {
    let (resource, event) = {
        let mut state = shared.state();
        let Some(call) = state.calls.get_mut(sid) else { return Ok(None) };
        change(call, parameters)?;
        (call.resource(&shared.options.account_sid), call.event())
    };
    shared.tell(event);
    Ok(Some((200, resource)))
}

fn change(call: &mut Call, parameters: &Parameters) -> Result<(), ApiError> {
    let not_in_progress = |what| ApiError::bad(21220, format!("Call is not in-progress. Cannot {what}."));
    match parameter(parameters, "Status") {
        Some("canceled") if matches!(call.status, Status::Queued | Status::Ringing) => call.end(Status::Canceled, 487),
        Some("canceled") => return Err(not_in_progress("cancel")),
        Some("completed") => match call.status {
            Status::InProgress => call.end(Status::Completed, 200),
            Status::Queued | Status::Ringing => call.end(Status::Canceled, 487),
            _ => return Err(not_in_progress("hang up")),
        },
        Some(_) => return Err(ApiError::bad(20001, "Invalid Status")),
        None => {
            let source = source(parameters)?;
            if call.status != Status::InProgress {
                return Err(not_in_progress("redirect"));
            }
            call.redirect(source);
        }
    }
    Ok(())
}

/// What [`super::Running::set_voice`] does.
pub(super) fn set_voice(shared: &Shared, number: &str, voice: Voice) -> Result<(), String> {
    voice.check()?;
    let number = e164(number).ok_or_else(|| format!("set how {number} answers: it is not a number in E.164"))?;
    let mut state = shared.state();
    if state.voices.len() >= MAX_MARKS && !state.voices.contains_key(&number) {
        return Err("set how a phone answers: too many phones have been told already".into());
    }
    state.voices.insert(number, voice);
    Ok(())
}

/// A call that is wanted; its form is valid.
#[derive(Clone, Debug)]
struct Order {
    /// A phone called the account's number.
    inbound: bool,
    to: String,
    from: String,
    source: Source,
    /// Asked when a document cannot be had or read.
    fallback: Option<Hook>,
    callback: Option<Hook>,
    /// Which events are reported.
    events: Vec<&'static str>,
    /// Names of events that Twilio does not know; it ignores them with a warning.
    unknown_events: Vec<String>,
    /// Ring time, s.
    timeout: u32,
    detection: Option<Detection>,
    /// Where the verdict of a detection in the background goes to; without it the call is silent until the verdict.
    verdict: Option<Hook>,
}

impl Order {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let to = parameter(parameters, "To").ok_or_else(|| ApiError::bad(21201, "No 'To' number is specified"))?;
        let from = parameter(parameters, "From").ok_or_else(|| ApiError::bad(21213, "No 'From' number is specified"))?;
        let source = source(parameters)?;
        let bad_callback = || ApiError::bad(21609, "The 'StatusCallback' URL is not a valid URL.");
        let callback = hook(parameters, "StatusCallback", "StatusCallbackMethod", bad_callback)?;
        let bad_fallback = || ApiError::bad(21205, "The 'FallbackUrl' is not a valid URL.");
        let fallback = hook(parameters, "FallbackUrl", "FallbackMethod", bad_fallback)?;
        let timeout = match parameter(parameters, "Timeout").map(str::parse::<u32>) {
            None => RING_TIME.0,
            Some(Ok(seconds @ 1..)) if seconds <= RING_TIME.1 => seconds,
            Some(_) => return Err(ApiError::bad(21208, "Invalid Timeout")),
        };
        let keys = parameter(parameters, "SendDigits").unwrap_or_default();
        if keys.len() > 32 || !keys.bytes().all(|key| key.is_ascii_digit() || b"ABCD#*wW".contains(&key)) {
            return Err(ApiError::bad(21206, "Invalid SendDigits"));
        }
        let detection = match parameter(parameters, "MachineDetection") {
            // Twilio ignores the detection when it has to press keys itself.
            _ if !keys.is_empty() => None,
            None => None,
            Some("Enable") => Some(Detection::Start),
            Some("DetectMessageEnd") => Some(Detection::MessageEnd),
            Some(_) => return Err(ApiError::bad(20001, "Invalid MachineDetection")),
        };
        let bad_verdict = || ApiError::bad(20001, "The 'AsyncAmdStatusCallback' URL is not a valid URL.");
        let verdict = hook(parameters, "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod", bad_verdict)?;
        let verdict = verdict.filter(|_| detection.is_some() && parameter(parameters, "AsyncAmd") == Some("true"));
        let mut events: Vec<&'static str> = Vec::new();
        let mut unknown_events = Vec::new();
        // Twilio's older libraries write several events into one value, separated by spaces.
        for name in repeated(parameters, "StatusCallbackEvent").flat_map(str::split_whitespace) {
            match EVENTS.iter().find(|known| **known == name) {
                Some(known) => events.push(known),
                None => unknown_events.push(name.to_owned()),
            }
        }
        if events.is_empty() {
            events.push("completed");
        }
        let bad_to = || ApiError::bad(21217, format!("Phone number {to} does not appear to be valid"));
        let bad_from = || ApiError::bad(21212, format!("The 'From' number {from} is not valid."));
        let (to, from) = (e164(to).ok_or_else(bad_to)?, e164(from).ok_or_else(bad_from)?);
        Ok(Self { inbound: false, to, from, source, fallback, callback, events, unknown_events, timeout, detection, verdict })
    }

    fn inbound(from: String, to: String, voice: Hook, callback: Option<Hook>) -> Self {
        Self {
            inbound: true,
            to,
            from,
            source: Source::Fetch { hook: voice, more: Vec::new() },
            fallback: None,
            callback,
            events: vec!["completed"],
            unknown_events: Vec::new(),
            timeout: RING_TIME.0,
            detection: None,
            verdict: None,
        }
    }

    /// Twilio, "Test credentials": numbers that stand for an outcome.
    fn check_magic_sender(&self) -> Result<(), ApiError> {
        match self.from.as_str() {
            TEST_SENDER => Ok(()),
            "+15005550001" => Err(ApiError::bad(21212, "The 'From' number +15005550001 is not valid.")),
            _ => Err(self.foreign_sender()),
        }
    }

    fn check_magic_recipient(&self) -> Result<(), ApiError> {
        match self.to.as_str() {
            "+15005550001" => Err(ApiError::bad(21217, "Phone number +15005550001 does not appear to be valid")),
            "+15005550002" => Err(ApiError::bad(21214, "'To' phone number cannot be reached")),
            "+15005550003" => Err(ApiError::bad(21215, "Account not authorized to call this number (geographic permissions)")),
            "+15005550004" => Err(ApiError::bad(21216, "Account not allowed to call this number")),
            _ => Ok(()),
        }
    }

    fn check_account(&self, shared: &Shared) -> Result<(), ApiError> {
        self.check_magic_recipient()?;
        let options = &shared.options;
        if !options.numbers.is_empty() && !options.numbers.contains(&self.from) {
            return Err(self.foreign_sender());
        }
        if options.blocked_prefixes.iter().any(|prefix| self.to.starts_with(prefix)) {
            return Err(ApiError::bad(21215, "Account not authorized to call this number (geographic permissions)"));
        }
        if options.trial && !options.verified.contains(&self.to) {
            return Err(ApiError::bad(21219, "The number is unverified. Trial accounts may only call verified numbers."));
        }
        Ok(())
    }

    fn foreign_sender(&self) -> ApiError {
        let from = &self.from;
        ApiError::bad(21210, format!("The source phone number provided, {from}, is not yet verified for your account."))
    }
}

/// Where the call's first document comes from; `Url` wins over `Twiml`.
fn source(parameters: &Parameters) -> Result<Source, ApiError> {
    let bad_url = || ApiError::bad(21205, "Url is not a valid URL");
    if let Some(hook) = hook(parameters, "Url", "Method", bad_url)? {
        return Ok(Source::Fetch { hook, more: Vec::new() });
    }
    if parameter(parameters, "ApplicationSid").is_some() {
        return Err(ApiError::bad(21218, "Invalid ApplicationSid"));
    }
    match parameter(parameters, "Twiml") {
        Some(text) if text.chars().count() > MAX_TWIML => {
            Err(ApiError::bad(20001, "The 'Twiml' parameter exceeds the 4000 character limit."))
        }
        Some(text) => Ok(Source::Inline(text.to_owned())),
        None => Err(bad_url()),
    }
}

fn hook(parameters: &Parameters, url: &str, method: &str, bad_url: impl Fn() -> ApiError) -> Result<Option<Hook>, ApiError> {
    let by_get = match parameter(parameters, method) {
        None | Some("POST") => false,
        Some("GET") => true,
        Some(_) => return Err(ApiError::bad(21209, format!("Invalid {method}"))),
    };
    match parameter(parameters, url) {
        Some(url) if courier::is_callable(url) => Ok(Some(Hook { url: url.to_owned(), by_get })),
        Some(_) => Err(bad_url()),
        None => Ok(None),
    }
}

/// The filters of a list. A call that was not dialled yet has no StartTime and passes no filter on it.
struct Filter {
    to: Option<String>,
    from: Option<String>,
    status: Option<String>,
    started: Days,
}

impl Filter {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let number = |name| parameter(parameters, name).map(|text| e164(text).unwrap_or_else(|| text.to_owned()));
        let status = parameter(parameters, "Status").map(str::to_owned);
        Ok(Self { to: number("To"), from: number("From"), status, started: Days::read(parameters, "StartTime")? })
    }

    fn matches(&self, call: &Call) -> bool {
        self.started.include(call.started)
            && self.to.as_ref().is_none_or(|to| *to == call.order.to)
            && self.from.as_ref().is_none_or(|from| *from == call.order.from)
            && self.status.as_ref().is_none_or(|status| status == call.status.word())
    }
}

impl Call {
    fn event(&self) -> Event {
        Event::Call {
            sid: self.sid.clone(),
            from: self.order.from.clone(),
            to: self.order.to.clone(),
            status: self.status.word().to_owned(),
        }
    }
}
