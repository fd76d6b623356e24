//! The commands, one file for a command or a family of them. Each takes its parsed arguments and gives what standard output shall
//! show; logs and errors go to standard error. Exit status: 0 done, 1 failed, 2 bad usage or bad configuration.

mod browse;
mod check;
mod client;
mod demo;
mod hash_password;
mod import;
mod manual;
mod output;
mod pki;
mod remote;
mod replay;
pub mod report;
mod run;
mod script;
mod send;
mod simulate;
mod what_if;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{
    config::{Loaded, Problems, folder::read_http, render::render},
    daemon::{Folders, StartError, read_config},
    tag::Names,
};

/// Reads PLC tags, evaluates alarms, texts the people on call until somebody acknowledges, writes the acknowledgement back, and
/// serves everything over OPC UA
#[derive(Parser)]
#[command(
    name = "annunciator",
    version,
    after_help = "Examples:\n  annunciator demo                     a plant, a phone and a PLC on this machine, no account needed\n  annunciator check                    every problem of config/ and tags/, with its place\n  annunciator run --data /var/lib/annunciator\n  annunciator alarms --state ActiveUnacked"
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args)]
struct Common {
    /// Folder of the configuration
    #[arg(long, global = true, value_name = "DIR", default_value = "config", env = "ANNUNCIATOR_CONFIG")]
    config: PathBuf,
    /// Folder of tags and alarms
    #[arg(long, global = true, value_name = "DIR", default_value = "tags", env = "ANNUNCIATOR_TAGS")]
    tags: PathBuf,
    /// Folder of the store and the certificates
    #[arg(long, global = true, value_name = "DIR", default_value = "data", env = "ANNUNCIATOR_DATA")]
    data: PathBuf,
    /// How logs are written, on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// More logs; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Browse(browse::BrowseArgs),
    #[command(subcommand)]
    Import(import::ImportCommand),
    Send(send::SendArgs),
    Call(send::CallArgs),
    #[command(flatten)]
    Remote(remote::RemoteCommand),
    Script(script::ScriptArgs),
    Report(report::ReportArgs),
    WhatIf(what_if::WhatIfArgs),
    Replay(replay::ReplayArgs),
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    #[command(subcommand)]
    Simulate(simulate::SimulateCommand),
    HashPassword(hash_password::HashPasswordArgs),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

/// How a command failed.
enum Failure {
    /// Exit status 1; a whole sentence without a full stop.
    Failed(String),
    /// Exit status 1; printed as it is.
    Shown(String),
    /// Exit status 2; printed as it is.
    Config(String),
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(problems) => Self::Config(rendered(&problems)),
            StartError::Other(words) => Self::Failed(words),
        }
    }
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logs(&arguments.common, matches!(arguments.command, Command::Run(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("annunciator: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(execute(&arguments.common, arguments.command));
    // Blocking reads of a terminal cannot be cancelled; the process does not wait for them.
    runtime.shutdown_background();
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Failed(words)) => {
            eprintln!("annunciator: {words}");
            ExitCode::FAILURE
        }
        Err(Failure::Shown(words)) => {
            eprint!("{words}");
            ExitCode::FAILURE
        }
        Err(Failure::Config(words)) => {
            eprint!("{words}");
            ExitCode::from(2)
        }
    }
}

async fn execute(common: &Common, command: Command) -> Result<String, Failure> {
    let who = client::Credentials::from_environment;
    // The client commands work without a configuration too, by --url.
    let url = || console_url(common);
    Ok(match command {
        Command::Run(args) => run::run(common.folders(), &args).await?,
        Command::Demo(args) => demo::demo(common.folders(), &args).await?,
        Command::Check(args) => check::check(&common.folders(), &args)?,
        Command::Browse(args) => browse::browse(&common.data, &common.application_uri(), &args).await?,
        Command::Import(command) => import::import(&common.config, &command)?,
        Command::Send(args) => send::send(&common.load()?.plan, &args).await?,
        Command::Call(args) => send::call(&common.load()?.plan, &args).await?,
        Command::Remote(command) => command.run(url().as_deref(), who()).await?,
        Command::Script(args) => script::script(&args, url().as_deref(), who()).await?,
        Command::Report(args) => {
            let loaded = common.load()?;
            report::report(&args, &loaded.plan, &loaded.store, &common.data).await?
        }
        Command::WhatIf(args) => what_if::what_if(common.load()?.plan, &args)?,
        Command::Replay(args) => replay::replay(&common.folders(), &args)?,
        Command::Pki(command) => pki::pki(&common.data, &command)?,
        Command::Simulate(command) => simulate::simulate(command).await?,
        Command::HashPassword(args) => hash_password::hash_password(args)?,
        Command::Completions(args) => manual::completions(Arguments::command(), &args),
        Command::Man(args) => manual::man(Arguments::command(), &args)?,
    })
}

impl Common {
    fn folders(&self) -> Folders {
        Folders { config: self.config.clone(), tags: self.tags.clone(), data: self.data.clone(), env: BTreeMap::new() }
    }

    /// Ours towards other servers; the default without a configuration.
    fn application_uri(&self) -> String {
        let loaded = read_config(&self.folders(), &mut Names::default());
        loaded.map_or_else(|_| crate::config::ServerSettings::default().application_uri, |loaded| loaded.server.application_uri)
    }

    fn load(&self) -> Result<Loaded, Failure> {
        read_config(&self.folders(), &mut Names::default()).map_err(|problems| Failure::Config(rendered(&problems)))
    }
}

/// The problems as people read them, in colour where somebody looks at them.
fn rendered(problems: &Problems) -> String {
    render(problems, output::colours(&std::io::stderr()))
}

/// Where the configuration says that the daemon's console listens; unspecified addresses are reached over loopback.
fn console_url(common: &Common) -> Option<String> {
    let http = read_http(&common.config)?;
    let mut address = http.console?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    Some(format!("{scheme}://{address}"))
}

fn start_logs(common: &Common, daemon: bool) {
    let own = match (common.verbose, daemon) {
        (0, true) => "info",
        (0, false) => "error",
        (1, _) => "debug",
        _ => "trace",
    };
    // The OPC UA library calls a missing certificate an error where none is needed; what matters our own rooms say themselves.
    let others = if common.verbose > 1 { "debug" } else { "error,opcua_client=off,opcua_core=off,opcua_crypto=off" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{others},annunciator={own}")));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match common.log_format {
        LogFormat::Text => logs.with_ansi(output::colours(&std::io::stderr())).init(),
        LogFormat::Json => logs.json().init(),
    }
}

#[cfg(test)]
mod tests;
