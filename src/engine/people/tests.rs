//! Rotations, overrides, holidays and schedules together, on nights when the clock is put forward or back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{ToSpan, civil::Weekday};
use proptest::prelude::*;

use super::{Rota, rota::Period, turn, zone};
use crate::{
    engine::plan::{Cover, Exception, Holiday, Plan, Rotation, Schedule, Shift, UserDef},
    tag::Timestamp,
};

const EVERY_DAY: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

pub(super) const ZONE_NAMES: [&str; 12] = [
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "Europe/London",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Asia/Amman",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

/// All transitions of these zones, and all times of these tests, lie on quarters of an hour.
const QUARTER: Duration = Duration::from_secs(900);

fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn rotation(zone: &str, users: &[&str], days: u32, first: &str, hand_over: &str) -> Rotation {
    Rotation {
        name: "leads".into(),
        users: users.iter().map(|name| (*name).to_owned()).collect(),
        days,
        first: first.parse().unwrap(),
        hand_over: hand_over.parse().unwrap(),
        time_zone: Some(zone.to_owned()),
    }
}

fn cover(user: &str, covers: &str, from: Timestamp, until: Timestamp) -> Cover {
    Cover { user: user.into(), covers: covers.into(), from, until, note: String::new() }
}

/// Users with the names of their schedules, a rotation `leads`, a roster `team`.
fn plan(users: &[(&str, &str)], rotation: Rotation, roster: &[&str]) -> Plan {
    let mut plan = Plan::default();
    for (name, schedule) in users {
        let schedule = (!schedule.is_empty()).then(|| (*schedule).to_owned());
        plan.users.insert((*name).into(), Arc::new(UserDef { name: (*name).into(), schedule, ..UserDef::default() }));
    }
    plan.rotations.insert("leads".into(), Arc::new(rotation));
    plan.rosters.insert("team".into(), roster.iter().map(|name| (*name).to_owned()).collect());
    plan
}

fn names(plan: &Plan, made: &BTreeMap<u64, Cover>, now: Timestamp) -> Vec<String> {
    Rota::new(plan, made).on_call("team", now).into_iter().map(|user| user.name.clone()).collect()
}

/// Whose turn it is at each instant.
#[track_caller]
fn check_turns(rotation: &Rotation, turns: &[(&str, &str)]) {
    for (instant, name) in turns {
        assert_eq!(rotation.users[turn(rotation, at(instant))], *name, "{instant}");
    }
}

#[test]
fn turns_begin_at_the_hand_over_before_the_start_too() {
    let weekly = rotation("Europe/London", &["alice", "bob", "carol"], 7, "2026-11-16", "08:00");
    check_turns(
        &weekly,
        &[
            ("2026-11-09T07:59:59Z", "bob"),
            ("2026-11-09T08:00:00Z", "carol"),
            ("2026-11-16T07:59:59.9999999Z", "carol"),
            ("2026-11-16T08:00:00Z", "alice"),
            ("2026-11-23T07:59:59Z", "alice"),
            ("2026-11-23T08:00:00Z", "bob"),
            ("2026-12-07T08:00:00Z", "alice"),
            // Summer time: 08:00 is 07:00Z.
            ("2027-03-29T06:59:59Z", "alice"),
            ("2027-03-29T07:00:00Z", "bob"),
        ],
    );
}

#[test]
fn a_hand_over_on_a_night_with_a_change_happens_once() {
    // New York, 2026-11-01: 01:30 is 05:30Z and again 06:30Z; the first counts.
    let twice = rotation("America/New_York", &["alice", "bob"], 1, "2026-10-31", "01:30");
    check_turns(
        &twice,
        &[
            ("2026-11-01T05:29:59Z", "alice"),
            ("2026-11-01T05:30:00Z", "bob"),
            ("2026-11-01T06:30:00Z", "bob"),
            ("2026-11-02T06:29:59Z", "bob"),
            ("2026-11-02T06:30:00Z", "alice"),
        ],
    );
    // 2026-03-08: 02:30 does not exist; 07:00Z is the next instant.
    let skipped = rotation("America/New_York", &["alice", "bob"], 1, "2026-03-07", "02:30");
    check_turns(
        &skipped,
        &[("2026-03-08T06:59:59Z", "alice"), ("2026-03-08T07:00:00Z", "bob"), ("2026-03-09T06:30:00Z", "alice")],
    );
    // Apia had no 2011-12-30: that turn begins and ends with the 31st.
    let apia = rotation("Pacific/Apia", &["alice", "bob", "carol"], 1, "2011-12-29", "08:00");
    check_turns(
        &apia,
        &[
            ("2011-12-30T09:59:59Z", "alice"),
            ("2011-12-30T10:00:00Z", "bob"),
            ("2011-12-30T17:59:59Z", "bob"),
            ("2011-12-30T18:00:00Z", "carol"),
        ],
    );
}

#[test]
fn an_override_goes_before_everything() {
    let nights = Schedule {
        name: "nights".into(),
        time_zone: None,
        weekly: vec![Shift { days: EVERY_DAY.to_vec(), from: "20:00".parse().unwrap(), to: Some("06:00".parse().unwrap()) }],
        except: vec![],
    };
    let mut plan = plan(
        &[("alice", "nights"), ("bob", ""), ("carol", "nights")],
        rotation("UTC", &["bob", "carol"], 1, "2026-11-16", "00:00"),
        &["alice", "leads"],
    );
    plan.schedules.insert("nights".into(), Arc::new(nights));
    plan.holidays = vec![Holiday {
        name: "off".into(),
        time: Exception { from: "2026-11-17T00:00".parse().unwrap(), until: "2026-11-18T00:00".parse().unwrap(), on_duty: false },
        schedules: vec![],
    }];
    let none = BTreeMap::new();
    // Monday is bob's, Tuesday carol's; Tuesday is a holiday of nights.
    for (instant, expected) in [
        ("2026-11-16T12:00:00Z", &["bob"][..]),
        ("2026-11-16T22:00:00Z", &["alice", "bob"]),
        ("2026-11-17T02:00:00Z", &[]),
        ("2026-11-17T22:00:00Z", &[]),
        ("2026-11-18T02:00:00Z", &["alice", "bob"]),
    ] {
        assert_eq!(names(&plan, &none, at(instant)), expected, "{instant}");
    }
    let day = |number, user, covers| {
        let (from, until) = (at("2026-11-16T00:00:00Z"), at("2026-11-18T00:00:00Z"));
        (number, cover(user, covers, from, until))
    };
    // Alice, off duty by day, stands in for bob by day. Over bob's turn she has two places and is contacted once.
    let made = BTreeMap::from([day(1, "alice", "bob")]);
    assert_eq!(names(&plan, &made, at("2026-11-16T12:00:00Z")), ["alice"]);
    assert_eq!(names(&plan, &made, at("2026-11-16T22:00:00Z")), ["alice"]);
    assert_eq!(names(&plan, &made, at("2026-11-18T00:00:00Z")), ["alice", "bob"]);
    // The holiday does not count for whoever covers carol; her shifts do.
    let made = BTreeMap::from([day(1, "bob", "carol")]);
    assert_eq!(names(&plan, &made, at("2026-11-17T22:00:00Z")), ["bob"]);
    assert!(names(&plan, &made, at("2026-11-17T12:00:00Z")).is_empty());
    // Of two for one user the newer one counts; who covers the one who covers is contacted; a swap is no circle.
    let made = BTreeMap::from([day(1, "alice", "bob"), day(2, "carol", "bob")]);
    assert_eq!(names(&plan, &made, at("2026-11-16T12:00:00Z")), ["carol"]);
    let made = BTreeMap::from([day(1, "alice", "bob"), day(2, "carol", "alice")]);
    assert_eq!(names(&plan, &made, at("2026-11-16T12:00:00Z")), ["carol"]);
    let made = BTreeMap::from([day(1, "alice", "bob"), day(2, "bob", "alice")]);
    assert_eq!(names(&plan, &made, at("2026-11-16T22:00:00Z")), ["bob", "alice"]);
    // Somebody who is no longer configured covers nobody.
    let made = BTreeMap::from([day(1, "zoe", "bob")]);
    assert_eq!(names(&plan, &made, at("2026-11-16T12:00:00Z")), ["bob"]);
}

#[test]
fn whoever_is_called_has_a_place_beside_the_turn() {
    let days = Schedule {
        name: "days".into(),
        time_zone: None,
        weekly: vec![],
        except: vec![Exception {
            from: "2026-11-16T00:00".parse().unwrap(),
            until: "2026-11-16T12:00".parse().unwrap(),
            on_duty: true,
        }],
    };
    let rotation = rotation("UTC", &["alice", "bob", "carol"], 1, "2026-11-16", "00:00");
    let mut plan = plan(&[("alice", ""), ("bob", "days"), ("carol", "")], rotation, &["leads"]);
    plan.schedules.insert("days".into(), Arc::new(days));
    assert_eq!(names(&plan, &BTreeMap::new(), at("2026-11-16T06:00:00Z")), ["alice", "bob"]);
    assert_eq!(names(&plan, &BTreeMap::new(), at("2026-11-16T12:00:00Z")), ["alice"]);
}

#[test]
fn whether_somebody_is_on_call_is_what_their_rosters_say() {
    let plan = plan(
        &[("alice", ""), ("bob", ""), ("dave", "")],
        rotation("UTC", &["alice", "bob"], 1, "2026-11-16", "00:00"),
        &["leads"],
    );
    let made = BTreeMap::new();
    let on_call = |name: &str| Rota::new(&plan, &made).is_on_call(&plan.users[name], at("2026-11-16T12:00:00Z"));
    assert_eq!(["alice", "bob", "dave"].map(on_call), [true, false, true], "no roster names dave: he has no schedule");
}

/// The timeline, the next change and each quarter of an hour agree.
fn agrees(plan: &Plan, made: &BTreeMap<u64, Cover>, from: Timestamp, days: u32) -> Result<Vec<Period>, TestCaseError> {
    let rota = Rota::new(plan, made);
    let periods = rota.timeline("team", from, days);
    let end = from + Duration::from_secs(86_400) * days;
    prop_assert_eq!((periods[0].from, periods[periods.len() - 1].until), (from, end));
    for pair in periods.windows(2) {
        prop_assert_eq!(pair[0].until, pair[1].from);
        prop_assert_ne!(&pair[0].users, &pair[1].users);
        prop_assert_eq!(rota.next_change("team", pair[0].from), Some(pair[1].from));
    }
    let mut now = from;
    while now < end {
        let period = periods.iter().find(|period| period.from <= now && now < period.until).unwrap();
        prop_assert_eq!(&names(plan, made, now), &period.users, "{}", now);
        now = now + QUARTER;
    }
    Ok(periods)
}

/// A quarter of an hour two days before a transition of the zone after `second`.
fn before_transition(zone_name: &str, second: i64) -> jiff::Timestamp {
    let some = jiff::Timestamp::from_second(second / 900 * 900).unwrap();
    let transition = zone(zone_name).unwrap().following(some).next().map(|transition| transition.timestamp());
    transition.filter(|at| at.as_second() < 1_924_990_000).unwrap_or(some) - 48.hours()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Twenty years, 2011 to 2030, around the zones' transitions: exactly one person of a rotation is on duty at every instant.
    #[test]
    fn exactly_one_has_the_turn(
        zone_name in prop::sample::select(&ZONE_NAMES[..]),
        second in 1_293_840_000_i64..1_900_000_000,
        days in 1_u32..=9,
        hand_over in 0_i8..96,
        people in 1_usize..=4,
    ) {
        let all = ["alice", "bob", "carol", "dave"];
        let mut leads = rotation(zone_name, &all[..people], days, "2020-02-29", "00:00");
        leads.hand_over = jiff::civil::Time::new(hand_over / 4, hand_over % 4 * 15, 0, 0).unwrap();
        let plan = plan(&all.map(|name| (name, "")), leads.clone(), &["leads"]);
        let from = before_transition(zone_name, second);
        let periods = agrees(&plan, &BTreeMap::new(), from.into(), 4)?;
        prop_assert!(periods.iter().all(|period| period.users.len() == 1));
        // They follow one another.
        for pair in periods.windows(2) {
            let place = |period: &Period| leads.users.iter().position(|name| *name == period.users[0]).unwrap();
            prop_assert_eq!((place(&pair[0]) + 1) % people, place(&pair[1]));
            if people > 1 {
                let local = zone(zone_name).unwrap().to_datetime(pair[1].from.to_jiff());
                let moved = zone(zone_name).unwrap().to_offset(pair[1].from.to_jiff() - 1.second()) != zone(zone_name).unwrap().to_offset(pair[1].from.to_jiff());
                prop_assert!(moved || local.time() == leads.hand_over, "{}", local);
            }
        }
    }

    /// Everything together agrees with what is seen at each quarter of an hour.
    #[test]
    fn all_layers_agree_with_brute_force(
        zone_name in prop::sample::select(&ZONE_NAMES[..]),
        second in 1_293_840_000_i64..1_900_000_000,
        shift in (0_i8..96, 0_i8..=96),
        hand_over in 0_i8..96,
        spans in prop::collection::vec((0_i64..400, 1_i64..200, any::<bool>()), 2),
        covers in prop::collection::vec((0_usize..4, 0_usize..4, 0_u64..300, 1_u64..200), 0..4),
        in_plan in any::<bool>(),
    ) {
        let all = ["alice", "bob", "carol", "dave"];
        let time = |quarter: i8| jiff::civil::Time::new(quarter / 4, quarter % 4 * 15, 0, 0).unwrap();
        let from = before_transition(zone_name, second);
        let local = zone(zone_name).unwrap().to_datetime(from);
        let exception = |(begin, length, on_duty): (i64, i64, bool)| Exception {
            from: local + (begin * 15).minutes(),
            until: local + ((begin + length) * 15).minutes(),
            on_duty,
        };
        let mut leads = rotation(zone_name, &["alice", "bob"], 1, "2020-02-29", "00:00");
        leads.hand_over = time(hand_over);
        let mut plan = plan(&[("alice", "hours"), ("bob", ""), ("carol", "hours"), ("dave", "")], leads, &["leads", "carol", "bob"]);
        let weekly = vec![Shift { days: EVERY_DAY.to_vec(), from: time(shift.0), to: (shift.1 < 96).then(|| time(shift.1)) }];
        let hours = Schedule { name: "hours".into(), time_zone: Some(zone_name.into()), weekly, except: vec![exception(spans[0])] };
        plan.schedules.insert("hours".into(), Arc::new(hours));
        plan.holidays = vec![Holiday { name: "day".into(), time: exception(spans[1]), schedules: vec![] }];
        let mut made = BTreeMap::new();
        for (number, (user, covers, begin, length)) in (1..).zip(covers) {
            let begin = Timestamp::from(from) + QUARTER * u32::try_from(begin).unwrap();
            let cover = cover(all[user], all[covers], begin, begin + QUARTER * u32::try_from(length).unwrap());
            if in_plan { plan.overrides.push(cover) } else { made.insert(number, cover); }
        }
        agrees(&plan, &made, from.into(), 4)?;
    }
}
