//! T1, T2: what is nested or counted without end.

use super::{BAD_DECODING_ERROR, BAD_SERVICE_UNSUPPORTED};
use crate::support::{
    alone::{Memory, alone},
    raw::{
        ACTIVATE_SESSION, CALL, CLOSE_SESSION, FAULT, GET_ENDPOINTS, NOTHING_MORE, PUBLISH, Peer, READ, Target, WRITE, count,
        extension, id, number, request, tag, target, text,
    },
    requests::good_requests,
};

const BAD_REQUEST_TYPE_INVALID: u32 = 0x8053_0000;

/// What a value can hide: the start of a Variant that holds itself again and again.
fn bombs() -> [(&'static str, Vec<u8>); 4] {
    [
        ("DiagnosticInfo in DiagnosticInfo", [&[25][..], &vec![0x40; 60_000], &[0]].concat()),
        ("Variant in DataValue in Variant", [23_u8, 1].repeat(30_000)),
        ("Variant in an array of Variant", [0x98, 1, 0, 0, 0].repeat(12_000)),
        ("ExtensionObject in DataValue", [23, 1, 22, 2, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0, 0].repeat(4_000)),
    ]
}

/// A KeyValuePair with that value.
fn pair(value: &[u8]) -> Vec<u8> {
    extension(14_846, &[&[0, 0, 0, 0, 0, 0][..], value].concat())
}

#[test]
fn t1_nesting_before_any_session() {
    alone(|| {
        let aim = Target::start(|_| ());
        let memory = Memory::watch();
        for (what, bomb) in bombs() {
            let mut peer = aim.connect();
            peer.hello();
            let (kind, _) = peer.open_with(0, &pair(&bomb)).expect("an answer");
            assert_eq!(kind, "OPN", "{what}");
            let mut peer = aim.connect();
            peer.hello();
            peer.open();
            let body = [request(GET_ENDPOINTS, &[0, 0], &pair(&bomb)), text(""), count(0), count(0)].concat();
            peer.message(b'F', &body[..body.len().min(65_000)]);
            drop(peer.receive());
        }
        // In the identity token, which is looked at before anybody is logged in.
        for (what, bomb) in bombs() {
            let mut peer = aim.connect();
            peer.hello();
            peer.open();
            let answer = peer.create_session();
            peer.session = crate::support::raw::token_of(&answer.body);
            for kind in [321, 324, 327, 940] {
                let token = extension(kind, &bomb[..50_000]);
                let answer = peer.call(ACTIVATE_SESSION, &[vec![0xFF; 8], count(0), count(0), token].concat());
                assert_eq!(answer.kind, FAULT, "{what} as token {kind}");
            }
        }
        aim.assert_alive();
        memory.assert_within(16);
    });
}

#[test]
fn t2_nesting_in_values() {
    alone(|| {
        let aim = Target::start(|_| ());
        let memory = Memory::watch();
        let mut peer = aim.log_in();
        for (what, bomb) in bombs() {
            let value = [count(1), id(2_258), count(13), text(""), vec![1], bomb.clone()].concat();
            assert_eq!(peer.call(WRITE, &value).head(), (FAULT, BAD_DECODING_ERROR), "{what} in a Write");
            let argument = [count(1), tag("System/Gateway/Twilio"), tag("System/Gateway/Twilio/GetUser"), count(1), bomb.clone()];
            assert_eq!(peer.call(CALL, &argument.concat()).head(), (FAULT, BAD_DECODING_ERROR), "{what} in a Call");
        }
        // In filters: an ExtensionObject that is not decoded until it is known what it should be.
        let answer = peer.subscription(1_000.0, 1_000, 10);
        let subscription = u32::from_le_bytes(answer.body[..4].try_into().unwrap());
        for (what, bomb) in bombs() {
            for kind in [724, 727, 730, 14_846] {
                let answer = peer.item(subscription, &target(&id(2_253), 12, ""), 0.0, &extension(kind, &bomb), 1);
                assert_eq!(answer.head(), (754, 0), "{what} as filter {kind}");
                assert_ne!(number(&answer.body, 4), 0, "{what} as filter {kind}");
            }
        }
        // The same connection goes on, and nothing was written.
        assert_eq!(peer.read_state(), 0);
        assert!(aim.plant.writes.lock().unwrap().is_empty());
        aim.assert_alive();
        memory.assert_within(16);
    });
}

#[test]
fn counts_without_content_are_malformed() {
    alone(|| {
        let aim = Target::start(|_| ());
        let memory = Memory::watch();
        let mut peer = aim.log_in();
        for (kind, body) in [
            (READ, [vec![0; 8], count(2), vec![0xFF, 0xFF, 0xFF, 0x7F]].concat()),
            (READ, [vec![0; 8], count(2), vec![0xFE, 0xFF, 0xFF, 0xFF]].concat()),
            (WRITE, vec![0xFF, 0xFF, 0xFF, 0x0F]),
            (WRITE, [count(1), id(2_258), count(13), text(""), vec![1, 0x86, 0xFF, 0xFF, 0xFF, 0x7F]].concat()),
            (CALL, [count(1), id(2_253), id(11_492), vec![0xFF, 0xFF, 0xFF, 0x7F]].concat()),
            (GET_ENDPOINTS, vec![0xFF, 0xFF, 0xFF, 0x7F]),
            (READ, vec![]),
        ] {
            let answer = peer.call(kind, &body);
            assert_eq!(answer.head(), (FAULT, BAD_DECODING_ERROR), "{kind} {body:?}");
        }
        // Every request of this server, with nothing behind its header and with only counts.
        for kind in (300..1_000).chain([12_212, 16_534]) {
            for body in [vec![], vec![0xFF; 64], vec![0x7F; 64], vec![0; 64]] {
                if kind == PUBLISH || kind == CLOSE_SESSION {
                    continue;
                }
                peer.call(kind, &body);
            }
        }
        memory.assert_within(32);
    });
}

/// The code of the ServiceFault that comes next, and the handle that it names.
fn fault(peer: &mut Peer) -> (u32, u32) {
    let (kind, content) = peer.receive().expect("an answer");
    assert_eq!((&*kind, &content[16..20]), ("MSG", &[1, 0, 0x8D, 1][..]), "a ServiceFault: {content:?}");
    (number(&content, 16 + 4 + 8 + 4), number(&content, 16 + 4 + 8))
}

#[test]
fn what_breaks_off_is_answered_with_its_code() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        for good in good_requests(1, 1) {
            let header = request(good.kind, &peer.session, NOTHING_MORE);
            // From the first byte to the last but one of the header: the handle is told as soon as it can be read.
            let handle_ends = header.len() - NOTHING_MORE.len() - 4 - 4 - 4;
            for length in 0..header.len() {
                peer.message(b'F', &header[..length]);
                let known = length >= 7 && ![488, 615].contains(&good.kind);
                let code = if length >= 7 && !known { BAD_SERVICE_UNSUPPORTED } else { BAD_DECODING_ERROR };
                let handle = if length >= handle_ends { 4_711 } else { 0 };
                assert_eq!(fault(&mut peer), (code, handle), "{} cut after {length} bytes", good.kind);
            }
        }
        // A header whose parts are none: a token of no form, a text that is none, an additional header of no encoding.
        let session = peer.session.clone();
        let bad = [
            [id(READ), vec![0x3F; 80]].concat(),
            [&id(READ)[..], &session, &[0; 8], &4_711_u32.to_le_bytes(), &[0; 4], &count(2), &[0xC3, 0x28], &[0; 20]].concat(),
            request(READ, &session, &[0, 0, 7]),
            vec![0xFF; 40],
        ];
        for (body, handle) in bad.iter().zip([0, 4_711, 4_711, 0]) {
            peer.message(b'F', body);
            assert_eq!(fault(&mut peer), (BAD_DECODING_ERROR, handle), "{body:?}");
        }
        assert_eq!(peer.read_state(), 0, "the connection goes on");
    });
}

