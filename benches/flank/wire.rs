//! Two wires that the source's traffic passes, so that the moment of a sample's arrival is known from outside the program.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use annunciator::{clock, simulate::modbus_plc::Plant, tag::Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::oneshot,
};

/// A Modbus TCP wire. The plant's bits change just before the request that reads them passes, so that the wait for the next poll
/// is no part of the figure.
pub struct ModbusWire {
    pub address: SocketAddr,
    plant: Plant,
    wanted: Mutex<Option<Wanted>>,
}

struct Wanted {
    first: u16,
    last: u16,
    values: Vec<bool>,
    set: bool,
    begun: Timestamp,
    handed: oneshot::Sender<(Timestamp, Timestamp)>,
}

impl ModbusWire {
    pub async fn start(plc: SocketAddr, plant: Plant) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let wire = Arc::new(Self { address: listener.local_addr()?, plant, wanted: Mutex::default() });
        let serving = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move { serving.pass(client, plc).await });
            }
        });
        Ok(wire)
    }

    /// Sets coils from `first` on with the next poll of the first one. When the answers that hold the first and the last of them
    /// were handed to the program.
    pub async fn flank(&self, first: u16, values: Vec<bool>) -> (Timestamp, Timestamp) {
        let (handed, answer) = oneshot::channel();
        let last = first + u16::try_from(values.len() - 1).expect("a Modbus address");
        let begun = Timestamp::NULL;
        *self.wanted.lock().expect("no panic") = Some(Wanted { first, last, values, set: false, begun, handed });
        answer.await.expect("the wire passes on")
    }

    async fn pass(&self, mut client: TcpStream, plc: SocketAddr) -> io::Result<()> {
        let mut plc = TcpStream::connect(plc).await?;
        client.set_nodelay(true)?;
        plc.set_nodelay(true)?;
        loop {
            let request = frame(&mut client).await?;
            let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
            let coils = (request[7] == 1).then(|| word(8)..word(8) + word(10));
            if let (Some(coils), Some(wanted)) = (&coils, &mut *self.wanted.lock().expect("no panic"))
                && coils.contains(&wanted.first)
            {
                self.plant.set_coils(wanted.first, &wanted.values);
                wanted.set = true;
            }
            plc.write_all(&request).await?;
            let answer = frame(&mut plc).await?;
            client.write_all(&answer).await?;
            let now = clock::now();
            let mut waiting = self.wanted.lock().expect("no panic");
            if let (Some(coils), Some(wanted)) = (&coils, waiting.as_mut())
                && wanted.set
            {
                if coils.contains(&wanted.first) {
                    wanted.begun = now;
                }
                if coils.contains(&wanted.last)
                    && let Some(wanted) = waiting.take()
                {
                    // Whoever asked waits for it.
                    _ = wanted.handed.send((wanted.begun, now));
                }
            }
        }
    }
}

/// One Modbus TCP frame (Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3).
async fn frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 6];
    from.read_exact(&mut frame).await?;
    let rest = usize::from(u16::from_be_bytes([frame[4], frame[5]]));
    frame.resize(6 + rest, 0);
    from.read_exact(&mut frame[6..]).await?;
    Ok(frame)
}

/// An OPC UA wire. It remembers when the server's bytes were handed to the program.
pub struct OpcuaWire {
    pub address: SocketAddr,
    handed: Mutex<Vec<Timestamp>>,
}

impl OpcuaWire {
    pub async fn start(plc: SocketAddr) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let wire = Arc::new(Self { address: listener.local_addr()?, handed: Mutex::default() });
        let serving = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move { serving.pass(client, plc).await });
            }
        });
        Ok(wire)
    }

    /// The first and the last handing over within a span.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let handed = self.handed.lock().expect("no panic");
        let mut within = handed.iter().copied().filter(|at| *at >= from && *at <= to);
        let first = within.next()?;
        Some((first, within.next_back().unwrap_or(first)))
    }

    async fn pass(&self, client: TcpStream, plc: SocketAddr) -> io::Result<()> {
        let plc = TcpStream::connect(plc).await?;
        client.set_nodelay(true)?;
        plc.set_nodelay(true)?;
        let ((mut from_client, to_client), (from_plc, mut to_plc)) = (client.into_split(), plc.into_split());
        let upwards = tokio::io::copy(&mut from_client, &mut to_plc);
        let (up, down) = tokio::join!(upwards, self.downwards(from_plc, to_client));
        up.map(drop).and(down)
    }

    async fn downwards(&self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..read]).await?;
            self.handed.lock().expect("no panic").push(clock::now());
        }
    }
}
