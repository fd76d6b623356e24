//! Whether anybody was reached, and what the texts of a day may cost: NobodyReached and SmsBudget (SPEC 6.4).
//!
//! Reached is who has shown a valid PIN or acknowledged; a text that was delivered reaches nobody. SmsBudget only says that the
//! day's segments are used up: no text is held back for it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Engine, Timer,
    drill::DRILL,
    gsm,
    io::{Actor, Via},
    pipeline::Stage,
    plan::{Notify, Order},
    record::JournalKind,
    throttle::short_name,
};
use crate::tag::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
/// Alarms that one message of NobodyReached names.
const MAX_NAMED: usize = 5;

/// Segments since the day began (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DaySegments {
    began: Timestamp,
    count: u64,
}

impl Engine {
    /// A pipeline can tell nobody any more, by what stands before it: somebody must be reached within `unanswered_after` of its last
    /// message, at once when there was none.
    pub(super) fn watch_reach(&mut self, path: &str) {
        if !self.is_unreached(path) {
            self.timers.set(&Timer::Reach(path.into()), None);
            return self.forget_unreached(path);
        }
        let last = self.runs.get(path).and_then(|run| run.told.iter().map(|told| told.at).max());
        let due = last.map_or(self.now, |last| last + self.plan.alarm_rules.unanswered_after);
        self.timers.set(&Timer::Reach(path.into()), Some(due));
    }

    /// Somebody should still acknowledge, nobody is known to know, and nobody more will be told. (Of a drill that nobody answers
    /// DrillFailed tells.)
    fn is_unreached(&self, path: &str) -> bool {
        let Some((run, index)) = self.runs.get(path).zip(self.plan.alarm_index.get(path).copied()) else { return false };
        let alarm = &self.alarms[index].alarm;
        let wanted =
            path != DRILL && run.closed.is_none() && !run.reached && alarm.open_events().next().is_some() && !alarm.is_silent();
        let over = match run.stage {
            Stage::Ended { cleared } => !cleared,
            Stage::Enter | Stage::Notify(_) => false,
            Stage::Delay { .. } | Stage::Set { .. } | Stage::Script { .. } => {
                self.plan.pipelines.get(&run.pipeline).is_none_or(|pipeline| !pipeline.may_notify_from(run.step))
            }
        };
        wanted && over
    }

    /// Nobody was reached in time.
    pub(super) fn reach_due(&mut self, path: &Arc<str>) {
        let Some(index) = self.plan.alarm_index.get(path).copied() else { return };
        if !self.is_unreached(path) {
            return;
        }
        let Some(run) = self.runs.get_mut(path) else { return };
        let first = !std::mem::replace(&mut run.fallback_told, true);
        self.mark_run(path);
        self.unreached.insert(Arc::clone(path));
        self.show_unreached();
        if first {
            self.tell_fallback(path, index);
        }
    }

    /// The person who holds this phone knows of everything that it was told.
    pub(super) fn reached(&mut self, number: &str, via: Via) {
        if let Some(user) = self.plan.user_by_number(number).map(|user| user.name.clone()) {
            self.answered_in_flood(&user);
        }
        let told: Vec<Arc<str>> =
            self.runs.iter().filter(|(_, run)| !run.reached && run.was_told(number)).map(|(path, _)| Arc::clone(path)).collect();
        for path in told {
            self.note_reached(&path, number, via);
        }
    }

    /// The run of this alarm has reached the person who holds this phone; the journal says so once a run.
    pub(super) fn note_reached(&mut self, path: &Arc<str>, number: &str, via: Via) {
        let Some(run) = self.runs.get_mut(path) else { return };
        let first = !std::mem::replace(&mut run.reached, true);
        if let (true, Some(index)) = (first, self.plan.alarm_index.get(path).copied()) {
            let user = self.plan.user_by_number(number);
            let by = user.map(|user| Actor { name: user.name.clone(), role: user.role, via });
            self.journal_by(index, JournalKind::Reached, None, "", by.as_ref());
        }
        self.mark_run(path);
        self.watch_reach(path);
    }

    fn forget_unreached(&mut self, path: &str) {
        if self.unreached.remove(path) {
            self.show_unreached();
        }
    }

    fn show_unreached(&mut self) {
        let text = (!self.unreached.is_empty()).then(|| {
            let names: Vec<String> = self.unreached.iter().take(MAX_NAMED).map(|path| short_name(path)).collect();
            let more = self.unreached.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("nobody was reached for {}{more}", names.join(", "))
        });
        self.set_system("System/Gateway/Alarms/NobodyReached", text);
    }

    /// Everybody on the fallback roster, once: each by the first profile of the pipeline that may be used for them, else by any
    /// other.
    fn tell_fallback(&mut self, path: &str, index: usize) {
        let Some(roster) = self.plan.alarm_rules.fallback.clone() else { return };
        let pipeline = self.runs.get(path).and_then(|run| self.plan.pipelines.get(&run.pipeline)).cloned();
        let own = pipeline.iter().flat_map(|pipeline| pipeline.notifies()).map(|notify| notify.profile.clone());
        let mut profiles: Vec<String> = own.collect();
        profiles.extend(self.plan.profiles.keys().cloned());
        let mut seen = BTreeSet::new();
        profiles.retain(|profile| seen.insert(profile.clone()));
        let mut told = BTreeSet::new();
        for profile in profiles {
            let (roster, wait, repeat) = (roster.clone(), Duration::ZERO, Duration::ZERO);
            let notify = Notify { profile, roster, order: Order::Broadcast, wait, repeat, times: 1, consolidate: None };
            let mut candidates = self.candidates(&notify);
            candidates.retain(|candidate| !told.contains(candidate.user()));
            for candidate in candidates {
                if self.refusal(path, index, &notify, &candidate).is_none() {
                    told.insert(candidate.user().to_owned());
                }
                self.contact(path, index, &notify, &candidate);
            }
        }
        if told.is_empty() {
            let words = format!("roster {roster} has nobody to contact");
            self.journal(index, JournalKind::NobodyToContact, None, &words);
        }
    }

    /// Twilio accepted a text of this many segments (0: it did not say).
    pub(super) fn spend(&mut self, segments: u32, body: &str) {
        let segments = if segments > 0 { u64::from(segments) } else { gsm::segments(body) as u64 };
        self.begin_day();
        self.day_segments.count += segments;
        self.dirty.engine = true;
        self.show_budget();
    }

    /// A new day has a new budget.
    pub(super) fn begin_day(&mut self) {
        if self.now.since(self.day_segments.began) < DAY {
            return;
        }
        let into_day = self.now.ticks().rem_euclid(864_000_000_000);
        self.day_segments = DaySegments { began: Timestamp::from_ticks(self.now.ticks() - into_day), count: 0 };
        self.dirty.engine = true;
        self.show_budget();
    }

    fn show_budget(&mut self) {
        let limit = self.plan.throttle.segments_per_day;
        let count = self.day_segments.count;
        let text = (count >= u64::from(limit)).then(|| format!("{count} segments were sent today, the day's budget is {limit}"));
        self.set_system("System/Gateway/Alarms/SmsBudget", text);
    }
}
