//! What a configuration defines by name: filled first, so that everything that is read later can refer to it in any order.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    problems::{Place, did_you_mean},
    reader::{Section, Spanned},
};
use crate::{
    engine::plan::TagIndex,
    script::{Condition, Expression, ExpressionError},
    tag::{TagId, TagPath, ValueType},
};

/// The kinds of named tables, in the order in which they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Source,
    Twilio,
    Profile,
    Event,
    User,
    Token,
    Roster,
    Schedule,
    Rotation,
    Holiday,
    Pipeline,
}

impl Kind {
    /// The key of its tables, which is also the word for it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Twilio => "twilio",
            Self::Profile => "profile",
            Self::Event => "event",
            Self::User => "user",
            Self::Token => "token",
            Self::Roster => "roster",
            Self::Schedule => "schedule",
            Self::Rotation => "rotation",
            Self::Holiday => "holiday",
            Self::Pipeline => "pipeline",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Twilio { "twilio profile" } else { self.key() })
    }
}

/// The longest name; names are part of tag paths and URLs.
const MAX_NAME: usize = 64;

/// Suggestions for unknown tags are looked for this often; with a hundred thousand tags each search takes a while.
const MAX_GUESSES: u32 = 20;

/// A named table whose body was not read yet.
pub(super) struct Named<'a> {
    /// A made-up one when it is missing or cannot be a name, which was noted.
    pub name: String,
    pub section: Section<'a>,
}

/// All top-level tables of the files that are read as one.
pub(super) struct Roots<'a>(pub Vec<Section<'a>>);

impl<'a> Roots<'a> {
    /// A table that may stand in one file only.
    pub fn section(&mut self, key: &str) -> Option<Section<'a>> {
        let mut first: Option<Section<'a>> = None;
        for section in self.0.iter_mut().filter_map(|root| root.section(key)) {
            match &first {
                None => first = Some(section),
                Some(first) => {
                    let mut again = section;
                    let second = (first.place(first.span()), "first here");
                    again.error_beside(again.span(), format!("[{key}] is defined twice"), "keep one of them", second);
                    again.ignore_rest();
                }
            }
        }
        first
    }

    /// All tables of a list, file by file.
    pub fn sections(&mut self, key: &str) -> Vec<Section<'a>> {
        self.0.iter_mut().flat_map(|root| root.sections(key)).collect()
    }
}

/// What is known of a tag before anything that refers to it is read.
#[derive(Clone, Debug)]
pub(super) struct TagEntry {
    pub id: TagId,
    pub path: TagPath,
    /// `None` when it was wrong, which was noted.
    pub value_type: Option<ValueType>,
    pub writable: bool,
    pub place: Place,
}

/// Everything that can be referred to.
#[derive(Default)]
pub(super) struct Book {
    named: BTreeMap<Kind, BTreeMap<String, Place>>,
    /// All tags of the configuration, as they come in its files.
    pub tags: Vec<TagEntry>,
    /// Their positions.
    pub index: TagIndex,
    guesses: AtomicU32,
}

