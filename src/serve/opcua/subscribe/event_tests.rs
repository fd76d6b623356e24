//! Event items on invented time: who gets what, queues that overflow, and the refresh of conditions.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        events::{
            Event, Field, Hub,
            base::{Base, EVENT_ID, event_type},
            filter::EventFilter,
        },
        space::NodeRef,
        wire::{Extension, Id, Reader, Writer},
    },
    events::{EventItems, EventParameters},
    items::Mode,
    subscription::Wanted,
    *,
};
use crate::{
    engine::plan::TagTraits,
    tag::{Reading, TagId, Tap, Value},
};

const OFF_NORMAL: u32 = 10_637;
pub(super) const OVERFLOW: &str = "overflow";

/// A server with events only.
#[derive(Default)]
struct World {
    hub: Hub,
    last_id: Cell<u8>,
}

impl Sampler for World {
    fn reading(&self, _: TagId) -> Reading {
        Reading::default()
    }
    fn version(&self, _: TagId) -> u64 {
        0
    }
    fn block_version(&self, _: TagId) -> u64 {
        0
    }
    fn tap(&self, _: TagId, _: usize) -> Arc<Tap> {
        unreachable!("events have no tags")
    }
    fn attribute(&self, _: NodeRef, _: u32) -> Result<Vec<u8>, StatusCode> {
        Err(StatusCode::BAD_NODE_ID_UNKNOWN)
    }
    fn find(&self, _: Id<'_>) -> Option<NodeRef> {
        None
    }
    fn tag(&self, _: NodeRef) -> Option<(TagId, Arc<TagTraits>)> {
        None
    }
    fn generation(&self) -> usize {
        1
    }
    fn wall(&self) -> Timestamp {
        Timestamp::from_ticks(1)
    }
    fn hub(&self) -> &Hub {
        &self.hub
    }
    fn may_see(&self, event: &Event) -> bool {
        event.event_type != 2_052
    }
    fn event_id(&self) -> [u8; EVENT_ID] {
        self.last_id.set(self.last_id.get() + 1);
        [self.last_id.get(); EVENT_ID]
    }
}

impl World {
    fn event(source: &str, alarm: Option<&str>, severity: u16) -> Event {
        let base = Base {
            id: [0; EVENT_ID],
            event_type: if alarm.is_some() { OFF_NORMAL } else { 2_041 },
            source: source.into(),
            time: Timestamp::from_ticks(severity.into()),
            message: "".into(),
            severity,
        };
        let mut event = base.event(Vec::new());
        event.condition = alarm.map(Into::into);
        event
    }

    fn tell(&self, source: &str, severity: u16) {
        self.hub.emit(Self::event(source, None, severity));
    }

    fn alarm(&self, severity: u16) {
        self.hub.emit(Self::event("P/T", Some("P/T/Alarms/A"), severity));
    }
}

/// An event that all filters but those of lower severities let pass.
pub(super) fn told_event(severity: u16) -> Event {
    World::event("a", None, severity)
}

/// A session's part with the usual limits.
fn purse() -> Purse {
    Purse::new(&Limits::default(), &Arc::default(), &Arc::default())
}

/// EventType, Severity and EventId of what passes `Severity < below`.
pub(super) fn filter(below: i32) -> EventFilter {
    let mut w = Writer::default();
    let field = |w: &mut Writer, name: &str| {
        w.standard(2_041);
        w.count(1);
        w.qualified_name(0, name);
        w.u32(13);
        w.null();
    };
    w.count(3);
    for name in ["EventType", "Severity", "EventId"] {
        field(&mut w, name);
    }
    w.count(1);
    w.u32(3);
    w.count(2);
    w.extension(Id::numeric(0, 603), |w| field(w, "Severity"));
    w.extension(Id::numeric(0, 597), |w| w.variant(&Value::Int32(below)));
    EventFilter::read(&Extension { type_id: Id::numeric(0, 727), body: Some(&w.0) }, &Limits::default()).unwrap().0
}

