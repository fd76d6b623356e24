//! From samples and limits to flanks: deadband, delays, and holding still while there is nothing to judge.
//!
//! A detector lives beside its alarm and holds nothing that must be durable: what it last said is the alarm's own state, delays
//! start anew after a restart, and the first usable sample is a re-evaluation anyway (SPEC 4). Latching, acknowledgement and
//! silence are the alarm's business; chatter too.

mod judge;
mod slope;

use std::time::Duration;

use self::{
    judge::{Verdict, judge, number},
    slope::Slope,
};
use super::plan::{AlarmDef, Limit, Mode, Setpoint, TagDef};
use crate::tag::{Reading, StatusCode, TagId, Timestamp, Value};

/// Beyond which limits, upper and lower, the value of an active alarm is ([`judge::limits`]).
pub(super) fn limits(def: &AlarmDef, tag: &TagDef, reading: &Reading, read: &dyn Fn(TagId) -> Reading) -> Option<(bool, bool)> {
    judge::limits(def, tag, reading, read)
}

/// What a detector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flank {
    /// The condition is true, for as long as `on_delay` asks.
    Raise {
        /// It has been true since the detector's very first usable sample, and the detector was made with `first_start`.
        initial: bool,
    },
    /// The condition has ended, for as long as `off_delay` asks.
    Clear,
    /// The value changed: raised and over in one ([`Mode::AnyChange`]).
    Change,
}

/// One alarm's condition over time.
///
/// Before new samples are handed on at a time, [`Detector::tick`] is called for all that was due by then; else a delay that
/// has run out could be undone by a sample that came after.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    /// What was last said: raised, or cleared.
    active: bool,
    /// The delay that runs towards the opposite of `active`.
    delay_until: Option<Timestamp>,
    initial: Initial,
    /// Since when nothing can be judged.
    unusable_since: Option<Timestamp>,
    /// For `any_change`.
    reference: Option<Value>,
    /// For `rate_of_change`.
    slope: Slope,
}

/// Whether the condition was true from the very first sample on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Initial {
    /// Of no interest, or no longer true.
    #[default]
    No,
    /// No usable sample so far.
    Unknown,
    /// True so far.
    Yes,
}

impl Detector {
    /// A detector whose alarm is `active`. With `first_start` an alarm that is already true says so when it is raised (SPEC 6.3);
    /// that is, when there was no state to restore.
    #[must_use]
    pub fn new(active: bool, first_start: bool) -> Self {
        Self { active, initial: if first_start { Initial::Unknown } else { Initial::No }, ..Self::default() }
    }

    /// A new sample of the alarm's own tag. `read` gives the present values of other tags; `connected` says whether the tag's
    /// source is (true for tags without one).
    pub fn sample(
        &mut self,
        def: &AlarmDef,
        tag: &TagDef,
        reading: &Reading,
        read: &dyn Fn(TagId) -> Reading,
        connected: bool,
        now: Timestamp,
    ) -> Option<Flank> {
        match &def.mode {
            Mode::System => None,
            Mode::AnyChange => self.change(def, reading, now),
            Mode::RateOfChange { setpoint, window } => {
                self.slope.push(reading, *window, now);
                let verdict = self.judge_slope(setpoint, def.deadband, *window, read, now);
                self.settle(def, verdict, now)
            }
            _ => {
                let verdict = judge(def, tag, reading, read, connected);
                self.settle(def, verdict, now)
            }
        }
    }

    /// Another tag that it depends on changed: a setpoint, or an input of its condition. A re-evaluation; delays that run towards
    /// what is still true go on.
    pub fn limits_changed(
        &mut self,
        def: &AlarmDef,
        tag: &TagDef,
        reading: &Reading,
        read: &dyn Fn(TagId) -> Reading,
        connected: bool,
        now: Timestamp,
    ) -> Option<Flank> {
        match &def.mode {
            Mode::AnyChange => None,
            Mode::RateOfChange { setpoint, window } => {
                let verdict = self.judge_slope(setpoint, def.deadband, *window, read, now);
                self.settle(def, verdict, now)
            }
            _ => self.sample(def, tag, reading, read, connected, now),
        }
    }

    /// Time has passed: a delay may be over, a slope may have become flat.
    pub fn tick(&mut self, def: &AlarmDef, now: Timestamp) -> Option<Flank> {
        if self.delay_until.is_some_and(|until| until <= now) {
            return Some(self.flip());
        }
        let Mode::RateOfChange { setpoint, window } = &def.mode else { return None };
        if self.slope.due(*window).is_none_or(|due| due > now) {
            return None;
        }
        let verdict = self.slope.judge(setpoint.inclusive, def.deadband, *window, self.active, now);
        self.settle(def, verdict, now)
    }

