//! Problems as a person reads them: file, line, column, the text underlined, what would be right.

use std::{fmt::Write as _, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::problems::{Place, Problem, Problems, Severity, SourceText};

/// What begins words in keys whose values are never shown; `pins` is a mistake, and has PINs all the same.
const SECRET_WORDS: [&str; 5] = ["token", "secret", "passw", "pin", "hash"];

/// What stands for each byte of a secret.
const MASK: char = '*';

/// All problems, one paragraph each, and a last line that counts them. `colour` is for terminals.
#[must_use]
pub fn render(problems: &Problems, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let shown: std::collections::HashMap<usize, SourceText> = problems
        .files
        .iter()
        .map(|(file, source)| (*file, SourceText { name: Arc::clone(&source.name), text: mask(&source.text).into() }))
        .collect();
    let mut text = String::new();
    for problem in &problems.list {
        let group = group(problem, &|file| shown.get(&file));
        let _ = writeln!(text, "{}\n", renderer.render(&[group]));
    }
    text.push_str(&summary(problems));
    text.push('\n');
    text
}

/// `2 errors, 1 warning`.
#[must_use]
pub fn summary(problems: &Problems) -> String {
    let count = |number: usize, word: &str| match number {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    format!("{}, {}", count(problems.errors(), "error"), count(problems.warnings(), "warning"))
}

fn group<'a>(problem: &'a Problem, source: &dyn Fn(usize) -> Option<&'a SourceText>) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(problem.message.as_str()).elements(std::iter::empty::<annotate_snippets::Message<'_>>());
    let second = problem.second.as_ref();
    let beside = second.filter(|(second, _)| problem.place.as_ref().is_some_and(|place| place.file == second.file));
    if let Some((place, file)) = problem.place.as_ref().and_then(|place| Some((place, source(place.file)?))) {
        let mut snippet = snippet(file).annotation(AnnotationKind::Primary.span(span(place, &file.text)));
        if let Some((second, label)) = beside {
            snippet = snippet.annotation(AnnotationKind::Context.span(span(second, &file.text)).label(label.as_str()));
        }
        group = group.element(snippet);
    }
    if let Some(((place, label), None)) = second.map(|second| (second, beside))
        && let Some(file) = source(place.file)
    {
        let annotation = AnnotationKind::Context.span(span(place, &file.text)).label(label.as_str());
        group = group.element(snippet(file).annotation(annotation));
    }
    if !problem.help.is_empty() {
        group = group.element(Level::HELP.message(problem.help.as_str()));
    }
    group
}

fn snippet(file: &SourceText) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(&*file.text).path(&*file.name)
}

/// The place within the text, cut to its first line: a table that is wrong as a whole is shown by its head.
fn span(place: &Place, text: &str) -> Range<usize> {
    // The file may be another one now than when it was read.
    let start = text.floor_char_boundary(place.span.start);
    let end = text.floor_char_boundary(place.span.end).max(start);
    let end = text[start..end].find('\n').map_or(end, |line| start + line);
    start..end
}

/// The text with the values of secret keys covered, byte for byte, so that every place stays where it is. Works on lines, so
/// that it also holds for files that are not TOML.
fn mask(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut table = "";
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') {
            table = line;
        }
        // Whoever knows where it goes can send it.
        let is_heartbeat = table.contains("heartbeat") || line.trim_start().starts_with("heartbeat");
        let mut rest = line;
        while let Some(equals) = rest.find('=') {
            let (before, after) = rest.split_at(equals + 1);
            result.push_str(before);
            rest = after;
            let key = before[..equals].rsplit([',', '{', ' ', '\t', '?', '&']).find(|word| !word.is_empty()).unwrap_or_default();
            let key = key.trim_matches(['"', '\'']).to_ascii_lowercase();
            let is_secret = !key.ends_with("_file")
                && SECRET_WORDS.iter().any(|word| key.split('_').any(|part| part.starts_with(word)))
                || is_heartbeat && key.ends_with("url");
            let Some(quote) = rest.trim_start().chars().next().filter(|_| is_secret) else { continue };
            let (secret, after) = quoted(rest, quote);
            result.extend(secret.chars().flat_map(cover));
            // Further values of the same key, up to the next one.
            let (more, after) = after.split_at(after.find('=').unwrap_or(after.len()));
            let covered: String = more.chars().flat_map(cover).collect();
            result.push_str(if more.contains(['"', '\'']) { &covered } else { more });
            rest = after;
        }
        result.push_str(rest);
    }
    mask_urls(&result)
}

