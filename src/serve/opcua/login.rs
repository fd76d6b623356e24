//! CreateSession, ActivateSession, CloseSession (Part 4, 5.7). Who a session's user is says `identity`.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use opcua::{
    crypto::{SecurityPolicy, create_signature_data, random},
    types::{ByteString, MessageSecurityMode, SignatureData},
};

use super::{
    Server,
    audit::Notice,
    channel::{Channel, NONCE},
    decode::{RequestHeader, Service},
    diag::session::{Client, OfSession},
    discovery,
    frame::status as transport,
    identity::{Identity, Signature, verify_application},
    send,
    session::{NewSession, Session, TOKEN, status},
    subscribe::Subscriptions,
    wire::{Extension, Id, Read, Reader, Writer},
};
use crate::{
    pki::{OwnCertificate, x509::Certificate},
    tag::StatusCode,
};

/// The longest nonce that a client may give.
const MAX_NONCE: usize = 128;
/// Bytes of a client's description of itself that are kept.
const MAX_APPLICATION: usize = 4_096;
/// Bytes of each name and address that are kept.
const MAX_SHOWN: usize = 512;

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
    /// See [`Channel::own`].
    pub own: Arc<OwnCertificate>,
    /// The client's address.
    pub peer: IpAddr,
}

impl Through {
    /// Of `channel`.
    pub fn new(channel: &Channel, peer: IpAddr) -> Self {
        let (certificate, own) = (channel.certificate.clone(), Arc::clone(&channel.own));
        Self { channel: channel.id, policy: channel.policy, mode: channel.mode, certificate, own, peer }
    }
}

struct CreateRequest<'a> {
    application_uri: &'a str,
    /// As others are told of it.
    client: Client,
    url: &'a str,
    nonce: &'a [u8],
    certificate: &'a [u8],
    timeout: f64,
    max_response: u32,
}

fn read_create<'a>(body: &mut Reader<'a>) -> Read<CreateRequest<'a>> {
    let mut application = Writer::default();
    let application_uri = body.text()?;
    application.text(application_uri);
    application.text(body.text()?);
    application.localized_text(body.localized_text()?);
    // ApplicationType: Client, unless it says otherwise.
    application.u32(Some(body.u32()?).filter(|kind| *kind <= 3).unwrap_or(1));
    application.text(body.text()?);
    application.text(body.text()?);
    let count = body.count(4)?;
    application.count(count);
    for _ in 0..count {
        application.text(body.text()?);
    }
    if application.0.len() > MAX_APPLICATION {
        application.0.clear();
        application.text(shown(application_uri));
        application.text("");
        application.localized_text("");
        application.u32(1);
        application.text("");
        application.text("");
        application.count(0);
    }
    let server_uri = body.text()?;
    let url = body.text()?;
    let name = body.text()?;
    let [name, server_uri, endpoint_url] = [name, server_uri, url].map(|text| shown(text).to_owned());
    let client = Client { name, application: application.0, server_uri, endpoint_url };
    let nonce = body.bytes()?.unwrap_or_default();
    let certificate = body.bytes()?.unwrap_or_default();
    Ok(CreateRequest { application_uri, client, url, nonce, certificate, timeout: body.f64()?, max_response: body.u32()? })
}

