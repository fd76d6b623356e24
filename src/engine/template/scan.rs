//! Templates as text: what stands in their blocks, and mistakes with a place.

use std::ops::Range;

use super::{For, MAX_SOURCE, TemplateError};

/// What a template may ask of `alarm`.
const ALARM_FIELDS: [&str; 12] =
    ["path", "name", "tag", "value", "unit", "priority", "state", "message", "active_time", "event", "data", "code"];

/// `$parameters` is the placeholder form of other products; Jinja knows no `$`. A space for it keeps every position.
pub(super) fn prepare(source: &str) -> Result<String, TemplateError> {
    if source.len() > MAX_SOURCE {
        return Err(TemplateError { message: format!("longer than {MAX_SOURCE} bytes"), line: 1, span: None });
    }
    let mut prepared = source.to_owned();
    for (word, span) in in_blocks(source) {
        if word == "parameters" && source[..span.start].ends_with('$') {
            prepared.replace_range(span.start - 1..span.start, " ");
        }
    }
    Ok(prepared)
}

/// The words in `{{ … }}` and `{% … %}`, outside of quotes, with their places.
pub(super) fn in_blocks(source: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut words = Vec::new();
    let (mut block, mut quote, mut word) = (None, None, None);
    let bytes = source.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match (block, quote) {
            (None, _) => {
                if byte == b'{' && matches!(bytes.get(index + 1), Some(b'{' | b'%')) {
                    block = Some(if bytes[index + 1] == b'{' { b'}' } else { b'%' });
                    index += 1;
                }
            }
            (Some(_), Some(mark)) => {
                if byte == b'\\' {
                    index += 1;
                } else if byte == mark {
                    quote = None;
                }
            }
            (Some(end), None) => {
                match (is_word, word) {
                    (true, None) => word = Some(index),
                    (false, Some(start)) => {
                        words.push((&source[start..index], start..index));
                        word = None;
                    }
                    _ => {}
                }
                if byte == b'"' || byte == b'\'' {
                    quote = Some(byte);
                } else if byte == end && bytes.get(index + 1) == Some(&b'}') {
                    block = None;
                    index += 1;
                }
            }
        }
        index += 1;
    }
    words.into_iter()
}

/// True when `word` (a slice of `source`) opens a statement block and is `name`.
pub(super) fn is_statement(source: &str, word: &str, name: &str) -> bool {
    let start = word.as_ptr() as usize - source.as_ptr() as usize;
    word == name && source[..start].trim_end_matches([' ', '-', '+', '\t', '\n', '\r']).ends_with("{%")
}

pub(super) fn check_name(source: &str, name: &str, about: For) -> Result<(), TemplateError> {
    let mut parts = name.split('.');
    let (root, field) = (parts.next().unwrap_or_default(), parts.next());
    let problem = match (root, field) {
        ("alarm" | "data", _) if about == For::Event => {
            "application events know no alarm, expected `properties`, `event`, `user`, `site`, `tags[\"path\"]` or `$parameters.name`"
                .to_owned()
        }
        ("properties" | "event", _) if about == For::Event => return Ok(()),
        ("alarm", Some(field)) if !ALARM_FIELDS.contains(&field) => {
            let near = ALARM_FIELDS.iter().max_by(|a, b| strsim::jaro(field, a).total_cmp(&strsim::jaro(field, b)));
            format!("unknown field `alarm.{field}`, did you mean `alarm.{}`?", near.unwrap_or(&"path"))
        }
        ("alarm", None) => "`alarm` needs a field, such as `alarm.path`".to_owned(),
        ("user" | "site", Some(field)) if field != "name" => {
            format!("unknown field `{root}.{field}`, there is only `{root}.name`")
        }
        ("alarm" | "user" | "site" | "tags" | "parameters" | "range" | "dict" | "loop", _) => return Ok(()),
        (root, _) => format!("unknown name `{root}`, expected `alarm`, `user`, `site`, `tags[\"path\"]` or `$parameters.name`"),
    };
    let wrong = field.unwrap_or(root);
    let place = in_blocks(source).find(|(word, _)| *word == wrong).map(|(_, span)| span);
    Err(match place {
        Some(span) => at(source, span, problem),
        None => TemplateError { message: problem, line: 1, span: None },
    })
}

pub(super) fn at(source: &str, span: Range<usize>, message: String) -> TemplateError {
    let line = source[..span.start].matches('\n').count() + 1;
    TemplateError { message, line, span: Some(span) }
}
