//! What nobody may read: neither in a log, however much it tells, nor in an error, nor in the database, nor as another user of the
//! machine.

use std::{fs, path::Path, process::Command, time::Duration};

use annunciator::{
    notify::signature::{Payload, sign},
    serve::passwords::hash_password,
    simulate::twilio::Options,
};
use serde_json::json;

use crate::support::{
    BOUND,
    port::free_port,
    program::{ALICE, Daemon, OURS, PIN, Plant, TOKEN, finish, pin_in, until},
    twilio::http,
};

const TAGS: &str = "
[[tag]]
path = 'Pump'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
[[tag.alarm]]
name = 'Fault'
priority = 'high'
message = 'Pump fault'
pipeline = 'on-call'
[[tag]]
path = 'Limit'
type = 'Float'
initial = 85.0
writable = true
retain = true
";
/// A plain coil of the simulated PLC.
const COIL: u16 = 1000;

const API_KEY: &str = "SK00000000000000000000000000000001";
const API_SECRET: &str = "api-secret-60518";
const NEXT_TOKEN: &str = "next-auth-token-77120";
const PROGRAM: &str = "program-secret-31887";
const HEARTBEAT: &str = "heartbeat-path-20473";
const SERVER: &str = "upstream-password-88125";
const DATABASE: &str = "database-password-49216";
const MISTYPED: &str = "mistyped-password-15377";
/// Everything that the support code does not look for by itself.
const SECRETS: [&str; 7] = [API_SECRET, NEXT_TOKEN, PROGRAM, HEARTBEAT, SERVER, DATABASE, MISTYPED];

fn nothing_secret(what: &str, text: &str) {
    let found: Vec<_> = SECRETS.iter().chain(&[TOKEN]).filter(|secret| text.contains(**secret)).collect();
    let place = found.first().and_then(|secret| text.find(**secret)).unwrap_or_default();
    let line = text.lines().find(|line| found.iter().any(|secret| line.contains(**secret)));
    assert!(found.is_empty(), "{what} tells {found:?} at byte {place}: {line:?}");
    assert_eq!(pin_in(text), None, "{what} tells a PIN");
}

