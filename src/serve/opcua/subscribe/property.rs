//! Whatever a client and the time do: nothing is lost or told twice between a server and a client that acknowledges what it got and
//! asks again for what it did not get.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{
    Reply,
    tests::{Bench, Said, Table, understand},
};
use crate::tag::StatusCode;

/// The tags that are written, each with its own count.
const TAGS: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Write(u32),
    /// A Publish request that acknowledges all that came.
    Publish,
    /// Steps of 10 ms.
    Pass(u64),
    /// The next message gets lost on its way.
    Lose,
    /// All that was lost is asked for again.
    Republish,
    SwitchPublishing(bool),
    /// The subscription goes to another session and comes back.
    Transfer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..TAGS).prop_map(Step::Write),
        4 => Just(Step::Publish),
        4 => (1_u64..40).prop_map(Step::Pass),
        1 => Just(Step::Lose),
        1 => Just(Step::Republish),
        1 => any::<bool>().prop_map(Step::SwitchPublishing),
        1 => Just(Step::Transfer),
    ]
}

/// A client's view of one subscription.
struct Client {
    bench: Bench,
    id: u32,
    now: u64,
    written: [i32; TAGS as usize],
    /// Messages by number; `None` for one that was lost.
    got: BTreeMap<u32, Option<Vec<(u32, i32)>>>,
    acknowledged: Vec<u32>,
    loses_next: bool,
}

impl Client {
    fn new() -> Self {
        let (mut bench, id) = Bench::new(100.0, 3, 1_000_000);
        for tag in 0..TAGS {
            bench.set(tag, 0, StatusCode::GOOD);
            bench.watch(id, tag, 100, 0, true);
        }
        let (got, acknowledged) = (BTreeMap::new(), Vec::new());
        Self { bench, id, now: 10, written: [0; TAGS as usize], got, acknowledged, loses_next: false }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(tag) => {
                let count = &mut self.written[*tag as usize];
                *count += 1;
                self.bench.set(*tag, *count, StatusCode::GOOD);
            }
            Step::Publish => self.publish(),
            Step::Pass(steps) => self.pass(*steps),
            Step::Lose => self.loses_next = true,
            Step::Republish => self.republish(),
            Step::SwitchPublishing(on) => self.bench.subscriptions.get(self.id).unwrap().machine.set_publishing(*on),
            Step::Transfer => {
                let given = self.bench.subscriptions.give(self.id).unwrap();
                self.bench.subscriptions.adopt(given);
            }
        }
    }

    fn publish(&mut self) {
        let unacknowledged = self.got.iter().filter(|(number, got)| got.is_some() && !self.acknowledged.contains(number));
        let numbers: Vec<u32> = unacknowledged.map(|(number, _)| *number).collect();
        let pairs: Vec<_> = numbers.iter().map(|number| (self.id, *number)).collect();
        self.bench.request += 1;
        let (request, begin) = (self.bench.request, self.bench.begin);
        self.bench.subscriptions.publish(request, request, 0, &pairs, begin, &mut self.bench.out);
        self.acknowledged.extend(numbers);
    }

    fn pass(&mut self, steps: u64) {
        for _ in 0..steps {
            let at = self.bench.begin + Duration::from_millis(self.now);
            self.bench.subscriptions.tick(at, &Table(&self.bench.table, &self.bench.hub), &mut self.bench.out);
            self.now += 10;
            for reply in std::mem::take(&mut self.bench.out) {
                self.hear(&reply);
            }
            self.check_kept();
        }
    }

    fn hear(&mut self, reply: &Reply) {
        let next = self.got.last_key_value().map_or(1, |(number, _)| number + 1);
        match understand(&reply.body) {
            (Said::Values(values), number) => {
                assert_eq!(number, next, "numbers leave nothing out");
                let values = values.into_iter().map(|(tag, value, status)| {
                    assert_eq!(status, 0, "nothing overflows");
                    (tag, value)
                });
                let lost = std::mem::take(&mut self.loses_next);
                self.got.insert(number, (!lost).then(|| values.collect()));
            }
            (Said::KeepAlive, number) => assert_eq!(number, next, "a keep-alive names the next number"),
            // The session that lost the subscription, and has it back.
            (
                Said::Ended(super::status::GOOD_SUBSCRIPTION_TRANSFERRED)
                | Said::Fault(super::status::BAD_TOO_MANY_PUBLISH_REQUESTS),
                _,
            ) => {}
            (other, number) => panic!("{other:?} with {number}"),
        }
    }

    /// What is not acknowledged can be asked for again.
    fn check_kept(&mut self) {
        let kept: Vec<u32> = self.bench.subscriptions.get(self.id).unwrap().available().collect();
        let wanted: Vec<u32> = self.got.keys().filter(|number| !self.acknowledged.contains(number)).copied().collect();
        let first = wanted.len().saturating_sub(kept.len());
        assert_eq!(kept, wanted[first..], "what is not acknowledged can be asked for again");
    }

    fn republish(&mut self) {
        let lost: Vec<u32> = self.got.iter().filter(|(_, got)| got.is_none()).map(|(number, _)| *number).collect();
        for number in lost {
            let message = self.bench.subscriptions.get(self.id).unwrap().republish(number).expect("it is kept").to_vec();
            // As a Publish response without results before it.
            let mut body = super::send::response(829, 0, StatusCode::GOOD);
            body.u32(self.id);
            body.count(0);
            body.boolean(false);
            body.0.extend_from_slice(&message);
            let (Said::Values(values), again) = understand(&body.0) else { panic!("no values in {message:?}") };
            assert_eq!(again, number);
            self.got.insert(number, Some(values.into_iter().map(|(tag, value, _)| (tag, value)).collect()));
        }
    }

    /// In the end everything that was written came, once and in order.
    fn ends_well(mut self) {
        self.bench.subscriptions.get(self.id).unwrap().machine.set_publishing(true);
        self.loses_next = false;
        // Each farewell of a transfer takes a request too; no more of them wait than a session may have subscriptions.
        for _ in 0..60 {
            self.publish();
            self.pass(20);
        }
        self.republish();
        for tag in 0..TAGS {
            let told = self.got.values().flatten().flatten().filter(|(of, _)| *of == tag).map(|(_, value)| *value);
            assert!(
                told.eq(0..=self.written[tag as usize]),
                "tag {tag} was written to {}: {:?}",
                self.written[tag as usize],
                self.got
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_told_twice(steps in prop::collection::vec(step(), 1..90)) {
        let mut client = Client::new();
        for step in &steps {
            client.take(step);
        }
        client.ends_well();
    }
}
