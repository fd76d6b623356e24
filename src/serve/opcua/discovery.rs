//! GetEndpoints and FindServers (Part 4, 5.5): what this server offers. Needs no session and works on a channel without
//! security, for whoever must find out what to connect to.

use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};

use super::{
    Server,
    decode::{RequestHeader, Service},
    live::PRODUCT_URI,
    send,
    wire::{Read, Reader, Writer},
};
use crate::tag::StatusCode;

/// Policy id of anonymous tokens.
pub const ANONYMOUS: &str = "anonymous";
/// Policy id of user-name tokens.
pub const USER_NAME: &str = "username";
const TRANSPORT: &str = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary";
const MAX_FILTER: usize = 100;

/// GetEndpoints.
pub fn get_endpoints(server: &Server, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Read<Vec<u8>> {
    let url = body.text()?;
    read_texts(body)?;
    let profiles = read_texts(body)?;
    let mut w = send::response(Service::GetEndpoints.response(), header.handle, StatusCode::GOOD);
    if profiles.is_empty() || profiles.contains(&TRANSPORT) {
        endpoints(server, url, &mut w);
    } else {
        w.count(0);
    }
    Ok(w.0)
}

/// FindServers: ourselves, unless other servers are asked for.
pub fn find_servers(server: &Server, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Read<Vec<u8>> {
    let url = body.text()?;
    read_texts(body)?;
    let uris = read_texts(body)?;
    let mut w = send::response(Service::FindServers.response(), header.handle, StatusCode::GOOD);
    if uris.is_empty() || uris.contains(&&*server.settings.application_uri) {
        w.count(1);
        application(server, &server.url_for(url), &mut w);
    } else {
        w.count(0);
    }
    Ok(w.0)
}

fn read_texts<'a>(body: &mut Reader<'a>) -> Read<Vec<&'a str>> {
    let count = body.count(4)?;
    let mut texts = Vec::new();
    for place in 0..count {
        let text = body.text()?;
        if place < MAX_FILTER {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// Writes the list of EndpointDescriptions, for a client that asked with `url`.
pub fn endpoints(server: &Server, url: &str, w: &mut Writer) {
    let url = server.url_for(url);
    let mut offered = Vec::new();
    for policy in &server.settings.security {
        if *policy == SecurityPolicy::None {
            offered.push((*policy, MessageSecurityMode::None, 0));
        } else {
            let strength = if *policy == SecurityPolicy::Aes256Sha256RsaPss { 20 } else { 10 };
            offered.push((*policy, MessageSecurityMode::SignAndEncrypt, strength + 5));
            offered.push((*policy, MessageSecurityMode::Sign, strength));
        }
    }
    // Without security nobody but an anonymous user can log in.
    offered.retain(|(policy, ..)| *policy != SecurityPolicy::None || server.settings.anonymous.is_some());
    w.count(offered.len());
    for (policy, mode, level) in offered {
        w.text(&url);
        application(server, &url, w);
        w.bytes(server.own.certificate.as_byte_string().as_ref());
        w.u32(mode as u32);
        w.text(policy.to_uri());
        token_policies(server, policy, w);
        w.text(TRANSPORT);
        w.u8(level);
    }
}

fn token_policies(server: &Server, policy: SecurityPolicy, w: &mut Writer) {
    let anonymous = server.settings.anonymous.is_some();
    let user_name = policy != SecurityPolicy::None;
    w.count(usize::from(anonymous) + usize::from(user_name));
    for (id, kind) in [(ANONYMOUS, 0), (USER_NAME, 1)] {
        if (kind == 0 && anonymous) || (kind == 1 && user_name) {
            w.text(id);
            w.u32(kind);
            w.null();
            w.null();
            // The channel's own policy protects the password.
            w.null();
        }
    }
}

fn application(server: &Server, url: &str, w: &mut Writer) {
    w.text(&server.settings.application_uri);
    w.text(PRODUCT_URI);
    w.localized_text(&server.settings.application_name);
    w.u32(0);
    w.null();
    w.null();
    w.texts(&[url]);
}
