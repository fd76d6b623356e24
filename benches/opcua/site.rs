//! Our server alone over a gateway that does nothing: Int32 variables `Bench/V0` to `Bench/V<n-1>` in one folder, of which all
//! or a tenth change every 100 ms.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use annunciator::{
    BoxFuture, clock,
    config::{File, Loader, load},
    engine::{
        io::{Actor, CallDocument, CallEvent, Command, DeliveryState, InboundText, OutboxId, Outcome, Via},
        plan::{Cover, Origin, Plan, Role, TagDef, TagTraits},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::{
        Gateway,
        opcua::{Limits, SecurityPolicy, Settings, serve},
    },
    tag::{DataType, Names, Sample, StatusCode, TagId, TagPath, TagTable, Value, ValueType},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often values change.
const CHANGE: Duration = Duration::from_millis(100);

/// What is served.
pub struct Wanted {
    pub address: SocketAddr,
    pub variables: usize,
    /// Every so manieth variable changes; zero for none.
    pub step: usize,
    pub pki: PathBuf,
    /// That serve connections, when not as many as by default.
    pub threads: Option<usize>,
}

struct Site {
    plan: watch::Sender<Arc<Plan>>,
    table: TagTable,
}

/// Serves until the process is ended.
pub fn run(wanted: &Wanted) -> Result<(), Box<dyn std::error::Error>> {
    let (plan, ids) = plan(wanted.variables)?;
    let site = Arc::new(Site { plan: watch::Sender::new(Arc::new(plan)), table: TagTable::default() });
    site.change(ids.iter().copied().enumerate(), 0);
    let defaults = Limits::default();
    let settings = Settings {
        bind: Some(wanted.address),
        endpoint: format!("opc.tcp://{}", wanted.address),
        security: vec![SecurityPolicy::None, SecurityPolicy::Basic256Sha256],
        anonymous: Some(Role::Engineer),
        pki: wanted.pki.clone(),
        limits: Limits { threads: wanted.threads.unwrap_or(defaults.threads), ..defaults },
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let running = serve(settings, site.clone(), CancellationToken::new()).await?;
        let mut tick = tokio::time::interval(CHANGE);
        for round in 1.. {
            tick.tick().await;
            if wanted.step > 0 {
                let moved = ids.iter().copied().enumerate().skip(round % wanted.step).step_by(wanted.step);
                site.change(moved, i32::try_from(round % 1_000_000)?);
            }
        }
        running.ended().await;
        Ok(())
    })
}

fn plan(variables: usize) -> Result<(Plan, Vec<TagId>), Box<dyn std::error::Error>> {
    let loader = Loader { env: &|_| None, read_file: &|_| Err("no files here".into()) };
    let mut names = Names::default();
    let files: [File; 0] = [];
    let loaded = load(&[], &files, &[], loader, &mut names).map_err(|problems| format!("{problems:?}"))?;
    let mut plan = loaded.plan;
    let mut ids = Vec::with_capacity(variables);
    for number in 0..variables {
        let path = TagPath::new(&format!("Bench/V{number}")).map_err(|error| error.to_string())?;
        let id = names.intern(path.clone());
        ids.push(id);
        let def = TagDef::new(
            id,
            path,
            Origin::Memory { initial: Value::Int32(0) },
            TagTraits { writable: true, write_role: Role::Operator, ..TagTraits::of(ValueType::scalar(DataType::Int32)) },
        );
        plan.tag_index.insert(def.id, &def.path, plan.tags.len());
        plan.tags.push(def);
    }
    Ok((plan, ids))
}

impl Site {
    fn change(&self, moved: impl Iterator<Item = (usize, TagId)>, round: i32) {
        let now = clock::now();
        let sample = |(number, tag): (usize, TagId)| {
            let value = Value::Int32(round.wrapping_mul(1_000).wrapping_add(i32::try_from(number).unwrap_or(0)));
            Sample { tag, value, status: StatusCode::GOOD, source_time: now }
        };
        self.table.write(&moved.map(sample).collect::<Vec<_>>());
    }
}

impl Gateway for Site {
    fn plan(&self) -> Arc<Plan> {
        self.plan.borrow().clone()
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    fn log_in(&self, _: String, _: String, _: IpAddr, _: Via) -> BoxFuture<'_, Result<Actor, StatusCode>> {
        Box::pin(async { Err(StatusCode::BAD_USER_ACCESS_DENIED) })
    }

    fn check_token(&self, _: String, _: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        Box::pin(async { None })
    }

    fn write(&self, _: Actor, tag: TagId, value: Value) -> BoxFuture<'_, StatusCode> {
        self.table.write(&[Sample { tag, value, status: StatusCode::GOOD, source_time: clock::now() }]);
        Box::pin(async { StatusCode::GOOD })
    }

    fn command(&self, _: Actor, _: Command) -> BoxFuture<'_, Outcome> {
        Box::pin(async { Outcome::refused(StatusCode::BAD_NOT_SUPPORTED, "nothing is behind this server") })
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        Box::pin(async { Vec::new() })
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        Box::pin(async { Vec::new() })
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn reload(&self, _: Actor) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("nothing to reload".into()) })
    }

    fn inbound(&self, _: InboundText) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async { Err(()) })
    }

    fn delivery(&self, _: Option<OutboxId>, _: String, _: DeliveryState, _: Option<u32>) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(async { Err(()) })
    }

    fn call(&self, _: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>> {
        Box::pin(async { Err(()) })
    }

    fn ready(&self) -> bool {
        true
    }

    fn metrics(&self, _: annunciator::serve::ConsoleLoad) -> String {
        String::new()
    }
}
