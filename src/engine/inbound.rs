//! Texts from people: who it was, whether they may, what they meant (SPEC 9, "By text").

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Engine, Timer,
    alarm::AckScope,
    answer,
    io::{Actor, InboundText, Outcome, RequestId, Via},
    length::DigestItem,
    outbox::{Answer, LateAnswer, Purpose, Text},
    people,
    pipeline::Run,
    plan::{Action, Channel, Role, UserDef},
    record::{AuditKind, Direction, LedgerEntry, NotSent, Record},
    reply::{self, Keyword, Reply},
    throttle::short_name,
};
use crate::tag::Timestamp;

/// Wrong PINs …
const PIN_TRIES: usize = 5;
/// … within this time …
const PIN_WINDOW: Duration = Duration::from_secs(15 * 60);
/// … lock the number for this long.
const PIN_LOCK: Duration = Duration::from_secs(15 * 60);
/// Answers to one number …
const ANSWERS: usize = 10;
/// … within this time.
const ANSWER_WINDOW: Duration = Duration::from_secs(3600);
/// A bare PIN acknowledges only when no other event told to the phone was told or ended this recently.
const UNAMBIGUOUS: Duration = Duration::from_secs(300);
/// Alarms that a phone may still mean by a bare PIN; the oldest is forgotten for a further one.
const MAX_LATELY: usize = 64;
/// An answer waits this long for the PLC.
const PLC_WAIT: Duration = Duration::from_secs(15);
/// Inbound SIDs that are remembered.
pub(super) const INBOUND_KEEP: Duration = Duration::from_secs(7 * 86_400);

/// What is remembered of a phone number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ContactState {
    pub opted_out: bool,
    pub pin_failures: Vec<Timestamp>,
    pub locked_until: Timestamp,
    pub answers: Vec<Timestamp>,
    /// Alarms it was told of whose notification is forgotten, and until when a bare PIN may still mean them.
    #[serde(default)]
    pub lately: Vec<(Arc<str>, Timestamp)>,
}

/// What a phone was told and may acknowledge.
struct OpenRun {
    path: Arc<str>,
    code: String,
    last_told: Uuid,
    told_at: Timestamp,
}

impl Engine {
    /// A text came in. A repeated SID is answered again but does nothing.
    pub(super) fn inbound(&mut self, request: RequestId, text: &InboundText) {
        let good = Outcome::good("");
        if self.inbound_seen.contains_key(&text.sid) {
            return self.answer(request, good);
        }
        self.inbound_seen.insert(text.sid.clone(), self.now);
        self.dirty.inbound.insert(text.sid.clone());
        self.timers.set(&Timer::Inbound(text.sid.clone()), Some(self.now + INBOUND_KEEP));
        let user = self.plan.user_by_number(&text.from).cloned();
        self.count_message(Direction::Received, user.as_ref().map(|user| user.name.as_str()));
        self.effects_record(Record::Ledger(LedgerEntry {
            time: self.now,
            sid: text.sid.clone(),
            direction: Direction::Received,
            channel: Channel::Sms,
            user: user.as_ref().map(|user| user.name.clone()),
            number: text.from.clone(),
            segments: 0,
            minutes: 0,
            row: None,
        }));
        let name = user.as_ref().map_or("", |user| user.name.as_str()).to_owned();
        let body = reply::mask_pins(&text.body);
        let result = if user.is_some() { "received" } else { "from nobody we know" };
        self.audit(AuditKind::MessageReceived, &name, Via::Text, &text.from, body, result, Vec::new(), Some(text.sid.clone()));
        match (reply::parse(&text.body), user) {
            (Reply::Keyword(Keyword::OptOut), _) => self.set_opted_out(&text.from, true, "STOP"),
            (Reply::Keyword(Keyword::OptIn), _) => self.set_opted_out(&text.from, false, "START"),
            (Reply::Keyword(Keyword::Help), _) | (_, None) => {}
            (reply, Some(user)) => self.reply(&user, text, reply),
        }
        self.answer(request, good);
    }

