//! CreateSession, ActivateSession, CloseSession (Part 4, 5.7), and who a session's user is.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use opcua::{
    crypto::{KeySize, SecurityPolicy, create_signature_data, legacy_decrypt_secret, random, verify_signature_data},
    types::{ByteString, MessageSecurityMode, SignatureData, UAString, UserNameIdentityToken},
};

use super::{
    Server,
    channel::{Channel, NONCE, certificate},
    decode::{RequestHeader, Service},
    discovery,
    frame::status as transport,
    names, send,
    session::{NewSession, Session, TOKEN, status},
    subscribe::Subscriptions,
    wire::{Extension, Id, Read, Reader, Writer},
};
use crate::{
    engine::io::{Actor, Via},
    tag::StatusCode,
};

/// What identity a client showed.
enum Identity {
    Anonymous,
    User { name: String, secret: Vec<u8>, algorithm: String },
}

/// The channel that a request came through, as far as logging in needs it.
pub struct Through {
    /// See [`Channel::id`].
    pub channel: u32,
    /// See [`Channel::policy`].
    pub policy: SecurityPolicy,
    /// See [`Channel::mode`].
    pub mode: MessageSecurityMode,
    /// See [`Channel::certificate`].
    pub certificate: Option<bytes::Bytes>,
    /// The client's address.
    pub peer: IpAddr,
}

impl Through {
    /// Of `channel`.
    pub fn new(channel: &Channel, peer: IpAddr) -> Self {
        let certificate = channel.certificate.clone();
        Self { channel: channel.id, policy: channel.policy, mode: channel.mode, certificate, peer }
    }
}

struct CreateRequest<'a> {
    application_uri: &'a str,
    url: &'a str,
    nonce: &'a [u8],
    certificate: &'a [u8],
    timeout: f64,
    max_response: u32,
}

fn read_create<'a>(body: &mut Reader<'a>) -> Read<CreateRequest<'a>> {
    let application_uri = body.text()?;
    body.bytes()?;
    body.localized_text()?;
    body.u32()?;
    body.bytes()?;
    body.bytes()?;
    for _ in 0..body.count(4)? {
        body.bytes()?;
    }
    body.bytes()?;
    let url = body.text()?;
    body.bytes()?;
    let nonce = body.bytes()?.unwrap_or_default();
    let certificate = body.bytes()?.unwrap_or_default();
    Ok(CreateRequest { application_uri, url, nonce, certificate, timeout: body.f64()?, max_response: body.u32()? })
}

/// CreateSession.
pub async fn create_session(
    server: &Arc<Server>,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    through: &Through,
) -> Result<Vec<u8>, StatusCode> {
    let request = read_create(body).map_err(|_| transport::BAD_DECODING_ERROR)?;
    if !server.settings.security.contains(&through.policy) {
        return Err(transport::BAD_SECURITY_POLICY_REJECTED);
    }
    check_client(&request, through)?;
    let limits = &server.settings.limits;
    let asked = Duration::try_from_secs_f64(request.timeout / 1_000.0).unwrap_or(limits.session_timeout.1);
    let timeout = asked.clamp(limits.session_timeout.0, limits.session_timeout.1);
    let (mut token, mut nonce) = ([0; TOKEN], vec![0; NONCE]);
    random::bytes(&mut token);
    random::bytes(&mut nonce);
    let new = NewSession {
        number: server.next_session(),
        token,
        peer: through.peer,
        certificate: through.certificate.clone(),
        timeout,
        max_response: request.max_response as usize,
        channel: through.channel,
        nonce: nonce.clone(),
        subscriptions: Subscriptions::new(limits.clone(), Arc::clone(&server.counts)),
    };
    // Made before it is signed for, so that a flood is refused before it costs a signature.
    let session = server.sessions.create(new, limits, Instant::now())?;
    let signature = match sign(server, through, request.nonce).await {
        Ok(signature) => signature,
        Err(status) => {
            server.sessions.remove(&session);
            return Err(status);
        }
    };

    let mut w = send::response(Service::CreateSession.response(), header.handle, StatusCode::GOOD);
    w.id(Id::numeric(1, session.number));
    w.id(Id { namespace: 0, identifier: super::wire::Identifier::Opaque(&token) });
    w.f64(timeout.as_secs_f64() * 1_000.0);
    w.bytes(&nonce);
    w.bytes(server.own.certificate.as_byte_string().as_ref());
    discovery::endpoints(server, request.url, &mut w);
    w.null();
    signature_data(&signature, &mut w);
    w.u32(u32::try_from(limits.message).unwrap_or(0));
    Ok(w.0)
}

fn check_client(request: &CreateRequest<'_>, through: &Through) -> Result<(), StatusCode> {
    let Some(channel_certificate) = &through.certificate else { return Ok(()) };
    // What follows the certificate is the rest of its chain.
    if !request.certificate.starts_with(channel_certificate) {
        return Err(transport::BAD_CERTIFICATE_INVALID);
    }
    if request.nonce.len() < NONCE {
        return Err(transport::BAD_NONCE_INVALID);
    }
    let named = names::has_uri(channel_certificate, request.application_uri);
    named.then_some(()).ok_or(status::BAD_CERTIFICATE_URI_INVALID)
}

async fn sign(server: &Arc<Server>, through: &Through, nonce: &[u8]) -> Result<SignatureData, StatusCode> {
    let Some(certificate) = through.certificate.clone() else { return Ok(SignatureData::default()) };
    let (policy, nonce, own) = (through.policy, ByteString::from(nonce.to_vec()), Arc::clone(&server.own));
    let work = move || create_signature_data(&own.key, policy, &ByteString::from(certificate.to_vec()), &nonce).ok();
    server.with_key(work).await.flatten().ok_or(transport::BAD_SECURITY_CHECKS_FAILED)
}

