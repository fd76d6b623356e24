//! A Modbus TCP PLC with a small plant behind it: a feed tank that a pump fills and the process drains.
//!
//! For `simulate modbus-plc`, `demo` and tests. What a client sees ([`MAP`]):
//!
//! | table | address | what |
//! |---|---|---|
//! | coil | 0 | pump running |
//! | coil | 1 | tank level high high, tripped; latched until acknowledged |
//! | coil | 2 | pump fault, tripped; latched until acknowledged |
//! | coil | 3 | emergency stop, tripped; latched until acknowledged |
//! | coil | 10 | acknowledge all trips |
//! | coil | 11, 12, 13 | acknowledge the trip of coil 1, 2, 3 |
//! | coil | 1000–20999 | spare bits that the plant leaves alone |
//! | discrete | 0 | door contact, 1 = closed |
//! | holding | 0–1 | tank level, f32 `cdab`, % |
//! | holding | 2–3 | flow, f32 `cdab`, m³/h |
//! | holding | 4 | tank level raw, u16, 0–27648 for 0–100 % |
//! | holding | 5 | pump starts, u16, wraps |
//! | holding | 6 | acknowledgements seen, u16, wraps |
//! | holding | 7 | status word: bit 0 pump running, bit 1 maintenance (may be written) |
//! | holding | 8 | acknowledgement counter to write: every change acknowledges all trips |
//! | holding | 100–1099 | spare registers that the plant leaves alone |
//! | input | 0 | temperature, i16, tenths of °C |
//!
//! A trip stops the pump. It is set by [`Plant::trip`] or by writing its coil, and cleared by the rising edge of an
//! acknowledge coil. The PLC takes an acknowledge coil back two seconds after it rose, so that a bridge may pulse it or set
//! it. All units answer alike. Function codes 1–6, 15, 16 and 22; anything else is exception 1, an address outside the map
//! exception 2, a wrong quantity exception 3. No behaviour of a particular make is imitated, and there is no access control.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
};
use tokio_modbus::{
    ExceptionCode, Request, Response, SlaveRequest,
    server::{Service, tcp::Server},
};

/// Connections served at once; further ones are closed.
pub const MAX_CONNECTIONS: usize = 32;
/// Events that a slow subscriber may fall behind before it misses some.
pub const EVENTS: usize = 256;

const STEP: Duration = Duration::from_millis(100);
/// Steps after which an acknowledge coil is taken back.
const ACK_STEPS: u32 = 20;
const COILS: usize = 21_000;
const SPARE_COILS: usize = 1000;
const HOLDING: usize = 1100;
const SPARE_HOLDING: usize = 100;
const PLANT_COILS: usize = 16;
const PLANT_HOLDING: usize = 16;
const RAW_FULL_SCALE: f32 = 27_648.0;
const NOMINAL_FLOW: f32 = 12.0;

/// One line of the register map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The address as a tag's `address` writes it.
    pub address: &'static str,
    /// The tag's `format`; empty for a bit.
    pub format: &'static str,
    /// What it is.
    pub what: &'static str,
}

/// The register map of the plant, without the spare areas.
pub const MAP: &[Point] = &[
    Point { address: "coil:0", format: "", what: "pump running" },
    Point { address: "coil:1", format: "", what: "tank level high high, tripped" },
    Point { address: "coil:2", format: "", what: "pump fault, tripped" },
    Point { address: "coil:3", format: "", what: "emergency stop, tripped" },
    Point { address: "coil:10", format: "", what: "acknowledge all trips" },
    Point { address: "coil:11", format: "", what: "acknowledge tank level high high" },
    Point { address: "coil:12", format: "", what: "acknowledge pump fault" },
    Point { address: "coil:13", format: "", what: "acknowledge emergency stop" },
    Point { address: "discrete:0", format: "", what: "door contact, 1 = closed" },
    Point { address: "holding:0", format: "f32:cdab", what: "tank level, %" },
    Point { address: "holding:2", format: "f32:cdab", what: "flow, m³/h" },
    Point { address: "holding:4", format: "u16", what: "tank level raw, 0 to 27648" },
    Point { address: "holding:5", format: "u16", what: "pump starts" },
    Point { address: "holding:6", format: "u16", what: "acknowledgements seen" },
    Point { address: "holding:7", format: "u16", what: "status word: bit 0 pump running, bit 1 maintenance" },
    Point { address: "holding:8", format: "u16", what: "acknowledgement counter to write" },
    Point { address: "input:0", format: "i16", what: "temperature, tenths of °C" },
];

