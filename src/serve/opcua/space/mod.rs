//! Our own nodes: every tag under its path, folders made from the paths, alarms as conditions with their members, methods, the
//! structure type and the namespace's metadata. Immutable; a new plan makes a new space. Values are not here but in the tag table.
//!
//! A node costs a few bytes, for there can be a million: it is its place in the plan, and what can be computed from that (ids,
//! names, properties, the members of conditions, the way up) is not stored. Stored are the way from a path to the place and the
//! way down.

mod build;
mod changes;
mod fixed;
mod folders;
mod members;
mod references;
mod sessions;

use std::{borrow::Cow, sync::Arc};

pub use fixed::{Argument, Fixed, Metadata, Method};
use folders::{Children, Folders};
pub use members::Member;
use members::{AllMembers, Members};

pub use super::wire::STATISTICS_ENCODING;
use super::{
    diag::{Living, session::OfSession},
    ns0::{Core, reference},
    wire::{Id, Identifier},
};
use crate::{
    engine::plan::{AlarmDef, Plan, TagDef},
    tag::PathIndex,
};

/// Index of `urn:annunciator:tags` in the NamespaceArray.
pub const NAMESPACE: u16 = 2;
/// Its name.
pub const NAMESPACE_URI: &str = "urn:annunciator:tags";
/// The DataType `TwilioUserStatisticsType`.
pub const STATISTICS_TYPE: Id<'static> = Id::numeric(NAMESPACE, 1);
/// The Server object.
pub const SERVER: u32 = 2_253;
const TWILIO: &str = "System/Gateway/Twilio";
const OBJECTS: u32 = 85;
const NAMESPACES: u32 = 11_715;
const STRUCTURE: u32 = 22;

/// A node, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeRef {
    /// In namespace 0, by place in [`Core`].
    Core(u32),
    /// One of ours, by place in [`Space`].
    Own(u32),
    /// A property of one of ours.
    Property(u32, Property),
    /// A member of a condition: the alarm's place in [`Space`], the member's in its list.
    Member(u32, u16),
    /// The object of a session, by its number.
    Session(u32),
    /// A member of it, by its place in the list.
    SessionMember(u32, u16),
}

/// The properties of tags and folders. Their NodeIds are the owner's with `/0:` and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// EURange of a tag.
    Range,
    /// EngineeringUnits of a tag.
    Units,
    /// NodeVersion of a folder: changes when something comes to it or goes from it (Part 3, 5.5.1).
    Version,
}

impl Property {
    const ALL: [Self; 3] = [Self::Range, Self::Units, Self::Version];

    /// Its BrowseName, in namespace 0.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "EURange",
            Self::Units => "EngineeringUnits",
            Self::Version => "NodeVersion",
        }
    }

    /// Its DataType, in namespace 0.
    pub const fn data_type(self) -> u32 {
        match self {
            Self::Range => 884,
            Self::Units => 887,
            Self::Version => 12,
        }
    }
}

