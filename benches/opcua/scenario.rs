//! What is measured. Each scenario drives one server for some time and says what it cost.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use annunciator::{
    pki::OwnCertificate,
    ua::wire::{Id, Malformed, Read, Reader, Writer},
};

use crate::{
    client::{Client, Identity, Prepared, Unreadable, after_header, failed, server_certificate},
    process::Server,
};

/// Variables and monitored items.
pub const ITEMS: usize = 10_000;
/// Items created by one call; a server may take fewer in one call than we want to create.
const CREATED_AT_ONCE: usize = 10_000;
/// Publish requests that wait at the server.
const PUBLISHES: usize = 5;
/// Writes of which the latency is measured.
const WRITES: usize = 300;
/// Left out at the beginning of a measurement.
const WARM_UP: Duration = Duration::from_millis(300);

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations a second, or milliseconds for those that are measured once.
    pub main: f64,
    /// Processor seconds of the server per million operations; for latencies the 99th percentile.
    pub second: f64,
}

fn unreadable<T>(parts: Read<T>) -> io::Result<T> {
    parts.map_err(|_: Malformed| Unreadable.into())
}

fn node(server: &Server, number: usize, w: &mut Writer) {
    w.id(Id::text(server.namespace, &format!("Bench/V{number}")));
}

fn read_request(client: &Client, server: &Server, from: usize, nodes: usize, variables: usize) -> Prepared {
    client.prepare(631, |w| {
        w.f64(0.0);
        w.u32(2);
        w.count(nodes);
        for number in 0..nodes {
            // Spread over all variables, as a client's choice is.
            node(server, (from + number * (variables / nodes).max(1)) % variables, w);
            w.u32(13);
            w.null();
            w.u16(0);
            w.null();
        }
    })
}

/// All values must be there and good.
fn check_values(body: &[u8], nodes: usize) -> io::Result<()> {
    let mut reader = Reader::new(after_header(body)?);
    let count = unreadable(reader.count(1))?;
    let good = || -> Read<bool> {
        let mut good = count == nodes;
        for _ in 0..count {
            let mask = reader.u8()?;
            good &= mask & 3 == 1;
            if mask & 1 != 0 {
                reader.variant()?;
            }
            for (bit, size) in [(2, 4), (4, 8), (16, 2), (8, 8), (32, 2)] {
                if mask & bit != 0 {
                    reader.take(size)?;
                }
            }
        }
        Ok(good)
    };
    let mut good = good;
    if unreadable(good())? { Ok(()) } else { Err(failed("values are missing or not good")) }
}

/// Read of `nodes` values by each of `sessions`, for `time`.
pub fn read(
    server: &Server,
    own: Option<&Arc<OwnCertificate>>,
    sessions: usize,
    nodes: usize,
    variables: usize,
    time: Duration,
) -> io::Result<Figures> {
    let identity = match own {
        Some(own) => Some(Identity { own: Arc::clone(own), server: server_certificate(server.address)? }),
        None => None,
    };
    let mut clients = Vec::new();
    for session in 0..sessions {
        let mut client = Client::connect(server.address, identity.as_ref())?;
        let mut request = read_request(&client, server, session * 7, nodes, variables);
        client.send(&mut request)?;
        check_values(client.receive()?, nodes)?;
        client.send(&mut request)?;
        let size = client.receive_unopened()?;
        client.send(&mut request)?;
        clients.push((client, request, size));
    }
    // Each in its turn: all sessions have a request in flight, and no thread must be woken but the server's.
    let mut drive = |time: Duration| -> io::Result<usize> {
        let (began, mut answers) = (Instant::now(), 0);
        while began.elapsed() < time {
            for (client, request, size) in &mut clients {
                if client.receive_unopened()? != *size {
                    return Err(failed("an answer has another size than the first"));
                }
                client.send(request)?;
                answers += 1;
            }
        }
        Ok(answers)
    };
    drive(WARM_UP)?;
    let (before, began) = (server.spent()?, Instant::now());
    let answers = drive(time)?;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), server.seconds_since(&before)?);
    let values = (answers * nodes) as f64;
    Ok(Figures { main: values / seconds, second: spent / values * 1e6 })
}

