//! One `check` for the detector: a definition, and lines of time, what comes, and what it says.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    engine::plan::{AckMode, AlarmNodes, Origin, Priority, TagTraits},
    script::Expression,
    tag::{DataType, StatusCode, TagPath, ValueType},
};

const TAG: TagId = TagId(0);
const OTHER: TagId = TagId(1);

/// An alarm on [`TAG`] and nothing else.
pub(in crate::engine) fn alarm_def(mode: Mode) -> AlarmDef {
    AlarmDef {
        path: "Plant/Level/Alarms/High".into(),
        name: "High".into(),
        tag: TAG,
        mode,
        deadband: 0.0,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority: Priority::High,
        message: String::new(),
        pipeline: None,
        clear_pipeline: None,
        ack_pipeline: None,
        ack_mode: AckMode::Manual,
        latching: false,
        shelving: true,
        suppressed_by: None,
        data: BTreeMap::default(),
        write_back: None,
        ack_from: None,
        re_alarm_after: None,
        nodes: AlarmNodes { first: TagId(100) },
    }
}

fn tag_def() -> TagDef {
    TagDef::new(
        TAG,
        TagPath::new("Plant/Level").unwrap(),
        Origin::System,
        TagTraits { range: Some((0.0, 100.0)), ..TagTraits::of(ValueType::scalar(DataType::Double)) },
    )
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_ticks(1_000_000_000) + Duration::from_secs_f64(seconds)
}

fn constant(setpoint: f64) -> Limit {
    Limit { setpoint: Setpoint::Constant(Value::Double(setpoint)), inclusive: false }
}

fn inclusive(setpoint: f64) -> Limit {
    Limit { inclusive: true, ..constant(setpoint) }
}

fn expression(source: &str) -> Arc<Expression> {
    let resolve = |path: &str| Some(if path == "Tag" { TAG } else { OTHER });
    Arc::new(Expression::compile(source, &resolve).unwrap())
}

fn other(source: &str) -> Limit {
    Limit { setpoint: Setpoint::Expression(expression(source)), inclusive: false }
}

/// What comes.
#[derive(Clone, Debug)]
enum In {
    /// A Good value of the tag.
    V(Value),
    /// A quality of the tag.
    Q(StatusCode),
    /// A Good value of the other tag.
    O(Value),
    /// The other tag becomes Bad.
    Blind,
    /// Only time.
    T,
    /// The source is lost.
    Lost,
}
use In::{Blind, Lost, O, Q, T, V};

fn n(value: f64) -> In {
    V(Value::Double(value))
}

struct Bench {
    def: AlarmDef,
    tag: TagDef,
    detector: Detector,
    table: RefCell<HashMap<TagId, Reading>>,
    connected: bool,
}

impl Bench {
    fn new(def: AlarmDef, detector: Detector) -> Self {
        let waiting = Reading { status: StatusCode::BAD_WAITING_FOR_INITIAL_DATA, ..Reading::default() };
        let table = RefCell::new([(TAG, waiting.clone()), (OTHER, waiting)].into());
        Self { def, tag: tag_def(), detector, table, connected: true }
    }

    fn step(&mut self, seconds: f64, input: In) -> Option<Flank> {
        let now = at(seconds);
        let read = |tag: TagId| self.table.borrow()[&tag].clone();
        let set = |tag, value, status| {
            self.table.borrow_mut().insert(tag, Reading { value, status, ..Reading::default() });
        };
        if let Some(flank) = self.detector.tick(&self.def, now) {
            return Some(flank);
        }
        let own = match input {
            V(value) => {
                set(TAG, value, StatusCode::GOOD);
                self.connected = true;
                true
            }
            Q(status) => {
                set(TAG, Value::Null, status);
                true
            }
            O(value) => {
                set(OTHER, value, StatusCode::GOOD);
                false
            }
            Blind => {
                set(OTHER, Value::Null, StatusCode::BAD);
                false
            }
            T => return None,
            Lost => {
                self.detector.source_lost();
                self.connected = false;
                return None;
            }
        };
        let (def, tag, reading) = (&self.def, &self.tag, read(TAG));
        if own {
            self.detector.sample(def, tag, &reading, &read, self.connected, now)
        } else {
            self.detector.limits_changed(def, tag, &reading, &read, self.connected, now)
        }
    }
}

