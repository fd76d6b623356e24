//! Event streams: what arrives, in which order, and what happens to those that are late.

use std::{
    future::{Future as _, poll_fn},
    task::Poll,
    time::Duration,
};

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::{super::live::MAX_PIECE, *};
use crate::{engine::plan::Priority, tag::Sample};

/// The longest wait for an event.
const BOUND: Duration = Duration::from_secs(10);

/// An open stream.
struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Json,
}

impl Stream {
    async fn open(bench: &Bench, query: &str, last: Option<&str>) -> Self {
        let login = format!("Basic {}", BASE64_STANDARD.encode("viewer:secret"));
        let mut headers = vec![("authorization", login.as_str())];
        headers.extend(last.map(|id| ("last-event-id", id)));
        let response = bench.raw("GET", &format!("/api/v1/stream{query}"), &headers, None, "127.0.0.1:1").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
                let event = Event {
                    id: field("id"),
                    name: field("event").unwrap(),
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                };
                self.text = rest.to_owned();
                return Some(event);
            }
            let piece = tokio::time::timeout(BOUND, self.body.next()).await.expect("an event in time")?;
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// The next event of that name, others passed over.
    async fn wait(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name == name {
                return event;
            }
        }
    }
}

fn change(bench: &Bench, alarms: &[&str]) {
    let alarms = alarms.iter().map(|path| alarm(path, "ActiveUnacked", Priority::High, false)).collect();
    *bench.plant.changed.lock().unwrap() = Some(Changed { alarms, ..Changed::default() });
    bench.plant.arrived.notify_one();
}

#[tokio::test]
async fn changes_arrive_and_a_stream_resumes_where_it_was() {
    let bench = Bench::new().await;
    let mut stream = Stream::open(&bench, "", None).await;
    assert_eq!(stream.next().await.unwrap().data, json!({ "resumed": false }));
    change(&bench, &["Tank/Alarms/High"]);
    let first = stream.wait("alarms").await;
    assert_eq!(first.data["alarms"][0]["path"], "Tank/Alarms/High");
    drop(stream);
    change(&bench, &["Tank/Alarms/Low"]);
    let (status, _) = bench.ask("GET", "/api/v1/alarms", "viewer", None).await;
    assert_eq!(status, 200);

    let mut resumed = Stream::open(&bench, "?topics=alarms", first.id.as_deref()).await;
    assert_eq!(resumed.next().await.unwrap().data, json!({ "resumed": true }));
    let second = resumed.next().await.unwrap();
    assert_eq!((second.name.as_str(), &second.data["alarms"][0]["path"]), ("alarms", &json!("Tank/Alarms/Low")));
    assert!(second.id > first.id);

    for unknown in ["0-1", "nonsense", "", "ffffffffffffffff-99"] {
        let mut anew = Stream::open(&bench, "?topics=alarms", Some(unknown)).await;
        assert_eq!(anew.next().await.unwrap().data, json!({ "resumed": false }), "{unknown}");
        assert_eq!(anew.next().await.unwrap().data, json!({ "reason": "unknown_id" }), "{unknown}");
    }
}

#[tokio::test]
async fn what_changed_is_kept_when_whoever_asked_goes_away() {
    let bench = Bench::new().await;
    assert_eq!(bench.ask("GET", "/api/v1/alarms", "viewer", None).await.0, 200);
    change(&bench, &["New/Alarms/High"]);
    let told = || bench.plant.changed.lock().unwrap().as_ref().is_some_and(|changed| changed.alarms.is_empty());
    let mut asks = Box::pin(bench.ask("GET", "/api/v1/alarms", "viewer", None));
    while !told() {
        assert!(poll_fn(|context| Poll::Ready(asks.as_mut().poll(context).is_pending())).await);
        tokio::task::yield_now().await;
    }
    drop(asks);
    let (_, list) = bench.ask("GET", "/api/v1/alarms?prefix=New", "viewer", None).await;
    assert_eq!(list["alarms"][0]["path"], "New/Alarms/High", "{list}");
}

#[tokio::test]
async fn what_was_not_sent_and_overrides_are_told_without_their_lists() {
    let bench = Bench::new().await;
    let mut stream = Stream::open(&bench, "?topics=overrides", None).await;
    let mut messages = Stream::open(&bench, "?topics=messages", None).await;
    for stream in [&mut stream, &mut messages] {
        stream.wait("hello").await;
    }
    *bench.plant.changed.lock().unwrap() = Some(Changed { not_sent: 3, overrides: true, ..Changed::default() });
    bench.plant.arrived.notify_one();
    assert_eq!(stream.wait("overrides").await.data, json!({ "changed": true }));
    assert_eq!(messages.wait("messages").await.data, json!({ "not_sent": 3 }));
}

#[tokio::test]
async fn who_falls_behind_begins_anew_and_holds_nobody_up() {
    let bench = Bench::new().await;
    let mut slow = Stream::open(&bench, "?topics=alarms", None).await;
    slow.wait("hello").await;
    let mut quick = Stream::open(&bench, "?topics=alarms", None).await;
    quick.wait("hello").await;
    // One event each: more than the ring holds.
    for _ in 0..4200 {
        change(&bench, &["Tank/Alarms/Low"]);
        assert_eq!(bench.ask("GET", "/api/v1/alarms?prefix=None", "viewer", None).await.0, 200);
        quick.wait("alarms").await;
    }
    let event = slow.wait("reload").await;
    assert_eq!((event.name.as_str(), &event.data), ("reload", &json!({ "reason": "behind" })));
    change(&bench, &["Tank/Alarms/High"]);
    assert_eq!(slow.wait("alarms").await.data["alarms"][0]["path"], "Tank/Alarms/High", "and goes on");
}

