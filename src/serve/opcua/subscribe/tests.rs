//! The state machine on invented time, over a real tag table.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        events::{Event, Hub},
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Reader, Timestamps},
    },
    filter::Filter,
    items::{Mode, Parameters, Place},
    *,
};
use crate::{
    engine::plan::TagTraits,
    tag::{DataType, Reading, Sample, TagId, TagTable, Tap, Value, ValueType},
};

/// Tags 0 … 99, all Int32; node `Own(n)` is tag n.
pub(super) struct Bench {
    pub(super) table: TagTable,
    pub(super) hub: Hub,
    pub(super) subscriptions: Subscriptions,
    pub(super) begin: Instant,
    pub(super) out: Vec<Reply>,
    pub(super) request: u32,
}

pub(super) struct Table<'a>(pub(super) &'a TagTable, pub(super) &'a Hub);

impl Sampler for Table<'_> {
    fn reading(&self, tag: TagId) -> Reading {
        self.0.read(tag)
    }
    fn version(&self, tag: TagId) -> u64 {
        self.0.version(tag)
    }
    fn block_version(&self, tag: TagId) -> u64 {
        self.0.block_version(tag)
    }
    fn tap(&self, tag: TagId, room: usize) -> Arc<Tap> {
        self.0.tap([tag], room)
    }
    fn attribute(&self, _: NodeRef, _: u32) -> Result<Vec<u8>, StatusCode> {
        Ok(vec![1, 1])
    }
    fn find(&self, _: Id<'_>) -> Option<NodeRef> {
        None
    }
    fn tag(&self, node: NodeRef) -> Option<(TagId, Arc<TagTraits>)> {
        let NodeRef::Own(index) = node else { return None };
        Some((TagId(index), Arc::new(TagTraits::of(ValueType::scalar(DataType::Int32)))))
    }
    fn generation(&self) -> usize {
        1
    }
    fn wall(&self) -> Timestamp {
        Timestamp::from_ticks(1)
    }
    fn hub(&self) -> &Hub {
        self.1
    }
    fn may_see(&self, _: &Event) -> bool {
        true
    }
    fn event_id(&self) -> [u8; 16] {
        [7; 16]
    }
}

/// What a Publish response said.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Values(Vec<(u32, i32, u32)>),
    KeepAlive,
    Ended(StatusCode),
    Fault(StatusCode),
}

pub(super) fn understand(body: &[u8]) -> (Said, u32) {
    let mut r = Reader::new(body);
    let kind = r.id().unwrap().standard().unwrap();
    r.take(12).unwrap();
    let result = StatusCode(r.u32().unwrap());
    if kind == 397 {
        return (Said::Fault(result), 0);
    }
    r.take(1 + 4 + 3 + 4).unwrap();
    for _ in 0..r.count(4).unwrap() {
        r.u32().unwrap();
    }
    let _more = r.boolean().unwrap();
    let sequence = r.u32().unwrap();
    r.time().unwrap();
    if r.count(1).unwrap() == 0 {
        return (Said::KeepAlive, sequence);
    }
    let data = r.extension().unwrap();
    let mut body = Reader::new(data.body.unwrap());
    if data.type_id.standard() == Some(820) {
        return (Said::Ended(StatusCode(body.u32().unwrap())), sequence);
    }
    let values = (0..body.count(4).unwrap()).map(|_| {
        let handle = body.u32().unwrap();
        let mask = body.u8().unwrap();
        let value = if mask & 1 == 1 {
            assert_eq!(body.u8().unwrap(), 6);
            body.i32().unwrap()
        } else {
            i32::MIN
        };
        (handle, value, if mask & 2 == 2 { body.u32().unwrap() } else { 0 })
    });
    (Said::Values(values.collect()), sequence)
}

fn parameters(tag: u32, queue: u32, sampling: Duration, discard_oldest: bool) -> Parameters {
    Parameters { handle: tag, sampling, filter: Filter::default(), queue, discard_oldest, timestamps: Timestamps::Neither }
}

