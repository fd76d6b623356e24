//! The notify step: whom to tell next, and how long to wait for an answer.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{NotifyStage, Run, Stage, Waiting, alarm_of, walk::Progress};
use crate::{
    engine::{
        Engine,
        call::cannot_call,
        io::OutboxId,
        outbox::{Item, Purpose},
        plan::{Channel, Notify, Order, Priority},
        record::{JournalKind, NotSent},
    },
    tag::Timestamp,
};

/// How often a follow-up looks whether a text that is on its way has arrived.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// One way to one person, as a notify step sees it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Candidate {
    user: String,
    number: String,
    min_priority: Priority,
    /// Whose place it is, when `user` stands in for somebody.
    covers: Option<String>,
    /// What a round remembers of them. Standing in for somebody is another matter than one's own place: who was off duty there
    /// may be contacted here.
    key: String,
}

impl Candidate {
    pub(super) fn new(user: &str, number: &str, min_priority: Priority) -> Self {
        Self { user: user.to_owned(), number: number.to_owned(), min_priority, covers: None, key: number.to_owned() }
    }

    fn covering(self, holder: &str) -> Self {
        Self { key: format!("{} for {holder}", self.number), covers: Some(holder.to_owned()), ..self }
    }

    pub(in crate::engine) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn is_for(&self, user: &str, number: &str) -> bool {
        self.user == user && self.number == number
    }
}

