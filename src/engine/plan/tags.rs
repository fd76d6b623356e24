//! Tags and the connections that they come from (SPEC 3, 4).

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use super::{Role, Settings};
use crate::{
    script::Expression,
    tag::{PathIndex, TagId, TagPath, Value, ValueType},
};

/// A tag (SPEC 3). There can be a million: here is what each has for itself, in its traits what many have alike.
#[derive(Clone, Debug)]
pub struct TagDef {
    /// Its cell in the table.
    pub id: TagId,
    /// Its name everywhere.
    pub path: TagPath,
    /// Where its value comes from.
    pub origin: Origin,
    /// What it has in common with others of its kind; read as if it were the tag's own.
    pub traits: Arc<TagTraits>,
    /// For people.
    pub description: Box<str>,
}

impl TagDef {
    /// A tag without a description.
    #[must_use]
    pub fn new(id: TagId, path: TagPath, origin: Origin, traits: TagTraits) -> Self {
        Self { id, path, origin, traits: Arc::new(traits), description: Box::default() }
    }
}

impl Deref for TagDef {
    type Target = TagTraits;

    fn deref(&self) -> &TagTraits {
        &self.traits
    }
}

/// What many tags have alike. A plant has a few of these for all its tags.
#[derive(Clone, Debug, PartialEq)]
pub struct TagTraits {
    /// Type and rank of its value.
    pub value_type: ValueType,
    /// Raw to engineering units; applied by the source room, both ways.
    pub scale: Option<Scale>,
    /// Symbol or UNECE code as configured.
    pub unit: Option<Arc<str>>,
    /// Low and high end in engineering units.
    pub range: Option<(f64, f64)>,
    /// May be written by clients, pipelines, scripts, acknowledgements.
    pub writable: bool,
    /// The least role that may write it.
    pub write_role: Role,
    /// Thins publishing and history only.
    pub deadband: Option<f64>,
    /// Its past is kept.
    pub history: bool,
    /// How long its source may be quiet.
    pub stale_after: Option<Duration>,
    /// What is kept on a lost source.
    pub on_comm_loss: OnCommLoss,
    /// The value of a memory tag survives restarts.
    pub retain: bool,
}

impl TagTraits {
    /// Those of a tag that only says its type.
    #[must_use]
    pub const fn of(value_type: ValueType) -> Self {
        Self {
            value_type,
            scale: None,
            unit: None,
            range: None,
            writable: false,
            write_role: Role::Engineer,
            deadband: None,
            history: false,
            stale_after: None,
            on_comm_loss: OnCommLoss::Hold,
            retain: false,
        }
    }
}

/// The configuration has no number that differs from itself.
impl Eq for TagTraits {}

impl Hash for TagTraits {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |pair: (f64, f64)| [pair.0.to_bits(), pair.1.to_bits()];
        self.value_type.hash(state);
        self.unit.hash(state);
        self.range.map(bits).hash(state);
        self.scale.map(|scale| bits(scale.eu)).hash(state);
        self.deadband.map(f64::to_bits).hash(state);
        (self.writable, self.write_role, self.stale_after).hash(state);
    }
}

/// Positions in the list of all tags, by id and by path.
#[derive(Clone, Debug, Default)]
pub struct TagIndex {
    /// By id; [`NOWHERE`] for ids that no tag has.
    by_id: Vec<u32>,
    by_path: PathIndex,
}

const NOWHERE: u32 = u32::MAX;

impl TagIndex {
    /// The index of `tags`.
    #[must_use]
    pub fn new(tags: &[TagDef]) -> Self {
        let ids = tags.iter().map(|def| def.id.index() + 1).max().unwrap_or(0);
        let mut index = Self { by_id: vec![NOWHERE; ids], by_path: PathIndex::with_capacity(tags.len()) };
        for (position, def) in tags.iter().enumerate() {
            index.insert(def.id, &def.path, position);
        }
        index
    }

    /// Enters the tag at `position`.
    ///
    /// # Panics
    /// At a position beyond 2³².
    pub fn insert(&mut self, tag: TagId, path: &str, position: usize) {
        let position = u32::try_from(position).expect("fewer than 2^32 tags");
        if self.by_id.len() <= tag.index() {
            self.by_id.resize(tag.index() + 1, NOWHERE);
        }
        self.by_id[tag.index()] = position;
        self.by_path.insert(path, position);
    }

    /// Gives back what was allocated for growth.
    pub fn shrink_to_fit(&mut self) {
        self.by_id.shrink_to_fit();
        self.by_path.shrink_to_fit();
    }

    /// The position of a tag, unless it was removed.
    #[must_use]
    pub fn get(&self, tag: TagId) -> Option<usize> {
        self.by_id.get(tag.index()).filter(|position| **position != NOWHERE).map(|position| *position as usize)
    }

    /// The position of the tag at `path`; `at` gives the path at a position.
    #[must_use]
    #[inline]
    pub fn find<'p>(&self, path: &str, at: impl Fn(usize) -> &'p str) -> Option<usize> {
        self.by_path.find(path, |position| at(position as usize)).map(|position| position as usize)
    }
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A device: the source's name and the driver's address.
    Source {
        /// Name of the source.
        source: Arc<str>,
        /// As the driver understood it.
        address: Settings,
    },
    /// Kept here.
    Memory {
        /// The first value.
        initial: Value,
    },
    /// Computed from other tags.
    Derived(Arc<Expression>),
    /// The program's own: written by the engine or the daemon only, except for alarm command variables.
    System,
}

/// Linear scaling of a raw range onto an engineering range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Raw low and high; they differ.
    pub raw: (f64, f64),
    /// Engineering low and high; they differ.
    pub eu: (f64, f64),
    /// Limits the result to `eu`.
    pub clamp: bool,
}

impl Scale {
    /// Raw to engineering units.
    #[must_use]
    pub fn to_eu(&self, raw: f64) -> f64 {
        let eu = (raw - self.raw.0) / (self.raw.1 - self.raw.0) * (self.eu.1 - self.eu.0) + self.eu.0;
        if self.clamp { eu.clamp(self.eu.0.min(self.eu.1), self.eu.0.max(self.eu.1)) } else { eu }
    }

    /// Engineering units to raw; never clamped, a write out of range is refused before.
    #[must_use]
    pub fn to_raw(&self, eu: f64) -> f64 {
        (eu - self.eu.0) / (self.eu.1 - self.eu.0) * (self.raw.1 - self.raw.0) + self.raw.0
    }
}

/// What a tag shows when its source is lost (SPEC 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCommLoss {
    /// The last value, `UncertainNoCommunicationLastUsableValue`.
    #[default]
    Hold,
    /// `BadNoCommunication`.
    Bad,
}

/// A connection to a device or server.
pub struct SourceDef {
    /// Unique.
    pub name: Arc<str>,
    /// The driver's name: `modbus`, `opcua`, `simulator`.
    pub kind: &'static str,
    /// The driver's own settings.
    pub settings: Settings,
    /// The whole `[[source]]` table and its tags as text: when it is unchanged, a reload leaves the session alone.
    pub fingerprint: u64,
    /// Ids of its state tags and system alarms.
    pub nodes: SourceNodes,
}

impl fmt::Debug for SourceDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceDef").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The tags `System/Gateway/Sources/<name>/…`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct SourceNodes {
    pub connected: TagId,
    pub last_error: TagId,
    pub reconnects: TagId,
    pub good_tags: TagId,
    pub bad_tags: TagId,
    pub reads_per_second: TagId,
    pub write_errors: TagId,
}