impl Bench {
    pub(super) fn new(interval: f64, keep_alive: u32, lifetime: u32) -> (Self, u32) {
        let mut bench = Self {
            table: TagTable::default(),
            hub: Hub::default(),
            subscriptions: Subscriptions::new(Limits::default(), Arc::default(), Arc::default()),
            begin: Instant::now(),
            out: Vec::new(),
            request: 0,
        };
        let wanted = Wanted { interval, lifetime, keep_alive, notifications: 0, priority: 0 };
        let (id, _) = bench.subscriptions.create(wanted, true, bench.begin).unwrap();
        (bench, id)
    }

    pub(super) fn set(&self, tag: u32, value: i32, status: StatusCode) {
        let value = if status.is_bad() { Value::Null } else { Value::Int32(value) };
        self.table.write(&[Sample { tag: TagId(tag), value, status, source_time: Timestamp::from_ticks(7) }]);
    }

    pub(super) fn watch(&mut self, subscription: u32, tag: u32, queue: u32, sampling: u64, discard_oldest: bool) -> u32 {
        let items = &mut self.subscriptions.get(subscription).unwrap().items;
        let place = Place { id: Id::numeric(2, tag), node: NodeRef::Own(tag), attribute: attribute::VALUE, range: None };
        let sampling = match (sampling, queue) {
            (0, 1) => Duration::from_millis(10),
            (sampling, _) => Duration::from_millis(sampling),
        };
        let parameters = parameters(tag, queue, sampling, discard_oldest);
        let at = (self.begin, Duration::from_millis(100));
        items.add(place, Mode::Reporting, parameters, at, &Table(&self.table, &self.hub))
    }

    fn publish(&mut self) {
        self.request += 1;
        self.subscriptions.publish(self.request, self.request, 0, &[], self.begin, &mut self.out);
    }

    /// Ticks at each 10 ms up to `until` and gives what was said.
    fn run(&mut self, from: u64, until: u64) -> Vec<(Said, u32)> {
        for step in from / 10..=until / 10 {
            let now = self.begin + Duration::from_millis(step * 10);
            self.subscriptions.tick(now, &Table(&self.table, &self.hub), &mut self.out);
        }
        self.out.drain(..).map(|reply| understand(&reply.body)).collect()
    }
}

#[test]
fn news_comes_at_publishing_times_and_silence_is_kept_alive() {
    let (mut bench, id) = Bench::new(100.0, 3, 100);
    bench.set(1, 5, StatusCode::GOOD);
    bench.watch(id, 1, 1, 100, true);
    for _ in 0..10 {
        bench.publish();
    }
    assert_eq!(bench.run(10, 90), []);
    assert_eq!(bench.run(100, 190), [(Said::Values(vec![(1, 5, 0)]), 1)]);
    // Nothing new for three intervals: a keep-alive that names the next number.
    assert_eq!(bench.run(200, 390), []);
    assert_eq!(bench.run(400, 490), [(Said::KeepAlive, 2)]);
    bench.set(1, 6, StatusCode::GOOD);
    bench.set(1, 7, StatusCode::GOOD);
    assert_eq!(bench.run(500, 500), [(Said::Values(vec![(1, 7, 0)]), 2)]);
    bench.set(1, 7, StatusCode::BAD_NO_COMMUNICATION);
    assert_eq!(bench.run(600, 600), [(Said::Values(vec![(1, i32::MIN, 0x8031_0000)]), 3)]);
}

