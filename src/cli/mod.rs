//! The commands, one file for a command or a family of them. Each takes its parsed arguments and gives what standard output shall
//! show; parsing, exit codes and logs are `main`'s.

pub mod client;
pub mod hash_password;
pub mod output;
pub mod remote;
pub mod report;
