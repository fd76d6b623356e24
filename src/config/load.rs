//! Putting a configuration together: names first, then bodies, then what only the whole can show.

use std::{cell::RefCell, sync::Arc};

use toml::de::DeTable;

use super::{
    advice, alarms,
    book::{Book, Kind, Roots},
    cycles,
    devices::{devices, sources},
    driver::Driver,
    events, people, pipeline,
    problems::{Problem, Problems, Severity, SourceText},
    reader::{Context, Loader, Section, parse},
    retention, rota,
    settings::{self, HttpSettings, RedundancySettings, ServerSettings, StoreSettings},
    system::{self, Own},
    tag_files::{self, Room, Texts},
    tags::Around,
    throttle, twilio, watching,
};
use crate::{engine::plan::Plan, tag::Names};

/// A file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, as problems shall show it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the engine works from.
    pub plan: Plan,
    /// `[server]`; a change needs a restart.
    pub server: ServerSettings,
    /// `[http]`; a change needs a restart.
    pub http: HttpSettings,
    /// `[store]`; a change needs a restart.
    pub store: StoreSettings,
    /// `[redundancy]`; a change needs a restart.
    pub redundancy: RedundancySettings,
    /// What somebody should know; no errors among them.
    pub warnings: Problems,
}

/// Reads a configuration. `config` and `tags` are each read as one file, whatever they are divided into. Ids of tags come from
/// `names`, which keeps those of earlier configurations.
///
/// # Errors
/// All problems, warnings among them, when any is an error.
pub fn load(
    config: &[File],
    tag_files: &[File],
    drivers: &[Driver],
    loader: Loader<'_>,
    names: &mut Names,
) -> Result<Loaded, Problems> {
    let read = |file: usize| Ok(tag_files[file].text.clone());
    let texts = Texts { names: tag_files.iter().map(|file| file.name.clone()).collect(), read: &read };
    load_texts(config, &texts, drivers, loader, names)
}

/// As [`load`]; the texts of tags are read one after the other, and again where a problem in one is to be shown.
///
/// # Errors
/// As [`load`]; when texts of tags cannot be read, nothing but that.
pub fn load_texts(
    config: &[File],
    tag_files: &Texts<'_>,
    drivers: &[Driver],
    loader: Loader<'_>,
    names: &mut Names,
) -> Result<Loaded, Problems> {
    let problems = RefCell::default();
    let room = Room { loader, problems: &problems, first: config.len() };
    let result = {
        let tables = parse_all(config, loader, &problems);
        read(roots(&tables), tag_files, drivers, names, room)
    };
    let mut problems = problems.into_inner();
    let mut result = match result {
        Ok(result) => result,
        Err(failures) => {
            problems = Problems::default();
            let help = "name the folders with --config and --tags";
            for message in failures {
                problems.push(Problem { severity: Severity::Error, place: None, message, help: help.into(), second: None });
            }
            return Err(problems);
        }
    };
    problems.sort();
    problems.attach(|file| match config.get(file) {
        Some(File { name, text }) => SourceText { name: name.as_str().into(), text: text.as_str().into() },
        None => {
            let file = file - config.len();
            // Whether it can still be read does not matter much: the problem is told without its line then.
            let text = (tag_files.read)(file).unwrap_or_default();
            SourceText { name: tag_files.names[file].as_str().into(), text: text.into() }
        }
    });
    if problems.errors() > 0 {
        return Err(problems);
    }
    result.warnings = problems;
    Ok(result)
}

/// A parsed file and what its sections share.
type Parsed<'a> = (Context<'a>, DeTable<'a>);

fn parse_all<'a>(files: &'a [File], loader: Loader<'a>, problems: &'a RefCell<Problems>) -> Vec<Parsed<'a>> {
    let parsed = files.iter().enumerate().map(|(file, content)| {
        let context = Context { loader, problems, file, begin: 0 };
        (context, parse(&content.text, context))
    });
    parsed.collect()
}

