//! What the daemon's servers and its store are told: `[server]`, `[http]`, `[store]`, `[site]`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    book::{Book, Kind, Roots},
    reader::Section,
};
use crate::engine::plan::{Role, Secret};

/// `[server]`: our OPC UA server (SPEC 3, 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// `opc.tcp://host:port/path`.
    pub endpoint: String,
    /// The host of the endpoint: what is bound.
    pub host: String,
    /// The port of the endpoint.
    pub port: u16,
    /// The ApplicationUri; the certificate carries it.
    pub application_uri: String,
    /// The ApplicationName that clients show.
    pub application_name: String,
    /// Security policies offered.
    pub security: Vec<SecurityPolicy>,
    /// Modes offered with every policy but None.
    pub modes: Vec<SecurityMode>,
    /// The role of an anonymous session; `None` refuses them.
    pub anonymous: Option<Role>,
    /// What one client and all of them may use.
    pub limits: ServerLimits,
}

/// Bounds of the OPC UA server; each is refused with its proper StatusCode when exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// TCP connections, 1 to 10,000.
    pub connections: u32,
    /// Sessions, 1 to 10,000.
    pub sessions: u32,
    /// Subscriptions of one session, 1 to 1,000.
    pub subscriptions_per_session: u32,
    /// Monitored items of one subscription, 1 to 1,000,000.
    pub items_per_subscription: u32,
    /// Monitored items of the whole server, 1 to 10,000,000.
    pub items: u32,
    /// Bytes of notifications, events and messages for Republish that wait for the clients of one session, 64 KiB to 1 GiB.
    pub queued_bytes_per_session: u32,
    /// The same of all sessions, 1 MiB to 2 GiB.
    pub queued_bytes: u32,
    /// Nodes or items of one service call, 1 to 100,000.
    pub operations_per_call: u32,
    /// Bytes of one message, 8,192 to 256 MiB.
    pub message_size: u32,
    /// Chunks of one message, 1 to 65,536.
    pub chunks: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 100,
            sessions: 100,
            subscriptions_per_session: 50,
            items_per_subscription: 100_000,
            items: 1_000_000,
            queued_bytes_per_session: 64 * 1024 * 1024,
            queued_bytes: 256 * 1024 * 1024,
            operations_per_call: 10_000,
            message_size: 16 * 1024 * 1024,
            chunks: 1024,
        }
    }
}

/// A security policy of OPC UA Part 7 that the server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityPolicy {
    /// No security; user names never pass over it.
    None,
    /// `Basic256Sha256`.
    Basic256Sha256,
    /// `Aes128_Sha256_RsaOaep`.
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`.
    Aes256Sha256RsaPss,
}

impl SecurityPolicy {
    /// Those that may be named, with the words of the configuration.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("None", Self::None),
        ("Basic256Sha256", Self::Basic256Sha256),
        ("Aes128Sha256RsaOaep", Self::Aes128Sha256RsaOaep),
        ("Aes256Sha256RsaPss", Self::Aes256Sha256RsaPss),
    ];

    /// The word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Basic256Sha256 => "Basic256Sha256",
            Self::Aes128Sha256RsaOaep => "Aes128Sha256RsaOaep",
            Self::Aes256Sha256RsaPss => "Aes256Sha256RsaPss",
        }
    }
}

/// What a policy does with each message (Part 4, 7.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityMode {
    /// Anybody may read it, nobody change it.
    Sign,
    /// Nobody may read or change it.
    SignAndEncrypt,
}

impl SecurityMode {
    /// With the words of the configuration.
    pub const WORDS: [(&'static str, Self); 2] = [("Sign", Self::Sign), ("SignAndEncrypt", Self::SignAndEncrypt)];
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            endpoint: "opc.tcp://127.0.0.1:4840/annunciator".into(),
            host: "127.0.0.1".into(),
            port: 4840,
            application_uri: "urn:annunciator:server".into(),
            application_name: "Annunciator".into(),
            security: vec![
                SecurityPolicy::Basic256Sha256,
                SecurityPolicy::Aes128Sha256RsaOaep,
                SecurityPolicy::Aes256Sha256RsaPss,
            ],
            modes: vec![SecurityMode::SignAndEncrypt, SecurityMode::Sign],
            anonymous: None,
            limits: ServerLimits::default(),
        }
    }
}

/// `[http]`: the webhook listener and the console listener (SPEC 3, 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// What Twilio may reach; `None` when switched off with `"off"`.
    pub webhooks: Option<SocketAddr>,
    /// Console, API, metrics; `None` when switched off.
    pub console: Option<SocketAddr>,
    /// Paths of certificate and key (PEM) for both listeners.
    pub tls: Option<(String, String)>,
    /// Connections of one listener, 1 to 10,000.
    pub connections: usize,
    /// Reverse proxies before the console, which speak TLS to browsers and say whom they speak for in `X-Forwarded-For`.
    pub proxies: Vec<IpAddr>,
    /// A console session ends when it was not used for so long, 1 min to 31 days.
    pub session_idle: Duration,
    /// A console session ends so long after its log-in, 1 min to 31 days.
    pub session_lifetime: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            webhooks: Some(([0, 0, 0, 0], 8088).into()),
            console: Some(([127, 0, 0, 1], 8089).into()),
            tls: None,
            connections: 256,
            proxies: Vec::new(),
            session_idle: Duration::from_secs(3600),
            session_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// `[store]` (SPEC 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// `sqlite:` and a path, which is below the data folder unless it is absolute; or `postgres://user@host:port/database`.
    pub url: String,
    /// Of the PostgreSQL user, when the server asks for one.
    pub password: Option<Secret>,
}

