//! Application events: other programs say who is who, and what happened; a text follows where `[[event]]` says so (SPEC 8).
//!
//! These recipients are no users: they are on no roster, acknowledge nothing, and their texts count under Other. Of their traits
//! only number and consent are kept. What an event said is not kept beyond its text.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use super::{
    Engine,
    io::{Actor, OutboxId, Outcome, Via},
    length,
    outbox::{Purpose, Text},
    people,
    plan::{Channel, EventDef, ProfileDef},
    record::{AuditKind, NotSent, Record, StateKind, Stored},
    template::{self, TemplateError},
};
use crate::tag::{StatusCode, Timestamp};

/// Recipients that are kept.
pub const MAX_RECIPIENTS: usize = 10_000;
/// The longest user id or name of an event, bytes.
pub const MAX_ID: usize = 128;
/// Consents of one recipient.
pub const MAX_CONSENTS: usize = 16;
/// The longest consent, bytes.
pub const MAX_CONSENT: usize = 64;
/// The largest properties of an event, bytes of JSON.
pub const MAX_PROPERTIES: usize = 16 * 1024;
/// Texts of events that wait at once.
const MAX_WAITING: usize = 1000;
/// `per_hour` is counted over this.
const WINDOW: Duration = Duration::from_secs(3600);
/// What the keys of recipients in the store begin with.
const RECIPIENT: &str = "user ";
/// What the keys of an event's texts in the store begin with.
const TEXTS: &str = "event ";

/// What is known of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traits {
    /// E.164.
    pub phone: Option<String>,
    #[serde(default)]
    pub consent: Vec<String>,
}

/// All recipients, and when which event's texts were asked for.
#[derive(Debug, Default)]
pub(super) struct Events {
    traits: BTreeMap<String, Traits>,
    texts: BTreeMap<String, VecDeque<Timestamp>>,
    /// Keys in the store that changed.
    dirty: BTreeSet<String>,
}

impl Events {
    /// One row of the store.
    pub(super) fn restore(&mut self, key: &str, value: Json) -> Result<(), String> {
        fn read<T: DeserializeOwned>(value: Json) -> Result<T, String> {
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
        if let Some(user) = key.strip_prefix(RECIPIENT) {
            self.traits.insert(user.to_owned(), read(value)?);
        } else if let Some(event) = key.strip_prefix(TEXTS) {
            self.texts.insert(event.to_owned(), read(value)?);
        } else {
            return Err("neither a recipient nor an event".to_owned());
        }
        Ok(())
    }

    /// What the store shall know.
    pub(super) fn changes(&mut self) -> Vec<Record> {
        let changed = std::mem::take(&mut self.dirty).into_iter();
        let changed = changed.map(|key| {
            let value = if let Some(user) = key.strip_prefix(RECIPIENT) {
                self.traits.get(user).map(Stored::of)
            } else {
                let texts = key.strip_prefix(TEXTS).and_then(|event| self.texts.get(event));
                texts.map(Stored::of)
            };
            Record::State { kind: StateKind::Traits, key, value }
        });
        changed.collect()
    }

    /// Takes one of the event's texts of this hour; false when they are used up.
    fn take(&mut self, event: &EventDef, now: Timestamp) -> bool {
        let texts = self.texts.entry(event.name.clone()).or_default();
        texts.retain(|text| now.since(*text) < WINDOW);
        if texts.len() >= event.per_hour as usize {
            return false;
        }
        texts.push_back(now);
        self.dirty.insert(format!("{TEXTS}{}", event.name));
        true
    }
}

impl Engine {
    /// Keeps who `user` is; what is left out stays as it was.
    pub(super) fn identify(
        &mut self,
        user: &str,
        phone: Option<&str>,
        consent: Option<Vec<String>>,
        by: &Actor,
    ) -> Result<String, Outcome> {
        let wrong = |words: String| Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, words);
        check_id("userId", user).map_err(wrong)?;
        let phone = phone.map(|phone| self.recipient_number(phone)).transpose().map_err(wrong)?;
        if let Some(consent) = &consent {
            let bad = |word: &String| word.is_empty() || word.len() > MAX_CONSENT || word.chars().any(char::is_control);
            if consent.len() > MAX_CONSENTS || consent.iter().any(bad) {
                return Err(wrong(format!("consent is a list of up to {MAX_CONSENTS} words of 1 to {MAX_CONSENT} bytes")));
            }
        }
        if !self.events.traits.contains_key(user) && self.events.traits.len() >= MAX_RECIPIENTS {
            let words = format!("{MAX_RECIPIENTS} recipients are kept: delete some");
            return Err(Outcome::refused(StatusCode::BAD_TOO_MANY_OPERATIONS, words));
        }
        let traits = self.events.traits.entry(user.to_owned()).or_default();
        traits.phone = phone.or(traits.phone.take());
        traits.consent = consent.unwrap_or_else(|| std::mem::take(&mut traits.consent));
        let number = traits.phone.as_deref().map_or_else(|| "no number".to_owned(), people::mask_number);
        let words = format!("{number}, consent: {}", traits.consent.join(", "));
        self.events.dirty.insert(format!("{RECIPIENT}{user}"));
        self.audit(AuditKind::Identify, &by.name, by.via, user, words, "identified", Vec::new(), None);
        Ok("identified".to_owned())
    }

