use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::engine::{
    drill::DRILL,
    io::Via,
    plan::{Channel, Priority},
    record::{Direction, JournalKind, Told, Transition},
};

/// Ticks of 2026-11-30 00:00 UTC.
fn midnight() -> i64 {
    Timestamp::from("2026-11-30T00:00:00Z".parse::<jiff::Timestamp>().unwrap()).ticks()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ticks(midnight() + seconds * SECOND)
}

fn span(seconds: i64) -> Span {
    Span { from: at(0), to: at(seconds), zone: TimeZone::UTC }
}

/// A journal, written line by line.
#[derive(Default)]
struct Journal {
    recorded: Recorded,
    events: u128,
}

impl Journal {
    fn write(&mut self, seconds: i64, alarm: &str, event: u128, kind: JournalKind) {
        self.by(seconds, alarm, event, kind, Priority::Low, "", None);
    }

    #[allow(clippy::too_many_arguments)]
    fn by(
        &mut self,
        seconds: i64,
        alarm: &str,
        event: u128,
        kind: JournalKind,
        priority: Priority,
        user: &str,
        via: Option<Via>,
    ) {
        let event = Some(Uuid::from_u128(event));
        let transition = Transition { time: at(seconds), alarm, event, kind, priority, user, via, silenced: false };
        self.recorded.transition(&transition);
    }

    /// An event from `raised` to `cleared`.
    fn event(&mut self, alarm: &str, priority: Priority, raised: i64, cleared: Option<i64>) -> u128 {
        self.events += 1;
        let event = self.events;
        self.by(raised, alarm, event, JournalKind::Raised, priority, "", None);
        if let Some(cleared) = cleared {
            self.write(cleared, alarm, event, JournalKind::Cleared);
        }
        event
    }

    fn acknowledge(&mut self, event: u128, seconds: i64, user: &str, via: Via) {
        self.by(seconds, "", event, JournalKind::Acknowledged, Priority::Low, user, Some(via));
    }

    fn told(&mut self, event: u128, seconds: i64) {
        self.recorded.told(Told { time: at(seconds), user: "anna", events: &[Uuid::from_u128(event)] });
    }

    fn kpis(&self, seconds: i64) -> Kpis {
        kpis(&self.recorded, &span(seconds)).unwrap()
    }
}

fn figure<'k>(kpis: &'k Kpis, key: &str) -> &'k Figure {
    kpis.figures.iter().find(|figure| figure.key == key).unwrap()
}

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
}

#[test]
fn nothing_recorded_gives_zeros_and_no_verdict_where_there_is_nothing_to_judge() {
    let kpis = Journal::default().kpis(86_400);
    assert_eq!((kpis.alarms.activations, kpis.alarms.peak_per_10_minutes, kpis.standing.peak), (0, 0, 0));
    assert_eq!(kpis.alarms.bands.iter().map(|band| band.intervals).collect::<Vec<_>>(), [144, 0, 0, 0]);
    assert_eq!((figure(&kpis, "ack_median").value, figure(&kpis, "share_low").met), (None, None));
    assert_eq!(figure(&kpis, "per_day").met, Some(true));
    assert_eq!(kpis.acknowledgement, Acknowledgement::default());
    assert!(kpis.people.is_empty() && kpis.floods.list.is_empty());
}

