//! Messages: the outbox, what was not sent and why, and what failed sent once more.

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    auth::{Operator, Viewer},
    pages::{self, MAX_PAGE},
    problem::{Body, Done, Params, Path, Problem, answer},
    records,
};
use crate::{
    engine::{
        io::{Command, OutboxId},
        record::{AuditEntry, AuditKind, NotSent},
        view::OutboxView,
    },
    store::{AuditQuery, Numbered},
    tag::Timestamp,
};

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessageParams {
    /// Only of these kinds; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    kind: Vec<MessageKind>,
    /// Only in these states, such as `queued`, `sent`, `delivered`, `failed`; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    state: Vec<String>,
    /// Only to this user, or written for them.
    user: Option<String>,
    /// Only about this alarm event.
    event: Option<Uuid>,
    /// Only about alarms whose paths begin so.
    prefix: Option<String>,
    /// Only about alarms whose paths fit, with `*` for any characters and `?` for one.
    path: Option<String>,
    /// Receiver, words, SID or detail contain this, whatever the case.
    text: Option<String>,
    /// Filed then or later …
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// … and before then.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Messages of one page, 10,000 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters.
    cursor: Option<String>,
}

/// What stands in the outbox.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum MessageKind {
    Text,
    Answer,
    Call,
    Write,
}

impl MessageKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Answer => "answer",
            Self::Call => "call",
            Self::Write => "write",
        }
    }
}

/// One page, newest first.
#[derive(Serialize, ToSchema)]
pub struct MessageList {
    messages: Vec<Arc<OutboxView>>,
    /// Of all pages together.
    total: usize,
    /// Give it as `cursor` for the next page; none at the end.
    next: Option<String>,
}

/// Messages, calls and writes that wait or ended a short while ago, newest first
///
/// What was longer ago is in the audit log; what was not sent, and why, under `/messages/not-sent`.
#[utoipa::path(get, path = "/messages", tag = "messages", operation_id = "list_messages", params(MessageParams),
    responses((status = 200, description = "One page", body = MessageList)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn list(State(api): State<Api>, _: Viewer, Params(query): Params<MessageParams>) -> Result<Json<MessageList>, Problem> {
    let limit = pages::limit(query.limit, MAX_PAGE)?;
    let text = pages::needle(query.text.as_deref())?;
    let mut messages = api.live.messages().await?;
    messages.retain(|message| {
        let sid = message.sid.as_deref().unwrap_or_default();
        let about = |fits: &dyn Fn(&str) -> bool| message.alarms.iter().any(|alarm| fits(alarm));
        (query.kind.is_empty() || query.kind.iter().any(|kind| kind.name() == message.kind))
            && (query.state.is_empty() || query.state.iter().any(|state| state == message.state))
            && query.user.as_ref().is_none_or(|user| message.user.as_ref() == Some(user))
            && query.event.is_none_or(|event| message.events.contains(&event))
            && query.prefix.as_ref().is_none_or(|prefix| about(&|alarm| alarm.starts_with(prefix)))
            && query.path.as_ref().is_none_or(|pattern| about(&|alarm| pages::fits(pattern, alarm)))
            && query.from.is_none_or(|from| message.created >= from)
            && query.to.is_none_or(|to| message.created < to)
            && pages::contains(text.as_deref(), &[&message.to, &message.text, &message.detail, sid])
    });
    let total = messages.len();
    let (messages, next) = pages::page(messages, |message| Reverse(message.row), query.cursor.as_deref(), limit)?;
    Ok(Json(MessageList { messages, total, next }))
}

/// Which of the messages that were not sent.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NotSentParams {
    /// Only for these reasons; may be repeated, or separated by commas.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    reason: Vec<NotSent>,
    /// Only to this user, or refused to them.
    user: Option<String>,
    /// Only about this alarm event.
    event: Option<Uuid>,
    /// Receiver, user, words or reason contain this, whatever the case of ASCII letters.
    text: Option<String>,
    /// Not before.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Messages of one page, 500 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters.
    cursor: Option<String>,
}

/// One page, newest first.
#[derive(Serialize, ToSchema)]
pub struct NotSentList {
    messages: Vec<NotSentView>,
    /// Give it as `cursor` for the next page; none at the end.
    next: Option<String>,
}

/// A message that was not sent.
#[derive(Serialize, ToSchema)]
struct NotSentView {
    /// Its number in the audit log.
    id: i64,
    time: Timestamp,
    /// To whom it would have been; of what was refused to `POST /send`, who asked for it. None where nobody was chosen yet.
    user: Option<String>,
    /// A number as `publish_phone` lets it be seen, a recipient of application events, or an alarm's path where nobody was chosen.
    to: String,
    /// Why; none when this version does not know the reason.
    reason: Option<NotSent>,
    /// The same in the audit log's words.
    detail: String,
    /// What it was about.
    text: String,
    /// Alarm events that it was about.
    events: Vec<Uuid>,
}

impl NotSentView {
    fn of(Numbered { id, entry }: Numbered<AuditEntry>) -> Self {
        let AuditEntry { time, user, subject: to, text, result: detail, events, .. } = entry;
        let user = Some(user).filter(|user| !user.is_empty());
        Self { id, time, user, to, reason: NotSent::of_words(&detail), detail, text, events }
    }
}

/// Messages that were not sent, with the reason, newest first
#[utoipa::path(get, path = "/messages/not-sent", tag = "messages", operation_id = "list_not_sent", params(NotSentParams),
    responses((status = 200, description = "One page", body = NotSentList)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn not_sent(
    State(api): State<Api>,
    _: Viewer,
    Params(params): Params<NotSentParams>,
) -> Result<Json<NotSentList>, Problem> {
    let limit = pages::limit(params.limit, records::PAGE)?;
    let query = AuditQuery {
        kinds: vec![AuditKind::MessageNotSent],
        user: params.user,
        results: params.reason.into_iter().map(|reason| reason.words().to_owned()).collect(),
        event: params.event,
        text: pages::needle(params.text.as_deref())?,
        from: params.from,
        to: params.to,
        before: pages::place(params.cursor.as_deref())?,
        limit: Some(pages::one_more(limit)),
        ..AuditQuery::default()
    };
    let mut entries = api.store.audit(&query).await?;
    records::publish_subjects(&api.gateway.plan(), &mut entries);
    let (entries, next) = pages::cut(entries, limit);
    Ok(Json(NotSentList { messages: entries.into_iter().map(NotSentView::of).collect(), next }))
}

/// Nothing to say; a body all the same, so that no link and no form sends anything.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBody {}

/// Send a message or call that failed once more
#[utoipa::path(post, path = "/messages/{row}/retry", tag = "messages", operation_id = "retry_message", request_body = RetryBody,
    params(("row" = String, Path, description = "The message's `row`, a whole number")),
    responses(
        (status = 200, description = "It waits to be sent", body = Done),
        (status = 409, description = "It did not fail", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn retry(
    State(api): State<Api>,
    Operator(by): Operator,
    Path(row): Path<String>,
    Body(RetryBody {}): Body<RetryBody>,
) -> Result<Json<Done>, Problem> {
    let row = row.parse().map_err(|_| Problem::not_found(format!("there is no message {row}")))?;
    answer(api.gateway.command(by, Command::Retry { row: OutboxId(row) }).await)
}
