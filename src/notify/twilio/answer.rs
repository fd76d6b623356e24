//! What one answer of Twilio, or its absence, says about the message: accepted, certainly not sent, perhaps sent, refused.
//!
//! Twilio knows no idempotency key. So whatever does not prove that nothing was sent is ambiguous, and the engine searches
//! Twilio's list before it sends again. The HTTP status decides first: Twilio's codes are split and moved now and then.

use std::{error::Error as _, time::Duration};

use serde::Deserialize;

use super::advice::{advice, concerns_account};
use crate::engine::io::{Accepted, DeliveryState, SendFailure};

/// Longest wait that a Retry-After is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Wait after "the sender's queue is full" (21611): it empties in segments per second.
pub const QUEUE_FULL_WAIT: Duration = Duration::from_secs(60);
/// Longest text of Twilio's that is passed on, characters.
const MAX_REASON: usize = 300;

/// An answer as far as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Retry-After, when it was given in seconds.
    pub retry_after: Option<Duration>,
    /// `None` when the connection was lost before its end.
    pub body: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Created {
    sid: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    num_segments: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

/// Reads the answer to a request that creates a message.
///
/// # Errors
/// What may be done next.
pub fn read(answer: &Answer) -> Result<Accepted, SendFailure> {
    match answer.status {
        200..=299 => created(answer),
        408 | 500.. => Err(SendFailure::Ambiguous { reason: format!("Twilio answered HTTP {}", answer.status) }),
        300..=399 => Err(permanent(0, format!("HTTP {}: redirected, which Twilio's API never does", answer.status), false)),
        _ => Err(refused(answer)),
    }
}

/// Reads a failure to get any answer: only an error while connecting proves that nothing was sent.
#[must_use]
pub fn read_transport(error: &reqwest::Error) -> SendFailure {
    let reason = describe(error);
    if error.is_builder() {
        permanent(0, format!("the request cannot be made: {reason}"), false)
    } else if error.is_connect() {
        SendFailure::Retry { code: None, reason: format!("no connection to Twilio: {reason}"), after: None }
    } else if error.is_timeout() {
        SendFailure::Ambiguous { reason: "Twilio did not answer in time".into() }
    } else {
        SendFailure::Ambiguous { reason: format!("the connection to Twilio was lost: {reason}") }
    }
}

/// The innermost cause, without the URL (which carries numbers).
#[must_use]
pub fn describe(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(|| if error.is_timeout() { "timed out".into() } else { "the request failed".into() })
}

/// Code and words of an error answer; code 0 when there is none.
#[must_use]
pub fn refusal(answer: &Answer) -> (u32, String) {
    let parsed = answer.body.as_deref().and_then(|body| serde_json::from_slice::<Refusal>(body).ok());
    match parsed {
        Some(refusal) if refusal.code != 0 || !refusal.message.is_empty() => {
            (refusal.code, refusal.message.chars().filter(|letter| !letter.is_control()).take(MAX_REASON).collect())
        }
        _ => (0, format!("HTTP {} without Twilio's explanation", answer.status)),
    }
}

fn created(answer: &Answer) -> Result<Accepted, SendFailure> {
    let created = answer.body.as_deref().and_then(|body| serde_json::from_slice::<Created>(body).ok());
    match created {
        Some(created) if is_sid(&created.sid) => Ok(Accepted {
            sid: created.sid,
            segments: created.num_segments.and_then(|count| count.parse().ok()).unwrap_or(0),
            status: DeliveryState::parse(&created.status).unwrap_or(DeliveryState::Accepted),
        }),
        _ => Err(SendFailure::Ambiguous {
            reason: format!("Twilio answered HTTP {} but its answer cannot be read", answer.status),
        }),
    }
}

fn refused(answer: &Answer) -> SendFailure {
    let (code, reason) = refusal(answer);
    let retry = |after| SendFailure::Retry { code: (code != 0).then_some(code), reason: reason.clone(), after };
    match (answer.status, code) {
        // The account's daily limit comes as 429 too, but waiting does not help before tomorrow.
        (_, 63038 | 30454) => permanent(code, reason, true),
        (_, 21611) => retry(Some(answer.retry_after.unwrap_or(QUEUE_FULL_WAIT).min(MAX_RETRY_AFTER))),
        (429, _) => retry(answer.retry_after.map(|after| after.min(MAX_RETRY_AFTER))),
        (401, _) => permanent(if code == 0 { 20003 } else { code }, reason, true),
        _ => permanent(code, reason, concerns_account(code)),
    }
}

fn permanent(code: u32, reason: String, account: bool) -> SendFailure {
    SendFailure::Permanent { code, reason, advice: advice(code).into(), account, opted_out: code == 21610 }
}

/// Two letters and 32 hexadecimal digits (Twilio, "What is a String Identifier (SID)?").
#[must_use]
pub fn is_sid(text: &str) -> bool {
    text.len() == 34
        && text.bytes().take(2).all(|byte| byte.is_ascii_uppercase())
        && text[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class of an outcome in one word, with what matters in it.
    fn class(result: &Result<Accepted, SendFailure>) -> String {
        match result {
            Ok(accepted) => format!("accepted {:?} {}", accepted.status, accepted.segments),
            Err(SendFailure::Retry { code, after, .. }) => {
                format!("retry {} {}", code.unwrap_or(0), after.map_or(0, |after| after.as_secs()))
            }
            Err(SendFailure::Ambiguous { .. }) => "ambiguous".into(),
            Err(SendFailure::Permanent { code, account, opted_out, advice, .. }) => {
                assert!(!advice.is_empty());
                let flags = [(*account, " account"), (*opted_out, " opted-out")].map(|(set, word)| if set { word } else { "" });
                format!("permanent {code}{}", flags.concat())
            }
        }
    }

    #[test]
    fn every_answer_has_its_class() {
        const SID: &str = "SM00000000000000000000000000000001";
        let sid = |rest: &str| format!("{{\"sid\":\"{SID}\"{rest}}}");
        let code = |code: u32| format!("{{\"code\":{code},\"message\":\"words\",\"status\":400}}");
        let rows: Vec<(u16, Option<u64>, Option<String>, &str)> = vec![
            (201, None, Some(sid(",\"status\":\"queued\",\"num_segments\":\"2\"")), "accepted Queued 2"),
            (201, None, Some(sid(",\"status\":\"accepted\",\"num_segments\":\"0\"")), "accepted Accepted 0"),
            (201, None, Some(sid(",\"status\":\"brand-new\"")), "accepted Accepted 0"),
            (200, None, Some(sid(",\"status\":\"sent\",\"num_segments\":null")), "accepted Sent 0"),
            (201, None, None, "ambiguous"),
            (201, None, Some(String::new()), "ambiguous"),
            (201, None, Some("<html>".into()), "ambiguous"),
            (201, None, Some("{\"sid\":\"SM1\"}".into()), "ambiguous"),
            (201, None, Some(sid(",\"status\":")), "ambiguous"),
            (200, None, Some("<html>sign in</html>".into()), "ambiguous"),
            (204, None, Some(String::new()), "ambiguous"),
            (302, None, Some(String::new()), "permanent 0"),
            (408, None, Some(String::new()), "ambiguous"),
            (429, None, Some(code(20429)), "retry 20429 0"),
            (429, Some(7), Some(code(20429)), "retry 20429 7"),
            (429, Some(1_000_000), Some(code(20429)), "retry 20429 3600"),
            (429, Some(2), Some("<html>".into()), "retry 0 2"),
            (429, None, None, "retry 0 0"),
            (429, None, Some(code(63038)), "permanent 63038 account"),
            (429, None, Some(code(21611)), "retry 21611 60"),
            (400, None, Some(code(21611)), "retry 21611 60"),
            (500, None, Some(code(20500)), "ambiguous"),
            (502, None, Some("<html>".into()), "ambiguous"),
            (503, Some(3), Some(code(20503)), "ambiguous"),
            (504, None, None, "ambiguous"),
            (599, None, None, "ambiguous"),
            (401, None, Some(code(20003)), "permanent 20003 account"),
            (401, None, Some(String::new()), "permanent 20003 account"),
            (403, None, Some(code(20003)), "permanent 20003 account"),
            (403, None, Some(code(20005)), "permanent 20005 account"),
            (403, None, Some(code(20008)), "permanent 20008 account"),
            (403, None, Some(code(10001)), "permanent 10001 account"),
            (403, None, Some("<html>".into()), "permanent 0"),
            (404, None, Some(code(20404)), "permanent 20404 account"),
            (400, None, Some(code(21211)), "permanent 21211"),
            (400, None, Some(code(21408)), "permanent 21408"),
            (400, None, Some(code(21603)), "permanent 21603"),
            (400, None, Some(code(21608)), "permanent 21608"),
            (400, None, Some(code(21610)), "permanent 21610 opted-out"),
            (400, None, Some(code(21614)), "permanent 21614"),
            (400, None, Some(code(29999)), "permanent 29999"),
            (418, None, None, "permanent 0"),
        ];
        for (status, after, body, expected) in rows {
            let answer =
                Answer { status, retry_after: after.map(Duration::from_secs), body: body.clone().map(String::into_bytes) };
            assert_eq!(class(&read(&answer)), expected, "{status} {after:?} {body:?}");
        }
    }

    #[test]
    fn twilios_words_are_bounded_and_printable() {
        let body = serde_json::json!({"code": 21211, "message": format!("a\r\nb\u{1b}{}", "x".repeat(5000))}).to_string();
        let (code, words) = refusal(&Answer { status: 400, body: Some(body.into_bytes()), ..Answer::default() });
        assert_eq!(code, 21211);
        assert!(words.starts_with("abx") && words.chars().count() == MAX_REASON);
    }
}
