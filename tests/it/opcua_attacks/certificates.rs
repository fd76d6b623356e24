//! T8, T15: certificates that nobody knows, and security that nobody offers.

use std::{fs, io::Write};

use annunciator::serve::opcua::SecurityPolicy;

use crate::support::{
    alone::{Memory, alone},
    raw::{Target, count, number, text},
};

/// The code that a first OPN with this policy and certificate is refused with.
fn knock(target: &Target, policy: &str, certificate: &[u8]) -> Option<u32> {
    let mut peer = target.connect();
    peer.hello();
    let uri = text(&format!("http://opcfoundation.org/UA/SecurityPolicy#{policy}"));
    let security = [uri, count(certificate.len()), certificate.to_vec(), count(20), vec![7; 20]].concat();
    let content = [&[0; 4][..], &security, &[0x5A; 512]].concat();
    let bytes = [&b"OPNF"[..], &count(8 + content.len()), &content].concat();
    drop(peer.stream.write_all(&bytes));
    let (kind, content) = peer.receive()?;
    assert_eq!(kind, "ERR", "{policy} was opened");
    Some(number(&content, 0))
}

/// A self-signed certificate: the server's own, whose signature nobody has checked yet, made another by its last bytes.
fn stranger(own: &[u8], number: u32) -> Vec<u8> {
    let mut certificate = own.to_vec();
    let end = certificate.len();
    certificate[end - 4..].copy_from_slice(&number.to_le_bytes());
    certificate
}

fn own_certificate(target: &Target) -> Vec<u8> {
    let folder = target.folder.path().join("pki/own");
    let file = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let der = file.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "der"));
    fs::read(der.expect("the server has a certificate")).unwrap()
}

#[test]
fn t8_a_new_certificate_at_each_connection() {
    alone(|| {
        let target = Target::start(|settings| settings.security = vec![SecurityPolicy::Basic256Sha256]);
        let own = own_certificate(&target);
        let memory = Memory::watch();
        for number in 0..400 {
            let code = knock(&target, "Basic256Sha256", &stranger(&own, number));
            assert_eq!(code.map(|code| format!("{code:08X}")).as_deref(), Some("80130000"), "stranger {number}");
        }
        let stored: Vec<_> = fs::read_dir(target.folder.path().join("pki/rejected")).unwrap().collect();
        assert!(stored.len() <= 100, "{} certificates of strangers are kept", stored.len());
        assert!(!stored.is_empty());
        target.assert_alive();
        memory.assert_within(24);
    });
}

#[test]
fn t15_security_that_is_not_offered() {
    alone(|| {
        let target = Target::start(|settings| settings.security = vec![SecurityPolicy::Basic256Sha256]);
        let own = own_certificate(&target);
        for policy in ["Basic128Rsa15", "Basic256", "Aes128_Sha256_RsaOaep", "Basic256Sha256x", "", "Nönsense"] {
            let code = knock(&target, policy, &own).map(|code| format!("{code:08X}"));
            assert_eq!(code.as_deref(), Some("80550000"), "{policy}");
        }
        // Certificates that are none.
        for certificate in [&[][..], &[0x30], &own[..own.len() / 2], &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF], &[0xFF; 10_000]] {
            assert!(knock(&target, "Basic256Sha256", certificate).is_some(), "{} bytes", certificate.len());
        }
        // Without security there is discovery and no session.
        let mut peer = target.connect();
        peer.hello();
        peer.open();
        let answer = peer.create_session();
        assert_eq!(format!("{:08X}", answer.status), "80550000");
        target.assert_alive();
    });
}
