//! The Messages resource: what Twilio accepts, what it refuses and with which code, and what becomes of a text.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Event, Shared,
    api::{Answer, ApiError, Parameters, parameter},
    courier,
    paging::{self, Days},
    state::{Kept, Message},
};
use crate::clock;

/// Longest text, characters.
const MAX_BODY: usize = 1600;
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";
pub(super) const TEST_SENDER: &str = "+15005550006";

/// `POST …/Messages.json`
pub(super) fn create(shared: &Arc<Shared>, parameters: &Parameters) -> Answer {
    let order = Order::read(parameters)?;
    let options = &shared.options;
    if options.test_credentials {
        order.check_magic()?;
        let message = order.message(shared);
        return Ok((201, message.resource(&options.account_sid)));
    }
    order.check_sender(shared)?;
    order.check_recipient(shared)?;
    let message = order.message(shared);
    let resource = message.resource(&options.account_sid);
    let event = Event::Accepted {
        sid: message.sid.clone(),
        from: message.from.clone().unwrap_or_default(),
        to: message.to.clone(),
        body: message.body.clone(),
    };
    let sid = message.sid.clone();
    shared.state().messages.add(message);
    shared.tell(event);
    let walking = shared.clone();
    shared.live(async move { walk(&walking, &sid).await });
    Ok((201, resource))
}

/// `GET …/Messages/{sid}.json`
pub(super) fn fetch(shared: &Shared, sid: &str) -> Option<(u16, Value)> {
    shared.state().messages.get(sid).map(|message| (200, message.resource(&shared.options.account_sid)))
}

/// `GET …/Messages.json`
pub(super) fn list(shared: &Shared, parameters: &Parameters, query: &str) -> Answer {
    let filter = Filter::read(parameters)?;
    let state = shared.state();
    let rows = state.messages.newest().filter(|message| filter.matches(message));
    paging::page(&shared.options.account_sid, "Messages", parameters, query, rows)
}

/// A text that is wanted; its form is valid.
struct Order {
    to: String,
    from: Option<String>,
    service: Option<String>,
    body: String,
    callback: Option<String>,
}

impl Order {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let text = |name| parameter(parameters, name).map(str::to_owned);
        let to = text("To").ok_or_else(|| ApiError::bad(21604, "A 'To' phone number is required."))?;
        let (from, service) = (text("From"), text("MessagingServiceSid"));
        if from.is_none() && service.is_none() {
            return Err(ApiError::bad(21603, "A 'From' phone number is required."));
        }
        let body = text("Body").ok_or_else(|| ApiError::bad(21602, "Message body is required."))?;
        if body.chars().count() > MAX_BODY {
            return Err(ApiError::bad(21617, "The concatenated message body exceeds the 1600 character limit."));
        }
        if parameter(parameters, "ValidityPeriod").is_some_and(|text| !text.parse().is_ok_and(|s: u32| (1..=36_000).contains(&s)))
        {
            return Err(ApiError::bad(21624, "Invalid validity period."));
        }
        let callback = text("StatusCallback");
        if callback.as_deref().is_some_and(|url| !courier::is_callable(url)) {
            return Err(ApiError::bad(21609, "The 'StatusCallback' URL is not a valid URL."));
        }
        let invalid_to = || ApiError::bad(21211, format!("The 'To' number {to} is not a valid phone number."));
        let from = match from {
            Some(from) => {
                Some(sender(&from).ok_or_else(|| ApiError::bad(21212, format!("The 'From' number {from} is not valid.")))?)
            }
            None => None,
        };
        Ok(Self { to: e164(&to).ok_or_else(invalid_to)?, from, service, body, callback })
    }

    /// Twilio, "Test credentials": numbers that stand for an outcome.
    fn check_magic(&self) -> Result<(), ApiError> {
        match self.from.as_deref() {
            Some(TEST_SENDER) => {}
            Some("+15005550001") => return Err(ApiError::bad(21212, "The 'From' number is not valid.")),
            Some("+15005550008") => return Err(ApiError::bad(21611, "This 'From' number has exceeded its message queue.")),
            _ => return Err(ApiError::bad(21606, "The 'From' phone number is not a valid, SMS-capable number of your account.")),
        }
        self.check_magic_recipient()
    }

    fn check_magic_recipient(&self) -> Result<(), ApiError> {
        match self.to.as_str() {
            "+15005550001" => Err(ApiError::bad(21211, "The 'To' number +15005550001 is not a valid phone number.")),
            "+15005550002" => Err(ApiError::bad(21612, "The 'To' phone number is not currently reachable from this sender.")),
            "+15005550003" => Err(ApiError::bad(21408, "Permission to send an SMS has not been enabled for this region.")),
            "+15005550004" => Err(ApiError::bad(21610, "Attempt to send to unsubscribed recipient")),
            "+15005550009" => Err(ApiError::bad(21614, "'To' number is not a valid mobile number")),
            _ => Ok(()),
        }
    }

    fn check_sender(&self, shared: &Shared) -> Result<(), ApiError> {
        let options = &shared.options;
        let mut numbers = &options.numbers;
        if let Some(service) = &self.service {
            let known = options.messaging_services.iter().find(|(sid, _)| sid == service);
            let Some((_, pool)) = known else { return Err(ApiError::bad(21705, "The Messaging Service Sid is invalid.")) };
            if pool.is_empty() {
                return Err(ApiError::bad(21704, "The Messaging Service contains no phone numbers."));
            }
            numbers = pool;
        }
        match &self.from {
            Some(from) if !numbers.is_empty() && !numbers.contains(from) => Err(ApiError::bad(
                21606,
                format!("The 'From' phone number {from} is not a valid, SMS-capable number of your account."),
            )),
            Some(from) if *from == self.to => Err(ApiError::bad(21266, "'To' and 'From' number cannot be the same")),
            _ => Ok(()),
        }
    }

    fn check_recipient(&self, shared: &Shared) -> Result<(), ApiError> {
        self.check_magic_recipient()?;
        let options = &shared.options;
        if options.blocked_prefixes.iter().any(|prefix| self.to.starts_with(prefix)) {
            return Err(ApiError::bad(
                21408,
                "Permission to send an SMS has not been enabled for the region indicated by the 'To' number.",
            ));
        }
        if options.trial && !options.verified.contains(&self.to) {
            return Err(ApiError::bad(
                21608,
                "The number is unverified. Trial accounts cannot send messages to unverified numbers.",
            ));
        }
        let sender = self.service.as_ref().or(self.from.as_ref()).cloned().unwrap_or_default();
        if shared.state().opted_out.contains(&(sender, self.to.clone())) {
            return Err(ApiError::bad(21610, "Attempt to send to unsubscribed recipient"));
        }
        Ok(())
    }

    fn message(self, shared: &Shared) -> Message {
        let prefix = if shared.options.trial { TRIAL_PREFIX } else { "" };
        let pool =
            self.service.as_ref().and_then(|wanted| shared.options.messaging_services.iter().find(|(sid, _)| sid == wanted));
        let from = self.from.or_else(|| pool.and_then(|(_, pool)| pool.first().cloned()));
        let status = if self.service.is_some() { "accepted" } else { "queued" };
        let mut message = Message::new("outbound-api", status, from, self.to, format!("{prefix}{}", self.body));
        message.service = self.service;
        message.callback = self.callback;
        message
    }
}

