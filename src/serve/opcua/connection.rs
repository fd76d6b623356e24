//! One TCP connection: from HEL to its end, one task. Requests are answered in order, except Publish and those that wait for a
//! device or a person, which run beside it and go on when the client leaves.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use opcua::crypto::SecurityPolicy;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, mpsc},
    time::{Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    attributes::View,
    audit::Notice,
    browse, call,
    channel::{AsymmetricHeader, Channel, Opening, certificate},
    decode::{self, RequestHeader, Service},
    discovery,
    events::audit,
    frame::{self, Agreed, Frame, Kind, Next, status},
    history,
    login::{self, Through},
    read, register, send,
    session::{NO_CHANNEL, Session, status as session_status},
    subscribe::{Reply, services, transfer},
    wire::Reader,
    write,
};
use crate::{
    clock,
    engine::plan::Role,
    pki::x509::{Purpose, split_chain},
    tag::StatusCode,
};

/// A response in the making.
pub type Job = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// A finished job: request id and response.
type Done = (u32, Vec<u8>);

/// Bytes that are read at a time, when no more are expected.
const READ: usize = 16 * 1024;
/// Bytes that are read at a time from a peer that has not opened a channel.
const READ_EARLY: usize = 2 * 1024;
/// How long a connection sleeps that nothing wakes.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of finished responses after which they are sent before more requests are looked at.
const SEND_SOON: usize = 256 * 1024;

const BAD_SERVICE_UNSUPPORTED: StatusCode = StatusCode(0x800B_0000);
/// The key is too short or too long for the policy (Part 4, 6.1.3).
const BAD_CERTIFICATE_POLICY_CHECK_FAILED: StatusCode = StatusCode(0x8114_0000);

/// Why a connection ends: what ERR says, if anything.
enum End {
    /// The client is gone or has said goodbye.
    Quiet,
    /// It broke a rule.
    Error(StatusCode),
}

impl From<StatusCode> for End {
    fn from(status: StatusCode) -> Self {
        Self::Error(status)
    }
}

/// Half-received message.
struct Partial {
    request_id: u32,
    body: Vec<u8>,
    chunks: usize,
}

struct Connection {
    server: Arc<Server>,
    stream: TcpStream,
    peer: IpAddr,
    received: BytesMut,
    /// Bytes that the chunk will have of which `received` has the beginning.
    expected: usize,
    out: Vec<u8>,
    /// Where responses are made, kept for the next one.
    spare: Vec<u8>,
    /// Something came that may let subscriptions speak.
    stirred: bool,
    agreed: Option<Agreed>,
    channel: Option<Channel>,
    partial: Option<Partial>,
    /// Sessions whose subscriptions this connection looks after.
    sessions: Vec<Arc<Session>>,
    /// Told by others that something is to be said to a session of this connection.
    waker: Arc<Notify>,
    /// Until when the next step of the handshake must be done; `None` once a session was activated.
    handshake: Option<Instant>,
    /// Until when the chunk or message that has begun must be whole.
    incoming: Option<Instant>,
    done_sender: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    waiting: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for session in &self.sessions {
            let mut state = session.state();
            // Another connection may have taken it over.
            if self.channel.as_ref().is_some_and(|channel| channel.id == state.channel) {
                state.attached = false;
                state.subscriptions.detach();
            }
        }
    }
}

/// Serves one client until it leaves, breaks a rule, or `stop`.
pub async fn serve(server: Arc<Server>, stream: TcpStream, peer: IpAddr, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let handshake = Some(Instant::now() + server.settings.limits.hello);
    let (done_sender, done) = mpsc::channel(server.settings.limits.waiting_per_connection);
    let mut connection = Connection {
        server,
        stream,
        peer,
        received: BytesMut::new(),
        expected: 0,
        out: Vec::new(),
        spare: Vec::new(),
        stirred: false,
        agreed: None,
        channel: None,
        partial: None,
        sessions: Vec::new(),
        waker: Arc::default(),
        handshake,
        incoming: None,
        done_sender,
        done,
        waiting: 0,
    };
    let end = tokio::select! {
        end = connection.run() => end,
        () = stop.cancelled() => End::Error(status::BAD_SECURE_CHANNEL_CLOSED),
    };
    if let End::Error(code) = end {
        connection.server.notes.note(peer, &Notice::ConnectionClosed(code));
        connection.out.extend_from_slice(&frame::error(code, ""));
        let _ = connection.flush().await;
    }
    let _ = connection.stream.shutdown().await;
}

