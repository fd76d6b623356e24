//! `[people]`, `[[user]]`, `[[token]]`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use phonenumber::country;

use super::{
    book::{Book, Kind, Named, Roots},
    problems::Place,
    reader::{Section, Spanned},
};
use crate::engine::{
    people::{normalise, zone},
    plan::{Channel, Contact, PeopleRules, Priority, PublishPhone, Role, Secret, TokenDef, UserDef},
};

/// The word that stands for no schedule.
pub(super) const ALWAYS: &str = "always";

/// The most contacts of one user.
const MAX_CONTACTS: usize = 8;

/// The priorities as words.
pub(super) const PRIORITIES: [(&str, Priority); 5] = [
    ("diagnostic", Priority::Diagnostic),
    ("low", Priority::Low),
    ("medium", Priority::Medium),
    ("high", Priority::High),
    ("critical", Priority::Critical),
];

/// The roles as words.
pub(super) const ROLES: [(&str, Role); 3] =
    [("viewer", Role::Viewer), ("operator", Role::Operator), ("engineer", Role::Engineer)];

/// `[people]`.
pub(super) fn rules(roots: &mut Roots<'_>) -> PeopleRules {
    let mut rules = PeopleRules::default();
    let Some(mut section) = roots.section("people") else { return rules };
    if let Some(region) = section.string("default_region") {
        if region.parse::<country::Id>().is_ok() {
            rules.default_region = Some(region.value);
        } else {
            let help = "write the two letters of ISO 3166, such as \"US\" or \"DE\"";
            section.error(region.span, format!("`{}` is not a region", region.value), help);
        }
    }
    let words = [("masked", PublishPhone::Masked), ("full", PublishPhone::Full), ("none", PublishPhone::None)];
    rules.publish_phone = section.one_of("publish_phone", &words).unwrap_or_default();
    for pattern in section.strings("allow_numbers").unwrap_or_default() {
        let digits = pattern.strip_suffix('*').unwrap_or(&pattern.value);
        if digits.strip_prefix('+').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())) {
            rules.allow_numbers.push(pattern.value);
        } else {
            let help = "write a number such as \"+12223334444\", or a prefix such as \"+1222*\"";
            section.error(pattern.span, format!("`{}` allows no number", pattern.value), help);
        }
    }
    rules
}

/// `text` in E.164: `+`, then 7 to 15 digits.
///
/// # Errors
/// With what to do about it, when it is not a phone number.
pub(super) fn e164(text: &str, default_region: Option<&str>) -> Result<String, &'static str> {
    if default_region.is_none() && !text.trim_start().starts_with('+') {
        return Err("write it with its country code, such as \"+12223334444\", or set [people] default_region");
    }
    let number = normalise(text, default_region).map_err(|_| "write it as + and digits, such as \"+12223334444\"")?;
    // Whether a number is in use cannot be known here, and example numbers never are; only the length of E.164 is checked.
    if (8..=16).contains(&number.len()) { Ok(number) } else { Err("a number has 7 to 15 digits with its country code") }
}

/// Takes `key` as a phone number.
fn phone(section: &mut Section<'_>, key: &str, rules: &PeopleRules) -> Option<Spanned<String>> {
    let text = section.required_string(key)?;
    match e164(&text, rules.default_region.as_deref()) {
        Ok(value) => Some(Spanned { value, span: text.span }),
        Err(help) => {
            section.error(text.span, format!("`{}` is not a phone number", text.value), help);
            None
        }
    }
}

/// What must not occur twice among the users.
#[derive(Default)]
struct Taken {
    numbers: HashMap<String, (String, Place)>,
    certificates: HashMap<String, Place>,
    ids: HashMap<i64, Place>,
}

/// All `[[user]]`.
pub(super) fn users(named: Vec<Named<'_>>, book: &Book, rules: &PeopleRules) -> BTreeMap<String, Arc<UserDef>> {
    let mut taken = Taken::default();
    let users = named.into_iter().map(|mut user| {
        let def = self::user(&user.name, &mut user.section, book, rules, &mut taken);
        (user.name, Arc::new(def))
    });
    users.collect()
}

