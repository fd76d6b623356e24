//! `pki`: the OPC UA trust list.

use std::path::Path;

use super::{
    Failure,
    output::{OutputArgs, table},
};
use crate::pki::{Folder, Listed, Pki};

/// The OPC UA trust list, shared by our server and our client
#[derive(clap::Subcommand)]
#[command(
    after_help = "A certificate that we meet for the first time is refused and kept under rejected. Compare its thumbprint with the one\nthat the other side shows, then trust it; no restart is needed. Authorities and their revocation lists are put into\nthe folder by hand, see docs/opcua-security.md.\n\nExamples:\n  annunciator pki list\n  annunciator pki trust 3f9a\n  annunciator pki renew"
)]
pub(super) enum PkiCommand {
    /// Own, trusted and rejected certificates, and authorities
    List(ListArgs),
    /// Trusts a rejected certificate
    Trust(ThumbprintArgs),
    /// Takes the trust in a certificate back
    Reject(ThumbprintArgs),
    /// Makes the certificate that follows our own, for peers to trust; with --now puts it in force
    Renew(RenewArgs),
}

#[derive(clap::Args)]
pub(super) struct RenewArgs {
    /// Put it in force within a minute: peers that do not trust it yet refuse us
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    output: OutputArgs,
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
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn pki(data: &Path, command: &PkiCommand) -> Result<String, Failure> {
    let pki = Pki::open(data.join("pki")).map_err(|error| format!("failed to open the PKI folder: {error}"))?;
    match command {
        PkiCommand::List(args) => {
            let json: serde_json::Value = pki.list().iter().map(to_json).collect();
            Ok(args
                .output
                .print(&json, |_| table(&["Folder", "Thumbprint", "Subject", "Kind", "Until"], pki.list().iter().map(row))))
        }
        PkiCommand::Trust(args) => Ok(moved("trusted", &pki.trust(&args.thumbprint)?, args.output)),
        PkiCommand::Reject(args) => Ok(moved("rejected", &pki.reject(&args.thumbprint)?, args.output)),
        PkiCommand::Renew(args) => renew(&pki, args),
    }
}

fn renew(pki: &Pki, args: &RenewArgs) -> Result<String, Failure> {
    pki.make_next().map_err(|error| format!("failed to {error}"))?;
    if args.now {
        pki.take_over().map_err(|error| format!("failed to {error}"))?;
    }
    let folder = if args.now { Folder::Own } else { Folder::Next };
    let made = pki.list().into_iter().find(|listed| listed.folder == folder);
    let made = made.ok_or_else(|| "failed to read the certificate that was just made".to_owned())?;
    Ok(args.output.print(&to_json(&made), |_| {
        if args.now {
            return "in force: a running daemon shows it within a minute, to clients that connect from then on\n".into();
        }
        format!(
            "{}\nthumbprint {}: let every client and server trust it, then run `annunciator pki renew --now`;\nwithout that it takes over a day before the present one ends\n",
            made.file.display(),
            made.thumbprint
        )
    }))
}

/// What became of a certificate; as JSON with the folder that it is in now.
fn moved(word: &str, listed: &Listed, output: OutputArgs) -> String {
    output.print(&to_json(listed), |_| format!("{word}: {} {}\n", listed.thumbprint, listed.subject))
}

fn to_json(listed: &Listed) -> serde_json::Value {
    serde_json::json!({
        "folder": listed.folder.name(),
        "thumbprint": listed.thumbprint,
        "subject": listed.subject,
        "authority": listed.authority,
        "from": listed.from,
        "until": listed.until,
        "file": listed.file,
    })
}

fn row(listed: &Listed) -> Vec<String> {
    let kind = if listed.authority { "authority" } else { "application" };
    vec![
        listed.folder.name().to_owned(),
        listed.thumbprint.clone(),
        listed.subject.clone(),
        kind.to_owned(),
        listed.until.to_string(),
    ]
}
