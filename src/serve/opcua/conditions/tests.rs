//! What snapshots say, as fields and as events.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{methods::Refreshes, *};
use crate::{
    config::{File, Loader, load},
    engine::{
        alarm::Shelving,
        condition::{Branch, Comment, ConditionState, Limits, NoticeId},
        plan::AlarmDef,
    },
    serve::opcua::{
        limits,
        space::{NAMESPACE, NodeRef, Space},
        wire::Id,
    },
    tag::{Names, Sample, StatusCode, TagTable, Value},
};

const TAGS: &str = r#"
[[tag]]
path = "Plant/Level"
type = "Double"
range = [0.0, 100.0]
[[tag.alarm]]
name = "High"
mode = "above"
setpoint = 'tag("Plant/Limit") * 2'
deadband = 1.0
latching = true
message = "Level high"
re_alarm_after = "60s"
suppressed_by = "Plant/Off"
[[tag.alarm]]
name = "Low"
mode = "below"
setpoint = 5.0
[[tag.alarm]]
name = "Sides"
mode = "outside"
low = 1.0
high = 99.0
[[tag.alarm]]
name = "Range"
mode = "out_of_range"
[[tag.alarm]]
name = "Inside"
mode = "between"
low = 40.0
high = 60.0
shelving = false
[[tag.alarm]]
name = "Falling"
mode = "rate_of_change"
setpoint = -3.0
[[tag.alarm]]
name = "Same"
mode = "equal"
setpoint = 3.0
[[tag.alarm]]
name = "Bad"
mode = "bad_quality"
[[tag]]
path = "Plant/Limit"
type = "Double"
[[tag]]
path = "Plant/Off"
type = "Bool"
[[tag.alarm]]
name = "On"
message = "{{ alarm.path }} is on"
[[tag]]
path = "Plant/Word"
type = "UInt16"
[[tag.alarm]]
name = "Bit"
mode = "bit"
bit = 3
"#;

const HIGH: &str = "Plant/Level/Alarms/High";

struct Site {
    plan: Arc<Plan>,
    table: TagTable,
    certificate: Certificate,
    followed: Followed,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ticks(1_000_000_000) + Duration::from_secs(seconds)
}

impl Site {
    fn new() -> Self {
        let files = [File { name: "plant.toml".into(), text: TAGS.into() }];
        let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
        let mut names = Names::default();
        let plan = load(&[], &files, &[], loader, &mut names).unwrap_or_else(|problems| panic!("{problems:?}")).plan;
        let table = TagTable::default();
        let sample = |path: &str, value: f64, status| Sample {
            tag: names.get(path).unwrap(),
            value: Value::Double(value),
            status,
            source_time: at(1),
        };
        table.write(&[
            sample("Plant/Limit", 45.0, StatusCode::GOOD),
            sample("Plant/Level", 7.0, StatusCode::UNCERTAIN_LAST_USABLE_VALUE),
        ]);
        let certificate = Certificate { der: [1, 2].into(), expires: at(9) };
        Self { plan: Arc::new(plan), table, certificate, followed: Followed::default() }
    }

    fn world(&self) -> World<'_> {
        World { plan: &self.plan, table: &self.table, certificate: &self.certificate }
    }

    fn def(&self, alarm: &str) -> &Arc<AlarmDef> {
        self.plan.alarm(alarm).unwrap_or_else(|| panic!("no alarm {alarm}"))
    }

    fn member(&self, alarm: &str, path: &str) -> Option<Field> {
        self.followed.member(self.world(), self.def(alarm), path, at(100))
    }

    /// The members of `alarm` that are not as `wanted`.
    fn check(&self, alarm: &str, wanted: &[(&str, Field)]) {
        for (path, field) in wanted {
            assert_eq!(self.member(alarm, path).as_ref(), Some(field), "{alarm} {path}");
        }
    }

    fn take(&mut self, condition: Condition, missed: bool) -> Vec<String> {
        let world = World { plan: &self.plan, table: &self.table, certificate: &self.certificate };
        self.followed.take(world, Arc::new(condition), missed).iter().map(words).collect()
    }
}

