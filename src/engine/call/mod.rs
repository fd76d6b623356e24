//! Calls: how each fares from Twilio's acceptance to its end, whom it reached and how long it lasted (SPEC 9, "By phone").
//!
//! What a call says stands in `dialogue`, how it is placed in `place`, the words in `phrases` and `speech`. A call is kept by its
//! SID, durable with the document that it was given last, so that a repeated webhook gets the same and does nothing. Only a PIN
//! reaches somebody: whatever else ends a call lets the pipelines that wait for it go on at once.

mod dialogue;
mod join;
mod phrases;
mod place;
pub mod speech;
#[cfg(test)]
mod tests;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(in crate::engine) use self::place::{MAX_MESSAGE, cannot_call};
use self::{phrases::Phrase, speech::Tongue};
use super::{
    Engine, Timer,
    inbound::INBOUND_KEEP,
    io::{
        AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, DeliveryState, Effect, OutboxId, Outcome, RequestId, Verb,
        Via,
    },
    outbox::{Item, Purpose, TextState},
    plan::Channel,
    record::{AuditKind, Direction, LedgerEntry, Record},
};
use crate::tag::Timestamp;

/// Calls that are remembered; the oldest is forgotten for a further one.
const MAX_CALLS: usize = 1000;
/// How long an ended call is remembered, for reports that come late or twice.
const KEEP_ENDED: Duration = Duration::from_secs(600);
/// How long a call is remembered whose end nobody reported.
const KEEP_OPEN: Duration = Duration::from_secs(86_400);
/// How long after its ringing a call may go on without a PIN before the pipeline goes on without it.
const GRACE: Duration = Duration::from_secs(120);

/// One call, by its SID.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub twilio: String,
    pub profile: Option<String>,
    /// The other side's.
    pub number: String,
    /// The user whose number it was.
    pub user: Option<String>,
    /// The outbox row of a call that we placed; `None` for a call to us.
    pub row: Option<OutboxId>,
    pub started: Timestamp,
    pub status: CallStatus,
    pub stage: Stage,
    pub items: Vec<Spoken>,
    /// The item that was spoken last.
    pub at: usize,
    /// Items that this call does not speak.
    pub more: usize,
    /// Write-backs that the caller waits for, and how often it was looked for them.
    pub waits_for: Vec<OutboxId>,
    pub looks: u8,
    pub turn: u32,
    /// What it was given last.
    pub document: Option<CallDocument>,
    /// A valid PIN was keyed.
    pub reached: bool,
    pub machine: bool,
    /// We asked Twilio to end it.
    pub dismissed: bool,
    /// Counted, once.
    pub minutes: Option<u32>,
}

/// Where the talk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Nothing was said yet.
    Ringing,
    /// The PIN was asked for this many times.
    Pin(u8),
    /// Alarms are told; nothing was keyed this many times in a row.
    Talking(u8),
    /// Everything was said.
    Over,
}

/// An alarm event that a call tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spoken {
    pub alarm: Arc<str>,
    /// The code of the run that asked.
    pub code: String,
    pub event: Uuid,
    pub heard: bool,
    /// Acknowledged, passed on, or said to be over.
    pub settled: bool,
}

impl From<&Item> for Spoken {
    fn from(item: &Item) -> Self {
        Self { alarm: Arc::clone(&item.alarm), code: item.code.clone(), event: item.event, heard: false, settled: false }
    }
}

impl Session {
    fn is_live(&self) -> bool {
        !self.status.is_final() && self.stage != Stage::Over
    }

    fn direction(&self) -> Direction {
        if self.row.is_some() { Direction::Sent } else { Direction::Received }
    }

    fn tongue(&self) -> Tongue {
        self.document.as_ref().map_or(Tongue::English, |document| Tongue::of(&document.language))
    }
}

impl Engine {
    /// Twilio told us of a call, or asks what to say next.
    pub(super) fn call(&mut self, request: RequestId, event: &CallEvent) {
        let document = match event.action {
            CallAction::Status => {
                self.call_status(event);
                None
            }
            CallAction::Inbound => Some(self.call_received(event)),
            CallAction::Answer | CallAction::Pin | CallAction::Menu | CallAction::Ack => Some(self.call_goes_on(event)),
        };
        self.answer(request, Outcome { document: document.map(Box::new), ..Outcome::good("") });
    }

