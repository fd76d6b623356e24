//! Generated configurations: many tags, many alarms, one person.

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::Path};

/// What every generated plant needs to know of its surroundings.
pub struct Surroundings {
    pub opcua: u16,
    pub webhooks: u16,
    pub console: u16,
    pub twilio: String,
}

/// The one person's number.
pub const PERSON: &str = "+12223334444";
/// How long texts of a burst are gathered.
pub const GATHER_SECONDS: u64 = 1;

/// A source's table.
pub fn modbus(address: SocketAddr, poll_ms: u64) -> String {
    format!(
        "[[source]]\nname = \"plc1\"\nkind = \"modbus\"\nurl = \"tcp://{address}\"\nunit = 1\npoll = \"{poll_ms}ms\"\ntimeout = \"2s\"\n"
    )
}

/// A source's table.
pub fn opcua(address: SocketAddr, publishing_ms: u64) -> String {
    format!(
        "[[source]]\nname = \"plc1\"\nkind = \"opcua\"\nurl = \"opc.tcp://{address}/plant\"\nsecurity = \"None\"\n\
         publishing = \"{publishing_ms}ms\"\nsampling = \"{publishing_ms}ms\"\n"
    )
}

/// Writes `config/` and `tags/` under `folder`.
pub fn write(folder: &Path, around: &Surroundings, sources: &str, tags: &[String]) -> io::Result<()> {
    let Surroundings { opcua, webhooks, console, twilio } = around;
    let consolidate = format!("{{ wait = \"{GATHER_SECONDS}s\", every = \"5s\", n = 5 }}");
    let notify = "profile = \"sms\", roster = \"operators\", order = \"sequential\", wait = \"1s\"";
    let config = format!(
        r#"
[server]
endpoint = "opc.tcp://127.0.0.1:{opcua}/annunciator"
security = ["None"]
anonymous = "viewer"
[http]
webhooks = "127.0.0.1:{webhooks}"
console = "127.0.0.1:{console}"
[throttle]
budget = {{ enabled = false }}
flood = {{ enabled = false }}
[store]
url = "sqlite:annunciator.db"
{sources}
[[twilio]]
name = "main"
account_sid = "AC00000000000000000000000000000001"
auth_token = "simulated-auth-token"
from = "+15550001111"
external_url = "http://127.0.0.1:{webhooks}"
base_url = "{twilio}"
sms_per_second = 1000
[[profile]]
name = "sms"
kind = "sms"
twilio = "main"
message = "{{{{ alarm.priority | upper }}}} {{{{ alarm.path }}}}: {{{{ alarm.message }}}}"
cooldown = "0s"
[[user]]
name = "alice"
phone = "{PERSON}"
pin = "4711"
roles = ["operator"]
[[roster]]
name = "operators"
users = ["alice"]
[[pipeline]]
name = "at-once"
[[pipeline.step]]
notify = {{ {notify} }}
[[pipeline]]
name = "gathered"
[[pipeline.step]]
notify = {{ {notify}, consolidate = {consolidate} }}
"#
    );
    fs::create_dir_all(folder.join("config"))?;
    fs::create_dir_all(folder.join("tags"))?;
    fs::write(folder.join("config/main.toml"), config)?;
    for (number, text) in tags.iter().enumerate() {
        fs::write(folder.join(format!("tags/{number}.toml")), text)?;
    }
    Ok(())
}

/// A Boolean tag on a coil, with an alarm.
pub fn coil(text: &mut String, path: &str, coil: u16, pipeline: Option<&str>) {
    write_tag(text, path, "Boolean", &format!("source = \"plc1\"\naddress = \"coil:{coil}\"\n"));
    if let Some(pipeline) = pipeline {
        alarm(text, "true", pipeline);
    }
}

