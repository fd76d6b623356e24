//! Overrides made in operation: who stands in for whom, and until when (SPEC 7.2).
//!
//! What they do to a roster is `people`'s. Those of the configuration are the plan's and end with it; these are kept in the store
//! until they are removed or over.

use std::time::Duration;

use super::{
    Engine, Timer,
    io::{Actor, Outcome},
    plan::Cover,
    record::AuditKind,
};
use crate::tag::StatusCode;

/// Overrides that are kept at a time, those to come too.
const MAX_OVERRIDES: usize = 1000;
/// The longest time that one lasts.
const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);
/// The longest note, bytes.
const MAX_NOTE: usize = 2000;

impl Engine {
    /// The overrides that were made in operation and are not over, by number.
    #[must_use]
    pub fn overrides(&self) -> Vec<(u64, Cover)> {
        self.overrides.iter().map(|(number, cover)| (*number, cover.clone())).collect()
    }

    /// Makes an override; the answer's message says its number.
    pub(super) fn set_override(&mut self, cover: Cover, by: &Actor) -> Result<String, Outcome> {
        self.check_override(&cover)?;
        let number = self.next_override;
        self.next_override += 1;
        self.dirty.engine = true;
        self.dirty.overrides.insert(number);
        self.timers.set(&Timer::Override(number), Some(cover.until));
        self.audit_override(&cover, by, "set");
        self.overrides.insert(number, cover);
        self.watch_contacts();
        Ok(format!("override {number} is set"))
    }

    pub(super) fn remove_override(&mut self, number: u64, by: &Actor) -> Result<String, Outcome> {
        let unknown = || Outcome::refused(StatusCode::BAD_NOT_FOUND, format!("there is no override {number}"));
        let cover = self.overrides.remove(&number).ok_or_else(unknown)?;
        self.dirty.overrides.insert(number);
        self.timers.set(&Timer::Override(number), None);
        self.audit_override(&cover, by, "removed");
        self.watch_contacts();
        Ok(format!("override {number} is removed"))
    }

    /// It is over: forgotten, the audit log knows it.
    pub(super) fn override_over(&mut self, number: u64) {
        self.overrides.remove(&number);
        self.dirty.overrides.insert(number);
    }

    /// One of the store's.
    pub(super) fn restore_override(&mut self, number: u64, cover: Cover) {
        self.next_override = self.next_override.max(number + 1);
        self.timers.set(&Timer::Override(number), Some(cover.until));
        self.overrides.insert(number, cover);
    }

    fn check_override(&self, cover: &Cover) -> Result<(), Outcome> {
        let wrong = |words: String| Err(Outcome::refused(StatusCode::BAD_INVALID_ARGUMENT, words));
        for name in [&cover.user, &cover.covers] {
            if !self.plan.users.contains_key(name) {
                return wrong(format!("there is no user {name:?}"));
            }
        }
        if cover.user == cover.covers {
            return wrong("nobody covers for themselves".to_owned());
        }
        if cover.until <= cover.from || cover.until <= self.now {
            return wrong("an override ends after it begins, and after now".to_owned());
        }
        if cover.until.since(cover.from) > MAX_SPAN {
            return wrong("an override lasts at most 366 days".to_owned());
        }
        if cover.note.len() > MAX_NOTE {
            return wrong(format!("a note has at most {MAX_NOTE} bytes"));
        }
        if self.overrides.len() >= MAX_OVERRIDES {
            return Err(Outcome::refused(
                StatusCode::BAD_TOO_MANY_OPERATIONS,
                format!("there are {MAX_OVERRIDES} overrides: remove some"),
            ));
        }
        Ok(())
    }

    fn audit_override(&mut self, cover: &Cover, by: &Actor, result: &str) {
        let Cover { user, covers, from, until, note } = cover;
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        let text = format!("{user} covers {covers} from {from} to {until}{note}");
        self.audit(AuditKind::Override, &by.name, by.via, covers, text, result, Vec::new(), None);
    }
}
