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
    let variants = [Some(text.as_str()), (folded != text).then_some(&*folded)];
    let mut best: Option<Candidate> = None;
    for variant in variants.into_iter().flatten() {
        let candidate = room.cut(variant, code);
        if best.as_ref().is_none_or(|best| candidate.is_better_than(best)) {
            best = Some(candidate);
        }
    }
    best.map(|best| best.text).unwrap_or_default()
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

/// One text for `total` alarms: at most `n` of `items` by name with their codes, as many as fit, then `and 37 more`. At least one
/// is listed, its name cut if it must be; codes never are.
#[must_use]
pub fn digest(items: &[DigestItem<'_>], n: usize, total: usize, limit: u32, fit: Fit) -> Digest {
    let room = Room::new(limit, fit);
    let total = total.max(items.len());
    let most = items.len().min(n.max(1));
    for listed in (1..=most).rev() {
        let names: Vec<String> = items[..listed].iter().map(|item| format!("{} #{}", strip(item.name), item.code)).collect();
        let text = gsm::economize(&digest_text(&names.join(", "), total, total - listed)).into_owned();
        if room.holds(&text) {
            return Digest { text, listed };
        }
    }
    let Some(first) = items.first() else {
        return Digest { text: room.cut(&format!("{total} alarms"), None).text, listed: 0 };
    };
    // Even one does not fit with its whole name.
    let more = if total > 1 { format!(" +{}", total - 1) } else { String::new() };
    let tail = format!(" #{}{more}", first.code);
    let folded = gsm::fold(first.name);
    Digest { text: room.longest(&strip(&folded), &format!("{CUT}{tail}")).text, listed: 1 }
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
}

/// One way to make a text fit.
struct Candidate {
    text: String,
    cut: bool,
    segments: usize,
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
        Self { characters: limit.min(MAX_CHARACTERS), one_segment: fit == Fit::Segment }
    }

    fn holds(&self, text: &str) -> bool {
        text.chars().count() <= self.characters && (!self.one_segment || gsm::segments(text) == 1)
    }

    /// `text` with its code: whole when it fits, else its longest beginning.
    fn cut(&self, text: &str, code: Option<&str>) -> Candidate {
        let tail = code.map(|code| format!(" #{code}")).unwrap_or_default();
        let whole = if code.is_none_or(|code| shows(text, code)) { text.to_owned() } else { format!("{text}{tail}") };
        if self.holds(&whole) {
            let kept = text.graphemes(true).count();
            return Candidate::new(whole.trim_start().to_owned(), false, kept);
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
