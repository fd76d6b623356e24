//! The threads that serve connections. Each has a runtime of its own and a connection stays with its thread, so that no request
//! is handed from one thread to another. Work for others (a write, a call) is not done here.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads; they end when this is dropped.
pub struct Reactors {
    all: Vec<Reactor>,
    stop: CancellationToken,
}

struct Reactor {
    handle: Handle,
    /// Connections that it serves.
    load: Arc<AtomicUsize>,
}

impl Reactors {
    /// As many as there are processors, at most `most`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(most: usize) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).clamp(1, most.max(1));
        let mut reactors = Self { all: Vec::with_capacity(count), stop: CancellationToken::new() };
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().thread_name("opcua-blocking").build()?;
            reactors.all.push(Reactor { handle: runtime.handle().clone(), load: Arc::default() });
            let stop = reactors.stop.clone();
            thread::Builder::new().name(format!("opcua-{number}")).spawn(move || {
                runtime.block_on(stop.cancelled());
                runtime.shutdown_background();
            })?;
        }
        Ok(reactors)
    }

    /// Runs `connection` on the thread that has the fewest.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(reactor) = self.all.iter().min_by_key(|reactor| reactor.load.load(Ordering::Relaxed)) else { return };
        let served = Served::by(reactor);
        reactor.handle.spawn(async move {
            let _served = served;
            connection.await;
        });
    }
}

impl Drop for Reactors {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Counts one connection for as long as it lives.
struct Served(Arc<AtomicUsize>);

impl Served {
    fn by(reactor: &Reactor) -> Self {
        reactor.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&reactor.load))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_dealt_evenly_and_end_with_the_threads() {
        let reactors = Reactors::start(2).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let ends = CancellationToken::new();
        for _ in 0..4 {
            let (sender, ends) = (sender.clone(), ends.clone());
            reactors.spawn(async move {
                sender.send(thread::current().id()).unwrap();
                ends.cancelled().await;
            });
        }
        drop(sender);
        let threads: Vec<_> = (0..4).map(|_| receiver.recv().unwrap()).collect();
        let first = threads.iter().filter(|thread| **thread == threads[0]).count();
        assert_eq!(first, 4 / reactors.all.len());
        // The connections are dropped with their thread, without having ended.
        drop(reactors);
        assert!(receiver.recv().is_err());
        assert!(!ends.is_cancelled());
    }
}
