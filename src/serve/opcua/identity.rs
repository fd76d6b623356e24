//! Who a session's user is (Part 4, 7.40): anonymous, a name with a password, or a certificate that the configuration gives to a user.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use opcua::{
    crypto::{KeySize, SecurityPolicy, X509, legacy_decrypt_secret, verify_signature_data},
    types::{ByteString, MessageSecurityMode, SignatureData, UAString, UserNameIdentityToken},
};

use super::{
    Server,
    login::Through,
    session::{self, status},
    wire::{Extension, Malformed, Reader},
};
use crate::{
    clock,
    engine::{
        io::{Actor, Via},
        plan::Plan,
    },
    pki::x509::{Certificate, split_chain},
    tag::StatusCode,
};

/// Encoding ids of the tokens, each with its data type's id, which some clients use instead.
const ANONYMOUS: [u32; 2] = [321, 319];
const USER_NAME: [u32; 2] = [324, 322];
const CERTIFICATE: [u32; 2] = [327, 325];

/// What identity a client showed.
pub enum Identity {
    /// None.
    Anonymous,
    /// A name and a password that may be encrypted.
    User {
        /// The name.
        name: String,
        /// The password, in clear or encrypted.
        secret: Vec<u8>,
        /// How it is encrypted; empty for in clear.
        algorithm: String,
    },
    /// A certificate, DER; the request carries a signature by its key.
    Certificate(Vec<u8>),
}

/// A signature of ActivateSession, over our certificate and the session's last nonce.
#[derive(Clone, Copy)]
pub struct Signature<'a> {
    /// The algorithm's URI.
    pub algorithm: &'a str,
    /// The signature.
    pub bytes: &'a [u8],
}

impl Identity {
    /// Reads the token of ActivateSession.
    ///
    /// # Errors
    /// `Bad_IdentityTokenInvalid` when it is malformed, `Bad_IdentityTokenRejected` when it is of a kind that is not taken.
    pub fn read(token: &Extension<'_>) -> Result<Self, StatusCode> {
        let id = token.type_id.standard().ok_or(status::BAD_IDENTITY_TOKEN_INVALID)?;
        let invalid = |_: Malformed| status::BAD_IDENTITY_TOKEN_INVALID;
        // No token at all is an anonymous one (Part 4, 5.7.3.2).
        if id == 0 || ANONYMOUS.contains(&id) {
            return Ok(Self::Anonymous);
        }
        let mut body = Reader::new(token.body.ok_or(status::BAD_IDENTITY_TOKEN_INVALID)?);
        if USER_NAME.contains(&id) {
            let parts = (|| {
                body.bytes()?;
                Ok((body.text()?, body.bytes()?.unwrap_or_default(), body.text()?))
            })();
            let (name, secret, algorithm) = parts.map_err(invalid)?;
            return Ok(Self::User { name: name.into(), secret: secret.into(), algorithm: algorithm.into() });
        }
        if CERTIFICATE.contains(&id) {
            let parts = (|| {
                body.bytes()?;
                body.bytes()
            })();
            return Ok(Self::Certificate(parts.map_err(invalid)?.unwrap_or_default().to_vec()));
        }
        Err(status::BAD_IDENTITY_TOKEN_REJECTED)
    }

    /// The name that it claims, and how it is proved; for the log.
    #[must_use]
    pub fn claim(&self) -> (&str, &'static str) {
        match self {
            Self::Anonymous => ("anonymous", "anonymous"),
            Self::User { name, .. } => (name, "password"),
            Self::Certificate(_) => ("", "certificate"),
        }
    }

    /// How it is proved, as the standard calls it (Part 5, 12.12).
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Anonymous => "Anonymous",
            Self::User { .. } => "UserName",
            Self::Certificate(_) => "X509",
        }
    }

    /// The user, once the proof holds. `nonce` is the session's last.
    ///
    /// # Errors
    /// The code for the client; a wrong name and a wrong password have the same.
    pub async fn prove(
        self,
        server: &Arc<Server>,
        through: &Through,
        nonce: &[u8],
        signature: Signature<'_>,
    ) -> Result<Actor, StatusCode> {
        match self {
            Self::Anonymous => anonymous(server),
            Self::User { name, secret, algorithm } => {
                let password = password(server, through, name.clone(), secret, algorithm, nonce).await?;
                let known = server.gateway.log_in(name, password, through.peer, Via::OpcUa).await;
                known.map_err(|_| StatusCode::BAD_USER_ACCESS_DENIED)
            }
            Self::Certificate(der) => certificate(server, through, &der, nonce, signature).await,
        }
    }
}

/// True when a user of `plan` may log in with a certificate.
pub fn certificates_are_used(plan: &Plan) -> bool {
    plan.users.values().any(|user| user.certificate.is_some())
}

fn anonymous(server: &Server) -> Result<Actor, StatusCode> {
    let role = server.settings.anonymous.ok_or(status::BAD_IDENTITY_TOKEN_REJECTED)?;
    Ok(Actor { name: session::ANONYMOUS.into(), role, via: Via::OpcUa })
}

