//! `[[twilio]]` and `[[profile]]`: accounts, and how messages are sent over them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    alarms::warn_of_ucs2,
    book::{Book, Kind, Named},
    parameters,
    people::e164,
    reader::{Section, Spanned},
};
use crate::{
    engine::{
        plan::{Channel, Fit, Knob, Parameter, PeopleRules, ProfileDef, Secret, TwilioDef, Voice},
        template::{self, For},
    },
    script::program::Use,
    tag::DataType,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All `[[twilio]]`.
pub(super) fn accounts(named: Vec<Named<'_>>, book: &Book, rules: &PeopleRules) -> BTreeMap<String, Arc<TwilioDef>> {
    let accounts = named.into_iter().filter_map(|Named { name, mut section }| {
        let def = account(&name, &mut section, book, rules)?;
        Some((name, Arc::new(def)))
    });
    accounts.collect()
}

fn account(name: &str, section: &mut Section<'_>, book: &Book, rules: &PeopleRules) -> Option<TwilioDef> {
    let account_sid = section.required_string("account_sid").and_then(|text| sid(section, text, "AC"));
    if !section.has_secret("auth_token") {
        section.missing("auth_token");
    }
    let auth_token = secret(section, "auth_token");
    let auth_token_2 = secret(section, "auth_token_2");
    let api_key = api_key(section);
    let (from, messaging_service_sid) = sender(section, rules);
    let external_url = url(section, "external_url");
    let poll = section.duration("poll", seconds(1)..=seconds(3600)).unwrap_or(seconds(5));
    let status_callback = url(section, "status_callback");
    let default_message = section.string("default_message").map_or_else(
        || "Plant alarm".to_owned(),
        |text| {
            check_template(section, &text, None);
            warn_of_ucs2(section, &text);
            text.value
        },
    );
    let sms_per_second = section.float_in("sms_per_second", 0.01..=1000.0).unwrap_or(1.0);
    let calls_per_second = section.float_in("calls_per_second", 0.01..=1000.0).unwrap_or(1.0);
    let disabled = disabled(section, book, &format!("twilio profile `{name}`"));
    let base_url = url(section, "base_url").unwrap_or_else(|| "https://api.twilio.com".to_owned());
    let validity_period = section.duration("validity_period", seconds(1)..=seconds(36_000)).unwrap_or(seconds(600));
    let voice_without_url = section.boolean("voice_without_url").unwrap_or(true);
    if external_url.is_none() && !section.has("external_url") {
        let message = format!("twilio profile `{name}` has no `external_url`: outbound-only mode");
        let help = format!(
            "replies, delivery reports and STOP are asked for every {} instead of arriving at once; set it when Twilio can reach this site",
            super::text::show_duration(poll)
        );
        section.warning(section.span(), message, help);
    }
    Some(TwilioDef {
        name: name.to_owned(),
        account_sid: account_sid?,
        auth_token: auth_token?,
        auth_token_2,
        api_key,
        from,
        messaging_service_sid,
        external_url,
        status_callback,
        default_message,
        sms_per_second,
        calls_per_second,
        base_url,
        validity_period,
        poll,
        voice_without_url,
        disabled,
    })
}

/// A secret that is not empty.
fn secret(section: &mut Section<'_>, key: &str) -> Option<Secret> {
    let secret = section.spanned_secret(key)?;
    if secret.value.expose().is_empty() {
        section.error(secret.span, format!("`{key}` must not be empty"), "");
        return None;
    }
    Some(secret.value)
}

/// A Twilio SID: two letters and 32 hexadecimal digits (Twilio glossary, "String Identifier").
fn sid(section: &Section<'_>, text: Spanned<String>, prefix: &str) -> Option<String> {
    let good =
        text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if good {
        return Some(text.value);
    }
    let help = format!("it is {prefix} and 32 hexadecimal digits, as the Twilio console shows it");
    section.error(text.span, format!("`{}` is not a Twilio SID", text.value), help);
    None
}

fn api_key(section: &mut Section<'_>) -> Option<(String, Secret)> {
    let key = section.string("api_key");
    let secret = secret(section, "api_secret");
    match (key, secret) {
        (Some(key), Some(secret)) => Some((sid(section, key, "SK")?, secret)),
        (Some(key), None) => {
            section.error(key.span, "`api_key` needs `api_secret`", "add it, or api_secret_file");
            None
        }
        (None, Some(_)) => {
            section.error(section.span(), "`api_secret` needs `api_key`", "it begins with SK");
            None
        }
        (None, None) => None,
    }
}

/// Number or sender, and Messaging Service.
fn sender(section: &mut Section<'_>, rules: &PeopleRules) -> (Option<String>, Option<String>) {
    let service = section.string("messaging_service_sid").and_then(|text| sid(section, text, "MG"));
    let Some(text) = section.string("from") else {
        if !section.has("messaging_service_sid") && !section.has("from") {
            section.error(section.span(), "nobody to send from", "add `from = \"+…\"` or `messaging_service_sid = \"MG…\"`");
        }
        return (None, service);
    };
    if service.is_some() {
        let help = "texts use the Messaging Service; `from` is for calls only";
        section.warning(text.span.clone(), "both `from` and `messaging_service_sid` are given", help);
    }
    if text.len() <= 8 && text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return (Some(text.value), service);
    }
    // Twilio, "Alphanumeric Sender ID": 1 to 11 letters, digits, spaces and a few signs, at least one letter.
    let alphanumeric = (1..=11).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte));
    if alphanumeric {
        let help = "nobody can acknowledge by text; use a number for that";
        section.warning(text.span, format!("`{}` is an alphanumeric sender: it takes no replies", text.value), help);
        return (Some(text.value), service);
    }
    match e164(&text, rules.default_region.as_deref()) {
        Ok(number) => (Some(number), service),
        Err(help) => {
            section.error(text.span, format!("`{}` is not a sender", text.value), help);
            (None, service)
        }
    }
}