#[test]
fn without_a_publish_request_nothing_is_lost_until_life_ends() {
    let (mut bench, id) = Bench::new(100.0, 1, 5);
    bench.watch(id, 1, 1, 100, true);
    bench.set(1, 1, StatusCode::GOOD);
    assert_eq!(bench.run(10, 350), []);
    bench.set(1, 2, StatusCode::GOOD);
    bench.publish();
    // It is late: the answer does not wait for the next publishing time.
    assert_eq!(bench.run(360, 360).len(), 1);
    bench.publish();
    assert_eq!(bench.run(400, 400), [(Said::Values(vec![(1, 2, 0)]), 2)]);
    assert_eq!(bench.run(410, 1_000), []);
    bench.publish();
    assert_eq!(bench.run(1_010, 1_010), [(Said::Ended(StatusCode::BAD_TIMEOUT), 3)]);
    bench.publish();
    assert_eq!(bench.run(1_020, 1_020), [(Said::Fault(status::BAD_NO_SUBSCRIPTION), 0)]);
}

#[test]
fn queues_overflow_at_the_end_that_was_asked_for() {
    for (discard_oldest, wanted) in
        [(true, [(1, 4, 0x480), (1, 5, 0), (1, 6, 0)]), (false, [(1, 1, 0), (1, 2, 0), (1, 6, 0x480)])]
    {
        let (mut bench, id) = Bench::new(1_000.0, 10, 100);
        bench.set(1, 1, StatusCode::GOOD);
        bench.watch(id, 1, 3, 10, discard_oldest);
        bench.publish();
        for value in 2..=6_u64 {
            bench.set(1, i32::try_from(value).unwrap(), StatusCode::GOOD);
            assert_eq!(bench.run(value * 20, value * 20), []);
        }
        assert_eq!(bench.run(1_000, 1_000), [(Said::Values(wanted.to_vec()), 1)]);
    }
}

#[test]
fn the_fastest_sampling_with_a_queue_keeps_every_value() {
    let (mut bench, id) = Bench::new(200.0, 10, 100);
    bench.set(1, 0, StatusCode::GOOD);
    let item = bench.watch(id, 1, 10, 0, true);
    assert_eq!(bench.table.taps(), 1);
    for _ in 0..6 {
        bench.publish();
    }
    (1..=4).for_each(|value| bench.set(1, value, StatusCode::GOOD));
    let values = |values: &[(i32, u32)]| Said::Values(values.iter().map(|(value, status)| (1, *value, *status)).collect());
    assert_eq!(bench.run(10, 200)[0].0, values(&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]));
    // Between two looks more than the tap holds: the gap is marked where it is, and the last value is there.
    bench.set(1, 5, StatusCode::GOOD);
    assert_eq!(bench.run(210, 260), []);
    (100..200).for_each(|value| bench.set(1, value, StatusCode::GOOD));
    let Said::Values(told) = bench.run(270, 400).remove(0).0 else { panic!() };
    assert_eq!((told.len(), told[0], told[9]), (10, (1, 190, 0x480), (1, 199, 0)));
    // A smaller queue keeps what was tapped so far, in order.
    (300..305).for_each(|value| bench.set(1, value, StatusCode::GOOD));
    let at = (bench.begin, Duration::from_millis(200));
    let (table, hub, items) = (&bench.table, &bench.hub, &mut bench.subscriptions.get(id).unwrap().items);
    let parameters = Parameters { queue: 2, ..parameters(1, 10, Duration::ZERO, true) };
    assert!(items.modify(item, parameters, &Table(table, hub)));
    items.settle(&[item], at, &Table(table, hub));
    assert_eq!(bench.run(410, 600)[0].0, values(&[(303, 0x480), (304, 0)]));
    bench.subscriptions.get(id).unwrap().items.remove_all(&[item]);
    assert_eq!(bench.table.taps(), 0);
}

