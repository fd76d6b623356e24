//! What of throttling is durable: rows of [`StateKind::Throttle`], named by what they are and whom they are about.

use serde_json::Value as Json;

use super::{BatchKey, Pace};
use crate::engine::{
    Engine, Timer,
    record::{Record, StateKind},
    state::{put, set},
};

/// One row; its key begins with one of the words below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::engine) enum ThrottleRow {
    /// By user.
    Budget(String),
    /// By number.
    Flood(String),
    /// By number and profile.
    Pace(String, String),
    Batch(BatchKey),
}

const BUDGET: &str = "budget";
const FLOOD: &str = "flood";
const PACE: &str = "pace";
const BATCH: &str = "batch";
const CRITICAL_BATCH: &str = "critical-batch";

impl ThrottleRow {
    /// Numbers have no spaces, so that what stands behind one may have.
    fn key(&self) -> String {
        match self {
            Self::Budget(user) => format!("{BUDGET} {user}"),
            Self::Flood(number) => format!("{FLOOD} {number}"),
            Self::Pace(number, profile) => format!("{PACE} {number} {profile}"),
            Self::Batch(key) => {
                let word = if key.critical { CRITICAL_BATCH } else { BATCH };
                format!("{word} {} {}", key.number, key.profile)
            }
        }
    }

    fn parse(key: &str) -> Option<Self> {
        let (word, rest) = key.split_once(' ')?;
        let contact = || rest.split_once(' ').map(|(number, profile)| (number.to_owned(), profile.to_owned()));
        let batch = |critical| contact().map(|(number, profile)| Self::Batch(BatchKey { number, profile, critical }));
        match word {
            BUDGET => Some(Self::Budget(rest.to_owned())),
            FLOOD => Some(Self::Flood(rest.to_owned())),
            PACE => contact().map(|(number, profile)| Self::Pace(number, profile)),
            BATCH => batch(false),
            CRITICAL_BATCH => batch(true),
            _ => None,
        }
    }
}

impl Engine {
    pub(in crate::engine) fn restore_throttle(&mut self, key: &str, value: Json) -> Result<(), String> {
        let now = self.now;
        match ThrottleRow::parse(key).ok_or("unknown kind")? {
            ThrottleRow::Budget(user) => {
                let mut spent: super::budget::Spent = put(value)?;
                spent.not_after(now);
                self.budgets.insert(user, spent);
            }
            ThrottleRow::Flood(number) => {
                let mut flood: super::flood::Flood = put(value)?;
                flood.not_after(now);
                self.floods.insert(number.clone(), flood);
                // Its end is looked for at once, which finds the next look.
                self.timers.set(&Timer::Flood(number), Some(now));
            }
            ThrottleRow::Pace(number, profile) => {
                let Pace { mut gathered, critical, digest } = put(value)?;
                if let Some(last) = &mut gathered {
                    last.at = last.at.min(now);
                }
                let [critical, digest] = [critical, digest].map(|at| at.map(|at| at.min(now)));
                self.paces.insert((number, profile), Pace { gathered, critical, digest });
            }
            ThrottleRow::Batch(key) => {
                let head = put(value)?;
                self.restore_batch(key, head);
            }
        }
        Ok(())
    }

    pub(in crate::engine) fn throttle_record(&self, row: &ThrottleRow) -> Record {
        let (kind, key) = (StateKind::Throttle, row.key());
        match row {
            ThrottleRow::Flood(number) => set(kind, &key, self.floods.get(number)),
            ThrottleRow::Budget(user) => set(kind, &key, self.budgets.get(user)),
            ThrottleRow::Pace(number, profile) => set(kind, &key, self.paces.get(&(number.clone(), profile.clone()))),
            ThrottleRow::Batch(batch) => set(kind, &key, self.batches.get(batch).map(|batch| &batch.head)),
        }
    }

    /// What counts for nothing any more need not be remembered.
    pub(in crate::engine) fn forget_throttle(&mut self) {
        self.forget_budgets();
        self.forget_paces();
        self.forget_floods();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_again_by_their_keys() {
        let batch = |critical| BatchKey { number: "+1222".to_owned(), profile: "by text".to_owned(), critical };
        for row in [
            ThrottleRow::Budget("alice b".to_owned()),
            ThrottleRow::Flood("+1222".to_owned()),
            ThrottleRow::Pace("+1222".to_owned(), "by text".to_owned()),
            ThrottleRow::Batch(batch(false)),
            ThrottleRow::Batch(batch(true)),
        ] {
            assert_eq!(ThrottleRow::parse(&row.key()), Some(row));
        }
        assert_eq!(ThrottleRow::parse("else +1"), None);
    }
}
