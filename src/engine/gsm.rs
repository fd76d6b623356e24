//! The alphabet and the length of texts: what a carrier bills.
//!
//! Sources: 3GPP TS 23.038 section 6.2.1 (the default alphabet and its extension table), 3GPP TS 23.040 section 9.2.3.24.1
//! (concatenation), Twilio "SMS character limit". National language shift tables are deliberately absent: Twilio does not
//! use them.

use std::borrow::Cow;

/// Twilio's limit for one request (error 21617).
pub const MAX_CHARACTERS: usize = 1600;

/// The default alphabet, one septet each; its escape position is not a character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";

/// The extension table, two septets each: the escape and the character.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// How a text travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Septets: 160 in one segment, 153 in each of several.
    Gsm7,
    /// UTF-16 units: 70 in one segment, 67 in each of several.
    Ucs2,
}

/// What a text costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// One character outside the two tables makes the whole text UCS-2.
    pub encoding: Encoding,
    /// Septets or UTF-16 units.
    pub units: usize,
    /// What is billed; 1 for an empty text.
    pub segments: usize,
}

/// The septets of `character`: 1, 2, or `None` when it is in neither table.
#[must_use]
pub fn septets(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || character == ' ' || BASIC.contains(character) {
        Some(1)
    } else if EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// Encoding, units and segments of `text`.
#[must_use]
pub fn measure(text: &str) -> Size {
    let septet_counts: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septet_counts {
        Some(widths) => size(Encoding::Gsm7, widths.into_iter(), 160, 153),
        None => size(Encoding::Ucs2, text.chars().map(char::len_utf16), 70, 67),
    }
}

/// The billed segments of `text`.
#[must_use]
pub fn segments(text: &str) -> usize {
    measure(text).segments
}

/// Packs characters of these `widths`; a pair (escape or surrogate) that does not fit wholly opens the next segment.
fn size(encoding: Encoding, widths: impl Iterator<Item = usize>, single: usize, part: usize) -> Size {
    let (mut units, mut segments, mut filled) = (0, 1, 0);
    for width in widths {
        units += width;
        if filled + width > part {
            segments += 1;
            filled = 0;
        }
        filled += width;
    }
    Size { encoding, units, segments: if units <= single { 1 } else { segments } }
}

/// `text` with every character that has a GSM-7 spelling in that spelling; characters without one stay.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| spelling(character).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for character in text.chars() {
        match spelling(character) {
            Some(spelling) => folded.push_str(spelling),
            None => folded.push(character),
        }
    }
    Cow::Owned(folded)
}

/// True when every character of `text` is in the two tables.
#[must_use]
pub fn is_gsm(text: &str) -> bool {
    text.chars().all(|character| septets(character).is_some())
}

/// `text`, folded when that saves segments. A text that stays UCS-2 all the same is left alone: folding would cost its accents
/// and joined emoji, and save nothing worth it.
#[must_use]
pub fn economize(text: &str) -> Cow<'_, str> {
    match fold(text) {
        Cow::Owned(folded) if is_gsm(&folded) && segments(&folded) < segments(text) => Cow::Owned(folded),
        _ => Cow::Borrowed(text),
    }
}

