//! Telephones and the calls between them and us, as Twilio makes them: ringing, answering, keys, machines, hanging up.
//!
//! A call is carried by documents: what Twilio is to say and ask next comes from the program, or was handed over when the call was
//! placed. Speaking takes a second for each sentence.

use std::{collections::VecDeque, time::Duration};

use super::world::{Act, Due, OUR_NUMBER, World};
use crate::{
    engine::io::{
        AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, Input, OutboxId, Outcome, Outgoing, RequestId, Verb,
    },
    tag::Timestamp,
};

/// From placing a call until it rings, and from the last word until a key is pressed.
const MOMENT: Duration = Duration::from_secs(1);
/// One sentence.
const SENTENCE: Duration = Duration::from_secs(1);
/// Until somebody picks up, and a machine is known as one.
const PICK_UP: Duration = Duration::from_secs(4);
/// Documents of one call; more means that program and phone go round in a circle.
const MAX_DOCUMENTS: usize = 200;
/// Twilio asks again when a webhook was not answered.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// What a phone does when it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phone {
    /// Rings until Twilio gives up.
    #[default]
    Rings,
    /// Is engaged.
    Busy,
    /// Cannot be called.
    Fails,
    /// A machine answers.
    Voicemail,
    /// Somebody answers and presses these keys, one word for each question; nothing afterwards.
    Answers(Vec<String>),
    /// Somebody answers, presses these keys, and hangs up at the next question.
    HangsUp(Vec<String>),
}

/// A call that Twilio knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `CA…`.
    pub sid: String,
    /// The outbox row of one that we placed.
    pub row: Option<OutboxId>,
    /// The other side.
    pub number: String,
    /// When Twilio took it.
    pub created: Timestamp,
    /// How it fares.
    pub status: CallStatus,
    /// When it was answered.
    pub answered: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What was said in it.
    pub said: Vec<String>,
    /// Keys that were pressed, and how much had been said then.
    pub pressed: Vec<(usize, String)>,
    /// Keys that are still to be pressed, and whether the person hangs up then.
    keys: VecDeque<String>,
    hangs_up: bool,
    /// What is said now, and how much of it was.
    document: Option<(CallDocument, usize)>,
    documents: usize,
    /// The question that waits for an answer of the program.
    asked: Option<(RequestId, CallEvent)>,
    /// Goes up whenever something overtakes what was under way.
    turn: u64,
    /// A machine that Twilio looks at.
    machine: bool,
}

/// What happens in a call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Ring,
    Answer,
    End(CallStatus),
    /// A machine was recognised.
    Machine,
    /// The next verb.
    GoOn,
    /// The time of a question is over.
    Silence,
}

impl Call {
    fn new(now: Timestamp, sid: String, number: String, row: Option<OutboxId>, phone: &Phone) -> Self {
        let (keys, hangs_up) = match phone {
            Phone::Answers(keys) => (keys.clone(), false),
            Phone::HangsUp(keys) => (keys.clone(), true),
            Phone::Rings | Phone::Busy | Phone::Fails | Phone::Voicemail => (Vec::new(), false),
        };
        Self {
            sid,
            row,
            number,
            created: now,
            status: CallStatus::Queued,
            answered: None,
            ended: None,
            said: Vec::new(),
            pressed: Vec::new(),
            keys: keys.into(),
            hangs_up,
            document: None,
            documents: 0,
            asked: None,
            turn: 0,
            machine: *phone == Phone::Voicemail,
        }
    }

    /// Whole seconds between answer and end.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        let span = self.answered.zip(self.ended).map_or(Duration::ZERO, |(from, to)| to.since(from));
        u32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn event(&self, action: CallAction) -> CallEvent {
        let (from, to) = if self.row.is_some() { (OUR_NUMBER, self.number.as_str()) } else { (self.number.as_str(), OUR_NUMBER) };
        CallEvent {
            twilio: "main".to_owned(),
            action,
            row: self.row,
            sid: self.sid.clone(),
            from: from.to_owned(),
            to: to.to_owned(),
            turn: None,
            digits: None,
            answered_by: None,
            status: None,
            duration: None,
            error_code: None,
        }
    }
}