fn parameters(handle: u32, queue: u32, discard_oldest: bool) -> EventParameters {
    EventParameters { handle, filter: filter(10_000), queue, discard_oldest }
}

fn named(event_type: u32, severity: u16) -> String {
    match event_type {
        event_type::REFRESH_START => "start".into(),
        event_type::REFRESH_END => "end".into(),
        event_type::REFRESH_REQUIRED => "required".into(),
        event_type::QUEUE_OVERFLOW => OVERFLOW.into(),
        _ => severity.to_string(),
    }
}

/// Handle, name and first byte of the EventId of each event in an array of EventFieldList.
pub(super) fn lists(r: &mut Reader<'_>, count: usize) -> Vec<(u32, String, u8)> {
    let each = |_| {
        let handle = r.u32().unwrap();
        assert_eq!(r.count(1), Ok(3));
        assert_eq!(r.u8(), Ok(17));
        let event_type = r.id().unwrap().standard().unwrap();
        assert_eq!(r.u8(), Ok(5));
        let severity = r.u16().unwrap();
        assert_eq!(r.u8(), Ok(15));
        (handle, named(event_type, severity), r.bytes().unwrap().unwrap()[0])
    };
    (0..count).map(each).collect()
}

fn told_of(items: &mut EventItems, most: usize) -> Vec<(u32, String)> {
    let mut w = Writer::default();
    let count = items.tell(most, usize::MAX, &mut w);
    lists(&mut Reader::new(&w.0), count).into_iter().map(|(handle, name, _)| (handle, name)).collect()
}

fn names(items: &mut EventItems) -> Vec<String> {
    told_of(items, usize::MAX).into_iter().map(|(_, name)| name).collect()
}

/// One item on the Server object.
fn one(world: &World, queue: u32, discard_oldest: bool) -> EventItems {
    let mut items = EventItems::new(purse());
    items.add(1, Id::numeric(0, 2_253), Mode::Reporting, parameters(1, queue, discard_oldest), world).unwrap();
    items
}

/// The handles of the events in a Publish response.
fn handles(body: &[u8]) -> Vec<u32> {
    let mut r = Reader::new(body);
    r.id().unwrap();
    r.take(8 + 4 + 4 + 1 + 4 + 3 + 4).unwrap();
    let available = r.count(4).unwrap();
    r.take(4 * available + 1 + 4 + 8).unwrap();
    let mut handles = Vec::new();
    for _ in 0..r.count(3).unwrap() {
        let part = r.extension().unwrap();
        assert_eq!(part.type_id.standard(), Some(916));
        let mut events = Reader::new(part.body.unwrap());
        let count = events.count(8).unwrap();
        handles.extend(lists(&mut events, count).into_iter().map(|(handle, ..)| handle));
    }
    handles
}

#[test]
fn events_trigger_and_are_triggered() {
    let world = World::default();
    let mut subscriptions = Subscriptions::new(Limits::default(), Arc::default(), Arc::default());
    let begin = Instant::now();
    let wanted = Wanted { interval: 100.0, lifetime: 3_000, keep_alive: 1_000, notifications: 0, priority: 0 };
    let (id, _) = subscriptions.create(wanted, true, begin).unwrap();
    let subscription = subscriptions.get(id).unwrap();
    // 1 reports alarms below 100 and triggers 2, which only samples all.
    for (item, below, mode) in [(1, 100, Mode::Reporting), (2, 2_000, Mode::Sampling)] {
        let parameters = EventParameters { handle: item, filter: filter(below), queue: 10, discard_oldest: true };
        subscription.events.add(item, Id::numeric(0, 2_253), mode, parameters, &world).unwrap();
    }
    subscription.items.triggers.link(1, 2);
    let told = |subscriptions: &mut Subscriptions, at: u64| {
        let mut out = Vec::new();
        subscriptions.publish(1, 1, 0, &[], begin, &mut out);
        subscriptions.tick(begin + Duration::from_millis(at), &world, &mut out);
        subscriptions.detach();
        out.iter().flat_map(|reply| handles(&reply.body)).collect::<Vec<u32>>()
    };
    world.tell("a", 500);
    world.tell("a", 600);
    assert_eq!(told(&mut subscriptions, 100), [0_u32; 0], "what only samples waits");
    world.tell("a", 50);
    assert_eq!(told(&mut subscriptions, 200), [1, 2, 2, 2]);
    world.tell("a", 700);
    assert_eq!(told(&mut subscriptions, 300), [0_u32; 0]);
    // Without the link nothing is told; a removed item leaves no link.
    let subscription = subscriptions.get(id).unwrap();
    assert_eq!(subscription.items.remove_all(&[2]), [false]);
    assert_eq!(subscription.items.triggers.len(), 0);
    world.tell("a", 60);
    assert_eq!(told(&mut subscriptions, 400), [1]);
}