struct Subscriber {
    client: Client,
    subscription: u32,
    publish: Prepared,
}

impl Subscriber {
    fn new(server: &Server, interval: f64) -> io::Result<Self> {
        let mut client = Client::connect(server.address, None)?;
        let mut reader = Reader::new(client.call(787, |w| {
            w.f64(interval);
            w.u32(10_000);
            w.u32(10);
            w.u32(0);
            w.boolean(true);
            w.u8(0);
        })?);
        let (subscription, revised) = unreadable((|| Ok((reader.u32()?, reader.f64()?)))())?;
        if (revised - interval).abs() > 0.5 {
            return Err(failed(format!("the server publishes every {revised} ms instead of {interval} ms")));
        }
        let publish = client.prepare(826, |w| w.count(0));
        Ok(Self { client, subscription, publish })
    }

    /// Creates items with queues of 10; how long that took.
    fn create(&mut self, server: &Server, items: usize, sampling: f64) -> io::Result<Duration> {
        let mut took = Duration::ZERO;
        for from in (0..items).step_by(CREATED_AT_ONCE) {
            let count = CREATED_AT_ONCE.min(items - from);
            let subscription = self.subscription;
            let mut request = self.client.prepare(751, |w| {
                w.u32(subscription);
                w.u32(2);
                w.count(count);
                for number in from..from + count {
                    node(server, number, w);
                    w.u32(13);
                    w.null();
                    w.u16(0);
                    w.null();
                    w.u32(2);
                    w.count(number);
                    w.f64(sampling);
                    w.0.extend_from_slice(&[0, 0, 0]);
                    w.u32(10);
                    w.boolean(true);
                }
            });
            let began = Instant::now();
            self.client.send(&mut request)?;
            let body = self.client.receive()?;
            took += began.elapsed();
            let mut reader = Reader::new(after_header(body)?);
            let good = (|| {
                let mut good = reader.count(20)? == count;
                for _ in 0..count {
                    good &= reader.u32()? == 0;
                    reader.u32()?;
                    reader.f64()?;
                    reader.u32()?;
                    reader.extension()?;
                }
                Ok(good)
            })();
            if !unreadable(good)? {
                return Err(failed("an item was not created"));
            }
        }
        Ok(took)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.client.send(&mut self.publish)
    }

    /// The next message, acknowledged with the request that follows it; how many notifications it has.
    fn next(&mut self) -> io::Result<usize> {
        let mut reader = Reader::new(after_header(self.client.receive()?)?);
        let parts = (|| {
            reader.u32()?;
            for _ in 0..reader.count(4)? {
                reader.u32()?;
            }
            reader.boolean()?;
            let sequence = reader.u32()?;
            reader.time()?;
            let mut told = 0;
            let messages = reader.count(3)?;
            for _ in 0..messages {
                let extension = reader.extension()?;
                if extension.type_id.standard() == Some(811) {
                    told += Reader::new(extension.body.unwrap_or_default()).count(5)?;
                }
            }
            Ok((sequence, messages > 0, told))
        })();
        let (sequence, acknowledge, told) = unreadable(parts)?;
        let subscription = self.subscription;
        let mut publish = self.client.prepare(826, |w| {
            w.count(usize::from(acknowledge));
            if acknowledge {
                w.u32(subscription);
                w.u32(sequence);
            }
        });
        self.client.send(&mut publish)?;
        Ok(told)
    }
}

/// 10,000 monitored items at 100 ms: notifications a second and their cost.
pub fn items(server: &Server, time: Duration) -> io::Result<Figures> {
    let mut subscriber = Subscriber::new(server, 100.0)?;
    subscriber.create(server, ITEMS, 100.0)?;
    for _ in 0..PUBLISHES {
        subscriber.ask()?;
    }
    let mut drive = |time: Duration| -> io::Result<usize> {
        let (began, mut told) = (Instant::now(), 0);
        while began.elapsed() < time {
            told += subscriber.next()?;
        }
        Ok(told)
    };
    drive(Duration::from_secs(1))?;
    let (before, began) = (server.spent()?, Instant::now());
    let told = drive(time)? as f64;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), server.seconds_since(&before)?);
    Ok(Figures { main: told / seconds, second: spent / told * 1e6 })
}

