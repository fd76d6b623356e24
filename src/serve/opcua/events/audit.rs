//! AuditEvents (Part 4, 6.5; Part 5, 6.4.3 ff.): who did or tried what. Always on; told to sessions of role engineer only.
//!
//! What is told is bounded, strangers apart from users, so that neither a flood of refused connections nor a client that writes
//! without end drowns what else there is to tell. What is left out is counted in the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    super::{
        Server,
        channel::{self, AsymmetricHeader},
        session::Session,
        space::NAMESPACE,
        wire::{Id, Identifier, Read, Reader},
    },
    Field,
    base::{Base, EVENT_ID},
    encoded,
};
use crate::{
    clock,
    engine::{condition, io::Actor},
    tag::{DataType, StatusCode, Value},
};

/// Event types (Part 5, 6.4; Part 9, 5.10).
pub mod event_type {
    #![allow(missing_docs)]
    pub const OPEN_SECURE_CHANNEL: u32 = 2_060;
    pub const SESSION: u32 = 2_069;
    pub const CREATE_SESSION: u32 = 2_071;
    pub const ACTIVATE_SESSION: u32 = 2_075;
    pub const CERTIFICATE_EXPIRED: u32 = 2_085;
    pub const CERTIFICATE_INVALID: u32 = 2_086;
    pub const CERTIFICATE_UNTRUSTED: u32 = 2_087;
    pub const CERTIFICATE_REVOKED: u32 = 2_088;
    pub const CERTIFICATE_MISMATCH: u32 = 2_089;
    pub const WRITE_UPDATE: u32 = 2_100;
    pub const UPDATE_METHOD: u32 = 2_127;
    pub const CONDITION_ENABLE: u32 = 2_803;
    pub const CONDITION_COMMENT: u32 = 2_829;
    pub const CONDITION_ACKNOWLEDGE: u32 = 8_944;
    pub const CONDITION_SHELVING: u32 = 11_093;
    pub const CONDITION_RESET: u32 = 15_013;
    pub const CONDITION_OUT_OF_SERVICE: u32 = 17_259;
}

/// Severity of what was done, and of what was refused.
const SEVERITY: (u16, u16) = (100, 500);
/// Audit events a second, and how many may come at once: of clients that have no session, and of those that have one.
const STRANGERS: (u32, u32) = (5, 50);
const USERS: (u32, u32) = (500, 5_000);
/// Characters of a text that a client chose.
const MAX_TEXT: usize = 256;
/// Bytes or elements of a value.
const MAX_VALUE: usize = 1_024;
/// Bytes of a certificate, with its chain.
const MAX_CERTIFICATE: usize = 8_192;
/// How often the log tells of what was left out.
const REPORT: Duration = Duration::from_secs(60);

/// What was done or tried.
#[derive(Debug)]
pub struct Act<'a> {
    /// In namespace 0.
    pub event_type: u32,
    /// Path of the node that it was done to; empty for the Server object.
    pub source: &'a str,
    /// What Part 4, 6.5 calls it, such as `Attribute/Write`.
    pub name: &'static str,
    /// How it ended.
    pub status: StatusCode,
    /// The user; `None` before there is one.
    pub user: Option<&'a Actor>,
    /// The AuditEntryId of the request.
    pub entry: &'a str,
    /// The fields of its type.
    pub more: Vec<(&'static str, Field)>,
}

/// Keeps audit events few.
#[derive(Debug, Default)]
pub struct Audit {
    rates: Mutex<Rates>,
}

#[derive(Debug, Default)]
struct Rates {
    strangers: Bucket,
    users: Bucket,
    left_out: u64,
    reported: Option<Instant>,
}

/// How much of a burst was used, and when.
#[derive(Debug, Default)]
struct Bucket {
    used: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, (rate, burst): (u32, u32), now: Instant) -> bool {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.used = (self.used - passed.as_secs_f64() * f64::from(rate)).max(0.0);
        let may = self.used + 1.0 <= f64::from(burst);
        if may {
            self.used += 1.0;
        }
        may
    }
}

