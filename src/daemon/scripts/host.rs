//! The program as its own scripts see it. Every call comes from the script's thread and waits there for the daemon's tasks.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tokio::runtime::Handle;

use super::super::Shared;
use crate::{
    engine::{
        Engine,
        io::{Actor, Command, Via},
        plan::{Role, ScriptDef, TagDef},
        view::UserStatistics,
    },
    script::program::{Host, TagReading},
    tag::{StatusCode, Value},
};

/// One run's host.
pub(super) struct ScriptHost {
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: Handle,
    pub(super) script: Arc<ScriptDef>,
    /// The alarm or the notification profile, for the log.
    pub(super) about: String,
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

/// Why a script that ran for `limit` ends.
pub(super) fn too_long(limit: Duration) -> String {
    format!("it took longer than {} s", limit.as_secs())
}

impl ScriptHost {
    fn actor(&self) -> Actor {
        Actor { name: format!("script {}", self.script.name), role: self.script.role, via: Via::System }
    }

    /// Has the daemon's tasks do `work` and waits for it, as long as there is time. What was begun is carried on without us.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
        let (sender, done) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // The script may have given up.
            _ = sender.send(work.await);
        });
        let left = self.deadline.saturating_duration_since(Instant::now());
        done.recv_timeout(left).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => too_long(self.limit),
            mpsc::RecvTimeoutError::Disconnected => "the program is stopping".to_owned(),
        })
    }

    fn def(&self, path: &str) -> Option<TagDef> {
        self.shared.plan.load().tag_at(path).cloned()
    }
}

impl Host for ScriptHost {
    fn send_message(&self, number: &str, message: &str) -> Result<bool, String> {
        let command = Command::SendText { twilio: None, number: number.to_owned(), body: message.to_owned() };
        // Whoever wrote the script into the configuration lets it send; its role says what it may write (SPEC 13).
        let by = Actor { role: self.script.role.max(Role::Operator), ..self.actor() };
        let shared = Arc::clone(&self.shared);
        let outcome = self.wait(async move { shared.command(by, command).await })?;
        if !outcome.status.is_good() {
            tracing::warn!(script = self.script.name, about = self.about, reason = outcome.message, "sendMessage gave false");
        }
        Ok(outcome.status.is_good())
    }

    fn user(&self, id: i64) -> Result<Option<UserStatistics>, String> {
        let shared = Arc::clone(&self.shared);
        let users = self.wait(async move { shared.query(Engine::user_statistics).await })?.unwrap_or_default();
        let user = users.into_iter().find(|user| user.id == id);
        let shown = |user: UserStatistics| match self.script.role {
            Role::Viewer => UserStatistics { phone_number: self.shared.plan.load().people.published(&user.phone_number), ..user },
            Role::Operator | Role::Engineer => user,
        };
        Ok(user.map(shown))
    }

    fn tag(&self, path: &str) -> Result<Option<TagReading>, String> {
        let reading = self.def(path).map(|def| self.shared.table.read(def.id));
        Ok(reading.map(|reading| TagReading {
            value: if reading.status.is_bad() { Json::Null } else { reading.value.to_json() },
            quality: reading.status.to_string(),
            time: reading.source_time.to_string(),
        }))
    }

    fn alarm(&self, path: &str) -> Result<Option<Json>, String> {
        let (shared, path) = (Arc::clone(&self.shared), path.to_owned());
        let view = self.wait(async move { shared.query(move |engine| engine.alarm_at(&path)).await })?.flatten();
        Ok(view.and_then(|view| serde_json::to_value(view).ok()))
    }

    fn write(&self, path: &str, value: Json) -> Result<String, String> {
        let Some(def) = self.def(path) else { return Ok(StatusCode::BAD_NODE_ID_UNKNOWN.to_string()) };
        let Ok(value) = Value::from_json(&value, def.value_type) else { return Ok(StatusCode::BAD_TYPE_MISMATCH.to_string()) };
        let (shared, by) = (Arc::clone(&self.shared), self.actor());
        let status = self.wait(async move { shared.write(by, def.id, value).await })?;
        if !status.is_good() {
            tracing::warn!(script = self.script.name, about = self.about, tag = path, %status, "write gave false");
        }
        Ok(status.to_string())
    }

    fn print(&self, line: &str) {
        tracing::info!(script = self.script.name, about = self.about, "{line}");
    }

    fn over(&self) -> Option<String> {
        if !self.shared.may_act() {
            return Some("the program is stopping".to_owned());
        }
        (Instant::now() >= self.deadline).then(|| too_long(self.limit))
    }
}
