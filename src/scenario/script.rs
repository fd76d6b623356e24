//! The text of a scenario file: its parts and the words of its lines. What the words mean is the player's.

use std::time::Duration;

use super::{Setup, file, people};
use crate::{config::File, tag::Timestamp};

/// Headings, each alone in its line.
const PARTS: [Part; 4] = [Part::Config, Part::Tags, Part::Plant, Part::Scenario];
/// The heading of a file that the configuration names.
const FILE: &str = "file ";

/// A longer file is refused.
const MAX_LINES: usize = 100_000;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What it shows, and settings of the file.
    Head,
    Config,
    Tags,
    Plant,
    Scenario,
    /// A file that the configuration names.
    File,
}

impl Part {
    const fn heading(self) -> &'static str {
        match self {
            Self::Head | Self::File => "",
            Self::Config => "config",
            Self::Tags => "tags",
            Self::Plant => "plant",
            Self::Scenario => "scenario",
        }
    }
}

/// A line and its number, from 1.
pub type Line = (usize, String);

/// A scenario file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What it shows: the comments before the first part.
    pub about: String,
    /// It says that it runs against the example plant.
    pub example: bool,
    /// The present time at its start, 2026-01-05 08:00 UTC when it does not say.
    pub start: Option<Timestamp>,
    /// TOML that stands on the example's people.
    pub config: Option<String>,
    /// TOML.
    pub tags: Option<String>,
    /// Files that the configuration names, such as scripts.
    pub files: Vec<File>,
    /// Values at the start.
    pub plant: Vec<Line>,
    /// What happens and is expected.
    pub scenario: Vec<Line>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    /// For people.
    pub words: String,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut script = Self::default();
        let mut part = Part::Head;
        // A problem of the configuration is told with its line in this file: the lines before it are kept as empty ones.
        let (mut config, mut tags) = (Toml::default(), Toml::default());
        for (number, line) in (1..).zip(text.lines()) {
            if number > MAX_LINES {
                return Err(Wrong { line: number, words: format!("a scenario has at most {MAX_LINES} lines") });
            }
            if let Some(heading) = PARTS.into_iter().find(|part| part.heading() == line.trim_end()) {
                part = heading;
                continue;
            }
            if let Some(name) = line.strip_prefix(FILE).filter(|_| part != Part::Scenario) {
                part = Part::File;
                script.files.push(file(name.trim(), ""));
                continue;
            }
            match part {
                Part::Head => script.head(line).map_err(|words| Wrong { line: number, words })?,
                Part::Config => config.push(number, line),
                Part::Tags => tags.push(number, line),
                Part::Plant => script.plant.push((number, line.to_owned())),
                Part::Scenario => script.scenario.push((number, line.to_owned())),
                Part::File => {
                    if let Some(file) = script.files.last_mut() {
                        file.text.push_str(line);
                        file.text.push('\n');
                    }
                }
            }
        }
        (script.config, script.tags) = (config.text(), tags.text());
        Ok(script)
    }

    fn head(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            if !self.about.is_empty() {
                self.about.push(' ');
            }
            self.about.push_str(comment.trim());
            return Ok(());
        }
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => {}
            ["example"] => self.example = true,
            ["start", time] => {
                self.start = Some(time.parse::<jiff::Timestamp>().map_err(|error| error.to_string())?.into());
            }
            _ => return Err("before the first part stand comments, `example` and `start TIME`".to_owned()),
        }
        Ok(())
    }

    /// It runs against what is configured; else against the example plant, with the parts that it brings of its own.
    #[must_use]
    pub fn takes_given(&self) -> bool {
        !self.example && self.config.is_none() && self.tags.is_none()
    }

    /// The configuration that it runs against.
    #[must_use]
    pub fn setup<'l>(&self, given: &Setup<'l>) -> Setup<'l> {
        let mut setup = given.clone();
        if !self.takes_given() {
            let example = Setup::example();
            (setup.config, setup.tags, setup.loader) = (example.config, example.tags, example.loader);
        }
        if let Some(config) = &self.config {
            setup.config = vec![people(), file("config", config)];
        }
        if let Some(tags) = &self.tags {
            setup.tags = vec![file("tags", tags)];
        }
        setup.files.extend(self.files.iter().cloned());
        setup
    }
}

/// TOML of a part, at the lines where it stands in the file.
#[derive(Default)]
struct Toml {
    text: String,
    lines: usize,
    any: bool,
}

impl Toml {
    fn push(&mut self, number: usize, line: &str) {
        while self.lines + 1 < number {
            self.text.push('\n');
            self.lines += 1;
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
        self.any |= !line.trim().is_empty();
    }

    fn text(self) -> Option<String> {
        self.any.then_some(self.text)
    }
}

/// `HH:MM:SS`, with a fraction if need be, since the start.
#[must_use]
pub(super) fn clock(text: &str) -> Option<Duration> {
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    let whole = u64::from(hours.parse::<u16>().ok()?) * 3600 + u64::from(minutes.parse::<u16>().ok()?) * 60;
    Some(Duration::from_secs(whole) + Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?)
}

/// `30s`, `5m` or `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let found = units
        .into_iter()
        .find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<u16>().ok().map(u64::from)? * seconds));
    found.map(Duration::from_secs).ok_or_else(|| format!("`{text}` is not a time such as 30s, 5m or 2h"))
}

/// Words, those in quotation marks with their spaces; `\n` is a new line.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quotation mark is missing")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.replace("\\n", "\n"));
        rest = tail.trim_start();
    }
    Ok(words)
}
