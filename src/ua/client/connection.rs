//! One TCP connection with its channel, and the task that drives it: sends requests, puts answers together, hands each to who
//! asked, renews the channel.
//!
//! The task is a wall: whatever the server sends ends at most the connection. What waits in it is bounded: requests under way,
//! bytes to send, one answer being put together.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use opcua::{core::comms::url::hostname_port_from_url, types::NodeId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Error,
    channel::{Channel, Part, Protection},
    frame::{self, Agreed, Frame, Kind},
    limits,
    message::{self, Response, Service},
};
use crate::{tag::StatusCode, ua::wire::Writer};

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 4840;
const BAD_REQUEST_TOO_LARGE: StatusCode = StatusCode(0x80B8_0000);
const BAD_RESPONSE_TOO_LARGE: StatusCode = StatusCode(0x80B9_0000);

/// What becomes of a request.
pub type Answer = Result<Response, Error>;

/// Who waits for an answer.
enum Waiting {
    One(oneshot::Sender<Answer>),
    /// In the order in which the server sends; made large enough by who asks.
    Many(mpsc::Sender<Answer>),
}

impl Waiting {
    fn gave_up(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Many(sender) => sender.is_closed(),
        }
    }

    fn tell(self, answer: Answer) {
        match self {
            Self::One(sender) => drop(sender.send(answer)),
            Self::Many(sender) => drop(sender.try_send(answer)),
        }
    }
}

struct Request {
    service: Service,
    handle: u32,
    message: Vec<u8>,
    waiting: Waiting,
}

/// A connection with an open channel.
pub struct Connection {
    requests: mpsc::Sender<Request>,
    handles: AtomicU32,
    /// Why it ended, for who asks later.
    ended: Arc<OnceLock<Error>>,
    /// How long each answer may take.
    pub timeout: Duration,
}

/// The task behind a connection.
pub struct Driver(JoinHandle<Error>);

impl Driver {
    /// Resolves when the connection ends, with the reason. Must not be awaited again after that.
    pub async fn ended(&mut self) -> Error {
        (&mut self.0).await.unwrap_or_else(|_| Error::broken("it broke the program that reads it"))
    }
}

impl Driver {
    /// Waits until what is to be sent is sent, CLO included; for when its [`Connection`] is gone.
    pub async fn close(mut self, within: Duration) {
        drop(timeout(within, self.ended()).await);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects to the server at `url` and opens a channel; `timeout` bounds all of it, and each answer later.
    ///
    /// # Errors
    /// When nobody answers, too late, or not as agreed.
    pub async fn open(url: &str, protection: Protection, time: Duration) -> Result<(Self, Driver), Error> {
        let task = timeout(time, Task::open(url, protection, time)).await.map_err(|_| Error::Late(time))??;
        let (requests, inbox) = mpsc::channel(limits::REQUESTS);
        let ended = Arc::clone(&task.ended);
        let driver = Driver(tokio::spawn(task.run(inbox)));
        Ok((Self { requests, handles: AtomicU32::new(1), ended, timeout: time }, driver))
    }

    /// Sends a request in the session `token` and waits for its answer.
    ///
    /// # Errors
    /// When the server refuses, is too late, breaks the protocol, or the connection ends.
    pub async fn call(&self, service: Service, token: &NodeId, write: impl FnOnce(&mut Writer)) -> Answer {
        let (sender, answer) = oneshot::channel();
        let request = self.request(service, token, self.timeout, Waiting::One(sender), write);
        let work = async {
            self.requests.send(request).await.map_err(|_| self.why())?;
            answer.await.unwrap_or_else(|_| Err(self.why()))
        };
        timeout(self.timeout, work).await.unwrap_or(Err(Error::Late(self.timeout)))
    }

    /// Sends a request whose answer goes to `answers`, whenever it comes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn post(
        &self,
        service: Service,
        token: &NodeId,
        hint: Duration,
        answers: &mpsc::Sender<Answer>,
        write: impl FnOnce(&mut Writer),
    ) -> Result<(), Error> {
        let request = self.request(service, token, hint, Waiting::Many(answers.clone()), write);
        self.requests.send(request).await.map_err(|_| self.why())
    }

    fn why(&self) -> Error {
        self.ended.get().cloned().unwrap_or(Error::Closed)
    }

    fn request(
        &self,
        service: Service,
        token: &NodeId,
        hint: Duration,
        waiting: Waiting,
        write: impl FnOnce(&mut Writer),
    ) -> Request {
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        let mut w = message::request(service, token, handle, hint);
        write(&mut w);
        Request { service, handle, message: w.0, waiting }
    }
}

/// An answer of which chunks are missing.
struct Partial {
    request_id: u32,
    body: Vec<u8>,
    chunks: usize,
}

struct Pending {
    service: Service,
    handle: u32,
    waiting: Waiting,
}

