//! Errors as `application/problem+json` (RFC 9457), and extractors whose refusals are such.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{engine::io::Outcome, store::StoreError, tag};

/// One problem. `status_code` is the OPC UA name of the same thing where there is one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<String>,
    /// A word for programs, where the status alone does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl Problem {
    /// A problem with `detail` for the caller.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), status_code: None, code: None }
    }

    /// The same with another HTTP status.
    pub fn with(self, status: StatusCode) -> Self {
        Self { status_code: self.status_code, ..Self::new(status, self.detail) }
    }

    /// The same with a word for programs.
    pub fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A value is out of its range, or makes no sense.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Nobody, or not who they say.
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// What the engine or a device refused.
    pub fn refused(code: tag::StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let detail = if detail.is_empty() { format!("refused: {code}") } else { detail };
        Self { status_code: Some(code.to_string()), ..Self::new(http_status(code), detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after(status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"annunciator\", charset=\"UTF-8\""));
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annunciator\""));
        }
        response
    }
}

impl Problem {
    /// When the engine cannot be asked: an empty list would say that there is nothing.
    pub fn nothing_known() -> Self {
        let words = "nothing is known now: the program is stopping, or stands by and its store does not answer";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, words)
    }
}

/// When it makes sense to try again: pauses after failed log-ins are a minute at most, and what is full is soon less so.
const fn retry_after(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some("60"),
        StatusCode::SERVICE_UNAVAILABLE => Some("5"),
        _ => None,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "failed to read the store");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read at present")
    }
}

/// The answer to a command: the engine's words, or a problem.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// The OPC UA name.
    status: String,
    /// For people.
    message: String,
}

/// Turns the engine's answer into ours.
pub fn answer(outcome: Outcome) -> Result<Json<Done>, Problem> {
    if outcome.status.is_bad() {
        return Err(Problem::refused(outcome.status, outcome.message));
    }
    Ok(Json(Done { status: outcome.status.to_string(), message: outcome.message }))
}

fn http_status(code: tag::StatusCode) -> StatusCode {
    use tag::StatusCode as Ua;
    match Ua(code.0 & 0xFFFF_0000) {
        Ua::BAD_USER_ACCESS_DENIED | Ua::BAD_NOT_WRITABLE | Ua::BAD_WRITE_NOT_SUPPORTED | Ua::BAD_NOT_READABLE => {
            StatusCode::FORBIDDEN
        }
        Ua::BAD_NODE_ID_UNKNOWN | Ua::BAD_NOT_FOUND | Ua::BAD_EVENT_ID_UNKNOWN => StatusCode::NOT_FOUND,
        Ua::BAD_TYPE_MISMATCH | Ua::BAD_OUT_OF_RANGE | Ua::BAD_INVALID_ARGUMENT | Ua::BAD_SHELVING_TIME_OUT_OF_RANGE => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Ua::BAD_INVALID_STATE
        | Ua::BAD_NOTHING_TO_DO
        | Ua::BAD_CONDITION_BRANCH_ALREADY_ACKED
        | Ua::BAD_OBJECT_DELETED
        | Ua::BAD_OUT_OF_SERVICE => StatusCode::CONFLICT,
        Ua::BAD_TOO_MANY_OPERATIONS => StatusCode::TOO_MANY_REQUESTS,
        Ua::BAD_RESOURCE_UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        Ua::BAD_NOT_SUPPORTED => StatusCode::NOT_IMPLEMENTED,
        Ua::BAD_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        Ua::BAD_INTERNAL_ERROR | Ua::BAD_UNEXPECTED_ERROR | Ua::BAD_CONFIGURATION_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(fields) = Json::<Map<String, Value>>::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        let refused = |error| Problem::unprocessable(format!("the body is not as it should be: {error}"));
        serde_json::from_value(Value::Object(fields)).map(Self).map_err(refused)
    }
}

/// Reads a structure from an object only; left to itself, serde takes a list of its values too.
pub fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let fields = Map::deserialize(deserializer)?;
    serde_json::from_value(Value::Object(fields)).map_err(D::Error::custom)
}

/// The same for a list of them.
pub fn objects<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let items = Vec::<Map<String, Value>>::deserialize(deserializer)?;
    items.into_iter().map(|fields| serde_json::from_value(Value::Object(fields)).map_err(D::Error::custom)).collect()
}

/// A parameter in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// The query string; what is a list may be repeated in it.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let refused = |error| Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {error}"));
        serde_html_form::from_str(query).map(Self).map_err(refused)
    }
}
