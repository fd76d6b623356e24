//! What a user waits for: from a PLC's bit to the request that sends the text, a burst of bits at once, many tags.
//!
//! `cargo bench --bench flank -- [modbus] [opcua] [tags] [--flanks N] [--bits N] [--tags N]
//! [--program NAME=PATH]…`; all three without a name. `tags` also measures other builds of the program (`--program`). The program
//! under measurement is the release binary in a process of its own; PLC, Twilio and the clock that measures are outside of it.
//! The figures of docs/performance.md come from here.

mod plant;
mod program;
mod python;
mod wire;

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use annunciator::{
    clock,
    simulate::{
        modbus_plc::Plc,
        twilio::{Event, Options, Running as Twilio, Simulator},
    },
    tag::Timestamp,
};
use plant::Surroundings;
use program::{Journal, Program};
use tokio::{sync::broadcast::Receiver, time::sleep};
use wire::{ModbusWire, OpcuaWire};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
/// Of both kinds of source.
const INTERVAL_MS: u64 = 100;
/// The first of the PLC simulator's spare coils.
const SPARE: u16 = 1000;
/// Flanks that warm things up and count for nothing.
const WARM_UP: usize = 10;
/// Texts of a flank come by then.
const PATIENCE: Duration = Duration::from_secs(20);

struct Arguments {
    what: Vec<String>,
    flanks: usize,
    bits: u16,
    tags: u32,
    /// What `tags` measures: name and path.
    programs: Vec<(String, String)>,
}

fn arguments() -> Result<Arguments, String> {
    let own = ("this".to_owned(), env!("CARGO_BIN_EXE_annunciator").to_owned());
    let mut given = Arguments { what: Vec::new(), flanks: 200, bits: 10_000, tags: 100_000, programs: vec![own] };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--program" {
            let named = words.next().and_then(|text| text.split_once('=').map(|(name, path)| (name.to_owned(), path.to_owned())));
            given.programs.push(named.ok_or("--program needs NAME=PATH")?);
            continue;
        }
        let mut number = || words.next().and_then(|number| number.parse::<u32>().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--bench" => {}
            "modbus" | "opcua" | "tags" => given.what.push(word),
            "--flanks" => given.flanks = number()? as usize,
            "--bits" => given.bits = u16::try_from(number()?).ok().filter(|bits| *bits <= 15_000).ok_or("at most 15000 bits")?,
            "--tags" => given.tags = number()?.min(1_000_000),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    if given.what.is_empty() {
        given.what = ["modbus", "opcua", "tags"].map(str::to_owned).to_vec();
    }
    Ok(given)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = arguments()?;
    println!("one fsync of this disk: {}", spread(&mut fsyncs()?));
    for what in &given.what {
        match what.as_str() {
            "modbus" => modbus(&given).await?,
            "opcua" => opcua(&given).await?,
            _ => tags(&given).await?,
        }
    }
    Ok(())
}

/// A folder, a Twilio, and where the program shall listen.
async fn surroundings() -> io::Result<(tempfile::TempDir, Twilio, Surroundings)> {
    let folder = tempfile::tempdir()?;
    let options = Options { sent_after: Duration::from_secs(600), ..Options::default() };
    let twilio = Simulator::start(LOOPBACK.into(), options).await?;
    let (opcua, webhooks, console) = (program::free_port()?, program::free_port()?, program::free_port()?);
    let around = Surroundings { opcua, webhooks, console, twilio: twilio.url() };
    Ok((folder, twilio, around))
}

