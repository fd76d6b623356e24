//! A flood of alarms and those who subscribe to their events: nothing is lost up to the size of a queue, and who loses is told so.

use std::{
    collections::HashSet,
    fmt::Write as _,
    time::{Duration, Instant},
};

use annunciator::tag::{StatusCode, Value};

use crate::support::{
    alarms::{Alarms, Rows},
    alone::{Memory, alone},
    raw::{PUBLISH, Peer, Target, count, extension, id, number, target},
    requests::simple,
};

const ALARMS: usize = 10_000;
/// Alarms that come at the same moment.
const BATCH: usize = 500;
const OVERFLOW: u32 = 3_035;
const REFRESH_REQUIRED: u32 = 2_789;

/// One event as a subscriber gets it: its type, and where it comes from.
type Told = (u32, String);

/// A filter that selects EventType and SourceName of everything.
fn filter() -> Vec<u8> {
    extension(727, &[count(2), simple(&["EventType"], 13), simple(&["SourceName"], 13), count(0)].concat())
}

/// The events in what follows the header of a Publish response.
fn events(body: &[u8]) -> Vec<Told> {
    let mut rest = Rest(body);
    rest.take(4);
    let available = rest.number() as usize;
    rest.take(4 * available + 1 + 4 + 8);
    let mut told = Vec::new();
    for _ in 0..rest.number() {
        // Type of the notification, encoding, length.
        rest.take(4 + 1 + 4);
        for _ in 0..rest.number() {
            rest.take(4 + 4 + 1);
            let event_type = match rest.take(1)[0] {
                0 => rest.take(1)[0].into(),
                1 => u32::from(u16::from_le_bytes(rest.take(3)[1..].try_into().unwrap())),
                form => panic!("an EventType of form {form}"),
            };
            let name = match rest.take(1)[0] {
                12 => {
                    let length = rest.number() as usize;
                    String::from_utf8(rest.take(length).to_vec()).unwrap()
                }
                _ => String::new(),
            };
            told.push((event_type, name));
        }
    }
    told
}

/// The sources of the events of this plant's tags.
fn of_plant(told: &[Told]) -> impl Iterator<Item = &str> {
    told.iter().map(|(_, source)| &**source).filter(|source| source.starts_with('T') && source[1..].parse::<usize>().is_ok())
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }
}

fn subscriber(aim: &Target<Alarms>, queue: u32) -> Peer {
    let mut peer = aim.log_in();
    let answer = peer.subscription(100.0, 10_000, 100);
    let subscription = number(&answer.body, 0);
    let answer = peer.item(subscription, &target(&id(2_253), 12, ""), 0.0, &filter(), queue);
    assert_eq!((answer.head(), number(&answer.body, 4)), ((754, 0), 0));
    peer
}

/// Fetches, acknowledging nothing, until `enough`.
fn fetch(peer: &mut Peer, mut enough: impl FnMut(&[Told]) -> bool) -> Vec<Told> {
    let mut told = Vec::new();
    while !enough(&told) {
        let answer = peer.call(PUBLISH, &count(0));
        assert_eq!(answer.head(), (829, 0));
        told.extend(events(&answer.body));
    }
    told
}

#[test]
fn ten_thousand_alarms_and_their_subscribers() {
    alone(|| {
        let mut tags = String::new();
        for alarm in 0..ALARMS {
            let _ = write!(tags, "[[tag]]\npath = \"Plant/Area{}/T{alarm}\"\ntype = \"Bool\"\ninitial = false\n", alarm / 100);
            tags.push_str("[[tag.alarm]]\nname = \"Trip\"\n");
        }
        let aim = Target::over(Alarms::with(&tags, Rows::new()), |settings| {
            // Longer than any machine takes: one of them says nothing all the time.
            settings.limits.session_timeout = (Duration::from_secs(600), Duration::from_secs(600));
        });
        let memory = Memory::watch();
        let mut fetching: Vec<Peer> = (0..5).map(|_| subscriber(&aim, 10_000)).collect();
        let mut forgetful = subscriber(&aim, 1_000);
        let began = Instant::now();
        let mut told: Vec<Vec<Told>> = vec![Vec::new(); fetching.len()];
        for batch in 0..ALARMS / BATCH {
            let paths = (batch * BATCH..(batch + 1) * BATCH).map(|alarm| format!("Plant/Area{}/T{alarm}", alarm / 100));
            aim.plant.set_all(paths, &Value::Boolean(true), StatusCode::GOOD);
            // As fast as the slowest of those who fetch; the plant's own alarms, such as that of a flood, come in between.
            for (peer, told) in fetching.iter_mut().zip(&mut told) {
                told.extend(fetch(peer, |told| of_plant(told).count() >= BATCH));
            }
        }
        let took = began.elapsed();
        for told in &told {
            let sources: HashSet<_> = of_plant(told).collect();
            assert_eq!((of_plant(told).count(), sources.len()), (ALARMS, ALARMS), "each alarm is told once");
            assert!(told.iter().all(|(event_type, _)| ![OVERFLOW, REFRESH_REQUIRED].contains(event_type)));
        }
        // Who fetched nothing has the newest, after the word that others are missing, and is asked to refresh.
        let told = fetch(&mut forgetful, |told| told.iter().any(|(event_type, _)| *event_type == REFRESH_REQUIRED));
        assert_eq!((told[0].0, told.len()), (OVERFLOW, 1 + 1_000 + 1));
        assert_eq!(of_plant(&told).last(), Some(&*format!("T{}", ALARMS - 1)), "the last one is the newest");
        assert_eq!(told.iter().filter(|(event_type, _)| *event_type == OVERFLOW).count(), 1);
        let grown = memory.grown();
        println!("5 subscribers had {ALARMS} alarms {took:?} after the first was raised; memory grew by {grown:?} KiB");
        memory.assert_within(160);
    });
}
