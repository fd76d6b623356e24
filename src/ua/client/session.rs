//! CreateSession, ActivateSession, CloseSession (Part 4, 5.7), the client's side.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use opcua::{
    crypto::{KeySize, SecurityPolicy, X509, create_signature_data, legacy_encrypt_secret, random, verify_signature_data},
    types::{ByteString, MessageSecurityMode, NodeId, SignatureData, UAString, UserTokenPolicy, UserTokenType},
};
use tokio::sync::mpsc;

use super::{
    Error,
    channel::Protection,
    connection::{Answer, Connection},
    data,
    endpoints::{Endpoint, TokenPolicy, read_endpoints},
    limits,
    message::{self, Response, Service},
};
use crate::{
    pki::x509::split_chain,
    ua::wire::{Id, Malformed, Read, Reader, Writer},
};

/// How long the server keeps a session that says nothing, in milliseconds.
const SESSION_TIMEOUT: f64 = 60_000.0;

/// Who logs in.
pub struct Login<'a> {
    /// As our certificate names us.
    pub application_uri: &'a str,
    /// Name and password; `None` for an anonymous session.
    pub user: Option<(&'a str, &'a str)>,
    /// How the channel is secured.
    pub protection: &'a Protection,
    /// What the server offered before.
    pub endpoint: &'a Endpoint,
    /// The kind of token to show; `None` when the endpoint lists none.
    pub token: Option<&'a TokenPolicy>,
}

/// An activated session.
pub struct Session {
    connection: Connection,
    token: NodeId,
}

/// What CreateSession gives.
struct Created {
    token: NodeId,
    nonce: Vec<u8>,
    certificate: Vec<u8>,
}

impl Session {
    /// Creates a session, checks who the server is, and activates it.
    ///
    /// # Errors
    /// When the server refuses or is not who its certificate says.
    pub async fn activate(connection: Connection, login: &Login<'_>) -> Result<Self, Error> {
        let created = create(&connection, login).await?;
        let signature = sign(login, &created)?;
        let identity = identity(login, &created)?;
        let answer = connection
            .call(message::ACTIVATE_SESSION, &created.token, |w| {
                write_signature(&signature, w);
                // No software certificates, no locales.
                w.null();
                w.null();
                w.0.extend_from_slice(&identity.0);
                // No signature of the user.
                w.null();
                w.null();
            })
            .await?;
        // Its nonce is for the next activation, which never comes.
        answer.reader().bytes()?;
        Ok(Self { connection, token: created.token })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// See [`Connection::call`].
    pub async fn call(&self, service: Service, write: impl FnOnce(&mut Writer)) -> Answer {
        self.connection.call(service, &self.token, write).await
    }

    /// Sends a request whose answer goes to `answers`; `hint` tells the server how long it may take.
    ///
    /// # Errors
    /// See [`Connection::post`].
    pub async fn post(
        &self,
        service: Service,
        hint: Duration,
        answers: &mpsc::Sender<Answer>,
        write: impl FnOnce(&mut Writer),
    ) -> Result<(), Error> {
        self.connection.post(service, &self.token, hint, answers, write).await
    }

    /// Says goodbye, so that the server frees session and subscriptions at once.
    pub async fn close(&self) {
        drop(self.call(message::CLOSE_SESSION, |w| w.boolean(true)).await);
    }
}

async fn create(connection: &Connection, login: &Login<'_>) -> Result<Created, Error> {
    let mut nonce = vec![0; limits::NONCE];
    random::bytes(&mut nonce);
    let keys = login.protection.keys.as_ref();
    let answer = connection
        .call(message::CREATE_SESSION, &NodeId::null(), |w| {
            w.text(login.application_uri);
            w.text("urn:annunciator");
            w.localized_text("Annunciator");
            // A client, without gateway, profile or discovery addresses.
            w.u32(1);
            w.null();
            w.null();
            w.null();
            w.null();
            w.text(&login.endpoint.url);
            w.text("Annunciator");
            w.bytes(&nonce);
            match keys {
                Some((own, _)) => w.bytes(own.certificate.as_byte_string().as_ref()),
                None => w.null(),
            }
            w.f64(SESSION_TIMEOUT);
            w.u32(u32::try_from(limits::MESSAGE).unwrap_or(0));
        })
        .await?;
    let (created, signature) = read_created(&answer, login)?;
    if let Some((own, theirs)) = keys {
        if split_chain(&created.certificate).0 != theirs.as_byte_string().as_ref() {
            return Err(Error::broken("the session's certificate is not the one of its endpoint"));
        }
        if created.nonce.len() < limits::NONCE || created.nonce == nonce {
            return Err(Error::broken("the session's nonce is not one"));
        }
        let policy = login.protection.policy;
        let named = signature.algorithm.is_empty() || signature.algorithm.as_ref() == policy.asymmetric_signature_algorithm();
        if !named || verify_signature_data(&signature, policy, theirs, &own.certificate, &nonce).is_err() {
            return Err(Error::broken("the server does not have the key of its certificate"));
        }
    }
    Ok(created)
}

fn read_created(answer: &Response, login: &Login<'_>) -> Result<(Created, SignatureData), Error> {
    let mut reader = answer.reader();
    let parts = |reader: &mut Reader<'_>| -> Read<_> {
        let _session = reader.id()?;
        let token = data::node_id(reader.id()?);
        let _timeout = reader.f64()?;
        let nonce = opaque(reader)?;
        let certificate = opaque(reader)?;
        let endpoints = read_endpoints(reader)?;
        for _ in 0..reader.count(4)? {
            reader.bytes()?;
            reader.bytes()?;
        }
        let (algorithm, signature) = (reader.text()?, reader.bytes()?.unwrap_or_default());
        let signature = SignatureData { algorithm: UAString::from(algorithm), signature: ByteString::from(signature.to_vec()) };
        Ok((Created { token, nonce, certificate }, endpoints, signature))
    };
    let (created, endpoints, signature) = parts(&mut reader)?;
    if created.token.is_null() {
        return Err(Error::broken("the session has no token"));
    }
    // Part 4, 5.7.2.2: what was offered without security is offered again under it; else somebody stood between.
    let same = |endpoint: &Endpoint| endpoint.policy == login.endpoint.policy && endpoint.mode == login.endpoint.mode;
    if !endpoints.is_empty() && !endpoints.iter().any(same) {
        return Err(Error::broken("the session's endpoints are not those that the server offered before"));
    }
    Ok((created, signature))
}

