//! Faults on demand: what a client must survive, in the order in which it was asked for.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use hyper::body::{Body as _, Frame, SizeHint};
use serde::{Deserialize, Serialize};

use super::api::ApiError;

/// Faults that may wait at once.
pub const MAX_FAULTS: usize = 100;
/// Longest delay, ms.
pub const MAX_DELAY_MS: u64 = 60_000;

/// What goes wrong with the next requests to the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// With how many requests.
    #[serde(default = "one")]
    pub count: u32,
    /// The request is carried out all the same; only its answer goes wrong. Never with 429.
    #[serde(default)]
    pub accepted: bool,
    /// Only requests of this method; all when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// Wait before the answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Seconds in Retry-After, with 429 and 503.
    #[serde(default)]
    pub retry_after: Option<u32>,
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// 429 with code 20429.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 500 with code 20500.
    #[serde(rename = "500")]
    ServerError,
    /// 503 with code 20503.
    #[serde(rename = "503")]
    Unavailable,
    /// 200 with a page of HTML, as captive portals answer.
    Html,
    /// The connection is reset.
    Reset,
    /// The answer comes, but late.
    Delay,
    /// The connection ends in the middle of the answer.
    Truncate,
}

fn one() -> u32 {
    1
}

impl Fault {
    /// One request goes wrong in this way.
    #[must_use]
    pub fn once(kind: FaultKind) -> Self {
        Self { kind, count: 1, accepted: false, method: None, delay_ms: 0, retry_after: None }
    }

    /// True when the request is carried out although its answer goes wrong.
    pub(super) fn is_accepted(&self) -> bool {
        match self.kind {
            FaultKind::TooManyRequests => false,
            FaultKind::Delay | FaultKind::Truncate => true,
            FaultKind::ServerError | FaultKind::Unavailable | FaultKind::Html | FaultKind::Reset => self.accepted,
        }
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.min(MAX_DELAY_MS))
    }

    /// What is answered instead of `answer`.
    pub(super) fn spoil(&self, answer: Response<Body>) -> Response<Body> {
        let error = |status, code, words| ApiError::new(status, code, words).response();
        let mut response = match self.kind {
            FaultKind::TooManyRequests => error(429, 20429, "Too Many Requests"),
            FaultKind::ServerError => error(500, 20500, "An internal server error has occurred"),
            FaultKind::Unavailable => error(503, 20503, "Service unavailable"),
            FaultKind::Html => {
                let mut page = Response::new(Body::from("<html><body>Please sign in.</body></html>"));
                page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
                page
            }
            FaultKind::Reset => {
                let mut response = Response::new(Body::empty());
                response.extensions_mut().insert(Reset);
                response
            }
            FaultKind::Delay => answer,
            FaultKind::Truncate => truncated(&answer),
        };
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            && let Some(seconds) = self.retry_after
        {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Marks an answer that is not sent: the connection is reset instead.
#[derive(Clone, Copy)]
pub(super) struct Reset;

/// Faults that wait for their requests.
#[derive(Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) -> bool {
        let fits = self.0.len() < MAX_FAULTS && fault.count > 0;
        if fits {
            self.0.push_back(fault);
        }
        fits
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a request of this method.
    pub(super) fn take(&mut self, method: &str) -> Option<Fault> {
        let matches = |fault: &Fault| fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
        let at = self.0.iter().position(matches)?;
        self.0[at].count -= 1;
        let fault = self.0[at].clone();
        if fault.count == 0 {
            self.0.remove(at);
        }
        Some(fault)
    }
}

/// The same head, but a body that breaks off.
fn truncated(answer: &Response<Body>) -> Response<Body> {
    let length = answer.body().size_hint().exact().unwrap_or(1000).max(100);
    let mut response = Response::new(Body::new(Broken { length, polled: 0 }));
    *response.status_mut() = answer.status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

struct Broken {
    length: u64,
    polled: u32,
}

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.polled += 1;
        match self.polled {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"account_sid\": \"AC"))))),
            2 => {
                // Lets the server flush what it has before the end.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
