//! T11: as much as a request can ask for, and numbers that are none.

use super::{BAD_NOTHING_TO_DO, BAD_TOO_MANY_OPERATIONS, BAD_TYPE_MISMATCH};
use crate::support::{
    alone::{Memory, alone},
    raw::{Answer, BROWSE, FAULT, Peer, READ, Target, count, double, extension, id, number, tag, target, text},
};

/// Doubles that a careless server multiplies, compares or sleeps for.
const EXTREMES: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, -1.0, 0.0, 1e300];

#[test]
fn t11_as_many_operations_as_fit() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        let one = target(&tag("Plant/Line1/Recipe"), 13, "");
        for (nodes, wanted) in [(0, BAD_NOTHING_TO_DO), (10_000, 0), (10_001, BAD_TOO_MANY_OPERATIONS)] {
            assert_eq!(peer.read(&vec![one.clone(); nodes]).status, wanted, "Read of {nodes}");
        }
        // The description of all of namespace 0 ten thousand times is more than an answer may be; a fault is its answer.
        let browse = |node: &[u8], nodes: usize| {
            let one = [node, &count(2), &[0, 0], &[1], &count(0), &count(63)].concat();
            [vec![0, 0], vec![0; 12], count(0), count(nodes), one.repeat(nodes)].concat()
        };
        for (nodes, wanted) in [(0, BAD_NOTHING_TO_DO), (1_000, 0), (1_001, BAD_TOO_MANY_OPERATIONS)] {
            assert_eq!(peer.call(BROWSE, &browse(&id(2_253), nodes)).status, wanted, "Browse of {nodes}");
        }
        for (nodes, wanted) in [(0, BAD_NOTHING_TO_DO), (1_000, 0), (1_001, BAD_TOO_MANY_OPERATIONS)] {
            let answer = peer.write(&vec![tag("Plant/Line1/Counter"); nodes], "", &[1, 1, 1]);
            assert_eq!(answer.status, wanted, "Write of {nodes}");
        }
        aim.assert_alive();
        memory.assert_within(64);
    });
}

#[test]
fn t11_values_as_large_as_fit() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        let recipe = [tag("Plant/Line1/Recipe")];
        let array = |kind: u8, element: &[u8], elements: usize| {
            [&[1, 0x80 | kind][..], &count(elements), &element.repeat(elements)].concat()
        };
        for (kind, element, elements) in
            [(4, &[0_u8, 0][..], 100_000), (1, &[1], 3_900_000), (12, &[0xFF; 4], 900_000), (3, &[7], 3_900_000)]
        {
            let answer = peer.write(&recipe, "", &array(kind, element, elements));
            assert!(answer.status != 0 || answer.codes() == [BAD_TYPE_MISMATCH], "{elements} of type {kind}: {answer:?}");
        }
        assert!(aim.plant.writes.lock().unwrap().is_empty());
        // Dimensions that multiply to more than there is, or to nothing.
        for dimensions in [[65_536_u32, 65_536], [u32::MAX, u32::MAX], [0, 0], [0, u32::MAX], [1 << 31, 2]] {
            let dimensions = [count(2), dimensions.map(u32::to_le_bytes).concat()].concat();
            let value = [&[1, 0xC4][..], &count(4), &[0; 8], &dimensions].concat();
            let answer = peer.write(&recipe, "", &value);
            assert!(answer.status != 0 || answer.codes() == [BAD_TYPE_MISMATCH], "{dimensions:?}: {answer:?}");
        }
        assert_eq!(peer.read_state(), 0);
        aim.assert_alive();
        memory.assert_within(256);
    });
}

