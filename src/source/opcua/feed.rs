//! Notifications in the server's order: gaps are republished, else everything is read anew; a silent server is noticed.
//!
//! Some Publish requests are always under way, so that the server can send one message after the other. Nothing that it sends
//! makes us keep more than their answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    convert,
    items::{CLOCK, Items},
};
use crate::{
    source::{SourceSink, SourceStats},
    tag::StatusCode,
    ua::client::{
        Error,
        connection::Answer,
        name,
        subscription::{Notification, published},
    },
};

/// Publish requests under way.
const PUBLISHING: usize = 4;
/// The most messages of one gap that are asked for again, and that wait for an earlier one.
const MAX_REPUBLISH: u32 = 100;
/// Refused Publish requests in a row after which the subscription is given up.
const MAX_REFUSALS: u32 = 10;
/// How long to wait after a refused one.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);
/// Messages in one second beyond which the server has to wait.
const MAX_MESSAGES: u32 = 2_000;
/// The least time between two log lines about overflows.
const OVERFLOW_LOG: Duration = Duration::from_secs(60);

/// The Overflow bit of a DataValue's status (Part 4, 7.38), with its type.
const OVERFLOW: u32 = 0x0480;
const OVERFLOW_BIT: u32 = 0x0080;

const BAD_TOO_MANY_PUBLISH_REQUESTS: u32 = 0x8078_0000;
const BAD_NO_SUBSCRIPTION: u32 = 0x8079_0000;

/// Takes messages in until the subscription ends.
pub struct Feed<'a> {
    /// Name of the source.
    pub name: &'a str,
    /// What is monitored.
    pub items: &'a Items,
    /// Where samples go.
    pub sink: &'a Arc<dyn SourceSink>,
    /// Counters.
    pub stats: &'a SourceStats,
    /// True when the server's clock is among the items, so that its ticking is the sign of life.
    pub clock: bool,
    /// How long the server may show no sign of life.
    pub patience: Duration,
}

/// Progress of a feed.
struct State {
    expected: u32,
    late: BTreeMap<u32, Notification>,
    alive: Instant,
    overflows: u64,
    overflow_logged: Option<Instant>,
    acknowledged: VecDeque<u32>,
    refusals: u32,
    /// Requests that the server shall have under way, and those that it has.
    wanted: usize,
    under_way: usize,
    /// When the present second began, and its messages.
    second: (Instant, u32),
}

