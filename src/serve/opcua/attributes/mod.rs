//! Attributes of all nodes as one session sees them.

mod own;
mod range;
mod roles;
mod sessions;
mod values;

use std::sync::Arc;

pub use range::{IndexRange, cut_encoded};
pub use values::{data_type_id, write_reading};
use values::{localized, put};

use super::{
    Server, diag,
    events::{Event, Hub, base::EVENT_ID, is_audit},
    live,
    ns0::{Core, attribute},
    space::{NodeRef, Space},
    subscribe::Sampler,
    wire::{Id, Timestamps, Writer},
};
use crate::{
    clock,
    engine::plan::{Role, TagTraits},
    tag::{Reading, StatusCode, TagId, Tap, Timestamp, Value},
};

/// Codes that only this server uses.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_ATTRIBUTE_ID_INVALID: StatusCode = StatusCode(0x8035_0000);
    pub const BAD_INDEX_RANGE_INVALID: StatusCode = StatusCode(0x8036_0000);
    pub const BAD_INDEX_RANGE_NO_DATA: StatusCode = StatusCode(0x8037_0000);
    pub const BAD_DATA_ENCODING_INVALID: StatusCode = StatusCode(0x8038_0000);
    pub const BAD_DATA_ENCODING_UNSUPPORTED: StatusCode = StatusCode(0x8039_0000);
}

/// The address space as one session sees it.
#[derive(Clone)]
pub struct View {
    /// The program.
    pub server: Arc<Server>,
    /// The nodes of ours.
    pub space: Arc<Space>,
    /// What the session may do.
    pub role: Role,
}

impl View {
    /// Writes the DataValue of an attribute, as Read answers it.
    pub fn read(
        &self,
        node: NodeRef,
        attribute: u32,
        range: Option<IndexRange>,
        timestamps: Timestamps,
        now: Timestamp,
        w: &mut Writer,
    ) {
        if let (NodeRef::Own(index), attribute::VALUE) = (node, attribute)
            && let Some(def) = self.space.tag(index)
        {
            write_reading(&self.server.gateway.table().read(def.id), range, timestamps, now, w);
            return;
        }
        let mut encoded = Writer::default();
        let mut result = self.variant(node, attribute, &mut encoded);
        if let (Ok(()), Some(range)) = (result, range) {
            result = cut_encoded(&mut encoded, range);
        }
        match result {
            Ok(()) => {
                let source = if attribute == attribute::VALUE { now } else { Timestamp::NULL };
                w.data_value(timestamps, StatusCode::GOOD, source, now, |w| w.0.extend_from_slice(&encoded.0));
            }
            Err(status) => w.failed_value(status),
        }
    }

    /// Writes the Variant of an attribute other than the Value of a tag.
    pub fn variant(&self, node: NodeRef, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        if let NodeRef::Session(number) | NodeRef::SessionMember(number, _) = node {
            self.space.session(number).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
        }
        match (node, attribute) {
            (_, attribute::NODE_ID) => {
                w.u8(17);
                self.space.with_id(node, |id| w.id(id));
                Ok(())
            }
            (NodeRef::Core(index), _) => self.core_variant(index, attribute, w),
            (NodeRef::Member(alarm, member), _) => self.member_variant(alarm, member, attribute, w),
            (_, attribute::NODE_CLASS) => put(w, &Value::Int32(self.space.class(node).cast_signed())),
            (_, attribute::BROWSE_NAME) => {
                let (namespace, name) = self.space.browse_name(node);
                w.u8(20);
                w.qualified_name(namespace, &name);
                Ok(())
            }
            (_, attribute::DISPLAY_NAME) => localized(w, &self.space.browse_name(node).1),
            (_, attribute::WRITE_MASK | attribute::USER_WRITE_MASK) => put(w, &Value::UInt32(0)),
            (NodeRef::Own(index), _) => self.own_variant(index, attribute, w),
            (NodeRef::Property(owner, property), _) => self.property_variant(owner, property, attribute, w),
            (NodeRef::Session(_), _) => self.session_variant(attribute, w),
            (NodeRef::SessionMember(number, member), _) => self.session_member_variant(number, member, attribute, w),
        }
    }

    fn core_variant(&self, index: u32, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        let core = Core::get();
        let id = core.id(index);
        if attribute == attribute::VALUE
            && let Some(table) = diag::Table::of(id)
        {
            let may = table.is_for(self.role);
            return may.then(|| table.write(&self.server, w)).ok_or(StatusCode::BAD_USER_ACCESS_DENIED);
        }
        if attribute == attribute::VALUE && live::write(&self.server, id, w)? {
            return Ok(());
        }
        if attribute == attribute::EVENT_NOTIFIER && core.attribute(index, attribute).is_some() {
            return put(w, &Value::Byte(u8::from(self.space.is_notifier(NodeRef::Core(index)))));
        }
        if matches!(attribute, attribute::USER_EXECUTABLE | attribute::EXECUTABLE) && core.class(index) == 4 {
            let executable =
                roles::standard_method(id).is_some_and(|least| attribute == attribute::EXECUTABLE || self.role >= least);
            return put(w, &Value::Boolean(executable));
        }
        let found = core
            .attribute(index, attribute)
            .ok_or(())
            // A variable without a value in the node set has none here either.
            .or_else(|()| {
                if attribute == attribute::VALUE && core.class(index) == 2 {
                    Ok(&[0_u8][..])
                } else {
                    Err(status::BAD_ATTRIBUTE_ID_INVALID)
                }
            })?;
        w.0.extend_from_slice(found);
        Ok(())
    }
}

impl Sampler for View {
    fn reading(&self, tag: TagId) -> Reading {
        self.server.gateway.table().read(tag)
    }

    fn version(&self, tag: TagId) -> u64 {
        self.server.gateway.table().version(tag)
    }

    fn block_version(&self, tag: TagId) -> u64 {
        self.server.gateway.table().block_version(tag)
    }

    fn tap(&self, tag: TagId, room: usize) -> Arc<Tap> {
        self.server.gateway.table().tap([tag], room)
    }

    fn attribute(&self, node: NodeRef, attribute: u32) -> Result<Vec<u8>, StatusCode> {
        let mut w = Writer::default();
        self.variant(node, attribute, &mut w)?;
        Ok(w.0)
    }

    fn find(&self, id: Id<'_>) -> Option<NodeRef> {
        self.space.find(id)
    }

    fn tag(&self, node: NodeRef) -> Option<(TagId, Arc<TagTraits>)> {
        match node {
            NodeRef::Own(index) => self.space.tag(index).map(|def| (def.id, Arc::clone(&def.traits))),
            _ => None,
        }
    }

    fn generation(&self) -> usize {
        self.space.generation
    }

    fn wall(&self) -> Timestamp {
        clock::now()
    }

    fn hub(&self) -> &Hub {
        &self.server.events
    }

    /// What others do here is for those who may change anything.
    fn may_see(&self, event: &Event) -> bool {
        self.role >= Role::Engineer || !is_audit(event)
    }

    fn event_id(&self) -> [u8; EVENT_ID] {
        let mut id = [0; EVENT_ID];
        opcua::crypto::random::bytes(&mut id);
        id
    }
}

/// Now, for server timestamps.
pub fn now() -> Timestamp {
    clock::now()
}
