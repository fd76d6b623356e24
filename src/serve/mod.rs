//! The outside looking in: OPC UA server, webhooks, HTTP API. They know the program only through [`Gateway`].

#[cfg(feature = "daemon")]
pub mod api;
#[cfg(feature = "daemon")]
pub mod console;
#[cfg(feature = "twilio")]
mod copies;
#[cfg(any(feature = "daemon", feature = "twilio"))]
pub mod http;
#[cfg(feature = "opcua")]
pub mod opcua;
#[cfg(feature = "daemon")]
pub mod passwords;
#[cfg(feature = "twilio")]
pub mod webhooks;

use std::{net::IpAddr, sync::Arc};

use crate::{
    BoxFuture,
    engine::{
        condition::Condition,
        io::{Actor, CallAction, CallDocument, CallEvent, Command, DeliveryState, InboundText, OutboxId, Outcome, Via},
        plan::{Cover, Plan},
        record::AuditEntry,
        view::{AlarmView, OutboxView, UserStatistics},
    },
    tag::{Past, PastValue, StatusCode, TagId, TagTable, Timestamp, Value},
};

/// Alarms and messages that changed, in no order.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// This is everything there is, not only what changed.
    pub all: bool,
    /// As they are now.
    pub alarms: Vec<AlarmView>,
    /// Paths of alarms that are no longer there.
    pub gone_alarms: Vec<Arc<str>>,
    /// As they are now.
    pub messages: Vec<OutboxView>,
    /// Rows that left the outbox.
    pub gone_messages: Vec<u64>,
    /// How many messages were not sent.
    pub not_sent: usize,
    /// Overrides of who is on duty were made, removed, or are over.
    pub overrides: bool,
}

/// How many people and programs use the console listener now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleLoad {
    /// Sessions of people who have logged in with a password.
    pub sessions: usize,
    /// Open event streams.
    pub streams: usize,
}

/// How this server stands among others that serve the same (OPC 10000-4, 6.6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redundancy {
    /// ServiceLevel: 0 maintenance, 1 no data, 2 to 199 degraded, 200 to 255 healthy.
    pub level: u8,
    /// The servers of the set as `(ApplicationUri, endpoint)`, this one among them; empty without redundancy.
    pub servers: Vec<(String, String)>,
}

/// Which chart, and in which colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Its key, such as `bad-actors`.
    pub key: String,
    /// For a dark screen, or light paper; `None`: as the reader prefers.
    pub dark: Option<bool>,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The span cannot be reported on; for the caller.
    Span(String),
    /// Others are being computed.
    Busy,
    /// For the log.
    Failed(String),
}

