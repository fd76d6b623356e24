//! Runs after a restart and after a reload: each goes on at the step where it was.

use std::{collections::BTreeSet, sync::Arc};

use super::{Run, Stage, Waiting};
use crate::engine::{Engine, outbox::Item, plan::Action, record::JournalKind};

impl Engine {
    /// Every run goes on from its stored place: texts being gathered are gathered again.
    pub(in crate::engine) fn resume_runs(&mut self) {
        let paths: Vec<Arc<str>> = self.runs.keys().cloned().collect();
        for path in paths {
            let Some(index) = self.index_of(&path) else {
                self.remember_told(&path);
                self.runs.remove(&path);
                self.mark_run(&path);
                continue;
            };
            self.relocate(&path);
            self.forget_script(&path, index);
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
            (Stage::Delay { .. }, Some(Action::Delay(_)))
            | (Stage::Notify(_), Some(Action::Notify(_)))
            | (Stage::Set { .. }, Some(Action::Set(_)))
            | (Stage::Script { .. }, Some(Action::Script(_)))
            | (Stage::Enter, _) => true,
            (Stage::Delay { .. } | Stage::Notify(_) | Stage::Set { .. } | Stage::Script { .. } | Stage::Ended { .. }, _) => false,
        };
        if moved {
            run.spared = run.told.iter().map(|told| told.number.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        }
        if moved || !fits {
            run.stage = Stage::Enter;
            run.step_name = pipeline.steps.get(position).and_then(|step| step.name.clone());
        }
    }

    /// A script that was running when the program stopped is not run again.
    fn forget_script(&mut self, path: &str, index: usize) {
        if let Some(Run { stage: Stage::Script { .. }, .. }) = self.runs.get(path) {
            let words = "the program stopped while the script ran: it is not run again";
            self.journal(index, JournalKind::PipelineStep, None, words);
            self.leave_step(path);
        }
    }

    fn regather(&mut self, path: &str, index: usize) {
        let Some(run) = self.runs.get(path) else { return };
        let gathered = run.gathered.clone();
        if let Some(event) = self.event_to_tell(path) {
            let (code, priority) = (run.code.clone(), self.urgency(path, index));
            for key in &gathered {
                let user = self.plan.user_by_number(&key.number).map(|user| user.name.clone()).unwrap_or_default();
                let item = Item { alarm: path.into(), code: code.clone(), event, named: false };
                self.regather_into(key, item, &user, priority);
            }
        }
        let Some(Run { stage: Stage::Notify(stage), step, step_name, pipeline, .. }) = self.runs.get(path) else { return };
        let is_lost = |waiting: &&Waiting| {
            let open = waiting.row.is_none() && waiting.accepted.is_none() && !waiting.failed;
            open && !gathered.iter().any(|key| key.number == waiting.number)
        };
        let lost: Vec<String> = stage.waiting.iter().filter(is_lost).map(|waiting| waiting.number.clone()).collect();
        let (pipeline, step, name) = (pipeline.clone(), *step, step_name.clone().unwrap_or_else(|| step.to_string()));
        let Some(pipeline) = self.plan.pipelines.get(&pipeline).cloned() else { return };
        let Some(Action::Notify(notify)) = pipeline.steps.get(step).map(|step| &step.action) else { return };
        for number in lost {
            let Some(user) = self.plan.user_by_number(&number).map(|user| user.name.clone()) else { continue };
            let refused = self.ask_for_text(path, index, notify, &name, &user, &number).is_err();
            if let Some(waiting) = self.runs.get_mut(path).and_then(|run| run.gathering_mut(&number)).filter(|_| refused) {
                waiting.failed = true;
            }
        }
    }
}
