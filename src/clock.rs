//! The only reader of the system clock.

use crate::tag::Timestamp;

/// Now, UTC.
#[must_use]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
