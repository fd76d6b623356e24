//! What can be known of values before there are any: which chains cannot work is told by `check`.

use std::{fmt, ops::BitOr};

use serde_json::Value as Json;

use super::{Lookup, Operation};
use crate::tag::{DataType, Rank, ValueType};

/// Kinds of value; what is not known yet (null) belongs to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// True or false.
    pub const BOOLEAN: Self = Self(1);
    /// Integer or not.
    pub const NUMBER: Self = Self(2);
    /// Text, times among them.
    pub const TEXT: Self = Self(4);
    /// Elements in order.
    pub const SEQUENCE: Self = Self(8);
    /// Fields by name.
    pub const STRUCTURE: Self = Self(16);
    /// Anything.
    pub const ANY: Self = Self(31);

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Kinds {
    /// In words: `a number or a text`, or `numbers or texts`.
    fn words(self, many: bool) -> String {
        let names = [
            (Self::BOOLEAN, "Boolean"),
            (Self::NUMBER, "number"),
            (Self::TEXT, "text"),
            (Self::SEQUENCE, "sequence"),
            (Self::STRUCTURE, "structure"),
        ];
        let names = names.into_iter().filter(|(kind, _)| self.meets(*kind));
        let names = names.map(|(_, name)| if many { format!("{name}s") } else { format!("a {name}") });
        names.collect::<Vec<_>>().join(" or ")
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What it may be.
    pub kinds: Kinds,
    /// What the elements of a sequence may be; `None` for anything.
    pub element: Option<Box<Shape>>,
}

impl From<Kinds> for Shape {
    fn from(kinds: Kinds) -> Self {
        Self { kinds, element: None }
    }
}

impl Shape {
    /// Nothing is known.
    pub const ANY: Self = Self { kinds: Kinds::ANY, element: None };

    /// A sequence of such elements.
    #[must_use]
    pub fn sequence(element: Self) -> Self {
        Self { kinds: Kinds::SEQUENCE, element: Some(Box::new(element)) }
    }

    /// What the elements of a sequence may be.
    #[must_use]
    pub fn element(&self) -> Self {
        self.element.as_ref().map_or(Self::ANY, |element| (**element).clone())
    }

    /// Values of a tag of this type.
    #[must_use]
    pub fn of_tag(value_type: ValueType) -> Self {
        let scalar = match value_type.data_type {
            DataType::Boolean => Kinds::BOOLEAN,
            data_type if data_type.is_numeric() => Kinds::NUMBER,
            DataType::String | DataType::DateTime => Kinds::TEXT,
            DataType::ByteString => return Self::sequence(Kinds::NUMBER.into()),
            _ => Kinds::STRUCTURE,
        };
        match value_type.rank {
            Rank::Scalar => scalar.into(),
            Rank::Array(_) => Self::sequence(scalar.into()),
        }
    }

    /// This very value.
    #[must_use]
    pub fn of_value(value: &Json) -> Self {
        match value {
            Json::Null => Self::ANY,
            Json::Bool(_) => Kinds::BOOLEAN.into(),
            Json::Number(_) => Kinds::NUMBER.into(),
            Json::String(_) => Kinds::TEXT.into(),
            Json::Object(_) => Kinds::STRUCTURE.into(),
            Json::Array(elements) => {
                let element = elements.iter().map(Self::of_value).reduce(|a, b| a.or(&b));
                Self::sequence(element.unwrap_or(Self::ANY))
            }
        }
    }

    fn or(&self, other: &Self) -> Self {
        let element = match (&self.element, &other.element) {
            (Some(a), Some(b)) => Some(Box::new(a.or(b))),
            // The one that is no sequence says nothing about elements.
            (Some(a), None) if !other.kinds.meets(Kinds::SEQUENCE) => Some(a.clone()),
            (None, Some(b)) if !self.kinds.meets(Kinds::SEQUENCE) => Some(b.clone()),
            _ => None,
        };
        Self { kinds: self.kinds | other.kinds, element }
    }

    fn must_be(&self, kinds: Kinds) -> Result<(), String> {
        if self.kinds.meets(kinds) { Ok(()) } else { Err(format!("needs {}, and is given {self}", kinds.words(false))) }
    }

    /// A sequence, whose elements may be of these kinds.
    fn must_hold(&self, kinds: Kinds) -> Result<(), String> {
        self.must_be(Kinds::SEQUENCE)?;
        if self.element().kinds.meets(kinds) || self.element.is_none() {
            return Ok(());
        }
        Err(format!("needs a sequence of {}, and is given {self}", kinds.words(true)))
    }

    fn sequence_of_same(&self) -> Self {
        Self { kinds: Kinds::SEQUENCE, element: self.element.clone() }
    }
}

/// In words, such as `a sequence of numbers`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.element {
            Some(element) if self.kinds == Kinds::SEQUENCE && element.kinds != Kinds::ANY => {
                write!(f, "a sequence of {}", element.kinds.words(true))
            }
            _ if self.kinds == Kinds::ANY => f.write_str("anything"),
            _ => f.write_str(&self.kinds.words(false)),
        }
    }
}

