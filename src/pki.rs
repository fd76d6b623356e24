//! The PKI folder: this program's own certificate and the trust list, shared by the OPC UA server and the OPC UA client.
//!
//! ```text
//! pki/own/cert.der      our certificate            pki/trusted/    certificates of peers that are let in
//! pki/private/key.pem   our key, mode 0600         pki/rejected/   certificates that knocked and wait for a person
//! pki/client/           the client library's copy  pki/issuers/    kept for certificate authorities
//!                       of what passed our check
//! ```
//!
//! A peer is trusted when its certificate equals, byte for byte, a file in `trusted/` (`.der` or `.pem`, any name); the folder
//! is read at every check, so that `pki trust` needs no restart. Deliberately absent: chains of authorities, revocation lists
//! and the renewal of our own certificate.

use std::{
    collections::HashSet,
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use opcua::{
    crypto::{PrivateKey, X509, X509Data},
    types::ByteString,
};

use crate::tag::Timestamp;

/// The most certificates kept in `rejected/`; further ones are dropped with a log line, so that strangers cannot fill the disk.
pub const MAX_REJECTED: usize = 100;
/// The most files of one folder that are looked at.
pub const MAX_FILES: usize = 2_000;
/// The largest certificate file in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Key length of our own certificate in bits.
const KEY_BITS: u32 = 2048;
/// How long our own certificate is valid, in days: five years.
const VALID_DAYS: u32 = 5 * 365;
/// Our own certificate within the folder.
const OWN_CERTIFICATE: &str = "own/cert.der";
/// The fewest hexadecimal digits that name a certificate.
const MIN_PREFIX: usize = 4;

/// Server and client may both ask for our certificate on first start; only one may make it.
static MAKING: Mutex<()> = Mutex::new(());

/// The folder with everything in it.
#[derive(Clone, Debug)]
pub struct Pki {
    dir: PathBuf,
}

/// Our own certificate with its key.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// What peers see.
    pub certificate: X509,
    /// What nobody sees.
    pub key: PrivateKey,
    /// Where the certificate lies.
    pub certificate_file: PathBuf,
    /// Where the key lies.
    pub key_file: PathBuf,
}

/// What the trust list says of a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is in `trusted/` and valid now.
    Trusted,
    /// It is not in `trusted/`. It is in `rejected/` now, unless that is full.
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
}

impl Trust {
    /// True for [`Trust::Trusted`] only.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        *self == Self::Trusted
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
        }
    }
}

/// A part of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Our own certificate.
    Own,
    /// Peers that are let in.
    Trusted,
    /// Peers that knocked.
    Rejected,
}

