//! Figures from what was recorded, computed with polars: statistics per user, and their export (SPEC 10). Never in the hot path;
//! the live counters are the engine's, and a test shows that both agree. KPIs and charts join later.

mod export;
mod statistics;

pub use export::{write_csv, write_parquet};
pub use statistics::{Figures, KnownUser, Statistics, user_statistics};
