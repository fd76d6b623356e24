//! What a text means: a PIN, codes, a question, one of Twilio's own words (SPEC 9, "By text").
//!
//! Only the shape is read here; whose PIN it is and which codes are open is for the engine. The body is what anybody may send
//! to a phone number, so everything here is bounded and nothing in it is trusted.

use std::fmt;

use super::plan::Secret;

/// The most characters of a body that are read: Twilio's limit for one text.
pub const MAX_BODY: usize = 1600;

/// The most codes in one reply; a body with more is [`Reply::Other`].
pub const MAX_CODES: usize = 64;

/// Twilio's own words ("Support for opt-out keywords"): it answers them itself, so they are never commands.
const OPT_OUT: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const OPT_IN: [&str; 3] = ["START", "YES", "UNSTOP"];
const HELP: [&str; 2] = ["HELP", "INFO"];

/// The intent of a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Just a PIN.
    Pin(Secret),
    /// A PIN and the codes of what is acknowledged, in upper case, each once, in order.
    PinCodes(Secret, Vec<String>),
    /// A PIN and `ALL`.
    PinAll(Secret),
    /// `?`: what is open, and how to answer.
    List,
    /// One of Twilio's own words.
    Keyword(Keyword),
    /// Anything else; acknowledges nothing.
    Other,
}

/// PINs are not shown.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(_) => f.write_str("Pin"),
            Self::PinCodes(_, codes) => f.debug_tuple("PinCodes").field(codes).finish(),
            Self::PinAll(_) => f.write_str("PinAll"),
            Self::List => f.write_str("List"),
            Self::Keyword(keyword) => f.debug_tuple("Keyword").field(keyword).finish(),
            Self::Other => f.write_str("Other"),
        }
    }
}

/// Twilio's own words, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// STOP and its synonyms: Twilio refuses texts to this number from now on (21610).
    OptOut,
    /// START and its synonyms.
    OptIn,
    /// HELP, INFO.
    Help,
}

/// Reads `body`. Spaces, case, a trailing full stop, quoted text, typographic punctuation and the script of the digits do not
/// matter.
#[must_use]
pub fn parse(body: &str) -> Reply {
    let own = unquoted(&plain(body));
    let words: Vec<&str> = words(&own).collect();
    match words.as_slice() {
        [] if own.contains('?') => Reply::List,
        [] => Reply::Other,
        [word] if keyword(word).is_some() => keyword(word).map_or(Reply::Other, Reply::Keyword),
        words => pin_and_codes(words).unwrap_or(Reply::Other),
    }
}