#[test]
fn t11_numbers_that_are_none() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        for extreme in EXTREMES {
            // MaxAge.
            let read = [&extreme.to_le_bytes()[..], &count(2), &count(1), &target(&id(2_259), 13, "")].concat();
            let answer = peer.call(READ, &read);
            assert!([0, 0x8070_0000].contains(&answer.status), "MaxAge {extreme}: {:08X}", answer.status);
            // The publishing interval.
            let answer = peer.subscription(extreme, u32::MAX, u32::MAX);
            assert_eq!(answer.head(), (790, 0), "publishing interval {extreme}");
            let (subscription, interval) = (number(&answer.body, 0), double(&answer.body, 4));
            assert!((10.0..=60_000.0).contains(&interval), "publishing interval {extreme} became {interval}");
            // The sampling interval, and queues.
            for queue in [0, 1, u32::MAX] {
                let answer = peer.item(subscription, &target(&tag("Plant/Line1/Counter"), 13, ""), extreme, &[0, 0, 0], queue);
                let (status, sampling, queue) = item(&answer);
                assert_eq!(status, 0);
                assert!((0.0..=86_400_000.0).contains(&sampling), "sampling {extreme} became {sampling}");
                assert!((1..=10_000).contains(&queue), "{queue}");
            }
            // Deadbands, absolute and percent.
            for kind in [1_u32, 2, 3, u32::MAX] {
                let filter = extension(724, &[&1_u32.to_le_bytes()[..], &kind.to_le_bytes(), &extreme.to_le_bytes()].concat());
                let answer = peer.item(subscription, &target(&tag("Plant/Line1/TankLevel"), 13, ""), 0.0, &filter, 1);
                let (status, ..) = item(&answer);
                let allowed = match kind {
                    1 => extreme.is_finite() && extreme >= 0.0,
                    2 => (0.0..=100.0).contains(&extreme),
                    _ => false,
                };
                assert_eq!(status == 0, allowed, "deadband {kind} of {extreme}: {status:08X}");
            }
            delete(&mut peer, subscription);
        }
        aim.plant.set(
            "Plant/Line1/Counter",
            annunciator::tag::Value::Int32(1),
            annunciator::tag::StatusCode::GOOD,
            crate::support::plant::past(0),
        );
        aim.assert_alive();
        memory.assert_within(16);
    });
}

fn item(answer: &Answer) -> (u32, f64, u32) {
    assert_eq!(answer.head(), (754, 0));
    (number(&answer.body, 4), double(&answer.body, 12), number(&answer.body, 20))
}

fn delete(peer: &mut Peer, subscription: u32) {
    assert_eq!(peer.call(847, &[count(1), subscription.to_le_bytes().to_vec()].concat()).codes(), [0]);
}

#[test]
fn t11_ranges_that_are_none() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        let long = "1,".repeat(20_000);
        let ranges = [
            "0:4294967295",
            "4294967295:4294967296",
            "1:0",
            "1:1",
            ":",
            "::",
            "-1",
            "a",
            "0:",
            ":1",
            " 0",
            "0,0",
            "0:1,",
            "99999999999999999999",
            "0\u{0}",
            &long,
        ];
        for range in ranges {
            for node in [tag("Plant/Line1/Recipe"), tag("Plant/Line1/Counter"), id(2_255)] {
                let answer = peer.read(&[target(&node, 13, range)]);
                assert_eq!(answer.status, 0);
                // A status is in the DataValue, or the whole array that there is.
                assert_eq!(number(&answer.body, 0), 1);
            }
            let answer = peer.write(&[tag("Plant/Line1/Recipe")], range, &[1, 0x84, 0, 0, 0, 0]);
            assert_ne!(answer.codes(), [0], "{range}");
        }
        assert!(aim.plant.writes.lock().unwrap().is_empty());
        memory.assert_within(16);
    });
}

#[test]
fn t11_a_flood_of_publish_requests() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        assert_eq!(peer.subscription(60_000.0, 1_000, 100).status, 0);
        let body = [crate::support::raw::request(826, &peer.session, &[0, 0, 0]), count(0)].concat();
        for _ in 0..20_000 {
            peer.message(b'F', &body);
            // Those beyond what a session may have waiting are answered at once.
            if peer.sequence > 110 {
                assert_eq!(peer.answer().kind, FAULT);
            }
        }
        aim.assert_alive();
        memory.assert_within(16);
    });
}

#[test]
fn t11_paths_without_end() {
    alone(|| {
        let aim = Target::start(|_| ());
        let mut peer = aim.log_in();
        let memory = Memory::watch();
        // Up and down the hierarchy, again and again: each step both ways.
        let step = |inverse: u8| [&id(33)[..], &[inverse, 1], &[0, 0], &text("Objects")].concat();
        for steps in [64, 65, 1_000] {
            let elements: Vec<u8> = (0..steps).flat_map(|place| step(u8::from(place % 2 == 1))).collect();
            let path = [id(84), count(steps), elements].concat();
            let answer = peer.call(554, &[count(100), path.repeat(100)].concat());
            assert!(answer.status != 0 || number(&answer.body, 0) == 100);
        }
        let deep = vec!["x"; 20_000].join("/");
        assert_eq!(peer.read(&[target(&tag(&deep), 13, "")]).status, 0);
        aim.assert_alive();
        memory.assert_within(32);
    });
}
