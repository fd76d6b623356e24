//! Figures from what was recorded, computed with polars: statistics per user, and their export (SPEC 10). Never in the hot path;
//! the live counters are the engine's, and a test shows that both agree.

pub mod charts;
mod export;
pub mod kpi;
mod page;
mod recorded;
mod statistics;
pub mod words;

pub use charts::{Chart, chart, charts};
pub use export::Rows;
pub use kpi::{Kpis, Span, kpis};
pub use page::page;
pub use recorded::Recorded;
pub use statistics::{Figures, KnownUser, Statistics, user_statistics};

/// Does polars' work on a thread of its own: some of it waits in a way that panics on a single-threaded tokio runtime. Blocks the
/// caller until it is done.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
