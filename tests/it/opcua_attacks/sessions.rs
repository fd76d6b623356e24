//! T7, T10, T13, T14: sessions and subscriptions that nobody needs, and rights that somebody has not.

use std::time::{Duration, Instant};

use annunciator::{
    engine::plan::Role,
    tag::{StatusCode, Value},
};

use super::{BAD_TOO_MANY_SESSIONS, BAD_TOO_MANY_SUBSCRIPTIONS, BAD_USER_ACCESS_DENIED};
use crate::support::{
    BOUND,
    alone::{Memory, alone},
    plant::past,
    raw::{
        CALL, CREATE_ITEMS, FAULT, NOTHING_MORE, PUBLISH, Peer, Target, count, double, extension, id, number, tag,
        target as node, text,
    },
};

#[test]
fn t7_sessions_that_nobody_activates() {
    alone(|| {
        let target = Target::start(|settings| {
            settings.limits.unactivated_per_peer = 5;
            settings.limits.activation = Duration::from_secs(3);
        });
        let memory = Memory::watch();
        let mut peer = target.connect();
        peer.hello();
        peer.open();
        for _ in 0..5 {
            assert_eq!(peer.create_session().status, 0);
        }
        for _ in 0..1_000 {
            assert_eq!(peer.create_session().status, BAD_TOO_MANY_SESSIONS);
        }
        // Somebody at another address is let in meanwhile.
        let mut neighbour = Peer::from([127, 0, 0, 2], target.address());
        neighbour.log_in();
        assert_eq!(neighbour.read_state(), 0);
        let deadline = Instant::now() + BOUND;
        while create(&target) == BAD_TOO_MANY_SESSIONS {
            assert!(Instant::now() < deadline, "unactivated sessions never end");
            std::thread::sleep(Duration::from_millis(50));
        }
        memory.assert_within(16);
    });
}

fn create(target: &Target) -> u32 {
    let mut peer = target.connect();
    peer.hello();
    peer.open();
    peer.create_session().status
}

#[test]
fn t7_sessions_are_bounded_and_come_free_again() {
    alone(|| {
        let target = Target::start(|settings| settings.limits.sessions = 20);
        let mut peer = target.log_in();
        for _ in 1..20 {
            peer.new_session();
        }
        assert_eq!(create(&target), BAD_TOO_MANY_SESSIONS);
        assert_eq!(peer.close_session(true).head(), (476, 0));
        target.log_in();
    });
}

#[test]
fn t10_names_and_tokens_that_are_none() {
    alone(|| {
        let target = Target::start(|settings| settings.anonymous = None);
        let memory = Memory::watch();
        let mut peer = target.connect();
        peer.hello();
        peer.open();
        let session = crate::support::raw::token_of(&peer.create_session().body);
        peer.session = session;
        let long = "x".repeat(40_000);
        let name = |name: &str, secret: &str| extension(324, &[text("username"), text(name), text(secret), text("")].concat());
        let tokens = [
            ("nobody", vec![0, 0, 0]),
            ("anonymous", extension(321, &text("anonymous"))),
            ("a user without a name", name("", "")),
            ("a long name", name(&long, "x")),
            ("a long password", name("olga", &long)),
            ("the right password, readable by all", name("olga", "öl pump 7")),
            ("half a token", extension(324, &text("username"))),
            ("an empty token", extension(324, &[])),
            ("a certificate that is none", extension(327, &[text("certificate"), text(&long)].concat())),
            ("an issued token", extension(940, &[text("issued"), text("x"), text("")].concat())),
            ("something else", extension(631, &[0; 100])),
        ];
        for (what, token) in tokens {
            let answer = peer.activate_as(&token);
            assert_eq!(answer.kind, FAULT, "{what} was let in");
            assert_ne!(answer.status, 0, "{what}");
        }
        target.assert_alive();
        memory.assert_within(16);
    });
}

#[test]
fn t13_a_viewer_changes_nothing() {
    alone(|| {
        let target = Target::start(|settings| settings.anonymous = Some(Role::Viewer));
        let mut peer = target.log_in();
        let (yes, number_one) = ([1_u8, 1, 1], [&[1_u8, 6][..], &[1, 0, 0, 0]].concat());
        let tags = ["Plant/Line1/Pump", "Plant/Line1/TankLevel/Alarms/HighHigh/Ack"].map(tag);
        assert_eq!(peer.write(&tags, "", &yes).codes(), [BAD_USER_ACCESS_DENIED; 2]);
        assert_eq!(peer.write(&[tag("Plant/Line1/Broken")], "", &number_one).codes(), [BAD_USER_ACCESS_DENIED]);
        // Not even with a wrong value, from which it would learn what is right.
        assert_eq!(peer.write(&[tag("Plant/Line1/Broken")], "", &yes).codes(), [BAD_USER_ACCESS_DENIED]);
        for (method, arguments) in [("SendMessage", 2), ("PlaceCall", 2), ("GetUser", 0)] {
            let argument = [&[12_u8][..], &text("+15550002222")].concat().repeat(arguments);
            let path = format!("System/Gateway/Twilio/{method}");
            let call = [count(1), tag("System/Gateway/Twilio"), tag(&path), count(arguments), argument].concat();
            let answer = peer.call(CALL, &call);
            assert_eq!((answer.status, number(&answer.body, 4)), (0, BAD_USER_ACCESS_DENIED), "{method}");
        }
        assert!(target.plant.writes.lock().unwrap().is_empty());
        assert!(target.plant.commands.lock().unwrap().is_empty());
    });
}

