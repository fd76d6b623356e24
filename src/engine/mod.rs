//! The core: decides, and touches nothing. Every input comes with its time, every effect leaves as a value.

pub mod alarm;
pub mod answer;
pub mod detect;
pub mod gsm;
pub mod io;
pub mod length;
pub mod people;
pub mod plan;
pub mod random;
pub mod record;
pub mod reply;
pub mod template;
pub mod view;