/// The text with the password of each URL covered: what stands in `scheme://user:password@host` between the colon and the last `@`
/// before the end of the value.
fn mask_urls(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        result.push_str(before);
        let (authority, after) = after.split_at(after.find(['"', '\'', '\n', '\r', ' ', '\t']).unwrap_or(after.len()));
        match authority.rfind('@').and_then(|at| Some((authority[..at].find(':')?, at))) {
            Some((colon, at)) => {
                result.push_str(&authority[..=colon]);
                result.extend(authority[colon + 1..at].chars().flat_map(cover));
                result.push_str(&authority[at..]);
            }
            None => result.push_str(authority),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Divides `rest` after the value that begins it: a string in quotes, or everything up to the end of the line.
fn quoted(rest: &str, quote: char) -> (&str, &str) {
    if !matches!(quote, '"' | '\'') {
        return (rest, "");
    }
    let start = rest.find(quote).unwrap_or(0) + 1;
    let end = rest[start..].find(quote).map_or(rest.len(), |end| start + end + 1);
    rest.split_at(end)
}

/// Stars for what a character is in bytes; quotes, spaces and ends of lines stay.
fn cover(character: char) -> impl Iterator<Item = char> {
    let keep = matches!(character, '"' | '\'' | ' ' | '\t' | '\n' | '\r');
    let (shown, count) = if keep { (character, 1) } else { (MASK, character.len_utf8()) };
    std::iter::repeat_n(shown, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered() {
        for (text, shown) in [
            ("pin = \"4711\" # x = 1\n", "pin = \"****\" # x = 1\n"),
            ("pin = 4711\nname = 'a'\n", "pin = ****\nname = 'a'\n"),
            ("auth_token = '${X:-é}'\n", "auth_token = '********'\n"),
            ("pin = \"4711\nname = 'a'\n", "pin = \"****\nname = 'a'\n"),
            ("u = { name = 'a', password_hash = \"$a=b\" }", "u = { name = 'a', password_hash = \"****\" }"),
            ("pin_file = \"/run/pin\"\nspinning = 'x'\n", "pin_file = \"/run/pin\"\nspinning = 'x'\n"),
            ("url = \"postgres://a:p/w@1@db:5432/a\" # a@b\n", "url = \"postgres://a:*****@db:5432/a\" # a@b\n"),
            ("url = 'postgres://db/a?password=x&b=c'\n", "url = 'postgres://db/a?password=*****'\n"),
            ("pins = '4711', '4712'\nname = 'a'\n", "pins = '****'* '****'\nname = 'a'\n"),
            ("p = { pin = '4711', name = 'a' }\n", "p = { pin = '****', name = 'a' }\n"),
            ("[heartbeat]\nurl = 'http://a/b?c=d'\n[x]\nurl = 'y'\n", "[heartbeat]\nurl = '**************'\n[x]\nurl = 'y'\n"),
            ("url = \"postgres://a@db:5432/a\"\n", "url = \"postgres://a@db:5432/a\"\n"),
            ("url = \"opc.tcp://plc:4840/a\" to = 'x@y'\n", "url = \"opc.tcp://plc:4840/a\" to = 'x@y'\n"),
        ] {
            assert_eq!(mask(text), shown);
            assert_eq!(mask(text).len(), text.len());
        }
    }
}