impl StoreSettings {
    /// The path behind `sqlite:`.
    #[must_use]
    pub fn sqlite_path(&self) -> &str {
        self.url.strip_prefix("sqlite:").unwrap_or(&self.url)
    }

    /// The store is a PostgreSQL database.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        postgres_part(&self.url).is_some()
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: "sqlite:annunciator.db".into(), password: None }
    }
}

/// `[redundancy]`: how several instances on one store take turns (SPEC 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedundancySettings {
    /// An active instance that was silent for so long is replaced, 1 s to 60 s.
    pub lease: Duration,
    /// Sources without which another instance shall try.
    pub readiness: Vec<String>,
    /// How long one of them may be lost, 1 s to 1 h.
    pub readiness_after: Duration,
    /// What the active instance does when it cannot reach the store and its lease runs out.
    pub store_lost: StoreLost,
}

/// What the active one of a pair does without its store: whether another one acts it cannot know then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreLost {
    /// Nothing, so that nothing is done twice.
    #[default]
    Wait,
    /// It sends on: a text that comes twice is better than none. Devices are not written.
    Send,
}

impl Default for RedundancySettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3),
            readiness: Vec::new(),
            readiness_after: Duration::from_secs(10),
            store_lost: StoreLost::Wait,
        }
    }
}

/// `[redundancy]`.
pub(super) fn redundancy(roots: &mut Roots<'_>, book: &Book) -> RedundancySettings {
    let mut settings = RedundancySettings::default();
    let Some(mut section) = roots.section("redundancy") else { return settings };
    let second = Duration::from_secs(1);
    settings.lease = section.duration("lease", second..=60 * second).unwrap_or(settings.lease);
    settings.readiness_after = section.duration("readiness_after", second..=3600 * second).unwrap_or(settings.readiness_after);
    let words = [("wait", StoreLost::Wait), ("send", StoreLost::Send)];
    settings.store_lost = section.one_of("store_lost", &words).unwrap_or_default();
    let sources = section.strings("readiness").unwrap_or_default();
    settings.readiness =
        sources.into_iter().filter(|name| book.refers(Kind::Source, &section, name)).map(|name| name.value).collect();
    settings
}

/// `[site] name`, for messages.
pub(super) fn site(roots: &mut Roots<'_>) -> String {
    let section = roots.section("site");
    section.and_then(|mut section| section.string("name")).map_or_else(|| "Plant".to_owned(), |name| name.value)
}

