//! What a store recorded, as the columns that figures are computed from: the way between two rooms that do not know one another.

use jiff::tz::TimeZone;

use crate::{
    report::{Recorded, Span},
    store::{Store, StoreError},
    tag::Timestamp,
};

/// Part of the reading that the journal takes.
const JOURNAL: f64 = 0.9;

/// Reads `[from, to)`; `from` is no earlier than the first thing that this store recorded, because time in which nothing could be
/// recorded would make every rate look better. `progress` gets the part that is done, 0 to 1.
///
/// # Errors
/// When the store cannot be read.
pub async fn read(
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    progress: impl Fn(f64) + Send + Sync,
) -> Result<(Recorded, Span), StoreError> {
    let from = store.first_recorded().await?.map_or(from, |first| from.max(first)).min(to);
    let mut recorded = Recorded::default();
    store.transitions((from, to), |transition| recorded.transition(transition), |done| progress(done * JOURNAL)).await?;
    store.told((from, to), |told| recorded.told(told)).await?;
    let take = |row: crate::store::LedgerRow<'_>| {
        recorded.message(row.time, row.direction, row.channel, row.user, (row.segments, row.minutes));
    };
    store.ledger_rows((from, to), take).await?;
    recorded.not_sent(store.not_sent((from, to)).await?);
    progress(1.0);
    Ok((recorded, Span { from, to, zone: TimeZone::system() }))
}
