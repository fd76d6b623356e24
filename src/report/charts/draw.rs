//! The surface that charts are drawn on: sizes, colours and what plotters' SVG still lacks.

use plotters::{
    coord::Shift,
    prelude::{DrawingArea, EmptyElement, IntoDrawingArea, IntoFont, RGBColor, Rectangle, SVGBackend, Text, TextStyle},
    style::{
        Color,
        text_anchor::{HPos, Pos, VPos},
    },
};

/// Width of a chart across a page, in units of its own; it is scaled to its place …
pub(super) const WIDTH: u32 = 900;
/// … and of one that takes half of it.
pub(super) const HALF: u32 = 560;
/// Height of a text's line.
pub(super) const LINE: u32 = 28;
/// Size of texts.
pub(super) const TEXT: u32 = 18;

/// A colour with the name by which a page's style sheet may change it.
#[derive(Clone, Copy)]
pub(super) struct Ink(pub RGBColor, &'static str);

pub(super) const INK: Ink = Ink(RGBColor(0x1B, 0x22, 0x2B), "ink");
pub(super) const MUTED: Ink = Ink(RGBColor(0x5A, 0x66, 0x73), "muted");
pub(super) const GRID: Ink = Ink(RGBColor(0xD5, 0xDB, 0xE1), "grid");
pub(super) const GOOD: Ink = Ink(RGBColor(0x2E, 0x8B, 0x57), "good");
pub(super) const WARN: Ink = Ink(RGBColor(0xD9, 0x8A, 0x00), "warn");
pub(super) const BAD: Ink = Ink(RGBColor(0xB8, 0x32, 0x32), "bad");
pub(super) const PLAIN: Ink = Ink(RGBColor(0x2F, 0x6F, 0xB3), "plain");
/// Diagnostic to critical.
pub(super) const PRIORITIES: [Ink; 5] = [
    Ink(RGBColor(0x9A, 0xA5, 0xB1), "1"),
    Ink(RGBColor(0x5B, 0xA3, 0xE0), "2"),
    Ink(RGBColor(0xE3, 0xB5, 0x2C), "3"),
    Ink(RGBColor(0xE0, 0x7B, 0x32), "4"),
    Ink(RGBColor(0xC0, 0x39, 0x3A), "5"),
];
const INKS: [Ink; 12] =
    [INK, MUTED, GRID, GOOD, WARN, BAD, PLAIN, PRIORITIES[0], PRIORITIES[1], PRIORITIES[2], PRIORITIES[3], PRIORITIES[4]];

/// Colours on light paper, as declarations of a style sheet.
pub const LIGHT: &str = "--chart-ink: #1b222b; --chart-muted: #5a6673; --chart-grid: #d5dbe1; --chart-good: #2e8b57; \
                         --chart-warn: #d98a00; --chart-bad: #b83232; --chart-plain: #2f6fb3; --chart-1: #9aa5b1; \
                         --chart-2: #5ba3e0; --chart-3: #e3b52c; --chart-4: #e07b32; --chart-5: #c0393a;";
/// Colours on a dark screen.
pub const DARK: &str = "--chart-ink: #e4e9ee; --chart-muted: #9aa7b4; --chart-grid: #323b46; --chart-good: #4fb37c; \
                        --chart-warn: #e6a23c; --chart-bad: #e5655e; --chart-plain: #5b9bdb; --chart-1: #76828f; \
                        --chart-2: #4f97d6; --chart-3: #d9b13b; --chart-4: #e08b4a; --chart-5: #e05a55;";

pub(super) type Surface<'s> = DrawingArea<SVGBackend<'s>, Shift>;
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Has `draw` draw on a surface of this size. The result is one `<svg>` element with a title for those who cannot see it, without a
/// size of its own, its colours to be changed by CSS.
pub(super) fn svg(title: &str, (width, height): (u32, u32), draw: impl FnOnce(&Surface<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let surface = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        // A text has no end: there is nothing that could fail, and half a chart is better than no page.
        _ = draw(&surface);
        _ = surface.present();
    }
    let sized = format!("<svg width=\"{width}\" height=\"{height}\" ");
    let label = title.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let mut svg = svg.replacen(&sized, &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1);
    for Ink(RGBColor(red, green, blue), name) in INKS {
        let colour = format!("#{red:02X}{green:02X}{blue:02X}");
        svg = svg.replace(&format!("\"{colour}\""), &format!("\"var(--chart-{name}, {colour})\""));
    }
    svg
}

/// A text of one line.
pub(super) fn write(surface: &Surface<'_>, text: &str, at: (i32, i32), anchor: HPos, ink: Ink) -> Drawn {
    let style: TextStyle<'_> = ("sans-serif", TEXT).into_font().color(&ink.0).pos(Pos::new(anchor, VPos::Center));
    surface.draw(&(EmptyElement::at(at) + Text::new(text.to_owned(), (0, 0), style)))?;
    Ok(())
}

/// A filled rectangle from the left upper to the right lower corner.
pub(super) fn fill(surface: &Surface<'_>, corners: [(i32, i32); 2], ink: Ink) -> Drawn {
    surface.draw(&Rectangle::new(corners, ink.0.filled()))?;
    Ok(())
}

/// One bar of [`bars`].
pub(super) struct Bar {
    pub label: String,
    pub value: f64,
    /// What stands at its end.
    pub text: String,
    pub ink: Ink,
    /// Where a target lies, on the same scale.
    pub target: Option<f64>,
}

/// Horizontal bars, one below the other, with their labels at the left in `margin`.
pub(super) fn bars(title: &str, (width, margin): (u32, u32), bars: &[Bar]) -> String {
    const END: u32 = 170;
    let height = LINE * u32::try_from(bars.len().max(1)).unwrap_or(1) + 8;
    let most = bars.iter().flat_map(|bar| [Some(bar.value), bar.target]).flatten().fold(0.0, f64::max);
    let room = f64::from(width - margin - END);
    #[allow(clippy::cast_possible_truncation)]
    let scaled = |value: f64| if most > 0.0 { (value / most * room).round() as i32 } else { 0 };
    svg(title, (width, height), |surface| {
        let left = i32::try_from(margin)?;
        for (row, bar) in (0_i32..).zip(bars) {
            let top = row * LINE.cast_signed() + 6;
            let middle = top + LINE.cast_signed() / 2 - 2;
            write(surface, &shortened(&bar.label, margin), (left - 10, middle), HPos::Right, INK)?;
            let length = scaled(bar.value).max(i32::from(bar.value > 0.0));
            fill(surface, [(left, top), (left + length, top + LINE.cast_signed() - 8)], bar.ink)?;
            if let Some(target) = bar.target.map(scaled) {
                fill(surface, [(left + target - 1, top - 3), (left + target + 1, top + LINE.cast_signed() - 5)], INK)?;
            }
            let end = length.max(bar.target.map_or(0, scaled));
            write(surface, &bar.text, (left + end + 8, middle), HPos::Left, MUTED)?;
        }
        Ok(())
    })
}

/// The end of a label tells alarms apart: its beginning is left out where it is too long.
fn shortened(label: &str, margin: u32) -> String {
    let most = (margin / 9) as usize;
    let length = label.chars().count();
    if length <= most {
        return label.to_owned();
    }
    format!("\u{2026}{}", label.chars().skip(length + 1 - most).collect::<String>())
}