impl Folder {
    /// The name of the directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Trusted => "trusted",
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
        let pki = Self { dir: dir.into() };
        make_private_dir(&pki.dir)?;
        for name in ["own", "private", "trusted", "rejected", "issuers"] {
            make_private_dir(&pki.dir.join(name))?;
        }
        Ok(pki)
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// True when our own certificate is there already.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.dir.join(OWN_CERTIFICATE).exists()
    }

    /// Our own certificate for `application_uri`; on first start it is made, self-signed, with the URI, `hosts` (names or
    /// addresses), this computer's name and `localhost` as its alternative names (Part 6, 6.2.2).
    ///
    /// # Errors
    /// A fragment that says what is wrong with the files: unreadable, only one of the two there, not belonging together, or made
    /// for another application URI.
    pub fn own(&self, application_uri: &str, hosts: &[String]) -> Result<OwnCertificate, String> {
        let certificate_file = self.dir.join(OWN_CERTIFICATE);
        let key_file = self.dir.join("private/key.pem");
        let advice = format!("move {} and {} away to have new ones made", certificate_file.display(), key_file.display());
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        match (certificate_file.exists(), key_file.exists()) {
            (false, false) => make_own(application_uri, hosts, &certificate_file, &key_file)?,
            (true, true) => {}
            _ => return Err(format!("use our own certificate: its key or the certificate is missing; {advice}")),
        }
        let certificate = read_certificate(&certificate_file)
            .ok_or_else(|| format!("read our own certificate {}; {advice}", certificate_file.display()))?;
        let key =
            PrivateKey::read_pem_file(&key_file).map_err(|_| format!("read our own key {}; {advice}", key_file.display()))?;
        if !belong_together(&certificate, &key) {
            return Err(format!("use our own certificate: the key belongs to another one; {advice}"));
        }
        if certificate.is_application_uri_valid(application_uri).is_err() {
            return Err(format!("use our own certificate: it was not made for application_uri {application_uri}; {advice}"));
        }
        Ok(OwnCertificate { certificate, key, certificate_file, key_file })
    }

    /// What the trust list says of a peer's certificate at the time `now`. An unknown one is stored in `rejected/`.
    #[must_use]
    pub fn check(&self, certificate: &X509, now: Timestamp) -> Trust {
        let thumbprint = certificate.thumbprint().as_hex_string();
        let Ok(der) = certificate.to_der() else { return Trust::Untrusted { thumbprint } };
        let known = files(&self.dir.join("trusted")).iter().any(|file| read_der(file).is_some_and(|trusted| trusted == der));
        if !known {
            self.store_rejected(&thumbprint, &der);
            return Trust::Untrusted { thumbprint };
        }
        match validity(certificate) {
            Some((from, _)) if now < from => Trust::NotYetValid { thumbprint, from },
            Some((_, until)) if now > until => Trust::Expired { thumbprint, until },
            Some(_) => Trust::Trusted,
            None => Trust::Untrusted { thumbprint },
        }
    }

    /// Every certificate that can be read, our own first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        [Folder::Own, Folder::Trusted, Folder::Rejected].into_iter().flat_map(|folder| self.list_folder(folder)).collect()
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
                let (from, until) = validity(&certificate)?;
                let thumbprint = certificate.thumbprint().as_hex_string();
                Some(Listed { folder, thumbprint, subject: certificate.subject_name(), from, until, file })
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
        let der = read_der(&listed.file).ok_or_else(|| format!("read {}", listed.file.display()))?;
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
        if files(&folder).len() >= MAX_REJECTED {
            tracing::warn!(
                thumbprint,
                "certificate refused and not stored: {} is full, remove what is not needed",
                folder.display()
            );
            return;
        }
        match write_private(&file, der) {
            Ok(()) => tracing::info!(thumbprint, "unknown certificate stored in {}", folder.display()),
            Err(error) => tracing::warn!(thumbprint, "failed to store the refused certificate: {error}"),
        }
    }
}

