//! GetEndpoints (Part 4, 5.5.4): what a server offers.

use opcua::types::{MessageSecurityMode, NodeId};

use super::{Error, connection::Connection, limits, message};
use crate::ua::wire::{Malformed, Read, Reader};

/// One way into a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// As the server calls itself.
    pub url: String,
    /// The server's ApplicationUri.
    pub application: String,
    /// Its certificate with its chain, DER; empty for none.
    pub certificate: Vec<u8>,
    /// `None` for a number that the standard does not give.
    pub mode: Option<MessageSecurityMode>,
    /// The security policy's URI.
    pub policy: String,
    /// How users may log in.
    pub tokens: Vec<TokenPolicy>,
    /// The transport's URI; some servers leave it empty.
    pub transport: String,
}

/// A kind of user token that a server takes.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenPolicy {
    /// Returned with the token.
    pub id: String,
    /// What kind.
    pub kind: TokenKind,
    /// The policy that secures it; empty for the channel's.
    pub policy: String,
}

/// Kinds of user tokens (Part 4, 7.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TokenKind {
    Anonymous,
    UserName,
    Other,
}

/// Asks the server for its endpoints.
///
/// # Errors
/// When it does not answer or not as the standard says.
pub async fn get_endpoints(connection: &Connection, url: &str) -> Result<Vec<Endpoint>, Error> {
    let answer = connection
        .call(message::GET_ENDPOINTS, &NodeId::null(), |w| {
            w.text(url);
            w.null();
            w.null();
        })
        .await?;
    Ok(read_endpoints(&mut answer.reader())?)
}

/// Reads an array of EndpointDescription.
///
/// # Errors
/// When it is malformed or there are more than [`limits::ENDPOINTS`].
pub fn read_endpoints(reader: &mut Reader<'_>) -> Read<Vec<Endpoint>> {
    let count = reader.count(1)?;
    if count > limits::ENDPOINTS {
        return Err(Malformed);
    }
    let mut endpoints = Vec::new();
    for _ in 0..count {
        endpoints.push(read_endpoint(reader)?);
    }
    Ok(endpoints)
}

fn read_endpoint(reader: &mut Reader<'_>) -> Read<Endpoint> {
    let url = reader.text()?.to_owned();
    let application = read_application(reader)?;
    let certificate = reader.bytes()?.unwrap_or_default();
    if certificate.len() > limits::CERTIFICATE {
        return Err(Malformed);
    }
    let mode = match reader.u32()? {
        1 => Some(MessageSecurityMode::None),
        2 => Some(MessageSecurityMode::Sign),
        3 => Some(MessageSecurityMode::SignAndEncrypt),
        _ => None,
    };
    let policy = reader.text()?.to_owned();
    let count = reader.count(1)?;
    if count > limits::TOKENS {
        return Err(Malformed);
    }
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(read_token(reader)?);
    }
    let transport = reader.text()?.to_owned();
    let _level = reader.u8()?;
    Ok(Endpoint { url, application, certificate: certificate.to_vec(), mode, policy, tokens, transport })
}

/// The ApplicationUri of an ApplicationDescription.
fn read_application(reader: &mut Reader<'_>) -> Read<String> {
    let uri = reader.text()?.to_owned();
    reader.bytes()?;
    reader.localized_text()?;
    reader.u32()?;
    reader.bytes()?;
    reader.bytes()?;
    for _ in 0..reader.count(4)? {
        reader.bytes()?;
    }
    Ok(uri)
}

fn read_token(reader: &mut Reader<'_>) -> Read<TokenPolicy> {
    let id = reader.text()?.to_owned();
    let kind = match reader.u32()? {
        0 => TokenKind::Anonymous,
        1 => TokenKind::UserName,
        _ => TokenKind::Other,
    };
    reader.bytes()?;
    reader.bytes()?;
    Ok(TokenPolicy { id, kind, policy: reader.text()?.to_owned() })
}
