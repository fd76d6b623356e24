//! What happens, line by line, and the notifications that come of it.

use std::{collections::BTreeMap, path::Path};

use uuid::Uuid;

use super::*;
use crate::{
    config::{File, Loader, load},
    engine::{
        Engine,
        io::{Actor, Command, Effect, Effects, Input, RequestId, Via},
        plan::{Origin, Plan, Settings},
        record::{JournalKind, Record, StateKind, StateRow},
    },
    tag::{Names, Sample, TagId, Value},
};

const LEVEL: &str = "Plant/Level/Alarms/High";
const LATCH: &str = "Plant/Level/Alarms/Latch";
const SIDES: &str = "Plant/Level/Alarms/Sides";

const TAGS: &str = r#"
[[tag]]
path = "Plant/Level"
type = "Double"
[[tag.alarm]]
name = "High"
mode = "above"
setpoint = 90.0
priority = "high"
message = "Level high"
suppressed_by = "Plant/Off"
[[tag.alarm]]
name = "Latch"
mode = "above"
setpoint = 1000.0
latching = true
re_alarm_after = "60s"
[[tag.alarm]]
name = "Sides"
mode = "outside"
low = -500.0
high = 500.0
[[tag]]
path = "Plant/Off"
type = "Bool"
"#;

#[derive(Clone, Copy)]
enum Do {
    Value(f64),
    /// The same value with this quality.
    Quality(StatusCode),
    Lost,
    Found,
    Suppress(bool),
    Wait(u64),
    Act(&'static str, Act),
    /// With a comment.
    Say(&'static str, Act, &'static str),
    /// As the engine's own commands do.
    Ack(&'static str, &'static str),
    Restart,
    /// With this severity of priority high.
    Reload(u16),
    /// Without alarms.
    Clear,
}

struct Bench {
    plan: Arc<Plan>,
    names: Names,
    engine: Engine,
    now: Timestamp,
    rows: BTreeMap<(StateKind, String), serde_json::Value>,
    journal: Vec<(JournalKind, String)>,
    /// In the order in which they were first seen.
    events: Vec<Uuid>,
    /// All ids that were ever given.
    given: Vec<NoticeId>,
    last: BTreeMap<String, Arc<Condition>>,
}

fn plan(names: &mut Names, tags: &str, severity: u16) -> Plan {
    let files = [File { name: "plant.toml".into(), text: tags.into() }];
    let config = [File { name: "main.toml".into(), text: format!("[alarms]\nseverity = {{ high = {severity} }}\n") }];
    let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
    let mut plan = load(&config, &files, &[], loader, names).unwrap_or_else(|problems| panic!("{problems:?}")).plan;
    for tag in &mut plan.tags {
        if &*tag.path == "Plant/Level" {
            let address: Settings = Arc::new(());
            tag.origin = Origin::Source { source: "plc".into(), address };
        }
    }
    plan
}

impl Bench {
    fn new() -> Self {
        let mut names = Names::default();
        let plan = Arc::new(plan(&mut names, TAGS, 700));
        let now = Timestamp::from_ticks(1_000_000_000);
        let (engine, _) = Engine::restore(Arc::clone(&plan), Vec::new(), 7, now, &mut Vec::new());
        let mut bench = Self {
            plan,
            names,
            engine,
            now,
            rows: BTreeMap::new(),
            journal: Vec::new(),
            events: Vec::new(),
            given: Vec::new(),
            last: BTreeMap::new(),
        };
        bench.step(Do::Found);
        bench
    }

