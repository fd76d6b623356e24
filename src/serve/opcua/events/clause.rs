//! SimpleAttributeOperand (Part 4, 7.7.4.5): names one field of an event, in select clauses and in where clauses.

use super::{
    super::{
        attributes::{IndexRange, status as attributes},
        limits::Limits,
        ns0::{Core, attribute},
        wire::{Read, Reader, Writer},
    },
    Event, Field,
    datum::Datum,
    fields::{self, BASE_EVENT, CONDITION},
};
use crate::tag::{StatusCode, Value};

/// Codes of operands.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_TYPE_DEFINITION_INVALID: StatusCode = StatusCode(0x8063_0000);
    pub const BAD_BROWSE_NAME_INVALID: StatusCode = StatusCode(0x8060_0000);
}

/// A field as a client names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Only events of this type have it.
    of: u32,
    what: What,
    /// All events have it.
    is_of_all: bool,
    range: Option<IndexRange>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// The ConditionId (Part 9, 5.5.2).
    Condition,
    /// The Value of the variable at this path.
    Value(&'static str),
    /// The NodeId of the node at this path, for conditions.
    Node(&'static str),
}

/// What a clause gives for one event.
enum Found<'a> {
    Nothing,
    Borrowed(&'a Field),
    Made(Field),
}

impl Clause {
    /// Reads an operand. The outer error is a malformed encoding; the inner one is what the client is told of this clause.
    ///
    /// # Errors
    /// `Malformed`; inside: `Bad_TypeDefinitionInvalid`, `Bad_BrowseNameInvalid`, `Bad_NodeIdUnknown` for a field that no event
    /// will ever have, `Bad_AttributeIdInvalid`, `Bad_IndexRangeInvalid`.
    pub fn read(reader: &mut Reader<'_>, limits: &Limits) -> Read<Result<Self, StatusCode>> {
        let of = reader.id()?;
        let mut path = Path::default();
        for _ in 0..reader.count(6)? {
            let (namespace, name) = reader.qualified_name()?;
            path.push(namespace, name, limits);
        }
        let (attribute, range) = (reader.u32()?, reader.text()?);
        let of = if of.is_null() { Some(BASE_EVENT) } else { of.standard() };
        Ok(Self::resolve(of, path, attribute, range))
    }

    /// The field of events of type `of` at `path`.
    pub fn resolve(of: Option<u32>, path: Path, attribute: u32, range: &str) -> Result<Self, StatusCode> {
        let core = Core::get();
        let of = of.filter(|of| core.is_a(*of, BASE_EVENT)).ok_or(status::BAD_TYPE_DEFINITION_INVALID)?;
        if attribute == 0 || attribute > attribute::LAST {
            return Err(attributes::BAD_ATTRIBUTE_ID_INVALID);
        }
        let text = path.finish()?;
        let what = if text.is_empty() {
            // Some clients name the root of all events, as for every other field.
            let may = of == BASE_EVENT || core.is_a(of, CONDITION);
            if attribute != attribute::NODE_ID || !may {
                return Err(attributes::BAD_ATTRIBUTE_ID_INVALID);
            }
            What::Condition
        } else {
            let known = fields::find(of, &text).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
            match attribute {
                attribute::NODE_ID => What::Node(known.path),
                attribute::VALUE if known.is_variable => What::Value(known.path),
                _ => return Err(attributes::BAD_ATTRIBUTE_ID_INVALID),
            }
        };
        let range = IndexRange::parse(range).map_err(|_| attributes::BAD_INDEX_RANGE_INVALID)?;
        if range.is_some() && !matches!(what, What::Value(_)) {
            return Err(attributes::BAD_INDEX_RANGE_INVALID);
        }
        let is_of_all = matches!(what, What::Value(path) if fields::is_of_every_event(path));
        Ok(Self { of, what, is_of_all, range })
    }

    /// Writes what `event` has there as a Variant; null when it has nothing. EventId and the other fields that all events have are
    /// given whatever type the clause names: they are never null (Part 4, 7.22.3).
    pub fn write(&self, event: &Event, w: &mut Writer) {
        let found = if self.is_of_all || self.is_for(event) { self.find(event) } else { Found::Nothing };
        match found {
            Found::Nothing => w.u8(0),
            Found::Borrowed(field) => field.write(w),
            Found::Made(field) => field.write(w),
        }
    }

    /// What `event` has there; null when it is of another type or has nothing.
    pub fn datum(&self, event: &Event) -> Datum {
        match if self.is_for(event) { self.find(event) } else { Found::Nothing } {
            Found::Nothing => Datum::Null,
            Found::Borrowed(field) => Datum::of(field),
            Found::Made(field) => Datum::of(&field),
        }
    }

    fn is_for(&self, event: &Event) -> bool {
        self.of == BASE_EVENT || Core::get().is_a(event.event_type, self.of)
    }

    fn find<'a>(&self, event: &'a Event) -> Found<'a> {
        let found = match self.what {
            What::Condition => {
                return event.condition.as_ref().map_or(Found::Nothing, |path| Found::Made(Field::Node(path.clone())));
            }
            What::Node(path) => {
                let Some(condition) = &event.condition else { return Found::Nothing };
                let member: String = path.split('/').flat_map(|name| ["/0:", name]).collect();
                return Found::Made(Field::Node(format!("{condition}{member}").into()));
            }
            What::Value(path) => event.field(path),
        };
        match (found, self.range) {
            (Some(field), None) => Found::Borrowed(field),
            (Some(Field::Value(value)), Some(range)) => {
                range.of(value).map_or(Found::Nothing, |part: Value| Found::Made(Field::Value(part)))
            }
            (Some(Field::Bad(status)), Some(_)) => Found::Made(Field::Bad(*status)),
            // What is no array has no part.
            (None, _) | (Some(_), Some(_)) => Found::Nothing,
        }
    }
}

/// A browse path while it is read.
#[derive(Debug, Default)]
pub struct Path {
    text: String,
    steps: usize,
    wrong: Option<StatusCode>,
}

impl Path {
    /// One step further.
    pub fn push(&mut self, namespace: u16, name: &str, limits: &Limits) {
        self.steps += 1;
        if name.is_empty() {
            self.wrong = Some(status::BAD_BROWSE_NAME_INVALID);
        } else if namespace != 0 || self.steps > limits.path_elements || name.contains('/') {
            self.wrong = self.wrong.or(Some(StatusCode::BAD_NODE_ID_UNKNOWN));
        } else {
            if !self.text.is_empty() {
                self.text.push('/');
            }
            self.text.push_str(name);
        }
    }

    fn finish(self) -> Result<String, StatusCode> {
        self.wrong.map_or(Ok(self.text), Err)
    }
}