/// As much of what a client says of itself as is kept for others.
fn shown(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_SHOWN)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// CreateSession.
pub async fn create_session(
    server: &Arc<Server>,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    through: &Through,
) -> Result<Vec<u8>, StatusCode> {
    let mut request = read_create(body).map_err(|_| transport::BAD_DECODING_ERROR)?;
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
    let number = server.next_session();
    let terms = (timeout.as_secs_f64() * 1_000.0, request.max_response);
    let client = std::mem::take(&mut request.client);
    let diagnostics = Arc::new(OfSession::new(number, client, terms, through.certificate.clone()));
    let new = NewSession {
        number,
        token,
        peer: through.peer,
        certificate: through.certificate.clone(),
        timeout,
        max_response: request.max_response as usize,
        channel: through.channel,
        nonce: nonce.clone(),
        subscriptions: Subscriptions::new(limits.clone(), Arc::clone(&server.counts), Arc::clone(&diagnostics.held)),
        diagnostics,
    };
    // Made before it is signed for, so that a flood is refused before it costs a signature.
    let session = server
        .sessions
        .create(new, limits, Instant::now())
        .inspect_err(|status| server.notes.note(through.peer, &Notice::SessionRefused(*status)))?;
    server.diagnostics.living.add(&session.diagnostics);
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
    w.bytes(through.own.certificate.as_byte_string().as_ref());
    discovery::endpoints(server, &through.own, request.url, &mut w);
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
    if !(NONCE..=MAX_NONCE).contains(&request.nonce.len()) {
        return Err(transport::BAD_NONCE_INVALID);
    }
    let named = Certificate::read(channel_certificate).is_ok_and(|client| client.has_uri(request.application_uri));
    named.then_some(()).ok_or(status::BAD_CERTIFICATE_URI_INVALID)
}

async fn sign(server: &Arc<Server>, through: &Through, nonce: &[u8]) -> Result<SignatureData, StatusCode> {
    let Some(certificate) = through.certificate.clone() else { return Ok(SignatureData::default()) };
    let (policy, nonce, own) = (through.policy, ByteString::from(nonce.to_vec()), Arc::clone(&through.own));
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
    client: Signature<'a>,
    token: Extension<'a>,
    user: Signature<'a>,
}

fn read_activate<'a>(body: &mut Reader<'a>) -> Read<ActivateRequest<'a>> {
    let client = read_signature(body)?;
    for _ in 0..body.count(8)? {
        body.bytes()?;
        body.bytes()?;
    }
    for _ in 0..body.count(4)? {
        body.bytes()?;
    }
    Ok(ActivateRequest { client, token: body.extension()?, user: read_signature(body)? })
}

fn read_signature<'a>(body: &mut Reader<'a>) -> Read<Signature<'a>> {
    Ok(Signature { algorithm: body.text()?, bytes: body.bytes()?.unwrap_or_default() })
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
    verify_application(server, through, request.client, &nonce).await?;
    let identity = Identity::read(&request.token)?;
    let (user, by) = identity.claim();
    let mechanism = identity.mechanism();
    let user = user.to_owned();
    let proved = identity.prove(server, through, &nonce, request.user).await;
    let actor =
        proved.inspect_err(|status| server.notes.note(through.peer, &Notice::LoginRefused { user: &user, status: *status }))?;
    // On a new channel only the same user may go on (Part 4, 5.7.3.1).
    if bound != through.channel && before.is_some_and(|before| before.name != actor.name) {
        return Err(status::BAD_IDENTITY_TOKEN_REJECTED);
    }
    let mut next = vec![0; NONCE];
    random::bytes(&mut next);
    let user = actor.name.clone();
    {
        let mut state = session.state();
        // A nonce serves once: of two requests at the same time, or one on a session that was closed meanwhile, only one may pass.
        if state.nonce != nonce || state.channel != bound {
            return Err(transport::BAD_NONCE_INVALID);
        }
        state.channel = through.channel;
        state.actor = Some(actor);
        state.nonce.clone_from(&next);
        state.used = Instant::now();
    }
    session.diagnostics.logged_in(&user, mechanism, through.mode, through.policy);
    server.notes.note(through.peer, &Notice::LoggedIn { user: &user, by, session: session.number });
    let mut w = send::response(Service::ActivateSession.response(), header.handle, StatusCode::GOOD);
    w.bytes(&next);
    w.null();
    w.null();
    Ok(w.0)
}

/// CloseSession. The subscriptions that it still has end with it.
pub fn close_session(server: &Server, header: &RequestHeader<'_>, session: &Session) -> Vec<u8> {
    server.sessions.remove(session);
    send::response(Service::CloseSession.response(), header.handle, StatusCode::GOOD).0
}
