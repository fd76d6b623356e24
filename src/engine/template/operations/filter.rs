//! `Filter`: statements about each element of a sequence.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{Operation, Work, needs, run, sequences::order};

/// `filter_operation`: statements joined by and, or by or.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// At least one.
    pub statements: Vec<Statement>,
    /// All must be true; else one is enough.
    pub all: bool,
}

/// What is asked of an element.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What is done to the element before it is compared.
    pub operations: Vec<Operation>,
    /// How it is compared.
    pub comparator: Comparator,
    /// With what; null where the comparator needs nothing.
    pub value: Json,
    /// The opposite counts.
    pub negate: bool,
}

/// `comparator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparator {
    Equals,
    NotEquals,
    Greater,
    GreaterEqual,
    Lower,
    LowerEqual,
    StartsWith,
    EndsWith,
    Contains,
    In,
    AllIn,
    AnyIn,
    Exists,
    DoesNotExist,
    IsTrue,
    IsFalse,
    IsEmpty,
    IsNotEmpty,
}

impl Comparator {
    /// All, as the configuration names them.
    pub const NAMES: [(&str, Self); 18] = [
        ("==", Self::Equals),
        ("!=", Self::NotEquals),
        ("(Number) >", Self::Greater),
        ("(Number) >=", Self::GreaterEqual),
        ("(Number) <", Self::Lower),
        ("(Number) <=", Self::LowerEqual),
        ("(String) startsWith", Self::StartsWith),
        ("(String) endsWith", Self::EndsWith),
        ("(String) contains", Self::Contains),
        ("in (Sequence)", Self::In),
        ("all in (Sequence)", Self::AllIn),
        ("any in (Sequence)", Self::AnyIn),
        ("Exists", Self::Exists),
        ("DoesNotExist", Self::DoesNotExist),
        ("(Boolean) is True", Self::IsTrue),
        ("(Boolean) is False", Self::IsFalse),
        ("(Sequence) is empty", Self::IsEmpty),
        ("(Sequence) is not empty", Self::IsNotEmpty),
    ];

    /// What `value` must be, in words; `None` where there must be none.
    #[must_use]
    pub const fn wants(self) -> Option<&'static str> {
        match self {
            Self::Equals | Self::NotEquals => Some("a value"),
            Self::Greater | Self::GreaterEqual | Self::Lower | Self::LowerEqual => Some("a number"),
            Self::StartsWith | Self::EndsWith | Self::Contains => Some("a text"),
            Self::In | Self::AllIn | Self::AnyIn => Some("a sequence"),
            Self::Exists | Self::DoesNotExist | Self::IsTrue | Self::IsFalse | Self::IsEmpty | Self::IsNotEmpty => None,
        }
    }

    /// True when `value` is what [`Comparator::wants`].
    #[must_use]
    pub fn fits(self, value: &Json) -> bool {
        match self {
            Self::Equals | Self::NotEquals => !value.is_null(),
            Self::Greater | Self::GreaterEqual | Self::Lower | Self::LowerEqual => value.is_number(),
            Self::StartsWith | Self::EndsWith | Self::Contains => value.is_string(),
            Self::In | Self::AllIn | Self::AnyIn => value.is_array(),
            Self::Exists | Self::DoesNotExist | Self::IsTrue | Self::IsFalse | Self::IsEmpty | Self::IsNotEmpty => true,
        }
    }

    /// Whether it is so for `found`. What is not known fits no comparison but those that ask just that.
    fn holds(self, found: &Json, value: &Json) -> Result<bool, String> {
        let number = |fits: fn(Ordering) -> bool| match found {
            Json::Number(_) => Ok(fits(order(found, value))),
            other => Err(needs("a number to compare", other)),
        };
        let text = |fits: fn(&str, &str) -> bool| match (found, value) {
            (Json::String(found), Json::String(value)) => Ok(fits(found, value)),
            (other, _) => Err(needs("a text to compare", other)),
        };
        let listed = |element: &Json| value.as_array().is_some_and(|values| values.iter().any(|value| same(value, element)));
        let elements = || found.as_array().ok_or_else(|| needs("a sequence to compare", found));
        match self {
            Self::Exists => Ok(!found.is_null()),
            Self::DoesNotExist => Ok(found.is_null()),
            _ if found.is_null() => Ok(false),
            Self::Equals => Ok(same(found, value)),
            Self::NotEquals => Ok(!same(found, value)),
            Self::Greater => number(Ordering::is_gt),
            Self::GreaterEqual => number(Ordering::is_ge),
            Self::Lower => number(Ordering::is_lt),
            Self::LowerEqual => number(Ordering::is_le),
            Self::StartsWith => text(|found, value| found.starts_with(value)),
            Self::EndsWith => text(|found, value| found.ends_with(value)),
            Self::Contains => text(|found, value| found.contains(value)),
            Self::In => Ok(listed(found)),
            Self::AllIn => elements().map(|elements| elements.iter().all(listed)),
            Self::AnyIn => elements().map(|elements| elements.iter().any(listed)),
            Self::IsTrue => found.as_bool().ok_or_else(|| needs("a Boolean to compare", found)),
            Self::IsFalse => found.as_bool().map(|found| !found).ok_or_else(|| needs("a Boolean to compare", found)),
            Self::IsEmpty => elements().map(Vec::is_empty),
            Self::IsNotEmpty => elements().map(|elements| !elements.is_empty()),
        }
    }
}

/// 1 and 1.0 are the same number.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(_), Json::Number(_)) => order(a, b).is_eq(),
        _ => a == b,
    }
}

impl Filter {
    pub(super) fn apply(&self, elements: Vec<Json>, work: &mut Work) -> Result<Json, String> {
        let mut kept = Vec::new();
        for (place, element) in elements.into_iter().enumerate() {
            if self.keeps(&element, work).map_err(|problem| format!("at element {}: {problem}", place + 1))? {
                kept.push(element);
            }
        }
        Ok(kept.into())
    }

    fn keeps(&self, element: &Json, work: &mut Work) -> Result<bool, String> {
        for statement in &self.statements {
            work.spend(element)?;
            let found = run(&statement.operations, element.clone(), work)?;
            let holds = statement.comparator.holds(&found, &statement.value)? != statement.negate;
            if holds != self.all {
                return Ok(holds);
            }
        }
        Ok(self.all)
    }
}
