//! Who is on duty, and when: the only room with time zones.
//!
//! [`Rota`] is the one place that knows who is contacted for a roster at an instant. What goes first decides (SPEC 7.2):
//!
//! 1. an override: who covers somebody is contacted in their place, whatever their own hours are;
//! 2. an exception of the schedule, then a holiday: takes off duty, or puts on (`duty = "on"`);
//! 3. a rotation: of its users only the one whose turn it is;
//! 4. the shifts of the user's schedule; without a schedule they are always on duty.
//!
//! Nothing here is remembered from one contact to the next: duty is looked up at each.

mod number;
mod rota;
mod rotation;
mod schedule;
#[cfg(test)]
mod tests;
mod weekly;
mod zone;

pub use self::{
    number::{mask_number, normalise},
    rota::{Period, Place, Rota},
    rotation::turn,
    schedule::{Duty, Hours, OffDuty},
    weekly::next_weekly,
    zone::{clock_text, date_text, end, first_zone, start, zone},
};
