//! Length of texts: what is cut, what never is, and many alarms in one text (SPEC 7.3, 7.4).

use unicode_segmentation::UnicodeSegmentation;

use super::{
    gsm::{self, MAX_CHARACTERS},
    plan::Fit,
    template::strip,
};

/// Stands where a text was cut; its brackets cost two septets each.
const CUT: &str = "[...]";

/// The smallest length limit that the configuration accepts: a code and a few words.
pub const MIN_LIMIT: u32 = 20;

/// `text` cut to `limit` characters (at most 1,600; less than [`MIN_LIMIT`] counts as that) and, with [`Fit::Segment`], to one
/// segment. `code` is never cut: where the text shows it, it stays; otherwise ` #K7M` is appended. The rest ends in `[...]` when
/// something was cut, never inside a grapheme. Typographic characters are folded to GSM-7 when that saves segments or, in one
/// segment, leaves more of the text.
#[must_use]
pub fn fit(text: &str, code: Option<&str>, limit: u32, fit: Fit) -> String {
    let room = Room::new(limit, fit);
    let text = strip(text);
    let folded = gsm::fold(&text);
    let code = code.filter(|code| !code.is_empty());
    let best = room.cut(&text, code);
    if folded == text {
        return best.text;
    }
    // Folded is worth it only where nothing of UCS-2 is left, see [`gsm::economize`].
    let candidate = Room { only_gsm: true, ..room }.cut(&folded, code);
    if candidate.is_better_than(&best) { candidate.text } else { best.text }
}

/// The most segments of a text with these limits: when it keeps to the GSM alphabet, and when one character does not.
#[must_use]
pub fn most_segments(limit: u32, fit: Fit) -> (usize, usize) {
    let limit = usize::try_from(limit).unwrap_or(MAX_CHARACTERS).min(MAX_CHARACTERS);
    match fit {
        Fit::Segment => (1, 1),
        Fit::Characters => (gsm::segments(&"a".repeat(limit)), gsm::segments(&"\u{4e00}".repeat(limit))),
    }
}

/// One alarm of a consolidated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestItem<'a> {
    /// What names it, such as `HIGH Plant/Line1/TankLevel/HighHigh`.
    pub name: &'a str,
    /// The code of its notification run.
    pub code: &'a str,
}

/// A consolidated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The text.
    pub text: String,
    /// How many of the items, from the first on, it lists by name; `PIN ALL` is about these.
    pub listed: usize,
}

/// One text for `total` alarms, after a `heading` where it leaves room for at least one of them: at most `n` of `items` by name with their codes, as many as fit, then `and 37 more`. At least one
/// is listed, its name cut if it must be; codes never are.
#[must_use]
pub fn digest(heading: &str, items: &[DigestItem<'_>], n: usize, total: usize, limit: u32, fit: Fit) -> Digest {
    let room = Room::new(limit, fit);
    let total = total.max(items.len());
    let whole = |heading| whole_digest(&room, heading, items, n, total);
    if let Some(digest) = whole(heading).or_else(|| whole("").filter(|_| !heading.is_empty())) {
        return digest;
    }
    let Some(first) = items.first() else {
        return Digest { text: room.cut(&format!("{total} alarms"), None).text, listed: 0 };
    };
    // Even one does not fit with its whole name.
    let more = if total > 1 { format!(" +{}", total - 1) } else { String::new() };
    let tail = format!("{}{more}", shown(first.code));
    let folded = gsm::fold(first.name);
    Digest { text: room.longest(&strip(&folded), &format!("{CUT}{tail}")).text, listed: 1 }
}

/// A digest with whole names, as many as fit; `None` when not even one does.
fn whole_digest(room: &Room, heading: &str, items: &[DigestItem<'_>], n: usize, total: usize) -> Option<Digest> {
    let most = items.len().min(n.max(1));
    (1..=most).rev().find_map(|listed| {
        let names: Vec<String> = items[..listed].iter().map(|item| format!("{}{}", strip(item.name), shown(item.code))).collect();
        let text = format!("{heading}{}", digest_text(&names.join(", "), total, total - listed));
        let text = gsm::economize(&text).into_owned();
        room.holds(&text).then_some(Digest { text, listed })
    })
}

/// A code behind a name; what cannot be acknowledged has none.
fn shown(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" #{code}") }
}

fn digest_text(names: &str, total: usize, more: usize) -> String {
    match (total, more) {
        (1, _) => names.to_owned(),
        (total, 0) => format!("{total} alarms: {names}"),
        (total, more) => format!("{total} alarms: {names} and {more} more"),
    }
}

/// What a text must keep to.
struct Room {
    characters: usize,
    one_segment: bool,
    only_gsm: bool,
}

/// One way to make a text fit.
struct Candidate {
    text: String,
    cut: bool,
    segments: usize,
    /// Graphemes of a text that was cut.
    kept: usize,
}

impl Candidate {
    fn new(text: String, cut: bool, kept: usize) -> Self {
        Self { segments: gsm::segments(&text), text, cut, kept }
    }

