//! The patterns of the operator Like (Part 4, 7.7.3): `%` any characters, `_` one, `[a-c]` one of a list, `[^a-c]` one that is not
//! in it, `\` takes the next character as it is.

/// The most parts of a pattern. The time to match is at most parts × characters.
pub const MAX_PARTS: usize = 256;
/// Characters of a text that are looked at; a longer one does not match.
const MAX_TEXT: usize = 16_384;

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Any,
    One,
    Is(char),
    In(Box<[(char, char)]>, bool),
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Is(wanted) => *wanted == character,
            Self::In(ranges, wanted) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) == *wanted,
        }
    }
}

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Like(Box<[Part]>);

impl Like {
    /// `None` for a pattern with a list that does not end, or with more than [`MAX_PARTS`] parts.
    pub fn parse(pattern: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = pattern.chars();
        let mut size = 0;
        while let Some(character) = rest.next() {
            let part = match character {
                '%' if parts.last() == Some(&Part::Any) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => Part::Is(rest.next()?),
                '[' => list(&mut rest)?,
                other => Part::Is(other),
            };
            size += if let Part::In(ranges, _) = &part { ranges.len().max(1) } else { 1 };
            if size > MAX_PARTS {
                return None;
            }
            parts.push(part);
        }
        Some(Self(parts.into()))
    }

    /// True when all of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > MAX_TEXT {
            return false;
        }
        let characters: Vec<char> = text.chars().collect();
        let (mut part, mut place) = (0, 0);
        // After the last `%`: where the pattern goes on, and where the text is tried next. Earlier ones need not be looked at again.
        let mut again = None;
        while place < characters.len() {
            match self.0.get(part) {
                Some(Part::Any) => {
                    part += 1;
                    again = Some((part, place));
                }
                Some(fixed) if fixed.takes(characters[place]) => {
                    part += 1;
                    place += 1;
                }
                _ => {
                    let Some((from, tried)) = again else { return false };
                    again = Some((from, tried + 1));
                    (part, place) = (from, tried + 1);
                }
            }
        }
        self.0[part..].iter().all(|part| *part == Part::Any)
    }
}

/// What stands between brackets.
fn list(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut wanted = true;
    let mut is_first = true;
    let mut dash = false;
    loop {
        let character = match rest.next()? {
            '^' if is_first => {
                wanted = false;
                is_first = false;
                continue;
            }
            ']' => break,
            '-' if !ranges.is_empty() && !dash => {
                dash = true;
                continue;
            }
            '\\' => rest.next()?,
            other => other,
        };
        is_first = false;
        match ranges.last_mut() {
            Some(range) if dash => range.1 = character,
            _ => ranges.push((character, character)),
        }
        dash = false;
        if ranges.len() > MAX_PARTS {
            return None;
        }
    }
    if dash {
        ranges.push(('-', '-'));
    }
    Some(Part::In(ranges.into(), wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_standard() {
        for (pattern, text, expected) in [
            ("main%", "main", true),
            ("main%", "mainstreet", true),
            ("main%", "domain", false),
            ("%en%", "entail", true),
            ("%en%", "green", true),
            ("%en%", "content", true),
            ("%en%", "e n", false),
            ("_ould", "would", true),
            ("_ould", "ould", false),
            ("5[%]", "5%", true),
            ("5[_]", "5_", true),
            (r"5\%", "5%", true),
            (r"5\%", "5x", false),
            ("abc[13-68]", "abc1", true),
            ("abc[13-68]", "abc4", true),
            ("abc[13-68]", "abc2", false),
            ("abc[13-68]", "abc8", true),
            ("ABC[^13-5]", "ABC2", true),
            ("ABC[^13-5]", "ABC4", false),
            ("[a-]", "-", true),
            ("[]", "", false),
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("%a%b%", "xxaxxbxx", true),
            ("%a%b", "ab b", true),
            ("a%a", "a", false),
            ("ä_", "äö", true),
        ] {
            assert_eq!(Like::parse(pattern).unwrap().matches(text), expected, "{pattern:?} {text:?}");
        }
        for bad in ["[a", "[", r"a\", r"[\"] {
            assert_eq!(Like::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hostile_patterns_are_bounded() {
        assert_eq!(Like::parse(&"a".repeat(MAX_PARTS + 1)), None);
        assert_eq!(Like::parse(&format!("[{}]", "ab".repeat(MAX_PARTS))), None);
        assert_eq!(Like::parse(&"%".repeat(10_000)), Like::parse("%"));
        let worst = Like::parse(&format!("{}b", "%a".repeat(100))).unwrap();
        assert!(!worst.matches(&"a".repeat(MAX_TEXT)));
        assert!(!worst.matches(&"a".repeat(MAX_TEXT + 1)));
    }
}