/// What a server may ask of the program. The daemon implements it; every change goes through the engine or the one write path.
pub trait Gateway: Send + Sync {
    /// The configuration in force.
    fn plan(&self) -> Arc<Plan>;
    /// Tells of every new configuration.
    fn plan_changes(&self) -> tokio::sync::watch::Receiver<Arc<Plan>>;
    /// The present values.
    fn table(&self) -> &TagTable;
    /// Every alarm that anything ever happened to, as it was told last; the others are [`Condition::normal`].
    fn conditions(&self) -> Vec<Arc<Condition>> {
        Vec::new()
    }
    /// Tells of every change of an alarm, after its commit. Who falls behind takes [`Gateway::conditions`] again.
    fn condition_changes(&self) -> tokio::sync::broadcast::Receiver<Arc<Condition>> {
        tokio::sync::broadcast::channel(1).1
    }
    /// Checks a password (argon2, off the reactor, slowed down after failures per user and per address). Both a wrong user and a
    /// wrong password are `BadUserAccessDenied`, after the same time.
    fn log_in(&self, user: String, password: String, from: IpAddr, via: Via) -> BoxFuture<'_, Result<Actor, StatusCode>>;
    /// Checks an API token, in the form `name:secret`. `Ok(None)` in the role means role `sender`.
    fn check_token(&self, token: String, from: IpAddr) -> BoxFuture<'_, Option<(String, Option<crate::engine::plan::Role>)>>;
    /// The one write path: role, `writable`, type and range, the device's own answer. Writes to an alarm's `Ack`, `AckEvent` and
    /// `Shelve` become commands.
    fn write(&self, by: Actor, tag: TagId, value: Value) -> BoxFuture<'_, StatusCode>;
    /// A person's or program's command; resolves after its commit (for `SendText`: after Twilio's answer, at most 10 s).
    fn command(&self, by: Actor, command: Command) -> BoxFuture<'_, Outcome>;
    /// All alarms with their present state.
    fn alarms(&self) -> BoxFuture<'_, Vec<AlarmView>>;
    /// Messages and writes waiting or recently ended.
    fn outbox(&self) -> BoxFuture<'_, Vec<OutboxView>>;
    /// Resolves when alarms or messages may have changed since [`Gateway::changes`] was last asked; for one who waits.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
    /// What changed since it was last asked, everything at first; for one who asks. `None` when nothing is known: the program is
    /// stopping, or stands by and its store does not answer.
    fn changes(&self) -> BoxFuture<'_, Option<Changed>> {
        Box::pin(async {
            Some(Changed { all: true, alarms: self.alarms().await, messages: self.outbox().await, ..Changed::default() })
        })
    }
    /// Writes down what a server did itself, such as letting somebody in.
    fn audit(&self, _entry: AuditEntry) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// One row a user, by ascending id; numbers unmasked. `None` as [`Gateway::changes`].
    fn users(&self) -> BoxFuture<'_, Option<Vec<UserStatistics>>>;
    /// Overrides made in operation, by number. `None` as [`Gateway::changes`].
    fn overrides(&self) -> BoxFuture<'_, Option<Vec<(u64, Cover)>>>;
    /// Reads the configuration again. The problems, as `check` prints them, when it is refused.
    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<String, String>>;
    /// A verified inbound text: resolves once it is committed. `Err` when the store cannot be written.
    fn inbound(&self, text: InboundText) -> BoxFuture<'_, Result<(), ()>>;
    /// A verified delivery report: resolves once it is committed. `Err` when the store cannot be written.
    fn delivery(
        &self,
        row: Option<OutboxId>,
        sid: String,
        status: DeliveryState,
        error_code: Option<u32>,
    ) -> BoxFuture<'_, Result<(), ()>>;
    /// A verified event of a call: resolves once it is committed, with what the call says next. `Err` when the store cannot be
    /// written.
    fn call(&self, call: CallEvent) -> BoxFuture<'_, Result<Option<CallDocument>, ()>>;
    /// What a call says: `response` (TwiML), or what the script of this notification profile makes of it (SPEC 13). Answers within
    /// 6 s; a faulty script changes nothing. The digits of a PIN are hidden from it.
    fn voice_script(
        &self,
        _profile: String,
        _action: CallAction,
        _params: Vec<(String, String)>,
        response: String,
    ) -> BoxFuture<'_, String> {
        Box::pin(std::future::ready(response))
    }
    /// Our own OPC UA certificate ends at `until`; `expiring` says so to people when that is soon.
    fn own_certificate(&self, _until: Timestamp, _expiring: Option<String>) {}
    /// A stretch of the past of a tag with `history = true`, up to now.
    fn history(&self, _past: Past) -> BoxFuture<'_, Result<Vec<PastValue>, StatusCode>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// The figures of alarm management of a span (the last 24 hours by default, at most 400 days) as JSON; see docs/reports.md.
    fn figures(&self, _from: Option<Timestamp>, _to: Option<Timestamp>) -> BoxFuture<'_, Result<String, ReportError>> {
        Box::pin(std::future::ready(Err(ReportError::Failed("this program has no reports".to_owned()))))
    }
    /// One chart of a span as SVG; `None` for one that there is not.
    fn chart(
        &self,
        _from: Option<Timestamp>,
        _to: Option<Timestamp>,
        _drawing: Drawing,
    ) -> BoxFuture<'_, Result<Option<String>, ReportError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// How this server stands among others; alone by default.
    fn redundancy(&self) -> Redundancy {
        Redundancy { level: if self.ready() { 255 } else { 1 }, servers: Vec::new() }
    }
    /// True once sources, store and engine are up.
    fn ready(&self) -> bool;
    /// Metrics in the Prometheus text format.
    fn metrics(&self, console: ConsoleLoad) -> String;
}
