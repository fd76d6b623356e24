//! Putting a configuration together: names first, then bodies, then what only the whole can show.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use super::{
    advice, alarms,
    book::{Book, Kind, Roots},
    driver::Driver,
    events, people, pipeline,
    problems::{Place, Problem, Problems, Severity, SourceText},
    reader::{Context, Loader, Section, parse},
    retention, rota,
    settings::{self, HttpSettings, ServerSettings, StoreSettings},
    system::{self, Own},
    tags, throttle, twilio, watching,
};
use crate::{
    engine::plan::{Plan, TagIndex},
    tag::{Names, TagId},
};

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
    let problems = RefCell::default();
    let files: Vec<&File> = config.iter().chain(tag_files).collect();
    let tables: Vec<_> = files.iter().enumerate().map(|(file, content)| parse(&content.text, file, &problems)).collect();
    let mut result = {
        let mut sections = tables.iter().enumerate().map(|(file, table)| {
            let context = Context { loader, problems: &problems, file };
            Section::new(context, table, 0..0)
        });
        let config = Roots(sections.by_ref().take(config.len()).collect());
        let tags = Roots(sections.collect());
        read(config, tags, drivers, names, &problems)
    };
    let mut problems = problems.into_inner();
    problems.sort();
    problems.attach(|file| SourceText { name: files[file].name.as_str().into(), text: files[file].text.as_str().into() });
    if problems.errors() > 0 {
        return Err(problems);
    }
    result.warnings = problems;
    Ok(result)
}

/// Reads `[http]` alone, whatever else may be wrong: somebody who asks a running daemon to reload a folder with mistakes must
/// find it all the same. What cannot be read has its default.
#[must_use]
pub fn load_http(config: &[File], loader: Loader<'_>) -> HttpSettings {
    let problems = RefCell::default();
    let tables: Vec<_> = config.iter().enumerate().map(|(file, content)| parse(&content.text, file, &problems)).collect();
    let sections = tables.iter().enumerate().map(|(file, table)| {
        let context = Context { loader, problems: &problems, file };
        Section::new(context, table, 0..0)
    });
    settings::http(&mut Roots(sections.collect()))
}

fn read(
    mut config: Roots<'_>,
    mut tag_files: Roots<'_>,
    drivers: &[Driver],
    names: &mut Names,
    problems: &RefCell<Problems>,
) -> Loaded {
    let mut book = Book::default();
    let mut own = Own::new(names);
    let [sources, twilios, profiles, users, tokens, pipelines] =
        [Kind::Source, Kind::Twilio, Kind::Profile, Kind::User, Kind::Token, Kind::Pipeline]
            .map(|kind| book.define(kind, &mut config));
    let [events, rosters, schedules, rotations, holidays] =
        [Kind::Event, Kind::Roster, Kind::Schedule, Kind::Rotation, Kind::Holiday].map(|kind| book.define(kind, &mut config));
    let known = tags::define(&mut tag_files, &mut book, &mut own);
    let book = &book;

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

    let mut devices = tags::devices(sources, drivers);
    let bodies = tags::bodies(known, book, &mut devices, &mut own);
    note_cycles(&bodies, book, problems);
    let places: HashMap<TagId, Place> =
        bodies.tags.iter().filter_map(|tag| Some((tag.id, book.tag(&tag.path)?.place.clone()))).collect();
    plan.tags = bodies.tags;
    plan.alarms = bodies.alarms;
    plan.sources = tags::sources(devices, &mut own);
    plan.drill = watching::drill(&mut config, book, &plan.pipelines);
    plan.heartbeat = watching::heartbeat(&mut config, book);
    plan.retention = retention::retention(&mut config);
    system::declare(&mut own, &plan);
    plan.alarms.extend(system::alarms(&mut own, &plan));
    plan.tags.append(&mut own.tags);
    plan.system = own.system;
    plan.tags.shrink_to_fit();
    plan.tag_index = TagIndex::new(&plan.tags);
    plan.alarm_index = plan.alarms.iter().enumerate().map(|(index, alarm)| (Arc::clone(&alarm.path), index)).collect();

    let server = settings::server(&mut config);
    let http = settings::http(&mut config);
    let store = settings::store(&mut config);
    tell_what_is_elsewhere(&mut config, &mut tag_files);
    pipeline::check_use(&plan, book, &mut problems.borrow_mut());
    advice::give(&plan, book, &|tag| places.get(&tag).cloned(), &mut problems.borrow_mut());
    Loaded { plan, server, http, store, warnings: Problems::default() }
}

fn note_cycles(bodies: &tags::Bodies, book: &Book, problems: &RefCell<Problems>) {
    /// Longer cycles are cut when they are shown.
    const SHOWN: usize = 8;
    let paths: HashMap<TagId, &str> = bodies.tags.iter().map(|tag| (tag.id, &*tag.path)).collect();
    for (place, cycle) in tags::cycles(bodies) {
        let mut names: Vec<_> = cycle.iter().take(SHOWN).map(|tag| paths.get(tag).copied().unwrap_or_default()).collect();
        if cycle.len() > SHOWN {
            names.push("…");
        }
        names.extend(names.first().copied());
        let second = cycle
            .get(1)
            .and_then(|tag| book.tag(paths.get(tag)?))
            .map(|entry| (entry.place.clone(), "also in the circle".to_owned()));
        problems.borrow_mut().push(Problem {
            severity: Severity::Error,
            place: Some(place),
            message: format!("derived tags depend on each other: {}", names.join(" → ")),
            help: "take one of them out of the circle".into(),
            second,
        });
    }
}

/// The likeliest reasons for an unknown table: the wrong folder, or a feature that is still to come.
fn tell_what_is_elsewhere(config: &mut Roots<'_>, tag_files: &mut Roots<'_>) {
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
    for root in &mut tag_files.0 {
        for key in root.remaining() {
            let help = "a file of the tags folder holds [[tag]] and nothing else";
            root.error(key.span, format!("`{}` does not stand in the tags folder", key.value), help);
            root.skip(key.value);
        }
    }
}
