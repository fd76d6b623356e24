//! What must hold, told from outside: by what people asked for and were answered, what Twilio has taken, what the journal and the
//! audit log say, and hours of duty computed from the rules of London's clock. Nothing here asks the engine.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use annunciator::{
    engine::{
        io::{Command, RequestId},
        plan::{Action, Channel, Priority},
        record::{AuditKind, JournalKind, StateKind},
    },
    scenario::{Rig, world::Message},
    tag::Timestamp,
};
use serde_json::Value as Json;
use uuid::Uuid;

use super::plant::{PEOPLE, Plant};

const HOUR: Duration = Duration::from_secs(3600);
/// Between the decision to tell somebody and the row of the outbox: cooldowns, digests, texts that are gathered.
const GATHERED: Duration = Duration::from_secs(1200);
/// A call that Twilio took so long after it was filed has waited; answers take up to three seconds.
const WAITED: Duration = Duration::from_secs(5);
/// A bare PIN says nothing when another event was told or ended so short a time ago.
const LATELY: Duration = Duration::from_secs(300);

/// A text or call that Twilio took.
#[derive(Clone, Debug)]
struct Told {
    row: u64,
    sid: String,
    number: String,
    alarm: String,
    code: String,
    event: Uuid,
    at: Timestamp,
}

/// A message of alarms that counts on a budget.
#[derive(Clone, Copy, Debug)]
struct Spent {
    at: Timestamp,
    /// Its row was filed then; the pace of critical beyond the budget is that of filing.
    filed: Timestamp,
    row: u64,
    critical: bool,
}

#[derive(Default)]
pub struct Oracle {
    journal: usize,
    audit: usize,
    messages: usize,
    calls: usize,
    before: Timestamp,
    /// When the clock was set forward: what was decided before it comes long after.
    jumped: Option<Timestamp>,
    asked: HashMap<RequestId, (Timestamp, Command)>,
    /// By alarm, until then; as people were promised.
    shelved: HashMap<String, Timestamp>,
    /// Events by alarm, in the order of their raising.
    raised: HashMap<String, Vec<Uuid>>,
    /// Events of which somebody was promised that they are acknowledged.
    promised: HashSet<Uuid>,
    /// Events that are no longer open, and since when.
    closed: HashMap<Uuid, Timestamp>,
    told: Vec<Told>,
    /// Told of as one of more.
    counted: HashSet<(String, String, String)>,
    spent: HashMap<(String, Channel), Vec<Spent>>,
    /// Number and alarm: why not, by the audit log.
    excused: HashMap<(String, String), Vec<(Timestamp, String)>>,
    /// (user, covers, from, until)
    covers: Vec<(String, String, Timestamp, Timestamp)>,
}

type Result<T = ()> = std::result::Result<T, String>;

impl Oracle {
    /// Somebody asks for something now.
    pub fn asks(&mut self, now: Timestamp, request: RequestId, command: Command) {
        match &command {
            // Whether it is done is open until it is answered, and an answer may be lost.
            Command::Shelve { alarm, .. } => _ = self.shelved.remove(&**alarm),
            Command::SetOverride(cover) => {
                self.covers.push((cover.user.clone(), cover.covers.clone(), cover.from, cover.until));
            }
            _ => {}
        }
        self.asked.insert(request, (now, command));
    }

    /// The clock was set forward.
    pub fn jumps(&mut self, now: Timestamp) {
        self.jumped = Some(now);
    }

    /// After each step.
    pub fn look(&mut self, rig: &mut Rig, plant: &Plant) -> Result {
        if rig.now < self.before {
            self.set_back(rig.now);
        }
        self.before = rig.now;
        // A removed alarm takes its shelving along; where it has no event the journal has no word of it.
        self.shelved.retain(|alarm, _| rig.plan.alarm(alarm).is_some());
        // Whoever was answered was answered before anything else of that step was done.
        self.answers(rig);
        self.messages(rig, plant)?;
        self.journal(rig)?;
        self.audit(rig)
    }

