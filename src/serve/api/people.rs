//! Rosters and who is on duty; overrides, made and removed by operators and in force at once; drills.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Operator, Viewer},
    problem::{Body, Done, Params, Path, Problem, answer},
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

/// All overrides that are not over.
#[derive(Serialize, ToSchema)]
pub struct OverrideList {
    overrides: Vec<Override>,
}

/// One override.
#[derive(Serialize, ToSchema)]
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

/// Somebody stands in for somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    /// The user who stands in.
    user: String,
    /// The user who is not contacted.
    covers: String,
    /// Now when left out.
    from: Option<Timestamp>,
    /// The first instant after it.
    to: Timestamp,
    /// For people.
    #[serde(default)]
    note: String,
}

/// Who stands in for whom
#[utoipa::path(get, path = "/overrides", tag = "people", operation_id = "list_overrides",
    responses((status = 200, description = "Those of the configuration, then those made in operation", body = OverrideList)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn overrides(State(api): State<Api>, _: Viewer) -> Result<Json<OverrideList>, Problem> {
    let row = |number, cover: Cover| {
        let Cover { user, covers, from, until, note } = cover;
        Override { number, user, covers, from, to: until, note }
    };
    let configured = api.gateway.plan().overrides.clone().into_iter().map(|cover| row(None, cover));
    let made = api.gateway.overrides().await.ok_or_else(Problem::nothing_known)?;
    let made = made.into_iter().map(|(number, cover)| row(Some(number), cover));
    Ok(Json(OverrideList { overrides: configured.chain(made).collect() }))
}

/// Have somebody stand in for somebody
#[utoipa::path(post, path = "/overrides", tag = "people", operation_id = "make_override", request_body = OverrideBody,
    responses(
        (status = 200, description = "It is made; the message says its number", body = Done),
        (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn set_override(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(body): Body<OverrideBody>,
) -> Result<Json<Done>, Problem> {
    let from = body.from.unwrap_or_else(clock::now);
    let cover = Cover { user: body.user, covers: body.covers, from, until: body.to, note: body.note };
    answer(api.gateway.command(by, Command::SetOverride(cover)).await)
}

/// Remove an override that was made in operation
#[utoipa::path(delete, path = "/overrides/{number}", tag = "people", operation_id = "remove_override",
    params(("number" = String, Path, description = "Its number")),
    responses((status = 200, description = "It is removed", body = Done)), extensions(("x-least-role" = json!("operator"))))]
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
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillBody {}

/// Start a drill: a test of the way to people
#[utoipa::path(post, path = "/drill", tag = "people", operation_id = "start_drill", request_body = DrillBody,
    responses(
        (status = 200, description = "It has begun", body = Done),
        (status = 404, description = "No drill is configured", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "One goes on", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "No drill is configured", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("operator"))))]
pub async fn drill(
    State(api): State<Api>,
    Operator(by): Operator,
    Body(DrillBody {}): Body<DrillBody>,
) -> Result<Json<Done>, Problem> {
    answer(api.gateway.command(by, Command::StartDrill).await)
}

/// Whose duty, and when.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OnCallParams {
    /// One roster; all when left out.
    roster: Option<String>,
    /// Now when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Also who is on duty in so many days from then, 1 to 62.
    #[param(minimum = 1, maximum = 62)]
    days: Option<u32>,
}

/// Who is on duty.
#[derive(Serialize, ToSchema)]
pub struct OnCall {
    at: Timestamp,
    rosters: Vec<RosterView>,
}

/// A roster and its people.
#[derive(Serialize, ToSchema)]
struct RosterView {
    roster: String,
    /// In the order in which they are contacted, each once.
    on_duty: Vec<String>,
    places: Vec<PlaceView>,
    /// When somebody else is on duty, if ever.
    until: Option<Timestamp>,
    /// Who is on duty in the days that were asked for, without a gap between the periods.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<Period>>,
    /// The times in it when nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    gaps: Option<Vec<Gap>>,
}

/// A time when nobody is on duty.
#[derive(Serialize, ToSchema)]
struct Gap {
    from: Timestamp,
    /// The first instant after it.
    until: Timestamp,
}

/// One place of the roster.
#[derive(Serialize, ToSchema)]
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