    fn reply(&mut self, user: &UserDef, text: &InboundText, reply: Reply) {
        // Twilio's times are whole seconds, rounded down.
        let received = text.received.map_or(self.now, |received| (received + Duration::from_secs(1)).min(self.now));
        let intent = match reply {
            Reply::Pin(pin) => Some((pin, None)),
            Reply::PinCodes(pin, codes) => Some((pin, Some(codes))),
            Reply::PinAll(pin) => Some((pin, Some(vec!["ALL".to_owned()]))),
            Reply::List | Reply::Other | Reply::Keyword(_) => None,
        };
        let to = LateAnswer { twilio: text.twilio.clone(), to: text.from.clone(), user: Some(user.name.clone()) };
        let Some((pin, codes)) = intent else {
            let list = self.list(&text.from, received, user.pin.is_some());
            return self.answer_person(to, plain(list));
        };
        if let Err(refused) = self.check_pin(user, &text.from, pin.expose(), Via::Text) {
            return self.answer_person(to, plain(refused.words()));
        }
        if user.role < Role::Operator {
            return self.answer_person(to, plain(answer::not_allowed()));
        }
        let actor = Actor { name: user.name.clone(), role: user.role, via: Via::Text };
        let answer = match codes {
            None => self.acknowledge_only(&actor, user, &text.from, received),
            Some(codes) if codes == ["ALL"] => self.acknowledge_all(&actor, user, &text.from, received),
            Some(codes) => self.acknowledge_codes(&actor, user, &codes, received),
        };
        self.answer_person(to, answer);
    }

    /// Until when a number is locked for wrong PINs.
    pub(super) fn locked_until(&self, number: &str) -> Option<Timestamp> {
        self.contacts.get(number).map(|contact| contact.locked_until).filter(|until| *until > self.now)
    }

    /// Checks a PIN; a number with too many failures, by text and keypad together, is locked for a while (SPEC 9).
    pub(super) fn check_pin(&mut self, user: &UserDef, number: &str, given: &str, via: Via) -> Result<(), PinRefused> {
        let now = self.now;
        let locked = |until: Timestamp| PinRefused::Locked(people::clock_text(until, now, user.time_zone.as_deref()));
        if let Some(until) = self.locked_until(number) {
            return Err(locked(until));
        }
        let Some(pin) = &user.pin else { return Err(PinRefused::NoPin) };
        let contact = self.contacts.entry(number.to_owned()).or_default();
        self.dirty.contacts.insert(number.to_owned());
        if reply::same_pin(given, pin.expose()) {
            contact.pin_failures.clear();
            self.reached(number, via);
            return Ok(());
        }
        contact.pin_failures.retain(|failure| now.since(*failure) < PIN_WINDOW);
        contact.pin_failures.push(now);
        let failures = contact.pin_failures.len();
        let too_many = failures >= PIN_TRIES;
        if too_many {
            contact.locked_until = now + PIN_LOCK;
            contact.pin_failures.clear();
        }
        self.audit(AuditKind::PinRefused, &user.name, via, number, String::new(), "wrong PIN", Vec::new(), None);
        if !too_many {
            return Err(PinRefused::Wrong { left: u32::try_from(PIN_TRIES - failures).unwrap_or(0) });
        }
        self.audit(AuditKind::PinLocked, &user.name, via, number, String::new(), "five wrong PINs", Vec::new(), None);
        self.timers.set(&Timer::Contact(number.to_owned()), Some(now + PIN_LOCK));
        self.watch_contacts();
        self.skip_contact(number);
        Err(locked(now + PIN_LOCK))
    }

    /// Runs that wait for an answer of this number go on at once.
    fn skip_contact(&mut self, number: &str) {
        let live = self.runs.iter().filter(|(_, run)| run.is_live());
        self.go_on_without(live.map(|(path, _)| Arc::clone(path)).collect(), number);
    }

