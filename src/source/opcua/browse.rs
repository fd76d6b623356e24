//! What a server has: its nodes as a tree, and a tag file for its variables.

use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Write},
};

use opcua::types::{NodeId, VariantScalarTypeId as Wire};
use serde::Serialize;

use super::{
    address::{Namespaces, NodeAddress, stable},
    calls::{Limits, Types, attribute, read},
    connect,
    settings::Server,
};
use crate::{
    pki::Pki,
    tag::{DataType, Rank, Value, ValueType},
    ua::{
        client::{
            Error,
            data::Data,
            services::{
                BROWSE_NAME, DATA_TYPE, Direction, HIERARCHICAL_REFERENCES, NODE_CLASS, Reference, USER_ACCESS_LEVEL, VALUE_RANK,
            },
            session::Session,
        },
        wire::Timestamps,
    },
};

/// The most nodes that are listed.
pub const MAX_NODES: usize = 100_000;
/// The deepest level that is listed.
const MAX_DEPTH: usize = 30;
/// References to an answer; more follow through continuation points.
const MAX_REFERENCES: u32 = 1000;
/// Nodes to a Browse request, whatever the server allows: answers stay small.
const BROWSE_BATCH: usize = 100;
/// Names longer than this are cut, in characters.
const MAX_NAME: usize = 1_000;

const OBJECTS_FOLDER: u32 = 85;
const SERVER: u32 = 2253;
const HAS_PROPERTY: u32 = 46;

/// A node with what hangs below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// As a tag's `address` names it.
    pub address: String,
    /// Its browse name without the namespace.
    pub name: String,
    /// `Object`, `Variable`, `Method`, …
    pub class: String,
    /// A property of its parent, such as a unit.
    pub property: bool,
    /// A variable's type as a tag's `type` names it; none for one that a tag cannot have.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
    /// A variable that this user may write.
    pub writable: bool,
    /// In the server's order; a node that hangs in several places is listed at the first.
    pub children: Vec<Node>,
}

/// What was asked about a node while browsing.
struct Seen {
    node: Node,
    id: NodeId,
    parent: Option<usize>,
}

