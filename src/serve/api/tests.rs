//! The API against a gateway that answers by rule and remembers what it was asked for.

mod lists;
mod sessions;
mod stream;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{body::Body, extract::ConnectInfo};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;
use crate::{
    BoxFuture,
    engine::{
        io::{Actor, CallDocument, CallEvent, Command, DeliveryState, InboundText, OutboxId, Outcome, Via},
        plan::{Cover, Origin, Plan, Priority, PublishPhone, Role, Secret, TagDef, TagTraits, UserDef},
        record::{AuditEntry, AuditKind, JournalEntry, JournalKind, Record},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::Changed,
    tag::{self, DataType, Sample, TagId, TagPath, TagTable, Timestamp, Value, ValueType},
};

/// The program behind the API.
pub(crate) struct Plant {
    plan: watch::Sender<Arc<Plan>>,
    /// What [`Gateway::changes`] gives next; everything when there is nothing.
    changed: Mutex<Option<Changed>>,
    arrived: Notify,
    pub(crate) table: TagTable,
    pub(crate) asked: Mutex<Vec<(String, Command)>>,
    /// It stands by, and its store does not answer.
    lost: AtomicBool,
}

impl Plant {
    fn known(&self) -> bool {
        !self.lost.load(Ordering::Relaxed)
    }
}

impl Gateway for Plant {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.arrived.notified())
    }

    fn changes(&self) -> BoxFuture<'_, Option<Changed>> {
        Box::pin(async {
            let changed = self.changed.lock().unwrap().replace(Changed::default());
            // The engine's answer comes from another task.
            tokio::task::yield_now().await;
            if !self.known() {
                return None;
            }
            Some(match changed {
                Some(changed) => changed,
                None => Changed { all: true, alarms: self.alarms().await, messages: self.outbox().await, ..Changed::default() },
            })
        })
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    /// Names are roles, their password is `secret`.
    fn log_in(&self, user: String, password: String, _: IpAddr, via: Via) -> BoxFuture<'_, Result<Actor, tag::StatusCode>> {
        Box::pin(async move {
            let role = match user.as_str() {
                "viewer" => Role::Viewer,
                "operator" => Role::Operator,
                "engineer" => Role::Engineer,
                "busy" => return Err(tag::StatusCode::BAD_RESOURCE_UNAVAILABLE),
                "guessed" => return Err(tag::StatusCode::BAD_TOO_MANY_OPERATIONS),
                _ => return Err(tag::StatusCode::BAD_USER_ACCESS_DENIED),
            };
            if password == "secret" { Ok(Actor { name: user, role, via }) } else { Err(tag::StatusCode::BAD_USER_ACCESS_DENIED) }
        })
    }

    fn check_token(&self, token: String, _: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        Box::pin(async move {
            match token.as_str() {
                "mes:secret" => Some(("mes".into(), None)),
                "scada:secret" => Some(("scada".into(), Some(Role::Operator))),
                _ => None,
            }
        })
    }

    fn write(&self, by: Actor, tag: TagId, value: Value) -> BoxFuture<'_, tag::StatusCode> {
        Box::pin(async move {
            let plan = self.plan();
            let def = plan.tag(tag).unwrap();
            if !def.writable {
                return tag::StatusCode::BAD_NOT_WRITABLE;
            }
            if by.role < def.write_role {
                return tag::StatusCode::BAD_USER_ACCESS_DENIED;
            }
            self.table.write(&[Sample { tag, value, status: tag::StatusCode::GOOD, source_time: at(1) }]);
            tag::StatusCode::GOOD
        })
    }

    fn command(&self, by: Actor, command: Command) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let outcome = match &command {
                Command::Acknowledge { alarm, .. } if &**alarm != "Tank/Alarms/High" => {
                    Outcome::refused(tag::StatusCode::BAD_NOT_FOUND, "there is no alarm of that path")
                }
                Command::SendText { body, .. } => match body.as_str() {
                    "refused" => Outcome::refused(tag::StatusCode::BAD_INVALID_ARGUMENT, "not a phone number"),
                    "much" => Outcome::refused(tag::StatusCode::BAD_TOO_MANY_OPERATIONS, "too many"),
                    "slow" => std::future::pending().await,
                    _ => Outcome { sid: Some("SM1".into()), ..Outcome::good("accepted") },
                },
                _ => Outcome::good("done"),
            };
            self.asked.lock().unwrap().push((format!("{} as {}", by.name, by.role.name()), command));
            outcome
        })
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        Box::pin(async move {
            vec![
                alarm("Tank/Alarms/Low", "ActiveUnacked", Priority::Low, true),
                alarm("Tank/Alarms/High", "ActiveUnacked", Priority::High, false),
                alarm("Pump/Alarms/Trip", "ClearAcked", Priority::Critical, false),
            ]
        })
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        Box::pin(async { Vec::new() })
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        let alice = UserStatistics {
            id: 1,
            username: "alice".into(),
            phone_number: "+12223334444".into(),
            messages_sent: 3,
            ..UserStatistics::default()
        };
        Box::pin(async { self.known().then(|| vec![alice]) })
    }

    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>> {
        Box::pin(async { self.known().then(|| vec![(7, cover("bob", 100))]) })
    }

    fn reload(&self, _: Actor) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("error: unknown roster `operatrs`".into()) })
    }

    fn inbound(&self, _: InboundText) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async { Err(()) })
    }

    fn delivery(&self, _: Option<OutboxId>, _: String, _: DeliveryState, _: Option<u32>) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async { Err(()) })
    }

    fn call(&self, _: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>> {
        unreachable!("no calls come in here")
    }

    fn ready(&self) -> bool {
        false
    }

    fn metrics(&self, console: ConsoleLoad) -> String {
        format!("sessions {} streams {}\n# EOF\n", console.sessions, console.streams)
    }
}

