//! What certificates and revocation lists say, read once into plain fields. The parser is x509-cert's, whose types nest to a fixed
//! depth and copy no more than is there; signatures are checked by ring. Deliberately absent: name constraints and policies, so a
//! certificate that declares them (or anything else unknown) critical is refused, as RFC 5280 (4.2) asks.

use std::collections::HashSet;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha1::Digest as _;
use x509_cert::{
    der::{
        Decode, Encode, Reader, SliceReader,
        asn1::{ObjectIdentifier, UintRef},
        oid::AssociatedOid,
        pem,
    },
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::Time,
};

use crate::tag::Timestamp;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SERVER_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// Extensions that may be critical: those that are looked at, and where revocation lists lie.
const UNDERSTOOD: [ObjectIdentifier; 7] = [
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    BasicConstraints::OID,
    SubjectAltName::OID,
    SubjectKeyIdentifier::OID,
    AuthorityKeyIdentifier::OID,
    ObjectIdentifier::new_unwrap("2.5.29.31"),
];

/// It is no certificate or list, or one that declares critical what is not understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl From<x509_cert::der::Error> for Unreadable {
    fn from(_: x509_cert::der::Error) -> Self {
        Self
    }
}

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a client of our server.
    Client,
    /// By a server that our client connects to.
    Server,
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// As it came.
    pub der: Vec<u8>,
    /// The subject's name, DER.
    pub subject: Vec<u8>,
    /// The issuer's name, DER.
    pub issuer: Vec<u8>,
    /// The subject's name, for people.
    pub subject_name: String,
    /// The issuer's name, for people.
    pub issuer_name: String,
    /// Its number among the issuer's.
    pub serial: Vec<u8>,
    /// Valid from.
    pub from: Timestamp,
    /// Valid until.
    pub until: Timestamp,
    /// The bits of an RSA key; zero for other keys.
    pub rsa_bits: usize,
    /// Its alternative names that are URIs.
    pub uris: Vec<String>,
    /// Its alternative names that are host names or addresses.
    pub hosts: Vec<String>,
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purposes: Option<Vec<ObjectIdentifier>>,
    subject_key: Option<Vec<u8>>,
    authority_key: Option<Vec<u8>>,
    key: SubjectPublicKeyInfoOwned,
    signed: Signed,
}

/// What a signature covers, and the signature.
#[derive(Clone, Debug)]
struct Signed {
    part: Vec<u8>,
    algorithm: AlgorithmIdentifierOwned,
    signature: Vec<u8>,
}

impl Signed {
    fn read(der: &[u8], algorithm: AlgorithmIdentifierOwned, signature: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = SliceReader::new(der)?;
        let part = reader.sequence(|parts| {
            let part = parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            Ok(part)
        })?;
        Ok(Self { part: part.to_vec(), algorithm, signature: signature.to_vec() })
    }

    /// True when the algorithm is none that can be forged today (SHA-1, MD5).
    fn is_strong(&self) -> bool {
        [RSA_SHA256, RSA_SHA384, RSA_SHA512, RSA_PSS, ECDSA_SHA256, ECDSA_SHA384].contains(&self.algorithm.oid)
    }

    fn is_by(&self, key: &SubjectPublicKeyInfoOwned) -> bool {
        let curve = || key.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok();
        let rsa = key.algorithm.oid == RSA;
        let candidates: &[&'static dyn VerificationAlgorithm] = match self.algorithm.oid {
            RSA_SHA256 if rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256],
            RSA_SHA384 if rsa => &[&signature::RSA_PKCS1_2048_8192_SHA384],
            RSA_SHA512 if rsa => &[&signature::RSA_PKCS1_2048_8192_SHA512],
            RSA_PSS if rsa => &[
                &signature::RSA_PSS_2048_8192_SHA256,
                &signature::RSA_PSS_2048_8192_SHA384,
                &signature::RSA_PSS_2048_8192_SHA512,
            ],
            ECDSA_SHA256 if curve() == Some(P256) => &[&signature::ECDSA_P256_SHA256_ASN1],
            ECDSA_SHA384 if curve() == Some(P256) => &[&signature::ECDSA_P256_SHA384_ASN1],
            ECDSA_SHA256 if curve() == Some(P384) => &[&signature::ECDSA_P384_SHA256_ASN1],
            ECDSA_SHA384 if curve() == Some(P384) => &[&signature::ECDSA_P384_SHA384_ASN1],
            _ => &[],
        };
        let Some(bits) = key.subject_public_key.as_bytes() else { return false };
        candidates.iter().any(|algorithm| UnparsedPublicKey::new(*algorithm, bits).verify(&self.part, &self.signature).is_ok())
    }
}

