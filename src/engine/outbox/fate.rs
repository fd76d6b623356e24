//! What became of an attempt: accepted, refused, lost, reported on. The one place where a message sent is counted.

use std::time::Duration;

use super::{AMBIGUOUS_DEADLINE, LOOKUPS, Outbox, Purpose, Text, TextState, status_word};
use crate::{
    engine::{
        Engine, Timer,
        io::{Accepted, DeliveryState, OutboxId, Outcome, SendFailure, Via},
        plan::Channel,
        record::{AuditKind, Direction, LedgerEntry, Record},
    },
    tag::{StatusCode, Timestamp},
};

const BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

impl Engine {
    pub(in crate::engine) fn send_result(&mut self, id: OutboxId, result: Result<Accepted, SendFailure>) {
        let Some(text) = self.outbox.text(id) else { return };
        let TextState::Sending(since) = text.state else { return };
        let attempts = text.attempts;
        self.leave_flight(id);
        match result {
            Ok(accepted) => self.accepted(id, accepted),
            Err(SendFailure::Retry { reason, after, .. }) => {
                let exponential = BACK_OFF.saturating_mul(1 << attempts.saturating_sub(1).min(6)).min(MAX_BACK_OFF);
                let wait = after.unwrap_or(exponential).min(Duration::from_secs(300)) + self.random.jitter(exponential / 2);
                let not_before = self.now + wait;
                self.note_error(&reason);
                if let Some(text) = self.outbox.text_mut(id) {
                    text.state = TextState::Queued;
                    text.not_before = not_before;
                    text.detail = reason;
                }
                self.ended_or_again(id);
            }
            Err(SendFailure::Ambiguous { reason }) => {
                self.note_error(&reason);
                self.become_ambiguous(id, since, reason);
            }
            Err(SendFailure::Permanent { code, reason, advice, account, opted_out }) => {
                if account {
                    let twilio = self.outbox.text(id).map(|text| text.twilio.clone()).unwrap_or_default();
                    self.outbox.senders.entry(twilio).or_default().refused = Some(format!("{code}: {reason}"));
                }
                if opted_out && let Some(number) = self.outbox.text(id).map(|text| text.to.clone()) {
                    self.set_opted_out(&number, true, "Twilio error 21610");
                }
                self.fail(id, code, &reason, &advice);
            }
        }
    }

    /// An attempt may or may not have been sent.
    pub(in crate::engine) fn become_ambiguous(&mut self, id: OutboxId, since: Timestamp, reason: String) {
        let lost = self.now;
        if let Some(text) = self.outbox.text_mut(id) {
            text.state = TextState::Ambiguous { since, lost, lookups: 0, list_read: false };
            text.detail = reason;
        }
        self.ended_or_again(id);
    }

    pub(in crate::engine) fn lookup_result(&mut self, id: OutboxId, result: Result<Vec<Accepted>, String>) {
        let now = self.now;
        let taken: Vec<String> = match &result {
            Ok(found) => {
                found.iter().map(|found| &found.sid).filter(|sid| self.outbox.sids.contains_key(*sid)).cloned().collect()
            }
            Err(_) => Vec::new(),
        };
        let twin = self.has_twin_in_flight(id);
        let Some(text) = self.outbox.text_mut(id) else { return };
        let TextState::Ambiguous { lost, lookups, list_read, .. } = &mut text.state else { return };
        let over = now.since(*lost) >= AMBIGUOUS_DEADLINE;
        let again = match result {
            Ok(found) => {
                if let Some(found) = found.into_iter().find(|found| !taken.contains(&found.sid)) {
                    if twin {
                        // It may be the other's, whose answer will say so: look again soon.
                        self.timers.set(&Timer::Row(id), Some(now + LOOKUPS[0]));
                        return;
                    }
                    return self.accepted(id, found);
                }
                *list_read = true;
                *lookups += 1;
                *lookups >= LOOKUPS.len() || over
            }
            Err(reason) if over => {
                text.possible_duplicate = !*list_read;
                text.detail = format!("possible duplicate: {reason}");
                true
            }
            Err(reason) => {
                text.detail = reason;
                // The list itself failed, which is no search: look again soon, within the deadline.
                self.timers.set(&Timer::Row(id), Some(now + LOOKUPS[0]));
                self.dirty.rows.insert(id);
                return;
            }
        };
        if again {
            text.state = TextState::Queued;
            text.not_before = now;
        }
        self.ended_or_again(id);
    }

