use clap::{Command as Clap, CommandFactory, Parser, error::ErrorKind};

use super::{Arguments, manual};

/// Every command that does something, with the words that lead to it.
fn commands(command: &Clap, way: &str, found: &mut Vec<(String, Clap)>) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let way = format!("{way} {}", below.get_name());
        if below.has_subcommands() {
            commands(below, &way, found);
        } else {
            found.push((way, below.clone()));
        }
    }
}

/// The words of a line as a shell would take them, up to a redirection or another command.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    let end = words.iter().position(|word| matches!(word.as_str(), ">" | "|" | "&&" | "" | "#")).unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn every_help_has_examples_that_can_be_given() {
    let mut command = Arguments::command();
    command.build();
    let mut all = Vec::new();
    commands(&command, "", &mut all);
    assert!(all.len() > 20, "{all:?}");
    for (way, command) in all {
        // As written: shown, it is wrapped.
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  annunciator")).map(str::to_owned).collect();
        // Of a family the help of the family has them.
        let family = way.trim().contains(' ');
        assert!(family || !examples.is_empty(), "{way} has no examples:\n{help}");
        for example in examples {
            let line = format!("annunciator{example}");
            let parsed = Arguments::try_parse_from(words(&line)).map(|_| ());
            let parsed = parsed.map_err(|error| (error.kind(), error.to_string()));
            assert!(matches!(parsed, Ok(()) | Err((ErrorKind::DisplayHelp, _))), "{line}: {parsed:?}");
        }
        assert!(command.get_about().is_some(), "{way} does not say what it does");
        for argument in command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
            assert!(argument.get_help().is_some(), "{way}: {} is not explained", argument.get_id());
        }
    }
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let args = <manual::CompletionsArgs as TestArgs>::of(&["annunciator", &shell.to_string()]);
        let script = manual::completions(Arguments::command(), &args);
        for name in ["what-if", "import", "alarms"] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let args = <manual::ManArgs as TestArgs>::of(&["annunciator", "--dir", folder.path().to_str().unwrap()]);
    assert!(manual::man(Arguments::command(), &args).is_ok());
    for page in ["annunciator.1", "annunciator-import-ignition.1", "annunciator-alarms.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains("Examples") || text.contains("EXTRA"), "{page}");
    }
}

/// Arguments of one command, parsed alone.
trait TestArgs: clap::Args + Sized {
    fn of(words: &[&str]) -> Self {
        let matches = Self::augment_args(Clap::new("annunciator")).try_get_matches_from(words).unwrap();
        Self::from_arg_matches(&matches).unwrap()
    }
}

impl<T: clap::Args> TestArgs for T {}
