//! What one message costs: template, length, and a reply read.

use std::collections::BTreeMap;

use annunciator::{
    engine::{
        gsm,
        length::{DigestItem, digest, fit},
        plan::{Fit, Priority},
        random::Random,
        reply,
        template::{AlarmText, Context, Subject, TagName, render},
    },
    tag::{Timestamp, Value},
};
use divan::black_box;

fn main() {
    divan::main();
}

fn with_context<T>(then: impl FnOnce(&Context<'_>) -> T) -> T {
    let (value, data, parameters) = (Value::Float(91.2), BTreeMap::from([("sop".into(), "SOP-114".into())]), BTreeMap::new());
    let read = |_: TagName<'_>| Some(Value::Double(12.5));
    then(&Context {
        subject: Subject::Alarm(AlarmText {
            path: "Plant/Line1/TankLevel/Alarms/HighHigh",
            name: "HighHigh",
            tag: "Plant/Line1/TankLevel",
            value: &value,
            unit: "%",
            priority: Priority::Critical,
            state: "ActiveUnacked",
            message: "Tank level high high, stop the feed",
            active_time: Timestamp::from_ticks(134_000_000_000_000_000),
            event: None,
            data: &data,
            code: "K7M",
        }),
        user: "alice",
        time_zone: Some("America/Chicago"),
        site: "Works 2",
        parameters: &parameters,
        chance: Random::new(7),
        read: &read,
    })
}

#[divan::bench]
fn template(bencher: divan::Bencher<'_, '_>) {
    let source = "{{ alarm.priority | upper }} {{ alarm.path }}: {{ alarm.message }} ({{ alarm.value }} {{ alarm.unit }})";
    with_context(|context| bencher.bench_local(|| render(black_box(source), context)));
}

#[divan::bench]
fn template_with_a_tag(bencher: divan::Bencher<'_, '_>) {
    let source = "{{ alarm.path }} {{ tags['Plant/Line1/Flow'] | round(1) }} m3/h";
    with_context(|context| bencher.bench_local(|| render(black_box(source), context)));
}

#[divan::bench]
fn fit_whole() -> String {
    fit(black_box("CRITICAL Plant/Line1/TankLevel: Tank level high high, stop the feed (91.2 %)"), Some("K7M"), 160, Fit::Segment)
}

#[divan::bench]
fn fit_cut_and_folded() -> String {
    let text = "CRITICAL Plant/Line1/TankLevel: Tank level high high – stop the feed (91.2 °C) ".repeat(4);
    fit(black_box(&text), Some("K7M"), 160, Fit::Segment)
}

#[divan::bench]
fn digest_of_ten_thousand(bencher: divan::Bencher<'_, '_>) {
    let items = vec![DigestItem { name: "HIGH TankLevel/HighHigh", code: "K7M" }; 10];
    bencher.bench_local(|| digest("", black_box(&items), 10, 10_000, 160, Fit::Segment));
}

#[divan::bench]
fn segments() -> usize {
    gsm::segments(black_box("CRITICAL Plant/Line1/TankLevel: Tank level high high, stop the feed (91.2 %) #K7M"))
}

#[divan::bench]
fn reply_read() -> reply::Reply {
    reply::parse(black_box("1234 k7m q2fx.\n> CRITICAL Plant/Line1/TankLevel"))
}
