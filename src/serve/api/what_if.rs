//! What-if: who would be told of an alarm, when and by which channel, if nobody answers.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::Viewer,
    problem::{Params, Problem},
};
use crate::{
    clock,
    engine::plan::Plan,
    scenario::forecast::{Forecast, Question, Row, forecast},
    tag::Timestamp,
};

/// The longest look ahead: a week.
const MAX_SPAN: Duration = Duration::from_secs(7 * 86_400);
/// How long to look on when it is not said.
const SPAN: Duration = Duration::from_secs(86_400);

/// What is asked.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhatIfParams {
    /// Path of the alarm, with or without the folder `Alarms`.
    alarm: String,
    /// When it is raised; now when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The tag's value; one that raises the alarm when left out.
    value: Option<String>,
    /// Values of other tags, each `path=value`; may be repeated.
    #[serde(default)]
    set: Vec<String>,
    /// How long to look on, such as `90m` or `2d`, at most `7d`; `24h` when left out.
    #[param(pattern = "^[0-9]+[smhd]$", example = "24h")]
    until: Option<String>,
}

/// What would happen, as `annunciator what-if --output json` says it.
#[derive(Serialize, ToSchema)]
pub struct WhatIf {
    /// `<tag path>/Alarms/<name>`.
    alarm: Arc<str>,
    priority: &'static str,
    /// None when it tells nobody.
    pipeline: Option<String>,
    /// The value with which it is raised.
    value: String,
    /// When it is raised.
    at: Timestamp,
    /// Until when it was looked.
    until: Timestamp,
    /// There are more rows than these.
    cut: bool,
    rows: Vec<WhatIfRow>,
}

/// One thing that would happen.
#[derive(Serialize, ToSchema)]
pub struct WhatIfRow {
    time: Timestamp,
    /// After the alarm was raised.
    after_seconds: f64,
    /// `text`, `call`, `skipped`, `write`, `script`, `note`.
    kind: &'static str,
    /// The user, else the number; empty when it is about nobody.
    who: String,
    /// The notification profile.
    profile: String,
    /// The step of the pipeline, from 1, with its name.
    step: String,
    /// The text, the words, the reason.
    words: String,
}

impl WhatIf {
    /// The forecast of an alarm that is raised at `at`.
    #[must_use]
    pub fn new(forecast: Forecast, at: Timestamp) -> Self {
        let row = |row: Row| WhatIfRow {
            time: row.at,
            after_seconds: row.at.since(at).as_secs_f64(),
            kind: row.kind.name(),
            who: row.who,
            profile: row.profile,
            step: row.step,
            words: row.words,
        };
        let Forecast { alarm, priority, pipeline, value, rows, cut, until } = forecast;
        Self { alarm, priority, pipeline, value, at, until, cut, rows: rows.into_iter().map(row).collect() }
    }
}

/// The duration that `90s`, `90m`, `12h` or `2d` means.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

/// Who would be told of an alarm, when and by which channel, if nobody answers
///
/// The alarm is raised in a program that has just started with this configuration: shelved alarms, opt-outs, overrides made in operation,
/// cooldowns and used budgets are not considered. Nothing is sent.
#[utoipa::path(get, path = "/what-if", tag = "alarms", operation_id = "what_if", params(WhatIfParams),
    responses((status = 200, description = "What would happen", body = WhatIf)), extensions(("x-least-role" = json!("viewer"))))]
pub async fn what_if(State(api): State<Api>, _: Viewer, Params(params): Params<WhatIfParams>) -> Result<Json<WhatIf>, Problem> {
    let span = params.until.as_deref().map_or(Some(SPAN), span).filter(|span| *span <= MAX_SPAN);
    let span = span.ok_or_else(|| Problem::unprocessable("`until` is a duration up to 7d such as 90m or 2d"))?;
    let at = params.at.unwrap_or_else(clock::now);
    let pair = |pair: &String| {
        let (tag, value) = pair.split_once('=').ok_or_else(|| Problem::unprocessable(format!("{pair:?} is not path=value")))?;
        Ok((tag.to_owned(), value.to_owned()))
    };
    let tags = params.set.iter().map(pair).collect::<Result<_, Problem>>()?;
    let question = Question { alarm: params.alarm, at, value: params.value, tags, span };
    let busy = || Problem::new(StatusCode::TOO_MANY_REQUESTS, "another forecast is being made: try again in a few seconds");
    let _turn = api.forecasts.try_acquire().map_err(|_| busy())?;
    let plan = Plan::clone(&api.gateway.plan());
    let made = tokio::task::spawn_blocking(move || forecast(plan, &question)).await;
    let made = made.map_err(|_| Problem::unprocessable("no forecast can be made of that"))?;
    made.map(|forecast| Json(WhatIf::new(forecast, at))).map_err(Problem::unprocessable)
}