    fn step(&mut self, act: Do) -> String {
        let engineer = |name: &str| Actor { name: name.to_owned(), role: Role::Engineer, via: Via::OpcUa };
        let level = self.names.get("Plant/Level").unwrap();
        let sample = |tag: TagId, value: Value, status: StatusCode| {
            Input::Samples(vec![Sample { tag, value, status, source_time: self.now }])
        };
        let command = |command: Command| Input::Command { request: RequestId(1), by: engineer("erik"), command };
        let condition = |alarm: &str, act: Act, comment: Option<&str>| {
            command(Command::Condition { alarm: alarm.into(), act, comment: comment.map(str::to_owned) })
        };
        let input = match act {
            Do::Value(value) => sample(level, Value::Double(value), StatusCode::GOOD),
            Do::Quality(status) => {
                let value = self.engine.reading(level).value;
                sample(level, value, status)
            }
            Do::Lost => Input::SourceDown { source: "plc".into(), error: "gone".into() },
            Do::Found => Input::SourceUp { source: "plc".into() },
            Do::Suppress(on) => sample(self.names.get("Plant/Off").unwrap(), Value::Boolean(on), StatusCode::GOOD),
            Do::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                Input::Tick
            }
            Do::Act(alarm, act) => condition(alarm, act, None),
            Do::Say(alarm, act, words) => condition(alarm, act, Some(words)),
            Do::Ack(alarm, note) => command(Command::Acknowledge { alarm: alarm.into(), note: note.to_owned() }),
            Do::Restart => return self.restart(),
            Do::Reload(severity) => {
                self.plan = Arc::new(plan(&mut self.names, TAGS, severity));
                Input::Plan(Arc::clone(&self.plan))
            }
            Do::Clear => {
                self.plan = Arc::new(plan(&mut self.names, "[[tag]]\npath = \"Plant/Level\"\ntype = \"Double\"\n", 700));
                Input::Plan(Arc::clone(&self.plan))
            }
        };
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        self.told(out)
    }

    fn restart(&mut self) -> String {
        let rows = self.rows.iter().map(|((kind, key), value)| StateRow { kind: *kind, key: key.clone(), value: value.clone() });
        let mut out = Vec::new();
        let (engine, problems) = Engine::restore(Arc::clone(&self.plan), rows.collect(), 8, self.now, &mut out);
        assert!(problems.is_empty(), "{problems:?}");
        self.engine = engine;
        let before = self.last.clone();
        let said = self.told(out);
        for (alarm, old) in before {
            let new = &self.last[&alarm];
            assert_eq!((&new.trunk, &new.branches), (&old.trunk, &old.branches), "{alarm} is not as it was before the restart");
        }
        said
    }

    fn told(&mut self, out: Effects) -> String {
        let mut said = Vec::new();
        for effect in out {
            match effect {
                Effect::Record(Record::State { kind, key, value: Some(value) }) => {
                    _ = self.rows.insert((kind, key), value.json());
                }
                Effect::Record(Record::State { kind, key, value: None }) => _ = self.rows.remove(&(kind, key)),
                Effect::Record(Record::Journal(entry)) => self.journal.push((entry.kind, entry.text)),
                Effect::Answer { outcome, .. } if !outcome.status.is_good() => said.push(outcome.status.to_string()),
                Effect::Condition(condition) if condition.alarm.starts_with("Plant/") => self.condition(condition, &mut said),
                _ => {}
            }
        }
        said.join("; ")
    }

    fn condition(&mut self, condition: Arc<Condition>, said: &mut Vec<String>) {
        for branch in condition.news() {
            assert!(!self.given.contains(&branch.id), "{:?} is given twice", branch.id);
            self.given.push(branch.id);
            said.push(self.words(&condition, branch));
        }
        self.last.insert(condition.alarm.to_string(), condition);
    }