impl Book {
    /// Takes the names of all tables of `kind`.
    pub fn define<'a>(&mut self, kind: Kind, roots: &mut Roots<'a>) -> Vec<Named<'a>> {
        let known = self.named.entry(kind).or_default();
        let mut all = Vec::new();
        for mut section in roots.sections(kind.key()) {
            let name = section.required_string("name").filter(|name| is_name(&section, name));
            let Some(name) = name else {
                all.push(Named { name: format!("unnamed {}", all.len() + 1), section });
                continue;
            };
            match known.get(&name.value) {
                Some(first) => {
                    let message = format!("{kind} `{}` is defined twice", name.value);
                    section.error_beside(name.span, message, "rename one of them", (first.clone(), "first here"));
                }
                None => {
                    known.insert(name.value.clone(), section.place(name.span));
                }
            }
            all.push(Named { name: name.value, section });
        }
        all
    }

    /// Where `name` is defined.
    pub fn place(&self, kind: Kind, name: &str) -> Option<&Place> {
        self.named.get(&kind)?.get(name)
    }

    /// True when `text` names something of `kind`; noted when it does not.
    pub fn refers(&self, kind: Kind, section: &Section<'_>, text: &Spanned<String>) -> bool {
        let known = self.named.get(&kind);
        if known.is_some_and(|known| known.contains_key(&text.value)) {
            return true;
        }
        let known = known.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        let help = suggest(&text.value, known, kind.key());
        section.error(text.span.clone(), format!("unknown {kind} `{}`", text.value), help);
        false
    }

    /// True when `text` names something of one of `kinds`; noted when it does not.
    pub fn refers_to_one(&self, kinds: &[Kind], section: &Section<'_>, text: &Spanned<String>) -> bool {
        let known = || kinds.iter().filter_map(|kind| self.named.get(kind)).flat_map(BTreeMap::keys);
        if known().any(|name| *name == text.value) {
            return true;
        }
        let what = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let help = did_you_mean(&text.value, known().map(String::as_str).collect::<Vec<_>>(), "defined are");
        section.error(text.span.clone(), format!("unknown {what} `{}`", text.value), help);
        false
    }

    /// Takes `key` as a reference to something of `kind`.
    pub fn reference(&self, kind: Kind, section: &mut Section<'_>, key: &str) -> Option<String> {
        let text = section.string(key)?;
        self.refers(kind, section, &text).then_some(text.value)
    }

    /// As [`Book::reference`]; absent is an error.
    pub fn required_reference(&self, kind: Kind, section: &mut Section<'_>, key: &str) -> Option<String> {
        let text = section.required_string(key)?;
        self.refers(kind, section, &text).then_some(text.value)
    }

    /// Adds a tag at a path that is still free.
    pub fn define_tag(&mut self, entry: TagEntry) {
        self.index.insert(entry.id, &entry.path, self.tags.len());
        self.tags.push(entry);
    }

    /// The tag at `path`.
    pub fn tag(&self, path: &str) -> Option<&TagEntry> {
        let position = self.index.find(path, |position| &self.tags[position].path);
        position.map(|position| &self.tags[position])
    }

    /// The tag with this id, unless it is one of the program's own.
    pub fn tag_by_id(&self, tag: TagId) -> Option<&TagEntry> {
        self.index.get(tag).map(|position| &self.tags[position])
    }

    /// The tag that `text` names; noted when there is none.
    pub fn tag_of(&self, section: &Section<'_>, text: &Spanned<String>) -> Option<&TagEntry> {
        let found = self.tag(&text.value);
        if found.is_none() {
            section.error(text.span.clone(), format!("unknown tag `{}`", text.value), self.similar_tag(&text.value));
        }
        found
    }

    /// Takes `key` as the path of a tag.
    pub fn tag_reference(&self, section: &mut Section<'_>, key: &str) -> Option<(Spanned<String>, &TagEntry)> {
        let text = section.string(key)?;
        let entry = self.tag_of(section, &text)?;
        Some((text, entry))
    }

    /// `did you mean …?` for an unknown tag.
    pub fn similar_tag(&self, path: &str) -> String {
        if path.starts_with("System/") {
            return "the program's own tags cannot be used here".into();
        }
        if self.guesses.fetch_add(1, Ordering::Relaxed) >= MAX_GUESSES {
            return String::new();
        }
        let near = super::problems::nearest(path, self.tags.iter().map(|tag| &*tag.path));
        near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default()
    }

    /// Compiles the expression that `text` is; noted when it is none. `tag(Some/Path)` alone may do without quotes.
    pub fn expression(&self, section: &Section<'_>, text: &Spanned<String>) -> Option<Arc<Expression>> {
        let bare = text.strip_prefix("tag(").and_then(|rest| rest.strip_suffix(')'));
        let bare = bare.filter(|path| !path.contains(['"', '\'', '`', '(', ')']));
        let source = bare.map_or_else(|| text.value.clone(), |path| format!("tag(\"{}\")", path.trim()));
        let compiled = Expression::compile(&source, &|path| self.tag(path).map(|entry| entry.id));
        compiled.map(Arc::new).map_err(|error| self.note(section, text, error, bare.is_none())).ok()
    }

    /// Compiles the condition of a pipeline that `text` is; noted when it is none.
    pub fn condition(&self, section: &Section<'_>, text: &Spanned<String>) -> Option<Condition> {
        let compiled = Condition::compile(text, &|path| self.tag(path).map(|entry| entry.id));
        compiled.map_err(|error| self.note(section, text, error, true)).ok()
    }

    fn note(&self, section: &Section<'_>, text: &Spanned<String>, error: ExpressionError, as_written: bool) {
        let help = match &error.unknown_tag {
            Some(path) => self.similar_tag(path),
            None => error.help,
        };
        // The compiler begins its messages with a capital letter.
        let mut message = error.message;
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        let place = error.span.filter(|_| as_written).and_then(|span| part_of(text, span));
        section.error(place.unwrap_or_else(|| text.span.clone()), message, help);
    }
}

/// Where a part of a string stands in its file; `None` when it is not written there letter by letter.
fn part_of(text: &Spanned<String>, part: Range<usize>) -> Option<Range<usize>> {
    let escapes = |text: &str| text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    let written = text.span.len().checked_sub(2)?;
    let every = escapes(text);
    let start = text.span.start + 1;
    // Only quotation marks and backslashes are escaped in an expression: all of them, or none between single quotes.
    match written.checked_sub(text.len())? {
        0 => Some(start + part.start..start + part.end),
        extra if extra == every => {
            let before = |end: usize| text.get(..end).map(|text| start + end + escapes(text));
            Some(before(part.start)?..before(part.end)?)
        }
        _ => None,
    }
}

/// As `did_you_mean`, with words for what there is.
fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> String {
    match known.clone().into_iter().count() {
        0 => format!("no {what} is defined: add a [[{what}]]"),
        _ => did_you_mean(word, known, "defined are"),
    }
}

/// Names are segments of tag paths and of URLs.
fn is_name(section: &Section<'_>, name: &Spanned<String>) -> bool {
    let good = name.len() <= MAX_NAME
        && name.trim() == name.value
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '?' | '#' | '%' | '"' | '{' | '}'));
    if !good {
        let help = format!("a name has at most {MAX_NAME} bytes, no space at its ends and none of / \\ ? # % \" {{ }}");
        section.error(name.span.clone(), format!("`{}` cannot be a name", name.value), help);
    }
    good
}
