//! T3 to T6 and T9: sizes, chunks, silence, numbers out of turn.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    BAD_DECODING_ERROR, BAD_SECURE_CHANNEL_ID_INVALID, BAD_SESSION_ID_INVALID, BAD_TCP_MESSAGE_TOO_LARGE,
    BAD_TCP_MESSAGE_TYPE_INVALID, BAD_TCP_NOT_ENOUGH_RESOURCES, BAD_TIMEOUT,
};
use crate::support::{
    BOUND,
    alone::{Memory, alone},
    raw::{NOTHING_MORE, Peer, Target, WRITE, count, id, number, request, tag, text},
};

#[test]
fn t3_a_declared_size_is_never_waited_for() {
    alone(|| {
        let target = Target::start(|_| ());
        let memory = Memory::watch();
        let mut peer = target.connect();
        drop(peer.stream.write_all(b"HELF\xF0\xFF\xFF\xFF"));
        assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
        assert!(peer.receive().is_none());
        // The stream behind such a header ends with the connection, however much was to come.
        let block = vec![0x55_u8; 1 << 20];
        for header in [&b"HELF\xF0\xFF\xFF\xFF"[..], b"OPNF\xFF\xFF\xFF\x7F", b"MSGC\x01\x00\x01\x00", b"MSGF\x04\x00\x00\x00"] {
            let mut stream = TcpStream::connect(target.address()).unwrap();
            drop(stream.write_all(header));
            let sent = (0..400).take_while(|_| stream.write_all(&block).is_ok()).count();
            assert!(sent < 100, "{sent} MiB were taken behind {header:?}");
        }
        // Many at a time, each just under what a chunk may be and then silent.
        let mut peers: Vec<Peer> = (0..150).map(|_| target.connect()).collect();
        for peer in &mut peers {
            peer.send(*b"HELF", &vec![0; 60_000]);
        }
        target.assert_alive();
        memory.assert_within(48);
    });
}

#[test]
fn t4_chunks_without_end() {
    alone(|| {
        let target = Target::start(|_| ());
        let memory = Memory::watch();
        // More than a message may have before anybody is logged in.
        let mut peer = target.connect();
        peer.hello();
        peer.open();
        for _ in 0..5 {
            peer.message(b'C', &vec![0; 20_000]);
        }
        assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
        // After it: small ones and large ones.
        for (size, chunks) in [(0, 600), (1, 600), (60_000, 80)] {
            let mut peer = target.log_in();
            for _ in 0..chunks {
                peer.message(b'C', &vec![0; size]);
            }
            assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE, "{chunks} chunks of {size} bytes");
        }
        // What is given up is forgotten.
        let mut peer = target.log_in();
        for _ in 0..2_000 {
            peer.message(b'C', &vec![0; 30_000]);
            peer.message(b'A', &[0; 8]);
        }
        assert_eq!(peer.read_state(), 0);
        target.assert_alive();
        memory.assert_within(48);
    });
}

#[test]
fn t5_idle_connections() {
    alone(|| {
        let target = Target::start(|settings| settings.limits.hello = Duration::from_millis(1_000));
        let memory = Memory::watch();
        let started = Instant::now();
        for _ in 0..5 {
            let mut idle: Vec<Peer> = (0..300).map(|_| target.connect()).collect();
            // Those beyond what one address may have are refused at once, the others are told so in time.
            for (kind, content) in idle.iter_mut().filter_map(Peer::receive) {
                assert!(kind == "ERR" && [BAD_TIMEOUT, BAD_TCP_NOT_ENOUGH_RESOURCES].contains(&number(&content, 0)));
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60));
        target.assert_alive();
        memory.assert_within(32);
    });
}

#[test]
fn t6_a_handshake_left_half_done() {
    alone(|| {
        let target = Target::start(|settings| {
            settings.limits.hello = Duration::from_millis(400);
            settings.limits.open = Duration::from_millis(400);
            settings.limits.first_session = Duration::from_millis(400);
            settings.limits.connections_per_peer = 3;
        });
        let mut idle = target.connect();
        let mut greeted = target.connect();
        greeted.hello();
        let mut opened = target.connect();
        opened.hello();
        opened.open();
        // The fourth is refused at once.
        assert_eq!(target.connect().error(), BAD_TCP_NOT_ENOUGH_RESOURCES);
        for peer in [&mut idle, &mut greeted, &mut opened] {
            assert_eq!(peer.error(), BAD_TIMEOUT);
            assert!(peer.receive().is_none());
        }
        // A byte now and then does not stretch it, nor do discovery and renewals.
        let mut slow = target.connect();
        slow.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let started = Instant::now();
        while slow.stream.write_all(b"H").is_ok() && slow.receive().is_none() && started.elapsed() < Duration::from_secs(10) {}
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        target.assert_alive();
    });
}

