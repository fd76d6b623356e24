//! The whole program for as long as one likes: sessions come and go, subscriptions, items, events, alarms that come and are
//! acknowledged, reloads, and attacks in between. Its memory and its open files must be the same at the end.
//!
//! `cargo test --test it soak -- --ignored --nocapture` runs for `ANNUNCIATOR_SOAK_MINUTES` (10); every test run does 20 seconds.

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::support::{
    BOUND,
    alone::resident_of,
    mutate::mutate,
    port::free_port,
    program::{Daemon, binary},
    raw::{NOTHING_MORE, PUBLISH, Peer, count, extension, id, number, request, tag, target},
    requests::{event_filter, good_requests},
};

/// Tags with an alarm each.
const TAGS: usize = 40;
/// Growth that is none, in KiB: the allocator's own moods.
const MOODS: u64 = 16 * 1_024;
/// What one write may cost for as long as the figures of the last 24 hours are computed of what was recorded, in KiB.
const RECORDED: u64 = 1;
/// The most files of the store: one connection that writes, four that read and one that moves the log into the file, each with the
/// database and its log; the index of the log and the lock. They are opened as they are needed; what the moving one closes `SQLite`
/// keeps open while others hold locks on the file.
const STORE: usize = 6 * 2 + 2;

#[test]
fn soak_for_some_seconds() {
    soak(Duration::from_secs(20));
}

#[test]
#[ignore = "takes as long as one likes"]
fn soak_for_minutes() {
    let minutes = env::var("ANNUNCIATOR_SOAK_MINUTES").ok().map_or(10.0, |text| text.parse().expect("a number of minutes"));
    soak(Duration::from_secs_f64(minutes * 60.0));
}

/// What was done.
#[derive(Default)]
struct Tally {
    sessions: AtomicU64,
    notifications: AtomicU64,
    writes: AtomicU64,
    acknowledgements: AtomicU64,
    bad_messages: AtomicU64,
    reloads: AtomicU64,
}

impl Tally {
    fn line(&self) -> String {
        let Self { sessions, notifications, writes, acknowledgements, bad_messages, reloads } = self;
        format!(
            "{sessions:?} sessions, {notifications:?} publish answers, {writes:?} writes, {acknowledgements:?} acknowledgements, \
             {bad_messages:?} bad messages, {reloads:?} reloads"
        )
    }
}

/// The daemon and its folder.
struct Site {
    daemon: Daemon,
    folder: tempfile::TempDir,
    yard: Yard,
}

/// What the workers share.
struct Yard {
    address: SocketAddr,
    tally: Tally,
    end: Instant,
}

fn soak(duration: Duration) {
    let site = Site::start(duration);
    let yard = &site.yard;
    let rest = site.measure("before");
    let warm = thread::scope(|scope| {
        let seeds = 1..;
        for (seed, work) in seeds.zip([Yard::visit, Yard::visit, Yard::visit, Yard::operate, Yard::attack]) {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed);
                while !yard.is_over() {
                    work(yard, &mut rng);
                }
            });
        }
        site.reload_and_look(duration)
    });
    // Sessions that were left behind live for ten seconds, their subscriptions too.
    let deadline = Instant::now() + 2 * BOUND;
    let left = loop {
        let left = yard.left_behind();
        if left.is_none_or(|left| left == [1, 0]) || Instant::now() > deadline {
            break left;
        }
        thread::sleep(Duration::from_millis(200));
    };
    // The connection that asked last is closed by the server in its own time.
    while Files::of(site.daemon.child.id()).connected() > rest.files.connected() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let after = site.measure("after");
    println!("{duration:?}: {}", yard.tally.line());
    match left {
        Some(left) => assert_eq!(left, [1, 0], "sessions (this one asks) and subscriptions"),
        None => println!("the server does not tell how many sessions it has"),
    }
    after.files.assert_no_more_than(&rest.files);
    let recorded = RECORDED * (yard.tally.writes.load(Ordering::Relaxed) - warm.writes);
    assert!(after.resident <= warm.resident + MOODS + recorded, "warm {warm:?}, at the end {after:?}");
    site.daemon.stop();
}

#[derive(Debug)]
struct Measured {
    /// KiB.
    resident: u64,
    files: Files,
    /// Writes until then.
    writes: u64,
}

/// Open files by what they are.
#[derive(Debug, Default)]
struct Files {
    sockets: usize,
    /// Each asynchronous runtime has one, beside two that poll and a socket of its own: the program's, one for each thread of the
    /// OPC UA server, and that of the library that computes the figures of alarm management, from the first time on.
    events: usize,
    polls: usize,
    store: usize,
    others: usize,
}

