//! An alarm's whole story: what it is, what happened, who was told and how that went, who did something about it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    auth::Viewer,
    problem::{Params, Problem},
    records,
};
use crate::{
    engine::{
        plan::{AlarmDef, Plan, Priority},
        record::{AuditEntry, AuditKind, JournalEntry, JournalKind},
        view::{AlarmView, OutboxView},
    },
    store::{JournalQuery, Numbered, Span},
    tag::Timestamp,
};

/// Entries of each part at most.
const MAX_ENTRIES: u32 = 1000;
/// Events of the alarm that are named.
const RECENT: u32 = 20;
/// What belongs to an event is written this long after its last transition at the latest: delivery reports are late.
const AFTERMATH: Duration = Duration::from_secs(86_400);

/// Which story.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StoryParams {
    /// Path of the alarm.
    alarm: String,
    /// Its alarm event; the present or last one when left out.
    event: Option<Uuid>,
}

/// An alarm's whole story.
#[derive(Serialize, ToSchema)]
pub struct Story {
    /// As it is now.
    alarm: Arc<AlarmView>,
    definition: Definition,
    /// The alarm event that the story is about; none when there never was one.
    event: Option<Uuid>,
    /// What happened to the alarm in that event, oldest first.
    transitions: Vec<Numbered<JournalEntry>>,
    /// Texts and calls about it, sent, not sent and why, delivered, answered, oldest first.
    messages: Vec<Numbered<AuditEntry>>,
    /// What people and programs did: acknowledged, shelved, written back to the PLC, oldest first.
    acts: Vec<Numbered<AuditEntry>>,
    /// Messages and writes about it that are still in the outbox.
    outbox: Vec<Arc<OutboxView>>,
    /// The alarm's events, newest first.
    events: Vec<EventView>,
    /// There is more than is shown.
    cut: bool,
}

/// What the configuration says of an alarm.
#[derive(Serialize, ToSchema)]
pub struct Definition {
    priority: Priority,
    /// The tag that it watches.
    tag: String,
    /// The pipeline that tells people.
    pipeline: Option<String>,
    /// It may be shelved …
    shelving: bool,
    /// … for so long at most.
    max_shelve_seconds: u64,
    /// It stays until it is reset.
    latching: bool,
    /// An acknowledgement is written to this tag.
    ack_tag: Option<String>,
    /// Associated data.
    data: BTreeMap<String, String>,
}

/// One alarm event.
#[derive(Serialize, ToSchema)]
pub struct EventView {
    event: Uuid,
    time: Timestamp,
    priority: Priority,
    /// The tag's value when it began.
    value: String,
}

/// An alarm's whole story
///
/// Transitions, messages and calls, who did what, write-back; of its present or last event, or of the one that is named.
#[utoipa::path(get, path = "/alarms/story", tag = "alarms", operation_id = "alarm_story", params(StoryParams),
    responses((status = 200, description = "The story", body = Story), (status = 404, description = "There is no such alarm")),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn story(State(api): State<Api>, _: Viewer, Params(params): Params<StoryParams>) -> Result<Json<Story>, Problem> {
    let plan = api.gateway.plan();
    let alarm = api.live.alarm(&params.alarm).await?.zip(plan.alarm(&params.alarm).cloned());
    let (alarm, def) = alarm.ok_or_else(|| Problem::not_found(format!("there is no alarm {:?}", params.alarm)))?;
    let raised = JournalQuery {
        alarm: Some(Arc::clone(&def.path)),
        kinds: vec![JournalKind::Raised],
        limit: Some(RECENT),
        ..JournalQuery::default()
    };
    let events: Vec<_> = api.store.journal(&raised).await?.into_iter().filter_map(|row| event_view(row.entry)).collect();
    let event = params.event.or(alarm.event).or_else(|| events.first().map(|event| event.event));
    let mut story = Story {
        definition: definition(&plan, &def),
        alarm,
        event,
        transitions: Vec::new(),
        messages: Vec::new(),
        acts: Vec::new(),
        outbox: Vec::new(),
        events,
        cut: false,
    };
    if let Some(event) = event {
        tell(&api, &plan, &def, event, &mut story).await?;
    }
    Ok(Json(story))
}

async fn tell(api: &Api, plan: &Plan, def: &AlarmDef, event: Uuid, story: &mut Story) -> Result<(), Problem> {
    let of_event = JournalQuery {
        alarm: Some(Arc::clone(&def.path)),
        event: Some(event),
        limit: Some(MAX_ENTRIES),
        ..JournalQuery::default()
    };
    story.transitions = api.store.journal(&of_event).await?;
    story.transitions.reverse();
    let (Some(first), Some(last)) = (story.transitions.first(), story.transitions.last()) else { return Ok(()) };
    let span = Span { from: first.entry.time, to: last.entry.time + AFTERMATH };
    let mut audit = api.store.audit_about(event, span, MAX_ENTRIES).await?;
    story.cut = story.transitions.len() >= MAX_ENTRIES as usize || audit.len() >= MAX_ENTRIES as usize;
    records::publish_subjects(plan, &mut audit);
    (story.messages, story.acts) = audit.into_iter().partition(|row| is_message(row.entry.kind));
    story.outbox = api.live.messages().await?;
    story.outbox.retain(|message| message.events.contains(&event) || message.alarms.contains(&def.path));
    Ok(())
}

fn event_view(entry: JournalEntry) -> Option<EventView> {
    Some(EventView { event: entry.event?, time: entry.time, priority: entry.priority, value: entry.value })
}

fn definition(plan: &Plan, def: &AlarmDef) -> Definition {
    let path = |tag| plan.tag(tag).map(|tag| tag.path.to_string());
    Definition {
        priority: def.priority,
        tag: path(def.tag).unwrap_or_default(),
        pipeline: def.pipeline.clone(),
        shelving: def.shelving,
        max_shelve_seconds: plan.alarm_rules.max_shelve[def.priority as usize].as_secs(),
        latching: def.latching,
        ack_tag: def.write_back.as_ref().and_then(|write| path(write.tag)),
        data: def.data.clone(),
    }
}

const fn is_message(kind: AuditKind) -> bool {
    use AuditKind as Kind;
    matches!(
        kind,
        Kind::MessageSent
            | Kind::MessageNotSent
            | Kind::MessageFailed
            | Kind::MessageStatus
            | Kind::MessageReceived
            | Kind::CallSent
            | Kind::CallFailed
            | Kind::CallEnded
            | Kind::CallReceived
            | Kind::Answer
    )
}
