//! Figures as charts: SVG drawn by plotters, one text each, without script, style sheet or anything from outside.
//!
//! Colours are `var(--chart-…, fallback)`: a page that the text stands in may choose others, for dark screens.

mod draw;

use jiff::tz::TimeZone;
use plotters::{
    prelude::{ChartBuilder, IntoFont as _, LineSeries, Rectangle},
    style::{Color as _, text_anchor::HPos},
};

use self::draw::{
    BAD, Bar, Drawn, GOOD, GRID, HALF, Ink, MUTED, PLAIN, PRIORITIES, Surface, TEXT, WARN, WIDTH, bars, fill, svg, write,
};
pub use self::draw::{DARK, LIGHT};
use super::{
    kpi::{ACK_BUCKETS, Kpis},
    words,
};
use crate::engine::plan::Priority;

/// Height of charts over time.
const HEIGHT: u32 = 300;
/// Room for the legend above them.
const LEGEND: u32 = 34;

/// A drawn chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// For programs: one of [`KEYS`].
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// One `<svg>` element.
    pub svg: String,
}

/// For what screen a chart that stands alone is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As whoever looks at it prefers.
    #[default]
    Any,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Chart {
    /// The chart as a file of its own, which no page lends its colours.
    #[must_use]
    pub fn standalone(&self, theme: Theme) -> String {
        let style = match theme {
            Theme::Any => format!("svg {{ {LIGHT} }} @media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}"),
            Theme::Light => format!("svg {{ {LIGHT} }}"),
            Theme::Dark => format!("svg {{ {DARK} }}"),
        };
        self.svg.replacen('>', &format!("><style>{style}</style>"), 1)
    }
}

/// What can be drawn: key, title, and how.
type Kind = (&'static str, &'static str, fn(&Kpis, &str) -> String);

const KINDS: [Kind; 7] = [
    ("load", "Alarms over time", load),
    ("distribution", "10-minute intervals by load (EEMUA 191)", distribution),
    ("bad-actors", "Most frequent alarms", bad_actors),
    ("priorities", "Priorities beside their targets (80 / 15 / 5 %)", priorities),
    ("acknowledgement", "Time to acknowledge", acknowledgement),
    ("standing", "Standing alarms, most at once per day", standing),
    ("messages", "Text segments and call minutes per person", messages),
];

/// The keys of all charts, in the order in which they are shown.
pub const KEYS: [&str; KINDS.len()] = {
    let mut keys = [""; KINDS.len()];
    let mut place = 0;
    while place < keys.len() {
        keys[place] = KINDS[place].0;
        place += 1;
    }
    keys
};

/// All charts.
#[must_use]
pub fn charts(kpis: &Kpis) -> Vec<Chart> {
    KINDS.into_iter().map(|(key, title, draw)| Chart { key, title, svg: draw(kpis, title) }).collect()
}

/// One of them; `None` for a key that is none of [`KEYS`].
#[must_use]
pub fn chart(kpis: &Kpis, key: &str) -> Option<Chart> {
    let (key, title, draw) = KINDS.into_iter().find(|(known, ..)| *known == key)?;
    Some(Chart { key, title, svg: draw(kpis, title) })
}

/// Alarms per ten minutes of a span of some days, else per day and priority.
fn load(kpis: &Kpis, title: &str) -> String {
    if kpis.alarms.intervals.is_empty() { per_day(kpis, title) } else { per_interval(kpis, title) }
}

#[allow(clippy::cast_precision_loss)]
fn per_interval(kpis: &Kpis, title: &str) -> String {
    /// The rate above which a flood begins.
    const LIMIT: f64 = 10.0;
    let counts = &kpis.alarms.intervals;
    let most = counts.iter().copied().max().unwrap_or_default().max(12) as f64;
    let (zone, from, days) = (TimeZone::system(), kpis.from, counts.len() > 300);
    let format = if days { "%-d %b %H:%M" } else { "%H:%M" };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let label = move |place: &f64| {
        let time = from + std::time::Duration::from_secs((place.max(0.0) * 600.0) as u64);
        time.to_jiff().to_zoned(zone.clone()).strftime(format).to_string()
    };
    svg(title, (WIDTH, HEIGHT), |surface| {
        legend(surface, &[("alarms per 10 minutes", PLAIN), ("more than 10: flood", BAD)])?;
        let busy = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let shapes = busy.map(|(place, count)| {
            let ink = if *count as f64 > LIMIT { BAD } else { PLAIN };
            ([place as f64 + 0.08, place as f64 + 0.92], [0.0, *count as f64], ink)
        });
        axes(surface, (counts.len() as f64, most * 1.08), 8, &label, shapes.collect(), LIMIT)
    })
}

