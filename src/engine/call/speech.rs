//! How a text is spoken: symbols and units as words, codes letter by letter, the slashes of paths as pauses.
//!
//! Only what a voice would read wrongly is changed; numbers and the rest of a template's text stay as they are. A unit of one
//! letter (`A`, `V`, `m`) is left to the voice: "Pump 2 A" is no current.

use std::borrow::Cow;

/// A language that we have words for; others are spoken in English.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// Also for every other language.
    English,
    /// `de`, `de-DE`, `de-AT`, …
    German,
}

impl Tongue {
    /// The tongue of a BCP 47 tag such as `de-AT`.
    #[must_use]
    pub fn of(language: &str) -> Self {
        match language.split(['-', '_']).next().map(str::to_ascii_lowercase).as_deref() {
            Some("de") => Self::German,
            _ => Self::English,
        }
    }
}

/// Symbol, English, German. The longest that fits is taken. One of letters only counts as a unit behind a number.
const UNITS: &[(&str, &str, &str)] = &[
    ("°C", "degrees Celsius", "Grad Celsius"),
    ("°F", "degrees Fahrenheit", "Grad Fahrenheit"),
    ("°dH", "degrees of hardness", "Grad deutscher Härte"),
    ("°", "degrees", "Grad"),
    ("%", "percent", "Prozent"),
    ("‰", "per mille", "Promille"),
    ("Nm³/h", "standard cubic metres per hour", "Normkubikmeter pro Stunde"),
    ("m³/h", "cubic metres per hour", "Kubikmeter pro Stunde"),
    ("m3/h", "cubic metres per hour", "Kubikmeter pro Stunde"),
    ("m³/min", "cubic metres per minute", "Kubikmeter pro Minute"),
    ("m³/s", "cubic metres per second", "Kubikmeter pro Sekunde"),
    ("m³", "cubic metres", "Kubikmeter"),
    ("cm³", "cubic centimetres", "Kubikzentimeter"),
    ("m²", "square metres", "Quadratmeter"),
    ("cm²", "square centimetres", "Quadratzentimeter"),
    ("mm²", "square millimetres", "Quadratmillimeter"),
    ("l/h", "litres per hour", "Liter pro Stunde"),
    ("l/min", "litres per minute", "Liter pro Minute"),
    ("L/min", "litres per minute", "Liter pro Minute"),
    ("l/s", "litres per second", "Liter pro Sekunde"),
    ("m/s²", "metres per second squared", "Meter pro Sekunde zum Quadrat"),
    ("m/s", "metres per second", "Meter pro Sekunde"),
    ("m/min", "metres per minute", "Meter pro Minute"),
    ("mm/s", "millimetres per second", "Millimeter pro Sekunde"),
    ("km/h", "kilometres per hour", "Kilometer pro Stunde"),
    ("kg/h", "kilograms per hour", "Kilogramm pro Stunde"),
    ("kg/s", "kilograms per second", "Kilogramm pro Sekunde"),
    ("t/h", "tonnes per hour", "Tonnen pro Stunde"),
    ("kg/m³", "kilograms per cubic metre", "Kilogramm pro Kubikmeter"),
    ("g/l", "grams per litre", "Gramm pro Liter"),
    ("mg/l", "milligrams per litre", "Milligramm pro Liter"),
    ("mg/m³", "milligrams per cubic metre", "Milligramm pro Kubikmeter"),
    ("µg/m³", "micrograms per cubic metre", "Mikrogramm pro Kubikmeter"),
    ("µS/cm", "microsiemens per centimetre", "Mikrosiemens pro Zentimeter"),
    ("mS/cm", "millisiemens per centimetre", "Millisiemens pro Zentimeter"),
    ("1/min", "per minute", "pro Minute"),
    ("U/min", "revolutions per minute", "Umdrehungen pro Minute"),
    ("rpm", "revolutions per minute", "Umdrehungen pro Minute"),
    ("kW", "kilowatts", "Kilowatt"),
    ("MW", "megawatts", "Megawatt"),
    ("kWh", "kilowatt hours", "Kilowattstunden"),
    ("MWh", "megawatt hours", "Megawattstunden"),
    ("kVA", "kilovolt amperes", "Kilovoltampere"),
    ("kvar", "kilovars", "Kilovar"),
    ("kV", "kilovolts", "Kilovolt"),
    ("mV", "millivolts", "Millivolt"),
    ("kA", "kiloamperes", "Kiloampere"),
    ("mA", "milliamperes", "Milliampere"),
    ("µA", "microamperes", "Mikroampere"),
    ("Hz", "hertz", "Hertz"),
    ("kHz", "kilohertz", "Kilohertz"),
    ("MHz", "megahertz", "Megahertz"),
    ("kΩ", "kiloohms", "Kiloohm"),
    ("MΩ", "megaohms", "Megaohm"),
    ("Ω", "ohms", "Ohm"),
    ("bar", "bar", "Bar"),
    ("mbar", "millibar", "Millibar"),
    ("Pa", "pascals", "Pascal"),
    ("hPa", "hectopascals", "Hektopascal"),
    ("kPa", "kilopascals", "Kilopascal"),
    ("MPa", "megapascals", "Megapascal"),
    ("psi", "pounds per square inch", "Pfund pro Quadratzoll"),
    ("kN", "kilonewtons", "Kilonewton"),
    ("Nm", "newton metres", "Newtonmeter"),
    ("kJ", "kilojoules", "Kilojoule"),
    ("µm", "micrometres", "Mikrometer"),
    ("mm", "millimetres", "Millimeter"),
    ("cm", "centimetres", "Zentimeter"),
    ("km", "kilometres", "Kilometer"),
    ("kg", "kilograms", "Kilogramm"),
    ("mg", "milligrams", "Milligramm"),
    ("µg", "micrograms", "Mikrogramm"),
    ("ms", "milliseconds", "Millisekunden"),
    ("µs", "microseconds", "Mikrosekunden"),
    ("min", "minutes", "Minuten"),
    ("ppm", "parts per million", "Teile pro Million"),
    ("ppb", "parts per billion", "Teile pro Milliarde"),
    ("dB", "decibels", "Dezibel"),
    ("lx", "lux", "Lux"),
    ("gpm", "gallons per minute", "Gallonen pro Minute"),
    ("cfm", "cubic feet per minute", "Kubikfuß pro Minute"),
    ("pH", "P H", "P H"),
];