impl World {
    /// Twilio takes a call that we place.
    pub(super) fn place(&mut self, now: Timestamp, message: Outgoing) -> String {
        let sid = format!("CA{}", self.calls.len() + 1);
        let phone = self.phones.get(&message.to).cloned().unwrap_or_default();
        let order = message.call;
        let ring = order.as_ref().map_or(Duration::from_secs(30), |call| call.ring_timeout);
        let looked_at = order.as_ref().is_some_and(|call| call.machine_detection);
        let inline = order.and_then(|call| call.document);
        let mut call = Call::new(now, sid.clone(), message.to, Some(message.row), &phone);
        call.machine &= looked_at;
        call.document = inline.map(|document| (document, 0));
        self.saw(now, Act::Call { sid: sid.clone(), row: message.row, to: call.number.clone(), words: message.body });
        self.calls.push(call);
        let then = |world: &mut Self, after, turn| world.turn(now + after, &sid, turn);
        match phone {
            Phone::Fails => return self.ends(now, sid, CallStatus::Failed),
            Phone::Busy => {
                then(self, MOMENT, Turn::Ring);
                then(self, MOMENT * 2, Turn::End(CallStatus::Busy));
            }
            Phone::Rings => {
                then(self, MOMENT, Turn::Ring);
                then(self, MOMENT + ring, Turn::End(CallStatus::NoAnswer));
            }
            Phone::Voicemail | Phone::Answers(_) | Phone::HangsUp(_) => {
                then(self, MOMENT, Turn::Ring);
                then(self, MOMENT + PICK_UP, Turn::Answer);
            }
        }
        sid
    }

    fn ends(&mut self, now: Timestamp, sid: String, status: CallStatus) -> String {
        self.turn(now + MOMENT, &sid, Turn::End(status));
        sid
    }

    /// Somebody calls us, and presses what their phone would.
    pub fn dial(&mut self, now: Timestamp, from: &str) {
        let sid = format!("CA{}", self.calls.len() + 1);
        let phone = self.phones.get(from).cloned().unwrap_or_default();
        let mut call = Call::new(now, sid, from.to_owned(), None, &phone);
        (call.status, call.answered, call.machine) = (CallStatus::InProgress, Some(now), false);
        self.calls.push(call);
        let place = self.calls.len() - 1;
        self.ask(now, place, CallAction::Inbound, None, None);
    }

    /// Keys are pressed in somebody's call.
    ///
    /// # Errors
    /// When they are in none, or nothing is asked.
    pub fn press(&mut self, now: Timestamp, number: &str, keys: &str) -> Result<(), String> {
        let place = self.open_call(number)?;
        let call = &mut self.calls[place];
        let Some((action, turn)) = call.question() else {
            call.keys.push_back(keys.to_owned());
            return Ok(());
        };
        call.turn += 1;
        self.ask(now, place, action, Some(turn), Some(keys.to_owned()));
        Ok(())
    }

    /// Somebody hangs up.
    ///
    /// # Errors
    /// When they are in no call.
    pub fn hang_up(&mut self, now: Timestamp, number: &str) -> Result<(), String> {
        let place = self.open_call(number)?;
        self.end(now, place, CallStatus::Completed);
        Ok(())
    }

    fn open_call(&self, number: &str) -> Result<usize, String> {
        let place = self.calls.iter().rposition(|call| call.number == number && call.ended.is_none());
        place.ok_or_else(|| format!("{number} is in no call"))
    }

