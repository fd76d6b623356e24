//! The space of a small plan: ids, both directions of every reference, the notifier tree, conditions.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use super::*;
use crate::{
    config::{File, Loader, load},
    tag::Names,
};

const TAGS: &str = r#"
[[tag]]
path = "Plant/Line1/Level"
type = "Float"
unit = "%"
range = [0.0, 100.0]
[[tag.alarm]]
name = "High"
mode = "above"
setpoint = 90.0
[[tag.alarm]]
name = "Away"
mode = "outside"
low = 1.0
high = 99.0
[[tag]]
path = "Plant/Line1/Pump"
type = "Bool"
[[tag]]
path = "Plant/Line2/Speed"
type = "Int32"
[[tag]]
path = "Lone"
type = "Bool"
[[tag.alarm]]
name = "On"
"#;

pub fn plan(tags: &str) -> Arc<Plan> {
    let files = [File { name: "plant.toml".into(), text: tags.into() }];
    let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
    let mut names = Names::default();
    Arc::new(load(&[], &files, &[], loader, &mut names).unwrap_or_else(|problems| panic!("{problems:?}")).plan)
}

fn space() -> Space {
    Space::build(plan(TAGS), 7)
}

fn node(space: &Space, path: &str) -> NodeRef {
    space.find(Id::text(NAMESPACE, path)).unwrap_or_else(|| panic!("no node {path}"))
}

fn standard(id: u32) -> NodeRef {
    NodeRef::Core(Core::get().find(id).unwrap())
}

fn name(space: &Space, node: NodeRef) -> String {
    space.with_id(node, |id| match id.identifier {
        Identifier::Text(path) => path.to_owned(),
        _ => format!("i={:?}", id.identifier),
    })
}

fn references(space: &Space, node: NodeRef) -> Vec<(u32, bool, NodeRef)> {
    let mut all = Vec::new();
    space.references(node, &mut |kind, forward, target| all.push((kind, forward, target)));
    all
}

/// The targets of `kind` from `node`.
fn targets(space: &Space, node: NodeRef, wanted: u32, forward: bool) -> Vec<String> {
    let all = references(space, node).into_iter().filter(|(kind, is_forward, _)| (*kind, *is_forward) == (wanted, forward));
    all.map(|(.., target)| name(space, target)).collect()
}

/// Every node of ours that can be reached.
fn walk(space: &Space) -> HashSet<NodeRef> {
    let mut seen = HashSet::new();
    let mut rest = vec![standard(85), standard(22), standard(11_715)];
    while let Some(node) = rest.pop() {
        for (kind, forward, target) in references(space, node) {
            let down = forward && (Core::get().is_a(kind, 33) || kind == reference::HAS_ENCODING);
            if down && !matches!(target, NodeRef::Core(_)) && seen.insert(target) {
                rest.push(target);
            }
        }
    }
    seen
}

#[test]
fn every_node_is_reached_and_found_by_its_own_id() {
    let space = space();
    let seen = walk(&space);
    for index in 0..place(space.len()) {
        assert!(seen.contains(&NodeRef::Own(index)), "{}", name(&space, NodeRef::Own(index)));
    }
    let mut ids = HashMap::new();
    for node in &seen {
        assert_eq!(space.with_id(*node, |id| space.find(id)), Some(*node));
        assert_eq!(ids.insert(name(&space, *node), *node), None);
        assert!(!space.browse_name(*node).1.is_empty());
    }
    assert_eq!(space.find(Id::text(NAMESPACE, "Plant/Line1/Level/0:EURange")).map(|node| space.type_definition(node)), Some(68));
    for none in ["", "Plant/", "Plant/Line1/Pump/0:EURange", "Plant/Line1/Level/0:", "Lone/Alarms/On/0:ConfirmedState", "/0:"] {
        assert_eq!(space.find(Id::text(NAMESPACE, none)), None, "{none}");
    }
}

#[test]
fn every_reference_of_ours_is_told_at_both_ends() {
    let space = space();
    for node in walk(&space) {
        for (kind, forward, target) in references(&space, node) {
            if kind == reference::HAS_TYPE_DEFINITION {
                continue;
            }
            let back = references(&space, target).contains(&(kind, !forward, node));
            assert!(back, "{} {kind} {forward} {}", name(&space, node), name(&space, target));
        }
        let classes = space.class(node);
        let defined = targets(&space, node, reference::HAS_TYPE_DEFINITION, true).len();
        assert_eq!(defined, usize::from(classes <= 2), "{}", name(&space, node));
    }
}

#[test]
fn events_go_up_from_tags_with_alarms_to_the_server() {
    let space = space();
    let server = standard(SERVER);
    assert_eq!(targets(&space, server, reference::HAS_NOTIFIER, true), ["Plant", "System"]);
    assert_eq!(targets(&space, server, reference::HAS_EVENT_SOURCE, true), ["Lone"]);
    let line = node(&space, "Plant/Line1");
    assert_eq!(targets(&space, node(&space, "Plant"), reference::HAS_NOTIFIER, true), ["Plant/Line1"]);
    assert_eq!(targets(&space, line, reference::HAS_EVENT_SOURCE, true), ["Plant/Line1/Level"]);
    let level = node(&space, "Plant/Line1/Level");
    let alarms = ["Plant/Line1/Level/Alarms/High", "Plant/Line1/Level/Alarms/Away"];
    assert_eq!(targets(&space, level, reference::HAS_CONDITION, true), alarms);
    assert!(space.is_notifier(server) && space.is_notifier(line) && !space.is_notifier(level));
    assert!(!space.is_notifier(node(&space, "Plant/Line2")) && !space.is_notifier(node(&space, "Alarms")));
    let system = node(&space, "System/Gateway");
    assert_eq!(targets(&space, system, reference::HAS_CONDITION, true).len(), 9);
    assert!(space.is_notifier(system));
}

#[test]
fn alarms_are_conditions_of_the_fitting_type() {
    let space = space();
    for (path, condition_type) in [
        ("Plant/Line1/Level/Alarms/High", 9_482),
        ("Plant/Line1/Level/Alarms/Away", 10_060),
        ("Lone/Alarms/On", 10_637),
        ("System/Gateway/Alarms/TwilioFailed", 11_753),
    ] {
        let alarm = node(&space, path);
        assert_eq!(space.type_definition(alarm), condition_type, "{path}");
        let parts = targets(&space, alarm, reference::HAS_COMPONENT, true);
        for part in ["0:AckedState", "0:Acknowledge", "0:ShelvingState", "Active", "Shelve"] {
            assert!(parts.contains(&format!("{path}/{part}")), "{path} {part}: {parts:?}");
        }
    }
    let folder = node(&space, "Alarms/Plant/Line1/Level");
    assert_eq!(targets(&space, folder, reference::ORGANIZES, true).len(), 2);
    let both = targets(&space, node(&space, "System/Gateway/Alarms/TwilioFailed"), reference::ORGANIZES, false);
    assert_eq!(both, ["Alarms/System/Gateway", "System/Gateway/Alarms"]);
    let id = node(&space, "Lone/Alarms/On/0:ShelvingState/0:CurrentState/0:Id");
    assert_eq!((space.browse_name(id), space.class(id), space.type_definition(id)), ((0, "Id"), 2, 68));
    assert_eq!(targets(&space, id, reference::HAS_PROPERTY, false), ["Lone/Alarms/On/0:ShelvingState/0:CurrentState"]);
}