impl Engine {
    pub(super) fn advance_notify(&mut self, path: &str, index: usize, notify: &Notify) -> Progress {
        let now = self.now;
        let Some(run) = self.runs.get(path) else { return Progress::Done };
        let follow = run.is_follow_up();
        let candidates = if follow { self.audience(path, run, notify) } else { self.candidates(notify) };
        let order = if follow { Order::Broadcast } else { notify.order };
        let more_to_come = follow && self.is_being_told(path);
        let Some(run) = self.runs.get_mut(path) else { return Progress::Done };
        run.hurried = false;
        if !matches!(run.stage, Stage::Notify(_)) {
            run.stage = Stage::Notify(NotifyStage {
                round: 0,
                round_started: now,
                done: Vec::new(),
                tried: 0,
                waiting: Vec::new(),
                next_round: None,
            });
        }
        loop {
            let Some(Run { stage: Stage::Notify(stage), .. }) = self.runs.get_mut(path) else { return Progress::Done };
            if let Some(next) = stage.next_round {
                if next > now {
                    return Progress::Wait(Some(next));
                }
                stage.next_round = None;
                stage.round += 1;
                (stage.round_started, stage.tried) = (now, 0);
                stage.done.clear();
                stage.waiting.clear();
            }
            let next = candidates.iter().find(|candidate| !stage.has_had(candidate));
            let last = next.is_none();
            match order {
                Order::Sequential => {
                    if let Some(wait) = must_wait(stage.waiting.last(), notify, last, now) {
                        return Progress::Wait(wait);
                    }
                }
                Order::Broadcast if last => {
                    let unresolved = stage.waiting.iter().filter_map(|waiting| must_wait(Some(waiting), notify, true, now));
                    if let Some(wait) = unresolved.reduce(|a, b| match (a, b) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    }) {
                        return Progress::Wait(wait);
                    }
                }
                Order::Broadcast => {}
            }
            if let Some(candidate) = next {
                stage.done.push(candidate.key.clone());
                self.contact(path, index, notify, candidate);
            } else if more_to_come {
                return Progress::Wait(Some(now + LOOK_AGAIN));
            } else if stage.tried == 0 {
                let words = if follow {
                    "nobody who was told of it can be contacted".to_owned()
                } else {
                    format!("roster {} has nobody to contact", notify.roster)
                };
                self.journal(index, JournalKind::NobodyToContact, None, &words);
                return Progress::Done;
            } else if stage.round + 1 < notify.times {
                stage.next_round = Some((stage.round_started + notify.repeat).max(now));
            } else {
                return Progress::Done;
            }
        }
    }

    /// Everybody whom a notify step may contact now, in order. Whether they are on duty is asked when their turn comes.
    pub(in crate::engine) fn candidates(&self, notify: &Notify) -> Vec<Candidate> {
        let channel = self.plan.profiles.get(&notify.profile).map(|profile| profile.channel);
        let places = self.rota().places(&notify.roster, self.now);
        let contacts = places.iter().flat_map(|place| {
            let of_channel = place.user.contacts.iter().filter(move |contact| Some(contact.channel) == channel);
            of_channel.map(|contact| {
                let candidate = Candidate::new(&place.user.name, &contact.number, contact.min_priority);
                if place.is_covered() { candidate.covering(&place.holder.name) } else { candidate }
            })
        });
        contacts.collect()
    }

    /// Asks for a text to one contact, or says in the audit log why there is none.
    pub(in crate::engine) fn contact(&mut self, path: &str, index: usize, notify: &Notify, candidate: &Candidate) {
        let events: Vec<Uuid> = self.alarms[index].alarm.newest().map(|event| event.id).into_iter().collect();
        let place = self.runs.get(path).map(Run::place).unwrap_or_default();
        let text = format!("{} by {}, {place}", alarm_of(path), notify.profile);
        if let Some(holder) = &candidate.covers {
            self.not_sent(NotSent::Covered, holder, "", format!("{text}; {} stands in", candidate.user), events.clone());
        }
        if let Some((reason, detail)) = self.refusal(path, index, notify, candidate) {
            return self.not_sent(reason, &candidate.user, &candidate.number, text + detail.as_str(), events);
        }
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return };
        let step = run.step_key();
        let spared = run.spared.iter().position(|number| *number == candidate.number).map(|place| run.spared.remove(place));
        let told = spared.and_then(|number| run.told.iter().rev().find(|told| told.number == number)).map(|told| told.at);
        if let Stage::Notify(stage) = &mut run.stage {
            stage.tried += 1;
            stage.waiting.push(Waiting {
                number: candidate.number.clone(),
                row: None,
                since: now,
                accepted: told,
                failed: false,
                until: None,
            });
        }
        if told.is_some() {
            return;
        }
        if let Err(reason) = self.ask_for_text(path, index, notify, &step, &candidate.user, &candidate.number) {
            self.not_contacted(path, notify, candidate, reason);
        }
    }

    /// The contact just tried counts as not reached: the step goes on to the next at once.
    fn not_contacted(&mut self, path: &str, notify: &Notify, candidate: &Candidate, reason: NotSent) {
        if let Some(Run { stage: Stage::Notify(stage), .. }) = self.runs.get_mut(path) {
            stage.tried -= 1;
            stage.waiting.pop();
        }
        let events = self.event_to_tell(path).into_iter().collect();
        let text = format!("{path} by {}", notify.profile);
        self.not_sent(reason, &candidate.user, &candidate.number, text, events);
    }

    /// Why a candidate is not contacted, and what there is to add.
    pub(in crate::engine) fn refusal(
        &self,
        path: &str,
        index: usize,
        notify: &Notify,
        candidate: &Candidate,
    ) -> Option<(NotSent, String)> {
        let plain = |reason| Some((reason, String::new()));
        let user = self.plan.users.get(&candidate.user)?;
        let Some(profile) = self.plan.profiles.get(&notify.profile) else { return plain(NotSent::Removed) };
        if self.plan.alarms[index].priority < candidate.min_priority {
            return plain(NotSent::BelowPriority);
        }
        if self.knob(&profile.disabled) || self.is_disabled(&profile.twilio) {
            return plain(NotSent::Disabled);
        }
        // Who was told of an alarm is told that it is over, on duty or not.
        let follow = self.runs.get(path).is_some_and(Run::is_follow_up);
        let holder = candidate.covers.as_ref().map_or(Some(user), |holder| self.plan.users.get(holder))?;
        if let Some(reason) = self.rota().off_duty(holder, candidate.covers.is_some(), self.now).filter(|_| !follow) {
            return Some((NotSent::OffDuty, format!("; {reason}")));
        }
        if let Some(consent) = &profile.consent
            && !user.consent.contains(consent)
        {
            return plain(NotSent::NoConsent);
        }
        if !self.plan.people.allows(&candidate.number) {
            return plain(NotSent::NotAllowed);
        }
        if profile.channel == Channel::Voice {
            let twilio = self.plan.twilio.get(&profile.twilio)?;
            return cannot_call(twilio).and_then(|_| plain(NotSent::CannotCall));
        }
        let contact = self.contacts.get(&candidate.number)?;
        // STOP is about texts: the same phone may be called.
        if contact.opted_out && profile.channel == Channel::Sms { plain(NotSent::OptedOut) } else { None }
    }

    /// The contact of `row` was reached by Twilio: runs go on waiting for an answer.
    pub(in crate::engine) fn text_accepted(&mut self, row: OutboxId) {
        let now = self.now;
        // A call tells by what it says, see `call`.
        if self.outbox.text(row).is_some_and(|text| text.channel == Channel::Voice) {
            return;
        }
        let Some((number, items)) = self.alarm_items(row) else { return };
        for item in items {
            let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) else {
                if item.named {
                    self.told_late(&number, &item.alarm);
                }
                continue;
            };
            let announced = run.is_follow_up() && item.named;
            if item.named {
                run.note_told(&number, item.event, now);
            }
            if let Some(waiting) = run.waiting_mut(row) {
                waiting.accepted = Some(now);
            }
            if announced {
                self.note_announced(&item.alarm, &number);
            }
            self.nudge_follow_ups(&item.alarm);
            self.advance(&item.alarm);
            self.watch_reach(&item.alarm);
        }
    }

    /// The contact of `row` cannot be reached by it: runs go on at once.
    pub(in crate::engine) fn text_failed(&mut self, row: OutboxId) {
        let Some((_, items)) = self.alarm_items(row) else { return };
        for item in items {
            if let Some(waiting) = self.runs.get_mut(&item.alarm).and_then(|run| run.waiting_mut(row)) {
                waiting.failed = true;
            }
            self.advance(&item.alarm);
            self.nudge_follow_ups(&item.alarm);
        }
    }

    pub(in crate::engine) fn alarm_items(&self, row: OutboxId) -> Option<(String, Vec<Item>)> {
        let text = self.outbox.text(row)?;
        match &text.purpose {
            Purpose::Alarm { items, .. } => Some((text.to.clone(), items.clone())),
            Purpose::Answer { .. } | Purpose::Manual | Purpose::Event { .. } => None,
        }
    }

    /// True while the run of `item` still wants to be told. A run that has walked to its end says nothing against it: a text that
    /// Twilio could not take yet is needed all the same.
    pub(in crate::engine) fn wants_telling(&self, item: &Item) -> bool {
        let run = self.runs.get(&item.alarm).filter(|run| run.code == item.code);
        let index = self.index_of(&item.alarm);
        run.zip(index).is_some_and(|(run, index)| self.end_condition(index, run).is_none())
    }

    /// A text about these was cancelled: should their alarms come back, somebody was not told.
    pub(in crate::engine) fn note_untold(&mut self, items: &[Item]) {
        for item in items {
            if let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) {
                run.untold = true;
                self.dirty.runs.insert(Arc::clone(&item.alarm));
            }
        }
    }

    /// The event that a text about the alarm at `path` is about: the newest open one, or the one that is over.
    pub(in crate::engine) fn event_to_tell(&self, path: &str) -> Option<Uuid> {
        if let Some(follow) = self.runs.get(path).and_then(|run| run.follows.as_ref()) {
            return Some(follow.event);
        }
        let alarm = &self.alarms[*self.plan.alarm_index.get(path)?].alarm;
        alarm.open_events().next_back().or_else(|| alarm.newest()).map(|event| event.id)
    }
}

