//! Who calls, and whether their role is enough: one extractor a role.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Api, problem::Problem};
use crate::{
    engine::{
        io::{Actor, Via},
        plan::Role,
    },
    tag,
};

/// Somebody who may read; who it is does not matter.
pub struct Viewer;
/// Somebody who may read, where more is shown to some.
pub struct Reader(pub Actor);
/// Somebody who may acknowledge, shelve and send.
pub struct Operator(pub Actor);
/// Somebody who may take out of service and reload.
pub struct Engineer(pub Actor);
/// An operator, or a program that may only send.
pub struct Sender(pub Actor);
/// Anybody on this machine, or a viewer.
pub struct LocalOrViewer;

/// Who shows which credentials.
enum Caller {
    /// A user, or a program with a role.
    Actor(Actor),
    /// A program that may only send.
    Sender(String),
}

impl FromRequestParts<Api> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        at_least(Role::Viewer, parts, api).await.map(|_| Self)
    }
}

impl FromRequestParts<Api> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        at_least(Role::Viewer, parts, api).await.map(Self)
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        at_least(Role::Operator, parts, api).await.map(Self)
    }
}

impl FromRequestParts<Api> for Engineer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        at_least(Role::Engineer, parts, api).await.map(Self)
    }
}

impl FromRequestParts<Api> for Sender {
    type Rejection = Problem;

    /// A program with role `sender` acts as an operator here and nowhere else.
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match caller(parts, api).await? {
            Caller::Sender(name) => Ok(Self(Actor { name, role: Role::Operator, via: Via::Api })),
            Caller::Actor(actor) => enough(Role::Operator, actor).map(Self),
        }
    }
}

impl FromRequestParts<Api> for LocalOrViewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if peer(parts).is_loopback() {
            return Ok(Self);
        }
        at_least(Role::Viewer, parts, api).await.map(|_| Self)
    }
}

async fn at_least(least: Role, parts: &Parts, api: &Api) -> Result<Actor, Problem> {
    match caller(parts, api).await? {
        Caller::Actor(actor) => enough(least, actor),
        Caller::Sender(name) => Err(Problem::new(StatusCode::FORBIDDEN, format!("token {name:?} may only send"))),
    }
}

fn enough(least: Role, actor: Actor) -> Result<Actor, Problem> {
    if actor.role >= least {
        return Ok(actor);
    }
    let detail = format!("this needs role {}, {:?} has role {}", least.name(), actor.name, actor.role.name());
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

async fn caller(parts: &Parts, api: &Api) -> Result<Caller, Problem> {
    let missing = || Problem::unauthorized("log in with user name and password, or send `Authorization: Bearer name:secret`");
    let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, credentials) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    let (credentials, from) = (credentials.trim(), peer(parts));
    if scheme.eq_ignore_ascii_case("bearer") {
        let found = api.gateway.check_token(credentials.to_owned(), from).await;
        return match found {
            Some((name, Some(role))) => Ok(Caller::Actor(Actor { name, role, via: Via::Api })),
            Some((name, None)) => Ok(Caller::Sender(name)),
            None => Err(Problem::unauthorized("the token is not valid, or there were too many failures lately")),
        };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let decoded = BASE64_STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(missing)?;
    match api.gateway.log_in(user.to_owned(), password.to_owned(), from, Via::Api).await {
        Ok(actor) => Ok(Caller::Actor(actor)),
        Err(tag::StatusCode::BAD_TOO_MANY_OPERATIONS) => {
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many failed log-ins: wait a minute, then try again"))
        }
        Err(tag::StatusCode::BAD_RESOURCE_UNAVAILABLE) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many log-ins are being checked: try again in a few seconds"))
        }
        Err(_) => Err(Problem::unauthorized("user name or password is wrong")),
    }
}

/// Where the connection comes from; nowhere near when the listener did not say.
fn peer(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical())
}
