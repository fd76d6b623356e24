//! Text to [`Plan`](crate::engine::plan::Plan), or the full list of problems. Pure: no network, no clock.

pub mod driver;
pub mod problems;
pub mod reader;
mod text;
