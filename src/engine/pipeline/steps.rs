//! The steps that tell nobody: `switch`, `jump`, `set` and `script`.
//!
//! What a step does outside is done at most once: a tag that was being written and a script that was running when the program
//! stopped are neither written nor run again, for a machine must not move hours after the reason for it.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Run, Stage, walk::Progress};
use crate::{
    engine::{
        Engine, Timer,
        io::{Effect, OutboxId, Via},
        outbox::Job,
        plan::{Case, PipelineDef, ScriptStep, SetTag},
        record::{AuditKind, JournalKind},
    },
    script::Facts,
    tag::{StatusCode, Value},
};

/// How long a pipeline waits for the answer to a write.
const SET_WAIT: Duration = Duration::from_secs(10);
/// How long the row of a write without an answer is kept.
const SET_KEEP: Duration = Duration::from_secs(600);
/// What a script gets beyond its `timeout` for its end to be told.
const SCRIPT_GRACE: Duration = Duration::from_secs(2);

/// A write of a `set` step in the outbox: it is there while its answer is awaited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::engine) struct SetRow {
    /// The run.
    pub run: Arc<str>,
    pub event: Option<Uuid>,
    pub pipeline: String,
    /// Path of the tag; ids do not survive a restart.
    pub target: String,
    pub value: Value,
}

impl Engine {
    /// The first case that is true jumps; none goes on.
    pub(super) fn advance_switch(&mut self, path: &str, index: usize, pipeline: &PipelineDef, cases: &[Case]) -> Progress {
        let Some(case) = cases.iter().find(|case| self.case_holds(path, index, case)) else { return Progress::Done };
        let name = pipeline.steps.get(case.jump).and_then(|step| step.name.clone()).unwrap_or_default();
        self.journal(index, JournalKind::PipelineStep, None, &format!("{}: goes on at `{name}`", case.when.source()));
        self.jump(path, index, pipeline, case.jump)
    }

    /// To another step, unless it was entered too often.
    pub(super) fn jump(&mut self, path: &str, index: usize, pipeline: &PipelineDef, target: usize) -> Progress {
        let name = pipeline.steps.get(target).and_then(|step| step.name.clone()).unwrap_or_else(|| target.to_string());
        if self.may_enter(path, pipeline, target) {
            return Progress::Jump(target);
        }
        let passes = pipeline.max_passes;
        let words = format!("`{name}` was entered {passes} times (max_passes): the pipeline goes on");
        self.journal(index, JournalKind::PipelineStep, None, &words);
        Progress::Done
    }

    pub(super) fn may_enter(&self, path: &str, pipeline: &PipelineDef, target: usize) -> bool {
        let name = pipeline.steps.get(target).and_then(|step| step.name.as_ref());
        let passes = self.runs.get(path).zip(name).and_then(|(run, name)| run.passes.get(name)).copied().unwrap_or_default();
        passes < pipeline.max_passes
    }

    pub(super) fn case_holds(&self, path: &str, index: usize, case: &Case) -> bool {
        let Some(run) = self.runs.get(path) else { return false };
        let (def, alarm) = (&self.plan.alarms[index], &self.alarms[index].alarm);
        let event = alarm.newest();
        let facts = Facts {
            priority: def.priority as u8,
            active: alarm.state().is_active(),
            acked: event.is_some_and(|event| event.acknowledged.is_some()),
            value: event.map_or(&Value::Null, |event| &event.captured.value),
            state: alarm.state_name(),
            name: &def.name,
            path: &def.path,
            tag: self.plan.tag(def.tag).map_or("", |tag| &*tag.path),
            message: event.map_or(&def.message, |event| &event.captured.message),
            data: event.map_or(&def.data, |event| &event.captured.data),
            pass: run.passes.get(&run.step_key()).copied().unwrap_or_default(),
            told: u32::try_from(run.told_numbers().len()).unwrap_or(u32::MAX),
            reached: run.reached,
        };
        case.when.holds(&|tag| self.reading(tag), &facts)
    }

