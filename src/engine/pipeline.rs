//! Pipelines: the steps that an alarm event walks through until somebody acknowledges.
//!
//! A run belongs to an alarm. It is kept, with its code and the place it has reached, for as long as an event of that alarm is
//! unacknowledged; a new activation in that time joins it. Everything that ends it is checked before every step, every contact
//! and every attempt of a message.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Engine, Timer,
    io::OutboxId,
    outbox::{Item, Purpose},
    people,
    plan::{Action, AlarmDef, Notify, Order, Priority},
    record::{AuditKind, JournalKind},
};
use crate::{engine::io::Via, tag::Timestamp};

/// Steps that one visit may walk through without waiting; a loop of empty steps ends there.
const MAX_STEPS_AT_ONCE: usize = 100;
/// Texts that one run remembers.
const MAX_ROWS: usize = 64;
/// People and events that one run remembers to have told.
const MAX_TOLD: usize = 512;

/// The notification of one alarm.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub pipeline: String,
    pub started: Timestamp,
    pub code: String,
    pub step: usize,
    pub step_name: Option<String>,
    pub stage: Stage,
    pub told: Vec<Told>,
    /// When the last event was closed; the run is remembered a little longer, for replies that come late.
    pub closed: Option<Timestamp>,
    /// Its latest texts.
    pub rows: Vec<OutboxId>,
    /// Numbers told before a reload made it start over: they are not told again on the way back.
    #[serde(default)]
    pub spared: Vec<String>,
    /// Somebody who was told has shown a valid PIN.
    #[serde(default)]
    pub reached: bool,
    /// The fallback roster was told that nobody was reached.
    #[serde(default)]
    pub fallback_told: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Before the step's first action.
    Enter,
    Delay {
        until: Timestamp,
    },
    Notify(NotifyStage),
    /// Ended; the reason is in the journal. `cleared` ones go on with the next activation.
    Ended {
        cleared: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NotifyStage {
    /// From zero.
    pub round: u32,
    pub round_started: Timestamp,
    /// Numbers of this round that were dealt with. Not a position: a reload may change the roster.
    pub done: Vec<String>,
    /// Contacts of this round whose text was asked for.
    pub tried: u32,
    pub waiting: Vec<Waiting>,
    /// Between two rounds.
    pub next_round: Option<Timestamp>,
}

/// A contact whose text was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub number: String,
    /// `None` while the text is being gathered with others.
    pub row: Option<OutboxId>,
    pub since: Timestamp,
    pub accepted: Option<Timestamp>,
    pub failed: bool,
}

/// Twilio accepted a text to `number` that names the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub number: String,
    pub event: Uuid,
    pub at: Timestamp,
}

/// One way to one person, as a notify step sees it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    user: String,
    number: String,
    min_priority: Priority,
}

impl Run {
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    /// The pipeline has walked to its end, somebody should still acknowledge, and nobody is known to know.
    pub(super) fn unreached_at_end(&self) -> bool {
        matches!(self.stage, Stage::Ended { cleared: false }) && self.closed.is_none() && !self.reached
    }

    pub(super) fn was_told(&self, number: &str) -> bool {
        self.told.iter().any(|told| told.number == number)
    }

    pub(super) fn note_row(&mut self, row: OutboxId) {
        if self.rows.contains(&row) {
            return;
        }
        if self.rows.len() >= MAX_ROWS {
            self.rows.remove(0);
        }
        self.rows.push(row);
    }

    fn note_told(&mut self, number: &str, event: Uuid, at: Timestamp) {
        if self.told.len() >= MAX_TOLD {
            self.told.remove(0);
        }
        self.told.push(Told { number: number.to_owned(), event, at });
    }
}

enum Progress {
    /// Nothing to do before then (`None`: before a message's fate is known).
    Wait(Option<Timestamp>),
    Done,
}

impl Engine {
    /// A new event shall be notified: starts a run, or joins the one of an earlier event that is still unacknowledged.
    pub(super) fn start_run(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(pipeline) = def.pipeline.clone().filter(|name| self.plan.pipelines.contains_key(name)) else { return };
        let joined = match self.runs.get_mut(&def.path).filter(|run| run.closed.is_none() && run.pipeline == pipeline) {
            Some(run) => {
                // A run that ended because the alarm had cleared goes on where it was; one that had walked to its end starts again.
                if let Stage::Ended { cleared } = run.stage {
                    if !cleared {
                        (run.step, run.step_name) = (0, None);
                    }
                    run.stage = Stage::Enter;
                }
                true
            }
            None => false,
        };
        if !joined {
            let code = self.new_code();
            let run = Run {
                pipeline: pipeline.clone(),
                started: self.now,
                code,
                step: 0,
                step_name: None,
                stage: Stage::Enter,
                told: Vec::new(),
                closed: None,
                rows: Vec::new(),
                spared: Vec::new(),
                reached: false,
                fallback_told: false,
            };
            self.runs.insert(Arc::clone(&def.path), run);
            self.journal(index, JournalKind::PipelineStarted, None, &pipeline);
        }
        self.advance(&def.path);
    }

