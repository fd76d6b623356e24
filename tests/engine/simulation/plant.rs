//! A plant and its people, from a seed.

use std::fmt::Write as _;

use annunciator::{config::File, scenario::Setup};

/// Name, number, PIN, and the hours of duty in London; `None` for always.
pub type Person = (&'static str, &'static str, &'static str, Option<(u8, u8)>);

/// Bounds that no change of the clock doubles or skips.
pub const PEOPLE: [Person; 4] = [
    ("alice", "+12223330001", "4711", None),
    ("bob", "+12223330002", "0815", Some((22, 6))),
    ("carol", "+12223330003", "1234", Some((6, 22))),
    ("erin", "+12223330004", "5678", Some((2, 8))),
];

/// Messages of alarms per person and hour; half of them are kept for critical.
pub const BUDGETS: [u32; 2] = [8, 30];

/// The zone of every schedule.
pub const ZONE: &str = "Europe/London";

const STEADY: &str = r#"
[alarms]
system_pipeline = "system"
fallback = "operators"
[[twilio]]
name = "main"
account_sid = "AC00000000000000000000000000000000"
auth_token = "token"
from = "+15550001111"
external_url = "https://plant.example.com"
sms_per_second = 1000
calls_per_second = 1000
[[source]]
name = "plc1"
kind = "plc"
[[roster]]
name = "operators"
users = ["alice", "bob"]
[[roster]]
name = "managers"
users = ["carol", "erin"]
[[pipeline]]
name = "system"
end_on_clear = false
[[pipeline.step]]
notify = { profile = "text", roster = "managers" }
"#;

/// What the seed made.
pub struct Plant {
    pub alarms: usize,
    /// Messages of an hour, when there is a budget.
    pub budget: Option<u32>,
    config: String,
    tags: String,
}

impl Plant {
    pub fn new(random: &mut fastrand::Rng) -> Self {
        let alarms = random.usize(3..9);
        let budget = BUDGETS.get(random.usize(..3)).copied();
        let config = configuration(random, budget);
        Self { alarms, budget, config, tags: tags(random, alarms) }
    }

    /// The configuration; another wait in odd variants, an alarm less from the third on.
    pub fn setup(&self, variant: usize, zone: &str) -> Setup<'static> {
        let wait = if variant & 1 == 0 { "40s" } else { "50s" };
        let config = self.config.replace("WAIT", wait).replace("ZONE", zone);
        let fewer = || self.tags.rsplit_once("[[tag.alarm]]").map_or_else(String::new, |(before, _)| before.to_owned());
        let tags = if variant < 2 { self.tags.clone() } else { fewer() };
        let file = |name: &str, text| vec![File { name: name.to_owned(), text }];
        Setup { config: file("config", config), tags: file("tags", tags), ..Setup::example() }
    }
}

fn configuration(random: &mut fastrand::Rng, budget: Option<u32>) -> String {
    let mut text = STEADY.to_owned();
    for (name, number, pin, hours) in PEOPLE {
        let _ = write!(text, "[[user]]\nname = \"{name}\"\nphone = \"{number}\"\npin = \"{pin}\"\nroles = [\"operator\"]\n");
        if let Some((from, to)) = hours {
            let _ = write!(
                text,
                "schedule = \"of-{name}\"\n[[schedule]]\nname = \"of-{name}\"\ntime_zone = \"ZONE\"\n\
                 weekly = [{{ days = \"daily\", from = \"{from:02}:00\", to = \"{to:02}:00\" }}]\n"
            );
        }
    }
    let chatter = random.bool();
    let flood = random.u8(..4) == 0;
    let budget = budget.map_or_else(
        || "{ enabled = false }".to_owned(),
        |messages| format!("{{ messages_per_hour = {messages}, calls_per_hour = {messages}, critical_reserve = 0.5 }}"),
    );
    let _ = write!(
        text,
        "[throttle]\nchatter = {{ enabled = {chatter}, activations = 3, per = \"1m\", hold = \"10m\" }}\n\
         flood = {{ enabled = {flood}, alarms = 6, per = \"10m\" }}\nbudget = {budget}\n"
    );
    let cooldown = ["0s", "3m"][random.usize(..2)];
    let key = if random.bool() { "cooldown_key = \"all\"\n" } else { "" };
    let _ = write!(
        text,
        "[[profile]]\nname = \"text\"\nkind = \"sms\"\ntwilio = \"main\"\nmessage = \"{{{{ alarm.path }}}}\"\n\
         cooldown = \"{cooldown}\"\n{key}[[profile]]\nname = \"call\"\nkind = \"voice\"\ntwilio = \"main\"\n\
         message = \"{{{{ alarm.path }}}}\"\n"
    );
    for name in 0..3 {
        pipeline(random, &mut text, name);
    }
    text
}

