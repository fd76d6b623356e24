//! Runs the scripts of pipelines and voice profiles (SPEC 13), each on a thread of its own, so many at once and so long.
//!
//! Deliberately absent: `annunciator script`, which runs its script in its own process over the HTTP API.

mod host;
mod twiml;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};

use self::host::ScriptHost;
use super::Shared;
use crate::{
    clock,
    engine::{
        Engine,
        io::{CallAction, Input, Via},
        plan::ScriptDef,
        record::{AuditEntry, AuditKind, Record},
    },
    script::program::{Ended, Given, STACK},
};

/// Scripts of pipelines that run at once; further ones wait.
pub const MAX_PIPELINE_SCRIPTS: usize = 4;
/// Scripts of pipelines that may wait; further ones fail.
pub const MAX_WAITING: usize = 1_000;
/// Scripts of voice profiles that run at once; calls beyond have the default handling.
pub const MAX_VOICE_SCRIPTS: usize = 8;
/// The longest run of a voice profile's script: Twilio waits 15 s for a webhook's answer, and the caller hears nothing meanwhile.
pub const VOICE_TIME: Duration = Duration::from_secs(5);
/// What a webhook waits beyond [`VOICE_TIME`] for a script that does not notice that its time is over.
const GRACE: Duration = Duration::from_millis(500);
/// The longest reason in the audit log, bytes: a script may throw a long text.
const MAX_REASON: usize = 500;

