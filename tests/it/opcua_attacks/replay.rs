//! T9 with encryption: somebody on the wire who keeps what he sees and sends it again.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use annunciator::serve::opcua::SecurityPolicy;

use crate::support::{peers, process::Child, raw::Target};

const BOUND: Duration = Duration::from_secs(60);
/// HEL, OPN, CreateSession, ActivateSession; then the client writes.
const WRITE: usize = 4;

/// Passes one connection on to `server`, with the frame at `twice` sent two times; all frames of the client.
fn listen_in(listener: &TcpListener, server: SocketAddr, twice: Option<usize>) -> Vec<Vec<u8>> {
    let mut client = listener.accept().unwrap().0;
    let mut server = TcpStream::connect(server).unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
    let mut frames = Vec::new();
    while let Some(frame) = next(&mut client) {
        let times = if twice == Some(frames.len()) { 2 } else { 1 };
        drop(server.write_all(&frame.repeat(times)));
        frames.push(frame);
    }
    drop(server.shutdown(Shutdown::Both));
    back.join().unwrap();
    frames
}

fn next(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 8];
    from.read_exact(&mut frame).ok()?;
    frame.resize(crate::support::raw::number(&frame, 4) as usize, 0);
    from.read_exact(&mut frame[8..]).ok()?;
    Some(frame)
}

#[test]
fn t9_encrypted_messages_sent_again() {
    let Some(python) = peers::python() else { return };
    let aim = Target::start(|settings| settings.security = vec![SecurityPolicy::Basic256Sha256]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("opc.tcp://{}/annunciator", listener.local_addr().unwrap());
    let certificates = format!("certificates={}", aim.folder.path().display());
    let client = |scenario: &str, options: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(peers::script("opcua_hmi.py")).args([&url, scenario, &certificates]).args(options);
        Child::start(&mut command)
    };
    client("certificate", &[]).line("passed", BOUND);
    let trusted = aim.folder.path().join("pki/trusted");
    fs::create_dir_all(&trusted).unwrap();
    fs::copy(aim.folder.path().join("certificate.der"), trusted.join("hmi.der")).unwrap();
    let put = ["mode=SignAndEncrypt", "path=Plant/Line1/Pump", "value=true"];
    let writes = || aim.plant.writes.lock().unwrap().len();

    let mut writer = client("put", &put);
    // The first connection is for the endpoints.
    listen_in(&listener, aim.address(), None);
    let frames = listen_in(&listener, aim.address(), None);
    assert_eq!(writer.line("code", BOUND), "code Good");
    assert_eq!(writes(), 1);
    // All of it once more: a channel is opened, with keys that the listener has not.
    let mut again = TcpStream::connect(aim.address()).unwrap();
    again.set_read_timeout(Some(BOUND)).unwrap();
    drop(again.write_all(&frames.concat()));
    let kinds: Vec<Vec<u8>> = std::iter::from_fn(|| next(&mut again)).map(|frame| frame[..3].to_vec()).collect();
    assert_eq!(kinds.last().map(Vec::as_slice), Some(&b"ERR"[..]), "{kinds:?}");
    assert!(!kinds.contains(&b"MSG".to_vec()), "{kinds:?}");
    assert_eq!(writes(), 1);
    // The write twice in the same connection: done once, and the connection ends.
    let mut writer = client("put", &put);
    listen_in(&listener, aim.address(), None);
    listen_in(&listener, aim.address(), Some(WRITE));
    assert_ne!(writer.exit_code(BOUND), None);
    assert_eq!(writes(), 2);
    aim.assert_alive();
}
