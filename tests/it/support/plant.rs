//! A gateway over a small fixed plant: a plan from configuration texts, a tag table, one user, and a memory of what was asked.

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use annunciator::{
    BoxFuture,
    config::{File, Loader, load},
    engine::{
        io::{Actor, CallDocument, CallEvent, Command, DeliveryState, InboundText, OutboxId, Outcome, Via},
        plan::{Cover, Plan, Role},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::Gateway,
    tag::{DataType, Names, Sample, StatusCode, Structure, TagId, TagTable, Timestamp, Value},
};
use tokio::sync::watch;

/// The plant's tags.
pub const TAGS: &str = r#"
[[tag]]
path = "Plant/Line1/TankLevel"
type = "Float"
initial = 12.5
unit = "%"
range = [0.0, 100.0]
writable = true
description = "Feed tank level"
[[tag.alarm]]
name = "HighHigh"
mode = "above"
setpoint = 90.0

[[tag]]
path = "Plant/Line1/Pump"
type = "Bool"
initial = false
writable = true
write_role = "operator"

[[tag]]
path = "Plant/Line1/Counter"
type = "Int32"
initial = 0

[[tag]]
path = "Plant/Line1/Recipe"
type = "Int16[4]"
initial = [1, 2, 3, 4]
writable = true
write_role = "operator"

[[tag]]
path = "Plant/Line1/Broken"
type = "Int32"
initial = 0
writable = true
write_role = "operator"
"#;

/// A source time that is not now.
pub fn past(seconds: i64) -> Timestamp {
    Timestamp::from("2024-02-29T12:00:00Z".parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds))
}

/// The gateway.
pub struct Plant {
    plan: watch::Sender<Arc<Plan>>,
    names: Mutex<Names>,
    table: TagTable,
    /// Every write that came through the write path.
    pub writes: Mutex<Vec<(Actor, String, Value)>>,
    /// Every command.
    pub commands: Mutex<Vec<(Actor, Command)>>,
}

impl Plant {
    /// With [`TAGS`], every memory tag at its initial value.
    pub fn new() -> Arc<Self> {
        let mut names = Names::default();
        let plan = Arc::new(plan("", TAGS, &mut names));
        let plant = Self {
            plan: watch::Sender::new(plan),
            names: Mutex::new(names),
            table: TagTable::default(),
            writes: Mutex::default(),
            commands: Mutex::default(),
        };
        plant.set("Plant/Line1/TankLevel", Value::Float(12.5), StatusCode::GOOD, past(0));
        plant.set("Plant/Line1/Pump", Value::Boolean(false), StatusCode::GOOD, past(0));
        plant.set("Plant/Line1/Counter", Value::Int32(0), StatusCode::GOOD, past(0));
        let recipe = Value::Array(DataType::Int16, (1..=4).map(Value::Int16).collect());
        plant.set("Plant/Line1/Recipe", recipe, StatusCode::GOOD, past(0));
        for (count, name) in (10..).zip([
            "CallMinutesReceived",
            "CallMinutesSent",
            "CallsReceived",
            "CallsSent",
            "MessagesReceived",
            "MessagesSent",
        ]) {
            plant.set(&format!("System/Gateway/Twilio/{name}"), Value::Int32(count), StatusCode::GOOD, past(0));
        }
        let rows: Arc<[Value]> = users().iter().map(|user| Value::Structure(Arc::new(row(user, "+1•••4444")))).collect();
        let statistics = Value::Array(DataType::UserStatistics, rows);
        plant.set("System/Gateway/Twilio/UserStatistics", statistics, StatusCode::GOOD, past(0));
        plant.set("Plant/Line1/TankLevel/Alarms/HighHigh/Ack", Value::Boolean(false), StatusCode::GOOD, past(0));
        Arc::new(plant)
    }

    /// The id of the tag at `path`.
    pub fn id(&self, path: &str) -> TagId {
        self.names.lock().unwrap().get(path).unwrap_or_else(|| panic!("no tag {path}"))
    }

    /// A new value.
    pub fn set(&self, path: &str, value: Value, status: StatusCode, source_time: Timestamp) {
        self.table.write(&[Sample { tag: self.id(path), value, status, source_time }]);
    }

