//! Calls in batches that the server takes, and what a data type is encoded as.

use std::collections::HashMap;

use opcua::{
    client::Session,
    types::{
        AttributeId, BrowseDescription, BrowseDirection, DataValue, Error, NodeId, ReadValueId, ReferenceTypeId,
        StatusCode as Code, TimestampsToReturn, VariableId, Variant, VariantScalarTypeId as Wire,
    },
};

/// Operations to a request when the server names no limit of its own, and the most even when it does.
const MAX_OPERATIONS: usize = 1000;
/// The longest chain of data types up to a built-in one.
const MAX_SUBTYPES: usize = 16;

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
        let wanted = [
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        ];
        let ids: Vec<ReadValueId> = wanted.into_iter().map(|variable| attribute(&variable.into(), AttributeId::Value)).collect();
        let values = session.read(&ids, TimestampsToReturn::Neither, 0.0).await?;
        let limit = |at: usize| match values.get(at).and_then(|value| value.value.as_ref()) {
            Some(Variant::UInt32(limit)) if *limit > 0 => (*limit as usize).min(MAX_OPERATIONS),
            _ => MAX_OPERATIONS,
        };
        Ok(Self { read: limit(0), browse: limit(1), translate: limit(2), monitored_items: limit(3) })
    }
}

/// One attribute of one node.
#[must_use]
pub fn attribute(node: &NodeId, attribute: AttributeId) -> ReadValueId {
    ReadValueId { node_id: node.clone(), attribute_id: attribute as u32, ..ReadValueId::default() }
}

/// Reads in batches that the server takes; one answer for each id.
///
/// # Errors
/// When the server does not answer.
pub async fn read(
    session: &Session,
    ids: &[ReadValueId],
    limit: usize,
    stamps: TimestampsToReturn,
) -> Result<Vec<DataValue>, Error> {
    let (mut values, mut limit) = (Vec::with_capacity(ids.len()), limit);
    while values.len() < ids.len() {
        let batch = &ids[values.len()..ids.len().min(values.len() + limit)];
        match session.read(batch, stamps, 0.0).await {
            Ok(answers) if answers.len() == batch.len() => values.extend(answers),
            Ok(_) => return Err(Error::new(Code::BadUnknownResponse, "not one answer for each read")),
            Err(error) if too_much(&error) && limit > 1 => limit /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(values)
}

/// Errors that say that a smaller request may succeed.
#[must_use]
pub fn too_much(error: &Error) -> bool {
    matches!(
        error.status(),
        Code::BadTooManyOperations | Code::BadEncodingLimitsExceeded | Code::BadRequestTooLarge | Code::BadResponseTooLarge
    )
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
            let description = BrowseDescription {
                node_id: current,
                browse_direction: BrowseDirection::Inverse,
                reference_type_id: ReferenceTypeId::HasSubtype.into(),
                include_subtypes: true,
                node_class_mask: 0,
                result_mask: 0,
            };
            let mut results = self.session.browse(&[description], 1, None).await?;
            let parent = results.pop().and_then(|result| result.references.unwrap_or_default().into_iter().next());
            let Some(parent) = parent else { break };
            current = parent.node_id.node_id;
            encoding = standard(&current);
        }
        let wire = match encoding {
            Some(Encoding::As(wire)) => Some(wire),
            Some(Encoding::Abstract) | None => None,
        };
        self.known.insert(data_type.clone(), wire);
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
