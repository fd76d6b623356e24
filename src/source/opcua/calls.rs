//! Calls in batches that the server takes, and what a data type is encoded as.

use std::collections::HashMap;

use opcua::types::{NodeId, VariantScalarTypeId as Wire};

use crate::{
    tag::{StatusCode, Value},
    ua::{
        client::{
            Error,
            data::{Data, DataValue},
            services::{Attribute, Direction, VALUE},
            session::Session,
        },
        wire::Timestamps,
    },
};

/// Operations to a request when the server names no limit of its own, and the most even when it does.
const MAX_OPERATIONS: usize = 1000;
/// The longest chain of data types up to a built-in one.
const MAX_SUBTYPES: usize = 16;
/// Data types of one server that are remembered.
const MAX_TYPES: usize = 10_000;

const HAS_SUBTYPE: u32 = 45;
const MAX_NODES_PER_READ: u32 = 11_705;
const MAX_NODES_PER_BROWSE: u32 = 11_710;
const MAX_NODES_PER_TRANSLATE: u32 = 11_712;
const MAX_MONITORED_ITEMS_PER_CALL: u32 = 11_714;

/// Answers that say that a smaller request may succeed: BadTooManyOperations, BadEncodingLimitsExceeded, BadRequestTooLarge,
/// BadResponseTooLarge.
const TOO_MUCH: [u32; 4] = [0x8010_0000, 0x8008_0000, 0x80B8_0000, 0x80B9_0000];

/// The server's OperationLimits (Part 5, 6.3.11), those that we use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// MaxNodesPerRead.
    pub read: usize,
    /// MaxNodesPerBrowse.
    pub browse: usize,
    /// MaxNodesPerTranslateBrowsePathsToNodeIds.
    pub translate: usize,
    /// MaxMonitoredItemsPerCall.
    pub monitored_items: usize,
}

impl Limits {
    /// Asks the server.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn read(session: &Session) -> Result<Self, Error> {
        let wanted = [MAX_NODES_PER_READ, MAX_NODES_PER_BROWSE, MAX_NODES_PER_TRANSLATE, MAX_MONITORED_ITEMS_PER_CALL];
        let ids: Vec<Attribute> = wanted.into_iter().map(|variable| attribute(&NodeId::new(0, variable), VALUE)).collect();
        let values = session.read(&ids, Timestamps::Neither).await?;
        let limit = |at: usize| match values.get(at).map(|value| &value.value) {
            Some(Data::Scalar(_, Value::UInt32(limit))) if *limit > 0 => (*limit as usize).min(MAX_OPERATIONS),
            _ => MAX_OPERATIONS,
        };
        Ok(Self { read: limit(0), browse: limit(1), translate: limit(2), monitored_items: limit(3) })
    }
}

/// One attribute of one node.
#[must_use]
pub fn attribute(node: &NodeId, id: u32) -> Attribute {
    Attribute { node: node.clone(), id }
}

/// Reads in batches that the server takes; one answer for each id.
///
/// # Errors
/// When the server does not answer.
pub async fn read(session: &Session, ids: &[Attribute], limit: usize, stamps: Timestamps) -> Result<Vec<DataValue>, Error> {
    let (mut values, mut limit) = (Vec::with_capacity(ids.len()), limit);
    while values.len() < ids.len() {
        let batch = &ids[values.len()..ids.len().min(values.len() + limit)];
        match session.read(batch, stamps).await {
            Ok(answers) => values.extend(answers),
            Err(error) if too_much(&error) && limit > 1 => limit /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(values)
}

/// Errors that say that a smaller request may succeed.
#[must_use]
pub fn too_much(error: &Error) -> bool {
    matches!(error, Error::Refused(StatusCode(code)) if TOO_MUCH.contains(&(code & 0xFFFF_0000)))
}

/// The server's data types as far as they were asked for.
pub struct Types<'a> {
    session: &'a Session,
    known: HashMap<NodeId, Option<Wire>>,
}

impl<'a> Types<'a> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(session: &'a Session) -> Self {
        Self { session, known: HashMap::new() }
    }

    /// The built-in type that a data type is encoded as, found through its supertypes; `None` for an abstract or unknown one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn built_in(&mut self, data_type: &NodeId) -> Result<Option<Wire>, Error> {
        if let Some(wire) = self.known.get(data_type) {
            return Ok(*wire);
        }
        let mut current = data_type.clone();
        let mut encoding = standard(&current);
        for _ in 0..MAX_SUBTYPES {
            if encoding.is_some() {
                break;
            }
            let mut results = self.session.browse(&[current], Direction::Inverse, HAS_SUBTYPE, 1).await?;
            let Some(parent) = results.pop().and_then(|result| result.references.into_iter().next()) else { break };
            current = parent.node;
            encoding = standard(&current);
        }
        let wire = match encoding {
            Some(Encoding::As(wire)) => Some(wire),
            Some(Encoding::Abstract) | None => None,
        };
        if self.known.len() < MAX_TYPES {
            self.known.insert(data_type.clone(), wire);
        }
        Ok(wire)
    }
}

/// How the values of a data type are encoded.
enum Encoding {
    /// As this built-in type.
    As(Wire),
    /// Differently for each value.
    Abstract,
}

/// The encoding of those data types of namespace 0 that say it themselves (Part 3, 8; Part 5, 12).
fn standard(data_type: &NodeId) -> Option<Encoding> {
    match data_type.as_u32().filter(|_| data_type.namespace == 0)? {
        24 | 26..=28 => Some(Encoding::Abstract),
        29 => Some(Encoding::As(Wire::Int32)),
        number @ 1..=23 => Wire::try_from(number).ok().map(Encoding::As),
        _ => None,
    }
}
