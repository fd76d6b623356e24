//! Namespace 0, compact: sorted ids, references in both directions, and every attribute as an encoded Variant. It never
//! changes, so one copy serves the process; what lives (ServerStatus, limits, …) is `live`'s, which is asked first.

use std::{collections::HashMap, sync::OnceLock};

use opcua::types::{
    AttributeId, BinaryEncodable, ContextOwned, DataEncoding, NamespaceMap, NodeSetNamespaceMapper, NumericRange,
    TimestampsToReturn,
};
use opcua_core_namespace::CoreNamespace;
use opcua_nodes::NodeSetImport;

use super::wire::Reader;

/// Attribute ids (Part 6, A.1) that this server knows by name.
pub mod attribute {
    #![allow(missing_docs)]
    pub const NODE_ID: u32 = 1;
    pub const NODE_CLASS: u32 = 2;
    pub const BROWSE_NAME: u32 = 3;
    pub const DISPLAY_NAME: u32 = 4;
    pub const DESCRIPTION: u32 = 5;
    pub const WRITE_MASK: u32 = 6;
    pub const USER_WRITE_MASK: u32 = 7;
    pub const IS_ABSTRACT: u32 = 8;
    pub const EVENT_NOTIFIER: u32 = 12;
    pub const VALUE: u32 = 13;
    pub const DATA_TYPE: u32 = 14;
    pub const VALUE_RANK: u32 = 15;
    pub const ARRAY_DIMENSIONS: u32 = 16;
    pub const ACCESS_LEVEL: u32 = 17;
    pub const USER_ACCESS_LEVEL: u32 = 18;
    pub const MINIMUM_SAMPLING_INTERVAL: u32 = 19;
    pub const HISTORIZING: u32 = 20;
    pub const EXECUTABLE: u32 = 21;
    pub const USER_EXECUTABLE: u32 = 22;
    pub const DATA_TYPE_DEFINITION: u32 = 23;
    pub const ROLE_PERMISSIONS: u32 = 24;
    pub const USER_ROLE_PERMISSIONS: u32 = 25;
    pub const ACCESS_RESTRICTIONS: u32 = 26;
    pub const ACCESS_LEVEL_EX: u32 = 27;
    /// The greatest id that Part 6 gives.
    pub const LAST: u32 = 27;
}

/// Reference types (Part 5, 11).
pub mod reference {
    #![allow(missing_docs)]
    pub const ORGANIZES: u32 = 35;
    pub const HAS_EVENT_SOURCE: u32 = 36;
    pub const HAS_ENCODING: u32 = 38;
    pub const HAS_TYPE_DEFINITION: u32 = 40;
    pub const HAS_SUBTYPE: u32 = 45;
    pub const HAS_PROPERTY: u32 = 46;
    pub const HAS_COMPONENT: u32 = 47;
    pub const HAS_NOTIFIER: u32 = 48;
    pub const HAS_CONDITION: u32 = 9_006;
}

/// A reference between two nodes of namespace 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreReference {
    /// The reference type.
    pub kind: u32,
    /// Direction.
    pub forward: bool,
    /// The other node.
    pub target: u32,
}

/// The nodes of namespace 0.
pub struct Core {
    ids: Vec<u32>,
    references: Vec<CoreReference>,
    /// End of each node's references; it begins where the one before ends.
    reference_ends: Vec<u32>,
    /// Attribute id and where its Variant begins; ends where the next begins.
    attributes: Vec<(u8, u32)>,
    attribute_ends: Vec<u32>,
    encoded: Vec<u8>,
    /// Super type by sub type, for types of references and data.
    supertypes: HashMap<u32, u32>,
}

