//! What is shipped and what is written about it can be used as it stands: `config/`, `tags/`, every driver's example, and the
//! TOML in the documentation.

use std::{fs, path::Path};

use annunciator::{
    config::{
        File, Loaded, Loader, Problems,
        driver::Driver,
        folder::{read_folder, read_folders},
        load,
        render::render,
    },
    engine::plan::Priority,
    source,
    tag::Names,
};

const DRIVERS: [Driver; 3] = [source::modbus::DRIVER, source::opcua::DRIVER, source::simulator::DRIVER];

const LOADER: Loader<'static> = Loader { env: &|_| None, read_file: &|_| Ok("4711".to_owned()) };

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(text: &str) -> [File; 1] {
    [File { name: "text.toml".into(), text: text.into() }]
}

fn shipped() -> Loaded {
    let config = read_folder(&root().join("config")).unwrap();
    let tags = read_folder(&root().join("tags")).unwrap();
    match load(&config, &tags, &DRIVERS, LOADER, &mut Names::default()) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{}", render(&problems, false)),
    }
}

#[test]
fn shipped_files_load_without_a_warning() {
    let loaded = shipped();
    assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
    let plan = loaded.plan;
    let alarm = plan.alarm("Plant/Line1/TankTrip/Alarms/Trip").unwrap();
    assert_eq!((alarm.priority, alarm.pipeline.as_deref()), (Priority::Critical, Some("on-call")));
    assert!(alarm.write_back.is_some());
    assert_eq!(plan.rosters["operators"], ["alice", "bob"]);
}

/// A PLC whose registers are all zero must not text anybody.
#[test]
fn only_trips_and_the_program_itself_text_people() {
    let plan = shipped().plan;
    let texted = plan.alarms.iter().filter(|alarm| alarm.pipeline.is_some() && !alarm.path.starts_with("System/"));
    let mut names: Vec<_> = texted.map(|alarm| &*alarm.path).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["Plant/Line1/EmergencyStop/Alarms/Pressed", "Plant/Line1/PumpFault/Alarms/Fault", "Plant/Line1/TankTrip/Alarms/Trip",]
    );
}

#[test]
fn folders_are_read_with_what_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let (config, tags) = (folder.path().join("config"), folder.path().join("tags/deep/deeper"));
    fs::create_dir_all(&config).unwrap();
    fs::create_dir_all(&tags).unwrap();
    let read = || read_folders(&config, &folder.path().join("tags"), &DRIVERS, &|_| None, &mut Names::default());
    assert_eq!(read().unwrap_err().errors(), 2, "two empty folders");
    fs::write(config.join("a.toml"), "[[user]]\nname = 'alice'\nphone = '+12223334444'\npin_file = 'alice.pin'\n").unwrap();
    fs::write(config.join("alice.pin"), "4711\n").unwrap();
    fs::write(tags.join("a.toml"), "[[tag]]\npath = 'A'\ntype = 'Boolean'\n").unwrap();
    fs::write(tags.join("notes.txt"), "not read").unwrap();
    let plan = read().unwrap().plan;
    assert_eq!(plan.users["alice"].pin.as_ref().unwrap().expose(), "4711");
    assert_eq!(&*plan.tags[0].path, "A");
}

/// Divides a text into the tables of the configuration and those of the tags.
fn divide(text: &str) -> (String, String) {
    let (mut config, mut tags, mut of_tags) = (String::new(), String::new(), false);
    for line in text.lines() {
        if line.starts_with('[') {
            of_tags = line.starts_with("[[tag");
        }
        let part = if of_tags { &mut tags } else { &mut config };
        part.push_str(line);
        part.push('\n');
    }
    (config, tags)
}

fn read_text(text: &str) -> Result<Loaded, Problems> {
    let (config, tags) = divide(text);
    let loader = Loader { env: &|name| Some(format!("AC{:032}", name.len())), ..LOADER };
    load(&file(&config), &file(&tags), &DRIVERS, loader, &mut Names::default())
}

#[test]
fn every_drivers_example_loads() {
    for driver in DRIVERS {
        let loaded = read_text(driver.example).unwrap_or_else(|problems| panic!("{}: {}", driver.kind, render(&problems, false)));
        assert_eq!(loaded.plan.sources.len(), 1, "{}", driver.kind);
        assert_eq!(loaded.plan.sources[0].kind, driver.kind);
    }
}

/// Puts the table before an excerpt that begins below it.
fn complete(block: String) -> String {
    if block.trim_start().starts_with("[[tag.alarm]]") {
        let data_type = if block.contains("mode = \"") && block.contains("setpoint") { "Float" } else { "Boolean" };
        return format!("[[tag]]\npath = 'A'\ntype = '{data_type}'\n{block}");
    }
    if block.trim_start().starts_with("[[pipeline.step]]") {
        return format!("[[pipeline]]\nname = 'p'\n{block}");
    }
    block
}

/// Excerpts refer to what stands elsewhere, so only what is wrong in itself counts.
#[test]
fn the_documentation_names_keys_that_exist() {
    let mut pages = vec![root().join("README.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for page in pages.into_iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            // In a list the block is indented.
            let lines: Vec<&str> = block.split("```").next().unwrap().lines().map(str::trim_start).collect();
            let block = lines.join("\n");
            if !block.trim_start().starts_with('[') {
                continue;
            }
            blocks += 1;
            let block = complete(block);
            let Err(problems) = read_text(&block) else { continue };
            let elsewhere =
                ["unknown source", "unknown pipeline", "unknown tag", "unknown profile", "unknown roster", "unknown user"];
            let elsewhere = |message: &str| {
                elsewhere.iter().any(|start| message.starts_with(start))
                    || message.starts_with("unknown twilio profile")
                    || message.starts_with("unknown schedule")
                    || message.starts_with("there is no tag")
                    || message.ends_with("is missing")
                    || message == "nobody to send from"
            };
            let mut own = problems.clone();
            own.list.retain(|problem| !elsewhere(&problem.message));
            if own.errors() > 0 {
                wrong.push(format!("{}:\n{}", page.display(), render(&own, false)));
            }
        }
    }
    assert!(blocks >= 5, "the documentation has hardly any TOML: {blocks}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].iter().map(|page| root().join(page)).collect();
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut links = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                links += 1;
                assert!(page.parent().unwrap().join(link).exists(), "{} links to {link}", page.display());
            }
        }
    }
    assert!(links >= 10, "the documentation has hardly any links: {links}");
}
