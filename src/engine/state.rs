//! The engine's state in and out of the store, and from one configuration to the next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};

use super::{
    Dirty, Engine, Slot, Timer,
    alarm::Alarm,
    counters::Counters,
    detect::Detector,
    io::{Effects, OutboxId},
    outbox::{Outbox, Row},
    plan::{AlarmDef, Plan},
    publish::{Alarming, Shown},
    random::Random,
    record::{JournalKind, NotSent, Record, StateKind, StateRow, Stored},
    timers::Timers,
    values::{Index, Values},
};
use crate::tag::Timestamp;

impl Engine {
    /// An engine for `plan` with what the store holds (nothing at the very first start). `entropy` comes from the system.
    /// What was under way is resumed: its effects and records stand in `out`. Rows that cannot be read are reported, not lost.
    pub fn restore(plan: Arc<Plan>, rows: Vec<StateRow>, entropy: u64, now: Timestamp, out: &mut Effects) -> (Self, Vec<String>) {
        let first_start = rows.is_empty();
        let mut problems = Vec::new();
        let mut engine = Self::empty(plan, entropy, now);
        let mut alarms: HashMap<String, Alarm> = HashMap::new();
        for row in rows {
            engine.restore_row(row, &mut alarms, &mut problems);
        }
        engine.random.stir(entropy);
        engine.dirty.engine = true;
        engine.seat_alarms(alarms, first_start);
        engine.resume_conditions();
        engine.allocate_user_ids();
        engine.resume_outbox();
        engine.resume_calls();
        engine.resume_runs();
        for twilio in engine.plan.twilio.keys().cloned().collect::<Vec<_>>() {
            engine.dirty.senders.insert(twilio);
        }
        engine.start_showing();
        engine.finish(out);
        (engine, problems)
    }

    fn empty(plan: Arc<Plan>, seed: u64, now: Timestamp) -> Self {
        Self {
            index: Index::new(&plan),
            plan,
            now,
            random: Random::new(seed),
            values: Values::default(),
            sources: BTreeMap::new(),
            alarms: Vec::new(),
            runs: BTreeMap::new(),
            script_runs: 0,
            outbox: Outbox::default(),
            write_backs: BTreeMap::new(),
            write_targets: HashMap::new(),
            unconfirmed: BTreeSet::new(),
            contacts: BTreeMap::new(),
            overrides: BTreeMap::new(),
            next_override: 1,
            drills: super::drill::Drills::default(),
            cooldowns: BTreeMap::new(),
            codes: BTreeMap::new(),
            batches: HashMap::new(),
            paces: HashMap::new(),
            budgets: BTreeMap::new(),
            floods: BTreeMap::new(),
            counters: Counters::default(),
            user_ids: BTreeMap::new(),
            inbound_seen: BTreeMap::new(),
            calls: BTreeMap::new(),
            twilio_failed: BTreeMap::new(),
            unreached: BTreeSet::new(),
            day_segments: super::reach::DaySegments::default(),
            events: super::events::Events::default(),
            wording_noted: BTreeSet::new(),
            alarming: Alarming::default(),
            shown_depth: 0,
            timers: Timers::default(),
            dirty: Dirty::default(),
            effects: Vec::new(),
            records: Vec::new(),
        }
    }

