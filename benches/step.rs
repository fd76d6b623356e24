//! What one step of the whole engine costs: a sample that changes nothing, and an alarm's way from raised to acknowledged.
//! `cargo bench --bench step`

use std::{fmt::Write as _, sync::Arc, time::Duration};

use annunciator::{
    config::{File, Loader, load},
    engine::{
        Engine,
        io::{Accepted, Actor, Command, DeliveryState, Effect, Input, RequestId, Via},
        plan::{Plan, Role},
    },
    tag::{Names, Sample, StatusCode, TagId, Timestamp, Value},
};
use divan::{Bencher, black_box, counter::ItemsCount};

const TAGS: usize = 10_000;

fn main() {
    divan::main();
}

const CONFIG: &str = r#"
[throttle]
budget = { enabled = false }
flood = { enabled = false }
[[twilio]]
name = "main"
account_sid = "AC00000000000000000000000000000001"
auth_token = "secret"
from = "+15550001111"
sms_per_second = 1000
[[profile]]
name = "sms"
kind = "sms"
twilio = "main"
message = "{{ alarm.priority | upper }} {{ alarm.path }}: {{ alarm.message }}"
cooldown = "0s"
[[user]]
name = "alice"
phone = "+12223334444"
pin = "4711"
roles = ["operator"]
[[roster]]
name = "operators"
users = ["alice"]
[[pipeline]]
name = "at-once"
[[pipeline.step]]
notify = { profile = "sms", roster = "operators", wait = "1s" }
[[pipeline]]
name = "gathered"
[[pipeline.step]]
notify = { profile = "sms", roster = "operators", wait = "1s", consolidate = { wait = "1s", every = "10s" } }
"#;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_ticks(130_000_000_000_000_000) + Duration::from_millis(millis)
}

/// An engine with [`TAGS`] Boolean tags, each with an alarm; and the ids of the tags.
fn engine(pipeline: Option<&str>) -> (Engine, Vec<TagId>) {
    let mut tags = String::new();
    // Without a pipeline nobody acknowledges either: events would pile up.
    let rest = pipeline.map_or("ack_mode = \"auto\"\n".to_owned(), |name| format!("pipeline = \"{name}\"\n"));
    for number in 0..TAGS {
        write!(
            tags,
            "[[tag]]\npath = \"Plant/Area{}/Bit{number}\"\ntype = \"Boolean\"\n[[tag.alarm]]\nname = \"On\"\nmode = \"equal\"\n\
             setpoint = true\nmessage = \"Bit is on\"\n{rest}",
            number / 1000
        )
        .expect("a String takes all text");
    }
    let file = |name: &str, text: String| [File { name: name.to_owned(), text }];
    let loader = Loader { env: &|_| None, read_file: &|_| Err("no file".to_owned()) };
    let loaded = load(&file("config", CONFIG.to_owned()), &file("tags", tags), &[], loader, &mut Names::default());
    let plan: Plan = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).plan;
    let ids = plan.tags.iter().take(TAGS).map(|tag| tag.id).collect();
    let (engine, problems) = Engine::restore(Arc::new(plan), Vec::new(), 1, at(0), &mut Vec::new());
    assert_eq!(problems, [] as [String; 0]);
    (engine, ids)
}

fn samples(tags: &[TagId], value: bool, now: Timestamp) -> Input {
    let sample = |tag: &TagId| Sample { tag: *tag, value: Value::Boolean(value), status: StatusCode::GOOD, source_time: now };
    Input::Samples(tags.iter().map(sample).collect())
}

/// Everything as before, as most polls find it.
#[divan::bench(args = [1, 100, TAGS])]
fn samples_without_a_change(bencher: Bencher, batch: usize) {
    let (mut engine, tags) = engine(None);
    let mut effects = Vec::new();
    engine.handle(at(1), samples(&tags, false, at(1)), &mut effects);
    let mut millis = 1;
    bencher.counter(ItemsCount::new(batch)).with_inputs(|| samples(&tags[..batch], false, at(0))).bench_local_values(|input| {
        millis += 1;
        effects.clear();
        engine.handle(at(millis), black_box(input), &mut effects);
    });
}

/// A raise and a clear with their records and what is published; nobody is told.
#[divan::bench(args = [1, 100])]
fn raise_and_clear(bencher: Bencher, batch: usize) {
    let (mut engine, tags) = engine(None);
    let mut effects = Vec::new();
    let mut millis = 1;
    bencher.counter(ItemsCount::new(2 * batch)).bench_local(|| {
        for value in [true, false] {
            millis += 1;
            effects.clear();
            engine.handle(at(millis), samples(&tags[..batch], value, at(millis)), &mut effects);
        }
    });
}

/// Raised, told, accepted by Twilio, acknowledged, cleared: five steps.
#[divan::bench]
fn raise_tell_acknowledge_clear(bencher: Bencher) {
    let (mut engine, tags) = engine(Some("at-once"));
    let by = Actor { name: "alice".to_owned(), role: Role::Operator, via: Via::System };
    let path = Arc::clone(&engine.plan().alarms[0].path);
    let mut hours = 0;
    bencher.bench_local(|| {
        // So that codes are free again and old runs are gone.
        hours += 2;
        let now = at(hours * 3_600_000);
        let mut effects = Vec::new();
        engine.handle(now, samples(&tags[..1], true, now), &mut effects);
        let row = effects.iter().find_map(|effect| match effect {
            Effect::Send(message) => Some(message.row),
            _ => None,
        });
        let row = row.expect("a text is sent");
        let accepted = Accepted { sid: format!("SM{hours}"), segments: 1, status: DeliveryState::Delivered };
        engine.handle(now, Input::SendResult { row, result: Ok(accepted) }, &mut effects);
        let command = Command::Acknowledge { alarm: Arc::clone(&path), note: String::new() };
        engine.handle(now, Input::Command { request: RequestId::NOBODY, by: by.clone(), command }, &mut effects);
        engine.handle(now, samples(&tags[..1], false, now), &mut effects);
        effects
    });
}

/// Ten thousand bits at once, to be told of in one text; then the text, and all of them off again.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn burst(bencher: Bencher) {
    bencher.counter(ItemsCount::new(TAGS)).with_inputs(|| engine(Some("gathered"))).bench_local_values(|(mut engine, tags)| {
        let mut effects = Vec::new();
        engine.handle(at(1), samples(&tags, true, at(1)), &mut effects);
        engine.handle(at(2000), Input::Tick, &mut effects);
        engine.handle(at(3000), samples(&tags, false, at(3000)), &mut effects);
        (engine, effects)
    });
}
