//! What a server has: its nodes as a tree. `tags` makes a tag file of it.

mod tags;

use std::{collections::HashSet, fmt};

use opcua::types::{NodeId, VariantScalarTypeId as Wire};
use serde::Serialize;

pub use self::tags::{LeftOut, TagFile};

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
                BROWSE_NAME, DATA_TYPE, DESCRIPTION, Direction, HIERARCHICAL_REFERENCES, NODE_CLASS, Reference,
                USER_ACCESS_LEVEL, VALUE, VALUE_RANK,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Why a variable cannot be a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_a_tag: Option<String>,
    /// A variable that this user may write.
    pub writable: bool,
    /// A variable's description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The unit of an analog item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The range of an analog item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// In the server's order; a node that hangs in several places is listed at the first.
    pub children: Vec<Node>,
}

/// A server's nodes, and why they are not all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tree {
    /// The node that browsing began at.
    pub root: Node,
    /// What was not listed and why; empty when everything was.
    pub incomplete: Vec<String>,
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
) -> Result<Tree, String> {
    let mut connection = connect::connect(server, pki, application_uri).await?;
    let session = std::sync::Arc::clone(&connection.session);
    let found = tokio::select! {
        found = tree(&session, start, progress) => found,
        reason = connection.lost() => Err(reason),
    };
    connection.close().await;
    found
}

async fn tree(session: &Session, start: Option<&NodeAddress>, progress: &(dyn Fn(usize) + Sync)) -> Result<Tree, String> {
    let failed = |error: Error| format!("browsing failed: {error}");
    let namespaces = Namespaces(session.namespaces().await.map_err(failed)?);
    let limits = Limits::read(session).await.map_err(failed)?;
    let start = resolve(session, start, &namespaces).await?;
    let mut seen = vec![root(session, &start, &namespaces).await?];
    let mut known: HashSet<NodeId> = HashSet::from([start.clone()]);
    let mut level = vec![0];
    let mut missing = Missing::default();
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for batch in level.chunks(limits.browse.min(BROWSE_BATCH)) {
            let ids: Vec<NodeId> = batch.iter().map(|&place| seen[place].id.clone()).collect();
            for (&parent, references) in batch.iter().zip(children(session, &ids, &mut missing).await.map_err(failed)?) {
                for reference in references {
                    let id = reference.node.clone();
                    if reference.elsewhere {
                        missing.elsewhere += 1;
                        continue;
                    }
                    if known.contains(&id) {
                        continue;
                    }
                    if seen.len() >= MAX_NODES {
                        missing.beyond += 1;
                        continue;
                    }
                    known.insert(id.clone());
                    if id != NodeId::new(0, SERVER) {
                        next.push(seen.len());
                    }
                    seen.push(Seen { node: node(&reference, &namespaces), id, parent: Some(parent) });
                }
            }
            progress(seen.len());
        }
        level = next;
        if level.is_empty() {
            break;
        }
    }
    missing.deeper = level.len();
    describe(session, &mut seen, limits.read).await.map_err(failed)?;
    Ok(Tree { root: assemble(seen), incomplete: missing.words() })
}

/// What was not listed.
#[derive(Default)]
struct Missing {
    /// References to nodes on other servers.
    elsewhere: usize,
    /// References beyond [`MAX_NODES`].
    beyond: usize,
    /// Nodes at [`MAX_DEPTH`] whose children were not asked for.
    deeper: usize,
    /// Nodes with more references than were read.
    unread: usize,
}

