//! Tags: list, search, browse as folders, read, write.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Operator, Viewer},
    pages,
    problem::{Body, Params, Path, Problem},
};
use crate::{
    engine::plan::{Origin, Plan, TagDef},
    tag::{self, TagTable, Timestamp, Value},
};

/// Tags of one page, unless the caller wants fewer or more.
const PAGE: u32 = 1000;

/// Which tags.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Paths that begin so.
    #[serde(default)]
    prefix: String,
    /// Paths that fit, with `*` for any characters and `?` for one.
    path: Option<String>,
    /// Path or description contain this, whatever the case.
    text: Option<String>,
    /// Tags of one page, 1,000 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before, asked for with the same filters.
    #[serde(alias = "after")]
    cursor: Option<String>,
}

/// One page of tags, by path.
#[derive(Serialize, ToSchema)]
pub struct TagList {
    tags: Vec<TagView>,
    /// Give it as `cursor` for the next page; none at the end.
    next: Option<String>,
}

/// A tag with its present value.
#[derive(Serialize, ToSchema)]
pub struct TagView {
    path: Arc<str>,
    /// An OPC UA built-in type, with the length of an array in brackets.
    #[serde(rename = "type")]
    data_type: String,
    /// Null when it has none.
    value: serde_json::Value,
    /// The OPC UA name, or the number in hexadecimal.
    status: String,
    source_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// Low and high end.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    writable: bool,
    /// The least role that writes it, when it is writable.
    #[serde(skip_serializing_if = "Option::is_none")]
    write_role: Option<&'static str>,
    /// The source that it comes from; none for those that are kept or computed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Arc<str>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    /// Paths of the alarms that watch it; only where one tag is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<Vec<Arc<str>>>,
}

/// A tag's value at a moment.
#[derive(Serialize, ToSchema)]
pub struct Reading {
    path: Arc<str>,
    /// Null when it has none.
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

/// Which folder.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FolderQuery {
    /// Its path; left out, the topmost.
    #[serde(default)]
    folder: String,
    /// Tags of one page, 1,000 when left out.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// What a folder holds.
#[derive(Serialize, ToSchema)]
pub struct Folder {
    /// Its path.
    path: String,
    /// Folders in it, by name; a tag that has something below it is both.
    folders: Vec<SubFolder>,
    /// Tags right in it, by path.
    tags: Vec<TagView>,
    /// Give it as `cursor` for the next page of tags; none at the end.
    next: Option<String>,
}

/// A folder in a folder.
#[derive(Serialize, ToSchema)]
pub struct SubFolder {
    name: String,
    path: String,
    /// Tags below it.
    tags: usize,
}

/// A new value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteBody {
    /// Of the tag's type.
    value: serde_json::Value,
}

/// The device took it.
#[derive(Serialize, ToSchema)]
pub struct Written {
    path: Arc<str>,
    /// The OPC UA name.
    status: String,
}

