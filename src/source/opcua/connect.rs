//! One connection to a server: endpoint, trust, session.
//!
//! Nothing reconnects here: one connection is one session, and the daemon starts the next.

use std::{sync::Arc, time::Duration};

use opcua::{
    crypto::{SecurityPolicy, X509},
    types::MessageSecurityMode,
};
use tokio::time::timeout;

use super::settings::{Security, Server};
use crate::{
    clock,
    engine::plan::Secret,
    pki::{
        OwnCertificate, Pki,
        x509::{Purpose, split_chain},
    },
    ua::client::{
        Error,
        channel::{Own, Protection},
        connection::{self, Driver},
        endpoints::{Endpoint, TokenKind, TokenPolicy, get_endpoints},
        name,
        session::{Login, Session},
        words,
    },
};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// BadCertificateInvalid, BadSecurityChecksFailed and so on to BadCertificateIssuerRevoked.
const BAD_CERTIFICATE: std::ops::RangeInclusive<u32> = 0x8012_0000..=0x801E_0000;
const BAD_USER_ACCESS_DENIED: u32 = 0x801F_0000;
const BAD_IDENTITY_TOKEN: std::ops::RangeInclusive<u32> = 0x8020_0000..=0x8021_0000;

/// A session with the task that drives its connection.
pub struct Connection {
    /// The session.
    pub session: Arc<Session>,
    driver: Driver,
    ended: bool,
}

impl Connection {
    /// Resolves when the connection is lost, with the reason for people.
    pub async fn lost(&mut self) -> String {
        let why = self.driver.ended().await;
        self.ended = true;
        why.to_string()
    }

    /// Says goodbye, so that the server frees session and subscription at once; bounded.
    pub async fn close(self) {
        if self.ended {
            return;
        }
        let Self { session, mut driver, .. } = self;
        tokio::select! {
            // Who goes while the server is silent does not wait for it.
            () = async { drop(driver.ended().await) } => return,
            _ = timeout(FAREWELL, session.close()) => {}
        }
        drop(session);
        driver.close(FAREWELL).await;
    }
}

/// Connects, checks the server's certificate against the trust list and activates a session.
///
/// # Errors
/// A sentence for people: what is wrong and what to do about it.
pub async fn connect(server: &Server, pki: &Pki, application_uri: &str) -> Result<Connection, String> {
    let own = own_certificate(server, pki, application_uri).await?;
    let endpoints = discover(server).await.map_err(|error| told(server, "asking for its endpoints", &error))?;
    let (endpoint, token) = choose(&endpoints, server)?;
    let keys = match own {
        Some(own) => {
            let theirs = check_certificate(&endpoint, server, pki).await?;
            Some((Arc::new(Own { certificate: own.certificate, key: own.key }), theirs))
        }
        None => None,
    };
    let Security(policy, mode) = server.security;
    let protection = Protection { policy, mode, keys };
    let opened = connection::Connection::open(&server.url, protection.clone(), server.timeout).await;
    let (connection, driver) = opened.map_err(|error| explain(&error, server, &protection))?;
    let user = server.user.as_deref().zip(server.password.as_ref().map(Secret::expose));
    let login = Login { application_uri, user, protection: &protection, endpoint: &endpoint, token: token.as_ref() };
    let session = Session::activate(connection, &login).await.map_err(|error| explain(&error, server, &protection))?;
    Ok(Connection { session: Arc::new(session), driver, ended: false })
}

/// Our certificate, made when there is none; nobody needs it without security.
async fn own_certificate(server: &Server, pki: &Pki, application_uri: &str) -> Result<Option<OwnCertificate>, String> {
    if server.security.0 == SecurityPolicy::None {
        return Ok(None);
    }
    let (pki, uri) = (pki.clone(), application_uri.to_owned());
    // Making a key takes a while.
    match tokio::task::spawn_blocking(move || pki.own(&uri, &[])).await {
        Ok(Ok(own)) => Ok(Some(own)),
        Ok(Err(error)) => Err(format!("failed to {error}")),
        Err(_) => Err("failed to make our own certificate".to_owned()),
    }
}

async fn discover(server: &Server) -> Result<Vec<Endpoint>, Error> {
    let (connection, driver) = connection::Connection::open(&server.url, Protection::none(), server.timeout).await?;
    let endpoints = get_endpoints(&connection, &server.url).await;
    drop(connection);
    if endpoints.is_ok() {
        driver.close(FAREWELL).await;
    }
    endpoints
}

fn told(server: &Server, doing: &str, error: &Error) -> String {
    let url = &server.url;
    match error {
        Error::Unreachable => format!("nothing answers at {url}: is the server running, the address right, the port open?"),
        Error::Late(time) => format!("{doing} at {url} took longer than {time:?}"),
        error => format!("{doing} at {url} failed: {error}"),
    }
}

