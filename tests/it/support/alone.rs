//! Tests that need a process of their own: what overflows a stack ends them alone, and the memory that they measure is nobody
//! else's.

use std::{
    any::type_name_of_val,
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

/// Names the test that a process was started for.
const ALONE: &str = "ANNUNCIATOR_TEST_ALONE";
/// The longest time that a test may take in its process.
const BOUND: Duration = Duration::from_secs(300);

/// Runs `test`, the only thing that its test function does, in a process of its own.
///
/// # Panics
/// When that process ends otherwise than well.
pub fn alone(test: impl FnOnce()) {
    alone_for(BOUND, test);
}

/// The same with another bound.
///
/// # Panics
/// When that process ends otherwise than well, or not within `bound`.
pub fn alone_for(bound: Duration, test: impl FnOnce()) {
    // "it::module::test::{{closure}}", in whose process its thread need not have the test's name.
    let name = type_name_of_val(&test);
    let name = name.split_once("::").expect("a test has a path").1.trim_end_matches("::{{closure}}");
    if env::var(ALONE).is_ok_and(|wanted| wanted == name) {
        return test();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--include-ignored", "--nocapture"]).env(ALONE, name);
    let mut process = command.spawn().unwrap();
    let deadline = Instant::now() + bound;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            drop(process.kill());
            drop(process.wait());
            panic!("{name} does not end within {bound:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{name}: its process ended with {status}");
}

/// The peak of this process's memory, from a moment on.
pub struct Memory {
    start: Option<u64>,
}

impl Memory {
    /// From now on.
    pub fn watch() -> Self {
        // Makes the peak what it is now (proc(5), clear_refs).
        drop(fs::write("/proc/self/clear_refs", "5"));
        Self { start: resident("VmRSS") }
    }

    /// By how many KiB the peak is above the start; `None` where the system does not say.
    pub fn grown(&self) -> Option<u64> {
        Some(resident("VmHWM")?.saturating_sub(self.start?))
    }

    /// # Panics
    /// When the peak is more than `mib` MiB above the start.
    pub fn assert_within(&self, mib: u64) {
        if let Some(grown) = self.grown() {
            assert!(grown <= mib * 1_024, "memory grew by {grown} KiB, more than {mib} MiB");
        }
    }
}

/// Resident memory of this process in KiB; `None` where the system does not say.
pub fn resident_now() -> Option<u64> {
    resident("VmRSS")
}

/// The same of another process.
pub fn resident_of(process: u32) -> Option<u64> {
    status_of(&process.to_string(), "VmRSS")
}

/// The most that it ever was.
pub fn peak_of(process: u32) -> Option<u64> {
    status_of(&process.to_string(), "VmHWM")
}

fn resident(what: &str) -> Option<u64> {
    status_of("self", what)
}

fn status_of(process: &str, what: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