impl Connection {
    async fn run(&mut self) -> End {
        let mut timer = std::pin::pin!(sleep_until((Instant::now() + IDLE).into()));
        loop {
            if let Err(end) = self.step(timer.as_mut()).await {
                return end;
            }
        }
    }

    async fn step(&mut self, mut timer: Pin<&mut Sleep>) -> Result<(), End> {
        let wake = self.wake();
        // A timer that fires too early costs less than one that is set anew for every request.
        if timer.is_elapsed() || wake < timer.deadline().into_std() {
            timer.as_mut().reset(wake.into());
        }
        let may_read = self.waiting < self.server.settings.limits.waiting_per_connection;
        tokio::select! {
            biased;
            Some((request_id, body)) = self.done.recv() => {
                self.waiting -= 1;
                self.stirred = true;
                self.respond(request_id, &body)?;
            }
            () = self.waker.notified() => self.stirred = true,
            () = timer => {}
            ready = self.stream.readable(), if may_read => {
                ready.map_err(|_| End::Quiet)?;
                self.receive()?;
            }
        }
        self.take_frames().await?;
        self.expect_rest(may_read);
        if self.stirred || wake <= Instant::now() {
            self.stirred = false;
            self.tick()?;
        }
        self.flush().await
    }

    /// Takes what has come, as much as one chunk may have.
    fn receive(&mut self) -> Result<(), End> {
        // Before a session is activated, nothing is kept for what a peer only promises.
        let wanted = match (&self.channel, self.handshake) {
            (None, _) => READ_EARLY,
            (_, Some(_)) => READ,
            _ => self.expected.saturating_sub(self.received.len()).max(READ),
        };
        self.received.reserve(wanted);
        match self.stream.try_read_buf(&mut self.received) {
            Ok(0) => Err(End::Quiet),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(End::Quiet),
            _ => Ok(()),
        }
    }

    /// When something must be looked at though nothing came.
    fn wake(&self) -> Instant {
        let channel = self.channel.as_ref().map(Channel::ends);
        let looks = self.sessions.iter().filter_map(|session| session.state().subscriptions.next_look());
        let idle = Instant::now() + IDLE;
        looks.chain(channel).chain(self.handshake).chain(self.incoming).fold(idle, Instant::min)
    }

    /// What has begun must end in time; a peer that sends a byte now and then holds no buffer for long. While we do not read, the
    /// peer is not to blame.
    fn expect_rest(&mut self, may_read: bool) {
        let begun = !self.received.is_empty() || self.partial.is_some();
        if !begun {
            self.incoming = None;
        } else if self.incoming.is_none() || !may_read {
            self.incoming = Some(Instant::now() + self.server.settings.limits.incoming);
        }
    }

    /// The largest chunk that this peer may send now.
    fn chunk_limit(&self) -> usize {
        self.agreed.map_or(frame::MAX_HELLO, |agreed| agreed.receive)
    }

    async fn take_frames(&mut self) -> Result<(), End> {
        let mut received = std::mem::take(&mut self.received);
        let mut taken = 0;
        self.expected = loop {
            let rest = received.get(taken..).unwrap_or_default();
            let frame = match frame::next(rest, self.chunk_limit())? {
                Next::Whole(frame) => frame,
                Next::Part(size) => break size,
                Next::Nothing => break 0,
            };
            taken += frame.bytes.len();
            if self.partial.is_none() {
                self.incoming = None;
            }
            match (frame.kind, self.agreed) {
                (Kind::Hello, None) => self.hello(&frame)?,
                (Kind::Hello, Some(_)) | (_, None) => return Err(status::BAD_TCP_MESSAGE_TYPE_INVALID.into()),
                (Kind::Open, Some(_)) => {
                    let opened = self.open(Bytes::copy_from_slice(frame.bytes)).await;
                    if let Err(End::Error(status)) = &opened {
                        audit::channel_refused(&self.server, frame.bytes, *status);
                    }
                    opened?;
                }
                (Kind::Message | Kind::Close, Some(_)) => self.message(&frame).await?,
            }
            if self.out.len() > SEND_SOON {
                self.flush().await?;
            }
        };
        received.advance(taken);
        self.received = received;
        Ok(())
    }