#[test]
fn beyond_a_session_s_part_queues_overflow() {
    for discard_oldest in [true, false] {
        let (world, counts) = (World::default(), Arc::<Counts>::default());
        let limits = Limits { queued_bytes_per_session: 20_000, ..Limits::default() };
        let mut items = EventItems::new(Purse::new(&limits, &counts, &Arc::default()));
        for id in 1..=3 {
            let parameters = EventParameters { handle: id, filter: filter(2_000), queue: 1_000, discard_oldest };
            items.add(id, Id::numeric(0, 2_253), Mode::Reporting, parameters, &world).unwrap();
        }
        for severity in 0..500 {
            world.tell("a", severity);
        }
        items.pull(&world);
        let mut w = Writer::default();
        let told = items.tell(usize::MAX, usize::MAX, &mut w);
        assert!((6..200).contains(&told), "{told} of 1,500 fit");
        let overflows = w.0.windows(4).filter(|bytes| *bytes == [1, 0, 0xDB, 0x0B]).count();
        assert_eq!(overflows, 3, "each item says that events are missing");
        assert_eq!(counts.held.load(Ordering::Relaxed), 0, "all was told");
        // There is room again.
        world.tell("a", 7);
        items.pull(&world);
        assert_eq!(items.tell(usize::MAX, usize::MAX, &mut Writer::default()), 3);
    }
}

#[test]
fn each_item_gets_each_event_below_its_node_once() {
    let world = World::default();
    let mut items = EventItems::new(purse());
    world.tell("P/T", 1);
    let nodes = ["", "P", "P/T", "P/T/Alarms/A", "Q", "P/T/Alarms", "P/Tank"];
    for (handle, path) in (1..).zip(nodes) {
        let id = if path.is_empty() { Id::numeric(0, 2_253) } else { Id::text(2, path) };
        items.add(handle, id, Mode::Reporting, parameters(handle, 10, true), &world).unwrap();
    }
    assert_eq!(
        items.add(99, Id::numeric(0, 85), Mode::Reporting, parameters(1, 1, true), &world),
        Err(status::BAD_NOT_SUPPORTED)
    );
    world.alarm(2);
    world.tell("P", 3);
    world.tell("", 4);
    items.pull(&world);
    items.pull(&world);
    let mut told = told_of(&mut items, usize::MAX);
    told.sort();
    let expected = [(1, "2"), (1, "3"), (1, "4"), (2, "2"), (2, "3"), (3, "2"), (4, "2")];
    assert_eq!(told, expected.map(|(handle, name)| (handle, name.to_owned())));
}

#[test]
fn the_where_clause_and_the_session_decide() {
    let world = World::default();
    let mut items = one(&world, 10, true);
    assert!(items.modify(1, EventParameters { filter: filter(500), ..parameters(1, 10, true) }, &world));
    world.tell("a", 499);
    world.tell("b", 500);
    let mut audit = World::event("c", None, 1);
    audit.event_type = 2_052;
    world.hub.emit(audit);
    items.pull(&world);
    assert_eq!(names(&mut items), ["499"]);
}

