//! Runs after a restart and after a reload: each goes on at the step where it was.

use std::{collections::BTreeSet, sync::Arc};

use super::{Run, Stage};
use crate::engine::{Engine, plan::Action};

impl Engine {
    /// Every run goes on from its stored place: texts being gathered are gathered again.
    pub(in crate::engine) fn resume_runs(&mut self) {
        let paths: Vec<Arc<str>> = self.runs.keys().cloned().collect();
        for path in paths {
            let Some(index) = self.plan.alarm_index.get(&path).copied() else {
                self.runs.remove(&path);
                self.mark_run(&path);
                continue;
            };
            self.relocate(&path);
            self.regather(&path, index);
            self.advance(&path);
            self.watch_reach(&path);
        }
    }

    /// After a reload: the step of the same name, or the same position (SPEC 2).
    pub(in crate::engine) fn relocate(&mut self, path: &str) {
        let Some(run) = self.runs.get_mut(path).filter(|run| run.is_live()) else { return };
        let Some(pipeline) = self.plan.pipelines.get(&run.pipeline) else { return };
        let same_name =
            run.step_name.as_ref().and_then(|name| pipeline.steps.iter().position(|step| step.name.as_ref() == Some(name)));
        let position = same_name.unwrap_or(if run.step_name.is_none() { run.step } else { 0 });
        let moved = run.step_name.is_some() && same_name.is_none();
        run.step = position;
        let fits = match (&run.stage, pipeline.steps.get(position).map(|step| &step.action)) {
            (Stage::Delay { .. }, Some(Action::Delay(_))) | (Stage::Notify(_), Some(Action::Notify(_))) | (Stage::Enter, _) => {
                true
            }
            (Stage::Delay { .. } | Stage::Notify(_) | Stage::Ended { .. }, _) => false,
        };
        if moved {
            run.spared = run.told.iter().map(|told| told.number.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        }
        if moved || !fits {
            run.stage = Stage::Enter;
            run.step_name = pipeline.steps.get(position).and_then(|step| step.name.clone());
        }
    }

    fn regather(&mut self, path: &str, index: usize) {
        let Some(Run { stage: Stage::Notify(stage), step, step_name, pipeline, .. }) = self.runs.get(path) else { return };
        let lost: Vec<String> =
            stage.waiting.iter().filter(|waiting| waiting.row.is_none()).map(|waiting| waiting.number.clone()).collect();
        let (pipeline, step, name) = (pipeline.clone(), *step, step_name.clone().unwrap_or_else(|| step.to_string()));
        let Some(pipeline) = self.plan.pipelines.get(&pipeline).cloned() else { return };
        let Some(Action::Notify(notify)) = pipeline.steps.get(step).map(|step| &step.action) else { return };
        for number in lost {
            let Some(user) = self.plan.user_by_number(&number).map(|user| user.name.clone()) else { continue };
            self.ask_for_text(path, index, notify, &name, &user, &number);
        }
    }
}