    /// A clock that was set back: nothing counts from the future.
    fn set_back(&mut self, now: Timestamp) {
        self.spent.clear();
        let before = self.before;
        self.shelved.retain(|_, until| *until > before);
        self.closed.values_mut().for_each(|at| *at = (*at).min(now));
    }

    fn answers(&mut self, rig: &mut Rig) {
        for (request, outcome) in rig.answers.drain() {
            let Some((at, command)) = self.asked.remove(&request).filter(|_| outcome.status.is_good()) else { continue };
            match command {
                Command::Acknowledge { alarm, .. } => {
                    self.promised.extend(self.raised.get(&*alarm).into_iter().flatten());
                }
                // (The answer waits for the commit, the shelving does not.)
                Command::Shelve { alarm, minutes, .. } => {
                    self.shelved.insert(alarm.to_string(), at + Duration::from_secs_f64(minutes * 60.0));
                }
                _ => {}
            }
        }
    }

    fn messages(&mut self, rig: &Rig, plant: &Plant) -> Result {
        let texts = rig.world.messages[self.messages..].iter();
        let calls = rig.world.calls[self.calls..].iter();
        let texts = texts.map(|text| (text.row.0, &text.to, Channel::Sms, &text.sid));
        let calls = calls.filter_map(|call| Some((call.row?.0, &call.number, Channel::Voice, &call.sid)));
        for (row, number, channel, sid) in texts.chain(calls) {
            let Some(stored) = rig.watch.store.get(&(StateKind::Outbox, row.to_string())) else { continue };
            let text = &stored["job"]["Text"];
            let purpose = &text["purpose"]["Alarm"];
            let items = purpose["items"].as_array().cloned().unwrap_or_default();
            if items.is_empty() {
                continue;
            }
            for item in &items {
                self.message(rig, row, sid, number, item)?;
            }
            let name = user(number);
            let created: Timestamp = serde_json::from_value(stored["created"].clone()).map_err(|error| error.to_string())?;
            // An override may be shorter than any of these spans.
            let stood_in =
                self.covers.iter().any(|(user, _, from, until)| *user == name && *from <= created && created - GATHERED < *until);
            let on_duty = stood_in
                || [Duration::ZERO, GATHERED / 4, GATHERED / 2, GATHERED].into_iter().any(|span| on_duty(name, created - span));
            let lately = |jumped: Timestamp| [rig.now, created].iter().any(|at| *at >= jumped && at.since(jumped) < GATHERED);
            let jumped = self.jumped.is_some_and(lately);
            if !on_duty && !jumped {
                return Err(format!("{name} is off duty and was told: {text}"));
            }
            let critical = |item: &Json| {
                let def = item["alarm"].as_str().and_then(|path| rig.plan.alarm(path));
                def.is_some_and(|def| def.priority == Priority::Critical)
            };
            // A call that an alarm of the other kind has joined may be of either share: the oracle charges it to neither. While it
            // waited for Twilio, one that is gone again may have been in it.
            let mixed = items.iter().any(critical) && !items.iter().all(critical);
            let of_either = channel == Channel::Voice && (mixed || rig.now.since(created) > WAITED);
            if !of_either {
                let critical = purpose["priority"] == "critical";
                self.spend(name, channel, Spent { at: rig.now, filed: created, row, critical }, plant)?;
            }
        }
        (self.messages, self.calls) = (rig.world.messages.len(), rig.world.calls.len());
        Ok(())
    }

    fn message(&mut self, rig: &Rig, row: u64, sid: &str, number: &str, item: &Json) -> Result {
        let [alarm, code, event] = ["alarm", "code", "event"].map(|key| item[key].as_str().unwrap_or_default().to_owned());
        // The end of an alarm is told by `clear_pipeline` and `ack_pipeline`.
        if alarm.contains("//") {
            return Ok(());
        }
        let event: Uuid = event.parse().map_err(|_| format!("no event: {item}"))?;
        if self.promised.contains(&event) {
            return Err(format!("{alarm} was acknowledged, its user was told so, and {number} is told of it"));
        }
        if self.shelved.get(&alarm).is_some_and(|until| *until > rig.now) {
            return Err(format!("{alarm} is shelved, and {number} is told of it"));
        }
        if item["named"] == false {
            self.counted.insert((number.to_owned(), alarm, code));
        } else {
            self.told.push(Told { row, sid: sid.to_owned(), number: number.to_owned(), alarm, code, event, at: rig.now });
        }
        Ok(())
    }