    /// The same for those that wait for the answer to a text; a call to the number may still be answered.
    fn skip_texts(&mut self, number: &str) {
        let texts = self.runs.iter().filter(|(_, run)| run.is_live() && self.channel_of(run) != Some(Channel::Voice));
        self.go_on_without(texts.map(|(path, _)| Arc::clone(path)).collect(), number);
    }

    /// The channel of the notify step that a run is at.
    fn channel_of(&self, run: &Run) -> Option<Channel> {
        let step = self.plan.pipelines.get(&run.pipeline)?.steps.get(run.step)?;
        let Action::Notify(notify) = &step.action else { return None };
        self.plan.profiles.get(&notify.profile).map(|profile| profile.channel)
    }

    fn go_on_without(&mut self, paths: Vec<Arc<str>>, number: &str) {
        for path in paths {
            let waits = self.runs.get_mut(&path).is_some_and(|run| run.give_up_on(number));
            if waits {
                self.advance(&path);
            }
        }
    }

    /// What this phone was told before `when` and is not acknowledged, oldest first.
    fn open_runs(&self, number: Option<&str>, when: Timestamp) -> Vec<OpenRun> {
        let mut open: Vec<OpenRun> = self
            .runs
            .iter()
            .filter(|(path, _)| self.is_open(path))
            .filter_map(|(path, run)| {
                let alarm = &self.alarms[*self.plan.alarm_index.get(path)?].alarm;
                let mut told =
                    run.told.iter().filter(|told| number.is_none_or(|number| told.number == number) && told.at <= when);
                let told_at = told.clone().next()?.at;
                // Texts may be accepted in another order than their events came.
                let known = told.by_ref().filter_map(|told| alarm.event(told.event)).filter(|event| event.is_open());
                let last_told = known.max_by_key(|event| event.number)?.id;
                Some(OpenRun { path: Arc::clone(path), code: run.code.clone(), last_told, told_at })
            })
            .collect();
        open.sort_by_key(|run| run.told_at);
        open
    }

    fn is_open(&self, path: &str) -> bool {
        self.plan.alarm_index.get(path).is_some_and(|index| self.alarms[*index].alarm.open_events().next().is_some())
    }

    /// Just the PIN: only when it cannot mean anything else.
    fn acknowledge_only(&mut self, actor: &Actor, user: &UserDef, number: &str, when: Timestamp) -> Answer {
        let mut open = self.open_runs(Some(number), when);
        let recent = |path: &Arc<str>| {
            self.runs.get(path).filter(|run| !run.is_follow_up()).is_some_and(|run| {
                let alarm = self.plan.alarm_index.get(path).map(|index| &self.alarms[*index].alarm);
                let ended = run.closed.filter(|_| run.was_told(number));
                // The event that was told may have ended while the run goes on with a later one.
                let told = run.told.iter().filter(|told| told.number == number);
                let times = told.flat_map(|told| [Some(told.at), alarm.and_then(|alarm| alarm.ended(told.event))]);
                times.chain([ended]).flatten().any(|at| self.now.since(at) < UNAMBIGUOUS)
            })
        };
        let lately = self.contacts.get(number).map(|contact| contact.lately.as_slice()).unwrap_or_default();
        let forgotten = |only: &OpenRun| lately.iter().any(|(path, until)| *path != only.path && self.now < *until);
        let unambiguous =
            open.len() == 1 && !forgotten(&open[0]) && !self.runs.keys().any(|path| *path != open[0].path && recent(path));
        match open.pop() {
            Some(only) if unambiguous => self.acknowledge_runs(actor, user, number, vec![only]),
            last => {
                open.extend(last);
                let items = names(&open);
                plain(answer::which_one(&digest_items(&items), items.len()))
            }
        }
    }

