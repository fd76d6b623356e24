//! What a call says: the PIN first, then the alarms one after the other, each with its menu (SPEC 9, "By phone").

use std::{cmp::Reverse, sync::Arc, time::Duration};

use super::{Session, Spoken, Stage, phrases::Phrase, speech::Tongue};
use crate::engine::{
    Engine,
    alarm::AckScope,
    inbound::PinRefused,
    io::{Actor, AnsweredBy, CallAction, CallDocument, CallEvent, CallStatus, OutboxId, Verb, Via},
    outbox::{LateAnswer, Purpose},
    people,
    plan::{Channel, Role, UserDef},
};

/// How often a call asks for the PIN.
const PIN_TRIES: u8 = 3;
/// How long it waits for the next key of one.
const PIN_WAIT: Duration = Duration::from_secs(10);
/// How long it waits for a key of the menu.
const MENU_WAIT: Duration = Duration::from_secs(8);
/// How often a menu is repeated to somebody who is silent.
const MAX_SILENCES: u8 = 3;
/// Documents of one call.
const MAX_TURNS: u32 = 100;
/// Alarms that one call tells.
pub(super) const MAX_ITEMS: usize = 20;
/// How often a call looks whether the PLC took an acknowledgement, and how long it is silent before.
const MAX_LOOKS: u8 = 2;
const LOOK_WAIT: Duration = Duration::from_secs(2);

impl Engine {
    /// Somebody calls us.
    pub(super) fn call_received(&mut self, event: &CallEvent) -> CallDocument {
        if let Some(session) = self.calls.get(&event.sid) {
            return session.document.clone().unwrap_or_else(|| unknown(event));
        }
        if self.inbound_seen.contains_key(&event.sid) {
            return unknown(event);
        }
        self.begin_received(event);
        if self.plan.user_by_number(&event.from).is_none() {
            return self.document(&event.sid, vec![Verb::Reject]);
        }
        if let Some(session) = self.calls.get_mut(&event.sid) {
            (session.stage, session.status) = (Stage::Ringing, CallStatus::InProgress);
        }
        self.ask_pin(&event.sid)
    }

    /// A webhook of a call that goes on. What answers an earlier turn was told before: it gets the present document.
    pub(super) fn call_goes_on(&mut self, event: &CallEvent) -> CallDocument {
        let Some(sid) = self.session_of(event) else { return unknown(event) };
        let session = &self.calls[&sid];
        let stale = event.turn.is_some_and(|turn| turn != session.turn);
        let answered = event.action == CallAction::Answer && session.stage != Stage::Ringing;
        let last = session.document.clone().unwrap_or_else(|| unknown(event));
        if stale || answered || !session.is_live() {
            return last;
        }
        self.call_moves(&sid, CallStatus::InProgress, None, None);
        if matches!(event.answered_by, Some(AnsweredBy::Machine | AnsweredBy::Fax)) {
            self.machine_answered(&sid, false);
        }
        let session = &self.calls[&sid];
        if session.turn >= MAX_TURNS {
            return self.hang_up(&sid, vec![Phrase::Goodbye.say(session.tongue(), &[])]);
        }
        let keys = event.digits.as_deref().unwrap_or_default();
        match (event.action, session.stage) {
            (_, Stage::Over) => self.hang_up(&sid, Vec::new()),
            (CallAction::Answer, Stage::Ringing) => self.call_answered(&sid),
            (CallAction::Pin, Stage::Pin(tries)) => self.pin_keyed(&sid, tries, keys),
            (CallAction::Menu, Stage::Talking(silences)) => self.menu_keyed(&sid, silences, keys),
            (CallAction::Ack, Stage::Talking(_)) => self.after_acknowledgement(&sid),
            _ => last,
        }
    }

