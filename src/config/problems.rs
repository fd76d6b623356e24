//! Everything that is wrong with a configuration, each with its place. How it is printed is `render`'s.

use std::{collections::HashMap, ops::Range, sync::Arc};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but somebody should know.
    Warning,
}

/// A place in one of the files that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position in the list of files.
    pub file: usize,
    /// Byte range in its text.
    pub span: Range<usize>,
}

impl Place {
    fn key(&self) -> (usize, usize, usize) {
        (self.file, self.span.start, self.span.end)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Where; `None` when something is missing altogether.
    pub place: Option<Place>,
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
    /// A second place that has to do with it, and what it is.
    pub second: Option<(Place, String)>,
}

/// The text of a file, for showing problems in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its name as the person gave it.
    pub name: Arc<str>,
    /// Its content.
    pub text: Arc<str>,
}

/// All problems of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The problems; [`Problems::sort`] brings them in the order of files and lines.
    pub list: Vec<Problem>,
    /// Texts of the files that problems stand in, by file; attached when reading has ended.
    pub files: HashMap<usize, SourceText>,
}

/// Numbers of other files begin here, beyond those of all that are read as TOML.
const FIRST_OTHER: usize = 1 << 31;

impl Problems {
    /// The number of a file that the configuration names, such as a script; the same again for the same name.
    pub(super) fn other_file(&mut self, name: &str, text: &str) -> usize {
        let others = self.files.iter().filter(|(file, _)| **file >= FIRST_OTHER);
        if let Some((file, _)) = others.clone().find(|(_, source)| &*source.name == name) {
            return *file;
        }
        let file = FIRST_OTHER + others.count();
        self.files.insert(file, SourceText { name: name.into(), text: text.into() });
        file
    }

    /// Notes a problem.
    pub fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// How many are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many are warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// True when there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Sorts by file and line, those without a place last.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|problem| (problem.place.is_none(), problem.place.as_ref().map(Place::key), problem.severity));
        self.list.dedup();
    }

    /// Keeps the texts of those files that problems point into.
    pub(super) fn attach(&mut self, text: impl Fn(usize) -> SourceText) {
        let first = self.list.iter().filter_map(|problem| problem.place.as_ref());
        let second = self.list.iter().filter_map(|problem| problem.second.as_ref().map(|(place, _)| place));
        for place in first.chain(second) {
            self.files.entry(place.file).or_insert_with(|| text(place.file));
        }
    }
}

/// The greatest distance at which two words still look alike, by the length of the wrong one.
fn tolerance(word: &str) -> usize {
    (word.chars().count() / 3).clamp(1, 4)
}

/// The one of `known` that looks most like `word`, if any does.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= tolerance(word).max(tolerance(known)))
        .min()
        .map(|(_, known)| known)
}

/// `did you mean …?`, else what there is to choose from, else nothing.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> String {
    /// More choices than this are not listed.
    const LISTED: usize = 14;
    if let Some(nearest) = nearest(word, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let mut choices: Vec<_> = known.into_iter().collect();
    choices.sort_unstable();
    choices.dedup();
    match choices.len() {
        0 => "there are none yet".to_owned(),
        1..=LISTED => format!("{what}: `{}`", choices.join("`, `")),
        count => format!("none of the {count} known ones looks like it"),
    }
}
