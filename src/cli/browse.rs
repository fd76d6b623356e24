//! `browse`: the nodes of an OPC UA server, as a tree or as a tag file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::ProgressBar;

use super::{
    Failure,
    output::{OutputArgs, harmless},
};
use crate::{
    engine::plan::Secret,
    pki::Pki,
    source::opcua::{Security, Server, address::NodeAddress, browse},
};

/// For each request.
const TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Lists an OPC UA server's nodes as a tree
#[derive(clap::Args)]
#[command(
    after_help = "Our certificate and the trust list lie under --data; a server that is not trusted yet is refused with the command that trusts it.\nWith --as-tags, variables that no tag can have (structures, matrices, what this user may not read) are listed on standard error.\n\nExamples:\n  annunciator browse opc.tcp://192.0.2.20:4840\n  annunciator browse opc.tcp://192.0.2.20:4840 \"nsu=urn:plant;s=Line2\" --user bridge --password-file line2.password\n  annunciator browse opc.tcp://localhost:4840 --security None --as-tags --source line2 > tags/line2.toml"
)]
pub(super) struct BrowseArgs {
    /// `opc.tcp://host:port/path`
    url: String,
    /// Where to start, as an address in a tag file [default: the Objects folder]
    node: Option<String>,
    /// Policy and mode, such as Basic256Sha256/SignAndEncrypt, or None
    #[arg(long, value_name = "POLICY/MODE", default_value = "Basic256Sha256/SignAndEncrypt")]
    security: String,
    /// Who asks [default: anonymous]
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Prints a tag file for the variables
    #[arg(long)]
    as_tags: bool,
    /// Makes tags writable in that tag file, by role engineer, that this user may write
    #[arg(long, requires = "as_tags")]
    writable: bool,
    /// Name of the [[source]] in that tag file
    #[arg(long, value_name = "NAME", default_value = "line2")]
    source: String,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn browse(data: &Path, application_uri: &str, args: &BrowseArgs) -> Result<String, Failure> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("failed to read {}: {error}", file.display()))?;
        Ok::<_, String>(Secret::new(text.trim_end_matches(['\r', '\n'])))
    };
    let server = Server {
        url: args.url.clone(),
        security: Security::parse(&args.security).ok_or_else(|| unknown_security(&args.security))?,
        user: args.user.clone(),
        password: args.password_file.as_ref().map(read).transpose()?,
        timeout: TIMEOUT,
        keep_alive: KEEP_ALIVE,
    };
    let start = args.node.as_deref().map(str::parse::<NodeAddress>).transpose()?;
    let pki = Pki::open(data.join("pki")).map_err(|error| format!("failed to open the PKI folder: {error}"))?;
    // On a terminal only; a pipe sees nothing of it.
    let spinner = ProgressBar::new_spinner().with_message("nodes");
    let progress = |nodes: usize| spinner.set_message(format!("{nodes} nodes"));
    let found = browse::browse(&server, &pki, application_uri, start.as_ref(), &progress).await;
    spinner.finish_and_clear();
    let tree = found?;
    for what in &tree.incomplete {
        eprintln!("not listed: {what}");
    }
    let failed = |error| format!("failed to print the tree: {error}");
    if args.as_tags {
        let file = tree.root.tag_file(&args.source, args.writable);
        let mut json = serde_json::to_value(&file).map_err(failed)?;
        json["incomplete"] = tree.incomplete.clone().into();
        return Ok(args.output.print(&json, |_| {
            for left in &file.left_out {
                eprintln!("left out: {} ({}): {}", harmless(&left.path), harmless(&left.address), left.why);
            }
            eprintln!("{} tags; {} variables were left out", file.tags, file.left_out.len());
            file.text.clone()
        }));
    }
    let json = serde_json::to_value(&tree).map_err(failed)?;
    Ok(args.output.print(&json, |_| harmless(&tree.root.to_string())))
}

fn unknown_security(text: &str) -> String {
    format!(
        "--security {text}: expected None, or a policy and a mode such as Basic256Sha256/SignAndEncrypt or Basic256Sha256/Sign"
    )
}