    /// The same alarm, notified afresh: after silence has ended, or for `re_alarm_after`.
    pub(super) fn restart_run(&mut self, index: usize) {
        let path = Arc::clone(&self.plan.alarms[index].path);
        if let Some(run) = self.runs.get_mut(&path) {
            (run.step, run.step_name, run.stage) = (0, None, Stage::Enter);
        }
        self.start_run(index);
    }

    /// Ends a run; texts that only it needed are cancelled when their turn comes.
    pub(super) fn end_run(&mut self, path: &str, reason: &str, cleared: bool) {
        let Some(run) = self.runs.get_mut(path).filter(|run| run.is_live()) else { return };
        run.stage = Stage::Ended { cleared };
        self.mark_run(path);
        if let Some(index) = self.plan.alarm_index.get(path).copied() {
            self.journal(index, JournalKind::PipelineEnded, None, reason);
        }
        self.doubt_texts(path);
        self.watch_reach(path);
    }

    /// Walks a run on as far as it can go now.
    pub(super) fn advance(&mut self, path: &str) {
        for _ in 0..MAX_STEPS_AT_ONCE {
            let Some(run) = self.runs.get(path).filter(|run| run.is_live()) else { return self.mark_run(path) };
            let Some(index) = self.plan.alarm_index.get(path).copied() else { return };
            if let Some((reason, cleared)) = self.end_condition(index, run) {
                return self.end_run(path, reason, cleared);
            }
            let Some(pipeline) = self.plan.pipelines.get(&run.pipeline).cloned() else {
                return self.end_run(path, "its pipeline was removed", false);
            };
            let Some(step) = pipeline.steps.get(run.step) else {
                return self.end_run(path, "the last step has ended", false);
            };
            let progress = match &step.action {
                Action::Delay(delay) => self.advance_delay(path, *delay),
                Action::Notify(notify) => self.advance_notify(path, index, notify),
            };
            match progress {
                Progress::Wait(due) => {
                    self.timers.set(&Timer::Run(path.into()), due);
                    return self.mark_run(path);
                }
                Progress::Done => {
                    let Some(run) = self.runs.get_mut(path) else { return };
                    run.step += 1;
                    run.step_name = pipeline.steps.get(run.step).and_then(|step| step.name.clone());
                    run.stage = Stage::Enter;
                }
            }
        }
        self.end_run(path, "more than 100 steps in one instant", false);
    }

    /// Why a run may not go on: reason, and whether the next activation resumes it.
    fn end_condition(&self, index: usize, run: &Run) -> Option<(&'static str, bool)> {
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

    fn takes_acknowledgement(def: &AlarmDef) -> bool {
        def.ack_mode != super::plan::AckMode::Unused && !matches!(def.mode, super::plan::Mode::AnyChange)
    }

    fn advance_delay(&mut self, path: &str, delay: std::time::Duration) -> Progress {
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return Progress::Done };
        match run.stage {
            Stage::Delay { until } if until <= now => Progress::Done,
            Stage::Delay { until } => Progress::Wait(Some(until)),
            _ => {
                run.stage = Stage::Delay { until: now + delay };
                if delay.is_zero() { Progress::Done } else { Progress::Wait(Some(now + delay)) }
            }
        }
    }

