//! Clear and acknowledge pipelines: those who were told of an alarm are told that it is over (SPEC 7.1).
//!
//! Such a follow-up is a run of its own beside the one that told of the alarm, kept under the alarm's path and a suffix. It ends by
//! its last step or a new activation and by nothing else. It addresses exactly the people who were told, whoever is on duty by
//! then: who was called out at the end of a shift wants to know that it is over. What it sends is of low priority and shows no
//! code, so that nobody tries to acknowledge by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Run, notify::Candidate};
use crate::{
    engine::{
        Engine,
        alarm::Change,
        io::OutboxId,
        outbox::TextState,
        plan::{Notify, Priority},
        record::JournalKind,
    },
    tag::Timestamp,
};

/// Stands between an alarm's path and the word of the occasion: no path has an empty segment.
const BETWEEN: &str = "//";

/// What a follow-up tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::engine) enum Occasion {
    Cleared,
    Acknowledged,
}

impl Occasion {
    pub(in crate::engine) const ALL: [Self; 2] = [Self::Cleared, Self::Acknowledged];

    const fn word(self) -> &'static str {
        match self {
            Self::Cleared => "clear",
            Self::Acknowledged => "ack",
        }
    }

    /// The key of its run.
    pub(in crate::engine) fn key(self, alarm: &str) -> Arc<str> {
        format!("{alarm}{BETWEEN}{}", self.word()).into()
    }
}

/// What makes a run a follow-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Follow {
    pub occasion: Occasion,
    pub event: Uuid,
    /// Who acknowledged.
    pub by: String,
}

impl Follow {
    /// What stands before the words of the alarm.
    pub(in crate::engine) fn words(&self) -> String {
        match self.occasion {
            Occasion::Cleared => "CLEARED".to_owned(),
            Occasion::Acknowledged => format!("ACKNOWLEDGED by {}", self.by),
        }
    }
}

/// The alarm that the run under `key` is about.
pub(in crate::engine) fn alarm_of(key: &str) -> &str {
    key.split_once(BETWEEN).map_or(key, |(alarm, _)| alarm)
}

impl Engine {
    /// The position of the alarm that a run is about.
    pub(in crate::engine) fn index_of(&self, key: &str) -> Option<usize> {
        self.plan.alarm_index.get(alarm_of(key)).copied()
    }

    /// Starts and ends the follow-ups of an alarm after what happened to it.
    pub(in crate::engine) fn follow_up(&mut self, index: usize, changes: &[Change]) {
        let begun = |change: &Change| matches!(change, Change::Raised { .. } | Change::ReAlarmed { .. });
        let cleared = changes.iter().rev().find_map(|change| match change {
            Change::Cleared { event } => Some(Follow { occasion: Occasion::Cleared, event: *event, by: String::new() }),
            _ => None,
        });
        let acknowledged = changes.iter().rev().find_map(|change| match change {
            Change::Acknowledged { event, by, .. } => {
                Some(Follow { occasion: Occasion::Acknowledged, event: *event, by: by.by.clone() })
            }
            _ => None,
        });
        if changes.iter().any(begun) {
            self.end_follow_ups(index);
        }
        let over = self.alarms[index].alarm.open_events().next().is_none();
        for follow in [cleared, acknowledged.filter(|_| over)].into_iter().flatten() {
            self.start_follow_up(index, follow);
        }
    }

