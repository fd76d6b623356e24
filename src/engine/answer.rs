//! The answers to texts: what was acknowledged, what is open, and how to answer (SPEC 9, "By text").
//!
//! Only wording. None of Twilio's own words is ever proposed as a command, and no answer repeats what was sent to us.

use super::{
    length::{DigestItem, fit},
    plan::Fit,
};

/// The most characters of an answer: three segments with room for some brackets, which cost two septets each.
pub const MAX_ANSWER: u32 = 440;

/// Alarms that one answer lists.
const MAX_LISTED: usize = 6;

/// Characters of an alarm's name in a list.
const MAX_NAME: u32 = 60;

/// What became of a `PIN …` reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged<'a> {
    /// Acknowledged by this reply.
    pub done: Vec<DigestItem<'a>>,
    /// Somebody was first.
    pub already: Vec<Already<'a>>,
    /// Codes that mean nothing (any more), in upper case.
    pub unknown: Vec<&'a str>,
    /// Whether the PLC took it.
    pub plc: Plc<'a>,
    /// Events that are still open for this person.
    pub open: usize,
}

/// An event that was acknowledged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Already<'a> {
    /// The alarm.
    pub item: DigestItem<'a>,
    /// By whom.
    pub by: &'a str,
    /// When, as [`super::people::clock_text`] writes it.
    pub at: &'a str,
}

/// What is known of the write-back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plc<'a> {
    /// There is none.
    #[default]
    None,
    /// Not confirmed yet; a further answer follows.
    Pending,
    /// Confirmed.
    Took,
    /// Given up, and why.
    DidNot(&'a str),
}

/// The answer to a reply with a right PIN.
#[must_use]
pub fn acknowledged(outcome: &Acknowledged<'_>) -> String {
    let mut sentences = Vec::new();
    match outcome.done.as_slice() {
        [] => {}
        [one] => sentences.push(format!("Acknowledged: {}.", named(*one))),
        several => sentences.push(format!("Acknowledged {}: {}.", several.len(), several_named(several, several.len(), ", "))),
    }
    if !outcome.done.is_empty() {
        match outcome.plc {
            Plc::None => {}
            Plc::Pending => sentences.push("The PLC is being told.".to_owned()),
            Plc::Took => sentences.push("The PLC took it.".to_owned()),
            Plc::DidNot(reason) => sentences.push(format!("The PLC did NOT take it: {reason}.")),
        }
    }
    for already in outcome.already.iter().take(MAX_LISTED) {
        sentences.push(format!("{} was acknowledged by {} at {}.", named(already.item), already.by, already.at));
    }
    if outcome.already.len() > MAX_LISTED {
        sentences.push(format!("{} more were acknowledged before.", outcome.already.len() - MAX_LISTED));
    }
    match outcome.unknown.as_slice() {
        [] => {}
        [code] => sentences.push(format!("No open alarm has the code {code}.")),
        codes => sentences.push(format!("No open alarm has the codes {}.", codes[..codes.len().min(MAX_LISTED)].join(", "))),
    }
    if outcome.open > 0 {
        sentences.push(format!("Still open: {}. Text ? to see the list.", outcome.open));
    } else if sentences.is_empty() {
        sentences.push("Nothing is open, nothing was acknowledged.".to_owned());
    }
    bounded(&sentences.join(" "))
}

