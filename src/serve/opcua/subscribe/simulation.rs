//! Clients, links that break, sessions that end and are taken over, on invented time and from a seed: whatever happens, no last value
//! is lost, nothing is told twice or out of order, each event comes once to each item, and a subscription lives as long as it should.
//!
//! Deliberately absent: encoding of requests and sockets, which the tests with peers have.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    super::{
        events::Hub,
        ns0::attribute,
        space::NodeRef,
        wire::{Id, Reader, Timestamps},
    },
    event_tests::{OVERFLOW, filter, lists, told_event},
    events::EventParameters,
    filter::Filter,
    items::{Mode, Parameters, Place},
    machine::Act,
    tests::Table,
    *,
};
use crate::tag::{Sample, TagId, TagTable, Value};

/// Seeds of a run of all tests; more with `SIMULATION_SEEDS`.
const SEEDS: u64 = 40;
const STEPS: u32 = 250;
/// Tags that are written, each with its own count.
const TAGS: u32 = 4;
/// The time between two looks, in ms.
const LOOK: u64 = 10;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

/// What is told of one item.
#[derive(Clone, Debug)]
enum Note {
    Value { handle: u32, value: i32, overflow: bool },
    Event { handle: u32, number: u32 },
    Overflow { handle: u32 },
}

/// A Publish response as a client understands it.
enum Heard {
    Fault(StatusCode),
    Message { id: u32, number: u32, available: Vec<u32>, notes: Vec<Note>, is_keep_alive: bool },
    Ended { id: u32, status: StatusCode },
}

fn hear(body: &[u8]) -> Heard {
    let mut r = Reader::new(body);
    let kind = r.id().unwrap().standard().unwrap();
    r.take(12).unwrap();
    let result = StatusCode(r.u32().unwrap());
    r.take(1 + 4 + 3).unwrap();
    if kind == 397 {
        return Heard::Fault(result);
    }
    let id = r.u32().unwrap();
    let available = (0..r.count(4).unwrap()).map(|_| r.u32().unwrap()).collect();
    let _more = r.boolean().unwrap();
    message(id, available, &mut r)
}

fn message(id: u32, available: Vec<u32>, r: &mut Reader<'_>) -> Heard {
    let number = r.u32().unwrap();
    r.time().unwrap();
    let mut notes = Vec::new();
    let parts = r.count(3).unwrap();
    for _ in 0..parts {
        let part = r.extension().unwrap();
        let mut body = Reader::new(part.body.unwrap());
        match part.type_id.standard() {
            Some(820) => return Heard::Ended { id, status: StatusCode(body.u32().unwrap()) },
            Some(811) => notes.extend(values(&mut body)),
            Some(916) => {
                let count = body.count(8).unwrap();
                notes.extend(lists(&mut body, count).into_iter().map(|(handle, name, _)| match &*name {
                    OVERFLOW => Note::Overflow { handle },
                    number => Note::Event { handle, number: number.parse().unwrap() },
                }));
            }
            other => panic!("a notification of type {other:?}"),
        }
    }
    Heard::Message { id, number, available, notes, is_keep_alive: parts == 0 }
}

fn values(body: &mut Reader<'_>) -> Vec<Note> {
    let count = body.count(4).unwrap();
    let each = |_| {
        let handle = body.u32().unwrap();
        let mask = body.u8().unwrap();
        assert_eq!((mask & 1, body.u8().unwrap()), (1, 6), "a value, an Int32");
        let value = body.i32().unwrap();
        let status = if mask & 2 == 2 { body.u32().unwrap() } else { 0 };
        assert!([0, 0x480].contains(&status), "{status:X}");
        Note::Value { handle, value, overflow: status != 0 }
    };
    (0..count).map(each).collect()
}

/// What a client knows of an item.
struct Watched {
    tag: u32,
    /// It is to get every value, not only the last.
    every: bool,
    last: Option<i32>,
}

/// What a client knows of an item of events.
struct Listening {
    /// The number of the first event that it can get.
    from: u32,
    /// Above which it passes none.
    below: u32,
    got: Vec<u32>,
    overflows: u32,
}

/// A client's view of one subscription.
struct View {
    id: u32,
    terms: Terms,
    values: BTreeMap<u32, Watched>,
    events: BTreeMap<u32, Listening>,
    /// Messages by number; `None` for one that was lost on its way.
    got: BTreeMap<u32, bool>,
    unacknowledged: Vec<u32>,
    /// Notes of messages after one that is missing.
    early: BTreeMap<u32, Vec<Note>>,
    /// The number of the next message whose notes count.
    next: u32,
    /// When the client last showed that it lives, in ms.
    touched: u64,
    /// Since when it must have heard something; `None` while requests were wanting.
    quiet_since: Option<u64>,
    is_enabled: bool,
}

