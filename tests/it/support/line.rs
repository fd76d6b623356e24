//! A TCP line in front of servers: it can be cut, slow, or fall silent without an end, and counts what passes.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// What becomes of what is sent.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Up,
    Cut,
    Silent,
}

/// What has passed.
#[derive(Default)]
struct Count {
    sent: AtomicU64,
    unanswered: AtomicI64,
}

/// A line on a port of its own; it ends with this.
pub struct Line {
    pub port: u16,
    targets: Arc<Mutex<Vec<u16>>>,
    /// With a number that goes up when the connections that there are shall end.
    state: watch::Sender<(State, u64)>,
    /// How late the servers' answers are.
    late: watch::Sender<Duration>,
    count: Arc<Count>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// A line to the first of these ports on which somebody listens.
    pub async fn to(targets: &[u16]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let targets = Arc::new(Mutex::new(targets.to_vec()));
        let (state, late) = (watch::Sender::new((State::Up, 0)), watch::Sender::new(Duration::ZERO));
        let count = Arc::new(Count::default());
        let (to, states, lates, counts) = (Arc::clone(&targets), state.clone(), late.clone(), Arc::clone(&count));
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (targets, state, count) = (to.lock().unwrap().clone(), states.subscribe(), Arc::clone(&counts));
                tokio::spawn(pass(near, targets, state, lates.subscribe(), count));
            }
        });
        Self { port, targets, state, late, count, task }
    }

    /// To the first of these from now on; the connections that there are end.
    pub fn turn(&self, targets: &[u16]) {
        *self.targets.lock().unwrap() = targets.to_vec();
        self.state.send_modify(|(_, number)| *number += 1);
    }

    /// Whatever the servers say comes so much later from now on, at most a minute.
    pub fn slow(&self, late: Duration) {
        self.late.send_replace(late.min(Duration::from_secs(60)));
    }

    /// Every connection ends, and new ones do at once.
    pub fn cut(&self) {
        self.state.send_modify(|(state, number)| (*state, *number) = (State::Cut, *number + 1));
    }

    /// Nothing passes, and nobody is told.
    pub fn silence(&self) {
        self.state.send_modify(|(state, _)| *state = State::Silent);
    }

    /// As it was; what was under way when it fell silent is lost.
    pub fn mend(&self) {
        self.state.send_modify(|(state, number)| (*state, *number) = (State::Up, *number + 1));
    }

    /// Bytes that clients have sent to the servers so far, whether they arrived or not.
    pub fn sent(&self) -> u64 {
        self.count.sent.load(Ordering::Relaxed)
    }

    /// Connections on which a client has sent something that the server has not answered.
    pub fn unanswered(&self) -> i64 {
        self.count.unanswered.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    near: TcpStream,
    targets: Vec<u16>,
    mut state: watch::Receiver<(State, u64)>,
    late: watch::Receiver<Duration>,
    count: Arc<Count>,
) {
    let (now, number) = *state.borrow();
    if now == State::Cut {
        return;
    }
    let mut far = None;
    for target in targets {
        far = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.ok();
        if far.is_some() {
            break;
        }
    }
    let Some(far) = far else { return };
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let waits = AtomicBool::new(false);
    let asks = |length: usize| {
        count.sent.fetch_add(length as u64, Ordering::Relaxed);
        count.unanswered.fetch_add(i64::from(!waits.swap(true, Ordering::Relaxed)), Ordering::Relaxed);
    };
    let answered = || _ = count.unanswered.fetch_sub(i64::from(waits.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
    let at_once = watch::Sender::new(Duration::ZERO).subscribe();
    let there = half(near_read, far_write, state.clone(), at_once, asks);
    let back = half(far_read, near_write, state.clone(), late, |_| answered());
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = state.wait_for(|(_, now)| *now != number) => {}
    }
    answered();
}

async fn half(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut state: watch::Receiver<(State, u64)>,
    late: watch::Receiver<Duration>,
    passes: impl Fn(usize),
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut bytes).await?;
        if length > 0 {
            passes(length);
        }
        let late = *late.borrow();
        tokio::time::sleep(late).await;
        if state.wait_for(|(state, _)| *state != State::Silent).await.is_err() {
            return Ok(());
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..length]).await?;
    }
}
