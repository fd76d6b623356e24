//! Subscriptions that go from one session to another (TransferSubscriptions; Part 4, 5.14.7), and those that have outlived theirs.
//!
//! An orphan is kept only for somebody who could prove to be its owner: a user by name, an anonymous client by the certificate of its
//! application. It lives on for its lifetime, and there are few of them: a client cannot pile them up by closing sessions.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use super::{
    super::{
        Server,
        attributes::View,
        decode::{RequestHeader, Service},
        diag::subscription::Figure,
        frame::status as transport,
        limits::Limits,
        send,
        session::Session,
        wire::{Malformed, Read, Reader},
    },
    Sampler, Subscription,
    machine::Act,
    status,
};
use crate::{
    engine::{io::Actor, plan::Role},
    tag::StatusCode,
};

/// The name of all who log in without one.
const ANONYMOUS: &str = "anonymous";

/// Whom a subscription belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: String,
    role: Role,
    /// The application's certificate, DER; `None` without security.
    certificate: Option<Bytes>,
    peer: IpAddr,
}

impl Owner {
    /// The owner of a session's subscriptions.
    pub fn of(session: &Session, actor: &Actor) -> Self {
        Self { name: actor.name.clone(), role: actor.role, certificate: session.certificate.clone(), peer: session.peer }
    }

    /// True when the owner can be told from others: by name, or by the application's certificate (Part 4, 5.14.7).
    fn is_known(&self) -> bool {
        self.name != ANONYMOUS || self.certificate.is_some()
    }

    /// True when `other` is the same program, as far as can be told.
    fn is_same_client(&self, other: &Self) -> bool {
        self.peer == other.peer && self.certificate == other.certificate
    }

    /// True when `other` may take over what belongs to this one.
    fn is_same(&self, other: &Self) -> bool {
        let same_application = self.name != ANONYMOUS || self.certificate == other.certificate;
        self.is_known() && self.name == other.name && self.role == other.role && same_application
    }
}

/// Subscriptions whose session has ended.
#[derive(Default)]
pub struct Orphans {
    all: Mutex<Vec<(Owner, Subscription)>>,
}

impl Orphans {
    /// Keeps what a session leaves behind, as far as the limits allow; the rest ends.
    pub fn keep(&self, owner: &Owner, left: Vec<Subscription>, limits: &Limits) {
        if left.is_empty() || !owner.is_known() {
            return;
        }
        let mut all = self.lock();
        for subscription in left {
            let akin = |other: &Owner| other.peer == owner.peer || (owner.name != ANONYMOUS && other.name == owner.name);
            let theirs = all.iter().filter(|(other, _)| akin(other)).count();
            if all.len() < limits.orphans && theirs < limits.orphans_per_user {
                all.push((owner.clone(), subscription));
            }
        }
    }

    /// Lets time pass; those whose lifetime is over end.
    pub fn tick(&self, now: Instant, view: impl Fn(Role) -> View) {
        self.lock().retain_mut(|(owner, subscription)| {
            let is_due = now >= subscription.next_look();
            !is_due || !subscription.advance(now, &view(owner.role)) || subscription.timer(false) != Act::Close
        });
    }

