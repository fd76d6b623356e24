//! SIGKILL at random points of a busy run: alarms trip, Twilio is slow and loses connections, people answer. Whatever the moment,
//! nothing is lost, and nothing is sent twice that Twilio's list can show.
//!
//! `ANNUNCIATOR_KILLS` is how often (20), `ANNUNCIATOR_SEED` repeats the choices of one run, though not the moments.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annunciator::{config::StoreSettings, store::Store};

use crate::support::{
    BOUND,
    busy::{PIPELINE, SETTLE, Seen, check, faults, live, tags},
    program::{Daemon, Plant, until},
};

const KILLS: usize = 20;
/// Kills the daemon so often, each time starting it again, and returns the last one.
async fn kill(plant: &Plant, kills: usize, mut random: fastrand::Rng) -> Daemon {
    let mut daemon = plant.start().await;
    for _ in 0..kills {
        let pause = if random.u8(0..4) == 0 {
            random.u64(0..250)
        } else {
            daemon.ready().await;
            random.u64(50..2000)
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        daemon.child.kill();
        assert_eq!(daemon.child.exit_code(BOUND), None, "it ended before it was killed: {}", daemon.log());
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
        daemon = plant.spawn();
    }
    daemon.ready().await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_it_is_killed() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("ANNUNCIATOR_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number("ANNUNCIATOR_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ANNUNCIATOR_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let plant = Plant::new(&tags(), PIPELINE).await;
    let (api, stop, seen) = (plant.api(), AtomicBool::new(false), Mutex::new(Seen::default()));
    let busy = async {
        let daemon = kill(&plant, kills, random.fork()).await;
        stop.store(true, Ordering::Relaxed);
        println!("last kill after {:.0} s", began.elapsed().as_secs_f64());
        daemon
    };
    let (people, twilio) = (fastrand::Rng::with_seed(seed ^ 1), fastrand::Rng::with_seed(seed ^ 2));
    let (daemon, (), ()) = tokio::join!(busy, live(&plant, &api, &stop, &seen, people), faults(&plant, &stop, twilio));
    until("empty outbox", SETTLE, async || (daemon.tag("System/Gateway/Twilio/OutboxDepth").await == 0).then_some(())).await;
    println!("quiet after {:.0} s", began.elapsed().as_secs_f64());
    let mut seen = seen.into_inner().unwrap();
    let store = Store::open_read_only(&StoreSettings::default(), &plant.folder.path().join("data")).await.unwrap();
    let report = plant.run(&["report", "--users", "--output", "json"]).await.json();
    check(&plant, &daemon, store, &report, &mut seen).await;
    println!(
        "{kills} kills in {:.0} s: {} trips, {} texts accepted, {} replies taken, {} repeated, 0 doubles",
        began.elapsed().as_secs_f64(),
        seen.trips.iter().sum::<usize>(),
        seen.texts,
        seen.taken.len(),
        seen.repeats
    );
    daemon.stop();
}
