//! What the documentation shows is at least TOML, and what it links to exists.

use std::{fs, path::Path};

#[test]
fn every_example_is_toml_and_every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CHANGELOG.md")];
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut examples = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let example = block.split("```").next().unwrap_or_default();
            // A list item's example is indented as a whole.
            let indent = example.len() - example.trim_start_matches(' ').len();
            let example: Vec<&str> = example.lines().map(|line| line.get(indent..).unwrap_or_default()).collect();
            let example = example.join("\n");
            let parsed = toml::de::DeTable::parse(&example);
            assert!(parsed.is_ok(), "{}: {}\n{example}", page.display(), parsed.unwrap_err());
            examples += 1;
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(page.parent().unwrap().join(target).exists(), "{} links to {target}", page.display());
            }
        }
    }
    assert!(examples >= 10, "only {examples} examples found");
}