impl Audit {
    /// True when there is room for another event.
    fn admits(&self, is_user: bool, now: Instant) -> bool {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let may = if is_user { rates.users.take(USERS, now) } else { rates.strangers.take(STRANGERS, now) };
        if !may {
            rates.left_out += 1;
            if rates.reported.is_none_or(|at| now.saturating_duration_since(at) >= REPORT) {
                tracing::warn!(left_out = rates.left_out, "more OPC UA audit events than are told");
                rates.reported = Some(now);
            }
        }
        may
    }
}

/// Tells of `act`, if there is somebody to hear it and room for it.
pub fn tell(server: &Server, act: Act<'_>) {
    if !server.events.is_heard() || !server.audit.admits(act.user.is_some(), Instant::now()) {
        return;
    }
    let mut id = [0; EVENT_ID];
    opcua::crypto::random::bytes(&mut id);
    let time = clock::now();
    let is_good = !act.status.is_bad();
    let mut more = vec![
        ("SourceName", text(act.name)),
        ("ActionTimeStamp", Field::Value(Value::DateTime(time))),
        ("Status", Field::Value(Value::Boolean(is_good))),
        ("ServerId", text(&server.settings.application_uri)),
        ("ClientAuditEntryId", text(act.entry)),
        ("ClientUserId", act.user.map_or(Field::Value(Value::Null), |user| text(&user.name))),
        ("StatusCodeId", Field::Status(act.status)),
    ];
    more.extend(act.more);
    let outcome = if is_good { "done".into() } else { format!("refused: {}", act.status) };
    let message = match act.user {
        Some(user) => format!("{} by {}: {outcome}", act.name, user.name),
        None => format!("{}: {outcome}", act.name),
    };
    let severity = if is_good { SEVERITY.0 } else { SEVERITY.1 };
    let base = Base { id, event_type: act.event_type, source: act.source.into(), time, message: message.into(), severity };
    server.events.emit(base.event(more));
}

/// A text as a field, at most [`MAX_TEXT`] characters of it.
pub fn text(text: &str) -> Field {
    Field::Value(Value::string(text.chars().take(MAX_TEXT).collect::<String>()))
}

/// A value as a field; null in place of a large one, so that events stay small.
pub fn value(value: Value) -> Field {
    let size = match &value {
        Value::String(text) => text.len(),
        Value::ByteString(bytes) => bytes.len(),
        Value::Array(_, elements) => elements.len(),
        _ => 0,
    };
    let of_texts = matches!(value, Value::Array(DataType::String | DataType::ByteString | DataType::UserStatistics, _));
    Field::Value(if size > MAX_VALUE || (of_texts && size > 0) { Value::Null } else { value })
}

/// The SessionId as a field.
fn session_id(session: &Session) -> Field {
    encoded(|w| {
        w.u8(17);
        w.id(Id::numeric(1, session.number));
    })
}

/// A client's certificate and its thumbprint, as fields of the types that tell of it.
fn certificate(der: &[u8]) -> Vec<(&'static str, Field)> {
    let mut fields = vec![("ClientCertificate", Field::Value(Value::ByteString(der.into())))];
    if let Ok(certificate) = channel::certificate(der) {
        let thumbprint = Value::string(certificate.thumbprint().as_hex_string());
        fields.push(("ClientCertificateThumbprint", Field::Value(thumbprint)));
    }
    fields
}

