//! What must hold at each step, whatever happens: checked on the committed rows and on the effects, from outside of the engine.
//!
//! Records stand first; nothing is sent or written without a committed row of its own; no text names what was acknowledged, has
//! ended or is silenced; only writable tags are written, and a retry writes the same value; nothing is sent again that Twilio's
//! list can show; no code is given and no SID is counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use serde_json::Value as Json;

use crate::{
    engine::{
        Engine,
        io::{OutboxId, Outgoing},
        plan::Channel,
        record::{AuditEntry, Direction, JournalEntry, JournalKind, LedgerEntry, Record, StateKind},
        view::AlarmView,
    },
    tag::TagId,
};

/// A rule that was broken, for people.
pub type Broken = String;

/// What is committed, as the program's store would hold it, and the eye on it.
#[derive(Debug, Default)]
pub struct Watch {
    /// Rows of the engine's state.
    pub store: BTreeMap<(StateKind, String), Json>,
    /// Oldest first.
    pub journal: Vec<JournalEntry>,
    /// Oldest first.
    pub audit: Vec<AuditEntry>,
    /// By SID, and true for those sent.
    pub ledger: BTreeMap<(String, bool), LedgerEntry>,
    /// Number, alarm and code of what was sent.
    pub told: HashSet<(String, String, String)>,
    acknowledged: HashSet<uuid::Uuid>,
    codes: HashMap<String, (String, Json)>,
    written: HashMap<(OutboxId, TagId), BTreeSet<String>>,
}

impl Watch {
    /// Takes a record into the store.
    pub(super) fn commit(&mut self, record: Record) -> Result<(), Broken> {
        match record {
            Record::State { kind, key, value: Some(value) } => {
                let value = value.json();
                if kind == StateKind::Run {
                    let run = (key.clone(), value["started"].clone());
                    let code = value["code"].as_str().unwrap_or_default().to_owned();
                    if *self.codes.entry(code.clone()).or_insert_with(|| run.clone()) != run {
                        return Err(format!("code {code} is given twice"));
                    }
                }
                self.store.insert((kind, key), value);
            }
            Record::State { kind, key, value: None } => _ = self.store.remove(&(kind, key)),
            Record::Journal(entry) => {
                match (entry.kind, entry.event) {
                    (JournalKind::Acknowledged, Some(event)) => _ = self.acknowledged.insert(event),
                    (JournalKind::ReAlarmed, Some(event)) => _ = self.acknowledged.remove(&event),
                    _ => {}
                }
                self.journal.push(entry);
            }
            Record::Audit(entry) => self.audit.push(entry),
            Record::Ledger(entry) => match self.ledger.entry((entry.sid.clone(), entry.direction == Direction::Sent)) {
                // A finished call gets its minutes, once; else a SID is counted once.
                Entry::Occupied(mut place) => {
                    // (Told by a callback before its acceptance was known, it has that time and no row.)
                    let (old, row) = (place.get(), place.get().row.or(entry.row));
                    let same = LedgerEntry { minutes: entry.minutes, time: entry.time, row, segments: 0, ..old.clone() }
                        == LedgerEntry { row, segments: 0, ..entry.clone() };
                    let ends = entry.channel == Channel::Voice && old.minutes == 0 && entry.minutes > 0;
                    if !(same && ends) {
                        return Err(format!("the SID {} is counted twice: {old:?}, {entry:?}", entry.sid));
                    }
                    place.insert(entry);
                }
                Entry::Vacant(place) => _ = place.insert(entry),
            },
            // The daemon's, not the engine's.
            Record::HandedIn { .. } | Record::Answered { .. } => {}
        }
        Ok(())
    }

    /// A committed row of the outbox.
    pub(super) fn row(&self, row: OutboxId) -> Result<&Json, Broken> {
        let row = row.0.to_string();
        self.store.get(&(StateKind::Outbox, row.clone())).ok_or_else(|| format!("row {row} of the outbox is not committed"))
    }

