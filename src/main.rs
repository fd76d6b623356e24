//! The program: arguments in, exit status out.

use std::process::ExitCode;

/// Reading a configuration takes many times the memory of what stays of it; this allocator gives it back to the system.
#[cfg(feature = "daemon")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    annunciator::cli::main()
}