#[allow(clippy::cast_precision_loss)]
fn per_day(kpis: &Kpis, title: &str) -> String {
    /// ISA-18.2: the most that one person can deal with in a day.
    const LIMIT: f64 = 300.0;
    let days = &kpis.alarms.days;
    let most = days.iter().map(|day| day.by_priority.iter().sum::<i64>()).max().unwrap_or_default() as f64;
    let most = most.max(LIMIT) * 1.08;
    let label = day_label(kpis);
    let names: Vec<(&str, Ink)> = Priority::ALL.iter().map(|priority| priority.name()).zip(PRIORITIES).collect();
    svg(title, (WIDTH, HEIGHT), |surface| {
        legend(surface, &[names.as_slice(), &[("300 a day", MUTED)]].concat())?;
        let mut shapes = Vec::new();
        for (place, day) in days.iter().enumerate() {
            let mut below = 0.0;
            for (count, ink) in day.by_priority.into_iter().zip(PRIORITIES).filter(|(count, _)| *count > 0) {
                let height = below + count as f64;
                shapes.push(([place as f64 + 0.1, place as f64 + 0.9], [below, height], ink));
                below = height;
            }
        }
        axes(surface, (days.len() as f64, most), 10, &label, shapes, LIMIT)
    })
}

#[allow(clippy::cast_precision_loss)]
fn standing(kpis: &Kpis, title: &str) -> String {
    /// EEMUA 191: fewer than ten.
    const LIMIT: f64 = 10.0;
    let days = &kpis.alarms.days;
    let most = (days.iter().map(|day| day.standing).max().unwrap_or_default() as f64).max(LIMIT) * 1.1;
    let label = day_label(kpis);
    svg(title, (WIDTH, HEIGHT), |surface| {
        legend(surface, &[("most at once", PLAIN), ("target: fewer than 10", MUTED)])?;
        let bar = |(place, day): (usize, &super::kpi::Day)| {
            ([place as f64 + 0.1, place as f64 + 0.9], [0.0, day.standing as f64], PLAIN)
        };
        axes(surface, (days.len() as f64, most), 10, &label, days.iter().enumerate().map(bar).collect(), LIMIT)
    })
}

/// The date of a day by its place.
fn day_label(kpis: &Kpis) -> impl Fn(&f64) -> String + use<> {
    let days: Vec<_> = kpis.alarms.days.iter().map(|day| day.day).collect();
    let years = days.first().zip(days.last()).is_some_and(|(first, last)| first.year() != last.year());
    let format = if years { "%-d %b %y" } else { "%-d %b" };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    move |place: &f64| {
        let day = (place.fract() == 0.0 && *place >= 0.0).then(|| days.get(*place as usize)).flatten();
        day.map(|day| day.strftime(format).to_string()).unwrap_or_default()
    }
}

#[allow(clippy::cast_precision_loss)]
fn distribution(kpis: &Kpis, title: &str) -> String {
    let rows: Vec<Bar> = kpis
        .alarms
        .bands
        .iter()
        .zip([GOOD, PLAIN, WARN, BAD])
        .map(|(band, ink)| Bar {
            label: match (band.name, band.up_to) {
                (name, Some(up_to)) => format!("{name}, up to {up_to}"),
                (name, None) => format!("{name}, more"),
            },
            value: band.percent,
            text: format!("{} ({})", words::percent(band.percent), band.intervals),
            ink,
            target: None,
        })
        .collect();
    bars(title, (HALF, 220), &rows)
}

#[allow(clippy::cast_precision_loss)]
fn bad_actors(kpis: &Kpis, title: &str) -> String {
    let rows: Vec<Bar> = kpis
        .bad_actors
        .list
        .iter()
        .map(|actor| Bar {
            label: actor.alarm.replacen("/Alarms/", " ", 1),
            value: actor.activations as f64,
            text: format!("{} ({})", actor.activations, words::percent(actor.share)),
            ink: PLAIN,
            target: None,
        })
        .collect();
    bars(title, (WIDTH, 400), &or_none(rows))
}

