//! Figures as people read them, alike on a terminal and on paper.

use super::kpi::Figure;

/// A span of time: `40 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mut rest = seconds.max(0.0).round() as u64;
    let Some(place) = UNITS.iter().position(|(_, length)| rest >= *length) else { return "0 s".to_owned() };
    let mut words = Vec::new();
    for (unit, length) in UNITS.iter().skip(place).take(2) {
        if rest / length > 0 {
            words.push(format!("{} {unit}", rest / length));
        }
        rest %= length;
    }
    words.join(" ")
}

/// A number with as many digits as tell something: `3`, `0.81`, `12.5`, `250`.
#[must_use]
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// A share: `12.5 %`.
#[must_use]
pub fn percent(value: f64) -> String {
    format!("{} %", number(value))
}

/// A figure's value with its unit; a dash without one.
#[must_use]
pub fn value(figure: &Figure) -> String {
    match (figure.value, figure.unit) {
        (None, _) => "\u{2013}".to_owned(),
        (Some(value), "s") => duration(value),
        (Some(value), "%") => percent(value),
        (Some(value), _) => number(value),
    }
}

/// Whether its target is met.
#[must_use]
pub const fn verdict(figure: &Figure) -> &'static str {
    match figure.met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_as_people_read_them() {
        let durations = [0.2, 1.0, 59.6, 200.0, 7500.0, 7200.0, 273_600.0].map(duration);
        assert_eq!(durations, ["0 s", "1 s", "1 min", "3 min 20 s", "2 h 5 min", "2 h", "3 d 4 h"]);
        assert_eq!([0.0, 0.814, 3.0, 12.54, 250.4].map(number), ["0", "0.81", "3", "12.5", "250"]);
        assert_eq!(percent(33.333), "33.3 %");
    }
}
