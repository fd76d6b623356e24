//! `[[roster]]`, `[[rotation]]`, `[[schedule]]`, `[[holiday]]`, `[[override]]`: who is on duty, and when.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time, Weekday},
};

use super::{
    book::{Book, Kind, Named},
    people::{ALWAYS, time_zone},
    problems::Place,
    reader::{Section, Spanned},
};
use crate::engine::{
    people::{end, first_zone, start},
    plan::{Cover, Exception, Holiday, Rotation, Schedule, Shift, UserDef},
};

/// The most days of one turn of a rotation.
const MAX_TURN: u32 = 366;

/// All `[[roster]]`.
pub(super) fn rosters(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Vec<String>> {
    let mut rosters = BTreeMap::new();
    for Named { name, mut section } in named {
        let mut seen = HashSet::new();
        let mut users = Vec::new();
        if !section.has("users") {
            section.missing("users");
        }
        for user in section.strings("users").unwrap_or_default() {
            if !seen.insert(user.value.clone()) {
                section.warning(
                    user.span.clone(),
                    format!("`{}` stands twice in the roster", user.value),
                    "the second has no effect",
                );
            } else if book.refers_to_one(&[Kind::User, Kind::Rotation], &section, &user) {
                users.push(user.value);
            }
        }
        if seen.is_empty() && section.has("users") {
            section.warning(section.key_span("users"), format!("roster `{name}` is empty"), "nobody is told by it");
        }
        rosters.insert(name, users);
    }
    rosters
}

/// All `[[rotation]]`.
pub(super) fn rotations(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Arc<Rotation>> {
    let mut rotations = BTreeMap::new();
    for Named { name, mut section } in named {
        if let (Some(place), Some(user)) = (book.place(Kind::Rotation, &name), book.place(Kind::User, &name)) {
            let message = format!("`{name}` is a rotation and a user");
            let help = "a roster could not tell them apart: rename one of them";
            section.error_beside(place.span.clone(), message, help, (user.clone(), "the user"));
        }
        let users = turns(&mut section, &name, book);
        let days = period(&mut section);
        let day = section.string("day").and_then(|text| {
            let day = weekday(&text);
            if day.is_none() {
                section.error(text.span.clone(), format!("`{}` is not a day", text.value), "write \"mon\", \"tue\", …");
            } else if days.is_some_and(|days| days != WEEK) {
                let help = "only a weekly rotation has one; the others count from `start`";
                section.error(section.key_span("day"), "`day` has no meaning here", help);
            }
            day
        });
        let first = section.required_string("start").and_then(|text| date(&section, &text));
        let hand_over = time_of(&mut section, "hand_over");
        if !section.has("time_zone") {
            section.missing("time_zone");
        }
        let time_zone = time_zone(&mut section);
        if let (Some(days), Some(first), Some(hand_over)) = (days, first, hand_over) {
            let first = day.map_or(first, |day| first.saturating_sub(i64::from(first.weekday().since(day)).days()));
            rotations.insert(name.clone(), Arc::new(Rotation { name, users, days, first, hand_over, time_zone }));
        }
    }
    rotations
}

const WEEK: u32 = 7;

fn turns(section: &mut Section<'_>, name: &str, book: &Book) -> Vec<String> {
    let mut users: Vec<String> = Vec::new();
    if !section.has("users") {
        section.missing("users");
    }
    for user in section.strings("users").unwrap_or_default() {
        if users.contains(&user.value) {
            let help = "everybody has one turn: a second rotation may give somebody another";
            section.error(user.span, format!("`{}` stands twice in the rotation", user.value), help);
        } else if book.refers(Kind::User, section, &user) {
            users.push(user.value);
        }
    }
    if users.is_empty() && section.has("users") {
        section.warning(section.key_span("users"), format!("rotation `{name}` is empty"), "nobody is told by it");
    }
    users
}

/// Takes `period`: `daily`, `weekly`, or a number of days.
fn period(section: &mut Section<'_>) -> Option<u32> {
    let text = section.required_string("period")?;
    let days = match text.value.as_str() {
        "daily" => Some(1),
        "weekly" => Some(WEEK),
        other => other.strip_suffix("days").and_then(|number| number.trim().parse().ok()),
    };
    let days = days.filter(|days| (1..=MAX_TURN).contains(days));
    if days.is_none() {
        let help = format!("write \"daily\", \"weekly\", or \"14 days\" (1 to {MAX_TURN})");
        section.error(text.span, format!("`{}` is not a period", text.value), help);
    }
    days
}

/// All `[[holiday]]`.
pub(super) fn holidays(named: Vec<Named<'_>>, book: &Book) -> Vec<Holiday> {
    let mut holidays = Vec::new();
    for Named { name, mut section } in named {
        let schedules = section.strings("schedules").unwrap_or_default();
        let schedules =
            schedules.into_iter().filter(|text| book.refers(Kind::Schedule, &section, text)).map(|text| text.value).collect();
        let time = match (section.has("date"), section.has("from") || section.has("to")) {
            (true, false) => {
                let on_duty = duty(&mut section);
                let date = section.required_string("date").and_then(|text| date(&section, &text));
                date.map(|date| Exception {
                    from: date.to_datetime(Time::midnight()),
                    until: date.saturating_add(1.day()).to_datetime(Time::midnight()),
                    on_duty,
                })
            }
            (false, true) => except(&mut section),
            _ => {
                let help = "such as date = \"2026-12-25\", or from = \"2026-12-24T12:00\" and to = \"2026-12-27T00:00\"";
                section.error(section.span(), "a holiday has either `date`, or `from` and `to`", help);
                section.ignore_rest();
                None
            }
        };
        holidays.extend(time.map(|time| Holiday { name, time, schedules }));
    }
    holidays
}

/// All `[[override]]`; `users` were read before.
pub(super) fn overrides(sections: Vec<Section<'_>>, book: &Book, users: &BTreeMap<String, Arc<UserDef>>) -> Vec<Cover> {
    let mut covers: Vec<(Cover, Place)> = Vec::new();
    for mut section in sections {
        let user = book.required_reference(Kind::User, &mut section, "user");
        let covered = book.required_reference(Kind::User, &mut section, "covers");
        let own_zone = time_zone(&mut section);
        let from = section.required_string("from").and_then(|text| date_time(&section, &text));
        let to = section.required_string("to").and_then(|text| date_time(&section, &text));
        let note = section.text("note").unwrap_or_default();
        let (Some(user), Some(covered), Some(from), Some(to)) = (user, covered, from, to) else { continue };
        if user == covered {
            let help = "`user` stands in, `covers` is not contacted";
            section.error(section.key_span("covers"), format!("`{user}` cannot cover for themselves"), help);
            continue;
        }
        let theirs = users.get(&covered).and_then(|user| user.time_zone.as_deref());
        let zone = first_zone([own_zone.as_deref(), theirs]);
        let (from, until) = (start(&zone, from).into(), end(&zone, to).into());
        if until <= from {
            section.error(section.key_span("to"), "the override ends before it begins", "`to` is the first moment after it");
            continue;
        }
        let cover = Cover { user, covers: covered, from, until, note };
        let overlaps = |other: &Cover| other.covers == cover.covers && other.from < cover.until && cover.from < other.until;
        if let Some((_, first)) = covers.iter().find(|(other, _)| overlaps(other)) {
            let message = format!("`{}` is covered twice at the same time", cover.covers);
            section.warning_beside(section.span(), message, "while both hold, this one counts", (first.clone(), "first here"));
        }
        let place = section.place(section.span());
        covers.push((cover, place));
    }
    covers.into_iter().map(|(cover, _)| cover).collect()
}

fn date(section: &Section<'_>, text: &Spanned<String>) -> Option<Date> {
    let parsed = Date::strptime("%Y-%m-%d", &text.value).ok().filter(|_| text.len() == 10);
    if parsed.is_none() {
        section.error(text.span.clone(), format!("`{}` is not a date", text.value), "write \"2026-11-16\"");
    }
    parsed
}

/// All `[[schedule]]`.
pub(super) fn schedules(named: Vec<Named<'_>>, book: &Book) -> BTreeMap<String, Arc<Schedule>> {
    let mut schedules = BTreeMap::new();
    for Named { name, mut section } in named {
        if let (ALWAYS, Some(place)) = (&*name, book.place(Kind::Schedule, ALWAYS)) {
            section.error(place.span.clone(), "`always` cannot be defined", "it stands for being on duty all the time");
        }
        let time_zone = time_zone(&mut section);
        if !section.has("weekly") {
            section.missing("weekly");
        }
        let weekly = section.sections("weekly").into_iter().filter_map(|mut entry| shift(&mut entry)).collect();
        let except = section.sections("except").into_iter().filter_map(|mut entry| except(&mut entry)).collect();
        schedules.insert(name.clone(), Arc::new(Schedule { name, time_zone, weekly, except }));
    }
    schedules
}

/// Takes `key` as days of the week; absent is an error.
pub(super) fn days_of(section: &mut Section<'_>, key: &str) -> Option<Vec<Weekday>> {
    let text = section.required_string(key)?;
    let days = days(&text);
    if days.is_none() {
        let help = "write days such as \"mon-fri\", \"sat,sun\" or \"daily\"";
        section.error(text.span, format!("`{}` names no days", text.value), help);
    }
    days
}

/// Takes `key` as a time of day; absent is an error.
pub(super) fn time_of(section: &mut Section<'_>, key: &str) -> Option<Time> {
    section.required_string(key).and_then(|text| time(section, &text))
}

fn shift(section: &mut Section<'_>) -> Option<Shift> {
    let days = days_of(section, "days");
    let from = section.required_string("from");
    let to = section.required_string("to");
    let from = from.and_then(|text| time(section, &text));
    // 24:00 is no time of a clock: it stands for the end of the day.
    let to = match to {
        Some(text) if text.value == "24:00" => Some(None),
        Some(text) => time(section, &text).map(Some),
        None => None,
    };
    Some(Shift { days: days?, from: from?, to: to? })
}

fn time(section: &Section<'_>, text: &Spanned<String>) -> Option<Time> {
    let time = Time::strptime("%H:%M", &text.value).ok().filter(|_| text.len() == 5);
    if time.is_none() {
        section.error(
            text.span.clone(),
            format!("`{}` is not a time of day", text.value),
            "write \"07:30\"; an end may be \"24:00\"",
        );
    }
    time
}

/// Days in the forms `mon`, `mon-fri`, `sat,sun`, `daily`; a range may run over the end of the week.
fn days(text: &str) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = if part == "daily" { ("mon", "sun") } else { part.split_once('-').unwrap_or((part, part)) };
        let (mut day, last) = (weekday(first.trim())?, weekday(last.trim())?);
        loop {
            if !days.contains(&day) {
                days.push(day);
            }
            if day == last {
                break;
            }
            day = day.next();
        }
    }
    Some(days)
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word.to_ascii_lowercase().as_str() {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// Takes `duty`: off unless it says on.
fn duty(section: &mut Section<'_>) -> bool {
    section.one_of("duty", &[("on", true), ("off", false)]).unwrap_or(false)
}

fn except(section: &mut Section<'_>) -> Option<Exception> {
    let on_duty = duty(section);
    let from = section.required_string("from").and_then(|text| date_time(section, &text));
    let to_text = section.required_string("to");
    let to = to_text.and_then(|text| date_time(section, &text));
    let (from, to) = (from?, to?);
    if to <= from {
        section.error(section.key_span("to"), "it ends before it begins", "`to` is the first moment after it");
        return None;
    }
    Some(Exception { from, until: to, on_duty })
}

fn date_time(section: &Section<'_>, text: &Spanned<String>) -> Option<DateTime> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let help = "write local time, such as \"2026-12-24T00:00\"";
        section.error(text.span.clone(), format!("`{}` is not a date and time", text.value), help);
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_shifts() {
        use Weekday::{Friday, Monday, Saturday, Sunday};
        assert_eq!(days("sat,sun"), Some(vec![Saturday, Sunday]));
        assert_eq!(days("fri-mon"), Some(vec![Friday, Saturday, Sunday, Monday]));
        assert_eq!(days("daily").map(|days| days.len()), Some(7));
        assert_eq!(days("mon-"), None);
        assert_eq!(days(""), None);
    }
}
