//! The alarms as conditions (OPC 10000-9): what their members hold, which are retained, and what a method on them does.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::events::{Event, Field};

/// The conditions as the server shows them.
#[derive(Debug, Default)]
pub struct Conditions {
    all: RwLock<BTreeMap<Arc<str>, Vec<Arc<Event>>>>,
}

impl Conditions {
    /// The member of the condition `alarm` at a browse path such as `ActiveState/Id`; `None` when it has no such member.
    #[must_use]
    pub fn member(&self, alarm: &str, path: &str) -> Option<Field> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(alarm)?.first()?.field(path).cloned()
    }

    /// The last notification of every retained condition and branch, as ConditionRefresh sends them again (Part 9, 5.5.7): with the
    /// EventIds that they had.
    #[must_use]
    pub fn retained(&self) -> Vec<Arc<Event>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }
}
