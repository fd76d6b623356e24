//! What a standby instance hands to the active one through the store: webhooks that reached it, and what people asked of it.
//!
//! A text or a key press may hold a PIN, which must stand in no database: such an input is sealed with a key that only those have
//! who know the Twilio profile's auth token. When an instance has another token than the one that sealed, the input waits until a
//! reload brings the same one.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use serde::{Deserialize, Serialize};

use super::{Shared, inbox::Message};
use crate::engine::{
    io::{Actor, CallEvent, Command, DeliveryState, InboundText, Input, OutboxId, RequestId},
    plan::{Plan, Secret},
    record::AuditEntry,
};

/// One input on its way from a standby instance to the active one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Handed {
    /// Somebody asked for something.
    Command {
        /// Who.
        by: Actor,
        /// What.
        command: Command,
    },
    /// A text came in.
    Inbound(InboundText),
    /// Twilio reported how a message fares.
    Status {
        /// The outbox row, when the callback's URL named one.
        row: Option<OutboxId>,
        /// The message.
        sid: String,
        /// Its state.
        status: DeliveryState,
        /// Twilio's error code, when it failed.
        error_code: Option<u32>,
    },
    /// Twilio told of a call, or asks what to say next.
    Call(CallEvent),
    /// What the instance did by itself, such as letting somebody in.
    Audit(Vec<AuditEntry>),
}

/// As it stands in the store.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Row {
    Plain(Handed),
    /// ChaCha20-Poly1305 (RFC 8439) over its JSON: the nonce, then what is sealed, in Base64.
    Sealed {
        /// Name of the Twilio profile whose token sealed it.
        twilio: String,
        data: String,
    },
}

/// Keeps the key apart from other uses of the token.
const PURPOSE: &[u8] = b"annunciator: inputs handed to the active instance";

fn key(token: &Secret) -> LessSafeKey {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes()), PURPOSE);
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("an HMAC-SHA256 is as long as the key"))
}

fn seal(plan: &Plan, twilio: String, handed: &Handed) -> Result<Row, String> {
    let def = plan.twilio.get(&twilio).ok_or_else(|| format!("there is no Twilio profile {twilio}"))?;
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let mut data = serde_json::to_vec(handed).map_err(|error| error.to_string())?;
    key(&def.auth_token)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*twilio), &mut data)
        .map_err(|_| "it is too long to be sealed".to_owned())?;
    Ok(Row::Sealed { twilio, data: BASE64_STANDARD.encode([&nonce[..], &data].concat()) })
}

fn open(plan: &Plan, twilio: &str, data: &str) -> Result<Handed, String> {
    let def = plan.twilio.get(twilio).ok_or_else(|| format!("there is no Twilio profile {twilio}"))?;
    let data = BASE64_STANDARD.decode(data).map_err(|error| error.to_string())?;
    let (nonce, data) = data.split_first_chunk().ok_or("it is too short")?;
    for token in [Some(&def.auth_token), def.auth_token_2.as_ref()].into_iter().flatten() {
        let mut data = data.to_vec();
        if let Ok(plain) = key(token).open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(twilio), &mut data) {
            return serde_json::from_slice(plain).map_err(|error| not_ours(&error));
        }
    }
    Err(format!("it was sealed with another auth_token of Twilio profile {twilio}"))
}

impl Handed {
    /// The text for the store.
    ///
    /// # Errors
    /// Why it cannot be handed over; a fragment.
    pub(super) fn write(self, plan: &Plan) -> Result<String, String> {
        let row = match &self {
            Self::Inbound(InboundText { twilio, .. }) | Self::Call(CallEvent { twilio, .. }) => {
                seal(plan, twilio.clone(), &self)?
            }
            Self::Command { .. } | Self::Status { .. } | Self::Audit(_) => Row::Plain(self),
        };
        serde_json::to_string(&row).map_err(|error| error.to_string())
    }

    /// The input behind the text of the store.
    ///
    /// # Errors
    /// Why it cannot be read, for people; it names no content.
    pub(super) fn read(text: &str, plan: &Plan) -> Result<Self, String> {
        match serde_json::from_str(text).map_err(|error| not_ours(&error))? {
            Row::Plain(handed) => Ok(handed),
            Row::Sealed { twilio, data } => open(plan, &twilio, &data),
        }
    }

