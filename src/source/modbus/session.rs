//! One session: connect, poll what is due, carry out requests in between, until the connection fails.

use tokio::{
    sync::mpsc::error::TryRecvError,
    time::{Instant, sleep_until},
};
use tokio_modbus::{ExceptionCode, Request, Response};

use super::{
    address::Point,
    decode::{self, Payload},
    settings::{ModbusSettings, Transport},
    state::{State, read_request, read_status, write_status},
    transport::{Connection, Failure},
    write::{Write, with_bit, write},
};
use crate::{
    clock,
    source::{Link, SessionEnd, SourceRequest},
    tag::{StatusCode, TagId, Value},
};

/// Requests carried out between two polls at most, so that a flood of writes does not stop the reading.
const REQUESTS_BETWEEN_POLLS: usize = 16;
/// Times that a unit on a serial line is asked again before it counts as down: a frame spoilt by noise is not a dead device.
const SERIAL_RETRIES: u32 = 1;

struct Session<'a> {
    settings: &'a ModbusSettings,
    state: &'a mut State,
    link: &'a mut Link,
    connection: Connection,
    connected: bool,
}

/// Runs one session.
pub async fn run(settings: &ModbusSettings, state: &mut State, link: &mut Link) -> SessionEnd {
    let opened = tokio::select! {
        biased;
        () = link.stop.cancelled() => return SessionEnd::Stopped,
        opened = Connection::open(settings) => opened,
    };
    let connection = match opened {
        Ok(connection) => connection,
        Err(error) => return SessionEnd::Lost(format!("failed to {error}")),
    };
    state.begin(Instant::now());
    // Without tags no answer will ever prove the link: having connected must do.
    let connected = state.next().is_none();
    if connected {
        link.connected();
    }
    let mut session = Session { settings, state, link, connection, connected };
    let end = session.serve().await;
    session.connection.disconnect().await;
    end
}