/// All rosters, schedules and rotations.
#[derive(Serialize, ToSchema)]
pub struct RosterList {
    rosters: Vec<RosterDef>,
    schedules: Vec<ScheduleDef>,
    rotations: Vec<RotationDef>,
}

/// A roster as the configuration has it.
#[derive(Serialize, ToSchema)]
struct RosterDef {
    name: String,
    /// Users and rotations, in the order in which they are contacted.
    members: Vec<String>,
}

/// A schedule as the configuration has it.
#[derive(Serialize, ToSchema)]
struct ScheduleDef {
    name: String,
    /// IANA name; the user's when left out.
    time_zone: Option<String>,
    /// Users who work by it.
    users: Vec<String>,
}

/// A rotation as the configuration has it.
#[derive(Serialize, ToSchema)]
struct RotationDef {
    name: String,
    /// In the order of their turns.
    users: Vec<String>,
    /// Days of one turn.
    days: u32,
}

/// Rosters, schedules and rotations
#[utoipa::path(get, path = "/rosters", tag = "people", operation_id = "list_rosters",
    responses((status = 200, description = "As the configuration has them", body = RosterList)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn rosters(State(api): State<Api>, _: Viewer) -> Json<RosterList> {
    let plan = api.gateway.plan();
    let by = |schedule: &str| {
        let users = plan.users.values().filter(|user| user.schedule.as_deref() == Some(schedule));
        users.map(|user| user.name.clone()).collect()
    };
    let roster = |(name, members): (&String, &Vec<String>)| RosterDef { name: name.clone(), members: members.clone() };
    Json(RosterList {
        rosters: plan.rosters.iter().map(roster).collect(),
        schedules: plan
            .schedules
            .values()
            .map(|def| ScheduleDef { name: def.name.clone(), time_zone: def.time_zone.clone(), users: by(&def.name) })
            .collect(),
        rotations: plan
            .rotations
            .values()
            .map(|def| RotationDef { name: def.name.clone(), users: def.users.clone(), days: def.days })
            .collect(),
    })
}

/// Who is on duty now or at a time, and in the days from then, with the gaps
#[utoipa::path(get, path = "/on-call", tag = "people", operation_id = "on_call", params(OnCallParams),
    responses(
        (status = 200, description = "Roster by roster", body = OnCall),
        (status = 404, description = "There is no such roster", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The program has a fault", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn on_call(State(api): State<Api>, _: Viewer, Params(params): Params<OnCallParams>) -> Result<Json<OnCall>, Problem> {
    let plan = api.gateway.plan();
    if let Some(roster) = params.roster.as_ref().filter(|roster| !plan.rosters.contains_key(*roster)) {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no roster {roster:?}")));
    }
    if params.days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`days` is 1 to {MAX_DAYS}")));
    }
    let made = api.gateway.overrides().await.ok_or_else(Problem::nothing_known)?.into_iter().collect();
    let looked_up = tokio::task::spawn_blocking(move || look_up(&plan, &made, &params)).await;
    looked_up.map(Json).map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the rota could not be read"))
}

/// Takes a while for many days and people.
fn look_up(plan: &Arc<Plan>, made: &BTreeMap<u64, Cover>, params: &OnCallParams) -> OnCall {
    let rota = Rota::new(plan, made);
    let at = params.at.unwrap_or_else(clock::now);
    let names = plan.rosters.keys().filter(|name| params.roster.as_ref().is_none_or(|only| only == *name));
    let view = |roster: &String| {
        let timeline = params.days.map(|days| rota.timeline(roster, at, days));
        let nobody = |periods: &Vec<Period>| periods.iter().filter(|period| period.users.is_empty()).map(gap).collect();
        RosterView {
            roster: roster.clone(),
            on_duty: rota.on_call(roster, at).into_iter().map(|user| user.name.clone()).collect(),
            places: rota.places(roster, at).iter().map(|place| place_view(&rota, place, at)).collect(),
            until: rota.next_change(roster, at),
            gaps: timeline.as_ref().map(nobody),
            timeline,
        }
    };
    let rosters = names.map(view);
    OnCall { at, rosters: rosters.collect() }
}

const fn gap(period: &Period) -> Gap {
    Gap { from: period.from, until: period.until }
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
