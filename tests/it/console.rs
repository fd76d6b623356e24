//! The operator console in a real browser: one daemon, one person, every page.

use std::{process::Command, time::Duration};

use annunciator::{
    serve::passwords::hash_password,
    simulate::{modbus_plc::Event as PlantEvent, twilio::PhoneText},
};
use serde_json::json;

use crate::support::{
    BOUND, peers,
    process::Child,
    program::{ALICE, Daemon, PASSWORD, Plant, until},
};

/// A trip with write-back, a limit to be written, and alarms on tags that the test sets.
const TAGS: &str = "
[[tag]]
path = 'Tank'
type = 'Boolean'
source = 'plc1'
address = 'coil:1000'
[[tag.alarm]]
name = 'Trip'
priority = 'critical'
message = 'Tank level high high'
pipeline = 'on-call'
ack = { tag = 'TankAck', mode = 'pulse', hold = '200ms' }
[[tag]]
path = 'TankAck'
type = 'Boolean'
source = 'plc1'
address = 'coil:11'
writable = true
[[tag]]
path = 'Pump'
type = 'Boolean'
initial = false
writable = true
[[tag.alarm]]
name = 'Fault'
priority = 'high'
message = 'Pump fault'
pipeline = 'on-call'
[[tag]]
path = 'Limit'
type = 'Float'
initial = 85.0
range = [0.0, 100.0]
unit = '%'
writable = true
";
const FAULT: &str = "Pump/Alarms/Fault";
const TANK: u16 = 1000;
const TANK_ACK: u16 = 11;
/// One step of the browser's, several of its own bounds: a page with a check for accessibility takes seconds on a busy machine, a
/// dead line 12.
const STEP: Duration = Duration::from_secs(240);
/// Lines of the daemon's log that a failure shows.
const SHOWN: usize = 25;
/// Characters of each.
const WIDTH: usize = 180;

fn tags() -> String {
    let memory = |n: u8| {
        let priority = ["high", "medium", "low"][usize::from(n) % 3];
        format!(
            "[[tag]]\npath = 'Mem{n}'\ntype = 'Boolean'\ninitial = false\nwritable = true\n\
             [[tag.alarm]]\nname = 'On'\npriority = '{priority}'\nmessage = 'Signal {n} is on'\n"
        )
    };
    let memories: String = (1..=30).map(memory).collect();
    format!("{TAGS}{memories}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_a_browser() -> Result<(), Failure> {
    let (Some(folder), Some(chromium)) = (peers::node_modules(), peers::chromium()) else { return Ok(()) };
    let hash = hash_password(PASSWORD).unwrap();
    let viewer =
        format!("[[user]]\nname = 'vera'\nid = 9\nphone = '+12223334409'\nroles = ['viewer']\npassword_hash = '{hash}'\n");
    let plant = Plant::new(&tags(), &viewer).await;
    let daemon = plant.start().await;
    let mut command = Command::new("node");
    command.arg(peers::script("console.js")).arg(chromium).args([&plant.console.to_string(), PASSWORD]);
    let mut browser = Child::start(command.current_dir(folder));
    let mut coils = plant.plc.as_ref().unwrap().plant.subscribe();
    loop {
        let line = tokio::task::block_in_place(|| browser.line("", STEP));
        match line.as_str() {
            "want trip" => {
                plant.plc.as_ref().unwrap().plant.set_coils(TANK, &[true]);
                // Whoever acknowledges first would find that nobody was told.
                texts(&plant, "Trip", 1).await;
            }
            "want coil" => coil_rose(&mut coils, &daemon).await,
            "want many" => {
                daemon.write("Mem1", true).await;
                daemon.write("Mem2", true).await;
                plant.plc.as_ref().unwrap().plant.set_coils(TANK, &[false]);
                daemon.alarm_is("Tank/Alarms/Trip", "ClearAcked").await;
                plant.plc.as_ref().unwrap().plant.set_coils(TANK, &[true]);
                texts(&plant, "Trip", 2).await;
            }
            "want covered" => daemon.write("Pump", true).await,
            "want lost text" => {
                plant.twilio.set_reachable(ALICE, false);
                daemon.write("Pump", false).await;
                daemon.post("alarms/ack", &json!({ "alarm": FAULT })).await;
                daemon.alarm_is(FAULT, "ClearAcked").await;
                daemon.write("Pump", true).await;
            }
            "want reachable" => plant.twilio.set_reachable(ALICE, true),
            "want arrived" => texts(&plant, "Fault", 1).await,
            "want memory cut" => daemon.write("Mem3", true).await,
            "want memory dead" => daemon.write("Mem4", true).await,
            "want memory phone" => daemon.write("Mem5", true).await,
            "passed" => break,
            step if step.starts_with("step ") => {
                println!("{step}");
                continue;
            }
            page if page.starts_with("page /") => continue,
            other => return Err(Failure::new(other, &daemon.log())),
        }
        browser.say("done");
    }
    assert_eq!(browser.exit_code(BOUND), Some(0));
    daemon.stop();
    Ok(())
}

/// What went wrong, told so that the end of a long log shows it: the daemon's last words, shortened, the page, then the reason.
struct Failure(String);

impl Failure {
    fn new(browser: &str, log: &str) -> Self {
        let lines: Vec<_> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(SHOWN));
        let log: String = last.map(|line| line.chars().take(WIDTH).chain(['\n']).collect::<String>()).collect();
        Self(format!("\n{log}{}", browser.replace(" | ", "\n")))
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits until alice's phone has so many texts about an alarm.
async fn texts(plant: &Plant, about: &str, count: usize) {
    let arrived = |text: &PhoneText| text.status == "delivered" && text.body.contains(about);
    let look = async || (plant.twilio.phone(ALICE).iter().filter(|text| arrived(text)).count() >= count).then_some(());
    until(&format!("{count} texts about {about}"), BOUND, look).await;
}

/// Waits until the PLC has seen its acknowledgement's coil rise.
async fn coil_rose(coils: &mut tokio::sync::broadcast::Receiver<PlantEvent>, daemon: &Daemon) {
    let look = async || {
        while let Ok(event) = coils.try_recv() {
            if event == PlantEvent::Acknowledged(Some(TANK_ACK)) {
                return Some(());
            }
        }
        None
    };
    until("the PLC's coil", BOUND, look).await;
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