    /// The program wants a call to end.
    pub(super) fn end_call(&mut self, now: Timestamp, sid: &str, last_words: &CallDocument) {
        let Some(place) = self.calls.iter().position(|call| call.sid == sid && call.ended.is_none()) else { return };
        self.acts_ended(now, place, last_words);
        if self.calls[place].status < CallStatus::InProgress {
            return self.end(now, place, CallStatus::Canceled);
        }
        let call = &mut self.calls[place];
        (call.document, call.asked) = (Some((last_words.clone(), 0)), None);
        call.turn += 1;
        self.go_on(now, place);
    }

    /// The program answered a question of Twilio's; true when it was one.
    pub(super) fn answered(&mut self, now: Timestamp, request: RequestId, outcome: &Outcome) -> bool {
        let asked = |call: &Call| call.asked.as_ref().is_some_and(|(asked, _)| *asked == request);
        let Some(place) = self.calls.iter().position(asked) else { return false };
        let call = &mut self.calls[place];
        call.asked = None;
        call.turn += 1;
        call.documents += 1;
        call.document = outcome.document.as_deref().map(|document| (document.clone(), 0));
        if call.documents > MAX_DOCUMENTS {
            call.document = None;
        }
        self.go_on(now, place);
        true
    }

    /// The program died: what Twilio waits for is asked again.
    pub(super) fn ask_again(&mut self, now: Timestamp) {
        let asked: Vec<_> = self.calls.iter().filter_map(|call| call.asked.clone()).collect();
        for (request, call) in asked {
            self.after_pause(now, ASKED_AGAIN, Input::Call { request, call });
        }
    }

    fn turn(&mut self, at: Timestamp, sid: &str, turn: Turn) {
        self.next += 1;
        let number = self.calls.iter().find(|call| call.sid == sid).map_or(0, |call| call.turn);
        self.pending.insert((at, self.next), Due::Phone { sid: sid.to_owned(), number, turn });
    }

    /// Something happens in a call by itself.
    pub(super) fn happens(&mut self, now: Timestamp, sid: &str, number: u64, turn: Turn) {
        let Some(place) = self.calls.iter().position(|call| call.sid == sid && call.ended.is_none()) else { return };
        // Only what belongs to the whole call is not overtaken.
        if matches!(turn, Turn::GoOn | Turn::Silence) && self.calls[place].turn != number {
            return;
        }
        match turn {
            Turn::Ring => self.fares(now, place, CallStatus::Ringing),
            Turn::Answer => self.pick_up(now, place),
            Turn::End(status) => self.end(now, place, status),
            Turn::Machine => {
                let mut event = self.calls[place].event(CallAction::Status);
                event.answered_by = Some(AnsweredBy::Machine);
                self.report_call(now, &event);
            }
            Turn::GoOn => self.go_on(now, place),
            Turn::Silence => {
                let Some((action, turn)) = self.calls[place].question() else { return };
                let call = &mut self.calls[place];
                let keys = call.keys.pop_front();
                if keys.is_none() && call.hangs_up {
                    return self.end(now, place, CallStatus::Completed);
                }
                call.turn += 1;
                self.ask(now, place, action, Some(turn), keys);
            }
        }
    }

    fn pick_up(&mut self, now: Timestamp, place: usize) {
        self.calls[place].answered = Some(now);
        self.fares(now, place, CallStatus::InProgress);
        let (sid, machine) = (self.calls[place].sid.clone(), self.calls[place].machine);
        if machine {
            self.turn(now + PICK_UP, &sid, Turn::Machine);
        }
        if self.calls[place].document.is_some() {
            self.go_on(now, place);
        } else {
            self.ask(now, place, CallAction::Answer, None, None);
        }
    }