#[test]
fn an_hour_counted_by_hand() {
    let mut journal = Journal::default();
    // Interval 0: one alarm; interval 1: two; interval 2: three; interval 3: none; interval 4: eleven; interval 5: none.
    journal.event("Plant/A/Alarms/High", Priority::Critical, 60, Some(120));
    for second in [600, 1199] {
        journal.event("Plant/B/Alarms/High", Priority::Low, second, Some(second + 30));
    }
    for second in [1200, 1500, 1799] {
        journal.event("Plant/C/Alarms/High", Priority::Medium, second, Some(second + 30));
    }
    for place in 0..11 {
        journal.event(&format!("Plant/D{place}/Alarms/High"), Priority::Low, 2400 + place * 50, Some(2420 + place * 50));
    }
    let kpis = journal.kpis(3600);
    let load = &kpis.alarms;
    assert_eq!((load.activations, load.peak_per_10_minutes, load.peak_at), (17, 11, at(2400)));
    close(load.average_per_10_minutes, 17.0 / 6.0);
    close(load.per_day, 17.0 * 24.0);
    assert_eq!(load.bands.iter().map(|band| band.intervals).collect::<Vec<_>>(), [3, 1, 1, 1]);
    close(load.bands[0].percent, 50.0);
    assert_eq!(load.intervals, [1, 2, 3, 0, 11, 0]);
    assert_eq!(load.days.len(), 1);
    assert_eq!(load.days[0].by_priority, [0, 13, 3, 0, 1]);

    // The flood is exceeded by the eleventh, begins with the first, ends when the fifth last (2650 … 2900) is ten minutes old.
    let flood = Flood { start: at(2400), end: at(3300), activations: 11, peak_per_10_minutes: 11 };
    assert_eq!(kpis.floods.list, [flood]);
    close(kpis.floods.percent_of_time, 25.0);

    assert_eq!(kpis.bad_actors.list.len(), 10);
    let worst: Vec<_> = kpis.bad_actors.list.iter().map(|actor| (actor.alarm.as_str(), actor.activations)).collect();
    assert_eq!(worst[..3], [("Plant/C/Alarms/High", 3), ("Plant/B/Alarms/High", 2), ("Plant/A/Alarms/High", 1)]);
    close(kpis.bad_actors.list[0].share, 300.0 / 17.0);
    close(kpis.bad_actors.share, 13.0 * 100.0 / 17.0);

    let shares: Vec<_> = kpis.priorities.iter().map(|share| (share.priority, share.activations)).collect();
    assert_eq!(shares[1..], [(Priority::Low, 13), (Priority::Medium, 3), (Priority::High, 0), (Priority::Critical, 1)]);
    let verdicts = ["share_low", "share_medium", "share_high", "share_critical", "intervals_over_10", "peak_per_10_minutes"];
    let verdicts = verdicts.map(|key| figure(&kpis, key).met.unwrap());
    assert_eq!(verdicts, [true, true, true, false, false, false]);
}

#[test]
fn a_flood_goes_on_while_five_lie_in_ten_minutes_and_a_second_one_is_another() {
    let mut journal = Journal::default();
    let mut write = |second: i64| journal.event("Plant/A/Alarms/High", Priority::Low, second, Some(second + 1));
    (0..11).for_each(|place| _ = write(place));
    // Every two minutes: five lie in any ten minutes, since one begins as another is ten minutes old. It does not end …
    (0..10).for_each(|place| _ = write(100 + place * 120));
    // … and after a pause comes the next.
    (0..12).for_each(|place| _ = write(5000 + place * 10));
    let kpis = journal.kpis(86_400);
    let floods: Vec<_> = kpis.floods.list.iter().map(|flood| (flood.start, flood.end, flood.activations)).collect();
    assert_eq!(floods, [(at(0), at(700 + 600), 21), (at(5000), at(5070 + 600), 12)]);
    close(kpis.floods.percent_of_time, (1300.0 + 670.0) * 100.0 / 86_400.0);
    // One that lasts beyond the span ends with it.
    assert_eq!(journal.kpis(600).floods.list[0].end, at(600));
}

#[test]
fn chattering_and_fleeting_alarms() {
    let mut journal = Journal::default();
    // Three within a minute, then four, an hour apart: two episodes.
    for second in [0, 20, 59, 3600, 3610, 3620, 3630] {
        journal.event("Plant/A/Alarms/High", Priority::Low, second, Some(second + 9));
    }
    // Never three within a minute: the first is a minute old when the third begins.
    for second in [0, 30, 60] {
        journal.event("Plant/B/Alarms/High", Priority::Low, second, Some(second + 10));
    }
    // Acknowledged before it cleared: not fleeting. Over at once: not either.
    let event = journal.event("Plant/C/Alarms/High", Priority::Low, 100, Some(105));
    journal.acknowledge(event, 103, "anna", Via::Text);
    journal.event("Plant/D/Alarms/Changed", Priority::Low, 100, Some(100));
    let kpis = journal.kpis(86_400);
    let chattering = Chattering { alarm: "Plant/A/Alarms/High".into(), episodes: 2, most_in_a_minute: 4 };
    assert_eq!(kpis.chattering, [chattering]);
    assert_eq!(kpis.fleeting.list, [FleetingAlarm { alarm: "Plant/A/Alarms/High".into(), events: 7 }]);
    assert_eq!(kpis.fleeting.events, 7);
    close(kpis.fleeting.share, 700.0 / 12.0);
}

