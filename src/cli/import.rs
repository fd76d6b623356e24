//! `import`: tag files from the exports of other programs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde_json::json;

use super::{
    Failure,
    output::{Output, OutputArgs, harmless},
};
use crate::{
    config::folder::read_names,
    import::ignition::{self, Import, Loss, Note, Options},
};

/// Places that are listed for one reason; `--output json` lists all.
const PLACES: usize = 20;

/// Turns the tags of another program into a tag file
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:\n  annunciator import ignition tags.json > tags/plant.toml")]
pub(super) enum ImportCommand {
    /// Ignition's tag export (JSON): folders, OPC, memory and expression tags, UDT instances, alarms
    Ignition(IgnitionArgs),
}

#[derive(clap::Args)]
#[command(
    after_help = "What cannot be taken over, or works differently here, is listed on standard error with its place and the reason; exit status 1 when\nnothing could be taken over, with --strict also when anything was left out. The file needs a [[source]] for each OPC server and the\n[[pipeline]]s that its alarms name: those that are missing in --config are suggested. See docs/import.md.\n\nExamples:\n  annunciator import ignition tags.json > tags/plant.toml\n  annunciator import ignition tags.json --out tags/plant.toml --suggest config/plant.toml && annunciator check\n  annunciator import ignition tags.json --source \"Ignition OPC UA Server=line2\" --pipeline Callout=on-call --under Site2\n  annunciator import ignition /usr/local/bin/ignition/data/config/resources/core/ignition/tag-definition/default\n  annunciator import ignition tags.json --out tags/plant.toml --output json"
)]
pub(super) struct IgnitionArgs {
    /// The export, or the folder in which Ignition 8.3 keeps a provider's tags
    file: PathBuf,
    /// Writes the tag file here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Writes the sections that the configuration lacks here instead of into a comment
    #[arg(long, value_name = "FILE")]
    suggest: Option<PathBuf>,
    /// Overwrites these two files
    #[arg(long)]
    force: bool,
    /// Folder for all tags
    #[arg(long, value_name = "FOLDER", default_value = "")]
    under: String,
    /// Our source for one of their OPC servers
    #[arg(long, value_name = "SERVER=NAME", value_parser = pair)]
    source: Vec<(String, String)>,
    /// Our pipeline for one of theirs
    #[arg(long, value_name = "THEIRS=OURS", value_parser = pair)]
    pipeline: Vec<(String, String)>,
    /// Makes tags writable, by role engineer, that can be written there
    #[arg(long)]
    writable: bool,
    /// Fails when anything was left out; the files are written all the same
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn import(config: &Path, command: &ImportCommand) -> Result<String, Failure> {
    let ImportCommand::Ignition(args) = command;
    let options = Options {
        under: args.under.clone(),
        sources: args.source.iter().cloned().collect(),
        pipelines: args.pipeline.iter().cloned().collect(),
        writable: args.writable,
    };
    // On a terminal only; a pipe sees nothing of it.
    let spinner = ProgressBar::new_spinner().with_message("reading");
    let progress = |tags: usize| {
        spinner.set_message(format!("{tags} tags"));
        spinner.tick();
    };
    spinner.tick();
    let imported = ignition::read(&args.file).and_then(|export| ignition::import(&export, &options, &progress));
    spinner.finish_and_clear();
    let imported = imported?;
    let suggestion = imported.suggestion(&read_names(config, "source"), &read_names(config, "pipeline"));
    let text = deliver(args, &imported, &suggestion)?;
    if args.output.output == Output::Text {
        eprint!("{}", listed(&imported.notes));
        eprint!("{}", summary(&imported, args, &suggestion));
    }
    let left_out = count(&imported.notes, Loss::LeftOut);
    if args.strict && left_out > 0 {
        print!("{text}");
        return Err(Failure::Failed(format!("{left_out} things were left out, and --strict was given")));
    }
    Ok(text)
}

/// Writes the files; what standard output shall show.
fn deliver(args: &IgnitionArgs, imported: &Import, suggestion: &str) -> Result<String, String> {
    let mut file = format!("# From {}, by annunciator import ignition.\n", args.file.display().to_string().escape_debug());
    match &args.suggest {
        Some(path) if !suggestion.is_empty() => store(path, suggestion, args.force)?,
        _ if !suggestion.is_empty() => {
            file.push_str("# The configuration lacks these sections (copy them to a file of its folder):\n#\n");
            for line in suggestion.trim_end().lines() {
                file.push_str(format!("# {line}").trim_end());
                file.push('\n');
            }
        }
        _ => {}
    }
    file.push('\n');
    file.push_str(&imported.tag_file);
    if let Some(path) = &args.out {
        store(path, &file, args.force)?;
    }
    Ok(match (args.output.output, &args.out) {
        (Output::Json, out) => {
            let mut json = json!({
                "tags": imported.tags,
                "alarms": imported.alarms,
                "sources": imported.sources,
                "pipelines": imported.pipelines,
                "left_out": count(&imported.notes, Loss::LeftOut),
                "changed": count(&imported.notes, Loss::Changed),
                "notes": imported.notes,
                "suggestion": suggestion,
            });
            if out.is_none() {
                json["tag_file"] = file.into();
            }
            format!("{json:#}\n")
        }
        (Output::Text, Some(_)) => String::new(),
        (Output::Text, None) => file,
    })
}

/// A file is never overwritten by mistake.
fn store(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let advice = if error.kind() == std::io::ErrorKind::AlreadyExists { ": --force overwrites it" } else { "" };
        format!("failed to write {}: {error}{advice}", path.display())
    })
}

fn count(notes: &[Note], loss: Loss) -> usize {
    notes.iter().filter(|note| note.loss == loss).count()
}

/// Equal reasons together, with their places.
fn listed(notes: &[Note]) -> String {
    let mut text = String::new();
    for (loss, title) in [(Loss::LeftOut, "left out"), (Loss::Changed, "changed")] {
        let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for note in notes.iter().filter(|note| note.loss == loss) {
            places.entry(&note.what).or_default().push(&note.place);
        }
        for (what, places) in places {
            // Writing to a String cannot fail.
            _ = writeln!(text, "{title}: {}", harmless(what));
            for place in places.iter().take(PLACES) {
                _ = writeln!(text, "    {}", harmless(place));
            }
            if places.len() > PLACES {
                _ = writeln!(text, "    and {} more; --output json lists all", places.len() - PLACES);
            }
        }
    }
    text
}

fn summary(imported: &Import, args: &IgnitionArgs, suggestion: &str) -> String {
    let (left_out, changed) = (count(&imported.notes, Loss::LeftOut), count(&imported.notes, Loss::Changed));
    let mut text = format!("{} tags with {} alarms; {left_out} left out, {changed} changed\n", imported.tags, imported.alarms);
    if !suggestion.is_empty() {
        let place =
            args.suggest.as_ref().map_or_else(|| "the first lines of the tag file".to_owned(), |path| path.display().to_string());
        // Writing to a String cannot fail.
        _ = writeln!(text, "the configuration lacks sections: see {place}, and set addresses and rosters");
    }
    text.push_str("then run `annunciator check`\n");
    text
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(one, other)| (one.trim().to_owned(), other.trim().to_owned()));
    pair.filter(|(one, other)| !one.is_empty() && !other.is_empty())
        .ok_or_else(|| format!("{text:?} is not two names with = between"))
}