    /// When [`Detector::tick`] is wanted next.
    #[must_use]
    pub fn due(&self, def: &AlarmDef) -> Option<Timestamp> {
        let slope = if let Mode::RateOfChange { window, .. } = def.mode { self.slope.due(window) } else { None };
        [self.delay_until, slope].into_iter().flatten().min()
    }

    /// The source of its tag is lost: it holds its state, and what comes after is a re-evaluation.
    pub fn source_lost(&mut self) {
        self.delay_until = None;
        self.reference = None;
        self.slope.forget();
    }

    /// Its definition changed by a reload: as after a reconnect. Its state stays.
    pub fn redefined(&mut self) {
        self.source_lost();
    }

    /// What it last said.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// Since when it could not be judged: a quality that is not usable, a limit that has no number, a value that the mode cannot
    /// compare. `None` while all is well (and before the first sample).
    #[must_use]
    pub const fn unusable_since(&self) -> Option<Timestamp> {
        self.unusable_since
    }

    fn change(&mut self, def: &AlarmDef, reading: &Reading, now: Timestamp) -> Option<Flank> {
        if !reading.status.is_usable() || reading.value.is_null() {
            // A derived tag learns of a loss by its quality only.
            let lost = [StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE, StatusCode::BAD_NO_COMMUNICATION];
            if lost.contains(&reading.status) {
                self.reference = None;
            }
            self.hold(now);
            return None;
        }
        self.unusable_since = None;
        let within = |reference: &Value| match (number(reference, &reading.value), number(&reading.value, &reading.value)) {
            (Some(before), Some(value)) => (value - before).abs() <= def.deadband,
            _ => false,
        };
        match &self.reference {
            None => {
                self.reference = Some(reading.value.clone());
                None
            }
            // The reference stays while the change is within the deadband, so that a slow drift is seen too.
            Some(reference) if *reference == reading.value || within(reference) => None,
            Some(_) => {
                self.reference = Some(reading.value.clone());
                Some(Flank::Change)
            }
        }
    }

    fn judge_slope(
        &mut self,
        limit: &Limit,
        deadband: f64,
        window: Duration,
        read: &dyn Fn(TagId) -> Reading,
        now: Timestamp,
    ) -> Verdict {
        self.slope.setpoint = judge::setpoint(&limit.setpoint, read).and_then(|value| value.as_f64());
        self.slope.judge(limit.inclusive, deadband, window, self.active, now)
    }

    /// Brings the delays in line with what was judged.
    fn settle(&mut self, def: &AlarmDef, verdict: Verdict, now: Timestamp) -> Option<Flank> {
        let wanted = match verdict {
            Verdict::Unusable => {
                self.hold(now);
                return None;
            }
            Verdict::Hold => {
                self.delay_until = None;
                self.unusable_since = None;
                return None;
            }
            Verdict::True => true,
            Verdict::Band => self.active,
            Verdict::False => false,
        };
        self.unusable_since = None;
        self.initial = match self.initial {
            Initial::Unknown | Initial::Yes if wanted => Initial::Yes,
            _ => Initial::No,
        };
        if wanted == self.active {
            self.delay_until = None;
            return None;
        }
        let delay = if wanted { def.on_delay } else { def.off_delay };
        let until = *self.delay_until.get_or_insert(now + delay);
        (until <= now).then(|| self.flip())
    }

    fn flip(&mut self) -> Flank {
        self.delay_until = None;
        self.active = !self.active;
        let initial = std::mem::take(&mut self.initial) == Initial::Yes;
        if self.active { Flank::Raise { initial } } else { Flank::Clear }
    }

    fn hold(&mut self, now: Timestamp) {
        self.delay_until = None;
        self.unusable_since.get_or_insert(now);
    }
}

/// Every tag whose change makes a call of the detector or of [`suppress`](super::alarm::Alarm::suppress) necessary, each once:
/// the alarm's own tag first, then inputs of its limits and condition, then its suppressor.
#[must_use]
pub fn inputs(def: &AlarmDef) -> Vec<TagId> {
    let setpoints: Vec<&Setpoint> = match &def.mode {
        Mode::Equal(setpoint) | Mode::NotEqual(setpoint) => vec![setpoint],
        Mode::Above(limit) | Mode::Below(limit) | Mode::RateOfChange { setpoint: limit, .. } => vec![&limit.setpoint],
        Mode::Between(low, high) | Mode::Outside(low, high) => vec![&low.setpoint, &high.setpoint],
        Mode::OutOfRange | Mode::BadQuality | Mode::AnyChange | Mode::Bit { .. } | Mode::Condition(_) | Mode::System => vec![],
    };
    let mut tags = vec![def.tag];
    for setpoint in setpoints {
        if let Setpoint::Expression(expression) = setpoint {
            tags.extend(expression.inputs());
        }
    }
    if let Mode::Condition(expression) = &def.mode {
        tags.extend(expression.inputs());
    }
    tags.extend(def.suppressed_by);
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert(*tag));
    tags
}

#[cfg(test)]
pub(in crate::engine) mod tests;