    /// Budgets are kept: half of one is for critical, which goes at most once a minute beyond its half.
    fn spend(&mut self, user: &str, channel: Channel, new: Spent, plant: &Plant) -> Result {
        let Some(limit) = plant.budget else { return Ok(()) };
        let spent = self.spent.entry((user.to_owned(), channel)).or_default();
        spent.retain(|old| new.at.since(old.at) < HOUR);
        // A row that was sent twice (as a marked duplicate) is one message.
        if spent.iter().any(|old| old.row == new.row) {
            return Ok(());
        }
        let share = usize::try_from(limit / 2).unwrap();
        // What was filed later, and taken sooner, was judged with this one in mind.
        let alike = spent.iter().filter(|old| old.critical == new.critical && old.filed <= new.filed).count();
        let last = spent.iter().filter(|old| old.critical && old.filed <= new.filed).map(|old| old.filed).max();
        spent.push(new);
        let paced = last.is_none_or(|last| new.filed.since(last) >= Duration::from_secs(55));
        let kept = alike < share || new.critical && paced;
        if kept { Ok(()) } else { Err(format!("{user} got more than the budget of {limit}: {spent:?}")) }
    }

    fn journal(&mut self, rig: &Rig) -> Result {
        let mut acknowledged = Vec::new();
        for entry in &rig.watch.journal[self.journal..] {
            if entry.kind == JournalKind::Removed {
                for event in self.raised.get(&*entry.alarm).into_iter().flatten() {
                    self.closed.entry(*event).or_insert(entry.time);
                }
            }
            let Some(event) = entry.event else { continue };
            match entry.kind {
                JournalKind::Raised => self.raised.entry(entry.alarm.to_string()).or_default().push(event),
                JournalKind::Acknowledged => {
                    acknowledged.push(entry.alarm.to_string());
                    // With it those before it.
                    let raised = self.raised.get(&*entry.alarm).map(Vec::as_slice).unwrap_or_default();
                    let last = raised.iter().position(|raised| *raised == event).map_or(0, |place| place + 1);
                    // One that ended before has ended then.
                    for event in raised[..last].iter().chain([&event]) {
                        self.closed.entry(*event).or_insert(entry.time);
                    }
                }
                _ => {}
            }
        }
        self.journal = rig.watch.journal.len();
        self.bare_pin(rig, acknowledged)
    }

    /// A bare PIN acknowledges only what cannot be mistaken.
    fn bare_pin(&self, rig: &Rig, mut alarms: Vec<String>) -> Result {
        let Some(heard) = &rig.heard else { return Ok(()) };
        let bare = PEOPLE.iter().any(|(_, number, pin, _)| *number == heard.from && *pin == heard.body.trim());
        if !bare || alarms.is_empty() {
            return Ok(());
        }
        alarms.sort();
        alarms.dedup();
        let [alarm] = alarms.as_slice() else { return Err(format!("a bare PIN acknowledged {alarms:?}")) };
        // By what the program can know: the answer to a request may be under way or lost, and is then found later.
        let known = |told: &&Told| {
            let row = rig.watch.store.get(&(StateKind::Outbox, told.row.to_string()));
            let at_once = |text: &Json| text["state"].get("Accepted").is_some() && text["attempts"] == 1;
            // (After the clock was set back what was told lies ahead, and a reply that comes before it does not mean it.)
            told.at <= rig.now && told.sid.starts_with("SM") && row.is_some_and(|row| at_once(&row["job"]["Text"]))
        };
        let to_phone = || self.told.iter().filter(|told| told.number == heard.from).filter(known);
        let told_of = self.told.iter().any(|told| told.number == heard.from && told.alarm == *alarm);
        // (A call to us tells of what is open, too.)
        if !told_of && !rig.world.calls.iter().any(|call| call.number == heard.from) {
            return Err(format!("a bare PIN acknowledged {alarm}, of which {} was not told", heard.from));
        }
        let lately = |told: &&Told| match self.closed.get(&told.event) {
            None => true,
            Some(at) => rig.now.since(*at) < LATELY || rig.now.since(told.at) < LATELY,
        };
        match to_phone().filter(|told| told.alarm != *alarm).find(lately) {
            Some(other) => Err(format!("a bare PIN acknowledged {alarm} while {other:?} could be meant")),
            None => Ok(()),
        }
    }