/// `[server]`.
pub(super) fn server(roots: &mut Roots<'_>) -> ServerSettings {
    let mut settings = ServerSettings::default();
    let Some(mut section) = roots.section("server") else { return settings };
    if let Some(endpoint) = section.string("endpoint") {
        match host_and_port(&endpoint) {
            Some((host, port)) => {
                (settings.host, settings.port, settings.endpoint) = (host.to_owned(), port, endpoint.value);
            }
            None => section.error(
                endpoint.span,
                format!("`{}` is not an endpoint", endpoint.value),
                "write opc.tcp://host:port/path, such as opc.tcp://127.0.0.1:4840/annunciator",
            ),
        }
    }
    if let Some(uri) = section.non_empty("application_uri") {
        settings.application_uri = uri;
    }
    if let Some(name) = section.non_empty("application_name") {
        settings.application_name = name;
    }
    if let Some(words) = section.strings("security") {
        let policies = words.iter().filter_map(|word| section.word("a security policy", word, &SecurityPolicy::WORDS));
        settings.security = policies.collect();
        if words.is_empty() {
            section.error(
                section.key_span("security"),
                "`security` must name at least one policy",
                "leave it out for the defaults",
            );
        }
    }
    if let Some(words) = section.strings("modes") {
        let modes = words.iter().filter_map(|word| section.word("a security mode", word, &SecurityMode::WORDS));
        settings.modes = modes.collect();
        if words.is_empty() {
            let help = "write \"Sign\", \"SignAndEncrypt\" or both, or leave it out";
            section.error(section.key_span("modes"), "`modes` must name at least one mode", help);
        }
    }
    let roles =
        [("none", None), ("viewer", Some(Role::Viewer)), ("operator", Some(Role::Operator)), ("engineer", Some(Role::Engineer))];
    settings.anonymous = section.one_of("anonymous", &roles).flatten();
    settings.limits = server_limits(&mut section);
    warn_of_open_server(&section, &settings);
    settings
}

fn server_limits(section: &mut Section<'_>) -> ServerLimits {
    let mut limits = ServerLimits::default();
    for (key, limit, low, high) in [
        ("max_connections", &mut limits.connections, 1, 10_000),
        ("max_sessions", &mut limits.sessions, 1, 10_000),
        ("max_subscriptions_per_session", &mut limits.subscriptions_per_session, 1, 1_000),
        ("max_items_per_subscription", &mut limits.items_per_subscription, 1, 1_000_000),
        ("max_items", &mut limits.items, 1, 10_000_000),
        ("max_queued_bytes_per_session", &mut limits.queued_bytes_per_session, 64 * 1024, 1 << 30),
        ("max_queued_bytes", &mut limits.queued_bytes, 1 << 20, 1 << 31),
        ("max_operations_per_call", &mut limits.operations_per_call, 1, 100_000),
        ("max_message_size", &mut limits.message_size, 8_192, 256 * 1024 * 1024),
        ("max_chunks", &mut limits.chunks, 1, 65_536),
    ] {
        if let Some(value) = section.integer(key, low..=high).and_then(|value| u32::try_from(value).ok()) {
            *limit = value;
        }
    }
    limits
}

fn warn_of_open_server(section: &Section<'_>, settings: &ServerSettings) {
    if settings.anonymous > Some(Role::Viewer) {
        let role = settings.anonymous.map_or("", Role::name);
        let message = format!("anybody who reaches the OPC UA server has role {role}");
        section.warning(section.key_span("anonymous"), message, "use \"viewer\" or \"none\", and users with passwords");
    }
    if settings.security.contains(&SecurityPolicy::None) && !is_loopback(&settings.host) {
        let message = "security policy None is offered beyond this machine";
        let help = "values and acknowledgements pass in clear and can be forged: leave None out, or listen on 127.0.0.1";
        section.warning(section.key_span("security"), message, help);
    }
}