#[test]
fn the_last_value_is_never_lost() {
    for (publishing, sampling) in
        [(10, 0), (10, 10), (10, 100), (50, 0), (50, 10), (100, 0), (100, 30), (100, 1_000), (1_000, 10)]
    {
        for queue in [1, 2, 10] {
            for pause in [10, 20, 50] {
                let (mut bench, id) = Bench::new(f64::from(publishing), 1_000, 3_000);
                bench.watch(id, 1, queue, sampling, true);
                let mut now = 10;
                let mut last = Vec::new();
                for round in 0..20 {
                    for value in [1_000 + round, 2_000 + round] {
                        bench.set(1, value, StatusCode::GOOD);
                        for _ in 0..20 {
                            bench.publish();
                        }
                        last.extend(bench.run(now, now + pause));
                        now += pause + 10;
                    }
                    // Longer than any sampling and publishing together.
                    for _ in 0..20 {
                        bench.publish();
                    }
                    last.extend(bench.run(now, now + 2_100));
                    now += 2_110;
                    let told = last.iter().rev().find_map(|(said, _)| match said {
                        Said::Values(values) => values.last().map(|(_, value, _)| *value),
                        _ => None,
                    });
                    let case = format!("publishing {publishing}, sampling {sampling}, queue {queue}, {pause} ms apart");
                    assert_eq!(told, Some(2_000 + round), "{case}");
                }
            }
        }
    }
}

#[test]
fn queues_have_a_bound_in_sum_and_keep_the_last_value() {
    let limits = Limits { queued_bytes_per_session: 2_000, ..Limits::default() };
    let (mut bench, _) = Bench::new(1_000.0, 10, 100);
    let counts = Arc::<Counts>::default();
    bench.subscriptions = Subscriptions::new(limits, Arc::clone(&counts), Arc::default());
    let wanted = Wanted { interval: 1_000.0, lifetime: 100, keep_alive: 10, notifications: 0, priority: 0 };
    let (id, _) = bench.subscriptions.create(wanted, true, bench.begin).unwrap();
    for tag in 0..10 {
        bench.set(tag, 0, StatusCode::GOOD);
        bench.watch(id, tag, 50, 10, tag % 2 == 0);
    }
    bench.publish();
    for value in 1..=40_u64 {
        for tag in 0..10 {
            bench.set(tag, i32::try_from(value).unwrap(), StatusCode::GOOD);
        }
        assert_eq!(bench.run(value * 20, value * 20), []);
        // One more notification may go beyond; and each item has its last value.
        assert!(counts.held.load(Ordering::Relaxed) < 2_000 + 10 * 200, "after {value}");
    }
    let Said::Values(told) = bench.run(1_000, 1_000).remove(0).0 else { panic!() };
    assert!(told.len() < 40, "{}", told.len());
    for tag in 0..10 {
        let values: Vec<_> = told.iter().filter(|(of, ..)| *of == tag).collect();
        assert_eq!(values.last().map(|(_, value, _)| *value), Some(40), "tag {tag}");
        assert!(values.iter().any(|(.., status)| *status == 0x480), "a gap is told: {values:?}");
    }
    // What was told waits to be acknowledged; then nothing is held.
    assert!(counts.held.load(Ordering::Relaxed) > 0);
    assert!(bench.subscriptions.get(id).unwrap().acknowledge(1));
    assert_eq!(counts.held.load(Ordering::Relaxed), 0);
    // Results of a Publish that waits, and a tap, are of the session's part too.
    bench.subscriptions.publish(7, 7, 0, &[(id, 9), (id, 10)], bench.begin, &mut bench.out);
    assert_eq!(counts.held.load(Ordering::Relaxed), 8);
    let item = bench.watch(id, 20, 10, 0, true);
    assert!(counts.held.load(Ordering::Relaxed) > 8 + 32 * size_of::<Reading>());
    bench.subscriptions.get(id).unwrap().items.remove_all(&[item]);
    bench.subscriptions.detach();
    assert_eq!(counts.held.load(Ordering::Relaxed), 0);
}