    fn audit(&mut self, rig: &Rig) -> Result {
        for entry in &rig.watch.audit[self.audit..] {
            let excuse = match entry.kind {
                AuditKind::MessageNotSent => entry.result.clone(),
                AuditKind::MessageFailed | AuditKind::CallFailed => "failed".to_owned(),
                _ => continue,
            };
            let at = entry.time;
            // (Whoever stands in for somebody without a shift is passed over in that place too.)
            if excuse == "off duty" && on_duty(&entry.user, at) && !self.stands_in(&entry.user, at) {
                return Err(format!("{} is on duty and was passed over as off duty: {entry:?}", entry.user));
            }
            if excuse == "covered"
                && !self.covers.iter().any(|(_, covers, from, until)| *covers == entry.user && *from <= at && at < *until)
            {
                return Err(format!("nobody stands in for {}: {entry:?}", entry.user));
            }
            let number = PEOPLE.iter().find(|(name, ..)| *name == entry.user).map_or(entry.subject.as_str(), |person| person.1);
            // An entry names its alarm, or its events.
            let named = entry.text.split(" by ").next().unwrap_or_default().to_owned();
            let events = entry.events.iter().filter_map(|event| {
                self.raised.iter().find(|(_, events)| events.contains(event)).map(|(alarm, _)| alarm.clone())
            });
            for alarm in events.chain([named]) {
                self.excused.entry((number.to_owned(), alarm)).or_default().push((at, excuse.clone()));
            }
        }
        self.audit = rig.watch.audit.len();
        Ok(())
    }

    /// By an override.
    fn stands_in(&self, user: &str, at: Timestamp) -> bool {
        self.covers.iter().any(|(name, _, from, until)| name == user && *from <= at && at < *until)
    }

    /// Once faults have stopped and time has passed: whoever stands in the last steps of the pipeline of an alarm that is still
    /// active and unacknowledged was told, or there is a good reason.
    pub fn everybody_was_told(&self, rig: &Rig) -> Result {
        let plan = &rig.plan;
        let engine = rig.engine().ok_or("nothing runs")?;
        for view in engine.alarm_views() {
            let Some(def) = plan.alarm(&view.path) else { continue };
            let Some(pipeline) = def.pipeline.as_ref().and_then(|name| plan.pipelines.get(name)) else { continue };
            let silent = view.shelved_until.is_some() || view.suppressed || view.out_of_service;
            // One that was raised and cleared in silence is told to nobody.
            if silent || view.state != "ActiveUnacked" || rig.now.since(view.active_time) < HOUR {
                continue;
            }
            let code = view.code.clone().ok_or_else(|| format!("{} is open and has no run: {view:?}", view.path))?;
            let net = pipeline.steps.iter().position(|step| step.name.as_deref() == Some("net")).unwrap_or_default();
            for step in &pipeline.steps[net..] {
                let Action::Notify(notify) = &step.action else { continue };
                for name in plan.rosters.get(&notify.roster).into_iter().flatten() {
                    self.was_told(rig, name, &view.path, &code, view.priority == Priority::Critical)?;
                }
            }
        }
        Ok(())
    }

