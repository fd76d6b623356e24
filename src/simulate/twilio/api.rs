//! The REST API: who asks, what is asked, and the JSON that Twilio would answer.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{
    Shared, calls, messages,
    state::{RequestRecord, sid},
};
use crate::clock;

/// Longest request body, bytes.
const MAX_BODY: usize = 64 * 1024;

/// Decoded parameters of the query and the form.
pub(super) type Parameters = Vec<(String, String)>;

/// Status and resource, or Twilio's error.
pub(super) type Answer = Result<(u16, Value), ApiError>;

/// An error as Twilio words it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: u16,
    code: u32,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A refused parameter: HTTP 400.
    pub(super) fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    pub(super) fn response(&self) -> Response<Body> {
        let Self { status, code, message } = self;
        let more = format!("https://www.twilio.com/docs/errors/{code}");
        json_response(*status, &json!({ "code": code, "message": message, "more_info": more, "status": status }))
    }
}

/// The last value of a parameter.
pub(super) fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// All values of a parameter that may be repeated.
pub(super) fn repeated<'a>(parameters: &'a Parameters, name: &'a str) -> impl Iterator<Item = &'a str> {
    parameters.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// One request to `/2010-04-01/…`, with the fault that is due, logged.
pub(super) async fn handle(shared: &Arc<Shared>, request: Request) -> Response<Body> {
    let came = clock::now();
    let (parts, body) = request.into_parts();
    let parameters = match read(&parts, body).await {
        Ok(parameters) => parameters,
        Err(error) => return error.response(),
    };
    let fault = shared.state().faults.take(parts.method.as_str());
    let user = credentials(&parts.headers);
    let (answer, created) = if fault.as_ref().is_none_or(super::faults::Fault::is_accepted) {
        let answer = authenticate(shared, user.as_ref()).and_then(|()| dispatch(shared, &parts, &parameters));
        let created = answer.as_ref().ok().filter(|(status, _)| *status == 201).and_then(|(_, body)| body["sid"].as_str());
        let created = created.map(str::to_owned);
        (answer.map_or_else(|error| error.response(), |(status, body)| json_response(status, &body)), created)
    } else {
        (Response::new(Body::empty()), None)
    };
    let answer = match &fault {
        Some(fault) => {
            tokio::time::sleep(fault.delay()).await;
            fault.spoil(answer)
        }
        None => answer,
    };
    let reset = answer.extensions().get::<super::faults::Reset>().is_some();
    shared.state().log(RequestRecord {
        number: 0,
        time: came,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        parameters,
        user: user.map(|(user, _)| user),
        status: (!reset).then(|| answer.status().as_u16()),
        sid: created,
    });
    answer
}

pub(super) fn json_response(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    if let Ok(id) = sid("RQ").parse() {
        headers.insert("twilio-request-id", id);
    }
    if status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Twilio API\""));
    }
    response
}

async fn read(parts: &Parts, body: Body) -> Result<Parameters, ApiError> {
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| ApiError::new(413, 20001, "Request body too large"))?;
    let query = parts.uri.query().unwrap_or_default();
    let form = form_urlencoded::parse(&body);
    Ok(form_urlencoded::parse(query.as_bytes()).chain(form).map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn authenticate(shared: &Shared, given: Option<&(String, String)>) -> Result<(), ApiError> {
    let Some((user, password)) = given else {
        return Err(ApiError::new(401, 20003, "Authentication Error - No credentials provided"));
    };
    let options = &shared.options;
    let account = [(options.account_sid.clone(), options.auth_token.clone())];
    let known = account
        .iter()
        .chain(&options.api_keys)
        .any(|(known, secret)| user == known && bool::from(password.as_bytes().ct_eq(secret.as_bytes())));
    if known { Ok(()) } else { Err(ApiError::new(401, 20003, "Authenticate")) }
}

fn dispatch(shared: &Arc<Shared>, parts: &Parts, parameters: &Parameters) -> Answer {
    let path = parts.uri.path();
    let not_found = || ApiError::new(404, 20404, format!("The requested resource {path} was not found"));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let ["2010-04-01", "Accounts", account, rest @ ..] = segments.as_slice() else { return Err(not_found()) };
    if *account != shared.options.account_sid {
        return Err(not_found());
    }
    let method = parts.method.as_str();
    match (method, rest) {
        ("POST", ["Messages.json"]) => messages::create(shared, parameters),
        ("POST", ["Calls.json"]) => calls::create(shared, parameters),
        _ if shared.options.test_credentials => {
            Err(ApiError::new(403, 20008, "Resource not accessible with Test Account Credentials"))
        }
        ("GET", ["Messages.json"]) => messages::list(shared, parameters, parts.uri.query().unwrap_or_default()),
        ("GET", ["Messages", file]) => {
            let sid = file.strip_suffix(".json").ok_or_else(not_found)?;
            messages::fetch(shared, sid).ok_or_else(not_found)
        }
        ("GET", ["Calls.json"]) => calls::list(shared, parameters, parts.uri.query().unwrap_or_default()),
        ("GET", ["Calls", file]) => {
            let sid = file.strip_suffix(".json").ok_or_else(not_found)?;
            calls::fetch(shared, sid).ok_or_else(not_found)
        }
        ("POST", ["Calls", file]) => {
            let sid = file.strip_suffix(".json").ok_or_else(not_found)?;
            calls::update(shared, sid, parameters)?.ok_or_else(not_found)
        }
        (_, ["Messages.json" | "Calls.json"] | ["Messages" | "Calls", _]) => Err(ApiError::new(405, 20004, "Method not allowed")),
        _ => Err(not_found()),
    }
}
