//! An object for each session (Part 5, 6.3.4 to 6.3.6) below `Server/ServerDiagnostics/SessionsDiagnosticsSummary`; its NodeId is the SessionId.
//! No node is stored: who is there is asked, and what each has is read off the type once.

use std::sync::{Arc, OnceLock};

use super::{
    super::{diag::session::OfSession, ns0::reference, wire::Identifier},
    Member, NodeRef, Space,
    members::Members,
    references::{Each, standard},
};

/// Index of the server's own namespace, its ApplicationUri.
pub const NAMESPACE: u16 = 1;
/// SessionDiagnosticsObjectType.
pub const TYPE: u32 = 2_029;
/// SessionsDiagnosticsSummary.
pub const SUMMARY: u32 = 3_706;

fn members() -> &'static Members {
    static MEMBERS: OnceLock<Members> = OnceLock::new();
    MEMBERS.get_or_init(|| Members::mandatory(TYPE))
}

impl NodeRef {
    /// The object of a session or, with a place, a member of it.
    fn of_session(number: u32, place: Option<u16>) -> Self {
        place.map_or(Self::Session(number), |place| Self::SessionMember(number, place))
    }
}

impl Space {
    /// The session with this number, while it is there.
    pub fn session(&self, number: u32) -> Option<Arc<OfSession>> {
        self.sessions.all().into_iter().find(|session| session.number == number)
    }

    /// A member of the object of any session.
    pub fn session_member(place: u16) -> &'static Member {
        &members().list[usize::from(place)]
    }

    pub(super) fn session_name(&self, number: u32) -> String {
        self.session(number).map_or_else(|| number.to_string(), |session| session.browse_name())
    }

    pub(super) fn find_session(&self, identifier: Identifier<'_>) -> Option<NodeRef> {
        let node = match identifier {
            Identifier::Numeric(number) => NodeRef::Session(number),
            Identifier::Text(path) => {
                let (number, suffix) = path.split_at(path.find('/')?);
                NodeRef::SessionMember(number.parse().ok()?, members().find(suffix)?)
            }
            _ => return None,
        };
        let (NodeRef::Session(number) | NodeRef::SessionMember(number, _)) = node else { return None };
        // A number can be written in more than one way, an id cannot.
        let is_it = self.session(number).is_some() && self.with_id(node, |id| id.identifier == identifier);
        is_it.then_some(node)
    }

    pub(super) fn session_objects(&self, each: Each<'_>) {
        for session in self.sessions.all() {
            each(reference::HAS_COMPONENT, true, NodeRef::Session(session.number));
        }
    }

    pub(super) fn session_references(&self, number: u32, each: Each<'_>) {
        each(reference::HAS_COMPONENT, false, standard(SUMMARY));
        self.define(NodeRef::Session(number), each);
        members().below(None, &|place| NodeRef::of_session(number, place), each);
    }

    pub(super) fn session_member_references(&self, number: u32, place: u16, each: Each<'_>) {
        self.member_references(members(), place, &|place| NodeRef::of_session(number, place), each);
    }
}
