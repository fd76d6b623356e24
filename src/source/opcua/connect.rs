//! One connection to a server: endpoint, trust, session, and the library's event loop driven by a task of ours.
//!
//! The library never reconnects here: one connection is one session, and the daemon starts the next. The task is a wall: a
//! panic of the library's decoder ends the connection, not the program.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt;
use opcua::{
    client::{Client, ClientBuilder, IdentityToken, Session, SessionActivity, SessionEventLoop, SessionPollResult},
    crypto::{CertificateStore, SecurityPolicy, X509, X509Data},
    sync::RwLock,
    types::{EndpointDescription, Error, MessageSecurityMode, StatusCode, UserTokenType},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    settings::{Security, Server},
    tcp::{self, Tcp},
};
use crate::{
    clock,
    pki::{OwnCertificate, Pki},
};

/// The largest answer in bytes.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// The most chunks of an answer; a chunk has at least 8 KiB.
const MAX_CHUNKS: usize = MAX_MESSAGE / 8192;
/// The most elements of an array in an answer.
const MAX_ARRAY: usize = 1_000_000;
/// The longest text or byte string in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// How long the server keeps a session that says nothing, in milliseconds.
const SESSION_TIMEOUT: u32 = 60_000;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A session with the task that drives it.
pub struct Connection {
    /// The library's session.
    pub session: Arc<Session>,
    driver: JoinHandle<String>,
}