fn make_own(application_uri: &str, hosts: &[String], certificate_file: &Path, key_file: &Path) -> Result<(), String> {
    let mut names = hosts.to_vec();
    names.extend(X509Data::computer_hostnames());
    names.push("localhost".to_owned());
    let mut known = HashSet::new();
    names.retain(|name| known.insert(name.to_ascii_lowercase()));
    let data = X509Data {
        key_size: KEY_BITS,
        common_name: "Annunciator".to_owned(),
        organization: "Annunciator".to_owned(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(application_uri, Some(names), false, false, false),
        certificate_duration_days: VALID_DAYS,
    };
    let (certificate, key) = X509::cert_and_pkey(&data).map_err(|error| format!("make our own certificate: {error}"))?;
    let der = certificate.to_der().map_err(|_| "encode our own certificate".to_owned())?;
    let secret = key.to_der().map_err(|_| "encode our own key".to_owned())?;
    let failed = |file: &Path, error: io::Error| format!("write {}: {error}", file.display());
    write_private(key_file, pem(secret.as_bytes()).as_bytes()).map_err(|error| failed(key_file, error))?;
    write_private(certificate_file, &der).map_err(|error| failed(certificate_file, error))
}

/// RFC 7468: 64 characters a line.
fn pem(der: &[u8]) -> String {
    let base64 = ByteString::from(der).as_base64();
    let lines: Vec<&str> = (0..base64.len()).step_by(64).map(|at| &base64[at..base64.len().min(at + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

fn belong_together(certificate: &X509, key: &PrivateKey) -> bool {
    let mut signature = vec![0; opcua::crypto::KeySize::size(key)];
    let text = b"belong together";
    let Ok(public) = certificate.public_key() else { return false };
    key.sign_sha256(text, &mut signature).is_ok() && public.verify_sha256(text, &signature).unwrap_or(false)
}

fn validity(certificate: &X509) -> Option<(Timestamp, Timestamp)> {
    let stamp = |micros: i64| jiff::Timestamp::from_microsecond(micros).ok().map(Timestamp::from);
    Some((stamp(certificate.not_before().ok()?.timestamp_micros())?, stamp(certificate.not_after().ok()?.timestamp_micros())?))
}

/// The regular files of a folder, at most [`MAX_FILES`].
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).take(MAX_FILES).collect()
}

fn read_certificate(file: &Path) -> Option<X509> {
    if fs::metadata(file).ok()?.len() > MAX_FILE {
        return None;
    }
    let bytes = fs::read(file).ok()?;
    if bytes.starts_with(b"-----BEGIN") { X509::from_pem(&bytes).ok() } else { X509::from_der(&bytes).ok() }
}

fn read_der(file: &Path) -> Option<Vec<u8>> {
    read_certificate(file)?.to_der().ok()
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
mod tests {
    use super::*;

    fn certificate(uri: &str) -> X509 {
        let data = X509Data {
            key_size: 2048,
            common_name: uri.to_owned(),
            organization: String::new(),
            organizational_unit: String::new(),
            country: String::new(),
            state: String::new(),
            alt_host_names: X509Data::alt_host_names(uri, None, false, false, false),
            certificate_duration_days: 10,
        };
        X509::cert_and_pkey(&data).unwrap().0
    }

    fn now() -> Timestamp {
        jiff::Timestamp::now().into()
    }

    fn day(days: u64) -> std::time::Duration {
        std::time::Duration::from_secs(days * 86_400)
    }

    #[test]
    fn our_own_certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path().join("pki")).unwrap();
        let first = pki.own("urn:test:a", &["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let again = pki.own("urn:test:a", &[]).unwrap();
        assert_eq!(first.certificate.thumbprint(), again.certificate.thumbprint());
        for host in ["127.0.0.1", "localhost"] {
            assert!(first.certificate.is_hostname_valid(host).is_ok(), "{host}");
        }
        assert!(pki.own("urn:test:b", &[]).unwrap_err().contains("urn:test:b"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&first.key_file).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(pki.dir().join("private")).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::remove_file(&first.key_file).unwrap();
        assert!(pki.own("urn:test:a", &[]).unwrap_err().contains("missing"));
    }

    #[test]
    fn two_who_ask_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let askers: Vec<_> = (0..2).map(|_| scope.spawn(|| pki.own("urn:test:a", &[]).unwrap())).collect();
            askers.into_iter().map(|asker| asker.join().unwrap().certificate.thumbprint()).collect()
        });
        assert_eq!(made[0], made[1]);
    }

    #[test]
    fn another_certificates_key_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let own = pki.own("urn:test:a", &[]).unwrap();
        fs::write(&own.certificate_file, certificate("urn:test:a").to_der().unwrap()).unwrap();
        assert!(pki.own("urn:test:a", &[]).unwrap_err().contains("belongs to another"));
    }

    #[test]
    fn trust_is_given_and_taken_by_thumbprint() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let peer = certificate("urn:peer");
        let thumbprint = peer.thumbprint().as_hex_string();
        let refused = pki.check(&peer, now());
        assert_eq!(refused, Trust::Untrusted { thumbprint: thumbprint.clone() });
        assert!(refused.to_string().contains(&format!("pki trust {thumbprint}")));
        assert_eq!(pki.list().iter().map(|listed| listed.folder).collect::<Vec<_>>(), [Folder::Rejected]);

        assert!(pki.trust("zz").is_err());
        assert!(pki.trust("00000000000000000000000000000000000000ff").is_err());
        assert_eq!(pki.trust(&thumbprint[..8].to_uppercase()).unwrap().folder, Folder::Trusted);
        assert!(pki.check(&peer, now()).is_trusted());
        assert!(matches!(pki.check(&peer, now() + day(11)), Trust::Expired { .. }));
        assert!(matches!(pki.check(&peer, now() - day(1)), Trust::NotYetValid { .. }));
        assert!(pki.trust(&thumbprint).unwrap_err().contains("already"));

        pki.reject(&thumbprint).unwrap();
        assert!(!pki.check(&peer, now()).is_trusted());
    }

    #[test]
    fn the_name_of_a_trusted_file_does_not_matter_and_junk_does_not_harm() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let peer = certificate("urn:peer");
        fs::write(dir.path().join("trusted/readme.txt"), "not a certificate").unwrap();
        let text = pem(&peer.to_der().unwrap()).replace("PRIVATE KEY", "CERTIFICATE");
        fs::write(dir.path().join("trusted/the plc.pem"), text).unwrap();
        assert!(pki.check(&peer, now()).is_trusted());
        assert!(!pki.check(&certificate("urn:peer"), now()).is_trusted());
    }

    #[test]
    fn strangers_cannot_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        for number in 0..MAX_REJECTED {
            fs::write(dir.path().join(format!("rejected/{number}.der")), "x").unwrap();
        }
        assert!(!pki.check(&certificate("urn:peer"), now()).is_trusted());
        assert_eq!(files(&dir.path().join("rejected")).len(), MAX_REJECTED);
    }
}