impl Session<'_> {
    async fn serve(&mut self) -> SessionEnd {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// The requests that wait, then the block that is due, or a wait for either.
    async fn turn(&mut self) -> Result<(), SessionEnd> {
        for _ in 0..REQUESTS_BETWEEN_POLLS {
            match self.link.requests.try_recv() {
                Ok(request) => self.request(request).await?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(SessionEnd::Stopped),
            }
        }
        let next = self.state.next();
        let due = async {
            match next {
                Some((block, due)) => {
                    sleep_until(due).await;
                    block
                }
                // Without tags there is nothing to read; the connection is kept for whoever watches it.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.link.stop.cancelled() => Err(SessionEnd::Stopped),
            block = due => self.poll(block).await,
            request = self.link.requests.recv() => match request {
                Some(request) => self.request(request).await,
                None => Err(SessionEnd::Stopped),
            },
        }
    }

    async fn poll(&mut self, at: usize) -> Result<(), SessionEnd> {
        let block = self.state.block(at);
        let (unit, request) = (block.unit, read_request(block.table, block.address, block.count));
        let answer = tokio::select! {
            biased;
            // A read that is given up leaves no doubt behind; the connection is closed at once.
            () = self.link.stop.cancelled() => return Err(SessionEnd::Stopped),
            answer = self.connection.call(unit, request) => answer,
        };
        let (now, time) = (Instant::now(), clock::now());
        let samples = match answer {
            Ok(answer) => {
                self.answered();
                self.link.stats.read();
                match answer {
                    Ok(response) => {
                        self.state.answered(unit);
                        self.state.read(at, payload(&response), now, time)
                    }
                    Err(exception) => {
                        if !is_gateways(exception) {
                            self.state.answered(unit);
                        }
                        tracing::debug!(source = %self.link.name, unit, %exception, "a read was refused");
                        self.state.refused(at, exception, now, time)
                    }
                }
            }
            Err(failure) => return self.failed(unit, failure).await,
        };
        if !samples.is_empty() {
            self.link.samples(samples);
        }
        Ok(())
    }

    async fn request(&mut self, request: SourceRequest) -> Result<(), SessionEnd> {
        match request {
            SourceRequest::Write { tag, value, reply } => {
                let (status, failure) = self.write(tag, &value).await;
                if !status.is_good() {
                    self.link.stats.write_error();
                }
                // Nobody waiting for the outcome any more is no failure of the device.
                let _ = reply.send(status);
                failure
            }
            SourceRequest::Read { tag, reply } => {
                let (outcome, failure) = self.read(tag).await;
                let _ = reply.send(outcome);
                failure
            }
        }
    }

    /// One write, and what the device said to it.
    async fn write(&mut self, tag: TagId, value: &Value) -> (StatusCode, Result<(), SessionEnd>) {
        let Some((def, point)) = self.state.find(tag) else { return (StatusCode::BAD_NOT_FOUND, Ok(())) };
        let (point, wanted) = (*point, write(def, point, value));
        let request = match wanted {
            Ok(Write::Request(request)) => request,
            Ok(Write::Bit { address, mask, value }) if self.settings.read_modify_write => {
                let read = self.ask(point.unit, read_request(point.table, address, 1)).await;
                match read {
                    Asked::Answered(Response::ReadHoldingRegisters(words)) if words.len() == 1 => {
                        Request::WriteSingleRegister(address, with_bit(words[0], mask, value))
                    }
                    Asked::Answered(_) => return (StatusCode::BAD_COMMUNICATION_ERROR, Ok(())),
                    Asked::Refused(exception) => return (write_status(exception), Ok(())),
                    // Only the read failed: nothing was written, and nothing is in doubt.
                    Asked::Failed(end) => return (StatusCode::BAD_COMMUNICATION_ERROR, end),
                }
            }
            Ok(Write::Bit { address, mask, value }) => Request::MaskWriteRegister(address, !mask, if value { mask } else { 0 }),
            Err(status) => return (status, Ok(())),
        };
        match self.ask(point.unit, request).await {
            Asked::Answered(_) => {
                self.state.written(&point, Instant::now());
                (StatusCode::GOOD, Ok(()))
            }
            Asked::Refused(exception) => {
                let help = match (point.bit, exception) {
                    (Some(_), ExceptionCode::IllegalFunction) => {
                        "; without function 22 only `bit_write = \"read-modify-write\"` can write bits of registers"
                    }
                    _ => "",
                };
                tracing::warn!(source = %self.link.name, unit = point.unit, %exception, "a write was refused{help}");
                (write_status(exception), Ok(()))
            }
            // The device may have carried it out all the same.
            Asked::Failed(end) => (StatusCode::BAD_TIMEOUT, end),
        }
    }

    /// The present value of one tag, read by itself.
    async fn read(&mut self, tag: TagId) -> (Result<Value, StatusCode>, Result<(), SessionEnd>) {
        let Some((_, point)) = self.state.find(tag) else { return (Err(StatusCode::BAD_NOT_FOUND), Ok(())) };
        let Point { unit, table, address, .. } = *point;
        let request = read_request(table, address, point.span());
        match self.ask(unit, request).await {
            Asked::Answered(response) => {
                let found = self.state.find(tag).ok_or(StatusCode::BAD_NOT_FOUND);
                (found.and_then(|(def, point)| decode::value(def, point, payload(&response), 0)), Ok(()))
            }
            Asked::Refused(exception) => (Err(read_status(exception)), Ok(())),
            Asked::Failed(end) => (Err(StatusCode::BAD_TIMEOUT), end),
        }
    }

    /// One request to the end: it is not given up when the session is to stop, so that its outcome is known.
    async fn ask(&mut self, unit: u8, request: Request<'_>) -> Asked {
        match self.connection.call(unit, request).await {
            Ok(answer) => {
                self.answered();
                match answer {
                    Ok(response) => {
                        self.state.answered(unit);
                        Asked::Answered(response)
                    }
                    Err(exception) => Asked::Refused(exception),
                }
            }
            Err(failure) => Asked::Failed(self.failed(unit, failure).await),
        }
    }

    /// The device or its gateway answered something.
    fn answered(&mut self) {
        if !self.connected {
            self.connected = true;
            self.link.connected();
        }
        self.link.alive();
    }

    /// After a failure the connection is spoilt. A unit that was silent is left alone while others may still answer, on a
    /// connection made anew; otherwise the session ends.
    async fn failed(&mut self, unit: u8, failure: Failure) -> Result<(), SessionEnd> {
        let lost = match failure {
            Failure::Timeout => format!("unit {unit} did not answer within {:?}", self.settings.timeout),
            Failure::Broken(what) => return Err(SessionEnd::Lost(what)),
        };
        let silent = self.state.silent(unit);
        let retries = if matches!(self.settings.transport, Transport::Rtu(_)) { SERIAL_RETRIES } else { 0 };
        if silent > retries {
            let samples = self.state.unit_down(unit, Instant::now(), clock::now());
            if self.state.all_down() {
                return Err(SessionEnd::Lost(lost));
            }
            if !samples.is_empty() {
                tracing::warn!(source = %self.link.name, unit, "{lost}; the other units go on");
                self.link.samples(samples);
            }
        }
        // Two connections at once are one too many for many a PLC, and a serial line can be opened only once.
        self.connection.disconnect().await;
        let opened = tokio::select! {
            biased;
            () = self.link.stop.cancelled() => return Err(SessionEnd::Stopped),
            opened = Connection::open(self.settings) => opened,
        };
        let opened = opened.map(|connection| self.connection = connection);
        opened.map_err(|error| SessionEnd::Lost(format!("{lost}, and failed to {error}")))
    }
}

/// The end of one request.
enum Asked {
    Answered(Response),
    Refused(ExceptionCode),
    /// The connection failed; whether the session goes on.
    Failed(Result<(), SessionEnd>),
}

/// What a checked answer to a read carries.
fn payload(response: &Response) -> Payload<'_> {
    match response {
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => Payload::Bits(bits),
        Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => Payload::Registers(words),
        _ => Payload::Registers(&[]),
    }
}

/// Exceptions 0A and 0B come from the gateway: the unit behind it said nothing.
fn is_gateways(exception: ExceptionCode) -> bool {
    matches!(exception, ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice)
}
