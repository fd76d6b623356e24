//! T12: event filters that cost more than they say.

use std::time::{Duration, Instant};

use annunciator::tag::{StatusCode, Value};

use crate::support::{
    alarms::{Alarms, Rows},
    alone::{Memory, alone},
    raw::{Answer, PUBLISH, Peer, Target, count, extension, id, number, target, text},
    requests::{operator, simple},
};

/// Part 4, 7.7.3.
const LIKE: u32 = 6;
const NOT: u32 = 7;
const IN_LIST: u32 = 9;
const AND: u32 = 10;
const OR: u32 = 11;

fn literal(words: &str) -> Vec<u8> {
    extension(597, &[&[12][..], &text(words)].concat())
}

fn refers(element: usize) -> Vec<u8> {
    extension(594, &count(element))
}

fn field(name: &str) -> Vec<u8> {
    extension(603, &simple(&[name], 13))
}

/// An EventFilter with these clauses.
fn filter(select: &[Vec<u8>], elements: &[Vec<u8>]) -> Vec<u8> {
    extension(727, &[count(select.len()), select.concat(), count(elements.len()), elements.concat()].concat())
}

fn message() -> Vec<Vec<u8>> {
    vec![simple(&["Message"], 13)]
}

/// CreateMonitoredItems on the Server object: the result's code.
fn subscribe(peer: &mut Peer, subscription: u32, filter: &[u8]) -> u32 {
    let answer = peer.item(subscription, &target(&id(2_253), 12, ""), 0.0, filter, 100);
    if answer.status == 0 { number(&answer.body, 4) } else { answer.status }
}

fn subscription(peer: &mut Peer) -> u32 {
    let answer = peer.subscription(50.0, 10_000, 20);
    assert_eq!(answer.status, 0);
    number(&answer.body, 0)
}

#[test]
fn t12_filters_that_are_refused() {
    alone(|| {
        let aim = Target::over(Alarms::new(Rows::new()), |_| ());
        let mut peer = aim.log_in();
        let subscription = subscription(&mut peer);
        let memory = Memory::watch();
        let yes = literal("x");
        let refused = [
            ("an element that refers to itself", filter(&message(), &[operator(NOT, &[refers(0)])])),
            ("two that refer to each other", filter(&message(), &[operator(NOT, &[refers(1)]), operator(NOT, &[refers(0)])])),
            ("an element that there is not", filter(&message(), &[operator(NOT, &[refers(1)])])),
            ("an element far away", filter(&message(), &[operator(NOT, &[extension(594, &[0xFF; 4])])])),
            ("an operator that there is not", filter(&message(), &[operator(99, std::slice::from_ref(&yes))])),
            ("no operand", filter(&message(), &[operator(AND, &[])])),
            ("a list of 2,000", filter(&message(), &[operator(IN_LIST, &vec![yes.clone(); 2_000])])),
            ("2,000 elements", filter(&message(), &vec![operator(AND, &[yes.clone(), yes]); 2_000])),
            (
                "a pattern of 60,000 characters",
                filter(&message(), &[operator(LIKE, &[field("SourceName"), literal(&"a_".repeat(25_000))])]),
            ),
            ("an open bracket", filter(&message(), &[operator(LIKE, &[field("SourceName"), literal("[a")])])),
            ("5,000 fields", filter(&vec![simple(&["Message"], 13); 2_000], &[])),
            ("nothing selected, and no end", extension(727, &[count(0), vec![0xFF, 0xFF, 0xFF, 0x7F]].concat())),
            ("operands without end", extension(727, &[count(0), count(1), count(9), vec![0xFF, 0xFF, 0xFF, 0x7F]].concat())),
        ];
        for (what, filter) in refused {
            assert_ne!(subscribe(&mut peer, subscription, &filter), 0, "{what} was taken");
        }
        // A path that is long or of nothing selects nothing, and whatever comes of it the server lives.
        for path in [vec!["x"; 2_000], vec![""; 100]] {
            subscribe(&mut peer, subscription, &filter(&[simple(&path, 13)], &[]));
        }
        assert_eq!(peer.read_state(), 0);
        aim.assert_alive();
        memory.assert_within(16);
    });
}

#[test]
fn t12_filters_that_are_taken_are_cheap() {
    alone(|| {
        let aim = Target::over(Alarms::new(Rows::new()), |_| ());
        let mut peer = aim.log_in();
        let subscription = subscription(&mut peer);
        let memory = Memory::watch();
        // Each element twice the next: two to the power of 190 ways to walk it.
        let deep: Vec<_> =
            (1..190).map(|next| operator(if next % 2 == 0 { AND } else { OR }, &[refers(next), refers(next)])).collect();
        let last = operator(LIKE, &[field("SourceName"), literal("%e%")]);
        let wide = filter(&vec![simple(&["Message"], 13); 900], &[deep, vec![last]].concat());
        // A pattern that a matcher which goes back tries in very many ways.
        let pattern = format!("{}b", "%e".repeat(40));
        let slow: Vec<_> = (1..100).map(|next| operator(OR, &[refers(next), refers(100)])).collect();
        let likes = vec![operator(LIKE, &[field("Message"), literal(&pattern)]); 2];
        let slow = filter(&message(), &[slow, likes].concat());
        let mut taken = 0;
        for filter in [&wide, &slow] {
            for _ in 0..200 {
                taken += u32::from(subscribe(&mut peer, subscription, filter) == 0);
            }
        }
        assert!(taken >= 200, "{taken} were taken");
        assert_eq!(subscribe(&mut peer, subscription, &filter(&message(), &[])), 0);
        let started = Instant::now();
        for round in 0..20 {
            let level = if round % 2 == 0 { 92.0 } else { 0.0 };
            aim.plant.set("Plant/Level", Value::Double(level), StatusCode::GOOD);
        }
        // All of it comes, and others are served meanwhile.
        let mut told = 0;
        while told < 20 {
            told += notifications(&peer.call(PUBLISH, &count(0)));
            aim.assert_alive();
            assert!(started.elapsed() < Duration::from_secs(30), "{told} messages in {:?}", started.elapsed());
        }
        memory.assert_within(192);
    });
}

/// Bytes of events in a Publish answer, in units of a small event.
fn notifications(answer: &Answer) -> usize {
    assert_eq!(answer.status, 0);
    answer.body.len().saturating_sub(60) / 60
}