    fn was_told(&self, rig: &Rig, name: &str, alarm: &str, code: &str, critical: bool) -> Result {
        let number = &rig.plan.users[name].contacts[0].number;
        let named = self.told.iter().any(|told| told.number == *number && told.alarm == alarm && told.code == code);
        let key = (number.clone(), alarm.to_owned(), code.to_owned());
        if named || self.counted.contains(&key) || heard(rig, number, alarm) {
            return Ok(());
        }
        let opted_out = rig.watch.audit.iter().any(|entry| entry.subject == *number && entry.kind == AuditKind::OptOut);
        let reasons = self.excused.get(&(number.clone(), alarm.to_owned()));
        let good = |reason: &str| match reason {
            "off duty" | "covered" | "opted out" | "failed" => true,
            "budget" | "flood" | "chattering" => !critical,
            // A cooldown holds repeats back, never a first text.
            _ => false,
        };
        let excused = reasons.into_iter().flatten().any(|(_, reason)| good(reason));
        // (Whoever stands in and is told anyway is told once, and nothing is said of the place.)
        let covered = self.covers.iter().any(|(_, covers, ..)| covers == name);
        if opted_out || excused || covered {
            return Ok(());
        }
        let run = rig.watch.store.get(&(StateKind::Run, alarm.to_owned()));
        let story: Vec<_> = rig.watch.journal.iter().filter(|entry| *entry.alarm == *alarm).collect();
        Err(format!(
            "{name} was never told of {alarm} #{code} (critical: {critical}), excuses {reasons:?}\nits run: {run:?}\nits story: {story:#?}"
        ))
    }

    /// The ledger, the counters, and what Twilio has taken agree; minutes are those that were talked.
    pub fn figures_agree(rig: &Rig) -> Result {
        let figure = |name: &str| {
            let count = rig.watch.store.get(&(StateKind::Counter, name.to_owned()));
            count.map_or(0, |count| count["value"].as_i64().unwrap_or_default())
        };
        let of = |channel: Channel, sent: bool| {
            let rows = rig.watch.ledger.iter().filter(move |((_, was), entry)| *was == sent && entry.channel == channel);
            rows.map(|(_, entry)| entry)
        };
        for (column, channel, sent) in [
            ("MessagesSent", Channel::Sms, true),
            ("MessagesReceived", Channel::Sms, false),
            ("CallsSent", Channel::Voice, true),
            ("CallsReceived", Channel::Voice, false),
        ] {
            let mut users: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
            for entry in of(channel, sent) {
                let count = users.entry(entry.user.as_deref().ok_or("nobody's")?).or_default();
                *count = (count.0 + 1, count.1 + i64::from(entry.minutes));
            }
            same(column, figure(&format!("Twilio/{column}")), users.values().map(|count| count.0).sum())?;
            for (user, (count, minutes)) in users {
                same(&format!("{column} of {user}"), figure(&format!("Twilio/Users/{user}/{column}")), count)?;
                if let Some(rest) = column.strip_prefix("Calls") {
                    let name = format!("Twilio/Users/{user}/CallMinutes{rest}");
                    same(&name, figure(&name), minutes)?;
                }
            }
        }
        let unknown = |text: &&Message| !rig.watch.ledger.contains_key(&(text.sid.clone(), true));
        let unknown: Vec<_> = rig.world.messages.iter().filter(unknown).collect();
        same("texts that Twilio has taken", figure("Twilio/MessagesSent"), i64::try_from(rig.world.messages.len()).unwrap())
            .map_err(|words| format!("{words}; not in the ledger: {unknown:?}"))?;
        let placed = rig.world.calls.iter().filter(|call| call.row.is_some());
        same("calls that Twilio has taken", figure("Twilio/CallsSent"), i64::try_from(placed.clone().count()).unwrap())?;
        let minutes = placed.filter(|call| call.ended.is_some()).map(|call| i64::from(call.seconds().div_ceil(60))).sum();
        same("minutes of calls", figure("Twilio/CallMinutesSent"), minutes)
    }