/// Creating 10,000 items: milliseconds, and the server's processor time in ms.
pub fn create(server: &Server) -> io::Result<Figures> {
    let mut subscriber = Subscriber::new(server, 1_000.0)?;
    let before = server.spent()?;
    let took = subscriber.create(server, ITEMS, 100.0)?;
    Ok(Figures { main: took.as_secs_f64() * 1e3, second: server.seconds_since(&before)? * 1e3 })
}

/// From a write on one session to its notification on another at 10 ms publishing: p50 and p99 in ms.
pub fn latency(server: &Server) -> io::Result<Figures> {
    let mut subscriber = Subscriber::new(server, 10.0)?;
    subscriber.create(server, 1, 10.0)?;
    for _ in 0..PUBLISHES {
        subscriber.ask()?;
    }
    while subscriber.next()? == 0 {}
    let mut writer = Client::connect(server.address, None)?;
    let mut took = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        // At all moments of the publishing interval.
        std::thread::sleep(Duration::from_micros(11_000 + number as u64 * 7_919 % 10_000));
        let began = Instant::now();
        let mut results = Reader::new(writer.call(673, |w| {
            w.count(1);
            node(server, 0, w);
            w.u32(13);
            w.null();
            w.u8(1);
            w.u8(6);
            w.i32(1_000_000 + i32::try_from(number).unwrap_or(0));
        })?);
        if unreadable((|| Ok((results.count(4)?, results.u32()?)))())? != (1, 0) {
            return Err(failed("a write was refused"));
        }
        while subscriber.next()? == 0 {}
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    Ok(Figures { main: at(50), second: at(99) })
}

/// Browse of the folder with all variables, and BrowseNext to its end: milliseconds, and the server's processor time in ms.
pub fn browse(server: &Server, children: usize) -> io::Result<Figures> {
    let mut client = Client::connect(server.address, None)?;
    let before = server.spent()?;
    let began = Instant::now();
    let mut request = client.prepare(527, |w| {
        w.id(Id::numeric(0, 0));
        w.i64(0);
        w.u32(0);
        w.u32(0);
        w.count(1);
        w.id(Id::text(server.namespace, "Bench"));
        w.u32(0);
        // Organizes: properties of the folder are not asked for.
        w.standard(35);
        w.boolean(true);
        w.u32(0);
        w.u32(63);
    });
    client.send(&mut request)?;
    let (mut found, mut more) = read_references(client.receive()?)?;
    while let Some(point) = more {
        let mut request = client.prepare(533, |w| {
            w.boolean(false);
            w.count(1);
            w.bytes(&point);
        });
        client.send(&mut request)?;
        let (count, next) = read_references(client.receive()?)?;
        (found, more) = (found + count, next);
    }
    let took = began.elapsed();
    if found != children {
        return Err(failed(format!("{found} children instead of {children}")));
    }
    Ok(Figures { main: took.as_secs_f64() * 1e3, second: server.seconds_since(&before)? * 1e3 })
}

fn read_references(body: &[u8]) -> io::Result<(usize, Option<Vec<u8>>)> {
    let mut reader = Reader::new(after_header(body)?);
    let parts = (|| {
        let (results, status) = (reader.count(4)?, reader.u32()?);
        let point = reader.bytes()?.filter(|point| !point.is_empty()).map(<[u8]>::to_vec);
        Ok((results, status, point, reader.count(10)?))
    })();
    match unreadable(parts)? {
        (1, 0, point, count) => Ok((count, point)),
        (_, status, ..) => Err(failed(format!("browsing was answered {status:#010x}"))),
    }
}
