//! The folder with generated certificates, and the rules of trust with the fixtures that `tests/it/peers/certificates.py` makes.

use std::time::Duration;

use opcua::crypto::X509Data;

use super::{own::pem, *};

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
    let text = pem("CERTIFICATE", &peer.to_der().unwrap());
    fs::write(dir.path().join("trusted/the plc.pem"), text).unwrap();
    assert!(pki.check(&peer, now()).is_trusted());
    assert!(!pki.check(&certificate("urn:peer"), now()).is_trusted());
}

#[test]
fn strangers_cannot_fill_the_disk_and_the_oldest_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    for number in 0..MAX_REJECTED + 5 {
        fs::write(dir.path().join(format!("rejected/{number}.der")), "x").unwrap();
    }
    let peer = certificate("urn:peer");
    for _ in 0..2 {
        assert!(!pki.check(&peer, now()).is_trusted());
    }
    let there = files(&dir.path().join("rejected"));
    assert_eq!(there.len(), MAX_REJECTED);
    assert_eq!(there.iter().filter(|file| fs::metadata(file).unwrap().len() > 1).count(), 1, "stored once");
}

#[test]
fn the_next_certificate_is_made_ahead_and_takes_over_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    assert_eq!(pki.look_after_own(now()), Ok(None));
    assert!(pki.take_over().is_err());
    let first = pki.own("urn:test:a", &["plant.example".to_owned()]).unwrap().certificate.thumbprint().as_hex_string();
    let renewal = pki.look_after_own(now()).unwrap().unwrap();
    assert_eq!((renewal.soon, &renewal.next), (false, &None));

    let end = renewal.until;
    let ahead = pki.look_after_own(end - day(29)).unwrap().unwrap();
    let next = ahead.next.clone().expect("made ahead");
    assert!(ahead.soon && next != first);
    assert_eq!(pki.look_after_own(end - day(2)).unwrap().unwrap(), ahead, "made once");
    assert_eq!(pki.own("urn:test:a", &[]).unwrap().certificate.thumbprint().as_hex_string(), first);

    // A crash between the two steps is made good.
    fs::rename(dir.path().join("private/next/key.pem"), dir.path().join("private/key.pem")).unwrap();
    let own = pki.own("urn:test:a", &[]).unwrap().certificate;
    assert_eq!(own.thumbprint().as_hex_string(), next);
    let names = Certificate::read(&own.to_der().unwrap()).unwrap();
    assert!(names.has_host("plant.example") && names.has_uri("urn:test:a"));

    let last_day = pki.look_after_own(end - Duration::from_secs(3_600)).unwrap().unwrap();
    assert!(!last_day.soon && last_day.next.is_none());
    assert_ne!(pki.own("urn:test:a", &[]).unwrap().certificate.thumbprint().as_hex_string(), next, "it took over");
}

/// The fixtures' present.
fn present() -> Timestamp {
    "2026-06-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into()
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pki/fixtures").join(name)).unwrap()
}

/// A folder with these fixtures in these places.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    for (folder, name) in files {
        fs::write(dir.path().join(folder).join(name), fixture(name)).unwrap();
    }
    (dir, pki)
}

/// What is said of `peer`, which may send others along: `trusted`, `untrusted`, or the reason.
fn verdict(files: &[(&str, &str)], peer: &[&str]) -> String {
    let (_dir, pki) = folder(files);
    let der: Vec<u8> = peer.iter().flat_map(|name| fixture(&format!("{name}.der"))).collect();
    match pki.check_der(&der, Purpose::Client, present()) {
        Trust::Trusted => "trusted".into(),
        Trust::Untrusted { .. } => "untrusted".into(),
        Trust::Expired { .. } => "expired".into(),
        Trust::NotYetValid { .. } => "not yet valid".into(),
        Trust::Refused { reason, .. } => format!("{reason:?}"),
    }
}

const ROOT: [(&str, &str); 2] = [("trusted", "root.der"), ("trusted/crl", "root.crl")];

#[test]
fn what_an_authority_issued_is_trusted_by_the_standards_steps() {
    for (peer, wanted) in [
        ("issued", "trusted"),
        ("revoked", "Revoked"),
        ("expired", "expired"),
        ("future", "not yet valid"),
        ("web_server", "UseNotAllowed"),
        ("signs_certificates", "UseNotAllowed"),
        ("critical", "Unreadable"),
        ("forged", "ChainIncomplete"),
        ("by_old_root", "ChainIncomplete"),
        ("by_application", "ChainIncomplete"),
        ("self_signed", "untrusted"),
        ("root", "UseNotAllowed"),
    ] {
        assert_eq!(verdict(&ROOT, &[peer]), wanted, "{peer}");
    }
}

#[test]
fn chains_are_completed_from_the_issuers_folder_or_by_the_peer() {
    let with = |more: &[(&'static str, &'static str)]| [&ROOT[..], more].concat();
    let below = [("issuers", "below.der"), ("issuers/crl", "below.crl")];
    assert_eq!(verdict(&with(&below), &["issued_below"]), "trusted");
    assert_eq!(verdict(&with(&below[1..]), &["issued_below", "below"]), "trusted", "sent along");
    assert_eq!(verdict(&with(&below[1..]), &["issued_below"]), "ChainIncomplete");
    assert_eq!(verdict(&with(&below[..1]), &["issued_below"]), "RevocationUnknown");
    let all_known = [("issuers", "root.der"), ("issuers/crl", "root.crl"), below[0], below[1]];
    assert_eq!(verdict(&all_known, &["issued_below"]), "untrusted", "issuers are not trusted");
    let middle = [("trusted", "below.der"), ("trusted/crl", "below.crl"), ("issuers", "root.der")];
    assert_eq!(verdict(&middle, &["issued_below"]), "IssuerRevocationUnknown");
    assert_eq!(verdict(&[&middle[..], &[("issuers/crl", "root.crl")]].concat(), &["issued_below"]), "trusted");
    let revoked = [&middle[..], &[("issuers/crl", "root_revokes_below.crl")]].concat();
    assert_eq!(verdict(&revoked, &["issued_below"]), "IssuerRevoked");
    // A peer cannot bring its own authority.
    assert_eq!(verdict(&[], &["issued", "root"]), "untrusted");
}