impl Files {
    fn of(process: u32) -> Self {
        let mut files = Self::default();
        for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
            let count = match &*target {
                "anon_inode:[eventfd]" => &mut files.events,
                "anon_inode:[eventpoll]" => &mut files.polls,
                socket if socket.starts_with("socket:") => &mut files.sockets,
                store if store.contains("annunciator.db") => &mut files.store,
                _ => &mut files.others,
            };
            *count += 1;
        }
        files
    }

    /// Sockets of connections and listeners.
    fn connected(&self) -> usize {
        self.sockets - self.events
    }

    fn assert_no_more_than(&self, rest: &Self) {
        let runtimes = thread::available_parallelism().map_or(1, usize::from) + 2;
        assert!(self.connected() <= rest.connected(), "sockets: {rest:?} {self:?}");
        assert!(self.events <= runtimes && self.polls <= 2 * runtimes, "{runtimes} runtimes: {self:?}");
        assert!(self.store <= STORE && self.others <= rest.others, "{rest:?} {self:?}");
    }
}

impl Site {
    fn start(duration: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (console, opcua, webhooks) = (free_port(), free_port(), free_port());
        let config = format!(
            "[server]\nendpoint = 'opc.tcp://127.0.0.1:{opcua}/annunciator'\nsecurity = ['None']\nanonymous = 'engineer'\n\
             [http]\nwebhooks = '127.0.0.1:{webhooks}'\nconsole = '127.0.0.1:{console}'\n[store]\nurl = 'sqlite:annunciator.db'\n\
             [throttle]\nchatter = {{ enabled = false }}\nflood = {{ enabled = false }}\n"
        );
        for name in ["config", "tags"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("config/main.toml"), config).unwrap();
        write_tags(folder.path(), 0);
        let mut command = binary();
        command.arg("run");
        for name in ["config", "tags", "data"] {
            command.arg(format!("--{name}")).arg(folder.path().join(name));
        }
        let mut daemon = Daemon::spawn(&mut command, console);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(daemon.ready());
        let address = ([127, 0, 0, 1], opcua).into();
        let yard = Yard { address, tally: Tally::default(), end: Instant::now() + duration };
        Self { daemon, folder, yard }
    }

    /// Other tags every two seconds; what was measured after a fifth of the time.
    fn reload_and_look(&self, duration: Duration) -> Measured {
        let (start, mut warm, mut told) = (Instant::now(), None, Instant::now());
        while !self.yard.is_over() {
            write_tags(self.folder.path(), self.yard.tally.reloads.fetch_add(1, Ordering::Relaxed) + 1);
            self.daemon.signal("HUP");
            thread::sleep(Duration::from_secs(2));
            if warm.is_none() && start.elapsed() > duration / 5 {
                warm = Some(self.measure("warm"));
            }
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                println!("{:?}: {:?}; {}", start.elapsed(), self.measure("now"), self.yard.tally.line());
            }
        }
        warm.expect("measured when warm")
    }

    fn measure(&self, when: &str) -> Measured {
        let process = self.daemon.child.id();
        let writes = self.yard.tally.writes.load(Ordering::Relaxed);
        let measured = Measured { resident: resident_of(process).unwrap_or(0), files: Files::of(process), writes };
        println!("{when}: {measured:?}");
        measured
    }
}

impl Yard {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn pause(rng: &mut Rng, most: u64) {
        thread::sleep(Duration::from_millis(rng.u64(0..most)));
    }

    fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).expect("the server listens"))
    }

    /// A client of the usual kind: some values, all events, for a while; then it goes, one way or another.
    fn visit(&self, rng: &mut Rng) {
        let mut peer = self.connect();
        peer.log_in();
        self.tally.sessions.fetch_add(1, Ordering::Relaxed);
        let made = peer.subscription(50.0, 200, 10);
        assert_eq!(made.head(), (790, 0));
        let subscription = number(&made.body, 0);
        let deadband = extension(724, &[&1_u32.to_le_bytes()[..], &count(1), &0.5_f64.to_le_bytes()].concat());
        for _ in 0..rng.usize(1..20) {
            let level = target(&tag(&path(rng.usize(0..TAGS))), 13, "");
            let filter = if rng.bool() { &deadband[..] } else { NOTHING_MORE };
            peer.item(subscription, &level, 20.0, filter, rng.u32(0..20));
        }
        peer.item(subscription, &target(&id(2_253), 12, ""), 0.0, &extension(727, &event_filter()), 100);
        let refresh = [count(1), id(2_782), id(3_875), count(1), vec![7], subscription.to_le_bytes().to_vec()].concat();
        peer.call(712, &refresh);
        for _ in 0..rng.usize(0..60) {
            if self.is_over() {
                break;
            }
            let told = peer.call(PUBLISH, &count(0));
            assert!(told.status == 0, "{told:?}");
            self.tally.notifications.fetch_add(1, Ordering::Relaxed);
        }
        match rng.u32(0..10) {
            0 => drop(peer.close_session(false)),
            1 => {}
            2 => peer.send(*b"CLOF", &[0; 16]),
            3 => drop(peer.call(847, &[count(1), subscription.to_le_bytes().to_vec()].concat())),
            _ => drop(peer.close_session(true)),
        }
        Self::pause(rng, 200);
    }

    /// An operator: levels go up and down, alarms are acknowledged, commented, shelved.
    fn operate(&self, rng: &mut Rng) {
        let mut peer = self.connect();
        peer.log_in();
        for _ in 0..200 {
            if self.is_over() {
                break;
            }
            let path = path(rng.usize(0..TAGS));
            let level = [&[1, 11][..], &rng.choice([10.0_f64, 50.0, 95.0]).unwrap().to_le_bytes()].concat();
            peer.write(&[tag(&path)], "", &level);
            self.tally.writes.fetch_add(1, Ordering::Relaxed);
            let alarm = format!("{path}/Alarms/High");
            let done = peer.write(&[tag(&format!("{alarm}/Ack"))], "", &[1, 1, 1]);
            self.tally.acknowledgements.fetch_add(u64::from(done.status == 0 && done.codes() == [0]), Ordering::Relaxed);
            if rng.u32(0..10) == 0 {
                let minutes = rng.choice([0.0_f64, 1.0]).unwrap();
                peer.write(&[tag(&format!("{alarm}/Shelve"))], "", &[&[1, 11][..], &minutes.to_le_bytes()].concat());
            }
            Self::pause(rng, 20);
        }
        peer.close_session(true);
    }

    /// Somebody who means no good.
    fn attack(&self, rng: &mut Rng) {
        // Another address, so that its unactivated sessions are in nobody else's way.
        let mut peer = Peer::from([127, 0, 0, 2], self.address);
        match rng.u32(0..5) {
            0 => {
                peer.send(*b"HELF", &vec![0xFF; 60_000]);
                drop(peer.receive());
            }
            1 => {
                peer.hello();
                let bomb = [&id(14_846)[..], &[1], &count(60_007), &[0, 0, 0, 0, 0, 0, 25], &vec![0x40; 60_000]].concat();
                drop(peer.open_with(0, &bomb));
            }
            2 => {
                peer.hello();
                peer.open();
                for _ in 0..10 {
                    peer.message(b'C', &vec![0; 20_000]);
                }
            }
            _ => {
                peer.hello();
                peer.open();
                if peer.try_session() != 0 {
                    thread::sleep(Duration::from_millis(100));
                    return;
                }
                let good = good_requests(rng.u32(0..1_000), rng.u32(0..100));
                for _ in 0..100 {
                    let made = mutate(rng, &good);
                    peer.message(b'F', &[request(made.kind, &peer.session, NOTHING_MORE), made.body].concat());
                    self.tally.bad_messages.fetch_add(1, Ordering::Relaxed);
                }
                // The answers are taken by nobody.
            }
        }
        Self::pause(rng, 300);
    }

    /// CurrentSessionCount and CurrentSubscriptionCount of the server's diagnostics.
    fn left_behind(&self) -> Option<[u32; 2]> {
        let mut peer = self.connect();
        peer.log_in();
        let counts = [2_277, 2_285].map(|node| {
            let read = peer.read(&[target(&id(node), 13, "")]);
            // A DataValue whose first part is a UInt32.
            (read.body[5] == 7).then(|| number(&read.body, 6))
        });
        peer.close_session(true);
        counts[0].zip(counts[1]).map(|(sessions, subscriptions)| [sessions, subscriptions])
    }
}

fn path(place: usize) -> String {
    format!("Yard/Tank{place}/Level")
}

/// The tags; every other time some are gone.
fn write_tags(folder: &std::path::Path, round: u64) {
    let gone = if round % 2 == 1 { 5 } else { 0 };
    let tags = (gone..TAGS).map(|place| {
        format!(
            "[[tag]]\npath = '{}'\ntype = 'Double'\ninitial = 20.0\nunit = '%'\nrange = [0.0, 100.0]\nwritable = true\n\
             [[tag.alarm]]\nname = 'High'\nmode = 'above'\nsetpoint = 90.0\n",
            path(place)
        )
    });
    fs::write(folder.join("tags/yard.toml"), tags.collect::<String>()).unwrap();
}