    fn advance_notify(&mut self, path: &str, index: usize, notify: &Notify) -> Progress {
        let now = self.now;
        let candidates = self.candidates(notify);
        let Some(run) = self.runs.get_mut(path) else { return Progress::Done };
        if !matches!(run.stage, Stage::Notify(_)) {
            run.stage = Stage::Notify(NotifyStage {
                round: 0,
                round_started: now,
                done: Vec::new(),
                tried: 0,
                waiting: Vec::new(),
                next_round: None,
            });
        }
        loop {
            let Some(Run { stage: Stage::Notify(stage), .. }) = self.runs.get_mut(path) else { return Progress::Done };
            if let Some(next) = stage.next_round {
                if next > now {
                    return Progress::Wait(Some(next));
                }
                stage.next_round = None;
                stage.round += 1;
                (stage.round_started, stage.tried) = (now, 0);
                stage.done.clear();
                stage.waiting.clear();
            }
            let next = candidates.iter().find(|candidate| !stage.done.contains(&candidate.number));
            let last = next.is_none();
            match notify.order {
                Order::Sequential => {
                    if let Some(wait) = must_wait(stage.waiting.last(), notify, last, now) {
                        return Progress::Wait(wait);
                    }
                }
                Order::Broadcast if last => {
                    let unresolved = stage.waiting.iter().filter_map(|waiting| must_wait(Some(waiting), notify, true, now));
                    if let Some(wait) = unresolved.reduce(|a, b| match (a, b) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    }) {
                        return Progress::Wait(wait);
                    }
                }
                Order::Broadcast => {}
            }
            if let Some(candidate) = next {
                stage.done.push(candidate.number.clone());
                self.contact(path, index, notify, candidate);
            } else if stage.tried == 0 {
                self.journal(
                    index,
                    JournalKind::NobodyToContact,
                    None,
                    &format!("roster {} has nobody to contact", notify.roster),
                );
                return Progress::Done;
            } else if stage.round + 1 < notify.times {
                stage.next_round = Some((stage.round_started + notify.repeat).max(now));
            } else {
                return Progress::Done;
            }
        }
    }

    /// Everybody whom a notify step may contact, in order.
    pub(super) fn candidates(&self, notify: &Notify) -> Vec<Candidate> {
        let channel = self.plan.profiles.get(&notify.profile).map(|profile| profile.channel);
        let users = self.plan.rosters.get(&notify.roster).into_iter().flatten().filter_map(|name| self.plan.users.get(name));
        let contacts = users.flat_map(|user| {
            let of_channel = user.contacts.iter().filter(move |contact| Some(contact.channel) == channel);
            of_channel.map(|contact| Candidate {
                user: user.name.clone(),
                number: contact.number.clone(),
                min_priority: contact.min_priority,
            })
        });
        contacts.collect()
    }

    /// Asks for a text to one contact, or says in the audit log why there is none.
    pub(super) fn contact(&mut self, path: &str, index: usize, notify: &Notify, candidate: &Candidate) {
        if let Some(reason) = self.refusal(index, notify, candidate) {
            let event = self.alarms[index].alarm.newest().map(|event| event.id);
            let events = event.into_iter().collect();
            let text = format!("{path} by {}", notify.profile);
            self.audit(AuditKind::MessageNotSent, &candidate.user, Via::System, &candidate.number, text, &reason, events, None);
            return;
        }
        let now = self.now;
        let Some(run) = self.runs.get_mut(path) else { return };
        let step = run.step_name.clone().unwrap_or_else(|| run.step.to_string());
        let spared = run.spared.iter().position(|number| *number == candidate.number).map(|place| run.spared.remove(place));
        let told = spared.and_then(|number| run.told.iter().rev().find(|told| told.number == number)).map(|told| told.at);
        if let Stage::Notify(stage) = &mut run.stage {
            stage.tried += 1;
            stage.waiting.push(Waiting {
                number: candidate.number.clone(),
                row: None,
                since: now,
                accepted: told,
                failed: false,
            });
        }
        if told.is_some() {
            return;
        }
        self.ask_for_text(path, index, notify, &step, &candidate.user, &candidate.number);
    }

    fn refusal(&self, index: usize, notify: &Notify, candidate: &Candidate) -> Option<String> {
        let user = self.plan.users.get(&candidate.user)?;
        let Some(profile) = self.plan.profiles.get(&notify.profile) else { return Some("its profile was removed".to_owned()) };
        if self.plan.alarms[index].priority < candidate.min_priority {
            return Some("below the contact's least priority".to_owned());
        }
        if self.knob(&profile.disabled) {
            return Some("disabled".to_owned());
        }
        if !people::user_on_duty(&self.plan, user, self.now) {
            return Some("off duty".to_owned());
        }
        if let Some(consent) = &profile.consent
            && !user.consent.contains(consent)
        {
            return Some("no consent".to_owned());
        }
        if !self.plan.people.allows(&candidate.number) {
            return Some("not among [people] allow_numbers".to_owned());
        }
        let contact = self.contacts.get(&candidate.number)?;
        contact.opted_out.then(|| "opted out".to_owned())
    }

    /// The contact of `row` was reached by Twilio: runs go on waiting for an answer.
    pub(super) fn text_accepted(&mut self, row: OutboxId) {
        let now = self.now;
        let Some((number, items)) = self.alarm_items(row) else { return };
        for item in items {
            let Some(run) = self.runs.get_mut(&item.alarm).filter(|run| run.code == item.code) else { continue };
            if item.named {
                run.note_told(&number, item.event, now);
            }
            if let Some(waiting) = run.waiting_mut(row) {
                waiting.accepted = Some(now);
            }
            self.advance(&item.alarm);
            self.watch_reach(&item.alarm);
        }
    }

    /// The contact of `row` cannot be reached by it: runs go on at once.
    pub(super) fn text_failed(&mut self, row: OutboxId) {
        let Some((_, items)) = self.alarm_items(row) else { return };
        for item in items {
            if let Some(waiting) = self.runs.get_mut(&item.alarm).and_then(|run| run.waiting_mut(row)) {
                waiting.failed = true;
            }
            self.advance(&item.alarm);
        }
    }

    fn alarm_items(&self, row: OutboxId) -> Option<(String, Vec<Item>)> {
        let text = self.outbox.text(row)?;
        match &text.purpose {
            Purpose::Alarm { items, .. } => Some((text.to.clone(), items.clone())),
            Purpose::Answer { .. } | Purpose::Manual => None,
        }
    }

    /// True while the run of `item` still wants to be told. A run that has walked to its end says nothing against it: a text that
    /// Twilio could not take yet is needed all the same.
    pub(super) fn wants_telling(&self, item: &Item) -> bool {
        let run = self.runs.get(&item.alarm).filter(|run| run.code == item.code);
        let index = self.plan.alarm_index.get(&item.alarm).copied();
        run.zip(index).is_some_and(|(run, index)| self.end_condition(index, run).is_none())
    }

    /// The event that a text about the alarm at `path` is about: the newest open one.
    pub(super) fn event_to_tell(&self, path: &str) -> Option<Uuid> {
        let alarm = &self.alarms[*self.plan.alarm_index.get(path)?].alarm;
        alarm.open_events().next_back().or_else(|| alarm.newest()).map(|event| event.id)
    }

    /// Every run goes on from its stored place: texts being gathered are gathered again.
    pub(super) fn resume_runs(&mut self) {
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
    pub(super) fn relocate(&mut self, path: &str) {
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

    pub(super) fn mark_run(&mut self, path: &str) {
        if self.runs.get(path).is_none_or(|run| !run.is_live()) {
            let forgotten = self.runs.get(path).and_then(|run| run.closed).map(|closed| closed + super::KEEP_RUN);
            self.timers.set(&Timer::Run(path.into()), forgotten);
        }
        self.dirty.runs.insert(path.into());
    }
}

impl Run {
    /// Nobody waits any longer for an answer of this number; true when somebody did.
    pub(super) fn give_up_on(&mut self, number: &str) -> bool {
        let Stage::Notify(stage) = &mut self.stage else { return false };
        let mut waited = false;
        for waiting in stage.waiting.iter_mut().filter(|waiting| waiting.number == number && !waiting.failed) {
            (waiting.failed, waited) = (true, true);
        }
        waited
    }

    pub(super) fn waiting_mut(&mut self, row: OutboxId) -> Option<&mut Waiting> {
        match &mut self.stage {
            Stage::Notify(stage) => stage.waiting.iter_mut().find(|waiting| waiting.row == Some(row)),
            Stage::Enter | Stage::Delay { .. } | Stage::Ended { .. } => None,
        }
    }
}

/// How long a contact holds the step up: `None` not at all, `Some(None)` until a message's fate is known.
#[allow(clippy::option_option)]
fn must_wait(waiting: Option<&Waiting>, notify: &Notify, last: bool, now: Timestamp) -> Option<Option<Timestamp>> {
    let waiting = waiting.filter(|waiting| !waiting.failed)?;
    match (waiting.accepted, waiting.row) {
        // The step ends when the last contact was told; waiting before the next step is a delay step's job.
        (Some(_), _) if last => None,
        (Some(accepted), _) => (now < accepted + notify.wait).then_some(Some(accepted + notify.wait)),
        (None, Some(_)) => (now < waiting.since + notify.wait).then_some(Some(waiting.since + notify.wait)),
        (None, None) => Some(None),
    }
}