    fn restore_row(&mut self, row: StateRow, alarms: &mut HashMap<String, Alarm>, problems: &mut Vec<String>) {
        let StateRow { kind, key, value } = row;
        let read = match kind {
            StateKind::Alarm => put(value).map(|alarm| _ = alarms.insert(key.clone(), alarm)),
            StateKind::Run => put(value).map(|run| _ = self.runs.insert(key.as_str().into(), run)),
            StateKind::Outbox => put::<Row>(value).and_then(|row| {
                let id = OutboxId(key.parse::<u64>().map_err(|error| error.to_string())?);
                self.outbox.next = self.outbox.next.max(id.0);
                self.outbox.rows.insert(id, row);
                Ok(())
            }),
            StateKind::Counter => put(value).map(|count| _ = self.counters.values.insert(key.clone(), count)),
            StateKind::Cooldown => put(value).map(|until| {
                self.timers.set(&Timer::Cooldown(key.clone()), Some(until));
                self.cooldowns.insert(key.clone(), until);
            }),
            StateKind::Contact => put(value).map(|contact| _ = self.contacts.insert(key.clone(), contact)),
            StateKind::Code => put(value).map(|free| {
                self.timers.set(&Timer::Code(key.clone()), Some(free));
                self.codes.insert(key.clone(), free);
            }),
            StateKind::Traits => self.events.restore(&key, value),
            StateKind::Engine => self.restore_own(&value),
            StateKind::User => put(value).map(|id| _ = self.user_ids.insert(key.clone(), id)),
            StateKind::Inbound => put(value).map(|seen| {
                self.timers.set(&Timer::Inbound(key.clone()), Some(seen + super::inbound::INBOUND_KEEP));
                self.inbound_seen.insert(key.clone(), seen);
            }),
            StateKind::Override => put(value).and_then(|cover| {
                self.restore_override(key.parse::<u64>().map_err(|error| error.to_string())?, cover);
                Ok(())
            }),
            StateKind::Throttle => self.restore_throttle(&key, value),
            // Memory tags are the daemon's: their values come back as samples.
            StateKind::Call => put(value).map(|session| _ = self.calls.insert(key.clone(), session)),
            StateKind::Retained => Ok(()),
        };
        if let Err(reason) = read {
            problems.push(format!("stored {} {key:?} cannot be read: {reason}", kind.table()));
        }
    }

    fn restore_own(&mut self, value: &Json) -> Result<(), String> {
        self.random = put(value["random"].clone())?;
        self.outbox.next = self.outbox.next.max(value["next_row"].as_u64().unwrap_or(0));
        self.next_override = self.next_override.max(value["next_override"].as_u64().unwrap_or(1));
        self.drills = put(value["drills"].clone()).unwrap_or_default();
        self.counters.dataset_version =
            value["dataset_version"].as_u64().and_then(|version| u32::try_from(version).ok()).unwrap_or(0);
        self.unconfirmed = put(value["unconfirmed"].clone()).unwrap_or_default();
        self.day_segments = put(value["day_segments"].clone()).unwrap_or_default();
        Ok(())
    }

    /// Gives every alarm of the plan its place; those that are gone end their event.
    fn seat_alarms(&mut self, mut stored: HashMap<String, Alarm>, first_start: bool) {
        self.alarms = self
            .plan
            .alarms
            .iter()
            .map(|def| {
                let alarm = stored.remove(&*def.path);
                let new = alarm.is_none();
                slot(alarm.unwrap_or_default(), first_start && new)
            })
            .collect();
        for (path, alarm) in stored {
            self.remove_alarm(&path.into(), &alarm);
        }
        for index in 0..self.alarms.len() {
            self.set_alarm_timer(index);
        }
    }

    /// A removed alarm ends its event, cancels its texts and finishes its pulses (SPEC 2).
    fn remove_alarm(&mut self, path: &Arc<str>, alarm: &Alarm) {
        if let Some(event) = alarm.newest() {
            self.effects_record(Record::Journal(super::JournalEntry {
                time: self.now,
                alarm: Arc::clone(path),
                event: Some(event.id),
                kind: JournalKind::Removed,
                priority: super::plan::Priority::default(),
                value: String::new(),
                user: String::new(),
                via: None,
                text: "no longer configured".to_owned(),
                data: BTreeMap::new(),
            }));
        }
        self.effects_record(Record::State { kind: StateKind::Alarm, key: path.to_string(), value: None });
        self.give_up_write_backs(path, "the alarm was removed");
        self.remember_told(path);
        let rows = self.runs.remove(path).map(|run| run.rows).unwrap_or_default();
        for row in rows {
            if !self.still_needed(row) {
                self.cancel(row, NotSent::Removed);
                self.dismiss_call(row);
            }
        }
        self.forget_follow_ups(path);
        self.unconfirmed.remove(path);
        self.mark_run(path);
    }

