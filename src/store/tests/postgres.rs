//! What only PostgreSQL does: lost answers, servers that go and come, and instances that share one database.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::engine::plan::Secret;

#[path = "../../../tests/it/support/postgres.rs"]
mod cluster;
#[path = "../../../tests/it/support/port.rs"]
mod port;

use cluster::{Cluster, database};

const LEASE: Duration = Duration::from_millis(800);

fn member(name: &str) -> Member {
    Member {
        id: Uuid::from_u128(fastrand::u128(..)),
        uri: format!("urn:{name}"),
        endpoint: format!("opc.tcp://{name}:4840"),
        version: "0.1.0".into(),
        ready: true,
    }
}

async fn connect(url: &str) -> Store {
    Store::open(url, Path::new("/nowhere")).await.expect("opens")
}

/// A store that is the active one.
async fn active(url: &str, me: &Member) -> Store {
    let store = connect(url).await;
    assert_eq!(store.beat(me, LEASE).await.unwrap().standing, Standing::Active);
    store
}

fn note(number: i64) -> Record {
    Record::Audit(audit(number, "alice"))
}

async fn seconds(store: &Store) -> Vec<i64> {
    let rows = store.audit(&AuditQuery::default()).await.unwrap();
    rows.iter().rev().map(|row| (row.entry.time.ticks() - at(0).ticks()) / 10_000_000).collect()
}