/// The endpoint of exactly the configured policy and mode, reached under the configured host and port: what a server calls
/// itself is often a name that only its own network knows. And how to log in there; none when the endpoint does not say.
fn choose(endpoints: &[Endpoint], server: &Server) -> Result<(Endpoint, Option<TokenPolicy>), String> {
    let Security(policy, mode) = server.security;
    let fits = |endpoint: &&Endpoint| {
        endpoint.policy == policy.to_uri()
            && endpoint.mode == Some(mode)
            && (endpoint.transport.is_empty() || endpoint.transport.ends_with("uatcp-uasc-uabinary"))
    };
    let Some(endpoint) = endpoints.iter().find(fits) else {
        let mut offers: Vec<String> = endpoints.iter().map(offer).collect();
        offers.sort();
        offers.dedup();
        return Err(format!(
            "the server at {} does not offer {}: set `security` to one of {}",
            server.url,
            describe(policy.to_str(), mode),
            offers.join(", ")
        ));
    };
    let mut endpoint = endpoint.clone();
    endpoint.url = under(&endpoint.url, &server.url);
    let wanted = if server.user.is_some() { TokenKind::UserName } else { TokenKind::Anonymous };
    // A password that is signed but not encrypted could be read on the way.
    let in_clear = |uri: &str| mode == MessageSecurityMode::Sign && uri == SecurityPolicy::None.to_uri();
    let usable = |token: &&TokenPolicy| token.kind == wanted && !(wanted == TokenKind::UserName && in_clear(&token.policy));
    let token = endpoint.tokens.iter().find(usable).cloned();
    match (&token, wanted) {
        (None, TokenKind::UserName) => {
            Err(format!("the server at {} takes no password over {}", server.url, describe(policy.to_str(), mode)))
        }
        (None, _) if !endpoint.tokens.is_empty() => {
            Err(format!("the server at {} lets nobody in without a name: set `user` and `password`", server.url))
        }
        _ => Ok((endpoint, token)),
    }
}

/// An endpoint as `security` writes it.
fn offer(endpoint: &Endpoint) -> String {
    let policy = endpoint.policy.rsplit('#').next().unwrap_or_default();
    describe(&words(policy), endpoint.mode.unwrap_or(MessageSecurityMode::Invalid))
}

fn describe(policy: &str, mode: MessageSecurityMode) -> String {
    match mode {
        MessageSecurityMode::None => "\"None\"".to_owned(),
        mode => format!("\"{policy}/{mode:?}\""),
    }
}

/// `offered` with the host and port of `configured`.
fn under(offered: &str, configured: &str) -> String {
    let path = |url: &str| url.strip_prefix("opc.tcp://").and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
    let authority = configured.strip_prefix("opc.tcp://").map_or("", |rest| rest.split('/').next().unwrap_or(""));
    format!("opc.tcp://{authority}{}", path(offered).unwrap_or_default())
}

/// The server's own certificate, when it is trusted and its key fits the policy.
async fn check_certificate(endpoint: &Endpoint, server: &Server, pki: &Pki) -> Result<X509, String> {
    let policy = server.security.0;
    let certificate = X509::from_der(split_chain(&endpoint.certificate).0)
        .map_err(|_| "the server's certificate cannot be read: give it a valid one".to_owned())?;
    let (pki, host) = (pki.clone(), host(&server.url).to_owned());
    let (der, application) = (endpoint.certificate.clone(), endpoint.application.clone());
    // Reads files.
    let checked = tokio::task::spawn_blocking(move || match pki.check_der(&der, Purpose::Server, clock::now()) {
        trust if trust.is_trusted() => pki.check_names(split_chain(&der).0, &application, &host),
        trust => Err(format!("the server's certificate {trust}")),
    });
    checked.await.map_err(|_| "checking the server's certificate failed".to_owned())??;
    match certificate.key_length() {
        Ok(bits) if policy.is_valid_keylength(bits) => Ok(certificate),
        Ok(bits) => {
            Err(format!("the server's certificate has a key of {bits} bits, which {policy} does not allow: give it another"))
        }
        Err(_) => Err("the server's certificate has no RSA key: give it another".to_owned()),
    }
}

/// The host in a URL.
fn host(url: &str) -> &str {
    let authority = url.strip_prefix("opc.tcp://").unwrap_or(url).split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Why no session came to be, and what to do about it.
fn explain(error: &Error, server: &Server, protection: &Protection) -> String {
    let ours = protection
        .keys
        .as_ref()
        .map_or_else(String::new, |(own, _)| format!(" (thumbprint {})", own.certificate.thumbprint().as_hex_string()));
    let code = error.code().map(|code| code.0 & 0xFFFF_0000);
    let reason = || error.code().map(name).map(|name| name.to_string()).unwrap_or_default();
    match code {
        Some(code) if code == BAD_USER_ACCESS_DENIED || BAD_IDENTITY_TOKEN.contains(&code) => {
            return match &server.user {
                Some(user) => format!("the server refused user {user:?}: check `user` and `password` ({})", reason()),
                None => format!("the server refused an anonymous session: set `user` and `password` ({})", reason()),
            };
        }
        Some(code) if BAD_CERTIFICATE.contains(&code) => {
            return format!("the server does not accept our certificate{ours}: trust it there ({})", reason());
        }
        _ => {}
    }
    if protection.keys.is_some() && *error == Error::Closed {
        return format!("the server closed the connection: does it trust our certificate{ours}?");
    }
    told(server, "opening a session", error)
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
        for (url, expected) in [("opc.tcp://plc:4840/x", "plc"), ("opc.tcp://plc/x:y", "plc"), ("opc.tcp://[::1]:4840", "::1")] {
            assert_eq!(host(url), expected);
        }
    }
}
