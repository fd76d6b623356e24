//! Our own nodes, built from the plan: every tag under its path, folders made from the paths, alarms, methods, the structure
//! type and the namespace's metadata. Immutable; a new plan makes a new space. Values are not here but in the tag table.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    ns0::{Core, reference},
    wire::{Id, Identifier},
};
use crate::{
    engine::plan::{Origin, Plan, TagDef},
    tag::DataType,
};

/// Index of `urn:annunciator:tags` in the NamespaceArray.
pub const NAMESPACE: u16 = 2;
/// Its name.
pub const NAMESPACE_URI: &str = "urn:annunciator:tags";
/// The DataType `TwilioUserStatisticsType`.
pub const STATISTICS_TYPE: Id<'static> = Id::numeric(NAMESPACE, 1);
/// Its Default Binary encoding.
pub use super::wire::STATISTICS_ENCODING;
const METADATA: u32 = 10;
/// Properties of the NamespaceMetadata object, in the order of their ids after [`METADATA`].
pub const METADATA_PROPERTIES: [&str; 7] = [
    "NamespaceUri",
    "NamespaceVersion",
    "NamespacePublicationDate",
    "IsNamespaceSubset",
    "StaticNodeIdTypes",
    "StaticNumericNodeIdRange",
    "StaticStringNodeIdPattern",
];
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
    /// The EURange of a tag of ours.
    Range(u32),
    /// The EngineeringUnits of a tag of ours.
    Units(u32),
}

/// The methods of `System/Gateway/Twilio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    SendMessage,
    PlaceCall,
    GetUser,
}

/// One argument of a method: name, DataType, what it is.
pub type Argument = (&'static str, Id<'static>, &'static str);

impl Method {
    const ALL: [Self; 3] = [Self::SendMessage, Self::PlaceCall, Self::GetUser];

    /// Its BrowseName.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "SendMessage",
            Self::PlaceCall => "PlaceCall",
            Self::GetUser => "GetUser",
        }
    }

    /// What goes in.
    pub const fn inputs(self) -> &'static [Argument] {
        const TEXT: Id<'static> = Id::numeric(0, 12);
        const INT64: Id<'static> = Id::numeric(0, 8);
        match self {
            Self::SendMessage => {
                const { &[("Number", TEXT, "Phone number, E.164 or national"), ("Message", TEXT, "Text of the message")] }
            }
            Self::PlaceCall => {
                const { &[("Number", TEXT, "Phone number, E.164 or national"), ("Message", TEXT, "Text to be spoken")] }
            }
            Self::GetUser => const { &[("Id", INT64, "Stable id of the user")] },
        }
    }

    /// What comes out.
    pub const fn outputs(self) -> &'static [Argument] {
        const BOOLEAN: Id<'static> = Id::numeric(0, 1);
        match self {
            Self::SendMessage | Self::PlaceCall => const { &[("Accepted", BOOLEAN, "True when Twilio accepted it")] },
            Self::GetUser => const { &[("User", STATISTICS_TYPE, "Name, number and counters of the user")] },
        }
    }
}

/// What a node of ours is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A folder of tags.
    Folder,
    /// An alarm; its plain variables are its components.
    Alarm,
    /// A tag.
    Tag(Arc<TagDef>),
    /// A method.
    Method(Method),
    /// The InputArguments (true) or OutputArguments of a method.
    Arguments(Method, bool),
    /// `TwilioUserStatisticsType`.
    DataType,
    /// Its Default Binary.
    Encoding,
    /// The NamespaceMetadata of our namespace.
    Metadata,
    /// One of [`METADATA_PROPERTIES`].
    MetadataProperty(usize),
}

#[derive(Clone, Debug)]
enum Key {
    Path(Arc<str>),
    Number(u32),
}

/// A node of ours.
#[derive(Debug)]
pub struct Own {
    key: Key,
    /// What it is.
    pub kind: Kind,
    parent: NodeRef,
    second_parent: Option<u32>,
    children: Vec<u32>,
}

impl Own {
    fn new(key: Key, kind: Kind, parent: NodeRef) -> Self {
        Self { key, kind, parent, second_parent: None, children: Vec::new() }
    }