impl Missing {
    fn words(&self) -> Vec<String> {
        let told = [
            (self.elsewhere, "references lead to other servers".to_owned()),
            (self.beyond, format!("references lead beyond the {MAX_NODES} nodes that are listed: name a node to begin at")),
            (self.deeper, format!("nodes lie {MAX_DEPTH} levels deep; what is below them is not listed: begin at one of them")),
            (self.unread, "nodes have more references than the server gave".to_owned()),
        ];
        told.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
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
    let node = Node { address, name, class, ..Node::default() };
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
async fn children(session: &Session, ids: &[NodeId], missing: &mut Missing) -> Result<Vec<Vec<Reference>>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    for mut browsed in session.browse(ids, Direction::Forward, HIERARCHICAL_REFERENCES, MAX_REFERENCES).await? {
        let mut references = browsed.references;
        while !browsed.continuation.is_empty() && references.len() < MAX_NODES {
            browsed = session.browse_next(&browsed.continuation).await?;
            // A server that goes on without anything new never ends.
            if browsed.references.is_empty() {
                missing.unread += 1;
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
        ..Node::default()
    }
}

/// Types, rights, descriptions, units and ranges of the variables.
async fn describe(session: &Session, seen: &mut [Seen], limit: usize) -> Result<(), Error> {
    let attributes = [DATA_TYPE, VALUE_RANK, USER_ACCESS_LEVEL, DESCRIPTION];
    let variables: Vec<usize> = (0..seen.len()).filter(|&place| seen[place].node.class == "Variable").collect();
    let ids: Vec<_> = variables.iter().flat_map(|&place| attributes.map(|wanted| attribute(&seen[place].id, wanted))).collect();
    let answers = read(session, &ids, limit, Timestamps::Neither).await?;
    let mut types = Types::new(session);
    for (&place, answers) in variables.iter().zip(answers.chunks_exact(attributes.len())) {
        let wire = match &answers[0].value {
            Data::Node(data_type) => types.built_in(data_type).await?,
            _ => None,
        };
        // A server that does not say what this user may do lets them read until it refuses.
        let level = match answers[2].value {
            Data::Scalar(_, Value::Byte(level)) => level,
            _ => CAN_READ,
        };
        let rank = match answers[1].value {
            Data::Scalar(_, Value::Int32(rank)) => rank,
            _ => SCALAR,
        };
        // What the rank leaves open the value shows.
        let rank = if rank == SCALAR || rank >= 1 { rank } else { present_rank(session, &seen[place].id).await?.unwrap_or(rank) };
        let node = &mut seen[place].node;
        match value_type(wire, rank) {
            _ if level & CAN_READ == 0 => node.not_a_tag = Some("this user may not read it".to_owned()),
            Ok(value_type) => node.value_type = Some(value_type.to_string()),
            Err(why) => node.not_a_tag = Some(why),
        }
        node.writable = level & CAN_WRITE != 0;
        if let Data::Scalar(_, Value::String(text)) = &answers[3].value {
            node.description = cut(text);
        }
    }
    analog(session, seen, limit).await
}

/// Bits of AccessLevel (Part 3, 8.57).
const CAN_READ: u8 = 1;
const CAN_WRITE: u8 = 2;

/// The ValueRank of single values (Part 3, 5.6.2); from 1 on it counts dimensions, other values leave it open.
const SCALAR: i32 = -1;

/// The rank of the value that a node has now; `None` when it has none.
async fn present_rank(session: &Session, id: &NodeId) -> Result<Option<i32>, Error> {
    let answers = session.read(&[attribute(id, VALUE)], Timestamps::Neither).await?;
    Ok(match answers.first().map(|answer| &answer.value) {
        Some(Data::Scalar(..)) => Some(SCALAR),
        Some(Data::Array(..)) => Some(1),
        _ => None,
    })
}

fn value_type(wire: Option<Wire>, rank: i32) -> Result<ValueType, String> {
    let rank = match rank {
        SCALAR => Rank::Scalar,
        1 => Rank::Array(0),
        2.. => return Err(format!("its values have {rank} dimensions")),
        _ => return Err("its values may be single ones or arrays".to_owned()),
    };
    let data_type = match wire {
        Some(Wire::ExtensionObject) => return Err("its values are structures".to_owned()),
        Some(wire) => tag_type(wire).ok_or_else(|| format!("no tag has values of type {wire}"))?,
        None => return Err("its data type is abstract or not known".to_owned()),
    };
    Ok(ValueType { data_type, rank })
}

/// EURange and EngineeringUnits (Part 8, 5.3.2) are properties of what they are about.
async fn analog(session: &Session, seen: &mut [Seen], limit: usize) -> Result<(), Error> {
    let about = |node: &Node| node.property && matches!(node.name.as_str(), "EURange" | "EngineeringUnits");
    let places: Vec<usize> = (0..seen.len()).filter(|&place| about(&seen[place].node)).collect();
    let ids: Vec<_> = places.iter().map(|&place| attribute(&seen[place].id, VALUE)).collect();
    let answers = read(session, &ids, limit, Timestamps::Neither).await?;
    for (place, answer) in places.into_iter().zip(answers) {
        let Some(parent) = seen[place].parent else { continue };
        match answer.value {
            Data::Range(low, high) if low.is_finite() && high.is_finite() && low < high => {
                seen[parent].node.range = Some((low, high));
            }
            Data::Unit(unit) if !unit.trim().is_empty() => seen[parent].node.unit = Some(cut(&unit)),
            _ => {}
        }
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
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!(", {}", unit.escape_debug()));
        let kind = match (&self.value_type, self.writable) {
            (Some(value_type), true) => format!("  [{value_type}{unit}, writable]"),
            (Some(value_type), false) => format!("  [{value_type}{unit}]"),
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
}
