//! From the tree of an export to a flat list of tags: folders become paths, UDT instances become their members.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::{
    MAX_DEPTH, MAX_INSTANCES, MAX_TAGS, Notes,
    bind::Scope,
    join, segment,
    types::{Types, merge},
};

/// A tag, as the export has it, with the parameters of its UDT filled in.
#[derive(Debug)]
pub(super) struct Found {
    /// Folders and name.
    pub path: String,
    /// Its properties.
    pub fields: Map<String, Json>,
}

/// All tags below `nodes`.
///
/// # Errors
/// When there are more than [`MAX_TAGS`].
pub(super) fn expand(nodes: &[Json], notes: &mut Notes, progress: &dyn Fn(usize)) -> Result<Vec<Found>, String> {
    let types = Types::collect(nodes);
    let mut walk = Walk { types, notes, progress, found: Vec::new(), within: Vec::new(), instances: 0 };
    for node in nodes.iter().filter_map(Json::as_object) {
        walk.node(node, "", None, 0)?;
    }
    Ok(walk.found)
}

struct Walk<'w> {
    types: Types,
    notes: &'w mut Notes,
    progress: &'w dyn Fn(usize),
    found: Vec<Found>,
    /// The definitions that are being expanded, each within the other.
    within: Vec<String>,
    /// Instances without members count too: a definition that doubles at each level would never end.
    instances: usize,
}

/// Tags between two words about the progress.
const EVERY: usize = 1000;

impl Walk<'_> {
    fn node(&mut self, node: &Map<String, Json>, folder: &str, scope: Option<&Rc<Scope>>, depth: usize) -> Result<(), String> {
        let written = node.get("name").and_then(Json::as_str).unwrap_or_default();
        let name = segment(written);
        let path = join(folder, &name);
        if name.is_empty() {
            self.notes.left_out(if folder.is_empty() { "(top)" } else { folder }, "a node without a name");
            return Ok(());
        }
        if name != written {
            self.notes.changed(&path, format!("the name {written:?} became {name:?}"));
        }
        if depth > MAX_DEPTH {
            self.notes.left_out(&path, format!("more than {MAX_DEPTH} folders and UDTs lie within each other"));
            return Ok(());
        }
        match kind(node) {
            "UdtType" => Ok(()),
            _ if name == "_types_" => Ok(()),
            "Folder" => self.below(node, &path, scope, depth),
            "UdtInstance" => self.instance(node, &name, folder, scope, depth),
            "AtomicTag" => self.tag(node, &name, folder, scope),
            other => {
                self.notes.left_out(&path, format!("the tag type {other:?} is not known"));
                Ok(())
            }
        }
    }

    fn below(&mut self, node: &Map<String, Json>, path: &str, scope: Option<&Rc<Scope>>, depth: usize) -> Result<(), String> {
        match node.get("tags") {
            Some(Json::Array(nodes)) => {
                nodes.iter().filter_map(Json::as_object).try_for_each(|node| self.node(node, path, scope, depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn instance(
        &mut self,
        node: &Map<String, Json>,
        name: &str,
        folder: &str,
        outer: Option<&Rc<Scope>>,
        depth: usize,
    ) -> Result<(), String> {
        let path = join(folder, name);
        self.instances += 1;
        if self.instances > MAX_INSTANCES {
            return Err(format!("more than {MAX_INSTANCES} UDT instances: import fewer folders at a time"));
        }
        let id = node.get("typeId").and_then(Json::as_str).unwrap_or_default();
        let definition = match self.types.resolve(id) {
            Ok(definition) => definition,
            Err(why) => {
                self.notes.left_out(&path, why);
                return Ok(());
            }
        };
        let kind = self.types.path(id).unwrap_or_default();
        if self.within.contains(&kind) {
            self.notes.left_out(&path, format!("the UDT {id:?} contains itself"));
            return Ok(());
        }
        let mut own = node.clone();
        own.remove("typeId");
        let whole = merge(&definition, &own);
        if whole.get("enabled") == Some(&Json::Bool(false)) {
            self.notes.left_out(&path, "this UDT instance is disabled");
            return Ok(());
        }
        for key in whole.keys().filter(|key| !INSTANCE_KEYS.contains(&key.as_str())) {
            self.notes.left_out(&path, format!("`{key}` of a UDT instance"));
        }
        let scope = self.scope(&whole, name, folder, outer);
        self.within.push(kind);
        let result = self.below(&whole, &path, Some(&scope), depth);
        self.within.pop();
        result
    }

    fn scope(&mut self, whole: &Map<String, Json>, name: &str, folder: &str, outer: Option<&Rc<Scope>>) -> Rc<Scope> {
        let mut scope = Scope::default();
        let mut unknown = Vec::new();
        for (parameter, definition) in whole.get("parameters").and_then(Json::as_object).into_iter().flatten() {
            let value = match definition {
                Json::Object(table) if !table.contains_key("bindType") => table.get("value").unwrap_or(&Json::Null),
                value => value,
            };
            let value = match outer {
                Some(outer) => outer.fill(value, &mut unknown),
                None => value.clone(),
            };
            if !value.is_null() {
                scope.values.insert(parameter.clone(), value);
            }
        }
        self.tell_unknown(&join(folder, name), unknown);
        let outer_name = |key: &str| outer.and_then(|outer| outer.values.get(key)).cloned();
        let root = outer_name("RootInstanceName").unwrap_or_else(|| name.into());
        let parent = outer_name("InstanceName").unwrap_or_else(|| "".into());
        for (key, value) in [
            ("InstanceName", name.into()),
            ("ParentInstanceName", parent),
            ("RootInstanceName", root),
            ("PathToParentFolder", folder.into()),
        ] {
            scope.values.insert(key.to_owned(), value);
        }
        Rc::new(scope)
    }

    fn tag(&mut self, node: &Map<String, Json>, name: &str, folder: &str, scope: Option<&Rc<Scope>>) -> Result<(), String> {
        let path = join(folder, name);
        if self.found.len() >= MAX_TAGS {
            return Err(format!("more than {MAX_TAGS} tags: import fewer folders at a time"));
        }
        let fields = match scope {
            Some(scope) => {
                let mut scope = Scope::clone(scope);
                scope.values.insert("TagName".to_owned(), name.into());
                scope.values.insert("PathToTag".to_owned(), folder.into());
                let mut unknown = Vec::new();
                let fields = scope.table(node, &mut unknown);
                self.tell_unknown(&path, unknown);
                fields
            }
            None => node.clone(),
        };
        if fields.get("tags").and_then(Json::as_array).is_some_and(|below| !below.is_empty()) {
            self.notes.left_out(&path, "what lies below a tag: here a tag cannot be a folder");
        }
        self.found.push(Found { path, fields });
        if self.found.len().is_multiple_of(EVERY) {
            (self.progress)(self.found.len());
        }
        Ok(())
    }

    fn tell_unknown(&mut self, path: &str, unknown: Vec<String>) {
        for name in unknown {
            self.notes.changed(path, format!("the parameter {{{name}}} has no value"));
        }
    }
}

/// What of an instance has been used, or says nothing to us.
const INSTANCE_KEYS: [&str; 7] = ["name", "tagType", "typeId", "tags", "parameters", "enabled", "documentation"];

/// Every property at its default is left out of an export; files written by hand leave out more.
fn kind(node: &Map<String, Json>) -> &str {
    match node.get("tagType").and_then(Json::as_str) {
        Some(kind) => kind,
        None if node.contains_key("typeId") => "UdtInstance",
        None if node.get("tags").is_some_and(Json::is_array) => "Folder",
        None => "AtomicTag",
    }
}
