//! Notifications in the server's order: gaps are republished, else everything is read anew; a silent server is noticed.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opcua::{
    client::{MonitoredItemMap, OnSubscriptionNotificationCore},
    types::{DataChangeNotification, NotificationMessage, StatusChangeNotification},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    convert,
    items::{CLOCK, Items},
};
use crate::source::{SourceSink, SourceStats};

/// Messages that wait to be taken in; one that finds no room is lost and found again by its sequence number.
pub const INBOX: usize = 1024;
/// The most messages of one gap that are asked for again.
const MAX_REPUBLISH: u32 = 100;
/// The least time between two log lines about overflows.
const OVERFLOW_LOG: Duration = Duration::from_secs(60);

/// Where the library drops what it receives.
pub struct Inbox(pub mpsc::Sender<NotificationMessage>);

impl OnSubscriptionNotificationCore for Inbox {
    fn on_subscription_notification(&mut self, notification: NotificationMessage, _: MonitoredItemMap<'_>) {
        drop(self.0.try_send(notification));
    }
}

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
    /// What the library received.
    pub inbox: mpsc::Receiver<NotificationMessage>,
    /// True when the server's clock is among the items, so that its ticking is the sign of life.
    pub clock: bool,
    /// How long the server may show no sign of life.
    pub patience: Duration,
}

/// Progress of a feed.
struct State {
    expected: u32,
    late: BTreeMap<u32, NotificationMessage>,
    alive: Instant,
    overflows: u64,
    overflow_logged: Option<Instant>,
}

impl Feed<'_> {
    /// Returns why the subscription ended.
    pub async fn run(mut self) -> String {
        let mut state = State { expected: 1, late: BTreeMap::new(), alive: Instant::now(), overflows: 0, overflow_logged: None };
        loop {
            match timeout_at(state.alive + self.patience, self.inbox.recv()).await {
                Ok(Some(message)) => {
                    if let Err(reason) = self.take(&mut state, message).await {
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

    async fn take(&mut self, state: &mut State, message: NotificationMessage) -> Result<(), String> {
        self.stats.read();
        self.sink.alive(self.name);
        if !self.clock {
            state.alive = Instant::now();
        }
        let sequence = message.sequence_number;
        if ahead(sequence, state.expected) {
            self.fill(state, sequence).await?;
        }
        // A keep-alive carries the number of the next message (Part 4, 5.14.1.1); an earlier number was taken in already.
        if is_keep_alive(&message) || sequence != state.expected {
            return Ok(());
        }
        self.deliver(state, message)?;
        while let Some(late) = state.late.remove(&state.expected) {
            self.deliver(state, late)?;
        }
        Ok(())
    }

    /// Takes in what is missing before `sequence`: it waits in the inbox, or the server still has it, or all is read anew.
    async fn fill(&mut self, state: &mut State, sequence: u32) -> Result<(), String> {
        while let Ok(message) = self.inbox.try_recv() {
            if !is_keep_alive(&message) {
                state.late.insert(message.sequence_number, message);
            }
        }
        let missing = sequence.wrapping_sub(state.expected);
        let mut lost = missing > MAX_REPUBLISH;
        while !lost && ahead(sequence, state.expected) {
            let message = match state.late.remove(&state.expected) {
                Some(message) => message,
                None => match self.items.session.republish(self.items.subscription, state.expected).await {
                    Ok(message) => message,
                    Err(error) => {
                        tracing::debug!(source = self.name, "message {} cannot be had again: {error}", state.expected);
                        lost = true;
                        break;
                    }
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

    fn deliver(&self, state: &mut State, message: NotificationMessage) -> Result<(), String> {
        state.expected = next(state.expected);
        let mut samples = Vec::new();
        for object in message.notification_data.into_iter().flatten() {
            if object.inner_is::<DataChangeNotification>() {
                let Some(change) = object.into_inner_as::<DataChangeNotification>() else { continue };
                for item in change.monitored_items.into_iter().flatten() {
                    if item.client_handle == CLOCK {
                        state.alive = Instant::now();
                        continue;
                    }
                    let Some(tag) = self.items.tag(item.client_handle) else { continue };
                    if item.value.status.is_some_and(|status| status.overflow()) {
                        self.stats.overflows.fetch_add(1, Ordering::Relaxed);
                        state.overflows += 1;
                    }
                    if let Some(value) = &item.value.value {
                        self.items.learn(item.client_handle, value);
                    }
                    samples.push(convert::sample(&tag.def, &item.value));
                }
            } else if let Some(change) = object.inner_as::<StatusChangeNotification>() {
                return Err(format!("the server ended the subscription ({})", change.status));
            }
        }
        if !samples.is_empty() {
            self.sink.samples(self.name, samples);
        }
        self.tell_overflows(state);
        Ok(())
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

fn is_keep_alive(message: &NotificationMessage) -> bool {
    message.notification_data.as_ref().is_none_or(Vec::is_empty)
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
}
