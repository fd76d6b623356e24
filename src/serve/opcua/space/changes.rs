//! What a reload changed (Part 5, 6.4.32; Part 3, 9.32): nodes that came or went, folders to which they came or from which they went,
//! variables whose type is another now. Bounded: of many changes only the folders are told, of many folders only that there were.

use std::collections::BTreeMap;

use super::{
    super::{
        events::{self, Event, base::Base},
        wire::Id,
    },
    Kind, NAMESPACE, NodeRef, OBJECTS, Space,
    build::folder_of,
};
use crate::tag::Timestamp;

/// The most changes in one event.
const MOST: usize = 1_000;
const GENERAL_MODEL_CHANGE: u32 = 2_133;
const MODEL_CHANGE_STRUCTURE: Id<'static> = Id::numeric(0, 879);
const FOLDER_TYPE: u32 = 61;

/// ModelChangeStructureVerbMask (Part 5, 6.4.34).
mod verb {
    pub const NODE_ADDED: u8 = 1;
    pub const NODE_DELETED: u8 = 2;
    pub const REFERENCE_ADDED: u8 = 4;
    pub const REFERENCE_DELETED: u8 = 8;
    pub const DATA_TYPE_CHANGED: u8 = 16;
}

/// Changes by path of the affected node, empty for the Objects folder: its type definition and the verbs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    all: BTreeMap<String, (u32, u8)>,
}

impl Space {
    /// Compares with the space before. Folders to which nothing came and from which nothing went keep their NodeVersion.
    pub fn succeed(&mut self, old: &Self) -> Changes {
        let mut changes = Difference::default();
        for index in 0..self.first_fixed() {
            let node = self.seen(index);
            match old.find_path(node.path).map(|index| old.seen(index)) {
                None => changes.came(&node, self),
                Some(before) if (before.definition, before.shape) != (node.definition, node.shape) => {
                    changes.is_another(&node);
                }
                Some(_) => {}
            }
        }
        for index in 0..old.first_fixed() {
            let node = old.seen(index);
            if self.find_path(node.path).is_none() {
                changes.went(&node, old);
            }
        }
        let both = |path: &str| path.is_empty() || (self.find_path(path).is_some() && old.find_path(path).is_some());
        changes.folders.retain(|path, _| both(path));
        for folder in 0..self.folders.len() {
            let path = self.folders.path(folder);
            let before = old.find_path(path).and_then(|index| index.checked_sub(old.first_folder()));
            if let Some(before) = before.filter(|_| !changes.folders.contains_key(path)) {
                self.folders.set_version(folder, old.folders.version(before));
            }
        }
        changes.bounded()
    }

    fn seen(&self, index: u32) -> Seen<'_> {
        let shape = match self.kind(index) {
            Kind::Tag(def) => Some((def.value_type.data_type as u8, def.value_type.rank)),
            Kind::Alarm(_) | Kind::Folder | Kind::Fixed(_) => None,
        };
        Seen { index, path: self.path(index), definition: self.type_definition(NodeRef::Own(index)), shape }
    }
}

/// A node as it is compared.
struct Seen<'a> {
    index: u32,
    path: &'a str,
    definition: u32,
    shape: Option<(u8, crate::tag::Rank)>,
}

#[derive(Default)]
struct Difference {
    nodes: BTreeMap<String, (u32, u8)>,
    /// Nodes beyond those that can be told.
    many: bool,
    folders: BTreeMap<String, u8>,
}

impl Difference {
    fn note(&mut self, node: &Seen<'_>, verb: u8) {
        if self.nodes.len() < MOST {
            self.nodes.insert(node.path.to_owned(), (node.definition, verb));
        } else {
            self.many = true;
        }
    }

    fn came(&mut self, node: &Seen<'_>, space: &Space) {
        self.note(node, verb::NODE_ADDED);
        *self.folders.entry(above(node, space)).or_default() |= verb::REFERENCE_ADDED;
    }

    fn went(&mut self, node: &Seen<'_>, space: &Space) {
        self.note(node, verb::NODE_DELETED);
        *self.folders.entry(above(node, space)).or_default() |= verb::REFERENCE_DELETED;
    }

    fn is_another(&mut self, node: &Seen<'_>) {
        self.note(node, verb::DATA_TYPE_CHANGED);
    }

    fn bounded(self) -> Changes {
        let Self { nodes, many, folders } = self;
        let folders = folders.into_iter().map(|(path, verb)| (path, (FOLDER_TYPE, verb)));
        let mut all = if many || nodes.len() + folders.len() > MOST { BTreeMap::new() } else { nodes };
        if all.is_empty() && folders.len() > MOST {
            let both = verb::REFERENCE_ADDED | verb::REFERENCE_DELETED;
            return Changes { all: [(String::new(), (FOLDER_TYPE, both))].into() };
        }
        all.extend(folders);
        Changes { all }
    }
}