/// What can trip the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Coil 1.
    TankHighHigh,
    /// Coil 2.
    PumpFault,
    /// Coil 3.
    EmergencyStop,
}

impl Trip {
    /// All of them, by coil.
    pub const ALL: [Self; 3] = [Self::TankHighHigh, Self::PumpFault, Self::EmergencyStop];

    /// The coil that shows it.
    #[must_use]
    pub const fn coil(self) -> u16 {
        match self {
            Self::TankHighHigh => 1,
            Self::PumpFault => 2,
            Self::EmergencyStop => 3,
        }
    }
}

/// What happened in the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A trip's coil rose.
    Tripped(Trip),
    /// A trip's coil fell.
    Cleared(Trip),
    /// An acknowledge coil rose (10 to 13), or `None`: the acknowledgement counter changed.
    Acknowledged(Option<u16>),
    /// The pump started or stopped.
    Pump(bool),
}

/// The PLC simulator.
#[derive(Clone, Copy, Debug)]
pub struct Plc;

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The plant behind it.
    pub plant: Plant,
    server: JoinHandle<()>,
    steps: JoinHandle<()>,
}

/// A handle on the plant.
#[derive(Clone, Debug)]
pub struct Plant {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Event>,
}

impl Plc {
    /// Listens on `addr` (port 0 for any) and starts the plant.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(addr: SocketAddr) -> io::Result<Running> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let plant = Plant { state: Arc::new(Mutex::new(State::new())), events: broadcast::channel(EVENTS).0 };
        let server = tokio::spawn(serve(listener, plant.clone()));
        let steps = tokio::spawn(run(plant.clone()));
        Ok(Running { addr, plant, server, steps })
    }
}

impl Running {
    /// Closes every connection and waits until the port is free.
    pub async fn stop(mut self) {
        self.server.abort();
        self.steps.abort();
        drop((&mut self.server).await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
        self.steps.abort();
    }
}

impl Plant {
    /// Trips the plant, as its own protection would.
    pub fn trip(&self, trip: Trip) {
        self.change(|state, events| state.set_coil(usize::from(trip.coil()), true, events));
    }

    /// Takes a trip back without an acknowledgement: the cause is gone.
    pub fn reset(&self, trip: Trip) {
        self.change(|state, events| state.set_coil(usize::from(trip.coil()), false, events));
    }

    /// A coil as clients see it; false outside the map.
    #[must_use]
    pub fn coil(&self, address: u16) -> bool {
        self.lock().coils.get(usize::from(address)).is_some_and(|coil| *coil)
    }

    /// A holding register as clients see it; zero outside the map.
    #[must_use]
    pub fn holding(&self, address: u16) -> u16 {
        self.lock().holding.get(usize::from(address)).copied().unwrap_or(0)
    }

