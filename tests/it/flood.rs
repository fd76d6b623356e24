//! A flood of alarms in the real program, with its store: all are told of, taken and acknowledged, in bounded memory.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    time::{Duration, Instant},
};

use annunciator::{
    config::StoreSettings,
    engine::record::JournalKind,
    store::{JournalQuery, Store},
};
use serde_json::json;

use crate::support::{
    alone::{peak_of, resident_of},
    program::{ALICE, Daemon, OURS, PIN, Plant, until_or},
};

/// Spare coils of the simulated PLC begin there.
pub const FIRST: u16 = 1000;
/// Alarms of one coil.
pub const PER_COIL: usize = 5;
/// Alarms of a usual run; `ANNUNCIATOR_FLOOD_ALARMS` is another number, at most 100,000.
const ALARMS: usize = 5_000;
/// Memory that one alarm may cost in all its states, KiB: its condition, its event, its run, its place in digests, its records.
const PER_ALARM: u64 = 12;
/// Memory that a flood may cost besides, KiB.
const BESIDES: u64 = 200 * 1024;
/// How long all of it may take, for each alarm.
const PATIENCE: Duration = Duration::from_millis(8);
const AT_LEAST: Duration = Duration::from_secs(120);

/// Five alarms for each of so many spare coils, told by the pipeline `on-call`.
pub fn tags(coils: usize) -> String {
    let mut text = String::new();
    for n in 0..coils {
        write!(
            text,
            "[[tag]]\npath = 'Area{}/P{n}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = 'coil:{}'\n",
            n / 100,
            usize::from(FIRST) + n
        )
        .unwrap();
        for (place, priority) in ["critical", "high", "medium", "low", "low"].into_iter().enumerate() {
            // One critical alarm in a hundred, as ISA-18.2 has it.
            let priority = if place == 0 && !n.is_multiple_of(20) { "medium" } else { priority };
            write!(
                text,
                "[[tag.alarm]]\nname = 'A{place}'\npriority = '{priority}'\nmessage = 'it fails'\npipeline = 'on-call'\n"
            )
            .unwrap();
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_told_and_acknowledged_in_bounded_memory() {
    let alarms = env::var("ANNUNCIATOR_FLOOD_ALARMS").ok().map_or(ALARMS, |text| text.parse().unwrap());
    let coils = alarms / PER_COIL;
    let plant = Plant::new(&tags(coils), "").await;
    // The defaults of a plant: floods are digests, people have budgets.
    let config = plant.config("");
    let (throttled, others): (Vec<_>, Vec<_>) = config
        .lines()
        .partition(|line| ["[throttle]", "chatter =", "budget =", "flood ="].iter().any(|key| line.starts_with(key)));
    assert_eq!(throttled.len(), 4, "all that the tests switch off");
    plant.write("config/main.toml", &others.join("\n"));
    let patience = AT_LEAST.max(PATIENCE * u32::try_from(alarms).unwrap());
    // Each line of the log is looked through for PINs, and some number among a million looks like one.
    let mut daemon = Daemon::spawn(plant.command(&["run"]).env("RUST_LOG", "warn"), plant.console);
    daemon.ready().await;
    let process = daemon.child.id();
    daemon.tag_is("Area0/P0", false).await;
    let before = resident_of(process).unwrap_or(0);

    let began = Instant::now();
    plant.plc.as_ref().unwrap().plant.set_coils(FIRST, &vec![true; coils]);
    let shown = async || daemon.get("alarms?prefix=Area&state=ActiveUnacked&limit=1").await["total"].clone();
    until_or("all alarms", patience, async || (shown().await == alarms).then_some(()), || daemon.log()).await;
    let raised = began.elapsed();
    let told = async || plant.twilio.phone(ALICE).into_iter().find(|text| text.body.contains("Area"));
    until_or("a text", patience, told, || daemon.log()).await;

    let answered = Instant::now();
    let outcome = plant.twilio.text(ALICE, Some(OURS.into()), &format!("{PIN}11 all")).await.unwrap();
    assert_eq!(outcome.webhook_status, Some(200));
    // What alice was not yet told of, she cannot take: somebody takes the rest in the console.
    loop {
        let list = daemon.get("alarms?prefix=Area&state=unacked&limit=1000").await;
        let open: Vec<_> = list["alarms"].as_array().unwrap().iter().map(|alarm| json!({ "alarm": alarm["path"] })).collect();
        if open.is_empty() {
            break;
        }
        assert!(answered.elapsed() < patience, "{} are left", list["total"]);
        daemon.post("alarms/ack-many", &json!({ "alarms": open })).await;
    }
    let acknowledged = answered.elapsed();
    let depth = async || (daemon.tag("System/Gateway/Twilio/OutboxDepth").await == 0).then_some(());
    until_or("empty outbox", patience, depth, || daemon.log()).await;
    let (after, peak) = (resident_of(process).unwrap_or(0), peak_of(process).unwrap_or(0));
    let texts: usize = (1..=6).map(|n| plant.twilio.phone(&format!("+1222333440{n}")).len()).sum();
    daemon.stop();

    println!(
        "{alarms} alarms: shown after {raised:.1?}, all acknowledged {acknowledged:.1?} after the first answer, {texts} texts; resident \
         {} MiB before, {} at the peak, {} after",
        before / 1024,
        peak / 1024,
        after / 1024
    );
    let settings = StoreSettings::default();
    let store = Store::open_read_only(&settings, &plant.folder.path().join("data")).await.unwrap();
    for kind in [JournalKind::Raised, JournalKind::Acknowledged] {
        let (mut before, mut count, mut of) = (None, 0, BTreeSet::new());
        loop {
            let query = JournalQuery { kinds: vec![kind], alarm_prefix: Some("Area".into()), before, ..JournalQuery::default() };
            let page = store.journal(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            count += page.len();
            of.extend(page.into_iter().map(|row| row.entry.alarm));
        }
        assert_eq!((count, of.len()), (alarms, alarms), "{kind:?}: each once");
    }
    let bound = before + BESIDES + PER_ALARM * alarms as u64;
    assert!(peak <= bound, "{peak} KiB, more than {bound} KiB");
}
