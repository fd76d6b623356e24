//! Child processes that end with their test.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Lines of a child's output that may wait to be read; a child that writes more is held up.
const LINES: usize = 10_000;

/// A child process with its standard output as lines; killed on drop.
pub struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<String>,
}

impl Child {
    /// Starts `command`; its standard error goes to the test's.
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{}", command.get_program().display());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        let stdout = process.stdout.take().expect("stdout is piped");
        let (sender, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, process, lines }
    }

    /// The next line that contains `text`; lines before it are passed over.
    ///
    /// # Panics
    /// When it does not come within `bound`, or the child closes its output first.
    pub fn line(&mut self, text: &str, bound: Duration) -> String {
        let deadline = Instant::now() + bound;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{}: no line with {text:?} within {bound:?}; saw {seen:#?}", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{}: ended without a line with {text:?}; saw {seen:#?}", self.name)
                }
            }
        }
    }

    /// Writes a line to the child's standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL now, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// The exit code, waiting at most `bound`.
    ///
    /// # Panics
    /// When the child still runs after `bound`.
    pub fn exit_code(&mut self, bound: Duration) -> Option<i32> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{}: still runs after {bound:?}", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