    /// A new configuration: what is configured in both goes on as it is.
    pub(super) fn change_plan(&mut self, plan: Arc<Plan>) {
        let old = std::mem::replace(&mut self.plan, plan);
        self.index = Index::new(&self.plan);
        self.wording_noted.clear();
        self.timers.retain(|timer| !matches!(timer, Timer::Alarm(_)));
        self.dirty.alarms.clear();
        let slots = std::mem::take(&mut self.alarms);
        let mut old_slots: HashMap<Arc<str>, (Arc<AlarmDef>, Slot)> =
            old.alarms.iter().zip(slots).map(|(def, slot)| (Arc::clone(&def.path), (Arc::clone(def), slot))).collect();
        let defs = self.plan.alarms.clone();
        for def in &defs {
            let (slot, redefined) = match old_slots.remove(&def.path) {
                Some((old, slot)) => (slot, format!("{:?}", old.mode) != format!("{:?}", def.mode)),
                None => (slot(Alarm::default(), false), false),
            };
            self.alarms.push(slot);
            if redefined && let Some(slot) = self.alarms.last_mut() {
                slot.detector.redefined();
            }
        }
        for (path, (_, mut slot)) in old_slots {
            self.remove_alarm(&path, &slot.alarm);
            self.forget_condition(&mut slot);
        }
        for index in 0..self.alarms.len() {
            self.set_alarm_timer(index);
            self.dirty.alarms.insert(index);
            if self.alarms[index].told.is_some() {
                self.tell(index);
            }
        }
        self.sources.retain(|source, _| self.plan.sources.iter().any(|def| def.name == *source));
        self.allocate_user_ids();
        self.review_floods();
        self.reevaluate();
        for path in self.runs.keys().cloned().collect::<Vec<_>>() {
            self.relocate(&path);
            self.dirty.paths.insert(path);
        }
        self.start_showing();
    }

    fn start_showing(&mut self) {
        self.alarming = Alarming::default();
        for index in 0..self.alarms.len() {
            self.alarms[index].shown = Shown::default();
            self.dirty.alarms.insert(index);
        }
        self.publish_all_counters();
        self.shown_depth = usize::MAX;
        self.show_unconfirmed();
        self.watch_contacts();
        self.resume_drill();
        self.alarming.raised_again();
    }

    /// Turns what the step has changed into records.
    pub(super) fn flush(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for index in dirty.alarms {
            let (def, slot) = (&self.plan.alarms[index], &self.alarms[index]);
            // An alarm that never was active and is not silenced has nothing to remember.
            if slot.alarm != Alarm::default() || slot.stored {
                let record = set(StateKind::Alarm, &def.path, Some(&slot.alarm));
                self.records.push(record);
                self.alarms[index].stored = true;
            }
        }
        for path in dirty.runs {
            let record = set(StateKind::Run, &path, self.runs.get(&path));
            self.records.push(record);
        }
        for id in dirty.rows {
            let record = set(StateKind::Outbox, &id.0.to_string(), self.outbox.rows.get(&id));
            self.records.push(record);
        }
        for number in dirty.contacts {
            let record = set(StateKind::Contact, &number, self.contacts.get(&number));
            self.records.push(record);
        }
        for key in dirty.cooldowns {
            let record = set(StateKind::Cooldown, &key, self.cooldowns.get(&key));
            self.records.push(record);
        }
        for row in dirty.throttle {
            let record = self.throttle_record(&row);
            self.records.push(record);
        }
        for code in dirty.codes {
            let record = set(StateKind::Code, &code, self.codes.get(&code));
            self.records.push(record);
        }
        for sid in dirty.calls {
            let record = set(StateKind::Call, &sid, self.calls.get(&sid));
            self.records.push(record);
        }
        for sid in dirty.inbound {
            let record = set(StateKind::Inbound, &sid, self.inbound_seen.get(&sid));
            self.records.push(record);
        }
        for number in dirty.overrides {
            let record = set(StateKind::Override, &number.to_string(), self.overrides.get(&number));
            self.records.push(record);
        }
        let events = self.events.changes();
        self.records.extend(events);
        if dirty.engine {
            let own = json!({
                "random": self.random,
                "next_row": self.outbox.next,
                "next_override": self.next_override,
                "drills": self.drills,
                "dataset_version": self.counters.dataset_version,
                "unconfirmed": self.unconfirmed,
                "day_segments": self.day_segments,
            });
            self.records.push(Record::State { kind: StateKind::Engine, key: "engine".to_owned(), value: Some(Stored::of(&own)) });
        }
    }
}

fn slot(alarm: Alarm, first_start: bool) -> Slot {
    let stored = alarm != Alarm::default();
    let detector = Detector::new(alarm.state().is_active(), first_start);
    Slot { alarm, detector, shown: Shown::default(), stored, told: None }
}

pub(super) fn put<T: DeserializeOwned>(value: Json) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

pub(super) fn set<T: Serialize>(kind: StateKind, key: &str, value: Option<&T>) -> Record {
    Record::State { kind, key: key.to_owned(), value: value.map(Stored::of) }
}
