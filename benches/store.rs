//! Commits a second, one after the other, on SQLite and on PostgreSQL in the same run: with few records, as an alarm has, and with
//! many, as a flood has. `cargo bench --bench store` makes a PostgreSQL of its own, on the same disk (`fsync` on), when there is one.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use annunciator::{
    engine::{
        plan::Priority,
        record::{JournalEntry, JournalKind, Record, StateKind, Stored},
    },
    store::{Member, Standing, Store},
    tag::Timestamp,
};
use uuid::Uuid;

#[path = "../tests/it/support/port.rs"]
mod port;
#[path = "../tests/it/support/postgres.rs"]
mod postgres;

/// How long each case is measured.
const SPAN: Duration = Duration::from_secs(3);
const SIZES: [usize; 2] = [6, 1_000];

fn records(count: usize, number: usize) -> Vec<Record> {
    let journal = JournalEntry {
        time: Timestamp::from_ticks(i64::try_from(number).unwrap_or_default()),
        alarm: "Plant/Line1/Tank/Alarms/High".into(),
        event: Some(Uuid::from_u128(number as u128)),
        kind: JournalKind::Raised,
        priority: Priority::default(),
        value: "97.3".to_owned(),
        user: String::new(),
        via: None,
        text: "the tank is nearly full".to_owned(),
        data: BTreeMap::new(),
    };
    let state = |n: usize| Record::State {
        kind: StateKind::Alarm,
        key: format!("Plant/Line1/Tank{n}/Alarms/High"),
        value: Some(Stored::of(&"x".repeat(400))),
    };
    (0..count).map(|n| if n % 2 == 0 { state(n) } else { Record::Journal(journal.clone()) }).collect()
}

async fn measure(store: &Store, size: usize) -> f64 {
    let (began, mut commits) = (Instant::now(), 0);
    while began.elapsed() < SPAN {
        store.commit(&records(size, commits)).await.expect("it commits");
        commits += 1;
    }
    f64::from(u32::try_from(commits).unwrap_or(u32::MAX)) / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Store::open("sqlite:bench.db", folder.path()).await.expect("SQLite");
    let mut stores = vec![("SQLite", sqlite)];
    if let Some(url) = postgres::database() {
        let store = Store::open(&url, Path::new("")).await.expect("PostgreSQL");
        let me = Member {
            id: Uuid::from_u128(1),
            uri: "urn:bench".to_owned(),
            endpoint: String::new(),
            version: String::new(),
            ready: true,
        };
        let pair = store.beat(&me, Duration::from_secs(60)).await.expect("a lease");
        assert_eq!(pair.standing, Standing::Active);
        stores.push(("PostgreSQL", store));
    }
    for size in SIZES {
        let mut first = None;
        for (name, store) in &stores {
            let rate = measure(store, size).await;
            let base = *first.get_or_insert(rate);
            println!("{size} records a commit, {name}: {rate:.0} commits a second, {:.2} of the first", rate / base);
        }
    }
}