    /// Gives a subscription to its owner; `None` when it is not here.
    fn give(&self, id: u32, to: &Owner) -> Option<Result<Subscription, StatusCode>> {
        let mut all = self.lock();
        let place = all.iter().position(|(_, subscription)| subscription.id == id)?;
        all[place].1.diagnostics.add(Figure::TransferRequest, 1);
        if !all[place].0.is_same(to) {
            return Some(Err(StatusCode::BAD_USER_ACCESS_DENIED));
        }
        let (owner, subscription) = all.remove(place);
        transferred(&subscription, &owner, to);
        Some(Ok(subscription))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Owner, Subscription)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TransferSubscriptions.
///
/// # Errors
/// The service's StatusCode.
pub fn transfer(
    view: &View,
    session: &Arc<Session>,
    actor: &Actor,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
) -> Result<Vec<u8>, StatusCode> {
    let parts = (|| {
        let count = body.count(4)?;
        let ids: Vec<u32> = (0..count).map(|_| body.u32()).collect::<Read<_>>()?;
        Ok((ids, body.boolean()?))
    })();
    let (ids, send_initial) = parts.map_err(|_: Malformed| transport::BAD_DECODING_ERROR)?;
    if ids.is_empty() {
        return Err(StatusCode::BAD_NOTHING_TO_DO);
    }
    if ids.len() > view.server.settings.limits.subscriptions_per_session {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let owner = Owner::of(session, actor);
    let mut w = send::response(Service::TransferSubscriptions.response(), header.handle, StatusCode::GOOD);
    w.count(ids.len());
    for id in ids {
        match transfer_one(view, session, &owner, id, send_initial) {
            Ok(available) => {
                w.status(StatusCode::GOOD);
                w.count(available.len());
                for number in available {
                    w.u32(number);
                }
            }
            Err(status) => {
                w.status(status);
                w.null();
            }
        }
    }
    w.null();
    Ok(w.0)
}

fn transfer_one(view: &View, session: &Arc<Session>, owner: &Owner, id: u32, send_initial: bool) -> Result<Vec<u32>, StatusCode> {
    {
        let mut state = session.state();
        if let Ok(own) = state.subscriptions.get(id) {
            // Row 22: it is here already.
            own.touch();
            return Err(StatusCode::BAD_NOTHING_TO_DO);
        }
        if !state.subscriptions.has_room() {
            return Err(status::BAD_TOO_MANY_SUBSCRIPTIONS);
        }
    }
    // No two sessions are locked at a time.
    let orphan = view.server.orphans.give(id, owner);
    let found = orphan.or_else(|| take_from_session(&view.server, session, owner, id));
    let mut subscription = found.unwrap_or(Err(status::BAD_SUBSCRIPTION_ID_INVALID))?;
    if send_initial {
        subscription.items.resend(view.wall());
    }
    let available = subscription.available().collect();
    session.state().subscriptions.adopt(subscription);
    Ok(available)
}

fn transferred(subscription: &Subscription, from: &Owner, to: &Owner) {
    let same = from.is_same_client(to);
    let figure = if same { Figure::TransferredToSameClient } else { Figure::TransferredToAltClient };
    subscription.diagnostics.add(figure, 1);
}

fn take_from_session(server: &Server, to: &Arc<Session>, owner: &Owner, id: u32) -> Option<Result<Subscription, StatusCode>> {
    for session in server.sessions.all() {
        let mut state = session.state();
        if Arc::ptr_eq(&session, to) || !state.subscriptions.contains(id) {
            continue;
        }
        if let Ok(asked) = state.subscriptions.get(id) {
            asked.diagnostics.add(Figure::TransferRequest, 1);
        }
        let before = state.actor.as_ref().map(|actor| Owner::of(&session, actor));
        let Some(before) = before.filter(|before| before.is_same(owner)) else {
            return Some(Err(StatusCode::BAD_USER_ACCESS_DENIED));
        };
        let given = state.subscriptions.give(id)?;
        transferred(&given, &before, owner);
        // Its connection may sleep: it has a farewell to say.
        if let Some(waker) = &state.waker {
            waker.notify_one();
        }
        return Some(Ok(given));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_takes_over() {
        let owner = |name: &str, role, certificate: Option<&'static [u8]>| Owner {
            name: name.into(),
            role,
            certificate: certificate.map(Bytes::from_static),
            peer: [127, 0, 0, 1].into(),
        };
        let olga = owner("olga", Role::Operator, Some(b"a"));
        for (other, wanted) in [
            (owner("olga", Role::Operator, Some(b"b")), true),
            (owner("olga", Role::Operator, None), true),
            (owner("olga", Role::Engineer, Some(b"a")), false),
            (owner("erik", Role::Operator, Some(b"a")), false),
            (owner(ANONYMOUS, Role::Operator, Some(b"a")), false),
        ] {
            assert_eq!(olga.is_same(&other), wanted, "{other:?}");
        }
        let (secured, open) = (owner(ANONYMOUS, Role::Viewer, Some(b"a")), owner(ANONYMOUS, Role::Viewer, None));
        assert!(secured.is_same(&secured.clone()) && !secured.is_same(&open) && !open.is_same(&open.clone()));
        assert!(!secured.is_same(&owner(ANONYMOUS, Role::Viewer, Some(b"b"))));
    }
}