/// A URL over HTTP, without a slash at its end.
fn url(section: &mut Section<'_>, key: &str) -> Option<String> {
    let text = section.string(key)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains([' ', '#', '?']));
    if good || (key == "status_callback" && rest.is_some_and(|rest| !rest.is_empty())) {
        return Some(text.trim_end_matches('/').to_owned());
    }
    section.error(text.span, format!("`{key}` is not a URL"), "it begins with https:// and has no `?`");
    None
}

/// All `[[profile]]`.
pub(super) fn profiles(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Arc<ProfileDef>> {
    let profiles = named.into_iter().filter_map(|Named { name, mut section }| {
        let def = profile(&name, &mut section, book)?;
        Some((name, Arc::new(def)))
    });
    profiles.collect()
}

fn profile(name: &str, section: &mut Section<'_>, book: &Book) -> Option<ProfileDef> {
    if !section.has("kind") {
        section.missing("kind");
    }
    let Some(channel) = section.one_of("kind", &[("sms", Channel::Sms), ("voice", Channel::Voice)]) else {
        section.ignore_rest();
        return None;
    };
    let voice = voice(channel, section, book);
    let parameters = parameters::parameters(section, book, For::Alarm);
    let message = section.string("message");
    if let Some(text) = &message {
        check_template(section, text, Some((book, Some(&parameters))));
        if channel == Channel::Sms {
            warn_of_ucs2(section, text);
        }
    }
    let length_limit = knob(section, book, "length_limit", 160, &is_number, |section| {
        section.integer("length_limit", 20..=1600).and_then(|value| u32::try_from(value).ok())
    });
    let cooldown = knob(section, book, "cooldown", Duration::ZERO, &is_number, |section| {
        section.duration("cooldown", Duration::ZERO..=seconds(900))
    });
    let disabled = disabled(section, book, &format!("profile `{name}`"));
    let cooldown_key = section.string("cooldown_key");
    if let Some(text) = &cooldown_key {
        check_template(section, text, Some((book, Some(&parameters))));
    }
    Some(ProfileDef {
        name: name.to_owned(),
        channel,
        voice,
        twilio: book.required_reference(Kind::Twilio, section, "twilio").unwrap_or_default(),
        description: section.string("description").map(|text| text.value).unwrap_or_default(),
        message: message.map(|text| text.value),
        length_limit,
        fit: section.one_of("fit", &[("segment", Fit::Segment), ("characters", Fit::Characters)]).unwrap_or_default(),
        cooldown,
        cooldown_key: cooldown_key.map(|text| text.value),
        consent: section.string("consent").map(|text| text.value),
        disabled,
        audit: section.boolean("audit").unwrap_or(true),
        parameters,
    })
}

/// How calls are placed and spoken; each kind refuses the other's keys.
fn voice(channel: Channel, section: &mut Section<'_>, book: &Book) -> Voice {
    const OF_CALLS: [&str; 6] = ["language", "voice", "script", "role", "ring_timeout", "machine_detection"];
    const OF_TEXTS: [&str; 2] = ["length_limit", "fit"];
    let mut voice = Voice::default();
    if channel == Channel::Sms {
        for key in OF_CALLS {
            section.refuse(key, format!("`{key}` is for calls"), "it belongs to a profile with kind = \"voice\"");
        }
        return voice;
    }
    for key in OF_TEXTS {
        section.refuse(
            key,
            format!("`{key}` is for texts"),
            "a call speaks everything; it belongs to a profile with kind = \"sms\"",
        );
    }
    voice.script = super::script::script(section, "script", book, Use::Voice);
    if let Some(language) = section.string("language").and_then(|text| super::people::language(section, text)) {
        voice.language = language;
    }
    voice.voice = section.string("voice").and_then(|text| super::people::voice_name(section, text));
    if let Some(ring) = section.duration("ring_timeout", seconds(5)..=seconds(600)) {
        voice.ring_timeout = ring;
    }
    if let Some(detect) = section.boolean("machine_detection") {
        voice.machine_detection = detect;
    }
    voice
}

/// `disabled`, which somebody should know of.
fn disabled(section: &mut Section<'_>, book: &Book, what: &str) -> Knob<bool> {
    let is_boolean = |data_type| data_type == DataType::Boolean;
    let disabled = knob(section, book, "disabled", false, &is_boolean, |section| section.boolean("disabled"));
    if disabled == Knob::Fixed(true) {
        section.warning(section.key_span("disabled"), format!("{what} is disabled: it sends nothing"), "");
    }
    disabled
}

fn is_number(data_type: DataType) -> bool {
    data_type.is_numeric()
}

/// A setting that is fixed, or `{ tag = "…" }` of a type that `fits`.
fn knob<T: Clone>(
    section: &mut Section<'_>,
    book: &Book,
    key: &str,
    default: T,
    fits: &dyn Fn(DataType) -> bool,
    fixed: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Knob<T> {
    if !section.has_table(key) {
        return Knob::Fixed(fixed(section).unwrap_or(default));
    }
    let Some(mut table) = section.section(key) else { return Knob::Fixed(default) };
    if !table.has("tag") {
        table.missing("tag");
    }
    let Some((text, entry)) = book.tag_reference(&mut table, "tag") else { return Knob::Fixed(default) };
    if let Some(value_type) = entry.value_type
        && (value_type.rank != crate::tag::Rank::Scalar || !fits(value_type.data_type))
    {
        table.error(text.span, format!("`{key}` cannot come from a tag of type {value_type}"), "");
    }
    Knob::Tag { tag: entry.id, fallback: default }
}

/// Notes what is wrong with a template: its syntax, tags that do not exist, parameters that the profile does not have.
pub(super) fn check_template(
    section: &Section<'_>,
    text: &Spanned<String>,
    known: Option<(&Book, Option<&BTreeMap<String, Parameter>>)>,
) {
    check_template_for(section, text, For::Alarm, known);
}

/// As [`check_template`], for alarms or events.
pub(super) fn check_template_for(
    section: &Section<'_>,
    text: &Spanned<String>,
    about: For,
    known: Option<(&Book, Option<&BTreeMap<String, Parameter>>)>,
) {
    if let Err(error) = template::check(text, about) {
        let line = if text.contains('\n') { format!(" (in its line {})", error.line) } else { String::new() };
        section.error(text.span.clone(), format!("{}{line}", error.message), "");
        return;
    }
    let Some((book, parameters)) = known else { return };
    let references = template::references(text);
    for tag in references.tags.iter().filter(|tag| book.tag(tag).is_none()) {
        section.error(text.span.clone(), format!("unknown tag `{tag}`"), book.similar_tag(tag));
    }
    let Some(parameters) = parameters else { return };
    for name in references.parameters.iter().filter(|name| !parameters.contains_key(*name)) {
        let help = super::problems::nearest(name, parameters.keys().map(String::as_str));
        let help =
            help.map_or_else(|| format!("add it to [profile.parameters]: {name} = …"), |near| format!("did you mean `{near}`?"));
        section.error(text.span.clone(), format!("unknown parameter `{name}`"), help);
    }
}