/// The answer to `?` and to whatever is not understood: the first of `open` of `total`, and how to answer. `has_pin` is false for
/// a user who can acknowledge nothing.
#[must_use]
pub fn open_list(open: &[DigestItem<'_>], total: usize, has_pin: bool) -> String {
    if total == 0 || open.is_empty() {
        return "Nothing is open.".to_owned();
    }
    let how = how_to_answer(open[0].code, has_pin);
    bounded_list(&format!("Open: {total}."), open, total, &how)
}

/// The answer to a bare PIN when more than one event may be meant: nothing is acknowledged.
#[must_use]
pub fn which_one(open: &[DigestItem<'_>], total: usize) -> String {
    if total == 0 || open.is_empty() {
        return "Nothing is open, nothing was acknowledged.".to_owned();
    }
    let how = how_to_answer(open[0].code, true);
    bounded_list("Nothing was acknowledged: say which one.", open, total, &how)
}

/// The answer to a wrong PIN, with what is left of the five tries.
#[must_use]
pub fn wrong_pin(tries_left: u32) -> String {
    match tries_left {
        1 => "Wrong PIN, nothing was acknowledged. 1 try left.".to_owned(),
        tries => format!("Wrong PIN, nothing was acknowledged. {tries} tries left."),
    }
}

/// The answer while this number is locked.
#[must_use]
pub fn locked(until: &str) -> String {
    bounded(&format!("Too many wrong PINs: locked until {until}, nothing was acknowledged. The next person is being told."))
}

/// The answer to a user without a PIN.
#[must_use]
pub fn no_pin() -> String {
    "You have no PIN, so you cannot acknowledge by text. Nothing was acknowledged.".to_owned()
}

/// The answer to a user whose role may not acknowledge.
#[must_use]
pub fn not_allowed() -> String {
    "Your role may not acknowledge. Nothing was acknowledged.".to_owned()
}

/// The later answer: the PLC confirmed the acknowledgement.
#[must_use]
pub fn plc_took(item: DigestItem<'_>) -> String {
    bounded(&format!("The PLC took the acknowledgement of {}.", named(item)))
}

/// The later answer: the write-back was given up.
#[must_use]
pub fn plc_did_not(item: DigestItem<'_>, reason: &str) -> String {
    bounded(&format!("The PLC did NOT take the acknowledgement of {}: {reason}. Look at the plant.", named(item)))
}

/// To the others who were told, when somebody acknowledged.
#[must_use]
pub fn acknowledged_by(item: DigestItem<'_>, by: &str, at: &str) -> String {
    bounded(&format!("{} was acknowledged by {by} at {at}.", named(item)))
}

fn how_to_answer(code: &str, has_pin: bool) -> String {
    if has_pin {
        format!("To acknowledge, text your PIN and a code (PIN {code}), or PIN ALL.")
    } else {
        "You have no PIN: call the control room to acknowledge.".to_owned()
    }
}

fn named(item: DigestItem<'_>) -> String {
    let name = fit(item.name, None, MAX_NAME, Fit::Characters);
    if item.code.is_empty() { name } else { format!("{name} #{}", item.code) }
}

/// At most [`MAX_LISTED`] of `items`, then how many of `total` are not among them.
fn several_named(items: &[DigestItem<'_>], total: usize, separator: &str) -> String {
    let listed = items.len().min(MAX_LISTED);
    let names: Vec<String> = items[..listed].iter().map(|item| named(*item)).collect();
    let more = total.max(items.len()) - listed;
    if more == 0 { names.join(separator) } else { format!("{}{separator}and {more} more", names.join(separator)) }
}

/// A heading, as many items as leave room for `how`, and `how`: the instruction is never what is cut.
fn bounded_list(heading: &str, items: &[DigestItem<'_>], total: usize, how: &str) -> String {
    let text = |listed: usize| format!("{heading}\n{}\n{how}", several_named(&items[..listed], total, "\n"));
    let limit = usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX);
    let listed = (1..=items.len().min(MAX_LISTED)).rev().find(|listed| text(*listed).chars().count() <= limit).unwrap_or(1);
    bounded(&text(listed))
}

fn bounded(text: &str) -> String {
    fit(text, None, MAX_ANSWER, Fit::Characters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{gsm, reply};

    const TANK: DigestItem<'static> = DigestItem { name: "HIGH Plant/Tank/HighHigh", code: "K7M" };
    const PUMP: DigestItem<'static> = DigestItem { name: "LOW Plant/Pump/Trip", code: "Q2F" };

    #[test]
    fn answers_say_what_happened() {
        let cases = [
            (
                Acknowledged { done: vec![TANK], plc: Plc::Took, ..Acknowledged::default() },
                "Acknowledged: HIGH Plant/Tank/HighHigh #K7M. The PLC took it.",
            ),
            (
                Acknowledged { done: vec![TANK, PUMP], plc: Plc::Pending, open: 37, ..Acknowledged::default() },
                "Acknowledged 2: HIGH Plant/Tank/HighHigh #K7M, LOW Plant/Pump/Trip #Q2F. The PLC is being told. Still open: 37. Text ? to see the list.",
            ),
            (
                Acknowledged { already: vec![Already { item: TANK, by: "bob", at: "14:05" }], ..Acknowledged::default() },
                "HIGH Plant/Tank/HighHigh #K7M was acknowledged by bob at 14:05.",
            ),
            (
                Acknowledged {
                    done: vec![PUMP],
                    unknown: vec!["QQQ"],
                    plc: Plc::DidNot("no connection to plc1"),
                    ..Acknowledged::default()
                },
                "Acknowledged: LOW Plant/Pump/Trip #Q2F. The PLC did NOT take it: no connection to plc1. No open alarm has the code QQQ.",
            ),
            (Acknowledged::default(), "Nothing is open, nothing was acknowledged."),
        ];
        for (outcome, expected) in cases {
            assert_eq!(acknowledged(&outcome), expected);
        }
        assert_eq!(
            open_list(&[TANK, PUMP], 2, true),
            "Open: 2.\nHIGH Plant/Tank/HighHigh #K7M\nLOW Plant/Pump/Trip #Q2F\nTo acknowledge, text your PIN and a code (PIN K7M), or PIN ALL."
        );
        assert_eq!(open_list(&[], 0, true), "Nothing is open.");
    }

    #[test]
    fn long_lists_keep_the_instruction() {
        let name = "CRITICAL Plant/Line1/A very long name of an area/Another folder/Tank level/HighHigh";
        let items = vec![DigestItem { name, code: "K7M" }; 40];
        for text in [open_list(&items, 90, true), which_one(&items, 90)] {
            assert!(text.ends_with("(PIN K7M), or PIN ALL.") && text.contains("more\n"), "{text}");
            assert!(gsm::segments(&text) <= 3 && text.matches("#K7M").count() >= 3, "{text}");
        }
        let outcome = Acknowledged { done: items.clone(), open: 5, ..Acknowledged::default() };
        assert!(gsm::segments(&acknowledged(&outcome)) <= 3);
        assert!(gsm::segments(&plc_did_not(items[0], &"x".repeat(1000))) <= 3);
    }

    #[test]
    fn no_answer_reads_as_a_command() {
        for answer in [
            wrong_pin(1),
            wrong_pin(4),
            locked("14:20"),
            no_pin(),
            not_allowed(),
            acknowledged_by(TANK, "bob", "14:05"),
            plc_took(PUMP),
        ] {
            assert_eq!(reply::parse(&answer), reply::Reply::Other);
            assert_eq!(gsm::segments(&answer), 1, "{answer}");
        }
    }
}
