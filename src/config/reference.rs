//! `docs/reference.md`: every key of the configuration. What a key takes is told by the code that reads it, while all the
//! configurations that we have are read; what it means stands in `reference.txt`. A key that has no text, and a text that has no
//! key, fail the test here. `UPDATE_EXPECT=1 cargo test --lib config::reference` writes the page anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    File, Loader, load,
    problems::{Problem, Severity},
};
use crate::tag::Names;

/// Where texts stand that are no part of the configuration, such as those of a driver's tests.
pub(super) const ELSEWHERE: &str = "?";

/// By table and key: what the key takes, in the order in which it was told.
type Told = BTreeMap<(String, String), BTreeSet<String>>;

static TOLD: Mutex<Option<Told>> = Mutex::new(None);

/// Takes what a reader tells of a key; nothing when nobody listens.
pub(super) fn tell(way: &str, key: &str, takes: impl FnOnce() -> String) {
    if way.starts_with(ELSEWHERE) {
        return;
    }
    if let Ok(mut told) = TOLD.lock()
        && let Some(told) = told.as_mut()
    {
        told.entry((plain(way), key.to_owned())).or_default().insert(takes());
    }
}

/// Names that people choose are not part of a table's own name, and operations are the same wherever they stand.
fn plain(way: &str) -> String {
    const PARTS: [&str; 4] = ["lookup_table", "property_map", "filter_operation", "statements"];
    let (parent, last) = way.rsplit_once('.').unwrap_or(("", way));
    if way.contains(".operations.") {
        return if PARTS.contains(&last) { format!("operation.{last}") } else { "operation".to_owned() };
    }
    if parent.ends_with(".parameters") { format!("{parent}.*") } else { way.to_owned() }
}

/// The name of a table at `key` of the table `way`, of whatever kind that is.
pub(super) fn below(way: &str, key: &str) -> String {
    let way = way.split_once(" (").map_or(way, |(way, _)| way);
    if way.is_empty() { key.to_owned() } else { format!("{way}.{key}") }
}

/// A table of the reference.
struct Table {
    way: String,
    about: String,
    /// Key, default and meaning, in the order of the text.
    keys: Vec<[String; 3]>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `== way | about`, then a line for each key: `key | default | meaning`. A key `*` stands for all keys of a table.
fn texts() -> Vec<Table> {
    let text = fs::read_to_string(root().join("src/config/reference.txt")).unwrap();
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix("== ") {
            let (way, about) = head.split_once(" | ").unwrap_or((head, ""));
            tables.push(Table { way: way.to_owned(), about: about.to_owned(), keys: Vec::new() });
            continue;
        }
        let fields: Vec<_> = line.splitn(3, " | ").map(str::trim).map(str::to_owned).collect();
        let fields: [String; 3] = fields.try_into().unwrap_or_else(|_| panic!("no three fields: {line}"));
        tables.last_mut().unwrap().keys.push(fields);
    }
    tables
}

fn files(folder: &Path) -> Vec<File> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| File { name: path.display().to_string(), text: fs::read_to_string(path).unwrap() }).collect()
}

/// Reads the shipped configuration, those of the golden tests, and one for what neither has.
fn told() -> Told {
    let mut cases = vec![(root().join("config"), root().join("tags"))];
    let golden = fs::read_dir(root().join("tests/config")).unwrap().map(|entry| entry.unwrap().path());
    cases.extend(golden.map(|case| (case.join("config"), case.join("tags"))));
    let own = root().join("src/config/reference");
    cases.push((own.join("config"), own.join("tags")));
    let drivers = crate::daemon::DRIVERS;
    *TOLD.lock().unwrap() = Some(Told::new());
    for (config, tags) in cases {
        let scripts = |path: &Path| fs::read_to_string(config.join(path)).or_else(|_| Ok("4711".to_owned()));
        let loader = Loader { env: &|_| Some("1".to_owned()), read_file: &scripts };
        // Mistakes are no matter: what was asked for was told.
        drop(load(&files(&config), &files(&tags), drivers, loader, &mut Names::default()));
    }
    TOLD.lock().unwrap().take().unwrap()
}