/// The password in a user-name token: in clear only inside encryption, else encrypted with our certificate and bound to the
/// nonce (Part 4, 7.41.2.2).
async fn password(
    server: &Arc<Server>,
    through: &Through,
    name: String,
    secret: Vec<u8>,
    algorithm: String,
    nonce: &[u8],
) -> Result<String, StatusCode> {
    if through.policy == SecurityPolicy::None {
        return Err(status::BAD_IDENTITY_TOKEN_REJECTED);
    }
    let invalid = status::BAD_IDENTITY_TOKEN_INVALID;
    let clear = if algorithm.is_empty() {
        if through.mode != MessageSecurityMode::SignAndEncrypt {
            return Err(invalid);
        }
        secret
    } else {
        let block = through.own.key.size();
        let expected = through.policy.asymmetric_encryption_algorithm() == Some(&*algorithm);
        if !expected || secret.is_empty() || !secret.len().is_multiple_of(block) || secret.len() > 8 * block {
            return Err(invalid);
        }
        let (own, nonce) = (Arc::clone(&through.own), nonce.to_vec());
        let token = UserNameIdentityToken {
            policy_id: UAString::null(),
            user_name: UAString::from(name),
            password: ByteString::from(secret),
            encryption_algorithm: UAString::from(algorithm),
        };
        // The library panics on a plain text shorter than the nonce.
        let decrypt =
            move || catch_unwind(AssertUnwindSafe(|| legacy_decrypt_secret(&token, &nonce, &own.key).ok())).ok().flatten();
        let clear = server.with_key(decrypt).await.flatten().ok_or(invalid)?;
        clear.as_ref().to_vec()
    };
    String::from_utf8(clear).map_err(|_| invalid)
}

/// The user whose `certificate` the configuration names. Being named is the trust; the certificate's own time and strength are
/// checked, and that the client has the key (Part 4, 7.40.5).
async fn certificate(
    server: &Arc<Server>,
    through: &Through,
    der: &[u8],
    nonce: &[u8],
    signature: Signature<'_>,
) -> Result<Actor, StatusCode> {
    if through.policy == SecurityPolicy::None {
        return Err(status::BAD_IDENTITY_TOKEN_REJECTED);
    }
    let (leaf, _) = split_chain(der);
    let shown = Certificate::read(leaf).map_err(|_| status::BAD_IDENTITY_TOKEN_INVALID)?;
    let actor = owner(&server.gateway.plan(), &shown).ok_or(status::BAD_IDENTITY_TOKEN_REJECTED)?;
    let now = clock::now();
    let fits = through.policy.is_valid_keylength(shown.rsa_bits);
    if !fits || !shown.is_strongly_signed() || !shown.may_sign() || now < shown.from || now > shown.until {
        return Err(status::BAD_IDENTITY_TOKEN_REJECTED);
    }
    if signature.algorithm != through.policy.asymmetric_signature_algorithm() {
        return Err(status::BAD_USER_SIGNATURE_INVALID);
    }
    let signed =
        SignatureData { algorithm: UAString::from(signature.algorithm), signature: ByteString::from(signature.bytes.to_vec()) };
    let (own, policy, nonce) = (Arc::clone(&through.own), through.policy, nonce.to_vec());
    let verify = move || {
        let by = X509::from_der(&shown.der).ok()?;
        verify_signature_data(&signed, policy, &by, &own.certificate, &nonce).ok()
    };
    server.with_key(verify).await.flatten().ok_or(status::BAD_USER_SIGNATURE_INVALID)?;
    Ok(actor)
}

/// Whose certificate it is.
fn owner(plan: &Plan, shown: &Certificate) -> Option<Actor> {
    let (thumbprint, fingerprint) = (shown.thumbprint(), shown.fingerprint());
    let mut users = plan.users.values();
    let owns = |named: &String| *named == thumbprint || *named == fingerprint;
    let user = users.find(|user| user.certificate.as_ref().is_some_and(owns))?;
    Some(Actor { name: user.name.clone(), role: user.role, via: Via::OpcUa })
}

/// Verifies the signature of the client's application over our certificate and the session's last nonce.
///
/// # Errors
/// `Bad_ApplicationSignatureInvalid`.
pub async fn verify_application(
    server: &Arc<Server>,
    through: &Through,
    signature: Signature<'_>,
    nonce: &[u8],
) -> Result<(), StatusCode> {
    let Some(client) = through.certificate.clone() else { return Ok(()) };
    let policy = through.policy;
    if signature.algorithm != policy.asymmetric_signature_algorithm() {
        return Err(status::BAD_APPLICATION_SIGNATURE_INVALID);
    }
    let signed =
        SignatureData { algorithm: UAString::from(signature.algorithm), signature: ByteString::from(signature.bytes.to_vec()) };
    let (own, nonce) = (Arc::clone(&through.own), nonce.to_vec());
    let work = move || {
        X509::from_der(&client)
            .is_ok_and(|client| verify_signature_data(&signed, policy, &client, &own.certificate, &nonce).is_ok())
    };
    let valid = server.with_key(work).await.unwrap_or(false);
    valid.then_some(()).ok_or(status::BAD_APPLICATION_SIGNATURE_INVALID)
}
