//! A busy plant whose people answer while Twilio fails, and what must be true of it afterwards: the ground of the tests that kill, stop
//! and cut off what runs on it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annunciator::{
    engine::record::{Direction, LedgerEntry},
    simulate::twilio::{Fault, FaultKind, PhoneText},
    store::{LedgerQuery, Store},
};
use serde_json::Value;

use super::{
    program::{Api, Daemon, OURS, PIN, Plant},
    twilio::http,
};

const ALARMS: u16 = 8;
/// Trips, pulsed acknowledge coils and acknowledgement counters of the PLC.
const TRIP: u16 = 1000;
const PULSE: u16 = 1100;
const COUNTER: u16 = 100;
/// A reply that acknowledges nothing, because the text's own acceptance is not known yet, is repeated after so long.
const REPEAT: Duration = Duration::from_secs(6);
/// The third search of Twilio's list is a minute after a loss.
pub const SETTLE: Duration = Duration::from_secs(120);

pub fn tags() -> String {
    let mut text = String::new();
    for n in 0..ALARMS {
        let (trip, pulse, counter) = (TRIP + n, PULSE + n, COUNTER + n);
        let priority = ["critical", "high", "medium", "low"][usize::from(n) % 4];
        let ack = if n.is_multiple_of(2) {
            format!("tag = 'Pulse{n}', mode = 'pulse', hold = '150ms'")
        } else {
            format!("tag = 'Acks{n}', mode = 'increment'")
        };
        write!(
            text,
            "[[tag]]\npath = 'Trip{n}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{trip}'\n\
             [[tag.alarm]]\nname = 'Alarm'\npriority = '{priority}'\nmessage = 'it trips'\npipeline = 'everybody'\nack = {{ {ack} }}\n\
             [[tag]]\npath = 'Pulse{n}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{pulse}'\nwritable = true\n\
             [[tag]]\npath = 'Acks{n}'\ntype = 'UInt16'\nsource = 'plc1'\naddress = 'holding:{counter}'\nwritable = true\n"
        )
        .unwrap();
    }
    text
}

pub const PIPELINE: &str = "
[[roster]]
name = 'all'
users = ['carol', 'dave', 'eve', 'frank']
[[pipeline]]
name = 'everybody'
end_on_clear = false
[[pipeline.step]]
notify = { profile = 'sms', roster = 'all', wait = '4s' }
";

/// Where one alarm's life stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Quiet,
    /// Tripped; nobody has answered.
    Tripped,
    /// Somebody answered then.
    Answered(Instant),
    /// Acknowledged; the coil is off again.
    Cleared,
}

/// What the run has seen so far.
#[derive(Default)]
pub struct Seen {
    /// How often each alarm was tripped.
    pub trips: [usize; ALARMS as usize],
    /// Inbound SIDs that the webhook took.
    pub taken: BTreeSet<String>,
    /// Events that the API showed as acknowledged.
    acknowledged: BTreeSet<String>,
    /// Replies that were sent again because they had done nothing.
    pub repeats: usize,
    /// Texts that Twilio has accepted.
    pub texts: usize,
}

/// Plays the plant and its people until `stop` is set and every alarm is quiet.
pub async fn live(plant: &Plant, api: &Api, stop: &AtomicBool, seen: &Mutex<Seen>, mut random: fastrand::Rng) {
    let mut lives = [Life::Quiet; ALARMS as usize];
    let coil = |n: usize, on: bool| plant.plc.as_ref().unwrap().plant.set_coils(TRIP + u16::try_from(n).unwrap(), &[on]);
    let mut deadline = None;
    loop {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && lives.iter().all(|life| *life == Life::Quiet) {
            return;
        }
        if stopping {
            let until = *deadline.get_or_insert(Instant::now() + SETTLE);
            if Instant::now() >= until {
                let stuck = lives.iter().position(|life| *life != Life::Quiet).unwrap();
                let journal = api.get(&format!("journal?alarm=Trip{stuck}/Alarms/Alarm&limit=10")).await;
                let counters: Vec<_> = (0..ALARMS).map(|n| plant.plc.as_ref().unwrap().plant.holding(COUNTER + n)).collect();
                let trips = seen.lock().unwrap().trips;
                panic!("alarms are stuck: {lives:?}, tripped {trips:?}, counted {counters:?}; {stuck}: {journal:#?}");
            }
        }
        let Some(alarms) = alarms_of_the_active(api).await else { continue };
        for (n, life) in lives.iter_mut().enumerate() {
            let path = format!("Trip{n}/Alarms/Alarm");
            let Some(alarm) = alarms.iter().find(|alarm| alarm["path"] == *path) else { continue };
            remember(alarm, &mut seen.lock().unwrap());
            let state = alarm["state"].as_str().unwrap();
            match *life {
                Life::Quiet if !stopping && random.u8(..) < 60 => {
                    coil(n, true);
                    seen.lock().unwrap().trips[n] += 1;
                    *life = Life::Tripped;
                }
                Life::Tripped if random.u8(..) < 80 => {
                    let trips = seen.lock().unwrap().trips[n];
                    // Every activation has a run and a code of its own, since the one before was acknowledged.
                    let codes = codes(plant, &path);
                    if codes.len() == trips && answer(plant, &codes[trips - 1], seen, &mut random).await {
                        *life = Life::Answered(Instant::now());
                    }
                }
                Life::Answered(_) if state == "ActiveAcked" => {
                    coil(n, false);
                    *life = Life::Cleared;
                }
                Life::Answered(at) if at.elapsed() > REPEAT => {
                    seen.lock().unwrap().repeats += 1;
                    *life = Life::Tripped;
                }
                Life::Cleared if state == "ClearAcked" && written(plant, n, &seen.lock().unwrap()) => *life = Life::Quiet,
                _ => {}
            }
        }
    }
}

