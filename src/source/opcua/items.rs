//! From configured addresses to monitored items: resolve, check against the tag's type, create in batches.
//!
//! What is wrong with one tag is told as that tag's quality and in the log; only a failing connection fails the whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opcua::types::{NodeId, VariantScalarTypeId as Wire};

use super::{
    address::{Namespaces, NodeAddress},
    calls::{Limits, Types, attribute, read, too_much},
    convert,
    settings::{OpcuaSettings, TagAddress},
};
use crate::{
    source::SourceTag,
    tag::{Sample, StatusCode, TagId, Timestamp, Value},
    ua::{
        client::{
            Error,
            data::{Data, own_type},
            name,
            services::{Attribute, DATA_TYPE, USER_ACCESS_LEVEL, VALUE},
            session::Session,
            subscription::Item,
        },
        wire::Timestamps,
    },
};

/// Problems of single tags that are logged one by one for each attempt; the rest is counted.
const MAX_LOGGED: usize = 10;
/// The handle of the server's clock among our items.
pub const CLOCK: u32 = u32::MAX;
/// How often the server looks at its clock for us.
const CLOCK_SAMPLING: Duration = Duration::from_secs(1);
/// `Server_ServerStatus_CurrentTime`.
const CURRENT_TIME: u32 = 2258;

const BAD_NODE_ID_INVALID: StatusCode = StatusCode(0x8033_0000);
const BAD_ATTRIBUTE_ID_INVALID: StatusCode = StatusCode(0x8035_0000);
const BAD_FILTER_NOT_ALLOWED: StatusCode = StatusCode(0x8045_0000);
const BAD_MONITORED_ITEM_FILTER_UNSUPPORTED: StatusCode = StatusCode(0x8044_0000);

/// What is known of one tag's node.
#[derive(Clone, Debug, Default)]
struct Node {
    id: Option<NodeId>,
    /// The server's type, for writes.
    wire: Option<Wire>,
    monitored: bool,
}

/// All tags of one session. A tag's client handle is its place plus one.
pub struct Items {
    /// The session.
    pub session: Arc<Session>,
    /// The subscription that holds the items.
    pub subscription: u32,
    /// The tags.
    pub tags: Arc<[SourceTag]>,
    settings: OpcuaSettings,
    limits: Limits,
    namespaces: Namespaces,
    places: HashMap<TagId, usize>,
    nodes: Mutex<Vec<Node>>,
    creating: AtomicBool,
}

/// A tag that cannot be had, why, and its quality.
struct Problem {
    place: usize,
    status: StatusCode,
    reason: String,
}

