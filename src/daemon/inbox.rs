//! What waits for the engine: one queue, in the order of arrival.
//!
//! Pushing never waits, so that a source's task is never held up. Samples are bounded: beyond the bound they are dropped and the
//! engine is told to read the present values from the tag table instead, so that the last value always reaches it. Everything
//! else is bounded by whoever sends it (connections, requests under way).

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, oneshot};

use super::handed::Handed;
use crate::{
    engine::{Engine, io::Input, record::Record},
    tag::Sample,
};

/// Samples that may wait.
pub(super) const MAX_SAMPLES: usize = 500_000;

/// A look at the engine.
pub(super) type Query = Box<dyn FnOnce(&Engine) + Send>;

/// One thing for the engine's task.
pub(super) enum Message {
    /// For the engine; samples carry the instant of their arrival.
    Input(Input, Instant),
    /// For the engine, and somebody waits for it to be durable.
    Durable(Input, oneshot::Sender<Result<(), ()>>),
    /// A look at the engine's state.
    Query(Query),
    /// Records that are not the engine's; answered once they are committed.
    Records(Vec<Record>, oneshot::Sender<Result<(), ()>>),
    /// What another instance handed in, by its number in the store.
    Handed(u64, Handed),
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    samples: usize,
    overflowed: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// What was taken out of it.
pub(super) struct Taken {
    pub(super) messages: VecDeque<Message>,
    /// Samples were dropped: read the present values.
    pub(super) overflowed: bool,
}

impl Inbox {
    pub(super) fn push(&self, message: Message) {
        self.lock().messages.push_back(message);
        self.arrived.notify_one();
    }

    pub(super) fn input(&self, input: Input) {
        self.push(Message::Input(input, Instant::now()));
    }

    pub(super) fn samples(&self, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let mut queue = self.lock();
        if queue.samples + samples.len() > MAX_SAMPLES {
            queue.overflowed = true;
        } else {
            queue.samples += samples.len();
            queue.messages.push_back(Message::Input(Input::Samples(samples), Instant::now()));
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// Everything that waits; possibly nothing.
    pub(super) fn take(&self) -> Taken {
        let mut queue = self.lock();
        queue.samples = 0;
        Taken { messages: mem::take(&mut queue.messages), overflowed: mem::take(&mut queue.overflowed) }
    }

    /// Resolves when something may have arrived since the last [`Inbox::take`].
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