impl Certificate {
    /// Reads one from DER with nothing behind it.
    ///
    /// # Errors
    /// When it is malformed or declares something critical that is not understood.
    pub fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let read = x509_cert::Certificate::from_der(der)?;
        let tbs = &read.tbs_certificate;
        understood(tbs.extensions.as_deref().unwrap_or_default())?;
        let signature = read.signature.as_bytes().ok_or(Unreadable)?;
        if read.signature_algorithm != tbs.signature {
            return Err(Unreadable);
        }
        let (mut uris, mut hosts) = (Vec::new(), Vec::new());
        for name in tbs.get::<SubjectAltName>()?.map(|(_, names)| names.0).unwrap_or_default() {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
                GeneralName::DnsName(host) => hosts.push(host.to_string()),
                GeneralName::IpAddress(address) => hosts.extend(address_of(address.as_bytes())),
                _ => {}
            }
        }
        Ok(Self {
            der: der.to_vec(),
            subject: tbs.subject.to_der()?,
            issuer: tbs.issuer.to_der()?,
            subject_name: tbs.subject.to_string().replace(';', "/"),
            issuer_name: tbs.issuer.to_string(),
            serial: tbs.serial_number.as_bytes().to_vec(),
            from: stamp(tbs.validity.not_before)?,
            until: stamp(tbs.validity.not_after)?,
            rsa_bits: rsa_bits(&tbs.subject_public_key_info),
            uris,
            hosts,
            constraints: tbs.get()?.map(|(_, constraints)| constraints),
            usage: tbs.get()?.map(|(_, usage)| usage),
            purposes: tbs.get::<ExtendedKeyUsage>()?.map(|(_, purposes)| purposes.0),
            subject_key: tbs.get::<SubjectKeyIdentifier>()?.map(|(_, id)| id.0.as_bytes().to_vec()),
            authority_key: tbs
                .get::<AuthorityKeyIdentifier>()?
                .and_then(|(_, id)| id.key_identifier.map(|id| id.as_bytes().to_vec())),
            signed: Signed::read(der, read.signature_algorithm.clone(), signature)?,
            key: read.tbs_certificate.subject_public_key_info,
        })
    }

    /// Reads one from a file's bytes: DER, or PEM with one certificate.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_file(bytes: &[u8]) -> Result<Self, Unreadable> {
        if !bytes.starts_with(b"-----BEGIN") {
            return Self::read(bytes);
        }
        let (_, der) = pem::decode_vec(bytes).map_err(|_| Unreadable)?;
        Self::read(&der)
    }

    /// True when `uri` is among its alternative names (Part 6, 6.2.2).
    #[must_use]
    pub fn has_uri(&self, uri: &str) -> bool {
        self.uris.iter().any(|named| named == uri)
    }

    /// True when the host name or address `host` is among its alternative names.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|named| named.eq_ignore_ascii_case(host))
    }

    /// SHA-1 of the certificate in hexadecimal digits: how OPC UA names it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.der)
    }

    /// SHA-256 of the certificate in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&sha2::Sha256::digest(&self.der))
    }

    /// True when it names itself as its issuer.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// True when its own signature cannot be forged today.
    #[must_use]
    pub fn is_strongly_signed(&self) -> bool {
        self.signed.is_strong()
    }

    /// True when it may sign what application instances sign and encrypt what they encrypt, for this purpose (Part 6, 6.2.2).
    /// What it does not say is allowed.
    #[must_use]
    pub fn may_be_used(&self, purpose: Purpose) -> bool {
        let usage = self.usage.is_none_or(|KeyUsage(usage)| {
            usage.contains(KeyUsages::DigitalSignature)
                && (usage.contains(KeyUsages::DataEncipherment) || usage.contains(KeyUsages::KeyEncipherment))
        });
        let wanted = match purpose {
            Purpose::Client => CLIENT_AUTHENTICATION,
            Purpose::Server => SERVER_AUTHENTICATION,
        };
        let purposes = self.purposes.as_ref();
        usage && purposes.is_none_or(|purposes| purposes.contains(&wanted) || purposes.contains(&ANY_PURPOSE))
    }

    /// True when a person may sign with it.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.usage.is_none_or(|KeyUsage(usage)| usage.contains(KeyUsages::DigitalSignature))
    }

    /// True when it is an authority's.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// True when it may issue certificates with `below` authorities between it and the last one.
    #[must_use]
    pub fn may_issue(&self, below: usize) -> bool {
        let depth = self.constraints.as_ref().and_then(|constraints| constraints.path_len_constraint);
        self.is_authority()
            && depth.is_none_or(|depth| below <= usize::from(depth))
            && self.usage.is_none_or(|KeyUsage(usage)| usage.contains(KeyUsages::KeyCertSign))
    }

    /// True when `issuer` may have issued it by its names; the signature is another question.
    #[must_use]
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        let keys_agree = match (&self.authority_key, &issuer.subject_key) {
            (Some(wanted), Some(there)) => wanted == there,
            _ => true,
        };
        self.issuer == issuer.subject && keys_agree
    }

    /// True when `issuer` signed it.
    #[must_use]
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        self.signed.is_strong() && self.signed.is_by(&issuer.key)
    }
}