    fn words(&mut self, condition: &Condition, branch: &Branch) -> String {
        if !self.events.contains(&branch.id.event) {
            self.events.push(branch.id.event);
        }
        let event = self.events.iter().position(|known| *known == branch.id.event).unwrap();
        let state = &condition.state;
        let letter = |on: bool, letter: char| if on { letter.to_ascii_uppercase() } else { letter };
        let mut words: String =
            [letter(branch.active, 'a'), letter(branch.acked, 'k'), letter(branch.retain, 'r')].iter().collect();
        if branch.id.event != condition.trunk.id.event {
            words.push_str(" branch");
        }
        let marks = [
            (!state.enabled, "disabled"),
            (state.latched, "latched"),
            (state.shelving.is_some(), "shelved"),
            (state.suppressed, "suppressed"),
            (state.out_of_service, "out"),
            (state.limits.high && &*condition.alarm == SIDES, "high"),
            (state.limits.low, "low"),
            (condition.removed, "removed"),
        ];
        for (_, mark) in marks.iter().filter(|(on, _)| *on) {
            words = format!("{words} {mark}");
        }
        if !state.quality.is_good() && !matches!(state.quality, StatusCode::BAD_WAITING_FOR_INITIAL_DATA) {
            words = format!("{words} {}", state.quality);
        }
        if let Some(comment) = &branch.comment {
            words = format!("{words} '{}' by {}", comment.text, comment.user);
        }
        format!("{event}:{words}")
    }

    /// The n-th notification of all.
    fn notice(&self, place: usize) -> NoticeId {
        self.given[place]
    }
}

fn check(name: &str, lines: &[(Do, &str)]) -> Bench {
    let mut bench = Bench::new();
    go_on(&mut bench, name, lines);
    bench
}

fn go_on(bench: &mut Bench, name: &str, lines: &[(Do, &str)]) {
    for (line, (act, says)) in lines.iter().enumerate() {
        bench.now = bench.now + Duration::from_secs(1);
        assert_eq!(bench.step(*act), *says, "{name}, line {line}");
    }
}

use Do::{Ack, Act as Method, Clear, Found, Lost, Quality, Reload, Restart, Say, Suppress, Value as Level, Wait};

#[test]
fn the_sequences_of_the_standard_without_branches() {
    // Part 9, B.1.2.
    check("acknowledged, then clear", &[(Level(95.0), "0:AkR"), (Ack(LEVEL, ""), "0:AKR"), (Level(1.0), "0:aKr")]);
    check("clear, then acknowledged", &[(Level(95.0), "0:AkR"), (Level(1.0), "0:akR"), (Ack(LEVEL, ""), "0:aKr")]);
}

