//! A gateway over a real engine: memory tags with alarms, commands, and a store that is a map, so that a restart is a call.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use annunciator::{
    BoxFuture,
    config::{File, Loader, load},
    engine::{
        Engine,
        condition::Condition,
        io::{
            Actor, CallDocument, CallEvent, Command, DeliveryState, Effect, Effects, InboundText, Input, OutboxId, Outcome,
            RequestId, Via,
        },
        plan::{Cover, Plan, Role},
        record::{Record, StateKind, StateRow},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::Gateway,
    tag::{Names, Sample, StatusCode, TagId, TagTable, Timestamp, Value},
};
use tokio::sync::{broadcast, watch};

/// Every type of condition, and what alarms can have besides.
pub const TAGS: &str = r#"
[[tag]]
path = "Plant/Level"
type = "Double"
initial = 0.0
writable = true
write_role = "operator"
range = [0.0, 100.0]
[[tag.alarm]]
name = "High"
mode = "above"
setpoint = 90.0
deadband = 2.0
priority = "critical"
message = "Level high"
suppressed_by = "Plant/Off"
[[tag.alarm]]
name = "Sides"
mode = "outside"
low = -10.0
high = 95.0
[[tag.alarm]]
name = "Rate"
mode = "rate_of_change"
setpoint = 100000.0
shelving = false

[[tag]]
path = "Plant/Pump"
type = "Bool"
initial = false
writable = true
write_role = "operator"
[[tag.alarm]]
name = "Trip"
latching = true
priority = "medium"

[[tag]]
path = "Plant/Off"
type = "Bool"
initial = false
writable = true
write_role = "operator"

[[tag]]
path = "Plant/Mode"
type = "Int32"
initial = 0
writable = true
write_role = "operator"
[[tag.alarm]]
name = "Manual"
mode = "equal"
setpoint = 3
priority = "low"
ack_mode = "unused"
"#;

/// The gateway.
pub struct Alarms {
    plan: watch::Sender<Arc<Plan>>,
    names: Names,
    table: TagTable,
    state: Mutex<State>,
    followers: broadcast::Sender<Arc<Condition>>,
}

/// What a restart keeps.
pub type Rows = BTreeMap<(StateKind, String), serde_json::Value>;

struct State {
    engine: Engine,
    rows: Rows,
    conditions: HashMap<Arc<str>, Arc<Condition>>,
    answers: HashMap<RequestId, Outcome>,
    next: u64,
}

impl Alarms {
    /// A plant with [`TAGS`] whose store holds `rows`.
    pub fn new(rows: Rows) -> Arc<Self> {
        Self::with(TAGS, rows)
    }

    /// The same with other tags.
    pub fn with(tags: &str, rows: Rows) -> Arc<Self> {
        let mut names = Names::default();
        let files = [File { name: "plant.toml".into(), text: tags.into() }];
        let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no files here".into()) };
        let plan = Arc::new(load(&[], &files, &[], loader, &mut names).unwrap_or_else(|problems| panic!("{problems:?}")).plan);
        let stored = rows.iter().map(|((kind, key), value)| StateRow { kind: *kind, key: key.clone(), value: value.clone() });
        let mut out = Vec::new();
        let entropy = rows.len() as u64 + 1;
        let (engine, problems) = Engine::restore(Arc::clone(&plan), stored.collect(), entropy, now(), &mut out);
        assert!(problems.is_empty(), "{problems:?}");
        let state = State { engine, rows, conditions: HashMap::new(), answers: HashMap::new(), next: 1 };
        let alarms = Self {
            plan: watch::Sender::new(plan),
            names,
            table: TagTable::default(),
            state: Mutex::new(state),
            followers: broadcast::Sender::new(8_192),
        };
        alarms.carry_out(&mut alarms.state.lock().unwrap(), out);
        Arc::new(alarms)
    }

    /// A new value, seen by the engine too.
    pub fn set(&self, path: &str, value: Value, status: StatusCode) {
        let tag = self.names.get(path).unwrap_or_else(|| panic!("no tag {path}"));
        self.handle(Input::Samples(vec![Sample { tag, value, status, source_time: now() }]));
    }

    /// The same of many tags, at the same moment.
    pub fn set_all(&self, paths: impl Iterator<Item = String>, value: &Value, status: StatusCode) {
        let sample = |path: String| {
            let tag = self.names.get(&path).unwrap_or_else(|| panic!("no tag {path}"));
            Sample { tag, value: value.clone(), status, source_time: now() }
        };
        self.handle(Input::Samples(paths.map(sample).collect()));
    }

    /// What the store holds.
    pub fn rows(&self) -> Rows {
        self.state.lock().unwrap().rows.clone()
    }

    fn handle(&self, input: Input) {
        if let Input::Samples(samples) = &input {
            self.table.write(samples);
        }
        let mut state = self.state.lock().unwrap();
        let mut out = Vec::new();
        state.engine.handle(now(), input, &mut out);
        self.carry_out(&mut state, out);
    }

    fn carry_out(&self, state: &mut State, out: Effects) {
        for effect in out {
            match effect {
                Effect::Record(Record::State { kind, key, value: Some(value) }) => {
                    _ = state.rows.insert((kind, key), value.json());
                }
                Effect::Record(Record::State { kind, key, value: None }) => _ = state.rows.remove(&(kind, key)),
                Effect::Publish(sample) => _ = self.table.write(&[sample]),
                Effect::Condition(condition) => {
                    state.conditions.insert(Arc::clone(&condition.alarm), Arc::clone(&condition));
                    _ = self.followers.send(condition);
                }
                Effect::Answer { request, outcome } => _ = state.answers.insert(request, outcome),
                _ => {}
            }
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

impl Gateway for Alarms {
    fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    fn conditions(&self) -> Vec<Arc<Condition>> {
        self.state.lock().unwrap().conditions.values().cloned().collect()
    }

    fn condition_changes(&self) -> broadcast::Receiver<Arc<Condition>> {
        self.followers.subscribe()
    }

    fn log_in(&self, user: String, password: String, _: IpAddr, via: Via) -> BoxFuture<'_, Result<Actor, StatusCode>> {
        Box::pin(async move {
            let role = match (&*user, &*password) {
                ("olga", "pump 7") => Role::Operator,
                ("erik", "secret") => Role::Engineer,
                _ => return Err(StatusCode::BAD_USER_ACCESS_DENIED),
            };
            Ok(Actor { name: user, role, via })
        })
    }

    fn check_token(&self, _: String, _: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        unreachable!("the OPC UA server takes no tokens")
    }

    fn write(&self, _: Actor, tag: TagId, value: Value) -> BoxFuture<'_, StatusCode> {
        Box::pin(async move {
            self.handle(Input::Samples(vec![Sample { tag, value, status: StatusCode::GOOD, source_time: now() }]));
            StatusCode::GOOD
        })
    }

    fn command(&self, by: Actor, command: Command) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let request = {
                let mut state = self.state.lock().unwrap();
                state.next += 1;
                RequestId(state.next)
            };
            self.handle(Input::Command { request, by, command });
            self.state.lock().unwrap().answers.remove(&request).expect("every command is answered")
        })
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        unreachable!("the OPC UA server reads alarms from their conditions")
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        unreachable!("the OPC UA server shows no outbox")
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        Box::pin(async { Some(Vec::new()) })
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