    /// A number that can be nowhere else than where it says: what a program of another country leaves out cannot be guessed.
    fn recipient_number(&self, phone: &str) -> Result<String, String> {
        let advice =
            "this is not a valid phone number (21211): write it with country code, as + and digits, such as +12223334444";
        if !phone.trim_start().starts_with('+') {
            return Err(advice.to_owned());
        }
        let number = people::normalise(phone, None).map_err(|_| advice.to_owned())?;
        if !(8..=16).contains(&number.len()) {
            return Err(advice.to_owned());
        }
        if self.plan.people.allows(&number) { Ok(number) } else { Err(format!("{number} is {}", NotSent::NotAllowed.words())) }
    }

    /// Forgets a recipient; texts that wait for them are cancelled.
    pub(super) fn forget(&mut self, user: &str, by: &Actor) -> Result<String, Outcome> {
        if self.events.traits.remove(user).is_none() {
            return Err(Outcome::refused(StatusCode::BAD_NOT_FOUND, "nobody was identified by this userId"));
        }
        self.events.dirty.insert(format!("{RECIPIENT}{user}"));
        self.audit(AuditKind::Forget, &by.name, by.via, user, String::new(), "forgotten", Vec::new(), None);
        for row in self.waiting_events() {
            let of_user = |text: &Text| matches!(&text.purpose, Purpose::Event { recipient, .. } if recipient == user);
            if self.outbox.text(row).is_some_and(of_user) {
                self.cancel(row, NotSent::NotIdentified);
            }
        }
        Ok("forgotten".to_owned())
    }

