//! Figures of alarm management (ISA-18.2, EEMUA 191) and their charts, of any span.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Api,
    auth::Viewer,
    problem::{Params, Path, Problem},
};
use crate::{
    serve::{Drawing, ReportError},
    tag::Timestamp,
};

/// Which time.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KpiParams {
    /// Not before; a day before `to` when left out, at most 400 days before it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before; the end of this minute when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// Which time, and for what screen.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChartParams {
    /// Not before; a day before `to` when left out, at most 400 days before it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before; the end of this minute when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Its colours; as the reader prefers when left out.
    #[param(inline)]
    theme: Option<Theme>,
}

/// For what screen.
#[derive(Clone, Copy, Deserialize, PartialEq, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    Light,
    Dark,
}

/// How the alarm system does, as `annunciator report --output json` tells it
#[utoipa::path(get, path = "/kpis", tag = "figures", operation_id = "get_kpis", params(KpiParams),
    responses((status = 200, description = "The figures with their targets", content_type = "application/json", body = Object)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn kpis(State(api): State<Api>, _: Viewer, Params(params): Params<KpiParams>) -> Result<Response, Problem> {
    let figures = api.gateway.figures(params.from, params.to).await.map_err(refused)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], figures).into_response())
}

/// A chart of the figures, as SVG without scripts
#[utoipa::path(get, path = "/kpis/charts/{file}", tag = "figures", operation_id = "get_chart",
    params(("file" = String, Path, description = "`load.svg`, `distribution.svg`, `bad-actors.svg`, `priorities.svg`, \
        `acknowledgement.svg`, `standing.svg` or `messages.svg`"), ChartParams),
    responses((status = 200, description = "The chart", content_type = "image/svg+xml", body = String)),
    extensions(("x-least-role" = json!("viewer"))))]
pub async fn chart(
    State(api): State<Api>,
    _: Viewer,
    Path(file): Path<String>,
    Params(params): Params<ChartParams>,
) -> Result<Response, Problem> {
    let key = file.strip_suffix(".svg").unwrap_or_default().to_owned();
    let drawing = Drawing { key, dark: params.theme.map(|theme| theme == Theme::Dark) };
    let drawn = api.gateway.chart(params.from, params.to, drawing).await.map_err(refused)?;
    let svg = drawn.ok_or_else(|| Problem::not_found(format!("there is no chart {file:?}")))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

fn refused(error: ReportError) -> Problem {
    match error {
        ReportError::Span(words) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words),
        ReportError::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many reports are being computed, try again"),
        ReportError::Failed(error) => {
            tracing::error!(%error, "failed to compute the figures of alarm management");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be computed, the log says why")
        }
    }
}