async fn modbus(given: &Arguments) -> io::Result<()> {
    let (folder, twilio, around) = surroundings().await?;
    let plc = Plc::start(LOOPBACK.into()).await?;
    let wire = ModbusWire::start(plc.addr, plc.plant.clone()).await?;
    let flanks = u16::try_from(given.flanks + WARM_UP).expect("the PLC has fewer coils");
    let mut text = String::new();
    for number in 0..given.bits {
        plant::coil(&mut text, &format!("Plant/Area{}/Bit{number:05}", number / 1000), SPARE + number, Some("gathered"));
    }
    for number in 0..flanks {
        plant::coil(&mut text, &format!("Plant/Flanks/Bit{number:05}"), SPARE + given.bits + number, Some("at-once"));
    }
    plant::write(folder.path(), &around, &plant::modbus(wire.address, INTERVAL_MS), &[text])?;
    let program = Program::start(folder.path(), around.console).await?;
    program.connected().await?;
    sleep(Duration::from_secs(2)).await;
    println!("\nModbus TCP (our PLC simulator), {} tags with alarms, poll {INTERVAL_MS} ms", given.bits + flanks);
    let idle = idle(&program).await;
    println!("  at rest: {idle:.1} % of a core, {} MiB", program.memory(false) / 1024);
    let mut events = twilio.events();
    let mut figures = Vec::new();
    for number in 0..flanks {
        sleep(pause(number)).await;
        let (_, handed) = wire.flank(SPARE + given.bits + number, vec![true]).await;
        let at = text_at(&twilio, &mut events, &format!("Flanks/Bit{number:05}/")).await?;
        figures.push(at.since(handed));
    }
    figures.drain(..WARM_UP);
    println!("  flank, from the sample's arrival to the request at Twilio: {}", spread(&mut figures));
    inside(&program).await?;
    let mut journal = Journal::open(folder.path()).await?;
    let bits = usize::from(given.bits);
    for (word, kind, value) in [("raised", "raised", true), ("cleared", "cleared", false)] {
        let (since, cpu, told) = (journal.last().await?, program.cpu(), journal.told().await?);
        let seen = twilio.requests().len();
        let (first, last) = wire.flank(SPARE, vec![value; bits]).await;
        let committed = journal.committed(kind, since, i64::from(given.bits)).await?;
        println!(
            "  {bits} bits at once, all {word}: the last is committed {} after the first sample, {} after the last one",
            millis(committed.since(first)),
            millis(committed.since(last))
        );
        if value {
            report_texts(&twilio, &mut journal, seen, told + bits, first).await?;
        }
        println!("    {} CPU, {} MiB at most", millis(program.cpu().saturating_sub(cpu)), program.memory(true) / 1024);
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn opcua(given: &Arguments) -> io::Result<()> {
    let Some(python) = python::interpreter() else { return Ok(()) };
    let (folder, twilio, around) = surroundings().await?;
    let bits = u32::from(given.bits);
    let flanks = u32::try_from(given.flanks + WARM_UP).expect("a small number");
    let port = program::free_port()?;
    let mut plc = python::Plc::start(&python, port, bits + flanks)?;
    let wire = OpcuaWire::start(([127, 0, 0, 1], port).into()).await?;
    let mut text = String::new();
    for number in 0..bits + flanks {
        let (area, pipeline) = if number < bits { ("Area", "gathered") } else { ("Flanks", "at-once") };
        plant::item(&mut text, &format!("Plant/{area}/Item{number:05}"), number, pipeline);
    }
    plant::write(folder.path(), &around, &plant::opcua(wire.address, INTERVAL_MS), &[text])?;
    let program = Program::start(folder.path(), around.console).await?;
    program.connected().await?;
    sleep(Duration::from_secs(15)).await;
    println!("\nOPC UA (asyncua), {} tags with alarms, publishing {INTERVAL_MS} ms", bits + flanks);
    let idle = idle(&program).await;
    println!("  at rest: {idle:.1} % of a core, {} MiB", program.memory(false) / 1024);
    let mut events = twilio.events();
    let (mut beyond, mut whole) = (Vec::new(), Vec::new());
    for number in bits..bits + flanks {
        sleep(pause(u16::try_from(number % 1000).unwrap_or_default())).await;
        let began = clock::now();
        plc.say(&format!("set Item{number} -1"))?;
        let at = text_at(&twilio, &mut events, &format!("Flanks/Item{number:05}/")).await?;
        // The notification is the last that was handed over before the request.
        let handed = wire.between(began, at).map_or(began, |(_, last)| last);
        beyond.push(at.since(handed));
        whole.push(at.since(began));
    }
    beyond.drain(..WARM_UP);
    whole.drain(..WARM_UP);
    println!("  flank, from the sample's arrival to the request at Twilio: {}", spread(&mut beyond));
    println!("  the whole way, with the server's own interval: {}", spread(&mut whole));
    inside(&program).await?;
    let mut journal = Journal::open(folder.path()).await?;
    let (since, cpu, told) = (journal.last().await?, program.cpu(), journal.told().await?);
    let seen = twilio.requests().len();
    let began = clock::now();
    plc.say(&format!("all {bits} -1"))?;
    let committed = journal.committed("raised", since, i64::from(bits)).await?;
    let (first, _) = wire.between(began, committed).ok_or_else(|| io::Error::other("nothing was notified"))?;
    let sent = wire.between(began, committed).map_or(first, |(_, last)| last);
    println!(
        "  {bits} values at once: the last is committed {} after the first notification, {} after the last bytes before it",
        millis(committed.since(first)),
        millis(committed.since(sent))
    );
    report_texts(&twilio, &mut journal, seen, told + bits as usize, first).await?;
    println!("    {} CPU, {} MiB at most", millis(program.cpu().saturating_sub(cpu)), program.memory(true) / 1024);
    Ok(())
}

/// Starts with many tags: this program and those that `--program` names, one after the other on the same files.
async fn tags(given: &Arguments) -> io::Result<()> {
    let many = given.tags;
    let mix = many.min(100_000);
    println!("\nmany tags; plain: all attributes, four fifths memory, a fifth simulated");
    println!("mixed: two fifths memory, a fifth each derived, simulated, Modbus coils, half of which have an alarm");
    for (words, tags) in [
        ("plain 1,000".to_owned(), plant::plain(1000)),
        (format!("plain {mix}"), plant::plain(mix)),
        (format!("plain {many}"), if many > mix { plant::plain(many) } else { Vec::new() }),
        (format!("mixed {mix}"), plant::mixed(mix, u32::MAX)),
        (format!("mixed {mix} with alarms"), plant::mixed(mix, 2)),
    ] {
        if tags.is_empty() {
            continue;
        }
        for (name, binary) in &given.programs {
            println!("  {words}, {name}: {}", start(binary, &tags).await?);
        }
    }
    Ok(())
}

/// One program on these tags.
async fn start(binary: &str, tags: &[String]) -> io::Result<String> {
    let (folder, _twilio, around) = surroundings().await?;
    let plc = Plc::start(LOOPBACK.into()).await?;
    let sources = plant::modbus(plc.addr, 1000) + "[[source]]\nname = \"signals\"\nkind = \"simulator\"\npoll = \"10s\"\n";
    plant::write(folder.path(), &around, &sources, tags)?;
    let checked = Instant::now();
    let check =
        Command::new(binary).args(["check", "--config", "config", "--tags", "tags"]).current_dir(folder.path()).output()?;
    let checked = checked.elapsed();
    if !check.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&check.stderr).into_owned()));
    }
    // The first start makes a certificate, which takes up to a second and says nothing.
    drop(Program::start_other(binary, folder.path(), around.console).await?);
    let program = Program::start_other(binary, folder.path(), around.console).await?;
    let started = program.cpu();
    program.connected().await?;
    sleep(Duration::from_secs(5)).await;
    let idle = idle(&program).await;
    let (memory, most) = (program.memory(false) / 1024, program.memory(true) / 1024);
    let reload = Instant::now();
    program.reload()?;
    program.says("configuration applied").await?;
    let reload = reload.elapsed();
    sleep(Duration::from_secs(5)).await;
    Ok(format!(
        "check {}, start to ready {} ({} CPU), {memory} MiB (at most {most}), at rest {idle:.1} % of a core, reload {}, then {} MiB \
         (at most {})",
        millis(checked),
        millis(program.ready_after),
        millis(started),
        millis(reload),
        program.memory(false) / 1024,
        program.memory(true) / 1024
    ))
}

