//! Our own certificate: made on first start, followed by a new one before it ends.
//!
//! Peers trust a certificate, not a name, so a new one must be trusted by each of them again. Therefore the next certificate is made
//! [`AHEAD`] of the end, lies in `own/next/` for people to hand to the peers, and takes over only [`TAKE_OVER`] before the end, or
//! when a person says so. Deliberately absent: renewing a certificate that an authority issued; that is the authority's.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use opcua::{
    crypto::{KeySize, PrivateKey, X509, X509Data},
    types::ByteString,
};

use super::{Pki, make_private_dir, read_certificate, write_private};
use crate::tag::Timestamp;

/// Key length of our own certificate in bits.
const KEY_BITS: u32 = 2048;
/// How long our own certificate is valid, in days: five years.
const VALID_DAYS: u32 = 5 * 365;
/// How long before the end the next certificate is made and people are warned.
pub const AHEAD: Duration = Duration::from_secs(30 * 86_400);
/// How long before the end the next certificate takes over by itself.
pub const TAKE_OVER: Duration = Duration::from_secs(86_400);
/// The most host names that one certificate has.
const MAX_HOSTS: usize = 32;

const CERTIFICATE: &str = "own/cert.der";
const KEY: &str = "private/key.pem";
const NEXT_CERTIFICATE: &str = "own/next/cert.der";
const NEXT_KEY: &str = "private/next/key.pem";

/// Server and client may both ask for our certificate on first start; only one may make it.
static MAKING: Mutex<()> = Mutex::new(());

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

/// How long our own certificate lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The end of the one in use.
    pub until: Timestamp,
    /// It ends within [`AHEAD`].
    pub soon: bool,
    /// SHA-1 of the one that follows, in hexadecimal digits, when it is made already.
    pub next: Option<String>,
    /// An authority issued it: it is not renewed here.
    pub issued: bool,
}