/// A message goes through its statuses, each reported where it asked for it.
async fn walk(shared: &Arc<Shared>, sid: &str) {
    let Some((service, to)) = shared.state().messages.get(sid).map(|message| (message.service.is_some(), message.to.clone()))
    else {
        return;
    };
    let unreachable = shared.state().unreachable.contains(&to);
    let last = if unreachable { ("undelivered", Some(30003)) } else { ("delivered", None) };
    let queued = service.then_some((Duration::ZERO, "queued", None));
    let rest = [(shared.options.sent_after, "sent", None), (shared.options.delivered_after, last.0, last.1)];
    for (delay, status, error) in queued.into_iter().chain(rest) {
        tokio::time::sleep(delay).await;
        let changed = {
            let mut state = shared.state();
            let Some(message) = state.messages.get_mut(sid) else { return };
            let now = clock::now();
            message.status = status;
            message.error_code = error;
            message.updated = now;
            if status == "sent" {
                message.sent = Some(now);
            }
            message.clone()
        };
        shared.tell(Event::Status { sid: sid.to_owned(), to: to.clone(), status: status.to_owned(), error_code: error });
        if let Some(callback) = &changed.callback {
            courier::deliver(shared, callback, status_parameters(&changed, &shared.options.account_sid)).await;
        }
    }
}

/// What a status callback carries (Twilio, "Track outbound message status").
fn status_parameters(message: &Message, account: &str) -> Parameters {
    let mut parameters = vec![
        ("SmsSid", message.sid.clone()),
        ("SmsStatus", message.status.into()),
        ("MessageStatus", message.status.into()),
        ("To", message.to.clone()),
        ("MessageSid", message.sid.clone()),
        ("AccountSid", account.into()),
        ("From", message.from.clone().unwrap_or_default()),
        ("ApiVersion", "2010-04-01".into()),
    ];
    parameters.extend(message.service.clone().map(|service| ("MessagingServiceSid", service)));
    parameters.extend(message.error_code.map(|code| ("ErrorCode", code.to_string())));
    if matches!(message.status, "delivered" | "undelivered") {
        parameters.push(("RawDlrDoneDate", message.updated.to_jiff().strftime("%y%m%d%H%M").to_string()));
    }
    parameters.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The filters of a list. A message that was not sent yet has no DateSent and passes no filter on it.
struct Filter {
    to: Option<String>,
    from: Option<String>,
    sent: Days,
}

impl Filter {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let number = |name| parameter(parameters, name).map(|text| sender(text).unwrap_or_else(|| text.to_owned()));
        Ok(Self { to: number("To"), from: number("From"), sent: Days::read(parameters, "DateSent")? })
    }

    fn matches(&self, message: &Message) -> bool {
        self.sent.include(message.sent)
            && self.to.as_ref().is_none_or(|to| *to == message.to)
            && self.from.as_ref().is_none_or(|from| Some(from) == message.from.as_ref())
    }
}

/// A number in E.164; spaces, dashes, dots and brackets do not matter.
pub(super) fn e164(text: &str) -> Option<String> {
    let number: String = text.chars().filter(|letter| !matches!(letter, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = number.strip_prefix('+')?;
    let valid = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    valid.then_some(number)
}

/// A number, a short code, or an alphanumeric sender.
fn sender(text: &str) -> Option<String> {
    let short = (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.len() <= 11
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte));
    e164(text).or_else(|| (short || name).then(|| text.to_owned()))
}
