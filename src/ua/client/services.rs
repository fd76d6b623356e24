//! Reading, writing and looking around (Part 4, 5.8 to 5.10), each with as many results as there were operations.

use opcua::types::{NodeId, VariantScalarTypeId as Wire};

use super::{
    Error,
    data::{self, DataValue, Decoder, Outgoing},
    limits, message,
    session::Session,
};
use crate::{
    tag::StatusCode,
    ua::wire::{Malformed, Read, Reader, Timestamps, Writer},
};

/// `Value` (Part 6, A.1); the others that we read.
pub const VALUE: u32 = 13;
/// `NodeClass`.
pub const NODE_CLASS: u32 = 2;
/// `BrowseName`.
pub const BROWSE_NAME: u32 = 3;
/// `Description`.
pub const DESCRIPTION: u32 = 5;
/// `DataType`.
pub const DATA_TYPE: u32 = 14;
/// `ValueRank`.
pub const VALUE_RANK: u32 = 15;
/// `UserAccessLevel`.
pub const USER_ACCESS_LEVEL: u32 = 18;

/// One attribute of one node.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The node.
    pub node: NodeId,
    /// The attribute's number.
    pub id: u32,
}

impl Attribute {
    /// A ReadValueId of it.
    pub fn write(&self, w: &mut Writer) {
        data::write_node(w, &self.node);
        w.u32(self.id);
        // No range; no encoding: its name is null, as servers take an empty one for a name that they do not know.
        w.null();
        w.u16(0);
        w.null();
    }
}

/// A direction of references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Direction {
    Forward,
    Inverse,
}

/// One reference that Browse found.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The type, a reference type's node.
    pub kind: NodeId,
    /// Where it leads.
    pub node: NodeId,
    /// True when that lies on another server or is named by its namespace's URI.
    pub elsewhere: bool,
    /// The target's browse name without its namespace.
    pub name: String,
    /// The target's class (Part 3, 8.29); zero for unknown.
    pub class: u32,
}

/// What Browse found for one node.
#[derive(Clone, Debug, Default)]
pub struct Browsed {
    /// In the server's order.
    pub references: Vec<Reference>,
    /// Where it goes on; empty at the end.
    pub continuation: Vec<u8>,
}

/// What a browse path leads to.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The server's result.
    pub status: StatusCode,
    /// The node at the path's end, the first of several.
    pub node: Option<NodeId>,
}

/// Checks that an answer has one result for each of `expected` operations.
pub(super) fn results(reader: &mut Reader<'_>, expected: usize) -> Result<usize, Error> {
    let count = reader.count(1)?;
    if count == expected { Ok(count) } else { Err(Error::broken(format!("{count} results answer {expected} operations"))) }
}

