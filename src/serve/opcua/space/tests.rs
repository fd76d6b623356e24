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
    let own = targets(&space, system, reference::HAS_CONDITION, true);
    assert!(own.contains(&"System/Gateway/Alarms/TwilioFailed".to_owned()), "{own:?}");
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
    assert_eq!((space.browse_name(id), space.class(id), space.type_definition(id)), ((0, "Id".into()), 2, 68));
    assert_eq!(targets(&space, id, reference::HAS_PROPERTY, false), ["Lone/Alarms/On/0:ShelvingState/0:CurrentState"]);
}

/// Memory of this process in bytes; zero where the system does not tell.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.map_or(0, |pages| pages * 4_096)
}

fn large(tags: u32) -> Arc<Plan> {
    use crate::{
        engine::plan::{Origin, TagIndex, TagTraits},
        tag::{DataType, TagId, TagPath, Value, ValueType},
    };
    let unit: Arc<str> = "bar".into();
    let def = |id: u32| TagDef {
        description: format!("Pressure {id}").into(),
        ..TagDef::new(
            TagId(id),
            TagPath::new(&format!("Plant/Area{:03}/Tag{id:07}", id / 10_000)).unwrap(),
            Origin::Memory { initial: Value::Float(0.0) },
            TagTraits {
                unit: Some(Arc::clone(&unit)),
                range: Some((0.0, 10.0)),
                writable: true,
                ..TagTraits::of(ValueType::scalar(DataType::Float))
            },
        )
    };
    let tags: Vec<_> = (0..tags).map(def).collect();
    let tag_index = TagIndex::new(&tags);
    Arc::new(Plan { tags, tag_index, ..Plan::default() })
}

/// Figures: `cargo test --release --lib space::tests::figures -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    Core::get();
    for count in [100_000, 1_000_000] {
        let (before, began) = (resident(), std::time::Instant::now());
        let plan = large(count);
        let (planned, plan_time) = (resident(), began.elapsed());
        let began = std::time::Instant::now();
        let space = Space::build(plan, 1);
        let (built, build_time) = (resident(), began.elapsed());
        let began = std::time::Instant::now();
        let folder = node(&space, "Plant/Area000");
        let mut children = 0;
        space.references(folder, &mut |_, forward, target| {
            children += usize::from(forward && space.class(target) == 2 && space.browse_name(target).0 == NAMESPACE);
        });
        let browse_time = began.elapsed();
        let a_tag = |bytes: usize| bytes / count as usize;
        println!(
            "{count} tags: plan {} bytes a tag in {plan_time:?}, space {} bytes a tag in {build_time:?}, {children} children browsed in {browse_time:?}",
            a_tag(planned.saturating_sub(before)),
            a_tag(built.saturating_sub(planned)),
        );
    }
}
