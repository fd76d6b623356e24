//! Whether a peer's certificate is trusted: the steps of Part 4, 6.1.3, over what lies in the folder.
//!
//! A certificate is trusted when it, or an authority of its chain, lies in `trusted/`; `issuers/` holds authorities that only
//! complete chains. Every authority of a chain needs its revocation list, also when it is empty; a list that is out of date still
//! counts. A certificate that lies in `trusted/` itself is pinned by a person: of its chain, what is known is checked.

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    files,
    x509::{Certificate, Purpose, RevocationList},
};
use crate::tag::{StatusCode, Timestamp};

/// The most certificates between a peer's own and the end of its chain.
const MAX_CHAIN: usize = 5;
/// The most authorities that a peer may send along.
const MAX_SENT: usize = 4;
/// The most signatures that are looked at for one certificate.
const MAX_SIGNATURES: usize = 16;
/// The fewest bits of an RSA key of anybody.
const MIN_RSA_BITS: usize = 2048;
/// The largest revocation list in bytes.
const MAX_LIST: u64 = 4 << 20;
/// A file that changed so lately may change again without its time telling.
const SETTLED: Duration = Duration::from_secs(2);

/// What is wrong with a certificate beyond being unknown or out of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read, or declares something critical that is not understood.
    Unreadable,
    /// Its issuer is not known here.
    ChainIncomplete,
    /// It is signed with SHA-1 or weaker, or its key is too short.
    Weak,
    /// It was not made for this use.
    UseNotAllowed,
    /// Its issuer is no authority, or may not have so many others below it.
    IssuerUseNotAllowed,
    /// Its issuer's certificate is not valid now.
    IssuerTimeInvalid,
    /// Its issuer has no revocation list here.
    RevocationUnknown,
    /// An issuer's issuer has none.
    IssuerRevocationUnknown,
    /// Its issuer took it back.
    Revoked,
    /// Its issuer's certificate was taken back.
    IssuerRevoked,
}

impl Reason {
    const fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "cannot be read, or asks for something unknown: give the peer a valid one",
            Self::ChainIncomplete => {
                "was issued by an authority that is not known here: put the authority's certificate into pki/trusted or pki/issuers"
            }
            Self::Weak => "is signed with SHA-1 or has a key under 2048 bits: give the peer another",
            Self::UseNotAllowed => "was not made for this use (key usage, extended key usage): give the peer another",
            Self::IssuerUseNotAllowed => "was issued by a certificate that may not issue it",
            Self::IssuerTimeInvalid => "was issued by an authority whose own certificate is not valid now",
            Self::RevocationUnknown | Self::IssuerRevocationUnknown => {
                "was issued by an authority without a revocation list here: put its list, also an empty one, into the crl folder \
                 beside the authority"
            }
            Self::Revoked => "was revoked by its authority",
            Self::IssuerRevoked => "was issued by an authority that was revoked",
        }
    }
}

/// What the trust list says of a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It, or an authority of its chain, is in `trusted/`, and all is well.
    Trusted,
    /// Nothing of it is in `trusted/`. It is in `rejected/` now.
    Untrusted {
        /// SHA-1 of the certificate in hexadecimal digits.
        thumbprint: String,
    },
    /// It is trusted but its validity has not begun.
    NotYetValid {
        /// SHA-1 of the certificate in hexadecimal digits.
        thumbprint: String,
        /// When it begins.
        from: Timestamp,
    },
    /// It is trusted but its validity is over.
    Expired {
        /// SHA-1 of the certificate in hexadecimal digits.
        thumbprint: String,
        /// When it ended.
        until: Timestamp,
    },
    /// It is refused for another reason.
    Refused {
        /// SHA-1 of the certificate in hexadecimal digits.
        thumbprint: String,
        /// Which.
        reason: Reason,
    },
}

