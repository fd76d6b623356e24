//! The scenarios of `docs/scenarios` go as written. `SCENARIO=part` of a name plays those alone, and prints their stories.

use std::{fs, path::Path};

use annunciator::scenario::{
    Setup, play,
    script::{Script, Wrong},
    show_clock, title,
};

#[test]
fn scenarios_go_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios");
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "scn"));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| title(file).contains(&only)) {
        let text = fs::read_to_string(file).unwrap();
        if let Err(Wrong { line, words }) = run(&text, !only.is_empty()) {
            let content = text.lines().nth(line - 1).unwrap_or_default().trim();
            wrong.push(format!("{}:{line}: {content}\n    {words}", title(file)));
        }
    }
    assert!(wrong.is_empty(), "not as written:\n{}", wrong.join("\n"));
}

/// `docs/scenarios/index.md` names each with its first sentences; `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_index_names_every_scenario() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios");
    let mut files: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "scn"));
    files.sort();
    let mut page =
        "# What happens when …\n\nEach line is a scenario that is played by a test, and that `annunciator replay FILE` plays \
                    for you ([how they are written](README.md)).\n\n| scenario | what it shows |\n|---|---|\n"
            .to_owned();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let about: Vec<_> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
        let (name, about) = (title(&file), about.join(" "));
        page.extend(["| [", name.trim_end_matches(".scn"), "](", &name, ") | ", about.trim(), " |\n"]);
    }
    let index = root.join("index.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&index, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&index).unwrap_or_default(), page, "UPDATE_EXPECT=1 cargo test --test engine index");
}

fn run(text: &str, aloud: bool) -> Result<(), Wrong> {
    let script = Script::parse(text)?;
    assert!(!script.about.is_empty(), "a scenario begins with a sentence that says what it shows");
    assert!(!script.takes_given(), "a scenario of the documentation says `example`, or brings `config` or `tags`");
    let played = play(&script, &Setup::example());
    for moment in played.story.iter().filter(|_| aloud) {
        println!("{} {:?} {}", show_clock(moment.at), moment.what, moment.words);
    }
    played.difference.map_or(Ok(()), Err)
}
