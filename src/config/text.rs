//! Small languages inside strings: `${VAR}`, durations, times of day.

use std::time::Duration;

/// Replaces `${VAR}` and `${VAR:-default}`; `$${` stands for `${`.
///
/// # Errors
/// When a variable is not set and has no default, or a `${` is not closed. The message names the variable, never a value.
pub(super) fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, (String, String)> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &after[2..];
            continue;
        }
        result.push_str(before);
        let Some(end) = after.find('}') else {
            return Err((
                "`${` without `}`".into(),
                "write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`".into(),
            ));
        };
        let inside = &after[2..end];
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let help = "names have letters, digits and `_`; write `$${` for a literal `${`";
            return Err((format!("`{name}` is not the name of an environment variable"), help.into()));
        }
        // As in a shell, `:-` also covers a variable that is set to nothing.
        match (env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => result.push_str(&value),
            (None, Some(default)) => result.push_str(default),
            (None, None) => {
                let help = format!("set it, or give a default: `${{{name}:-…}}`");
                return Err((format!("the environment variable `{name}` is not set"), help));
            }
        }
        rest = &after[end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

/// `text` as a TOML string that [`substitute`] gives back unchanged.
#[must_use]
pub fn quoted(text: &str) -> String {
    key(&text.replace("${", "$${"))
}

/// `text` as a quoted key, in which nothing is substituted. JSON escapes as TOML does, but for the delete character.
#[must_use]
pub fn key(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// Units of a duration and their length in milliseconds.
const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3_600e3), ("d", 86_400e3)];

/// The longest duration that can be written: 10 years.
const LONGEST_MS: f64 = 10.0 * 366.0 * 86_400e3;

/// A duration as the configuration writes it: `500ms`, `1.5s`, `10m`, `1h30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut milliseconds = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |end| digits + end);
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[digits..unit_end])?;
        milliseconds += number * factor;
        rest = &rest[unit_end..];
    }
    (milliseconds <= LONGEST_MS).then(|| Duration::from_secs_f64(milliseconds / 1e3))
}

/// A duration in the way that [`duration`] reads it, in the greatest unit that fits.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        // Two days and more are clearer in days, one day is `24h`.
        let enough = if unit == "d" { milliseconds > length } else { milliseconds >= length };
        if enough && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    if milliseconds == 0 { "0s".into() } else { format!("{milliseconds}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("500ms", Some(ms(500))),
            ("5s", Some(ms(5_000))),
            ("1.5s", Some(ms(1_500))),
            ("1h30m", Some(ms(5_400_000))),
            ("0s", Some(ms(0))),
            ("2d", Some(ms(172_800_000))),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s", None),
            ("-5s", None),
            ("5S", None),
            ("1e9s", None),
            ("1..5s", None),
            ("99999999h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        for (length, shown) in [(0, "0s"), (500, "500ms"), (900_000, "15m"), (86_400_000, "24h"), (1_001, "1001ms")] {
            assert_eq!(show_duration(ms(length)), shown);
        }
    }

    #[test]
    fn variables() {
        let env = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain $argon2id$v=19", Ok("plain $argon2id$v=19")),
            ("<${A}${A}>", Ok("<xx>")),
            ("${B:-tcp://h:1}", Ok("tcp://h:1")),
            ("${EMPTY:-d}", Ok("d")),
            ("${EMPTY}", Ok("")),
            ("${B:-}", Ok("")),
            ("$${A}", Ok("${A}")),
            ("${B}", Err("the environment variable `B` is not set")),
            ("${A", Err("`${` without `}`")),
            ("${A-b}", Err("`A-b` is not the name of an environment variable")),
        ] {
            let found = substitute(text, &env);
            assert_eq!(found.as_deref().map_err(|(message, _)| &**message), expected, "{text}");
        }
    }
}