fn user(name: &str, section: &mut Section<'_>, book: &Book, rules: &PeopleRules, taken: &mut Taken) -> UserDef {
    let id = section.integer("id", 0..=i64::MAX);
    if let Some(id) = id {
        let place = section.place(section.key_span("id"));
        match taken.ids.get(&id) {
            Some(first) => {
                let message = format!("the id {id} is given to two users");
                let help = "ids are kept for good: choose another, or leave it out";
                section.error_beside(place.span, message, help, (first.clone(), "first here"));
            }
            None => {
                taken.ids.insert(id, place);
            }
        }
    }
    let contacts = contacts(name, section, rules, taken);
    let schedule = section.string("schedule").filter(|text| text.value != ALWAYS);
    UserDef {
        name: name.to_owned(),
        id,
        contacts,
        pin: pin(section),
        password_hash: password_hash(section, "password_hash"),
        certificate: certificate(section, taken),
        role: roles(section),
        schedule: schedule.filter(|text| book.refers(Kind::Schedule, section, text)).map(|text| text.value),
        time_zone: time_zone(section),
        consent: words(section, "consent"),
        language: section.string("language").and_then(|text| language(section, text)),
        voice: section.string("voice").and_then(|text| voice_name(section, text)),
    }
}

/// A language as Twilio's `Say` takes it: `en-US`, `de-DE`, `cmn-CN` (BCP 47).
pub(super) fn language(section: &Section<'_>, text: Spanned<String>) -> Option<String> {
    let mut parts = text.split('-');
    let letters = |part: &str, count: std::ops::RangeInclusive<usize>| {
        count.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if parts.next().is_some_and(|part| letters(part, 2..=3)) && parts.all(|part| letters(part, 2..=8)) {
        return Some(text.value);
    }
    section.error(text.span, format!("`{}` is not a language", text.value), "such as \"en-US\" or \"de-DE\"");
    None
}

/// A voice as Twilio's `Say` takes it: `Polly.Joanna`, `Google.de-DE-Neural2-B`.
pub(super) fn voice_name(section: &Section<'_>, text: Spanned<String>) -> Option<String> {
    let good =
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if good {
        return Some(text.value);
    }
    section.error(text.span, format!("`{}` is not a voice", text.value), "such as \"Polly.Joanna\"");
    None
}

fn contacts(name: &str, section: &mut Section<'_>, rules: &PeopleRules, taken: &mut Taken) -> Vec<Contact> {
    let mut contacts = Vec::new();
    if section.has("contacts") {
        if section.has("phone") {
            let help = "`phone` is both channels at once: keep `phone` or `contacts`";
            section.error(section.key_span("phone"), "both `phone` and `contacts` are given", help);
            section.string("phone");
        }
        for mut entry in section.sections("contacts") {
            let (channel, key) = match (entry.has("sms"), entry.has("voice")) {
                (true, false) => (Channel::Sms, "sms"),
                (false, true) => (Channel::Voice, "voice"),
                _ => {
                    entry.error(entry.span(), "a contact has either `sms` or `voice`", "such as { sms = \"+12223334444\" }");
                    entry.ignore_rest();
                    continue;
                }
            };
            let number = phone(&mut entry, key, rules);
            let min_priority = entry.one_of("min_priority", &PRIORITIES).unwrap_or(Priority::Diagnostic);
            if let Some(number) = number {
                claim(name, &entry, &number, taken);
                contacts.push(Contact { channel, number: number.value, min_priority });
            }
        }
        if contacts.len() > MAX_CONTACTS {
            let message = format!("a user has at most {MAX_CONTACTS} contacts");
            section.error(section.key_span("contacts"), message, "");
        }
    } else if section.has("phone")
        && let Some(number) = phone(section, "phone", rules)
    {
        claim(name, section, &number, taken);
        for channel in [Channel::Sms, Channel::Voice] {
            contacts.push(Contact { channel, number: number.value.clone(), min_priority: Priority::Diagnostic });
        }
    }
    contacts
}

/// A number belongs to one user: it says who replies.
fn claim(name: &str, section: &Section<'_>, number: &Spanned<String>, taken: &mut Taken) {
    match taken.numbers.get(&number.value) {
        Some((owner, first)) if owner != name => {
            let message = format!("`{}` is also the number of user `{owner}`", number.value);
            let help = "a reply could not be told apart: two users may not share a number";
            section.error_beside(number.span.clone(), message, help, (first.clone(), "first here"));
        }
        Some(_) => {}
        None => {
            let place = section.place(number.span.clone());
            taken.numbers.insert(number.value.clone(), (name.to_owned(), place));
        }
    }
}

fn pin(section: &mut Section<'_>) -> Option<Secret> {
    let pin = section.spanned_secret("pin")?;
    let text = pin.value.expose();
    if !(4..=10).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        section.error(pin.span, "a PIN has 4 to 10 digits and nothing else", "such as \"4711\", in quotes");
        return None;
    }
    Some(pin.value)
}

