//! `pki`: the OPC UA trust list.

use std::path::Path;

use super::{
    Failure,
    output::{OutputArgs, table},
};
use crate::pki::{Listed, Pki};

/// The OPC UA trust list, shared by our server and our client
#[derive(clap::Subcommand)]
#[command(
    after_help = "A certificate that we meet for the first time is refused and kept under rejected. Compare its thumbprint with the one\nthat the other side shows, then trust it; no restart is needed.\n\nExamples:\n  annunciator pki list\n  annunciator pki trust 3f9a"
)]
pub(super) enum PkiCommand {
    /// Own, trusted and rejected certificates
    List(ListArgs),
    /// Trusts a rejected certificate
    Trust(ThumbprintArgs),
    /// Takes the trust in a certificate back
    Reject(ThumbprintArgs),
}

#[derive(clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(clap::Args)]
pub(super) struct ThumbprintArgs {
    /// The beginning of its thumbprint, as `pki list` shows it
    thumbprint: String,
}

pub(super) fn pki(data: &Path, command: &PkiCommand) -> Result<String, Failure> {
    let pki = Pki::open(data.join("pki")).map_err(|error| format!("failed to open the PKI folder: {error}"))?;
    match command {
        PkiCommand::List(args) => {
            let json: serde_json::Value = pki.list().iter().map(to_json).collect();
            Ok(args.output.print(&json, |_| table(&["Folder", "Thumbprint", "Subject", "Until"], pki.list().iter().map(row))))
        }
        PkiCommand::Trust(args) => Ok(moved("trusted", &pki.trust(&args.thumbprint)?)),
        PkiCommand::Reject(args) => Ok(moved("rejected", &pki.reject(&args.thumbprint)?)),
    }
}

fn moved(word: &str, listed: &Listed) -> String {
    format!("{word}: {} {}\n", listed.thumbprint, listed.subject)
}

fn to_json(listed: &Listed) -> serde_json::Value {
    serde_json::json!({
        "folder": listed.folder.name(),
        "thumbprint": listed.thumbprint,
        "subject": listed.subject,
        "from": listed.from,
        "until": listed.until,
        "file": listed.file,
    })
}

fn row(listed: &Listed) -> Vec<String> {
    vec![listed.folder.name().to_owned(), listed.thumbprint.clone(), listed.subject.clone(), listed.until.to_string()]
}
