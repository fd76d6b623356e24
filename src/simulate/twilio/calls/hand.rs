//! A phone in somebody's hand: who types at the simulator lets it answer, presses its keys and hangs up, while the call runs.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

/// Keys that may wait for somebody to ask for them; further ones are lost.
const MAX_KEYS: usize = 64;

/// What the hand has done so far.
#[derive(Debug, Default)]
pub(super) struct Hand {
    /// Cancelled when the call was answered.
    pub(super) answered: CancellationToken,
    keys: Mutex<VecDeque<char>>,
    pressed: Notify,
}

impl Hand {
    /// Presses keys, one after the other.
    pub(super) fn press(&self, keys: &str) {
        let mut waiting = self.waiting();
        let room = MAX_KEYS - waiting.len();
        waiting.extend(keys.chars().take(room));
        drop(waiting);
        self.pressed.notify_one();
    }

    /// The next key, if it comes within `patience`.
    pub(super) async fn key(&self, patience: Duration) -> Option<char> {
        timeout(patience, self.next()).await.ok()
    }

    /// Waits until a key was pressed, without taking it.
    pub(super) async fn wait(&self) {
        while self.waiting().is_empty() {
            self.pressed.notified().await;
        }
    }

    async fn next(&self) -> char {
        loop {
            if let Some(key) = self.waiting().pop_front() {
                return key;
            }
            self.pressed.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<char>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
