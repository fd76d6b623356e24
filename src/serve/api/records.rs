//! What was recorded: journal and audit log.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    auth::Viewer,
    pages,
    problem::{Params, Problem},
};
use crate::{
    engine::{
        plan::{Plan, Priority},
        record::{AuditEntry, AuditKind, JournalEntry, JournalKind},
    },
    store::{AuditQuery, JournalQuery, Numbered},
    tag::Timestamp,
};

/// Entries of one page, unless the caller wants fewer or more.
pub const PAGE: u32 = 500;

/// Which journal entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JournalParams {
    /// Alarm paths that begin so.
    #[serde(alias = "alarm")]
    prefix: Option<String>,
    /// Alarm paths that fit, with `*` for any characters and `?` for one.
    path: Option<String>,
    /// Only of this alarm event.
    event: Option<Uuid>,
    /// Only of these kinds; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    kind: Vec<JournalKind>,
    /// This priority and above.
    #[param(inline)]
    priority: Option<Priority>,
    /// Only by this user or program.
    user: Option<String>,
    /// Alarm, value, user or text contain this, whatever the case of ASCII letters.
    text: Option<String>,
    /// Not before.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Entries of one page, 500 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters.
    cursor: Option<String>,
}

/// Which audit entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// Only of these kinds; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    kind: Vec<AuditKind>,
    /// Only by this user or program.
    user: Option<String>,
    /// Subjects (numbers, tags, alarms) that begin so.
    #[serde(alias = "subject")]
    prefix: Option<String>,
    /// Subjects that fit, with `*` for any characters and `?` for one.
    path: Option<String>,
    /// Only about this alarm event.
    event: Option<Uuid>,
    /// Subject, user, text or result contain this, whatever the case of ASCII letters.
    text: Option<String>,
    /// Not before.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Entries of one page, 500 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters.
    cursor: Option<String>,
}

/// One page, newest first.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    entries: Vec<Numbered<T>>,
    /// Give it as `cursor` for the next page; none at the end.
    next: Option<String>,
}

/// The journal: every transition of every alarm, newest first
#[utoipa::path(get, path = "/journal", tag = "records", operation_id = "list_journal", params(JournalParams),
    responses((status = 200, description = "One page", body = Page<JournalEntry>)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn journal(
    State(api): State<Api>,
    _: Viewer,
    Params(params): Params<JournalParams>,
) -> Result<Json<Page<JournalEntry>>, Problem> {
    let limit = pages::limit(params.limit, PAGE)?;
    let query = JournalQuery {
        alarm: None,
        alarm_prefix: params.prefix,
        alarm_pattern: params.path,
        event: params.event,
        kinds: params.kind,
        priorities: params
            .priority
            .map(|least| Priority::ALL.into_iter().filter(|it| *it >= least).collect())
            .unwrap_or_default(),
        user: params.user,
        text: pages::needle(params.text.as_deref())?,
        from: params.from,
        to: params.to,
        before: pages::place(params.cursor.as_deref())?,
        limit: Some(pages::one_more(limit)),
    };
    Ok(Json(page(api.store.journal(&query).await?, limit)))
}

/// The audit log: messages, calls, acknowledgements, writes, log-ins, reloads, newest first
#[utoipa::path(get, path = "/audit", tag = "records", operation_id = "list_audit", params(AuditParams),
    responses((status = 200, description = "One page", body = Page<AuditEntry>)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn audit(
    State(api): State<Api>,
    _: Viewer,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let limit = pages::limit(params.limit, PAGE)?;
    let query = AuditQuery {
        kinds: params.kind,
        user: params.user,
        subject_prefix: params.prefix,
        subject_pattern: params.path,
        results: Vec::new(),
        event: params.event,
        text: pages::needle(params.text.as_deref())?,
        from: params.from,
        to: params.to,
        before: pages::place(params.cursor.as_deref())?,
        limit: Some(pages::one_more(limit)),
    };
    let mut entries = api.store.audit(&query).await?;
    publish_subjects(&api.gateway.plan(), &mut entries);
    Ok(Json(page(entries, limit)))
}

/// Shows phone numbers as `publish_phone` lets them be seen.
pub fn publish_subjects(plan: &Plan, entries: &mut [Numbered<AuditEntry>]) {
    for row in entries.iter_mut().filter(|row| is_number(&row.entry.subject)) {
        row.entry.subject = plan.people.published(&row.entry.subject);
    }
}

fn page<T>(entries: Vec<Numbered<T>>, limit: usize) -> Page<T> {
    let (entries, next) = pages::cut(entries, limit);
    Page { entries, next }
}

fn is_number(subject: &str) -> bool {
    subject.strip_prefix('+').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
