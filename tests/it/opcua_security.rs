//! Who may come in, asked by asyncua: every policy, mode and kind of user; certificates of authorities, with chains and revocation
//! lists; and what is refused.

use std::{fs, path::Path, process::Command, sync::Arc};

use annunciator::{
    engine::plan::Role,
    pki::{Folder, Pki},
    serve::opcua::{MessageSecurityMode, Running, SecurityPolicy, Settings, serve},
};
use tokio_util::sync::CancellationToken;

use crate::support::{BOUND, peers, plant::Plant, process::Child};

const POLICIES: [(&str, SecurityPolicy); 3] = [
    ("Basic256Sha256", SecurityPolicy::Basic256Sha256),
    ("Aes128Sha256RsaOaep", SecurityPolicy::Aes128Sha256RsaOaep),
    ("Aes256Sha256RsaPss", SecurityPolicy::Aes256Sha256RsaPss),
];

struct Door {
    runtime: tokio::runtime::Runtime,
    plant: Arc<Plant>,
    running: Option<Running>,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Door {
    /// A server, and certificates of all fates. Its trust list has the authority `root` with its revocation list.
    fn open(python: &Path, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let mut maker = Child::start(Command::new(python).arg(peers::script("certificates.py")).arg(&made));
        maker.line("passed", BOUND);
        assert_eq!(maker.exit_code(BOUND), Some(0));
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        for (from, to) in [("root.der", "trusted"), ("root.crl", "trusted/crl")] {
            fs::copy(made.join(from), pki.dir().join(to).join(from)).unwrap();
        }
        let mut settings = Settings {
            endpoint: "opc.tcp://127.0.0.1:0/annunciator".into(),
            security: POLICIES.map(|(_, policy)| policy).to_vec(),
            anonymous: Some(Role::Viewer),
            pki: pki.dir().to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (plant, stop) = (Plant::new(), CancellationToken::new());
        let running = runtime.block_on(serve(settings, plant.clone(), stop.clone())).unwrap();
        Self { runtime, plant, running: Some(running), stop, folder }
    }

    fn made(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join("made").join(name)).unwrap()
    }

    fn pki(&self) -> Pki {
        Pki::open(self.folder.path().join("pki")).unwrap()
    }

    /// Lets clients come one after another; each case with what shall come of it.
    fn check(&self, python: &Path, cases: &[(String, &str)]) {
        let mut command = Command::new(python);
        command.arg(peers::script("opcua_security.py")).arg(&self.running.as_ref().unwrap().endpoint);
        command.arg(self.folder.path().join("made")).args(cases.iter().map(|(case, _)| case));
        let mut client = Child::start(&mut command);
        let seen: Vec<String> = cases.iter().map(|_| client.line("case", BOUND)).collect();
        let wanted: Vec<String> = cases.iter().map(|(case, wanted)| format!("case {case} {wanted}")).collect();
        assert_eq!(seen, wanted);
        assert_eq!(client.exit_code(BOUND), Some(0));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(BOUND, running.ended()).await });
            assert!(ended.is_ok() || std::thread::panicking(), "the server does not end");
        }
    }
}

const VIEWER: &str = "read 12.5, write BadUserAccessDenied";
const OPERATOR: &str = "read 12.5 and written";

#[test]
fn every_policy_mode_and_kind_of_user() {
    let Some(python) = peers::python() else { return };
    let door = Door::open(&python, |_| ());
    let thumbprint = annunciator::pki::x509::thumbprint(&door.made("user.der"));
    let user = format!("[[user]]\nname = \"carl\"\nroles = [\"operator\"]\ncertificate = \"{}\"\n", thumbprint.to_uppercase());
    door.plant.configure(&user);
    let mut cases = Vec::new();
    for (policy, _) in POLICIES {
        for mode in ["Sign", "SignAndEncrypt"] {
            for (token, wanted) in [("anonymous", VIEWER), ("olga", OPERATOR), ("user.der", OPERATOR)] {
                cases.push((format!("{policy}:{mode}:issued:{token}"), wanted));
            }
        }
    }
    for (token, wanted) in [
        ("nobody", "BadUserAccessDenied"),
        // Nobody's certificate, and one without its key.
        ("self_signed.der!", "BadIdentityTokenRejected"),
        ("user.der!", "BadUserSignatureInvalid"),
        // A password in the format of policies that are not offered here.
        ("olga*", "BadIdentityTokenInvalid"),
        ("olga**", "BadIdentityTokenInvalid"),
    ] {
        cases.push((format!("Aes256Sha256RsaPss:SignAndEncrypt:issued:{token}"), wanted));
    }
    door.check(&python, &cases);
    let writes = door.plant.writes.lock().unwrap();
    let names: std::collections::BTreeSet<_> = writes.iter().map(|(by, ..)| (&*by.name, by.role)).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [("carl", Role::Operator), ("olga", Role::Operator)]);
}

#[test]
fn certificates_of_authorities() {
    let Some(python) = peers::python() else { return };
    let door = Door::open(&python, |_| ());
    let crl = door.pki().dir().join("issuers/crl/below.crl");
    fs::write(&crl, door.made("below.crl")).unwrap();
    let case = |certificates: &str| format!("Basic256Sha256:SignAndEncrypt:{certificates}:anonymous");
    let cases = [
        ("issued", VIEWER),
        ("issued_below+below", VIEWER),
        ("issued_below", "BadSecurityChecksFailed"),
        ("revoked", "BadCertificateRevoked"),
        ("expired", "BadCertificateTimeInvalid"),
        ("future", "BadCertificateTimeInvalid"),
        ("web_server", "BadCertificateUseNotAllowed"),
        ("other_uri", "BadCertificateUriInvalid"),
        ("forged", "BadSecurityChecksFailed"),
        ("self_signed", "BadSecurityChecksFailed"),
        ("self_signed", "BadSecurityChecksFailed"),
    ];
    door.check(&python, &cases.map(|(certificates, wanted)| (case(certificates), wanted)));
    let pki = door.pki();
    let rejected = || pki.list().into_iter().filter(|listed| listed.folder == Folder::Rejected).collect::<Vec<_>>();
    let strangers: Vec<_> = rejected().into_iter().map(|listed| listed.subject).collect();
    assert_eq!(strangers.len(), 3, "{strangers:?}");
    // Trusted by a person; and an authority without a list lets nobody in.
    let stranger = rejected().into_iter().find(|listed| listed.subject.contains("SelfSigned")).unwrap();
    pki.trust(&stranger.thumbprint).unwrap();
    fs::remove_file(pki.dir().join("trusted/crl/root.crl")).unwrap();
    let cases = [("self_signed", VIEWER), ("issued", "BadCertificateRevocationUnknown")];
    door.check(&python, &cases.map(|(certificates, wanted)| (case(certificates), wanted)));
}

#[test]
fn a_mode_that_is_not_offered_is_refused() {
    let Some(python) = peers::python() else { return };
    let door = Door::open(&python, |settings| settings.modes = vec![MessageSecurityMode::SignAndEncrypt]);
    let case = |mode: &str| format!("Aes128Sha256RsaOaep:{mode}:issued:anonymous");
    let nothing = "UaError No matching endpoints: 2, http://opcfoundation.org/UA/SecurityPolicy#Aes128_Sha256_RsaOaep";
    door.check(&python, &[(case("SignAndEncrypt"), VIEWER), (case("Sign"), nothing)]);
}