    /// Whole before cut, then fewest segments, then most text; the unfolded one, tried first, wins a tie.
    fn is_better_than(&self, other: &Self) -> bool {
        let key = |candidate: &Self| (candidate.cut, candidate.segments, std::cmp::Reverse(candidate.kept));
        key(self) < key(other)
    }
}

impl Room {
    fn new(limit: u32, fit: Fit) -> Self {
        let limit = usize::try_from(limit.max(MIN_LIMIT)).unwrap_or(MAX_CHARACTERS);
        Self { characters: limit.min(MAX_CHARACTERS), one_segment: fit == Fit::Segment, only_gsm: false }
    }

    fn holds(&self, text: &str) -> bool {
        text.chars().count() <= self.characters
            && (!self.one_segment || gsm::segments(text) == 1)
            && (!self.only_gsm || gsm::is_gsm(text))
    }

    /// `text` with its code: whole when it fits, else its longest beginning.
    fn cut(&self, text: &str, code: Option<&str>) -> Candidate {
        let tail = code.map(|code| format!(" #{code}")).unwrap_or_default();
        let whole = if code.is_none_or(|code| shows(text, code)) { text.to_owned() } else { format!("{text}{tail}") };
        if self.holds(&whole) {
            return Candidate::new(whole.trim_start().to_owned(), false, 0);
        }
        let without_tail = self.longest(text, CUT);
        if code.is_none_or(|code| shows(&without_tail.text, code)) {
            return without_tail;
        }
        self.longest(text, &format!("{CUT}{tail}"))
    }

    /// The longest beginning of `text`, in whole graphemes, that fits together with `tail`.
    fn longest(&self, text: &str, tail: &str) -> Candidate {
        let ends: Vec<usize> =
            std::iter::once(0).chain(text.grapheme_indices(true).map(|(start, grapheme)| start + grapheme.len())).collect();
        let build = |kept: usize| format!("{}{tail}", text[..ends[kept]].trim_end()).trim_start().to_owned();
        // Longer beginnings never fit where a shorter one does not, so that the border can be searched by halves.
        let (mut fits, mut fails) = (0, ends.len());
        while fits + 1 < fails {
            let middle = usize::midpoint(fits, fails);
            if self.holds(&build(middle)) { fits = middle } else { fails = middle }
        }
        Candidate::new(build(fits), true, fits)
    }
}

