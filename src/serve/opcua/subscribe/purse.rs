//! The bytes that wait for clients: one sum for each session and one for all, so that no client can make the server hold more than
//! its part, whatever it asks for and however long it does not fetch it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use super::{super::limits::Limits, Counts};

/// What waits for the client of one session, shared by everything that keeps something for it.
#[derive(Debug, Default)]
pub struct Held {
    /// The session's number; zero for none.
    pub session: u32,
    bytes: AtomicUsize,
    requests: AtomicU32,
}

impl Held {
    /// Nothing yet.
    pub fn of(session: u32) -> Self {
        Self { session, ..Self::default() }
    }

    /// Publish requests that wait.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// So many Publish requests wait now.
    pub fn show_requests(&self, count: usize) {
        self.requests.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// What one queue, or a few of them, hold. What is still in it when it is dropped is given back.
pub struct Purse {
    /// Of the session's part.
    bytes: usize,
    /// Of the sum of all.
    own: usize,
    /// How often something that waited, or came, had to give way.
    pub overflows: usize,
    session: Arc<Held>,
    counts: Arc<Counts>,
    most: (usize, usize),
    /// Sessions that there can be.
    sessions: usize,
}

impl Purse {
    /// An empty one of a session.
    pub fn new(limits: &Limits, counts: &Arc<Counts>, session: &Arc<Held>) -> Self {
        let most = (limits.queued_bytes_per_session, limits.queued_bytes);
        let (session, counts) = (Arc::clone(session), Arc::clone(counts));
        Self { bytes: 0, own: 0, overflows: 0, session, counts, most, sessions: limits.sessions.max(1) }
    }

    /// Another empty one of the same session.
    pub fn another(&self) -> Self {
        let (session, counts) = (Arc::clone(&self.session), Arc::clone(&self.counts));
        Self { bytes: 0, own: 0, overflows: 0, session, counts, most: self.most, sessions: self.sessions }
    }

    /// The number of the session.
    pub fn session(&self) -> u32 {
        self.session.session
    }

    /// Something more is kept.
    pub fn put(&mut self, bytes: usize) {
        self.put_shared(bytes, bytes);
    }

    /// Something is kept no more.
    pub fn take(&mut self, bytes: usize) {
        self.take_shared(bytes, bytes);
    }

    /// Something more is kept that others have too, and that is counted elsewhere but for `own` bytes of it.
    pub fn put_shared(&mut self, bytes: usize, own: usize) {
        self.bytes += bytes;
        self.own += own;
        self.session.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.held.fetch_add(own, Ordering::Relaxed);
    }

    /// It is kept no more.
    pub fn take_shared(&mut self, bytes: usize, own: usize) {
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        self.own -= own;
        self.session.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.counts.held.fetch_sub(own, Ordering::Relaxed);
    }

    /// True when no more should be put in: the session has its part, or all together have too much and this one more than an equal
    /// part of it.
    pub fn is_full(&self) -> bool {
        let session = self.session.bytes.load(Ordering::Relaxed);
        session >= self.most.0
            || (self.counts.held.load(Ordering::Relaxed) + self.counts.events.load(Ordering::Relaxed) >= self.most.1
                && session >= self.most.1 / self.sessions)
    }

    /// What is in it belongs to another session from now on.
    pub fn move_to(&mut self, session: &Arc<Held>) {
        self.session.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.session = Arc::clone(session);
        self.session.bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        self.session.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.counts.held.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_its_part_and_all_have_theirs() {
        let limits = Limits { queued_bytes_per_session: 600, queued_bytes: 1_000, sessions: 10, ..Limits::default() };
        let (counts, held) = (Arc::<Counts>::default(), Arc::<Held>::default());
        let mut first = Purse::new(&limits, &counts, &held);
        let mut second = first.another();
        first.put(300);
        second.put(299);
        assert!(!first.is_full());
        second.put(1);
        assert!(first.is_full() && second.is_full(), "one part for all of a session");
        // Others have theirs, until all have too much: then whoever has more than a tenth gets no more.
        let other = Arc::<Held>::default();
        let mut third = Purse::new(&limits, &counts, &other);
        third.put(99);
        assert!(!third.is_full());
        counts.events.fetch_add(301, Ordering::Relaxed);
        assert!(!third.is_full(), "less than an equal part");
        third.put_shared(1, 0);
        assert!(third.is_full());
        // A subscription goes to another session with what it holds.
        second.move_to(&other);
        assert_eq!((held.bytes.load(Ordering::Relaxed), other.bytes.load(Ordering::Relaxed)), (300, 400));
        first.take(300);
        drop(second);
        drop(third);
        assert_eq!([&held.bytes, &other.bytes, &counts.held].map(|sum| sum.load(Ordering::Relaxed)), [0, 0, 0]);
    }
}