    /// Its NodeId.
    pub fn id(&self) -> Id<'_> {
        match &self.key {
            Key::Path(path) => Id::text(NAMESPACE, path),
            Key::Number(number) => Id::numeric(NAMESPACE, *number),
        }
    }

    /// Its BrowseName: namespace and name.
    pub fn browse_name(&self) -> (u16, &str) {
        match &self.kind {
            Kind::Arguments(_, true) => (0, "InputArguments"),
            Kind::Arguments(_, false) => (0, "OutputArguments"),
            Kind::DataType => (NAMESPACE, DataType::UserStatistics.name()),
            Kind::Encoding => (0, "Default Binary"),
            Kind::Metadata => (NAMESPACE, NAMESPACE_URI),
            Kind::MetadataProperty(property) => (0, METADATA_PROPERTIES[*property]),
            Kind::Folder | Kind::Alarm | Kind::Tag(_) | Kind::Method(_) => match &self.key {
                Key::Path(path) => (NAMESPACE, path.rsplit_once('/').map_or(&**path, |(_, name)| name)),
                Key::Number(_) => (NAMESPACE, ""),
            },
        }
    }

    /// Its NodeClass (Part 3, 8.29).
    pub const fn class(&self) -> u32 {
        match self.kind {
            Kind::Folder | Kind::Alarm | Kind::Encoding | Kind::Metadata => 1,
            Kind::Tag(_) | Kind::Arguments(..) | Kind::MetadataProperty(_) => 2,
            Kind::Method(_) => 4,
            Kind::DataType => 64,
        }
    }

    /// Its type definition; `None` for nodes that have none.
    pub fn type_definition(&self) -> Option<u32> {
        Some(match &self.kind {
            Kind::Folder => 61,
            Kind::Alarm => 58,
            Kind::Encoding => 76,
            Kind::Metadata => 11_616,
            Kind::Arguments(..) | Kind::MetadataProperty(_) => 68,
            Kind::Tag(def) => variable_type(def),
            Kind::Method(_) | Kind::DataType => return None,
        })
    }

    /// The reference type by which `child` hangs on it.
    const fn reference_to(&self, child: &Self) -> u32 {
        match (&self.kind, &child.kind) {
            (_, Kind::Arguments(..) | Kind::MetadataProperty(_)) => reference::HAS_PROPERTY,
            (_, Kind::Encoding) => reference::HAS_ENCODING,
            (_, Kind::Method(_)) | (Kind::Alarm | Kind::Tag(_), Kind::Tag(_)) => reference::HAS_COMPONENT,
            _ => reference::ORGANIZES,
        }
    }
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

/// All nodes of ours.
pub struct Space {
    nodes: Vec<Own>,
    by_path: HashTable<u32>,
    by_number: HashMap<u32, u32>,
    hasher: DefaultHashBuilder,
    /// References from namespace 0 to us: node, reference type, ours.
    from_core: Vec<(u32, u32, u32)>,
    /// Another number in every space.
    pub generation: usize,
}