impl Session {
    /// Reads attributes.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read(&self, attributes: &[Attribute], stamps: Timestamps) -> Result<Vec<DataValue>, Error> {
        let answer = self
            .call(message::READ, |w| {
                w.f64(0.0);
                w.u32(stamps as u32);
                w.count(attributes.len());
                for attribute in attributes {
                    attribute.write(w);
                }
            })
            .await?;
        let mut decoder = Decoder::new(answer.reader());
        let count = results(&mut decoder.reader, attributes.len())?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(decoder.data_value()?);
        }
        Ok(values)
    }

    /// Writes a value, without status and timestamps: many servers take only the value (Part 4, 5.11.4: Bad_WriteNotSupported).
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn write(&self, node: &NodeId, value: &Outgoing) -> Result<StatusCode, Error> {
        let answer = self
            .call(message::WRITE, |w| {
                w.count(1);
                data::write_node(w, node);
                w.u32(VALUE);
                w.null();
                w.u8(1);
                value.write(w);
            })
            .await?;
        let mut reader = answer.reader();
        results(&mut reader, 1)?;
        Ok(StatusCode(reader.u32()?))
    }

    /// The references of `kind` (with its subtypes) from each of `nodes`, at most `most` of each at a time.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn browse(&self, nodes: &[NodeId], direction: Direction, kind: u32, most: u32) -> Result<Vec<Browsed>, Error> {
        let answer = self
            .call(message::BROWSE, |w| {
                // No view.
                w.standard(0);
                w.time(crate::tag::Timestamp::NULL);
                w.u32(0);
                w.u32(most);
                w.count(nodes.len());
                for node in nodes {
                    data::write_node(w, node);
                    w.u32(u32::from(direction == Direction::Inverse));
                    w.standard(kind);
                    w.boolean(true);
                    w.u32(0);
                    w.u32(63);
                }
            })
            .await?;
        browsed(answer.reader(), nodes.len())
    }

    /// What follows at a continuation point.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn browse_next(&self, continuation: &[u8]) -> Result<Browsed, Error> {
        let answer = self
            .call(message::BROWSE_NEXT, |w| {
                w.boolean(false);
                w.count(1);
                w.bytes(continuation);
            })
            .await?;
        Ok(browsed(answer.reader(), 1)?.pop().unwrap_or_default())
    }

    /// Where browse paths from `start` lead; each is names with their namespaces, along hierarchical references.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn translate(&self, start: &NodeId, paths: &[&[(u16, String)]]) -> Result<Vec<Translated>, Error> {
        let answer = self
            .call(message::TRANSLATE, |w| {
                w.count(paths.len());
                for path in paths {
                    data::write_node(w, start);
                    w.count(path.len());
                    for (namespace, name) in *path {
                        w.standard(HIERARCHICAL_REFERENCES);
                        w.boolean(false);
                        w.boolean(true);
                        w.qualified_name(*namespace, name);
                    }
                }
            })
            .await?;
        let mut reader = answer.reader();
        let count = results(&mut reader, paths.len())?;
        let mut translated = Vec::with_capacity(count);
        for _ in 0..count {
            translated.push(read_translated(&mut reader)?);
        }
        Ok(translated)
    }

    /// The URIs of the server's namespaces, in order.
    ///
    /// # Errors
    /// When the server does not answer or has none.
    pub async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let array = Attribute { node: NodeId::new(0, NAMESPACE_ARRAY), id: VALUE };
        let values = self.read(&[array], Timestamps::Neither).await?;
        match values.into_iter().next().map(|value| value.value) {
            Some(data::Data::Array(Wire::String, names)) if u16::try_from(names.len()).is_ok() => {
                Ok(names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect())
            }
            _ => Err(Error::broken("its namespaces are not a list of texts")),
        }
    }
}

/// `HierarchicalReferences`.
pub const HIERARCHICAL_REFERENCES: u32 = 33;
const NAMESPACE_ARRAY: u32 = 2255;

fn browsed(mut reader: Reader<'_>, expected: usize) -> Result<Vec<Browsed>, Error> {
    let count = results(&mut reader, expected)?;
    let (mut found, mut room) = (Vec::with_capacity(count), limits::REFERENCES);
    for _ in 0..count {
        let _status = reader.u32()?;
        let continuation = reader.bytes()?.unwrap_or_default();
        let references = reader.count(1)?;
        room = room.checked_sub(references).ok_or(Malformed)?;
        if continuation.len() > limits::OPAQUE {
            return Err(Malformed.into());
        }
        let mut browsed = Browsed { references: Vec::new(), continuation: continuation.to_vec() };
        for _ in 0..references {
            browsed.references.push(read_reference(&mut reader)?);
        }
        found.push(browsed);
    }
    Ok(found)
}

fn read_reference(reader: &mut Reader<'_>) -> Read<Reference> {
    let kind = data::node_id(reader.id()?);
    let _forward = reader.boolean()?;
    let (node, elsewhere) = reader.expanded_id()?;
    let node = data::node_id(node);
    let name = reader.qualified_name()?.1.to_owned();
    reader.localized_text()?;
    let class = reader.u32()?;
    reader.expanded_id()?;
    Ok(Reference { kind, node, elsewhere, name, class })
}

fn read_translated(reader: &mut Reader<'_>) -> Read<Translated> {
    let status = StatusCode(reader.u32()?);
    let mut node = None;
    for _ in 0..reader.count(1)? {
        let (target, elsewhere) = reader.expanded_id()?;
        // The whole path was followed, on this server.
        if reader.u32()? == u32::MAX && !elsewhere && node.is_none() {
            node = Some(data::node_id(target));
        }
    }
    Ok(Translated { status, node })
}
