//! `[retention]`.

use std::time::Duration;

use super::book::Roots;
use crate::engine::plan::Retention;

const HOUR: Duration = Duration::from_secs(3_600);
const TEN_YEARS: Duration = Duration::from_secs(3_650 * 86_400);

/// `[retention]`.
pub(super) fn retention(roots: &mut Roots<'_>) -> Retention {
    let mut retention = Retention::default();
    let Some(mut section) = roots.section("retention") else { return retention };
    if let Some(keep) = section.duration("history", HOUR..=TEN_YEARS) {
        retention.history = keep;
    }
    if let Some(values) = section.integer("history_values", 1_000..=1_000_000_000).and_then(|values| u64::try_from(values).ok()) {
        retention.history_values = values;
    }
    section.not_yet("journal", "the whole journal is kept");
    retention
}
