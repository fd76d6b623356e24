//! `[[source]]` and `[[tag]]`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    alarms,
    book::{Book, Kind, Named, Roots, TagEntry},
    driver::Driver,
    people::ROLES,
    problems::{did_you_mean, nearest},
    reader::{Section, Spanned},
    system::{self, Own},
};
use crate::{
    engine::plan::{Address, AlarmDef, OnCommLoss, Origin, Role, Scale, Settings, SourceDef, TagDef},
    tag::{DataType, Rank, TagId, TagPath, Value, ValueType},
};

/// First segments that belong to the program.
const RESERVED: [&str; 2] = ["System", "Alarms"];

const COMM_LOSS: [(&str, OnCommLoss); 2] = [("hold", OnCommLoss::Hold), ("bad", OnCommLoss::Bad)];

/// A source whose tags are being read.
pub(super) struct Device {
    name: Arc<str>,
    /// `None` when its kind or its settings are wrong, which was noted.
    driver: Option<(Driver, Settings)>,
    on_comm_loss: OnCommLoss,
    stale_after: Option<Duration>,
    fingerprint: u64,
}

/// All `[[source]]`, by name.
pub(super) fn devices(named: Vec<Named<'_>>, drivers: &[Driver]) -> BTreeMap<String, Device> {
    let mut devices = BTreeMap::new();
    for Named { name, mut section } in named {
        let fingerprint = section.fingerprint(&[]);
        let on_comm_loss = section.one_of("on_comm_loss", &COMM_LOSS).unwrap_or_default();
        let stale_after = stale_after(&mut section);
        let driver = driver(&mut section, drivers);
        devices.insert(name.clone(), Device { name: name.into(), driver, on_comm_loss, stale_after, fingerprint });
    }
    devices
}

fn driver(section: &mut Section<'_>, drivers: &[Driver]) -> Option<(Driver, Settings)> {
    let kind = section.required_string("kind");
    let Some(kind) = kind else {
        section.ignore_rest();
        return None;
    };
    let Some(driver) = drivers.iter().find(|driver| driver.kind == kind.value) else {
        let help = did_you_mean(&kind, drivers.iter().map(|driver| driver.kind), "possible are");
        section.error(kind.span, format!("unknown kind of source `{}`", kind.value), help);
        section.ignore_rest();
        return None;
    };
    let settings = (driver.settings)(section)?;
    Some((*driver, settings))
}

fn stale_after(section: &mut Section<'_>) -> Option<Duration> {
    section.duration("stale_after", Duration::from_millis(100)..=Duration::from_secs(86_400))
}

/// The sources of the plan: those whose settings are good.
pub(super) fn sources(devices: BTreeMap<String, Device>, own: &mut Own<'_>) -> Vec<Arc<SourceDef>> {
    let sources = devices.into_iter().filter_map(|(name, device)| {
        let (driver, settings) = device.driver?;
        let nodes = system::source_nodes(own, &name);
        let def = SourceDef { name: name.into(), kind: driver.kind, settings, fingerprint: device.fingerprint, nodes };
        Some(Arc::new(def))
    });
    sources.collect()
}

/// A tag whose path, type and writability are known.
pub(super) struct Known<'a> {
    section: Section<'a>,
    path: TagPath,
    id: TagId,
    value_type: Option<ValueType>,
    writable: bool,
}

/// Takes the paths and types of all tags, so that anything may refer to any of them.
pub(super) fn define<'a>(roots: &mut Roots<'a>, book: &mut Book, own: &mut Own<'_>) -> Vec<Known<'a>> {
    let mut known = Vec::new();
    for mut section in roots.sections("tag") {
        let value_type = value_type(&mut section);
        let writable = section.boolean("writable").unwrap_or(false);
        let Some((text, path)) = path(&mut section) else {
            section.ignore_rest();
            continue;
        };
        let id = own.intern(&path);
        let entry = TagEntry { id, value_type, writable, place: section.place(text.span.clone()) };
        if let Some(first) = book.define_tag(path.shared(), entry) {
            let message = format!("tag `{path}` is defined twice");
            section.error_beside(text.span, message, "remove one of them", (first.place.clone(), "first here"));
            section.ignore_rest();
            continue;
        }
        known.push(Known { section, path, id, value_type, writable });
    }
    for tag in &known {
        below_another(tag, book);
    }
    known
}