#[test]
fn every_key_is_explained() {
    let told = told();
    let tables = texts();
    let explained = |way: &str, key: &str| {
        tables.iter().any(|table| table.way == way && table.keys.iter().any(|[known, _, _]| known == key || known == "*"))
    };
    // A key that leads to a table or a list of tables is explained by that table.
    let is_table = |way: &str, key: &str| tables.iter().any(|table| table.way == plain(&below(way, key)));
    let unexplained: Vec<_> = told
        .iter()
        .filter(|((way, key), _)| !explained(way, key) && !is_table(way, key))
        .map(|((way, key), takes)| format!("{way} {key}: {}", takes.iter().cloned().collect::<Vec<_>>().join("; ")))
        .collect();
    assert!(unexplained.is_empty(), "add to src/config/reference.txt:\n{}", unexplained.join("\n"));
    let unknown: Vec<_> = tables
        .iter()
        .flat_map(|table| table.keys.iter().map(|[key, _, _]| (table.way.as_str(), key.as_str())))
        .filter(|(way, key)| match *key {
            "*" => !told.keys().any(|(told, _)| told == way),
            key => !told.contains_key(&((*way).to_owned(), key.to_owned())),
        })
        .collect();
    assert!(unknown.is_empty(), "no reader asked for these: remove them, or add them to src/config/reference/: {unknown:#?}");
    let page = page(&tables, &told);
    let path = root().join("docs/reference.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, page).unwrap();
    } else if fs::read_to_string(&path).unwrap_or_default() != page {
        panic!("docs/reference.md is out of date: UPDATE_EXPECT=1 cargo test --lib config::reference");
    }
}

/// What stands in our own files is right, so that a text about it can be trusted.
#[test]
fn the_configuration_for_the_reference_has_no_mistake() {
    let own = root().join("src/config/reference");
    let loader = Loader { env: &|_| Some("1".to_owned()), read_file: &|_| Ok("4711".to_owned()) };
    let loaded =
        load(&files(&own.join("config")), &files(&own.join("tags")), crate::daemon::DRIVERS, loader, &mut Names::default());
    if let Err(problems) = loaded {
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        let errors: Vec<_> = problems.list.iter().filter(is_error).map(|problem| &problem.message).collect();
        panic!("{errors:#?}");
    }
}

const HEAD: &str = "# Every key of the configuration\n\n\
Made from the program by `cargo test --lib config::reference`; do not edit it. Tables without a dot stand in `--config`, `tag` and \
what is below it in `--tags`. A key without a default may be left out unless it says *required*. Durations are strings such as \
`\"500ms\"`, `\"5s\"`, `\"10m\"`, `\"2h\"`, `\"1d\"`; strings may hold `${VAR}` and `${VAR:-default}`.\n";

fn page(tables: &[Table], told: &Told) -> String {
    let mut page = HEAD.to_owned();
    for table in tables {
        let lists: Vec<_> = table.way.split('.').collect();
        let (parent, last) = (lists[..lists.len() - 1].join("."), lists[lists.len() - 1]);
        let plain = last.split(" (").next().unwrap_or(last);
        let list = told.get(&(parent, plain.to_owned())).is_some_and(|takes| takes.contains("list of tables"));
        let (name, kind) = table
            .way
            .split_once(" (")
            .map_or((table.way.as_str(), String::new()), |(name, kind)| (name, format!(", {}", kind.trim_end_matches(')'))));
        let title = if list { format!("[[{name}]]") } else { format!("[{name}]") };
        // Writing to a String cannot fail.
        _ = write!(page, "\n## `{title}`{kind}\n\n");
        if !table.about.is_empty() {
            _ = write!(page, "{}\n\n", table.about);
        }
        if table.keys.is_empty() {
            continue;
        }
        page.push_str("| key | takes | default | meaning |\n|---|---|---|---|\n");
        for [key, default, meaning] in &table.keys {
            let takes = told.get(&(table.way.clone(), key.clone()));
            let takes = takes.map_or_else(
                || told.iter().find(|((way, _), _)| *way == table.way).map_or_else(String::new, |(_, takes)| one(takes)),
                one,
            );
            let key = if key == "*" { "any name".to_owned() } else { format!("`{key}`") };
            _ = writeln!(page, "| {key} | {takes} | {default} | {meaning} |");
        }
    }
    page
}

/// Several readers may ask for one key: all that it takes.
fn one(takes: &BTreeSet<String>) -> String {
    takes.iter().cloned().collect::<Vec<_>>().join("; ")
}
