//! A look at a script's text before Rhai's: which functions it calls and which tags it names.
//!
//! Rhai finds an unknown function only when it is called, which for a script that runs at night is too late. This look is rough
//! and never refuses what could be right: a name that also stands anywhere without a `(` may be a variable that holds a function.

use std::{collections::BTreeSet, iter::Peekable, ops::Range, str::CharIndices};

/// Words that may stand before a `(` without being a call; of `eval` Rhai says itself that it is disabled.
const KEYWORDS: [&str; 21] = [
    "if", "else", "while", "until", "loop", "do", "for", "in", "switch", "return", "throw", "try", "catch", "let", "const", "fn",
    "break", "continue", "this", "private", "eval",
];

/// One call in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The function.
    pub name: String,
    /// Where its name stands, in bytes.
    pub span: Range<usize>,
    /// The first argument, where that is a plain text: without its quotes, and its place.
    pub text: Option<(String, Range<usize>)>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Calls of functions that the script does not define itself, in order.
    pub calls: Vec<Call>,
    /// Functions that the script defines.
    pub defined: BTreeSet<String>,
}

/// Looks at `source`; text that is no Rhai is looked at as far as it goes.
pub(super) fn scan(source: &str) -> Seen {
    let mut scanner = Scanner { source, chars: source.char_indices().peekable(), tokens: Vec::new() };
    scanner.code(false);
    let tokens = scanner.tokens;
    let mut seen = Seen::default();
    let mut values = BTreeSet::new();
    let mut calls = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let Token::Word(name, span) = token else { continue };
        if KEYWORDS.contains(&name.as_str()) {
            continue;
        }
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        if before.is_some_and(|before| matches!(before, Token::Word(word, _) if word == "fn")) {
            seen.defined.insert(name.clone());
        } else if tokens.get(index + 1) == Some(&Token::Sign('(')) {
            let text = match (tokens.get(index + 2), tokens.get(index + 3)) {
                (Some(Token::Text(text, place)), Some(Token::Sign(',' | ')'))) => Some((text.clone(), place.clone())),
                _ => None,
            };
            calls.push(Call { name: name.clone(), span: span.clone(), text });
        } else {
            values.insert(name.clone());
        }
    }
    calls.retain(|call| !values.contains(&call.name) && !seen.defined.contains(&call.name));
    seen.calls = calls;
    seen
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String, Range<usize>),
    /// A text in quotes without escapes; others are `Sign('"')`.
    Text(String, Range<usize>),
    Sign(char),
}

struct Scanner<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    /// Code up to the end, or up to the `}` that ends an interpolation.
    fn code(&mut self, interpolated: bool) {
        let mut depth = 0_usize;
        while let Some((start, c)) = self.chars.next() {
            match c {
                'a'..='z' | 'A'..='Z' | '_' => {
                    while self.chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_').is_some() {}
                    let span = start..self.offset();
                    self.tokens.push(Token::Word(self.source[span.clone()].to_owned(), span));
                }
                '0'..='9' => while self.chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_').is_some() {},
                '"' => self.text(start),
                '\'' => self.character(),
                '`' => self.template(),
                '#' if self.source[start..].trim_start_matches('#').starts_with('"') => self.raw(start),
                '/' if self.source[start..].starts_with("//") => while self.chars.next_if(|(_, c)| *c != '\n').is_some() {},
                '/' if self.source[start..].starts_with("/*") => self.comment(),
                '}' if interpolated && depth == 0 => return,
                c if c.is_whitespace() => {}
                c => {
                    match c {
                        '{' => depth += 1,
                        '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    self.tokens.push(Token::Sign(c));
                }
            }
        }
    }

    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.source.len(), |(offset, _)| *offset)
    }

    fn text(&mut self, start: usize) {
        let mut plain = true;
        while let Some((end, c)) = self.chars.next() {
            match c {
                '\\' => {
                    plain = false;
                    self.chars.next();
                }
                '"' if plain => {
                    return self.tokens.push(Token::Text(self.source[start + 1..end].to_owned(), start..end + 1));
                }
                '"' => break,
                _ => {}
            }
        }
        self.tokens.push(Token::Sign('"'));
    }

    fn character(&mut self) {
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\\' => drop(self.chars.next()),
                '\'' | '\n' => break,
                _ => {}
            }
        }
        self.tokens.push(Token::Sign('\''));
    }

    /// A text in backticks, with code in `${…}`.
    fn template(&mut self) {
        self.tokens.push(Token::Sign('`'));
        while let Some((_, c)) = self.chars.next() {
            match c {
                '`' if self.chars.next_if(|(_, c)| *c == '`').is_none() => break,
                '$' if self.chars.next_if(|(_, c)| *c == '{').is_some() => self.code(true),
                _ => {}
            }
        }
        self.tokens.push(Token::Sign('`'));
    }

    /// `#"…"#`, with as many `#` after as before.
    fn raw(&mut self, start: usize) {
        let rest = &self.source[start..];
        let signs = rest.len() - rest.trim_start_matches('#').len();
        let close = format!("\"{}", "#".repeat(signs));
        let end = rest[signs + 1..].find(&close).map_or(self.source.len(), |end| start + signs + 1 + end + close.len());
        while self.chars.next_if(|(offset, _)| *offset < end).is_some() {}
        self.tokens.push(Token::Sign('"'));
    }

    /// `/* … */`; they nest.
    fn comment(&mut self) {
        let mut depth = 1_usize;
        self.chars.next();
        while let Some((start, _)) = self.chars.next() {
            let rest = &self.source[start..];
            if rest.starts_with("/*") {
                depth += 1;
            } else if rest.starts_with("*/") {
                depth -= 1;
            } else {
                continue;
            }
            self.chars.next();
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_seen_and_what_only_looks_like_one_is_not() {
        for (source, expected) in [
            ("tag(\"A/B\") + f(1)", vec!["tag A/B", "f"]),
            ("system.twilio.getUser(0).getUsername()", vec!["getUser", "getUsername"]),
            ("fn f(x) { x } f(1)", vec![]),
            ("let f = |x| x + 1; f(2)", vec![]),
            ("if (true) { g() } // h()\n/* i() /* j() */ k() */ l ( )", vec!["g", "l"]),
            ("\"m()\" + `n() ${o(\"P\") + `${q()}`} r()` + 's' + #\"t(\"#", vec!["o P", "q"]),
            ("write(\"a\\\"b\", 1); write(\"A\", 2); write(\"A\" + x, 3)", vec!["write", "write A", "write"]),
            ("#{ a: u(1) }.a; `open ${v(", vec!["u", "v"]),
            ("'\\'' + w()", vec!["w"]),
        ] {
            let shown: Vec<String> = scan(source)
                .calls
                .into_iter()
                .map(|call| {
                    assert_eq!(source[call.span], call.name);
                    call.text.map_or(call.name.clone(), |(text, _)| format!("{} {text}", call.name))
                })
                .collect();
            assert_eq!(shown, expected, "{source}");
        }
    }
}
