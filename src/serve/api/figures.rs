//! What was counted: users, statistics, sources, counts.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Reader, Viewer},
    problem::{Path, Problem},
};
use crate::{
    engine::{
        plan::{Plan, Role, SourceDef},
        view::UserStatistics,
    },
    tag::{TagId, TagTable},
};

/// All users.
#[derive(Serialize, ToSchema)]
pub struct UserList {
    users: Vec<UserStatistics>,
}

/// Users with their messages and calls
#[utoipa::path(get, path = "/users", tag = "people", operation_id = "list_users",
    responses((status = 200, description = "By ascending id", body = UserList)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn users(State(api): State<Api>, _: Viewer) -> Result<Json<UserList>, Problem> {
    Ok(Json(UserList { users: published_users(&api).await? }))
}

/// One user; role operator sees the whole number
#[utoipa::path(get, path = "/users/{id}", tag = "people", operation_id = "get_user",
    params(("id" = String, Path, description = "The user's id, a whole number")),
    responses((status = 200, description = "The user", body = UserStatistics)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn user(State(api): State<Api>, Reader(by): Reader, Path(id): Path<String>) -> Result<Json<UserStatistics>, Problem> {
    let wanted: Option<i64> = id.parse().ok();
    let users = api.gateway.users().await.ok_or_else(Problem::nothing_known)?;
    let found = users.into_iter().find(|user| Some(user.id) == wanted);
    let mut user = found.ok_or_else(|| Problem::not_found(format!("there is no user with id {id:?}")))?;
    if by.role < Role::Operator {
        user.phone_number = api.gateway.plan().people.published(&user.phone_number);
    }
    Ok(Json(user))
}

/// The live counters, in the form of `annunciator report --users --output json`.
#[derive(Serialize, ToSchema)]
pub struct Statistics {
    users: Vec<UserStatistics>,
    /// To and from users.
    totals: Totals,
    /// To and from everybody else.
    other: Others,
}

#[derive(Serialize, ToSchema)]
pub struct Totals {
    messages_received: i64,
    messages_sent: i64,
    calls_received: i64,
    calls_sent: i64,
    call_minutes_received: i64,
    call_minutes_sent: i64,
}

#[derive(Serialize, ToSchema)]
pub struct Others {
    messages_received: i64,
    messages_sent: i64,
    calls_sent: i64,
}

/// Messages and calls, per user and in total
#[utoipa::path(get, path = "/statistics", tag = "figures", operation_id = "get_statistics",
    responses((status = 200, description = "The live counters", body = Statistics)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn statistics(State(api): State<Api>, _: Viewer) -> Result<Json<Statistics>, Problem> {
    let plan = api.gateway.plan();
    let figure = |name: &str| {
        let tag = plan.system.get(&format!("Twilio/{name}"));
        tag.and_then(|tag| api.gateway.table().read(tag).value.to_json().as_i64()).unwrap_or(0)
    };
    Ok(Json(Statistics {
        users: published_users(&api).await?,
        totals: Totals {
            messages_received: figure("MessagesReceived"),
            messages_sent: figure("MessagesSent"),
            calls_received: figure("CallsReceived"),
            calls_sent: figure("CallsSent"),
            call_minutes_received: figure("CallMinutesReceived"),
            call_minutes_sent: figure("CallMinutesSent"),
        },
        other: Others {
            messages_received: figure("MessagesReceivedOther"),
            messages_sent: figure("MessagesSentOther"),
            calls_sent: figure("CallsSentOther"),
        },
    }))
}

/// All sources.
#[derive(Serialize, ToSchema)]
pub struct SourceList {
    sources: Vec<SourceView>,
}

/// A source with its state, as under `System/Gateway/Sources/`; a figure is null until it is known.
#[derive(Serialize, ToSchema)]
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

/// Sources with their state
#[utoipa::path(get, path = "/sources", tag = "figures", operation_id = "list_sources",
    responses((status = 200, description = "All sources", body = SourceList)), extensions(("x-least-role" = json!("viewer"))))]
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
#[derive(Serialize, ToSchema)]
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

/// Alarms and messages by the numbers
#[utoipa::path(get, path = "/counts", tag = "figures", operation_id = "get_counts",
    responses((status = 200, description = "The present counts", body = CountsView)),
    extensions(("x-least-role" = json!("viewer"))))]
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

async fn published_users(api: &Api) -> Result<Vec<UserStatistics>, Problem> {
    let plan = api.gateway.plan();
    let mut users = api.gateway.users().await.ok_or_else(Problem::nothing_known)?;
    for user in &mut users {
        user.phone_number = plan.people.published(&user.phone_number);
    }
    Ok(users)
}
