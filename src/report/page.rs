//! The report as one page: everything in one file, nothing from outside, no script; for screens, dark or light, and for paper.

use std::collections::BTreeMap;

use jiff::{Timestamp as Instant, tz::TimeZone};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};

use super::{
    charts::{DARK, LIGHT, charts},
    kpi::{FLEETING, Kpis},
    words,
};
use crate::tag::Timestamp;

const TEMPLATE: &str = include_str!("page.html");

/// The page of `site`'s figures, as HTML. `made` is when it was made.
///
/// # Errors
/// Never with the template that the program carries; the words are minijinja's.
pub fn page(kpis: &Kpis, site: &str, made: Timestamp) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("when", when);
    environment.add_filter("duration", |seconds: Option<f64>| seconds.map_or_else(|| "\u{2013}".to_owned(), words::duration));
    environment.add_filter("percent", words::percent);
    environment.add_filter("number", words::number);
    let figures: Vec<Value> = kpis
        .figures
        .iter()
        .map(|figure| {
            context! {
                name => figure.name, value => words::value(figure), target => figure.target, source => figure.source,
                met => figure.met, verdict => words::verdict(figure),
            }
        })
        .collect();
    let charts: BTreeMap<String, Value> = charts(kpis)
        .into_iter()
        .map(|chart| (chart.key.replace('-', "_"), context! { title => chart.title, svg => Value::from_safe_string(chart.svg) }))
        .collect();
    let stale: Vec<Value> = kpis
        .stale
        .list
        .iter()
        .map(|alarm| {
            let until = if alarm.until.is_null() { kpis.to } else { alarm.until };
            let active = until.since(alarm.since).as_secs_f64();
            context! { alarm => alarm.alarm.as_str(), since => Serde(alarm.since), until => Serde(alarm.until), active => active }
        })
        .collect();
    let floods: Vec<Value> = kpis
        .floods
        .list
        .iter()
        .map(|flood| {
            let length = flood.end.since(flood.start).as_secs_f64();
            context! { length => length, ..Value::from(Serde(flood)) }
        })
        .collect();
    let judged = kpis.figures.iter().filter_map(|figure| figure.met);
    let (met, judged) = (judged.clone().filter(|met| *met).count(), judged.count());
    let days = kpis.to.since(kpis.from).as_secs_f64();
    let page = context! {
        site, figures, charts, stale, floods, met, judged, made => Serde(made), k => Serde(kpis), span => days,
        fleeting_seconds => FLEETING.as_secs(), version => env!("CARGO_PKG_VERSION"), light => LIGHT, dark => DARK,
    };
    environment.render_str(TEMPLATE, page).map_err(|error| error.to_string())
}

/// A time in this machine's zone, to the minute; a dash for none.
fn when(time: Option<String>) -> String {
    let Some(time) = time.and_then(|time| time.parse::<Instant>().ok()) else { return "\u{2013}".to_owned() };
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        engine::{
            plan::Priority,
            record::{JournalKind, Transition},
        },
        report::{
            Recorded, Span,
            charts::{KEYS, Theme},
            kpis,
        },
    };

    fn figures(alarm: &str) -> Kpis {
        let time = |second: u64| {
            let midnight: Instant = "2026-11-30T00:00:00Z".parse().unwrap();
            Timestamp::from(midnight) + std::time::Duration::from_secs(second)
        };
        let mut recorded = Recorded::default();
        for event in 0..30_u64 {
            for (kind, after) in [(JournalKind::Raised, 0), (JournalKind::Cleared, 2)] {
                let event_id = Some(Uuid::from_u128(event.into()));
                recorded.transition(&Transition {
                    time: time(event * 10 + after),
                    alarm,
                    event: event_id,
                    kind,
                    priority: Priority::High,
                    user: "",
                    via: None,
                    silenced: false,
                });
            }
        }
        kpis(&recorded, &Span { from: time(0), to: time(86_400), zone: TimeZone::UTC }).unwrap()
    }

    #[test]
    fn the_page_stands_alone_and_shows_what_was_found() {
        let hostile = "Plant/<script>alert(1)</script>/Alarms/\"High\"";
        let kpis = figures(hostile);
        let page = page(&kpis, "Works & Sons", kpis.to).unwrap();
        for shown in ["Alarm report – Works &amp; Sons", "Floods", "Chattering alarms", "Fleeting alarms", "✗ not met", "✓ met"]
        {
            assert!(page.contains(shown), "{shown} is missing");
        }
        let page_only = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        let foreign = regex::Regex::new(r"<script|https?:|url\(|@import|\ssrc=|<link|<[^>]*\son[a-z]+\s*=").unwrap();
        assert_eq!(foreign.find(&page_only).map(|found| found.as_str().to_owned()), None);
        assert_eq!(page.matches("<svg ").count(), KEYS.len() - 1, "nobody was told: no chart of messages");
    }

    #[test]
    fn charts_take_their_colours_from_the_page_and_escape_names() {
        let kpis = figures("Plant/<b>&\"/Alarms/High");
        for chart in crate::report::charts(&kpis) {
            assert!(chart.svg.starts_with("<svg role=\"img\" aria-label=\""), "{}: {}", chart.key, &chart.svg[..80]);
            assert!(!chart.svg.contains("<b>"), "{}", chart.svg);
            let bare = chart.svg.match_indices("\"#").count();
            assert_eq!(bare, 0, "{}: a colour without a name in {}", chart.key, chart.svg);
            assert!(chart.svg.contains("var(--chart-"), "{}", chart.key);
            let alone = chart.standalone(Theme::Dark);
            assert!(alone.contains("<style>svg { --chart-ink: #e4e9ee;") && alone.ends_with("</svg>\n"), "{alone}");
            assert_eq!(crate::report::chart(&kpis, chart.key), Some(chart));
        }
        assert_eq!(crate::report::chart(&kpis, "unknown"), None);
    }

    #[test]
    fn nothing_recorded_is_a_page_too() {
        let span = Span::last_hours(24 * 400, Timestamp::from("2026-11-30T00:00:00Z".parse::<Instant>().unwrap()));
        let kpis = kpis(&Recorded::default(), &span).unwrap();
        let page = page(&kpis, "", kpis.to).unwrap();
        assert!(page.contains("<h1>Alarm report</h1>") && page.contains("none"), "{page}");
    }
}