/// Waits for the text that contains `words`; when its request came.
async fn text_at(twilio: &Twilio, events: &mut Receiver<Event>, words: &str) -> io::Result<Timestamp> {
    let sid = loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await?.map_err(io::Error::other)?;
        if let Event::Accepted { sid, body, .. } = event
            && body.contains(words)
        {
            break sid;
        }
    };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let found = twilio.requests().iter().rev().find(|request| request.sid.as_ref() == Some(&sid)).map(|request| request.time);
        if let Some(at) = found {
            return Ok(at);
        }
        sleep(Duration::from_millis(1)).await;
    }
    Err(io::Error::other(format!("the request of {sid} is not in the log")))
}

/// The texts of a burst, until they stand for all of its events.
async fn report_texts(twilio: &Twilio, journal: &mut Journal, seen: usize, wanted: usize, first: Timestamp) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = journal.told().await?;
    while told < wanted && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
        told = journal.told().await?;
    }
    let requests = twilio.requests();
    let texts: Vec<_> = requests[seen..].iter().filter(|request| request.sid.is_some()).collect();
    let last = texts.last().map_or(Duration::ZERO, |text| text.time.since(first));
    let body = texts.last().and_then(|text| text.parameters.iter().find(|(name, _)| name == "Body"));
    println!(
        "    {} texts, the last after {} ({} s of them gathering); events not told of: {}",
        texts.len(),
        millis(last),
        plant::GATHER_SECONDS,
        wanted.saturating_sub(told)
    );
    println!("    \"{}\"", body.map_or("", |(_, body)| body).replace('\n', " | "));
    Ok(())
}

/// What the program itself measured.
async fn inside(program: &Program) -> io::Result<()> {
    for (name, words) in [
        ("flank_to_commit", "sample to commit"),
        ("flank_to_send", "sample to the start of the request"),
        ("store_commit", "one commit"),
    ] {
        let sum = program.metric(&format!("annunciator_{name}_seconds_sum")).await?;
        let count = program.metric(&format!("annunciator_{name}_seconds_count")).await?;
        println!("    its own figures: {words} {} on average of {count}", millis(Duration::from_secs_f64(sum / count.max(1.0))));
    }
    Ok(())
}

/// Percent of one core over three seconds.
async fn idle(program: &Program) -> f64 {
    const SPAN: Duration = Duration::from_secs(3);
    let before = program.cpu();
    sleep(SPAN).await;
    program.cpu().saturating_sub(before).as_secs_f64() / SPAN.as_secs_f64() * 100.0
}

/// Between two flanks: spread over the source's interval, the same in every run.
fn pause(number: u16) -> Duration {
    Duration::from_millis(20 + u64::from(number) * 37 % INTERVAL_MS)
}

fn fsyncs() -> io::Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(Path::new(folder.path()).join("file"))?;
    let mut once = || {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    (0..200).map(|_| once()).collect()
}

fn spread(figures: &mut [Duration]) -> String {
    figures.sort_unstable();
    let at = |percent: usize| figures.get((figures.len() * percent / 100).min(figures.len() - 1)).copied().unwrap_or_default();
    format!(
        "min {}, p50 {}, p99 {}, max {} (of {})",
        millis(at(0)),
        millis(at(50)),
        millis(at(99)),
        millis(at(100)),
        figures.len()
    )
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
