//! What every store must do, and what only SQLite's file does.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    engine::{
        io::Via,
        plan::{Channel, Priority},
        record::{AuditEntry, AuditKind, Direction, JournalEntry, JournalKind, LedgerEntry, Record, Stored},
    },
    tag::{DataType, Moment, Past, PastValue, StatusCode, Timestamp, Value},
};

mod postgres;

const URL: &str = "sqlite:annunciator.db";

async fn open(folder: &Path) -> Store {
    Store::open(URL, folder).await.expect("opens")
}

fn sqlite(store: &Store) -> &Sqlite {
    match &store.backend {
        Backend::Sqlite(sqlite) => sqlite,
        Backend::Postgres(_) => panic!("not a file"),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_ticks(133_000_000_000_000_000 + second * 10_000_000)
}

fn state(kind: StateKind, key: &str, value: Option<&serde_json::Value>) -> Record {
    Record::State { kind, key: key.into(), value: value.map(Stored::of) }
}

fn journal(second: i64, alarm: &str, kind: JournalKind) -> JournalEntry {
    JournalEntry {
        time: at(second),
        alarm: alarm.into(),
        event: Some(Uuid::from_u128(second.cast_unsigned().into())),
        kind,
        priority: Priority::Critical,
        value: "81.5".into(),
        user: "alice".into(),
        via: Some(Via::OpcUa),
        text: "it's \"done\"; DROP TABLE journal".into(),
        data: BTreeMap::from([("sop".into(), "SOP-114".into())]),
    }
}

fn audit(second: i64, user: &str) -> AuditEntry {
    AuditEntry {
        time: at(second),
        kind: AuditKind::MessageSent,
        user: user.into(),
        via: Via::System,
        subject: "+12223334444".into(),
        text: "Tank level high".into(),
        result: "accepted".into(),
        events: vec![Uuid::from_u128(7)],
        sid: Some("SM1".into()),
    }
}

fn ledger(second: i64, sid: &str, direction: Direction, minutes: u32) -> LedgerEntry {
    LedgerEntry {
        time: at(second),
        sid: sid.into(),
        direction,
        channel: Channel::Voice,
        user: Some("alice".into()),
        number: "+12223334444".into(),
        segments: 0,
        minutes,
        row: Some(u64::MAX),
    }
}

/// The contract: whatever lies behind, a store does this. `reopen` ends the one given and opens it again.
async fn contract(store: Store, reopen: impl AsyncFn(Store) -> Store) {
    assert_eq!(store.load().await.unwrap(), []);

    let mut first = vec![
        state(StateKind::Alarm, "Plant/A/Alarms/High", Some(&json!({"state": 1}))),
        state(StateKind::Alarm, "gone", Some(&json!(1))),
        state(StateKind::Alarm, "gone", None),
        state(StateKind::Counter, "back", None),
        state(StateKind::Counter, "back", Some(&json!(2))),
    ];
    first.extend(StateKind::ALL.map(|kind| state(kind, "every kind", Some(&json!(kind.table())))));
    store.commit(&first).await.unwrap();
    store.commit(&[state(StateKind::Alarm, "Plant/A/Alarms/High", Some(&json!({"state": 2})))]).await.unwrap();
    store.commit(&[]).await.unwrap();

    let alarms = ["Plant/A/Alarms/High", "Plant/A/Alarms/Low", "Plant/AB/Alarms/High", "Plänt"];
    let entries: Vec<_> =
        (0..600).map(|n| journal(n, alarms[usize::try_from(n).unwrap() % 4], JournalKind::NobodyToContact)).collect();
    store.commit(&entries.iter().cloned().map(Record::Journal).collect::<Vec<_>>()).await.unwrap();
    store.commit(&[Record::Audit(audit(1, "alice")), Record::Audit(audit(2, "bob"))]).await.unwrap();
    store
        .commit(&[Record::Ledger(ledger(5, "CA1", Direction::Sent, 0)), Record::Ledger(ledger(6, "CA1", Direction::Received, 1))])
        .await
        .unwrap();
    let twice = [Record::Ledger(ledger(5, "CA1", Direction::Sent, 2)), Record::Ledger(ledger(5, "CA1", Direction::Sent, 3))];
    store.commit(&twice).await.unwrap();

    let store = reopen(store).await;

    let rows = store.load().await.unwrap();
    let find = |kind, key: &str| rows.iter().find(|row| row.kind == kind && row.key == key).map(|row| row.value.clone());
    assert_eq!(rows.len(), StateKind::ALL.len() + 2);
    assert_eq!(find(StateKind::Alarm, "Plant/A/Alarms/High"), Some(json!({"state": 2})));
    assert_eq!(find(StateKind::Counter, "back"), Some(json!(2)), "removed, then set again");
    assert_eq!(find(StateKind::User, "every kind"), Some(json!("app_user")));

    let all = store.journal(&JournalQuery::default()).await.unwrap();
    assert_eq!(all.iter().rev().map(|row| &row.entry).collect::<Vec<_>>(), entries.iter().collect::<Vec<_>>());
    let mut before = None;
    let mut paged = 0;
    loop {
        let query = JournalQuery { alarm_prefix: Some("Plant/A/".into()), before, limit: Some(70), ..JournalQuery::default() };
        let page = store.journal(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.iter().all(|row| row.entry.alarm.starts_with("Plant/A/")));
        (before, paged) = (Some(last.id), paged + page.len());
    }
    assert_eq!(paged, 300);
    let query = JournalQuery { from: Some(at(10)), to: Some(at(12)), ..JournalQuery::default() };
    assert_eq!(store.journal(&query).await.unwrap().len(), 2, "from is in, to is out");
    let query = JournalQuery { event: Some(Uuid::from_u128(9)), ..JournalQuery::default() };
    assert_eq!(store.journal(&query).await.unwrap().len(), 1);

    let only = async |query: JournalQuery| store.journal(&query).await.unwrap().len();
    assert_eq!(only(JournalQuery { alarm_pattern: Some("Plant/*/Alarms/?igh".into()), ..JournalQuery::default() }).await, 300);
    assert_eq!(only(JournalQuery { alarm_pattern: Some("Plant_A/%[]\\".into()), ..JournalQuery::default() }).await, 0);
    assert_eq!(
        only(JournalQuery { alarm_pattern: Some("Pl?nt".into()), user: Some("alice".into()), ..JournalQuery::default() }).await,
        150
    );
    assert_eq!(only(JournalQuery { text: Some("drop TABLE".into()), ..JournalQuery::default() }).await, 600);
    assert_eq!(
        only(JournalQuery { text: Some("plÄnt".into()), ..JournalQuery::default() }).await,
        0,
        "only ASCII's case is alike"
    );
    assert_eq!(only(JournalQuery { kinds: vec![JournalKind::Raised], ..JournalQuery::default() }).await, 0);
    assert_eq!(store.first_recorded().await.unwrap(), Some(at(0)));
    let about = store.audit_about(Uuid::from_u128(7), Span { from: at(0), to: at(9) }, 5).await.unwrap();
    assert_eq!(about.iter().map(|row| &row.entry.user[..]).collect::<Vec<_>>(), ["alice", "bob"]);

    let bobs = store.audit(&AuditQuery { user: Some("bob".into()), ..AuditQuery::default() }).await.unwrap();
    assert_eq!(bobs.iter().map(|row| &row.entry).collect::<Vec<_>>(), [&audit(2, "bob")]);
    let none = AuditQuery { kinds: vec![AuditKind::Login], ..AuditQuery::default() };
    assert_eq!(store.audit(&none).await.unwrap(), []);

    let expected = [ledger(5, "CA1", Direction::Sent, 3), ledger(6, "CA1", Direction::Received, 1)];
    assert_eq!(store.ledger(LedgerQuery::default()).await.unwrap(), expected, "one row a SID and direction, the last one wins");
    let query = LedgerQuery { from: Some(at(6)), to: None };
    assert_eq!(store.ledger(query).await.unwrap(), expected[1..]);
    assert_eq!(store.counts().await.unwrap(), Counts { journal: 600, audit: 2, ledger: 2 });
    figures_contract(&store).await;
    history_contract(store, reopen).await;
}

/// The part of the contract that is about figures.
async fn figures_contract(store: &Store) {
    let (high, low) = ("Plant/A/Alarms/High", "Plant/A/Alarms/Low");
    let kinds =
        [(high, JournalKind::Raised), (low, JournalKind::Raised), (low, JournalKind::Cleared), (high, JournalKind::Acknowledged)];
    let mut entries: Vec<_> = (1000..).zip(kinds).map(|(second, (alarm, kind))| journal(second, alarm, kind)).collect();
    entries[0].text = crate::engine::record::SILENCED.into();
    entries[3].user = "b\no\u{1F}b".into();
    store.commit(&entries.into_iter().map(Record::Journal).collect::<Vec<_>>()).await.unwrap();
    let mut seen = Vec::new();
    let take = |row: &crate::engine::record::Transition<'_>| {
        seen.push((row.time, row.alarm.to_owned(), row.kind, row.silenced, row.user.to_owned(), row.via));
    };
    store.transitions((at(1002), at(2000)), take, |_| {}).await.unwrap();
    let via = Some(Via::OpcUa);
    let standing = [
        (at(1000), high.to_owned(), JournalKind::Raised, true, String::new(), via),
        (at(1001), low.to_owned(), JournalKind::Raised, false, String::new(), via),
    ];
    assert_eq!(seen[..2], standing, "what was active already comes first");
    assert_eq!(seen[2], (at(1002), low.to_owned(), JournalKind::Cleared, false, String::new(), via));
    assert_eq!(seen[3], (at(1003), high.to_owned(), JournalKind::Acknowledged, false, "b o b".to_owned(), via));
    assert_eq!(seen.len(), 4);
    let mut told = Vec::new();
    store.told((at(0), at(3)), |row| told.push((row.user.to_owned(), row.events.to_vec()))).await.unwrap();
    let event = vec![Uuid::from_u128(7)];
    assert_eq!(told, [("alice".to_owned(), event.clone()), ("bob".to_owned(), event)]);
    let mut rows = Vec::new();
    store.ledger_rows((at(0), at(9)), |row| rows.push((row.direction, row.channel, row.minutes))).await.unwrap();
    assert_eq!(rows, [(Direction::Sent, Channel::Voice, 3), (Direction::Received, Channel::Voice, 1)]);
    let refused = AuditEntry { kind: AuditKind::MessageNotSent, result: "flood".into(), ..audit(5, "alice") };
    store.commit(&[Record::Audit(refused.clone()), Record::Audit(refused)]).await.unwrap();
    assert_eq!(store.not_sent((at(0), at(9))).await.unwrap(), [("flood".to_owned(), 2)]);
}

