//! The alarms as others follow them: the last snapshot of each, and everybody who wants the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

use crate::engine::condition::Condition;

/// Changes that a follower may be behind; beyond it takes all snapshots again.
const BEHIND: usize = 8_192;

/// The last snapshots, and who follows them.
pub(super) struct Conditions {
    all: Mutex<HashMap<Arc<str>, Arc<Condition>>>,
    followers: broadcast::Sender<Arc<Condition>>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { all: Mutex::default(), followers: broadcast::Sender::new(BEHIND) }
    }
}

impl Conditions {
    /// Keeps and passes on a change.
    pub(super) fn tell(&self, condition: Arc<Condition>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if condition.removed {
            all.remove(&condition.alarm);
        } else {
            all.insert(Arc::clone(&condition.alarm), Arc::clone(&condition));
        }
        // Perhaps nobody follows.
        _ = self.followers.send(condition);
    }

    /// Every alarm that anything ever happened to.
    pub(super) fn all(&self) -> Vec<Arc<Condition>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<Condition>> {
        self.followers.subscribe()
    }
}
