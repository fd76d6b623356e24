//! ContentFilter (Part 4, 7.7): the where clause of an event filter.
//!
//! Elements are put in order once, when the filter is read; one that leads back to itself is refused. An event costs each element at
//! most once, however often others refer to it. Logic has three values: what is no Boolean is NULL, and so is a comparison with
//! null. Deliberately refused: InView and RelatedTo. Of the complex operators a where clause may have OfType only (Part 4, 7.22.3; in
//! version 1.04 7.17.3); the others are for queries over nodes.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    super::{
        limits::Limits,
        ns0::Core,
        wire::{Extension, Read, Reader, Writer},
    },
    Event,
    clause::{Clause, Path, status as clauses},
    compare::{self, Order},
    datum::{Datum, kind, literal},
    fields::BASE_EVENT,
    like::Like,
};
use crate::tag::{StatusCode, Value};

/// Codes of content filters.
pub mod status {
    #![allow(missing_docs)]
    use crate::tag::StatusCode;

    pub const BAD_FILTER_OPERAND_INVALID: StatusCode = StatusCode(0x8049_0000);
    pub const BAD_FILTER_OPERATOR_INVALID: StatusCode = StatusCode(0x80C1_0000);
    pub const BAD_FILTER_OPERATOR_UNSUPPORTED: StatusCode = StatusCode(0x80C2_0000);
    pub const BAD_FILTER_OPERAND_COUNT_MISMATCH: StatusCode = StatusCode(0x80C3_0000);
    pub const BAD_FILTER_ELEMENT_INVALID: StatusCode = StatusCode(0x80C4_0000);
    pub const BAD_FILTER_LITERAL_INVALID: StatusCode = StatusCode(0x80C5_0000);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equals,
    IsNull,
    GreaterThan,
    LessThan,
    GreaterThanOrEqual,
    LessThanOrEqual,
    Like,
    Not,
    Between,
    InList,
    And,
    Or,
    Cast,
    OfType,
    BitwiseAnd,
    BitwiseOr,
}

impl Operator {
    fn from_number(number: u32) -> Result<Self, StatusCode> {
        Ok(match number {
            0 => Self::Equals,
            1 => Self::IsNull,
            2 => Self::GreaterThan,
            3 => Self::LessThan,
            4 => Self::GreaterThanOrEqual,
            5 => Self::LessThanOrEqual,
            6 => Self::Like,
            7 => Self::Not,
            8 => Self::Between,
            9 => Self::InList,
            10 => Self::And,
            11 => Self::Or,
            12 => Self::Cast,
            // InView and RelatedTo.
            13 | 15 => return Err(status::BAD_FILTER_OPERATOR_UNSUPPORTED),
            14 => Self::OfType,
            16 => Self::BitwiseAnd,
            17 => Self::BitwiseOr,
            _ => return Err(status::BAD_FILTER_OPERATOR_INVALID),
        })
    }

    const fn takes(self, operands: usize) -> bool {
        match self {
            Self::IsNull | Self::Not | Self::OfType => operands == 1,
            Self::Between => operands == 3,
            Self::InList => operands >= 2,
            _ => operands == 2,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Element(usize),
    Literal(Datum),
    Pattern(Like),
    Field(Clause),
}

#[derive(Clone, Debug, PartialEq)]
struct Element {
    operator: Operator,
    operands: Box<[Operand]>,
}

/// A where clause that can be evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    elements: Box<[Element]>,
    /// The elements that the first one leads to, each after those that it refers to.
    order: Box<[usize]>,
}

/// What a client is told of one element.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementResult {
    /// Of the element.
    pub status: StatusCode,
    /// Of each operand.
    pub operands: Vec<StatusCode>,
}

/// A where clause as it was read.
#[derive(Debug, PartialEq)]
pub enum Checked {
    /// Good.
    Content(Content),
    /// What is wrong with it, element by element; empty when it is too large to be looked at.
    Wrong(Vec<ElementResult>),
}

