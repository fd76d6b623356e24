//! Events (Part 3, 4.7; Part 5, 6.4): what one is, and the hub through which all of them go.
//!
//! Whoever has something to tell calls [`Hub::emit`] once. The hub knows no subscription: it keeps the last [`KEPT`] events, numbered,
//! and each event item remembers how far it has read. An item that falls behind has lost events and says so.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crate::tag::{StatusCode, Value};

/// Events that are kept for items which have not read them yet.
pub const KEPT: usize = 100_000;

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
}

/// One event, immutable. The same event reaches every item with the same EventId.
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
}

impl Event {
    /// Sorts the fields.
    #[must_use]
    pub fn new(event_type: u32, source: Arc<str>, condition: Option<Arc<str>>, mut fields: Vec<(&'static str, Field)>) -> Self {
        fields.sort_unstable_by_key(|(name, _)| *name);
        Self { event_type, source, condition, fields: fields.into() }
    }

    /// The field at this path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Field> {
        let place = self.fields.binary_search_by_key(&path, |(name, _)| name).ok()?;
        Some(&self.fields[place].1)
    }
}

/// All events of late.
#[derive(Debug, Default)]
pub struct Hub {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the next event.
    next: u64,
    events: VecDeque<Arc<Event>>,
}

/// What an item finds that reads on.
#[derive(Debug, PartialEq)]
pub struct News {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// Where to read on.
    pub next: u64,
    /// Events went before they were read.
    pub lost: bool,
}

impl Hub {
    /// Tells everybody.
    pub fn emit(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.events.len() >= KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::new(event));
        kept.next += 1;
    }

    /// Where an item begins that wants only what is to come.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Up to `most` events from number `from` on.
    #[must_use]
    pub fn since(&self, from: u64, most: usize) -> News {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.next - kept.events.len() as u64;
        let begin = from.max(oldest);
        let skip = usize::try_from(begin - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = kept.events.iter().skip(skip).take(most).cloned().collect();
        News { next: begin + events.len() as u64, lost: from < oldest, events }
    }
}

#[cfg(test)]
mod tests {
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
    fn an_item_reads_on_and_learns_what_it_lost() {
        let hub = Hub::default();
        let begin = hub.now();
        hub.emit(event("a"));
        hub.emit(event("b"));
        let news = hub.since(begin, 1);
        assert_eq!((news.events.len(), news.next, news.lost), (1, 1, false));
        assert_eq!(news.events[0].field("Severity"), Some(&Field::Value(Value::UInt16(1))));
        assert_eq!(news.events[0].field("Time"), None);
        for _ in 0..KEPT {
            hub.emit(event("c"));
        }
        let news = hub.since(news.next, usize::MAX);
        assert_eq!((news.events.len(), news.lost), (KEPT, true));
        assert_eq!(hub.since(news.next, 10).events.len(), 0);
    }
}
