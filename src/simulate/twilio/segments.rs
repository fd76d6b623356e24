//! How many segments Twilio bills for a text. Written apart from the product's own counting, so that one checks the other.

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Segments of `body`: GSM 03.38 with 160 septets alone and 153 in parts, else UCS-2 with 70 units alone and 67 in parts; an
/// escape or surrogate pair is never split.
pub(super) fn count(body: &str) -> u32 {
    let septets = body.chars().map(|letter| match letter {
        _ if BASIC.contains(letter) => Some(1),
        _ if EXTENDED.contains(letter) => Some(2),
        _ => None,
    });
    match septets.collect::<Option<Vec<usize>>>() {
        Some(widths) => parts(&widths, 160, 153),
        None => parts(&body.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67),
    }
}

fn parts(widths: &[usize], alone: usize, part: usize) -> u32 {
    if widths.iter().sum::<usize>() <= alone {
        return 1;
    }
    let (mut segments, mut used) = (1, 0);
    for width in widths {
        if used + width > part {
            segments += 1;
            used = 0;
        }
        used += width;
    }
    segments
}

#[cfg(test)]
mod tests {
    #[test]
    fn segments_as_twilio_bills_them() {
        let rows = [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            (format!("{}€{}", "a".repeat(152), "a".repeat(152)), 3),
            ("°".repeat(70), 1),
            (format!("{}°", "a".repeat(70)), 2),
            ("🚨".repeat(35), 1),
            (format!("{}🚨", "°".repeat(69)), 2),
            (String::new(), 1),
        ];
        for (body, segments) in rows {
            assert_eq!(super::count(&body), segments, "{body}");
        }
    }
}
