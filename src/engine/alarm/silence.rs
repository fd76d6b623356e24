//! The three kinds of silence (ISA-18.2 states G, H, I): shelved by a person, suppressed by design, out of service. They lie
//! beside the machine, which goes on underneath.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Alarm, Change};
use crate::{
    engine::plan::{AlarmDef, Plan},
    tag::{Reading, StatusCode, Timestamp},
};

/// A running shelving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelving {
    /// It always ends.
    pub until: Timestamp,
    /// Ends when the alarm clears, if that is earlier.
    pub one_shot: bool,
}

/// Why an alarm was not shelved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShelveRefused {
    /// `shelving = false`.
    NotAllowed,
    /// Longer than its priority allows.
    TooLong {
        /// What it allows.
        max: Duration,
    },
}

impl ShelveRefused {
    /// What a method answers (Part 9, 5.8.10.3); a write to `Shelve` answers `BadOutOfRange` in both cases (SPEC 5).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotAllowed => StatusCode::BAD_NOT_SUPPORTED,
            Self::TooLong { .. } => StatusCode::BAD_SHELVING_TIME_OUT_OF_RANGE,
        }
    }
}

/// True when a suppressor with this value suppresses: it is true, and Good.
#[must_use]
pub fn suppresses(reading: &Reading) -> bool {
    reading.status.is_good() && reading.value.as_bool() == Some(true)
}

impl Alarm {
    /// Shelves for `time`, in place of a shelving that runs; zero unshelves.
    ///
    /// # Errors
    /// When the alarm may not be shelved at all or not for so long.
    pub fn shelve(&mut self, plan: &Plan, def: &AlarmDef, time: Duration, now: Timestamp) -> Result<Vec<Change>, ShelveRefused> {
        if time.is_zero() {
            return Ok(self.unshelve());
        }
        let max = longest(plan, def)?;
        if time > max {
            return Err(ShelveRefused::TooLong { max });
        }
        Ok(self.shelve_until(now + time, false))
    }

    /// Shelves until the alarm clears, and at most for what its priority allows.
    ///
    /// # Errors
    /// When the alarm may not be shelved at all.
    pub fn shelve_one_shot(&mut self, plan: &Plan, def: &AlarmDef, now: Timestamp) -> Result<Vec<Change>, ShelveRefused> {
        let max = longest(plan, def)?;
        Ok(self.shelve_until(now + max, true))
    }

    /// Ends a shelving; nothing happens when there is none.
    pub fn unshelve(&mut self) -> Vec<Change> {
        self.silence(Change::Unshelved, |alarm| alarm.shelving.take().is_some())
    }

    /// Follows the suppressor ([`suppresses`]).
    pub fn suppress(&mut self, on: bool) -> Vec<Change> {
        let change = if on { Change::Suppressed } else { Change::Unsuppressed };
        self.silence(change, |alarm| std::mem::replace(&mut alarm.suppressed, on) != on)
    }

    /// Takes it out of service or puts it back; what was disabled is enabled by that.
    pub fn set_out_of_service(&mut self, out: bool) -> Vec<Change> {
        self.disabled &= out;
        let change = if out { Change::OutOfService } else { Change::InService };
        self.silence(change, |alarm| std::mem::replace(&mut alarm.out_of_service, out) != out)
    }

    /// Takes it out of service, and out of sight: what is known of it is not told any more (Part 9, 5.5.2).
    pub fn disable(&mut self) -> Vec<Change> {
        let changes = self.set_out_of_service(true);
        self.disabled = true;
        changes
    }

    /// It was disabled.
    #[must_use]
    pub const fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Nobody is told of it: shelved, suppressed or out of service.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.shelving.is_some() || self.suppressed || self.out_of_service
    }

    /// The running shelving.
    #[must_use]
    pub const fn shelving(&self) -> Option<&Shelving> {
        self.shelving.as_ref()
    }

    /// What `Shelve` reads: the minutes that remain, zero when it is not shelved.
    #[must_use]
    pub fn shelved_minutes(&self, now: Timestamp) -> f64 {
        self.shelving.as_ref().map_or(0.0, |shelving| shelving.until.since(now).as_secs_f64() / 60.0)
    }

    /// The plant's logic silences it.
    #[must_use]
    pub const fn is_suppressed(&self) -> bool {
        self.suppressed
    }

    /// Maintenance silences it.
    #[must_use]
    pub const fn is_out_of_service(&self) -> bool {
        self.out_of_service
    }

    fn shelve_until(&mut self, until: Timestamp, one_shot: bool) -> Vec<Change> {
        self.shelving = Some(Shelving { until, one_shot });
        vec![Change::Shelved { until, one_shot }]
    }

    /// Does `act`, and says `change` when that changed anything, and whether silence ended by it.
    fn silence(&mut self, change: Change, act: impl FnOnce(&mut Self) -> bool) -> Vec<Change> {
        let silent = self.is_silent();
        if !act(self) {
            return Vec::new();
        }
        let mut changes = vec![change];
        if silent && !self.is_silent() {
            changes.push(self.silence_ended());
        }
        changes
    }
}

fn longest(plan: &Plan, def: &AlarmDef) -> Result<Duration, ShelveRefused> {
    if def.shelving { Ok(plan.alarm_rules.max_shelve[def.priority as usize]) } else { Err(ShelveRefused::NotAllowed) }
}
