//! SIGKILL at random points while people are phoned: Twilio is slow and loses answers, lines are busy, machines answer. Whatever the
//! moment, every alarm is acknowledged in the end, and no call is placed twice that Twilio's list can show.
//!
//! `ANNUNCIATOR_CALL_KILLS` is how often (8), `ANNUNCIATOR_SEED` repeats the choices of one run, though not the moments.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use annunciator::{
    config::StoreSettings,
    engine::{
        plan::Channel,
        record::{Direction, LedgerEntry},
    },
    simulate::twilio::{Fault, FaultKind, Reports, Voice, VoiceMode},
    store::{LedgerQuery, Store},
};
use serde_json::Value;

use crate::support::{
    BOUND,
    program::{Api, Daemon, PIN, Plant, until, until_or},
    twilio::http,
};

const KILLS: usize = 8;
const ALARMS: u16 = 3;
/// Trips and acknowledgement counters of the PLC.
const TRIP: u16 = 1000;
const COUNTER: u16 = 100;
/// The third search of Twilio's list is a minute after a loss; a call that the kill has cut is followed by the next round.
const SETTLE: Duration = Duration::from_secs(150);

const PIPELINE: &str = "
[[profile]]
name = 'voice'
kind = 'voice'
twilio = 'main'
[[roster]]
name = 'called'
users = ['carol', 'dave', 'eve', 'frank']
[[pipeline]]
name = 'phone'
end_on_clear = false
[[pipeline.step]]
notify = { profile = 'voice', roster = 'called', wait = '5s', repeat = '2s', times = 100 }
";

fn tags() -> String {
    let mut text = String::new();
    for n in 0..ALARMS {
        let (trip, counter) = (TRIP + n, COUNTER + n);
        write!(
            text,
            "[[tag]]\npath = 'Trip{n}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{trip}'\n\
             [[tag.alarm]]\nname = 'Alarm'\npriority = 'high'\nmessage = 'it trips'\npipeline = 'phone'\n\
             ack = {{ tag = 'Acks{n}', mode = 'increment' }}\n\
             [[tag]]\npath = 'Acks{n}'\ntype = 'UInt16'\nsource = 'plc1'\naddress = 'holding:{counter}'\nwritable = true\n"
        )
        .unwrap();
    }
    text
}

/// Trips alarms, and clears what somebody has acknowledged by phone, until `stop` is set and every alarm is quiet. Gives the
/// number of trips of each.
async fn live(plant: &Plant, api: &Api, stop: &AtomicBool, mut random: fastrand::Rng) -> [usize; ALARMS as usize] {
    let mut trips = [0; ALARMS as usize];
    let mut quiet = [true; ALARMS as usize];
    let plc = &plant.plc.as_ref().unwrap().plant;
    let mut deadline = None;
    loop {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && quiet.iter().all(|quiet| *quiet) {
            return trips;
        }
        if stopping {
            let until = *deadline.get_or_insert(Instant::now() + SETTLE);
            assert!(Instant::now() < until, "alarms are stuck: {quiet:?} {:#?}", plant.twilio.calls().last());
        }
        let Some(list) = api.get("alarms").await else { continue };
        let Some(alarms) = list["alarms"].as_array() else { continue };
        for n in 0..ALARMS {
            let place = usize::from(n);
            let Some(alarm) = alarms.iter().find(|alarm| alarm["path"] == format!("Trip{n}/Alarms/Alarm")) else { continue };
            let written = usize::from(plc.holding(COUNTER + n)) == trips[place];
            match alarm["state"].as_str() {
                _ if quiet[place] && !stopping && random.u8(..) < 60 => {
                    plc.set_coils(TRIP + n, &[true]);
                    trips[place] += 1;
                    quiet[place] = false;
                }
                Some("ActiveAcked") if !quiet[place] && written => plc.set_coils(TRIP + n, &[false]),
                Some("ClearAcked") if !quiet[place] && written && !plc.coil(TRIP + n) => quiet[place] = true,
                _ => {}
            }
        }
    }
}

/// Twilio is slow, and its answers are lost after it has taken a call.
async fn faults(plant: &Plant, stop: &AtomicBool, mut random: fastrand::Rng) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.u64(200..1000))).await;
        let kind = [FaultKind::Reset, FaultKind::Unavailable, FaultKind::Truncate, FaultKind::Delay][random.usize(0..4)];
        let delay_ms = random.u64(0..400);
        // One that finds no room is one fault less.
        _ = plant.twilio.fault(Fault { accepted: true, delay_ms, method: Some("POST".into()), ..Fault::once(kind) });
    }
    http().delete(format!("{}/simulator/faults", plant.twilio.url())).send().await.unwrap();
}

