//! Ignition's tag export (JSON): folders, OPC, memory, expression, derived and reference tags, UDT instances, alarms.
//!
//! Pure but for `read`: JSON in, the text of a tag file out, and a note for everything that is not the same afterwards. Nothing is
//! dropped in silence: each key of a node is either taken over, at its default, or noted. Nothing is guessed either: a limit, an
//! address or an expression that has no certain equivalent costs its alarm or tag, with the reason. Deliberately absent: tag history's
//! settings, scripts, queries, datasets.

mod alarm;
mod bind;
mod expand;
mod fields;
mod finish;
mod formula;
mod read;
mod tag;
#[cfg(test)]
mod tests;
mod types;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

pub use self::read::{Export, MAX_BYTES, parse, read};

/// The most tags of one import.
pub const MAX_TAGS: usize = 1_000_000;
/// The most instances of UDTs of one import.
pub const MAX_INSTANCES: usize = 250_000;
/// The deepest folders and UDTs, each within the other.
pub const MAX_DEPTH: usize = 48;

/// What the person who imports decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A folder for everything, such as `Site2`; empty for none.
    pub under: String,
    /// Names of our sources by the names of their OPC servers; others get a name of their own.
    pub sources: BTreeMap<String, String>,
    /// Names of our pipelines by the names of theirs; others keep their name.
    pub pipelines: BTreeMap<String, String>,
    /// Tags that can be written there are writable here too, by role engineer.
    pub writable: bool,
}

/// A tag file, and what must be told about it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Import {
    /// Tags in the file.
    pub tags: usize,
    /// Alarms in the file.
    pub alarms: usize,
    /// Sources that the file names, by their names.
    pub sources: Vec<Server>,
    /// Pipelines that the file names.
    pub pipelines: BTreeSet<String>,
    /// Everything that was left out or is not quite the same, in the order of the export.
    pub notes: Vec<Note>,
    /// The text of the tag file.
    #[serde(skip)]
    pub tag_file: String,
}

/// An OPC server of the export, and the source that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Of our source.
    pub name: String,
    /// As the export has it.
    pub server: String,
    /// How many tags it has.
    pub tags: usize,
}

/// How much was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// A tag, an alarm or a property is missing.
    LeftOut,
    /// It is there, but works differently or was guessed.
    Changed,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// How much was lost.
    pub loss: Loss,
    /// Path of the tag in the export, and `: alarm NAME` when it is about an alarm.
    pub place: String,
    /// What, and why; without the place, so that equal ones can be counted.
    pub what: String,
}

/// Where notes are collected.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn left_out(&mut self, place: &str, what: impl Into<String>) {
        self.0.push(Note { loss: Loss::LeftOut, place: place.to_owned(), what: what.into() });
    }

    fn changed(&mut self, place: &str, what: impl Into<String>) {
        self.0.push(Note { loss: Loss::Changed, place: place.to_owned(), what: what.into() });
    }
}

/// Turns an export into a tag file. `progress` gets the number of tags found so far.
///
/// # Errors
/// When it has more than [`MAX_TAGS`] tags or none that can be taken over.
pub fn import(export: &Export, options: &Options, progress: &dyn Fn(usize)) -> Result<Import, String> {
    let mut notes = Notes::default();
    for (place, what) in &export.notes {
        notes.left_out(place, what.clone());
    }
    let found = expand::expand(&export.nodes, &mut notes, progress)?;
    let drafts = tag::drafts(found, options, &mut notes);
    let tags = finish::finish(drafts, options, &mut notes);
    let result = write::write(&tags, options, notes);
    if result.tags == 0 {
        let first =
            result.notes.first().map_or_else(String::new, |note| format!("; the first reason: {}: {}", note.place, note.what));
        return Err(format!("there is no tag in the export that can be taken over{first}"));
    }
    Ok(result)
}

/// A name as a path's segment: without what paths cannot hold.
fn segment(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    clean.trim().to_owned()
}

/// `folder/name`, or the name alone at the top.
fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A property that is bound: its kind and its text.
fn binding(value: &Json) -> Option<(&str, &str)> {
    let table = value.as_object()?;
    let kind = table.get("bindType")?.as_str()?;
    // Alarms call the text `value`, members `binding`.
    let text = table.get("binding").or_else(|| table.get("value")).and_then(Json::as_str).unwrap_or_default();
    Some((kind, text))
}