    /// What the engine takes; the entries of the audit log when it is not the engine's business.
    pub(super) fn into_input(self, request: RequestId) -> Result<Input, Vec<AuditEntry>> {
        Ok(match self {
            Self::Command { by, command } => Input::Command { request, by, command },
            Self::Inbound(text) => Input::Inbound { request, text },
            Self::Status { row, sid, status, error_code } => Input::Status { request, row, sid, status, error_code },
            Self::Call(call) => Input::Call { request, call },
            Self::Audit(entries) => return Err(entries),
        })
    }
}

/// The error's own words may quote what was handed in.
fn not_ours(error: &serde_json::Error) -> String {
    format!("it is from another version of annunciator (line {}, column {})", error.line(), error.column())
}

/// How often the active instance looks for what was handed in.
const LOOK: Duration = Duration::from_millis(100);
/// So many at once.
const AT_ONCE: usize = 1_000;

/// Takes what other instances hand in, until it is dropped. What cannot be read waits, and is tried again: a reload may bring the
/// token that it was sealed with.
pub(super) async fn take(shared: Arc<Shared>) {
    // On their way through the engine, and those that were complained of; gone from here when they are gone from the store.
    let (mut taken, mut unreadable) = (HashSet::new(), HashSet::new());
    let mut failing = false;
    loop {
        match shared.store.handed_in(AT_ONCE).await {
            Ok(rows) => {
                failing = false;
                let there: HashSet<u64> = rows.iter().map(|(id, _)| *id).collect();
                taken.retain(|id| there.contains(id));
                unreadable.retain(|id| there.contains(id));
                let plan = shared.plan.load_full();
                for (id, text) in rows {
                    if taken.contains(&id) {
                        continue;
                    }
                    match Handed::read(&text, &plan) {
                        Ok(handed) => {
                            taken.insert(id);
                            shared.inbox.push(Message::Handed(id, handed));
                        }
                        Err(reason) if unreadable.insert(id) => {
                            tracing::error!(%id, "what another instance handed in cannot be read, and waits: {reason}");
                        }
                        Err(_) => {}
                    }
                }
            }
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(%error, "failed to look for what other instances handed in");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::{File, Loader, load},
        engine::{io::Via, plan::Role},
        tag::{Names, Timestamp},
    };

    fn plan(tokens: &str) -> Plan {
        let text = format!(
            "[[twilio]]\nname = 'main'\naccount_sid = 'AC00000000000000000000000000000000'\nfrom = '+15550001111'\n{tokens}\n"
        );
        let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
        let file = File { name: "main.toml".into(), text };
        load(&[file], &[], &[], loader, &mut Names::default()).unwrap_or_else(|problems| panic!("{problems:?}")).plan
    }

    fn text() -> InboundText {
        InboundText {
            twilio: "main".into(),
            sid: "SM1".into(),
            from: "+12223334401".into(),
            to: "+15550001111".into(),
            body: "68211".into(),
            received: Some(Timestamp::from_ticks(5)),
        }
    }

    #[test]
    fn a_pin_is_sealed_and_opened_by_who_has_the_token() {
        let ours = plan("auth_token = 'one'");
        let written = Handed::Inbound(text()).write(&ours).unwrap();
        assert!(!written.contains("68211"), "{written}");
        assert_eq!(Handed::read(&written, &ours), Ok(Handed::Inbound(text())));
        // Rotation: the old token is the second one now.
        assert_eq!(Handed::read(&written, &plan("auth_token = 'two'\nauth_token_2 = 'one'")), Ok(Handed::Inbound(text())));
        let refused = Handed::read(&written, &plan("auth_token = 'two'")).unwrap_err();
        assert!(refused.contains("another auth_token of Twilio profile main"), "{refused}");
        // The same input never looks the same.
        assert_ne!(written, Handed::Inbound(text()).write(&ours).unwrap());
    }

    #[test]
    fn a_command_comes_out_as_it_went_in() {
        let by = Actor { name: "bob".into(), role: Role::Operator, via: Via::OpcUa };
        let command = Command::Shelve { alarm: "A/Alarms/B".into(), minutes: 2.5, note: "why".into() };
        let plan = plan("auth_token = 'one'");
        let handed = || Handed::Command { by: by.clone(), command: command.clone() };
        assert_eq!(Handed::read(&handed().write(&plan).unwrap(), &plan), Ok(handed()));
        assert!(Handed::read("{\"plain\":{\"dance\":1}}", &plan).unwrap_err().contains("another version"));
    }
}
