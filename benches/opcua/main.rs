//! The OPC UA server's cost beside others, driven from outside by one client.
//!
//! `cargo bench --no-default-features --features opcua --bench opcua -- [--peer NAME=COMMAND]… [--program PATH] [--variables N]…
//! [--read SESSIONSxNODES]… [--rounds N] [--seconds N] [read] [secure] [items] [create] [latency] [browse] [start]`. A peer's command is split at spaces;
//! `{port}`, `{variables}`, `{change}` (`none`, `all`, `tenth`) and `{data}` (a folder of its own) are filled in, and it must serve
//! Int32 variables with the String identifiers `Bench/V0`… in a folder `Bench`, of which all or a tenth change every 100 ms.
//! `--program` measures a whole program too. Rounds are interleaved (A B A B); the medians are shown, with the processor seconds of
//! the server for a million operations, and in brackets their share of the first peer's.

#![allow(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^52")]

mod client;
mod process;
mod scenario;
mod site;

use std::{
    fmt::Write as _,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use annunciator::pki::{OwnCertificate, Pki};
use process::{Recipe, Server};
use scenario::{Figures, ITEMS};

/// Name of our own server in the tables.
const OURS: &str = "annunciator";
/// Its application URI.
const URI: &str = "urn:annunciator:server";
const READS: [(usize, usize); 6] = [(1, 1), (1, 100), (1, 1_000), (8, 1), (8, 100), (8, 1_000)];

struct Arguments {
    what: Vec<String>,
    servers: Vec<Recipe>,
    variables: Vec<usize>,
    /// Sessions and nodes a request.
    reads: Vec<(usize, usize)>,
    rounds: usize,
    time: Duration,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench").peekable();
    if words.next_if(|word| word == "serve").is_some() {
        return serve(&words.collect::<Vec<_>>());
    }
    let given = arguments(words)?;
    let asked = |name: &str| given.what.is_empty() || given.what.iter().any(|what| what == name);
    for variables in &given.variables {
        if asked("read") {
            reads(&given, *variables)?;
        }
        if asked("browse") {
            compare(&given, *variables, &format!("browse {variables} children: ms (CPU ms)"), "none", |server| {
                scenario::browse(server, *variables)
            })?;
        }
    }
    if asked("secure") {
        secure(&given)?;
    }
    if asked("items") {
        for change in ["all", "tenth"] {
            let title = format!("{ITEMS} items at 100 ms, {change} change: notifications/s (CPU s per 1M)");
            compare(&given, ITEMS, &title, change, |server| scenario::items(server, 2 * given.time))?;
        }
    }
    if asked("create") {
        compare(&given, ITEMS, &format!("create {ITEMS} items: ms (CPU ms)"), "none", scenario::create)?;
    }
    if asked("latency") {
        compare(&given, ITEMS, "write to notification at 10 ms: p50 ms (p99 ms)", "none", scenario::latency)?;
    }
    if asked("start") {
        for variables in [100_000, 1_000_000] {
            starts(&given, variables)?;
        }
    }
    Ok(())
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn std::error::Error>> {
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let ours = [&own, "serve", "{port}", "{variables}", "{change}", "{data}"].map(str::to_owned);
    let ours = Recipe {
        name: OURS.into(),
        command: ours.into(),
        prepare: |data, _, _| {
            // A certificate is made once in a server's life; a start is measured without it.
            Pki::open(data.join("pki"))?.own(URI, &["127.0.0.1".into()]).map(drop).map_err(io::Error::other)
        },
    };
    let mut given =
        Arguments { what: vec![], servers: vec![], variables: vec![], reads: vec![], rounds: 3, time: Duration::from_secs(2) };
    let mut program = None;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match &*word {
            "--peer" => {
                let value = value()?;
                let (name, command) = value.split_once('=').ok_or("--peer needs NAME=COMMAND")?;
                let command = command.split_whitespace().map(str::to_owned).collect();
                given.servers.push(Recipe { name: name.into(), command, prepare: |_, _, _| Ok(()) });
            }
            "--program" => {
                let path = fs::canonicalize(value()?)?.to_string_lossy().into_owned();
                let command = [&path, "run", "--config", "config", "--tags", "tags", "--data", "data"].map(str::to_owned);
                program = Some(Recipe { name: "whole program".into(), command: command.into(), prepare: configuration });
            }
            "--variables" => given.variables.push(value()?.parse()?),
            "--read" => {
                let value = value()?;
                let (sessions, nodes) = value.split_once('x').ok_or("--read needs SESSIONSxNODES")?;
                given.reads.push((sessions.parse()?, nodes.parse()?));
            }
            "--rounds" => given.rounds = value()?.parse()?,
            "--seconds" => given.time = Duration::try_from_secs_f64(value()?.parse()?)?,
            "read" | "secure" | "items" | "create" | "latency" | "browse" | "start" => given.what.push(word),
            _ => return Err(format!("unknown argument {word}").into()),
        }
    }
    given.servers.push(ours);
    given.servers.extend(program);
    if given.variables.is_empty() {
        given.variables = vec![10_000, 100_000];
    }
    if given.reads.is_empty() {
        given.reads = READS.into();
    }
    Ok(given)
}

fn serve(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [port, variables, change, data, threads @ ..] = words else {
        return Err("serve PORT VARIABLES CHANGE DATA [THREADS]".into());
    };
    site::run(&site::Wanted {
        address: (Ipv4Addr::LOCALHOST, port.parse()?).into(),
        variables: variables.parse()?,
        step: match &**change {
            "all" => 1,
            "tenth" => 10,
            _ => 0,
        },
        pki: PathBuf::from(data).join("pki"),
        threads: threads.first().map(|threads| threads.parse()).transpose()?,
    })
}

/// The configuration of a whole program with memory tags.
fn configuration(folder: &Path, port: u16, variables: usize) -> io::Result<()> {
    fs::create_dir_all(folder.join("config"))?;
    fs::create_dir_all(folder.join("tags"))?;
    let config = format!(
        "[server]\nendpoint = \"opc.tcp://127.0.0.1:{port}\"\nsecurity = [\"None\"]\nanonymous = \"engineer\"\n\
         [http]\nconsole = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite:annunciator.db\"\n"
    );
    fs::write(folder.join("config/main.toml"), config)?;
    let mut text = String::new();
    for number in 0..variables {
        writeln!(
            text,
            "[[tag]]\npath = \"Bench/V{number}\"\ntype = \"Int32\"\ninitial = 0\nwritable = true\nwrite_role = \"viewer\""
        )
        .map_err(io::Error::other)?;
        if number % 10_000 == 9_999 || number + 1 == variables {
            fs::write(folder.join(format!("tags/{number}.toml")), std::mem::take(&mut text))?;
        }
    }
    Ok(())
}

/// One line of a table: the medians of all servers.
fn line(name: &str, servers: &[&str], runs: &[Vec<Figures>], per_million: bool) {
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let mut text = format!("{name:<14}");
    let first = median(runs.first().into_iter().flatten().map(|run| run.second).collect());
    for (server, runs) in servers.iter().zip(runs) {
        let (main, second) =
            (median(runs.iter().map(|run| run.main).collect()), median(runs.iter().map(|run| run.second).collect()));
        let main = if per_million { format!("{main:>10.0}") } else { format!("{main:>10.2}") };
        let _ = write!(text, " | {server}: {main} · {second:.4} [{:.2}]", second / first);
    }
    println!("{text}");
}

/// Runs a scenario against every server in turn, each with its values as `change` says.
fn compare(
    given: &Arguments,
    variables: usize,
    title: &str,
    change: &str,
    mut run: impl FnMut(&Server) -> io::Result<Figures>,
) -> io::Result<()> {
    println!("\n{title}");
    let mut runs = vec![Vec::new(); given.servers.len()];
    for _ in 0..given.rounds {
        for (recipe, runs) in given.servers.iter().zip(&mut runs) {
            let server = Server::start(recipe, variables, change)?;
            match run(&server) {
                Ok(figures) => runs.push(figures),
                Err(error) => println!("{}: {error}", recipe.name),
            }
        }
    }
    let names: Vec<&str> = given.servers.iter().map(|recipe| &*recipe.name).collect();
    line("", &names, &runs, title.contains("/s"));
    Ok(())
}

fn reads(given: &Arguments, variables: usize) -> io::Result<()> {
    println!("\nread of {variables} variables, sessions × nodes: values/s · CPU s per 1M");
    let servers = given.servers.iter().map(|recipe| Server::start(recipe, variables, "none")).collect::<io::Result<Vec<_>>>()?;
    let names: Vec<&str> = servers.iter().map(|server| &*server.name).collect();
    let mut runs = vec![vec![Vec::new(); servers.len()]; given.reads.len()];
    for _ in 0..given.rounds {
        for ((sessions, nodes), runs) in given.reads.iter().zip(&mut runs) {
            for (server, runs) in servers.iter().zip(runs) {
                runs.push(scenario::read(server, None, *sessions, *nodes, variables, given.time)?);
            }
        }
    }
    for ((sessions, nodes), runs) in given.reads.iter().zip(&runs) {
        line(&format!("{sessions} × {nodes}"), &names, runs, true);
    }
    for server in &servers {
        let (now, peak) = server.memory()?;
        println!("{}: {} MiB after that, at most {} MiB", server.name, now / 1024, peak / 1024);
    }
    Ok(())
}

/// Our server, signed and encrypted, beside every peer without security.
fn secure(given: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    println!("\nread of {ITEMS} variables, 1 × 1000; ours SignAndEncrypt (Basic256Sha256): values/s · CPU s per 1M");
    let servers = given.servers.iter().filter(|recipe| recipe.name != "whole program");
    let servers = servers.map(|recipe| Server::start(recipe, ITEMS, "none")).collect::<io::Result<Vec<_>>>()?;
    let names: Vec<&str> = servers.iter().map(|server| &*server.name).collect();
    let mut runs = vec![Vec::new(); servers.len()];
    for _ in 0..given.rounds {
        for (server, runs) in servers.iter().zip(&mut runs) {
            let own = if server.name == OURS { Some(certificate(server.data.path())?) } else { None };
            runs.push(scenario::read(server, own.as_ref(), 1, 1_000, ITEMS, given.time)?);
        }
    }
    line("1 × 1000", &names, &runs, true);
    Ok(())
}

/// A certificate that the server with this data trusts.
fn certificate(data: &Path) -> Result<Arc<OwnCertificate>, Box<dyn std::error::Error>> {
    let own = Pki::open(data.join("client"))?.own("urn:bench:client", &["localhost".into()])?;
    let trusted = data.join("pki/trusted");
    fs::create_dir_all(&trusted)?;
    fs::write(trusted.join("bench.der"), own.certificate.to_der()?)?;
    Ok(Arc::new(own))
}

fn starts(given: &Arguments, variables: usize) -> io::Result<()> {
    println!("\nstart with {variables} variables: ms to the first value read, MiB resident after 2 s, at most MiB");
    for recipe in &given.servers {
        // More than a minute and a gigabyte tell nothing more.
        match Server::start(recipe, variables, "none") {
            Ok(server) => {
                std::thread::sleep(Duration::from_secs(2));
                let (now, peak) = server.memory()?;
                let (now, peak) = (now as f64 / 1024.0, peak as f64 / 1024.0);
                println!("{:<14} {:>8.0} ms {now:>8.1} MiB {peak:>8.1} MiB", server.name, server.ready_after.as_secs_f64() * 1e3);
            }
            Err(error) => println!("{:<14} {error}", recipe.name),
        }
    }
    Ok(())
}