/// Tags with their present values, filtered, a page at a time
#[utoipa::path(get, path = "/tags", tag = "tags", operation_id = "list_tags", params(ListQuery),
    responses((status = 200, description = "One page", body = TagList)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn list(State(api): State<Api>, _: Viewer, Params(query): Params<ListQuery>) -> Result<Json<TagList>, Problem> {
    let limit = pages::limit(query.limit, PAGE)?;
    let text = pages::needle(query.text.as_deref())?;
    let after: Option<String> = pages::place(query.cursor.as_deref())?;
    let plan = api.gateway.plan();
    let wanted = |tag: &&TagDef| {
        tag.path.starts_with(&query.prefix)
            && after.as_deref().is_none_or(|after| &*tag.path > after)
            && query.path.as_ref().is_none_or(|pattern| pages::fits(pattern, &tag.path))
            && pages::contains(text.as_deref(), &[&tag.path, &tag.description])
    };
    let (tags, next) = first(plan.tags.iter().filter(wanted).collect(), limit);
    Ok(Json(TagList { tags: tags.into_iter().map(|tag| view(&api, tag)).collect(), next }))
}

/// What a folder of the tags' paths holds
#[utoipa::path(get, path = "/tags-tree", tag = "tags", operation_id = "browse_tags", params(FolderQuery),
    responses((status = 200, description = "Its folders, and one page of its tags", body = Folder)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn tree(State(api): State<Api>, _: Viewer, Params(query): Params<FolderQuery>) -> Result<Json<Folder>, Problem> {
    let limit = pages::limit(query.limit, PAGE)?;
    let after: Option<String> = pages::place(query.cursor.as_deref())?;
    let plan = api.gateway.plan();
    let prefix = if query.folder.is_empty() { String::new() } else { format!("{}/", query.folder) };
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tags = Vec::new();
    for tag in &plan.tags {
        let Some(rest) = tag.path.strip_prefix(prefix.as_str()) else { continue };
        match rest.split_once('/') {
            Some((name, _)) => *folders.entry(name).or_default() += 1,
            None if after.as_deref().is_none_or(|after| &*tag.path > after) => tags.push(tag),
            None => {}
        }
    }
    if folders.is_empty() && tags.is_empty() && after.is_none() && !prefix.is_empty() {
        return Err(Problem::not_found(format!("there is no folder {:?}", query.folder)));
    }
    let folder = |(name, tags): (&str, usize)| SubFolder { name: name.to_owned(), path: format!("{prefix}{name}"), tags };
    let folders = folders.into_iter().map(folder).collect();
    let (tags, next) = first(tags, limit);
    Ok(Json(Folder { folders, tags: tags.into_iter().map(|tag| view(&api, tag)).collect(), next, path: query.folder }))
}

/// One tag with its present value and its alarms
#[utoipa::path(get, path = "/tags/{*path}", tag = "tags", operation_id = "read_tag",
    params(("path" = String, Path, description = "The tag's path; its slashes may stand as they are or as %2F")),
    responses((status = 200, description = "The tag", body = TagView)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn read(State(api): State<Api>, _: Viewer, Path(path): Path<String>) -> Result<Json<TagView>, Problem> {
    let plan = api.gateway.plan();
    let tag = find(&plan, &path)?;
    let alarms = plan.alarms.iter().filter(|alarm| alarm.tag == tag.id).map(|alarm| Arc::clone(&alarm.path)).collect();
    Ok(Json(TagView { alarms: Some(alarms), ..view(&api, tag) }))
}

/// Write a value through to its device
///
/// The least role is the tag's own (`write_role`); the one write path checks it, the type and the range, and gives the device's own
/// answer.
#[utoipa::path(put, path = "/tags/{*path}", tag = "tags", operation_id = "write_tag", request_body = WriteBody,
    params(("path" = String, Path, description = "The tag's path; its slashes may stand as they are or as %2F")),
    responses(
        (status = 200, description = "The device took it", body = Written),
        (status = 409, description = "It cannot be written at present", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The program has a fault", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "The device cannot do that", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The device did not take it", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The device did not answer", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
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

/// The tag at `path`.
pub fn find<'a>(plan: &'a Plan, path: &str) -> Result<&'a TagDef, Problem> {
    plan.tag_at(path).ok_or_else(|| Problem::not_found(format!("there is no tag {path:?}")))
}

/// The first `limit` by path, and the cursor behind them. There may be a million: only those of the page are put in order.
fn first(mut tags: Vec<&TagDef>, limit: usize) -> (Vec<&TagDef>, Option<String>) {
    let more = tags.len() > limit;
    if more {
        tags.select_nth_unstable_by(limit, |one, two| one.path.cmp(&two.path));
        tags.truncate(limit);
    }
    tags.sort_unstable_by(|one, two| one.path.cmp(&two.path));
    let next = if more { tags.last().map(|tag| pages::cursor(&&*tag.path)) } else { None };
    (tags, next)
}

fn view(api: &Api, tag: &TagDef) -> TagView {
    let Reading { path, value, status, source_time } = Reading::of(tag, api.gateway.table());
    TagView {
        path,
        data_type: tag.value_type.to_string(),
        value,
        status,
        source_time,
        unit: tag.unit.as_deref().map(str::to_owned),
        range: tag.range.map(|(low, high)| [low, high]),
        writable: tag.writable,
        write_role: tag.writable.then(|| tag.write_role.name()),
        source: match &tag.origin {
            Origin::Source { source, .. } => Some(Arc::clone(source)),
            Origin::Memory { .. } | Origin::Derived(_) | Origin::System => None,
        },
        description: tag.description.to_string(),
        alarms: None,
    }
}
