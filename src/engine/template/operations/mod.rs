//! `[profile.operations]`: what is done to a parameter's value before a message shows it (SPEC 7.4, docs/operations.md).
//!
//! The names, and the arguments where they fit, are those of the query language of Roboflow's Inference. Values are JSON-like:
//! nothing, Boolean, number, text, sequence, structure. Everything is pure and bounded; chance comes in as an argument.
//! Deliberately absent: what works on images and detections, which a plant's tags are not.

mod filter;
mod numbers;
mod sequences;
mod shape;
mod texts;

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value as Json};

pub use self::{
    filter::{Comparator, Filter, Statement},
    numbers::Cast,
    sequences::{Function, Pick, SelectMode, Selection},
    shape::{Kinds, Shape},
};
use crate::engine::random::Random;

/// Operations of one chain.
pub const MAX_CHAIN: usize = 16;
/// Chains within chains.
pub const MAX_NESTING: usize = 4;
/// Entries of a lookup table, statements of a filter, names to rename.
pub const MAX_ENTRIES: usize = 256;
/// Elements and fields of a value, at all depths.
pub const MAX_ELEMENTS: usize = 10_000;
/// Bytes of one text.
pub const MAX_TEXT: usize = super::MAX_OUTPUT;
/// Bytes of a regular expression.
pub const MAX_PATTERN: usize = 256;
/// Digits that `NumberRound` may be asked for, before and after the decimal point.
pub const MAX_DIGITS: i64 = 15;
/// Operations on single elements that one parameter may cost; a long text counts more than once.
const MAX_WORK: u32 = 100_000;
/// Bytes of text that are one unit of work.
const TEXT_UNIT: usize = 64;
/// Bytes of a compiled regular expression.
const PATTERN_SIZE: usize = 256 * 1024;

/// Every operation, as the configuration names it.
pub const NAMES: [&str; 25] = [
    "ToString",
    "ToNumber",
    "ToBoolean",
    "NumberRound",
    "Multiply",
    "Divide",
    "StringToLowerCase",
    "StringToUpperCase",
    "StringMatches",
    "StringSubSequence",
    "SequenceLength",
    "SequenceElementsCount",
    "SequenceMap",
    "SequenceApply",
    "SequenceAggregate",
    "NumericSequenceAggregate",
    "LookupTable",
    "PropertyExtract",
    "Filter",
    "Sort",
    "Select",
    "Rename",
    "TimestampToISOFormat",
    "ConvertDictionaryToJSON",
    "RandomNumber",
];

/// Operations of the same query language that are about pictures, and what to use instead, if anything.
pub const REFUSED: [(&str, &str); 17] = [
    ("DetectionsPropertyExtract", "PropertyExtract"),
    ("ExtractDetectionProperty", "PropertyExtract"),
    ("ClassificationPropertyExtract", "PropertyExtract"),
    ("ExtractImageProperty", "PropertyExtract"),
    ("ExtractFrameMetadata", "PropertyExtract"),
    ("DetectionsFilter", "Filter"),
    ("DetectionsSelection", "Select"),
    ("SortDetections", "Sort"),
    ("DetectionsRename", "Rename"),
    ("DetectionsToDictionary", "ConvertDictionaryToJSON"),
    ("PickDetectionsByParentClass", "Filter"),
    ("DetectionsOffset", ""),
    ("DetectionsShift", ""),
    ("CropImage", ""),
    ("ConvertImageToJPEG", ""),
    ("ConvertImageToBase64", ""),
    ("ConvertImageToPNG", ""),
];