/// Every file of the folder and those below it, with its permissions.
fn below(folder: &Path, found: &mut Vec<(String, u32)>) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::metadata(&path).unwrap();
        found.push((path.display().to_string(), about.permissions().mode() & 0o777));
        if about.is_dir() {
            below(&path, found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_no_error_and_no_database() {
    let program = hash_password(PROGRAM).unwrap();
    let more = format!(
        "[[token]]\nname = 'erp'\nrole = 'operator'\nhash = '{program}'\n\
         [heartbeat]\nurl = 'http://127.0.0.1:{nobody}/{HEARTBEAT}?key={HEARTBEAT}'\nevery = '1s'\ntimeout = '1s'\n\
         [[source]]\nname = 'server'\nkind = 'opcua'\nurl = 'opc.tcp://127.0.0.1:{nobody}/'\nuser = 'annunciator'\npassword = '{SERVER}'\n",
        nobody = free_port()
    );
    let options = Options { api_keys: vec![(API_KEY.into(), API_SECRET.into())], ..Options::default() };
    let plant = Plant::with(TAGS, &more, options).await;
    let file = plant.folder.path().join("config/main.toml");
    let keys =
        format!("sms_per_second = 100\nauth_token_2 = '{NEXT_TOKEN}'\napi_key = '{API_KEY}'\napi_secret = '{API_SECRET}'\n");
    let config = fs::read_to_string(&file).unwrap().replace("sms_per_second = 100\n", &keys);
    fs::write(&file, &config).unwrap();

    let mut daemon = Daemon::spawn(plant.command(&["run"]).env("RUST_LOG", "trace"), plant.console);
    daemon.ready().await;
    plant.plc.as_ref().unwrap().plant.set_coils(COIL, &[true]);
    let sent = async || (!plant.twilio.phone(ALICE).is_empty()).then_some(());
    until("a text", BOUND, sent).await;

    // Replies with a wrong PIN and with the right one; they come signed, with either token, and by the simulator.
    let path = format!("http://127.0.0.1:{}/main/system/twilio-sms/inbound/main", plant.webhooks);
    for (sid, token, body) in [("SM01", TOKEN, format!("{PIN}99")), ("SM02", NEXT_TOKEN, format!("{PIN}98"))] {
        let form = [("MessageSid", sid), ("From", ALICE), ("To", OURS), ("Body", &body)];
        let form = form.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let signature = sign(token, &path, Payload::Form(&form));
        let answer = http().post(&path).header("X-Twilio-Signature", signature).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    plant.twilio.text(ALICE, None, &format!("{PIN}11")).await.unwrap();
    daemon.alarm_is("Pump/Alarms/Fault", "ActiveAcked").await;

    // Programs and people show themselves, and mistype.
    let api = format!("http://127.0.0.1:{}/api/v1", plant.console);
    for (secret, status) in [(format!("erp:{PROGRAM}"), 200), (format!("erp:{MISTYPED}"), 401)] {
        let asked = http().get(format!("{api}/alarms")).bearer_auth(secret).send().await.unwrap().status().as_u16();
        assert_eq!(asked, status);
    }
    let wrong = json!({ "user": "bob", "password": MISTYPED });
    assert_eq!(http().post(format!("{api}/session")).json(&wrong).send().await.unwrap().status(), 401);
    daemon.write("Limit", 42.0).await;
    daemon.logged("the heartbeat failed").await;

    // A reload that is refused, for its syntax and for its sense, in the very lines of the secrets.
    let mistakes = [
        config.replace(&format!("api_secret = '{API_SECRET}'"), &format!("api_secret = '{API_SECRET}")),
        config.replace(&format!("api_secret = '{API_SECRET}'"), &format!("api_secrets = '{API_SECRET}'")),
        config.replace(&format!("auth_token_2 = '{NEXT_TOKEN}'"), &format!("auth_token_2 = ['{NEXT_TOKEN}']")),
        config.replace(&format!("pin = '{PIN}11'"), &format!("pin = {PIN}11")),
        config.replace(&format!("pin = '{PIN}11'"), &format!("pins = '{PIN}11', '{PIN}22'")),
        config.replace("[heartbeat]\nurl = 'http://", "[heartbeat]\nurl = 'gopher://"),
        config.replace(&format!("password = '{SERVER}'"), &format!("password = '{SERVER}', 1")),
        config.replace("url = 'sqlite:annunciator.db'", &format!("url = 'postgres://u:{DATABASE}@127.0.0.1:1/d'")),
        config
            .replace("url = 'sqlite:annunciator.db'", &format!("url = 'postgres://u@127.0.0.1:1/d'\npassword = ['{DATABASE}']")),
        config.replace("url = 'sqlite:annunciator.db'", &format!("url = 'mysql://u:{DATABASE}@127.0.0.1:1/d'")),
    ];
    let mut told = Vec::new();
    for mistake in mistakes {
        assert_ne!(mistake, config);
        fs::write(&file, &mistake).unwrap();
        for command in ["check", "reload"] {
            let ended = plant.run(&[command]).await;
            // What needs a restart is no mistake.
            assert!(ended.code.is_some());
            told.push((format!("{command} of {:?}", ended.code), format!("{}{}", ended.out, ended.err)));
        }
    }
    fs::write(&file, &config).unwrap();

    let mut data = Vec::new();
    below(&plant.folder.path().join("data"), &mut data);
    for (file, _) in &data {
        if let Ok(bytes) = fs::read(file) {
            nothing_secret(file, &String::from_utf8_lossy(&bytes));
        }
    }
    daemon.signal("TERM");
    assert_eq!(daemon.child.exit_code(Duration::from_secs(10)), Some(0));
    let log = daemon.log();
    assert!(log.contains("TRACE"), "it tells everything");
    nothing_secret("the log", &log);
    for (what, text) in &told {
        nothing_secret(what, text);
    }

    // Twilio refuses the account, and the database does not answer: their errors are told.
    fs::write(&file, config.replace(&format!("api_secret = '{API_SECRET}'"), &format!("api_secret = '{MISTYPED}'"))).unwrap();
    let mut daemon = Daemon::spawn(plant.command(&["run"]).env("RUST_LOG", "trace"), plant.console);
    daemon.ready().await;
    plant.plc.as_ref().unwrap().plant.set_coils(COIL, &[false]);
    daemon.alarm_is("Pump/Alarms/Fault", "ClearAcked").await;
    plant.plc.as_ref().unwrap().plant.set_coils(COIL, &[true]);
    daemon.alarm_is("System/Gateway/Alarms/TwilioFailed", "ActiveUnacked").await;
    let error = daemon.get("tags/System/Gateway/Twilio/LastError").await.to_string();
    nothing_secret("LastError", &error);
    nothing_secret("the log of a refused account", &daemon.log());
    drop(daemon);
    let store = format!("url = 'postgres://u@127.0.0.1:{}/d?application_name={{}}'\npassword = '{DATABASE}'", free_port());
    fs::write(&file, config.replace("url = 'sqlite:annunciator.db'", &store)).unwrap();
    let (code, log) = Daemon::spawn(plant.command(&["run"]).env("RUST_LOG", "trace"), plant.console).end();
    assert_ne!(code, Some(0), "{log}");
    nothing_secret("the log of an absent database", &log);
}

/// Under the most open umask, what is made under `--data` is for its owner only.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_for_their_owner_only() {
    let plant = Plant::new(TAGS, "").await;
    let open = |command: &Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        shell.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            shell.env(name, value);
        }
        shell
    };
    let mut daemon = Daemon::spawn(&mut open(&plant.command(&["run"])), plant.console);
    daemon.ready().await;
    plant.plc.as_ref().unwrap().plant.set_coils(COIL, &[true]);
    daemon.alarm_is("Pump/Alarms/Fault", "ActiveUnacked").await;
    daemon.write("Limit", 42.0).await;
    let mut seen = Vec::new();
    below(plant.folder.path(), &mut seen);
    daemon.stop();
    let data = plant.folder.path().join("data");
    let output = finish(&mut open(&plant.command(&["pki", "renew"])));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    below(&data, &mut seen);
    let data = data.display().to_string();
    seen.retain(|(file, _)| file.starts_with(&data));
    let wide: Vec<_> = seen.iter().filter(|(_, mode)| mode & 0o077 != 0).map(|(file, mode)| format!("{file} {mode:o}")).collect();
    assert!(wide.is_empty(), "others may use {wide:#?}");
    for part in ["annunciator.db", "-wal", "private", "own"] {
        assert!(seen.iter().any(|(file, _)| file.contains(part)), "{part} is not among {seen:#?}");
    }
}
