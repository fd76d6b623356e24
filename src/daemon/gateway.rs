//! What the servers may ask of the program.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
};

use tokio::sync::{broadcast, oneshot, watch};

use super::{Shared, inbox::Message};
use crate::{
    BoxFuture, clock,
    engine::{
        Engine,
        condition::Condition,
        io::{Actor, CallAction, CallDocument, CallEvent, Command, DeliveryState, InboundText, Input, OutboxId, Outcome, Via},
        plan::{Cover, Plan, Role},
        record::{AuditEntry, Record},
        view::{AlarmView, OutboxView, UserStatistics},
    },
    serve::{Changed, ConsoleLoad, Drawing, Gateway, Redundancy, ReportError},
    tag::{Past, PastValue, StatusCode, TagId, TagTable, Timestamp, Value},
};

impl Shared {
    /// Has the engine's task look at the engine; `None` when it has stopped.
    pub(super) async fn query<T: Send + 'static>(&self, look: impl FnOnce(&Engine) -> T + Send + 'static) -> Option<T> {
        let (sender, seen) = oneshot::channel();
        // Whoever asked may have gone.
        self.inbox.push(Message::Query(Box::new(move |engine| _ = sender.send(look(engine)))));
        seen.await.ok()
    }

    /// A command and its outcome, after the commit.
    pub(super) async fn command(&self, by: Actor, command: Command) -> Outcome {
        let (request, outcome) = self.requests.open();
        self.inbox.input(Input::Command { request, by, command });
        outcome.await.unwrap_or_else(|_| {
            Outcome::refused(
                StatusCode::BAD_RESOURCE_UNAVAILABLE,
                "the program is stopping, or another instance has become active: look whether it was done",
            )
        })
    }

    /// Has the engine take an input; resolves once what follows from it is committed.
    pub(super) async fn durable(&self, make: impl FnOnce(crate::engine::io::RequestId) -> Input) -> Result<(), ()> {
        let request = self.requests.number();
        let (sender, committed) = oneshot::channel();
        self.inbox.push(Message::Durable(make(request), sender));
        committed.await.unwrap_or(Err(()))
    }
}

impl Gateway for Arc<Shared> {
    fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    fn plan_changes(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan_changes.subscribe()
    }

    fn table(&self) -> &TagTable {
        &self.table
    }

    fn conditions(&self) -> Vec<Arc<Condition>> {
        self.conditions.all()
    }

    fn condition_changes(&self) -> broadcast::Receiver<Arc<Condition>> {
        self.conditions.changes()
    }

    fn log_in(&self, user: String, password: String, from: IpAddr, via: Via) -> BoxFuture<'_, Result<Actor, StatusCode>> {
        Box::pin(async move {
            let plan = self.plan.load_full();
            let result = self.passwords.verify(&plan, &user, password, from, via, clock::now()).await;
            result.map_err(|refusal| {
                tracing::warn!(%user, %from, ?refusal, "login refused");
                refusal.status()
            })
        })
    }

    fn check_token(&self, token: String, from: IpAddr) -> BoxFuture<'_, Option<(String, Option<Role>)>> {
        Box::pin(async move {
            let plan = self.plan.load_full();
            self.passwords.verify_token(&plan, &token, from, clock::now()).await.ok()
        })
    }

    fn write(&self, by: Actor, tag: TagId, value: Value) -> BoxFuture<'_, StatusCode> {
        Box::pin(Shared::write(self, by, tag, value))
    }

    fn command(&self, by: Actor, command: Command) -> BoxFuture<'_, Outcome> {
        Box::pin(Shared::command(self, by, command))
    }

    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>> {
        Box::pin(async { self.query(Engine::alarm_views).await.unwrap_or_default() })
    }

    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>> {
        Box::pin(async { self.query(Engine::outbox_views).await.unwrap_or_default() })
    }

    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>> {
        Box::pin(self.query(Engine::user_statistics))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.changes.arrived())
    }

    fn changes(&self) -> BoxFuture<'_, Option<Changed>> {
        Box::pin(async move {
            let shared = Arc::clone(self);
            self.query(move |engine| shared.changes.look(engine)).await
        })
    }

    fn audit(&self, entry: AuditEntry) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.record(vec![Record::Audit(entry)]).await {
                tracing::warn!("failed to write the audit log");
            }
        })
    }

    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>> {
        Box::pin(self.query(Engine::overrides))
    }

    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { Shared::reload(self, &by).await })
    }

    fn inbound(&self, text: InboundText) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(self.durable(|request| Input::Inbound { request, text }))
    }

    fn voice_script(
        &self,
        profile: String,
        action: CallAction,
        params: Vec<(String, String)>,
        response: String,
    ) -> BoxFuture<'_, String> {
        Box::pin(async move { Shared::voice_script(self, &profile, action, params, response).await })
    }

    fn delivery(
        &self,
        row: Option<OutboxId>,
        sid: String,
        status: DeliveryState,
        error_code: Option<u32>,
    ) -> BoxFuture<'_, Result<(), ()>> {
        Box::pin(self.durable(move |request| Input::Status { request, row, sid, status, error_code }))
    }

    fn call(&self, call: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>> {
        Box::pin(async move {
            let (request, outcome) = self.requests.open();
            let (sender, committed) = oneshot::channel();
            self.inbox.push(Message::Durable(Input::Call { request, call }, sender));
            committed.await.unwrap_or(Err(()))?;
            Ok(outcome.await.ok().and_then(|outcome| outcome.document).map(|document| *document))
        })
    }

    fn own_certificate(&self, until: Timestamp, expiring: Option<String>) {
        if let Some(tag) = self.plan.load().system.get("Certificate/Expires") {
            self.publish_own(vec![(tag, Value::DateTime(until))]);
        }
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = expiring.clone();
        self.inbox.input(Input::Certificate { expiring });
    }

    fn history(&self, past: Past) -> BoxFuture<'_, Result<Vec<PastValue>, StatusCode>> {
        Box::pin(async move { self.history.read(self, &past).await })
    }

    fn redundancy(&self) -> Redundancy {
        let level = match (self.ready(), self.pair.lease.held()) {
            (false, _) => 1,
            (true, true) => 255,
            (true, false) => 100,
        };
        let seen = self.pair.last();
        let servers = seen.into_iter().flat_map(|seen| seen.pair.members);
        Redundancy { level, servers: servers.map(|member| (member.uri, member.endpoint)).collect() }
    }

    fn ready(&self) -> bool {
        self.ready.load(std::sync::atomic::Ordering::Acquire)
    }

    #[cfg(feature = "report")]
    fn figures(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> BoxFuture<'_, Result<String, ReportError>> {
        Box::pin(self.reports.json(&self.store, from, to))
    }

    #[cfg(feature = "report")]
    fn chart(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        drawing: Drawing,
    ) -> BoxFuture<'_, Result<Option<String>, ReportError>> {
        Box::pin(async move { self.reports.chart(&self.store, from, to, &drawing).await })
    }

    fn metrics(&self, console: ConsoleLoad) -> String {
        self.metrics_text(console)
    }
}
