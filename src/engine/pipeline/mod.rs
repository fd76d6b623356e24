//! Pipelines: the steps that an alarm event walks through until somebody acknowledges.
//!
//! A run belongs to an alarm. It is kept, with its code and the place it has reached, for as long as an event of that alarm is
//! unacknowledged; a new activation in that time joins it. Everything that ends it is checked before every step, every contact
//! and every attempt of a message.

mod follow;
mod notify;
mod resume;
mod steps;
mod walk;

use std::collections::BTreeMap;

pub(super) use self::{
    follow::{Follow, alarm_of},
    steps::SetRow,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{io::OutboxId, throttle::BatchKey};
use crate::tag::Timestamp;

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
    /// A text of it was cancelled because the alarm had cleared: somebody whose turn it was does not know.
    #[serde(default)]
    pub untold: bool,
    /// The fallback roster was told that nobody was reached.
    #[serde(default)]
    pub fallback_told: bool,
    /// Texts that are being gathered with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gathered: Vec<BatchKey>,
    /// How often each step was entered, by its name or position.
    #[serde(default)]
    pub passes: BTreeMap<String, u32>,
    /// Numbers that were called: whoever calls back is asked about it.
    #[serde(default)]
    pub called: Vec<String>,
    /// Somebody has passed it on: delays are skipped on the way to the next notify step.
    #[serde(default)]
    pub hurried: bool,
    /// Set for runs of a clear or acknowledge pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follow>,
    /// Users who were told that the alarm has cleared, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub announced: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Before the step's first action.
    Enter,
    Delay {
        until: Timestamp,
    },
    Notify(NotifyStage),
    /// A tag is being written; the device has time for its answer until then.
    Set {
        row: OutboxId,
        until: Timestamp,
    },
    /// A script is running, and has time until then.
    Script {
        run: u64,
        until: Timestamp,
    },
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
    /// Keys of candidates that this round has dealt with. Not a position: a reload may change the roster.
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
    /// Twilio accepted the text; a call was given a PIN.
    pub accepted: Option<Timestamp>,
    pub failed: bool,
    /// A call that Twilio has taken lasts at most until then.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Twilio accepted a text to `number` that names the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub number: String,
    pub event: Uuid,
    pub at: Timestamp,
}

impl Run {
    pub(super) fn new(pipeline: &str, code: String, now: Timestamp) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            started: now,
            code,
            step: 0,
            step_name: None,
            stage: Stage::Enter,
            told: Vec::new(),
            closed: None,
            rows: Vec::new(),
            spared: Vec::new(),
            reached: false,
            untold: false,
            fallback_told: false,
            gathered: Vec::new(),
            passes: BTreeMap::new(),
            called: Vec::new(),
            hurried: false,
            follows: None,
            announced: BTreeMap::new(),
        }
    }

    /// What the present step is known by, across reloads as far as it has a name.
    pub(super) fn step_key(&self) -> String {
        self.step_name.clone().unwrap_or_else(|| self.step.to_string())
    }

    /// Begins anew at the first step.
    pub(super) fn rewind(&mut self) {
        (self.step, self.step_name, self.stage) = (0, None, Stage::Enter);
        self.passes.clear();
        (self.hurried, self.untold) = (false, false);
    }

    pub(super) fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }

    /// Everybody who was told, the first first.
    pub(super) fn told_numbers(&self) -> Vec<&str> {
        let mut numbers: Vec<&str> = Vec::new();
        for told in &self.told {
            if !numbers.contains(&&*told.number) {
                numbers.push(&told.number);
            }
        }
        numbers
    }

    /// Where it is, for people: `step 2`, or `fallback` once it has walked to its end.
    fn place(&self) -> String {
        if self.is_live() { format!("step {}", self.step + 1) } else { "fallback".to_owned() }
    }

    /// That the alarm is over does not count: nobody can acknowledge that.
    pub(super) fn was_told(&self, number: &str) -> bool {
        !self.is_follow_up() && self.told.iter().any(|told| told.number == number)
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

    pub(super) fn note_called(&mut self, number: &str) {
        if !self.called.iter().any(|called| called == number) && self.called.len() < MAX_TOLD {
            self.called.push(number.to_owned());
        }
    }

    /// This number was told of it, or called for it.
    pub(super) fn concerns(&self, number: &str) -> bool {
        self.was_told(number) || self.called.iter().any(|called| called == number)
    }

    pub(super) fn note_told(&mut self, number: &str, event: Uuid, at: Timestamp) {
        if self.told.len() >= MAX_TOLD {
            self.told.remove(0);
        }
        self.told.push(Told { number: number.to_owned(), event, at });
    }
}