    /// Something happened to a recipient: sends the text that is mapped, or says why not.
    pub(super) fn track(&mut self, user: &str, name: &str, properties: &Json, by: &Actor) -> Result<String, Outcome> {
        let wrong = |words: String| Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, words);
        check_id("userId", user).map_err(wrong)?;
        check_id("event", name).map_err(wrong)?;
        let Some(event) = self.plan.events.get(name).cloned() else {
            self.count("Twilio/EventsDropped");
            return Err(Outcome::refused(StatusCode::BAD_NOT_FOUND, "dropped: no [[event]] has this name"));
        };
        let Some(profile) = self.plan.profiles.get(&event.profile).cloned() else {
            return Err(Outcome::refused(StatusCode::BAD_CONFIGURATION_ERROR, "the event's profile is gone"));
        };
        let number = self.events.traits.get(user).and_then(|traits| traits.phone.clone());
        let refused = self.event_refusal(&event, &profile, user, number.as_deref()).or_else(|| {
            let full = self.waiting_events().len() >= MAX_WAITING;
            (full || !self.events.take(&event, self.now)).then_some(NotSent::EventLimit)
        });
        if let Some(reason) = refused {
            let subject = number.unwrap_or_else(|| user.to_owned());
            let text = format!("{name} by {}", by.name);
            self.audit(AuditKind::MessageNotSent, "", Via::Api, &subject, text, reason.words(), Vec::new(), None);
            return Err(Outcome::refused(status(reason), format!("not sent: {}", reason.words())));
        }
        let (body, problems) = self.event_body(&event, &profile, user, properties);
        for problem in problems {
            self.note_event_wording(&event.name, &problem);
        }
        let purpose = Purpose::Event { profile: profile.name.clone(), event: event.name.clone(), recipient: user.to_owned() };
        let text = Text::new(&profile.twilio, Channel::Sms, &number.unwrap_or_default(), None, purpose, self.now);
        self.enqueue(Text { body, detail: format!("{name} by {}", by.name), audit: profile.audit, ..text });
        Ok("on its way".to_owned())
    }

    /// Why a text of an event may not go, or not any more.
    fn event_refusal(&self, event: &EventDef, profile: &ProfileDef, user: &str, number: Option<&str>) -> Option<NotSent> {
        if self.knob(&profile.disabled) || self.is_disabled(&profile.twilio) {
            return Some(NotSent::Disabled);
        }
        let known = self.events.traits.get(user).filter(|traits| traits.phone.as_deref() == number);
        let (Some(traits), Some(number)) = (known, number) else { return Some(NotSent::NotIdentified) };
        let consent = event.consent.as_ref().or(profile.consent.as_ref());
        if consent.is_some_and(|consent| !traits.consent.contains(consent)) {
            return Some(NotSent::NoConsent);
        }
        if !self.plan.people.allows(number) {
            return Some(NotSent::NotAllowed);
        }
        self.contacts.get(number).is_some_and(|contact| contact.opted_out).then_some(NotSent::OptedOut)
    }

    /// The same for a row that waits.
    pub(super) fn event_unreachable(&self, event: &str, recipient: &str, number: &str) -> Option<NotSent> {
        let Some(event) = self.plan.events.get(event) else { return Some(NotSent::Removed) };
        let Some(profile) = self.plan.profiles.get(&event.profile) else { return Some(NotSent::Removed) };
        self.event_refusal(event, profile, recipient, Some(number))
    }

    fn waiting_events(&self) -> Vec<OutboxId> {
        let is_event = |id: &OutboxId| self.outbox.text(*id).is_some_and(|text| matches!(text.purpose, Purpose::Event { .. }));
        self.outbox.open_texts().filter(is_event).collect()
    }

    /// The event's own words, else what `[[event]]` makes of its properties, else the account's default; cut to the profile's length.
    fn event_body(&self, event: &EventDef, profile: &ProfileDef, user: &str, properties: &Json) -> (String, Vec<TemplateError>) {
        let mut problems = Vec::new();
        let own = properties.get("sms_body").and_then(Json::as_str).map(template::strip).filter(|text| !text.is_empty());
        let written = || {
            let source = event.message.as_deref()?;
            let read = |name: template::TagName<'_>| self.read_for_messages(name);
            let context = template::Context {
                subject: template::Subject::Event { name: &event.name, properties },
                user,
                time_zone: None,
                site: &self.plan.site,
                parameters: &event.parameters,
                chance: self.random.branch(self.now.ticks().unsigned_abs()),
                read: &read,
            };
            let rendered = template::render_noting(source, &context, &mut problems);
            rendered.map_err(|problem| problems.push(problem)).ok().filter(|text| !text.is_empty())
        };
        let default = || self.plan.twilio.get(&profile.twilio).map(|twilio| twilio.default_message.clone());
        let text = own.or_else(written).or_else(default).unwrap_or_default();
        (length::fit(&text, None, self.knob(&profile.length_limit), profile.fit), problems)
    }
}

fn check_id(what: &str, id: &str) -> Result<(), String> {
    if id.trim().is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(format!("{what} has 1 to {MAX_ID} bytes"));
    }
    Ok(())
}

const fn status(reason: NotSent) -> StatusCode {
    match reason {
        NotSent::Disabled => StatusCode::BAD_OUT_OF_SERVICE,
        NotSent::EventLimit => StatusCode::BAD_TOO_MANY_OPERATIONS,
        NotSent::NotIdentified => StatusCode::BAD_NOT_FOUND,
        _ => StatusCode::BAD_INVALID_STATE,
    }
}
