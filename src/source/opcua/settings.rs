//! The driver's keys in `[[source]]` and `[[tag]]`.

use std::{sync::Arc, time::Duration};

use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};

use super::address::NodeAddress;
use crate::{
    config::{driver::Driver, reader::Section},
    engine::plan::{Secret, Settings, TagTraits},
};

/// The OPC UA client as a source driver.
pub const DRIVER: Driver = Driver { kind: "opcua", example: EXAMPLE, settings, address };

const EXAMPLE: &str = r#"[[source]]
name = "line2"
kind = "opcua"
url = "opc.tcp://192.0.2.20:4840"
security = "Basic256Sha256/SignAndEncrypt"   # the default; "None" must be asked for
user = "bridge"                 # left out: anonymous
password = "${LINE2_PASSWORD:-example}"
publishing = "250ms"            # how often the server sends what changed
sampling = "100ms"              # how often the server looks at a value; left out: half of publishing
queue = 10                      # values that the server keeps between two publishings
keep_alive = "5s"               # how often a server without news says that it is there
timeout = "5s"                  # for each request
retry = "60s"                   # how long until a tag that the server does not have is looked for again

[[tag]]
path = "Plant/Line2/Level"
type = "Double"
source = "line2"
address = "nsu=urn:example:line2;s=Tank.Level"
"#;

/// Security policy and message mode as `security` writes them.
pub const SECURITY: [(&str, Security); 7] = [
    ("Basic256Sha256/SignAndEncrypt", Security(SecurityPolicy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt)),
    ("Basic256Sha256/Sign", Security(SecurityPolicy::Basic256Sha256, MessageSecurityMode::Sign)),
    ("Aes128Sha256RsaOaep/SignAndEncrypt", Security(SecurityPolicy::Aes128Sha256RsaOaep, MessageSecurityMode::SignAndEncrypt)),
    ("Aes128Sha256RsaOaep/Sign", Security(SecurityPolicy::Aes128Sha256RsaOaep, MessageSecurityMode::Sign)),
    ("Aes256Sha256RsaPss/SignAndEncrypt", Security(SecurityPolicy::Aes256Sha256RsaPss, MessageSecurityMode::SignAndEncrypt)),
    ("Aes256Sha256RsaPss/Sign", Security(SecurityPolicy::Aes256Sha256RsaPss, MessageSecurityMode::Sign)),
    ("None", Security(SecurityPolicy::None, MessageSecurityMode::None)),
];

/// How messages are protected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Security(pub SecurityPolicy, pub MessageSecurityMode);

impl Security {
    /// What `text` stands for among [`SECURITY`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        SECURITY.iter().find(|(word, _)| *word == text).map(|(_, security)| *security)
    }
}

/// Where a server is and who asks: what a connection needs.
#[derive(Clone, Debug)]
pub struct Server {
    /// `opc.tcp://host:port/path`.
    pub url: String,
    /// Policy and mode; exactly these are used.
    pub security: Security,
    /// User name; `None` for an anonymous session.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// For each request.
    pub timeout: Duration,
    /// How often a connection without news is asked whether it lives.
    pub keep_alive: Duration,
}

/// One `[[source]]` of kind `opcua`.
#[derive(Clone, Debug)]
pub struct OpcuaSettings {
    /// Where and who.
    pub server: Server,
    /// How often the server sends what changed.
    pub publishing: Duration,
    /// How often the server looks at a value, unless the tag says otherwise.
    pub sampling: Duration,
    /// Values that the server keeps for each tag between two publishings; the oldest are discarded.
    pub queue: u32,
    /// How long until a tag that could not be had is tried again.
    pub retry: Duration,
}

/// One tag's address.
#[derive(Clone, Debug)]
pub struct TagAddress {
    /// Which node.
    pub node: NodeAddress,
    /// How often the server looks at it.
    pub sampling: Option<Duration>,
}

const SHORTEST: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

