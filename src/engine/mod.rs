//! The core: decides, and touches nothing. Every input comes with its time, every effect leaves as a value.

pub mod io;
pub mod plan;
pub mod record;
pub mod view;
