//! A hundred thousand requests that are nearly right: good ones of every service, broken in ways that mean something. Without a
//! coverage-guided fuzzer, so that it runs with every test; the long run with one is in tests/fuzz.

use std::{
    env, fs, panic,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::support::{
    alone::{Memory, alone, resident_now},
    mutate::mutate,
    raw::{FAULT, NOTHING_MORE, Peer, READ, Target, count, id, number, request, target},
    requests::good_requests,
};

/// Connections at a time.
const ATTACKERS: u64 = 3;
/// Messages that are sent before it is looked what came back.
const WINDOW: usize = 50;
/// The request id and handle of the request that ends a window.
const END: u32 = 0x00E2_D0FF;

/// A number of the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// `ANNUNCIATOR_FUZZ_MESSAGES` and `ANNUNCIATOR_FUZZ_SEED` give another number of messages and another seed.
#[test]
fn requests_that_are_nearly_right() {
    alone(|| {
        let (messages, seed) = (setting("ANNUNCIATOR_FUZZ_MESSAGES", 100_000), setting("ANNUNCIATOR_FUZZ_SEED", 4));
        let panics = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&panics);
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            seen.fetch_add(1, Ordering::Relaxed);
            print(info);
        }));
        // Bounds that are reached, so that what is beyond them is tried too.
        let aim = Target::start(|settings| {
            settings.limits.subscriptions = 40;
            settings.limits.items = 2_000;
            settings.limits.sessions = 300;
            settings.limits.unactivated_per_peer = 250;
            settings.limits.activation = Duration::from_millis(500);
            settings.limits.session_timeout = (Duration::from_millis(500), Duration::from_secs(1));
        });
        let mut served = attack(&aim, messages / 4, seed, &panics);
        let (warm, memory) = (resident_now(), Memory::watch());
        served += attack(&aim, messages - messages / 4, seed + 1_000, &panics);
        aim.assert_alive();
        // Not only refusals of a session that is gone.
        assert!(served > messages / 8, "only {served} of {messages} were served");
        println!(
            "{messages} messages, {served} of them served, seed {seed}: {warm:?} KiB after a quarter, {:?} KiB at the end",
            resident_now()
        );
        memory.assert_within(48);
    });
}

/// What the targets in tests/fuzz begin with: `target/fuzz/corpus`.
#[test]
#[ignore = "writes files for the long run"]
fn fuzz_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz/corpus");
    for aim in ["decoder", "dispatch"] {
        fs::create_dir_all(folder.join(aim)).unwrap();
        for (place, good) in good_requests(1, 1).iter().enumerate() {
            // The first byte says which service it is for; zero is for none.
            let bytes = [&[u8::try_from(place).unwrap() + 1], &*good.body].concat();
            fs::write(folder.join(aim).join(format!("{place:02}-{}", good.kind)), bytes).unwrap();
        }
    }
}

/// How many were answered with something else than a fault.
fn attack(aim: &Target, messages: u64, seed: u64, panics: &AtomicUsize) -> u64 {
    thread::scope(|scope| {
        let each = |attacker| {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed * ATTACKERS + attacker);
                let (mut done, mut served) = (0, 0);
                while done < messages / ATTACKERS {
                    done += on_one_connection(aim, &mut rng, messages / ATTACKERS - done, panics, &mut served);
                }
                served
            })
        };
        let attackers: Vec<_> = (0..ATTACKERS).map(each).collect();
        attackers.into_iter().map(|attacker| attacker.join().expect("an attacker ends well")).sum()
    })
}

/// Sends until the connection ends, and says how many messages were looked at.
fn on_one_connection(aim: &Target, rng: &mut Rng, most: u64, panics: &AtomicUsize, served: &mut u64) -> u64 {
    let mut peer = aim.connect();
    peer.hello();
    peer.open();
    let Some(subscription) = log_in(&mut peer) else { return 0 };
    let mut looked_at = 0;
    while looked_at < most {
        let good = good_requests(subscription, subscription.wrapping_add(rng.u32(0..3)));
        let mut sent = Vec::new();
        for _ in 0..WINDOW {
            let made = mutate(rng, &good);
            let mut message = [request(made.kind, &peer.session, NOTHING_MORE), made.body].concat();
            // The header too, now and then; most often that ends the connection.
            if rng.u32(0..500) == 0 {
                let place = rng.usize(0..80.min(message.len()));
                message[place] = rng.u8(..);
            }
            let chunk = peer.chunk(b'F', &message);
            sent.push(chunk);
        }
        let end =
            [request(READ, &peer.session, NOTHING_MORE), vec![0; 8], count(2), count(1), target(&id(2_259), 13, "")].concat();
        let mut end = peer.chunk(b'F', &end);
        end[20..24].copy_from_slice(&END.to_le_bytes());
        drop(std::io::Write::write_all(&mut peer.stream, &[sent.concat(), end].concat()));
        let (answers, last) = window(&mut peer, served);
        let all_is_well = panics.load(Ordering::Relaxed) == 0;
        assert!(all_is_well && last != Last::Nothing, "after {looked_at} messages, one of {}", shown(&sent));
        match last {
            Last::Good => looked_at += WINDOW as u64,
            // Its own CloseSession, or ActivateSession as somebody else.
            Last::Fault => return looked_at + WINDOW as u64,
            Last::Error | Last::Nothing => return looked_at + answers,
        }
    }
    looked_at
}

/// A session with a subscription, which is zero when there are too many; `None` when there are too many sessions: those that were
/// left behind end when their time is over.
fn log_in(peer: &mut Peer) -> Option<u32> {
    if peer.try_session() != 0 {
        thread::sleep(Duration::from_millis(100));
        return None;
    }
    let answer = peer.subscription(50.0, 1_000, 10);
    Some(if answer.status == 0 { number(&answer.body, 0) } else { 0 })
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// The end of the window was read well.
    Good,
    /// It was refused.
    Fault,
    /// The connection ended with ERR.
    Error,
    /// It ended without a word: the server's task is gone.
    Nothing,
}

/// How many answers came until the window's end, and how it ended.
fn window(peer: &mut Peer, served: &mut u64) -> (u64, Last) {
    let mut answers = 0;
    loop {
        let Some((kind, content)) = peer.receive() else { return (answers, Last::Nothing) };
        if kind == "ERR" {
            return (answers, Last::Error);
        }
        if number(&content, 12) == END {
            return (answers, if number(&content, 32) == 0 { Last::Good } else { Last::Fault });
        }
        answers += 1;
        *served += u64::from(content.get(18..20) != Some(&FAULT.to_le_bytes()[..2]));
    }
}

fn shown(sent: &[Vec<u8>]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for message in sent {
        text.push_str("\n  ");
        for byte in message.iter().take(600) {
            let _ = write!(text, "{byte:02X}");
        }
    }
    text
}