#[tokio::test]
async fn a_slow_stream_takes_a_bounded_piece_at_a_time_and_misses_nothing() {
    const EVENTS: usize = 30;
    let bench = Bench::new().await;
    let mut slow = Stream::open(&bench, "?topics=alarms", None).await;
    slow.wait("hello").await;
    let paths: Vec<_> = (0..100).map(|n| format!("Tank{n}/Alarms/High")).collect();
    for _ in 0..EVENTS {
        change(&bench, &paths.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(bench.ask("GET", "/api/v1/alarms?prefix=None", "viewer", None).await.0, 200);
    }
    let (mut pieces, mut longest_event, mut seen) = (0, 0, 0);
    let mut longest_piece = 0;
    while seen < EVENTS {
        let piece = tokio::time::timeout(BOUND, slow.body.next()).await.expect("a piece in time").unwrap().unwrap();
        let text = std::str::from_utf8(&piece).unwrap();
        let events: Vec<_> = text.split_inclusive("\n\n").filter(|event| event.contains("event: alarms")).collect();
        assert!(!text.contains("event: reload"), "it is not behind");
        pieces += usize::from(!events.is_empty());
        seen += events.len();
        longest_event = longest_event.max(events.iter().map(|event| event.len()).max().unwrap_or(0));
        longest_piece = longest_piece.max(text.len());
    }
    assert_eq!(seen, EVENTS);
    assert!(longest_event > 20_000, "{longest_event}");
    assert!(longest_piece > MAX_PIECE && longest_piece <= MAX_PIECE + longest_event, "{longest_piece}");
    assert!(pieces >= EVENTS * longest_event / (MAX_PIECE + longest_event), "{pieces}");
}

#[tokio::test]
async fn two_hundred_streams_get_a_change_at_once() {
    let bench = Bench::new().await;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(Stream::open(&bench, "?topics=alarms", None).await);
    }
    let (_, metrics) = bench.ask("GET", "/metrics", "viewer", None).await;
    assert!(metrics.as_str().unwrap().contains("streams 200\n"), "{metrics}");
    // Every tenth reads nothing until the others have all of it.
    for number in 1..=3 {
        change(&bench, &[&format!("Tank/Alarms/Number{number}")]);
        let quick = open.iter_mut().enumerate().filter(|(index, _)| index % 10 != 0);
        let told = futures_util::future::join_all(quick.map(|(_, stream)| stream.wait("alarms"))).await;
        assert_eq!(told.len(), 180);
        let path = json!(format!("Tank/Alarms/Number{number}"));
        assert!(told.iter().all(|event| event.data["alarms"][0]["path"] == path && event.id == told[0].id));
    }
    for slow in open.iter_mut().step_by(10) {
        for number in 1..=3 {
            assert_eq!(slow.wait("alarms").await.data["alarms"][0]["path"], format!("Tank/Alarms/Number{number}"));
        }
    }
    open.clear();
    let (_, metrics) = bench.ask("GET", "/metrics", "viewer", None).await;
    assert!(metrics.as_str().unwrap().contains("streams 0\n"), "their seats come back: {metrics}");
}

#[tokio::test]
async fn tags_are_told_first_and_when_they_change() {
    let bench = Bench::new().await;
    let write = |value: i16| {
        let sample = Sample { tag: TagId(0), value: Value::Int16(value), status: tag::StatusCode::GOOD, source_time: at(1) };
        bench.plant.table.write(&[sample]);
    };
    write(1);
    let mut stream = Stream::open(&bench, "?topics=tags&tag=Tank/Level&tag=Pump/Speed", None).await;
    let first = stream.wait("tags").await;
    assert_eq!(first.id, None, "a resumed stream gets all of them anyway");
    assert_eq!((&first.data["tags"][0]["value"], &first.data["tags"][1]["path"]), (&json!(1), &json!("Pump/Speed")));
    write(2);
    let second = stream.wait("tags").await;
    assert_eq!((second.data["tags"].as_array().map(Vec::len), &second.data["tags"][0]["value"]), (Some(1), &json!(2)));
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_have_it() {
    let bench = Bench::new().await;
    let mut stream = Stream::open(&bench, "", None).await;
    stream.wait("hello").await;
    bench.plant.plan.send_replace(Arc::new(Plan::default()));
    stream.wait("logout").await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn streams_have_a_bound_and_their_seats_come_back() {
    let bench = Bench::new().await;
    let mut open = Vec::new();
    for _ in 0..super::super::stream::MAX_STREAMS {
        open.push(Stream::open(&bench, "", None).await);
    }
    assert_eq!(bench.ask("GET", "/api/v1/stream", "viewer", None).await.0, 503);
    open.pop();
    drop(Stream::open(&bench, "", None).await);
    for (query, expected) in [("?topics=nonsense", 400), ("?tag=No/Such", 404), ("?nonsense=1", 400)] {
        open.pop();
        assert_eq!(bench.ask("GET", &format!("/api/v1/stream{query}"), "viewer", None).await.0, expected, "{query}");
    }
    let many = "tag=Tank/Level&".repeat(1001);
    assert_eq!(bench.ask("GET", &format!("/api/v1/stream?{many}"), "viewer", None).await.0, 422);
}
