//! Operations on sequences and structures.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Map, Number, Value as Json};

use super::{describe, needs, numbers, texts};

/// `mode` of `SequenceAggregate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Pick {
    First,
    Last,
    MostCommon,
    LeastCommon,
}

/// `function` of `NumericSequenceAggregate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Function {
    Min,
    Max,
    Sum,
    Mean,
}

/// `Select`: up to `count` elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Which.
    pub mode: SelectMode,
    /// By this field of each; with min and max only.
    pub property_name: Option<String>,
    /// At least 1.
    pub count: usize,
}

/// `mode` of `Select`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SelectMode {
    First,
    Last,
    Min,
    Max,
}

impl Selection {
    pub(super) fn apply(&self, elements: Vec<Json>) -> Result<Json, String> {
        let mut chosen = match self.mode {
            SelectMode::First | SelectMode::Last => elements,
            mode => in_order(elements, self.property_name.as_deref(), mode == SelectMode::Min)?,
        };
        if self.mode == SelectMode::Last {
            chosen.drain(..chosen.len().saturating_sub(self.count));
        } else {
            chosen.truncate(self.count);
        }
        Ok(chosen.into())
    }
}

pub(super) fn length(value: &Json) -> Result<Json, String> {
    match value {
        Json::Array(elements) => Ok(elements.len().into()),
        Json::Object(fields) => Ok(fields.len().into()),
        other => Err(needs("a sequence or a structure", other)),
    }
}

pub(super) fn elements_count(elements: Vec<Json>) -> Result<Json, String> {
    let counted = counts(elements)?;
    Ok(Json::Object(counted.into_iter().map(|(key, (count, _))| (key, count.into())).collect()))
}

/// The text of each element, how often it occurs and where first.
fn counts(elements: Vec<Json>) -> Result<BTreeMap<String, (usize, usize)>, String> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (place, element) in elements.into_iter().enumerate() {
        counts.entry(texts::text_of(&element)?).or_insert((0, place)).0 += 1;
    }
    Ok(counts)
}

/// Every element changed; an error says which one it was.
pub(super) fn each(elements: Vec<Json>, mut change: impl FnMut(Json) -> Result<Json, String>) -> Result<Json, String> {
    let changed = elements.into_iter().enumerate();
    let changed =
        changed.map(|(place, element)| change(element).map_err(|problem| format!("at element {}: {problem}", place + 1)));
    changed.collect::<Result<Vec<_>, _>>().map(Json::Array)
}

pub(super) fn pick(mut elements: Vec<Json>, pick: Pick) -> Result<Json, String> {
    if elements.is_empty() {
        return Ok(Json::Null);
    }
    let place = match pick {
        Pick::First => 0,
        Pick::Last => elements.len() - 1,
        Pick::MostCommon | Pick::LeastCommon => {
            let counts = counts(elements.clone())?;
            let rank = |count: usize| if pick == Pick::MostCommon { usize::MAX - count } else { count };
            // Of equally common ones the first.
            let found = counts.values().min_by_key(|(count, place)| (rank(*count), *place));
            found.map_or(0, |(_, place)| *place)
        }
    };
    Ok(elements.swap_remove(place))
}

pub(super) fn aggregate(elements: &[Json], function: Function, neutral: Option<&Number>) -> Result<Json, String> {
    let mut list = Vec::with_capacity(elements.len());
    for (place, element) in elements.iter().enumerate() {
        let Json::Number(number) = element else {
            return Err(format!("needs numbers only, element {} is {}", place + 1, describe(element)));
        };
        list.push(number);
    }
    let Some(first) = list.first() else {
        return Ok(neutral.map_or(Json::Null, |neutral| Json::Number(neutral.clone())));
    };
    let extreme = |wanted: Ordering| {
        let found = list[1..].iter().fold(first, |best, number| if compare(number, best) == wanted { number } else { best });
        Ok(Json::Number((**found).clone()))
    };
    match function {
        Function::Min => extreme(Ordering::Less),
        Function::Max => extreme(Ordering::Greater),
        Function::Sum => match list.iter().map(|number| numbers::integer(number)).sum::<Option<i128>>() {
            Some(sum) => numbers::from_integer(sum),
            None => numbers::from_float(list.iter().map(|number| numbers::float(number)).sum()),
        },
        // Each divided before it is added, so that the sum of large ones does not become infinite.
        #[allow(clippy::cast_precision_loss)]
        Function::Mean => {
            let length = list.len() as f64;
            let sum: f64 = list.iter().map(|number| numbers::float(number)).sum();
            let mean =
                if sum.is_finite() { sum / length } else { list.iter().map(|number| numbers::float(number) / length).sum() };
            numbers::from_float(mean)
        }
    }
}

