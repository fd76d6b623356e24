//! Two instances on one PostgreSQL: what the one that stands by shows and hands in, and who acts when one is killed, stopped, or cut
//! off from the database or the PLC.

use std::{
    collections::BTreeSet,
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annunciator::{
    config::StoreSettings,
    simulate::twilio::Options,
    store::{JournalQuery, Store},
};
use serde_json::{Value, json};

use crate::{
    flood,
    support::{
        BOUND,
        alone::resident_of,
        busy::{self, SETTLE, Seen, check, faults, live},
        line::Line,
        port::free_port,
        postgres,
        program::{ALICE, Api, Daemon, OURS, PASSWORD, PIN, Plant, binary, until, until_or},
        twilio::http,
    },
};

const TRIP: u16 = 1000;
const ACK: u16 = 11;
/// A fail-over takes no longer (SPEC 12).
const FAIL_OVER: Duration = Duration::from_secs(5);

const TAGS: &str = "
[[tag]]
path = 'Tank'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
[[tag.alarm]]
name = 'Trip'
priority = 'critical'
message = 'the tank overflows'
pipeline = 'on-call'
ack = { tag = 'TankAck' }
[[tag]]
path = 'TankAck'
type = 'Boolean'
source = 'plc1'
address = 'coil:11'
writable = true
";

/// One instance of the two: its folders, its ports, and its lines to the world, which can be cut.
struct Instance {
    name: &'static str,
    console: u16,
    webhooks: u16,
    store: Line,
    twilio: Line,
    plc: Line,
}

/// The plant, its database, and two instances behind lines for webhooks and console that lead to whoever answers first.
struct Twins {
    plant: Plant,
    webhooks: Line,
    console: Line,
    a: Instance,
    b: Instance,
    /// The database's own URL.
    database: String,
}

impl Twins {
    /// `None` without PostgreSQL.
    async fn new(tags: &str, more: &str) -> Option<Self> {
        let database = postgres::database()?;
        let (webhooks, console) = (Line::to(&[]).await, Line::to(&[]).await);
        let plant = Plant::on([webhooks.port, console.port], tags, more, Options::default()).await;
        let a = Self::instance("a", &plant, &database, more).await;
        let b = Self::instance("b", &plant, &database, more).await;
        let twins = Self { plant, webhooks, console, a, b, database };
        twins.prefer(&twins.a);
        Some(twins)
    }

    async fn instance(name: &'static str, plant: &Plant, database: &str, more: &str) -> Instance {
        let twilio = plant.twilio.address().port();
        let instance = Instance {
            name,
            console: free_port(),
            webhooks: free_port(),
            store: Line::to(&[port_of(database)]).await,
            twilio: Line::to(&[twilio]).await,
            plc: Line::to(&[plant.plc_addr.port()]).await,
        };
        let Instance { console, webhooks, store, .. } = &instance;
        let replace = |text: String, from: &str, to: &str| {
            assert!(text.contains(from), "{from} stands in {text}");
            text.replacen(from, to, 1)
        };
        let Plant { webhooks: front, console: front_console, plc_addr, .. } = plant;
        let text = plant.config(more);
        let text = replace(text, &format!("webhooks = '127.0.0.1:{front}'"), &format!("webhooks = '127.0.0.1:{webhooks}'"));
        let text = replace(text, &format!("console = '127.0.0.1:{front_console}'"), &format!("console = '127.0.0.1:{console}'"));
        let text = replace(
            text,
            "url = 'sqlite:annunciator.db'",
            &format!("url = '{}'", database.replace(&port_of(database).to_string(), &store.port.to_string())),
        );
        let text = replace(text, &format!("tcp://{plc_addr}"), &format!("tcp://127.0.0.1:{}", instance.plc.port));
        let text = replace(text, &plant.twilio.url(), &format!("http://127.0.0.1:{}", instance.twilio.port));
        let opcua = format!("opc.tcp://127.0.0.1:{}/annunciator", plant.opcua);
        let own = format!("opc.tcp://127.0.0.1:{}/annunciator'\napplication_uri = 'urn:annunciator:{name}", free_port());
        plant.write(&format!("config-{name}/main.toml"), &replace(text, &opcua, &own));
        instance
    }

    /// Webhooks and console lead to this one, and to the other when it does not listen.
    fn prefer(&self, instance: &Instance) {
        let other = if instance.name == "a" { &self.b } else { &self.a };
        self.webhooks.turn(&[instance.webhooks, other.webhooks]);
        self.console.turn(&[instance.console, other.console]);
    }

    fn spawn(&self, instance: &Instance) -> Daemon {
        let folder = |name: &str| self.plant.folder.path().join(name).display().to_string();
        let mut command = binary();
        command.args(["run", "--config", &folder(&format!("config-{}", instance.name)), "--tags", &folder("tags")]);
        command.args(["--data", &folder(&format!("data-{}", instance.name))]);
        command.env("ANNUNCIATOR_USER", "bob").env("ANNUNCIATOR_PASSWORD", PASSWORD);
        Daemon::spawn(&mut command, instance.console)
    }

    async fn start(&self, instance: &Instance) -> Daemon {
        let mut daemon = self.spawn(instance);
        daemon.ready().await;
        daemon
    }

    /// Starts both: `a` is active, and knows of `b`. (One that never heard of another goes on without the database.)
    async fn both(&self) -> [Daemon; 2] {
        let a = self.start(&self.a).await;
        let b = self.start(&self.b).await;
        a.logged("another instance is there").await;
        [a, b]
    }

    /// The texts about alarms that Twilio has accepted for a phone.
    fn texts(&self, number: &str) -> Vec<String> {
        let texts =
            self.plant.twilio.phone(number).into_iter().filter(|text| !text.sent_by_phone && text.body.contains("/Alarms/"));
        texts.map(|text| text.body).collect()
    }

    async fn told(&self, number: &str, count: usize) -> Vec<String> {
        let told = async || Some(self.texts(number)).filter(|texts| texts.len() >= count);
        let texts = until(&format!("{count} texts to {number}"), BOUND, told).await;
        assert_eq!(texts.len(), count, "{texts:?}");
        texts
    }

    fn coil(&self, address: u16) -> bool {
        self.plant.plc.as_ref().unwrap().plant.coil(address)
    }

    fn trip(&self, on: bool) {
        self.plant.plc.as_ref().unwrap().plant.set_coils(TRIP, &[on]);
    }

    /// What `report --users` prints.
    async fn report(&self) -> Value {
        let folder = |name: &str| self.plant.folder.path().join(name).display().to_string();
        let mut command = binary();
        command.args(["report", "--users", "--output", "json", "--config", &folder("config-a"), "--tags", &folder("tags")]);
        command.args(["--data", &folder("data-a")]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Opens the store beside the instances.
    async fn store(&self) -> Store {
        let settings = StoreSettings { url: self.database.clone(), ..StoreSettings::default() };
        Store::open_read_only(&settings, self.plant.folder.path()).await.unwrap()
    }
}

fn port_of(url: &str) -> u16 {
    let port = url.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap();
    port.parse().unwrap()
}

async fn role(daemon: &Daemon) -> Value {
    daemon.get("tags/System/Gateway/Role").await["value"].clone()
}

/// Waits until an instance is active, and says how long it took since `since`.
async fn becomes_active(daemon: &Daemon, since: Instant) -> Duration {
    until_or("fail-over", BOUND, async || (role(daemon).await == "active").then_some(()), || daemon.log()).await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_stands_by_shows_and_hands_in() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [a, b] = twins.both().await;
    assert_eq!((role(&a).await, role(&b).await), (json!("active"), json!("standby")));
    // Only the active one has values.
    a.tag_is("Tank", false).await;
    assert_eq!(b.get("tags/Tank").await["status"], "BadOutOfService");
    let (status, refused) = Api::on(twins.b.console).put("tags/TankAck", &json!({ "value": true })).await;
    assert!(status >= 400 && refused.to_string().contains("BadInvalidState"), "{status} {refused}");

    twins.trip(true);
    b.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
    let texts = twins.told(ALICE, 1).await;
    let code = texts[0].rsplit('#').next().unwrap();
    assert_eq!(a.alarm("Tank/Alarms/Trip").await["event"], b.alarm("Tank/Alarms/Trip").await["event"]);

    // A reply that reaches the one that stands by acknowledges, and is answered by the active one.
    twins.prefer(&twins.b);
    let outcome = twins.plant.twilio.text(ALICE, Some(OURS.into()), &format!("{PIN}11 {code}")).await.unwrap();
    assert_eq!(outcome.webhook_status, Some(200));
    for daemon in [&a, &b] {
        daemon.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    }
    until("coil", BOUND, async || twins.coil(ACK).then_some(())).await;
    twins.trip(false);
    b.alarm_is("Tank/Alarms/Trip", "ClearAcked").await;

    // So does what somebody asks of it, and the answer is the active one's.
    twins.trip(true);
    b.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
    let path = json!({ "alarm": "Tank/Alarms/Trip", "note": "seen" });
    let (status, answer) = Api::on(twins.b.console).post("alarms/ack", &path).await;
    assert_eq!(status, 200, "{answer}");
    a.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    let (status, answer) = Api::on(twins.b.console).post("alarms/ack", &path).await;
    assert_ne!(status, 200, "the second one is told who was first: {answer}");
    assert!(answer.to_string().contains("bob"), "{answer}");

    // The PIN stood in the database sealed only.
    let dump = postgres::dump(&twins.database);
    assert!(!dump.contains(&format!("{PIN}11")), "a PIN stands in the database");
    a.stop();
    b.stop();
}

/// Tokens are changed on one instance after the other: what the first one seals with the new token, the other opens once it has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_with_a_newer_token_waits_for_it() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let rotate = |instance: &Instance| {
        let name = format!("config-{}/main.toml", instance.name);
        let text = fs::read_to_string(twins.plant.folder.path().join(&name)).unwrap();
        let rotated = text.replace("auth_token = ", "auth_token = 'a-newer-token-of-the-tests'\nauth_token_2 = ");
        assert_ne!(rotated, text);
        twins.plant.write(&name, &rotated);
    };
    rotate(&twins.b);
    let [a, b] = twins.both().await;
    twins.trip(true);
    let texts = twins.told(ALICE, 1).await;
    let code = texts[0].rsplit('#').next().unwrap();
    twins.prefer(&twins.b);
    let outcome = twins.plant.twilio.text(ALICE, Some(OURS.into()), &format!("{PIN}11 {code}")).await.unwrap();
    assert_eq!(outcome.webhook_status, Some(200));
    a.logged("it was sealed with another auth_token of Twilio profile main").await;
    assert_eq!(a.alarm("Tank/Alarms/Trip").await["state"], "ActiveUnacked");
    rotate(&twins.a);
    a.signal("HUP");
    a.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    a.stop();
    b.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_one_is_replaced_and_nothing_is_told_again() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [mut a, b] = twins.both().await;
    twins.trip(true);
    let texts = twins.told(ALICE, 1).await;
    let event = a.alarm("Tank/Alarms/Trip").await["event"].clone();
    let killed = Instant::now();
    a.child.kill();
    let took = becomes_active(&b, killed).await;
    assert!(took < FAIL_OVER, "{took:?}");
    b.tag_is("Tank", true).await;
    assert_eq!(b.alarm("Tank/Alarms/Trip").await["event"], event, "it is the same event");
    // What came before counts: the code of the first text acknowledges, once, and the coil rises.
    let code = texts[0].rsplit('#').next().unwrap();
    twins.prefer(&twins.b);
    twins.plant.twilio.text(ALICE, Some(OURS.into()), &format!("{PIN}11 {code}")).await.unwrap();
    b.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    until("coil", BOUND, async || twins.coil(ACK).then_some(())).await;
    assert_eq!(twins.texts(ALICE).len(), 1, "it was not told again");
    // The one that died comes back and stands by.
    let a = twins.start(&twins.a).await;
    assert_eq!((role(&a).await, role(&b).await), (json!("standby"), json!("active")));
    a.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    // In order: no gap but that of a beat.
    let stopped = Instant::now();
    b.stop();
    let took = becomes_active(&a, stopped).await;
    assert!(took < FAIL_OVER, "{took:?}");
    a.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_one_does_nothing_when_it_goes_on() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    twins.trip(true);
    twins.told(ALICE, 1).await;
    let stopped = Instant::now();
    a.signal("STOP");
    twins.prefer(&twins.b);
    let took = becomes_active(&b, stopped).await;
    assert!(took < FAIL_OVER, "{took:?}");
    let before = (twins.a.twilio.sent(), twins.a.plc.sent());
    a.signal("CONT");
    a.logged("standing by").await;
    assert_eq!(role(&a).await, "standby");
    assert_eq!((twins.a.twilio.sent(), twins.a.plc.sent()), before, "it sent and wrote nothing");
    twins.trip(false);
    b.alarm_is("Tank/Alarms/Trip", "ClearUnacked").await;
    a.alarm_is("Tank/Alarms/Trip", "ClearUnacked").await;
    assert_eq!((twins.a.twilio.sent(), twins.a.plc.sent()), before);
    a.stop();
    b.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cut_off_from_the_database_is_replaced() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    for (silent, on) in [(false, true), (true, false)] {
        // Whichever is active at the time.
        let (active, other, line) = if role(&a).await == "active" { (&a, &b, &twins.a) } else { (&b, &a, &twins.b) };
        let cut = Instant::now();
        if silent {
            line.store.silence();
        } else {
            line.store.cut();
        }
        // What happens meanwhile is not lost.
        twins.trip(on);
        let took = becomes_active(other, cut).await;
        assert!(took < FAIL_OVER, "{took:?}");
        other.alarm_is("Tank/Alarms/Trip", if on { "ActiveUnacked" } else { "ClearUnacked" }).await;
        until_or("standby", BOUND, async || (role(active).await == "standby").then_some(()), || active.log()).await;
        let before = (line.twilio.sent(), line.plc.sent());
        line.store.mend();
        active.alarm_is("Tank/Alarms/Trip", if on { "ActiveUnacked" } else { "ClearUnacked" }).await;
        assert_eq!((line.twilio.sent(), line.plc.sent()), before, "it sent and wrote nothing");
    }
    twins.told(ALICE, 1).await;
    a.stop();
    b.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_its_plc_lets_another_try() {
    let more = "[redundancy]\nreadiness = ['plc1']\nreadiness_after = '1s'\n";
    let Some(twins) = Twins::new(TAGS, more).await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    twins.a.plc.cut();
    becomes_active(&b, Instant::now()).await;
    b.tag_is("Tank", false).await;
    twins.trip(true);
    b.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
    // Now both have lost it: nobody is better, and b stays.
    twins.b.plc.cut();
    b.alarm_is("System/Gateway/Sources/plc1/Alarms/CommLoss", "ActiveUnacked").await;
    until_or("standby", BOUND, async || (role(&a).await == "standby").then_some(()), || a.log()).await;
    assert_eq!(role(&b).await, "active");
    a.stop();
    b.stop();
}

/// Texts go on, with their records in memory; once the database is back they are there, and nothing is told again.
async fn goes_on(twins: &Twins, a: &Daemon, all: &[&Instance]) {
    a.tag_is("Tank", false).await;
    for instance in all {
        instance.store.cut();
    }
    twins.trip(true);
    let texts = twins.told(ALICE, 1).await;
    a.alarm_is("System/Gateway/Alarms/StoreFailed", "ActiveUnacked").await;
    let code = texts[0].rsplit('#').next().unwrap();
    for instance in all {
        instance.store.mend();
    }
    a.logged("the store can be written again").await;
    assert_eq!(role(a).await, "active");
    let outcome = twins.plant.twilio.text(ALICE, Some(OURS.into()), &format!("{PIN}11 {code}")).await.unwrap();
    assert_eq!(outcome.webhook_status, Some(200));
    a.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    until("coil", BOUND, async || twins.coil(ACK).then_some(())).await;
    let journal = a.get("journal?alarm=Tank/Alarms/Trip&kind=raised").await;
    assert_eq!(journal["entries"].as_array().map(Vec::len), Some(1), "{journal}");
    let told = twins.texts(ALICE).into_iter().filter(|text| text.contains("Tank/Alarms/Trip")).count();
    assert_eq!(told, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_one_alone_goes_on() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let a = twins.start(&twins.a).await;
    goes_on(&twins, &a, &[&twins.a]).await;
    a.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_active_one_goes_on_when_that_is_wanted() {
    let Some(twins) = Twins::new(TAGS, "[redundancy]\nstore_lost = 'send'\n").await else { return };
    let [a, b] = twins.both().await;
    goes_on(&twins, &a, &[&twins.a, &twins.b]).await;
    b.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
    assert_eq!(role(&b).await, "standby");
    a.stop();
    b.stop();
}

/// Never two that act: how both stand, asked at the same time as far as that can be.
async fn standing(a: &Daemon, b: &Daemon) -> [bool; 2] {
    let (a, b) = tokio::join!(role(a), role(b));
    let standing = [a == "active", b == "active"];
    assert_ne!(standing, [true, true]);
    standing
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_late_cost_no_lease() {
    late_answers("3s", Duration::from_millis(300), 2).await;
}

/// A beat takes longer than one of a short lease may.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_later_cost_no_long_lease() {
    late_answers("6s", Duration::from_millis(600), 1).await;
}

async fn late_answers(lease: &str, late: Duration, alarms: usize) {
    let Some(twins) = Twins::new(TAGS, &format!("[redundancy]\nlease = '{lease}'\n")).await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    for instance in [&twins.a, &twins.b] {
        instance.store.slow(late);
    }
    // Longer than a few leases: the first commits prepare their statements, too.
    for alarm in 1..=alarms {
        let tripped = Instant::now();
        twins.trip(true);
        twins.told(ALICE, alarm).await;
        println!("alarm {alarm} told {:?} after it was raised", tripped.elapsed());
        b.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
        a.post("alarms/ack", &json!({ "alarm": "Tank/Alarms/Trip", "note": "" })).await;
        twins.trip(false);
        b.alarm_is("Tank/Alarms/Trip", "ClearAcked").await;
        assert_eq!(standing(&a, &b).await, [true, false]);
    }
    // A new connection, too, can be made.
    twins.b.store.turn(&[port_of(&twins.database)]);
    b.logged("the store answers again").await;
    assert!(!a.log().contains("the store does not answer"), "{}", a.log());
    a.stop();
    b.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_later_than_the_lease_pass_it_on_and_never_two_act() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    let late = Duration::from_secs(4);
    let slow = Instant::now();
    twins.a.store.slow(late);
    twins.trip(true);
    let took = becomes_active(&b, slow).await;
    assert!(took < FAIL_OVER, "{took:?}");
    twins.told(ALICE, 1).await;
    let before = (twins.a.twilio.sent(), twins.a.plc.sent());
    // Now it is late for both: nobody acts.
    twins.b.store.slow(late);
    until("nobody that acts", BOUND, async || (standing(&a, &b).await == [false, false]).then_some(())).await;
    let silent = (twins.b.twilio.sent(), twins.b.plc.sent());
    let (began, times) = (Instant::now(), late * 2);
    while began.elapsed() < times {
        assert_eq!(standing(&a, &b).await, [false, false]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((twins.a.twilio.sent(), twins.a.plc.sent()), before, "a sent and wrote nothing");
    assert_eq!((twins.b.twilio.sent(), twins.b.plc.sent()), silent, "b sent and wrote nothing");
    for instance in [&twins.a, &twins.b] {
        instance.store.slow(Duration::ZERO);
    }
    let acts = async || standing(&a, &b).await.contains(&true).then_some(());
    until("one that acts", BOUND, acts).await;
    for daemon in [&a, &b] {
        daemon.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
    }
    twins.told(ALICE, 1).await;
    a.stop();
    b.stop();
}

/// How long the database is gone in a usual run; `ANNUNCIATOR_STORE_GONE_SECONDS` is another number.
const GONE: u64 = 20;

fn gone() -> Duration {
    let seconds = env::var("ANNUNCIATOR_STORE_GONE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(GONE))
}

/// Records that wait in an instance's memory.
async fn waiting(instance: &Instance) -> u64 {
    let metrics = http().get(format!("http://127.0.0.1:{}/metrics", instance.console)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("annunciator_store_waiting_records "));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no figure in {metrics}"))
}

/// For `lines`, the database is refused and silent by turns while alarms are raised, acknowledged and cleared, one a second at most;
/// then everything is there once, and memory has held no more than what waited.
async fn goes_on_for_long(twins: &Twins, a: &Daemon, lines: &[&Instance]) {
    /// Of each turn.
    const TURN: Duration = Duration::from_secs(10);
    /// Memory for a record that waits, in KiB, with its copy on the way to the store.
    const RECORD: u64 = 4;
    a.tag_is("Tank", false).await;
    let resident = || resident_of(a.child.id()).expect("it runs");
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    let (began, mut told, first, mut most) = (Instant::now(), 0, resident(), 0);
    while began.elapsed() < gone() {
        pace.tick().await;
        let is_silent = began.elapsed().as_secs() / TURN.as_secs() % 2 == 1;
        for instance in lines {
            if is_silent {
                instance.store.silence();
            } else {
                instance.store.cut();
            }
        }
        told += 1;
        twins.trip(true);
        twins.told(ALICE, told).await;
        // Acknowledged, it is a new one the next time; unacknowledged, it would join this notification.
        a.post("alarms/ack", &json!({ "alarm": "Tank/Alarms/Trip", "note": "" })).await;
        a.alarm_is("Tank/Alarms/Trip", "ActiveAcked").await;
        twins.trip(false);
        a.alarm_is("Tank/Alarms/Trip", "ClearAcked").await;
        most = most.max(resident());
    }
    let waited = waiting(&twins.a).await;
    a.alarm_is("System/Gateway/Alarms/StoreFailed", "ActiveUnacked").await;
    for instance in lines {
        instance.store.mend();
    }
    a.logged("the store can be written again").await;
    println!(
        "gone for {:?}: {told} alarms, each told once; {waited} records waited; {first} KiB at first, {most} at most, {} now",
        began.elapsed(),
        resident()
    );
    assert!((1..100_000).contains(&waited) && !a.log().contains("records are lost"), "{waited} records waited");
    assert!(most < first + 64 * 1024 + waited * RECORD, "memory grew from {first} to {most} KiB");
    a.alarm_is("System/Gateway/Alarms/StoreFailed", "ClearUnacked").await;
    twins.told(ALICE, told).await;
    for kind in ["raised", "acknowledged", "cleared"] {
        let kind = serde_json::from_value(json!(kind)).unwrap();
        let query = JournalQuery { alarm: Some("Tank/Alarms/Trip".into()), kinds: vec![kind], ..JournalQuery::default() };
        let rows = twins.store().await.journal(&query).await.unwrap();
        let events: BTreeSet<_> = rows.iter().map(|row| row.entry.event).collect();
        assert_eq!((rows.len(), events.len()), (told, told), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_gone_for_long_for_one_alone() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let a = twins.start(&twins.a).await;
    goes_on_for_long(&twins, &a, &[&twins.a]).await;
    a.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_gone_for_long_for_a_pair_that_sends() {
    let Some(twins) = Twins::new(TAGS, "[redundancy]\nstore_lost = 'send'\n").await else { return };
    let [a, b] = twins.both().await;
    goes_on_for_long(&twins, &a, &[&twins.a, &twins.b]).await;
    b.alarm_is("Tank/Alarms/Trip", "ClearAcked").await;
    assert_eq!(standing(&a, &b).await, [true, false]);
    a.stop();
    b.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_gone_for_long_for_a_pair_that_waits() {
    let Some(twins) = Twins::new(TAGS, "").await else { return };
    let [a, b] = twins.both().await;
    a.tag_is("Tank", false).await;
    let lost = Instant::now();
    for instance in [&twins.a, &twins.b] {
        instance.store.cut();
    }
    until("nobody that acts", BOUND, async || (standing(&a, &b).await == [false, false]).then_some(())).await;
    // The one that acted knows nothing once it has ended, and says so.
    for path in ["alarms", "statistics", "overrides"] {
        let refusal = async || Some(a.get(path).await).filter(|answer| answer["status"] == 503);
        let answer = until_or("a refusal", BOUND, refusal, || a.log()).await;
        assert!(answer["detail"].as_str().is_some_and(|words| words.starts_with("nothing is known now")), "{answer}");
    }
    let resident = || [&a, &b].map(|daemon| resident_of(daemon.child.id()).expect("it runs"));
    let (early, mut most, mut on) = (resident(), [0, 0], false);
    while lost.elapsed() < gone() {
        on = !on;
        twins.trip(on);
        assert_eq!(standing(&a, &b).await, [false, false]);
        most = std::array::from_fn(|place| resident()[place].max(most[place]));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    twins.trip(true);
    for instance in [&twins.a, &twins.b] {
        instance.store.mend();
    }
    twins.told(ALICE, 1).await;
    println!("gone for {:?}: {early:?} KiB at first, {most:?} at most", lost.elapsed());
    assert!((0..2).all(|place| most[place] < early[place] + 32 * 1024), "memory grew from {early:?} to {most:?} KiB");
    for daemon in [&a, &b] {
        daemon.alarm_is("Tank/Alarms/Trip", "ActiveUnacked").await;
    }
    assert!(standing(&a, &b).await.contains(&true));
    let query = JournalQuery { alarm: Some("Tank/Alarms/Trip".into()), ..JournalQuery::default() };
    let rows = twins.store().await.journal(&query).await.unwrap();
    let raised = rows.iter().filter(|row| json!(row.entry.kind) == "raised").count();
    assert_eq!((raised, twins.texts(ALICE).len()), (1, 1));
    a.stop();
    b.stop();
}

/// How often something goes wrong in a usual run; `ANNUNCIATOR_FAULTS` is another number.
const FAULTS: usize = 5;

/// What the run has seen.
#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    kills: usize,
    /// Kills while a request to Twilio had no answer.
    sending: usize,
    /// Kills while a pulse stood.
    pulsing: usize,
    stops: usize,
    cuts: usize,
}

/// Something goes wrong with whichever is active, so often; then everything works again. Gives the two, running.
async fn strike(twins: &Twins, count: usize, mut random: fastrand::Rng) -> ([Daemon; 2], Tally) {
    let mut daemons = twins.both().await;
    let instances = [&twins.a, &twins.b];
    let mut tally = Tally::default();
    for _ in 0..count {
        let active = until("an active one", BOUND, async || {
            for (place, instance) in instances.iter().enumerate() {
                let role = Api::on(instance.console).get("tags/System/Gateway/Role").await;
                if role.is_some_and(|role| role["value"] == "active") {
                    return Some(place);
                }
            }
            None
        })
        .await;
        let (line, other) = (instances[active], 1 - active);
        twins.prefer(line);
        tokio::time::sleep(Duration::from_millis(random.u64(50..2500))).await;
        let kind = random.u8(..10);
        // Every other kill hits what is under way.
        if kind < 6 && random.bool() {
            let aim = random.bool();
            let under_way =
                async || (if aim { line.twilio.unanswered() > 0 } else { busy::pulses(&twins.plant) > 0 }).then_some(());
            _ = tokio::time::timeout(Duration::from_secs(2), until("something under way", BOUND, under_way)).await;
        }
        let began = Instant::now();
        let say = |what: &str| println!("{} {} is {what}", jiff::Timestamp::now(), line.name);
        match kind {
            0..6 => {
                say("killed");
                tally.sending += usize::from(line.twilio.unanswered() > 0);
                tally.pulsing += usize::from(busy::pulses(&twins.plant) > 0);
                tally.kills += 1;
                daemons[active].child.kill();
                twins.prefer(instances[other]);
                tally.took.push(becomes_active(&daemons[other], began).await);
                assert!(!daemons[active].log().contains("panicked"), "{}", daemons[active].log());
                daemons[active] = twins.start(line).await;
            }
            6..8 => {
                say("stopped");
                tally.stops += 1;
                daemons[active].signal("STOP");
                twins.prefer(instances[other]);
                tally.took.push(becomes_active(&daemons[other], began).await);
                let before = (line.twilio.sent(), line.plc.sent());
                daemons[active].signal("CONT");
                until("standby", BOUND, async || (role(&daemons[active]).await == "standby").then_some(())).await;
                assert_eq!((line.twilio.sent(), line.plc.sent()), before, "it went on: {}", daemons[active].log());
            }
            _ => {
                say("cut off");
                tally.cuts += 1;
                if random.bool() {
                    line.store.cut();
                } else {
                    line.store.silence();
                }
                twins.prefer(instances[other]);
                tally.took.push(becomes_active(&daemons[other], began).await);
                line.store.mend();
                until("standby", BOUND, async || (role(&daemons[active]).await == "standby").then_some(())).await;
            }
        }
    }
    (daemons, tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_whatever_happens_to_either() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("ANNUNCIATOR_FAULTS").map_or(FAULTS, |count| usize::try_from(count).unwrap());
    let seed = number("ANNUNCIATOR_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ANNUNCIATOR_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let Some(twins) = Twins::new(&busy::tags(), busy::PIPELINE).await else { return };
    let (api, stop, seen) = (twins.plant.api(), AtomicBool::new(false), Mutex::new(Seen::default()));
    let struck = async {
        let struck = strike(&twins, count, random.fork()).await;
        stop.store(true, Ordering::Relaxed);
        struck
    };
    let (people, twilio) = (fastrand::Rng::with_seed(seed ^ 1), fastrand::Rng::with_seed(seed ^ 2));
    let plant = &twins.plant;
    let (([a, b], mut tally), (), ()) =
        tokio::join!(struck, live(plant, &api, &stop, &seen, people), faults(plant, &stop, twilio));
    let active = if role(&a).await == "active" { &a } else { &b };
    until("empty outbox", SETTLE, async || (active.tag("System/Gateway/Twilio/OutboxDepth").await == 0).then_some(())).await;
    let mut seen = seen.into_inner().unwrap();
    let report = twins.report().await;
    check(plant, active, twins.store().await, &report, &mut seen).await;
    tally.took.sort_unstable();
    let of = |part: usize| tally.took.get(tally.took.len() * part / 100).map_or(0.0, Duration::as_secs_f64);
    println!(
        "{} kills ({} with a send under way, {} with a pulse half done), {} stops, {} cuts: fail-over p50 {:.2} s, p99 {:.2} s; \
         {} trips, {} texts, {} replies taken, {} repeated, 0 doubles",
        tally.kills,
        tally.sending,
        tally.pulsing,
        tally.stops,
        tally.cuts,
        of(50),
        of(99),
        seen.trips.iter().sum::<usize>(),
        seen.texts,
        seen.taken.len(),
        seen.repeats,
    );
    let slow = tally.took.iter().filter(|took| **took > FAIL_OVER).count();
    assert_eq!(slow, 0, "fail-overs beyond {FAIL_OVER:?}: {:?}", tally.took);
    a.stop();
    b.stop();
}

/// Alarms a second, from a PLC's poll to what is committed and shown: one instance alone against one that another stands by for, on
/// the same PostgreSQL and in turns. A measurement, so it asserts only that all alarms come.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --release --test it how_fast_a_pair_is -- --ignored --nocapture"]
async fn how_fast_a_pair_is() {
    const COILS: usize = 400;
    const ROUNDS: usize = 5;
    let alarms = COILS * flood::PER_COIL;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (two, took) in [false, true].into_iter().zip(&mut took) {
            let Some(twins) = Twins::new(&flood::tags(COILS), "").await else { return };
            let a = twins.start(&twins.a).await;
            let b = if two { Some(twins.start(&twins.b).await) } else { None };
            a.tag_is("Area0/P0", false).await;
            let began = Instant::now();
            twins.plant.plc.as_ref().unwrap().plant.set_coils(flood::FIRST, &vec![true; COILS]);
            let api = Api::on(twins.a.console);
            let shown = async || Some(api.get("alarms?prefix=Area&state=ActiveUnacked&limit=1").await?["total"] == alarms);
            until_or("all alarms", SETTLE, async || shown().await.filter(|all| *all), || a.log()).await;
            took.push(began.elapsed());
            drop(b);
        }
    }
    let median = |took: &mut Vec<Duration>| {
        took.sort_unstable();
        took[took.len() / 2].as_secs_f64()
    };
    let [alone, pair] = took.each_mut().map(median);
    let each_second = |seconds: f64| f64::from(u32::try_from(alarms).unwrap()) / seconds;
    println!(
        "{alarms} alarms, median of {ROUNDS}: {:.0} a second alone, {:.0} of a pair: {:.2} of it",
        each_second(alone),
        each_second(pair),
        alone / pair
    );
}
