//! Which fields the event types of namespace 0 have: every browse path of their instance declarations, found once.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use super::super::ns0::{Core, reference};

/// Root of all event types.
pub const BASE_EVENT: u32 = 2_041;
/// Root of all condition types.
pub const CONDITION: u32 = 2_782;
/// Aggregates: what makes a node part of another.
const AGGREGATES: u32 = 44;
/// Steps of a path that are followed.
const MAX_DEPTH: usize = 4;
const OBJECT: u32 = 1;
const VARIABLE: u32 = 2;

/// A field.
#[derive(Debug)]
pub struct Known {
    /// Its path, names joined by `/`.
    pub path: &'static str,
    /// True for a Variable, false for an Object.
    pub is_variable: bool,
    /// The types that declare it.
    declared_by: Vec<u32>,
}

/// All fields by path.
struct Table(HashMap<&'static str, Known>);

/// The field at `path` that instances of the event type `of`, of one of its sub types or, by inheritance, of the types above it
/// have.
pub fn find(of: u32, path: &str) -> Option<&'static Known> {
    let core = Core::get();
    let known = table().0.get(path)?;
    known.declared_by.iter().any(|by| core.is_a(of, *by) || core.is_a(*by, of)).then_some(known)
}

/// True when all events have the field.
pub fn is_of_every_event(path: &str) -> bool {
    table().0.get(path).is_some_and(|known| known.declared_by.contains(&BASE_EVENT))
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::build)
}

impl Table {
    fn build() -> Self {
        let core = Core::get();
        let mut found: HashMap<String, (bool, Vec<u32>)> = HashMap::new();
        let mut types = vec![BASE_EVENT];
        while let Some(event_type) = types.pop() {
            let mut seen = HashSet::new();
            collect(core, event_type, "", 0, &mut seen, &mut |path, is_variable| {
                let (_, by) = found.entry(path.to_owned()).or_insert_with(|| (is_variable, Vec::new()));
                if by.last() != Some(&event_type) {
                    by.push(event_type);
                }
            });
            each(core, event_type, &mut |kind, target| {
                if kind == reference::HAS_SUBTYPE {
                    types.push(target);
                }
            });
        }
        let known = found.into_iter().map(|(path, (is_variable, declared_by))| {
            // Built once and never freed: as long-lived as namespace 0 itself.
            let path: &'static str = Box::leak(path.into_boxed_str());
            (path, Known { path, is_variable, declared_by })
        });
        Self(known.collect())
    }
}

/// Calls `add` with every path below `node` and whether a Variable is there: what the declaration itself has, and what its type
/// definition lets it have.
fn collect(core: &Core, node: u32, above: &str, depth: usize, seen: &mut HashSet<String>, add: &mut dyn FnMut(&str, bool)) {
    let mut parts = Vec::new();
    each(core, node, &mut |kind, target| {
        if core.is_a(kind, AGGREGATES) {
            parts.push(target);
        }
    });
    if depth > 0 {
        let mut definition = None;
        each(core, node, &mut |kind, target| {
            if kind == reference::HAS_TYPE_DEFINITION {
                definition = Some(target);
            }
        });
        while let Some(of) = definition {
            each(core, of, &mut |kind, target| {
                if core.is_a(kind, AGGREGATES) {
                    parts.push(target);
                }
            });
            definition = core.supertype(of);
        }
    }
    for part in parts {
        let Some(index) = core.find(part) else { continue };
        let class = core.class(index);
        let name = core.browse_name(index).1;
        if !matches!(class, OBJECT | VARIABLE) || name.is_empty() {
            continue;
        }
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        add(&path, class == VARIABLE);
        if depth + 1 < MAX_DEPTH && seen.insert(path.clone()) {
            collect(core, part, &path, depth + 1, seen, add);
        }
    }
}

/// Calls `with` with every forward reference of `node`.
fn each(core: &Core, node: u32, with: &mut dyn FnMut(u32, u32)) {
    let Some(index) = core.find(node) else { return };
    for reference in core.references(index).iter().filter(|reference| reference.forward) {
        with(reference.kind, reference.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_every_type_that_has_or_inherits_them() {
        for (of, path, expected) in [
            (2_041, "EventId", Some(true)),
            (2_041, "Severity", Some(true)),
            // A field of a sub type, named through the root as asyncua and node-opcua do.
            (2_041, "ActiveState/Id", Some(true)),
            (2_041, "Retain", Some(true)),
            // Inherited through sub types.
            (2_915, "Retain", Some(true)),
            (9_482, "AckedState/Id", Some(true)),
            (9_482, "LimitState", Some(false)),
            (9_482, "LimitState/CurrentState/Id", Some(true)),
            (2_915, "ShelvingState/UnshelveTime", Some(true)),
            (2_915, "EnabledState/EffectiveDisplayName", Some(true)),
            (2_782, "Quality/SourceTimestamp", Some(true)),
            (2_133, "Changes", Some(true)),
            (2_100, "NewValue", Some(true)),
            (2_041, "Nonsense", None),
            (2_041, "", None),
            // A field of a cousin.
            (2_100, "ActiveState/Id", None),
            (2_133, "Retain", None),
        ] {
            assert_eq!(find(of, path).map(|known| known.is_variable), expected, "{of} {path}");
        }
        assert!(is_of_every_event("EventType") && !is_of_every_event("Retain"));
    }
}
