//! Tags: named values with a quality and a source timestamp, and the table that holds them.
//!
//! Everything the program shows is a tag: bridged values, memory and derived tags, the `System/` counters and the plain
//! variables of every alarm. A tag's path is its name everywhere (configuration, OPC UA NodeId, HTTP API), a [`TagId`] is
//! its index in the [`TagTable`]. Nothing here knows where a value comes from.

mod history;
mod index;
mod names;
mod quality;
mod table;
mod tap;
mod time;
mod value;

pub use history::{Moment, Past, PastValue};
pub use index::PathIndex;
pub use names::{InvalidPath, Names, TagId, TagPath};
pub use quality::StatusCode;
pub use table::{BLOCK, Reading, Sample, Scalar, TagTable};
#[cfg(feature = "daemon")]
pub(crate) use table::{pack, unpack};
pub use tap::{Drained, Tap};
pub use time::Timestamp;
pub use value::{DataType, ParseDataTypeError, Rank, Structure, Value, ValueType};
