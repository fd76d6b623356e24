//! References of every node, both ways. Nothing of this is stored but the children: the way up is read off the paths.

use super::{
    super::ns0::{Core, reference},
    Fixed, Kind, NAMESPACES, NodeRef, OBJECTS, Property, SERVER, STRUCTURE, Space, TWILIO,
    build::{folder_of, source_of},
    folders::Parent,
    members::Members,
    sessions,
};

/// Told of each reference: its type, true when forward, the other node.
pub type Each<'a> = &'a mut dyn FnMut(u32, bool, NodeRef);

impl NodeRef {
    /// An alarm or, with a place, a member of it.
    fn of_alarm(alarm: u32, place: Option<u16>) -> Self {
        place.map_or(Self::Own(alarm), |place| Self::Member(alarm, place))
    }
}

impl Members {
    /// What hangs on the member at `parent`, or on the instance; `node` gives the node at a place.
    pub fn below(&self, parent: Option<u16>, node: &dyn Fn(Option<u16>) -> NodeRef, each: Each<'_>) {
        for (place, member) in (0..).zip(&self.list).filter(|(_, member)| member.parent == parent) {
            each(member.reference, true, node(Some(place)));
        }
    }
}

impl Space {
    /// Calls `each` with reference type, direction and target of every reference of `node`.
    pub fn references(&self, node: NodeRef, each: Each<'_>) {
        match node {
            NodeRef::Core(index) => self.core_references(index, each),
            NodeRef::Own(index) => match self.kind(index) {
                Kind::Tag(_) => self.tag_references(index, each),
                Kind::Alarm(_) => self.alarm_references(index, each),
                Kind::Folder => self.folder_references(index, each),
                Kind::Fixed(fixed) => self.fixed_references(fixed, each),
            },
            NodeRef::Property(owner, _) => {
                each(reference::HAS_PROPERTY, false, NodeRef::Own(owner));
                self.define(node, each);
            }
            NodeRef::Member(alarm, place) => {
                self.member_references(self.members_of(alarm), place, &|place| NodeRef::of_alarm(alarm, place), each);
            }
            NodeRef::Session(number) => self.session_references(number, each),
            NodeRef::SessionMember(number, place) => self.session_member_references(number, place, each),
        }
    }

    fn core_references(&self, index: u32, each: Each<'_>) {
        let core = Core::get();
        for reference in core.references(index) {
            if let Some(target) = core.find(reference.target) {
                each(reference.kind, reference.forward, NodeRef::Core(target));
            }
        }
        match core.id(index) {
            OBJECTS => {
                for child in self.children.of(Parent::Objects) {
                    each(reference::ORGANIZES, true, NodeRef::Own(*child));
                }
            }
            SERVER => self.notified_by(Parent::Objects, each),
            NAMESPACES => each(reference::HAS_COMPONENT, true, self.fixed(Fixed::Metadata)),
            STRUCTURE => each(reference::HAS_SUBTYPE, true, self.fixed(Fixed::DataType)),
            sessions::SUMMARY => self.session_objects(each),
            _ => {}
        }
    }

    fn tag_references(&self, index: u32, each: Each<'_>) {
        let parent = self.above(index);
        let by = match parent {
            NodeRef::Own(parent) if !matches!(self.kind(parent), Kind::Folder) => reference::HAS_COMPONENT,
            _ => reference::ORGANIZES,
        };
        each(by, false, parent);
        if !self.conditions_of(index).is_empty() {
            each(reference::HAS_EVENT_SOURCE, false, notifier(parent));
        }
        self.define(NodeRef::Own(index), each);
        self.properties(index, each);
        for child in self.children.of(Parent::Own(index)) {
            let by = if self.tag(*child).is_some() { reference::HAS_COMPONENT } else { reference::ORGANIZES };
            each(by, true, NodeRef::Own(*child));
        }
        self.tell_conditions(index, each);
    }

    fn tell_conditions(&self, index: u32, each: Each<'_>) {
        for (_, alarm) in self.conditions_of(index) {
            each(reference::HAS_CONDITION, true, NodeRef::Own(self.first_alarm() + alarm));
        }
    }

    fn alarm_references(&self, index: u32, each: Each<'_>) {
        let Some(alarm) = self.alarm(index) else { return };
        if let Some(folder) = self.find_path(&folder_of(&alarm.path)) {
            each(reference::ORGANIZES, false, NodeRef::Own(folder));
        }
        let number = index - self.first_alarm();
        if let Ok(place) = self.doubled.binary_search_by_key(&number, |(alarm, _)| *alarm) {
            each(reference::ORGANIZES, false, NodeRef::Own(self.doubled[place].1));
        }
        if let Some(source) = self.find_path(source_of(&alarm.path)) {
            each(reference::HAS_CONDITION, false, NodeRef::Own(source));
        }
        self.define(NodeRef::Own(index), each);
        self.members_of(index).below(None, &|place| NodeRef::of_alarm(index, place), each);
        for child in self.children.of(Parent::Own(index)) {
            each(reference::HAS_COMPONENT, true, NodeRef::Own(*child));
        }
    }