/// `body` with everything in it that could be a PIN replaced by `••••`, for whatever is stored or shown: words of digits only
/// (a PIN may be typed in groups), and four or more digits in a row.
#[must_use]
pub fn mask_pins(body: &str) -> String {
    const MASK: &str = "••••";
    let mut masked = String::with_capacity(body.len().min(MAX_BODY * 4));
    let mut rest: &str = body.char_indices().nth(MAX_BODY).map_or(body, |(end, _)| &body[..end]);
    let mut masked_last = false;
    while let Some(first) = rest.chars().next() {
        let is_word = |character: char| character.is_alphanumeric() || digit(character).is_some() || invisible(character);
        let length = rest.find(|character| is_word(character) != is_word(first)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(length);
        let digits = word.chars().filter(|character| digit(*character).is_some()).count();
        let visible = word.chars().filter(|character| !invisible(*character)).count();
        if !is_word(first) {
            // Digits in groups are one PIN: one mask hides how many groups there were.
            let between_groups =
                masked_last && word.chars().all(|character| character.is_whitespace() || "-.".contains(character));
            let next_is_digits = words(tail).next().is_some_and(|next| next.chars().all(|character| digit(character).is_some()));
            if !(between_groups && next_is_digits) {
                masked.push_str(word);
                masked_last = false;
            }
        } else if digits == visible && digits > 0 {
            if !masked_last {
                masked.push_str(MASK);
            }
            masked_last = true;
        } else {
            mask_runs(word, &mut masked, MASK);
            masked_last = false;
        }
        rest = tail;
    }
    masked
}

/// Copies `word` and masks four or more digits in a row.
fn mask_runs(word: &str, masked: &mut String, mask: &str) {
    let mut run = String::new();
    for character in word.chars().chain(['\0']) {
        if digit(character).is_some() || (!run.is_empty() && invisible(character)) {
            run.push(character);
            continue;
        }
        if run.chars().filter(|character| digit(*character).is_some()).count() >= 4 {
            masked.push_str(mask);
        } else {
            masked.push_str(&run);
        }
        run.clear();
        if character != '\0' {
            masked.push(character);
        }
    }
}

/// Compares two PINs in a time that depends on the length of `given` only.
#[must_use]
pub fn same_pin(given: &str, pin: &str) -> bool {
    let (given, pin) = (given.as_bytes(), pin.as_bytes());
    if pin.is_empty() {
        return false;
    }
    let difference = given.iter().enumerate().fold(0, |difference, (index, byte)| difference | (byte ^ pin[index % pin.len()]));
    std::hint::black_box(difference) == 0 && given.len() == pin.len()
}

fn keyword(word: &str) -> Option<Keyword> {
    if OPT_OUT.contains(&word) {
        Some(Keyword::OptOut)
    } else if OPT_IN.contains(&word) {
        Some(Keyword::OptIn)
    } else if HELP.contains(&word) {
        Some(Keyword::Help)
    } else {
        None
    }
}

/// The PIN is the digits at the start, also in groups; each word after it is a code, or the only one is `ALL`.
fn pin_and_codes(words: &[&str]) -> Option<Reply> {
    let is_number = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let groups = words.iter().take_while(is_number).count();
    let mut pin: String = words[..groups].concat();
    let mut rest: Vec<&str> = words[groups..].to_vec();
    if groups == 0 {
        let (digits, glued) = split_glued(words[0])?;
        digits.clone_into(&mut pin);
        rest[0] = glued;
    }
    if !(4..=10).contains(&pin.len()) || rest.len() > MAX_CODES {
        return None;
    }
    let pin = Secret::new(&pin);
    match rest.as_slice() {
        [] => Some(Reply::Pin(pin)),
        ["ALL"] => Some(Reply::PinAll(pin)),
        words => {
            let mut codes: Vec<String> = Vec::with_capacity(words.len());
            for word in words {
                let shape = (3..=4).contains(&word.len()) && !word.bytes().all(|byte| byte.is_ascii_digit()) && *word != "ALL";
                if !shape || keyword(word).is_some() {
                    return None;
                }
                if !codes.iter().any(|code| code == word) {
                    codes.push((*word).to_owned());
                }
            }
            Some(Reply::PinCodes(pin, codes))
        }
    }
}

/// A PIN and a code without a space between them, where only one way to split them exists.
fn split_glued(word: &str) -> Option<(&str, &str)> {
    let mut ways =
        [3, 4].into_iter().filter_map(|length| word.split_at_checked(word.len().checked_sub(length)?)).filter(|(pin, code)| {
            (4..=10).contains(&pin.len())
                && pin.bytes().all(|byte| byte.is_ascii_digit())
                && code.bytes().any(|byte| byte.is_ascii_alphabetic())
        });
    let only = ways.next();
    if ways.next().is_some() { None } else { only }
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The body in one spelling: bounded, upper case, ASCII digits and letters for their full-width and other-script twins, plain
/// quotes, no invisible characters.
fn plain(body: &str) -> String {
    body.chars()
        .take(MAX_BODY)
        .filter(|character| !invisible(*character))
        .flat_map(|character| {
            let plain = match character {
                '“' | '”' | '„' | '‟' | '«' | '»' | '″' | '＂' => '"',
                '？' | '؟' | '¿' => '?',
                '＞' => '>',
                '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => {
                    char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character)
                }
                other => digit(other).unwrap_or(other),
            };
            plain.to_uppercase()
        })
        .collect()
}

/// The decimal digit that `character` is in any script that phones type, as its ASCII twin (Unicode category Nd).
fn digit(character: char) -> Option<char> {
    const ZEROS: [u32; 22] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50, 0xed0, 0xf20, 0x1040,
        0x17e0, 0x1810, 0xff10, 0x1d7ce, 0x1d7d8,
    ];
    let code = u32::from(character);
    ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code)).and_then(|zero| char::from_digit(code - zero, 10))
}

/// Marks of direction, joiners, variation selectors, the combining key cap, soft hyphens: no phone shows them.
const fn invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{20e3}'
    )
}