fn priorities(kpis: &Kpis, title: &str) -> String {
    // Low stands for diagnostic too, high for critical too, as their targets do.
    const TARGETS: [Option<f64>; 5] = [None, Some(80.0), Some(15.0), Some(5.0), Some(1.0)];
    let rows: Vec<Bar> = kpis
        .priorities
        .iter()
        .zip(PRIORITIES)
        .zip(TARGETS)
        .map(|((share, ink), target)| Bar {
            label: share.priority.to_string(),
            value: share.share,
            text: format!("{} ({})", words::percent(share.share), share.activations),
            ink,
            target,
        })
        .collect();
    bars(title, (HALF, 110), &rows)
}

#[allow(clippy::cast_precision_loss)]
fn acknowledgement(kpis: &Kpis, title: &str) -> String {
    let mut labels: Vec<String> = ACK_BUCKETS.iter().map(|limit| format!("within {}", words::duration(*limit as f64))).collect();
    labels.push("later".to_owned());
    let mut rows: Vec<Bar> = labels
        .into_iter()
        .zip(kpis.acknowledgement.buckets)
        .map(|(label, count)| Bar { label, value: count as f64, text: count.to_string(), ink: PLAIN, target: None })
        .collect();
    let open = kpis.acknowledgement.unacknowledged;
    rows.push(Bar { label: "by nobody".to_owned(), value: open as f64, text: open.to_string(), ink: WARN, target: None });
    bars(title, (HALF, 150), &rows)
}

#[allow(clippy::cast_precision_loss)]
fn messages(kpis: &Kpis, title: &str) -> String {
    let mut people: Vec<_> = kpis.people.iter().filter(|person| person.segments_sent + person.call_minutes_sent > 0).collect();
    people.sort_by_key(|person| std::cmp::Reverse(person.segments_sent + person.call_minutes_sent));
    let rows: Vec<Bar> = people
        .into_iter()
        .take(10)
        .flat_map(|person| {
            let name = if person.person.is_empty() { "(no user)".to_owned() } else { person.person.clone() };
            let bar = |label, count: i64, unit, ink| Bar {
                label,
                value: count as f64,
                text: format!("{count} {unit}"),
                ink,
                target: None,
            };
            [
                bar(name, person.segments_sent, "segments", PLAIN),
                bar(String::new(), person.call_minutes_sent, "call minutes", WARN),
            ]
        })
        .filter(|bar| bar.value > 0.0 || !bar.label.is_empty())
        .collect();
    bars(title, (WIDTH, 200), &or_none(rows))
}

fn or_none(rows: Vec<Bar>) -> Vec<Bar> {
    if rows.is_empty() {
        return vec![Bar { label: "none".to_owned(), value: 0.0, text: String::new(), ink: PLAIN, target: None }];
    }
    rows
}

fn legend(surface: &Surface<'_>, entries: &[(&str, Ink)]) -> Drawn {
    let mut left = 60;
    for (name, ink) in entries {
        fill(surface, [(left, 10), (left + 14, 24)], *ink)?;
        write(surface, name, (left + 20, 17), HPos::Left, MUTED)?;
        left += 44 + i32::try_from(name.chars().count())? * 9;
    }
    Ok(())
}

/// A bar in units of the chart: from left to right, from bottom to top.
type Shape = ([f64; 2], [f64; 2], Ink);

/// Axes from 0 to `size`, in them `shapes`, and a line across at `level`.
fn axes(
    surface: &Surface<'_>,
    (across, up): (f64, f64),
    labels: usize,
    label: &dyn Fn(&f64) -> String,
    shapes: Vec<Shape>,
    level: f64,
) -> Drawn {
    let (across, up) = (across.max(1.0), up.max(1.0));
    let (_, lower) = surface.split_vertically(LEGEND);
    let mut builder = ChartBuilder::on(&lower);
    builder.margin_right(16).margin_top(6).x_label_area_size(30).y_label_area_size(56);
    let mut chart = builder.build_cartesian_2d(0.0..across, 0.0..up)?;
    let style = ("sans-serif", TEXT - 2).into_font().color(&MUTED.0);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(labels)
        .y_labels(5)
        .x_label_formatter(&|place| label(place))
        .y_label_formatter(&|value| words::number(*value))
        .label_style(style)
        .axis_style(GRID.0)
        .bold_line_style(GRID.0)
        .light_line_style(plotters::style::TRANSPARENT)
        .draw()?;
    let rectangle = |([left, right], [bottom, top], ink): Shape| Rectangle::new([(left, bottom), (right, top)], ink.0.filled());
    chart.draw_series(shapes.into_iter().map(rectangle))?;
    chart.draw_series(LineSeries::new([(0.0, level), (across, level)], MUTED.0.stroke_width(2)))?;
    Ok(())
}