/// The number of a notification, and whether it is active, acknowledged, retained.
fn words(event: &Event) -> String {
    let flag = |path: &str| event.field(path) == Some(&boolean(true));
    let Some(Field::Value(Value::ByteString(id))) = event.field("EventId") else { panic!("no EventId") };
    let letters = [("ActiveState/Id", 'A'), ("AckedState/Id", 'K'), ("Retain", 'R')];
    let letters: String = letters.into_iter().filter(|(path, _)| flag(path)).map(|(_, letter)| letter).collect();
    let branch = if event.field("BranchId") == Some(&Field::Standard(0)) { "" } else { " branch" };
    format!("{} {letters}{branch}", id[23])
}

fn boolean(value: bool) -> Field {
    Field::Value(Value::Boolean(value))
}

fn double(value: f64) -> Field {
    Field::Value(Value::Double(value))
}

fn text(text: &str) -> Field {
    Field::Text(text.into())
}

/// A branch with this event and number, active as long as it is the trunk.
fn branch(event: u128, number: u64, active: bool, acked: bool) -> Branch {
    Branch {
        id: NoticeId { event: Uuid::from_u128(event), number },
        time: at(number),
        active,
        acked,
        retain: active || !acked,
        active_time: at(2),
        acked_time: at(3),
        message: "Level high".into(),
        comment: None,
    }
}

fn active(before: u64, trunk: Branch, branches: Vec<Branch>, ended: Vec<Branch>) -> Condition {
    Condition { trunk, branches: branches.into(), ended: ended.into(), before, ..Condition::normal(HIGH.into(), 300) }
}

#[test]
fn each_mode_has_its_type() {
    let site = Site::new();
    for (alarm, wanted) in [
        (HIGH, 9_482),
        ("Plant/Level/Alarms/Low", 9_482),
        ("Plant/Level/Alarms/Sides", 10_060),
        ("Plant/Level/Alarms/Range", 10_060),
        ("Plant/Level/Alarms/Inside", 10_060),
        ("Plant/Level/Alarms/Falling", 9_623),
        ("Plant/Level/Alarms/Same", 10_523),
        ("Plant/Level/Alarms/Bad", 10_523),
        ("Plant/Off/Alarms/On", 10_637),
        ("Plant/Word/Alarms/Bit", 10_637),
        ("System/Gateway/Alarms/StoreFailed", 11_753),
        ("System/Gateway/Alarms/CertificateExpiring", 13_225),
    ] {
        let def = site.def(alarm);
        assert_eq!(event_type(def, site.plan.tag(def.tag)), wanted, "{alarm}");
        site.check(alarm, &[("EventType", Field::Standard(wanted))]);
    }
}

#[test]
fn an_alarm_that_never_was_active_can_be_read() {
    let site = Site::new();
    let wanted = [
        ("EventId", Field::Value(Value::ByteString([].into()))),
        ("SourceNode", Field::Node("Plant/Level".into())),
        ("SourceName", Field::Value(Value::string("Level"))),
        ("ConditionName", Field::Value(Value::string("High"))),
        ("Message", text("Level high")),
        ("Severity", Field::Value(Value::UInt16(300))),
        ("ActiveState", text("Inactive")),
        ("AckedState/Id", boolean(true)),
        ("Retain", boolean(false)),
        ("EnabledState", text("Enabled")),
        ("BranchId", Field::Standard(0)),
        ("InputNode", Field::Node("Plant/Level".into())),
        ("Quality", Field::Status(StatusCode::UNCERTAIN_LAST_USABLE_VALUE)),
        ("Quality/SourceTimestamp", Field::Value(Value::DateTime(at(1)))),
        // As the tag gives it now.
        ("HighLimit", double(90.0)),
        ("HighDeadband", double(1.0)),
        ("ReAlarmTime", double(60_000.0)),
        ("LimitState/CurrentState/Id", Field::Standard(0)),
        ("ShelvingState/CurrentState", text("Unshelved")),
        ("MaxTimeShelved", double(86_400_000.0)),
    ];
    site.check(HIGH, &wanted);
    site.check("Plant/Level/Alarms/Range", &[("LowLimit", double(0.0)), ("HighLimit", double(100.0))]);
    site.check("Plant/Level/Alarms/Falling", &[("LowLimit", double(-3.0))]);
    // A template says nothing before there is an event.
    site.check("Plant/Off/Alarms/On", &[("Message", text("On")), ("NormalState", Field::Standard(0))]);
    let system = [
        ("ConditionClassId", Field::Standard(11_166)),
        ("SourceNode", Field::Node("System/Gateway".into())),
        ("InputNode", Field::Standard(0)),
        ("Quality", Field::Status(StatusCode::GOOD)),
    ];
    site.check("System/Gateway/Alarms/StoreFailed", &system);
    site.check("System/Gateway/Alarms/CertificateExpiring", &[("ExpirationDate", Field::Value(Value::DateTime(at(9))))]);
    assert_eq!(site.member(HIGH, "ConfirmedState"), None);
}

