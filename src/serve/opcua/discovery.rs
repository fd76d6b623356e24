//! GetEndpoints and FindServers (Part 4, 5.5): what this server offers. Needs no session and works on a channel without
//! security, for whoever must find out what to connect to.

use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};

use super::{
    Server,
    decode::{RequestHeader, Service},
    identity::certificates_are_used,
    live::PRODUCT_URI,
    send,
    wire::{Read, Reader, Writer},
};
use crate::{pki::OwnCertificate, tag::StatusCode};

/// Policy id of anonymous tokens.
pub const ANONYMOUS: &str = "anonymous";
/// Policy id of user-name tokens.
pub const USER_NAME: &str = "username";
/// Policy id of tokens with a certificate.
pub const CERTIFICATE: &str = "certificate";
const TRANSPORT: &str = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary";
const MAX_FILTER: usize = 100;

/// GetEndpoints.
pub fn get_endpoints(server: &Server, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Read<Vec<u8>> {
    let url = body.text()?;
    read_texts(body)?;
    let profiles = read_texts(body)?;
    let mut w = send::response(Service::GetEndpoints.response(), header.handle, StatusCode::GOOD);
    if profiles.is_empty() || profiles.contains(&TRANSPORT) {
        endpoints(server, &server.own.load(), url, &mut w);
    } else {
        w.count(0);
    }
    Ok(w.0)
}

/// FindServers: ourselves and the others of a redundant set (Part 4, 6.6.2.4.5), unless other servers are asked for.
pub fn find_servers(server: &Server, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Read<Vec<u8>> {
    let url = body.text()?;
    read_texts(body)?;
    let uris = read_texts(body)?;
    let mut w = send::response(Service::FindServers.response(), header.handle, StatusCode::GOOD);
    let own = &server.settings.application_uri;
    let mut servers = vec![(own.clone(), server.url_for(url))];
    servers.extend(server.gateway.redundancy().servers.into_iter().filter(|(uri, _)| uri != own));
    servers.retain(|(uri, _)| uris.is_empty() || uris.contains(&uri.as_str()));
    w.count(servers.len());
    for (uri, url) in servers {
        application(server, &uri, &url, &mut w);
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
pub fn endpoints(server: &Server, own: &OwnCertificate, url: &str, w: &mut Writer) {
    let url = server.url_for(url);
    let mut offered = Vec::new();
    for policy in &server.settings.security {
        if *policy == SecurityPolicy::None {
            offered.push((*policy, MessageSecurityMode::None, 0));
        } else {
            let strength = if *policy == SecurityPolicy::Aes256Sha256RsaPss { 20 } else { 10 };
            for (mode, more) in [(MessageSecurityMode::SignAndEncrypt, 5), (MessageSecurityMode::Sign, 0)] {
                if server.settings.modes.contains(&mode) {
                    offered.push((*policy, mode, strength + more));
                }
            }
        }
    }
    // Without security nobody but an anonymous user can log in.
    offered.retain(|(policy, ..)| *policy != SecurityPolicy::None || server.settings.anonymous.is_some());
    w.count(offered.len());
    for (policy, mode, level) in offered {
        w.text(&url);
        application(server, &server.settings.application_uri, &url, w);
        w.bytes(own.certificate.as_byte_string().as_ref());
        w.u32(mode as u32);
        w.text(policy.to_uri());
        token_policies(server, policy, w);
        w.text(TRANSPORT);
        w.u8(level);
    }
}

fn token_policies(server: &Server, policy: SecurityPolicy, w: &mut Writer) {
    let secured = policy != SecurityPolicy::None;
    let offered = [
        (ANONYMOUS, 0, server.settings.anonymous.is_some()),
        (USER_NAME, 1, secured),
        (CERTIFICATE, 2, secured && certificates_are_used(&server.gateway.plan())),
    ];
    w.count(offered.iter().filter(|(.., offered)| *offered).count());
    for (id, kind, _) in offered.into_iter().filter(|(.., offered)| *offered) {
        w.text(id);
        w.u32(kind);
        w.null();
        w.null();
        // The channel's own policy protects the password and makes the signature.
        w.null();
    }
}

fn application(server: &Server, uri: &str, url: &str, w: &mut Writer) {
    w.text(uri);
    w.text(PRODUCT_URI);
    w.localized_text(&server.settings.application_name);
    w.u32(0);
    w.null();
    w.null();
    w.texts(&[url]);
}