fn signature_data(signature: &SignatureData, w: &mut Writer) {
    match signature.algorithm.value() {
        Some(algorithm) => w.text(algorithm),
        None => w.null(),
    }
    match &signature.signature.value {
        Some(bytes) => w.bytes(bytes),
        None => w.null(),
    }
}

struct ActivateRequest<'a> {
    algorithm: &'a str,
    signature: &'a [u8],
    token: Extension<'a>,
}

fn read_activate<'a>(body: &mut Reader<'a>) -> Read<ActivateRequest<'a>> {
    let (algorithm, signature) = (body.text()?, body.bytes()?.unwrap_or_default());
    for _ in 0..body.count(8)? {
        body.bytes()?;
        body.bytes()?;
    }
    for _ in 0..body.count(4)? {
        body.bytes()?;
    }
    let token = body.extension()?;
    body.bytes()?;
    body.bytes()?;
    Ok(ActivateRequest { algorithm, signature, token })
}

fn read_identity(token: &Extension<'_>) -> Result<Identity, StatusCode> {
    let Some(id) = token.type_id.standard() else { return Err(status::BAD_IDENTITY_TOKEN_INVALID) };
    match (id, token.body) {
        (0 | 321 | 319, _) => Ok(Identity::Anonymous),
        (324 | 322, Some(body)) => {
            let mut body = Reader::new(body);
            let parts = (|| Ok((body.text()?, body.text()?, body.bytes()?.unwrap_or_default(), body.text()?)))();
            let (_, name, secret, algorithm) = parts.map_err(|_: super::wire::Malformed| status::BAD_IDENTITY_TOKEN_INVALID)?;
            Ok(Identity::User { name: name.into(), secret: secret.into(), algorithm: algorithm.into() })
        }
        _ => Err(status::BAD_IDENTITY_TOKEN_REJECTED),
    }
}

/// ActivateSession: binds the session to the channel and to a user.
pub async fn activate_session(
    server: &Arc<Server>,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    through: &Through,
    session: &Arc<Session>,
) -> Result<Vec<u8>, StatusCode> {
    let request = read_activate(body).map_err(|_| transport::BAD_DECODING_ERROR)?;
    let (nonce, before, bound) = {
        let state = session.state();
        (state.nonce.clone(), state.actor.clone(), state.channel)
    };
    if session.certificate != through.certificate || (before.is_none() && bound != through.channel) {
        return Err(transport::BAD_SECURE_CHANNEL_ID_INVALID);
    }
    verify_client(server, &request, through, &nonce).await?;
    let actor = match read_identity(&request.token)? {
        Identity::Anonymous => anonymous(server)?,
        Identity::User { name, secret, algorithm } => {
            let password = password(server, through, name.clone(), secret, algorithm, &nonce).await?;
            let known = server.gateway.log_in(name, password, through.peer, Via::OpcUa).await;
            known.map_err(|_| StatusCode::BAD_USER_ACCESS_DENIED)?
        }
    };
    // On a new channel only the same user may go on (Part 4, 5.7.3.1).
    if bound != through.channel && before.is_some_and(|before| before.name != actor.name) {
        return Err(status::BAD_IDENTITY_TOKEN_REJECTED);
    }
    let mut nonce = vec![0; NONCE];
    random::bytes(&mut nonce);
    {
        let mut state = session.state();
        state.channel = through.channel;
        state.actor = Some(actor);
        state.nonce.clone_from(&nonce);
        state.used = Instant::now();
    }
    let mut w = send::response(Service::ActivateSession.response(), header.handle, StatusCode::GOOD);
    w.bytes(&nonce);
    w.null();
    w.null();
    Ok(w.0)
}

async fn verify_client(
    server: &Arc<Server>,
    request: &ActivateRequest<'_>,
    through: &Through,
    nonce: &[u8],
) -> Result<(), StatusCode> {
    let Some(client) = through.certificate.clone() else { return Ok(()) };
    let policy = through.policy;
    if request.algorithm != policy.asymmetric_signature_algorithm() {
        return Err(status::BAD_APPLICATION_SIGNATURE_INVALID);
    }
    let signature =
        SignatureData { algorithm: UAString::from(request.algorithm), signature: ByteString::from(request.signature.to_vec()) };
    let (own, nonce) = (Arc::clone(&server.own), nonce.to_vec());
    let work = move || {
        certificate(&client)
            .is_ok_and(|client| verify_signature_data(&signature, policy, &client, &own.certificate, &nonce).is_ok())
    };
    let valid = server.with_key(work).await.unwrap_or(false);
    valid.then_some(()).ok_or(status::BAD_APPLICATION_SIGNATURE_INVALID)
}

fn anonymous(server: &Server) -> Result<Actor, StatusCode> {
    let role = server.settings.anonymous.ok_or(status::BAD_IDENTITY_TOKEN_REJECTED)?;
    Ok(Actor { name: "anonymous".into(), role, via: Via::OpcUa })
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
        let block = server.own.key.size();
        let weak = algorithm.contains("rsa-1_5");
        if weak || secret.is_empty() || !secret.len().is_multiple_of(block) || secret.len() > 8 * block {
            return Err(invalid);
        }
        let (own, nonce) = (Arc::clone(&server.own), nonce.to_vec());
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

/// CloseSession. The subscriptions that it still has end with it.
pub fn close_session(server: &Server, header: &RequestHeader<'_>, session: &Session) -> Vec<u8> {
    server.sessions.remove(session);
    send::response(Service::CloseSession.response(), header.handle, StatusCode::GOOD).0
}
