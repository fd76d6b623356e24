//! `run`: the daemon in the foreground, until SIGTERM or ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::daemon::{self, Folders};

/// The daemon: sources, alarms, notification, OPC UA server, webhooks, HTTP API
#[derive(clap::Args)]
#[command(
    after_help = "SIGTERM and ctrl-C stop it in order; SIGHUP reloads the configuration.\n\nExamples:\n  annunciator run\n  annunciator run --config /etc/annunciator/config --tags /etc/annunciator/tags --data /var/lib/annunciator --log-format json"
)]
pub(super) struct RunArgs {}

pub(super) async fn run(folders: Folders, _: &RunArgs) -> Result<String, Failure> {
    let stop = CancellationToken::new();
    let (ask, reload) = tokio::sync::mpsc::channel(1);
    let mut signals = Signals::new()?;
    let stopped = stop.clone();
    tokio::spawn(async move {
        loop {
            match signals.next().await {
                // One reload that waits is enough for any number of signals.
                Asked::Reload => _ = ask.try_send(()),
                Asked::Stop => return stopped.cancel(),
            }
        }
    });
    daemon::run(folders, stop, reload, |endpoints, _| {
        tracing::info!(opcua = %endpoints.opcua, webhooks = ?endpoints.webhooks, console = ?endpoints.console, "running");
    })
    .await?;
    tracing::info!("stopped");
    Ok(String::new())
}

/// What a signal asks for.
pub(super) enum Asked {
    Reload,
    Stop,
}

/// The signals that the daemon understands.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("failed to listen for signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
