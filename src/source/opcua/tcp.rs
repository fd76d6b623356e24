//! The TCP connection under the library: every address of a name is tried, and no frame may be larger than was agreed.
//!
//! The library itself tries one address only, and buffers whatever size a frame's header announces.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use opcua::{
    client::{
        ConnectionSource,
        transport::{StreamConnection, StreamConnector},
    },
    core::comms::{tcp_codec::TcpCodec, url::hostname_port_from_url},
    types::{DecodingOptions, EndpointDescription, Error, StatusCode},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::codec::FramedRead;

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 4840;
/// Type, chunk flag and size (Part 6, 7.1.2.2).
const HEADER: usize = 8;
/// The largest frame in bytes; we ask for 64 KiB in our Hello and allow some slack.
const MAX_FRAME: usize = 1024 * 1024;

/// What a connection becomes.
type Opened = Result<StreamConnection<Frames, OwnedWriteHalf>, Error>;

/// A connection being made.
pub struct Opening(Pin<Box<dyn Future<Output = Opened> + Send + Sync>>);

impl Future for Opening {
    type Output = Opened;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Opened> {
        self.0.as_mut().poll(context)
    }
}

/// The library's connector over our connection.
pub type Connector = StreamConnector<Frames, OwnedWriteHalf, fn(String, DecodingOptions) -> Opening, Opening>;

/// A connector for the server at `url`.
#[must_use]
pub fn connector(url: &str) -> Connector {
    Connector::new(|url, options| Opening(Box::pin(open(url, options))), url.to_owned())
}

/// Makes the connectors of sessions.
pub struct Tcp;

impl ConnectionSource for Tcp {
    type Builder = Connector;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<Connector, Error> {
        Ok(connector(endpoint.endpoint_url.as_ref()))
    }
}

async fn open(url: String, options: DecodingOptions) -> Opened {
    let (host, port) = hostname_port_from_url(&url, DEFAULT_PORT).map_err(|code| Error::new(code, "the address is not one"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(|error| Error::new(StatusCode::BadCommunicationError, error))?;
    // Requests are small and somebody waits for each.
    stream.set_nodelay(true).map_err(|error| Error::new(StatusCode::BadCommunicationError, error))?;
    let (reader, writer) = stream.into_split();
    let frames = Frames { stream: reader, follower: Follower::default() };
    Ok(StreamConnection::new(FramedRead::new(frames, TcpCodec::new(options)), writer, url))
}

/// What the server sends, as long as its frames keep to [`MAX_FRAME`].
pub struct Frames {
    stream: OwnedReadHalf,
    follower: Follower,
}

impl AsyncRead for Frames {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.follower.follow(&buffer.filled()[before..]))
    }
}

/// Follows the boundaries of frames in a stream of bytes.
#[derive(Default)]
struct Follower {
    header: Vec<u8>,
    left: usize,
}

impl Follower {
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [.., a, b, c, d] = self.header[..]
                && self.header.len() == HEADER
            {
                let size = u32::from_le_bytes([a, b, c, d]) as usize;
                if !(HEADER..=MAX_FRAME).contains(&size) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {size} bytes was announced")));
                }
                self.left = size - HEADER;
                self.header.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: u32) -> Vec<u8> {
        let mut bytes = b"MSGF".to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.resize(bytes.len().max(usize::try_from(size).unwrap().min(100)), 0);
        bytes
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let bytes = [frame(8), frame(30), frame(100), frame(9)].concat();
        for step in 1..bytes.len() {
            let mut follower = Follower::default();
            for part in bytes.chunks(step) {
                follower.follow(part).unwrap();
            }
            assert!(follower.left == 0 && follower.header.is_empty(), "{step}");
            assert!(follower.follow(&frame(7)).is_err() && Follower::default().follow(&frame(u32::MAX)).is_err());
        }
    }
}
