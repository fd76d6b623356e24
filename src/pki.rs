//! The PKI folder: this program's own certificate and the trust list, shared by the OPC UA server and the OPC UA client.
//!
//! ```text
//! pki/own/cert.der      our certificate            pki/trusted/      certificates of peers, and authorities, that are let in
//! pki/private/key.pem   our key, mode 0600         pki/trusted/crl/  revocation lists of those authorities
//! pki/own/next/         the certificate and the    pki/issuers/      authorities that only complete chains
//! pki/private/next/     key that follow them       pki/issuers/crl/  their revocation lists
//! pki/rejected/         certificates that knocked and wait for a person
//! ```
//!
//! Files are DER or PEM under any name. What changed in the folder counts at the next check, so that `pki trust` needs no restart.
//! [`trust`] says when a certificate is trusted.

mod own;
pub mod trust;
pub mod x509;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use opcua::crypto::X509;
pub use own::{OwnCertificate, Renewal};
use trust::{Lists, Stamp};
pub use trust::{Reason, Trust};
use x509::{Certificate, Purpose, split_chain};

use crate::tag::Timestamp;

/// The most certificates kept in `rejected/`; the oldest make room for new ones, so that strangers cannot fill the disk.
pub const MAX_REJECTED: usize = 100;
/// The most files of one folder that are looked at.
pub const MAX_FILES: usize = 2_000;
/// The largest certificate file in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// The fewest hexadecimal digits that name a certificate.
const MIN_PREFIX: usize = 4;

/// The folder with everything in it.
#[derive(Clone, Debug)]
pub struct Pki {
    dir: PathBuf,
    known: Arc<Mutex<Option<Known>>>,
}

/// What was read last, and from what.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    lists: Arc<Lists>,
}

/// A part of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Our own certificate.
    Own,
    /// The one that follows it.
    Next,
    /// Peers and authorities that are let in.
    Trusted,
    /// Authorities that only complete chains.
    Issuers,
    /// Peers that knocked.
    Rejected,
}

impl Folder {
    /// The name of the directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Next => "own/next",
            Self::Trusted => "trusted",
            Self::Issuers => "issuers",
            Self::Rejected => "rejected",
        }
    }
}

/// One certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub folder: Folder,
    /// SHA-1 of the certificate in hexadecimal digits.
    pub thumbprint: String,
    /// Its subject.
    pub subject: String,
    /// It may issue others.
    pub authority: bool,
    /// Valid from.
    pub from: Timestamp,
    /// Valid until.
    pub until: Timestamp,
    /// The file.
    pub file: PathBuf,
}

impl Pki {
    /// Opens the folder, making it where it is missing, for the owner only.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let pki = Self { dir: dir.into(), known: Arc::default() };
        make_private_dir(&pki.dir)?;
        for name in ["own", "private", "trusted", "trusted/crl", "rejected", "issuers", "issuers/crl"] {
            make_private_dir(&pki.dir.join(name))?;
        }
        Ok(pki)
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the trust list says of the certificate of a server that our client connects to, at the time `now`. An unknown one is
    /// stored in `rejected/`.
    #[must_use]
    pub fn check(&self, certificate: &X509, now: Timestamp) -> Trust {
        let unreadable = || Trust::Refused { thumbprint: certificate.thumbprint().as_hex_string(), reason: Reason::Unreadable };
        certificate.to_der().map_or_else(|_| unreadable(), |der| self.check_der(&der, Purpose::Server, now))
    }

    /// What the trust list says of what a peer sent as its certificate: its own, and perhaps the rest of its chain behind it. An
    /// unknown one is stored in `rejected/`. Reads files, so off the reactor.
    #[must_use]
    pub fn check_der(&self, der: &[u8], purpose: Purpose, now: Timestamp) -> Trust {
        let (leaf, sent) = split_chain(der);
        let Ok(certificate) = Certificate::read(leaf) else {
            return Trust::Refused { thumbprint: x509::thumbprint(leaf), reason: Reason::Unreadable };
        };
        let trust = self.lists().check(&certificate, sent, purpose, now);
        if let Trust::Untrusted { thumbprint } | Trust::Refused { thumbprint, reason: Reason::ChainIncomplete } = &trust {
            self.store_rejected(thumbprint, leaf);
        }
        trust
    }

    /// Checks that the certificate `der` of a server names its application and the host that it was reached under (Part 4, 6.1.3).
    /// A certificate that a person trusted by itself may differ, with a log line: that very server was meant.
    ///
    /// # Errors
    /// A sentence: what it does not name.
    pub fn check_names(&self, der: &[u8], application_uri: &str, host: &str) -> Result<(), String> {
        let Ok(certificate) = Certificate::read(der) else { return Err("the server's certificate cannot be read".into()) };
        let missing = if !certificate.has_uri(application_uri) {
            format!("ApplicationUri {application_uri}")
        } else if !certificate.has_host(host) {
            format!("host {host}")
        } else {
            return Ok(());
        };
        let thumbprint = certificate.thumbprint();
        if self.lists().has_pinned(der) {
            tracing::info!(thumbprint, "the server's certificate does not name its {missing}; it is trusted by itself");
            return Ok(());
        }
        Err(format!("the server's certificate (thumbprint {thumbprint}) does not name its {missing}: give the server another"))
    }