/// Each line: seconds, what comes, and what is said: `+` raise, `-` clear, `~` change, ` ` nothing.
fn check(name: &str, def: AlarmDef, lines: &[(f64, In, char)]) {
    let mut bench = Bench::new(def, Detector::new(false, false));
    for (line, (seconds, input, expected)) in lines.iter().enumerate() {
        let said = match bench.step(*seconds, input.clone()) {
            Some(Flank::Raise { .. }) => '+',
            Some(Flank::Clear) => '-',
            Some(Flank::Change) => '~',
            None => ' ',
        };
        assert_eq!(said, *expected, "{name}, line {line}: {seconds} s {input:?}");
    }
}

fn values(name: &str, def: AlarmDef, rows: &[(f64, char)]) {
    let lines: Vec<_> =
        rows.iter().enumerate().map(|(i, (value, said))| (f64::from(u32::try_from(i).unwrap()), n(*value), *said)).collect();
    check(name, def, &lines);
}

fn with(mode: Mode, deadband: f64) -> AlarmDef {
    AlarmDef { deadband, ..alarm_def(mode) }
}

#[test]
fn limits_and_deadbands() {
    let (above, below) = (|l| Mode::Above(l), |l| Mode::Below(l));
    values("above", with(above(constant(90.0)), 0.0), &[(89.0, ' '), (90.0, ' '), (90.1, '+'), (95.0, ' '), (90.0, '-')]);
    values("above inclusive", with(above(inclusive(90.0)), 0.0), &[(89.9, ' '), (90.0, '+'), (90.0, ' '), (89.9, '-')]);
    values(
        "above deadband",
        with(above(constant(90.0)), 2.0),
        &[(91.0, '+'), (89.0, ' '), (88.1, ' '), (88.0, '-'), (89.0, ' ')],
    );
    values("inclusive deadband", with(above(inclusive(90.0)), 2.0), &[(90.0, '+'), (88.1, ' '), (88.0, '-'), (89.9, ' ')]);
    values("below deadband", with(below(constant(10.0)), 2.0), &[(10.0, ' '), (9.9, '+'), (11.9, ' '), (12.0, '-'), (10.5, ' ')]);
    values("below inclusive", with(below(inclusive(10.0)), 0.0), &[(10.0, '+'), (10.1, '-')]);
    let between = Mode::Between(constant(10.0), constant(20.0));
    values(
        "between",
        with(between, 1.0),
        &[(10.0, ' '), (15.0, '+'), (20.5, ' '), (9.5, ' '), (9.0, '-'), (9.5, ' '), (20.0, ' '), (19.0, '+'), (21.0, '-')],
    );
    let outside = Mode::Outside(constant(10.0), inclusive(20.0));
    values(
        "outside",
        with(outside, 1.0),
        &[(10.0, ' '), (20.0, '+'), (19.5, ' '), (19.0, '-'), (9.0, '+'), (10.5, ' '), (11.0, '-'), (10.5, ' ')],
    );
    let narrow = Mode::Outside(constant(10.0), constant(12.0));
    values("outside, deadband too wide", with(narrow, 50.0), &[(20.0, '+'), (11.5, ' '), (11.0, '-')]);
    values("out of range", with(Mode::OutOfRange, 0.0), &[(0.0, ' '), (100.0, ' '), (100.1, '+'), (50.0, '-'), (-0.1, '+')]);
}