    fn call_answered(&mut self, sid: &str) -> CallDocument {
        let session = &self.calls[sid];
        let tongue = session.tongue();
        let Some(text) = session.row.and_then(|row| self.outbox.text(row)) else { return self.hang_up(sid, Vec::new()) };
        if text.purpose == Purpose::Manual {
            let words = super::speech::spoken(&text.body, tongue, &[]);
            let pause = Verb::Pause(Duration::from_secs(1));
            self.say_no_more(sid);
            return self.document(sid, vec![Verb::Say(words.clone()), pause, Verb::Say(words), Verb::Hangup]);
        }
        self.ask_pin(sid)
    }

    /// Asks for the PIN, unless there is none to be given.
    fn ask_pin(&mut self, sid: &str) -> CallDocument {
        let session = &self.calls[sid];
        let (tongue, number) = (session.tongue(), session.number.clone());
        let Some(user) = self.plan.user_by_number(&number).cloned() else { return self.give_up(sid, Vec::new()) };
        if let Some(until) = self.locked_until(&number) {
            let until = people::clock_text(until, self.now, user.time_zone.as_deref());
            return self.give_up(sid, vec![Phrase::Locked.say(tongue, &[&until])]);
        }
        if user.pin.is_none() {
            return self.give_up(sid, vec![Phrase::NoPin.say(tongue, &[])]);
        }
        self.gather_pin(sid, 1, vec![Phrase::AskPin.say(tongue, &[])])
    }

    fn gather_pin(&mut self, sid: &str, tries: u8, say: Vec<String>) -> CallDocument {
        let Some(session) = self.calls.get_mut(sid) else { return self.hang_up(sid, Vec::new()) };
        session.stage = Stage::Pin(tries);
        let pin = self.plan.user_by_number(&self.calls[sid].number).and_then(|user| user.pin.as_ref());
        let digits = pin.and_then(|pin| u8::try_from(pin.expose().len()).ok());
        self.document(sid, vec![Verb::Gather { action: CallAction::Pin, digits, timeout: PIN_WAIT, say }])
    }

    fn pin_keyed(&mut self, sid: &str, tries: u8, keys: &str) -> CallDocument {
        let session = &self.calls[sid];
        let (tongue, number) = (session.tongue(), session.number.clone());
        let Some(user) = self.plan.user_by_number(&number).cloned() else { return self.give_up(sid, Vec::new()) };
        let digits: String = keys.chars().filter(char::is_ascii_digit).collect();
        let mut lines = Vec::new();
        if !digits.is_empty() {
            match self.check_pin(&user, &number, &digits, Via::Phone) {
                Ok(()) => return self.begin_talk(sid, &user),
                Err(PinRefused::Wrong { .. }) => lines.push(Phrase::WrongPin.say(tongue, &[])),
                Err(PinRefused::Locked(until)) => {
                    return self.give_up(sid, vec![Phrase::Locked.say(tongue, &[&until])]);
                }
                Err(PinRefused::NoPin) => return self.give_up(sid, vec![Phrase::NoPin.say(tongue, &[])]),
            }
        }
        if tries >= PIN_TRIES {
            return self.give_up(sid, lines);
        }
        lines.push(Phrase::AskPinAgain.say(tongue, &[]));
        self.gather_pin(sid, tries + 1, lines)
    }