/// One operation of a chain, its arguments checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Text as messages show it.
    ToString,
    /// A number from text or Boolean.
    ToNumber(Cast),
    /// A Boolean from text or number.
    ToBoolean,
    /// Half away from zero, to −15 to 15 digits behind the decimal point.
    NumberRound(i32),
    /// By a fixed number.
    Multiply(Number),
    /// By a fixed number that is not zero.
    Divide(Number),
    /// Lower case.
    StringToLowerCase,
    /// Upper case.
    StringToUpperCase,
    /// Whether a regular expression matches.
    StringMatches(Pattern),
    /// Characters from `start` to before `end`; negative ones count from the end.
    StringSubSequence {
        /// The first.
        start: i64,
        /// The first that is left out; to the end without.
        end: Option<i64>,
    },
    /// How many elements or fields.
    SequenceLength,
    /// How often each element occurs.
    SequenceElementsCount,
    /// Every element looked up.
    SequenceMap(Lookup),
    /// A chain for every element.
    SequenceApply(Vec<Operation>),
    /// One of the elements.
    SequenceAggregate(Pick),
    /// One number of many.
    NumericSequenceAggregate {
        /// Which.
        function: Function,
        /// What an empty sequence gives.
        neutral_value: Option<Number>,
    },
    /// A fixed answer for each value.
    LookupTable(Lookup),
    /// A field of a structure, or of each in a sequence.
    PropertyExtract {
        /// Its name.
        property_name: String,
        /// Instead of a field that is not there.
        default: Option<Json>,
    },
    /// The elements for which statements are true.
    Filter(Filter),
    /// The elements in order.
    Sort {
        /// By this field of each.
        property_name: Option<String>,
        /// The smallest first.
        ascending: bool,
    },
    /// Some of the elements.
    Select(Selection),
    /// Other names for fields.
    Rename {
        /// Old to new.
        property_map: BTreeMap<String, String>,
        /// Every old name must be there.
        strict: bool,
    },
    /// ISO 8601.
    TimestampToISOFormat {
        /// IANA name; UTC without.
        time_zone: Option<String>,
    },
    /// JSON text.
    ConvertDictionaryToJSON,
    /// From `min_value` to `max_value`, whatever comes in.
    RandomNumber {
        /// The least.
        min_value: f64,
        /// Not reached.
        max_value: f64,
    },
}

/// A regular expression whose matching takes linear time.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// What is wrong with it, on one line; also when it is longer than [`MAX_PATTERN`] or needs too much memory.
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > MAX_PATTERN {
            return Err(format!("it is longer than {MAX_PATTERN} bytes"));
        }
        let built = RegexBuilder::new(source).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE).build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it needs too much memory: use smaller repetitions".to_owned(),
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        })
    }
}

/// `lookup_table` and what stands for everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    /// By the text of the value.
    pub table: BTreeMap<String, Json>,
    /// For values that the table does not have.
    pub default: Option<Json>,
}

impl Lookup {
    fn find(&self, value: &Json) -> Result<Json, String> {
        let key = texts::text_of(value)?;
        match self.table.get(&key).or(self.default.as_ref()) {
            Some(found) => Ok(found.clone()),
            None => Err(format!("has no entry for {}", describe(value))),
        }
    }
}

/// What one parameter may still cost, and its chance.
struct Work {
    left: u32,
    random: Random,
}

impl Work {
    fn spend(&mut self, value: &Json) -> Result<(), String> {
        let text = value.as_str().map_or(0, |text| text.len() / TEXT_UNIT);
        self.left = self
            .left
            .checked_sub(1 + u32::try_from(text).unwrap_or(u32::MAX))
            .ok_or_else(|| format!("needs more than {MAX_WORK} steps"))?;
        Ok(())
    }
}

/// The value that a chain makes of `value`. What is not known (null) stays so, except for `RandomNumber`.
///
/// # Errors
/// Which operation failed and why, as a sentence without a full stop.
pub fn apply(chain: &[Operation], value: Json, random: Random) -> Result<Json, String> {
    admit(&value, &mut 0)?;
    run(chain, value, &mut Work { left: MAX_WORK, random })
}

/// Values of sensible size only.
fn admit(value: &Json, seen: &mut usize) -> Result<(), String> {
    *seen += 1;
    if *seen > MAX_ELEMENTS {
        return Err(format!("the value has more than {MAX_ELEMENTS} elements"));
    }
    match value {
        Json::String(text) if text.len() > MAX_TEXT => Err(format!("the text is longer than {MAX_TEXT} bytes")),
        Json::Array(elements) => elements.iter().try_for_each(|element| admit(element, seen)),
        Json::Object(fields) => fields.values().try_for_each(|field| admit(field, seen)),
        _ => Ok(()),
    }
}

fn run(chain: &[Operation], value: Json, work: &mut Work) -> Result<Json, String> {
    chain.iter().try_fold(value, |value, operation| {
        work.spend(&value)?;
        operation.apply(value, work).map_err(|problem| format!("{} {problem}", operation.name()))
    })
}