#[test]
fn equality_bits_and_changes() {
    let truth = |on| V(Value::Boolean(on));
    let is = |value| Mode::Equal(Setpoint::Constant(value));
    check(
        "equal true",
        alarm_def(is(Value::Boolean(true))),
        &[(0.0, truth(false), ' '), (1.0, truth(true), '+'), (2.0, truth(true), ' '), (3.0, truth(false), '-')],
    );
    let float = V(Value::Float(0.1));
    check(
        "a Float of 0.1 equals 0.1",
        alarm_def(is(Value::Double(0.1))),
        &[(0.0, float.clone(), '+'), (1.0, V(Value::Float(0.2)), '-')],
    );
    check("and is not above it", alarm_def(Mode::Above(constant(0.1))), &[(0.0, float, ' ')]);
    let big = (1_i64 << 53) + 1;
    check(
        "exact beyond 2^53",
        alarm_def(is(Value::Int64(big))),
        &[(0.0, V(Value::Int64(big - 1)), ' '), (1.0, V(Value::Int64(big)), '+')],
    );
    check(
        "text",
        alarm_def(is(Value::string("fault"))),
        &[(0.0, V(Value::string("ok")), ' '), (1.0, V(Value::string("fault")), '+')],
    );
    values("equal with deadband", with(is(Value::Int32(5)), 1.0), &[(5.5, ' '), (5.0, '+'), (6.0, ' '), (6.1, '-')]);
    let differs = Mode::NotEqual(Setpoint::Constant(Value::Double(5.0)));
    values("not equal", with(differs, 1.0), &[(5.0, ' '), (5.5, '+'), (5.0, '-')]);
    let word = |bits| V(Value::UInt16(bits));
    let bit = Mode::Bit { position: 3, on_zero: false };
    check("bit", alarm_def(bit), &[(0.0, word(0b0111), ' '), (1.0, word(0b1000), '+'), (2.0, word(0), '-')]);
    let sign = Mode::Bit { position: 15, on_zero: true };
    check(
        "bit on zero",
        alarm_def(sign),
        &[(0.0, V(Value::Int16(-1)), ' '), (1.0, V(Value::Int16(1)), '+'), (2.0, V(Value::Int16(i16::MIN)), '-')],
    );
    values("any change", with(Mode::AnyChange, 0.0), &[(1.0, ' '), (1.0, ' '), (2.0, '~'), (2.0, ' '), (1.0, '~')]);
    values("any change sees a slow drift", with(Mode::AnyChange, 1.0), &[(1.0, ' '), (1.6, ' '), (2.1, '~'), (2.5, ' ')]);
    check(
        "any change takes a new reference after a loss",
        alarm_def(Mode::AnyChange),
        &[
            (0.0, n(1.0), ' '),
            (1.0, Lost, ' '),
            (2.0, n(5.0), ' '),
            (3.0, n(6.0), '~'),
            (4.0, Q(StatusCode::BAD), ' '),
            (5.0, n(6.0), ' '),
            (6.0, n(7.0), '~'),
        ],
    );
}

#[test]
fn any_change_of_a_derived_tag_sees_a_loss_by_its_quality() {
    let lost = Q(StatusCode::BAD_NO_COMMUNICATION);
    check("derived", alarm_def(Mode::AnyChange), &[(0.0, n(1.0), ' '), (1.0, lost, ' '), (2.0, n(5.0), ' '), (3.0, n(6.0), '~')]);
}

#[test]
fn delays_start_anew() {
    let secs = Duration::from_secs;
    let def = || AlarmDef { on_delay: secs(5), off_delay: secs(3), ..alarm_def(Mode::Above(constant(90.0))) };
    check(
        "on and off",
        def(),
        &[(0.0, n(91.0), ' '), (4.9, T, ' '), (5.0, T, '+'), (6.0, n(1.0), ' '), (8.9, T, ' '), (9.0, T, '-')],
    );
    check(
        "a contrary sample restarts",
        def(),
        &[(0.0, n(91.0), ' '), (4.0, n(90.0), ' '), (4.5, n(91.0), ' '), (9.4, T, ' '), (9.5, T, '+')],
    );
    check("samples do not prolong", def(), &[(0.0, n(91.0), ' '), (3.0, n(92.0), ' '), (5.0, n(93.0), '+')]);
    check(
        "hold restarts",
        def(),
        &[
            (0.0, n(91.0), ' '),
            (3.0, Q(StatusCode::BAD_TIMEOUT), ' '),
            (6.0, T, ' '),
            (7.0, n(91.0), ' '),
            (11.9, T, ' '),
            (12.0, T, '+'),
        ],
    );
    check("loss restarts", def(), &[(0.0, n(91.0), ' '), (3.0, Lost, ' '), (6.0, T, ' '), (7.0, n(91.0), ' '), (12.0, T, '+')]);
    let banded = AlarmDef { deadband: 2.0, ..def() };
    check(
        "the band does not count as beyond",
        banded,
        &[
            (0.0, n(91.0), ' '),
            (3.0, n(89.0), ' '),
            (5.0, T, ' '),
            (6.0, n(91.0), ' '),
            (11.0, T, '+'),
            (12.0, n(80.0), ' '),
            (13.0, n(89.0), ' '),
            (15.0, T, ' '),
        ],
    );
}

