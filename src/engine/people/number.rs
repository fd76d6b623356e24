//! Phone numbers: their one form, and how they are published.

/// `number` with its middle hidden, for publishing: `+1•••4444`. The country code stays as far as the number's own form tells
/// it; a number too short to hide anything shows its last two digits.
#[must_use]
pub fn mask_number(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    let country = number.parse::<phonenumber::PhoneNumber>().map_or(0, |parsed| parsed.code().value().to_string().len());
    let shown = if digits.len() >= country + 7 { 4 } else { 2 };
    let head: String = digits.iter().take(if number.starts_with('+') { country } else { 0 }).collect();
    let tail: String = digits[digits.len().saturating_sub(shown)..].iter().collect();
    let plus = if number.starts_with('+') { "+" } else { "" };
    format!("{plus}{head}•••{tail}")
}

/// `number` in E.164. `region` (ISO 3166) is for numbers without a country code.
///
/// # Errors
/// When it is no number that can exist; the words say how to write it (Twilio's 21211).
pub fn normalise(number: &str, region: Option<&str>) -> Result<String, String> {
    const LONGEST: usize = 40;
    // With a region the library takes that region's trunk prefix off a number of any country: +49 171… would lose its 1 in the
    // United States, and reach somebody else.
    let region = region.filter(|_| !number.trim_start().starts_with('+'));
    let region = region.and_then(|region| region.to_uppercase().parse::<phonenumber::country::Id>().ok());
    let words = || format!("{number:?} is not a phone number (21211): write it as + and digits, such as +12223334444");
    let parsed =
        Some(number.trim()).filter(|number| number.len() <= LONGEST).and_then(|number| phonenumber::parse(region, number).ok());
    // The same happens behind an international prefix (011, 00), and to digits that are taken for another country's code: such
    // a number must be written with its +.
    let home =
        region.and_then(|region| phonenumber::metadata::DATABASE.by_id(region.as_ref())).map(phonenumber::Metadata::country_code);
    let parsed = parsed.filter(|parsed| home.is_none_or(|home| parsed.code().value() == home));
    parsed.map(|parsed| parsed.format().mode(phonenumber::Mode::E164).to_string()).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_is_hidden() {
        for (number, masked) in [
            ("+12223334444", "+1•••4444"),
            ("+447700900123", "+44•••0123"),
            ("+353861234567", "+353•••4567"),
            ("12345", "•••45"),
            ("", "•••"),
            ("+99912", "+•••12"),
        ] {
            assert_eq!(mask_number(number), masked);
        }
    }

    proptest! {
        #[test]
        fn masked_numbers_hide_the_middle(number in "\\+?[0-9]{0,15}") {
            let masked = mask_number(&number);
            let shown = masked.chars().filter(char::is_ascii_digit).count();
            prop_assert!(shown <= 7 && (number.len() < 8 || shown + 3 <= number.len()));
        }
    }
}