/// The GSM-7 spelling of a character outside the alphabet: typographic characters, plant symbols, odd spaces, invisible
/// characters, and Latin letters whose accent the alphabet lacks.
#[must_use]
#[allow(clippy::match_same_arms)] // Grouped by what the characters mean.
pub fn spelling(character: char) -> Option<&'static str> {
    if character.is_ascii_graphic() && character != '`' || character == ' ' || character == '\n' {
        return None;
    }
    Some(match character {
        '\t' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' => "",
        '\u{2028}' | '\u{2029}' => "\n",
        '`' | '´' | '‘' | '’' | '‚' | '‛' | '′' | 'ʹ' | 'ʼ' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '‹' => "<",
        '›' => ">",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '⁃' => "-",
        '…' => "...",
        '•' | '‣' | '▪' | '●' | '■' => "-",
        '·' | '⋅' | '∙' | '×' | '✕' | '∗' => "*",
        '÷' | '⁄' | '∕' => "/",
        '°' | '˚' => "deg",
        'º' => "o",
        'ª' => "a",
        '℃' => "degC",
        '℉' => "degF",
        'µ' | 'μ' => "u",
        // The ohm sign; the Greek letter that it looks like is in the alphabet.
        '\u{2126}' => "Ω",
        '℧' => "mho",
        '⁰' | '₀' => "0",
        '¹' | '₁' => "1",
        '²' | '₂' => "2",
        '³' | '₃' => "3",
        '⁴' | '₄' => "4",
        '⁵' | '₅' => "5",
        '⁶' | '₆' => "6",
        '⁷' | '₇' => "7",
        '⁸' | '₈' => "8",
        '⁹' | '₉' => "9",
        '⁺' | '₊' => "+",
        '⁻' | '₋' => "-",
        'ⁿ' => "n",
        '㎡' => "m2",
        '㎥' => "m3",
        '㎜' => "mm",
        '㎝' => "cm",
        '㎞' => "km",
        '㎎' => "mg",
        '㎏' => "kg",
        '±' => "+/-",
        '≥' | '≧' => ">=",
        '≤' | '≦' => "<=",
        '≠' => "!=",
        '∓' => "-/+",
        '≡' => "=",
        '∥' => "||",
        '∠' => "angle ",
        '≈' | '∼' => "~",
        '→' | '⇒' | '➜' | '➔' | '⟶' | '➡' => "->",
        '←' | '⇐' | '⟵' | '⬅' => "<-",
        '↔' | '⇔' => "<->",
        '↑' | '⇑' | '↗' | '⬆' | '▲' => "up",
        '↓' | '⇓' | '↘' | '⬇' | '▼' => "down",
        '√' => "sqrt",
        '∞' => "inf",
        '∆' => "Δ",
        '∑' => "Σ",
        '∏' => "Π",
        '∅' | '⌀' => "Ø",
        '‰' => "o/oo",
        '½' => "1/2",
        '¼' => "1/4",
        '¾' => "3/4",
        '⚠' => "!",
        '✓' | '✔' => "ok",
        '✗' | '✘' => "x",
        '™' => "(TM)",
        '®' => "(R)",
        '©' => "(C)",
        '№' => "No.",
        'ç' => "c",
        'á' | 'â' | 'ã' | 'ā' | 'ă' | 'ą' => "a",
        'Á' | 'À' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' => "A",
        'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => "E",
        'í' | 'î' | 'ï' | 'ī' | 'į' => "i",
        'Í' | 'Ì' | 'Î' | 'Ï' | 'Ī' | 'Į' | 'İ' => "I",
        'ó' | 'ô' | 'õ' | 'ō' | 'ő' => "o",
        'Ó' | 'Ò' | 'Ô' | 'Õ' | 'Ō' | 'Ő' => "O",
        'ú' | 'û' | 'ū' | 'ů' | 'ű' | 'ų' => "u",
        'Ú' | 'Ù' | 'Û' | 'Ū' | 'Ů' | 'Ű' | 'Ų' => "U",
        'ć' | 'č' => "c",
        'Ć' | 'Č' => "C",
        'ď' | 'đ' => "d",
        'Ď' | 'Đ' => "D",
        'ğ' => "g",
        'Ğ' => "G",
        'ł' | 'ľ' | 'ĺ' => "l",
        'Ł' | 'Ľ' | 'Ĺ' => "L",
        'ń' | 'ň' => "n",
        'Ń' | 'Ň' => "N",
        'ř' | 'ŕ' => "r",
        'Ř' | 'Ŕ' => "R",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'Ś' | 'Š' | 'Ş' | 'Ș' => "S",
        'ť' | 'ţ' | 'ț' => "t",
        'Ť' | 'Ţ' | 'Ț' => "T",
        'ý' | 'ÿ' => "y",
        'Ý' | 'Ÿ' => "Y",
        'ź' | 'ż' | 'ž' => "z",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'œ' => "oe",
        'Œ' => "OE",
        'ı' => "i",
        'ẞ' => "ß",
        full_width @ '\u{ff01}'..='\u{ff5e}' => return half_width(full_width),
        _ => return None,
    })
}