    fn start_follow_up(&mut self, index: usize, follow: Follow) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let pipeline = match follow.occasion {
            Occasion::Cleared => &def.clear_pipeline,
            Occasion::Acknowledged => &def.ack_pipeline,
        };
        let Some(pipeline) = pipeline.as_ref().filter(|name| self.plan.pipelines.contains_key(*name)) else { return };
        if self.alarms[index].alarm.is_silent() {
            let words = format!("{pipeline} does not begin: the alarm is silenced");
            return self.journal(index, JournalKind::PipelineStep, Some(follow.event), &words);
        }
        let key = follow.occasion.key(&def.path);
        self.forget_run(&key);
        let code = format!("{} {} {}", follow.occasion.word(), follow.event, self.now.ticks());
        let run = Run { follows: Some(follow), ..Run::new(pipeline, code, self.now) };
        self.runs.insert(Arc::clone(&key), run);
        self.journal(index, JournalKind::PipelineStarted, None, pipeline);
        self.advance(&key);
    }

    /// A new event has begun: that the last one is over is no longer true, or of no interest.
    fn end_follow_ups(&mut self, index: usize) {
        for occasion in Occasion::ALL {
            let key = occasion.key(&self.plan.alarms[index].path);
            if self.runs.contains_key(&key) {
                self.end_run(&key, "a new event has begun", false);
                self.forget_run(&key);
            }
        }
    }

    /// Removes a run; what it still wanted to send is cancelled.
    fn forget_run(&mut self, key: &str) {
        self.doubt_texts(key);
        if self.runs.remove(key).is_some() {
            self.mark_run(key);
        }
    }

    /// The alarm at `path` is no longer configured.
    pub(in crate::engine) fn forget_follow_ups(&mut self, path: &str) {
        for occasion in Occasion::ALL {
            self.forget_run(&occasion.key(path));
        }
    }

    /// True while it may still be asked who was told: the alarm is active and its clearing is told, or a follow-up walks.
    pub(in crate::engine) fn is_remembered(&self, path: &str) -> bool {
        let Some(index) = self.plan.alarm_index.get(path).copied() else { return false };
        let will_clear = self.plan.alarms[index].clear_pipeline.is_some() && self.alarms[index].alarm.state().is_active();
        will_clear || Occasion::ALL.iter().any(|occasion| self.runs.get(&occasion.key(path)).is_some_and(Run::is_live))
    }

    /// Somebody more was told, or will not be: follow-ups may have waited for it.
    pub(super) fn nudge_follow_ups(&mut self, path: &str) {
        for key in Occasion::ALL.map(|occasion| occasion.key(path)) {
            if self.runs.contains_key(&key) {
                self.dirty.paths.insert(key);
            }
        }
    }

    /// `user` was told that the alarm is over.
    pub(super) fn note_announced(&mut self, key: &str, number: &str) {
        let now = self.now;
        let Some(user) = self.plan.user_by_number(number).map(|user| user.name.clone()) else { return };
        let path = alarm_of(key);
        if let Some(run) = self.runs.get_mut(path) {
            run.announced.insert(user, now);
            self.dirty.runs.insert(path.into());
        }
    }

    /// Those who were told and have not been told since that it is over. Each by the number that they were told by, where the
    /// profile can use it, else by their first one that it can.
    pub(super) fn audience(&self, key: &str, run: &Run, notify: &Notify) -> Vec<Candidate> {
        let Some(told) = self.runs.get(alarm_of(key)) else { return Vec::new() };
        let Some(channel) = self.plan.profiles.get(&notify.profile).map(|profile| profile.channel) else { return Vec::new() };
        let mut audience: Vec<Candidate> = Vec::new();
        for number in told.told_numbers() {
            let Some(user) = self.plan.user_by_number(number) else { continue };
            let last = told.told.iter().rev().find(|told| told.number == number).map(|told| told.at).unwrap_or_default();
            if run.knows_already(told.announced.get(&user.name), last) {
                continue;
            }
            let usable = |number: &str| self.contacts.get(number).is_none_or(|contact| !contact.opted_out);
            let of_channel = || user.contacts.iter().filter(|contact| contact.channel == channel);
            let same = of_channel().find(|contact| contact.number == *number);
            let other = || of_channel().find(|contact| usable(&contact.number)).or_else(|| of_channel().next());
            let Some(contact) = same.or_else(other) else { continue };
            if audience.iter().any(|candidate| candidate.is_for(&user.name, &contact.number)) {
                continue;
            }
            audience.push(Candidate::new(&user.name, &contact.number, Priority::Diagnostic));
        }
        audience
    }

    /// A text that tells of the alarm is on its way: whether it arrives is not known yet.
    pub(super) fn is_being_told(&self, key: &str) -> bool {
        let under_way = |row: &OutboxId| {
            let state = self.outbox.text(*row).map(|text| &text.state);
            matches!(state, Some(TextState::Sending(_) | TextState::Ambiguous { .. }))
        };
        self.runs.get(alarm_of(key)).is_some_and(|run| run.rows.iter().any(under_way))
    }

    /// How urgent the texts of a run are.
    pub(in crate::engine) fn urgency(&self, key: &str, index: usize) -> Priority {
        let own = self.plan.alarms[index].priority;
        if self.runs.get(key).is_some_and(Run::is_follow_up) { own.min(Priority::Low) } else { own }
    }
}

impl Run {
    /// It tells that an alarm is over.
    pub(in crate::engine) fn is_follow_up(&self) -> bool {
        self.follows.is_some()
    }

    /// Who was told last at `told` knows already that it is over: since before this follow-up.
    fn knows_already(&self, announced: Option<&Timestamp>, told: Timestamp) -> bool {
        let clears = self.follows.as_ref().is_some_and(|follow| follow.occasion == Occasion::Cleared);
        clears && announced.is_some_and(|announced| told <= *announced && *announced < self.started)
    }
}
