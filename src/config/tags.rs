//! One `[[tag]]`: first what others need to know of it, then the rest.

use std::{collections::BTreeMap, collections::HashSet, sync::Arc};

use super::{
    book::{Book, Kind},
    devices::{COMM_LOSS, Device, stale_after},
    people::ROLES,
    problems::{Place, did_you_mean, nearest},
    reader::{Section, Spanned},
};
use crate::{
    engine::plan::{Origin, Role, Scale, TagTraits},
    tag::{DataType, Rank, TagPath, Value, ValueType},
};

/// First segments that belong to the program.
const RESERVED: [&str; 2] = ["System", "Alarms"];

/// What others need to know of a tag.
pub(super) struct Head {
    pub path: TagPath,
    /// Of the path.
    pub place: Place,
    /// `None` when it was wrong, which was noted.
    pub value_type: Option<ValueType>,
    pub writable: bool,
}

/// Takes what others need to know; `None` when the tag has no usable path, which was noted.
pub(super) fn head(section: &mut Section<'_>) -> Option<Head> {
    let value_type = value_type(section);
    let writable = section.boolean("writable").unwrap_or(false);
    let Some((text, path)) = path(section) else {
        section.ignore_rest();
        return None;
    };
    Some(Head { path, place: section.place(text.span), value_type, writable })
}

/// Passes over what [`head`] took before.
pub(super) fn skip_head(section: &mut Section<'_>) {
    for key in ["type", "writable", "path"] {
        section.skip(key);
    }
}

/// True when a tag refers to other tags, so that all of them must be known before the rest of it is read.
pub(super) fn refers(section: &Section<'_>) -> bool {
    section.has("expression") || section.has("alarm")
}

fn path(section: &mut Section<'_>) -> Option<(Spanned<String>, TagPath)> {
    let text = section.required_string("path")?;
    let path = match TagPath::new(&text) {
        Ok(path) => path,
        Err(error) => {
            section.error(text.span, format!("`{}` is not a path", text.value.escape_debug()), error.to_string());
            return None;
        }
    };
    let first = path.split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        let message = format!("`{first}` is reserved as the first segment of a path");
        section.error(text.span, message, "the program's own tags stand there: begin with another name");
        return None;
    }
    Some((text, path))
}

fn value_type(section: &mut Section<'_>) -> Option<ValueType> {
    if !section.has("type") {
        section.error(section.span(), "`type` is missing", "such as type = \"Float\" or type = \"Boolean\"");
    }
    let text = section.string("type")?;
    if let Ok(parsed) = text.parse() {
        return Some(parsed);
    }
    let word = text.split('[').next().unwrap_or_default();
    let types = DataType::CONFIGURABLE.iter().map(|known| known.name());
    section.error(text.span.clone(), format!("unknown type `{}`", text.value), did_you_mean(word, types.clone(), "types are"));
    // What was probably meant will do to look at the rest of the tag.
    nearest(word, types).and_then(|meant| text.value.replacen(word, meant, 1).parse().ok())
}

/// What a tag says beside its head.
pub(super) struct Body {
    pub traits: Arc<TagTraits>,
    pub description: Box<str>,
    /// `None` when it is wrong, which was noted.
    pub origin: Option<Origin>,
}

/// What the bodies of tags are read with.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub book: &'a Book,
    pub devices: &'a BTreeMap<String, Device>,
}

/// What tags have in common.
#[derive(Default)]
pub(super) struct Common(HashSet<Arc<TagTraits>>);

impl Common {
    fn share(&mut self, traits: TagTraits) -> Arc<TagTraits> {
        if let Some(known) = self.0.get(&traits) {
            return Arc::clone(known);
        }
        let traits = Arc::new(traits);
        self.0.insert(Arc::clone(&traits));
        traits
    }
}