    fn hello(&mut self, frame: &Frame<'_>) -> Result<(), End> {
        let limits = &self.server.settings.limits;
        let sizes = frame::Sizes::of(limits);
        let (agreed, answer) = frame::hello(frame.bytes, sizes)?;
        self.agreed = Some(agreed);
        self.out.extend_from_slice(&answer);
        self.handshake = Some(Instant::now() + limits.open);
        Ok(())
    }

    /// OpenSecureChannel, first or renewal. Trust in the certificate is checked before its signature costs anything.
    async fn open(&mut self, bytes: Bytes) -> Result<(), End> {
        let header = AsymmetricHeader::read(&bytes)?;
        let server = Arc::clone(&self.server);
        // A channel without security is open to everybody, for discovery; sessions need the policy to be configured.
        if header.policy != SecurityPolicy::None && !server.settings.security.contains(&header.policy) {
            return Err(status::BAD_SECURITY_POLICY_REJECTED.into());
        }
        if let Some(channel) = &self.channel
            && (channel.policy != header.policy || channel.certificate.as_deref() != header.certificate)
        {
            return Err(status::BAD_SECURITY_CHECKS_FAILED.into());
        }
        if let Some(leaf) = header.certificate {
            let (server, peer, der) = (Arc::clone(&server), self.peer, [leaf, header.chain].concat());
            let check = move || check_trust(&server, peer, header.policy, &der);
            self.server.with_key(check).await.unwrap_or(Err(status::BAD_CERTIFICATE_INVALID))?;
        }
        let secured = header.certificate.is_some();
        let opening = Opening {
            renews: self.channel.as_ref().map(Channel::renewal),
            new_id: server.next_channel(),
            token: server.next_token(),
            own: self.channel.as_ref().map_or_else(|| server.own.load_full(), |channel| Arc::clone(&channel.own)),
            sequence: self.channel.as_ref().map_or(1, Channel::next_sequence),
            life: server.settings.limits.token,
            modes: server.settings.modes.clone(),
            frame: bytes.clone(),
        };
        let opened = if secured {
            server.with_key(move || opening.run()).await.unwrap_or(Err(status::BAD_SECURITY_CHECKS_FAILED))?
        } else {
            opening.run()?
        };
        let now = Instant::now();
        let answer = match (opened, &mut self.channel) {
            (Ok(opened), Some(channel)) => channel.renew(opened, now),
            (Ok(opened), None) => {
                let (channel, answer) = Channel::new(opened, now);
                self.channel = Some(channel);
                self.handshake = Some(now + server.settings.limits.first_session);
                answer
            }
            (Err(refused), Some(channel)) => {
                audit::channel_refused(&server, &bytes, refused.status);
                channel.refuse(*refused)
            }
            (Err(refused), None) => {
                // Who has no channel after this has nothing to go on with.
                self.out.extend_from_slice(&refused.answer);
                return Err(refused.status.into());
            }
        };
        self.out.extend_from_slice(&answer);
        Ok(())
    }

    async fn message(&mut self, frame: &Frame<'_>) -> Result<(), End> {
        let limits = &self.server.settings.limits;
        let Some(channel) = &mut self.channel else { return Err(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN.into()) };
        let part = channel.receive(frame, Instant::now())?;
        if frame.kind == Kind::Close {
            return Err(End::Quiet);
        }
        if frame.part == b'A' {
            self.partial = None;
            return Ok(());
        }
        let most = if self.handshake.is_some() { limits.early_message } else { limits.message };
        if frame.part == b'F' && self.partial.is_none() {
            return self.request(part.request_id, part.body()).await;
        }
        let mut partial = self.partial.take().unwrap_or(Partial { request_id: part.request_id, body: Vec::new(), chunks: 0 });
        if partial.request_id != part.request_id {
            return Err(status::BAD_SECURITY_CHECKS_FAILED.into());
        }
        partial.chunks += 1;
        if partial.body.len() + part.body().len() > most || partial.chunks > limits.chunks {
            return Err(status::BAD_TCP_MESSAGE_TOO_LARGE.into());
        }
        partial.body.extend_from_slice(part.body());
        if frame.part == b'C' {
            self.partial = Some(partial);
            return Ok(());
        }
        self.request(partial.request_id, &partial.body).await
    }

