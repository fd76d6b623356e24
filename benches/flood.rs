//! 10,000 alarms in a minute to 20 people: texts a person, engine time, nothing lost, budgets kept. `cargo bench --bench flood`

#[path = "../tests/engine/flood/measure.rs"]
mod measure;

use std::time::Duration;

use measure::{Report, flood};

const MINUTE: Duration = Duration::from_secs(60);
const ALARMS: usize = 10_000;
const RUNS: usize = 3;

fn main() {
    for (name, throttle) in [("the defaults", ""), ("without flood digests", "flood = { enabled = false }")] {
        println!("\n{ALARMS} alarms in 60 s to 20 people, {name}");
        for _ in 0..RUNS {
            print(&flood(ALARMS, 20, throttle));
        }
    }
}

fn print(report: &Report) {
    let [least, median, most] = report.texts_within(10 * MINUTE);
    let [_, hour, _] = report.texts_within(60 * MINUTE);
    println!(
        "  texts a person: {least} to {most} in 10 min (median {median}), {hour} in the hour; most in any hour {} not critical, {} in all",
        report.most_in_an_hour(|text| !text.critical && text.alarms > 0),
        report.most_in_an_hour(|text| text.alarms > 0),
    );
    let notifications = u32::try_from(report.alarms * report.people).expect("some hundred thousand");
    println!(
        "  engine: {:.2?} in all, {:.2?} a notification, longest of {} steps {:.2?}; {} records, {:.1} MB",
        report.engine,
        report.engine / notifications,
        report.steps,
        report.longest_step,
        report.records,
        f64::from(u32::try_from(report.record_bytes / 1000).expect("some gigabytes")) / 1000.0,
    );
    let digest = report.texts.values().flatten().find(|text| text.alarms > 1);
    println!("  the first digest: {}", digest.map_or("none", |text| &text.body));
    println!("  lost: {}; in the audit log instead of by name: {:?}", report.lost, report.reasons);
}