    /// The run at `path` is about to be forgotten, because its alarm is removed or a new event has a run of its own: whoever was told
    /// of it may mean it by a bare PIN for a while.
    pub(super) fn remember_told(&mut self, path: &str) {
        let now = self.now;
        let Some(run) = self.runs.get(path).filter(|run| !run.is_follow_up()) else { return };
        let ended = run.closed.unwrap_or(now);
        let told: Vec<(String, Timestamp)> =
            run.told.iter().map(|told| (told.number.clone(), told.at.max(ended) + UNAMBIGUOUS)).collect();
        for (number, until) in told.into_iter().filter(|(_, until)| now < *until) {
            self.remember_lately(number, path, until);
        }
    }

    /// A text that named the alarm at `path` turned out to have been taken when its run was forgotten already.
    pub(super) fn told_late(&mut self, number: &str, path: &str) {
        self.remember_lately(number.to_owned(), path, self.now + UNAMBIGUOUS);
    }

    fn remember_lately(&mut self, number: String, path: &str, until: Timestamp) {
        let now = self.now;
        let contact = self.contacts.entry(number.clone()).or_default();
        contact.lately.retain(|(of, until)| **of != *path && now < *until);
        if contact.lately.len() >= MAX_LATELY {
            contact.lately.remove(0);
        }
        contact.lately.push((path.into(), until));
        self.dirty.contacts.insert(number);
    }

    fn acknowledge_all(&mut self, actor: &Actor, user: &UserDef, number: &str, when: Timestamp) -> Answer {
        let open = self.open_runs(Some(number), when);
        self.acknowledge_runs(actor, user, number, open)
    }

    fn acknowledge_codes(&mut self, actor: &Actor, user: &UserDef, codes: &[String], when: Timestamp) -> Answer {
        let mut open = self.open_runs(None, when);
        let mut chosen = Vec::new();
        let mut others = Answer::default();
        for code in codes {
            match open.iter().position(|run| run.code == *code) {
                Some(place) => chosen.push(open.swap_remove(place)),
                None => self.why_not(code, user, &mut others),
            }
        }
        let number = user.contacts.first().map_or("", |contact| contact.number.as_str());
        let mut answer = self.acknowledge_runs(actor, user, number, chosen);
        answer.already.append(&mut others.already);
        answer.unknown.append(&mut others.unknown);
        answer
    }

    fn why_not(&self, code: &str, user: &UserDef, answer: &mut Answer) {
        let run = self.runs.iter().find(|(_, run)| run.code == *code);
        let acknowledged = run.and_then(|(path, _)| {
            let index = self.plan.alarm_index.get(path).copied()?;
            let view = self.alarms[index].alarm.view(&self.plan.alarms[index]);
            (!view.ack_user.is_empty()).then(|| (short_name(path), view))
        });
        match acknowledged {
            Some((name, view)) => {
                let at = people::clock_text(view.ack_time, self.now, user.time_zone.as_deref());
                answer.already.push((name, code.to_owned(), view.ack_user, at));
            }
            None => answer.unknown.push(code.to_owned()),
        }
    }

    fn acknowledge_runs(&mut self, actor: &Actor, user: &UserDef, number: &str, runs: Vec<OpenRun>) -> Answer {
        let mut answer = Answer::default();
        for run in runs {
            match self.acknowledge_path(&run.path, AckScope::UpTo(run.last_told), actor, "") {
                Ok(rows) => {
                    answer.done.push((short_name(&run.path), run.code));
                    answer.events.push(run.last_told);
                    answer.waits_for.extend(rows);
                }
                Err(_) => self.why_not(&run.code, user, &mut answer),
            }
        }
        answer.plc = !answer.waits_for.is_empty();
        for row in std::mem::take(&mut answer.waits_for) {
            match self.write_back(row).map(|row| (row.confirmed, row.detail.clone())) {
                Some((None, _)) => answer.waits_for.push(row),
                Some((Some(false), detail)) => answer.plc_failure = Some(detail),
                Some((Some(true), _)) | None => {}
            }
        }
        answer.open = self.open_runs(Some(number), self.now).len();
        answer
    }