    /// A person is known to be there: the alarms follow.
    fn begin_talk(&mut self, sid: &str, user: &UserDef) -> CallDocument {
        let (now, row) = (self.now, self.calls[sid].row);
        let tongue = self.calls[sid].tongue();
        let mut items = match row {
            Some(row) => self.items_of_row(row),
            None => self.open_for(user),
        };
        items.sort_by_cached_key(|item| {
            let index = self.plan.alarm_index.get(&item.alarm).copied();
            let raised = index.and_then(|index| self.alarms[index].alarm.newest()).map(|event| event.raised);
            (Reverse(index.map(|index| self.plan.alarms[index].priority)), raised)
        });
        let count = items.len();
        items.truncate(MAX_ITEMS);
        for item in &items {
            if let Some(waiting) = row.and_then(|row| self.runs.get_mut(&item.alarm)?.waiting_mut(row)) {
                waiting.accepted = Some(now);
            }
            self.dirty.paths.insert(Arc::clone(&item.alarm));
        }
        let Some(session) = self.calls.get_mut(sid) else { return self.hang_up(sid, Vec::new()) };
        (session.reached, session.stage, session.more) = (true, Stage::Talking(0), count - items.len());
        session.items = items;
        match (count, row) {
            (0, Some(row)) => {
                let why = self.why_over(row, tongue);
                self.say_no_more(sid);
                self.hang_up(sid, vec![why, Phrase::Goodbye.say(tongue, &[])])
            }
            (0, None) => self.hang_up(sid, vec![Phrase::NothingOpen.say(tongue, &[]), Phrase::Goodbye.say(tongue, &[])]),
            (1, _) => self.speak(sid, 0, Vec::new()),
            (count, _) => self.speak(sid, 0, vec![Phrase::ManyAlarms.say(tongue, &[&count.to_string()])]),
        }
    }

    fn items_of_row(&self, row: OutboxId) -> Vec<Spoken> {
        let items = self.alarm_items(row).map(|(_, items)| items).unwrap_or_default();
        items.iter().filter(|item| self.wants_telling(item)).map(Spoken::from).collect()
    }

    /// The open events that this user was told of, or is being told of, by any number of theirs.
    fn open_for(&self, user: &UserDef) -> Vec<Spoken> {
        let concerned = |run: &crate::engine::pipeline::Run| user.contacts.iter().any(|contact| run.concerns(&contact.number));
        let open = self.runs.iter().filter(|(path, run)| concerned(run) && self.is_speakable(path, &run.code));
        open.filter_map(|(path, run)| {
            let event = self.event_to_tell(path)?;
            Some(Spoken { alarm: Arc::clone(path), code: run.code.clone(), event, heard: false, settled: false })
        })
        .collect()
    }

    /// Somebody should still acknowledge it, and it is not silenced.
    fn is_speakable(&self, path: &str, code: &str) -> bool {
        let Some(index) = self.plan.alarm_index.get(path).copied() else { return false };
        let alarm = &self.alarms[index].alarm;
        let same_run = self.runs.get(path).is_some_and(|run| run.code == code);
        let wanted = || {
            let run = self.runs.get(path)?;
            self.end_condition(index, run).is_none().then_some(())
        };
        same_run && !alarm.is_silent() && (alarm.open_events().next().is_some() || wanted().is_some())
    }

    /// Speaks the first item from `at` on that is still open, and its menu. `lines` are said before it.
    fn speak(&mut self, sid: &str, mut at: usize, mut lines: Vec<String>) -> CallDocument {
        let tongue = self.calls[sid].tongue();
        let item = loop {
            let Some(item) = self.calls[sid].items.get(at).cloned() else { return self.no_more(sid, lines) };
            if !item.settled && self.is_speakable(&item.alarm, &item.code) {
                break item;
            }
            if !item.settled {
                lines.push(self.fate(&item, tongue, &self.calls[sid]));
                self.settle(sid, at);
            }
            at += 1;
        };
        let session = &self.calls[sid];
        let count = session.items.len();
        if count > 1 {
            lines.push(Phrase::Position.say(tongue, &[&(at + 1).to_string(), &count.to_string()]));
        }
        lines.push(self.alarm_words(session.profile.as_deref(), &item.alarm, &session.number, tongue));
        let active = self.plan.alarm_index.get(&item.alarm).is_some_and(|index| self.alarms[*index].alarm.state().is_active());
        if !active {
            lines.push(Phrase::Over.say(tongue, &[]));
        }
        if at + 1 == count && session.more > 0 {
            lines.push(Phrase::AndMore.say(tongue, &[&session.more.to_string()]));
        }
        self.told_by_voice(sid, at);
        self.gather_menu(sid, lines)
    }