#[test]
fn unusable_quality_holds() {
    let above = || alarm_def(Mode::Above(constant(90.0)));
    let held = Q(StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE);
    check(
        "hold",
        above(),
        &[
            (0.0, n(91.0), '+'),
            (1.0, held, ' '),
            (2.0, Q(StatusCode::BAD), ' '),
            (3.0, n(91.0), ' '),
            (4.0, Q(StatusCode::BAD), ' '),
            (5.0, n(1.0), '-'),
        ],
    );
    check("NaN", above(), &[(0.0, n(91.0), '+'), (1.0, n(f64::NAN), ' '), (2.0, n(1.0), '-')]);
    check("text is no number", above(), &[(0.0, V(Value::string("99")), ' ')]);
    let waiting = Q(StatusCode::BAD_WAITING_FOR_INITIAL_DATA);
    check(
        "bad quality",
        alarm_def(Mode::BadQuality),
        &[
            (0.0, waiting, ' '),
            (1.0, n(1.0), ' '),
            (2.0, Q(StatusCode::BAD_SENSOR_FAILURE), '+'),
            (3.0, Lost, ' '),
            (4.0, Q(StatusCode::UNCERTAIN_LAST_USABLE_VALUE), ' '),
            (5.0, n(1.0), '-'),
            (6.0, Lost, ' '),
            (7.0, Q(StatusCode::BAD_NO_COMMUNICATION), ' '),
        ],
    );
    let mut bench = Bench::new(above(), Detector::new(false, false));
    bench.step(1.0, Q(StatusCode::BAD));
    bench.step(2.0, Q(StatusCode::BAD));
    assert_eq!(bench.detector.unusable_since(), Some(at(1.0)));
    bench.step(3.0, n(1.0));
    assert_eq!(bench.detector.unusable_since(), None);
}

#[test]
fn other_tags_give_limits_and_conditions() {
    let number = |value| O(Value::Double(value));
    let above = alarm_def(Mode::Above(other("tag(\"Other\") * 2")));
    assert_eq!(inputs(&above), [TAG, OTHER]);
    check(
        "setpoint",
        above,
        &[
            (0.0, n(50.0), ' '),
            (1.0, number(20.0), '+'),
            (2.0, number(30.0), '-'),
            (3.0, Blind, ' '),
            (4.0, n(99.0), ' '),
            (5.0, number(30.0), '+'),
        ],
    );
    let delayed = AlarmDef { on_delay: Duration::from_secs(5), ..alarm_def(Mode::Above(other("tag(\"Other\")"))) };
    check(
        "a trembling setpoint does not stop the delay",
        delayed,
        &[(0.0, n(50.0), ' '), (0.0, number(10.0), ' '), (2.0, number(11.0), ' '), (4.0, number(12.0), ' '), (5.0, T, '+')],
    );
    let condition = alarm_def(Mode::Condition(expression("tag(\"Other\") > 5 && tag(\"Other\") < 9")));
    check(
        "condition",
        condition,
        &[
            (0.0, number(6.0), '+'),
            (1.0, Q(StatusCode::BAD), ' '),
            (2.0, number(10.0), '-'),
            (3.0, Blind, ' '),
            (4.0, number(7.0), '+'),
        ],
    );
    check("a condition is a truth", alarm_def(Mode::Condition(expression("tag(\"Other\")"))), &[(0.0, number(1.0), ' ')]);
}

fn rate(setpoint: f64) -> AlarmDef {
    alarm_def(Mode::RateOfChange { setpoint: constant(setpoint), window: Duration::from_secs(4) })
}

#[test]
fn rates_of_change() {
    // A ramp of 2 a second, seen once a second: no rate before the window is filled.
    let ramp: Vec<_> = (0..8).map(|i| (f64::from(i), n(f64::from(i) * 2.0), if i == 4 { '+' } else { ' ' })).collect();
    check("ramp above 1.9", rate(1.9), &ramp);
    let quiet: Vec<_> = ramp.iter().map(|(time, input, _)| (*time, input.clone(), ' ')).collect();
    check("ramp not above 2", rate(2.0), &quiet);
    check("rising is not falling", rate(-1.0), &quiet);
    let falling: Vec<_> = (0..6).map(|i| (f64::from(i), n(f64::from(-2 * i)), if i == 4 { '+' } else { ' ' })).collect();
    check("falling", rate(-1.9), &falling);
    check("either way", rate(1.9), &falling);
    // By exception: silence means that it stood still, then it jumps by 10 in 4 s; the rate is over when the window has passed.
    check("jump", rate(2.0), &[(0.0, n(0.0), ' '), (60.0, n(10.0), '+'), (63.9, T, ' '), (64.0, T, '-'), (65.0, T, ' ')]);
    check(
        "a gap is no rate",
        rate(1.0),
        &[(0.0, n(0.0), ' '), (5.0, Q(StatusCode::BAD), ' '), (6.0, n(99.0), ' '), (8.0, n(99.0), ' '), (12.0, n(99.0), ' ')],
    );
}