/// Symbols that are no units.
const SYMBOLS: &[(char, &str, &str)] = &[
    ('°', "degrees", "Grad"),
    ('±', "plus or minus", "plus minus"),
    ('²', "squared", "zum Quadrat"),
    ('³', "cubed", "hoch drei"),
    ('µ', "micro", "Mikro"),
    ('≥', "at least", "mindestens"),
    ('≤', "at most", "höchstens"),
    ('>', "above", "über"),
    ('<', "below", "unter"),
    ('≠', "not equal to", "ungleich"),
    ('=', "equals", "gleich"),
    ('&', "and", "und"),
    ('+', "plus", "plus"),
    ('×', "times", "mal"),
    ('→', "to", "nach"),
    ('Δ', "delta", "Delta"),
    ('#', "number", "Nummer"),
    ('@', "at", "bei"),
    ('~', "about", "etwa"),
    ('€', "euros", "Euro"),
    ('$', "dollars", "Dollar"),
];

/// Marks that a voice would only stumble over.
const SILENT: &str = "_*|^`{}[]\\\"“”„«»•·";

/// `text` as a voice shall read it; each of `codes` is spelled wherever it stands as a word.
#[must_use]
pub fn spoken(text: &str, tongue: Tongue, codes: &[&str]) -> String {
    // Two pairs that look alike in every font: micro and Greek mu, ohm and Greek omega.
    let plain = |letter: char| match letter {
        '\u{3bc}' => 'µ',
        '\u{2126}' => 'Ω',
        letter if letter.is_control() || letter == '\u{a0}' || letter == '\u{202f}' => ' ',
        letter => letter,
    };
    let text: String = text.chars().map(plain).collect();
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let (taken, words) = next(rest, first, &out, tongue, codes);
        match words {
            Cow::Borrowed(same) => out.push_str(same),
            Cow::Owned(words) => say(&mut out, &words),
        }
        rest = &rest[taken..];
    }
    tidy(&out)
}

