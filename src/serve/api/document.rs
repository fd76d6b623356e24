//! The OpenAPI document, made of what stands at the handlers: here is added what holds for all of them.
//!
//! Each operation says its least role (`x-least-role`); the credentials that show it and the problems that every caller has to
//! reckon with follow from that, its parameters and its body.

use axum::{extract::State, http::header, response::IntoResponse};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, OpenApi, RefOr, Schema, SchemaFormat, Type},
};

use super::{Api, auth::Known, login, problem::Problem};
use crate::tag::Timestamp;

/// The words for a role that any credentials have.
const ANYBODY: &str = "any";
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "program", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)), extensions(("x-least-role" = json!("any"))))]
pub async fn openapi(State(api): State<Api>, _: Known) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], api.document.get().cloned().unwrap_or_default())
}

/// The whole document.
pub fn complete(collected: &OpenApi) -> Value {
    let mut document = serde_json::to_value(collected).unwrap_or_default();
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "Annunciator",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Tags, alarms, people and messages of an alarm-notification bridge. Errors are application/problem+json \
                        (RFC 9457). Lists come in pages: give `next` of one page as `cursor` for the next. See docs/api.md.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["components"]["securitySchemes"] = schemes();
    document["components"]["schemas"]["Problem"] = schema::<Problem>();
    let paths = document["paths"].as_object_mut().map(std::mem::take).unwrap_or_default();
    let finished = paths.into_iter().map(|(path, mut item)| {
        // The router's form of "the rest of the path".
        let path = path.replace("{*", "{");
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) {
                finish(operation, method, path.contains('{'));
            }
        }
        (path, item)
    });
    document["paths"] = Value::Object(finished.collect());
    simplify(&mut document);
    document
}

/// A time is null where there is none: "a time or null" would fit null twice, which `oneOf` forbids.
fn simplify(value: &mut Value) {
    if let Some(time) = value.get("oneOf").and_then(Value::as_array).and_then(|list| list.first())
        && time["$ref"] == "#/components/schemas/Timestamp"
    {
        *value = time.clone();
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(simplify),
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn schema<T: PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap_or_default()
}

fn schemes() -> Value {
    json!({
        "session": {
            "type": "apiKey", "in": "cookie", "name": login::PLAIN_COOKIE,
            "description": "A session from POST /api/v1/session; named __Host-annunciator where the console is reached by TLS.",
        },
        "csrf": {
            "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
            "description": "The session's csrf_token; needed beside the cookie by everything that changes something.",
        },
        "basic": { "type": "http", "scheme": "basic", "description": "A user's name and password." },
        "token": { "type": "http", "scheme": "bearer", "description": "An API token, as `name:secret`." },
    })
}

fn finish(operation: &mut Map<String, Value>, method: &str, has_path: bool) {
    let role = operation.get("x-least-role").and_then(Value::as_str).map(str::to_owned);
    let has_body = operation.contains_key("requestBody");
    let has_parameters = operation.get("parameters").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let Some(role) = &role {
        let needed: Vec<&str> = if role == ANYBODY { Vec::new() } else { vec![role] };
        let session = if method == "get" { json!({ "session": needed }) } else { json!({ "session": needed, "csrf": [] }) };
        operation.insert("security".into(), json!([session, { "basic": needed }, { "token": needed }]));
    }
    let mut problems =
        vec![("429", "Too many failed log-ins, or too much at once"), ("503", "Starting, stopping, full, or the store fails")];
    problems.extend(role.as_ref().map(|_| ("401", "No credentials, or wrong ones")));
    problems.push(("403", "The role is too low, the CSRF token is missing, or another site's page asks"));
    problems.push(("408", "The request took too long to arrive"));
    if has_parameters || has_body {
        problems.extend([("400", "The request cannot be read"), ("422", "A value is out of its range, or makes no sense")]);
    }
    if has_path {
        problems.push(("404", "There is no such thing"));
    }
    if has_body {
        problems.extend([("413", "The body is too large"), ("415", "The body is not JSON")]);
    }
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    for (status, description) in problems {
        if responses.get(status).is_none() {
            responses[status] = json!({
                "description": description,
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
        }
    }
    for (_, response) in responses.as_object_mut().into_iter().flatten() {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = "Done".into();
        }
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        let time = ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::from_iter([Type::String, Type::Null]))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, to 100 ns; null where there is none yet"))
            .examples([json!("2026-11-20T12:34:56.1234567Z")]);
        time.into()
    }
}

impl ToSchema for Timestamp {}