    /// Writes a tag once, and waits a little for the device's answer, so that the next step may rely on it.
    pub(super) fn advance_set(&mut self, path: &str, index: usize, set: &SetTag) -> Progress {
        let now = self.now;
        let Some(run) = self.runs.get(path) else { return Progress::Done };
        if let Stage::Set { until, .. } = run.stage {
            if until > now {
                return Progress::Wait(Some(until));
            }
            let words = format!("set {}: no answer within {} s, the pipeline goes on", self.path_of(set.tag), SET_WAIT.as_secs());
            self.journal(index, JournalKind::PipelineStep, None, &words);
            return Progress::Done;
        }
        let row = self.new_row(Job::Set(SetRow {
            run: path.into(),
            event: self.alarms[index].alarm.newest().map(|event| event.id),
            pipeline: run.pipeline.clone(),
            target: self.path_of(set.tag),
            value: set.value.clone(),
        }));
        self.timers.set(&Timer::Row(row), Some(now + SET_KEEP));
        self.effects.push(Effect::Write { row, writes: vec![(set.tag, set.value.clone())], read_back: None });
        let until = now + SET_WAIT;
        if let Some(run) = self.runs.get_mut(path) {
            run.stage = Stage::Set { row, until };
        }
        Progress::Wait(Some(until))
    }

    /// The device answered, or nobody will (`None`).
    pub(in crate::engine) fn set_ended(&mut self, row: OutboxId, status: Option<StatusCode>) {
        let Some(Job::Set(set)) = self.outbox.rows.get(&row).map(|row| &row.job) else { return };
        let set = set.clone();
        let outcome = status.map_or_else(
            || "its answer never came, it is not known whether it was written; it is not written again".to_owned(),
            |status| if status.is_good() { "written".to_owned() } else { format!("failed: {status}") },
        );
        let SetRow { run: path, event, pipeline, target, value } = set;
        if let Some(index) = self.index_of(&path) {
            self.journal(index, JournalKind::PipelineStep, event, &format!("set {target} to {value}: {outcome}"));
        }
        let events = event.into_iter().collect();
        self.audit(
            AuditKind::Write,
            &format!("pipeline {pipeline}"),
            Via::System,
            &target,
            value.to_string(),
            &outcome,
            events,
            None,
        );
        self.drop_row(row);
        // After a restart the step may stand elsewhere.
        self.relocate(&path);
        if matches!(self.runs.get(&path), Some(Run { stage: Stage::Set { row: awaited, .. }, .. }) if *awaited == row) {
            self.leave_step(&path);
            self.dirty.paths.insert(path);
        }
    }

    /// Runs a script once, and waits for its end.
    pub(super) fn advance_script(&mut self, path: &str, index: usize, step: &ScriptStep) -> Progress {
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return Progress::Done };
        if let Stage::Script { until, .. } = run.stage {
            if until > now {
                return Progress::Wait(Some(until));
            }
            let words = format!("script {}: not ended within {} s", step.script.name, step.timeout.as_secs());
            self.journal(index, JournalKind::PipelineStep, None, &words);
            return Progress::Done;
        }
        self.script_runs += 1;
        let until = now + step.timeout + SCRIPT_GRACE;
        run.stage = Stage::Script { run: self.script_runs, until };
        let (script, alarm) = (Arc::clone(&step.script), Arc::clone(&self.plan.alarms[index].path));
        self.effects.push(Effect::Script { run: self.script_runs, script, alarm, timeout: step.timeout });
        Progress::Wait(Some(until))
    }

    /// A script has ended; one that came too late changes nothing.
    pub(in crate::engine) fn script_result(&mut self, number: u64, result: Result<(), String>) {
        let waits = |run: &Run| matches!(run.stage, Stage::Script { run, .. } if run == number);
        let Some(path) = self.runs.iter().find(|(_, run)| waits(run)).map(|(path, _)| Arc::clone(path)) else { return };
        let outcome = match result {
            Ok(()) => "the script has ended".to_owned(),
            Err(reason) => format!("the script failed: {reason}"),
        };
        if let Some(index) = self.index_of(&path) {
            self.journal(index, JournalKind::PipelineStep, None, &outcome);
        }
        self.leave_step(&path);
        self.dirty.paths.insert(path);
    }
}
