//! What changed since somebody last looked: for the HTTP API, which keeps copies of alarms and messages and tells them on.
//!
//! Only names are kept here, noted as the engine's records pass by; whoever looks has the engine's task read the rest. So a look
//! costs the engine what changed, not what there is.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    engine::{
        Engine,
        io::OutboxId,
        record::{AuditKind, Record, StateKind},
    },
    serve::Changed,
};

/// Names that are kept; beyond it everything counts as changed.
const MAX_NOTED: usize = 50_000;

/// What was noted.
pub(super) struct Changes {
    noted: Mutex<Noted>,
    arrived: Notify,
}

/// Everything counts as changed while nobody has looked yet, so that nothing is kept for nobody.
#[derive(Default)]
struct Noted {
    looked: bool,
    alarms: HashSet<Arc<str>>,
    rows: HashSet<OutboxId>,
    calls: HashSet<String>,
    not_sent: usize,
    overrides: bool,
}

impl Noted {
    fn is_empty(&self) -> bool {
        let names = self.alarms.len() + self.rows.len() + self.calls.len();
        names == 0 && self.not_sent == 0 && !self.overrides
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self { noted: Mutex::default(), arrived: Notify::new() }
    }
}

impl Changes {
    /// Notes what a record is about.
    pub(super) fn note(&self, record: &Record) {
        match record {
            Record::State { kind, key, .. } => self.note_state(*kind, key),
            Record::Audit(entry) if entry.kind == AuditKind::MessageNotSent => self.note_not_sent(),
            _ => {}
        }
    }

    fn note_not_sent(&self) {
        let mut noted = self.lock();
        if noted.looked {
            noted.not_sent += 1;
        }
    }

    /// Notes that an entry of the state is another one now, or is gone.
    pub(super) fn note_state(&self, kind: StateKind, key: &str) {
        let mut noted = self.lock();
        if !noted.looked {
            return;
        }
        match kind {
            StateKind::Alarm | StateKind::Run => _ = noted.alarms.insert(key.into()),
            StateKind::Outbox => noted.rows.extend(key.parse().map(OutboxId)),
            StateKind::Call => _ = noted.calls.insert(key.to_owned()),
            StateKind::Override => noted.overrides = true,
            _ => return,
        }
        if noted.alarms.len() + noted.rows.len() + noted.calls.len() > MAX_NOTED {
            *noted = Noted::default();
        }
    }

    /// Everything may have changed.
    pub(super) fn note_all(&self) {
        *self.lock() = Noted::default();
        self.arrived.notify_one();
    }

    /// Something was noted and is committed.
    pub(super) fn tell(&self) {
        if !self.lock().is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Resolves when something may have changed since the last look.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// What changed since the last look. For the engine's task, which also notes: nothing falls between.
    pub(super) fn look(&self, engine: &Engine) -> Changed {
        let noted = mem::replace(&mut *self.lock(), Noted { looked: true, ..Noted::default() });
        if !noted.looked {
            return Changed { all: true, alarms: engine.alarm_views(), messages: engine.outbox_views(), ..Changed::default() };
        }
        let mut changed = Changed { not_sent: noted.not_sent, overrides: noted.overrides, ..Changed::default() };
        for path in noted.alarms {
            match engine.alarm_at(&path) {
                Some(view) => changed.alarms.push(view),
                None => changed.gone_alarms.push(path),
            }
        }
        let rows: HashSet<_> =
            noted.rows.into_iter().chain(noted.calls.iter().filter_map(|sid| engine.row_of_call(sid))).collect();
        for row in rows {
            match engine.outbox_at(row) {
                Some(view) => changed.messages.push(view),
                None => changed.gone_messages.push(row.0),
            }
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