#[test]
fn a_full_queue_says_so_at_the_end_that_gave_way() {
    let world = World::default();
    let mut items = one(&world, 3, true);
    for severity in 1..=5 {
        world.tell("a", severity);
    }
    items.pull(&world);
    assert_eq!(names(&mut items), [OVERFLOW, "3", "4", "5"]);
    assert!(!items.has_news());

    let mut items = one(&world, 3, false);
    for severity in 1..=5 {
        world.tell("a", severity);
    }
    items.pull(&world);
    // What comes after room was made stands after the gap.
    assert_eq!(told_of(&mut items, 2).len(), 2);
    world.tell("a", 6);
    items.pull(&world);
    assert_eq!(names(&mut items), ["3", OVERFLOW, "6"]);

    // Exactly full is not too full.
    for severity in 1..=3 {
        world.tell("a", severity);
    }
    items.pull(&world);
    assert_eq!(names(&mut items), ["1", "2", "3"]);
    // A smaller queue keeps what it can.
    for severity in 1..=3 {
        world.tell("a", severity);
    }
    assert!(items.modify(1, parameters(1, 1, true), &world));
    assert_eq!(names(&mut items), [OVERFLOW, "3"]);
}

#[test]
fn lost_conditions_ask_for_a_refresh() {
    let world = World::default();
    for (discard_oldest, expected) in [(true, [OVERFLOW, "2", "required"]), (false, ["1", OVERFLOW, "required"])] {
        let mut items = one(&world, 1, discard_oldest);
        world.alarm(1);
        world.alarm(2);
        items.pull(&world);
        assert_eq!(names(&mut items), expected);
        assert!(!items.has_news());
    }
    // A hub that was left unread for too long has lost who knows what.
    let mut items = one(&world, 2, true);
    for _ in 0..=super::super::events::KEPT {
        world.tell("a", 1);
    }
    items.pull(&world);
    assert_eq!(names(&mut items), [OVERFLOW, "1", "1", "required"]);
}

#[test]
fn modes() {
    let world = World::default();
    let mut items = one(&world, 10, true);
    assert!(items.set_mode(1, Mode::Sampling, &world) && !items.set_mode(2, Mode::Sampling, &world));
    world.tell("a", 1);
    items.pull(&world);
    assert!(!items.has_news());
    assert_eq!(names(&mut items), Vec::<String>::new());
    assert!(items.set_mode(1, Mode::Reporting, &world) && items.has_news());
    assert_eq!(names(&mut items), ["1"]);
    world.tell("a", 2);
    assert!(items.set_mode(1, Mode::Disabled, &world) && !items.has_news());
    world.tell("a", 3);
    assert!(items.set_mode(1, Mode::Reporting, &world));
    world.tell("a", 4);
    items.pull(&world);
    assert_eq!(names(&mut items), ["4"]);
    assert!(items.remove(1) && !items.remove(1) && items.len() == 0);
}

