//! Talking to a running daemon over its HTTP API.

use std::{fmt, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode, Url, redirect};
use serde_json::Value;

/// From the request to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A stream of events that brings nothing for so long is dead; it says the time every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
/// For a request whose answer has no end.
const A_YEAR: Duration = Duration::from_secs(366 * 86_400);
/// The longest event, in bytes.
const MAX_EVENT: usize = 64 * 1024 * 1024;

/// How to reach the daemon.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Connect {
    /// The daemon's console address [default: `[http] console` of the configuration]
    ///
    /// Credentials come from the environment: ANNUNCIATOR_USER and ANNUNCIATOR_PASSWORD, or ANNUNCIATOR_TOKEN (`name:secret`).
    #[arg(long, value_name = "URL", env = "ANNUNCIATOR_URL")]
    pub url: Option<String>,
}

/// Who asks.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// A person.
    User {
        /// As configured.
        name: String,
        /// In clear.
        password: String,
    },
    /// A program: `name:secret`.
    Token(String),
}

impl Credentials {
    /// From `ANNUNCIATOR_TOKEN`, else `ANNUNCIATOR_USER` and `ANNUNCIATOR_PASSWORD`. Not from arguments: those everybody on the
    /// machine can list.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        if let Some(token) = variable("ANNUNCIATOR_TOKEN") {
            return Self::Token(token);
        }
        match variable("ANNUNCIATOR_USER") {
            Some(name) => Self::User { name, password: variable("ANNUNCIATOR_PASSWORD").unwrap_or_default() },
            None => Self::None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User { .. } => "User(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// Server-sent events of a daemon.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    /// Bytes of an event that has not ended yet.
    received: Vec<u8>,
    place: String,
}

impl Events {
    /// The next event, by its name and data.
    ///
    /// # Errors
    /// When the connection is lost, or has been silent for so long that it must be.
    pub async fn next(&mut self) -> Result<(String, Value), String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                if let Some(event) = event_of(&String::from_utf8_lossy(&event)) {
                    return Ok(event);
                }
                continue;
            }
            if self.received.len() > MAX_EVENT {
                return Err(format!("{} sent an event of more than {MAX_EVENT} bytes", self.place));
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk()).await;
            match chunk {
                Ok(Ok(Some(bytes))) => self.received.extend_from_slice(&bytes),
                Ok(Ok(None)) => return Err(format!("{} closed the connection", self.place)),
                Ok(Err(_)) => return Err(format!("the connection to {} was lost", self.place)),
                Err(_) => return Err(format!("{} has been silent for {} s", self.place, SILENCE.as_secs())),
            }
        }
    }
}

/// One event; none when it has no data, such as a comment.
fn event_of(text: &str) -> Option<(String, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start);
    let data = serde_json::from_str(field("data")?).ok()?;
    Some((field("event").unwrap_or("message").to_owned(), data))
}

fn refusal(status: StatusCode, answer: &Value) -> String {
    let detail = answer["detail"].as_str().unwrap_or("no reason was given");
    match status {
        StatusCode::UNAUTHORIZED => format!("{detail} (set ANNUNCIATOR_USER and ANNUNCIATOR_PASSWORD, or ANNUNCIATOR_TOKEN)"),
        _ => detail.to_owned(),
    }
}

/// A daemon's API.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
}

/// What a daemon answered, good or bad.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: StatusCode,
    /// JSON; of a refusal the problem (RFC 9457).
    pub body: Value,
}

impl Answer {
    /// Why it was refused, for people.
    #[must_use]
    pub fn detail(&self) -> String {
        self.body["detail"].as_str().unwrap_or("no reason was given").to_owned()
    }
}

impl Client {
    /// The daemon that `connect` names, else the one at `default_url` (`http://` and `[http] console`).
    ///
    /// # Errors
    /// When neither gives a URL.
    pub fn new(connect: &Connect, default_url: Option<&str>, credentials: Credentials) -> Result<Self, String> {
        let url = connect.url.as_deref().or(default_url);
        let url = url.ok_or("failed to find the daemon: `[http] console` is off, give its address with --url")?;
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base: Url = url.parse().map_err(|error| format!("failed to read the URL {url:?}: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(format!("failed to read the URL {url:?}: it must be like http://127.0.0.1:8089"));
        }
        // A second installation of the same provider is refused, and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| format!("failed to set up HTTP: {error}"))?;
        Ok(Self { http, base, credentials })
    }

    /// `GET /api/v1/<path>?<query>`.
    ///
    /// # Errors
    /// What went wrong and what to do about it.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, String> {
        self.ask(self.request(Method::GET, path)?.query(query)).await
    }

    /// `POST /api/v1/<path>` with a JSON body.
    ///
    /// # Errors
    /// What went wrong and what to do about it.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(self.request(Method::POST, path)?.json(body)).await
    }

    /// Asks `/api/v1/` and these segments, and takes every answer that an annunciator may give.
    ///
    /// # Errors
    /// When there is no answer, or none of an annunciator.
    pub async fn answer(
        &self,
        method: Method,
        segments: &[String],
        query: &[(String, String)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let mut url = self.base.clone();
        url.set_path("/api/v1");
        // Only a URL that cannot be a base has no segments, and ours has a host.
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        let request = self.authorized(self.http.request(method, url)).query(query);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.map_err(|error| self.explain(&error))?;
        let status = response.status();
        let body = response.json().await.map_err(|_| self.strange(status))?;
        Ok(Answer { status, body })
    }

    /// What happens at the daemon from now on: `topics` as the API names them, and the values of `tags`.
    ///
    /// # Errors
    /// What went wrong and what to do about it.
    pub async fn events(&self, topics: &str, tags: &[String]) -> Result<Events, String> {
        let mut query = vec![("topics", topics)];
        query.extend(tags.iter().map(|tag| ("tag", tag.as_str())));
        // The stream has no end, but never stays silent for long.
        let request = self.request(Method::GET, "stream")?.query(&query).timeout(A_YEAR);
        let response = request.send().await.map_err(|error| self.explain(&error))?;
        let status = response.status();
        if !status.is_success() {
            let answer: Value = response.json().await.map_err(|_| self.strange(status))?;
            return Err(refusal(status, &answer));
        }
        Ok(Events { response, received: Vec::new(), place: self.place() })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, String> {
        let url = self.base.join(&format!("/api/v1/{path}")).map_err(|error| format!("failed to make a URL: {error}"))?;
        Ok(self.authorized(self.http.request(method, url)))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => request,
            Credentials::User { name, password } => request.basic_auth(name, Some(password)),
            Credentials::Token(token) => request.bearer_auth(token),
        }
    }

    fn strange(&self, status: StatusCode) -> String {
        format!("{} does not answer like an annunciator (status {status}): is the address right?", self.place())
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| self.explain(&error))?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(|_| self.strange(status))?;
        if status.is_success() { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    fn explain(&self, error: &reqwest::Error) -> String {
        let place = self.place();
        if error.is_connect() {
            return format!("no daemon answers at {place}: is `annunciator run` up, and is that its `[http] console` address?");
        }
        if error.is_timeout() {
            return format!("the daemon at {place} did not answer within {} s", TIMEOUT.as_secs());
        }
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        format!("failed to ask the daemon at {place}: {innermost}")
    }

    /// Scheme, host and port; a password in the URL is not for the eyes.
    fn place(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}
