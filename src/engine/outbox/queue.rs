//! Into the outbox and out of it: filing rows, the senders' turns, and the last look before an attempt.

use std::time::Duration;

use super::{AMBIGUOUS_DEADLINE, Job, LOOKUPS, LateAnswer, Purpose, Row, Text, TextState};
use crate::{
    engine::{
        Engine, Timer,
        call::{MAX_MESSAGE, cannot_call},
        gsm::MAX_CHARACTERS,
        io::{Effect, Lookup, OutboxId, Outcome, RequestId, Via},
        people,
        plan::Channel,
        record::{AuditKind, NotSent},
    },
    tag::{StatusCode, Timestamp},
};

/// What a lane's turn came to.
enum Turn {
    /// Its first was sent or cancelled.
    Taken,
    /// Nothing waits, or too much is under way.
    Nothing,
    /// Its pace lets the next one go then.
    Wait(Timestamp),
}

/// Attempts of one sender, of texts or of calls, that are under way at once.
const MAX_IN_FLIGHT: usize = 4;
/// How long a text that no alarm needs (an answer, a manual one) is tried.
const PLAIN_DEADLINE: Duration = Duration::from_secs(600);
/// How long an ended row is kept, so that late reports find it and no other row takes its SID.
const KEEP_ENDED: Duration = Duration::from_secs(600);
/// How long a text without a final report is kept ("sent" may be the last word of a carrier).
const KEEP_SENT: Duration = Duration::from_secs(86_400);
/// Texts of programs and persons that wait at once.
const MAX_MANUAL: usize = 1000;
/// How long a caller waits for Twilio's answer to a text of his own.
const MANUAL_WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Puts a text into the outbox; it goes as soon as its sender may.
    pub(in crate::engine) fn enqueue(&mut self, text: Text) -> OutboxId {
        let id = self.new_row(Job::Text(text));
        self.requeue(id);
        id
    }

    pub(in crate::engine) fn new_row(&mut self, job: Job) -> OutboxId {
        self.outbox.next += 1;
        let id = OutboxId(self.outbox.next);
        self.dirty.engine = true;
        self.outbox.rows.insert(id, Row { created: self.now, job });
        self.dirty.rows.insert(id);
        id
    }

    /// A person's or program's own text or call: the answer follows when Twilio has taken or refused it.
    pub(in crate::engine) fn send_manual(
        &mut self,
        request: RequestId,
        by: &str,
        channel: Channel,
        twilio: Option<String>,
        number: &str,
        body: String,
    ) {
        // Whoever asks through OPC UA or a script sees only that it was not sent: `LastError` says why.
        let refuse = |engine: &mut Self, status, reason: &str| {
            engine.note_error(reason);
            engine.answer(request, Outcome::refused(status, reason));
        };
        let Some(def) =
            twilio.or_else(|| self.plan.twilio.keys().next().cloned()).and_then(|name| self.plan.twilio.get(&name)).cloned()
        else {
            return refuse(self, StatusCode::BAD_CONFIGURATION_ERROR, "send: there is no such [[twilio]] profile");
        };
        let (longest, too_long) = match channel {
            Channel::Sms => (MAX_CHARACTERS, "a text has 1 to 1,600 characters (21617)"),
            Channel::Voice => (MAX_MESSAGE, "a spoken message has 1 to 1,000 characters"),
        };
        if let Some(reason) = cannot_call(&def).filter(|_| channel == Channel::Voice) {
            return refuse(self, StatusCode::BAD_CONFIGURATION_ERROR, reason);
        }
        let to = match people::normalise(number, self.plan.people.default_region.as_deref()) {
            Ok(number) => number,
            Err(reason) => return refuse(self, StatusCode::BAD_INVALID_ARGUMENT, &reason),
        };
        if body.trim().is_empty() || body.chars().count() > longest {
            return refuse(self, StatusCode::BAD_INVALID_ARGUMENT, too_long);
        }
        if let Some(reason) = self.manual_refusal(&def.name, channel, &to) {
            self.audit(AuditKind::MessageNotSent, by, Via::Api, &to, String::new(), reason.words(), Vec::new(), None);
            return self.answer(request, not_sent(reason));
        }
        let manual = |id: &OutboxId| self.outbox.text(*id).is_some_and(|text| text.purpose == Purpose::Manual);
        if self.outbox.open_texts().filter(manual).count() >= MAX_MANUAL {
            let reason = "too many texts wait: try again later";
            return self.answer(request, Outcome::refused(StatusCode::BAD_TOO_MANY_OPERATIONS, reason));
        }
        let user = self.plan.user_by_number(&to).map(|user| user.name.clone());
        let detail = format!("asked for by {by}");
        let text = Text::new(&def.name, channel, &to, user, Purpose::Manual, self.now);
        let id = self.enqueue(Text { body, detail, ..text });
        self.outbox.callers.insert(id, request);
        self.timers.set(&Timer::Caller(id), Some(self.now + MANUAL_WAIT));
    }

    /// Why nothing is sent to a number, whoever asks for it.
    fn manual_refusal(&self, twilio: &str, channel: Channel, number: &str) -> Option<NotSent> {
        if self.is_disabled(twilio) {
            return Some(NotSent::Disabled);
        }
        if !self.plan.people.allows(number) {
            return Some(NotSent::NotAllowed);
        }
        let opted_out = self.contacts.get(number).is_some_and(|contact| contact.opted_out);
        (opted_out && channel == Channel::Sms).then_some(NotSent::OptedOut)
    }

    pub(in crate::engine) fn caller_waited(&mut self, id: OutboxId) {
        if let Some(request) = self.outbox.callers.remove(&id) {
            let reason = "Twilio has not answered within 10 s; the message stays in the outbox";
            self.note_error(reason);
            self.answer(request, Outcome::refused(StatusCode::BAD_TIMEOUT, reason));
        }
    }

    /// Files a row where its state says: in its sender's queue, or under a timer.
    pub(in crate::engine) fn requeue(&mut self, id: OutboxId) {
        let Some(text) = self.outbox.text(id) else { return };
        let is_open = text.state.is_open();
        let (twilio, rank, not_before, held) = (
            text.twilio.clone(),
            text.rank(),
            text.not_before,
            matches!(&text.purpose, Purpose::Answer(answer) if !answer.waits_for.is_empty()),
        );
        let channel = text.channel;
        let due = match &text.state {
            TextState::Queued if held && not_before <= self.now => {
                self.stop_waiting(id);
                self.outbox.lane(&twilio, channel).queue.insert((rank, id));
                None
            }
            TextState::Queued if not_before > self.now => Some(not_before),
            TextState::Queued => {
                self.outbox.lane(&twilio, channel).queue.insert((rank, id));
                None
            }
            TextState::Sending(_) => None,
            TextState::Ambiguous { lost, lookups, .. } => {
                let regular = *lost + LOOKUPS[(*lookups).min(LOOKUPS.len() - 1)];
                Some(regular.max(self.now + LOOKUPS[0]))
            }
            TextState::Accepted { at, status, .. } if !status.is_final() => Some(*at + KEEP_SENT),
            TextState::Accepted { at, .. } | TextState::Failed { at } | TextState::Cancelled { at } => {
                // An attempt of unknown fate may still be reported on, and is then counted.
                Some(*at + if text.possible_duplicate { KEEP_SENT } else { KEEP_ENDED })
            }
        };
        if is_open {
            self.outbox.open.insert(id);
        } else {
            self.outbox.open.remove(&id);
        }
        if is_open && channel == Channel::Voice {
            self.outbox.open_calls.insert(id);
        } else {
            self.outbox.open_calls.remove(&id);
        }
        self.timers.set(&Timer::Row(id), due);
        self.dirty.senders.insert(twilio);
    }

    /// An answer goes without the PLC's: what becomes of the write-back is told in a text of its own.
    fn stop_waiting(&mut self, id: OutboxId) {
        let Some(text) = self.outbox.text_mut(id) else { return };
        let late = LateAnswer { twilio: text.twilio.clone(), to: text.to.clone(), user: text.user.clone() };
        let Purpose::Answer(answer) = &mut text.purpose else { return };
        answer.pending = true;
        for row in std::mem::take(&mut answer.waits_for) {
            self.answer_late(row, late.clone());
        }
        self.dirty.rows.insert(id);
    }

    /// Something of a row is due.
    pub(in crate::engine) fn row_due(&mut self, id: OutboxId) {
        let Some(row) = self.outbox.rows.get(&id) else { return };
        let text = match &row.job {
            Job::Text(text) => text,
            Job::WriteBack(_) => return self.write_back_due(id),
            Job::Set(_) => return self.set_ended(id, None),
        };
        match &text.state {
            TextState::Queued => {
                self.requeue(id);
            }
            TextState::Ambiguous { since, .. } => {
                let lookup = Lookup { message: self.outgoing(id, text), since: *since };
                self.effects.push(Effect::Lookup(lookup));
            }
            TextState::Sending(_) => {}
            TextState::Accepted { .. } if self.is_looked_up(&text.to) => {
                self.timers.set(&Timer::Row(id), Some(self.now + AMBIGUOUS_DEADLINE));
            }
            TextState::Accepted { .. } | TextState::Failed { .. } | TextState::Cancelled { .. } => self.drop_row(id),
        }
    }

    /// A text to `number` has an unknown fate: the SIDs of others to that number must not be taken for its own.
    pub(super) fn is_looked_up(&self, number: &str) -> bool {
        let mut open = self.outbox.open.iter().filter_map(|id| self.outbox.text(*id));
        open.any(|text| text.to == number && matches!(text.state, TextState::Ambiguous { .. }))
    }

    pub(in crate::engine) fn drop_row(&mut self, id: OutboxId) {
        if let Some(Row { job: Job::Text(Text { state: TextState::Accepted { sid, .. }, duplicates, .. }), .. }) =
            self.outbox.rows.remove(&id)
        {
            for sid in duplicates.iter().chain([&sid]) {
                self.outbox.sids.remove(sid);
            }
        }
        self.timers.set(&Timer::Row(id), None);
        self.dirty.rows.insert(id);
    }

    /// Lets every sender that may send do so.
    pub(in crate::engine) fn pump(&mut self) {
        while let Some(name) = self.dirty.senders.pop_first() {
            self.pump_lanes(&name);
            self.watch_sender(&name);
        }
    }

    /// Texts and calls have a pace each.
    fn pump_lanes(&mut self, name: &str) {
        let mut next = None;
        for channel in [Channel::Sms, Channel::Voice] {
            let free = loop {
                match self.pump_one(name, channel) {
                    Turn::Taken => {}
                    Turn::Nothing => break None,
                    Turn::Wait(free) => break Some(free),
                }
            };
            next = [next, free].into_iter().flatten().min();
        }
        if next.is_some() {
            self.timers.set(&Timer::Sender(name.to_owned()), next);
        }
    }

    /// Sends the first of a lane, if its pace allows.
    fn pump_one(&mut self, name: &str, channel: Channel) -> Turn {
        let rate = self.plan.twilio.get(name).map_or(1.0, |twilio| match channel {
            Channel::Sms => twilio.sms_per_second,
            Channel::Voice => twilio.calls_per_second,
        });
        let Some(lane) = self.outbox.senders.get_mut(name).map(|sender| sender.lane(channel)) else { return Turn::Nothing };
        let Some(&(rank, id)) = lane.queue.first() else { return Turn::Nothing };
        if lane.in_flight.len() >= MAX_IN_FLIGHT {
            return Turn::Nothing;
        }
        let interval = Duration::from_secs_f64(1.0 / rate.max(0.01));
        let free = lane.paced - Duration::from_secs(1).saturating_sub(interval);
        if free > self.now {
            return Turn::Wait(free);
        }
        lane.queue.remove(&(rank, id));
        if !self.prepare(id) {
            return Turn::Taken;
        }
        let now = self.now;
        let lane = self.outbox.lane(name, channel);
        lane.in_flight.insert(id);
        lane.paced = lane.paced.max(now) + interval;
        let Some(text) = self.outbox.text_mut(id) else { return Turn::Taken };
        text.state = TextState::Sending(now);
        text.attempts += 1;
        if let Some(text) = self.outbox.text(id) {
            let effect = Effect::Send(self.outgoing(id, text));
            self.effects.push(effect);
        }
        self.dirty.rows.insert(id);
        Turn::Taken
    }

    /// The last look at a text before an attempt: is it still needed, and what does it say now. False when it was cancelled.
    fn prepare(&mut self, id: OutboxId) -> bool {
        let Some(row) = self.outbox.rows.get(&id) else { return false };
        let created = row.created;
        let Job::Text(text) = &row.job else { return false };
        if !self.plan.twilio.contains_key(&text.twilio) {
            self.cancel(id, NotSent::Removed);
            return false;
        }
        if let Some(reason) = self.unreachable(text) {
            self.cancel(id, reason);
            self.text_failed(id);
            return false;
        }
        match &text.purpose {
            Purpose::Alarm { .. } => {
                if !self.still_needed(id) {
                    self.cancel(id, NotSent::Superseded);
                    return false;
                }
                if !self.spend_on(id) {
                    self.cancel(id, NotSent::Budget);
                    self.text_failed(id);
                    return false;
                }
                // Anew at each attempt: the ones before were certainly not sent, and the text says what is true now.
                self.compose(id);
            }
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } if self.now.since(created) > PLAIN_DEADLINE => {
                self.fail(id, 0, "not accepted within 10 minutes", "see why Twilio could not be reached");
                return false;
            }
            Purpose::Answer(answer) if text.attempts == 0 => {
                let body = answer.body();
                if let Some(text) = self.outbox.text_mut(id) {
                    text.body = body;
                }
            }
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } => {}
        }
        true
    }

    /// Why a text may not go any more.
    fn unreachable(&self, text: &Text) -> Option<NotSent> {
        if self.is_disabled(&text.twilio) {
            return Some(NotSent::Disabled);
        }
        match &text.purpose {
            Purpose::Event { event, recipient, .. } => return self.event_unreachable(event, recipient, &text.to),
            Purpose::Alarm { profile, .. } => {
                if let Some(profile) = self.plan.profiles.get(profile) {
                    let user = text.user.as_ref().and_then(|user| self.plan.users.get(user));
                    let given = |consent: &String| user.is_none_or(|user| user.consent.contains(consent));
                    if self.knob(&profile.disabled) {
                        return Some(NotSent::Disabled);
                    }
                    if !profile.consent.as_ref().is_none_or(given) {
                        return Some(NotSent::NoConsent);
                    }
                }
            }
            Purpose::Answer(_) | Purpose::Manual => {}
        }
        let user = text.user.as_ref().filter(|_| text.purpose != Purpose::Manual)?;
        let owner = self.plan.user_by_number(&text.to);
        if owner.is_none_or(|owner| owner.name != *user) {
            return Some(NotSent::Removed);
        }
        if !self.plan.people.allows(&text.to) {
            return Some(NotSent::NotAllowed);
        }
        let opted_out = self.contacts.get(&text.to).is_some_and(|contact| contact.opted_out);
        (opted_out && text.channel == Channel::Sms).then_some(NotSent::OptedOut)
    }

    /// Ends a text that nobody needs any more.
    pub(in crate::engine) fn cancel(&mut self, id: OutboxId, reason: NotSent) {
        let now = self.now;
        let Some(text) = self.outbox.text_mut(id) else { return };
        if !matches!(text.state, TextState::Queued) {
            return;
        }
        text.state = TextState::Cancelled { at: now };
        reason.words().clone_into(&mut text.detail);
        let (rank, twilio, channel) = (text.rank(), text.twilio.clone(), text.channel);
        self.outbox.lane(&twilio, channel).queue.remove(&(rank, id));
        self.ended(id);
        self.audit_text(id, AuditKind::MessageNotSent, reason.words());
        if reason == NotSent::Superseded {
            let (_, items) = self.alarm_items(id).unwrap_or_default();
            self.note_untold(&items);
        }
        if let Some(request) = self.outbox.callers.remove(&id) {
            self.timers.set(&Timer::Caller(id), None);
            self.answer(request, not_sent(reason));
        }
    }

    /// TwilioFailed: the account is refused, or nothing was accepted for a minute while something waits (SPEC 6.4).
    pub(in crate::engine) fn watch_sender(&mut self, name: &str) {
        const SILENCE: Duration = Duration::from_secs(60);
        let Some(sender) = self.outbox.senders.get(name) else { return };
        let of_sender = |id: &&OutboxId| self.outbox.text(**id).is_some_and(|text| text.twilio == name);
        let oldest = self.outbox.open.iter().find(of_sender).map(|id| self.outbox.rows[id].created);
        let silent_since = oldest.map(|oldest| oldest.max(sender.last_accepted));
        let silent = silent_since.is_some_and(|since| self.now.since(since) >= SILENCE);
        let next = silent_since.map(|since| since + SILENCE).filter(|_| !silent);
        self.timers.set(&Timer::Silence(name.to_owned()), next);
        let reason = match &sender.refused {
            Some(words) => Some(format!("Twilio refuses the account {name}: {words}")),
            None if silent => Some(format!("Twilio profile {name} accepted nothing for 60 s while texts wait")),
            None => None,
        };
        match reason {
            Some(reason) => self.twilio_failed.insert(name.to_owned(), reason),
            None => self.twilio_failed.remove(name),
        };
        let text = self.twilio_failed.values().next().cloned();
        self.set_system("System/Gateway/Alarms/TwilioFailed", text);
    }

    /// Texts that wait: how many, and how long the oldest has.
    pub(in crate::engine) fn outbox_depth(&self) -> (usize, Duration) {
        let oldest = self.outbox.open.first().map(|id| self.now.since(self.outbox.rows[id].created));
        (self.outbox.open.len(), oldest.unwrap_or_default())
    }
}

/// What the caller is told of a text of his own that is not sent.
fn not_sent(reason: NotSent) -> Outcome {
    let (status, words) = match reason {
        NotSent::Disabled => (StatusCode::BAD_OUT_OF_SERVICE, "not sent: the Twilio profile is disabled".to_owned()),
        NotSent::OptedOut => {
            let words = "not sent: the person has opted out (21610); only START from that phone undoes it".to_owned();
            (StatusCode::BAD_INVALID_STATE, words)
        }
        NotSent::NotAllowed => {
            (StatusCode::BAD_INVALID_ARGUMENT, "not sent: the number is not among [people] allow_numbers".to_owned())
        }
        other => (StatusCode::BAD_INVALID_STATE, format!("not sent: {}", other.words())),
    };
    Outcome::refused(status, words)
}