impl Connection {
    /// Resolves when the connection is lost, with the reason for people.
    pub async fn lost(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(reason) => reason,
            Err(error) if error.is_panic() => "the server sent a message that cannot be decoded".to_owned(),
            Err(_) => "the connection was given up".to_owned(),
        }
    }

    /// Says goodbye, so that the server frees session and subscription at once; bounded.
    pub async fn close(mut self) {
        if !self.driver.is_finished() {
            drop(timeout(FAREWELL, self.session.disconnect()).await);
        }
        self.driver.abort();
        if !self.driver.is_finished() {
            drop((&mut self.driver).await);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects, checks the server's certificate against the trust list and activates a session.
///
/// # Errors
/// A sentence for people: what is wrong and what to do about it.
pub async fn connect(server: &Server, pki: &Pki, application_uri: &str) -> Result<Connection, String> {
    let own = own_certificate(server, pki, application_uri).await?;
    let client = client(server, pki, application_uri, own.as_ref());
    let endpoints =
        bounded(server, "asking for its endpoints", client.get_endpoints(tcp::connector(&server.url), &[], &[])).await?;
    let endpoint = choose(&endpoints, server)?;
    check_certificate(&endpoint, server.security.0, pki)?;
    let identity = match (&server.user, &server.password) {
        (Some(user), Some(password)) => IdentityToken::new_user_name(user.as_str(), password.expose()),
        _ => IdentityToken::Anonymous,
    };
    let (session, event_loop) = client
        .session_builder()
        .with_connector(Tcp)
        .connect_to_endpoint_directly(endpoint)
        .and_then(|builder| builder.user_identity_token(identity).build(store(pki, own.as_ref())))
        .map_err(|error| format!("the endpoint is unusable: {error}"))?;
    let (connected, connecting) = oneshot::channel();
    let driver = tokio::spawn(drive(event_loop, connected));
    let mut connection = Connection { session, driver };
    // Activation may take two requests after the secure channel.
    match timeout(server.timeout * 4, connecting).await {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(_)) => Err(explain(connection.lost().await, server, own.as_ref())),
        Err(_) => Err(format!("the server at {} did not open a session within {:?}", server.url, server.timeout * 4)),
    }
}

/// Our certificate, made when there is none; without security only one that is there already.
async fn own_certificate(server: &Server, pki: &Pki, application_uri: &str) -> Result<Option<OwnCertificate>, String> {
    let needed = server.security.0 != SecurityPolicy::None;
    if !needed && !pki.has_own() {
        return Ok(None);
    }
    let (pki, uri) = (pki.clone(), application_uri.to_owned());
    // Making a key takes a while.
    match tokio::task::spawn_blocking(move || pki.own(&uri, &[])).await {
        Ok(Ok(own)) => Ok(Some(own)),
        Ok(Err(error)) if needed => Err(format!("failed to {error}")),
        Err(_) if needed => Err("failed to make our own certificate".to_owned()),
        _ => Ok(None),
    }
}

fn client(server: &Server, pki: &Pki, application_uri: &str, own: Option<&OwnCertificate>) -> Client {
    let mut builder = ClientBuilder::new()
        .application_name("Annunciator")
        .application_uri(application_uri)
        .product_uri("urn:annunciator")
        .session_name("Annunciator")
        // Trust is decided by our own list before the library sees the certificate; its list only repeats what passed.
        .pki_dir(pki.dir().join("client"))
        .trust_server_certs(true)
        .verify_server_certs(false)
        .create_sample_keypair(false)
        .session_retry_limit(0)
        .recreate_subscriptions(false)
        .keep_alive_interval(server.keep_alive)
        .max_failed_keep_alive_count(2)
        .request_timeout(server.timeout)
        .min_publish_interval(Duration::from_millis(10))
        .session_timeout(SESSION_TIMEOUT)
        .max_message_size(MAX_MESSAGE)
        .max_chunk_count(MAX_CHUNKS)
        .max_array_length(MAX_ARRAY)
        .max_string_length(MAX_TEXT)
        .max_byte_string_length(MAX_TEXT);
    if let Some(own) = own {
        builder = builder.certificate_path(absolute(&own.certificate_file)).private_key_path(absolute(&own.key_file));
    }
    Client::new(builder.into_config())
}

/// The library's view of our certificate, and a trust list that takes what passed ours.
fn store(pki: &Pki, own: Option<&OwnCertificate>) -> Arc<RwLock<CertificateStore>> {
    let certificate = own.map(|own| absolute(&own.certificate_file));
    let key = own.map(|own| absolute(&own.key_file));
    let dir = pki.dir().join("client");
    let made = CertificateStore::new_with_x509_data::<X509Data>(&dir, false, certificate.as_deref(), key.as_deref(), None);
    let mut store = made.0;
    store.set_skip_verify_certs(true);
    store.set_trust_unknown_certs(true);
    Arc::new(RwLock::new(store))
}

/// The library looks for relative paths below its own folder.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

async fn bounded<T>(server: &Server, doing: &str, future: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(server.timeout, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.status() == StatusCode::BadCommunicationError => {
            Err(format!("nothing answers at {}: is the server running, the address right, the port open?", server.url))
        }
        Ok(Err(error)) => Err(format!("{doing} at {} failed: {error}", server.url)),
        Err(_) => Err(format!("{doing} at {} took longer than {:?}", server.url, server.timeout)),
    }
}

/// The endpoint of exactly the configured policy and mode, reached under the configured host and port: what a server calls
/// itself is often a name that only its own network knows.
fn choose(endpoints: &[EndpointDescription], server: &Server) -> Result<EndpointDescription, String> {
    let Security(policy, mode) = server.security;
    let fits = |endpoint: &&EndpointDescription| {
        endpoint.security_policy_uri.as_ref() == policy.to_uri()
            && endpoint.security_mode == mode
            && (endpoint.transport_profile_uri.is_empty()
                || endpoint.transport_profile_uri.as_ref().ends_with("uatcp-uasc-uabinary"))
    };
    let Some(endpoint) = endpoints.iter().find(fits) else {
        let mut offers: Vec<String> = endpoints.iter().map(offer).collect();
        offers.sort();
        offers.dedup();
        return Err(format!(
            "the server at {} does not offer {}: set `security` to one of {}",
            server.url,
            describe(policy, mode),
            offers.join(", ")
        ));
    };
    let mut endpoint = endpoint.clone();
    endpoint.endpoint_url = under(endpoint.endpoint_url.as_ref(), &server.url).into();
    let wanted = if server.user.is_some() { UserTokenType::UserName } else { UserTokenType::Anonymous };
    // A password that is signed but not encrypted could be read on the way.
    let in_clear = |uri: &str| mode == MessageSecurityMode::Sign && uri == SecurityPolicy::None.to_uri();
    if let Some(tokens) = &mut endpoint.user_identity_tokens {
        tokens.retain(|token| {
            token.token_type == wanted && !(server.user.is_some() && in_clear(token.security_policy_uri.as_ref()))
        });
        if tokens.is_empty() {
            return Err(match wanted {
                UserTokenType::UserName => {
                    format!("the server at {} takes no password over {}", server.url, describe(policy, mode))
                }
                _ => format!("the server at {} lets nobody in without a name: set `user` and `password`", server.url),
            });
        }
    }
    Ok(endpoint)
}

fn offer(endpoint: &EndpointDescription) -> String {
    let policy = endpoint.security_policy_uri.as_ref().parse().unwrap_or(SecurityPolicy::Unknown);
    describe(policy, endpoint.security_mode)
}

fn describe(policy: SecurityPolicy, mode: MessageSecurityMode) -> String {
    match mode {
        MessageSecurityMode::None => "\"None\"".to_owned(),
        mode => format!("\"{}/{mode:?}\"", policy.to_str()),
    }
}

/// `offered` with the host and port of `configured`.
fn under(offered: &str, configured: &str) -> String {
    let path = |url: &str| url.strip_prefix("opc.tcp://").and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
    let authority = configured.strip_prefix("opc.tcp://").map_or("", |rest| rest.split('/').next().unwrap_or(""));
    format!("opc.tcp://{authority}{}", path(offered).unwrap_or_default())
}

fn check_certificate(endpoint: &EndpointDescription, policy: SecurityPolicy, pki: &Pki) -> Result<(), String> {
    if policy == SecurityPolicy::None {
        return Ok(());
    }
    let certificate = X509::from_byte_string(&endpoint.server_certificate)
        .map_err(|_| "the server's certificate cannot be read: give it a valid one".to_owned())?;
    let trust = pki.check(&certificate, clock::now());
    if !trust.is_trusted() {
        return Err(format!("the server's certificate {trust}"));
    }
    match certificate.key_length() {
        Ok(bits) if policy.is_valid_keylength(bits) => Ok(()),
        Ok(bits) => {
            Err(format!("the server's certificate has a key of {bits} bits, which {policy} does not allow: give it another"))
        }
        Err(_) => Err("the server's certificate has no RSA key: give it another".to_owned()),
    }
}

/// Polls the library until the connection ends; says when the session is active.
async fn drive(event_loop: SessionEventLoop<tcp::Connector>, connected: oneshot::Sender<()>) -> String {
    let mut connected = Some(connected);
    let mut unanswered = None;
    let mut events = pin!(event_loop.enter());
    loop {
        match events.try_next().await {
            Ok(Some(SessionPollResult::Reconnected(_))) => {
                if let Some(connected) = connected.take() {
                    let _ = connected.send(());
                }
            }
            Ok(Some(SessionPollResult::ConnectionLost(code))) => {
                return match unanswered {
                    Some(code) => format!("the server stopped answering ({code})"),
                    None => format!("the connection was lost ({code})"),
                };
            }
            Ok(Some(SessionPollResult::SessionActivity(SessionActivity::KeepAliveFailed(code)))) => unanswered = Some(code),
            Ok(Some(SessionPollResult::SessionActivity(SessionActivity::KeepAliveSucceeded))) => unanswered = None,
            Ok(Some(_)) => {}
            Ok(None) => return "the session was closed".to_owned(),
            Err(code) => return refused(code),
        }
        // The library's stream may be ready many times in a row; others get their turn.
        tokio::task::consume_budget().await;
    }
}

/// Why no session came to be; the code stands in front, so that [`explain`] finds it.
fn refused(code: impl std::fmt::Display) -> String {
    format!("no session: {code}")
}

fn explain(reason: String, server: &Server, own: Option<&OwnCertificate>) -> String {
    let ours = own.map_or_else(String::new, |own| format!(" (thumbprint {})", own.certificate.thumbprint().as_hex_string()));
    if reason.contains("BadUserAccessDenied") || reason.contains("BadIdentityToken") {
        return match &server.user {
            Some(user) => format!("the server refused user {user:?}: check `user` and `password` ({reason})"),
            None => format!("the server refused an anonymous session: set `user` and `password` ({reason})"),
        };
    }
    if reason.contains("BadSecurityChecksFailed") || reason.contains("BadCertificate") {
        return format!("the server does not accept our certificate{ours}: trust it there ({reason})");
    }
    if server.security.0 != SecurityPolicy::None && reason.contains("BadConnectionClosed") {
        return format!("the server closed the connection: does it trust our certificate{ours}? ({reason})");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_host_and_port_are_used() {
        assert_eq!(
            under("opc.tcp://plc-7.local:4840/UA/Server", "opc.tcp://192.0.2.1:14840"),
            "opc.tcp://192.0.2.1:14840/UA/Server"
        );
        assert_eq!(under("opc.tcp://0.0.0.0:4840", "opc.tcp://192.0.2.1/x"), "opc.tcp://192.0.2.1");
    }
}