#[test]
fn standing_and_stale_alarms_with_what_was_active_before_and_what_was_removed() {
    const DAY: i64 = 86_400;
    let mut journal = Journal::default();
    journal.event("Plant/Old/Alarms/High", Priority::Low, -2 * DAY, Some(DAY / 2));
    journal.event("Plant/Stands/Alarms/High", Priority::Low, DAY / 4, None);
    journal.event("Plant/Short/Alarms/High", Priority::Low, DAY / 4, Some(DAY / 2));
    journal.event("Plant/Gone/Alarms/High", Priority::Low, DAY / 4, None);
    journal.write(DAY, "Plant/Gone/Alarms/High", 0, JournalKind::Removed);
    // Latched: it is active no longer, whether anybody resets it or not.
    let latched = journal.event("Plant/Latched/Alarms/High", Priority::Low, DAY / 4, None);
    journal.write(DAY / 2, "Plant/Latched/Alarms/High", latched, JournalKind::Latched);
    let kpis = journal.kpis(2 * DAY);
    assert_eq!(kpis.alarms.activations, 4, "what began before the span is no load of it");
    let active = [0.5, 1.75, 0.25, 0.75, 0.25].iter().sum::<f64>();
    close(kpis.standing.average, active / 2.0);
    assert_eq!((kpis.standing.peak, kpis.standing.at_end), (5, 1));
    assert_eq!(kpis.alarms.days.iter().map(|day| day.standing).collect::<Vec<_>>(), [5, 1]);
    let stale: Vec<_> = kpis.stale.list.iter().map(|alarm| (alarm.alarm.as_str(), alarm.since, alarm.until)).collect();
    let old = ("Plant/Old/Alarms/High", at(-2 * DAY), at(DAY / 2));
    assert_eq!(stale, [old, ("Plant/Stands/Alarms/High", at(DAY / 4), Timestamp::NULL)]);
    // The one is over before the other has stood for a day.
    assert_eq!((kpis.stale.at_end, kpis.stale.peak), (1, 1));
}

#[test]
fn times_to_acknowledge_and_to_reach_somebody() {
    let mut journal = Journal::default();
    let delays = [10, 20, 30, 40, 50, 60, 70, 80, 90, 1000];
    for (place, delay) in (0..).zip(delays) {
        let priority = if place % 2 == 0 { Priority::High } else { Priority::Low };
        let event = journal.event("Plant/A/Alarms/High", priority, place * 3600, None);
        journal.told(event, place * 3600 + 5);
        journal.told(event, place * 3600 + 7);
        journal.acknowledge(event, place * 3600 + delay, if place < 8 { "anna" } else { "ben" }, Via::Text);
        journal.acknowledge(event, place * 3600 + delay + 1, "carl", Via::Console);
    }
    // Neither the PLC nor clearing is a person.
    let plc = journal.event("Plant/B/Alarms/High", Priority::Low, 100, None);
    journal.acknowledge(plc, 101, "PLC", Via::Plc);
    let auto = journal.event("Plant/C/Alarms/High", Priority::Low, 100, Some(200));
    journal.acknowledge(auto, 200, "system", Via::System);
    // Reached by a PIN long before anybody acknowledged; told and never reached.
    let pin = journal.event("Plant/D/Alarms/High", Priority::Low, 100, None);
    journal.told(pin, 110);
    journal.write(117, "Plant/D/Alarms/High", pin, JournalKind::Reached);
    let never = journal.event("Plant/E/Alarms/High", Priority::Low, 100, None);
    journal.told(never, 110);
    let kpis = journal.kpis(86_400);
    let acknowledgement = &kpis.acknowledgement;
    assert_eq!(acknowledgement.all, Delay { count: 10, median_seconds: Some(55.0), p90_seconds: Some(90.0) });
    assert_eq!(acknowledgement.unacknowledged, 4);
    assert_eq!(acknowledgement.buckets, [6, 3, 0, 1, 0, 0, 0]);
    let by_priority: Vec<_> = acknowledgement.by_priority.iter().map(|row| (row.priority, row.delay.median_seconds)).collect();
    assert_eq!(by_priority, [(Priority::Low, Some(60.0)), (Priority::High, Some(50.0))]);
    let by_person: Vec<_> =
        acknowledgement.by_person.iter().map(|row| (row.person.as_str(), row.delay.count, row.delay.median_seconds)).collect();
    assert_eq!(by_person, [("anna", 8, Some(45.0)), ("ben", 2, Some(545.0))]);
    // From the first message on: 5, 15, 25 … 85, 995, and 7 by PIN.
    assert_eq!(kpis.reached.all.count, 11);
    assert_eq!(kpis.reached.all.median_seconds, Some(45.0));
    assert_eq!(kpis.reached.never, 1);
}