/// True when `text` shows `code` as a word.
fn shows(text: &str, code: &str) -> bool {
    text.match_indices(code).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + code.len()..].chars().next();
        [before, after].into_iter().flatten().all(|neighbour| !neighbour.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str, limit: u32, mode: Fit, expected: &str) {
        assert_eq!(fit(text, Some(code), limit, mode), expected);
    }

    #[test]
    fn the_code_is_reserved_first() {
        check("Tank high", "K7M", 160, Fit::Segment, "Tank high #K7M");
        check("Tank high, code K7M", "K7M", 160, Fit::Segment, "Tank high, code K7M");
        check("Tank K7MX high", "K7M", 160, Fit::Segment, "Tank K7MX high #K7M");
        check("Tank level high high", "K7M", 20, Fit::Characters, "Tank level[...] #K7M");
        check("#K7M Tank level high high", "K7M", 20, Fit::Characters, "#K7M Tank level[...]");
        check("Tank level high high, say K7M", "K7M", 20, Fit::Characters, "Tank level[...] #K7M");
        check("Tank", "", 20, Fit::Characters, "Tank");
        check("", "K7M", 20, Fit::Characters, "#K7M");
        check("a\r\n\r\nb\tc\u{7}\u{0}", "K7M", 160, Fit::Segment, "a\nb c #K7M");
        assert_eq!(fit("Tank level high high, stop", None, 20, Fit::Characters), "Tank level high[...]");
        assert_eq!(fit("x", None, 0, Fit::Characters), "x", "a limit below the least counts as the least");
    }

    #[test]
    fn one_segment_is_one_segment() {
        let text = "a".repeat(200);
        // 160 septets: 149 letters, 7 for the cut, 5 for the code - one less character than septets twice.
        check(&text, "K7M", 160, Fit::Segment, &format!("{}[...] #K7M", "a".repeat(148)));
        check(&text, "K7M", 160, Fit::Characters, &format!("{}[...] #K7M", "a".repeat(150)));
        let warm = format!("81 °C {}", "a".repeat(200));
        check(&warm, "K7M", 160, Fit::Segment, &format!("81 degC {}[...] #K7M", "a".repeat(140)));
        let cyrillic = "Насос ".repeat(30);
        let fitted = fit(&cyrillic, Some("K7M"), 160, Fit::Segment);
        assert_eq!((gsm::segments(&fitted), fitted.chars().count()), (1, 69), "{fitted}");
        check("81 °C", "K7M", 160, Fit::Segment, "81 °C #K7M");
    }

    #[test]
    fn the_most_that_a_profile_can_cost() {
        assert_eq!(most_segments(1600, Fit::Segment), (1, 1));
        assert_eq!(most_segments(160, Fit::Characters), (1, 3));
        assert_eq!(most_segments(161, Fit::Characters), (2, 3));
        assert_eq!(most_segments(1600, Fit::Characters), (11, 24));
    }

    #[test]
    fn graphemes_stay_whole() {
        let family = "👨‍👩‍👧‍👦";
        let text = family.repeat(10);
        // Each is seven characters: two of them, the cut and the code are 24.
        check(&text, "K7M", 24, Fit::Characters, &format!("{family}{family}[...] #K7M"));
        check(&text, "K7M", 23, Fit::Characters, &format!("{family}[...] #K7M"));
        check(&"e\u{301}".repeat(30), "K7M", 21, Fit::Characters, &format!("{}[...] #K7M", "e\u{301}".repeat(5)));
    }

    #[test]
    fn digests_name_what_fits() {
        let names: Vec<String> = (0..40).map(|number| format!("HIGH Plant/Line1/Pump{number}/Trip")).collect();
        let items: Vec<DigestItem<'_>> = names.iter().map(|name| DigestItem { name, code: "K7M" }).collect();
        let text = digest("", &items, 3, 40, 160, Fit::Segment);
        let expected = "40 alarms: HIGH Plant/Line1/Pump0/Trip #K7M, HIGH Plant/Line1/Pump1/Trip #K7M, HIGH Plant/Line1/Pump2/Trip #K7M and 37 more";
        assert_eq!((text.text.as_str(), text.listed), (expected, 3));
        assert_eq!(digest("", &items, 10, 10_000, 160, Fit::Segment).listed, 3);
        assert_eq!(digest("", &items[..1], 10, 1, 160, Fit::Segment).text, "HIGH Plant/Line1/Pump0/Trip #K7M");
        assert_eq!(
            digest("", &items[..2], 10, 2, 160, Fit::Segment).text,
            "2 alarms: HIGH Plant/Line1/Pump0/Trip #K7M, HIGH Plant/Line1/Pump1/Trip #K7M"
        );
        assert_eq!(digest("", &items, 10, 40, 20, Fit::Segment).text, "HIGH P[...] #K7M +39");
        let flood = digest("Flood: ", &items, 3, 40, 160, Fit::Segment);
        assert_eq!((flood.text, flood.listed), (format!("Flood: {expected}"), 3));
        let no_room = digest(&"Flood ".repeat(20), &items, 3, 40, 160, Fit::Segment);
        assert_eq!(no_room.text, expected, "rather no heading than no name");
        assert_eq!(digest("", &[], 10, 12, 160, Fit::Segment), Digest { text: "12 alarms".into(), listed: 0 });
    }

    const ANY_TEXT: &str = "[a-zA-Z0-9 \\[€°µ“…\\n]{0,300}|\\PC{0,300}|(👨‍👩‍👧‍👦|e\u{301}|🇩🇪|Ж|a ){0,100}";

    fn mode(segment: bool) -> Fit {
        if segment { Fit::Segment } else { Fit::Characters }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn every_text_fits(text in ANY_TEXT, code in "[ACEFGHJKMNPRTWXY]{2}[34679]{1,2}", limit in 20_u32..2000, segment: bool) {
            let fitted = fit(&text, Some(&code), limit, mode(segment));
            prop_assert!(fitted.chars().count() <= usize::try_from(limit).unwrap().min(MAX_CHARACTERS));
            prop_assert!(!segment || gsm::segments(&fitted) == 1);
            prop_assert!(shows(&fitted, &code), "{fitted:?}");
            prop_assert!(fitted.chars().all(|character| !character.is_control() || character == '\n'));
            if let Some((kept, _)) = fitted.rsplit_once(CUT).filter(|_| !text.contains(CUT)) {
                // What was kept ends where a grapheme of the text (or of its folding) ends.
                let text = strip(&text);
                let whole = [text.as_str(), &*gsm::fold(&text)].into_iter().any(|text| {
                    let text = text.trim_start();
                    let mut ends = text.grapheme_indices(true).map(|(start, grapheme)| start + grapheme.len()).chain([0]);
                    text.starts_with(kept) && ends.any(|end| end == kept.len())
                });
                prop_assert!(whole, "{kept:?}");
            }
        }

        #[test]
        fn every_digest_fits(names in prop::collection::vec(ANY_TEXT, 1..12), n in 0_usize..12, more in 0_usize..100_000, limit in 20_u32..2000, segment: bool) {
            let items: Vec<DigestItem<'_>> = names.iter().map(|name| DigestItem { name, code: "K7M" }).collect();
            let digest = digest("", &items, n, items.len() + more, limit, mode(segment));
            prop_assert!(digest.text.chars().count() <= usize::try_from(limit).unwrap());
            prop_assert!(!segment || gsm::segments(&digest.text) == 1);
            prop_assert!((1..=n.max(1)).contains(&digest.listed));
            prop_assert!(digest.text.matches("#K7M").count() >= digest.listed, "{}", digest.text);
        }
    }
}