/// What the sender wrote, without what was quoted: lines after `>`, everything from a mail program's header on, and what stands
/// in quotation marks beside other words.
fn unquoted(text: &str) -> String {
    let header = |line: &str| {
        (line.starts_with("ON ") && line.ends_with("WROTE:")) || line.starts_with("-----ORIGINAL") || line.starts_with("FROM:")
    };
    let own: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !header(line)).filter(|line| !line.starts_with('>')).collect();
    let own = own.join(" ");
    let parts: Vec<&str> = own.split('"').collect();
    // Even positions stand outside the marks. When nothing does, the whole reply was put in marks.
    let is_outside = |index: usize| index.is_multiple_of(2);
    let anything_outside = parts.iter().enumerate().any(|(index, part)| is_outside(index) && words(part).next().is_some());
    if !anything_outside {
        return parts.join(" ");
    }
    let kept: Vec<&str> = parts
        .iter()
        .enumerate()
        .filter(|(index, part)| is_outside(*index) || words(part).count() < 2)
        .map(|(_, part)| *part)
        .collect();
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a body is read as, in one line: `1234`, `1234 K7M`, `1234 ALL`, `?`, `out`, `in`, `help`, `-`.
    fn read(body: &str) -> String {
        match parse(body) {
            Reply::Pin(pin) => pin.expose().to_owned(),
            Reply::PinCodes(pin, codes) => format!("{} {}", pin.expose(), codes.join(" ")),
            Reply::PinAll(pin) => format!("{} ALL", pin.expose()),
            Reply::List => "?".into(),
            Reply::Keyword(Keyword::OptOut) => "out".into(),
            Reply::Keyword(Keyword::OptIn) => "in".into(),
            Reply::Keyword(Keyword::Help) => "help".into(),
            Reply::Other => "-".into(),
        }
    }

    #[test]
    fn texts_are_read_as_people_mean_them() {
        let cases = [
            ("1234", "1234"),
            (" 1234. ", "1234"),
            ("12 34", "1234"),
            ("1-2-3-4", "1234"),
            ("0123456789", "0123456789"),
            ("1234 k7m", "1234 K7M"),
            ("1234, #K7M and-", "1234 K7M AND"),
            ("1234 K7M K7M q2fx", "1234 K7M Q2FX"),
            ("1234\nK7M\r\n", "1234 K7M"),
            ("1234K7M", "1234 K7M"),
            ("#1234 #K7M", "1234 K7M"),
            ("1234 all", "1234 ALL"),
            ("1234 All.", "1234 ALL"),
            ("?", "?"),
            (" ?? ", "?"),
            ("？", "?"),
            ("؟", "?"),
            ("\u{200f}?\u{200e}", "?"),
            // Digits of other scripts, key caps, full width, marks of direction.
            ("١٢٣٤", "1234"),
            ("۱۲۳۴ k7m", "1234 K7M"),
            ("１２３４　Ｋ７Ｍ", "1234 K7M"),
            ("1️⃣2️⃣3️⃣4️⃣", "1234"),
            ("\u{202b}1234\u{202c} \u{feff}K7M", "1234 K7M"),
            ("𝟏𝟐𝟑𝟒", "1234"),
            // Typographic quotation marks around the whole or a part.
            ("“1234 K7M”", "1234 K7M"),
            ("1234 “K7M”", "1234 K7M"),
            ("'1234'", "1234"),
            // What was quoted is not what was said.
            ("1234\n> CRITICAL Tank #Q2F", "1234"),
            ("1234 K7M\n\n> HIGH Plant/A (81 %) #Q2F\n> text PIN ALL", "1234 K7M"),
            ("1234\n\nOn Fri, Nov 20, 2026 Plant wrote:\nCRITICAL Tank #Q2F", "1234"),
            ("1234 K7M “CRITICAL Tank level high high, stop the feed #Q2F”", "1234 K7M"),
            ("1234\r\n＞ 9999", "1234"),
            // Twilio's words, alone, in any case.
            ("STOP", "out"),
            ("stop.", "out"),
            ("Unsubscribe", "out"),
            ("end", "out"),
            ("YES", "in"),
            ("start", "in"),
            ("help", "help"),
            ("INFO", "help"),
            // … and never as a code.
            ("1234 STOP", "-"),
            ("1234 END", "-"),
            ("1234 YES", "-"),
            ("1234 INFO", "-"),
            // Anything else.
            ("", "-"),
            ("   ", "-"),
            ("123", "-"),
            ("12345678901", "-"),
            ("K7M", "-"),
            ("K7M 1234", "-"),
            ("1234 K7", "-"),
            ("1234 K7M please", "-"),
            ("1234 ALL K7M", "-"),
            ("12345K7M", "-"),
            ("ok", "-"),
            ("👍", "-"),
            ("Liked “CRITICAL Tank #K7M”", "-"),
            ("> 1234", "-"),
            ("what is 1234?", "-"),
            ("1234 K7M 5678", "-"),
        ];
        for (body, expected) in cases {
            assert_eq!(read(body), expected, "{body:?}");
        }
    }

    #[test]
    fn hostile_bodies_are_bounded() {
        assert_eq!(read(&"9".repeat(10_000)), "-");
        assert_eq!(read(&"1234 ".repeat(2_000)), "-");
        assert_eq!(read(&format!("1234 {}", "K7M ".repeat(2_000))), "-");
        let many: Vec<String> = (100..200).map(|code| format!("K{code}")).collect();
        assert_eq!(read(&format!("1234 {}", many.join(" "))), "-");
        assert_eq!(read(&format!("1234 {}\n", "\u{200f}".repeat(10_000))), "1234");
        assert_eq!(read(&"🚨".repeat(10_000)), "-");
        assert_eq!(read(&format!("1234\n{}", "> x\n".repeat(5_000))), "1234");
        assert_eq!(read("\0\u{1}1234\u{7f}"), "1234");
    }

    #[test]
    fn pins_are_masked() {
        let cases = [
            ("1234", "••••"),
            ("1234 K7M", "•••• K7M"),
            ("12 34 K7M.", "•••• K7M."),
            ("1-2-3-4", "••••"),
            ("١٢٣٤", "••••"),
            ("1️⃣2️⃣3️⃣4️⃣", "••••"),
            ("1234K7M", "••••K7M"),
            ("pin:1234!", "pin:••••!"),
            ("K7M Q2F", "K7M Q2F"),
            ("1234\n> old", "••••\n> old"),
            ("ok 👍", "ok 👍"),
            ("1\u{200b}2\u{200b}34", "••••"),
        ];
        for (body, masked) in cases {
            assert_eq!(mask_pins(body), masked, "{body:?}");
        }
    }

    #[test]
    fn pins_are_compared_as_a_whole() {
        assert!(same_pin("1234", "1234"));
        for (given, pin) in [("1235", "1234"), ("12341234", "1234"), ("123", "1234"), ("", "1234"), ("", ""), ("1234", "")] {
            assert!(!same_pin(given, pin), "{given:?} {pin:?}");
        }
        assert!(!format!("{:?}", parse("4711 K7M")).contains("4711"));
    }

    #[test]
    fn codes_are_read_as_codes() {
        let mut random = crate::engine::random::Random::new(7);
        for length in [3, 4].into_iter().cycle().take(20_000) {
            let code = random.code(length);
            assert_eq!(read(&format!("1234 {}", code.to_lowercase())), format!("1234 {code}"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn anything_is_read(body in "\\PC{0,200}|[0-9a-zA-Z #.>\"“”\\n?\u{200f}١]{0,200}") {
            let masked = mask_pins(&body);
            let reply = parse(&body);
            if let Reply::Pin(pin) | Reply::PinAll(pin) | Reply::PinCodes(pin, _) = &reply {
                prop_assert!((4..=10).contains(&pin.expose().len()));
                // Masked, the same body says no PIN any more.
                let shown: String = plain(&masked).chars().filter(char::is_ascii_digit).collect();
                prop_assert!(!shown.contains(pin.expose()), "{masked}");
            }
            let again = matches!(parse(&masked), Reply::Pin(_) | Reply::PinAll(_) | Reply::PinCodes(..));
            prop_assert!(!again, "{}", masked);
        }

        #[test]
        fn spelling_does_not_matter(pin in "[0-9]{4,10}", code in "[ACEFGHJKMNPRTWXY]{2}[34679]", noise in "[ .,#\u{200f}\u{feff}]{1,5}") {
            let expected = format!("{pin} {code}");
            let bodies = [format!("{pin} {code}."), format!("{noise}{pin} {noise}{}{noise}", code.to_lowercase()), format!("“{pin} {code}”")];
            for body in bodies {
                prop_assert_eq!(read(&body), expected.clone());
            }
        }
    }
}