    /// The event was spoken to somebody who has shown a PIN: told, and reached.
    fn told_by_voice(&mut self, sid: &str, at: usize) {
        let now = self.now;
        let Some(path) = self.calls[sid].items.get(at).map(|item| Arc::clone(&item.alarm)) else { return };
        let event = self.event_to_tell(&path);
        let Some(session) = self.calls.get_mut(sid) else { return };
        session.at = at;
        let (number, row) = (session.number.clone(), session.row);
        let item = &mut session.items[at];
        let event = event.unwrap_or(item.event);
        let first = !std::mem::replace(&mut item.heard, true) || item.event != event;
        item.event = event;
        let Some(run) = self.runs.get_mut(&path).filter(|_| first) else { return };
        run.note_told(&number, event, now);
        if let Some(waiting) = row.and_then(|row| run.waiting_mut(row)) {
            waiting.accepted.get_or_insert(now);
        }
        self.note_reached(&path, &number, Via::Phone);
    }

    fn gather_menu(&mut self, sid: &str, mut say: Vec<String>) -> CallDocument {
        say.extend(self.menu(&self.calls[sid]));
        self.document(sid, vec![Verb::Gather { action: CallAction::Menu, digits: Some(1), timeout: MENU_WAIT, say }])
    }

    /// The keys that do something now.
    fn menu(&self, session: &Session) -> Vec<String> {
        let tongue = session.tongue();
        let mut lines = Vec::new();
        let heard = session.items.iter().filter(|item| item.heard && !item.settled).count();
        if self.role_of(session) < Role::Operator {
            lines.push(Phrase::NotAllowed.say(tongue, &[]));
        } else {
            lines.push(Phrase::PressAck.say(tongue, &[]));
            if heard > 1 {
                lines.push(Phrase::PressAckAll.say(tongue, &[&heard.to_string()]));
            }
        }
        lines.push(Phrase::PressRepeat.say(tongue, &[]));
        if session.items.iter().skip(session.at + 1).any(|item| !item.settled) {
            lines.push(Phrase::PressNext.say(tongue, &[]));
        }
        lines.push(Phrase::PressPass.say(tongue, &[]));
        lines
    }

    fn role_of(&self, session: &Session) -> Role {
        self.plan.user_by_number(&session.number).map_or(Role::Viewer, |user| user.role)
    }

    fn menu_keyed(&mut self, sid: &str, silences: u8, keys: &str) -> CallDocument {
        let (at, tongue) = (self.calls[sid].at, self.calls[sid].tongue());
        let key = keys.chars().find(|key| *key != '#');
        let Some(key) = key else {
            if silences >= MAX_SILENCES {
                return self.hang_up(sid, vec![Phrase::Goodbye.say(tongue, &[])]);
            }
            self.set_silences(sid, silences + 1);
            return self.speak(sid, at, Vec::new());
        };
        self.set_silences(sid, 0);
        match key {
            '1' => self.acknowledge_spoken(sid, &[at]),
            '2' => {
                let heard = self.calls[sid].items.iter().enumerate().filter(|(_, item)| item.heard && !item.settled);
                let heard: Vec<usize> = heard.map(|(place, _)| place).collect();
                self.acknowledge_spoken(sid, &heard)
            }
            '3' => self.speak(sid, at, Vec::new()),
            '4' => self.speak(sid, at + 1, Vec::new()),
            '9' => self.pass_on_spoken(sid, at),
            other => self.gather_menu(sid, vec![Phrase::UnknownKey.say(tongue, &[&other.to_string()])]),
        }
    }

    fn set_silences(&mut self, sid: &str, silences: u8) {
        if let Some(session) = self.calls.get_mut(sid) {
            session.stage = Stage::Talking(silences);
        }
    }