/// Who may run.
pub(super) struct Scripts {
    pipeline: Arc<Semaphore>,
    voice: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            pipeline: Arc::new(Semaphore::new(MAX_PIPELINE_SCRIPTS)),
            voice: Arc::new(Semaphore::new(MAX_VOICE_SCRIPTS)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Shared {
    /// The script of a pipeline's step, which has `limit`, waiting for others included; its end comes back as an input.
    pub(super) fn run_script(self: &Arc<Self>, run: u64, script: Arc<ScriptDef>, alarm: Arc<str>, limit: Duration) {
        let shared = Arc::clone(self);
        let deadline = Instant::now() + limit;
        if self.scripts.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING {
            self.scripts.waiting.fetch_sub(1, Ordering::AcqRel);
            let result = Err(format!("{MAX_WAITING} scripts wait already"));
            return self.inbox.input(Input::ScriptResult { run, result });
        }
        tokio::spawn(async move {
            let permit = Arc::clone(&shared.scripts.pipeline).acquire_owned();
            let permit = tokio::time::timeout_at(deadline.into(), permit).await;
            shared.scripts.waiting.fetch_sub(1, Ordering::AcqRel);
            let result = match permit {
                Ok(Ok(permit)) => shared.pipeline_script(&script, &alarm, permit, (limit, deadline)).await.map(|_| ()),
                // The engine no longer waits for it: it must not run now.
                _ => Err(format!("{MAX_PIPELINE_SCRIPTS} scripts run already, and none ended in time")),
            };
            if let Err(reason) = &result {
                shared.audit_script(&script, &alarm, "", reason).await;
            }
            shared.inbox.input(Input::ScriptResult { run, result });
        });
    }

    async fn pipeline_script(
        self: &Arc<Self>,
        script: &Arc<ScriptDef>,
        alarm: &Arc<str>,
        permit: OwnedSemaphorePermit,
        time: (Duration, Instant),
    ) -> Result<Ended, String> {
        let path = Arc::clone(alarm);
        let view = self.query(move |engine: &Engine| engine.alarm_at(&path)).await.flatten();
        let given = Given::Alarm(view.and_then(|view| serde_json::to_value(view).ok()).unwrap_or_default());
        let host = self.script_host(script, alarm, time);
        run(host, script, given, permit).await
    }

    /// What a call says: `response`, or what the script of its notification profile makes of it. A faulty script changes nothing and
    /// is told in the audit log.
    pub(super) async fn voice_script(
        self: &Arc<Self>,
        profile: &str,
        action: CallAction,
        params: Vec<(String, String)>,
        response: String,
    ) -> String {
        let plan = self.plan.load_full();
        let script = plan.profiles.get(profile).and_then(|profile| profile.voice.script.clone());
        let Some(script) = script else { return response };
        let changed = self.changed_by(&script, profile, action, params, &response).await;
        match changed {
            Ok(changed) => changed,
            Err(reason) => {
                // The caller does not wait for the record.
                let (shared, profile) = (Arc::clone(self), profile.to_owned());
                tokio::spawn(async move {
                    let text = format!("{}: the default handling was used", action.name());
                    shared.audit_script(&script, &profile, &text, &reason).await;
                });
                response
            }
        }
    }

    async fn changed_by(
        self: &Arc<Self>,
        script: &Arc<ScriptDef>,
        profile: &str,
        action: CallAction,
        params: Vec<(String, String)>,
        response: &str,
    ) -> Result<String, String> {
        let permit = Arc::clone(&self.scripts.voice).try_acquire_owned();
        let permit = permit.map_err(|_| format!("{MAX_VOICE_SCRIPTS} scripts of calls run already"))?;
        let given =
            Given::Call { action: action.name().to_owned(), params: without_pin(action, params), response: response.to_owned() };
        let host = self.script_host(script, profile, (VOICE_TIME, Instant::now() + VOICE_TIME));
        let run = tokio::time::timeout(VOICE_TIME + GRACE, run(host, script, given, permit));
        let ended = run.await.unwrap_or_else(|_| Err(host::too_long(VOICE_TIME)))?;
        let changed = ended.response.unwrap_or_else(|| response.to_owned());
        if changed != response {
            twiml::check(&changed).map_err(|reason| format!("`response` is no TwiML: {reason}"))?;
        }
        Ok(changed)
    }

    fn script_host(self: &Arc<Self>, script: &Arc<ScriptDef>, about: &str, (limit, deadline): (Duration, Instant)) -> ScriptHost {
        ScriptHost {
            shared: Arc::clone(self),
            runtime: Handle::current(),
            script: Arc::clone(script),
            about: about.to_owned(),
            limit,
            deadline,
        }
    }

    async fn audit_script(&self, script: &ScriptDef, subject: &str, text: &str, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        tracing::warn!(script = script.name, %subject, %reason, "a script failed");
        let entry = AuditEntry {
            time: clock::now(),
            kind: AuditKind::ScriptFailed,
            user: script.name.clone(),
            via: Via::System,
            subject: subject.to_owned(),
            text: text.to_owned(),
            result: reason.to_owned(),
            events: Vec::new(),
            sid: None,
        };
        if !self.record(vec![Record::Audit(entry)]).await {
            tracing::warn!("failed to write the audit log");
        }
    }
}

/// One run on a thread of its own, which keeps its permit until it has ended.
async fn run(host: ScriptHost, script: &Arc<ScriptDef>, given: Given, permit: OwnedSemaphorePermit) -> Result<Ended, String> {
    let script = Arc::clone(script);
    let (sender, ended) = oneshot::channel();
    let work = move || {
        let result = script.program.run(Arc::new(host), given);
        drop(permit);
        // Whoever waited may have gone.
        _ = sender.send(result);
    };
    let thread = thread::Builder::new().name("script".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(|error| format!("failed to start a thread for it: {error}"))?;
    match ended.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it crashed".to_owned()),
    }
}

/// The webhook's parameters without the keys of a PIN: a script can neither log them nor send them away.
fn without_pin(action: CallAction, mut params: Vec<(String, String)>) -> Vec<(String, String)> {
    if action == CallAction::Pin {
        for (_, value) in params.iter_mut().filter(|(name, _)| name == "Digits") {
            *value = "*".repeat(value.chars().count());
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_do_not_reach_scripts() {
        let params = || vec![("CallSid".to_owned(), "CA1".to_owned()), ("Digits".to_owned(), "4711".to_owned())];
        assert_eq!(without_pin(CallAction::Pin, params())[1].1, "****");
        for action in CallAction::ALL.into_iter().filter(|action| *action != CallAction::Pin) {
            assert_eq!(without_pin(action, params()), params());
        }
    }
}
