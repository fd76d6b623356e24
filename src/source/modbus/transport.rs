//! One connection to a device: opening it, and one request at a time with its own deadline.
//!
//! tokio-modbus has no timeouts, compares lengths by assertions that only debug builds have, and stays one answer behind
//! after a timeout. So requests go through its lowest call, every answer is compared with its request here, and a connection
//! with any failure behind it is never used again.

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_modbus::{
    ExceptionCode, Request, Response, Slave,
    client::{Client, Context as Device, rtu, tcp},
    slave::SlaveContext,
};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use super::settings::{Host, ModbusSettings, Parity, Serial, Transport};

const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// A device that does not take the end of a connection is left after this time.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection without any failure behind it.
pub struct Connection {
    device: Device,
    timeout: Duration,
    /// Silence that a serial line needs between frames.
    silence: Duration,
    quiet_since: Instant,
}

/// Why a connection must not be used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time: the answer may still come, so the connection is spoilt.
    Timeout,
    /// Closed, or an answer that does not belong to the request; for people.
    Broken(String),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// A sentence for people that fits after "failed to".
    pub async fn open(settings: &ModbusSettings) -> Result<Self, String> {
        let opened = match &settings.transport {
            Transport::Tcp(host) => tcp_stream(host, settings.connect_timeout).await.map(tcp::attach),
            Transport::RtuOverTcp(host) => tcp_stream(host, settings.connect_timeout).await.map(rtu::attach),
            Transport::Rtu(serial) => open_serial(serial).map(rtu::attach),
        };
        let device = opened.map_err(|error| format!("connect to {}: {error}", settings.transport))?;
        let silence = match &settings.transport {
            Transport::Rtu(serial) => silence(serial),
            Transport::Tcp(_) | Transport::RtuOverTcp(_) => Duration::ZERO,
        };
        Ok(Self { device, timeout: settings.timeout, silence, quiet_since: Instant::now() })
    }

    /// One request to `unit`: the device's answer, its exception, or the failure of the connection. An answer is of the
    /// request's kind and length.
    ///
    /// # Errors
    /// After an error the connection must be dropped.
    pub async fn call(&mut self, unit: u8, request: Request<'_>) -> Result<Result<Response, ExceptionCode>, Failure> {
        if self.silence > Duration::ZERO {
            sleep_until(self.quiet_since + self.silence).await;
        }
        self.device.set_slave(Slave(unit));
        let expected = request.clone().into_owned();
        let answer = timeout(self.timeout, CatchPanic(self.device.call(request))).await;
        self.quiet_since = Instant::now();
        let answer = answer.map_err(|_elapsed| Failure::Timeout)?;
        let answer = answer.map_err(|Panicked| Failure::Broken("the answer could not be decoded".into()))?;
        match answer {
            Ok(Ok(response)) if answers(&expected, &response) => Ok(Ok(response)),
            Ok(Ok(_)) => Err(Failure::Broken("the answer does not have the length of the request".into())),
            Ok(Err(exception)) => Ok(Err(exception)),
            // The library's error kinds mean nothing after a close (it reports the last OS error), so none is looked at.
            Err(tokio_modbus::Error::Transport(_)) => Err(Failure::Broken("the connection was closed or garbled".into())),
            Err(tokio_modbus::Error::Protocol(_)) => {
                Err(Failure::Broken("the answer is another request's or another unit's".into()))
            }
        }
    }

    /// Ends the connection, so that the device has its slot back at once.
    pub async fn disconnect(&mut self) {
        drop(timeout(CLOSE_TIMEOUT, CatchPanic(self.device.disconnect())).await);
    }
}