impl Feed<'_> {
    /// Returns why the subscription ended.
    pub async fn run(self) -> String {
        let (sender, mut inbox) = mpsc::channel(PUBLISHING);
        let mut state = State {
            expected: 1,
            late: BTreeMap::new(),
            alive: Instant::now(),
            overflows: 0,
            overflow_logged: None,
            acknowledged: VecDeque::new(),
            refusals: 0,
            wanted: PUBLISHING,
            under_way: 0,
            second: (Instant::now(), 0),
        };
        loop {
            if let Err(error) = self.publish(&mut state, &sender).await {
                return error.to_string();
            }
            match timeout_at(state.alive + self.patience, inbox.recv()).await {
                Ok(Some(answer)) => {
                    if let Err(reason) = self.answered(&mut state, answer, &mut inbox).await {
                        return reason;
                    }
                }
                Ok(None) => return "the subscription was given up".to_owned(),
                Err(_) if self.items.creating() => state.alive = Instant::now(),
                Err(_) if self.clock => {
                    return format!("the server is connected but silent: its clock did not move for {:?}", self.patience);
                }
                Err(_) => return format!("the server is connected but silent: no notification for {:?}", self.patience),
            }
        }
    }

    /// Keeps as many requests under way as are wanted.
    async fn publish(&self, state: &mut State, answers: &mpsc::Sender<Answer>) -> Result<(), Error> {
        while state.under_way < state.wanted {
            let acknowledged: Vec<u32> = state.acknowledged.drain(..).collect();
            // The server answers within its keep-alive time; what it forgets after twice the patience is asked for anew.
            let hint = self.patience * 2;
            self.items.session.publish(self.items.subscription, &acknowledged, hint, answers).await?;
            state.under_way += 1;
        }
        Ok(())
    }

    async fn answered(&self, state: &mut State, answer: Answer, inbox: &mut mpsc::Receiver<Answer>) -> Result<(), String> {
        state.under_way -= 1;
        match answer {
            Ok(answer) => {
                state.refusals = 0;
                self.hold_back(state).await;
                let (subscription, message) = published(&answer).map_err(|error| error.to_string())?;
                if subscription == self.items.subscription { self.take(state, message, inbox).await } else { Ok(()) }
            }
            Err(Error::Refused(code)) => refused(state, code).await,
            Err(error) => Err(error.to_string()),
        }
    }

    /// Nobody has that much to say; until the second is over it gets no further request.
    async fn hold_back(&self, state: &mut State) {
        let (began, messages) = &mut state.second;
        if began.elapsed() >= Duration::from_secs(1) {
            (*began, *messages) = (Instant::now(), 0);
        }
        *messages += 1;
        if *messages == MAX_MESSAGES {
            tracing::warn!(source = self.name, "more than {MAX_MESSAGES} messages in a second: the server has to wait");
            sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
        }
    }

    async fn take(&self, state: &mut State, message: Notification, inbox: &mut mpsc::Receiver<Answer>) -> Result<(), String> {
        self.stats.read();
        self.sink.alive(self.name);
        if !self.clock {
            state.alive = Instant::now();
        }
        let sequence = message.sequence;
        if ahead(sequence, state.expected) {
            self.fill(state, sequence, inbox).await?;
        }
        // A keep-alive carries the number of the next message (Part 4, 5.14.1.1); an earlier number was taken in already.
        if message.keep_alive || sequence != state.expected {
            return Ok(());
        }
        self.deliver(state, message)?;
        while let Some(late) = state.late.remove(&state.expected) {
            self.deliver(state, late)?;
        }
        Ok(())
    }

    /// Takes in what is missing before `sequence`: it waits in the inbox, or the server still has it, or all is read anew.
    async fn fill(&self, state: &mut State, sequence: u32, inbox: &mut mpsc::Receiver<Answer>) -> Result<(), String> {
        while let Ok(answer) = inbox.try_recv() {
            state.under_way -= 1;
            match answer {
                Ok(answer) => {
                    let (subscription, message) = published(&answer).map_err(|error| error.to_string())?;
                    let wanted = !message.keep_alive && !ahead(state.expected, message.sequence);
                    if subscription == self.items.subscription && wanted && state.late.len() < MAX_REPUBLISH as usize {
                        state.late.insert(message.sequence, message);
                    }
                }
                Err(Error::Refused(code)) => refused(state, code).await?,
                Err(error) => return Err(error.to_string()),
            }
        }
        let missing = sequence.wrapping_sub(state.expected);
        let mut lost = missing > MAX_REPUBLISH;
        while !lost && ahead(sequence, state.expected) {
            let message = match state.late.remove(&state.expected) {
                Some(message) => message,
                None => match self.items.session.republish(self.items.subscription, state.expected).await {
                    Ok(message) => message,
                    Err(Error::Refused(code)) => {
                        tracing::debug!(source = self.name, "message {} cannot be had again: {}", state.expected, name(code));
                        lost = true;
                        break;
                    }
                    Err(error) => return Err(error.to_string()),
                },
            };
            self.deliver(state, message)?;
        }
        if lost {
            tracing::warn!(source = self.name, "notifications were lost: all values are read anew");
            state.expected = sequence;
            state.late.retain(|number, _| !ahead(sequence, *number));
            let samples = self.items.read_all().await.map_err(|error| format!("reading all values anew failed: {error}"))?;
            self.sink.samples(self.name, samples);
        }
        Ok(())
    }

    fn deliver(&self, state: &mut State, message: Notification) -> Result<(), String> {
        state.acknowledged.push_back(state.expected);
        if state.acknowledged.len() > MAX_REPUBLISH as usize {
            state.acknowledged.pop_front();
        }
        state.expected = next(state.expected);
        let mut samples = Vec::new();
        for (handle, value) in message.values {
            if handle == CLOCK {
                state.alive = Instant::now();
                continue;
            }
            let Some(tag) = self.items.tag(handle) else { continue };
            if overflowed(value.status) {
                self.stats.overflows.fetch_add(1, Ordering::Relaxed);
                state.overflows += 1;
            }
            self.items.learn(handle, &value.value);
            samples.push(convert::sample(tag, &value));
        }
        if !samples.is_empty() {
            self.sink.samples(self.name, samples);
        }
        self.tell_overflows(state);
        match message.ended {
            Some(code) => Err(format!("the server ended the subscription ({})", name(code))),
            None => Ok(()),
        }
    }

    fn tell_overflows(&self, state: &mut State) {
        if state.overflows == 0 || state.overflow_logged.is_some_and(|logged| logged.elapsed() < OVERFLOW_LOG) {
            return;
        }
        let count = std::mem::take(&mut state.overflows);
        tracing::warn!(source = self.name, count, "the server discarded values: raise `queue` or lower `publishing`");
        state.overflow_logged = Some(Instant::now());
    }
}

/// A Publish request that was refused: fewer are sent when there were too many, else it is sent anew a little later.
async fn refused(state: &mut State, code: StatusCode) -> Result<(), String> {
    match code.0 & 0xFFFF_0000 {
        BAD_TOO_MANY_PUBLISH_REQUESTS if state.wanted > 1 => {
            state.wanted -= 1;
            return Ok(());
        }
        BAD_NO_SUBSCRIPTION => return Err("the server has lost the subscription".to_owned()),
        _ => {}
    }
    state.refusals += 1;
    if state.refusals >= MAX_REFUSALS {
        return Err(format!("the server does not publish ({})", name(code)));
    }
    // The first may be an accident on the way.
    if state.refusals > 1 {
        sleep(AFTER_REFUSAL).await;
    }
    Ok(())
}

/// True when values were discarded before this one; not every server sets the bits that say what the bit means.
fn overflowed(status: StatusCode) -> bool {
    status.0 & OVERFLOW == OVERFLOW || (status.0 & 0xFFFF) == OVERFLOW_BIT
}

/// True when `sequence` comes after `expected`; numbers wrap around.
fn ahead(sequence: u32, expected: u32) -> bool {
    sequence != expected && sequence.wrapping_sub(expected) < u32::MAX / 2
}

/// Zero is never used (Part 4, 5.14.1.1).
fn next(sequence: u32) -> u32 {
    sequence.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_around() {
        assert_eq!((next(1), next(u32::MAX)), (2, 1));
        assert!(ahead(5, 3) && !ahead(3, 3) && !ahead(2, 3));
        assert!(ahead(1, u32::MAX) && !ahead(u32::MAX, 1));
    }

    #[test]
    fn the_overflow_bit_is_seen() {
        for (status, lost) in [(0, false), (0x0480, true), (0x0080, true), (0x0400, false), (0x4093_0480, true), (0x0F00, false)]
        {
            assert_eq!(overflowed(StatusCode(status)), lost, "{status:#x}");
        }
    }
}