/// What a node of ours is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A folder.
    Folder,
    /// An alarm: a condition; its plain variables and its members are its components.
    Alarm(&'a Arc<AlarmDef>),
    /// A tag.
    Tag(&'a TagDef),
    /// One of those that are always there.
    Fixed(Fixed),
}

/// All nodes of ours. Their places: tags as in the plan, then alarms as in the plan, then folders, then the fixed ones.
pub struct Space {
    plan: Arc<Plan>,
    folders: Folders,
    members: AllMembers,
    /// Places of folders, among folders.
    by_path: PathIndex,
    /// What hangs on alarms, folders and the few tags that others lie below.
    children: Children,
    /// The nodes that alarms belong to (tags, or folders of the program), and these alarms (by position), sorted.
    conditions: Vec<(u32, u32)>,
    /// The program's own alarms (by position) that are also browsed in the folder (place) that their path says.
    doubled: Vec<(u32, u32)>,
    has_methods: bool,
    /// Seconds since 1970 at which the plan came in force.
    pub version: u32,
    /// Another number in every space.
    pub generation: usize,
    /// Those that are there now: sessions come and go while a space stands.
    pub sessions: Arc<Living<OfSession>>,
}

impl Space {
    fn first_alarm(&self) -> u32 {
        place(self.plan.tags.len())
    }

    fn first_folder(&self) -> u32 {
        self.first_alarm() + place(self.plan.alarms.len())
    }

    fn first_fixed(&self) -> u32 {
        self.first_folder() + self.folders.len()
    }

    /// How many nodes are ours, without properties and members.
    pub fn len(&self) -> usize {
        (self.first_fixed() + Fixed::COUNT) as usize
    }

    /// What the node of ours at `index` is.
    pub fn kind(&self, index: u32) -> Kind<'_> {
        if let Some(def) = self.plan.tags.get(index as usize) {
            return Kind::Tag(def);
        }
        if let Some(alarm) = self.plan.alarms.get((index - self.first_alarm()) as usize) {
            return Kind::Alarm(alarm);
        }
        if index < self.first_fixed() { Kind::Folder } else { Kind::Fixed(Fixed::at(index - self.first_fixed())) }
    }

    /// The tag at `index`, if it is one.
    pub fn tag(&self, index: u32) -> Option<&TagDef> {
        self.plan.tags.get(index as usize)
    }

    /// The alarm at `index`, if it is one.
    pub fn alarm(&self, index: u32) -> Option<&Arc<AlarmDef>> {
        index.checked_sub(self.first_alarm()).and_then(|alarm| self.plan.alarms.get(alarm as usize))
    }

    /// A member of the alarm at `index`.
    pub fn member(&self, index: u32, member: u16) -> &Member {
        &self.members_of(index).list[usize::from(member)]
    }

    fn members_of(&self, index: u32) -> &Members {
        self.members.get(index - self.first_alarm())
    }

    /// The path of a tag, alarm or folder; empty for others.
    fn path(&self, index: u32) -> &str {
        match self.kind(index) {
            Kind::Tag(def) => &def.path,
            Kind::Alarm(alarm) => &alarm.path,
            Kind::Folder => self.folders.path(index - self.first_folder()),
            Kind::Fixed(_) => "",
        }
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        if let Some(tag) = self.plan.position(path) {
            return Some(place(tag));
        }
        if let Some(alarm) = self.plan.alarm_index.get(path) {
            return Some(self.first_alarm() + place(*alarm));
        }
        self.by_path.find(path, |folder| self.folders.path(folder)).map(|folder| self.first_folder() + folder)
    }

    /// The tag at `path`.
    pub fn find_tag(&self, path: &str) -> Option<&TagDef> {
        self.plan.tag_at(path)
    }

    /// The node that `id` names.
    pub fn find(&self, id: Id<'_>) -> Option<NodeRef> {
        match id {
            Id { namespace: 0, identifier: Identifier::Numeric(number) } => Core::get().find(number).map(NodeRef::Core),
            Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } => self
                .find_path(path)
                .map(NodeRef::Own)
                .or_else(|| self.find_fixed(id.identifier))
                .or_else(|| self.find_below(path)),
            Id { namespace: NAMESPACE, identifier } => self.find_fixed(identifier),
            Id { namespace: sessions::NAMESPACE, identifier } => self.find_session(identifier),
            _ => None,
        }
    }

    fn find_fixed(&self, identifier: Identifier<'_>) -> Option<NodeRef> {
        let place = Fixed::find(identifier)?;
        let is_there = self.has_methods || !matches!(Fixed::at(place), Fixed::Method(_) | Fixed::Arguments(..));
        is_there.then(|| NodeRef::Own(self.first_fixed() + place))
    }

    /// A property or member: what stands after the owner's path is `/0:` and a name, and again.
    fn find_below(&self, path: &str) -> Option<NodeRef> {
        let end = path.find("/0:")?;
        let (owner, suffix) = path.split_at(end);
        let index = self.find_path(owner)?;
        if self.alarm(index).is_some() {
            return self.members_of(index).find(suffix).map(|place| NodeRef::Member(index, place));
        }
        let property = Property::ALL.into_iter().find(|property| suffix.strip_prefix("/0:") == Some(property.name()))?;
        self.has_property(index, property).then_some(NodeRef::Property(index, property))
    }

    /// True when the node of ours at `index` has this property.
    fn has_property(&self, index: u32, property: Property) -> bool {
        match (self.kind(index), property) {
            (Kind::Tag(def), Property::Range) => has_range(def),
            (Kind::Tag(def), Property::Units) => has_units(def),
            (Kind::Folder, Property::Version) => true,
            _ => false,
        }
    }

    /// The NodeVersion of the folder at `index`.
    pub fn version(&self, index: u32) -> u32 {
        self.folders.version(index - self.first_folder())
    }

    /// Calls `with` with the NodeId of `node`.
    pub fn with_id<T>(&self, node: NodeRef, with: impl FnOnce(Id<'_>) -> T) -> T {
        match node {
            NodeRef::Core(index) => with(Id::numeric(0, Core::get().id(index))),
            NodeRef::Own(index) => match self.kind(index) {
                Kind::Fixed(fixed) => fixed.with_id(with),
                _ => with(Id::text(NAMESPACE, self.path(index))),
            },
            NodeRef::Property(owner, property) => {
                with(Id::text(NAMESPACE, &format!("{}/0:{}", self.path(owner), property.name())))
            }
            NodeRef::Member(alarm, member) => {
                with(Id::text(NAMESPACE, &[self.path(alarm), &self.member(alarm, member).suffix].concat()))
            }
            NodeRef::Session(number) => with(Id::numeric(sessions::NAMESPACE, number)),
            NodeRef::SessionMember(number, member) => {
                with(Id::text(sessions::NAMESPACE, &format!("{number}{}", Self::session_member(member).suffix)))
            }
        }
    }

    /// The BrowseName of `node`: namespace and name.
    pub fn browse_name(&self, node: NodeRef) -> (u16, Cow<'_, str>) {
        let (namespace, name) = match node {
            NodeRef::Core(index) => Core::get().browse_name(index),
            NodeRef::Own(index) => match self.kind(index) {
                Kind::Fixed(fixed) => fixed.browse_name(),
                _ => (NAMESPACE, self.path(index).rsplit_once('/').map_or(self.path(index), |(_, name)| name)),
            },
            NodeRef::Property(_, property) => (0, property.name()),
            NodeRef::Member(alarm, member) => (0, self.member(alarm, member).name()),
            NodeRef::SessionMember(_, member) => (0, Self::session_member(member).name()),
            NodeRef::Session(number) => return (sessions::NAMESPACE, self.session_name(number).into()),
        };
        (namespace, name.into())
    }

    /// The NodeClass of `node` (Part 3, 8.29).
    pub fn class(&self, node: NodeRef) -> u32 {
        match node {
            NodeRef::Core(index) => Core::get().class(index),
            NodeRef::Own(index) => match self.kind(index) {
                Kind::Folder | Kind::Alarm(_) => 1,
                Kind::Tag(_) => 2,
                Kind::Fixed(fixed) => fixed.class(),
            },
            NodeRef::Property(..) => 2,
            NodeRef::Member(alarm, member) => self.member(alarm, member).class(),
            NodeRef::Session(_) => 1,
            NodeRef::SessionMember(_, member) => Self::session_member(member).class(),
        }
    }

    /// The type definition of `node`, an id of namespace 0; zero for nodes that have none.
    pub fn type_definition(&self, node: NodeRef) -> u32 {
        let of_core = |index: u32| {
            let is_definition = |r: &&super::ns0::CoreReference| r.forward && r.kind == reference::HAS_TYPE_DEFINITION;
            Core::get().references(index).iter().find(is_definition).map_or(0, |reference| reference.target)
        };
        match node {
            NodeRef::Core(index) => of_core(index),
            NodeRef::Own(index) => match self.kind(index) {
                Kind::Folder => 61,
                Kind::Alarm(_) => self.members_of(index).type_id,
                Kind::Tag(def) => variable_type(def),
                Kind::Fixed(fixed) => fixed.type_definition(),
            },
            NodeRef::Property(..) => 68,
            NodeRef::Member(alarm, member) => of_core(self.member(alarm, member).declaration),
            NodeRef::Session(_) => sessions::TYPE,
            NodeRef::SessionMember(_, member) => of_core(Self::session_member(member).declaration),
        }
    }

    /// True when events come from `node` or from below it (Part 3, 4.7): its EventNotifier has SubscribeToEvents.
    pub fn is_notifier(&self, node: NodeRef) -> bool {
        match node {
            NodeRef::Core(index) => Core::get().id(index) == SERVER,
            NodeRef::Own(index) => {
                (self.first_folder()..self.first_fixed()).contains(&index)
                    && self.folders.is_notifier(index - self.first_folder())
            }
            _ => false,
        }
    }
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 nodes")
}

/// AnalogItemType with a range, AnalogUnitType with a unit alone, else BaseDataVariableType (Part 8, 5.3).
fn variable_type(def: &TagDef) -> u32 {
    match (has_range(def), has_units(def)) {
        (true, _) => 2_368,
        (false, true) => 17_497,
        (false, false) => 63,
    }
}

/// True when `def` has an EURange.
pub fn has_range(def: &TagDef) -> bool {
    def.range.is_some() && def.value_type.data_type.is_numeric()
}

/// True when `def` has EngineeringUnits.
pub fn has_units(def: &TagDef) -> bool {
    def.unit.is_some() && def.value_type.data_type.is_numeric()
}

#[cfg(test)]
mod tests;