impl Pki {
    /// True when our own certificate is there already.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.dir.join(CERTIFICATE).exists()
    }

    /// Our own certificate for `application_uri`; on first start it is made, self-signed, with the URI, `hosts` (names or
    /// addresses), this computer's name and `localhost` as its alternative names (Part 6, 6.2.2).
    ///
    /// # Errors
    /// A fragment that says what is wrong with the files: unreadable, only one of the two there, not belonging together, or made
    /// for another application URI.
    pub fn own(&self, application_uri: &str, hosts: &[String]) -> Result<OwnCertificate, String> {
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let (certificate_file, key_file) = (self.dir.join(CERTIFICATE), self.dir.join(KEY));
        let advice = format!("move {} and {} away to have new ones made", certificate_file.display(), key_file.display());
        match (certificate_file.exists(), key_file.exists()) {
            (false, false) => {
                let mut names = hosts.to_vec();
                names.extend(X509Data::computer_hostnames());
                names.push("localhost".to_owned());
                make(application_uri, names, &certificate_file, &key_file)?;
            }
            (true, true) => {}
            _ => return Err(format!("use our own certificate: its key or the certificate is missing; {advice}")),
        }
        let key =
            PrivateKey::read_pem_file(&key_file).map_err(|_| format!("read our own key {}; {advice}", key_file.display()))?;
        let mut der = read_certificate(&certificate_file);
        if der.as_ref().is_some_and(|there| !belong_together(&there.der, &key)) {
            // The program ended between the two steps of a change: the second is done now.
            let next = self.dir.join(NEXT_CERTIFICATE);
            if read_certificate(&next).is_some_and(|next| belong_together(&next.der, &key)) {
                fs::rename(&next, &certificate_file).map_err(|error| format!("put {} in its place: {error}", next.display()))?;
                der = read_certificate(&certificate_file);
            }
        }
        let there = der.ok_or_else(|| format!("read our own certificate {}; {advice}", certificate_file.display()))?;
        if !belong_together(&there.der, &key) {
            return Err(format!("use our own certificate: the key belongs to another one; {advice}"));
        }
        if !there.has_uri(application_uri) {
            return Err(format!("use our own certificate: it was not made for application_uri {application_uri}; {advice}"));
        }
        let certificate =
            X509::from_der(&there.der).map_err(|_| format!("read our own certificate {}", certificate_file.display()))?;
        Ok(OwnCertificate { certificate, key, certificate_file, key_file })
    }

    /// Looks after our own certificate at the time `now`: makes the next one [`AHEAD`] of the end and puts it in force
    /// [`TAKE_OVER`] before it. `None` when there is no certificate yet.
    ///
    /// # Errors
    /// A fragment: a file cannot be written.
    pub fn look_after_own(&self, now: Timestamp) -> Result<Option<Renewal>, String> {
        let Some(own) = read_certificate(&self.dir.join(CERTIFICATE)) else { return Ok(None) };
        let issued = !own.is_self_issued();
        let left = if now < own.until { own.until.since(now) } else { Duration::ZERO };
        if left < AHEAD && !issued {
            self.make_next()?;
        }
        if left < TAKE_OVER && !issued {
            self.take_over()?;
            return Ok(read_certificate(&self.dir.join(CERTIFICATE)).map(|own| Renewal {
                until: own.until,
                soon: false,
                next: None,
                issued,
            }));
        }
        let next = read_certificate(&self.dir.join(NEXT_CERTIFICATE)).map(|next| next.thumbprint());
        Ok(Some(Renewal { until: own.until, soon: left < AHEAD, next, issued }))
    }

    /// Makes the certificate that follows ours, with a key of its own and the same names, unless it is there; gives its file.
    ///
    /// # Errors
    /// A fragment: there is none to follow, an authority issued it, or a file cannot be written.
    pub fn make_next(&self) -> Result<PathBuf, String> {
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let (certificate_file, key_file) = (self.dir.join(NEXT_CERTIFICATE), self.dir.join(NEXT_KEY));
        let own = read_certificate(&self.dir.join(CERTIFICATE))
            .ok_or("renew our own certificate: there is none yet, it is made at the first start")?;
        if !own.is_self_issued() {
            return Err(format!(
                "renew our own certificate: {} issued it; put its new one and the key into {} and private/key.pem",
                own.issuer_name, CERTIFICATE
            ));
        }
        if read_certificate(&certificate_file).is_some() && key_file.exists() {
            return Ok(certificate_file);
        }
        for file in [&certificate_file, &key_file] {
            let folder = file.parent().unwrap_or(&self.dir);
            make_private_dir(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
        }
        let uri = own.uris.first().ok_or("renew our own certificate: it names no application")?;
        make(uri, own.hosts.clone(), &certificate_file, &key_file)?;
        tracing::warn!(
            file = %certificate_file.display(), ends = %own.until,
            "our next OPC UA certificate is made: let every client and server trust it before the present one ends"
        );
        Ok(certificate_file)
    }

    /// Puts the next certificate in force; whoever asks [`Self::own`] from now on gets it.
    ///
    /// # Errors
    /// A fragment: there is none, or a file cannot be moved.
    pub fn take_over(&self) -> Result<(), String> {
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let (certificate, key) = (self.dir.join(NEXT_CERTIFICATE), self.dir.join(NEXT_KEY));
        if !certificate.exists() || !key.exists() {
            return Err("put the next certificate in force: there is none, `annunciator pki renew` makes it".into());
        }
        // The key first: `own` finishes what a crash leaves half done.
        for (from, to) in [(key, KEY), (certificate, CERTIFICATE)] {
            fs::rename(&from, self.dir.join(to)).map_err(|error| format!("put {} in its place: {error}", from.display()))?;
        }
        tracing::warn!("our next OPC UA certificate is in force: peers that do not trust it yet refuse us");
        Ok(())
    }
}

fn make(application_uri: &str, mut names: Vec<String>, certificate_file: &Path, key_file: &Path) -> Result<(), String> {
    let mut known = HashSet::new();
    names.retain(|name| known.insert(name.to_ascii_lowercase()));
    names.truncate(MAX_HOSTS);
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
    write_private(key_file, pem("PRIVATE KEY", secret.as_bytes()).as_bytes()).map_err(|error| failed(key_file, error))?;
    write_private(certificate_file, &der).map_err(|error| failed(certificate_file, error))
}

/// RFC 7468: 64 characters a line.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let base64 = ByteString::from(der).as_base64();
    let lines: Vec<&str> = (0..base64.len()).step_by(64).map(|at| &base64[at..base64.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn belong_together(certificate: &[u8], key: &PrivateKey) -> bool {
    let mut signature = vec![0; key.size()];
    let text = b"belong together";
    let Some(public) = X509::from_der(certificate).ok().and_then(|certificate| certificate.public_key().ok()) else {
        return false;
    };
    key.sign_sha256(text, &mut signature).is_ok() && public.verify_sha256(text, &signature).unwrap_or(false)
}
