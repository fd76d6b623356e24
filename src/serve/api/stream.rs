//! Server-sent events at `/api/v1/stream`: alarms, messages, sources, counts, and the values of tags that the client names.
//!
//! A stream is a place in the ring of [`Live`] and costs nothing while nothing happens. It holds nothing back for a client that
//! does not read: that one falls out of the ring and is told to fetch everything anew. Tag values need no ring: the stream
//! compares the versions of its own tags. Who may have the stream is looked at again with every beat and every reload.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::watch, time::MissedTickBehavior};
use utoipa::IntoParams;

use super::{
    Api,
    auth::{Caller, Known, Proof},
    live::{Live, Seat, Topic, frame},
    pages,
    problem::{Params, Problem},
    tags::{self, Reading},
};
use crate::{
    clock,
    engine::plan::{Plan, Role, Secret},
    tag::TagId,
};

/// Streams at once.
pub const MAX_STREAMS: usize = 256;
/// Tags of one stream.
const MAX_TAGS: usize = 1000;
/// An event that says only the time is sent so often: a page notices a dead connection by its absence (it does not see comments).
const BEAT: Duration = Duration::from_secs(5);
/// How often the stream's tags are compared.
const TAGS: Duration = Duration::from_millis(250);
/// Events of one piece.
const PER_PIECE: usize = 64;
/// What a browser waits before it connects again, milliseconds.
const RETRY: u32 = 2000;

/// What the stream tells of.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// May be repeated, or separated by commas; all when left out.
    #[serde(default, deserialize_with = "pages::words")]
    #[param(inline)]
    topics: Vec<Topic>,
    /// Path of a tag whose values are told; may be repeated, up to 1,000 times.
    #[serde(default)]
    #[param(max_items = 1000)]
    tag: Vec<String>,
}

/// Changes as they happen, as server-sent events
///
/// The first event is `hello`; then `alarms`, `messages`, `sources`, `counts` with what changed, `overrides` without
/// them, `tags` with the values of the tags that
/// are named, `beat` every 5 s, `reload` when everything is to be fetched anew, and `logout` before the end. `Last-Event-ID` resumes.
#[utoipa::path(get, path = "/stream", tag = "stream", operation_id = "stream",
    params(StreamParams, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was taken")),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such tag", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn stream(
    State(api): State<Api>,
    Known(caller, proof): Known,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Response, Problem> {
    let Caller::Actor(actor) = caller else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a token that may only send gets no events"));
    };
    let topics = if params.topics.is_empty() { Topic::NAMED.to_vec() } else { params.topics };
    let plan = api.gateway.plan();
    let tags = if topics.contains(&Topic::Tags) { watched(&plan, &params.tag)? } else { Vec::new() };
    let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{MAX_STREAMS} event streams are open already"));
    let seat = api.live.enter(MAX_STREAMS).ok_or_else(full)?;
    // What happened before is no news. What is not known now is told once it is.
    _ = api.live.alarms().await;
    let news = api.live.news();
    let newest = *news.borrow();
    let last = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| api.live.number(id)));
    let (from, first) = match last {
        None => (newest, hello(&api.live, newest, false)),
        Some(Some(number)) if !api.live.take(number + 1, &topics, 0).behind => (number + 1, hello(&api.live, number + 1, true)),
        Some(_) => (newest, format!("{}{}", hello(&api.live, newest, false), reload(&api.live, newest, "unknown_id"))),
    };
    let plans = api.gateway.plan_changes();
    let permit = Permit::new(&plan, actor.name, actor.role, proof);
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compare = tokio::time::interval(TAGS);
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let names = params.tag;
    let events = Events { api, topics, names, tags, from, news, plans, permit, beat, compare, ended: false, _seat: seat };
    let first = format!("retry: {RETRY}\n{first}");
    let pieces = futures_util::stream::unfold((events, Some(first)), |(mut events, first)| async move {
        let text = match first {
            Some(first) => first,
            None => events.next().await?,
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (events, None)))
    });
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Reverse proxies are asked not to hold events back.
    let through = (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(([kind, through], Body::from_stream(pieces)).into_response())
}

fn hello(live: &Live, next: u64, resumed: bool) -> String {
    frame(Some(&live.id(next - 1)), "hello", &json!({ "resumed": resumed }))
}

fn reload(live: &Live, next: u64, reason: &str) -> String {
    frame(Some(&live.id(next - 1)), "reload", &json!({ "reason": reason }))
}