/// The alarms as the active instance shows them: one that stands by shows them a little late.
async fn alarms_of_the_active(api: &Api) -> Option<Vec<Value>> {
    let is_active = async || api.get("tags/System/Gateway/Role").await.is_some_and(|role| role["value"] == "active");
    if !is_active().await {
        return None;
    }
    let alarms = api.get("alarms").await?["alarms"].as_array().cloned();
    if is_active().await { alarms } else { None }
}

/// An acknowledgement that was shown once is never taken back.
fn remember(alarm: &Value, seen: &mut Seen) {
    let Some(event) = alarm["event"].as_str() else { return };
    if alarm["state"].as_str().is_some_and(|state| state.ends_with("Acked")) {
        seen.acknowledged.insert(event.to_owned());
    } else {
        assert!(!seen.acknowledged.contains(event), "an acknowledgement was lost: {alarm}");
    }
}

/// A write-back is given up when the next event begins, so the next trip waits for it.
fn written(plant: &Plant, n: usize, seen: &Seen) -> bool {
    let plc = &plant.plc.as_ref().unwrap().plant;
    let address = u16::try_from(n).unwrap();
    if n.is_multiple_of(2) { !plc.coil(PULSE + address) } else { usize::from(plc.holding(COUNTER + address)) == seen.trips[n] }
}

/// Pulses that stand.
pub fn pulses(plant: &Plant) -> usize {
    let plc = &plant.plc.as_ref().unwrap().plant;
    (0..ALARMS).filter(|n| n.is_multiple_of(2) && plc.coil(PULSE + n)).count()
}

/// What Twilio has accepted, all phones.
fn accepted(plant: &Plant) -> Vec<PhoneText> {
    let phones = (1..=6).flat_map(|n| plant.twilio.phone(&format!("+1222333440{n}")));
    phones.filter(|text| !text.sent_by_phone).collect()
}

/// The codes that texts about an alarm have named, in order.
fn codes(plant: &Plant, path: &str) -> Vec<String> {
    let mut texts = accepted(plant);
    texts.retain(|text| text.body.contains(path));
    texts.sort_by_key(|text| text.time);
    let mut codes: Vec<String> = Vec::new();
    for text in texts {
        let code = text.body.rsplit('#').next().unwrap().to_owned();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

/// Somebody texts PIN and code; true when the webhook has taken it.
async fn answer(plant: &Plant, code: &str, seen: &Mutex<Seen>, random: &mut fastrand::Rng) -> bool {
    let n = random.u8(1..=6);
    let from = format!("+1222333440{n}");
    let outcome = plant.twilio.text(&from, Some(OURS.into()), &format!("{PIN}{n}{n} {code}")).await.unwrap();
    let taken = outcome.webhook_status == Some(200);
    if taken {
        seen.lock().unwrap().taken.insert(outcome.sid);
    }
    taken
}

/// Twilio is slow, refuses, and loses connections before and after it has taken a text.
pub async fn faults(plant: &Plant, stop: &AtomicBool, mut random: fastrand::Rng) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.u64(200..800))).await;
        let (kind, accepted) = match random.u8(0..20) {
            0 => (FaultKind::Reset, false),
            1 => (FaultKind::Unavailable, false),
            2..=4 => (FaultKind::Reset, true),
            5..=6 => (FaultKind::Unavailable, true),
            7..=9 => (FaultKind::Truncate, true),
            10 => (FaultKind::TooManyRequests, false),
            _ => (FaultKind::Delay, true),
        };
        let delay_ms = random.u64(0..400);
        let method = if random.u8(0..5) == 0 { "GET" } else { "POST" };
        let fault = Fault { accepted, delay_ms, method: Some(method.to_owned()), retry_after: Some(1), ..Fault::once(kind) };
        // One that finds no room is one fault less.
        _ = plant.twilio.fault(fault);
    }
    // Those that found no request yet would only make the end slow.
    http().delete(format!("{}/simulator/faults", plant.twilio.url())).send().await.unwrap();
}

