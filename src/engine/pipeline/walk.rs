//! Walking through the steps: starting, going on, ending.

use std::{sync::Arc, time::Duration};

use super::{MAX_STEPS_AT_ONCE, NotifyStage, Run, Stage};
use crate::{
    engine::{
        Engine, KEEP_RUN, Timer,
        plan::{AckMode, Action, AlarmDef, Mode, PipelineDef},
        record::JournalKind,
    },
    tag::Timestamp,
};

pub(super) enum Progress {
    /// Nothing to do before then (`None`: before a message's fate is known).
    Wait(Option<Timestamp>),
    Done,
    /// Goes on at this step.
    Jump(usize),
}

impl Engine {
    /// A new event shall be notified: starts a run, or joins the one of an earlier event that is still unacknowledged.
    pub(in crate::engine) fn start_run(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(pipeline) = def.pipeline.clone().filter(|name| self.plan.pipelines.contains_key(name)) else { return };
        let joined = match self.runs.get_mut(&def.path).filter(|run| run.closed.is_none() && run.pipeline == pipeline) {
            Some(run) => {
                // A run that ended because the alarm had cleared goes on where it was. One that had walked to its end starts again, and
                // so does one of whose steps somebody was not told: those before the present one would never come again.
                if let Stage::Ended { cleared } = run.stage {
                    if !cleared || run.untold {
                        run.rewind();
                    }
                    run.stage = Stage::Enter;
                }
                true
            }
            None => false,
        };
        if !joined {
            let code = self.new_code();
            let run = Run::new(&pipeline, code, self.now);
            self.remember_told(&def.path);
            self.runs.insert(Arc::clone(&def.path), run);
            self.journal(index, JournalKind::PipelineStarted, None, &pipeline);
        }
        self.advance(&def.path);
    }

    /// The same alarm, notified afresh: after silence has ended, or for `re_alarm_after`.
    pub(in crate::engine) fn restart_run(&mut self, index: usize) {
        let path = Arc::clone(&self.plan.alarms[index].path);
        if let Some(run) = self.runs.get_mut(&path) {
            run.rewind();
        }
        self.start_run(index);
    }

    /// Ends a run; texts that only it needed are cancelled when their turn comes.
    pub(in crate::engine) fn end_run(&mut self, path: &str, reason: &str, cleared: bool) {
        let Some(run) = self.runs.get_mut(path).filter(|run| run.is_live()) else { return };
        run.stage = Stage::Ended { cleared };
        if run.is_follow_up() {
            run.closed = Some(self.now);
        }
        self.mark_run(path);
        if let Some(index) = self.index_of(path) {
            self.journal(index, JournalKind::PipelineEnded, None, reason);
        }
        self.doubt_texts(path);
        self.watch_reach(path);
    }

    /// Walks a run on as far as it can go now.
    pub(in crate::engine) fn advance(&mut self, path: &str) {
        for _ in 0..MAX_STEPS_AT_ONCE {
            let Some(run) = self.runs.get(path).filter(|run| run.is_live()) else { return self.mark_run(path) };
            let Some(index) = self.index_of(path) else { return };
            if let Some((reason, cleared)) = self.end_condition(index, run) {
                return self.end_run(path, reason, cleared);
            }
            let Some(pipeline) = self.plan.pipelines.get(&run.pipeline).cloned() else {
                return self.end_run(path, "its pipeline was removed", false);
            };
            let Some(step) = pipeline.steps.get(run.step) else {
                return self.end_run(path, "the last step has ended", false);
            };
            self.enter_step(path, &pipeline);
            let progress = match &step.action {
                Action::Delay(delay) => self.advance_delay(path, *delay),
                Action::Notify(notify) => self.advance_notify(path, index, notify),
                Action::Switch(cases) => self.advance_switch(path, index, &pipeline, cases),
                Action::Set(set) => self.advance_set(path, index, set),
                Action::Script(script) => self.advance_script(path, index, script),
                Action::Jump(target) => self.jump(path, index, &pipeline, *target),
            };
            match progress {
                Progress::Wait(due) => {
                    self.timers.set(&Timer::Run(path.into()), due);
                    // What follows may be unable to tell anybody.
                    self.watch_reach(path);
                    return self.mark_run(path);
                }
                Progress::Done => self.leave_step(path),
                Progress::Jump(target) => self.go_to(path, &pipeline, target),
            }
        }
        self.end_run(path, "more than 100 steps in one instant", false);
    }

    /// The name of the step where a run is, and one pass more of it when it is new there.
    fn enter_step(&mut self, path: &str, pipeline: &PipelineDef) {
        let Some(run) = self.runs.get_mut(path).filter(|run| run.stage == Stage::Enter) else { return };
        run.step_name = pipeline.steps.get(run.step).and_then(|step| step.name.clone());
        let passes = run.passes.entry(run.step_key()).or_default();
        *passes = passes.saturating_add(1);
    }

