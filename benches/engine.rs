//! What one sample, one alarm transition and one expression cost. `cargo bench --bench engine`

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use annunciator::{
    engine::{
        alarm::{AckScope, Alarm, Captured},
        detect::{Detector, Flank},
        io::Via,
        plan::{AckMode, AlarmDef, AlarmNodes, Limit, Mode, Origin, Plan, Priority, Setpoint, TagDef, TagTraits},
        random::Random,
    },
    script::Expression,
    tag::{DataType, Reading, TagId, TagPath, Timestamp, Value, ValueType},
};
use divan::{Bencher, black_box};

const TAG: TagId = TagId(0);

fn main() {
    divan::main();
}

fn alarm_def(mode: Mode) -> AlarmDef {
    AlarmDef {
        path: "Plant/Line1/Level/Alarms/High".into(),
        name: "High".into(),
        tag: TAG,
        mode,
        deadband: 2.0,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority: Priority::High,
        message: "Level high".to_owned(),
        pipeline: None,
        clear_pipeline: None,
        ack_pipeline: None,
        ack_mode: AckMode::Manual,
        latching: false,
        shelving: true,
        suppressed_by: None,
        data: BTreeMap::new(),
        write_back: None,
        ack_from: None,
        re_alarm_after: None,
        nodes: AlarmNodes { first: TagId(100) },
    }
}

fn tag_def() -> TagDef {
    TagDef::new(
        TAG,
        TagPath::new("Plant/Line1/Level").expect("a path"),
        Origin::System,
        TagTraits::of(ValueType::scalar(DataType::Double)),
    )
}

fn expression(source: &str) -> Arc<Expression> {
    let resolve = |path: &str| Some(TagId(u32::try_from(path.len()).expect("a short path")));
    Arc::new(Expression::compile(source, &resolve).expect("an expression"))
}

fn reading(value: f64) -> Reading {
    Reading { value: Value::Double(value), ..Reading::default() }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_ticks(1_000_000_000) + Duration::from_millis(millis)
}

fn limit(setpoint: Setpoint) -> Limit {
    Limit { setpoint, inclusive: false }
}

/// Samples that stay below, in the deadband and above: a flank every fourth sample.
fn detect(bencher: Bencher, mode: Mode) {
    let (def, tag) = (alarm_def(mode), tag_def());
    let mut detector = Detector::new(false, false);
    let readings = [50.0, 89.0, 91.0, 89.0].map(reading);
    let mut count = 0_u64;
    bencher.bench_local(|| {
        count += 1;
        let reading = &readings[usize::try_from(count % 4).unwrap_or_default()];
        detector.sample(black_box(&def), &tag, reading, &|_| self::reading(90.0), true, at(count))
    });
}

#[divan::bench]
fn detect_above_constant(bencher: Bencher) {
    detect(bencher, Mode::Above(limit(Setpoint::Constant(Value::Double(90.0)))));
}

#[divan::bench]
fn detect_above_other_tag(bencher: Bencher) {
    detect(bencher, Mode::Above(limit(Setpoint::Expression(expression("tag(\"x\")")))));
}

#[divan::bench]
fn detect_condition(bencher: Bencher) {
    detect(bencher, Mode::Condition(expression("tag(\"x\") > 5 && tag(\"yy\") < 100.0")));
}

#[divan::bench]
fn detect_rate_of_change(bencher: Bencher) {
    let setpoint = limit(Setpoint::Constant(Value::Double(1000.0)));
    detect(bencher, Mode::RateOfChange { setpoint, window: Duration::from_secs(1) });
}

/// Raised, acknowledged, cleared: the figure is for the three together.
#[divan::bench]
fn alarm_raise_acknowledge_clear(bencher: Bencher) {
    let (plan, def) = (Plan::default(), alarm_def(Mode::System));
    let (mut alarm, mut rng) = (Alarm::default(), Random::new(1));
    let mut millis = 0;
    bencher.bench_local(|| {
        millis += 60_000;
        let captured = Captured { value: Value::Double(91.0), message: def.message.clone(), data: BTreeMap::new() };
        let raised = alarm.flank(&plan, &def, Flank::Raise { initial: false }, captured, at(millis), &mut rng);
        let acknowledged = alarm.acknowledge(&def, AckScope::All, "alice", Via::Text, at(millis + 1));
        let cleared = alarm.flank(&plan, &def, Flank::Clear, Captured::default(), at(millis + 2), &mut rng);
        (raised, acknowledged, cleared)
    });
}

/// The alarm's durable row.
#[divan::bench]
fn alarm_to_json(bencher: Bencher) {
    let (plan, def) = (Plan::default(), alarm_def(Mode::System));
    let (mut alarm, mut rng) = (Alarm::default(), Random::new(1));
    alarm.flank(&plan, &def, Flank::Raise { initial: false }, Captured::default(), at(1), &mut rng);
    bencher.bench_local(|| serde_json::to_value(black_box(&alarm)));
}

#[divan::bench(args = ["tag(\"x\") * 3.6", "tag(\"x\") > 5 && !(tag(\"yy\") > 91)", "if tag(\"x\") > 5 { max(tag(\"yy\"), 3) } else { 0 }"])]
fn evaluate(bencher: Bencher, source: &str) {
    let expression = expression(source);
    bencher.bench_local(|| black_box(&expression).evaluate(&|_| reading(90.0)));
}

#[divan::bench]
fn compile() -> Arc<Expression> {
    expression(black_box("tag(\"x\") > 5 && !(tag(\"yy\") > 91)"))
}
