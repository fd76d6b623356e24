//! A flood, small enough for every run: nothing is lost, budgets are kept, few texts. The measured one is `cargo bench --bench
//! flood`.

mod measure;

use std::time::Duration;

use measure::flood;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_alarms_are_few_texts() {
    let report = flood(1000, 5, "");
    assert_eq!(report.lost, 0, "{:?}", report.reasons);
    // Ten by name and three digests of the rest; ten critical ones by name.
    let [least, _, most] = report.texts_within(10 * MINUTE);
    assert!(least >= 20 && most <= 25, "{least} to {most} texts a person");
    assert!(report.most_in_an_hour(|text| !text.critical && text.alarms > 0) <= 15);
    assert!(report.most_in_an_hour(|text| text.alarms > 0) <= 30);
    let first = |text: &&measure::Text| text.body.starts_with("Flood: digests every 5 min. ");
    for texts in report.texts.values() {
        assert_eq!(texts.iter().filter(first).count(), 1, "it is said once");
        assert_eq!(texts.iter().filter(|text| text.critical && text.alarms == 1).count(), 10, "critical by name");
        assert_eq!(texts.iter().map(|text| text.alarms).sum::<usize>(), 1000);
    }
}

#[test]
fn a_small_budget_is_kept_and_critical_is_not_dropped() {
    let report = flood(1000, 3, "budget = { messages_per_hour = 8 }\nflood = { enabled = false }");
    assert_eq!(report.lost, 0, "{:?}", report.reasons);
    assert_eq!(report.reasons.keys().collect::<Vec<_>>(), ["budget", "consolidated"].iter().collect::<Vec<_>>());
    assert_eq!(report.most_in_an_hour(|text| !text.critical && text.alarms > 0), 4);
    for texts in report.texts.values() {
        assert_eq!(texts.iter().filter(|text| text.alarms == 0).count(), 1, "one text says so");
        let critical: Vec<_> = texts.iter().filter(|text| text.critical).collect();
        assert_eq!(critical.iter().map(|text| text.alarms).sum::<usize>(), 10);
        // The reserve of four, then one digest a minute.
        assert!(critical.len() > 4, "{}", critical.len());
        let paced = critical[3..].windows(2).all(|pair| pair[1].at.since(pair[0].at) >= MINUTE);
        assert!(paced, "more than one digest in a minute");
    }
}