    fn lists(&self) -> Arc<Lists> {
        let stamp = Lists::stamp(&self.dir);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known
            && known.stamp == stamp
        {
            return Arc::clone(&known.lists);
        }
        let lists = Arc::new(Lists::read(&self.dir));
        *known = Lists::settled(&stamp, SystemTime::now()).then(|| Known { stamp, lists: Arc::clone(&lists) });
        lists
    }

    /// Every certificate that can be read, our own first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let folders = [Folder::Own, Folder::Next, Folder::Trusted, Folder::Issuers, Folder::Rejected];
        folders.into_iter().flat_map(|folder| self.list_folder(folder)).collect()
    }

    /// Trusts the rejected certificate whose thumbprint begins with `prefix`.
    ///
    /// # Errors
    /// A fragment: none or several begin so, or the file cannot be moved.
    pub fn trust(&self, prefix: &str) -> Result<Listed, String> {
        self.move_between(prefix, Folder::Rejected, Folder::Trusted)
    }

    /// Takes the trust away from the certificate whose thumbprint begins with `prefix`.
    ///
    /// # Errors
    /// A fragment: none or several begin so, or the file cannot be moved.
    pub fn reject(&self, prefix: &str) -> Result<Listed, String> {
        self.move_between(prefix, Folder::Trusted, Folder::Rejected)
    }

    fn list_folder(&self, folder: Folder) -> Vec<Listed> {
        let mut listed: Vec<_> = files(&self.dir.join(folder.name()))
            .into_iter()
            .filter_map(|file| {
                let certificate = read_certificate(&file)?;
                let (thumbprint, authority) = (certificate.thumbprint(), certificate.is_authority());
                let Certificate { subject_name: subject, from, until, .. } = certificate;
                Some(Listed { folder, thumbprint, subject, authority, from, until, file })
            })
            .collect();
        listed.sort_by(|a, b| a.thumbprint.cmp(&b.thumbprint));
        listed
    }

    fn move_between(&self, prefix: &str, from: Folder, to: Folder) -> Result<Listed, String> {
        let prefix: String = prefix.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_ascii_lowercase();
        if prefix.len() < MIN_PREFIX || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("find a certificate: a thumbprint has hexadecimal digits, at least its first {MIN_PREFIX}"));
        }
        let mut found = self.list_folder(from);
        found.retain(|listed| listed.thumbprint.starts_with(&prefix));
        // Copies of one certificate under several names are one certificate.
        let copies = found.clone();
        found.dedup_by(|a, b| a.thumbprint == b.thumbprint);
        let listed = match found.len() {
            1 => found.remove(0),
            0 => {
                let there = self.list_folder(to).iter().any(|listed| listed.thumbprint.starts_with(&prefix));
                let hint = if there { "it is there already" } else { "`annunciator pki list` shows what there is" };
                return Err(format!("find a certificate {prefix}… in {}/; {hint}", from.name()));
            }
            several => return Err(format!("choose: {several} certificates in {}/ begin with {prefix}", from.name())),
        };
        let file = self.dir.join(to.name()).join(format!("{}.der", listed.thumbprint));
        let der = read_certificate(&listed.file).ok_or_else(|| format!("read {}", listed.file.display()))?.der;
        write_private(&file, &der).map_err(|error| format!("write {}: {error}", file.display()))?;
        for copy in copies {
            fs::remove_file(&copy.file).map_err(|error| format!("remove {}: {error}", copy.file.display()))?;
        }
        Ok(Listed { folder: to, file, ..listed })
    }

    fn store_rejected(&self, thumbprint: &str, der: &[u8]) {
        let folder = self.dir.join("rejected");
        let file = folder.join(format!("{thumbprint}.der"));
        if file.exists() {
            return;
        }
        let mut there: Vec<_> =
            files(&folder).into_iter().map(|file| (fs::metadata(&file).and_then(|about| about.modified()).ok(), file)).collect();
        there.sort();
        let surplus = (there.len() + 1).saturating_sub(MAX_REJECTED);
        for (_, oldest) in there.into_iter().take(surplus) {
            let _ = fs::remove_file(oldest);
        }
        match write_private(&file, der) {
            Ok(()) => tracing::info!(thumbprint, "unknown certificate stored in {}", folder.display()),
            Err(error) => tracing::warn!(thumbprint, "failed to store the refused certificate: {error}"),
        }
    }
}

/// The regular files of a folder, at most [`MAX_FILES`].
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).take(MAX_FILES).collect()
}

fn read_certificate(file: &Path) -> Option<Certificate> {
    if fs::metadata(file).ok()?.len() > MAX_FILE {
        return None;
    }
    Certificate::from_file(&fs::read(file).ok()?).ok()
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Writes the whole file or nothing: first beside it, then into its place.
fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&beside)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests;