fn password_hash(section: &mut Section<'_>, key: &str) -> Option<Secret> {
    let hash = section.spanned_secret(key)?;
    if !hash.value.expose().starts_with("$argon2") {
        section.error(
            hash.span,
            format!("`{key}` is not an argon2 hash"),
            "it begins with $argon2id$; never write the password itself",
        );
        return None;
    }
    Some(hash.value)
}

/// A thumbprint: SHA-1 or SHA-256 of a certificate in hexadecimal digits, in small letters and without what people put between.
fn certificate(section: &mut Section<'_>, taken: &mut Taken) -> Option<String> {
    let text = section.string("certificate")?;
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_ascii_lowercase();
    if !matches!(digits.len(), 40 | 64) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let help = "write its SHA-1 (40 hexadecimal digits) or SHA-256 (64), as `openssl x509 -fingerprint` shows it";
        section.error(text.span, "`certificate` is not the thumbprint of a certificate", help);
        return None;
    }
    let place = section.place(text.span.clone());
    if let Some(first) = taken.certificates.insert(digits.clone(), place) {
        let message = "this certificate is given to two users";
        section.error_beside(text.span, message, "it says who logs in: give each their own", (first, "first here"));
    }
    Some(digits)
}

fn roles(section: &mut Section<'_>) -> Role {
    let words = section.strings("roles").unwrap_or_default();
    words.iter().filter_map(|word| section.word("a role", word, &ROLES)).max().unwrap_or_default()
}

fn words(section: &mut Section<'_>, key: &str) -> Vec<String> {
    section.strings(key).unwrap_or_default().into_iter().map(|word| word.value).collect()
}

/// Takes `time_zone`.
pub(super) fn time_zone(section: &mut Section<'_>) -> Option<String> {
    let text = section.string("time_zone")?;
    if zone(&text).is_none() {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
        let near = super::problems::nearest(&text, known.iter().map(String::as_str));
        let help =
            near.map_or_else(|| "write an IANA name such as \"Europe/London\"".into(), |near| format!("did you mean `{near}`?"));
        section.error(text.span, format!("unknown time zone `{}`", text.value), help);
        return None;
    }
    Some(text.value)
}

/// All `[[token]]`.
pub(super) fn tokens(named: Vec<Named<'_>>) -> BTreeMap<String, TokenDef> {
    let roles = [
        ("sender", None),
        ("viewer", Some(Role::Viewer)),
        ("operator", Some(Role::Operator)),
        ("engineer", Some(Role::Engineer)),
    ];
    let mut tokens = BTreeMap::new();
    for Named { name, mut section } in named {
        let role = section.one_of("role", &roles);
        for (key, there) in [("role", section.has("role")), ("hash", section.has_secret("hash"))] {
            if !there {
                section.missing(key);
            }
        }
        if let (Some(role), Some(hash)) = (role, password_hash(&mut section, "hash")) {
            tokens.insert(name, TokenDef { role, hash });
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_e164() {
        for (text, region, expected) in [
            ("+12223334444", None, Some("+12223334444")),
            ("+1 (222) 333-4444", None, Some("+12223334444")),
            ("222 333 4444", Some("US"), Some("+12223334444")),
            ("0171 1234567", Some("DE"), Some("+491711234567")),
            ("+49 171 1234567", Some("US"), Some("+491711234567")),
            ("1 222 333 4444", Some("US"), Some("+12223334444")),
            ("011 49 171 1234567", Some("US"), None),
            ("00 1 222 333 4444", Some("DE"), None),
            ("2223334444", None, None),
            ("+12", None, None),
            ("alice", Some("US"), None),
            ("", Some("US"), None),
        ] {
            assert_eq!(e164(text, region).ok().as_deref(), expected, "{text}");
        }
    }
}