fn opaque(reader: &mut Reader<'_>) -> Read<Vec<u8>> {
    let bytes = reader.bytes()?.unwrap_or_default();
    if bytes.len() > limits::OPAQUE { Err(Malformed) } else { Ok(bytes.to_vec()) }
}

/// Proves that we have the key of our certificate.
fn sign(login: &Login<'_>, created: &Created) -> Result<SignatureData, Error> {
    let Some((own, theirs)) = &login.protection.keys else { return Ok(SignatureData::default()) };
    let nonce = ByteString::from(created.nonce.clone());
    create_signature_data(&own.key, login.protection.policy, &theirs.as_byte_string(), &nonce)
        .map_err(|_| Error::Unusable("signing with our own key failed".to_owned()))
}

fn write_signature(signature: &SignatureData, w: &mut Writer) {
    match signature.algorithm.value() {
        Some(algorithm) => w.text(algorithm),
        None => w.null(),
    }
    match &signature.signature.value {
        Some(bytes) => w.bytes(bytes),
        None => w.null(),
    }
}

/// The user's token as an ExtensionObject.
fn identity(login: &Login<'_>, created: &Created) -> Result<Writer, Error> {
    let mut w = Writer::default();
    let Some((user, password)) = login.user else {
        w.extension(Id::numeric(0, 321), |w| match login.token {
            Some(token) => w.text(&token.id),
            None => w.null(),
        });
        return Ok(w);
    };
    let token = login.token.ok_or_else(|| Error::Unusable("the server takes no password".to_owned()))?;
    let (secret, algorithm) = secret(login, token, created, password)?;
    w.extension(Id::numeric(0, 324), |w| {
        w.text(&token.id);
        w.text(user);
        w.bytes(&secret);
        match &algorithm {
            Some(algorithm) => w.text(algorithm),
            None => w.null(),
        }
    });
    Ok(w)
}

/// The password as the token's policy wants it: in clear only where the channel encrypts or nothing is secured at all (Part 4,
/// 7.40.4).
fn secret(login: &Login<'_>, token: &TokenPolicy, created: &Created, password: &str) -> Result<(Vec<u8>, Option<String>), Error> {
    let unusable = |what: &str| Error::Unusable(format!("the server's way to take a password is unusable: {what}"));
    let Protection { policy, mode, keys } = login.protection;
    let wanted = if token.policy.is_empty() { *policy } else { SecurityPolicy::from_uri(&token.policy) };
    if wanted == SecurityPolicy::Unknown {
        return Err(unusable("its security policy is unknown"));
    }
    let certificate = if wanted == SecurityPolicy::None {
        None
    } else {
        // Without security on the channel it is only a hint against listeners, not a proof of who the server is.
        let der = if created.certificate.is_empty() { &login.endpoint.certificate } else { &created.certificate };
        let certificate = match keys {
            Some((_, theirs)) => theirs.clone(),
            None => X509::from_der(split_chain(der).0).map_err(|_| unusable("it has no certificate to encrypt for"))?,
        };
        let bits = certificate.public_key().map(|key| key.bit_length());
        if !bits.is_ok_and(|bits| wanted.is_valid_keylength(bits)) {
            return Err(unusable("its certificate's key is too short or too long"));
        }
        Some(certificate)
    };
    let policy_data = UserTokenPolicy {
        policy_id: UAString::from(token.id.as_str()),
        token_type: UserTokenType::UserName,
        security_policy_uri: UAString::from(token.policy.as_str()),
        ..UserTokenPolicy::default()
    };
    let mode: MessageSecurityMode = *mode;
    let encrypt = || legacy_encrypt_secret(*policy, mode, &policy_data, &created.nonce, &certificate, password.as_bytes());
    let secret =
        catch_unwind(AssertUnwindSafe(encrypt)).ok().and_then(Result::ok).ok_or_else(|| unusable("encrypting failed"))?;
    let algorithm = secret.encryption_algorithm.value().as_ref().map(|algorithm| algorithm.as_str().to_owned());
    Ok((secret.secret.as_ref().to_vec(), algorithm))
}