/// How many bytes of `rest` are taken, and what is said instead: borrowed text goes on as it stands, owned words stand apart.
fn next<'t>(rest: &'t str, first: char, before: &str, tongue: Tongue, codes: &[&str]) -> (usize, Cow<'t, str>) {
    let last = before.chars().next_back();
    let inside_word = last.is_some_and(char::is_alphabetic);
    let digit_before = last.is_some_and(|last| last.is_ascii_digit());
    let special = (!inside_word).then(|| code(rest, before, codes).or_else(|| unit(rest, before, tongue))).flatten();
    if let Some((taken, words)) = special {
        return (taken, Cow::Owned(words));
    }
    let symbol = SYMBOLS.iter().find(|(symbol, ..)| *symbol == first);
    if first.is_ascii_digit() && !inside_word {
        return number(rest);
    }
    if first.is_alphabetic() && symbol.is_none() && !inside_word && !digit_before {
        return word(rest);
    }
    let length = first.len_utf8();
    let digit_follows = rest[length..].starts_with(|next: char| next.is_ascii_digit());
    match (first, symbol) {
        ('-' | '−' | '–', _) if digit_follows && !digit_before && !inside_word => (length, Cow::Owned("minus".to_owned())),
        ('/', _) if !(digit_before && digit_follows) => (length, Cow::Borrowed(", ")),
        (_, Some((_, english, german))) => (length, Cow::Owned(pick(tongue, english, german).to_owned())),
        _ if SILENT.contains(first) => (length, Cow::Borrowed(" ")),
        _ => (length, Cow::Borrowed(&rest[..length])),
    }
}

/// A number as it stands, so that what follows it is looked at as a unit.
fn number(rest: &str) -> (usize, Cow<'_, str>) {
    let mut end = 0;
    for (place, letter) in rest.char_indices() {
        let digit = |text: &str| text.starts_with(|next: char| next.is_ascii_digit());
        let inside = letter.is_ascii_digit() || ((letter == '.' || letter == ',') && digit(&rest[place + 1..]));
        if !inside {
            break;
        }
        end = place + 1;
    }
    (end, Cow::Borrowed(&rest[..end]))
}

/// A word; one that was put together with capitals (`TankLevel`) is taken apart.
fn word(rest: &str) -> (usize, Cow<'_, str>) {
    let symbol = |letter: char| SYMBOLS.iter().any(|(symbol, ..)| *symbol == letter);
    let end = rest.find(|letter: char| !letter.is_alphanumeric() || symbol(letter)).unwrap_or(rest.len());
    let letters: Vec<char> = rest[..end].chars().collect();
    let mut apart = String::with_capacity(end + 4);
    for (place, letter) in letters.iter().enumerate() {
        let joint = letter.is_uppercase() && place >= 2 && letters[place - 2..place].iter().all(|before| before.is_lowercase());
        if joint {
            apart.push(' ');
        }
        apart.push(*letter);
    }
    if apart.len() == end { (end, Cow::Borrowed(&rest[..end])) } else { (end, Cow::Owned(apart)) }
}

/// A code as a word of its own, with the `#` before it.
fn code(rest: &str, before: &str, codes: &[&str]) -> Option<(usize, String)> {
    if before.chars().next_back().is_some_and(char::is_alphanumeric) {
        return None;
    }
    let plain = rest.strip_prefix('#').unwrap_or(rest);
    let found = codes.iter().find(|code| !code.is_empty() && plain.starts_with(**code) && ends_there(plain, code.len()))?;
    Some((rest.len() - plain.len() + found.len(), spell(found)))
}

/// A unit, in words.
fn unit(rest: &str, before: &str, tongue: Tongue) -> Option<(usize, String)> {
    let behind_number = before.trim_end().chars().next_back().is_some_and(|last| last.is_ascii_digit());
    let fits = |(symbol, ..): &&(&str, &str, &str)| {
        let letters = symbol.bytes().all(|byte| byte.is_ascii_alphabetic());
        rest.starts_with(symbol) && (behind_number || !letters) && ends_there(rest, symbol.len())
    };
    let found = UNITS.iter().filter(fits).max_by_key(|(symbol, ..)| symbol.len())?;
    Some((found.0.len(), pick(tongue, found.1, found.2).to_owned()))
}