/// Tries until it works; the daemon does the same.
async fn insist(store: &Store, records: &[Record]) {
    let began = Instant::now();
    while let Err(error) = store.commit(records).await {
        assert!(began.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(url) = database() else { return };
    let me = member("a");
    let store = active(&url, &me).await;
    contract(store, async |store: Store| {
        store.close().await;
        active(&url, &me).await
    })
    .await;
}

#[tokio::test]
async fn two_that_start_at_once_make_the_schema_once() {
    let Some(url) = database() else { return };
    let (one, other) = tokio::join!(connect(&url), connect(&url));
    assert_eq!(one.load().await.unwrap(), []);
    assert_eq!(other.snapshot().await.unwrap(), (0, vec![]));
}

#[tokio::test]
async fn a_reader_writes_nothing_and_nul_is_no_obstacle() {
    let Some(url) = database() else { return };
    let me = member("a");
    let store = active(&url, &me).await;
    store.commit(&[Record::Audit(audit(1, "al\0ice"))]).await.unwrap();
    let reader = Store::open_read_only(&StoreSettings { url, password: None }, Path::new("/nowhere")).await.unwrap();
    let rows = reader.audit(&AuditQuery::default()).await.unwrap();
    assert_eq!(rows[0].entry.user, "al\u{FFFD}ice");
    let error = reader.commit(&[note(2)]).await.unwrap_err();
    assert_eq!(error.message, "the store was opened for reading only");
    assert!(reader.hand_in("{}").await.unwrap_err().message.contains("read-only transaction"));
}

/// What becomes of the next COMMIT.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The connection ends instead of the answer.
    Cut,
    /// The server hears it, and nothing passes any more, without an end.
    Silent,
    /// The same, but the server does not hear it.
    Unheard,
}

/// Passes everything on, until a fault is to happen to the next COMMIT.
struct Proxy {
    url: String,
    next: Arc<Mutex<Option<Fault>>>,
    /// Faults after which the server has answered.
    answered: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (before, after) = url.split_once('@').unwrap();
        let (target, rest) = after.split_once('/').unwrap();
        let url = format!("{before}@{}/{rest}", listener.local_addr().unwrap());
        let (target, next, answered) = (target.to_owned(), Arc::default(), Arc::default());
        let proxy = Self { url, next: Arc::clone(&next), answered: Arc::clone(&answered) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(Self::pass(client, server, Arc::clone(&next), Arc::clone(&answered)));
            }
        });
        proxy
    }

    fn fail(&self, fault: Fault) {
        *self.next.lock().unwrap() = Some(fault);
    }

    async fn pass(mut client: TcpStream, mut server: TcpStream, next: Arc<Mutex<Option<Fault>>>, answered: Arc<AtomicUsize>) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut fault = None;
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let read = read.unwrap_or(0);
                    if up[..read].windows(6).any(|bytes| bytes == b"COMMIT") {
                        fault = fault.or_else(|| next.lock().unwrap().take());
                    }
                    let heard = fault != Some(Fault::Unheard);
                    if read == 0 || heard && server.write_all(&up[..read]).await.is_err() {
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let read = read.unwrap_or(0);
                    // (One that has not heard it says after a second that it ends the session.)
                    let counts = read > 0 && matches!(fault, Some(Fault::Cut | Fault::Silent));
                    // The server has committed, or it would not answer.
                    answered.fetch_add(usize::from(counts), Ordering::SeqCst);
                    match fault {
                        None if read == 0 || client.write_all(&down[..read]).await.is_err() => return,
                        None => {}
                        Some(Fault::Cut) => return,
                        Some(Fault::Silent | Fault::Unheard) => {
                            // Until the client gives up.
                            while client.read(&mut up).await.is_ok_and(|read| read > 0) {}
                            return;
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let Some(url) = database() else { return };
    let proxy = Proxy::start(&url).await;
    let store = active(&proxy.url, &member("a")).await;
    store.commit(&[note(0)]).await.unwrap();
    proxy.fail(Fault::Cut);
    let error = store.commit(&[note(1), note(2), note(3), note(4)]).await.unwrap_err();
    assert!(!error.fenced && !error.full, "{error}");
    // The daemon has given up note 2 meanwhile, and there are newer ones, one of which it gives up too.
    store.commit(&[note(1), note(3), note(4), note(5), note(6)]).await.unwrap();
    store.commit(&[note(7)]).await.unwrap();
    assert_eq!(seconds(&store).await, [0, 1, 2, 3, 4, 5, 6, 7]);

    // Twice in a row: what is known to be there is left out while the rest is in doubt itself.
    proxy.fail(Fault::Cut);
    store.commit(&[note(8)]).await.unwrap_err();
    proxy.fail(Fault::Cut);
    store.commit(&[note(8), note(9)]).await.unwrap_err();
    store.commit(&[note(8), note(9), note(10)]).await.unwrap();
    assert_eq!(seconds(&store).await, (0..=10).collect::<Vec<_>>());
    assert_eq!(proxy.answered.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_line_that_falls_silent_at_a_commit_is_an_error_in_time_and_its_records_come_once() {
    let Some(url) = database() else { return };
    let proxy = Proxy::start(&url).await;
    let store = active(&proxy.url, &member("a")).await;
    store.commit(&[note(0)]).await.unwrap();
    let mut longest = Duration::ZERO;
    for (number, fault) in (1..).zip([Fault::Silent, Fault::Unheard, Fault::Silent, Fault::Unheard]) {
        proxy.fail(fault);
        let began = Instant::now();
        let error = store.commit(&[note(2 * number - 1)]).await.unwrap_err();
        longest = longest.max(began.elapsed());
        assert_eq!(error, StoreError::other(super::super::postgres::NO_ANSWER));
        // Whether it is there, the next one finds out.
        let there = seconds(&connect(&url).await).await.contains(&(2 * number - 1));
        assert_eq!(there, fault == Fault::Silent);
        store.commit(&[note(2 * number - 1), note(2 * number)]).await.unwrap();
        assert_eq!(seconds(&store).await, (0..=2 * number).collect::<Vec<_>>());
    }
    assert_eq!(proxy.answered.load(Ordering::SeqCst), 2);
    println!("a commit on a line that fell silent ended after {longest:?} at most");
    assert!(longest < Duration::from_secs(6), "{longest:?}");
}

#[tokio::test]
async fn a_caller_that_gives_up_is_told_of_no_commit_twice() {
    let Some(url) = database() else { return };
    let store = active(&url, &member("a")).await;
    let mut done = Vec::new();
    for round in 0..40_u32 {
        let records: Vec<_> = (0..80).map(|n| note(i64::from(round) * 80 + n)).collect();
        let patience = Duration::from_micros(u64::from(round) * 150);
        if tokio::time::timeout(patience, store.commit(&records)).await.is_err() {
            insist(&store, &records).await;
        }
        done.extend(i64::from(round) * 80..i64::from(round + 1) * 80);
    }
    assert_eq!(seconds(&store).await, done);
}

#[tokio::test]
async fn a_server_that_stops_or_crashes_loses_nothing_that_was_committed() {
    let Some(mut cluster) = Cluster::start() else { return };
    let me = member("a");
    let store = active(&cluster.database(), &me).await;
    let mut kept = Vec::new();
    for crash in [false, true] {
        let first = i64::from(crash) * 10;
        store.commit(&[note(first)]).await.unwrap();
        if crash {
            cluster.kill();
        } else {
            cluster.stop();
        }
        let began = Instant::now();
        let error = store.commit(&[note(first + 1)]).await.unwrap_err();
        assert!(!error.fenced, "{error}");
        store.beat(&me, LEASE).await.unwrap_err();
        store.counts().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        cluster.start_again();
        insist(&store, &[note(first + 1), note(first + 2)]).await;
        kept.extend([first, first + 1, first + 2]);
        assert_eq!(seconds(&store).await, kept);
        assert_eq!(store.beat(&me, LEASE).await.unwrap().standing, Standing::Active, "nobody has taken the lease");
    }
}

#[tokio::test]
async fn passwords_and_certificates_are_checked() {
    const PASSWORD: &str = "the-right-one";
    let Some(cluster) = Cluster::start() else { return };
    let open = async |url: &str, password: Option<&str>| {
        let settings = StoreSettings { url: url.to_owned(), password: password.map(Secret::new) };
        assert!(!format!("{settings:?}").contains(password.unwrap_or(PASSWORD)));
        Store::open_configured(&settings, Path::new("/nowhere")).await
    };
    let open_url = cluster.database().replace("disable", "require");
    let error = open(&open_url, None).await.err().unwrap();
    assert!(error.contains("set `ssl = on` there"), "{error}");

    let [root, stranger] = cluster.guard(PASSWORD).map(|file| file.display().to_string());
    let (port, name) = (cluster.port(), cluster.database_of("guest"));
    let url = |host: &str, options: &str| format!("postgres://guest@{host}:{port}/{name}?{options}");
    let (trusted, foreign) = (format!("verify-full&sslrootcert={root}"), format!("verify-full&sslrootcert={stranger}"));
    let missing = format!("verify-full&sslrootcert={root}.missing");

    let password = "check the role's name and the `password` of [store]";
    let encrypted = "pg_hba.conf of the server has no rule";
    let certificate = "`sslrootcert` names the certificate of the CA";
    let refused = [
        ("localhost", &*trusted, Some("a-wrong-one"), password, "password authentication failed for user \"guest\""),
        ("localhost", &*trusted, None, password, "password authentication failed for user \"guest\""),
        ("localhost", "disable", Some(PASSWORD), encrypted, "no encryption"),
        ("localhost", &*foreign, Some(PASSWORD), certificate, "UnknownIssuer"),
        ("localhost", "verify-full", Some(PASSWORD), certificate, "UnknownIssuer"),
        ("localhost", "verify-ca", Some(PASSWORD), certificate, "UnknownIssuer"),
        ("127.0.0.1", &*trusted, Some(PASSWORD), certificate, "not valid for name \"127.0.0.1\""),
        ("localhost", &*missing, Some(PASSWORD), "a file that the URL names", "No such file"),
        ("localhost", "verify_full", Some(PASSWORD), "sslmode", "verify_full"),
    ];
    for (host, options, password, advice, cause) in refused {
        let url = url(host, &format!("sslmode={options}"));
        let error = open(&url, password).await.err().unwrap_or_else(|| panic!("{options} lets in"));
        for part in [&url, advice, cause] {
            assert!(error.contains(part), "{part:?} stands in: {error}");
        }
        assert!(!error.contains(password.unwrap_or(PASSWORD)), "{error}");
    }

    // Without a check of the name, of the certificate, and without a word about TLS: the server demands it.
    let ca_only = trusted.replace("full", "ca");
    let welcome = [("localhost", &*trusted), ("127.0.0.1", &ca_only), ("127.0.0.1", "require"), ("127.0.0.1", "prefer")];
    for (number, (host, options)) in (1..).zip(welcome) {
        let store = open(&url(host, &format!("sslmode={options}")), Some(PASSWORD)).await.unwrap();
        let me = member("a");
        assert_eq!(store.beat(&me, LEASE).await.unwrap().standing, Standing::Active);
        store.commit(&[note(number)]).await.unwrap();
        assert_eq!(seconds(&store).await, (1..=number).collect::<Vec<_>>());
        let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'annunciator' AND usename = 'guest'";
        let row = store.reader.fetch_one(Statement::new(sql)).await.unwrap();
        let (all, encrypted): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        assert!(all >= 3 && all == encrypted, "{encrypted} of {all} connections are encrypted");
        store.give_up(&me).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_an_error_in_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://annunciator@{}/annunciator", listener.local_addr().unwrap());
    let began = Instant::now();
    let error = Store::open(&url, Path::new("/nowhere")).await.err().unwrap();
    assert!(error.contains("the database does not answer"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// What a daemon does on tasks of its own.
#[tokio::test]
async fn beats_and_commits_may_go_to_any_thread() {
    let Some(url) = database() else { return };
    let store = Arc::new(connect(&url).await);
    let beating = Arc::clone(&store);
    tokio::spawn(async move { beating.beat(&member("a"), LEASE).await }).await.unwrap().unwrap();
    tokio::spawn(async move { store.commit(&[note(1)]).await }).await.unwrap().unwrap();
}

#[tokio::test]
async fn of_two_instances_one_is_active_and_the_other_takes_over() {
    let Some(url) = database() else { return };
    let (a, b) = (member("a"), member("b"));
    let first = active(&url, &a).await;
    let second = connect(&url).await;
    first.commit(&[note(1)]).await.unwrap();
    let pair = second.beat(&b, LEASE).await.unwrap();
    assert_eq!(pair.standing, Standing::Standby { active: Some(a.clone()) });
    assert_eq!((pair.members, pair.number), (vec![a.clone(), b.clone()], 1));
    assert!(second.commit(&[note(2)]).await.unwrap_err().fenced);

    // The first one is silent from here on.
    let silent = Instant::now();
    while second.beat(&b, LEASE).await.unwrap().standing != Standing::Active {
        assert!(silent.elapsed() < LEASE + Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(second.snapshot().await.unwrap().0, 1);
    second.commit(&[note(2)]).await.unwrap();
    let error = first.commit(&[note(3)]).await.unwrap_err();
    assert!(error.fenced, "{error}");
    assert!(first.keep_history(&[past("Plant/A", 1, 1, Value::Int32(1))]).await.unwrap_err().fenced);
    assert_eq!(first.beat(&a, LEASE).await.unwrap().standing, Standing::Standby { active: Some(b.clone()) });
    assert!(first.commit(&[note(3)]).await.unwrap_err().fenced);
    assert_eq!(seconds(&first).await, [1, 2]);

    // Given up, it is free at once.
    second.give_up(&b).await.unwrap();
    assert!(second.commit(&[note(3)]).await.unwrap_err().fenced);
    assert_eq!(first.beat(&a, LEASE).await.unwrap().standing, Standing::Active);
    first.commit(&[note(3)]).await.unwrap();
    assert_eq!(second.beat(&b, LEASE).await.unwrap().standing, Standing::Standby { active: Some(a) });
}

#[tokio::test]
async fn one_that_is_not_ready_holds_only_while_it_is_alone() {
    let Some(url) = database() else { return };
    let (mut a, b) = (member("a"), member("b"));
    a.ready = false;
    let first = active(&url, &a).await;
    first.give_up(&a).await.unwrap();
    assert_eq!(first.beat(&a, LEASE).await.unwrap().standing, Standing::Active, "there is no other");
    let second = connect(&url).await;
    assert_ne!(second.beat(&b, LEASE).await.unwrap().standing, Standing::Active, "what is held is not taken away");
    first.give_up(&a).await.unwrap();
    assert_eq!(first.beat(&a, LEASE).await.unwrap().standing, Standing::Standby { active: None });
    assert_eq!(second.beat(&b, LEASE).await.unwrap().standing, Standing::Active);
}

#[tokio::test]
async fn of_many_instances_no_two_are_active_in_one_epoch() {
    let Some(url) = database() else { return };
    let beating = (0..8_u32).map(|n| {
        let url = &url;
        async move {
            let me = member(&format!("m{n}"));
            let store = connect(url).await;
            let mut epochs = Vec::new();
            for round in 0..60_u32 {
                // A lease as short as a beat, so that it is lost and taken often.
                let beat = store.beat(&me, Duration::from_millis(8)).await;
                if beat.is_ok_and(|pair| pair.standing == Standing::Active) {
                    let Backend::Postgres(postgres) = &store.backend else { unreachable!() };
                    let epoch = postgres.epoch.load(Ordering::Acquire);
                    if store.commit(&[Record::Audit(audit(epoch, &format!("m{n}")))]).await.is_ok() {
                        epochs.push(epoch);
                    }
                    if round % 7 == n % 7 {
                        store.give_up(&me).await.ok();
                    }
                }
                tokio::time::sleep(Duration::from_millis(u64::from(n % 3) * 4)).await;
            }
            epochs
        }
    });
    let wrote: usize = futures_util::future::join_all(beating).await.iter().map(Vec::len).sum();
    let store = connect(&url).await;
    let rows = store.audit(&AuditQuery::default()).await.unwrap();
    assert_eq!(rows.len(), wrote, "what was told to be committed is there, and nothing else");
    let mut holders = BTreeMap::new();
    let mut last = i64::MIN;
    for row in rows.iter().rev() {
        let epoch = row.entry.time.ticks();
        assert!(epoch >= last, "no commit of an epoch follows one of a later one");
        last = epoch;
        assert_eq!(holders.entry(epoch).or_insert(&row.entry.user), &&row.entry.user, "one writer an epoch");
    }
    let writers: std::collections::BTreeSet<_> = holders.values().collect();
    assert!(holders.len() > 2 && writers.len() > 1, "the lease changed hands: {holders:?}");
}

#[tokio::test]
async fn an_input_that_was_handed_in_is_taken_once_and_answered() {
    let Some(url) = database() else { return };
    let store = active(&url, &member("a")).await;
    let standby = connect(&url).await;
    let first = standby.hand_in("{\"ack\":1}").await.unwrap();
    let second = standby.hand_in("{\"ack\":2}").await.unwrap();
    let waiting = store.handed_in(10).await.unwrap();
    assert_eq!(waiting, [(first, "{\"ack\":1}".to_owned()), (second, "{\"ack\":2}".to_owned())]);
    assert_eq!(store.handed_in(1).await.unwrap().len(), 1);
    assert_eq!(standby.answer(first).await.unwrap(), None);
    store.commit(&[note(1), Record::HandedIn { id: first }]).await.unwrap();
    assert_eq!(store.handed_in(10).await.unwrap(), [(second, "{\"ack\":2}".to_owned())]);
    store.commit(&[Record::Answered { id: first, answer: "done".into() }]).await.unwrap();
    assert_eq!(standby.answer(first).await.unwrap().as_deref(), Some("done"));
    assert_eq!(standby.answer(12_345).await.unwrap(), None);
}

#[tokio::test]
async fn inputs_of_more_than_a_day_ago_are_deleted() {
    let Some(url) = database() else { return };
    let store = active(&url, &member("a")).await;
    let Backend::Postgres(postgres) = &store.backend else { unreachable!() };
    let mut database = postgres.connect().await.unwrap();
    let [old, new] = [store.hand_in("{}").await.unwrap(), store.hand_in("{}").await.unwrap()];
    let answers = [old, new].map(|id| Record::Answered { id, answer: "done".into() });
    store.commit(&[&[old, new].map(|id| Record::HandedIn { id }), &answers[..]].concat()).await.unwrap();
    // More of them than commits.
    let many = "INSERT INTO handed (time, input, taken) SELECT clock_timestamp() - interval '25 hours', '{}', now() FROM \
                generate_series(1, 9000)";
    sqlx::query(many).execute(&mut database).await.unwrap();
    let age = "UPDATE handed SET time = time - interval '25 hours' WHERE id = $1";
    sqlx::query(age).bind(old.cast_signed()).execute(&mut database).await.unwrap();
    for number in 2..=100 {
        assert_eq!(store.answer(old).await.unwrap().as_deref(), Some("done"), "before commit {number}");
        store.commit(&[note(number)]).await.unwrap();
    }
    assert_eq!(store.answer(old).await.unwrap(), None);
    assert_eq!(store.answer(new).await.unwrap().as_deref(), Some("done"), "one of today is kept");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM handed").fetch_one(&mut database).await.unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn sqlite_is_always_active_and_takes_no_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let me = member("a");
    let pair = store.beat(&me, LEASE).await.unwrap();
    assert_eq!((pair.standing, pair.members), (Standing::Active, vec![me]));
    assert!(!store.shared());
    assert!(store.hand_in("{}").await.unwrap_err().message.contains("not shared"));
}