/// Whether `response` has the length and the echo that `request` asks for.
fn answers(request: &Request<'_>, response: &Response) -> bool {
    let bits = |count: u16, bits: &[bool]| bits.len() == usize::from(count).next_multiple_of(8);
    match (request, response) {
        (Request::ReadCoils(_, count), Response::ReadCoils(found))
        | (Request::ReadDiscreteInputs(_, count), Response::ReadDiscreteInputs(found)) => bits(*count, found),
        (Request::ReadHoldingRegisters(_, count), Response::ReadHoldingRegisters(found))
        | (Request::ReadInputRegisters(_, count), Response::ReadInputRegisters(found)) => found.len() == usize::from(*count),
        (Request::WriteSingleCoil(address, value), Response::WriteSingleCoil(at, found)) => (address, value) == (at, found),
        (Request::WriteMultipleCoils(address, values), Response::WriteMultipleCoils(at, count)) => {
            address == at && values.len() == usize::from(*count)
        }
        (Request::WriteSingleRegister(address, value), Response::WriteSingleRegister(at, found)) => {
            (address, value) == (at, found)
        }
        (Request::WriteMultipleRegisters(address, values), Response::WriteMultipleRegisters(at, count)) => {
            address == at && values.len() == usize::from(*count)
        }
        (Request::MaskWriteRegister(address, and, or), Response::MaskWriteRegister(at, found_and, found_or)) => {
            (address, and, or) == (at, found_and, found_or)
        }
        _ => false,
    }
}

async fn tcp_stream(host: &Host, bound: Duration) -> io::Result<TcpStream> {
    let connected = timeout(bound, TcpStream::connect((host.name.as_str(), host.port))).await;
    let stream =
        connected.map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {bound:?}")))??;
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn open_serial(serial: &Serial) -> io::Result<SerialStream> {
    let builder = tokio_serial::new(&serial.path, serial.baud)
        .parity(match serial.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if serial.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One })
        .data_bits(if serial.data_bits == 7 { tokio_serial::DataBits::Seven } else { tokio_serial::DataBits::Eight })
        .flow_control(tokio_serial::FlowControl::None);
    let line = SerialStream::open(&builder)?;
    // RTU has no transaction number: an answer that came too late must not be taken for the next one.
    line.clear(ClearBuffer::All)?;
    Ok(line)
}

/// 3.5 characters of 11 bits, and 1.75 ms above 19,200 Bd (Modbus over Serial Line V1.02, 2.5.1.1).
fn silence(serial: &Serial) -> Duration {
    let characters = Duration::from_secs_f64(3.5 * 11.0 / f64::from(serial.baud));
    if serial.baud > 19_200 { Duration::from_micros(1750) } else { characters }
}

/// A future whose panic is a value: a hostile answer must not end the task that owns the source.
struct CatchPanic<F>(F);

struct Panicked;

impl<F: Future + Unpin> Future for CatchPanic<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = pin!(&mut self.0);
        match catch_unwind(AssertUnwindSafe(|| inner.poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(_payload) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_length_and_echo_of_their_request() {
        let read = Request::ReadHoldingRegisters(0, 4);
        assert!(answers(&read, &Response::ReadHoldingRegisters(vec![0; 4])));
        assert!(!answers(&read, &Response::ReadHoldingRegisters(vec![0; 3])));
        assert!(!answers(&read, &Response::ReadHoldingRegisters(vec![0; 5])));
        assert!(!answers(&read, &Response::ReadInputRegisters(vec![0; 4])));
        let bits = Request::ReadCoils(0, 9);
        assert!(answers(&bits, &Response::ReadCoils(vec![false; 16])));
        assert!(!answers(&bits, &Response::ReadCoils(vec![false; 8])));
        let write = Request::WriteSingleCoil(7, true);
        assert!(answers(&write, &Response::WriteSingleCoil(7, true)));
        assert!(!answers(&write, &Response::WriteSingleCoil(7, false)));
        assert!(!answers(&write, &Response::WriteSingleCoil(8, true)));
        let mask = Request::MaskWriteRegister(1, 0xFFFB, 4);
        assert!(answers(&mask, &Response::MaskWriteRegister(1, 0xFFFB, 4)));
        assert!(!answers(&mask, &Response::MaskWriteRegister(1, 0xFFFB, 0)));
    }

    #[test]
    fn slow_lines_need_longer_silence() {
        let serial = |baud| Serial { path: String::new(), baud, parity: Parity::Even, stop_bits: 1, data_bits: 8 };
        assert_eq!(silence(&serial(115_200)), Duration::from_micros(1750));
        assert_eq!(silence(&serial(9600)).as_micros(), 4010);
    }

    #[tokio::test]
    async fn a_panic_is_a_value() {
        let outcome = CatchPanic(Box::pin(async { panic!("decoding") })).await;
        assert!(matches!(outcome, Err::<(), _>(Panicked)));
    }
}