    async fn request(&mut self, request_id: u32, body: &[u8]) -> Result<(), End> {
        let mut reader = Reader::new(body);
        let service = reader.id().map(|type_id| type_id.standard().and_then(Service::of));
        let Ok(service) = service else { return self.refuse(request_id, body, status::BAD_DECODING_ERROR) };
        let Some(service) = service else { return self.refuse(request_id, body, BAD_SERVICE_UNSUPPORTED) };
        let Ok(header) = RequestHeader::read(&mut reader) else {
            return self.refuse(request_id, body, status::BAD_DECODING_ERROR);
        };
        let answer = match service {
            Service::GetEndpoints => {
                discovery::get_endpoints(&self.server, &header, &mut reader).map_err(|_| status::BAD_DECODING_ERROR)
            }
            Service::FindServers => {
                discovery::find_servers(&self.server, &header, &mut reader).map_err(|_| status::BAD_DECODING_ERROR)
            }
            Service::CreateSession => {
                let through = self.through()?;
                let answer = login::create_session(&self.server, &header, &mut reader, &through).await;
                let told = answer.as_deref().map_err(|status| *status);
                let certificate = through.certificate.as_deref();
                audit::session_created(&self.server, told, through.channel, certificate, header.audit_entry);
                answer
            }
            Service::ActivateSession => self.activate(&header, &mut reader).await,
            _ => match self.session(&header) {
                Ok((session, role)) => {
                    let answer = self.in_session(service, request_id, &header, &mut reader, &session, role);
                    let too_large = |answer: &Vec<u8>| session.max_response > 0 && answer.len() > session.max_response;
                    let answer = match answer {
                        Ok(Some(answer)) if too_large(&answer) => Err(status::BAD_RESPONSE_TOO_LARGE),
                        answer => answer,
                    };
                    session.diagnostics.count(service, answer.as_ref().err().copied());
                    match answer {
                        Ok(Some(answer)) => Ok(answer),
                        Ok(None) => return Ok(()),
                        Err(status) => Err(status),
                    }
                }
                Err(status) => Err(status),
            },
        };
        self.server.diagnostics.answered(service, &answer);
        let answer = answer.unwrap_or_else(|status| send::fault(header.handle, status));
        self.respond(request_id, &answer)?;
        if answer.capacity() <= 2 * SEND_SOON {
            self.spare = answer;
        }
        Ok(())
    }

    /// Answers what is no request, or none of ours, with a ServiceFault.
    fn refuse(&mut self, request_id: u32, body: &[u8], status: StatusCode) -> Result<(), End> {
        self.server.diagnostics.refused(status);
        self.respond(request_id, &send::fault(decode::handle(body), status))
    }

    fn through(&self) -> Result<Through, End> {
        let channel = self.channel.as_ref().ok_or(status::BAD_TCP_SECURE_CHANNEL_UNKNOWN)?;
        Ok(Through::new(channel, self.peer))
    }

    async fn activate(&mut self, header: &RequestHeader<'_>, reader: &mut Reader<'_>) -> Result<Vec<u8>, StatusCode> {
        let session = self.server.sessions.find(header.token).ok_or(session_status::BAD_SESSION_ID_INVALID)?;
        let through = self.through().map_err(|_| status::BAD_SECURE_CHANNEL_ID_INVALID)?;
        let answer = login::activate_session(&self.server, header, reader, &through, &session).await;
        session.diagnostics.count(Service::ActivateSession, answer.as_ref().err().copied());
        let status = answer.as_ref().err().copied().unwrap_or(StatusCode::GOOD);
        audit::session_activated(&self.server, &session, status, header.audit_entry);
        let answer = answer?;
        self.handshake = None;
        if !self.sessions.iter().any(|known| Arc::ptr_eq(known, &session)) {
            let mut state = session.state();
            state.attached = true;
            state.waker = Some(Arc::clone(&self.waker));
            // Requests that came through the connection before this one are answered by nobody.
            state.subscriptions.detach();
            drop(state);
            self.sessions.push(session);
        }
        Ok(answer)
    }