    fn list(&self, number: &str, when: Timestamp, has_pin: bool) -> String {
        let items = names(&self.open_runs(Some(number), when));
        answer::open_list(&digest_items(&items), items.len(), has_pin)
    }

    /// Answers a person through the outbox; at most ten an hour a number.
    fn answer_person(&mut self, to: LateAnswer, answer: Answer) {
        let now = self.now;
        let contact = self.contacts.entry(to.to.clone()).or_default();
        contact.answers.retain(|answer| now.since(*answer) < ANSWER_WINDOW);
        let opted_out = contact.opted_out;
        let allowed = contact.answers.len() < ANSWERS && !opted_out;
        if allowed {
            contact.answers.push(now);
        }
        self.dirty.contacts.insert(to.to.clone());
        if allowed {
            return self.send_answer(to, answer);
        }
        let reason = if opted_out { NotSent::OptedOut } else { NotSent::Answers };
        self.not_sent(reason, &to.user.unwrap_or_default(), &to.to, String::new(), Vec::new());
    }

    pub(super) fn send_answer(&mut self, to: LateAnswer, answer: Answer) {
        let not_before = if answer.waits_for.is_empty() { self.now } else { self.now + PLC_WAIT };
        let text = Text::new(&to.twilio, Channel::Sms, &to.to, to.user, Purpose::Answer(answer), self.now);
        self.enqueue(Text { not_before, ..text });
    }

    /// STOP, START, or error 21610.
    pub(super) fn set_opted_out(&mut self, number: &str, opted_out: bool, why: &str) {
        let contact = self.contacts.entry(number.to_owned()).or_default();
        if contact.opted_out == opted_out {
            return;
        }
        contact.opted_out = opted_out;
        self.dirty.contacts.insert(number.to_owned());
        let user = self.plan.user_by_number(number).map(|user| user.name.clone()).unwrap_or_default();
        let kind = if opted_out { AuditKind::OptOut } else { AuditKind::OptIn };
        self.audit(kind, &user, Via::Text, number, String::new(), why, Vec::new(), None);
        self.watch_contacts();
        if opted_out {
            self.skip_texts(number);
        }
    }

    /// OptedOut and PinLocked (SPEC 6.4).
    pub(super) fn watch_contacts(&mut self) {
        let now = self.now;
        let rota = self.rota();
        let opted_out = self.plan.users.values().find(|user| {
            let mut texted = user.contacts.iter().filter(|contact| contact.channel == Channel::Sms);
            texted.any(|contact| self.contacts.get(&contact.number).is_some_and(|state| state.opted_out))
                && rota.is_on_call(user, now)
        });
        let opted_out =
            opted_out.map(|user| format!("{} has opted out of texts (only START from that phone ends it)", user.name));
        let locked = self.contacts.iter().find(|(_, state)| state.locked_until > now);
        let locked = locked.map(|(number, _)| format!("{} is locked for wrong PINs", people::mask_number(number)));
        self.set_system("System/Gateway/Alarms/OptedOut", opted_out);
        self.set_system("System/Gateway/Alarms/PinLocked", locked);
    }
}

/// Why a PIN was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PinRefused {
    NoPin,
    Wrong {
        /// Tries before the number is locked.
        left: u32,
    },
    /// Until then, for people.
    Locked(String),
}

impl PinRefused {
    /// The answer to a text.
    fn words(&self) -> String {
        match self {
            Self::NoPin => answer::no_pin(),
            Self::Wrong { left } => answer::wrong_pin(*left),
            Self::Locked(until) => answer::locked(until),
        }
    }
}

fn plain(words: String) -> Answer {
    Answer { plain: Some(words), ..Answer::default() }
}

fn digest_items(names: &[(String, String)]) -> Vec<DigestItem<'_>> {
    names.iter().map(|(name, code)| DigestItem { name, code }).collect()
}

fn names(runs: &[OpenRun]) -> Vec<(String, String)> {
    runs.iter().map(|run| (short_name(&run.path), run.code.clone())).collect()
}