    /// The present step has ended: the next one follows.
    pub(super) fn leave_step(&mut self, path: &str) {
        let Some(run) = self.runs.get(path) else { return };
        let Some(pipeline) = self.plan.pipelines.get(&run.pipeline).cloned() else { return };
        let next = run.step + 1;
        self.go_to(path, &pipeline, next);
    }

    fn go_to(&mut self, path: &str, pipeline: &PipelineDef, step: usize) {
        let Some(run) = self.runs.get_mut(path) else { return };
        run.step = step;
        run.step_name = pipeline.steps.get(step).and_then(|step| step.name.clone());
        run.stage = Stage::Enter;
    }

    /// Why a run may not go on: reason, and whether the next activation resumes it.
    pub(in crate::engine) fn end_condition(&self, index: usize, run: &Run) -> Option<(&'static str, bool)> {
        if run.is_follow_up() {
            return None;
        }
        let (def, alarm) = (&self.plan.alarms[index], &self.alarms[index].alarm);
        let end_on_clear = self.plan.pipelines.get(&run.pipeline).is_none_or(|pipeline| pipeline.end_on_clear);
        if alarm.is_silent() {
            return Some(("silenced", false));
        }
        let takes_acknowledgement = Self::takes_acknowledgement(def);
        if takes_acknowledgement && alarm.open_events().next().is_none() {
            return Some(("acknowledged", false));
        }
        if takes_acknowledgement && end_on_clear && !alarm.state().is_active() {
            return Some(("cleared", true));
        }
        None
    }

    pub(in crate::engine) fn takes_acknowledgement(def: &AlarmDef) -> bool {
        def.ack_mode != AckMode::Unused && !matches!(def.mode, Mode::AnyChange)
    }

    fn advance_delay(&mut self, path: &str, delay: Duration) -> Progress {
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return Progress::Done };
        match run.stage {
            _ if run.hurried => Progress::Done,
            Stage::Delay { until } if until <= now => Progress::Done,
            Stage::Delay { until } => Progress::Wait(Some(until)),
            _ => {
                run.stage = Stage::Delay { until: now + delay };
                if delay.is_zero() { Progress::Done } else { Progress::Wait(Some(now + delay)) }
            }
        }
    }

    /// A person hands the alarm on: the run walks to the next notify step past any delay; without one, to the next contact. False
    /// when there is nobody else.
    pub(in crate::engine) fn pass_on(&mut self, path: &str, number: &str) -> bool {
        let Some(run) = self.runs.get(path).filter(|run| run.is_live()) else { return false };
        let pipeline = self.plan.pipelines.get(&run.pipeline).cloned();
        let ahead = pipeline.is_some_and(|pipeline| self.notify_ahead(path, &pipeline, run));
        if ahead {
            self.leave_step(path);
        }
        let Some(run) = self.runs.get_mut(path) else { return false };
        if ahead {
            run.hurried = true;
        } else {
            run.give_up_on(number);
        }
        self.advance(path);
        let other = |stage: &NotifyStage| stage.waiting.last().is_some_and(|waiting| waiting.number != number);
        ahead || self.runs.get(path).is_some_and(|run| matches!(&run.stage, Stage::Notify(stage) if other(stage)))
    }

    /// True when the way that the run would take now leads on to another notify step. One that leads back tells the same people.
    fn notify_ahead(&self, path: &str, pipeline: &PipelineDef, run: &Run) -> bool {
        let Some(index) = self.index_of(path) else { return false };
        let mut step = run.step + 1;
        for _ in 0..MAX_STEPS_AT_ONCE {
            step = match pipeline.steps.get(step).map(|step| &step.action) {
                Some(Action::Notify(_)) => return step > run.step,
                Some(Action::Switch(cases)) => {
                    cases.iter().find(|case| self.case_holds(path, index, case)).map_or(step + 1, |case| case.jump)
                }
                Some(Action::Jump(target)) if self.may_enter(path, pipeline, *target) => *target,
                Some(Action::Delay(_) | Action::Set(_) | Action::Script(_) | Action::Jump(_)) => step + 1,
                None => return false,
            };
        }
        false
    }

    pub(in crate::engine) fn mark_run(&mut self, path: &str) {
        if self.runs.get(path).is_none_or(|run| !run.is_live()) {
            let forgotten = self.runs.get(path).and_then(|run| run.closed).map(|closed| closed + KEEP_RUN);
            self.timers.set(&Timer::Run(path.into()), forgotten);
        }
        self.dirty.runs.insert(path.into());
    }
}
