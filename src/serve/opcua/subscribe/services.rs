//! The services of subscriptions and monitored items (Part 4, 5.13 and 5.14), from request to response.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    super::{
        attributes::View,
        decode::{RequestHeader, Service},
        events::filter::{EventFilter, EventFilterResult, Refused},
        frame::status as transport,
        limits::Limits,
        ns0::attribute,
        read::{Target, results},
        send,
        session::State,
        wire::{Extension, Malformed, Read, Reader, Timestamps, Writer},
    },
    Reply, Sampler, Subscription, Subscriptions,
    events::EventParameters,
    filter::Filter,
    items::{Items, Mode, Parameters, Place},
    status,
    subscription::Wanted,
};
use crate::{engine::plan::TagTraits, tag::StatusCode};

/// The longest sampling interval.
const MAX_SAMPLING: Duration = Duration::from_secs(3_600);
/// Acknowledgements in one Publish that are looked at.
const MAX_ACKNOWLEDGED: usize = 10_000;

type Answer = Result<Vec<u8>, StatusCode>;

fn malformed(_: Malformed) -> StatusCode {
    transport::BAD_DECODING_ERROR
}

/// CreateSubscription.
pub fn create(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>, now: Instant) -> Answer {
    let parts = (|| {
        let (interval, lifetime, keep_alive, notifications) = (body.f64()?, body.u32()?, body.u32()?, body.u32()?);
        let (enabled, priority) = (body.boolean()?, body.u8()?);
        Ok((Wanted { interval, lifetime, keep_alive, notifications, priority }, enabled))
    })();
    let (wanted, enabled) = parts.map_err(malformed)?;
    let (id, terms) = state.subscriptions.create(wanted, enabled, now)?;
    let mut w = send::response(Service::CreateSubscription.response(), header.handle, StatusCode::GOOD);
    w.u32(id);
    w.f64(terms.interval.as_secs_f64() * 1_000.0);
    w.u32(terms.lifetime);
    w.u32(terms.keep_alive);
    Ok(w.0)
}

/// ModifySubscription.
pub fn modify(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>, now: Instant) -> Answer {
    let parts = (|| {
        let id = body.u32()?;
        let (interval, lifetime, keep_alive, notifications) = (body.f64()?, body.u32()?, body.u32()?, body.u32()?);
        Ok((id, Wanted { interval, lifetime, keep_alive, notifications, priority: body.u8()? }))
    })();
    let (id, wanted) = parts.map_err(malformed)?;
    let terms = state.subscriptions.modify(id, wanted, now)?;
    let mut w = send::response(Service::ModifySubscription.response(), header.handle, StatusCode::GOOD);
    w.f64(terms.interval.as_secs_f64() * 1_000.0);
    w.u32(terms.lifetime);
    w.u32(terms.keep_alive);
    Ok(w.0)
}

fn ids(body: &mut Reader<'_>, most: usize) -> Result<Vec<u32>, StatusCode> {
    let count = body.count(4).map_err(malformed)?;
    match count {
        0 => Err(StatusCode::BAD_NOTHING_TO_DO),
        count if count > most => Err(StatusCode::BAD_TOO_MANY_OPERATIONS),
        count => (0..count).map(|_| body.u32()).collect::<Read<_>>().map_err(malformed),
    }
}