/// No letter or digit follows, nor what would make another unit of it.
fn ends_there(text: &str, length: usize) -> bool {
    !text[length..].starts_with(|next: char| next.is_alphanumeric() || "²³".contains(next))
}

/// Letter by letter and digit by digit.
#[must_use]
pub fn spell(code: &str) -> String {
    let letters: Vec<String> = code.chars().map(String::from).collect();
    letters.join(", ")
}

const fn pick(tongue: Tongue, english: &'static str, german: &'static str) -> &'static str {
    match tongue {
        Tongue::English => english,
        Tongue::German => german,
    }
}

fn say(out: &mut String, words: &str) {
    if !out.is_empty() && !out.ends_with([' ', '(']) {
        out.push(' ');
    }
    out.push_str(words);
    out.push(' ');
}

/// Single spaces, none before a mark that belongs to the word before it.
fn tidy(text: &str) -> String {
    let mut out = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for mark in [",", ".", ";", ":", "!", "?", ")"] {
        out = out.replace(&format!(" {mark}"), mark);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tongue: Tongue, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(spoken(text, tongue, &["K7M", "Q2F"]), *expected, "{text}");
        }
    }

    #[test]
    fn symbols_and_units_are_words() {
        check(
            Tongue::English,
            &[
                ("Tank level high high, stop the feed (91.2 %)", "Tank level high high, stop the feed (91.2 percent)"),
                ("85.3 °C", "85.3 degrees Celsius"),
                ("85.3°C!", "85.3 degrees Celsius!"),
                ("-5 °F", "minus 5 degrees Fahrenheit"),
                ("120 m³/h, 3m3/h", "120 cubic metres per hour, 3 cubic metres per hour"),
                ("12 m/s at 5 bar", "12 metres per second at 5 bar"),
                ("900mbar and 3 kW", "900 millibar and 3 kilowatts"),
                ("1,480 rpm, 50 Hz", "1,480 revolutions per minute, 50 hertz"),
                ("4.2 mA ± 0.1 µA", "4.2 milliamperes plus or minus 0.1 microamperes"),
                ("10 k\u{2126}, 7 \u{3bc}m", "10 kiloohms, 7 micrometres"),
                ("5 l/min", "5 litres per minute"),
                ("2 m² x²", "2 square metres x squared"),
                ("Plant/Line1/TankLevel/HighHigh", "Plant, Line1, Tank Level, High High"),
                ("CRITICAL Plant/P-101: level > 90.5% & rising", "CRITICAL Plant, P-101: level above 90.5 percent and rising"),
                ("Pump 2 A tripped, 3 of 4", "Pump 2 A tripped, 3 of 4"),
                ("a bar, a minute, 1/2, 2026-11-22", "a bar, a minute, 1/2, 2026-11-22"),
                ("Pump tripped #K7M", "Pump tripped K, 7, M"),
                ("reply K7M or XK7M, K7MX", "reply K, 7, M or XK7M, K7MX"),
                ("line\none\ttwo", "line one two"),
                ("\u{0}\"quoted\" <b>", "quoted below b above"),
                ("", ""),
                ("² µ ° Aµ", "squared micro degrees A micro"),
            ],
        );
    }

    #[test]
    fn other_languages() {
        check(
            Tongue::German,
            &[
                ("Füllstand 91.2 % ± 1 °C", "Füllstand 91.2 Prozent plus minus 1 Grad Celsius"),
                ("120 m³/h, 5 l/min, 1500 U/min", "120 Kubikmeter pro Stunde, 5 Liter pro Minute, 1500 Umdrehungen pro Minute"),
            ],
        );
        assert_eq!(
            [Tongue::of("de-AT"), Tongue::of("DE"), Tongue::of("en-GB"), Tongue::of("fi-FI"), Tongue::of("")],
            [Tongue::German, Tongue::German, Tongue::English, Tongue::English, Tongue::English]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_spoken(text in ".{0,80}") {
            let said = spoken(&text, Tongue::English, &["K7M"]);
            proptest::prop_assert!(!said.contains(['°', '²', 'µ', '<', '&']) && !said.contains("  "));
        }
    }
}