#[test]
fn what_messages_cost_whom() {
    use Channel::{Sms, Voice};
    use Direction::{Received, Sent};
    let mut journal = Journal::default();
    let rows = [
        (Sent, Sms, Some("ben"), (2, 0)),
        (Sent, Sms, Some("anna"), (1, 0)),
        (Sent, Sms, Some("anna"), (3, 0)),
        (Received, Sms, Some("anna"), (1, 0)),
        (Sent, Voice, Some("anna"), (0, 2)),
        (Received, Voice, Some("anna"), (0, 4)),
        (Sent, Sms, None, (1, 0)),
    ];
    for (direction, channel, user, cost) in rows {
        journal.recorded.message(at(1), direction, channel, user, cost);
    }
    let people = journal.kpis(86_400).people;
    let anna = Person {
        person: "anna".into(),
        texts_sent: 2,
        segments_sent: 4,
        texts_received: 1,
        segments_received: 1,
        calls_sent: 1,
        call_minutes_sent: 2,
        calls_received: 1,
        call_minutes_received: 4,
    };
    let ben = Person { person: "ben".into(), texts_sent: 1, segments_sent: 2, ..Person::default() };
    let others = Person { texts_sent: 1, segments_sent: 1, ..Person::default() };
    assert_eq!(people, [anna, ben, others]);
}

#[test]
fn what_nobody_was_shown_and_a_drill_count_nowhere() {
    let mut journal = Journal::default();
    journal.event(DRILL, Priority::High, 10, Some(20));
    let silenced = Transition {
        time: at(10),
        alarm: "Plant/A/Alarms/High",
        event: Some(Uuid::from_u128(9)),
        kind: JournalKind::Raised,
        priority: Priority::Low,
        user: "",
        via: None,
        silenced: true,
    };
    journal.recorded.transition(&silenced);
    let kpis = journal.kpis(86_400);
    assert_eq!((kpis.alarms.activations, kpis.alarms.silenced, kpis.standing.peak), (0, 1, 0));
}

#[test]
fn days_are_those_of_the_zone() {
    let mut journal = Journal::default();
    // 23:30 UTC is the next day in Berlin; the day on which summer time begins has 23 hours.
    journal.event("Plant/A/Alarms/High", Priority::Low, 0, Some(60));
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let time = |text: &str| Timestamp::from(text.parse::<jiff::Timestamp>().unwrap());
    let span = Span { from: time("2026-03-28T23:30:00Z"), to: time("2026-03-30T22:30:00Z"), zone };
    let days: Vec<_> = span.days().into_iter().map(|(start, day)| (Timestamp::from_ticks(start), day.to_string())).collect();
    assert_eq!(
        days,
        [
            (time("2026-03-28T23:00:00Z"), "2026-03-29".to_owned()),
            (time("2026-03-29T22:00:00Z"), "2026-03-30".to_owned()),
            (time("2026-03-30T22:00:00Z"), "2026-03-31".to_owned()),
        ]
    );
}