    /// Another message of the same words to the same number is being sent at this moment: what the list shows may be that one.
    fn has_twin_in_flight(&self, id: OutboxId) -> bool {
        let Some(text) = self.outbox.text(id) else { return false };
        let Some(sender) = self.outbox.senders.get(&text.twilio) else { return false };
        sender.texts.in_flight.iter().chain(&sender.calls.in_flight).any(|other| {
            let alike = |other: &Text| other.channel == text.channel && other.to == text.to && other.body == text.body;
            *other != id && self.outbox.text(*other).is_some_and(alike)
        })
    }

    pub(super) fn ended_or_again(&mut self, id: OutboxId) {
        self.dirty.rows.insert(id);
        self.requeue(id);
    }

    pub(super) fn leave_flight(&mut self, id: OutboxId) {
        let Some((twilio, channel)) = self.outbox.text(id).map(|text| (text.twilio.clone(), text.channel)) else { return };
        self.outbox.lane(&twilio, channel).in_flight.remove(&id);
        self.dirty.senders.insert(twilio);
    }

    /// Twilio has the text: this is the one place where a message sent is counted.
    pub(super) fn accepted(&mut self, id: OutboxId, accepted: Accepted) {
        let Accepted { sid, segments, status } = accepted;
        self.count_sent(id, &sid, segments);
        self.taken(id, &sid, status);
    }

    fn taken(&mut self, id: OutboxId, sid: &str, status: DeliveryState) {
        let now = self.now;
        let Some(text) = self.outbox.text_mut(id) else { return };
        text.state = TextState::Accepted { sid: sid.to_owned(), at: now, status };
        let twilio = text.twilio.clone();
        let result = if text.possible_duplicate { "accepted, possible duplicate" } else { "accepted" };
        if let Some(sender) = self.outbox.senders.get_mut(&twilio) {
            sender.last_accepted = now;
            sender.refused = None;
        }
        self.outbox.sids.insert(sid.to_owned(), id);
        self.audit_text(id, AuditKind::MessageSent, result);
        self.audit_unnamed(id);
        if let Some(request) = self.outbox.callers.remove(&id) {
            self.timers.set(&Timer::Caller(id), None);
            self.answer(request, Outcome { sid: Some(sid.to_owned()), ..Outcome::good("accepted by Twilio") });
        }
        self.ended(id);
        self.call_begins(id, sid);
        self.text_accepted(id);
        if matches!(status, DeliveryState::Undelivered | DeliveryState::Failed) {
            self.text_failed(id);
        }
    }

    /// Twilio refused the text for good, or its time is over.
    pub(super) fn fail(&mut self, id: OutboxId, code: u32, reason: &str, advice: &str) {
        let now = self.now;
        let sentence = if code == 0 { format!("{reason}: {advice}") } else { format!("{code} {reason}: {advice}") };
        self.note_error(&sentence);
        let Some(text) = self.outbox.text_mut(id) else { return };
        text.state = TextState::Failed { at: now };
        text.detail.clone_from(&sentence);
        let failed = if text.channel == Channel::Voice { "Twilio/CallsFailed" } else { "Twilio/MessagesFailed" };
        self.count(failed);
        self.unspend(id);
        self.audit_text(id, AuditKind::MessageFailed, &sentence);
        if let Some(request) = self.outbox.callers.remove(&id) {
            self.timers.set(&Timer::Caller(id), None);
            self.answer(request, Outcome::refused(StatusCode::BAD_UNEXPECTED_ERROR, sentence));
        }
        self.ended(id);
        self.text_failed(id);
    }