/// SetPublishingMode.
pub fn set_publishing_mode(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Answer {
    let enabled = body.boolean().map_err(malformed)?;
    let ids = ids(body, state.subscriptions.limits.subscriptions_per_session)?;
    let each = |id: &u32| match state.subscriptions.get(*id) {
        Ok(subscription) => {
            subscription.set_publishing(enabled);
            StatusCode::GOOD
        }
        Err(status) => status,
    };
    Ok(answer_list(Service::SetPublishingMode, header, &ids.iter().map(each).collect::<Vec<_>>()))
}

/// DeleteSubscriptions.
pub fn delete(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Answer {
    let ids = ids(body, state.subscriptions.limits.subscriptions_per_session)?;
    let done: Vec<_> = ids.iter().map(|id| state.subscriptions.delete(*id)).collect();
    Ok(answer_list(Service::DeleteSubscriptions, header, &done))
}

fn answer_list(service: Service, header: &RequestHeader<'_>, list: &[StatusCode]) -> Vec<u8> {
    let mut w = send::response(service.response(), header.handle, StatusCode::GOOD);
    results(&mut w, list);
    w.0
}

/// Publish; the answer comes when there is one.
pub fn publish(
    subscriptions: &mut Subscriptions,
    request_id: u32,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    now: Instant,
    out: &mut Vec<Reply>,
) -> Result<(), StatusCode> {
    let count = body.count(8).map_err(malformed)?;
    if count > MAX_ACKNOWLEDGED {
        return Err(StatusCode::BAD_TOO_MANY_OPERATIONS);
    }
    let acknowledged: Vec<_> = (0..count).map(|_| Ok((body.u32()?, body.u32()?))).collect::<Read<_>>().map_err(malformed)?;
    subscriptions.publish(request_id, header.handle, header.timeout, &acknowledged, now, out);
    Ok(())
}

/// Cancel: of what waits in a session only Publish can be cancelled; what was handed to a device or a person goes on.
pub fn cancel(
    subscriptions: &mut Subscriptions,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    out: &mut Vec<Reply>,
) -> Answer {
    let handle = body.u32().map_err(malformed)?;
    let cancelled = subscriptions.cancel(handle, out);
    let mut w = send::response(Service::Cancel.response(), header.handle, StatusCode::GOOD);
    w.u32(cancelled);
    Ok(w.0)
}

/// Republish.
pub fn republish(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Answer {
    let parts = (|| Ok((body.u32()?, body.u32()?)))();
    let (id, sequence) = parts.map_err(malformed)?;
    let message = state.subscriptions.get(id)?.republish(sequence).ok_or(status::BAD_MESSAGE_NOT_AVAILABLE)?;
    let mut w = send::response(Service::Republish.response(), header.handle, StatusCode::GOOD);
    w.0.extend_from_slice(message);
    Ok(w.0)
}

struct Asked<'a> {
    handle: u32,
    sampling: f64,
    filter: Extension<'a>,
    queue: u32,
    discard_oldest: bool,
}

impl<'a> Asked<'a> {
    fn read(body: &mut Reader<'a>) -> Read<Self> {
        Ok(Self {
            handle: body.u32()?,
            sampling: body.f64()?,
            filter: body.extension()?,
            queue: body.u32()?,
            discard_oldest: body.boolean()?,
        })
    }

    /// For an event item. Of the queue size 0 means the default, 1 the minimum, the greatest number the maximum (Part 4, 7.21).
    fn revise_event(&self, limits: &Limits) -> Result<(EventParameters, Option<EventFilterResult>), Refused> {
        let (filter, result) = EventFilter::read(&self.filter, limits)?;
        let (least, default, most) = limits.event_queue;
        let queue = if self.queue == 0 { default } else { self.queue.clamp(least, most) };
        Ok((EventParameters { handle: self.handle, filter, queue, discard_oldest: self.discard_oldest }, result))
    }

    fn revise(
        &self,
        timestamps: Timestamps,
        tag: Option<&TagTraits>,
        (publishing, has_room): (Duration, bool),
        view: &View,
    ) -> Result<Parameters, StatusCode> {
        let limits = &view.server.settings.limits;
        let filter = Filter::read(&self.filter, tag)?;
        let sampling = match Duration::try_from_secs_f64(self.sampling / 1_000.0) {
            // What is no tag is made anew at each sample.
            Ok(asked) => on_grid(asked.clamp(if tag.is_some() { limits.sampling } else { limits.other_sampling }, MAX_SAMPLING)),
            Err(_) if self.sampling > 0.0 => MAX_SAMPLING,
            // Negative means the publishing interval (Part 4, 7.21).
            Err(_) => publishing.max(if tag.is_some() { limits.sampling } else { limits.other_sampling }),
        };
        let queue = self.queue.clamp(1, limits.queue);
        // "As fast as can be" with a queue means every value, as long as not too many items want that.
        let may_tap = has_room && view.server.gateway.table().taps() < limits.taps;
        let every_value = self.sampling == 0.0 && queue > 1 && tag.is_some() && may_tap;
        let sampling = if every_value { Duration::ZERO } else { sampling };
        Ok(Parameters { handle: self.handle, sampling, filter, queue, discard_oldest: self.discard_oldest, timestamps })
    }
}

/// The sampling interval that is meant by `asked`, in whole ms of two digits: items that are sampled at the same time are found
/// together, and no client makes a group of its own for each.
fn on_grid(asked: Duration) -> Duration {
    let ms = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
    let step = 10_u64.pow(ms.max(10).ilog10() - 1);
    Duration::from_millis(ms / step * step)
}

fn head(body: &mut Reader<'_>, least: usize, view: &View) -> Result<(u32, Timestamps, usize), StatusCode> {
    let parts = (|| Ok((body.u32()?, body.u32()?, body.count(least)?)))();
    let (id, timestamps, count) = parts.map_err(malformed)?;
    let timestamps = Timestamps::from_number(timestamps).ok_or(status::BAD_TIMESTAMPS_TO_RETURN_INVALID)?;
    match count {
        0 => Err(StatusCode::BAD_NOTHING_TO_DO),
        count if count > view.server.settings.limits.items_per_call => Err(StatusCode::BAD_TOO_MANY_OPERATIONS),
        count => Ok((id, timestamps, count)),
    }
}

/// CreateMonitoredItems.
pub fn create_items(view: &View, state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>, now: Instant) -> Answer {
    let (id, timestamps, count) = head(body, 2 + 4 + 4 + 6 + 4 + 4 + 8 + 3 + 4 + 1, view)?;
    state.subscriptions.get(id)?;
    let mut w = send::response(Service::CreateMonitoredItems.response(), header.handle, StatusCode::GOOD);
    w.count(count);
    for _ in 0..count {
        let parts = (|| Ok((Target::read(body)?, body.u32()?, Asked::read(body)?)))();
        let (target, mode, asked) = parts.map_err(malformed)?;
        if target.attribute == attribute::EVENT_NOTIFIER {
            let created = create_event_item(view, state, id, &target, mode, &asked);
            w.status(created.as_ref().err().map_or(StatusCode::GOOD, |refused| refused.status));
            w.u32(created.as_ref().map_or(0, |(item, _)| *item));
            event_revised(created.map(|(_, revised)| revised), &mut w);
            continue;
        }
        match create_item(view, state, id, timestamps, &target, mode, &asked, now) {
            Ok((item, parameters)) => {
                w.status(StatusCode::GOOD);
                w.u32(item);
                revised(&parameters, &mut w);
            }
            Err(status) => {
                w.status(status);
                w.u32(0);
                unrevised(&mut w);
            }
        }
    }
    state.subscriptions.get(id)?.show();
    w.null();
    Ok(w.0)
}

#[allow(clippy::too_many_arguments)]
fn create_item(
    view: &View,
    state: &mut State,
    id: u32,
    timestamps: Timestamps,
    target: &Target<'_>,
    mode: u32,
    asked: &Asked<'_>,
    now: Instant,
) -> Result<(u32, Parameters), StatusCode> {
    let (node, range) = target.resolve(view)?;
    let mode = Mode::from_number(mode).ok_or(status::BAD_MONITORING_MODE_INVALID)?;
    let tag = view.tag(node).filter(|_| target.attribute == attribute::VALUE).map(|(_, traits)| traits);
    if tag.is_none() {
        // What cannot be read cannot be watched.
        view.attribute(node, target.attribute)?;
    }
    let limits = &view.server.settings.limits;
    let counts = std::sync::Arc::clone(&state.subscriptions.counts);
    let subscription = state.subscriptions.get(id)?;
    if subscription.items.len() >= limits.items_per_subscription || counts.items.load(Ordering::Relaxed) >= limits.items {
        return Err(status::BAD_TOO_MANY_MONITORED_ITEMS);
    }
    let publishing = subscription.terms.interval;
    let has_room = !subscription.items.purse.is_full();
    let parameters = asked.revise(timestamps, tag.as_deref(), (publishing, has_room), view)?;
    subscription.touch();
    let item = subscription.items.add(
        Place { id: target.id, node, attribute: target.attribute, range },
        mode,
        parameters,
        (now, publishing),
        view,
    );
    counts.items.fetch_add(1, Ordering::Relaxed);
    Ok((item, parameters))
}

/// An event item's revised queue size, and what there is to tell about its filter.
type EventRevised = (u32, Option<EventFilterResult>);

fn create_event_item(
    view: &View,
    state: &mut State,
    id: u32,
    target: &Target<'_>,
    mode: u32,
    asked: &Asked<'_>,
) -> Result<(u32, EventRevised), Refused> {
    let (node, _) = target.resolve(view)?;
    let mode = Mode::from_number(mode).ok_or(status::BAD_MONITORING_MODE_INVALID)?;
    // A Byte whose first bit is SubscribeToEvents (Part 3, 8.59).
    let notifier = Sampler::attribute(view, node, attribute::EVENT_NOTIFIER)?;
    if notifier.last().is_none_or(|bits| bits & 1 == 0) {
        return Err(status::BAD_NOT_SUPPORTED.into());
    }
    let limits = &view.server.settings.limits;
    let counts = std::sync::Arc::clone(&state.subscriptions.counts);
    let subscription = state.subscriptions.get(id)?;
    subscription.touch();
    let all_items = subscription.items.len() + subscription.events.len();
    if all_items >= limits.items_per_subscription
        || subscription.events.len() >= limits.event_items_per_subscription
        || counts.items.load(Ordering::Relaxed) >= limits.items
        || counts.event_items.load(Ordering::Relaxed) >= limits.event_items
    {
        return Err(status::BAD_TOO_MANY_MONITORED_ITEMS.into());
    }
    let (parameters, result) = asked.revise_event(limits)?;
    let queue = parameters.queue;
    let item = subscription.items.next_id();
    subscription.events.add(item, target.id, mode, parameters, view)?;
    counts.items.fetch_add(1, Ordering::Relaxed);
    counts.event_items.fetch_add(1, Ordering::Relaxed);
    Ok((item, (queue, result)))
}

/// The revised sampling interval (none), queue size and filter result.
fn event_revised(revised: Result<EventRevised, Refused>, w: &mut Writer) {
    let (queue, result) = revised.unwrap_or_else(|refused| (0, refused.result));
    w.f64(0.0);
    w.u32(queue);
    match result {
        Some(result) => result.write(w),
        None => w.0.extend_from_slice(&[0, 0, 0]),
    }
}

fn revised(parameters: &Parameters, w: &mut Writer) {
    w.f64(parameters.sampling.as_secs_f64() * 1_000.0);
    w.u32(parameters.queue);
    w.0.extend_from_slice(&[0, 0, 0]);
}

fn unrevised(w: &mut Writer) {
    w.f64(0.0);
    w.u32(0);
    w.0.extend_from_slice(&[0, 0, 0]);
}

/// ModifyMonitoredItems.
pub fn modify_items(view: &View, state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>, now: Instant) -> Answer {
    let (id, timestamps, count) = head(body, 4 + 4 + 8 + 3 + 4 + 1, view)?;
    let subscription = state.subscriptions.get(id)?;
    subscription.touch();
    let publishing = subscription.terms.interval;
    let mut w = send::response(Service::ModifyMonitoredItems.response(), header.handle, StatusCode::GOOD);
    w.count(count);
    let mut modified = Vec::new();
    for _ in 0..count {
        let parts = (|| Ok((body.u32()?, Asked::read(body)?)))();
        let (item, asked) = parts.map_err(malformed)?;
        if subscription.events.contains(item) {
            let revised = asked.revise_event(&view.server.settings.limits).map(|(parameters, result)| {
                let queue = parameters.queue;
                subscription.events.modify(item, parameters, view);
                (queue, result)
            });
            w.status(revised.as_ref().err().map_or(StatusCode::GOOD, |refused| refused.status));
            event_revised(revised, &mut w);
            continue;
        }
        let done = subscription.items.tag_of(item, view).and_then(|tag| {
            let has_room = !subscription.items.purse.is_full();
            let parameters = asked.revise(timestamps, tag.as_deref(), (publishing, has_room), view)?;
            subscription.items.modify(item, parameters, view);
            modified.push(item);
            Ok(parameters)
        });
        match done {
            Ok(parameters) => {
                w.status(StatusCode::GOOD);
                revised(&parameters, &mut w);
            }
            Err(status) => {
                w.status(status);
                unrevised(&mut w);
            }
        }
    }
    subscription.items.settle(&modified, (now, publishing), view);
    w.null();
    Ok(w.0)
}

/// SetMonitoringMode.
pub fn set_monitoring_mode(
    view: &View,
    state: &mut State,
    header: &RequestHeader<'_>,
    body: &mut Reader<'_>,
    now: Instant,
) -> Answer {
    let parts = (|| Ok((body.u32()?, body.u32()?)))();
    let (id, mode) = parts.map_err(malformed)?;
    let items = ids(body, view.server.settings.limits.items_per_call)?;
    let mode = Mode::from_number(mode).ok_or(status::BAD_MONITORING_MODE_INVALID)?;
    let subscription = state.subscriptions.get(id)?;
    subscription.touch();
    let at = (now, subscription.terms.interval);
    let mut changed = Vec::new();
    let each = |item: &u32| {
        let is_there = subscription.items.set_mode(*item, mode);
        if is_there {
            changed.push(*item);
        }
        good_or_unknown(is_there || subscription.events.set_mode(*item, mode, view))
    };
    let done: Vec<_> = items.iter().map(each).collect();
    subscription.items.settle(&changed, at, view);
    subscription.show();
    Ok(answer_list(Service::SetMonitoringMode, header, &done))
}

/// SetTriggering: links that are to go go first (Part 4, 5.13.5.2).
pub fn set_triggering(state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Answer {
    let limits = &state.subscriptions.limits;
    let (most, most_links) = (limits.items_per_call, limits.triggers);
    let parts = (|| {
        let (id, triggering) = (body.u32()?, body.u32()?);
        let mut list = || (0..body.count(4)?).map(|_| body.u32()).collect::<Read<Vec<_>>>();
        Ok((id, triggering, list()?, list()?))
    })();
    let (id, triggering, add, remove) = parts.map_err(malformed)?;
    let Subscription { items, events, .. } = state.subscriptions.get(id)?;
    match add.len() + remove.len() {
        0 => return Err(StatusCode::BAD_NOTHING_TO_DO),
        count if count > most => return Err(StatusCode::BAD_TOO_MANY_OPERATIONS),
        _ => {}
    }
    let is_there = |items: &Items, item: u32| items.contains(item) || events.contains(item);
    if !is_there(items, triggering) {
        return Err(status::BAD_MONITORED_ITEM_ID_INVALID);
    }
    let gone = |linked: &u32| items.triggers.unlink(triggering, *linked);
    let removed: Vec<_> = remove.iter().map(gone).map(good_or_unknown).collect();
    let link = |linked: &u32| match is_there(items, *linked) {
        true if items.triggers.len() >= most_links => StatusCode::BAD_RESOURCE_UNAVAILABLE,
        is_there => {
            if is_there {
                items.triggers.link(triggering, *linked);
            }
            good_or_unknown(is_there)
        }
    };
    let added: Vec<_> = add.iter().map(link).collect();
    let subscription = state.subscriptions.get(id)?;
    subscription.touch();
    let mut w = send::response(Service::SetTriggering.response(), header.handle, StatusCode::GOOD);
    results(&mut w, &added);
    results(&mut w, &removed);
    Ok(w.0)
}

const fn good_or_unknown(is_there: bool) -> StatusCode {
    if is_there { StatusCode::GOOD } else { status::BAD_MONITORED_ITEM_ID_INVALID }
}

/// DeleteMonitoredItems.
pub fn delete_items(view: &View, state: &mut State, header: &RequestHeader<'_>, body: &mut Reader<'_>) -> Answer {
    let id = body.u32().map_err(malformed)?;
    let items = ids(body, view.server.settings.limits.items_per_call)?;
    let counts = std::sync::Arc::clone(&state.subscriptions.counts);
    let subscription = state.subscriptions.get(id)?;
    subscription.touch();
    let mut removed = subscription.items.remove_all(&items);
    for (item, was_there) in items.iter().zip(&mut removed) {
        if subscription.events.remove(*item) {
            *was_there = true;
            counts.event_items.fetch_sub(1, Ordering::Relaxed);
        }
    }
    subscription.show();
    counts.items.fetch_sub(removed.iter().filter(|was_there| **was_there).count(), Ordering::Relaxed);
    Ok(answer_list(Service::DeleteMonitoredItems, header, &removed.into_iter().map(good_or_unknown).collect::<Vec<_>>()))
}
