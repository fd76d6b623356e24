//! `script = "scripts/x.rhai"` and its `role`, in voice profiles and pipeline steps (SPEC 13).

use std::sync::Arc;

use super::{book::Book, reader::Section};
use crate::{
    engine::plan::{Role, ScriptDef},
    script::{
        Program,
        program::{Use, mentions},
    },
};

/// Takes `key` (the path of a file below the configuration folder) and `role` beside it, or `key` as a table of `file` and `role`.
/// What is wrong with the script is told at its place in the script's own file: everything that can be found without running it,
/// unknown tags among it.
pub(super) fn script(section: &mut Section<'_>, key: &str, book: &Book, place: Use) -> Option<Arc<ScriptDef>> {
    if section.has_table(key) {
        let mut table = section.section(key)?;
        if !table.has("file") {
            table.missing("file");
        }
        return script(&mut table, "file", book, place);
    }
    let role = section.one_of("role", &[("viewer", Role::Viewer), ("operator", Role::Operator), ("engineer", Role::Engineer)]);
    if section.has("role") && !section.has(key) && key != "file" {
        let help = format!("add `{key} = \"scripts/….rhai\"`, or remove it");
        section.error(section.key_span("role"), format!("`role` says what the `{key}` may do, and there is none"), help);
    }
    let file = section.has(key).then(|| section.required_string(key)).flatten()?;
    let text = section.read_file(&file)?;
    let in_script = section.other_file(&file, &text);
    for mention in mentions(&text) {
        // The program's own tags and the variables of alarms are declared later than this is read.
        let (path, _) = mention.path.split_once("/Alarms/").unwrap_or((&mention.path, ""));
        if !path.starts_with("System/") && book.tag(path).is_none() {
            in_script.error(mention.span, format!("unknown tag `{path}`"), book.similar_tag(path));
        }
    }
    match Program::compile(&text, place) {
        Ok(program) => Some(Arc::new(ScriptDef { name: file.value, program, role: role.unwrap_or_default() })),
        Err(errors) => {
            for error in errors {
                in_script.error(error.span, error.message, error.help);
            }
            None
        }
    }
}
