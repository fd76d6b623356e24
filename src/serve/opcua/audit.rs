//! What happens at the door of the server, for the log: who was let in, and what was refused. No secrets, and no more lines a minute
//! than [`LINES`], however hard somebody knocks.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{pki::Trust, tag::StatusCode};

/// The most lines in one [`WINDOW`].
const LINES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// There are too many connections, in total or from that address.
    ConnectionRefused,
    /// A rule of the transport or of the channel was broken, or a deadline passed.
    ConnectionClosed(StatusCode),
    /// A client's certificate was refused.
    CertificateRefused(&'a Trust),
    /// CreateSession was refused.
    SessionRefused(StatusCode),
    /// Somebody logged in.
    LoggedIn {
        /// The user's name.
        user: &'a str,
        /// How: `anonymous`, `password` or `certificate`.
        by: &'static str,
        /// The session's number.
        session: u32,
    },
    /// A login was refused.
    LoginRefused {
        /// The name that was given, if one was.
        user: &'a str,
        /// What the client was told.
        status: StatusCode,
    },
}

/// Writes notices to the log.
#[derive(Debug, Default)]
pub struct Notes {
    window: Mutex<Option<Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    lines: u32,
}

impl Notes {
    /// Logs `notice` about the peer at `peer`, unless there were too many lately.
    pub fn note(&self, peer: IpAddr, notice: &Notice<'_>) {
        let (allowed, left_out) = self.turn(Instant::now());
        if left_out > 0 {
            tracing::warn!(left_out, "OPC UA: more happened at the server's door than is logged");
        }
        if !allowed {
            return;
        }
        match notice {
            Notice::ConnectionRefused => tracing::warn!(%peer, "OPC UA connection refused: too many"),
            Notice::ConnectionClosed(status) => tracing::info!(%peer, %status, "OPC UA connection closed"),
            Notice::CertificateRefused(trust) => tracing::warn!(%peer, "OPC UA client refused: its certificate {trust}"),
            Notice::SessionRefused(status) => tracing::warn!(%peer, %status, "OPC UA session refused"),
            Notice::LoggedIn { user, by, session } => tracing::info!(%peer, user, by, session, "OPC UA user logged in"),
            Notice::LoginRefused { user, status } => {
                let user: String = user.chars().take(64).collect();
                tracing::warn!(%peer, %user, %status, "OPC UA login refused");
            }
        }
    }

    /// Whether a line may be written now, and how many the window before had to leave out.
    fn turn(&self, now: Instant) -> (bool, u32) {
        let mut known = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        let window = match &mut *known {
            Some(window) if now.saturating_duration_since(window.began) < WINDOW => window,
            other => {
                left_out = other.map_or(0, |window| window.lines.saturating_sub(LINES));
                other.insert(Window { began: now, lines: 0 })
            }
        };
        window.lines = window.lines.saturating_add(1);
        (window.lines <= LINES, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let (notes, now) = (Notes::default(), Instant::now());
        let written = (0..1_000).filter(|_| notes.turn(now).0).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(notes.turn(now + WINDOW), (true, 1_000 - LINES));
        assert_eq!(notes.turn(now + 2 * WINDOW), (true, 0));
    }
}