    /// Carries the present document on until it takes time, asks or ends.
    fn go_on(&mut self, now: Timestamp, place: usize) {
        let Some((document, next)) = self.calls[place].document.clone() else {
            return self.end(now, place, CallStatus::Completed);
        };
        let Some(verb) = document.verbs.get(next) else { return self.end(now, place, CallStatus::Completed) };
        if let Some((_, next)) = &mut self.calls[place].document {
            *next += 1;
        }
        let sid = self.calls[place].sid.clone();
        match verb {
            Verb::Say(words) => {
                self.say(now, place, std::slice::from_ref(words));
                self.turn(now + SENTENCE, &sid, Turn::GoOn);
            }
            Verb::Pause(span) => self.turn(now + *span, &sid, Turn::GoOn),
            Verb::Gather { timeout, say, .. } => {
                self.say(now, place, say);
                let spoken = SENTENCE * u32::try_from(say.len()).unwrap_or(u32::MAX);
                let call = &self.calls[place];
                let answers = !call.keys.is_empty() || call.hangs_up;
                self.turn(now + spoken + if answers { MOMENT } else { *timeout }, &sid, Turn::Silence);
            }
            Verb::Redirect(action) => self.ask(now, place, *action, Some(document.turn), None),
            Verb::Hangup => self.end(now, place, CallStatus::Completed),
            Verb::Reject => self.end(now, place, CallStatus::Busy),
        }
    }

    fn say(&mut self, now: Timestamp, place: usize, words: &[String]) {
        let call = &mut self.calls[place];
        call.said.extend_from_slice(words);
        let (sid, to) = (call.sid.clone(), call.number.clone());
        for words in words {
            self.saw(now, Act::Said { sid: sid.clone(), to: to.clone(), words: words.clone() });
        }
    }

    fn ask(&mut self, now: Timestamp, place: usize, action: CallAction, turn: Option<u32>, digits: Option<String>) {
        self.next += 1;
        let request = RequestId(self.next);
        let call = &mut self.calls[place];
        if let Some(keys) = &digits {
            call.pressed.push((call.said.len(), keys.clone()));
        }
        let mut event = call.event(action);
        event.turn = turn;
        event.digits = digits;
        event.status = Some(call.status);
        call.asked = Some((request, event.clone()));
        self.after(now, Input::Call { request, call: event });
    }

    fn fares(&mut self, now: Timestamp, place: usize, status: CallStatus) {
        let call = &mut self.calls[place];
        call.status = status;
        if call.row.is_none() && !status.is_final() {
            return;
        }
        let mut event = call.event(CallAction::Status);
        event.status = Some(status);
        event.duration = status.is_final().then(|| call.seconds());
        self.report_call(now, &event);
    }

    fn end(&mut self, now: Timestamp, place: usize, status: CallStatus) {
        let call = &mut self.calls[place];
        (call.ended, call.document, call.asked) = (Some(now), None, None);
        call.turn += 1;
        self.fares(now, place, status);
    }

    /// A status callback: Twilio repeats it, and mixes it up with others, when it is told to.
    fn report_call(&mut self, now: Timestamp, event: &CallEvent) {
        let latency = self.latency;
        let times = self.callbacks.as_mut().map_or(1, |random| random.u8(1..3));
        for _ in 0..times {
            if let Some(random) = &mut self.callbacks {
                self.latency = Duration::from_millis(random.u64(0..20_000));
            }
            self.after(now, Input::Call { request: RequestId::NOBODY, call: event.clone() });
        }
        self.latency = latency;
    }

    fn acts_ended(&mut self, now: Timestamp, place: usize, last_words: &CallDocument) {
        let call = &self.calls[place];
        let words = last_words.verbs.iter().filter_map(|verb| match verb {
            Verb::Say(words) => Some(words.as_str()),
            _ => None,
        });
        let words = if call.status < CallStatus::InProgress { String::new() } else { words.collect::<Vec<_>>().join(" ") };
        let (sid, to) = (call.sid.clone(), call.number.clone());
        self.saw(now, Act::EndCall { sid, to, words });
    }
}

impl Call {
    /// What is asked now: the webhook of a `Gather`, and the turn of its document.
    fn question(&self) -> Option<(CallAction, u32)> {
        let (document, next) = self.document.as_ref()?;
        match document.verbs.get(next.checked_sub(1)?)? {
            Verb::Gather { action, .. } if self.asked.is_none() => Some((*action, document.turn)),
            _ => None,
        }
    }
}