/// A revocation list.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// Its issuer's name, DER.
    pub issuer: Vec<u8>,
    /// When the next one was to come.
    pub next: Option<Timestamp>,
    revoked: HashSet<Vec<u8>>,
    signed: Signed,
}

impl RevocationList {
    /// Reads one from a file's bytes, DER or PEM.
    ///
    /// # Errors
    /// When it is malformed, or tells only of a part (a delta, or one limited to some certificates): those say so critically.
    pub fn from_file(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.starts_with(b"-----BEGIN") {
            let (_, der) = pem::decode_vec(bytes).map_err(|_| Unreadable)?;
            return Self::read(&der);
        }
        Self::read(bytes)
    }

    fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let read = x509_cert::crl::CertificateList::from_der(der)?;
        let tbs = &read.tbs_cert_list;
        understood(tbs.crl_extensions.as_deref().unwrap_or_default())?;
        let revoked = tbs.revoked_certificates.iter().flatten();
        Ok(Self {
            issuer: tbs.issuer.to_der()?,
            next: tbs.next_update.map(stamp).transpose()?,
            revoked: revoked.map(|entry| entry.serial_number.as_bytes().to_vec()).collect(),
            signed: Signed::read(der, read.signature_algorithm.clone(), read.signature.as_bytes().ok_or(Unreadable)?)?,
        })
    }

    /// True when `issuer` made it and may make such lists.
    #[must_use]
    pub fn is_by(&self, issuer: &Certificate) -> bool {
        self.issuer == issuer.subject
            && issuer.usage.is_none_or(|KeyUsage(usage)| usage.contains(KeyUsages::CRLSign))
            && self.signed.is_strong()
            && self.signed.is_by(&issuer.key)
    }

    /// True when the certificate with this number is on it.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.contains(serial)
    }
}

/// Splits what a peer sends as its certificate: its own, and the rest of its chain (Part 6, 6.2.4), DER after DER.
#[must_use]
pub fn split_chain(der: &[u8]) -> (&[u8], &[u8]) {
    let first = SliceReader::new(der).and_then(|mut reader| reader.tlv_bytes()).map_or(der.len(), <[u8]>::len);
    der.split_at(first)
}

/// SHA-1 of `der` in hexadecimal digits.
#[must_use]
pub fn thumbprint(der: &[u8]) -> String {
    hex(&sha1::Sha1::digest(der))
}

fn understood(extensions: &[Extension]) -> Result<(), Unreadable> {
    let known = extensions.iter().all(|extension| !extension.critical || UNDERSTOOD.contains(&extension.extn_id));
    known.then_some(()).ok_or(Unreadable)
}

fn stamp(time: Time) -> Result<Timestamp, Unreadable> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| Unreadable)?;
    jiff::Timestamp::from_second(seconds).map(Timestamp::from).map_err(|_| Unreadable)
}

fn rsa_bits(key: &SubjectPublicKeyInfoOwned) -> usize {
    let modulus = || {
        let mut reader = SliceReader::new(key.subject_public_key.as_bytes()?).ok()?;
        reader
            .sequence(|parts| {
                let modulus = UintRef::decode(parts)?;
                UintRef::decode(parts)?;
                Ok(modulus)
            })
            .ok()
    };
    let bits = |modulus: UintRef<'_>| {
        let bytes = modulus.as_bytes();
        bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize)
    };
    if key.algorithm.oid == RSA { modulus().map_or(0, bits) } else { 0 }
}

fn address_of(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