impl Core {
    /// The one copy; some milliseconds of work at the first call.
    pub fn get() -> &'static Self {
        static CORE: OnceLock<Core> = OnceLock::new();
        CORE.get_or_init(Self::load)
    }

    fn load() -> Self {
        let mut namespaces = NamespaceMap::new();
        let mut mapper = NodeSetNamespaceMapper::new(&mut namespaces);
        CoreNamespace.register_namespaces(&mut mapper);
        let mut items: Vec<_> =
            CoreNamespace.load(&mapper).filter_map(|item| Some((item.node.as_node().node_id().as_u32()?, item))).collect();
        items.sort_by_key(|(id, _)| *id);
        items.dedup_by_key(|(id, _)| *id);

        let owned = ContextOwned::default();
        let context = owned.context();
        let mut core = Self {
            ids: items.iter().map(|(id, _)| *id).collect(),
            references: Vec::new(),
            reference_ends: Vec::new(),
            attributes: Vec::new(),
            attribute_ends: Vec::new(),
            encoded: Vec::new(),
            supertypes: HashMap::new(),
        };
        let mut edges: Vec<Vec<CoreReference>> = vec![Vec::new(); items.len()];
        for (index, (id, item)) in items.iter().enumerate() {
            for reference in &item.references {
                let (Some(kind), Some(target)) = (reference.type_id.as_u32(), reference.target_id.as_u32()) else { continue };
                let Ok(other) = core.ids.binary_search(&target) else { continue };
                edges[index].push(CoreReference { kind, forward: reference.is_forward, target });
                edges[other].push(CoreReference { kind, forward: !reference.is_forward, target: *id });
            }
            for attribute in 1..=attribute::LAST {
                let Ok(wanted) = AttributeId::from_u32(attribute) else { continue };
                let node = item.node.as_node();
                let value = node.get_attribute(TimestampsToReturn::Neither, wanted, &NumericRange::None, &DataEncoding::Binary);
                let Some(value) = value.and_then(|value| value.value) else { continue };
                let begin = u32::try_from(core.encoded.len()).expect("namespace 0 is small");
                core.attributes.push((u8::try_from(attribute).expect("at most 27"), begin));
                value.encode(&mut core.encoded, &context).expect("writing to memory");
            }
            core.attribute_ends.push(u32::try_from(core.attributes.len()).expect("namespace 0 is small"));
        }
        for (mut references, id) in edges.into_iter().zip(core.ids.clone()) {
            references.sort_by_key(|reference| (reference.kind, !reference.forward, reference.target));
            references.dedup();
            for reference in &references {
                if reference.kind == reference::HAS_SUBTYPE && !reference.forward {
                    core.supertypes.insert(id, reference.target);
                }
                // Nobody can follow a back reference from a type to all of its instances' definitions and encodings.
                if reference.forward || !matches!(reference.kind, reference::HAS_TYPE_DEFINITION | 37) {
                    core.references.push(*reference);
                }
            }
            core.reference_ends.push(u32::try_from(core.references.len()).expect("namespace 0 is small"));
        }
        core
    }

    /// The place of `id`.
    pub fn find(&self, id: u32) -> Option<u32> {
        self.ids.binary_search(&id).ok().and_then(|index| u32::try_from(index).ok())
    }

    /// The id at a place that [`Self::find`] gave.
    pub fn id(&self, index: u32) -> u32 {
        self.ids[index as usize]
    }

    /// The references of the node at `index`.
    pub fn references(&self, index: u32) -> &[CoreReference] {
        let index = index as usize;
        let begin = if index == 0 { 0 } else { self.reference_ends[index - 1] as usize };
        &self.references[begin..self.reference_ends[index] as usize]
    }

    /// The encoded Variant of an attribute of the node at `index`.
    pub fn attribute(&self, index: u32, attribute: u32) -> Option<&[u8]> {
        let node = index as usize;
        let begin = if node == 0 { 0 } else { self.attribute_ends[node - 1] as usize };
        let list = &self.attributes[begin..self.attribute_ends[node] as usize];
        let place = list.binary_search_by_key(&attribute, |(id, _)| u32::from(*id)).ok()? + begin;
        let end = self.attributes.get(place + 1).map_or(self.encoded.len(), |(_, begin)| *begin as usize);
        Some(&self.encoded[self.attributes[place].1 as usize..end])
    }

    /// The NodeClass of the node at `index`.
    pub fn class(&self, index: u32) -> u32 {
        let mut reader = Reader::new(self.attribute(index, attribute::NODE_CLASS).unwrap_or_default());
        let _ = reader.u8();
        reader.u32().unwrap_or(0)
    }

    /// The BrowseName of the node at `index`: namespace and name.
    pub fn browse_name(&self, index: u32) -> (u16, &str) {
        let mut reader = Reader::new(self.attribute(index, attribute::BROWSE_NAME).unwrap_or_default());
        let _ = reader.u8();
        reader.qualified_name().unwrap_or((0, ""))
    }

    /// The type above the type `id`.
    pub fn supertype(&self, id: u32) -> Option<u32> {
        self.supertypes.get(&id).copied()
    }

    /// True when `kind` is `of` or one of its sub types.
    pub fn is_a(&self, mut kind: u32, of: u32) -> bool {
        while kind != of {
            match self.supertypes.get(&kind) {
                Some(above) => kind = *above,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_nodes_are_there() {
        let core = Core::get();
        let objects = core.find(85).unwrap();
        assert_eq!((core.class(objects), core.browse_name(objects)), (1, (0, "Objects")));
        let server = CoreReference { kind: reference::ORGANIZES, forward: true, target: 2253 };
        assert!(core.references(objects).contains(&server));
        let back = CoreReference { kind: reference::ORGANIZES, forward: false, target: 85 };
        assert!(core.references(core.find(2253).unwrap()).contains(&back));
        assert!(core.is_a(reference::HAS_PROPERTY, 33) && !core.is_a(reference::HAS_TYPE_DEFINITION, 33));
        assert!(core.is_a(reference::ORGANIZES, reference::ORGANIZES));
        assert_eq!(core.find(4_000_000), None);
    }
}
