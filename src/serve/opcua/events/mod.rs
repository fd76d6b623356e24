//! Events (Part 3, 4.7; Part 5, 6.4): what one is, and the hub through which all of them go.
//!
//! Whoever has something to tell calls [`Hub::emit`] once. The hub knows no subscription: it numbers the events and keeps them until
//! every [`Reader`] has read them, at most [`KEPT`] and [`KEPT_BYTES`]. A reader that falls further behind has lost events and says so. While nobody
//! reads nothing is kept.

pub mod audit;
pub mod base;
pub mod clause;
mod compare;
pub mod content;
mod datum;
pub mod fields;
pub mod filter;
mod like;

pub use self::datum::encoded;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    ns0::Core,
    space::NAMESPACE,
    wire::{Id, Identifier, Writer},
};
use crate::tag::{StatusCode, Value};

/// Events that are kept for those who have not read them yet.
pub const KEPT: usize = 50_000;
/// Bytes of events that are kept for them.
const KEPT_BYTES: usize = 64 << 20;
/// Events after which the hub looks for what everybody has read.
const TIDY: u64 = 256;

/// What a field of an event, or a member of a condition, holds: the types that a tag can have, and those that only events need.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// Also for `Null`.
    Value(Value),
    /// A NodeId of namespace 0.
    Standard(u32),
    /// A NodeId of ours: the path.
    Node(Arc<str>),
    /// A NodeId of ours with an opaque identifier, such as a BranchId.
    Opaque(Arc<[u8]>),
    /// A LocalizedText without locale.
    Text(Arc<str>),
    /// A StatusCode as a value.
    Status(StatusCode),
    /// The member cannot be told now: read, it is this Bad status; in an event, it is a StatusCode in place of the value (Part 9, 5.2).
    Bad(StatusCode),
    /// A whole Variant, encoded, of a type that the others do not have, such as an array of structures.
    Encoded(Arc<[u8]>),
}

impl Field {
    /// Bytes that it takes beside its own place.
    fn heap(&self) -> usize {
        match self {
            Self::Value(value) => value.heap(),
            Self::Node(text) | Self::Text(text) => text.len(),
            Self::Opaque(bytes) | Self::Encoded(bytes) => bytes.len(),
            Self::Standard(_) | Self::Status(_) | Self::Bad(_) => 0,
        }
    }

    /// Writes it as a Variant.
    pub fn write(&self, w: &mut Writer) {
        match self {
            Self::Value(value) => w.variant(value),
            Self::Standard(id) => {
                w.u8(17);
                w.standard(*id);
            }
            Self::Node(path) => {
                w.u8(17);
                w.id(Id::text(NAMESPACE, path));
            }
            Self::Opaque(bytes) => {
                w.u8(17);
                w.id(Id { namespace: NAMESPACE, identifier: Identifier::Opaque(bytes) });
            }
            Self::Text(text) => {
                w.u8(21);
                w.localized_text(text);
            }
            Self::Status(status) | Self::Bad(status) => {
                w.u8(19);
                w.status(*status);
            }
            Self::Encoded(bytes) => w.0.extend_from_slice(bytes),
        }
    }
}