/// What must be true once everything is quiet: nothing is lost, nothing sent or written twice, and all counts agree. `report` is what
/// `report --users --output json` has printed.
pub async fn check(plant: &Plant, daemon: &Daemon, store: Store, report: &Value, seen: &mut Seen) {
    let ledger = store.ledger(LedgerQuery::default()).await.unwrap();
    store.close().await;
    check_texts(plant, &ledger, seen);
    check_events(daemon, seen).await;
    check_counters(daemon, &ledger, report).await;
    let plc = &plant.plc.as_ref().unwrap().plant;
    for n in 0..ALARMS {
        if n.is_multiple_of(2) {
            assert!(!plc.coil(PULSE + n), "pulse {n} was reset");
        } else {
            let counted = usize::from(plc.holding(COUNTER + n));
            assert_eq!(counted, seen.trips[usize::from(n)], "counter {n}: each acknowledgement once");
        }
    }
}

/// What Twilio has accepted is what the ledger says, each row once; every reply that was taken is there.
fn check_texts(plant: &Plant, ledger: &[LedgerEntry], seen: &mut Seen) {
    let of = |direction: Direction| ledger.iter().filter(move |entry| entry.direction == direction);
    let sids = |direction| of(direction).map(|entry| entry.sid.clone()).collect::<BTreeSet<_>>();
    let texts = accepted(plant);
    seen.texts = texts.len();
    let mut rows: HashMap<u64, Vec<&str>> = HashMap::new();
    for entry in of(Direction::Sent) {
        rows.entry(entry.row.expect("a sent text has a row")).or_default().push(&entry.sid);
    }
    rows.retain(|_, sids| sids.len() > 1);
    assert!(rows.is_empty(), "sent twice: {rows:?}");
    let listed: BTreeMap<String, &PhoneText> = texts.iter().map(|text| (text.sid.clone(), text)).collect();
    let known = sids(Direction::Sent);
    let unknown: Vec<_> = listed.iter().filter(|(sid, _)| !known.contains(*sid)).collect();
    assert!(unknown.is_empty(), "accepted by Twilio and not in the ledger, so sent twice: {unknown:#?}");
    assert_eq!(known.len(), listed.len(), "the ledger has no text that Twilio does not have");
    let mut alarms = HashMap::new();
    for text in texts.iter().filter(|text| text.body.contains("/Alarms/")) {
        let doubled = alarms.insert((&text.to, &text.body), &text.sid);
        assert_eq!(doubled, None, "the same text twice: {text:?}");
    }
    let received = sids(Direction::Received);
    let lost: Vec<_> = seen.taken.difference(&received).collect();
    assert!(lost.is_empty(), "replies that were taken and are lost: {lost:?}");
}

/// Every trip is one event, told to somebody and acknowledged once.
async fn check_events(daemon: &Daemon, seen: &Seen) {
    let events = async |kind: &str, alarm: &str| -> Vec<String> {
        let journal = daemon.get(&format!("journal?kind={kind}&alarm={alarm}&limit=10000")).await;
        let entries = journal["entries"].as_array().unwrap().iter();
        entries.map(|row| row["entry"]["event"].as_str().unwrap().to_owned()).collect()
    };
    let audit = daemon.get("audit?kind=message_sent&limit=10000").await;
    let told: BTreeSet<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["entry"]["events"].as_array().unwrap())
        .map(|event| event.as_str().unwrap())
        .collect();
    for (n, trips) in seen.trips.iter().enumerate() {
        let alarm = format!("Trip{n}/Alarms/Alarm");
        let raised = events("raised", &alarm).await;
        assert_eq!(raised.len(), *trips, "{alarm}: every trip is an event");
        let untold: Vec<_> = raised.iter().filter(|event| !told.contains(event.as_str())).collect();
        assert!(untold.is_empty(), "{alarm}: nobody was told of {untold:?}");
        let mut acknowledged = events("acknowledged", &alarm).await;
        acknowledged.sort_unstable();
        let mut raised = raised;
        raised.sort_unstable();
        assert_eq!(acknowledged, raised, "{alarm}: each event is acknowledged once");
    }
}

async fn check_counters(daemon: &Daemon, ledger: &[LedgerEntry], report: &Value) {
    let live = daemon.get("statistics").await;
    for (sum, direction) in [("messages_sent", Direction::Sent), ("messages_received", Direction::Received)] {
        let count = ledger.iter().filter(|entry| entry.direction == direction).count();
        assert_eq!(live["totals"][sum], count, "{sum}, live");
        assert_eq!(report["totals"][sum], count, "{sum}, by polars");
    }
}