impl Checked {
    /// Reads a ContentFilter.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(reader: &mut Reader<'_>, limits: &Limits) -> Read<Self> {
        let count = reader.count(8)?;
        let mut budget = Budget { operands: limits.filter_operands, literals: limits.filter_literals };
        let (mut elements, mut results) = (Vec::new(), Vec::new());
        let mut is_too_large = count > limits.filter_elements;
        for _ in 0..count {
            let number = reader.u32()?;
            let operands = reader.count(3)?;
            let operator = Operator::from_number(number);
            let mut read = Vec::new();
            for place in 0..operands {
                let extension = reader.extension()?;
                is_too_large |= budget.operands == 0;
                if !is_too_large {
                    budget.operands -= 1;
                    read.push(operand(&extension, operator.ok().map(|operator| (operator, place)), count, limits, &mut budget));
                }
            }
            if is_too_large {
                continue;
            }
            let codes: Vec<_> = read.iter().map(|operand| operand.as_ref().err().copied().unwrap_or(StatusCode::GOOD)).collect();
            let operands: Box<[Operand]> = read.into_iter().flatten().collect();
            let status = match operator {
                Err(status) => status,
                Ok(operator) if !operator.takes(codes.len()) => status::BAD_FILTER_OPERAND_COUNT_MISMATCH,
                Ok(_) if operands.len() < codes.len() => status::BAD_FILTER_OPERAND_INVALID,
                Ok(operator) => {
                    elements.push(Element { operator, operands });
                    StatusCode::GOOD
                }
            };
            results.push(ElementResult { status, operands: codes });
        }
        if is_too_large {
            return Ok(Self::Wrong(Vec::new()));
        }
        if elements.len() < results.len() {
            return Ok(Self::Wrong(results));
        }
        Ok(match order(&elements) {
            Ok(order) => Self::Content(Content { elements: elements.into(), order: order.into() }),
            Err((element, place)) => {
                results[element].status = status::BAD_FILTER_OPERAND_INVALID;
                results[element].operands[place] = status::BAD_FILTER_ELEMENT_INVALID;
                Self::Wrong(results)
            }
        })
    }
}

/// Writes a ContentFilterResult.
pub fn write_results(results: &[ElementResult], w: &mut Writer) {
    w.count(results.len());
    for result in results {
        w.status(result.status);
        w.count(result.operands.len());
        for status in &result.operands {
            w.status(*status);
        }
        w.null();
    }
    w.null();
}

/// What a filter may still take.
struct Budget {
    operands: usize,
    /// Bytes of literals.
    literals: usize,
}