#[test]
fn triggers_tell_what_is_only_sampled() {
    let (mut bench, id) = Bench::new(100.0, 1_000, 3_000);
    for tag in 1..=3 {
        bench.set(tag, 0, StatusCode::GOOD);
    }
    let trigger = bench.watch(id, 1, 1, 0, true);
    let linked = bench.watch(id, 2, 5, 10, true);
    let other = bench.watch(id, 3, 1, 0, true);
    let at = (bench.begin, Duration::from_millis(100));
    let (table, hub, items) = (&bench.table, &bench.hub, &mut bench.subscriptions.get(id).unwrap().items);
    for item in [linked, other] {
        items.set_mode(item, Mode::Sampling);
    }
    items.settle(&[linked, other], at, &Table(table, hub));
    items.triggers.link(trigger, linked);
    items.triggers.link(trigger, linked);
    assert_eq!(items.triggers.len(), 1);
    for _ in 0..9 {
        bench.publish();
    }
    assert_eq!(bench.run(10, 100)[0].0, Said::Values(vec![(1, 0, 0)]));
    for value in 1..=3 {
        bench.set(2, value, StatusCode::GOOD);
        bench.set(3, value, StatusCode::GOOD);
        assert_eq!(bench.run(90 + 20 * u64::try_from(value).unwrap(), 100 + 20 * u64::try_from(value).unwrap()), []);
    }
    assert_eq!(bench.run(170, 290), []);
    bench.set(1, 1, StatusCode::GOOD);
    let told = bench.run(300, 300).remove(0).0;
    assert_eq!(told, Said::Values(vec![(1, 1, 0), (2, 0, 0), (2, 1, 0), (2, 2, 0), (2, 3, 0)]));
    // A trigger that is sampled triggers too, and says nothing itself; a disabled one does nothing.
    let (table, hub, items) = (&bench.table, &bench.hub, &mut bench.subscriptions.get(id).unwrap().items);
    items.set_mode(trigger, Mode::Sampling);
    items.settle(&[trigger], at, &Table(table, hub));
    bench.set(2, 9, StatusCode::GOOD);
    bench.set(1, 2, StatusCode::GOOD);
    assert_eq!(bench.run(310, 400)[0].0, Said::Values(vec![(2, 9, 0)]));
    let (table, hub, items) = (&bench.table, &bench.hub, &mut bench.subscriptions.get(id).unwrap().items);
    items.set_mode(trigger, Mode::Disabled);
    items.settle(&[trigger], at, &Table(table, hub));
    bench.set(2, 10, StatusCode::GOOD);
    bench.set(1, 3, StatusCode::GOOD);
    assert_eq!(bench.run(410, 600), []);
    let items = &mut bench.subscriptions.get(id).unwrap().items;
    assert_eq!(items.remove_all(&[linked]), [true]);
    assert_eq!(items.triggers.len(), 0);
    assert!(!items.triggers.unlink(trigger, linked));
}

#[test]
fn data_is_sent_once_more_when_asked() {
    let (mut bench, id) = Bench::new(100.0, 1_000, 3_000);
    for tag in 1..=3 {
        bench.set(tag, 5, StatusCode::GOOD);
        bench.watch(id, tag, 1, 0, true);
    }
    for _ in 0..9 {
        bench.publish();
    }
    assert_eq!(bench.run(10, 100).len(), 1);
    bench.set(2, 6, StatusCode::GOOD);
    bench.subscriptions.resend(id, Timestamp::from_ticks(1)).unwrap();
    let Said::Values(mut told) = bench.run(110, 200).remove(0).0 else { panic!() };
    told.sort_unstable();
    assert_eq!(told, [(1, 5, 0), (2, 6, 0), (3, 5, 0)]);
    assert_eq!(bench.subscriptions.handles(id), Ok(vec![(1, 1), (2, 2), (3, 3)]));
    assert_eq!(bench.subscriptions.handles(id + 1), Err(status::BAD_SUBSCRIPTION_ID_INVALID));
}

