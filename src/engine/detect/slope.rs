//! The rate of change over a window, from samples that may come by polling or by exception.
//!
//! Between samples that lie close together (within the window) the value is taken to run in a straight line; over a longer gap
//! it is taken to have stood still and then jumped, for that is what a source that reports by exception means by its silence.
//! There is no rate until the window is filled once.

use std::{collections::VecDeque, time::Duration};

use super::judge::{Bound, Verdict, above, below, number};
use crate::tag::{Reading, Timestamp};

/// Samples of one window are kept at least this fraction of it apart, which bounds how many there are.
const RESOLUTION: u32 = 128;

#[derive(Clone, Debug, Default)]
pub(super) struct Slope {
    /// Times are the source's own when it gives them, else ours; the newest sample is the last.
    samples: VecDeque<(Timestamp, f64)>,
    /// Our time of the newest sample.
    arrived: Timestamp,
    /// Our time of the last look.
    looked: Timestamp,
    usable: bool,
    /// The setpoint as it was last known, for looks between samples.
    pub setpoint: Option<f64>,
}

impl Slope {
    pub(super) fn push(&mut self, reading: &Reading, window: Duration, now: Timestamp) {
        let value = number(&reading.value, &reading.value).filter(|value| value.is_finite() && reading.status.is_usable());
        self.usable = value.is_some();
        let Some(value) = value else {
            self.samples.clear();
            return;
        };
        let time = if reading.source_time.is_null() { now } else { reading.source_time };
        if self.samples.back().is_some_and(|(newest, _)| time < *newest) {
            // The source's clock was set back: what was before cannot be compared.
            self.samples.clear();
        }
        let crowded = |newest: Timestamp, before: Timestamp| newest.since(before) < window / RESOLUTION;
        let replace = match (self.samples.len(), self.samples.back()) {
            (_, Some((newest, _))) if *newest == time => true,
            (2.., Some((newest, _))) => crowded(*newest, self.samples[self.samples.len() - 2].0),
            _ => false,
        };
        if replace {
            self.samples.pop_back();
        }
        self.samples.push_back((time, value));
        self.arrived = now;
        self.trim(time, window);
    }

    pub(super) fn forget(&mut self) {
        self.samples.clear();
        self.usable = false;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// When to look without a new sample: once the first window is filled, and once there was silence for a window, so that the
    /// rate is zero. In between nothing is concluded from silence, or every rate would tremble between two polls.
    pub(super) fn due(&self, window: Duration) -> Option<Timestamp> {
        let span = self.samples.back()?.0.since(self.samples.front()?.0);
        let filled = self.arrived + window.saturating_sub(span);
        let flat = self.arrived + window;
        [filled, flat].into_iter().find(|time| *time > self.looked)
    }

    pub(super) fn judge(&mut self, inclusive: bool, deadband: f64, window: Duration, active: bool, now: Timestamp) -> Verdict {
        self.looked = now;
        let Some(setpoint) = self.setpoint.filter(|_| self.usable) else {
            return Verdict::Unusable;
        };
        let Some(rate) = self.rate(window, now) else {
            return if active { Verdict::Hold } else { Verdict::False };
        };
        if setpoint < 0.0 {
            below(rate, Bound { setpoint, inclusive }, deadband)
        } else {
            above(rate.abs(), Bound { setpoint, inclusive }, deadband)
        }
    }

    /// Units per second over the window that ends now; `None` until there is a sample as old as the window.
    fn rate(&mut self, window: Duration, now: Timestamp) -> Option<f64> {
        let (newest, value) = *self.samples.back()?;
        if now.since(self.arrived) >= window {
            return Some(0.0);
        }
        let end = newest + now.since(self.arrived);
        self.trim(end, window);
        let start = end - window;
        let (before, past) = *self.samples.front().filter(|(oldest, _)| *oldest <= start)?;
        let at_start = match self.samples.get(1) {
            Some((after, next)) if after.since(before) <= window && *after > before => {
                past + (next - past) * (start.since(before).as_secs_f64() / after.since(before).as_secs_f64())
            }
            _ => past,
        };
        Some((value - at_start) / window.as_secs_f64())
    }

    /// Keeps one sample that is as old as the window, and none that is older than that one.
    fn trim(&mut self, end: Timestamp, window: Duration) {
        let start = end - window;
        while self.samples.get(1).is_some_and(|(second, _)| *second <= start) {
            self.samples.pop_front();
        }
    }
}