    /// Nothing about the plant is said before a PIN.
    pub fn calls_ask_first(rig: &Rig) -> Result {
        for call in &rig.world.calls {
            let pin = PEOPLE.iter().find(|(_, number, ..)| *number == call.number).map_or("", |person| person.2);
            let keyed = call.pressed.iter().find(|(_, keys)| keys == pin).map_or(call.said.len(), |(said, _)| *said);
            if let Some(words) = call.said[..keyed].iter().find(|words| words.contains("Alarms")) {
                return Err(format!("a call says {words:?} before a PIN: {call:?}"));
            }
        }
        Ok(())
    }
}

/// A call has spoken of the alarm since its pipeline began: one that was placed for another alarm takes it along.
fn heard(rig: &Rig, number: &str, alarm: &str) -> bool {
    let began = rig.watch.journal.iter().rev().find(|entry| *entry.alarm == *alarm && entry.kind == JournalKind::PipelineStarted);
    let words = format!("{}.", alarm.replace('/', ", "));
    let mut calls = rig.world.calls.iter().filter(|call| call.number == number);
    began.is_some_and(|began| calls.any(|call| call.ended.is_none_or(|ended| ended >= began.time) && call.said.contains(&words)))
}

fn same(what: &str, found: i64, expected: i64) -> Result {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found} is not {expected}")) }
}

fn user(number: &str) -> &'static str {
    PEOPLE.iter().find(|person| person.1 == number).map_or("nobody", |person| person.0)
}

/// Duty from first principles: hours of the day by London's wall clock.
fn on_duty(name: &str, at: Timestamp) -> bool {
    let Some((from, to)) = PEOPLE.iter().find(|person| person.0 == name).and_then(|person| person.3) else { return true };
    let seconds = at.unix_millis().div_euclid(1000) + if is_summer(at) { 3600 } else { 0 };
    let hour = u8::try_from(seconds.rem_euclid(86_400) / 3600).unwrap();
    if from < to { (from..to).contains(&hour) } else { hour >= from || hour < to }
}

/// British Summer Time: from the last Sunday of March, 01:00 UTC, to that of October (Summer Time Order 2002).
fn is_summer(at: Timestamp) -> bool {
    let second = at.unix_millis().div_euclid(1000);
    // Days since 1970-01-01, a Thursday, to the civil date (H. Hinnant, "chrono-compatible low-level date algorithms").
    let days = second.div_euclid(86_400);
    let z = days + 719_468;
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let weekday = (days + 4).rem_euclid(7);
    // The last Sunday is today or has passed.
    let begun = |day: i64| {
        let last_sunday_from = 25;
        let sunday = day - weekday;
        if weekday == 0 && day >= last_sunday_from { second.rem_euclid(86_400) >= 3600 } else { sunday >= last_sunday_from }
    };
    match month {
        4..=9 => true,
        3 => begun(day),
        10 => !begun(day),
        _ => false,
    }
}

#[test]
fn summer_begins_and_ends_at_one_o_clock() {
    for (time, summer) in [
        ("2026-03-29T00:59:59Z", false),
        ("2026-03-29T01:00:00Z", true),
        ("2026-03-31T12:00:00Z", true),
        ("2026-03-25T12:00:00Z", false),
        ("2026-10-25T00:59:59Z", true),
        ("2026-10-25T01:00:00Z", false),
        ("2026-10-31T12:00:00Z", false),
        ("2026-10-24T12:00:00Z", true),
        ("2026-07-01T12:00:00Z", true),
        ("2026-01-05T08:00:00Z", false),
    ] {
        let at: Timestamp = time.parse::<jiff::Timestamp>().unwrap().into();
        assert_eq!(is_summer(at), summer, "{time}");
    }
    let at = |time: &str| -> Timestamp { time.parse::<jiff::Timestamp>().unwrap().into() };
    assert!(on_duty("bob", at("2026-07-01T04:59:00Z")) && !on_duty("bob", at("2026-07-01T05:00:00Z")));
}