#[test]
fn an_older_event_stays_as_a_branch_until_it_is_acknowledged() {
    let mut bench = check(
        "branches",
        &[
            (Level(95.0), "0:AkR"),
            (Level(1.0), "0:akR"),
            (Level(96.0), "0:akR branch; 1:AkR"),
            (Restart, ""),
            (Level(96.0), ""),
            (Level(2.0), "1:akR"),
        ],
    );
    let (older, trunk, newer) = (bench.notice(1), bench.notice(3), bench.notice(4));
    assert_eq!((older.event, trunk.event), (bench.events[0], bench.events[1]));
    assert_eq!(trunk.event, newer.event);
    // The id of the older event never takes the newer one; the trunk's stays valid while its event is open.
    go_on(
        &mut bench,
        "by id",
        &[
            (Say(LEVEL, Act::Acknowledge(trunk), "seen"), "1:aKR 'seen' by erik"),
            (Method(LEVEL, Act::Acknowledge(newer)), "BadConditionBranchAlreadyAcked"),
            (Say(LEVEL, Act::Acknowledge(older), "late"), "0:aKr branch 'late' by erik; 1:aKr 'seen' by erik"),
            (Method(LEVEL, Act::Acknowledge(older)), "BadConditionBranchAlreadyAcked"),
            (Level(97.0), "2:AkR"),
            (Method(LEVEL, Act::Acknowledge(older)), "BadConditionBranchAlreadyAcked"),
            (Method(LEVEL, Act::Acknowledge(newer)), "BadConditionBranchAlreadyAcked"),
            (Method(LEVEL, Act::Acknowledge(NoticeId { event: Uuid::from_u128(9), number: 1 })), "BadEventIdUnknown"),
            (Method(LEVEL, Act::Acknowledge(NoticeId { number: 1 << 40, ..newer })), "BadEventIdUnknown"),
            // Of another alarm.
            (Method(SIDES, Act::Acknowledge(newer)), "BadEventIdUnknown"),
        ],
    );
    let numbers: Vec<u64> = bench.given.iter().map(|id| id.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn acknowledging_all_ends_every_branch() {
    check(
        "all",
        &[
            (Level(95.0), "0:AkR"),
            (Level(1.0), "0:akR"),
            (Level(96.0), "0:akR branch; 1:AkR"),
            (Ack(LEVEL, "both"), "0:aKr branch 'both' by erik; 1:AKR 'both' by erik"),
            (Level(2.0), "1:aKr 'both' by erik"),
        ],
    );
}

#[test]
fn rows_of_an_earlier_program_get_numbers() {
    let mut bench = check("older", &[(Level(95.0), "0:AkR"), (Level(1.0), "0:akR"), (Level(96.0), "0:akR branch; 1:AkR")]);
    for row in bench.rows.iter_mut().filter(|((kind, _), _)| *kind == StateKind::Alarm).filter_map(|(_, row)| row.as_object_mut())
    {
        row.retain(|key, _| !matches!(&**key, "told" | "disabled"));
        let strip = |event: &mut serde_json::Value| {
            if let Some(event) = event.as_object_mut() {
                event.retain(|key, _| !matches!(&**key, "comment" | "since" | "notice"));
            }
        };
        strip(&mut row["newest"]);
        row["older"].as_array_mut().unwrap().iter_mut().for_each(strip);
    }
    bench.last.clear();
    bench.given.clear();
    // Beyond which limit it is was not stored either.
    go_on(&mut bench, "older", &[(Restart, ""), (Level(96.0), "1:AkR")]);
    let (trunk, branch) = (bench.last[LEVEL].trunk.id, bench.last[LEVEL].branches[0].id);
    assert_eq!((trunk.event, branch.event), (bench.events[1], bench.events[0]));
    assert!(trunk.number > branch.number && branch.number > 0);
    go_on(
        &mut bench,
        "older",
        &[(Method(LEVEL, Act::Acknowledge(branch)), "0:aKr branch"), (Method(LEVEL, Act::Acknowledge(trunk)), "1:AKR")],
    );
}

#[test]
fn comments_belong_to_their_event_and_are_journalled() {
    let mut bench = check("comments", &[(Level(95.0), "0:AkR"), (Level(1.0), "0:akR"), (Level(96.0), "0:akR branch; 1:AkR")]);
    let (older, newer) = (bench.notice(0), bench.notice(3));
    go_on(
        &mut bench,
        "comments",
        &[
            (Say(LEVEL, Act::Comment(older), "pump"), "0:akR branch 'pump' by erik"),
            (Say(LEVEL, Act::Comment(newer), "valve"), "1:AkR 'valve' by erik"),
            (Method(LEVEL, Act::Comment(newer)), ""),
            (Restart, ""),
            (Say(LEVEL, Act::Comment(newer), ""), "1:AkR '' by erik"),
            (Say(LEVEL, Act::Comment(NoticeId::default()), "x"), "BadEventIdUnknown"),
            (Say(LEVEL, Act::Acknowledge(older), ""), "0:aKr branch '' by erik"),
            (Say(LEVEL, Act::Comment(older), "too late for a notification"), ""),
        ],
    );
    let comments: Vec<_> = bench.journal.iter().filter(|(kind, _)| *kind == JournalKind::Commented).collect();
    let words: Vec<_> = comments.iter().map(|(_, text)| &**text).collect();
    assert_eq!(words, ["pump", "valve", "the comment was cleared", "too late for a notification"]);
}

#[test]
fn shelving_has_its_codes() {
    let minute = Duration::from_secs(60);
    let mut bench = check(
        "shelving",
        &[
            (Method(LEVEL, Act::Unshelve), "BadConditionNotShelved"),
            (Method(LEVEL, Act::TimedShelve(Duration::ZERO)), "BadShelvingTimeOutOfRange"),
            (Method(LEVEL, Act::TimedShelve(121 * minute)), "BadShelvingTimeOutOfRange"),
            (Say(LEVEL, Act::TimedShelve(minute), "quiet"), "0:aKr shelved 'quiet' by erik"),
            (Method(LEVEL, Act::TimedShelve(minute)), "BadConditionAlreadyShelved"),
            (Method(LEVEL, Act::OneShotShelve), "BadConditionAlreadyShelved"),
            (Wait(60), "0:aKr 'quiet' by erik"),
            (Level(95.0), "1:AkR"),
            (Method(LEVEL, Act::OneShotShelve), "1:AkR shelved"),
            (Level(1.0), "1:akR"),
            (Method(LEVEL, Act::Unshelve), "BadConditionNotShelved"),
            (Method("Plant/None", Act::Unshelve), "BadNotFound"),
        ],
    );
    // A notification before the first event acknowledges nothing.
    let blank = bench.notice(0);
    go_on(&mut bench, "blank", &[(Method(LEVEL, Act::Acknowledge(blank)), "BadConditionBranchAlreadyAcked")]);
}

#[test]
fn disabled_is_out_of_service_and_out_of_sight() {
    let mut bench = check(
        "disabled",
        &[
            (Method(LEVEL, Act::Enable), "BadConditionAlreadyEnabled"),
            (Level(95.0), "0:AkR"),
            (Level(1.0), "0:akR"),
            (Level(95.0), "0:akR branch; 1:AkR"),
            (Method(LEVEL, Act::Disable), "0:akr branch disabled out; 1:Akr disabled out"),
            (Method(LEVEL, Act::Disable), "BadConditionAlreadyDisabled"),
            (Method(LEVEL, Act::RemoveFromService), "BadConditionDisabled"),
            (Method(LEVEL, Act::OneShotShelve), "BadConditionDisabled"),
            (Quality(StatusCode::BAD), ""),
            (Restart, ""),
            (Level(95.0), ""),
        ],
    );
    let id = bench.notice(3);
    go_on(
        &mut bench,
        "disabled",
        &[
            (Method(LEVEL, Act::Acknowledge(id)), "BadConditionDisabled"),
            (Method(LEVEL, Act::Enable), "0:akR branch; 1:AkR"),
            (Method(LEVEL, Act::RemoveFromService), "1:AkR out"),
            (Method(LEVEL, Act::RemoveFromService), ""),
            (Method(LEVEL, Act::Disable), "0:akr branch disabled out; 1:Akr disabled out"),
            (Method(LEVEL, Act::Enable), "0:akR branch; 1:AkR"),
            (Method(LEVEL, Act::RemoveFromService), "1:AkR out"),
            (Method(LEVEL, Act::PlaceInService), "1:AkR"),
        ],
    );
}

#[test]
fn quality_is_told_of_what_is_retained() {
    check(
        "quality",
        &[
            (Level(1.0), ""),
            (Quality(StatusCode::BAD_DEVICE_FAILURE), ""),
            (Level(95.0), "0:AkR"),
            (Quality(StatusCode::BAD_DEVICE_FAILURE), "0:AkR BadDeviceFailure"),
            (Quality(StatusCode(StatusCode::BAD_DEVICE_FAILURE.0 | 0x80)), ""),
            (Lost, "0:AkR BadCommunicationError"),
            (Lost, ""),
            (Found, ""),
            (Level(95.0), "0:AkR"),
            (Suppress(true), "0:AkR suppressed"),
            (Suppress(false), "0:AkR"),
            (Reload(650), "0:AkR"),
        ],
    );
    let mut bench = check("severity", &[(Level(95.0), "0:AkR"), (Reload(650), "0:AkR")]);
    let state = |bench: &Bench| (bench.last[LEVEL].state.severity, bench.last[LEVEL].state.last_severity);
    assert_eq!(state(&bench), (650, 700));
    go_on(
        &mut bench,
        "severity",
        &[
            (Restart, ""),
            (Level(95.0), ""),
            (Lost, "0:AkR BadCommunicationError"),
            (Restart, ""),
            (Found, ""),
            (Level(95.0), "0:AkR"),
        ],
    );
    assert_eq!(state(&bench), (650, 700));
}

#[test]
fn a_latched_alarm_waits_for_its_reset() {
    let mut bench = check(
        "latched",
        &[
            (Level(1500.0), "0:AkR; 1:AkR; 2:AkR high"),
            (Ack(SIDES, ""), "2:AKR high"),
            (Ack(LEVEL, ""), "0:AKR"),
            (Method(LATCH, Act::Reset), "BadInvalidState"),
        ],
    );
    let first = bench.notice(1);
    go_on(
        &mut bench,
        "alarmed again",
        &[
            (Method(LATCH, Act::Acknowledge(first)), "1:AKR"),
            (Wait(61), "1:AkR"),
            // What was seen before does not acknowledge what is seen now.
            (Method(LATCH, Act::Acknowledge(first)), "BadConditionBranchAlreadyAcked"),
            (Level(1.0), "0:aKr; 1:akR latched; 2:aKr"),
            (Method(LATCH, Act::Reset), "BadInvalidState"),
            (Ack(LATCH, ""), "1:aKR latched"),
            (Method(LATCH, Act::Reset), "1:aKr"),
        ],
    );
}

#[test]
fn an_alarm_that_is_removed_is_no_longer_retained() {
    let bench = check(
        "removed",
        &[
            (Level(95.0), "0:AkR"),
            (Level(1.0), "0:akR"),
            (Level(95.0), "0:akR branch; 1:AkR"),
            (Clear, "0:akr branch removed; 1:Akr removed"),
        ],
    );
    assert!(bench.engine.conditions().iter().all(|condition| condition.alarm.starts_with("System/")));
}

#[test]
fn a_reset_acknowledges_no_older_event() {
    let mut bench =
        check("older", &[(Level(1500.0), "0:AkR; 1:AkR; 2:AkR high"), (Ack(SIDES, ""), "2:AKR high"), (Ack(LEVEL, ""), "0:AKR")]);
    let older = bench.notice(1);
    go_on(
        &mut bench,
        "older",
        &[(Level(1.0), "0:aKr; 1:akR latched; 2:aKr"), (Level(1500.0), "3:AkR; 1:akR branch; 4:AkR; 5:AkR high")],
    );
    let newer = bench.notice(10);
    go_on(
        &mut bench,
        "older",
        &[
            (Method(LATCH, Act::Acknowledge(newer)), "4:AKR"),
            (Level(1.0), "3:akR; 4:aKR latched; 5:akR"),
            (Method(LATCH, Act::Reset), "BadInvalidState"),
            (Method(LATCH, Act::Acknowledge(older)), "1:aKr branch latched"),
            (Method(LATCH, Act::Reset), "4:aKr"),
        ],
    );
}

#[test]
fn the_side_of_an_alarm_is_told() {
    check(
        "sides",
        &[
            (Level(600.0), "0:AkR; 1:AkR high"),
            (Level(700.0), ""),
            (Level(-600.0), "0:akR; 1:AkR low"),
            (Restart, ""),
            (Level(-600.0), ""),
            (Level(0.0), "1:akR"),
        ],
    );
}

#[test]
fn ids_travel_as_bytes() {
    let id = NoticeId { event: Uuid::from_u128(7), number: 0x0102 };
    let bytes = id.to_bytes();
    assert_eq!((bytes[15], &bytes[22..]), (7, &[1, 2][..]));
    assert_eq!(NoticeId::from_bytes(&bytes), Some(id));
    for length in [0, 16, 23, 25] {
        assert_eq!(NoticeId::from_bytes(&vec![7; length]), None);
    }
}
