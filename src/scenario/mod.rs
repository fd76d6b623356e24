//! Scenarios: what happens to a plant and when, and what must follow. A file is played against the engine in virtual time, with a
//! store, a PLC, people and Twilio around it that are all made up; no clock, no network, no runtime.
//!
//! [`script`] reads a file, [`play`](fn@play) goes through it line by line, [`rig`] does what the daemon does with the engine's
//! effects, [`world`] and [`phone`] are what lies outside, [`watch`] checks at each step what must always hold. The language is told in
//! `docs/scenarios/README.md`.

mod expect;
pub mod forecast;
pub mod pair;
pub mod phone;
mod play;
pub mod rig;
pub mod script;
mod verbs;
pub mod watch;
pub mod world;

use std::{path::Path, sync::Arc};

use crate::{
    config::{File, Loader, driver::Driver, load, reader::Section, render::render},
    engine::plan::{Plan, Settings, TagTraits},
    tag::Names,
};

pub use self::{
    play::{Difference, Moment, Played, What, play, show_clock},
    rig::Rig,
};

/// A driver without a device: what a scenario sets is what the device holds.
const PLC: Driver = Driver { kind: "plc", example: "", settings: |_| Some(Arc::new(())), address: plc_address };

fn plc_address(section: &mut Section<'_>, _: &TagTraits, _: &Settings) -> Option<Settings> {
    section.required_string("address")?;
    Some(Arc::new(()))
}

/// Nothing of the environment and no files: what the example needs. Scripts are never run here, so all of them are empty.
const ALONE: Loader<'static> = Loader {
    env: &|_| None,
    read_file: &|path| match path.extension() {
        Some(extension) if extension == "rhai" => Ok(String::new()),
        _ => Err("no files here".to_owned()),
    },
};

/// The configuration that a scenario runs against, as text: a scenario may replace parts of it and reload.
#[derive(Clone)]
pub struct Setup<'l> {
    /// Files of the configuration folder.
    pub config: Vec<File>,
    /// Files of the tags folder.
    pub tags: Vec<File>,
    /// Files that the configuration names, before those of the loader.
    pub files: Vec<File>,
    /// What `[[source]]` may be; the scenario's own `plc` is always known.
    pub drivers: &'l [Driver],
    /// The environment and `*_file` keys.
    pub loader: Loader<'l>,
}

impl Setup<'static> {
    /// The example plant: people, pipelines and tags that come with the program.
    #[must_use]
    pub fn example() -> Self {
        Self::on_example_people(include_str!("example/pipelines.toml"), include_str!("example/tags.toml"))
    }

    /// These pipelines and tags with the example's people.
    #[must_use]
    pub fn on_example_people(config: &str, tags: &str) -> Self {
        let config = vec![people(), file("config", config)];
        Self { config, tags: vec![file("tags", tags)], files: Vec::new(), drivers: &[], loader: ALONE }
    }
}

impl Setup<'_> {
    /// Reads it; ids of tags come from `names`.
    ///
    /// # Errors
    /// All problems as `check` prints them.
    pub fn plan(&self, names: &mut Names) -> Result<Plan, String> {
        let drivers: Vec<Driver> = self.drivers.iter().copied().chain([PLC]).collect();
        let own = |path: &Path| self.files.iter().find(|file| Path::new(&file.name) == path).map(|file| file.text.clone());
        let read_file = |path: &Path| own(path).map_or_else(|| (self.loader.read_file)(path), Ok);
        let loader = Loader { env: self.loader.env, read_file: &read_file };
        let loaded = load(&self.config, &self.tags, &drivers, loader, names);
        loaded.map(|loaded| loaded.plan).map_err(|problems| render(&problems, false))
    }
}

/// The people, the Twilio account and the PLC of the example.
fn people() -> File {
    file("people of the example", include_str!("example/people.toml"))
}

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned() }
}

/// `Plant/Pump/Trip` to `Plant/Pump/Alarms/Trip`: scenarios name alarms without the folder.
#[must_use]
pub fn long_path(short: &str) -> String {
    match short.rsplit_once('/') {
        Some((tag, name)) if !tag.ends_with("/Alarms") => format!("{tag}/Alarms/{name}"),
        _ => short.to_owned(),
    }
}

/// The other way round.
#[must_use]
pub fn short_path(path: &str) -> String {
    path.rsplit_once("/Alarms/").map_or_else(|| path.to_owned(), |(tag, name)| format!("{tag}/{name}"))
}

/// A file's name for people.
#[must_use]
pub fn title(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