impl Items {
    /// Reads the server's limits and namespaces; no item is created yet.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn new(
        session: Arc<Session>,
        subscription: u32,
        tags: Arc<[SourceTag]>,
        settings: OpcuaSettings,
    ) -> Result<Self, Error> {
        let namespaces = Namespaces(session.namespaces().await?);
        let limits = Limits::read(&session).await?;
        let places = tags.iter().enumerate().map(|(place, tag)| (tag.id, place)).collect();
        let nodes = Mutex::new(vec![Node::default(); tags.len()]);
        Ok(Self { session, subscription, tags, settings, limits, namespaces, places, nodes, creating: AtomicBool::new(false) })
    }

    /// The tag behind a client handle.
    #[must_use]
    pub fn tag(&self, handle: u32) -> Option<&SourceTag> {
        self.tags.get(usize::try_from(handle).ok()?.checked_sub(1)?)
    }

    /// The tag with its node and the server's type; `None` when it could not be resolved.
    #[must_use]
    pub fn node(&self, tag: TagId) -> Option<(&SourceTag, NodeId, Wire)> {
        let place = *self.places.get(&tag)?;
        let tag = &self.tags[place];
        let node = self.lock()[place].clone();
        let wire = node.wire.unwrap_or_else(|| own_type(tag.value_type.data_type));
        Some((tag, node.id?, wire))
    }

    /// Remembers the type of a value that came, where the server declared only an abstract one.
    pub fn learn(&self, handle: u32, value: &Data) {
        let Some(wire) = value.wire() else { return };
        let place = handle as usize;
        let mut nodes = self.lock();
        if let Some(node) = place.checked_sub(1).and_then(|place| nodes.get_mut(place))
            && node.wire.is_none()
        {
            node.wire = Some(wire);
        }
    }

    /// Watches the server's clock in the same subscription; false when the server does not let us.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn watch_clock(&self) -> Result<bool, Error> {
        let item = monitor(&NodeId::new(0, CURRENT_TIME), CLOCK, CLOCK_SAMPLING, 1, false);
        let codes = self.session.monitor(self.subscription, Timestamps::Neither, &[item]).await?;
        Ok(codes.first().is_some_and(|code| code.is_good()))
    }

    /// Creates the items of every tag that has none yet. What comes back are the qualities of the tags that cannot be had.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn create(&self) -> Result<Vec<Sample>, Error> {
        let missing: Vec<usize> =
            self.lock().iter().enumerate().filter(|(_, node)| !node.monitored).map(|(place, _)| place).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        self.creating.store(true, Ordering::Relaxed);
        let mut problems = Vec::new();
        let resolved = self.resolve(&missing, &mut problems).await?;
        let checked = self.check(resolved, &mut problems).await?;
        self.monitor(&checked, &mut problems).await?;
        self.creating.store(false, Ordering::Relaxed);
        for problem in problems.iter().take(MAX_LOGGED) {
            tracing::warn!(tag = %self.tags[problem.place].path, "{}", problem.reason);
        }
        if problems.len() > MAX_LOGGED {
            tracing::warn!("{} further tags cannot be had", problems.len() - MAX_LOGGED);
        }
        let sample = |problem: Problem| Sample {
            tag: self.tags[problem.place].id,
            value: Value::Null,
            status: problem.status,
            source_time: Timestamp::NULL,
        };
        Ok(problems.into_iter().map(sample).collect())
    }

    /// True while the server is busy with our requests for items: it may have no time to publish. Should it stop answering, the
    /// requests fail.
    #[must_use]
    pub fn creating(&self) -> bool {
        self.creating.load(Ordering::Relaxed)
    }

    /// Reads every monitored tag anew, after notifications were lost.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read_all(&self) -> Result<Vec<Sample>, Error> {
        let nodes: Vec<(usize, NodeId)> = {
            let nodes = self.lock();
            let monitored = nodes.iter().enumerate().filter(|(_, node)| node.monitored);
            monitored.filter_map(|(place, node)| Some((place, node.id.clone()?))).collect()
        };
        let ids: Vec<Attribute> = nodes.iter().map(|(_, node)| attribute(node, VALUE)).collect();
        let values = read(&self.session, &ids, self.limits.read, Timestamps::Source).await?;
        Ok(nodes.iter().zip(values).map(|((place, _), value)| convert::sample(&self.tags[*place], &value)).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, place: usize) -> Option<&TagAddress> {
        self.tags[place].address.downcast_ref()
    }

    /// Addresses to NodeIds.
    async fn resolve(&self, places: &[usize], problems: &mut Vec<Problem>) -> Result<Vec<(usize, NodeId)>, Error> {
        let (mut resolved, mut paths) = (Vec::with_capacity(places.len()), Vec::new());
        for &place in places {
            let Some(address) = self.address(place) else { continue };
            match (address.node.node_id(&self.namespaces), address.node.path()) {
                (Ok(Some(node)), _) => resolved.push((place, node)),
                (Ok(None), Some(path)) => paths.push((place, path)),
                (Ok(None), None) => {}
                (Err(reason), _) => problems.push(Problem { place, status: StatusCode::BAD_CONFIGURATION_ERROR, reason }),
            }
        }
        for batch in paths.chunks(self.limits.translate) {
            let wanted: Vec<&[(u16, String)]> = batch.iter().map(|(_, path)| *path).collect();
            let results = self.session.translate(&NodeAddress::root(), &wanted).await?;
            for ((place, _), result) in batch.iter().zip(results) {
                match result.node {
                    Some(node) if result.status.is_good() => resolved.push((*place, node)),
                    _ => problems.push(Problem {
                        place: *place,
                        status: StatusCode::BAD_CONFIGURATION_ERROR,
                        reason: format!("the server finds nothing at this browse path ({})", name(result.status)),
                    }),
                }
            }
        }
        Ok(resolved)
    }

    /// Type and access of each node against the tag's.
    async fn check(&self, resolved: Vec<(usize, NodeId)>, problems: &mut Vec<Problem>) -> Result<Vec<(usize, NodeId)>, Error> {
        let attributes = [DATA_TYPE, USER_ACCESS_LEVEL];
        let ids: Vec<Attribute> =
            resolved.iter().flat_map(|(_, node)| attributes.map(|wanted| attribute(node, wanted))).collect();
        let values = read(&self.session, &ids, self.limits.read, Timestamps::Neither).await?;
        let mut types = Types::new(&self.session);
        let mut checked = Vec::with_capacity(resolved.len());
        for ((place, node), answers) in resolved.into_iter().zip(values.chunks_exact(attributes.len())) {
            let wire = match &answers[0].value {
                Data::Node(data_type) => types.built_in(data_type).await?,
                _ => None,
            };
            let readable = !matches!(answers[1].value, Data::Scalar(_, Value::Byte(level)) if level & 1 == 0);
            let writable = !matches!(answers[1].value, Data::Scalar(_, Value::Byte(level)) if level & 2 == 0);
            let tag = &self.tags[place];
            if tag.writable && !writable {
                tracing::warn!(tag = %tag.path, "the tag is writable here, but the server does not let us write it");
            }
            let code = answers[0].status;
            let problem = match (code, wire) {
                _ if missing(code) => {
                    Some((StatusCode::BAD_CONFIGURATION_ERROR, format!("the server has no such variable ({})", name(code))))
                }
                _ if !readable => Some((StatusCode::BAD_NOT_READABLE, "the server does not let us read it".to_owned())),
                (_, Some(wire)) if !convert::agrees(wire, tag.value_type, tag.scale.as_ref()) => {
                    Some((StatusCode::BAD_TYPE_MISMATCH, format!("the server's type is {wire}, the tag's {}", tag.value_type)))
                }
                _ => None,
            };
            if let Some((status, reason)) = problem {
                problems.push(Problem { place, status, reason });
            } else {
                self.lock()[place] = Node { id: Some(node.clone()), wire, monitored: false };
                checked.push((place, node));
            }
        }
        Ok(checked)
    }

    /// Creates the items, in batches that the server takes.
    async fn monitor(&self, checked: &[(usize, NodeId)], problems: &mut Vec<Problem>) -> Result<(), Error> {
        let mut filtered: BTreeMap<bool, Vec<(usize, NodeId)>> = BTreeMap::from([(true, checked.to_vec())]);
        let mut limit = self.limits.monitored_items;
        while let Some((filter, wanted)) = filtered.pop_last() {
            let mut at = 0;
            while at < wanted.len() {
                let batch = &wanted[at..wanted.len().min(at + limit)];
                let items: Vec<Item> = batch.iter().map(|(place, node)| self.item(*place, node, filter)).collect();
                let codes = match self.session.monitor(self.subscription, Timestamps::Source, &items).await {
                    Ok(codes) => codes,
                    Err(error) if too_much(&error) && limit > 1 => {
                        limit /= 2;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for ((place, node), code) in batch.iter().zip(codes) {
                    match code {
                        code if code.is_good() => self.lock()[*place].monitored = true,
                        // Some servers take no filter on a value that is not a number.
                        BAD_FILTER_NOT_ALLOWED | BAD_MONITORED_ITEM_FILTER_UNSUPPORTED if filter => {
                            filtered.entry(false).or_default().push((*place, node.clone()));
                        }
                        code => {
                            let status = if missing(code) { StatusCode::BAD_CONFIGURATION_ERROR } else { code };
                            let reason = format!("the server does not monitor it ({})", name(code));
                            problems.push(Problem { place: *place, status, reason });
                        }
                    }
                }
                at += batch.len();
            }
        }
        Ok(())
    }

    fn item(&self, place: usize, node: &NodeId, filter: bool) -> Item {
        let sampling = self.address(place).and_then(|address| address.sampling).unwrap_or(self.settings.sampling);
        let handle = u32::try_from(place + 1).unwrap_or(CLOCK - 1);
        monitor(node, handle, sampling, self.settings.queue, filter)
    }
}

fn monitor(node: &NodeId, handle: u32, sampling: Duration, queue: u32, filter: bool) -> Item {
    Item { attribute: attribute(node, VALUE), handle, sampling, queue, filter }
}

/// Codes that say that the address is wrong, not the server.
fn missing(code: StatusCode) -> bool {
    matches!(code, StatusCode::BAD_NODE_ID_UNKNOWN | BAD_NODE_ID_INVALID | BAD_ATTRIBUTE_ID_INVALID)
}