    /// Sets coils at once, as one PLC cycle would; those outside the map are passed over.
    pub fn set_coils(&self, address: u16, values: &[bool]) {
        self.change(|state, events| {
            for (index, value) in values.iter().enumerate() {
                state.set_coil(usize::from(address) + index, *value, events);
            }
        });
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, &mut Vec<Event>) -> T) -> T {
        let mut events = Vec::new();
        let mut state = self.lock();
        let result = change(&mut state, &mut events);
        for event in events {
            // Nobody listening is no failure.
            drop(self.events.send(event));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The PLC's memory and what it does to it.
#[derive(Debug)]
struct State {
    coils: Vec<bool>,
    holding: Vec<u16>,
    steps: u32,
    /// Step at which each acknowledge coil is taken back.
    ack_until: [Option<u32>; PLANT_COILS],
    level: f32,
    flow: f32,
    pump: bool,
    starts: u16,
    acks: u16,
}

impl State {
    fn new() -> Self {
        let mut state = Self {
            coils: vec![false; COILS],
            holding: vec![0; HOLDING],
            steps: 0,
            ack_until: [None; PLANT_COILS],
            level: 55.0,
            flow: 0.0,
            pump: false,
            starts: 0,
            acks: 0,
        };
        state.show();
        state
    }

    /// One time step: the pump fills from 45 % to 70 % unless something tripped, the process drains steadily.
    fn step(&mut self, events: &mut Vec<Event>) {
        self.steps = self.steps.wrapping_add(1);
        for coil in 0..PLANT_COILS {
            if self.ack_until[coil].is_some_and(|until| self.steps >= until) {
                self.ack_until[coil] = None;
                self.coils[coil] = false;
            }
        }
        let tripped = Trip::ALL.iter().any(|trip| self.coils[usize::from(trip.coil())]);
        let wanted = !tripped && if self.pump { self.level < 70.0 } else { self.level < 45.0 };
        if wanted != self.pump {
            self.pump = wanted;
            self.starts = self.starts.wrapping_add(u16::from(wanted));
            events.push(Event::Pump(wanted));
        }
        let seconds = STEP.as_secs_f32();
        let target = if self.pump { NOMINAL_FLOW } else { 0.0 };
        self.flow += (target - self.flow) * seconds / 2.0;
        let drain = if self.level > 5.0 { 0.5 } else { 0.0 };
        self.level = (self.level + (self.flow / NOMINAL_FLOW * 1.5 - drain) * seconds).clamp(0.0, 100.0);
        self.show();
    }

    /// Puts the plant's values into the registers.
    fn show(&mut self) {
        put_cdab(&mut self.holding[0..2], self.level);
        put_cdab(&mut self.holding[2..4], self.flow);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let raw = (self.level / 100.0 * RAW_FULL_SCALE).round() as u16;
        self.holding[4] = raw;
        self.holding[5] = self.starts;
        self.holding[6] = self.acks;
        self.holding[7] = self.holding[7] & !1 | u16::from(self.pump);
        self.coils[0] = self.pump;
    }

    fn temperature(&self) -> u16 {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let tenths = (215.0 + 15.0 * (self.steps as f32 / 600.0).sin()).round() as i16;
        tenths.cast_unsigned()
    }

    fn set_coil(&mut self, address: usize, value: bool, events: &mut Vec<Event>) {
        let Some(coil) = self.coils.get_mut(address) else { return };
        let before = std::mem::replace(coil, value);
        if before == value {
            return;
        }
        if let Some(trip) = Trip::ALL.into_iter().find(|trip| usize::from(trip.coil()) == address) {
            events.push(if value { Event::Tripped(trip) } else { Event::Cleared(trip) });
        }
        if let (10..=13, true, Ok(number)) = (address, value, u16::try_from(address)) {
            self.ack_until[address] = Some(self.steps.wrapping_add(ACK_STEPS));
            self.acknowledge(Some(number), events);
        }
    }

    fn acknowledge(&mut self, coil: Option<u16>, events: &mut Vec<Event>) {
        self.acks = self.acks.wrapping_add(1);
        self.holding[6] = self.acks;
        events.push(Event::Acknowledged(coil));
        for trip in Trip::ALL {
            if coil.is_none_or(|coil| coil == 10 || coil == trip.coil() + 10) {
                self.set_coil(usize::from(trip.coil()), false, events);
            }
        }
    }

    fn set_holding(&mut self, address: usize, value: u16, events: &mut Vec<Event>) {
        let before = std::mem::replace(&mut self.holding[address], value);
        if address == 8 && before != value {
            self.acknowledge(None, events);
        }
    }

    fn answer(&mut self, request: &Request<'_>, events: &mut Vec<Event>) -> Result<Response, ExceptionCode> {
        match request {
            Request::ReadCoils(address, count) => {
                let range = coils(*address, usize::from(*count), 2000)?;
                Ok(Response::ReadCoils(self.coils[range].to_vec()))
            }
            Request::ReadDiscreteInputs(address, count) => {
                within(*address, usize::from(*count), 2000, 1)?;
                Ok(Response::ReadDiscreteInputs(vec![true]))
            }
            Request::ReadHoldingRegisters(address, count) => {
                let range = holding(*address, usize::from(*count), 125)?;
                Ok(Response::ReadHoldingRegisters(self.holding[range].to_vec()))
            }
            Request::ReadInputRegisters(address, count) => {
                within(*address, usize::from(*count), 125, 1)?;
                Ok(Response::ReadInputRegisters(vec![self.temperature()]))
            }
            Request::WriteSingleCoil(address, value) => {
                coils(*address, 1, 1)?;
                self.set_coil(usize::from(*address), *value, events);
                Ok(Response::WriteSingleCoil(*address, *value))
            }
            Request::WriteMultipleCoils(address, values) => {
                let range = coils(*address, values.len(), 1968)?;
                for (index, value) in range.zip(values.iter()) {
                    self.set_coil(index, *value, events);
                }
                Ok(Response::WriteMultipleCoils(*address, count(values.len())?))
            }
            Request::WriteSingleRegister(address, value) => {
                holding(*address, 1, 1)?;
                self.set_holding(usize::from(*address), *value, events);
                Ok(Response::WriteSingleRegister(*address, *value))
            }
            Request::WriteMultipleRegisters(address, values) => {
                let range = holding(*address, values.len(), 123)?;
                for (index, value) in range.zip(values.iter()) {
                    self.set_holding(index, *value, events);
                }
                Ok(Response::WriteMultipleRegisters(*address, count(values.len())?))
            }
            Request::MaskWriteRegister(address, and, or) => {
                holding(*address, 1, 1)?;
                let index = usize::from(*address);
                self.set_holding(index, self.holding[index] & and | or & !and, events);
                Ok(Response::MaskWriteRegister(*address, *and, *or))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

/// The range of coils, when all of it is mapped.
fn coils(address: u16, count: usize, most: usize) -> Result<std::ops::Range<usize>, ExceptionCode> {
    let range = within(address, count, most, COILS)?;
    if range.end <= PLANT_COILS || range.start >= SPARE_COILS { Ok(range) } else { Err(ExceptionCode::IllegalDataAddress) }
}

/// The range of holding registers, when all of it is mapped.
fn holding(address: u16, count: usize, most: usize) -> Result<std::ops::Range<usize>, ExceptionCode> {
    let range = within(address, count, most, HOLDING)?;
    let mapped = range.end <= PLANT_HOLDING || range.start >= SPARE_HOLDING;
    if mapped { Ok(range) } else { Err(ExceptionCode::IllegalDataAddress) }
}

fn within(address: u16, count: usize, most: usize, size: usize) -> Result<std::ops::Range<usize>, ExceptionCode> {
    if count == 0 || count > most {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let start = usize::from(address);
    if start + count > size { Err(ExceptionCode::IllegalDataAddress) } else { Ok(start..start + count) }
}

fn count(length: usize) -> Result<u16, ExceptionCode> {
    u16::try_from(length).map_err(|_| ExceptionCode::IllegalDataValue)
}

fn put_cdab(registers: &mut [u16], value: f32) {
    let bits = value.to_bits();
    registers[0] = (bits & 0xFFFF) as u16;
    registers[1] = (bits >> 16) as u16;
}

async fn run(plant: Plant) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        plant.change(State::step);
    }
}

/// One connection's view of the plant; counts itself.
struct Connection {
    plant: Plant,
    open: Arc<AtomicUsize>,
}

impl Service for Connection {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        std::future::ready(self.plant.change(|state, events| state.answer(&request.request, events)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, plant: Plant) {
    let open = Arc::new(AtomicUsize::new(0));
    let connect = |stream: TcpStream, _peer: SocketAddr| {
        let connection = (open.fetch_add(1, Ordering::Relaxed) < MAX_CONNECTIONS)
            .then(|| Connection { plant: plant.clone(), open: Arc::clone(&open) });
        if connection.is_none() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        // A small answer shall not wait for the next one.
        drop(stream.set_nodelay(true));
        std::future::ready(Ok(connection.map(|connection| (connection, stream))))
    };
    let server = Server::new(listener);
    loop {
        let ended = server.serve(&connect, |error| tracing::debug!(%error, "a connection to the simulated PLC broke")).await;
        if let Err(error) = ended {
            // Accepting failed (out of file descriptors); connections go on after a pause.
            tracing::warn!(%error, "failed to accept a connection to the simulated PLC");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_stops_the_pump_until_it_is_acknowledged() {
        let mut state = State::new();
        let mut events = Vec::new();
        state.level = 40.0;
        state.step(&mut events);
        assert_eq!((state.coils[0], state.holding[5], state.holding[7]), (true, 1, 1));
        state.set_coil(2, true, &mut events);
        state.step(&mut events);
        assert!(!state.coils[0] && state.coils[2]);
        events.clear();
        state.answer(&Request::WriteSingleCoil(12, true), &mut events).unwrap();
        assert_eq!(events, [Event::Acknowledged(Some(12)), Event::Cleared(Trip::PumpFault)]);
        assert_eq!((state.coils[2], state.coils[12], state.holding[6]), (false, true, 1));
        for _ in 0..ACK_STEPS {
            state.step(&mut events);
        }
        assert!(!state.coils[12] && state.coils[0], "the acknowledge coil is taken back, the pump runs again");
    }

    #[test]
    fn a_changed_counter_acknowledges_everything() {
        let mut state = State::new();
        let mut events = Vec::new();
        state.set_coil(1, true, &mut events);
        state.set_coil(3, true, &mut events);
        state.answer(&Request::WriteSingleRegister(8, 1), &mut events).unwrap();
        assert_eq!((state.coils[1], state.coils[3], state.acks), (false, false, 1));
        state.answer(&Request::WriteSingleRegister(8, 1), &mut events).unwrap();
        assert_eq!(state.acks, 1, "the same number again is no acknowledgement");
    }

    #[test]
    fn requests_outside_the_map_are_refused() {
        let mut state = State::new();
        let mut answer = |request| state.answer(&request, &mut Vec::new()).unwrap_err();
        assert_eq!(answer(Request::ReadCoils(10, 7)), ExceptionCode::IllegalDataAddress);
        assert_eq!(answer(Request::ReadCoils(20_990, 11)), ExceptionCode::IllegalDataAddress);
        assert_eq!(answer(Request::ReadCoils(1000, 2001)), ExceptionCode::IllegalDataValue);
        assert_eq!(answer(Request::ReadHoldingRegisters(0, 0)), ExceptionCode::IllegalDataValue);
        assert_eq!(answer(Request::ReadHoldingRegisters(15, 2)), ExceptionCode::IllegalDataAddress);
        assert_eq!(answer(Request::WriteSingleCoil(500, true)), ExceptionCode::IllegalDataAddress);
        assert_eq!(answer(Request::ReadInputRegisters(1, 1)), ExceptionCode::IllegalDataAddress);
        assert_eq!(answer(Request::ReportServerId), ExceptionCode::IllegalFunction);
    }

    #[test]
    fn the_plant_stays_within_its_scales() {
        let mut state = State::new();
        let mut events = Vec::new();
        for _ in 0..20_000 {
            state.step(&mut events);
            assert!((40.0..=75.0).contains(&state.level), "{}", state.level);
            assert!((200..=230).contains(&state.temperature()));
        }
        assert!(state.starts > 5);
    }
}
