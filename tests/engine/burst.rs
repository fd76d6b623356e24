//! Ten thousand alarms at once: the time of a step grows with what it does, not with its square.

use std::time::{Duration, Instant};

use annunciator::{
    engine::io::{Command, Input},
    scenario::{Rig, Setup, world::Mood},
    tag::{Sample, StatusCode, Value},
};

const ALARMS: usize = 10_000;

/// For one step. Unoptimised code and a busy machine are many times slower; what is looked for is a factor of a hundred.
const BOUND: Duration = if cfg!(debug_assertions) { Duration::from_secs(20) } else { Duration::from_secs(2) };

#[test]
fn ten_thousand_alarms_in_one_step() {
    let config = "[[pipeline]]\nname = 'p'\nend_on_clear = false\n[[pipeline.step]]\nnotify = { profile = 'sms', roster = 'operators', \
                  wait = '60s', repeat = '5m', times = 2, consolidate = { wait = '10s' } }\n";
    let tag = |number: usize| {
        format!(
            "[[tag]]\npath = 'P/{number}'\ntype = 'Boolean'\nsource = 'plc1'\naddress = '0'\n[[tag.alarm]]\nname = 'On'\npipeline = 'p'\n"
        )
    };
    let tags: String = (0..ALARMS).map(tag).collect();
    let start = "2026-01-05T08:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let mut rig = Rig::new(&Setup::on_example_people(config, &tags), start.into(), 1).unwrap();
    let timed = |rig: &mut Rig, name: &str, act: &mut dyn FnMut(&mut Rig)| {
        let began = Instant::now();
        act(rig);
        let took = began.elapsed();
        println!("{name}: {took:?}");
        took
    };
    timed(&mut rig, "start", &mut Rig::start_program);
    let samples = |rig: &Rig, value: bool| -> Vec<Sample> {
        let ids: Vec<_> = rig.plan.alarms[..ALARMS].iter().map(|def| def.tag).collect();
        let sample = |tag| Sample { tag, value: Value::Boolean(value), status: StatusCode::GOOD, source_time: rig.now };
        ids.into_iter().map(sample).collect()
    };
    let raised = timed(&mut rig, "raised", &mut |rig| rig.input(Input::Samples(samples(rig, true))));
    rig.world.mood = Mood::Down;
    let after = |seconds| move |rig: &mut Rig| rig.run_until(rig.start + Duration::from_secs(seconds));
    timed(&mut rig, "one text for all, Twilio down for ten minutes", &mut after(600));
    rig.world.mood = Mood::Accepts;
    timed(&mut rig, "Twilio takes it", &mut after(700));
    timed(&mut rig, "restart", &mut |rig| {
        rig.stop_program();
        rig.start_program();
    });
    let cleared = timed(&mut rig, "cleared", &mut |rig| rig.input(Input::Samples(samples(rig, false))));
    timed(&mut rig, "a hundred acknowledged", &mut |rig| {
        for number in 0..100 {
            rig.command("bob", Command::Acknowledge { alarm: format!("P/{number}/Alarms/On").into(), note: String::new() });
        }
    });
    assert!(!rig.world.messages.is_empty() && rig.world.messages.len() < 20, "{}", rig.world.messages.len());
    assert!(raised < BOUND && cleared < BOUND, "raised {raised:?}, cleared {cleared:?}");
}
