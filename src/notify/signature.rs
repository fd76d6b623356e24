//! `X-Twilio-Signature`: proof that a webhook comes from Twilio (Twilio, "Webhooks security", "Validating requests").
//!
//! A signature proves origin, not freshness: whoever takes a webhook drops repeats by its SID. Which URL was signed is the
//! caller's to know; it comes from the configuration, never from the request's `Host`.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// What a webhook carries besides its URL.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Decoded form parameters, in any order. Empty for a GET.
    Form(&'a [(String, String)]),
    /// A body of another type, as received; its SHA-256 stands in the URL as `bodySHA256`.
    Raw(&'a [u8]),
}

/// The signature of a webhook: HMAC-SHA1 keyed with the account's Auth Token over the URL and, for a form, its parameters sorted
/// by key, each key followed by its value; of a repeated key the distinct values, sorted. Base64.
///
/// `url` is exactly what is requested, without a fragment.
#[must_use]
pub fn sign(token: &str, url: &str, payload: Payload<'_>) -> String {
    BASE64.encode(mac(token, url, payload))
}

/// True when `signature` was made with one of `tokens` (the present Auth Token, and another one during rotation).
///
/// Twilio is inconsistent about the port and about apostrophes in the query, so the URL is tried as given, with the scheme's
/// standard port, without any port, and with apostrophes escaped; the official libraries do the same. Takes the same time
/// wherever the signature differs.
#[must_use]
pub fn verify(tokens: &[&str], url: &str, payload: Payload<'_>, signature: &str) -> bool {
    let Ok(claimed) = BASE64.decode(signature) else { return false };
    if let Payload::Raw(body) = payload
        && !body_hash_matches(url, body)
    {
        return false;
    }
    let mut valid = subtle::Choice::from(0);
    for url in spellings(url) {
        for token in tokens {
            valid |= mac(token, &url, payload).as_slice().ct_eq(&claimed);
        }
    }
    valid.into()
}

fn mac(token: &str, url: &str, payload: Payload<'_>) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    if let Payload::Form(parameters) = payload {
        let mut sorted = BTreeMap::<&str, Vec<&str>>::new();
        for (key, value) in parameters {
            sorted.entry(key).or_default().push(value);
        }
        for (key, mut values) in sorted {
            values.sort_unstable();
            values.dedup();
            for value in values {
                mac.update(key.as_bytes());
                mac.update(value.as_bytes());
            }
        }
    }
    mac.finalize().into_bytes().to_vec()
}

/// The spellings of `url` under which Twilio may have signed it; all different.
fn spellings(url: &str) -> Vec<String> {
    let mut found = vec![url.to_owned()];
    if let Some((start, host, rest)) = split_authority(url) {
        let bare = without_port(host);
        let port = if start.starts_with("https") { 443 } else { 80 };
        found.push(format!("{start}{bare}{rest}"));
        if bare.len() == host.len() {
            found.push(format!("{start}{bare}:{port}{rest}"));
        }
    }
    if let Some((path, query)) = url.split_once('?')
        && query.contains('\'')
    {
        found.push(format!("{path}?{}", query.replace('\'', "%27")));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Scheme with user part, host with port, and the rest.
fn split_authority(url: &str) -> Option<(&str, &str, &str)> {
    let authority = url.find("://")? + 3;
    let end = url[authority..].find(['/', '?']).map_or(url.len(), |at| authority + at);
    let host = url[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
    Some((&url[..host], &url[host..end], &url[end..]))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    }
}

fn body_hash_matches(url: &str, body: &[u8]) -> bool {
    use sha2::{Digest, Sha256};
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let Some((_, claimed)) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "bodySHA256") else { return false };
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(body) {
        let _ = write!(hash, "{byte:02x}");
    }
    hash.as_bytes().ct_eq(claimed.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../tests/fixtures/twilio-signatures.json");
    const TOKEN: &str = "12345";

    fn parameters(value: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Some(map) = value.as_object() else { return Vec::new() };
        map.iter()
            .flat_map(|(key, value)| match value {
                Value::Array(list) => list.iter().map(|value| (key.clone(), text(value))).collect(),
                single => vec![(key.clone(), text(single))],
            })
            .collect()
    }

    /// Every vector of the official libraries' own tests. Row "apostrophe in query" is valid in the node library alone; we take
    /// it as node does, because Twilio has been seen to sign that spelling.
    #[test]
    fn agrees_with_the_official_libraries() {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        assert_eq!(vectors.len(), 34);
        for vector in &vectors {
            let text = |key: &str| vector[key].as_str().unwrap_or_default();
            let form = parameters(&vector["params"]);
            let payload = match vector["body"].as_str() {
                Some(body) => Payload::Raw(body.as_bytes()),
                None => Payload::Form(&form),
            };
            let verdict = verify(&["another", text("token")], text("url"), payload, text("signature"));
            assert_eq!(verdict, vector["valid"].as_bool().unwrap(), "{}", text("name"));
            assert!(!verify(&["another"], text("url"), payload, text("signature")), "{}", text("name"));
            let plain = sign(text("token"), text("url"), payload) == text("signature");
            assert_eq!(plain, vector["plain_formula_on_given_url"].as_bool().unwrap(), "{}", text("name"));
        }
    }

    #[test]
    fn every_bit_of_the_signature_counts() {
        let form = [("To".to_owned(), "+15550001111".to_owned())];
        let good = sign(TOKEN, "https://plant.example.com/x", Payload::Form(&form));
        assert!(verify(&[TOKEN], "https://plant.example.com/x", Payload::Form(&form), &good));
        let bytes = BASE64.decode(&good).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&[TOKEN], "https://plant.example.com/x", Payload::Form(&form), &BASE64.encode(wrong)));
        }
        assert!(!verify(&[TOKEN], "https://plant.example.com/x", Payload::Form(&form), &good[..8]));
        assert!(!verify(&[], "https://plant.example.com/x", Payload::Form(&form), &good));
        assert!(
            !verify(&[TOKEN], "https://plant.example.com/x", Payload::Raw(b""), &good),
            "a raw body needs its hash in the URL"
        );
    }

    #[test]
    fn ports_are_optional_where_twilio_is_inconsistent() {
        let cases = [
            ("https://h/x", vec!["https://h/x", "https://h:443/x"]),
            ("http://h", vec!["http://h", "http://h:80"]),
            ("https://h:8443/x?a=1", vec!["https://h/x?a=1", "https://h:8443/x?a=1"]),
            ("https://[2001:db8::1]:8443/x", vec!["https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x"]),
            ("https://[2001:db8::1]/x", vec!["https://[2001:db8::1]/x", "https://[2001:db8::1]:443/x"]),
            ("no url", vec!["no url"]),
        ];
        for (url, expected) in cases {
            assert_eq!(spellings(url), expected, "{url}");
        }
    }
}