    fn folder_references(&self, index: u32, each: Each<'_>) {
        let parent = self.above(index);
        each(reference::ORGANIZES, false, parent);
        let is_notifier = self.is_notifier(NodeRef::Own(index));
        if is_notifier {
            each(reference::HAS_NOTIFIER, false, notifier(parent));
        }
        self.define(NodeRef::Own(index), each);
        self.properties(index, each);
        for child in self.children.of(Parent::Own(index)) {
            each(reference::ORGANIZES, true, NodeRef::Own(*child));
        }
        if is_notifier {
            self.notified_by(Parent::Own(index), each);
            self.tell_conditions(index, each);
        }
        if self.has_methods && self.path(index) == TWILIO {
            for (_, fixed) in Fixed::all().filter(|(_, fixed)| matches!(fixed, Fixed::Method(_))) {
                each(reference::HAS_COMPONENT, true, self.fixed(fixed));
            }
        }
    }

    fn fixed_references(&self, fixed: Fixed, each: Each<'_>) {
        match fixed {
            Fixed::Method(method) => {
                if let Some(folder) = self.find_path(TWILIO) {
                    each(reference::HAS_COMPONENT, false, NodeRef::Own(folder));
                }
                each(reference::HAS_PROPERTY, true, self.fixed(Fixed::Arguments(method, true)));
                each(reference::HAS_PROPERTY, true, self.fixed(Fixed::Arguments(method, false)));
            }
            Fixed::Arguments(method, _) => each(reference::HAS_PROPERTY, false, self.fixed(Fixed::Method(method))),
            Fixed::DataType => {
                each(reference::HAS_SUBTYPE, false, standard(STRUCTURE));
                each(reference::HAS_ENCODING, true, self.fixed(Fixed::Encoding));
            }
            Fixed::Encoding => each(reference::HAS_ENCODING, false, self.fixed(Fixed::DataType)),
            Fixed::Metadata => {
                each(reference::HAS_COMPONENT, false, standard(NAMESPACES));
                for (_, fixed) in Fixed::all().filter(|(_, fixed)| matches!(fixed, Fixed::Property(_))) {
                    each(reference::HAS_PROPERTY, true, self.fixed(fixed));
                }
            }
            Fixed::Property(_) => each(reference::HAS_PROPERTY, false, self.fixed(Fixed::Metadata)),
        }
        self.define(self.fixed(fixed), each);
    }

    /// Those of the member at `place`; `node` gives the node at a place, and without one the instance.
    pub(super) fn member_references(&self, members: &Members, place: u16, node: &dyn Fn(Option<u16>) -> NodeRef, each: Each<'_>) {
        let member = &members.list[usize::from(place)];
        each(member.reference, false, node(member.parent));
        self.define(node(Some(place)), each);
        members.below(Some(place), node, each);
    }

    /// HasNotifier and HasEventSource to what lies below a notifier.
    fn notified_by(&self, parent: Parent, each: Each<'_>) {
        for child in self.children.of(parent) {
            if self.is_notifier(NodeRef::Own(*child)) {
                each(reference::HAS_NOTIFIER, true, NodeRef::Own(*child));
            } else if self.tag(*child).is_some() && !self.conditions_of(*child).is_empty() {
                each(reference::HAS_EVENT_SOURCE, true, NodeRef::Own(*child));
            }
        }
    }

    /// The alarms of the node at `index`: the pairs of it and each of them.
    fn conditions_of(&self, index: u32) -> &[(u32, u32)] {
        let begin = self.conditions.partition_point(|(tag, _)| *tag < index);
        let end = self.conditions[begin..].partition_point(|(tag, _)| *tag == index);
        &self.conditions[begin..begin + end]
    }

    /// What the node of ours at `index`, whose path says it, hangs on.
    fn above(&self, index: u32) -> NodeRef {
        let parent = self.path(index).rsplit_once('/').and_then(|(parent, _)| self.find_path(parent));
        parent.map_or_else(|| standard(OBJECTS), NodeRef::Own)
    }

    pub(super) fn define(&self, node: NodeRef, each: Each<'_>) {
        if let Some(target) = Core::get().find(self.type_definition(node)) {
            each(reference::HAS_TYPE_DEFINITION, true, NodeRef::Core(target));
        }
    }

    fn properties(&self, index: u32, each: Each<'_>) {
        for property in Property::ALL.into_iter().filter(|property| self.has_property(index, *property)) {
            each(reference::HAS_PROPERTY, true, NodeRef::Property(index, property));
        }
    }

    fn fixed(&self, fixed: Fixed) -> NodeRef {
        let place = Fixed::all().find(|(_, known)| *known == fixed).map_or(0, |(place, _)| place);
        NodeRef::Own(self.first_fixed() + place)
    }
}

/// The Server object in place of the Objects folder, which is no notifier.
fn notifier(parent: NodeRef) -> NodeRef {
    if parent == standard(OBJECTS) { standard(SERVER) } else { parent }
}

pub fn standard(id: u32) -> NodeRef {
    NodeRef::Core(Core::get().find(id).expect("a node of the standard"))
}