    /// The session of a request and its role, if this channel may use it.
    fn session(&self, header: &RequestHeader<'_>) -> Result<(Arc<Session>, Role), StatusCode> {
        let known = self.sessions.iter().find(|session| session.is_named(header.token)).cloned();
        let session = known.or_else(|| self.server.sessions.find(header.token)).ok_or(session_status::BAD_SESSION_ID_INVALID)?;
        let role = {
            let mut state = session.state();
            if state.channel == NO_CHANNEL {
                return Err(session_status::BAD_SESSION_ID_INVALID);
            }
            if self.channel.as_ref().is_none_or(|channel| channel.id != state.channel) {
                return Err(status::BAD_SECURE_CHANNEL_ID_INVALID);
            }
            state.used = Instant::now();
            state.actor.as_ref().map(|actor| actor.role)
        };
        match role {
            Some(role) => Ok((session, role)),
            None => {
                // Any other service on an unactivated session ends it (Part 4, 5.7.3.1).
                self.server.sessions.remove(&session);
                Err(session_status::BAD_SESSION_NOT_ACTIVATED)
            }
        }
    }

    /// `None` when the answer comes later.
    fn in_session(
        &mut self,
        service: Service,
        request_id: u32,
        header: &RequestHeader<'_>,
        reader: &mut Reader<'_>,
        session: &Arc<Session>,
        role: Role,
    ) -> Result<Option<Vec<u8>>, StatusCode> {
        let view = self.server.view(role);
        let now = Instant::now();
        // Only these leave subscriptions as they are.
        self.stirred |= !matches!(service, Service::Read | Service::Write | Service::Browse | Service::BrowseNext);
        let actor = || session.state().actor.clone().ok_or(session_status::BAD_SESSION_NOT_ACTIVATED);
        Ok(Some(match service {
            Service::CloseSession => {
                let delete = reader.boolean().map_err(|_| status::BAD_DECODING_ERROR)?;
                if !delete {
                    self.server.leave_subscriptions(session);
                }
                self.sessions.retain(|known| !Arc::ptr_eq(known, session));
                audit::session_closed(&self.server, session, &actor()?, header.audit_entry);
                login::close_session(&self.server, header, session)
            }
            Service::Read => read::read(&view, header, reader, std::mem::take(&mut self.spare))?,
            Service::Write => {
                let job = write::write(&view, actor()?, header, reader)?;
                self.start(request_id, header.handle, job);
                return Ok(None);
            }
            Service::Call => {
                let job = call::call(&view, session, actor()?, header, reader)?;
                self.start(request_id, header.handle, job);
                return Ok(None);
            }
            Service::HistoryRead => {
                let job = history::read(&view, session, header, reader)?;
                self.start(request_id, header.handle, job);
                return Ok(None);
            }
            Service::Browse => browse::browse(&view, session, header, reader)?,
            Service::BrowseNext => browse::browse_next(&view, session, header, reader)?,
            Service::TranslateBrowsePaths => browse::translate(&view, header, reader)?,
            Service::CreateSubscription => services::create(&mut session.state(), header, reader, now)?,
            Service::ModifySubscription => services::modify(&mut session.state(), header, reader, now)?,
            Service::SetPublishingMode => services::set_publishing_mode(&mut session.state(), header, reader)?,
            Service::DeleteSubscriptions => services::delete(&mut session.state(), header, reader)?,
            Service::CreateMonitoredItems => services::create_items(&view, &mut session.state(), header, reader, now)?,
            Service::ModifyMonitoredItems => services::modify_items(&view, &mut session.state(), header, reader, now)?,
            Service::SetMonitoringMode => services::set_monitoring_mode(&view, &mut session.state(), header, reader, now)?,
            Service::DeleteMonitoredItems => services::delete_items(&view, &mut session.state(), header, reader)?,
            Service::SetTriggering => services::set_triggering(&mut session.state(), header, reader)?,
            Service::TransferSubscriptions => transfer::transfer(&view, session, &actor()?, header, reader)?,
            Service::RegisterNodes => register::register(&view, header, reader)?,
            Service::UnregisterNodes => register::unregister(&view, header, reader)?,
            Service::Cancel => {
                let mut replies = Vec::new();
                let answer = services::cancel(&mut session.state().subscriptions, header, reader, &mut replies)?;
                self.send_all(replies)?;
                answer
            }
            Service::Republish => services::republish(&mut session.state(), header, reader)?,
            Service::Publish => {
                let mut replies = Vec::new();
                services::publish(&mut session.state().subscriptions, request_id, header, reader, now, &mut replies)?;
                self.send_all(replies)?;
                return Ok(None);
            }
            Service::FindServers | Service::GetEndpoints | Service::CreateSession | Service::ActivateSession => {
                return Err(StatusCode::BAD_INTERNAL_ERROR);
            }
        }))
    }