    pub(super) fn ended(&mut self, id: OutboxId) {
        self.dirty.rows.insert(id);
        self.requeue(id);
    }

    /// A call has ended; its row is remembered for reports that come late.
    pub(in crate::engine) fn end_call_row(&mut self, id: OutboxId, end: DeliveryState, detail: &str) {
        let Some(text) = self.outbox.text_mut(id) else { return };
        let TextState::Accepted { status, .. } = &mut text.state else { return };
        *status = end;
        detail.clone_into(&mut text.detail);
        self.ended(id);
    }

    /// A report on a text; one that is late, repeated or out of order never moves it back.
    pub(in crate::engine) fn delivery(
        &mut self,
        row: Option<OutboxId>,
        sid: &str,
        status: DeliveryState,
        error_code: Option<u32>,
    ) {
        let is_text = |outbox: &Outbox, id: OutboxId| outbox.text(id).is_some_and(|text| text.channel == Channel::Sms);
        let row = row.filter(|row| is_text(&self.outbox, *row));
        if let (Some(mistaken), Some(row)) = (self.outbox.sids.get(sid).copied(), row)
            && mistaken != row
        {
            self.exchange(mistaken, row, sid);
        }
        let known = self.outbox.sids.get(sid).copied();
        let Some(id) = known.or(row).filter(|id| is_text(&self.outbox, *id)) else { return };
        if known.is_none() {
            self.proven(id, sid);
        }
        let Some(text) = self.outbox.text_mut(id) else { return };
        let TextState::Accepted { sid: known, status: present, .. } = &mut text.state else { return };
        let forwards = status > *present && (!present.is_final() || status == DeliveryState::Read);
        if known != sid || !forwards {
            return;
        }
        *present = status;
        if let Some(code) = error_code {
            text.detail = format!("error {code}");
        }
        let number = text.to.clone();
        if error_code == Some(21610) {
            self.set_opted_out(&number, true, "Twilio error 21610");
        }
        match status {
            DeliveryState::Delivered => self.count("Twilio/MessagesDelivered"),
            DeliveryState::Undelivered | DeliveryState::Failed | DeliveryState::Canceled => {
                let code = error_code.map_or_else(String::new, |code| format!(", error {code}"));
                self.count("Twilio/MessagesFailed");
                self.note_error(&format!("a text was not delivered{code}"));
                self.audit_text(id, AuditKind::MessageStatus, &format!("{}{code}", status_word(status)));
                self.text_failed(id);
            }
            _ => {}
        }
        self.ended(id);
    }

    /// A report names a SID that we do not know: it overtook the answer, or an attempt of unknown fate was sent after all.
    pub(in crate::engine) fn proven(&mut self, id: OutboxId, sid: &str) {
        let Some(text) = self.outbox.text_mut(id).filter(|text| text.attempts > 0) else { return };
        if matches!(text.state, TextState::Accepted { .. }) {
            text.duplicates.push(sid.to_owned());
            self.outbox.sids.insert(sid.to_owned(), id);
            self.count_sent(id, sid, 1);
            self.audit_text(id, AuditKind::MessageSent, "a duplicate: an attempt of unknown fate was sent after all");
            self.call_begins(id, sid);
            return self.ended(id);
        }
        let (rank, twilio, channel) = (text.rank(), text.twilio.clone(), text.channel);
        self.outbox.lane(&twilio, channel).queue.remove(&(rank, id));
        self.leave_flight(id);
        self.accepted(id, Accepted { sid: sid.to_owned(), segments: 1, status: DeliveryState::Queued });
    }

