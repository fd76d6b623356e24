//! The client's side of OPC UA over TCP (Part 4; Part 6, 6.7 and 7): connection, secure channel, session and the services that a
//! source of values needs.
//!
//! The library's client is not used, because its decoder follows nested DiagnosticInfo and DataValue without a limit and buffers
//! what a header announces: one message of a hostile or broken server ended the program. Here every answer is read by
//! [`super::wire`] and [`data`], must belong to a request of ours and be of its type, and is bounded by [`limits`].
//!
//! One connection is one session; nothing is reconnected here. Deliberately absent: Call, history, events, discovery beyond
//! GetEndpoints, X.509 user tokens.

pub mod channel;
pub mod connection;
pub mod data;
pub mod endpoints;
pub mod frame;
pub mod limits;
pub mod message;
pub mod services;
pub mod session;
pub mod subscription;

use std::{fmt, time::Duration};

use crate::tag::StatusCode;

/// Why something did not come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nobody answers at the address.
    Unreachable,
    /// No answer in this time.
    Late(Duration),
    /// The server answered this request with this code.
    Refused(StatusCode),
    /// The server ended the connection with this code.
    Ended(StatusCode),
    /// The connection ended without a word.
    Closed,
    /// The server sent what it must not: a sentence's end.
    Broken(String),
    /// Something of ours: a sentence.
    Unusable(String),
}

impl Error {
    /// What the server sent breaks a rule.
    #[must_use]
    pub fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }

    /// The code that the server gave.
    #[must_use]
    pub const fn code(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(code) | Self::Ended(code) => Some(*code),
            _ => None,
        }
    }

    /// The error as the quality of a single operation.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Refused(code) => *code,
            Self::Late(_) => StatusCode::BAD_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_COMMUNICATION_ERROR,
            Self::Unreachable | Self::Ended(_) | Self::Closed | Self::Unusable(_) => StatusCode::BAD_NO_COMMUNICATION,
        }
    }
}

impl From<super::wire::Malformed> for Error {
    fn from(_: super::wire::Malformed) -> Self {
        Self::broken("an answer is malformed")
    }
}

impl From<super::secure::Insecure> for Error {
    fn from(_: super::secure::Insecure) -> Self {
        Self::broken("its signature, encryption or padding is wrong")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("nothing answers"),
            Self::Late(time) => write!(f, "no answer within {time:?}"),
            Self::Refused(code) => write!(f, "{}", name(*code)),
            Self::Ended(code) => write!(f, "the connection was lost: the server ended it with {}", name(*code)),
            Self::Closed => f.write_str("the connection was lost"),
            Self::Broken(what) => write!(f, "the server sent a message that cannot be decoded: {what}"),
            Self::Unusable(what) => f.write_str(what),
        }
    }
}

/// A code as the standard names it, also one that this program never uses itself.
#[must_use]
pub fn name(code: StatusCode) -> impl fmt::Display {
    opcua::types::StatusCode::from(code.0)
}

/// What a server says of itself, fit to be shown: bounded, one line.
#[must_use]
pub fn words(text: &str) -> String {
    text.chars().take(limits::WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
