//! Who is on duty; overrides, made and removed by operators and in force at once; drills.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    auth::{Operator, Viewer},
    problem::{Body, Done, Params, Problem, answer},
};
use crate::{
    clock,
    engine::{
        io::Command,
        people::{Period, Place, Rota},
        plan::{Cover, Plan},
    },
    tag::Timestamp,
};

/// The longest timeline, days.
const MAX_DAYS: u32 = 62;

#[derive(Serialize)]
pub struct OverrideList {
    overrides: Vec<Override>,
}

/// One override.
#[derive(Serialize)]
struct Override {
    /// None for those of the configuration.
    number: Option<u64>,
    user: String,
    covers: String,
    from: Timestamp,
    /// The first instant after it.
    to: Timestamp,
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    user: String,
    covers: String,
    /// Now when left out.
    from: Option<Timestamp>,
    to: Timestamp,
    #[serde(default)]
    note: String,
}

pub async fn overrides(State(api): State<Api>, _: Viewer) -> Json<OverrideList> {
    let row = |number, cover: Cover| {
        let Cover { user, covers, from, until, note } = cover;
        Override { number, user, covers, from, to: until, note }
    };
    let configured = api.gateway.plan().overrides.clone().into_iter().map(|cover| row(None, cover));
    let made = api.gateway.overrides().await.into_iter().map(|(number, cover)| row(Some(number), cover));
    Json(OverrideList { overrides: configured.chain(made).collect() })
}

pub async fn set_override(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<OverrideBody>,
) -> Result<Json<Done>, Problem> {
    let from = body.from.unwrap_or_else(clock::now);
    let cover = Cover { user: body.user, covers: body.covers, from, until: body.to, note: body.note };
    answer(api.gateway.command(by, Command::SetOverride(cover)).await)
}

pub async fn remove_override(
    State(api): State<Api>,
    Operator(by): Operator,
    Path(number): Path<String>,
) -> Result<Json<Done>, Problem> {
    let unknown = |_| Problem::new(StatusCode::NOT_FOUND, format!("there is no override {number}"));
    let number = number.parse().map_err(unknown)?;
    answer(api.gateway.command(by, Command::RemoveOverride { number }).await)
}

/// Nothing to say; a body all the same, so that no link and no form starts a drill.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillBody {}

pub async fn drill(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(DrillBody {}): Body<DrillBody>,
) -> Result<Json<Done>, Problem> {
    answer(api.gateway.command(by, Command::StartDrill).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnCallParams {
    /// One roster; all when left out.
    roster: Option<String>,
    /// Now when left out.
    at: Option<Timestamp>,
    /// Also who is on duty in so many days from then, 1 to 62.
    days: Option<u32>,
}

#[derive(Serialize)]
pub struct OnCall {
    at: Timestamp,
    rosters: Vec<RosterView>,
}

#[derive(Serialize)]
struct RosterView {
    roster: String,
    /// In the order in which they are contacted, each once.
    on_duty: Vec<String>,
    places: Vec<PlaceView>,
    /// When somebody else is on duty, if ever.
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Period>>,
}

/// One place of the roster.
#[derive(Serialize)]
struct PlaceView {
    /// Whose place it is.
    holder: String,
    /// Who is contacted.
    user: String,
    rotation: Option<String>,
    on_duty: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub async fn on_call(State(api): State<Api>, _: Viewer, Params(params): Params<OnCallParams>) -> Result<Json<OnCall>, Problem> {
    let plan = api.gateway.plan();
    if let Some(roster) = params.roster.as_ref().filter(|roster| !plan.rosters.contains_key(*roster)) {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no roster {roster:?}")));
    }
    if params.days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`days` is 1 to {MAX_DAYS}")));
    }
    let made = api.gateway.overrides().await.into_iter().collect();
    let looked_up = tokio::task::spawn_blocking(move || look_up(&plan, &made, &params)).await;
    looked_up.map(Json).map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the rota could not be read"))
}

/// Takes a while for many days and people.
fn look_up(plan: &Arc<Plan>, made: &BTreeMap<u64, Cover>, params: &OnCallParams) -> OnCall {
    let rota = Rota::new(plan, made);
    let at = params.at.unwrap_or_else(clock::now);
    let names = plan.rosters.keys().filter(|name| params.roster.as_ref().is_none_or(|only| only == *name));
    let rosters = names.map(|roster| RosterView {
        roster: roster.clone(),
        on_duty: rota.on_call(roster, at).into_iter().map(|user| user.name.clone()).collect(),
        places: rota.places(roster, at).iter().map(|place| place_view(&rota, place, at)).collect(),
        until: rota.next_change(roster, at),
        timeline: params.days.map(|days| rota.timeline(roster, at, days)),
    });
    OnCall { at, rosters: rosters.collect() }
}

fn place_view<'p>(rota: &Rota<'p>, place: &Place<'p>, at: Timestamp) -> PlaceView {
    let off = rota.off_duty(place.holder, place.is_covered(), at);
    PlaceView {
        holder: place.holder.name.clone(),
        user: place.user.name.clone(),
        rotation: place.rotation.map(str::to_owned),
        on_duty: off.is_none(),
        reason: off.map(|reason| reason.to_string()),
    }
}
