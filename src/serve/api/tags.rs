//! Tags: list, read, write.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    auth::{Operator, Viewer},
    problem::{Body, Params, Problem},
};
use crate::{
    engine::plan::{Plan, TagDef},
    tag::{self, TagTable, Timestamp, Value},
};

/// Tags of one page, unless the caller wants fewer.
const PAGE: usize = 1000;
/// The most tags of one page.
const MAX_PAGE: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Paths that begin so.
    #[serde(default)]
    prefix: String,
    /// Paths after this one: the `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub struct TagList {
    tags: Vec<TagView>,
    /// Give it as `after` for the next page; none at the end.
    next: Option<String>,
}

/// A tag with its present value.
#[derive(Serialize)]
pub struct TagView {
    path: Arc<str>,
    #[serde(rename = "type")]
    data_type: String,
    value: serde_json::Value,
    /// The OPC UA name, or the number in hexadecimal.
    status: String,
    source_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    writable: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteBody {
    value: serde_json::Value,
}

#[derive(Serialize)]
pub struct Written {
    path: Arc<str>,
    status: String,
}

pub async fn list(State(api): State<Api>, _: Viewer, Params(query): Params<ListQuery>) -> Json<TagList> {
    let plan = api.gateway.plan();
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let wanted =
        |tag: &&Arc<TagDef>| tag.path.starts_with(&query.prefix) && query.after.as_deref().is_none_or(|after| &*tag.path > after);
    let mut tags: Vec<&Arc<TagDef>> = plan.tags.iter().filter(wanted).collect();
    let more = tags.len() > limit;
    if more {
        tags.select_nth_unstable_by(limit, |one, two| one.path.cmp(&two.path));
        tags.truncate(limit);
    }
    tags.sort_unstable_by(|one, two| one.path.cmp(&two.path));
    let next = if more { tags.last().map(|tag| tag.path.to_string()) } else { None };
    Json(TagList { tags: tags.into_iter().map(|tag| view(&api, tag)).collect(), next })
}

pub async fn read(State(api): State<Api>, _: Viewer, Path(path): Path<String>) -> Result<Json<TagView>, Problem> {
    let plan = api.gateway.plan();
    Ok(Json(view(&api, find(&plan, &path)?)))
}

/// The least role is the tag's own (`write_role`); the one write path checks it.
pub async fn write(
    State(api): State<Api>,
    Operator(by): Operator,
    Path(path): Path<String>,
    Body(body): Body<WriteBody>,
) -> Result<Json<Written>, Problem> {
    let plan = api.gateway.plan();
    let tag = find(&plan, &path)?;
    let value = Value::from_json(&body.value, tag.value_type)
        .map_err(|error| Problem::refused(tag::StatusCode::BAD_TYPE_MISMATCH, error))?;
    let (id, path) = (tag.id, tag.path.shared());
    let status = api.gateway.write(by, id, value).await;
    if status.is_bad() {
        return Err(Problem::refused(status, format!("{path} was not written: {status}")));
    }
    Ok(Json(Written { path, status: status.to_string() }))
}

/// A tag's value at a moment.
#[derive(Serialize)]
pub struct Reading {
    path: Arc<str>,
    value: serde_json::Value,
    /// The OPC UA name, or the number in hexadecimal.
    status: String,
    source_time: Timestamp,
}

impl Reading {
    /// The present one.
    pub fn of(tag: &TagDef, table: &TagTable) -> Self {
        let reading = table.read(tag.id);
        Self {
            path: tag.path.shared(),
            value: reading.value.to_json(),
            status: reading.status.to_string(),
            source_time: reading.source_time,
        }
    }
}

/// The tag at `path`.
pub fn find<'a>(plan: &'a Plan, path: &str) -> Result<&'a Arc<TagDef>, Problem> {
    plan.tag_at(path).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no tag {path:?}")))
}

fn view(api: &Api, tag: &TagDef) -> TagView {
    let reading = api.gateway.table().read(tag.id);
    TagView {
        path: tag.path.shared(),
        data_type: tag.value_type.to_string(),
        value: reading.value.to_json(),
        status: reading.status.to_string(),
        source_time: reading.source_time,
        unit: tag.unit.as_deref().map(str::to_owned),
        writable: tag.writable,
        description: tag.description.to_string(),
    }
}