/// Takes everything but the alarms. Of a tag that refers to no other, nothing of the book but the sources is looked at.
pub(super) fn body(
    section: &mut Section<'_>,
    value_type: ValueType,
    writable: bool,
    around: Around<'_>,
    common: &mut Common,
) -> Body {
    let scale = scale(section, value_type);
    let range = section.pair("range").and_then(|pair| ascending(section, "range", pair));
    let source = section.string("source");
    let device = match &source {
        Some(name) if around.book.refers(Kind::Source, section, name) => around.devices.get(&name.value),
        _ => None,
    };
    let own_stale_after = stale_after(section);
    let comm_loss = section.one_of("on_comm_loss", &COMM_LOSS);
    let is_memory = !section.has("source") && !section.has("expression");
    let traits = TagTraits {
        value_type,
        scale,
        unit: section.string("unit").map(|text| text.value.into()),
        range,
        writable,
        write_role: section.one_of("write_role", &ROLES).unwrap_or(Role::Engineer),
        deadband: section.float_in("deadband", 0.0..=f64::MAX),
        history: section.boolean("history").unwrap_or(false),
        stale_after: own_stale_after.or_else(|| device.and_then(|device| device.stale_after)),
        on_comm_loss: comm_loss.or_else(|| device.map(|device| device.on_comm_loss)).unwrap_or_default(),
        retain: is_memory && section.boolean("retain").unwrap_or(false),
    };
    let description = section.string("description").map(|text| text.value.into()).unwrap_or_default();
    let origin = if section.has("source") {
        for key in ["expression", "initial", "retain"] {
            let help = "`initial` and `retain` are for memory tags, `expression` for derived ones, neither has a source";
            section.refuse(key, format!("`{key}` does not go with `source`"), help);
        }
        match (source, device) {
            (Some(_), Some(device)) => from_source(section, &traits, device),
            _ => {
                // Which keys its driver would take cannot be known.
                section.ignore_rest();
                None
            }
        }
    } else {
        for key in ["address", "format", "scale", "stale_after"] {
            section.refuse(key, format!("`{key}` needs a `source`"), "name the [[source]] that the tag is read from");
        }
        if is_memory { Some(memory(section, value_type)) } else { derived(section, &traits, around.book) }
    };
    Body { traits: common.share(traits), description, origin }
}

fn from_source(section: &mut Section<'_>, traits: &TagTraits, device: &Device) -> Option<Origin> {
    let Some((driver, settings)) = device.driver.as_ref() else {
        section.ignore_rest();
        return None;
    };
    section.kind(driver.kind);
    let address = (driver.address)(section, traits, settings)?;
    device.has_tag(section.fingerprint(&["alarm", "description"]));
    Some(Origin::Source { source: Arc::clone(&device.name), address })
}

fn derived(section: &mut Section<'_>, traits: &TagTraits, book: &Book) -> Option<Origin> {
    for key in ["initial", "retain"] {
        section.refuse(key, format!("`{key}` does not go with `expression`"), "a derived tag has no value of its own");
    }
    if traits.writable {
        section.refuse("writable", "a derived tag cannot be written", "leave `writable` out");
    }
    if traits.value_type.rank != Rank::Scalar {
        section.error(section.key_span("type"), "a derived tag has a single value", "");
    }
    let text = section.required_string("expression")?;
    Some(Origin::Derived(book.expression(section, &text)?))
}

fn memory(section: &mut Section<'_>, value_type: ValueType) -> Origin {
    let initial = section.value("initial", value_type).map(|value| value.value);
    Origin::Memory { initial: initial.unwrap_or_else(|| first_value(value_type)) }
}

/// Zero, false, the empty text.
fn first_value(value_type: ValueType) -> Value {
    let scalar = match value_type.data_type {
        DataType::Boolean => Value::Boolean(false),
        DataType::String => Value::string(""),
        DataType::ByteString => Value::ByteString([].into()),
        DataType::DateTime => Value::DateTime(crate::tag::Timestamp::NULL),
        data_type => data_type.from_i128(0).unwrap_or_default(),
    };
    match value_type.rank {
        Rank::Scalar => scalar,
        Rank::Array(length) => Value::Array(value_type.data_type, vec![scalar; length as usize].into()),
    }
}

fn scale(section: &mut Section<'_>, value_type: ValueType) -> Option<Scale> {
    let mut table = section.section("scale")?;
    for key in ["raw", "eu"] {
        if !table.has(key) {
            table.missing(key);
        }
    }
    let (raw, eu) = (table.pair("raw"), table.pair("eu"));
    let clamp = table.boolean("clamp").unwrap_or(false);
    let (raw, eu) = (raw?, eu?);
    for (key, pair) in [("raw", &raw), ("eu", &eu)] {
        #[allow(clippy::float_cmp)]
        if pair.0 == pair.1 {
            table.error(pair.span.clone(), format!("both ends of `{key}` are the same"), "");
            return None;
        }
    }
    if value_type.rank != Rank::Scalar || !value_type.data_type.is_numeric() {
        table.error(table.span(), format!("a tag of type {value_type} cannot be scaled"), "only single numbers can");
        return None;
    }
    Some(Scale { raw: raw.value, eu: eu.value, clamp })
}

fn ascending(section: &Section<'_>, key: &str, pair: Spanned<(f64, f64)>) -> Option<(f64, f64)> {
    if pair.0 < pair.1 {
        return Some(pair.value);
    }
    section.error(pair.span, format!("the first number of `{key}` must be the smaller one"), "");
    None
}
