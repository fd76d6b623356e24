//! `completions` and `man`: what shells and readers of manuals want to know of the command line, made from the arguments themselves.

use std::path::PathBuf;

use clap_complete::Shell;

use super::Failure;

/// Prints the completions for a shell
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  annunciator completions bash > /etc/bash_completion.d/annunciator\n  annunciator completions zsh > /usr/local/share/zsh/site-functions/_annunciator\n  annunciator completions fish > ~/.config/fish/completions/annunciator.fish"
)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the manual page, or writes a page for every command
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  annunciator man | man -l -\n  annunciator man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Writes annunciator.1 and a page for every command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(mut command: clap::Command, args: &CompletionsArgs) -> String {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "annunciator", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn man(command: clap::Command, args: &ManArgs) -> Result<String, Failure> {
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|error| format!("failed to write the manual: {error}"))?;
        return Ok(String::from_utf8_lossy(&page).into_owned());
    };
    clap_mangen::generate_to(command, folder).map_err(|error| format!("failed to write into {}: {error}", folder.display()))?;
    Ok(String::new())
}
