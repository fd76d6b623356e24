//! The ISA-18.2 state table (ISA-18.2-2016 section 5.6 and figure 2; IEC 62682), row by row. Shelved, suppressed and out of
//! service (its states G, H, I) are no rows: they lie beside these while the machine goes on underneath.

use serde::{Deserialize, Serialize};

/// The state of the newest alarm event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A: clear, nothing to acknowledge.
    #[default]
    Normal,
    /// B: active, nobody has acknowledged.
    Unacknowledged,
    /// C: active and acknowledged.
    Acknowledged,
    /// D: returned to normal, nobody has acknowledged.
    RtnUnacknowledged,
    /// E: returned to normal but latched, nobody has acknowledged.
    LatchedUnacknowledged,
    /// F: returned to normal and acknowledged but latched, until it is reset.
    LatchedAcknowledged,
}

impl State {
    /// All of them, in the order of the table's rows.
    pub const ALL: [Self; 6] = [
        Self::Normal,
        Self::Unacknowledged,
        Self::Acknowledged,
        Self::RtnUnacknowledged,
        Self::LatchedUnacknowledged,
        Self::LatchedAcknowledged,
    ];

    /// The condition is true.
    #[must_use]
    pub const fn is_active(self) -> bool {
        match self {
            Self::Unacknowledged | Self::Acknowledged => true,
            Self::Normal | Self::RtnUnacknowledged | Self::LatchedUnacknowledged | Self::LatchedAcknowledged => false,
        }
    }

    /// Nothing is left to acknowledge.
    #[must_use]
    pub const fn is_acknowledged(self) -> bool {
        match self {
            Self::Normal | Self::Acknowledged | Self::LatchedAcknowledged => true,
            Self::Unacknowledged | Self::RtnUnacknowledged | Self::LatchedUnacknowledged => false,
        }
    }

    /// Clear, but kept until it is reset.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        match self {
            Self::LatchedUnacknowledged | Self::LatchedAcknowledged => true,
            Self::Normal | Self::Unacknowledged | Self::Acknowledged | Self::RtnUnacknowledged => false,
        }
    }

    /// What the plain variable `State` shows (SPEC 5).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal | Self::LatchedAcknowledged => "ClearAcked",
            Self::Unacknowledged => "ActiveUnacked",
            Self::Acknowledged => "ActiveAcked",
            Self::RtnUnacknowledged | Self::LatchedUnacknowledged => "ClearUnacked",
        }
    }

    /// The next state.
    #[must_use]
    pub const fn after(self, stimulus: Stimulus) -> Self {
        TABLE[self as usize][stimulus as usize]
    }
}

/// What can happen to it. Ack mode and latching are part of the definition, not of the state: they choose the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stimulus {
    /// Becomes active.
    Raise,
    /// Becomes active with ack mode `unused`.
    RaiseUnused,
    /// Clears.
    Clear,
    /// Clears with ack mode `auto`.
    ClearAuto,
    /// Clears, latching.
    Latch,
    /// Clears, latching, with ack mode `auto`.
    LatchAuto,
    /// The newest event is acknowledged.
    Acknowledge,
    /// A latched alarm is reset.
    Reset,
    /// Still active long after its acknowledgement.
    ReAlarm,
}

impl Stimulus {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::Raise,
        Self::RaiseUnused,
        Self::Clear,
        Self::ClearAuto,
        Self::Latch,
        Self::LatchAuto,
        Self::Acknowledge,
        Self::Reset,
        Self::ReAlarm,
    ];
}

const A: State = State::Normal;
const B: State = State::Unacknowledged;
const C: State = State::Acknowledged;
const D: State = State::RtnUnacknowledged;
const E: State = State::LatchedUnacknowledged;
const F: State = State::LatchedAcknowledged;

/// Rows in the order of [`State::ALL`], columns in the order of [`Stimulus::ALL`]. What means nothing in a state leaves it as
/// it is; a latched alarm resets only once it is acknowledged.
#[rustfmt::skip]
const TABLE: [[State; 9]; 6] = [
    //        Raise  RaiseUnused  Clear  ClearAuto  Latch  LatchAuto  Acknowledge  Reset  ReAlarm
    /* A */ [  B,     C,           A,     A,         A,     A,         A,           A,     A ],
    /* B */ [  B,     B,           D,     A,         E,     F,         C,           B,     B ],
    /* C */ [  C,     C,           A,     A,         F,     F,         C,           C,     B ],
    /* D */ [  B,     C,           D,     D,         D,     D,         A,           D,     D ],
    /* E */ [  B,     C,           E,     E,         E,     E,         F,           E,     E ],
    /* F */ [  B,     C,           F,     F,         F,     F,         F,           A,     F ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Written from the standard's arrows, not from the table: only what moves, everything else stays.
    fn expected(state: State, stimulus: Stimulus) -> State {
        let arrows = [
            ("ABDEF", "Raise", B),
            ("ADEF", "RaiseUnused", C),
            ("B", "Clear", D),
            ("C", "Clear", A),
            ("BC", "ClearAuto", A),
            ("B", "Latch", E),
            ("C", "Latch", F),
            ("BC", "LatchAuto", F),
            ("B", "Acknowledge", C),
            ("D", "Acknowledge", A),
            ("E", "Acknowledge", F),
            ("F", "Reset", A),
            ("C", "ReAlarm", B),
        ];
        let letter = char::from(b"ABCDEF"[state as usize]);
        let arrow = arrows.iter().find(|(from, name, _)| from.contains(letter) && *name == format!("{stimulus:?}"));
        arrow.map_or(state, |(_, _, to)| *to)
    }

    #[test]
    fn every_state_and_stimulus_is_as_the_standard_has_it() {
        for (row, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(row, state as usize);
            for (column, stimulus) in Stimulus::ALL.into_iter().enumerate() {
                assert_eq!(column, stimulus as usize);
                assert_eq!(state.after(stimulus), expected(state, stimulus), "{state:?} {stimulus:?}");
            }
        }
    }

    #[test]
    fn activity_follows_flanks_only() {
        for state in State::ALL {
            for stimulus in Stimulus::ALL {
                let active = match stimulus {
                    Stimulus::Raise | Stimulus::RaiseUnused => true,
                    Stimulus::Clear | Stimulus::ClearAuto | Stimulus::Latch | Stimulus::LatchAuto => false,
                    Stimulus::Acknowledge | Stimulus::Reset | Stimulus::ReAlarm => state.is_active(),
                };
                assert_eq!(state.after(stimulus).is_active(), active, "{state:?} {stimulus:?}");
            }
        }
    }
}