#[test]
fn every_member_that_is_browsed_can_be_read() {
    let site = Site::new();
    let space = Space::build(Arc::clone(&site.plan), 7);
    for alarm in &site.plan.alarms {
        let mut nodes = vec![space.find(Id::text(NAMESPACE, &alarm.path)).unwrap()];
        let mut seen = BTreeSet::new();
        while let Some(node) = nodes.pop() {
            space.references(node, &mut |_, forward, target| {
                if let (true, NodeRef::Member(index, member)) = (forward, target)
                    && seen.insert((index, member))
                {
                    nodes.push(target);
                }
            });
        }
        assert!(seen.len() > 40, "{} has {} members", alarm.path, seen.len());
        for (index, member) in seen {
            let member = space.member(index, member);
            if member.class() == 2 && !member.is_arguments() {
                assert!(site.member(&alarm.path, &member.path).is_some(), "{} {}", alarm.path, member.path);
            }
        }
    }
}

#[test]
fn states_are_told_in_the_words_of_the_standard() {
    let mut site = Site::new();
    let comment = Comment { text: "pump".into(), user: "erik".into(), at: at(7) };
    let trunk = Branch { comment: Some(comment), ..branch(1, 4, false, false) };
    let mut condition = active(3, trunk, Vec::new(), Vec::new());
    condition.state = ConditionState {
        latched: true,
        limits: Limits { high: true, low: false },
        shelving: Some(Shelving { until: at(160), one_shot: true }),
        suppressed: true,
        out_of_service: true,
        quality: StatusCode::BAD_COMMUNICATION_ERROR,
        last_severity: 700,
        ..condition.state
    };
    assert_eq!(site.take(condition.clone(), false), ["4 R"]);
    let wanted = [
        ("LatchedState", text("Latched")),
        ("LimitState/CurrentState", text("High")),
        ("LimitState/CurrentState/Id", Field::Standard(9_331)),
        ("ShelvingState/CurrentState", text("OneShotShelved")),
        ("ShelvingState/CurrentState/Id", Field::Standard(2_933)),
        // A minute from now.
        ("ShelvingState/UnshelveTime", double(60_000.0)),
        ("SuppressedState", text("Suppressed")),
        ("OutOfServiceState", text("Out of Service")),
        ("SuppressedOrShelved", boolean(true)),
        ("Quality", Field::Status(StatusCode::BAD_COMMUNICATION_ERROR)),
        ("LastSeverity", Field::Value(Value::UInt16(700))),
        ("Comment", text("pump")),
        ("Comment/SourceTimestamp", Field::Value(Value::DateTime(at(7)))),
        ("ClientUserId", Field::Value(Value::string("erik"))),
        ("AckedState", text("Unacknowledged")),
        ("ActiveState/TransitionTime", Field::Value(Value::DateTime(at(2)))),
        ("Retain", boolean(true)),
    ];
    site.check(HIGH, &wanted);
    // Disabled: nothing is told but that.
    condition.state.enabled = false;
    condition.trunk.id.number = 5;
    condition.trunk.retain = false;
    assert_eq!(site.take(condition, false), ["5 "]);
    let hidden =
        ["ActiveState", "AckedState/Id", "Quality", "Comment", "ShelvingState/CurrentState", "HighLimit", "LatchedState"];
    site.check(HIGH, &hidden.map(|path| (path, Field::Bad(StatusCode::BAD_CONDITION_DISABLED))));
    let open =
        [("EnabledState", text("Disabled")), ("Retain", boolean(false)), ("SourceName", Field::Value(Value::string("Level")))];
    site.check(HIGH, &open);
}