/// One event, immutable. The same event reaches every item with the same EventId.
#[allow(clippy::struct_field_names, reason = "EventType is the standard's word")]
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its EventType, in namespace 0.
    pub event_type: u32,
    /// Path of the node that it comes from: an item on this node, on any folder above it or on the Server object gets it. Empty for
    /// the Server object itself.
    pub source: Arc<str>,
    /// The alarm whose condition it tells of: `<tag path>/Alarms/<name>`, also the path of the ConditionId.
    pub condition: Option<Arc<str>>,
    /// Sorted by name: a field's browse path, names without namespace, joined by `/`, such as `ActiveState/Id`.
    pub fields: Box<[(&'static str, Field)]>,
    tally: Tally,
}

/// Counts the bytes of an event that went through a hub for as long as anybody has it, however many queues it stands in.
#[derive(Debug, Default)]
struct Tally(Option<(Arc<AtomicUsize>, usize)>);

/// A copy is counted when it is told itself.
impl Clone for Tally {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some((counter, bytes)) = &self.0 {
            counter.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

impl Event {
    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fields = self.fields.iter().map(|(_, field)| size_of::<(&str, Field)>() + field.heap());
        size_of::<Self>() + fields.sum::<usize>()
    }

    /// Sorts the fields.
    #[must_use]
    pub fn new(event_type: u32, source: Arc<str>, condition: Option<Arc<str>>, mut fields: Vec<(&'static str, Field)>) -> Self {
        fields.sort_unstable_by_key(|(name, _)| *name);
        Self { event_type, source, condition, fields: fields.into(), tally: Tally::default() }
    }

    /// The field at this path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Field> {
        let place = self.fields.binary_search_by_key(&path, |(name, _)| name).ok()?;
        Some(&self.fields[place].1)
    }
}

/// True for an AuditEvent (Part 5, 6.4.3).
pub fn is_audit(event: &Event) -> bool {
    const AUDIT_EVENT: u32 = 2_052;
    Core::get().is_a(event.event_type, AUDIT_EVENT)
}

/// All events that somebody has still to read.
#[derive(Debug, Default)]
pub struct Hub {
    kept: Mutex<Kept>,
    /// Bytes of all events that somebody still has.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the next event.
    next: u64,
    events: VecDeque<Arc<Event>>,
    /// What they take.
    bytes: usize,
    /// How far each reader has read.
    readers: Vec<Weak<AtomicU64>>,
}

/// One who reads events; what it has not read is kept for it until it is dropped.
#[derive(Debug)]
pub struct Reader(Arc<AtomicU64>);

/// What a reader finds.
#[derive(Debug, PartialEq)]
pub struct News {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// Events went before they were read.
    pub lost: bool,
}

impl Hub {
    /// A hub that counts in `bytes` what the events take that somebody still has.
    #[must_use]
    pub fn new(bytes: Arc<AtomicUsize>) -> Self {
        Self { kept: Mutex::default(), bytes }
    }

    /// Tells everybody. Whoever changes the state that the event tells of changes it first, so that a refresh never sends an older
    /// state after a newer one.
    pub fn emit(&self, mut event: Event) {
        let mut kept = self.lock();
        kept.next += 1;
        if kept.readers.is_empty() {
            return;
        }
        let bytes = event.bytes();
        kept.bytes += bytes;
        while kept.events.len() >= KEPT || (kept.bytes > KEPT_BYTES && !kept.events.is_empty()) {
            kept.forget(1);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        event.tally = Tally(Some((Arc::clone(&self.bytes), bytes)));
        kept.events.push_back(Arc::new(event));
        if kept.next.is_multiple_of(TIDY) {
            kept.tidy();
        }
    }

    /// True while there is a reader.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        !self.lock().readers.is_empty()
    }

    /// A reader of what is to come.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let mut kept = self.lock();
        kept.tidy();
        let reader = Arc::new(AtomicU64::new(kept.next));
        kept.readers.push(Arc::downgrade(&reader));
        Reader(reader)
    }

    /// Up to `most` events that `reader` has not read yet.
    #[must_use]
    pub fn read(&self, reader: &Reader, most: usize) -> News {
        let kept = self.lock();
        let from = reader.0.load(Ordering::Relaxed);
        let oldest = kept.next - kept.events.len() as u64;
        let begin = from.max(oldest);
        let skip = usize::try_from(begin - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = kept.events.iter().skip(skip).take(most).cloned().collect();
        reader.0.store(begin + events.len() as u64, Ordering::Relaxed);
        News { lost: from < oldest, events }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets the oldest.
    fn forget(&mut self, count: usize) {
        self.bytes -= self.events.drain(..count).map(|event| event.bytes()).sum::<usize>();
    }

    /// Forgets readers that are gone, and what all others have read.
    fn tidy(&mut self) {
        let mut slowest = self.next;
        self.readers.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                slowest = slowest.min(reader.load(Ordering::Relaxed));
                true
            }
            None => false,
        });
        let oldest = self.next - self.events.len() as u64;
        let read = usize::try_from(slowest.saturating_sub(oldest)).unwrap_or(usize::MAX).min(self.events.len());
        self.forget(read);
        if self.events.capacity() > 4 * self.events.len() + 1_024 {
            self.events.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod hub_tests {
    use super::*;

    fn event(source: &str) -> Event {
        Event::new(
            2_041,
            source.into(),
            None,
            vec![("Severity", Field::Value(Value::UInt16(1))), ("Message", Field::Text("".into()))],
        )
    }

    #[test]
    fn a_reader_reads_on_and_learns_what_it_lost() {
        let hub = Hub::default();
        hub.emit(event("nobody reads this"));
        assert!(hub.lock().events.is_empty());
        let reader = hub.reader();
        hub.emit(event("a"));
        hub.emit(event("b"));
        let news = hub.read(&reader, 1);
        assert_eq!((news.events.len(), &*news.events[0].source, news.lost), (1, "a", false));
        assert_eq!(news.events[0].field("Severity"), Some(&Field::Value(Value::UInt16(1))));
        assert_eq!(news.events[0].field("Time"), None);
        for _ in 0..KEPT {
            hub.emit(event("c"));
        }
        let news = hub.read(&reader, usize::MAX);
        assert_eq!((news.events.len(), news.lost), (KEPT, true));
        assert_eq!(hub.read(&reader, 10), News { events: Vec::new(), lost: false });
    }

    #[test]
    fn what_everybody_has_read_is_forgotten() {
        let hub = Hub::default();
        let (fast, slow) = (hub.reader(), hub.reader());
        for _ in 0..1_000 {
            hub.emit(event("a"));
        }
        assert_eq!(hub.read(&fast, usize::MAX).events.len(), 1_000);
        hub.lock().tidy();
        assert_eq!(hub.lock().events.len(), 1_000);
        assert_eq!(hub.read(&slow, 900).events.len(), 900);
        hub.lock().tidy();
        assert_eq!(hub.lock().events.len(), 100);
        drop(slow);
        hub.lock().tidy();
        assert!(hub.lock().events.is_empty());
        assert_eq!(hub.lock().readers.len(), 1);
    }
}