/// The rate and flood as the engine keeps them live: looked at every second.
fn live_flood_seconds(raised: &[i64], until: i64) -> (i64, i64, i64) {
    let (mut in_flood, mut flooded, mut floods, mut peak) = (false, 0, 0, 0);
    for second in 0..until {
        let rate = raised.iter().filter(|raised| **raised <= second && second - **raised < 600).count();
        peak = peak.max(rate);
        let now = rate > 10 || in_flood && rate >= 5;
        floods += i64::from(now && !in_flood);
        in_flood = now;
        flooded += i64::from(now);
    }
    (flooded, floods, i64::try_from(peak).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sums_agree_with_a_naive_count(
        events in proptest::collection::vec((0_usize..6, 0_usize..5, 0_i64..7200, 1_i64..3000, any::<bool>(), 0_i64..4000), 0..120),
        until in 600_i64..7200,
    ) {
        let mut journal = Journal::default();
        for (alarm, priority, raised, length, acked, delay) in &events {
            let event = journal.event(&format!("Plant/{alarm}/Alarms/High"), Priority::ALL[*priority], *raised, Some(raised + length));
            if *acked {
                journal.acknowledge(event, raised + delay, "anna", Via::Text);
            }
        }
        let kpis = journal.kpis(until);
        let begun: Vec<_> = events.iter().filter(|(_, _, raised, ..)| *raised < until).collect();
        let count = i64::try_from(begun.len()).unwrap();
        prop_assert_eq!(kpis.alarms.activations, count);
        prop_assert_eq!(kpis.alarms.bands.iter().map(|band| band.intervals).sum::<i64>(), (until + 599) / 600);
        prop_assert_eq!(kpis.alarms.days.iter().flat_map(|day| day.by_priority).sum::<i64>(), count);
        prop_assert_eq!(kpis.priorities.iter().map(|share| share.activations).sum::<i64>(), count);
        prop_assert_eq!(kpis.bad_actors.list.iter().map(|actor| actor.activations).sum::<i64>(), count, "six alarms at most");
        let mut by_alarm: HashMap<usize, i64> = HashMap::new();
        for (alarm, ..) in &begun {
            *by_alarm.entry(*alarm).or_default() += 1;
        }
        prop_assert_eq!(kpis.bad_actors.list.first().map(|actor| actor.activations), by_alarm.values().copied().max());
        let acknowledged = i64::try_from(begun.iter().filter(|(.., acked, _)| *acked).count()).unwrap();
        prop_assert_eq!(kpis.acknowledgement.all.count, acknowledged);
        prop_assert_eq!(kpis.acknowledgement.buckets.iter().sum::<i64>(), acknowledged);
        prop_assert_eq!(kpis.acknowledgement.unacknowledged, count - acknowledged);
        let active = |second: i64| events.iter().filter(|(_, _, raised, length, ..)| *raised <= second && second < raised + length).count();
        let standing: Vec<i64> = (0..until).map(|second| i64::try_from(active(second)).unwrap()).collect();
        prop_assert_eq!(kpis.standing.peak, standing.iter().copied().max().unwrap());
        #[allow(clippy::cast_precision_loss)]
        let average = standing.iter().sum::<i64>() as f64 / until as f64;
        prop_assert!((kpis.standing.average - average).abs() < 1e-6);
        let raised: Vec<i64> = begun.iter().map(|(_, _, raised, ..)| *raised).collect();
        let (flooded, floods, peak) = live_flood_seconds(&raised, until);
        prop_assert_eq!(kpis.alarms.peak_per_10_minutes, peak);
        prop_assert_eq!(i64::try_from(kpis.floods.list.len()).unwrap(), floods);
        // A flood of the report begins with the first of the alarms that exceed the rate, the live one with the last of them.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let reported = (kpis.floods.percent_of_time / 100.0 * until as f64).round() as i64;
        prop_assert!(reported >= flooded && reported <= flooded + floods * 600, "{} {} {}", reported, flooded, floods);
    }
}