fn settings(section: &mut Section<'_>) -> Option<Settings> {
    let url = section.required_string("url");
    if let Some(url) = &url {
        let host = url.value.strip_prefix("opc.tcp://").map_or("", |rest| rest.split(['/', ':']).next().unwrap_or(""));
        if host.is_empty() || !opcua::core::comms::url::is_valid_opc_ua_url(&url.value) {
            section.error(
                url.span.clone(),
                format!("{:?} is not the address of an OPC UA server", url.value),
                "write opc.tcp://host:port/path",
            );
        }
    }
    let security = section.one_of("security", &SECURITY).unwrap_or(SECURITY[0].1);
    let user = section.string("user").map(|user| user.value);
    let password = section.secret("password");
    if user.is_some() && password.is_none() {
        section.error(section.key_span("user"), "a user name without a password", "add `password` or `password_file`");
    }
    if user.is_none() && password.is_some() {
        section.error(section.key_span("password"), "a password without a user name", "add `user`");
    }
    if security.0 == SecurityPolicy::None && section.has("security") {
        let help = "use \"Basic256Sha256/SignAndEncrypt\" when the server offers it";
        let risk = if user.is_some() {
            "anybody on the network can read the password"
        } else {
            "anybody on the network can change values"
        };
        section.warning(section.key_span("security"), format!("messages are not protected: {risk}"), help);
    }
    let publishing = section.duration("publishing", SHORTEST..=MINUTE).unwrap_or(Duration::from_millis(250));
    let sampling = section.duration("sampling", SHORTEST..=MINUTE).unwrap_or(publishing / 2);
    let queue = section.integer("queue", 1..=10_000).unwrap_or(10);
    let keep_alive = section.duration("keep_alive", Duration::from_millis(500)..=MINUTE).unwrap_or(Duration::from_secs(5));
    let timeout = section.duration("timeout", Duration::from_millis(100)..=MINUTE).unwrap_or(Duration::from_secs(5));
    let retry = section.duration("retry", Duration::from_millis(100)..=MINUTE * 60).unwrap_or(MINUTE);
    let server = Server { url: url?.value, security, user, password, timeout, keep_alive };
    Some(Arc::new(OpcuaSettings { server, publishing, sampling, queue: u32::try_from(queue).unwrap_or(10), retry }))
}

fn address(section: &mut Section<'_>, _: &TagTraits, _: &Settings) -> Option<Settings> {
    let text = section.required_string("address");
    let sampling = section.duration("sampling", SHORTEST..=MINUTE);
    let text = text?;
    match text.value.parse() {
        Ok(node) => Some(Arc::new(TagAddress { node, sampling })),
        Err(reason) => {
            section.error(
                text.span,
                format!("not an address of a node: {reason}"),
                "write nsu=URI;s=Name; `annunciator browse URL` lists them",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader::{Loader, read_text};

    fn source(text: &str) -> (Option<OpcuaSettings>, Vec<String>) {
        let loader = Loader { env: &|_| None, read_file: &|_: &Path| Ok("from a file\n".into()) };
        let (made, problems) = read_text("test.toml", text, loader, settings);
        let made = made.map(|made| made.downcast_ref::<OpcuaSettings>().unwrap().clone());
        (made, problems.list.iter().map(|problem| format!("{}; {}", problem.message, problem.help)).collect())
    }

    #[test]
    fn a_source_is_secure_unless_asked_otherwise() {
        let (made, problems) = source("url = 'opc.tcp://plc:4840'");
        let made = made.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(Some(made.server.security), Security::parse("Basic256Sha256/SignAndEncrypt"));
        assert_eq!((made.publishing, made.sampling), (Duration::from_millis(250), Duration::from_millis(125)));
        assert_eq!((made.queue, made.server.user), (10, None));
        let (made, problems) =
            source("url = 'opc.tcp://plc'\nsecurity = 'None'\nuser = 'a'\npassword_file = 'p'\nqueue = 3\nsampling = '7ms'");
        let made = made.unwrap();
        assert_eq!(made.server.password.unwrap().expose(), "from a file");
        assert_eq!((made.queue, made.sampling), (3, Duration::from_millis(7)));
        assert!(problems.len() == 1 && problems[0].contains("can read the password"), "{problems:?}");
    }

    #[test]
    fn mistakes_are_told() {
        for (text, told) in [
            ("", "url"),
            ("url = 'http://plc'", "opc.tcp://host:port/path"),
            ("url = 'opc.tcp://:4840'", "opc.tcp://host:port/path"),
            ("url = 'opc.tcp://plc'\nsecurity = 'Basic256'", "Basic256"),
            ("url = 'opc.tcp://plc'\nuser = 'a'", "without a password"),
            ("url = 'opc.tcp://plc'\npassword = 'a'", "without a user name"),
            ("url = 'opc.tcp://plc'\nqueue = 0", "queue"),
            ("url = 'opc.tcp://plc'\nqeue = 1", "qeue"),
        ] {
            let (_, problems) = source(text);
            assert!(problems.iter().any(|problem| problem.contains(told)), "{text:?}: {problems:?}");
        }
    }

    #[test]
    fn the_example_is_right() {
        let example = EXAMPLE.split("[[tag]]").next().unwrap().replace("[[source]]", "");
        let text: String = example
            .lines()
            .filter(|line| !line.starts_with("name") && !line.starts_with("kind"))
            .fold(String::new(), |text, line| text + line + "\n");
        let (made, problems) = source(&text);
        assert!(made.is_some() && problems.is_empty(), "{problems:?}");
    }
}