#[test]
fn t9_what_breaks_the_channel_ends_the_connection() {
    alone(|| {
        let target = Target::start(|_| ());
        let attack = |what: &str, attack: &dyn Fn(&mut Peer), wanted: u32| {
            let mut peer = target.connect();
            attack(&mut peer);
            assert_eq!(format!("{:08X}", peer.error()), format!("{wanted:08X}"), "{what}");
            assert!(peer.receive().is_none(), "{what}: the connection goes on");
        };
        let opened = |peer: &mut Peer| {
            peer.hello();
            peer.open();
        };
        attack("no HEL", &|peer| peer.message(b'F', &[]), BAD_TCP_MESSAGE_TYPE_INVALID);
        attack(
            "two HEL",
            &|peer| {
                peer.hello();
                peer.send(*b"HELF", &[0; 24]);
            },
            BAD_TCP_MESSAGE_TYPE_INVALID,
        );
        attack(
            "MSG before OPN",
            &|peer| {
                peer.hello();
                peer.message(b'F', &[]);
            },
            0x807F_0000,
        );
        for (what, back) in [("a replayed sequence number", 1), ("an older sequence number", 2)] {
            attack(
                what,
                &|peer| {
                    opened(peer);
                    peer.sequence = peer.sequence.wrapping_sub(back);
                    peer.message(b'F', &[]);
                },
                0x8088_0000,
            );
        }
        attack(
            "a sequence number that leaves one out",
            &|peer| {
                opened(peer);
                peer.sequence += 1;
                peer.message(b'F', &[]);
            },
            0x8088_0000,
        );
        attack(
            "another channel",
            &|peer| {
                opened(peer);
                peer.channel += 1;
                peer.message(b'F', &[]);
            },
            BAD_SECURE_CHANNEL_ID_INVALID,
        );
        attack(
            "an unknown token",
            &|peer| {
                opened(peer);
                peer.token += 7;
                peer.message(b'F', &[]);
            },
            0x8087_0000,
        );
        attack(
            "a short MSG",
            &|peer| {
                opened(peer);
                let numbers = [peer.channel, peer.token].map(u32::to_le_bytes).concat();
                peer.send(*b"MSGF", &numbers);
            },
            BAD_DECODING_ERROR,
        );
        target.assert_alive();
    });
}

#[test]
fn t9_a_write_is_not_done_twice() {
    alone(|| {
        let target = Target::start(|_| ());
        let mut peer = target.log_in();
        let value = [&[1_u8, 1, 1][..]].concat();
        let body = [count(1), tag("Plant/Line1/Pump"), count(13), text(""), value].concat();
        let chunk = peer.chunk(b'F', &[request(WRITE, &peer.session, NOTHING_MORE), body].concat());
        peer.stream.write_all(&chunk).unwrap();
        assert_eq!(peer.answer().codes(), [0]);
        peer.stream.write_all(&chunk).unwrap();
        assert_eq!(peer.error(), 0x8088_0000);
        // On another channel it is of nobody.
        let mut other = target.connect();
        other.hello();
        other.open();
        drop(other.stream.write_all(&chunk));
        assert_eq!(other.error(), BAD_SECURE_CHANNEL_ID_INVALID);
        assert_eq!(target.plant.writes.lock().unwrap().len(), 1);
        target.assert_alive();
    });
}

#[test]
fn t9_a_renewal_of_no_channel_and_a_second_issue_are_refused() {
    alone(|| {
        let target = Target::start(|_| ());
        let mut peer = target.connect();
        peer.hello();
        let (kind, content) = peer.open_with(1, NOTHING_MORE).unwrap();
        assert_eq!((&*kind, number(&content, 0)), ("ERR", 0x807F_0000));
        let mut peer = target.connect();
        peer.hello();
        peer.open();
        // Answered with a ServiceFault: the channel goes on as it was.
        let (kind, content) = peer.open_with(0, NOTHING_MORE).unwrap();
        assert_eq!((&*kind, number(&content, 4 + 4 + 47 + 8 + 8 + 4 + 8 + 4)), ("OPN", 0x8053_0000));
        assert_eq!(peer.create_session().status, 0);
    });
}

