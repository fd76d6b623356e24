//! The figures as tables on a terminal; a table without rows is left out.

use serde_json::json;

use crate::{
    cli::output::{local_time, table},
    report::{
        Kpis,
        kpi::{Delay, FLEETING},
        words::{duration, number, percent, value, verdict},
    },
    tag::Timestamp,
};

/// Floods that are shown, the greatest ones.
const MAX_FLOODS: usize = 10;
/// Rows of chattering and stale alarms that are shown.
const MAX_ROWS: usize = 10;

/// All tables.
pub(super) fn tables(kpis: &Kpis) -> String {
    let mut text = format!(
        "{} to {}: {} alarms, {} more while shelved, suppressed or out of service\n",
        when(kpis.from),
        when(kpis.to),
        kpis.alarms.activations,
        kpis.alarms.silenced
    );
    text += &figures(kpis);
    for (title, header, rows) in [
        load(kpis),
        floods(kpis),
        bad_actors(kpis),
        chattering(kpis),
        fleeting(kpis),
        stale(kpis),
        priorities(kpis),
        acknowledgement(kpis),
        by_person(kpis),
        people(kpis),
        not_sent(kpis),
    ] {
        if !rows.is_empty() {
            text.extend(["\n", &title, "\n", &table(&header, rows)]);
        }
    }
    text
}

type Section = (String, Vec<&'static str>, Vec<Vec<String>>);

fn figures(kpis: &Kpis) -> String {
    let rows = kpis.figures.iter().map(|figure| {
        let target = if figure.target.is_empty() { String::new() } else { format!("{} ({})", figure.target, figure.source) };
        [figure.name.to_owned(), value(figure), target, verdict(figure).to_owned()]
    });
    table(&["Figure", "Value", "Target", ""], rows)
}

fn load(kpis: &Kpis) -> Section {
    let row = |band: &crate::report::kpi::Band| {
        let size = band.up_to.map_or_else(|| "more".to_owned(), |up_to| format!("up to {up_to}"));
        vec![band.name.to_owned(), size, band.intervals.to_string(), percent(band.percent)]
    };
    let rows = kpis.alarms.bands.iter().map(row).collect();
    ("10-minute intervals by load (EEMUA 191)".into(), vec!["Load", "Alarms", "Intervals", "Share"], rows)
}

fn floods(kpis: &Kpis) -> Section {
    let mut greatest: Vec<_> = kpis.floods.list.iter().collect();
    greatest.sort_by_key(|flood| std::cmp::Reverse(flood.activations));
    greatest.truncate(MAX_FLOODS);
    greatest.sort_by_key(|flood| flood.start);
    let row = |flood: &crate::report::kpi::Flood| {
        let length = duration(flood.end.since(flood.start).as_secs_f64());
        vec![when(flood.start), when(flood.end), length, flood.activations.to_string(), flood.peak_per_10_minutes.to_string()]
    };
    let title = format!("Floods: {}, the greatest ones", kpis.floods.list.len());
    (title, vec!["Start", "End", "Length", "Alarms", "Most in 10 min"], greatest.into_iter().map(row).collect())
}

fn bad_actors(kpis: &Kpis) -> Section {
    let rows = kpis.bad_actors.list.iter();
    let rows = rows.map(|actor| vec![actor.alarm.clone(), actor.activations.to_string(), percent(actor.share)]);
    ("Most frequent alarms".into(), vec!["Alarm", "Times", "Share"], rows.collect())
}

fn chattering(kpis: &Kpis) -> Section {
    let rows = kpis.chattering.iter().take(MAX_ROWS);
    let rows = rows.map(|alarm| vec![alarm.alarm.clone(), alarm.episodes.to_string(), alarm.most_in_a_minute.to_string()]);
    let title = format!("Chattering alarms (three times in a minute): {}", kpis.chattering.len());
    (title, vec!["Alarm", "Episodes", "Most in a minute"], rows.collect())
}

fn fleeting(kpis: &Kpis) -> Section {
    let rows = kpis.fleeting.list.iter().map(|alarm| vec![alarm.alarm.clone(), alarm.events.to_string()]);
    (format!("Fleeting alarms (over within {} s)", FLEETING.as_secs()), vec!["Alarm", "Times"], rows.collect())
}

fn stale(kpis: &Kpis) -> Section {
    let row = |alarm: &crate::report::kpi::StaleAlarm| {
        let until = if alarm.until.is_null() { kpis.to } else { alarm.until };
        let length = duration(until.since(alarm.since).as_secs_f64());
        let until = if alarm.until.is_null() { "active".to_owned() } else { when(alarm.until) };
        vec![alarm.alarm.clone(), when(alarm.since), until, length]
    };
    let rows = kpis.stale.list.iter().take(MAX_ROWS).map(row).collect();
    ("Stale alarms (active for more than 24 h), longest first".into(), vec!["Alarm", "Since", "Until", "Active"], rows)
}

fn priorities(kpis: &Kpis) -> Section {
    let row = |share: &crate::report::kpi::PriorityShare| {
        vec![share.priority.to_string(), share.activations.to_string(), percent(share.share), share.target.to_owned()]
    };
    let rows = if kpis.alarms.activations == 0 { Vec::new() } else { kpis.priorities.iter().map(row).collect() };
    ("Priorities".into(), vec!["Priority", "Alarms", "Share", "Target"], rows)
}

fn acknowledgement(kpis: &Kpis) -> Section {
    let rows = kpis.acknowledgement.by_priority.iter().map(|row| delay_row(row.priority.name(), &row.delay)).collect();
    let title = format!("Time to acknowledge; {} alarm events are not acknowledged", kpis.acknowledgement.unacknowledged);
    (title, vec!["Priority", "Acknowledged", "Median", "9 in 10 within"], rows)
}

fn by_person(kpis: &Kpis) -> Section {
    let rows = kpis.acknowledgement.by_person.iter().map(|row| delay_row(&row.person, &row.delay)).collect();
    ("Time to acknowledge by person".into(), vec!["Person", "Acknowledged", "Median", "9 in 10 within"], rows)
}

fn delay_row(name: &str, delay: &Delay) -> Vec<String> {
    let took = |seconds: Option<f64>| seconds.map_or_else(|| "\u{2013}".to_owned(), duration);
    vec![name.to_owned(), number_of(delay.count), took(delay.median_seconds), took(delay.p90_seconds)]
}

fn people(kpis: &Kpis) -> Section {
    let row = |person: &crate::report::kpi::Person| {
        let name = if person.person.is_empty() { "(no user)" } else { &person.person };
        let counts = [
            person.texts_sent,
            person.segments_sent,
            person.texts_received,
            person.calls_sent,
            person.call_minutes_sent,
            person.calls_received,
            person.call_minutes_received,
        ];
        std::iter::once(name.to_owned()).chain(counts.map(number_of)).collect()
    };
    let header = vec!["Person", "Texts sent", "Segments", "Texts received", "Calls sent", "Minutes", "Calls received", "Minutes"];
    ("Texts and calls".into(), header, kpis.people.iter().map(row).collect())
}

fn not_sent(kpis: &Kpis) -> Section {
    let rows = kpis.not_sent.iter().map(|reason| vec![reason.reason.clone(), number_of(reason.messages)]).collect();
    ("Messages that were not sent".into(), vec!["Reason", "Messages"], rows)
}

#[allow(clippy::cast_precision_loss)]
fn number_of(count: i64) -> String {
    number(count as f64)
}

fn when(time: Timestamp) -> String {
    local_time(&json!(time))
}