impl NotifyStage {
    /// True when this round has dealt with the candidate, or has contacted them for another place.
    fn has_had(&self, candidate: &Candidate) -> bool {
        self.done.contains(&candidate.key) || self.waiting.iter().any(|waiting| waiting.number == candidate.number)
    }
}

impl Run {
    /// Nobody waits any longer for an answer of this number; true when somebody did.
    pub(in crate::engine) fn give_up_on(&mut self, number: &str) -> bool {
        let Stage::Notify(stage) = &mut self.stage else { return false };
        let mut waited = false;
        for waiting in stage.waiting.iter_mut().filter(|waiting| waiting.number == number && !waiting.failed) {
            (waiting.failed, waited) = (true, true);
        }
        waited
    }

    pub(in crate::engine) fn waiting_mut(&mut self, row: OutboxId) -> Option<&mut Waiting> {
        match &mut self.stage {
            Stage::Notify(stage) => stage.waiting.iter_mut().find(|waiting| waiting.row == Some(row)),
            Stage::Enter | Stage::Delay { .. } | Stage::Set { .. } | Stage::Script { .. } | Stage::Ended { .. } => None,
        }
    }
}

/// How long a contact holds the step up: `None` not at all, `Some(None)` until a message's fate is known.
#[allow(clippy::option_option)]
fn must_wait(waiting: Option<&Waiting>, notify: &Notify, last: bool, now: Timestamp) -> Option<Option<Timestamp>> {
    let waiting = waiting.filter(|waiting| !waiting.failed)?;
    let talk = waiting.until.filter(|until| *until > now);
    match (waiting.accepted, waiting.row) {
        // The step ends when the last contact was told, and the call with them is over; waiting before the next step is a delay
        // step's job.
        (Some(_), _) if last => talk.map(Some),
        (Some(accepted), _) => (now < accepted + notify.wait).then_some(Some(accepted + notify.wait)),
        // While a call rings or asks for the PIN, it is open whether it reaches anybody.
        (None, Some(_)) if waiting.until.is_some() => talk.map(Some),
        (None, Some(_)) => (now < waiting.since + notify.wait).then_some(Some(waiting.since + notify.wait)),
        (None, None) => Some(None),
    }
}