/// `[http]`.
pub(super) fn http(roots: &mut Roots<'_>) -> HttpSettings {
    let mut settings = HttpSettings::default();
    let Some(mut section) = roots.section("http") else { return settings };
    listener(&mut section, "webhooks", &mut settings.webhooks);
    listener(&mut section, "console", &mut settings.console);
    settings.tls = match (section.non_empty("tls_cert"), section.non_empty("tls_key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            section.error(section.span(), "`tls_cert` and `tls_key` belong together", "give both, or none");
            None
        }
    };
    if let Some(limit) = section.integer("max_connections", 1..=10_000).and_then(|value| usize::try_from(value).ok()) {
        settings.connections = limit;
    }
    settings.proxies = addresses(&mut section, "proxies");
    let lengths = Duration::from_secs(60)..=Duration::from_secs(31 * 86_400);
    settings.session_idle = section.duration("session_idle", lengths.clone()).unwrap_or(settings.session_idle);
    settings.session_lifetime = section.duration("session_lifetime", lengths).unwrap_or(settings.session_lifetime);
    if settings.webhooks.is_some() && settings.webhooks == settings.console {
        let help = "what Twilio may reach must not serve the console: give them different ports";
        section.error(section.key_span("webhooks"), "`webhooks` and `console` have the same address", help);
    }
    if settings.tls.is_none() && settings.console.is_some_and(|address| !address.ip().is_loopback()) {
        let help = "give tls_cert and tls_key, or listen on 127.0.0.1 behind a proxy that does";
        section.warning(section.key_span("console"), "passwords and tokens pass to the console in clear", help);
    }
    settings
}

fn addresses(section: &mut Section<'_>, key: &str) -> Vec<IpAddr> {
    let texts = section.strings(key).unwrap_or_default();
    let parsed = texts.into_iter().filter_map(|text| match text.value.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical()),
        Err(_) => {
            section.error(
                text.span,
                format!("`{}` is not an IP address", text.value),
                "write one such as \"127.0.0.1\", without a port",
            );
            None
        }
    });
    parsed.collect()
}

/// Takes an address to listen on into `setting`, or `"off"`.
fn listener(section: &mut Section<'_>, key: &str, setting: &mut Option<SocketAddr>) {
    let Some(text) = section.string(key) else { return };
    if text.value == "off" {
        *setting = None;
    } else if let Ok(address) = text.value.replace("localhost:", "127.0.0.1:").parse() {
        *setting = Some(address);
    } else {
        let help = "write an IP address and a port, such as \"127.0.0.1:8089\", or \"off\"";
        section.error(text.span, format!("`{}` is not an address to listen on", text.value), help);
    }
}

/// `[store]`.
pub(super) fn store(roots: &mut Roots<'_>) -> StoreSettings {
    let mut settings = StoreSettings::default();
    let Some(mut section) = roots.section("store") else { return settings };
    let url = section.string("url");
    // Empty is none: a variable that is not set.
    settings.password = section.secret("password").filter(|password| !password.expose().is_empty());
    let Some(url) = url else { return settings };
    if let Some(rest) = postgres_part(&url.value) {
        let example = "write one such as \"postgres://annunciator@db.example.com:5432/annunciator\"";
        let (server, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = server.split_once('/').unwrap_or((server, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // A password may hold what else ends the part before the host.
        let before_host = rest.rsplit_once('@').map_or("", |(before, _)| before);
        if before_host.contains(':') || options.split('&').any(|option| option.starts_with("password=")) {
            let help = "leave it out of the URL, and give `password_file`, or `password` from the environment: \
                        password = \"${STORE_PASSWORD}\"";
            section.error(url.span, "the URL of the store has a password in it", help);
        } else if user.is_empty() || database.is_empty() || host.is_empty() && !options.contains("host=") {
            section.error(url.span, "the URL of the store does not name a user, a host and a database", example);
        } else {
            settings.url = url.value;
        }
    } else if url.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty()) {
        if settings.password.is_some() {
            section.error(section.span(), "a SQLite store has no password", "leave it out; the file is for its owner only");
        }
        settings.url = url.value;
    } else {
        let help = "write \"sqlite:annunciator.db\", or \"postgres://user@host:5432/database\"";
        section.error(url.span, "this is not the URL of a store", help);
    }
    settings
}

/// What follows the scheme of a PostgreSQL URL.
fn postgres_part(url: &str) -> Option<&str> {
    url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))
}

/// The host and port of `opc.tcp://host:port/path`.
fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let rest = endpoint.strip_prefix("opc.tcp://")?;
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