    /// Twilio has taken a call of the outbox.
    pub(super) fn call_begins(&mut self, row: OutboxId, sid: &str) {
        let Some(text) = self.outbox.text(row).filter(|text| text.channel == Channel::Voice) else { return };
        let profile = match &text.purpose {
            Purpose::Alarm { profile, .. } => Some(profile.clone()),
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } => None,
        };
        let ring = self.voice(profile.as_deref()).ring_timeout;
        let started = match &text.state {
            TextState::Accepted { at, .. } => *at,
            _ => self.now,
        };
        let (twilio, number, user) = (text.twilio.clone(), text.to.clone(), text.user.clone());
        self.open_session(sid, Session::new(twilio, profile, number.clone(), user, Some(row), started));
        let until = started + ring + GRACE;
        for item in self.alarm_items(row).map(|(_, items)| items).unwrap_or_default() {
            if let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) {
                run.note_called(&number);
                if let Some(waiting) = run.waiting_mut(row) {
                    waiting.until = Some(until);
                }
            }
            self.dirty.paths.insert(item.alarm);
        }
        self.dirty.doubtful.insert(row);
    }

    fn open_session(&mut self, sid: &str, mut session: Session) {
        while self.calls.len() >= MAX_CALLS {
            let oldest = self.calls.iter().min_by_key(|(_, session)| (!session.status.is_final(), session.started));
            let Some(oldest) = oldest.map(|(sid, _)| sid.clone()) else { break };
            self.forget_call(&oldest);
        }
        let (language, voice) = self.tongue_of(session.profile.as_deref(), &session.number);
        let id = session.row.map_or_else(|| sid.to_owned(), |row| row.0.to_string());
        let profile = session.profile.clone();
        session.document = Some(CallDocument { id, turn: 0, profile, language, voice, verbs: vec![Verb::Hangup] });
        self.timers.set(&Timer::Call(sid.to_owned()), Some(session.started + KEEP_OPEN));
        self.calls.insert(sid.to_owned(), session);
        self.dirty.calls.insert(sid.to_owned());
    }

    /// A call's time in our memory is over.
    pub(super) fn forget_call(&mut self, sid: &str) {
        self.calls.remove(sid);
        self.timers.set(&Timer::Call(sid.to_owned()), None);
        self.dirty.calls.insert(sid.to_owned());
    }

    /// The session that a webhook is about; a webhook may overtake the answer to our own request.
    fn session_of(&mut self, event: &CallEvent) -> Option<String> {
        if !self.calls.contains_key(&event.sid) {
            let row = event.row.filter(|row| self.outbox.text(*row).is_some_and(|text| text.channel == Channel::Voice))?;
            if self.outbox.knows_sid(&event.sid) {
                let ended =
                    |text: &super::outbox::Text| matches!(&text.state, TextState::Accepted { status, .. } if status.is_final());
                if self.outbox.text(row).is_some_and(ended) {
                    return None;
                }
                self.call_begins(row, &event.sid);
            } else {
                self.proven(row, &event.sid);
            }
        }
        self.calls.contains_key(&event.sid).then(|| event.sid.clone())
    }

    fn call_status(&mut self, event: &CallEvent) {
        let sid = match self.session_of(event) {
            Some(sid) => sid,
            None if self.is_unknown_call_to_us(event) => {
                self.begin_received(event);
                event.sid.clone()
            }
            None => return,
        };
        if matches!(event.answered_by, Some(AnsweredBy::Machine | AnsweredBy::Fax)) {
            self.machine_answered(&sid, true);
        }
        if let Some(status) = event.status {
            self.call_moves(&sid, status, event.duration, event.error_code);
        }
    }

    /// A call to us whose beginning we missed: it counts all the same.
    fn is_unknown_call_to_us(&self, event: &CallEvent) -> bool {
        let ours = self.plan.twilio.get(&event.twilio).and_then(|twilio| twilio.from.as_ref());
        let new = !self.inbound_seen.contains_key(&event.sid);
        new && event.row.is_none() && event.status.is_some() && ours.is_some_and(|ours| *ours == event.to)
    }

    /// Counts a call to us, once a SID, and opens its session with everything said.
    fn begin_received(&mut self, event: &CallEvent) {
        self.inbound_seen.insert(event.sid.clone(), self.now);
        self.dirty.inbound.insert(event.sid.clone());
        self.timers.set(&Timer::Inbound(event.sid.clone()), Some(self.now + INBOUND_KEEP));
        let user = self.plan.user_by_number(&event.from).map(|user| user.name.clone());
        self.count_call(Direction::Received, user.as_deref());
        let by_voice =
            |profile: &&Arc<super::plan::ProfileDef>| profile.channel == Channel::Voice && profile.twilio == event.twilio;
        let profile = self.plan.profiles.values().find(by_voice).map(|profile| profile.name.clone());
        let session = Session::new(event.twilio.clone(), profile, event.from.clone(), user.clone(), None, self.now);
        let session = Session { stage: Stage::Over, ..session };
        self.call_ledger(&event.sid, &session, 0);
        self.open_session(&event.sid, session);
        let result = if user.is_some() { "received" } else { "from nobody we know, refused" };
        let name = user.unwrap_or_default();
        let sid = Some(event.sid.clone());
        self.audit(AuditKind::CallReceived, &name, Via::Phone, &event.from, String::new(), result, Vec::new(), sid);
    }

    /// A machine hears nothing, and reaches nobody. `hang_up`: it is not asking us what to say.
    fn machine_answered(&mut self, sid: &str, hang_up: bool) {
        let Some(session) = self.calls.get_mut(sid).filter(|session| session.is_live() && !session.reached) else { return };
        let Some(row) = session.row.filter(|row| self.outbox.text(*row).is_some_and(|text| text.purpose != Purpose::Manual))
        else {
            return;
        };
        (session.machine, session.stage) = (true, Stage::Over);
        self.dirty.calls.insert(sid.to_owned());
        if hang_up {
            self.end_at_twilio(sid, vec![Verb::Hangup]);
        }
        self.text_failed(row);
    }

    /// A report on how a call fares; one that is late, repeated or out of order never moves it back.
    fn call_moves(&mut self, sid: &str, status: CallStatus, seconds: Option<u32>, error_code: Option<u32>) {
        let Some(session) = self.calls.get_mut(sid) else { return };
        if session.status.is_final() {
            if status.is_final() {
                self.count_minutes(sid, seconds);
            }
            return;
        }
        if status <= session.status {
            return;
        }
        session.status = status;
        self.dirty.calls.insert(sid.to_owned());
        if status.is_final() {
            self.count_minutes(sid, seconds);
            self.call_ended(sid, error_code);
        }
    }

    /// The minutes of a finished call, rounded up, once a SID.
    fn count_minutes(&mut self, sid: &str, seconds: Option<u32>) {
        let (Some(seconds), Some(session)) = (seconds, self.calls.get_mut(sid)) else { return };
        if session.minutes.is_some() {
            return;
        }
        let minutes = seconds.div_ceil(60);
        session.minutes = Some(minutes);
        self.dirty.calls.insert(sid.to_owned());
        if minutes > 0 {
            let session = session.clone();
            self.count_call_minutes(session.direction(), session.user.as_deref(), minutes);
            self.call_ledger(sid, &session, minutes);
        }
    }

    fn call_ledger(&mut self, sid: &str, session: &Session, minutes: u32) {
        self.effects_record(Record::Ledger(LedgerEntry {
            time: session.started,
            sid: sid.to_owned(),
            direction: session.direction(),
            channel: Channel::Voice,
            user: session.user.clone(),
            number: session.number.clone(),
            segments: 0,
            minutes,
            row: session.row.map(|row| row.0),
        }));
    }

    fn call_ended(&mut self, sid: &str, error_code: Option<u32>) {
        let Some(session) = self.calls.get_mut(sid) else { return };
        session.stage = Stage::Over;
        if let Some(document) = &mut session.document {
            document.verbs = vec![Verb::Hangup];
        }
        let session = session.clone();
        self.timers.set(&Timer::Call(sid.to_owned()), Some(self.now + KEEP_ENDED));
        let mut result = status_word(session.status).to_owned();
        if session.machine {
            result.push_str(", a machine answered");
        } else if session.reached {
            result.push_str(", PIN given");
        }
        if let Some(code) = error_code {
            _ = write!(result, ", error {code}");
        }
        let events = session.items.iter().filter(|item| item.heard).map(|item| item.event).collect();
        let user = session.user.clone().unwrap_or_default();
        let sid = Some(sid.to_owned());
        self.audit(AuditKind::CallEnded, &user, Via::System, &session.number, String::new(), &result, events, sid);
        if let Some(row) = session.row {
            self.placed_call_ended(row, &session, &result);
        }
    }

    fn placed_call_ended(&mut self, row: OutboxId, session: &Session, result: &str) {
        let completed = session.status == CallStatus::Completed;
        let inline = self.plan.twilio.get(&session.twilio).is_some_and(|twilio| twilio.external_url.is_none());
        let manual = self.outbox.text(row).is_some_and(|text| text.purpose == Purpose::Manual);
        if completed && !session.machine {
            self.count("Twilio/CallsAnswered");
        }
        let needless = session.dismissed && !session.machine;
        if !session.reached && !needless && !(completed && (inline || manual)) {
            self.count("Twilio/CallsFailed");
        }
        self.end_call_row(row, if completed { DeliveryState::Delivered } else { DeliveryState::Failed }, result);
        let now = self.now;
        let Some((number, items)) = self.alarm_items(row) else { return };
        for item in items {
            let spoken =
                session.items.iter().any(|spoken| spoken.heard && spoken.alarm == item.alarm && spoken.code == item.code);
            let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) else { continue };
            if completed && inline && item.named {
                run.note_told(&number, item.event, now);
            }
            if let Some(waiting) = run.waiting_mut(row) {
                waiting.until = None;
                waiting.failed |= !(session.reached && spoken);
            }
            self.advance(&item.alarm);
            self.watch_reach(&item.alarm);
        }
    }

    /// Ends a call that nobody needs any more: one that rings is cancelled, one in progress hears why.
    pub(super) fn dismiss_call(&mut self, row: OutboxId) {
        // What the caller himself has done ends the talk by itself.
        let settled =
            |session: &Session| matches!(session.stage, Stage::Talking(_)) && session.items.iter().all(|item| item.settled);
        // An attempt of unknown fate may have become a second call of the same row.
        let needless =
            self.calls.iter().filter(|(_, session)| session.row == Some(row) && session.is_live() && !settled(session));
        for sid in needless.map(|(sid, _)| sid.clone()).collect::<Vec<_>>() {
            let tongue = self.calls[&sid].tongue();
            let lines = [self.why_over(row, tongue), Phrase::Goodbye.say(tongue, &[])];
            let verbs = lines.into_iter().map(Verb::Say).chain([Verb::Hangup]).collect();
            if let Some(session) = self.calls.get_mut(&sid) {
                session.stage = Stage::Over;
            }
            self.end_at_twilio(&sid, verbs);
        }
    }

    fn end_at_twilio(&mut self, sid: &str, verbs: Vec<Verb>) {
        let last_words = self.document(sid, verbs);
        let Some(session) = self.calls.get_mut(sid) else { return };
        session.dismissed = true;
        self.effects.push(Effect::EndCall { twilio: session.twilio.clone(), sid: sid.to_owned(), last_words });
    }

    /// Who has acknowledged what a call is about; nothing of the plant.
    fn why_over(&self, row: OutboxId, tongue: Tongue) -> String {
        let items = self.alarm_items(row).map(|(_, items)| items).unwrap_or_default();
        let by = items.iter().find_map(|item| {
            let index = *self.plan.alarm_index.get(&item.alarm)?;
            let view = self.alarms[index].alarm.view(&self.plan.alarms[index]);
            (self.alarms[index].alarm.open_events().next().is_none() && !view.ack_user.is_empty()).then_some(view.ack_user)
        });
        by.map_or_else(|| Phrase::AlarmOver.say(tongue, &[]), |by| Phrase::AcknowledgedBy.say(tongue, &[&by]))
    }

    /// The next document of a call.
    fn document(&mut self, sid: &str, verbs: Vec<Verb>) -> CallDocument {
        let hang_up = || CallDocument {
            id: sid.to_owned(),
            turn: 0,
            profile: None,
            language: "en-US".to_owned(),
            voice: None,
            verbs: vec![Verb::Hangup],
        };
        self.dirty.calls.insert(sid.to_owned());
        let Some(session) = self.calls.get_mut(sid) else { return hang_up() };
        session.turn += 1;
        let document = CallDocument { turn: session.turn, verbs, ..session.document.take().unwrap_or_else(hang_up) };
        session.document = Some(document.clone());
        document
    }

    /// After a restart: calls that were to be ended may not have been.
    pub(super) fn resume_calls(&mut self) {
        let sids: Vec<String> = self.calls.keys().cloned().collect();
        for sid in sids {
            let session = &self.calls[&sid];
            let over = session.status.is_final();
            let keep = if over { self.now + KEEP_ENDED } else { session.started + KEEP_OPEN };
            let again = (!over && session.dismissed).then(|| (session.twilio.clone(), session.document.clone()));
            self.timers.set(&Timer::Call(sid.clone()), Some(keep));
            if let Some((twilio, Some(last_words))) = again {
                self.effects.push(Effect::EndCall { twilio, sid, last_words });
            }
        }
    }
}

impl Session {
    fn new(
        twilio: String,
        profile: Option<String>,
        number: String,
        user: Option<String>,
        row: Option<OutboxId>,
        started: Timestamp,
    ) -> Self {
        Self {
            twilio,
            profile,
            number,
            user,
            row,
            started,
            status: CallStatus::Queued,
            stage: Stage::Ringing,
            items: Vec::new(),
            at: 0,
            more: 0,
            waits_for: Vec::new(),
            looks: 0,
            turn: 0,
            document: None,
            reached: false,
            machine: false,
            dismissed: false,
            minutes: None,
        }
    }
}

/// Twilio's word.
pub(super) const fn status_word(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Queued => "queued",
        CallStatus::Initiated => "initiated",
        CallStatus::Ringing => "ringing",
        CallStatus::InProgress => "in-progress",
        CallStatus::Completed => "completed",
        CallStatus::Busy => "busy",
        CallStatus::NoAnswer => "no-answer",
        CallStatus::Failed => "failed",
        CallStatus::Canceled => "canceled",
    }
}