/// The tags and the versions that were told, none yet.
fn watched(plan: &Plan, names: &[String]) -> Result<Vec<(TagId, u64)>, Problem> {
    if names.len() > MAX_TAGS {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("a stream tells of {MAX_TAGS} tags at most")));
    }
    names.iter().map(|name| tags::find(plan, name).map(|tag| (tag.id, u64::MAX))).collect()
}

/// Why the stream is somebody's.
struct Permit {
    name: String,
    role: Role,
    proof: Proof,
    /// The hash that the proof stood against.
    hash: Option<Secret>,
}

impl Permit {
    fn new(plan: &Plan, name: String, role: Role, proof: Proof) -> Self {
        let hash = Self::hash(plan, &name, &proof);
        Self { name, role, proof, hash }
    }

    fn hash(plan: &Plan, name: &str, proof: &Proof) -> Option<Secret> {
        match proof {
            Proof::Token => plan.tokens.get(name).map(|def| def.hash.clone()),
            _ => plan.users.get(name).and_then(|def| def.password_hash.clone()),
        }
    }

    /// They could open the stream anew; that is use of a session.
    fn holds(&self, api: &Api) -> bool {
        let plan = api.gateway.plan();
        let role = match &self.proof {
            Proof::Session(id, _) => return api.sessions.find(&plan, id, Instant::now()).is_some(),
            Proof::Basic => plan.users.get(&self.name).map(|def| def.role),
            Proof::Token => plan.tokens.get(&self.name).and_then(|def| def.role),
        };
        role == Some(self.role) && Self::hash(&plan, &self.name, &self.proof) == self.hash
    }
}

/// One open stream.
struct Events {
    api: Api,
    topics: Vec<Topic>,
    names: Vec<String>,
    tags: Vec<(TagId, u64)>,
    /// Its place in the ring.
    from: u64,
    news: watch::Receiver<u64>,
    plans: watch::Receiver<Arc<Plan>>,
    permit: Permit,
    beat: tokio::time::Interval,
    compare: tokio::time::Interval,
    ended: bool,
    _seat: Seat,
}

impl Events {
    /// The next piece of text; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        while !self.ended {
            let piece = tokio::select! {
                // In this order: beats and the permit must not wait behind a flood.
                biased;
                () = self.api.stop.cancelled() => return None,
                _ = self.beat.tick() => Some(self.still_permitted(&frame(None, "beat", &json!({ "time": clock::now() })))),
                Ok(()) = self.plans.changed() => Some(self.reconfigured()),
                _ = self.compare.tick(), if !self.tags.is_empty() => self.changed_tags(),
                () = other(&mut self.news, self.from) => Some(self.news_of_all()),
            };
            if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                return Some(piece);
            }
        }
        None
    }

    fn still_permitted(&mut self, sign: &str) -> String {
        if self.permit.holds(&self.api) {
            return sign.to_owned();
        }
        self.ended = true;
        frame(None, "logout", &json!({}))
    }

    /// Ids of tags may have changed; those that are gone are told no more.
    fn reconfigured(&mut self) -> String {
        if !self.tags.is_empty() {
            let plan = self.api.gateway.plan();
            self.tags = self.names.iter().filter_map(|name| plan.tag_at(name)).map(|tag| (tag.id, u64::MAX)).collect();
        }
        self.still_permitted("")
    }

    fn changed_tags(&mut self) -> Option<String> {
        let plan = self.api.gateway.plan();
        let table = self.api.gateway.table();
        let mut changed = Vec::new();
        for (id, told) in &mut self.tags {
            let version = table.version(*id);
            if version != *told
                && let Some(tag) = plan.tag(*id)
            {
                *told = version;
                changed.push(Reading::of(tag, table));
            }
        }
        (!changed.is_empty()).then(|| frame(None, "tags", &json!({ "tags": changed })))
    }

    fn news_of_all(&mut self) -> String {
        let taken = self.api.live.take(self.from, &self.topics, PER_PIECE);
        self.from = taken.next;
        if taken.behind { reload(&self.api.live, self.from, "behind") } else { taken.text }
    }
}

/// Waits until there are events that the stream has not taken.
async fn other(news: &mut watch::Receiver<u64>, from: u64) {
    // The sender lives as long as the API.
    _ = news.wait_for(|newest| *newest != from).await;
}
