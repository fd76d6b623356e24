//! Child processes that end with their test.

use std::{
    io::{BufRead, BufReader, Read as _, Write},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::program::no_secrets;

/// Lines of a child's output that may wait to be read; a child that writes more is held up.
const LINES: usize = 10_000;

/// A child process with its standard output as lines; killed on drop. One that is our program must not have told a secret.
pub struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<String>,
    /// Its standard output so far, and its standard error.
    told: [Arc<Mutex<String>>; 2],
    reader: Option<thread::JoinHandle<()>>,
}

impl Child {
    /// Starts `command`; its standard error goes to the test's too.
    pub fn start(command: &mut Command) -> Self {
        Self::spawn(command, true)
    }

    /// Starts `command`; its standard error is only kept.
    pub fn silent(command: &mut Command) -> Self {
        Self::spawn(command, false)
    }

    fn spawn(command: &mut Command, echo: bool) -> Self {
        let name = format!("{}", command.get_program().display());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        let (stdout, mut stderr) = (process.stdout.take().expect("a pipe"), process.stderr.take().expect("a pipe"));
        let told = [Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(String::new()))];
        let (sender, lines) = sync_channel(LINES);
        let said = Arc::clone(&told[0]);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().unwrap().extend([&*line, "\n"]);
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let log = Arc::clone(&told[1]);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut bytes) {
                if echo {
                    drop(std::io::stderr().write_all(&bytes[..length]));
                }
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { name, process, lines, told, reader: Some(reader) }
    }

    /// What it has written to its standard error.
    pub fn log(&self) -> String {
        self.told[1].lock().unwrap().clone()
    }

    /// The same to its end, which must be near.
    pub fn whole_log(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log()
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
        // What strangers print of what they were given is theirs to know.
        if self.name == env!("CARGO_BIN_EXE_annunciator") && !thread::panicking() {
            self.whole_log();
            for told in &self.told {
                no_secrets(&told.lock().unwrap());
            }
        }
    }
}
