//! One `check` for the alarm: a definition, and lines of time, what happens, what it says and the state it is then in.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    engine::{
        detect::tests::alarm_def,
        plan::{Chatter, Mode, Priority},
    },
    tag::{Reading, StatusCode},
};

fn def() -> AlarmDef {
    alarm_def(Mode::System)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ticks(1_000_000_000) + Duration::from_secs(seconds)
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Do {
    Raise,
    /// Already true at the first start.
    Initial,
    Clear,
    /// A momentary change.
    Change,
    AckAll,
    /// Up to the n-th event, from zero on.
    AckUpTo(usize),
    AckOnly(usize),
    /// For seconds.
    Shelve(u64),
    OneShot,
    Suppress(bool),
    Out(bool),
    Tick,
}
use Do::{AckAll, AckOnly, AckUpTo, Change as Momentary, Clear, Initial, OneShot, Out, Raise, Shelve, Suppress, Tick};

struct Bench {
    plan: Plan,
    def: AlarmDef,
    alarm: Alarm,
    rng: Random,
    events: Vec<Uuid>,
}

impl Bench {
    fn new(def: AlarmDef) -> Self {
        let mut plan = Plan::default();
        plan.alarm_rules.notify_initial = false;
        Self { plan, def, alarm: Alarm::default(), rng: Random::new(1), events: Vec::new() }
    }

    /// What it says, in words.
    fn step(&mut self, seconds: u64, act: Do) -> String {
        let now = at(seconds);
        let changes = self.act(act, now);
        if let Some(Change::Raised { event, .. }) = changes.as_ref().ok().and_then(|changes| changes.first()) {
            self.events.push(*event);
        }
        // Its row must bring back the same alarm.
        let row = serde_json::to_value(&self.alarm).unwrap();
        assert_eq!(serde_json::from_value::<Alarm>(row).unwrap(), self.alarm);
        match changes {
            Ok(changes) => changes.iter().map(|change| self.words(change)).collect::<Vec<_>>().join(", "),
            Err(refused) => refused,
        }
    }

    fn act(&mut self, act: Do, now: Timestamp) -> Result<Vec<Change>, String> {
        let (plan, def) = (&self.plan, &self.def);
        let scope = match act {
            Raise | Initial => {
                let flank = Flank::Raise { initial: matches!(act, Initial) };
                return Ok(self.alarm.flank(plan, def, flank, Captured::default(), now, &mut self.rng));
            }
            Clear => return Ok(self.alarm.flank(plan, def, Flank::Clear, Captured::default(), now, &mut self.rng)),
            Momentary => return Ok(self.alarm.flank(plan, def, Flank::Change, Captured::default(), now, &mut self.rng)),
            Shelve(seconds) => {
                let shelved = self.alarm.shelve(plan, def, Duration::from_secs(seconds), now);
                return shelved.map_err(|refused| format!("{refused:?}"));
            }
            OneShot => return self.alarm.shelve_one_shot(plan, def, now).map_err(|refused| format!("{refused:?}")),
            Suppress(on) => return Ok(self.alarm.suppress(on)),
            Out(out) => return Ok(self.alarm.set_out_of_service(out)),
            Tick => return Ok(self.alarm.tick(plan, now)),
            AckAll => AckScope::All,
            AckUpTo(event) => AckScope::UpTo(self.events.get(event).copied().unwrap_or_default()),
            AckOnly(event) => AckScope::Only(self.events.get(event).copied().unwrap_or_default()),
        };
        self.alarm.acknowledge(def, scope, "alice", Via::Text, now).map_err(|refused| match refused {
            AckRefused::AlreadyAcked { by } => format!("already {}", by.by),
            AckRefused::UnknownEvent => "unknown".to_owned(),
            AckRefused::NothingToDo => "nothing".to_owned(),
        })
    }

    fn words(&self, change: &Change) -> String {
        let event = change.event().map_or(String::new(), |event| {
            self.events.iter().position(|known| *known == event).map_or("?".to_owned(), |index| index.to_string())
        });
        match change {
            Change::Raised { notify, joined, .. } => {
                format!("raised{}{}", if *notify { "" } else { " quietly" }, if *joined { " joining" } else { "" })
            }
            Change::Merged { .. } => format!("merged {event}"),
            Change::Cleared { .. } => format!("cleared {event}"),
            Change::Latched { .. } => format!("latched {event}"),
            Change::Acknowledged { by, newest, .. } => {
                format!("acked {event}{} by {}", if *newest { "" } else { " old" }, by.by)
            }
            Change::Reset { .. } => format!("reset {event}"),
            Change::ReAlarmed { notify, .. } => format!("realarmed {event}{}", if *notify { "" } else { " quietly" }),
            Change::Shelved { until, one_shot } => {
                format!("shelved {}{}", until.since(at(0)).as_secs(), if *one_shot { " once" } else { "" })
            }
            Change::Chattering(on) => format!("chattering {on}"),
            Change::SilenceEnded { notify } => format!("silence ended{}", if *notify { " notify" } else { "" }),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

fn letter(state: State) -> char {
    char::from(b"ABCDEF"[state as usize])
}

fn check(name: &str, def: AlarmDef, lines: &[(u64, Do, &str, char)]) {
    let mut bench = Bench::new(def);
    for (line, (seconds, act, says, state)) in lines.iter().enumerate() {
        let said = bench.step(*seconds, *act);
        assert_eq!((&*said, letter(bench.alarm.state())), (*says, *state), "{name}, line {line}: {seconds} s {act:?}");
    }
}

#[test]
fn the_usual_life() {
    check(
        "cleared, then acknowledged",
        def(),
        &[
            (0, AckAll, "nothing", 'A'),
            (1, Raise, "raised", 'B'),
            (2, Raise, "", 'B'),
            (3, Clear, "cleared 0", 'D'),
            (4, AckAll, "acked 0 by alice", 'A'),
            (5, AckAll, "already alice", 'A'),
        ],
    );
    check(
        "acknowledged, then cleared",
        def(),
        &[
            (1, Raise, "raised", 'B'),
            (2, AckUpTo(0), "acked 0 by alice", 'C'),
            (3, AckOnly(0), "already alice", 'C'),
            (4, Clear, "cleared 0", 'A'),
            (5, Raise, "raised", 'B'),
            (6, AckOnly(0), "already alice", 'B'),
            (7, AckOnly(9), "unknown", 'B'),
        ],
    );
    check("momentary", def(), &[(1, Momentary, "raised, cleared 0", 'D'), (2, Momentary, "raised joining, cleared 1", 'D')]);
    check("first start", def(), &[(1, Initial, "raised quietly", 'B'), (2, AckAll, "acked 0 by alice", 'C')]);
}

#[test]
fn latching_and_ack_modes() {
    let latching = AlarmDef { latching: true, ..def() };
    check(
        "latching",
        latching,
        &[
            (1, Raise, "raised", 'B'),
            (2, Clear, "cleared 0, latched 0", 'E'),
            (3, AckAll, "acked 0 by alice", 'F'),
            (4, AckUpTo(0), "already alice", 'F'),
            (5, AckAll, "reset 0", 'A'),
            (6, Raise, "raised", 'B'),
            (7, AckAll, "acked 1 by alice", 'C'),
            (8, Clear, "cleared 1, latched 1", 'F'),
            (9, Raise, "raised, chattering true", 'B'),
        ],
    );
    let auto = || AlarmDef { ack_mode: AckMode::Auto, ..def() };
    check("auto", auto(), &[(1, Raise, "raised", 'B'), (2, Clear, "cleared 0, acked 0 by system", 'A')]);
    check("auto momentary", auto(), &[(1, Momentary, "raised, cleared 0, acked 0 by system", 'A')]);
    let both = AlarmDef { latching: true, ..auto() };
    check(
        "auto latching",
        both,
        &[(1, Raise, "raised", 'B'), (2, Clear, "cleared 0, latched 0, acked 0 by system", 'F'), (3, AckAll, "reset 0", 'A')],
    );
    let unused = || AlarmDef { ack_mode: AckMode::Unused, ..def() };
    check(
        "unused",
        unused(),
        &[
            (1, Raise, "raised", 'C'),
            (2, AckAll, "nothing", 'C'),
            (3, AckOnly(0), "nothing", 'C'),
            (4, Clear, "cleared 0", 'A'),
            (5, Raise, "raised", 'C'),
        ],
    );
    let both = AlarmDef { latching: true, ..unused() };
    check(
        "unused latching",
        both,
        &[(1, Raise, "raised", 'C'), (2, Clear, "cleared 0, latched 0", 'F'), (3, AckAll, "reset 0", 'A')],
    );
}

#[test]
fn an_older_acknowledgement_takes_no_newer_event() {
    let run = [
        (1, Raise, "raised", 'B'),
        (2, Clear, "cleared 0", 'D'),
        (3, Raise, "raised joining", 'B'),
        (4, Clear, "cleared 1", 'D'),
        (70, Raise, "raised joining", 'B'),
    ];
    let then = |tail: &[(u64, Do, &'static str, char)]| [&run, tail].concat();
    check(
        "up to the second",
        def(),
        &then(&[
            (71, AckUpTo(1), "acked 0 old by alice, acked 1 old by alice", 'B'),
            (72, AckUpTo(1), "already alice", 'B'),
            (73, AckAll, "acked 2 by alice", 'C'),
        ]),
    );
    check(
        "only the second",
        def(),
        &then(&[
            (71, AckOnly(1), "acked 1 old by alice", 'B'),
            (72, AckOnly(1), "already alice", 'B'),
            (73, AckUpTo(1), "acked 0 old by alice", 'B'),
        ]),
    );
    check(
        "only the newest",
        def(),
        &then(&[
            (71, AckOnly(2), "acked 2 by alice", 'C'),
            (72, Clear, "cleared 2", 'A'),
            (140, Raise, "raised joining", 'B'),
            (141, AckAll, "acked 0 old by alice, acked 1 old by alice, acked 3 by alice", 'C'),
        ]),
    );
}

#[test]
fn silence_and_its_end() {
    check(
        "shelved",
        def(),
        &[
            (1, Shelve(7201), "TooLong { max: 7200s }", 'A'),
            (1, Shelve(60), "shelved 61", 'A'),
            (2, Raise, "raised quietly", 'B'),
            (3, Shelve(100), "shelved 103", 'B'),
            (61, Tick, "", 'B'),
            (103, Tick, "unshelved, silence ended notify", 'B'),
            (104, Shelve(0), "", 'B'),
            (105, Shelve(10), "shelved 115", 'B'),
            (106, AckAll, "acked 0 by alice", 'C'),
            (107, Shelve(0), "unshelved, silence ended", 'C'),
        ],
    );
    check(
        "one shot",
        def(),
        &[
            (1, Raise, "raised", 'B'),
            (2, OneShot, "shelved 7202 once", 'B'),
            (3, Clear, "cleared 0, unshelved, silence ended", 'D'),
            (4, OneShot, "shelved 7204 once", 'D'),
            (7204, Tick, "unshelved, silence ended", 'D'),
        ],
    );
    check(
        "all three kinds",
        def(),
        &[
            (1, Suppress(true), "suppressed", 'A'),
            (1, Suppress(true), "", 'A'),
            (2, Raise, "raised quietly", 'B'),
            (3, Out(true), "outofservice", 'B'),
            (4, OneShot, "shelved 7204 once", 'B'),
            (5, Suppress(false), "unsuppressed", 'B'),
            (6, Shelve(0), "unshelved", 'B'),
            (7, Out(false), "inservice, silence ended notify", 'B'),
        ],
    );
    let never = AlarmDef { shelving: false, ..def() };
    check("never shelved", never, &[(1, Shelve(1), "NotAllowed", 'A'), (1, OneShot, "NotAllowed", 'A'), (1, Shelve(0), "", 'A')]);
    let critical = AlarmDef { priority: Priority::Critical, ..def() };
    check("critical", critical, &[(0, Shelve(1800), "shelved 1800", 'A'), (0, Shelve(1801), "TooLong { max: 1800s }", 'A')]);
    let good = Reading { value: Value::Boolean(true), ..Reading::default() };
    assert!(suppresses(&good));
    assert!(!suppresses(&Reading { status: StatusCode::UNCERTAIN, ..good.clone() }));
    assert!(!suppresses(&Reading { value: Value::Int32(1), ..good }));
}

#[test]
fn re_alarms() {
    let again = AlarmDef { re_alarm_after: Some(Duration::from_secs(60)), ..def() };
    check(
        "re-alarm",
        again,
        &[
            (1, Raise, "raised", 'B'),
            (2, AckAll, "acked 0 by alice", 'C'),
            (61, Tick, "", 'C'),
            (62, Tick, "realarmed 0", 'B'),
            (63, AckAll, "acked 0 by alice", 'C'),
            (64, Clear, "cleared 0", 'A'),
            (200, Tick, "", 'A'),
            (201, Raise, "raised", 'B'),
            (202, AckAll, "acked 1 by alice", 'C'),
            (203, Out(true), "outofservice", 'C'),
            (262, Tick, "realarmed 1 quietly", 'B'),
            (263, Out(false), "inservice, silence ended notify", 'B'),
        ],
    );
}

#[test]
fn chatter_is_told_once_a_hold() {
    // Three activations in a minute; each acknowledged, so that every one is a run of its own.
    let mut lines = Vec::new();
    let says = ["raised", "raised", "raised, chattering true", "raised quietly", "raised quietly"];
    let acks = ["acked 0 by alice", "acked 1 by alice", "acked 2 by alice", "acked 3 by alice"];
    let clears = ["cleared 0", "cleared 1", "cleared 2", "cleared 3"];
    for turn in 0..4 {
        let start = 10 * turn as u64;
        lines.extend([
            (start, Raise, says[turn], 'B'),
            (start + 1, AckAll, acks[turn], 'C'),
            (start + 2, Clear, clears[turn], 'A'),
        ]);
    }
    lines.extend([
        (40, Raise, says[4], 'B'),
        // Told at 20 s; marked until fewer than three activations lie within a minute: 20, 30 and 40 s.
        (79, Tick, "", 'B'),
        (80, Tick, "chattering false", 'B'),
        // Still active and never told: the hold ends at 620 s.
        (619, Tick, "", 'B'),
        (620, Tick, "silence ended notify", 'B'),
        (621, Tick, "", 'B'),
    ]);
    check("chatter", def(), &lines);
    let mut off = Bench::new(def());
    off.plan.throttle.chatter = None;
    for turn in 0..10 {
        assert!(!off.step(turn, Momentary).contains("quietly"));
    }
}

#[test]
fn due_is_when_a_tick_does_something() {
    let mut bench = Bench::new(AlarmDef { re_alarm_after: Some(Duration::from_secs(600)), ..def() });
    assert_eq!(bench.alarm.due(&bench.plan), None);
    bench.step(0, Shelve(100));
    bench.step(1, Raise);
    bench.step(2, AckAll);
    for expected in [100, 602] {
        let due = bench.alarm.due(&bench.plan).unwrap();
        assert_eq!(due, at(expected));
        assert_eq!(bench.step(expected - 1, Tick), "");
        assert_ne!(bench.step(expected, Tick), "");
    }
    assert_eq!(bench.alarm.due(&bench.plan), None);
}

#[test]
fn open_events_are_bounded() {
    let mut bench = Bench::new(def());
    bench.plan.throttle.chatter = None;
    for turn in 0..MAX_OPEN as u64 {
        assert!(!bench.step(turn, Momentary).contains("merged"));
    }
    assert!(bench.step(100, Momentary).contains("merged 0"));
    assert!(bench.step(101, Momentary).contains("merged 1"));
    assert_eq!(bench.alarm.open_events().count(), MAX_OPEN);
    assert_eq!(bench.alarm.open_events().next().map(|event| (event.id, event.merged)), Some((bench.events[2], 2)));
    assert_eq!(bench.step(102, AckOnly(0)), "unknown");
    bench.step(103, AckAll);
    assert_eq!(bench.alarm.open_events().count(), 0);
    assert_eq!(bench.step(104, AckOnly(65)), "already alice");
    assert_eq!(bench.alarm.closed.len(), MAX_CLOSED);
    assert!(bench.alarm.knows(bench.events[64]) && !bench.alarm.knows(bench.events[0]));
}

#[test]
fn the_view_shows_the_newest_event() {
    let mut bench = Bench::new(AlarmDef { latching: true, ..def() });
    let captured =
        Captured { value: Value::Double(91.5), message: "high".to_owned(), data: [("sop".to_owned(), "7".to_owned())].into() };
    bench.alarm.flank(&bench.plan, &bench.def, Flank::Raise { initial: false }, captured.clone(), at(1), &mut bench.rng);
    bench.step(2, Clear);
    bench.step(3, Shelve(60));
    bench.step(4, AckAll);
    let view = bench.alarm.view(&bench.def);
    assert_eq!((view.state, view.latched, view.shelved_until), ("ClearAcked", true, Some(at(63))));
    assert_eq!((view.active_time, view.clear_time, view.ack_time, &*view.ack_user), (at(1), at(2), at(4), "alice"));
    assert_eq!((&*view.value, &*view.message), ("91.5", "high"));
    assert_eq!(bench.alarm.newest().unwrap().captured, captured);
    assert!((bench.alarm.shelved_minutes(at(33)) - 0.5).abs() < 1e-9);
    assert_eq!(bench.alarm.remove(), [Change::Removed]);
    assert_eq!(bench.alarm, Alarm::default());
}

fn any_do() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => Just(Raise), 4 => Just(Clear), 1 => Just(Momentary), 1 => Just(Initial), 2 => Just(AckAll),
        2 => (0_usize..40).prop_map(AckUpTo), 2 => (0_usize..40).prop_map(AckOnly),
        1 => (0_u64..9000).prop_map(Shelve), 1 => Just(OneShot), 1 => any::<bool>().prop_map(Suppress), 1 => any::<bool>().prop_map(Out),
        2 => Just(Tick),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(
        steps in prop::collection::vec((0_u64..300, any_do()), 1..120),
        latching: bool, ack_mode in prop_oneof![Just(AckMode::Manual), Just(AckMode::Auto), Just(AckMode::Unused)], again: bool, chatter: bool,
    ) {
        let re_alarm_after = again.then_some(Duration::from_secs(100));
        let mut bench = Bench::new(AlarmDef { ack_mode, latching, re_alarm_after, ..def() });
        bench.plan.throttle.chatter = chatter.then(Chatter::default);
        let mut now = 0;
        for (gap, act) in steps {
            now += gap;
            let before = bench.alarm.clone();
            let open = |alarm: &Alarm| alarm.open_events().map(|event| event.id).collect::<Vec<_>>();
            let was_open = open(&before);
            let said = bench.step(now, act);
            let (alarm, is_open) = (&bench.alarm, open(&bench.alarm));
            // Only a flank moves activity, and the newest event says when.
            let active = match act { Raise | Initial => true, Clear | Momentary => false, _ => before.state.is_active() };
            prop_assert_eq!(alarm.state.is_active(), active, "{}", said);
            prop_assert_eq!(alarm.newest().is_some_and(|event| event.cleared.is_null()), active);
            prop_assert_eq!(alarm.newest().is_some_and(AlarmEvent::is_open), !alarm.state.is_acknowledged());
            prop_assert!(latching || !alarm.state.is_latched());
            prop_assert!(ack_mode != AckMode::Unused || is_open.is_empty());
            // An acknowledgement takes what it names and nothing newer.
            let taken: Vec<_> = was_open.iter().filter(|id| !is_open.contains(id)).collect();
            let position = |id: &Uuid| bench.events.iter().position(|known| known == id).unwrap();
            match act {
                AckAll => prop_assert!(is_open.is_empty()),
                AckUpTo(named) => prop_assert!(taken.iter().all(|id| position(id) <= named)),
                AckOnly(named) => prop_assert!(taken.iter().all(|id| position(id) == named)),
                Clear | Momentary => prop_assert!(taken.is_empty() || ack_mode == AckMode::Auto),
                _ => prop_assert!(taken.is_empty()),
            }
            // Nobody is told anything of a silent alarm, and what a tick wants is not in the past once it has ticked.
            if alarm.is_silent() && before.is_silent() {
                let quiet = |word: &str| !said.starts_with(word) || said.starts_with(&format!("{word} quietly"));
                prop_assert!(quiet("raised") && !said.contains("silence ended"), "{}", said);
            }
            if matches!(act, Tick) {
                prop_assert!(alarm.due(&bench.plan).is_none_or(|due| due > at(now)));
            }
        }
        prop_assert_eq!(bench.events.iter().collect::<HashSet<_>>().len(), bench.events.len());
    }
}