fn past(tag: &str, second: i64, received: i64, value: Value) -> (Arc<str>, PastValue) {
    let at = Moment { time: at(second), received: at(received) };
    (tag.into(), PastValue { at, value, status: StatusCode::GOOD })
}

/// The part of the contract that is about the past of tags.
async fn history_contract(store: Store, reopen: impl AsyncFn(Store) -> Store) {
    let all = |tag: &str| Past {
        tag: tag.into(),
        after: Moment::before(Timestamp::from_ticks(0)),
        before: Moment::after(at(1_000_000)),
        newest_first: false,
        limit: u32::MAX,
    };
    assert_eq!(store.history_extent().await.unwrap(), Extent::default());
    assert_eq!(store.history(&all("Plant/A")).await.unwrap(), []);
    let values = [
        Value::Double(0.1 + 0.2),
        Value::Float(f32::INFINITY),
        Value::UInt64(u64::MAX),
        Value::Boolean(true),
        Value::string("it's \"text\""),
        Value::Array(DataType::Double, [Value::Double(f64::MIN_POSITIVE), Value::Double(f64::INFINITY)].into()),
        Value::Array(DataType::String, [Value::string("a")].into()),
        Value::ByteString([1, 2].into()),
    ];
    let mut kept: Vec<_> = (0..).zip(values).map(|(n, value)| past("Plant/A", n, n, value)).collect();
    // The same source time twice, and one that came late.
    kept.extend([past("Plant/A", 20, 30, Value::Int32(1)), past("Plant/A", 20, 31, Value::Int32(2))]);
    store.keep_history(&kept).await.unwrap();
    let late = past("Plant/A", 15, 32, Value::Int32(0));
    let bad = PastValue { status: StatusCode::BAD_NO_COMMUNICATION, ..past("", 40, 40, Value::Null).1 };
    store.keep_history(&[late.clone(), ("Plant/AB".into(), bad.clone())]).await.unwrap();
    store.keep_history(std::slice::from_ref(&late)).await.unwrap();
    kept.insert(8, late);
    let kept: Vec<_> = kept.into_iter().map(|(_, value)| value).collect();

    let store = reopen(store).await;
    assert_eq!(store.history(&all("Plant/A")).await.unwrap(), kept);
    assert_eq!(store.history(&all("Plant/AB")).await.unwrap(), [bad]);
    let newest = Past { newest_first: true, limit: 3, ..all("Plant/A") };
    let backwards: Vec<_> = kept.iter().rev().cloned().collect();
    assert_eq!(store.history(&newest).await.unwrap(), backwards[..3]);
    let rest = Past { before: backwards[0].at, ..newest };
    assert_eq!(store.history(&rest).await.unwrap(), backwards[1..4], "it reads on where it was");
    let some = Past { after: Moment::before(at(2)), before: Moment::before(at(4)), ..all("Plant/A") };
    assert_eq!(store.history(&some).await.unwrap(), kept[2..4]);
    assert_eq!(store.history_extent().await.unwrap(), Extent { values: 12, oldest: Some(at(0)) });
    assert_eq!(store.cut_history(at(15)).await.unwrap(), 8);
    assert_eq!(store.history(&all("Plant/A")).await.unwrap(), kept[8..]);
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract(open(folder.path()).await, async |store: Store| {
        store.close().await;
        open(folder.path()).await
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.commit(&[Record::Audit(audit(1, "alice"))]).await.unwrap();
    let unlimited = {
        let mut writer = sqlite(&store).writer.lock().await;
        writer.connection = None;
        let unlimited = writer.options.clone();
        writer.options = unlimited.clone().pragma("max_page_count", "64");
        unlimited
    };
    let many: Vec<_> = (0..5000).map(|n| Record::Journal(journal(n, "Plant/A/Alarms/High", JournalKind::Raised))).collect();
    for attempt in 0..2 {
        let error = store.commit(&many).await.unwrap_err();
        assert!(error.full, "attempt {attempt}: {error}");
        assert!(error.to_string().starts_with("the disk is full, make room"), "{error}");
    }
    assert_eq!(store.counts().await.unwrap(), Counts { journal: 0, audit: 1, ledger: 0 });
    sqlite(&store).writer.lock().await.options = unlimited;
    store.commit(&many).await.unwrap();
    assert_eq!(store.counts().await.unwrap().journal, 5000);
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let many: Vec<_> = (0..5000).map(|n| Record::Journal(journal(n, "Plant/A/Alarms/High", JournalKind::Raised))).collect();
    let _ = tokio::time::timeout(Duration::from_millis(5), store.commit(&many)).await;
    store.commit(&[Record::Audit(audit(1, "alice"))]).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert!(counts.journal == 0 || counts.journal == 5000, "{counts:?}");
    assert_eq!(counts.audit, 1);
}

#[tokio::test]
async fn files_are_for_their_owner_only_and_one_daemon_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = open(&data).await;
    store.commit(&[Record::Audit(audit(1, "alice"))]).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        let files: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    }
    let error = Store::open(URL, &data).await.err().unwrap();
    assert!(error.starts_with("another annunciator already runs on the store"), "{error}");
    let reader = Store::open_read_only(&StoreSettings::default(), &data).await.unwrap();
    assert_eq!(reader.counts().await.unwrap().audit, 1);
    assert!(reader.commit(&[Record::Audit(audit(2, "alice"))]).await.is_err());
    store.close().await;
    open(&data).await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |url: &str, expected: &str| {
        let error = Store::open(url, folder.path()).await.err().unwrap_or_default();
        assert!(error.contains(expected), "{url}: {error}");
    };
    check("postgres://annunciator@127.0.0.1:1/annunciator", "failed to open the store postgres://annunciator@127.0.0.1:1").await;
    check("mysql://x", "must be like `sqlite:annunciator.db`").await;
    check("sqlite:", "must be like `sqlite:annunciator.db`").await;
    check("sqlite:/proc/none/annunciator.db", "failed to make the store").await;
    fs::write(folder.path().join("text.db"), "this is no database, not at all, it is a plain text".repeat(20)).unwrap();
    check("sqlite:text.db", "file is not a database").await;
    let error = Store::open_read_only(&StoreSettings { url: "sqlite:nothing.db".into(), password: None }, folder.path())
        .await
        .err()
        .unwrap_or_default();
    assert!(error.starts_with("there is no store at"), "{error}");

    let store = Store::open("sqlite:newer.db", folder.path()).await.unwrap();
    {
        let mut writer = sqlite(&store).writer.lock().await;
        let sql = "UPDATE _sqlx_migrations SET version = version + 999999";
        sqlx::query(sql).execute(writer.connection.as_mut().unwrap()).await.unwrap();
    }
    store.close().await;
    check("sqlite:newer.db", "written by another version of annunciator").await;
}
