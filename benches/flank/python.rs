//! An OPC UA PLC of somebody else's make: asyncua, as the tests install and use it.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The interpreter that the tests have made; `None` (and said) before their first run.
pub fn interpreter() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from);
    let python = target.join("peers/venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    println!("\nskipped: OPC UA needs asyncua, which `cargo test --test it` installs below {}", target.display());
    None
}

/// A server with many variables; killed on drop.
pub struct Plc(Child);

impl Plc {
    /// Starts it; returns once it serves.
    pub fn start(python: &Path, port: u16, items: u32) -> io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/opcua_plc.py");
        let (port, items) = (port.to_string(), items.to_string());
        let mut command = Command::new(python);
        command.arg(script).args([&port, "--items", &items]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let plc = Self(child);
        let first = lines.next().transpose()?.unwrap_or_default();
        // Its answers are of no interest, but somebody must read them.
        std::thread::spawn(move || lines.for_each(drop));
        if first.starts_with("ready") { Ok(plc) } else { Err(io::Error::other(format!("the PLC did not start: {first}"))) }
    }

    /// Gives it an order.
    pub fn say(&mut self, order: &str) -> io::Result<()> {
        let stdin = self.0.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{order}")?;
        stdin.flush()
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
