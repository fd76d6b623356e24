//! A tag file for the variables of a server.

use std::{collections::HashMap, fmt::Write};

use serde::Serialize;

use super::Node;
use crate::{config::text::quoted, tag::TagPath};

/// A tag file, and what is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagFile {
    /// Tags in the file.
    pub tags: usize,
    /// Variables that cannot be tags, in the server's order.
    pub left_out: Vec<LeftOut>,
    /// The text.
    #[serde(rename = "tag_file")]
    pub text: String,
}

/// A variable that cannot be a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The path that it would have had.
    pub path: String,
    /// As a tag's `address` names it.
    pub address: String,
    /// Why.
    pub why: String,
}

impl Node {
    /// A tag for every variable that can be one, as tags of `source` under a folder of its name. Properties say something about
    /// their variable and are no tags; what lies below a variable has a path of its own with a point, because a tag cannot be a
    /// folder.
    #[must_use]
    pub fn tag_file(&self, source: &str, writable: bool) -> TagFile {
        let mut writer = Writer { source, writable, taken: HashMap::new(), file: TagFile::default() };
        let mut folder = segment(source);
        if matches!(folder.as_str(), "System" | "Alarms") {
            // Reserved as first segments.
            folder.push('_');
        }
        writer.below(self, &format!("{folder}/"));
        writer.file
    }
}

struct Writer<'w> {
    source: &'w str,
    writable: bool,
    taken: HashMap<String, usize>,
    file: TagFile,
}

impl Writer<'_> {
    /// `prefix` ends with what stands between a parent and its children.
    fn below(&mut self, node: &Node, prefix: &str) {
        for child in node.children.iter().filter(|child| !child.property) {
            let path = self.unique(&format!("{prefix}{}", segment(&child.name)));
            let too_long = TagPath::new(&path).err().map(|error| error.to_string());
            let why = too_long.or_else(|| child.not_a_tag.clone());
            match (why, &child.value_type) {
                (None, Some(value_type)) => {
                    self.tag(child, &path, value_type);
                    self.below(child, &format!("{path}."));
                    continue;
                }
                (Some(why), _) if child.class == "Variable" => {
                    self.file.left_out.push(LeftOut { path: path.clone(), address: child.address.clone(), why });
                }
                _ => {}
            }
            self.below(child, &format!("{path}/"));
        }
    }

    /// Browse names need not be unique.
    fn unique(&mut self, path: &str) -> String {
        let mut candidate = path.to_owned();
        loop {
            if !self.taken.contains_key(&candidate) {
                self.taken.insert(candidate.clone(), 1);
                return candidate;
            }
            let times = self.taken.entry(path.to_owned()).or_insert(1);
            *times += 1;
            candidate = format!("{path} {times}");
        }
    }

    fn tag(&mut self, node: &Node, path: &str, value_type: &str) {
        self.file.tags += 1;
        let (path, source, address) = (quoted(path), quoted(self.source), quoted(&node.address));
        let text = &mut self.file.text;
        // Writing to a String cannot fail.
        _ = write!(text, "[[tag]]\npath = {path}\ntype = \"{value_type}\"\nsource = {source}\naddress = {address}\n");
        if let Some(unit) = &node.unit {
            _ = writeln!(text, "unit = {}", quoted(unit));
        }
        if let Some((low, high)) = node.range {
            _ = writeln!(text, "range = [{low:?}, {high:?}]");
        }
        if self.writable && node.writable {
            text.push_str("writable = true\n");
        }
        if !node.description.trim().is_empty() {
            _ = writeln!(text, "description = {}", quoted(&node.description));
        }
        text.push('\n');
    }
}

/// A browse name as a path's segment.
fn segment(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    match clean.trim() {
        "" => "_".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{File, Loader, load, render::render},
        source::opcua::DRIVER,
        tag::Names,
    };

    fn node(name: &str, value_type: Option<&str>, children: Vec<Node>) -> Node {
        Node {
            address: format!("nsu=urn:x;s={name}"),
            name: name.to_owned(),
            class: "Variable".to_owned(),
            value_type: value_type.map(str::to_owned),
            not_a_tag: value_type.is_none().then(|| "its values are structures".to_owned()),
            children,
            ..Node::default()
        }
    }

    fn folder(name: &str, children: Vec<Node>) -> Node {
        Node { class: "Object".to_owned(), not_a_tag: None, ..node(name, None, children) }
    }

    #[test]
    fn a_tag_file_has_every_variable_once_and_passes_check() {
        let property = Node { property: true, ..node("EURange", Some("Double"), Vec::new()) };
        let level = Node {
            unit: Some("${%}".to_owned()),
            range: Some((0.0, 90.0)),
            description: "Feed\ntank \u{7f}".to_owned(),
            writable: true,
            ..node("A/\"x\"", Some("Double"), vec![property, node("B", Some("Boolean"), Vec::new())])
        };
        let structure = node("S", None, vec![node("Field", Some("Int16"), Vec::new())]);
        let long = node(&"x".repeat(1100), Some("Byte"), Vec::new());
        let twins = ["B", "B", "B 2"].map(|name| node(name, Some("Byte[]"), Vec::new()));
        let children =
            [vec![level, structure, folder("B", vec![node("In", Some("String"), Vec::new())]), long], twins.to_vec()].concat();
        let root = folder("Objects", children);
        let file = root.tag_file("System", true);
        let source = "[[source]]\nname = 'System'\nkind = 'opcua'\nurl = 'opc.tcp://localhost:4840'\n";
        let of = |name: &str, text: &str| [File { name: name.into(), text: text.into() }];
        let loader = Loader { env: &|_| None, read_file: &|_| Err(String::new()) };
        let loaded = load(&of("c", source), &of("t", &file.text), &[DRIVER], loader, &mut Names::default());
        let plan = loaded.unwrap_or_else(|problems| panic!("{}\n{}", render(&problems, false), file.text)).plan;
        let paths = ["A_\"x\"", "A_\"x\".B", "S/Field", "B/In", "B 2", "B 3", "B 2 2"];
        for path in paths {
            assert!(plan.tag_at(&format!("System_/{path}")).is_some(), "{path}: {}", file.text);
        }
        assert_eq!(file.tags, paths.len());
        let level = plan.tag_at("System_/A_\"x\"").unwrap();
        assert_eq!((level.unit.as_deref(), level.range, level.writable), (Some("${%}"), Some((0.0, 90.0)), true));
        assert_eq!(&*level.description, "Feed\ntank \u{7f}");
        let left_out: Vec<_> = file.left_out.iter().map(|left| left.why.as_str()).collect();
        assert_eq!(left_out, ["its values are structures", "a path has at most 1024 bytes"]);
        assert!(!root.tag_file("System", false).text.contains("writable"));
    }
}
