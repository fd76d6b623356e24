//! Events of a changed address space (Part 3, 9.32; Part 5, 6.4.30 ff.): nodes that came and went with a reload.

use super::{
    super::{space::NAMESPACE, wire::Id},
    Event,
    base::{Base, EVENT_ID},
    datum::encoded,
};
use crate::tag::Timestamp;

/// BaseModelChangeEventType: something changed.
const BASE_CHANGE: u32 = 2_132;
/// GeneralModelChangeEventType: this changed.
const GENERAL_CHANGE: u32 = 2_133;
const STRUCTURE: Id<'static> = Id::numeric(0, 879);
const SEVERITY: u16 = 200;
/// Changes that are told one by one; of more it is only told that there were some.
pub const MAX_CHANGES: usize = 5_000;

/// What happened to a node (Part 5, 12.2.13), to be or-ed.
pub mod verb {
    #![allow(missing_docs)]
    pub const NODE_ADDED: u8 = 1;
    pub const NODE_DELETED: u8 = 2;
    pub const REFERENCE_ADDED: u8 = 4;
    pub const REFERENCE_DELETED: u8 = 8;
    pub const DATA_TYPE_CHANGED: u8 = 16;
}

/// One changed node of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path.
    pub path: Box<str>,
    /// Its type definition, in namespace 0; zero for none.
    pub type_definition: u32,
    /// See [`verb`].
    pub verb: u8,
}

/// The event that tells of `changes`; `None` without any.
#[must_use]
pub fn changed(changes: &[Change], id: [u8; EVENT_ID], time: Timestamp) -> Option<Event> {
    if changes.is_empty() {
        return None;
    }
    let is_told = changes.len() <= MAX_CHANGES;
    let event_type = if is_told { GENERAL_CHANGE } else { BASE_CHANGE };
    let message = format!("{} nodes changed", changes.len()).into();
    let mut more = Vec::new();
    if is_told {
        let list = encoded(|w| {
            w.array(22, changes.len());
            for change in changes {
                w.extension(STRUCTURE, |w| {
                    w.id(Id::text(NAMESPACE, &change.path));
                    w.standard(change.type_definition);
                    w.u8(change.verb);
                });
            }
        });
        more.push(("Changes", list));
    }
    Some(Base { id, event_type, source: "".into(), time, message, severity: SEVERITY }.event(more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_are_told_as_one() {
        let change = Change { path: "P/T".into(), type_definition: 63, verb: verb::NODE_ADDED };
        let event = |count| changed(&vec![change.clone(); count], [1; EVENT_ID], Timestamp::NULL);
        assert_eq!(event(0), None);
        let few = event(MAX_CHANGES).unwrap();
        assert!(few.event_type == GENERAL_CHANGE && few.field("Changes").is_some());
        let many = event(MAX_CHANGES + 1).unwrap();
        assert!(many.event_type == BASE_CHANGE && many.field("Changes").is_none());
    }
}