impl Space {
    /// The space of `plan`.
    pub fn build(plan: &Plan) -> Self {
        static GENERATION: AtomicUsize = AtomicUsize::new(1);
        let mut space = Self {
            nodes: Vec::with_capacity(plan.tags.len() * 5 / 4 + 64),
            by_path: HashTable::with_capacity(plan.tags.len() * 5 / 4 + 64),
            by_number: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            from_core: Vec::new(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        };
        for def in &plan.tags {
            space.insert(def.path.shared(), Kind::Tag(Arc::clone(def)));
        }
        for alarm in &plan.alarms {
            space.insert(Arc::clone(&alarm.path), Kind::Alarm);
        }
        let alarms: HashSet<&str> = plan.alarms.iter().map(|alarm| &*alarm.path).collect();
        for def in &plan.tags {
            let of_alarm = def.path.parent().filter(|parent| alarms.contains(parent));
            let parent = of_alarm.or(def.browse_parent.as_deref()).or_else(|| def.path.parent());
            space.hang(&def.path, parent);
        }
        for alarm in &plan.alarms {
            space.place_alarm(&alarm.path);
        }
        if plan.tags.iter().any(|def| matches!(def.origin, Origin::System) && def.path.starts_with(TWILIO)) {
            space.add_methods();
        }
        space.add_standard();
        space
    }

    /// Alarms are browsed under `Alarms/<tag path>`; those of the program also where their path says.
    fn place_alarm(&mut self, path: &str) {
        let Some((folder, _)) = path.rsplit_once('/') else { return };
        let tag = folder.strip_suffix("/Alarms").unwrap_or(folder);
        self.hang(path, Some(&format!("Alarms/{tag}")));
        if path.starts_with("System/") {
            let NodeRef::Own(second) = self.ensure(Some(folder)) else { return };
            if let Some(alarm) = self.find_path(path) {
                self.nodes[alarm as usize].second_parent = Some(second);
                self.nodes[second as usize].children.push(alarm);
            }
        }
    }

    fn add_methods(&mut self) {
        for method in Method::ALL {
            let path: Arc<str> = format!("{TWILIO}/{}", method.name()).into();
            self.insert(Arc::clone(&path), Kind::Method(method));
            self.hang(&path, Some(TWILIO));
            for (input, name) in [(true, "0:InputArguments"), (false, "0:OutputArguments")] {
                let property: Arc<str> = format!("{path}/{name}").into();
                self.insert(Arc::clone(&property), Kind::Arguments(method, input));
                self.hang(&property, Some(&path));
            }
        }
    }

    fn add_standard(&mut self) {
        let (Identifier::Numeric(data_type), Identifier::Numeric(encoding)) =
            (STATISTICS_TYPE.identifier, STATISTICS_ENCODING.identifier)
        else {
            return;
        };
        let data_type = self.insert_number(data_type, Kind::DataType, STRUCTURE, reference::HAS_SUBTYPE);
        let encoding = self.push(Own::new(Key::Number(encoding), Kind::Encoding, NodeRef::Own(data_type)));
        self.nodes[data_type as usize].children.push(encoding);
        let metadata = self.insert_number(METADATA, Kind::Metadata, NAMESPACES, reference::HAS_COMPONENT);
        for property in 0..METADATA_PROPERTIES.len() {
            let number = METADATA + 1 + u32::try_from(property).expect("seven properties");
            let kind = Kind::MetadataProperty(property);
            let index = self.push(Own::new(Key::Number(number), kind, NodeRef::Own(metadata)));
            self.nodes[metadata as usize].children.push(index);
        }
    }

    fn insert_number(&mut self, number: u32, kind: Kind, parent: u32, by: u32) -> u32 {
        let parent_index = Core::get().find(parent).expect("a node of the standard");
        let index = self.push(Own::new(Key::Number(number), kind, NodeRef::Core(parent_index)));
        self.from_core.push((parent_index, by, index));
        index
    }

    fn insert(&mut self, path: Arc<str>, kind: Kind) -> u32 {
        if let Some(index) = self.find_path(&path) {
            return index;
        }
        self.push(Own::new(Key::Path(path), kind, NodeRef::Own(0)))
    }

    fn push(&mut self, node: Own) -> u32 {
        let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes");
        match &node.key {
            Key::Number(number) => {
                self.by_number.insert(*number, index);
            }
            Key::Path(path) => {
                let hash = self.hasher.hash_one(&**path);
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                self.by_path.insert_unique(hash, index, |index| match &nodes[*index as usize].key {
                    Key::Path(path) => hasher.hash_one(&**path),
                    Key::Number(_) => 0,
                });
            }
        }
        self.nodes.push(node);
        index
    }

    /// Hangs the node at `path` on the node or folder at `parent`.
    fn hang(&mut self, path: &str, parent: Option<&str>) {
        let Some(index) = self.find_path(path) else { return };
        let parent = self.ensure(parent);
        self.attach(index, parent);
    }

    fn attach(&mut self, index: u32, parent: NodeRef) {
        self.nodes[index as usize].parent = parent;
        match parent {
            NodeRef::Own(parent) => self.nodes[parent as usize].children.push(index),
            NodeRef::Core(core) => self.from_core.push((core, reference::ORGANIZES, index)),
            NodeRef::Range(_) | NodeRef::Units(_) => {}
        }
    }

    /// The node at `path`, or a folder made for it; the Objects folder for `None`.
    fn ensure(&mut self, path: Option<&str>) -> NodeRef {
        let Some(path) = path else { return NodeRef::Core(Core::get().find(OBJECTS).expect("a node of the standard")) };
        if let Some(index) = self.find_path(path) {
            return NodeRef::Own(index);
        }
        let index = self.insert(path.into(), Kind::Folder);
        let parent = self.ensure(path.rsplit_once('/').map(|(parent, _)| parent));
        self.attach(index, parent);
        NodeRef::Own(index)
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        let same = |index: &u32| matches!(&self.nodes[*index as usize].key, Key::Path(known) if &**known == path);
        self.by_path.find(hash, same).copied()
    }

    /// The node that `id` names.
    pub fn find(&self, id: Id<'_>) -> Option<NodeRef> {
        match id {
            Id { namespace: 0, identifier: Identifier::Numeric(number) } => Core::get().find(number).map(NodeRef::Core),
            Id { namespace: NAMESPACE, identifier: Identifier::Numeric(number) } => {
                self.by_number.get(&number).copied().map(NodeRef::Own)
            }
            Id { namespace: NAMESPACE, identifier: Identifier::Text(path) } => {
                self.find_path(path).map(NodeRef::Own).or_else(|| self.find_property(path))
            }
            _ => None,
        }
    }

    fn find_property(&self, path: &str) -> Option<NodeRef> {
        let (tag, name) = path.rsplit_once('/')?;
        let index = self.find_path(tag)?;
        let def = self.tag(index)?;
        match name {
            "0:EURange" if has_range(def) => Some(NodeRef::Range(index)),
            "0:EngineeringUnits" if has_units(def) => Some(NodeRef::Units(index)),
            _ => None,
        }
    }

    /// The node of ours at `index`.
    pub fn own(&self, index: u32) -> &Own {
        &self.nodes[index as usize]
    }

    /// The tag at `index`, if it is one.
    pub fn tag(&self, index: u32) -> Option<&Arc<TagDef>> {
        match &self.own(index).kind {
            Kind::Tag(def) => Some(def),
            _ => None,
        }
    }

    /// How many nodes are ours.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Calls `each` with reference type, direction and target of every reference of `node`.
    pub fn references(&self, node: NodeRef, each: &mut dyn FnMut(u32, bool, NodeRef)) {
        let core = Core::get();
        let standard = |id: u32| NodeRef::Core(core.find(id).expect("a node of the standard"));
        match node {
            NodeRef::Core(index) => {
                for reference in core.references(index) {
                    if let Some(target) = core.find(reference.target) {
                        each(reference.kind, reference.forward, NodeRef::Core(target));
                    }
                }
                for (_, kind, target) in self.from_core.iter().filter(|(from, ..)| *from == index) {
                    each(*kind, true, NodeRef::Own(*target));
                }
            }
            NodeRef::Own(index) => self.own_references(index, each),
            NodeRef::Range(tag) | NodeRef::Units(tag) => {
                each(reference::HAS_PROPERTY, false, NodeRef::Own(tag));
                each(reference::HAS_TYPE_DEFINITION, true, standard(68));
            }
        }
    }

    fn own_references(&self, index: u32, each: &mut dyn FnMut(u32, bool, NodeRef)) {
        let node = self.own(index);
        match node.parent {
            NodeRef::Own(parent) => each(self.own(parent).reference_to(node), false, node.parent),
            NodeRef::Core(_) => {
                let kind =
                    self.from_core.iter().find(|(.., own)| *own == index).map_or(reference::ORGANIZES, |(_, kind, _)| *kind);
                each(kind, false, node.parent);
            }
            NodeRef::Range(_) | NodeRef::Units(_) => {}
        }
        if let Some(parent) = node.second_parent {
            each(reference::ORGANIZES, false, NodeRef::Own(parent));
        }
        if let Some(target) = node.type_definition().and_then(|id| Core::get().find(id)) {
            each(reference::HAS_TYPE_DEFINITION, true, NodeRef::Core(target));
        }
        for child in &node.children {
            each(node.reference_to(self.own(*child)), true, NodeRef::Own(*child));
        }
        if let Kind::Tag(def) = &node.kind {
            if has_range(def) {
                each(reference::HAS_PROPERTY, true, NodeRef::Range(index));
            }
            if has_units(def) {
                each(reference::HAS_PROPERTY, true, NodeRef::Units(index));
            }
        }
    }

    /// Calls `with` with the NodeId of `node`.
    pub fn with_id<T>(&self, node: NodeRef, with: impl FnOnce(Id<'_>) -> T) -> T {
        match node {
            NodeRef::Core(index) => with(Id::numeric(0, Core::get().id(index))),
            NodeRef::Own(index) => with(self.own(index).id()),
            NodeRef::Range(tag) => with(Id::text(NAMESPACE, &self.property_path(tag, "EURange"))),
            NodeRef::Units(tag) => with(Id::text(NAMESPACE, &self.property_path(tag, "EngineeringUnits"))),
        }
    }

    fn property_path(&self, tag: u32, name: &str) -> String {
        match self.own(tag).id().identifier {
            Identifier::Text(path) => format!("{path}/0:{name}"),
            _ => name.to_owned(),
        }
    }

    /// The BrowseName of `node`: namespace and name.
    pub fn browse_name(&self, node: NodeRef) -> (u16, &str) {
        match node {
            NodeRef::Core(index) => Core::get().browse_name(index),
            NodeRef::Own(index) => self.own(index).browse_name(),
            NodeRef::Range(_) => (0, "EURange"),
            NodeRef::Units(_) => (0, "EngineeringUnits"),
        }
    }

    /// The NodeClass of `node`.
    pub fn class(&self, node: NodeRef) -> u32 {
        match node {
            NodeRef::Core(index) => Core::get().class(index),
            NodeRef::Own(index) => self.own(index).class(),
            NodeRef::Range(_) | NodeRef::Units(_) => 2,
        }
    }

    /// The type definition of `node`, an id of namespace 0; zero for nodes that have none.
    pub fn type_definition(&self, node: NodeRef) -> u32 {
        match node {
            NodeRef::Core(index) => {
                let references = Core::get().references(index).iter();
                let definition = |r: &&super::ns0::CoreReference| r.forward && r.kind == reference::HAS_TYPE_DEFINITION;
                references.clone().find(definition).map_or(0, |reference| reference.target)
            }
            NodeRef::Own(index) => self.own(index).type_definition().unwrap_or(0),
            NodeRef::Range(_) | NodeRef::Units(_) => 68,
        }
    }
}