    fn acknowledge_spoken(&mut self, sid: &str, places: &[usize]) -> CallDocument {
        let session = &self.calls[sid];
        let (tongue, role) = (session.tongue(), self.role_of(session));
        let Some(user) = session.user.clone().filter(|_| role >= Role::Operator) else {
            return self.gather_menu(sid, Vec::new());
        };
        let actor = Actor { name: user, role, via: Via::Phone };
        let (mut done, mut lines, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for place in places {
            let Some(item) = self.calls[sid].items.get(*place).filter(|item| !item.settled).cloned() else { continue };
            // Settled first: what follows from the acknowledgement must not end this very call.
            self.settle(sid, *place);
            match self.acknowledge_path(&item.alarm, AckScope::UpTo(item.event), &actor, "") {
                Ok(rows) => {
                    waits.extend(rows);
                    done.push(Self::name_words(&item.alarm, tongue));
                }
                Err(_) => lines.push(self.fate(&item, tongue, &self.calls[sid])),
            }
        }
        if !done.is_empty() {
            lines.insert(0, Phrase::Acknowledged.say(tongue, &[&done.join("; ")]));
        }
        if let Some(session) = self.calls.get_mut(sid) {
            session.waits_for.extend(waits);
            session.looks = 0;
        }
        let verbs = lines.into_iter().map(Verb::Say).chain([Verb::Redirect(CallAction::Ack)]).collect();
        self.document(sid, verbs)
    }

    /// What stands behind an acknowledgement: whether the PLC took it, then further alarms, or the end.
    fn after_acknowledgement(&mut self, sid: &str) -> CallDocument {
        let tongue = self.calls[sid].tongue();
        let (mut pending, mut failed) = (Vec::new(), false);
        let waits = self.calls[sid].waits_for.clone();
        for row in &waits {
            match self.write_back(*row).map(|row| row.confirmed) {
                Some(None) => pending.push(*row),
                Some(Some(false)) => failed = true,
                Some(Some(true)) | None => {}
            }
        }
        let Some(session) = self.calls.get_mut(sid) else { return self.hang_up(sid, Vec::new()) };
        if !pending.is_empty() && session.looks < MAX_LOOKS {
            session.looks += 1;
            let mut verbs = vec![Verb::Pause(LOOK_WAIT), Verb::Redirect(CallAction::Ack)];
            if session.looks == 1 {
                verbs.insert(0, Verb::Say(Phrase::PlcPending.say(tongue, &[])));
            }
            return self.document(sid, verbs);
        }
        session.waits_for.clear();
        let mut lines = Vec::new();
        if failed {
            lines.push(Phrase::PlcDidNot.say(tongue, &[]));
        } else if pending.is_empty() && !waits.is_empty() {
            lines.push(Phrase::PlcTook.say(tongue, &[]));
        }
        if !pending.is_empty() && self.text_later(sid, &pending) {
            lines.push(Phrase::PlcTextFollows.say(tongue, &[]));
        }
        self.go_on(sid, lines)
    }

    /// What becomes of these write-backs is told by text, where the caller takes texts.
    fn text_later(&mut self, sid: &str, rows: &[OutboxId]) -> bool {
        let session = &self.calls[sid];
        let user = self.plan.user_by_number(&session.number);
        let contact = user.and_then(|user| user.contacts.iter().find(|contact| contact.channel == Channel::Sms));
        let Some(to) = contact.map(|contact| contact.number.clone()) else { return false };
        let late = LateAnswer { twilio: session.twilio.clone(), to, user: session.user.clone() };
        for row in rows {
            self.answer_late(*row, late.clone());
        }
        true
    }

    /// The next alarm that was not spoken yet, else one that is still open, else the end.
    fn go_on(&mut self, sid: &str, mut lines: Vec<String>) -> CallDocument {
        let session = &self.calls[sid];
        let unspoken = session.items.iter().position(|item| !item.settled && !item.heard);
        let next = unspoken.or_else(|| session.items.iter().position(|item| !item.settled));
        if let Some(next) = next {
            return self.speak(sid, next, lines);
        }
        lines.push(Phrase::Goodbye.say(session.tongue(), &[]));
        self.hang_up(sid, lines)
    }

    /// Behind the last item: the menu of the present one, or the end when nothing is open.
    fn no_more(&mut self, sid: &str, mut lines: Vec<String>) -> CallDocument {
        let session = &self.calls[sid];
        let tongue = session.tongue();
        let open = session.items.iter().position(|item| item.heard && !item.settled);
        let Some(open) = open else {
            lines.push(Phrase::Goodbye.say(tongue, &[]));
            return self.hang_up(sid, lines);
        };
        if session.items.get(session.at).is_none_or(|item| item.settled) {
            return self.speak(sid, open, lines);
        }
        lines.push(Phrase::NoMore.say(tongue, &[]));
        self.gather_menu(sid, lines)
    }

    fn pass_on_spoken(&mut self, sid: &str, at: usize) -> CallDocument {
        let (tongue, number) = (self.calls[sid].tongue(), self.calls[sid].number.clone());
        let Some(item) = self.calls[sid].items.get(at).cloned() else { return self.no_more(sid, Vec::new()) };
        self.settle(sid, at);
        if self.pass_on(&item.alarm, &number) {
            return self.go_on(sid, vec![Phrase::PassedOn.say(tongue, &[])]);
        }
        if let Some(session) = self.calls.get_mut(sid) {
            session.items[at].settled = false;
        }
        self.gather_menu(sid, vec![Phrase::NobodyElse.say(tongue, &[])])
    }

    /// Who was first, or that it is over.
    fn fate(&self, item: &Spoken, tongue: Tongue, session: &Session) -> String {
        let name = Self::name_words(&item.alarm, tongue);
        let index = self.plan.alarm_index.get(&item.alarm).copied();
        let view = index.map(|index| self.alarms[index].alarm.view(&self.plan.alarms[index]));
        match view.filter(|view| !view.ack_user.is_empty()) {
            Some(view) => {
                let zone = self.plan.user_by_number(&session.number).and_then(|user| user.time_zone.as_deref());
                let at = people::clock_text(view.ack_time, self.now, zone);
                Phrase::Already.say(tongue, &[&name, &view.ack_user, &at])
            }
            None => Phrase::NoLongerOpen.say(tongue, &[&name]),
        }
    }

    fn settle(&mut self, sid: &str, at: usize) {
        if let Some(item) = self.calls.get_mut(sid).and_then(|session| session.items.get_mut(at)) {
            item.settled = true;
        }
    }

    /// Nobody was reached by this call: it ends, and pipelines go on at once.
    fn give_up(&mut self, sid: &str, mut lines: Vec<String>) -> CallDocument {
        let session = &self.calls[sid];
        lines.push(Phrase::Goodbye.say(session.tongue(), &[]));
        let row = session.row;
        let document = self.hang_up(sid, lines);
        if let Some(row) = row {
            self.text_failed(row);
        }
        document
    }

    fn hang_up(&mut self, sid: &str, lines: Vec<String>) -> CallDocument {
        self.say_no_more(sid);
        self.document(sid, lines.into_iter().map(Verb::Say).chain([Verb::Hangup]).collect())
    }

    fn say_no_more(&mut self, sid: &str) {
        if let Some(session) = self.calls.get_mut(sid) {
            session.stage = Stage::Over;
        }
    }
}

/// For a call that we know nothing of.
fn unknown(event: &CallEvent) -> CallDocument {
    let id = event.row.map_or_else(|| event.sid.clone(), |row| row.0.to_string());
    let words = Phrase::NotUnderstood.say(Tongue::English, &[]);
    let verbs = vec![Verb::Say(words), Verb::Hangup];
    CallDocument { id, turn: 0, profile: None, language: "en-US".to_owned(), voice: None, verbs }
}