    /// A message that is about to be sent; `sent` is true when Twilio's list shows an earlier one of that row.
    pub(super) fn sending(&mut self, engine: &Engine, message: &Outgoing, sent: &[&str]) -> Result<(), Broken> {
        let text = self.row(message.row)?["job"]["Text"].clone();
        if text["state"].get("Sending").is_none() {
            return Err(format!("sent without a committed attempt: {text}"));
        }
        if text["body"] != message.body.as_str() {
            return Err(format!("sent is not what was committed: {text}"));
        }
        // (Two rows with the same words to the same number may have found each other's SIDs.)
        let uncounted = |sid: &&&str| !self.ledger.contains_key(&((**sid).to_owned(), true));
        if sent.iter().any(|sid| uncounted(&sid)) && text["possible_duplicate"] != true {
            return Err(format!("sent twice although the list shows it: {text}"));
        }
        let items = text["purpose"]["Alarm"]["items"].as_array().cloned().unwrap_or_default();
        if items.is_empty() {
            return Ok(());
        }
        let views: HashMap<_, _> = engine.alarm_views().into_iter().map(|view| (view.path.to_string(), view)).collect();
        for item in items {
            if let Some((alarm, occasion)) = item["alarm"].as_str().unwrap_or_default().split_once("//") {
                self.telling_the_end(engine, message, alarm, occasion, &views)?;
                continue;
            }
            let [alarm, code, event] = ["alarm", "code", "event"].map(|key| item[key].as_str().unwrap_or_default().to_owned());
            let Some(view) = views.get(&alarm) else { return Err(format!("{alarm} is gone: {text}")) };
            let silent = view.shelved_until.is_some() || view.suppressed || view.out_of_service;
            let broken = if event.parse().is_ok_and(|event| self.acknowledged.contains(&event)) {
                "was acknowledged"
            } else if view.code.as_ref() != Some(&code) {
                "has ended"
            } else if silent {
                "is silenced"
            } else {
                self.told.insert((message.to.clone(), alarm, code));
                continue;
            };
            return Err(format!("{alarm} {broken}, and a message tells of it: {text}"));
        }
        Ok(())
    }

    /// A message that tells of the end of an alarm: only to somebody who was told of it, only while it is so, and with no code.
    fn telling_the_end(
        &self,
        engine: &Engine,
        message: &Outgoing,
        alarm: &str,
        occasion: &str,
        views: &HashMap<String, AlarmView>,
    ) -> Result<(), Broken> {
        let Some(view) = views.get(alarm) else { return Err(format!("{alarm} is gone: {}", message.body)) };
        let owner = |number: &str| engine.plan().user_by_number(number).map(|user| user.name.clone());
        let same = |number: &str| number == message.to || owner(number).is_some_and(|user| Some(user) == owner(&message.to));
        if !self.told.iter().any(|(number, of, _)| of == alarm && same(number)) {
            return Err(format!("the end of {alarm} is told to {}, who was not told of it", message.to));
        }
        let over = if occasion == "clear" { view.state.starts_with("Clear") } else { view.state.ends_with("Acked") };
        if !over {
            return Err(format!("the end of {alarm} is told, which is {}: {}", view.state, message.body));
        }
        match &view.code {
            Some(code) if message.body.contains(&format!("#{code}")) => {
                Err(format!("the end of {alarm} is told with a code: {}", message.body))
            }
            _ => Ok(()),
        }
    }

    /// A value that is about to be written: a pulse has two halves, anything else one value whatever is retried.
    pub(super) fn writing(&mut self, row: OutboxId, tag: TagId, path: &str, value: String) -> Result<(), Broken> {
        let most = if self.row(row)?["job"]["WriteBack"]["reset"].is_null() { 1 } else { 2 };
        let values = self.written.entry((row, tag)).or_default();
        values.insert(value);
        if values.len() > most { Err(format!("a retry writes another value to {path}: {values:?}")) } else { Ok(()) }
    }
}