#[test]
fn t13_what_nobody_may_write() {
    alone(|| {
        let target = Target::start(|_| ());
        let mut peer = target.log_in();
        let nodes = [id(2_258), id(2_255), id(85), tag("System/Gateway/Twilio/MessagesSent"), tag("Plant/Line1")];
        for code in peer.write(&nodes, "", &[1, 1, 1]).codes() {
            assert_eq!(format!("{code:08X}"), "803B0000");
        }
        assert!(target.plant.writes.lock().unwrap().is_empty());
    });
}

#[test]
fn t14_subscriptions_that_nobody_asks_for() {
    alone(|| {
        let target = Target::start(|_| ());
        let memory = Memory::watch();
        let mut made = 0;
        let mut peer = target.log_in();
        for _ in 0..300 {
            for _ in 0..10 {
                // As long as it can be asked for: ten years.
                let answer = peer.subscription(3_600_000.0, 90_000, 30_000);
                if answer.status == BAD_TOO_MANY_SUBSCRIPTIONS {
                    continue;
                }
                assert_eq!(answer.status, 0);
                made += 1;
                let interval = Duration::from_secs_f64(double(&answer.body, 4) / 1_000.0);
                let (lifetime, keep_alive) = (number(&answer.body, 12), number(&answer.body, 16));
                assert!(interval <= Duration::from_secs(60), "{interval:?}");
                assert!(interval * lifetime <= Duration::from_secs(3_600), "{interval:?} x {lifetime}");
                assert!(lifetime >= 3 * keep_alive, "{lifetime} {keep_alive}");
            }
            assert_eq!(peer.close_session(false).head(), (476, 0));
            peer.new_session();
        }
        assert!(made >= 10, "{made}");
        // Whoever comes next has subscriptions too.
        peer.close_session(true);
        let mut neighbour = target.log_in();
        assert_eq!(neighbour.subscription(1_000.0, 1_000, 10).head(), (790, 0), "after {made} that were left behind");
        target.assert_alive();
        memory.assert_within(32);
    });
}

#[test]
fn t14_notifications_that_nobody_fetches() {
    const ITEMS: usize = 2_000;
    alone(|| {
        let target = Target::start(|settings| {
            settings.limits.queued_bytes_per_session = 512 << 10;
            settings.limits.queued_bytes = 1 << 20;
        });
        let counter = node(&tag("Plant/Line1/Counter"), 13, "");
        let asked = [&count(1)[..], &10.0_f64.to_le_bytes(), NOTHING_MORE, &count(100), &[1]].concat();
        let item = [&counter[..], &count(2), &asked].concat();
        let mut peers: Vec<_> = (0..4).map(|_| target.log_in()).collect();
        let mut subscriptions = Vec::new();
        for peer in &mut peers {
            let answer = peer.subscription(10_000.0, 1_000, 10);
            let subscription = number(&answer.body, 0);
            let head = [&subscription.to_le_bytes()[..], &count(2), &count(ITEMS)].concat();
            let answer = peer.call(CREATE_ITEMS, &[head, item.repeat(ITEMS)].concat());
            assert_eq!(answer.head(), (754, 0));
            subscriptions.push(subscription);
        }
        // Without a bound: 4 x 2,000 x 100 values of some 100 bytes, 76 MiB.
        let memory = Memory::watch();
        for value in 1..=100 {
            target.plant.set("Plant/Line1/Counter", Value::Int32(value), StatusCode::GOOD, past(value.into()));
            std::thread::sleep(Duration::from_millis(12));
        }
        memory.assert_within(16);
        // Who fetches gets what there is: of every item the last value, with the bits that say that others are missing.
        let (mut last, mut gaps) = (0, 0);
        while last < ITEMS {
            let answer = peers[0].call(PUBLISH, &count(0));
            assert_eq!((answer.head(), number(&answer.body, 0)), ((829, 0), subscriptions[0]));
            let told = |bytes: &[u8]| answer.body.windows(bytes.len()).filter(|found| *found == bytes).count();
            last += told(&[6, 100, 0, 0, 0]);
            gaps += told(&0x480_u32.to_le_bytes());
        }
        assert_eq!((last, gaps), (ITEMS, ITEMS), "each item tells its last value, and once that it lost others");
        target.assert_alive();
    });
}
