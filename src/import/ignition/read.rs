//! Reading an export: one file in any of its envelopes, or the folder in which Ignition 8.3 keeps a provider's tags.

use std::{fs, path::Path};

use serde_json::{Map, Value as Json, json};

/// The largest file, in bytes.
pub const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// The most files of a folder.
const MAX_FILES: usize = 10_000;
/// The deepest folder.
const MAX_LEVELS: usize = 40;

/// The nodes of an export.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// As they stand at the top of the provider.
    pub nodes: Vec<Json>,
    /// What could not be read of a folder: file and reason.
    pub(super) notes: Vec<(String, String)>,
}

/// Reads a file, or a folder of `tags.json` and `udts.json`.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn read(path: &Path) -> Result<Export, String> {
    let kind = fs::metadata(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    if !kind.is_dir() {
        let text = text_of(path)?;
        return parse(&text).map_err(|why| format!("failed to read {}: {why}", path.display()));
    }
    let mut export = Export::default();
    let mut files = 0;
    folder(path, &mut Vec::new(), &mut files, &mut export)?;
    if files == 0 {
        let place = path.display();
        return Err(format!("failed to read {place}: there is neither tags.json nor udts.json in this folder or below it"));
    }
    Ok(export)
}

fn folder(path: &Path, way: &mut Vec<String>, files: &mut usize, export: &mut Export) -> Result<(), String> {
    if way.len() > MAX_LEVELS {
        return Err(format!("failed to read {}: more than {MAX_LEVELS} folders lie within each other", path.display()));
    }
    let failed = |error| format!("failed to read {}: {error}", path.display());
    let mut entries: Vec<_> = fs::read_dir(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link to a folder is not followed: it could lead in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            way.push(name);
            folder(&entry.path(), way, files, export)?;
            way.pop();
        } else if name == "tags.json" || name == "udts.json" {
            *files += 1;
            if *files > MAX_FILES {
                return Err(format!("failed to read {}: it has more than {MAX_FILES} files", path.display()));
            }
            let text = text_of(&entry.path())?;
            let nodes = parse(&text).map_err(|why| format!("failed to read {}: {why}", entry.path().display()))?.nodes;
            export.nodes.extend(placed(nodes, way, name == "udts.json"));
        } else if name != "resource.json" && !name.starts_with('.') {
            export.notes.push((entry.path().display().to_string(), "this file is neither tags.json nor udts.json".to_owned()));
        }
    }
    Ok(())
}

/// The nodes of a file below the folders in which it lies.
fn placed(nodes: Vec<Json>, way: &[String], definitions: bool) -> Vec<Json> {
    const TYPES: &str = "_types_";
    let mut way: Vec<&str> = way.iter().map(String::as_str).collect();
    if definitions && way.first() != Some(&TYPES) {
        way.insert(0, TYPES);
    }
    way.iter().rev().fold(nodes, |nodes, name| vec![json!({ "name": name, "tagType": "Folder", "tags": nodes })])
}

fn text_of(path: &Path) -> Result<String, String> {
    let failed = |why: String| format!("failed to read {}: {why}", path.display());
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(failed(format!("it has {size} bytes, at most {MAX_BYTES} are read: export fewer folders at a time")));
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(failed("it is UTF-16: save it as UTF-8".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8: export it as JSON from Ignition 8".to_owned()))
}

/// Takes the nodes out of their envelope: a provider, `{"tags": […]}`, a list of nodes, or one node.
///
/// # Errors
/// Why the text is no export.
pub fn parse(text: &str) -> Result<Export, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    if text.starts_with('<') {
        return Err("this is XML, as Ignition 7 exports it: export the tags as JSON from Ignition 8".to_owned());
    }
    let value: Json = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    let nodes = match value {
        Json::Array(nodes) => nodes,
        Json::Object(table) => unwrap(table)?,
        _ => return Err(NOT_AN_EXPORT.to_owned()),
    };
    if nodes.iter().any(|node| !node.is_object()) {
        return Err(NOT_AN_EXPORT.to_owned());
    }
    Ok(Export { nodes, notes: Vec::new() })
}

const NOT_AN_EXPORT: &str =
    "this JSON is no tag export: expected {\"tags\": […]}, a list of tags, or one tag with a \"name\" and a \"tagType\"";

fn unwrap(mut table: Map<String, Json>) -> Result<Vec<Json>, String> {
    let name = table.get("name").and_then(Json::as_str).unwrap_or_default();
    let provider = table.get("tagType").and_then(Json::as_str) == Some("Provider");
    if provider || name.is_empty() {
        return match table.remove("tags") {
            Some(Json::Array(nodes)) => Ok(nodes),
            _ => Err(NOT_AN_EXPORT.to_owned()),
        };
    }
    Ok(vec![Json::Object(table)])
}

fn explain(text: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // A script that prints a dictionary instead of encoding it makes files that look almost like JSON.
    let python = ["True", "False", "None", "u'", "{'", "['"].iter().any(|word| line.contains(word));
    let advice = if python {
        "; this looks like Python, not JSON: export the tags with Ignition's designer, or with json.dumps"
    } else {
        ""
    };
    format!("not JSON: {error}{advice}")
}