/// The type of AuditEvent for a certificate that was refused with `status`; `None` when the certificate was not the reason.
const fn of_certificate(status: StatusCode) -> Option<u32> {
    Some(match status.0 {
        // Bad_CertificateTimeInvalid, Bad_CertificateIssuerTimeInvalid.
        0x8014_0000 | 0x8015_0000 => event_type::CERTIFICATE_EXPIRED,
        // Bad_CertificateInvalid, Bad_CertificateUseNotAllowed, Bad_CertificateIssuerUseNotAllowed, Bad_CertificatePolicyCheckFailed,
        // Bad_CertificateChainIncomplete.
        0x8012_0000 | 0x8018_0000 | 0x8019_0000 | 0x8114_0000 | 0x810D_0000 => event_type::CERTIFICATE_INVALID,
        // Bad_CertificateUntrusted, and what strangers are told in its place (Part 4, 6.1.3).
        0x801A_0000 | 0x8013_0000 => event_type::CERTIFICATE_UNTRUSTED,
        // Bad_CertificateRevoked, Bad_CertificateIssuerRevoked, and where that could not be found out.
        0x801D_0000 | 0x801E_0000 | 0x801B_0000 | 0x801C_0000 => event_type::CERTIFICATE_REVOKED,
        // Bad_CertificateHostNameInvalid, Bad_CertificateUriInvalid.
        0x8016_0000 | 0x8017_0000 => event_type::CERTIFICATE_MISMATCH,
        _ => return None,
    })
}

/// A method that was called.
#[derive(Debug)]
pub struct Called {
    object: Box<str>,
    method: Field,
    arguments: Field,
}

impl Called {
    /// `arguments` are `count` Variants, encoded and well formed. An object that is not `known` is not named.
    pub fn new(object: Id<'_>, known: bool, method: Id<'_>, count: usize, arguments: &[u8]) -> Self {
        let object = match object {
            Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } if known => path.into(),
            _ => "".into(),
        };
        let method = encoded(|w| {
            w.u8(17);
            w.id(method);
        });
        let is_small = |field: &Field| matches!(field, Field::Encoded(bytes) if bytes.len() <= MAX_VALUE);
        let arguments = if arguments.len() > MAX_VALUE {
            Field::Value(Value::Null)
        } else {
            encoded(|w| {
                w.array(24, count);
                w.0.extend_from_slice(arguments);
            })
        };
        let method = if is_small(&method) { method } else { Field::Standard(0) };
        Self { object, method, arguments }
    }

    /// Tells of it; of a condition's method with `act` and the comment by the type that is made for it.
    pub fn tell(
        self,
        server: &Server,
        actor: &Actor,
        entry: &str,
        status: StatusCode,
        act: Option<(condition::Act, Option<String>)>,
    ) {
        let mut more = vec![("MethodId", self.method), ("InputArguments", self.arguments)];
        let mut event_type = event_type::UPDATE_METHOD;
        if let Some((act, comment)) = act {
            event_type = of_act(act, &mut more);
            more.extend(
                comment.map(|comment| ("Comment", Field::Text(comment.chars().take(MAX_TEXT).collect::<String>().into()))),
            );
        }
        tell(server, Act { event_type, source: &self.object, name: "Attribute/Call", status, user: Some(actor), entry, more });
    }
}