fn operand(
    extension: &Extension<'_>,
    of: Option<(Operator, usize)>,
    elements: usize,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<Operand, StatusCode> {
    let invalid = status::BAD_FILTER_OPERAND_INVALID;
    let (Some(kind), Some(body)) = (extension.type_id.standard(), extension.body) else { return Err(invalid) };
    let mut reader = Reader::new(body);
    match kind {
        592 | 594 => {
            let index = reader.u32().map_err(|_| invalid)? as usize;
            if index < elements { Ok(Operand::Element(index)) } else { Err(status::BAD_FILTER_ELEMENT_INVALID) }
        }
        595 | 597 => {
            budget.literals = budget.literals.checked_sub(body.len()).ok_or(status::BAD_FILTER_LITERAL_INVALID)?;
            let datum = literal(body).map_err(|_| status::BAD_FILTER_LITERAL_INVALID)?;
            check_literal(datum, of)
        }
        598 | 600 => attribute_operand(&mut reader, limits).map_err(|_| invalid)?.map(Operand::Field),
        601 | 603 => Clause::read(&mut reader, limits).map_err(|_| invalid)?.map(Operand::Field),
        _ => Err(invalid),
    }
}

/// What an operator asks of a literal can be told before any event comes.
fn check_literal(datum: Datum, of: Option<(Operator, usize)>) -> Result<Operand, StatusCode> {
    match of {
        Some((Operator::OfType, _)) => {
            let event_type = datum.as_standard().ok_or(status::BAD_FILTER_OPERAND_INVALID)?;
            let is_one = Core::get().is_a(event_type, BASE_EVENT);
            is_one.then_some(Operand::Literal(datum)).ok_or(clauses::BAD_TYPE_DEFINITION_INVALID)
        }
        Some((Operator::Cast, 1)) => {
            built_in_of(&datum).map(|_| Operand::Literal(datum)).ok_or(status::BAD_FILTER_OPERAND_INVALID)
        }
        Some((Operator::Like, 1)) => match compare::implicit(&datum, kind::STRING) {
            Some(Datum::Value(Value::String(pattern))) => {
                Like::parse(&pattern).map(Operand::Pattern).ok_or(status::BAD_FILTER_LITERAL_INVALID)
            }
            _ => Ok(Operand::Literal(datum)),
        },
        _ => Ok(Operand::Literal(datum)),
    }
}

/// AttributeOperand (Part 4, 7.7.4.4): where it says what a SimpleAttributeOperand could say.
fn attribute_operand(reader: &mut Reader<'_>, limits: &Limits) -> Read<Result<Clause, StatusCode>> {
    let of = reader.id()?.standard();
    reader.text()?;
    let mut path = Path::default();
    let mut is_plain = true;
    for _ in 0..reader.count(2 + 1 + 1 + 6)? {
        let kind = reader.id()?;
        let (is_inverse, _sub_types) = (reader.boolean()?, reader.boolean()?);
        let (namespace, name) = reader.qualified_name()?;
        // HierarchicalReferences and everything below it.
        is_plain &= !is_inverse && (kind.is_null() || kind.standard().is_some_and(|kind| Core::get().is_a(kind, 33)));
        path.push(namespace, name, limits);
    }
    let (attribute, range) = (reader.u32()?, reader.text()?);
    if !is_plain {
        return Ok(Err(status::BAD_FILTER_OPERAND_INVALID));
    }
    Ok(Clause::resolve(of, path, attribute, range))
}

/// The built-in type that a NodeId names or derives from.
fn built_in_of(datum: &Datum) -> Option<u8> {
    const BUILT_IN: std::ops::RangeInclusive<u32> = 1..=25;
    let core = Core::get();
    let mut data_type = datum.as_standard()?;
    while !BUILT_IN.contains(&data_type) {
        // Enumerations are Int32.
        if data_type == 29 {
            return Some(kind::INT32);
        }
        data_type = core.supertype(data_type)?;
    }
    u8::try_from(data_type).ok()
}

/// The elements that the first one leads to, in the order in which they can be evaluated; the element and operand that lead back
/// where they came from otherwise.
fn order(elements: &[Element]) -> Result<Vec<usize>, (usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; elements.len()];
    let mut order = Vec::new();
    let mut path: Vec<(usize, usize)> = Vec::new();
    if let Some(first) = states.first_mut() {
        *first = State::Open;
        path.push((0, 0));
    }
    while let Some((element, place)) = path.last_mut() {
        let at = (*element, *place);
        *place += 1;
        match elements[at.0].operands.get(at.1) {
            None => {
                states[at.0] = State::Done;
                order.push(at.0);
                path.pop();
            }
            Some(Operand::Element(target)) => match states[*target] {
                State::New => {
                    states[*target] = State::Open;
                    path.push((*target, 0));
                }
                State::Open => return Err(at),
                State::Done => {}
            },
            Some(_) => {}
        }
    }
    Ok(order)
}

impl Content {
    /// True when `event` passes; every event does when there are no elements.
    pub fn passes(&self, event: &Event) -> bool {
        if self.elements.is_empty() {
            return true;
        }
        let mut results = vec![Datum::Null; self.elements.len()];
        for index in &self.order {
            let evaluation = Evaluation { element: &self.elements[*index], event, results: &results };
            results[*index] = evaluation.run();
        }
        results[0].as_truth() == Some(true)
    }
}

