//! UDT definitions: found wherever they stand, merged with the definitions that they extend.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use serde_json::{Map, Value as Json};

use super::{MAX_DEPTH, join};

/// All definitions of an export by their path below `_types_`.
#[derive(Default)]
pub(super) struct Types {
    known: BTreeMap<String, Map<String, Json>>,
    resolved: HashMap<String, Result<Rc<Map<String, Json>>, String>>,
}

impl Types {
    /// Takes the definitions among `nodes`.
    pub fn collect(nodes: &[Json]) -> Self {
        let mut types = Self::default();
        types.add(nodes, "", 0);
        types
    }

    fn add(&mut self, nodes: &[Json], folder: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        for node in nodes.iter().filter_map(Json::as_object) {
            let name = node.get("name").and_then(Json::as_str).unwrap_or_default();
            if node.get("tagType").and_then(Json::as_str) == Some("UdtType") {
                self.known.insert(join(folder, name), node.clone());
            } else if let Some(Json::Array(below)) = node.get("tags") {
                let folder = if name == "_types_" { String::new() } else { join(folder, name) };
                self.add(below, &folder, depth + 1);
            }
        }
    }

    /// The definition that `id` names, with everything that it inherits.
    ///
    /// # Errors
    /// Why there is none.
    pub fn resolve(&mut self, id: &str) -> Result<Rc<Map<String, Json>>, String> {
        self.resolve_within(id, 0)
    }

    fn resolve_within(&mut self, id: &str, depth: usize) -> Result<Rc<Map<String, Json>>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the UDT {id:?} extends itself, or more than {MAX_DEPTH} others"));
        }
        let Some(path) = self.path(id) else {
            return Err(format!("the UDT {id:?} is not in the export: export the folder _types_ with the tags"));
        };
        if let Some(known) = self.resolved.get(&path) {
            return known.clone();
        }
        let own = self.known.get(&path).cloned().unwrap_or_default();
        let parent = own.get("typeId").and_then(Json::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
        let whole = match parent {
            Some(parent) => self.resolve_within(&parent, depth + 1).map(|parent| Rc::new(merge(&parent, &own))),
            None => Ok(Rc::new(own)),
        };
        self.resolved.insert(path, whole.clone());
        whole
    }

    /// The path below `_types_` that `id` means; ids are written with or without the provider and `_types_` itself.
    pub fn path(&self, id: &str) -> Option<String> {
        let id = id.rsplit_once(']').map_or(id, |(_, rest)| rest);
        let id = id.strip_prefix("_types_/").unwrap_or(id).trim_matches('/');
        if self.known.contains_key(id) {
            return Some(id.to_owned());
        }
        self.known.keys().find(|known| known.eq_ignore_ascii_case(id)).cloned()
    }
}

/// `base` with what `over` says otherwise. Members, alarms and parameters are merged by name, everything else is replaced: what an
/// override leaves out stays as the definition has it.
pub(super) fn merge(base: &Map<String, Json>, over: &Map<String, Json>) -> Map<String, Json> {
    let mut merged = base.clone();
    for (key, value) in over {
        let value = match (key.as_str(), merged.get(key), value) {
            ("tags" | "alarms", Some(Json::Array(base)), Json::Array(over)) => Json::Array(merge_named(base, over)),
            ("parameters", Some(Json::Object(base)), Json::Object(over)) => Json::Object(merge_parameters(base, over)),
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn merge_named(base: &[Json], over: &[Json]) -> Vec<Json> {
    let mut merged = base.to_vec();
    for node in over {
        let name = &node["name"];
        match merged.iter_mut().find(|known| known["name"] == *name) {
            Some(known) => {
                if let (Some(base), Some(over)) = (known.as_object(), node.as_object()) {
                    *known = Json::Object(merge(base, over));
                }
            }
            None => merged.push(node.clone()),
        }
    }
    merged
}

/// A parameter is `{dataType, value}`, or in files written by hand just its value.
fn merge_parameters(base: &Map<String, Json>, over: &Map<String, Json>) -> Map<String, Json> {
    let mut merged = base.clone();
    for (name, value) in over {
        let value = match (merged.get(name), value) {
            (Some(Json::Object(base)), Json::Object(over)) => {
                let mut both = base.clone();
                both.extend(over.clone());
                Json::Object(both)
            }
            _ => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}
