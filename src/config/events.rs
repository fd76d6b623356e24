//! `[[event]]`: the texts of application events.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    alarms::warn_of_ucs2,
    book::{Book, Kind, Named},
    parameters,
    reader::Section,
    twilio::check_template_for,
};
use crate::engine::{
    plan::{Channel, EventDef, ProfileDef},
    template::For,
};

/// Texts of one event in an hour: what is usual, and the most.
const PER_HOUR: (u32, i64) = (60, 1000);

/// All `[[event]]`.
pub(super) fn events(
    named: Vec<Named<'_>>,
    book: &Book,
    profiles: &BTreeMap<String, Arc<ProfileDef>>,
) -> BTreeMap<String, Arc<EventDef>> {
    let events = named.into_iter().filter_map(|Named { name, mut section }| {
        let def = event(&name, &mut section, book, profiles)?;
        Some((name, Arc::new(def)))
    });
    events.collect()
}

fn event(name: &str, section: &mut Section<'_>, book: &Book, profiles: &BTreeMap<String, Arc<ProfileDef>>) -> Option<EventDef> {
    let parameters = parameters::parameters(section, book, For::Event);
    let message = section.string("message");
    if let Some(text) = &message {
        check_template_for(section, text, For::Event, Some((book, Some(&parameters))));
        warn_of_ucs2(section, text);
    }
    let consent = section.non_empty("consent");
    let per_hour = section.integer("per_hour", 1..=PER_HOUR.1).and_then(|count| u32::try_from(count).ok());
    let profile = book.required_reference(Kind::Profile, section, "profile")?;
    let def = profiles.get(&profile)?;
    if def.channel != Channel::Sms {
        let help = "events are sent as texts: name a profile of kind = \"sms\"";
        section.error(section.key_span("profile"), format!("profile `{profile}` does not send texts"), help);
    }
    if consent.is_none() && def.consent.is_none() && !section.has("consent") {
        let message = format!("event `{name}` is sent to recipients who have agreed to nothing");
        section.warning(section.key_span("name"), message, "add `consent = \"…\"`, which their traits must then name");
    }
    Some(EventDef {
        name: name.to_owned(),
        profile,
        message: message.map(|text| text.value),
        consent,
        per_hour: per_hour.unwrap_or(PER_HOUR.0),
        parameters,
    })
}