struct Evaluation<'a> {
    element: &'a Element,
    event: &'a Event,
    results: &'a [Datum],
}

impl Evaluation<'_> {
    fn run(&self) -> Datum {
        match self.element.operator {
            Operator::Equals => truth(compare::equal(&self.operand(0), &self.operand(1))),
            Operator::IsNull => Datum::truth(self.operand(0).is_null()),
            Operator::GreaterThan => truth(self.order(0, 1, Ordering::is_gt)),
            Operator::LessThan => truth(self.order(0, 1, Ordering::is_lt)),
            Operator::GreaterThanOrEqual => truth(self.order(0, 1, Ordering::is_ge)),
            Operator::LessThanOrEqual => truth(self.order(0, 1, Ordering::is_le)),
            Operator::Like => Datum::truth(self.like()),
            Operator::Not => truth(self.operand(0).as_truth().map(|truth| !truth)),
            Operator::Between => truth(and(self.order(0, 1, Ordering::is_ge), self.order(0, 2, Ordering::is_le))),
            Operator::InList => truth(self.in_list()),
            Operator::And => truth(and(self.operand(0).as_truth(), self.operand(1).as_truth())),
            Operator::Or => truth(or(self.operand(0).as_truth(), self.operand(1).as_truth())),
            Operator::Cast => {
                built_in_of(&self.operand(1)).and_then(|to| compare::cast(&self.operand(0), to)).unwrap_or(Datum::Null)
            }
            Operator::OfType => {
                let event_type = self.operand(0).as_standard();
                truth(event_type.map(|of| Core::get().is_a(self.event.event_type, of)))
            }
            Operator::BitwiseAnd => compare::bitwise(&self.operand(0), &self.operand(1), false).unwrap_or(Datum::Null),
            Operator::BitwiseOr => compare::bitwise(&self.operand(0), &self.operand(1), true).unwrap_or(Datum::Null),
        }
    }

    fn operand(&self, place: usize) -> Cow<'_, Datum> {
        match self.element.operands.get(place) {
            Some(Operand::Literal(datum)) => Cow::Borrowed(datum),
            Some(Operand::Element(index)) => self.results.get(*index).map_or(Cow::Owned(Datum::Null), Cow::Borrowed),
            Some(Operand::Field(clause)) => Cow::Owned(clause.datum(self.event)),
            Some(Operand::Pattern(_)) | None => Cow::Owned(Datum::Null),
        }
    }

    fn order(&self, left: usize, right: usize, is: fn(Ordering) -> bool) -> Option<bool> {
        match compare::order(&self.operand(left), &self.operand(right)) {
            Order::Null => None,
            Order::None => Some(false),
            Order::Is(ordering) => Some(is(ordering)),
        }
    }

    /// False, not NULL, for what is no text.
    fn like(&self) -> bool {
        let text = |place| match compare::implicit(&self.operand(place), kind::STRING) {
            Some(Datum::Value(Value::String(text))) => Some(text),
            _ => None,
        };
        let Some(subject) = text(0) else { return false };
        match self.element.operands.get(1) {
            Some(Operand::Pattern(pattern)) => pattern.matches(&subject),
            _ => text(1).and_then(|pattern| Like::parse(&pattern)).is_some_and(|pattern| pattern.matches(&subject)),
        }
    }

    fn in_list(&self) -> Option<bool> {
        let subject = self.operand(0);
        if *subject == Datum::Null {
            return None;
        }
        Some((1..self.element.operands.len()).any(|place| compare::equal(&subject, &self.operand(place)) == Some(true)))
    }
}

fn truth(truth: Option<bool>) -> Datum {
    truth.map_or(Datum::Null, Datum::truth)
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}