/// An Int32 tag on an OPC UA variable, with an alarm at −1.
pub fn item(text: &mut String, path: &str, number: u32, pipeline: &str) {
    let address = format!("source = \"plc1\"\naddress = \"nsu=urn:test:plant;s=Item{number}\"\n");
    write_tag(text, path, "Int32", &address);
    alarm(text, "-1", pipeline);
}

/// Tags with all attributes, four fifths memory tags and a fifth simulated ones; 1,000 a file.
pub fn plain(tags: u32) -> Vec<String> {
    const KINDS: [(&str, &str); 10] = [
        ("Flow", "m³/h"),
        ("Pressure", "bar"),
        ("Temperature", "°C"),
        ("Power", "kW"),
        ("Current", "A"),
        ("Voltage", "V"),
        ("Speed", "rpm"),
        ("Vibration", "mm"),
        ("Load", "%"),
        ("Counter", "kg"),
    ];
    let mut files = Vec::new();
    let mut text = String::new();
    for number in 0..tags {
        let (area, pump, kind) = (number / 1000, number / 10, number % 10);
        let (name, unit) = KINDS[kind as usize];
        let origin = if number % 5 == 3 {
            let period = 10 + number % 50;
            format!("source = \"signals\"\naddress = \"sine?period={period}s&low=0&high=100\"\nstale_after = \"30s\"\n")
        } else {
            format!("initial = {kind}.5\nwritable = true\nwrite_role = \"operator\"\n")
        };
        let rest = format!(
            "description = \"{name} of pump {pump:05} in area {area}\"\nunit = \"{unit}\"\nrange = [0.0, {}.0]\n\
             deadband = 0.{}\n{origin}",
            100 + 50 * kind,
            1 + kind
        );
        write_tag(&mut text, &format!("Plant/Area{area:03}/Pump{pump:05}/{name}"), "Double", &rest);
        if number % 1000 == 999 || number + 1 == tags {
            files.push(std::mem::take(&mut text));
        }
    }
    files
}

/// 100,000 tags are a mix: memory, derived, simulated and, 20,000 at most, read from a PLC. Every `alarms`th of the latter has one.
pub fn mixed(tags: u32, alarms: u32) -> Vec<String> {
    let mut files = Vec::new();
    let mut text = String::new();
    for number in 0..tags {
        let path = |kind: &str| format!("Plant/Area{:03}/{kind}{number:06}", number / 1000);
        match number % 5 {
            0 | 1 => write_tag(&mut text, &path("Memory"), "Double", "initial = 1.5\nwritable = true\nunit = \"%\"\n"),
            2 => {
                let of = format!("Plant/Area{:03}/Memory{:06}", number / 1000, number - 1);
                let expression = format!("expression = \"tag(\\\"{of}\\\") * 3.6\"\n");
                write_tag(&mut text, &path("Derived"), "Double", &expression);
            }
            3 => write_tag(
                &mut text,
                &path("Signal"),
                "Double",
                "source = \"signals\"\naddress = \"sine?period=60s&low=0&high=100\"\n",
            ),
            _ => {
                let place = u16::try_from(number / 5).expect("a Modbus address");
                let pipeline = (u32::from(place) % alarms == 0).then_some("gathered");
                coil(&mut text, &path("Bit"), 1000 + place, pipeline);
            }
        }
        if number % 1000 == 999 || number + 1 == tags {
            files.push(std::mem::take(&mut text));
        }
    }
    files
}

fn write_tag(text: &mut String, path: &str, kind: &str, rest: &str) {
    write!(text, "[[tag]]\npath = \"{path}\"\ntype = \"{kind}\"\n{rest}\n").expect("a String takes all text");
}

fn alarm(text: &mut String, setpoint: &str, pipeline: &str) {
    write!(
        text,
        "[[tag.alarm]]\nname = \"On\"\nmode = \"equal\"\nsetpoint = {setpoint}\npriority = \"high\"\nmessage = \"Bit is on\"\n\
         pipeline = \"{pipeline}\"\n\n"
    )
    .expect("a String takes all text");
}