fn alarm(path: &str, state: &'static str, priority: Priority, out_of_service: bool) -> AlarmView {
    AlarmView {
        path: path.into(),
        priority,
        state,
        latched: false,
        shelved_until: None,
        suppressed: false,
        out_of_service,
        chattering: false,
        event: Some(Uuid::nil()),
        active_time: at(0),
        clear_time: Timestamp::NULL,
        ack_time: Timestamp::NULL,
        ack_user: String::new(),
        value: "81.5".into(),
        message: "high".into(),
        code: None,
        notification: String::new(),
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_ticks(133_000_000_000_000_000) + std::time::Duration::from_secs(second)
}

/// Alice covers somebody for 50 s from a second on.
fn cover(covers: &str, from: u64) -> Cover {
    Cover { user: "alice".into(), covers: covers.into(), from: at(from), until: at(from + 50), note: "swap".into() }
}

fn tag_def(id: u32, path: &str, data_type: DataType, writable: bool) -> TagDef {
    TagDef::new(
        TagId(id),
        TagPath::new(path).unwrap(),
        Origin::Memory { initial: Value::Null },
        TagTraits { writable, ..TagTraits::of(ValueType::scalar(data_type)) },
    )
}

fn user_def(name: &str, role: Role, hash: &str) -> UserDef {
    UserDef { name: name.into(), role, password_hash: Some(Secret::new(hash)), ..UserDef::default() }
}

/// The API over a [`Plant`] and an empty store; also for the command line's tests.
pub(crate) struct Bench {
    pub(crate) plant: Arc<Plant>,
    pub(crate) router: Router,
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let tags: Vec<_> = [("Tank/Level", true), ("Tank/A B/Ü", false), ("Pump/Speed", false)]
            .into_iter()
            .enumerate()
            .map(|(id, (path, writable))| tag_def(u32::try_from(id).unwrap(), path, DataType::Int16, writable))
            .collect();
        let tag_index = crate::engine::plan::TagIndex::new(&tags);
        let users = [("viewer", Role::Viewer), ("operator", Role::Operator), ("engineer", Role::Engineer)];
        let users = users.map(|(name, role)| (name.to_owned(), Arc::new(user_def(name, role, "hash")))).into();
        let plan = Plan { tags, tag_index, users, ..Plan::default() };
        let plant = Arc::new(Plant {
            plan: watch::Sender::new(Arc::new(plan)),
            changed: Mutex::default(),
            arrived: Notify::new(),
            table: TagTable::default(),
            asked: Mutex::default(),
            lost: AtomicBool::new(false),
        });
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open("sqlite:annunciator.db", folder.path()).await.unwrap());
        let options = Options {
            sessions: SessionLimits::default(),
            secure: false,
            proxies: [IpAddr::from([127, 0, 0, 2])].into(),
            stop: CancellationToken::new(),
        };
        let router = router(Arc::clone(&plant) as Arc<dyn Gateway>, Arc::clone(&store), options);
        Self { plant, router, store, _folder: folder }
    }

    /// `who`: a user whose password is `secret`, `token NAME`, or nobody.
    async fn ask(&self, method: &str, path: &str, who: &str, body: Option<Json>) -> (u16, Json) {
        let credentials = credentials(who);
        let credentials: &[(&str, &str)] = if who.is_empty() { &[] } else { &[("authorization", &credentials)] };
        let response = self.raw(method, path, credentials, body.map(|body| body.to_string()), "127.0.0.1:9").await;
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| Json::from(String::from_utf8_lossy(&bytes))))
    }

    /// Only whether it may: the body of an answer may have no end.
    async fn status(&self, method: &str, path: &str, who: &str) -> u16 {
        let credentials = credentials(who);
        let headers = [("authorization", credentials.as_str())];
        let headers = if who.is_empty() { &[][..] } else { &headers };
        self.raw(method, path, headers, None, "127.0.0.1:9").await.status().as_u16()
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>, from: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut request = request.body(body.map_or(Body::empty(), Body::from)).unwrap();
        request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        self.router.clone().oneshot(request).await.unwrap()
    }
}