impl Trust {
    /// True for [`Trust::Trusted`] only.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        *self == Self::Trusted
    }

    /// What a peer is told (Part 4, 6.1.3): as long as nothing of its chain is trusted, no more than that a check failed.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        StatusCode(match self {
            Self::Trusted => 0,
            Self::Untrusted { .. } | Self::Refused { reason: Reason::ChainIncomplete | Reason::Unreadable, .. } => 0x8013_0000,
            Self::NotYetValid { .. } | Self::Expired { .. } => 0x8014_0000,
            Self::Refused { reason, .. } => match reason {
                Reason::IssuerTimeInvalid => 0x8015_0000,
                Reason::UseNotAllowed => 0x8018_0000,
                Reason::IssuerUseNotAllowed => 0x8019_0000,
                Reason::RevocationUnknown => 0x801B_0000,
                Reason::IssuerRevocationUnknown => 0x801C_0000,
                Reason::Revoked => 0x801D_0000,
                Reason::IssuerRevoked => 0x801E_0000,
                Reason::Weak => 0x8114_0000,
                Reason::ChainIncomplete | Reason::Unreadable => 0x8013_0000,
            },
        })
    }
}

/// What is wrong and what to do about it; fits after "the server's certificate " or "the client's certificate ".
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("is trusted"),
            Self::Untrusted { thumbprint } => {
                write!(f, "is not trusted: compare its thumbprint {thumbprint}, then run `annunciator pki trust {thumbprint}`")
            }
            Self::NotYetValid { thumbprint, from } => {
                write!(f, "(thumbprint {thumbprint}) is valid only from {from}: check the clocks of both machines")
            }
            Self::Expired { thumbprint, until } => {
                write!(f, "(thumbprint {thumbprint}) expired on {until}: renew it on the peer, then trust the new one")
            }
            Self::Refused { thumbprint, reason: Reason::ChainIncomplete } => {
                write!(
                    f,
                    "(thumbprint {thumbprint}) {}, or run `annunciator pki trust {thumbprint}`",
                    Reason::ChainIncomplete.words()
                )
            }
            Self::Refused { thumbprint, reason } => write!(f, "(thumbprint {thumbprint}) {}", reason.words()),
        }
    }
}

/// Everything in the folder that decides about trust.
#[derive(Debug, Default)]
pub(super) struct Lists {
    trusted: HashSet<Vec<u8>>,
    /// Those of `trusted/` first.
    authorities: Vec<Certificate>,
    revocations: Vec<RevocationList>,
}

/// The files that [`Lists`] were read from, as far as a change can be seen without reading them.
pub(super) type Stamp = Vec<(PathBuf, u64, SystemTime)>;

/// The folders of certificates and of lists.
const CERTIFICATES: [&str; 2] = ["trusted", "issuers"];
const REVOCATIONS: [&str; 2] = ["trusted/crl", "issuers/crl"];

impl Lists {
    pub(super) fn stamp(dir: &Path) -> Stamp {
        let folders = CERTIFICATES.iter().chain(&REVOCATIONS);
        let files = folders.flat_map(|folder| files(&dir.join(folder)));
        let entry = |file: PathBuf| {
            let about = fs::metadata(&file).ok()?;
            Some((file, about.len(), about.modified().ok()?))
        };
        let mut stamp: Stamp = files.filter_map(entry).collect();
        stamp.sort();
        stamp
    }

    /// True when none of the files changed so lately that the next change might go unnoticed.
    pub(super) fn settled(stamp: &Stamp, now: SystemTime) -> bool {
        stamp.iter().all(|(_, _, changed)| now.duration_since(*changed).is_ok_and(|age| age > SETTLED))
    }

    pub(super) fn read(dir: &Path) -> Self {
        let mut lists = Self::default();
        for folder in CERTIFICATES {
            for file in files(&dir.join(folder)) {
                let Some(certificate) = super::read_certificate(&file) else { continue };
                if certificate.is_authority() {
                    lists.authorities.push(certificate.clone());
                }
                if folder == "trusted" {
                    lists.trusted.insert(certificate.der);
                }
            }
        }
        for file in REVOCATIONS.iter().flat_map(|folder| files(&dir.join(folder))) {
            let small = fs::metadata(&file).is_ok_and(|about| about.len() <= MAX_LIST);
            match small.then(|| fs::read(&file).ok()).flatten().map(|bytes| RevocationList::from_file(&bytes)) {
                Some(Ok(list)) => lists.revocations.push(list),
                _ => tracing::warn!("{} is not a whole revocation list and is passed over", file.display()),
            }
        }
        lists
    }