/// Lists the nodes below `start` (the Objects folder when `None`). The Server object's own nodes are listed only when it is the
/// start. `progress` gets the number of nodes found so far.
///
/// # Errors
/// A sentence for people: what is wrong and what to do about it.
pub async fn browse(
    server: &Server,
    pki: &Pki,
    application_uri: &str,
    start: Option<&NodeAddress>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Node, String> {
    let mut connection = connect::connect(server, pki, application_uri).await?;
    let session = std::sync::Arc::clone(&connection.session);
    let found = tokio::select! {
        found = tree(&session, start, progress) => found,
        reason = connection.lost() => Err(reason),
    };
    connection.close().await;
    found
}

async fn tree(session: &Session, start: Option<&NodeAddress>, progress: &(dyn Fn(usize) + Sync)) -> Result<Node, String> {
    let failed = |error: Error| format!("browsing failed: {error}");
    let namespaces = Namespaces(session.namespaces().await.map_err(failed)?);
    let limits = Limits::read(session).await.map_err(failed)?;
    let start = resolve(session, start, &namespaces).await?;
    let mut seen = vec![root(session, &start, &namespaces).await?];
    let mut known: HashSet<NodeId> = HashSet::from([start.clone()]);
    let mut level = vec![0];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for batch in level.chunks(limits.browse.min(BROWSE_BATCH)) {
            let ids: Vec<NodeId> = batch.iter().map(|&place| seen[place].id.clone()).collect();
            for (&parent, references) in batch.iter().zip(children(session, &ids).await.map_err(failed)?) {
                for reference in references {
                    let id = reference.node.clone();
                    // What lies on another server cannot be read here.
                    if reference.elsewhere || seen.len() >= MAX_NODES || !known.insert(id.clone()) {
                        continue;
                    }
                    if id != NodeId::new(0, SERVER) {
                        next.push(seen.len());
                    }
                    seen.push(Seen { node: node(&reference, &namespaces), id, parent: Some(parent) });
                }
            }
            progress(seen.len());
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    if seen.len() >= MAX_NODES {
        tracing::warn!("the server has more nodes than {MAX_NODES}: name a node to begin at");
    }
    describe(session, &mut seen, limits.read).await.map_err(failed)?;
    Ok(assemble(seen))
}

async fn resolve(session: &Session, start: Option<&NodeAddress>, namespaces: &Namespaces) -> Result<NodeId, String> {
    let Some(start) = start else { return Ok(NodeId::new(0, OBJECTS_FOLDER)) };
    if let Some(node) = start.node_id(namespaces)? {
        return Ok(node);
    }
    let path = start.path().unwrap_or_default();
    let results = session.translate(&NodeAddress::root(), &[path]).await.map_err(|error| format!("browsing failed: {error}"))?;
    let node = results.into_iter().next().and_then(|result| result.node);
    node.ok_or_else(|| "the server finds nothing at this browse path".to_owned())
}

async fn root(session: &Session, id: &NodeId, namespaces: &Namespaces) -> Result<Seen, String> {
    let ids = [attribute(id, BROWSE_NAME), attribute(id, NODE_CLASS)];
    let answers = session.read(&ids, Timestamps::Neither).await.map_err(|error| format!("browsing failed: {error}"))?;
    let address = stable(id, namespaces);
    let name = match answers.first().map(|answer| &answer.value) {
        Some(Data::Name(name)) => cut(name),
        _ => return Err(format!("the server has no node {address}")),
    };
    let class = match answers.get(1).map(|answer| &answer.value) {
        Some(Data::Scalar(_, Value::Int32(class))) => u32::try_from(*class).unwrap_or_default(),
        _ => 0,
    };
    let class = class_name(class).to_owned();
    let node = Node { address, name, class, property: false, value_type: None, writable: false, children: Vec::new() };
    Ok(Seen { node, id: id.clone(), parent: None })
}

/// A node class as the standard names it (Part 3, 8.29).
fn class_name(class: u32) -> &'static str {
    match class {
        1 => "Object",
        2 => "Variable",
        4 => "Method",
        8 => "ObjectType",
        16 => "VariableType",
        32 => "ReferenceType",
        64 => "DataType",
        128 => "View",
        _ => "Unspecified",
    }
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// The hierarchical references forward of each node.
async fn children(session: &Session, ids: &[NodeId]) -> Result<Vec<Vec<Reference>>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    for mut browsed in session.browse(ids, Direction::Forward, HIERARCHICAL_REFERENCES, MAX_REFERENCES).await? {
        let mut references = browsed.references;
        while !browsed.continuation.is_empty() && references.len() < MAX_NODES {
            browsed = session.browse_next(&browsed.continuation).await?;
            // A server that goes on without anything new never ends.
            if browsed.references.is_empty() {
                break;
            }
            references.append(&mut browsed.references);
        }
        found.push(references);
    }
    Ok(found)
}

fn node(reference: &Reference, namespaces: &Namespaces) -> Node {
    Node {
        address: stable(&reference.node, namespaces),
        name: cut(&reference.name),
        class: class_name(reference.class).to_owned(),
        property: reference.kind == NodeId::new(0, HAS_PROPERTY),
        value_type: None,
        writable: false,
        children: Vec::new(),
    }
}

/// Types and rights of the variables.
async fn describe(session: &Session, seen: &mut [Seen], limit: usize) -> Result<(), Error> {
    let attributes = [DATA_TYPE, VALUE_RANK, USER_ACCESS_LEVEL];
    let variables: Vec<usize> = (0..seen.len()).filter(|&place| seen[place].node.class == "Variable").collect();
    let ids: Vec<_> = variables.iter().flat_map(|&place| attributes.map(|wanted| attribute(&seen[place].id, wanted))).collect();
    let answers = read(session, &ids, limit, Timestamps::Neither).await?;
    let mut types = Types::new(session);
    for (place, answers) in variables.into_iter().zip(answers.chunks_exact(attributes.len())) {
        let wire = match &answers[0].value {
            Data::Node(data_type) => types.built_in(data_type).await?,
            _ => None,
        };
        let rank = match answers[1].value {
            Data::Scalar(_, Value::Int32(-1)) | Data::Null => Some(Rank::Scalar),
            Data::Scalar(_, Value::Int32(1)) => Some(Rank::Array(0)),
            // Matrices and values of any rank are nothing that a tag can have.
            _ => None,
        };
        let value_type = wire.and_then(tag_type).zip(rank).map(|(data_type, rank)| ValueType { data_type, rank });
        seen[place].node.value_type = value_type.map(|value_type| value_type.to_string());
        seen[place].node.writable = matches!(answers[2].value, Data::Scalar(_, Value::Byte(level)) if level & 2 != 0);
    }
    Ok(())
}

/// The type that a tag for values of the server's type has.
fn tag_type(wire: Wire) -> Option<DataType> {
    let name = match wire {
        Wire::LocalizedText | Wire::Guid | Wire::XmlElement => "String".to_owned(),
        Wire::StatusCode => "UInt32".to_owned(),
        other => other.to_string(),
    };
    DataType::CONFIGURABLE.into_iter().find(|data_type| data_type.name() == name)
}

/// Children into their parents, from the last on: a parent stands before its children.
fn assemble(mut seen: Vec<Seen>) -> Node {
    while seen.len() > 1 {
        let Some(Seen { mut node, parent, .. }) = seen.pop() else { break };
        node.children.reverse();
        if let Some(parent) = parent.and_then(|parent| seen.get_mut(parent)) {
            parent.node.children.push(node);
        }
    }
    let mut root = seen.swap_remove(0).node;
    root.children.reverse();
    root
}

/// The tree as people read it: one line a node, `name  [type]  address`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(f, 0)
    }
}