#[test]
fn what_is_news_is_told_once_and_in_order() {
    let mut site = Site::new();
    let first = active(0, branch(1, 1, true, false), Vec::new(), Vec::new());
    assert_eq!(site.take(first.clone(), false), ["1 AR"]);
    assert_eq!(site.take(first.clone(), false), [""; 0]);
    let branched = active(2, branch(2, 4, true, false), vec![branch(1, 3, false, false)], Vec::new());
    assert_eq!(site.take(branched.clone(), false), ["3 R branch", "4 AR"]);
    // An older snapshot comes late.
    assert_eq!(site.take(first, true), [""; 0]);
    let retained: Vec<String> = site.followed.retained(site.world()).iter().map(|event| words(event)).collect();
    assert_eq!(retained, ["3 R branch", "4 AR"]);
    let over = Branch { retain: false, ..branch(1, 5, false, true) };
    let ended = active(4, branch(2, 6, false, true), Vec::new(), vec![over]);
    assert_eq!(site.take(ended, false), ["5 K branch", "6 K"]);
    assert!(site.followed.retained(site.world()).is_empty());
    // Two changes were missed: the last one tells of both.
    let last = active(8, branch(3, 9, true, false), vec![branch(2, 8, false, false)], Vec::new());
    assert_eq!(site.take(last.clone(), true), ["8 R branch", "9 AR"]);
    // What was there at a start is no news.
    let mut site = Site::new();
    assert_eq!(site.take(Condition { before: 9, ..last.clone() }, false), [""; 0]);
    // Removed from the configuration: told of as it was, and then unknown.
    site.plan = Arc::new(Plan::default());
    let end = Condition { before: 9, removed: true, ..active(9, branch(3, 10, true, true), Vec::new(), Vec::new()) };
    let end = Condition { trunk: Branch { retain: false, ..end.trunk.clone() }, ..end };
    assert_eq!(site.take(end.clone(), false), ["10 AK"]);
    assert_eq!(site.take(end, false), [""; 0]);
}

#[test]
fn events_carry_every_field_of_their_type() {
    let mut site = Site::new();
    let condition = Arc::new(active(0, branch(1, 1, true, false), Vec::new(), Vec::new()));
    let world = World { plan: &site.plan, table: &site.table, certificate: &site.certificate };
    let events = site.followed.take(world, condition, false);
    let event = &events[0];
    assert_eq!((&*event.source, event.condition.as_deref(), event.event_type), ("Plant/Level", Some(HIGH), 9_482));
    let all = "EventId EventType SourceNode SourceName Time ReceiveTime Message Severity ConditionClassId ConditionClassName \
               ConditionSubClassId ConditionSubClassName ConditionName BranchId Retain EnabledState EnabledState/Id Quality \
               Quality/SourceTimestamp LastSeverity LastSeverity/SourceTimestamp Comment Comment/SourceTimestamp ClientUserId \
               AckedState AckedState/Id ActiveState ActiveState/Id InputNode SuppressedOrShelved SuppressedState/Id \
               OutOfServiceState/Id ShelvingState/CurrentState/Id ShelvingState/UnshelveTime MaxTimeShelved LatchedState/Id \
               HighLimit LimitState/CurrentState LimitState/CurrentState/Id";
    for path in all.split_ascii_whitespace() {
        assert!(event.field(path).is_some(), "{path}");
    }
    for path in ["LowLimit", "HighState", "NormalState", "ConfirmedState"] {
        assert_eq!(event.field(path), None, "{path}");
    }
}

#[test]
fn refreshes_are_slowed_down() {
    let limits = limits::Limits { refreshes: (2, Duration::from_secs(1)), ..limits::Limits::default() };
    let (start, mut refreshes) = (Instant::now(), Refreshes::default());
    let mut allow = |milliseconds| refreshes.allow(&limits, start + Duration::from_millis(milliseconds));
    let found = [0, 500, 600, 999, 1_000, 1_100, 1_500].map(&mut allow);
    assert_eq!(found, [true, true, false, false, true, false, true]);
}
