//! Who calls, and whether their role is enough: one extractor a role.
//!
//! People show a session's cookie or, like programs, `Authorization` with every request. What only a cookie vouches for must show
//! the session's token as well before it changes something.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    Api, login,
    problem::Problem,
    sessions::{Id, Who},
};
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
/// Anybody with credentials, whatever they may do, and how they showed who they are.
pub struct Known(pub Caller, pub Proof);
/// Where the request comes from.
pub struct Client(pub IpAddr);

/// How somebody showed who they are.
pub enum Proof {
    /// By a session's cookie; what is left of the session's lifetime.
    Session(Id, Duration),
    /// By name and password with the request.
    Basic,
    /// By an API token with the request.
    Token,
}

/// Who shows which credentials.
pub enum Caller {
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
        match caller(parts, api).await?.0 {
            Caller::Sender(name) => Ok(Self(Actor { name, role: Role::Operator, via: Via::Api })),
            Caller::Actor(actor) => enough(Role::Operator, actor).map(Self),
        }
    }
}

impl FromRequestParts<Api> for LocalOrViewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if client(parts, api).is_loopback() {
            return Ok(Self);
        }
        at_least(Role::Viewer, parts, api).await.map(|_| Self)
    }
}

impl FromRequestParts<Api> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        caller(parts, api).await.map(|(caller, proof)| Self(caller, proof))
    }
}

impl FromRequestParts<Api> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self(client(parts, api)))
    }
}

async fn at_least(least: Role, parts: &Parts, api: &Api) -> Result<Actor, Problem> {
    match caller(parts, api).await?.0 {
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

async fn caller(parts: &Parts, api: &Api) -> Result<(Caller, Proof), Problem> {
    match parts.headers.get(header::AUTHORIZATION).map(|header| header.to_str()) {
        Some(Ok(header)) => by_header(header, client(parts, api), api).await,
        Some(Err(_)) => Err(missing()),
        None => by_session(parts, api),
    }
}

/// A cookie comes along by itself, so it vouches for changes only together with the token that our own pages know.
fn by_session(parts: &Parts, api: &Api) -> Result<(Caller, Proof), Problem> {
    let id = login::id_of(parts, api.secure).ok_or_else(missing)?;
    let found = api.sessions.find(&api.gateway.plan(), &id, Instant::now());
    let Who { user, role, remains } = found.ok_or_else(|| Problem::unauthorized("the session has ended: log in again"))?;
    if !parts.method.is_safe() && !parts.headers.get(login::CSRF_HEADER).is_some_and(|shown| id.matches(shown.as_bytes())) {
        let detail = "show the session's `csrf_token` in the header X-CSRF-Token";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).coded("csrf"));
    }
    Ok((Caller::Actor(Actor { name: user, role, via: Via::Console }), Proof::Session(id, remains)))
}

async fn by_header(header: &str, from: IpAddr, api: &Api) -> Result<(Caller, Proof), Problem> {
    let (scheme, credentials) = header.split_once(' ').ok_or_else(missing)?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let found = api.gateway.check_token(credentials.to_owned(), from).await;
        return match found {
            Some((name, Some(role))) => Ok((Caller::Actor(Actor { name, role, via: Via::Api }), Proof::Token)),
            Some((name, None)) => Ok((Caller::Sender(name), Proof::Token)),
            None => Err(Problem::unauthorized("the token is not valid, or there were too many failures lately")),
        };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let decoded = BASE64_STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(missing)?;
    let actor = api.gateway.log_in(user.to_owned(), password.to_owned(), from, Via::Api).await.map_err(refused)?;
    Ok((Caller::Actor(actor), Proof::Basic))
}

fn missing() -> Problem {
    Problem::unauthorized("log in with user name and password, or send `Authorization: Bearer name:secret`")
}

/// A password was not taken, or not even looked at.
pub fn refused(status: tag::StatusCode) -> Problem {
    match status {
        tag::StatusCode::BAD_TOO_MANY_OPERATIONS => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many failed log-ins: wait a minute, then try again")
        }
        tag::StatusCode::BAD_RESOURCE_UNAVAILABLE => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many log-ins are being checked: try again in a few seconds")
        }
        _ => Problem::unauthorized("user name or password is wrong"),
    }
}

/// Where the request comes from: the connection's other end, or for a configured proxy whom it speaks for.
fn client(parts: &Parts, api: &Api) -> IpAddr {
    let peer = peer(parts);
    if !api.proxies.contains(&peer) {
        return peer;
    }
    forwarded(&parts.headers).find(|address| !api.proxies.contains(address)).unwrap_or(peer)
}

/// Addresses of `X-Forwarded-For`, the last first: each proxy appends whom it was asked by, and what stands before a stranger's is
/// the stranger's own word.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = IpAddr> {
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let addresses: Vec<_> = lines.flat_map(|line| line.split(',')).map(|text| text.trim().parse::<IpAddr>()).collect();
    addresses.into_iter().rev().map_while(Result::ok).map(|address| address.to_canonical())
}

/// Where the connection comes from; nowhere near when the listener did not say.
fn peer(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical())
}