    /// True when a person trusted this certificate by itself.
    pub(super) fn has_pinned(&self, der: &[u8]) -> bool {
        self.trusted.contains(der)
    }

    /// What they say of `leaf`, which came with `sent` (DER after DER).
    pub(super) fn check(&self, leaf: &Certificate, sent: &[u8], purpose: Purpose, now: Timestamp) -> Trust {
        let thumbprint = leaf.thumbprint();
        let refused = |reason| Trust::Refused { thumbprint: thumbprint.clone(), reason };
        let pinned = self.has_pinned(&leaf.der);
        let (chain, whole) = self.chain(leaf, sent);
        if !pinned && !chain.iter().any(|authority| self.trusted.contains(&authority.der)) {
            return if whole { Trust::Untrusted { thumbprint } } else { refused(Reason::ChainIncomplete) };
        }
        if !pinned && !whole {
            return refused(Reason::ChainIncomplete);
        }
        let (from, until) = (leaf.from, leaf.until);
        if !leaf.is_strongly_signed() || leaf.rsa_bits < MIN_RSA_BITS {
            return refused(Reason::Weak);
        }
        if now < from {
            return Trust::NotYetValid { thumbprint, from };
        }
        if now > until {
            return Trust::Expired { thumbprint, until };
        }
        if chain.iter().any(|authority| now < authority.from || now > authority.until) {
            return refused(Reason::IssuerTimeInvalid);
        }
        if !leaf.may_be_used(purpose) {
            return refused(Reason::UseNotAllowed);
        }
        if chain.iter().enumerate().any(|(below, authority)| !authority.may_issue(below)) {
            return refused(Reason::IssuerUseNotAllowed);
        }
        self.revocation(leaf, &chain, pinned, now).map_or(Trust::Trusted, refused)
    }

    fn revocation(&self, leaf: &Certificate, chain: &[Arc<Certificate>], pinned: bool, now: Timestamp) -> Option<Reason> {
        let issued = std::iter::once(leaf).chain(chain.iter().map(Arc::as_ref));
        for (place, (certificate, issuer)) in issued.zip(chain).enumerate() {
            if certificate.der == issuer.der {
                continue;
            }
            let mut known = false;
            for list in self.revocations.iter().filter(|list| list.is_by(issuer)) {
                known = true;
                if list.next.is_some_and(|next| next < now) {
                    tracing::warn!(issuer = %certificate.issuer_name, "the revocation list is out of date: fetch the authority's new one");
                }
                if list.revokes(&certificate.serial) {
                    return Some(if place == 0 { Reason::Revoked } else { Reason::IssuerRevoked });
                }
            }
            if !known && !pinned {
                return Some(if place == 0 { Reason::RevocationUnknown } else { Reason::IssuerRevocationUnknown });
            }
        }
        None
    }

    /// The authorities from the leaf's issuer on, and whether they end with one that issued itself.
    fn chain(&self, leaf: &Certificate, sent: &[u8]) -> (Vec<Arc<Certificate>>, bool) {
        let mut rest = sent;
        let mut others = Vec::new();
        while !rest.is_empty() && others.len() < MAX_SENT {
            let (der, after) = super::x509::split_chain(rest);
            others.extend(Certificate::read(der).ok());
            rest = after;
        }
        let mut chain: Vec<Arc<Certificate>> = Vec::new();
        let mut signatures = 0;
        loop {
            let last = chain.last().map_or(leaf, Arc::as_ref);
            if last.is_self_issued() {
                return (chain, true);
            }
            if chain.len() == MAX_CHAIN {
                return (chain, false);
            }
            let candidates = self.authorities.iter().chain(&others).filter(|issuer| last.names_issuer(issuer));
            let issuer = candidates.take(MAX_SIGNATURES - signatures).find(|issuer| {
                signatures += 1;
                last.is_signed_by(issuer)
            });
            match issuer.cloned() {
                Some(issuer) => chain.push(Arc::new(issuer)),
                None => return (chain, false),
            }
        }
    }
}