#[test]
fn a_malformed_opening_is_answered_with_its_code() {
    alone(|| {
        let aim = Target::start(|_| ());
        let code = |content: &[u8]| {
            // Channel, policy, two nulls, sequence header; then the ServiceFault.
            let body = &content[4 + 4 + 47 + 8 + 8..];
            assert_eq!(&body[..4], &[1, 0, 0x8D, 1], "a ServiceFault: {body:?}");
            number(body, 4 + 8 + 4)
        };
        // The first OPN: a ServiceFault, then the end, because there is no channel.
        let mut peer = aim.connect();
        peer.hello();
        let (kind, content) = peer.open_with(0, &[0, 0, 7]).expect("an answer");
        assert_eq!((&*kind, code(&content)), ("OPN", BAD_DECODING_ERROR));
        assert_eq!(peer.error(), BAD_DECODING_ERROR);
        // A renewal: the channel goes on with the token that it has.
        let mut peer = aim.log_in();
        for additional in [&[0, 0, 7][..], &[0x3F], &[]] {
            let (kind, content) = peer.open_with(1, additional).expect("an answer");
            assert_eq!((&*kind, code(&content)), ("OPN", BAD_DECODING_ERROR));
            assert_eq!(peer.read_state(), 0);
        }
        let (kind, content) = peer.open_with(0, NOTHING_MORE).expect("an answer");
        assert_eq!((&*kind, code(&content)), ("OPN", BAD_REQUEST_TYPE_INVALID), "a second first one");
        assert_eq!(peer.read_state(), 0);
    });
}

#[test]
fn unknown_services_are_told_so() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        for unknown in [1, 841_000, 999_999, 400, 437] {
            let answer = peer.call(unknown, &[0xFF; 100]);
            assert_eq!(answer.head(), (FAULT, BAD_SERVICE_UNSUPPORTED), "{unknown}");
        }
        // A request that is none, of no session.
        peer.session = [&[5, 0, 0][..], &count(32), &[9; 32]].concat();
        let answer = peer.call(631, NOTHING_MORE);
        assert_eq!(answer.head(), (FAULT, super::BAD_SESSION_ID_INVALID));
    });
}