#[test]
fn revocation_lists_count_when_they_are_genuine_and_also_when_they_are_old() {
    let root = ("trusted", "root.der");
    assert_eq!(verdict(&[root], &["issued"]), "RevocationUnknown");
    assert_eq!(verdict(&[root, ("trusted/crl", "forged.crl")], &["issued"]), "RevocationUnknown");
    assert_eq!(verdict(&[root, ("trusted/crl", "below.crl")], &["issued"]), "RevocationUnknown");
    assert_eq!(verdict(&[root, ("trusted/crl", "root_old.crl")], &["issued"]), "trusted");
    assert_eq!(verdict(&[root, ("trusted/crl", "root_old.crl")], &["revoked"]), "Revoked");
    assert_eq!(verdict(&[("trusted", "old_root.der"), ("trusted/crl", "old_root.crl")], &["by_old_root"]), "IssuerTimeInvalid");
}

#[test]
fn a_pinned_certificate_is_checked_as_far_as_its_chain_is_known() {
    assert_eq!(verdict(&[("trusted", "self_signed.der")], &["self_signed"]), "trusted");
    assert_eq!(verdict(&[("trusted", "issued.der")], &["issued"]), "trusted");
    assert_eq!(verdict(&[("trusted", "expired.der")], &["expired"]), "expired");
    assert_eq!(verdict(&[("trusted", "revoked.der"), ("issuers", "root.der")], &["revoked"]), "trusted", "no list");
    let listed = [("trusted", "revoked.der"), ("issuers", "root.der"), ("issuers/crl", "root.crl")];
    assert_eq!(verdict(&listed, &["revoked"]), "Revoked");
    assert_eq!(verdict(&[("trusted", "self_signed.der")], &["by_application"]), "ChainIncomplete");
    assert_eq!(verdict(&[("trusted", "self_signed.der")], &["by_application", "self_signed"]), "IssuerUseNotAllowed");
}

#[test]
fn weak_signatures_are_refused() {
    let mut der = fixture("self_signed.der");
    let sha256 = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B];
    let places: Vec<_> = (0..der.len() - 9).filter(|at| der[*at..at + 9] == sha256).collect();
    assert_eq!(places.len(), 2);
    for at in places {
        der[at + 8] = 5;
    }
    let (dir, pki) = folder(&[]);
    fs::write(dir.path().join("trusted/sha1.der"), &der).unwrap();
    let trust = pki.check_der(&der, Purpose::Client, present());
    assert!(matches!(trust, Trust::Refused { reason: Reason::Weak, .. }), "{trust:?}");
}

#[test]
fn junk_is_refused_and_not_stored() {
    let (dir, pki) = folder(&ROOT);
    let whole = fixture("issued.der");
    for length in (0..whole.len()).step_by(7) {
        assert!(!pki.check_der(&whole[..length], Purpose::Client, present()).is_trusted());
    }
    // A chain that never ends.
    let endless: Vec<u8> = std::iter::repeat_n(fixture("issued_below.der"), 20).flatten().collect();
    assert!(!pki.check_der(&endless, Purpose::Client, present()).is_trusted());
    let stored = files(&dir.path().join("rejected"));
    assert_eq!(stored.len(), 1, "{stored:?}");
}

#[test]
fn what_lies_in_the_folder_counts_at_once() {
    let (dir, pki) = folder(&ROOT);
    let peer = fixture("revoked.der");
    assert!(!pki.check_der(&peer, Purpose::Client, present()).is_trusted());
    fs::remove_file(dir.path().join("trusted/crl/root.crl")).unwrap();
    fs::write(dir.path().join("trusted/crl/root.pem"), pem("X509 CRL", &fixture("root_revokes_below.crl"))).unwrap();
    assert!(pki.check_der(&peer, Purpose::Client, present()).is_trusted());
}

#[test]
fn names_of_all_kinds_are_read() {
    let read = Certificate::read(&fixture("issued.der")).unwrap();
    assert!(read.has_uri("urn:test:hmi") && !read.has_uri("localhost") && !read.has_uri("urn:test"));
    assert!(read.has_host("LOCALHOST") && read.has_host("127.0.0.1") && !read.has_host("urn:test:hmi"));
    assert_eq!((read.rsa_bits, read.thumbprint().len(), read.fingerprint().len()), (2048, 40, 64));
}

#[test]
fn a_server_is_who_it_says_unless_a_person_trusts_its_certificate() {
    let (dir, pki) = folder(&ROOT);
    let peer = fixture("web_server.der");
    assert!(pki.check_der(&peer, Purpose::Server, present()).is_trusted());
    assert_eq!(pki.check_names(&peer, "urn:test:hmi", "127.0.0.1"), Ok(()));
    assert!(pki.check_names(&peer, "urn:test:plc", "127.0.0.1").unwrap_err().contains("ApplicationUri urn:test:plc"));
    assert!(pki.check_names(&peer, "urn:test:hmi", "plc.example").unwrap_err().contains("host plc.example"));
    fs::write(dir.path().join("trusted/plc.der"), &peer).unwrap();
    assert_eq!(pki.check_names(&peer, "urn:test:plc", "plc.example"), Ok(()));
}