/// What a chain makes of `input`; nothing is known behind an operation that cannot work.
pub(super) fn behind(chain: &[Operation], input: Shape) -> Shape {
    chain.iter().fold(input, |shape, operation| operation.infer(&shape).unwrap_or(Shape::ANY))
}

fn answers(lookup: &Lookup) -> Shape {
    let shapes = lookup.table.values().chain(&lookup.default).map(Shape::of_value);
    shapes.reduce(|a, b| a.or(&b)).unwrap_or(Shape::ANY)
}

impl Operation {
    /// What may come out for `input`.
    ///
    /// # Errors
    /// What the operation needs and is certainly not given.
    pub fn infer(&self, input: &Shape) -> Result<Shape, String> {
        const SCALAR: Kinds = Kinds(Kinds::BOOLEAN.0 | Kinds::NUMBER.0 | Kinds::TEXT.0);
        const STRUCTURES: Kinds = Kinds(Kinds::STRUCTURE.0 | Kinds::SEQUENCE.0);
        let (needed, out) = match self {
            Self::ToString => (Kinds::ANY, Kinds::TEXT.into()),
            Self::ToNumber(_) => (SCALAR, Kinds::NUMBER.into()),
            Self::ToBoolean => (SCALAR, Kinds::BOOLEAN.into()),
            Self::NumberRound(_) | Self::Multiply(_) | Self::Divide(_) => (Kinds::NUMBER, Kinds::NUMBER.into()),
            Self::StringToLowerCase | Self::StringToUpperCase | Self::StringSubSequence { .. } => {
                (Kinds::TEXT, Kinds::TEXT.into())
            }
            Self::StringMatches(_) => (Kinds::TEXT, Kinds::BOOLEAN.into()),
            Self::SequenceLength => (STRUCTURES, Kinds::NUMBER.into()),
            Self::SequenceElementsCount => (Kinds::SEQUENCE, Kinds::STRUCTURE.into()),
            Self::SequenceMap(lookup) => (Kinds::SEQUENCE, Shape::sequence(answers(lookup))),
            Self::SequenceApply(chain) => (Kinds::SEQUENCE, Shape::sequence(behind(chain, input.element()))),
            Self::SequenceAggregate(_) => (Kinds::SEQUENCE, input.element()),
            Self::NumericSequenceAggregate { .. } => {
                input.must_hold(Kinds::NUMBER)?;
                (Kinds::SEQUENCE, Kinds::NUMBER.into())
            }
            Self::LookupTable(lookup) => (Kinds::ANY, answers(lookup)),
            Self::PropertyExtract { .. } => {
                structures(input)?;
                (STRUCTURES, if input.kinds == Kinds::SEQUENCE { Shape::sequence(Shape::ANY) } else { Shape::ANY })
            }
            Self::Rename { .. } => {
                structures(input)?;
                (STRUCTURES, input.clone())
            }
            Self::Filter(_) => (Kinds::SEQUENCE, input.sequence_of_same()),
            Self::Sort { property_name, .. } => {
                input.must_hold(if property_name.is_some() { Kinds::STRUCTURE } else { SCALAR })?;
                (Kinds::SEQUENCE, input.sequence_of_same())
            }
            Self::Select(selection) => {
                if selection.property_name.is_some() {
                    input.must_hold(Kinds::STRUCTURE)?;
                }
                (Kinds::SEQUENCE, input.sequence_of_same())
            }
            Self::TimestampToISOFormat { .. } => (Kinds::TEXT | Kinds::NUMBER, Kinds::TEXT.into()),
            Self::ConvertDictionaryToJSON => (STRUCTURES, Kinds::TEXT.into()),
            Self::RandomNumber { .. } => (Kinds::ANY, Kinds::NUMBER.into()),
        };
        input.must_be(needed)?;
        Ok(out)
    }
}

/// A structure, or a sequence of them.
fn structures(input: &Shape) -> Result<(), String> {
    if input.kinds.meets(Kinds::STRUCTURE) || input.must_hold(Kinds::STRUCTURE).is_ok() {
        return Ok(());
    }
    Err(format!("needs a structure or a sequence of structures, and is given {input}"))
}