/// The ASCII twin of a full-width form (U+FF01 to U+FF5E).
fn half_width(character: char) -> Option<&'static str> {
    const ASCII: &str = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
    let index = (character as usize).checked_sub(0xff01)?;
    // The backtick is the one of them that the alphabet lacks.
    if index == ('`' as usize - '!' as usize) { Some("'") } else { ASCII.get(index..=index) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, encoding: Encoding, units: usize, segments: usize) {
        assert_eq!(measure(text), Size { encoding, units, segments }, "{text:?}");
    }

    #[test]
    fn the_alphabet_has_127_and_10_characters() {
        assert_eq!((BASIC.chars().count(), EXTENSION.chars().count()), (127, 10));
        assert_eq!([septets('['), septets('Ω'), septets('ç'), septets('`'), septets('\t')], [Some(2), Some(1), None, None, None]);
    }

    #[test]
    fn segments_are_counted_as_twilio_bills_them() {
        use Encoding::{Gsm7, Ucs2};
        check("", Gsm7, 0, 1);
        check(&"a".repeat(160), Gsm7, 160, 1);
        check(&"a".repeat(161), Gsm7, 161, 2);
        check(&"a".repeat(306), Gsm7, 306, 2);
        check(&"a".repeat(307), Gsm7, 307, 3);
        check(&format!("{}€", "a".repeat(158)), Gsm7, 160, 1);
        check(&format!("{}€", "a".repeat(159)), Gsm7, 161, 2);
        // The escape may not stand at the end of a part: 152 and the pair, then 152 and the pair again.
        check(&format!("{0}€{0}€", "a".repeat(152)), Gsm7, 308, 3);
        check(&"€".repeat(153), Gsm7, 306, 3);
        check(&"°".repeat(70), Ucs2, 70, 1);
        check(&"°".repeat(71), Ucs2, 71, 2);
        check(&"°".repeat(134), Ucs2, 134, 2);
        check(&"°".repeat(135), Ucs2, 135, 3);
        check(&"🚨".repeat(35), Ucs2, 70, 1);
        // A surrogate pair does not fit into the 67th unit: 33 of them in a part.
        check(&"🚨".repeat(67), Ucs2, 134, 3);
    }

    #[test]
    fn plant_symbols_have_a_spelling() {
        let cases = [
            ("81.5 °C ± 0.2", "81.5 degC +/- 0.2"),
            ("12 µm, 3 m², 4 m³, 5 N·m", "12 um, 3 m2, 4 m3, 5 N*m"),
            ("≥ 90 → “stop” – it’s hot…", ">= 90 -> \"stop\" - it's hot..."),
            ("10\u{a0}k\u{2126}\u{200b} • 2×3", "10 kΩ - 2*3"),
            ("Ａ１！", "A1!"),
            ("Straße Øre à la", "Straße Øre à la"),
            ("Насос", "Насос"),
        ];
        for (text, folded) in cases {
            assert_eq!(fold(text), folded);
        }
    }

    /// One line a group of what plants write.
    #[test]
    fn every_plant_character_has_its_spelling() {
        const TABLE: [(&str, &str); 58] = [
            ("°", "deg"),
            ("℃", "degC"),
            ("℉", "degF"),
            ("µ", "u"),
            ("μ", "u"),
            ("²", "2"),
            ("³", "3"),
            ("¹", "1"),
            ("⁻", "-"),
            ("₂", "2"),
            ("±", "+/-"),
            ("\u{2126}", "Ω"),
            ("∆", "Δ"),
            ("≤", "<="),
            ("≥", ">="),
            ("≠", "!="),
            ("≈", "~"),
            ("–", "-"),
            ("—", "-"),
            ("−", "-"),
            ("‑", "-"),
            ("„", "\""),
            ("“", "\""),
            ("”", "\""),
            ("«", "\""),
            ("»", "\""),
            ("‘", "'"),
            ("’", "'"),
            ("‚", "'"),
            ("′", "'"),
            ("″", "\""),
            ("`", "'"),
            ("…", "..."),
            ("•", "-"),
            ("·", "*"),
            ("×", "*"),
            ("÷", "/"),
            ("→", "->"),
            ("⇒", "->"),
            ("←", "<-"),
            ("↔", "<->"),
            ("↑", "up"),
            ("↓", "down"),
            ("‰", "o/oo"),
            ("½", "1/2"),
            ("¼", "1/4"),
            ("¾", "3/4"),
            ("√", "sqrt"),
            ("∞", "inf"),
            ("⌀", "Ø"),
            ("㎥", "m3"),
            ("\u{a0}", " "),
            ("\u{202f}", " "),
            ("\u{2009}", " "),
            ("\u{200b}", ""),
            ("\u{ad}", ""),
            ("™", "(TM)"),
            ("№", "No."),
        ];
        for (character, spelling) in TABLE {
            assert_eq!(fold(character), spelling, "{character:?}");
            // It costs a second segment where its spelling does not, so that the spelling is used.
            let text = format!("{}{character}", "a".repeat(100));
            assert_eq!((segments(&text), segments(&economize(&text))), (2, 1), "{character:?}");
        }
        for own in "€£¥§ÄÖÜäöüñßΩΔΦ@[]{}|^~\\_".chars() {
            assert!(spelling(own).is_none() && septets(own).is_some(), "{own:?} is in the alphabet");
        }
    }

    #[test]
    fn folding_happens_only_when_it_saves() {
        assert_eq!(economize("81 °C"), "81 °C");
        let long = format!("81 °C {}", "a".repeat(90));
        assert_eq!(economize(&long), long.replace('°', "deg"));
        let both = format!("Насос 81 °C {}", "a".repeat(90));
        assert_eq!(economize(&both), both);
    }

    proptest! {
        #[test]
        fn economizing_never_costs(text in "[a-z°µ“Ж🚨\\[€]{0,400}") {
            prop_assert!(segments(&economize(&text)) <= segments(&text));
            let size = measure(&text);
            let part = if size.encoding == Encoding::Gsm7 { 153 } else { 67 };
            prop_assert!(size.segments == 1 || size.units <= size.segments * part);
            prop_assert!(size.segments * (part - 1) <= size.units + part);
        }
    }

    #[test]
    fn every_spelling_is_gsm_and_needed() {
        for character in '\0'..='\u{ffff}' {
            if let Some(spelling) = spelling(character) {
                assert!(septets(character).is_none(), "{character:?} needs no spelling");
                assert!(spelling.chars().all(|letter| septets(letter).is_some()), "{character:?}");
            }
        }
    }
}
