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

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::ua::wire::Reader;

    /// Everything that is done with bytes of a server before anybody looks at the result.
    fn read_all(bytes: &[u8]) {
        let mut frames = BytesMut::from(bytes);
        while let Ok(Some(frame)) = frame::next(&mut frames) {
            let _ = (frame::acknowledge(&frame), frame::error(&frame));
        }
        let _ = data::Decoder::new(Reader::new(bytes)).data_value();
        let _ = endpoints::read_endpoints(&mut Reader::new(bytes));
        let message = Bytes::copy_from_slice(bytes);
        for service in [message::READ, message::PUBLISH, message::BROWSE] {
            if let Ok(Ok(response)) = message::response(message.clone(), service, 0) {
                let _ = subscription::published(&response);
            }
        }
    }

    /// The answer to a Publish with a value in it, by hand: header, subscription, message, one DataChangeNotification.
    fn published(value: &[u8]) -> Vec<u8> {
        let header = [&[1, 0, 0x3D, 3][..], &[0; 16], &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]].concat();
        let items = [&[1, 0, 0, 0, 7, 0, 0, 0][..], value, &[0xff; 4]].concat();
        let length = u32::try_from(items.len()).unwrap().to_le_bytes();
        let message = [&[9, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0][..], &[0; 8], &[1, 0, 0, 0]].concat();
        [&header[..], &message, &[1, 0, 0x2B, 3, 1], &length, &items, &[0xff; 8]].concat()
    }

    #[test]
    fn the_message_that_is_changed_below_is_right_at_first() {
        let answer = message::response(published(&[1, 6, 7, 0, 0, 0]).into(), message::PUBLISH, 0).unwrap().unwrap();
        assert_eq!(subscription::published(&answer).unwrap().1.values.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            read_all(&bytes);
            read_all(&published(&bytes));
        }

        #[test]
        fn no_change_of_a_message_makes_the_reader_panic(changes in proptest::collection::vec((0_usize..80, any::<u8>()), 1..6)) {
            let mut bytes = published(&[1, 0x86, 2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0]);
            for (place, byte) in changes {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            read_all(&bytes);
        }
    }
}