/// The type of AuditEvent for a condition's method (Part 9, 5.10), and its fields.
fn of_act(act: condition::Act, more: &mut Vec<(&'static str, Field)>) -> u32 {
    let event = |id: &condition::NoticeId| ("ConditionEventId", Field::Value(Value::ByteString(id.to_bytes().as_slice().into())));
    match act {
        condition::Act::Enable | condition::Act::Disable => event_type::CONDITION_ENABLE,
        condition::Act::Comment(id) => {
            more.push(event(&id));
            event_type::CONDITION_COMMENT
        }
        condition::Act::Acknowledge(id) => {
            more.push(event(&id));
            event_type::CONDITION_ACKNOWLEDGE
        }
        condition::Act::TimedShelve(time) => {
            more.push(("ShelvingTime", Field::Value(Value::Double(time.as_secs_f64() * 1_000.0))));
            event_type::CONDITION_SHELVING
        }
        condition::Act::OneShotShelve | condition::Act::Unshelve => event_type::CONDITION_SHELVING,
        condition::Act::Reset => event_type::CONDITION_RESET,
        condition::Act::RemoveFromService | condition::Act::PlaceInService => event_type::CONDITION_OUT_OF_SERVICE,
    }
}

/// Tells of a client's certificate that was refused with `status`.
pub fn certificate_refused(server: &Server, der: &[u8], status: StatusCode) {
    let Some(event_type) = of_certificate(status).filter(|_| der.len() <= MAX_CERTIFICATE) else { return };
    let more = vec![("Certificate", Field::Value(Value::ByteString(der.into())))];
    tell(server, Act { event_type, source: "", name: "Security/Certificate", status, user: None, entry: "", more });
}

/// Tells of a channel that was refused with `status`. `frame` is what was sent.
pub fn channel_refused(server: &Server, frame: &[u8], status: StatusCode) {
    let header = AsymmetricHeader::read(frame).ok();
    let der = header.as_ref().and_then(|header| header.certificate).filter(|der| der.len() <= MAX_CERTIFICATE);
    let mut more = der.map(certificate).unwrap_or_default();
    if let Some(header) = header {
        more.push(("SecurityPolicyUri", text(header.policy.to_uri())));
    }
    let event_type = event_type::OPEN_SECURE_CHANNEL;
    tell(server, Act { event_type, source: "", name: "SecureChannel/OpenSecureChannel", status, user: None, entry: "", more });
}

/// Tells of a CreateSession and how it ended; `answer` is its response.
pub fn session_created(server: &Server, answer: Result<&[u8], StatusCode>, channel: u32, der: Option<&[u8]>, entry: &str) {
    let mut more = der.map(certificate).unwrap_or_default();
    more.push(("SecureChannelId", text(&channel.to_string())));
    let made = answer.ok().and_then(|answer| created(answer).ok());
    if let Some((id, timeout)) = made {
        more.push(("SessionId", id));
        more.push(("RevisedSessionTimeout", Field::Value(Value::Double(timeout))));
    }
    let (event_type, status) = (event_type::CREATE_SESSION, answer.err().unwrap_or(StatusCode::GOOD));
    tell(server, Act { event_type, source: "", name: "Session/CreateSession", status, user: None, entry, more });
}

/// SessionId and timeout in ms of a CreateSessionResponse of ours.
fn created(answer: &[u8]) -> Read<(Field, f64)> {
    let mut reader = Reader::new(answer);
    reader.id()?;
    reader.take(8 + 4 + 4 + 1)?;
    reader.bytes()?;
    reader.extension()?;
    let id = reader.id()?;
    reader.id()?;
    let id = encoded(|w| {
        w.u8(17);
        w.id(id);
    });
    Ok((id, reader.f64()?))
}

/// Tells of an ActivateSession and how it ended.
pub fn session_activated(server: &Server, session: &Session, status: StatusCode, entry: &str) {
    let (actor, channel) = {
        let state = session.state();
        (state.actor.clone(), state.channel)
    };
    let more = vec![("SessionId", session_id(session)), ("SecureChannelId", text(&channel.to_string()))];
    // Who could not log in is nobody yet.
    let user = actor.as_ref().filter(|_| status.is_good());
    let event_type = event_type::ACTIVATE_SESSION;
    tell(server, Act { event_type, source: "", name: "Session/ActivateSession", status, user, entry, more });
}

/// Tells of a CloseSession.
pub fn session_closed(server: &Server, session: &Session, actor: &Actor, entry: &str) {
    let more = vec![("SessionId", session_id(session))];
    let (event_type, status) = (event_type::SESSION, StatusCode::GOOD);
    tell(server, Act { event_type, source: "", name: "Session/CloseSession", status, user: Some(actor), entry, more });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_thinned_apart() {
        let audit = Audit::default();
        let begin = Instant::now();
        let count = |is_user, at| (0..10_000).filter(|_| audit.admits(is_user, at)).count();
        assert_eq!(count(false, begin), 50);
        assert_eq!(count(true, begin), 5_000);
        assert_eq!(count(false, begin + Duration::from_secs(2)), 10);
        assert_eq!(count(false, begin + Duration::from_secs(1_000)), 50);
        assert_eq!(count(true, begin + Duration::from_secs(1)), 500);
    }
}