impl Node {
    fn line(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let kind = match (&self.value_type, self.writable) {
            (Some(value_type), true) => format!("  [{value_type}, writable]"),
            (Some(value_type), false) => format!("  [{value_type}]"),
            (None, _) if self.class == "Object" => String::new(),
            (None, _) => format!("  [{}]", self.class),
        };
        writeln!(f, "{:indent$}{}{kind}  {}", "", self.name, self.address, indent = depth * 2)?;
        self.children.iter().try_for_each(|child| child.line(f, depth + 1))
    }

    /// How many nodes the tree has.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// A tag file for every variable that a tag can have, as tags of `source` under a folder of its name. Properties are left
    /// out.
    #[must_use]
    pub fn tag_file(&self, source: &str) -> String {
        let mut file = String::new();
        let mut taken = HashMap::new();
        let folder = segment(source);
        self.tags(&folder, source, &mut taken, &mut file);
        file
    }

    fn tags(&self, folder: &str, source: &str, taken: &mut HashMap<String, usize>, file: &mut String) {
        for child in self.children.iter().filter(|child| !child.property) {
            let mut path = format!("{folder}/{}", segment(&child.name));
            // Browse names need not be unique.
            let times = taken.entry(path.clone()).and_modify(|times| *times += 1).or_insert(1);
            if *times > 1 {
                write!(path, " {times}").unwrap_or_default();
            }
            if let Some(value_type) = &child.value_type {
                let writable = if child.writable { "writable = true\n" } else { "" };
                let (path, source, address) = (quoted(&path), quoted(source), quoted(&child.address));
                let entry = format!(
                    "[[tag]]\npath = {path}\ntype = \"{value_type}\"\nsource = {source}\naddress = {address}\n{writable}\n"
                );
                file.push_str(&entry);
            }
            child.tags(&path, source, taken, file);
        }
    }
}

/// A browse name as a path's segment.
fn segment(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    match clean.trim() {
        "" => "_".to_owned(),
        // Reserved as first segments.
        reserved @ ("System" | "Alarms") => format!("{reserved}_"),
        other => other.to_owned(),
    }
}

/// A TOML basic string; JSON escapes in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str, value_type: Option<&str>, property: bool) -> Node {
        Node {
            address: format!("nsu=urn:x;s={name}"),
            name: name.to_owned(),
            class: "Variable".to_owned(),
            property,
            value_type: value_type.map(str::to_owned),
            writable: name == "B",
            children: Vec::new(),
        }
    }

    #[test]
    fn a_tag_file_has_every_variable_once() {
        let mut root = leaf("Objects", None, false);
        let mut parent = leaf("A/\"x\"", Some("Int16[]"), false);
        parent.children = vec![leaf("EURange", Some("Double"), true), leaf("B", Some("Boolean"), false)];
        root.children = vec![parent, leaf("C", None, false), leaf("B", Some("Byte"), false), leaf("B", Some("Byte"), false)];
        let file = root.tag_file("System");
        let expected = [
            ("System_/A_\\\"x\\\"", "Int16[]", "A/\\\"x\\\""),
            ("System_/A_\\\"x\\\"/B", "Boolean", "B"),
            ("System_/B", "Byte", "B"),
            ("System_/B 2", "Byte", "B"),
        ];
        let entries: Vec<&str> = file.split_terminator("\n\n").collect();
        assert_eq!(entries.len(), expected.len(), "{file}");
        for (entry, (path, value_type, name)) in entries.iter().zip(expected) {
            let writable = if name == "B" { "\nwritable = true" } else { "" };
            let wanted = format!(
                "[[tag]]\npath = \"{path}\"\ntype = \"{value_type}\"\nsource = \"System\"\naddress = \"nsu=urn:x;s={name}\"{writable}"
            );
            assert_eq!(*entry, wanted);
        }
    }
}
