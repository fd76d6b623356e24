//! What all lists share: pages with a cursor, patterns of paths, words that may be repeated.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IntoDeserializer as _, value},
};

use super::problem::Problem;
use crate::store::Numbered;

/// Items of one page at most.
pub const MAX_PAGE: u32 = 10_000;
/// The longest text to look for, characters.
const MAX_TEXT: usize = 200;

/// How many items the caller wants.
///
/// # Errors
/// When that is none or more than [`MAX_PAGE`].
pub fn limit(wanted: Option<u32>, default: u32) -> Result<usize, Problem> {
    match wanted.unwrap_or(default) {
        limit @ 1..=MAX_PAGE => Ok(limit as usize),
        _ => Err(Problem::unprocessable(format!("`limit` is 1 to {MAX_PAGE}"))),
    }
}

/// The place after `key` in a list, in a form that nobody has to understand.
pub fn cursor(key: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key behind a cursor of the same list.
///
/// # Errors
/// When it is not one.
pub fn place<K: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<K>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let key = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    key.map(Some).ok_or_else(|| Problem::unprocessable("`cursor` is not the `next` of this list"))
}

/// The page after a cursor, in the order of `key`, and the cursor of the next one.
///
/// # Errors
/// When the cursor is not of this list.
pub fn page<T, K: Ord + Serialize + DeserializeOwned>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> K,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), Problem> {
    if let Some(after) = place::<K>(after)? {
        items.retain(|item| key(item) > after);
    }
    items.sort_by_cached_key(&key);
    let next = if items.len() > limit { items.get(limit - 1).map(|last| cursor(&key(last))) } else { None };
    items.truncate(limit);
    Ok((items, next))
}

/// What to ask the store for: one beyond the page tells whether there is another.
pub fn one_more(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(1)
}

/// The page that the store's answer to [`one_more`] holds, and the cursor of the next one.
pub fn cut<T>(mut entries: Vec<Numbered<T>>, limit: usize) -> (Vec<Numbered<T>>, Option<String>) {
    let next = if entries.len() > limit { entries.get(limit - 1).map(|last| cursor(&last.id)) } else { None };
    entries.truncate(limit);
    (entries, next)
}

/// True when `path` fits `pattern`, in which `*` stands for any characters and `?` for one.
pub fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern_rest, mut rest) = (pattern, path);
    // Where to go on when it does not fit: after the last star, one character further each time.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let (mut left, mut right) = (pattern_rest.chars(), rest.chars());
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern_rest = left.as_str();
                retry = Some((pattern_rest, rest));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern_rest, rest) = (left.as_str(), right.as_str());
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = retry else { return false };
        let mut further = from.chars();
        if further.next().is_none() {
            return false;
        }
        rest = further.as_str();
        pattern_rest = after_star;
        retry = Some((after_star, rest));
    }
}

/// A text to look for, in small letters.
///
/// # Errors
/// When it is too long.
pub fn needle(text: Option<&str>) -> Result<Option<String>, Problem> {
    if text.is_some_and(|text| text.chars().count() > MAX_TEXT) {
        return Err(Problem::unprocessable(format!("`text` has at most {MAX_TEXT} characters")));
    }
    Ok(text.filter(|text| !text.is_empty()).map(str::to_lowercase))
}

/// True when one of `texts` contains `needle`, whatever the case.
pub fn contains(needle: Option<&str>, texts: &[&str]) -> bool {
    needle.is_none_or(|needle| texts.iter().any(|text| text.to_lowercase().contains(needle)))
}

/// Reads a parameter that may be repeated, or hold several words separated by commas.
pub fn words<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| T::deserialize(word.into_deserializer()).map_err(|error: value::Error| D::Error::custom(Unknown(error))))
        .collect()
}

struct Unknown(value::Error);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_on_a_command_line() {
        for (pattern, fitting, not) in [
            ("", vec![""], vec!["a"]),
            ("*", vec!["", "a/b"], vec![]),
            (
                "Plant/*/Trip",
                vec!["Plant/A/Trip", "Plant/A/B/Trip", "Plant//Trip"],
                vec!["Plant/Trip", "Plant/A/Trip/x", "xPlant/A/Trip"],
            ),
            ("T?nk*", vec!["Tank", "Tünk/Level"], vec!["Tnk", "aTank"]),
            ("*a*b*", vec!["ab", "xaxbx", "aab"], vec!["ba", "a"]),
            ("[a]", vec!["[a]"], vec!["a"]),
        ] {
            for path in fitting {
                assert!(fits(pattern, path), "{pattern} {path}");
            }
            for path in not {
                assert!(!fits(pattern, path), "{pattern} {path}");
            }
        }
        // As hard as it gets: no blow-up.
        assert!(!fits(&"*a".repeat(200), &"b".repeat(5000)));
    }

    #[test]
    fn pages_cover_a_list_once() {
        let items: Vec<u32> = (0..25).rev().collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let (page, next) = page(items.clone(), |item| *item, cursor.as_deref(), 10).unwrap();
            seen.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).collect::<Vec<_>>());
        let (all, next) = page(items.clone(), |item| *item, None, 25).unwrap();
        assert_eq!((all.len(), next), (25, None), "a full last page has no next one");
        for wrong in ["x", "", "bm9uc2Vuc2U"] {
            assert!(page(items.clone(), |item| *item, Some(wrong), 10).is_err(), "{wrong}");
        }
        assert!(limit(Some(0), 10).is_err() && limit(Some(MAX_PAGE + 1), 10).is_err());
    }
}