#[test]
fn a_transferred_subscription_goes_on_and_the_old_client_is_told() {
    let (mut bench, id) = Bench::new(100.0, 1_000, 3_000);
    bench.set(1, 5, StatusCode::GOOD);
    bench.watch(id, 1, 1, 0, true);
    for _ in 0..2 {
        bench.publish();
    }
    assert_eq!(bench.run(10, 100), [(Said::Values(vec![(1, 5, 0)]), 1)]);
    let mut other = Subscriptions::new(Limits::default(), Arc::default(), Arc::default());
    let given = bench.subscriptions.give(id).unwrap();
    assert_eq!(given.available().collect::<Vec<_>>(), [1]);
    other.adopt(given);
    assert_eq!(bench.run(110, 110), [(Said::Ended(status::GOOD_SUBSCRIPTION_TRANSFERRED), 2)]);
    std::mem::swap(&mut bench.subscriptions, &mut other);
    bench.publish();
    bench.set(1, 6, StatusCode::GOOD);
    assert_eq!(bench.run(120, 200), [(Said::Values(vec![(1, 6, 0)]), 2)]);
    assert!(bench.subscriptions.get(id).unwrap().republish(1).is_some());
    assert!(other.get(id).is_err());
}

#[test]
fn cancelled_requests_are_answered() {
    let (mut bench, _) = Bench::new(100.0, 100, 300);
    for _ in 0..3 {
        bench.publish();
    }
    let mut out = Vec::new();
    assert_eq!((bench.subscriptions.cancel(2, &mut out), bench.subscriptions.cancel(7, &mut out)), (1, 0));
    assert_eq!((out[0].request_id, understand(&out[0].body).0), (2, Said::Fault(status::BAD_REQUEST_CANCELLED_BY_CLIENT)));
}

#[test]
fn the_highest_priority_comes_first_and_equals_take_turns() {
    let (mut bench, first) = Bench::new(100.0, 100, 300);
    let wanted = |priority| Wanted { interval: 100.0, lifetime: 300, keep_alive: 100, notifications: 0, priority };
    let (second, _) = bench.subscriptions.create(wanted(0), true, bench.begin).unwrap();
    let (high, _) = bench.subscriptions.create(wanted(9), true, bench.begin).unwrap();
    for (tag, id) in [(1, first), (2, second), (3, high)] {
        bench.set(tag, 0, StatusCode::GOOD);
        bench.watch(id, tag, 1, 0, true);
    }
    let mut order = Vec::new();
    for round in 1..=6 {
        (1..=3).for_each(|tag| bench.set(tag, round, StatusCode::GOOD));
        bench.publish();
        bench.publish();
        let at = u64::try_from(round).unwrap() * 100;
        for (said, _) in bench.run(at, at) {
            if let Said::Values(values) = said {
                order.push(values[0].0);
            }
        }
    }
    assert_eq!(order.iter().filter(|tag| **tag == 3).count(), 6, "{order:?}");
    assert!(order.iter().step_by(2).all(|tag| *tag == 3), "{order:?}");
    assert_eq!(order.iter().filter(|tag| **tag == 1).count(), 3, "{order:?}");
}

#[test]
fn large_news_goes_in_several_messages() {
    let mut bench = Bench::new(100.0, 100, 300).0;
    let wanted = Wanted { interval: 100.0, lifetime: 300, keep_alive: 100, notifications: 40, priority: 1 };
    let (id, _) = bench.subscriptions.create(wanted, true, bench.begin).unwrap();
    for tag in 0..100 {
        bench.set(tag, 1, StatusCode::GOOD);
        bench.watch(id, tag, 1, 0, true);
    }
    bench.publish();
    bench.publish();
    let told: Vec<_> = bench.run(100, 100);
    assert!(matches!(&told[..], [(Said::Values(a), 1), (Said::Values(b), 2)] if a.len() == 40 && b.len() == 40));
    // The rest goes as soon as there is a request: row 5.
    bench.publish();
    assert!(matches!(&bench.run(110, 110)[..], [(Said::Values(rest), 3)] if rest.len() == 20));
}