    /// Other tags, as after a reload.
    pub fn reconfigure(&self, tags: &str) {
        let plan = plan("", tags, &mut self.names.lock().unwrap());
        self.plan.send_replace(Arc::new(plan));
    }

    /// Other people and settings, as after a reload.
    pub fn configure(&self, config: &str) {
        let plan = plan(config, TAGS, &mut self.names.lock().unwrap());
        self.plan.send_replace(Arc::new(plan));
    }
}

fn plan(config: &str, tags: &str, names: &mut Names) -> Plan {
    let config = [File { name: "site.toml".into(), text: config.into() }];
    let files = [File { name: "plant.toml".into(), text: tags.into() }];
    let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
    load(&config, &files, &[], loader, names).unwrap_or_else(|problems| panic!("{problems:?}")).plan
}

fn users() -> Vec<UserStatistics> {
    let alice = UserStatistics {
        id: 1,
        username: "alice".into(),
        phone_number: "+12223334444".into(),
        messages_received: 3,
        messages_sent: 5,
        calls_received: 0,
        calls_sent: 1,
        call_minutes_received: 0,
        call_minutes_sent: 2,
    };
    vec![alice.clone(), UserStatistics { id: 1001, username: "bob".into(), messages_sent: 7, ..alice }]
}

fn row(user: &UserStatistics, number: &str) -> Structure {
    let fields = [
        Value::string(user.username.as_str()),
        Value::string(number),
        Value::Int32(user.messages_received),
        Value::Int32(user.messages_sent),
        Value::Int32(user.calls_received),
        Value::Int32(user.calls_sent),
        Value::Int32(user.call_minutes_received),
        Value::Int32(user.call_minutes_sent),
    ];
    Structure { data_type: DataType::UserStatistics, fields: fields.into() }
}

impl Gateway for Plant {
    fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    fn log_in(&self, user: String, password: String, _: IpAddr, via: Via) -> BoxFuture<'_, Result<Actor, StatusCode>> {
        Box::pin(async move {
            let role = match (&*user, &*password) {
                ("olga", "öl pump 7") => Role::Operator,
                ("erik", "secret") => Role::Engineer,
                _ => return Err(StatusCode::BAD_USER_ACCESS_DENIED),
            };
            Ok(Actor { name: user, role, via })
        })
    }

    fn check_token(&self, _: String, _: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        unreachable!("the OPC UA server takes no tokens")
    }

    fn write(&self, by: Actor, tag: TagId, value: Value) -> BoxFuture<'_, StatusCode> {
        Box::pin(async move {
            let path = self.names.lock().unwrap().path(tag).to_string();
            self.writes.lock().unwrap().push((by, path.clone(), value.clone()));
            if path.ends_with("Broken") {
                return StatusCode::BAD_DEVICE_FAILURE;
            }
            if !path.contains("/Alarms/") {
                self.set(&path, value, StatusCode::GOOD, past(1));
            }
            StatusCode::GOOD
        })
    }

    fn command(&self, by: Actor, command: Command) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let refused =
                matches!(&command, Command::SendText { number, .. } | Command::PlaceCall { number, .. } if number == "bad");
            self.commands.lock().unwrap().push((by, command));
            if refused { Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, "no number") } else { Outcome::good("sent") }
        })
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        unreachable!("the OPC UA server reads alarms from the tag table")
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        unreachable!("the OPC UA server shows no outbox")
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        Box::pin(async { Some(users()) })
    }

    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>> {
        unreachable!("the OPC UA server shows no overrides")
    }

    fn reload(&self, _: Actor) -> BoxFuture<'_, Result<String, String>> {
        unreachable!("the OPC UA server reloads nothing")
    }

    fn inbound(&self, _: InboundText) -> BoxFuture<'_, Result<(), ()>> {
        unreachable!("the OPC UA server gets no texts")
    }

    fn delivery(&self, _: Option<OutboxId>, _: String, _: DeliveryState, _: Option<u32>) -> BoxFuture<'_, Result<(), ()>> {
        unreachable!("the OPC UA server gets no reports")
    }

    fn call(&self, _: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>> {
        unreachable!("no calls come in here")
    }

    fn ready(&self) -> bool {
        true
    }

    fn metrics(&self, _: annunciator::serve::ConsoleLoad) -> String {
        String::new()
    }
}