impl Operation {
    /// As the configuration names it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ToString => "ToString",
            Self::ToNumber(_) => "ToNumber",
            Self::ToBoolean => "ToBoolean",
            Self::NumberRound(_) => "NumberRound",
            Self::Multiply(_) => "Multiply",
            Self::Divide(_) => "Divide",
            Self::StringToLowerCase => "StringToLowerCase",
            Self::StringToUpperCase => "StringToUpperCase",
            Self::StringMatches(_) => "StringMatches",
            Self::StringSubSequence { .. } => "StringSubSequence",
            Self::SequenceLength => "SequenceLength",
            Self::SequenceElementsCount => "SequenceElementsCount",
            Self::SequenceMap(_) => "SequenceMap",
            Self::SequenceApply(_) => "SequenceApply",
            Self::SequenceAggregate(_) => "SequenceAggregate",
            Self::NumericSequenceAggregate { .. } => "NumericSequenceAggregate",
            Self::LookupTable(_) => "LookupTable",
            Self::PropertyExtract { .. } => "PropertyExtract",
            Self::Filter(_) => "Filter",
            Self::Sort { .. } => "Sort",
            Self::Select(_) => "Select",
            Self::Rename { .. } => "Rename",
            Self::TimestampToISOFormat { .. } => "TimestampToISOFormat",
            Self::ConvertDictionaryToJSON => "ConvertDictionaryToJSON",
            Self::RandomNumber { .. } => "RandomNumber",
        }
    }

    fn apply(&self, value: Json, work: &mut Work) -> Result<Json, String> {
        if let Self::RandomNumber { min_value, max_value } = self {
            return numbers::from_float(work.random.between(*min_value, *max_value));
        }
        if value.is_null() {
            return Ok(value);
        }
        match self {
            Self::ToString => texts::text_of(&value).map(Json::String),
            Self::ToNumber(cast) => numbers::to_number(&value, *cast),
            Self::ToBoolean => numbers::to_boolean(&value),
            Self::NumberRound(digits) => numbers::round(number(&value)?, *digits),
            Self::Multiply(other) => numbers::multiply(number(&value)?, other),
            Self::Divide(other) => numbers::divide(number(&value)?, other),
            Self::StringToLowerCase => texts::bounded(text(&value)?.to_lowercase()),
            Self::StringToUpperCase => texts::bounded(text(&value)?.to_uppercase()),
            Self::StringMatches(pattern) => Ok(pattern.0.is_match(text(&value)?).into()),
            Self::StringSubSequence { start, end } => Ok(texts::part(text(&value)?, *start, *end).into()),
            Self::SequenceLength => sequences::length(&value),
            Self::SequenceElementsCount => sequences::elements_count(sequence(value)?),
            Self::SequenceMap(lookup) => sequences::each(sequence(value)?, |element| {
                work.spend(&element)?;
                if element.is_null() { Ok(element) } else { lookup.find(&element) }
            }),
            Self::SequenceApply(chain) => sequences::each(sequence(value)?, |element| run(chain, element, work)),
            Self::SequenceAggregate(pick) => sequences::pick(sequence(value)?, *pick),
            Self::NumericSequenceAggregate { function, neutral_value } => {
                sequences::aggregate(&sequence(value)?, *function, neutral_value.as_ref())
            }
            Self::LookupTable(lookup) => lookup.find(&value),
            Self::PropertyExtract { property_name, default } => sequences::extract(value, property_name, default.as_ref()),
            Self::Filter(filter) => filter.apply(sequence(value)?, work),
            Self::Sort { property_name, ascending } => sequences::sort(sequence(value)?, property_name.as_deref(), *ascending),
            Self::Select(selection) => selection.apply(sequence(value)?),
            Self::Rename { property_map, strict } => sequences::rename(value, property_map, *strict),
            Self::TimestampToISOFormat { time_zone } => texts::iso_time(&value, time_zone.as_deref()),
            Self::ConvertDictionaryToJSON => match value {
                Json::Object(_) | Json::Array(_) => texts::bounded(texts::json(&value)),
                other => Err(needs("a structure or a sequence", &other)),
            },
            Self::RandomNumber { .. } => Ok(value),
        }
    }
}

fn needs(what: &str, found: &Json) -> String {
    format!("needs {what}, found {}", describe(found))
}

/// A value in an error message, at a readable length.
fn describe(value: &Json) -> String {
    const SHOWN: usize = 20;
    match value {
        Json::Null => "nothing".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => numbers::show(number),
        Json::String(text) if text.chars().count() <= SHOWN => format!("the text {text:?}"),
        Json::String(text) => format!("the text {:?}…", text.chars().take(SHOWN).collect::<String>()),
        Json::Array(elements) => format!("a sequence of {}", elements.len()),
        Json::Object(_) => "a structure".to_owned(),
    }
}

fn number(value: &Json) -> Result<&Number, String> {
    match value {
        Json::Number(number) => Ok(number),
        other => Err(needs("a number", other)),
    }
}

fn text(value: &Json) -> Result<&str, String> {
    value.as_str().ok_or_else(|| needs("a text", value))
}

fn sequence(value: Json) -> Result<Vec<Json>, String> {
    match value {
        Json::Array(elements) => Ok(elements),
        other => Err(needs("a sequence", &other)),
    }
}