#[test]
fn slow_sampling_keeps_the_last_value() {
    let (mut bench, id) = Bench::new(100.0, 100, 300);
    bench.set(1, 1, StatusCode::GOOD);
    bench.watch(id, 1, 1, 1_000, true);
    for _ in 0..5 {
        bench.publish();
    }
    assert_eq!(bench.run(10, 110), [(Said::Values(vec![(1, 1, 0)]), 1)]);
    bench.set(1, 2, StatusCode::GOOD);
    assert_eq!(bench.run(120, 900), []);
    bench.set(1, 3, StatusCode::GOOD);
    assert_eq!(bench.run(1_000, 1_100), [(Said::Values(vec![(1, 3, 0)]), 2)]);
}

#[test]
fn items_in_many_blocks_each_tell_their_own() {
    let (mut bench, id) = Bench::new(100.0, 10, 100);
    for tag in (0..1_000).rev() {
        bench.set(tag, 0, StatusCode::GOOD);
        bench.watch(id, tag, 1, 0, true);
    }
    for _ in 0..4 {
        bench.publish();
    }
    let Said::Values(first) = &bench.run(100, 100)[0].0 else { panic!() };
    assert_eq!(first.len(), 1_000);
    for tag in [3, 64, 65, 999] {
        bench.set(tag, 9, StatusCode::GOOD);
    }
    let Said::Values(mut second) = bench.run(200, 200).remove(0).0 else { panic!() };
    second.sort_unstable();
    assert_eq!(second, [(3, 9, 0), (64, 9, 0), (65, 9, 0), (999, 9, 0)]);
}

#[test]
fn messages_are_kept_until_acknowledged() {
    let (mut bench, id) = Bench::new(100.0, 10, 100);
    bench.set(1, 1, StatusCode::GOOD);
    bench.watch(id, 1, 1, 0, true);
    bench.publish();
    bench.run(100, 100);
    let subscription = bench.subscriptions.get(id).unwrap();
    assert!(subscription.republish(1).is_some() && subscription.republish(2).is_none());
    assert!(subscription.acknowledge(1) && !subscription.acknowledge(1));
    assert!(subscription.republish(1).is_none());
}

#[test]
fn modes_and_removed_items_tell_nothing() {
    let (mut bench, id) = Bench::new(100.0, 100, 300);
    bench.set(1, 1, StatusCode::GOOD);
    let item = bench.watch(id, 1, 1, 0, true);
    let at = (bench.begin, Duration::from_millis(100));
    let (table, hub, items) = (&bench.table, &bench.hub, &mut bench.subscriptions.get(id).unwrap().items);
    for (mode, has_news) in [(Mode::Disabled, false), (Mode::Sampling, false), (Mode::Reporting, true)] {
        assert!(items.set_mode(item, mode));
        items.settle(&[item], at, &Table(table, hub));
        assert_eq!(items.has_news(), has_news, "{mode:?}");
    }
    assert_eq!(items.remove_all(&[item, 77]), [true, false]);
    assert!(!items.has_news());
}

#[test]
fn too_many_publish_requests_give_back_the_oldest() {
    let (mut bench, _) = Bench::new(100.0, 100, 300);
    for _ in 0..=Limits::default().publish_requests {
        bench.publish();
    }
    let oldest = bench.out.remove(0);
    assert_eq!((oldest.request_id, understand(&oldest.body).0), (1, Said::Fault(status::BAD_TOO_MANY_PUBLISH_REQUESTS)));
}

#[test]
fn terms_stay_inside_the_limits() {
    let limits = Limits::default();
    let revise = |interval, lifetime, keep_alive| {
        let terms = Terms::revise(Wanted { interval, lifetime, keep_alive, notifications: 0, priority: 0 }, &limits);
        (terms.interval.as_millis(), terms.lifetime, terms.keep_alive)
    };
    assert_eq!(revise(500.0, 1_200, 20), (500, 1_200, 20));
    assert_eq!(revise(-1.0, 0, 0), (10, 30, 10));
    assert_eq!(revise(f64::NAN, 1, 5), (10, 15, 5));
    assert_eq!(revise(f64::INFINITY, u32::MAX, u32::MAX), (60_000, 60, 20));
    assert_eq!(revise(1e300, 10, 1), (60_000, 10, 1));
}