    /// Twilio's list showed `mistaken` a text that a report now says is that of `row`, its twin of the same words. It was counted
    /// already; what became of `mistaken` itself is unknown again.
    fn exchange(&mut self, mistaken: OutboxId, row: OutboxId, sid: &str) {
        let Some(text) = self.outbox.text_mut(mistaken) else { return };
        let TextState::Accepted { sid: own, .. } = &mut text.state else { return };
        let is_sent = if own == sid {
            // What was taken for a duplicate is then its own.
            text.duplicates.pop().map(|other| *own = other).is_some()
        } else {
            text.duplicates.retain(|duplicate| duplicate != sid);
            true
        };
        let since = self.outbox.rows.get(&mistaken).map_or(self.now, |row| row.created);
        let Some(text) = self.outbox.text_mut(row) else { return };
        if matches!(text.state, TextState::Accepted { .. }) {
            text.duplicates.push(sid.to_owned());
            self.outbox.sids.insert(sid.to_owned(), row);
            self.ended(row);
        } else {
            let (rank, twilio, channel) = (text.rank(), text.twilio.clone(), text.channel);
            self.outbox.lane(&twilio, channel).queue.remove(&(rank, row));
            self.leave_flight(row);
            self.taken(row, sid, DeliveryState::Queued);
        }
        if is_sent {
            return self.ended(mistaken);
        }
        self.become_ambiguous(mistaken, since, "what Twilio's list shows is another of the same words".to_owned());
    }

    /// One SID more that Twilio accepted.
    fn count_sent(&mut self, id: OutboxId, sid: &str, segments: u32) {
        let Some(text) = self.outbox.text(id) else { return };
        let (channel, user, number, body) = (text.channel, text.user.clone(), text.to.clone(), text.body.clone());
        match channel {
            Channel::Sms => {
                self.count_message(Direction::Sent, user.as_deref());
                self.spend(segments, &body);
            }
            Channel::Voice => self.count_call(Direction::Sent, user.as_deref()),
        }
        self.effects_record(Record::Ledger(LedgerEntry {
            time: self.now,
            sid: sid.to_owned(),
            direction: Direction::Sent,
            channel,
            user,
            number,
            segments,
            minutes: 0,
            row: Some(id.0),
        }));
    }

    pub(in crate::engine) fn audit_text(&mut self, id: OutboxId, kind: AuditKind, result: &str) {
        let Some(text) = self.outbox.text(id) else { return };
        let failed = kind == AuditKind::MessageFailed;
        let kind = match (kind, text.channel) {
            (AuditKind::MessageSent, Channel::Voice) => AuditKind::CallSent,
            (AuditKind::MessageFailed, Channel::Voice) => AuditKind::CallFailed,
            (AuditKind::MessageSent, Channel::Sms) if matches!(text.purpose, Purpose::Answer(_)) => AuditKind::Answer,
            (kind, _) => kind,
        };
        let events = match &text.purpose {
            // What is only counted has an entry of its own once the text is taken; with a text that failed it failed too.
            Purpose::Alarm { items, .. } => items.iter().filter(|item| item.named || failed).map(|item| item.event).collect(),
            Purpose::Answer(answer) => answer.events.clone(),
            Purpose::Manual | Purpose::Event { .. } => Vec::new(),
        };
        let sid = match &text.state {
            TextState::Accepted { sid, .. } => Some(sid.clone()),
            _ => None,
        };
        let body = if text.audit { text.body.clone() } else { String::new() };
        let (user, subject) = (text.user.clone().unwrap_or_default(), text.to.clone());
        self.audit(kind, &user, Via::System, &subject, body, result, events, sid);
    }

    /// After a restart: what was being sent has an unknown fate, everything else goes on.
    pub(in crate::engine) fn resume_outbox(&mut self) {
        let ids: Vec<_> = self.outbox.rows.keys().copied().collect();
        for id in ids {
            let Some(text) = self.outbox.text(id) else {
                self.resume_write_back(id);
                self.set_ended(id, None);
                continue;
            };
            match &text.state {
                TextState::Sending(since) => {
                    let since = *since;
                    self.become_ambiguous(id, since, "the program stopped during the attempt".to_owned());
                }
                TextState::Accepted { sid, .. } => {
                    let sids = text.duplicates.iter().chain([sid]).cloned().collect::<Vec<_>>();
                    self.outbox.sids.extend(sids.into_iter().map(|sid| (sid, id)));
                    self.requeue(id);
                }
                _ => self.requeue(id),
            }
        }
    }
}