/// Everything of a connection.
struct Task {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    output: Vec<u8>,
    /// How much of the output is sent, and when the server took something for the last time.
    sent: usize,
    progress: Instant,
    channel: Channel,
    agreed: Agreed,
    pending: HashMap<u32, Pending>,
    partial: Option<Partial>,
    /// The last id that was given to a request.
    last_id: u32,
    /// True once a session was activated: answers may be large.
    active: bool,
    timeout: Duration,
    ended: Arc<OnceLock<Error>>,
}

impl Task {
    /// HEL, ACK, OPN.
    async fn open(url: &str, protection: Protection, timeout: Duration) -> Result<Self, Error> {
        let (host, port) = hostname_port_from_url(url, DEFAULT_PORT)
            .map_err(|_| Error::Unusable(format!("{url} is not the address of a server")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await.map_err(|_| Error::Unreachable)?;
        // Requests are small and somebody waits for each.
        stream.set_nodelay(true).map_err(|_| Error::Closed)?;
        let (reader, writer) = stream.into_split();
        let mut task = Self {
            reader,
            writer,
            input: BytesMut::new(),
            output: frame::hello(url),
            sent: 0,
            progress: Instant::now(),
            channel: Channel::new(protection),
            agreed: Agreed { chunk: limits::CHUNK, message: limits::REQUEST, chunks: usize::MAX },
            pending: HashMap::new(),
            partial: None,
            last_id: 0,
            active: false,
            timeout,
            ended: Arc::default(),
        };
        let answer = task.exchange().await?;
        if answer.kind != Kind::Acknowledge {
            return Err(Error::broken("it does not acknowledge"));
        }
        task.agreed = frame::acknowledge(&answer)?;
        task.renew()?;
        let answer = task.exchange().await?;
        if answer.kind != Kind::Open {
            return Err(Error::broken("it does not open the channel"));
        }
        task.channel.opened(&answer, std::time::Instant::now())?;
        Ok(task)
    }

    /// Sends what is there and reads one chunk.
    async fn exchange(&mut self) -> Result<Frame, Error> {
        self.writer.write_all(&self.output).await.map_err(|_| Error::Closed)?;
        self.output.clear();
        loop {
            if let Some(frame) = frame::next(&mut self.input)? {
                return if frame.kind == Kind::Error { Err(frame::error(&frame)) } else { Ok(frame) };
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        self.input.reserve(limits::CHUNK);
        match self.reader.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(Error::Closed),
            Ok(_) => Ok(()),
        }
    }

    /// Until the connection ends or nobody needs it any more; returns why.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Error {
        let why = loop {
            if let Err(why) = self.step(&mut requests).await {
                break why;
            }
            // A server that never pauses does not keep others from their turn.
            tokio::task::consume_budget().await;
        };
        let _ = self.ended.set(why.clone());
        requests.close();
        for (_, pending) in self.pending.drain() {
            pending.waiting.tell(Err(why.clone()));
        }
        while let Ok(request) = requests.try_recv() {
            request.waiting.tell(Err(why.clone()));
        }
        why
    }

    async fn step(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), Error> {
        let unsent = self.output.len() - self.sent;
        let wake = self.wake(unsent > 0);
        tokio::select! {
            read = async { self.input.reserve(limits::CHUNK); self.reader.read_buf(&mut self.input).await } => {
                match read {
                    Ok(0) | Err(_) => return Err(Error::Closed),
                    Ok(_) => self.take_frames()?,
                }
            }
            written = self.writer.write(&self.output[self.sent..]), if unsent > 0 => match written {
                Ok(0) | Err(_) => return Err(Error::Closed),
                Ok(count) => self.written(count),
            },
            request = requests.recv(), if unsent < limits::UNSENT => match request {
                Some(request) => self.send(request)?,
                None => return Err(self.farewell().await),
            },
            () = sleep_until(wake) => self.on_time()?,
        }
        Ok(())
    }

    fn written(&mut self, count: usize) {
        self.progress = Instant::now();
        self.sent += count;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(limits::CHUNK * 2);
            self.sent = 0;
        }
    }

    /// When something has to be done although nothing happens.
    fn wake(&self, unsent: bool) -> Instant {
        let (renew, ends) = self.channel.deadlines().unwrap_or_else(|| (std::time::Instant::now(), std::time::Instant::now()));
        let channel = Instant::from_std(if self.channel.is_opening() { ends } else { renew });
        if unsent { channel.min(self.progress + self.timeout) } else { channel }
    }

    fn on_time(&mut self) -> Result<(), Error> {
        if self.output.len() > self.sent && self.progress.elapsed() >= self.timeout {
            return Err(Error::Unusable(format!("the connection was lost: the server took nothing for {:?}", self.timeout)));
        }
        let now = std::time::Instant::now();
        match self.channel.deadlines() {
            Some((_, ends)) if now >= ends => {
                Err(Error::Unusable("the connection was lost: the server did not renew its channel".to_owned()))
            }
            Some((renew, _)) if now >= renew && !self.channel.is_opening() => self.renew(),
            _ => Ok(()),
        }
    }

    fn renew(&mut self) -> Result<(), Error> {
        let id = self.next_id();
        self.starts_sending();
        self.channel.open(id, self.timeout, &mut self.output)
    }

    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The time that the server has to take something begins.
    fn starts_sending(&mut self) {
        if self.output.is_empty() {
            self.progress = Instant::now();
        }
    }

    fn send(&mut self, request: Request) -> Result<(), Error> {
        let Request { service, handle, message, waiting } = request;
        if waiting.gave_up() {
            return Ok(());
        }
        if self.pending.len() >= limits::REQUESTS {
            self.pending.retain(|_, pending| !pending.waiting.gave_up());
        }
        if self.pending.len() >= limits::REQUESTS {
            waiting.tell(Err(Error::Refused(StatusCode::BAD_TOO_MANY_OPERATIONS)));
            return Ok(());
        }
        if message.len() > self.agreed.message || self.channel.chunks(message.len(), self.agreed.chunk) > self.agreed.chunks {
            waiting.tell(Err(Error::Refused(BAD_REQUEST_TOO_LARGE)));
            return Ok(());
        }
        let id = self.next_id();
        self.starts_sending();
        self.channel.send(*b"MSG", id, &message, self.agreed.chunk, &mut self.output)?;
        self.pending.insert(id, Pending { service, handle, waiting });
        Ok(())
    }

    /// CLO, when nobody needs the connection any more.
    async fn farewell(&mut self) -> Error {
        let id = self.next_id();
        let body = message::request(message::CLOSE_SECURE_CHANNEL, &NodeId::null(), id, self.timeout);
        if self.channel.send(*b"CLO", id, &body.0, self.agreed.chunk, &mut self.output).is_ok() {
            drop(timeout(self.timeout, self.writer.write_all(&self.output[self.sent..])).await);
        }
        Error::Closed
    }

    fn take_frames(&mut self) -> Result<(), Error> {
        while let Some(frame) = frame::next(&mut self.input)? {
            match frame.kind {
                Kind::Message => {
                    let part = self.channel.receive(&frame, std::time::Instant::now())?;
                    self.take_part(frame.part, part)?;
                }
                Kind::Open => self.channel.opened(&frame, std::time::Instant::now())?,
                Kind::Error => return Err(frame::error(&frame)),
                Kind::Acknowledge => return Err(Error::broken("it acknowledges twice")),
            }
        }
        Ok(())
    }

    /// Puts an answer together. Chunks of one answer follow each other (Part 6, 6.7.2.2).
    fn take_part(&mut self, flag: u8, part: Part) -> Result<(), Error> {
        let partial = self.partial.take();
        if partial.as_ref().is_some_and(|partial| partial.request_id != part.request_id) {
            return Err(Error::broken("the chunks of two answers are mixed"));
        }
        if flag == b'A' {
            return self.abort(&part);
        }
        if flag == b'F' && partial.is_none() {
            return self.deliver(part.request_id, part.body);
        }
        let mut partial = partial.unwrap_or(Partial { request_id: part.request_id, body: Vec::new(), chunks: 0 });
        let most = if self.active { limits::MESSAGE } else { limits::EARLY_MESSAGE };
        partial.chunks += 1;
        if partial.body.len() + part.body.len() > most || partial.chunks > limits::CHUNKS {
            return Err(Error::broken(format!("an answer is larger than {most} bytes")));
        }
        if self.issued(part.request_id).is_none() {
            return Err(Error::broken("it answers a request that was never made"));
        }
        partial.body.extend_from_slice(&part.body);
        if flag == b'F' {
            return self.deliver(partial.request_id, partial.body.into());
        }
        self.partial = Some(partial);
        Ok(())
    }

    /// The server gives an answer up (Part 6, 6.7.3).
    fn abort(&mut self, part: &Part) -> Result<(), Error> {
        let code = crate::ua::wire::Reader::new(&part.body).u32().map_or(BAD_RESPONSE_TOO_LARGE, StatusCode);
        self.issued(part.request_id).ok_or_else(|| Error::broken("it answers a request that was never made"))?;
        if let Some(pending) = self.pending.remove(&part.request_id) {
            pending.waiting.tell(Err(Error::Refused(code)));
        }
        Ok(())
    }

    fn issued(&self, request_id: u32) -> Option<()> {
        (request_id != 0 && request_id <= self.last_id).then_some(())
    }

    fn deliver(&mut self, request_id: u32, body: Bytes) -> Result<(), Error> {
        self.issued(request_id).ok_or_else(|| Error::broken("it answers a request that was never made"))?;
        // An answer that came too late for who asked.
        let Some(pending) = self.pending.remove(&request_id) else { return Ok(()) };
        let answer = match message::response(body, pending.service, pending.handle) {
            Ok(answer) => answer,
            Err(broken) => {
                pending.waiting.tell(Err(broken.clone()));
                return Err(broken);
            }
        };
        self.active |= pending.service == message::ACTIVATE_SESSION && answer.is_ok();
        pending.waiting.tell(answer);
        Ok(())
    }
}
