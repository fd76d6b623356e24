//! Reading the folders of a configuration: the only part of this room that touches files and the environment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    driver::Driver,
    load::{File, Loaded, load_http, load_names, load_texts},
    problems::{Problem, Problems, Severity},
    reader::Loader,
    settings::HttpSettings,
    tag_files::Texts,
};
use crate::tag::Names;

/// A configuration with more files than this is refused: the folder is probably not one.
const MAX_FILES: usize = 10_000;

/// Reads `config` and `tags` (all `*.toml` below them). Variables come from `env`, and from the process's environment where it
/// has none; relative `*_file` paths are below `config`.
///
/// # Errors
/// All problems; a folder or file that cannot be read is one of them.
pub fn read_folders(
    config: &Path,
    tags: &Path,
    drivers: &[Driver],
    env: &(dyn Fn(&str) -> Option<String> + Sync),
    names: &mut Names,
) -> Result<Loaded, Problems> {
    let (config_files, tag_paths) = match (read_folder(config), list_folder(tags)) {
        (Ok(config), Ok(tags)) => (config, tags),
        (config, tags) => {
            let mut problems = Problems::default();
            for message in [config.err(), tags.err()].into_iter().flatten() {
                let help = "name the folders with --config and --tags".into();
                problems.push(Problem { severity: Severity::Error, place: None, message, help, second: None });
            }
            return Err(problems);
        }
    };
    let read_file = |path: &Path| fs::read_to_string(config.join(path)).map_err(|error| error.to_string());
    let loader = Loader { env: &|name| env(name).or_else(|| std::env::var(name).ok()), read_file: &read_file };
    let read = |file: usize| read(&tag_paths[file]).map(|file| file.text);
    let tag_files = Texts { names: tag_paths.iter().map(|path| path.display().to_string()).collect(), read: &read };
    load_texts(&config_files, &tag_files, drivers, loader, names)
}

/// `[http]` of the folder `config`, also when something else in it is wrong; `None` when it cannot be read at all.
#[must_use]
pub fn read_http(config: &Path) -> Option<HttpSettings> {
    let files = read_folder(config).ok()?;
    let no_file = |_: &Path| Err(String::new());
    Some(load_http(&files, Loader { env: &|name| std::env::var(name).ok(), read_file: &no_file }))
}

/// The names of all `[[key]]` tables of the folder `config`, also when something in it is wrong; none when it cannot be read.
#[must_use]
pub fn read_names(config: &Path, key: &str) -> Vec<String> {
    let no_file = |_: &Path| Err(String::new());
    let loader = Loader { env: &|name| std::env::var(name).ok(), read_file: &no_file };
    read_folder(config).map(|files| load_names(&files, key, loader)).unwrap_or_default()
}

/// All `*.toml` below `folder`, sorted by path.
///
/// # Errors
/// When the folder or a file in it cannot be read, or there is no `*.toml`.
pub fn read_folder(folder: &Path) -> Result<Vec<File>, String> {
    list_folder(folder)?.iter().map(|path| read(path)).collect()
}

fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    collect(folder, &mut paths).map_err(|error| format!("failed to read the folder `{}`: {error}", folder.display()))?;
    paths.sort();
    if paths.is_empty() {
        return Err(format!("no *.toml in the folder `{}`", folder.display()));
    }
    Ok(paths)
}

fn read(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("failed to read `{}`: {error}", path.display()))?;
    Ok(File { name: path.display().to_string(), text })
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to a folder is not followed: it could lead in a circle. A link to a file is how clusters mount configuration.
        if entry.file_type()?.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(io::Error::other(format!("it has more than {MAX_FILES} files")));
        }
    }
    Ok(())
}