#[test]
fn samples_of_a_window_are_bounded() {
    let mut bench = Bench::new(rate(1.0), Detector::new(false, false));
    for i in 0..20_000 {
        let seconds = f64::from(i) / 1000.0;
        let flank = bench.step(seconds, n(seconds * 1.5));
        assert_eq!(flank.is_some(), (seconds - 4.0).abs() < 1e-9, "{seconds}");
    }
    assert!(bench.detector.slope.len() < 140, "{}", bench.detector.slope.len());
    assert!(bench.detector.due(&bench.def).is_some());
    for quarter in 0..40 {
        bench.step(20.0 + f64::from(quarter) / 4.0, T);
    }
    assert_eq!(bench.detector.due(&bench.def), None, "a flat value needs no ticks");
}

#[test]
fn restored_and_first_evaluations() {
    let above = || alarm_def(Mode::Above(constant(90.0)));
    let first = |active, first_start, value| Bench::new(above(), Detector::new(active, first_start)).step(0.0, n(value));
    assert_eq!(first(true, false, 91.0), None, "the same event, silent");
    assert_eq!(first(true, false, 1.0), Some(Flank::Clear));
    assert_eq!(first(false, false, 91.0), Some(Flank::Raise { initial: false }));
    assert_eq!(first(false, true, 91.0), Some(Flank::Raise { initial: true }));
    let delayed = AlarmDef { on_delay: Duration::from_secs(5), ..above() };
    let mut bench = Bench::new(delayed, Detector::new(false, true));
    bench.step(0.0, n(91.0));
    assert_eq!(bench.step(5.0, T), Some(Flank::Raise { initial: true }), "true from the first sample on");
    let mut bench = Bench::new(above(), Detector::new(false, true));
    bench.step(0.0, n(1.0));
    assert_eq!(bench.step(5.0, n(91.0)), Some(Flank::Raise { initial: false }));
}

proptest! {
    #[test]
    fn flanks_keep_to_limits_delays_and_quality(
        steps in prop::collection::vec((1_u32..4000, prop_oneof![3 => (80_i32..100).prop_map(Some), 1 => Just(None)]), 1..80),
        deadband in 0_u8..5, on in 0_u64..6000, off in 0_u64..6000,
    ) {
        let (on, off) = (Duration::from_millis(on), Duration::from_millis(off));
        let def = AlarmDef { deadband: deadband.into(), on_delay: on, off_delay: off, ..alarm_def(Mode::Above(constant(90.0))) };
        let (low, high) = (90.0 - f64::from(deadband), 90.0);
        let mut bench = Bench::new(def, Detector::new(false, false));
        let mut millis = 0_u32;
        // Since when the value has been beyond the limit, or back behind the deadband, without a gap.
        let (mut beyond, mut back): (Option<u32>, Option<u32>) = (None, None);
        for (gap, value) in steps {
            let next = millis + gap;
            // Whatever falls due before the sample is done first, at its own time.
            while let Some(due) = bench.detector.due(&bench.def) {
                let due = u32::try_from(due.since(at(0.0)).as_millis()).unwrap();
                if due > next { break }
                let said = bench.step(f64::from(due) / 1000.0, T);
                let since = if said == Some(Flank::Clear) { back } else { beyond };
                let delay = if said == Some(Flank::Clear) { off } else { on };
                prop_assert!(said.is_some());
                prop_assert_eq!(since.map(|since| u128::from(due - since)), Some(delay.as_millis()));
            }
            millis = next;
            let was = bench.detector.is_active();
            let said = bench.step(f64::from(millis) / 1000.0, value.map_or(Q(StatusCode::BAD), |value| n(value.into())));
            match value.map(f64::from) {
                None => {
                    prop_assert_eq!(said, None);
                    (beyond, back) = (None, None);
                }
                Some(value) => {
                    beyond = if value > high { beyond.or(Some(millis)) } else { None };
                    back = if value <= low { back.or(Some(millis)) } else { None };
                    match said {
                        Some(Flank::Raise { .. }) => prop_assert!(!was && value > high && on.is_zero()),
                        Some(Flank::Clear) => prop_assert!(was && value <= low && off.is_zero()),
                        Some(Flank::Change) => prop_assert!(false),
                        None => {
                            prop_assert!(was || value <= high || !on.is_zero());
                            prop_assert!(!was || value > low || !off.is_zero());
                        }
                    }
                }
            }
        }
    }
}