    /// Runs `job` beside the connection; it is carried to its end even when the client leaves.
    fn start(&mut self, request_id: u32, handle: u32, job: Job) {
        self.waiting += 1;
        let done = self.done_sender.clone();
        let jobs = &self.server.jobs;
        let job = jobs.spawn(job);
        jobs.spawn(async move {
            let body = job.await.unwrap_or_else(|_| send::fault(handle, StatusCode::BAD_INTERNAL_ERROR));
            let _ = done.send((request_id, body)).await;
        });
    }

    /// Lets the subscriptions work.
    fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.handshake.into_iter().chain(self.incoming).any(|until| until <= now) {
            return Err(StatusCode::BAD_TIMEOUT.into());
        }
        let Some(channel) = &self.channel else { return Ok(()) };
        if channel.ends() <= now {
            return Err(status::BAD_SECURE_CHANNEL_CLOSED.into());
        }
        let channel = channel.id;
        let mut replies = Vec::new();
        self.sessions.retain(|session| session.state().channel == channel);
        if self.sessions.is_empty() && self.handshake.is_none() {
            // Whoever has closed its session may open another, but not stay without one.
            self.handshake = Some(now + self.server.settings.limits.first_session);
        }
        for session in &self.sessions {
            let mut state = session.state();
            let Some(role) = state.actor.as_ref().map(|actor| actor.role) else { continue };
            let view: View = self.server.view(role);
            state.subscriptions.tick(now, &view, &mut replies);
        }
        self.send_all(replies).map_err(End::from)
    }

    fn send_all(&mut self, replies: Vec<Reply>) -> Result<(), StatusCode> {
        for reply in replies {
            self.append(reply.request_id, &reply.body)?;
        }
        Ok(())
    }

    fn respond(&mut self, request_id: u32, body: &[u8]) -> Result<(), End> {
        self.append(request_id, body).map_err(End::from)
    }

    /// Queues a response; one that is larger than the client takes becomes a fault.
    fn append(&mut self, request_id: u32, body: &[u8]) -> Result<(), StatusCode> {
        let (Some(channel), Some(agreed)) = (&mut self.channel, self.agreed) else { return Ok(()) };
        let fits = body.len() <= agreed.message && channel.chunks(body.len(), agreed.chunk) <= agreed.chunks;
        if fits {
            return channel.send(request_id, body, agreed.chunk, &mut self.out);
        }
        let mut header = Reader::new(body);
        let handle = (|| {
            header.id()?;
            header.time()?;
            header.u32()
        })();
        let fault = send::fault(handle.unwrap_or(0), status::BAD_RESPONSE_TOO_LARGE);
        channel.send(request_id, &fault, agreed.chunk, &mut self.out)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Most answers fit the socket's buffer; only then a deadline is needed.
        let sent = match self.stream.try_write(&self.out) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(End::Quiet),
        };
        if let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            let sent = tokio::time::timeout(self.server.settings.limits.send, self.stream.write_all(rest)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(End::Quiet);
            }
        }
        self.out.clear();
        if self.out.capacity() > 2 * SEND_SOON {
            self.out.shrink_to(SEND_SOON);
        }
        Ok(())
    }
}

/// Says whether a client with this certificate, and the chain behind it, may open a channel; reads the trust list, so off the
/// reactor.
fn check_trust(server: &Server, peer: IpAddr, policy: SecurityPolicy, der: &[u8]) -> Result<(), StatusCode> {
    let trust = server.pki.check_der(der, Purpose::Client, clock::now());
    if !trust.is_trusted() {
        server.notes.note(peer, &Notice::CertificateRefused(&trust));
        audit::certificate_refused(server, der, trust.status());
        return Err(trust.status());
    }
    let (leaf, _) = split_chain(der);
    let fits = certificate(leaf)?.key_length().is_ok_and(|bits| policy.is_valid_keylength(bits));
    fits.then_some(()).ok_or(BAD_CERTIFICATE_POLICY_CHECK_FAILED)
}