fn roots<'a>(parsed: &'a [Parsed<'a>]) -> Roots<'a> {
    Roots(parsed.iter().map(|(context, table)| Section::new(*context, table, 0..0)).collect())
}

/// Reads `[http]` alone, whatever else may be wrong: somebody who asks a running daemon to reload a folder with mistakes must
/// find it all the same. What cannot be read has its default.
#[must_use]
pub fn load_http(config: &[File], loader: Loader<'_>) -> HttpSettings {
    let problems = RefCell::default();
    settings::http(&mut roots(&parse_all(config, loader, &problems)))
}

/// The names of all `[[key]]` tables, whatever else may be wrong.
#[cfg(feature = "daemon")]
#[must_use]
pub fn load_names(config: &[File], key: &str, loader: Loader<'_>) -> Vec<String> {
    let problems = RefCell::default();
    let parsed = parse_all(config, loader, &problems);
    let named = roots(&parsed).sections(key);
    named.into_iter().filter_map(|mut section| section.string("name")).map(|name| name.value).collect()
}

/// # Errors
/// Tag files that cannot be read.
fn read(
    mut config: Roots<'_>,
    tag_texts: &Texts<'_>,
    drivers: &[Driver],
    names: &mut Names,
    room: Room<'_>,
) -> Result<Loaded, Vec<String>> {
    let mut known = Book::default();
    let mut own = Own::new(names);
    let [sources_named, twilios, profiles, users, tokens, pipelines] =
        [Kind::Source, Kind::Twilio, Kind::Profile, Kind::User, Kind::Token, Kind::Pipeline]
            .map(|kind| known.define(kind, &mut config));
    let [events, rosters, schedules, rotations, holidays] =
        [Kind::Event, Kind::Roster, Kind::Schedule, Kind::Rotation, Kind::Holiday].map(|kind| known.define(kind, &mut config));
    let devices = devices(sources_named, drivers);
    let defined = tag_files::define(tag_texts, &mut known, &devices, &mut own, room)?;
    let book = &known;

    let mut plan = Plan { site: settings::site(&mut config), people: people::rules(&mut config), ..Plan::default() };
    plan.alarm_rules = alarms::rules(&mut config, book);
    plan.throttle = throttle::throttle(&mut config);
    plan.twilio = twilio::accounts(twilios, book, &plan.people);
    plan.profiles = twilio::profiles(profiles, book);
    plan.events = events::events(events, book, &plan.profiles);
    plan.users = people::users(users, book, &plan.people);
    plan.tokens = people::tokens(tokens);
    plan.rosters = rota::rosters(rosters, book);
    plan.schedules = rota::schedules(schedules, book);
    plan.rotations = rota::rotations(rotations, book);
    plan.holidays = rota::holidays(holidays, book);
    plan.overrides = rota::overrides(config.sections("override"), book, &plan.users);
    plan.pipelines = pipeline::pipelines(pipelines, book);

    let tags = tag_files::finish(defined, Around { book, devices: &devices }, &mut own, room);
    cycles::note(&tags.derived, book, &mut room.problems.borrow_mut());
    plan.alarms = tags.alarms;
    plan.sources = sources(devices, &mut own);
    plan.drill = watching::drill(&mut config, book, &plan.pipelines);
    plan.heartbeat = watching::heartbeat(&mut config, book);
    plan.retention = retention::retention(&mut config);
    system::declare(&mut own, &plan);
    plan.alarms.extend(system::alarms(&mut own, &plan));
    plan.alarm_index = plan.alarms.iter().enumerate().map(|(index, alarm)| (Arc::clone(&alarm.path), index)).collect();

    let server = settings::server(&mut config);
    let http = settings::http(&mut config);
    let store = settings::store(&mut config);
    let redundancy = settings::redundancy(&mut config, book);
    tell_what_is_elsewhere(&mut config);
    pipeline::check_use(&plan, book, &mut room.problems.borrow_mut());
    advice::give(&plan, book, &mut room.problems.borrow_mut());
    let (own, system) = own.finish();
    plan.system = system;
    (plan.tags, plan.tag_index) = (tags.tags, known.index);
    for def in own {
        plan.tag_index.insert(def.id, &def.path, plan.tags.len());
        plan.tags.push(def);
    }
    plan.tags.shrink_to_fit();
    plan.tag_index.shrink_to_fit();
    Ok(Loaded { plan, server, http, store, redundancy, warnings: Problems::default() })
}

/// The likeliest reason for an unknown table: the wrong folder.
fn tell_what_is_elsewhere(config: &mut Roots<'_>) {
    for root in &mut config.0 {
        if root.has("tag") {
            root.error(
                root.key_span("tag"),
                "tags do not stand in the configuration folder",
                "move [[tag]] to a file in the tags folder",
            );
            root.skip("tag");
        }
    }
}