async fn kill(plant: &Plant, kills: usize, mut random: fastrand::Rng) -> Daemon {
    let mut daemon = plant.start().await;
    for _ in 0..kills {
        daemon.ready().await;
        tokio::time::sleep(Duration::from_millis(random.u64(50..2500))).await;
        daemon.child.kill();
        assert_eq!(daemon.child.exit_code(BOUND), None, "it ended before it was killed: {}", daemon.log());
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
        daemon = plant.spawn();
    }
    daemon.ready().await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_or_doubled_when_it_is_killed() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("ANNUNCIATOR_CALL_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number("ANNUNCIATOR_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ANNUNCIATOR_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let plant = Plant::new(&tags(), PIPELINE).await;
    let config = std::fs::read_to_string(plant.folder.path().join("config/main.toml")).unwrap();
    plant.write("config/main.toml", &config.replace("sms_per_second", "calls_per_second = 20\nsms_per_second"));
    let person = |n: u8, reports| {
        let keys = [format!("{PIN}{n}{n}"), "2".into(), "4".into(), "2".into(), "4".into(), "2".into()];
        Voice { digits: keys.into(), reports, ..Voice::default() }
    };
    let machine = |mode| Voice { mode, ..Voice::default() };
    let phones = [
        machine(VoiceMode::Busy),
        Voice { reports: Reports::Reversed, ..machine(VoiceMode::Machine) },
        person(5, Reports::Repeated),
        person(6, Reports::Lost),
    ];
    for (n, voice) in (3..).zip(phones) {
        plant.twilio.set_voice(&format!("+1222333440{n}"), voice).unwrap();
    }
    let (api, stop, began) = (plant.api(), AtomicBool::new(false), Instant::now());
    let busy = async {
        let daemon = kill(&plant, kills, random.fork()).await;
        stop.store(true, Ordering::Relaxed);
        daemon
    };
    let (plc, twilio) = (fastrand::Rng::with_seed(seed ^ 1), fastrand::Rng::with_seed(seed ^ 2));
    let (daemon, trips, ()) = tokio::join!(busy, live(&plant, &api, &stop, plc), faults(&plant, &stop, twilio));
    let quiet = async || (daemon.tag("System/Gateway/Twilio/OutboxDepth").await == 0).then_some(());
    until("an empty outbox", SETTLE, quiet).await;
    check_calls(&plant, &daemon).await;
    check_events(&daemon, &trips).await;
    let (calls, seconds) = (plant.twilio.calls().len(), began.elapsed().as_secs_f64());
    println!("{kills} kills in {seconds:.0} s: {} trips, {calls} calls, 0 doubles", trips.iter().sum::<usize>());
    daemon.stop();
}

/// What Twilio has taken is what ledger and counters say, and no row of the outbox was called twice.
async fn check_calls(plant: &Plant, daemon: &Daemon) {
    let store = Store::open_read_only(&StoreSettings::default(), &plant.folder.path().join("data")).await.unwrap();
    let ledger = store.ledger(LedgerQuery::default()).await.unwrap();
    store.close().await;
    // (Whoever acknowledged by phone is told by text when the PLC did not take it in time, as on a busy machine.)
    let calls = |entry: &&LedgerEntry| entry.direction == Direction::Sent && entry.channel == Channel::Voice;
    let sent: Vec<_> = ledger.iter().filter(calls).collect();
    let known: BTreeSet<&str> = sent.iter().map(|entry| entry.sid.as_str()).collect();
    assert_eq!(known.len(), sent.len(), "each SID once");
    let calls = plant.twilio.calls();
    let listed: BTreeSet<&str> = calls.iter().map(|call| call.sid.as_str()).collect();
    assert_eq!(known, listed, "the ledger has what Twilio has taken");
    let mut rows: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for entry in &sent {
        rows.entry(entry.row.expect("a placed call has a row")).or_default().push(&entry.sid);
    }
    rows.retain(|_, sids| sids.len() > 1);
    assert!(rows.is_empty(), "called twice: {rows:?}");
    // A call whose event is settled may still be spoken; its minutes are known once it has ended.
    let underway = ["queued", "initiated", "ringing", "in-progress"];
    let ended = async || plant.twilio.calls().iter().all(|call| !underway.contains(&call.status.as_str())).then_some(());
    until("end of every call", SETTLE, ended).await;
    let minutes: u32 = plant.twilio.calls().iter().filter_map(|call| call.duration).map(|seconds| seconds.div_ceil(60)).sum();
    let counted = async || (daemon.get("statistics").await["totals"]["call_minutes_sent"] == minutes).then_some(());
    until_or("minutes of every call", SETTLE, counted, || format!("{minutes} minutes are due: {:#?}", plant.twilio.calls()))
        .await;
    let live = daemon.get("statistics").await;
    assert_eq!(live["totals"]["calls_sent"], known.len(), "{live}");
    let report = plant.run(&["report", "--users", "--output", "json"]).await.json();
    for sum in ["calls_sent", "call_minutes_sent"] {
        assert_eq!(live["totals"][sum], report["totals"][sum], "{sum}: live and by polars");
    }
}

/// Every trip is one event, acknowledged once, by phone.
async fn check_events(daemon: &Daemon, trips: &[usize]) {
    let journal = daemon.get("journal?limit=10000").await;
    let entries: Vec<&Value> = journal["entries"].as_array().unwrap().iter().map(|row| &row["entry"]).collect();
    for (n, trips) in trips.iter().enumerate() {
        let of = |kind: &str| {
            let path = format!("Trip{n}/Alarms/Alarm");
            let found = entries.iter().filter(|entry| entry["kind"] == kind && entry["alarm"] == path);
            found.map(|entry| entry["event"].as_str().unwrap()).collect::<BTreeSet<_>>()
        };
        assert_eq!(of("raised").len(), *trips, "Trip{n}: every trip is an event");
        assert_eq!(of("raised"), of("acknowledged"), "Trip{n}: each is acknowledged");
    }
    let acknowledged = entries.iter().filter(|entry| entry["kind"] == "acknowledged");
    let by: BTreeSet<&str> = acknowledged.map(|entry| entry["user"].as_str().unwrap()).collect();
    assert!(by.iter().all(|user| ["eve", "frank"].contains(user)), "{by:?}");
}