/// A tag holds nothing but its alarms: clients could not browse a variable that is a folder too.
fn below_another(tag: &Known<'_>, book: &Book) {
    let mut parent = tag.path.parent();
    while let Some(path) = parent {
        if let Some(folder) = book.tag(path) {
            let second = (folder.place.clone(), "this is a tag");
            let message = format!("tag `{}` lies below the tag `{path}`", tag.path);
            tag.section.error_beside(
                tag.section.key_span("path"),
                message,
                "a tag cannot be a folder: rename one of them",
                second,
            );
            return;
        }
        parent = path.rsplit_once('/').map(|(parent, _)| parent);
    }
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

/// What the bodies of all tags say.
#[derive(Default)]
pub(super) struct Bodies {
    pub tags: Vec<Arc<TagDef>>,
    pub alarms: Vec<Arc<AlarmDef>>,
    /// Where the expressions of derived tags stand, and what they read.
    derived: HashMap<TagId, (super::problems::Place, Vec<TagId>)>,
    /// Units that tags have in common.
    units: HashSet<Arc<str>>,
}

impl Bodies {
    fn shared(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.units.get(&*text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.units.insert(Arc::clone(&text));
        text
    }
}

/// Reads the bodies of all tags and their alarms.
pub(super) fn bodies(known: Vec<Known<'_>>, book: &Book, devices: &mut BTreeMap<String, Device>, own: &mut Own<'_>) -> Bodies {
    let mut bodies = Bodies::default();
    for mut tag in known {
        let Some(value_type) = tag.value_type else {
            // Whether the rest fits depends on the type.
            tag.section.ignore_rest();
            continue;
        };
        // The alarms of a tag whose own keys are wrong are looked at all the same: all problems are told at once.
        let (def, whole) = body(&mut tag, value_type, book, devices, &mut bodies);
        let alarms = alarms::of_tag(&mut tag.section, &def, book, own);
        if whole {
            bodies.alarms.extend(alarms);
            bodies.tags.push(Arc::new(def));
        }
    }
    bodies
}

/// A tag, and false when it cannot be used, which was noted.
fn body(
    tag: &mut Known<'_>,
    value_type: ValueType,
    book: &Book,
    devices: &mut BTreeMap<String, Device>,
    bodies: &mut Bodies,
) -> (TagDef, bool) {
    let section = &mut tag.section;
    let scale = scale(section, value_type);
    let range = section.pair("range").and_then(|pair| ascending(section, "range", pair));
    let source = section.string("source");
    let device = match &source {
        Some(name) if book.refers(Kind::Source, section, name) => devices.get_mut(&name.value),
        _ => None,
    };
    let own_stale_after = stale_after(section);
    let comm_loss = section.one_of("on_comm_loss", &COMM_LOSS);
    let mut def = TagDef {
        id: tag.id,
        path: tag.path.clone(),
        value_type,
        origin: Origin::System,
        scale: scale.map(Box::new),
        unit: section.string("unit").map(|text| bodies.shared(text.value)),
        range,
        writable: tag.writable,
        write_role: section.one_of("write_role", &ROLES).unwrap_or(Role::Engineer),
        deadband: section.float_in("deadband", 0.0..=f64::MAX),
        history: section.boolean("history").unwrap_or(false),
        stale_after: own_stale_after.or_else(|| device.as_ref().and_then(|device| device.stale_after)),
        on_comm_loss: comm_loss.or_else(|| device.as_ref().map(|device| device.on_comm_loss)).unwrap_or_default(),
        description: section.string("description").map(|text| text.value.into()).unwrap_or_default(),
    };
    let origin = if section.has("source") {
        for key in ["expression", "initial", "retain"] {
            let help = "`initial` and `retain` are for memory tags, `expression` for derived ones, neither has a source";
            section.refuse(key, format!("`{key}` does not go with `source`"), help);
        }
        match (source, device) {
            (Some(_), Some(device)) => from_source(section, &def, device),
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
        if section.has("expression") { derived(section, &def, book, bodies) } else { Some(memory(section, value_type)) }
    };
    let whole = origin.is_some();
    def.origin = origin.unwrap_or(Origin::System);
    (def, whole)
}

fn from_source(section: &mut Section<'_>, def: &TagDef, device: &mut Device) -> Option<Origin> {
    let Some((driver, settings)) = device.driver.as_ref() else {
        section.ignore_rest();
        return None;
    };
    let text: Arc<str> = section.required_string("address").map_or_else(|| "".into(), |text| text.value.into());
    let parsed = (driver.address)(section, def, settings)?;
    // A sum does not depend on the order of files.
    device.fingerprint = device.fingerprint.wrapping_add(section.fingerprint(&["alarm", "description"]));
    Some(Origin::Source { source: Arc::clone(&device.name), address: Address { text, parsed } })
}

fn derived(section: &mut Section<'_>, def: &TagDef, book: &Book, bodies: &mut Bodies) -> Option<Origin> {
    for key in ["initial", "retain"] {
        section.refuse(key, format!("`{key}` does not go with `expression`"), "a derived tag has no value of its own");
    }
    if def.writable {
        section.refuse("writable", "a derived tag cannot be written", "leave `writable` out");
    }
    if def.value_type.rank != Rank::Scalar {
        section.error(section.key_span("type"), "a derived tag has a single value", "");
    }
    let text = section.required_string("expression")?;
    let expression = book.expression(section, &text)?;
    bodies.derived.insert(def.id, (section.place(text.span), expression.inputs().to_vec()));
    Some(Origin::Derived(expression))
}

fn memory(section: &mut Section<'_>, value_type: ValueType) -> Origin {
    let retain = section.boolean("retain").unwrap_or(false);
    let initial = section.value("initial", value_type).map(|value| value.value);
    Origin::Memory { initial: initial.unwrap_or_else(|| first_value(value_type)), retain }
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

/// The first cycle among derived tags that each tag is on, as a list of ids; each cycle once.
pub(super) fn cycles(bodies: &Bodies) -> Vec<(super::problems::Place, Vec<TagId>)> {
    let mut done: HashMap<TagId, bool> = HashMap::new();
    let mut cycles = Vec::new();
    let mut starts: Vec<_> = bodies.derived.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        if done.contains_key(&start) {
            continue;
        }
        // A walk of its own, not recursion: chains may be as long as there are tags. `done` is false while on the way.
        done.insert(start, false);
        let mut way: Vec<(TagId, usize)> = vec![(start, 0)];
        while let Some((tag, next)) = way.last_mut() {
            let inputs = bodies.derived.get(tag).map_or(&[][..], |(_, inputs)| inputs);
            let Some(input) = inputs.get(*next).copied() else {
                done.insert(*tag, true);
                way.pop();
                continue;
            };
            *next += 1;
            if !bodies.derived.contains_key(&input) {
                continue;
            }
            match done.get(&input) {
                None => {
                    done.insert(input, false);
                    way.push((input, 0));
                }
                Some(false) => {
                    let from = way.iter().position(|(tag, _)| *tag == input).unwrap_or(0);
                    let cycle = way[from..].iter().map(|(tag, _)| *tag).collect();
                    cycles.push((bodies.derived[&input].0.clone(), cycle));
                }
                Some(true) => {}
            }
        }
    }
    cycles
}