/// A client and the server's side of its session.
struct Client {
    session: Subscriptions,
    is_connected: bool,
    views: Vec<View>,
    /// Subscriptions that it left behind, as the server keeps them.
    orphans: Vec<Subscription>,
}

struct World {
    seed: u64,
    dice: Dice,
    table: TagTable,
    hub: Hub,
    begin: Instant,
    now: u64,
    written: [i32; TAGS as usize],
    events: u32,
    clients: Vec<Client>,
    counts: Arc<Counts>,
    request: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let counts = Arc::<Counts>::default();
        let hub = Hub::new(Arc::clone(&counts.events));
        let (dice, table, begin) = (Dice(seed), TagTable::default(), Instant::now());
        let mut world = Self {
            seed,
            dice,
            table,
            hub,
            begin,
            now: LOOK,
            written: [0; TAGS as usize],
            events: 0,
            clients: Vec::new(),
            counts,
            request: 0,
        };
        for tag in 0..TAGS {
            world.write(tag);
        }
        for _ in 0..=world.dice.roll(3) {
            let session = world.session();
            world.clients.push(Client { session, is_connected: true, views: Vec::new(), orphans: Vec::new() });
        }
        world
    }

    fn session(&self) -> Subscriptions {
        Subscriptions::new(Limits::default(), Arc::clone(&self.counts), Arc::default())
    }

    fn instant(&self) -> Instant {
        self.begin + Duration::from_millis(self.now)
    }

    fn write(&mut self, tag: u32) {
        let count = &mut self.written[tag as usize];
        *count += 1;
        let value = Value::Int32(*count);
        self.table.write(&[Sample { tag: TagId(tag), value, status: StatusCode::GOOD, source_time: Timestamp::from_ticks(7) }]);
    }

    fn subscribe(&mut self, client: usize) {
        let interval = self.dice.among(&[10.0, 50.0, 100.0, 250.0]);
        let keep_alive = self.dice.among(&[1, 3, 10]);
        let notifications = self.dice.among(&[0, 0, 3, 50]);
        let lifetime = keep_alive * self.dice.among(&[3, 10, 100]);
        let wanted = Wanted { interval, lifetime, keep_alive, notifications, priority: 0 };
        let at = self.instant();
        let (id, terms) = self.clients[client].session.create(wanted, true, at).unwrap();
        let mut view = View {
            id,
            terms,
            values: BTreeMap::new(),
            events: BTreeMap::new(),
            got: BTreeMap::new(),
            unacknowledged: Vec::new(),
            early: BTreeMap::new(),
            next: 1,
            touched: self.now,
            quiet_since: None,
            is_enabled: true,
        };
        let sampler = Table(&self.table, &self.hub);
        for handle in 0..self.dice.roll(5) {
            let handle = u32::try_from(handle).unwrap();
            let tag = u32::try_from(self.dice.roll(TAGS.into())).unwrap();
            let every = self.dice.roll(2) == 0;
            let queue = if every { self.dice.among(&[100, 20]) } else { self.dice.among(&[1, 1, 2, 5]) };
            let sampling = if every { 0 } else { self.dice.among(&[10, 50, 400]) };
            let place = Place { id: Id::numeric(2, tag), node: NodeRef::Own(tag), attribute: attribute::VALUE, range: None };
            let parameters = Parameters {
                handle,
                sampling: Duration::from_millis(sampling),
                filter: Filter::default(),
                queue,
                discard_oldest: self.dice.roll(4) != 0,
                timestamps: Timestamps::Neither,
            };
            let items = &mut self.clients[client].session.get(id).unwrap().items;
            items.add(place, Mode::Reporting, parameters, (at, terms.interval), &sampler);
            view.values.insert(handle, Watched { tag, every, last: None });
        }
        for handle in 0..self.dice.roll(3) {
            let handle = 100 + u32::try_from(handle).unwrap();
            let below = self.dice.among(&[60_000, 60_000, 40]);
            let queue = self.dice.among(&[3, 20, 1_000]);
            let discard_oldest = self.dice.roll(2) == 0;
            let filter = filter(i32::try_from(below).unwrap());
            let parameters = EventParameters { handle, filter, queue, discard_oldest };
            let subscription = self.clients[client].session.get(id).unwrap();
            let item = subscription.items.next_id();
            subscription.events.add(item, Id::numeric(0, 2_253), Mode::Reporting, parameters, &sampler).unwrap();
            view.events.insert(handle, Listening { from: self.events + 1, below, got: Vec::new(), overflows: 0 });
        }
        self.clients[client].views.push(view);
    }

    /// One thing happens.
    fn step(&mut self) {
        let client = usize::try_from(self.dice.roll(self.clients.len() as u64)).unwrap();
        match self.dice.roll(24) {
            0..=4 => {
                let tag = u32::try_from(self.dice.roll(TAGS.into())).unwrap();
                for _ in 0..=self.dice.roll(6) {
                    self.write(tag);
                }
            }
            5..=7 => {
                for _ in 0..=self.dice.roll(6) {
                    self.events += 1;
                    self.hub.emit(told_event(u16::try_from(self.events).unwrap()));
                }
            }
            8..=13 => self.publish(client),
            14 => {
                if self.clients[client].views.len() < 3 && self.clients[client].is_connected {
                    self.subscribe(client);
                }
            }
            15 => self.lose_link(client),
            16 => self.clients[client].is_connected = true,
            17 => self.new_session(client),
            18 => self.leave(client),
            19 => self.adopt(client),
            20 => self.switch(client),
            21 => {
                let long = self.dice.among(&[500, 3_000, 20_000]);
                self.pass(long);
            }
            _ => {
                let short = LOOK * (1 + self.dice.roll(30));
                self.pass(short);
            }
        }
    }

    /// A Publish request that acknowledges all that came.
    fn publish(&mut self, client: usize) {
        let now = self.now;
        let at = self.instant();
        self.request += 1;
        let Client { session, is_connected, views, .. } = &mut self.clients[client];
        if !*is_connected {
            return;
        }
        let mut pairs = Vec::new();
        for view in views.iter_mut() {
            pairs.extend(view.unacknowledged.drain(..).map(|number| (view.id, number)));
            if session.contains(view.id) {
                view.touched = now;
            }
        }
        let mut out = Vec::new();
        session.publish(self.request, self.request, 0, &pairs, at, &mut out);
        self.take(client, &out);
    }

    /// The link breaks: the requests are gone, and what was under way is lost.
    fn lose_link(&mut self, client: usize) {
        let Client { session, is_connected, views, .. } = &mut self.clients[client];
        session.detach();
        *is_connected = false;
        for view in views {
            view.quiet_since = None;
        }
    }

    /// The client comes back with another session and takes its subscriptions over.
    fn new_session(&mut self, client: usize) {
        let mut session = self.session();
        let now = self.now;
        let Client { session: old, is_connected, views, .. } = &mut self.clients[client];
        for view in views.iter_mut() {
            if let Some(given) = old.give(view.id) {
                session.adopt(given);
                view.touched = now;
            }
            view.quiet_since = None;
        }
        *is_connected = true;
        self.clients[client].session = session;
        self.miss_farewells(client);
        self.ask_again(client);
    }

    /// With its session a client loses the word that a subscription has ended.
    fn miss_farewells(&mut self, client: usize) {
        let (seed, now) = (self.seed, self.now);
        let Client { session, views, orphans, .. } = &mut self.clients[client];
        views.retain(|view| {
            let is_there = session.contains(view.id) || orphans.iter().any(|orphan| orphan.id == view.id);
            if !is_there {
                view.may_end(seed, now);
            }
            is_there
        });
    }

    /// The session ends without its subscriptions, which live on for their time.
    fn leave(&mut self, client: usize) {
        self.lose_link(client);
        let new = self.session();
        let left = self.clients[client].session.leave_behind();
        self.clients[client].orphans.extend(left);
        self.clients[client].session = new;
        self.miss_farewells(client);
    }

    fn adopt(&mut self, client: usize) {
        let now = self.now;
        let Client { session, is_connected, views, orphans } = &mut self.clients[client];
        for orphan in orphans.drain(..) {
            let view = views.iter_mut().find(|view| view.id == orphan.id).expect("it is the client's");
            view.touched = now;
            session.adopt(orphan);
        }
        *is_connected = true;
        self.ask_again(client);
    }

    fn switch(&mut self, client: usize) {
        let now = self.now;
        let enable = self.dice.roll(3) != 0;
        let Client { session, views, .. } = &mut self.clients[client];
        for view in views {
            if let Ok(subscription) = session.get(view.id) {
                subscription.set_publishing(enable);
                (view.touched, view.is_enabled, view.quiet_since) = (now, enable, None);
            }
        }
    }

    /// Asks for the messages that the client knows to have missed.
    fn ask_again(&mut self, client: usize) {
        let seed = self.seed;
        let now = self.now;
        let Client { session, views, .. } = &mut self.clients[client];
        for view in views {
            let Ok(subscription) = session.get(view.id) else { continue };
            let missing: Vec<u32> =
                subscription.available().filter(|number| !view.got.get(number).copied().unwrap_or(false)).collect();
            for number in missing {
                let bytes =
                    subscription.republish(number).unwrap_or_else(|| panic!("seed {seed}: {number} is available")).to_vec();
                view.touched = now;
                match message(view.id, Vec::new(), &mut Reader::new(&bytes)) {
                    Heard::Message { number: again, notes, .. } if again == number => view.take(seed, number, notes),
                    _ => panic!("seed {seed}: another message than {number}"),
                }
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / LOOK {
            self.now += LOOK;
            for client in 0..self.clients.len() {
                self.look(client);
            }
        }
    }

    fn look(&mut self, client: usize) {
        let at = self.instant();
        let sampler = Table(&self.table, &self.hub);
        let mut out = Vec::new();
        let Client { session, orphans, views, .. } = &mut self.clients[client];
        session.tick(at, &sampler, &mut out);
        let mut over = Vec::new();
        orphans.retain_mut(|orphan| {
            let lives = !orphan.advance(at, &sampler) || orphan.timer(false) != Act::Close;
            if !lives {
                over.push(orphan.id);
            }
            lives
        });
        let (now, seed) = (self.now, self.seed);
        for view in views.iter().filter(|view| over.contains(&view.id)) {
            view.may_end(seed, now);
        }
        views.retain(|view| !over.contains(&view.id));
        self.take(client, &out);
        let Client { session, is_connected, views, .. } = &mut self.clients[client];
        let is_fed = *is_connected && session.requests.len() >= views.len();
        for view in views {
            // What was left behind and not taken over yet has nobody to speak to.
            view.check_quiet(seed, now, is_fed && session.contains(view.id));
            view.must_end(seed, now, session.contains(view.id));
        }
    }

    /// Responses come to the client; those of a link that is broken do not.
    fn take(&mut self, client: usize, out: &[Reply]) {
        let loses = self.dice.roll(12) == 0 && !out.is_empty();
        let (seed, now) = (self.seed, self.now);
        let Client { is_connected, views, .. } = &mut self.clients[client];
        for reply in out {
            match hear(&reply.body) {
                Heard::Fault(status) => assert!(
                    [status::BAD_NO_SUBSCRIPTION, status::BAD_TOO_MANY_PUBLISH_REQUESTS].contains(&status),
                    "seed {seed}: {status:?}"
                ),
                Heard::Ended { id, status } if status == StatusCode::BAD_TIMEOUT => {
                    if let Some(place) = views.iter().position(|view| view.id == id) {
                        views.remove(place).may_end(seed, now);
                    }
                }
                Heard::Ended { .. } => {}
                Heard::Message { id, number, available, notes, is_keep_alive } => {
                    let Some(view) = views.iter_mut().find(|view| view.id == id) else { continue };
                    let newest = view.got.last_key_value().map_or(0, |(number, _)| *number);
                    assert_eq!(number, newest + 1, "seed {seed}: numbers leave nothing out");
                    view.touched = now;
                    if is_keep_alive {
                        view.quiet_since = None;
                        continue;
                    }
                    assert!(available.contains(&number), "seed {seed}: what is sent is kept");
                    if loses {
                        view.got.insert(number, false);
                    } else {
                        view.quiet_since = None;
                        view.take(seed, number, notes);
                    }
                }
            }
        }
        if loses && *is_connected {
            self.lose_link(client);
        }
    }

    /// Faults end: everybody comes back, asks, and has all.
    fn end_well(mut self) {
        for client in 0..self.clients.len() {
            self.adopt(client);
            self.clients[client].is_connected = true;
            let Client { session, views, .. } = &mut self.clients[client];
            for view in views {
                view.is_enabled = true;
                if let Ok(subscription) = session.get(view.id) {
                    subscription.set_publishing(true);
                }
            }
        }
        for _ in 0..100 {
            for client in 0..self.clients.len() {
                self.clients[client].is_connected = true;
                for _ in 0..4 {
                    self.publish(client);
                }
            }
            self.pass(50);
            for client in 0..self.clients.len() {
                self.ask_again(client);
            }
        }
        let (seed, written, events) = (self.seed, self.written, self.events);
        for view in self.clients.iter().flat_map(|client| &client.views) {
            view.has_all(seed, &written, events);
        }
        // With the sessions goes everything that waited for them.
        self.clients.clear();
        assert_eq!(self.counts.held.load(Ordering::Relaxed), 0, "seed {seed}: something is held for nobody");
        assert_eq!(self.counts.subscriptions.load(Ordering::Relaxed), 0, "seed {seed}");
    }
}

impl View {
    /// A message came, now or once more: its notes count when all before it have come.
    fn take(&mut self, seed: u64, number: u32, notes: Vec<Note>) {
        assert!(self.got.insert(number, true) != Some(true), "seed {seed}: {number} came twice");
        self.unacknowledged.push(number);
        self.early.insert(number, notes);
        while let Some(notes) = self.early.remove(&self.next) {
            self.next += 1;
            for note in notes {
                self.note(seed, &note);
            }
        }
    }

    fn note(&mut self, seed: u64, note: &Note) {
        match *note {
            Note::Value { handle, value, overflow } => {
                let watched = self.values.get_mut(&handle).unwrap_or_else(|| panic!("seed {seed}: item {handle}"));
                assert!(Some(value) > watched.last, "seed {seed}: {value} after {:?}", watched.last);
                if let Some(last) = watched.last
                    && watched.every
                    && !overflow
                {
                    assert_eq!(value, last + 1, "seed {seed}: every value, or a mark where some are missing");
                }
                watched.last = Some(value);
            }
            Note::Event { handle, number } => {
                let listening = self.events.get_mut(&handle).unwrap_or_else(|| panic!("seed {seed}: item {handle}"));
                assert!(number >= listening.from && number < listening.below, "seed {seed}: event {number}");
                assert!(Some(&number) > listening.got.last(), "seed {seed}: event {number} after {:?}", listening.got.last());
                listening.got.push(number);
            }
            Note::Overflow { handle } => self.events.get_mut(&handle).expect("an item").overflows += 1,
        }
    }

    /// A subscription ends only after its client was silent for its lifetime.
    fn may_end(&self, seed: u64, now: u64) {
        let silence = Duration::from_millis(now - self.touched);
        let life = self.terms.interval * (self.terms.lifetime - 2);
        assert!(silence >= life, "seed {seed}: subscription {} ended after {silence:?} of {life:?}", self.id);
    }

    /// It ends when it was; the client learns it with its next request.
    fn must_end(&self, seed: u64, now: u64, is_there: bool) {
        let silence = Duration::from_millis(now - self.touched);
        let life = self.terms.interval * (self.terms.lifetime + 2) + Duration::from_millis(2 * LOOK);
        assert!(!is_there || silence <= life, "seed {seed}: subscription {} lives after {silence:?}", self.id);
    }

    /// While there are requests something comes within the keep-alive time.
    fn check_quiet(&mut self, seed: u64, now: u64, is_fed: bool) {
        if !is_fed {
            self.quiet_since = None;
            return;
        }
        let since = *self.quiet_since.get_or_insert(now);
        let quiet = Duration::from_millis(now - since);
        let longest = self.terms.interval * (self.terms.keep_alive + 2) + Duration::from_millis(2 * LOOK);
        assert!(quiet <= longest, "seed {seed}: subscription {} is quiet for {quiet:?}", self.id);
    }

    /// The last value of each item came, and each event came once or an overflow was told.
    fn has_all(&self, seed: u64, written: &[i32], events: u32) {
        assert!(self.early.is_empty(), "seed {seed}: messages after one that never came");
        for (handle, watched) in &self.values {
            let last = written[watched.tag as usize];
            assert_eq!(watched.last, Some(last), "seed {seed}: the last value of item {handle} of {}", self.id);
        }
        for (handle, listening) in &self.events {
            let wanted = (listening.from..=events).filter(|number| *number < listening.below).count();
            let got = listening.got.len();
            let is_whole = got == wanted || (got < wanted && listening.overflows > 0);
            assert!(is_whole, "seed {seed}: item {handle} of {} got {got} of {wanted} events", self.id);
        }
    }
}

#[test]
fn clients_come_and_go_and_nothing_is_lost() {
    let seeds = std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for client in 0..world.clients.len() {
            world.subscribe(client);
        }
        for _ in 0..STEPS {
            world.step();
        }
        world.end_well();
    }
}