fn credentials(who: &str) -> String {
    match who.strip_prefix("token ") {
        Some(name) => format!("Bearer {name}:secret"),
        None => format!("Basic {}", BASE64_STANDARD.encode(format!("{who}:secret"))),
    }
}

/// Who shows which credentials, and which of the document's least roles that satisfies.
const CALLERS: &[(&str, &[&str])] = &[
    ("token mes", &["any", "sender"]),
    ("viewer", &["any", "viewer"]),
    ("operator", &["any", "viewer", "sender", "operator"]),
    ("engineer", &["any", "viewer", "sender", "operator", "engineer"]),
];

/// Every operation of the document: method, path with something in the place of its parameters, what is said of it.
fn operations(document: &Json) -> Vec<(String, String, Json)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{path}", "Tank/Level").replace("{id}", "1").replace("{row}", "7").replace("{user_id}", "7");
        let filled = filled.replace("{number}", "x").replace("{file}", "load.svg");
        assert!(!filled.contains('{'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            operations.push((method.to_uppercase(), filled.clone(), operation.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_refuses_who_may_not() {
    let bench = Bench::new().await;
    let (_, document) = bench.ask("GET", "/api/v1/openapi.json", "viewer", None).await;
    assert_eq!(bench.ask("GET", "/api/v1/openapi.json", "", None).await.0, 401);
    let operations = operations(&document);
    assert!(operations.len() >= 36, "{}", operations.len());
    for (method, path, operation) in &operations {
        let Some(least) = operation["x-least-role"].as_str() else {
            assert_eq!((method.as_str(), path.as_str()), ("POST", "/api/v1/session"), "only the log-in is for everybody");
            continue;
        };
        assert!(["any", "sender", "viewer", "operator", "engineer"].contains(&least), "{method} {path}");
        for who in ["", "nobody", "token nobody"] {
            assert_eq!(bench.status(method, path, who).await, 401, "{method} {path} as {who:?}, even from this machine");
        }
        for (who, satisfied) in CALLERS {
            let status = bench.status(method, path, who).await;
            assert_eq!(status != 403, satisfied.contains(&least), "{method} {path} as {who}: {status}");
        }
    }
    let asked = std::mem::take(&mut *bench.plant.asked.lock().unwrap());
    let forgot = |(_, command): &(String, Command)| matches!(command, Command::Forget { .. });
    assert!(asked.iter().all(forgot), "nothing else was done for a request without a body: {asked:?}");
    for (who, expected) in [("guessed", 429), ("busy", 503)] {
        assert_eq!(bench.ask("GET", "/api/v1/tags", who, None).await.0, expected);
    }
}

#[tokio::test]
async fn only_health_is_open_and_metrics_on_this_machine() {
    let bench = Bench::new().await;
    for (path, from, expected) in [
        ("/healthz", "198.51.100.7:1", 200),
        ("/readyz", "198.51.100.7:1", 503),
        ("/", "198.51.100.7:1", 404),
        ("/metrics", "127.0.0.1:1", 200),
        ("/metrics", "[::ffff:127.0.0.1]:1", 200),
        ("/metrics", "198.51.100.7:1", 401),
        ("/api/v1/tags", "127.0.0.1:1", 401),
        ("/nothing", "127.0.0.1:1", 404),
    ] {
        let response = bench.raw("GET", path, &[], None, from).await;
        assert_eq!(response.status().as_u16(), expected, "{path} from {from}");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    let response = bench.raw("GET", "/api/v1/tags", &[], None, "127.0.0.1:1").await;
    let schemes: Vec<_> = response.headers().get_all("www-authenticate").iter().map(|scheme| scheme.to_str().unwrap()).collect();
    assert_eq!(schemes, ["Basic realm=\"annunciator\", charset=\"UTF-8\"", "Bearer realm=\"annunciator\""]);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn other_sites_and_bad_requests_are_refused() {
    let bench = Bench::new().await;
    let login = format!("Basic {}", BASE64_STANDARD.encode("engineer:secret"));
    let cross = [("authorization", login.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(bench.raw("POST", "/api/v1/reload", &cross, None, "127.0.0.1:1").await.status(), 403);
    let form = [("authorization", login.as_str()), ("content-type", "text/plain")];
    assert_eq!(bench.raw("POST", "/api/v1/alarms/ack", &form, None, "127.0.0.1:1").await.status(), 415);
    let huge = Some(format!("{{\"alarm\":\"{}\"}}", "x".repeat(MAX_BODY)));
    assert_eq!(bench.raw("POST", "/api/v1/alarms/ack", &cross[..1], huge, "127.0.0.1:1").await.status(), 413);
    for (method, path, body, expected) in [
        ("POST", "/api/v1/alarms/ack", json!({"alarm": "a", "nonsense": 1}), 422),
        ("POST", "/api/v1/alarms/ack", json!({"note": "x"}), 422),
        ("POST", "/api/v1/alarms/ack", json!({"alarm": "a", "note": "x".repeat(2001)}), 422),
        ("POST", "/api/v1/alarms/shelve", json!({"alarm": "a"}), 422),
        ("POST", "/api/v1/alarms/shelve", json!({"alarm": "a", "minutes": 1, "one_shot": true}), 422),
        ("GET", "/api/v1/alarms?state=nonsense", Json::Null, 400),
        ("GET", "/api/v1/journal?limit=x", Json::Null, 400),
        ("DELETE", "/api/v1/alarms", Json::Null, 405),
    ] {
        let (status, answer) = bench.ask(method, path, "engineer", Some(body)).await;
        assert_eq!((status, &answer["status"]), (expected, &json!(expected)), "{method} {path}: {answer}");
    }
    assert_eq!(*bench.plant.asked.lock().unwrap(), []);
}

#[tokio::test]
async fn tags_are_listed_read_and_written() {
    let bench = Bench::new().await;
    let (status, page) = bench.ask("GET", "/api/v1/tags?limit=2", "viewer", None).await;
    assert_eq!((status, &page["tags"][1]["path"]), (200, &json!("Tank/A B/Ü")), "{page}");
    let next = format!("/api/v1/tags?limit=2&cursor={}", page["next"].as_str().unwrap());
    let (_, page) = bench.ask("GET", &next, "viewer", None).await;
    assert_eq!(page["tags"].as_array().map(Vec::len), Some(1));
    assert_eq!((&page["tags"][0]["path"], &page["next"]), (&json!("Tank/Level"), &Json::Null));
    let (_, page) = bench.ask("GET", "/api/v1/tags?prefix=Pump/", "viewer", None).await;
    assert_eq!(page["tags"][0]["status"], "BadWaitingForInitialData");

    let put = async |path: &str, who: &str, value: Json| bench.ask("PUT", path, who, Some(json!({"value": value}))).await;
    let level = "/api/v1/tags/Tank/Level";
    assert_eq!(put(level, "engineer", json!(-5)).await, (200, json!({"path": "Tank/Level", "status": "Good"})));
    let (_, tag) = bench.ask("GET", level, "viewer", None).await;
    assert_eq!((&tag["value"], &tag["type"], &tag["writable"]), (&json!(-5), &json!("Int16"), &json!(true)));
    assert_eq!(tag["source_time"], json!(at(1)));
    for (path, who, value, status, code) in [
        (level, "operator", json!(1), 403, json!("BadUserAccessDenied")),
        (level, "engineer", json!(40_000), 422, json!("BadTypeMismatch")),
        (level, "engineer", json!("x"), 422, json!("BadTypeMismatch")),
        ("/api/v1/tags/Pump/Speed", "engineer", json!(1), 403, json!("BadNotWritable")),
        ("/api/v1/tags/Tank/A%20B/%C3%9C", "engineer", json!(1), 403, json!("BadNotWritable")),
        ("/api/v1/tags/No/Such", "engineer", json!(1), 404, Json::Null),
    ] {
        let (found, problem) = put(path, who, value).await;
        assert_eq!((found, &problem["status_code"]), (status, &code), "{path} as {who}: {problem}");
    }
    assert_eq!(bench.ask("GET", level, "viewer", None).await.1["value"], json!(-5));
}

#[tokio::test]
async fn alarms_are_filtered_and_commanded() {
    let bench = Bench::new().await;
    let paths = async |query: &str| {
        let (status, list) = bench.ask("GET", &format!("/api/v1/alarms{query}"), "viewer", None).await;
        assert_eq!(status, 200, "{list}");
        list["alarms"].as_array().unwrap().iter().map(|alarm| alarm["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("").await, ["Pump/Alarms/Trip", "Tank/Alarms/High", "Tank/Alarms/Low"]);
    assert_eq!(paths("?state=active").await, ["Tank/Alarms/High"]);
    assert_eq!(paths("?state=ActiveUnacked,out_of_service").await, ["Tank/Alarms/High", "Tank/Alarms/Low"]);
    assert_eq!(paths("?prefix=Pump&priority=critical").await, ["Pump/Alarms/Trip"]);

    let post = async |path: &str, body: Json| bench.ask("POST", &format!("/api/v1/alarms/{path}"), "engineer", Some(body)).await;
    let high = "Tank/Alarms/High";
    assert_eq!(post("ack", json!({"alarm": high, "note": "seen"})).await, (200, json!({"status": "Good", "message": "done"})));
    assert_eq!(post("ack", json!({"event": Uuid::nil()})).await.0, 200);
    assert_eq!(post("shelve", json!({"alarm": high, "minutes": 7.5})).await.0, 200);
    assert_eq!(post("shelve", json!({"alarm": high, "one_shot": true})).await.0, 200);
    assert_eq!(post("out-of-service", json!({"alarm": high, "out": false})).await.0, 200);
    let (status, problem) = post("ack", json!({"alarm": "none"})).await;
    assert_eq!((status, &problem["detail"]), (404, &json!("there is no alarm of that path")));

    let commands: Vec<_> = bench.plant.asked.lock().unwrap().iter().map(|(_, command)| command.clone()).collect();
    let alarm: Arc<str> = high.into();
    let expected = [
        Command::Acknowledge { alarm: alarm.clone(), note: "seen".into() },
        Command::AcknowledgeEvent { alarm: None, event: Uuid::nil(), note: String::new() },
        Command::Shelve { alarm: alarm.clone(), minutes: 7.5, note: String::new() },
        Command::ShelveOneShot { alarm: alarm.clone(), note: String::new() },
        Command::OutOfService { alarm, out: false, note: String::new() },
    ];
    assert_eq!(commands[..5], expected);
}

#[tokio::test]
async fn records_come_in_pages_and_numbers_as_they_may_be_seen() {
    let bench = Bench::new().await;
    let entry = |second| {
        Record::Journal(JournalEntry {
            time: at(second),
            alarm: "Tank/Alarms/High".into(),
            event: None,
            kind: JournalKind::Raised,
            priority: Priority::High,
            value: String::new(),
            user: String::new(),
            via: None,
            text: String::new(),
            data: BTreeMap::new(),
        })
    };
    let audit = Record::Audit(AuditEntry {
        time: at(0),
        kind: AuditKind::MessageSent,
        user: "system".into(),
        via: Via::System,
        subject: "+12223334444".into(),
        text: String::new(),
        result: String::new(),
        events: Vec::new(),
        sid: None,
    });
    bench.store.commit(&[entry(1), entry(2), entry(3), audit]).await.unwrap();
    let (status, page) = bench.ask("GET", "/api/v1/journal?alarm=Tank&kind=raised&limit=2", "viewer", None).await;
    assert_eq!(
        (status, page["entries"].as_array().map(Vec::len), &page["entries"][1]["id"]),
        (200, Some(2), &json!(2)),
        "{page}"
    );
    assert_eq!(page["entries"][0]["entry"]["time"], json!(at(3)));
    let next = format!("/api/v1/journal?limit=2&cursor={}", page["next"].as_str().unwrap());
    let (_, page) = bench.ask("GET", &next, "viewer", None).await;
    assert_eq!((page["entries"].as_array().map(Vec::len), &page["next"]), (Some(1), &Json::Null));
    let (_, page) = bench.ask("GET", &format!("/api/v1/journal?from={}&to={}", at(2), at(3)), "viewer", None).await;
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(1), "{page}");

    for (publish, expected) in
        [(PublishPhone::Masked, "+1•••4444"), (PublishPhone::Full, "+12223334444"), (PublishPhone::None, "")]
    {
        let mut plan = Plan::default();
        plan.people.publish_phone = publish;
        bench.plant.plan.send_replace(Arc::new(plan));
        let (_, users) = bench.ask("GET", "/api/v1/users", "viewer", None).await;
        assert_eq!(users["users"][0]["phone_number"], expected);
        for (who, shown) in [("viewer", expected), ("operator", "+12223334444"), ("engineer", "+12223334444")] {
            let (_, user) = bench.ask("GET", "/api/v1/users/1", who, None).await;
            assert_eq!((&user["phone_number"], &user["username"]), (&json!(shown), &json!("alice")), "{who}");
        }
        for nobody in ["2", "0", "x", "99999999999999999999"] {
            assert_eq!(bench.ask("GET", &format!("/api/v1/users/{nobody}"), "viewer", None).await.0, 404, "{nobody}");
        }
        let (_, audit) = bench.ask("GET", "/api/v1/audit", "viewer", None).await;
        assert_eq!(audit["entries"][0]["entry"]["subject"], expected);
        let (_, statistics) = bench.ask("GET", "/api/v1/statistics", "viewer", None).await;
        assert_eq!(statistics["users"][0]["phone_number"], expected);
        assert_eq!(statistics["users"][0]["messages_sent"], 3);
    }
}

#[tokio::test]
async fn who_knows_nothing_says_so() {
    let bench = Bench::new().await;
    let paths = ["alarms", "messages", "users", "users/1", "statistics", "overrides", "on-call"];
    for (lost, expected) in [(false, 200), (true, 503), (false, 200)] {
        bench.plant.lost.store(lost, Ordering::Relaxed);
        for path in paths {
            let (status, answer) = bench.ask("GET", &format!("/api/v1/{path}"), "viewer", None).await;
            assert_eq!(status, expected, "{path}: {answer}");
            assert_eq!(
                lost,
                answer["detail"].as_str().is_some_and(|words| words.starts_with("nothing is known now")),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn who_is_on_call_and_who_covers_whom() {
    let bench = Bench::new().await;
    let mut plan = Plan::default();
    for name in ["alice", "bob"] {
        plan.users.insert(name.into(), Arc::new(UserDef { name: name.into(), ..UserDef::default() }));
    }
    plan.rosters = BTreeMap::from([("team".into(), vec!["bob".into()]), ("others".into(), vec![])]);
    plan.overrides.push(cover("bob", 200));
    bench.plant.plan.send_replace(Arc::new(plan));

    let (_, list) = bench.ask("GET", "/api/v1/overrides", "viewer", None).await;
    let row = |number: Option<u64>, from: u64| json!({"number": number, "user": "alice", "covers": "bob", "from": at(from), "to": at(from + 50), "note": "swap"});
    assert_eq!(list, json!({"overrides": [row(None, 200), row(Some(7), 100)]}));

    let on_call = async |query: String| bench.ask("GET", &format!("/api/v1/on-call?{query}"), "viewer", None).await;
    let (status, answer) = on_call(format!("roster=team&days=1&at={}", at(110))).await;
    let place = json!({"holder": "bob", "user": "alice", "rotation": null, "on_duty": true});
    let period = |from: u64, until: u64, who: &str| json!({"from": at(from), "until": at(until), "users": [who]});
    let timeline = [period(110, 150, "alice"), period(150, 200, "bob"), period(200, 250, "alice"), period(250, 86_510, "bob")];
    let team =
        json!({"roster": "team", "on_duty": ["alice"], "places": [place], "until": at(150), "timeline": timeline, "gaps": []});
    assert_eq!((status, answer), (200, json!({"at": at(110), "rosters": [team]})));
    let (_, answer) = on_call(String::new()).await;
    assert_eq!(answer["rosters"].as_array().map(Vec::len), Some(2));
    for (query, expected) in [("roster=none", 404), ("days=63", 422), ("days=0", 422), ("at=noon", 400)] {
        assert_eq!(on_call(query.to_owned()).await.0, expected, "{query}");
    }

    let body = json!({"user": "alice", "covers": "bob", "from": at(100), "to": at(150), "note": "swap"});
    assert_eq!(bench.ask("POST", "/api/v1/overrides", "operator", Some(body)).await.0, 200);
    assert_eq!(bench.ask("POST", "/api/v1/overrides", "operator", Some(json!({"user": "alice"}))).await.0, 422);
    assert_eq!(bench.ask("DELETE", "/api/v1/overrides/7", "operator", None).await.0, 200);
    assert_eq!(bench.ask("POST", "/api/v1/drill", "operator", Some(json!({}))).await.0, 200);
    assert_eq!(bench.ask("POST", "/api/v1/drill", "operator", Some(json!({"x": 1}))).await.0, 422);
    assert_eq!(bench.ask("DELETE", "/api/v1/overrides/seven", "operator", None).await.0, 404);
    let asked: Vec<_> = bench.plant.asked.lock().unwrap().iter().map(|(_, command)| command.clone()).collect();
    assert_eq!(asked, [Command::SetOverride(cover("bob", 100)), Command::RemoveOverride { number: 7 }, Command::StartDrill]);
}

#[tokio::test]
async fn a_message_is_answered_as_the_block_wants_it() {
    let bench = Arc::new(Bench::new().await);
    let send = async |message: &str, fire_and_forget: Option<bool>| {
        let mut body = json!({"number": "+12223334444", "message": message});
        if let Some(fire_and_forget) = fire_and_forget {
            body["fire_and_forget"] = fire_and_forget.into();
        }
        let (status, answer) = bench.ask("POST", "/api/v1/send", "token mes", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let answer = |error: bool, throttling: bool, message: &str| json!({"error_status": error, "throttling_status": throttling, "disabled": false, "message": message});
    let mut accepted = answer(false, false, "accepted");
    accepted["sid"] = "SM1".into();
    assert_eq!(send("hello", None).await, accepted);
    assert_eq!(bench.plant.asked.lock().unwrap()[0].0, "mes as operator");
    assert_eq!(send("refused", None).await, answer(false, false, "not a phone number"));
    assert_eq!(send("refused", Some(false)).await, answer(true, false, "not a phone number"));
    assert_eq!(send("much", Some(false)).await, answer(true, true, "too many"));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..MAX_SENDS {
        let bench = Arc::clone(&bench);
        let body = json!({"number": "+12223334444", "message": "slow"});
        callers.spawn(async move { bench.ask("POST", "/api/v1/send", "operator", Some(body)).await });
    }
    while let Some(ended) = callers.join_next().await {
        assert_eq!(ended.unwrap(), (200, answer(false, false, "on its way; see the messages for what becomes of it")));
    }
    let body = json!({"number": "+12223334444", "message": "one more"});
    let busy = "too many messages are being sent: try again in a few seconds";
    assert_eq!(bench.ask("POST", "/api/v1/send", "operator", Some(body)).await, (429, answer(false, true, busy)));
}

#[tokio::test]
async fn events_are_read_as_other_programs_send_them() {
    let bench = Bench::new().await;
    let identify = json!({
        "userId": "u 7/ä", "traits": {"phone": "+12223330007", "consent": ["orders"], "email": "x@example.com"}, "timestamp": "now",
    });
    let (status, answer) = bench.ask("POST", "/api/v1/identify", "token mes", Some(identify)).await;
    assert_eq!((status, &answer["message"]), (200, &json!("done")), "{answer}");
    let track = json!({"userId": "u", "event": "Order Completed", "properties": {"sms_body": "Hi", "order": 7}, "context": {}});
    let expected = json!({"queued": true, "throttling_status": false, "disabled": false, "message": "done"});
    assert_eq!(bench.ask("POST", "/api/v1/track", "token mes", Some(track)).await, (200, expected));
    bench.ask("POST", "/api/v1/track", "token mes", Some(json!({"userId": "u", "event": "e"}))).await;
    bench.ask("DELETE", "/api/v1/identify/u%207%2F%C3%A4", "token mes", None).await;
    let asked: Vec<Command> = bench.plant.asked.lock().unwrap().iter().map(|(_, command)| command.clone()).collect();
    let track = |event: &str, properties: Json| Command::Track { user_id: "u".into(), event: event.into(), properties };
    assert_eq!(
        asked,
        [
            Command::Identify {
                user_id: "u 7/ä".into(),
                phone: Some("+12223330007".into()),
                consent: Some(vec!["orders".into()])
            },
            track("Order Completed", json!({"sms_body": "Hi", "order": 7})),
            track("e", json!({})),
            Command::Forget { user_id: "u 7/ä".into() },
        ]
    );
    for (path, body) in [
        ("identify", json!({"traits": {}})),
        ("identify", json!({"userId": "u", "traits": {"phone": 5}})),
        ("identify", json!({"userId": "u", "traits": {"consent": "all"}})),
        ("track", json!({"userId": "u"})),
        ("track", json!({"userId": "u", "event": "e", "properties": []})),
        ("track", json!({"userId": "u", "event": "e", "properties": {"sms_body": 5}})),
        ("track", json!({"userId": "u", "event": "e", "properties": {"a": "x".repeat(17_000)}})),
    ] {
        assert_eq!(bench.ask("POST", &format!("/api/v1/{path}"), "token mes", Some(body.clone())).await.0, 422, "{path} {body}");
    }
}

#[tokio::test]
async fn a_refused_reload_tells_every_problem() {
    let bench = Bench::new().await;
    let (status, problem) = bench.ask("POST", "/api/v1/reload", "engineer", None).await;
    assert_eq!((status, &problem["detail"]), (422, &json!("error: unknown roster `operatrs`")));
}
