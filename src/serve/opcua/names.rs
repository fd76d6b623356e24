//! The ApplicationUri in a certificate (Part 6, 6.2.2): a URI anywhere among its subject alternative names. The library looks at
//! the first name only, and clients of good repute put the host there.

/// id-ce-subjectAltName, as DER.
const SUBJECT_ALTERNATIVE_NAMES: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x11];
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const URI: u8 = 0x86;

/// True when the certificate `der` names `uri`.
pub fn has_uri(der: &[u8], uri: &str) -> bool {
    let places = der.windows(SUBJECT_ALTERNATIVE_NAMES.len()).enumerate();
    let place = places.filter(|(_, window)| *window == SUBJECT_ALTERNATIVE_NAMES).map(|(place, _)| place).next();
    place.and_then(|place| names(&der[place + SUBJECT_ALTERNATIVE_NAMES.len()..])).is_some_and(|mut names| {
        while let Some((tag, content, rest)) = element(names) {
            if tag == URI && content == uri.as_bytes() {
                return true;
            }
            names = rest;
        }
        false
    })
}

/// The content of GeneralNames, from what follows the extension's id.
fn names(mut rest: &[u8]) -> Option<&[u8]> {
    if let (BOOLEAN, _, after) = element(rest)? {
        rest = after;
    }
    let (OCTET_STRING, value, _) = element(rest)? else { return None };
    let (SEQUENCE, names, _) = element(value)? else { return None };
    Some(names)
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        0..=0x7F => (usize::from(*length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), &rest[2..]),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_may_stand_anywhere() {
        let names = b"\x82\x02vm\x86\x0Aurn:vm:hmi";
        for critical in [&b""[..], b"\x01\x01\xFF"] {
            let sequence = [&[SEQUENCE, 16][..], names].concat();
            let value = [critical, &[OCTET_STRING, 18], &sequence].concat();
            let der = [&b"junk"[..], &SUBJECT_ALTERNATIVE_NAMES, &value].concat();
            assert!(has_uri(&der, "urn:vm:hmi"));
            assert!(!has_uri(&der, "urn:vm:hm") && !has_uri(&der, "vm"));
            for end in 0..der.len() {
                assert!(!has_uri(&der[..end], "urn:vm:hmi"));
            }
        }
    }
}