fn compare(a: &Number, b: &Number) -> Ordering {
    match (numbers::integer(a), numbers::integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => numbers::float(a).total_cmp(&numbers::float(b)),
    }
}

pub(super) fn extract(value: Json, name: &str, default: Option<&Json>) -> Result<Json, String> {
    match value {
        Json::Object(mut fields) => match fields.remove(name).or_else(|| default.cloned()) {
            Some(field) => Ok(field),
            None => Err(format!("finds no field {name:?}, there are {}", names(&fields))),
        },
        Json::Array(elements) => each(elements, |element| match element {
            element @ (Json::Object(_) | Json::Null) if element.is_null() => Ok(element),
            element @ Json::Object(_) => extract(element, name, default),
            other => Err(needs("a structure", &other)),
        }),
        other => Err(needs("a structure or a sequence of structures", &other)),
    }
}

fn names(fields: &Map<String, Json>) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = fields.keys().take(SHOWN).map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    if fields.len() > SHOWN {
        names.push("…".to_owned());
    }
    names.join(", ")
}

pub(super) fn rename(value: Json, map: &BTreeMap<String, String>, strict: bool) -> Result<Json, String> {
    match value {
        Json::Object(mut fields) => {
            let mut renamed = Vec::with_capacity(map.len());
            for (old, new) in map {
                match fields.remove(old) {
                    Some(field) => renamed.push((new, field)),
                    None if strict => return Err(format!("finds no field {old:?}, there are {}", names(&fields))),
                    None => {}
                }
            }
            for (new, field) in renamed {
                if fields.insert(new.clone(), field).is_some() {
                    return Err(format!("would make two fields {new:?}"));
                }
            }
            Ok(Json::Object(fields))
        }
        Json::Array(elements) => each(elements, |element| match element {
            Json::Null => Ok(element),
            Json::Object(_) => rename(element, map, strict),
            other => Err(needs("a structure", &other)),
        }),
        other => Err(needs("a structure or a sequence of structures", &other)),
    }
}

pub(super) fn sort(elements: Vec<Json>, property: Option<&str>, ascending: bool) -> Result<Json, String> {
    in_order(elements, property, ascending).map(Json::Array)
}

/// In order of the elements themselves or of one of their fields; equal ones keep their order.
fn in_order(elements: Vec<Json>, property: Option<&str>, ascending: bool) -> Result<Vec<Json>, String> {
    let mut keyed = Vec::with_capacity(elements.len());
    for (place, element) in elements.into_iter().enumerate() {
        let key = match property {
            Some(name) => {
                extract(element.clone(), name, None).map_err(|problem| format!("at element {}: {problem}", place + 1))?
            }
            None => element.clone(),
        };
        keyed.push((key, element));
    }
    let kind = |key: &Json| match key {
        Json::Number(_) => Some(0),
        Json::String(_) => Some(1),
        Json::Bool(_) => Some(2),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let first = keyed.first().and_then(|(key, _)| kind(key));
    if let Some((key, _)) = keyed.iter().find(|(key, _)| kind(key).is_none() || kind(key) != first) {
        return Err(needs("only numbers, only texts or only Booleans to put in order", key));
    }
    keyed.sort_by(|(a, _), (b, _)| {
        let order = order(a, b);
        if ascending { order } else { order.reverse() }
    });
    Ok(keyed.into_iter().map(|(_, element)| element).collect())
}

/// Of two values of the same kind.
pub(super) fn order(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => compare(a, b),
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}
