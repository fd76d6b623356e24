//! The text of the tag file.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
};

use serde_json::Value as Json;

use super::{
    Import, Notes, Options, Server,
    finish::config_name,
    tag::{Draft, Origin},
};
use crate::config::text::{self, quoted};

/// The file for `drafts`, with its counts.
pub(super) fn write(drafts: &[Draft], options: &Options, notes: Notes) -> Import {
    let sources = sources(drafts, options);
    let names: BTreeMap<&str, &str> = sources.iter().map(|source| (source.server.as_str(), source.name.as_str())).collect();
    let mut import = Import { tags: drafts.len(), notes: notes.0, ..Import::default() };
    let mut file = String::new();
    for draft in drafts {
        tag(&mut file, draft, &names);
        import.alarms += draft.alarms.len();
        import.pipelines.extend(draft.alarms.iter().flat_map(|alarm| &alarm.pipelines).map(|(_, name)| name.clone()));
    }
    import.sources = sources;
    import.tag_file = file;
    import
}

fn sources(drafts: &[Draft], options: &Options) -> Vec<Server> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for draft in drafts {
        if let Origin::Opc { server, .. } = &draft.origin {
            *counts.entry(server).or_default() += 1;
        }
    }
    let mut sources: Vec<Server> = Vec::new();
    for (server, tags) in counts {
        let name = match options.sources.get(server) {
            Some(name) => name.clone(),
            None => {
                let plain = config_name(&server.to_lowercase().replace(char::is_whitespace, "-"));
                // Two servers may differ only in what was cleaned away; two that somebody maps to one source are one.
                let mut name = plain.clone();
                for number in 2.. {
                    if !sources.iter().any(|known| known.name == name) {
                        break;
                    }
                    name = format!("{}-{number}", plain.chars().take(50).collect::<String>());
                }
                name
            }
        };
        sources.push(Server { name, server: server.to_owned(), tags });
    }
    sources
}

fn tag(file: &mut String, draft: &Draft, sources: &BTreeMap<&str, &str>) {
    file.push_str("[[tag]]\n");
    key(file, "path", quoted(&draft.path));
    key(file, "type", format_args!("\"{}\"", draft.value_type));
    match &draft.origin {
        Origin::Opc { server, address, scale } => {
            key(file, "source", quoted(sources.get(server.as_str()).copied().unwrap_or_default()));
            key(file, "address", quoted(address));
            if let Some(scale) = scale {
                let clamp = if scale.clamp { ", clamp = true" } else { "" };
                let pair = |(low, high): (f64, f64)| format!("[{}, {}]", number(low), number(high));
                key(file, "scale", format_args!("{{ raw = {}, eu = {}{clamp} }}", pair(scale.raw), pair(scale.eu)));
            }
        }
        Origin::Memory { initial } => {
            if let Some(value) = initial {
                key(file, "initial", toml(value));
            }
            if draft.writable {
                key(file, "retain", true);
            }
        }
        Origin::Derived(formula) => key(file, "expression", quoted(&formula.text)),
    }
    if let Some(unit) = &draft.unit {
        key(file, "unit", quoted(unit));
    }
    if let Some((low, high)) = draft.range {
        key(file, "range", format_args!("[{}, {}]", number(low), number(high)));
    }
    if draft.writable {
        key(file, "writable", true);
    }
    if let Some(deadband) = draft.deadband {
        key(file, "deadband", number(deadband));
    }
    if draft.history {
        key(file, "history", true);
    }
    if let Some(description) = &draft.description {
        key(file, "description", quoted(description));
    }
    for alarm in &draft.alarms {
        file.push_str("\n[[tag.alarm]]\n");
        key(file, "name", quoted(&alarm.name));
        for (name, value) in &alarm.keys {
            key(file, name, toml(value));
        }
        for (name, pipeline) in &alarm.pipelines {
            key(file, name, quoted(pipeline));
        }
        if !alarm.data.is_empty() {
            let pairs: Vec<String> =
                alarm.data.iter().map(|(name, text)| format!("{} = {}", text::key(name), quoted(text))).collect();
            key(file, "data", format_args!("{{ {} }}", pairs.join(", ")));
        }
    }
    file.push('\n');
}

fn key(file: &mut String, name: &str, value: impl Display) {
    // Writing to a String cannot fail.
    _ = writeln!(file, "{name} = {value}");
}

fn toml(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Number(value) if value.is_f64() => number(value.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// A float with its point, in the form of TOML.
fn number(number: f64) -> String {
    format!("{number:?}")
}

impl Import {
    /// Sections for the configuration that the tag file needs and that are not among the names `sources` and `pipelines`; empty
    /// when there is nothing to add. Addresses and rosters in it are examples.
    #[must_use]
    pub fn suggestion(&self, sources: &[String], pipelines: &[String]) -> String {
        let mut text = String::new();
        for source in self.sources.iter().filter(|source| !sources.contains(&source.name)) {
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "# {}: {} tags. Set its address, and a user and password when it asks for them.",
                source.server.escape_debug(),
                source.tags
            );
            text.push_str("[[source]]\n");
            key(&mut text, "name", quoted(&source.name));
            text.push_str("kind = \"opcua\"\nurl = \"opc.tcp://192.0.2.20:62541\"\n\n");
        }
        for pipeline in self.pipelines.iter().filter(|name| !pipelines.contains(name)) {
            text.push_str("# Its steps were not in the export: say whom it tells.\n[[pipeline]]\n");
            key(&mut text, "name", quoted(pipeline));
            text.push_str("[[pipeline.step]]\nnotify = { profile = \"sms\", roster = \"operators\" }\n\n");
        }
        text
    }
}