#[test]
fn a_refresh_tells_what_is_retained_between_start_and_end() {
    let world = World::default();
    let mut items = EventItems::new(purse());
    let retained = || {
        [("P/T", "P/T/Alarms/A", 10), ("Q/T", "Q/T/Alarms/B", 20), ("P/T", "P/T/Alarms/C", 600)]
            .map(|(source, alarm, severity)| Arc::new(World::event(source, Some(alarm), severity)))
            .into()
    };
    assert_eq!(items.refresh(None, || unreachable!(), &world), StatusCode::BAD_NOTHING_TO_DO);
    assert_eq!(items.refresh(Some(7), || unreachable!(), &world), status::BAD_MONITORED_ITEM_ID_INVALID);
    items.add(1, Id::numeric(0, 2_253), Mode::Reporting, parameters(1, 1, true), &world).unwrap();
    let below = EventParameters { filter: filter(500), ..parameters(2, 1, true) };
    items.add(2, Id::text(2, "P"), Mode::Reporting, below, &world).unwrap();
    items.add(3, Id::numeric(0, 2_253), Mode::Disabled, parameters(3, 1, true), &world).unwrap();
    // What happened before comes before, what happens meanwhile after; neither gives way to the refresh.
    world.alarm(1);
    assert_eq!(items.refresh(None, retained, &world), StatusCode::GOOD);
    world.alarm(2);
    items.pull(&world);
    assert_eq!(items.refresh(None, || unreachable!(), &world), status::BAD_REFRESH_IN_PROGRESS);
    assert_eq!(items.refresh(Some(2), || unreachable!(), &world), status::BAD_REFRESH_IN_PROGRESS);
    let mut w = Writer::default();
    let count = items.tell(usize::MAX, usize::MAX, &mut w);
    let all = lists(&mut Reader::new(&w.0), count);
    let of = |handle| all.iter().filter(|told| told.0 == handle).map(|told| &*told.1).collect::<Vec<_>>();
    // Queue size 1: the older of the two own events was lost.
    assert_eq!(of(1), [OVERFLOW, "start", "10", "20", "600", "end", "2", "required"]);
    assert_eq!(of(2), [OVERFLOW, "start", "10", "end", "2", "required"]);
    assert_eq!(of(3), Vec::<&str>::new());
    let id = |handle, name| all.iter().find(|told| told.0 == handle && told.1 == name).unwrap().2;
    assert_eq!((id(1, "start"), id(1, "end")), (id(2, "start"), id(2, "end")));
    assert_ne!(id(1, "start"), id(1, "end"));

    assert_eq!(items.refresh(Some(2), retained, &world), StatusCode::GOOD);
    assert_eq!(told_of(&mut items, 2), [(2, "start".into()), (2, "10".into())]);
    assert_eq!(told_of(&mut items, 2), [(2, "end".into())]);
    assert_eq!(items.refresh(Some(2), Vec::new, &world), StatusCode::GOOD);
    assert_eq!(names(&mut items), ["start", "end"]);
}

#[test]
fn events_and_values_share_messages_and_their_limit() {
    let world = World::default();
    let begin = Instant::now();
    let mut subscriptions = Subscriptions::new(Limits::default(), Arc::default(), Arc::default());
    let wanted = Wanted { interval: 100.0, lifetime: 100, keep_alive: 10, notifications: 2, priority: 0 };
    let (id, _) = subscriptions.create(wanted, true, begin).unwrap();
    let events = &mut subscriptions.get(id).unwrap().events;
    events.add(1, Id::numeric(0, 2_253), Mode::Reporting, parameters(1, 10, true), &world).unwrap();
    for severity in 1..=3 {
        world.tell("a", severity);
    }
    let mut out = Vec::new();
    for request in 1..=3 {
        subscriptions.publish(request, 1, 0, &[], begin, &mut out);
    }
    subscriptions.tick(begin + Duration::from_millis(100), &world, &mut out);
    let told: Vec<_> = out.iter().map(|reply| events_of(&reply.body)).collect();
    assert_eq!(told, [vec!["1", "2"], vec!["3"]]);
    assert_eq!(subscriptions.refresh(id + 1, None, || unreachable!(), &world), status::BAD_SUBSCRIPTION_ID_INVALID);
}

fn events_of(body: &[u8]) -> Vec<String> {
    let mut r = Reader::new(body);
    assert_eq!(r.id().unwrap().standard(), Some(829));
    r.take(12 + 4 + 1 + 4 + 3 + 4).unwrap();
    for _ in 0..r.count(4).unwrap() {
        r.u32().unwrap();
    }
    r.take(1 + 4 + 8).unwrap();
    assert_eq!(r.count(1), Ok(1));
    let list = r.extension().unwrap();
    assert_eq!(list.type_id.standard(), Some(916));
    let mut r = Reader::new(list.body.unwrap());
    let count = r.count(4).unwrap();
    lists(&mut r, count).into_iter().map(|(_, name, _)| name).collect()
}

#[test]
fn fields_are_what_the_event_says() {
    let event = World::event("P/T", None, 7);
    assert_eq!(event.field("SourceNode"), Some(&Field::Node("P/T".into())));
    assert_eq!(event.field("SourceName"), Some(&Field::Value(Value::string("T"))));
}
