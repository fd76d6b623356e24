//! EventFilter (Part 4, 7.22.3): what a client wants of which events, and what it is told of its filter.

use super::{
    super::{
        limits::Limits,
        wire::{Extension, Id, Malformed, Reader, Writer},
    },
    Event,
    clause::Clause,
    content::{Checked, Content, ElementResult, write_results},
};
use crate::tag::StatusCode;

/// Codes of filters.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_EVENT_FILTER_INVALID: StatusCode = StatusCode(0x8047_0000);
    pub const BAD_FILTER_NOT_ALLOWED: StatusCode = StatusCode(0x8045_0000);
    pub const BAD_MONITORED_ITEM_FILTER_INVALID: StatusCode = StatusCode(0x8043_0000);
    pub const BAD_MONITORED_ITEM_FILTER_UNSUPPORTED: StatusCode = StatusCode(0x8044_0000);
}

const EVENT_FILTER_RESULT: Id<'static> = Id::numeric(0, 736);

/// A filter that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct EventFilter {
    /// One for each clause that the client gave; `None` for one that no event has, which is told as null.
    select: Box<[Option<Clause>]>,
    content: Content,
}

/// What a client is told of its filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilterResult {
    select: Vec<StatusCode>,
    content: Vec<ElementResult>,
}

/// A filter that is refused.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// The operation's StatusCode.
    pub status: StatusCode,
    /// What is wrong where, if the filter could be read.
    pub result: Option<EventFilterResult>,
}

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self { status, result: None }
    }
}

impl EventFilter {
    /// The filter in `extension`, and what there is to tell about it.
    ///
    /// # Errors
    /// `Bad_EventFilterInvalid` without a select clause, with too many, or with a wrong where clause; `Bad_FilterNotAllowed` for a
    /// filter of values; `Bad_MonitoredItemFilterUnsupported` for one of another type; `Bad_MonitoredItemFilterInvalid` for one
    /// that cannot be read.
    pub fn read(extension: &Extension<'_>, limits: &Limits) -> Result<(Self, Option<EventFilterResult>), Refused> {
        let body = match (extension.type_id.standard(), extension.body) {
            (Some(725 | 727), Some(body)) => body,
            (Some(725 | 727), None) => return Err(status::BAD_MONITORED_ITEM_FILTER_INVALID.into()),
            // DataChangeFilter, AggregateFilter.
            (Some(722 | 724 | 728 | 730), _) => return Err(status::BAD_FILTER_NOT_ALLOWED.into()),
            (Some(0), _) => return Err(status::BAD_EVENT_FILTER_INVALID.into()),
            _ => return Err(status::BAD_MONITORED_ITEM_FILTER_UNSUPPORTED.into()),
        };
        let mut reader = Reader::new(body);
        let parts = (|| {
            let count = reader.count(2 + 4 + 4 + 4)?;
            if count > limits.select_clauses {
                return Ok(None);
            }
            let clauses = (0..count).map(|_| Clause::read(&mut reader, limits)).collect::<Result<Vec<_>, _>>()?;
            Ok(Some((clauses, Checked::read(&mut reader, limits)?)))
        })();
        let parts = parts.map_err(|_: Malformed| status::BAD_MONITORED_ITEM_FILTER_INVALID)?;
        let Some((clauses, content)) = parts else { return Err(status::BAD_EVENT_FILTER_INVALID.into()) };
        let select: Vec<_> = clauses.iter().map(|clause| clause.as_ref().err().copied().unwrap_or(StatusCode::GOOD)).collect();
        match content {
            Checked::Wrong(content) => {
                let result = Some(EventFilterResult { select, content });
                Err(Refused { status: status::BAD_EVENT_FILTER_INVALID, result })
            }
            Checked::Content(_) if clauses.is_empty() => Err(status::BAD_EVENT_FILTER_INVALID.into()),
            Checked::Content(content) => {
                let is_good = select.iter().all(|status| status.is_good());
                let result = (!is_good).then(|| EventFilterResult { select, content: Vec::new() });
                Ok((Self { select: clauses.into_iter().map(Result::ok).collect(), content }, result))
            }
        }
    }

    /// True when `event` passes the where clause.
    pub fn passes(&self, event: &Event) -> bool {
        self.content.passes(event)
    }

    /// Writes the fields of `event` that the client selected: an array of Variant.
    pub fn write(&self, event: &Event, w: &mut Writer) {
        w.count(self.select.len());
        for clause in &self.select {
            match clause {
                Some(clause) => clause.write(event, w),
                None => w.u8(0),
            }
        }
    }
}

impl EventFilterResult {
    /// Writes it as an ExtensionObject.
    pub fn write(&self, w: &mut Writer) {
        w.extension(EVENT_FILTER_RESULT, |w| {
            w.count(self.select.len());
            for status in &self.select {
                w.status(*status);
            }
            w.null();
            write_results(&self.content, w);
        });
    }
}