/// The folder that a node hangs in; empty for the Objects folder.
fn above(node: &Seen<'_>, space: &Space) -> String {
    if space.alarm(node.index).is_some() {
        return folder_of(node.path);
    }
    node.path.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())
}

impl Changes {
    /// The GeneralModelChangeEvent; `None` when nothing changed.
    pub fn event(&self, id: [u8; 16], time: Timestamp) -> Option<Event> {
        if self.all.is_empty() {
            return None;
        }
        let changes = events::encoded(|w| {
            w.array(22, self.all.len());
            for (path, (definition, verb)) in &self.all {
                w.extension(MODEL_CHANGE_STRUCTURE, |w| {
                    w.id(if path.is_empty() { Id::numeric(0, OBJECTS) } else { Id::text(NAMESPACE, path) });
                    w.standard(*definition);
                    w.u8(*verb);
                });
            }
        });
        let message = "The configuration was loaded again: nodes came or went".into();
        let base = Base { id, event_type: GENERAL_MODEL_CHANGE, source: "".into(), time, message, severity: 100 };
        Some(base.event(vec![("Changes", changes)]))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::plan, *};
    use crate::serve::opcua::events::Field;

    fn tags(lines: &[&str]) -> String {
        lines.iter().flat_map(|line| ["[[tag]]\n", line, "\n"]).collect()
    }

    fn changes(old: &[&str], new: &[&str]) -> (Vec<(String, u8)>, Space) {
        let old = Space::build(plan(&tags(old)), 1);
        let mut new = Space::build(plan(&tags(new)), 2);
        let changes = new.succeed(&old);
        (changes.all.into_iter().map(|(path, (_, verb))| (path, verb)).collect(), new)
    }

    const A: &str = "path = \"P/A\"\ntype = \"Int32\"";
    const B: &str = "path = \"P/B\"\ntype = \"Int32\"";
    const OTHER_B: &str = "path = \"P/B\"\ntype = \"Double\"";
    const C: &str = "path = \"Q/C\"\ntype = \"Int32\"";

    #[test]
    fn what_came_went_and_turned_is_told_with_its_folder() {
        for (old, new, wanted) in [
            (vec![A, B], vec![A, B], vec![]),
            (vec![A], vec![A, B], vec![("P", 4), ("P/B", 1)]),
            (vec![A, B], vec![A], vec![("P", 8), ("P/B", 2)]),
            (vec![A, B], vec![A, OTHER_B], vec![("P/B", 16)]),
            (vec![A], vec![A, C], vec![("", 4), ("Q", 1), ("Q/C", 1)]),
            (vec![A, C], vec![B], vec![("", 8), ("P", 12), ("P/A", 2), ("P/B", 1), ("Q", 2), ("Q/C", 2)]),
        ] {
            let (found, _) = changes(&old, &new);
            let wanted: Vec<_> = wanted.into_iter().map(|(path, verb)| (path.to_owned(), verb)).collect();
            assert_eq!(found, wanted, "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_folder_has_another_version_only_when_it_changed() {
        let (_, space) = changes(&[A, C], &[A, B, C]);
        let version = |path: &str| match space.find(Id::text(NAMESPACE, path)) {
            Some(NodeRef::Own(index)) => space.version(index),
            _ => 0,
        };
        assert_eq!((version("P"), version("Q"), version("System")), (2, 1, 1));
    }

    #[test]
    fn many_changes_are_told_by_their_folders() {
        let line = |folder: &str, number: usize| format!("path = \"{folder}/T{number}\"\ntype = \"Boolean\"");
        let many: Vec<String> = (0..=MOST).map(|number| line("P", number)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (found, _) = changes(&[A], &[&[A], &*many].concat());
        assert_eq!(found, [("P".to_owned(), verb::REFERENCE_ADDED)]);
        let folders: Vec<String> = (0..=MOST).map(|number| line(&format!("P/F{number}"), number)).collect();
        let both: Vec<String> = (0..=MOST).map(|number| line(&format!("P/F{number}"), MOST + 7)).collect();
        let old: Vec<&str> = folders.iter().map(String::as_str).collect();
        let new: Vec<&str> = folders.iter().chain(&both).map(String::as_str).collect();
        let (found, _) = changes(&old, &new);
        assert_eq!(found, [(String::new(), verb::REFERENCE_ADDED | verb::REFERENCE_DELETED)]);
    }

    #[test]
    fn the_event_carries_its_changes() {
        let nothing = Changes::default();
        assert_eq!(nothing.event([0; 16], Timestamp::NULL), None);
        let one = Changes { all: [("P".to_owned(), (FOLDER_TYPE, 4))].into() };
        let event = one.event([7; 16], Timestamp::NULL).unwrap();
        assert_eq!((event.event_type, &*event.source), (GENERAL_MODEL_CHANGE, ""));
        let Some(Field::Encoded(bytes)) = event.field("Changes") else { panic!("no changes") };
        assert_eq!(bytes[..5], [0x96, 1, 0, 0, 0]);
        assert_eq!(bytes.last(), Some(&4));
    }
}
