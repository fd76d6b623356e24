//! Ports for programs that are told where to listen.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Below what the system gives to outgoing connections, of which one could take a port before its program does.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// How far the ports of two processes with neighbouring ids lie apart.
const APART: u32 = 509;

/// A port on loopback that nobody listens on, and that nobody else in this process is given.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(process::id() % COUNT * APART % COUNT));
    let ports = (0..COUNT).map(|_| u16::try_from(FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT).unwrap());
    let mut free = ports.filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    free.next().expect("a port is free")
}