/// Steps of every kind; whatever they decide, the last one tells everybody.
fn pipeline(random: &mut fastrand::Rng, text: &mut String, name: u8) {
    let _ = write!(text, "[[pipeline]]\nname = \"p{name}\"\nend_on_clear = {}\nmax_passes = 3\n", random.bool());
    for step in 0..random.usize(0..5) {
        let _ = write!(text, "[[pipeline.step]]\nname = \"s{step}\"\n");
        match random.u8(..10) {
            0..4 => notify(random, text),
            4..6 => _ = writeln!(text, "delay = \"{}s\"", random.u32(1..600)),
            6 => {
                let when = ["alarm.priority >= high", "tag(\\\"P/Quiet\\\")", "told > 1", "pass > 1"][random.usize(..4)];
                let _ = writeln!(text, "switch = [{{ when = \"{when}\", jump = \"net\" }}]");
            }
            7 => _ = writeln!(text, "set = {{ tag = \"W/Beacon\", value = {} }}", random.bool()),
            8 => _ = writeln!(text, "script = {{ file = \"a.rhai\", role = \"operator\", timeout = \"20s\" }}"),
            // Back, with a pause: as often as `max_passes` allows.
            _ if step > 0 => {
                let _ = write!(text, "delay = \"5s\"\n[[pipeline.step]]\njump = \"s{}\"\n", random.usize(..step));
            }
            _ => notify(random, text),
        }
    }
    for (number, roster) in ["operators", "managers"].iter().enumerate() {
        let named = if number == 0 { "name = \"net\"\n" } else { "" };
        let _ = write!(
            text,
            "[[pipeline.step]]\n{named}notify = {{ profile = \"text\", roster = \"{roster}\", order = \"broadcast\" }}\n"
        );
    }
}

fn notify(random: &mut fastrand::Rng, text: &mut String) {
    let roster = ["operators", "managers"][random.usize(..2)];
    let order = ["sequential", "broadcast"][random.usize(..2)];
    let times = random.u8(1..4);
    if random.u8(..3) == 0 {
        let _ = writeln!(text, "notify = {{ profile = \"call\", roster = \"{roster}\", order = \"{order}\", wait = \"WAIT\" }}");
        return;
    }
    let consolidate = if random.bool() { ", consolidate = { wait = \"10s\", every = \"2m\", n = 3 }" } else { "" };
    let _ = writeln!(
        text,
        "notify = {{ profile = \"text\", roster = \"{roster}\", order = \"{order}\", wait = \"WAIT\", repeat = \"3m\", times = {times}{consolidate} }}"
    );
}

fn tags(random: &mut fastrand::Rng, alarms: usize) -> String {
    let mut text = String::new();
    let writable =
        [("W/Pulse", "Boolean"), ("W/Count", "UInt16"), ("W/Set", "Boolean"), ("W/Beacon", "Boolean"), ("P/Quiet", "Boolean")];
    for (path, kind) in writable {
        let _ =
            write!(text, "[[tag]]\npath = \"{path}\"\ntype = \"{kind}\"\nsource = \"plc1\"\naddress = \"0\"\nwritable = true\n");
    }
    for alarm in 0..alarms {
        let priority = ["low", "medium", "high", "critical"][random.usize(..4)];
        let ack = [
            "",
            "ack = { tag = \"W/Pulse\", mode = \"pulse\", hold = \"3s\" }\n",
            "ack = { tag = \"W/Count\", mode = \"increment\" }\n",
            "ack = { tag = \"W/Set\", mode = \"set\", value = true }\n",
        ][random.usize(..4)];
        let quiet = if random.u8(..3) == 0 { "suppressed_by = \"P/Quiet\"\n" } else { "" };
        let delay = ["", "on_delay = \"5s\"\n", "off_delay = \"5s\"\n"][random.usize(..3)];
        let _ = write!(
            text,
            "[[tag]]\npath = \"P/{alarm}\"\ntype = \"Boolean\"\nsource = \"plc1\"\naddress = \"0\"\n[[tag.alarm]]\nname = \"On\"\n\
             priority = \"{priority}\"\npipeline = \"p{}\"\n{ack}{quiet}{delay}",
            random.u8(..3)
        );
    }
    text
}
