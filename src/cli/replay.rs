//! `replay`: plays scenario files against a configuration in virtual time, and says what differs.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    Failure,
    output::{Output, OutputArgs, harmless},
};
use crate::{
    config::{Loader, folder::read_folder},
    daemon::{DRIVERS, Folders},
    scenario::{
        Played, Setup, What, play,
        script::{Script, Wrong},
        show_clock,
    },
};

/// Files of one folder that are played.
const MAX_FILES: usize = 10_000;

/// Plays scenario files: what happens to a plant, and what must follow; in virtual time, without network
#[derive(clap::Args)]
#[command(
    after_help = "A scenario runs against the folders of --config and --tags unless it names the example plant or brings a configuration. PLC, phones and Twilio\nare made up; nothing is sent. docs/scenarios/README.md tells the language. Exit status 1 when anything differs.\n\nExamples:\n  annunciator replay docs/scenarios/acknowledged.scn\n  annunciator replay docs/scenarios                    all of a folder, verdicts only\n  annunciator replay --config new/config --tags new/tags commissioning.scn"
)]
pub(super) struct ReplayArgs {
    /// Scenario files, or folders of *.scn
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tells the stories of a folder's scenarios too
    #[arg(long)]
    story: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// One file that was played.
struct Replayed {
    name: String,
    about: String,
    lines: Vec<String>,
    played: Played,
}

pub(super) fn replay(folders: &Folders, args: &ReplayArgs) -> Result<String, Failure> {
    let files = collect(&args.files)?;
    let alone = files.len() == 1;
    let all = files.iter().map(|file| play_file(folders, file)).collect::<Result<Vec<_>, Failure>>()?;
    let differ = all.iter().filter(|one| one.played.difference.is_some()).count();
    let printed = match args.output.output {
        Output::Json => format!("{:#}\n", Value::from(all.iter().map(as_json).collect::<Vec<_>>())),
        Output::Text => all.iter().map(|one| as_text(one, alone || args.story)).collect(),
    };
    if differ == 0 {
        return Ok(printed);
    }
    print!("{printed}");
    Err(Failure::Failed(format!("{differ} of {} scenarios differ", all.len())))
}

/// The files that are named, and those of folders that are.
fn collect(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error| format!("failed to read the folder `{}`: {error}", path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)?.take(MAX_FILES) {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "scn") {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(format!("no *.scn in the folder `{}`", path.display()).into());
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn play_file(folders: &Folders, file: &Path) -> Result<Replayed, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("failed to read `{}`: {error}", file.display()))?;
    let (about, played) = match Script::parse(&text) {
        Ok(script) => (script.about.clone(), play_script(folders, &script)?),
        Err(wrong) => (String::new(), Played { story: Vec::new(), difference: Some(wrong) }),
    };
    let lines = text.lines().map(|line| line.trim().to_owned()).collect();
    Ok(Replayed { name: file.display().to_string(), about, lines, played })
}

fn play_script(folders: &Folders, script: &Script) -> Result<Played, Failure> {
    let mut given = Setup::example();
    // Folders that the scenario does not need may be missing.
    if script.takes_given() {
        (given.config, given.tags) = (read_folder(&folders.config)?, read_folder(&folders.tags)?);
    }
    let read_file = |path: &Path| fs::read_to_string(folders.config.join(path)).map_err(|error| error.to_string());
    let env = |name: &str| folders.env.get(name).cloned().or_else(|| std::env::var(name).ok());
    let given = Setup { drivers: DRIVERS, loader: Loader { env: &env, read_file: &read_file }, ..given };
    Ok(play(script, &given))
}

const fn kind(what: What) -> &'static str {
    match what {
        What::Happens => "happens",
        What::Journal => "journal",
        What::Text => "text",
        What::Call => "call",
        What::Script => "script",
        What::NotSent => "not sent",
        What::Write => "write",
        What::Answer => "answer",
    }
}

fn as_text(one: &Replayed, story: bool) -> String {
    let mut text = String::new();
    let verdict = if one.played.difference.is_some() { "DIFFERS" } else { "PASS   " };
    // Writing to a String cannot fail.
    if story {
        _ = writeln!(text, "{}\n{}\n", one.name, one.about);
        let mut before = None;
        for moment in &one.played.story {
            let clock = show_clock(moment.at);
            let shown = if before.as_ref() == Some(&clock) { "" } else { &clock };
            let mark = if moment.what == What::Happens { ">" } else { " " };
            _ = writeln!(text, "{shown:<12} {mark} {:<8} {}", kind(moment.what), harmless(&moment.words));
            before = Some(clock);
        }
        text.push('\n');
    }
    _ = writeln!(text, "{verdict} {}", one.name);
    if let Some(Wrong { line, words }) = &one.played.difference {
        let content = one.lines.get(line.saturating_sub(1)).map_or("", String::as_str);
        _ = writeln!(text, "        line {line}: {content}");
        for words in words.lines() {
            _ = writeln!(text, "        {}", harmless(words));
        }
    }
    text
}

fn as_json(one: &Replayed) -> Value {
    let moment = |moment: &crate::scenario::Moment| json!({ "seconds": moment.at.as_secs_f64(), "kind": kind(moment.what), "words": moment.words });
    let difference = one.played.difference.as_ref();
    let difference = difference
        .map(|Wrong { line, words }| json!({ "line": line, "content": one.lines.get(line.saturating_sub(1)), "words": words }));
    json!({
        "file": one.name,
        "about": one.about,
        "pass": difference.is_none(),
        "difference": difference,
        "story": one.played.story.iter().map(moment).collect::<Vec<_>>(),
    })
}
