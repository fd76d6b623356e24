//! What was recorded and counted: journal, audit log, users, statistics, messages, sources.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{
    Api,
    auth::{Reader, Viewer},
    problem::{Params, Problem},
};
use crate::{
    engine::{
        plan::{Plan, Role, SourceDef},
        record::{AuditEntry, AuditKind, JournalEntry, JournalKind},
        view::{OutboxView, UserStatistics},
    },
    store::{AuditQuery, JournalQuery, Numbered},
    tag::{TagId, TagTable, Timestamp},
};

/// Entries of one page, unless the caller wants fewer or more.
const PAGE: u32 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalParams {
    /// Alarm paths that begin so.
    alarm: Option<String>,
    event: Option<Uuid>,
    kind: Option<JournalKind>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditParams {
    kind: Option<AuditKind>,
    user: Option<String>,
    /// Subjects that begin so.
    subject: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u32>,
}

/// One page, newest first.
#[derive(Serialize)]
pub struct Page<T> {
    entries: Vec<Numbered<T>>,
    /// Give it as `before` for the next page; none at the end.
    next: Option<i64>,
}

pub async fn journal(
    State(api): State<Api>,
    _: Viewer,
    Params(params): Params<JournalParams>,
) -> Result<Json<Page<JournalEntry>>, Problem> {
    let limit = params.limit.unwrap_or(PAGE).clamp(1, crate::store::MAX_PAGE);
    let query = JournalQuery {
        alarm_prefix: params.alarm,
        event: params.event,
        kind: params.kind,
        from: params.from,
        to: params.to,
        before: params.before,
        limit: Some(limit),
    };
    Ok(Json(page(api.store.journal(&query).await?, limit)))
}

pub async fn audit(
    State(api): State<Api>,
    _: Viewer,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let limit = params.limit.unwrap_or(PAGE).clamp(1, crate::store::MAX_PAGE);
    let query = AuditQuery {
        kind: params.kind,
        user: params.user,
        subject_prefix: params.subject,
        from: params.from,
        to: params.to,
        before: params.before,
        limit: Some(limit),
    };
    let plan = api.gateway.plan();
    let mut entries = api.store.audit(&query).await?;
    for row in entries.iter_mut().filter(|row| is_number(&row.entry.subject)) {
        row.entry.subject = plan.people.published(&row.entry.subject);
    }
    Ok(Json(page(entries, limit)))
}

fn page<T>(entries: Vec<Numbered<T>>, limit: u32) -> Page<T> {
    let full = entries.len() >= limit as usize;
    let next = entries.last().filter(|_| full).map(|last| last.id);
    Page { entries, next }
}

#[derive(Serialize)]
pub struct UserList {
    users: Vec<UserStatistics>,
}

pub async fn users(State(api): State<Api>, _: Viewer) -> Json<UserList> {
    Json(UserList { users: published_users(&api).await })
}

/// One user; role operator sees the whole number (SPEC 5).
pub async fn user(State(api): State<Api>, Reader(by): Reader, Path(id): Path<String>) -> Result<Json<UserStatistics>, Problem> {
    let wanted: Option<i64> = id.parse().ok();
    let found = api.gateway.users().await.into_iter().find(|user| Some(user.id) == wanted);
    let mut user = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no user with id {id:?}")))?;
    if by.role < Role::Operator {
        user.phone_number = api.gateway.plan().people.published(&user.phone_number);
    }
    Ok(Json(user))
}

/// The live counters, in the form of `annunciator report --users --output json`.
pub async fn statistics(State(api): State<Api>, _: Viewer) -> Json<serde_json::Value> {
    let plan = api.gateway.plan();
    let figure = |name: &str| {
        let tag = plan.system.get(&format!("Twilio/{name}"));
        tag.map_or(serde_json::Value::from(0), |tag| api.gateway.table().read(tag).value.to_json())
    };
    Json(json!({
        "users": published_users(&api).await,
        "totals": {
            "messages_received": figure("MessagesReceived"),
            "messages_sent": figure("MessagesSent"),
            "calls_received": figure("CallsReceived"),
            "calls_sent": figure("CallsSent"),
            "call_minutes_received": figure("CallMinutesReceived"),
            "call_minutes_sent": figure("CallMinutesSent"),
        },
        "other": {
            "messages_received": figure("MessagesReceivedOther"),
            "messages_sent": figure("MessagesSentOther"),
            "calls_sent": figure("CallsSentOther"),
        },
    }))
}

#[derive(Serialize)]
pub struct MessageList {
    messages: Vec<Arc<OutboxView>>,
}

pub async fn messages(State(api): State<Api>, _: Viewer) -> Json<MessageList> {
    Json(MessageList { messages: api.live.messages().await })
}

/// All sources.
#[derive(Serialize)]
pub struct SourceList {
    sources: Vec<SourceView>,
}

/// A source with its state, as under `System/Gateway/Sources/`; a figure is null until it is known.
#[derive(Serialize)]
pub struct SourceView {
    name: Arc<str>,
    kind: &'static str,
    connected: Option<bool>,
    last_error: Option<String>,
    reconnects: Option<i64>,
    good_tags: Option<i64>,
    bad_tags: Option<i64>,
    reads_per_second: Option<f64>,
    write_errors: Option<i64>,
}

impl SourceView {
    pub fn name(&self) -> &str {
        &self.name
    }
}

pub async fn sources(State(api): State<Api>, _: Viewer) -> Json<SourceList> {
    Json(SourceList { sources: source_views(&api.gateway.plan(), api.gateway.table()) })
}

/// The present state of every source.
pub fn source_views(plan: &Plan, table: &TagTable) -> Vec<SourceView> {
    let view = |source: &Arc<SourceDef>| {
        let read = |tag: TagId| table.read(tag).value.to_json();
        SourceView {
            name: source.name.as_ref().into(),
            kind: source.kind,
            connected: read(source.nodes.connected).as_bool(),
            last_error: read(source.nodes.last_error).as_str().map(str::to_owned),
            reconnects: read(source.nodes.reconnects).as_i64(),
            good_tags: read(source.nodes.good_tags).as_i64(),
            bad_tags: read(source.nodes.bad_tags).as_i64(),
            reads_per_second: read(source.nodes.reads_per_second).as_f64(),
            write_errors: read(source.nodes.write_errors).as_i64(),
        }
    };
    plan.sources.iter().map(view).collect()
}

/// What is to be seen at a glance.
#[derive(Serialize)]
pub struct CountsView {
    active_unacked: i64,
    active_acked: i64,
    clear_unacked: i64,
    shelved: i64,
    suppressed: i64,
    out_of_service: i64,
    /// Alarm events that began in the last 10 minutes.
    alarms_per_10_minutes: i64,
    in_flood: bool,
    /// Messages and writes that wait.
    outbox_depth: i64,
}

pub async fn counts(State(api): State<Api>, _: Viewer) -> Json<CountsView> {
    Json(counts_view(&api.gateway.plan(), api.gateway.table()))
}

/// The present counts, as under `System/Gateway/Alarming/`; zero until they are known.
pub fn counts_view(plan: &Plan, table: &TagTable) -> CountsView {
    let read = |name: &str| plan.system.get(name).map(|tag| table.read(tag).value.to_json());
    let count = |name: &str| read(name).and_then(|value| value.as_i64()).unwrap_or(0);
    CountsView {
        active_unacked: count("Alarming/ActiveUnacked"),
        active_acked: count("Alarming/ActiveAcked"),
        clear_unacked: count("Alarming/ClearUnacked"),
        shelved: count("Alarming/Shelved"),
        suppressed: count("Alarming/Suppressed"),
        out_of_service: count("Alarming/OutOfService"),
        alarms_per_10_minutes: count("Alarming/AlarmsPer10Minutes"),
        in_flood: read("Alarming/InFlood").and_then(|value| value.as_bool()).unwrap_or(false),
        outbox_depth: count("Twilio/OutboxDepth"),
    }
}

async fn published_users(api: &Api) -> Vec<UserStatistics> {
    let plan = api.gateway.plan();
    let mut users = api.gateway.users().await;
    for user in &mut users {
        user.phone_number = plan.people.published(&user.phone_number);
    }
    users
}

fn is_number(subject: &str) -> bool {
    subject.strip_prefix('+').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