#[test]
fn t9_a_session_belongs_to_one_channel_and_outlives_it() {
    alone(|| {
        let target = Target::start(|_| ());
        let mut first = target.log_in();
        assert_eq!(first.read_state(), 0);
        let mut second = target.connect();
        second.hello();
        second.open();
        second.session = first.session.clone();
        assert_eq!(second.read_state(), BAD_SECURE_CHANNEL_ID_INVALID, "the session is bound to the first channel");
        second.activate();
        assert_eq!(second.read_state(), 0);
        assert_eq!(first.read_state(), BAD_SECURE_CHANNEL_ID_INVALID);
        // A guessed token is no session, nor is another kind of id.
        second.session[10] ^= 1;
        assert_eq!(second.read_state(), BAD_SESSION_ID_INVALID);
        second.session = id(1);
        assert_eq!(second.read_state(), BAD_SESSION_ID_INVALID);
    });
}

#[test]
fn t6_what_has_begun_must_end() {
    alone(|| {
        let target = Target::start(|settings| settings.limits.incoming = Duration::from_millis(400));
        let mut half_chunk = target.log_in();
        half_chunk.stream.write_all(b"MSGF\x00\x01\0\0").unwrap();
        let mut half_message = target.log_in();
        half_message.message(b'C', &[0; 100]);
        let mut idle = target.log_in();
        for peer in [&mut half_chunk, &mut half_message] {
            assert_eq!(peer.error(), BAD_TIMEOUT);
        }
        // Many chunks one after another do not put the end off.
        let mut endless = target.log_in();
        let deadline = Instant::now() + BOUND;
        endless.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while endless.stream.peek(&mut [0]).is_err() {
            assert!(Instant::now() < deadline, "a message that never ends goes on");
            endless.message(b'C', &[0; 10]);
        }
        assert_eq!(endless.error(), BAD_TIMEOUT);
        assert_eq!(idle.read_state(), 0);
    });
}

#[test]
fn t6_nobody_stays_without_a_session() {
    alone(|| {
        let target = Target::start(|settings| settings.limits.first_session = Duration::from_millis(400));
        let mut peer = target.log_in();
        // CloseSession.
        assert_eq!(peer.call(473, &[1]).status, 0);
        assert_eq!(peer.error(), BAD_TIMEOUT);
    });
}

#[test]
fn t3_chunks_keep_to_what_was_agreed() {
    alone(|| {
        let target = Target::start(|_| ());
        // Before HEL nothing larger than a HEL is waited for.
        let mut peer = target.connect();
        drop(peer.stream.write_all(b"HELF\x00\x20\0\0"));
        assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
        let mut peer = target.connect();
        let sizes = [0, 8_192, 8_192, 0, 0_u32].map(u32::to_le_bytes).concat();
        peer.send(*b"HELF", &[sizes, text("opc.tcp://localhost")].concat());
        let (_, acknowledged) = peer.receive().unwrap();
        assert_eq!((number(&acknowledged, 4), number(&acknowledged, 8)), (8_192, 8_192));
        peer.open();
        peer.message(b'F', &vec![0; 8_192]);
        assert_eq!(peer.error(), BAD_TCP_MESSAGE_TOO_LARGE);
    });
}

#[test]
fn t9_the_old_token_is_good_until_the_new_one_is_used() {
    alone(|| {
        let target = Target::start(|_| ());
        let mut peer = target.log_in();
        let old = peer.token;
        let (kind, content) = peer.open_with(1, NOTHING_MORE).unwrap();
        assert_eq!(kind, "OPN");
        let new = number(&content, 4 + 4 + 47 + 8 + 8 + 4 + 24 + 4 + 4);
        assert_ne!(new, old);
        // The client goes on with the old one for a while, then changes over; the server answers with what the client used.
        assert_eq!(peer.read_state(), 0);
        peer.token = new;
        assert_eq!(peer.read_state(), 0);
        peer.token = old;
        peer.message(b'F', &[]);
        assert_eq!(peer.error(), 0x8087_0000);
        target.assert_alive();
    });
}

#[test]
fn t9_a_channel_ends_with_its_token() {
    alone(|| {
        let target = Target::start(|settings| {
            settings.limits.token = (Duration::from_millis(300), Duration::from_millis(300));
        });
        let mut peer = target.log_in();
        assert_eq!(peer.read_state(), 0);
        assert_eq!(peer.error(), 0x8086_0000);
    });
}
